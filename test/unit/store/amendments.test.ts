import { describe, expect, it } from 'vitest'
import { noOutcomes } from '../../../functions/contracts/outcome.ts'
import type { Actor } from '../../../functions/domain/model.ts'
import { amend } from '../../../functions/store/amendments.ts'
import { caseItem, leaseItem } from '../../../functions/store/keys.ts'
import { leaseOf } from '../../../functions/store/leases.ts'
import type { Table } from '../../../functions/store/table.ts'
import { amendmentOf, finishChunk } from '../../../functions/store/work.ts'
import { MemoryTable } from '../../support/memory-table.ts'

const by: Actor = { who: 'test', at: '2026-01-01T00:00:00.000Z' }
const dueAt = '2026-01-01T00:02:00.000Z'
const id = 'identity.database.lease'

const newCase = (table: Table, name: string) =>
  table.write({
    put: { ...caseItem(name), kind: 'case', id: name, amendments: { expected: 0, done: 0 }, amendCounts: noOutcomes() },
  })
const newLease = (table: Table, state: string) =>
  table.write({
    put: {
      ...leaseItem(id),
      kind: 'lease',
      id,
      identity: 'spiffe://a/b',
      issuer: 'database',
      epoch: 0,
      state,
      acknowledged: false,
      claims: {},
      outcomes: {},
    },
  })

/** The amendment of a child whose pointer was listed before its lease was there. */
async function listed(table: Table, caseId: string) {
  await newCase(table, caseId)
  await newLease(table, 'late')
  const lease = await leaseOf(table, id)
  if (lease === undefined) throw new Error('no lease')
  await amend(table, lease, caseId, dueAt, by, 'child')
  await table.write({ delete: leaseItem(id) })
  const found = await amendmentOf(table, caseId, id)
  if (found === undefined) throw new Error('no amendment')
  return found
}

describe('an amendment whose lease is not there', () => {
  it('ends, and is opened again by whoever meets the lease, though another case has made it late', async () => {
    const table = new MemoryTable()
    const chunk = await listed(table, 'one')
    expect(await finishChunk(table, chunk, noOutcomes(), {}, undefined, 0, by, [], { missing: id })).toBe(true)
    await newLease(table, 'late')
    const lease = await leaseOf(table, id)
    if (lease === undefined) throw new Error('no lease')
    expect(await amend(table, lease, 'one', dueAt, by)).toBe('amended')
    expect(await amendmentOf(table, 'one', id)).toMatchObject({ state: 'open', step: 'revoke', dueAt })
    expect(await amend(table, lease, 'one', dueAt, by)).toBe('known')
    expect((await table.get(caseItem('one')))?.['amendments']).toEqual({ expected: 2, done: 1 })
  })

  it('is opened again by a registrar that still takes the lease for registering', async () => {
    const table = new MemoryTable()
    const chunk = await listed(table, 'one')
    await finishChunk(table, chunk, noOutcomes(), {}, undefined, 0, by, [], { missing: id })
    await newLease(table, 'registering')
    const lease = await leaseOf(table, id)
    if (lease === undefined) throw new Error('no lease')
    await newCase(table, 'two')
    expect(await amend(table, lease, 'two', dueAt, by)).toBe('amended')
    expect((await leaseOf(table, id))?.state).toBe('late')
    expect(await amend(table, lease, 'one', dueAt, by)).toBe('amended')
    expect((await amendmentOf(table, 'one', id))?.state).toBe('open')
  })

  it('does not end where the lease came since it was looked for', async () => {
    const table = new MemoryTable()
    const chunk = await listed(table, 'one')
    await newLease(table, 'registering')
    const lease = await leaseOf(table, id)
    if (lease === undefined) throw new Error('no lease')
    // The registrar hands it over to the amendment that is open.
    expect(await amend(table, lease, 'one', dueAt, by)).toBe('amended')
    expect(await finishChunk(table, chunk, noOutcomes(), {}, undefined, 0, by, [], { missing: id })).toBe(false)
    expect((await amendmentOf(table, 'one', id))?.state).toBe('open')
  })

  it('that met its lease stays over', async () => {
    const table = new MemoryTable()
    const chunk = await listed(table, 'one')
    await newLease(table, 'late')
    await finishChunk(table, chunk, noOutcomes(), {}, undefined, 0, by)
    const lease = await leaseOf(table, id)
    if (lease === undefined) throw new Error('no lease')
    expect(await amend(table, lease, 'one', dueAt, by)).toBe('known')
    expect((await amendmentOf(table, 'one', id))?.state).toBe('done')
  })
})
