import type { ScopeRef } from '../contracts/scope.ts'
import { shardOf } from '../domain/keys.ts'
import type { Chunk, Lease, Unit } from '../domain/model.ts'
import { as } from './items.ts'
import { casePartition, leaseOfSort, progressName, progressPartition, rangesCovered, shardsOf, unitName } from './keys.ts'
import { leasesOf } from './leases.ts'
import type { Table } from './table.ts'

/** Every lease of a case, found by its units, their shards and the chunks of these, then by its amendments. */

export interface LeaseOfCase {
  readonly lease: Lease
  readonly because: Chunk['because']
}

/** A cursor that is none of ours. */
export class PlaceInvalid extends Error {
  override readonly name = 'PlaceInvalid'
  readonly code = 'place-invalid'
}

/** Reads of one page at most: a case over many identities gives short pages. */
const MOST_READS = 120
const PAGE = 100

/** Where a page goes on: at a chunk of a shard of a unit, behind a key inside it; or behind an amendment. */
interface Place {
  readonly stage: 'units' | 'amendments'
  /** Sort key of the unit, or a bit more: then the next one. */
  readonly unit: string
  readonly shard: number
  /** Sort key of the chunk, or of the last amendment. */
  readonly chunk: string
  /** The last key read inside the chunk. */
  readonly key: string
}

const START: Place = { stage: 'units', unit: 'UNIT#', shard: 0, chunk: 'CHUNK#', key: '' }
/** No sort key goes on with it, so what begins there is the next key. */
const behind = (sk: string) => `${sk}!`

/**
 * A page of the leases that a case counts, each once: by the unit that claimed it. A page may be short, or empty, and
 * still have `next`.
 *
 * @throws PlaceInvalid where the cursor is not one of ours
 */
export async function leasesOfCase(
  table: Table,
  id: string,
  cursor: string | undefined,
  limit: number,
): Promise<{ leases: LeaseOfCase[]; next?: string }> {
  let place: Place | undefined = cursor === undefined ? START : placeOf(cursor)
  const leases: LeaseOfCase[] = []
  for (let reads = 0; place !== undefined && leases.length < limit && reads < MOST_READS; ) {
    const read: Read = await (place.stage === 'units' ? unitsFrom : amendmentsFrom)(table, id, place, limit - leases.length)
    leases.push(...read.leases)
    reads += read.reads
    place = read.next
  }
  return { leases, ...(place === undefined ? {} : { next: textOf(place) }) }
}

interface Read {
  readonly leases: LeaseOfCase[]
  readonly reads: number
  readonly next?: Place
}

async function unitsFrom(table: Table, id: string, place: Place, limit: number): Promise<Read> {
  const { items } = await table.query({ pk: casePartition(id), from: place.unit, to: 'UNIT#~', limit: 1 })
  const [found] = items
  if (found === undefined) return { leases: [], reads: 1, next: { ...START, stage: 'amendments', chunk: 'AMEND#' } }
  const unit: Unit = as('unit', found)
  const shard = unit.shards[unit.sk === place.unit ? place.shard : 0]
  if (shard === undefined) return { leases: [], reads: 1, next: { ...START, unit: behind(unit.sk) } }
  const here: Place = unit.sk === place.unit ? place : { ...START, unit: unit.sk }
  const partition = progressPartition(id, progressName(unit.scope as ScopeRef, shard))
  const chunks = await table.query({ pk: partition, from: here.chunk, to: 'CHUNK#~', limit: 1 })
  const [next] = chunks.items
  if (next === undefined) return { leases: [], reads: 2, next: { ...START, unit: unit.sk, shard: here.shard + 1 } }
  const chunk: Chunk = as('chunk', next)
  const page = await leasesFrom(table, chunk, chunk.sk === here.chunk ? here.key : '', limit)
  return {
    leases: claimed(page.leases, chunk, id),
    reads: 3 + rangesCovered(chunk).length,
    next: { ...here, chunk: page.next === undefined ? behind(chunk.sk) : chunk.sk, key: page.next ?? '' },
  }
}

async function amendmentsFrom(table: Table, id: string, place: Place, limit: number): Promise<Read> {
  const page = await table.query({ pk: casePartition(id), after: place.chunk, to: 'AMEND#~', limit: Math.min(PAGE, limit) })
  const amendments = page.items.map((item): Chunk => as('amendment', item))
  const known = await leasesOf(
    table,
    amendments.map(({ sk }) => sk.slice('AMEND#'.length)),
  )
  const leases = amendments.flatMap((chunk) => {
    const lease = known.get(chunk.sk.slice('AMEND#'.length))
    return lease === undefined ? [] : claimed([lease], chunk, id)
  })
  return { leases, reads: 2, ...(page.next === undefined ? {} : { next: { ...place, chunk: page.next } }) }
}

/** The leases of a chunk behind a key; `next` is where it goes on. */
async function leasesFrom(table: Table, chunk: Chunk, key: string, limit: number): Promise<{ leases: Lease[]; next?: string }> {
  const { covers } = chunk
  if ('leases' in covers) {
    const from = key === '' ? 0 : Number(key)
    const to = from + Math.min(PAGE, limit)
    const leases = await leasesOf(
      table,
      covers.leases.slice(from, to).map((one) => one.id),
    )
    return { leases: [...leases.values()], ...(to < covers.leases.length ? { next: String(to) } : {}) }
  }
  if (key !== '' && !key.startsWith('L#')) throw new PlaceInvalid('not a place')
  const most = Math.min(PAGE, limit)
  const ranges = rangesCovered(chunk)
  // A key says by its lease in which of the shards it lies.
  const begun =
    'shards' in covers && key !== ''
      ? covers.shards.indexOf(shardOf(leaseOfSort(key).lease, shardsOf(covers.scope as ScopeRef)))
      : 0
  if (begun < 0) throw new PlaceInvalid('not a place')
  const ids: string[] = []
  let next: string | undefined
  for (const [place, { pk, from, to }] of ranges.entries()) {
    if (place < begun) continue
    const start = place === begun && key !== '' ? { after: key } : { from }
    const page = await table.query({ pk, ...start, to, limit: most - ids.length })
    ids.push(...page.items.map(({ sk }) => leaseOfSort(sk).lease))
    next = page.next ?? (ids.length >= most && place < ranges.length - 1 ? page.items.at(-1)?.sk : undefined)
    if (next !== undefined) break
  }
  const leases = await leasesOf(table, ids)
  return { leases: [...leases.values()], ...(next === undefined ? {} : { next }) }
}

const claimed = (leases: readonly Lease[], chunk: Chunk, id: string): LeaseOfCase[] =>
  leases.filter((lease) => lease.claims[id] === unitName(chunk)).map((lease) => ({ lease, because: chunk.because }))

const textOf = ({ stage, unit, shard, chunk, key }: Place): string =>
  Buffer.from(JSON.stringify([stage, unit, shard, chunk, key])).toString('base64url')

function placeOf(cursor: string): Place {
  let parsed: unknown
  try {
    parsed = JSON.parse(Buffer.from(cursor, 'base64url').toString())
  } catch {
    throw new PlaceInvalid('not JSON')
  }
  if (!Array.isArray(parsed) || parsed.length !== 5) throw new PlaceInvalid('not a place')
  const [stage, unit, shard, chunk, key]: unknown[] = parsed
  const begins = (text: unknown, prefix: string): text is string =>
    typeof text === 'string' && text.startsWith(prefix) && text.length < 500
  const inside = stage === 'amendments' ? 'AMEND#' : 'CHUNK#'
  if (
    (stage !== 'units' && stage !== 'amendments') ||
    !begins(unit, 'UNIT#') ||
    typeof shard !== 'number' ||
    !Number.isInteger(shard) ||
    shard < 0 ||
    shard > 64 ||
    !begins(chunk, inside) ||
    typeof key !== 'string' ||
    !/^(L#[a-z0-9.-]{1,100}#[a-z0-9.-]{1,200}|\d{0,6})$/.test(key)
  )
    throw new PlaceInvalid('not a place')
  return { stage, unit, shard, chunk, key }
}
