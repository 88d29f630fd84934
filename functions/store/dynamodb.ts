import type { AttributeValue, DynamoDBClient, TransactWriteItem } from '@aws-sdk/client-dynamodb'
import {
  BatchGetItemCommand,
  BatchWriteItemCommand,
  ConditionalCheckFailedException,
  DeleteItemCommand,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  TransactionCanceledException,
  TransactWriteItemsCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb'
import * as z from 'zod/mini'
import type { Clock, Randomness } from '../runtime/ports.ts'
import { readItem, shortName, shortPath, storedItem, storedValue } from './short-names.ts'
import type {
  Check,
  Condition,
  Delete,
  IndexInput,
  IndexName,
  IndexPage,
  Item,
  ItemKey,
  Page,
  Path,
  Put,
  QueryInput,
  Table,
  TransactResult,
  Update,
  Value,
  Write,
  WriteResult,
} from './table.ts'
import { StoreBusy } from './table.ts'

/** Tries of one call, the first included. */
const TRIES = 6
/** Keys in one BatchGetItem, items in one BatchWriteItem, operations in one transaction: the service's limits. */
const MOST_KEYS = 100
const MOST_PUTS = 25
const MOST_OPERATIONS = 100
/** Batch calls at once for one `getMany` or `putAll`. */
const AT_ONCE = 4
/** Single writes at once for one `writeEach`. */
const WRITES_AT_ONCE = 16
/** Transactions that `writeEach` tries without the writes whose conditions failed in the one before. */
const ROUNDS = 3

/** An `index` cursor that this table did not give out, or gave out for another question. */
export class CursorInvalid extends RangeError {
  override readonly name = 'CursorInvalid'
  readonly code = 'cursor-invalid'
}

/**
 * The table on DynamoDB, or on whatever speaks its protocol.
 *
 * - `client` should not retry by itself (`maxAttempts: 1`): a single write whose answer was lost must not be sent twice,
 *   or an `add` counts double and a condition fails on our own write. Such a write is thrown as `StoreBusy` with its
 *   effect unknown. Transactions carry a token that makes a second sending harmless, reads are harmless anyway, and
 *   throttling and conflicts are known to have had no effect: those are retried here.
 * - `set`, `setOnce` and `add` on a nested path need the maps above it (DynamoDB answers ValidationException: "The
 *   document path provided in the update expression is invalid for update"), so whoever puts an item puts its empty
 *   maps too. `remove` of a nested path needs them as well; conditions do not: below an absent map all is absent.
 * - An Update of an absent item makes it (with `v` 1); a condition `['pk', 'exists']` prevents that.
 * - A comparison with an absent attribute does not hold, except `<>`, which does.
 * - Two writes of one path in one Update are refused by DynamoDB; so is `v` in an Update, which is counted here.
 * - `query`'s `after` is a place in reading order: with `descending` it goes on with lesser keys.
 * - `writeEach` sends one UpdateItem for each write, some at once: DynamoDB bills a write inside a transaction twice. (A
 *   batch of PartiQL statements saves calls but no units, and no two servers agree on its grammar or tell what stood there.)
 *   With `together` it sends transactions of up to a hundred, and those whose conditions hold again without the others:
 *   the results are the same. The embedded store bills nothing, but waits for its disk at every commit.
 */
export function dynamoTable(tools: {
  readonly client: DynamoDBClient
  readonly table: string
  readonly clock: Clock
  readonly random: Randomness
  readonly together?: boolean
  /** Told of each call that the store refused for its rate. */
  readonly throttled?: () => void
}): Table {
  const { client, table } = tools

  const pause = (tried: number) => tools.clock.sleep(tools.random.fraction() * Math.min(1000, 25 * 2 ** tried))

  /** Repeats `call` while it fails in a way that another try may mend. */
  const persist = async <Result>(call: () => Promise<Result>, repeatable: (failure: Failure) => boolean): Promise<Result> => {
    for (let tried = 1; ; tried++) {
      try {
        return await call()
      } catch (error) {
        const failure = classify(error)
        if (failure === 'final') throw error
        if (isThrottling(error)) tools.throttled?.()
        if (!repeatable(failure)) throw new StoreBusy('the answer to a write was lost, its effect is unknown', { cause: error })
        if (tried === TRIES) throw new StoreBusy(`the table did not take the call in ${TRIES} tries`, { cause: error })
        await pause(tried)
      }
    }
  }
  const always = () => true

  const get = async (key: ItemKey): Promise<Item | undefined> => {
    const answer = await persist(
      () => client.send(new GetItemCommand({ TableName: table, Key: keyOf(key), ConsistentRead: true })),
      always,
    )
    return answer.Item && itemOf(answer.Item)
  }

  const getBatch = async (keys: readonly ItemKey[], found: Map<string, Item>): Promise<void> => {
    let asked: Record<string, AttributeValue>[] = keys.map(keyOf)
    for (let tried = 0; asked.length > 0; ) {
      const pending = asked
      const answer = await persist(
        () => client.send(new BatchGetItemCommand({ RequestItems: { [table]: { Keys: pending, ConsistentRead: true } } })),
        always,
      )
      for (const attributes of answer.Responses?.[table] ?? []) {
        const item = itemOf(attributes)
        found.set(nameOf(item), item)
      }
      asked = answer.UnprocessedKeys?.[table]?.Keys ?? []
      if (asked.length === 0) return
      // What was left over for the answer's size (16 MB) is progress; what was left over by throttling is not.
      tried = asked.length < pending.length ? 1 : tried + 1
      if (tried >= TRIES) throw new StoreBusy('the table leaves keys unread')
      await pause(tried)
    }
  }

  const getMany = async (keys: readonly ItemKey[]): Promise<(Item | undefined)[]> => {
    const distinct = [...new Map(keys.map((key) => [nameOf(key), key])).values()]
    const found = new Map<string, Item>()
    await inParallel(slices(distinct, MOST_KEYS), (batch) => getBatch(batch, found))
    return keys.map((key) => found.get(nameOf(key)))
  }

  const query = async (input: QueryInput): Promise<Page> => {
    const range = compileRange(input)
    if (range === 'empty') return { items: [] }
    const { start, keep, ...expression } = projected(range, input.only)
    const answer = await persist(
      () =>
        client.send(
          new QueryCommand({
            TableName: table,
            ConsistentRead: true,
            ReturnConsumedCapacity: 'TOTAL',
            ...expression,
            Limit: whole(input.limit),
            ScanIndexForward: input.descending !== true,
            ...(start === undefined ? {} : { ExclusiveStartKey: keyOf({ pk: input.pk, sk: start }) }),
          }),
        ),
      always,
    )
    const items = (answer.Items ?? []).map(itemOf).filter((item) => keep(item.sk))
    const last = answer.LastEvaluatedKey?.['sk']?.S
    const units = answer.ConsumedCapacity?.CapacityUnits
    return { items, ...(last === undefined ? {} : { next: last }), ...(units === undefined ? {} : { units }) }
  }

  const index = async (input: IndexInput): Promise<IndexPage> => {
    const [partition, at] = INDEX_KEYS[input.index]
    const bounds = compileBounds(partition, at, input.partition, input.from, input.upTo)
    if (bounds === 'empty') return { items: [] }
    const start = input.cursor === undefined ? undefined : readCursor(input.cursor, input)
    const answer = await persist(
      () =>
        client.send(
          new QueryCommand({
            TableName: table,
            IndexName: input.index,
            ...bounds,
            Limit: whole(input.limit),
            ScanIndexForward: input.descending !== true,
            ...(start === undefined
              ? {}
              : { ExclusiveStartKey: { ...keyOf(start), [partition]: { S: input.partition }, [at]: { S: start.at } } }),
          }),
        ),
      always,
    )
    const items = (answer.Items ?? []).map(itemOf)
    const last = answer.LastEvaluatedKey
    const [pk, sk, lastAt] = [last?.['pk']?.S, last?.['sk']?.S, last?.[at]?.S]
    if (pk === undefined || sk === undefined || lastAt === undefined) return { items }
    return { items, cursor: Buffer.from(JSON.stringify([input.index, pk, sk, lastAt])).toString('base64url') }
  }

  const write = async (operation: Write): Promise<WriteResult> => {
    try {
      await persist(
        async () => {
          const compiled = compileWrite(operation)
          const common = { TableName: table, ReturnValuesOnConditionCheckFailure: 'ALL_OLD' } as const
          if ('Item' in compiled) await client.send(new PutItemCommand({ ...common, ...compiled }))
          else if ('UpdateExpression' in compiled) await client.send(new UpdateItemCommand({ ...common, ...compiled }))
          else await client.send(new DeleteItemCommand({ ...common, ...compiled }))
        },
        (failure) => failure === 'untouched',
      )
      return { ok: true }
    } catch (error) {
      if (error instanceof ConditionalCheckFailedException) return { ok: false, current: error.Item && itemOf(error.Item) }
      throw error
    }
  }

  const writeEach = async (writes: readonly Write[]): Promise<WriteResult[]> => {
    if (new Set(writes.map((operation) => nameOf(keyOfWrite(operation)))).size < writes.length)
      throw new RangeError('no key may come twice in independent writes')
    const results: WriteResult[] = new Array(writes.length)
    const faults: unknown[] = []
    type Placed = readonly [place: number, operation: Write]
    const single = async ([place, operation]: Placed) => {
      try {
        results[place] = await write(operation)
      } catch (error) {
        faults.push(error)
      }
    }
    const grouped = async (group: readonly Placed[]) => {
      let left = group
      for (let round = 0; round < ROUNDS && left.length > 1; round += 1) {
        const done = await transact(left.map(([, operation]) => operation))
        const settled = (index: number) => done.ok || done.failed[index] === true
        for (const [index, [place]] of left.entries())
          if (done.ok) results[place] = { ok: true }
          else if (settled(index)) results[place] = { ok: false, current: done.current[index] }
        left = left.filter((_, index) => !settled(index))
      }
      for (const placed of left) await single(placed)
    }
    const placed: Placed[] = [...writes.entries()]
    if (tools.together === true) await inParallel(slices(placed, MOST_OPERATIONS), grouped)
    else await inParallel(placed, single, WRITES_AT_ONCE)
    if (faults.length > 0) throw faults[0]
    return results
  }

  const transact = async (operations: readonly (Write | Check)[]): Promise<TransactResult> => {
    if (operations.length === 0) return { ok: true }
    if (operations.length > MOST_OPERATIONS) throw new RangeError(`a transaction has at most ${MOST_OPERATIONS} operations`)
    const input = {
      TransactItems: operations.map((operation) => transactItem(table, operation)),
      // The same over all tries, so that a try whose answer was lost is not applied a second time. 36 characters at most.
      ClientRequestToken: Buffer.from(tools.random.bytes(24)).toString('base64url'),
    }
    try {
      await persist(() => client.send(new TransactWriteItemsCommand(input)), always)
      return { ok: true }
    } catch (error) {
      if (!(error instanceof TransactionCanceledException)) throw error
      const reasons = error.CancellationReasons ?? []
      const failed = operations.map((_, place) => reasons[place]?.Code === 'ConditionalCheckFailed')
      if (!failed.includes(true)) throw error
      const current = operations.map((_, place) => {
        const attributes = failed[place] ? reasons[place]?.Item : undefined
        return attributes === undefined || Object.keys(attributes).length === 0 ? undefined : itemOf(attributes)
      })
      return { ok: false, failed, current }
    }
  }

  const putBatch = async (items: readonly Item[]): Promise<void> => {
    let asked = items.map((item) => ({ PutRequest: { Item: storedItem(versioned(item)) } }))
    for (let tried = 0; asked.length > 0; ) {
      const pending = asked
      const answer = await persist(() => client.send(new BatchWriteItemCommand({ RequestItems: { [table]: pending } })), always)
      asked = (answer.UnprocessedItems?.[table] ?? []).flatMap(({ PutRequest }) =>
        PutRequest?.Item === undefined ? [] : [{ PutRequest: { Item: PutRequest.Item } }],
      )
      if (asked.length === 0) return
      tried = asked.length < pending.length ? 1 : tried + 1
      if (tried >= TRIES) throw new StoreBusy('the table leaves items unwritten')
      await pause(tried)
    }
  }

  const putAll = async (items: readonly Item[]): Promise<void> => {
    // BatchWriteItem refuses a key that comes twice; the later one would have won.
    const distinct = [...new Map(items.map((item) => [nameOf(item), item])).values()]
    await inParallel(slices(distinct, MOST_PUTS), putBatch)
  }

  return { get, getMany, query, index, write, writeEach, transact, putAll }
}

// ---------------------------------------------------------------------------------------------- failures

/** `untouched`: nothing was written, try again. `unknown`: it may have been written. `final`: another try says the same. */
type Failure = 'untouched' | 'unknown' | 'final'

const THROTTLED: ReadonlySet<string> = new Set([
  'ProvisionedThroughputExceededException',
  'ProvisionedThroughputExceeded',
  'RequestLimitExceeded',
  'ThrottlingException',
  'ThrottlingError',
])
const UNTOUCHED: ReadonlySet<string> = new Set([
  ...THROTTLED,
  'TransactionConflictException',
  'TransactionConflict',
  'TransactionInProgressException',
  'ReplicatedWriteConflictException',
])
const UNKNOWN: ReadonlySet<string> = new Set([
  'InternalServerError',
  'InternalServerErrorException',
  'ServiceUnavailable',
  'ServiceUnavailableException',
  'TimeoutError',
  'RequestTimeout',
  'RequestTimeoutException',
])
/** Node's codes for a connection that broke. */
const BROKEN: ReadonlySet<string> = new Set([
  'ECONNRESET',
  'ECONNREFUSED',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
])

/** Refused for its rate, alone or as a part of a transaction; a conflict is no sign of load. */
const isThrottling = (error: unknown): boolean =>
  error instanceof Error &&
  (THROTTLED.has(error.name) ||
    (error instanceof TransactionCanceledException &&
      (error.CancellationReasons ?? []).some(({ Code }) => Code !== undefined && THROTTLED.has(Code))))

function classify(error: unknown): Failure {
  if (!(error instanceof Error)) return 'final'
  if (error instanceof TransactionCanceledException) {
    const codes = (error.CancellationReasons ?? []).map((reason) => reason.Code ?? 'None').filter((code) => code !== 'None')
    // A failed condition is an answer, whatever the other operations met; anything else unmendable is a bug of ours.
    if (codes.length === 0 || codes.includes('ConditionalCheckFailed')) return 'final'
    return codes.every((code) => UNTOUCHED.has(code) || UNKNOWN.has(code)) ? 'untouched' : 'final'
  }
  if (UNTOUCHED.has(error.name)) return 'untouched'
  if (UNKNOWN.has(error.name)) return 'unknown'
  if ('code' in error && typeof error.code === 'string' && BROKEN.has(error.code)) return 'unknown'
  const metadata = '$metadata' in error ? error.$metadata : undefined
  if (typeof metadata === 'object' && metadata !== null && 'httpStatusCode' in metadata) {
    const status = metadata.httpStatusCode
    if (typeof status === 'number' && status >= 500) return 'unknown'
  }
  return 'final'
}

// ------------------------------------------------------------------------------------------- expressions

/**
 * Collects names and values behind generated placeholders. Expression texts are put together from placeholders and
 * fixed words alone: nothing that came from outside is ever part of one.
 */
function placeholders() {
  const names = new Map<string, string>()
  const values: AttributeValue[] = []
  const name = (text: string) => {
    const known = names.get(text)
    if (known !== undefined) return known
    const made = `#${names.size}`
    names.set(text, made)
    return made
  }
  return {
    path(path: Path): string {
      const steps = typeof path === 'string' ? [path] : path
      if (steps.length === 0) throw new RangeError('a path has at least one step')
      return shortPath(steps).map(name).join('.')
    },
    /** @param path where it stands, or is compared with what stands there */
    value(value: Value, path: Path): string {
      if (value === undefined) throw new RangeError('a value of an expression cannot be undefined')
      values.push(storedValue(typeof path === 'string' ? [path] : path, value))
      return `:${values.length - 1}`
    },
    /** DynamoDB refuses empty maps and unused entries. */
    attributes() {
      return {
        ...(names.size === 0
          ? {}
          : { ExpressionAttributeNames: Object.fromEntries([...names].map(([text, placeholder]) => [placeholder, text])) }),
        ...(values.length === 0
          ? {}
          : { ExpressionAttributeValues: Object.fromEntries(values.map((value, place) => [`:${place}`, value])) }),
      }
    },
  }
}
type Placeholders = ReturnType<typeof placeholders>

function compileCondition(condition: Condition, into: Placeholders): string {
  if ('or' in condition) {
    if (condition.or.length === 0) throw new RangeError('or needs at least one condition')
    return `(${condition.or.map((part) => compileCondition(part, into)).join(' OR ')})`
  }
  if (condition.length === 2) {
    return condition[1] === 'exists'
      ? `attribute_exists(${into.path(condition[0])})`
      : `attribute_not_exists(${into.path(condition[0])})`
  }
  return `${into.path(condition[0])} ${OPERATORS[condition[1]]} ${into.value(condition[2], condition[0])}`
}

/** Looked up rather than copied: an operator is not trusted either. */
const OPERATORS = { '=': '=', '<>': '<>', '<': '<', '<=': '<=', '>': '>', '>=': '>=' } as const

const compileConditions = (conditions: readonly Condition[] | undefined, into: Placeholders) =>
  conditions === undefined || conditions.length === 0
    ? {}
    : { ConditionExpression: conditions.map((condition) => compileCondition(condition, into)).join(' AND ') }

interface Attributes {
  readonly ExpressionAttributeNames?: Record<string, string>
  readonly ExpressionAttributeValues?: Record<string, AttributeValue>
  readonly ConditionExpression?: string
}
type Keyed = Attributes & { readonly Key: Record<string, AttributeValue> }
export type CompiledPut = Attributes & { readonly Item: Record<string, AttributeValue> }
export type CompiledUpdate = Keyed & { readonly UpdateExpression: string }

/** The structured write in DynamoDB's terms, without the table's name. */
export function compileWrite(operation: Write): CompiledPut | CompiledUpdate | Keyed {
  if ('put' in operation) return compilePut(operation)
  if ('update' in operation) return compileUpdate(operation)
  return compileDelete(operation)
}

function compilePut(operation: Put): CompiledPut {
  const into = placeholders()
  const condition = compileConditions(operation.if, into)
  return { Item: storedItem(versioned(operation.put)), ...condition, ...into.attributes() }
}

function compileUpdate(operation: Update): CompiledUpdate {
  const into = placeholders()
  const sets = [
    ...(operation.set ?? []).map(([path, value]) => `${into.path(path)} = ${into.value(value, path)}`),
    ...(operation.setOnce ?? []).map(([path, value]) => {
      const place = into.path(path)
      return `${place} = if_not_exists(${place}, ${into.value(value, path)})`
    }),
    // ADD takes top-level attributes only, so numbers are counted by SET everywhere.
    ...[...(operation.add ?? []), ['v', 1] as const].map(([path, number]) => {
      const place = into.path(path)
      return `${place} = if_not_exists(${place}, ${into.value(0, path)}) + ${into.value(number, path)}`
    }),
  ]
  const removes = (operation.remove ?? []).map((path) => into.path(path))
  const expression = `SET ${sets.join(', ')}${removes.length === 0 ? '' : ` REMOVE ${removes.join(', ')}`}`
  const condition = compileConditions(operation.if, into)
  return { Key: keyOf(operation.update), UpdateExpression: expression, ...condition, ...into.attributes() }
}

function compileDelete(operation: Delete): Keyed {
  const into = placeholders()
  const condition = compileConditions(operation.if, into)
  return { Key: keyOf(operation.delete), ...condition, ...into.attributes() }
}

function transactItem(table: string, operation: Write | Check): TransactWriteItem {
  const common = { TableName: table, ReturnValuesOnConditionCheckFailure: 'ALL_OLD' } as const
  if ('put' in operation) return { Put: { ...common, ...compilePut(operation) } }
  if ('update' in operation) return { Update: { ...common, ...compileUpdate(operation) } }
  if ('delete' in operation) return { Delete: { ...common, ...compileDelete(operation) } }
  const into = placeholders()
  const { ConditionExpression } = compileConditions(operation.if, into)
  if (ConditionExpression === undefined) throw new RangeError('a check needs a condition')
  return { ConditionCheck: { ...common, Key: keyOf(operation.check), ConditionExpression, ...into.attributes() } }
}

// ------------------------------------------------------------------------------------------------ ranges

const INDEX_KEYS: Readonly<Record<IndexName, readonly [partition: string, at: string]>> = {
  due: ['duePk', 'dueAt'],
  list: ['listPk', 'listAt'],
}

/** DynamoDB orders strings by their UTF-8 bytes; JavaScript by UTF-16 units, which differs above U+FFFF. */
const compare = (one: string, other: string) => Buffer.compare(Buffer.from(one), Buffer.from(other))
/** The greatest code point: nothing of ours is beyond it. */
const BEYOND = '\u{10FFFF}'

/** A key condition has one clause for the sort key, so several bounds are brought into one; `after` is where reading starts. */
function compileRange(input: QueryInput) {
  const { pk, after, prefix } = input
  let { from, to } = input
  let begins: string | undefined
  if (prefix !== undefined && prefix !== '') {
    if (from === undefined && to === undefined) begins = prefix
    else {
      if (from === undefined || compare(from, prefix) < 0) from = prefix
      const end = prefix + BEYOND
      if (to === undefined || compare(to, end) > 0) to = end
    }
  }
  const keep = (sk: string) => prefix === undefined || sk.startsWith(prefix)
  // A start outside of the bounds is refused by DynamoDB: before them it means all, behind them nothing.
  let start: string | undefined
  if (after !== undefined && after !== '') {
    const side =
      begins === undefined
        ? from !== undefined && compare(after, from) < 0
          ? -1
          : to !== undefined && compare(after, to) > 0
            ? 1
            : 0
        : after.startsWith(begins)
          ? 0
          : compare(after, begins)
    const direction = input.descending === true ? -1 : 1
    if (side * direction > 0) return 'empty'
    if (side === 0) start = after
  }
  if (begins !== undefined) {
    const into = placeholders()
    const expression = `${into.path('pk')} = ${into.value(pk, 'pk')} AND begins_with(${into.path('sk')}, ${into.value(begins, 'sk')})`
    return { KeyConditionExpression: expression, ...into.attributes(), start, keep }
  }
  const bounds = compileBounds('pk', 'sk', pk, from, to)
  return bounds === 'empty' ? bounds : { ...bounds, start, keep }
}

/** Adds the attributes that are wanted to a compiled range; their placeholders (`#p0`) are none of the range's. */
function projected<Range extends { readonly ExpressionAttributeNames?: Record<string, string> }>(
  range: Range,
  only: readonly string[] | undefined,
): Range & { readonly ProjectionExpression?: string } {
  if (only === undefined) return range
  const names = [...new Set(['pk', 'sk', ...only])].map(shortName)
  return {
    ...range,
    ProjectionExpression: names.map((_, place) => `#p${place}`).join(', '),
    ExpressionAttributeNames: {
      ...range.ExpressionAttributeNames,
      ...Object.fromEntries(names.map((name, place) => [`#p${place}`, name])),
    },
  }
}

function compileBounds(
  partitionName: string,
  sortName: string,
  partition: string,
  from: string | undefined,
  to: string | undefined,
) {
  const into = placeholders()
  let expression = `${into.path(partitionName)} = ${into.value(partition, partitionName)}`
  // An empty string is no sort key, so it bounds nothing from below and everything from above.
  const low = from === '' ? undefined : from
  if (to === '' || (low !== undefined && to !== undefined && compare(low, to) > 0)) return 'empty'
  if (low !== undefined && to !== undefined) {
    expression += ` AND ${into.path(sortName)} BETWEEN ${into.value(low, sortName)} AND ${into.value(to, sortName)}`
  } else if (low !== undefined) expression += ` AND ${into.path(sortName)} >= ${into.value(low, sortName)}`
  else if (to !== undefined) expression += ` AND ${into.path(sortName)} <= ${into.value(to, sortName)}`
  return { KeyConditionExpression: expression, ...into.attributes() }
}

const Cursor = z.tuple([z.enum(['due', 'list']), z.string(), z.string(), z.string()])

function readCursor(cursor: string, input: IndexInput): ItemKey & { readonly at: string } {
  let content: unknown
  try {
    content = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
  } catch {
    throw new CursorInvalid('the cursor is malformed')
  }
  const parsed = z.safeParse(Cursor, content)
  if (!parsed.success) throw new CursorInvalid('the cursor is malformed')
  const [index, pk, sk, at] = parsed.data
  const outside =
    (input.from !== undefined && compare(at, input.from) < 0) || (input.upTo !== undefined && compare(at, input.upTo) > 0)
  if (index !== input.index || pk === '' || sk === '' || at === '' || outside) {
    throw new CursorInvalid('the cursor belongs to another question')
  }
  return { pk, sk, at }
}

function whole(limit: number): number {
  if (!Number.isInteger(limit) || limit < 1) throw new RangeError('a limit is a whole number from 1')
  return limit
}

// ------------------------------------------------------------------------------------------------- items

const nameOf = (key: ItemKey) => JSON.stringify([key.pk, key.sk])

const keyOfWrite = (write: Write): ItemKey => ('put' in write ? write.put : 'update' in write ? write.update : write.delete)

const keyOf = (key: ItemKey): Record<string, AttributeValue> => ({ pk: { S: key.pk }, sk: { S: key.sk } })

const versioned = (item: Item): Item => (item['v'] === undefined ? { ...item, v: 1 } : item)

function itemOf(attributes: Record<string, AttributeValue>): Item {
  const content = readItem(attributes)
  const { pk, sk } = content
  if (typeof pk !== 'string' || typeof sk !== 'string') throw new TypeError('the item has no pk and sk')
  return Object.assign(content, { pk, sk })
}

// ------------------------------------------------------------------------------------------------ batches

const slices = <Entry>(entries: readonly Entry[], size: number): Entry[][] =>
  Array.from({ length: Math.ceil(entries.length / size) }, (_, place) => entries.slice(place * size, (place + 1) * size))

async function inParallel<Entry>(
  entries: readonly Entry[],
  work: (entry: Entry) => Promise<void>,
  atOnce = AT_ONCE,
): Promise<void> {
  const waiting = entries.values()
  const runner = async () => {
    for (const entry of waiting) await work(entry)
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, entries.length) }, runner))
}
