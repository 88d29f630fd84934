import { existsSync, globSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import * as z from 'zod'

/**
 * What is written from the sources and committed: the catalog of providers, and a JSON Schema for each contract.
 * `node lib/generate.ts` writes; with `--check` it writes nothing and fails if something is stale.
 */

const ROOT = resolve(import.meta.dirname, '..')
const CATALOG = 'functions/providers/catalog.ts'
const SCHEMAS = 'schemas'
const SCHEMA_ID = 'https://rescind.io/schemas/'

/** Path inside the repository to content, of everything that is generated. */
export type Generated = ReadonlyMap<string, string>

export async function generate(root: string = ROOT): Promise<Generated> {
  const files = new Map<string, string>([[CATALOG, catalog(root)]])
  for (const [name, schema] of await schemas(root)) files.set(`${SCHEMAS}/${name}.json`, `${JSON.stringify(schema, null, 2)}\n`)
  return files
}

/** The generated files that are missing, stale, or left behind. */
export function stale(files: Generated, root: string = ROOT): string[] {
  const wrong = [...files].filter(
    ([path, content]) => !existsSync(join(root, path)) || readFileSync(join(root, path), 'utf8') !== content,
  )
  return [...wrong.map(([path]) => path), ...leftovers(files, root)].sort()
}

const leftovers = (files: Generated, root: string) =>
  existsSync(join(root, SCHEMAS))
    ? readdirSync(join(root, SCHEMAS))
        .map((name) => `${SCHEMAS}/${name}`)
        .filter((path) => path.endsWith('.json') && !files.has(path))
    : []

/** Lists the definitions only, so that the planner and the API load no client library. */
function catalog(root: string): string {
  const folders = globSync('functions/providers/*/definition.ts', { cwd: root })
    .map((file) => basename(dirname(file)))
    .sort()
  const variable = (folder: string) => folder.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
  const imports = [
    ...folders.map((folder) => [
      `./${folder}/definition.ts`,
      `import { definition as ${variable(folder)} } from './${folder}/definition.ts'`,
    ]),
    ['./contract.ts', `import type { Definition } from './contract.ts'`],
  ] as const
  return [
    ...[...imports].sort(([left = ''], [right = '']) => (left < right ? -1 : 1)).map(([, line]) => line),
    '',
    '/** Every provider folder, by name. Written by `npm run generate`; do not edit. */',
    'export const catalog: Readonly<Record<string, Definition>> = {',
    ...folders.map((folder) => (folder.includes('-') ? `  '${folder}': ${variable(folder)},` : `  ${folder},`)),
    '}',
    '',
  ].join('\n')
}

/** Name (kebab case) to JSON Schema of every zod schema that a contract module exports under a capital. */
async function schemas(root: string): Promise<Map<string, unknown>> {
  const found = new Map<string, { module: string; schema: z.core.$ZodType }>()
  for (const file of globSync('functions/contracts/*.ts', { cwd: root }).sort()) {
    const module: Record<string, unknown> = await import(pathToFileURL(join(root, file)).href)
    for (const [name, value] of Object.entries(module)) {
      if (!(value instanceof z.core.$ZodType)) continue
      const id = name.replace(/(?<=[a-z0-9])(?=[A-Z])/g, '-').toLowerCase()
      const other = found.get(id)
      if (other !== undefined && other.schema !== value) throw new Error(`${file} and ${other.module} both export ${name}`)
      found.set(id, { module: file, schema: value })
    }
  }
  return new Map(
    [...found]
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([id, { schema }]) => [
        id,
        { $id: `${SCHEMA_ID}${id}.json`, ...z.toJSONSchema(schema, { target: 'draft-2020-12', io: 'input' }) },
      ]),
  )
}

if (import.meta.main) {
  const files = await generate()
  if (process.argv.includes('--check')) {
    const wrong = stale(files)
    if (wrong.length > 0) {
      process.stderr.write(`stale, run "npm run generate": ${wrong.join(', ')}\n`)
      process.exitCode = 1
    }
  } else {
    for (const path of leftovers(files, ROOT)) rmSync(join(ROOT, path))
    for (const [path, content] of files) {
      mkdirSync(dirname(join(ROOT, path)), { recursive: true })
      writeFileSync(join(ROOT, path), content)
    }
    process.stdout.write(`${files.size} files written\n`)
  }
}
