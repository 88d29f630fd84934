import { createHash } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import { isDeepStrictEqual } from 'node:util'
import type { Json } from '../local/json.ts'
import type { Attributes } from './billing.ts'
import { itemSize } from './billing.ts'

/** An item by its two key parts, as the file holds it. */
export interface Row {
  readonly pk: string
  readonly sk: string
  readonly item: Attributes
  /** Bytes, as the service counts them. */
  readonly size: number
}

const COLUMNS = ['pk', 'sk', 'item_json', 'item_size', 'cached_at', 'hash_prefix']
const COMMIT_EVERY = 30_000

/**
 * Opens the embedded store's file while nobody serves it. A million leases through the API would take hours, through the
 * store's own calls an hour; this takes a minute. The schema is the store's own business (1.2.1), so every row that was
 * written by it is written again in memory and compared: where they differ, nothing is filled.
 */
export function openStoreFile(path: string, table: string) {
  const database = new DatabaseSync(path)
  database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF; PRAGMA cache_size = -262144')
  const columns = database
    .prepare('SELECT name FROM pragma_table_info(?)')
    .all(table)
    .map((row) => row.name)
  if (!isDeepStrictEqual(columns, COLUMNS))
    throw new Error('the embedded store has another schema than 1.2.1: it cannot be filled')
  const about = database.prepare('SELECT gsi_definitions AS definitions FROM _tables WHERE table_name = ?').get(table)
  const indexes = (
    JSON.parse(String(about?.definitions ?? '[]')) as { IndexName: string; KeySchema: { AttributeName: string }[] }[]
  ).map(({ IndexName, KeySchema }) => {
    const [partition = '', sort = ''] = KeySchema.map(({ AttributeName }) => AttributeName)
    return {
      partition,
      sort,
      select: database.prepare(`SELECT * FROM "${table}::gsi::${IndexName}" WHERE table_pk = ? AND table_sk = ?`),
      insert: database.prepare(`INSERT INTO "${table}::gsi::${IndexName}" VALUES (?, ?, ?, ?, ?)`),
    }
  })
  const select = database.prepare(`SELECT * FROM "${table}" WHERE pk = ? AND sk = ?`)
  const insert = database.prepare(`INSERT INTO "${table}" VALUES (?, ?, ?, ?, NULL, ?)`)
  const text = (item: Attributes, name: string): string | undefined => {
    const value = item[name]
    return typeof value === 'object' && value !== null && 'S' in value ? String(value['S']) : undefined
  }

  /** An item as the store wrote it. @throws if this would have written it in another way */
  function read({ pk, sk }: { readonly pk: string; readonly sk: string }): Attributes {
    const row = select.get(`S:${pk}`, `S:${sk}`)
    if (row === undefined) throw new Error(`the store holds nothing under ${pk} ${sk}`)
    const item = JSON.parse(String(row['item_json'])) as Attributes
    if (row['item_size'] !== itemSize(item) || row['hash_prefix'] !== prefixOf(pk))
      throw new Error('the embedded store writes its rows in another way than 1.2.1')
    for (const index of indexes) {
      const [at, under] = [text(item, index.partition), text(item, index.sort)]
      const found = index.select.get(`S:${pk}`, `S:${sk}`)
      const expected = at === undefined || under === undefined ? undefined : [`S:${at}`, `S:${under}`]
      if (!isDeepStrictEqual(found === undefined ? undefined : [found['gsi_pk'], found['gsi_sk']], expected))
        throw new Error('the embedded store writes its indexes in another way than 1.2.1')
      if (found !== undefined && !isDeepStrictEqual(JSON.parse(String(found['item_json'])) as Json, item))
        throw new Error('the embedded store projects its indexes in another way than 1.2.1')
    }
    return item
  }

  return {
    read,
    /** Whether there is an item under this key. */
    has: ({ pk, sk }: { readonly pk: string; readonly sk: string }) => select.get(`S:${pk}`, `S:${sk}`) !== undefined,
    /** Writes new items, without records of the stream. */
    fill(rows: Iterable<Row>, progress: (written: number) => void): number {
      let written = 0
      database.exec('BEGIN')
      for (const { pk, sk, item, size } of rows) {
        const json = JSON.stringify(item)
        insert.run(`S:${pk}`, `S:${sk}`, json, size, prefixOf(pk))
        for (const index of indexes) {
          const [at, under] = [text(item, index.partition), text(item, index.sort)]
          if (at !== undefined && under !== undefined) index.insert.run(`S:${at}`, `S:${under}`, `S:${pk}`, `S:${sk}`, json)
        }
        written += 1
        if (written % COMMIT_EVERY === 0) {
          database.exec('COMMIT; BEGIN')
          progress(written)
        }
      }
      database.exec('COMMIT')
      return written
    },
    close(): void {
      database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
      database.close()
    },
  }
}

/** The store orders a scan by this hash of the partition key, as dynalite does. */
const prefixOf = (pk: string): string => createHash('md5').update(`Outliers${pk}`).digest('hex').slice(0, 6)
