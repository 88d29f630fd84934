import type { SQSClient } from '@aws-sdk/client-sqs'
import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
} from '@aws-sdk/client-sqs'
import type { Randomness } from './ports.ts'
import { DEPTHS, depthOf, SendFailed } from './sqs.ts'

/** Where a dead-letter queue is, and where its messages came from: absent where they are no messages of a queue. */
export interface DeadLetterQueue {
  readonly url: string
  readonly back?: string | undefined
}

/** A message as it lies there. */
export interface DeadLetter {
  readonly id: string
  readonly handle: string
  readonly body: string
  /** Milliseconds since 1970. */
  readonly sentAt: number
  readonly receives: number
  readonly group?: string
}

/** The dead-letter queues by logical name. Whatever is taken out was sent on before: a crash in between doubles, never loses. */
export interface DeadLetters {
  readonly names: readonly string[]
  /** Whether a queue's messages can be sent back to where they came from. */
  canGoBack(queue: string): boolean
  /** Messages in it, about. */
  depth(queue: string): Promise<number>
  /** Up to ten, hidden from everybody else for so long. */
  receive(queue: string, hideSeconds: number): Promise<DeadLetter[]>
  /** They can be received again at once. */
  release(queue: string, letters: readonly DeadLetter[]): Promise<void>
  /** Sends them to the queue that they came from. @returns those that were taken */
  sendBack(queue: string, letters: readonly DeadLetter[]): Promise<DeadLetter[]>
  /** @returns how many are out */
  remove(queue: string, letters: readonly DeadLetter[]): Promise<number>
}

/** On SQS. `queues` by logical name. */
export function sqsDeadLetters(tools: {
  readonly client: SQSClient
  readonly queues: Readonly<Record<string, DeadLetterQueue>>
  readonly random: Randomness
}): DeadLetters {
  const { client, queues } = tools
  const found = (queue: string): DeadLetterQueue => {
    const known = Object.hasOwn(queues, queue) ? queues[queue] : undefined
    if (known === undefined) throw new SendFailed('there is no such dead-letter queue')
    return known
  }
  const entries = (letters: readonly DeadLetter[]) =>
    letters.map(({ handle }, place) => ({ Id: String(place), ReceiptHandle: handle }))

  return {
    names: Object.keys(queues),
    canGoBack: (queue) => found(queue).back !== undefined,
    async depth(queue) {
      const command = new GetQueueAttributesCommand({ QueueUrl: found(queue).url, AttributeNames: [...DEPTHS] })
      return depthOf((await client.send(command)).Attributes)
    },
    async receive(queue, hideSeconds) {
      const answer = await client.send(
        new ReceiveMessageCommand({
          QueueUrl: found(queue).url,
          MaxNumberOfMessages: 10,
          VisibilityTimeout: hideSeconds,
          // Asks all of its servers: an empty answer then means that nothing is there.
          WaitTimeSeconds: 1,
          MessageSystemAttributeNames: ['All'],
        }),
      )
      return (answer.Messages ?? []).map(({ MessageId = '', ReceiptHandle = '', Body = '', Attributes = {} }) => ({
        id: MessageId,
        handle: ReceiptHandle,
        body: Body,
        sentAt: Number(Attributes.SentTimestamp ?? 0),
        receives: Number(Attributes.ApproximateReceiveCount ?? 1),
        ...(Attributes.MessageGroupId === undefined ? {} : { group: Attributes.MessageGroupId }),
      }))
    },
    async release(queue, letters) {
      if (letters.length === 0) return
      // What is not released comes back by itself when its time is over.
      await client.send(
        new ChangeMessageVisibilityBatchCommand({
          QueueUrl: found(queue).url,
          Entries: entries(letters).map((entry) => ({ ...entry, VisibilityTimeout: 0 })),
        }),
      )
    },
    async sendBack(queue, letters) {
      const { back } = found(queue)
      if (back === undefined) throw new SendFailed('its messages came from no queue')
      if (letters.length === 0) return []
      const fifo = back.endsWith('.fifo')
      const answer = await client.send(
        new SendMessageBatchCommand({
          QueueUrl: back,
          Entries: letters.map(({ body, group }, place) => ({
            Id: String(place),
            MessageBody: body,
            ...(fifo
              ? {
                  MessageGroupId: group ?? 'all',
                  MessageDeduplicationId: Buffer.from(tools.random.bytes(24)).toString('hex'),
                }
              : group === undefined
                ? {}
                : { MessageGroupId: group }),
          })),
        }),
      )
      const taken = new Set((answer.Successful ?? []).map(({ Id }) => Id))
      return letters.filter((_, place) => taken.has(String(place)))
    },
    async remove(queue, letters) {
      if (letters.length === 0) return 0
      const answer = await client.send(new DeleteMessageBatchCommand({ QueueUrl: found(queue).url, Entries: entries(letters) }))
      return (answer.Successful ?? []).length
    },
  }
}
