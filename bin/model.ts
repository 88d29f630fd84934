import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { terminal } from '../lib/local/terminal.ts'
import { nameOf, runsOf } from '../lib/model/heads.ts'
import type { Searched } from '../lib/model/spin.ts'
import { HOW_TO_INSTALL, LIMITS, missingTools, searchAll } from '../lib/model/spin.ts'
import { commandLine } from '../lib/options.ts'

const USAGE = `npm run model [-- options]

Searches every state of the models of the protocol in test/model: what holds must hold, and each deviation must be found.

  --only TEXT      only the runs whose name contains it, such as "restore" or "restore NOLOOK"
  --trace          prints a shortest counterexample of each run that breaks (one search at a time)
  --list           prints the runs and what each shows, and searches nothing
  --seconds N      how long one search may take (default: ${LIMITS.seconds})
  --megabytes N    how much memory one search may take (default: ${LIMITS.megabytes})
  --help

Exit code: 0 all as expected, 1 a surprise, 2 a wrong option, 3 spin or gcc is missing.
`

const { values } = commandLine({
  options: {
    only: { type: 'string' },
    trace: { type: 'boolean' },
    list: { type: 'boolean' },
    seconds: { type: 'string', default: String(LIMITS.seconds) },
    megabytes: { type: 'string', default: String(LIMITS.megabytes) },
    help: { type: 'boolean' },
  },
  strict: true,
})

const whole = (text: string) => (/^[1-9]\d{0,5}$/.test(text) ? Number(text) : undefined)
const seconds = whole(values.seconds)
const megabytes = whole(values.megabytes)
const runs = runsOf(resolve(import.meta.dirname, '../test/model')).filter((run) => nameOf(run).includes(values.only ?? ''))
const missing = missingTools(process.env['PATH'])
const { line, progress } = terminal(process.stdout)

const cells = ({ run, got, ok, states, seconds: took, megabytes: used }: Searched): string =>
  [
    (ok ? 'ok' : 'NOT OK').padEnd(7),
    run.expected.padEnd(7),
    got.padEnd(11),
    states.toLocaleString('en').padStart(12),
    took.toFixed(1).padStart(7),
    String(used).padStart(6),
    ` ${nameOf(run)}`,
  ].join('')

if (values.help === true) process.stdout.write(USAGE)
else if (seconds === undefined || megabytes === undefined || runs.length === 0) {
  process.stderr.write(
    runs.length === 0 ? `no run's name contains "${values.only}"\n` : '--seconds and --megabytes take whole numbers\n',
  )
  process.exitCode = 2
} else if (values.list === true) {
  for (const run of runs) line(`${run.expected.padEnd(7)}${nameOf(run)}${run.about === '' ? '' : `: ${run.about}`}`)
} else if (missing.length > 0) {
  process.stderr.write(`not found in the path: ${missing.join(', ')}. The models were NOT searched. ${HOW_TO_INSTALL}\n`)
  process.exitCode = 3
} else {
  const shortest = values.trace === true
  let over = 0
  const results = await searchAll(
    runs,
    { seconds, megabytes, shortest },
    shortest ? 1 : Math.min(2, availableParallelism()),
    () => performance.now(),
    (searched) => {
      over += 1
      progress(`${over} of ${runs.length}: ${nameOf(searched.run)}`)
      if (shortest && searched.trace.length > 0)
        line(`${nameOf(searched.run)}: ${searched.said}\n${searched.trace.map((one) => `  ${one}`).join('\n')}\n`)
    },
  )
  line(`${''.padEnd(7)}${'wanted'.padEnd(7)}${'got'.padEnd(11)}${'states'.padStart(12)}${'s'.padStart(7)}${'MB'.padStart(6)} run`)
  for (const searched of results) line(cells(searched))
  const surprises = results.filter(({ ok }) => !ok)
  for (const { run, got, said } of surprises)
    line(`\n${nameOf(run)} was to be seen to ${run.expected === 'holds' ? 'hold' : 'break'}: ${got}: ${said}`)
  line(`${results.length - surprises.length} as expected, ${surprises.length} surprises`)
  if (surprises.length > 0) process.exitCode = 1
}
