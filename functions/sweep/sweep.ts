import type { WorkMessage } from '../contracts/message.ts'
import type { Modes } from '../contracts/mode.ts'
import type { Settings } from '../contracts/settings.ts'
import { caseKey, key } from '../domain/keys.ts'
import { hasLapsed } from '../domain/lapse.ts'
import type { Actor, Case, Chunk, Issuer, Lease, Lever } from '../domain/model.ts'
import { leastCautious, modeOfLease, modesFor } from '../domain/modes.ts'
import { policyOf } from '../domain/policy.ts'
import { after, instant, ttl } from '../domain/time.ts'
import type { Guards } from '../domain/treatment.ts'
import { isExempt, isGuarded } from '../domain/treatment.ts'
import type { Definition } from '../providers/contract.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import type { Clock, GenerationMark, Log, Randomness } from '../runtime/ports.ts'
import type { Keeper } from '../runtime/quarantine.ts'
import { amend } from '../store/amendments.ts'
import { pushCampaign } from '../store/campaigns.ts'
import { caseOf, closeCase, isDoneAgain, isFinished, openCase, postponeCase, stillOrphan } from '../store/cases.ts'
import { controlOf } from '../store/control.ts'
import { openExpiry, sealExpiry } from '../store/expiry.ts'
import { issuerOf, issuers } from '../store/issuers.ts'
import { as, ForeignItem, keyOf } from '../store/items.ts'
import { DUE, dueExpiries, dueRegistrations } from '../store/keys.ts'
import { watchOn, watchOrphan } from '../store/observed.ts'
import type { Grace } from '../store/outage.ts'
import { beat, giveBack, graceOf, markOverdue, putOffOrphan, putOffRegistration, recordGap } from '../store/outage.ts'
import type { Item, Table } from '../store/table.ts'
import { completeProgress } from '../store/units.ts'
import { closeAgain, cutWatched } from '../store/watch.ts'
import { chunkNameOf, progressNameOf, pushDue, pushParked } from '../store/work.ts'
import { sweepAsks } from './asks.ts'
import { sendAgain } from './chunks.ts'
import { sweepDiscoveries } from './discoveries.ts'
import { countGeneration } from './generation.ts'
import { asideFor } from './hints.ts'
import { sweepRestorations } from './restorations.ts'

export interface SweepPorts {
  readonly table: Table
  readonly dispatch: Dispatch
  readonly clock: Clock
  readonly random: Randomness
  readonly log: Log
  readonly limits: Settings['limits']
  readonly modes?: Settings['modes']
  readonly outage?: Settings['outage']
  readonly discovery?: Settings['discovery']
  /** Which providers can list their issuers; without it, there are no discoveries. */
  readonly catalog?: Readonly<Record<string, Pick<Definition, 'capabilities' | 'serial'>>>
  /** Whom no case touches, and whose cases wait for an approval. */
  readonly settings: Guards
  /** Outside the table, so that a table restored from a backup shows. */
  readonly mark: GenerationMark
  /** Keeps and counts what cannot be handled. */
  readonly keep?: Keeper['item']
}

/** What one sweep found and did, by kind. */
export type Swept = Record<
  | 'cases'
  | 'chunks'
  | 'levers'
  | 'registrations'
  | 'expired'
  | 'graced'
  | 'overdue'
  | 'orphans'
  | 'parked'
  | 'campaigns'
  | 'restorations'
  | 'asks'
  | 'discoveries',
  number
>

/** Items looked at per kind in one sweep; what is left is the next one's. */
const MOST = 2000
/** Chunks looked at in one sweep: up to half a million leases a minute go on after an outage, and no more. */
const MOST_CHUNKS = 5000
/** Unfinished scans of one case that are sent on in one sweep. */
const MOST_SCANS = 200
const PAGE = 200
/** A message that was sent again is looked after again after this, in seconds; each further time twice as long. */
const AGAIN_SECONDS = 120
/** Single writes under way at once. */
const AT_ONCE = 16
const OUR_OUTAGE = 'time lost by an outage of the pipeline is given back'

/** Writes for each, some at a time; how many did something. */
async function atOnce<One>(all: readonly One[], write: (one: One) => Promise<boolean>): Promise<number> {
  let done = 0
  for (let start = 0; start < all.length; start += AT_ONCE) {
    const written = await Promise.all(all.slice(start, start + AT_ONCE).map(write))
    done += written.filter(Boolean).length
  }
  return done
}

/** What a stop put off is due within this time of its release, in seconds: after a release it is looked at early. */
const PUT_OFF_SECONDS = 90

/** At most so many doublings (about an hour): a backlog must not be fed by looking at it. */
const MOST_DOUBLINGS = 5
/** What its expiry ends; what is being given back is cut if that is not over by then, and so is what came back by itself. */
const EXPIRING: readonly Lease['state'][] = ['live', 'late', 'restoring', 'resurrected']
const DAY_SECONDS = 86400
const isOverdue = ({ overdueSince }: Lease): boolean => overdueSince !== undefined
const againSeconds = ({ resent }: { readonly resent?: unknown }): number =>
  AGAIN_SECONDS * 2 ** Math.min(typeof resent === 'number' ? resent : 0, MOST_DOUBLINGS)

/**
 * The clock of the pipeline: each minute it looks through what is due and sends it again, opens what expiry, deadlines
 * and schedules start, and repeats what a crash may have left undone. It decides nothing that the table does not say,
 * and two sweeps at once only send twice.
 */
export function sweeper(ports: SweepPorts) {
  const { table, clock, dispatch, limits } = ports
  const now = () => instant(clock.now())
  const { aside, readable, caseFor } = asideFor(table, now, ports.keep)

  /** Everything due in a partition of the index, oldest first; the index may lag, so each item is only a hint. */
  async function* due(partition: string, upTo = now(), most = MOST): AsyncGenerator<Item[]> {
    let cursor: string | undefined
    let seen = 0
    do {
      const page = await table.index({
        index: 'due',
        partition,
        upTo,
        limit: PAGE,
        ...(cursor === undefined ? {} : { cursor }),
      })
      seen += page.items.length
      yield await readable(partition, page.items)
      cursor = page.cursor
    } while (cursor !== undefined && seen < most)
  }

  async function sweepCases(): Promise<number> {
    let moved = 0
    for await (const items of due(DUE.case))
      for (const item of items) {
        const current = await caseFor(item, as('case', item).id)
        if (current === undefined || (current.closedAt !== undefined && current.state !== 'resurrected')) continue
        moved += 1
        await postponeCase(table, current.id, after(now(), AGAIN_SECONDS))
        if (current.sealed) await repaired(item, current)
        else await dispatch.plan(current.lane, [{ v: 1, kind: 'plan', case: current.id }])
      }
    return moved
  }

  /** One case that cannot be read whole holds up no other. */
  async function repaired(item: Item, current: Case): Promise<void> {
    try {
      await repair(current)
    } catch (error) {
      if (!(error instanceof ForeignItem)) throw error
      await aside({ ...item, dueAt: (await caseOf(table, current.id))?.dueAt }, 'item-unreadable')
    }
  }

  /** Repeats the steps that the stream drives, for a record that was lost: counting finished shards, closing. */
  async function repair(current: Case): Promise<void> {
    const by: Actor = { who: 'sweep', case: current.id, trigger: current.type, at: now() }
    for (const progress of await openProgress(current))
      if (progress.done === progress.expected) await completeProgress(table, progress, by)
    const fresh = await caseOf(table, current.id)
    const keep = ttl(after(now(), (limits.retentionDays + 366) * 86400))
    if (fresh !== undefined && isFinished(fresh)) await closeCase(table, fresh, keep, by)
    if (fresh !== undefined && isDoneAgain(fresh)) await closeAgain(table, fresh, keep, by)
  }

  /** The shards of a case that are not counted yet; unsealed ones are sent to be scanned on. */
  async function openProgress(current: Case) {
    const found = []
    let scans = 0
    let cursor: string | undefined
    do {
      const page = await table.query({
        pk: `CASE#${current.id}`,
        prefix: 'UNIT#',
        limit: PAGE,
        ...(cursor === undefined ? {} : { after: cursor }),
      })
      for (const item of page.items) {
        const unit = as('unit', item)
        const items = await table.getMany(
          unit.shards.map((shard) => ({ pk: `CASE#${current.id}#${unit.scope}#${shard}`, sk: 'PROGRESS' })),
        )
        for (const one of items) {
          if (one === undefined) continue
          const progress = as('progress', one)
          if (progress.complete) continue
          if (progress.sealed) found.push(progress)
          else if (scans++ < MOST_SCANS)
            await dispatch.plan(current.lane, [
              { v: 1, kind: 'scan', case: current.id, scope: progress.scope as never, shard: progress.shard },
            ])
        }
      }
      cursor = page.next
    } while (cursor !== undefined)
    return found
  }

  const messageOf = (chunk: Chunk): WorkMessage =>
    chunk.kind === 'amendment'
      ? { v: 1, kind: 'amend', case: chunk.case, lease: chunk.sk.slice('AMEND#'.length), issuer: chunk.issuer }
      : {
          v: 1,
          kind: 'chunk',
          case: chunk.case,
          progress: progressNameOf(chunk),
          chunk: chunkNameOf(chunk),
          issuer: chunk.issuer,
        }

  /** The same in one partition after the other. */
  async function* duePartitions(partitions: readonly string[]): AsyncGenerator<Item[]> {
    for (const partition of partitions) yield* due(partition)
  }

  /** Calls of issuers: once a stop is released, nobody waits until what it put off is due. */
  async function* dueCalls(partition: string, most = MOST): AsyncGenerator<Item[]> {
    const released = (await controlOf(table))?.releasedAt
    const early = released !== undefined && after(released, PUT_OFF_SECONDS) > now()
    yield* due(partition, early ? after(now(), PUT_OFF_SECONDS) : now(), most)
  }

  async function sweepChunks(): Promise<number> {
    const lanes = new Map<string, Promise<Case['lane'] | undefined>>()
    const laneOf = (item: Item, id: string) => {
      const known = lanes.get(id) ?? caseFor(item, id).then((current) => current?.lane)
      // A case that is not there sets aside each of its chunks.
      known.then(
        (lane) => lane !== undefined && lanes.set(id, known),
        () => lanes.delete(id),
      )
      return known
    }
    const serial = new Map<string, Promise<boolean>>()
    // What nobody knows is taken for serial: it stays in its case's lane.
    const isSerial = (issuer: string): Promise<boolean> => {
      const known =
        serial.get(issuer) ??
        issuerOf(table, issuer).then(
          (found) => found === undefined || ports.catalog?.[found.provider]?.serial !== false,
          () => true,
        )
      serial.set(issuer, known)
      return known
    }
    let sent = 0
    for await (const items of dueCalls(DUE.chunk, MOST_CHUNKS))
      sent += await sendAgain({ table, dispatch, laneOf, isSerial, messageOf, againSeconds, now }, items)
    return sent
  }

  /** Decisions about campaigns that are not carried out to their end: a planner was killed in the middle. */
  async function sweepCampaigns(): Promise<number> {
    let sent = 0
    for await (const items of due(DUE.campaign))
      for (const item of items) {
        const campaign = as('campaign', item)
        const seen = typeof item.dueAt === 'string' ? item.dueAt : ''
        if (!(await pushCampaign(table, campaign, seen, after(now(), AGAIN_SECONDS)))) continue
        await dispatch.plan('p1', [{ v: 1, kind: 'campaign', campaign: campaign.id }])
        sent += 1
      }
    return sent
  }

  async function sweepLevers(): Promise<number> {
    let sent = 0
    for await (const items of dueCalls(DUE.lever))
      for (const item of items) {
        const lever: Lever = as('lever', item)
        const seen = typeof item.dueAt === 'string' ? item.dueAt : ''
        const current = await caseFor(item, lever.case)
        if (current === undefined) continue
        if (!(await pushDue(table, keyOf(lever), seen, after(now(), againSeconds({ resent: item.resent }))))) continue
        await dispatch.work(current.lane, [
          { v: 1, kind: 'contain', case: lever.case, identity: lever.identityKey, lever: lever.leverKey, issuer: lever.issuer },
        ])
        sent += 1
      }
    return sent
  }

  /** One case per issuer and tick: expired leases, or registrations that nobody finished (protocol 18). */
  async function openTick(
    cause: 'expiry' | 'registration-deadline',
    issuer: string,
    found: readonly Lease[],
    tick: string,
  ): Promise<number> {
    const modes = modesFor(ports.modes, 'expired')
    const leases = await unwatched(cause, issuer, modes, found)
    if (leases.length === 0) return 0
    const eventId = `${cause}/${issuer}/${tick}`
    const id = caseKey('rescind', eventId)
    const why = cause === 'expiry' ? 'the lease has expired' : 'the registration was never acknowledged'
    const by: Actor = { who: 'sweep', case: id, trigger: 'expired', why, at: now() }
    const { lane } = policyOf('expired', 'leases')
    const chunks = await openExpiry(
      table,
      { id, event: key('event', 'rescind', eventId), eventId, issuer, cause, reason: why, lane, modes },
      leases,
      after(now(), AGAIN_SECONDS),
      by,
    )
    await sealExpiry(table, id, issuer, by)
    await dispatch.work(
      lane,
      chunks.map((chunk): WorkMessage => ({ v: 1, kind: 'chunk', case: id, progress: `leases#${issuer}#0`, chunk, issuer })),
    )
    return leases.length
  }

  /** Those whose end was not reported yet, or that another mode is in force for since: what is only watched is told once. */
  async function unwatched(
    cause: 'expiry' | 'registration-deadline',
    name: string,
    modes: Modes,
    leases: readonly Lease[],
  ): Promise<readonly Lease[]> {
    if (leases.every(({ watchedDue }) => watchedDue === undefined)) return leases
    const issuer = await issuerOf(table, name)
    const rules = { mode: leastCautious(modes), modes }
    const told = ({ watchedDue, ...lease }: Lease) =>
      watchedDue?.at === (cause === 'expiry' ? lease.expiresAt : lease.registerBy) &&
      watchedDue.mode === modeOfLease(rules, lease, issuer)
    await atOnce(leases.filter(told), (lease) => watchOn(table, lease, now()))
    return leases.filter((lease) => !told(lease))
  }

  async function sweepExpired(tick: string, grace: Grace, swept: Swept): Promise<number> {
    let found = 0
    for (const issuer of await issuers(table)) {
      const all: Lease[] = []
      for await (const items of duePartitions(dueExpiries(issuer.name))) all.push(...items.map((item) => as('lease', item)))
      const at = now()
      const expired: Lease[] = []
      const graced: Lease[] = []
      const overdue: Lease[] = []
      const exempt: Lease[] = []
      const waiting: Lease[] = []
      const back: Lease[] = []
      for (const lease of all) {
        const { state } = lease
        const spared = isExempt(ports.settings, lease.identity)
        if (state === 'live')
          (grace.expiry(lease) > at ? graced : spared ? exempt : lease.onExpiry === 'notify' ? overdue : expired).push(lease)
        // A restoration has the time that the lease itself would have.
        else if (spared || (state === 'restoring' && (lease.onExpiry === 'notify' || grace.expiry(lease) > at)))
          waiting.push(lease)
        else if ((state === 'resurrected' || state === 'late') && !hasLapsed(lease, at)) back.push(lease)
        // What could only be watched all the time ends at its expiry like any other.
        else if (EXPIRING.includes(state)) expired.push(lease)
      }
      const gives: Actor = { who: 'sweep', why: OUR_OUTAGE, at }
      swept.graced += await atOnce(graced, (lease) => giveBack(table, lease, grace.expiry(lease), gives))
      const tells: Actor = { who: 'sweep', why: 'the lease has expired, and its class only tells', at }
      swept.overdue += await atOnce(overdue, (lease) => markOverdue(table, lease, tells))
      // No case of ours touches them: each sweep would open one in vain. Looked at each day, for they may be exempt no more.
      const shows: Actor = { who: 'sweep', why: 'the lease has expired, and its identity is exempt', at }
      const [known, fresh] = [exempt.filter(isOverdue), exempt.filter((lease) => !isOverdue(lease))]
      swept.overdue += await atOnce(fresh, (lease) => markOverdue(table, lease, shows, after(at, DAY_SECONDS)))
      await atOnce([...known, ...waiting], (lease) => watchOn(table, lease, at))
      await atOnce(back, (lease) => cutAfterAll(lease, issuer))
      found += await openTick('expiry', issuer.name, expired, tick)
    }
    return found
  }

  /**
   * What came too late or lived again, and was only watched, is cut when another mode is in force; till then it is looked
   * at each day.
   */
  async function cutAfterAll(lease: Lease, issuer: Issuer): Promise<boolean> {
    let begun = false
    for (const [id, { observed }] of Object.entries(lease.outcomes)) {
      const current = observed === undefined ? undefined : await caseOf(table, id)
      if (current === undefined || observed?.mode === modeOfLease(current, lease, issuer)) continue
      const by: Actor = { who: 'sweep', case: id, trigger: current.type, why: 'it lives, and may be cut by now', at: now() }
      if (!(await cutWatched(table, lease, id, after(now(), AGAIN_SECONDS), by))) continue
      begun = true
      await dispatch.work(current.lane, [{ v: 1, kind: 'amend', case: id, lease: lease.id, issuer: lease.issuer }])
    }
    return begun || watchOn(table, lease, now())
  }

  async function sweepRegistrations(tick: string, grace: Grace): Promise<number> {
    const byIssuer = new Map<string, Lease[]>()
    for await (const items of duePartitions(dueRegistrations()))
      for (const lease of items.map((item) => as('lease', item))) {
        if (lease.state !== 'registering') continue
        const until = grace.deadline(lease.registerBy)
        if (until > now()) {
          await putOffRegistration(table, lease, until, { who: 'sweep', why: OUR_OUTAGE, at: now() })
          continue
        }
        if (isExempt(ports.settings, lease.identity)) {
          await watchOn(table, lease, now())
          continue
        }
        byIssuer.set(lease.issuer, [...(byIssuer.get(lease.issuer) ?? []), lease])
      }
    let found = 0
    for (const [issuer, leases] of byIssuer) found += await openTick('registration-deadline', issuer, leases, tick)
    return found
  }

  /** An orphan that nobody accepted before its deadline is offboarded, in one transaction with the end of its being one. */
  async function sweepOrphans(grace: Grace): Promise<number> {
    let opened = 0
    for await (const items of due(DUE.orphan))
      for (const item of items) {
        const identity = as('identity', item)
        if (identity.orphan === undefined) continue
        const until = grace.deadline(identity.orphan.deadline)
        if (until > now()) {
          await putOffOrphan(table, identity, until, { who: 'sweep', why: OUR_OUTAGE, at: now() })
          continue
        }
        const modes = modesFor(ports.modes, 'offboarding')
        const watches = leastCautious(modes) === 'observe'
        // Told once where it may only be watched: it stays an orphan, and ends when another mode is in force.
        if (watches) await watchOrphan(table, identity, now())
        const eventId = `orphan/${identity.key}/${identity.orphan.since}${watches ? '/watched' : ''}`
        const id = caseKey('rescind', eventId)
        const by: Actor = {
          who: 'sweep',
          case: id,
          trigger: 'offboarding',
          why: 'nobody accepted the orphan before its deadline',
          at: now(),
        }
        const { lane } = policyOf('offboarding', 'identity')
        const held =
          isGuarded(ports.settings, identity) && !watches
            ? { state: 'held' as const, held: 'the identity is protected' }
            : { state: 'opened' as const }
        const done = await openCase(
          table,
          {
            id,
            event: key('event', 'rescind', eventId),
            type: 'offboarding',
            lane,
            scope: { kind: 'identity', id: identity.id },
            source: 'rescind',
            eventId,
            reason: `owner ${identity.orphan.formerOwner} left and nobody accepted it before ${identity.orphan.deadline}`,
            requester: 'rescind',
            effectiveAt: by.at,
            modes,
            ...held,
          },
          after(now(), AGAIN_SECONDS),
          by,
          watches ? [] : [stillOrphan(identity, by)],
        )
        if (!done) continue
        opened += 1
        if (held.state === 'opened') await dispatch.plan(lane, [{ v: 1, kind: 'plan', case: id }])
      }
    return opened
  }

  /** Parked leases are tried again by an amendment of the case that parked them. */
  async function sweepParked(): Promise<number> {
    let tried = 0
    for await (const items of due(DUE.parked))
      for (const item of items) {
        const lease = as('lease', item)
        if (!(await pushParked(table, lease, after(now(), limits.parkedRetrySeconds)))) continue
        for (const [id, { outcome }] of Object.entries(lease.outcomes)) {
          if (outcome !== 'parked') continue
          const current = await caseOf(table, id)
          if (current === undefined) continue
          const by: Actor = { who: 'sweep', case: id, trigger: current.type, why: 'a parked lease is tried again', at: now() }
          await amend(table, lease, id, after(now(), AGAIN_SECONDS), by, 'parked')
          await dispatch.work(current.lane, [{ v: 1, kind: 'amend', case: id, lease: lease.id, issuer: lease.issuer }])
          tried += 1
        }
      }
    return tried
  }

  const sweepListed = async ({ catalog, discovery }: SweepPorts): Promise<number> =>
    catalog === undefined
      ? 0
      : sweepDiscoveries(
          { table, dispatch, catalog, everySeconds: discovery?.everySeconds },
          dueCalls(DUE.discovery),
          now,
          ({ resent }) => after(now(), againSeconds({ resent })),
        )

  interface Time {
    /** What has been lost; absent where nothing may be ended because its time is over. */
    readonly grace?: Grace
    /** Whether this sweep counts as seen: all before it is on record. */
    readonly seen: boolean
  }

  /**
   * Before anything is ended because its time is over: how long nobody could renew, and whether this table is the newest. In a
   * restored table nothing is ended until an operator releases it, and the pause goes on until then: it is an outage like
   * any other. Where one of the two is not known, no deadline is enforced.
   */
  async function timekeeping(began: string, failed: (error: unknown) => void): Promise<Time> {
    const by: Actor = { who: 'sweep', at: began }
    try {
      if ((await controlOf(table))?.restored === undefined) {
        const gap = await recordGap(table, ports.outage, by)
        if (gap !== undefined) ports.log.warn('the pipeline was down', { from: gap.from, to: gap.to })
      }
    } catch (error) {
      failed(error)
      return { seen: false }
    }
    try {
      if ((await countGeneration(table, ports.mark, ports.log, by)) === 'restored') return { seen: false }
      return { grace: await graceOf(table, ports.outage, now()), seen: true }
    } catch (error) {
      failed(error)
      return { seen: true }
    }
  }

  /**
   * Runs every sweep; one that fails does not keep the others from running, and is told.
   */
  return async function sweep(): Promise<Swept> {
    const began = now()
    const tick = began.slice(0, 16)
    const swept: Swept = {
      cases: 0,
      chunks: 0,
      levers: 0,
      registrations: 0,
      expired: 0,
      graced: 0,
      overdue: 0,
      orphans: 0,
      parked: 0,
      campaigns: 0,
      restorations: 0,
      asks: 0,
      discoveries: 0,
    }
    const errors: unknown[] = []
    const { grace, seen } = await timekeeping(began, (error) => {
      errors.push(error)
      ports.log.error('a sweep failed', { kind: 'timekeeping', error })
    })
    const runs: [keyof Swept, () => Promise<number>][] = [
      ['levers', sweepLevers],
      ['cases', sweepCases],
      ['chunks', sweepChunks],
      ['campaigns', sweepCampaigns],
      [
        'restorations',
        () =>
          sweepRestorations(
            { table, dispatch },
            { restorations: due(DUE.restoration), parts: dueCalls(DUE.part) },
            ({ resent }) => after(now(), againSeconds({ resent })),
          ),
      ],
      ['asks', () => sweepAsks({ table, dispatch, caseFor }, dueCalls(DUE.ask), (ask) => after(now(), againSeconds(ask)))],
      ['discoveries', () => sweepListed(ports)],
      ...(grace === undefined
        ? []
        : ([
            ['expired', () => sweepExpired(tick, grace, swept)],
            ['registrations', () => sweepRegistrations(tick, grace)],
            ['orphans', () => sweepOrphans(grace)],
            ['parked', sweepParked],
          ] satisfies [keyof Swept, () => Promise<number>][])),
    ]
    for (const [kind, run] of runs) {
      try {
        swept[kind] = await run()
      } catch (error) {
        errors.push(error)
        ports.log.error('a sweep failed', { kind, error })
      }
    }
    if (seen) await beat(table, began, { who: 'sweep', at: now() })
    if (errors.length > 0) throw new AggregateError(errors, `${errors.length} sweeps failed`)
    return swept
  }
}
