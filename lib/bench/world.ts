import { randomBytes } from 'node:crypto'
import { cpSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Lane } from '../../functions/contracts/primitives.ts'
import { LANES } from '../../functions/contracts/primitives.ts'
import { DEFAULT_LIMITS } from '../../functions/contracts/settings.ts'
import { catalog } from '../../functions/providers/catalog.ts'
import { build } from '../build.ts'
import type { LocalTrust } from '../local/keys.ts'
import { makeTrust } from '../local/keys.ts'
import type { Template } from '../local/template.ts'
import { loadStacks, openTemplate } from '../local/template.ts'
import { rescindApp } from '../stacks/app.ts'
import type { IndexKeys } from './billing.ts'
import { definition as free } from './provider.ts'

export const DOMAIN = 'spiffe://bench.local'
export const AUDIENCE = 'rescind'
export const IDENTITY = `${DOMAIN}/workload/bench`
export const BROKER = `${DOMAIN}/broker`
const OPERATOR = `${DOMAIN}/operator`
const SECURITY = `${DOMAIN}/security`
const TOKEN_SECONDS = 12 * 3600
const ROOT = resolve(import.meta.dirname, '../..')

/** Secrets of the two issuers, by reference. */
export const POSTGRESQL_SECRET = 'rescind/issuers/postgresql/bench'

/** What is measured: the functions as Lambda would run them, wired as the template says. */
export interface World {
  readonly folder: string
  readonly cdkOut: string
  readonly trust: LocalTrust
  readonly table: string
  readonly auditIndex: string
  readonly bucket: string
  readonly indexes: readonly IndexKeys[]
  /** By the folder that its code is unpacked in. */
  readonly functions: ReadonlyMap<string, FunctionOfTemplate>
  /** Workers at once that the template gives PostgreSQL's lanes; P0 has no ceiling of its own. */
  readonly workers: Readonly<Partial<Record<Lane, number>>>
  /** Authorization of those who talk to the API. */
  readonly tokens: { readonly broker: string; readonly operator: string; readonly security: string }
}

export interface FunctionOfTemplate {
  /** `revoke-postgresql`. */
  readonly name: string
  /** Megabytes. */
  readonly memory: number
}

/**
 * Bundles a copy of the sources, so that nobody's edit meets a running measurement, with a provider more: the free one.
 * Then synthesises the stack with the trust of this machine.
 */
export async function makeWorld(folder: string): Promise<World> {
  const bundles = join(folder, 'functions')
  await build({ outdir: bundles, root: copySources(join(folder, 'sources')) })
  const trust = await makeTrust(folder, { issuer: DOMAIN })
  trust.keepSecret('rescind/keys/fingerprint', () => randomBytes(32).toString('base64'))
  const cdkOut = join(folder, 'cdk.out')
  rescindApp({
    config: configOf(trust),
    catalog: { ...catalog, [free.name]: free },
    bundles,
    outdir: cdkOut,
    checks: false,
  }).synth()
  const place = { account: '000000000000', region: 'us-east-1', queues: 'http://127.0.0.1:1', api: 'http://127.0.0.1:1' }
  const template = openTemplate(loadStacks(cdkOut), place)
  const token = (sub: string) => trust.mintToken({ sub, aud: AUDIENCE }, { seconds: TOKEN_SECONDS })
  const variable = (name: string) => variableOf(template, name)
  return {
    folder,
    cdkOut,
    trust,
    table: variable('TABLE_NAME'),
    auditIndex: variable('AUDIT_INDEX_TABLE'),
    bucket: variable('ARCHIVE_BUCKET'),
    indexes: indexesOf(template, variable('TABLE_NAME')),
    functions: functionsOf(template),
    workers: workersOf(template),
    tokens: { broker: await token(BROKER), operator: await token(OPERATOR), security: await token(SECURITY) },
  }
}

function copySources(folder: string): string {
  mkdirSync(folder, { recursive: true })
  cpSync(join(ROOT, 'functions'), join(folder, 'functions'), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  const providers = join(folder, 'functions/providers')
  mkdirSync(join(providers, free.name))
  const source = readFileSync(join(import.meta.dirname, 'provider.ts'), 'utf8')
  writeFileSync(join(providers, free.name, 'provider.ts'), source.replaceAll('../../functions/providers/', '../'))
  renameSync(join(providers, 'catalog.ts'), join(providers, 'catalog-of-the-product.ts'))
  writeFileSync(
    join(providers, 'catalog.ts'),
    `import { catalog as product } from './catalog-of-the-product.ts'
import { definition } from './${free.name}/provider.ts'
export const catalog = { ...product, [definition.name]: definition }
`,
  )
  return folder
}

const configOf = (trust: LocalTrust) => ({
  name: 'rescind',
  environments: [{ name: 'bench', account: '000000000000', region: 'us-east-1' }],
  providers: { postgresql: {}, free: {} },
  vpc: 'none',
  removal: 'destroy',
  secrets: trust.environment['SECRETS'],
  sealing: trust.environment['SEALING'],
  settings: {
    tokenIssuers: [
      {
        issuer: DOMAIN,
        kind: 'svid',
        audience: AUDIENCE,
        algorithms: ['ES256'],
        keys: { file: trust.jwksFile },
        namespace: 'bench',
      },
    ],
    grants: [
      { right: 'broker', caller: BROKER, identities: [`${DOMAIN}/workload/**`], namespaces: ['bench'] },
      { right: 'operator', caller: OPERATOR, approve: true },
      { right: 'source', caller: SECURITY, source: 'security' },
    ],
    sources: [
      { name: 'security', triggers: ['compromise', 'decommission', 'task-complete', 'offboarding'], namespaces: ['bench'] },
    ],
    protected: [],
    ownerLeavesDefault: 'revoke',
    // Deletion is part of what is measured; no approval stands between.
    approvals: { deletionAbove: 10_000_000 },
    fuse: { identities: 10_000_000, leases: 10_000_000, taskLeases: 10_000_000, share: 1 },
    limits: DEFAULT_LIMITS,
  },
})

function variableOf(template: Template, name: string): string {
  for (const resource of template.ofType('AWS::Lambda::Function')) {
    const value = template.property(resource, `Environment.Variables.${name}`)
    if (typeof value === 'string') return value
  }
  throw new Error(`no function of the template has ${name}`)
}

function indexesOf(template: Template, table: string): IndexKeys[] {
  const resource = template
    .ofType('AWS::DynamoDB::Table', 'AWS::DynamoDB::GlobalTable')
    .find((candidate) => template.nameOf(candidate) === table)
  const found = resource === undefined ? undefined : template.property(resource, 'GlobalSecondaryIndexes')
  if (!Array.isArray(found)) throw new Error('the table has no indexes')
  return found.map((index) => {
    const { IndexName, KeySchema } = index as { IndexName: string; KeySchema: { AttributeName: string }[] }
    const [partition = '', sort = ''] = KeySchema.map(({ AttributeName }) => AttributeName)
    return { name: IndexName, partition, sort }
  })
}

function functionsOf(template: Template): Map<string, FunctionOfTemplate> {
  const found = new Map<string, FunctionOfTemplate>()
  for (const resource of template.ofType('AWS::Lambda::Function')) {
    const about = resource.metadata['Rescind']
    const name = typeof about === 'object' && about !== null && 'function' in about ? String(about['function']) : undefined
    if (name !== undefined)
      found.set(template.assetOf(resource), { name, memory: Number(template.property(resource, 'MemorySize') ?? 128) })
  }
  return found
}

function workersOf(template: Template): Partial<Record<Lane, number>> {
  const found: Partial<Record<Lane, number>> = {}
  for (const mapping of template.ofType('AWS::Lambda::EventSourceMapping')) {
    const source = String(template.property(mapping, 'EventSourceArn'))
    const most = template.property(mapping, 'ScalingConfig.MaximumConcurrency')
    for (const lane of LANES) if (source.endsWith(`work-postgresql-${lane}`) && most !== undefined) found[lane] = Number(most)
  }
  return found
}
