import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { startVitest } from 'vitest/node'
import { catalog } from '../functions/providers/catalog.ts'
import { ConformanceReporter } from '../lib/conformance/reporter.ts'
import { merged, readResults, writeResults } from '../lib/conformance/results.ts'
import { screen, short, whole } from '../lib/conformance/table.ts'
import { terminal } from '../lib/local/terminal.ts'
import { fillIn } from '../lib/markdown.ts'
import { commandLine } from '../lib/options.ts'

const USAGE = `npm run conformance [-- PROVIDER ...] [-- options]

Shows of every provider, or of those named, what every provider must show: against the real server where this machine has
it, and against its fake. Prints property by provider.

  --all      the servers of the long run too (Keycloak, step-ca): minutes, and downloads at first
  --write    keeps the result in docs/conformance.json, what was not run now with its last one, and writes the tables of
             README.md and docs/conformance.md from it
  --table    runs nothing: prints what docs/conformance.json holds; with --write it writes the tables anew
  --help

What was found now is left in dist/conformance.json. \`npm run servers\` installs the servers that this machine can have.
Exit code: 0 nothing failed, 1 something did, 2 a wrong option.
`

const root = resolve(import.meta.dirname, '..')
const kept = join(root, 'docs/conformance.json')
const providers = Object.keys(catalog).toSorted()

const { values, positionals } = commandLine({
  options: {
    all: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    table: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
  allowPositionals: true,
  strict: true,
})
const unknown = positionals.filter((name) => !providers.includes(name))
const asked = positionals.length === 0 ? providers : providers.filter((name) => positionals.includes(name))
const { line, progress, bold, live } = terminal(process.stdout)

/** The test files of these providers; fakes that share a file are in it for each. */
function filesOf(folder: string): string[] {
  return readdirSync(join(root, folder))
    .filter((file) => file.endsWith('.test.ts'))
    .filter((file) => file === 'fakes.test.ts' || asked.some((name) => file.startsWith(name)) || folder.endsWith('long'))
    .map((file) => join(root, folder, file))
}

function fill(file: string, texts: Readonly<Record<string, string>>): void {
  const path = join(root, file)
  writeFileSync(path, fillIn(readFileSync(path, 'utf8'), texts))
}

async function run(): Promise<void> {
  if (values.all) process.env['RESCIND_LONG'] = '1'
  const reporter = new ConformanceReporter(providers, line)
  const files = [...filesOf('test/conformance'), ...(values.all ? filesOf('test/conformance/long') : [])]
  if (live) progress(`running ${files.length} files`)
  const vitest = await startVitest(files, { root, watch: false, run: true, project: ['conformance'], reporters: [reporter] })
  await vitest.close()
  const found = reporter.results(new Date().toISOString().slice(0, 10), values.all)
  const now = { ...found, runs: found.runs.filter(({ provider }) => asked.includes(provider)) }
  writeResults(join(root, 'dist/conformance.json'), now)
  if (values.write) writeResults(kept, merged(readResults(kept), now, providers))
  line(screen(now, asked, 100, bold))
  line(`\n${reporter.counts}`)
  // Vitest sets its own where a test fails; a file that cannot be loaded is a failure as well.
  process.exitCode = reporter.failures > 0 ? 1 : 0
}

if (values.help) process.stdout.write(USAGE)
else if (unknown.length > 0) {
  process.stderr.write(`no such provider: ${unknown.join(', ')}; there are ${providers.join(', ')}\n`)
  process.exitCode = 2
} else {
  if (!values.table) await run()
  const results = readResults(kept)
  if (results === undefined && (values.table || values.write)) {
    process.stderr.write('docs/conformance.json is not there: `npm run conformance -- --write` makes it\n')
    process.exitCode = 2
  } else if (results !== undefined) {
    if (values.table) line(screen(results, asked, 100, bold))
    if (values.write) {
      fill('README.md', { conformance: short(results, providers) })
      fill('docs/conformance.md', whole(results, providers))
    }
  }
}
