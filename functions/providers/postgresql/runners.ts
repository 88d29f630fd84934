import type { Answer, Liveness, Restored, Subject } from '../contract.ts'
import { IssuerUnavailable } from '../contract.ts'
import type { SessionTarget } from './definition.ts'
import type { Session } from './session.ts'
import * as sql from './statements.ts'

/**
 * Sessions of a role that many use at once, as the jobs of shared runners do: ended one by one, while the role itself
 * stays open.
 */

export type SessionSubject = Subject<SessionTarget, never>
type Batch = readonly SessionSubject[]

/** @param until only sessions that began before, RFC 3339; null: all that are open now */
export function sessionsOf(batch: Batch, until: string | null): sql.Look {
  const of = batch.map(({ target }) => target)
  return {
    name: 'sessions',
    statement: sql.FIND_SESSIONS,
    values: [
      of.map(({ role }) => role),
      of.map(({ oid }) => oid ?? null),
      of.map((target) => target.session.applicationName),
      of.map((target) => target.session.pid ?? null),
      of.map((target) => target.session.startedAt ?? null),
      until,
    ],
  }
}

/** @param found what the look for them found */
export async function endSessions(
  session: Session,
  batch: Batch,
  found: readonly sql.NamedSessionsRow[],
  pauses: readonly number[],
): Promise<Answer[]> {
  const wanted = found.flatMap((row) => (cuttable(row) ? row.sessions : []))
  const left = await end(session, wanted, pauses)
  return batch.map(({ target }, index): Answer => {
    const row = rowAt(found, index)
    if (row.refusal !== null) return { status: 'irrevocable', said: 'it is a role whose sessions are not ended: a person must' }
    if (!row.sees) return { status: 'irrevocable', said: `${BLIND}: no session was ended` }
    if (row.sessions.length === 0) return { status: 'absent', said: `${nameOf(target)} is not open` }
    if (row.sessions.some(({ pid }) => left.has(pid)))
      return { status: 'retry', said: `${nameOf(target)} does not end`, effect: 'unknown', afterSeconds: 5 }
    const ended = target.session.pid === undefined ? `: ${row.sessions.length} ended` : ' is ended'
    return { status: 'revoked', said: `${nameOf(target)}${ended}; the role can log in as before` }
  })
}

/** @param found what the look for them found */
export function sessionsAlive(batch: Batch, found: readonly sql.NamedSessionsRow[]): Liveness[] {
  return batch.map(({ target }, index): Liveness => {
    const row = rowAt(found, index)
    if (!row.sees) return { status: 'unknown', said: BLIND }
    return row.sessions.length === 0
      ? { status: 'dead', said: `${nameOf(target)} is not open` }
      : { status: 'alive', said: `${nameOf(target)}: ${row.sessions.length} open` }
  })
}

/** An ended session leaves nothing behind. */
export const nothingToTidy = (): Answer => ({ status: 'absent', said: 'a session that was ended leaves nothing behind' })

export const notToRestore = (): Restored => ({
  status: 'refused',
  said: 'a session that was ended cannot be given back; its role was never shut and can log in',
})

const BLIND = 'the admin may not see when sessions began: grant it pg_read_all_stats'

/** A process id is used again: the moment at which the session began tells which one is meant. */
function nameOf({ role, session: { applicationName, pid, startedAt } }: SessionTarget): string {
  const of = `of role ${JSON.stringify(role)} named ${JSON.stringify(applicationName)}`
  return pid === undefined ? `every session ${of}` : `the session ${of}, process ${pid} of ${startedAt}`
}

const cuttable = ({ refusal, sees }: sql.NamedSessionsRow) => refusal === null && sees

function rowAt(found: readonly sql.NamedSessionsRow[], index: number): sql.NamedSessionsRow {
  const row = found[index]
  if (row === undefined) throw new IssuerUnavailable('PostgreSQL: fewer rows than sessions asked for')
  return row
}

/** Ends just these, whatever else bears their names meanwhile, and waits until they are gone. Those that stay, by process id. */
async function end(session: Session, wanted: readonly sql.NamedSession[], pauses: readonly number[]): Promise<Set<number>> {
  if (wanted.length === 0) return new Set()
  const values = [wanted.map(({ pid }) => pid), wanted.map(({ startedAt }) => startedAt)]
  let left: { readonly pid: number }[] = []
  for (const pause of pauses) {
    left = await session.query<{ pid: number }>(sql.END_NAMED, values)
    if (left.length === 0) break
    await session.query('SELECT pg_sleep($1)', [pause])
  }
  return new Set(left.map(({ pid }) => pid))
}
