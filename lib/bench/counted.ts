import type { Check, Item, Table, Write } from '../../functions/store/table.ts'

/** What one stage asked of the table. */
export interface Calls {
  calls: number
  /** Items read or written. */
  items: number
  /** Milliseconds from call to answer, added up: with calls side by side more than the wall clock shows. */
  milliseconds: number
}

/** By stage, then by operation. */
export type Counts = Record<string, Record<string, Calls>>

type Operation = Write | Check

/** A table that counts what passes through, and tells of writes that were taken. */
export function counted(table: Table, stage: string, counts: Counts, onWritten?: (writes: readonly Operation[]) => void): Table {
  counts[stage] ??= {}
  const mine = counts[stage]
  async function count<Result>(name: string, call: () => Promise<Result>, items: (result: Result) => number): Promise<Result> {
    mine[name] ??= { calls: 0, items: 0, milliseconds: 0 }
    const entry = mine[name]
    const start = performance.now()
    const result = await call()
    entry.calls += 1
    entry.items += items(result)
    entry.milliseconds += performance.now() - start
    return result
  }
  return {
    get: (key) =>
      count(
        'get',
        () => table.get(key),
        () => 1,
      ),
    getMany: (keys) =>
      count(
        'getMany',
        () => table.getMany(keys),
        () => keys.length,
      ),
    query: (input) =>
      count(
        'query',
        () => table.query(input),
        ({ items }) => items.length,
      ),
    index: (input) =>
      count(
        'index',
        () => table.index(input),
        ({ items }) => items.length,
      ),
    async write(write) {
      const done = await count(
        'write',
        () => table.write(write),
        () => 1,
      )
      if (done.ok) onWritten?.([write])
      return done
    },
    async transact(operations) {
      const done = await count(
        'transact',
        () => table.transact(operations),
        () => operations.length,
      )
      if (done.ok) onWritten?.(operations)
      return done
    },
    putAll: (items: readonly Item[]) =>
      count(
        'putAll',
        () => table.putAll(items),
        () => items.length,
      ),
  }
}

/** Whether a write sets something at or below a top-level attribute (`outcomes`), to `value` if one is given. */
export const sets = (write: Operation, attribute: string, value?: unknown): boolean =>
  'update' in write &&
  (write.set ?? []).some(
    ([path, to]) => (typeof path === 'string' ? path : path[0]) === attribute && (value === undefined || to === value),
  )

export const keyOf = (write: Operation): { readonly pk: string; readonly sk: string } =>
  'put' in write ? write.put : 'update' in write ? write.update : 'delete' in write ? write.delete : write.check
