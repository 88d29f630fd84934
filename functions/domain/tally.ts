import type { PlanCounts } from '../contracts/plan.ts'
import type { FateWord } from './foresee.ts'

/** Counting what is too many to keep: exact counts, and of the things themselves a few. */

export const noFates = (): PlanCounts => ({
  cut: 0,
  released: 0,
  unsupported: 0,
  parked: 0,
  observed: 0,
  exempt: 0,
  waiting: 0,
})

/** Names that are counted apart; what is beyond them is counted under one name. */
const MOST_NAMES = 1000
/** Nothing can be called so: names do not begin with white space. */
export const OTHERS = ' others'

/** Counts by name: exact for each name that it knows, and in sum. */
export class CountsByName {
  readonly #counts = new Map<string, PlanCounts>()

  add(name: string, word: FateWord): void {
    let counts = this.#counts.get(name)
    if (counts === undefined) {
      const kept = this.#counts.size < MOST_NAMES ? name : OTHERS
      counts = this.#counts.get(kept) ?? noFates()
      this.#counts.set(kept, counts)
    }
    counts[word] += 1
  }

  /** By name, in their order. */
  entries(): [string, PlanCounts][] {
    return [...this.#counts].sort(([one], [other]) => (one < other ? -1 : 1))
  }
}

const SHOWN = 20

/**
 * A few of many, in bounded memory: those that come first in an order that has nothing to do with when they were met, so
 * that the same things always show the same few. Ordered by a hash (the end of a lease id), it is a fair sample.
 */
export class Sample<Entry> {
  readonly #kept: { readonly rank: string; readonly entry: Entry }[] = []
  count = 0

  /** @param rank what comes first is kept; `entry` is made only if it is */
  add(rank: string, entry: () => Entry): void {
    this.count += 1
    const last = this.#kept.at(-1)
    if (this.#kept.length === SHOWN && last !== undefined && rank >= last.rank) return
    const place = this.#kept.findIndex((kept) => rank < kept.rank)
    this.#kept.splice(place === -1 ? this.#kept.length : place, 0, { rank, entry: entry() })
    if (this.#kept.length > SHOWN) this.#kept.pop()
  }

  get entries(): Entry[] {
    return this.#kept.map(({ entry }) => entry)
  }
}

/** A rank by which later moments (RFC 3339) come first. */
export const latestFirst = (moment: string): string => moment.replace(/\d/g, (digit) => String(9 - Number(digit)))
