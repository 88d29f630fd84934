import { resolve } from 'node:path'
import type { PartName } from '../lib/bench/bench.ts'
import { FULL, MILLION, PARTS, QUICK, runBench } from '../lib/bench/bench.ts'
import { benchOutput, wholeOption } from '../lib/bench/command.ts'
import { benched } from '../lib/bench/issuers.ts'
import { commandLine } from '../lib/options.ts'

const USAGE = `npm run bench [-- part ...] [-- options]

Measures, prints tables and asserts nothing. Without parts, all of them: about twenty minutes on two quiet cores.

  containment   time to the fence and to containment, from one lease to a million
  revoke        real PostgreSQL roles cut and deleted by the whole pipeline, beside loops that do nothing but the SQL
  issuers       each real issuer by itself: credentials revoked a second through its provider, beside a tight loop
  register      registrations a second and their latency, with and without a running case
  cost          every billed unit of a case of 100,000 leases, priced, and of registrations
  growth        time and memory a lease, from a thousand leases to a hundred thousand
  cold          size and import time of each function's bundle

  --quick       small numbers, to see that it works: about three minutes
  --sizes LIST  numbers of roles for revoke (default: 500,2000,10000)
  --rounds N    rounds of revoke and of issuers (default: 3)
  --only LIST   these providers of issuers (default: every one whose server this machine has)
  --million     a million leases in growth as well
  --json FILE   writes what was measured, part by part, with machine, versions and seed; other parts in the file stay
  --help

The store and the database server are the embedded ones: linux-x64 only. \`npm run bench:docs\` makes the tables of
docs/benchmarks.md and docs/scale.md from docs/benchmarks.json.
`

const { values, positionals } = commandLine({
  options: {
    quick: { type: 'boolean' },
    sizes: { type: 'string' },
    rounds: { type: 'string' },
    only: { type: 'string' },
    million: { type: 'boolean' },
    json: { type: 'string' },
    help: { type: 'boolean' },
  },
  allowPositionals: true,
  strict: true,
})

const isPart = (name: string): name is PartName => PARTS.some((part) => part === name)

const base = values.quick === true ? QUICK : FULL
const sizes = values.sizes === undefined ? base.revoke.sizes : values.sizes.split(',').map((size) => wholeOption(size, 100_000))
const rounds = values.rounds === undefined ? base.revoke.rounds : wholeOption(values.rounds, 100)
const only = values.only?.split(',').map((name) => name.trim())
const unknown = [...positionals.filter((name) => !isPart(name)), ...(only ?? []).filter((name) => !benched().includes(name))]

if (values.help === true) {
  process.stdout.write(USAGE)
} else if (unknown.length > 0 || [...sizes, rounds].some(Number.isNaN)) {
  const said =
    unknown.length > 0
      ? `no such part: ${unknown.join(', ')}; there are ${PARTS.join(', ')}, and of issuers ${benched().join(', ')}`
      : '--sizes and --rounds take whole numbers from 1'
  process.stderr.write(`${said}\n`)
  process.exitCode = 2
} else {
  // Whoever hears of the exit ends what it started.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
  await runBench({
    parts: positionals.length === 0 ? PARTS : PARTS.filter((part) => positionals.includes(part)),
    scale: {
      ...base,
      revoke: { sizes, rounds },
      issuers: { ...base.issuers, rounds: Math.min(rounds, 10), ...(only === undefined ? {} : { only }) },
      ...(values.million === true ? { growth: [...base.growth, MILLION] } : {}),
    },
    ...benchOutput(process.stdout),
    ...(values.json === undefined ? {} : { json: resolve(values.json) }),
  })
}
