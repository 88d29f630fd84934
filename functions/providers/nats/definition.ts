import * as z from 'zod/mini'
import type { Definition } from '../contract.ts'
import { recognise } from './recognise.ts'

/** A public nkey: base32 of a kind's letter, 32 bytes and a checksum. */
const publicKey = (letter: string, what: string) =>
  z.string().check(z.regex(new RegExp(`^${letter}[A-Z2-7]{55}$`), `must be the public key of ${what}, ${letter}...`))

const AccountKey = publicKey('A', 'an account')

/**
 * `issuedAt` (`iat` of the user's JWT, seconds since 1970) names the incarnation: a revocation is dated, and a JWT that the
 * same key is given later is another credential. Without it (a pending lease, whose JWT is not signed yet) all JWTs of the
 * key are meant that are signed until the cut.
 */
export const Target = z.strictObject({
  account: AccountKey,
  user: publicKey('U', 'a user'),
  issuedAt: z.optional(z.int().check(z.minimum(1), z.maximum(0xff_ffff_ffff))),
})
export type Target = z.infer<typeof Target>

/** The account whose users are the identity's, all of them and nobody else's. */
export const Lever = z.strictObject({ account: AccountKey })
export type Lever = z.infer<typeof Lever>

export const Settings = z.strictObject({
  host: z.string().check(z.minLength(1), z.maxLength(255)),
  port: z._default(z.int().check(z.minimum(1), z.maximum(65535)), 4222),
  /** `verify` checks the server's certificate, against `ca` (PEM) or the system's authorities, for `servername` or the host. */
  tls: z.discriminatedUnion('mode', [
    z.strictObject({ mode: z.literal('disable') }),
    z.strictObject({
      mode: z.literal('verify'),
      ca: z.optional(z.string().check(z.minLength(1))),
      servername: z.optional(z.string().check(z.minLength(1), z.maxLength(255))),
    }),
  ]),
  /** The operator's public key. Servers show a token signed by it; what they trust beside it is read there. */
  operator: publicKey('O', 'an operator'),
  /** The cluster's name, where one operator has several (production, staging): another cluster is refused. */
  cluster: z.optional(z.string().check(z.minLength(1), z.maxLength(255))),
  /** How many servers must answer at least. By themselves they say how many they know of. */
  servers: z._default(z.int().check(z.minimum(1), z.maximum(1000)), 1),
  /** For one question, all servers' answers to it included. */
  timeoutMilliseconds: z._default(z.int().check(z.minimum(100), z.maximum(10_000)), 5000),
})
export type Settings = z.infer<typeof Settings>

export const definition: Definition<Target, never, Lever, Settings> = {
  name: 'nats',
  title: 'NATS users in operator mode',
  target: Target,
  lever: Lever,
  settings: Settings,
  // By key, not by JWT: the key is what is secret, and whoever holds it may use any JWT that was signed for it.
  credential: ({ account, user }) => `user:${account}/${user}`,
  recognise,
  leverName: ({ account }) => `account:${account}`,
  capabilities: {
    tellsAbsent: true,
    verifies: true,
    containment: 'identity',
    restores: true,
    tidies: true,
    // A user's key exists before its JWT is signed.
    choosesName: true,
    locates: true,
    // Signing a JWT asks no server, so a second order of one name could not be refused.
    issues: false,
    // No server keeps a list of users: it knows those that are connected, and a lease that is not would seem to be gone.
    discovers: false,
    sessions: 'ended',
  },
  // All of a batch that belongs to one account is one push.
  limits: { batch: 100, propagationSeconds: 2, callSeconds: 45, concurrency: 5, callsPerSecond: 100 },
  // An account's JWT is replaced as a whole.
  serial: true,
  network: 'vpc',
  permissions: [],
}
