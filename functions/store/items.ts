import type {
  Ask,
  Breaker,
  Campaign,
  Case,
  Chunk,
  Control,
  Credential,
  Fence,
  Fuse,
  Heartbeat,
  Identity,
  Issuer,
  Lease,
  Lever,
  LeverHolders,
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
  'lever-holders': LeverHolders
  restoration: Restoration
  'restoration-part': RestorationPart
  control: Control
  campaign: Campaign
  fuse: Fuse
  heartbeat: Heartbeat
  outage: Outage
}

/** An item that is not what its key says: an older or a foreign schema. It is never guessed at. */
export class ForeignItem extends Error {
  readonly code = 'foreign-item'
  override readonly name = 'ForeignItem'
}

/**
 * The item as the thing that it is. Everything in the table was written by this store, so its kind is checked and its
 * shape trusted: the one place where the type of stored data is asserted.
 */
export function as<Kind extends keyof Kinds>(kind: Kind, item: Item): Kinds[Kind] {
  const found = item.kind
  if (found !== kind && !(kind === 'chunk' && found === 'amendment'))
    throw new ForeignItem(`expected ${kind}, found ${String(found)}`)
  const thing: unknown = item
  return thing as Kinds[Kind]
}

/** Reads one thing, strongly consistent; `undefined` where there is none. */
export async function read<Kind extends keyof Kinds>(table: Table, kind: Kind, key: ItemKey): Promise<Kinds[Kind] | undefined> {
  const item = await table.get(key)
  return item === undefined ? undefined : as(kind, item)
}

export const keyOf = (item: ItemKey): ItemKey => ({ pk: item.pk, sk: item.sk })
