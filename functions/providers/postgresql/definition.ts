import * as z from 'zod/mini'
import type { Definition } from '../contract.ts'
import { RoleName } from './names.ts'
import { recognise } from './recognise.ts'

/** An object id as decimal text: unsigned, 32 bits, and above the ids that initdb uses up for itself. */
const Oid = z.string().check(
  z.regex(/^[1-9]\d{0,9}$/, "must be a role's oid as decimal text"),
  z.refine((text) => Number(text) <= 0xffff_ffff, "must be a role's oid as decimal text"),
)

/**
 * A session of a role that many use at once (the jobs of shared runners): the session is the credential, and ending it
 * leaves the role open. `pid` and `startedAt` (`pg_backend_pid()`, and `backend_start` of its row in pg_stat_activity) name
 * the one; without them all sessions of the role that bear the name are meant.
 */
const RunnerSession = z
  .strictObject({
    /** As the server holds it: printable ASCII, at most 63 characters. */
    applicationName: z.string().check(z.regex(/^[\x20-\x7e]{1,63}$/, 'must be an application_name as PostgreSQL holds it')),
    pid: z.optional(z.int().check(z.minimum(1), z.maximum(0x7fff_ffff))),
    /** UTC, to the millisecond or finer: a process id is used again, and what began at another moment is another session. */
    startedAt: z.optional(
      z.string().check(
        z.regex(
          /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,6}Z$/,
          'must be backend_start, RFC 3339 in UTC to the millisecond or finer',
        ),
        z.refine((text) => !Number.isNaN(Date.parse(text)), 'must be a moment'),
      ),
    ),
  })
  .check(
    z.refine(({ pid, startedAt }) => (pid === undefined) === (startedAt === undefined), {
      error: 'pid and startedAt name a session only together',
      path: ['pid'],
    }),
  )

/**
 * `oid` names the incarnation: a later role of the same name is another credential, which an old retry cannot hit.
 * Without it (a pending lease, whose role does not exist yet) the role that bears the name at the time of the cut is
 * meant: give the oid when the lease is confirmed.
 */
export const Target = z.strictObject({ role: RoleName, oid: z.optional(Oid), session: z.optional(RunnerSession) })
export type Target = z.infer<typeof Target>
export type SessionTarget = Target & { readonly session: z.infer<typeof RunnerSession> }

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
  /** Roles that a minted one may be made a member of. Without it none is minted. */
  grantable: z.optional(z.array(RoleName).check(z.maxLength(200))),
  connectTimeoutMilliseconds: z._default(z.int().check(z.minimum(100), z.maximum(10_000)), 5000),
  statementTimeoutMilliseconds: z._default(z.int().check(z.minimum(100), z.maximum(15_000)), 10_000),
})
export type Settings = z.infer<typeof Settings>

/** What a minted role may do: what the roles may that it is made a member of, each of them in `grantable` of its issuer. */
export const Grants = z.strictObject({
  memberOf: z.array(RoleName).check(z.minLength(1), z.maxLength(20)),
  /** The identity's own group role, its lever; in `grantable` as well. */
  group: z.optional(RoleName),
})
export type Grants = z.infer<typeof Grants>

export const definition: Definition<Target, never, Lever, Settings, Grants> = {
  name: 'postgresql',
  title: 'PostgreSQL roles',
  target: Target,
  lever: Lever,
  settings: Settings,
  grants: Grants,
  credential({ role, session }) {
    // By name, not by oid: a lease registered before its role exists must share the fingerprint of the others.
    if (session === undefined) return `role:${role}`
    const { applicationName, pid, startedAt } = session
    if (pid === undefined || startedAt === undefined) return `sessions:${JSON.stringify([role, applicationName])}`
    return `session:${JSON.stringify([role, pid, new Date(startedAt).toISOString()])}`
  },
  namesMany: ({ session }) => session !== undefined && session.pid === undefined,
  // Sessions come and go, and no list of roles has them.
  listed: ({ session }) => session === undefined,
  forGood: ({ session }) => session !== undefined,
  recognise,
  meant: ({ host, port = '5432' }, settings) => host === settings.host.toLowerCase() && port === String(settings.port),
  leverName: ({ memberOf }) => `members:${memberOf}`,
  capabilities: {
    tellsAbsent: true,
    verifies: true,
    containment: 'identity',
    restores: true,
    tidies: true,
    choosesName: true,
    locates: true,
    issues: true,
    discovers: true,
    sessions: 'ended',
  },
  // One server decides, and it decides at once: the proof is asked for right after the cut.
  // One call serves a batch: far more than a server ever has to take, and a bound all the same.
  limits: { batch: 100, propagationSeconds: 0, callSeconds: 45, concurrency: 9, callsPerSecond: 1000 },
  serial: false,
  network: 'vpc',
  permissions: [],
}
