import type { SendMessageBatchRequestEntry, SQSClient } from '@aws-sdk/client-sqs'
import {
  ChangeMessageVisibilityCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  SendMessageBatchCommand,
} from '@aws-sdk/client-sqs'
import { OwnError } from './log.ts'
import type { Clock, QueueMessage, Queues, Randomness } from './ports.ts'
import type { Visibility } from './sqs-batch.ts'

const BATCH = 10
const TRIES = 5
const LONGEST_DELAY = 900

/** Messages were not taken: the caller's own message must come back. */
export class SendFailed extends OwnError {
  override readonly name = 'SendFailed'
  readonly code = 'send-failed'
}

/**
 * Queues on SQS; `urls` by logical name. On a FIFO queue (its URL ends in `.fifo`) the group keeps order; each sending has
 * a fresh deduplication id, since the sweeper sends the very same body again on purpose. On a standard queue the group
 * makes it a fair queue, where one issuer's backlog does not delay the others.
 */
export function sqsQueues(tools: {
  readonly client: SQSClient
  readonly urls: Readonly<Record<string, string>>
  readonly clock: Clock
  readonly random: Randomness
}): Queues {
  const entryOf = (message: QueueMessage, place: number, fifo: boolean): SendMessageBatchRequestEntry => ({
    Id: String(place),
    MessageBody: JSON.stringify(message.body),
    ...(fifo
      ? {
          MessageGroupId: message.group ?? 'all',
          MessageDeduplicationId: Buffer.from(tools.random.bytes(24)).toString('hex'),
        }
      : {
          ...(message.group === undefined ? {} : { MessageGroupId: message.group }),
          ...(message.delaySeconds === undefined
            ? {}
            : { DelaySeconds: Math.min(LONGEST_DELAY, Math.max(0, Math.ceil(message.delaySeconds))) }),
        }),
  })

  const sendBatch = async (url: string, entries: SendMessageBatchRequestEntry[]): Promise<void> => {
    let open = entries
    for (let tried = 1; ; tried++) {
      const answer = await tools.client.send(new SendMessageBatchCommand({ QueueUrl: url, Entries: open }))
      const failed = answer.Failed ?? []
      // An entry that the answer does not name was not taken either: nothing may be lost.
      const taken = new Set((answer.Successful ?? []).map((entry) => entry.Id))
      open = open.filter((entry) => !taken.has(entry.Id))
      if (open.length === 0) return
      const fault = failed.find((entry) => entry.SenderFault === true)
      if (fault !== undefined) throw new SendFailed(`a message was refused (${word(fault.Code)})`)
      if (tried === TRIES)
        throw new SendFailed(`${open.length} messages were not taken in ${TRIES} tries (${word(failed[0]?.Code)})`)
      await tools.clock.sleep(tools.random.fraction() * Math.min(2000, 50 * 2 ** tried))
    }
  }

  const urlOf = (queue: string): string => {
    const url = Object.hasOwn(tools.urls, queue) ? tools.urls[queue] : undefined
    if (url === undefined) throw new SendFailed(`there is no queue ${word(queue)} in this function's environment`)
    return url
  }

  return {
    async depth(queue) {
      const command = new GetQueueAttributesCommand({ QueueUrl: urlOf(queue), AttributeNames: [...DEPTHS] })
      return depthOf((await tools.client.send(command)).Attributes)
    },
    async send(queue, messages) {
      const url = urlOf(queue)
      const fifo = url.endsWith('.fifo')
      for (let from = 0; from < messages.length; from += BATCH) {
        await sendBatch(
          url,
          messages.slice(from, from + BATCH).map((message, place) => entryOf(message, place, fifo)),
        )
      }
    },
  }
}

/** What is in a queue, in three parts; each is exact within a minute. */
export const DEPTHS = [
  'ApproximateNumberOfMessages',
  'ApproximateNumberOfMessagesNotVisible',
  'ApproximateNumberOfMessagesDelayed',
] as const
export const depthOf = (attributes: Partial<Record<string, string>> = {}): number =>
  DEPTHS.reduce((sum, name) => sum + Number(attributes[name] ?? 0), 0)

const word = (text: string | undefined) => (text !== undefined && /^[\w.-]{1,80}$/.test(text) ? text : 'no code')

/** The queue's URL is asked for once by its ARN: an event names its queue by ARN alone. */
export function sqsVisibility(client: SQSClient): Visibility {
  const urls = new Map<string, Promise<string>>()
  const urlOf = (arn: string) => {
    const known = urls.get(arn)
    if (known !== undefined) return known
    const [, , , , account, name] = arn.split(':')
    const asked = client
      .send(new GetQueueUrlCommand({ QueueName: name, QueueOwnerAWSAccountId: account }))
      .then(({ QueueUrl }) => {
        if (QueueUrl === undefined) throw new SendFailed('the queue has no URL')
        return QueueUrl
      })
    urls.set(arn, asked)
    asked.catch(() => urls.delete(arn))
    return asked
  }
  return {
    async returnAfter(record, seconds) {
      await client.send(
        new ChangeMessageVisibilityCommand({
          QueueUrl: await urlOf(record.eventSourceARN),
          ReceiptHandle: record.receiptHandle,
          VisibilityTimeout: Math.ceil(seconds),
        }),
      )
    },
  }
}
