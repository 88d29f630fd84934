import { authenticator } from '../runtime/authentication.ts'
import { secretsManagerClient } from '../runtime/aws.ts'
import { readEnvironment } from '../runtime/environment.ts'
import { httpHandler } from '../runtime/http.ts'
import { jsonLog } from '../runtime/log.ts'
import { secretStore } from '../runtime/secrets.ts'
import { clock, dispatchOf, tableOf } from '../runtime/wiring.ts'
import { intakeRoutes } from './http.ts'

const environment = readEnvironment(['tableName', 'queues', 'secrets', 'settings'])
const { settings } = environment
const table = tableOf(environment)

export const handler = httpHandler(
  intakeRoutes({
    table,
    dispatch: dispatchOf(environment, table),
    clock,
    settings,
    authenticate: authenticator(settings.tokenIssuers, { clock }),
    secrets: secretStore(environment.secrets, { clock, client: secretsManagerClient }),
  }),
  { log: jsonLog({ clock, function: 'intake-http' }), bodyBytes: settings.limits.bodyBytes },
)
