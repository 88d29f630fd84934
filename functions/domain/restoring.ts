import { hasLapsed } from './lapse.ts'
import type { Case, Lease, Restoration } from './model.ts'

/** Whether a restoration may give a lease back. */
export type Verdict =
  /** `pardons`: the cases whose fences concern it no more. */
  | { readonly may: 'yes'; readonly pardons: readonly string[] }
  /** `yet`: what stands against it may go by itself. */
  | { readonly may: 'no'; readonly said: string; readonly yet?: true }
  /** Asked again in a moment. */
  | { readonly may: 'wait'; readonly said: string }
  /** There is nothing to give back, and nothing to tell of it. */
  | { readonly may: 'skip' }

export type Asked = Pick<Restoration, 'id' | 'scope' | 'requester' | 'undoesCompromise' | 'openedAt'>
export type Covering = Pick<Case, 'id' | 'type' | 'sealed' | 'requester' | 'openedAt' | 'closedAt' | 'amendments'>

const no = (said: string): Verdict => ({ may: 'no', said })

/** The cases that have something to say about a lease: those whose fences cover it and those that met it, but for observers. */
export const casesOn = (lease: Pick<Lease, 'claims' | 'outcomes' | 'pardons'>, fences: readonly string[]): string[] =>
  [...new Set([...fences, ...Object.keys(lease.claims)])].filter(
    (id) => lease.outcomes[id]?.outcome !== 'observed' && lease.pardons?.[id] === undefined,
  )

/**
 * Decides from the lease as read and the cases that cover it. Pure; asked once before the lease is taken, and once
 * more when it is, with the fences read anew: whoever fences it in between comes second and sees that it is taken.
 *
 * @param covering the cases of `casesOn` that still exist
 * @param parent the lease that it was delegated from; `undefined` where there is none or it is gone
 */
export function judge(
  lease: Lease,
  asked: Asked,
  covering: readonly Covering[],
  parent: Pick<Lease, 'state'> | undefined,
  now: string,
): Verdict {
  const { scope } = asked
  if (lease.restored?.restoration === asked.id) return { may: 'skip' }
  const mine = lease.state === 'restoring' && lease.restoration === asked.id
  if (!mine) {
    const known = scope.kind === 'case' ? lease.outcomes[scope.id]?.outcome : undefined
    if (known === 'parked' && lease.state === 'cutting')
      return no('it is parked: whether it was cut is not known, and its cut is tried again')
    if (known === 'released' && lease.state === 'released')
      return no('nothing was cut: its grant was given back, and others hold the credential; register it anew')
    if (scope.kind === 'case' && known !== 'revoked') return { may: 'skip' }
    const over = notRestorable(lease, scope.kind === 'identity', now)
    if (over !== undefined) return over
  }
  if (mine && hasLapsed(lease, now)) return no('it has expired meanwhile')
  if (scope.kind === 'case' && lease.ended !== undefined && lease.ended.case !== scope.id)
    return no(`it was cut by case ${lease.ended.case}`)
  if (lease.parent !== undefined) {
    if (parent?.state === 'restoring') return { may: 'wait', said: 'the lease that it was delegated from comes first' }
    if (parent?.state !== 'live')
      return {
        may: 'no',
        said: 'the lease that it was delegated from is not live',
        ...(scope.kind === 'lease' ? {} : { yet: true }),
      }
  }
  for (const one of covering) {
    const against = cannotUndo(one, asked)
    if (against !== undefined) return no(against)
    if (scope.kind === 'case' && one.id !== scope.id) return no(`case ${one.id} covers it as well`)
    // An equal trigger would be noted on it, and must find the lease uncut.
    if (!one.sealed) return { may: 'wait', said: `case ${one.id} is still being planned` }
    // It would cut what lives again: this lease where it has not met it yet, a shared credential by any other holder.
    if (!isOver(one) && (lease.sharing === 'shared' || lease.outcomes[one.id] === undefined))
      return { may: 'wait', said: `case ${one.id} still runs` }
  }
  const pardons = covering.map(({ id }) => id)
  return { may: 'yes', pardons: lease.ended === undefined ? pardons : [...new Set([...pardons, lease.ended.case])] }
}

/** Each of its leases has met its end, those that came late too. */
export const isOver = ({ closedAt, amendments }: Covering): boolean =>
  closedAt !== undefined && amendments.done === amendments.expected

/** Why a case that covers a lease is not undone with it. Whoever asks undoes what he could know of, and nothing that came after. */
export function cannotUndo(covering: Covering, asked: Asked): string | undefined {
  const { id, type, requester, openedAt } = covering
  if (!(asked.scope.kind === 'case' && asked.scope.id === id) && openedAt >= asked.openedAt)
    return `case ${id} covers it, and came after the restoration was asked for`
  if (type !== 'compromise') return undefined
  if (!asked.undoesCompromise) return `compromise ${id} covers it: an approver must say that it was none (undoesCompromise)`
  return requester === asked.requester ? `whoever reported compromise ${id} cannot undo it: a second person must` : undefined
}

/** @param quiet nothing is told of what never was cut or has expired: an identity's whole past is looked through */
function notRestorable(lease: Lease, quiet: boolean, now: string): Verdict | undefined {
  if (lease.state === 'restoring') return no(`restoration ${lease.restoration ?? ''} is at it`)
  if (lease.state !== 'ended') {
    if (lease.state === 'cutting')
      return no(`it is being cut${lease.holder === undefined ? '' : ` by case ${lease.holder.case}`}`)
    return quiet ? { may: 'skip' } : no(`the lease is ${lease.state}: nothing was cut`)
  }
  if (lease.ended?.outcome !== 'revoked')
    return quiet ? { may: 'skip' } : no(`its outcome is ${lease.ended?.outcome ?? 'none'}: nothing was cut`)
  if (hasLapsed(lease, now)) return quiet ? { may: 'skip' } : no(`it would have expired at ${lease.expiresAt}`)
  if (lease.deletion !== undefined)
    return no(
      lease.deletion.done
        ? `the soak time is over: it was deleted at ${lease.deletion.at}`
        : `the soak time is over: it is being deleted since ${lease.deletion.at}`,
    )
  return undefined
}
