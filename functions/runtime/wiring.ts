import { dynamoTable } from '../store/dynamodb.ts'
import type { Table } from '../store/table.ts'
import { dynamoClient, sqsClient } from './aws.ts'
import { systemClock } from './clock.ts'
import type { Dispatch } from './dispatch.ts'
import { dispatcher } from './dispatch.ts'
import type { Environment } from './environment.ts'
import { systemRandomness } from './randomness.ts'
import { sqsQueues } from './sqs.ts'

/** The ports that almost every function is given, made once at its cold start. */
export const clock = systemClock
export const random = systemRandomness

export const tableOf = (environment: Pick<Environment, 'tableName'>): Table =>
  dynamoTable({ client: dynamoClient(), table: environment.tableName, clock, random })

export function dispatchOf(environment: Pick<Environment, 'queues'>, table: Table): Dispatch {
  const queues = sqsQueues({ client: sqsClient(), urls: environment.queues, clock, random })
  return dispatcher(table, queues, Object.keys(environment.queues))
}

/** The process's environment, for clients that must find an endpoint or a region. */
export const variables = (): Readonly<Record<string, string | undefined>> => process.env
