import { AsyncLocalStorage } from 'node:async_hooks'
import fc from 'fast-check'
import type { TriggerType } from '../../../functions/contracts/primitives.ts'
import type { TriggerScope } from '../../../functions/contracts/scope.ts'
import type { Settings } from '../../../functions/contracts/settings.ts'
import { DEFAULT_LIMITS } from '../../../functions/contracts/settings.ts'
import { fingerprint, identityKey, leaseIdFor } from '../../../functions/domain/keys.ts'
import type { Campaign, Case, Lease, Restoration } from '../../../functions/domain/model.ts'
import { instant } from '../../../functions/domain/time.ts'
import type { ProviderModule, Subject, Warrant } from '../../../functions/providers/contract.ts'
import { revokeWorker } from '../../../functions/revoke/worker.ts'
import { ProblemError } from '../../../functions/runtime/problem-error.ts'
import { as } from '../../../functions/store/items.ts'
import { ONE, TWO } from '../api.ts'
import type { FakeIssuer } from '../fake-issuer.ts'
import { leasesApi } from '../leases-api.ts'
import { BROKER, Pipeline } from '../pipeline.ts'

/**
 * Random worlds in which operators act at random moments beside the triggers, over the public API. A run keeps a log of
 * what was asked and answered, in ticks (one per operation of the table): all that the oracle knows.
 */

export const ISSUERS = ['db', 'cloud'] as const
const OWNERS = ['alice', 'bob'] as const
export const THEMES = [
  'restore',
  'resurrect',
  'mode',
  'hold',
  'kill',
  'alias',
  'reinstate',
  'campaign',
  'outage',
  'down',
  'renew',
] as const
type Theme = (typeof THEMES)[number]

const maybe = (max: number) => fc.oneof(fc.constant(undefined), fc.nat({ max }))
export const world = fc.record({
  identities: fc.array(
    fc.record({
      owner: fc.nat({ max: 1 }),
      workload: fc.boolean(),
      stays: fc.constantFrom(false, false, true),
      lever: fc.boolean(),
      protected: fc.constantFrom(false, false, false, true),
    }),
    { minLength: 2, maxLength: 4 },
  ),
  leases: fc.array(
    fc.record({
      identity: fc.nat({ max: 3 }),
      issuer: fc.constantFrom(...ISSUERS),
      /** Shared credentials have a number of their own; an exclusive one is the lease's. */
      shares: maybe(1),
      task: maybe(1),
      parent: maybe(5),
      delegable: fc.boolean(),
      brief: fc.constantFrom(false, false, true),
      persistent: fc.boolean(),
    }),
    { minLength: 3, maxLength: 8 },
  ),
  /** How many of the leases are registered before anything else happens. */
  settled: fc.integer({ min: 2, max: 6 }),
  themes: fc.subarray([...THEMES], { minLength: 1, maxLength: 3 }),
  actions: fc.array(fc.record({ do: fc.nat({ max: 99 }), which: fc.nat({ max: 11 }), kind: fc.nat({ max: 11 }) }), {
    minLength: 6,
    maxLength: 24,
  }),
  exempt: fc.constantFrom(false, false, false, true),
  smallFuse: fc.boolean(),
  /** Whether the owners' deadline for orphans passes. */
  long: fc.constantFrom(false, false, false, false, false, false, false, true),
  soakSeconds: fc.constantFrom(900, 86_400),
  crashes: fc.constantFrom(0, 0.005, 0.02),
  interleaves: fc.constantFrom(0, 0.02, 0.06),
  deliveries: fc.integer({ min: 1, max: 2 }),
  lost: fc.boolean(),
  /** Whether operators decide about all that waits before the end. */
  decides: fc.boolean(),
  seed: fc.integer(),
})
export type World = typeof world extends fc.Arbitrary<infer Shape> ? Shape : never
type Planned = World['leases'][number]

/** From a tick to another one: something happened in between. */
export interface Span {
  readonly from: number
  to: number
}
export interface Sent extends Span {
  readonly case: string
  readonly type: TriggerType
  readonly scope: TriggerScope
}
export interface Asked extends Span {
  readonly scope: { readonly kind: 'lease' | 'identity' | 'case'; readonly id: string }
  readonly undoes: boolean
  /** Absent where the answer was lost. */
  readonly id: string | undefined
  /** What stood there when it was asked. */
  readonly leases: readonly Lease[]
  readonly cases: ReadonlyMap<string, Case>
}
/** `sure`: it was answered, so it happened. */
export interface Attempt extends Span {
  readonly sure: boolean
}
export interface Log {
  readonly sent: Sent[]
  readonly asked: Asked[]
  readonly reinstated: (Attempt & { readonly identities: readonly number[] })[]
  readonly moved: (Span & { readonly identity: number })[]
  readonly linked: (Attempt & { readonly identities: readonly number[] })[]
  readonly unlinked: Span[]
  readonly modes: (Attempt & { readonly issuer: string; readonly mode: string; readonly at: number })[]
  readonly registered: Map<string, Span & { readonly index: number }>
  readonly renewed: Map<string, string>
  readonly gaveBack: (Attempt & { readonly lease: string })[]
  readonly revived: Set<string>
  readonly decided: (Attempt & { readonly on: string; readonly what: string; readonly about: string; readonly by: string })[]
  /** When a case was first seen, and when it last closed. */
  readonly appeared: Map<string, number>
  readonly closed: Map<string, number>
  /** Milliseconds in which nobody swept. */
  outage: number
}

/** Mulberry32: small, and the same everywhere. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

export const identityUri = (index: number) => `spiffe://example.org/id/${index}`
export const identityIndex = (uri: string) => Number(uri.split('/').at(-1))
const credentialOf = (lease: Planned, index: number) => (lease.shares === undefined ? `own-${index}` : `shared-${lease.shares}`)
export const ownerOf = (index: number) => OWNERS[index] ?? 'alice'
const keyOf = (index: number) => `lease-${index}-key`
const reason = { reason: 'test' }

const KINDS: Readonly<Record<TriggerType, readonly TriggerScope['kind'][]>> = {
  offboarding: ['identity', 'owner', 'workload'],
  compromise: ['identity', 'owner', 'credential', 'workload'],
  decommission: ['workload'],
  'task-complete': ['task'],
}
const TYPES: readonly TriggerType[] = ['offboarding', 'compromise', 'task-complete', 'offboarding', 'compromise', 'decommission']

/** One piece of work: a call that was let through before a stop may still be made, one only. */
interface Frame {
  readonly begun: number
  spent: number
}

export class Run {
  readonly plan: World
  readonly pipeline: Pipeline
  readonly issuers = new Map<string, FakeIssuer>()
  readonly log: Log = {
    sent: [],
    asked: [],
    reinstated: [],
    moved: [],
    linked: [],
    unlinked: [],
    modes: [],
    registered: new Map(),
    renewed: new Map(),
    gaveBack: [],
    revived: new Set(),
    decided: [],
    appeared: new Map(),
    closed: new Map(),
    outage: 0,
  }
  /** What broke a promise while it ran. */
  readonly violations: string[] = []
  /** Messages that were sent before the last hours of calm. */
  sentBefore = 0
  tick = 0
  readonly exempt: number | undefined
  /** Those that were acknowledged; and the ids that all of them have. */
  private readonly ids: (string | undefined)[]
  private readonly named: readonly string[]
  private readonly random: () => number
  private readonly waiting: World['actions'][number][]
  private readonly settings: Partial<Settings>
  private readonly frames = new AsyncLocalStorage<Frame>()
  private readonly call: ReturnType<typeof leasesApi>
  private readonly unregistered: number[]
  private stopped: number | undefined
  private depth = 0
  private calm = false
  private read = 0
  private count = 0

  constructor(plan: World) {
    const same = plan.themes.includes('alias')
    const identities = plan.identities.map((identity, index) => {
      const first = plan.identities[0]
      return same && index === 1 && first !== undefined
        ? { ...identity, owner: first.owner, workload: first.workload, stays: first.stays }
        : identity
    })
    this.plan = { ...plan, identities }
    this.exempt = plan.exempt ? identities.length - 1 : undefined
    this.random = randomOf(plan.seed)
    this.waiting = [...plan.actions]
    this.ids = plan.leases.map(() => undefined)
    this.named = plan.leases.map((lease, index) =>
      leaseIdFor(identityKey(identityUri(this.identityOf(lease))), lease.issuer, BROKER.uri, keyOf(index)),
    )
    this.unregistered = plan.leases.map((_, index) => index)
    this.settings = {
      limits: { ...DEFAULT_LIMITS, backoffSeconds: 60, reassignDays: 1, parkedRetrySeconds: 900 },
      outage: { gapSeconds: 900, graceSeconds: 300 },
      approvals: { deletionAbove: 2 },
      ...(plan.smallFuse ? { fuse: { identities: 1, leases: 2, taskLeases: 1 } } : {}),
      ...(this.exempt === undefined ? {} : { exempt: [identityUri(this.exempt)] }),
    }
    this.pipeline = new Pipeline({ settings: this.settings })
    this.pipeline.replaceWorker((ports) => revokeWorker(this.watched(this.pipeline.module), ports))
    this.call = leasesApi(this.pipeline, this.settings)
  }

  /** The issuers with a look at each call before it is made. */
  private watched(module: ProviderModule): ProviderModule {
    return {
      ...module,
      connect: async (issuer, tools) => {
        const provider = await module.connect(issuer, tools)
        return new Proxy(provider, {
          get: (target, name) => {
            const method: unknown = Reflect.get(target, name)
            if (typeof method !== 'function' || name === 'close') return method
            return (...given: unknown[]) => {
              this.looks(issuer.name, String(name), given)
              return Reflect.apply(method, target, given)
            }
          },
        })
      },
    }
  }

  private looks(issuer: string, method: string, [about, given]: unknown[]): void {
    const frame = this.frames.getStore()
    const warrant = given as Warrant | undefined
    const told = `${method} at ${issuer} for case ${warrant?.case ?? '?'}`
    if (this.stopped !== undefined) {
      if (frame === undefined || frame.begun > this.stopped) this.violations.push(`${told} while the kill switch stands`)
      else if (frame.spent > 0) this.violations.push(`${told}: a second call of one piece of work after the kill switch`)
      if (frame !== undefined) frame.spent += 1
    }
    const names = Array.isArray(about)
      ? (about as Subject[]).map(({ target }) => String(Reflect.get(target as object, 'name')))
      : []
    const current = this.cases().find(({ id }) => id === warrant?.case)
    if (method === 'revoke' || method === 'contain') {
      const standing = this.log.modes.filter((one) => one.issuer === issuer)
      const since = Math.max(0, ...standing.map(({ at }) => at))
      const watched = this.modesAt(issuer, this.tick).every((mode) => mode === 'observe') && since < Number.POSITIVE_INFINITY
      if (watched && current !== undefined && Date.parse(current.openedAt) > since)
        this.violations.push(`${told}, which is new, and the issuer may only be watched`)
      for (const lease of this.plan.leases.entries())
        if (this.identityOf(lease[1]) === this.exempt && lease[1].shares === undefined && lease[1].issuer === issuer)
          if (names.includes(credentialOf(lease[1], lease[0])))
            this.violations.push(`${told} cuts ${names}, whose holder is exempt`)
      if (
        method === 'contain' &&
        this.exempt !== undefined &&
        JSON.stringify(about) === JSON.stringify({ group: `group-${this.exempt}` })
      )
        this.violations.push(`${told} contains an exempt identity`)
    }
    if (method === 'tidy') this.looksAtDeletion(issuer, names, current, told, frame)
  }

  private looksAtDeletion(
    issuer: string,
    names: readonly string[],
    current: Case | undefined,
    told: string,
    frame: Frame | undefined,
  ): void {
    for (const name of names) {
      const held = this.leases().find(
        (lease) => lease.fingerprint === fingerprint(issuer, name) && ['live', 'restoring'].includes(lease.state),
      )
      if (held !== undefined) this.violations.push(`${told} deletes ${name}, and lease ${held.id} is ${held.state}`)
    }
    if (current?.type !== 'compromise') return
    const before = (one: Attempt) => frame === undefined || one.to < frame.begun
    const about = this.log.decided.filter((one) => one.on === current.id && one.about === 'deletion')
    const campaign = this.log.decided.filter(
      (one) => one.on === current.campaign && Date.parse(current.openedAt) <= this.pipeline.now,
    )
    const refused = [...about, ...campaign].find(
      (one) => one.sure && one.what === 'reject' && before(one) && one.from > (this.log.appeared.get(current.id) ?? 0),
    )
    if (refused !== undefined) this.violations.push(`${told} deletes ${names}, which was refused`)
    const reached = current.scope.kind === 'identity' ? [identityIndex(current.scope.id)] : []
    const cut = this.leases().filter(({ ended }) => ended?.case === current.id && ended.outcome === 'revoked').length
    const gated =
      current.campaign !== undefined || cut > 2 || reached.some((index) => this.plan.identities[index]?.protected === true)
    if (gated && ![...about, ...campaign].some(({ what }) => what === 'approve'))
      this.violations.push(`${told} deletes ${names} without an approval`)
  }

  /** The modes that an issuer can have been in, of what was decided before a tick: of two at the same time, either. */
  modesAt(issuer: string, tick: number): string[] {
    const past = this.log.modes.filter((one) => one.issuer === issuer && one.to <= tick)
    const standing = past.filter((one) => !past.some((other) => other.from > one.to))
    return standing.length === 0 ? ['enforce'] : standing.map(({ mode }) => mode)
  }

  identityOf(lease: Planned): number {
    return lease.identity % this.plan.identities.length
  }

  async run(): Promise<void> {
    const { pipeline, plan } = this
    for (const name of ISSUERS) {
      const issuer = await pipeline.issuer(name, plan.soakSeconds)
      this.issuers.set(name, issuer)
      if (!plan.lost) continue
      for (const [index, lease] of plan.leases.entries())
        if (lease.issuer === name && index % 3 === 0) issuer.loseAnswer.add(credentialOf(lease, index))
    }
    for (const [index, identity] of plan.identities.entries())
      await pipeline.operate.putIdentity(
        {
          id: identityUri(index),
          owner: ownerOf(identity.owner),
          ownerLeaves: identity.stays ? 'reassign' : 'revoke',
          protected: identity.protected,
          ...(identity.workload ? { workload: 'crm' } : {}),
        },
        { uri: ONE, approve: true },
      )
    await pipeline.sweep()
    pipeline.deliveries = plan.deliveries
    pipeline.table.before = () => this.between()
    for (let left = plan.settled; left > 0; left -= 1) await this.register()
    while (this.waiting.length > 0) {
      await this.next()
      for (let times = Math.floor(this.random() * 12); times > 0; times -= 1) await this.something()
    }
    await this.end()
  }

  /** Before each operation of the table. */
  private async between(): Promise<void> {
    this.tick += 1
    this.follow()
    if (this.calm) return
    if (this.random() < this.plan.crashes) throw new Error('crash')
    if (this.depth >= 3 || this.random() >= this.plan.interleaves) return
    this.depth += 1
    try {
      await this.something()
    } finally {
      this.depth -= 1
    }
  }

  /** Notes when cases appear and close. */
  private follow(): void {
    const { changes } = this.pipeline.table
    for (; this.read < changes.length; this.read += 1) {
      const { before, after } = changes[this.read] ?? {}
      if (after?.kind !== 'case') continue
      const current = as('case', after)
      if (before === undefined) this.log.appeared.set(current.id, this.tick)
      if (current.closedAt !== undefined && current.amendments.done === current.amendments.expected)
        this.log.closed.set(current.id, this.tick)
    }
  }

  private async something(): Promise<void> {
    const dice = this.random()
    if (dice < 0.12) await this.next()
    else if (dice < 0.8) await this.step()
    else await this.pipeline.stream().catch(() => {})
  }

  private step(): Promise<boolean> {
    return this.frames.run({ begun: this.tick, spent: 0 }, () =>
      this.pipeline.step((messages) => (this.calm ? 0 : Math.floor(this.random() * messages.length))),
    )
  }

  private async next(): Promise<void> {
    const wanted = this.waiting.shift()
    if (wanted === undefined) return
    this.pipeline.now += 10
    this.count += 1
    const { do: dice, which, kind } = wanted
    if (dice < 24) await this.trigger(which, kind)
    else if (dice < 36) await this.time(which)
    else if (dice < 43) await this.register()
    else if (dice < 46) await this.giveBack(which)
    else await this.act(this.plan.themes[dice % this.plan.themes.length] ?? 'restore', which, kind)
  }

  private async act(theme: Theme, which: number, kind: number): Promise<void> {
    switch (theme) {
      case 'restore':
        return this.restore(which, kind)
      case 'resurrect':
        return this.resurrect(which)
      case 'mode':
        return this.mode(which, kind)
      case 'hold':
        return this.decide(which, kind)
      case 'kill':
        return this.kill(kind)
      case 'alias':
        return this.alias(kind)
      case 'reinstate':
        return this.reinstate(which, kind)
      case 'campaign':
        return this.campaign(which, kind)
      case 'outage':
        return this.outage(which)
      case 'down': {
        const issuer = this.issuers.get(ISSUERS[which % 2] ?? 'db')
        if (issuer !== undefined) issuer.down = !issuer.down
        return
      }
      case 'renew':
        return this.renew(which)
    }
  }

  private async trigger(which: number, kind: number): Promise<void> {
    const type = TYPES[kind % TYPES.length] ?? 'offboarding'
    const kinds = KINDS[type]
    const scope = this.scopeOf(kinds[Math.floor(which / 4) % kinds.length] ?? 'identity', which)
    const extra = {
      id: `trigger-${this.count}`,
      ...(type === 'compromise' && this.plan.themes.includes('campaign') && kind > 5 ? { campaign: 'leak' } : {}),
      ...(type !== 'compromise' && kind > 9 ? { effectiveAt: instant(this.pipeline.now + 600_000) } : {}),
    }
    const from = this.tick
    // A sender repeats until it has an answer, and sometimes once too often.
    for (let left = this.random() < 0.3 ? 2 : 1; left > 0; ) {
      try {
        const taken = await this.pipeline.trigger(type, scope, extra)
        left -= 1
        if (left === 0) this.log.sent.push({ case: taken.case, type, scope, from, to: this.tick })
      } catch (error) {
        if (error instanceof ProblemError || !String(error).includes('crash')) throw error
      }
    }
  }

  private scopeOf(kind: TriggerScope['kind'], which: number): TriggerScope {
    if (kind === 'identity') return { kind, id: identityUri(which % this.plan.identities.length) }
    if (kind === 'owner') return { kind, id: ownerOf(which % 2) }
    if (kind === 'workload') return { kind, id: 'crm' }
    if (kind === 'task') return { kind, id: String(which % 2), namespace: 'ci' }
    const index = which % this.plan.leases.length
    const lease = this.plan.leases[index]
    if (lease === undefined) throw new Error('no lease')
    return { kind: 'credential', fingerprint: fingerprint(lease.issuer, credentialOf(lease, index)) }
  }

  private async time(which: number): Promise<void> {
    // What is under way ends within its time limit.
    if (this.depth > 0) this.pipeline.now += 2000
    else {
      this.pipeline.now += [1000, 30_000, 130_000, 310_000, 620_000, 840_000][which % 6] ?? 1000
      await this.pipeline.sweep().catch(() => {})
    }
  }

  private async outage(which: number): Promise<void> {
    if (this.depth > 0) return
    const lost = (which + 2) * 900_000
    this.log.outage += lost
    this.pipeline.now += lost
    // Workers may be back before the sweeper is.
    for (let times = which; times > 0; times -= 1) await this.step()
    await this.pipeline.sweep().catch(() => {})
  }

  private async register(): Promise<void> {
    const index = this.unregistered.shift()
    const lease = index === undefined ? undefined : this.plan.leases[index]
    if (index === undefined || lease === undefined) return
    const parent = lease.parent === undefined || lease.parent >= index ? undefined : this.ids[lease.parent]
    const identity = this.identityOf(lease)
    const lever = this.plan.identities[identity]?.lever === true && lease.shares === undefined
    const expiresAt = instant(this.pipeline.now + (lease.brief ? 2_400_000 : 30 * 86_400_000))
    const key = keyOf(index)
    const span: Span & { readonly index: number } = { from: this.tick, to: Number.POSITIVE_INFINITY, index }
    this.log.registered.set(this.named[index] ?? '', span)
    for (let tries = lease.persistent ? 4 : 1; tries > 0; tries -= 1) {
      try {
        const owner = this.log.moved.some((one) => one.identity === identity)
          ? undefined
          : ownerOf(this.plan.identities[identity]?.owner ?? 0)
        const { id } = await this.pipeline.lease(
          credentialOf(lease, index),
          {
            identity: identityUri(identity),
            owner,
            issuer: lease.issuer,
            kind: lease.shares === undefined ? 'dynamic' : 'static',
            delegable: lease.delegable,
            expiresAt,
            ...(lease.task === undefined ? {} : { task: { id: String(lease.task), namespace: 'ci' } }),
            ...(parent === undefined ? {} : { parent }),
            ...(lever ? { group: `group-${identity}` } : {}),
          },
          key,
        )
        this.ids[index] = id
        break
      } catch (error) {
        if (error instanceof ProblemError) break
        if (!String(error).includes('crash')) throw error
      }
    }
    span.to = this.tick
  }

  private lease(which: number): string | undefined {
    const known = this.ids.filter((id) => id !== undefined)
    return known[which % Math.max(1, known.length)]
  }

  private async giveBack(which: number): Promise<void> {
    const lease = this.lease(which)
    if (lease === undefined) return
    const from = this.tick
    try {
      await this.pipeline.leases.release(lease, BROKER)
      this.log.gaveBack.push({ lease, sure: true, from, to: this.tick })
    } catch (error) {
      this.log.gaveBack.push({ lease, sure: false, from, to: this.tick })
      if (!(error instanceof ProblemError) && !String(error).includes('crash')) throw error
    }
  }

  private async renew(which: number): Promise<void> {
    const lease = this.lease(which)
    if (lease === undefined) return
    const expiresAt = instant(this.pipeline.now + (which % 2 === 0 ? 3_600_000 : 40 * 86_400_000))
    try {
      await this.pipeline.leases.renew(lease, { expiresAt }, BROKER)
      this.log.renewed.set(lease, expiresAt)
    } catch (error) {
      if (!(error instanceof ProblemError) && !String(error).includes('crash')) throw error
    }
  }

  private async restore(which: number, kind: number): Promise<void> {
    const cases = this.cases().filter(({ sealed }) => sealed)
    const lease = this.lease(which)
    const scopes = [
      ...(lease === undefined ? [] : [{ kind: 'lease' as const, id: lease }]),
      { kind: 'identity' as const, id: identityUri(which % this.plan.identities.length) },
      ...(cases.length === 0 ? [] : [{ kind: 'case' as const, id: cases[which % cases.length]?.id ?? '' }]),
    ]
    const scope = scopes[kind % scopes.length]
    if (scope === undefined) return
    if (this.plan.lost && this.random() < 0.3)
      for (const issuer of this.issuers.values()) issuer.loseRestored.add(credentialOf(this.plan.leases[0] as Planned, 0))
    const undoes = kind >= 4
    const from = this.tick
    const standing = { leases: this.leases(), cases: new Map(this.cases().map((one) => [one.id, one])) }
    const asked = { ...reason, ...(undoes ? { undoesCompromise: true } : {}) }
    const answer =
      scope.kind === 'identity'
        ? await this.call('POST', '/v1/identities/restore', ONE, { id: scope.id, ...asked })
        : await this.call('POST', `/v1/${scope.kind}s/${scope.id}/restore`, ONE, asked)
    if (answer.status === 200) this.log.asked.push({ scope, undoes, id: answer.body.id, from, to: this.tick, ...standing })
    else if (answer.status >= 500) this.log.asked.push({ scope, undoes, id: undefined, from, to: this.tick, ...standing })
  }

  /** Somebody enables again what is cut. */
  private resurrect(which: number): void {
    const found = [...this.issuers].flatMap(([issuer, fake]) =>
      [...fake.credentials].flatMap(([name, real]) => {
        const holders = this.leases().filter((lease) => lease.fingerprint === fingerprint(issuer, name))
        const dead = !real.alive && real.killedBy === 'rescind' && !fake.deleted.has(name)
        // What would be over by itself is nobody's to watch.
        return dead && holders.every(({ expiresAt }) => Date.parse(expiresAt) > this.pipeline.now + 15 * 86_400_000)
          ? [{ issuer, fake, name }]
          : []
      }),
    )
    const one = found[which % Math.max(1, found.length)]
    if (one === undefined) return
    one.fake.resurrect(one.name)
    this.log.revived.add(`${one.issuer} ${one.name}`)
  }

  private async mode(which: number, kind: number): Promise<void> {
    const issuer = ISSUERS[which % 2] ?? 'db'
    const mode = (['observe', 'contain', 'enforce', 'observe'] as const)[kind % 4] ?? 'observe'
    const span = { issuer, mode, sure: true, from: this.tick, to: Number.POSITIVE_INFINITY, at: Number.POSITIVE_INFINITY }
    this.log.modes.push(span)
    const place = this.log.modes.length - 1
    const body = { provider: 'fake', settings: {}, soakSeconds: this.plan.soakSeconds, mode }
    for (let tries = 8; tries > 0; tries -= 1)
      if ((await this.call('PUT', `/v1/issuers/${issuer}`, ONE, body)).status === 200) {
        this.log.modes[place] = { ...span, to: this.tick, at: this.pipeline.now }
        return
      }
    throw new Error('an issuer cannot be put into a mode')
  }

  private async kill(kind: number): Promise<void> {
    const engaged = kind % 2 === 0
    if (!engaged) this.stopped = undefined
    const { status } = await this.call('PUT', '/v1/control/kill-switch', engaged ? ONE : TWO, { engaged, ...reason })
    // While another call may be releasing it, nothing is known.
    if (engaged && status === 200) this.stopped = this.engaged() ? this.tick : undefined
  }

  private engaged(): boolean {
    return this.pipeline.table.all().some(({ kind, killSwitch }) => kind === 'control' && killSwitch !== undefined)
  }

  private async alias(kind: number): Promise<void> {
    const names = [identityUri(0), identityUri(1)]
    if (kind > 8) {
      const span: Span = { from: this.tick, to: Number.POSITIVE_INFINITY }
      this.log.unlinked.push(span)
      await this.call('POST', '/v1/aliases/remove', ONE, { id: names[0], ...reason })
      span.to = this.tick
      return
    }
    const proposed = await this.call('POST', '/v1/aliases', ONE, { names, ...reason })
    if (proposed.status !== 200) return
    const from = this.tick
    const { status } = await this.call('POST', `/v1/aliases/${proposed.body.id}/approve`, TWO, reason)
    if (status === 200 || status >= 500) this.log.linked.push({ identities: [0, 1], sure: status === 200, from, to: this.tick })
  }

  private async reinstate(which: number, kind: number): Promise<void> {
    const identity = which % this.plan.identities.length
    const from = this.tick
    if (kind > 9)
      return void (await this.call('POST', '/v1/groups/reinstate', TWO, { kind: 'owner', id: ownerOf(which % 2), ...reason }))
    if (kind === 9) {
      this.log.moved.push({ identity, from, to: Number.POSITIVE_INFINITY })
      return void (await this.call('PUT', '/v1/identities', ONE, { id: identityUri(identity), owner: 'carol' }))
    }
    const moves = kind > 6
    if (moves)
      for (const one of identity < 2 ? [0, 1] : [identity])
        this.log.moved.push({ identity: one, from, to: Number.POSITIVE_INFINITY })
    const body = { id: identityUri(identity), ...reason, ...(moves ? { owner: 'carol' } : {}) }
    const { status } = await this.call('POST', '/v1/identities/reinstate', TWO, body)
    const linked = this.log.linked.length > 0 && identity < 2
    if (status === 200 || status >= 500 || linked)
      this.log.reinstated.push({ identities: linked ? [0, 1] : [identity], sure: status === 200, from, to: this.tick })
  }

  private async decide(which: number, kind: number): Promise<void> {
    const cases = this.cases()
    const current = cases[which % Math.max(1, cases.length)]
    if (current === undefined) return
    const what = (['hold', 'approve', 'hold', 'approve', 'reject', 'cancel'] as const)[kind % 6] ?? 'hold'
    const about = current.type === 'compromise' && (what === 'approve' || what === 'reject') ? 'deletion' : 'case'
    await this.decideOn(current.id, what, about)
  }

  private async decideOn(on: string, what: 'hold' | 'approve' | 'reject' | 'cancel', about: 'case' | 'deletion'): Promise<void> {
    const from = this.tick
    const { status } = await this.call('POST', `/v1/cases/${on}/${what}`, TWO, {
      ...reason,
      ...(about === 'deletion' ? { about } : {}),
    })
    if (status === 200 || status >= 500)
      this.log.decided.push({ on, what, about, by: TWO, sure: status === 200, from, to: this.tick })
  }

  private async campaign(which: number, kind: number): Promise<void> {
    const campaigns = this.campaigns()
    const one = campaigns[which % Math.max(1, campaigns.length)]
    if (one === undefined) return
    const what = kind % 3 === 0 ? 'reject' : 'approve'
    const from = this.tick
    const { status } = await this.call('POST', `/v1/campaigns/${one.id}/${what}`, TWO, reason)
    if (status === 200 || status >= 500)
      this.log.decided.push({ on: one.id, what, about: 'campaign', by: TWO, sure: status === 200, from, to: this.tick })
  }

  /** No more faults; operators let go what they stopped, and the clock moves until nothing is under way. */
  private async end(): Promise<void> {
    const { pipeline } = this
    this.calm = true
    for (const issuer of this.issuers.values()) issuer.down = false
    await this.kill(1)
    await this.settle()
    if (this.plan.decides) {
      for (const { id, of, decisions } of this.campaigns())
        if (of === 'fuse' && decisions.length === 0) await this.call('POST', `/v1/campaigns/${id}/approve`, TWO, reason)
      await this.settle()
      for (const { id, state, paused } of this.cases())
        if (state === 'held' || paused !== undefined) await this.decideOn(id, 'approve', 'case')
      await this.settle()
      // What was let go may meet the fuse, and be split.
      for (const { id, state } of this.cases()) if (state === 'held') await this.decideOn(id, 'approve', 'case')
    }
    for (let round = 0; round < 20; round += 1) await this.pass(60_000)
    for (let round = 0; round < (this.plan.long ? 170 : 32); round += 1) await this.pass(840_000)
    this.sentBefore = pipeline.sent.length
    for (let round = 0; round < 9; round += 1) await this.pass(840_000)
  }

  private async settle(): Promise<void> {
    for (let rounds = 0; rounds < 10_000; rounds += 1) {
      const moved = await this.step()
      const streamed = await this.pipeline.stream()
      if (!moved && !streamed) return
    }
    throw new Error(`does not settle: ${this.pipeline.logged.slice(-3).join('\n')}`)
  }

  private async pass(milliseconds: number): Promise<void> {
    this.pipeline.now += milliseconds
    await this.pipeline.sweep()
    await this.settle()
  }

  all(kind: string) {
    return this.pipeline.table.all().filter((item) => item.kind === kind)
  }
  cases = (): Case[] => this.all('case').map((item) => as('case', item))
  leases = (): Lease[] => this.all('lease').map((item) => as('lease', item))
  campaigns = (): Campaign[] => this.all('campaign').map((item) => as('campaign', item))
  restorations = (): Restoration[] => this.all('restoration').map((item) => as('restoration', item))

  /** When and as which planned lease it was registered. */
  registration(lease: Lease): Span & { readonly index: number } {
    const index = this.named.indexOf(lease.id)
    const span = this.log.registered.get(lease.id)
    if (span === undefined) throw new Error(`nobody registered ${lease.id}`)
    return { ...span, index }
  }
}
