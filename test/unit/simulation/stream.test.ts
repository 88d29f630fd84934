import { describe, expect, it } from 'vitest'
import type { Change } from '../../../functions/runtime/stream.ts'
import type { FaultProfile } from '../../simulation/faults.ts'
import { SeededFaults } from '../../simulation/faults.ts'
import { Scheduler } from '../../simulation/scheduler.ts'
import type { ConsumerOptions } from '../../simulation/stream.ts'
import { SimulatedStream } from '../../simulation/stream.ts'

const ALL = { until: Number.POSITIVE_INFINITY, steps: 100_000 }
const SEEDS = Array.from({ length: 30 }, (_, seed) => seed)

const change = (number: number): Change => ({
  sequence: String(number).padStart(21, '0'),
  before: undefined,
  after: { pk: `P#${number % 5}`, sk: 'A', v: Math.floor(number / 5), n: number },
})
const numberOf = ({ after }: Change) => Number(after?.['n'])

function installation(seed: number, kinds: FaultProfile['kinds'] = {}) {
  const faults = new SeededFaults(seed, { kinds })
  const scheduler = new Scheduler(seed, faults)
  const stream = new SimulatedStream({ scheduler, faults, seed })
  const push = (from: number, to: number) => {
    for (let number = from; number < to; number += 1) stream.push(change(number))
  }
  const consume = (name: string, handle: ConsumerOptions['handle'], options: Partial<ConsumerOptions> = {}) =>
    stream.consume(name, { batch: 7, retries: 10, handle, ...options })
  return { scheduler, stream, push, consume }
}

/** Of each partition the first sighting of its versions is in their order. */
function expectOrder(got: readonly number[]): void {
  for (let partition = 0; partition < 5; partition += 1) {
    const own = [...new Set(got.filter((number) => number % 5 === partition))]
    expect(own).toEqual([...own].sort((one, other) => one - other))
  }
}

describe('the stream', () => {
  it.each(SEEDS)('brings all changes to each consumer, those of a partition in their order (seed %i)', async (seed) => {
    const { scheduler, stream, push, consume } = installation(seed)
    const one: number[] = []
    const other: number[] = []
    consume('one', async (changes) => void one.push(...changes.map(numberOf)))
    consume('other', async (changes) => {
      await scheduler.step('store', 'slow')
      other.push(...changes.map(numberOf))
    })
    push(0, 40)
    scheduler.at(scheduler.now + 5000, () => push(40, 60))
    expect(await scheduler.run(ALL)).toBe('quiet')
    for (const got of [one, other]) {
      expect(got.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 60 }, (_, n) => n))
      expectOrder(got)
    }
    expect([stream.behind('one'), stream.behind('other'), stream.dead().length]).toEqual([0, 0, 0])
  })

  it.each(SEEDS)('goes on from the record that failed, and loses none to crashes (seed %i)', async (seed) => {
    const { scheduler, stream, push, consume } = installation(seed, {
      'crash-before': { probability: 0.3, budget: 5 },
      'crash-after': { probability: 0.3, budget: 5 },
      'stream-replay': { probability: 0.5, budget: 5 },
      'stream-delay': { probability: 0.3, budget: 3 },
    })
    const done: number[] = []
    let failures = 0
    consume('one', async (changes) => {
      for (const each of changes) {
        await scheduler.step('store', each.sequence)
        if (numberOf(each) % 11 === 3 && failures < 5) {
          failures += 1
          return { batchItemFailures: [{ itemIdentifier: each.sequence }] }
        }
        done.push(numberOf(each))
      }
      return { batchItemFailures: [] }
    })
    push(0, 30)
    expect(await scheduler.run(ALL)).toBe('quiet')
    expect(new Set(done)).toEqual(new Set(Array.from({ length: 30 }, (_, n) => n)))
    expectOrder(done)
    expect([stream.behind('one'), stream.dead().length]).toEqual([0, 0])
  })

  it('brings a batch that threw again, whole or in halves, and gives up what never succeeds alone', async () => {
    const { scheduler, stream, push, consume } = installation(4)
    const done: number[] = []
    consume(
      'one',
      async (changes) => {
        if (changes.some((each) => numberOf(each) === 12)) throw new Error('poisoned')
        done.push(...changes.map(numberOf))
      },
      { retries: 5 },
    )
    push(0, 30)
    await scheduler.run(ALL)
    expect(stream.dead('one').map(numberOf)).toEqual([12])
    expect(done.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 30 }, (_, n) => n).filter((n) => n !== 12))
    expect(stream.behind('one')).toBe(0)
  })

  it('leaves out what the filter does not let through, and waits for none of it', async () => {
    const { scheduler, stream, push, consume } = installation(2)
    const done: number[] = []
    consume('one', async (changes) => void done.push(...changes.map(numberOf)), { filter: (each) => numberOf(each) % 3 === 0 })
    push(0, 20)
    await scheduler.run(ALL)
    expect(done.toSorted((a, b) => a - b)).toEqual([0, 3, 6, 9, 12, 15, 18])
    expect(stream.behind('one')).toBe(0)
  })
})
