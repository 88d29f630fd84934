import * as z from 'zod/mini'
import { Trigger } from '../contracts/trigger.ts'
import { key } from '../domain/keys.ts'
import { after, instant } from '../domain/time.ts'
import { issueNotes } from '../runtime/issues.ts'
import type { Log } from '../runtime/ports.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import { quarantine } from '../store/quarantine.ts'
import type { AcceptPorts } from './accept.ts'
import { acceptor } from './accept.ts'

/** The part of an EventBridge event that is read here. */
export const BusEvent = z.object({
  id: z.string(),
  source: z.string(),
  account: z.string(),
  'detail-type': z.string(),
  detail: z.unknown(),
})
export type BusEvent = z.infer<typeof BusEvent>

/**
 * Takes triggers from the intake bus. An event carries no caller: its `source` is bound to principals by the bus's
 * policy, so the source is what is authenticated. What cannot be taken is kept with its reason; only a fault of ours
 * is thrown, so that the bus delivers again.
 */
export function busIntake(ports: AcceptPorts & { readonly log: Log }) {
  const { table, clock, settings } = ports
  const accept = acceptor(ports)

  async function keep(
    event: BusEvent,
    reason: string,
    notes: readonly { path: string; message: string }[],
    source: string | undefined,
  ): Promise<void> {
    const now = instant(clock.now())
    ports.log.warn('an event was refused', { eventId: event.id, reason: reason.slice(0, 100) })
    await quarantine(
      table,
      {
        id: key('quarantine', 'bus', event.id),
        origin: 'intake bus',
        ...(source === undefined ? {} : { source }),
        eventId: event.id,
        eventType: event['detail-type'].slice(0, 256),
        reason,
        notes,
        bytes: Buffer.byteLength(JSON.stringify(event.detail ?? null)),
      },
      after(now, settings.limits.retentionDays * 86400),
      { who: `bus:${event.source.slice(0, 256)}`, at: now },
    )
  }

  return async function take(event: BusEvent): Promise<void> {
    const source = settings.sources.find((one) => one.busSource === event.source)
    if (source === undefined) return keep(event, 'the source is not configured', [], undefined)
    const trigger = z.safeParse(Trigger, event.detail)
    if (!trigger.success)
      return keep(event, 'body-invalid: the detail is no trigger', issueNotes(trigger.error.issues, event.detail), source.name)
    if (trigger.data.type !== event['detail-type'])
      return keep(event, 'body-invalid: detail-type and type differ', [], source.name)
    try {
      const receipt = await accept(trigger.data, { source, principal: `bus:${event.source}` })
      ports.log.info('a trigger was taken', { case: receipt.case, status: receipt.status, source: source.name })
    } catch (error) {
      if (!(error instanceof ProblemError) || error.status >= 500 || error.status === 429) throw error
      await keep(event, `${error.code}: ${error.detail ?? error.title}`, error.errors ?? [], source.name)
    }
  }
}
