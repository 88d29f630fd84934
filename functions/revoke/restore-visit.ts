import type { Actor, Case, Chunk, Lease, Restoration } from '../domain/model.ts'
import { casesOn, isOver, judge } from '../domain/restoring.ts'
import { after, instant, later, ttl } from '../domain/time.ts'
import type { Provider, ProviderModule, Restored, Warrant } from '../providers/contract.ts'
import { caseOf } from '../store/cases.ts'
import { look } from '../store/leases.ts'
import { leaveCut, takeBack } from '../store/restorations.ts'
import { chunkByUnit, writeGroups } from '../store/work.ts'
import { eachAnswered, subjectsOf } from './issuer.ts'
import type { WorkPorts } from './ports.ts'

/** What may go by itself, such as a parent that is given back by another part, is waited for so often. */
const PATIENCE = 6

/** What one visit found out, lease by lease. */
export interface Visit {
  readonly restoration: Restoration
  readonly by: Actor
  readonly provider: Provider
  readonly refused: Record<string, string>
  readonly cases: Map<string, Case | undefined>
  readonly soakSeconds: number
  readonly attempts: number
  waiting: string | undefined
  spent: boolean
  hint: number
}

/** A lease that may be given back, and the cases that are undone with it. */
export interface Allowed {
  readonly lease: Lease
  readonly pardons: readonly string[]
}

/** What the parts of a restoration have in common: to judge leases, to take them, to call for them, to leave them cut. */
export function restoreVisits(module: ProviderModule, ports: WorkPorts) {
  const { table, clock, limits } = ports
  const { definition } = module
  const now = () => instant(clock.now())
  const at = (by: Actor): Actor => ({ ...by, at: now() })

  /** Whether it may be given back, by what stands in the table at this moment. */
  async function verdictOn(visit: Visit, lease: Lease) {
    const { cases: fences, parent } = await look(table, lease)
    const covering: Case[] = []
    for (const id of casesOn(lease, fences)) {
      const found = await knownCase(visit, id)
      if (found !== undefined) covering.push(found)
    }
    return judge(lease, visit.restoration, covering, parent, now())
  }

  /** A case that is over is read once. */
  async function knownCase(visit: Visit, id: string): Promise<Case | undefined> {
    const known = visit.cases.get(id)
    if (known !== undefined && isOver(known)) return known
    const found = await caseOf(table, id)
    visit.cases.set(id, found)
    return found
  }

  const wait = (visit: Visit, said: string) => {
    visit.waiting ??= said
  }
  const retry = (visit: Visit, answer: { readonly said: string; readonly afterSeconds?: number; readonly throttled?: true }) => {
    if (answer.throttled !== true) visit.spent = true
    visit.hint = Math.max(visit.hint, answer.afterSeconds ?? 0)
    wait(visit, answer.said)
  }
  const refuse = (visit: Visit, leases: readonly Lease[], said: string) => {
    for (const { id } of leases) visit.refused[id] = said
  }
  /** Whom a change is told of: the case whose cut is undone. */
  const about = (visit: Visit, lease: Lease): Actor => {
    const undone = lease.ended?.case
    const known = undone === undefined ? undefined : visit.cases.get(undone)
    return {
      ...at(visit.by),
      ...(undone === undefined ? {} : { case: undone }),
      ...(known === undefined ? {} : { trigger: known.type }),
    }
  }

  /** Leaves cut what no call can have brought to life. */
  async function leave(visit: Visit, leases: readonly Lease[]): Promise<void> {
    const keep = (lease: Lease) => ttl(after(later(lease.expiresAt, now()), limits.retentionDays * 86400 + visit.soakSeconds))
    await writeGroups(
      table,
      leases.map((lease) => [leaveCut(lease, visit.restoration.id, keep(lease), about(visit, lease))]),
    )
  }

  /** Judges leases as they were read; what is refused is said, and what was taken already is left cut where that is safe. */
  async function allowed(visit: Visit, leases: readonly Lease[]): Promise<Allowed[]> {
    const may: Allowed[] = []
    for (const lease of leases) {
      const verdict = await verdictOn(visit, lease)
      if (verdict.may === 'yes') {
        may.push({ lease, pardons: verdict.pardons })
        continue
      }
      if (verdict.may === 'skip') continue
      const mine = lease.state === 'restoring' && lease.restoration === visit.restoration.id
      // It may live, so it is not called cut: the case that fenced it since finds it taken, and takes it from here.
      if (mine && lease.revived === true) wait(visit, `${verdict.may === 'no' ? verdict.said : verdict.said}: that case takes it`)
      else if (verdict.may === 'wait') wait(visit, verdict.said)
      else if (verdict.yet === true && visit.attempts < PATIENCE) retry(visit, verdict)
      else {
        if (mine) await leave(visit, [lease])
        refuse(visit, [lease], verdict.said)
      }
    }
    return may
  }

  const take = async (visit: Visit, may: readonly Allowed[]): Promise<string[]> => {
    const ended = may.filter(({ lease }) => lease.state === 'ended')
    const taken = await writeGroups(
      table,
      ended.map(({ lease }) => [takeBack(lease, visit.restoration.id, about(visit, lease))]),
    )
    if (taken.some((one) => !one)) wait(visit, 'it was changed at the same time')
    return [
      ...may.filter(({ lease }) => lease.state !== 'ended').map(({ lease }) => lease.id),
      ...ended.filter((_, index) => taken[index] === true).map(({ lease }) => lease.id),
    ]
  }

  function cannot(visit: Visit): string | undefined {
    if (definition.capabilities.restores && visit.provider.restore !== undefined) return undefined
    return `provider ${definition.name} cannot undo a cut`
  }

  /** Calls the issuer for leases that are taken, by the warrant that each was cut with. */
  async function called(visit: Visit, leases: readonly Lease[], until: number): Promise<Map<string, Restored>> {
    const { subjects, unusable } = await subjectsOf(module, leases, ports.open)
    const answers = new Map<string, Restored>(unusable.map(({ lease, said }) => [lease.id, { status: 'refused' as const, said }]))
    const warrants = new Map<string, { warrant: Warrant; subjects: typeof subjects }>()
    for (const one of subjects) {
      const warrant = await warrantOf(visit, one.lease)
      const name = `${warrant.case} ${warrant.epoch}`
      const known = warrants.get(name)
      if (known === undefined) warrants.set(name, { warrant, subjects: [one] })
      else known.subjects.push(one)
    }
    for (const { warrant, subjects: all } of warrants.values())
      for (let start = 0; start < all.length; start += definition.limits.batch) {
        const batch = all.slice(start, start + definition.limits.batch)
        const results = await eachAnswered<Restored>(
          batch.map(({ subject }) => subject),
          async (some) => {
            // Whoever takes a lease from here waits for this call so long and no longer.
            if (clock.now() > until) throw new Late()
            return (await visit.provider.restore?.(some, warrant)) ?? []
          },
          (error) => ({
            status: 'retry',
            said: error instanceof Late ? 'the time of this attempt is over' : 'the provider failed',
          }),
        )
        for (const [index, { lease }] of batch.entries()) {
          const result = results[index]
          if (result !== undefined) answers.set(lease.id, result)
        }
      }
    return answers
  }

  async function warrantOf(visit: Visit, lease: Lease): Promise<Warrant> {
    const id = lease.ended?.case ?? ''
    const current = await knownCase(visit, id)
    const unit = lease.claims[id]
    const chunk: Chunk | undefined = unit === undefined ? undefined : await chunkByUnit(table, id, unit, lease.id)
    return {
      case: id,
      lane: current?.lane ?? 'p1',
      epoch: chunk === undefined ? lease.epoch : (chunk.epoch ?? 0),
      fencedAt: current?.fencedAt ?? current?.openedAt ?? lease.ended?.at ?? lease.registeredAt,
    }
  }

  return { module, ports, now, at, knownCase, wait, retry, refuse, about, leave, allowed, take, cannot, called }
}

export type Visits = ReturnType<typeof restoreVisits>

/** As it stands when the intent of its call is written. */
export const asIntended = (one: Allowed): Allowed => ({ ...one, lease: { ...one.lease, generation: one.lease.generation + 1 } })

/** The attempt has used up the time that others wait for it. */
class Late extends Error {
  override readonly name = 'Late'
}
