import type { Actor } from '../domain/model.ts'
import type { GenerationMark, Log } from '../runtime/ports.ts'
import { controlOf, markRestored } from '../store/control.ts'
import { heartbeatOf, noteBehind, setGeneration } from '../store/outage.ts'
import type { Table } from '../store/table.ts'

/**
 * Counts the generation of the table, outside first: a table is at most one behind its mark, unless it is an older one
 * that was brought back. Such a table is marked as restored and counted no further, until an operator releases it; from
 * then on it is counted on from the mark.
 *
 * Outside, one more than the table is written only while they are equal. So after a crash between the two writes the
 * next count closes the table's side and goes no further, and the mark never runs two ahead of a table that is its own,
 * however often and by however many sweeps it is counted. A table without a generation counts as generation 0: a first
 * start that crashed in between goes on, and an empty table under an older mark is seen.
 */
export async function countGeneration(table: Table, mark: GenerationMark, log: Log, by: Actor): Promise<'counted' | 'restored'> {
  const control = await controlOf(table)
  const outside = await mark.read()
  // Read after the mark: what another sweep counts in between can only bring the table closer.
  const beat = await heartbeatOf(table)
  const inside = beat?.generation ?? 0
  if (control?.restored !== undefined) {
    await noteBehind(table, beat, outside?.generation, by)
    return 'restored'
  }
  if (outside === undefined && inside > 0)
    log.error('the generation mark is gone: until it stands again, a restored table would not be noticed', { generation: inside })
  if (outside === undefined || outside.generation <= inside) {
    if (await mark.write(inside + 1, outside?.version)) await setGeneration(table, beat, inside + 1, by)
    return 'counted'
  }
  const released = beat?.behind === outside.generation
  if (outside.generation > inside + 1 && !released) {
    const reason = `the table is at generation ${inside}, the mark outside it at ${outside.generation}`
    await markRestored(table, reason, { ...by, why: reason })
    await noteBehind(table, beat, outside.generation, by)
    log.error('this table was restored from a backup: no issuer is called until an operator releases it', {
      generation: inside,
      mark: outside.generation,
    })
    return 'restored'
  }
  await setGeneration(table, beat, outside.generation, by)
  return 'counted'
}
