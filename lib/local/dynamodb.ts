import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { Agent, request } from 'node:http'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Tenancy } from './children.ts'
import type { Json, JsonObject } from './json.ts'
import { arrayOf, isArray, isObject, objectOf, textOf } from './json.ts'
import type { Resource, Template } from './template.ts'

/** A refusal of the store, by DynamoDB's own error name (`ResourceInUseException`). */
export class DynamoError extends Error {
  override readonly name: string
  readonly code: string
  constructor(code: string, message: string) {
    super(`${code}: ${message}`)
    this.name = 'DynamoError'
    this.code = code
  }
}

export interface StreamRecord extends JsonObject {
  readonly eventID: string
  readonly eventName: string
  readonly dynamodb: JsonObject
}

export interface Dynamo {
  readonly endpoint: string
  /** Makes the template's tables; those that exist (a kept folder) are left as they are. */
  createTables(template: Template, options: { readonly fresh: boolean }): Promise<void>
  /** A raw call: `call('DynamoDB_20120810.ListTables', {})`. */
  call(target: string, body: JsonObject): Promise<JsonObject>
  stop(): Promise<void>
}

/** Environment variable that names another DynamoDB endpoint, where the embedded store is not served. */
export const ENDPOINT_VARIABLE = 'RESCIND_DYNAMODB_ENDPOINT'

export interface DynamoOptions {
  /** Database file. */
  readonly path: string
  readonly region: string
  readonly accessKeyId: string
  readonly tenancy: Tenancy
  readonly log: (line: string) => void
  /** An endpoint that is already there (DynamoDB Local, a real account's test table) instead of the embedded store. */
  readonly endpoint?: string
}

export async function startDynamo(options: DynamoOptions): Promise<Dynamo> {
  const { log } = options
  const child = options.endpoint === undefined ? await startEmbedded(options) : undefined
  const endpoint = options.endpoint?.replace(/\/+$/, '') ?? child?.endpoint ?? ''
  const agent = new Agent({ keepAlive: true, maxSockets: 16 })
  const address = new URL(endpoint)
  // Neither store checks the signature, but DynamoDB Local keeps a database per access key and region.
  const authorization = `AWS4-HMAC-SHA256 Credential=${options.accessKeyId}/20260101/${options.region}/dynamodb/aws4_request, SignedHeaders=host, Signature=local`

  function call(target: string, body: JsonObject): Promise<JsonObject> {
    return new Promise((resolve, reject) => {
      const payload = Buffer.from(JSON.stringify(body))
      const headers = {
        'content-type': 'application/x-amz-json-1.0',
        'content-length': payload.length,
        'x-amz-target': target,
        'x-amz-date': '20260101T000000Z',
        authorization,
      }
      const outgoing = request(address, { method: 'POST', agent, headers, timeout: 30_000 }, (incoming) => {
        const parts: Buffer[] = []
        incoming.on('data', (part: Buffer) => parts.push(part))
        incoming.on('error', reject)
        incoming.on('end', () => {
          try {
            const answer = objectOf(JSON.parse(Buffer.concat(parts).toString('utf8')) as Json, target)
            if (incoming.statusCode === 200) return resolve(answer)
            const code = String(answer.__type ?? incoming.statusCode).replace(/^.*#/, '')
            reject(new DynamoError(code, String(answer.message ?? answer.Message ?? '')))
          } catch (error) {
            reject(error)
          }
        })
      })
      outgoing.on('error', reject)
      outgoing.on('timeout', () => outgoing.destroy(new Error(`${target} got no answer within 30 s`)))
      outgoing.end(payload)
    })
  }

  async function createTable(template: Template, resource: Resource, fresh: boolean): Promise<void> {
    const name = template.nameOf(resource)
    const definition = tableOf(template, resource)
    if (fresh && options.endpoint !== undefined) {
      await ignoring('ResourceNotFoundException', call('DynamoDB_20120810.DeleteTable', { TableName: name }))
    }
    const deadline = Date.now() + 20_000
    for (;;) {
      try {
        await ignoring(fresh ? '' : 'ResourceInUseException', call('DynamoDB_20120810.CreateTable', definition))
        break
      } catch (error) {
        // An endpoint elsewhere may take a moment to delete the table of the last run.
        if (!(error instanceof DynamoError && error.code === 'ResourceInUseException') || Date.now() > deadline) throw error
        await sleep(100)
      }
    }
    for (;;) {
      const { Table } = await call('DynamoDB_20120810.DescribeTable', { TableName: name })
      if (isObject(Table) && Table.TableStatus === 'ACTIVE') break
      if (Date.now() > deadline) throw new Error(`table ${name} does not become active`)
      await sleep(20)
    }
    const ttl = template.property(resource, 'TimeToLiveSpecification')
    if (isObject(ttl) && ttl.Enabled !== false) {
      await ignoring(
        'ValidationException',
        call('DynamoDB_20120810.UpdateTimeToLive', {
          TableName: name,
          TimeToLiveSpecification: { AttributeName: textOf(ttl.AttributeName, 'AttributeName'), Enabled: true },
        }),
      )
    }
  }

  return {
    endpoint,
    call,
    async createTables(template, { fresh }) {
      const tables = template.ofType('AWS::DynamoDB::Table', 'AWS::DynamoDB::GlobalTable')
      await Promise.all(tables.map((table) => createTable(template, table, fresh)))
      if (child !== undefined && tables.length > 0) indexStream(options.path, log)
    },
    async stop() {
      agent.destroy()
    },
  }
}

async function ignoring(code: string, call: Promise<unknown>): Promise<void> {
  try {
    await call
  } catch (error) {
    if (!(error instanceof DynamoError && error.code === code)) throw error
  }
}

/** `CreateTable`'s input from either kind of resource: `GlobalTable` (CDK's TableV2) writes some of it per replica. */
function tableOf(template: Template, resource: Resource): JsonObject {
  const get = (name: string) => template.property(resource, name)
  const view = get('StreamSpecification')
  const indexes = get('GlobalSecondaryIndexes')
  return {
    TableName: template.nameOf(resource),
    BillingMode: 'PAY_PER_REQUEST',
    AttributeDefinitions: arrayOf(get('AttributeDefinitions'), `${resource.logicalId}: AttributeDefinitions`),
    KeySchema: arrayOf(get('KeySchema'), `${resource.logicalId}: KeySchema`),
    ...(isArray(indexes) && {
      GlobalSecondaryIndexes: indexes.map((entry) => {
        const index = objectOf(entry, `${resource.logicalId}: GlobalSecondaryIndexes`)
        return { IndexName: index.IndexName, KeySchema: index.KeySchema, Projection: index.Projection }
      }),
    }),
    ...(isObject(view) && { StreamSpecification: { StreamEnabled: true, StreamViewType: view.StreamViewType } }),
  }
}

async function startEmbedded(options: DynamoOptions): Promise<{ endpoint: string }> {
  const binary = findBinary()
  // Between finding a free port and the child's taking it, another process may: then the child ends, and we try again.
  for (let attempt = 1; ; attempt++) {
    const port = await freePort()
    const child = spawn(binary, ['serve', '--host', '127.0.0.1', '--port', String(port), '--db-path', options.path], {
      stdio: ['ignore', 'pipe', 'pipe'],
      // Ctrl-C reaches the whole group of the terminal: in its own, the store outlives the functions that still write.
      detached: true,
    })
    options.tenancy.adopt(child)
    const said: string[] = []
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8')
      stream.on('data', (text: string) => {
        said.push(text)
        if (said.length > 50) said.shift()
        options.log(`dynoxide: ${text.trimEnd()}`)
      })
    }
    if (await listening(child, port)) return { endpoint: `http://127.0.0.1:${port}` }
    if (attempt === 3) throw new Error(`the embedded store does not start: ${said.join('').trim() || 'it says nothing'}`)
  }
}

function findBinary(): string {
  const name = `@dynoxide/${process.platform}-${process.arch}`
  try {
    return join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), 'dynoxide')
  } catch {
    throw new Error(
      `the embedded store ${name} is not installed (it is served for linux-x64 only): ` +
        `set ${ENDPOINT_VARIABLE} to a DynamoDB endpoint, such as http://127.0.0.1:8000 of DynamoDB Local`,
    )
  }
}

/** A port of the loopback interface that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => (typeof address === 'object' && address !== null ? resolve(address.port) : reject(new Error('no port'))))
    })
  })
}

async function listening(child: ChildProcess, port: number): Promise<boolean> {
  const deadline = Date.now() + 5000
  let failed = false
  child.once('error', () => {
    failed = true
  })
  while (!failed && child.exitCode === null && child.signalCode === null && Date.now() < deadline) {
    const answered = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', signal: AbortSignal.timeout(1000) }).catch(
      () => undefined,
    )
    if (answered !== undefined) {
      await answered.arrayBuffer()
      return true
    }
    await sleep(10)
  }
  child.kill('SIGKILL')
  return false
}

/**
 * The embedded store takes each stream record's number from `MAX(CAST(sequence_number AS INTEGER))` over the records of
 * its table, so without an index every write reads all records before it: 5,900 writes/s become 150 after 40,000. The
 * schema is the store's own business; where it no longer looks as it did in 1.2.1, we say so and go on without.
 */
export function indexStream(path: string, log: (line: string) => void): boolean {
  const database = new DatabaseSync(path, { timeout: 5000 })
  try {
    const columns = database
      .prepare('SELECT name FROM pragma_table_info(?)')
      .all('_stream_records')
      .map((row) => row.name)
    if (!columns.includes('table_name') || !columns.includes('sequence_number')) {
      log('the embedded store has another schema than 1.2.1: no index on its stream records, writes will slow down')
      return false
    }
    database.exec(
      'CREATE INDEX IF NOT EXISTS rescind_stream_order ON _stream_records (table_name, CAST(sequence_number AS INTEGER))',
    )
    return true
  } catch (error) {
    log(`no index on the embedded store's stream records, writes will slow down: ${String(error)}`)
    return false
  } finally {
    database.close()
  }
}

/** Where a reader of a stream stands: after this sequence number of this shard. */
export type Positions = Record<string, string>

/**
 * The records of a table's stream, in order within each shard, a child shard after its parent. The embedded store has
 * one shard for good; DynamoDB Local closes and opens them.
 */
export async function openStream(dynamo: Dynamo, table: string, positions: Positions, latest = false) {
  const { Table } = await dynamo.call('DynamoDB_20120810.DescribeTable', { TableName: table })
  const arn = textOf(isObject(Table) ? Table.LatestStreamArn : undefined, `stream of ${table}`)
  const iterators = new Map<string, string>()
  const finished = new Set<string>()
  let listedAt = 0

  async function list(start: 'TRIM_HORIZON' | 'LATEST'): Promise<void> {
    listedAt = Date.now()
    const shards: JsonObject[] = []
    let after: Json | undefined
    do {
      const { StreamDescription } = await dynamo.call('DynamoDBStreams_20120810.DescribeStream', {
        StreamArn: arn,
        ...(after !== undefined && { ExclusiveStartShardId: after }),
      })
      const description = objectOf(StreamDescription, 'StreamDescription')
      for (const shard of arrayOf(description.Shards ?? [], 'Shards')) shards.push(objectOf(shard, 'Shard'))
      after = description.LastEvaluatedShardId
    } while (after !== undefined && after !== null)
    const known = new Set(shards.map((shard) => shard.ShardId))
    for (const shard of shards) {
      const id = textOf(shard.ShardId, 'ShardId')
      if (iterators.has(id) || finished.has(id)) continue
      const parent = shard.ParentShardId
      if (typeof parent === 'string' && known.has(parent) && !finished.has(parent)) continue
      await iterate(id, start)
    }
  }

  async function iterate(shard: string, start: 'TRIM_HORIZON' | 'LATEST' = 'TRIM_HORIZON'): Promise<void> {
    const position = positions[shard]
    const { ShardIterator } = await dynamo.call('DynamoDBStreams_20120810.GetShardIterator', {
      StreamArn: arn,
      ShardId: shard,
      ...(position === undefined
        ? { ShardIteratorType: start }
        : { ShardIteratorType: 'AFTER_SEQUENCE_NUMBER', SequenceNumber: position }),
    })
    iterators.set(shard, textOf(ShardIterator, 'ShardIterator'))
  }

  await list(latest ? 'LATEST' : 'TRIM_HORIZON')

  return {
    /** One read of every open shard; empty when there is nothing new. The caller advances `positions`. */
    async read(limit: number): Promise<{ shard: string; records: StreamRecord[] }[]> {
      if (iterators.size === 0 || Date.now() - listedAt > 60_000) await list('TRIM_HORIZON')
      const batches: { shard: string; records: StreamRecord[] }[] = []
      for (const [shard, iterator] of [...iterators]) {
        let answer: JsonObject
        try {
          answer = await dynamo.call('DynamoDBStreams_20120810.GetRecords', { ShardIterator: iterator, Limit: limit })
        } catch (error) {
          if (!(error instanceof DynamoError && error.code === 'ExpiredIteratorException')) throw error
          await iterate(shard)
          continue
        }
        const records = arrayOf(answer.Records ?? [], 'Records').map(recordOf)
        if (typeof answer.NextShardIterator === 'string') iterators.set(shard, answer.NextShardIterator)
        else {
          iterators.delete(shard)
          finished.add(shard)
          listedAt = 0
        }
        if (records.length > 0) batches.push({ shard, records })
      }
      return batches
    },
  }
}

function recordOf(value: Json): StreamRecord {
  const record = objectOf(value, 'Record')
  return {
    ...record,
    eventID: textOf(record.eventID, 'eventID'),
    eventName: textOf(record.eventName, 'eventName'),
    dynamodb: objectOf(record.dynamodb, 'dynamodb'),
  }
}
