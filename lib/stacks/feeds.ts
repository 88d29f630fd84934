import { Duration } from 'aws-cdk-lib'
import { Rule, Schedule } from 'aws-cdk-lib/aws-events'
import { LambdaFunction } from 'aws-cdk-lib/aws-events-targets'
import { EventSourceMapping, FilterCriteria, FilterRule, StartingPosition } from 'aws-cdk-lib/aws-lambda'
import { SqsDlq } from 'aws-cdk-lib/aws-lambda-event-sources'
import type { Queue } from 'aws-cdk-lib/aws-sqs'
import type { Construct } from 'constructs'
import type { Lane } from '../../functions/contracts/primitives.ts'
import { LANES } from '../../functions/contracts/primitives.ts'
import type { StageFunction } from './function.ts'
import type { Lanes } from './queues.ts'
import { allowReceiving, deadLetterQueue } from './queues.ts'
import type { Storage } from './storage.ts'

/** Ceilings of the lanes that have one; P0 has none, so that it never queues behind a ceiling. */
export type Ceilings = Readonly<Record<Exclude<Lane, 'p0'>, number>>

/**
 * Queues to their function. Small batches: one message is up to 100 leases, and what shares a batch shares its timeout.
 * P0 comes one by one. On a FIFO queue a failing message takes the rest of its group with it, so there it is always one.
 */
export function feedFromLanes(
  stage: StageFunction,
  lanes: Lanes,
  ceilings: Ceilings,
  batch: Readonly<Record<Lane, number>>,
): void {
  allowReceiving(stage.role, lanes.all)
  for (const lane of LANES) {
    const { queue } = lanes.byLane[lane]
    new EventSourceMapping(stage, `From${lane.toUpperCase()}`, {
      target: stage.function,
      eventSourceArn: queue.queueArn,
      batchSize: queue.fifo ? 1 : batch[lane],
      reportBatchItemFailures: true,
      ...(lane === 'p0' ? {} : { maxConcurrency: ceilings[lane] }),
    })
  }
}

export interface StreamFeed {
  readonly storage: Storage
  readonly prefix: string
  readonly batchSize: number
  /** How long to wait for a batch to fill. */
  readonly window?: Duration
  readonly parallel: number
  readonly retries: number
  /** A record that is older is given up; the stream forgets after 24 hours. */
  readonly hours: number
  readonly filters?: readonly Record<string, unknown>[]
}

/**
 * The table's stream to a function. A bad record is cut out by bisection and its place in the stream is kept in a queue,
 * long before the stream forgets it (24 hours): a blocked shard would hold up everything behind it.
 */
export function feedFromStream(
  stage: StageFunction,
  { storage, prefix, batchSize, window, parallel, retries, hours, filters }: StreamFeed,
): Queue {
  storage.allowStream(stage.role)
  const dead = deadLetterQueue(stage, 'Dead', { prefix, name: `${stage.name}-dead` })
  new EventSourceMapping(stage, 'FromTable', {
    target: stage.function,
    eventSourceArn: storage.table.tableStreamArn ?? '',
    startingPosition: StartingPosition.TRIM_HORIZON,
    batchSize,
    ...(window === undefined ? {} : { maxBatchingWindow: window }),
    parallelizationFactor: parallel,
    bisectBatchOnError: true,
    reportBatchItemFailures: true,
    retryAttempts: retries,
    maxRecordAge: Duration.hours(hours),
    onFailure: new SqsDlq(dead),
    ...(filters === undefined ? {} : { filters: filters.map((filter) => FilterCriteria.filter(filter)) }),
  })
  return dead
}

/**
 * What moves cases on: the case itself, its progress, a chunk that waits for its proof of death; and a lease that
 * retention removed, whose pointers go with it, or a case, whose mark goes with it.
 */
export const CLOSING_ITEMS = [
  {
    eventName: FilterRule.or('INSERT', 'MODIFY'),
    dynamodb: { NewImage: { kind: { S: FilterRule.or('case', 'progress') } } },
  },
  {
    eventName: FilterRule.isEqual('MODIFY'),
    dynamodb: {
      NewImage: {
        kind: { S: FilterRule.isEqual('chunk') },
        step: { S: FilterRule.isEqual('verify') },
        state: { S: FilterRule.isEqual('open') },
      },
    },
  },
  // A lease that ran out and whose class only tells.
  {
    eventName: FilterRule.isEqual('MODIFY'),
    dynamodb: { NewImage: { kind: { S: FilterRule.isEqual('lease') }, listPk: { S: FilterRule.isEqual('OVERDUE') } } },
  },
  // A discovery that is over.
  {
    eventName: FilterRule.isEqual('MODIFY'),
    dynamodb: { NewImage: { kind: { S: FilterRule.isEqual('discovery') }, state: { S: FilterRule.or('done', 'failed') } } },
  },
  { eventName: FilterRule.isEqual('REMOVE'), dynamodb: { OldImage: { kind: { S: FilterRule.or('lease', 'case') } } } },
]

/** Once a minute. A tick that fails is not repeated: the next one does its work. */
export function feedEachMinute(scope: Construct, stage: StageFunction, prefix: string): Queue {
  const dead = deadLetterQueue(stage, 'Dead', { prefix, name: `${stage.name}-dead` })
  new Rule(scope, 'EachMinute', {
    description: 'Sweeps expired leases, due schedules and retries, stuck cases and chunks',
    schedule: Schedule.rate(Duration.minutes(1)),
    targets: [new LambdaFunction(stage.function, { deadLetterQueue: dead, retryAttempts: 0, maxEventAge: Duration.minutes(1) })],
  })
  stage.function.configureAsyncInvoke({ retryAttempts: 0, maxEventAge: Duration.minutes(1) })
  return dead
}
