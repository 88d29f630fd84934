import fc from 'fast-check'
import { afterAll, expect, it } from 'vitest'
import { check, decided } from '../support/safety/check.ts'
import { Run, world } from '../support/safety/run.ts'

it('ends what was meant, spares and gives back what was meant, whatever operators do meanwhile', async () => {
  await fc.assert(
    fc.asyncProperty(world, async (plan) => {
      const run = new Run(plan)
      await run.run()
      await check(run)
    }),
    {
      seed: Number(process.env.SAFETY_SEED ?? 20261122),
      numRuns: Number(process.env.SAFETY_RUNS ?? 100),
      ...(process.env.SAFETY_PATH === undefined ? {} : { path: process.env.SAFETY_PATH }),
      // Shrinking runs for minutes: take the seed and the path that are printed, and let it run by hand.
      endOnFailure: process.env.SAFETY_SHRINK === undefined,
    },
  )
  if (process.env.SAFETY_PATH !== undefined) return
  const { dead, live, either } = decided
  expect(either).toBeLessThan((dead + live + either) / 3)
}, 3_600_000)

afterAll(() => {
  if (process.env.SAFETY_RUNS !== undefined) process.stdout.write(`oracle: ${JSON.stringify(decided)}\n`)
})
