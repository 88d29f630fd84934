import { WorkMessage } from '../contracts/message.ts'
import { catalog } from '../providers/catalog.ts'
import type { ProviderModule } from '../providers/contract.ts'
import { kmsClient, secretsManagerClient, sqsClient } from '../runtime/aws.ts'
import { readEnvironment } from '../runtime/environment.ts'
import { keyService } from '../runtime/keys.ts'
import { jsonLog } from '../runtime/log.ts'
import { keeper } from '../runtime/quarantine.ts'
import { opener } from '../runtime/sealing.ts'
import { secretStore } from '../runtime/secrets.ts'
import { sqsVisibility } from '../runtime/sqs.ts'
import { sqsBatch } from '../runtime/sqs-batch.ts'
import { clock, dispatchOf, metricsOf, random, tableOf, variables } from '../runtime/wiring.ts'
import { revokeWorker } from './worker.ts'

/** The Lambda handler of a provider's worker; the build makes one entry for each provider. */
export function revokeHandler(module: ProviderModule) {
  const environment = readEnvironment(['tableName', 'queues', 'secrets', 'sealing', 'settings'])
  const log = jsonLog({ clock, function: `revoke-${module.definition.name}` })
  const { limits } = environment.settings
  const table = tableOf(environment)
  const keep = keeper(table, clock, limits.retentionDays, metricsOf(`revoke-${module.definition.name}`))
  const keys = keyService(environment.sealing, { random, client: kmsClient })
  return sqsBatch({
    schema: WorkMessage,
    handle: revokeWorker(module, {
      table,
      dispatch: dispatchOf(environment, table),
      clock,
      random,
      log,
      secrets: secretStore(environment.secrets, { clock, client: secretsManagerClient }),
      open: opener({ keys, clock }),
      limits,
      catalog,
      ...(environment.settings.exempt === undefined ? {} : { exempt: environment.settings.exempt }),
      ...(environment.settings.outage === undefined ? {} : { outage: environment.settings.outage }),
      ...(environment.settings.discovery === undefined ? {} : { discovery: environment.settings.discovery }),
      environment: variables(),
      unreadable: (item) => keep.item({ reason: 'lease-unreadable', origin: `revoke/${module.definition.name}`, item }),
    }),
    onInvalid: keep.message,
    onDeath: keep.death,
    visibility: sqsVisibility(sqsClient()),
    log,
  })
}
