import { ArchiveConflict } from '../../functions/runtime/archive.ts'
import { fileKeys } from '../../functions/runtime/keys.ts'
import { jsonLog } from '../../functions/runtime/log.ts'
import type { Metrics } from '../../functions/runtime/metrics.ts'
import type {
  Announcer,
  Archive,
  Clock,
  GenerationMark,
  KeyService,
  Log,
  Randomness,
  Secrets,
} from '../../functions/runtime/ports.ts'
import type { Faults } from './faults.ts'
import { NO_FAULTS } from './faults.ts'
import { Prng } from './prng.ts'
import type { Scheduler } from './scheduler.ts'

interface Tools {
  readonly scheduler: Scheduler
  readonly faults?: Faults
}

/** The scheduler's time as the running process's own clock shows it. */
export function simulatedClock(scheduler: Scheduler): Clock {
  return {
    now: () => scheduler.now + (scheduler.task?.skew ?? 0),
    sleep: (milliseconds) => scheduler.sleep(milliseconds),
  }
}

export function simulatedRandomness(seed: number, stream = 'random'): Randomness {
  const draws = new Prng(seed, stream)
  return { fraction: () => draws.fraction(), bytes: (length) => draws.bytes(length) }
}

/** What the functions write to their logs, through the product's own filter. */
export class SimulatedLog {
  readonly lines: string[] = []
  private readonly clock: Clock
  constructor(clock: Clock) {
    this.clock = clock
  }
  of(name: string): Log {
    return jsonLog({ clock: this.clock, function: name, write: (line) => void this.lines.push(line) })
  }
}

/** Counters by name and reason. */
export class SimulatedMetrics implements Metrics {
  readonly counts = new Map<string, number>()
  count(name: string, reason: string, value = 1): void {
    const key = `${name} ${reason}`
    this.counts.set(key, (this.counts.get(key) ?? 0) + value)
  }
}

/** Thrown by a service that does not answer, or whose answer was lost. */
export class ServiceFailed extends Error {
  override readonly name = 'ServiceFailed'
}

export class SimulatedSecrets implements Secrets {
  private readonly scheduler: Scheduler
  private readonly values: ReadonlyMap<string, string>
  constructor({ scheduler }: Tools, values: ReadonlyMap<string, string>) {
    this.scheduler = scheduler
    this.values = values
  }
  async get(reference: string): Promise<string> {
    await this.scheduler.step('secret', reference)
    const value = this.values.get(reference)
    if (value === undefined) throw new ServiceFailed('there is no such secret')
    return value
  }
}

/** Objects that are written once. */
export class SimulatedArchive implements Archive {
  readonly objects = new Map<string, string>()
  /** Called right after an object was written. */
  onPut: ((key: string, body: string) => void) | undefined
  private readonly scheduler: Scheduler
  private readonly faults: Faults
  constructor({ scheduler, faults }: Tools) {
    this.scheduler = scheduler
    this.faults = faults ?? NO_FAULTS
  }

  async put(key: string, body: string): Promise<void> {
    await this.scheduler.step('archive', `put ${key}`)
    const fails = this.faults.decide('archive-fails', key)
    // Half of the failures are lost answers.
    if (fails && this.scheduler.fraction() < 0.5) throw new ServiceFailed('the archive does not answer')
    const there = this.objects.get(key)
    if (there !== undefined && there !== body) throw new ArchiveConflict('another content stands under this key')
    this.objects.set(key, body)
    this.onPut?.(key, body)
    if (fails) throw new ServiceFailed('the archive does not answer')
  }

  async get(key: string): Promise<string | undefined> {
    await this.scheduler.step('archive', `get ${key}`)
    return this.objects.get(key)
  }
}

export interface Announced {
  readonly type: string
  readonly id: string
  readonly subject: string
  readonly time: string
  readonly data: unknown
}

export class SimulatedAnnouncer implements Announcer {
  readonly events: Announced[] = []
  /** Called right after an event went out. */
  onEvent: ((event: Announced) => void) | undefined
  private readonly scheduler: Scheduler
  private readonly faults: Faults
  constructor({ scheduler, faults }: Tools) {
    this.scheduler = scheduler
    this.faults = faults ?? NO_FAULTS
  }

  async announce(events: readonly Announced[]): Promise<void> {
    const [first] = events
    if (first === undefined) return
    await this.scheduler.step('announce', `${first.type} ${first.id}`)
    const fails = this.faults.decide('announce-fails', first.id)
    if (fails && this.scheduler.fraction() < 0.5) throw new ServiceFailed('the bus does not answer')
    for (const event of events) {
      this.events.push(event)
      this.onEvent?.(event)
    }
    if (fails) throw new ServiceFailed('the bus does not answer')
  }
}

/** The generation mark, conditional as the bucket's is. */
export class SimulatedMark implements GenerationMark {
  generation: number | undefined
  private writes = 0
  private readonly scheduler: Scheduler
  private readonly faults: Faults
  constructor({ scheduler, faults }: Tools) {
    this.scheduler = scheduler
    this.faults = faults ?? NO_FAULTS
  }

  async read() {
    await this.scheduler.step('mark', 'read')
    if (this.faults.decide('throttle', 'mark read')) throw new ServiceFailed('the bucket does not answer')
    return this.generation === undefined ? undefined : { generation: this.generation, version: `"${this.writes}"` }
  }

  async write(generation: number, over: string | undefined): Promise<boolean> {
    await this.scheduler.step('mark', `write ${generation}`)
    if (over !== (this.generation === undefined ? undefined : `"${this.writes}"`)) return false
    this.generation = generation
    this.writes += 1
    if (this.faults.decide('answer-lost', 'mark write')) throw new ServiceFailed('the bucket does not answer')
    return true
  }
}

/** Data keys as a key file makes them: real ciphers with drawn bytes. */
export function simulatedKeys({ scheduler }: Tools, random: Randomness): KeyService {
  const keys = fileKeys(new Uint8Array(32).fill(7), random)
  return {
    async generate(context) {
      await scheduler.step('secret', 'generate a data key')
      return keys.generate(context)
    },
    async unwrap(wrapped, context) {
      await scheduler.step('secret', 'unwrap a data key')
      return keys.unwrap(wrapped, context)
    },
  }
}
