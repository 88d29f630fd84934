import type { OutageSettings } from '../contracts/outage.ts'
import { DEFAULT_OUTAGE } from '../contracts/outage.ts'
import { after, later, secondsUntil } from './time.ts'

/** A time in which renewals could not come in, RFC 3339. */
export interface Span {
  readonly from: string
  readonly to: string
}

export interface OutageTerms {
  readonly gapSeconds: number
  readonly graceSeconds: number
  readonly spoolHours: number
}

export const outageTerms = (settings: OutageSettings | undefined): OutageTerms => ({
  gapSeconds: settings?.gapSeconds ?? DEFAULT_OUTAGE.gapSeconds,
  graceSeconds: settings?.graceSeconds ?? DEFAULT_OUTAGE.graceSeconds,
  spoolHours: settings?.spoolHours ?? DEFAULT_OUTAGE.spoolHours,
})

/** The last moment that an outage can move a deadline to. */
export const reachOf = ({ from, to }: Span, graceSeconds: number): string => after(to, secondsUntil(to, from) + graceSeconds)

/** Outages that overlap or touch are one: no time is given back twice. */
export function merged(outages: readonly Span[]): Span[] {
  const found: Span[] = []
  for (const { from, to } of [...outages].sort((one, other) => (one.from < other.from ? -1 : 1))) {
    const last = found.at(-1)
    if (last !== undefined && from <= last.to) found[found.length - 1] = { from: last.from, to: later(last.to, to) }
    else found.push({ from, to })
  }
  return found
}

/**
 * The moment before which a deadline is not enforced: the deadline itself, moved by each outage that it fell into, or
 * whose end it followed so closely that a client had no time to act. It moves by the time that was lost, and at least
 * to the end of the client's pause. Pure: who gives time back and who cuts compute the same, whatever was written in
 * between, so none is cut before it got its time, and none gets it twice.
 *
 * @param since when the deadline began to run (a registration): only what was lost after it is given back
 */
export function notBefore(deadline: string, outages: readonly Span[], graceSeconds: number, since?: string): string {
  let moved = deadline
  for (const { from, to } of merged(outages)) {
    if (moved < from || moved >= after(to, graceSeconds)) continue
    if (since !== undefined && since >= to) continue
    const lost = secondsUntil(to, since === undefined ? from : later(from, since))
    moved = later(after(moved, lost), after(to, graceSeconds))
  }
  return moved
}

/** The pause that is going on: the sweeper was last seen so long ago that nobody can have renewed since. */
export function openGap(lastSeen: string | undefined, gapSeconds: number, now: string): Span | undefined {
  if (lastSeen === undefined || secondsUntil(now, lastSeen) <= gapSeconds) return undefined
  return { from: lastSeen, to: now }
}

/** Whether a moment lies in an outage. */
export const isWithin = (moment: string, outages: readonly Span[]): boolean =>
  outages.some(({ from, to }) => moment >= from && moment <= to)
