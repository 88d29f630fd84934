import { catalog } from '../providers/catalog.ts'
import { admission, admitted } from '../runtime/admission.ts'
import { authenticator } from '../runtime/authentication.ts'
import { kmsClient, secretsManagerClient } from '../runtime/aws.ts'
import { readEnvironment } from '../runtime/environment.ts'
import { httpHandler } from '../runtime/http.ts'
import { keyService } from '../runtime/keys.ts'
import { jsonLog } from '../runtime/log.ts'
import { keyedHash } from '../runtime/mac.ts'
import { sealer } from '../runtime/sealing.ts'
import { secretStore } from '../runtime/secrets.ts'
import { clock, dispatchOf, metricsOf, random, tableOf } from '../runtime/wiring.ts'
import { rankOf, registerRoutes } from './routes.ts'

const environment = readEnvironment(['tableName', 'queues', 'sealing', 'secrets', 'fingerprintKey', 'settings'])
const { settings } = environment
const { admit, throttled } = admission({ clock, random, metrics: metricsOf('register') })
const table = tableOf(environment, throttled)
const secrets = secretStore(environment.secrets, { clock, client: secretsManagerClient })

export const handler = httpHandler(
  admitted(
    admit,
    registerRoutes({
      table,
      dispatch: dispatchOf(environment, table),
      clock,
      random,
      seal: sealer({ keys: keyService(environment.sealing, { random, client: kmsClient }), clock, random }),
      settings,
      catalog,
      mac: keyedHash({ secrets, table, clock, reference: environment.fingerprintKey }),
      authenticate: authenticator(settings.tokenIssuers, { clock }),
    }),
    rankOf,
  ),
  { log: jsonLog({ clock, function: 'register' }), bodyBytes: settings.limits.bodyBytes },
)
