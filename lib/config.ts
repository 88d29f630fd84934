import * as z from 'zod'
import { Settings } from '../functions/contracts/settings.ts'
import { unreachable } from '../functions/domain/modes.ts'
import type { Definition } from '../functions/providers/contract.ts'
import { disciplineFaults } from './discipline-rules.ts'

/**
 * The typed configuration of one installation. Everything is checked at synth, together, so that a wrong file is one
 * clear message and not a failed deployment.
 */

const AccountId = z.string().regex(/^\d{12}$/, 'must be an AWS account id (12 digits)')
const Region = z.string().regex(/^[a-z]{2}(-[a-z]+)+-\d$/, 'must be an AWS region')
/** Short, because queue and function names are made of it, and those have limits. */
const ShortName = z.string().regex(/^[a-z][a-z0-9-]{0,15}$/, 'must be 1 to 16 of a-z, 0-9 and -, beginning with a letter')
/** Days that CloudWatch Logs accepts. */
const LogDays = z.literal(
  [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
  'must be a number of days that CloudWatch Logs knows (1, 3, 5, 7, 14, 30, 60, 90, ..., 3653)',
)
/** AWS takes 2 to 1,000 as the maximum concurrency of a queue's event source mapping. */
const Concurrency = z.int().min(2).max(1000)

const EnvironmentConfig = z.strictObject({
  /** `production`: part of the stack's name and of the names of its queues, functions and buses. */
  name: ShortName,
  /** Where it is deployed; without them, wherever the deploying credentials belong. */
  account: AccountId.optional(),
  region: Region.optional(),
})

const ProviderConfig = z.strictObject({
  /** Workers at once for P1 and P2 together, at least three each; what the provider's definition says where absent. P0 has no ceiling. */
  concurrency: Concurrency.optional(),
})

const VpcConfig = z.strictObject({
  /** Private subnets with a way to the issuers, and to AWS's endpoints (by NAT or by interface endpoints). */
  subnetIds: z.array(z.string().regex(/^subnet-[0-9a-f]{8,17}$/, 'must be a subnet id')).min(1),
  securityGroupIds: z
    .array(z.string().regex(/^sg-[0-9a-f]{8,17}$/, 'must be a security group id'))
    .min(1)
    .max(5),
})

const Shape = z.strictObject({
  /** The installation. It begins the names of secrets: `<name>/issuers/<provider>/...`, `<name>/sources/...`. */
  name: ShortName,
  environments: z.array(EnvironmentConfig).min(1),
  /** Which providers get a worker. */
  providers: z.record(z.string(), ProviderConfig),
  /** Network of the workers whose provider stands in a network of yours; `none` if their issuers are reached publicly. */
  vpc: z.union([VpcConfig, z.literal('none')], 'must be "none", or an object with subnetIds and securityGroupIds').optional(),
  /** What remains after `cdk destroy`: `retain` keeps table, archive and keys; `destroy` is for trials. */
  removal: z.enum(['retain', 'destroy']).default('retain'),
  /** Logs of functions and of the API, in days. */
  logDays: LogDays.default(90),
  archive: z
    .strictObject({
      /** Audit segments move to cheaper storage with instant access after this, in days. */
      coldAfterDays: z.int().min(30).max(3650).default(90),
      /** Audit segments are deleted after this, in days. */
      retentionDays: z.int().min(365).max(36500).default(2555),
    })
    .prefault({}),
  lanes: z
    .strictObject({
      /** Planners at once for P1 and for P2; P0 has no ceiling. */
      p1: Concurrency.default(20),
      p2: Concurrency.default(5),
    })
    .prefault({}),
  api: z
    .strictObject({
      /** Requests a second, and the burst above it, for the whole API. */
      rate: z.int().min(1).max(10000).default(500),
      burst: z.int().min(1).max(5000).default(1000),
      /**
       * Registrars at once, at most: what registrations may take of the account's concurrency (1,000 by default), so that
       * planners and workers find room. `none` where the account has no room for a reservation.
       */
      registrars: z.union([z.int().min(1).max(10000), z.literal('none')]).default(200),
    })
    .prefault({}),
  alarms: z
    .strictObject({
      /** An SNS topic of yours. */
      topicArn: z
        .string()
        .regex(/^arn:[a-z-]+:sns:[a-z0-9-]+:\d{12}:[\w.-]+$/, 'must be the ARN of an SNS topic')
        .optional(),
      /** A topic is made, and this address subscribed to it. */
      email: z.email().optional(),
    })
    .prefault({}),
  /** Where secrets by reference come from: Secrets Manager, or on one machine files of a folder. */
  secrets: z
    .string()
    .regex(/^(aws|dir:\/.+)$/, 'must be "aws", or "dir:/path" on one machine')
    .default('aws'),
  /** What wraps the keys of sealed handles: a KMS key of the stack, or on one machine a file. */
  sealing: z
    .string()
    .regex(/^(kms|file:\/.+)$/, 'must be "kms", or "file:/path" on one machine')
    .default('kms'),
  settings: z.custom<Settings>(() => true),
})

/** What a configuration file exports. */
export type RescindConfig = z.input<typeof Shape>
/** The same with all defaults filled in. */
export type Config = z.output<typeof Shape>
export type EnvironmentConfig = z.infer<typeof EnvironmentConfig>
export type Catalog = Readonly<Record<string, Definition>>

/** Gives a configuration file its types. */
export const defineConfig = (config: RescindConfig): RescindConfig => config

/** The configuration breaks a rule. The message names every place and its rule. */
export class ConfigInvalid extends Error {
  override readonly name = 'ConfigInvalid'
  readonly code = 'config-invalid'
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(`the configuration is not usable:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`)
    this.problems = problems
  }
}

/**
 * Checks a configuration against its shape, the settings' contract, the catalog of providers and the rules between them.
 * @throws ConfigInvalid
 */
export function parseConfig(input: unknown, catalog: Catalog): Config {
  const shape = Shape.safeParse(input)
  const settings = Settings.safeParse(isRecord(input) ? input['settings'] : undefined)
  const problems = [
    ...(shape.success ? [] : shape.error.issues.map((issue) => told(issue, []))),
    ...(settings.success ? [] : settings.error.issues.map((issue) => told(issue, ['settings']))),
  ]
  if (!shape.success || !settings.success) throw new ConfigInvalid(problems)

  const config: Config = { ...shape.data, settings: settings.data }
  const broken = rules(config, catalog)
  if (broken.length > 0) throw new ConfigInvalid(broken)
  return config
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

const at = (path: readonly PropertyKey[]) =>
  path.map((part, index) => (typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${String(part)}`)).join('')

const told = (issue: z.core.$ZodIssue, prefix: readonly PropertyKey[]) => {
  const path = at([...prefix, ...issue.path])
  return `${path === '' ? 'the file' : path}: ${issue.message}`
}

function rules(config: Config, catalog: Catalog): string[] {
  return [
    ...places(config, catalog),
    ...senders(config),
    ...trust(config),
    ...modeRules(config),
    ...disciplineFaults(config.settings, Object.keys(config.providers)),
  ]
}

function* places(config: Config, catalog: Catalog): Generator<string> {
  const known = Object.keys(catalog)
  for (const provider of Object.keys(config.providers)) {
    const definition = catalog[provider]
    if (definition === undefined) {
      yield `providers.${provider}: no such provider; there are: ${known.join(', ') || 'none'} (npm run generate lists new folders)`
      continue
    }
    if (definition.network === 'vpc' && config.vpc === undefined) {
      yield `vpc: provider ${provider} reaches its issuers inside a network of yours: give subnetIds and securityGroupIds, or 'none' if they are reached publicly`
    }
  }
  if (Object.keys(config.providers).length === 0) yield 'providers: at least one is needed'

  for (const name of repeated(config.environments.map(({ name }) => name))) yield `environments: "${name}" is named twice`
  const homes = config.environments.map(({ account, region }) => `${account ?? 'any account'}/${region ?? 'any region'}`)
  for (const home of repeated(homes)) {
    yield `environments: two of them are in ${home}; they would share their secrets: give each its own account or region, or make two installations with different names`
  }
  if (config.alarms.topicArn !== undefined && config.alarms.email !== undefined) {
    yield 'alarms: give topicArn or email, not both: a topic of yours has its own subscribers'
  }
  if (config.archive.retentionDays <= config.archive.coldAfterDays) {
    yield 'archive.retentionDays: must be greater than archive.coldAfterDays'
  }
  if (config.archive.retentionDays < config.settings.limits.retentionDays) {
    yield 'archive.retentionDays: must not be less than settings.limits.retentionDays: the table forgets, the archive must not before it'
  }
}

/** An environment that nobody knows yet is fine: leases bring theirs. */
function* modeRules({ settings: { modes } }: Config): Generator<string> {
  for (const place of modes === undefined ? [] : unreachable(modes)) {
    yield `settings.modes.rules[${place}]: is never reached: the rules before it fit all that it fits, and the first that fits decides`
  }
}

/** Who may send triggers, over the bus and by signed HTTP. */
function* senders(config: Config): Generator<string> {
  const { sources } = config.settings
  for (const name of repeated(sources.map((source) => source.name))) yield `settings.sources: "${name}" is named twice`
  for (const bus of repeated(sources.flatMap(({ busSource }) => busSource ?? []))) {
    yield `settings.sources: busSource "${bus}" belongs to two sources: events could not be told apart, give each its own`
  }
  for (const [index, source] of sources.entries()) {
    const place = `settings.sources[${index}] (${source.name})`
    const principals = source.busPrincipals ?? []
    for (const arn of repeated(principals)) yield `${place}.busPrincipals: ${arn} is named twice`
    if (source.busSource === undefined && principals.length > 0) yield `${place}.busSource: is needed with busPrincipals`
    if (source.busSource !== undefined && principals.length === 0) {
      yield `${place}.busPrincipals: a source on the bus is bound to the principals that may use its name; name at least one`
    }
    if (source.busSource !== undefined && !/^(?!aws\.)[\w./-]{1,256}$/.test(source.busSource)) {
      yield `${place}.busSource: must be letters, digits and . _ / - and must not begin with "aws.", which EventBridge keeps to itself`
    }
    for (const arn of principals) {
      if (!PRINCIPAL.test(arn)) {
        yield `${place}.busPrincipals: "${arn}" must be the ARN of a role or user with its account id written out; "*" may stand at its end only, behind the account`
      }
    }
    for (const reference of source.secrets ?? []) {
      if (config.secrets === 'aws' && !reference.startsWith(`${config.name}/sources/`)) {
        yield `${place}.secrets: "${reference}" must begin with "${config.name}/sources/": the intake may read nothing else`
      }
    }
    if (
      source.triggers.some((trigger) => trigger === 'task-complete' || trigger === 'decommission') &&
      source.namespaces.length === 0
    ) {
      yield `${place}.namespaces: it sends task-complete or decommission, whose tasks and deployments need a namespace`
    }
  }
}

/** Whose tokens are believed, and what they may do. */
function* trust(config: Config): Generator<string> {
  const { grants, sources, tokenIssuers } = config.settings
  for (const pair of repeated(tokenIssuers.map(({ issuer, audience }) => `${issuer} for ${audience}`))) {
    yield `settings.tokenIssuers: ${pair} is named twice`
  }
  for (const [index, { keys }] of tokenIssuers.entries()) {
    if ('jwks' in keys && !/^https:\/\/|^http:\/\/(127\.0\.0\.1|localhost|\[::1\])[:/]/.test(keys.jwks)) {
      yield `settings.tokenIssuers[${index}].keys.jwks: must be https, or on this very machine: whoever changes the keys on the way becomes everybody`
    }
  }
  const names = new Set(sources.map(({ name }) => name))
  const { approvals, fuse, protected: guarded } = config.settings
  const waits = guarded.length > 0 || approvals !== undefined || fuse !== undefined
  if (waits && !grants.some((grant) => grant.right === 'operator' && grant.approve)) {
    yield 'settings.grants: nobody may approve: what is held would wait for ever; give an operator approve: true'
  }
  for (const name of Object.keys(fuse?.sources ?? {})) {
    if (name !== 'rescind' && !names.has(name)) yield `settings.fuse.sources: no source is named "${name}"`
  }
  for (const [index, grant] of grants.entries()) {
    const place = `settings.grants[${index}]`
    if (boundless(grant.caller)) yield `${place}.caller: "${grant.caller}" ${BOUNDLESS}`
    if (grant.right === 'source' && !names.has(grant.source)) yield `${place}.source: no source is named "${grant.source}"`
    if (grant.right === 'broker') {
      for (const pattern of grant.identities.filter(boundless)) {
        yield `${place}.identities: "${pattern}" ${BOUNDLESS}: a broker registers for a named part of the identities only`
      }
    }
  }
}

/**
 * `arn:aws:iam::<account>:role/...`; only the path and name may end in `*`. Sessions are seen as their role
 * (`aws:PrincipalArn`), so an `assumed-role` would never match; an account's root would be all of the account.
 */
const PRINCIPAL = /^arn:(aws|aws-cn|aws-us-gov):iam::\d{12}:(role|user)\/[\w+=,.@/-]*\*?$/

const BOUNDLESS =
  'matches every identity, or those of every issuer; write out at least the trust domain, the OIDC issuer or the account'

/** A pattern whose trust domain, issuer host or account is not written out. */
const boundless = (pattern: string) =>
  !/^(spiffe:\/\/[^*/]+(\/|$)|https?:\/\/[^*/#]+[/#]|arn:[^*:]+:[^*:]+:[^*:]*:\d{12}:)/.test(pattern)

const repeated = (values: readonly string[]) => [...new Set(values.filter((value, index) => values.indexOf(value) !== index))]
