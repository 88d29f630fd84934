import type { CampaignView } from '../contracts/campaign.ts'
import type { CaseView } from '../contracts/case.ts'
import type { IdentityView } from '../contracts/identity.ts'
import type { IssuerView } from '../contracts/issuer.ts'
import type { LeaseView } from '../contracts/lease.ts'
import type { RestorationView } from '../contracts/restoration.ts'
import { deletionOf } from './approval.ts'
import type { Breaker, Campaign, Case, Identity, Issuer, Lease, Restoration, WorkScope } from './model.ts'

/** Things as the outside sees them: no keys of ours, no targets, nothing sealed. */

/** Leaves out what is undefined, which `exactOptionalPropertyTypes` keeps apart from absent. */
type Optional<Shape> = { [Key in keyof Shape]?: Exclude<Shape[Key], undefined> }
function present<Shape extends object>(shape: Shape): Optional<Shape> {
  return Object.fromEntries(Object.entries(shape).filter(([, value]) => value !== undefined)) as Optional<Shape>
}

const viewOfWork = ({ id, namespace, endsBy }: WorkScope) => ({ id, namespace, ...(endsBy === undefined ? {} : { endsBy }) })

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
  onExpiry: lease.onExpiry ?? 'cut',
  outage: lease.onOutage ?? 'closed',
  outcomes: { ...lease.outcomes },
  ...present({
    class: lease.class,
    graceUntil: lease.graceUntil,
    overdueSince: lease.overdueSince,
    environment: lease.environment,
    task: lease.task === undefined ? undefined : viewOfWork(lease.task),
    deployment: lease.deployment === undefined ? undefined : viewOfWork(lease.deployment),
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
    modes: current.modes ?? { default: current.mode, rules: [] },
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
    exempt: current.exempt ?? 0,
    bystanders: current.bystanders,
    levers: current.levers,
    scans: current.scans,
    outcomes: counts,
    amendments: { ...current.amendments, outcomes: amendCounts },
    noted: current.noted,
    deletion: deletionOf(current),
    resurrections: current.resurrections ?? 0,
    restored: current.restored ?? 0,
    asked: Object.entries(current.asked ?? {})
      .map(([issuer, answer]) => ({ issuer, ...answer }))
      .sort((one, other) => (one.issuer < other.issuer ? -1 : 1)),
    empty: current.closedAt !== undefined && current.state === 'closed' && total === 0 && current.amendments.expected === 0,
    ...present({
      requestedBy: current.requestedBy,
      fencedAt: current.fencedAt,
      containedAt: current.containedAt,
      sealedAt: current.sealedAt,
      closedAt: current.closedAt,
      restorableUntil: current.restorableUntil,
      held: current.held,
      campaign: current.campaign,
      paused: current.paused,
    }),
  }
}

export const viewOfRestoration = (restoration: Restoration): RestorationView => ({
  id: restoration.id,
  scope: restoration.scope,
  reason: restoration.reason,
  requester: restoration.requester,
  undoesCompromise: restoration.undoesCompromise,
  state: restoration.state,
  openedAt: restoration.openedAt,
  parts: restoration.parts,
  counts: restoration.counts,
  refused: [...restoration.refused],
  ...present({ doneAt: restoration.doneAt }),
})

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
  ...present({
    workload: identity.workload,
    environment: identity.environment,
    orphan: identity.orphan,
    aliases: identity.aliases === undefined ? undefined : [...identity.aliases],
  }),
})

export const viewOfIssuer = (issuer: Issuer, breaker?: Breaker, pace?: IssuerView['pace']): IssuerView => ({
  name: issuer.name,
  provider: issuer.provider,
  settings: { ...issuer.settings },
  soakSeconds: issuer.soakSeconds,
  ...present({
    adminSecret: issuer.adminSecret,
    mode: issuer.mode,
    environment: issuer.environment,
    limits: issuer.limits === undefined ? undefined : { ...issuer.limits },
    discoverEverySeconds: issuer.discoverEverySeconds,
    breaker: breaker === undefined ? undefined : { until: breaker.openUntil, reason: breaker.reason, code: breaker.code },
    pace,
  }),
})

export const viewOfCampaign = (campaign: Campaign): CampaignView => ({
  id: campaign.id,
  kind: campaign.of,
  source: campaign.source,
  name: campaign.name,
  openedAt: campaign.openedAt,
  decisions: [...campaign.decisions],
  underWay: campaign.carrying !== undefined,
  ...present({ held: campaign.held }),
})
