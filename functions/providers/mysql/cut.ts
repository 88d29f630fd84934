import type { Answer } from '../contract.ts'
import type { Batch, Failed, Found, State } from './accounts.ts'
import { accountsOf, forAll, isNamesake, keyOf, kill, lock, look, mark, sessionsOf, unlock, unmark } from './accounts.ts'
import type { Line } from './server.ts'
import { errno } from './session.ts'

/** Seconds between looks for sessions that should be gone: 5 s in all at most. The server waits, in `SLEEP`. */
const PAUSES = [0.05, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 1.8]
/** Somebody may make the user at another host meanwhile. */
const ROUNDS = 3

interface Locked {
  readonly failed: Failed
  readonly unmarked: Failed
  /** Accounts that were open, and were locked now. */
  readonly now: ReadonlySet<string>
  /** Names that are another incarnation's by now: what was locked of them is open again. */
  readonly replaced: ReadonlySet<string>
  readonly left: ReadonlySet<string>
}

/**
 * Locks the users of a batch at every host, and then ends their sessions: who is ended cannot come back. The mark comes
 * first, so that a cut is never without it, and what a person had locked bears none.
 *
 * @param longest of one statement, in seconds
 */
export async function cut(line: Line, batch: Batch, longest: number): Promise<Answer[]> {
  const states = await look(line, batch)
  const concerned = batch.flatMap((subject, index) => {
    const state = states[index]
    return state === undefined || state.namesake || state.refusal !== undefined ? [] : [{ subject, state }]
  })
  const locked = await lockAll(line, concerned)
  const shut = concerned.flatMap(({ subject: { target }, state }) => {
    const isOpen = locked.left.has(target.user) || state.accounts.some((one) => locked.failed.has(keyOf(one)))
    return isOpen || locked.replaced.has(target.user) ? [] : [target.user]
  })
  const ends = await endSessions(line, shut, longest)
  return batch.map(({ target }, index) => cutAnswer(target.user, states[index], locked, ends))
}

async function lockAll(
  line: Line,
  concerned: readonly { readonly subject: Batch[number]; readonly state: State }[],
): Promise<Locked> {
  const { session } = line
  const failed = new Map<string, number>()
  const unmarked = new Map<string, number>()
  const now = new Set<string>()
  const replaced = new Set<string>()
  let open = distinct(concerned.flatMap(({ state }) => state.accounts)).filter((account) => !account.locked)
  for (let round = 1; open.length > 0 && round <= ROUNDS; round += 1) {
    for (const [key, number] of await forAll(
      session,
      open.filter(({ marked }) => !marked),
      mark,
    ))
      unmarked.set(key, number)
    for (const [key, number] of await forAll(session, open, lock)) failed.set(key, number)
    for (const account of open) if (!failed.has(keyOf(account))) now.add(keyOf(account))
    const after = await accountsOf(
      line,
      concerned.map(({ subject }) => subject.target.user),
    )
    const strange = concerned.filter(({ subject: { target } }) => isNamesake(target, after.get(target.user) ?? []))
    for (const { subject } of strange) {
      replaced.add(subject.target.user)
      const wrongly = (after.get(subject.target.user) ?? []).filter((account) => now.has(keyOf(account)))
      await forAll(session, wrongly, unlock)
      await forAll(session, wrongly, unmark)
    }
    open = distinct(concerned.flatMap(({ subject }) => after.get(subject.target.user) ?? [])).filter(
      (account) => !account.locked && !failed.has(keyOf(account)) && !replaced.has(account.user),
    )
  }
  return { failed, unmarked, now, replaced, left: new Set(open.map(({ user }) => user)) }
}

export function distinct(accounts: readonly Found[]): Found[] {
  return [...new Map(accounts.map((account) => [keyOf(account), account])).values()]
}

/** What came of a user's sessions. */
interface End {
  readonly ended: ReadonlySet<number>
  readonly left: number
  readonly denied: boolean
}

/** Ends sessions until two looks in a row find none, or the time is over: a login may have been under way. */
async function endSessions({ session }: Line, users: readonly string[], longest: number): Promise<Map<string, End>> {
  const ended = new Map(users.map((user) => [user, new Set<number>()]))
  const denied = new Set<number>()
  let open = new Map<string, number[]>()
  let quiet = 0
  for (const pause of users.length === 0 ? [] : [...PAUSES, 0]) {
    open = await sessionsOf(session, users)
    const ids = users.flatMap((user) => open.get(user) ?? [])
    for (const user of users) for (const id of open.get(user) ?? []) ended.get(user)?.add(id)
    for (const id of await kill(
      session,
      ids.filter((one) => !denied.has(one)),
    ))
      denied.add(id)
    quiet = ids.length === 0 ? quiet + 1 : 0
    if (quiet === 2 || ids.some((id) => denied.has(id)) || pause === 0) break
    await session.query(`DO SLEEP(${Math.min(pause, longest / 2)})`)
  }
  return new Map(
    users.map((user): [string, End] => {
      const ids = open.get(user) ?? []
      return [user, { ended: ended.get(user) ?? new Set(), left: ids.length, denied: ids.some((id) => denied.has(id)) }]
    }),
  )
}

function cutAnswer(user: string, state: State | undefined, locked: Locked, ends: ReadonlyMap<string, End>): Answer {
  if (state === undefined) throw new RangeError('a state for each lease')
  if (state.refusal !== undefined) return { status: 'irrevocable', said: state.refusal }
  if (state.namesake) return { status: 'absent', said: 'another user bears the name now' }
  if (locked.replaced.has(user))
    return { status: 'retry', said: 'another user took the name meanwhile', effect: 'unknown', afterSeconds: 1 }
  const failed = state.accounts.flatMap((account) => locked.failed.get(keyOf(account)) ?? [])
  if (failed.some((number) => errno.accessDenied.some((one) => one === number)))
    return {
      status: 'irrevocable',
      said: `the admin may not lock this user (${failed[0]}): it needs SYSTEM_USER, as the user has it`,
    }
  if (failed.length > 0)
    return {
      status: 'retry',
      said: `${count(failed.length, 'account')} not locked (${failed[0]})`,
      effect: 'unknown',
      afterSeconds: 2,
    }
  if (locked.left.has(user))
    return { status: 'retry', said: 'somebody else opens the user again', effect: 'unknown', afterSeconds: 2 }
  const end = ends.get(user) ?? { ended: new Set(), left: 0, denied: false }
  if (end.denied) return { status: 'irrevocable', said: 'the user is locked, but the admin may not end its sessions' }
  if (end.left > 0)
    return {
      status: 'retry',
      said: `the user is locked, but ${count(end.left, 'session')} of it does not end`,
      effect: 'unknown',
      afterSeconds: 5,
    }
  const sessions = `${count(end.ended.size, 'session')} ended`
  if (state.accounts.length === 0)
    return end.ended.size === 0
      ? { status: 'absent', said: 'the server has no such user, at any host' }
      : { status: 'revoked', said: `the server has no such user any more; ${sessions} that had outlived it` }
  const now = state.accounts.filter((account) => locked.now.has(keyOf(account)))
  const unmarked = now.filter((account) => locked.unmarked.has(keyOf(account)))
  const marks = unmarked.length === 0 ? '' : `, ${unmarked.length} of them not marked: to be restored by hand`
  const at =
    now.length === 0 ? 'locked already' : `locked at ${now.length === 1 ? `host ${now[0]?.host}` : `${now.length} hosts`}${marks}`
  return { status: 'revoked', said: `user ${at}; ${sessions}, none left` }
}

export const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? '' : 's'}`
