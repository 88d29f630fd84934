/**
 * The table as the store sees it: DynamoDB's operations that the protocol needs, in structured form. No expression
 * text is written outside `dynamodb.ts`, so a name or a value from outside can never become part of one, and a
 * simulated table can implement the very same operations.
 */

export type Value = string | number | boolean | null | readonly Value[] | { readonly [name: string]: Value | undefined }
export type Item = { readonly pk: string; readonly sk: string; readonly [name: string]: Value | undefined }
export interface ItemKey {
  readonly pk: string
  readonly sk: string
}

/** `claims.<case>` as `['claims', case]`; a single name may stand alone. */
export type Path = string | readonly string[]

/** All conditions of a write must hold; `or` holds if one of its conditions does. */
export type Condition =
  | readonly [Path, 'exists' | 'absent']
  | readonly [Path, '=' | '<>' | '<' | '<=' | '>' | '>=', Value]
  | { readonly or: readonly Condition[] }

export interface Put {
  readonly put: Item
  readonly if?: readonly Condition[]
}
export interface Update {
  readonly update: ItemKey
  readonly set?: readonly (readonly [Path, Value])[]
  /** Set only where the attribute is absent. */
  readonly setOnce?: readonly (readonly [Path, Value])[]
  /** Added to numbers; an absent attribute counts as 0. Top-level or nested. */
  readonly add?: readonly (readonly [Path, number])[]
  readonly remove?: readonly Path[]
  readonly if?: readonly Condition[]
}
export interface Delete {
  readonly delete: ItemKey
  readonly if?: readonly Condition[]
}
export interface Check {
  readonly check: ItemKey
  readonly if: readonly Condition[]
}
export type Write = Put | Update | Delete

export type WriteResult = { readonly ok: true } | { readonly ok: false; readonly current: Item | undefined }
/** `failed[i]` tells whether the condition of the i-th operation failed, and `current[i]` what stood there. */
export type TransactResult =
  | { readonly ok: true }
  | { readonly ok: false; readonly failed: readonly boolean[]; readonly current: readonly (Item | undefined)[] }

export interface QueryInput {
  readonly pk: string
  /** Sort keys greater than this one. */
  readonly after?: string
  /** Sort keys from here (inclusive). */
  readonly from?: string
  /** Sort keys up to here (inclusive). */
  readonly to?: string
  readonly prefix?: string
  readonly limit: number
  readonly descending?: boolean
  /** Attributes of the item (of its first level) that are wanted; the keys come always. Absent: all. */
  readonly only?: readonly string[]
}
export interface Page {
  readonly items: readonly Item[]
  /** The sort key to go on after; absent at the end. A page may be empty and still have one. */
  readonly next?: string
  /** Read units that it consumed, where the store says so. */
  readonly units?: number
}

/** The two indexes: `due` for the sweeper, `list` for operators. Eventually consistent: never for finding leases to cut. */
export type IndexName = 'due' | 'list'
export interface IndexInput {
  readonly index: IndexName
  /** Value of `duePk` or `listPk`. */
  readonly partition: string
  /** `dueAt` / `listAt` up to here (inclusive). */
  readonly upTo?: string
  readonly from?: string
  readonly limit: number
  readonly descending?: boolean
  readonly cursor?: string
}
export interface IndexPage {
  readonly items: readonly Item[]
  readonly cursor?: string
}

/**
 * All reads but `index` are strongly consistent. Every write counts the item's version `v` up by one, so a gap in
 * the stream shows. Throttling and transaction conflicts are retried a few times with full jitter, then thrown as
 * `StoreBusy`: the caller's message comes back.
 */
export interface Table {
  get(key: ItemKey): Promise<Item | undefined>
  /** Any number of keys; the result is in their order. */
  getMany(keys: readonly ItemKey[]): Promise<(Item | undefined)[]>
  query(input: QueryInput): Promise<Page>
  index(input: IndexInput): Promise<IndexPage>
  write(write: Write): Promise<WriteResult>
  /**
   * Independent conditional writes, any number, each as `write` would make it and none depending on another: not atomic,
   * in no order. The results are in the order of the writes. No key may come twice. Where the answer to one is lost, the
   * others are made all the same, then `StoreBusy` is thrown: which of them took effect is then for the table to say.
   */
  writeEach(writes: readonly Write[]): Promise<WriteResult[]>
  /** At most 100 operations, all or none. */
  transact(operations: readonly (Write | Check)[]): Promise<TransactResult>
  /** Unconditional puts, any number; not atomic. */
  putAll(items: readonly Item[]): Promise<void>
}

/** The store is throttled or its transactions keep conflicting. */
export class StoreBusy extends Error {
  readonly code = 'store-busy'
  override readonly name = 'StoreBusy'
}
