import type { Discovered, Listed } from '../contract.ts'
import type { Target } from './definition.ts'
import type { Session } from './session.ts'
import * as sql from './statements.ts'

/** A look, and what is to be made of its rows. */
export type Use = <Row extends object, Result>(
  look: sql.Look,
  work: (session: Session, rows: readonly Row[]) => Promise<Result>,
) => Promise<Result>

/**
 * $1 the oid before which the page begins, $2 how many: by oid, which a role keeps and a later one never has again. The
 * newest come first: where more is found than is kept, it is the new that is. Roles of the server (`pg_monitor`) and our markers cannot be logged in with by anybody, and are left out. A group role is
 * listed like any that cannot log in.
 */
export const LIST_ROLES = `
  SELECT r.oid::text AS oid, r.rolname::text AS role, r.rolcanlogin AS login, r.rolsuper AS superuser, r.rolreplication AS replicates,
         CASE WHEN isfinite(r.rolvaliduntil) THEN to_char(r.rolvaliduntil AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') END AS until,
         CASE WHEN r.rolname IN (current_user, session_user) THEN 'admin' WHEN r.oid::bigint < 16384 THEN 'server' END AS own
    FROM pg_roles r
   WHERE r.oid < $1::oid AND r.rolname NOT IN ('${sql.CONTAINED}', '${sql.REVOKED}')
     AND (r.oid::bigint >= 16384 OR r.rolcanlogin)
   ORDER BY r.oid DESC LIMIT $2::int`
interface ListedRow {
  readonly oid: string
  readonly role: string
  readonly login: boolean
  readonly superuser: boolean
  readonly replicates: boolean
  readonly until: string | null
  readonly own: 'admin' | 'server' | null
}

const OWN: Readonly<Record<NonNullable<ListedRow['own']>, string>> = {
  admin: 'it is the role that Rescind itself works as',
  server: 'the server made it when it was set up',
}

/** No role has it: oids are 32 bits long, and the last is never given. */
const HIGHEST = '4294967295'

/** One page of the roles. Another superuser than the server's own is nobody's but its holder's, and is shown as one. */
export async function listRoles(use: Use, from: string | undefined, most: number): Promise<Discovered<Target>> {
  const look = { name: 'list', statement: LIST_ROLES, values: [from ?? HIGHEST, most] }
  const rows = await use(look, async (_, found: readonly ListedRow[]) =>
    [...found].sort((one, other) => Number(other.oid) - Number(one.oid)),
  )
  const last = rows.length < most ? undefined : rows.at(-1)?.oid
  return { status: 'page', listed: rows.map(listedRole), ...(last === undefined ? {} : { next: last }) }
}

function listedRole({ oid, role, login, superuser, replicates, until, own }: ListedRow): Listed<Target> {
  const kind = superuser ? 'superuser' : replicates ? 'replication role' : 'role'
  return {
    target: { role, oid },
    shown: `${kind} ${role}`,
    usable: login,
    ...(own === null ? {} : { own: OWN[own] }),
    ...(until === null ? {} : { expiresAt: until }),
  }
}
