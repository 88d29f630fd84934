import { readEnvironment } from '../runtime/environment.ts'
import { jsonLog } from '../runtime/log.ts'
import { clock, dispatchOf, tableOf } from '../runtime/wiring.ts'
import { BusEvent, busIntake } from './bus.ts'

const environment = readEnvironment(['tableName', 'queues', 'settings'])
const table = tableOf(environment)
const take = busIntake({
  table,
  dispatch: dispatchOf(environment, table),
  clock,
  settings: environment.settings,
  log: jsonLog({ clock, function: 'intake-bus' }),
})

export const handler = async (event: unknown): Promise<void> => {
  await take(BusEvent.parse(event))
}
