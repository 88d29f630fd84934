import { randomBytes } from 'node:crypto'
import { existsSync, globSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { DEFAULT_LIMITS } from '../../functions/contracts/settings.ts'
import { catalog } from '../../functions/providers/catalog.ts'
import { build } from '../build.ts'
import type { RescindConfig } from '../config.ts'
import type { LocalOAuth } from './issuers/oauth.ts'
import { startOAuth } from './issuers/oauth.ts'
import type { LocalPostgres } from './issuers/postgres.ts'
import { startPostgres } from './issuers/postgres.ts'
import type { LocalTrust } from './keys.ts'
import { makeTrust } from './keys.ts'
import type { Runtime } from './runtime.ts'
import { startRuntime } from './runtime.ts'

/** Everybody who may talk to the pipeline of this machine, by the last part of a SPIFFE ID. */
export const DOMAIN = 'spiffe://rescind.local'
export const AUDIENCE = 'rescind'
export const PEOPLE = {
  broker: `${DOMAIN}/broker`,
  operator: `${DOMAIN}/operator/olga`,
  approver: `${DOMAIN}/operator/paul`,
  security: `${DOMAIN}/source/security`,
  deploy: `${DOMAIN}/source/deploy`,
  ci: `${DOMAIN}/source/ci`,
} as const
export type Person = keyof typeof PEOPLE

/** A working day: long enough to try things out, short enough to be forgotten. */
const TOKEN_SECONDS = 12 * 3600
const ROOT = resolve(import.meta.dirname, '../..')
const BUNDLES = join(ROOT, 'dist/functions')

export interface Installation {
  readonly folder: string
  readonly runtime: Runtime
  readonly trust: LocalTrust
  readonly postgres: LocalPostgres
  readonly oauth: LocalOAuth
  /** A token of one of the people, as the authorization header wants it. */
  readonly tokens: Readonly<Record<Person, string>>
  /** Where the same tokens lie as files that only their owner may read. */
  readonly tokenFiles: Readonly<Record<Person, string>>
  /** The HMAC key of the HR system (`whsec_...`, Standard Webhooks). */
  readonly hrSecret: string
  readonly milliseconds: Readonly<Record<string, number>>
  stop(): Promise<void>
}

export interface InstallationOptions {
  readonly folder: string
  readonly port?: number
  /** How often the sweeper runs, in seconds; a minute on AWS. */
  readonly sweepSeconds?: number
  readonly log?: (line: string) => void
}

/**
 * An installation on one machine: bundles what Lambda would run, synthesises the very stack with a local configuration,
 * starts the issuers, and runs the template.
 */
export async function startInstallation({
  folder: given,
  port,
  sweepSeconds = 5,
  log,
}: InstallationOptions): Promise<Installation> {
  const folder = resolve(given)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const laps: Record<string, number> = {}
  const began = performance.now()
  const lap = (name: string) => {
    laps[name] = Math.round(performance.now() - began)
  }
  const running: { stop(): Promise<void> }[] = []
  const stop = async () => {
    for (const part of running.splice(0).reverse()) await part.stop()
  }
  try {
    const trust = await makeTrust(folder, { issuer: DOMAIN })
    const hrSecret = `whsec_${randomBytes(32).toString('base64')}`
    trust.putSecret('rescind/sources/hr', hrSecret)
    trust.keepSecret('rescind/keys/fingerprint', () => randomBytes(32).toString('base64'))
    // The issuers' data begins anew with the table that knows of it.
    rmSync(join(folder, 'issuers'), { recursive: true, force: true })
    const started = await Promise.allSettled([
      startPostgres({ folder: join(folder, 'issuers/postgresql') }).then((server) => {
        running.push(server)
        lap('PostgreSQL')
        return server
      }),
      startOAuth().then((server) => {
        running.push(server)
        lap('OAuth server')
        return server
      }),
      bundle().then(() => lap('bundles')),
      // The CDK takes a second to load: it does so while the servers start.
      loadStacks(),
    ])
    for (const one of started) if (one.status === 'rejected') throw one.reason
    const [postgres, oauth] = started.map((one) => (one.status === 'fulfilled' ? one.value : undefined))
    if (!isPostgres(postgres) || !isOAuth(oauth)) throw new Error('an issuer did not start')
    trust.putSecret('rescind/issuers/postgresql/orders', JSON.stringify(postgres.admin))
    trust.putSecret('rescind/issuers/oauth/login', JSON.stringify(oauth.admin))

    const cdkOut = join(folder, 'cdk.out')
    rmSync(cdkOut, { recursive: true, force: true })
    const { rescindApp } = await loadStacks()
    rescindApp({ config: configOf(trust), catalog, bundles: BUNDLES, outdir: cdkOut, checks: false }).synth()
    lap('template')
    const runtime = await startRuntime({
      folder,
      cdkOut,
      scheduleSeconds: sweepSeconds,
      environment: trust.environment,
      ...(port === undefined ? {} : { port }),
      ...(log === undefined ? {} : { log }),
    })
    running.push(runtime)
    const { tokens, tokenFiles } = await tokensOf(trust, folder)
    lap('ready')
    return { folder, runtime, trust, postgres, oauth, tokens, tokenFiles, hrSecret, milliseconds: laps, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

const loadStacks = async () => await import('../stacks/app.ts')

const isPostgres = (part: unknown): part is LocalPostgres => typeof part === 'object' && part !== null && 'system' in part
const isOAuth = (part: unknown): part is LocalOAuth => typeof part === 'object' && part !== null && 'issueToken' in part

/** Bundles the functions unless what is there is younger than every source. */
async function bundle(): Promise<void> {
  const sources = globSync('{functions,lib}/**/*.ts', { cwd: ROOT }).map((file) => statSync(join(ROOT, file)).mtimeMs)
  const bundles = globSync('*/index.mjs', { cwd: BUNDLES }).map((file) => statSync(join(BUNDLES, file)).mtimeMs)
  const expected = globSync('functions/*/{handler,*.handler}.ts', { cwd: ROOT }).length
  if (existsSync(BUNDLES) && bundles.length >= expected && Math.min(...bundles) > Math.max(...sources)) return
  await build({ outdir: BUNDLES })
}

async function tokensOf(trust: LocalTrust, folder: string) {
  const made: [Person, string, string][] = []
  mkdirSync(join(folder, 'tokens'), { recursive: true, mode: 0o700 })
  for (const person of Object.keys(PEOPLE) as Person[]) {
    const token = await trust.mintToken({ sub: PEOPLE[person], aud: AUDIENCE }, { seconds: TOKEN_SECONDS })
    const file = join(folder, 'tokens', person)
    writeFileSync(file, token, { mode: 0o600 })
    made.push([person, token, file])
  }
  return {
    tokens: Object.fromEntries(made.map(([person, token]) => [person, token])) as Record<Person, string>,
    tokenFiles: Object.fromEntries(made.map(([person, , file]) => [person, file])) as Record<Person, string>,
  }
}

/** The same configuration that an installation on AWS has, with the trust of this machine. */
function configOf(trust: LocalTrust): RescindConfig {
  return {
    name: 'rescind',
    environments: [{ name: 'local', account: '000000000000', region: 'us-east-1' }],
    providers: { postgresql: {}, oauth: {} },
    vpc: 'none',
    removal: 'destroy',
    secrets: trust.environment.SECRETS ?? '',
    sealing: trust.environment.SEALING ?? '',
    settings: {
      tokenIssuers: [
        {
          issuer: DOMAIN,
          kind: 'svid',
          audience: AUDIENCE,
          algorithms: ['ES256'],
          keys: { file: trust.jwksFile },
          namespace: 'local',
        },
      ],
      grants: [
        {
          right: 'broker',
          caller: PEOPLE.broker,
          identities: [`${DOMAIN}/workload/**`, `${DOMAIN}/agent/**`, `${DOMAIN}/ci/**`],
          namespaces: ['deploy', 'ci'],
        },
        { right: 'operator', caller: PEOPLE.operator, approve: false },
        { right: 'operator', caller: PEOPLE.approver, approve: true },
        { right: 'source', caller: PEOPLE.security, source: 'security' },
        { right: 'source', caller: PEOPLE.deploy, source: 'deploy' },
        { right: 'source', caller: PEOPLE.ci, source: 'ci' },
      ],
      sources: [
        { name: 'hr', triggers: ['offboarding'], namespaces: [], secrets: ['rescind/sources/hr'] },
        { name: 'security', triggers: ['compromise'], namespaces: [] },
        { name: 'deploy', triggers: ['decommission'], namespaces: ['deploy'] },
        { name: 'ci', triggers: ['task-complete'], namespaces: ['ci'] },
      ],
      protected: [`${DOMAIN}/workload/payments`],
      ownerLeavesDefault: 'revoke',
      limits: DEFAULT_LIMITS,
    },
  }
}
