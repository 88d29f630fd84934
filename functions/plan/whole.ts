import type { ScopeRef } from '../contracts/scope.ts'
import type { Actor, Case, Unit } from '../domain/model.ts'
import { enforcesAll } from '../domain/modes.ts'
import { after } from '../domain/time.ts'
import type { Definition } from '../providers/contract.ts'
import { issuerOf } from '../store/issuers.ts'
import { leaseOfSort } from '../store/keys.ts'
import type { Item } from '../store/table.ts'
import type { NewChunk } from '../store/units.ts'
import { listWhole } from '../store/units.ts'
import type { ScanPorts } from './scan.ts'
import { CHUNK, LOOK_AFTER_SECONDS, MOST_CHUNKS, roomFor, sendChunks } from './scan.ts'

export type WholePorts = ScanPorts & { readonly catalog: Readonly<Record<string, Definition>> }

/** What one shard held when it was read to its end, after the fence. */
export interface Held {
  readonly shard: number
  readonly items: readonly Item[]
}

/**
 * `listed`: it is, or somebody else was faster. `many`: it is more than one transaction and one progress take. `full`: the queues take no
 * more now, and nothing was written.
 */
export type Whole = 'listed' | 'many' | 'full'

/**
 * Lists a scope that holds little in one transaction, whatever number of shards it lies in: one progress for all of them,
 * and chunks that take the leases of one issuer together, as many as one of its calls cuts. Most identities hold a
 * handful of leases; shard by shard each of these would be a chunk, a message and a visit.
 *
 * @param held what the shards held, each with up to `CHUNK` keys
 */
export async function scanWhole(ports: WholePorts, current: Case, unit: Unit, held: readonly Held[], by: Actor): Promise<Whole> {
  const scope = unit.scope as ScopeRef
  const groups = byIssuer(held)
  const chunks: NewChunk[] = []
  for (const [issuer, shards] of groups) {
    const known = await issuerOf(ports.table, issuer)
    // The report of what was only watched has room for so many owners in each progress.
    if (!enforcesAll(current, issuer, known)) return 'many'
    // What one call cuts, so that nobody waits for a second one.
    const most = Math.min(CHUNK, (known === undefined ? undefined : ports.catalog[known.provider])?.limits.batch ?? CHUNK)
    for (const together of packed(shards, most))
      chunks.push({
        name: String(chunks.length + 1).padStart(6, '0'),
        issuer,
        covers: { scope, shards: together },
        because: 'scan',
      })
  }
  const [first] = held
  if (first === undefined || chunks.length > MOST_CHUNKS) return 'many'
  if ((await roomFor(ports, current, [...groups.keys()], true)) < chunks.length) return 'full'
  const written = await listWhole(ports.table, current, unit, first.shard, chunks, after(by.at, LOOK_AFTER_SECONDS), by)
  // Another planner was here in between: its chunks it sends itself, or the sweeper does.
  if (written) await sendChunks(ports, current, scope, first.shard, chunks)
  return 'listed'
}

/** How many leases of each issuer each shard held. */
function byIssuer(held: readonly Held[]): Map<string, { shard: number; leases: number }[]> {
  const groups = new Map<string, { shard: number; leases: number }[]>()
  for (const { shard, items } of held)
    for (const { sk } of items) {
      const { issuer } = leaseOfSort(sk)
      const group = groups.get(issuer) ?? []
      const last = group.at(-1)
      if (last?.shard === shard) last.leases += 1
      else group.push({ shard, leases: 1 })
      groups.set(issuer, group)
    }
  return groups
}

/** Shards in their order, together while they hold no more than `most`; one that holds more by itself is by itself. */
export function packed(shards: readonly { shard: number; leases: number }[], most: number): number[][] {
  const packs: number[][] = []
  let room = 0
  for (const { shard, leases } of shards) {
    const open = packs.at(-1)
    if (open !== undefined && leases <= room) open.push(shard)
    else {
      packs.push([shard])
      room = most
    }
    room -= leases
  }
  return packs
}
