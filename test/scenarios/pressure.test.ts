import { describe, expect, it } from 'vitest'
import { identityKey, SHARDS } from '../../functions/domain/keys.ts'
import { instant } from '../../functions/domain/time.ts'
import { MOST_IN_QUEUE } from '../../functions/runtime/dispatch.ts'
import type { Item, Page, QueryInput } from '../../functions/store/table.ts'
import { newChunk } from '../../functions/store/units.ts'
import { app, Pipeline } from '../support/pipeline.ts'

/** The number in the sort key of a generated lease. */
const numberIn = (sk: string) => Number.parseInt(sk.slice('L#db#'.length), 10)
const sortOf = (number: number) => `L#db#${String(number).padStart(9, '0')}`

interface Cut {
  readonly pk: string
  readonly from: string
  readonly to: string
}

/**
 * A pipeline whose identity has so many leases in each shard: made when they are read, and forgotten. Chunks are written
 * down as what they cover, and not kept; their messages are counted, and taken up as fast as the test says.
 */
async function crowd(perShard: number) {
  const pipeline = new Pipeline()
  await pipeline.issuer()
  await pipeline.lease('first')
  await pipeline.settle()
  const prefix = `SCOPE#identity#${identityKey(app)}#`
  const cuts: Cut[] = []
  const seen = { keys: 0, largestPage: 0, mostAtOnce: 0, mostInQueue: 0, units: 0 }
  const queue = { depth: 0 }

  const query = pipeline.table.query.bind(pipeline.table)
  let underWay = 0
  pipeline.table.query = async (input: QueryInput): Promise<Page> => {
    if (!input.pk.startsWith(prefix)) return query(input)
    underWay += 1
    seen.mostAtOnce = Math.max(seen.mostAtOnce, underWay)
    const first = input.after === undefined || !/\d$/.test(input.after) ? 0 : numberIn(input.after) + 1
    const items: Item[] = []
    for (let number = first; number < perShard && items.length < input.limit; number += 1)
      items.push({ pk: input.pk, sk: sortOf(number) })
    await Promise.resolve()
    underWay -= 1
    seen.keys += items.length
    seen.largestPage = Math.max(seen.largestPage, items.length)
    const last = items.at(-1)
    return { items, units: items.length / 3, ...(last !== undefined && items.length === input.limit ? { next: last.sk } : {}) }
  }
  const transact = pipeline.table.transact.bind(pipeline.table)
  pipeline.table.transact = async (operations) => {
    const chunks = operations.flatMap((operation) =>
      'put' in operation && operation.put.kind === 'chunk' ? [operation.put] : [],
    )
    const done = await transact(operations.filter((operation) => !('put' in operation && operation.put.kind === 'chunk')))
    if (done.ok) for (const { covers } of chunks) cuts.push(covers as never)
    return done
  }
  Object.assign(pipeline.queues, {
    async send(name: string, messages: readonly { body: unknown }[]) {
      if (name.startsWith('work-')) queue.depth += messages.length
      else
        for (const { body } of messages) pipeline.messages.push({ queue: name, body, receiveCount: 0, notBefore: pipeline.now })
      seen.mostInQueue = Math.max(seen.mostInQueue, queue.depth)
    },
    depth: async () => queue.depth,
  })

  /** Runs the planners until none has anything to do, minute by minute, while workers take up so many messages in each. */
  async function run(minutes: number, takenUp: number): Promise<void> {
    for (let minute = 0; minute < minutes; minute += 1) {
      while (await pipeline.step()) {}
      pipeline.now += 60_000
      queue.depth = Math.max(0, queue.depth - takenUp)
      await pipeline.sweep()
    }
    while (await pipeline.step()) {}
  }

  /** Leases that are covered, by shard; fails where two chunks overlap or one has more than a hundred. */
  function covered(): number[] {
    const shards = new Map<string, Cut[]>()
    for (const cut of cuts) shards.set(cut.pk, [...(shards.get(cut.pk) ?? []), cut])
    return [...shards.values()].map((list) => {
      let next = 0
      for (const { from, to } of list.sort((one, other) => (one.from < other.from ? -1 : 1))) {
        expect(numberIn(from)).toBe(next)
        expect(numberIn(to) - numberIn(from)).toBeLessThan(100)
        next = numberIn(to) + 1
      }
      return next
    })
  }
  const sealed = () => pipeline.table.all().filter(({ kind, sealed: over }) => kind === 'progress' && over === true).length

  return { pipeline, seen, queue, run, covered, sealed, cuts }
}

describe('a case of a million leases', () => {
  it('is planned page by page, each lease once, and survives a planner that is killed in the middle, twice', async () => {
    const { pipeline, seen, run, covered, sealed } = await crowd(62_500)
    let writes = 0
    pipeline.table.before = (operation) => {
      if (operation === 'transact') writes += 1
      // Between two pages of one shard: what is written stays, the rest is another planner's.
      if (operation === 'transact' && (writes === 200 || writes === 500)) throw new Error('killed')
    }
    await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await run(8, MOST_IN_QUEUE)
    expect(pipeline.logged.filter((line) => line.startsWith('failed: Error: killed'))).toHaveLength(2)
    expect(covered()).toEqual(Array.from({ length: SHARDS.identity }, () => 62_500))
    expect(sealed()).toBe(SHARDS.identity)
    // What a planner holds is one page, however many there are.
    expect(seen.largestPage).toBe(1000)
    expect(seen.mostAtOnce).toBeLessThanOrEqual(SHARDS.identity)
    expect(seen.mostInQueue).toBeLessThanOrEqual(MOST_IN_QUEUE)
  })

  it('waits in the table where workers are slower, and goes on as they take up', async () => {
    const { seen, pipeline, run, covered, sealed } = await crowd(150_000)
    await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await run(3, 0)
    // Nobody takes anything up: as much as may be under way is, and no more.
    expect(seen.mostInQueue).toBeLessThanOrEqual(MOST_IN_QUEUE)
    expect(seen.mostInQueue).toBeGreaterThan(MOST_IN_QUEUE / 2)
    expect(sealed()).toBeLessThan(SHARDS.identity)
    const read = seen.keys
    await run(5, 0)
    // And it is not read again and again in vain: one page a shard and sweep at most.
    expect(seen.keys - read).toBeLessThanOrEqual(5 * 3 * SHARDS.identity * 1000)
    await run(30, 6000)
    expect(covered()).toEqual(Array.from({ length: SHARDS.identity }, () => 150_000))
    expect(sealed()).toBe(SHARDS.identity)
    expect(seen.mostInQueue).toBeLessThanOrEqual(MOST_IN_QUEUE)
  })

  it('bounds what is sent by the number of visits alone where the queue is counted too late', async () => {
    const { pipeline, seen, run, queue } = await crowd(150_000)
    Object.assign(pipeline.queues, { depth: async () => 0 })
    await pipeline.trigger('compromise', { kind: 'identity', id: app })
    while (await pipeline.step()) {}
    // The pages of the first look, and a visit of each shard.
    expect(queue.depth).toBeLessThanOrEqual(SHARDS.identity * (10 + 650))
    expect(queue.depth).toBeGreaterThan(SHARDS.identity * 500)
    await run(1, 0)
    expect(seen.mostInQueue).toBeLessThan(120_000)
  })

  it('lets a small case through where a huge one has filled the queue, and no number of them above twice the measure', async () => {
    const small = await crowd(90)
    small.queue.depth = MOST_IN_QUEUE
    await small.pipeline.trigger('compromise', { kind: 'identity', id: app })
    while (await small.pipeline.step()) {}
    expect(small.sealed()).toBe(1)
    const another = await crowd(90)
    another.queue.depth = 2 * MOST_IN_QUEUE
    await another.pipeline.trigger('compromise', { kind: 'identity', id: app })
    await another.run(3, 0)
    expect(another.queue.depth).toBe(2 * MOST_IN_QUEUE)
    await another.run(3, MOST_IN_QUEUE)
    expect(another.sealed()).toBe(1)
  })

  it('reads a partition no faster than half of what it gives', async () => {
    const { pipeline, seen } = await crowd(62_500)
    let slept = 0
    Object.assign(pipeline.clock, {
      async sleep(milliseconds: number) {
        slept += milliseconds
        pipeline.now += milliseconds
      },
    })
    await pipeline.trigger('compromise', { kind: 'identity', id: app })
    const began = pipeline.now
    while (await pipeline.step()) {}
    // In this test one shard is read after the other, and reading itself takes no time: all of it is waited for.
    const seconds = (pipeline.now - began) / 1000
    expect(slept).toBeGreaterThan(0)
    expect(seen.keys / 3 / seconds).toBeLessThan(1.6 * 1500)
  })
})

describe('the sweeper', () => {
  /** Due chunks of a case that nobody has looked at yet. */
  async function backlog(pipeline: Pipeline, name: string, type: 'offboarding' | 'compromise', chunks: number, dueAt: number) {
    const identity = `spiffe://example.org/${name}`
    await pipeline.lease(`key-${name}`, { identity })
    const { case: id } = await pipeline.trigger(type, { kind: 'identity', id: identity })
    await pipeline.settle()
    const by = { who: 'test', at: instant(pipeline.now) }
    await pipeline.table.putAll(
      Array.from({ length: chunks }, (_, place) => {
        const covers = { leases: [] }
        const chunk = { name: String(place).padStart(6, '0'), issuer: 'db', covers, because: 'scan' as const }
        return { ...newChunk(id, `identity#${name}#0`, undefined, chunk, instant(dueAt), by), said: 'the issuer was down', v: 1 }
      }),
    )
    return id
  }
  const bodies = (pipeline: Pipeline, id: string) =>
    pipeline.messages.filter(({ body }) => JSON.stringify(body).includes(id)).length

  it('sends five thousand chunks a minute at most, and what is urgent first', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const slow = await backlog(pipeline, 'slow', 'offboarding', 9000, pipeline.now - 60_000)
    const urgent = await backlog(pipeline, 'urgent', 'compromise', 50, pipeline.now - 1000)
    pipeline.messages.length = 0
    await pipeline.sweep()
    expect(pipeline.messages.length).toBeLessThanOrEqual(5000)
    expect(pipeline.messages.length).toBeGreaterThan(4500)
    pipeline.now += 60_000
    await pipeline.sweep()
    expect(bodies(pipeline, urgent)).toBeGreaterThanOrEqual(50)
    pipeline.now += 60_000
    await pipeline.sweep()
    expect(bodies(pipeline, slow)).toBeGreaterThanOrEqual(9000)
  })

  it('sends nothing to a full queue, and what is behind it in another lane all the same', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const slow = await backlog(pipeline, 'slow', 'offboarding', 150, pipeline.now - 60_000)
    const urgent = await backlog(pipeline, 'urgent', 'compromise', 20, pipeline.now - 1000)
    pipeline.messages.length = 0
    pipeline.now += 2000
    const full = `work-fake-${pipeline.case(slow).lane}`
    Object.assign(pipeline.queues, { depth: async (queue: string) => (queue === full ? MOST_IN_QUEUE : 0) })
    await pipeline.sweep()
    expect(bodies(pipeline, slow)).toBe(0)
    expect(bodies(pipeline, urgent)).toBe(20)
    Object.assign(pipeline.queues, { depth: async () => 0 })
    pipeline.now += 120_000
    await pipeline.sweep()
    expect(bodies(pipeline, slow)).toBe(150)
  })

  it('does not feed a backlog by looking at it, and still does not believe in it for ever', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const id = await backlog(pipeline, 'slow', 'offboarding', 10, pipeline.now - 60_000)
    // Nobody has taken them up yet.
    pipeline.table.load(
      pipeline.table
        .all()
        .map((item) => (item.kind === 'chunk' && item.said === 'the issuer was down' ? { ...item, said: undefined } : item)),
    )
    pipeline.messages.length = 0
    pipeline.now += 2000
    Object.assign(pipeline.queues, { depth: async () => 5000 })
    await pipeline.sweep()
    expect(bodies(pipeline, id)).toBe(0)
    for (let minute = 0; minute < 40; minute += 1) {
      pipeline.now += 60_000
      await pipeline.sweep()
    }
    expect(bodies(pipeline, id)).toBeGreaterThanOrEqual(10)
    expect(bodies(pipeline, id)).toBeLessThanOrEqual(30)
  })
})
