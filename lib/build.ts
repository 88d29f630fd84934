import { existsSync, globSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { isBuiltin } from 'node:module'
import { basename, dirname, join, resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import * as esbuild from 'esbuild'

/**
 * One bundling run for every function: AWS and one machine run the very same files, `dist/functions/<name>/index.mjs`.
 */

/** A function and the source of its entry: a file, or for a worker generated code that binds it to its provider. */
export interface Entry {
  /** `intake-http`, `revoke-postgresql`: name of the function, and of its folder in the output. */
  readonly name: string
  readonly source: { readonly file: string } | { readonly provider: string }
}

export interface Bundle {
  readonly name: string
  readonly file: string
  /** Size of the minified code and of its gzip, in bytes. */
  readonly bytes: number
  readonly zipped: number
}

export interface BuildOptions {
  /** Folder that receives `<name>/index.mjs` and its map. */
  readonly outdir: string
  /** Names of the functions to build; all of them where absent. */
  readonly only?: readonly string[]
  /** The repository; another one only in tests. */
  readonly root?: string
}

const ROOT = resolve(import.meta.dirname, '..')

/** The built-in `require` that bundled CommonJS packages (pg) look for; an ES module has none. */
const REQUIRE_BANNER =
  "import{createRequire as __rescindRequire}from'node:module';const require=__rescindRequire(import.meta.url);"

/** Optional packages that their users ask for inside a try or a getter and do without: Lambda lacks them, so do we. */
const ABSENT =
  /^(pg-native|cardinal|aws-crt|@aws-sdk\/signature-v4-crt|@aws-sdk\/signature-v4a|cpu-features|.*\/sshcrypto\.node)$/

/** All functions that the folders define, sorted by name. */
export function entries(root: string = ROOT): Entry[] {
  const found: Entry[] = []
  for (const file of globSync('functions/*/{handler,*.handler}.ts', { cwd: root })) {
    const stage = basename(dirname(file))
    const part = basename(file).replace(/\.?handler\.ts$/, '')
    if (stage === 'revoke' && part === '') continue
    found.push({ name: part === '' ? stage : `${stage}-${part}`, source: { file: join(root, file) } })
  }
  if (existsSync(join(root, 'functions/revoke/handler.ts'))) {
    for (const file of globSync('functions/providers/*/provider.ts', { cwd: root })) {
      const provider = basename(dirname(file))
      found.push({ name: `revoke-${provider}`, source: { provider } })
    }
  }
  return found.sort((left, right) => (left.name < right.name ? -1 : 1))
}

/**
 * Bundles the functions into `outdir`.
 * @throws if a name in `only` is unknown, if nothing is found, if esbuild fails, or if a bundle would import something that Lambda lacks.
 */
export async function build({ outdir, only, root = ROOT }: BuildOptions): Promise<Bundle[]> {
  const all = entries(root)
  const unknown = only?.filter((name) => !all.some((entry) => entry.name === name)) ?? []
  if (unknown.length > 0) {
    throw new Error(`no such function: ${unknown.join(', ')}; there are: ${all.map(({ name }) => name).join(', ')}`)
  }
  const chosen = only === undefined ? all : all.filter(({ name }) => only.includes(name))
  if (chosen.length === 0) throw new Error(`no handler.ts in ${join(root, 'functions')}`)

  for (const { name } of chosen) rmSync(join(outdir, name), { recursive: true, force: true })
  const first = await run(chosen, outdir, root, '')
  // The banner costs every cold start a little and hides accidental CommonJS, so only bundles that need it get it.
  const dynamic = chosen.filter(({ name }) => textOf(first, name).includes('Dynamic require of'))
  const second = dynamic.length === 0 ? undefined : await run(dynamic, outdir, root, REQUIRE_BANNER)

  return chosen.map(({ name }) => {
    const code = textOf(second !== undefined && dynamic.some((entry) => entry.name === name) ? second : first, name)
    return {
      name,
      file: join(outdir, name, 'index.mjs'),
      bytes: Buffer.byteLength(code),
      zipped: gzipSync(code).byteLength,
    }
  })
}

type Outcome = esbuild.BuildResult<{ metafile: true; write: false }>

async function run(chosen: readonly Entry[], outdir: string, root: string, banner: string): Promise<Outcome> {
  const result = await esbuild.build({
    absWorkingDir: root,
    entryPoints: chosen.map(({ name, source }) => ({
      in: 'file' in source ? source.file : `worker:${source.provider}`,
      out: join(name, 'index'),
    })),
    outdir: resolve(outdir),
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    minify: true,
    keepNames: false,
    splitting: false,
    sourcemap: true,
    // Stack traces need positions and names only; the sources themselves would triple what a function unpacks.
    sourcesContent: false,
    mainFields: ['module', 'main'],
    legalComments: 'none',
    banner: banner === '' ? {} : { js: banner },
    metafile: true,
    write: false,
    // What fails is thrown, with every message in it.
    logLevel: 'silent',
    plugins: [worker(root), absent(), environmentCredentials(), shakeableSchemas()],
  })
  for (const [file, output] of Object.entries(result.metafile.outputs)) {
    const foreign = output.imports.filter(({ external, path }) => external === true && !isBuiltin(path))
    if (foreign.length > 0) throw new Error(`${file} imports ${foreign.map(({ path }) => path).join(', ')}, which Lambda lacks`)
  }
  for (const { path, contents } of result.outputFiles) {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, contents)
  }
  return result
}

const textOf = (result: Outcome, name: string): string =>
  result.outputFiles.find(({ path }) => path.endsWith(join(name, 'index.mjs')))?.text ?? ''

/** The entry of `revoke-<provider>`: the revoke stage bound to one provider, so that it is the only one in the bundle. */
const worker = (root: string): esbuild.Plugin => ({
  name: 'worker',
  setup(build) {
    build.onResolve({ filter: /^worker:/ }, ({ path }) => ({ path: path.slice('worker:'.length), namespace: 'worker' }))
    build.onLoad({ filter: /.*/, namespace: 'worker' }, ({ path: provider }) => ({
      resolveDir: root,
      loader: 'ts',
      contents: [
        `import { revokeHandler } from './functions/revoke/handler.ts'`,
        `import { provider } from './functions/providers/${provider}/provider.ts'`,
        'export const handler = revokeHandler(provider)',
      ].join('\n'),
    }))
  },
})

const absent = (): esbuild.Plugin => ({
  name: 'absent',
  setup(build) {
    build.onResolve({ filter: ABSENT }, ({ path }) => ({ path, namespace: 'absent' }))
    // The part of pg that binds it to pg-native.
    build.onResolve({ filter: /^\.\/native$/ }, ({ path, importer }) =>
      /[\\/]pg[\\/]lib[\\/]index\.js$/.test(importer) ? { path, namespace: 'absent' } : undefined,
    )
    // Asked for by operations that stream events; none of ours does, and a dynamic import comes along whole: 15 KB a bundle.
    build.onResolve({ filter: /^@smithy\/core\/event-streams$/ }, ({ path, kind }) =>
      kind === 'dynamic-import' ? { path, namespace: 'absent' } : undefined,
    )
    build.onLoad({ filter: /.*/, namespace: 'absent' }, ({ path }) => ({
      loader: 'js',
      contents: `throw Object.assign(new Error("Cannot find module '${path}'"), { code: 'MODULE_NOT_FOUND' })`,
    }))
  },
})

/**
 * Lambda and the local pipeline hand credentials over in environment variables; the default chain's other seven places
 * (profiles, SSO, containers, instance metadata, ...) cost 60 KB a bundle, and a worker that found others' credentials
 * in one of them would act with rights that nobody gave it.
 */
const environmentCredentials = (): esbuild.Plugin => ({
  name: 'environment-credentials',
  setup(build) {
    build.onResolve({ filter: /^@aws-sdk\/credential-provider-node$/ }, ({ resolveDir }) => ({
      path: 'credential-provider-node',
      namespace: 'environment-credentials',
      pluginData: { resolveDir },
    }))
    build.onLoad({ filter: /.*/, namespace: 'environment-credentials' }, ({ pluginData }) => ({
      resolveDir: pluginData.resolveDir,
      loader: 'js',
      contents: `export { fromEnv as defaultProvider } from '@aws-sdk/credential-provider-env'`,
    }))
  },
})

/**
 * An SDK client names the traits of its schemas by constants (`{ [_hH]: _xaa }`). A computed key could run code, so the
 * bundler keeps the schemas of all operations though two are used (S3: 66 KB). With the constants' own texts as keys
 * they are plain data, and what nobody refers to is dropped.
 */
const shakeableSchemas = (): esbuild.Plugin => ({
  name: 'shakeable-schemas',
  setup(build) {
    build.onLoad({ filter: /@aws-sdk[\\/](?:[^\\/]+[\\/])+schemas[\\/]schemas_\d+\.js$/ }, async ({ path }) => {
      const code = await readFile(path, 'utf8')
      const texts = new Map([...code.matchAll(/^const (\w+) = ("[^"\\]*");$/gm)].map(([, name, text]) => [name, text]))
      return {
        loader: 'js',
        contents: code.replace(/\[(\w+)\]:/g, (key, name: string) => (texts.has(name) ? `${texts.get(name)}:` : key)),
      }
    })
  },
})

/** A table for people: what each function weighs. */
export function sizeTable(bundles: readonly Bundle[]): string {
  const kilo = (bytes: number) => `${(bytes / 1000).toFixed(0)} KB`
  const width = Math.max(8, ...bundles.map(({ name }) => name.length))
  const row = (...cells: readonly [string, string, string]) =>
    `${cells[0].padEnd(width)}  ${cells[1].padStart(9)}  ${cells[2].padStart(9)}`
  return [
    row('function', 'minified', 'gzip'),
    ...bundles.map(({ name, bytes, zipped }) => row(name, kilo(bytes), kilo(zipped))),
  ].join('\n')
}

if (import.meta.main) {
  const only = process.argv.slice(2)
  const bundles = await build({ outdir: join(ROOT, 'dist/functions'), ...(only.length > 0 ? { only } : {}) })
  process.stdout.write(`${sizeTable(bundles)}\n`)
}
