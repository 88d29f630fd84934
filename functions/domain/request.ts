import type { Modes } from '../contracts/mode.ts'
import type { CaseScope, TriggerScope } from '../contracts/scope.ts'
import type { Settings } from '../contracts/settings.ts'
import { canonicalIdentity, IdentityInvalid } from './identity.ts'
import type { Identity } from './model.ts'
import { leastCautious } from './modes.ts'
import type { Policy } from './policy.ts'
import { namespaceOf } from './rights.ts'
import { after, instant } from './time.ts'
import type { Guards } from './treatment.ts'
import { isGuarded } from './treatment.ts'

/** What a trigger says, settled: the same for whoever takes it and for whoever only asks what it would do. */

export type SettledScope =
  | { readonly kind: 'settled'; readonly scope: CaseScope }
  /** The identity's name is none. */
  | { readonly kind: 'identity-invalid'; readonly said: string }
  /** The sender has no such namespace, or named none and has none. */
  | { readonly kind: 'namespace' }

/**
 * The scope with canonical names, and with the namespace that belongs to the sender.
 *
 * @param namespaces those that the sender has, the first of which is meant where none is named; `any`: every one, by name
 */
export function settledScope(
  scope: Exclude<TriggerScope, { kind: 'credential-name' }>,
  namespaces: readonly string[] | 'any',
): SettledScope {
  switch (scope.kind) {
    case 'identity':
      try {
        return { kind: 'settled', scope: { kind: 'identity', id: canonicalIdentity(scope.id) } }
      } catch (error) {
        if (!(error instanceof IdentityInvalid)) throw error
        return { kind: 'identity-invalid', said: error.message }
      }
    case 'deployment':
    case 'task': {
      const namespace = namespaces === 'any' ? scope.namespace : namespaceOf(namespaces, scope.namespace)
      return namespace === undefined
        ? { kind: 'namespace' }
        : { kind: 'settled', scope: { kind: scope.kind, id: scope.id, namespace } }
    }
    default:
      return { kind: 'settled', scope }
  }
}

/** Before this, a time is a mistake. */
const ABSURD = '2000-01-01T00:00:00.000Z'

export type EffectiveTime = { readonly ok: true; readonly at: string } | { readonly ok: false; readonly said: string }

/** When the reason for the access ends: now, or a later moment within the limits. `now` is RFC 3339. */
export function effectiveTime(
  wanted: string | undefined,
  now: string,
  { scheduleDays }: Pick<Settings['limits'], 'scheduleDays'>,
): EffectiveTime {
  const at = wanted === undefined ? now : instant(Date.parse(wanted))
  if (at < ABSURD) return { ok: false, said: `the effective time lies before ${ABSURD.slice(0, 4)}` }
  if (at > after(now, scheduleDays * 86400))
    return { ok: false, said: `the effective time lies more than ${scheduleDays} days ahead` }
  return { ok: true, at: at > now ? at : now }
}

/** Why a case on this very identity waits for an approval; what touches nothing needs none. */
export const PROTECTED = 'the identity is protected'
export const waitsForApproval = (
  policy: Policy,
  modes: Modes,
  identity: Pick<Identity, 'id' | 'protected' | 'aliases'> | undefined,
  settings: Guards,
): boolean => policy.holdable && identity !== undefined && isGuarded(settings, identity) && leastCautious(modes) !== 'observe'
