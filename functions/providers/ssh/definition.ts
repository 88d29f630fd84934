import * as z from 'zod/mini'
import type { Definition } from '../contract.ts'
import { recognise } from './recognise.ts'
import { credentialOf, Fingerprint, Lever, Target } from './target.ts'

export { Lever, Target }

const Host = z.strictObject({
  /** What people call it. */
  name: z.string().check(z.regex(/^[a-z0-9][a-z0-9.-]{0,62}$/, 'must be small letters, digits, dots and hyphens')),
  host: z.string().check(z.minLength(1), z.maxLength(255)),
  port: z._default(z.int().check(z.minimum(1), z.maximum(65535)), 22),
  /** Of its host keys: whoever shows none of them is another server. */
  fingerprints: z.array(Fingerprint).check(z.minLength(1), z.maxLength(8)),
})
export type Host = z.infer<typeof Host>

const Authority = z.strictObject({
  publicKey: z
    .string()
    .check(
      z.maxLength(2048),
      z.regex(/^(?:ssh|ecdsa|sk)-[a-z0-9@.-]+ AAAA[A-Za-z0-9+/]+={0,2}(?: [^\r\n]*)?$/, 'must be a public key as one line'),
    ),
  /**
   * The longest that its certificates live, in seconds. An entry that we made is swept when all that was issued before it
   * has ended. Absent: entries stay for ever.
   */
  longestSeconds: z.optional(z.int().check(z.minimum(60), z.maximum(3_155_760_000))),
})

export const Settings = z.strictObject({
  /** All hosts that are to refuse what is cut: a cut counts when each of them has it. */
  hosts: z.array(Host).check(
    z.minLength(1),
    z.maxLength(100),
    z.refine((hosts) => new Set(hosts.map(({ name }) => name)).size === hosts.length, 'two hosts have one name'),
  ),
  authorities: z._default(z.array(Authority).check(z.maxLength(20)), []),
  /** `leave`: sessions live on; `lastSeconds` is the longest that one can. `end` needs an agent that runs as root. */
  sessions: z._default(
    z.discriminatedUnion('mode', [
      z.strictObject({ mode: z.literal('end') }),
      z.strictObject({ mode: z.literal('leave'), lastSeconds: z.optional(z.int().check(z.minimum(1), z.maximum(31_536_000))) }),
    ]),
    { mode: 'end' },
  ),
  /** For a connection, and for each request to a host's agent. */
  timeoutMilliseconds: z._default(z.int().check(z.minimum(100), z.maximum(10_000)), 10_000),
})
export type Settings = z.infer<typeof Settings>

export const definition: Definition<Target, never, Lever, Settings> = {
  name: 'ssh',
  title: 'OpenSSH certificates and keys',
  target: Target,
  lever: Lever,
  settings: Settings,
  credential: credentialOf,
  namesMany: ({ kind }) => kind === 'key-id',
  recognise,
  leverName: ({ ca, keyId }) => `key-id:${ca}:${keyId}`,
  capabilities: {
    // A list refuses whatever it names; no host knows what its authorities ever signed.
    tellsAbsent: false,
    verifies: true,
    containment: 'identity',
    restores: true,
    // An entry is the cut itself, and must stay. What has ended is swept with the next change.
    tidies: false,
    choosesName: true,
    // A certificate that somebody shows is proven by its authority's signature.
    locates: true,
    issues: false,
    discovers: false,
    sessions: 'ended',
  },
  limits: { batch: 50, propagationSeconds: 1, callSeconds: 60, concurrency: 9, callsPerSecond: 20 },
  serial: true,
  network: 'vpc',
  permissions: [],
}
