import type { Identity } from '../domain/model.ts'
import { ownerGroup, workloadGroup } from './identities.ts'
import { as } from './items.ts'
import { groupFence } from './keys.ts'
import type { ItemKey, Table } from './table.ts'

async function fenced(table: Table, keys: readonly ItemKey[]): Promise<boolean[]> {
  const items = await table.getMany(keys)
  return items.map((item) => item !== undefined && as('fence', item).closed !== false)
}

/** Those of the owners who have left: their group is fenced. Strongly consistent. */
export async function leftOwners(table: Table, owners: readonly string[]): Promise<ReadonlySet<string>> {
  const unique = [...new Set(owners)]
  const left = await fenced(
    table,
    unique.map((owner) => groupFence(ownerGroup(owner))),
  )
  return new Set(unique.filter((_, index) => left[index] === true))
}

/**
 * Nobody has fenced the identity, whoever of its owners left: it is an orphan, or its case waits for an approval that its
 * leases must not run out before.
 */
export const staysUp = (identity: Pick<Identity, 'epoch' | 'fencedThrough'> | undefined): boolean =>
  identity !== undefined && identity.epoch > identity.fencedThrough

/** Whether a group that an identity would be born into is fenced. */
export async function isBornFenced(table: Table, owner: string | undefined, workload: string | undefined): Promise<boolean> {
  const found = await fenced(table, [
    ...(owner === undefined ? [] : [groupFence(ownerGroup(owner))]),
    ...(workload === undefined ? [] : [groupFence(workloadGroup(workload))]),
  ])
  return found.some(Boolean)
}
