import { describe, expect, it } from 'vitest'
import * as z from 'zod/mini'
import type { InvalidMessage, SqsRecord } from '../../../functions/runtime/sqs-batch.ts'
import { Postponed, sqsBatch } from '../../../functions/runtime/sqs-batch.ts'
import { testLog } from '../../support/tools.ts'

const Message = z.strictObject({ v: z.literal(1), n: z.int() })
type Message = z.infer<typeof Message>

const record = (id: string, body: unknown, group?: string): SqsRecord => ({
  messageId: id,
  receiptHandle: `handle-${id}`,
  body: typeof body === 'string' ? body : JSON.stringify(body),
  eventSourceARN: `arn:aws:sqs:eu-west-1:123456789012:work-a-p0${group === undefined ? '' : '.fifo'}`,
  attributes: { ApproximateReceiveCount: '2', SentTimestamp: '1000', ...(group === undefined ? {} : { MessageGroupId: group }) },
})

function batch(
  handle: (message: Message) => Promise<void>,
  changed: { onInvalid?: () => Promise<void>; visible?: () => Promise<void>; concurrency?: number } = {},
) {
  const invalid: InvalidMessage[] = []
  const postponed: [string, number][] = []
  const log = testLog()
  const run = sqsBatch({
    schema: Message,
    handle,
    onInvalid: async (message) => {
      invalid.push(message)
      await changed.onInvalid?.()
    },
    visibility: {
      returnAfter: async ({ receiptHandle }, seconds) => {
        postponed.push([receiptHandle, seconds])
        await changed.visible?.()
      },
    },
    log,
    ...(changed.concurrency === undefined ? {} : { concurrency: changed.concurrency }),
  })
  const failures = async (...records: SqsRecord[]) =>
    (await run({ Records: records })).batchItemFailures.map(({ itemIdentifier }) => itemIdentifier).sort()
  return { failures, invalid, postponed, log }
}
const ok = (n: number) => ({ v: 1, n })
const failOn = (...numbers: number[]) => {
  const handled: number[] = []
  return {
    handled,
    handle: async ({ n }: Message) => {
      handled.push(n)
      if (numbers.includes(n)) throw new Error('hunter2')
    },
  }
}

describe('a batch', () => {
  it('reports the failed records alone', async () => {
    const { handle, handled } = failOn(2)
    const { failures, log } = batch(handle)
    expect(await failures(record('a', ok(1)), record('b', ok(2)), record('c', ok(3)))).toEqual(['b'])
    expect(handled.sort()).toEqual([1, 2, 3])
    expect(log.lines).toMatchObject([{ level: 'error', fields: { queue: 'work-a-p0', messageId: 'b', receiveCount: 2 } }])
  })

  it('of nothing is done', async () => {
    expect(await batch(failOn().handle).failures()).toEqual([])
  })

  it('handles a few at once, not more than it may', async () => {
    let running = 0
    let most = 0
    const { failures } = batch(
      async () => {
        running++
        most = Math.max(most, running)
        await new Promise((resolve) => setImmediate(resolve))
        running--
      },
      { concurrency: 3 },
    )
    expect(await failures(...Array.from({ length: 10 }, (_, n) => record(`${n}`, ok(n))))).toEqual([])
    expect(most).toBe(3)
  })

  it('of a FIFO queue keeps the order of a group and gives its rest back after a failure', async () => {
    const { handle, handled } = failOn(2)
    const { failures } = batch(handle)
    const records = [
      record('a', ok(1), 'x'),
      record('b', ok(2), 'x'),
      record('c', ok(3), 'x'),
      record('d', ok(4), 'y'),
      record('e', ok(5), 'y'),
    ]
    expect(await failures(...records)).toEqual(['b', 'c'])
    expect(handled.filter((n) => n <= 3)).toEqual([1, 2])
    expect(handled.filter((n) => n > 3)).toEqual([4, 5])
  })
})

describe('messages that are none', () => {
  it.each(['hunter2', '{"v":2,"n":1}', '{"v":1,"n":"hunter2"}', '{"v":1,"n":1,"more":1}', 'null'])(
    'are quarantined and deleted: %s',
    async (body) => {
      const { handle, handled } = failOn()
      const { failures, invalid, log } = batch(handle)
      expect(await failures(record('a', body), record('b', ok(1)))).toEqual([])
      expect(handled).toEqual([1])
      expect(invalid).toMatchObject([{ messageId: 'a', queue: 'work-a-p0', receiveCount: 2, sentAt: 1000, body }])
      expect(JSON.stringify(invalid[0]?.notes)).not.toContain('hunter2')
      expect(JSON.stringify(log.lines)).not.toContain('hunter2')
    },
  )

  it('come back when the quarantine does not take them', async () => {
    const { failures } = batch(failOn().handle, {
      onInvalid: async () => {
        throw new Error('away')
      },
    })
    expect(await failures(record('a', '{'))).toEqual(['a'])
  })
})

describe('postponed messages', () => {
  const postponing = async () => {
    throw new Postponed(7)
  }
  it('come back when they said', async () => {
    const { failures, postponed, log } = batch(postponing)
    expect(await failures(record('a', ok(1)))).toEqual(['a'])
    expect(postponed).toEqual([['handle-a', 7]])
    expect(log.lines).toEqual([])
  })

  it('come back all the same when their visibility cannot be changed', async () => {
    const { failures } = batch(postponing, {
      visible: async () => {
        throw new Error('away')
      },
    })
    expect(await failures(record('a', ok(1)))).toEqual(['a'])
  })

  it('wait for less than a minute', () => {
    expect(() => new Postponed(60)).toThrow(RangeError)
    expect(() => new Postponed(-1)).toThrow(RangeError)
    expect(() => new Postponed(Number.NaN)).toThrow(RangeError)
    expect(new Postponed(59).seconds).toBe(59)
  })
})
