import type { Outcome } from './protocol.ts'
import type { Operation, Schedule } from './schedule.ts'
import type { World, WorldIdentity, WorldLease } from './world.ts'

/** What fails: a schedule, and the faults of it that are passed over. As a file it can be replayed. */
export interface Failing {
  readonly schedule: Schedule
  readonly disabled: readonly number[]
}

export interface Shrunk extends Failing {
  readonly outcome: Outcome
  /** Runs that it took. */
  readonly runs: number
}

export interface ShrinkOptions {
  /** Runs a candidate. */
  readonly run: (failing: Failing) => Promise<Outcome>
  /** Runs at most. */
  readonly most?: number
  readonly onProgress?: (runs: number, shown: string) => void
}

/** Ids and numbers differ from one run to another; what is wrong does not. */
export const kindOf = (violation: string): string =>
  violation
    .replace(/[a-z2-7]{26}/g, '*')
    .replace(/\(.*\)/gs, '')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z?/g, '*')
    .replace(/(own|shared|sure|blunt|task|deployment|id)[-/]\d+/g, '$1')
    .replace(/\d+/g, '#')
    .slice(0, 60)

/**
 * Makes a failing schedule shorter: operations, then whatever of the world they do not need, then kinds of faults, then
 * single faults; each smaller one must still fail in the same way (the same first violation but for its names). Since a
 * shorter schedule takes other turns, each candidate is tried under a few seeds.
 */
export async function shrink(failing: Failing, first: Outcome, options: ShrinkOptions): Promise<Shrunk> {
  const search = new Search(failing, first, options)
  await search.run()
  return search.best()
}

/** Seeds that a candidate is tried with. */
const SEEDS = 4

class Search {
  private readonly options: ShrinkOptions
  private readonly kind: string
  private failing: Failing
  private outcome: Outcome
  private runs = 0

  constructor(failing: Failing, outcome: Outcome, options: ShrinkOptions) {
    this.failing = failing
    this.outcome = outcome
    this.options = options
    this.kind = kindOf(outcome.violations[0] ?? '')
  }

  best(): Shrunk {
    return { ...this.failing, outcome: this.outcome, runs: this.runs }
  }

  async run(): Promise<void> {
    for (let before = ''; before !== JSON.stringify(this.failing.schedule) && this.mayGoOn(); ) {
      before = JSON.stringify(this.failing.schedule)
      await this.operations()
      await this.world()
      await this.simpler()
      await this.faultKinds()
    }
    await this.faults()
    await this.steps()
  }

  private mayGoOn(): boolean {
    return this.runs < (this.options.most ?? 1500)
  }

  /** Whether it still fails in the same way; if so it is the new best. */
  private async fails(failing: Failing, seeds = SEEDS): Promise<boolean> {
    for (let extra = 0; extra < seeds && this.mayGoOn(); extra += 1) {
      const seed = extra === 0 ? failing.schedule.seed : ((failing.schedule.seed * 31 + extra) % 1_000_000_007) + 1
      const candidate = { ...failing, schedule: { ...failing.schedule, seed } }
      this.runs += 1
      const outcome = await this.options.run(candidate)
      const { schedule } = candidate
      this.options.onProgress?.(
        this.runs,
        `${schedule.operations.length} operations, ${schedule.world.leases.length} leases, ${Object.keys(schedule.faults.kinds).length} kinds of faults`,
      )
      if (outcome.ok || !outcome.violations.some((one) => kindOf(one) === this.kind)) continue
      this.failing = candidate
      this.outcome = outcome
      return true
    }
    return false
  }

  private with(change: Partial<Schedule>): Failing {
    return { schedule: { ...this.failing.schedule, ...change }, disabled: [] }
  }

  /** Delta debugging: takes away halves, quarters, and so on down to single ones. */
  private async fewer(
    count: () => number,
    without: (from: number, to: number) => Failing | undefined,
    seeds?: number,
  ): Promise<void> {
    for (let size = Math.ceil(count() / 2); size >= 1 && this.mayGoOn(); size = size === 1 ? 0 : Math.ceil(size / 2))
      for (let from = count() - size; this.mayGoOn(); from -= size) {
        const begin = Math.max(0, from)
        const candidate = without(begin, Math.max(begin, from + size))
        if (candidate !== undefined) await this.fails(candidate, seeds)
        if (from <= 0) break
      }
  }

  private async operations(): Promise<void> {
    await this.fewer(
      () => this.failing.schedule.operations.length,
      (from, to) =>
        to > from ? this.with({ operations: withoutOperations(this.failing.schedule.operations, from, to) }) : undefined,
    )
  }

  private async world(): Promise<void> {
    for (const part of ['leases', 'identities', 'issuers'] as const)
      for (let place = this.failing.schedule.world[part].length - 1; place >= 0 && this.mayGoOn(); place -= 1) {
        const smaller = without(this.failing.schedule, part, place)
        if (smaller !== undefined) await this.fails({ schedule: smaller, disabled: [] })
      }
  }

  /** What is there may be plainer than it is. */
  private async simpler(): Promise<void> {
    const { schedule } = this.failing
    for (const place of schedule.world.leases.keys())
      for (const change of PLAINER_LEASES) await this.plainer('leases', place, change)
    for (const place of schedule.world.identities.keys())
      for (const change of PLAINER_IDENTITIES) await this.plainer('identities', place, change)
    for (const [place] of schedule.operations.entries())
      for (const change of PLAINER_OPERATIONS) {
        const { operations } = this.failing.schedule
        const operation = operations[place]
        const plain = operation === undefined ? undefined : change(operation)
        if (operation === undefined || plain === undefined || JSON.stringify(plain) === JSON.stringify(operation)) continue
        await this.fails(this.with({ operations: operations.map((one, index) => (index === place ? plain : one)) }), 1)
      }
    const { settings, providers } = this.failing.schedule.world
    const { fuse, modes, ...rest } = settings
    if (fuse !== undefined || modes !== undefined)
      await this.fails(this.with({ world: { ...this.failing.schedule.world, settings: rest } }), 1)
    if (providers.sure.propagationSeconds > 0)
      await this.fails(
        this.with({
          world: {
            ...this.failing.schedule.world,
            providers: { ...providers, sure: { ...providers.sure, propagationSeconds: 0 } },
          },
        }),
        1,
      )
    const { world } = this.failing.schedule
    if (world.providers.sure.serial === true)
      await this.fails(
        this.with({ world: { ...world, providers: { ...world.providers, sure: { ...world.providers.sure, serial: false } } } }),
        1,
      )
  }

  private async plainer<Part extends 'leases' | 'identities'>(
    part: Part,
    place: number,
    change: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    const { world } = this.failing.schedule
    const one: WorldLease | WorldIdentity | undefined = world[part][place]
    if (one === undefined) return
    const plain = Object.fromEntries(Object.entries({ ...one, ...change }).filter(([, value]) => value !== undefined))
    if (JSON.stringify(plain) === JSON.stringify(one)) return
    await this.fails(
      this.with({ world: { ...world, [part]: world[part].map((other, index) => (index === place ? plain : other)) } }),
      1,
    )
  }

  private async faultKinds(): Promise<void> {
    for (const kind of Object.keys(this.failing.schedule.faults.kinds)) {
      const { [kind]: _, ...kinds } = this.failing.schedule.faults.kinds
      await this.fails(this.with({ faults: { ...this.failing.schedule.faults, kinds } }))
    }
  }

  /** Single faults, by their ordinals; the seed stays, so that the others stay what they are. */
  private async faults(): Promise<void> {
    const needed = () => this.outcome.faults.map(({ ordinal }) => ordinal)
    await this.fewer(
      () => needed().length,
      (from, to) => {
        const some = needed().slice(from, to)
        if (some.length === 0) return undefined
        return { ...this.failing, disabled: [...new Set([...this.failing.disabled, ...some])] }
      },
      1,
    )
  }

  /** Of a few seeds that fail, the one with the fewest steps. */
  private async steps(): Promise<void> {
    if (this.failing.disabled.length > 0) return
    for (let seed = 1; seed <= 12 && this.mayGoOn(); seed += 1) {
      const { failing, outcome } = this
      if ((await this.fails(this.with({ seed }), 1)) && this.outcome.steps > outcome.steps) {
        this.failing = failing
        this.outcome = outcome
      }
    }
  }
}

const PLAINER_LEASES: readonly Readonly<Record<string, unknown>>[] = [
  { task: undefined },
  { deployment: undefined },
  { parent: undefined },
  { shares: undefined },
  { delegable: false },
  { nature: undefined },
  { registers: 'credential', mintSeconds: 0 },
]
const PLAINER_IDENTITIES: readonly Readonly<Record<string, unknown>>[] = [
  { group: undefined },
  { environment: undefined },
  { protected: false },
  { exempt: false },
  { workload: false },
  { ownerLeaves: 'revoke' },
  { declared: true },
]
const PLAINER_OPERATIONS: readonly ((operation: Operation) => Operation | undefined)[] = [
  (operation) => (operation.do === 'trigger' && operation.copies > 1 ? { ...operation, copies: 1 } : undefined),
  (operation) => (operation.do === 'register' && operation.tries > 1 ? { ...operation, tries: 1 } : undefined),
  (operation) => (operation.do === 'register' && operation.early > 0 ? { ...operation, early: 0 } : undefined),
]

/** Names that stand for a place in a list of the world, by the list. */
const PLACES = { leases: ['lease', 'parent'], identities: ['identity', 'identities'], issuers: ['issuer'] } as const

/** The operations without some; what names one of these goes with them, and the others' places move up. */
export function withoutOperations(operations: readonly Operation[], from: number, to: number): Operation[] {
  const left: Operation[] = []
  const places = new Map<number, number>()
  for (const [place, operation] of operations.entries()) {
    if (place >= from && place < to) continue
    const moved = renamed(operation, ['of'], (of) => places.get(of))
    if (moved === undefined) continue
    places.set(place, left.length)
    left.push(moved as Operation)
  }
  return left
}

/**
 * A schedule without a lease, an identity or an issuer: what names it goes too, but for a parent, which is forgotten.
 * `undefined` where the world would be empty or something in it needs the part.
 */
export function without(schedule: Schedule, part: keyof typeof PLACES, place: number): Schedule | undefined {
  const { world, operations } = schedule
  if (world[part].length <= 1) return undefined
  const move = (one: number) => (one === place ? undefined : one > place ? one - 1 : one)
  const names = PLACES[part]
  const orphaned =
    part === 'leases' ? world.leases.map((lease) => (lease.parent === place ? withoutParent(lease) : lease)) : world.leases
  const leases = orphaned
    .filter((_, index) => part !== 'leases' || index !== place)
    .map((lease) => renamed(lease, names, move) as WorldLease | undefined)
  if (leases.includes(undefined)) return undefined
  const made: World = {
    ...world,
    leases: leases.flatMap((lease) => (lease === undefined ? [] : [lease])),
    ...(part === 'leases' ? {} : { [part]: world[part].filter((_, index) => index !== place) }),
  }
  const gone = operations.flatMap((operation, index) => (renamed(operation, names, move) === undefined ? [index] : []))
  let kept: readonly Operation[] = operations
  for (const index of gone.toReversed()) kept = withoutOperations(kept, index, index + 1)
  // Taking one away may have taken others with it, so their names are looked up once more.
  const moved = kept.flatMap((operation) => renamed(operation, names, move) ?? []) as Operation[]
  if (made.leases.length === 0) return undefined
  return { ...schedule, world: made, operations: moved }
}

function withoutParent({ parent: _, ...lease }: WorldLease): WorldLease {
  return lease
}

/** The same with other numbers under some names, at any depth; `undefined` where one of them is gone. */
function renamed(value: unknown, names: readonly string[], move: (place: number) => number | undefined): unknown {
  if (value === null || typeof value !== 'object') return value
  const made: Record<string, unknown> = {}
  for (const [name, one] of Object.entries(value)) {
    if (names.includes(name) && typeof one === 'number') {
      const place = move(one)
      if (place === undefined) return undefined
      made[name] = place
    } else if (names.includes(name) && Array.isArray(one)) {
      const places = one.map((each: unknown) => (typeof each === 'number' ? move(each) : undefined))
      if (places.includes(undefined)) return undefined
      made[name] = places
    } else if (one !== null && typeof one === 'object' && !Array.isArray(one)) {
      const inner = renamed(one, names, move)
      if (inner === undefined) return undefined
      made[name] = inner
    } else made[name] = one
  }
  return made
}
