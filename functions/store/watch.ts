import type { Actor, Case, Chunk, Lease } from '../domain/model.ts'
import { newAmendment } from './amendments.ts'
import { actor } from './identities.ts'
import { keyOf } from './items.ts'
import { amendment, caseItem, credentialItem, DUE, LIST, leaseItem } from './keys.ts'
import type { Condition, Path, Table, Value, Write } from './table.ts'

/** What comes after the cut: deletion when the soak time is over, and a look now and then whether all is still dead. */

/** When a chunk that is done is looked at again; absent parts are not due any more. */
export interface Afterwards {
  readonly tidyAt?: string | undefined
  readonly watchAt?: string | undefined
  readonly watchUntil?: string | undefined
}

/** The nearer of the two; `undefined`: nothing is left to do. */
export function nextOf({ tidyAt, watchAt }: Afterwards): string | undefined {
  if (tidyAt === undefined || watchAt === undefined) return tidyAt ?? watchAt
  return tidyAt < watchAt ? tidyAt : watchAt
}

type Settings = (readonly [Path, Value])[]
const given = (name: string, value: Value | undefined): Settings => (value === undefined ? [] : [[name, value]])

/** The attributes of a chunk that ends with something left to do afterwards. */
export const beginWatch = (afterwards: Afterwards, dueAt: string): Settings => [
  ['duePk', DUE.chunk],
  ['dueAt', dueAt],
  ['attempts', 0],
  ['watches', 0],
  ...given('tidyAt', afterwards.tidyAt),
  ...given('soakEnds', afterwards.tidyAt),
  ...given('watchAt', afterwards.watchAt),
  ...given('watchUntil', afterwards.watchUntil),
]

export interface Watched extends Afterwards {
  readonly watches: number
  readonly said: string
  /** The deletion was tried and failed. */
  readonly spends: boolean
}

/** Stores when the chunk is looked at again, or that it is over. */
export async function postponeWatch(
  table: Table,
  chunk: Chunk,
  watched: Watched,
  dueAt: string | undefined,
  ttl: number,
  by: Actor,
): Promise<void> {
  await table.write({
    update: keyOf(chunk),
    set: [
      ['said', watched.said],
      ['watches', watched.watches],
      ['resent', 0],
      ['by', actor(by)],
      ...given('tidyAt', watched.tidyAt),
      ...given('watchAt', watched.watchAt),
      ...(dueAt === undefined
        ? ([
            ['step', 'over'],
            ['ttl', ttl],
          ] as const)
        : ([['dueAt', dueAt]] as const)),
    ],
    add: watched.spends ? [['attempts', 1]] : [],
    remove: [
      ...(watched.tidyAt === undefined ? ['tidyAt'] : []),
      ...(watched.watchAt === undefined ? ['watchAt'] : []),
      ...(dueAt === undefined ? ['duePk', 'dueAt'] : []),
    ],
    if: [
      ['step', '=', 'watch'],
      ['state', '=', 'done'],
    ],
  })
}

/** A case stays in the table while its cuts are looked after. */
export async function keepCase(table: Table, current: Case, ttl: number): Promise<void> {
  await table.write({ update: caseItem(current.id), set: [['ttl', ttl]], if: [['ttl', '<', ttl]] })
}

/** The earliest end of a soak time in a case: until then everything that it cut can be restored. */
export async function noteSoak(table: Table, caseId: string, soakEnds: string): Promise<void> {
  await table.write({
    update: caseItem(caseId),
    set: [['restorableUntil', soakEnds]],
    if: [
      ['pk', 'exists'],
      {
        or: [
          ['restorableUntil', 'absent'],
          ['restorableUntil', '>', soakEnds],
        ],
      },
    ],
  })
}

const asRead = (lease: Lease): Condition[] => [
  ['state', '=', lease.state],
  ['generation', '=', lease.generation],
]

/**
 * Marks a lease before what its cut left behind is deleted: from then on nobody can restore it, and it cannot be marked
 * while somebody does. A shared credential is marked with it.
 */
export function markDeletion(lease: Lease, by: Actor): Write[] {
  const mark: Write = {
    update: leaseItem(lease.id),
    set: [
      ['deletion', { at: by.at, done: false }],
      ['by', actor(by)],
    ],
    if: [...asRead(lease), ['deletion', 'absent']],
  }
  if (lease.sharing === 'exclusive') return [mark]
  return [
    mark,
    {
      update: credentialItem(lease.fingerprint),
      setOnce: [['deletion', { at: by.at }]],
      set: [['by', actor(by)]],
      if: [
        ['cutting', '=', true],
        ['restoring', 'absent'],
      ],
    },
  ]
}

/** What is still to be deleted stays in the table. */
export const keepLease = (lease: Lease, ttl: number): Write => ({
  update: leaseItem(lease.id),
  set: [['ttl', ttl]],
  if: [...asRead(lease), ['ttl', '<', ttl]],
})

/** It is deleted: nothing is shown of it any more. */
export const markDeleted = (lease: Lease, ttl: number, by: Actor): Write => ({
  update: leaseItem(lease.id),
  set: [
    ['deletion', { at: by.at, done: true }],
    ['ttl', ttl],
    ['by', actor(by)],
  ],
  remove: ['left', 'listPk', 'listAt'],
  if: asRead(lease),
})

/**
 * It could not be deleted: it is shown until it is, and stays in the table so long.
 *
 * @param keepsMark whether the deletion may have happened all the same
 */
export function leaveBehind(lease: Lease, said: string, keepsMark: boolean, by: Actor): Write[] {
  const shown: Write = {
    update: leaseItem(lease.id),
    set: [
      ['left', { said, at: lease.left?.at ?? by.at }],
      ['listPk', LIST.tidy],
      ['listAt', lease.left?.at ?? by.at],
      ['by', actor(by)],
    ],
    remove: ['ttl', ...(keepsMark ? [] : ['deletion'])],
    if: asRead(lease),
  }
  if (keepsMark || lease.sharing === 'exclusive') return [shown]
  return [shown, { update: credentialItem(lease.fingerprint), remove: ['deletion'], set: [['by', actor(by)]] }]
}

/** `busy`: an amendment of the lease is open; the next look tries again. `over`: the lease is something else by now. */
export type Resurrected = 'done' | 'busy' | 'over'

/**
 * What was cut lives again. In one transaction the lease is to be cut once more, an amendment of the case does it, and
 * the case is open again if it was closed. Its counts stay: the amendment is counted beside them.
 */
export async function resurrect(
  table: Table,
  lease: Lease,
  current: Case,
  dueAt: string,
  ttl: number,
  by: Actor,
): Promise<Resurrected> {
  const closed = current.closedAt !== undefined
  const lives: Write = {
    update: leaseItem(lease.id),
    set: [
      ['state', 'resurrected'],
      ['by', actor(by)],
    ],
    // The case meets it as if for the first time: what it said of it stands in the trail.
    remove: ['ttl', 'left', 'listPk', 'listAt', ['claims', current.id], ['outcomes', current.id]],
    if: [...asRead(lease), [['ended', 'case'], '=', current.id], ['deletion', 'absent']],
  }
  const reopened: Write = {
    update: caseItem(current.id),
    add: [
      [['amendments', 'expected'], 1],
      ['resurrections', 1],
    ],
    set: [
      ['by', actor(by)],
      ...(closed
        ? ([
            ['state', 'resurrected'],
            ['duePk', DUE.case],
            ['dueAt', dueAt],
            ['ttl', ttl],
          ] as const)
        : []),
    ],
    if: [closed ? ['closedAt', 'exists'] : ['closedAt', 'absent']],
  }
  const made = await table.transact([
    lives,
    reopened,
    { put: newAmendment(current.id, lease, 'resurrected', dueAt, by), if: [['pk', 'absent']] },
  ])
  if (made.ok) return 'done'
  if (made.failed[0] === true) return 'over'
  const again = await table.transact([
    lives,
    reopened,
    {
      update: amendment(current.id, lease.id),
      set: [
        ['state', 'open'],
        ['step', 'revoke'],
        ['because', 'resurrected'],
        ['attempts', 0],
        ['resent', 0],
        ['duePk', DUE.chunk],
        ['dueAt', dueAt],
        ['by', actor(by)],
      ],
      remove: ['ttl', 'said', 'tidyAt', 'soakEnds', 'watchAt', 'watchUntil', 'watches'],
      if: [['state', '=', 'done']],
    },
  ])
  if (again.ok) return 'done'
  return again.failed[0] === true ? 'over' : 'busy'
}

/**
 * What came too late or lived again, and could only be watched, may be cut by now: the amendment that watched it is open once more, counted
 * once more. `false`: it is something else by now.
 */
export async function cutWatched(table: Table, lease: Lease, caseId: string, dueAt: string, by: Actor): Promise<boolean> {
  const done = await table.transact([
    {
      update: leaseItem(lease.id),
      set: [['by', actor(by)]],
      remove: ['duePk', 'dueAt', ['claims', caseId], ['outcomes', caseId]],
      if: asRead(lease),
    },
    { update: caseItem(caseId), add: [[['amendments', 'expected'], 1]], set: [['by', actor(by)]], if: [['pk', 'exists']] },
    {
      update: amendment(caseId, lease.id),
      set: [
        ['state', 'open'],
        ['step', 'revoke'],
        ['attempts', 0],
        ['resent', 0],
        ['duePk', DUE.chunk],
        ['dueAt', dueAt],
        ['by', actor(by)],
      ],
      remove: ['ttl', 'said', 'tidyAt', 'soakEnds', 'watchAt', 'watchUntil', 'watches'],
      if: [['state', '=', 'done']],
    },
  ])
  return done.ok
}

/** A case that was open again is closed again when its amendments are done. */
export async function closeAgain(table: Table, current: Case, ttl: number, by: Actor): Promise<boolean> {
  const done = await table.write({
    update: caseItem(current.id),
    set: [
      ['state', 'closed'],
      ['ttl', ttl],
      ['by', actor(by)],
    ],
    remove: ['duePk', 'dueAt'],
    if: [
      ['state', '=', 'resurrected'],
      [['amendments', 'done'], '=', current.amendments.expected],
      [['amendments', 'expected'], '=', current.amendments.expected],
    ],
  })
  return done.ok
}
