import * as z from 'zod/mini'
import type { Definition } from '../contract.ts'
import { isEndpoint } from '../shape.ts'
import { Fingerprint, UserName } from './names.ts'
import { recognise } from './recognise.ts'

/**
 * RabbitMQ gives a user no identity but its name. `hash` makes one of its password's salted hash (names.ts): a user of the
 * same name with another password is another credential. Without it the user that bears the name at the time of the cut.
 */
export const Target = z.strictObject({ user: UserName, hash: z.optional(Fingerprint) })
export type Target = z.infer<typeof Target>

const Pattern = z.string().check(
  z.maxLength(1024),
  z.refine((text) => !text.includes('\0'), 'must hold no NUL'),
)

/** What a user may configure, write and read in a virtual host: regular expressions of names, '' for nothing. */
export const Grants = z.strictObject({
  permissions: z
    .array(
      z.strictObject({
        vhost: z.string().check(
          z.minLength(1),
          z.maxLength(255),
          z.refine((text) => text.isWellFormed() && !/^\.{1,2}$/.test(text), 'must be a name that an address can hold'),
        ),
        configure: Pattern,
        write: Pattern,
        read: Pattern,
      }),
    )
    .check(z.minLength(1), z.maxLength(50)),
})
export type Grants = z.infer<typeof Grants>

export const Settings = z.strictObject({
  /** The management plugin, up to and without `/api`. */
  url: z
    .string()
    .check(
      z.maxLength(2048),
      z.refine(isEndpoint, 'must be an https address without user, password or fragment (http only on a loopback address)'),
    ),
  /** The global parameter `internal_cluster_id`: made when the cluster was, kept by its nodes, shared with no other. */
  cluster: z.string().check(z.regex(/^[\x21-\x7e]{1,200}$/, 'must be the value of internal_cluster_id')),
  /** PEM: trusted instead of the public authorities. */
  ca: z.optional(z.string().check(z.minLength(1))),
  timeoutMilliseconds: z._default(z.int().check(z.minimum(100), z.maximum(10_000)), 5000),
})
export type Settings = z.infer<typeof Settings>

export const definition: Definition<Target, never, never, Settings, Grants> = {
  name: 'rabbitmq',
  title: 'RabbitMQ users',
  target: Target,
  settings: Settings,
  grants: Grants,
  // By name: a lease registered before its user exists must share the fingerprint of the others.
  credential: ({ user }) => `user:${user}`,
  recognise,
  meant: ({ host }, { url }) => host !== undefined && host === new URL(url).hostname.replace(/^\[(.*)\]$/, '$1'),
  capabilities: {
    tellsAbsent: true,
    verifies: true,
    // Users belong to no group: nothing cuts all of an identity in one call.
    containment: 'none',
    restores: true,
    tidies: true,
    choosesName: true,
    locates: true,
    issues: true,
    discovers: true,
    sessions: 'ended',
  },
  // A user is read, shut in two calls, and looked at twice.
  limits: { batch: 25, propagationSeconds: 1, callSeconds: 45, concurrency: 9, callsPerSecond: 200, callsPerLease: 5 },
  serial: false,
  network: 'vpc',
  permissions: [],
}
