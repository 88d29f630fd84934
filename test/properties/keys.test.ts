import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { KEY } from '../../functions/contracts/primitives.ts'
import { key, leaseIdFor, parseLeaseId, SHARDS, shardOf } from '../../functions/domain/keys.ts'
import { leaseItem, leaseOfSort } from '../../functions/store/keys.ts'

const name = fc.string({ unit: 'binary', maxLength: 60 })

describe('keys', () => {
  it('different lists of parts have different keys, however the parts are cut', async () => {
    await fc.assert(
      fc.property(fc.array(name, { maxLength: 4 }), fc.array(name, { maxLength: 4 }), (one, other) => {
        fc.pre(JSON.stringify(one) !== JSON.stringify(other))
        // Lone surrogates encode alike: contracts refuse them.
        fc.pre([...one, ...other].every((text) => text.isWellFormed()))
        expect(key(...one)).not.toBe(key(...other))
      }),
    )
  })
  it('whatever the name, a key is 26 letters of one alphabet', async () => {
    await fc.assert(fc.property(fc.array(name), (parts) => void expect(key(...parts)).toMatch(KEY)))
  })
  it('a lease id names its partition and sort key, and back', async () => {
    await fc.assert(
      fc.property(name, name, name, (identity, registrar, idempotency) => {
        const owner = key('identity', identity)
        const id = leaseIdFor(owner, 'db-1', registrar, idempotency)
        expect(parseLeaseId(id)).toEqual({ identity: owner, issuer: 'db-1' })
        const item = leaseItem(id)
        expect(leaseOfSort(item.sk)).toEqual({ issuer: 'db-1', lease: id })
        expect(item.pk).toBe(`SCOPE#identity#${owner}#${shardOf(id, SHARDS.identity)}`)
      }),
    )
  })
  it('spreads an identity’s leases over all its shards', () => {
    const seen = new Map<number, number>()
    for (let index = 0; index < 16_000; index += 1) {
      const shard = shardOf(leaseIdFor(key('identity', 'a'), 'db', 'r', String(index)), SHARDS.identity)
      seen.set(shard, (seen.get(shard) ?? 0) + 1)
    }
    expect(seen.size).toBe(16)
    for (const count of seen.values()) expect(count).toBeGreaterThan(800)
  })
})
