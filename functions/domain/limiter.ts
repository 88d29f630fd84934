import type { Lane } from '../contracts/primitives.ts'
import { instant } from './time.ts'

/**
 * How fast an issuer may be called, and by how many workers at once: a token bucket in two parts that all workers share,
 * whose rate follows the issuer's throttling answers. Pure: `store/limits.ts` writes what comes out, on the condition
 * that nobody wrote in between.
 *
 * One token is one call to the issuer. What counts as one is its provider's to say (`limits.callsPerLease`).
 */
export interface Pace {
  /** Calls a second that are tried now; between a floor and the ceiling. */
  readonly rate: number
  /** The rate at which the issuer throttled us last: near it we grow slowly. */
  readonly known?: number
  /** Tokens of P0. Below 0: a call took more than there was, and is being paid for. */
  readonly urgent: number
  /** Tokens of the other lanes; what they leave when it is full is P0's. */
  readonly common: number
  /** Up to when tokens were handed out, in milliseconds since 1970. Never goes back by itself. */
  readonly at: number
  /** How often the rate was cut: a throttling answer to a call that was begun before the last cut cuts no second time. */
  readonly cuts: number
  /** Nobody is let through; P0 heeds only the first seconds of it. */
  readonly pause?: { readonly from: number; readonly until: number }
  /** When a worker last found that somebody's clock had run far ahead, and put `at` back. */
  readonly backAt?: number
  /** Visits that are under way, by a name of their own: each holds one of the lane's places until it ends or its time is over. */
  readonly calls: Readonly<Record<string, Visit>>
}

export interface Visit {
  readonly lane: Lane
  /** When it last got on, in milliseconds since 1970. */
  readonly since: number
  /** A worker that crashed frees its place then. */
  readonly until: number
}

/** What a visit holds: its place, and tokens that it has not spent yet. */
export interface Held {
  readonly call: string
  readonly urgent: number
  readonly common: number
}

export interface Ask {
  readonly lane: Lane
  /** Tokens. More than the bucket holds is granted when it is full, and paid for afterwards. */
  readonly cost: number
  /** Name of the visit. */
  readonly call: string
  /** Most visits of this lane at once. */
  readonly atMost: number
  /** Seconds after which the visit's place is free again, whatever became of it. */
  readonly holdsFor: number
  /** What the visit holds already, with what it has not spent: it is put back first. */
  readonly has?: Held
}

export type Taken =
  | { readonly kind: 'granted'; readonly pace: Pace; readonly held: Held }
  | {
      readonly kind: 'wait'
      readonly why: 'places' | 'pause' | 'rate'
      /** Not before, as far as is known. */
      readonly seconds: number
      /** It is worth waiting on the spot: places turn over, or the tokens are about to come. */
      readonly soon: boolean
    }

/** Ceiling of an issuer whose provider states none, in calls a second. */
export const DEFAULT_CALLS_PER_SECOND = 1000
/** The slowest that we become, in calls a second: one in five seconds still notices that an issuer has recovered. */
const SLOWEST = 0.2
/** Seconds of the rate that are saved up, one half for P0. */
const SAVED_SECONDS = 1
/** P0's part is filled first, with so much of the rate, until it is full: a flood of P0 leaves the others a tenth. */
const URGENT_FIRST = 0.9
/** A rate grows by a tenth a second while its tokens are used up, by a hundredth near the rate that was throttled last. */
const GROWTH = 0.1
const GROWTH_NEAR = 0.01
const NEAR = { from: 0.85, to: 1.15 }
/** Growth of one step covers at most so many seconds: more was not tried out. */
const GROWS_SECONDS = 5
/** What is left of the rate when the issuer throttles. */
const CUT = 0.5
/** Pause after a throttling answer without a hint, the longest that a hint is heeded, and the longest for P0; in seconds. */
const PAUSE_SECONDS = 1
const LONGEST_PAUSE_SECONDS = 300
/** The issuer's hint was for the load of all: a compromise asks again earlier, with the few calls of its share. */
const URGENT_PAUSE_SECONDS = 5
/** Clocks of workers differ by less. One that is further ahead is not believed. */
const SKEW = 2000
/** What a clock far ahead wrote is put back at most so often, in milliseconds: between two clocks it would be free tokens each time. */
const BACK = 30_000
/** A visit that did not get on for so long hangs: nobody waits on the spot for its place. In milliseconds. */
const HANGS = 3000
/** Longest life of a visit: that of a function. In milliseconds. */
const LONGEST_VISIT = 900_000
/** A place that turns over is asked for again so soon, in seconds. */
const PLACE_SECONDS = 0.1
/** Tokens and rates are kept to a millionth, rounded down. */
const PARTS = 1e6

/** The least bit of slack makes it the same for what was kept before: binary fractions are never quite what they say. */
const kept = (amount: number): number => Math.floor(amount * PARTS + 0.001) / PARTS
const within = (rate: number, ceiling: number): number => Math.min(ceiling, Math.max(Math.min(SLOWEST, ceiling), rate))
/** What each part of the bucket holds at most. */
const roomOf = (rate: number): number => kept(Math.max(1, (rate * SAVED_SECONDS) / 2))

/** Most tokens that can be saved up at a ceiling. */
export const savedAt = (ceiling: number): number => 2 * roomOf(ceiling)

/** An issuer that was never called: at its ceiling, with a full bucket. */
export const newPace = (ceiling: number, now: number): Pace => ({
  rate: ceiling,
  urgent: roomOf(ceiling),
  common: roomOf(ceiling),
  at: now,
  cuts: 0,
  calls: {},
})

/** Tokens that came since, and the rate that follows from their having been used up or not. */
function flowed(pace: Pace, ceiling: number, now: number): Pace {
  const rate = within(pace.rate, ceiling)
  if (pace.at - now > SKEW) {
    // Somebody's clock was far ahead. Nothing comes until it is put back, with a full bucket, and that only now and then.
    const mayPutBack = pace.backAt === undefined || Math.abs(now - pace.backAt) >= BACK
    return mayPutBack ? { ...pace, rate, urgent: roomOf(rate), common: roomOf(rate), at: now, backAt: now } : { ...pace, rate }
  }
  const seconds = Math.max(0, now - pace.at) / 1000
  const room = roomOf(rate)
  const come = rate * seconds
  const toUrgent = Math.max(0, Math.min(come * URGENT_FIRST, room - pace.urgent))
  const common = Math.min(room, pace.common + come - toUrgent)
  const spilt = Math.max(0, pace.common + come - toUrgent - room)
  return {
    ...pace,
    rate: kept(within(rate * (1 + growthOf(pace, rate, room, seconds)), ceiling)),
    urgent: kept(Math.min(room, pace.urgent + toUrgent + spilt)),
    common: kept(common),
    at: Math.max(pace.at, now),
  }
}

/** Only a rate whose tokens were used up, and were waited for, has shown that the issuer takes it. */
function growthOf(pace: Pace, rate: number, room: number, seconds: number): number {
  const least = Math.min(pace.urgent, pace.common)
  const usedUp = least < room / 2
  const waitedFor = seconds <= 1 + (2 * (room - least)) / rate
  if (!usedUp || !waitedFor) return 0
  const near = pace.known !== undefined && rate >= pace.known * NEAR.from && rate < pace.known * NEAR.to
  return (near ? GROWTH_NEAR : GROWTH) * Math.min(seconds, GROWS_SECONDS)
}

/** Visits whose time is not over; what a clock far ahead wrote is not believed. */
const underWay = (calls: Pace['calls'], now: number): Pace['calls'] =>
  Object.fromEntries(Object.entries(calls).filter(([, { until }]) => until > now && until <= now + LONGEST_VISIT + SKEW))

/** Seconds that a lane still has to wait for the end of a pause. */
function pausedFor({ pause }: Pace, lane: Lane, now: number): number {
  if (pause === undefined || pause.until <= now) return 0
  if (pause.from > now + SKEW || pause.until > now + LONGEST_PAUSE_SECONDS * 1000 + SKEW) return 0
  const until = lane === 'p0' ? Math.min(pause.until, pause.from + URGENT_PAUSE_SECONDS * 1000) : pause.until
  return Math.max(0, until - now) / 1000
}

/**
 * Asks for a place and for tokens, both or neither.
 *
 * Granted over any `T` seconds: at most `ceiling * T`, what can be saved up, and what single calls cost above that. P0
 * finds at least nine tenths of the rate whatever the others take; they find at least a tenth whatever P0 takes.
 *
 * @param now the worker's own clock, in milliseconds since 1970
 */
export function takeCalls(pace: Pace, ask: Ask, ceiling: number, now: number): Taken {
  const { has } = ask
  const back: Pace = has === undefined ? pace : { ...pace, urgent: pace.urgent + has.urgent, common: pace.common + has.common }
  const flow = flowed(back, ceiling, now)
  const { [has?.call ?? ask.call]: _own, ...others } = underWay(flow.calls, now)
  const inLane = Object.values(others).filter(({ lane }) => lane === ask.lane)
  if (inLane.length >= ask.atMost) {
    const turnOver = inLane.every(({ since }) => now - since < HANGS)
    return { kind: 'wait', why: 'places', seconds: PLACE_SECONDS, soon: turnOver }
  }
  const paused = pausedFor(flow, ask.lane, now)
  if (paused > 0) return { kind: 'wait', why: 'pause', seconds: paused, soon: true }
  // What it held before the rate grew: a full bucket lets everybody through.
  const room = roomOf(within(pace.rate, ceiling))
  const urgent = ask.lane === 'p0'
  const need = Math.min(ask.cost, room)
  const have = urgent ? flow.urgent : flow.common
  if (have < need) {
    const first = urgent ? 0 : Math.max(0, room - flow.urgent)
    const seconds = (need - have + first) / (flow.rate * URGENT_FIRST)
    return { kind: 'wait', why: 'rate', seconds: Math.max(0.01, seconds), soon: true }
  }
  const held: Held = { call: ask.call, urgent: urgent ? ask.cost : 0, common: urgent ? 0 : ask.cost }
  return {
    kind: 'granted',
    held,
    pace: {
      ...flow,
      urgent: kept(flow.urgent - held.urgent),
      common: kept(flow.common - held.common),
      calls: { ...others, [ask.call]: { lane: ask.lane, since: now, until: now + ask.holdsFor * 1000 } },
    },
  }
}

/**
 * The issuer throttled a call.
 *
 * @param seen `cuts` when the call's tokens were taken
 * @param hint seconds that the issuer asked for
 */
export function throttledAt(pace: Pace, seen: number, hint: number | undefined, ceiling: number, now: number): Pace {
  const flow = { ...flowed(pace, ceiling, now), rate: within(pace.rate, ceiling) }
  const seconds = Math.min(LONGEST_PAUSE_SECONDS, Math.max(PAUSE_SECONDS, hint ?? 0))
  const known = pausedFor(flow, 'p1', now) > 0 ? flow.pause : undefined
  const pause = { from: known?.from ?? now, until: Math.max(known?.until ?? 0, now + seconds * 1000) }
  if (seen !== pace.cuts) return { ...flow, pause }
  const rate = kept(within(flow.rate * CUT, ceiling))
  return {
    ...flow,
    rate,
    known: flow.rate,
    urgent: Math.min(flow.urgent, roomOf(rate)),
    common: Math.min(flow.common, 0),
    cuts: flow.cuts + 1,
    pause,
  }
}

/**
 * Calls that a method makes for so many leases.
 *
 * @param callsPerLease 0: one call serves a whole batch
 */
export const costOf = (callsPerLease: number, leases: number): number => Math.max(1, Math.ceil(callsPerLease * leases))

/**
 * The time of a worker, and so of a visit, in seconds: half a minute for the work beside the issuer's calls, which may be
 * three: one for the batch, and two while it is taken apart.
 */
export const longestVisit = (callSeconds: number): number => Math.min(900, 30 + 3 * callSeconds)

/** Visits of P0 at one issuer at once. One machine works on ten messages of a queue at once, AWS on hundreds. */
const URGENT_VISITS = 8
/** The least workers of a lane: two for an issuer that hangs, one for the others. */
const LEAST_WORKERS = 3

/** Workers of one provider at once, by lane; P0 has no ceiling. `most`: for P1 and P2 together, two thirds to one. */
export function workersOf(most: number): { readonly p1: number; readonly p2: number } {
  const p1 = Math.max(LEAST_WORKERS, Math.ceil((most * 2) / 3))
  return { p1, p2: Math.max(LEAST_WORKERS, most - p1) }
}

/** How many visits of a lane one issuer may hold at once: never all of its provider's workers, so that one that hangs stops no other. */
export function visitsOf(most: number, lane: Lane): number {
  return lane === 'p0' ? URGENT_VISITS : workersOf(most)[lane] - 1
}

/** What operators are shown of it. */
export function paceNow(pace: Pace, ceiling: number | undefined, now: number) {
  const top = ceiling ?? DEFAULT_CALLS_PER_SECOND
  const paused = pausedFor(pace, 'p1', now)
  return {
    callsPerSecond: within(pace.rate, top),
    ceiling: top,
    underWay: Object.keys(underWay(pace.calls, now)).length,
    ...(paused > 0 ? { pausedUntil: instant(now + paused * 1000) } : {}),
  }
}
