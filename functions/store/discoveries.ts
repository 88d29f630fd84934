import type { FindingKind } from '../contracts/discovery.ts'
import { isOver, noFindings } from '../domain/discovery.ts'
import type { Accepted, Actor, Discoveries, Discovery, Finding } from '../domain/model.ts'
import { actor, plain } from './identities.ts'
import { as, keyOf, read } from './items.ts'
import {
  acceptanceItem,
  clearedItem,
  DUE,
  discoveriesItem,
  discoveryItem,
  discoveryPartition,
  findingItem,
  LIST,
  seenItem,
} from './keys.ts'
import type { Check, Condition, Item, Page, Path, Put, Table, Update, Value, Write } from './table.ts'

/**
 * Discoveries of what lives at an issuer, and what they found. A discovery moves by steps; each is one transaction that
 * holds only where nobody moved it since it was read, so whoever comes twice or late changes nothing.
 */

export const discoveryOf = (table: Table, issuer: string, id: string): Promise<Discovery | undefined> =>
  read(table, 'discovery', discoveryItem(issuer, id))
export const discoveriesOf = (table: Table, issuer: string): Promise<Discoveries | undefined> =>
  read(table, 'discoveries', discoveriesItem(issuer))

/** The same of several issuers, in their order. */
export async function discoveriesOfAll(table: Table, issuers: readonly string[]): Promise<(Discoveries | undefined)[]> {
  const items = await table.getMany(issuers.map(discoveriesItem))
  return items.map((item) => (item === undefined ? undefined : as('discoveries', item)))
}

export interface NewDiscovery {
  readonly id: string
  readonly issuer: string
  readonly provider: string
  readonly issuerVersion: number
  readonly requester: string
  readonly reason?: string
}

/**
 * Begins a discovery where none of the issuer runs, in one transaction with the mark that one does.
 *
 * @returns the one that runs, by its id
 */
export async function startDiscovery(table: Table, fresh: NewDiscovery, by: Actor): Promise<string> {
  const state = discoveriesItem(fresh.issuer)
  const known = await discoveriesOf(table, fresh.issuer)
  if (known?.running !== undefined) {
    const running = await discoveryOf(table, fresh.issuer, known.running)
    // One that is not there any more, or is over, runs no longer, whatever the mark says.
    if (running !== undefined && !isOver(running)) return running.id
  }
  // Retention may have removed it: then all that is found is new.
  const previous = known?.done === undefined ? undefined : await discoveryOf(table, fresh.issuer, known.done)
  const done = await table.transact([
    {
      update: state,
      set: [
        ['kind', 'discoveries'],
        ['issuer', fresh.issuer],
        ['running', fresh.id],
        ['lastAt', by.at],
        ['by', actor(by)],
      ],
      if: [known === undefined ? ['pk', 'absent'] : ['v', '=', known.v]],
    },
    {
      put: {
        ...discoveryItem(fresh.issuer, fresh.id),
        ...(plain(fresh) as Record<string, Item[string]>),
        kind: 'discovery',
        state: 'listing',
        startedAt: by.at,
        step: 0,
        pages: 0,
        attempts: 0,
        counts: { listed: 0, registered: 0, dormant: 0, unsettled: 0, unreadable: 0, leases: 0 },
        found: noFindings(),
        kept: noFindings(),
        fresh: noFindings(),
        accepted: noFindings(),
        withdrawn: 0,
        cleared: 0,
        alarming: [],
        duePk: DUE.discovery,
        dueAt: by.at,
        listPk: LIST.discovery(fresh.issuer),
        listAt: by.at,
        by: actor(by),
        ...(previous === undefined ? {} : { previous: previous.id, previousAt: previous.startedAt }),
      },
      if: [['pk', 'absent']],
    },
  ])
  if (done.ok) return fresh.id
  // Somebody else was faster; where his is over by now, this one was as good as it.
  return (await discoveriesOf(table, fresh.issuer))?.running ?? fresh.id
}

type Settings = readonly (readonly [Path, Value])[]
export interface Move {
  readonly set?: Settings
  readonly add?: readonly (readonly [Path, number])[]
  readonly remove?: readonly Path[]
}

const asRead = ({ state, step }: Discovery): Condition[] => [
  ['state', '=', state],
  ['step', '=', step],
]

/** Writes of one transaction beside the discovery's own. */
const TOGETHER = 90

/**
 * Moves a discovery on, with what the step found: all of it, or nothing of it counts.
 *
 * @param dueAt when somebody looks after it if nothing more is heard
 * @returns it as it stands then; `undefined`: somebody else moved it
 */
export async function moveDiscovery(
  table: Table,
  current: Discovery,
  { set = [], add = [], remove = [] }: Move,
  writes: readonly Write[],
  dueAt: string,
  by: Actor,
): Promise<Discovery | undefined> {
  const key = discoveryItem(current.issuer, current.id)
  const still: Check = { check: key, if: asRead(current) }
  let rest = writes
  // More than fits is written before, on the same condition: whoever does the step again writes the same once more.
  for (; rest.length > TOGETHER; rest = rest.slice(TOGETHER))
    if (!(await table.transact([still, ...rest.slice(0, TOGETHER)])).ok) return undefined
  const own: Update = {
    update: key,
    set: [...set, ['attempts', 0], ['resent', 0], ['dueAt', dueAt], ['by', actor(by)]],
    add: [['step', 1], ...add],
    remove: [...remove, 'said'],
    if: asRead(current),
  }
  const done = await table.transact([own, ...rest])
  return done.ok ? discoveryOf(table, current.issuer, current.id) : undefined
}

/** It cannot go on now: when it is due again, and why. */
export async function postponeDiscovery(
  table: Table,
  current: Discovery,
  dueAt: string,
  said: string,
  spends: boolean,
  by: Actor,
): Promise<void> {
  await table.write({
    update: discoveryItem(current.issuer, current.id),
    set: [
      ['dueAt', dueAt],
      ['said', said],
      ['resent', 0],
      ['by', actor(by)],
    ],
    add: spends ? [['attempts', 1]] : [],
    if: asRead(current),
  })
}

/** Ends a discovery; another one of its issuer may begin from then on. */
export async function endDiscovery(
  table: Table,
  current: Discovery,
  end: { readonly state: 'done' | 'failed'; readonly said?: string; readonly ttl: number },
  by: Actor,
): Promise<boolean> {
  const ended: Update = {
    update: discoveryItem(current.issuer, current.id),
    set: [
      ['state', end.state],
      ['endedAt', by.at],
      ['ttl', end.ttl],
      ['by', actor(by)],
      ...(end.said === undefined ? [] : [['said', end.said] as const]),
    ],
    add: [['step', 1]],
    remove: ['duePk', 'dueAt', 'cursor', ...(end.said === undefined ? ['said'] : [])],
    if: asRead(current),
  }
  const freed: Update = {
    update: discoveriesItem(current.issuer),
    set: [['by', actor(by)], ...(end.state === 'done' ? [['done', current.id] as const] : [])],
    remove: ['running'],
    if: [['running', '=', current.id]],
  }
  const done = await table.transact([ended, freed])
  if (done.ok || done.failed[0] === true) return done.ok
  // The mark is not this one's any more: only the discovery is left to end.
  return (await table.write(ended)).ok
}

/** What a page saw of credentials that the table knows: which live leases are missed follows from it. */
export const seenOn = (current: Discovery, marks: string, ttl: number, by: Actor): Put => ({
  put: { ...seenItem(current.issuer, current.id, current.pages), kind: 'seen', marks, ttl, by: actor(by) },
})

/** All that the pages of a discovery saw, some at a time. */
export async function* seenBy(table: Table, current: Discovery): AsyncGenerator<string> {
  let after: string | undefined
  do {
    const page: Page = await table.query({
      pk: discoveryPartition(current.issuer, current.id),
      limit: 100,
      ...(after === undefined ? { prefix: 'SEEN#' } : { after, to: 'SEEN#~' }),
    })
    for (const { marks } of page.items) if (typeof marks === 'string') yield marks
    after = page.next
  } while (after !== undefined)
}

export type NewFinding = Omit<Finding, 'pk' | 'sk' | 'kind' | 'v' | 'by' | 'ttl' | 'discovery' | 'issuer'>

const OPTIONAL = ['own', 'identity', 'createdAt', 'lastUsedAt', 'expiresAt', 'lease'] as const

/** A finding, over whatever an earlier try of the step left there. */
export function noteFinding(current: Discovery, finding: NewFinding, ttl: number, by: Actor): Update {
  const { of, fingerprint, standing } = finding
  const place = standing === 'cleared' ? clearedItem : findingItem
  return {
    update: place(current.issuer, current.id, of, fingerprint),
    set: [
      ...Object.entries({ ...finding, kind: 'finding', discovery: current.id, issuer: current.issuer }).flatMap(
        ([name, value]) => (value === undefined ? [] : [[name, plain(value)] as const]),
      ),
      ['ttl', ttl],
      ['by', actor(by)],
    ],
    remove: OPTIONAL.filter((name) => finding[name] === undefined),
  }
}

/** How a finding stands at the end. */
export const settleFinding = (finding: Finding, standing: 'new' | 'known', firstSeenAt: string, by: Actor): Update => ({
  update: keyOf(finding),
  set: [
    ['standing', standing],
    ['firstSeenAt', firstSeenAt],
    ['by', actor(by)],
  ],
})

/** It turned out to be none. */
export const withdrawFinding = (finding: Finding): Write => ({ delete: keyOf(finding) })

/** Findings of a discovery in the order of their kinds; those that the discovery before had alone come last. */
export async function findingsOf(
  table: Table,
  issuer: string,
  id: string,
  after: string | undefined,
  limit: number,
  of: { readonly kind?: FindingKind | undefined; readonly cleared: boolean } = { cleared: true },
): Promise<{ readonly findings: Finding[]; readonly next?: string }> {
  const prefix = of.kind === undefined ? 'FIND#' : `FIND#${of.kind}#`
  const to = of.kind === undefined && of.cleared ? 'FORMER#~' : `${prefix}~`
  const page = await table.query({
    pk: discoveryPartition(issuer, id),
    limit,
    to,
    ...(after === undefined ? { from: prefix } : { after }),
  })
  return {
    findings: page.items.filter(({ kind }) => kind === 'finding').map((item) => as('finding', item)),
    ...(page.next === undefined ? {} : { next: page.next }),
  }
}

export async function sameFindings(
  table: Table,
  issuer: string,
  id: string,
  findings: readonly Pick<Finding, 'of' | 'fingerprint'>[],
): Promise<(Finding | undefined)[]> {
  const items = await table.getMany(findings.map(({ of, fingerprint }) => findingItem(issuer, id, of, fingerprint)))
  return items.map((item) => (item === undefined ? undefined : as('finding', item)))
}

/** What was accepted of findings, in their order; acceptances whose time is over are left out by whoever reads them. */
export async function acceptancesOf(
  table: Table,
  issuer: string,
  findings: readonly Pick<Finding, 'of' | 'fingerprint'>[],
): Promise<(Accepted | undefined)[]> {
  const items = await table.getMany(findings.map(({ of, fingerprint }) => acceptanceItem(issuer, of, fingerprint)))
  return items.map((item) => (item === undefined ? undefined : as('acceptance', item)))
}

export async function acceptFinding(
  table: Table,
  issuer: string,
  accepted: Pick<Accepted, 'of' | 'fingerprint' | 'incarnation' | 'reason' | 'until'>,
  by: Actor,
): Promise<void> {
  const { of, fingerprint, incarnation, reason, until } = accepted
  await table.write({
    update: acceptanceItem(issuer, of, fingerprint),
    set: [
      ['kind', 'acceptance'],
      ['issuer', issuer],
      ['of', of],
      ['fingerprint', fingerprint],
      ['incarnation', incarnation],
      ['reason', reason],
      ['by', actor(by)],
      ...(until === undefined ? [] : [['until', until] as const]),
    ],
    remove: ['withdrawn', ...(until === undefined ? ['until'] : [])],
  })
}

/** `false`: nobody had accepted it. */
export async function withdrawAcceptance(
  table: Table,
  issuer: string,
  kind: FindingKind,
  fingerprint: string,
  by: Actor,
): Promise<boolean> {
  const done = await table.write({
    update: acceptanceItem(issuer, kind, fingerprint),
    set: [
      ['withdrawn', true],
      ['by', actor(by)],
    ],
    if: [
      ['pk', 'exists'],
      ['withdrawn', 'absent'],
    ],
  })
  return done.ok
}
