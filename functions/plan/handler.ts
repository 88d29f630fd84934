import { PlanMessage } from '../contracts/message.ts'
import { catalog } from '../providers/catalog.ts'
import { sqsClient } from '../runtime/aws.ts'
import { readEnvironment } from '../runtime/environment.ts'
import { jsonLog } from '../runtime/log.ts'
import { keeper } from '../runtime/quarantine.ts'
import { sqsVisibility } from '../runtime/sqs.ts'
import { sqsBatch } from '../runtime/sqs-batch.ts'
import { clock, dispatchOf, metricsOf, tableOf } from '../runtime/wiring.ts'
import { planStage } from './stage.ts'

const environment = readEnvironment(['tableName', 'queues', 'settings'])
const log = jsonLog({ clock, function: 'plan' })
const table = tableOf(environment)
const { settings } = environment
const keep = keeper(table, clock, settings.limits.retentionDays, metricsOf('plan'))

export const handler = sqsBatch({
  schema: PlanMessage,
  handle: planStage({ table, dispatch: dispatchOf(environment, table), clock, log, settings, catalog }),
  onInvalid: keep.message,
  onDeath: keep.death,
  visibility: sqsVisibility(sqsClient()),
  log,
})
