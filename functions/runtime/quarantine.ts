import { after, instant } from '../domain/time.ts'
import { quarantine } from '../store/quarantine.ts'
import type { Table } from '../store/table.ts'
import type { Clock } from './ports.ts'
import type { InvalidMessage } from './sqs-batch.ts'

/** Keeps messages that are not what their queue carries, redacted: where they are wrong, not what they say. */
export function quarantineOf(table: Table, clock: Clock, retentionDays: number) {
  return async (message: InvalidMessage): Promise<void> => {
    const at = instant(clock.now())
    await quarantine(
      table,
      {
        id: message.messageId,
        origin: `queue ${message.queue}`,
        reason: 'the message does not fit its schema',
        notes: message.notes,
        bytes: Buffer.byteLength(message.body),
      },
      after(at, retentionDays * 86400),
      { who: 'queue', at },
    )
  }
}
