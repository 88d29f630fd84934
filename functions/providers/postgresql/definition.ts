import * as z from 'zod/mini'
import type { Definition } from '../contract.ts'

/**
 * A role's name: 1 to 63 bytes of UTF-8 (NAMEDATALEN - 1), any characters but NUL. Blanks at the ends and quotes are
 * legal in PostgreSQL, so they are legal here: statements are built by the server's own `format('%I')`.
 */
const RoleName = z.string().check(
  z.minLength(1),
  z.refine((text) => Buffer.byteLength(text) <= 63, 'must not be longer than 63 bytes'),
  z.refine((text) => !text.includes('\0') && text.isWellFormed(), 'must be text that PostgreSQL can hold'),
)

/** An object id as decimal text: unsigned, 32 bits, and above the ids that initdb uses up for itself. */
const Oid = z.string().check(
  z.regex(/^[1-9]\d{0,9}$/, "must be a role's oid as decimal text"),
  z.refine((text) => Number(text) <= 0xffff_ffff, "must be a role's oid as decimal text"),
)

/**
 * `oid` names the incarnation: a later role of the same name is another credential, which an old retry cannot hit.
 * Without it (a pending lease, whose role does not exist yet) the role that bears the name at the time of the cut is
 * meant: give the oid when the lease is confirmed.
 */
export const Target = z.strictObject({ role: RoleName, oid: z.optional(Oid) })
export type Target = z.infer<typeof Target>

/** The group role whose direct members are the identity's login roles, all of them and nobody else's. */
export const Lever = z.strictObject({ memberOf: RoleName })
export type Lever = z.infer<typeof Lever>

export const Settings = z.strictObject({
  host: z.string().check(z.minLength(1), z.maxLength(255)),
  port: z._default(z.int().check(z.minimum(1), z.maximum(65535)), 5432),
  /** The database that the admin connects to; roles are common to all databases of a server. */
  database: z.string().check(z.minLength(1), z.maxLength(63)),
  /** `require` encrypts but trusts any certificate; `verify-full` checks it, against `ca` (PEM) or the system's authorities. */
  tls: z.discriminatedUnion('mode', [
    z.strictObject({ mode: z.literal('disable') }),
    z.strictObject({ mode: z.literal('require') }),
    z.strictObject({ mode: z.literal('verify-full'), ca: z.optional(z.string().check(z.minLength(1))) }),
  ]),
  /** `SELECT system_identifier FROM pg_control_system()`: made by initdb, kept by its replicas, shared with no other server. */
  system: z.string().check(z.regex(/^\d{1,20}$/, 'must be the system identifier as decimal text')),
  /** Who inherits what a deleted role owned. Without it a role that owns something is never deleted. */
  reassignTo: z.optional(RoleName),
  connectTimeoutMilliseconds: z._default(z.int().check(z.minimum(100), z.maximum(10_000)), 5000),
  statementTimeoutMilliseconds: z._default(z.int().check(z.minimum(100), z.maximum(15_000)), 10_000),
})
export type Settings = z.infer<typeof Settings>

export const definition: Definition<Target, never, Lever, Settings> = {
  name: 'postgresql',
  title: 'PostgreSQL roles',
  target: Target,
  lever: Lever,
  settings: Settings,
  // By name, not by oid: a lease registered before its role exists must share the fingerprint of the others.
  credential: ({ role }) => `role:${role}`,
  leverName: ({ memberOf }) => `members:${memberOf}`,
  capabilities: {
    tellsAbsent: true,
    verifies: true,
    containment: 'identity',
    restores: true,
    tidies: true,
    choosesName: true,
  },
  // One server decides, and it decides at once: the proof is asked for right after the cut.
  limits: { batch: 100, propagationSeconds: 0, callSeconds: 45, concurrency: 4 },
  serial: false,
  network: 'vpc',
  permissions: [],
}
