import { Duration } from 'aws-cdk-lib'
import type { IMetric } from 'aws-cdk-lib/aws-cloudwatch'
import { Alarm, ComparisonOperator, Metric, TreatMissingData } from 'aws-cdk-lib/aws-cloudwatch'
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions'
import type { ITopic } from 'aws-cdk-lib/aws-sns'
import { Topic } from 'aws-cdk-lib/aws-sns'
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions'
import type { Queue } from 'aws-cdk-lib/aws-sqs'
import { Construct } from 'constructs'
import type { Lane } from '../../functions/contracts/primitives.ts'
import { NAMESPACE } from '../../functions/runtime/metrics.ts'
import type { Config } from '../config.ts'
import type { StageFunction } from './function.ts'
import type { Lanes } from './queues.ts'

/** How old the oldest message of a lane may get, in seconds, and for how many minutes in a row. */
const AGE: Readonly<Record<Lane, { readonly seconds: number; readonly minutes: number }>> = {
  p0: { seconds: 60, minutes: 1 },
  p1: { seconds: 900, minutes: 3 },
  p2: { seconds: 3600, minutes: 5 },
}

/** What a person must hear of. */
export class Alarms extends Construct {
  readonly #topic: ITopic | undefined

  constructor(scope: Construct, id: string, { config }: { readonly config: Config }) {
    super(scope, id)
    const { topicArn, email } = config.alarms
    if (topicArn !== undefined) this.#topic = Topic.fromTopicArn(this, 'Topic', topicArn)
    else if (email !== undefined) {
      const topic = new Topic(this, 'Topic', { displayName: 'Rescind', enforceSSL: true })
      topic.addSubscription(new EmailSubscription(email))
      this.#topic = topic
    }
  }

  watchLanes(lanes: Lanes): void {
    for (const [lane, { seconds, minutes }] of Object.entries(AGE) as [Lane, (typeof AGE)[Lane]][]) {
      const { name, queue, dead } = lanes.byLane[lane]
      this.watchDead(dead, `${name}-dead`)
      this.#alarm(`${name}-age`, {
        metric: queue.metricApproximateAgeOfOldestMessage({ period: Duration.minutes(1), statistic: 'Maximum' }),
        above: seconds,
        minutes,
        says: `The oldest message of ${name} waits longer than ${seconds} s.`,
      })
    }
  }

  watchDead(queue: Queue, name: string): void {
    this.#alarm(name, {
      metric: queue.metricApproximateNumberOfMessagesVisible({ period: Duration.minutes(1), statistic: 'Maximum' }),
      above: 0,
      minutes: 1,
      says: `Something could not be handled and lies in ${name}.`,
    })
  }

  /** A stream keeps its records for 24 hours only. */
  watchStream(reader: StageFunction): void {
    this.#alarm(`${reader.name}-behind`, {
      metric: reader.function.metric('IteratorAge', { period: Duration.minutes(1), statistic: 'Maximum' }),
      above: Duration.minutes(15).toMilliseconds(),
      minutes: 5,
      says: `${reader.name} is more than 15 minutes behind the table's stream.`,
    })
  }

  watchSweep(sweep: StageFunction): void {
    const alarm = new Alarm(this, 'sweep-missing', {
      alarmDescription: 'The sweeper has not run for five minutes: nothing expires, and nothing that waits goes on.',
      metric: sweep.function.metricInvocations({ period: Duration.minutes(5), statistic: 'Sum' }),
      threshold: 1,
      evaluationPeriods: 1,
      comparisonOperator: ComparisonOperator.LESS_THAN_THRESHOLD,
      treatMissingData: TreatMissingData.BREACHING,
    })
    this.#tell(alarm)
  }

  /** Functions count it in their logs, for the installation as a whole. */
  watchQuarantine(prefix: string): void {
    this.#alarm('quarantined', {
      metric: new Metric({
        namespace: NAMESPACE,
        metricName: 'Quarantined',
        dimensionsMap: { Installation: prefix },
        period: Duration.minutes(5),
        statistic: 'Sum',
      }),
      above: 0,
      minutes: 1,
      says: 'Something that can never be handled was put in quarantine: a message, an item or a record of the stream.',
    })
  }

  watchErrors(stage: StageFunction): void {
    this.#alarm(`${stage.name}-errors`, {
      metric: stage.function.metricErrors({ period: Duration.minutes(1), statistic: 'Sum' }),
      above: 0,
      minutes: 3,
      says: `${stage.name} has failed in three minutes in a row.`,
    })
  }

  #alarm(id: string, { metric, above, minutes, says }: { metric: IMetric; above: number; minutes: number; says: string }): void {
    this.#tell(
      new Alarm(this, id, {
        alarmDescription: says,
        metric,
        threshold: above,
        evaluationPeriods: minutes,
        comparisonOperator: ComparisonOperator.GREATER_THAN_THRESHOLD,
        treatMissingData: TreatMissingData.NOT_BREACHING,
      }),
    )
  }

  #tell(alarm: Alarm): void {
    if (this.#topic !== undefined) alarm.addAlarmAction(new SnsAction(this.#topic))
  }
}
