import { catalog } from '../providers/catalog.ts'
import { authenticator } from '../runtime/authentication.ts'
import { kmsClient } from '../runtime/aws.ts'
import { readEnvironment } from '../runtime/environment.ts'
import { httpHandler } from '../runtime/http.ts'
import { keyService } from '../runtime/keys.ts'
import { jsonLog } from '../runtime/log.ts'
import { sealer } from '../runtime/sealing.ts'
import { clock, dispatchOf, random, tableOf } from '../runtime/wiring.ts'
import { registerRoutes } from './routes.ts'

const environment = readEnvironment(['tableName', 'queues', 'sealing', 'settings'])
const { settings } = environment
const table = tableOf(environment)

export const handler = httpHandler(
  registerRoutes({
    table,
    dispatch: dispatchOf(environment, table),
    clock,
    random,
    seal: sealer({ keys: keyService(environment.sealing, { random, client: kmsClient }), clock, random }),
    settings,
    catalog,
    authenticate: authenticator(settings.tokenIssuers, { clock }),
  }),
  { log: jsonLog({ clock, function: 'register' }), bodyBytes: settings.limits.bodyBytes },
)
