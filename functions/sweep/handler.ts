import { catalog } from '../providers/catalog.ts'
import { s3Client } from '../runtime/aws.ts'
import { readEnvironment } from '../runtime/environment.ts'
import { jsonLog } from '../runtime/log.ts'
import { s3Mark } from '../runtime/mark.ts'
import { keeper } from '../runtime/quarantine.ts'
import { clock, dispatchOf, metricsOf, random, tableOf } from '../runtime/wiring.ts'
import { sweeper } from './sweep.ts'

const environment = readEnvironment(['tableName', 'queues', 'archiveBucket', 'settings'])
const { settings } = environment
const log = jsonLog({ clock, function: 'sweep' })
const table = tableOf(environment)
const sweep = sweeper({
  table,
  dispatch: dispatchOf(environment, table),
  clock,
  random,
  log,
  limits: settings.limits,
  settings,
  catalog,
  keep: keeper(table, clock, settings.limits.retentionDays, metricsOf('sweep')).item,
  mark: s3Mark({ client: s3Client(), bucket: environment.archiveBucket }),
  ...(settings.modes === undefined ? {} : { modes: settings.modes }),
  ...(settings.discovery === undefined ? {} : { discovery: settings.discovery }),
  ...(settings.outage === undefined ? {} : { outage: settings.outage }),
})

export const handler = async (): Promise<void> => {
  await sweep()
}
