import { mayHold } from '../domain/levers.ts'
import type { Actor, Case, Identity, Lever, LeverHolders } from '../domain/model.ts'
import { LONGEST_CALL_SECONDS } from '../domain/settle.ts'
import { after } from '../domain/time.ts'
import { actor, plain } from './identities.ts'
import { as, read } from './items.ts'
import { caseItem, caseLever, DUE, leverItem } from './keys.ts'
import type { Table, Write } from './table.ts'

/** Levers: which identities hang on one, and the calls of a case that pull them. */

/** A lever that a lifecycle case is pulling takes no second identity: it would be hit as a bystander. */
export type LeverRegistration = { readonly ok: true } | { readonly ok: false; readonly case: string }

/**
 * Notes that an identity hangs on a lever: the count tells whether a lifecycle case may pull it.
 *
 * @param exempt no case touches the identity: it is always written down, because then no case pulls the lever
 */
export async function joinLever(
  table: Table,
  lever: string,
  identity: Identity,
  exempt: boolean,
  by: Actor,
): Promise<LeverRegistration> {
  const key = leverItem(lever)
  // With a second identity on it no lifecycle case pulls it any more, so who else comes need not be written down.
  if (!exempt && Number((await table.get(key))?.count ?? 0) > 1) return { ok: true }
  await table.write({
    put: { ...key, kind: 'lever-holders', identities: {}, count: 0, pulls: {}, by: actor(by) },
    if: [['pk', 'absent']],
  })
  const done = await table.write({
    update: key,
    set: [[['identities', identity.key], identity.id]],
    add: [['count', 1]],
    if: [
      [['identities', identity.key], 'absent'],
      ['pulledBy', 'absent'],
      // Whoever no case may touch comes before a case notes that it pulls the lever, and keeps it from that, or not at all.
      ...(exempt ? [['pulls', '=', {}] as const] : []),
    ],
  })
  if (done.ok) return { ok: true }
  const holders = done.current?.identities
  if (holders !== null && typeof holders === 'object' && identity.key in holders) return { ok: true }
  const pulls = done.current?.pulls
  const [pulling] = pulls !== null && typeof pulls === 'object' ? Object.keys(pulls) : []
  return { ok: false, case: String(done.current?.pulledBy ?? pulling) }
}

/** Marks a lever as pulled, only while one identity hangs on it (as protocol 8 demands of credentials). */
export async function claimLever(table: Table, lever: string, caseId: string, by: Actor): Promise<boolean> {
  const done = await table.write({
    update: leverItem(lever),
    set: [
      ['pulledBy', caseId],
      ['by', actor(by)],
    ],
    if: [['count', '=', 1]],
  })
  return done.ok
}

/**
 * Records that a case pulls a lever; its message can then be sent.
 *
 * @param seen who hangs on the lever, where that must not have changed since
 * @returns `false` where it is on record already, or `seen` is not as it stands any more
 */
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
  seen?: LeverHolders,
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
    // Noted before the call, so that a restoration never pushes back what another case pulls.
    {
      update: leverItem(lever.leverKey),
      set: [[['pulls', current.id], lever.identity.key]],
      if: seen === undefined ? [['pk', 'exists']] : [['v', '=', seen.v]],
    },
  ])
  return done.ok
}

export const leverOf = (table: Table, caseId: string, identity: string, lever: string): Promise<Lever | undefined> =>
  read(table, 'lever', caseLever(caseId, identity, lever))

export async function leversOf(table: Table, caseId: string): Promise<Lever[]> {
  const page = await table.query({ pk: caseItem(caseId).pk, prefix: 'LEVER#', limit: 1000 })
  return page.items.map((item) => as('lever', item))
}

export const holdersOfLever = (table: Table, lever: string): Promise<LeverHolders | undefined> =>
  read(table, 'lever-holders', leverItem(lever))

/** A restoration's call may still be under way for so long after it was noted, in seconds. */
export const isReleasing = (holders: LeverHolders | undefined, now: string): boolean =>
  holders?.releasing !== undefined && after(holders.releasing.at, LONGEST_CALL_SECONDS) > now

/**
 * Notes that a restoration is about to push a lever back, only while no case but those that it undoes holds it pulled.
 * A case that comes later sees the note, and pulls once more when it is gone.
 */
export async function beginRelease(table: Table, holders: LeverHolders, restoration: string, by: Actor): Promise<boolean> {
  const done = await table.write({
    update: { pk: holders.pk, sk: holders.sk },
    set: [
      ['releasing', { restoration, at: by.at }],
      ['by', actor(by)],
    ],
    if: [['pulls', '=', plain(holders.pulls ?? {})]],
  })
  return done.ok
}

/** The lever is pushed back: the cases that held it do no more, in one transaction with their own records of it. */
export async function endRelease(
  table: Table,
  lever: string,
  restoration: string,
  undone: readonly Lever[],
  said: string,
  by: Actor,
): Promise<void> {
  const holders = await holdersOfLever(table, lever)
  if (holders === undefined) return
  const cases = [...new Set(undone.map((one) => one.case))]
  // A case that reached several identities on one lever has a record of it for each.
  const all = (await Promise.all(cases.map((id) => leversOf(table, id)))).flat()
  const pulled = all.filter((one) => one.leverKey === lever && one.state !== 'open' && mayHold(one))
  await table.transact([
    {
      update: leverItem(lever),
      set: [['by', actor(by)]],
      remove: [
        'releasing',
        ...cases.map((id) => ['pulls', id] as const),
        ...(holders.pulledBy !== undefined && cases.includes(holders.pulledBy) ? ['pulledBy'] : []),
      ],
      if: [[['releasing', 'restoration'], '=', restoration]],
    },
    // Another part of the restoration may be first with some of them: it says the same.
    ...pulled.slice(0, MOST_RECORDS).map(
      (one): Write => ({
        update: caseLever(one.case, one.identityKey, one.leverKey),
        set: [
          ['released', { restoration, at: by.at }],
          ['said', said],
          ['by', actor(by)],
        ],
        if: [['pk', 'exists']],
      }),
    ),
  ])
}

/** What one transaction takes beside the lever itself. */
const MOST_RECORDS = 99

/** The push was given up: a case that came meanwhile need not wait for it. */
export async function dropRelease(table: Table, lever: string, restoration: string): Promise<void> {
  await table.write({
    update: leverItem(lever),
    remove: ['releasing'],
    if: [[['releasing', 'restoration'], '=', restoration]],
  })
}

/** Written before a call that pulls it: whatever becomes of the call, the lever may be pulled from here on. */
export async function intendPull(table: Table, lever: Lever, by: Actor): Promise<boolean> {
  const done = await table.write({
    update: caseLever(lever.case, lever.identityKey, lever.leverKey),
    set: [
      ['unanswered', true],
      ['by', actor(by)],
    ],
    if: [['state', '=', 'open']],
  })
  return done.ok
}

/**
 * A lever's end, counted in its case exactly once.
 *
 * @param doubt a failed one may be pulled all the same: a call was made that is not known to have done nothing
 */
export async function endLever(
  table: Table,
  lever: Lever,
  state: 'done' | 'failed',
  said: string,
  by: Actor,
  doubt = state === 'failed',
): Promise<void> {
  await table.transact([
    {
      update: caseLever(lever.case, lever.identityKey, lever.leverKey),
      set: [
        ['state', state],
        ['said', said],
        ['doneAt', by.at],
        ['by', actor(by)],
      ],
      remove: ['duePk', 'dueAt', ...(doubt ? [] : ['unanswered'])],
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
