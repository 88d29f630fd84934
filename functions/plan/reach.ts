import type { WorkMessage } from '../contracts/message.ts'
import type { Settings } from '../contracts/settings.ts'
import { caseKey, identityKey, key } from '../domain/keys.ts'
import { leverFate } from '../domain/levers.ts'
import type { Actor, Case, Identity, Unit } from '../domain/model.ts'
import { modesOf } from '../domain/modes.ts'
import type { Policy } from '../domain/policy.ts'
import { after, instant } from '../domain/time.ts'
import { isExempt, isGuarded, treatmentOf } from '../domain/treatment.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import type { Clock, Log } from '../runtime/ports.ts'
import { openCase, waitWithDeletion } from '../store/cases.ts'
import type { GroupKind } from '../store/identities.ts'
import { fenceIdentity, identityOf, orphan } from '../store/identities.ts'
import { issuerOf } from '../store/issuers.ts'
import { claimLever, holdersOfLever, leverOf, openLever } from '../store/levers.ts'
import type { Table } from '../store/table.ts'
import { StoreBusy } from '../store/table.ts'
import { openUnit, setUnitAside } from '../store/units.ts'

export interface ReachPorts {
  readonly table: Table
  readonly dispatch: Dispatch
  readonly clock: Clock
  readonly log: Log
  readonly settings: Settings
}

/** The group that an identity is reached as a member of. */
export interface MemberOf {
  readonly kind: GroupKind
  readonly id: string
}

/** The sweeper looks after a lever that nobody pulled for this long, in seconds. */
const LOOK_AFTER_SECONDS = 120
/** Looks at who hangs on a lever, before its message comes back: others may join all the time. */
const TRIES = 5

/**
 * Reaches one identity for a case: stores the epoch, fences through it, pulls its levers; then the same for its other
 * names. Every step is conditional or finds its own traces, so a planner that was killed is simply run again.
 */
export function reacher(ports: ReachPorts) {
  const { table, clock, dispatch } = ports
  const at = (by: Actor): Actor => ({ ...by, at: instant(clock.now()) })

  async function reach(current: Case, policy: Policy, identity: string, group: MemberOf | undefined, by: Actor): Promise<void> {
    const fenced = await fenceOne(current, policy, identity, group, by)
    // Read with the fence standing: an alias that is approved later is refused because of it.
    for (const alias of fenced?.aliases ?? []) await fenceOne(current, policy, identityKey(alias), undefined, by)
  }

  /** The identity as fenced; `undefined` where this case leaves it alone. */
  async function fenceOne(
    current: Case,
    policy: Policy,
    member: string,
    group: MemberOf | undefined,
    by: Actor,
  ): Promise<Identity | undefined> {
    const known = await identityOf(table, member)
    if (known === undefined) {
      ports.log.warn('the identity of a case is gone', { case: current.id, identity: member })
      return undefined
    }
    const unit = await openUnit(table, current, `identity#${member}`, known, by)
    if (unit.state === 'listed') return known
    if (unit.state !== 'opened' || unit.epoch === undefined) return undefined
    // It left before it was fenced: the end of what it left is not its own.
    if (group !== undefined && known[group.kind] !== group.id && known.fences[current.id] === undefined) {
      await setUnitAside(table, current, unit, 'moved', by)
      return undefined
    }
    if (await setAside(current, policy, unit, known, group, by)) return undefined
    if (current.mode === 'observe') return known
    // Known before anything of it is cut, so that nothing of it is deleted without a word.
    if (current.type === 'compromise' && current.deletion === undefined && isGuarded(ports.settings, known))
      await waitWithDeletion(table, current.id, at(by))
    const fenced = await fenceIdentity(table, member, current.id, unit.epoch, group, at(by))
    if (!fenced.fenced) {
      await setUnitAside(table, current, unit, 'moved', by)
      return undefined
    }
    const fencedAt = fenced.identity.fences[current.id]?.at ?? by.at
    await pullLevers(current, policy, fenced.identity, unit.epoch, fencedAt, by)
    return fenced.identity
  }

  /** Identities that this case leaves alone. */
  async function setAside(
    current: Case,
    policy: Policy,
    unit: Unit,
    identity: Identity,
    group: MemberOf | undefined,
    by: Actor,
  ): Promise<boolean> {
    const treatment = treatmentOf(current, policy, identity, group?.kind, ports.settings)
    switch (treatment) {
      case 'fence':
        return false
      case 'exempt':
        ports.log.error('an exempt identity is not fenced and not cut', { case: current.id, identity: identity.key })
        break
      case 'orphan':
        if (current.mode !== 'observe')
          await orphan(table, identity, current.id, after(by.at, ports.settings.limits.reassignDays * 86400), by)
        break
      case 'split':
        await splitOff(current, identity, by)
        break
    }
    await setUnitAside(table, current, unit, treatment, by)
    return true
  }

  async function splitOff(current: Case, identity: Identity, by: Actor): Promise<void> {
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
        modes: modesOf(current),
        held: `the identity is protected; split off case ${current.id}`,
        ...(current.requestedBy === undefined ? {} : { requestedBy: current.requestedBy }),
      },
      by.at,
      by,
    )
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
      const configured = await issuerOf(table, issuer)
      const fate = leverFate(current, policy, identity, issuer, known, configured)
      if (fate.pull === 'no') continue
      for (const [leverKey, lever] of Object.entries(known.levers)) {
        const pulled = { identity, issuer, provider: configured?.provider ?? '', leverKey, lever, epoch, fencedAt }
        if (await isNoted(current, pulled, fate.pull, by))
          messages.push({ v: 1, kind: 'contain', case: current.id, identity: identity.key, lever: leverKey, issuer })
      }
    }
    await dispatch.work(current.lane, messages)
  }

  /**
   * Puts a lever on record as pulled by this case, unless an exempt identity hangs on it. Which of the two was first, the
   * identity or the record, the lever's own item tells: who joins later is refused.
   */
  async function isNoted(
    current: Case,
    lever: Parameters<typeof openLever>[2],
    pull: 'yes' | 'alone',
    by: Actor,
  ): Promise<boolean> {
    const { leverKey, identity, issuer } = lever
    if (pull === 'alone' && !(await claimLever(table, leverKey, current.id, by))) return false
    const someExempt = (ports.settings.exempt ?? []).length > 0
    for (let tried = 0; tried < TRIES; tried += 1) {
      const holders = someExempt ? await holdersOfLever(table, leverKey) : undefined
      if (Object.values(holders?.identities ?? {}).some((id) => isExempt(ports.settings, id))) {
        ports.log.error('a lever is not pulled: an exempt identity hangs on it', { case: current.id, issuer })
        return false
      }
      if (await openLever(table, current, lever, after(by.at, LOOK_AFTER_SECONDS), at(by), holders)) return true
      if ((await leverOf(table, current.id, identity.key, leverKey)) !== undefined) return true
    }
    throw new StoreBusy('who hangs on a lever changes all the time')
  }

  return reach
}
