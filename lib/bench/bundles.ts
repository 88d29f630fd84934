import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Bundled } from './installation.ts'
import { figure, shown, spread, table } from './report.ts'

const run = promisify(execFile)

export interface BundleRun {
  readonly name: string
  readonly bytes: number
  readonly zipped: number
  /** Milliseconds of `import()` alone, one for each try; none for the bare start. */
  readonly imports: readonly number[]
  /** Milliseconds of the whole process, its start and its end included. */
  readonly processes: readonly number[]
}

/** What a Lambda process would have; nothing answers, for an import calls nobody. */
const ENVIRONMENT = {
  AWS_REGION: 'us-east-1',
  AWS_ACCESS_KEY_ID: 'local',
  AWS_SECRET_ACCESS_KEY: 'local',
  PATH: process.env['PATH'],
}

const IMPORT = `const start = performance.now()
const module = await import(process.argv[1])
const took = performance.now() - start
if (typeof module.handler !== 'function') throw new Error('no handler')
process.stdout.write(String(took), () => process.exit(0))`
const NOTHING = "process.stdout.write('0', () => process.exit(0))"

/**
 * Imports each bundle in fresh processes, with the environment that the template gives the function, and as often
 * starts a bare node beside it. Rounds go over all functions, so that a disturbance hits them alike.
 */
export async function measureBundles(
  functions: readonly Bundled[],
  repeat: number,
  progress: (text: string) => void,
): Promise<{ readonly bare: BundleRun; readonly bundles: readonly BundleRun[] }> {
  const bare = { name: 'bare node', bytes: 0, zipped: 0, imports: [] as number[], processes: [] as number[] }
  const bundles = functions.map((one) => ({ ...one, imports: [] as number[], processes: [] as number[] }))
  // The first round only warms the page cache.
  for (let round = 0; round <= repeat; round += 1) {
    progress(`cold imports, ${round} of ${repeat}`)
    const nothing = await timed(NOTHING, [], ENVIRONMENT)
    if (round > 0) bare.processes.push(nothing.process)
    for (const one of bundles) {
      const variables = { ...ENVIRONMENT, ...one.variables, LAMBDA_TASK_ROOT: one.folder }
      const took = await timed(IMPORT, [join(one.folder, 'index.mjs')], variables)
      if (round === 0) continue
      one.imports.push(took.import)
      one.processes.push(took.process)
    }
  }
  return {
    bare,
    bundles: bundles.map(({ name, bytes, zipped, imports, processes }) => ({ name, bytes, zipped, imports, processes })),
  }
}

async function timed(
  code: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<{ import: number; process: number }> {
  const start = performance.now()
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', code, ...args], { env })
  return { import: Number(stdout), process: performance.now() - start }
}

export function bundlesText(bare: BundleRun, bundles: readonly BundleRun[]): string {
  const kilo = (bytes: number) => figure(bytes / 1000)
  const measured = bare.processes.length > 0
  const start = spread(bare.processes)
  const rows = bundles.map(({ name, bytes, zipped, imports, processes }) => [
    name,
    kilo(bytes),
    kilo(zipped),
    ...(measured
      ? [shown(spread(imports)), shown(spread(processes)), `${(spread(processes).median / start.median).toFixed(2)}`]
      : []),
  ])
  if (measured) rows.push([bare.name, '', '', '', shown(start), '1.00'])
  const times = bare.processes.length === 1 ? 'once' : `${bare.processes.length} times`
  return [
    table(['function', 'minified, KB', 'gzip, KB', ...(measured ? ['import, ms', 'process, ms', 'to bare node'] : [])], rows),
    '',
    ...(measured
      ? [
          `Each bundle in a fresh process with the environment of the template (source maps on, as in Lambda), ${times} after one warming`,
          'round over all of them: median (least-most). Import is `import()` of the bundle alone; process is start to end, beside a node',
          'that does nothing.',
        ]
      : []),
  ].join('\n')
}
