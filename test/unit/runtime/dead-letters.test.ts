import { SQSClient } from '@aws-sdk/client-sqs'
import { describe, expect, it } from 'vitest'
import type { DeadLetter } from '../../../functions/runtime/dead-letters.ts'
import { sqsDeadLetters } from '../../../functions/runtime/dead-letters.ts'
import { dispatcher, MOST_IN_QUEUE } from '../../../functions/runtime/dispatch.ts'
import { sqsQueues } from '../../../functions/runtime/sqs.ts'
import { MemoryTable } from '../../support/memory-table.ts'
import type { ScriptedAnswer, SentRequest } from '../../support/scripted-service.ts'
import { scriptedService } from '../../support/scripted-service.ts'
import { testClock, testRandomness } from '../../support/tools.ts'

const HOST = 'https://sqs.us-east-1.amazonaws.com/1'
const body = (request: SentRequest | undefined) => JSON.parse(request?.body ?? '{}')

function letters(answer: (request: SentRequest, place: number) => ScriptedAnswer) {
  const service = scriptedService(answer)
  const client = new SQSClient({ ...service.configuration, md5: false, maxAttempts: 1 })
  const queues = {
    'plan-p0-dead': { url: `${HOST}/plan-p0-dead`, back: `${HOST}/plan-p0` },
    'work-aws-iam-p0-dead': { url: `${HOST}/work-aws-iam-p0-dead.fifo`, back: `${HOST}/work-aws-iam-p0.fifo` },
    'sweep-dead': { url: `${HOST}/sweep-dead` },
  }
  return { dead: sqsDeadLetters({ client, queues, random: testRandomness() }), requests: service.requests }
}
const letter = (id: string, group?: string): DeadLetter => ({
  id,
  handle: `h-${id}`,
  body: `{"n":"${id}"}`,
  sentAt: 0,
  receives: 13,
  ...(group === undefined ? {} : { group }),
})

describe('dead letters on SQS', () => {
  it('are received hidden, with what the queue knows of them', async () => {
    const { dead, requests } = letters(() => ({
      body: {
        Messages: [
          {
            MessageId: 'm',
            ReceiptHandle: 'h',
            Body: '{}',
            Attributes: { SentTimestamp: '5', ApproximateReceiveCount: '13', MessageGroupId: 'g' },
          },
        ],
      },
    }))
    expect(await dead.receive('plan-p0-dead', 30)).toEqual([
      { id: 'm', handle: 'h', body: '{}', sentAt: 5, receives: 13, group: 'g' },
    ])
    expect(body(requests[0])).toMatchObject({ QueueUrl: `${HOST}/plan-p0-dead`, MaxNumberOfMessages: 10, VisibilityTimeout: 30 })
  })

  it('go back to their own queue, in their group, with a fresh deduplication id where order is kept', async () => {
    const { dead, requests } = letters((request) => ({
      body: { Successful: body(request).Entries.map(({ Id }: { Id: string }) => ({ Id })), Failed: [] },
    }))
    expect(await dead.sendBack('work-aws-iam-p0-dead', [letter('a', 'account'), letter('b')])).toHaveLength(2)
    const sent = body(requests[0])
    expect(sent.QueueUrl).toBe(`${HOST}/work-aws-iam-p0.fifo`)
    expect(sent.Entries).toMatchObject([{ MessageBody: '{"n":"a"}', MessageGroupId: 'account' }, { MessageGroupId: 'all' }])
    expect(new Set(sent.Entries.map(({ MessageDeduplicationId: id }: { MessageDeduplicationId: string }) => id)).size).toBe(2)
    await dead.sendBack('plan-p0-dead', [letter('a', 'account'), letter('b')])
    expect(body(requests[1]).Entries).toEqual([
      { Id: '0', MessageBody: '{"n":"a"}', MessageGroupId: 'account' },
      { Id: '1', MessageBody: '{"n":"b"}' },
    ])
  })

  it('that were not taken are told apart', async () => {
    const { dead } = letters(() => ({
      body: { Successful: [{ Id: '1' }], Failed: [{ Id: '0', Code: 'x', SenderFault: false }] },
    }))
    expect(await dead.sendBack('plan-p0-dead', [letter('a'), letter('b')])).toEqual([letter('b')])
  })

  it('of no queue cannot be sent back, and of an unknown one not even be looked at', async () => {
    const { dead, requests } = letters(() => ({ body: {} }))
    expect(dead.canGoBack('sweep-dead')).toBe(false)
    await expect(dead.sendBack('sweep-dead', [letter('a')])).rejects.toThrow('no queue')
    await expect(dead.receive('toString', 1)).rejects.toThrow('no such')
    expect(requests).toEqual([])
  })
})

describe('the room in a queue', () => {
  const counts = (waiting: number, hidden: number, delayed: number) => ({
    body: {
      Attributes: {
        ApproximateNumberOfMessages: String(waiting),
        ApproximateNumberOfMessagesNotVisible: String(hidden),
        ApproximateNumberOfMessagesDelayed: String(delayed),
      },
    },
  })
  function dispatch(answer: () => ScriptedAnswer) {
    const service = scriptedService((request) =>
      request.target.endsWith('GetQueueAttributes')
        ? answer()
        : { body: { Successful: body(request).Entries.map(({ Id }: { Id: string }) => ({ Id })), Failed: [] } },
    )
    const clock = testClock()
    const client = new SQSClient({ ...service.configuration, md5: false, maxAttempts: 1 })
    const urls = { 'plan-p1': `${HOST}/plan-p1`, 'work-a-p1': `${HOST}/work-a-p1` }
    const queues = sqsQueues({ client, urls, clock, random: testRandomness() })
    const asked = () => service.requests.filter(({ target }) => target.endsWith('GetQueueAttributes')).length
    return { made: dispatcher(new MemoryTable(), queues, Object.keys(urls), clock), clock, asked }
  }

  it('counts what waits, what is under way or hidden, and what is delayed', async () => {
    const { made } = dispatch(() => counts(100, 20, 3))
    expect(await made.room?.('p1', ['db'])).toEqual({ left: MOST_IN_QUEUE - 123, crowded: false })
  })

  it('is asked for once a second, and what is sent meanwhile is counted', async () => {
    const { made, clock, asked } = dispatch(() => counts(MOST_IN_QUEUE - 5, 0, 0))
    expect(await made.room?.('p1', ['db'])).toEqual({ left: 5, crowded: true })
    const message = { v: 1 as const, kind: 'chunk' as const, case: 'a'.repeat(26), progress: 'p', chunk: 'c', issuer: 'db' }
    await made.work('p1', [message, message])
    expect((await made.room?.('p1', ['db', 'other']))?.left).toBe(3)
    expect(asked()).toBe(1)
    clock.advance(1000)
    expect((await made.room?.('p1', ['db']))?.left).toBe(5)
    expect(asked()).toBe(2)
  })
})
