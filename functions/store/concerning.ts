import type { Lease } from '../domain/model.ts'
import { concerns } from '../domain/modes.ts'
import { as } from './items.ts'
import { caseItem, issuerItem } from './keys.ts'
import type { Table } from './table.ts'

/**
 * Of the cases whose fences cover a lease, those that may do more than watch it. A case that retention removed is none
 * of which more could be known: its fence stands.
 */
export async function concerning(
  table: Table,
  lease: { readonly issuer: string; readonly environment?: string | undefined; readonly outcomes?: Lease['outcomes'] },
  cases: readonly string[],
): Promise<string[]> {
  if (cases.length === 0) return []
  const [issuerFound, ...found] = await table.getMany([issuerItem(lease.issuer), ...cases.map(caseItem)])
  const issuer = issuerFound === undefined ? undefined : as('issuer', issuerFound)
  return cases.filter((_, index) => {
    const item = found[index]
    return item === undefined || concerns(as('case', item), lease, issuer)
  })
}
