import type { Actor } from '../domain/model.ts'
import { ttl as ttlOf } from '../domain/time.ts'
import { actor } from './identities.ts'
import { LIST } from './keys.ts'
import type { Table } from './table.ts'

/** What was refused and is kept: names of fields and reasons, never values that could hold a secret. */
export interface Quarantined {
  /** Makes a repeated delivery the same entry. */
  readonly id: string
  /** Where it came from: a queue, the bus, the API. */
  readonly origin: string
  readonly source?: string
  readonly eventId?: string
  readonly eventType?: string
  readonly reason: string
  readonly notes: readonly { readonly path: string; readonly message: string }[]
  readonly bytes: number
}

export async function quarantine(table: Table, entry: Quarantined, until: string, by: Actor): Promise<void> {
  await table.write({
    put: {
      pk: `QUARANTINE#${entry.id}`,
      sk: 'QUARANTINE',
      kind: 'quarantine',
      id: entry.id,
      origin: entry.origin,
      source: entry.source,
      eventId: entry.eventId,
      eventType: entry.eventType,
      reason: entry.reason,
      notes: entry.notes.slice(0, 50).map((note) => ({ ...note })),
      bytes: entry.bytes,
      listPk: LIST.quarantine,
      listAt: by.at,
      ttl: ttlOf(until),
      by: actor(by),
    },
    if: [['pk', 'absent']],
  })
}
