import type { Evidence, Outcome } from '../contracts/outcome.ts'
import type { Answer, Liveness } from '../providers/contract.ts'
import type { Credential, Lease } from './model.ts'

/** What follows from one answer about one lease. */
export type Settlement =
  /** Cut (or gone), proof of death still to come. */
  | { readonly kind: 'applied'; readonly outcome: 'revoked' | 'absent'; readonly evidence: Evidence }
  /** Final without proof of death: it cannot be cut, or a person must look. */
  | { readonly kind: 'final'; readonly outcome: Outcome }
  /** Not over. `unanswered`: whether the lease still has an attempt whose answer is unknown. */
  | {
      readonly kind: 'again'
      readonly said: string
      readonly unanswered: boolean
      readonly afterSeconds?: number
      readonly spends: boolean
    }

/**
 * Turns an issuer's answer into what is true of the lease.
 *
 * - `absent` counts as our own cut only while an earlier attempt's answer is unknown, and the evidence says so; or
 *   where the very same shared credential was cut through another lease, and the evidence names the case.
 * - Nothing is final while a mint or a renewal may still bring the credential to life (`unsettledUntil`): what was cut
 *   is cut again then. An `absent` that the issuer answered is no attempt of ours.
 *
 * @param before whether an attempt was unanswered before this one was made
 * @param now RFC 3339
 */
export function settle(
  lease: Lease,
  answer: Answer,
  before: boolean,
  credential: Credential | undefined,
  now: string,
): Settlement {
  const unsettled = lease.unsettledUntil !== undefined && lease.unsettledUntil > now
  switch (answer.status) {
    case 'revoked':
      if (unsettled) return waitToSettle(lease, `${answer.said}; it may still be minted or renewed`, true, now)
      return {
        kind: 'applied',
        outcome: 'revoked',
        evidence: {
          said: answer.said,
          cutAt: now,
          ...(answer.sessionsUntil === undefined ? {} : { sessionsUntil: answer.sessionsUntil }),
        },
      }
    case 'absent':
      if (unsettled) return waitToSettle(lease, `${answer.said}; it may still be minted or renewed`, before, now)
      if (before)
        return { kind: 'applied', outcome: 'revoked', evidence: { said: `answer lost; now: ${answer.said}`, cutAt: now } }
      if (credential?.cut !== undefined)
        return {
          kind: 'applied',
          outcome: 'revoked',
          evidence: {
            said: `the shared credential was cut with another lease; now: ${answer.said}`,
            cutAt: credential.cut.at,
            by: credential.cut.case,
          },
        }
      return { kind: 'applied', outcome: 'absent', evidence: { said: answer.said } }
    case 'retry':
      return {
        kind: 'again',
        said: answer.said,
        unanswered: answer.effect === 'unknown' || before,
        spends: answer.throttled !== true,
        ...(answer.afterSeconds === undefined ? {} : { afterSeconds: answer.afterSeconds }),
      }
    case 'unsupported': {
      const livesUntil = answer.livesUntil ?? lease.expiresAt
      return { kind: 'final', outcome: { outcome: 'unsupported', at: now, evidence: { said: answer.said }, livesUntil } }
    }
    case 'irrevocable':
      return { kind: 'final', outcome: parked(lease, answer.said, now) }
  }
}

/** The longest a mint call may still be under way after its own deadline, in seconds: added to every `mintBy` and `renewsUntil`. */
export const LONGEST_CALL_SECONDS = 120

function waitToSettle(lease: Lease, said: string, unanswered: boolean, now: string): Settlement {
  const until = lease.unsettledUntil ?? now
  return {
    kind: 'again',
    said,
    unanswered,
    spends: false,
    afterSeconds: Math.max(1, Math.ceil((Date.parse(until) - Date.parse(now)) / 1000)),
  }
}

/** What the issuer says afterwards, on top of what was applied. */
export function prove(
  applied: { outcome: 'revoked' | 'absent'; evidence: Evidence },
  liveness: Liveness,
  now: string,
): { kind: 'final'; outcome: Outcome } | { kind: 'lives'; said: string } | { kind: 'ask-again'; said: string } {
  switch (liveness.status) {
    case 'dead':
      return {
        kind: 'final',
        outcome: {
          outcome: applied.outcome,
          at: now,
          evidence: { ...applied.evidence, verified: liveness.said, verifiedAt: now },
        },
      }
    case 'alive':
      return { kind: 'lives', said: liveness.said }
    case 'unknown':
      return { kind: 'ask-again', said: liveness.said }
  }
}

/** Parked: final for its case, not for the lease; a person sees it, and it is tried again. */
export const parked = (lease: Lease, said: string, now: string): Outcome => ({
  outcome: 'parked',
  at: now,
  evidence: { said },
  livesUntil: lease.expiresAt,
})
