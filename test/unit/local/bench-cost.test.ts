import { describe, expect, it } from 'vitest'
import type { Used } from '../../../lib/bench/cost.ts'
import { linesOf, perMillion } from '../../../lib/bench/cost.ts'
import { boundsOf, secondsOf } from '../../../lib/bench/scale.ts'

/** A case of a thousand leases, each of one write unit and one of the index, and nothing else but a worker that computes. */
function used(change: Partial<Used> = {}): Used {
  return {
    of: 1000,
    bill: {
      reads: { Query: { requests: 10, items: 1000, units: 400 } },
      writes: { lease: { writes: 1000, units: 1000, transactional: 0, bytes: 900_000 } },
      indexes: { 'due: lease': 1000 },
      refused: { operations: 0, units: 0 },
      checks: { operations: 0, units: 0 },
      others: {},
      unknown: {},
    },
    observations: {
      'revoke-postgresql': {
        invocations: 10,
        records: 10,
        milliseconds: 0,
        calls: { 'sqs:SendMessageBatch': { calls: 1, bytes: 100 } },
        waits: { dynamodb: 100 },
      },
    },
    memory: { 'revoke-postgresql': 512 },
    shares: { 'revoke-postgresql': { revoke: 300, store: 100 }, adapter: { mappings: 100 }, node: { 'garbage collection': 50 } },
    cpuSeconds: 1,
    issuerSeconds: 0.5,
    logBytes: 0,
    requests: 1,
    segments: 0,
    archiveBytes: 0,
    ...change,
  }
}

const line = (of: Used, name: string) => linesOf(of).find((one) => one.name === name)?.quantity

describe('the cost of what was counted', () => {
  it('prices writes, index writes and reads by their units', () => {
    expect(line(used(), 'DynamoDB: lease items written alone')).toBe(1000)
    expect(line(used(), 'DynamoDB: index due: lease')).toBe(1000)
    expect(line(used(), 'DynamoDB: Query')).toBe(400)
    // A dollar's worth of each: 0.625 a million writes, twice, and 0.125 a million reads.
    expect(perMillion(used())).toBeGreaterThan(2 * 0.625 + 0.4 * 0.125)
  })

  it('counts a receipt and a deletion for each batch of a queue beside what was sent', () => {
    expect(line(used(), 'SQS: sent')).toBe(1)
    expect(line(used(), 'SQS: received and deleted')).toBe(20)
  })

  it('bills a function for computing at the share of a CPU that its memory buys', () => {
    // 400 of the 500 ms that are somebody's, of one second in all: 0.8 s at 512 of 1769 MB, half a gigabyte.
    expect(line(used(), 'Lambda: revoke-postgresql, computing')).toBeCloseTo(0.8 * (1769 / 512) * 0.5)
    // A hundred ways to the store at 6 ms, and the issuer's half second.
    expect(line(used(), 'Lambda: revoke-postgresql, waiting')).toBeCloseTo((0.6 + 0.5) * 0.5)
  })
})

describe('the planning model', () => {
  it('names the narrowest first, and what is not used holds nothing up', () => {
    const bounds = boundsOf(used())
    expect(bounds.map(({ perSecond }) => perSecond)).toEqual(
      bounds.map(({ perSecond }) => perSecond).toSorted((one, other) => one - other),
    )
    expect(bounds[0]?.name).toContain('expiries')
    expect(bounds[0]?.perSecond).toBe(4 * 1000)
    const without = boundsOf(used({ bill: { ...used().bill, indexes: {} } }))
    expect(without.some(({ name }) => name.includes('expiries'))).toBe(false)
  })

  it('lets workers come up no faster than Lambda does, and no further than their ceiling', () => {
    const fast = secondsOf(used(), {}, 'p0', 1_000_000, Number.POSITIVE_INFINITY)
    const held = secondsOf(used(), { p2: 2 }, 'p2', 1_000_000, Number.POSITIVE_INFINITY)
    expect(held).toBeGreaterThan(fast)
    // Whatever the workers could, a bound of a thousand a second takes a thousand seconds.
    expect(secondsOf(used(), {}, 'p0', 1_000_000, 1000)).toBeGreaterThanOrEqual(1000)
    expect(secondsOf(used(), {}, 'p0', 1_000_000, 1000)).toBeLessThan(1100)
  })
})
