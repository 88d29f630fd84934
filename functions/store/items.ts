import type {
  Accepted,
  Ask,
  Breaker,
  Campaign,
  Case,
  Chunk,
  Control,
  Credential,
  Discoveries,
  Discovery,
  Fence,
  Finding,
  Fuse,
  Heartbeat,
  Identity,
  Issuer,
  Lease,
  Lever,
  LeverHolders,
  Limiter,
  Outage,
  Progress,
  Restoration,
  RestorationPart,
  Unit,
} from '../domain/model.ts'
import type { Item, ItemKey, Table } from './table.ts'

interface Kinds {
  ask: Ask
  identity: Identity
  fence: Fence
  lease: Lease
  credential: Credential
  case: Case
  unit: Unit
  lever: Lever
  progress: Progress
  chunk: Chunk
  amendment: Chunk
  issuer: Issuer
  breaker: Breaker
  limiter: Limiter
  'lever-holders': LeverHolders
  restoration: Restoration
  'restoration-part': RestorationPart
  control: Control
  campaign: Campaign
  fuse: Fuse
  heartbeat: Heartbeat
  outage: Outage
  discovery: Discovery
  discoveries: Discoveries
  finding: Finding
  acceptance: Accepted
}

/**
 * What an item of each kind must have at least, by its type: without one of these it was written by an older schema, by
 * somebody else, or was damaged. Only what the kind cannot be understood without, and what is never left out.
 */
const LEAST: Partial<Record<keyof Kinds, Readonly<Record<string, 'string' | 'number' | 'boolean' | 'object'>>>> = {
  ask: { case: 'string', issuer: 'string', state: 'string' },
  identity: { id: 'string', epoch: 'number' },
  fence: { fences: 'object' },
  lease: { id: 'string', identity: 'string', issuer: 'string', state: 'string' },
  credential: { holders: 'number' },
  case: { id: 'string', type: 'string', lane: 'string', state: 'string', scope: 'object' },
  unit: { case: 'string', scope: 'string', state: 'string' },
  lever: { case: 'string', issuer: 'string', leverKey: 'string', state: 'string' },
  progress: { case: 'string', scope: 'string', shard: 'number', expected: 'number', done: 'number' },
  chunk: { case: 'string', issuer: 'string', covers: 'object', step: 'string', state: 'string' },
  amendment: { case: 'string', issuer: 'string', covers: 'object', step: 'string', state: 'string' },
  issuer: { name: 'string', provider: 'string' },
  limiter: { rate: 'number', urgent: 'number', common: 'number', at: 'number', cuts: 'number', calls: 'object' },
  restoration: { id: 'string', state: 'string' },
  'restoration-part': { restoration: 'string', name: 'string', issuer: 'string', state: 'string' },
  campaign: { id: 'string', source: 'string' },
  outage: { from: 'string', to: 'string' },
  discovery: {
    id: 'string',
    issuer: 'string',
    state: 'string',
    step: 'number',
    counts: 'object',
    found: 'object',
    kept: 'object',
  },
  finding: { discovery: 'string', issuer: 'string', of: 'string', fingerprint: 'string' },
}

/**
 * Why an item cannot be read as a thing of a kind; `undefined` where it can. A later version of this code that writes
 * items which this one would misread gives them a `schema`: this one knows none.
 */
export function faultOf(kind: keyof Kinds, item: Item): string | undefined {
  const found = item.kind
  if (found !== kind && !(kind === 'chunk' && found === 'amendment')) return `expected ${kind}, found ${String(found)}`
  if (item.schema !== undefined) return `${kind} of an unknown schema`
  const least = LEAST[kind] ?? {}
  for (const name in least) {
    const value = item[name]
    if (typeof value !== least[name] || value === null) return `${kind} without ${name}`
  }
  return undefined
}

/** An item that is not what its key says: an older or a foreign schema. It is never guessed at. */
export class ForeignItem extends Error {
  readonly code = 'foreign-item'
  override readonly name = 'ForeignItem'
}

/**
 * The item as the thing that it is. Everything in the table was written by this store, so its kind and what it cannot be
 * without are checked and its shape trusted: the one place where the type of stored data is asserted.
 *
 * @throws ForeignItem
 */
export function as<Kind extends keyof Kinds>(kind: Kind, item: Item): Kinds[Kind] {
  const fault = faultOf(kind, item)
  if (fault !== undefined) throw new ForeignItem(fault)
  const thing: unknown = item
  return thing as Kinds[Kind]
}

/** Reads one thing, strongly consistent; `undefined` where there is none. */
export async function read<Kind extends keyof Kinds>(table: Table, kind: Kind, key: ItemKey): Promise<Kinds[Kind] | undefined> {
  const item = await table.get(key)
  return item === undefined ? undefined : as(kind, item)
}

export const keyOf = (item: ItemKey): ItemKey => ({ pk: item.pk, sk: item.sk })
