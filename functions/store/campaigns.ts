import { key } from '../domain/keys.ts'
import type { Actor, Campaign } from '../domain/model.ts'
import { after, ttl } from '../domain/time.ts'
import { actor, plain } from './identities.ts'
import { read } from './items.ts'
import { campaignItem, campaignMember, campaignPartition, DUE, fuseItem, heldCampaignItem, heldCaseItem, LIST } from './keys.ts'
import type { Item, Table, Update, Write } from './table.ts'

/**
 * Campaigns: cases with one decision for all of them. Its cases are listed in shards of their own and nothing counts
 * them, so that ten thousand cases can join at once without meeting on one item.
 */

export interface NewCampaign {
  readonly id: string
  readonly of: Campaign['of']
  readonly source: string
  readonly name: string
  readonly requester: string
  readonly held?: string
}

/** Names are the sender's own: two senders never share a campaign. */
export const campaignId = (source: string, name: string): string => key('campaign', source, name)

export const campaignOf = (table: Table, id: string): Promise<Campaign | undefined> => read(table, 'campaign', campaignItem(id))

/** The list of a campaign's cases outlives all of them, in days. */
const MEMBER_DAYS = 1500

const newCampaign = (campaign: NewCampaign, by: Actor): Item => ({
  ...campaignItem(campaign.id),
  kind: 'campaign',
  id: campaign.id,
  of: campaign.of,
  source: campaign.source,
  name: campaign.name,
  requester: campaign.requester,
  openedAt: by.at,
  held: campaign.held,
  decisions: [],
  listPk: LIST.campaign,
  listAt: by.at,
  by: actor(by),
})

/** Operators see that it waits. A mark is a hint: what is shown is what the campaign itself says. */
const markHeldCampaign = (id: string, by: Actor): Item => ({
  ...heldCampaignItem(id),
  kind: 'held',
  campaign: id,
  listPk: LIST.held,
  listAt: by.at,
  by: actor(by),
})

/** The same for a case that waits by itself. */
export const markHeldCase = (id: string, by: Actor): Write => ({
  put: { ...heldCaseItem(id), kind: 'held', case: id, listPk: LIST.held, listAt: by.at, by: actor(by) },
})
export const unmarkHeldCase = (id: string): Write => ({ delete: heldCaseItem(id) })

/** Written together with the case that joins. */
export const memberOf = (campaign: string, caseId: string, by: Actor): Write => ({
  put: {
    ...campaignMember(campaign, caseId),
    kind: 'campaign-member',
    case: caseId,
    ttl: ttl(after(by.at, MEMBER_DAYS * 86400)),
    by: actor(by),
  },
})

export const openCampaign = (campaign: NewCampaign, by: Actor): Write[] => [
  { put: newCampaign(campaign, by), if: [['pk', 'absent']] },
  { put: markHeldCampaign(campaign.id, by) },
]

/**
 * Makes the campaign of a report, or finds it, before a case joins. It is read first, so that its ten thousandth case
 * writes nothing here. One that was decided waits again: the decision does not cover what comes after it.
 */
export async function ensureCampaign(table: Table, campaign: NewCampaign, by: Actor): Promise<void> {
  const known = await campaignOf(table, campaign.id)
  if (known === undefined) await table.transact(openCampaign(campaign, by))
  else if (known.decisions.length > 0) await table.write({ put: markHeldCampaign(campaign.id, by), if: [['pk', 'absent']] })
}

/** The cases of one shard of a campaign, page by page, strongly consistent. */
export async function membersOf(
  table: Table,
  id: string,
  shard: number,
  place: string,
  limit: number,
): Promise<{ cases: string[]; next?: string }> {
  const page = await table.query({
    pk: campaignPartition(id, shard),
    limit,
    ...(place === '' ? { prefix: 'CASE#' } : { after: place, to: 'CASE#~' }),
  })
  return {
    cases: page.items.map((item) => String(item.case)),
    ...(page.next === undefined ? {} : { next: page.next }),
  }
}

type Decision = Campaign['decisions'][number]

const decided = (campaign: Campaign, decision: Decision, by: Actor): Update => ({
  update: campaignItem(campaign.id),
  set: [
    ['decisions', plain([...campaign.decisions, decision])],
    ['by', actor(by)],
  ],
  if: [['v', '=', campaign.v]],
})

/** One word about all the deletions of a report; `false`: somebody else decided meanwhile. */
export async function decideReport(table: Table, campaign: Campaign, decision: Decision, by: Actor): Promise<boolean> {
  const done = await table.transact([decided(campaign, decision, by), { delete: heldCampaignItem(campaign.id) }])
  return done.ok
}

/**
 * The one decision about what a fuse holds, in one transaction with the fuse itself: approved, it counts anew; rejected,
 * nothing passes any more in this window. Carrying it out, case by case, is due from now on.
 */
export async function decideFuse(
  table: Table,
  campaign: Campaign,
  decision: Decision,
  dueAt: string,
  by: Actor,
): Promise<boolean> {
  const { update, set, if: conditions } = decided(campaign, decision, by)
  const carried: Update = {
    update,
    set: [...(set ?? []), ['carrying', { shard: 0, after: '' }], ['duePk', DUE.campaign], ['dueAt', dueAt]],
    if: [...(conditions ?? []), ['carrying', 'absent']],
  }
  const reset: Update = {
    update: fuseItem(campaign.source),
    set:
      decision.decision === 'approved'
        ? [
            ['identities', 0],
            ['leases', 0],
            ['taskLeases', 0],
            ['by', actor(by)],
          ]
        : [
            ['blown', true],
            ['by', actor(by)],
          ],
    remove: ['campaign'],
    if: [['campaign', '=', campaign.id]],
  }
  const done = await table.transact([carried, reset, { delete: heldCampaignItem(campaign.id) }])
  return done.ok
}

/** How far a decision is carried out; without a place it is over. */
export async function carriedTo(table: Table, id: string, place: Campaign['carrying'], dueAt: string, by: Actor): Promise<void> {
  await table.write(
    place === undefined
      ? {
          update: campaignItem(id),
          set: [['by', actor(by)]],
          remove: ['carrying', 'duePk', 'dueAt'],
          if: [['carrying', 'exists']],
        }
      : {
          update: campaignItem(id),
          set: [
            ['carrying', { ...place }],
            ['dueAt', dueAt],
          ],
          if: [['carrying', 'exists']],
        },
  )
}

/** Takes the turn of sending its message again. */
export async function pushCampaign(table: Table, campaign: Campaign, seen: string, dueAt: string): Promise<boolean> {
  const done = await table.write({
    update: campaignItem(campaign.id),
    set: [['dueAt', dueAt]],
    if: [['dueAt', '=', seen]],
  })
  return done.ok
}
