import { describe, expect, it } from 'vitest'
import { faultProfile, SeededFaults } from '../../simulation/faults.ts'
import { Prng } from '../../simulation/prng.ts'
import { Scheduler, Stuck } from '../../simulation/scheduler.ts'

const SEEDS = Array.from({ length: 40 }, (_, seed) => seed)
const ALL = { until: Number.POSITIVE_INFINITY, steps: 100_000 }

/** Some tasks that write what they do into one list, in several steps, some at once. */
async function play(seed: number, faults?: SeededFaults) {
  const scheduler = new Scheduler(seed, faults)
  scheduler.recording = true
  const done: string[] = []
  for (let task = 0; task < 5; task += 1) {
    scheduler.spawn(`task ${task}`, async () => {
      for (let step = 0; step < 4; step += 1) {
        await scheduler.step('store', `${step}`)
        done.push(`${task}.${step}`)
      }
      await Promise.all(
        ['a', 'b'].map(async (name) => {
          await scheduler.step('queue', name)
          done.push(`${task}.${name}`)
        }),
      )
      await scheduler.sleep(1000)
      done.push(`${task}.end`)
    })
  }
  const how = await scheduler.run(ALL)
  return { scheduler, done, how }
}

describe('the scheduler', () => {
  it.each(SEEDS)('makes the same trace of seed %i twice', async (seed) => {
    const [one, other] = [await play(seed), await play(seed)]
    expect(one.how).toBe('quiet')
    expect(one.scheduler.trace).toEqual(other.scheduler.trace)
    expect(one.scheduler.hash()).toBe(other.scheduler.hash())
    expect(one.done).toEqual(other.done)
  })

  it('orders the steps of several tasks otherwise under other seeds, and those of one task never', async () => {
    const plays = await Promise.all(SEEDS.map((seed) => play(seed)))
    expect(new Set(plays.map(({ done }) => done.join())).size).toBeGreaterThan(30)
    expect(new Set(plays.map(({ scheduler }) => scheduler.hash())).size).toBe(SEEDS.length)
    expect(new Set(plays.map(({ scheduler }) => scheduler.policy)).size).toBeGreaterThan(5)
    for (const { done } of plays)
      for (let task = 0; task < 5; task += 1) {
        const own = done.filter((one) => one.startsWith(`${task}.`)).map((one) => one.split('.')[1])
        expect(own.slice(0, 4)).toEqual(['0', '1', '2', '3'])
        expect(own.slice(4, 6).sort()).toEqual(['a', 'b'])
        expect(own[6]).toBe('end')
      }
  })

  it('lets nobody else run between a step and the effect that follows it', async () => {
    for (const seed of SEEDS) {
      const scheduler = new Scheduler(seed)
      let count = 0
      for (let task = 0; task < 4; task += 1)
        scheduler.spawn(`task ${task}`, async () => {
          for (let round = 0; round < 10; round += 1) {
            await scheduler.step('store', 'add')
            const before = count
            // Any number of turns of the microtask queue belong to the step.
            for (let turn = 0; turn < 20; turn += 1) await undefined
            count = before + 1
          }
        })
      await scheduler.run(ALL)
      expect(count).toBe(40)
    }
  })

  it('knows the running task also where it does several things at once', async () => {
    const scheduler = new Scheduler(3)
    const seen: (string | undefined)[] = []
    for (const name of ['one', 'other'])
      scheduler.spawn(name, async () => {
        await Promise.all(
          [1, 2, 3].map(async () => {
            await scheduler.step('store', name)
            await undefined
            seen.push(`${name} ${scheduler.task?.name}`)
          }),
        )
      })
    await scheduler.run(ALL)
    expect(seen.sort()).toEqual([...Array(3).fill('one one'), ...Array(3).fill('other other')])
    expect(scheduler.task).toBeUndefined()
  })

  it('never resumes what was killed, with anything that it had under way', async () => {
    const scheduler = new Scheduler(1)
    const done: string[] = []
    const ends: string[] = []
    const victim = scheduler.spawn(
      'victim',
      async () => {
        await Promise.all([scheduler.step('store', 'a'), scheduler.step('store', 'b'), scheduler.sleep(10)])
        done.push('victim')
      },
      { onEnd: ({ state }) => ends.push(state) },
    )
    scheduler.spawn('killer', async () => {
      await scheduler.step('store', 'c')
      scheduler.kill(victim)
      scheduler.kill(victim)
      await scheduler.step('store', 'd')
      done.push('killer')
    })
    expect(await scheduler.run(ALL)).toBe('quiet')
    expect(done).toEqual(['killer'])
    expect(ends).toEqual(['killed'])
  })

  it('crashes before an effect and after it, and never splits what a service does for the dead', async () => {
    let before = 0
    let after = 0
    for (const seed of SEEDS) {
      for (const kind of ['crash-before', 'crash-after'] as const) {
        const faults = new SeededFaults(seed, { kinds: { [kind]: { probability: 1, budget: 1 } } })
        const scheduler = new Scheduler(seed, faults)
        const effects: string[] = []
        const task = scheduler.spawn('task', async () => {
          await scheduler.step('store', 'first')
          effects.push('first')
          await scheduler.step('store', 'second')
          effects.push('second')
        })
        await scheduler.run(ALL)
        expect(task.state).toBe('killed')
        expect(effects).toEqual(kind === 'crash-before' ? [] : ['first'])
        if (kind === 'crash-before') before += faults.injected.length
        else after += faults.injected.length
      }
    }
    expect([before, after]).toEqual([40, 40])
  })

  it('finishes what a dead task had asked of a service, once', async () => {
    const scheduler = new Scheduler(1)
    let finished = 0
    const victim = scheduler.spawn('victim', async () => {
      await scheduler.step('store', 'begin')
      const answered = scheduler.orphan(() => {
        finished += 1
      })
      await scheduler.step('store', 'commit')
      answered()
    })
    scheduler.at(scheduler.now + 1, () => scheduler.kill(victim))
    await scheduler.run({ until: Number.POSITIVE_INFINITY, steps: 2 })
    scheduler.kill(victim)
    scheduler.kill(victim)
    expect(finished).toBe(1)
  })

  it('kills what outlives its time', async () => {
    const scheduler = new Scheduler(1)
    const task = scheduler.spawn('slow', () => scheduler.sleep(60_000), { timeout: 25_000 })
    const started = scheduler.now
    await scheduler.run(ALL)
    expect(task.state).toBe('killed')
    // The sleeper's own timer is still there, and wakes nobody.
    expect(scheduler.now).toBeGreaterThanOrEqual(started + 25_000)
  })

  it('keeps the error of a task that fails', async () => {
    const scheduler = new Scheduler(1)
    const task = scheduler.spawn('task', async () => {
      await scheduler.step('store', 'a')
      throw new Error('broken')
    })
    await scheduler.run(ALL)
    expect(task).toMatchObject({ state: 'failed', error: new Error('broken') })
  })

  it('runs timers in the order of their times, then of their making, and stands where it was told to', async () => {
    const scheduler = new Scheduler(1)
    const start = scheduler.now
    const ran: number[] = []
    const prng = new Prng(9)
    const times = Array.from({ length: 200 }, () => prng.below(50))
    for (const [place, time] of times.entries()) scheduler.at(start + time, () => ran.push(time * 1000 + place))
    const cancelled = scheduler.at(start + 10, () => ran.push(-1))
    cancelled.cancel()
    expect(await scheduler.run({ until: start + 20, steps: 1000 })).toBe('until')
    expect(scheduler.now).toBe(start + 20)
    expect(ran.length).toBe(times.filter((time) => time <= 20).length)
    expect(await scheduler.run(ALL)).toBe('quiet')
    expect(ran).toEqual([...ran].sort((one, other) => one - other))
    expect(ran).toHaveLength(200)
  })

  it('says who waits for something that is no step', async () => {
    const scheduler = new Scheduler(1)
    scheduler.spawn('waits for ever', () => new Promise(() => {}))
    await expect(scheduler.run(ALL)).rejects.toThrow(Stuck)
  })

  it('ends after so many steps', async () => {
    const scheduler = new Scheduler(1)
    scheduler.spawn('busy', async () => {
      for (;;) await scheduler.step('store', 'again')
    })
    expect(await scheduler.run({ until: Number.POSITIVE_INFINITY, steps: 500 })).toBe('steps')
    expect(scheduler.steps).toBe(500)
  })
})

describe('faults', () => {
  it('are the same of a seed, whatever else is on', () => {
    const draw = (kinds: Record<string, { probability: number; budget: number }>) => {
      const faults = new SeededFaults(7, { kinds })
      return Array.from({ length: 300 }, (_, place) => {
        if (place % 3 === 0) faults.decide('throttle', 'x')
        return faults.decide('duplicate', String(place))
      })
    }
    const duplicate = { probability: 0.1, budget: 20 }
    expect(draw({ duplicate })).toEqual(draw({ duplicate, throttle: { probability: 0.5, budget: 50 } }))
    expect(draw({ duplicate }).filter(Boolean)).toHaveLength(20)
  })

  it('happen about as often as they should, at most as often as they may, and not when they are off', () => {
    let injected = 0
    for (const seed of SEEDS) {
      const faults = new SeededFaults(seed, {
        kinds: { throttle: { probability: 0.05, budget: 1000 }, conflict: { probability: 1, budget: 2 } },
      })
      for (let place = 0; place < 1000; place += 1) faults.decide('throttle', 'x')
      injected += faults.injected.length
      expect(Array.from({ length: 5 }, () => faults.decide('conflict', 'x'))).toEqual([true, true, false, false, false])
      expect(faults.decide('duplicate', 'x')).toBe(false)
      faults.off()
      for (let place = 0; place < 1000; place += 1) expect(faults.decide('throttle', 'x')).toBe(false)
    }
    expect(injected / SEEDS.length).toBeGreaterThan(40)
    expect(injected / SEEDS.length).toBeLessThan(60)
  })

  it('that are disabled do not happen, and the others keep their ordinals', () => {
    const profile = { kinds: { throttle: { probability: 0.3, budget: 10 } } }
    const play = (disabled: ReadonlySet<number>) => {
      const faults = new SeededFaults(3, profile, disabled)
      for (let place = 0; place < 100; place += 1) faults.decide('throttle', String(place))
      return faults.injected
    }
    const all = play(new Set())
    expect(all.map(({ ordinal }) => ordinal)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect(play(new Set([2, 5]))).toEqual(all.filter(({ ordinal }) => ordinal !== 2 && ordinal !== 5))
  })

  it('of the seeds are many, few and none', () => {
    const counts = Array.from({ length: 200 }, (_, seed) => Object.keys(faultProfile(new Prng(seed, 'profile')).kinds).length)
    expect(counts.filter((count) => count === 0).length).toBeGreaterThan(15)
    expect(counts.filter((count) => count > 12).length).toBeGreaterThan(10)
  })
})
