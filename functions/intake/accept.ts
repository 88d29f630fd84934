import { TriggerType } from '../contracts/primitives.ts'
import type { CaseScope } from '../contracts/scope.ts'
import type { Settings, Source } from '../contracts/settings.ts'
import type { Trigger, TriggerReceipt } from '../contracts/trigger.ts'
import { TYPE_PREFIX } from '../contracts/trigger.ts'
import { deletionAbove } from '../domain/approval.ts'
import { caseKey, identityKey, key } from '../domain/keys.ts'
import type { Actor, Identity } from '../domain/model.ts'
import { modesFor, modesOf } from '../domain/modes.ts'
import { allowsScope, policyOf, scopesOf } from '../domain/policy.ts'
import { effectiveTime, PROTECTED, settledScope, waitsForApproval } from '../domain/request.ts'
import { after, instant } from '../domain/time.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import type { NamePorts } from '../runtime/names.ts'
import type { Clock } from '../runtime/ports.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import type { NewCampaign } from '../store/campaigns.ts'
import { campaignId } from '../store/campaigns.ts'
import type { NewCase } from '../store/cases.ts'
import { caseOf, caseOfEvent, noteOn, openCase } from '../store/cases.ts'
import { identityOf } from '../store/identities.ts'
import type { Table } from '../store/table.ts'
import type { NamedRead } from './named.ts'
import { keptOf, namedScopes } from './named.ts'

export interface AcceptPorts extends NamePorts {
  readonly table: Table
  readonly dispatch: Dispatch
  readonly clock: Clock
  readonly settings: Settings
}

/** Who sends: an authenticated source, and the principal behind it. */
export interface Sender {
  readonly source: Source
  /** The token's identity, the ARN, or the source's name where it signs with a key of its own. */
  readonly principal: string
}

/** A case that nobody moved for this long is looked after by the sweeper, in seconds. */
const LOOK_AFTER_SECONDS = 60

/**
 * Takes one verified, authenticated trigger: authorise, normalise, dedupe, open its case. The same event again gives
 * the same case; what is refused is refused before anything is written.
 *
 * @throws ProblemError with a stable code
 */
export function acceptor(ports: AcceptPorts) {
  const { table, clock, settings, dispatch } = ports

  /** @param read what a credential's name was read as, where the caller did so already */
  return async function accept(trigger: Trigger, sender: Sender, read?: NamedRead): Promise<TriggerReceipt> {
    const now = instant(clock.now())
    const type = typeOf(trigger)
    if (!sender.source.triggers.includes(type))
      throw new ProblemError('forbidden', `source ${sender.source.name} may not send ${type}`)
    if (!allowsScope(type, trigger.data.scope.kind))
      throw new ProblemError(
        'body-invalid',
        `${type} cannot name a scope of kind ${trigger.data.scope.kind}, only ${scopesOf(type)}`,
      )
    const scope = read?.scope ?? (await settle(trigger, sender.source, ports))
    const effectiveAt = timeOf(trigger, now)
    // The sender's own `source` attribute is a claim; the authenticated source makes the key its own.
    const eventId = `${trigger.source}|${trigger.id}`
    const event = key('event', sender.source.name, trigger.source, trigger.id)
    const known = await caseOfEvent(table, event)
    if (known !== undefined) return { case: known, status: 'replayed' }

    const identity = scope.kind === 'identity' ? await identityOf(table, identityKey(scope.id)) : undefined
    if (scope.kind === 'identity' && identity === undefined)
      throw new ProblemError('identity-unknown', 'no lease of this identity was ever registered')

    const campaign = campaignOf(trigger, type, sender)
    const policy = policyOf(type, scope.kind)
    const modes = modesFor(settings.modes, type)
    const state = stateOf(waitsForApproval(policy, modes, identity, settings), effectiveAt > now)
    const opened: NewCase = {
      id: caseKey(sender.source.name, event),
      event,
      type,
      lane: policy.lane,
      scope,
      source: sender.source.name,
      eventId,
      reason: trigger.data.reason,
      requester: sender.principal,
      effectiveAt,
      state,
      modes,
      ...(state === 'held' ? { held: PROTECTED } : {}),
      ...(type === 'compromise' ? { deletionAbove: deletionAbove(settings.approvals) } : {}),
      ...(campaign === undefined ? {} : { campaign }),
      ...(trigger.data.requestedBy === undefined ? {} : { requestedBy: trigger.data.requestedBy }),
    }
    const by: Actor = { who: sender.principal, why: trigger.data.reason, at: now }

    if (identity !== undefined && state === 'opened') {
      const noted = await note(identity, opened, by)
      if (noted !== undefined) return { case: noted, status: 'noted' }
    }
    const done = await openCase(table, opened, state === 'scheduled' ? effectiveAt : after(now, LOOK_AFTER_SECONDS), by)
    if (!done) return { case: (await caseOfEvent(table, event)) ?? opened.id, status: 'replayed' }
    if (state === 'opened') await dispatch.plan(policy.lane, [{ v: 1, kind: 'plan', case: opened.id }])
    return { case: opened.id, status: state, ...(state === 'scheduled' ? { startsAt: effectiveAt } : {}) }
  }

  /** An equal trigger is noted on a running, unsealed case of the epoch just read; else it opens its own (protocol 12). */
  async function note(identity: Identity, opened: NewCase, by: Actor): Promise<string | undefined> {
    for (const [id, { epoch }] of Object.entries(identity.fences)) {
      if (epoch !== identity.epoch) continue
      const running = await caseOf(table, id)
      if (running === undefined || running.type !== opened.type || running.sealed || running.scope.kind !== 'identity') continue
      // The report's one approval must find all of its cases.
      if (opened.campaign !== undefined && running.campaign !== opened.campaign.id) continue
      // Under other rules it would do something else with the leases: then it is no equal trigger.
      if (JSON.stringify(modesOf(running)) !== JSON.stringify(opened.modes)) continue
      if (await noteOn(table, running, opened, identity.epoch, by)) return id
    }
    return undefined
  }

  function timeOf(trigger: Trigger, now: string): string {
    const { clockSkewSeconds } = settings.limits
    if (trigger.time !== undefined && Date.parse(trigger.time) > Date.parse(now) + clockSkewSeconds * 1000)
      throw new ProblemError('time-out-of-range', 'the event is from the future')
    const wanted = effectiveTime(trigger.data.effectiveAt, now, settings.limits)
    if (!wanted.ok) throw new ProblemError('time-out-of-range', wanted.said)
    return wanted.at
  }
}

/** The report that a compromise is a part of. */
function campaignOf(trigger: Trigger, type: TriggerType, sender: Sender): NewCampaign | undefined {
  const name = trigger.data.campaign
  if (name === undefined) return undefined
  if (type !== 'compromise')
    throw new ProblemError('body-invalid', 'only compromises are parts of a campaign; the fuse groups all else', {
      errors: [{ path: '/data/campaign', message: 'belongs to a compromise' }],
    })
  const source = sender.source.name
  return { id: campaignId(source, name), of: 'report', source, name, requester: sender.principal }
}

const stateOf = (held: boolean, ahead: boolean): NewCase['state'] => (held ? 'held' : ahead ? 'scheduled' : 'opened')

function typeOf(trigger: Trigger): TriggerType {
  return TriggerType.parse(trigger.type.slice(TYPE_PREFIX.length))
}

/** The scope with canonical names, and with the namespace that belongs to the sender. */
async function settle(trigger: Trigger, source: Source, ports: NamePorts): Promise<CaseScope> {
  const { scope } = trigger.data
  if (scope.kind === 'credential-name') {
    const kept = keptOf(trigger.data, trigger.id, trigger.source)
    return (await namedScopes(ports)(scope, kept, '/data/scope/name')).scope
  }
  const settled = settledScope(scope, source.namespaces)
  switch (settled.kind) {
    case 'settled':
      return settled.scope
    case 'identity-invalid':
      throw new ProblemError('body-invalid', settled.said, { errors: [{ path: '/data/scope/id', message: settled.said }] })
    case 'namespace':
      throw new ProblemError('scope-not-allowed', `source ${source.name} does not attest this namespace`)
  }
}
