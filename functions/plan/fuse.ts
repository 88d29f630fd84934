import type { PlanMessage } from '../contracts/message.ts'
import type { Settings } from '../contracts/settings.ts'
import { approvalLapsed, approvalStands } from '../domain/approval.ts'
import type { Reached } from '../domain/fuse.ts'
import { fuseLimits, mostIdentities, roomOf, whyTripped, windowOf } from '../domain/fuse.ts'
import { identityKey, key } from '../domain/keys.ts'
import type { Actor, Campaign, Case, Identity } from '../domain/model.ts'
import { modesFor } from '../domain/modes.ts'
import { policyOf } from '../domain/policy.ts'
import { after, instant, ttl } from '../domain/time.ts'
import { isExempt, isGuarded, treatmentOf } from '../domain/treatment.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import type { Clock, Log } from '../runtime/ports.ts'
import { Unusable } from '../runtime/unusable.ts'
import { campaignOf, carriedTo, membersOf } from '../store/campaigns.ts'
import { cancelCase, caseOf, holdCase, waitWithDeletion } from '../store/cases.ts'
import { fuseOf, holdAlone, holdWith, passFuse, restHeld, startHeld, tripFuse } from '../store/fuses.ts'
import { identityOf, members, ownerGroup, workloadGroup } from '../store/identities.ts'
import { as } from '../store/items.ts'
import {
  CAMPAIGN_SHARDS,
  caseItem,
  identityItem,
  leaseItem,
  leaseOfSort,
  scopeOfCredential,
  scopeOfDeployment,
  scopeOfTask,
  shardPartition,
  shardsOf,
} from '../store/keys.ts'
import type { Table } from '../store/table.ts'

export interface FusePorts {
  readonly table: Table
  readonly dispatch: Dispatch
  readonly clock: Clock
  readonly log: Log
  readonly settings: Settings
}

const LOOK_AFTER_SECONDS = 120
const ROUNDS = 20
const PAGE = 100
/** Entries read to count one case; beyond them it waits for a person, who sees why. */
const MOST_READ = 50_000
/** Shards counted side by side. */
const READERS = 64
/** Cases of a campaign that are started side by side. */
const PARALLEL = 10

/**
 * What waits for a person: lifecycle cases that reach more than their source may in one window, and the deletions of a
 * compromise that reached a protected identity. Everything here happens before the case's first fence.
 */
export function fuses(ports: FusePorts) {
  const { table, clock, dispatch, settings } = ports
  const now = () => instant(clock.now())

  /**
   * Whether the case goes no further now, because its fuse or somebody's lapsed approval holds it. A compromise always
   * goes on, and so does what only observes. Asking again changes nothing: a case is counted in one transaction with
   * the mark that it was.
   */
  async function holds(found: Case): Promise<boolean> {
    let current = found
    const policy = policyOf(current.type, current.scope.kind)
    if (!policy.holdable || current.mode === 'observe') return false
    let reached: Reached | undefined
    for (let round = 0; round < ROUNDS; round += 1) {
      if (current.fuse === 'passed' || current.fencedAt !== undefined || begun(current)) return false
      if (current.state !== 'opened') return true
      const by: Actor = { who: 'plan', case: current.id, trigger: current.type, why: current.reason, at: now() }
      if (approvalStands(current.decisions, 'case', by.at)) return false
      if (approvalLapsed(current.decisions, 'case', by.at)) {
        if (await holdCase(table, current, 'its approval has run out', current.decisions, by)) return true
      } else {
        const limits = fuseLimits(settings.fuse, current.source)
        const { fuse, known } = await fuseOf(table, current.source)
        const campaignHeld = fuse?.campaign
        if (campaignHeld !== undefined) {
          const reason = tripped(current.source)
          if (await holdWith(table, current, campaignHeld, reason, after(by.at, LOOK_AFTER_SECONDS), by)) return look(current.id)
        } else {
          const most = { ...limits, identities: mostIdentities(limits, known) }
          reached ??= await count(current, most)
          const room = roomOf(fuse, windowOf(by.at, limits.windowSeconds))
          const blown = fuse?.blown === true && fuse.window === room.window
          const why = whyTripped(current.source, limits, known, room, reached, blown)
          if (why === undefined) {
            if (await passFuse(table, current, fuse, room, most, reached, by)) return false
          } else {
            const campaign = {
              id: key('campaign', 'fuse', current.source, current.id, String(fuse?.v ?? 0)),
              of: 'fuse' as const,
              source: current.source,
              name: `fuse/${by.at}`,
              requester: current.requester,
              held: why,
            }
            if (await tripFuse(table, current, fuse, room, campaign, why, after(by.at, LOOK_AFTER_SECONDS), by)) {
              ports.log.warn('a fuse has tripped', { case: current.id, source: current.source, campaign: campaign.id })
              return look(current.id)
            }
          }
        }
      }
      const fresh = await caseOf(table, current.id)
      if (fresh === undefined) return true
      current = fresh
    }
    throw new Error('the fuse of a source changes faster than a case can be counted')
  }

  /** Why a case would be held if it came now, in the words of `holds`; nothing is counted. */
  async function wouldHold(current: Counting & Pick<Case, 'source'>): Promise<string | undefined> {
    if (!policyOf(current.type, current.scope.kind).holdable || current.mode === 'observe') return undefined
    const limits = fuseLimits(settings.fuse, current.source)
    const { fuse, known } = await fuseOf(table, current.source)
    if (fuse?.campaign !== undefined) return tripped(current.source)
    const reached = await count(current, { ...limits, identities: mostIdentities(limits, known) })
    const room = roomOf(fuse, windowOf(now(), limits.windowSeconds))
    return whyTripped(current.source, limits, known, room, reached, fuse?.blown === true && fuse.window === room.window)
  }

  /** A planner before us has opened a unit: what it counted is fenced already. */
  const begun = (current: Case): boolean => current.identities > 0 || current.orphans > 0 || current.fencing !== undefined

  /**
   * A case that a fuse holds looks whether its campaign was decided: whoever decides marks the campaign first and then
   * goes through its list, whoever is held enters the list first and then looks at the mark, so one of them sees the other.
   *
   * @returns true: it is not planned by whoever asks
   */
  async function look(id: string): Promise<true> {
    const current = await caseOf(table, id)
    if (current?.state !== 'held' || current.campaign === undefined || current.dueAt === undefined) return true
    const campaign = await campaignOf(table, current.campaign)
    if (campaign === undefined || campaign.of !== 'fuse') return true
    if (campaign.decisions.length === 0) await restHeld(table, current, campaign)
    else await carry(current, campaign)
    return true
  }

  /** Carries out for one case what was decided about its campaign. Repeating it changes nothing. */
  async function carry(found: Case, campaign: Campaign): Promise<void> {
    const [decision] = campaign.decisions
    let current: Case | undefined = found
    for (let round = 0; round < ROUNDS; round += 1) {
      // Somebody decided about this one case meanwhile, or another run of us did.
      if (decision === undefined || current?.state !== 'held' || current.campaign !== campaign.id) return
      const by: Actor = { who: decision.by, why: decision.reason, case: current.id, trigger: current.type, at: now() }
      const decisions = [...current.decisions, { ...decision, about: 'case' as const }]
      if (decision.decision === 'rejected') {
        if (await cancelCase(table, current, decisions, ttl(after(by.at, settings.limits.retentionDays * 86400)), by)) return
      } else if (decision.by === current.requester) {
        return holdAlone(table, current, campaign, 'its campaign was approved by whoever requested this very case', by)
      } else if (decision.validUntil !== undefined && decision.validUntil <= by.at) {
        return holdAlone(table, current, campaign, 'the approval of its campaign has run out', by)
      } else if (
        await startHeld(
          table,
          current,
          campaign,
          decisions,
          modesFor(settings.modes, current.type),
          after(by.at, LOOK_AFTER_SECONDS),
          by,
        )
      ) {
        await dispatch.plan(current.lane, [{ v: 1, kind: 'plan', case: current.id }])
        return
      }
      current = await caseOf(table, current.id)
    }
    throw new Error('a held case changes faster than it can be decided about')
  }

  /** Carries out a decision for all cases of a campaign, from where a run before us got to. */
  async function carryOut({ campaign: id }: Extract<PlanMessage, { kind: 'campaign' }>): Promise<void> {
    const campaign = await campaignOf(table, id)
    if (campaign === undefined) throw new Unusable('campaign-gone')
    if (campaign.carrying === undefined) return
    const by: Actor = { who: 'plan', why: 'a decision is carried out', at: now() }
    let { shard, after: place } = campaign.carrying
    while (shard < CAMPAIGN_SHARDS) {
      const page = await membersOf(table, id, shard, place, PAGE)
      const cases = await table.getMany(page.cases.map(caseItem))
      const found = cases.flatMap((item) => (item === undefined ? [] : [as('case', item)]))
      for (let first = 0; first < found.length; first += PARALLEL)
        await Promise.all(found.slice(first, first + PARALLEL).map((current) => carry(current, campaign)))
      if (page.next === undefined) {
        shard += 1
        place = ''
      } else place = page.next
      if (shard < CAMPAIGN_SHARDS && (found.length > 0 || page.next !== undefined))
        await carriedTo(table, id, { shard, after: place }, after(now(), LOOK_AFTER_SECONDS), by)
    }
    await carriedTo(table, id, undefined, now(), { ...by, at: now() })
  }

  /** What the case would cut, exact up to the limits: read strongly, and no further than it takes to know. */
  async function count(current: Counting, most: { identities: number; leases: number; taskLeases: number }): Promise<Reached> {
    const { scope } = current
    switch (scope.kind) {
      case 'identity': {
        const identity = await identityOf(table, identityKey(scope.id))
        return identity === undefined ? NOTHING : countIdentities(current, [[identity, undefined]], most)
      }
      case 'owner':
      case 'workload':
        return countIdentities(current, membersOfGroup(scope.kind, scope.id), most)
      case 'deployment':
        return countPointers(scopeOfDeployment(scope.namespace, scope.id), most)
      case 'task': {
        const { leases, more } = await countPointers(scopeOfTask(scope.namespace, scope.id), {
          identities: Number.POSITIVE_INFINITY,
          leases: most.taskLeases,
        })
        return { identities: 0, leases: 0, taskLeases: leases, more }
      }
      default:
        return NOTHING
    }
  }

  type Counted = readonly [Identity, 'owner' | 'workload' | undefined]

  async function* membersOfGroup(kind: 'owner' | 'workload', id: string): AsyncGenerator<Counted> {
    let cursor: string | undefined
    do {
      const page = await members(table, kind === 'owner' ? ownerGroup(id) : workloadGroup(id), cursor, PAGE)
      const found = await table.getMany(page.identities.map((member) => identityItem(member.key)))
      for (const item of found) if (item !== undefined) yield [as('identity', item), kind]
      cursor = page.next
    } while (cursor !== undefined)
  }

  /**
   * Identities that the case would fence, with their other names, and the leases that they hold. Too many identities are
   * reason enough, so leases are only read where there are few; one that no issuer knows never held any.
   */
  async function countIdentities(
    current: Counting,
    found: AsyncIterable<Counted> | Iterable<Counted>,
    most: { readonly identities: number; readonly leases: number },
  ): Promise<Reached> {
    const policy = policyOf(current.type, current.scope.kind)
    const holders = new Map<string, boolean>()
    for await (const [identity, group] of found) {
      if (treatmentOf(current, policy, identity, group, settings) !== 'fence') continue
      holders.set(identity.key, Object.keys(identity.issuers).length > 0)
      for (const name of identity.aliases ?? [])
        if (!isExempt(settings, name) && !holders.has(identityKey(name))) holders.set(identityKey(name), true)
      if (holders.size > most.identities) return { ...NOTHING, identities: holders.size }
    }
    const shards = [...holders].flatMap(([identity, holds]) => {
      const scope = `identity#${identity}` as const
      return holds ? Array.from({ length: shardsOf(scope) }, (_, shard) => shardPartition(scope, shard)) : []
    })
    let leases = 0
    let read = 0
    for (let first = 0; first < shards.length && leases <= most.leases && read <= MOST_READ; first += READERS) {
      const counts = await Promise.all(
        shards.slice(first, first + READERS).map((pk) => countLeases(pk, most.leases + 1 - leases)),
      )
      for (const counted of counts) {
        leases += counted.live
        read += counted.read
      }
    }
    return { identities: holders.size, leases, taskLeases: 0, more: read > MOST_READ }
  }

  async function countLeases(pk: string, enough: number): Promise<{ live: number; read: number }> {
    let live = 0
    let read = 0
    let place: { after: string; to: string } | { prefix: string } = { prefix: 'L#' }
    for (;;) {
      const page = await table.query({ pk, limit: PAGE, ...place })
      read += page.items.length
      live += page.items.filter(inForce).length
      if (page.next === undefined || live >= enough || read > MOST_READ) return { live, read }
      place = { after: page.next, to: 'L#~' }
    }
  }

  /** Leases in force behind the pointers of a task or a deployment, and whose they are. */
  async function countPointers(
    scope: ReturnType<typeof scopeOfTask>,
    most: { readonly identities: number; readonly leases: number },
  ): Promise<Reached> {
    const identities = new Set<unknown>()
    let leases = 0
    let read = 0
    for (let shard = 0; shard < shardsOf(scope); shard += 1) {
      let place: { after: string; to: string } | { prefix: string } = { prefix: 'L#' }
      for (;;) {
        const page = await table.query({ pk: shardPartition(scope, shard), limit: PAGE, ...place })
        read += page.items.length
        const found = await table.getMany(page.items.map(({ sk }) => leaseItem(leaseOfSort(sk).lease)))
        for (const item of found) {
          if (item === undefined || !inForce(item)) continue
          leases += 1
          identities.add(item.identityKey)
        }
        if (leases > most.leases || identities.size > most.identities || read > MOST_READ)
          return { identities: identities.size, leases, taskLeases: 0, more: read > MOST_READ }
        if (page.next === undefined) break
        place = { after: page.next, to: 'L#~' }
      }
    }
    return { identities: identities.size, leases, taskLeases: 0, more: false }
  }

  /** A compromised credential whose holders are not all known to be unprotected: nothing is deleted without a word. */
  async function gateCredential(current: Case, fingerprint: string): Promise<void> {
    if (current.type !== 'compromise' || current.deletion !== undefined) return
    const by: Actor = { who: 'plan', case: current.id, trigger: current.type, why: 'it reached a protected identity', at: now() }
    const page = await table.query({ pk: shardPartition(scopeOfCredential(fingerprint), 0), prefix: 'L#', limit: PAGE })
    const owners = [...new Set(page.items.map(({ sk }) => leaseOfSort(sk).lease.split('.')[0] ?? ''))]
    const identities = await table.getMany(owners.map(identityItem))
    const guarded = identities.some((item) => item !== undefined && isGuarded(settings, as('identity', item)))
    if (guarded || page.next !== undefined) await waitWithDeletion(table, current.id, by)
  }

  return { holds, wouldHold, look, carryOut, gateCredential }
}

/** What a case is counted by. */
type Counting = Pick<Case, 'type' | 'mode' | 'scope' | 'decisions'>

const tripped = (source: string): string => `the fuse of source ${source} has tripped, and nobody has decided yet`

const NOTHING: Reached = { identities: 0, leases: 0, taskLeases: 0, more: false }

const inForce = ({ state }: { readonly [name: string]: unknown }): boolean => state !== 'ended' && state !== 'released'
