import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import { EventBridgeClient, PutRuleCommand, PutTargetsCommand } from '@aws-sdk/client-eventbridge'
import { CreateSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import { CreateQueueCommand, DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { Completion } from '../../../functions/contracts/completion.ts'
import { DEFAULT_LIMITS } from '../../../functions/contracts/settings.ts'
import { build } from '../../../lib/build.ts'
import type { RescindConfig } from '../../../lib/config.ts'
import type { LocalOAuth } from '../../../lib/local/issuers/oauth.ts'
import { startOAuth } from '../../../lib/local/issuers/oauth.ts'
import type { LocalPostgres } from '../../../lib/local/issuers/postgres.ts'
import { startPostgres } from '../../../lib/local/issuers/postgres.ts'
import type { LocalTrust } from '../../../lib/local/keys.ts'
import { makeTrust } from '../../../lib/local/keys.ts'
import { closeServer, listenOn } from '../../../lib/local/loopback.ts'
import type { MiniStack } from '../ministack.ts'
import type { AwsAccount } from './aws.ts'
import { awsAccount } from './aws.ts'

const ROOT = resolve(import.meta.dirname, '../../..')

export const DOMAIN = 'spiffe://rescind.e2e'
const AUDIENCE = 'rescind'
export const PEOPLE = {
  broker: `${DOMAIN}/broker`,
  operator: `${DOMAIN}/operator/olga`,
  approver: `${DOMAIN}/operator/paul`,
  responder: `${DOMAIN}/source/security`,
} as const
/** The role whose sessions alone may say on the bus that something is compromised. */
export const RESPONDERS = 'incident-response'
export const SECURITY = 'org.example.security'
const NAME = 'rescind'
const ENVIRONMENT = 'e2e'
const STACK = `${NAME}-${ENVIRONMENT}`

export interface Deployment {
  readonly aws: AwsAccount
  readonly account: string
  readonly region: string
  /** Base address of the HTTP API. */
  readonly apiUrl: string
  readonly intakeBus: string
  readonly tableName: string
  /** Name of the archive's bucket. */
  readonly archive: string
  readonly tokens: Readonly<Record<keyof typeof PEOPLE, string>>
  /** The HMAC key of the HR system. */
  readonly hrSecret: string
  readonly oauth: LocalOAuth
  /** Absent where the embedded server is not served. */
  readonly postgres: LocalPostgres | undefined
  /** Milliseconds that each step took. */
  readonly laps: Readonly<Record<string, number>>
  /** How many resources of each type the stack has. */
  readonly resources: Readonly<Record<string, number>>
  /** ARN of the key that wraps the keys of sealed handles. */
  readonly sealingKey: string
  /** ARN of a function's role: `revoke-oauth`. */
  roleOf(name: string): string
  /** Invokes a function now, where the schedule would only do so at the next minute. */
  invoke(name: string): Promise<void>
  /** What the functions have logged as a warning or an error: for a failed run's message. */
  errors(): Promise<string>
  /** What has come out of the outcome bus since the last call, seen by a rule and a queue of the test's own. */
  completions(): Promise<Completion[]>
}

/** A step of bringing it up failed. */
export class StepFailed extends Error {
  override readonly name = 'StepFailed'
}

/**
 * Deploys the very stacks with the CDK CLI on an emulated AWS that enforces IAM, beside real issuers on loopback.
 * `owns` is told of everything that must be undone; the caller undoes it in reverse order, whatever happens.
 */
export async function deploy(
  stack: MiniStack,
  owns: (undo: () => Promise<unknown> | unknown) => void,
  signal: AbortSignal,
): Promise<Deployment> {
  const laps: Record<string, number> = {}
  const timed = async <Value>(name: string, work: () => Promise<Value>): Promise<Value> => {
    signal.throwIfAborted()
    const began = performance.now()
    try {
      return await work()
    } finally {
      laps[name] = Math.round(performance.now() - began)
    }
  }
  const folder = await mkdtemp(join(tmpdir(), 'rescind-e2e-'))
  owns(() => rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }))
  const aws = awsAccount(stack)
  owns(() => aws.close())

  const trust = await makeTrust(folder, { issuer: DOMAIN })
  const jwks = await serveKeys(trust)
  owns(jwks.stop)
  const config = join(folder, 'rescind.config.mjs')
  await writeFile(config, `export default ${JSON.stringify(configOf(stack, jwks.url), undefined, 2)}\n`)
  const [bundles, assembly, outputs] = [join(folder, 'functions'), join(folder, 'cdk.out'), join(folder, 'outputs.json')]
  const home = join(folder, 'home')
  await mkdir(home)
  const cdk = (cwd: string, ...args: string[]) =>
    run(join(ROOT, 'node_modules/.bin/cdk'), args, {
      cwd,
      signal,
      environment: {
        ...stack.environment,
        PATH: [dirname(process.execPath), join(ROOT, 'node_modules/.bin'), process.env['PATH'] ?? ''].join(delimiter),
        // The CLI keeps an account cache and an identifier at home; both would outlive this account.
        HOME: home,
        CI: 'true',
        CDK_DISABLE_CLI_TELEMETRY: 'true',
        RESCIND_CONFIG: config,
        RESCIND_BUNDLES: bundles,
        RESCIND_CLI_CREDENTIALS: '1',
      },
    })

  const started = await Promise.allSettled([
    timed('issuers', () => startIssuers(folder, owns)),
    timed('bundles', () => build({ outdir: bundles })),
    timed('cdk bootstrap', () => cdk(home, 'bootstrap', '--no-notices', `aws://${stack.account}/${stack.region}`)),
  ])
  // All of them have ended before any failure is told: what was started is known to `owns`.
  for (const one of started) if (one.status === 'rejected') throw one.reason
  const [issuers] = started
  if (issuers.status === 'rejected') throw issuers.reason
  const [postgres, oauth] = issuers.value
  await timed('cdk synth', () => cdk(ROOT, 'synth', '--quiet', '--output', assembly))
  await timed('cdk deploy', () =>
    cdk(ROOT, 'deploy', '--app', assembly, '--require-approval', 'never', '--outputs-file', outputs, '--no-notices'),
  )
  const deployed = (JSON.parse(await readFile(outputs, 'utf8')) as Record<string, Record<string, string>>)[STACK] ?? {}
  const output = (name: string) => {
    const value = deployed[name]
    if (value === undefined) throw new StepFailed(`the stack has no output ${name}`)
    return value
  }
  const template = readTemplate(join(assembly, `${STACK}.template.json`))

  const hrSecret = `whsec_${randomBytes(32).toString('base64')}`
  const secrets = new SecretsManagerClient(aws.configuration(aws.root))
  owns(() => secrets.destroy())
  for (const [name, value] of [
    ['sources/hr', hrSecret],
    ['issuers/oauth/login', JSON.stringify(oauth.admin)],
    ['issuers/postgresql/orders', JSON.stringify(postgres?.admin ?? {})],
  ] as const) {
    await secrets.send(new CreateSecretCommand({ Name: `${NAME}/${name}`, SecretString: value }))
  }
  const configurations = await configurationsOf(aws, stack, template.functions)
  const configurationOf = (name: string) => {
    const configuration = configurations.get(name)
    if (configuration === undefined) throw new StepFailed(`there is no function ${name}`)
    return configuration
  }

  return {
    aws,
    account: stack.account,
    region: stack.region,
    // The emulator has no host names of its own: it serves each API below a path.
    apiUrl: `${stack.endpoint}/_aws/execute-api/${output('ApiUrl').match(/^https?:\/\/(\w+)\./)?.[1]}/$default`,
    intakeBus: output('IntakeBusName'),
    tableName: output('TableName'),
    archive: output('ArchiveName'),
    tokens: {
      broker: await trust.mintToken({ sub: PEOPLE.broker, aud: AUDIENCE }),
      operator: await trust.mintToken({ sub: PEOPLE.operator, aud: AUDIENCE }),
      approver: await trust.mintToken({ sub: PEOPLE.approver, aud: AUDIENCE }),
      responder: await trust.mintToken({ sub: PEOPLE.responder, aud: AUDIENCE }),
    },
    hrSecret,
    oauth,
    postgres,
    laps,
    resources: template.counts,
    sealingKey: (configurationOf('register').Environment?.Variables?.['SEALING'] ?? '').replace(/^kms:/, ''),
    roleOf: (name) => configurationOf(name).Role,
    async invoke(name) {
      const path = `/2015-03-31/functions/${STACK}-${name}/invocations`
      const { status, body } = await aws.signed(aws.root, 'lambda', 'POST', `${stack.endpoint}${path}`, {})
      if (status !== 200) throw new StepFailed(`${name} cannot be invoked: ${status} ${JSON.stringify(body)}`)
    },
    async errors() {
      const lines = await Promise.all(
        template.functions.map(async (name) => {
          const body = { logGroupName: `/aws/lambda/${name}`, limit: 1000 }
          const headers = { 'x-amz-target': 'Logs_20140328.FilterLogEvents', 'content-type': 'application/x-amz-json-1.1' }
          const { body: found } = await aws.signed(aws.root, 'logs', 'POST', `${stack.endpoint}/`, body, headers)
          const events = (found as { events?: readonly { readonly message: string }[] } | undefined)?.events ?? []
          return events
            .map(({ message }) => message.trim())
            .filter((line) => /"level":"(warn|error)"|Error/.test(line))
            .slice(-5)
        }),
      )
      return lines.flat().join('\n')
    },
    completions: await listen(aws, stack, output('OutcomeBusName'), owns),
  }
}

/** The same configuration that an installation has, with the trust of this machine. */
function configOf({ account, region }: MiniStack, jwks: string): RescindConfig {
  return {
    name: NAME,
    environments: [{ name: ENVIRONMENT, account, region }],
    providers: { postgresql: {}, oauth: {}, 'aws-iam': {} },
    vpc: 'none',
    removal: 'destroy',
    settings: {
      tokenIssuers: [
        { issuer: DOMAIN, kind: 'svid', audience: AUDIENCE, algorithms: ['ES256'], keys: { jwks }, namespace: 'e2e' },
      ],
      grants: [
        {
          right: 'broker',
          caller: PEOPLE.broker,
          identities: [`${DOMAIN}/workload/**`, `${DOMAIN}/agent/**`],
          namespaces: ['deploy'],
        },
        { right: 'holder', caller: `arn:aws:iam::${account}:role/*`, issuers: ['account'] },
        { right: 'operator', caller: PEOPLE.operator, approve: false },
        { right: 'operator', caller: PEOPLE.approver, approve: true },
        { right: 'source', caller: PEOPLE.responder, source: 'security' },
      ],
      sources: [
        { name: 'hr', triggers: ['offboarding'], namespaces: [], secrets: [`${NAME}/sources/hr`] },
        {
          name: 'security',
          triggers: ['compromise'],
          namespaces: [],
          busSource: SECURITY,
          busPrincipals: [`arn:aws:iam::${account}:role/${RESPONDERS}`],
        },
      ],
      protected: [],
      ownerLeavesDefault: 'revoke',
      limits: DEFAULT_LIMITS,
    },
  }
}

async function startIssuers(
  folder: string,
  owns: (undo: () => Promise<unknown>) => void,
): Promise<readonly [LocalPostgres | undefined, LocalOAuth]> {
  const oauth = await startOAuth()
  owns(() => oauth.stop())
  if (process.platform !== 'linux' || process.arch !== 'x64') return [undefined, oauth]
  const postgres = await startPostgres({ folder: join(folder, 'postgresql') })
  owns(async () => {
    await postgres.stop()
    await rm(postgres.files, { recursive: true, force: true })
  })
  return [postgres, oauth]
}

/** The token issuer's public keys at an address, where a function fetches them. */
async function serveKeys(trust: LocalTrust): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const keys = readFileSync(trust.jwksFile)
  const server = createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'application/jwk-set+json' }).end(keys)
  })
  const port = await listenOn(server, 0)
  return { url: `http://127.0.0.1:${port}/keys`, stop: () => closeServer(server) }
}

interface Template {
  readonly Resources: Readonly<Record<string, { readonly Type: string; readonly Properties?: Readonly<Record<string, unknown>> }>>
}

function readTemplate(file: string) {
  const { Resources } = JSON.parse(readFileSync(file, 'utf8')) as Template
  const counts: Record<string, number> = {}
  const functions: string[] = []
  for (const { Type, Properties } of Object.values(Resources)) {
    counts[Type] = (counts[Type] ?? 0) + 1
    const name = Properties?.['FunctionName']
    if (Type === 'AWS::Lambda::Function' && typeof name === 'string') functions.push(name)
  }
  return { counts, functions }
}

interface FunctionConfiguration {
  readonly Role: string
  readonly Environment?: { readonly Variables?: Readonly<Record<string, string>> }
}

/** The functions as they were deployed, by their names here. */
async function configurationsOf(
  aws: AwsAccount,
  stack: MiniStack,
  functions: readonly string[],
): Promise<ReadonlyMap<string, FunctionConfiguration>> {
  const found = await Promise.all(
    functions.map(async (name) => {
      const path = `/2015-03-31/functions/${name}/configuration`
      const { status, body } = await aws.signed(aws.root, 'lambda', 'GET', `${stack.endpoint}${path}`)
      if (status !== 200) throw new StepFailed(`function ${name} was not deployed: ${status}`)
      return [name.slice(STACK.length + 1), body as FunctionConfiguration] as const
    }),
  )
  return new Map(found)
}

/** A customer's own rule on the outcome bus. */
async function listen(
  aws: AwsAccount,
  { account, region }: MiniStack,
  bus: string,
  owns: (undo: () => void) => void,
): Promise<() => Promise<Completion[]>> {
  const configuration = aws.configuration(aws.root)
  const sqs = new SQSClient({ ...configuration, useQueueUrlAsEndpoint: false })
  const events = new EventBridgeClient(configuration)
  owns(() => {
    sqs.destroy()
    events.destroy()
  })
  const queue = 'what-rescind-did'
  const arn = `arn:aws:sqs:${region}:${account}:${queue}`
  const policy = {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: { Service: 'events.amazonaws.com' }, Action: 'sqs:SendMessage', Resource: arn }],
  }
  const { QueueUrl } = await sqs.send(
    new CreateQueueCommand({ QueueName: queue, Attributes: { Policy: JSON.stringify(policy) } }),
  )
  await events.send(new PutRuleCommand({ Name: queue, EventBusName: bus, EventPattern: JSON.stringify({ source: ['rescind'] }) }))
  await events.send(new PutTargetsCommand({ Rule: queue, EventBusName: bus, Targets: [{ Id: 'queue', Arn: arn }] }))
  return async () => {
    const found: Completion[] = []
    for (;;) {
      const { Messages = [] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10 }))
      if (Messages.length === 0) return found
      for (const { Body = '', ReceiptHandle } of Messages) {
        const { detail } = JSON.parse(Body) as { detail: unknown }
        found.push(Completion.parse(detail))
        await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }))
      }
    }
  }
}

/** Runs a program in a process group of its own; rejects with what it printed. An abort ends the whole group. */
function run(
  file: string,
  args: readonly string[],
  { cwd, environment, signal }: { cwd: string; environment: Record<string, string>; signal: AbortSignal },
): Promise<void> {
  return new Promise((done, fail) => {
    const child = spawn(file, [...args], { cwd, env: environment, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    let printed = ''
    const note = (chunk: Buffer) => {
      printed = (printed + chunk.toString()).slice(-8000)
    }
    child.stdout.on('data', note)
    child.stderr.on('data', note)
    const end = () => {
      if (child.pid === undefined) return
      try {
        process.kill(-child.pid, 'SIGKILL')
      } catch {
        // Nobody is left in the group.
      }
    }
    signal.addEventListener('abort', end, { once: true })
    process.once('exit', end)
    const finish = (code: number | null, error?: Error) => {
      signal.removeEventListener('abort', end)
      process.off('exit', end)
      if (code === 0) done()
      else fail(new StepFailed(`cdk ${args[0]} failed (${error?.message ?? code ?? 'killed'}):\n${printed}`))
    }
    child.once('error', (error) => finish(null, error))
    child.once('close', (code) => finish(code))
  })
}
