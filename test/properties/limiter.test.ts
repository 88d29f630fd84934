import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Lane } from '../../functions/contracts/primitives.ts'
import type { Held, Pace } from '../../functions/domain/limiter.ts'
import { costOf, newPace, savedAt, takeCalls, throttledAt, visitsOf, workersOf } from '../../functions/domain/limiter.ts'

const START = Date.parse('2026-11-22T10:00:00.000Z')
/** The bound that the clocks of workers keep, in milliseconds. */
const SKEW = 2000
const MANY = 1000

interface Granted {
  readonly at: number
  readonly lane: Lane
  readonly cost: number
}

/** A limiter that many workers share, each with a clock of its own. */
class Shared {
  pace: Pace
  readonly granted: Granted[] = []
  private visits = 0
  private readonly ceiling: number
  constructor(ceiling: number, now = START) {
    this.ceiling = ceiling
    this.pace = newPace(ceiling, now)
  }

  /** One call that is over at once; `undefined` where it may not be made. */
  call(lane: Lane, cost: number, now: number, clock = now, atMost = MANY): { cuts: number } | undefined {
    const held = this.begin(lane, cost, now, clock, atMost)
    if (held === undefined) return undefined
    this.end(held, 0)
    return { cuts: this.pace.cuts }
  }

  begin(lane: Lane, cost: number, now: number, clock = now, atMost = MANY): Held | undefined {
    this.visits += 1
    const ask = { lane, cost, call: `visit-${this.visits}`, atMost, holdsFor: 60 }
    const taken = takeCalls(this.pace, ask, this.ceiling, clock)
    if (taken.kind === 'wait') return undefined
    this.pace = taken.pace
    this.granted.push({ at: now, lane, cost })
    return taken.held
  }

  /** As `store/limits.ts` ends a visit. @param unspent the part of the tokens that was not used */
  end(held: Held, unspent: number): void {
    const { [held.call]: _over, ...calls } = this.pace.calls
    this.pace = {
      ...this.pace,
      urgent: this.pace.urgent + held.urgent * unspent,
      common: this.pace.common + held.common * unspent,
      calls,
    }
  }

  throttled(cuts: number, hint: number | undefined, now: number): void {
    this.pace = throttledAt(this.pace, cuts, hint, this.ceiling, now)
  }
}

/** The most that was granted above `rate` tokens a second in any window: what a bucket of that size would have had to hold. */
function excess(granted: readonly Granted[], rate: number): number {
  let most = 0
  let level = 0
  let last = granted[0]?.at ?? 0
  for (const { at, cost } of granted) {
    level = Math.max(0, level - (rate * (at - last)) / 1000)
    level += cost
    last = at
    most = Math.max(most, level)
  }
  return most
}

const lane = fc.constantFrom<Lane>('p0', 'p1', 'p2')
const asks = (cost: fc.Arbitrary<number>) =>
  fc.array(fc.record({ pause: fc.integer({ min: 0, max: 400 }), lane, cost, worker: fc.nat(7) }), {
    minLength: 1,
    maxLength: 300,
  })

describe('the limiter', () => {
  it('never lets more through than its ceiling, over any window and in whatever order many workers ask', () => {
    void fc.assert(
      fc.property(fc.double({ min: 0.2, max: 200, noNaN: true }), asks(fc.integer({ min: 1, max: 3 })), (ceiling, all) => {
        const shared = new Shared(ceiling)
        let now = START
        for (const { pause, lane: of, cost } of all) {
          now += pause
          shared.call(of, cost, now)
        }
        // Each part may be overdrawn once, by one call.
        expect(excess(shared.granted, ceiling)).toBeLessThanOrEqual(savedAt(ceiling) + 2 * 3 + 1e-3)
      }),
      { numRuns: 300 },
    )
  })

  it('pays afterwards for a batch that costs more than can be saved up', () => {
    void fc.assert(
      fc.property(fc.double({ min: 1, max: 50, noNaN: true }), asks(fc.integer({ min: 1, max: 120 })), (ceiling, all) => {
        const shared = new Shared(ceiling)
        let now = START
        for (const { pause, lane: of, cost } of all) {
          now += pause * 20
          shared.call(of, cost, now)
        }
        expect(excess(shared.granted, ceiling)).toBeLessThanOrEqual(savedAt(ceiling) + 2 * 120 + 1e-3)
      }),
    )
  })

  it('is not outwitted by clocks that differ within the bound', () => {
    void fc.assert(
      fc.property(
        fc.double({ min: 0.5, max: 100, noNaN: true }),
        asks(fc.constant(1)),
        fc.array(fc.integer({ min: -SKEW / 2, max: SKEW / 2 }), { minLength: 8, maxLength: 8 }),
        (ceiling, all, offsets) => {
          const shared = new Shared(ceiling)
          let now = START
          for (const { pause, lane: of, worker } of all) {
            now += pause
            shared.call(of, 1, now, now + (offsets[worker] ?? 0))
          }
          const ahead = (ceiling * SKEW) / 1000
          expect(excess(shared.granted, ceiling)).toBeLessThanOrEqual(savedAt(ceiling) + 2 + ahead + 1e-3)
        },
      ),
      { numRuns: 300 },
    )
  })

  it('does not fill a bucket anew where a clock goes back', () => {
    void fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: SKEW - 1 }), { minLength: 2, maxLength: 200 }), (backs) => {
        const shared = new Shared(1)
        for (const back of backs) shared.call('p1', 1, START, START - back)
        expect(shared.granted.length).toBe(1)
      }),
    )
  })

  it('stands still for nobody after a clock was far ahead, and gives a bucket more each half minute where it stays so', () => {
    const shared = new Shared(2)
    const hour = 3_600_000
    expect(shared.call('p1', 1, START, START + hour)).toBeDefined()
    let served = 0
    for (let second = 1; second <= 60; second += 1) if (shared.call('p1', 1, START + second * 1000)) served += 1
    expect(served).toBeGreaterThan(55)

    // Two machines an hour apart, one after the other: a bucket more each half minute, and no more.
    const two = new Shared(2)
    const seconds = 300
    for (let tenth = 0; tenth < seconds * 10; tenth += 1) {
      const now = START + tenth * 100
      two.call('p1', 1, now, now + hour)
      two.call('p1', 1, now, now)
    }
    const buckets = 1 + seconds / 30
    expect(two.granted.length).toBeLessThanOrEqual(seconds * 2 + buckets * savedAt(2) + 2)
    expect(two.granted.length).toBeGreaterThan(seconds)
  })

  it('believes no clock that is far ahead about pauses and places', () => {
    const shared = new Shared(10)
    const hour = 3_600_000
    expect(shared.begin('p1', 1, START, START, 1)).toBeDefined()
    expect(shared.begin('p1', 1, START + 100, START + 100, 1)).toBeUndefined()
    shared.throttled(0, 60, START + hour)
    shared.pace = {
      ...shared.pace,
      at: START,
      calls: { mad: { lane: 'p1', since: START + hour, until: START + hour + 60_000 } },
    }
    expect(shared.call('p1', 1, START + 10_000, START + 10_000, 1)).toBeDefined()
  })

  it('always has its share for P0, whatever the others take', () => {
    void fc.assert(
      fc.property(
        fc.double({ min: 0.2, max: 100, noNaN: true }),
        fc.array(
          fc.record({
            pause: fc.integer({ min: 0, max: 500 }),
            others: fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 5 }),
          }),
          { minLength: 1, maxLength: 200 },
        ),
        (ceiling, steps) => {
          const shared = new Shared(ceiling)
          let now = START
          let urgentAt = Number.NEGATIVE_INFINITY
          for (const { pause, others } of steps) {
            now += pause
            for (const cost of others) shared.call('p1', cost, now)
            // As often as nine tenths of the rate allow.
            if (now - urgentAt < 1000 / (ceiling * 0.9) + 1) continue
            urgentAt = now
            expect(shared.call('p0', 1, now), `at ${now - START} ms`).toBeDefined()
          }
        },
      ),
      { numRuns: 300 },
    )
  })

  it('leaves the others a tenth, whatever P0 takes', () => {
    for (const ceiling of [1, 10, 100]) {
      const shared = new Shared(ceiling)
      for (let ms = 0; ms < 300_000; ms += 20) {
        shared.call('p1', 1, START + ms)
        shared.call('p0', 1, START + ms)
        shared.call('p0', 1, START + ms)
      }
      const of = (which: Lane) => shared.granted.filter((one) => one.lane === which).length
      expect(of('p1')).toBeGreaterThan(300 * ceiling * 0.05)
      expect(of('p0') + of('p1')).toBeGreaterThan(300 * ceiling * 0.95)
    }
  })

  it('lets everybody through when nobody has called for long, whatever has been', () => {
    const step = fc.record({
      pause: fc.integer({ min: 0, max: 5000 }),
      lane,
      cost: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 120 })),
      throttles: fc.boolean(),
    })
    void fc.assert(
      fc.property(
        fc.double({ min: 0.1, max: 100_000, noNaN: true }),
        fc.array(step, { maxLength: 80 }),
        lane,
        fc.integer({ min: 1, max: 120 }),
        (ceiling, steps, last, cost) => {
          const shared = new Shared(ceiling)
          let now = START
          for (const { pause, lane: of, cost: takes, throttles } of steps) {
            now += pause
            shared.call(of, takes, now)
            if (throttles) shared.throttled(shared.pace.cuts, undefined, now)
          }
          now += 10_000_000
          expect(shared.call(last, cost, now), JSON.stringify(shared.pace)).toBeDefined()
        },
      ),
      { numRuns: 1000 },
    )
  })

  it('gives back what a visit did not use, once', () => {
    const shared = new Shared(1)
    const held = shared.begin('p1', 40, START)
    if (held === undefined) throw new Error('nothing was taken')
    expect(shared.call('p1', 1, START + 1000)).toBeUndefined()
    shared.end(held, 1)
    expect(shared.call('p1', 1, START + 1001)).toBeDefined()
    expect(shared.call('p1', 1, START + 1002)).toBeUndefined()
  })

  it('puts back what a visit holds before it takes anew, and keeps one place for it', () => {
    let pace = newPace(10, START)
    let has: Held | undefined
    for (let page = 0; page < 20; page += 1) {
      const ask = { lane: 'p2' as const, cost: 5, call: 'one', atMost: 1, holdsFor: 60, ...(has && { has }) }
      const taken = takeCalls(pace, ask, 10, START)
      if (taken.kind === 'wait') throw new Error(`page ${page} waits`)
      pace = taken.pace
      has = taken.held
    }
    expect(Object.keys(pace.calls)).toEqual(['one'])
  })
})

/** An issuer that takes so many calls a second, and throttles the rest. */
class Issuer {
  refused = 0
  served = 0
  private tokens: number
  private at = START
  rate: number
  constructor(rate: number) {
    this.rate = rate
    this.tokens = Math.max(1, rate)
  }
  takes(now: number): boolean {
    this.tokens = Math.min(Math.max(1, this.rate), this.tokens + (this.rate * (now - this.at)) / 1000)
    this.at = now
    if (this.tokens < 1) {
      this.refused += 1
      return false
    }
    this.tokens -= 1
    this.served += 1
    return true
  }
}

/** Workers that always have something to do; the answer to a call comes after `latency`. */
function flood(shared: Shared, issuer: Issuer, from: number, seconds: number, hint: number | undefined, latency = 60): void {
  const answers: { at: number; cuts: number }[] = []
  for (let ms = 0; ms < seconds * 1000; ms += 20) {
    const now = from + ms
    while ((answers[0]?.at ?? now + 1) <= now) {
      const answer = answers.shift()
      if (answer !== undefined) shared.throttled(answer.cuts, hint, now)
    }
    for (let worker = 0; worker < 6; worker += 1) {
      const made = shared.call(worker === 0 ? 'p0' : 'p1', 1, now)
      if (made !== undefined && !issuer.takes(now)) answers.push({ at: now + latency, cuts: made.cuts })
    }
  }
}

describe('the rate', () => {
  it.each([
    [1, 100],
    [3, 1000],
    [10, 100],
    [50, 100],
    [90, 100],
  ])('of an issuer that takes %i calls a second is found within a factor of two, from a ceiling of %i', (rate, ceiling) => {
    const shared = new Shared(ceiling)
    const issuer = new Issuer(rate)
    flood(shared, issuer, START, 60, undefined)
    const [served, refused] = [issuer.served, issuer.refused]
    flood(shared, issuer, START + 60_000, 300, undefined)
    expect((issuer.served - served) / 300).toBeGreaterThan(rate / 2)
    // Found by its throttling: some answers must say so, but few.
    expect((issuer.refused - refused) / (issuer.served - served)).toBeLessThan(0.25)
  })

  it('is found from a property of any rate below any ceiling', () => {
    void fc.assert(
      fc.property(
        fc.double({ min: 1, max: 80, noNaN: true }),
        fc.double({ min: 1, max: 10, noNaN: true }),
        fc.constantFrom(undefined, 1, 3),
        (rate, above, hint) => {
          const shared = new Shared(rate * above)
          const issuer = new Issuer(rate)
          flood(shared, issuer, START, 90, hint)
          const served = issuer.served
          flood(shared, issuer, START + 90_000, 240, hint)
          // Below two a second the pauses that the issuer asks for weigh most.
          expect((issuer.served - served) / 240).toBeGreaterThan(rate / (rate < 2 ? 3 : 2))
        },
      ),
      { numRuns: 8 },
    )
  })

  it('recovers within two minutes when the issuer takes more again', () => {
    const shared = new Shared(100)
    const issuer = new Issuer(2)
    flood(shared, issuer, START, 120, 2)
    expect(shared.pace.rate).toBeLessThan(8)
    issuer.rate = 1000
    flood(shared, issuer, START + 120_000, 120, 2)
    expect(shared.pace.rate).toBeGreaterThan(90)
  })

  it('never goes above the ceiling, nor below its floor, and follows a ceiling that is lowered', () => {
    let pace = newPace(50, START)
    for (let second = 0; second < 600; second += 1) {
      const now = START + second * 1000
      const taken = takeCalls(pace, { lane: 'p1', cost: 500, call: 'a', atMost: 9, holdsFor: 9 }, 50, now)
      if (taken.kind === 'granted') pace = taken.pace
      expect(pace.rate).toBeLessThanOrEqual(50)
    }
    for (let time = 0; time < 60; time += 1) pace = throttledAt(pace, pace.cuts, undefined, 50, START + 700_000)
    expect(pace.rate).toBe(0.2)
    expect(throttledAt(newPace(50, START), 99, undefined, 5, START).rate).toBe(5)
    expect(takeCalls(newPace(0.1, START), { lane: 'p2', cost: 1, call: 'a', atMost: 1, holdsFor: 9 }, 0.1, START).kind).toBe(
      'granted',
    )
  })

  it('is cut once for all calls that were begun before the cut', () => {
    let pace = newPace(100, START)
    for (let call = 0; call < 50; call += 1) pace = throttledAt(pace, 0, undefined, 100, START + call)
    expect(pace).toMatchObject({ rate: 50, cuts: 1, known: 100 })
    pace = throttledAt(pace, 1, undefined, 100, START + 100)
    expect(pace).toMatchObject({ rate: 25, cuts: 2 })
  })

  it('keeps everybody away as long as the issuer asked, and P0 for some seconds of it', () => {
    const pace = throttledAt(newPace(10, START), 0, 60, 10, START)
    const ask = (lane: Lane, second: number) =>
      takeCalls(pace, { lane, cost: 1, call: 'a', atMost: 9, holdsFor: 9 }, 10, START + second * 1000)
    expect(ask('p1', 59)).toMatchObject({ kind: 'wait', why: 'pause', seconds: 1 })
    expect(ask('p1', 61).kind).toBe('granted')
    expect(ask('p0', 4)).toMatchObject({ kind: 'wait', why: 'pause', seconds: 1 })
    expect(ask('p0', 5).kind).toBe('granted')
    // A second answer makes it longer, never shorter.
    const longer = throttledAt(pace, 0, 1, 10, START + 1000)
    expect(longer.pause).toEqual(pace.pause)
  })
})

describe('places', () => {
  it('are never more than a lane may have, and are free again when a visit ends or its time is over', () => {
    void fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.record({ lane, pause: fc.integer({ min: 0, max: 20_000 }), ends: fc.boolean() }), { maxLength: 100 }),
        (atMost, steps) => {
          const shared = new Shared(1000)
          const open = new Map<string, { lane: Lane; until: number }>()
          let now = START
          for (const step of steps) {
            now += step.pause
            for (const [name, { until }] of open) if (until <= now) open.delete(name)
            const held = shared.begin(step.lane, 1, now, now, atMost)
            const before = [...open.values()].filter((one) => one.lane === step.lane).length
            expect(held !== undefined).toBe(before < atMost)
            if (held === undefined) continue
            if (step.ends) shared.end(held, 0)
            else open.set(held.call, { lane: step.lane, until: now + 60_000 })
          }
        },
      ),
    )
  })

  it('are fewer than the workers of a lane, so that an issuer that hangs never has them all', () => {
    void fc.assert(
      fc.property(fc.integer({ min: 2, max: 1000 }), (most) => {
        const workers = workersOf(most)
        expect(visitsOf(most, 'p1')).toBe(workers.p1 - 1)
        expect(visitsOf(most, 'p2')).toBe(workers.p2 - 1)
        expect(Math.min(workers.p1, workers.p2)).toBeGreaterThanOrEqual(3)
        expect(visitsOf(most, 'p0')).toBeGreaterThan(1)
      }),
    )
  })

  it('are waited for on the spot only while they turn over', () => {
    const shared = new Shared(1000)
    shared.begin('p1', 1, START, START, 1)
    const ask = { lane: 'p1' as const, cost: 1, call: 'b', atMost: 1, holdsFor: 60 }
    expect(takeCalls(shared.pace, ask, 1000, START + 500)).toMatchObject({ why: 'places', soon: true })
    expect(takeCalls(shared.pace, ask, 1000, START + 5000)).toMatchObject({ why: 'places', soon: false })
  })
})

it('a batch costs what its provider says, and one call at least', () => {
  expect(costOf(0, 100)).toBe(1)
  expect(costOf(3, 20)).toBe(60)
  expect(costOf(0.25, 2)).toBe(1)
})
