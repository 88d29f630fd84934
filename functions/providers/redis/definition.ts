import * as z from 'zod/mini'
import type { Definition } from '../contract.ts'
import { Tag, UserName } from './names.ts'
import { recognise } from './recognise.ts'

/**
 * Redis gives a user no identity but its name. `tag` makes one: a note among the user's password hashes (names.ts), put
 * there when it is made. A user of the same name without that tag is another credential, which an old retry cannot hit.
 * Without a tag the user that bears the name at the time of the cut is meant.
 */
export const Target = z.strictObject({ user: UserName, tag: z.optional(Tag) })
export type Target = z.infer<typeof Target>

const Node = z.strictObject({
  host: z.string().check(z.minLength(1), z.maxLength(255)),
  port: z._default(z.int().check(z.minimum(1), z.maximum(65535)), 6379),
})
export type Node = z.infer<typeof Node>

export const Settings = z.strictObject({
  /** Every server that takes logins: the users of an ACL are each server's own, and no replication carries a cut on. */
  nodes: z.array(Node).check(z.minLength(1), z.maxLength(32)),
  tls: z.discriminatedUnion('mode', [
    z.strictObject({ mode: z.literal('disable') }),
    /** Checked against `ca` (PEM) or the system's authorities, and against `servername` or the host. */
    z.strictObject({
      mode: z.literal('verify'),
      ca: z.optional(z.string().check(z.minLength(1))),
      servername: z.optional(z.string().check(z.minLength(1), z.maxLength(255))),
    }),
  ]),
  /** The tag that the admin's user carries at these servers and nowhere else: how they are recognised. */
  server: Tag,
  /**
   * What makes the server remember its users when it starts again: its ACL file (`ACL SAVE`), its configuration (`CONFIG
   * REWRITE`), or `nowhere`, where something outside of it does, or nothing need.
   */
  keep: z._default(z.enum(['acl-file', 'config-file', 'nowhere']), 'acl-file'),
  /** `ignored`: servers that replicate one of the nodes, or belong to their cluster, need not be nodes themselves. */
  unlisted: z._default(z.enum(['refused', 'ignored']), 'refused'),
  connectTimeoutMilliseconds: z._default(z.int().check(z.minimum(100), z.maximum(10_000)), 3000),
  commandTimeoutMilliseconds: z._default(z.int().check(z.minimum(100), z.maximum(10_000)), 5000),
})
export type Settings = z.infer<typeof Settings>

const NOT_BLANK = '[^\\s\\0]'
/** Rules about commands, keys and channels (redis.io, "ACL SETUSER"); none about passwords, and none that resets. */
const RULE = new RegExp(
  `^(?:[+-]@?[a-z0-9_.|-]{1,100}|allcommands|nocommands|allkeys|allchannels|(?:~|%R~|%W~|%RW~|&)${NOT_BLANK}{1,1024}|\\([^()\\0\\r\\n]{1,2048}\\))$`,
)

/** `["+@read", "~app:*", "&news"]`: a user begins with no command, no key and no channel, and gets these in order. */
export const Grants = z.strictObject({
  rules: z
    .array(z.string().check(z.regex(RULE, 'must be an ACL rule about commands, keys or channels')))
    .check(z.minLength(1), z.maxLength(100)),
})
export type Grants = z.infer<typeof Grants>

export const definition: Definition<Target, never, never, Settings, Grants> = {
  name: 'redis',
  title: 'Redis and Valkey ACL users',
  target: Target,
  settings: Settings,
  grants: Grants,
  // By name, not by tag: a lease registered before its user exists must share the fingerprint of the others.
  credential: ({ user }) => `user:${user}`,
  recognise,
  meant: ({ host, port = '6379' }, { nodes }) =>
    nodes.some((node) => node.host.toLowerCase() === host && String(node.port) === port),
  capabilities: {
    tellsAbsent: true,
    verifies: true,
    // Users belong to no group: there is nothing that one call could cut for all of an identity.
    containment: 'none',
    restores: true,
    tidies: true,
    choosesName: true,
    locates: true,
    issues: true,
    discovers: true,
    sessions: 'ended',
  },
  // A batch is four exchanges with each server, whatever its size.
  limits: { batch: 100, propagationSeconds: 0, callSeconds: 45, concurrency: 6, callsPerSecond: 500 },
  serial: false,
  network: 'vpc',
  permissions: [],
}
