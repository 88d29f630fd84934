import type { CaseType, Lane, TriggerType } from '../contracts/primitives.ts'
import type { CaseScope, TriggerScope } from '../contracts/scope.ts'

/** The table "what each trigger does" of the design, as code: the only place that knows it. */
export interface Policy {
  readonly lane: Lane
  /** New leases of the scope are refused. */
  readonly fences: boolean
  /** Levers: `all` that the identities have, `own` those that nobody else is hit by, `none`. */
  readonly levers: 'all' | 'own' | 'none'
  /** A credential that others hold too: `cut` it and name them, or `release` this grant alone. */
  readonly shared: 'cut' | 'release'
  /** Waits for an approval where the identity is protected. */
  readonly holdable: boolean
}

export function policyOf(type: CaseType, scope: CaseScope['kind']): Policy {
  switch (type) {
    case 'compromise':
      return {
        lane: 'p0',
        fences: true,
        levers: scope === 'credential' || scope === 'credential-name' ? 'none' : 'all',
        shared: 'cut',
        holdable: false,
      }
    case 'offboarding':
      return { lane: 'p1', fences: true, levers: 'own', shared: 'release', holdable: true }
    case 'decommission':
      // A decommissioned workload ends its identities for good, so what only they hold may be contained at once.
      return { lane: 'p2', fences: true, levers: scope === 'workload' ? 'own' : 'none', shared: 'release', holdable: true }
    case 'task-complete':
      return { lane: 'p2', fences: true, levers: 'none', shared: 'release', holdable: true }
    case 'expired':
      return { lane: 'p2', fences: false, levers: 'none', shared: 'release', holdable: false }
  }
}

const ALLOWED: Readonly<Record<TriggerType, readonly TriggerScope['kind'][]>> = {
  offboarding: ['identity', 'owner', 'workload'],
  compromise: ['identity', 'owner', 'workload', 'credential', 'credential-name'],
  decommission: ['deployment', 'workload'],
  'task-complete': ['task'],
}

/** Which scopes a trigger may name: a completed task that named an owner would be a weapon. */
export const allowsScope = (type: TriggerType, scope: TriggerScope['kind']): boolean => ALLOWED[type].includes(scope)

/** For whoever named another one. */
export const scopesOf = (type: TriggerType): string => ALLOWED[type].join(', ')

const RANK: Readonly<Record<Lane, number>> = { p0: 0, p1: 1, p2: 2 }

/** Only a strictly more urgent case takes a lease from another one. */
export const moreUrgent = (lane: Lane, than: Lane): boolean => RANK[lane] < RANK[than]
