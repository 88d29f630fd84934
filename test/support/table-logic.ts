import { isDeepStrictEqual } from 'node:util'
import type { Check, Condition, Item, ItemKey, Path, Update, Value, Write } from '../../functions/store/table.ts'

/**
 * What DynamoDB's expressions mean, over plain items: shared by the table in memory and by the simulated one. Nothing
 * here changes an item in place: what an update leaves alone is shared between the old item and the new one.
 */

/** DynamoDB answers `ValidationException`: a bug of the caller. */
export class Refused extends RangeError {
  override readonly name = 'Refused'
}

export function keyOf(operation: Write | Check): ItemKey {
  if ('put' in operation) return operation.put
  if ('update' in operation) return operation.update
  return 'delete' in operation ? operation.delete : operation.check
}

type Tree = { [name: string]: Value | undefined }
const isTree = (value: unknown): value is Tree => value !== null && typeof value === 'object' && !Array.isArray(value)

/**
 * A copy without what is undefined, at any depth. By hand it takes a tenth of what `structuredClone` takes. Numbers that
 * cannot be kept exactly are refused, as the marshaller refuses them.
 */
export function cloned<Shape extends Value | undefined>(value: Shape): Shape {
  if (typeof value === 'number') {
    if (!Number.isFinite(value) || Math.abs(value) > Number.MAX_SAFE_INTEGER)
      throw new Refused('a number that cannot be kept exactly')
    return value
  }
  if (value === null || typeof value !== 'object') return value
  const made: unknown = Array.isArray(value) ? value.map(cloned) : clonedTree(value)
  return made as Shape
}
function clonedTree(value: object): Tree {
  const made: Tree = {}
  for (const [name, inner] of Object.entries(value)) if (inner !== undefined) made[name] = cloned(inner)
  return made
}

export function valueAt(item: Item | undefined, path: Path): Value | undefined {
  if (typeof path === 'string') return item?.[path]
  let value: Value | undefined = item
  for (const name of path) {
    if (!isTree(value) || !Object.hasOwn(value, name)) return undefined
    value = value[name]
  }
  return value
}

/** An absent attribute fails each comparison but `<>`, which it fulfils; texts are ordered by their UTF-8 bytes. */
export function holds(conditions: readonly Condition[], item: Item | undefined): boolean {
  for (const condition of conditions) if (!holdsOne(condition, item)) return false
  return true
}
function holdsOne(condition: Condition, item: Item | undefined): boolean {
  if ('or' in condition) {
    if (condition.or.length === 0) throw new RangeError('or needs at least one condition')
    return condition.or.some((one) => holdsOne(one, item))
  }
  const value = valueAt(item, condition[0])
  if (condition[1] === 'exists') return value !== undefined
  if (condition[1] === 'absent') return value === undefined
  const [, operator, wanted] = condition
  if (wanted === undefined) throw new RangeError('a value of an expression cannot be undefined')
  if (value === undefined) return operator === '<>'
  if (operator === '=') return same(value, wanted)
  if (operator === '<>') return !same(value, wanted)
  const order =
    typeof value === 'string' && typeof wanted === 'string'
      ? compareText(value, wanted)
      : typeof value === 'number' && typeof wanted === 'number'
        ? value - wanted
        : undefined
  if (order === undefined) return false
  return operator === '<' ? order < 0 : operator === '<=' ? order <= 0 : operator === '>' ? order > 0 : order >= 0
}

const same = (one: Value, other: Value) =>
  one === other || (typeof one === 'object' && typeof other === 'object' && isDeepStrictEqual(one, other))

/** JavaScript orders by UTF-16 units, which differs from the order of UTF-8 bytes only where surrogates are met. */
export function compareText(one: string, other: string): number {
  if (one === other) return 0
  const plain = one < other ? -1 : 1
  if (!WIDE.test(one) && !WIDE.test(other)) return plain
  return Buffer.compare(Buffer.from(one), Buffer.from(other))
}
const WIDE = /[\ud800-\udfff]/

/**
 * The item after an update. All is computed from the item as it was, so two writes of one path are refused; so is a path
 * whose maps are not there, and adding to what is no number.
 */
export function updated(key: ItemKey, before: Item | undefined, update: Update): Item {
  const { set = [], setOnce = [], add = [], remove = [] } = update
  validated(update)
  const made = without(before, remove)
  const fresh = new Set<Tree>()
  const place = (path: Path): [tree: Tree, name: string] => {
    if (typeof path === 'string') return [made, path]
    let tree = made
    for (const name of path.slice(0, -1)) {
      const next = tree[name]
      if (!isTree(next)) throw new Refused(`no map at ${path.join('.')}: DynamoDB refuses this`)
      if (fresh.has(next)) tree = next
      else {
        const copy = { ...next }
        fresh.add(copy)
        tree[name] = copy
        tree = copy
      }
    }
    return [tree, path.at(-1) ?? '']
  }
  for (const [path, value] of setOnce) {
    if (value === undefined) throw new RangeError('a value of an expression cannot be undefined')
    const [tree, name] = place(path)
    if (tree[name] === undefined) tree[name] = cloned(value)
  }
  for (const [path, value] of set) {
    if (value === undefined) throw new RangeError('a value of an expression cannot be undefined')
    const [tree, name] = place(path)
    tree[name] = cloned(value)
  }
  for (const [path, amount] of add) {
    const [tree, name] = place(path)
    const known = tree[name]
    const was = known === undefined ? 0 : known
    if (typeof was !== 'number') throw new Refused(`cannot add to ${name}, which is no number`)
    tree[name] = cloned(was + amount)
  }
  for (const path of remove) {
    if (typeof path === 'string') continue
    const [tree, name] = place(path)
    delete tree[name]
  }
  const version = Number(before?.['v'] ?? 0) + 1
  made['v'] = version
  return Object.assign(made, { pk: key.pk, sk: key.sk })
}

/** A copy without some attributes: deleting them from a copy would make every later copy of it slow. */
function without(before: Item | undefined, remove: readonly Path[]): Tree {
  if (remove.every((path) => typeof path !== 'string' || before?.[path] === undefined)) return { ...before }
  const made: Tree = {}
  for (const name of Object.keys(before ?? {})) if (!remove.includes(name)) made[name] = before?.[name]
  return made
}

/** Refuses what is wrong whatever the item is: to write to the keys, to the version, to one path twice or inside another. */
export function validated(update: Update): void {
  const paths: Path[] = []
  for (const [path] of update.set ?? []) paths.push(path)
  for (const [path] of update.setOnce ?? []) paths.push(path)
  for (const [path] of update.add ?? []) paths.push(path)
  paths.push(...(update.remove ?? []))
  const tops = new Set<string>()
  let nested = false
  for (const path of paths) {
    const top = typeof path === 'string' ? path : path[0]
    if (top === undefined) throw new RangeError('a path has at least one step')
    if (top === 'pk' || top === 'sk') throw new Refused('a key is no attribute to update')
    if (top === 'v') throw new Refused('two writes of one path: the version is counted by the store')
    if (typeof path !== 'string' && path.length > 1) nested = true
    else if (tops.has(top)) throw new Refused(`two writes of one path: ${top}`)
    else tops.add(top)
  }
  if (!nested) return
  const steps = paths.map((path) => (typeof path === 'string' ? [path] : path))
  for (const [index, one] of steps.entries()) {
    for (const other of steps.slice(0, index)) {
      const shorter = Math.min(one.length, other.length)
      if (one.slice(0, shorter).every((name, depth) => name === other[depth]))
        throw new Refused(`two writes of one path: ${one.join('.')}`)
    }
  }
}

/** The keys and the wanted attributes of an item's first level. */
export function projected(item: Item, only: readonly string[]): Item {
  const made: Tree = { pk: item.pk, sk: item.sk }
  for (const name of only) if (item[name] !== undefined) made[name] = item[name]
  return { ...made, pk: item.pk, sk: item.sk }
}
