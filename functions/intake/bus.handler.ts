import { catalog } from '../providers/catalog.ts'
import { secretsManagerClient } from '../runtime/aws.ts'
import { readEnvironment } from '../runtime/environment.ts'
import { jsonLog } from '../runtime/log.ts'
import { keyedHash } from '../runtime/mac.ts'
import { keeper } from '../runtime/quarantine.ts'
import { secretStore } from '../runtime/secrets.ts'
import { clock, dispatchOf, metricsOf, tableOf } from '../runtime/wiring.ts'
import { BusEvent, busIntake } from './bus.ts'

const environment = readEnvironment(['tableName', 'queues', 'secrets', 'fingerprintKey', 'settings'])
const table = tableOf(environment)
const secrets = secretStore(environment.secrets, { clock, client: secretsManagerClient })
const keep = keeper(table, clock, environment.settings.limits.retentionDays, metricsOf('intake-bus'))
const take = busIntake({
  table,
  dispatch: dispatchOf(environment, table),
  clock,
  settings: environment.settings,
  catalog,
  mac: keyedHash({ secrets, table, clock, reference: environment.fingerprintKey }),
  log: jsonLog({ clock, function: 'intake-bus' }),
})

/** What is no event of a bus stays none, however often it is delivered. */
export const handler = async (event: unknown, context?: { readonly awsRequestId?: string }): Promise<void> => {
  const parsed = BusEvent.safeParse(event)
  if (parsed.success) await take(parsed.data)
  else await keep.item({ reason: 'message-invalid', origin: 'intake bus', place: context?.awsRequestId ?? '' })
}
