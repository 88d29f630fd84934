import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { CostRun } from '../../lib/bench/cost.ts'
import { linesOf, measureCost, perMillion } from '../../lib/bench/cost.ts'
import { scaleTexts } from '../../lib/bench/scale.ts'
import { makeWorld } from '../../lib/bench/world.ts'

const folder = mkdtempSync(join(tmpdir(), 'rescind-bench-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('the benchmarks', () => {
  it('cut real roles through the bundled functions and account for every call of the store', async () => {
    chmodSync(folder, 0o755)
    const world = await makeWorld(join(folder, 'world'))
    const leases = 60
    const run: CostRun = await measureCost(world, { leases, registrations: 10, folder: join(folder, 'cost'), progress: () => {} })
    const { bill, observations } = run.revocations
    expect(bill.unknown).toEqual({})
    // Each lease is written at least once, and nothing else wrote leases.
    expect(bill.writes['lease']?.writes).toBeGreaterThanOrEqual(leases)
    expect(bill.writes['lease']?.writes).toBeLessThanOrEqual(2 * leases)
    expect(observations['revoke-postgresql']?.calls['dynamodb:BatchGetItem']?.calls).toBeGreaterThan(0)
    expect(observations['prove']?.calls['s3:PUT']?.calls).toBeGreaterThan(0)
    expect(run.registrations.bill.writes['lease']?.writes).toBeGreaterThanOrEqual(10)
    for (const used of [run.revocations, run.registrations]) {
      expect(linesOf(used).every(({ quantity }) => Number.isFinite(quantity))).toBe(true)
      expect(perMillion(used)).toBeGreaterThan(0)
    }
    const part = { date: '', machine: expect.anything(), seed: 1, load: 0, seconds: 0, measured: run }
    expect(Object.keys(scaleTexts({ cost: part }) ?? {})).toContain('lanes')
  }, 300_000)
})
