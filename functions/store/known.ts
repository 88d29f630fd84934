import type { Known } from '../domain/discovery.ts'
import type { Credential, Lease } from '../domain/model.ts'
import { as, faultOf, keyOf } from './items.ts'
import { credentialItem, dueExpiries, leaseOfSort, scopeOfCredential, shardPartition, shardsOf } from './keys.ts'
import { leasesOf } from './leases.ts'
import type { Item, ItemKey, Table } from './table.ts'

/** What the table knows of credentials that an issuer lists, and of leases that it should list. */

/** Leases of one shared credential that are read; what those behind them could refute is not said. */
const MOST_HOLDERS = 1000
const PAGE = 100
const AT_ONCE = 16

/**
 * The leases of credentials, by fingerprint, strongly consistent. A credential that the table does not know is left out;
 * one with something unreadable is `undefined`.
 *
 * @param unreadable told of an item that is not of this schema
 */
export async function knownOf(
  table: Table,
  fingerprints: readonly string[],
  unreadable: (item: ItemKey) => void,
): Promise<Map<string, Known | undefined>> {
  const known = new Map<string, Known | undefined>()
  const unique = [...new Set(fingerprints)]
  const items = await table.getMany(unique.map(credentialItem))
  const exclusive = new Map<string, string>()
  const shared: string[] = []
  for (const [index, fingerprint] of unique.entries()) {
    const item = items[index]
    if (item === undefined) continue
    if (faultOf('credential', item) !== undefined) {
      unreadable(keyOf(item))
      known.set(fingerprint, undefined)
      continue
    }
    const { lease }: Credential = as('credential', item)
    if (lease === undefined) shared.push(fingerprint)
    else exclusive.set(fingerprint, lease)
  }
  const bad = new Set<string>()
  const note = (item: ItemKey) => {
    bad.add(leaseOfSort(item.sk).lease)
    unreadable(item)
  }
  const held = await leasesOf(table, [...exclusive.values()], note)
  for (const [fingerprint, id] of exclusive) {
    const lease = held.get(id)
    known.set(fingerprint, bad.has(id) ? undefined : { leases: lease === undefined ? [] : [lease], complete: true })
  }
  for (let start = 0; start < shared.length; start += AT_ONCE)
    await Promise.all(
      shared.slice(start, start + AT_ONCE).map(async (fingerprint) => {
        known.set(fingerprint, await holders(table, fingerprint, unreadable))
      }),
    )
  return known
}

async function holders(table: Table, fingerprint: string, unreadable: (item: ItemKey) => void): Promise<Known | undefined> {
  const scope = scopeOfCredential(fingerprint)
  const leases: Lease[] = []
  let fault = false
  for (let shard = 0; shard < shardsOf(scope); shard += 1) {
    let after: string | undefined
    do {
      if (leases.length >= MOST_HOLDERS) return { leases, complete: false }
      const page = await table.query({
        pk: shardPartition(scope, shard),
        limit: PAGE,
        ...(after === undefined ? { prefix: 'L#' } : { after, to: 'L#~' }),
      })
      const ids = page.items.map((item) => leaseOfSort(item.sk).lease)
      const found = await leasesOf(table, ids, (item) => {
        fault = true
        unreadable(item)
      })
      for (const lease of found.values()) if (lease.fingerprint === fingerprint) leases.push(lease)
      after = page.next
    } while (after !== undefined)
  }
  return fault ? undefined : { leases, complete: true }
}

/**
 * The leases in force at an issuer, by an index that may lag: hints for what is read once more before anything is said of
 * it.
 *
 * @param place where an earlier page ended
 * @param next where the page after it begins; absent at the end
 */
export async function inForceAt(
  table: Table,
  issuer: string,
  place: string | undefined,
  most: number,
): Promise<{ readonly items: readonly Item[]; readonly next?: string }> {
  const partitions = dueExpiries(issuer)
  const [, number = '0', cursor = ''] = /^(\d+)\.(.*)$/s.exec(place ?? '0.') ?? []
  let shard = Number(number)
  let rest = cursor
  const items: Item[] = []
  for (; shard < partitions.length; shard += 1, rest = '') {
    for (;;) {
      if (items.length >= most) return { items, next: `${shard}.${rest}` }
      const page = await table.index({
        index: 'due',
        partition: partitions[shard] ?? '',
        limit: Math.min(200, most - items.length),
        ...(rest === '' ? {} : { cursor: rest }),
      })
      items.push(...page.items)
      if (page.cursor === undefined) break
      rest = page.cursor
    }
  }
  return { items }
}
