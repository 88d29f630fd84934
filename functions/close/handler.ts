import { busAnnouncer } from '../runtime/announcer.ts'
import { eventBridgeClient } from '../runtime/aws.ts'
import { readEnvironment } from '../runtime/environment.ts'
import { jsonLog } from '../runtime/log.ts'
import { keeper } from '../runtime/quarantine.ts'
import { eachChange } from '../runtime/stream.ts'
import { clock, metricsOf, random, tableOf } from '../runtime/wiring.ts'
import { closer } from './close.ts'

const environment = readEnvironment(['tableName', 'outcomeBus', 'settings'])
const table = tableOf(environment)
const { limits } = environment.settings
const keep = keeper(table, clock, limits.retentionDays, metricsOf('close'))

export const handler = eachChange(
  closer({
    table,
    announcer: busAnnouncer({ client: eventBridgeClient(), bus: environment.outcomeBus, clock, random }),
    clock,
    limits,
  }),
  jsonLog({ clock, function: 'close' }),
  (reason, { key, place }) =>
    keep.item({ reason, origin: 'stream of close', place, ...(key === undefined ? {} : { item: key }) }),
)
