import type { Gist } from '../domain/foresee.ts'
import { GIST } from '../domain/foresee.ts'
import { as } from './items.ts'
import { belongsTo, leaseItem, leaseOfSort } from './keys.ts'
import type { Item, Table } from './table.ts'

/** Leases as somebody sees them who only foresees what becomes of them: found by the planner's own keys, strongly read. */

export interface Found {
  readonly sk: string
  /** Absent: a pointer without its lease, or to one that does not belong here. */
  readonly lease: Gist | undefined
}
export interface FoundPage {
  readonly found: readonly Found[]
  readonly next?: string
}

/** A case that does not exist has claimed nothing and left no outcome, so nobody reads what others did. */
const READ = GIST.filter((name) => name !== 'claims' && name !== 'outcomes')
const NONE = {}

function gistOf(item: Item): Gist {
  const gist: Gist = as('lease', item)
  return { ...gist, claims: NONE, outcomes: NONE }
}

const range = (after: string) => (after === '' ? { prefix: 'L#' } : { after, to: 'L#~' })
const nextOf = (next: string | undefined) => (next === undefined ? {} : { next })

/** Leases of one shard of an identity, behind a sort key. */
export async function leasesIn(table: Table, pk: string, after: string, limit: number): Promise<FoundPage> {
  const page = await table.query({ pk, limit, only: READ, ...range(after) })
  return { found: page.items.map((item) => ({ sk: item.sk, lease: gistOf(item) })), ...nextOf(page.next) }
}

/** Leases behind the pointers of one shard of another scope. */
export async function pointedIn(table: Table, pk: string, after: string, limit: number): Promise<FoundPage> {
  const page = await table.query({ pk, limit, only: [], ...range(after) })
  const items = await table.getMany(page.items.map(({ sk }) => leaseItem(leaseOfSort(sk).lease)))
  return {
    found: page.items.map(({ sk }, index) => {
      const item = items[index]
      const lease = item === undefined ? undefined : gistOf(item)
      return { sk, lease: lease !== undefined && belongsTo(lease, pk) ? lease : undefined }
    }),
    ...nextOf(page.next),
  }
}

export async function gistById(table: Table, id: string): Promise<Gist | undefined> {
  const item = await table.get(leaseItem(id))
  return item === undefined ? undefined : gistOf(item)
}
