import type { CampaignDetails, CampaignView, Held } from '../contracts/campaign.ts'
import type { CaseView } from '../contracts/case.ts'
import { Decision } from '../contracts/case.ts'
import { Key } from '../contracts/primitives.ts'
import type { Settings } from '../contracts/settings.ts'
import { deletionOf, validUntil } from '../domain/approval.ts'
import type { Actor, Campaign, Case } from '../domain/model.ts'
import { after, instant } from '../domain/time.ts'
import { viewOfCampaign, viewOfCase } from '../domain/views.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import type { Request, Route } from '../runtime/http.ts'
import { readBody, readQuery, readValue } from '../runtime/http.ts'
import type { Clock } from '../runtime/ports.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import { campaignOf, decideFuse, decideReport, membersOf } from '../store/campaigns.ts'
import { as } from '../store/items.ts'
import { CAMPAIGN_SHARDS, campaignItem, caseItem, LIST } from '../store/keys.ts'
import type { IndexInput, Item, Table } from '../store/table.ts'
import type { AsOperator, Operator, Page as PageOf } from './caller.ts'
import { mustApprove, Page } from './caller.ts'

export interface CampaignPorts {
  readonly table: Table
  readonly dispatch: Dispatch
  readonly clock: Clock
  readonly settings: Settings
}

interface Listed<Entry> {
  readonly entries: Entry[]
  readonly next?: string
}

const ROUNDS = 10
const LOOK_AFTER_SECONDS = 60
/** Cases of a campaign that are looked at for one answer. */
const MOST_COUNTED = 1000
const PAGE = 100
/** `<shard>:<case>`: where the list of a campaign's cases goes on. */
const PLACE = /^(\d{1,2}):((?:CASE#[a-z2-7]{26})?)$/

/** What waits for a person, and campaigns: one word for all cases of a report, or for all that a fuse holds. */
export function campaigns(ports: CampaignPorts) {
  const { table, clock, settings } = ports
  const now = () => instant(clock.now())

  async function known(id: string): Promise<Campaign> {
    const campaign = await campaignOf(table, id)
    if (campaign === undefined) throw new ProblemError('not-found', 'no such campaign')
    return campaign
  }

  async function index(
    partition: string,
    page: PageOf,
    descending: boolean,
  ): Promise<{ items: readonly Item[]; cursor?: string }> {
    const input: IndexInput = {
      index: 'list',
      partition,
      limit: page.limit,
      descending,
      ...(page.cursor === undefined ? {} : { cursor: page.cursor }),
    }
    return table.index(input).catch((error: unknown) => {
      if (error instanceof RangeError) throw new ProblemError('body-invalid', 'the cursor is not one of ours')
      throw error
    })
  }

  async function list(page: PageOf): Promise<Listed<CampaignView>> {
    const found = await index(LIST.campaign, page, true)
    return {
      entries: found.items.map((item) => viewOfCampaign(as('campaign', item))),
      ...(found.cursor === undefined ? {} : { next: found.cursor }),
    }
  }

  /** Counted over the first cases of it: a campaign of ten thousand says so, and is not read as a whole. */
  async function get(id: string): Promise<CampaignDetails> {
    const campaign = await known(id)
    const byState: Record<string, number> = {}
    const byDeletion: Record<string, number> = {}
    let counted = 0
    let shard = 0
    let place = ''
    while (shard < CAMPAIGN_SHARDS && counted < MOST_COUNTED) {
      const page = await membersOf(table, id, shard, place, PAGE)
      for (const { state, deletion } of await casesOf(page.cases)) {
        counted += 1
        byState[state] = (byState[state] ?? 0) + 1
        byDeletion[deletion] = (byDeletion[deletion] ?? 0) + 1
      }
      place = page.next ?? ''
      if (page.next === undefined) shard += 1
    }
    return {
      campaign: viewOfCampaign(campaign),
      cases: { counted, more: shard < CAMPAIGN_SHARDS, byState, byDeletion },
    }
  }

  async function casesOf(ids: readonly string[]): Promise<CaseView[]> {
    const items = await table.getMany(ids.map(caseItem))
    return items.flatMap((item) => (item === undefined ? [] : [viewOfCase(as('case', item))]))
  }

  async function cases(id: string, page: PageOf): Promise<Listed<CaseView>> {
    await known(id)
    const matched = PLACE.exec(page.cursor ?? '0:')
    if (matched === null || Number(matched[1]) >= CAMPAIGN_SHARDS)
      throw new ProblemError('body-invalid', 'the cursor is not one of ours')
    let shard = Number(matched[1])
    let place = matched[2] ?? ''
    const ids: string[] = []
    while (shard < CAMPAIGN_SHARDS && ids.length < page.limit) {
      const found = await membersOf(table, id, shard, place, page.limit - ids.length)
      ids.push(...found.cases)
      place = found.next ?? ''
      if (found.next === undefined) shard += 1
    }
    return { entries: await casesOf(ids), ...(shard < CAMPAIGN_SHARDS ? { next: `${shard}:${place}` } : {}) }
  }

  /**
   * One decision for all of its cases. A report's: may what was cut be deleted; it can be given anew for cases that came
   * later. A fuse's: may they start; it is given once.
   */
  async function decide(
    id: string,
    decision: 'approved' | 'rejected',
    { reason }: Decision,
    operator: Operator,
  ): Promise<CampaignView> {
    mustApprove(operator)
    for (let round = 0; round < ROUNDS; round += 1) {
      const campaign = await known(id)
      const at = now()
      if (decision === 'approved' && campaign.requester === operator.uri)
        throw new ProblemError('requester-cannot-approve', 'whoever asked cannot approve: a second person must')
      const by: Actor = { who: operator.uri, why: reason, at }
      const made = {
        decision,
        by: operator.uri,
        reason,
        at,
        ...(decision === 'approved' ? { validUntil: validUntil(settings.approvals, at, at) } : {}),
      }
      if (campaign.of === 'fuse') {
        if (campaign.decisions.length > 0)
          throw new ProblemError(
            'campaign-state',
            `it was ${campaign.decisions[0]?.decision} already: what a fuse holds is decided once`,
          )
        if (!(await decideFuse(table, campaign, made, after(at, LOOK_AFTER_SECONDS), by))) continue
        await ports.dispatch.plan('p1', [{ v: 1, kind: 'campaign', campaign: id }])
      } else if (!(await decideReport(table, campaign, made, by))) continue
      return viewOfCampaign(await known(id))
    }
    throw new ProblemError('throttled', 'the campaign changes too fast', { retryAfterSeconds: 1 })
  }

  /** Everything that waits for a person, oldest first. The marks only say where to look: each thing is asked itself. */
  async function held(page: PageOf): Promise<Listed<Held>> {
    const marks = await index(LIST.held, page, false)
    const items = await table.getMany(
      marks.items.map((mark) =>
        mark.campaign === undefined ? caseItem(String(mark.case)) : campaignItem(String(mark.campaign)),
      ),
    )
    const entries = items.flatMap((item, place): Held[] => {
      if (item === undefined) return []
      const since = String(marks.items[place]?.listAt)
      return item.kind === 'campaign' ? heldCampaign(as('campaign', item), since) : heldCase(as('case', item), since)
    })
    return { entries, ...(marks.cursor === undefined ? {} : { next: marks.cursor }) }
  }

  return { list, get, cases, decide, held }
}

/** A fuse waits until it is decided about; a report as long as its mark stands, for cases may have come since. */
function heldCampaign(campaign: Campaign, since: string): Held[] {
  if (campaign.of === 'fuse' && campaign.decisions.length > 0) return []
  const about = { kind: 'campaign' as const, since, campaign: viewOfCampaign(campaign) }
  return campaign.of === 'fuse'
    ? [{ ...about, waits: 'start', reason: campaign.held ?? 'its fuse has tripped' }]
    : [{ ...about, waits: 'deletion', reason: 'what its cases cut is deleted when somebody approves' }]
}

function heldCase(current: Case, since: string): Held[] {
  const about = { kind: 'case' as const, case: viewOfCase(current) }
  if (current.state === 'held')
    return [{ ...about, waits: 'start', since: current.held?.since ?? since, reason: current.held?.reason ?? 'it is held' }]
  if (current.paused !== undefined)
    return [
      { ...about, waits: 'paused', since: current.paused.at, reason: `held by ${current.paused.by}: ${current.paused.reason}` },
    ]
  const nothingCut = current.closedAt !== undefined && current.counts.revoked + current.amendCounts.revoked === 0
  if (deletionOf(current) !== 'waits' || nothingCut) return []
  return [{ ...about, waits: 'deletion', since, reason: 'what it cut is deleted when somebody approves' }]
}

export function campaignRoutes(ports: CampaignPorts, as: AsOperator): Route[] {
  const served = campaigns(ports)
  const id = (request: Request) => readValue(request.params['id'], Key)
  return [
    { method: 'GET', path: '/v1/held', handle: as((request) => served.held(readQuery(request, Page))) },
    { method: 'GET', path: '/v1/campaigns', handle: as((request) => served.list(readQuery(request, Page))) },
    { method: 'GET', path: '/v1/campaigns/{id}', handle: as((request) => served.get(id(request))) },
    {
      method: 'GET',
      path: '/v1/campaigns/{id}/cases',
      handle: as((request) => served.cases(id(request), readQuery(request, Page))),
    },
    {
      method: 'POST',
      path: '/v1/campaigns/{id}/approve',
      handle: as((request, operator) => served.decide(id(request), 'approved', readBody(request, Decision), operator)),
    },
    {
      method: 'POST',
      path: '/v1/campaigns/{id}/reject',
      handle: as((request, operator) => served.decide(id(request), 'rejected', readBody(request, Decision), operator)),
    },
  ]
}
