import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import type { Value } from './table.ts'

/**
 * DynamoDB's JSON form of values to plain ones and back: the six kinds that the table's items are made of. The SDK's own
 * converter knows sets and bytes too, keeps big numbers as objects, and takes several times as long.
 */

/** @throws TypeError for a kind that no item of ours has (a set, bytes); RangeError for a number that is not kept exactly. */
export function plainValue(attribute: AttributeValue): Exclude<Value, undefined> {
  if (attribute.S !== undefined) return attribute.S
  if (attribute.N !== undefined) {
    const number = Number(attribute.N)
    if (!Number.isFinite(number) || (Number.isInteger(number) && !Number.isSafeInteger(number)))
      throw new RangeError('a number of the table cannot be read exactly')
    return number
  }
  if (attribute.M !== undefined) return plainMap(attribute.M)
  if (attribute.BOOL !== undefined) return attribute.BOOL
  if (attribute.L !== undefined) return attribute.L.map(plainValue)
  if (attribute.NULL !== undefined) return null
  throw new TypeError('an attribute of the table is of a kind that nobody here writes')
}

function plainMap(attributes: Readonly<Record<string, AttributeValue>>): Record<string, Exclude<Value, undefined>> {
  const plain: Record<string, Exclude<Value, undefined>> = {}
  for (const name in attributes) {
    const attribute = attributes[name]
    if (attribute !== undefined) give(plain, name, plainValue(attribute))
  }
  return plain
}

/** An own property whatever its name: plain assignment to this one would set the prototype. */
export function give<Value>(map: Record<string, Value>, name: string, value: Value): void {
  if (name === '__proto__') Object.defineProperty(map, name, { value, enumerable: true, configurable: true, writable: true })
  else map[name] = value
}

/** @throws RangeError for a number that is not kept exactly. What is undefined is left out, at any depth. */
export function attributeOf(value: Exclude<Value, undefined>): AttributeValue {
  if (typeof value === 'string') return { S: value }
  if (typeof value === 'number') {
    if (!Number.isFinite(value) || Math.abs(value) > Number.MAX_SAFE_INTEGER)
      throw new RangeError('a number that the table cannot keep exactly')
    return { N: String(value) }
  }
  if (typeof value === 'boolean') return { BOOL: value }
  if (value === null) return { NULL: true }
  if (isList(value)) return { L: value.flatMap((entry) => (entry === undefined ? [] : [attributeOf(entry)])) }
  return { M: attributesOf(value) }
}

function attributesOf(map: Readonly<Record<string, Value | undefined>>): Record<string, AttributeValue> {
  const attributes: Record<string, AttributeValue> = {}
  for (const [name, value] of Object.entries(map)) if (value !== undefined) give(attributes, name, attributeOf(value))
  return attributes
}

const isList = (value: Exclude<Value, undefined>): value is readonly Value[] => Array.isArray(value)
