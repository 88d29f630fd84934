import type { Clue } from '../contract.ts'
import { bare } from '../shape.ts'

/**
 * A secret's version as container definitions name it (Amazon ECS Developer Guide, "Pass Secrets Manager secrets"):
 * `<arn>:<json key>:<version stage>:<version id>`. The ARN alone names no version, so it is no credential.
 */
const REFERENCE =
  /^(arn:(?:aws|aws-cn|aws-us-gov):secretsmanager:[a-z0-9-]{1,40}:\d{12}:secret:[A-Za-z0-9/_+=.@-]{1,512}-[A-Za-z0-9]{6}):[^:\s]{0,256}:[^:\s]{0,256}:([A-Za-z0-9/_+=.@-]{32,64})$/

export const credentialOf = ({ arn, versionId }: { readonly arn: string; readonly versionId: string }): string =>
  `${arn}:::${versionId}`

export function recognise(text: string): Clue | undefined {
  const found = REFERENCE.exec(bare(text))
  if (found === null) return undefined
  const [, arn = '', versionId = ''] = found
  const name = arn.split(':secret:')[1] ?? ''
  return {
    credential: credentialOf({ arn, versionId }),
    shown: `version ${versionId} of secret ${name}`,
    query: { arn, versionId },
  }
}
