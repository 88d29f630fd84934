import { describe, expect, it } from 'vitest'
import { newShared, permits } from '../../../functions/revoke/permits.ts'
import type { Clock } from '../../../functions/runtime/ports.ts'
import { limiterOf } from '../../../functions/store/limits.ts'
import { MemoryTable } from '../../support/memory-table.ts'
import { testClock, testRandomness } from '../../support/tools.ts'

const by = { who: 'test', at: '2026-11-22T10:00:00.000Z' }

function process(table: MemoryTable, clock: Clock = testClock()) {
  const ports = { table, clock, random: testRandomness() }
  const shared = newShared()
  const visit = (name: string) =>
    permits(ports, { issuer: 'db', name, lane: 'p1', ceiling: 1000, atMost: 50, holdsFor: 60, waits: 1 } as const, by, shared)
  return { shared, visit }
}

describe('the visits of one process', () => {
  it('write the limiter one after the other: once to come, once to go, and none is refused', async () => {
    const table = new MemoryTable()
    const calls: string[] = []
    table.before = (operation) => void calls.push(operation)
    // Nobody waits so long that he would stop to wait for the others.
    const { visit } = process(table, { now: () => 0, sleep: () => new Promise<void>(() => {}) })
    const visits = Array.from({ length: 10 }, (_, n) => visit(`visit-${n}`))
    expect(await Promise.all(visits.map((one) => one.reserve(2)))).toEqual(visits.map(() => undefined))
    expect(Object.keys((await limiterOf(table, 'db'))?.calls ?? {})).toHaveLength(10)
    await Promise.all(visits.map((one) => one.end()))
    const limiter = await limiterOf(table, 'db')
    expect(limiter).toMatchObject({ v: 20, calls: {} })
    expect(calls.filter((operation) => operation === 'write')).toHaveLength(20)
    // One read by the first, and the two of this test.
    expect(calls.filter((operation) => operation === 'get')).toHaveLength(3)
  })

  it('believe what they know of it only until a write of another process', async () => {
    const table = new MemoryTable()
    const [one, other] = [process(table), process(table)]
    const first = one.visit('first')
    expect(await first.reserve(1)).toBeUndefined()
    const second = other.visit('second')
    expect(await second.reserve(1)).toBeUndefined()
    expect(await one.visit('third').reserve(1)).toBeUndefined()
    expect(Object.keys((await limiterOf(table, 'db'))?.calls ?? {})).toEqual(['first', 'second', 'third'])
  })

  it('do not wait for one whose write hangs', async () => {
    const table = new MemoryTable()
    const { visit } = process(table)
    expect(await visit('first').reserve(1)).toBeUndefined()
    let hangs = true
    table.before = () => (hangs ? new Promise<void>(() => {}) : undefined)
    void visit('hangs').reserve(1)
    await Promise.resolve()
    const waiting = visit('waits').reserve(1)
    hangs = false
    expect(await waiting).toBeUndefined()
  })
})
