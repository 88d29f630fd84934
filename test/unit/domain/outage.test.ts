import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Span } from '../../../functions/domain/outage.ts'
import { isWithin, merged, notBefore, openGap, outageTerms, reachOf } from '../../../functions/domain/outage.ts'
import { instant } from '../../../functions/domain/time.ts'

const at = (minutes: number) => instant(Date.parse('2026-11-22T00:00:00.000Z') + minutes * 60_000)
const span = (from: number, to: number): Span => ({ from: at(from), to: at(to) })
/** Five minutes for the client. */
const GRACE = 300

describe('the moment before which a deadline is not enforced', () => {
  it.each<[string, number, Span[], number]>([
    ['no outage: the deadline', 100, [], 100],
    ['before the outage: the deadline', 9, [span(10, 130)], 9],
    ['in the outage: all of its time again', 40, [span(10, 130)], 160],
    ['at its very beginning: its time, and the pause of a client', 10, [span(10, 130)], 135],
    ['right after it: its time again, for nobody could renew early', 132, [span(10, 130)], 252],
    ['when the pause is over: the deadline', 135, [span(10, 130)], 135],
    ['two outages, and the first puts it into the second', 40, [span(10, 60), span(80, 180)], 190],
    ['the same outage twice: once', 40, [span(10, 130), span(10, 130)], 160],
    ['overlapping ones: as one', 40, [span(10, 100), span(50, 130)], 160],
  ])('%s', (_, deadline, outages, expected) => {
    expect(notBefore(at(deadline), outages, GRACE)).toBe(at(expected))
  })

  it('gives back only what was lost since the registration, and at least the pause', () => {
    expect(notBefore(at(100), [span(10, 130)], GRACE, at(90))).toBe(at(140))
    expect(notBefore(at(20), [span(10, 130)], GRACE, at(19))).toBe(at(135))
    expect(notBefore(at(132), [span(10, 130)], GRACE, at(131))).toBe(at(132))
  })

  const minutes = fc.integer({ min: 0, max: 3000 })
  const outage = fc.tuple(minutes, fc.integer({ min: 1, max: 600 })).map(([from, length]) => span(from, from + length))
  const outages = fc.array(outage, { maxLength: 8 })
  const seconds = fc.integer({ min: 0, max: 3600 })

  it('keeps its promises whatever the outages are', () => {
    fc.assert(
      fc.property(minutes, outages, seconds, (deadline, all, grace) => {
        const moment = at(deadline)
        const until = notBefore(moment, all, grace)
        // Never earlier, and nothing is given twice: what has its time gets no more for the same outages.
        expect(until >= moment).toBe(true)
        expect(notBefore(until, all, grace)).toBe(until)
        // Order and repetition do not matter.
        expect(notBefore(moment, [...all, ...all].reverse(), grace)).toBe(until)
        for (const outage of merged(all)) {
          // Nothing that an outage hit ends within it, or within the pause of a client after it.
          if (moment >= outage.from && moment <= outage.to)
            expect(until >= instant(Date.parse(outage.to) + grace * 1000)).toBe(true)
          // All the time of the outage comes again.
          if (moment >= outage.from && moment <= outage.to)
            expect(Date.parse(until) - Date.parse(moment)).toBeGreaterThanOrEqual(Date.parse(outage.to) - Date.parse(outage.from))
        }
        if (until !== moment) expect(merged(all).some((outage) => until <= reachOf(outage, grace))).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })

  // Of one outage: of several, what the first gives back may just end in the second, or behind it.
  it('what began later is never given more than what began before', () => {
    fc.assert(
      fc.property(minutes, minutes, outage, seconds, (deadline, since, one, grace) => {
        const all = [one]
        const moment = at(deadline)
        expect(notBefore(moment, all, grace, at(since)) <= notBefore(moment, all, grace)).toBe(true)
        expect(notBefore(moment, all, grace, at(since)) >= moment).toBe(true)
      }),
    )
  })
})

describe('outages', () => {
  it('are seen as a pause that is longer than the gap', () => {
    expect(openGap(undefined, 300, at(100))).toBeUndefined()
    expect(openGap(at(95), 300, at(100))).toBeUndefined()
    expect(openGap(at(94), 300, at(100))).toEqual(span(94, 100))
  })
  it('hold the moments from their beginning to their end', () => {
    expect([9, 10, 50, 60, 61].map((minute) => isWithin(at(minute), [span(10, 60)]))).toEqual([false, true, true, true, false])
  })
  it('have documented defaults', () => {
    expect(outageTerms(undefined)).toEqual({ gapSeconds: 300, graceSeconds: 300, spoolHours: 24 })
    expect(outageTerms({ gapSeconds: 600 })).toEqual({ gapSeconds: 600, graceSeconds: 300, spoolHours: 24 })
  })
})
