import { isDeepStrictEqual } from 'node:util'
import type { Change } from '../../functions/runtime/stream.ts'
import type {
  Check,
  Condition,
  IndexInput,
  IndexName,
  IndexPage,
  Item,
  ItemKey,
  Page,
  Path,
  QueryInput,
  Table,
  TransactResult,
  Value,
  Write,
  WriteResult,
} from '../../functions/store/table.ts'

/**
 * The table's operations over a map, with the stream of its changes: the same meaning as DynamoDB's (conditions,
 * all-or-nothing transactions, versions, ordered keys), without its faults. `test/conformance/table.test.ts` runs the
 * same operations against it and against real servers.
 */
export class MemoryTable implements Table {
  readonly items = new Map<string, Map<string, Item>>()
  readonly changes: Change[] = []
  /** Called before each operation: a test may fail or interleave there. */
  before: (operation: string) => Promise<void> | void = () => {}
  private readonly indexes: Readonly<Record<IndexName, Map<string, { items: Map<string, Item>; sorted: Item[] | undefined }>>> = {
    due: new Map(),
    list: new Map(),
  }
  private sequence = 0

  async get(key: ItemKey): Promise<Item | undefined> {
    await this.before('get')
    return copy(this.find(key))
  }

  async getMany(keys: readonly ItemKey[]): Promise<(Item | undefined)[]> {
    await this.before('getMany')
    return keys.map((key) => copy(this.find(key)))
  }

  async query(input: QueryInput): Promise<Page> {
    await this.before('query')
    const all = [...(this.items.get(input.pk)?.values() ?? [])]
      .filter(
        ({ sk }) =>
          (input.after === undefined || sk > input.after) &&
          (input.from === undefined || sk >= input.from) &&
          (input.to === undefined || sk <= input.to) &&
          (input.prefix === undefined || sk.startsWith(input.prefix)),
      )
      .sort((one, other) => (one.sk < other.sk ? -1 : 1))
    if (input.descending === true) all.reverse()
    const { only } = input
    const items = all.slice(0, input.limit).map((item) => (only === undefined ? (copy(item) ?? item) : projected(item, only)))
    const last = items.at(-1)
    return { items, ...(items.length === input.limit && last !== undefined ? { next: last.sk } : {}) }
  }

  async index(input: IndexInput): Promise<IndexPage> {
    await this.before('index')
    const [, at] = INDEXES[input.index]
    const all = this.sorted(input.index, input.partition).filter(
      (item) =>
        (input.upTo === undefined || String(item[at]) <= input.upTo) &&
        (input.from === undefined || String(item[at]) >= input.from),
    )
    if (input.descending === true) all.reverse()
    const start = input.cursor === undefined ? 0 : Number(input.cursor)
    const items = all.slice(start, start + input.limit).map((item) => copy(item) ?? item)
    return { items, ...(start + input.limit < all.length ? { cursor: String(start + input.limit) } : {}) }
  }

  /** The items of one partition of an index, in its order; kept until one of them changes. */
  private sorted(index: IndexName, partition: string): readonly Item[] {
    const found = this.indexes[index].get(partition)
    if (found === undefined) return []
    const [, at] = INDEXES[index]
    found.sorted ??= [...found.items.values()].sort(
      (one, other) => compare(String(one[at]), String(other[at])) || compare(one.pk, other.pk) || compare(one.sk, other.sk),
    )
    return found.sorted
  }

  private indexed(index: IndexName, before: Item | undefined, after: Item | undefined): void {
    const [pk, at] = INDEXES[index]
    for (const [item, present] of [
      [before, false],
      [after, true],
    ] as const) {
      const partition = item?.[pk]
      if (item === undefined || typeof partition !== 'string' || typeof item[at] !== 'string') continue
      const known = this.indexes[index].get(partition) ?? { items: new Map<string, Item>(), sorted: undefined }
      this.indexes[index].set(partition, known)
      const id = `${item.pk}|${item.sk}`
      if (present) known.items.set(id, item)
      else known.items.delete(id)
      known.sorted = undefined
    }
  }

  async write(write: Write): Promise<WriteResult> {
    await this.before('write')
    const current = this.find(keyOf(write))
    if (!holds(write.if ?? [], current)) return { ok: false, current: copy(current) }
    this.apply(write)
    return { ok: true }
  }

  async transact(operations: readonly (Write | Check)[]): Promise<TransactResult> {
    await this.before('transact')
    if (operations.length > 100) throw new RangeError('a transaction takes 100 operations at most')
    const keys = operations.map((operation) => JSON.stringify(keyOf(operation)))
    if (new Set(keys).size !== keys.length) throw new RangeError('a transaction cannot name one item twice')
    const current = operations.map((operation) => this.find(keyOf(operation)))
    const failed = operations.map((operation, index) => !holds(operation.if ?? [], current[index]))
    if (failed.some(Boolean))
      return { ok: false, failed, current: current.map((item, index) => (failed[index] === true ? copy(item) : undefined)) }
    for (const operation of operations) if (!('check' in operation)) this.apply(operation)
    return { ok: true }
  }

  async putAll(items: readonly Item[]): Promise<void> {
    await this.before('putAll')
    for (const put of items) this.apply({ put })
  }

  /** Removes an item as its time to live would. */
  expire(key: ItemKey): void {
    this.apply({ delete: key })
  }

  /** Puts other items in the place of all that stand here, as a backup that is brought back: no stream tells of it. */
  load(items: readonly Item[]): void {
    this.items.clear()
    for (const index of Object.values(this.indexes)) index.clear()
    for (const item of items) {
      const made = cloned(item)
      const partition = this.items.get(item.pk) ?? new Map<string, Item>()
      this.items.set(item.pk, partition)
      partition.set(item.sk, made)
      for (const index of ['due', 'list'] as const) this.indexed(index, undefined, made)
    }
  }

  /** Takes a partition away behind everybody's back. */
  lose(pk: string): void {
    this.load(this.all().filter((item) => item.pk !== pk))
  }

  all(): Item[] {
    return [...this.items.values()].flatMap((partition) => [...partition.values()])
  }

  private find({ pk, sk }: ItemKey): Item | undefined {
    return this.items.get(pk)?.get(sk)
  }

  private apply(write: Write): void {
    const { pk, sk } = keyOf(write)
    const before = this.find({ pk, sk })
    const after =
      'delete' in write ? undefined : 'put' in write ? cloned<Item>({ v: 1, ...write.put }) : updated(before ?? { pk, sk }, write)
    const partition = this.items.get(pk) ?? new Map<string, Item>()
    this.items.set(pk, partition)
    if (after === undefined) partition.delete(sk)
    else partition.set(sk, after)
    for (const index of ['due', 'list'] as const) this.indexed(index, before, after)
    if (before === undefined && after === undefined) return
    this.sequence += 1
    // What stands here is never changed in place, so the stream may show it as it is.
    this.changes.push({ sequence: String(this.sequence).padStart(21, '0'), before, after })
  }
}

const compare = (one: string, other: string) => (one < other ? -1 : one > other ? 1 : 0)
const INDEXES = { due: ['duePk', 'dueAt'], list: ['listPk', 'listAt'] } as const
/**
 * Items are plain JSON, and are copied at every operation: by hand that takes a tenth of what `structuredClone` takes.
 * What is undefined is left out.
 */
function cloned<Shape extends Value | undefined>(value: Shape): Shape {
  if (value === null || typeof value !== 'object') return value
  const made: unknown = Array.isArray(value) ? value.map(cloned) : clonedMap(value)
  return made as Shape
}
function clonedMap(value: object): Tree {
  const made: Tree = {}
  for (const [name, inner] of Object.entries(value)) if (inner !== undefined) made[name] = cloned(inner)
  return made
}
const copy = (item: Item | undefined): Item | undefined => (item === undefined ? undefined : (cloned(item) as Item))
const projected = (item: Item, only: readonly string[]): Item => {
  const { pk, sk } = item
  const some = Object.entries(item).filter(([name]) => only.includes(name))
  return { pk, sk, ...cloned(Object.fromEntries(some)) }
}
const pathOf = (path: Path): readonly string[] => (typeof path === 'string' ? [path] : path)

function keyOf(operation: Write | Check): ItemKey {
  if ('put' in operation) return { pk: operation.put.pk, sk: operation.put.sk }
  if ('update' in operation) return operation.update
  return 'delete' in operation ? operation.delete : operation.check
}

type Tree = { [name: string]: Value | undefined }
const isTree = (value: unknown): value is Tree => value !== null && typeof value === 'object' && !Array.isArray(value)

function valueAt(item: Item | undefined, path: Path): Value | undefined {
  let value: Value | undefined = item
  for (const name of pathOf(path)) value = isTree(value) ? value[name] : undefined
  return value
}

function updated(before: Item, write: Extract<Write, { update: ItemKey }>): Item {
  const item = cloned(before) as Tree
  const parent = (path: Path): [Tree, string] => {
    const names = pathOf(path)
    let tree = item
    for (const name of names.slice(0, -1)) {
      const next = tree[name]
      if (!isTree(next)) throw new RangeError(`no map at ${names.join('.')}: DynamoDB refuses this`)
      tree = next
    }
    return [tree, names.at(-1) ?? '']
  }
  for (const [path, value] of write.setOnce ?? []) {
    const [tree, name] = parent(path)
    if (tree[name] === undefined) tree[name] = cloned(value)
  }
  for (const [path, value] of write.set ?? []) {
    const [tree, name] = parent(path)
    tree[name] = cloned(value)
  }
  for (const [path, amount] of write.add ?? []) {
    const [tree, name] = parent(path)
    tree[name] = Number(tree[name] ?? 0) + amount
  }
  for (const path of write.remove ?? []) {
    const [tree, name] = parent(path)
    delete tree[name]
  }
  return { ...(item as Item), v: Number(before.v ?? 0) + 1 }
}

function holds(conditions: readonly Condition[], item: Item | undefined): boolean {
  return conditions.every((condition) => {
    if ('or' in condition) return condition.or.some((one) => holds([one], item))
    const value = valueAt(item, condition[0])
    if (condition[1] === 'exists') return value !== undefined
    if (condition[1] === 'absent') return value === undefined
    const wanted = condition[2]
    // As in DynamoDB, a comparison with an absent attribute is false, and `<>` with one is true.
    if (value === undefined) return condition[1] === '<>'
    if (condition[1] === '=') return isDeepStrictEqual(value, wanted)
    if (condition[1] === '<>') return !isDeepStrictEqual(value, wanted)
    if (typeof value !== typeof wanted || wanted === undefined || wanted === null || value === null) return false
    return condition[1] === '<'
      ? value < wanted
      : condition[1] === '<='
        ? value <= wanted
        : condition[1] === '>'
          ? value > wanted
          : value >= wanted
  })
}
