import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import type { IFlattenedRuleSet, IForbiddenRuleType } from 'dependency-cruiser'
import { cruise } from 'dependency-cruiser'
import { afterAll, describe, expect, it } from 'vitest'

/**
 * The shape of the house. `import type` counts like any other import: it is the first step of the coupling that a rule
 * is there to prevent.
 */
const STAGE = '(?:intake|register|operate|plan|revoke|close|prove|sweep)'

const RULES: readonly (IForbiddenRuleType & { readonly name: string; readonly comment: string })[] = [
  {
    name: 'stage-to-stage',
    comment: 'A stage imports no other stage: they meet only in contracts, so each can be read, changed and deployed alone.',
    from: { path: `^functions/(${STAGE})/` },
    to: { path: `^functions/${STAGE}/`, pathNot: '^functions/$1/' },
  },
  {
    name: 'domain-is-pure',
    comment: 'The domain decides; it imports contracts, itself and the provider contract alone, so that it does no I/O.',
    from: { path: '^functions/domain/' },
    to: { path: '^(functions|lib|bin|test)/', pathNot: '^functions/(domain|contracts)/|^functions/providers/contract\\.ts$' },
  },
  {
    name: 'domain-without-libraries',
    comment: 'The domain decides; of libraries it needs hashing and schemas, never a client, a file or a socket.',
    from: { path: '^functions/domain/' },
    to: { path: '.', dependencyTypes: ['core', 'npm', 'npm-dev', 'npm-optional'], pathNot: '^(node:)?(crypto|util)$|/zod/' },
  },
  {
    name: 'contracts-stand-alone',
    comment: 'Contracts are what crosses a border; whoever reads one must not have to read the code behind it.',
    from: { path: '^functions/contracts/' },
    to: { path: '^(functions|lib|bin|test)/', pathNot: '^functions/contracts/' },
  },
  {
    name: 'provider-to-provider',
    comment: 'A provider is exactly one folder: adding or removing one touches no other.',
    from: { path: '^functions/providers/([^/]+)/' },
    to: { path: '^functions/providers/[^/]+/', pathNot: '^functions/providers/$1/' },
  },
  {
    name: 'provider-to-pipeline',
    comment: 'A provider knows the provider contract, not the pipeline: it is handed what it needs.',
    from: { path: '^functions/providers/[^/]+/' },
    to: { path: `^functions/(${STAGE}|store|runtime)/` },
  },
  {
    name: 'definition-is-data',
    comment: 'A definition is loaded by the planner and the API too, so it must not bring its client library or its calls along.',
    from: { path: '^functions/providers/[^/]+/definition\\.ts$' },
    to: { path: '/(provider|fake|client)\\.ts$|node_modules/(?!zod/)' },
  },
  {
    name: 'store-behind-ports',
    comment: 'The store persists what the domain decided: it knows contracts, domain and ports, no stage and no provider.',
    from: { path: '^functions/store/' },
    to: { path: '^(functions|lib|bin|test)/', pathNot: '^functions/(contracts|domain|store)/|^functions/runtime/ports\\.ts$' },
  },
  {
    name: 'runtime-under-stages',
    comment: 'Stages are built on the runtime; a runtime that knew a stage would pull it into every bundle.',
    from: { path: '^functions/runtime/' },
    to: { path: `^functions/${STAGE}/|^functions/providers/[^/]+/` },
  },
  {
    name: 'functions-ship-alone',
    comment: 'What runs in Lambda must not depend on what builds, deploys or tests it.',
    from: { path: '^functions/' },
    to: { path: '^(lib|bin|test)/|^[^/]+\\.ts$' },
  },
  {
    name: 'no-cycle',
    comment: 'Two modules that need each other are one module, or hide a third.',
    from: {},
    to: { circular: true },
  },
  {
    name: 'resolvable',
    comment: 'An import that leads nowhere fails only when it is needed.',
    from: {},
    to: { couldNotResolve: true },
  },
]

const ROOT = resolve(import.meta.dirname, '../..')

interface Seen {
  readonly modules: number
  /** `from -> to`, also of `import type`. */
  readonly imports: readonly string[]
  /** One line for each broken rule: what imports what, and the reason not to. */
  readonly broken: readonly string[]
}

async function look(root: string): Promise<Seen> {
  const { output } = await cruise(
    ['functions', 'lib', 'bin'],
    {
      baseDir: root,
      // The only parser it supports that reads TypeScript without the compiler's own API, which TypeScript 7 no longer has.
      parser: 'swc',
      tsPreCompilationDeps: true,
      validate: true,
      ruleSet: { forbidden: RULES.map((rule) => ({ severity: 'error', ...rule })) } satisfies IFlattenedRuleSet,
      doNotFollow: { path: 'node_modules' },
    },
    { extensions: ['.ts', '.mjs', '.js'], conditionNames: ['import', 'node', 'default'], exportsFields: ['exports'] },
  )
  if (typeof output === 'string') throw new TypeError('dependency-cruiser answered with text')
  const reasons = new Map(RULES.map(({ name, comment }) => [name, comment]))
  return {
    modules: output.modules.length,
    imports: output.modules.flatMap(({ source, dependencies }) => dependencies.map(({ resolved }) => `${source} -> ${resolved}`)),
    broken: output.summary.violations.map(({ from, to, rule }) => `${rule.name}: ${from} -> ${to}: ${reasons.get(rule.name)}`),
  }
}

describe('the import rules', () => {
  it('hold in the house', async () => {
    const { broken, imports } = await look(ROOT)
    // A parser that is not installed finds no import, and no broken rule either.
    expect(imports).toContain('functions/contracts/trigger.ts -> functions/contracts/primitives.ts')
    expect(broken).toEqual([])
  })

  it('see every import: none hides in a type expression', () => {
    const hidden = globSync('{functions,lib,bin}/**/*.ts', { cwd: ROOT }).filter((file) =>
      /(?<!await )\bimport\(\s*['"]\.{1,2}\//.test(readFileSync(join(ROOT, file), 'utf8')),
    )
    expect(hidden).toEqual([])
  })
})

describe('each rule fires, and says why', () => {
  const house = realpathSync(mkdtempSync(join(tmpdir(), 'rescind-imports-')))
  afterAll(() => rmSync(house, { recursive: true, force: true }))

  const VIOLATIONS: Readonly<Record<string, readonly [from: string, text: string]>> = {
    'stage-to-stage': ['functions/plan/handler.ts', "import { close } from '../close/close.ts'\nexport const use = close"],
    'domain-is-pure': ['functions/domain/decide.ts', "import type { Table } from '../store/table.ts'\nexport type Use = Table"],
    'domain-without-libraries': [
      'functions/domain/disk.ts',
      "import { readFileSync } from 'node:fs'\nexport const use = readFileSync",
    ],
    'contracts-stand-alone': ['functions/contracts/trigger.ts', "export type { Decision } from '../domain/model.ts'"],
    'provider-to-provider': [
      'functions/providers/alpha/provider.ts',
      "import { client } from '../omega/client.ts'\nexport const use = client",
    ],
    'provider-to-pipeline': [
      'functions/providers/omega/client.ts',
      "import { Table } from '../../store/table.ts'\nexport const client = Table",
    ],
    'definition-is-data': [
      'functions/providers/alpha/definition.ts',
      "import { provider } from './provider.ts'\nexport const definition = provider",
    ],
    'store-behind-ports': ['functions/store/leases.ts', "import { clock } from '../runtime/clock.ts'\nexport const use = clock"],
    'runtime-under-stages': ['functions/runtime/wire.ts', "import { close } from '../close/close.ts'\nexport const use = close"],
    'functions-ship-alone': [
      'functions/sweep/handler.ts',
      "import type { Config } from '../../lib/config.ts'\nexport type Use = Config",
    ],
    'no-cycle': ['functions/store/one.ts', "import { two } from './two.ts'\nexport const one = () => two"],
    resolvable: ['lib/lost.ts', "import { nothing } from './nowhere.ts'\nexport const use = nothing"],
  }
  const HARMLESS: Readonly<Record<string, string>> = {
    'functions/close/close.ts': 'export const close = 1',
    'functions/close/handler.ts':
      "import { close } from './close.ts'\nimport { clock } from '../runtime/clock.ts'\nexport const handler = [close, clock]",
    'functions/store/table.ts': 'export interface Table {}\nexport const Table = 1',
    'functions/store/two.ts': "import { one } from './one.ts'\nexport const two = () => one",
    'functions/domain/model.ts': "import { createHash } from 'node:crypto'\nexport type Decision = ReturnType<typeof createHash>",
    'functions/runtime/clock.ts': 'export const clock = 1',
    'lib/config.ts': "import type { Use } from '../functions/domain/decide.ts'\nexport type Config = Use",
    'bin/run.ts': "import { use } from '../lib/lost.ts'\nexport const run = use",
  }

  const found = (async () => {
    const write = (file: string, text: string) => {
      mkdirSync(dirname(join(house, file)), { recursive: true })
      writeFileSync(join(house, file), `${text}\n`)
    }
    cpSync(join(ROOT, 'package.json'), join(house, 'package.json'))
    for (const [file, text] of Object.values(VIOLATIONS)) write(file, text)
    for (const [file, text] of Object.entries(HARMLESS)) write(file, text)
    return (await look(house)).broken
  })()

  it('has a made-up violation for every rule', () => {
    expect(Object.keys(VIOLATIONS).sort()).toEqual(RULES.map(({ name }) => name).sort())
  })

  it.each(RULES)('$name', async ({ name, comment }) => {
    const [from] = VIOLATIONS[name] ?? ['']
    const line = (await found).find((each) => each.startsWith(`${name}: ${from} -> `))
    expect(line).toBeDefined()
    expect(line?.endsWith(comment)).toBe(true)
  })

  it('spares what keeps the rules', async () => {
    const guilty = new Set(
      (await found).filter((line) => !line.startsWith('no-cycle')).map((line) => /: (\S+) -> /.exec(line)?.[1]),
    )
    expect([...guilty].filter((file) => file !== undefined && file in HARMLESS)).toEqual([])
  })
})
