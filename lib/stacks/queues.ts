import { Duration, RemovalPolicy, Stack } from 'aws-cdk-lib'
import type { Role } from 'aws-cdk-lib/aws-iam'
import type { CfnQueue } from 'aws-cdk-lib/aws-sqs'
import { DeduplicationScope, FifoThroughputLimit, Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs'
import { Construct } from 'constructs'
import type { Lane } from '../../functions/contracts/primitives.ts'
import { LANES } from '../../functions/contracts/primitives.ts'
import { KEPT_DAYS, MOST_RECEIVES } from '../../functions/domain/queues.ts'
import { acknowledge, allow } from './permissions.ts'

export interface LaneQueueProps {
  /** Logical name, as the code says it: `work-postgresql-p1`. */
  readonly name: string
  readonly prefix: string
  /** Of the function that reads it. */
  readonly functionTimeout: Duration
  readonly fifo: boolean
}

/** A queue with its dead-letter queue. */
export class LaneQueue extends Construct {
  readonly name: string
  readonly queue: Queue
  readonly dead: Queue

  constructor(scope: Construct, id: string, { name, prefix, functionTimeout, fifo }: LaneQueueProps) {
    super(scope, id)
    this.name = name
    this.dead = deadLetterQueue(this, 'Dead', { prefix, name: `${name}-dead`, fifo })
    this.queue = new Queue(this, 'Queue', {
      queueName: `${prefix}-${name}${fifo ? '.fifo' : ''}`,
      ...sealed(fifo),
      // AWS's own advice for event source mappings: six times the function's timeout.
      visibilityTimeout: Duration.seconds(6 * functionTimeout.toSeconds()),
      retentionPeriod: Duration.days(KEPT_DAYS),
      deadLetterQueue: { queue: this.dead, maxReceiveCount: MOST_RECEIVES },
    })
    named(this.queue, name)
  }
}

/** Where messages and invocations end up that nobody could handle: kept as long as SQS keeps anything. */
export function deadLetterQueue(
  scope: Construct,
  id: string,
  { prefix, name, fifo = false }: { readonly prefix: string; readonly name: string; readonly fifo?: boolean },
): Queue {
  const queue = new Queue(scope, id, {
    queueName: `${prefix}-${name}${fifo ? '.fifo' : ''}`,
    ...sealed(fifo),
    retentionPeriod: Duration.days(KEPT_DAYS),
  })
  acknowledge(
    queue,
    'AwsSolutions-SQS3',
    'It is a dead-letter queue: of a queue, a rule, a stream mapping or asynchronous invocations.',
  )
  named(queue, name)
  return queue
}

/** The three lanes of one stage or worker. */
export class Lanes extends Construct {
  readonly byLane: Readonly<Record<Lane, LaneQueue>>

  /** `name` without the lane: `plan`, `work-postgresql`. */
  constructor(scope: Construct, id: string, { name, ...rest }: LaneQueueProps) {
    super(scope, id)
    const lane = (which: Lane) => new LaneQueue(this, which.toUpperCase(), { ...rest, name: `${name}-${which}` })
    this.byLane = { p0: lane('p0'), p1: lane('p1'), p2: lane('p2') }
  }

  get all(): readonly LaneQueue[] {
    return LANES.map((lane) => this.byLane[lane])
  }
}

/**
 * Value of `QUEUES`, and the right to send to just these queues.
 * @param counts it also asks how much is in them, and holds back
 */
export function allowSending(role: Role, queues: readonly LaneQueue[], counts = false): string {
  if (queues.length > 0) {
    const actions = counts ? ['sqs:SendMessage', 'sqs:GetQueueAttributes'] : ['sqs:SendMessage']
    allow(role, { actions, resources: queues.map(({ queue }) => queue.queueArn) })
  }
  return Stack.of(role).toJsonString(Object.fromEntries(queues.map(({ name, queue }) => [name, queue.queueUrl])))
}

/** A dead-letter queue by its logical name, and the queue that its messages came from, if they came from one. */
export interface DeadQueue {
  readonly name: string
  readonly dead: Queue
  readonly back?: Queue
}

/** Value of `DEAD_LETTERS`, and the rights to look at them, to send them back, and to take out what was sent back. */
export function allowRedriving(role: Role, queues: readonly DeadQueue[]): string {
  allow(role, {
    actions: ['sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:ChangeMessageVisibility', 'sqs:GetQueueAttributes'],
    resources: queues.map(({ dead }) => dead.queueArn),
  })
  allow(role, {
    actions: ['sqs:SendMessage'],
    resources: queues.flatMap(({ back }) => (back === undefined ? [] : [back.queueArn])),
  })
  const entries = queues.map(({ name, dead, back }) => [
    name,
    { url: dead.queueUrl, ...(back === undefined ? {} : { back: back.queueUrl }) },
  ])
  return Stack.of(role).toJsonString(Object.fromEntries(entries))
}

export function allowReceiving(role: Role, queues: readonly LaneQueue[]): void {
  allow(role, {
    actions: [
      'sqs:ReceiveMessage',
      'sqs:DeleteMessage',
      'sqs:ChangeMessageVisibility',
      'sqs:GetQueueAttributes',
      'sqs:GetQueueUrl',
    ],
    resources: queues.map(({ queue }) => queue.queueArn),
  })
}

/** Messages hold keys alone, so SQS's own encryption is enough; the table's key would cost a call per batch and a grant per sender. */
const sealed = (fifo: boolean) => ({
  encryption: QueueEncryption.SQS_MANAGED,
  enforceSSL: true,
  removalPolicy: RemovalPolicy.DESTROY,
  // No content-based deduplication: a message that is sent anew within five minutes must arrive. Senders give each an id.
  ...(fifo
    ? {
        fifo: true,
        deduplicationScope: DeduplicationScope.MESSAGE_GROUP,
        fifoThroughputLimit: FifoThroughputLimit.PER_MESSAGE_GROUP_ID,
      }
    : {}),
})

/** The logical name in the template, where the local pipeline and operators' tools find it. */
function named(queue: Queue, name: string): void {
  const resource = queue.node.defaultChild as CfnQueue
  resource.addMetadata('Rescind', { queue: name })
}
