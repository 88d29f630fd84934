import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { changesOf } from '../../../functions/runtime/stream.ts'
import { compileWrite } from '../../../functions/store/dynamodb.ts'
import { leaseItem } from '../../../functions/store/keys.ts'
import { longName, readItem, shortName, storedItem } from '../../../functions/store/short-names.ts'
import type { Item } from '../../../functions/store/table.ts'

const id = 'lsaeewoqiwdct5y6qizge2po65.orders.2gzqj5ffiwd56nvh6zvriq65ka'
const lease: Item = {
  ...leaseItem(id),
  kind: 'lease',
  id,
  identityKey: 'lsaeewoqiwdct5y6qizge2po65',
  issuer: 'orders',
  identity: 'spiffe://corp/workload/api',
  state: 'live',
  acknowledged: true,
  claims: {},
  expiresAt: '2026-11-23T12:43:41.558Z',
  v: 2,
}

describe('items as they lie in the table', () => {
  it('are read as they were written, whatever their attributes are called', () => {
    const name = fc.oneof(
      fc.string(),
      fc.constantFrom('by', 'ended', 'outcomes', 'evidence', 'at', 'case', 'who', 'said', 'O', 'E', 'C'),
      fc.constantFrom('A', 'Z', 'K', '~', '~A', '~~', 'id', 'issuer', 'acknowledged', '__proto__', 'constructor', 'a', 'AA', 'É'),
    )
    const value = fc.oneof(
      fc.string(),
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.dictionary(name, fc.oneof(fc.string(), fc.dictionary(name, fc.oneof(fc.string(), fc.dictionary(name, fc.string()))))),
    )
    fc.assert(
      fc.property(fc.dictionary(name, value), (attributes) => {
        const { kind: _, ...others } = attributes
        const item: Item = { ...others, pk: 'P', sk: 'S' }
        expect(readItem(storedItem(item))).toEqual(item)
      }),
      { numRuns: 500 },
    )
  })

  it('have a name of their own for each attribute', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (one, other) => {
        expect(longName(shortName(one))).toBe(one)
        if (one !== other) expect(shortName(one)).not.toBe(shortName(other))
      }),
    )
    expect(shortName('acknowledged')).toBe('A')
    expect(shortName('A')).toBe('~A')
  })

  it('keep the names of keys, indexes and what the stream is filtered by', () => {
    for (const name of ['pk', 'sk', 'kind', 'state', 'step', 'v', 'by', 'ttl', 'duePk', 'dueAt', 'listPk', 'listAt'])
      expect(shortName(name)).toBe(name)
  })

  it('do not repeat what a lease’s key says', () => {
    const stored = storedItem(lease)
    expect(Object.keys(stored).sort()).toEqual(['A', 'C', 'E', 'I', 'kind', 'pk', 'sk', 'state', 'v'])
    expect(readItem(stored)).toEqual(lease)
  })

  it('keep what a key does not say: a pointer’s lease, another lease’s id', () => {
    const pointer: Item = { pk: 'SCOPE#credential#abc#0', sk: lease.sk, kind: 'pointer', lease: id, issuer: 'orders' }
    expect(readItem(storedItem(pointer))).toEqual(pointer)
    const odd: Item = { ...lease, id: 'another.orders.one', issuer: 'billing' }
    expect(readItem(storedItem(odd))).toEqual(odd)
    const misplaced: Item = { ...lease, sk: `L#billing#${id}` }
    expect(readItem(storedItem(misplaced))).toEqual(misplaced)
  })

  it('are read with their long names where they were written with them', () => {
    expect(readItem({ pk: { S: 'P' }, sk: { S: 'S' }, acknowledged: { BOOL: true } })).toEqual({
      ...{ pk: 'P', sk: 'S' },
      acknowledged: true,
    })
  })

  it('are changed and compared under their short names, which what lies deeper has only where it is known', () => {
    const compiled = compileWrite({
      update: leaseItem(id),
      set: [
        [['outcomes', 'epoch'], { outcome: 'revoked', at: 't', evidence: { said: 'cut', owner: 'x' } }],
        [['claims', 'owner'], { said: 'x' }],
      ],
      remove: ['registerBy'],
      if: [
        ['generation', '=', 0],
        [['ended', 'outcome'], '=', 'absent'],
        ['by', '=', { who: 'me', at: 't' }],
      ],
    })
    expect(Object.values(compiled.ExpressionAttributeNames ?? {})).toEqual([
      'O',
      'epoch',
      'C',
      'owner',
      'v',
      '1',
      'G',
      'X',
      'o',
      'by',
    ])
    expect(Object.values(compiled.ExpressionAttributeValues ?? {})).toMatchObject([
      { M: { o: { S: 'revoked' }, a: { S: 't' }, e: { M: { s: { S: 'cut' }, owner: { S: 'x' } } } } },
      { M: { said: { S: 'x' } } },
      { N: '0' },
      { N: '1' },
      { N: '0' },
      { S: 'absent' },
      { M: { w: { S: 'me' }, a: { S: 't' } } },
    ])
  })

  it('are told by the stream under their long names', () => {
    const dynamodb = { SequenceNumber: '1', NewImage: storedItem(lease) }
    expect(changesOf({ Records: [{ dynamodb }] })).toEqual([{ sequence: '1', before: undefined, after: lease }])
  })
})
