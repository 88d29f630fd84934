import { describe, expect, it } from 'vitest'
import { itemSize, readUnits, unitsOfWrite, writeUnits } from '../../../lib/bench/billing.ts'
import { fillIn } from '../../../lib/markdown.ts'

const text = (bytes: number) => ({ S: 'x'.repeat(bytes) })
const INDEXES = [{ name: 'due', partition: 'duePk', sort: 'dueAt' }]

describe('what DynamoDB bills', () => {
  it('counts names and values by the documented sizes', () => {
    expect(itemSize({ pk: { S: 'a' }, sk: { S: 'b' }, n: { N: '1' }, duePk: { S: 'x' }, dueAt: { S: 'y' } })).toBe(21)
    expect(itemSize({ pk: { S: 'a' }, sk: { S: 'c' }, m: { M: { n: { N: '1' } } } })).toBe(14)
    expect(itemSize({ a: { S: 'ä' }, b: { BOOL: true }, c: { NULL: true } })).toBe(7)
    expect(itemSize({ l: { L: [{ S: 'ab' }, { N: '-12.5' }] } })).toBe(1 + 3 + (1 + 2) + (1 + 4))
  })

  it('rounds a write up to kilobytes and a read to four of them', () => {
    expect([0, 1024, 1025, 4000].map(writeUnits)).toEqual([1, 1, 2, 4])
    expect([0, 4096, 4097].map((bytes) => readUnits(bytes))).toEqual([1, 1, 2])
    expect(readUnits(4097, false)).toBe(1)
  })

  it('bills the larger of both images, twice in a transaction', () => {
    const [small, large] = [{ pk: text(100) }, { pk: text(3000) }]
    expect(unitsOfWrite(undefined, small, [], false).table).toBe(1)
    expect(unitsOfWrite(large, small, [], false).table).toBe(3)
    expect(unitsOfWrite(large, undefined, [], true).table).toBe(6)
  })

  it('bills an index where its entry comes, goes or changes, twice where its key does', () => {
    const bare = { pk: text(10) }
    const due = (at: string, bytes = 10) => ({ pk: text(bytes), duePk: { S: 'CHUNK' }, dueAt: { S: at } })
    const units = (before: Parameters<typeof unitsOfWrite>[0], after: Parameters<typeof unitsOfWrite>[1]) =>
      unitsOfWrite(before, after, INDEXES, true).indexes['due']
    expect(units(bare, bare)).toBe(0)
    expect(units(undefined, due('1'))).toBe(1)
    expect(units(due('1', 2000), bare)).toBe(2)
    expect(units(due('1'), due('1', 20))).toBe(1)
    expect(units(due('1'), due('2'))).toBe(2)
    expect(units({ ...bare, duePk: { S: 'CHUNK' } }, bare)).toBe(0)
  })
})

describe('the generated parts of a document', () => {
  const document = 'before\n<!-- measured: one -->\nold\n<!-- end -->\nbetween\n<!-- measured: two -->\n<!-- end -->\nafter\n'

  it('replaces what stands between the marks, and nothing else', () => {
    const once = fillIn(document, { one: 'new', two: 'more' })
    expect(once).toBe(
      'before\n<!-- measured: one -->\n\nnew\n\n<!-- end -->\nbetween\n<!-- measured: two -->\n\nmore\n\n<!-- end -->\nafter\n',
    )
    expect(fillIn(once, { one: 'new', two: 'more' })).toBe(once)
  })

  it('says where a place is missing', () => {
    expect(() => fillIn(document, { three: '' })).toThrow('no place for three')
  })
})
