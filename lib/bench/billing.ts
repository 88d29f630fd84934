import type { Json, JsonObject } from '../local/json.ts'
import { isArray, isObject } from '../local/json.ts'

/**
 * What DynamoDB bills, by its documented rules ("DynamoDB item sizes and formats", "DynamoDB read and write operations",
 * "Using global secondary indexes": write capacity; read November 2026). Pure: sizes and units, no prices.
 */

/** Attributes in DynamoDB's JSON: `{"pk":{"S":"a"}}`. */
export type Attributes = JsonObject

const KILOBYTE = 1024
const READ_BLOCK = 4 * KILOBYTE

/** Bytes of a value without its name: text in UTF-8, two digits of a number a byte and one more, a container three and one for each entry. */
function valueSize(value: Json | undefined): number {
  if (!isObject(value)) throw new TypeError('not an attribute value')
  const [type, content] = Object.entries(value)[0] ?? []
  switch (type) {
    case 'S':
      return Buffer.byteLength(String(content))
    case 'N':
      return numberSize(String(content))
    case 'B':
      return Buffer.from(String(content), 'base64').length
    case 'BOOL':
    case 'NULL':
      return 1
    case 'M': {
      if (!isObject(content)) throw new TypeError('not a map')
      return Object.entries(content).reduce((sum, [name, entry]) => sum + 1 + Buffer.byteLength(name) + valueSize(entry), 3)
    }
    case 'L': {
      if (!isArray(content)) throw new TypeError('not a list')
      return content.reduce((sum: number, entry) => sum + 1 + valueSize(entry), 3)
    }
    case 'SS':
    case 'NS':
      if (!isArray(content)) throw new TypeError('not a set')
      return content.reduce(
        (sum: number, entry) => sum + (type === 'SS' ? Buffer.byteLength(String(entry)) : numberSize(String(entry))),
        0,
      )
    default:
      throw new TypeError(`unknown type of attribute ${String(type)}`)
  }
}

function numberSize(text: string): number {
  const digits = text
    .replace(/^-/, '')
    .replace('.', '')
    .replace(/^0+|0+$/g, '')
  return Math.ceil(digits.length / 2) + 1 + (text.startsWith('-') ? 1 : 0)
}

/** Bytes of an item: names and values. */
export const itemSize = (item: Attributes): number =>
  Object.entries(item).reduce((sum, [name, value]) => sum + Buffer.byteLength(name) + valueSize(value), 0)

/** Write units of one item of so many bytes; at least one. */
export const writeUnits = (bytes: number): number => Math.max(1, Math.ceil(bytes / KILOBYTE))

/** Read units of what one request, or in a batch one key, reads; an eventually consistent read costs half. */
export const readUnits = (bytes: number, consistent = true): number =>
  Math.max(1, Math.ceil(bytes / READ_BLOCK)) * (consistent ? 1 : 0.5)

/** Names of a secondary index's two keys; both of ours hold all attributes. */
export interface IndexKeys {
  readonly name: string
  readonly partition: string
  readonly sort: string
}

export interface Written {
  readonly table: number
  /** By index. */
  readonly indexes: Readonly<Record<string, number>>
}

/**
 * Units of one write from what stood there before and what stands there after. The larger of the two counts, twice in a
 * transaction. An index is written where its entry comes, goes or changes, twice where its key changes; what a
 * transaction writes reaches the index afterwards, so it is not doubled there.
 */
export function unitsOfWrite(
  before: Attributes | undefined,
  after: Attributes | undefined,
  indexes: readonly IndexKeys[],
  transactional: boolean,
): Written {
  const sizes = [before, after].map((item) => (item === undefined ? 0 : itemSize(item)))
  const units = writeUnits(Math.max(...sizes))
  return {
    table: transactional ? 2 * units : units,
    indexes: Object.fromEntries(indexes.map((index) => [index.name, unitsOfIndex(before, after, index)])),
  }
}

function unitsOfIndex(before: Attributes | undefined, after: Attributes | undefined, { partition, sort }: IndexKeys): number {
  const entry = (item: Attributes | undefined) =>
    item?.[partition] === undefined || item[sort] === undefined
      ? undefined
      : { key: JSON.stringify([item[partition], item[sort]]), units: writeUnits(itemSize(item)) }
  const [old, fresh] = [entry(before), entry(after)]
  if (old === undefined) return fresh?.units ?? 0
  if (fresh === undefined) return old.units
  return old.key === fresh.key ? Math.max(old.units, fresh.units) : old.units + fresh.units
}
