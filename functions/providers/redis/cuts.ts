import type { Subject } from '../contract.ts'
import { IssuerRefused, IssuerUnavailable } from '../contract.ts'
import type { Settings, Target } from './definition.ts'
import { REVOKED, REVOKED_NOPASS } from './names.ts'
import type { Looked } from './nodes.ts'
import type { Command, Connection, Reply, User } from './replies.ts'
import { Failure, good, issuerError, userIn } from './replies.ts'

/**
 * What is done at one server. `ACL SETUSER` makes a user that is not there, and nothing in Redis watches users. But it
 * takes all of its rules or none, and to remove a hash that the user does not bear is an error: a rule that takes a hash
 * off and puts it on again is a condition. So what is switched off, or on, is the user that was seen, or nothing.
 */

export type Batch = readonly Subject<Target, never>[]

export const GETUSER = (user: string): Command => ['ACL', 'GETUSER', user]

/** What one server has of a target. */
export interface State {
  readonly user: User | undefined
  /** Somebody bears the name, but not the tag: another incarnation. */
  readonly namesake: boolean
}

export function stateOf(target: Target, reply: Reply | undefined): State {
  const user = userIn(reply)
  const namesake = user !== undefined && target.tag !== undefined && !user.hashes.includes(target.tag)
  return { user: namesake ? undefined : user, namesake }
}

/** Why a user is never cut. */
export function refusal(target: Target, admin: string): string | undefined {
  if (target.user === 'default') return 'it is the user that connections begin as: a person must'
  if (target.user === admin) return "it is the admin's own user"
  return undefined
}

/** What came of a cut at one server. */
export type Cut =
  /** Off now, or was already, and its connections are closed. */
  | { readonly is: 'off'; readonly was: 'on' | 'off'; readonly closed: number }
  | { readonly is: 'absent'; readonly namesake: boolean }
  | { readonly is: 'refused'; readonly said: string }
  /** On again, or another: somebody else is at work on it. */
  | { readonly is: 'unclear'; readonly said: string }

/** Switches off what can log in, and closes its connections. */
export async function cutAt(looked: Looked, batch: Batch): Promise<Cut[]> {
  const { connection, admin, replies } = looked
  const states = batch.map(({ target }, index) => stateOf(target, replies[index]))
  const stopped = await switchOff(connection, batch, states, admin)
  const shut = batch.map(
    ({ target }, index) =>
      states[index]?.user !== undefined &&
      refusal(target, admin) === undefined &&
      ['idle', 'done'].includes(stopped[index] ?? ''),
  )
  // That a condition held says that it is off: to look again would cost the server more than all the rest.
  const closing = batch.flatMap(({ target }, index): Command[] =>
    shut[index] === true ? [['CLIENT', 'KILL', 'USER', target.user]] : [],
  )
  const done = await connection.exchange(closing)
  let next = 0
  return batch.map(({ target }, index): Cut => {
    const said = refusal(target, admin)
    if (said !== undefined) return { is: 'refused', said }
    const { user, namesake } = states[index] ?? { user: undefined, namesake: false }
    if (user === undefined || stopped[index] === 'gone') return { is: 'absent', namesake }
    if (shut[index] !== true) return { is: 'unclear', said: MEANWHILE }
    const killed = done[next]
    next += 1
    return { is: 'off', was: user.enabled ? 'on' : 'off', closed: closedBy(killed) }
  })
}

const MEANWHILE = 'somebody else changed the user meanwhile'

/** How many connections were closed; a user that is gone meanwhile has none. */
function closedBy(reply: Reply | undefined): number {
  if (reply instanceof Failure && /^ERR No such user/i.test(reply.text)) return 0
  const closed = good(reply)
  return typeof closed === 'number' ? closed : 0
}

/** For each: nothing to do, done, `gone` where it was not there any more, `changed` where it is another now. */
type Stopped = 'idle' | 'done' | 'gone' | 'changed'

async function switchOff(connection: Connection, batch: Batch, states: readonly State[], admin: string): Promise<Stopped[]> {
  const work = batch.flatMap(({ target }, index) => {
    const { user } = states[index] ?? { user: undefined }
    if (user === undefined || !user.enabled || refusal(target, admin) !== undefined) return []
    const condition = target.tag ?? user.hashes.find((hash) => hash !== REVOKED && hash !== REVOKED_NOPASS)
    return [{ index, name: target.user, user, condition }]
  })
  const stopped: Stopped[] = batch.map(() => 'idle')
  const conditional = work.filter(({ condition }) => condition !== undefined)
  const replies = await connection.exchange(
    conditional.map(({ name, condition }) => ['ACL', 'SETUSER', name, `!${condition}`, `#${condition}`, 'off', `#${REVOKED}`]),
  )
  for (const [position, { index }] of conditional.entries()) stopped[index] = hasApplied(replies[position]) ? 'done' : 'changed'
  for (const { index, name, user, condition } of work)
    if (condition === undefined) stopped[index] = await switchOffBare(connection, name, user)
  return stopped
}

/**
 * A user without any hash (`nopass`, or let in by a certificate) gives nothing to make a condition of. Before and after
 * are seen in one transaction, and what it should not have made is taken away again.
 */
async function switchOffBare(connection: Connection, name: string, seen: User): Promise<Stopped> {
  const mark = seen.nopass ? REVOKED_NOPASS : REVOKED
  const replies = await connection.exchange([
    ['MULTI'],
    GETUSER(name),
    ['ACL', 'SETUSER', name, 'off', `#${mark}`],
    GETUSER(name),
    ['EXEC'],
  ])
  for (const queued of replies) good(queued)
  const results = replies.at(-1)
  if (!Array.isArray(results)) throw new IssuerUnavailable('Redis: EXEC answers no list')
  const before = userIn(results[0])
  good(results[1])
  if (before === undefined) {
    const [reply] = await connection.exchange([GETUSER(name)])
    const made = userIn(reply)
    if (made !== undefined && !made.enabled && made.hashes.length === 1 && made.hashes[0] === mark)
      await connection.exchange([['ACL', 'DELUSER', name]])
    return 'gone'
  }
  if (before.hashes.length > 0 && !before.hashes.includes(mark)) {
    // It got a password in between: another one, whose own way of logging in was never asked for. As it was.
    const [reply] = await connection.exchange([['ACL', 'SETUSER', name, `!${mark}`, ...(before.enabled ? ['on'] : [])]])
    hasApplied(reply)
    return 'changed'
  }
  return 'done'
}

/** Whether a conditional SETUSER found what it asked for. */
export function hasApplied(reply: Reply | undefined): boolean {
  if (reply instanceof Failure && /password you are trying to remove/i.test(reply.text)) return false
  good(reply)
  return true
}

/**
 * Makes the server write down its users.
 * @returns why it did not, though it may later: what was changed would be forgotten when it starts again
 * @throws IssuerRefused it has no such file, or the admin may not
 */
export async function remember(connection: Connection, keep: Settings['keep']): Promise<string | undefined> {
  if (keep === 'nowhere') return undefined
  const [reply] = await connection.exchange([keep === 'acl-file' ? ['ACL', 'SAVE'] : ['CONFIG', 'REWRITE']])
  if (!(reply instanceof Failure)) return undefined
  if (/not configured to use an ACL file|without a config file/i.test(reply.text))
    throw new IssuerRefused(
      `Redis: the server has no file of the kind that keep names (${keep}): a change would be forgotten when it starts again`,
    )
  const error = issuerError(reply)
  if (error instanceof IssuerRefused) throw error
  return 'the server cannot write its users down: the change would be forgotten when it starts again'
}
