import type { CaseState } from '../contracts/case.ts'
import { noOutcomes } from '../contracts/outcome.ts'
import type { CaseType, Lane } from '../contracts/primitives.ts'
import type { CaseScope } from '../contracts/scope.ts'
import type { Actor, Case, Identity } from '../domain/model.ts'
import { actor, plain } from './identities.ts'
import { read } from './items.ts'
import { caseItem, DUE, eventItem, identityItem, LIST } from './keys.ts'
import type { Check, Item, Table, Write } from './table.ts'

export interface NewCase {
  readonly id: string
  /** Hash of the authenticated source and the event's id. */
  readonly event: string
  readonly type: CaseType
  readonly lane: Lane
  readonly scope: CaseScope
  readonly source: string
  readonly eventId: string
  readonly reason: string
  readonly requestedBy?: string
  readonly requester: string
  readonly effectiveAt: string
  readonly state: 'scheduled' | 'held' | 'opened'
  readonly held?: string
  readonly cause?: Case['cause']
}

export const caseOf = (table: Table, id: string): Promise<Case | undefined> => read(table, 'case', caseItem(id))

const caseOfNew = (opened: NewCase, dueAt: string, by: Actor): Item => ({
  ...caseItem(opened.id),
  kind: 'case',
  id: opened.id,
  type: opened.type,
  lane: opened.lane,
  mode: 'enforce',
  scope: opened.scope,
  state: opened.state,
  source: opened.source,
  eventId: opened.eventId,
  reason: opened.reason,
  requestedBy: opened.requestedBy,
  requester: opened.requester,
  effectiveAt: opened.effectiveAt,
  openedAt: by.at,
  sealed: false,
  held: opened.held === undefined ? undefined : { reason: opened.held, since: by.at },
  decisions: [],
  identities: 0,
  orphans: 0,
  bystanders: 0,
  levers: { expected: 0, done: 0, failed: 0 },
  scans: { expected: 0, done: 0 },
  counts: noOutcomes(),
  amendments: { expected: 0, done: 0 },
  amendCounts: noOutcomes(),
  noted: 0,
  cause: opened.cause,
  listPk: LIST.case,
  listAt: by.at,
  ...(opened.state === 'held' ? {} : { duePk: DUE.case, dueAt }),
  by: actor({ ...by, case: opened.id, trigger: opened.type }),
})

const eventOf = (opened: NewCase, by: Actor): Write => ({
  put: {
    ...eventItem(opened.event),
    kind: 'event',
    case: opened.id,
    source: opened.source,
    eventId: opened.eventId,
    by: actor(by),
  },
  if: [['pk', 'absent']],
})

/** Which case an event was taken into, if it was. */
export async function caseOfEvent(table: Table, event: string): Promise<string | undefined> {
  const item = await table.get(eventItem(event))
  return item === undefined ? undefined : String(item.case)
}

/**
 * Writes EVENT and CASE in one transaction (protocol 3), with further conditions if need be. `false`: the event was
 * taken before, or a condition failed.
 *
 * @param dueAt when the sweeper looks after it, if nobody else does
 */
export async function openCase(
  table: Table,
  opened: NewCase,
  dueAt: string,
  by: Actor,
  also: readonly (Write | Check)[] = [],
): Promise<boolean> {
  const done = await table.transact([eventOf(opened, by), { put: caseOfNew(opened, dueAt, by), if: [['pk', 'absent']] }, ...also])
  return done.ok
}

/**
 * Notes an equal trigger on a running case, in one transaction with its EVENT and conditional on the case's item: it
 * runs, it is not sealed, and it is of the epoch just read (protocol 12).
 */
export async function noteOn(table: Table, running: Case, opened: NewCase, epoch: number, by: Actor): Promise<boolean> {
  const done = await table.transact([
    { ...eventOf({ ...opened, id: running.id }, by) },
    {
      update: caseItem(running.id),
      add: [['noted', 1]],
      set: [['by', actor({ ...by, case: running.id, trigger: running.type })]],
      if: [['sealed', '=', false], ['epoch', '=', epoch], { or: RUNNING.map((state) => ['state', '=', state] as const) }],
    },
  ])
  return done.ok
}

export const RUNNING: readonly CaseState[] = ['opened', 'fenced', 'contained', 'revoking', 'verifying']

/** Starts a scheduled case whose time has come, or a held one that is approved; `false` where it is in another state now. */
export async function startCase(
  table: Table,
  id: string,
  from: 'scheduled' | 'held',
  dueAt: string,
  decision: Case['decisions'],
  by: Actor,
): Promise<boolean> {
  const done = await table.write({
    update: caseItem(id),
    set: [
      ['state', 'opened'],
      ['decisions', plain(decision)],
      ['duePk', DUE.case],
      ['dueAt', dueAt],
      ['by', actor(by)],
    ],
    remove: ['held'],
    if: [['state', '=', from]],
  })
  return done.ok
}

/** A scheduled case that must wait for an approval after all. */
export async function holdCase(table: Table, id: string, reason: string, by: Actor): Promise<void> {
  await table.write({
    update: caseItem(id),
    set: [
      ['state', 'held'],
      ['held', { reason, since: by.at }],
      ['by', actor(by)],
    ],
    remove: ['duePk', 'dueAt'],
    if: [['state', '=', 'scheduled']],
  })
}

/** An approval before the effective time makes a held case a scheduled one. */
export async function scheduleCase(table: Table, current: Case, decision: Case['decisions'], by: Actor): Promise<boolean> {
  const done = await table.write({
    update: caseItem(current.id),
    set: [
      ['state', 'scheduled'],
      ['decisions', plain(decision)],
      ['duePk', DUE.case],
      ['dueAt', current.effectiveAt],
      ['by', actor(by)],
    ],
    remove: ['held'],
    if: [['state', '=', 'held']],
  })
  return done.ok
}

/** Cancelling works from scheduled or held alone: what was fenced cannot be called back. */
export async function cancelCase(
  table: Table,
  id: string,
  decision: Case['decisions'],
  ttl: number,
  by: Actor,
): Promise<boolean> {
  const done = await table.write({
    update: caseItem(id),
    set: [
      ['state', 'cancelled'],
      ['decisions', plain(decision)],
      ['closedAt', by.at],
      ['ttl', ttl],
      ['by', actor(by)],
    ],
    remove: ['duePk', 'dueAt', 'held'],
    if: [
      {
        or: [
          ['state', '=', 'scheduled'],
          ['state', '=', 'held'],
        ],
      },
    ],
  })
  return done.ok
}

/** Sets a moment of the case once. */
export async function markFenced(table: Table, id: string, by: Actor): Promise<void> {
  await table.write({
    update: caseItem(id),
    set: [
      ['state', 'fenced'],
      ['fencedAt', by.at],
      ['by', actor(by)],
    ],
    remove: ['fencing'],
    if: [
      ['fencedAt', 'absent'],
      ['state', '=', 'opened'],
    ],
  })
}

/** All identities are listed: from now on the number of scans stands. */
export async function sealCase(table: Table, id: string, by: Actor): Promise<void> {
  await table.write({
    update: caseItem(id),
    set: [
      ['sealed', true],
      ['sealedAt', by.at],
      ['state', 'revoking'],
      ['by', actor(by)],
    ],
    remove: ['listed'],
    if: [['sealed', '=', false], { or: RUNNING.map((state) => ['state', '=', state] as const) }],
  })
}

/** How far the fencing of a group's members has come: nobody joins or leaves a fenced group, so it goes on there. */
export async function fencedUpTo(table: Table, id: string, cursor: string): Promise<void> {
  await table.write({ update: caseItem(id), set: [['fencing', cursor]], if: [['fencedAt', 'absent']] })
}

/** How far the listing of a group has come, so that a planner that was killed goes on there. */
export async function listedUpTo(table: Table, id: string, cursor: string): Promise<void> {
  await table.write({ update: caseItem(id), set: [['listed', cursor]], if: [['sealed', '=', false]] })
}

/** Conditions of closing (protocol 10): sealed, every unit complete, and not closed. */
export const isFinished = (current: Case): boolean =>
  current.sealed && current.closedAt === undefined && current.scans.done === current.scans.expected

export async function closeCase(table: Table, current: Case, ttl: number, by: Actor): Promise<boolean> {
  const done = await table.write({
    update: caseItem(current.id),
    set: [
      ['state', 'closed'],
      ['closedAt', by.at],
      ['ttl', ttl],
      ['by', actor(by)],
    ],
    remove: ['duePk', 'dueAt'],
    if: [
      ['closedAt', 'absent'],
      ['sealed', '=', true],
      [['scans', 'done'], '=', current.scans.expected],
      [['scans', 'expected'], '=', current.scans.expected],
    ],
  })
  return done.ok
}

export async function markContained(table: Table, id: string, by: Actor): Promise<void> {
  await table.write({
    update: caseItem(id),
    set: [
      ['containedAt', by.at],
      ['by', actor(by)],
    ],
    if: [['containedAt', 'absent']],
  })
}

export async function moveState(table: Table, id: string, from: readonly CaseState[], to: CaseState, by: Actor): Promise<void> {
  await table.write({
    update: caseItem(id),
    set: [
      ['state', to],
      ['by', actor(by)],
    ],
    if: [{ or: from.map((state) => ['state', '=', state] as const) }],
  })
}

export async function postponeCase(table: Table, id: string, dueAt: string): Promise<void> {
  await table.write({ update: caseItem(id), set: [['dueAt', dueAt]], if: [['duePk', 'exists']] })
}

/** The condition under which an orphan's deadline opens a case: it is still the same orphan. */
export const stillOrphan = (identity: Identity, by: Actor): Write => ({
  update: identityItem(identity.key),
  set: [['by', actor(by)]],
  remove: ['orphan', 'duePk', 'dueAt', 'listPk', 'listAt'],
  if: [
    ['v', '=', identity.v],
    ['orphan', 'exists'],
  ],
})
