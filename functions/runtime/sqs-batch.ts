import * as z from 'zod/mini'
import { issueNotes } from './issues.ts'
import { OwnError } from './log.ts'
import type { Log } from './ports.ts'

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

/** A message that is not what the queue carries: kept in the quarantine, then deleted. */
export interface InvalidMessage extends Delivery {
  readonly body: string
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
  /** Keeps what does not parse (quarantine); a throw makes the message come back. */
  readonly onInvalid: (message: InvalidMessage) => Promise<void>
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
      if (message.ok) await handle(message.message, delivery)
      else {
        await onInvalid({ ...delivery, body: record.body, notes: message.notes })
        log.warn('message is not what this queue carries: quarantined', about)
      }
      return true
    } catch (error) {
      if (error instanceof Postponed) await postpone(record, error.seconds, about)
      else {
        log.error('message failed and comes back', { ...about, error })
        // Not after the queue's whole visibility time-out, which is many times the function's own.
        await postpone(record, Math.min(2 ** delivery.receiveCount, LONGEST_PAUSE), about)
      }
      return false
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

type Parsed<Message> =
  | { readonly ok: true; readonly message: Message }
  | { readonly ok: false; readonly notes: InvalidMessage['notes'] }

function parse<Message>(schema: z.ZodMiniType<Message>, body: string): Parsed<Message> {
  let content: unknown
  try {
    content = JSON.parse(body)
  } catch {
    return { ok: false, notes: [{ path: '', message: 'is not JSON' }] }
  }
  const parsed = z.safeParse(schema, content)
  return parsed.success ? { ok: true, message: parsed.data } : { ok: false, notes: issueNotes(parsed.error.issues, content) }
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
