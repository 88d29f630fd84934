import { catalog } from '../providers/catalog.ts'
import { s3Archive } from '../runtime/archive.ts'
import { authenticator } from '../runtime/authentication.ts'
import { s3Client, sqsClient } from '../runtime/aws.ts'
import { sqsDeadLetters } from '../runtime/dead-letters.ts'
import { readEnvironment } from '../runtime/environment.ts'
import { httpHandler } from '../runtime/http.ts'
import { jsonLog } from '../runtime/log.ts'
import { clock, dispatchOf, random, tableOf } from '../runtime/wiring.ts'
import { operateRoutes } from './routes.ts'

const environment = readEnvironment(['tableName', 'queues', 'deadLetters', 'archiveBucket', 'auditIndexTable', 'settings'])
const { settings } = environment
const table = tableOf(environment)

export const handler = httpHandler(
  operateRoutes({
    table,
    index: tableOf({ tableName: environment.auditIndexTable }),
    archive: s3Archive({ client: s3Client(), bucket: environment.archiveBucket }),
    dispatch: dispatchOf(environment, table),
    clock,
    settings,
    catalog,
    deadLetters: sqsDeadLetters({ client: sqsClient(), queues: environment.deadLetters, random }),
    authenticate: authenticator(settings.tokenIssuers, { clock }),
  }),
  { log: jsonLog({ clock, function: 'operate' }), bodyBytes: settings.limits.bodyBytes },
)
