import * as z from 'zod/mini'
import type { Definition } from '../contract.ts'
import { credentialOf, recognise } from './recognise.ts'

/** As `ssh-keygen -l` shows a key. */
const Fingerprint = z.string().check(z.regex(/^SHA256:[A-Za-z0-9+/]{43}$/, 'must be a fingerprint as ssh-keygen -l shows it'))

/** 0 is what an authority writes that gives no serials: it names no certificate, and a list cannot refuse it. */
const Serial = z.string().check(
  z.regex(/^[1-9]\d{0,19}$/, 'must be a serial as decimal text, not 0'),
  // Of 20 digits; a check before this one may have failed, so no number is made of it.
  z.refine((text) => text.length < 20 || text <= '18446744073709551615', 'must be a serial of 64 bits'),
)

/** sshd cuts what it logs at 500 bytes; a longer key id hides the serial behind it. */
const KeyId = z.string().check(
  z.minLength(1),
  z.maxLength(1024),
  z.refine((text) => !text.includes('\0') && text.isWellFormed(), 'must be text without NUL'),
)

export const Target = z.discriminatedUnion('kind', [
  /** One certificate: its authority's fingerprint and the serial that the authority gave it, never twice. */
  z.strictObject({ kind: z.literal('certificate'), ca: Fingerprint, serial: Serial }),
  /** Every certificate that the authority issued, or will issue, under this key id. */
  z.strictObject({ kind: z.literal('key-id'), ca: Fingerprint, keyId: KeyId }),
  /** A key pair: as a plain key, and with any certificate. */
  z.strictObject({ kind: z.literal('key'), fingerprint: Fingerprint }),
])
export type Target = z.infer<typeof Target>

/** The key id under which an authority issues certificates to the identity, and to nobody else. */
export const Lever = z.strictObject({ ca: Fingerprint, keyId: KeyId })
export type Lever = z.infer<typeof Lever>

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
