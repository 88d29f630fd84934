import type { Modes } from '../contracts/mode.ts'
import type { FuseLimits, Reached, Room } from '../domain/fuse.ts'
import type { Actor, Campaign, Case, Fuse } from '../domain/model.ts'
import { leastCautious } from '../domain/modes.ts'
import type { NewCampaign } from './campaigns.ts'
import { markHeldCase, memberOf, openCampaign } from './campaigns.ts'
import { actor, plain } from './identities.ts'
import { as } from './items.ts'
import { caseItem, DUE, estateItem, fuseItem } from './keys.ts'
import type { Condition, Table, Update } from './table.ts'

/** The fuses: one item per source, which counts what its lifecycle cases reach, and the cases that it holds. */

/** The fuse of a source, and how many identities are known (a count at best effort). */
export async function fuseOf(table: Table, source: string): Promise<{ fuse: Fuse | undefined; known: number }> {
  const [fuse, estate] = await table.getMany([fuseItem(source), estateItem()])
  return { fuse: fuse === undefined ? undefined : as('fuse', fuse), known: Number(estate?.identities ?? 0) }
}

/** It is as it was read: another case of the source may have changed it meanwhile. */
const unchanged = (fuse: Fuse | undefined): Condition => (fuse === undefined ? ['pk', 'absent'] : ['v', '=', fuse.v])

const COUNTED = ['identities', 'leases', 'taskLeases'] as const

/** Its counts, and a rejection, are gone with the window that they belong to. */
const isOver = (fuse: Fuse | undefined, window: number): boolean => fuse !== undefined && fuse.window < window

/** Conditions of a case that nobody fenced, held or counted before. */
const uncounted: readonly Condition[] = [
  ['state', '=', 'opened'],
  ['fuse', 'absent'],
  ['fencedAt', 'absent'],
]

/**
 * Counts the case in its source's window and lets it through, both or neither; `false`: read both again. Within a window
 * cases are added beside each other, each while there is room for it.
 */
export async function passFuse(
  table: Table,
  current: Case,
  fuse: Fuse | undefined,
  room: Room,
  most: Pick<FuseLimits, (typeof COUNTED)[number]>,
  reached: Reached,
  by: Actor,
): Promise<boolean> {
  const counted: Update =
    fuse === undefined || isOver(fuse, room.window)
      ? {
          update: fuseItem(current.source),
          set: [
            ['kind', 'fuse'],
            ['source', current.source],
            ['window', room.window],
            ...COUNTED.map((name) => [name, reached[name]] as const),
            ['by', actor(by)],
          ],
          remove: ['blown'],
          if: [unchanged(fuse), ['campaign', 'absent']],
        }
      : {
          update: fuseItem(current.source),
          set: [['by', actor(by)]],
          add: COUNTED.map((name) => [name, reached[name]] as const),
          if: [
            ['window', '=', room.window],
            ['campaign', 'absent'],
            ['blown', 'absent'],
            // What a case does not reach may be used up by others.
            ...COUNTED.filter((name) => reached[name] > 0).map((name) => [name, '<=', most[name] - reached[name]] as const),
          ],
        }
  const done = await table.transact([counted, { update: caseItem(current.id), set: [['fuse', 'passed']], if: uncounted }])
  return done.ok
}

/** It stays due: whoever holds it looks once more whether the campaign was decided in between (write, then look). */
const heldBy = (current: Case, campaign: string, reason: string, dueAt: string, by: Actor): Update => ({
  update: caseItem(current.id),
  set: [
    ['state', 'held'],
    ['held', { reason, since: by.at }],
    ['campaign', campaign],
    ['duePk', DUE.case],
    ['dueAt', dueAt],
    ['by', actor(by)],
  ],
  if: uncounted,
})

/** The fuse trips: from now on all that its source sends is held with the campaign, until somebody decides about it. */
export async function tripFuse(
  table: Table,
  current: Case,
  fuse: Fuse | undefined,
  room: Room,
  campaign: NewCampaign,
  reason: string,
  dueAt: string,
  by: Actor,
): Promise<boolean> {
  const done = await table.transact([
    {
      update: fuseItem(current.source),
      set: [
        ['kind', 'fuse'],
        ['source', current.source],
        ['window', room.window],
        ['identities', room.used.identities],
        ['leases', room.used.leases],
        ['taskLeases', room.used.taskLeases],
        ['campaign', campaign.id],
        ['by', actor(by)],
      ],
      remove: isOver(fuse, room.window) ? ['blown'] : [],
      if: [unchanged(fuse), ['campaign', 'absent']],
    },
    ...openCampaign(campaign, by),
    heldBy(current, campaign.id, reason, dueAt, by),
    memberOf(campaign.id, current.id, by),
  ])
  return done.ok
}

/** Holds a case with a campaign that tripped before; the campaign's item is not touched, however many come. */
export async function holdWith(
  table: Table,
  current: Case,
  campaign: string,
  reason: string,
  dueAt: string,
  by: Actor,
): Promise<boolean> {
  const done = await table.transact([heldBy(current, campaign, reason, dueAt, by), memberOf(campaign, current.id, by)])
  return done.ok
}

const stillHeld = (campaign: Campaign): readonly Condition[] => [
  ['state', '=', 'held'],
  ['campaign', '=', campaign.id],
]

/** It is held and the campaign is not decided: whoever decides finds it in the campaign's list. */
export async function restHeld(table: Table, current: Case, campaign: Campaign): Promise<void> {
  await table.write({ update: caseItem(current.id), remove: ['duePk', 'dueAt'], if: stillHeld(campaign) })
}

/** What was decided about its campaign does not count for this case: it waits for a decision of its own. */
export async function holdAlone(table: Table, current: Case, campaign: Campaign, reason: string, by: Actor): Promise<void> {
  await table.transact([
    {
      update: caseItem(current.id),
      set: [
        ['held', { reason, since: current.held?.since ?? by.at }],
        ['by', actor(by)],
      ],
      remove: ['duePk', 'dueAt'],
      if: stillHeld(campaign),
    },
    markHeldCase(current.id, by),
  ])
}

/** Starts a case whose campaign was approved, under the modes that stand now; it is counted no more. */
export async function startHeld(
  table: Table,
  current: Case,
  campaign: Campaign,
  decisions: Case['decisions'],
  modes: Modes,
  dueAt: string,
  by: Actor,
): Promise<boolean> {
  const done = await table.write({
    update: caseItem(current.id),
    set: [
      ['state', 'opened'],
      ['fuse', 'passed'],
      ['mode', leastCautious(modes)],
      ['modes', plain(modes)],
      ['decisions', plain(decisions)],
      ['duePk', DUE.case],
      ['dueAt', dueAt],
      ['by', actor(by)],
    ],
    remove: ['held'],
    if: [...stillHeld(campaign), ['v', '=', current.v]],
  })
  return done.ok
}
