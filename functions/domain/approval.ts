import type { CaseDecision } from '../contracts/case.ts'
import type { Campaign, Case } from './model.ts'
import { after, later, secondsUntil } from './time.ts'

/** Approvals that nobody configured last this long, in hours. */
const VALID_HOURS = 72
/** A compromise that cut more leases than this, where nothing is configured, deletes nothing before somebody approved it. */
const DELETION_ABOVE = 100

export interface ApprovalSettings {
  readonly validHours?: number | undefined
  readonly deletionAbove?: number | undefined
}

/** Above how many leases a compromise waits with its deletions. */
export const deletionAbove = (settings: ApprovalSettings | undefined): number => settings?.deletionAbove ?? DELETION_ABOVE

/**
 * Until when an approval counts that is given now: so long after it was given, or after the moment that it is for where
 * that is later. An approval of a case that starts in a month is not stale when the month is over.
 */
export const validUntil = (settings: ApprovalSettings | undefined, now: string, effectiveAt: string): string =>
  after(later(now, effectiveAt), (settings?.validHours ?? VALID_HOURS) * 3600)

/** The last thing that was decided about it. */
const lastAbout = (decisions: readonly CaseDecision[], about: CaseDecision['about']): CaseDecision | undefined =>
  decisions.findLast((decision) => decision.about === about)

/** Somebody who may has approved it, nobody took that back, and it has not run out. Resuming what was held is an approval as well. */
export function approvalStands(decisions: readonly CaseDecision[], about: CaseDecision['about'], now: string): boolean {
  const last = lastAbout(decisions, about)
  if (last === undefined || !(last.decision === 'approved' || last.decision === 'resumed')) return false
  return last.validUntil === undefined || last.validUntil > now
}

/** It was approved, and the approval ran out before it was used. */
export function approvalLapsed(decisions: readonly CaseDecision[], about: CaseDecision['about'], now: string): boolean {
  const last = lastAbout(decisions, about)
  return last?.decision === 'approved' && !approvalStands(decisions, about, now)
}

/** An approval of a deletion counts from the moment that the deletion is possible, however long the soak time is. */
const covers = (approval: Pick<CaseDecision, 'at' | 'validUntil'>, dueAt: string, now: string): boolean =>
  approval.validUntil === undefined || after(later(approval.at, dueAt), secondsUntil(approval.validUntil, approval.at)) > now

/** `waits`: look again later. `refused`: never; the access stays cut, the object stays. */
export type DeletionVerdict = 'allowed' | 'waits' | 'refused'

/**
 * Whether what a case cut may be deleted. Deleting cannot be undone, so it waits for an approval where a compromise met
 * a protected identity, belongs to a campaign, or cut many leases; and everywhere until the case is closed, because its
 * size is not known before. What was refused once, by case or by campaign, is never deleted. A campaign's approval
 * counts for the cases that were there when it was given, and not for those of the very person who gave it.
 *
 * @param campaign the case's campaign, where it has one; an unknown one approves nothing
 * @param dueAt when the soak time is over, RFC 3339; absent: now
 */
export function deletionAllowed(
  current: Pick<
    Case,
    | 'type'
    | 'deletion'
    | 'deletionAbove'
    | 'campaign'
    | 'decisions'
    | 'openedAt'
    | 'closedAt'
    | 'requester'
    | 'counts'
    | 'amendCounts'
  >,
  campaign: Pick<Campaign, 'decisions'> | undefined,
  now: string,
  dueAt: string = now,
): DeletionVerdict {
  if (current.deletion === 'refused') return 'refused'
  const concerning = (campaign?.decisions ?? []).filter(({ at }) => at >= current.openedAt)
  if (current.type === 'compromise' && concerning.some(({ decision }) => decision === 'rejected')) return 'refused'
  if (current.closedAt === undefined) return 'waits'
  if (!gated(current)) return 'allowed'
  const own = lastAbout(current.decisions, 'deletion')
  const given = [
    ...(own?.decision === 'approved' ? [own] : []),
    ...concerning.filter(({ decision, by }) => decision === 'approved' && by !== current.requester),
  ]
  return given.some((approval) => covers(approval, dueAt, now)) ? 'allowed' : 'waits'
}

/** Its deletions are one person's word away: a compromise that says so itself, or that cut more than the limit. */
const gated = (current: Pick<Case, 'type' | 'deletion' | 'deletionAbove' | 'counts' | 'amendCounts'>): boolean =>
  current.deletion !== undefined ||
  (current.type === 'compromise' &&
    current.deletionAbove !== undefined &&
    current.counts.revoked + current.amendCounts.revoked > current.deletionAbove)

/** What the case's view says of its deletions: what was decided about it, or that somebody must. */
export const deletionOf = (
  current: Pick<Case, 'type' | 'deletion' | 'deletionAbove' | 'counts' | 'amendCounts'>,
): 'after-soak' | 'waits' | 'approved' | 'refused' => current.deletion ?? (gated(current) ? 'waits' : 'after-soak')
