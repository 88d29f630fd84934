import { spawnSync } from 'node:child_process'
import { join, resolve } from 'node:path'
import { makeProvider, whyNot } from '../lib/new-provider.ts'
import { commandLine } from '../lib/options.ts'

const USAGE = `npm run new:provider NAME

Makes functions/providers/NAME with a definition, a provider, a fake and a README, and test/conformance/NAME.test.ts, whose
tests fail until it is written. Nothing else needs an edit: the catalog and the schemas are generated anew.
`

const { values, positionals } = commandLine({ options: { help: { type: 'boolean' } }, allowPositionals: true, strict: true })
const root = resolve(import.meta.dirname, '..')
const [name = ''] = positionals
const refused = positionals.length === 1 ? whyNot(name, root) : 'one name is wanted'

if (values.help === true) process.stdout.write(USAGE)
else if (refused !== undefined) {
  process.stderr.write(`${refused}\n\n${USAGE}`)
  process.exitCode = 2
} else {
  const made = makeProvider(name, root)
  const run = (program: string, ...args: string[]) => spawnSync(program, args, { cwd: root, stdio: 'inherit' }).status === 0
  // Imports are in another order under other names.
  const tidied = run(
    join(root, 'node_modules/.bin/biome'),
    'check',
    '--write',
    '--log-level=error',
    ...made.filter((path) => path.endsWith('.ts')),
  )
  const generated = run(process.execPath, 'lib/generate.ts')
  if (!tidied || !generated) process.exitCode = 1
  process.stdout.write(`${made.map((path) => `  ${path}`).join('\n')}

It type-checks, and is in the catalog. Its tests fail until it is written:

  npm run conformance -- ${name}

What each part must do: functions/providers/contract.ts, and "A provider" in CONTRIBUTING.md.
`)
}
