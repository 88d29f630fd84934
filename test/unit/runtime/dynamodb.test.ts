import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { describe, expect, it } from 'vitest'
import { dynamoTable } from '../../../functions/store/dynamodb.ts'
import { StoreBusy } from '../../../functions/store/table.ts'
import type { ScriptedAnswer, SentRequest } from '../../support/scripted-service.ts'
import { awsError, broken, scriptedService } from '../../support/scripted-service.ts'
import { testClock, testRandomness } from '../../support/tools.ts'

const key = { pk: 'P', sk: 'S' }

function tableWith(answer: (request: SentRequest, place: number) => ScriptedAnswer) {
  const service = scriptedService(answer)
  const clock = testClock()
  const client = new DynamoDBClient({ ...service.configuration, maxAttempts: 1 })
  return { table: dynamoTable({ client, table: 't', clock, random: testRandomness() }), requests: service.requests, clock }
}
const cancelled = (...codes: string[]) =>
  awsError('TransactionCanceledException', { CancellationReasons: codes.map((Code) => ({ Code })) })

describe('a busy table', () => {
  it.each([
    'ProvisionedThroughputExceededException',
    'ThrottlingException',
    'RequestLimitExceeded',
    'TransactionConflictException',
  ])('%s is tried again with growing pauses, then said to be busy', async (name) => {
    const { table, requests, clock } = tableWith(() => awsError(name))
    await expect(table.write({ update: key, add: [['n', 1]] })).rejects.toThrow(StoreBusy)
    expect(requests).toHaveLength(6)
    expect(clock.slept).toHaveLength(5)
    for (const [place, pause] of clock.slept.entries()) {
      expect(pause).toBeGreaterThanOrEqual(0)
      expect(pause).toBeLessThan([50, 100, 200, 400, 800][place] ?? 0)
    }
  })

  it('is served when it recovers', async () => {
    const { table, requests } = tableWith((_, place) => (place < 3 ? awsError('ThrottlingException') : {}))
    expect(await table.write({ put: key })).toEqual({ ok: true })
    expect(requests).toHaveLength(4)
  })

  it('a bug is thrown at once', async () => {
    const { table, requests } = tableWith(() => awsError('ValidationException'))
    await expect(table.write({ put: key })).rejects.toThrow(expect.objectContaining({ name: 'ValidationException' }))
    expect(requests).toHaveLength(1)
  })
})

describe('a lost answer', () => {
  it.each([awsError('InternalServerError'), { status: 503, body: {} }, broken('ECONNRESET')])(
    'to a single write is not sent again, for it may count twice',
    async (answer) => {
      const { table, requests } = tableWith(() => answer)
      await expect(table.write({ update: key, add: [['n', 1]] })).rejects.toThrow(StoreBusy)
      expect(requests).toHaveLength(1)
    },
  )

  it('to one of several independent writes is not sent again either; the others are made, then it is told', async () => {
    const { table, requests } = tableWith(({ body }) =>
      body.includes('"B"') ? broken('ECONNRESET') : ({} satisfies ScriptedAnswer),
    )
    const writes = ['A', 'B', 'C', 'D'].map((sk) => ({ update: { pk: 'P', sk }, add: [['n', 1] as const] }))
    await expect(table.writeEach(writes)).rejects.toThrow(StoreBusy)
    expect(requests).toHaveLength(4)
  })

  it('to a read is asked for again', async () => {
    const { table, requests } = tableWith((_, place) => (place === 0 ? broken('ECONNRESET') : {}))
    expect(await table.get(key)).toBeUndefined()
    expect(requests).toHaveLength(2)
  })

  it('to a transaction is asked for again with the same token', async () => {
    const { table, requests } = tableWith((_, place) => (place < 2 ? broken('ECONNRESET') : {}))
    expect(await table.transact([{ update: key, add: [['n', 1]] }])).toEqual({ ok: true })
    const tokens = requests.map((request) => JSON.parse(request.body).ClientRequestToken)
    expect(tokens).toHaveLength(3)
    expect(new Set(tokens).size).toBe(1)
    expect(tokens[0]).toMatch(/^[\w-]{20,36}$/)
  })

  it('two transactions have two tokens', async () => {
    const { table, requests } = tableWith(() => ({}))
    await table.transact([{ update: key }])
    await table.transact([{ update: key }])
    expect(new Set(requests.map((request) => JSON.parse(request.body).ClientRequestToken)).size).toBe(2)
  })
})

describe('a cancelled transaction', () => {
  const operations = [{ update: key }, { check: { pk: 'P', sk: 'T' }, if: [['pk', 'exists']] }] as const

  it.each(['TransactionConflict', 'ThrottlingError', 'ProvisionedThroughputExceeded'])('by %s is tried again', async (code) => {
    const { table, requests } = tableWith((_, place) => (place === 0 ? cancelled('None', code) : {}))
    expect(await table.transact(operations)).toEqual({ ok: true })
    expect(requests).toHaveLength(2)
  })

  it('by nothing but conflicts is busy in the end', async () => {
    const { table, requests } = tableWith(() => cancelled('TransactionConflict', 'None'))
    await expect(table.transact(operations)).rejects.toThrow(StoreBusy)
    expect(requests).toHaveLength(6)
  })

  it('by a condition is answered, also beside a conflict', async () => {
    const { table, requests } = tableWith(() =>
      awsError('TransactionCanceledException', {
        CancellationReasons: [
          { Code: 'TransactionConflict' },
          { Code: 'ConditionalCheckFailed', Item: { pk: { S: 'P' }, sk: { S: 'T' }, n: { N: '3' } } },
        ],
      }),
    )
    expect(await table.transact(operations)).toEqual({
      ok: false,
      failed: [false, true],
      current: [undefined, { pk: 'P', sk: 'T', n: 3 }],
    })
    expect(requests).toHaveLength(1)
  })

  it('by a bug is thrown', async () => {
    const { table, requests } = tableWith(() => cancelled('ValidationError', 'TransactionConflict'))
    await expect(table.transact(operations)).rejects.toThrow(expect.objectContaining({ name: 'TransactionCanceledException' }))
    expect(requests).toHaveLength(1)
  })
})

describe('batches', () => {
  it('ask again for what was left over, as long as there is progress', async () => {
    const { table, requests } = tableWith((request) => {
      const [first, ...rest] = JSON.parse(request.body).RequestItems.t.Keys
      return { body: { Responses: { t: [first] }, UnprocessedKeys: rest.length > 0 ? { t: { Keys: rest } } : {} } }
    })
    const keys = Array.from({ length: 12 }, (_, n) => ({ pk: 'P', sk: `${n}` }))
    expect(await table.getMany(keys)).toEqual(keys)
    expect(requests).toHaveLength(12)
    expect(JSON.parse(requests[0]?.body ?? '').RequestItems.t.ConsistentRead).toBe(true)
  })

  it('are busy where there is none', async () => {
    const { table } = tableWith((request) => ({ body: { UnprocessedKeys: JSON.parse(request.body).RequestItems } }))
    await expect(table.getMany([key])).rejects.toThrow(StoreBusy)
    const writing = tableWith((request) => ({ body: { UnprocessedItems: JSON.parse(request.body).RequestItems } }))
    await expect(writing.table.putAll([key])).rejects.toThrow(StoreBusy)
  })

  it('write again what was left over', async () => {
    const written: string[] = []
    const { table } = tableWith((request) => {
      const [first, ...rest] = JSON.parse(request.body).RequestItems.t
      written.push(first.PutRequest.Item.sk.S)
      return { body: { UnprocessedItems: rest.length > 0 ? { t: rest } : {} } }
    })
    await table.putAll(Array.from({ length: 5 }, (_, n) => ({ pk: 'P', sk: `${n}` })))
    expect(written).toEqual(['0', '1', '2', '3', '4'])
  })
})

it('every read but those of an index is strongly consistent', async () => {
  const { table, requests } = tableWith(() => ({}))
  await table.get(key)
  await table.query({ pk: 'P', limit: 1 })
  await table.index({ index: 'due', partition: 'P', limit: 1 })
  expect(requests.map((request) => JSON.parse(request.body).ConsistentRead)).toEqual([true, true, undefined])
})
