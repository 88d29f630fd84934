import * as z from 'zod/mini'
import { MOST_RECEIVES } from '../domain/queues.ts'
import { ForeignItem } from '../store/items.ts'
import { issueNotes } from './issues.ts'
import { OwnError } from './log.ts'
import type { Log } from './ports.ts'
import type { UnusableReason } from './unusable.ts'
import { Unusable } from './unusable.ts'

/** The part of an SQS event that is read here. */
export interface SqsRecord {
  readonly messageId: string
  readonly receiptHandle: string
  readonly body: string
  readonly eventSourceARN: string
  readonly attributes: {
    readonly ApproximateReceiveCount: string
    readonly SentTimestamp: string
    readonly MessageGroupId?: string
  }
}
export interface SqsEvent {
  readonly Records: readonly SqsRecord[]
}
export interface SqsBatchResponse {
  readonly batchItemFailures: { readonly itemIdentifier: string }[]
}

/** About the delivery of a message. */
export interface Delivery {
  readonly messageId: string
  /** The queue's name. */
  readonly queue: string
  /** 1 at the first delivery. */
  readonly receiveCount: number
  /** Milliseconds since 1970. */
  readonly sentAt: number
  readonly group?: string
}

/** A message that is not what the queue carries, or that nobody can ever handle: kept in the quarantine, then deleted. */
export interface InvalidMessage extends Delivery {
  readonly body: string
  readonly reason: UnusableReason
  /** What it says, where it is one of ours: its keys, the same each time that it is sent. */
  readonly about?: string
  readonly notes: readonly { readonly path: string; readonly message: string }[]
}

/** Thrown by a handler: nothing is wrong, but not now. Waits of a minute and more belong into the table. */
export class Postponed extends OwnError {
  override readonly name = 'Postponed'
  readonly code = 'postponed'
  /** Below 60. */
  readonly seconds: number
  constructor(seconds: number) {
    super(`not before ${seconds} s`)
    if (!(seconds >= 0 && seconds < 60)) throw new RangeError('a message is postponed by less than a minute')
    this.seconds = seconds
  }
}

/** Makes a message come back after some seconds (`ChangeMessageVisibility`). `sqsVisibility` in `sqs.ts` implements it. */
export interface Visibility {
  returnAfter(record: Pick<SqsRecord, 'eventSourceARN' | 'receiptHandle'>, seconds: number): Promise<void>
}

/** Pause before a failed message is tried again, in seconds; it doubles up to here. */
const LONGEST_PAUSE = 45

export interface SqsBatchOptions<Message> {
  readonly schema: z.ZodMiniType<Message>
  /** Throws to make the message come back. */
  readonly handle: (message: Message, delivery: Delivery) => Promise<void>
  /** Keeps what does not parse or can never be handled (quarantine); a throw makes the message come back. */
  readonly onInvalid: (message: InvalidMessage) => Promise<void>
  /** Told of the last failure of a message, which its queue then takes for dead; a throw changes nothing. */
  readonly onDeath?: (delivery: Delivery, error: unknown) => Promise<void>
  readonly visibility: Visibility
  readonly log: Log
  /** Records handled at once; default 10. A FIFO group is handled one by one whatever this says. */
  readonly concurrency?: number
}

/**
 * The handler of a function behind an SQS queue, with partial batch responses (`ReportBatchItemFailures`). A failing
 * record harms no other one, but on a FIFO queue the rest of its group comes back with it. Bodies are never logged.
 */
export function sqsBatch<Message>(options: SqsBatchOptions<Message>): (event: SqsEvent) => Promise<SqsBatchResponse> {
  const { schema, handle, onInvalid, visibility, log } = options

  /** Whether the message is done with. */
  const take = async (record: SqsRecord): Promise<boolean> => {
    const delivery = deliveryOf(record)
    const about = { queue: delivery.queue, messageId: delivery.messageId, receiveCount: delivery.receiveCount }
    try {
      const message = parse(schema, record.body)
      if (!message.ok) {
        const { reason, notes } = message
        await onInvalid({ ...delivery, body: record.body, reason, notes })
        log.warn('message is not what this queue carries: quarantined', { ...about, reason })
        return true
      }
      try {
        await handle(message.message, delivery)
      } catch (error) {
        const reason = reasonOf(error)
        if (reason === undefined) throw error
        const said = JSON.stringify(message.message)
        await onInvalid({ ...delivery, body: record.body, reason, about: said, notes: [{ path: '', message: said }] })
        log.error('message can never be handled: quarantined', { ...about, reason, error })
      }
      return true
    } catch (error) {
      if (error instanceof Postponed) await postpone(record, error.seconds, about)
      else {
        const last = delivery.receiveCount >= MOST_RECEIVES
        log.error(last ? 'message failed and goes to the dead letters' : 'message failed and comes back', { ...about, error })
        if (last) await mourn(delivery, error)
        // Not after the queue's whole visibility time-out, which is many times the function's own.
        await postpone(record, Math.min(2 ** delivery.receiveCount, LONGEST_PAUSE), about)
      }
      return false
    }
  }

  const mourn = async (delivery: Delivery, error: unknown) => {
    try {
      await options.onDeath?.(delivery, error)
    } catch (fault) {
      log.error('why a message is dead could not be noted', {
        queue: delivery.queue,
        messageId: delivery.messageId,
        error: fault,
      })
    }
  }

  const postpone = async (record: SqsRecord, seconds: number, about: Readonly<Record<string, string | number>>) => {
    try {
      await visibility.returnAfter(record, seconds)
    } catch (error) {
      // It then comes back when the queue's own visibility time-out is over: later, but not lost.
      log.warn('message comes back later than it should', { ...about, seconds })
      log.error('its visibility could not be changed', { ...about, error })
    }
  }

  return async (event) => {
    const failures = new Set<string>()
    await runAll(chains(event.Records), options.concurrency ?? 10, async (chain) => {
      for (const [place, record] of chain.entries()) {
        if (await take(record)) continue
        // Order matters in a group: what comes after a failure must not overtake it.
        for (const later of chain.slice(place)) failures.add(later.messageId)
        return
      }
    })
    return { batchItemFailures: [...failures].map((itemIdentifier) => ({ itemIdentifier })) }
  }
}

/** Why trying again is in vain; `undefined` where it is not. */
const reasonOf = (error: unknown): UnusableReason | undefined =>
  error instanceof Unusable ? error.code : error instanceof ForeignItem ? 'item-unreadable' : undefined

type Parsed<Message> =
  | { readonly ok: true; readonly message: Message }
  | { readonly ok: false; readonly reason: UnusableReason; readonly notes: InvalidMessage['notes'] }

/** The version that all messages of ours carry. */
const VERSION = 1

function parse<Message>(schema: z.ZodMiniType<Message>, body: string): Parsed<Message> {
  let content: unknown
  try {
    content = JSON.parse(body)
  } catch {
    return { ok: false, reason: 'not-json', notes: [{ path: '', message: 'is not JSON' }] }
  }
  const parsed = z.safeParse(schema, content)
  if (parsed.success) return { ok: true, message: parsed.data }
  const version = typeof content === 'object' && content !== null && 'v' in content ? content.v : undefined
  const reason = typeof version === 'number' && version !== VERSION ? 'version-unknown' : 'message-invalid'
  return { ok: false, reason, notes: issueNotes(parsed.error.issues, content) }
}

function deliveryOf(record: SqsRecord): Delivery {
  const { ApproximateReceiveCount, SentTimestamp, MessageGroupId } = record.attributes
  return {
    messageId: record.messageId,
    queue: record.eventSourceARN.slice(record.eventSourceARN.lastIndexOf(':') + 1),
    receiveCount: Number(ApproximateReceiveCount),
    sentAt: Number(SentTimestamp),
    ...(MessageGroupId === undefined ? {} : { group: MessageGroupId }),
  }
}

/** What must be done one after the other: a FIFO group's records in their order; on a standard queue each alone. */
function chains(records: readonly SqsRecord[]): readonly SqsRecord[][] {
  const groups = new Map<string, SqsRecord[]>()
  for (const record of records) {
    const name = record.eventSourceARN.endsWith('.fifo')
      ? `group:${record.attributes.MessageGroupId ?? ''}`
      : `message:${record.messageId}`
    const group = groups.get(name)
    if (group === undefined) groups.set(name, [record])
    else group.push(record)
  }
  return [...groups.values()]
}

async function runAll<Entry>(entries: readonly Entry[], atOnce: number, work: (entry: Entry) => Promise<void>): Promise<void> {
  const waiting = entries.values()
  const runner = async () => {
    for (const entry of waiting) await work(entry)
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, entries.length) }, runner))
}
