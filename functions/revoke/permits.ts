import type { Lane } from '../contracts/primitives.ts'
import type { Held } from '../domain/limiter.ts'
import { newPace, takeCalls, throttledAt } from '../domain/limiter.ts'
import type { Actor, Limiter } from '../domain/model.ts'
import { instant } from '../domain/time.ts'
import { IssuerError } from '../providers/contract.ts'
import type { Clock, Randomness } from '../runtime/ports.ts'
import { endVisit, limiterOf, writePace } from '../store/limits.ts'
import type { Table } from '../store/table.ts'

/** Refused writes of the limiter before a visit is turned away: others may write it all the time. */
const TRIES = 24
/** Whoever waits on the spot looks again after this, in seconds, and somewhat later: several that wait are no crowd. */
const LEAST_WAIT = 0.05
/** Tries to tell of a throttling answer; whoever wrote in between has probably told the same. */
const TELLS = 4
/** A pause after somebody else wrote at the same time, in milliseconds; it doubles. */
const PAUSE = 5
/** Longest wait for other visits of this process, in milliseconds. */
const LONGEST_TURN = 2000
/** Those that are turned away come back spread over so many seconds, so that they are no crowd again. */
const SPREAD: Readonly<Record<Lane, number>> = { p0: 8, p1: 45, p2: 45 }
/** The same where only others of us were in the way, who are through in a moment. */
const SPREAD_SHORT: Readonly<Record<Lane, number>> = { p0: 2, p1: 6, p2: 10 }

/** Nothing failed, but nobody may call the issuer now: no attempt is spent, and no breaker opens. */
export class NotNow extends IssuerError {
  readonly code = 'issuer-unavailable'
  /** RFC 3339. */
  readonly until: string
  constructor(until: string, said: string) {
    super(said)
    this.until = until
  }
}

export interface Permits {
  /**
   * Takes a place and tokens before anything is written that says an attempt is made; what a visit has already counts.
   * Waits on the spot where that is short.
   *
   * @param cost calls to the issuer
   */
  reserve(cost: number): Promise<NotNow | undefined>
  /** Counts calls that are made now; takes what is missing. */
  spend(cost: number): Promise<NotNow | undefined>
  /** The issuer throttled one of the calls. */
  throttled(hint: number | undefined): Promise<void>
  /** Gives back the place, and what was not spent. */
  end(): Promise<void>
}

/**
 * What the visits of one process know together of an issuer's limiter. They take turns at it: side by side they would
 * write against each other, and each refused write is a write. That is for economy alone: nothing rests on it, and
 * whoever has waited long enough goes on.
 */
export interface Shared {
  /** As one of them wrote or read it last: mostly nobody wrote since, and then it need not be read. */
  guess: Limiter | undefined
  turn: Promise<unknown> | undefined
}
export const newShared = (): Shared => ({ guess: undefined, turn: undefined })

async function inTurn<Result>(shared: Shared, clock: Clock, work: () => Promise<Result>): Promise<Result> {
  const before = shared.turn
  const mine = (before === undefined ? Promise.resolve() : Promise.race([before, clock.sleep(LONGEST_TURN)])).then(work)
  const over = mine
    .catch(() => {
      // Whether it was written is not known.
      shared.guess = undefined
    })
    .then(() => {
      if (shared.turn === over) shared.turn = undefined
    })
  shared.turn = over
  return mine
}

/** What one visit of a worker may call at one issuer. */
export function permits(
  ports: { readonly table: Table; readonly clock: Clock; readonly random: Randomness },
  visit: {
    readonly issuer: string
    readonly name: string
    readonly lane: Lane
    readonly ceiling: number
    readonly atMost: number
    readonly holdsFor: number
    /** Longest wait on the spot, in seconds. */
    readonly waits: number
  },
  by: Actor,
  shared: Shared = newShared(),
): Permits {
  const { table, clock, random } = ports
  const { issuer, lane, ceiling } = visit
  let held: Held | undefined
  /** How often the rate had been cut when the tokens were taken. */
  let cuts: number | undefined
  const actor = (): Actor => ({ ...by, at: instant(clock.now()) })

  function turnedAway(seconds: number, said: string, over = SPREAD): NotNow {
    const spread = Math.ceil(random.fraction() * over[lane])
    return new NotNow(instant(clock.now() + (Math.ceil(seconds) + Math.max(1, spread)) * 1000), said)
  }

  /** @param current what is known is as it stands, and not only as this process left it */
  async function tryToTake(cost: number, current: boolean) {
    const read = shared.guess === undefined
    if (read) shared.guess = await limiterOf(table, issuer)
    const now = clock.now()
    const ask = { lane, cost, call: visit.name, atMost: visit.atMost, holdsFor: visit.holdsFor, ...(held && { has: held }) }
    const answer = takeCalls(shared.guess ?? newPace(ceiling, now), ask, ceiling, now)
    if (answer.kind === 'wait') return { ...answer, certain: read || current }
    const written = await writePace(table, issuer, shared.guess, answer.pace, actor())
    shared.guess = written.limiter
    if (!written.ok) return { kind: 'conflict' as const }
    held = answer.held
    cuts = answer.pace.cuts
    return { kind: 'granted' as const }
  }

  async function take(cost: number): Promise<NotNow | undefined> {
    let current = false
    let waited = 0
    let conflicts = 0
    while (conflicts < TRIES) {
      const answer = await inTurn(shared, clock, () => tryToTake(cost, current))
      if (answer.kind === 'granted') return undefined
      current = answer.kind === 'conflict'
      if (answer.kind === 'conflict') {
        conflicts += 1
        await clock.sleep(random.fraction() * PAUSE * 2 ** Math.min(conflicts, 5))
        continue
      }
      // Nobody is turned away by what may be old.
      if (answer.certain) {
        if (!answer.soon || waited + answer.seconds > visit.waits)
          return turnedAway(answer.seconds, SAID[answer.why], answer.soon && answer.why === 'places' ? SPREAD_SHORT : SPREAD)
        const seconds = Math.max(answer.seconds, LEAST_WAIT) * (1 + random.fraction() / 2)
        waited += seconds
        await clock.sleep(seconds * 1000)
      }
      shared.guess = undefined
    }
    return turnedAway(1, 'too many workers ask for the issuer at once', SPREAD_SHORT)
  }

  const left = () => (held === undefined ? 0 : held.urgent + held.common)

  return {
    async reserve(cost) {
      return left() >= cost && held !== undefined ? undefined : take(cost)
    },
    async spend(cost) {
      if (held === undefined || left() < cost) {
        const away = await take(cost)
        if (away !== undefined) return away
      }
      if (held !== undefined) {
        const common = Math.min(held.common, cost)
        held = { ...held, common: held.common - common, urgent: held.urgent - Math.min(held.urgent, cost - common) }
      }
      return undefined
    },
    throttled: (hint) =>
      inTurn(shared, clock, async () => {
        let seen = await limiterOf(table, issuer)
        for (let tried = 0; tried < TELLS; tried += 1) {
          const now = clock.now()
          const pace = seen ?? newPace(ceiling, now)
          const written = await writePace(table, issuer, seen, throttledAt(pace, cuts ?? pace.cuts, hint, ceiling, now), actor())
          seen = written.limiter
          shared.guess = written.limiter
          if (written.ok) return
        }
      }),
    async end() {
      const over = held
      held = undefined
      if (over === undefined) return
      await inTurn(shared, clock, async () => {
        const known = shared.guess
        const done = await endVisit(table, issuer, over)
        shared.guess = done && shared.guess === known ? ended(known, over) : undefined
      })
    },
  }
}

/** The limiter after a visit's end, where it was as known: else its version is another, and the next write finds out. */
function ended(known: Limiter | undefined, { call, urgent, common }: Held): Limiter | undefined {
  if (known === undefined) return undefined
  const { [call]: _, ...calls } = known.calls
  return { ...known, v: known.v + 1, urgent: known.urgent + urgent, common: known.common + common, calls }
}

const SAID = {
  places: 'as many workers as may are at the issuer',
  pause: 'the issuer throttled us, and is left alone for a while',
  rate: 'the issuer is called as fast as it takes it',
} as const
