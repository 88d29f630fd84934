import { describe, expect, it } from 'vitest'
import * as z from 'zod/mini'
import { Postponed, sqsBatch } from '../../../functions/runtime/sqs-batch.ts'
import type { FaultProfile } from '../../simulation/faults.ts'
import { SeededFaults } from '../../simulation/faults.ts'
import type { QueueOptions } from '../../simulation/queues.ts'
import { MOST_RECEIVES, SimulatedQueues } from '../../simulation/queues.ts'
import { Scheduler } from '../../simulation/scheduler.ts'

const ALL = { until: Number.POSITIVE_INFINITY, steps: 100_000 }
const SEEDS = Array.from({ length: 30 }, (_, seed) => seed)
const Message = z.strictObject({ n: z.number() })
const SILENT = { info: () => {}, warn: () => {}, error: () => {} }

function installation(
  handle: (n: number, receiveCount: number, world: { scheduler: Scheduler }) => Promise<void>,
  options: { seed?: number; kinds?: FaultProfile['kinds']; queue?: Partial<QueueOptions> } = {},
) {
  const seed = options.seed ?? 1
  const faults = new SeededFaults(seed, { kinds: options.kinds ?? {} })
  const scheduler = new Scheduler(seed, faults)
  const queues = new SimulatedQueues({ scheduler, faults, seed })
  const invalid: string[] = []
  const batches: number[] = []
  const invoke = sqsBatch({
    schema: Message,
    handle: ({ n }, { receiveCount }) => handle(n, receiveCount, { scheduler }),
    onInvalid: async ({ body }) => void invalid.push(body),
    visibility: queues,
    log: SILENT,
  })
  queues.define('work', {
    batch: 10,
    concurrency: 3,
    visibilitySeconds: 300,
    timeoutSeconds: 50,
    invoke: (event) => {
      batches.push(event.Records.length)
      return invoke(event)
    },
    ...options.queue,
  })
  const send = (...numbers: number[]) =>
    queues.send(
      'work',
      numbers.map((n) => ({ body: { n }, group: n % 2 === 0 ? 'even' : 'odd' })),
    )
  return { scheduler, queues, invalid, batches, send, faults }
}

describe('a standard queue', () => {
  it.each(SEEDS)('brings each message once where nothing goes wrong, in batches (seed %i)', async (seed) => {
    const got: number[] = []
    const { scheduler, queues, batches, send } = installation(async (n) => void got.push(n), { seed })
    await send(...Array.from({ length: 35 }, (_, n) => n))
    expect(await scheduler.run(ALL)).toBe('quiet')
    expect(got.sort((one, other) => one - other)).toEqual(Array.from({ length: 35 }, (_, n) => n))
    expect(Math.max(...batches)).toBeLessThanOrEqual(10)
    expect(queues.messages()).toEqual([])
    expect(queues.count).toEqual({ sent: 35, received: 35, deleted: 35 })
  })

  it('keeps no order', async () => {
    const orders = new Set<string>()
    for (const seed of SEEDS) {
      const got: number[] = []
      const { scheduler, send } = installation(async (n) => void got.push(n), { seed })
      await send(1, 2, 3, 4, 5, 6)
      await scheduler.run(ALL)
      orders.add(got.join())
    }
    expect(orders.size).toBeGreaterThan(5)
  })

  it('never has more invocations under way than it may', async () => {
    let now = 0
    let most = 0
    const { scheduler, send } = installation(
      async (_, __, world) => {
        now += 1
        most = Math.max(most, now)
        await world.scheduler.sleep(1000)
        now -= 1
      },
      { queue: { batch: 1, concurrency: 2 } },
    )
    await send(...Array.from({ length: 20 }, (_, n) => n))
    await scheduler.run(ALL)
    expect(most).toBe(2)
  })

  it('brings back what fails, sooner than its visibility, and leaves the others of the batch alone', async () => {
    const got: [number, number, number][] = []
    const { scheduler, queues, send } = installation(async (n, receiveCount, world) => {
      got.push([n, receiveCount, world.scheduler.now])
      if (n === 2 && receiveCount < 3) throw new Error('not yet')
    })
    const start = scheduler.now
    await send(1, 2, 3)
    await scheduler.run(ALL)
    expect(got.filter(([n]) => n !== 2)).toHaveLength(2)
    expect(got.filter(([n]) => n === 2).map(([, count]) => count)).toEqual([1, 2, 3])
    expect(scheduler.now - start).toBeLessThan(60_000)
    expect(queues.messages()).toEqual([])
  })

  it('hides a message for as long as its handler asks', async () => {
    const at: number[] = []
    const { scheduler, send } = installation(async (_, receiveCount, world) => {
      at.push(world.scheduler.now)
      if (receiveCount === 1) throw new Postponed(30)
    })
    await send(1)
    await scheduler.run(ALL)
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThanOrEqual(30_000)
  })

  it('brings back what a killed invocation held, when its visibility is over', async () => {
    const at: number[] = []
    const { scheduler, queues, send } = installation(async (_, receiveCount, world) => {
      at.push(world.scheduler.now)
      // Longer than the function may take.
      if (receiveCount === 1) await world.scheduler.sleep(100_000)
    })
    await send(1)
    await scheduler.run(ALL)
    expect(at).toHaveLength(2)
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThanOrEqual(300_000)
    expect(queues.messages()).toEqual([])
  })

  it('gives what is received too often to the dead letters, and can be driven back', async () => {
    let healed = false
    let tries = 0
    const { scheduler, queues, send } = installation(async () => {
      tries += 1
      if (!healed) throw new Error('never')
    })
    await send(7)
    await scheduler.run(ALL)
    expect(tries).toBe(MOST_RECEIVES)
    expect(queues.dead('work').map(({ body }) => body)).toEqual(['{"n":7}'])
    expect(queues.messages('work')).toEqual([])
    healed = true
    queues.redrive('work')
    await scheduler.run(ALL)
    expect(tries).toBe(MOST_RECEIVES + 1)
    expect([queues.dead(), queues.messages()]).toEqual([[], []])
  })

  it('takes any text, which the product quarantines', async () => {
    const { scheduler, queues, invalid } = installation(async () => {})
    queues.inject('work', 'no JSON')
    queues.inject('work', '{"n":"x"}')
    await scheduler.run(ALL)
    expect(invalid.sort()).toEqual(['no JSON', '{"n":"x"}'])
    expect(queues.messages()).toEqual([])
  })
})

describe('a FIFO queue', () => {
  it.each(SEEDS)('keeps the order of each group, and one of it under way at a time (seed %i)', async (seed) => {
    const got: number[] = []
    const underWay = new Map<number, number>()
    const { scheduler, send } = installation(
      async (n, receiveCount, world) => {
        const group = n % 2
        underWay.set(group, (underWay.get(group) ?? 0) + 1)
        expect(underWay.get(group)).toBe(1)
        await world.scheduler.step('store', String(n))
        underWay.set(group, 0)
        if (n === 4 && receiveCount < 3) throw new Error('not yet')
        got.push(n)
      },
      { seed, queue: { fifo: true, batch: 1 } },
    )
    await send(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    await scheduler.run(ALL)
    expect(got.filter((n) => n % 2 === 0)).toEqual([0, 2, 4, 6, 8])
    expect(got.filter((n) => n % 2 === 1)).toEqual([1, 3, 5, 7, 9])
  })
})

describe('what goes wrong in a queue', () => {
  const always = (kind: string, budget: number) => ({ [kind]: { probability: 1, budget } })

  it.each(['duplicate', 'batch-failure'])('%s: a message is handled again, and none is lost', async (kind) => {
    const got: number[] = []
    const { scheduler, queues, send } = installation(async (n) => void got.push(n), {
      kinds: always(kind, 2),
      queue: { batch: 1 },
    })
    scheduler.spawn('sender', () => send(1, 2, 3))
    await scheduler.run(ALL)
    expect(got).toHaveLength(5)
    expect(new Set(got)).toEqual(new Set([1, 2, 3]))
    expect(queues.messages()).toEqual([])
  })

  it('a visibility that is over too soon: two invocations have one message, and the old receipt deletes nothing', async () => {
    let at = 0
    let most = 0
    const { scheduler, queues, send } = installation(
      async (_, __, world) => {
        at += 1
        most = Math.max(most, at)
        await world.scheduler.sleep(40_000)
        at -= 1
      },
      { kinds: always('visibility-timeout', 1) },
    )
    await send(1)
    await scheduler.run(ALL)
    expect(most).toBe(2)
    expect(queues.messages()).toEqual([])
  })

  it('sending fails without effect, or with some', async () => {
    const outcomes = new Set<string>()
    for (const seed of SEEDS) {
      for (const kind of ['throttle', 'answer-lost']) {
        const got: number[] = []
        const { scheduler, send } = installation(async (n) => void got.push(n), { seed, kinds: always(kind, 1) })
        const sender = scheduler.spawn('sender', () => send(1, 2))
        await scheduler.run(ALL)
        expect(sender.state).toBe('failed')
        outcomes.add(`${kind} ${got.length}`)
      }
    }
    expect([...outcomes].sort()).toEqual(['answer-lost 0', 'answer-lost 1', 'answer-lost 2', 'throttle 0'])
  })

  it('a message comes late', async () => {
    const { scheduler, send } = installation(async () => {}, { kinds: always('delay', 1) })
    const start = scheduler.now
    await send(1)
    await scheduler.run(ALL)
    expect(scheduler.now - start).toBeGreaterThanOrEqual(500)
  })
})
