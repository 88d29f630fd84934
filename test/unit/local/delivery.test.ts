import { describe, expect, it } from 'vitest'
import type { Target } from '../../../lib/local/events.ts'
import { startDelivery } from '../../../lib/local/events.ts'
import type { JsonObject } from '../../../lib/local/json.ts'

const FUNCTION = 'arn:aws:lambda:us-east-1:000000000000:function:f'
const DEAD = 'arn:aws:sqs:us-east-1:000000000000:dead'

async function deliver(target: Partial<Target>, failures: number) {
  const invoked: unknown[] = []
  const sent: { arn: string; body: JsonObject; group: string | undefined }[] = []
  const log: string[] = []
  const delivery = startDelivery({
    functions: {
      invoke: async (_, event) => {
        invoked.push(event)
        if (invoked.length <= failures) throw new TypeError('no')
      },
      has: () => true,
      names: () => [],
      environmentOf: () => ({}),
      onActivity: () => undefined,
      drain: async () => true,
      stop: () => undefined,
    },
    sqs: {
      endpoint: '',
      create: () => undefined,
      receive: async () => [],
      delete: () => undefined,
      send: (arn, body, group) => void sent.push({ arn, body: JSON.parse(body) as JsonObject, group }),
      depths: () => ({}),
      wake: () => undefined,
      stop: async () => undefined,
    },
    pauseMilliseconds: 1,
    log: (line) => void log.push(line),
  })
  await delivery.deliver({ arn: FUNCTION, retries: 2, ...target }, { word: 'x' })
  await delivery.stop()
  return { invoked, sent, log }
}

describe('asynchronous delivery', () => {
  it('tries a function again, twice', async () => {
    const { invoked, sent } = await deliver({ deadLetters: { arn: DEAD, report: true } }, 2)
    expect(invoked).toEqual([{ word: 'x' }, { word: 'x' }, { word: 'x' }])
    expect(sent).toEqual([])
  })

  it('then reports to the on-failure destination', async () => {
    const { invoked, sent } = await deliver({ deadLetters: { arn: DEAD, report: true } }, 3)
    expect(invoked).toHaveLength(3)
    expect(sent).toHaveLength(1)
    expect(sent[0]).toMatchObject({
      arn: DEAD,
      body: {
        requestContext: { condition: 'RetriesExhausted', approximateInvokeCount: 3 },
        requestPayload: { word: 'x' },
        responsePayload: { errorType: 'TypeError', errorMessage: 'no' },
      },
    })
  })

  it('or hands the bare event to a dead-letter queue', async () => {
    const { sent } = await deliver({ deadLetters: { arn: DEAD, report: false }, retries: 0 }, 9)
    expect(sent).toEqual([{ arn: DEAD, body: { word: 'x' }, group: undefined }])
  })

  it('or says that the event is lost', async () => {
    expect((await deliver({ retries: 0 }, 9)).log.at(-1)).toMatch(/lost/)
  })

  it('sends a constant input, and to a queue with its group', async () => {
    expect((await deliver({ input: { tick: 1 } }, 0)).invoked).toEqual([{ tick: 1 }])
    const { sent } = await deliver({ arn: 'arn:aws:sqs:us-east-1:000000000000:q.fifo', group: 'g' }, 0)
    expect(sent).toEqual([{ arn: 'arn:aws:sqs:us-east-1:000000000000:q.fifo', body: { word: 'x' }, group: 'g' }])
  })
})
