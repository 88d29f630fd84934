import { describe, expect, it } from 'vitest'
import * as z from 'zod/mini'
import { embeddedMetrics, installationOf } from '../../../functions/runtime/metrics.ts'
import { keeper } from '../../../functions/runtime/quarantine.ts'
import type { InvalidMessage, SqsRecord } from '../../../functions/runtime/sqs-batch.ts'
import { sqsBatch } from '../../../functions/runtime/sqs-batch.ts'
import type { Change, StreamEvent } from '../../../functions/runtime/stream.ts'
import { changesOf, eachChange } from '../../../functions/runtime/stream.ts'
import type { UnusableReason } from '../../../functions/runtime/unusable.ts'
import { Unusable } from '../../../functions/runtime/unusable.ts'
import { as, ForeignItem, faultOf } from '../../../functions/store/items.ts'
import { MemoryTable } from '../../support/memory-table.ts'
import { testClock, testLog } from '../../support/tools.ts'

const Message = z.strictObject({ v: z.literal(1), n: z.int() })

const record = (id: string, body: unknown, receives = 1): SqsRecord => ({
  messageId: id,
  receiptHandle: `handle-${id}`,
  body: typeof body === 'string' ? body : JSON.stringify(body),
  eventSourceARN: 'arn:aws:sqs:eu-west-1:123456789012:work-a-p0',
  attributes: { ApproximateReceiveCount: String(receives), SentTimestamp: '1000' },
})

function batch(handle: (n: number) => Promise<void>) {
  const kept: InvalidMessage[] = []
  const dead: string[] = []
  const log = testLog()
  const run = sqsBatch({
    schema: Message,
    handle: ({ n }) => handle(n),
    onInvalid: async (message) => void kept.push(message),
    onDeath: async ({ messageId }) => void dead.push(messageId),
    visibility: { returnAfter: async () => {} },
    log,
  })
  const failures = async (...records: SqsRecord[]) =>
    (await run({ Records: records })).batchItemFailures.map(({ itemIdentifier }) => itemIdentifier)
  return { failures, kept, dead, log }
}

describe('a batch with messages that nobody can handle', () => {
  it('quarantines each with its reason, and goes on with the rest', async () => {
    const handled: number[] = []
    const { failures, kept } = batch(async (n) => void handled.push(n))
    const left = await failures(
      record('a', { v: 1, n: 1 }),
      record('truncated', '{"v":1,"n'),
      record('later', { v: 2, n: 2, more: true }),
      record('foreign', { hello: 'world' }),
      record('empty', 'null'),
      record('b', { v: 1, n: 3 }),
    )
    expect(left).toEqual([])
    expect(handled.sort()).toEqual([1, 3])
    expect(Object.fromEntries(kept.map(({ messageId, reason }) => [messageId, reason]))).toEqual({
      truncated: 'not-json',
      later: 'version-unknown',
      foreign: 'message-invalid',
      empty: 'message-invalid',
    })
  })

  it('quarantines what a stage can never handle, and lets all else come back', async () => {
    const { failures, kept, dead } = batch(async (n) => {
      if (n === 1) throw new Unusable('case-gone')
      if (n === 2) throw new ForeignItem('expected chunk, found toad')
      if (n === 3) throw new TypeError('a defect')
    })
    expect(await failures(record('a', { v: 1, n: 1 }), record('b', { v: 1, n: 2 }), record('c', { v: 1, n: 3 }))).toEqual(['c'])
    expect(kept.map(({ messageId, reason, about }) => [messageId, reason, about])).toEqual([
      ['a', 'case-gone', '{"v":1,"n":1}'],
      ['b', 'item-unreadable', '{"v":1,"n":2}'],
    ])
    expect(dead).toEqual([])
  })

  it('tells of the last failure of a message, whatever becomes of the telling', async () => {
    const { failures, dead } = batch(async () => {
      throw new TypeError('a defect')
    })
    expect(await failures(record('a', { v: 1, n: 1 }, 11), record('b', { v: 1, n: 1 }, 12))).toEqual(['a', 'b'])
    expect(dead).toEqual(['b'])
  })
})

describe('the keeper', () => {
  function made() {
    const table = new MemoryTable()
    const counted: string[] = []
    const keep = keeper(table, testClock(), 30, { count: (name, reason) => void counted.push(`${name} ${reason}`) })
    const message = (messageId: string, reason: UnusableReason, about?: string): InvalidMessage => ({
      messageId,
      queue: 'work-a-p0',
      receiveCount: 1,
      sentAt: 0,
      body: 'hunter2',
      reason,
      notes: [],
      ...(about === undefined ? {} : { about }),
    })
    return { table, counted, keep, message }
  }

  it('makes one entry of what comes again, and counts each time', async () => {
    const { table, counted, keep, message } = made()
    await keep.message(message('one', 'case-gone', '{"case":"x"}'))
    await keep.message(message('two', 'case-gone', '{"case":"x"}'))
    await keep.message(message('three', 'not-json'))
    await keep.item({ reason: 'item-unreadable', origin: 'sweep', item: { pk: 'A', sk: 'B' } })
    await keep.item({ reason: 'item-unreadable', origin: 'sweep', item: { pk: 'A', sk: 'B' } })
    expect(table.all()).toHaveLength(3)
    expect(counted).toHaveLength(5)
    expect(JSON.stringify(table.all())).not.toContain('hunter2')
  })

  it('notes why a message died, by name and code alone where the error is not our own', async () => {
    const { table, keep, message } = made()
    await keep.death(message('one', 'not-json'), new TypeError('hunter2'))
    await keep.death(message('two', 'not-json'), new Unusable('case-gone'))
    expect(table.all().map(({ error }) => error)).toEqual([
      'TypeError',
      'Unusable case-gone the case that it is about is not in the table',
    ])
  })
})

describe('an item', () => {
  const lease: Parameters<typeof faultOf>[1] = {
    pk: 'p',
    sk: 's',
    kind: 'lease',
    id: 'l',
    identity: 'i',
    issuer: 'd',
    state: 'live',
  }

  it.each([
    ['another kind', { ...lease, kind: 'chunk' }],
    ['no kind', { ...lease, kind: undefined }],
    ['less than its kind has', { ...lease, state: undefined }],
    ['something else in a place', { ...lease, identity: 7 }],
    ['a schema of its own', { ...lease, schema: 2 }],
  ])('with %s is foreign', (_, item) => {
    expect(faultOf('lease', item)).toBeDefined()
    expect(() => as('lease', item)).toThrow(ForeignItem)
  })

  it('that has all that its kind must have is taken', () => {
    expect(as('lease', lease).id).toBe('l')
  })
})

describe('records of the stream', () => {
  const put = (sequence: string, sk: string, image: Record<string, unknown>) => ({
    eventName: 'MODIFY',
    dynamodb: {
      SequenceNumber: sequence,
      Keys: { pk: { S: 'P' }, sk: { S: sk } },
      NewImage: { pk: { S: 'P' }, sk: { S: sk }, ...image },
    },
  })
  const event: StreamEvent = {
    Records: [
      put('1', 'a', { kind: { S: 'progress' } }),
      put('2', 'b', { v: { N: '7' }, kind: { Q: 'no such type' } }),
      { eventID: 'e3' },
      put('4', 'd', { kind: { S: 'progress' } }),
    ],
  }

  it('that cannot be read are told with what is known of them, and the others go on', () => {
    const told: unknown[] = []
    const changes = changesOf(event, (unread) => told.push(unread))
    expect(changes.map(({ sequence }) => sequence)).toEqual(['1', '4'])
    expect(told).toEqual([{ place: '2', key: { pk: 'P', sk: 'b' }, version: 7 }, { place: 'e3' }])
    expect(() => changesOf(event)).toThrow('cannot be read')
  })

  it('are kept by reason, and only what may yet succeed stops the batch', async () => {
    const kept: string[] = []
    const seen: string[] = []
    const handle = async ({ sequence }: Change) => {
      seen.push(sequence)
      if (sequence === '1') throw new ForeignItem('expected progress, found toad')
      if (sequence === '4') throw new Error('the table is away')
    }
    const run = eachChange(handle, testLog(), async (reason, { place }) => void kept.push(`${reason} ${place}`))
    expect(await run(event)).toEqual({ batchItemFailures: [{ itemIdentifier: '4' }] })
    expect(kept).toEqual(['record-unreadable 2', 'record-unreadable e3', 'item-unreadable 1'])
    expect(seen).toEqual(['1', '4'])
  })
})

describe('metrics', () => {
  it('are lines that CloudWatch makes metrics of, with words of ours alone', () => {
    const lines: string[] = []
    const metrics = embeddedMetrics({
      clock: testClock(5),
      installation: 'rescind-prod',
      function: 'plan',
      write: (line) => lines.push(line),
    })
    metrics.count('Quarantined', 'case-gone')
    metrics.count('Shed', 'a text From outside', 3)
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      {
        _aws: {
          Timestamp: 5,
          CloudWatchMetrics: [
            {
              Namespace: 'Rescind',
              Dimensions: [['Installation'], ['Installation', 'Function', 'Reason']],
              Metrics: [{ Name: 'Quarantined', Unit: 'Count' }],
            },
          ],
        },
        Installation: 'rescind-prod',
        Function: 'plan',
        Reason: 'case-gone',
        Quarantined: 1,
      },
      expect.objectContaining({ Reason: 'other', Shed: 3 }),
    ])
  })

  it('count for the installation that the function belongs to', () => {
    expect(installationOf('rescind-prod-revoke-aws-iam', 'revoke-aws-iam')).toBe('rescind-prod')
    expect(installationOf('something-else', 'plan')).toBe('local')
    expect(installationOf(undefined, 'plan')).toBe('local')
  })
})
