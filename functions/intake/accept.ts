import { TriggerType } from '../contracts/primitives.ts'
import type { CaseScope } from '../contracts/scope.ts'
import type { Settings, Source } from '../contracts/settings.ts'
import type { Trigger, TriggerReceipt } from '../contracts/trigger.ts'
import { TYPE_PREFIX } from '../contracts/trigger.ts'
import { canonicalIdentity, IdentityInvalid } from '../domain/identity.ts'
import { caseKey, identityKey, key } from '../domain/keys.ts'
import type { Actor, Identity } from '../domain/model.ts'
import { allowsScope, policyOf } from '../domain/policy.ts'
import { isProtected, namespaceOf } from '../domain/rights.ts'
import { after, instant } from '../domain/time.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import type { Clock } from '../runtime/ports.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import type { NewCase } from '../store/cases.ts'
import { caseOf, caseOfEvent, noteOn, openCase } from '../store/cases.ts'
import { identityOf } from '../store/identities.ts'
import type { Table } from '../store/table.ts'

export interface AcceptPorts {
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
/** Before this, a time is a mistake. */
const ABSURD = '2000-01-01T00:00:00.000Z'

/**
 * Takes one verified, authenticated trigger: authorise, normalise, dedupe, open its case. The same event again gives
 * the same case; what is refused is refused before anything is written.
 *
 * @throws ProblemError with a stable code
 */
export function acceptor(ports: AcceptPorts) {
  const { table, clock, settings, dispatch } = ports

  return async function accept(trigger: Trigger, sender: Sender): Promise<TriggerReceipt> {
    const now = instant(clock.now())
    const type = typeOf(trigger)
    if (!sender.source.triggers.includes(type))
      throw new ProblemError('forbidden', `source ${sender.source.name} may not send ${type}`)
    const scope = settle(trigger, sender.source)
    if (!allowsScope(type, scope.kind === 'leases' ? 'credential' : scope.kind))
      throw new ProblemError('body-invalid', `${type} cannot name a scope of kind ${scope.kind}`)
    const effectiveAt = timeOf(trigger, now)
    // The sender's own `source` attribute is a claim; the authenticated source makes the key its own.
    const eventId = `${trigger.source}|${trigger.id}`
    const event = key('event', sender.source.name, trigger.source, trigger.id)
    const known = await caseOfEvent(table, event)
    if (known !== undefined) return { case: known, status: 'replayed' }

    const identity = scope.kind === 'identity' ? await identityOf(table, identityKey(scope.id)) : undefined
    if (scope.kind === 'identity' && identity === undefined)
      throw new ProblemError('identity-unknown', 'no lease of this identity was ever registered')

    const policy = policyOf(type, scope.kind)
    const guarded = identity !== undefined && (identity.protected || isProtected(settings, identity.id))
    const state = stateOf(policy.holdable && guarded, effectiveAt > now)
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
      ...(state === 'held' ? { held: 'the identity is protected' } : {}),
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
      if (await noteOn(table, running, opened, identity.epoch, by)) return id
    }
    return undefined
  }

  function timeOf(trigger: Trigger, now: string): string {
    const { clockSkewSeconds, scheduleDays } = settings.limits
    if (trigger.time !== undefined && Date.parse(trigger.time) > Date.parse(now) + clockSkewSeconds * 1000)
      throw new ProblemError('time-out-of-range', 'the event is from the future')
    const wanted = trigger.data.effectiveAt === undefined ? now : instant(Date.parse(trigger.data.effectiveAt))
    if (wanted < ABSURD) throw new ProblemError('time-out-of-range', `the effective time lies before ${ABSURD.slice(0, 4)}`)
    if (wanted > after(now, scheduleDays * 86400))
      throw new ProblemError('time-out-of-range', `the effective time lies more than ${scheduleDays} days ahead`)
    return wanted > now ? wanted : now
  }
}

const stateOf = (held: boolean, ahead: boolean): NewCase['state'] => (held ? 'held' : ahead ? 'scheduled' : 'opened')

function typeOf(trigger: Trigger): TriggerType {
  return TriggerType.parse(trigger.type.slice(TYPE_PREFIX.length))
}

/** The scope with canonical names, and with the namespace that belongs to the sender. */
function settle(trigger: Trigger, source: Source): CaseScope {
  const { scope } = trigger.data
  switch (scope.kind) {
    case 'identity':
      try {
        return { kind: 'identity', id: canonicalIdentity(scope.id) }
      } catch (error) {
        if (!(error instanceof IdentityInvalid)) throw error
        throw new ProblemError('body-invalid', error.message, { errors: [{ path: '/data/scope/id', message: error.message }] })
      }
    case 'deployment':
    case 'task': {
      const namespace = namespaceOf(source.namespaces, scope.namespace)
      if (namespace === undefined)
        throw new ProblemError('scope-not-allowed', `source ${source.name} does not attest this namespace`)
      return { kind: scope.kind, id: scope.id, namespace }
    }
    default:
      return scope
  }
}
