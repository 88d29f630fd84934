import type { Outcome } from '../../functions/contracts/outcome.ts'
import type { Case, Control, Lease } from '../../functions/domain/model.ts'
import type { Change } from '../../functions/runtime/stream.ts'
import { as } from '../../functions/store/items.ts'
import type { Item } from '../../functions/store/table.ts'
import { leaseId } from './clients.ts'
import type { Injected } from './faults.ts'
import { credentialMeant } from './issuers.ts'
import type { Sent, Told, TrueCredential, TrueEvent } from './journal.ts'
import type { Schedule } from './schedule.ts'
import { credentialName, identityIndex, MARKER } from './world.ts'

/** What the oracle looks at: the true state of the issuers, what clients were told, and what anybody could read. */
export interface Observed {
  readonly schedule: Schedule
  readonly scheduler: { readonly now: number; readonly steps: number }
  readonly faults: { readonly injected: readonly Injected[] }
  readonly table: { all(): readonly Item[]; readonly changes: readonly Change[] }
  readonly issuers: {
    readonly history: readonly TrueEvent[]
    readonly issuers: ReadonlyMap<string, { readonly levers: ReadonlyMap<string, unknown> }>
    credentials(): readonly TrueCredential[]
    isAlive(issuer: string, credential: string): boolean
  }
  readonly journal: readonly Told[]
  readonly archived: ReadonlyMap<string, string>
  readonly announced: readonly { readonly type: string; readonly id: string; readonly subject: string }[]
  readonly logged: readonly string[]
  readonly sent: readonly Sent[]
  deadLetters(): readonly { readonly body: string }[]
}

/** What may be done only while nobody stopped it, and only by a case that is under way. */
const EFFECTS: ReadonlySet<TrueEvent['what']> = new Set(['cut', 'lied', 'contained', 'tidied'])
/** What the oracle sees step by step, and what must be true from the moment that it can be seen. */
export class Watch {
  readonly violations: string[] = []
  readonly schedule: Schedule
  readonly seen: Observed
  private changes = 0
  private events = 0
  /** Of each case: the steps at which it appeared, was fenced, was paused, and was last over. */
  readonly cases = new Map<string, Case>()
  readonly appeared = new Map<string, number>()
  readonly fenced = new Map<string, number>()
  private readonly paused = new Map<string, number>()
  readonly over = new Map<string, number>()
  private stopped: number | undefined
  readonly leases = new Map<string, Lease>()
  /** By `<issuer> <name>`: what happened last, and the cases that cut it, for which leases, since it lived last. */
  readonly last = new Map<string, TrueEvent['what']>()
  private readonly cutters = new Map<string, Set<string>>()
  /** Those that somebody brought back, and that were not seen dead since. */
  private readonly revived = new Set<string>()
  readonly names = new Map<string, number>()
  private readonly looksEverywhere: boolean

  constructor(seen: Observed) {
    const { schedule } = seen
    this.schedule = schedule
    this.seen = seen
    for (const index of schedule.world.leases.keys()) this.names.set(leaseId(schedule.world, index), index)
    // Every version of every item is a megabyte for a run: one run in four looks through all of it, the others at its end.
    this.looksEverywhere = schedule.seed % 4 === 0
  }

  wrong(what: string): void {
    if (this.violations.length < 40) this.violations.push(what)
  }

  onStep(): void {
    const { changes } = this.seen.table
    const { history } = this.seen.issuers
    // An effect at an issuer and a write are never one step, so their order within one does not matter.
    for (; this.events < history.length; this.events += 1) {
      const event = history[this.events]
      if (event !== undefined) this.happened(event)
    }
    for (; this.changes < changes.length; this.changes += 1) {
      const change = changes[this.changes]
      if (change !== undefined) this.changed(change)
    }
  }

  private changed({ before, after }: Change): void {
    if (after === undefined) return
    if (this.looksEverywhere) this.noSecret(`item ${after.pk} ${after.sk}`, JSON.stringify(after))
    if (after['kind'] === 'lease') this.changedLease(before === undefined ? undefined : as('lease', before), as('lease', after))
    else if (after['kind'] === 'case') this.changedCase(before === undefined ? undefined : as('case', before), as('case', after))
    else if (after['kind'] === 'control') {
      const control: Control = as('control', after)
      if (control.killSwitch === undefined && control.restored === undefined) this.stopped = undefined
      else this.stopped ??= this.seen.scheduler.steps
    }
  }

  credentialOf(lease: Pick<Lease, 'id' | 'issuer' | 'target'>): string {
    const place = this.names.get(lease.id)
    return place === undefined ? credentialMeant(lease.target) : credentialName(this.schedule.world, place)
  }

  private changedLease(before: Lease | undefined, after: Lease): void {
    this.leases.set(after.id, after)
    for (const [id, outcome] of Object.entries(after.outcomes)) {
      const known = before?.outcomes[id]
      if (known === outcome || (known?.outcome === outcome.outcome && known.at === outcome.at)) continue
      this.told(after, id, outcome)
    }
  }

  /** G4: an outcome is visible from here on, so it must be true from here on. */
  private told(lease: Lease, id: string, { outcome, evidence, at }: Outcome): void {
    const name = this.credentialOf(lease)
    const key = `${lease.issuer} ${name}`
    const planned = this.schedule.world.leases[this.names.get(lease.id) ?? -1]
    const about = `lease ${this.shown(lease)} in case ${id} (${evidence.said}) at ${at}`
    if (evidence.said === '') this.wrong(`G4 ${outcome} of ${about} rests on nothing`)
    switch (outcome) {
      case 'revoked':
      case 'absent': {
        const last = this.last.get(key)
        const alive = this.seen.issuers.isAlive(lease.issuer, name)
        // What an issuer called cut and cannot be asked after; and what somebody else brought back since.
        // So is what another case said before that, while a new cut has yet to spread.
        if (!alive) this.revived.delete(key)
        const spreads = last === 'cut' && this.revived.has(key) && evidence.by !== undefined && evidence.by !== id
        const excused =
          (last === 'lied' && this.providerOf(lease.issuer) === 'blunt') || last === 'lives' || last === 'restored' || spreads
        if (alive && !excused) this.wrong(`G4 ${outcome} is said of ${about}, and ${key} lives (last: ${last ?? 'nothing'})`)
        if (outcome === 'absent' && this.cutters.get(key)?.has(`${id} ${lease.id}`) === true)
          this.wrong(`G4 absent is said of ${about}, and this very case cut ${key}`)
        return
      }
      case 'released':
        if (lease.sharing === 'exclusive') this.wrong(`G2 released is said of ${about}, which nobody shares`)
        return
      case 'unsupported': {
        const exempt = [...this.leases.values()].some((one) => one.fingerprint === lease.fingerprint && this.isExempt(one))
        if (planned?.nature !== 'unsupported' && this.natureOf(key) !== 'unsupported' && !exempt)
          this.wrong(`G4 unsupported is said of ${about}, and it could be cut`)
        return
      }
      case 'observed':
        if (this.schedule.world.settings.modes === undefined && !this.schedule.operations.some(({ do: what }) => what === 'mode'))
          this.wrong(`G4 observed is said of ${about}, and nothing is only watched`)
        return
      case 'parked':
        return
    }
  }

  private changedCase(before: Case | undefined, after: Case): void {
    const { steps } = this.seen.scheduler
    const { id } = after
    this.cases.set(id, after)
    if (before === undefined) this.appeared.set(id, steps)
    if (after.fencedAt !== undefined && before?.fencedAt === undefined) this.fenced.set(id, steps)
    if (after.paused === undefined) this.paused.delete(id)
    else if (before?.paused === undefined) this.paused.set(id, steps)
    if (isOver(after) && !(before !== undefined && isOver(before))) this.over.set(id, steps)
    if (after.closedAt === undefined || before?.closedAt !== undefined || after.state === 'cancelled') return
    // G3: it says that each of its leases has a final outcome.
    for (const lease of this.leases.values()) {
      const unit = lease.claims[id]
      if (unit !== undefined && unit !== 'AMEND' && lease.outcomes[id] === undefined)
        this.wrong(`G3 case ${id} is closed, and lease ${this.shown(lease)}, which it counts, has no outcome in it`)
    }
  }

  private happened(event: TrueEvent): void {
    const { issuer, credential, what } = event
    if (credential !== undefined) {
      const key = `${issuer} ${credential}`
      this.last.set(key, what)
      if (what === 'lives' || what === 'restored') this.revived.add(key)
      if (what === 'cut') this.cutters.set(key, (this.cutters.get(key) ?? new Set()).add(`${event.case} ${event.lease}`))
      if (what === 'minted' || what === 'lives' || what === 'restored') this.cutters.delete(key)
      if (what === 'minted' || (what === 'lives' && !this.isResurrected(key))) this.cameAlive(key, event)
    }
    if (EFFECTS.has(what)) this.mayHappen(event)
  }

  /** G4: what a holder minted or renewed in time lives; nobody may have called it dead for good before, with no lease of it left. */
  private cameAlive(key: string, { what }: TrueEvent): void {
    const holders = [...this.leases.values()].filter((lease) => `${lease.issuer} ${this.credentialOf(lease)}` === key)
    if (holders.length === 0 || !holders.every(({ state }) => state === 'ended' || state === 'released')) return
    for (const lease of holders)
      if (lease.ended !== undefined)
        this.wrong(`G4 ${key} is ${what}, and lease ${this.shown(lease)} was called ${lease.ended.outcome} for good before`)
  }

  private isResurrected(key: string): boolean {
    const { world, operations } = this.schedule
    return operations.some(
      (one) =>
        one.do === 'resurrect' &&
        `${world.issuers[world.leases[one.lease]?.issuer ?? -1]?.name} ${credentialName(world, one.lease)}` === key,
    )
  }

  /** G9: nothing is done that somebody stopped, or that nobody let begin. */
  private mayHappen(event: TrueEvent): void {
    const { what, case: id = '', began = 0, issuer, credential, lever } = event
    const told = `${what} of ${credential ?? lever} at ${issuer} for case ${id}`
    if (this.stopped !== undefined && began > this.stopped) this.wrong(`G9 ${told} while the kill switch stands`)
    const paused = this.paused.get(id)
    if (paused !== undefined && began > paused) this.wrong(`G9 ${told}, which somebody paused`)
    const current = this.cases.get(id)
    if (current === undefined) this.wrong(`G9 ${told}, and there is no such case`)
    else if (current.state === 'held' || current.state === 'scheduled' || current.state === 'cancelled')
      this.wrong(`G9 ${told}, which is ${current.state}`)
    if (what === 'tidied')
      for (const lease of this.leases.values())
        if (lease.issuer === issuer && this.credentialOf(lease) === credential && ['live', 'restoring'].includes(lease.state))
          this.wrong(`G2 ${told}, and lease ${this.shown(lease)} is ${lease.state}`)
  }

  providerOf(issuer: string) {
    return this.schedule.world.issuers.find(({ name }) => name === issuer)?.provider
  }

  natureOf(key: string) {
    const { world } = this.schedule
    return world.leases.findLast(
      ({ issuer, nature }, index) =>
        nature !== undefined && `${world.issuers[issuer]?.name} ${credentialName(world, index)}` === key,
    )?.nature
  }

  isExempt({ identity }: Pick<Lease, 'identity'>): boolean {
    return this.schedule.world.identities[identityIndex(identity)]?.exempt === true
  }

  /** A lease as the world knows it. */
  shown(lease: Lease): string {
    const place = this.names.get(lease.id)
    return `${place === undefined ? 'found' : `#${place}`} (${this.credentialOf(lease)} of ${lease.identity.split('/').slice(-2).join('/')})`
  }

  noSecret(where: string, text: string): void {
    if (text.includes(MARKER))
      this.wrong(`G7 a secret stands in ${where}: ${text.slice(Math.max(0, text.indexOf(MARKER) - 60)).slice(0, 120)}`)
  }
}

const isOver = ({ closedAt, amendments }: Case): boolean => closedAt !== undefined && amendments.done === amendments.expected
