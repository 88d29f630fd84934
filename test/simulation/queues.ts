import type { QueueMessage, Queues } from '../../functions/runtime/ports.ts'
import type { SqsBatchResponse, SqsEvent, SqsRecord, Visibility } from '../../functions/runtime/sqs-batch.ts'
import type { Faults } from './faults.ts'
import { NO_FAULTS } from './faults.ts'
import { Prng } from './prng.ts'
import type { Scheduler, Timer } from './scheduler.ts'

/** Times that a message is received before it goes to the dead letters; `lib/stacks/queues.ts` has the same. */
export const MOST_RECEIVES = 12

/** What comes back more often than this comes back for reasons of the product's: the queue's own faults spare it. */
const MOST_BY_FAULTS = 5

export interface QueueOptions {
  readonly fifo?: boolean
  /** Messages in one batch, at most 10. */
  readonly batch: number
  /** Invocations at once. */
  readonly concurrency: number
  readonly visibilitySeconds: number
  /** After which an invocation is killed. */
  readonly timeoutSeconds?: number
  /** The function behind the queue, made with the product's `sqsBatch`. Runs in a task named after the queue. */
  readonly invoke: (event: SqsEvent) => Promise<SqsBatchResponse>
}

export interface SimulatedMessage {
  readonly id: string
  readonly body: string
  readonly group: string | undefined
  readonly sentAt: number
  receives: number
}

interface Held extends SimulatedMessage {
  /** Of the last receipt; whoever has an older one can neither delete nor hide it. */
  receipt: string
  /** While it is hidden. */
  hidden: Timer | undefined
  gone: boolean
}

interface Queue {
  readonly name: string
  readonly options: QueueOptions
  /** In the order in which they came, hidden ones too. */
  readonly messages: Held[]
  readonly dead: SimulatedMessage[]
  /** Invocations under way, and those that are about to receive. */
  underWay: number
  receiving: number
}

/**
 * Queues as SQS has them, standard and FIFO, each read by one function in batches: a message stays hidden while it is
 * worked on, comes back if it was not deleted, and goes to the dead letters when it was received too often.
 */
export class SimulatedQueues implements Queues, Visibility {
  /** What was sent and what was deleted, for whoever wants to count. */
  readonly count = { sent: 0, received: 0, deleted: 0 }

  private readonly scheduler: Scheduler
  private readonly faults: Faults
  private readonly draws: Prng
  private readonly queues = new Map<string, Queue>()
  private serial = 0

  constructor(tools: { readonly scheduler: Scheduler; readonly faults?: Faults; readonly seed: number }) {
    this.scheduler = tools.scheduler
    this.faults = tools.faults ?? NO_FAULTS
    this.draws = new Prng(tools.seed, 'queues')
  }

  /** Makes a queue by its logical name. */
  define(name: string, options: QueueOptions): void {
    this.queues.set(name, { name, options, messages: [], dead: [], underWay: 0, receiving: 0 })
  }

  // ------------------------------------------------------------------------------------------- for the product

  async send(name: string, messages: readonly QueueMessage[]): Promise<void> {
    const queue = this.queue(name)
    for (let from = 0; from < messages.length; from += 10) {
      const batch = messages.slice(from, from + 10)
      const label = `${name} send ${batch.length}`
      await this.scheduler.step('queue', label)
      if (this.faults.decide('throttle', label)) throw new NotSent()
      const lost = this.faults.decide('answer-lost', label)
      for (const message of batch) {
        // Of a batch whose answer is lost, any part was taken.
        if (lost && this.draws.chance(0.5)) continue
        const body = JSON.stringify(message.body)
        const delay = queue.options.fifo === true ? 0 : Math.min(900, Math.max(0, Math.ceil(message.delaySeconds ?? 0)))
        this.add(queue, body, message.group, delay * 1000)
        if (this.faults.decide('duplicate', label))
          this.add(queue, body, message.group, this.draws.pick([0, 1000, 60_000, 400_000]))
      }
      if (lost) throw new NotSent()
    }
  }

  async returnAfter(record: Pick<SqsRecord, 'eventSourceARN' | 'receiptHandle'>, seconds: number): Promise<void> {
    const name = record.eventSourceARN.slice(record.eventSourceARN.lastIndexOf(':') + 1).replace(/\.fifo$/, '')
    const label = `${name} return`
    await this.scheduler.step('queue', label)
    if (this.faults.decide('throttle', label)) throw new NotSent()
    const queue = this.queue(name)
    const message = queue.messages.find(({ receipt }) => receipt === record.receiptHandle)
    // An outdated receipt is an error of SQS.
    if (message === undefined || message.gone) throw new NotSent()
    this.hide(queue, message, Math.ceil(seconds) * 1000)
    if (this.faults.decide('answer-lost', label)) throw new NotSent()
  }

  // -------------------------------------------------------------------------------------- for the world and the oracle

  /** Puts any text into a queue, as a stranger with the right to send could. */
  inject(name: string, body: string, group?: string): void {
    this.add(this.queue(name), body, group, 0)
  }

  names(): readonly string[] {
    return [...this.queues.keys()]
  }

  /** Messages in a queue, hidden ones too; or in all of them. */
  messages(name?: string): readonly SimulatedMessage[] {
    if (name !== undefined) return this.queue(name).messages
    return [...this.queues.values()].flatMap((queue) => queue.messages)
  }

  dead(name?: string): readonly SimulatedMessage[] {
    if (name !== undefined) return this.queue(name).dead
    return [...this.queues.values()].flatMap((queue) => queue.dead)
  }

  /** Drives the dead letters of a queue back: sent first, deleted after. */
  redrive(name: string): void {
    const queue = this.queue(name)
    for (const message of queue.dead) this.add(queue, message.body, message.group, 0)
    queue.dead.length = 0
  }

  /** All that lies in the queues is lost, as after fourteen days. */
  purge(): void {
    for (const queue of this.queues.values()) {
      for (const message of queue.messages) {
        message.gone = true
        message.hidden?.cancel()
      }
      queue.messages.length = 0
    }
  }

  // --------------------------------------------------------------------------------------------- inside

  private queue(name: string): Queue {
    const queue = this.queues.get(name)
    if (queue === undefined) throw new NotSent(`there is no queue ${name}`)
    return queue
  }

  private add(queue: Queue, body: string, group: string | undefined, delay: number): void {
    this.serial += 1
    this.count.sent += 1
    const id = `m${this.serial}`
    const message: Held = {
      id,
      body,
      group: group ?? (queue.options.fifo === true ? 'all' : undefined),
      sentAt: this.scheduler.now,
      receives: 0,
      receipt: '',
      hidden: undefined,
      gone: false,
    }
    queue.messages.push(message)
    const late = this.faults.decide('delay', queue.name) ? this.draws.pick([500, 5000, 60_000, 900_000]) : 0
    if (delay + late > 0) this.hide(queue, message, delay + late)
    else this.pump(queue)
  }

  private hide(queue: Queue, message: Held, milliseconds: number): void {
    message.hidden?.cancel()
    message.hidden = this.scheduler.at(this.scheduler.now + milliseconds, () => {
      message.hidden = undefined
      this.pump(queue)
    })
  }

  /** Starts an invocation wherever there is something to receive and room for it. */
  private pump(queue: Queue): void {
    const { options } = queue
    if (queue.underWay >= options.concurrency) return
    // One receiver at a time: when it has taken its batch it looks for more.
    if (queue.receiving > 0 || this.visible(queue).length === 0) return
    queue.receiving += 1
    queue.underWay += 1
    let received = false
    this.scheduler.spawn(
      queue.name,
      async () => {
        queue.receiving -= 1
        received = true
        const batch = this.receive(queue)
        this.pump(queue)
        if (batch.length > 0) await this.work(queue, batch)
      },
      {
        ...(options.timeoutSeconds === undefined ? {} : { timeout: options.timeoutSeconds * 1000 }),
        onEnd: () => {
          if (!received) queue.receiving -= 1
          queue.underWay -= 1
          this.pump(queue)
        },
      },
    )
  }

  /** What could be received now; of a FIFO group the first alone, and none while one of them is worked on. */
  private visible(queue: Queue): Held[] {
    if (queue.options.fifo !== true) return queue.messages.filter(({ hidden }) => hidden === undefined)
    const groups = new Set<string>()
    return queue.messages.filter(({ hidden, group = '' }) => {
      const blocked = groups.has(group)
      groups.add(group)
      return !blocked && hidden === undefined
    })
  }

  private receive(queue: Queue): Held[] {
    const { options } = queue
    const visible = this.visible(queue)
    const batch: Held[] = []
    while (batch.length < options.batch && visible.length > 0) {
      // A standard queue keeps no order; mostly it is nearly kept.
      const place = options.fifo === true || this.draws.chance(0.7) ? 0 : this.draws.below(visible.length)
      const [message] = visible.splice(place, 1)
      if (message === undefined) break
      if (message.receives >= MOST_RECEIVES) {
        this.drop(queue, message)
        queue.dead.push(message)
        this.scheduler.note(`${queue.name} dead letter ${message.id}`)
        continue
      }
      message.receives += 1
      this.serial += 1
      message.receipt = `r${this.serial}`
      this.count.received += 1
      const soon = message.receives <= MOST_BY_FAULTS && this.faults.decide('visibility-timeout', queue.name)
      const hidden = soon ? this.draws.fraction() * 30_000 : options.visibilitySeconds * 1000
      this.hide(queue, message, hidden)
      batch.push(message)
    }
    return batch
  }

  private async work(queue: Queue, batch: readonly Held[]): Promise<void> {
    const { options, name } = queue
    const receipts = batch.map(({ receipt }) => receipt)
    const Records = batch.map((message) => recordOf(queue, message))
    const answer = await options.invoke({ Records })
    const label = `${name} done`
    await this.scheduler.step('queue', label)
    // Also what a time-out of the function, or of the connection to it, comes to.
    if (batch.every(({ receives }) => receives <= MOST_BY_FAULTS) && this.faults.decide('batch-failure', label)) return
    const failed = new Set(answer.batchItemFailures.map(({ itemIdentifier }) => itemIdentifier))
    const known = new Set(batch.map(({ id }) => id))
    for (const id of failed) if (!known.has(id)) throw new Error(`the answer names a message ${id} that is not in the batch`)
    for (const [place, message] of batch.entries()) {
      // Received again meanwhile: an old receipt deletes nothing.
      if (failed.has(message.id) || message.receipt !== receipts[place]) continue
      this.drop(queue, message)
      this.count.deleted += 1
    }
  }

  private drop(queue: Queue, message: Held): void {
    if (message.gone) return
    message.gone = true
    message.hidden?.cancel()
    queue.messages.splice(queue.messages.indexOf(message), 1)
    if (queue.options.fifo === true) this.pump(queue)
  }
}

function recordOf({ name, options }: Queue, message: Held): SqsRecord {
  return {
    messageId: message.id,
    receiptHandle: message.receipt,
    body: message.body,
    eventSourceARN: `arn:aws:sqs:us-east-1:000000000000:${name}${options.fifo === true ? '.fifo' : ''}`,
    attributes: {
      ApproximateReceiveCount: String(message.receives),
      SentTimestamp: String(message.sentAt),
      ...(message.group === undefined ? {} : { MessageGroupId: message.group }),
    },
  }
}

/** The queue did not take it, or its answer was lost. */
export class NotSent extends Error {
  override readonly name = 'NotSent'
  constructor(message = 'the queue did not answer') {
    super(message)
  }
}
