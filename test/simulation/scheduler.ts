import type { Faults } from './faults.ts'
import { NO_FAULTS } from './faults.ts'
import { hashText, Prng } from './prng.ts'

export type StepKind =
  | 'start'
  | 'store'
  | 'queue'
  | 'stream'
  | 'clock'
  | 'provider'
  | 'archive'
  | 'announce'
  | 'secret'
  | 'mark'
  | 'random'

/** One invocation of a handler, or anything else that runs as a process of its own. */
export interface Task {
  readonly name: string
  state: 'running' | 'done' | 'failed' | 'killed'
  error?: unknown
  /** By how much this process's clock is wrong, in milliseconds. */
  readonly skew: number
  /** Steps that had been made when it was spawned. */
  readonly began: number
}

export interface SpawnOptions {
  /** Virtual milliseconds after which the process is killed, as a function is at its time-out. */
  readonly timeout?: number
  /** Called once when the task is done, has failed or was killed. */
  readonly onEnd?: (task: Task) => void
}

/** A virtual timer; `cancel` makes it never run. */
export interface Timer {
  readonly time: number
  cancel(): void
}

interface Parked {
  readonly kind: StepKind
  readonly label: string
  readonly resume: () => void
}

/** A task as the scheduler keeps it. */
interface Process extends Task {
  readonly number: number
  readonly parked: Parked[]
  /** Its place among the ready ones, -1 if it has nothing parked. */
  place: number
  priority: number
  starved: boolean
  /** Timers that it sleeps on. */
  sleeping: number
  readonly options: SpawnOptions
  deadline: Due | undefined
  /** What the services that it called still have to do if it dies now. */
  readonly orphans: Set<() => void>
}

interface Due extends Timer {
  readonly order: number
  readonly run: () => void
  cancelled: boolean
}

/** How the next step is chosen; a seed has one of them. Each finds other bugs. */
const POLICIES = ['uniform', 'steps', 'sticky', 'priorities', 'starving', 'in order', 'pausing', 'pausing'] as const
type Policy = (typeof POLICIES)[number]

/** Under `pausing`: how likely a task stands still before a step, and for how many milliseconds at most. */
const PAUSES = [0.02, 0.06] as const
const LONGEST_PAUSES = [100, 1000, 5000, 20_000] as const

/** Steps between two returns to Node's event loop, so that a long run can be interrupted. */
const UNINTERRUPTED = 20_000

/**
 * Runs tasks one step at a time, in an order that follows from the seed alone. A port parks its caller (`step`) before
 * each effect; whoever is picked runs, with all that follows from it, until everything is parked again. So the task whose
 * step was resumed last is the one that runs, also where it does several things at once.
 *
 * An effect and its answer are one step: what others do between the two, they could as well do behind the answer, before
 * the caller's next step. A crash between them is a kill at the caller's next step.
 */
export class Scheduler {
  /** Virtual milliseconds since 1970. */
  now = Date.parse('2026-11-22T10:00:00.000Z')
  /** After each step, when everything is parked again. */
  onStep: ((kind: StepKind, label: string, task: Task) => void) | undefined
  /** Lines of the trace, where recording is on. */
  readonly trace: string[] = []
  recording = false
  /** Whether time may pass although somebody could run: no step is then sure to come before a time-out. */
  hasty = false
  steps = 0
  readonly policy: Policy

  private readonly faults: Faults
  private readonly draws: Prng
  private readonly ready: Process[] = []
  private readonly tasks = new Set<Process>()
  private readonly timers: Due[] = []
  private current: Process | undefined
  private spawned = 0
  private ordered = 0
  private high = 0x811c9dc5
  private low = 0x01234567
  /** Probability of going on with the same task, under `sticky`. */
  private readonly stickiness: number
  /** Probability that the clock moves although somebody could run. */
  private readonly haste: number
  /** What a step takes at most, in milliseconds. */
  private readonly stepTime: number
  /** Probability that a task stands still before a step, under `pausing`. */
  private readonly pauses: number
  /** Steps at which the running task falls behind all others, under `priorities`. */
  private nextChange: number
  private lowest = 0

  constructor(seed: number, faults: Faults = NO_FAULTS) {
    this.faults = faults
    this.draws = new Prng(seed, 'scheduler')
    this.policy = this.draws.pick(POLICIES)
    this.stickiness = this.draws.pick([0.8, 0.95, 0.99])
    this.haste = this.draws.pick([0, 0, 0.001, 0.01])
    this.stepTime = this.draws.pick([0, 2, 10, 100])
    this.pauses = this.draws.pick(PAUSES)
    this.nextChange = this.draws.below(400)
  }

  /** The task whose step was resumed last. */
  get task(): Task | undefined {
    return this.current
  }

  /** Seeded, for the scheduler's own choices and those of the ports. */
  fraction(): number {
    return this.draws.fraction()
  }

  /** Parks the caller until it is picked; the effect follows without any further wait. Outside of tasks it goes on at once. */
  step(kind: StepKind, label: string): Promise<void> {
    const task = this.current
    if (task === undefined) return Promise.resolve()
    return new Promise((resume) => this.park(task, { kind, label, resume }))
  }

  /** Parks the caller for a time. */
  sleep(milliseconds: number, label = 'sleep'): Promise<void> {
    const task = this.current
    if (task === undefined) return Promise.resolve()
    return new Promise((resume) => {
      task.sleeping += 1
      this.at(this.now + Math.max(0, milliseconds), () => {
        task.sleeping -= 1
        this.park(task, { kind: 'clock', label, resume })
      })
    })
  }

  /** What a service does all the same if the calling task dies before its next step; the answer takes it back. */
  orphan(run: () => void): () => void {
    const task = this.current
    if (task === undefined) return () => {}
    task.orphans.add(run)
    return () => void task.orphans.delete(run)
  }

  spawn(name: string, body: () => Promise<void>, options: SpawnOptions = {}): Task {
    const skewed = this.faults.decide('clock-jump', name)
    const task: Process = {
      name,
      state: 'running',
      skew: skewed ? Math.floor((this.draws.fraction() - 0.5) * 10_000) : 0,
      began: this.steps,
      number: this.spawned,
      parked: [],
      place: -1,
      priority: this.draws.fraction(),
      starved: this.policy === 'starving' && this.draws.chance(0.2),
      sleeping: 0,
      options,
      deadline: undefined,
      orphans: new Set(),
    }
    this.spawned += 1
    this.tasks.add(task)
    const { timeout } = options
    if (timeout !== undefined) task.deadline = this.at(this.now + timeout, () => this.kill(task))
    const resume = () => {
      body().then(
        () => this.end(task, 'done'),
        (error: unknown) => {
          task.error = error
          this.end(task, 'failed')
        },
      )
    }
    this.park(task, { kind: 'start', label: name, resume })
    return task
  }

  /** It never resumes: a crash between two effects. */
  kill(task: Task): void {
    const process = task as Process
    if (process.state !== 'running') return
    this.note(`killed ${process.name}#${process.number}`)
    this.unready(process)
    process.parked.length = 0
    this.end(process, 'killed')
    for (const run of process.orphans) run()
    process.orphans.clear()
  }

  /** Runs at a virtual time, outside of all tasks. */
  at(time: number, run: () => void): Due {
    const due: Due = {
      time: Math.max(time, this.now),
      order: this.ordered,
      run,
      cancelled: false,
      cancel: () => {
        due.cancelled = true
      },
    }
    this.ordered += 1
    push(this.timers, due)
    return due
  }

  /** Tasks that have not ended. */
  running(): readonly Task[] {
    return [...this.tasks]
  }

  /** The whole trace in 16 hexadecimal digits. */
  hash(): string {
    const digits = (bits: number) => (bits >>> 0).toString(16).padStart(8, '0')
    return digits(this.high) + digits(this.low)
  }

  /**
   * Picks parked steps until nothing is left to do (`quiet`), the next thing would be later than `until` (the clock then
   * stands there), or so many steps were made. Throws `Stuck` if a task waits for something that is no step: a promise of
   * another process, or real input and output.
   */
  run(options: { readonly until: number; readonly steps: number }): Promise<'quiet' | 'until' | 'steps'> {
    const most = this.steps + options.steps
    return new Promise((resolve, reject) => {
      let uninterrupted = 0
      let last: { readonly task: Process; readonly parked: Parked } | undefined
      const finish = (how: 'quiet' | 'until' | 'steps') => {
        this.current = undefined
        resolve(how)
      }
      const turn = () => {
        try {
          if (last !== undefined) this.after(last.task, last.parked)
          last = undefined
          this.current = undefined
          if (this.steps >= most) return finish('steps')
          const moved = this.move(options.until)
          if (moved !== 'ready') {
            if (moved !== 'again') return finish(moved)
            return onwards()
          }
          const task = this.pickTask()
          const parked = this.take(task)
          if (this.crashes(task, parked)) {
            this.kill(task)
            return onwards()
          }
          this.current = task
          last = { task, parked }
          parked.resume()
          onwards()
        } catch (error) {
          this.current = undefined
          reject(error)
        }
      }
      // A tick that is asked for from a microtask runs when all microtasks are done: then everything is parked again.
      const tick = () => process.nextTick(turn)
      const onwards = () => {
        uninterrupted += 1
        if (uninterrupted < UNINTERRUPTED) return queueMicrotask(tick)
        uninterrupted = 0
        setImmediate(turn)
      }
      onwards()
    })
  }

  /** Moves the clock where nobody can run, and sometimes before. */
  private move(until: number): 'ready' | 'again' | 'quiet' | 'until' {
    while (this.timers[0]?.cancelled === true) pop(this.timers)
    const next = this.timers[0]
    const idle = this.ready.length === 0
    if (!idle) {
      if (
        !this.hasty ||
        this.haste === 0 ||
        next === undefined ||
        next.time > this.now + 60_000 ||
        this.draws.fraction() >= this.haste
      )
        return 'ready'
    }
    if (next === undefined) {
      this.waiting()
      return 'quiet'
    }
    if (next.time > until) {
      if (!idle) return 'ready'
      this.now = Math.max(this.now, until)
      return 'until'
    }
    pop(this.timers)
    this.now = Math.max(this.now, next.time)
    next.run()
    return 'again'
  }

  /** Nothing is left to do: is anybody still at it? */
  private waiting(): void {
    const stuck = [...this.tasks].filter((task) => task.sleeping === 0)
    if (stuck.length > 0) throw new Stuck(`waits for something that is no step: ${stuck.map(({ name }) => name).join(', ')}`)
  }

  private crashes(task: Process, { kind, label }: Parked): boolean {
    if (kind === 'start') return false
    if (this.faults.decide('crash-before', `${task.name}: ${label}`)) return true
    return task.name.startsWith('plan') && kind === 'store' && this.faults.decide('planner-kill', `${task.name}: ${label}`)
  }

  private after(task: Process, { kind, label }: Parked): void {
    this.steps += 1
    if (this.stepTime > 0) this.now += Math.floor(this.draws.fraction() * this.stepTime)
    this.mix(kind, label, task)
    this.onStep?.(kind, label, task)
    if (task.state === 'running' && kind !== 'start' && this.faults.decide('crash-after', `${task.name}: ${label}`))
      this.kill(task)
  }

  private mix(kind: StepKind, label: string, task: Process): void {
    this.high = hashText(Math.imul(this.high ^ task.number, 0x01000193), label)
    this.low = Math.imul(hashText(this.low ^ this.high ^ Math.floor(this.now % 4_294_967_296), kind), 0x85ebca6b)
    if (this.recording)
      this.trace.push(`${new Date(this.now).toISOString().slice(8, 23)} ${task.name}#${task.number} ${kind} ${label}`)
  }

  /** A line of the trace that is no step. */
  note(line: string): void {
    this.low = hashText(this.low, line)
    if (this.recording) this.trace.push(`${new Date(this.now).toISOString().slice(8, 23)} ${line}`)
  }

  private end(task: Process, state: 'done' | 'failed' | 'killed'): void {
    if (task.state !== 'running') return
    task.state = state
    task.deadline?.cancel()
    this.tasks.delete(task)
    this.unready(task)
    task.parked.length = 0
    task.options.onEnd?.(task)
  }

  private park(task: Process, parked: Parked): void {
    // A dead process asks for nothing any more.
    if (task.state !== 'running') return
    if (this.policy === 'pausing' && this.hasty && parked.kind !== 'start' && this.draws.chance(this.pauses)) {
      const pause = this.draws.fraction() * this.draws.pick(LONGEST_PAUSES)
      task.sleeping += 1
      this.at(this.now + pause, () => {
        task.sleeping -= 1
        this.makeReady(task, parked)
      })
      return
    }
    this.makeReady(task, parked)
  }

  private makeReady(task: Process, parked: Parked): void {
    if (task.state !== 'running') return
    task.parked.push(parked)
    if (task.place < 0) {
      task.place = this.ready.length
      this.ready.push(task)
    }
  }

  private unready(task: Process): void {
    if (task.place < 0) return
    const last = this.ready.pop()
    if (last !== undefined && last !== task) {
      this.ready[task.place] = last
      last.place = task.place
    }
    task.place = -1
  }

  private take(task: Process): Parked {
    const place = task.parked.length === 1 || this.policy === 'in order' ? 0 : this.draws.below(task.parked.length)
    const [parked] = task.parked.splice(place, 1)
    if (parked === undefined) throw new Error('nothing is parked')
    if (task.parked.length === 0) this.unready(task)
    return parked
  }

  private pickTask(): Process {
    const { ready } = this
    const [only] = ready
    if (only !== undefined && ready.length === 1) return only
    switch (this.policy) {
      case 'uniform':
      case 'pausing':
        return this.draws.pick(ready)
      case 'steps':
        return this.pickStep()
      case 'sticky': {
        const again = this.previous
        if (again !== undefined && again.place >= 0 && this.draws.fraction() < this.stickiness) return again
        this.previous = this.draws.pick(ready)
        return this.previous
      }
      case 'priorities':
        return this.pickPriority()
      case 'starving': {
        const task = this.draws.pick(ready)
        if (!task.starved || this.draws.fraction() < 0.02) return task
        return this.draws.pick(
          ready
            .filter((one) => !one.starved)
            .concat(task)
            .slice(0, 8),
        )
      }
      case 'in order':
        return ready.reduce((first, task) => (task.number < first.number ? task : first))
    }
  }
  private previous: Process | undefined

  /** Each parked step is as likely as any other, so tasks that do much at once come more often. */
  private pickStep(): Process {
    let total = 0
    for (const task of this.ready) total += task.parked.length
    let left = this.draws.below(total)
    for (const task of this.ready) {
      left -= task.parked.length
      if (left < 0) return task
    }
    return this.draws.pick(this.ready)
  }

  /** The highest priority runs; at a few random steps it falls below all others (as in probabilistic concurrency testing). */
  private pickPriority(): Process {
    let first = this.draws.pick(this.ready)
    for (const task of this.ready) if (task.priority > first.priority) first = task
    if (this.steps >= this.nextChange) {
      this.nextChange = this.steps + 1 + this.draws.below(400)
      this.lowest -= 1
      first.priority = this.lowest
      for (const task of this.ready) if (task.priority > first.priority) first = task
    }
    return first
  }
}

/** A task waits for something that the scheduler knows nothing of. */
export class Stuck extends Error {
  override readonly name = 'Stuck'
}

const sooner = (one: Due, other: Due) => one.time < other.time || (one.time === other.time && one.order < other.order)

function push(heap: Due[], due: Due): void {
  let place = heap.length
  heap.push(due)
  while (place > 0) {
    const above = (place - 1) >> 1
    const parent = heap[above]
    if (parent === undefined || !sooner(due, parent)) break
    heap[place] = parent
    place = above
  }
  heap[place] = due
}

function pop(heap: Due[]): void {
  const moved = heap.pop()
  if (moved === undefined || heap.length === 0) return
  let place = 0
  for (;;) {
    const left = 2 * place + 1
    const [one, other] = [heap[left], heap[left + 1]]
    if (one === undefined) break
    const down = other !== undefined && sooner(other, one) ? left + 1 : left
    const child = heap[down]
    if (child === undefined || !sooner(child, moved)) break
    heap[place] = child
    place = down
  }
  heap[place] = moved
}
