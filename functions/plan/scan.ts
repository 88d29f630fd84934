import type { WorkMessage } from '../contracts/message.ts'
import type { ScopeRef } from '../contracts/scope.ts'
import type { Actor, Case } from '../domain/model.ts'
import { pacer } from '../domain/pace.ts'
import { after, instant } from '../domain/time.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import { MOST_IN_QUEUE } from '../runtime/dispatch.ts'
import type { Clock } from '../runtime/ports.ts'
import { postponeCase } from '../store/cases.ts'
import { leaseOfSort, progressName, shardPartition } from '../store/keys.ts'
import type { Item, Table } from '../store/table.ts'
import type { NewChunk } from '../store/units.ts'
import { progressOf, writeChunks } from '../store/units.ts'

export interface ScanPorts {
  readonly table: Table
  readonly dispatch: Dispatch
  readonly clock: Clock
  /** A scope none of whose shards holds more keys is listed at once; 0: none is. Absent: `CHUNK`. */
  readonly atOnce?: number
}

/**
 * How far a scan has come: to the end of its shard; not yet, and it may go on at once; or no further now, because as
 * much is on its way as should be. The case is then due again soon, and goes on behind the shard's cursor.
 */
export type Scanned = 'over' | 'more' | 'full'

/** Leases of one chunk at most. */
export const CHUNK = 100
/** Keys read at a time: a page below 1 MB, whose chunks fit one transaction beside the cursor. */
const PAGE = 1000
/** Chunks written at a time: a transaction takes 100 operations, and a shard may hold leases of more issuers than that. */
export const MOST_CHUNKS = 90
/** A chunk that is not over by then is sent again by the sweeper, in seconds. */
export const LOOK_AFTER_SECONDS = 180
/**
 * Chunks written for one shard in one visit: up to 64,000 leases a minute and shard, a million for the sixteen of an
 * identity. With the room in the queue, which may be counted late, it bounds what is under way however large the case.
 */
export const MOST_AT_A_VISIT = 640
/** Messages above the queue's measure that first pages may fill, all cases together. */
const RESERVE = MOST_IN_QUEUE
/** A case whose scan found no room goes on with the next sweep after this, in seconds. */
export const RESUME_SECONDS = 20
/** Half of what a partition gives (3,000 read units a second): the other half is for the workers, who read it too. */
export const UNITS_PER_SECOND = 1500
/** What a key read is taken for where the store does not say: a lease of 1.3 KB, strongly read. */
const UNITS_PER_KEY = 1 / 3

/**
 * Scans one shard from its cursor and cuts it into chunks: key ranges of one issuer with up to 100 leases, written in
 * one transaction with the cursor (protocol 6). It reads no faster than the partition allows, holds one page at a time,
 * and stops where the queues of its issuers are full.
 *
 * @param pages how many pages at most
 */
export async function scanShard(
  ports: ScanPorts,
  current: Case,
  scope: ScopeRef,
  shard: number,
  pages: number,
  by: Actor,
): Promise<Scanned> {
  const { table, clock } = ports
  const pace = pacer(UNITS_PER_SECOND)
  let sent = 0
  const name = progressName(scope, shard)
  for (let read = 0; read < pages; ) {
    const progress = await progressOf(table, current.id, name)
    if (progress === undefined) return 'over'
    if (progress.sealed) return 'over'
    const page = await table.query({
      pk: shardPartition(scope, shard),
      limit: PAGE,
      only: [],
      ...(progress.cursor === '' ? { prefix: 'L#' } : { after: progress.cursor, to: 'L#~' }),
    })
    read += 1
    const pause = pace.used(page.units ?? page.items.length * UNITS_PER_KEY, clock.now())
    const all = chunksOf(page.items, scope, shard, progress.expected)
    const chunks = all.slice(0, MOST_CHUNKS)
    const left = await roomFor(ports, current, [...new Set(chunks.map(({ issuer }) => issuer))], progress.expected === 0)
    if (chunks.length > 0 && (chunks.length > left || sent >= MOST_AT_A_VISIT)) {
      await postponeCase(table, current.id, after(instant(clock.now()), RESUME_SECONDS))
      return 'full'
    }
    const whole = chunks.length === all.length
    const last = (whole ? (page.items.at(-1)?.sk ?? page.next) : chunks.at(-1)?.covers.to) ?? progress.cursor
    const seal = whole && page.next === undefined
    const written = await writeChunks(
      table,
      progress,
      chunks,
      last === '' ? 'L#' : last,
      seal,
      after(by.at, LOOK_AFTER_SECONDS),
      by,
    )
    // Another planner was here in between: read again where it got to; its chunks it sends itself, or the sweeper does.
    if (!written) continue
    sent += chunks.length
    await sendChunks(ports, current, scope, shard, chunks)
    if (seal) return 'over'
    if (read < pages && pause > 0) await clock.sleep(pause)
  }
  return 'more'
}

/**
 * How many chunks the queues of some issuers take now.
 *
 * @param first the first page of a shard has a reserve of its own: a small case does not wait until a huge one is planned
 */
export async function roomFor(
  { dispatch }: ScanPorts,
  current: Case,
  issuers: readonly string[],
  first: boolean,
): Promise<number> {
  const room = await dispatch.room?.(current.lane, issuers)
  return room === undefined ? Number.POSITIVE_INFINITY : room.left + (first ? RESERVE : 0)
}

export const sendChunks = (
  { dispatch }: ScanPorts,
  current: Case,
  scope: ScopeRef,
  shard: number,
  chunks: readonly NewChunk[],
): Promise<void> =>
  dispatch.work(
    current.lane,
    chunks.map(
      (chunk): WorkMessage => ({
        v: 1,
        kind: 'chunk',
        case: current.id,
        progress: progressName(scope, shard),
        chunk: chunk.name,
        issuer: chunk.issuer,
      }),
    ),
  )

/** Cuts the keys of a page into ranges of one issuer. Names count on, so that a shard's chunks never share one. */
function chunksOf(
  items: readonly Item[],
  scope: ScopeRef,
  shard: number,
  before: number,
): (NewChunk & { readonly covers: { readonly to: string } })[] {
  const pk = shardPartition(scope, shard)
  const chunks: { issuer: string; from: string; to: string; keys: number }[] = []
  for (const { sk } of items) {
    const { issuer } = leaseOfSort(sk)
    const open = chunks.at(-1)
    if (open !== undefined && open.issuer === issuer && open.keys < CHUNK) {
      open.to = sk
      open.keys += 1
    } else chunks.push({ issuer, from: sk, to: sk, keys: 1 })
  }
  return chunks.map(({ issuer, from, to }, index) => ({
    name: String(before + index + 1).padStart(6, '0'),
    issuer,
    covers: { pk, from, to },
    because: 'scan' as const,
  }))
}
