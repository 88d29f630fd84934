import type { WorkMessage } from '../contracts/message.ts'
import type { Settings } from '../contracts/settings.ts'
import { caseKey, key } from '../domain/keys.ts'
import type { Actor, Case, Chunk, Lease, Lever } from '../domain/model.ts'
import { policyOf } from '../domain/policy.ts'
import { after, instant, ttl } from '../domain/time.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import type { Clock, Log, Randomness } from '../runtime/ports.ts'
import { amend } from '../store/amendments.ts'
import { caseOf, closeCase, isFinished, openCase, postponeCase, stillOrphan } from '../store/cases.ts'
import { openExpiry, sealExpiry } from '../store/expiry.ts'
import { issuers } from '../store/issuers.ts'
import { as, keyOf } from '../store/items.ts'
import { DUE } from '../store/keys.ts'
import type { Item, Table } from '../store/table.ts'
import { completeProgress } from '../store/units.ts'
import { chunkNameOf, progressNameOf, pushDue, pushParked } from '../store/work.ts'

export interface SweepPorts {
  readonly table: Table
  readonly dispatch: Dispatch
  readonly clock: Clock
  readonly random: Randomness
  readonly log: Log
  readonly limits: Settings['limits']
}

/** What one sweep found and did, by kind. */
export type Swept = Record<'cases' | 'chunks' | 'levers' | 'registrations' | 'expired' | 'orphans' | 'parked', number>

/** Items looked at per kind in one sweep; what is left is the next one's. */
const MOST = 2000
const PAGE = 200
/** A message that was sent again is looked after again after this, in seconds; each further time twice as long. */
const AGAIN_SECONDS = 120
/** At most so many doublings (about an hour): a backlog must not be fed by looking at it. */
const MOST_DOUBLINGS = 5
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

  /** Everything due in a partition of the index, oldest first; the index may lag, so each item is only a hint. */
  async function* due(partition: string): AsyncGenerator<Item[]> {
    let cursor: string | undefined
    let seen = 0
    do {
      const page = await table.index({
        index: 'due',
        partition,
        upTo: now(),
        limit: PAGE,
        ...(cursor === undefined ? {} : { cursor }),
      })
      seen += page.items.length
      yield [...page.items]
      cursor = page.cursor
    } while (cursor !== undefined && seen < MOST)
  }

  async function sweepCases(): Promise<number> {
    let moved = 0
    for await (const items of due(DUE.case))
      for (const item of items) {
        const current = await caseOf(table, as('case', item).id)
        if (current === undefined || current.closedAt !== undefined) continue
        moved += 1
        await postponeCase(table, current.id, after(now(), AGAIN_SECONDS))
        if (current.sealed) await repair(current)
        else await dispatch.plan(current.lane, [{ v: 1, kind: 'plan', case: current.id }])
      }
    return moved
  }

  /** Repeats the steps that the stream drives, for a record that was lost: counting finished shards, closing. */
  async function repair(current: Case): Promise<void> {
    const by: Actor = { who: 'sweep', case: current.id, trigger: current.type, at: now() }
    for (const progress of await openProgress(current))
      if (progress.done === progress.expected) await completeProgress(table, progress, by)
    const fresh = await caseOf(table, current.id)
    if (fresh !== undefined && isFinished(fresh))
      await closeCase(table, fresh, ttl(after(now(), (limits.retentionDays + 366) * 86400)), by)
  }

  /** The shards of a case that are not counted yet; unsealed ones are sent to be scanned on. */
  async function openProgress(current: Case) {
    const found = []
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
          else
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

  async function sweepChunks(): Promise<number> {
    let sent = 0
    for await (const items of due(DUE.chunk)) {
      const chunks = items.map((item) => as('chunk', item))
      const messages = new Map<Case['lane'], WorkMessage[]>()
      for (const chunk of chunks) {
        // Whoever pushes the due time sends; a second sweep that saw the same item does not.
        if (!(await pushDue(table, keyOf(chunk), chunk.dueAt ?? '', after(now(), againSeconds(chunk))))) continue
        const current = await caseOf(table, chunk.case)
        if (current === undefined) continue
        messages.set(current.lane, [...(messages.get(current.lane) ?? []), messageOf(chunk)])
        sent += 1
      }
      for (const [lane, batch] of messages) await dispatch.work(lane, batch)
    }
    return sent
  }

  async function sweepLevers(): Promise<number> {
    let sent = 0
    for await (const items of due(DUE.lever))
      for (const item of items) {
        const lever: Lever = as('lever', item)
        const seen = typeof item.dueAt === 'string' ? item.dueAt : ''
        if (!(await pushDue(table, keyOf(lever), seen, after(now(), againSeconds({ resent: item.resent }))))) continue
        const current = await caseOf(table, lever.case)
        if (current === undefined) continue
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
    leases: readonly Lease[],
    tick: string,
  ): Promise<number> {
    if (leases.length === 0) return 0
    const eventId = `${cause}/${issuer}/${tick}`
    const id = caseKey('rescind', eventId)
    const why = cause === 'expiry' ? 'the lease has expired' : 'the registration was never acknowledged'
    const by: Actor = { who: 'sweep', case: id, trigger: 'expired', why, at: now() }
    const { lane } = policyOf('expired', 'leases')
    const chunks = await openExpiry(
      table,
      { id, event: key('event', 'rescind', eventId), eventId, issuer, cause, reason: why, lane },
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

  async function sweepExpired(tick: string): Promise<number> {
    let found = 0
    for (const issuer of await issuers(table)) {
      const expired: Lease[] = []
      for await (const items of due(DUE.expiry(issuer.name)))
        expired.push(...items.map((item) => as('lease', item)).filter((lease) => lease.state === 'live'))
      found += await openTick('expiry', issuer.name, expired, tick)
    }
    return found
  }

  async function sweepRegistrations(tick: string): Promise<number> {
    const byIssuer = new Map<string, Lease[]>()
    for await (const items of due(DUE.registration))
      for (const lease of items.map((item) => as('lease', item))) {
        if (lease.state !== 'registering') continue
        byIssuer.set(lease.issuer, [...(byIssuer.get(lease.issuer) ?? []), lease])
      }
    let found = 0
    for (const [issuer, leases] of byIssuer) found += await openTick('registration-deadline', issuer, leases, tick)
    return found
  }

  /** An orphan that nobody accepted before its deadline is offboarded, in one transaction with the end of its being one. */
  async function sweepOrphans(): Promise<number> {
    let opened = 0
    for await (const items of due(DUE.orphan))
      for (const item of items) {
        const identity = as('identity', item)
        if (identity.orphan === undefined) continue
        const eventId = `orphan/${identity.key}/${identity.orphan.since}`
        const id = caseKey('rescind', eventId)
        const by: Actor = {
          who: 'sweep',
          case: id,
          trigger: 'offboarding',
          why: 'nobody accepted the orphan before its deadline',
          at: now(),
        }
        const { lane } = policyOf('offboarding', 'identity')
        const held = identity.protected
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
            ...held,
          },
          after(now(), AGAIN_SECONDS),
          by,
          [stillOrphan(identity, by)],
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

  /** Runs every sweep; one that fails does not keep the others from running, and is told. */
  return async function sweep(): Promise<Swept> {
    const tick = now().slice(0, 16)
    const swept: Swept = { cases: 0, chunks: 0, levers: 0, registrations: 0, expired: 0, orphans: 0, parked: 0 }
    const runs: [keyof Swept, () => Promise<number>][] = [
      ['levers', sweepLevers],
      ['cases', sweepCases],
      ['chunks', sweepChunks],
      ['expired', () => sweepExpired(tick)],
      ['registrations', () => sweepRegistrations(tick)],
      ['orphans', sweepOrphans],
      ['parked', sweepParked],
    ]
    const errors: unknown[] = []
    for (const [kind, run] of runs) {
      try {
        swept[kind] = await run()
      } catch (error) {
        errors.push(error)
        ports.log.error('a sweep failed', { kind, error })
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, `${errors.length} of ${runs.length} sweeps failed`)
    return swept
  }
}
