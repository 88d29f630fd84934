import type { CaseState } from '../contracts/case.ts'
import type { Modes } from '../contracts/mode.ts'
import { noOutcomes } from '../contracts/outcome.ts'
import type { CaseType, Lane } from '../contracts/primitives.ts'
import type { CaseScope } from '../contracts/scope.ts'
import type { Actor, Case, Identity } from '../domain/model.ts'
import { leastCautious } from '../domain/modes.ts'
import type { NewCampaign } from './campaigns.ts'
import { ensureCampaign, markHeldCase, memberOf, unmarkHeldCase } from './campaigns.ts'
import { actor, plain } from './identities.ts'
import { read } from './items.ts'
import { caseItem, DUE, eventItem, identityItem, LIST } from './keys.ts'
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
  /** The rules that stand now, as `modesFor` gives them: the case keeps them whatever is configured later. */
  readonly modes: Modes
  readonly held?: string
  readonly cause?: Case['cause']
  /** The report that it is a part of: what it cuts is deleted with the report's approval alone. */
  readonly campaign?: NewCampaign
  /** Nothing of what it cuts is deleted before somebody approves. */
  readonly deletion?: 'waits'
  /** The same where it cuts more leases than this. */
  readonly deletionAbove?: number
}

export const caseOf = (table: Table, id: string): Promise<Case | undefined> => read(table, 'case', caseItem(id))

const caseOfNew = (opened: NewCase, dueAt: string, by: Actor): Item => ({
  ...caseItem(opened.id),
  kind: 'case',
  id: opened.id,
  type: opened.type,
  lane: opened.lane,
  mode: leastCautious(opened.modes),
  modes: plain(opened.modes),
  scope: plain(opened.scope),
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
  campaign: opened.campaign?.id,
  deletion: opened.campaign === undefined ? opened.deletion : 'waits',
  deletionAbove: opened.deletionAbove,
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
  ...(opened.scope.kind === 'credential-name' ? { asks: { expected: 0, done: 0 }, asked: {} } : {}),
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
  const { campaign } = opened
  if (campaign !== undefined) await ensureCampaign(table, campaign, by)
  const waits = opened.state === 'held' || opened.deletion === 'waits'
  const done = await table.transact([
    eventOf(opened, by),
    { put: caseOfNew(opened, dueAt, by), if: [['pk', 'absent']] },
    ...(campaign === undefined ? [] : [memberOf(campaign.id, opened.id, by)]),
    ...(waits && campaign === undefined ? [markHeldCase(opened.id, by)] : []),
    ...also,
  ])
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

/** Something of it may still be done: a person may stop it. */
export const isRunning = ({ state }: Pick<Case, 'state'>): boolean => state === 'resurrected' || RUNNING.includes(state)

/**
 * Starts a scheduled case whose time has come, or a held one that is approved; `false` where it was decided about
 * meanwhile. From here on it keeps the modes that stand now: it may have waited for weeks under others.
 */
export async function startCase(
  table: Table,
  current: Case,
  dueAt: string,
  decision: Case['decisions'],
  modes: Modes,
  by: Actor,
): Promise<boolean> {
  const started: Write = {
    update: caseItem(current.id),
    set: [
      ['state', 'opened'],
      ['mode', leastCautious(modes)],
      ['modes', plain(modes)],
      ['decisions', plain(decision)],
      ['duePk', DUE.case],
      ['dueAt', dueAt],
      ['by', actor(by)],
    ],
    remove: ['held'],
    if: [
      ['state', '=', current.state],
      ['v', '=', current.v],
    ],
  }
  const done = current.state === 'held' ? await table.transact([started, unmarkHeldCase(current.id)]) : await table.write(started)
  return done.ok
}

/** A case that is not fenced yet and must wait for an approval: whatever was approved before counts no more. */
export async function holdCase(
  table: Table,
  current: Case,
  reason: string,
  decisions: Case['decisions'],
  by: Actor,
): Promise<boolean> {
  const done = await table.transact([
    {
      update: caseItem(current.id),
      set: [
        ['state', 'held'],
        ['held', { reason, since: by.at }],
        ['decisions', plain(decisions)],
        ['by', actor(by)],
      ],
      remove: ['duePk', 'dueAt'],
      if: [
        ['state', '=', current.state],
        ['v', '=', current.v],
      ],
    },
    markHeldCase(current.id, by),
  ])
  return done.ok
}

/** Stops a case that runs, or lets it go on; `false`: it changed meanwhile, read it again. */
export async function pauseCase(
  table: Table,
  current: Case,
  paused: Case['paused'],
  decisions: Case['decisions'],
  by: Actor,
): Promise<boolean> {
  const done = await table.transact([
    {
      update: caseItem(current.id),
      set: [
        ['decisions', plain(decisions)],
        ['by', actor(by)],
        ...(paused === undefined ? [] : ([['paused', { ...paused }]] as const)),
      ],
      remove: paused === undefined ? ['paused'] : [],
      if: [
        ['v', '=', current.v],
        ['paused', paused === undefined ? 'exists' : 'absent'],
      ],
    },
    paused === undefined ? unmarkHeldCase(current.id) : markHeldCase(current.id, by),
  ])
  return done.ok
}

/** What was decided about deleting what the case cut; `false`: it changed meanwhile, read it again. */
export async function decideDeletion(
  table: Table,
  current: Case,
  deletion: 'approved' | 'refused',
  decisions: Case['decisions'],
  by: Actor,
): Promise<boolean> {
  const done = await table.transact([
    {
      update: caseItem(current.id),
      set: [
        ['deletion', deletion],
        ['decisions', plain(decisions)],
        ['by', actor(by)],
      ],
      if: [['v', '=', current.v]],
    },
    // A case whose start waits, or that is paused, is shown for that.
    ...(current.state === 'held' || current.paused !== undefined ? [] : [unmarkHeldCase(current.id)]),
  ])
  return done.ok
}

/** The planner met something that nobody may delete without a word: it reached a protected identity. */
export async function waitWithDeletion(table: Table, id: string, by: Actor): Promise<void> {
  await table.transact([
    {
      update: caseItem(id),
      set: [
        ['deletion', 'waits'],
        ['by', actor(by)],
      ],
      if: [['deletion', 'absent']],
    },
    markHeldCase(id, by),
  ])
}

/** An approval before the effective time makes a held case a scheduled one. */
export async function scheduleCase(table: Table, current: Case, decision: Case['decisions'], by: Actor): Promise<boolean> {
  const done = await table.transact([
    {
      update: caseItem(current.id),
      set: [
        ['state', 'scheduled'],
        ['decisions', plain(decision)],
        ['duePk', DUE.case],
        ['dueAt', current.effectiveAt],
        ['by', actor(by)],
      ],
      remove: ['held'],
      if: [
        ['state', '=', 'held'],
        ['v', '=', current.v],
      ],
    },
    unmarkHeldCase(current.id),
  ])
  return done.ok
}

/** Cancelling works from scheduled or held alone: what was fenced cannot be called back. `false`: it changed meanwhile. */
export async function cancelCase(
  table: Table,
  current: Case,
  decision: Case['decisions'],
  ttl: number,
  by: Actor,
): Promise<boolean> {
  if (current.state !== 'scheduled' && current.state !== 'held') return false
  const done = await table.transact([
    {
      update: caseItem(current.id),
      set: [
        ['state', 'cancelled'],
        ['decisions', plain(decision)],
        ['closedAt', by.at],
        ['ttl', ttl],
        ['by', actor(by)],
      ],
      remove: ['duePk', 'dueAt', 'held'],
      if: [
        ['state', '=', current.state],
        ['v', '=', current.v],
      ],
    },
    unmarkHeldCase(current.id),
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
    remove: ['listed', 'fencing'],
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
  current.sealed &&
  current.closedAt === undefined &&
  current.scans.done === current.scans.expected &&
  (current.asks === undefined || (isAnswered(current.asks) && isAnswered(current.amendments)))

const isAnswered = ({ expected, done }: Case['asks'] & object): boolean => done === expected

/** What a case on a credential's name waits for beside its scans: the issuers' answers, and the end of what they found. */
const answers = ({ asks, amendments }: Case): readonly Condition[] =>
  asks === undefined
    ? [['asks', 'absent']]
    : [
        [['asks', 'done'], '=', asks.expected],
        [['asks', 'expected'], '=', asks.expected],
        [['amendments', 'done'], '=', amendments.expected],
        [['amendments', 'expected'], '=', amendments.expected],
      ]

/** It was open again because something that it cut lived, and all of that is cut again. */
export const isDoneAgain = (current: Case): boolean =>
  current.state === 'resurrected' && current.amendments.done === current.amendments.expected

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
      ...answers(current),
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
