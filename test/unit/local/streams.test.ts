import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import type { Dynamo, Positions } from '../../../lib/local/dynamodb.ts'
import type { JsonObject } from '../../../lib/local/json.ts'
import type { Functions } from '../../../lib/local/lambda.ts'
import type { Mappings } from '../../../lib/local/mappings.ts'
import { startMappings } from '../../../lib/local/mappings.ts'
import type { Sqs } from '../../../lib/local/sqs.ts'
import { openTemplate } from '../../../lib/local/template.ts'

/** Stream mappings over a store and a function that stand in this file. */

const place = { account: '000000000000', region: 'us-east-1', queues: 'http://127.0.0.1:1', api: 'http://127.0.0.1:2' }

/** A table's stream of one shard that holds `letters` as sort keys, in order. */
function fakeStream(letters: readonly string[]): Dynamo {
  const record = (letter: string, index: number): JsonObject => ({
    eventID: `${index + 1}`,
    eventName: 'INSERT',
    dynamodb: { Keys: { sk: { S: letter } }, SequenceNumber: `${index + 1}` },
  })
  const records = letters.map(record)
  const answers: Record<string, (body: JsonObject) => JsonObject> = {
    DescribeTable: () => ({ Table: { LatestStreamArn: 'arn:stream' } }),
    DescribeStream: () => ({ StreamDescription: { Shards: [{ ShardId: 'shard-1' }] } }),
    GetShardIterator: ({ SequenceNumber }) => ({ ShardIterator: String(SequenceNumber ?? 0) }),
    GetRecords: ({ ShardIterator, Limit }) => {
      const from = Number(ShardIterator)
      const found = records.slice(from, from + Number(Limit))
      return { Records: found, NextShardIterator: String(from + found.length) }
    },
  }
  return {
    endpoint: '',
    createTables: async () => undefined,
    stop: async () => undefined,
    call: async (target, body) => answers[target.replace(/^.*\./, '')]?.(body) ?? {},
  }
}

let mappings: Mappings | undefined
afterEach(() => mappings?.stop())

/** Runs until the function has been asked about the last letter; tells which batches it was given. */
async function run(
  letters: string,
  answer: (batch: string, call: number) => unknown,
  properties: JsonObject = {},
  positions: Record<string, Positions> = {},
) {
  const batches: string[] = []
  const dead: JsonObject[] = []
  const names = new Map([...letters].map((letter, index) => [`${index + 1}`, letter]))
  const functions: Functions = {
    has: () => true,
    names: () => ['F'],
    environmentOf: () => ({}),
    onActivity: () => undefined,
    drain: async () => true,
    stop: () => undefined,
    invoke: async (_, event) => {
      const { Records } = event as { Records: { dynamodb: { SequenceNumber: string } }[] }
      const batch = Records.map(({ dynamodb }) => names.get(dynamodb.SequenceNumber) ?? '?').join('')
      batches.push(batch)
      return answer(batch, batches.length)
    },
  }
  const nothing = async () => undefined
  const sqs: Sqs = {
    endpoint: '',
    create: () => undefined,
    receive: async () => [],
    delete: () => undefined,
    send: (_, body) => void dead.push(JSON.parse(body) as JsonObject),
    depths: () => ({}),
    wake: () => undefined,
    stop: nothing,
  }
  const template = openTemplate(
    [
      {
        name: 'App',
        folder: '',
        assets: new Map(),
        template: {
          Resources: {
            M: {
              Type: 'AWS::Lambda::EventSourceMapping',
              Properties: {
                EventSourceArn: 'arn:aws:dynamodb:us-east-1:000000000000:table/T/stream/local',
                FunctionName: 'F',
                StartingPosition: 'TRIM_HORIZON',
                BatchSize: 4,
                ...properties,
              },
            },
          },
        },
      },
    ],
    place,
  )
  const log: string[] = []
  const common = {
    template,
    functions,
    sqs,
    dynamo: fakeStream([...letters]),
    region: 'us-east-1',
    positions,
    onAdvance: () => undefined,
  }
  mappings = await startMappings({ ...common, log: (line) => void log.push(line) })
  const deadline = Date.now() + 4000
  while (positions.M?.['shard-1'] !== String(letters.length)) {
    if (Date.now() > deadline)
      throw new Error(`stands at ${JSON.stringify(positions)} after ${batches.join(' ')}: ${log.join('; ')}`)
    await sleep(5)
  }
  await mappings.stop()
  return { batches, dead }
}

const PARTIAL = { FunctionResponseTypes: ['ReportBatchItemFailures'] }
const failing = (sequence: number) => ({ batchItemFailures: [{ itemIdentifier: String(sequence) }] })

describe('a stream mapping', () => {
  it('carries records in order, in batches', async () => {
    expect((await run('abcdefghi', () => undefined)).batches).toEqual(['abcd', 'efgh', 'i'])
  })

  it('goes on where it stood', async () => {
    expect((await run('abcdef', () => undefined, {}, { M: { 'shard-1': '3' } })).batches).toEqual(['def'])
  })

  it('leaves out what no filter matches', async () => {
    const Pattern = JSON.stringify({ dynamodb: { Keys: { sk: { S: [{ 'anything-but': ['b', 'c'] }] } } } })
    expect((await run('abcdef', () => undefined, { FilterCriteria: { Filters: [{ Pattern }] } })).batches).toEqual(['ad', 'ef'])
  })

  it('brings a failed batch again before anything behind it', async () => {
    const { batches } = await run('abcdef', (_, call) => {
      if (call <= 2) throw new Error('not yet')
    })
    expect(batches).toEqual(['abcd', 'abcd', 'abcd', 'ef'])
  })

  it('goes on from the first record that the function names', async () => {
    const { batches } = await run('abcdef', (_, call) => (call === 1 ? failing(3) : undefined), PARTIAL)
    expect(batches).toEqual(['abcd', 'cd', 'ef'])
  })

  it('ignores partial answers where the template does not ask for them', async () => {
    expect((await run('abcd', () => failing(1))).batches).toEqual(['abcd'])
  })

  it('takes an answer that names a stranger as a failure', async () => {
    expect((await run('ab', (_, call) => (call === 1 ? failing(9) : undefined), PARTIAL)).batches).toEqual(['ab', 'ab'])
  })

  it('gives up after its retries, says where, and goes on', async () => {
    const { batches, dead } = await run(
      'abcdef',
      (batch) => {
        if (batch.includes('a')) throw new Error('poison')
      },
      { MaximumRetryAttempts: 1, DestinationConfig: { OnFailure: { Destination: 'arn:aws:sqs:us-east-1:000000000000:dead' } } },
    )
    expect(batches).toEqual(['abcd', 'abcd', 'ef'])
    expect(dead).toMatchObject([
      { DDBStreamBatchInfo: { shardId: 'shard-1', startSequenceNumber: '1', endSequenceNumber: '4', batchSize: 4 } },
    ])
  })

  it('cuts a bad record out by bisection', async () => {
    const { batches, dead } = await run(
      'abcd',
      (batch) => {
        if (batch.includes('c')) throw new Error('poison')
      },
      {
        BisectBatchOnFunctionError: true,
        MaximumRetryAttempts: 3,
        DestinationConfig: { OnFailure: { Destination: 'arn:aws:sqs:us-east-1:000000000000:dead' } },
      },
    )
    // Everything but the poison is done, in order, and nothing is done twice.
    const done = batches.filter((batch) => !batch.includes('c')).join('')
    expect(done).toBe('abd')
    expect(dead).toMatchObject([{ DDBStreamBatchInfo: { startSequenceNumber: '3', endSequenceNumber: '3', batchSize: 1 } }])
  })

  it('waits for its window to fill a batch', async () => {
    const begun = performance.now()
    const { batches } = await run('abc', () => undefined, { MaximumBatchingWindowInSeconds: 1 })
    expect(batches).toEqual(['abc'])
    expect(performance.now() - begun).toBeGreaterThanOrEqual(990)
  })
})
