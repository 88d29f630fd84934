import type { Actor } from '../domain/model.ts'
import { actor } from './identities.ts'
import type { ItemKey, Table } from './table.ts'

const KEY_CHECK: ItemKey = { pk: 'KEY#fingerprint', sk: 'KEY' }

/** Whether the installation's fingerprint key is the one that the table was begun with; the first one is taken as it is. */
export async function keyCheck(table: Table, check: string, by: Actor): Promise<boolean> {
  const known = await table.get(KEY_CHECK)
  if (known !== undefined) return known.check === check
  const done = await table.write({ put: { ...KEY_CHECK, kind: 'key-check', check, by: actor(by) }, if: [['pk', 'absent']] })
  return done.ok || done.current?.check === check
}
