import type { Answer } from '../contract.ts'
import type { Batch, Found, State } from './accounts.ts'
import { forAll, keyOf, look } from './accounts.ts'
import { count, distinct } from './cut.ts'
import { DEFINERS } from './dialect.ts'
import { quoted, roleOf } from './names.ts'
import type { Line } from './server.ts'
import { holds, textOf } from './server.ts'
import { errno } from './session.ts'

/**
 * Deletes users that are locked at every host and have no session. MySQL and MariaDB have no owners: but views, routines,
 * triggers and events run with the rights of the account that is their definer, and stop working without it. They are
 * counted first, which takes privileges that a cut does not; without these nothing is deleted.
 */
export async function tidy(line: Line, batch: Batch): Promise<Answer[]> {
  const { session, dialect, privileges } = line
  const states = await look(line, batch)
  const deletable = states.filter((state) => state.accounts.length > 0 && keptBecause(state) === undefined)
  const sees = holds(privileges, dialect.sees)
  const defined = sees && deletable.length > 0 ? await definitions(line) : new Map<string, string[]>()
  const free = deletable.filter(({ accounts }) => sees && accounts.every((account) => !defined.has(definerOf(account))))
  const accounts = distinct(free.flatMap((state) => state.accounts))
  const failed = await forAll(session, accounts, (names) => `DROP USER IF EXISTS ${names}`)
  for (const tag of new Set(accounts.filter((one) => !failed.has(keyOf(one))).flatMap(({ tags }) => tags)))
    await dropTag(line, roleOf(tag))
  return states.map((state): Answer => {
    const kept = keptBecause(state)
    if (kept !== undefined) return kept
    if (state.accounts.length === 0) return { status: 'absent', said: 'the server has no such user' }
    if (!sees)
      return {
        status: 'irrevocable',
        said: `the admin cannot see what the user defined: it lacks ${dialect.sees.map(([one]) => one).join(', ')} on *.*; the user stays locked, and is not deleted`,
      }
    const objects = state.accounts.flatMap((account) => defined.get(definerOf(account)) ?? [])
    if (objects.length > 0)
      return {
        status: 'irrevocable',
        said: `the user is the definer of ${objects.join(', ')}, which would stop working; it stays locked, and is not deleted: give them another definer`,
      }
    const numbers = state.accounts.flatMap((account) => failed.get(keyOf(account)) ?? [])
    const [number] = numbers
    if (number === undefined) return { status: 'revoked', said: `user deleted at ${count(state.accounts.length, 'host')}` }
    if (number === errno.definerInUse || errno.accessDenied.some((one) => one === number))
      return { status: 'irrevocable', said: `the server does not let the user be deleted (${number}); it stays locked` }
    return { status: 'retry', said: `not deleted (${number})`, effect: 'unknown', afterSeconds: 5 }
  })
}

/** Unless somebody gave it to another user as well, whose incarnation it names then. */
async function dropTag({ session, dialect }: Line, role: string): Promise<void> {
  const [row] = await session.query(dialect.holders, [role])
  if (Number(row?.['holders']) === 0) await session.query(`DROP ROLE IF EXISTS ${quoted(role)}`)
}

function keptBecause({ accounts, refusal, sessions, namesake }: State): Answer | undefined {
  if (refusal !== undefined) return { status: 'irrevocable', said: refusal }
  if (namesake) return { status: 'absent', said: 'another user bears the name now' }
  if (accounts.some(({ locked }) => !locked))
    return { status: 'irrevocable', said: 'the user can log in: it was not cut, or was restored; not deleted' }
  // A deleted user's sessions go on, and nothing would lead to them any more.
  if (sessions.length > 0)
    return {
      status: 'retry',
      said: `${count(sessions.length, 'session')} of the user open; not deleted`,
      effect: 'none',
      afterSeconds: 10,
    }
  return undefined
}

const definerOf = ({ user, host }: Found): string => `${user}@${host}`

/** What each account is the definer of, in words. */
async function definitions({ session }: Line): Promise<Map<string, string[]>> {
  const defined = new Map<string, string[]>()
  for (const row of await session.query(DEFINERS)) {
    const definer = textOf(row, 'definer')
    defined.set(definer, [...(defined.get(definer) ?? []), count(Number(row['objects']), textOf(row, 'kind'))])
  }
  return defined
}
