import { describe, expect, it } from 'vitest'
import { CountsByName, latestFirst, OTHERS, Sample } from '../../../functions/domain/tally.ts'
import { readNext, writeNext } from '../../../functions/plan/preview-next.ts'
import { Recent } from '../../../functions/plan/recent.ts'
import { readOnly, WriteRefused } from '../../../functions/store/read-only.ts'
import { MemoryTable } from '../../support/memory-table.ts'

describe('a sample', () => {
  const ranks = Array.from({ length: 500 }, (_, place) => String((place * 7919) % 997).padStart(3, '0'))
  it('keeps the same few of the same things, in whatever order they come, and counts all', () => {
    const forwards = new Sample<string>()
    const backwards = new Sample<string>()
    for (const rank of ranks) forwards.add(rank, () => rank)
    for (const rank of [...ranks].reverse()) backwards.add(rank, () => rank)
    expect(forwards.entries).toEqual([...ranks].sort().slice(0, 20))
    expect(backwards.entries).toEqual(forwards.entries)
    expect(forwards.count).toBe(500)
  })

  it('shows later moments first by their rank', () => {
    const moments = ['2026-11-22T10:00:00.000Z', '2027-01-01T00:00:00.000Z', '2026-11-22T10:00:00.001Z']
    expect([...moments].sort((one, other) => (latestFirst(one) < latestFirst(other) ? -1 : 1))).toEqual([
      '2027-01-01T00:00:00.000Z',
      '2026-11-22T10:00:00.001Z',
      '2026-11-22T10:00:00.000Z',
    ])
  })
})

describe('counts by name', () => {
  it('stay exact in sum, whatever the number of names', () => {
    const counts = new CountsByName()
    for (let place = 0; place < 3000; place += 1) counts.add(`owner-${place}`, 'cut')
    for (let place = 0; place < 3000; place += 1) counts.add(`owner-${place}`, 'released')
    const entries = counts.entries()
    expect(entries).toHaveLength(1001)
    expect(entries.reduce((sum, [, { cut, released }]) => sum + cut + released, 0)).toBe(6000)
    expect(entries.find(([name]) => name === 'owner-7')?.[1]).toMatchObject({ cut: 1, released: 1 })
    expect(entries.find(([name]) => name === OTHERS)?.[1]).toMatchObject({ cut: 2000, released: 2000 })
  })
})

describe('what is remembered', () => {
  it('stays within its bounds, and keeps what is used', () => {
    const recent = new Recent<number>(10)
    for (let place = 0; place < 100; place += 1) {
      recent.set(`n${place}`, place)
      recent.get('n0')
    }
    expect(recent.get('n0')).toBe(0)
    expect(recent.get('n99')).toBe(99)
    expect(recent.get('n50')).toBeUndefined()
    recent.set('heavy', 1, 100)
    expect(recent.get('n99')).toBeUndefined()
    expect(recent.get('heavy')).toBe(1)
    // What weighs more than all is kept alone, and goes with the next.
    recent.set('light', 2)
    expect(recent.get('heavy')).toBeUndefined()
    expect(recent.get('light')).toBe(2)
  })
})

describe('a table that is read only', () => {
  it('reads, and throws at every write before it reaches the table', async () => {
    const table = new MemoryTable()
    const only = readOnly(table)
    const key = { pk: 'A', sk: 'B' }
    await table.write({ put: key })
    expect(await only.get(key)).toEqual({ ...key, v: 1 })
    expect((await only.query({ pk: 'A', limit: 1 })).items).toHaveLength(1)
    expect(await only.getMany([key])).toHaveLength(1)
    await expect(only.write({ put: key })).rejects.toThrow(WriteRefused)
    await expect(only.transact([])).rejects.toThrow(WriteRefused)
    await expect(only.putAll([key])).rejects.toThrow(WriteRefused)
    expect(table.changes).toHaveLength(1)
  })
})

describe('next', () => {
  const soFar = { identities: 1, leases: 2, cut: 1, guarded: false, exact: true }
  it('comes back as it was written', () => {
    const id = `${'a'.repeat(26)}.db.${'b'.repeat(26)}`
    const next = {
      v: 1 as const,
      of: 'a'.repeat(26),
      place: { after: `ID#${'c'.repeat(26)}`, done: 7 },
      lanes: [
        {
          scope: `identity#${'a'.repeat(26)}` as const,
          shard: 3,
          frames: [
            { k: 'base' as const, rank: -1, after: id },
            { k: 'holders' as const, rank: 0, of: id, after: '', outsiders: 2, pending: id },
          ],
        },
      ],
      soFar,
    }
    expect(readNext(writeNext(next))).toEqual(next)
  })

  it.each([
    ['nothing', ''],
    ['no base64', '%%%'],
    ['no deflated text', Buffer.from('hello').toString('base64url')],
    ['another version', writeNext({ v: 2, of: 'a'.repeat(26), lanes: [], soFar } as never)],
    ['more fields', writeNext({ v: 1, of: 'a'.repeat(26), lanes: [], soFar, more: 1 } as never)],
    ['a bomb', writeNext({ v: 1, of: 'a'.repeat(26), lanes: [], soFar, more: 'x'.repeat(3_000_000) } as never)],
  ])('is not taken where it is %s', (_, text) => {
    expect(readNext(text)).toBeUndefined()
  })
})
