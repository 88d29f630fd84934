import { definition as awsIam } from './aws-iam/definition.ts'
import { definition as awsSecretsmanager } from './aws-secretsmanager/definition.ts'
import type { Definition } from './contract.ts'
import { definition as mysql } from './mysql/definition.ts'
import { definition as nats } from './nats/definition.ts'
import { definition as oauth } from './oauth/definition.ts'
import { definition as postgresql } from './postgresql/definition.ts'
import { definition as rabbitmq } from './rabbitmq/definition.ts'
import { definition as redis } from './redis/definition.ts'
import { definition as ssh } from './ssh/definition.ts'
import { definition as webhook } from './webhook/definition.ts'
import { definition as x509 } from './x509/definition.ts'

/** Every provider folder, by name. Written by `npm run generate`; do not edit. */
export const catalog: Readonly<Record<string, Definition>> = {
  'aws-iam': awsIam,
  'aws-secretsmanager': awsSecretsmanager,
  mysql,
  nats,
  oauth,
  postgresql,
  rabbitmq,
  redis,
  ssh,
  webhook,
  x509,
}
