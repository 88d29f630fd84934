import { noOutcomes } from '../contracts/outcome.ts'
import type { Actor, Chunk, Lease } from '../domain/model.ts'
import { actor } from './identities.ts'
import { as } from './items.ts'
import { amendment, caseItem, DUE, leaseItem } from './keys.ts'
import type { Check, Condition, Item, Table, Write } from './table.ts'

/** Leases that came too late for a case's chunks: each is cut by an amendment of its own. */

export const newAmendment = (
  caseId: string,
  lease: Pick<Lease, 'id' | 'issuer'> & Partial<Pick<Lease, 'epoch'>>,
  because: Chunk['because'],
  dueAt: string,
  by: Actor,
): Item => ({
  ...amendment(caseId, lease.id),
  kind: 'amendment',
  case: caseId,
  issuer: lease.issuer,
  covers: { leases: [{ id: lease.id }] },
  epoch: lease.epoch,
  step: 'revoke',
  state: 'open',
  attempts: 0,
  applied: {},
  counts: noOutcomes(),
  because,
  duePk: DUE.chunk,
  dueAt,
  by: actor(by),
})

/** `amended`: its amendment is new, or open again. `known`: it was there, and whoever made it has sent it. */
export type Handover = 'amended' | 'known' | 'acknowledged' | 'over'

/**
 * A lease that was never acknowledged, under a closed fence: it becomes `late` and gets the case's amendment in one
 * transaction, whether or not the case is closed (protocol 2). Repeating it changes nothing.
 */
export async function amend(
  table: Table,
  lease: Lease,
  caseId: string,
  dueAt: string,
  by: Actor,
  because: Chunk['because'] = 'late',
): Promise<Handover> {
  const put = newAmendment(caseId, lease, because, dueAt, by)
  const onLease: Write | Check =
    lease.state === 'registering' ? becomesLate(lease.id, by) : { check: leaseItem(lease.id), if: [['pk', 'exists']] }
  const done = await table.transact([
    onLease,
    { put, if: [['pk', 'absent']] },
    { update: caseItem(caseId), add: [[['amendments', 'expected'], 1]], if: [['pk', 'exists']] },
  ])
  if (done.ok) return 'amended'
  if (done.failed[1] === true) {
    const opened =
      because === 'parked'
        ? await reopenAmendment(table, caseId, lease.id, ['step', '=', 'over'], [isParked(lease.id, caseId)], dueAt, by)
        : await meetAgain(table, caseId, lease, dueAt, by)
    return opened ? 'amended' : 'known'
  }
  const current = done.current[0]
  if (current === undefined) return 'over'
  const now = as('lease', current)
  if (now.acknowledged) return 'acknowledged'
  // Another case made it late, or took it, between our read and our write: this case needs an amendment all the same.
  return lease.state === 'registering' && now.state !== 'registering' ? amend(table, now, caseId, dueAt, by, because) : 'over'
}

/** Whatever its amendment came to: it may have ended with nothing, for another unit of the case had the lease, and parked it. */
const isParked = (lease: string, caseId: string): Check => ({
  check: leaseItem(lease),
  if: [[['outcomes', caseId, 'outcome'], '=', 'parked']],
})

const becomesLate = (lease: string, by: Actor): Write => ({
  update: leaseItem(lease),
  set: [
    ['state', 'late'],
    ['by', actor(by)],
  ],
  remove: ['duePk', 'dueAt'],
  if: [
    ['state', '=', 'registering'],
    ['acknowledged', '=', false],
  ],
})

/**
 * A listing of children or of holders met the lease's pointer and amended the case before the lease was there, or
 * before anybody made it late: now it is, and its amendment has something to do, whoever made it late.
 */
async function meetAgain(table: Table, caseId: string, lease: Lease, dueAt: string, by: Actor): Promise<boolean> {
  const { id, state } = lease
  const isOver: Condition = ['state', '=', 'done']
  if (state === 'registering') {
    const late = becomesLate(id, by)
    const open = await table.transact([late, { check: amendment(caseId, id), if: [['state', '=', 'open']] }])
    if (open.ok || (await reopenAmendment(table, caseId, id, isOver, [late], dueAt, by))) return true
  }
  return reopenAmendment(table, caseId, id, ['missing', '=', true], [], dueAt, by)
}

/** A lease that its amendment parked, or that was not there for it, is tried again by the same amendment, counted once more. */
async function reopenAmendment(
  table: Table,
  caseId: string,
  lease: string,
  where: Condition,
  also: readonly (Write | Check)[],
  dueAt: string,
  by: Actor,
): Promise<boolean> {
  const done = await table.transact([
    ...also,
    {
      update: amendment(caseId, lease),
      set: [
        ['state', 'open'],
        ['step', 'revoke'],
        ['attempts', 0],
        ['duePk', DUE.chunk],
        ['dueAt', dueAt],
        ['by', actor(by)],
      ],
      remove: ['ttl', 'missing'],
      if: [['state', '=', 'done'], where],
    },
    { update: caseItem(caseId), add: [[['amendments', 'expected'], 1]] },
  ])
  return done.ok
}
