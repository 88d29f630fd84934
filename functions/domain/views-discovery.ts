import type { DiscoveryView, FindingKind, FindingView } from '../contracts/discovery.ts'
import { holdsFor, isTruncated } from './discovery.ts'
import type { Accepted, Discovery, Finding } from './model.ts'

/** Discoveries and findings as the outside sees them: no target, no cursor. */

export function viewOfDiscovery(current: Discovery): DiscoveryView {
  const { counts, found, kept, fresh, accepted, said, reason, endedAt, previous } = current
  const sum = (kind: FindingKind) => ({
    found: found[kind],
    kept: kept[kind],
    new: fresh[kind],
    accepted: accepted[kind],
  })
  return {
    id: current.id,
    issuer: current.issuer,
    provider: current.provider,
    state: current.state,
    requester: current.requester,
    startedAt: current.startedAt,
    counts: { ...counts },
    findings: {
      unregistered: sum('unregistered'),
      own: sum('own'),
      revived: sum('revived'),
      disabled: sum('disabled'),
      replaced: sum('replaced'),
      outlives: sum('outlives'),
      gone: sum('gone'),
    },
    withdrawn: current.withdrawn,
    cleared: current.cleared,
    truncated: isTruncated(current),
    ...(said === undefined ? {} : { said }),
    ...(reason === undefined ? {} : { reason }),
    ...(endedAt === undefined ? {} : { endedAt }),
    ...(previous === undefined ? {} : { previous }),
  }
}

/** @param accepted what was accepted of its kind and fingerprint */
export function viewOfFinding(finding: Finding, accepted: Accepted | undefined, now: string): FindingView {
  const { own, identity, createdAt, lastUsedAt, expiresAt, lease } = finding
  const holds = accepted !== undefined && holdsFor(accepted, finding, now)
  return {
    fingerprint: finding.fingerprint,
    kind: finding.of,
    shown: finding.shown,
    said: finding.said,
    standing: finding.standing,
    firstSeenAt: finding.firstSeenAt,
    seenAt: finding.seenAt,
    ...(own === undefined ? {} : { own }),
    ...(identity === undefined ? {} : { identity }),
    ...(createdAt === undefined ? {} : { createdAt }),
    ...(lastUsedAt === undefined ? {} : { lastUsedAt }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(lease === undefined ? {} : { lease }),
    ...(holds ? { accepted: viewOfAcceptance(accepted) } : {}),
  }
}

const viewOfAcceptance = ({ by, reason, until }: Accepted) => ({
  by: by.who,
  reason,
  at: by.at,
  ...(until === undefined ? {} : { until }),
})
