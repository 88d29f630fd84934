import type { Completion } from '../contracts/completion.ts'
import { COMPLETION_TYPES } from '../contracts/completion.ts'
import type { LeaseOverdue } from '../contracts/outage.ts'
import { OVERDUE_TYPE } from '../contracts/outage.ts'
import type { Settings } from '../contracts/settings.ts'
import { deletionOf } from '../domain/approval.ts'
import type { Actor, Case, Lease } from '../domain/model.ts'
import { after, instant, ttl } from '../domain/time.ts'
import { viewOfCase, viewOfLease } from '../domain/views.ts'
import type { Announcer, Clock } from '../runtime/ports.ts'
import type { Change } from '../runtime/stream.ts'
import { markHeldCase, unmarkHeldCase } from '../store/campaigns.ts'
import { closeCase, isDoneAgain, isFinished, markContained, moveState } from '../store/cases.ts'
import { as } from '../store/items.ts'
import { remains } from '../store/leases.ts'
import { leversOf } from '../store/levers.ts'
import type { Item, Table } from '../store/table.ts'
import { completeProgress } from '../store/units.ts'
import { closeAgain } from '../store/watch.ts'
import { announceDiscovery } from './discoveries.ts'

export interface ClosePorts {
  readonly table: Table
  readonly announcer: Announcer
  readonly clock: Clock
  readonly limits: Settings['limits']
}

/**
 * Moves cases on from what the stream shows: counts finished shards, closes what is finished, tells about it. Each step
 * is conditional on the item as it is, so records that come twice or late change nothing; announcing may happen twice,
 * under the same event id.
 */
export function closer(ports: ClosePorts) {
  const { table, clock, limits } = ports
  const actor = (current: Pick<Case, 'id' | 'type'> | undefined): Actor => ({
    who: 'close',
    at: instant(clock.now()),
    ...(current === undefined ? {} : { case: current.id, trigger: current.type }),
  })

  return async function close({ before, after: item }: Change): Promise<void> {
    if (item === undefined) return before === undefined ? undefined : forget(before)
    switch (item.kind) {
      case 'progress': {
        const progress = as('progress', item)
        if (progress.sealed && !progress.complete && progress.done === progress.expected)
          await completeProgress(table, progress, actor(undefined))
        return
      }
      case 'chunk':
        if (item.step === 'verify' && item.state === 'open')
          await moveState(table, String(item.case), ['revoking'], 'verifying', actor(undefined))
        return
      case 'lease':
        return ranOut(before === undefined ? undefined : as('lease', before), as('lease', item))
      case 'discovery':
        return announceDiscovery(
          ports.announcer,
          before === undefined ? undefined : as('discovery', before),
          as('discovery', item),
        )
      case 'case':
        return moved(before === undefined ? undefined : as('case', before), as('case', item))
      default:
        return
    }
  }

  /** A lease whose class only tells of its running out: told once for each time that it runs out. */
  async function ranOut(before: Lease | undefined, lease: Lease): Promise<void> {
    const { overdueSince } = lease
    if (overdueSince === undefined || before?.overdueSince === overdueSince) return
    const data: LeaseOverdue['data'] = { lease: viewOfLease(lease), overdueSince }
    const event = { type: OVERDUE_TYPE, id: `${lease.id}/${overdueSince}`, subject: lease.id, time: overdueSince, data }
    await ports.announcer.announce([event])
  }

  async function moved(before: Case | undefined, current: Case): Promise<void> {
    if (current.sealed && current.containedAt === undefined && current.levers.expected > 0) await contained(current)
    if (isFinished(current))
      await closeCase(table, current, ttl(after(instant(clock.now()), (limits.retentionDays + 366) * 86400)), actor(current))
    if ((current.exempt ?? 0) > (before?.exempt ?? 0))
      await announce(current, COMPLETION_TYPES.exempted, `${current.id}/exempt/${current.exempt}`)
    if (isDoneAgain(current))
      await closeAgain(table, current, ttl(after(instant(clock.now()), (limits.retentionDays + 366) * 86400)), actor(current))
    // Once each time that it is opened again; while it is open, what else lives is told when it closes.
    if ((current.resurrections ?? 0) > (before?.resurrections ?? 0) && before?.state !== 'resurrected')
      await announce(current, COMPLETION_TYPES.resurrected, `${current.id}/resurrected/${current.resurrections}`)
    if (current.closedAt === undefined || before === undefined) return
    if (before.closedAt === undefined) {
      // Its size is known now: what it may not delete without a word is shown to those who can say it.
      if (current.campaign === undefined && deletionOf(current) === 'waits')
        await table.write(markHeldCase(current.id, actor(current)))
      await announce(current, COMPLETION_TYPES.closed, current.id)
    }
    // The completion event is corrected by each amendment that ends after the case was closed; while it is open again, when it closes.
    else if (before.state === 'resurrected' && current.state === 'closed')
      await announce(current, COMPLETION_TYPES.amended, `${current.id}/${current.amendments.done}`)
    else if (current.state !== 'resurrected' && current.amendments.done > before.amendments.done)
      await announce(current, COMPLETION_TYPES.amended, `${current.id}/${current.amendments.done}`)
  }

  async function contained(current: Case): Promise<void> {
    const { expected, done } = current.levers
    // A lever that failed contained nothing: the case says so, and its leases are cut one by one.
    if (done < expected) return
    const pulled = (await leversOf(table, current.id)).flatMap(({ doneAt }) => (doneAt === undefined ? [] : [doneAt])).sort()
    await markContained(table, current.id, { ...actor(current), at: pulled.at(-1) ?? instant(clock.now()) })
  }

  async function announce(current: Case, type: Completion['type'], id: string): Promise<void> {
    const milliseconds = (moment: string | undefined) =>
      moment === undefined
        ? undefined
        : Math.max(0, Date.parse(moment) - Math.max(Date.parse(current.effectiveAt), Date.parse(current.openedAt)))
    const toFence = milliseconds(current.fencedAt)
    const toContainment = milliseconds(current.containedAt)
    const toClose = milliseconds(current.closedAt)
    const data: Completion['data'] = {
      case: viewOfCase(current),
      milliseconds: {
        ...(toFence === undefined ? {} : { toFence }),
        ...(toContainment === undefined ? {} : { toContainment }),
        ...(toClose === undefined ? {} : { toClose }),
      },
    }
    await ports.announcer.announce([{ type, id, subject: current.id, time: instant(clock.now()), data }])
  }

  /**
   * A lease that retention removed takes its pointers with it: they have no expiry of their own, for a renewal could
   * outlive one. A case takes its mark in the operators' list with it.
   */
  async function forget(before: Item): Promise<void> {
    if (before.kind === 'case') await table.write(unmarkHeldCase(as('case', before).id))
    if (before.kind !== 'lease') return
    for (const write of remains(as('lease', before))) await table.write(write)
  }
}
