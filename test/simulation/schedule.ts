import type { Mode } from '../../functions/contracts/mode.ts'
import type { TriggerType } from '../../functions/contracts/primitives.ts'
import type { FaultProfile } from './faults.ts'
import { faultProfile } from './faults.ts'
import type { Outage } from './issuers.ts'
import { Prng } from './prng.ts'
import type { Theme, World } from './world.ts'
import { themesOf, worldOf } from './world.ts'

/** What a trigger names; leases, identities, tasks by their places in the world. */
export type Scope =
  | { readonly kind: 'identity'; readonly identity: number }
  | { readonly kind: 'owner'; readonly owner: number }
  | { readonly kind: 'workload' }
  | { readonly kind: 'task'; readonly task: number }
  | { readonly kind: 'deployment'; readonly deployment: number }
  /** The credential of a lease, by its fingerprint, or as text in hand (`named`; at its issuer, or wherever it is known). */
  | { readonly kind: 'credential'; readonly lease: number; readonly named?: 'here' | 'anywhere' }

/**
 * Something that somebody does at a virtual time. What it rests on may be gone in a schedule that was made shorter: then it
 * does nothing. `of` is the place of an earlier operation.
 */
export type Operation = { readonly at: number } & (
  | {
      readonly do: 'register'
      readonly lease: number
      /** Attempts of a client that gets no answer; the credential is minted `early` milliseconds before the first. */
      readonly tries: number
      readonly early: number
    }
  /** The same idempotency key with another body. */
  | { readonly do: 'register-otherwise'; readonly lease: number }
  /** `revives`: the renewal at the issuer brings the credential to life, so many seconds later. */
  | { readonly do: 'renew'; readonly lease: number; readonly seconds: number; readonly revives?: number }
  | { readonly do: 'release'; readonly lease: number }
  | {
      readonly do: 'trigger'
      readonly type: TriggerType
      readonly scope: Scope
      /** Sent so many times by its sender, answered or not. */
      readonly copies: number
      /** Scheduled so many seconds ahead. */
      readonly ahead?: number
      readonly campaign?: true
      /** The sender of the other namespace: its tasks are others. */
      readonly elsewhere?: true
    }
  /** The same event once more, or another one under its id. */
  | { readonly do: 'replay'; readonly of: number; readonly body: 'same' | 'other' }
  | {
      readonly do: 'forge'
      readonly how: 'signature' | 'source' | 'right' | 'body' | 'stale'
      readonly type: TriggerType
      readonly scope: Scope
      /** The genuine event of the same id: sent before, after, or never. */
      readonly genuine: 'before' | 'after' | 'never'
    }
  /** Bodies that no schema fits. */
  | { readonly do: 'garbage'; readonly queue?: string }
  | {
      readonly do: 'decide'
      /** A trigger: its case is meant. */
      readonly of: number
      readonly what: 'hold' | 'approve' | 'reject' | 'cancel'
      readonly about?: 'deletion'
      readonly operator: number
    }
  /** All campaigns that wait. */
  | { readonly do: 'decide-campaigns'; readonly what: 'approve' | 'reject' }
  | { readonly do: 'reinstate'; readonly identity: number; readonly owner?: number }
  | { readonly do: 'reinstate-group'; readonly scope: Extract<Scope, { kind: 'owner' | 'workload' }> }
  | { readonly do: 'move'; readonly identity: number; readonly owner?: number; readonly workload?: boolean }
  | { readonly do: 'alias'; readonly identities: readonly [number, number] }
  | { readonly do: 'unalias'; readonly identity: number }
  | {
      readonly do: 'restore'
      readonly what:
        | { readonly kind: 'lease'; readonly lease: number }
        | { readonly kind: 'identity'; readonly identity: number }
        | { readonly kind: 'case'; readonly of: number }
      readonly undoes: boolean
    }
  | { readonly do: 'kill-switch'; readonly engaged: boolean }
  | { readonly do: 'mode'; readonly issuer: number; readonly mode: Mode }
  /** The issuer's configuration is taken away for so many seconds. */
  | { readonly do: 'unconfigure'; readonly issuer: number; readonly seconds: number }
  | { readonly do: 'outage'; readonly issuer: number; readonly kind: Outage; readonly seconds: number }
  /** Somebody else brings it back to life, or ends it. */
  | { readonly do: 'resurrect'; readonly lease: number }
  | { readonly do: 'end-elsewhere'; readonly lease: number }
  /** Somebody else deletes it and makes another one of its name. */
  | { readonly do: 'replace'; readonly lease: number }
  /** Nobody sweeps for so many seconds. */
  | { readonly do: 'stop-sweeper'; readonly seconds: number }
)

export interface Schedule {
  readonly seed: number
  readonly world: World
  /** In the order of their times. */
  readonly operations: readonly Operation[]
  readonly faults: FaultProfile
  /** Operators decide in the end about all that still waits for them. */
  readonly decides: boolean
  /** The calm at the end lasts until orphans meet their deadline. */
  readonly patient: boolean
}

/** What goes wrong at issuers: how likely each time, and how often at most. */
export const ISSUER_FAULTS = {
  'issuer-retry': [0.05, 6],
  'issuer-retry-unknown': [0.08, 6],
  'issuer-throttled': [0.05, 6],
  'issuer-unavailable': [0.05, 6],
  'issuer-refused': [0.03, 3],
  'issuer-answer-lost': [0.08, 6],
  'issuer-lies': [0.05, 3],
  'issuer-slow': [0.03, 4],
  'issuer-throws': [0.04, 4],
  'issuer-unsure': [0.05, 5],
} as const

const KINDS: Readonly<Record<TriggerType, readonly Scope['kind'][]>> = {
  offboarding: ['identity', 'identity', 'owner', 'workload'],
  compromise: ['identity', 'identity', 'credential', 'owner', 'workload'],
  decommission: ['deployment', 'workload'],
  'task-complete': ['task'],
}
const TYPES: readonly [TriggerType, ...TriggerType[]] = [
  'compromise',
  'offboarding',
  'task-complete',
  'decommission',
  'compromise',
]

/** Virtual milliseconds of a schedule, before the calm at its end. */
const SPAN = 600_000

/**
 * Everything that a seed means. The same seed gives the same schedule for ever, as long as nobody changes this file.
 *
 * @param about themes that it has beside its own
 */
export function scheduleOf(seed: number, about: readonly Theme[] = []): Schedule {
  const draws = new Prng(seed, 'schedule')
  const themes = new Set([...themesOf(draws), ...about])
  const big = draws.chance(0.003)
  const made = worldOf(draws, themes, big)
  // Most worlds are so small that they would always be listed at once: shard by shard must be seen as well.
  const atOnce = new Prng(seed, 'planner').pick([0, 0, 1, 100, 100])
  const { providers, settings } = made
  // Whether the queues of the provider that can be asked keep order; the other one's is drawn with its world.
  const serial = new Prng(seed, 'serial').chance(0.3)
  const world: World = {
    ...made,
    settings: { ...settings, atOnce },
    providers: { ...providers, sure: { ...providers.sure, serial } },
  }
  const maker = new Maker(draws, themes, world)
  const operations = big ? maker.crowd() : maker.usual()
  return {
    seed,
    world,
    operations,
    faults: faultProfile(new Prng(seed, 'faults'), ISSUER_FAULTS),
    decides: draws.chance(0.7),
    patient: themes.has('groups') && draws.chance(0.3),
  }
}

class Maker {
  private readonly draws: Prng
  private readonly themes: ReadonlySet<Theme>
  private readonly world: World
  private readonly made: Operation[] = []
  /** Leases come while the first trigger is carried out. */
  private rushing = false
  /** Moments at which things happen at once. */
  private readonly moments: readonly [number, ...number[]]

  constructor(draws: Prng, themes: ReadonlySet<Theme>, world: World) {
    this.draws = draws
    this.themes = themes
    this.world = world
    const span = draws.pick([2000, 60_000, 60_000, SPAN, SPAN])
    const count = draws.between(1, 5)
    this.moments = [0, ...Array.from({ length: count }, () => draws.between(1, span))]
  }

  private when(): number {
    const moment = this.draws.pick(this.moments)
    return this.draws.chance(0.6) ? moment : moment + this.draws.pick([1, 50, 900, 5000, 30_000])
  }

  usual(): Operation[] {
    const { draws, world } = this
    // Some leases are there before anything else happens; the others come whenever they come.
    this.rushing = draws.chance(this.themes.has('rush') ? 0.9 : 0.3)
    const early = draws.chance(0.75)
    if (!this.rushing)
      for (const [lease] of world.leases.entries())
        this.register(lease, early && draws.chance(0.8) ? draws.below(3) : this.when())
    const triggers = draws.chance(0.06) ? 0 : draws.between(1, 3)
    for (let count = triggers; count > 0; count -= 1) this.trigger()
    if (this.rushing) this.rush()
    for (const theme of this.themes) for (let count = draws.between(1, 2); count > 0; count -= 1) this.act(theme)
    if (draws.chance(0.15)) this.act('renewals')
    if (draws.chance(0.15)) this.act('returns')
    if (draws.chance(0.1)) this.act('replays')
    return this.ordered()
  }

  /** Who comes while a case is planned and carried out: its fence, its scan, its cuts each take a moment. */
  private rush(): void {
    const { draws, world } = this
    const begins = this.made[0]?.at ?? 0
    const lasts = draws.pick([300, 2000, 8000])
    for (const [lease] of world.leases.entries()) {
      // Parents are there before their children.
      const settled = lease < world.leases.length / 2 && draws.chance(0.8)
      this.register(lease, settled ? draws.below(3) : Math.max(0, begins - 200 + draws.below(lasts)))
    }
  }

  /** Above a hundred leases of one identity: more than one chunk, shard and page. */
  crowd(): Operation[] {
    for (const [lease] of this.world.leases.entries()) this.register(lease, lease % 7)
    this.made.push({
      at: 20_000,
      do: 'trigger',
      type: this.draws.pick(['compromise', 'offboarding']),
      scope: { kind: 'identity', identity: 0 },
      copies: 1,
    })
    this.trigger()
    return this.ordered()
  }

  private ordered(): Operation[] {
    // `of` names what is made, not what is sorted: it is looked up anew.
    const sorted = this.made
      .map((operation, place) => ({ operation, place }))
      .sort((one, other) => one.operation.at - other.operation.at || one.place - other.place)
    const places = new Map(sorted.map(({ place }, index) => [place, index]))
    return sorted.map(({ operation }) => {
      if (operation.do === 'restore' && operation.what.kind === 'case')
        return { ...operation, what: { kind: 'case', of: places.get(operation.what.of) ?? 0 } }
      if ('of' in operation) return { ...operation, of: places.get(operation.of) ?? 0 }
      return operation
    })
  }

  private register(lease: number, at: number): void {
    const { draws, world } = this
    const intent = world.leases[lease]?.registers === 'intent'
    // Nobody delegates what he does not have yet: most children come when their parents can have been acknowledged.
    const parent = world.leases[lease]?.parent
    const first = this.made.find((operation) => operation.do === 'register' && operation.lease === parent)
    const soonest = first === undefined || draws.chance(0.2) ? 0 : first.at + draws.pick([200, 3000, 12_000])
    this.made.push({
      at: Math.max(at, soonest),
      do: 'register',
      lease,
      tries: draws.pick([1, 2, 5]),
      early: intent || draws.chance(0.7) ? 0 : draws.between(1, 20_000),
    })
  }

  /** It is registered then, and not before. */
  private later(lease: number, at: number): void {
    for (const [place, operation] of this.made.entries())
      if (operation.do === 'register' && operation.lease === lease) this.made[place] = { ...operation, at }
  }

  /** About the time at which a lease runs out: the sweeper comes by each minute. */
  private expiry(lease: number): number {
    const { draws, world } = this
    const registered = this.made.find((operation) => operation.do === 'register' && operation.lease === lease)
    const ends = (registered?.at ?? 0) + (world.leases[lease]?.lifeSeconds ?? 0) * 1000
    if (draws.chance(0.4)) return ends + draws.between(-3000, 75_000)
    return Math.ceil(ends / 60_000) * 60_000 + draws.pick([0, 0, 1, 20, 500, 3000])
  }

  private scope(kind: Scope['kind']): Scope {
    const { draws, world } = this
    // A trigger that meets nobody shows little: most name what some lease hangs on, in a rush one that comes with it.
    const first = this.rushing ? Math.floor(world.leases.length / 2) : 0
    const met = draws.chance(0.8) ? world.leases[draws.between(first, world.leases.length - 1)] : undefined
    switch (kind) {
      case 'identity':
        return { kind, identity: met?.identity ?? draws.below(world.identities.length) }
      case 'owner':
        return { kind, owner: draws.below(2) }
      case 'workload':
        return { kind }
      case 'task':
        return { kind, task: met?.task ?? draws.below(2) }
      case 'deployment':
        return { kind, deployment: met?.deployment ?? draws.below(2) }
      case 'credential': {
        const named = this.themes.has('names') && draws.chance(0.8) ? draws.pick(['here', 'anywhere'] as const) : undefined
        return { kind, lease: draws.below(world.leases.length), ...(named === undefined ? {} : { named }) }
      }
    }
  }

  private kindOf(type: TriggerType): Scope['kind'] {
    if (type === 'compromise' && this.themes.has('names') && this.draws.chance(0.7)) return 'credential'
    if (this.themes.has('groups') && type !== 'task-complete' && this.draws.chance(0.6))
      return type === 'decommission' ? 'workload' : this.draws.pick(['owner', 'workload'] as const)
    const kinds = KINDS[type]
    return kinds[this.draws.below(kinds.length)] ?? 'identity'
  }

  private type(): TriggerType {
    const { draws, themes } = this
    if ((themes.has('tasks') || themes.has('batches')) && draws.chance(0.5)) return 'task-complete'
    if (themes.has('deployments') && draws.chance(0.5)) return 'decommission'
    if (themes.has('names') && draws.chance(0.6)) return 'compromise'
    if ((themes.has('holds') || themes.has('schedule') || themes.has('protected')) && draws.chance(0.5)) return 'offboarding'
    return draws.pick(TYPES)
  }

  /** @returns its place among those that are made */
  private trigger(type = this.type(), at = this.when()): number {
    const { draws, themes } = this
    const lifecycle = type !== 'compromise'
    const ahead = lifecycle && draws.chance(themes.has('schedule') ? 0.6 : 0.04)
    this.made.push({
      at,
      do: 'trigger',
      type,
      scope: this.scope(this.kindOf(type)),
      copies: draws.chance(0.25) ? 2 : 1,
      ...(ahead ? { ahead: draws.between(30, 500) } : {}),
      ...(!lifecycle && themes.has('campaigns') && draws.chance(0.8) ? { campaign: true } : {}),
      ...(type === 'task-complete' && draws.chance(0.1) ? { elsewhere: true } : {}),
    })
    return this.made.length - 1
  }

  /** A trigger that was made, or a new one. */
  private some(): number {
    const found = this.made.flatMap(({ do: what }, place) => (what === 'trigger' ? [place] : []))
    return found.length === 0 ? this.trigger() : (found[this.draws.below(found.length)] ?? 0)
  }

  private after(place: number): number {
    return (this.made[place]?.at ?? 0) + this.draws.pick([0, 1, 20, 1000, 20_000, 90_000, 300_000])
  }

  private decide(of: number, what: 'hold' | 'approve' | 'reject' | 'cancel', at = this.after(of), about?: 'deletion'): void {
    this.made.push({ at, do: 'decide', of, what, operator: this.draws.below(2), ...(about === undefined ? {} : { about }) })
  }

  private act(theme: Theme): void {
    const { draws, world } = this
    const lease = draws.below(world.leases.length)
    const identity = draws.below(world.identities.length)
    const issuer = draws.below(world.issuers.length)
    switch (theme) {
      case 'shared':
      case 'children':
      case 'intents':
      case 'expiry':
      case 'levers':
      case 'rush':
      case 'natures':
      case 'exempt':
      case 'fuse':
        if (theme === 'fuse' && draws.chance(0.7))
          this.made.push({ at: this.when() + 30_000, do: 'decide-campaigns', what: draws.pick(['approve', 'approve', 'reject']) })
        else if (draws.chance(0.3)) this.trigger()
        return
      case 'tasks':
      case 'batches':
        this.trigger('task-complete')
        return
      case 'deployments':
        this.trigger('decommission')
        return
      case 'groups':
        if (draws.chance(0.3))
          this.made.push({
            at: this.after(this.some()),
            do: 'reinstate-group',
            scope: draws.chance(0.5) ? { kind: 'owner', owner: draws.below(2) } : { kind: 'workload' },
          })
        else this.trigger(draws.pick(['offboarding', 'compromise', 'decommission']))
        return
      case 'restore': {
        const of = this.some()
        this.made.push({
          at: this.after(of) + draws.pick([0, 5000, 60_000]),
          do: 'restore',
          what: draws.pick([
            { kind: 'lease', lease },
            { kind: 'identity', identity },
            { kind: 'case', of },
          ]),
          undoes: draws.chance(0.7),
        })
        return
      }
      case 'reinstate': {
        const of = this.some()
        const left = this.made[of]
        const named = left?.do === 'trigger' && left.scope.kind === 'identity' ? left.scope.identity : identity
        const at = this.after(of)
        this.made.push({ at, do: 'reinstate', identity: named, ...(draws.chance(0.4) ? { owner: draws.between(0, 2) } : {}) })
        // Who is back gets new leases, and may leave again.
        for (const [later, planned] of world.leases.entries())
          if (planned.identity === named && draws.chance(0.4)) this.later(later, at + draws.pick([0, 1000, 5000, 40_000]))
        if (draws.chance(0.5)) this.trigger(this.type(), at + draws.pick([0, 1000, 60_000]))
        return
      }
      case 'moves':
        this.made.push({
          at: draws.chance(0.5) ? this.when() : this.after(this.some()),
          do: 'move',
          identity,
          ...(draws.chance(0.6) ? { owner: draws.between(0, 2) } : { workload: draws.chance(0.5) }),
        })
        return
      case 'aliases':
        if (world.identities.length < 2) return
        if (draws.chance(0.25)) this.made.push({ at: this.when(), do: 'unalias', identity: draws.below(2) })
        else this.made.push({ at: draws.chance(0.5) ? 10 : this.when(), do: 'alias', identities: [0, 1] })
        return
      case 'holds': {
        const of = this.some()
        const at = this.after(of)
        this.decide(of, 'hold', at)
        if (draws.chance(0.8))
          this.decide(of, draws.pick(['approve', 'approve', 'reject', 'cancel']), at + draws.pick([0, 1000, 100_000]))
        return
      }
      case 'protected':
      case 'schedule': {
        const of = this.some()
        this.decide(of, draws.pick(['approve', 'cancel', 'reject', 'hold']))
        return
      }
      case 'campaigns':
        if (draws.chance(0.5))
          this.made.push({ at: this.when() + 1000, do: 'decide-campaigns', what: draws.pick(['approve', 'reject']) })
        else this.decide(this.trigger('compromise'), draws.pick(['approve', 'reject']), this.when() + 1000, 'deletion')
        return
      case 'modes':
        this.made.push({
          at: draws.chance(0.5) ? 0 : this.when(),
          do: 'mode',
          issuer,
          mode: draws.pick(['observe', 'contain', 'enforce'] as const),
        })
        return
      case 'kill-switch': {
        const at = this.when()
        this.made.push({ at, do: 'kill-switch', engaged: true })
        if (draws.chance(0.8)) this.made.push({ at: at + draws.pick([1, 5000, 200_000]), do: 'kill-switch', engaged: false })
        return
      }
      case 'configuration':
        this.made.push({ at: this.when(), do: 'unconfigure', issuer, seconds: draws.pick([1, 60, 400, 2000]) })
        return
      case 'outages':
        this.made.push({
          at: this.when(),
          do: 'outage',
          issuer,
          kind: draws.pick(['unavailable', 'unavailable', 'refused', 'slow'] as const),
          seconds: draws.pick([2, 60, 600, 7200]),
        })
        return
      case 'renewals': {
        const brief = world.leases.flatMap(({ lifeSeconds }, place) => (lifeSeconds < 2000 ? [place] : []))
        const late = draws.chance(0.5) ? brief[draws.below(brief.length)] : undefined
        this.made.push({
          at: late === undefined ? this.when() : this.expiry(late),
          do: 'renew',
          lease: late ?? lease,
          seconds: draws.pick([400, 3000, 30 * 86_400]),
          ...(draws.chance(0.4) ? { revives: draws.between(0, 40) } : {}),
        })
        return
      }
      case 'returns':
        this.made.push({ at: this.when(), do: 'release', lease })
        return
      case 'names':
        if (draws.chance(0.6)) this.trigger('compromise')
        return
      case 'resurrections': {
        const at = this.after(this.some()) + 20_000
        const drawn = draws.fraction()
        this.made.push({ at, do: drawn < 0.75 ? 'resurrect' : drawn < 0.87 ? 'end-elsewhere' : 'replace', lease })
        return
      }
      case 'forgeries': {
        const type = this.type()
        if (draws.chance(0.3))
          this.made.push({
            at: this.when(),
            do: 'garbage',
            ...(draws.chance(0.5) ? { queue: draws.pick(['plan-p0', 'work-sure-p1']) } : {}),
          })
        else
          this.made.push({
            at: this.when(),
            do: 'forge',
            how: draws.pick(['signature', 'signature', 'source', 'right', 'body', 'stale'] as const),
            type,
            scope: this.scope(this.kindOf(type)),
            genuine: draws.pick(['before', 'after', 'never'] as const),
          })
        return
      }
      case 'replays': {
        if (draws.chance(0.3)) return void this.made.push({ at: this.when(), do: 'register-otherwise', lease })
        const of = this.some()
        this.made.push({ at: this.after(of), do: 'replay', of, body: draws.pick(['same', 'other']) })
        return
      }
      case 'sweeper':
        this.made.push({ at: this.when(), do: 'stop-sweeper', seconds: draws.pick([90, 240, 1500, 5000]) })
        return
    }
  }
}
