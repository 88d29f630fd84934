import { busAnnouncer } from '../runtime/announcer.ts'
import { eventBridgeClient } from '../runtime/aws.ts'
import { readEnvironment } from '../runtime/environment.ts'
import { jsonLog } from '../runtime/log.ts'
import { eachChange } from '../runtime/stream.ts'
import { clock, random, tableOf } from '../runtime/wiring.ts'
import { closer } from './close.ts'

const environment = readEnvironment(['tableName', 'outcomeBus', 'settings'])

export const handler = eachChange(
  closer({
    table: tableOf(environment),
    announcer: busAnnouncer({ client: eventBridgeClient(), bus: environment.outcomeBus, clock, random }),
    clock,
    limits: environment.settings.limits,
  }),
  jsonLog({ clock, function: 'close' }),
)
