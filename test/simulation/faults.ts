import { Prng } from './prng.ts'

/** What can go wrong beside the issuers, whose own kinds begin with `issuer-`. */
export const FAULT_KINDS = [
  /** The process ends before a step takes effect, or after it and before it is told so. */
  'crash-before',
  'crash-after',
  /** The store throttles: a pause, or `StoreBusy` without effect. A queue refuses to take messages. */
  'throttle',
  /** A transaction conflicts until the tries are used up. */
  'conflict',
  /** The effect took place (or not), and the caller is told neither. */
  'answer-lost',
  /** A message is delivered twice. */
  'duplicate',
  /** A message comes late, and so behind later ones. */
  'delay',
  /** A message becomes visible again while its handler is still at it. */
  'visibility-timeout',
  /** A whole batch comes back although its handler was done with it. */
  'batch-failure',
  /** Records of the stream come again. */
  'stream-replay',
  'stream-delay',
  /** A change reaches an index late. */
  'stale-index',
  /** An item outlives its time by days. */
  'ttl-late',
  /** A process's clock is wrong by some seconds. */
  'clock-jump',
  /** As `crash-before`, in the planner alone. */
  'planner-kill',
  'archive-fails',
  'announce-fails',
] as const
export type FaultKind = (typeof FAULT_KINDS)[number] | `issuer-${string}`

export interface Faults {
  /** Whether it goes wrong here and now. Always asked in the same order under the same seed. */
  decide(kind: FaultKind, label: string): boolean
}

/** By kind: how likely it is each time that it could happen, and how often it happens at most. Plain JSON. */
export interface FaultProfile {
  readonly kinds: Readonly<Record<string, { readonly probability: number; readonly budget: number }>>
}

export interface Injected {
  readonly ordinal: number
  readonly kind: FaultKind
  readonly label: string
}

interface Kind {
  readonly draws: Prng
  readonly probability: number
  left: number
  /** Questions until the next fault of this kind: drawn once for each fault instead of once for each question. */
  wait: number
}

/**
 * Faults as the seed and its profile have it. Each that was injected has an ordinal; those in `disabled` are passed over
 * (but counted), so that a failing run can be shrunk to the faults that it needs.
 */
export class SeededFaults implements Faults {
  readonly injected: Injected[] = []
  private readonly kinds = new Map<FaultKind, Kind>()
  private readonly disabled: ReadonlySet<number>
  private ordinal = 0
  private on = true

  constructor(seed: number, profile: FaultProfile, disabled: ReadonlySet<number> = new Set()) {
    this.disabled = disabled
    for (const [kind, { probability, budget }] of Object.entries(profile.kinds)) {
      if (!(probability > 0) || budget <= 0) continue
      const known: Kind = { draws: new Prng(seed, `fault ${kind}`), probability, left: budget, wait: 0 }
      known.wait = gap(known)
      this.kinds.set(kind as FaultKind, known)
    }
  }

  decide(kind: FaultKind, label: string): boolean {
    const known = this.kinds.get(kind)
    if (known === undefined || !this.on || known.left <= 0) return false
    if (known.wait > 0) {
      known.wait -= 1
      return false
    }
    known.left -= 1
    known.wait = gap(known)
    const ordinal = this.ordinal
    this.ordinal += 1
    if (this.disabled.has(ordinal)) return false
    this.injected.push({ ordinal, kind, label })
    return true
  }

  /** From here on nothing goes wrong any more. */
  off(): void {
    this.on = false
  }
}

/** Geometrically distributed, as the number of questions before the first yes. */
const gap = ({ draws, probability }: Kind) =>
  probability >= 1 ? 0 : Math.floor(Math.log(1 - draws.fraction()) / Math.log(1 - probability))

/** Nothing ever goes wrong. */
export const NO_FAULTS: Faults = { decide: () => false }

/** How likely each kind is where it is on, and how often it may happen in one run. */
const USUAL: Readonly<Record<(typeof FAULT_KINDS)[number], readonly [probability: number, budget: number]>> = {
  'crash-before': [0.01, 6],
  'crash-after': [0.01, 6],
  throttle: [0.02, 12],
  conflict: [0.05, 8],
  'answer-lost': [0.02, 6],
  duplicate: [0.2, 8],
  delay: [0.2, 8],
  'visibility-timeout': [0.15, 6],
  'batch-failure': [0.1, 6],
  'stream-replay': [0.15, 6],
  'stream-delay': [0.1, 6],
  'stale-index': [0.2, 40],
  'ttl-late': [0.5, 20],
  'clock-jump': [0.05, 6],
  'planner-kill': [0.05, 4],
  'archive-fails': [0.1, 4],
  'announce-fails': [0.2, 4],
}

/**
 * The fault profile of a seed. One seed in eight has no faults at all and is quick; most have a few kinds; some have
 * nearly all. `more` are further kinds (the issuers') with their usual probability and budget.
 */
export function faultProfile(
  draws: Prng,
  more: Readonly<Record<string, readonly [probability: number, budget: number]>> = {},
): FaultProfile {
  const usual = Object.entries({ ...USUAL, ...more })
  const share = draws.pick([0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.5, 0.9])
  const kinds: Record<string, { probability: number; budget: number }> = {}
  for (const [kind, [probability, budget]] of usual) {
    if (!draws.chance(share)) continue
    kinds[kind] = { probability: Math.min(1, probability * draws.pick([0.3, 1, 1, 3])), budget: draws.between(1, budget) }
  }
  return { kinds }
}
