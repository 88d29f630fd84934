import type { Accepted, Discovery, Finding } from './model.ts'

/** What changes of discoveries tell. Findings are told when they are new and when they are none any more. */

export function tellDiscovery(before: Discovery | undefined, after: Discovery) {
  // What it waits for (a breaker, the kill switch) tells for itself.
  if (before?.state === after.state) return []
  const { id, requester, reason, said, counts, found, fresh, withdrawn, cleared } = after
  return [
    {
      what: before === undefined ? 'discovery.started' : `discovery.${after.state}`,
      previous: before?.state,
      state: after.state,
      about: { issuer: after.issuer },
      facts: {
        discovery: id,
        requester,
        ...(reason === undefined ? {} : { reason }),
        ...(said === undefined ? {} : { said }),
        ...(after.state === 'done' ? { ...counts, withdrawn, cleared, ...named('', found), ...named('new ', fresh) } : {}),
      },
    },
  ]
}

const named = (prefix: string, counts: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(counts).map(([kind, count]) => [`${prefix}${kind}`, count]))

export function tellFinding(before: Finding | undefined, after: Finding) {
  if (before?.standing === after.standing || (after.standing !== 'new' && after.standing !== 'cleared')) return []
  const { of, fingerprint, shown, said, lease, identity, discovery } = after
  return [
    {
      what: `finding.${after.standing}`,
      previous: before?.standing,
      state: of,
      about: { issuer: after.issuer, ...(lease === undefined ? {} : { lease }) },
      facts: { discovery, fingerprint, shown, said, ...(identity === undefined ? {} : { holder: identity }) },
    },
  ]
}

export function tellAcceptance(before: Accepted | undefined, after: Accepted) {
  const isSame =
    before?.withdrawn === after.withdrawn &&
    before?.reason === after.reason &&
    before?.until === after.until &&
    before?.incarnation === after.incarnation
  if (before !== undefined && isSame) return []
  const { of, fingerprint, reason, until } = after
  return [
    {
      what: after.withdrawn === true ? 'finding.acceptance-withdrawn' : 'finding.accepted',
      state: of,
      about: { issuer: after.issuer },
      facts: { fingerprint, ...(after.withdrawn === true ? {} : { reason, ...(until === undefined ? {} : { until }) }) },
    },
  ]
}
