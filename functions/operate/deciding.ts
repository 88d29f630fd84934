import type { CaseDecision, CaseView, Decision } from '../contracts/case.ts'
import type { Settings } from '../contracts/settings.ts'
import { validUntil } from '../domain/approval.ts'
import type { Actor, Case } from '../domain/model.ts'
import { modesFor } from '../domain/modes.ts'
import { after, instant, ttl } from '../domain/time.ts'
import { viewOfCase } from '../domain/views.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import type { Clock } from '../runtime/ports.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import { cancelCase, caseOf, decideDeletion, holdCase, isRunning, pauseCase, scheduleCase, startCase } from '../store/cases.ts'
import type { Table } from '../store/table.ts'
import type { Operator } from './caller.ts'
import { mustApprove } from './caller.ts'

export interface DecidingPorts {
  readonly table: Table
  readonly dispatch: Dispatch
  readonly clock: Clock
  readonly settings: Settings
}

/** A decision, and what it is about; absent: the case itself. */
interface About {
  readonly reason: string
  readonly about?: CaseDecision['about']
}

const LOOK_AFTER_SECONDS = 60
/** A running case changes with each chunk that ends: a decision is tried anew on what stands then. */
const ROUNDS = 25

/** `undefined`: the case changed between our read and our write. */
type Tried = true | undefined

/**
 * What operators decide about one case: approve, reject, hold, cancel. Each with a reason, each conditional on the case
 * as it was read, so that of two people who decide at once the second decides about what the first has left.
 */
export function deciding(ports: DecidingPorts) {
  const { table, clock, settings } = ports

  async function decide(
    id: string,
    operator: Operator,
    attempt: (current: Case, by: Actor) => Promise<Tried>,
    why: string,
  ): Promise<CaseView> {
    for (let round = 0; round < ROUNDS; round += 1) {
      const current = await caseOf(table, id)
      if (current === undefined) throw new ProblemError('not-found', 'no such case')
      const by: Actor = { who: operator.uri, why, case: id, trigger: current.type, at: instant(clock.now()) }
      if ((await attempt(current, by)) === undefined) continue
      const decided = await caseOf(table, id)
      if (decided === undefined) throw new ProblemError('not-found', 'no such case')
      return viewOfCase(decided)
    }
    throw new ProblemError('throttled', 'the case changes too fast', { retryAfterSeconds: 1 })
  }

  const withDecision = (
    current: Case,
    decision: CaseDecision['decision'],
    about: CaseDecision['about'],
    by: Actor,
    until?: string,
  ): CaseDecision[] => [
    ...current.decisions,
    {
      decision,
      about,
      by: by.who,
      reason: by.why ?? '',
      at: by.at,
      ...(until === undefined ? {} : { validUntil: until }),
    },
  ]

  /** The requester cannot approve; it takes the right to. Approving what is paused lets it go on. */
  async function approve(id: string, { reason, about = 'case' }: About, operator: Operator): Promise<CaseView> {
    mustApprove(operator)
    const attempt = async (current: Case, by: Actor): Promise<Tried> => {
      const may = () => {
        if (current.requester === operator.uri)
          throw new ProblemError('requester-cannot-approve', 'whoever asked cannot approve: a second person must')
      }
      const until = validUntil(settings.approvals, by.at, current.effectiveAt)
      if (about === 'deletion') {
        if (current.type !== 'compromise')
          throw new ProblemError('case-state', 'its deletions need no approval: only those of a compromise do')
        if (current.deletion === 'refused')
          throw new ProblemError('case-state', 'the deletion was refused: what was cut stays there, cut')
        may()
        const given = withDecision(current, 'approved', 'deletion', by, until)
        return (await decideDeletion(table, current, 'approved', given, by)) || undefined
      }
      if (current.paused !== undefined) {
        may()
        const resumed = withDecision(current, 'resumed', 'case', by, until)
        if (!(await pauseCase(table, current, undefined, resumed, by))) return undefined
        await send(current)
        return true
      }
      if (current.state !== 'held') throw new ProblemError('case-state', `the case is ${current.state}, not held`)
      may()
      const approved = withDecision(current, 'approved', 'case', by, until)
      if (current.effectiveAt > by.at) return (await scheduleCase(table, current, approved, by)) || undefined
      if (
        !(await startCase(table, current, after(by.at, LOOK_AFTER_SECONDS), approved, modesFor(settings.modes, current.type), by))
      )
        return undefined
      await send(current)
      return true
    }
    return decide(id, operator, attempt, reason)
  }

  /** A case that is sealed has no planner any more; its chunks are sent again when they are due. */
  async function send(current: Case): Promise<void> {
    if (!current.sealed) await ports.dispatch.plan(current.lane, [{ v: 1, kind: 'plan', case: current.id }])
  }

  /** What is held is cancelled; a deletion that is refused never happens, and the access stays cut. */
  async function reject(id: string, { reason, about = 'case' }: About, operator: Operator): Promise<CaseView> {
    mustApprove(operator)
    const attempt = async (current: Case, by: Actor): Promise<Tried> => {
      if (about === 'deletion') {
        if (current.deletion === 'refused') return true
        const refused = withDecision(current, 'rejected', 'deletion', by)
        return (await decideDeletion(table, current, 'refused', refused, by)) || undefined
      }
      if (current.state !== 'held') throw new ProblemError('case-state', `the case is ${current.state}, not held`)
      return (await cancelCase(table, current, withDecision(current, 'rejected', 'case', by), keptUntil(by), by)) || undefined
    }
    return decide(id, operator, attempt, reason)
  }

  const keptUntil = (by: Actor): number => ttl(after(by.at, settings.limits.retentionDays * 86400))

  /**
   * A scheduled case waits for an approval, whatever was approved before. One that runs stops: its fences stand, and no
   * issuer is called for it until somebody approves. A compromise is never held.
   */
  async function hold(id: string, { reason }: Decision, operator: Operator): Promise<CaseView> {
    const attempt = async (current: Case, by: Actor): Promise<Tried> => {
      if (current.type === 'compromise')
        throw new ProblemError('case-state', 'a compromise is never held; the kill switch stops all calls of issuers')
      const decisions = withDecision(current, 'held', 'case', by)
      if (current.state === 'scheduled')
        return (await holdCase(table, current, `held by ${by.who}: ${reason}`, decisions, by)) || undefined
      if (current.paused !== undefined) throw new ProblemError('case-state', 'the case is paused already')
      if (!isRunning(current)) throw new ProblemError('case-state', `the case is ${current.state}`)
      const paused = { by: by.who, reason, at: by.at }
      return (await pauseCase(table, current, paused, decisions, by)) || undefined
    }
    return decide(id, operator, attempt, reason)
  }

  /** What was fenced cannot be called back. */
  async function cancel(id: string, { reason }: Decision, operator: Operator): Promise<CaseView> {
    const attempt = async (current: Case, by: Actor): Promise<Tried> => {
      if (current.state !== 'scheduled' && current.state !== 'held')
        throw new ProblemError('case-state', `the case is ${current.state}: only what is scheduled or held can be cancelled`)
      return (await cancelCase(table, current, withDecision(current, 'cancelled', 'case', by), keptUntil(by), by)) || undefined
    }
    return decide(id, operator, attempt, reason)
  }

  return { approve, reject, hold, cancel }
}
