import type { Change } from '../../functions/runtime/stream.ts'
import { CursorInvalid } from '../../functions/store/dynamodb.ts'
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
  Value,
  Write,
  WriteResult,
} from '../../functions/store/table.ts'
import { StoreBusy } from '../../functions/store/table.ts'
import { cloned, compareText, holds, keyOf, projected, Refused, updated, validated } from '../support/table-logic.ts'
import type { FaultKind, Faults } from './faults.ts'
import { NO_FAULTS } from './faults.ts'
import { Prng } from './prng.ts'
import type { Scheduler } from './scheduler.ts'

/** The service's limits, in bytes and operations. */
const MOST_ITEM = 400 * 1024
const MOST_PAGE = 1024 * 1024
const MOST_TRANSACTION = 4 * 1024 * 1024
const MOST_OPERATIONS = 100
const MOST_KEYS = 100
const MOST_PUTS = 25
/** Tries of one call, as `dynamodb.ts` makes them. */
const TRIES = 6

const DAY = 86_400_000

export interface TableOptions {
  /** In the trace. */
  readonly name?: string
  /** Without it every call goes on at once, and nothing is ever under way. */
  readonly scheduler?: Scheduler
  readonly faults?: Faults
  readonly seed?: number
}

interface Stored {
  readonly pk: string
  readonly sk: string
  item: Item
  size: number
}
interface Partition {
  readonly byKey: Map<string, Stored>
  /** By sort key. */
  readonly sorted: Stored[]
}
interface Indexed {
  readonly at: string
  readonly item: Item
}

/**
 * The table as DynamoDB behaves: each effect is one step of the scheduler. Items are never changed in place, so what is
 * read needs no copy; in some runs they are frozen.
 */
export class SimulatedTable implements Table {
  /** Every change so far, in the order in which they took effect. */
  readonly changes: Change[] = []
  /** Called right after each change took effect. */
  onChange: ((change: Change) => void) | undefined
  /** Transactions and writes that met another one under way on the same key. */
  conflicts = 0
  /** Units of reading and writing used so far, as DynamoDB bills them. */
  readonly used = { reads: 0, writes: 0 }

  private readonly name: string
  private readonly scheduler: Scheduler | undefined
  private readonly faults: Faults
  private readonly draws: Prng
  private readonly partitions = new Map<string, Partition>()
  private readonly indexes: Readonly<Record<IndexName, Map<string, Indexed[]>>> = { due: new Map(), list: new Map() }
  /** Changes that an index has not seen yet, by item: one item's changes stay in their order. */
  private readonly late = new Map<string, (() => void)[]>()
  /** Keys of transactions that are under way. */
  private readonly held = new Set<string>()
  /** Whoever changes what it read fails at once, in one run of eight: it takes time. */
  private readonly freezes: boolean
  /** Probability that a transaction takes two steps, and that a read of many items is no single moment's. */
  private readonly slow: number
  private readonly torn: number

  constructor(options: TableOptions = {}) {
    this.name = options.name ?? 'table'
    this.scheduler = options.scheduler
    this.faults = options.faults ?? NO_FAULTS
    this.draws = new Prng(options.seed ?? 0, `table ${this.name}`)
    this.freezes = this.draws.chance(0.125)
    this.slow = this.draws.pick([0, 0.1, 0.3])
    this.torn = this.draws.pick([0, 0.05, 0.2])
  }

  // ------------------------------------------------------------------------------------------------- reads

  async get(key: ItemKey): Promise<Item | undefined> {
    await this.step('get', key)
    this.used.reads += 1
    return this.stored(key)?.item
  }

  async getMany(keys: readonly ItemKey[]): Promise<(Item | undefined)[]> {
    const found = new Map<string, Item | undefined>()
    for (let from = 0; from < keys.length; ) {
      // A batch is no snapshot: each of its items is read at a time of its own.
      const size = this.tears() ? 1 + this.draws.below(MOST_KEYS) : MOST_KEYS
      const batch = keys.slice(from, from + size)
      const [first] = batch
      if (first === undefined) break
      await this.step(`get ${batch.length}`, first)
      this.used.reads += batch.length
      for (const key of batch) found.set(nameOf(key), this.stored(key)?.item)
      from += batch.length
    }
    return keys.map((key) => found.get(nameOf(key)))
  }

  async query(input: QueryInput): Promise<Page> {
    whole(input.limit)
    await this.step('query', { pk: input.pk, sk: input.after ?? input.from ?? input.prefix ?? '' })
    let range = this.range(input)
    const items: Item[] = []
    // A page is no snapshot either: what stands further back may be read later than what stands before.
    let torn = this.tears() ? this.draws.below(range.length + 1) : undefined
    let size = 0
    let last: Stored | undefined
    let cut = false
    for (let place = 0; items.length < input.limit; place += 1) {
      if (place === torn) {
        torn = undefined
        await this.step('query on', { pk: input.pk, sk: last?.sk ?? '' })
        range = this.range(last === undefined ? input : { ...input, after: last.sk })
        place = -1
        continue
      }
      const stored = range[place]
      if (stored === undefined) break
      size += stored.size
      if (size > MOST_PAGE && items.length > 0) {
        cut = true
        break
      }
      items.push(input.only === undefined ? stored.item : projected(stored.item, input.only))
      last = stored
    }
    const units = Math.max(1, Math.ceil(size / 4096))
    this.used.reads += units
    const more = cut || items.length === input.limit
    return more && last !== undefined ? { items, units, next: last.sk } : { items, units }
  }

  async index(input: IndexInput): Promise<IndexPage> {
    whole(input.limit)
    const start = input.cursor === undefined ? undefined : readCursor(input.cursor, input)
    await this.step(`index ${input.index}`, { pk: input.partition, sk: input.upTo ?? '' })
    const { from, upTo } = input
    const all = this.indexes[input.index].get(input.partition) ?? []
    const items: Item[] = []
    const step = input.descending === true ? -1 : 1
    let size = 0
    let last: Indexed | undefined
    let more = false
    for (let place = step > 0 ? 0 : all.length - 1; place >= 0 && place < all.length; place += step) {
      const entry = all[place]
      if (entry === undefined) break
      if (from !== undefined && from !== '' && compareText(entry.at, from) < 0) continue
      if (upTo !== undefined && (upTo === '' || compareText(entry.at, upTo) > 0)) continue
      if (start !== undefined && compareIndexed(entry, start) * step <= 0) continue
      size += 200 + JSON.stringify(entry.item).length
      if (items.length === input.limit || (size > MOST_PAGE && items.length > 0)) {
        more = true
        break
      }
      items.push(entry.item)
      last = entry
    }
    this.used.reads += Math.max(0.5, Math.ceil(size / 4096) / 2)
    if (!more || last === undefined) return { items }
    const cursor = JSON.stringify([input.index, last.item.pk, last.item.sk, last.at])
    return { items, cursor: Buffer.from(cursor).toString('base64url') }
  }

  // ------------------------------------------------------------------------------------------------ writes

  async write(write: Write): Promise<WriteResult> {
    const key = keyOf(write)
    if ('update' in write) validated(write)
    await this.clear(operationOf(write), [key])
    const lost = this.fails('answer-lost', `${operationOf(write)} ${key.pk} ${key.sk}`)
    if (lost && this.draws.chance(0.5)) throw lostAnswer()
    const current = this.stored(key)?.item
    this.used.writes += 1
    if (!holds(write.if ?? [], current)) {
      if (lost) throw lostAnswer()
      return { ok: false, current }
    }
    this.apply(key, current, this.outcome(write, current))
    if (lost) throw lostAnswer()
    return { ok: true }
  }

  /** Each write is a step of its own, in any order. */
  async writeEach(writes: readonly Write[]): Promise<WriteResult[]> {
    unrepeated(writes, 'writeEach')
    const made = await Promise.allSettled(writes.map((write) => this.write(write)))
    return made.map((one) => {
      if (one.status === 'rejected') throw one.reason
      return one.value
    })
  }

  async transact(operations: readonly (Write | Check)[]): Promise<TransactResult> {
    if (operations.length === 0) return { ok: true }
    if (operations.length > MOST_OPERATIONS) throw new RangeError(`a transaction has at most ${MOST_OPERATIONS} operations`)
    const keys = operations.map(keyOf)
    unrepeated(operations, 'a transaction')
    for (const operation of operations) {
      if ('check' in operation && operation.if.length === 0) throw new RangeError('a check needs a condition')
      if ('update' in operation) validated(operation)
    }
    const label = `transact ${operations.map(operationOf).join(' ')}`
    await this.clear(label, keys)
    const lost = this.fails('answer-lost', label)
    if (lost && this.draws.chance(0.5)) throw lostAnswer()
    const current = keys.map((key) => this.stored(key)?.item)
    this.used.writes += 2 * operations.length
    const failed = operations.map((operation, place) => !holds(operation.if ?? [], current[place]))
    if (failed.includes(true)) {
      if (lost) throw lostAnswer()
      return { ok: false, failed, current: current.map((item, place) => (failed[place] === true ? item : undefined)) }
    }
    const made = operations.map((operation, place) =>
      'check' in operation ? undefined : this.outcome(operation, current[place]),
    )
    const size = made.reduce((sum, one) => sum + (one?.size ?? 0), 0)
    if (size > MOST_TRANSACTION) throw new Refused('a transaction of more than 4 MB')
    const commit = () => {
      for (const [place, operation] of operations.entries()) {
        const [key, after] = [keys[place], made[place]]
        if (!('check' in operation) && key !== undefined && after !== undefined) this.apply(key, current[place], after)
      }
    }
    if (this.scheduler?.task !== undefined && this.slow > 0 && this.draws.chance(this.slow))
      await this.slowly(label, keys, commit)
    else commit()
    if (lost) throw lostAnswer()
    return { ok: true }
  }

  async putAll(items: readonly Item[]): Promise<void> {
    const distinct = [...new Map(items.map((item) => [nameOf(item), item])).values()]
    for (let from = 0; from < distinct.length; from += MOST_PUTS) {
      const batch = distinct.slice(from, from + MOST_PUTS)
      const [first] = batch
      if (first === undefined) return
      await this.clear(`put ${batch.length}`, batch)
      const lost = this.fails('answer-lost', `put ${batch.length} ${first.pk}`)
      // A batch is no transaction: any part of it may have been put.
      const done = lost ? batch.filter(() => this.draws.chance(0.5)) : batch
      for (const put of done) this.apply(put, this.stored(put)?.item, this.outcome({ put }, undefined))
      this.used.writes += done.length
      if (lost) throw lostAnswer()
    }
  }

  // -------------------------------------------------------------------------------------- for the world and the oracle

  /** An item as it stands, without a step. */
  peek(key: ItemKey): Item | undefined {
    return this.stored(key)?.item
  }

  /** The items of one partition in the order of their sort keys, without a step. */
  partition(pk: string): readonly Item[] {
    return this.partitions.get(pk)?.sorted.map(({ item }) => item) ?? []
  }

  all(): Item[] {
    return [...this.partitions.values()].flatMap(({ sorted }) => sorted.map(({ item }) => item))
  }

  /** Puts other items in the place of all that stand here, as a backup that is brought back: no stream tells of it. */
  load(items: readonly Item[]): void {
    this.partitions.clear()
    this.late.clear()
    for (const index of Object.values(this.indexes)) index.clear()
    for (const item of items) {
      const made = frozen(cloned(item))
      this.place({ pk: item.pk, sk: item.sk, item: made, size: sizeOf(made) })
      for (const index of INDEX_NAMES) this.reindex(index, undefined, made)
    }
  }

  // --------------------------------------------------------------------------------------------- inside

  private stored({ pk, sk }: ItemKey): Stored | undefined {
    return this.partitions.get(pk)?.byKey.get(sk)
  }

  private async step(operation: string, { pk, sk }: ItemKey): Promise<void> {
    const { scheduler } = this
    if (scheduler === undefined) return
    const label = `${this.name} ${operation} ${pk} ${sk}`
    await scheduler.step('store', label)
    if (this.fails('throttle', label)) await this.throttled(label)
  }

  /** Whoever calls from outside of all tasks is no part of the pipeline, and is spared. */
  private fails(kind: FaultKind, label: string): boolean {
    return this.scheduler?.task !== undefined && this.faults.decide(kind, label)
  }

  /** Most throttled calls get through at a later try. */
  private async throttled(label: string): Promise<void> {
    if (this.draws.chance(0.4)) throw new StoreBusy(`the table did not take the call in ${TRIES} tries`)
    await this.scheduler?.sleep(25 + this.draws.below(1000), `${label} again`)
  }

  /** Waits until no transaction that is under way holds one of the keys, as `dynamodb.ts` does. */
  private async clear(operation: string, keys: readonly ItemKey[]): Promise<void> {
    const [first] = keys
    for (const { pk, sk } of keys) if (pk === '' || sk === '') throw new Refused('a key is no empty text')
    if (first === undefined) return
    await this.step(operation, first)
    if (this.fails('conflict', `${operation} ${first.pk} ${first.sk}`)) {
      this.conflicts += 1
      throw new StoreBusy(`the table did not take the call in ${TRIES} tries`)
    }
    for (let tried = 1; this.held.size > 0 && keys.some((key) => this.held.has(nameOf(key))); tried += 1) {
      this.conflicts += 1
      if (tried === TRIES) throw new StoreBusy(`the table did not take the call in ${TRIES} tries`)
      await this.scheduler?.sleep(this.draws.fraction() * Math.min(1000, 25 * 2 ** tried), `${operation} again`)
      await this.step(operation, first)
    }
  }

  /** A transaction that others can meet: it holds its keys from one step to the next. */
  private async slowly(label: string, keys: readonly ItemKey[], commit: () => void): Promise<void> {
    const names = keys.map(nameOf)
    for (const name of names) this.held.add(name)
    const finish = () => {
      for (const name of names) this.held.delete(name)
      commit()
    }
    // The service goes on with it although its caller is dead.
    const answered = this.scheduler?.orphan(finish)
    await this.scheduler?.step('store', `${this.name} commit ${label}`)
    answered?.()
    finish()
  }

  private tears(): boolean {
    return this.torn > 0 && this.scheduler?.task !== undefined && this.draws.chance(this.torn)
  }

  /** What stands there after a write whose conditions hold; `undefined` for nothing. */
  private outcome(write: Write, current: Item | undefined): { readonly item: Item | undefined; readonly size: number } {
    if ('delete' in write) return { item: undefined, size: 0 }
    const item = 'put' in write ? fresh(write.put) : updated(write.update, current, write)
    const size = this.measured(item)
    if (size > MOST_ITEM) throw new Refused('an item of more than 400 KB')
    for (const name of INDEX_NAMES) {
      for (const attribute of INDEX_KEYS[name]) {
        const value = item[attribute]
        if (value !== undefined && (typeof value !== 'string' || value === '')) throw new Refused(`${attribute} is no text`)
      }
    }
    return { item: this.freezes ? frozen(item) : item, size }
  }

  /** Measuring takes longer than writing: of items that are written again and again, every eighth version is measured. */
  private measured(item: Item): number {
    const version = Number(item['v'])
    if (version === 1 || version % 8 === 0) return sizeOf(item)
    const known = this.stored(item)?.size
    return known === undefined || known > 20_000 ? sizeOf(item) : known
  }

  private apply(
    { pk, sk }: ItemKey,
    before: Item | undefined,
    { item: after, size }: ReturnType<SimulatedTable['outcome']>,
  ): void {
    if (before === undefined && after === undefined) return
    if (after === undefined) this.displace(pk, sk)
    else this.place({ pk, sk, item: after, size })
    const sequence = String(this.changes.length + 1).padStart(21, '0')
    const change = { sequence, before, after }
    this.changes.push(change)
    this.reach(pk, sk, before, after)
    if (after !== undefined && after['ttl'] !== undefined && after['ttl'] !== before?.['ttl']) this.mortal(after)
    this.onChange?.(change)
  }

  private place(made: Stored): void {
    const { pk, sk } = made
    let partition = this.partitions.get(pk)
    if (partition === undefined) {
      partition = { byKey: new Map(), sorted: [] }
      this.partitions.set(pk, partition)
    }
    const known = partition.byKey.get(sk)
    if (known !== undefined) {
      known.item = made.item
      known.size = made.size
      return
    }
    partition.byKey.set(sk, made)
    const { sorted } = partition
    sorted.splice(firstFrom(sorted, sk), 0, made)
  }

  private displace(pk: string, sk: string): void {
    const partition = this.partitions.get(pk)
    const stored = partition?.byKey.get(sk)
    if (partition === undefined || stored === undefined) return
    partition.byKey.delete(sk)
    partition.sorted.splice(partition.sorted.indexOf(stored), 1)
  }

  /** Deleted by the service some time after its end, if that still stands then. */
  private mortal({ pk, sk, ttl }: Item): void {
    if (typeof ttl !== 'number' || this.scheduler === undefined) return
    const late = this.faults.decide('ttl-late', `${pk} ${sk}`) ? this.draws.fraction() * 2 * DAY : this.draws.fraction() * 600_000
    this.scheduler.at(ttl * 1000 + late, () => {
      const current = this.stored({ pk, sk })?.item
      if (current === undefined || current['ttl'] !== ttl) return
      this.scheduler?.note(`${this.name} time to live ${pk} ${sk}`)
      this.apply({ pk, sk }, current, { item: undefined, size: 0 })
    })
  }

  // --------------------------------------------------------------------------------------------- ranges

  /** What a key condition selects, in reading order and behind `after`. */
  private range(input: QueryInput): readonly Stored[] {
    const sorted = this.partitions.get(input.pk)?.sorted
    if (sorted === undefined || sorted.length === 0) return []
    const { prefix = '', to } = input
    const from = input.from !== undefined && (prefix === '' || compareText(input.from, prefix) > 0) ? input.from : prefix
    if (to === '') return []
    const after = input.after === '' ? undefined : input.after
    const first = from === '' ? 0 : firstFrom(sorted, from)
    const found: Stored[] = []
    for (let place = first; place < sorted.length; place += 1) {
      const stored = sorted[place]
      if (stored === undefined) break
      const { sk } = stored
      if (prefix !== '' && !sk.startsWith(prefix)) break
      if (to !== undefined && compareText(sk, to) > 0) break
      found.push(stored)
    }
    if (input.descending === true) {
      found.reverse()
      return after === undefined ? found : found.filter(({ sk }) => compareText(sk, after) < 0)
    }
    return after === undefined ? found : found.filter(({ sk }) => compareText(sk, after) > 0)
  }

  // -------------------------------------------------------------------------------------------- indexes

  /** A change reaches the indexes at once, or late; the changes of one item stay in order. */
  private reach(pk: string, sk: string, before: Item | undefined, after: Item | undefined): void {
    if ((before?.['duePk'] ?? after?.['duePk'] ?? before?.['listPk'] ?? after?.['listPk']) === undefined) return
    const show = () => {
      for (const index of INDEX_NAMES) this.reindex(index, before, after)
    }
    const name = nameOf({ pk, sk })
    const waiting = this.late.get(name)
    if (waiting !== undefined) {
      waiting.push(show)
      return
    }
    if (this.scheduler === undefined || !this.faults.decide('stale-index', `${pk} ${sk}`)) {
      show()
      return
    }
    const queue = [show]
    this.late.set(name, queue)
    this.scheduler.at(this.scheduler.now + this.draws.fraction() * this.draws.pick([100, 2000, 30_000, 120_000]), () => {
      if (this.late.get(name) !== queue) return
      this.late.delete(name)
      for (const each of queue) each()
    })
  }

  private reindex(index: IndexName, before: Item | undefined, after: Item | undefined): void {
    const [pk, at] = INDEX_KEYS[index]
    const old = before?.[pk]
    const oldAt = before?.[at]
    if (before !== undefined && typeof old === 'string' && typeof oldAt === 'string') {
      const entries = this.indexes[index].get(old)
      if (entries !== undefined) {
        const place = firstIndexed(entries, { at: oldAt, item: before })
        const found = entries[place]?.item
        if (found !== undefined && found.pk === before.pk && found.sk === before.sk) entries.splice(place, 1)
      }
    }
    const made = after?.[pk]
    const madeAt = after?.[at]
    if (after === undefined || typeof made !== 'string' || typeof madeAt !== 'string') return
    let entries = this.indexes[index].get(made)
    if (entries === undefined) {
      entries = []
      this.indexes[index].set(made, entries)
    }
    const entry = { at: madeAt, item: after }
    entries.splice(firstIndexed(entries, entry), 0, entry)
  }
}

const INDEX_NAMES = ['due', 'list'] as const
const INDEX_KEYS = { due: ['duePk', 'dueAt'], list: ['listPk', 'listAt'] } as const

const lostAnswer = () => new StoreBusy('the answer to a write was lost, its effect is unknown')

const nameOf = ({ pk, sk }: ItemKey) => `${pk}\u0000${sk}`

const operationOf = (operation: Write | Check) =>
  'put' in operation ? 'put' : 'update' in operation ? 'update' : 'delete' in operation ? 'delete' : 'check'

function unrepeated(operations: readonly (Write | Check)[], what: string): void {
  const keys = new Set(operations.map((operation) => nameOf(keyOf(operation))))
  if (keys.size !== operations.length) throw new RangeError(`${what} cannot name one item twice`)
}

function whole(limit: number): void {
  if (!Number.isInteger(limit) || limit < 1) throw new RangeError('a limit is a whole number from 1')
}

/** A put keeps the version that it brings, or begins at 1. */
function fresh(item: Item): Item {
  const made = cloned(item)
  return made['v'] === undefined ? { ...made, v: 1 } : made
}

function frozen<Shape extends Value | undefined>(value: Shape): Shape {
  if (value === null || typeof value !== 'object' || Object.isFrozen(value)) return value
  Object.freeze(value)
  for (const inner of Object.values(value)) frozen(inner)
  return value
}

/** As DynamoDB counts: names and values in UTF-8, and a little for each map and list. Exact where it could matter. */
function sizeOf(value: Value | undefined): number {
  const least = sizeIn(value, lengthOf)
  return least > 100_000 ? sizeIn(value, Buffer.byteLength) : least
}
const lengthOf = (text: string) => text.length

function sizeIn(value: Value | undefined, bytes: (text: string) => number): number {
  switch (typeof value) {
    case 'string':
      return bytes(value)
    case 'number':
      return 8
    case 'boolean':
      return 1
    case 'object':
      break
    default:
      return 0
  }
  if (value === null) return 1
  let size = 3
  if (Array.isArray(value)) for (const inner of value) size += 1 + sizeIn(inner, bytes)
  else for (const [name, inner] of Object.entries(value)) size += 1 + bytes(name) + sizeIn(inner, bytes)
  return size
}

/** The first place whose sort key is not before this one. */
function firstFrom(sorted: readonly Stored[], sk: string): number {
  let [low, high] = [0, sorted.length]
  while (low < high) {
    const middle = (low + high) >> 1
    const found = sorted[middle]
    if (found !== undefined && compareText(found.sk, sk) < 0) low = middle + 1
    else high = middle
  }
  return low
}

const compareIndexed = (one: { at: string; item: ItemKey }, other: { at: string; item: ItemKey }) =>
  compareText(one.at, other.at) || compareText(one.item.pk, other.item.pk) || compareText(one.item.sk, other.item.sk)

function firstIndexed(entries: readonly Indexed[], entry: Indexed): number {
  let [low, high] = [0, entries.length]
  while (low < high) {
    const middle = (low + high) >> 1
    const found = entries[middle]
    if (found !== undefined && compareIndexed(found, entry) < 0) low = middle + 1
    else high = middle
  }
  return low
}

function readCursor(cursor: string, input: IndexInput): { readonly at: string; readonly item: ItemKey } {
  let content: unknown
  try {
    content = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
  } catch {
    throw new CursorInvalid('the cursor is malformed')
  }
  const parts: readonly unknown[] = Array.isArray(content) ? content : []
  const [index, pk, sk, at] = parts
  if (parts.length !== 4 || typeof pk !== 'string' || typeof sk !== 'string' || typeof at !== 'string')
    throw new CursorInvalid('the cursor is malformed')
  const outside =
    (input.from !== undefined && compareText(at, input.from) < 0) || (input.upTo !== undefined && compareText(at, input.upTo) > 0)
  if (index !== input.index || pk === '' || sk === '' || at === '' || outside)
    throw new CursorInvalid('the cursor belongs to another question')
  return { at, item: { pk, sk } }
}
