import type { PlanMessage } from '../contracts/message.ts'
import type { ScopeRef } from '../contracts/scope.ts'
import { approvalLapsed, approvalStands } from '../domain/approval.ts'
import { identityKey } from '../domain/keys.ts'
import type { Actor, Case, Identity, Unit } from '../domain/model.ts'
import { leastCautious, modesFor } from '../domain/modes.ts'
import type { Policy } from '../domain/policy.ts'
import { policyOf } from '../domain/policy.ts'
import { after, instant } from '../domain/time.ts'
import { isGuarded } from '../domain/treatment.ts'
import { Unusable } from '../runtime/unusable.ts'
import { caseOf, fencedUpTo, holdCase, listedUpTo, markFenced, postponeCase, sealCase, startCase } from '../store/cases.ts'
import { issuersOfExpiry, sealExpiry } from '../store/expiry.ts'
import type { GroupKind } from '../store/identities.ts'
import { fence, fenceGroup, identityOf, members, ownerGroup, workloadGroup } from '../store/identities.ts'
import { fenceItem, scopeOfCredential, scopeOfDeployment, scopeOfTask, shardPartition, shardsOf } from '../store/keys.ts'
import { markCutting } from '../store/leases.ts'
import { mayMark } from '../store/observed.ts'
import { listUnit, openUnit, unitsOf } from '../store/units.ts'
import { fuses } from './fuse.ts'
import type { NamedPorts } from './named.ts'
import { planNamed } from './named.ts'
import type { MemberOf, ReachPorts } from './reach.ts'
import { reacher } from './reach.ts'
import type { ScanPorts } from './scan.ts'
import { CHUNK, RESUME_SECONDS, scanShard } from './scan.ts'
import { scanWhole } from './whole.ts'

export type PlanPorts = ScanPorts & ReachPorts & NamedPorts

/** The sweeper looks after a case that nobody moved for this long, in seconds. */
const LOOK_AFTER_SECONDS = 120
/** Members of a group read at a time. */
const MEMBERS = 50
/** Members fenced or listed side by side. */
const PARALLEL = 8
/** Shards of one scope scanned at once; members of a group are listed side by side as well. */
const SHARDS_AT_ONCE = 4

/** Stops the listing of a case whose chunks find no room; the sweeper brings it back. */
class NoRoom extends Error {
  override readonly name = 'NoRoom'
}

/** Runs a task for each, a few at a time; the first failure is thrown when those under way have ended. */
async function inParallel<Subject>(
  subjects: readonly Subject[],
  task: (subject: Subject) => Promise<void>,
  atOnce = PARALLEL,
): Promise<void> {
  const queue = [...subjects]
  const lanes = Array.from({ length: Math.min(atOnce, queue.length) }, async () => {
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
  const reach = reacher(ports)
  const fuse = fuses(ports)

  return async function plan(message: Extract<PlanMessage, { kind: 'plan' }>): Promise<void> {
    const current = await start(message.case)
    if (current === undefined || (await fuse.holds(current))) return
    const by: Actor = { who: 'plan', case: current.id, trigger: current.type, why: current.reason, at: now() }
    try {
      await cover(current, by)
    } catch (error) {
      if (!(error instanceof NoRoom)) throw error
      ports.log.info('as much is on its way as should be: the case goes on with the next sweep', { case: current.id })
      return
    }
    await sealCase(table, current.id, at(by))
  }

  /** Fences all that the case covers, orders containment, and lists it. */
  async function cover(current: Case, by: Actor): Promise<void> {
    const policy = policyOf(current.type, current.scope.kind)
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
        await fuse.gateCredential(current, current.scope.fingerprint)
        await planScope(current, scopeOfCredential(current.scope.fingerprint), by)
        break
      case 'credential-name':
        for (const { fingerprint } of current.scope.candidates) await fuse.gateCredential(current, fingerprint)
        await planNamed(ports, current, current.scope, (unit) => listOnce(current, unit, by), by)
        break
      case 'leases':
        // Whoever opened it wrote its chunks; only a crash left it without its seals.
        for (const issuer of await issuersOfExpiry(table, current.id)) await sealExpiry(table, current.id, issuer, by)
        break
    }
  }

  /** The case if it is to be planned now; a scheduled one is started when its time has come. */
  async function start(id: string): Promise<Case | undefined> {
    const current = await caseOf(table, id)
    if (current === undefined) throw new Unusable('case-gone')
    if (current.state === 'scheduled') {
      if (current.effectiveAt > now()) return undefined
      const modes = modesFor(ports.settings.modes, current.type)
      if (await heldAfterAll({ ...current, mode: leastCautious(modes) })) return undefined
      const by: Actor = { who: 'plan', case: id, trigger: current.type, why: 'its time has come', at: now() }
      if (!(await startCase(table, current, after(by.at, LOOK_AFTER_SECONDS), current.decisions, modes, by))) return undefined
      return caseOf(table, id)
    }
    if (current.state === 'held') await fuse.look(id)
    if (current.state === 'held' || current.state === 'cancelled' || current.state === 'closed' || current.sealed)
      return undefined
    // Somebody stopped it: what is fenced stays fenced, and the planner goes on where it was when he lets it.
    return current.paused === undefined ? current : undefined
  }

  /** A scheduled case on an identity that came under protection meanwhile waits for an approval like any other. */
  async function heldAfterAll(current: Case): Promise<boolean> {
    const { scope } = current
    if (!policyOf(current.type, scope.kind).holdable || current.mode === 'observe') return false
    if (approvalStands(current.decisions, 'case', now())) return false
    if (approvalLapsed(current.decisions, 'case', now())) return holdAgain(current, 'its approval has run out')
    if (scope.kind !== 'identity') return false
    const identity = await identityOf(table, identityKey(scope.id))
    if (identity === undefined || !isGuarded(ports.settings, identity)) return false
    return holdAgain(current, 'the identity is protected since it was scheduled')
  }

  /** Where somebody changed it meanwhile it is looked at with its next message. */
  async function holdAgain(current: Case, why: string): Promise<true> {
    const by: Actor = { who: 'plan', case: current.id, trigger: current.type, why, at: now() }
    await holdCase(table, current, why, current.decisions, by)
    return true
  }

  /** Every member is fenced and contained before the first one is listed: a long list must not leave its end open. */
  async function planGroup(current: Case, policy: Policy, kind: GroupKind, id: string, by: Actor): Promise<void> {
    if (current.fencedAt === undefined) {
      const group = kind === 'owner' ? ownerGroup(id) : workloadGroup(id)
      if (current.mode !== 'observe') await fenceGroup(table, group, current.id, by)
      let cursor = current.fencing
      do {
        const page = await members(table, group, cursor, MEMBERS)
        await inParallel(page.identities, (member) => reach(current, policy, member.key, { kind, id }, at(by)))
        cursor = page.next
        if (cursor !== undefined) await fencedUpTo(table, current.id, cursor)
      } while (cursor !== undefined)
      await fenced(current, by)
    }
    await listUnits(current, by)
  }

  /** Lists every identity that was reached, from where a planner before us got to. */
  async function listUnits(current: Case, by: Actor): Promise<void> {
    let listed = current.listed
    do {
      const page = await unitsOf(table, current.id, listed, MEMBERS)
      await inParallel(page.units, (unit) => listOnce(current, unit, by))
      listed = page.next
      if (listed !== undefined) await listedUpTo(table, current.id, listed)
    } while (listed !== undefined)
  }

  async function planIdentity(current: Case, policy: Policy, identity: string, by: Actor): Promise<void> {
    await reach(current, policy, identity, undefined, by)
    await fenced(current, by)
    await listUnits(current, by)
  }

  /** A planner before us may have listed it: its scans may not all have been started. */
  async function listOnce(current: Case, unit: Unit, by: Actor): Promise<void> {
    if (unit.state === 'opened') {
      if (await isReached(current, unit, by)) await list(current, unit, by)
    } else if (unit.state === 'listed') await scanAll(current, unit, unit.shards, by)
  }

  /**
   * A planner before us may have been killed between opening a unit and fencing its identity, which has left the group
   * since: then nobody came across it again, and nothing of it may be listed before it is looked at once more.
   */
  async function isReached(current: Case, unit: Unit, by: Actor): Promise<boolean> {
    const { scope } = current
    if (unit.identity === undefined || (scope.kind !== 'owner' && scope.kind !== 'workload')) return true
    const known = await identityOf(table, identityKey(unit.identity))
    if (known?.fences[current.id] !== undefined) return true
    const group = { kind: scope.kind, id: scope.id }
    const isMember = known === undefined || known[scope.kind] === scope.id
    if (isMember || !(await isOtherName(current, known, group, by)))
      await reach(current, policyOf(current.type, scope.kind), identityKey(unit.identity), group, at(by))
    return (await openUnit(table, current, unit.scope as ScopeRef, known, by)).state === 'opened'
  }

  /** Whether it is reached, and fenced if the case fences, as another name of a member: it need be no member itself. */
  async function isOtherName(current: Case, identity: Identity, group: MemberOf, by: Actor): Promise<boolean> {
    for (const name of identity.aliases ?? []) {
      const member = await identityOf(table, identityKey(name))
      if (member === undefined || (member[group.kind] !== group.id && member.fences[current.id] === undefined)) continue
      await reach(current, policyOf(current.type, group.kind), member.key, group, at(by))
      const { state } = await openUnit(table, current, `identity#${member.key}`, member, by)
      if (state !== 'opened' && state !== 'listed') continue
      if (current.mode === 'observe') return true
      if ((await identityOf(table, identity.key))?.fences[current.id] !== undefined) return true
    }
    return false
  }

  async function planScope(current: Case, scope: ScopeRef, by: Actor): Promise<void> {
    const unit = await openUnit(table, current, scope, undefined, by)
    if (current.mode !== 'observe') await fence(table, fenceItem(scope), current.id, at(by))
    if (current.scope.kind === 'credential' && (await mayMark(table, current, current.scope.fingerprint, ports.settings)))
      await markCutting(table, current.scope.fingerprint, by)
    await fenced(current, by)
    await listOnce(current, unit, by)
  }

  /** A case that may only watch has nothing fenced, and does not say that it has. */
  async function fenced(current: Case, by: Actor): Promise<void> {
    if (current.mode !== 'observe') await markFenced(table, current.id, at(by))
  }

  /** Reads the first keys of each shard, after the fence: what is empty now can only get late leases, which are amended. */
  async function list(current: Case, unit: Unit, by: Actor): Promise<void> {
    const scope = unit.scope as ScopeRef
    const shards = Array.from({ length: shardsOf(scope) }, (_, shard) => shard)
    const atOnce = Math.min(ports.atOnce ?? CHUNK, CHUNK)
    const limit = atOnce + 1
    const pages = await Promise.all(
      shards.map((shard) => table.query({ pk: shardPartition(scope, shard), prefix: 'L#', limit, only: [] })),
    )
    const held = pages.map(({ items, next }, shard) => ({ shard, items, more: next !== undefined || items.length > atOnce }))
    const filled = held.filter(({ items, more }) => items.length > 0 || more)
    const whole = filled.some(({ more }) => more) ? 'many' : await scanWhole(ports, current, unit, filled, at(by))
    if (whole === 'full') {
      await postponeCase(table, current.id, after(instant(clock.now()), RESUME_SECONDS))
      throw new NoRoom()
    }
    if (whole === 'listed') return
    const numbers = filled.map(({ shard }) => shard)
    await listUnit(table, current, unit, numbers, at(by))
    await scanAll(current, unit, numbers, by)
  }

  /** Small shards are scanned here and now, large ones by messages of their own, side by side. */
  async function scanAll(current: Case, unit: Unit, shards: readonly number[], by: Actor): Promise<void> {
    const scope = unit.scope as ScopeRef
    const large: PlanMessage[] = []
    let full = false
    // Each has a partition and a cursor of its own: some at once, so that the last lease is not found sixteen times later.
    await inParallel(
      shards,
      async (shard) => {
        const scanned = await scanShard(ports, current, scope, shard, 1, at(by))
        if (scanned === 'more') large.push({ v: 1, kind: 'scan', case: current.id, scope, shard })
        full ||= scanned === 'full'
      },
      SHARDS_AT_ONCE,
    )
    if (large.length > 0) await dispatch.plan(current.lane, large)
    // What is behind it would find no room either: the whole case waits, with what it has fenced and contained.
    if (full) throw new NoRoom()
  }
}
