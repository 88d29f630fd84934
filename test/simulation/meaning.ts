import type { Mode, Modes } from '../../functions/contracts/mode.ts'
import type { CaseType } from '../../functions/contracts/primitives.ts'
import type { Case, Lease } from '../../functions/domain/model.ts'
import { eventId, leaseId, otherScope } from './clients.ts'
import { bareName, credentialMeant } from './issuers.ts'
import type { Told, TrueEvent } from './journal.ts'
import type { Operation, Schedule, Scope } from './schedule.ts'
import { credentialName, deploymentName, identityIndex, identityUri, OWNERS, taskName } from './world.ts'

/**
 * What was meant: which leases each trigger ends, and so which credentials must be dead and which must live. From the
 * schedule, from what clients asked and were told and when, and from the decisions that operators made; no word of how the
 * pipeline does it. Where two orders of what happened at the same time are both right, both are: `maybe`.
 */

export type Sure = 'yes' | 'maybe' | 'no'
export const and = (...all: readonly Sure[]): Sure => (all.includes('no') ? 'no' : all.includes('maybe') ? 'maybe' : 'yes')
export const or = (...all: readonly Sure[]): Sure => (all.includes('yes') ? 'yes' : all.includes('maybe') ? 'maybe' : 'no')

/** Steps between which something happened; `to` is infinite where nobody was told that it had. */
export interface Span {
  readonly from: number
  readonly to: number
}
const before = (one: Span, other: Span): boolean => one.to < other.from

/** An operation as its client saw it. */
export interface Doing extends Span {
  readonly place: number
  readonly operation: Operation
  /** `yes`: it was answered with success; `no`: it never began, or every attempt was refused. */
  readonly sure: Sure
  /** Virtual milliseconds of its first attempt. */
  readonly at: number
  readonly told: readonly Told[]
}
export type Done<Kind extends Operation['do']> = Doing & { readonly operation: Extract<Operation, { do: Kind }> }

/** A case and what it was asked for: by a trigger, or where the pipeline opened it by itself, as the case says. */
export interface Entry extends Span {
  readonly of: Case
  readonly type: CaseType
  readonly scope: Scope | { readonly kind: 'leases' }
  /** The sender of another namespace: no task or deployment of these worlds is its own. */
  readonly elsewhere: boolean
  /** The triggers that it came from; none where the pipeline opened it. */
  readonly triggers: readonly number[]
}

/** What is known when all is quiet. */
export interface Known {
  readonly schedule: Schedule
  readonly journal: readonly Told[]
  readonly history: readonly TrueEvent[]
  readonly leases: readonly Lease[]
  readonly cases: readonly Case[]
  /** Virtual milliseconds since 1970. */
  readonly now: number
  /** The steps at which each case appeared, was fenced, and was last over. */
  readonly appeared: ReadonlyMap<string, number>
  readonly fenced: ReadonlyMap<string, number>
  readonly over: ReadonlyMap<string, number>
}

/** Longer than anything takes when nothing is wrong any more, in milliseconds. */
const PATIENCE = 3_600_000

export class Meaning {
  readonly entries: readonly Entry[]
  readonly doings: readonly Doing[]
  private readonly known: Known
  private readonly reach = new Map<Entry, Map<string, Sure>>()
  private readonly places = new Map<string, number>()
  private readonly holdersOf = new Map<string, Lease[]>()
  /** Seconds in which nobody swept, in milliseconds. */
  private readonly outage: number
  private readonly modes: readonly Done<'mode'>[]
  private readonly reinstated: readonly Done<'reinstate'>[]
  private readonly moved: readonly Done<'move'>[]
  private readonly linked: readonly Done<'alias'>[]
  private readonly unlinked: readonly Done<'unalias'>[]
  private readonly asked: readonly Done<'restore'>[]
  private readonly gaveBack: readonly Done<'release'>[]

  constructor(known: Known) {
    this.known = known
    const { schedule, journal, leases } = known
    for (const index of schedule.world.leases.keys()) this.places.set(leaseId(schedule.world, index), index)
    for (const lease of leases) {
      const name = this.credentialOf(lease)
      this.holdersOf.set(name, [...(this.holdersOf.get(name) ?? []), lease])
    }
    const told = Map.groupBy(journal, ({ operation }) => operation)
    this.doings = schedule.operations.map((operation, place) => doing(operation, place, told.get(place) ?? []))
    this.modes = this.done('mode')
    this.reinstated = this.done('reinstate')
    this.moved = this.done('move')
    this.linked = this.done('alias')
    this.unlinked = this.done('unalias')
    this.asked = this.done('restore')
    this.gaveBack = this.done('release')
    this.outage = schedule.operations.reduce((sum, one) => sum + (one.do === 'stop-sweeper' ? one.seconds * 1000 : 0), 0)
    this.entries = known.cases.map((of) => this.entryOf(of))
  }

  /** Operations of a kind that happened, or may have. */
  done<Kind extends Operation['do']>(kind: Kind): Done<Kind>[] {
    return this.doings.filter((one): one is Done<Kind> => one.operation.do === kind && one.sure !== 'no')
  }

  /** The place of a lease in the world; `undefined` for what was found at an issuer. */
  placeOf(lease: Pick<Lease, 'id'>): number | undefined {
    return this.places.get(lease.id)
  }

  /** The credential that a lease was registered for: `<issuer> <name>`. */
  credentialOf(lease: Pick<Lease, 'id' | 'issuer' | 'target'>): string {
    const place = this.placeOf(lease)
    return `${lease.issuer} ${place === undefined ? credentialMeant(lease.target) : credentialName(this.known.schedule.world, place)}`
  }

  holders(credential: string): readonly Lease[] {
    return this.holdersOf.get(credential) ?? []
  }

  isExempt(lease: Pick<Lease, 'identity'>): boolean {
    return this.known.schedule.world.identities[identityIndex(lease.identity)]?.exempt === true
  }

  // ------------------------------------------------------------------------------------------------ what a case is for

  private entryOf(of: Case): Entry {
    const event = of.eventId.split('|').at(-1)
    const triggers = this.doings.filter(({ operation, place, told }) => {
      if (operation.do !== 'trigger' && operation.do !== 'forge' && operation.do !== 'replay') return false
      if (told.some((one) => one.case === of.id)) return true
      return of.source !== 'rescind' && event === eventId(operation.do === 'replay' ? operation.of : place)
    })
    const bodies = triggers.flatMap(({ operation }) => this.bodiesOf(operation))
    // Of two bodies under one id either may have come first: the case says which.
    const asked = bodies.length === 1 ? bodies[0] : (bodies.find((body) => isScope(body.scope, of)) ?? bodies[0])
    const appeared = this.known.appeared.get(of.id) ?? 0
    // What waited for its time or for a person begins whenever it begins.
    const waited = asked?.ahead === true || of.decisions.length > 0
    return {
      of,
      triggers: triggers.map(({ place }) => place),
      from: triggers.length === 0 ? appeared : Math.min(...triggers.map(({ from }) => from)),
      to: triggers.length === 0 || waited ? Number.POSITIVE_INFINITY : Math.min(...triggers.map(({ to }) => to)),
      type: asked?.type ?? of.type,
      scope: asked?.scope ?? this.ownScope(of),
      elsewhere: asked?.elsewhere ?? false,
    }
  }

  /** What an operation may have asked for, in its sender's name. */
  private bodiesOf(operation: Operation): { type: CaseType; scope: Scope; elsewhere: boolean; ahead: boolean }[] {
    if (operation.do === 'forge') return [{ type: operation.type, scope: operation.scope, elsewhere: false, ahead: false }]
    const of = operation.do === 'replay' ? this.known.schedule.operations[operation.of] : operation
    if (of?.do !== 'trigger') return []
    const scope =
      operation.do === 'replay' && operation.body === 'other' ? otherScope(this.known.schedule.world, of.scope) : of.scope
    return [{ type: of.type, scope, elsewhere: of.elsewhere === true, ahead: of.ahead !== undefined }]
  }

  /** The scope of a case that the pipeline opened by itself: a protected member, an orphan; what has run out. */
  private ownScope(of: Case): Entry['scope'] {
    return of.scope.kind === 'identity' ? { kind: 'identity', identity: identityIndex(of.scope.id) } : { kind: 'leases' }
  }

  /** Whether the case does what it is for. */
  acts({ of }: Entry): Sure {
    if (of.state === 'cancelled' || of.state === 'held' || of.state === 'scheduled') return 'no'
    return of.state === 'closed' || of.state === 'resurrected' ? 'yes' : 'maybe'
  }

  private overAt({ of }: Entry): number {
    return this.known.over.get(of.id) ?? Number.POSITIVE_INFINITY
  }

  // ------------------------------------------------------------------------------------------------------------- modes

  /** Whether a case of a type may cut a lease, from a step on. */
  private mayCut(type: CaseType, lease: Pick<Lease, 'issuer' | 'identity' | 'environment'>, from: number): Sure {
    const { world } = this.known.schedule
    const issuer = world.issuers.findIndex(({ name }) => name === lease.issuer)
    // Of an issuer that is not configured nobody knows the environment: then the rules without one decide.
    const away = lease.environment === undefined && this.isAway(lease.issuer)
    const environments = [lease.environment ?? world.issuers[issuer]?.environment, ...(away ? [undefined] : [])]
    const rules = environments.map((environment) => ruleFor(world.settings.modes, type, environment, lease.issuer))
    const own = this.modes.filter(({ operation }) => operation.issuer === issuer)
    const past = own.filter(({ to }) => to < from)
    const standing = past.filter((one) => one.sure === 'yes' && !past.some((other) => other.from > one.to))
    const certain = standing.length === 1 && past.every(({ sure }) => sure === 'yes')
    const possible: (Mode | undefined)[] = [
      ...(certain
        ? standing.map(({ operation }) => operation.mode)
        : [undefined, ...past.map(({ operation }) => operation.mode)]),
      ...own.filter(({ to }) => to >= from).map(({ operation }) => operation.mode),
    ]
    const restores = world.issuers[issuer]?.provider === 'sure'
    const may = possible.flatMap((mode) =>
      rules.map((rule) => {
        const effective = caution(rule) < caution(mode ?? 'enforce') ? rule : (mode ?? 'enforce')
        return effective === 'enforce' || (effective === 'contain' && restores)
      }),
    )
    return may.every((one) => one) ? 'yes' : may.some((one) => one) ? 'maybe' : 'no'
  }

  /** Whether an issuer is taken out of the configuration at some time. */
  private isAway(name: string): boolean {
    const { operations, world } = this.known.schedule
    return operations.some((one) => one.do === 'unconfigure' && world.issuers[one.issuer]?.name === name)
  }

  /** Whether anything could ever only be watched. */
  get watches(): boolean {
    return this.modes.length > 0 || this.known.schedule.world.settings.modes !== undefined
  }

  // ----------------------------------------------------------------------------------------------------------- reaching

  private areLinked(one: number, other: number): readonly Done<'alias'>[] {
    return this.linked.filter(({ operation: { identities } }) => identities.includes(one) && identities.includes(other))
  }

  private isLinked(index: number): boolean {
    return this.linked.some(({ operation: { identities } }) => identities.includes(index))
  }

  /** Whether a case reaches an identity, as what it names, as a member of a group, or under another name. */
  reaches(entry: Entry, index: number): Sure {
    const { identities } = this.known.schedule.world
    if (identities[index]?.exempt === true) return 'no'
    let found = this.names(entry, index)
    if (found === 'yes' || !['identity', 'owner', 'workload'].includes(entry.scope.kind)) return found
    for (const other of identities.keys()) {
      if (other === index) continue
      for (const link of this.areLinked(index, other)) {
        // An exempt name is left alone, and whoever is known under it alone is not found through it.
        const through = identities[other]?.exempt === true ? and('maybe', this.names(entry, other)) : this.names(entry, other)
        const linked: Sure =
          link.from > this.overAt(entry)
            ? 'no'
            : link.sure === 'yes' && before(link, entry) && this.unlinked.length === 0
              ? 'yes'
              : 'maybe'
        found = or(found, and(through, linked))
      }
    }
    return found
  }

  private names({ scope, type, of }: Entry, index: number): Sure {
    const planned = this.known.schedule.world.identities[index]
    if (planned === undefined) return 'no'
    if (scope.kind === 'identity') return scope.identity === index ? 'yes' : 'no'
    if (scope.kind !== 'owner' && scope.kind !== 'workload') return 'no'
    // All names of one workload move together.
    const isMeant = (identity: number) => identity === index || this.areLinked(identity, index).length > 0
    const moves = [
      ...this.moved.filter(({ operation }) => isMeant(operation.identity)),
      ...(scope.kind === 'owner'
        ? this.reinstated.filter(({ operation }) => isMeant(operation.identity) && operation.owner !== undefined)
        : []),
    ]
    const member = scope.kind === 'owner' ? planned.owner === scope.owner : planned.workload
    if (!member && moves.length === 0) return 'no'
    if (type === 'offboarding' && scope.kind === 'owner' && planned.ownerLeaves === 'reassign') return 'no'
    // A protected member gets a case of its own; under another name it may have come under protection.
    const linked = this.isLinked(index)
    const guarded = of.type !== 'compromise' && (planned.protected || linked)
    if (guarded && !linked) return 'no'
    return guarded || moves.length > 0 ? 'maybe' : 'yes'
  }

  /** When a lease was registered. What was found at an issuer was there before. */
  registration(lease: Pick<Lease, 'id'>): Span & { readonly sure: Sure } {
    const place = this.placeOf(lease)
    const found = this.doings.filter(({ operation }) => operation.do === 'register' && operation.lease === place)
    if (place === undefined || found.length === 0) return { from: 0, to: Number.POSITIVE_INFINITY, sure: 'maybe' }
    return {
      from: Math.min(...found.map(({ from }) => from)),
      to: Math.min(...found.map(({ to }) => to)),
      sure: or(...found.map(({ sure }) => sure)),
    }
  }

  /** Whether the lease is of the case's epoch, or of an earlier one. */
  private epoch(entry: Entry, lease: Lease): Sure {
    const index = identityIndex(lease.identity)
    const attempts = this.reinstated.filter(
      ({ operation: { identity } }) => identity === index || this.areLinked(identity, index).length > 0,
    )
    const span = this.registration(lease)
    if (attempts.every((one) => before(span, one) || before(one, entry)) || before(span, entry)) return 'yes'
    const fenced = this.known.fenced.get(entry.of.id) ?? Number.POSITIVE_INFINITY
    const old = attempts.some(
      (one) => one.sure === 'yes' && one.operation.identity === index && fenced < one.from && before(one, span),
    )
    // A group's case, or one that came to it under another name, may have fenced this identity later.
    return old && entry.scope.kind === 'identity' && entry.scope.identity === index ? 'no' : 'maybe'
  }

  /** The leases that a case ends: those of its scope, what was delegated from them; in a compromise who shares their credentials. */
  reachOf(entry: Entry): ReadonlyMap<string, Sure> {
    const known = this.reach.get(entry)
    if (known !== undefined) return known
    const reached = new Map<string, Sure>()
    for (const lease of this.known.leases) {
      if (this.isExempt(lease)) continue
      const sure = this.covers(entry, lease)
      if (sure !== 'no') reached.set(lease.id, sure)
    }
    this.spread(reached, entry.type === 'compromise')
    this.reach.set(entry, reached)
    return reached
  }

  private covers(entry: Entry, lease: Lease): Sure {
    const { scope } = entry
    const { world } = this.known.schedule
    switch (scope.kind) {
      case 'leases':
        return 'no'
      case 'task':
        return !entry.elsewhere && lease.task?.id === taskName(scope.task) && lease.task.namespace === 'ci' ? 'yes' : 'no'
      case 'deployment':
        return lease.deployment?.id === deploymentName(scope.deployment) && lease.deployment.namespace === 'deploy' ? 'yes' : 'no'
      case 'credential': {
        const planned = world.leases[scope.lease]
        const name = credentialName(world, scope.lease)
        const [, own = ''] = this.credentialOf(lease).split(' ')
        if (bareName(own) !== name) return 'no'
        if (world.issuers[planned?.issuer ?? -1]?.name === lease.issuer && scope.named !== 'anywhere') return 'yes'
        // A text in hand is read for the issuers that are configured then.
        return scope.named !== 'anywhere' ? 'no' : this.isAway(lease.issuer) ? 'maybe' : 'yes'
      }
      default:
        return and(this.reaches(entry, identityIndex(lease.identity)), this.epoch(entry, lease))
    }
  }

  private spread(reached: Map<string, Sure>, cuts: boolean): void {
    for (let grown = true; grown; ) {
      grown = false
      for (const lease of this.known.leases) {
        if (this.isExempt(lease)) continue
        const had = reached.get(lease.id) ?? 'no'
        if (had === 'yes') continue
        const parent = reached.get(lease.parent ?? '') ?? 'no'
        const credential = this.credentialOf(lease)
        const others = cuts ? this.holders(credential).map(({ id }) => reached.get(id) ?? 'no') : []
        // Nobody is hit who holds what is spared for an exempt holder's sake: there is no bystander to name.
        const bystander = and(or('no', ...others), this.withExempt(credential) ? 'maybe' : 'yes')
        const now = or(had, parent, bystander)
        if (now === had) continue
        reached.set(lease.id, now)
        grown = true
      }
    }
  }

  /** Whether an exempt identity ever held the credential: then it is a question of time who is spared. */
  withExempt(credential: string): boolean {
    return this.holders(credential).some((lease) => this.isExempt(lease))
  }

  // -------------------------------------------------------------------------------------------------------- what is undone

  /** Whether a restoration may concern a lease: a shared credential comes back to all who held it. */
  private concerns({ operation: { what } }: Done<'restore'>, lease: Lease): boolean {
    const same = lease.sharing === 'shared' ? this.holders(this.credentialOf(lease)) : [lease]
    return same.some((one) => {
      if (what.kind === 'lease') return this.placeOf(one) === what.lease
      if (what.kind === 'case') return true
      const mine = identityIndex(one.identity)
      return mine === what.identity || this.areLinked(mine, what.identity).length > 0
    })
  }

  /** Whether a restoration may have undone what ended a lease. */
  undone(lease: Lease, by: { readonly type: CaseType; readonly from: number }): boolean {
    return this.asked.some(
      (asked) => by.from <= asked.to && this.concerns(asked, lease) && (by.type !== 'compromise' || asked.operation.undoes),
    )
  }

  // ----------------------------------------------------------------------------------------------------------- what ends

  /** Whether the case ends the lease, and nobody may have undone that. */
  ends(entry: Entry, lease: Lease): Sure {
    const reached = this.reachOf(entry).get(lease.id) ?? 'no'
    const sure = and(this.acts(entry), reached, this.mayCut(entry.type, lease, entry.from))
    if (sure !== 'yes') return sure
    // Nor does a compromise cut a credential while another one holds it who may only be watched.
    const spared =
      entry.type === 'compromise' &&
      (this.withExempt(this.credentialOf(lease)) ||
        this.holders(this.credentialOf(lease)).some((one) => this.mayCut(entry.type, one, entry.from) !== 'yes'))
    return spared || this.undone(lease, entry) ? 'maybe' : 'yes'
  }

  /** Cases that are not over because somebody holds them: what they have taken waits with them. */
  get stopped(): boolean {
    return this.known.cases.some(
      ({ state, paused }) => paused !== undefined || !['closed', 'cancelled', 'held', 'scheduled'].includes(state),
    )
  }

  /** Whether its own time, its holder, or its registrar's silence ended it. */
  private endsByItself(lease: Lease): Sure {
    if (this.isExempt(lease)) return lease.acknowledged ? 'no' : 'maybe'
    const { now } = this.known
    const cut = and(this.mayCut('expired', lease, 0), this.stopped ? 'maybe' : 'yes')
    const found: Sure[] = []
    const restored = this.undone(lease, { type: 'expired', from: 0 })
    const past = (moment: number): Sure =>
      now <= moment ? 'no' : now - moment > 2 * this.outage + PATIENCE ? cut : and(cut, 'maybe')
    // The grace of an outage counts from the expiry; a lease that has run out may have been renewed by then.
    found.push(past(Date.parse(lease.graceUntil ?? lease.expiresAt)), past(Date.parse(lease.expiresAt)))
    for (const { sure, operation } of this.gaveBack)
      if (operation.lease === this.placeOf(lease)) found.push(and(cut, sure, restored ? 'maybe' : 'yes'))
    if (!lease.acknowledged && this.placeOf(lease) !== undefined)
      // What came too late for a case that may only watch it is left until its expiry.
      found.push(and(past(Date.parse(lease.registerBy)), restored || this.watches ? 'maybe' : 'yes'))
    if (!lease.acknowledged && this.placeOf(lease) === undefined) found.push('maybe')
    return or('no', ...found)
  }

  /** Whether its time was over, or that of what it was delegated from, whatever was allowed. */
  private hasRunOut(id: string): boolean {
    const lease = this.known.leases.find((one) => one.id === id)
    if (lease === undefined) return false
    const gaveBack = this.gaveBack.some(({ operation }) => operation.lease === this.placeOf(lease))
    if (gaveBack || !lease.acknowledged || Date.parse(lease.expiresAt) < this.known.now) return true
    return lease.parent !== undefined && this.hasRunOut(lease.parent)
  }

  private ended: ReadonlyMap<string, Sure> | undefined
  /** Of each lease, whether it must have ended. */
  status(): ReadonlyMap<string, Sure> {
    if (this.ended !== undefined) return this.ended
    const { leases } = this.known
    const ended = new Map(leases.map((lease) => [lease.id, this.endsByItself(lease)]))
    // What was delegated from what ended by itself ends with it.
    const delegated = new Map([...ended].filter(([, sure]) => sure !== 'no'))
    this.spread(delegated, false)
    for (const lease of leases) {
      const through = and(delegated.get(lease.id) ?? 'no', this.mayCut('expired', lease, 0))
      const own = ended.get(lease.id) ?? 'no'
      const undone = this.undone(lease, { type: 'expired', from: 0 })
      // What was delegated from what ran out and was only watched itself is covered where more is allowed.
      const watched = this.watches && lease.parent !== undefined && this.hasRunOut(lease.parent)
      const below: Sure = watched ? and('maybe', this.mayCut('expired', lease, 0)) : 'no'
      const child: Sure = or(below, through === 'yes' && own !== 'yes' && undone ? 'maybe' : through)
      ended.set(lease.id, or(own, child, ...this.entries.map((entry) => this.ends(entry, lease))))
    }
    this.ended = ended
    return ended
  }

  /** What the true state of a credential must be. */
  verdict(credential: string): 'dead' | 'live' | 'either' {
    const holders = this.holders(credential)
    // Named by a compromise, it may have been found at its issuer and not be recorded yet.
    if (holders.length === 0) return 'live'
    const status = this.status()
    const cut = or(
      'no',
      ...this.entries
        .filter(({ type }) => type === 'compromise')
        .flatMap((entry) => holders.map((lease) => this.ends(entry, lease))),
    )
    const ended = and('yes', ...holders.map(({ id }) => status.get(id) ?? 'no'))
    if (cut === 'yes' || ended === 'yes') return 'dead'
    // Who came when it was being cut has no place at it, and keeps it from nothing.
    const placed = holders.filter(({ unheld }) => unheld !== true)
    if (placed.length > 0 && and('yes', ...placed.map(({ id }) => status.get(id) ?? 'no')) !== 'no') return 'either'
    return cut === 'no' && ended === 'no' ? 'live' : 'either'
  }
}

/** Whether a case names what a trigger asked for. */
function isScope(scope: Scope, { scope: named }: Case): boolean {
  switch (scope.kind) {
    case 'identity':
      return named.kind === 'identity' && named.id === identityUri(scope.identity)
    case 'owner':
      return named.kind === 'owner' && named.id === OWNERS[scope.owner]
    case 'task':
      return named.kind === 'task' && named.id === taskName(scope.task)
    case 'deployment':
      return named.kind === 'deployment' && named.id === deploymentName(scope.deployment)
    default:
      return named.kind === scope.kind
  }
}

function doing(operation: Operation, place: number, all: readonly Told[]): Doing {
  // A link is proposed first; only the approval, which names it, is one.
  const told = operation.do === 'alias' ? all.filter(({ id }) => id !== undefined) : all
  const ok = told.filter(({ status }) => status === 'ok')
  const open = told.some(({ to, status }) => to === undefined || status === 'lost')
  return {
    place,
    operation,
    told,
    sure: ok.length > 0 ? 'yes' : open ? 'maybe' : 'no',
    from: Math.min(Number.POSITIVE_INFINITY, ...told.map(({ from }) => from.step)),
    // With the first success it has happened; attempts that got no answer may still be under way.
    to: ok.length > 0 ? Math.min(...ok.map(({ to }) => to?.step ?? Number.POSITIVE_INFINITY)) : Number.POSITIVE_INFINITY,
    at: Math.min(Number.POSITIVE_INFINITY, ...told.map(({ from }) => from.at)),
  }
}

const caution = (mode: Mode): number => ['observe', 'contain', 'enforce'].indexOf(mode)

function ruleFor(modes: Modes | undefined, type: CaseType, environment: string | undefined, issuer: string): Mode {
  const fits = modes?.rules.find(
    (rule) =>
      (rule.trigger === undefined || rule.trigger === type) &&
      (rule.environment === undefined || rule.environment === environment) &&
      (rule.issuer === undefined || rule.issuer === issuer),
  )
  return fits?.mode ?? modes?.default ?? 'enforce'
}
