import type { Item, Table } from '../../functions/store/table.ts'

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

/** A table that counts what passes through. */
export function counted(table: Table, stage: string, counts: Counts): Table {
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
    write: (write) =>
      count(
        'write',
        () => table.write(write),
        () => 1,
      ),
    writeEach: (writes) =>
      count(
        'writeEach',
        () => table.writeEach(writes),
        () => writes.length,
      ),
    transact: (operations) =>
      count(
        'transact',
        () => table.transact(operations),
        () => operations.length,
      ),
    putAll: (items: readonly Item[]) =>
      count(
        'putAll',
        () => table.putAll(items),
        () => items.length,
      ),
  }
}
