import {
  DescribeSecretCommand,
  ListSecretsCommand,
  ListSecretVersionIdsCommand,
  RotateSecretCommand,
  SecretsManagerClient,
  UpdateSecretVersionStageCommand,
} from '@aws-sdk/client-secrets-manager'
import { call, classify, openAws, present, tagsOf } from '../aws.ts'
import type { Tools } from '../contract.ts'
import type { Settings } from './definition.ts'

/** The part of Secrets Manager and STS that this provider needs. It reads no value. Every method throws `AwsFault` and nothing else. */
export interface SecretsClient {
  whoAmI(): Promise<{ account: string; userId: string }>
  /** `undefined` where there is no such secret. */
  describe(arn: string): Promise<DescribedSecret | undefined>
  /** When a version was made, in milliseconds since 1970; also of one without labels. */
  versionMade(arn: string, versionId: string): Promise<number | undefined>
  /** Asks for a rotation, whose new version gets the token as its id. Says nothing about whether it succeeds. */
  rotate(arn: string, token: string): Promise<void>
  removePending(arn: string, versionId: string): Promise<void>
  list(from: string | undefined, most: number): Promise<{ readonly secrets: readonly ListedSecret[]; readonly next?: string }>
  close(): void
}

interface Labelled {
  readonly arn: string
  /** Version id to its labels; versions without any are not here. */
  readonly labels: ReadonlyMap<string, readonly string[]>
  readonly tags: ReadonlyMap<string, string>
}

export interface DescribedSecret extends Labelled {
  readonly rotates: boolean
  readonly deleting: boolean
  /** Where the secret is, of which this is a replica. */
  readonly primaryRegion: string | undefined
}

export interface ListedSecret extends Labelled {
  readonly readAt: Date | undefined
}

export async function connectSecrets(issuerName: string, settings: Settings, tools: Tools): Promise<SecretsClient> {
  const aws = await openAws({ provider: 'aws-secretsmanager', name: issuerName, settings }, tools)
  const client = new SecretsManagerClient(aws.configuration('SECRETS_MANAGER'))
  const labelsOf = (stages: Record<string, readonly string[]> | undefined) => new Map(Object.entries(stages ?? {}))
  return {
    whoAmI: aws.whoAmI,
    describe: async (arn) => {
      try {
        return await call(async () => {
          const secret = await client.send(new DescribeSecretCommand({ SecretId: arn }))
          return {
            arn: present(secret.ARN, 'ARN'),
            labels: labelsOf(secret.VersionIdsToStages),
            rotates: secret.RotationEnabled === true,
            deleting: secret.DeletedDate !== undefined,
            primaryRegion: secret.PrimaryRegion,
            tags: tagsOf(secret.Tags),
          }
        })
      } catch (error) {
        const fault = classify(error)
        if (fault.kind === 'gone') return undefined
        throw fault
      }
    },
    versionMade: (arn, versionId) =>
      call(async () => {
        let next: string | undefined
        do {
          const page = await client.send(
            new ListSecretVersionIdsCommand({
              SecretId: arn,
              IncludeDeprecated: true,
              ...(next === undefined ? {} : { NextToken: next }),
            }),
          )
          const found = page.Versions?.find(({ VersionId: id }) => id === versionId)
          if (found !== undefined) return found.CreatedDate?.getTime()
          next = page.NextToken
        } while (next !== undefined)
        return undefined
      }),
    rotate: (arn, token) =>
      call(async () => {
        await client.send(new RotateSecretCommand({ SecretId: arn, ClientRequestToken: token }))
      }),
    removePending: (arn, versionId) =>
      call(async () => {
        await client.send(
          new UpdateSecretVersionStageCommand({ SecretId: arn, VersionStage: 'AWSPENDING', RemoveFromVersionId: versionId }),
        )
      }),
    list: (from, most) =>
      call(async () => {
        const page = await client.send(
          new ListSecretsCommand({ MaxResults: most, ...(from === undefined ? {} : { NextToken: from }) }),
        )
        const secrets = (page.SecretList ?? []).map((secret) => ({
          arn: present(secret.ARN, 'ARN'),
          tags: tagsOf(secret.Tags),
          labels: labelsOf(secret.SecretVersionsToStages),
          readAt: secret.LastAccessedDate,
        }))
        return { secrets, ...(page.NextToken === undefined ? {} : { next: page.NextToken }) }
      }),
    close: () => {
      client.destroy()
      aws.close()
    },
  }
}
