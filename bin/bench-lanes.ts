import { resolve } from 'node:path'
import { benchOutput, wholeOption } from '../lib/bench/command.ts'
import { runLanes } from '../lib/bench/lanes.ts'
import { commandLine } from '../lib/options.ts'

const USAGE = `npm run bench:lanes [-- options]

Measures whether the urgent waits behind the rest: a compromise in the middle of a large decommission beside the same one on
an idle pipeline, and an issuer beside one that answers nothing. Asserts nothing.

  --running N   leases of the decommission (default: 100000)
  --urgent N    leases of the compromise (default: 1000)
  --silent N    leases at the issuer that answers nothing (default: 5000)
  --healthy N   leases at the healthy issuer beside it (default: 1000)
  --rounds N    (default: 3)
  --quick       20,000, 200, 1,000 and 200 leases, one round
  --json FILE   writes what was measured, with machine and versions
  --help

About ten minutes on two quiet cores. The store is the embedded one: linux-x64 only.
`

const { values } = commandLine({
  options: {
    running: { type: 'string' },
    urgent: { type: 'string' },
    silent: { type: 'string' },
    healthy: { type: 'string' },
    rounds: { type: 'string' },
    quick: { type: 'boolean' },
    json: { type: 'string' },
    help: { type: 'boolean' },
  },
  strict: true,
})

const FULL = { running: 100_000, urgent: 1000, silent: 5000, healthy: 1000, rounds: 3 }
const QUICK = { running: 20_000, urgent: 200, silent: 1000, healthy: 200, rounds: 1 }
const base = values.quick === true ? QUICK : FULL
const whole = (text: string | undefined, otherwise: number): number => (text === undefined ? otherwise : wholeOption(text))
const scale = {
  running: whole(values.running, base.running),
  urgent: whole(values.urgent, base.urgent),
  silent: whole(values.silent, base.silent),
  healthy: whole(values.healthy, base.healthy),
  rounds: whole(values.rounds, base.rounds),
}

if (values.help === true) {
  process.stdout.write(USAGE)
} else if (Object.values(scale).some(Number.isNaN)) {
  process.stderr.write('the options take whole numbers from 1\n')
  process.exitCode = 2
} else {
  await runLanes({
    ...scale,
    ...benchOutput(process.stdout),
    ...(values.json === undefined ? {} : { json: resolve(values.json) }),
  })
}
