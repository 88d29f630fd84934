import { as } from '../../functions/store/items.ts'
import type { Item } from '../../functions/store/table.ts'
import type { FaultProfile, Faults, Injected } from './faults.ts'
import { SeededFaults } from './faults.ts'
import { Installation } from './installation.ts'
import { bareName } from './issuers.ts'
import { Oracle } from './oracle.ts'
import { workSent } from './oracle-final.ts'
import type { Schedule } from './schedule.ts'
import { scheduleOf } from './schedule.ts'
import { Scheduler, Stuck } from './scheduler.ts'
import { START } from './world.ts'

export interface Options {
  /** Instead of the one that the seed makes. */
  readonly schedule?: Schedule
  readonly disabledFaults?: ReadonlySet<number>
  /** Keeps the trace. */
  readonly record?: boolean
}

/** What one seed came to. */
export interface Result {
  readonly seed: number
  readonly ok: boolean
  readonly violations: readonly string[]
  /** Of the whole trace. */
  readonly hash: string
  readonly steps: number
  /** Virtual seconds from the beginning to the end. */
  readonly virtualSeconds: number
  readonly schedule: Schedule
  /** Those that were injected. */
  readonly faults: readonly Injected[]
  /** Of this machine. */
  readonly milliseconds: number
  /** What was met, and how often: operations, answers, faults, states, outcomes. */
  readonly coverage: Readonly<Record<string, number>>
  readonly trace: readonly string[]
}

const MINUTE = 60_000
const HOUR = 3_600_000
/** Steps of one run; a hundred times what a usual one takes. */
const MOST_STEPS = 400_000
/** Virtual time in which a schedule's operations and what they cause go on under faults, behind the last one. */
const AFTERMATH = 90_000
/** Virtual time that the calm at the end may take. */
const LONGEST_CALM = 8 * HOUR
const LONGEST_WITH_ORPHANS = 30 * HOUR
/** In steps of this the end waits for the records of what was written last. */
const TELLING = 200
/** Work that comes back for ever although all is over: sweeps of the calm, at most. */
const MOST_SWEEPS = 400

/** Faults that can be switched on and off, so that a world is set up and comes to rest without any. */
class Gate implements Faults {
  open = false
  private readonly faults: Faults
  constructor(faults: Faults) {
    this.faults = faults
  }
  decide(kind: Parameters<Faults['decide']>[0], label: string): boolean {
    return this.open && this.faults.decide(kind, label)
  }
}

/** Runs one seed from its world to its calm, and judges it. */
export async function runSeed(seed: number, options: Options = {}): Promise<Result> {
  const began = process.hrtime.bigint()
  const schedule = options.schedule ?? scheduleOf(seed)
  const run = new Run(schedule, options)
  const violations = await run.run()
  const { scheduler } = run
  return {
    seed,
    ok: violations.length === 0,
    violations,
    hash: scheduler.hash(),
    steps: scheduler.steps,
    virtualSeconds: (scheduler.now - START) / 1000,
    schedule,
    faults: run.faults.injected,
    milliseconds: Number(process.hrtime.bigint() - began) / 1e6,
    coverage: run.coverage(),
    trace: scheduler.trace,
  }
}

class Run {
  readonly scheduler: Scheduler
  readonly faults: SeededFaults
  private readonly schedule: Schedule
  private readonly gate: Gate
  private readonly installation: Installation
  private readonly oracle: Oracle
  private calm = false
  private calmAt = 0

  constructor(schedule: Schedule, { disabledFaults, record }: Options) {
    this.schedule = schedule
    const profile: FaultProfile = schedule.faults
    this.faults = new SeededFaults(schedule.seed, profile, disabledFaults)
    this.gate = new Gate(this.faults)
    this.scheduler = new Scheduler(schedule.seed, this.gate)
    this.scheduler.now = START
    this.scheduler.recording = record === true
    this.installation = new Installation(schedule, this.scheduler, this.gate)
    const { scheduler, faults, installation } = this
    const { table, issuers, sent } = installation
    this.oracle = new Oracle({
      schedule,
      scheduler,
      faults,
      table,
      issuers,
      journal: installation.clients.journal,
      archived: installation.archive.objects,
      announced: installation.announcer.events,
      logged: installation.log.lines,
      sent,
      deadLetters: () => installation.queues.dead(),
    })
  }

  async run(): Promise<string[]> {
    try {
      await this.play()
    } catch (error) {
      if (error instanceof TooLong || error instanceof Stuck) return [...this.oracle.violations, error.message]
      throw error
    }
    return [...this.oracle.final()]
  }

  private async play(): Promise<void> {
    const { scheduler, installation, oracle, gate } = this
    installation.clients.setup(() => {})
    await scheduler.run({ until: START + MINUTE, steps: MOST_STEPS })
    const setup = scheduler.now
    // The world begins at a whole second of its own: whatever the setup took.
    scheduler.now = Math.max(setup, START)
    gate.open = true
    scheduler.hasty = true
    scheduler.onStep = () => oracle.onStep()
    installation.clients.start()
    installation.sweepEachMinute(() => !this.calm)
    const last = this.schedule.operations.at(-1)?.at ?? 0
    await this.until(START + last + AFTERMATH)
    await this.settle()
  }

  /** Lets things happen until a virtual time. */
  private async until(time: number): Promise<void> {
    const { scheduler } = this
    const how = await scheduler.run({ until: time, steps: MOST_STEPS - scheduler.steps })
    // Where nobody waits for anything the clock stands still by itself.
    if (how === 'quiet') scheduler.now = Math.max(scheduler.now, time)
    if (how === 'steps') throw new TooLong(`${MOST_STEPS} steps were not enough: ${this.busy()}`)
  }

  /** No more faults; operators let go what they stopped; time passes until nothing is left to do. */
  private async settle(): Promise<void> {
    const { scheduler, installation, gate, schedule } = this
    gate.open = false
    scheduler.hasty = false
    // What schedules and outages still had in store happens before.
    const outages = schedule.operations.map((operation) =>
      'seconds' in operation && operation.do !== 'renew' ? operation.at + operation.seconds * 1000 : operation.at,
    )
    await this.until(Math.max(scheduler.now, START + Math.min(Math.max(0, ...outages), HOUR)))
    installation.issuers.heal()
    installation.reconfigure()
    installation.stoppedUntil = 0
    this.calm = true
    this.calmAt = scheduler.now
    await this.sweeps(2)
    this.release()
    await this.sweeps(3)
    this.release()
    const end = scheduler.now + (schedule.patient ? LONGEST_WITH_ORPHANS : LONGEST_CALM)
    for (let count = 0; count < MOST_SWEEPS && scheduler.now < end; count += 1) {
      const next = this.nextDue()
      if (next === undefined) break
      await this.until(Math.max(scheduler.now + MINUTE, Math.min(next + 1000, this.longestPause())))
      await this.sweeps(1)
    }
    // Where something is tried again for ever the end comes in its middle: what was written by then is told all the same.
    for (let left = MOST_SWEEPS; left > 0 && this.isBehind(); left -= 1) await this.until(scheduler.now + TELLING)
  }

  private isBehind(): boolean {
    return ['close', 'prove'].some((name) => this.installation.stream.behind(name) > 0)
  }

  /** Operators decide about what waits for them. */
  private release() {
    const { installation, schedule } = this
    const cases = installation.items('case')
    const ids = (wanted: (item: Item) => boolean) => cases.filter(wanted).map((item) => String(item['id']))
    const paused = ids((item) => item['paused'] !== undefined)
    if (!schedule.decides) return installation.clients.calm([], [], [])
    const held = ids((item) => item['state'] === 'held')
    const campaigns = installation
      .items('campaign')
      .filter((item) => item['of'] === 'fuse' && Array.isArray(item['decisions']) && item['decisions'].length === 0)
    installation.clients.calm(
      paused,
      held,
      campaigns.map((item) => String(item['id'])),
    )
  }

  private longestPause(): number {
    const { gapSeconds } = this.schedule.world.settings
    return this.scheduler.now + Math.min(gapSeconds * 1000 - MINUTE, LONGEST_CALM)
  }

  private async sweeps(count: number): Promise<void> {
    const { scheduler, installation } = this
    for (let left = count; left > 0; left -= 1) {
      if (installation.isDue()) installation.sweep()
      await this.until(scheduler.now + MINUTE)
    }
  }

  /** When something is due again that must come to an end; `undefined` where all is over. */
  private nextDue(): number | undefined {
    const { installation } = this
    if (installation.queues.messages().length > 0 || this.isBehind()) return this.scheduler.now
    const limit = this.scheduler.now + (this.schedule.patient ? 25 : 3) * HOUR
    const items = installation.table.all()
    const paused = new Set(items.flatMap((item) => (item['kind'] === 'case' && item['paused'] !== undefined ? [item['id']] : [])))
    let next: number | undefined
    for (const item of items) {
      const { dueAt, duePk } = item
      if (typeof dueAt !== 'string' || duePk === undefined || paused.has(item['id']) || paused.has(item['case'])) continue
      const due = Date.parse(dueAt)
      if (due > limit || this.isIdle(item)) continue
      if (next === undefined || due < next) next = due
    }
    return next
  }

  /** Due, and for ever: watching what is dead, trying again what was parked twice and can never be cut. */
  private isIdle(item: Item): boolean {
    const { kind, step, watches, state } = item
    if (kind === 'chunk' || kind === 'amendment') return step === 'watch' && Number(watches ?? 0) > 2
    // Parked anew when nothing stood against it any more: it can never be cut.
    const inVain = Date.parse(String(item['listAt'])) > this.calmAt + MINUTE
    const parked = kind === 'lease' && item['listPk'] === 'PARKED' && state !== 'live'
    return parked && inVain && this.scheduler.now > this.calmAt + 2 * HOUR
  }

  private busy(): string {
    const { queues, table } = this.installation
    const open = table.all().filter((item) => item['state'] === 'open')
    return `${queues.messages().length} messages, ${open.length} open items, ${this.scheduler.running().length} tasks`
  }

  /** What this run met. */
  coverage(): Record<string, number> {
    const { installation, schedule } = this
    const met: Record<string, number> = {}
    const count = (name: string, by = 1) => {
      met[name] = (met[name] ?? 0) + by
    }
    for (const { kind } of this.faults.injected) count(`fault ${kind}`)
    for (const told of installation.clients.journal) {
      const what = schedule.operations[told.operation]?.do ?? 'calm'
      count(`operation ${what} ${told.status}${told.code === undefined ? '' : ` ${told.code}`}`)
    }
    for (const operation of schedule.operations) count(`operation ${operation.do}`)
    for (const [what, times] of installation.issuers.answered) count(`issuer ${what}`, times)
    for (const { what, credential = '' } of installation.issuers.history)
      count(`truth ${what}${bareName(credential) === credential ? '' : ' namesake'}`)
    const cases = new Map(installation.items('case').map((item) => [String(item['id']), as('case', item)]))
    for (const { queue, lane } of workSent(installation.sent, cases))
      if (!queue.endsWith(`-${lane}`)) count(`message of ${lane} in ${queue.slice(-2)}`)
    for (const { before, after } of installation.table.changes) {
      if (after === undefined) continue
      const { kind } = after
      if (kind === 'case' && after['state'] !== before?.['state'])
        count(`case ${String(after['type'])} ${String(after['state'])}`)
      if (kind === 'lease') {
        if (after['state'] !== before?.['state']) count(`lease ${String(after['state'])}`)
        for (const outcome of words(after)) count(`outcome ${outcome}`)
      }
      if ((kind === 'chunk' || kind === 'amendment') && before === undefined) count(`${kind} ${String(after['because'])}`)
      if (before === undefined) count(`item ${String(kind)}`)
    }
    return met
  }
}

function words(lease: Item): string[] {
  const { outcomes } = lease
  if (outcomes === null || typeof outcomes !== 'object') return []
  return Object.values(outcomes).map((outcome) => String(Reflect.get(Object(outcome), 'outcome')))
}

class TooLong extends Error {
  override readonly name = 'TooLong'
}
