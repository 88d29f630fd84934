import { expect, it } from 'vitest'
import type { Actor } from '../../../functions/domain/model.ts'
import { leaseItem } from '../../../functions/store/keys.ts'
import { claimOperations, leaseOf } from '../../../functions/store/leases.ts'
import { giveBack, intendRestore } from '../../../functions/store/restorations.ts'
import { MemoryTable } from '../../support/memory-table.ts'

const by: Actor = { who: 'test', at: '2026-01-01T00:00:00.000Z' }
const id = 'identity.database.lease'

it('a case that read a lease before its restoration calls does not take it without knowing of the call', async () => {
  const table = new MemoryTable()
  const lease = { id, identity: 'spiffe://a/b', issuer: 'database', state: 'restoring', restoration: 'back', generation: 3 }
  await table.write({ put: { ...leaseItem(id), kind: 'lease', ...lease, expiresAt: 'later', claims: {}, outcomes: {} } })
  const seen = await leaseOf(table, id)
  if (seen === undefined) throw new Error('no lease')
  expect((await table.write(intendRestore(seen, 'back', by))).ok).toBe(true)
  const asker = { case: 'one', lane: 'p0' as const, unit: 'unit', unanswered: true }
  expect((await table.transact(claimOperations(seen, undefined, asker, by))).ok).toBe(false)
  const now = await leaseOf(table, id)
  if (now === undefined) throw new Error('no lease')
  expect(now.unsettledUntil).toBeDefined()
  expect((await table.write(giveBack(now, 'back', [], 'zero', 'it lives', by))).ok).toBe(true)
})
