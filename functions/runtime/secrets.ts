import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import { GetSecretValueCommand } from '@aws-sdk/client-secrets-manager'
import type { SecretSource } from './environment.ts'
import { OwnError } from './log.ts'
import type { Clock, Secrets } from './ports.ts'

/** How long a secret is kept in memory, in milliseconds: a changed one is in use after that. */
const KEPT = 60_000
const MOST = 200

/** Steps of letters, digits and `_+=.@-`, none of them beginning with a dot; for Secrets Manager also an ARN. */
const NAME = /^[A-Za-z0-9_+=@-][A-Za-z0-9_+=.@-]*(\/[A-Za-z0-9_+=@-][A-Za-z0-9_+=.@-]*)*$/
const ARN = /^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[A-Za-z0-9/_+=.@-]+$/

/** A reference that names no secret. Its text is configuration, not secret. */
export class SecretMissing extends OwnError {
  override readonly name = 'SecretMissing'
  readonly code: 'secret-missing' | 'secret-reference-invalid' = 'secret-missing'
}

export class SecretReferenceInvalid extends SecretMissing {
  override readonly code = 'secret-reference-invalid'
}

/**
 * Secrets by reference: names (or ARNs) in Secrets Manager, or files below a folder, whose one trailing line end is
 * left out. Values are kept for a minute. Throws `SecretMissing` for a reference that names nothing or is malformed.
 */
export function secretStore(
  source: SecretSource,
  tools: { readonly clock: Clock; readonly client?: () => SecretsManagerClient },
): Secrets {
  const read = source.kind === 'aws' ? fromSecretsManager(tools.client) : fromFolder(source.path)
  const kept = new Map<string, { value: Promise<string>; until: number }>()
  return {
    async get(reference) {
      if (reference.length > 512 || !(NAME.test(reference) || (source.kind === 'aws' && ARN.test(reference)))) {
        throw new SecretReferenceInvalid('a reference to a secret is malformed')
      }
      const known = kept.get(reference)
      if (known !== undefined && known.until > tools.clock.now()) return known.value
      const entry = { value: read(reference), until: tools.clock.now() + KEPT }
      kept.delete(reference)
      kept.set(reference, entry)
      for (const oldest of kept.keys()) {
        if (kept.size <= MOST) break
        kept.delete(oldest)
      }
      entry.value.catch(() => {
        if (kept.get(reference) === entry) kept.delete(reference)
      })
      return entry.value
    },
  }
}

function fromSecretsManager(client: (() => SecretsManagerClient) | undefined): (reference: string) => Promise<string> {
  if (client === undefined) throw new TypeError('secrets from Secrets Manager need its client')
  const connected = client()
  return async (reference) => {
    try {
      const answer = await connected.send(new GetSecretValueCommand({ SecretId: reference }))
      if (answer.SecretString !== undefined) return answer.SecretString
    } catch (error) {
      if (error instanceof Error && error.name === 'ResourceNotFoundException') {
        throw new SecretMissing(`there is no secret ${reference}`, { cause: error })
      }
      throw error
    }
    throw new SecretMissing(`the secret ${reference} is not a text`)
  }
}

function fromFolder(folder: string): (reference: string) => Promise<string> {
  return async (reference) => {
    try {
      return (await readFile(join(folder, ...reference.split('/')), 'utf8')).replace(/\r?\n$/, '')
    } catch (error) {
      if (
        error instanceof Error &&
        'code' in error &&
        (error.code === 'ENOENT' || error.code === 'ENOTDIR' || error.code === 'EISDIR')
      ) {
        throw new SecretMissing(`there is no secret ${reference}`, { cause: error })
      }
      throw error
    }
  }
}
