import { benchOutput, wholeOption } from '../lib/bench/command.ts'
import { runPreviewBench } from '../lib/bench/previews.ts'
import { commandLine } from '../lib/options.ts'

const USAGE = `npm run bench:preview [-- options]

Measures how long the preview of a trigger takes on an identity with many leases, and how much memory. Asserts nothing.

  --sizes LIST     numbers of leases (default: 100000)
  --made           leave the store out: leases are made as they are read, and only the preview itself is measured
  --whole          reads whole leases, to see what asking for less is worth
  --help

A million leases take about half an hour, most of it to fill the store, which is the embedded one: linux-x64 only.
`

const { values } = commandLine({
  options: {
    sizes: { type: 'string', default: '100000' },
    whole: { type: 'boolean' },
    made: { type: 'boolean' },
    help: { type: 'boolean' },
  },
  strict: true,
})
const sizes = values.sizes.split(',').map((size) => wholeOption(size))

if (values.help === true) {
  process.stdout.write(USAGE)
} else if (sizes.some(Number.isNaN)) {
  process.stderr.write('--sizes takes whole numbers above 0\n')
  process.exitCode = 2
} else {
  await runPreviewBench({ sizes, whole: values.whole === true, made: values.made === true, ...benchOutput(process.stdout) })
}
