import { isDeepStrictEqual } from 'node:util'
import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { unmarshall } from '@aws-sdk/util-dynamodb'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemRandomness } from '../../functions/runtime/randomness.ts'
import { dynamoTable } from '../../functions/store/dynamodb.ts'
import type {
  Check,
  Condition,
  Item,
  ItemKey,
  Path,
  QueryInput,
  Table,
  Update,
  Value,
  Write,
} from '../../functions/store/table.ts'
import type { Dynamo } from '../../lib/local/dynamodb.ts'
import { openStream } from '../../lib/local/dynamodb.ts'
import type { Json, JsonObject } from '../../lib/local/json.ts'
import { isObject, objectOf } from '../../lib/local/json.ts'
import { Prng } from '../simulation/prng.ts'
import { Scheduler } from '../simulation/scheduler.ts'
import { SimulatedTable } from '../simulation/table.ts'
import { startTestStore } from '../support/dynoxide.ts'
import { startMiniStack } from '../support/ministack.ts'

/**
 * The same operations, drawn at random, on the simulated table with its faults off, on the embedded store and on MiniStack
 * (where there is Python): each answer, each item and each image of the stream must be alike. The differences that remain:
 *
 * - A transaction that meets another one on the same item raises TransactionConflict at DynamoDB alone: no emulator does.
 *   Simulated; tested by test/unit/simulation/table.test.ts.
 * - Time to live: DynamoDB deletes late and tells the stream, MiniStack tells no stream, the embedded store deletes within
 *   a minute or never. Simulated as DynamoDB; tested there too.
 * - Indexes are eventually consistent at DynamoDB alone; both emulators show each change at once, as the simulated table
 *   does with its faults off.
 * - The end of a page of 1 MB: each counts the bytes of an item a little differently, so pages may end an item earlier or
 *   later.
 * - Whether a page that ends where the items end says that more may follow: allowed both ways, the next page is empty.
 * - Items with the same index sort key come in an order of each store: compared as sets.
 * - Removing a path below a map that is not there is an error of DynamoDB and of the simulated table; the emulators take
 *   it as done.
 * - A transaction in which an update writes one path twice is refused by DynamoDB and the simulated table before its
 *   conditions are looked at, by the embedded store after; MiniStack looks at the conditions first everywhere.
 * - MiniStack adds to what is no number.
 * - MiniStack keeps no ceiling of 400 KB for an item or of 4 MB for a transaction.
 */
const clock = { now: () => 0, sleep: async () => {} }
const stack = await startMiniStack()

interface Server {
  readonly name: string
  start(): Promise<{ readonly table: Table; stop(): Promise<void> }>
}
const SERVERS: readonly Server[] = [
  { name: 'the embedded store', start: () => served() },
  ...(stack === undefined ? [] : [{ name: 'MiniStack', start: () => served(stack.endpoint) }]),
]
async function served(endpoint?: string) {
  const { client, table, stop } = await startTestStore(endpoint === undefined ? {} : { endpoint })
  return { table: dynamoTable({ client, table, clock, random: systemRandomness }), stop }
}

// ------------------------------------------------------------------------------------------ random operations

type Operation =
  | { readonly do: 'write'; readonly write: Write }
  | { readonly do: 'each'; readonly writes: readonly Write[] }
  | { readonly do: 'transact'; readonly operations: readonly (Write | Check)[] }
  | { readonly do: 'put'; readonly items: readonly Item[] }
  | { readonly do: 'get'; readonly keys: readonly ItemKey[] }
  | { readonly do: 'query'; readonly input: QueryInput }
  | { readonly do: 'index'; readonly input: Parameters<Table['index']>[0] }

const SORT_KEYS = ['A', 'A#1', 'A#2', 'B', 'B#1', 'Bé', 'C', '\uffee', '🙂'] as const
const BOUNDS = [...SORT_KEYS, '', 'A#', 'B#15', 'Z', '~'] as const
const MOMENTS = ['2026-01-01', '2026-01-02', '2026-02-01'] as const

/** Draws operations that a correct caller would make, and some that only a bug would. */
class Draws {
  private readonly prng: Prng
  private readonly partitions: readonly string[]
  private readonly careful: boolean
  /** @param careful only what a correct caller writes: see the differences */
  constructor(seed: number, careful: boolean) {
    this.careful = careful
    this.prng = new Prng(seed, 'conformance')
    this.partitions = [`P#${seed}#a`, `P#${seed}#b`]
  }

  operation(): Operation {
    const { prng } = this
    const roll = prng.fraction()
    if (roll < 0.4) return { do: 'write', write: this.write(this.key(), this.careful) }
    if (roll < 0.5) return { do: 'each', writes: this.keys(6).map((key) => this.write(key, this.careful)) }
    if (roll < 0.7) return { do: 'transact', operations: this.transaction() }
    if (roll < 0.74) return { do: 'put', items: this.keys(8).map((key) => this.item(key)) }
    if (roll < 0.8) return { do: 'get', keys: this.keys(5) }
    if (roll < 0.93) return { do: 'query', input: this.query() }
    return { do: 'index', input: this.index() }
  }

  private key(): ItemKey {
    return { pk: this.prng.pick(this.partitions), sk: this.prng.pick(SORT_KEYS) }
  }

  private keys(most: number): ItemKey[] {
    const made = Array.from({ length: this.prng.between(1, most) }, () => this.key())
    return [...new Map(made.map((key) => [`${key.pk}|${key.sk}`, key])).values()]
  }

  private transaction(): (Write | Check)[] {
    const keys = this.keys(5)
    // A repeated key is a bug, and must be told as one.
    if (this.prng.chance(0.05)) keys.push(...keys.slice(0, 1))
    return keys.map((key) => (this.prng.chance(0.25) ? { check: key, if: this.conditions(1) } : this.write(key, true)))
  }

  private write(key: ItemKey, careful: boolean): Write {
    const roll = this.prng.fraction()
    const conditions = this.prng.chance(0.5) ? { if: this.conditions(0) } : {}
    if (roll < 0.35) return { put: this.item(key), ...conditions }
    if (roll < 0.5) return { delete: key, ...conditions }
    return { ...this.update(key, careful), ...conditions }
  }

  private item(key: ItemKey): Item {
    const { prng } = this
    const some = <Made>(make: () => Made): Made | undefined => (prng.chance(0.6) ? make() : undefined)
    return {
      ...key,
      n: some(() => this.number()),
      big: some(() => Number.MAX_SAFE_INTEGER),
      text: some(() => this.text()),
      flag: some(() => prng.chance(0.5)),
      nothing: prng.chance(0.2) ? null : undefined,
      map: some(() => ({ a: this.number(), b: this.text(), deep: { c: this.value(1), gone: undefined } })),
      list: some(() => [this.value(1), this.value(1)]),
      'odd.name#:': some(() => this.text()),
      ...(prng.chance(0.4) ? { duePk: `due ${this.partitions[0]}`, dueAt: prng.pick(MOMENTS) } : {}),
      ...(prng.chance(0.1) ? { v: prng.below(5) } : {}),
    }
  }

  private update(update: ItemKey, careful: boolean): Update {
    const { prng } = this
    const paths = prng.shuffled<Path>(['n', 'text', 'odd.name#:', 'fresh'])
    // Now and then what only a bug would write: below what is no map, one path twice, one path inside another.
    if (!careful && prng.chance(0.1)) paths.unshift(prng.pick([['map', 'x'], ['fresher', 'a'], ['text', 'a'], 'text']))
    else if (prng.chance(0.2)) paths.unshift(['map', 'deep', 'c'])
    const take = (most: number) => paths.splice(0, prng.below(most + 1))
    // Of what may be absent only whole attributes are removed.
    const remove = paths.filter((path) => typeof path === 'string').slice(0, prng.below(3))
    for (const path of remove) paths.splice(paths.indexOf(path), 1)
    const add = careful ? (prng.chance(0.3) ? ['count'] : []) : take(1)
    return {
      update,
      set: take(2).map((path) => [path, this.value(2)] as const),
      setOnce: take(1).map((path) => [path, this.value(1)] as const),
      add: add.map((path) => [path, this.number()] as const),
      remove,
    }
  }

  private conditions(least: number): Condition[] {
    return Array.from({ length: this.prng.between(least, 2) }, () => this.condition(2))
  }

  private condition(depth: number): Condition {
    const { prng } = this
    if (depth > 0 && prng.chance(0.2)) return { or: [this.condition(depth - 1), this.condition(depth - 1)] }
    const path: Path = prng.pick<Path>([
      'pk',
      'n',
      'text',
      'flag',
      'v',
      'map',
      ['map', 'a'],
      ['map', 'deep', 'c'],
      ['text', 'x'],
      'odd.name#:',
    ])
    if (prng.chance(0.4)) return [path, prng.pick(['exists', 'absent'] as const)]
    return [path, prng.pick(['=', '<>', '<', '<=', '>', '>='] as const), prng.chance(0.7) ? this.value(0) : this.value(1)]
  }

  private value(depth: number): Value {
    const { prng } = this
    const roll = prng.fraction()
    if (roll < 0.35) return this.number()
    if (roll < 0.7) return this.text()
    if (roll < 0.8) return prng.chance(0.5)
    if (roll < 0.85) return null
    if (depth === 0) return this.number()
    return prng.chance(0.5) ? { a: this.value(depth - 1), b: undefined, c: {} } : [this.value(depth - 1)]
  }

  private number(): number {
    return this.prng.pick([-1, 0, 1, 2, 1.5])
  }

  private text(): string {
    return this.prng.pick(['', 'a', 'b', 'é', '\uffee', '🙂'])
  }

  private query(): QueryInput {
    const { prng } = this
    const bound = (name: string, probability: number) => (prng.chance(probability) ? { [name]: prng.pick(BOUNDS) } : {})
    return {
      pk: prng.pick(this.partitions),
      limit: prng.pick([1, 2, 3, 50]),
      ...bound('prefix', 0.3),
      ...bound('from', 0.3),
      ...bound('to', 0.3),
      ...bound('after', 0.3),
      ...(prng.chance(0.3) ? { descending: true } : {}),
      ...(prng.chance(0.2) ? { only: prng.shuffled(['n', 'map', 'list', 'pk']).slice(0, 2) } : {}),
    }
  }

  private index(): Parameters<Table['index']>[0] {
    const { prng } = this
    const partition = `due ${this.partitions[0]}`
    return {
      index: 'due',
      partition,
      limit: 50,
      ...(prng.chance(0.5) ? { upTo: prng.pick(MOMENTS) } : {}),
      descending: prng.chance(0.3),
    }
  }
}

/** What a store answers, in a form in which two stores can be compared. */
async function answerOf(table: Table, operation: Operation): Promise<unknown> {
  try {
    switch (operation.do) {
      case 'write':
        return await table.write(operation.write)
      case 'each':
        return await table.writeEach(operation.writes)
      case 'transact':
        return await table.transact(operation.operations)
      case 'put':
        return await table.putAll(operation.items)
      case 'get':
        return operation.keys.length === 1 && operation.keys[0] !== undefined
          ? await table.get(operation.keys[0])
          : await table.getMany(operation.keys)
      case 'query':
        return await walk(table, operation.input)
      case 'index': {
        const { items } = await table.index(operation.input)
        return { moments: items.map((item) => item['dueAt']), items: bySortKey(items) }
      }
    }
  } catch (error) {
    // Who refuses in which words differs; that it is refused must not.
    return { refused: true, retry: error instanceof Error && error.name === 'StoreBusy' }
  }
}

/** The first page, and all that follows it. */
async function walk(table: Table, input: QueryInput): Promise<unknown> {
  const first = await table.query(input)
  const items = [...first.items]
  for (let { next } = first; next !== undefined; ) {
    const page = await table.query({ ...input, after: next })
    items.push(...page.items)
    next = page.next
  }
  return { first: first.items, items }
}

const bySortKey = (items: readonly Item[]) =>
  [...items].sort((one, other) => (`${one.pk}|${one.sk}` < `${other.pk}|${other.sk}` ? -1 : 1))

// -------------------------------------------------------------------------------------------------- the comparison

describe.each(SERVERS)('the simulated table and $name', ({ name, start }) => {
  let server: Table
  let stop: () => Promise<void>
  beforeAll(async () => {
    const started = await start()
    server = started.table
    stop = started.stop
  })
  afterAll(() => stop?.())

  it.each(Array.from({ length: name === 'MiniStack' ? 8 : 30 }, (_, seed) => seed))(
    'answer alike to the random operations of seed %i',
    async (seed) => {
      const simulated = new SimulatedTable({ seed })
      const draws = new Draws(seed, name === 'MiniStack')
      for (let count = 0; count < 60; count += 1) {
        const operation = draws.operation()
        const [wanted, found] = [await answerOf(simulated, operation), await answerOf(server, operation)]
        if (!isDeepStrictEqual(plain(found), plain(wanted)))
          expect({ operation, answer: found }).toEqual({ operation, answer: wanted })
      }
      for (const pk of [`P#${seed}#a`, `P#${seed}#b`])
        expect((await server.query({ pk, limit: 100 })).items).toEqual(simulated.partition(pk))
    },
  )

  it.runIf(name !== 'MiniStack')('refuse the same items and transactions for their size', async () => {
    const simulated = new SimulatedTable()
    const text = (kilobytes: number) => 'x'.repeat(kilobytes * 1024)
    const item = (sk: string, kilobytes: number): Write => ({ put: { pk: 'P#big', sk, text: text(kilobytes) } })
    for (const operation of [
      { do: 'write', write: item('A', 399) },
      { do: 'write', write: item('A', 401) },
      { do: 'write', write: { update: { pk: 'P#big', sk: 'A' }, set: [['more', text(2)]] } },
      { do: 'transact', operations: Array.from({ length: 10 }, (_, place) => item(`T${place}`, 390)) },
      { do: 'transact', operations: Array.from({ length: 12 }, (_, place) => item(`U${place}`, 390)) },
    ] satisfies Operation[]) {
      const said = async (table: Table) => plain(await answerOf(table, operation))
      expect(await said(server)).toEqual(await said(simulated))
    }
  })

  it('go on through more than a megabyte', async () => {
    const simulated = new SimulatedTable()
    const items = Array.from({ length: 15 }, (_, place) => ({
      pk: 'P#pages',
      sk: `K${String(place).padStart(2, '0')}`,
      text: 'x'.repeat(100_000),
    }))
    for (const table of [simulated, server]) {
      await table.putAll(items)
      const first = await table.query({ pk: 'P#pages', limit: 100 })
      expect(first.items.length).toBeGreaterThan(8)
      expect(first.items.length).toBeLessThan(12)
      expect(await walk(table, { pk: 'P#pages', limit: 100 })).toMatchObject({ items: items.map(({ sk }) => ({ sk })) })
    }
  })
})

const plain = (value: unknown): unknown => (value === undefined ? undefined : JSON.parse(JSON.stringify(value)))

describe('the stream of the simulated table and of the embedded store', () => {
  it('tells the same changes of each item in the same order, with both images', async () => {
    const { client, endpoint, table, stop } = await startTestStore({ stream: true })
    try {
      const server = dynamoTable({ client, table, clock, random: systemRandomness })
      const simulated = new SimulatedTable({ scheduler: new Scheduler(1) })
      for (const seed of [1001, 1002, 1003]) {
        const draws = new Draws(seed, false)
        for (let count = 0; count < 80; count += 1) {
          const operation = draws.operation()
          await answerOf(simulated, operation)
          await answerOf(server, operation)
        }
      }
      const stream = await openStream(dynamo(endpoint), table, {})
      const told: { before: Item | undefined; after: Item | undefined }[] = []
      for (let quiet = 0; quiet < 2; ) {
        const records = (await stream.read(1000)).flatMap((batch) => batch.records)
        quiet = records.length === 0 ? quiet + 1 : 0
        for (const { dynamodb } of records)
          told.push({ before: imageOf(dynamodb['OldImage']), after: imageOf(dynamodb['NewImage']) })
      }
      expect(byItem(told)).toEqual(byItem(simulated.changes))
    } finally {
      await stop()
    }
  })
})

const dynamo = (endpoint: string): Dynamo => ({
  endpoint,
  createTables: async () => {},
  call: (target, body) => raw(endpoint, target, body),
  stop: async () => {},
})

async function raw(endpoint: string, target: string, body: JsonObject): Promise<JsonObject> {
  const answer = await fetch(endpoint, {
    method: 'POST',
    headers: {
      'content-type': 'application/x-amz-json-1.0',
      'x-amz-target': target,
      'x-amz-date': '20260101T000000Z',
      authorization:
        'AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=none',
    },
    body: JSON.stringify(body),
  })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${target}: ${text}`)
  return objectOf(JSON.parse(text) as Json, target)
}

function imageOf(image: Json | undefined): Item | undefined {
  if (!isObject(image)) return undefined
  // What a store streams is in its own wire form, which the type of JSON cannot say.
  const wire: object = image
  return unmarshall(wire as Record<string, AttributeValue>) as Item
}

/** The changes of each item. A write that leaves an item as it is tells nothing. */
function byItem(changes: readonly { before: Item | undefined; after: Item | undefined }[]): Record<string, unknown[]> {
  const found: Record<string, unknown[]> = {}
  for (const { before, after } of changes) {
    if (isDeepStrictEqual(before, after)) continue
    const item = after ?? before
    const name = `${item?.pk}|${item?.sk}`
    found[name] = [...(found[name] ?? []), { before, after }]
  }
  return found
}

afterAll(() => stack?.stop())
