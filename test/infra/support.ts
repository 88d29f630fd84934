import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DEFAULT_LIMITS } from '../../functions/contracts/settings.ts'
import type { Catalog, RescindConfig } from '../../lib/config.ts'
import { rescindApp } from '../../lib/stacks/app.ts'

/** The synthesised template, with just enough types to ask it questions. */
export interface Resource {
  readonly Type: string
  readonly Properties: Readonly<Record<string, unknown>>
  readonly DeletionPolicy?: string
  readonly Metadata?: { readonly Rescind?: { readonly function?: string; readonly queue?: string } }
}
export interface Template {
  readonly Resources: Readonly<Record<string, Resource>>
}
export interface Statement {
  readonly Effect: 'Allow' | 'Deny'
  readonly Action: string | readonly string[]
  readonly Resource: unknown
  readonly Principal?: unknown
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  readonly Sid?: string
}

export interface Synthesised {
  readonly template: Template
  /** Rules of cdk-nag that are broken and not acknowledged. */
  readonly findings: readonly string[]
  /** Content of each file of one function's code. */
  codeOf(name: string): (file: string) => string
  remove(): void
}

const STAGES = ['intake-http', 'intake-bus', 'register', 'operate', 'plan', 'plan-preview', 'close', 'prove', 'sweep']

/** Synthesises one environment with placeholder bundles. */
export function synthesise(config: RescindConfig, catalog: Catalog): Synthesised {
  const folder = mkdtempSync(join(tmpdir(), 'rescind-infra-'))
  const bundles = join(folder, 'bundles')
  for (const name of [...STAGES, ...Object.keys(config.providers).map((provider) => `revoke-${provider}`)]) {
    mkdirSync(join(bundles, name), { recursive: true })
    writeFileSync(join(bundles, name, 'index.mjs'), `export const handler = async () => ${JSON.stringify(name)}\n`)
  }
  const outdir = join(folder, 'cdk.out')
  const findings: string[] = []
  try {
    rescindApp({ config, catalog, bundles, outdir }).synth()
  } catch (error) {
    // A broken rule stops the synthesis behind the template; anything else is no finding.
    if (!(error instanceof Error) || !error.message.includes('(AwsSolutions)')) throw error
    findings.push(error.message)
  }
  const stack = `${config.name}-${config.environments[0]?.name}`
  const template: Template = JSON.parse(readFileSync(join(outdir, `${stack}.template.json`), 'utf8'))
  return {
    template,
    findings,
    codeOf: (name) => {
      const found = Object.values(template.Resources).find(({ Metadata }) => Metadata?.Rescind?.function === name)
      const asset = String((found?.Metadata as Record<string, unknown> | undefined)?.['aws:asset:path'])
      return (file) => readFileSync(join(outdir, asset, file), 'utf8')
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}

/** A small valid installation; each test changes what it is about. */
export const installation = (
  change: Partial<RescindConfig> = {},
  settings: Partial<RescindConfig['settings']> = {},
): RescindConfig => ({
  name: 'rescind',
  environments: [{ name: 'test' }],
  providers: { alpha: {} },
  settings: {
    tokenIssuers: [],
    grants: [],
    sources: [
      {
        name: 'hr',
        triggers: ['offboarding'],
        namespaces: [],
        busSource: 'org.example.hr',
        busPrincipals: ['arn:aws:iam::111122223333:role/hr'],
      },
    ],
    protected: [],
    ownerLeavesDefault: 'reassign',
    limits: DEFAULT_LIMITS,
    ...settings,
  },
  ...change,
})

export const ofType = (template: Template, type: string): [string, Resource][] =>
  Object.entries(template.Resources).filter(([, { Type }]) => Type === type)

/** Logical id that a `Ref` or `Fn::GetAtt` points to. */
export function target(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  if ('Ref' in value) return String(value.Ref)
  if ('Fn::GetAtt' in value && Array.isArray(value['Fn::GetAtt'])) return String(value['Fn::GetAtt'][0])
  return undefined
}

export const list = <Value>(value: Value | readonly Value[] | undefined): readonly Value[] =>
  value === undefined ? [] : Array.isArray(value) ? value : [value as Value]

/** The function's resource, its role, and every statement that the role carries. */
export function functionOf(template: Template, name: string) {
  const [id, resource] = Object.entries(template.Resources).find(([, { Metadata }]) => Metadata?.Rescind?.function === name) ?? []
  if (id === undefined || resource === undefined) throw new Error(`no function ${name}`)
  const role = target(resource.Properties['Role'])
  const policies = ofType(template, 'AWS::IAM::Policy').filter(([, { Properties }]) =>
    list(Properties['Roles'] as unknown[]).some((each) => target(each) === role),
  )
  const managed = list(template.Resources[role ?? '']?.Properties['ManagedPolicyArns'] as unknown[]).map(
    (each) => template.Resources[target(each) ?? ''],
  )
  const statements = [...policies.map(([, policy]) => policy), ...managed].flatMap((policy) => {
    const document = policy?.Properties['PolicyDocument'] as { Statement: Statement[] } | undefined
    return document?.Statement ?? []
  })
  const environment = (resource.Properties['Environment'] as { Variables: Record<string, unknown> }).Variables
  return { id, resource, role, statements, environment }
}

/** `action resource` of everything that is allowed, resources as logical ids or text. */
export const allowed = (statements: readonly Statement[]): string[] =>
  statements
    .filter(({ Effect }) => Effect === 'Allow')
    .flatMap(({ Action, Resource }) =>
      list(Action).flatMap((action) =>
        list(Resource).map((resource) => `${action} ${target(resource) ?? JSON.stringify(resource)}`),
      ),
    )

export const queueId = (template: Template, name: string): string => {
  const found = Object.entries(template.Resources).find(([, { Metadata }]) => Metadata?.Rescind?.queue === name)
  if (found === undefined) throw new Error(`no queue ${name}`)
  return found[0]
}
