import type { Actor, Coverage, Credential, Lease, Restoration, RestorationPart, RestorationScope } from '../domain/model.ts'
import { LONGEST_CALL_SECONDS } from '../domain/settle.ts'
import { after } from '../domain/time.ts'
import { actor, plain } from './identities.ts'
import { read } from './items.ts'
import { caseItem, credentialItem, DUE, LIST, leaseItem, restorationItem, restorationPart } from './keys.ts'
import type { Check, Table, Update, Write } from './table.ts'

/** Restorations: what somebody asked to undo, in parts; and the way of a lease from ended back to live. */

export const restorationOf = (table: Table, id: string): Promise<Restoration | undefined> =>
  read(table, 'restoration', restorationItem(id))
export const partOf = (table: Table, id: string, part: string): Promise<RestorationPart | undefined> =>
  read(table, 'restoration-part', restorationPart(id, part))

export interface NewRestoration {
  readonly id: string
  readonly scope: RestorationScope
  readonly reason: string
  readonly requester: string
  readonly undoesCompromise: boolean
}

/** Writes what was asked; the listing finds it by its due time even if no message comes. */
export async function openRestoration(table: Table, opened: NewRestoration, dueAt: string, by: Actor): Promise<void> {
  await table.write({
    put: {
      ...restorationItem(opened.id),
      kind: 'restoration',
      id: opened.id,
      scope: { ...opened.scope },
      reason: opened.reason,
      requester: opened.requester,
      undoesCompromise: opened.undoesCompromise,
      openedAt: by.at,
      state: 'listing',
      cursor: '',
      parts: { expected: 0, done: 0 },
      counts: { restored: 0, refused: 0 },
      refused: [],
      duePk: DUE.restoration,
      dueAt,
      listPk: LIST.restoration,
      listAt: by.at,
      by: actor(by),
    },
    if: [['pk', 'absent']],
  })
}

export interface NewPart {
  readonly name: string
  readonly issuer: string
  readonly covers: Coverage
  /** Only what this unit of the case had claimed: another part covers the rest. */
  readonly unit?: string
}

/** A part, counted in its restoration in one transaction. A repeated listing makes the same parts, and counts none twice. */
export async function addPart(table: Table, restoration: string, part: NewPart, dueAt: string, by: Actor): Promise<boolean> {
  const done = await table.transact([
    {
      put: {
        ...restorationPart(restoration, part.name),
        kind: 'restoration-part',
        restoration,
        name: part.name,
        issuer: part.issuer,
        covers: plain(part.covers),
        unit: part.unit,
        state: 'open',
        attempts: 0,
        refused: {},
        restored: 0,
        duePk: DUE.part,
        dueAt,
        by: actor(by),
      },
      if: [['pk', 'absent']],
    },
    { update: restorationItem(restoration), add: [[['parts', 'expected'], 1]], if: [['state', '=', 'listing']] },
  ])
  return done.ok
}

/** How far the listing has come. */
export async function restorationListed(table: Table, current: Restoration, cursor: string): Promise<boolean> {
  const done = await table.write({
    update: restorationItem(current.id),
    set: [['cursor', cursor]],
    if: [
      ['state', '=', 'listing'],
      ['cursor', '=', current.cursor],
    ],
  })
  return done.ok
}

export async function sealRestoration(table: Table, id: string, by: Actor): Promise<void> {
  await table.write({
    update: restorationItem(id),
    set: [
      ['state', 'running'],
      ['by', actor(by)],
    ],
    if: [['state', '=', 'listing']],
  })
}

/** Ends a restoration whose parts are all over; `false` where they are not. */
export async function completeRestoration(table: Table, current: Restoration, ttl: number, by: Actor): Promise<boolean> {
  const done = await table.write({
    update: restorationItem(current.id),
    set: [
      ['state', 'done'],
      ['doneAt', by.at],
      ['ttl', ttl],
      ['by', actor(by)],
    ],
    remove: ['duePk', 'dueAt'],
    if: [
      ['state', '=', 'running'],
      [['parts', 'done'], '=', current.parts.expected],
      [['parts', 'expected'], '=', current.parts.expected],
    ],
  })
  return done.ok
}

export async function postponeRestoration(table: Table, current: Restoration, dueAt: string): Promise<void> {
  await table.write({ update: restorationItem(current.id), set: [['dueAt', dueAt]], if: [['duePk', 'exists']] })
}

export async function postponePart(
  table: Table,
  part: RestorationPart,
  state: {
    readonly dueAt: string
    readonly said: string
    readonly refused: Readonly<Record<string, string>>
    readonly spends: boolean
  },
  by: Actor,
): Promise<void> {
  await table.write({
    update: restorationPart(part.restoration, part.name),
    set: [
      ['dueAt', state.dueAt],
      ['said', state.said],
      ['refused', plain(state.refused)],
      ['resent', 0],
      ['by', actor(by)],
    ],
    add: state.spends ? [['attempts', 1]] : [],
    if: [['state', '=', 'open']],
  })
}

const MOST_SHOWN = 100

/** A part's end, counted in its restoration, and in the cases whose cuts it undid, exactly once. */
export async function finishPart(
  table: Table,
  part: RestorationPart,
  current: Restoration,
  result: {
    /** By the case whose cut was undone. */
    readonly restored: ReadonlyMap<string, number>
    /** Those of these cases that are not in the table any more. */
    readonly gone: readonly string[]
    readonly refused: Readonly<Record<string, string>>
  },
  ttl: number,
  by: Actor,
): Promise<void> {
  const restored = [...result.restored.values()].reduce((sum, count) => sum + count, 0)
  const refused = Object.entries(result.refused)
  const shown = [...current.refused, ...refused.map(([lease, said]) => ({ lease, said }))].slice(0, MOST_SHOWN)
  await table.transact([
    {
      update: restorationPart(part.restoration, part.name),
      set: [
        ['state', 'done'],
        ['restored', restored],
        ['refused', plain(result.refused)],
        ['ttl', ttl],
        ['by', actor(by)],
      ],
      remove: ['duePk', 'dueAt'],
      if: [['state', '=', 'open']],
    },
    {
      update: restorationItem(part.restoration),
      add: [
        [['parts', 'done'], 1],
        [['counts', 'restored'], restored],
        [['counts', 'refused'], refused.length],
      ],
      // A sample: two parts that end at once may keep one of theirs only. The counts are exact.
      set: [
        ['refused', plain(shown)],
        ['by', actor(by)],
      ],
    },
    ...[...result.restored]
      .filter(([id]) => !result.gone.includes(id))
      .map(
        ([id, count]): Write => ({ update: caseItem(id), add: [['restored', count]], set: [['by', actor({ ...by, case: id })]] }),
      ),
  ])
}

const asRead = (lease: Lease) => [['state', '=', lease.state] as const, ['generation', '=', lease.generation] as const]
const ours = (lease: Lease, restoration: string) => [...asRead(lease), ['restoration', '=', restoration] as const]

/**
 * Takes an ended lease for a restoration: from now on every case that meets it cuts it again, and its expiry does. No
 * lease whose remains are being deleted can be taken, and none that is taken can be deleted.
 */
export const takeBack = (lease: Lease, restoration: string, by: Actor): Update => ({
  update: leaseItem(lease.id),
  set: [
    ['state', 'restoring'],
    ['restoration', restoration],
    ['duePk', DUE.expiry(lease.issuer, lease.id)],
    ['dueAt', lease.expiresAt],
    ['by', actor(by)],
  ],
  add: [['generation', 1]],
  remove: ['ttl', 'listPk', 'listAt', 'left'],
  if: [...asRead(lease), ['deletion', 'absent']],
})

/**
 * The intent of a call that brings it to life: a case that takes the lease meanwhile calls no cut final before that
 * call is over.
 */
export const intendRestore = (lease: Lease, restoration: string, by: Actor): Update => ({
  update: leaseItem(lease.id),
  set: [
    ['revived', true],
    ['unsettledUntil', after(by.at, LONGEST_CALL_SECONDS)],
    ['by', actor(by)],
  ],
  // A case that read it before this would cut it without knowing of the call.
  add: [['generation', 1]],
  if: ours(lease, restoration),
})

/** It lives again. What was counted stays as history; the cases that were undone are remembered by name. */
export const giveBack = (
  lease: Lease,
  restoration: string,
  pardons: readonly string[],
  undone: string,
  said: string,
  by: Actor,
): Update => ({
  update: leaseItem(lease.id),
  set: [
    ['state', 'live'],
    ['acknowledged', true],
    ['pardons', plain(pardonsOf(lease.pardons, pardons, restoration))],
    ['restored', { restoration, case: undone, at: by.at, said }],
    ['duePk', DUE.expiry(lease.issuer, lease.id)],
    ['dueAt', lease.expiresAt],
    ['by', actor(by)],
  ],
  remove: ['unsettledUntil', 'revived', 'ended', 'givenBack', 'unheld', 'overdueSince', 'ttl'],
  if: ours(lease, restoration),
})

const pardonsOf = (known: Lease['pardons'], cases: readonly string[], restoration: string): Record<string, string> => ({
  ...known,
  ...Object.fromEntries(cases.map((id) => [id, restoration])),
})

/** It stays cut after all. */
export const leaveCut = (lease: Lease, restoration: string, ttl: number, by: Actor): Update => ({
  update: leaseItem(lease.id),
  set: [
    ['state', 'ended'],
    ['ttl', ttl],
    ['by', actor(by)],
  ],
  remove: ['restoration', 'revived', 'unsettledUntil', 'duePk', 'dueAt'],
  if: ours(lease, restoration),
})

/** A shared credential is given back to its holders together: marked first, so that none of it is deleted or cut unseen. */
export async function markRestoring(table: Table, fingerprint: string, restoration: string, by: Actor): Promise<boolean> {
  const done = await table.write({
    update: credentialItem(fingerprint),
    // One that is open to new grants again, and has none, takes none while it is given back.
    set: [
      ['restoring', restoration],
      ['cutting', true],
      ['by', actor(by)],
    ],
    if: [
      {
        or: [
          ['cutting', '=', true],
          ['holders', '=', 0],
        ],
      },
      ['deletion', 'absent'],
      {
        or: [
          ['restoring', 'absent'],
          ['restoring', '=', restoration],
        ],
      },
    ],
  })
  return done.ok
}

export async function dropRestoring(table: Table, fingerprint: string, restoration: string, by: Actor): Promise<void> {
  await table.write({
    update: credentialItem(fingerprint),
    set: [['by', actor(by)]],
    remove: ['restoring'],
    if: [['restoring', '=', restoration]],
  })
}

export const stillRestoring = (fingerprint: string, restoration: string): Check => ({
  check: credentialItem(fingerprint),
  if: [['restoring', '=', restoration]],
})

/** The credential lives again: each lease that is given back in the same transaction has its place there. */
export const openCredential = (
  credential: Credential,
  fingerprint: string,
  restoration: string,
  pardons: readonly string[],
  places: number,
  by: Actor,
): Update => ({
  update: credentialItem(fingerprint),
  set: [
    ['cutting', false],
    ['pardons', plain(pardonsOf(credential.pardons, pardons, restoration))],
    ['by', actor(by)],
  ],
  add: [['holders', places]],
  remove: ['restoring', 'cut'],
  if: [['restoring', '=', restoration]],
})
