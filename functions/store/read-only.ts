import type { Table } from './table.ts'

/** A write by something that may only look: a bug of ours, never the caller's. */
export class WriteRefused extends Error {
  readonly code = 'write-refused'
  override readonly name = 'WriteRefused'
}

const refuse = async (): Promise<never> => {
  throw new WriteRefused('this table is read only here')
}

/** The same table, and nothing of it can be changed by way of this one. */
export const readOnly = (table: Table): Table => ({
  get: (key) => table.get(key),
  getMany: (keys) => table.getMany(keys),
  query: (input) => table.query(input),
  index: (input) => table.index(input),
  write: refuse,
  writeEach: refuse,
  transact: refuse,
  putAll: refuse,
})
