import type { Case, Lease } from './model.ts'

/**
 * The lease ended before the case began, and nothing of it is known to live: a credential of the same name that is said
 * to be live now has to be looked for anew.
 */
export const isOver = (lease: Pick<Lease, 'state' | 'ended'>, current: Pick<Case, 'openedAt'>): boolean =>
  lease.state === 'ended' &&
  (lease.ended === undefined ||
    (lease.ended.at < current.openedAt && !(lease.ended.livesUntil !== undefined && lease.ended.livesUntil > current.openedAt)))
