import type { Modes } from '../contracts/mode.ts'
import type { Lane } from '../contracts/primitives.ts'
import type { Actor, Case, Lease } from '../domain/model.ts'
import { openCase, sealCase } from './cases.ts'
import { caseItem, leaseItem, progressItem } from './keys.ts'
import type { Table, Write } from './table.ts'
import { newChunk, newProgress } from './units.ts'

/** Leases in one chunk of a case from inside, so that the chunk and the marks on its leases fit one transaction. */
const CHUNK = 45

export interface NewExpiry {
  readonly id: string
  readonly event: string
  readonly eventId: string
  readonly issuer: string
  readonly cause: NonNullable<Case['cause']>
  readonly reason: string
  readonly lane: Lane
  readonly requester?: string
  readonly modes: Modes
}

/**
 * Opens a case from inside over named leases of one issuer, and writes their chunks. Each chunk remembers the expiry
 * that was seen, so that a renewal beats it; the leases' due time is pushed in the same transaction, so that the next
 * tick does not take them again while they are worked on. Leases that changed in between are left to the next tick.
 *
 * @returns the names of the chunks that were written
 */
export async function openExpiry(
  table: Table,
  expiry: NewExpiry,
  leases: readonly Lease[],
  dueAt: string,
  by: Actor,
): Promise<string[]> {
  const scope = `leases#${expiry.issuer}` as const
  await openCase(
    table,
    {
      id: expiry.id,
      event: expiry.event,
      type: 'expired',
      lane: expiry.lane,
      scope: { kind: 'leases', id: expiry.eventId },
      source: 'rescind',
      eventId: expiry.eventId,
      reason: expiry.reason,
      requester: expiry.requester ?? 'rescind',
      effectiveAt: by.at,
      state: 'opened',
      cause: expiry.cause,
      modes: expiry.modes,
    },
    dueAt,
    by,
  )
  await table.transact([
    { put: newProgress(expiry.id, scope, 0, undefined, false, 0, by), if: [['pk', 'absent']] },
    { update: caseItem(expiry.id), add: [[['scans', 'expected'], 1]], if: [['sealed', '=', false]] },
    {
      put: {
        ...caseItem(expiry.id),
        sk: `UNIT#${scope}`,
        kind: 'unit',
        case: expiry.id,
        scope,
        state: 'listed',
        shards: [0],
        by: { ...by },
      },
    },
  ])
  const written: string[] = []
  for (let start = 0; start < leases.length; start += CHUNK) {
    const batch = leases.slice(start, start + CHUNK)
    const first = batch[0]
    if (first === undefined) break
    // Named by its first lease and that lease's version: a repeated tick writes the same chunk or none.
    const name = `${String(start / CHUNK + 1).padStart(6, '0')}.${first.id.slice(-26)}.${first.v}`
    const covers = { leases: batch.map(({ id, expiresAt }) => (expiry.cause === 'expiry' ? { id, expiresAt } : { id })) }
    const done = await table.transact([
      {
        put: newChunk(expiry.id, `${scope}#0`, undefined, { name, issuer: expiry.issuer, covers, because: 'scan' }, dueAt, by),
        if: [['pk', 'absent']],
      },
      { update: progressItem(expiry.id, `${scope}#0`), add: [['expected', 1]], if: [['sealed', '=', false]] },
      ...batch.map(
        (lease): Write => ({
          update: leaseItem(lease.id),
          set:
            expiry.cause === 'given-back'
              ? [
                  ['givenBack', expiry.id],
                  ['by', { ...by }],
                ]
              : [['dueAt', dueAt]],
          if: [
            ['state', '=', lease.state],
            ['expiresAt', '=', lease.expiresAt],
          ],
        }),
      ),
    ])
    if (done.ok) written.push(name)
  }
  return written
}

/** No more chunks will come. */
export async function sealExpiry(table: Table, id: string, issuer: string, by: Actor): Promise<void> {
  await table.write({
    update: progressItem(id, `leases#${issuer}#0`),
    set: [
      ['sealed', true],
      ['by', { ...by }],
    ],
    if: [['sealed', '=', false]],
  })
  await sealCase(table, id, by)
}

/** The issuers whose leases a case from inside covers. */
export async function issuersOfExpiry(table: Table, id: string): Promise<string[]> {
  const page = await table.query({ pk: caseItem(id).pk, prefix: 'UNIT#leases#', limit: 100 })
  return page.items.map(({ sk }) => sk.slice('UNIT#leases#'.length))
}
