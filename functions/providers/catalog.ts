import { definition as awsIam } from './aws-iam/definition.ts'
import type { Definition } from './contract.ts'
import { definition as oauth } from './oauth/definition.ts'
import { definition as postgresql } from './postgresql/definition.ts'

/** Every provider folder, by name. Written by `npm run generate`; do not edit. */
export const catalog: Readonly<Record<string, Definition>> = {
  'aws-iam': awsIam,
  oauth,
  postgresql,
}
