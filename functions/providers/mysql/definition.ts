import * as z from 'zod/mini'
import type { Definition } from '../contract.ts'
import { Tag, UserName } from './names.ts'
import { recognise } from './recognise.ts'

/**
 * A user at every host: `'app'@'%'` and `'app'@'localhost'` are one credential. `tag` names the incarnation (names.ts): users
 * of that name none of whose accounts bears it are another credential, which an old retry cannot hit. Without a tag whoever
 * bears the name at the time of the cut is meant.
 */
export const Target = z.strictObject({ user: UserName, tag: z.optional(Tag) })
export type Target = z.infer<typeof Target>

export const Settings = z
  .strictObject({
    host: z.string().check(z.minLength(1), z.maxLength(255)),
    port: z._default(z.int().check(z.minimum(1), z.maximum(65535)), 3306),
    tls: z.discriminatedUnion('mode', [
      z.strictObject({ mode: z.literal('disable') }),
      /** Checked against `ca` (PEM) or the system's authorities, and against the host. */
      z.strictObject({ mode: z.literal('verify'), ca: z.optional(z.string().check(z.minLength(1))) }),
    ]),
    /**
     * How the server is recognised: MySQL by `SELECT @@server_uuid`; MariaDB, which has nothing of the kind, and MySQL whose
     * address may come to stand for a promoted replica, by an account that the operator puts there: `rescind_server` at the
     * host that is the marker.
     */
    server: z.discriminatedUnion('by', [
      z.strictObject({ by: z.literal('uuid'), uuid: z.string().check(z.regex(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)) }),
      z.strictObject({
        by: z.literal('marker'),
        marker: z.string().check(z.regex(/^[0-9a-z]{16,60}$/, 'must be 16 to 60 small letters and digits')),
      }),
    ]),
    connectTimeoutMilliseconds: z._default(z.int().check(z.minimum(100), z.maximum(10_000)), 5000),
    statementTimeoutMilliseconds: z._default(z.int().check(z.minimum(100), z.maximum(10_000)), 10_000),
  })
  .check(
    // The client checks a certificate against a name alone.
    z.refine(({ host, tls }) => tls.mode === 'disable' || !/^[\d.]+$|:/.test(host), {
      error: 'must be a name, since a certificate is checked against it',
      path: ['host'],
    }),
  )
export type Settings = z.infer<typeof Settings>

const PRIVILEGES = [
  ...['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'EXECUTE', 'SHOW VIEW', 'LOCK TABLES', 'CREATE TEMPORARY TABLES'],
  ...['CREATE', 'ALTER', 'DROP', 'INDEX', 'REFERENCES', 'TRIGGER', 'EVENT', 'CREATE VIEW', 'CREATE ROUTINE', 'ALTER ROUTINE'],
] as const

const Identifier = z.string().check(
  z.minLength(1),
  z.maxLength(64),
  z.refine((text) => !/[\0\u{10000}-\u{10ffff}]/u.test(text) && text.isWellFormed() && !text.endsWith(' '), 'must be a name'),
)

/** Privileges in databases or tables that are named exactly; none of the server's own. */
export const Grants = z.strictObject({
  privileges: z
    .array(
      z.strictObject({
        allow: z.array(z.enum(PRIVILEGES)).check(z.minLength(1), z.maxLength(PRIVILEGES.length)),
        database: Identifier,
        table: z.optional(Identifier),
      }),
    )
    .check(z.minLength(1), z.maxLength(50)),
  /** From where it may log in, as the server writes it. */
  host: z._default(z.string().check(z.regex(/^[0-9A-Za-z.:_%/-]{1,60}$/, 'must be a host or a pattern of hosts')), '%'),
})
export type Grants = z.infer<typeof Grants>

export const definition: Definition<Target, never, never, Settings, Grants> = {
  name: 'mysql',
  title: 'MySQL and MariaDB users',
  target: Target,
  settings: Settings,
  grants: Grants,
  // By name, not by tag: a lease registered before its user exists must share the fingerprint of the others.
  credential: ({ user }) => `user:${user}`,
  recognise,
  meant: ({ host, port = '3306' }, settings) => host === settings.host.toLowerCase() && port === String(settings.port),
  capabilities: {
    tellsAbsent: true,
    verifies: true,
    // A role is not shut by being locked, and accounts are locked each for itself.
    containment: 'none',
    restores: true,
    tidies: true,
    choosesName: true,
    locates: true,
    issues: true,
    discovers: true,
    sessions: 'ended',
  },
  // A batch is some ten statements, and one more for each session that is open.
  limits: { batch: 100, propagationSeconds: 0, callSeconds: 45, concurrency: 6, callsPerSecond: 500 },
  serial: false,
  network: 'vpc',
  permissions: [],
}
