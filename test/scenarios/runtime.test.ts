import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { DynamoDBClient, GetItemCommand, ScanCommand } from '@aws-sdk/client-dynamodb'
import { EventBridgeClient, PutEventsCommand } from '@aws-sdk/client-eventbridge'
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { SendMessageBatchCommand, SQSClient } from '@aws-sdk/client-sqs'
import { build } from 'esbuild'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Json } from '../../lib/local/json.ts'
import { numberOf, objectOf } from '../../lib/local/json.ts'
import type { Runtime, RuntimeOptions } from '../../lib/local/runtime.ts'
import { startRuntime } from '../../lib/local/runtime.ts'
import { startTestStore } from '../support/dynoxide.ts'

/**
 * The local runtime with its real embedded parts, on a template of its own: two stacks, so that imports between them
 * are seen too, and functions small enough to be read here.
 */

const ROOT = resolve(import.meta.dirname, '../..')
const base = mkdtempSync(join(tmpdir(), 'rescind-runtime-'))
const cdkOut = join(base, 'cdk.out')
const folder = join(base, 'state')

const CLIENTS = `
import { DynamoDBClient, PutItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb'
import { EventBridgeClient, PutEventsCommand } from '@aws-sdk/client-eventbridge'
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { ChangeMessageVisibilityCommand, SendMessageBatchCommand, SQSClient } from '@aws-sdk/client-sqs'
`

/** By name: the source of each function's entry file. */
const FUNCTIONS: Record<string, string> = {
  // A rule's target: one message per word of the event.
  receive: `${CLIENTS}
    const sqs = new SQSClient({})
    export const handler = async (event) => {
      const Entries = event.detail.words.map((word, index) => ({ Id: String(index), MessageBody: word }))
      await sqs.send(new SendMessageBatchCommand({ QueueUrl: JSON.parse(process.env.QUEUES ?? '{}').work ?? QUEUE, Entries }))
    }
    const QUEUE = JSON.parse(process.env.QUEUES).work`,
  // A queue's function: "flaky" succeeds the second time, "poison" never does.
  work: `${CLIENTS}
    const { TABLE_NAME, WORK_URL } = process.env
    const dynamo = new DynamoDBClient({}), sqs = new SQSClient({})
    export const handler = async ({ Records }) => {
      const batchItemFailures = []
      for (const { messageId, body, receiptHandle, attributes } of Records) {
        if (body === 'poison' || (body === 'flaky' && attributes.ApproximateReceiveCount === '1')) {
          process.stdout.write('cannot do ' + body + '\\n')
          await sqs.send(new ChangeMessageVisibilityCommand({ QueueUrl: WORK_URL, ReceiptHandle: receiptHandle, VisibilityTimeout: 0 }))
          batchItemFailures.push({ itemIdentifier: messageId })
          continue
        }
        await dynamo.send(new PutItemCommand({ TableName: TABLE_NAME, Item: { pk: { S: 'WORD' }, sk: { S: body }, receives: { N: attributes.ApproximateReceiveCount } } }))
      }
      return { batchItemFailures }
    }`,
  // The stream's function: fails its first batch, and announces what it archives.
  archive: `${CLIENTS}
    const { ARCHIVE_BUCKET, OUTCOME_BUS } = process.env
    const s3 = new S3Client({}), events = new EventBridgeClient({})
    let calls = 0
    export const handler = async ({ Records }) => {
      if (++calls === 1) throw new Error('not yet')
      for (const { eventName, dynamodb } of Records) {
        const word = dynamodb.Keys.sk.S
        await s3.send(new PutObjectCommand({ Bucket: ARCHIVE_BUCKET, Key: 'words/' + word + '/' + dynamodb.SequenceNumber, Body: eventName }))
        await events.send(new PutEventsCommand({ Entries: [{ EventBusName: OUTCOME_BUS, Source: 'test', DetailType: 'archived', Detail: JSON.stringify({ word }) }] }))
      }
    }`,
  // A FIFO queue's function: the second message fails once; nothing of its group may overtake it.
  ordered: `${CLIENTS}
    const dynamo = new DynamoDBClient({})
    const inFlight = new Set()
    export const handler = async ({ Records }) => {
      const batchItemFailures = []
      for (const { messageId, body, attributes } of Records) {
        const group = attributes.MessageGroupId
        const overlap = inFlight.has(group)
        inFlight.add(group)
        await new Promise((resolve) => setTimeout(resolve, 5))
        if (body === '2' && attributes.ApproximateReceiveCount === '1') batchItemFailures.push({ itemIdentifier: messageId })
        else await dynamo.send(new UpdateItemCommand({
          TableName: process.env.TABLE_NAME ?? TABLE, Key: { pk: { S: 'ORDER' }, sk: { S: group } },
          UpdateExpression: 'SET seen = list_append(if_not_exists(seen, :none), :one)',
          ExpressionAttributeValues: { ':none': { L: [] }, ':one': { L: [{ S: body + (overlap ? '!' : '') }] } },
        }))
        inFlight.delete(group)
      }
      return { batchItemFailures }
    }
    const TABLE = process.env.TABLE_NAME`,
  // Behind the HTTP API, and on a schedule.
  api: `${CLIENTS}
    const greeting = process.env.GREETING, root = process.env.LAMBDA_TASK_ROOT
    export const handler = async (event, context) => {
      if (event['detail-type'] === 'Scheduled Event') return globalThis.ticks = (globalThis.ticks ?? 0) + 1
      if (event.rawPath === '/v1/fail') throw new Error('secret inside')
      if (event.rawPath === '/v1/slow') await new Promise((resolve) => setTimeout(resolve, 1500))
      process.stdout.write('asked for ' + event.rawPath + '\\n')
      return {
        statusCode: 201, headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ greeting, root, ticks: globalThis.ticks ?? 0, id: event.pathParameters?.id, remaining: context.getRemainingTimeInMillis(), access: process.env.AWS_ACCESS_KEY_ID }),
      }
    }`,
}

const ref = (name: string) => ({ Ref: name })
const arn = (name: string) => ({ 'Fn::GetAtt': [name, 'Arn'] })
const imported = (name: string) => ({ 'Fn::ImportValue': `Data:${name}` })
const exported = (name: string, Value: unknown) => ({ [name]: { Value, Export: { Name: `Data:${name}` } } })

function functionResource(name: string, variables: Record<string, unknown>, more: Record<string, unknown> = {}) {
  return {
    Type: 'AWS::Lambda::Function',
    Metadata: { 'aws:asset:path': `asset.${name}` },
    Properties: {
      FunctionName: `test-${name}`,
      Handler: 'index.handler',
      Runtime: 'nodejs24.x',
      Timeout: 10,
      Code: { S3Bucket: 'x', S3Key: `${name}.zip` },
      Environment: { Variables: variables },
      ...more,
    },
  }
}
const mapping = (source: unknown, target: string, more: Record<string, unknown>) => ({
  Type: 'AWS::Lambda::EventSourceMapping',
  Properties: { EventSourceArn: source, FunctionName: ref(target), ...more },
})

const data = {
  Resources: {
    Table: {
      Type: 'AWS::DynamoDB::GlobalTable',
      Properties: {
        AttributeDefinitions: ['pk', 'sk', 'listPk'].map((AttributeName) => ({ AttributeName, AttributeType: 'S' })),
        KeySchema: [
          { AttributeName: 'pk', KeyType: 'HASH' },
          { AttributeName: 'sk', KeyType: 'RANGE' },
        ],
        BillingMode: 'PAY_PER_REQUEST',
        GlobalSecondaryIndexes: [
          { IndexName: 'list', KeySchema: [{ AttributeName: 'listPk', KeyType: 'HASH' }], Projection: { ProjectionType: 'ALL' } },
        ],
        StreamSpecification: { StreamViewType: 'NEW_AND_OLD_IMAGES' },
        TimeToLiveSpecification: { AttributeName: 'ttl', Enabled: true },
        Replicas: [{ Region: 'us-east-1' }],
      },
    },
    Archive: { Type: 'AWS::S3::Bucket', Properties: {} },
    Unused: { Type: 'AWS::SNS::Topic', Properties: { TopicName: { 'Fn::FindInMap': ['a', 'b', 'c'] } } },
  },
  Outputs: {
    ...exported('Table', ref('Table')),
    ...exported('Stream', { 'Fn::GetAtt': ['Table', 'StreamArn'] }),
    ...exported('Archive', ref('Archive')),
  },
}

const app = {
  Resources: {
    Intake: { Type: 'AWS::Events::EventBus', Properties: { Name: 'intake' } },
    Outcome: { Type: 'AWS::Events::EventBus', Properties: { Name: 'outcome' } },
    Rule: {
      Type: 'AWS::Events::Rule',
      Properties: {
        EventBusName: ref('Intake'),
        EventPattern: { source: ['test'], detail: { words: [{ exists: true }] } },
        Targets: [{ Id: 'a', Arn: arn('Receive') }],
      },
    },
    Dead: { Type: 'AWS::SQS::Queue', Properties: { QueueName: 'work-dead' } },
    Work: {
      Type: 'AWS::SQS::Queue',
      Properties: {
        QueueName: 'work',
        VisibilityTimeout: 60,
        RedrivePolicy: { deadLetterTargetArn: arn('Dead'), maxReceiveCount: 3 },
      },
    },
    Ordered: {
      Type: 'AWS::SQS::Queue',
      Properties: { QueueName: 'ordered.fifo', FifoQueue: true, ContentBasedDeduplication: true, VisibilityTimeout: 1 },
    },
    Receive: functionResource('receive', { QUEUES: { 'Fn::Join': ['', ['{"work":"', ref('Work'), '"}']] } }),
    Worker: functionResource('work', { TABLE_NAME: imported('Table'), WORK_URL: ref('Work') }),
    Archiver: functionResource('archive', { ARCHIVE_BUCKET: imported('Archive'), OUTCOME_BUS: ref('Outcome') }),
    OrderedWorker: functionResource('ordered', { TABLE_NAME: imported('Table') }),
    Api: functionResource('api', { GREETING: 'from the template' }, { Timeout: 1 }),
    WorkMapping: mapping(arn('Work'), 'Worker', { BatchSize: 5, FunctionResponseTypes: ['ReportBatchItemFailures'] }),
    OrderedMapping: mapping(arn('Ordered'), 'OrderedWorker', {
      BatchSize: 10,
      FunctionResponseTypes: ['ReportBatchItemFailures'],
    }),
    StreamMapping: mapping(imported('Stream'), 'Archiver', {
      BatchSize: 10,
      StartingPosition: 'TRIM_HORIZON',
      FilterCriteria: { Filters: [{ Pattern: JSON.stringify({ dynamodb: { Keys: { pk: { S: ['WORD'] } } } }) }] },
    }),
    Tick: {
      Type: 'AWS::Events::Rule',
      Properties: { ScheduleExpression: 'rate(1 minute)', Targets: [{ Id: 'a', Arn: arn('Api') }] },
    },
    HttpApi: { Type: 'AWS::ApiGatewayV2::Api', Properties: { Name: 'api', ProtocolType: 'HTTP' } },
    Integration: {
      Type: 'AWS::ApiGatewayV2::Integration',
      Properties: {
        ApiId: ref('HttpApi'),
        IntegrationType: 'AWS_PROXY',
        IntegrationUri: arn('Api'),
        PayloadFormatVersion: '2.0',
      },
    },
    ...Object.fromEntries(
      [
        ['POST /v1/things/{id}', 'NONE'],
        ['GET /v1/fail', 'NONE'],
        ['GET /v1/slow', 'NONE'],
        ['POST /aws/v1/things', 'AWS_IAM'],
      ].map(([RouteKey, AuthorizationType], index) => [
        `Route${index}`,
        {
          Type: 'AWS::ApiGatewayV2::Route',
          Properties: {
            ApiId: ref('HttpApi'),
            RouteKey,
            AuthorizationType,
            Target: { 'Fn::Join': ['', ['integrations/', ref('Integration')]] },
          },
        },
      ]),
    ),
  },
}

beforeAll(async () => {
  mkdirSync(cdkOut, { recursive: true })
  const artifact = (name: string) => ({
    [name]: { type: 'aws:cloudformation:stack', properties: { templateFile: `${name}.template.json` } },
  })
  writeFileSync(join(cdkOut, 'manifest.json'), JSON.stringify({ artifacts: { ...artifact('Data'), ...artifact('App') } }))
  writeFileSync(join(cdkOut, 'Data.template.json'), JSON.stringify(data))
  writeFileSync(join(cdkOut, 'App.template.json'), JSON.stringify(app))
  for (const [name, contents] of Object.entries(FUNCTIONS)) {
    await build({
      stdin: { contents, resolveDir: ROOT },
      outfile: join(cdkOut, `asset.${name}`, 'index.mjs'),
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node24',
      mainFields: ['module', 'main'],
      logLevel: 'error',
      banner: { js: "import{createRequire as __r}from'node:module';const require=__r(import.meta.url);" },
    })
  }
})
afterAll(() => rmSync(base, { recursive: true, force: true }))

async function startSystem(options: Partial<RuntimeOptions> = {}) {
  const started = await startRuntime({ folder, cdkOut, port: 0, retryMilliseconds: 50, ...options })
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' }
  const client = (name: string) => ({ region: 'us-east-1', credentials, endpoint: started.endpoints[name] ?? '' })
  return {
    runtime: started,
    dynamo: new DynamoDBClient(client('AWS_ENDPOINT_URL_DYNAMODB')),
    events: new EventBridgeClient(client('AWS_ENDPOINT_URL_EVENTBRIDGE')),
    s3: new S3Client(client('AWS_ENDPOINT_URL_S3')),
    sqs: new SQSClient(client('AWS_ENDPOINT_URL_SQS')),
  }
}
type Started = Awaited<ReturnType<typeof startSystem>>

async function eventually<Value>(
  what: string,
  look: () => Promise<Value | undefined> | Value | undefined,
  seconds = 20,
): Promise<Value> {
  const deadline = Date.now() + seconds * 1000
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (Date.now() > deadline) throw new Error(`it never came: ${what}`)
    await sleep(20)
  }
}
const put = ({ events }: Started, words: readonly string[], source = 'test') =>
  events.send(
    new PutEventsCommand({
      Entries: [{ EventBusName: 'intake', Source: source, DetailType: 'words', Detail: JSON.stringify({ words }) }],
    }),
  )
const archived = async ({ s3, runtime }: Started) => {
  const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: runtime.archiveBucket, Prefix: 'words/' }))
  return Contents.map(({ Key = '' }) => Key.split('/')[1]).sort()
}
const items = async ({ dynamo, runtime }: Started) => {
  const { Items = [] } = await dynamo.send(new ScanCommand({ TableName: runtime.tableName, ConsistentRead: true }))
  return Items.map(({ sk }) => sk?.S).sort()
}
const running = () =>
  JSON.parse(readFileSync(join(folder, 'running.json'), 'utf8')).children.map(({ pid }: { pid: number }) => pid) as number[]
const alive = (pid: number) => {
  try {
    process.kill(pid, 0)
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

describe('the local runtime', () => {
  let system: Started
  beforeAll(async () => {
    system = await startSystem({ scheduleSeconds: 0.05 })
  })
  afterAll(() => system.runtime.stop())

  it('carries an event from a bus to the archive, through a rule, two functions, a queue and a stream', async () => {
    const announced: unknown[] = []
    system.runtime.onOutcomeEvent((event) => announced.push(event.detail.word))

    const { FailedEntryCount } = await put(system, ['plain', 'flaky', 'poison'])
    expect(FailedEntryCount).toBe(0)
    await eventually('both words in the archive', async () => ((await archived(system)).length === 2 ? true : undefined))
    expect(await archived(system)).toEqual(['flaky', 'plain'])
    expect(await items(system)).toEqual(['flaky', 'plain'])
    await eventually('both announcements', () => (announced.length >= 2 ? true : undefined))
    expect(announced.sort()).toEqual(['flaky', 'plain'])

    const { Item } = await system.dynamo.send(
      new GetItemCommand({ TableName: system.runtime.tableName, Key: { pk: { S: 'WORD' }, sk: { S: 'flaky' } } }),
    )
    expect(Item?.receives?.N).toBe('2')
    const { work } = await eventually('the poison in the dead-letter queue', () => {
      const depths = system.runtime.queueDepths()
      return depths['work-dead']?.ready === 1 ? depths : undefined
    })
    expect(work).toEqual({ ready: 0, inFlight: 0, delayed: 0 })

    // What functions print is in their logs, not in ours.
    expect(readFileSync(join(system.runtime.logs, 'test-work.log'), 'utf8')).toMatch(/cannot do poison/)
    expect(readFileSync(join(system.runtime.logs, 'test-archive.log'), 'utf8')).toMatch(/not yet/)
  })

  it('lets an event that no rule matches go, and refuses what EventBridge refuses', async () => {
    await put(system, ['unheard'], 'somebody-else')
    const entry = { Source: 'test', DetailType: 'words', Detail: '{}' }
    const { FailedEntryCount, Entries = [] } = await system.events.send(
      new PutEventsCommand({
        Entries: [
          { ...entry, EventBusName: 'nowhere' },
          { ...entry, Detail: 'not JSON' },
          { ...entry, Detail: '' },
        ],
      }),
    )
    expect(FailedEntryCount).toBe(3)
    expect(Entries.map(({ ErrorCode }) => ErrorCode)).toEqual(['ResourceNotFoundException', 'MalformedDetail', 'InvalidArgument'])
    await put(system, ['heard'])
    await eventually('the word in the archive', async () => ((await archived(system)).includes('heard') ? true : undefined))
    expect(await items(system)).not.toContain('unheard')
  })

  it('keeps the order of each group of a FIFO queue, also when a message fails', async () => {
    const QueueUrl = `${system.runtime.endpoints.AWS_ENDPOINT_URL_SQS}/000000000000/ordered.fifo`
    for (const group of ['a', 'b']) {
      const Entries = ['1', '2', '3', '4'].map((MessageBody) => ({
        Id: MessageBody,
        MessageBody,
        MessageGroupId: group,
        MessageDeduplicationId: `${group}${MessageBody}`,
      }))
      const { Failed } = await system.sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries }))
      expect(Failed ?? []).toEqual([])
    }
    for (const group of ['a', 'b']) {
      const Key = { pk: { S: 'ORDER' }, sk: { S: group } }
      const seen = await eventually(`four messages of ${group}`, async () => {
        const { Item } = await system.dynamo.send(
          new GetItemCommand({ TableName: system.runtime.tableName, Key, ConsistentRead: true }),
        )
        return Item?.seen?.L?.length === 4 ? Item.seen.L.map(({ S }) => S) : undefined
      })
      expect(seen).toEqual(['1', '2', '3', '4'])
    }
  })

  it('answers HTTP as API Gateway would', async () => {
    const { runtime } = system
    const call = (method: string, path: string, body?: string | Uint8Array<ArrayBuffer>) =>
      fetch(`${runtime.apiUrl}${path}`, { method, ...(body !== undefined && { body }) })

    const made = await call('POST', '/v1/things/a%20b?x=1', '{}')
    expect(made.status).toBe(201)
    const answer = objectOf((await made.json()) as Json, 'answer')
    expect(answer).toMatchObject({ greeting: 'from the template', id: 'a b', access: 'local', root: join(cdkOut, 'asset.api') })
    expect(answer.remaining).toBeGreaterThan(0)
    expect(answer.remaining).toBeLessThanOrEqual(1000)

    const missing = await call('GET', '/v2/things')
    expect([missing.status, await missing.json()]).toEqual([404, { message: 'Not Found' }])
    const iam = await call('POST', '/aws/v1/things', '{}')
    expect([iam.status, await iam.json()]).toEqual([403, { message: 'Forbidden', detail: expect.stringContaining('AWS IAM') }])
    const failed = await call('GET', '/v1/fail')
    expect([failed.status, await failed.json()]).toEqual([500, { message: 'Internal Server Error' }])
    expect((await call('GET', '/v1/slow')).status).toBe(503)
    const large = await call('POST', '/v1/things/x', new Uint8Array(10 * 1024 * 1024 + 1))
    expect([large.status, await large.json()]).toEqual([413, { message: 'Request Entity Too Large' }])
  })

  it('runs schedules, as fast as asked', async () => {
    const { runtime } = system
    const ticks = async () => {
      const answer = await fetch(`${runtime.apiUrl}/v1/things/x`, { method: 'POST' })
      return numberOf(objectOf((await answer.json()) as Json, 'answer').ticks, 'ticks')
    }
    const before = await ticks()
    await eventually('two more ticks', async () => ((await ticks()) > before + 1 ? true : undefined))
  })

  it('numbers stream records by an index: a write does not read all that were written before', async () => {
    await put(system, ['one'])
    await eventually('the word in the archive', async () => ((await archived(system)).includes('one') ? true : undefined))
    const database = new DatabaseSync(join(folder, 'state/table.db'), { readOnly: true })
    try {
      // The statement that dynoxide 1.2.1 runs before each write to a table with a stream.
      const plan = database
        .prepare(
          'EXPLAIN QUERY PLAN SELECT COALESCE(MAX(CAST(sequence_number AS INTEGER)), 0) + 1 FROM _stream_records WHERE table_name = ?',
        )
        .all('x')
      expect(JSON.stringify(plan)).toMatch(/USING (COVERING )?INDEX rescind_stream_order/)
    } finally {
      database.close()
    }
  })

  it('archives objects as files', async () => {
    await put(system, ['kept'])
    const key = await eventually('the object', async () => {
      const { Contents = [] } = await system.s3.send(new ListObjectsV2Command({ Bucket: system.runtime.archiveBucket }))
      return Contents[0]?.Key
    })
    const { Body } = await system.s3.send(new GetObjectCommand({ Bucket: system.runtime.archiveBucket, Key: key }))
    expect(await Body?.transformToString()).toBe('INSERT')
    expect(existsSync(join(folder, 'state/archive/buckets', system.runtime.archiveBucket))).toBe(true)
  })

  it('does not overwrite an object that must not be there', async () => {
    const Bucket = system.runtime.archiveBucket
    const write = (Key: string, Body: string) => system.s3.send(new PutObjectCommand({ Bucket, Key, Body, IfNoneMatch: '*' }))
    await write('once/a b', 'first')
    await write('once/a', 'another key')
    await expect(write('once/a b', 'second')).rejects.toMatchObject({ name: 'PreconditionFailed' })
    const { Body } = await system.s3.send(new GetObjectCommand({ Bucket, Key: 'once/a b' }))
    expect(await Body?.transformToString()).toBe('first')
  })
})

describe('starting and stopping', () => {
  let runtime: Runtime | undefined
  afterEach(() => runtime?.stop())
  const start = async (options: Partial<RuntimeOptions> = {}) => {
    const started = await startSystem(options)
    runtime = started.runtime
    return started
  }

  it('begins anew on the same folder, or goes on where it stopped', async () => {
    const first = await start()
    await put(first, ['first'])
    await eventually('the word in the archive', async () => ((await archived(first)).includes('first') ? true : undefined))
    await first.runtime.stop()

    const second = await start({ keep: true })
    expect(await items(second)).toEqual(['first'])
    expect(await archived(second)).toEqual(['first'])
    await put(second, ['second'])
    // A batch that fails is brought again, so this one is seen although the function fails its first call.
    await eventually('the second word', async () => ((await archived(second)).includes('second') ? true : undefined))
    // What was delivered before the stop is not delivered again: one object for each.
    expect(await archived(second)).toEqual(['first', 'second'])
    await second.runtime.stop()

    const third = await start()
    expect(await items(third)).toEqual([])
    expect(await archived(third)).toEqual([])
  })

  it('leaves no child behind, and stops only once', async () => {
    const { runtime } = await start()
    const children = running()
    expect(children).toHaveLength(1)
    expect(children.filter(alive)).toEqual(children)
    await Promise.all([runtime.stop(), runtime.stop()])
    await runtime.stop()
    expect(children.filter(alive)).toEqual([])
    expect(existsSync(join(folder, 'running.json'))).toBe(false)
    await expect(fetch(runtime.apiUrl)).rejects.toThrow()
    expect(process.env.AWS_ENDPOINT_URL_SQS).toBeUndefined()
  })

  it('leaves no child behind when it cannot start', async () => {
    const before = await start()
    const { port } = new URL(before.runtime.apiUrl)
    await expect(start({ folder: join(base, 'other'), port: Number(port) })).rejects.toThrow(/EADDRINUSE/)
    expect(existsSync(join(base, 'other', 'running.json'))).toBe(false)
    runtime = before.runtime
  })

  it('refuses a folder in use, and cleans up after a process that was killed', async () => {
    const script = join(base, 'other-process.mjs')
    writeFileSync(
      script,
      `import { startRuntime } from ${JSON.stringify(join(ROOT, 'lib/local/runtime.ts'))}
       await startRuntime({ folder: ${JSON.stringify(folder)}, cdkOut: ${JSON.stringify(cdkOut)}, port: 0 })
       console.log('ready')`,
    )
    const other = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] })
    try {
      await new Promise<void>((ready, failed) => {
        other.stdout.on('data', (text: Buffer) => text.toString().includes('ready') && ready())
        other.on('exit', () => failed(new Error('it ended before it was ready')))
      })
      const orphans = running()
      await expect(start()).rejects.toThrow(/runs on/)
      const ended = new Promise((resolve) => other.once('exit', resolve))
      other.kill('SIGKILL')
      await ended
      expect(orphans.filter(alive)).toEqual(orphans)
      await start()
      expect(orphans.filter(alive)).toEqual([])
    } finally {
      other.kill('SIGKILL')
    }
  })

  it('uses another DynamoDB endpoint where a variable names one', async () => {
    const store = await startTestStore()
    process.env.RESCIND_DYNAMODB_ENDPOINT = store.endpoint
    try {
      const first = await start()
      expect(running()).toEqual([])
      expect(first.runtime.endpoints.AWS_ENDPOINT_URL_DYNAMODB).toBe(store.endpoint)
      await put(first, ['elsewhere'])
      await eventually('the word in the archive', async () => ((await archived(first)).length === 1 ? true : undefined))
      await first.runtime.stop()
      // Its tables are made anew, although that store went on running.
      expect(await items(await start())).toEqual([])
      await runtime?.stop()
    } finally {
      delete process.env.RESCIND_DYNAMODB_ENDPOINT
      await store.stop()
    }
  })
})
