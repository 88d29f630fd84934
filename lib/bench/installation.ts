import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { catalog } from '../../functions/providers/catalog.ts'
import type { Bundle } from '../build.ts'
import { build } from '../build.ts'
import type { Json } from '../local/json.ts'
import { isArray, isObject } from '../local/json.ts'
import type { Template } from '../local/template.ts'
import { loadStacks, openTemplate } from '../local/template.ts'
import { rescindApp } from '../stacks/app.ts'

/** A function as the template describes it. */
export interface Bundled extends Bundle {
  /** Folder with `index.mjs` and `settings.json`, as Lambda would unpack it. */
  readonly folder: string
  readonly variables: Readonly<Record<string, string>>
}

/** The product as it would be deployed: what is measured is that, not something like it. */
export interface Installation {
  readonly template: Template
  readonly functions: readonly Bundled[]
  readonly table: string
  readonly auditIndex: string
  /** Patterns of the stream's records that `close` is given. */
  readonly closingFilters: readonly Json[]
}

const ROOT = resolve(import.meta.dirname, '../..')

/** Bundles all functions and synthesises the example configuration into `folder`. */
export async function install(folder: string): Promise<Installation> {
  const bundles = join(folder, 'functions')
  mkdirSync(bundles, { recursive: true })
  const built = await build({ outdir: bundles })
  const config: { default?: unknown } = await import(pathToFileURL(join(ROOT, 'rescind.config.ts')).href)
  const outdir = join(folder, 'cdk.out')
  rescindApp({ config: config.default, catalog, bundles, outdir }).synth()
  const place = { account: '000000000000', region: 'us-east-1', queues: 'http://127.0.0.1:1', api: 'http://127.0.0.1:1' }
  const template = openTemplate(loadStacks(outdir).slice(0, 1), place)

  const functions = template.ofType('AWS::Lambda::Function').flatMap((resource): Bundled[] => {
    const about = resource.metadata.Rescind
    const bundle = isObject(about) ? built.find(({ name }) => name === about.function) : undefined
    if (bundle === undefined) return []
    const variables = template.property(resource, 'Environment.Variables')
    return [
      {
        ...bundle,
        folder: template.assetOf(resource),
        variables: Object.fromEntries(
          Object.entries(isObject(variables) ? variables : {}).map(([name, value]) => [name, String(value)]),
        ),
      },
    ]
  })
  const variable = (of: string, name: string): string => {
    const value = functions.find((one) => one.name === of)?.variables[name]
    if (value === undefined) throw new Error(`the template gives ${of} no ${name}`)
    return value
  }
  return {
    template,
    functions: functions.sort((one, other) => (one.name < other.name ? -1 : 1)),
    table: variable('plan', 'TABLE_NAME'),
    auditIndex: variable('prove', 'AUDIT_INDEX_TABLE'),
    closingFilters: filtersOf(template, 'close'),
  }
}

function filtersOf(template: Template, name: string): Json[] {
  for (const mapping of template.ofType('AWS::Lambda::EventSourceMapping')) {
    const target = String(template.property(mapping, 'FunctionName'))
    const filters = template.property(mapping, 'FilterCriteria.Filters')
    if (!target.endsWith(`-${name}`) || !isArray(filters)) continue
    return filters.flatMap((filter) => (isObject(filter) ? [JSON.parse(String(filter.Pattern)) as Json] : []))
  }
  throw new Error(`the template filters nothing for ${name}`)
}
