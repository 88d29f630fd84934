import { readEnvironment } from '../runtime/environment.ts'
import { jsonLog } from '../runtime/log.ts'
import { clock, dispatchOf, random, tableOf } from '../runtime/wiring.ts'
import { sweeper } from './sweep.ts'

const environment = readEnvironment(['tableName', 'queues', 'settings'])
const log = jsonLog({ clock, function: 'sweep' })
const table = tableOf(environment)
const sweep = sweeper({
  table,
  dispatch: dispatchOf(environment, table),
  clock,
  random,
  log,
  limits: environment.settings.limits,
})

export const handler = async (): Promise<void> => {
  await sweep()
}
