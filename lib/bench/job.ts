/** What a child process is told, and what it answers. Each size runs in processes of its own, so that peaks are honest. */
export type Job = { readonly do: 'fill'; readonly leases: number; readonly table: string } | PreviewJob

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
