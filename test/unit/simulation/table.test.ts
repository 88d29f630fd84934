import { describe, expect, it } from 'vitest'
import { StoreBusy } from '../../../functions/store/table.ts'
import type { FaultProfile } from '../../simulation/faults.ts'
import { SeededFaults } from '../../simulation/faults.ts'
import { Scheduler } from '../../simulation/scheduler.ts'
import { SimulatedTable } from '../../simulation/table.ts'

const ALL = { until: Number.POSITIVE_INFINITY, steps: 100_000 }
const SEEDS = Array.from({ length: 60 }, (_, seed) => seed)
const KEY = { pk: 'P', sk: 'A' }

function installation(seed: number, kinds: FaultProfile['kinds'] = {}) {
  const faults = new SeededFaults(seed, { kinds })
  const scheduler = new Scheduler(seed, faults)
  return { scheduler, faults, table: new SimulatedTable({ scheduler, faults, seed }) }
}

describe('the simulated table', () => {
  it('raises conflicts between transactions that meet, and loses no count', async () => {
    let conflicts = 0
    for (const seed of SEEDS) {
      const { scheduler, table } = installation(seed)
      let busy = 0
      for (let task = 0; task < 6; task += 1)
        scheduler.spawn(`task ${task}`, async () => {
          for (let round = 0; round < 10; round += 1) {
            const update = { update: KEY, add: [['n', 1]] } as const
            try {
              await (round % 2 === 0
                ? table.write(update)
                : table.transact([update, { put: { pk: 'Q', sk: `${task} ${round}` } }]))
            } catch (error) {
              expect(error).toBeInstanceOf(StoreBusy)
              busy += 1
            }
          }
        })
      await scheduler.run(ALL)
      expect(table.peek(KEY)).toMatchObject({ n: 60 - busy, v: 60 - busy })
      conflicts += table.conflicts
    }
    expect(conflicts).toBeGreaterThan(40)
  })

  it('shows a transaction whole or not at all to whoever reads one item', async () => {
    for (const seed of SEEDS) {
      const { scheduler, table } = installation(seed)
      for (let task = 0; task < 3; task += 1)
        scheduler.spawn(`mover ${task}`, async () => {
          for (let round = 0; round < 5; round += 1)
            await table.transact([
              { update: { pk: 'P', sk: 'A' }, add: [['n', 1]] },
              { update: { pk: 'P', sk: 'B' }, add: [['n', 1]] },
            ])
        })
      scheduler.onStep = () => expect(table.peek({ pk: 'P', sk: 'A' })?.['n']).toBe(table.peek({ pk: 'P', sk: 'B' })?.['n'])
      await scheduler.run(ALL)
    }
  })

  it('goes on with a transaction whose caller died, or never began it', async () => {
    const seen = new Set<string>()
    for (const seed of SEEDS) {
      const { scheduler, table } = installation(seed, { 'crash-before': { probability: 0.5, budget: 1 } })
      scheduler.spawn('task', async () => {
        await table.transact([{ put: { pk: 'P', sk: 'A' } }, { put: { pk: 'P', sk: 'B' } }])
        await scheduler.step('clock', 'end')
      })
      await scheduler.run(ALL)
      expect([0, 2]).toContain(table.all().length)
      seen.add(`${table.all().length}`)
      // Nobody holds the keys any more.
      await expect(table.write({ put: { pk: 'P', sk: 'A' } })).resolves.toEqual({ ok: true })
    }
    expect(seen).toEqual(new Set(['0', '2']))
  })

  it('loses the answer of a write with its effect, and without', async () => {
    const seen = new Set<number>()
    for (const seed of SEEDS) {
      const { scheduler, table } = installation(seed, { 'answer-lost': { probability: 1, budget: 1 } })
      const task = scheduler.spawn('task', async () => void (await table.write({ put: KEY })))
      await scheduler.run(ALL)
      expect(task.state).toBe('failed')
      seen.add(table.all().length)
    }
    expect(seen).toEqual(new Set([0, 1]))
  })

  it('tells an index late, each item its changes in order, and in the end all of them', async () => {
    let stale = 0
    for (const seed of SEEDS) {
      const { scheduler, table } = installation(seed, { 'stale-index': { probability: 0.5, budget: 50 } })
      const index = () => table.index({ index: 'due', partition: 'D', limit: 100 })
      scheduler.spawn('task', async () => {
        for (let round = 0; round < 10; round += 1) {
          await table.write({
            put: { pk: 'P', sk: `${round % 3}`, round, ...(round < 8 ? { duePk: 'D', dueAt: `2026-${round}` } : {}) },
          })
          const { items } = await index()
          if (items.some((item) => item['v'] !== table.peek(item)?.['v'] || item['round'] !== table.peek(item)?.['round']))
            stale += 1
          expect(new Set(items.map(({ sk }) => sk)).size).toBe(items.length)
        }
      })
      await scheduler.run(ALL)
      const { items } = await index()
      expect(items).toEqual(table.all().filter((item) => item['duePk'] !== undefined))
    }
    expect(stale).toBeGreaterThan(50)
  })

  it('deletes what its time is over for late, tells the stream, and spares what got more time', async () => {
    for (const seed of SEEDS) {
      const { scheduler, table } = installation(seed, { 'ttl-late': { probability: 0.5, budget: 5 } })
      const end = Math.floor(scheduler.now / 1000) + 3600
      await table.write({ put: { pk: 'P', sk: 'A', ttl: end } })
      await table.write({ put: { pk: 'P', sk: 'B', ttl: end } })
      await table.write({ update: { pk: 'P', sk: 'B' }, remove: ['ttl'] })
      await scheduler.run({ until: end * 1000 - 1, steps: 100 })
      expect(table.all()).toHaveLength(2)
      await scheduler.run({ until: (end + 3 * 86_400) * 1000, steps: 100 })
      expect(table.all().map(({ sk }) => sk)).toEqual(['B'])
      expect(table.changes.at(-1)).toMatchObject({ before: { sk: 'A' }, after: undefined })
    }
  })

  it('reads many items at several moments, each of them as it stood at one', async () => {
    let torn = 0
    for (const seed of SEEDS) {
      const { scheduler, table } = installation(seed)
      const keys = ['A', 'B', 'C'].map((sk) => ({ pk: 'P', sk }))
      await table.putAll(keys.map((key) => ({ ...key, n: 0 })))
      scheduler.spawn('writer', async () => {
        for (let n = 1; n < 20; n += 1) await table.transact(keys.map((update) => ({ update, set: [['n', n]] })))
      })
      scheduler.spawn('reader', async () => {
        for (let round = 0; round < 20; round += 1) {
          const { items } = await table.query({ pk: 'P', limit: 10 })
          if (new Set(items.map((item) => item['n'])).size > 1) torn += 1
          expect(items).toHaveLength(3)
        }
      })
      await scheduler.run(ALL)
    }
    expect(torn).toBeGreaterThan(3)
  })

  it('is not changed by whoever changes what it read', async () => {
    const table = new SimulatedTable()
    const map = { a: 1 }
    await table.write({ put: { ...KEY, map } })
    map.a = 2
    expect(table.peek(KEY)).toMatchObject({ map: { a: 1 } })
  })
})
