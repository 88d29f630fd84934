import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { ROOT } from './hooks.ts'
import type { Mutant } from './mutants.ts'
import { MUTANTS, mutate } from './mutants.ts'
import type { Schedule } from './schedule.ts'
import { Workers } from './workers.ts'

/**
 * Shows that the simulation bites: each deliberate bug is really in the product that its worker loads, and is found by
 * what truly happened at the simulated issuers, by chance or by the schedule that is named. The numbers of seeds are those that are stated; MUTANT_SEARCH=1 looks
 * from the first seed on, as the statement has it, instead of beginning with the seed that found it last.
 */

const BATCH = 20
const searches = process.env['MUTANT_SEARCH'] === '1'

/** The first violation that somebody finds, and the seed. */
async function found(
  workers: Workers,
  { within = 0, seed, about, shownBy }: Mutant,
): Promise<{ seed: number; violation: string } | undefined> {
  if (shownBy !== undefined) {
    const file = new URL(`regressions/${shownBy}.json`, import.meta.url)
    const { schedule, disabled } = JSON.parse(readFileSync(file, 'utf8')) as { schedule: Schedule; disabled?: readonly number[] }
    const outcome = await workers.schedule(schedule, disabled ?? [])
    if (!outcome.ok) return { seed: schedule.seed, violation: outcome.violations[0] ?? '' }
  }
  if (seed !== undefined && !searches) {
    const [outcome] = await workers.seeds(seed, 1, about)
    if (outcome !== undefined && !outcome.ok) return { seed, violation: outcome.violations[0] ?? '' }
  }
  for (let from = 1; from <= within; from += BATCH)
    for (const outcome of await workers.seeds(from, Math.min(BATCH, within - from + 1), about))
      if (!outcome.ok) return { seed: outcome.seed, violation: outcome.violations[0] ?? '' }
  return undefined
}

describe('deliberate bugs', () => {
  it.each(MUTANTS.map(({ name, edits }) => ({ name, edits })))(
    '$name: each text that it changes stands there once',
    ({ edits }) => {
      for (const [file, own] of Map.groupBy(edits, (edit) => edit.file)) {
        const source = readFileSync(new URL(file, ROOT), 'utf8')
        expect(mutate(source, own)).not.toBe(source)
      }
    },
  )

  it('are spread over all promises that the simulation checks, and over the stages', () => {
    expect(MUTANTS.length).toBeGreaterThanOrEqual(18)
    expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length)
    expect([...new Set(MUTANTS.map(({ breaks }) => breaks))].sort()).toEqual([
      'G1',
      'G2',
      'G3',
      'G4',
      'G5',
      'G6',
      'G7',
      'G8',
      'G9',
    ])
    const places = new Set(MUTANTS.flatMap(({ edits }) => edits.map(({ file }) => file.split('/')[1])))
    for (const place of ['intake', 'register', 'plan', 'revoke', 'prove', 'domain', 'store']) expect(places).toContain(place)
  })

  it.concurrent.each(MUTANTS)('$name ($breaks) is found: $says', async (mutant) => {
    const workers = new Workers(1, mutant.name)
    try {
      const first = await found(workers, mutant)
      expect(
        first,
        `not found ${mutant.shownBy === undefined ? `within ${mutant.within} seeds` : `by ${mutant.shownBy}`}`,
      ).toBeDefined()
      expect(first?.violation).not.toContain('the run itself failed')
    } finally {
      workers.close()
    }
  })
})
