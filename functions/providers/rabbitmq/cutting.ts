import type { Answer, Liveness, Restored } from '../contract.ts'
import type { Management, User } from './api.ts'
import { limitOf } from './api.ts'
import type { Target } from './definition.ts'
import { fingerprintOf, opened, shut } from './names.ts'

/** Milliseconds between looks for connections that should be gone: 3 s in all at most. */
const PAUSES = [20, 50, 100, 200, 400, 800, 1400]

/** The user that a target means; `other` is a namesake with another password. */
type Found = { readonly user: User } | 'gone' | 'other'

async function find(api: Management, { user: name, hash }: Target): Promise<Found> {
  const user = await api.user(name)
  if (user === undefined) return 'gone'
  const own = opened(user.password_hash)?.hash ?? user.password_hash
  return hash === undefined || fingerprintOf(own) === hash ? { user } : 'other'
}

const OTHER = 'the user that bears the name has another password: it is another credential, left alone'

/**
 * The password first: its hash is shut, so that no protocol and no management API lets anybody in by it. Then no
 * connections at all, for those who log in without one (certificates). Then those that are open are closed.
 *
 * `touched` is called before the first effect: whatever fails later may have had it.
 */
export async function cut(api: Management, target: Target, touched: () => void): Promise<Answer> {
  const found = await find(api, target)
  if (found === 'other') return { status: 'absent', said: OTHER }
  if (found === 'gone') return await goneAnswer(api, target.user)
  if (target.user === api.admin)
    return { status: 'irrevocable', said: 'it is the user that Rescind itself works as: a person must' }
  const { user } = found
  touched()
  const before = opened(user.password_hash)
  if (before === undefined && (await api.putHash(user, shut(user.password_hash, limitOf(user)))) === 'made') {
    // It was deleted a moment before, and a write makes what is not there: without permissions, and shut.
    await removeOurs(api, user)
    return await goneAnswer(api, target.user)
  }
  if (limitOf(user) !== 0 && (await api.putLimit(target.user, 0)) === 'no-user') return await goneAnswer(api, target.user)
  const { closed, left } = await closeAll(api, target.user)
  if (left > 0) {
    return { status: 'retry', said: `shut, but ${left} connections are still open`, effect: 'unknown', afterSeconds: 2 }
  }
  const after = await find(api, target)
  if (after === 'gone') return { status: 'revoked', said: 'shut, and deleted by somebody in the meantime' }
  if (after === 'other') return { status: 'revoked', said: 'shut, and given another password by somebody in the meantime' }
  if (!isShut(after.user)) {
    return { status: 'retry', said: 'shut, and opened by somebody in the meantime', effect: 'unknown', afterSeconds: 2 }
  }
  const connections = `${closed} connections closed, none left`
  return { status: 'revoked', said: before === undefined ? `shut; ${connections}` : `shut before by us; ${connections}` }
}

const isShut = (user: User): boolean => opened(user.password_hash) !== undefined && limitOf(user) === 0

async function goneAnswer(api: Management, name: string): Promise<Answer> {
  // A deleted user's connections are closed by the server; these are of somebody whom another backend lets in.
  const open = await api.connections(name)
  return open === 0
    ? { status: 'absent', said: 'the cluster has no such user' }
    : {
        status: 'irrevocable',
        said: `the cluster has no such user, and ${open} connections of that name: another authentication backend (LDAP, OAuth 2) lets it in`,
      }
}

async function removeOurs(api: Management, user: User): Promise<void> {
  const now = await api.user(user.name)
  const own = now === undefined ? undefined : opened(now.password_hash)
  if (own?.hash === user.password_hash) await api.deleteUser(user.name)
}

async function closeAll(api: Management, name: string): Promise<{ readonly closed: number; readonly left: number }> {
  let closed = 0
  for (let round = 0; ; round += 1) {
    const open = await api.connections(name)
    const pause = PAUSES[round]
    if (open === 0 || pause === undefined) return { closed, left: open }
    closed = Math.max(closed, open)
    await api.closeConnections(name)
    await api.pause(pause)
  }
}

export async function liveness(api: Management, target: Target): Promise<Liveness> {
  const found = await find(api, target)
  if (found === 'other') return { status: 'dead', said: OTHER }
  const open = await api.connections(target.user)
  if (open > 0) return { status: 'alive', said: `${open} connections of the user are open` }
  if (found === 'gone') return { status: 'dead', said: 'the cluster has no such user, and no connection of that name' }
  return isShut(found.user)
    ? { status: 'dead', said: 'shut: no password fits, no connection is allowed, none is open' }
    : { status: 'alive', said: 'the user can log in' }
}

export async function undo(api: Management, target: Target, touched: () => void): Promise<Restored> {
  const found = await find(api, target)
  if (found === 'gone') return { status: 'gone', said: 'the user is gone: it cannot be restored' }
  if (found === 'other') return { status: 'gone', said: `the password was replaced: ${OTHER}` }
  const before = opened(found.user.password_hash)
  if (before === undefined) return { status: 'restored', said: 'the user is not shut: there is nothing to undo' }
  touched()
  // The limit before the hash: with the hash goes the note of what the limit was.
  if ((await api.putLimit(target.user, before.limit)) === 'no-user')
    return { status: 'gone', said: 'the user is gone: it cannot be restored' }
  if ((await api.putHash(found.user, before.hash)) === 'made') {
    // Deleted a moment before: what was made has its password and no permission, and is nobody's.
    await api.deleteUser(target.user)
    return { status: 'gone', said: 'the user is gone: it cannot be restored' }
  }
  return { status: 'restored', said: 'undone: the same password is let in again' }
}

export async function remove(api: Management, target: Target, touched: () => void): Promise<Answer> {
  const found = await find(api, target)
  if (found === 'other') return { status: 'absent', said: OTHER }
  if (found === 'gone') return await goneAnswer(api, target.user)
  if (opened(found.user.password_hash) === undefined) {
    return { status: 'irrevocable', said: 'the user is not shut by us: it was not cut, or was restored; not deleted' }
  }
  touched()
  return (await api.deleteUser(target.user))
    ? { status: 'revoked', said: 'user deleted, with its permissions and limits' }
    : { status: 'absent', said: 'the cluster has no such user' }
}
