import type { Counts } from './counted.ts'

/** What a child process is told, and what it answers. Each size runs in processes of its own, so that peaks are honest. */
export type Job =
  | { readonly do: 'register'; readonly leases: number; readonly table: string }
  | {
      readonly do: 'revoke'
      readonly leases: number
      readonly table: string
      readonly auditIndex: string
      readonly endpoint: string
      readonly archive: string
      readonly closingFilters: readonly string[]
    }
  | { readonly do: 'fill'; readonly leases: number; readonly table: string }
  | PreviewJob

export interface PreviewJob {
  readonly do: 'preview'
  readonly type: 'compromise' | 'offboarding'
  readonly table: string
  /** Leases that are made as they are read, instead of a store's. */
  readonly made?: number
  /** Read whole leases instead of what a preview needs of them. */
  readonly whole: boolean
}

/** How the leases came into the table. */
export interface Registered {
  /** By the registration's own function. */
  readonly real: number
  /** Copies of a real registration's items under other names. */
  readonly copied: number
  /** Copies that were compared with the items of a real registration, and equal. */
  readonly compared: number
  readonly seconds: number
}

/** Milliseconds from the event's arrival at `accept`. */
export interface Measured {
  readonly milliseconds: {
    readonly fence: number
    readonly containment: number
    readonly firstOutcome: number
    readonly lastOutcome: number
    readonly closed: number
    /** The audit record of the closing is in its segment and indexed. */
    readonly proven: number
  }
  readonly leasesPerSecond: number
  /**
   * Megabytes: resident before the event and at the most, and what was held right after a full collection each time
   * another tenth of the leases had its outcome.
   */
  readonly memory: { readonly before: number; readonly peak: number; readonly held: readonly number[] }
  /** Seconds of CPU of the pipeline's process, the store's not included. */
  readonly cpuSeconds: number
  readonly segments: number
  readonly records: number
  readonly chunks: number
  readonly counts: Counts
}
