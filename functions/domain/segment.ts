import type { AuditRecord } from '../contracts/audit.ts'
import type { Silent } from './audit.ts'
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
 * The last line names the versions of which there is nothing to tell: with them, the versions of each item run without
 * a gap through the archive, and a lost record shows.
 *
 * @param batch the sequence numbers of its first and last change, and the moment that it is filed under: the same batch
 *   always makes the same segment
 */
export function sealSegment(
  records: readonly AuditRecord[],
  silent: readonly Silent[],
  batch: { readonly first: string; readonly last: string; readonly at: string },
): Segment {
  const { at, first, last } = batch
  const day = at.slice(0, 10) || 'undated'
  const hour = at.slice(11, 13) || '00'
  const subjects = new Set<string>([subjectOfDay(day)])
  // Most records of a batch are of one identity: each is hashed once.
  const identities = new Set<string>()
  for (const record of records) {
    if (record.case !== undefined) subjects.add(subjectOfCase(record.case))
    if (record.identity !== undefined) identities.add(record.identity)
  }
  for (const identity of identities) subjects.add(subjectOfIdentity(identityKey(identity)))
  for (const { key } of silent) {
    const subject = subjectOfKey(key)
    if (subject !== undefined) subjects.add(subject)
  }
  const lines = [...records.map((record) => JSON.stringify(record)), ...(silent.length === 0 ? [] : [JSON.stringify({ silent })])]
  return {
    key: `segments/${day.replaceAll('-', '/')}/${hour}/${first}-${last}.jsonl`,
    body: `${lines.join('\n')}\n`,
    subjects: [...subjects],
    records: records.length,
  }
}

/** Whose trail an item's versions belong to, from its key. */
function subjectOfKey(key: string): string | undefined {
  const [, kind, first, second] = /^(CASE|ID|SCOPE)#([a-z2-7]+)(?:#([a-z2-7]+))?/.exec(key) ?? []
  if (kind === 'CASE' && first !== undefined) return subjectOfCase(first)
  if (kind === 'ID' && first !== undefined) return subjectOfIdentity(first)
  return kind === 'SCOPE' && first === 'identity' && second !== undefined ? subjectOfIdentity(second) : undefined
}
