import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { identityKey, SHARDS } from '../../functions/domain/keys.ts'
import type { Chunk } from '../../functions/domain/model.ts'
import { packed } from '../../functions/plan/whole.ts'
import { leasesOfCase } from '../../functions/store/case-leases.ts'
import { as } from '../../functions/store/items.ts'
import { app, Pipeline } from '../support/pipeline.ts'

const OPERATOR = { uri: 'spiffe://example.org/operator/bob', approve: true }

const chunksIn = ({ table }: Pipeline): Chunk[] =>
  table.all().flatMap((item) => (item.kind === 'chunk' ? [as('chunk', item)] : []))
const progressIn = ({ table }: Pipeline) => table.all().filter(({ kind }) => kind === 'progress')

async function installation(leases: number, issuers = ['db']) {
  const pipeline = new Pipeline()
  for (const name of issuers) await pipeline.issuer(name)
  const ids: string[] = []
  for (let place = 0; place < leases; place += 1)
    ids.push((await pipeline.lease(`role-${place}`, { issuer: issuers[place % issuers.length] ?? 'db' })).id)
  await pipeline.settle()
  return { pipeline, ids }
}
const isCut = (pipeline: Pipeline, place: number, issuer: string) =>
  pipeline.issuers.get(issuer)?.credentials.get(`role-${place}`)?.alive === false

describe('a scope that holds little', () => {
  it('is one progress and one chunk for each issuer, whatever number of shards it lies in, and each lease is cut once', async () => {
    const { pipeline, ids } = await installation(24, ['db', 'other'])
    const before = pipeline.sent.length
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    const found = pipeline.case(id)
    expect(found).toMatchObject({ state: 'closed', counts: { revoked: 24 }, scans: { expected: 1, done: 1 } })
    expect(progressIn(pipeline)).toHaveLength(1)
    const chunks = chunksIn(pipeline)
    expect(chunks.map(({ issuer }) => issuer).sort()).toEqual(['db', 'other'])
    for (const { covers } of chunks) expect('shards' in covers && covers.shards.length).toBeGreaterThan(3)
    // One to plan, and one for each chunk.
    expect(pipeline.sent.length - before).toBe(3)
    for (const place of ids.keys()) expect(isCut(pipeline, place, place % 2 === 0 ? 'db' : 'other')).toBe(true)
  })

  it('is listed page by page to operators, each lease once, however small the pages', async () => {
    const { pipeline, ids } = await installation(24, ['db', 'other'])
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    for (const limit of [1, 2, 5, 7, 100]) {
      const seen: string[] = []
      let cursor: string | undefined
      do {
        const page = await leasesOfCase(pipeline.table, id, cursor, limit)
        expect(page.leases.length).toBeLessThanOrEqual(limit)
        seen.push(...page.leases.map(({ lease }) => lease.id))
        cursor = page.next
      } while (cursor !== undefined)
      expect(seen.toSorted()).toEqual(ids.toSorted())
    }
  })

  it('is restored by its case as it was cut', async () => {
    const { pipeline, ids } = await installation(12)
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.restore.restoreCase(id, { reason: 'a false alarm', undoesCompromise: true }, OPERATOR)
    await pipeline.settle()
    for (const place of ids.keys()) expect(isCut(pipeline, place, 'db')).toBe(false)
  })

  it('is listed by the next planner where one was killed, before or after it was written', async () => {
    for (const after of [false, true]) {
      const { pipeline } = await installation(6)
      let killed = false
      const transact = pipeline.table.transact.bind(pipeline.table)
      pipeline.table.transact = async (operations) => {
        const lists = operations.some((operation) => 'put' in operation && operation.put.kind === 'chunk')
        if (!lists || killed) return transact(operations)
        killed = true
        if (after) await transact(operations)
        throw new Error('killed')
      }
      const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
      await pipeline.settle()
      for (let minute = 0; minute < 6; minute += 1) await pipeline.pass(60)
      expect(killed).toBe(true)
      expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 6 }, scans: { expected: 1, done: 1 } })
    }
  })

  it('goes shard by shard where one of them holds more than a chunk takes', async () => {
    const { pipeline } = await installation(4)
    const pk = `SCOPE#identity#${identityKey(app)}#3`
    const query = pipeline.table.query.bind(pipeline.table)
    pipeline.table.query = async (input) => {
      const page = await query(input)
      return input.pk === pk && input.limit > 1 && input.after === undefined ? { items: [], next: 'L#a' } : page
    }
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 4 } })
    for (const { covers } of chunksIn(pipeline)) expect(covers).toHaveProperty('from')
  })
})

describe('shards of one issuer in one chunk', () => {
  const shards = fc
    .uniqueArray(fc.integer({ min: 0, max: SHARDS.identity - 1 }), { minLength: 1, maxLength: SHARDS.identity })
    .chain((numbers) =>
      fc.tuple(fc.constant(numbers), fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 16, maxLength: 16 })),
    )
    .map(([numbers, leases]) => numbers.map((shard, place) => ({ shard, leases: leases[place] ?? 1 })))

  it('covers each shard once, in their order, and no more together than one call cuts', () => {
    fc.assert(
      fc.property(shards, fc.integer({ min: 1, max: 100 }), (held, most) => {
        const packs = packed(held, most)
        expect(packs.flat()).toEqual(held.map(({ shard }) => shard))
        const leasesOf = (pack: readonly number[]) =>
          held.filter(({ shard }) => pack.includes(shard)).reduce((sum, { leases }) => sum + leases, 0)
        for (const pack of packs) expect(pack.length === 1 || leasesOf(pack) <= most).toBe(true)
        // Nothing that would have fitted stands by itself.
        for (const [place, pack] of packs.entries()) {
          const next = packs[place + 1]?.slice(0, 1)
          if (next !== undefined) expect(leasesOf(pack) + leasesOf(next)).toBeGreaterThan(most)
        }
      }),
    )
  })
})
