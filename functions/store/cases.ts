import type { CaseState } from '../contracts/case.ts'
import { noOutcomes } from '../contracts/outcome.ts'
import type { CaseType, Lane } from '../contracts/primitives.ts'
import type { CaseScope, ScopeRef } from '../contracts/scope.ts'
import type { Actor, Case, Chunk, Coverage, Identity, Lease, Lever, Progress, Unit } from '../domain/model.ts'
import { actor, plain } from './identities.ts'
import { as, read } from './items.ts'
import {
  amendment,
  caseItem,
  caseLever,
  casePartition,
  chunkItem,
  DUE,
  eventItem,
  identityItem,
  LIST,
  leaseItem,
  progressItem,
  unitItem,
} from './keys.ts'
import type { Check, Condition, Item, Table, Write } from './table.ts'

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

/** Stores the epoch that the case fences through, once, before it fences (protocol 5). */
export async function openUnit(
  table: Table,
  current: Case,
  scope: ScopeRef,
  identity: Identity | undefined,
  by: Actor,
): Promise<Unit> {
  const key = unitItem(current.id, scope)
  const known = await read(table, 'unit', key)
  if (known !== undefined) return known
  const put: Item = {
    ...key,
    kind: 'unit',
    case: current.id,
    scope,
    identity: identity?.id,
    epoch: identity?.epoch,
    state: 'opened',
    shards: [],
    by: actor(by),
  }
  const operations: Write[] = [{ put, if: [['pk', 'absent']] }]
  if (identity !== undefined)
    operations.push({
      update: caseItem(current.id),
      add: [['identities', 1]],
      ...(current.scope.kind === 'identity' ? { set: [['epoch', identity.epoch]] as const } : {}),
    })
  const done = await table.transact(operations)
  if (done.ok) return as('unit', { ...put, v: 1 })
  const other = await read(table, 'unit', key)
  if (other === undefined) throw new Error('a unit of the case could not be opened')
  return other
}

/** The units of a case, page by page. */
export async function unitsOf(
  table: Table,
  id: string,
  after: string | undefined,
  limit: number,
): Promise<{ units: Unit[]; next?: string }> {
  const page = await table.query({
    pk: casePartition(id),
    limit,
    ...(after === undefined ? { prefix: 'UNIT#' } : { after, to: 'UNIT#~' }),
  })
  return { units: page.items.map((item) => as('unit', item)), ...(page.next === undefined ? {} : { next: page.next }) }
}

/** Marks a unit that ends here: an orphan that stays up, a protected identity with a case of its own, one that moved away. */
export async function setUnitAside(
  table: Table,
  current: Case,
  unit: Unit,
  state: 'orphan' | 'split' | 'moved',
  by: Actor,
): Promise<void> {
  await table.transact([
    {
      update: unitItem(current.id, unit.scope as ScopeRef),
      set: [
        ['state', state],
        ['by', actor(by)],
      ],
      if: [['state', '=', 'opened']],
    },
    { update: caseItem(current.id), add: state === 'orphan' ? [['orphans', 1]] : state === 'moved' ? [['identities', -1]] : [] },
  ])
}

/** The shards of a unit that held anything, each with a progress of its own, counted in the case in one transaction. */
export async function listUnit(table: Table, current: Case, unit: Unit, shards: readonly number[], by: Actor): Promise<void> {
  const scope = unit.scope as ScopeRef
  await table.transact([
    {
      update: unitItem(current.id, scope),
      set: [
        ['state', 'listed'],
        ['shards', [...shards]],
        ['by', actor(by)],
      ],
      if: [['state', '=', 'opened']],
    },
    ...shards.map(
      (shard): Write => ({ put: newProgress(current.id, scope, shard, unit.epoch, false, 0, by), if: [['pk', 'absent']] }),
    ),
    { update: caseItem(current.id), add: [[['scans', 'expected'], shards.length]] },
  ])
}

export const newProgress = (
  caseId: string,
  scope: ScopeRef,
  shard: number,
  epoch: number | undefined,
  sealed: boolean,
  expected: number,
  by: Actor,
): Item => ({
  ...progressItem(caseId, `${scope}#${shard}`),
  kind: 'progress',
  case: caseId,
  scope,
  shard,
  cursor: '',
  sealed,
  expected,
  done: 0,
  counts: noOutcomes(),
  complete: false,
  epoch,
  by: actor(by),
})

export const progressOf = (table: Table, caseId: string, progress: string): Promise<Progress | undefined> =>
  read(table, 'progress', progressItem(caseId, progress))

export interface NewChunk {
  readonly name: string
  readonly issuer: string
  readonly covers: Coverage
  readonly because: Chunk['because']
}

export const newChunk = (
  caseId: string,
  progress: string,
  epoch: number | undefined,
  chunk: NewChunk,
  dueAt: string,
  by: Actor,
): Item => ({
  ...chunkItem(caseId, progress, chunk.name),
  kind: 'chunk',
  case: caseId,
  issuer: chunk.issuer,
  covers: plain(chunk.covers),
  epoch,
  step: 'revoke',
  state: 'open',
  attempts: 0,
  applied: {},
  counts: noOutcomes(),
  because: chunk.because,
  duePk: DUE.chunk,
  dueAt,
  by: actor(by),
})

/**
 * Chunks are written together with the shard's cursor, conditional on the cursor read (protocol 6), so a planner that
 * was killed goes on behind it and two planners never cut the same range into different pieces.
 */
export async function writeChunks(
  table: Table,
  progress: Progress,
  chunks: readonly NewChunk[],
  cursor: string,
  seal: boolean,
  dueAt: string,
  by: Actor,
): Promise<boolean> {
  const name = `${progress.scope}#${progress.shard}`
  const done = await table.transact([
    {
      update: progressItem(progress.case, name),
      set: [
        ['cursor', cursor],
        ['sealed', seal],
        ['by', actor(by)],
      ],
      add: [['expected', chunks.length]],
      if: [
        ['cursor', '=', progress.cursor],
        ['sealed', '=', false],
      ],
    },
    ...chunks.map(
      (chunk): Write => ({ put: newChunk(progress.case, name, progress.epoch, chunk, dueAt, by), if: [['pk', 'absent']] }),
    ),
  ])
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

export async function openLever(
  table: Table,
  current: Case,
  lever: {
    readonly identity: Identity
    readonly issuer: string
    readonly provider: string
    readonly leverKey: string
    readonly lever: unknown
    readonly epoch: number
    readonly fencedAt: string
  },
  dueAt: string,
  by: Actor,
): Promise<boolean> {
  const done = await table.transact([
    {
      put: {
        ...caseLever(current.id, lever.identity.key, lever.leverKey),
        kind: 'lever',
        case: current.id,
        identityKey: lever.identity.key,
        identity: lever.identity.id,
        issuer: lever.issuer,
        provider: lever.provider,
        leverKey: lever.leverKey,
        lever: plain(lever.lever),
        epoch: lever.epoch,
        fencedAt: lever.fencedAt,
        state: 'open',
        attempts: 0,
        duePk: DUE.lever,
        dueAt,
        by: actor(by),
      },
      if: [['pk', 'absent']],
    },
    { update: caseItem(current.id), add: [[['levers', 'expected'], 1]] },
  ])
  return done.ok
}

export const leverOf = (table: Table, caseId: string, identity: string, lever: string): Promise<Lever | undefined> =>
  read(table, 'lever', caseLever(caseId, identity, lever))

export async function leversOf(table: Table, caseId: string): Promise<Lever[]> {
  const page = await table.query({ pk: caseItem(caseId).pk, prefix: 'LEVER#', limit: 1000 })
  return page.items.map((item) => as('lever', item))
}

/** A lever's end, counted in its case exactly once. */
export async function endLever(table: Table, lever: Lever, state: 'done' | 'failed', said: string, by: Actor): Promise<void> {
  await table.transact([
    {
      update: caseLever(lever.case, lever.identityKey, lever.leverKey),
      set: [
        ['state', state],
        ['said', said],
        ['doneAt', by.at],
        ['by', actor(by)],
      ],
      remove: ['duePk', 'dueAt'],
      if: [['state', '=', 'open']],
    },
    { update: caseItem(lever.case), add: [[['levers', state], 1]] },
  ])
}

export async function postponeLever(
  table: Table,
  lever: Lever,
  dueAt: string,
  said: string,
  spends: boolean,
  by: Actor,
): Promise<void> {
  await table.write({
    update: caseLever(lever.case, lever.identityKey, lever.leverKey),
    set: [
      ['dueAt', dueAt],
      ['said', said],
      ['resent', 0],
      ['by', actor(by)],
    ],
    add: spends ? [['attempts', 1]] : [],
    if: [['state', '=', 'open']],
  })
}

export type Handover = 'amended' | 'acknowledged' | 'over'

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
  const put: Item = {
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
  }
  const onLease: Write | Check =
    lease.state === 'registering' ? becomesLate(lease.id, by) : { check: leaseItem(lease.id), if: [['pk', 'exists']] }
  const done = await table.transact([
    onLease,
    { put, if: [['pk', 'absent']] },
    { update: caseItem(caseId), add: [[['amendments', 'expected'], 1]], if: [['pk', 'exists']] },
  ])
  if (done.ok) return 'amended'
  if (done.failed[1] === true) {
    if (because === 'parked') await reopenAmendment(table, caseId, lease.id, [['counts', 'parked'], '=', 1], [], dueAt, by)
    else if (lease.state === 'registering') await meetAgain(table, caseId, lease.id, dueAt, by)
    return 'amended'
  }
  const current = done.current[0]
  if (current === undefined) return 'over'
  const now = as('lease', current)
  if (now.acknowledged) return 'acknowledged'
  // Another case made it late, or took it, between our read and our write: this case needs an amendment all the same.
  return lease.state === 'registering' && now.state !== 'registering' ? amend(table, now, caseId, dueAt, by, because) : 'over'
}

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
 * before anybody made it late: now it is, and its amendment has something to do.
 */
async function meetAgain(table: Table, caseId: string, lease: string, dueAt: string, by: Actor): Promise<void> {
  const late = becomesLate(lease, by)
  const open = await table.transact([late, { check: amendment(caseId, lease), if: [['state', '=', 'open']] }])
  if (!open.ok) await reopenAmendment(table, caseId, lease, ['state', '=', 'done'], [late], dueAt, by)
}

/** A lease that its amendment parked, or that was not there for it, is tried again by the same amendment, counted once more. */
async function reopenAmendment(
  table: Table,
  caseId: string,
  lease: string,
  where: Condition,
  also: readonly Write[],
  dueAt: string,
  by: Actor,
): Promise<void> {
  await table.transact([
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
      remove: ['ttl'],
      if: [['state', '=', 'done'], where],
    },
    { update: caseItem(caseId), add: [[['amendments', 'expected'], 1]] },
  ])
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

/** A shard whose chunks are all done is counted in its case exactly once. */
export async function completeProgress(table: Table, progress: Progress, by: Actor): Promise<boolean> {
  const { counts } = progress
  const done = await table.transact([
    {
      update: progressItem(progress.case, `${progress.scope}#${progress.shard}`),
      set: [
        ['complete', true],
        ['by', actor(by)],
      ],
      if: [
        ['complete', '=', false],
        ['sealed', '=', true],
        ['done', '=', progress.expected],
        ['expected', '=', progress.expected],
      ],
    },
    {
      update: caseItem(progress.case),
      add: [
        [['scans', 'done'], 1],
        ...Object.entries(counts)
          .filter(([, count]) => count !== 0)
          .map(([word, count]) => [['counts', word], count] as const),
      ],
    },
  ])
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
