import { backoffSeconds } from '../domain/backoff.ts'
import type { Actor, Lease, Restoration, RestorationPart } from '../domain/model.ts'
import { after, secondsUntil, ttl } from '../domain/time.ts'
import type { ProviderModule } from '../providers/contract.ts'
import { IssuerError } from '../providers/contract.ts'
import { Unusable } from '../runtime/unusable.ts'
import { caseOf } from '../store/cases.ts'
import { isCovered } from '../store/keys.ts'
import { leasesOf } from '../store/leases.ts'
import { completeRestoration, finishPart, partOf, postponePart, restorationOf } from '../store/restorations.ts'
import { covered } from '../store/work.ts'
import type { issuerConnections } from './issuer.ts'
import type { Again, WorkPorts } from './ports.ts'
import { restoreExclusive } from './restore-exclusive.ts'
import { restoreLevers } from './restore-levers.ts'
import { restoreShared } from './restore-shared.ts'
import type { Visit } from './restore-visit.ts'
import { restoreVisits } from './restore-visit.ts'

/** Something that another piece of work must finish first is asked after again so soon, in seconds. */
const WAIT_SECONDS = 5

/**
 * Undoes cuts: takes each lease (so that from then on every case and its expiry cut it again), looks at the fences
 * again, pushes back the levers that held it, calls the issuer, and calls it live only where nobody took it meanwhile.
 * Every step is conditional on the lease's generation, so a deletion, a new case and a second restoration each find
 * that they came first or second; a part that was killed is simply run again.
 */
export function restoreWorker(module: ProviderModule, ports: WorkPorts, issuers: ReturnType<typeof issuerConnections>) {
  const { table, limits, random } = ports
  const { definition } = module
  const visits = restoreVisits(module, ports)
  const { now, at } = visits
  const levers = restoreLevers(visits)
  const exclusive = restoreExclusive(visits, levers)
  const together = restoreShared(visits, levers)

  async function restore(id: string, partName: string): Promise<Again> {
    const restoration = await restorationOf(table, id)
    const part = await partOf(table, id, partName)
    if (restoration === undefined || part === undefined) throw new Unusable('restoration-gone')
    if (part.state === 'done') return undefined
    const by: Actor = {
      who: `revoke/${definition.name}`,
      why: `${restoration.reason} (restoration ${id}, asked by ${restoration.requester})`,
      at: now(),
    }
    const refused: Record<string, string> = { ...part.refused }
    const put = async (seconds: number, said: string, spends: boolean): Promise<Again> => {
      await postponePart(table, part, { dueAt: after(now(), seconds), said, refused, spends }, at(by))
      return seconds
    }
    const reached = await issuers.reach(part.issuer, by)
    if (reached.kind === 'unknown') return put(limits.backoffSeconds, reached.said, false)
    if (reached.kind === 'not-now') return put(Math.max(1, secondsUntil(reached.until, now())), reached.said, false)
    const visit: Visit = {
      restoration,
      by,
      provider: reached.provider,
      refused,
      cases: new Map(),
      soakSeconds: reached.issuer.soakSeconds,
      attempts: part.attempts,
      waiting: undefined,
      spent: false,
      hint: 0,
    }
    try {
      const leases = await concerned(part, restoration)
      const open = leases.filter((lease) => refused[lease.id] === undefined)
      await exclusive(
        visit,
        open.filter(({ sharing }) => sharing === 'exclusive'),
      )
      const shared = Map.groupBy(
        open.filter(({ sharing }) => sharing === 'shared'),
        ({ fingerprint }) => fingerprint,
      )
      for (const [fingerprint, holders] of shared) await together(visit, fingerprint, holders)
    } catch (error) {
      if (!(error instanceof IssuerError)) throw error
      const { until, said } = await issuers.failed(part.issuer, error, by)
      return await put(Math.max(1, secondsUntil(until, now())), said, false)
    } finally {
      await reached.end()
    }
    if (visit.waiting !== undefined)
      return put(
        visit.spent ? backoffSeconds(part.attempts + 1, random.fraction(), limits.backoffSeconds, visit.hint) : WAIT_SECONDS,
        visit.waiting,
        visit.spent,
      )
    await end(part, visit)
    return undefined
  }

  /** What the part covers, as it stands now. */
  async function concerned(part: RestorationPart, restoration: Restoration): Promise<Lease[]> {
    const found: Lease[] = []
    for await (const ids of covered(table, part, 100)) {
      const leases = await leasesOf(
        table,
        ids.map(({ id }) => id),
      )
      for (const lease of leases.values()) {
        if (!isCovered(lease, part.covers)) continue
        if (part.unit !== undefined && restoration.scope.kind === 'case' && lease.claims[restoration.scope.id] !== part.unit)
          continue
        found.push(lease)
      }
    }
    return found
  }

  async function end(part: RestorationPart, visit: Visit): Promise<void> {
    const restored = new Map<string, number>()
    const gone: string[] = []
    for (const { restored: back } of await concerned(part, visit.restoration))
      if (back?.restoration === visit.restoration.id) restored.set(back.case, (restored.get(back.case) ?? 0) + 1)
    // A case that retention removed has no view to show it in.
    for (const id of [...restored.keys()]) if ((await caseOf(table, id)) === undefined) gone.push(id)
    const keep = ttl(after(now(), (limits.retentionDays + 366) * 86400))
    const fresh = (await restorationOf(table, visit.restoration.id)) ?? visit.restoration
    await finishPart(table, part, fresh, { restored, gone, refused: visit.refused }, keep, at(visit.by))
    const current = await restorationOf(table, visit.restoration.id)
    if (current?.state === 'running' && current.parts.done === current.parts.expected)
      await completeRestoration(table, current, keep, at(visit.by))
  }

  return restore
}
