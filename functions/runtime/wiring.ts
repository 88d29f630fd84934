import { dynamoTable } from '../store/dynamodb.ts'
import type { Table } from '../store/table.ts'
import { dynamoClient, sqsClient } from './aws.ts'
import { systemClock } from './clock.ts'
import type { Dispatch } from './dispatch.ts'
import { dispatcher } from './dispatch.ts'
import type { Environment } from './environment.ts'
import type { Metrics } from './metrics.ts'
import { embeddedMetrics, installationOf } from './metrics.ts'
import { systemRandomness } from './randomness.ts'
import { sqsQueues } from './sqs.ts'

/** The ports that almost every function is given, made once at its cold start. */
export const clock = systemClock
export const random = systemRandomness

/**
 * `TABLE_WRITES=together`: independent writes go in transactions, as is cheaper where a commit costs and units do not.
 *
 * @param throttled told of each call that the store refused for its rate
 */
export const tableOf = (environment: Pick<Environment, 'tableName'>, throttled?: () => void): Table =>
  dynamoTable({
    client: dynamoClient(),
    table: environment.tableName,
    clock,
    random,
    together: process.env['TABLE_WRITES'] === 'together',
    ...(throttled === undefined ? {} : { throttled }),
  })

export function dispatchOf(environment: Pick<Environment, 'queues'>, table: Table): Dispatch {
  const queues = sqsQueues({ client: sqsClient(), urls: environment.queues, clock, random })
  return dispatcher(table, queues, Object.keys(environment.queues), clock)
}

/** The process's environment, for clients that must find an endpoint or a region. */
export const variables = (): Readonly<Record<string, string | undefined>> => process.env

/** Counters of one function. */
export const metricsOf = (stage: string): Metrics =>
  embeddedMetrics({ clock, function: stage, installation: installationOf(process.env['AWS_LAMBDA_FUNCTION_NAME'], stage) })
