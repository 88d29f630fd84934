import type { AuditRecord } from '../contracts/audit.ts'
import { identityKey } from './keys.ts'

/** Audit records that came in one batch of the stream: one object of the archive, written once. */
export interface Segment {
  readonly key: string
  readonly body: string
  /** The subjects that this segment says something about: partitions of the audit index. */
  readonly subjects: readonly string[]
  readonly records: number
}

export const subjectOfCase = (id: string) => `CASE#${id}`
export const subjectOfIdentity = (key: string) => `IDENTITY#${key}`
export const subjectOfDay = (day: string) => `DAY#${day}`

/**
 * Seals records into a segment. This is the place where a hash tree over the records and a signed checkpoint will be
 * added: everything that reaches the archive goes through here, in the order of the stream.
 *
 * @param first, last sequence numbers of the batch: the same batch always makes the same segment
 */
export function sealSegment(records: readonly AuditRecord[], first: string, last: string): Segment {
  const at = records[0]?.at ?? ''
  const day = at.slice(0, 10) || 'undated'
  const hour = at.slice(11, 13) || '00'
  const subjects = new Set<string>([subjectOfDay(day)])
  for (const record of records) {
    if (record.case !== undefined) subjects.add(subjectOfCase(record.case))
    if (record.identity !== undefined) subjects.add(subjectOfIdentity(identityKey(record.identity)))
  }
  return {
    key: `segments/${day.replaceAll('-', '/')}/${hour}/${first}-${last}.jsonl`,
    body: `${records.map((record) => JSON.stringify(record)).join('\n')}\n`,
    subjects: [...subjects],
    records: records.length,
  }
}
