import { catalog } from '../providers/catalog.ts'
import { secretsManagerClient } from '../runtime/aws.ts'
import { readEnvironment } from '../runtime/environment.ts'
import { jsonLog } from '../runtime/log.ts'
import { keyedHash } from '../runtime/mac.ts'
import { secretStore } from '../runtime/secrets.ts'
import { clock, dispatchOf, tableOf } from '../runtime/wiring.ts'
import { BusEvent, busIntake } from './bus.ts'

const environment = readEnvironment(['tableName', 'queues', 'secrets', 'fingerprintKey', 'settings'])
const table = tableOf(environment)
const secrets = secretStore(environment.secrets, { clock, client: secretsManagerClient })
const take = busIntake({
  table,
  dispatch: dispatchOf(environment, table),
  clock,
  settings: environment.settings,
  catalog,
  mac: keyedHash({ secrets, table, clock, reference: environment.fingerprintKey }),
  log: jsonLog({ clock, function: 'intake-bus' }),
})

export const handler = async (event: unknown): Promise<void> => {
  await take(BusEvent.parse(event))
}
