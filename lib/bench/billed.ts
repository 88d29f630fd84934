import type { IncomingMessage } from 'node:http'
import { Agent, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Json, JsonObject } from '../local/json.ts'
import { arrayOf, isArray, isObject, objectOf } from '../local/json.ts'
import type { Attributes, IndexKeys } from './billing.ts'
import { itemSize, readUnits, unitsOfWrite, writeUnits } from './billing.ts'

/** What the store was asked for, in billed units. */
export interface Bill {
  /** By operation. */
  readonly reads: Record<string, { requests: number; items: number; units: number }>
  /** By the kind of the item: what was written to the table, and how much of it stood in transactions. */
  readonly writes: Record<string, { writes: number; units: number; transactional: number; bytes: number }>
  /** By index and kind. */
  readonly indexes: Record<string, number>
  /** Conditions that did not hold, and checks of transactions: billed like the write. */
  readonly refused: { operations: number; units: number }
  readonly checks: { operations: number; units: number }
  /** Writes of tables without a stream, by table. */
  readonly others: Record<string, { writes: number; units: number }>
  /** Operations that this does not know: there must be none. */
  readonly unknown: Record<string, number>
}

export interface Billing {
  /** What the functions take for the store. */
  readonly endpoint: string
  readonly bill: Bill
  reset(): void
  /** Writes whose record of the stream was not read yet. */
  waiting(): number
  stop(): Promise<void>
}

const emptyBill = (): Bill => ({
  reads: {},
  writes: {},
  indexes: {},
  refused: { operations: 0, units: 0 },
  checks: { operations: 0, units: 0 },
  others: {},
  unknown: {},
})

/**
 * Stands between the functions and the embedded store, carries bytes, and counts what DynamoDB would bill. A write's
 * units follow from what stood there before and after, which the table's own stream tells; whether it stood in a
 * transaction, from the request. Where a projection hides how large what was read is, it asks again for the whole.
 */
export async function startBilling(options: {
  readonly store: string
  /** The table with the stream. */
  readonly table: string
  readonly indexes: readonly IndexKeys[]
}): Promise<Billing> {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  const target = new URL(options.store)
  let bill = emptyBill()
  /** By key: for each write that was taken, in order, whether it stood in a transaction. */
  const taken = new Map<string, boolean[]>()
  let waiting = 0
  let lastRecord = -1

  function forward(
    headers: IncomingMessage['headers'],
    body: Buffer,
  ): Promise<{ status: number; headers: IncomingMessage['headers']; body: Buffer }> {
    return new Promise((resolve, reject) => {
      const { host: _, connection: __, 'transfer-encoding': ___, ...rest } = headers
      const outgoing = request(
        target,
        { method: 'POST', agent, headers: { ...rest, 'content-length': body.length } },
        (incoming) => {
          const parts: Buffer[] = []
          incoming.on('data', (part: Buffer) => parts.push(part))
          incoming.on('error', reject)
          incoming.on('end', () =>
            resolve({ status: incoming.statusCode ?? 500, headers: incoming.headers, body: Buffer.concat(parts) }),
          )
        },
      )
      outgoing.on('error', reject)
      outgoing.end(body)
    })
  }
  const parse = (body: Buffer): JsonObject => objectOf(JSON.parse(body.toString('utf8')) as Json, 'body')

  /** Whole sizes of items, for what a request or an answer does not show. */
  async function sizesOf(headers: IncomingMessage['headers'], table: string, keys: readonly JsonObject[]): Promise<number[]> {
    const sizes: number[] = []
    for (let first = 0; first < keys.length; first += 100) {
      const asked = JSON.stringify({ RequestItems: { [table]: { Keys: keys.slice(first, first + 100), ConsistentRead: true } } })
      const answer = await forward({ ...headers, 'x-amz-target': 'DynamoDB_20120810.BatchGetItem' }, Buffer.from(asked))
      const responses = objectOf(parse(answer.body)['Responses'] ?? {}, 'Responses')
      sizes.push(...itemsIn(responses[table]).map(itemSize))
    }
    return sizes
  }

  const read = (operation: string, items: number, units: number) => {
    bill.reads[operation] ??= { requests: 0, items: 0, units: 0 }
    const entry = bill.reads[operation]
    entry.requests += 1
    entry.items += items
    entry.units += units
  }
  const take = (item: Json | undefined, transactional: boolean) => {
    const name = nameOf(item)
    taken.set(name, [...(taken.get(name) ?? []), transactional])
    waiting += 1
  }
  /** It was not written after all: the last that was noted under the key. */
  const give = (item: Json | undefined) => {
    const flags = taken.get(nameOf(item))
    if (flags?.pop() === undefined) return
    waiting -= 1
    if (flags.length === 0) taken.delete(nameOf(item))
  }
  /** Noted before it is carried out: the stream may tell of a write before its answer is here. */
  const noteAhead = (operation: string, input: JsonObject): Json[] => {
    const keys: Json[] = []
    const note = (key: Json | undefined, transactional: boolean) => {
      if (key === undefined) return
      take(key, transactional)
      keys.push(key)
    }
    if (operation === 'TransactWriteItems')
      for (const one of arrayOf(input['TransactItems'] ?? [], 'TransactItems')) {
        const [[kind, content] = ['', {}]] = Object.entries(objectOf(one, 'TransactItems'))
        const about = objectOf(content, kind)
        if (kind !== 'ConditionCheck') note(about['Item'] ?? about['Key'], true)
      }
    else if (/^(Put|Update|Delete)Item$/.test(operation) && input['TableName'] === options.table)
      note(input['Item'] ?? input['Key'], false)
    return keys
  }
  const refuse = (item: Json | undefined, transactional: boolean) => {
    bill.refused.operations += 1
    bill.refused.units += writeUnits(isObject(item) ? itemSize(item) : 0) * (transactional ? 2 : 1)
  }

  async function count(
    operation: string,
    headers: IncomingMessage['headers'],
    input: JsonObject,
    ok: boolean,
    answer: JsonObject,
  ): Promise<void> {
    const consistent = input['ConsistentRead'] === true
    const streamed = input['TableName'] === options.table
    switch (operation) {
      case 'GetItem': {
        const item = answer['Item']
        return read('GetItem', 1, readUnits(isObject(item) ? itemSize(item) : 0, consistent))
      }
      case 'BatchGetItem': {
        let units = 0
        let asked = 0
        for (const [table, about] of Object.entries(objectOf(input['RequestItems'] ?? {}, 'RequestItems'))) {
          const { Keys, ConsistentRead } = objectOf(about, table)
          const found = itemsIn(objectOf(answer['Responses'] ?? {}, 'Responses')[table])
          const keys = arrayOf(Keys ?? [], 'Keys').length
          asked += keys
          for (const item of found) units += readUnits(itemSize(item), ConsistentRead === true)
          units += Math.max(0, keys - found.length) * readUnits(0, ConsistentRead === true)
        }
        return read('BatchGetItem', asked, units)
      }
      case 'Query': {
        const items = itemsIn(answer['Items'])
        const sizes =
          input['ProjectionExpression'] === undefined
            ? items.map(itemSize)
            : await sizesOf(headers, String(input['TableName']), items.map(keyOf))
        const index = input['IndexName']
        const bytes = sizes.reduce((sum, size) => sum + size, 0)
        return read(index === undefined ? 'Query' : `Query of ${String(index)}`, items.length, readUnits(bytes, consistent))
      }
      case 'PutItem':
      case 'UpdateItem':
      case 'DeleteItem': {
        const key = input['Item'] ?? input['Key']
        if (!ok) return refuse(answer['Item'], false)
        if (streamed) return
        return other(String(input['TableName']), isObject(key) ? itemSize(key) : 0)
      }
      case 'BatchWriteItem': {
        for (const [table, requests] of Object.entries(objectOf(input['RequestItems'] ?? {}, 'RequestItems')))
          for (const one of arrayOf(requests, table)) {
            const put = isObject(one) && isObject(one['PutRequest']) ? one['PutRequest']['Item'] : undefined
            const removed = isObject(one) && isObject(one['DeleteRequest']) ? one['DeleteRequest']['Key'] : undefined
            if (table !== options.table) other(table, itemSizeOf(put ?? removed))
          }
        return
      }
      case 'TransactWriteItems':
        return transaction(headers, input, ok, answer)
      case 'GetRecords':
        for (const record of arrayOf(answer['Records'] ?? [], 'Records')) written(objectOf(record, 'Record'))
        return
      case 'DescribeTable':
      case 'DescribeStream':
      case 'GetShardIterator':
      case 'CreateTable':
      case 'UpdateTimeToLive':
        return
      default:
        bill.unknown[operation] = (bill.unknown[operation] ?? 0) + 1
    }
  }

  async function transaction(
    headers: IncomingMessage['headers'],
    input: JsonObject,
    ok: boolean,
    answer: JsonObject,
  ): Promise<void> {
    const operations = arrayOf(input['TransactItems'] ?? [], 'TransactItems').map((one) => objectOf(one, 'TransactItems'))
    const reasons = isArray(answer['CancellationReasons']) ? answer['CancellationReasons'] : []
    for (const [place, operation] of operations.entries()) {
      const [[kind, content] = ['', {}]] = Object.entries(operation)
      const about = objectOf(content, kind)
      const key = about['Item'] ?? about['Key']
      if (!ok) {
        const reason = reasons[place]
        refuse(isObject(reason) ? reason['Item'] : undefined, true)
      } else if (kind === 'ConditionCheck') {
        const [size = 0] = isObject(key) ? await sizesOf(headers, options.table, [key]) : []
        bill.checks.operations += 1
        bill.checks.units += 2 * writeUnits(size)
      }
    }
  }

  function other(table: string, bytes: number): void {
    bill.others[table] ??= { writes: 0, units: 0 }
    bill.others[table].writes += 1
    bill.others[table].units += writeUnits(bytes)
  }

  /** A record of the stream; each is read by two consumers and counted once. */
  function written(record: JsonObject): void {
    const about = objectOf(record['dynamodb'] ?? {}, 'dynamodb')
    const number = Number(about['SequenceNumber'])
    if (number <= lastRecord) return
    lastRecord = number
    const before = isObject(about['OldImage']) ? about['OldImage'] : undefined
    const after = isObject(about['NewImage']) ? about['NewImage'] : undefined
    const name = nameOf(about['Keys'])
    const flags = taken.get(name)
    const transactional = flags?.shift() ?? false
    if (flags !== undefined) waiting -= 1
    if (flags?.length === 0) taken.delete(name)
    const kind = kindOf(after ?? before)
    const units = unitsOfWrite(before, after, options.indexes, transactional)
    bill.writes[kind] ??= { writes: 0, units: 0, transactional: 0, bytes: 0 }
    const entry = bill.writes[kind]
    entry.writes += 1
    entry.units += units.table
    entry.bytes += after === undefined ? 0 : itemSize(after)
    if (transactional) entry.transactional += units.table
    for (const [index, own] of Object.entries(units.indexes))
      if (own > 0) bill.indexes[`${index}: ${kind}`] = (bill.indexes[`${index}: ${kind}`] ?? 0) + own
  }

  const server = createServer((incoming, outgoing) => {
    const parts: Buffer[] = []
    incoming.on('data', (part: Buffer) => parts.push(part))
    incoming.on('end', async () => {
      try {
        const body = Buffer.concat(parts)
        const operation = String(incoming.headers['x-amz-target'] ?? '').replace(/^.*\./, '')
        const input = operation === '' ? {} : parse(body)
        const noted = noteAhead(operation, input)
        const answer = await forward(incoming.headers, body)
        const ok = answer.status === 200
        if (!ok) for (const key of noted) give(key)
        // Counted before it is answered: what follows from the answer is counted behind it.
        if (operation !== '') await count(operation, incoming.headers, input, ok, parse(answer.body))
        outgoing.writeHead(answer.status, {
          'content-type': String(answer.headers['content-type'] ?? 'application/x-amz-json-1.0'),
          'content-length': answer.body.length,
          ...(answer.headers['x-amz-crc32'] === undefined ? {} : { 'x-amz-crc32': String(answer.headers['x-amz-crc32']) }),
        })
        outgoing.end(answer.body)
      } catch (error) {
        bill.unknown[String(error)] = (bill.unknown[String(error)] ?? 0) + 1
        outgoing.destroy()
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    endpoint: `http://127.0.0.1:${port}`,
    get bill() {
      return bill
    },
    reset() {
      bill = emptyBill()
    },
    waiting: () => waiting,
    async stop() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      agent.destroy()
    },
  }
}

const itemsIn = (list: Json | undefined): Attributes[] => (isArray(list) ? list.map((item) => objectOf(item, 'Items')) : [])

function keyOf(item: Attributes): JsonObject {
  const { pk, sk } = item
  return { ...(pk === undefined ? {} : { pk }), ...(sk === undefined ? {} : { sk }) }
}

const nameOf = (item: Json | undefined): string => (isObject(item) ? JSON.stringify([item['pk'], item['sk']]) : '')

const itemSizeOf = (item: Json | undefined) => (isObject(item) ? itemSize(item) : 0)

function kindOf(item: Attributes | undefined): string {
  const kind = item?.['kind']
  return isObject(kind) ? String(kind['S'] ?? 'unnamed') : 'unnamed'
}
