import { join, resolve } from 'node:path'
import { writeDocuments } from '../lib/bench/document.ts'
import { commandLine } from '../lib/options.ts'

const USAGE = `npm run bench:docs [-- --json FILE]

Writes the tables of docs/benchmarks.md, and docs/scale.md, from what \`npm run bench -- --json docs/benchmarks.json\` measured.
`

const { values } = commandLine({ options: { json: { type: 'string' }, help: { type: 'boolean' } }, strict: true })
const docs = join(import.meta.dirname, '../docs')

if (values.help === true) process.stdout.write(USAGE)
else {
  const written = writeDocuments({
    results: values.json === undefined ? join(docs, 'benchmarks.json') : resolve(values.json),
    benchmarks: join(docs, 'benchmarks.md'),
    scale: join(docs, 'scale.md'),
  })
  process.stdout.write(`written: ${written.join(', ') || 'nothing'}\n`)
}
