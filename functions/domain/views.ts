import type { CaseView } from '../contracts/case.ts'
import type { IdentityView } from '../contracts/identity.ts'
import type { IssuerView } from '../contracts/issuer.ts'
import type { LeaseView } from '../contracts/lease.ts'
import type { Breaker, Case, Identity, Issuer, Lease } from './model.ts'

/** Things as the outside sees them: no keys of ours, no targets, nothing sealed. */

/** Leaves out what is undefined, which `exactOptionalPropertyTypes` keeps apart from absent. */
type Optional<Shape> = { [Key in keyof Shape]?: Exclude<Shape[Key], undefined> }
function present<Shape extends object>(shape: Shape): Optional<Shape> {
  return Object.fromEntries(Object.entries(shape).filter(([, value]) => value !== undefined)) as Optional<Shape>
}

export const viewOfLease = (lease: Lease): LeaseView => ({
  id: lease.id,
  identity: lease.identity,
  issuer: lease.issuer,
  provider: lease.provider,
  kind: lease.type,
  sharing: lease.sharing,
  state: lease.state,
  pending: lease.pending,
  fingerprint: lease.fingerprint,
  owner: lease.owner,
  consumer: lease.consumer,
  purpose: lease.purpose,
  delegable: lease.delegable,
  epoch: lease.epoch,
  registeredAt: lease.registeredAt,
  expiresAt: lease.expiresAt,
  outcomes: { ...lease.outcomes },
  ...present({
    environment: lease.environment,
    task: lease.task === undefined ? undefined : { id: lease.task.id, namespace: lease.task.namespace },
    deployment: lease.deployment === undefined ? undefined : { id: lease.deployment.id, namespace: lease.deployment.namespace },
    parent: lease.parent,
  }),
})

export const viewOfCase = (current: Case): CaseView => {
  const { counts, amendCounts } = current
  const total = [...Object.values(counts), ...Object.values(amendCounts)].reduce((sum, count) => sum + count, 0)
  return {
    id: current.id,
    type: current.type,
    lane: current.lane,
    mode: current.mode,
    scope: current.scope,
    state: current.state === 'fenced' && current.containedAt !== undefined ? 'contained' : current.state,
    reason: current.reason,
    source: current.source,
    eventId: current.eventId,
    effectiveAt: current.effectiveAt,
    openedAt: current.openedAt,
    decisions: [...current.decisions],
    identities: current.identities,
    orphans: current.orphans,
    bystanders: current.bystanders,
    levers: current.levers,
    scans: current.scans,
    outcomes: counts,
    amendments: { ...current.amendments, outcomes: amendCounts },
    noted: current.noted,
    empty: current.closedAt !== undefined && current.state === 'closed' && total === 0,
    ...present({
      requestedBy: current.requestedBy,
      fencedAt: current.fencedAt,
      containedAt: current.containedAt,
      sealedAt: current.sealedAt,
      closedAt: current.closedAt,
      held: current.held,
    }),
  }
}

export const viewOfIdentity = (identity: Identity): IdentityView => ({
  id: identity.id,
  owner: identity.owner,
  ownerLeaves: identity.ownerLeaves,
  protected: identity.protected,
  contacts: [...identity.contacts],
  epoch: identity.epoch,
  fencedThrough: identity.fencedThrough,
  fencedBy: Object.keys(identity.fences),
  issuers: Object.keys(identity.issuers).sort(),
  ...present({ workload: identity.workload, environment: identity.environment, orphan: identity.orphan }),
})

export const viewOfIssuer = (issuer: Issuer, breaker: Breaker | undefined): IssuerView => ({
  name: issuer.name,
  provider: issuer.provider,
  settings: { ...issuer.settings },
  soakSeconds: issuer.soakSeconds,
  ...present({
    adminSecret: issuer.adminSecret,
    environment: issuer.environment,
    breaker: breaker === undefined ? undefined : { until: breaker.openUntil, reason: breaker.reason, code: breaker.code },
  }),
})
