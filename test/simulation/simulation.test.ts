import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { Outcome } from './protocol.ts'
import type { Schedule } from './schedule.ts'
import { scheduleOf } from './schedule.ts'
import { runSeeds, Workers } from './workers.ts'

/** How many seeds; `npm run simulate` runs as many as one likes. */
const SEEDS = Number(process.env['SIMULATION_SEEDS'] ?? 400)
const FROM = Number(process.env['SIMULATION_FROM'] ?? 1)
const PROCESSES = 2

async function withWorkers<Result>(processes: number, does: (workers: Workers) => Promise<Result>): Promise<Result> {
  const workers = new Workers(processes)
  try {
    return await does(workers)
  } finally {
    workers.close()
  }
}

describe('the whole pipeline on simulated services', () => {
  it('runs the same each time: one seed, one trace', async () => {
    const hashes = () =>
      withWorkers(1, async (workers) => (await workers.seeds(FROM, 12)).map(({ hash, steps }) => `${hash} ${steps}`))
    const first = await hashes()
    expect(await hashes()).toEqual(first)
    expect(new Set(first).size).toBe(first.length)
  })

  it('runs a schedule as its seed does, in whatever company', async () => {
    const [alone, among] = await withWorkers(1, async (workers) => {
      const all = await workers.seeds(FROM, 5)
      return [await workers.schedule(scheduleOf(FROM + 4)), all[4]]
    })
    expect(alone.hash).toBe(among?.hash)
  })

  it(`keeps every promise in ${SEEDS} random worlds`, async () => {
    const failures: string[] = []
    const met: Record<string, number> = {}
    await withWorkers(PROCESSES, (workers) =>
      runSeeds(workers, PROCESSES, FROM, SEEDS, 20, [], (outcome: Outcome) => {
        for (const [what, times] of Object.entries(outcome.coverage)) met[what] = (met[what] ?? 0) + times
        if (!outcome.ok) failures.push(`npm run simulate -- --seed ${outcome.seed}: ${outcome.violations.join('; ')}`)
        return failures.length >= 5
      }),
    )
    expect(failures).toEqual([])
    // Worlds in which nothing happens would keep every promise too.
    if (SEEDS >= 400) for (const what of MUST_BE_MET) expect(met[what] ?? 0, what).toBeGreaterThan(0)
  })
})

/** What some hundred seeds must have met. */
const MUST_BE_MET = [
  'outcome revoked',
  'outcome absent',
  'outcome released',
  'outcome unsupported',
  'outcome parked',
  'outcome observed',
  'lease late',
  'lease restoring',
  'lease resurrected',
  'case compromise closed',
  'case offboarding closed',
  'case decommission closed',
  'case task-complete closed',
  'case expired closed',
  'case offboarding held',
  'case offboarding cancelled',
  'chunk child',
  'chunk bystander',
  'message of p0 in p2',
  'amendment late',
  'amendment parked',
  'amendment located',
  'truth lied',
  'truth restored',
  'truth tidied',
  'truth contained',
  'fault crash-before',
  'fault crash-after',
  'fault planner-kill',
  'fault conflict',
  'fault throttle',
  'fault answer-lost',
  'fault duplicate',
  'fault visibility-timeout',
  'fault batch-failure',
  'fault stream-replay',
  'fault stale-index',
  'fault clock-jump',
  'operation reinstate ok',
  'operation restore ok',
  'operation kill-switch ok',
] as const

const REGRESSIONS = new URL('regressions/', import.meta.url)
interface Regression {
  /** What went wrong, and where it was mended. */
  readonly found: string
  readonly schedule: Schedule
  readonly disabled?: readonly number[]
}

describe('schedules in which a bug was found once', () => {
  const files = readdirSync(REGRESSIONS).filter((name) => name.endsWith('.json'))
  const known = files.map((name) => ({ name, ...(JSON.parse(readFileSync(new URL(name, REGRESSIONS), 'utf8')) as Regression) }))
  it.each(known)('$name: $found', async ({ schedule, disabled }) => {
    const outcome = await withWorkers(1, (workers) => workers.schedule(schedule, disabled ?? []))
    expect(outcome.violations).toEqual([])
  })
})
