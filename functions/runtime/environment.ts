import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import * as z from 'zod/mini'
import { DeadLetterQueueName } from '../contracts/dead-letter.ts'
import { Settings } from '../contracts/settings.ts'
import { patternFault } from '../domain/identity.ts'
import type { DeadLetterQueue } from './dead-letters.ts'
import { issueNotes } from './issues.ts'
import { OwnError } from './log.ts'

/** Where secrets are read from: Secrets Manager, or files of a folder. */
export type SecretSource = { readonly kind: 'aws' } | { readonly kind: 'dir'; readonly path: string }
/** What wraps data keys: a KMS key, or a file with 32 random bytes. */
export type SealingSource = { readonly kind: 'kms'; readonly key: string } | { readonly kind: 'file'; readonly path: string }

/** All that a function may be told by its environment; each function asks for what it needs. */
export interface Environment {
  /** `TABLE_NAME` */
  readonly tableName: string
  /** `QUEUES`: logical queue name to URL, only those that the function may send to. */
  readonly queues: Readonly<Record<string, string>>
  /** `DEAD_LETTERS`: logical name of each dead-letter queue to where it is, and where its messages came from. */
  readonly deadLetters: Readonly<Record<string, DeadLetterQueue>>
  /** `OUTCOME_BUS` */
  readonly outcomeBus: string
  /** `ARCHIVE_BUCKET` */
  readonly archiveBucket: string
  /** `AUDIT_INDEX_TABLE` */
  readonly auditIndexTable: string
  /** `SECRETS`: `aws` or `dir:/path`. */
  readonly secrets: SecretSource
  /** `SEALING`: `kms:<key arn>` or `file:/path`. */
  readonly sealing: SealingSource
  /** `FINGERPRINT_KEY`: reference to the key of the installation's keyed hash, among the secrets. */
  readonly fingerprintKey: string
  /** The content of `SETTINGS_FILE`, a path relative to the bundle's folder. */
  readonly settings: Settings
}

/** The environment is incomplete or wrong: the function cannot start, and says all that it lacks at once. */
export class EnvironmentInvalid extends OwnError {
  override readonly name = 'EnvironmentInvalid'
  readonly code = 'environment-invalid'
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(`the environment is not usable: ${problems.join('; ')}`)
    this.problems = problems
  }
}

const ResourceName = z.string().check(z.minLength(1), z.maxLength(2048), z.regex(/^\S+$/))
const Queues = z.record(z.string().check(z.regex(/^[a-z0-9][a-z0-9-]{0,79}$/)), z.url({ protocol: /^https?$/ }))
const QueueUrl = z.url({ protocol: /^https?$/ })
const DeadLetterQueues = z.record(DeadLetterQueueName, z.object({ url: QueueUrl, back: z.optional(QueueUrl) }))
const SecretsText = z.string().check(z.regex(/^(aws|dir:\/.*)$/s, 'must be aws or dir:/path'))
const SealingText = z.string().check(z.regex(/^(kms:arn:\S+|file:\/.*)$/s, 'must be kms:<key arn> or file:/path'))

/**
 * Reads what a function wants and nothing else, once, at its cold start:
 * `const { tableName, queues } = readEnvironment(['tableName', 'queues'])`. There are no defaults. Throws
 * `EnvironmentInvalid`, which names everything that is missing or wrong, without values.
 */
export function readEnvironment<const Name extends keyof Environment>(
  wanted: readonly Name[],
  from: {
    readonly variables?: Readonly<Record<string, string | undefined>>
    /** Folder that `SETTINGS_FILE` is relative to; default `LAMBDA_TASK_ROOT`, else the working folder. */
    readonly directory?: string
  } = {},
): Pick<Environment, Name> {
  const variables = from.variables ?? process.env
  const directory = from.directory ?? variables['LAMBDA_TASK_ROOT'] ?? '.'
  const problems: string[] = []

  /** The checked variable, or undefined after its problem is noted. */
  const read = <Output>(variable: string, schema: z.ZodMiniType<Output>, decode: (text: string) => unknown = (text) => text) => {
    const text = variables[variable]
    if (text === undefined || text === '') {
      problems.push(`${variable} is missing`)
      return undefined
    }
    let value: unknown
    try {
      value = decode(text)
    } catch {
      problems.push(`${variable} cannot be read`)
      return undefined
    }
    const parsed = z.safeParse(schema, value)
    if (parsed.success) return parsed.data
    for (const { path, message } of issueNotes(parsed.error.issues, value)) problems.push(`${variable}${path} ${message}`)
    return undefined
  }

  const readers: { readonly [Wanted in keyof Environment]: () => Environment[Wanted] | undefined } = {
    tableName: () => read('TABLE_NAME', ResourceName),
    queues: () => read('QUEUES', Queues, JSON.parse),
    deadLetters: () => read('DEAD_LETTERS', DeadLetterQueues, JSON.parse),
    outcomeBus: () => read('OUTCOME_BUS', ResourceName),
    archiveBucket: () => read('ARCHIVE_BUCKET', ResourceName),
    auditIndexTable: () => read('AUDIT_INDEX_TABLE', ResourceName),
    secrets: () => {
      const text = read('SECRETS', SecretsText)
      if (text === undefined) return undefined
      return text === 'aws' ? { kind: 'aws' } : { kind: 'dir', path: text.slice('dir:'.length) }
    },
    sealing: () => {
      const text = read('SEALING', SealingText)
      if (text === undefined) return undefined
      return text.startsWith('kms:')
        ? { kind: 'kms', key: text.slice('kms:'.length) }
        : { kind: 'file', path: text.slice('file:'.length) }
    },
    fingerprintKey: () => read('FINGERPRINT_KEY', ResourceName),
    settings: () => {
      const settings = read('SETTINGS_FILE', Settings, (file) => JSON.parse(readFileSync(resolve(directory, file), 'utf8')))
      if (settings !== undefined) problems.push(...deadPatterns(settings).map((fault) => `SETTINGS_FILE${fault}`))
      return settings
    },
  }

  const found: Partial<Environment> = {}
  const fill = <Wanted extends Name>(name: Wanted) => {
    const value = readers[name]()
    if (value !== undefined) Object.assign(found, { [name]: value })
  }
  for (const name of new Set(wanted)) fill(name)
  if (problems.length > 0) throw new EnvironmentInvalid(problems)
  const complete = (value: Partial<Environment>): value is Pick<Environment, Name> => wanted.every((name) => name in value)
  if (!complete(found)) throw new EnvironmentInvalid(['a variable was not read'])
  return found
}

/** Patterns over identities that can match none. */
function deadPatterns(settings: Settings): string[] {
  const patterns: (readonly [path: string, pattern: string])[] = [
    ...settings.protected.map((pattern, place) => [`/protected/${place}`, pattern] as const),
    ...settings.grants.flatMap((grant, place) => [
      [`/grants/${place}/caller`, grant.caller] as const,
      ...(grant.right === 'broker'
        ? grant.identities.map((pattern, inner) => [`/grants/${place}/identities/${inner}`, pattern] as const)
        : []),
    ]),
    ...(settings.discipline?.classes ?? []).flatMap(({ match }, place) =>
      (match.identities ?? []).map(
        (pattern, inner) => [`/discipline/classes/${place}/match/identities/${inner}`, pattern] as const,
      ),
    ),
  ]
  return patterns.flatMap(([path, pattern]) => {
    const fault = patternFault(pattern)
    return fault === undefined ? [] : [`${path} matches nothing: ${fault}`]
  })
}
