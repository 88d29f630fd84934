import type { WorkMessage } from '../contracts/message.ts'
import type { ScopeRef } from '../contracts/scope.ts'
import type { Actor, Case } from '../domain/model.ts'
import { after } from '../domain/time.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import { leaseOfSort, progressName, shardPartition } from '../store/keys.ts'
import type { Item, Table } from '../store/table.ts'
import type { NewChunk } from '../store/units.ts'
import { progressOf, writeChunks } from '../store/units.ts'

export interface ScanPorts {
  readonly table: Table
  readonly dispatch: Dispatch
}

/** Leases of one chunk at most. */
export const CHUNK = 100
/** Keys read at a time: a page below 1 MB, whose chunks fit one transaction beside the cursor. */
const PAGE = 1000
/** Chunks written at a time: a transaction takes 100 operations, and a shard may hold leases of more issuers than that. */
const MOST_CHUNKS = 90
/** A chunk that is not over by then is sent again by the sweeper, in seconds. */
const LOOK_AFTER_SECONDS = 180

/**
 * Scans one shard from its cursor and cuts it into chunks: key ranges of one issuer with up to 100 leases, written in
 * one transaction with the cursor (protocol 6).
 *
 * @param pages how many pages at most
 * @returns whether the shard is at its end
 */
export async function scanShard(
  ports: ScanPorts,
  current: Case,
  scope: ScopeRef,
  shard: number,
  pages: number,
  by: Actor,
): Promise<boolean> {
  const { table, dispatch } = ports
  const name = progressName(scope, shard)
  for (let read = 0; read < pages; ) {
    const progress = await progressOf(table, current.id, name)
    if (progress === undefined) return true
    if (progress.sealed) return true
    const page = await table.query({
      pk: shardPartition(scope, shard),
      limit: PAGE,
      ...(progress.cursor === '' ? { prefix: 'L#' } : { after: progress.cursor, to: 'L#~' }),
    })
    read += 1
    const all = chunksOf(page.items, scope, shard, progress.expected)
    const chunks = all.slice(0, MOST_CHUNKS)
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
    await dispatch.work(
      current.lane,
      chunks.map(
        (chunk): WorkMessage => ({
          v: 1,
          kind: 'chunk',
          case: current.id,
          progress: name,
          chunk: chunk.name,
          issuer: chunk.issuer,
        }),
      ),
    )
    if (seal) return true
  }
  return false
}

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
