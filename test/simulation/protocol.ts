import type { Schedule } from './schedule.ts'
import type { Theme } from './world.ts'

/** What a parent process asks of a worker. */
export type Request =
  /** Seeds one after the other. */
  | { readonly id: number; readonly do: 'seeds'; readonly from: number; readonly count: number; readonly about: readonly Theme[] }
  /** One schedule, as it is. */
  | {
      readonly id: number
      readonly do: 'schedule'
      readonly schedule: Schedule
      readonly disabled: readonly number[]
      readonly record: boolean
    }

/** What became of one seed or schedule: all of it that fits through a pipe. */
export interface Outcome {
  readonly seed: number
  readonly ok: boolean
  readonly violations: readonly string[]
  readonly hash: string
  readonly steps: number
  readonly virtualSeconds: number
  readonly milliseconds: number
  /** Ordinals of the faults that were injected, each with its kind and where. */
  readonly faults: readonly { readonly ordinal: number; readonly kind: string; readonly label: string }[]
  readonly trace: readonly string[]
  readonly coverage: Readonly<Record<string, number>>
}

export interface Reply {
  readonly id: number
  readonly outcomes: readonly Outcome[]
  /** The texts of the bug were really put in the place of the product's. */
  readonly mutated: boolean
}
