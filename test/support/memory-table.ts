import type { Change } from '../../functions/runtime/stream.ts'
import type {
  Check,
  IndexInput,
  IndexName,
  IndexPage,
  Item,
  ItemKey,
  Page,
  QueryInput,
  Table,
  TransactResult,
  Write,
  WriteResult,
} from '../../functions/store/table.ts'
import { cloned, compareText, holds, keyOf, projected, updated } from './table-logic.ts'

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
    const items = all
      .slice(0, input.limit)
      .map((item) => (only === undefined ? (copy(item) ?? item) : cloned(projected(item, only))))
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
      (one, other) =>
        compareText(String(one[at]), String(other[at])) || compareText(one.pk, other.pk) || compareText(one.sk, other.sk),
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

  async writeEach(writes: readonly Write[]): Promise<WriteResult[]> {
    const keys = writes.map((write) => JSON.stringify([keyOf(write).pk, keyOf(write).sk]))
    if (new Set(keys).size !== keys.length) throw new RangeError('writeEach cannot name one item twice')
    const results: WriteResult[] = []
    let lost: unknown
    for (const write of writes) {
      try {
        results.push(await this.write(write))
      } catch (error) {
        lost ??= error
      }
    }
    if (lost !== undefined) throw lost
    return results
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
      'delete' in write ? undefined : 'put' in write ? cloned<Item>({ v: 1, ...write.put }) : updated({ pk, sk }, before, write)
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

const INDEXES = { due: ['duePk', 'dueAt'], list: ['listPk', 'listAt'] } as const
const copy = (item: Item | undefined): Item | undefined => (item === undefined ? undefined : cloned(item))
