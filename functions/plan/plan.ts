import type { PlanMessage, WorkMessage } from '../contracts/message.ts'
import type { ScopeRef } from '../contracts/scope.ts'
import type { Settings } from '../contracts/settings.ts'
import { caseKey, identityKey, key } from '../domain/keys.ts'
import type { Actor, Case, Identity, Unit } from '../domain/model.ts'
import type { Policy } from '../domain/policy.ts'
import { policyOf } from '../domain/policy.ts'
import { isProtected } from '../domain/rights.ts'
import { after, instant } from '../domain/time.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import type { Clock, Log } from '../runtime/ports.ts'
import {
  caseOf,
  fencedUpTo,
  holdCase,
  listedUpTo,
  markFenced,
  openCase,
  postponeCase,
  sealCase,
  startCase,
} from '../store/cases.ts'
import { issuersOfExpiry, sealExpiry } from '../store/expiry.ts'
import type { GroupKind } from '../store/identities.ts'
import { fence, fenceGroup, fenceIdentity, identityOf, members, orphan, ownerGroup, workloadGroup } from '../store/identities.ts'
import { issuerOf } from '../store/issuers.ts'
import { fenceItem, scopeOfCredential, scopeOfDeployment, scopeOfTask, shardPartition, shardsOf } from '../store/keys.ts'
import { markCutting } from '../store/leases.ts'
import { claimLever, openLever } from '../store/levers.ts'
import type { Table } from '../store/table.ts'
import { listUnit, openUnit, setUnitAside, unitsOf } from '../store/units.ts'
import type { ScanPorts } from './scan.ts'
import { scanShard } from './scan.ts'

export interface PlanPorts extends ScanPorts {
  readonly table: Table
  readonly dispatch: Dispatch
  readonly clock: Clock
  readonly log: Log
  readonly limits: Settings['limits']
  /** Patterns of identities whose lifecycle cases wait for an approval, beside those that say so themselves. */
  readonly protected: Settings['protected']
}

/** The sweeper looks after a case that nobody moved for this long, in seconds. */
const LOOK_AFTER_SECONDS = 120
/** Members of a group read at a time. */
const MEMBERS = 50
/** Members fenced or listed side by side. */
const PARALLEL = 8

/** Runs a task for each, a few at a time; the first failure is thrown when those under way have ended. */
async function inParallel<Subject>(subjects: readonly Subject[], task: (subject: Subject) => Promise<void>): Promise<void> {
  const queue = [...subjects]
  const lanes = Array.from({ length: Math.min(PARALLEL, queue.length) }, async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await task(next)
  })
  for (const result of await Promise.allSettled(lanes)) if (result.status === 'rejected') throw result.reason
}

/**
 * Plans a case: stores the epoch, fences, pulls levers, lists the shards, seals. Every step is conditional or finds
 * its own traces, so a planner that was killed is simply run again.
 */
export function planner(ports: PlanPorts) {
  const { table, clock, dispatch } = ports
  const now = () => instant(clock.now())
  const at = (by: Actor): Actor => ({ ...by, at: now() })
  const guarded = (identity: Identity): boolean => identity.protected || isProtected(ports, identity.id)

  return async function plan(message: Extract<PlanMessage, { kind: 'plan' }>): Promise<void> {
    const current = await start(message.case)
    if (current === undefined) return
    const policy = policyOf(current.type, current.scope.kind)
    const by: Actor = { who: 'plan', case: current.id, trigger: current.type, why: current.reason, at: now() }
    await postponeCase(table, current.id, after(by.at, LOOK_AFTER_SECONDS))
    switch (current.scope.kind) {
      case 'identity':
        await planIdentity(current, policy, identityKey(current.scope.id), by)
        break
      case 'owner':
      case 'workload':
        await planGroup(current, policy, current.scope.kind, current.scope.id, by)
        break
      case 'deployment':
        await planScope(current, scopeOfDeployment(current.scope.namespace, current.scope.id), by)
        break
      case 'task':
        await planScope(current, scopeOfTask(current.scope.namespace, current.scope.id), by)
        break
      case 'credential':
        await planScope(current, scopeOfCredential(current.scope.fingerprint), by)
        break
      case 'leases':
        // Whoever opened it wrote its chunks; only a crash left it without its seals.
        for (const issuer of await issuersOfExpiry(table, current.id)) await sealExpiry(table, current.id, issuer, by)
        break
    }
    await sealCase(table, current.id, at(by))
  }

  /** The case if it is to be planned now; a scheduled one is started when its time has come. */
  async function start(id: string): Promise<Case | undefined> {
    const current = await caseOf(table, id)
    if (current === undefined) {
      ports.log.warn('the case of a message is gone', { case: id })
      return undefined
    }
    if (current.state === 'scheduled') {
      if (current.effectiveAt > now()) return undefined
      if (await heldAfterAll(current)) return undefined
      const by: Actor = { who: 'plan', case: id, trigger: current.type, why: 'its time has come', at: now() }
      if (!(await startCase(table, id, 'scheduled', after(by.at, LOOK_AFTER_SECONDS), current.decisions, by))) return undefined
      return caseOf(table, id)
    }
    if (current.state === 'held' || current.state === 'cancelled' || current.state === 'closed' || current.sealed)
      return undefined
    return current
  }

  /** A scheduled case on an identity that came under protection meanwhile waits for an approval like any other. */
  async function heldAfterAll(current: Case): Promise<boolean> {
    const { scope } = current
    if (scope.kind !== 'identity' || !policyOf(current.type, scope.kind).holdable) return false
    if (current.decisions.some(({ decision }) => decision === 'approved')) return false
    const identity = await identityOf(table, identityKey(scope.id))
    if (identity === undefined || !guarded(identity)) return false
    const reason = 'the identity is protected since it was scheduled'
    await holdCase(table, current.id, reason, { who: 'plan', case: current.id, trigger: current.type, why: reason, at: now() })
    return true
  }

  /** Fences one identity through the epoch that its unit stored, then pulls its levers. */
  async function fenceOne(
    current: Case,
    policy: Policy,
    member: string,
    group: { readonly kind: GroupKind; readonly id: string } | undefined,
    by: Actor,
  ): Promise<void> {
    const known = await identityOf(table, member)
    if (known === undefined) {
      ports.log.warn('the identity of a case is gone', { case: current.id, identity: member })
      return
    }
    const unit = await openUnit(table, current, `identity#${member}`, known, by)
    if (unit.state !== 'opened' || unit.epoch === undefined) return
    if (group !== undefined && (await setAside(current, policy, unit, known, group, by))) return
    const fenced = await fenceIdentity(table, member, current.id, unit.epoch, group, at(by))
    if (!fenced.fenced) {
      await setUnitAside(table, current, unit, 'moved', by)
      return
    }
    const fencedAt = fenced.identity.fences[current.id]?.at ?? by.at
    await pullLevers(current, policy, fenced.identity, unit.epoch, fencedAt, by)
  }

  /** Members of a group that this case leaves alone: orphans that stay up, and protected ones that wait for an approval. */
  async function setAside(
    current: Case,
    policy: Policy,
    unit: Unit,
    identity: Identity,
    group: { readonly kind: GroupKind; readonly id: string },
    by: Actor,
  ): Promise<boolean> {
    if (current.type === 'offboarding' && group.kind === 'owner' && identity.ownerLeaves === 'reassign') {
      await orphan(table, identity, current.id, after(by.at, ports.limits.reassignDays * 86400), by)
      await setUnitAside(table, current, unit, 'orphan', by)
      return true
    }
    if (policy.holdable && guarded(identity) && current.decisions.every(({ decision }) => decision !== 'approved')) {
      const eventId = `${current.eventId}/${identity.key}`
      await openCase(
        table,
        {
          id: caseKey(current.source, eventId),
          event: key('event', current.source, eventId),
          type: current.type,
          lane: current.lane,
          scope: { kind: 'identity', id: identity.id },
          source: current.source,
          eventId,
          reason: current.reason,
          requester: current.requester,
          effectiveAt: current.effectiveAt,
          state: 'held',
          held: `the identity is protected; split off case ${current.id}`,
          ...(current.requestedBy === undefined ? {} : { requestedBy: current.requestedBy }),
        },
        by.at,
        by,
      )
      await setUnitAside(table, current, unit, 'split', by)
      return true
    }
    return false
  }

  async function pullLevers(
    current: Case,
    policy: Policy,
    identity: Identity,
    epoch: number,
    fencedAt: string,
    by: Actor,
  ): Promise<void> {
    if (policy.levers === 'none') return
    const messages: WorkMessage[] = []
    for (const [issuer, known] of Object.entries(identity.issuers)) {
      for (const [leverKey, lever] of Object.entries(known.levers)) {
        // A lifecycle end must not hit what others hold: no lever with a shared credential behind it, none with a second identity on it.
        if (policy.levers === 'own' && (known.shared || !(await claimLever(table, leverKey, current.id, by)))) continue
        const configured = await issuerOf(table, issuer)
        await openLever(
          table,
          current,
          { identity, issuer, provider: configured?.provider ?? '', leverKey, lever, epoch, fencedAt },
          after(by.at, LOOK_AFTER_SECONDS),
          at(by),
        )
        messages.push({ v: 1, kind: 'contain', case: current.id, identity: identity.key, lever: leverKey, issuer })
      }
    }
    await dispatch.work(current.lane, messages)
  }

  /** Every member is fenced and contained before the first one is listed: a long list must not leave its end open. */
  async function planGroup(current: Case, policy: Policy, kind: GroupKind, id: string, by: Actor): Promise<void> {
    if (current.fencedAt === undefined) {
      const group = kind === 'owner' ? ownerGroup(id) : workloadGroup(id)
      await fenceGroup(table, group, current.id, by)
      let cursor = current.fencing
      do {
        const page = await members(table, group, cursor, MEMBERS)
        await inParallel(page.identities, (member) => fenceOne(current, policy, member.key, { kind, id }, at(by)))
        cursor = page.next
        if (cursor !== undefined) await fencedUpTo(table, current.id, cursor)
      } while (cursor !== undefined)
      await markFenced(table, current.id, at(by))
    }
    let listed = current.listed
    do {
      const page = await unitsOf(table, current.id, listed, MEMBERS)
      await inParallel(page.units, (unit) => listOnce(current, unit, by))
      listed = page.next
      if (listed !== undefined) await listedUpTo(table, current.id, listed)
    } while (listed !== undefined)
  }

  async function planIdentity(current: Case, policy: Policy, identity: string, by: Actor): Promise<void> {
    await fenceOne(current, policy, identity, undefined, by)
    await markFenced(table, current.id, at(by))
    const { units } = await unitsOf(table, current.id, undefined, 1)
    for (const unit of units) await listOnce(current, unit, by)
  }

  /** A planner before us may have listed it: its scans may not all have been started. */
  async function listOnce(current: Case, unit: Unit, by: Actor): Promise<void> {
    if (unit.state === 'opened') await list(current, unit, by)
    else if (unit.state === 'listed') await scanAll(current, unit, unit.shards, by)
  }

  async function planScope(current: Case, scope: ScopeRef, by: Actor): Promise<void> {
    const unit = await openUnit(table, current, scope, undefined, by)
    await fence(table, fenceItem(scope), current.id, at(by))
    if (current.scope.kind === 'credential') await markCutting(table, current.scope.fingerprint, by)
    await markFenced(table, current.id, at(by))
    await listOnce(current, unit, by)
  }

  /** Reads the first key of each shard, after the fence: what is empty now can only get late leases, which are amended. */
  async function list(current: Case, unit: Unit, by: Actor): Promise<void> {
    const scope = unit.scope as ScopeRef
    const shards = Array.from({ length: shardsOf(scope) }, (_, shard) => shard)
    const first = await Promise.all(
      shards.map((shard) => table.query({ pk: shardPartition(scope, shard), prefix: 'L#', limit: 1 })),
    )
    const filled = shards.filter((shard) => (first[shard]?.items.length ?? 0) > 0 || first[shard]?.next !== undefined)
    await listUnit(table, current, unit, filled, at(by))
    await scanAll(current, unit, filled, by)
  }

  /** Small shards are scanned here and now, large ones by messages of their own, side by side. */
  async function scanAll(current: Case, unit: Unit, shards: readonly number[], by: Actor): Promise<void> {
    const scope = unit.scope as ScopeRef
    const large: PlanMessage[] = []
    for (const shard of shards) {
      const over = await scanShard(ports, current, scope, shard, 1, at(by))
      if (!over) large.push({ v: 1, kind: 'scan', case: current.id, scope, shard })
    }
    if (large.length > 0) await dispatch.plan(current.lane, large)
  }
}
