import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { pacer } from '../../../functions/domain/pace.ts'

describe('a paced reader', () => {
  it('reads no more than its rate and one burst in any span, whatever its reads cost and however long they take', () => {
    const read = fc.record({ units: fc.integer({ min: 0, max: 400 }), milliseconds: fc.integer({ min: 0, max: 2000 }) })
    fc.assert(
      fc.property(fc.array(read, { minLength: 1, maxLength: 60 }), (reads) => {
        const pace = pacer(1500)
        let now = 1_000_000
        const done: { at: number; units: number }[] = []
        for (const { units, milliseconds } of reads) {
          now += milliseconds
          done.push({ at: now, units })
          now += pace.used(units, now)
        }
        for (const [from, first] of done.entries()) {
          let sum = 0
          for (const { at, units } of done.slice(from)) {
            sum += units
            // The read that went over was begun before it: one page of 1 MB more.
            expect(sum).toBeLessThanOrEqual(1500 * (1 + (at - first.at) / 1000) + 400)
          }
        }
      }),
      { numRuns: 200 },
    )
  })

  it('does not wait while it is below its rate', () => {
    const pace = pacer(1000)
    for (let second = 0; second < 10; second += 1) expect(pace.used(900, second * 1000)).toBe(0)
  })
})
