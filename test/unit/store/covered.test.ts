import { describe, expect, it } from 'vitest'
import { covered } from '../../../functions/store/work.ts'
import { MemoryTable } from '../../support/memory-table.ts'

describe('what a chunk over several shards covers', () => {
  it('is read page by page, each lease once, also where far more came to its shards since', async () => {
    const table = new MemoryTable()
    const ids: string[] = []
    const limits: number[] = []
    for (const shard of [3, 9])
      for (let place = 0; place < 350; place += 1) {
        const lease = `who.db.${shard}x${String(place).padStart(4, '0')}`
        if (shard === 3 || place < 20) {
          ids.push(lease)
          await table.write({ put: { pk: `SCOPE#identity#who#${shard}`, sk: `L#db#${lease}`, kind: 'pointer', lease } })
        }
      }
    await table.write({ put: { pk: 'SCOPE#identity#who#3', sk: 'L#other#who.other.x', kind: 'pointer', lease: 'who.other.x' } })
    const query = table.query.bind(table)
    table.query = async (input) => {
      limits.push(input.limit)
      return query(input)
    }
    const pages: string[][] = []
    for await (const page of covered(table, { issuer: 'db', covers: { scope: 'identity#who', shards: [3, 9] } }, 40))
      pages.push(page.map(({ id }) => id))
    expect(pages.flat().toSorted()).toEqual(ids.toSorted())
    expect(Math.max(...pages.map((page) => page.length))).toBe(40)
    expect(Math.max(...limits)).toBe(100)
  })
})
