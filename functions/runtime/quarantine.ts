import { key } from '../domain/keys.ts'
import { KEPT_DAYS } from '../domain/queues.ts'
import { after, instant } from '../domain/time.ts'
import { noteDeath } from '../store/dead-letters.ts'
import { quarantine } from '../store/quarantine.ts'
import type { ItemKey, Table } from '../store/table.ts'
import { aboutError } from './log.ts'
import type { Metrics } from './metrics.ts'
import type { Clock } from './ports.ts'
import type { Delivery, InvalidMessage } from './sqs-batch.ts'
import type { UnusableReason } from './unusable.ts'
import { UNUSABLE } from './unusable.ts'

/** Something of ours that cannot be handled: where it was met, and which item of the table is meant. */
export interface UnusableItem {
  readonly reason: UnusableReason
  /** `sweep`, `stream of close`. */
  readonly origin: string
  /** Absent where not even its key can be read. */
  readonly item?: ItemKey
  /** What tells one from the other where there is no key: the place in the stream. */
  readonly place?: string
}

export interface Keeper {
  /** A message that is not what its queue carries, or that nobody can ever handle. */
  message(message: InvalidMessage): Promise<void>
  /** A message that failed for the last time: why, for whoever looks at the dead letters. */
  death(delivery: Delivery, error: unknown): Promise<void>
  /** An item, or a record of the table's stream. */
  item(unusable: UnusableItem): Promise<void>
}

/**
 * Keeps what cannot be handled, redacted: where it is wrong, not what it says. Each time is counted, but what comes again
 * makes one entry: what a message of ours is about is in its entry's id, so that a chunk whose case is gone is one entry
 * however often the sweeper sends it.
 */
export function keeper(table: Table, clock: Clock, retentionDays: number, metrics: Metrics): Keeper {
  return {
    async message(message) {
      const at = instant(clock.now())
      metrics.count('Quarantined', message.reason)
      await quarantine(
        table,
        {
          // What did not parse may hold anything: nothing about it may be guessed from a hash.
          id: message.about === undefined ? message.messageId : key('quarantine', message.queue, message.about),
          origin: `queue ${message.queue}`,
          reason: `${message.reason}: ${UNUSABLE[message.reason]}`,
          notes: message.notes,
          bytes: Buffer.byteLength(message.body),
        },
        after(at, retentionDays * 86400),
        { who: 'queue', at },
      )
    },
    async death({ queue, messageId }, error) {
      const at = instant(clock.now())
      const until = after(at, KEPT_DAYS * 86400)
      await noteDeath(table, { queue, id: messageId, error: aboutError(error) }, until, { who: 'queue', at })
    },
    async item({ reason, origin, item, place }) {
      const at = instant(clock.now())
      metrics.count('Quarantined', reason)
      await quarantine(
        table,
        {
          id: key('quarantine', reason, item?.pk ?? '', item?.sk ?? '', place ?? ''),
          origin,
          reason: `${reason}: ${UNUSABLE[reason]}`,
          // Keys hold hashes and narrow names alone.
          notes: item === undefined ? [] : [{ path: '', message: `${item.pk} / ${item.sk}` }],
          bytes: 0,
        },
        after(at, retentionDays * 86400),
        { who: origin, at },
      )
    },
  }
}
