import type { AuditRecord } from '../contracts/audit.ts'
import type { Silent } from '../domain/audit.ts'
import { auditOf, silentOf } from '../domain/audit.ts'
import { sealSegment } from '../domain/segment.ts'
import type { Archive } from '../runtime/ports.ts'
import type { Change, UnreadableRecord } from '../runtime/stream.ts'
import type { Table } from '../store/table.ts'

export interface ProvePorts {
  readonly archive: Archive
  /** The audit index: a table of its own without a stream, or the trail would feed itself (protocol 17). */
  readonly index: Table
  /** Told of each change that cannot be told: it counts it. */
  readonly unreadable?: (record: UnreadableRecord) => void
}

/**
 * Turns a batch of the table's changes into one segment of the archive, then indexes it. A batch that comes again
 * makes the same segment; one that is cut differently makes records with the same ids, which readers take once.
 *
 * What cannot be read (a record that is none, an item of an unknown schema) stands in the segment by its key and version
 * alone: telling is pure, so trying again would never help, and would hold up all that comes behind it.
 */
export function prover(ports: ProvePorts) {
  const { archive, index } = ports
  return async (changes: readonly Change[], unread: readonly UnreadableRecord[] = []): Promise<number> => {
    const records: AuditRecord[] = []
    const silent: Silent[] = []
    const untold = (record: UnreadableRecord) => {
      ports.unreadable?.(record)
      const { key, version } = record
      if (key !== undefined && version !== undefined) silent.push({ key: `${key.pk}|${key.sk}`, version, unreadable: true })
    }
    for (const { sequence, before, after } of changes) {
      try {
        const told = auditOf(before, after)
        const untellable = told.length > 0 ? undefined : silentOf(before, after)
        records.push(...told)
        if (untellable !== undefined) silent.push(untellable)
      } catch {
        const item = after ?? before
        const version = Number(item?.v ?? 0)
        untold({ place: sequence, version, ...(item === undefined ? {} : { key: { pk: item.pk, sk: item.sk } }) })
      }
    }
    for (const record of unread) untold(record)
    const first = changes[0]?.sequence ?? unread[0]?.place
    const last = changes.at(-1)?.sequence ?? unread.at(-1)?.place
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
