import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { attributeOf, give, plainValue } from './attributes.ts'
import { leaseSort } from './keys.ts'
import type { Item, Value } from './table.ts'

/**
 * How items lie in the table: what the service bills is the size of an item, names included, by the started kilobyte; and
 * whatever reads, streams and archives one carries its names along. So the names that every lease has are one letter there,
 * and what a lease's key says already is left out. Nobody above the table's adapter and the reader of its stream sees it.
 *
 * The names of keys and indexes, of the time to live, of what the stream is filtered by (`kind`, `state`, `step`) and of what
 * operators look for in a console (`v`, `by`) stay as they are. A letter is never given another meaning.
 */
const LETTERS: Readonly<Record<string, string>> = {
  acknowledged: 'A',
  registerBy: 'B',
  claims: 'C',
  delegable: 'D',
  expiresAt: 'E',
  fingerprint: 'F',
  generation: 'G',
  digest: 'H',
  identity: 'I',
  registers: 'J',
  depth: 'L',
  purpose: 'M',
  environment: 'N',
  outcomes: 'O',
  provider: 'P',
  pending: 'Q',
  registrar: 'R',
  sharing: 'S',
  target: 'T',
  unanswered: 'U',
  owner: 'V',
  consumer: 'W',
  ended: 'X',
  epoch: 'Y',
  registeredAt: 'Z',
}
const letters = new Map(Object.entries(LETTERS))
const names = new Map(Object.entries(LETTERS).map(([name, letter]) => [letter, name]))

/** The name of an attribute of the first level as it lies in the table. What looks like a letter of ours is set apart. */
export const shortName = (name: string): string => letters.get(name) ?? (isApart(name) ? `~${name}` : name)

/** The name that `shortName` was given. */
export const longName = (short: string): string => names.get(short) ?? (short.startsWith('~') ? short.slice(1) : short)

const isApart = (name: string): boolean => name.startsWith('~') || (name.length === 1 && name >= 'A' && name <= 'Z')

/** Attributes of a lease that its key says, where it lies in its identity's own partition. */
function saidByKey(pk: unknown, sk: unknown): Readonly<Record<string, string>> {
  if (typeof pk !== 'string' || typeof sk !== 'string' || !pk.startsWith('SCOPE#identity#')) return {}
  const [, , id = ''] = sk.split('#')
  const [identityKey, issuer, own, ...more] = id.split('.')
  if (identityKey === undefined || issuer === undefined || own === undefined || more.length > 0) return {}
  return sk === leaseSort(issuer, id) ? { id, identityKey, issuer } : {}
}

/** An item as it lies in the table. */
export function storedItem(item: Item): Record<string, AttributeValue> {
  const said = item.kind === 'lease' ? saidByKey(item.pk, item.sk) : {}
  const attributes: Record<string, AttributeValue> = {}
  for (const [name, value] of Object.entries(item))
    if (value !== undefined && (!Object.hasOwn(said, name) || said[name] !== value))
      give(attributes, shortName(name), attributeOf(value))
  return attributes
}

/** An item as it was before it lay there. */
export function readItem(attributes: Readonly<Record<string, AttributeValue>>): Record<string, Exclude<Value, undefined>> {
  const kind = attributes['kind']?.S
  const item: Record<string, Exclude<Value, undefined>> = kind === 'lease'
    ? { ...saidByKey(attributes['pk']?.S, attributes['sk']?.S) }
    : {}
  for (const name of Object.keys(attributes)) {
    const attribute = attributes[name]
    if (attribute !== undefined) give(item, longName(name), plainValue(attribute))
  }
  return item
}
