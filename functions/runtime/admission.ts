import { StoreBusy } from '../store/table.ts'
import type { Request, Route } from './http.ts'
import type { Metrics } from './metrics.ts'
import type { Clock, Randomness } from './ports.ts'
import { ProblemError } from './problem-error.ts'

/**
 * What may wait, and what should not: `deferrable` is a new registration or a trigger that is not urgent, whose sender
 * tries again; `steady` keeps what exists as it is (a renewal, a confirmation, a lease given back) and is refused last.
 * What is urgent is not asked about here at all.
 */
export type Rank = 'deferrable' | 'steady'

/** Requests at once in one process. On Lambda each process has one; on one machine all share it. */
const MOST_AT_ONCE: Readonly<Record<Rank, number>> = { deferrable: 32, steady: 64 }
/** Of what may wait, so much is admitted at least: or nobody would notice that it is over. */
const LEAST_SHARE = 0.05
/** How fast the share grows again, a second. */
const GROWTH = 0.05
/** The share is halved once in so many milliseconds: one burst of refusals is one sign. */
const SIGN_MILLISECONDS = 200

export interface Admission {
  /**
   * Does the work, or refuses it.
   * @throws ProblemError `overloaded` with `Retry-After`
   */
  admit<Result>(rank: Rank, work: () => Promise<Result>): Promise<Result>
  /** The store has just refused a call of this process for its rate. */
  throttled(): void
}

/**
 * Sheds load at the border before it harms revocation, which lives from the same table: too many requests at once, and,
 * by the share that the store's own refusals leave, additively grown and halved at each sign, as a congested network
 * is left alone. What is refused has cost nothing yet, and is told when to come again, each at another moment.
 */
export function admission(ports: { readonly clock: Clock; readonly random: Randomness; readonly metrics: Metrics }): Admission {
  const { clock, random, metrics } = ports
  let underWay = 0
  let share = 1
  let since = 0
  let signed = Number.NEGATIVE_INFINITY

  const shareNow = (): number => Math.min(1, share + (GROWTH * Math.max(0, clock.now() - since)) / 1000)

  function throttled(): void {
    const now = clock.now()
    if (now - signed < SIGN_MILLISECONDS) return
    share = Math.max(LEAST_SHARE, shareNow() / 2)
    since = now
    signed = now
  }

  function refuse(rank: Rank, reason: 'concurrency' | 'store', left: number): never {
    metrics.count('Shed', `${reason}-${rank}`)
    const seconds = 1 + Math.ceil((random.fraction() * 5) / Math.max(left, 0.2))
    throw new ProblemError('overloaded', 'nothing was done; try again later, with the same idempotency key', {
      retryAfterSeconds: seconds,
    })
  }

  return {
    throttled,
    async admit(rank, work) {
      if (underWay >= MOST_AT_ONCE[rank]) refuse(rank, 'concurrency', 1)
      const left = shareNow()
      // What keeps things as they are is refused only where even the little that may wait is too much.
      const admitted = rank === 'steady' ? Math.min(1, left * 4) : left
      if (admitted < 1 && random.fraction() >= admitted) refuse(rank, 'store', left)
      underWay += 1
      try {
        return await work()
      } catch (error) {
        if (error instanceof StoreBusy) throttled()
        throw error
      } finally {
        underWay -= 1
      }
    },
  }
}

/** The same routes behind the admission. */
export const admitted = (admit: Admission['admit'], routes: readonly Route[], rankOf: (route: Route) => Rank): Route[] =>
  routes.map((route) => ({ ...route, handle: (request: Request) => admit(rankOf(route), () => route.handle(request)) }))
