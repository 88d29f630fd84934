import { estateItem } from './keys.ts'
import type { Table } from './table.ts'

/**
 * One more identity is known. It only feeds the share by which a fuse trips, so it is a count at best effort: one that is
 * lost to a crash or a throttled write is lost.
 */
export async function countIdentity(table: Table): Promise<void> {
  try {
    await table.write({ update: estateItem(), set: [['kind', 'estate']], add: [['identities', 1]] })
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'store-busy')) throw error
  }
}
