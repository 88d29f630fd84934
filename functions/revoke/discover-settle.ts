import type { Draft, Known, Moments } from '../domain/discovery.ts'
import { canBeMissed, holdsFor, isAlarming, judge, noFindings } from '../domain/discovery.ts'
import type { Discovery, Finding } from '../domain/model.ts'
import { after } from '../domain/time.ts'
import type { Definition } from '../providers/contract.ts'
import {
  acceptancesOf,
  findingsOf,
  moveDiscovery,
  noteFinding,
  sameFindings,
  settleFinding,
  withdrawFinding,
} from '../store/discoveries.ts'
import { knownOf } from '../store/known.ts'
import { leasesOf } from '../store/leases.ts'
import type { Write } from '../store/table.ts'
import { addedTo } from './discover-pages.ts'
import type { Discovering, Step } from './discover-steps.ts'

/** Findings looked at in one step: each is one write of its transaction. */
const PAGE = 45
/** Names that are told with the discovery's end. */
const MOST_TOLD = 20
/** Cursors behind the findings, while those of the discovery before are looked through. */
const BEFORE = 'before:'
const END = '~'

/**
 * Looks at the findings once more before they are told: a registration may have been under way when the page was listed.
 * Then says which of them the discovery before had, and which of its are none any more. Nothing is asked of the issuer.
 */
export async function settleFindings(definition: Definition, shared: Discovering, current: Discovery): Promise<Step> {
  const { now, limits } = shared
  // By then whoever had minted before the list was read has registered, or never will.
  const due = after(current.listedAt ?? current.startedAt, limits.registrationSeconds)
  if (current.cursor === undefined && due > now())
    return { kind: 'wait', until: due, said: 'registrations that were under way are waited for' }
  return current.cursor?.startsWith(BEFORE) === true ? lookBack(shared, current) : lookAgain(definition, shared, current)
}

async function lookAgain(definition: Definition, shared: Discovering, current: Discovery): Promise<Step> {
  const { table, now, by } = shared
  const page = await findingsOf(table, current.issuer, current.id, current.cursor, PAGE, { cleared: false })
  const { findings } = page
  const standing = await stillSo(definition, shared, current, findings)
  const kept = findings.filter((_, index) => standing[index] === true)
  const known =
    current.previous === undefined ? kept.map(() => undefined) : await sameFindings(table, current.issuer, current.previous, kept)
  const acceptances = await acceptancesOf(table, current.issuer, kept)
  const at = now()
  const writes: Write[] = findings.filter((_, index) => standing[index] !== true).map(withdrawFinding)
  const [fresh, accepted, withdrawn] = [noFindings(), noFindings(), noFindings()]
  const alarming = [...current.alarming]
  for (const [index, finding] of findings.entries()) if (standing[index] !== true) withdrawn[finding.of] -= 1
  for (const [index, finding] of kept.entries()) {
    const before = known[index]
    const acceptance = acceptances[index]
    writes.push(settleFinding(finding, before === undefined ? 'new' : 'known', before?.firstSeenAt ?? finding.firstSeenAt, by()))
    if (acceptance !== undefined && holdsFor(acceptance, finding, at)) accepted[finding.of] += 1
    else if (before === undefined) {
      fresh[finding.of] += 1
      const { of, fingerprint, shown } = finding
      if (isAlarming(of) && alarming.length < MOST_TOLD) alarming.push({ kind: of, fingerprint, shown })
    }
  }
  const gone = findings.length - kept.length
  const moved = await moveDiscovery(
    table,
    current,
    {
      set: [
        ['cursor', page.next ?? BEFORE],
        ['alarming', alarming.map((one) => ({ ...one }))],
      ],
      add: [
        ...addedTo('fresh', fresh),
        ...addedTo('accepted', accepted),
        ...addedTo('found', withdrawn),
        ...addedTo('kept', withdrawn),
        ...(gone === 0 ? [] : [['withdrawn', gone] as const]),
      ],
    },
    writes,
    shared.lookAt(),
    by(),
  )
  return moved === undefined ? { kind: 'overtaken' } : { kind: 'moved', current: moved }
}

/** Which findings the table would still say of what was listed. */
async function stillSo(
  definition: Definition,
  shared: Discovering,
  current: Discovery,
  findings: readonly Finding[],
): Promise<boolean[]> {
  const { table, now, limits } = shared
  const known = await knownOf(
    table,
    findings.filter(({ of }) => of !== 'gone').map(({ fingerprint }) => fingerprint),
    shared.unreadable,
  )
  const leases = await leasesOf(
    table,
    findings.flatMap(({ of, lease }) => (of === 'gone' && lease !== undefined ? [lease] : [])),
    shared.unreadable,
  )
  return findings.map((finding) => {
    if (finding.of === 'gone') {
      const lease = finding.lease === undefined ? undefined : leases.get(finding.lease)
      return lease !== undefined && canBeMissed(lease, current.startedAt, current.listedAt ?? current.startedAt)
    }
    const there = known.has(finding.fingerprint) ? known.get(finding.fingerprint) : NOTHING
    if (there === undefined) return false
    const moments: Moments = {
      now: now(),
      // What was too young then was no finding; what is one is judged by what is registered by now.
      youngAfter: now(),
      // A cut since then is not in what was listed.
      endedBefore: after(finding.seenAt, -(limits.registrationSeconds + definition.limits.propagationSeconds)),
    }
    return judge(finding, there, moments).drafts.some(({ kind }: Draft) => kind === finding.of)
  })
}

const NOTHING: Known = { leases: [], complete: true }

/** What the discovery before had and this one has not. Where more was found than is kept, nobody can say so of all. */
async function lookBack(shared: Discovering, current: Discovery): Promise<Step> {
  const { table, now, by } = shared
  const { previous } = current
  const place = current.cursor?.slice(BEFORE.length) ?? ''
  if (previous === undefined || place === END) return { kind: 'done' }
  const page = await findingsOf(table, current.issuer, previous, place === '' ? undefined : place, PAGE, { cleared: false })
  const same = await sameFindings(table, current.issuer, current.id, page.findings)
  const at = now()
  const cleared = page.findings.filter(({ of }, index) => same[index] === undefined && current.found[of] <= current.kept[of])
  const moved = await moveDiscovery(
    table,
    current,
    {
      set: [['cursor', `${BEFORE}${page.next ?? END}`]],
      add: cleared.length === 0 ? [] : [['cleared', cleared.length]],
    },
    cleared.map(({ pk: _pk, sk: _sk, v: _v, by: _by, kind: _kind, ttl: _ttl, discovery: _of, issuer: _issuer, ...finding }) =>
      noteFinding(current, { ...finding, standing: 'cleared', seenAt: finding.seenAt }, shared.keepUntil(), { ...by(), at }),
    ),
    shared.lookAt(),
    by(),
  )
  return moved === undefined ? { kind: 'overtaken' } : { kind: 'moved', current: moved }
}
