import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { attributeOf, give, plainValue } from './attributes.ts'
import { leaseSort } from './keys.ts'
import type { Item, Value } from './table.ts'

/**
 * How items lie in the table: what the service bills is the size of an item, names included, by the started kilobyte; and
 * whatever reads, streams and archives one carries its names along. So the names that every lease has are one letter there,
 * and what a lease's key says already is left out. Nobody above the table's adapter and the reader of its stream sees it.
 *
 * The names of keys and indexes, of the time to live, of what the stream is filtered by (`kind`, `state`, `step`) and of the
 * version stay as they are. A letter is never given another meaning.
 */
interface Names {
  readonly letters: ReadonlyMap<string, string>
  readonly names: ReadonlyMap<string, string>
  /** What lies in a map under one of these names; under every other, `each`. */
  readonly of: ReadonlyMap<string, Names>
  readonly each: Names | undefined
  /** Not of an item itself. */
  readonly below: boolean
}
const named = (
  letters: Readonly<Record<string, string>>,
  of: Readonly<Record<string, Names>> = {},
  each?: Names,
  below = true,
): Names => ({
  letters: new Map(Object.entries(letters)),
  names: new Map(Object.entries(letters).map(([name, letter]) => [letter, name])),
  of: new Map(Object.entries(of)),
  each,
  below,
})

// No `S`, `N`, `B`, `M`, `L`, which are types of values: an emulator takes a map that has such a name for a value.
const ACTOR = named({ at: 'a', case: 'c', trigger: 't', who: 'w', why: 'y' })
const EVIDENCE = named({ by: 'b', cutAt: 'c', said: 's', sessionsUntil: 'u', verified: 'v', verifiedAt: 'w' })
const OUTCOME = named({ at: 'a', evidence: 'e', livesUntil: 'l', observed: 'b', outcome: 'o' }, { evidence: EVIDENCE })
const END = named({ at: 'a', case: 'c', livesUntil: 'l', outcome: 'o' })
const ITEM = named(
  {
    acknowledged: 'A',
    registerBy: '1',
    claims: 'C',
    delegable: 'D',
    expiresAt: 'E',
    fingerprint: 'F',
    generation: 'G',
    digest: 'H',
    identity: 'I',
    registers: 'J',
    depth: '2',
    purpose: '3',
    environment: '4',
    outcomes: 'O',
    provider: 'P',
    pending: 'Q',
    registrar: 'R',
    sharing: '5',
    target: 'T',
    unanswered: 'U',
    owner: 'V',
    consumer: 'W',
    ended: 'X',
    epoch: 'Y',
    registeredAt: 'Z',
  },
  // By case: its names are keys, and stay.
  { by: ACTOR, ended: END, outcomes: named({}, {}, OUTCOME) },
  undefined,
  false,
)

/** What looks like a letter of ours is set apart. Where there are no letters, names are what they are. */
const shorten = (names: Names, name: string): string =>
  names.letters.size === 0 ? name : (names.letters.get(name) ?? (isApart(names, name) ? `~${name}` : name))
const lengthen = ({ letters, names }: Names, short: string): string =>
  letters.size === 0 ? short : (names.get(short) ?? (short.startsWith('~') ? short.slice(1) : short))
/** Letters are capitals and digits at the first level, where `v` is a name of its own, and small ones below it. */
const isApart = ({ below }: Names, name: string): boolean => (below ? /^(~.*|[a-z])$/s : /^(~.*|[A-Z0-9])$/s).test(name)

/** The name of an attribute of the first level as it lies in the table, and the name that this was given. */
export const shortName = (name: string): string => shorten(ITEM, name)
export const longName = (short: string): string => lengthen(ITEM, short)

/** A path as it lies in the table. */
export function shortPath(steps: readonly string[]): string[] {
  let names: Names | undefined = ITEM
  return steps.map((step) => {
    const short: string = names === undefined ? step : shorten(names, step)
    names = names?.of.get(step) ?? names?.each
    return short
  })
}

/** A value as it lies in the table under a path. */
export function storedValue(steps: readonly string[], value: Exclude<Value, undefined>): AttributeValue {
  let names: Names | undefined = ITEM
  for (const step of steps) names = names?.of.get(step) ?? names?.each
  return attributeOf(names === undefined ? value : renamed(value, names, shorten, (under, name) => under.of.get(name)))
}

/** The same value with the names of its maps changed, as deep as there are letters for them. */
function renamed(
  value: Exclude<Value, undefined>,
  names: Names,
  rename: (names: Names, name: string) => string,
  below: (names: Names, name: string) => Names | undefined,
): Exclude<Value, undefined> {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value
  const map: Record<string, Value> = {}
  for (const [name, entry] of Object.entries(value)) {
    if (entry === undefined) continue
    const under = below(names, name) ?? names.each
    give(map, rename(names, name), under === undefined ? entry : renamed(entry, under, rename, below))
  }
  return map
}

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
      give(attributes, shortName(name), storedValue([name], value))
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
    if (attribute === undefined) continue
    const long = longName(name)
    const value = plainValue(attribute)
    const names = ITEM.of.get(long)
    give(
      item,
      long,
      names === undefined ? value : renamed(value, names, lengthen, (under, short) => under.of.get(lengthen(under, short))),
    )
  }
  return item
}
