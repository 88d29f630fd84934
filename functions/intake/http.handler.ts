import { catalog } from '../providers/catalog.ts'
import { admission } from '../runtime/admission.ts'
import { authenticator } from '../runtime/authentication.ts'
import { secretsManagerClient } from '../runtime/aws.ts'
import { readEnvironment } from '../runtime/environment.ts'
import { httpHandler } from '../runtime/http.ts'
import { jsonLog } from '../runtime/log.ts'
import { keyedHash } from '../runtime/mac.ts'
import { secretStore } from '../runtime/secrets.ts'
import { clock, dispatchOf, metricsOf, random, tableOf } from '../runtime/wiring.ts'
import { intakeRoutes } from './http.ts'

const environment = readEnvironment(['tableName', 'queues', 'secrets', 'fingerprintKey', 'settings'])
const { settings } = environment
const { admit, throttled } = admission({ clock, random, metrics: metricsOf('intake-http') })
const table = tableOf(environment, throttled)
const secrets = secretStore(environment.secrets, { clock, client: secretsManagerClient })

export const handler = httpHandler(
  intakeRoutes({
    table,
    dispatch: dispatchOf(environment, table),
    clock,
    settings,
    catalog,
    authenticate: authenticator(settings.tokenIssuers, { clock }),
    secrets,
    admit,
    mac: keyedHash({ secrets, table, clock, reference: environment.fingerprintKey }),
  }),
  { log: jsonLog({ clock, function: 'intake-http' }), bodyBytes: settings.limits.bodyBytes },
)
