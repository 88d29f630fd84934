import { catalog } from '../providers/catalog.ts'
import { authenticator } from '../runtime/authentication.ts'
import { secretsManagerClient } from '../runtime/aws.ts'
import { readEnvironment } from '../runtime/environment.ts'
import { httpHandler } from '../runtime/http.ts'
import { jsonLog } from '../runtime/log.ts'
import { keyedHash } from '../runtime/mac.ts'
import { secretStore } from '../runtime/secrets.ts'
import { clock, tableOf } from '../runtime/wiring.ts'
import { readOnly } from '../store/read-only.ts'
import { previewRoutes } from './preview.routes.ts'

const environment = readEnvironment(['tableName', 'secrets', 'fingerprintKey', 'settings'])
const { settings } = environment
const log = jsonLog({ clock, function: 'plan-preview' })
const table = readOnly(tableOf(environment))
const secrets = secretStore(environment.secrets, { clock, client: secretsManagerClient })

export const handler = httpHandler(
  previewRoutes({
    table,
    clock,
    log,
    settings,
    catalog,
    authenticate: authenticator(settings.tokenIssuers, { clock }),
    // Where nobody used the key before, no lease is known by it, and the mark is not ours to leave.
    mac: keyedHash({
      secrets,
      clock,
      reference: environment.fingerprintKey,
      table: { ...table, write: async () => ({ ok: true }) },
    }),
  }),
  { log, bodyBytes: settings.limits.bodyBytes },
)
