import type { Change } from '../../functions/runtime/stream.ts'
import type { Faults } from './faults.ts'
import { NO_FAULTS } from './faults.ts'
import { hashText, Prng } from './prng.ts'
import type { Scheduler } from './scheduler.ts'

export interface ConsumerOptions {
  /** Records in one batch. */
  readonly batch: number
  /** Tries of one batch after the first one; when they are used up its records are given up. */
  readonly retries: number
  /** Only these are delivered; the others count as done with. */
  readonly filter?: (change: Change) => boolean
  readonly timeoutSeconds?: number
  /** How long a batch waits for more records, in milliseconds; in some runs less. */
  readonly window?: number
  /**
   * The function behind the stream. Names the first record that failed, as `ReportBatchItemFailures` has it; throws if all
   * of them are to come again.
   */
  readonly handle: (changes: readonly Change[]) => Promise<Answer> | Promise<void>
}
type Answer = { readonly batchItemFailures: readonly { readonly itemIdentifier: string }[] }

interface Shard {
  readonly records: Change[]
}
interface Reader {
  readonly shard: Shard
  readonly number: number
  /** Records before this place are done with. */
  place: number
  /** Records of the next batch at most; halved by bisection. */
  size: number
  failed: number
  busy: boolean
}
interface Consumer {
  readonly name: string
  readonly options: ConsumerOptions
  readonly readers: readonly Reader[]
  readonly dead: Change[]
  /** The service looks for records this often: until then they gather. */
  readonly pause: number
}

/**
 * The table's stream: the changes of one partition in their order, of several in any, to each consumer at its own pace.
 * A batch that fails comes again, is bisected, and is given up in the end; what was delivered may come again.
 */
export class SimulatedStream {
  private readonly scheduler: Scheduler
  private readonly faults: Faults
  private readonly draws: Prng
  private readonly shards: readonly Shard[]
  private readonly consumers: Consumer[] = []

  constructor(tools: { readonly scheduler: Scheduler; readonly faults?: Faults; readonly seed: number }) {
    this.scheduler = tools.scheduler
    this.faults = tools.faults ?? NO_FAULTS
    this.draws = new Prng(tools.seed, 'stream')
    this.shards = Array.from({ length: this.draws.between(1, 4) }, () => ({ records: [] }))
  }

  consume(name: string, options: ConsumerOptions): void {
    const readers = this.shards.map((shard, number) => ({
      shard,
      number,
      place: 0,
      size: options.batch,
      failed: 0,
      busy: false,
    }))
    const pause = this.draws.pick([0, 1, 1]) * Math.max(options.window ?? 0, this.draws.pick([0, 250]))
    this.consumers.push({ name, options, readers, dead: [], pause })
  }

  /** Takes what the table tells (`SimulatedTable.onChange`). */
  push(change: Change): void {
    const item = change.after ?? change.before
    if (item === undefined) return
    const number = (hashText(0x811c9dc5, item.pk) >>> 0) % this.shards.length
    this.shards[number]?.records.push(change)
    for (const consumer of this.consumers) {
      const reader = consumer.readers[number]
      if (reader !== undefined) this.pump(consumer, reader)
    }
  }

  /** Records that a consumer gave up, or all did. */
  dead(name?: string): readonly Change[] {
    return this.consumers.filter((one) => name === undefined || one.name === name).flatMap(({ dead }) => dead)
  }

  /** Records that a consumer has not done with yet. */
  behind(name: string): number {
    const consumer = this.consumers.find((one) => one.name === name)
    return consumer?.readers.reduce((sum, { shard, place }) => sum + shard.records.length - place, 0) ?? 0
  }

  // --------------------------------------------------------------------------------------------- inside

  private pump(consumer: Consumer, reader: Reader): void {
    if (reader.busy) return
    this.skip(consumer, reader)
    if (reader.place >= reader.shard.records.length) return
    reader.busy = true
    const wait =
      reader.failed > 0
        ? Math.min(60_000, 100 * 2 ** reader.failed)
        : this.faults.decide('stream-delay', consumer.name)
          ? this.draws.pick([1000, 30_000, 300_000, 3_600_000])
          : consumer.pause
    if (wait > 0) this.scheduler.at(this.scheduler.now + wait, () => this.deliver(consumer, reader))
    else this.deliver(consumer, reader)
  }

  private skip({ options }: Consumer, reader: Reader): void {
    const { filter } = options
    if (filter === undefined) return
    const { records } = reader.shard
    for (let change = records[reader.place]; change !== undefined && !filter(change); change = records[reader.place])
      reader.place += 1
  }

  private deliver(consumer: Consumer, reader: Reader): void {
    const { options, name } = consumer
    let reached = reader.place
    this.scheduler.spawn(
      `${name}@${reader.number}`,
      async () => {
        const { records } = reader.shard
        const end = Math.min(records.length, reader.place + reader.size)
        const batch = records.slice(reader.place, end)
        const wanted = options.filter === undefined ? batch : batch.filter(options.filter)
        const answer = await options.handle(wanted)
        await this.scheduler.step('stream', `${name} done ${wanted.length}`)
        const failed = answer?.batchItemFailures[0]?.itemIdentifier
        if (failed === undefined) reached = end
        else {
          const place = batch.findIndex(({ sequence }) => sequence === failed)
          if (place < 0) throw new Error(`the answer names a record ${failed} that is not in the batch`)
          reached = reader.place + place
        }
      },
      {
        ...(options.timeoutSeconds === undefined ? {} : { timeout: options.timeoutSeconds * 1000 }),
        onEnd: ({ state }) => {
          reader.busy = false
          const whole = Math.min(reader.size, reader.shard.records.length - reader.place)
          this.advance(consumer, reader, reached, state === 'done' && reached - reader.place >= whole)
          this.pump(consumer, reader)
        },
      },
    )
  }

  private advance(consumer: Consumer, reader: Reader, reached: number, done: boolean): void {
    const { options, name } = consumer
    const from = reader.place
    reader.place = reached
    if (done || reached > from) {
      reader.failed = done ? 0 : 1
      reader.size = options.batch
      // A reader that lost its place begins further back; the records of one key still come in their order.
      if (this.faults.decide('stream-replay', name)) reader.place = Math.max(0, reached - 1 - this.draws.below(20))
      return
    }
    reader.failed += 1
    if (reader.failed > options.retries) {
      const given = reader.shard.records.slice(from, from + reader.size)
      consumer.dead.push(...given.filter((change) => options.filter?.(change) !== false))
      this.scheduler.note(`${name}@${reader.number} gives up ${given.length} records`)
      reader.place = Math.min(reader.shard.records.length, from + reader.size)
      reader.failed = 0
      reader.size = options.batch
    } else if (reader.size > 1) reader.size = Math.ceil(Math.min(reader.size, reader.shard.records.length - from) / 2)
  }
}
