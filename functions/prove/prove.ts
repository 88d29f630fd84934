import { auditOf, silentOf } from '../domain/audit.ts'
import { sealSegment } from '../domain/segment.ts'
import type { Archive } from '../runtime/ports.ts'
import type { Change } from '../runtime/stream.ts'
import type { Table } from '../store/table.ts'

export interface ProvePorts {
  readonly archive: Archive
  /** The audit index: a table of its own without a stream, or the trail would feed itself (protocol 17). */
  readonly index: Table
}

/**
 * Turns a batch of the table's changes into one segment of the archive, then indexes it. A batch that comes again
 * makes the same segment; one that is cut differently makes records with the same ids, which readers take once.
 */
export function prover({ archive, index }: ProvePorts) {
  return async (changes: readonly Change[]): Promise<number> => {
    const records = changes.flatMap(({ before, after }) => auditOf(before, after))
    const first = changes[0]?.sequence
    const last = changes.at(-1)?.sequence
    const silent = changes.flatMap(({ before, after }) => silentOf(before, after) ?? [])
    if (records.length + silent.length === 0 || first === undefined || last === undefined) return 0
    const segment = sealSegment(records, silent, { first, last, at: records[0]?.at ?? momentOf(changes[0]) })
    await archive.put(segment.key, segment.body)
    await index.putAll(segment.subjects.map((subject) => ({ pk: subject, sk: segment.key, records: segment.records })))
    return records.length
  }
}

/** When a change was made, as its item says. */
function momentOf(change: Change | undefined): string {
  const by = (change?.after ?? change?.before)?.by
  return by !== null && typeof by === 'object' && 'at' in by ? String(by.at) : ''
}
