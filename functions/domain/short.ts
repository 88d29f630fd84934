import type { Decision } from './decide.ts'
import type { Case, Chunk, Lease } from './model.ts'

/**
 * The short way: the intent of a cut stands once in the chunk instead of on each of its leases, and a lease goes from
 * live to ended in one write that is conditional on the very version that was read. Only the common case takes it;
 * whatever else is met goes the long way (claim, cut, outcome).
 */

/** More exceptions than this are not worth it: the whole chunk goes the long way. */
export const MOST_EXCEPTIONS = 25

/**
 * Whether a chunk may go the short way: the first attempt of a range that the scan of a fenced case made, with an issuer
 * whose proof of death follows at once or is not to be had. What runs out, was given back or was never acknowledged is
 * not fenced, so a renewal could come between; amendments, children and bystanders may meet another attempt of their case.
 */
export const maybeShort = (
  chunk: Pick<Chunk, 'kind' | 'because' | 'covers' | 'step' | 'state' | 'attempts' | 'intent' | 'applied'>,
  current: Pick<Case, 'cause' | 'fencedAt'>,
  issuer: { readonly verifies: boolean; readonly propagationSeconds: number },
): boolean =>
  chunk.kind === 'chunk' &&
  chunk.because === 'scan' &&
  !('leases' in chunk.covers) &&
  chunk.state === 'open' &&
  chunk.step === 'revoke' &&
  chunk.attempts === 0 &&
  chunk.intent === undefined &&
  Object.keys(chunk.applied).length === 0 &&
  current.cause === undefined &&
  current.fencedAt !== undefined &&
  (!issuer.verifies || issuer.propagationSeconds === 0)

/**
 * Whether a lease may go the short way: live, acknowledged, its credential its own, in nobody's hands and never in a
 * restoration's, with nothing under way that could bring it to life again, and outside of every delegation, for children
 * join the case before their parent is cut and may be found by a second unit.
 */
export const isPlain = (lease: Lease, decision: Decision, caseId: string): boolean =>
  decision.do === 'claim' && !decision.givesBack && lease.claims[caseId] === undefined && neverTouched(lease)

const neverTouched = (lease: Lease): boolean =>
  lease.state === 'live' &&
  lease.holder === undefined &&
  !lease.unanswered &&
  !lease.pending &&
  lease.unsettledUntil === undefined &&
  lease.revived !== true &&
  fits(lease)

/** What of it does not change: it tells as well whether an intent may have meant it. */
const fits = (lease: Lease): boolean =>
  lease.acknowledged &&
  lease.sharing === 'exclusive' &&
  lease.ambiguous !== true &&
  lease.unheld !== true &&
  !lease.delegable &&
  lease.parent === undefined &&
  lease.restoration === undefined

/**
 * Whether an attempt of this very case may have been made on a lease that no claim shows: its chunk carries an intent
 * that does not leave it out, and the case has no outcome of it yet. It counts as unanswered.
 *
 * @param unit the chunk's name: a worker that read the chunk before its intent was there may have claimed the lease since,
 *   and its claim knows nothing of the attempt
 */
export const mayBeAttempted = (lease: Lease, chunk: Pick<Chunk, 'intent'>, caseId: string, unit?: string): boolean =>
  chunk.intent !== undefined &&
  (lease.claims[caseId] === undefined || (lease.claims[caseId] === unit && lease.outcomes[caseId] === undefined)) &&
  !chunk.intent.except.includes(lease.id) &&
  fits(lease)
