import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { runBench } from '../lib/bench/bench.ts'
import { terminal } from '../lib/local/terminal.ts'

const USAGE = `npm run bench [-- options]

Measures how long it takes from an event to the fence, to containment and to the last outcome, for few and for many
leases of one identity, how much memory that takes, and what each function's bundle weighs. It asserts nothing.

  --sizes LIST     numbers of leases (default: 1,1000,100000); 0 leaves the pipeline out
  --repeat N       runs of each (default: 5, above 10,000 leases 1)
  --imports N      cold imports of each bundle (default: 7); 0 leaves them out
  --json FILE      writes everything that was measured, with the machine and the versions
  --profile DIR    writes CPU profiles of the pipeline's processes (they slow it down)
  --help

100,000 leases take five to fifteen minutes. The store is the embedded one: linux-x64 only.
`

const { values } = parseArgs({
  options: {
    sizes: { type: 'string', default: '1,1000,100000' },
    repeat: { type: 'string' },
    imports: { type: 'string', default: '7' },
    json: { type: 'string' },
    profile: { type: 'string' },
    help: { type: 'boolean' },
  },
  strict: true,
})

const whole = (text: string, least: number, most: number) =>
  /^\d{1,9}$/.test(text) && Number(text) >= least && Number(text) <= most ? Number(text) : undefined

const sizes = values.sizes.split(',').map((size) => whole(size.trim(), 0, 1_000_000))
const repeat = values.repeat === undefined ? 'default' : whole(values.repeat, 1, 100)
const imports = whole(values.imports, 0, 100)

if (values.help === true) {
  process.stdout.write(USAGE)
} else if (sizes.includes(undefined) || repeat === undefined || imports === undefined) {
  process.stderr.write('--sizes takes whole numbers up to 1000000, --repeat 1 to 100, --imports 0 to 100\n')
  process.exitCode = 2
} else {
  const { line, progress } = terminal(process.stdout)
  await runBench({
    sizes: sizes.flatMap((size) => (size === undefined || size === 0 ? [] : [size])),
    repeat: (size) => (repeat !== 'default' ? repeat : size > 10_000 ? 1 : 5),
    imports,
    print: line,
    progress,
    ...(values.json === undefined ? {} : { json: resolve(values.json) }),
    ...(values.profile === undefined ? {} : { profile: resolve(values.profile) }),
  })
}
