import { describe, expect, it } from 'vitest'
import type { Dynamo } from '../../../lib/local/dynamodb.ts'
import type { JsonObject } from '../../../lib/local/json.ts'
import type { StreamReader } from '../../../lib/local/streams.ts'
import { openStreams } from '../../../lib/local/streams.ts'

const SHARD = 'shard-1'

/** A stream of one shard with so many records, which counts what it is asked for. */
function fakeStream(length: number) {
  const asked = { records: 0, streams: 0 }
  const stream = { length }
  const answers: Record<string, (body: JsonObject) => JsonObject> = {
    DescribeTable: () => ({ Table: { LatestStreamArn: 'arn:stream' } }),
    DescribeStream: () => {
      asked.streams += 1
      return { StreamDescription: { Shards: [{ ShardId: SHARD }] } }
    },
    GetShardIterator: ({ ShardIteratorType, SequenceNumber }) => ({
      ShardIterator: String(ShardIteratorType === 'LATEST' ? stream.length : (SequenceNumber ?? 0)),
    }),
    GetRecords: ({ ShardIterator, Limit }) => {
      const from = Number(ShardIterator)
      const until = Math.min(stream.length, from + Number(Limit))
      const Records = Array.from({ length: Math.max(0, until - from) }, (_, place) => ({
        eventID: String(from + place + 1),
        eventName: 'INSERT',
        dynamodb: { SequenceNumber: String(from + place + 1) },
      }))
      asked.records += Records.length
      return { Records, NextShardIterator: String(Math.max(from, until)) }
    },
  }
  const dynamo: Dynamo = {
    endpoint: '',
    createTables: async () => undefined,
    stop: async () => undefined,
    call: async (target, body) => answers[target.replace(/^.*\./, '')]?.(body) ?? {},
  }
  return { dynamo, asked, stream }
}

const wanted = (positions: Record<string, string> = {}, latest = false) => ({ table: 'T', positions, latest })

async function numbers(reader: StreamReader | undefined, limit = 1000): Promise<number[]> {
  const batches = (await reader?.read(limit)) ?? []
  return batches.flatMap(({ records }) => records.map(({ dynamodb }) => Number(dynamodb.SequenceNumber)))
}

describe('streams of several mappings', () => {
  it('are read once for all that stand at the same place', async () => {
    const { dynamo, asked } = fakeStream(5)
    const [close, prove] = await openStreams(dynamo, [wanted(), wanted()])
    expect(await numbers(close, 3)).toEqual([1, 2, 3])
    expect(await numbers(close, 3)).toEqual([4, 5])
    expect(await numbers(prove, 3)).toEqual([1, 2, 3, 4, 5])
    expect(await numbers(prove, 3)).toEqual([])
    expect(asked).toEqual({ records: 5, streams: 1 })
  })

  it('share one call that both ask for at once', async () => {
    const { dynamo, asked } = fakeStream(4)
    const readers = await openStreams(dynamo, [wanted(), wanted()])
    expect(await Promise.all(readers.map((reader) => numbers(reader)))).toEqual([
      [1, 2, 3, 4],
      [1, 2, 3, 4],
    ])
    expect(asked.records).toBe(4)
  })

  it('are apart where the mappings stand at different places', async () => {
    const { dynamo, asked } = fakeStream(4)
    const [close, prove] = await openStreams(dynamo, [wanted({ [SHARD]: '3' }), wanted({ [SHARD]: '1' })])
    expect(await numbers(close)).toEqual([4])
    expect(await numbers(prove)).toEqual([2, 3, 4])
    expect(asked.streams).toBe(2)
  })

  it('hold nothing for a mapping that handles nothing: it reads again from where it stands', async () => {
    const { dynamo, asked } = fakeStream(7000)
    const stands: Record<string, string> = {}
    const [close, prove] = await openStreams(dynamo, [wanted(), wanted(stands)])
    expect(await numbers(prove)).toHaveLength(1000)
    stands[SHARD] = '700'
    for (let read = 0; read < 8; read += 1) await numbers(close)
    expect((await numbers(prove))[0]).toBe(701)
    expect((await numbers(prove))[0]).toBe(1701)
    expect(asked.streams).toBe(2)
  })

  it('keep for a mapping without a place of its own what a new stream would not tell', async () => {
    const { dynamo, stream } = fakeStream(0)
    const [close, prove] = await openStreams(dynamo, [wanted({}, true), wanted({}, true)])
    stream.length = 6000
    for (let read = 0; read < 7; read += 1) await numbers(close)
    expect(await numbers(prove)).toHaveLength(6000)
  })
})
