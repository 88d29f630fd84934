import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { BundleRun } from './bundles.ts'
import { measureBundles } from './bundles.ts'
import type { Calls } from './counted.ts'
import { install } from './installation.ts'
import type { LeaseRun } from './leases.ts'
import { measureLeases } from './leases.ts'
import type { Spread } from './report.ts'
import { figure, machine, shown, spread, table } from './report.ts'

export interface BenchOptions {
  /** Numbers of leases; empty: no pipeline run. */
  readonly sizes: readonly number[]
  /** Runs of each size. */
  readonly repeat: (size: number) => number
  /** Tries of each cold import; 0: none. */
  readonly imports: number
  readonly json?: string
  readonly profile?: string
  readonly print: (text: string) => void
  readonly progress: (text: string) => void
}

/** Measures, prints tables, and writes the same as JSON. Asserts nothing about time: a machine is slow or it is not. */
export async function runBench(options: BenchOptions): Promise<void> {
  const { print, progress } = options
  const folder = mkdtempSync(join(tmpdir(), 'rescind-bench-'))
  try {
    const about = { date: new Date().toISOString(), machine: machine() }
    const { cpu, cores, memory, system, node, versions, commit } = about.machine
    print(`${about.date.slice(0, 10)}; ${cpu}, ${cores} cores, ${memory} GB; ${system}; node ${node}; commit ${commit}`)
    print(
      Object.entries(versions)
        .map(([name, version]) => `${name} ${version}`)
        .join(', '),
    )
    progress('bundling and synthesising')
    const installation = await install(folder)

    const runs: LeaseRun[] = []
    for (const leases of options.sizes)
      runs.push(
        await measureLeases(installation, join(folder, 'runs'), leases, options.repeat(leases), options.profile, progress),
      )
    if (runs.length > 0) print(leasesText(runs))

    const cold = await measureBundles(installation.functions, options.imports, progress)
    print(bundlesText(cold.bare, cold.bundles))
    if (options.json !== undefined) {
      mkdirSync(dirname(options.json), { recursive: true })
      writeFileSync(options.json, `${JSON.stringify({ ...about, leases: runs, ...cold }, null, 2)}\n`)
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const number = (value: number) => value.toLocaleString('en-US')
type Run = LeaseRun['runs'][number]
const of = (run: LeaseRun, pick: (measured: Run) => number): Spread => spread(run.runs.map(pick))

function leasesText(runs: readonly LeaseRun[]): string {
  const rows: readonly (readonly [string, (measured: Run) => number])[] = [
    ['fence, ms', (one) => one.milliseconds.fence],
    ['containment, ms', (one) => one.milliseconds.containment],
    ['first outcome, ms', (one) => one.milliseconds.firstOutcome],
    ['last outcome, ms', (one) => one.milliseconds.lastOutcome],
    ['case closed, ms', (one) => one.milliseconds.closed],
    ['trail complete, ms', (one) => one.milliseconds.proven],
    ['leases per second', (one) => one.leasesPerSecond],
    ['memory before the event, MB', (one) => one.memory.before],
    ['peak memory, MB', (one) => one.memory.peak],
    ['held at the first tenth, MB', (one) => one.memory.held[0] ?? Number.NaN],
    ['held at the last tenth, MB', (one) => one.memory.held.at(-1) ?? Number.NaN],
    ['CPU of the pipeline, s', (one) => one.cpuSeconds],
    ['CPU of the store, s', (one) => one.storeCpuSeconds ?? Number.NaN],
  ]
  const head = ['from the event to', ...runs.map(({ leases }) => `${number(leases)} ${leases === 1 ? 'lease' : 'leases'}`)]
  const [least, most] = [runs[0], runs.at(-1)]
  const text = [
    '\n## Leases of one identity\n',
    table(
      head,
      rows.map(([name, pick]) => [name, ...runs.map((run) => shown(of(run, pick)))]),
    ),
    '',
    `A compromise of the identity, measured ${runs.map((run) => `${times(run.runs.length)} with ${number(run.leases)}`).join(', ')}: median (least-most).`,
    'Stages, store adapter and the reading of the stream are the real ones, all in one process; the store is the embedded one with a',
    'database file, in a process of its own; queues are lists in memory, ten messages of a lane under way at once; the archive is a',
    'folder; the provider answers at once. Each run has fresh processes and a copy of the same store. Memory is that of the pipeline:',
    'resident before the event and at the most, in a heap of 256 MB at the most; held: reachable after a full collection, when the',
    'first tenth of the leases had its outcome, and when the last had.',
    'Fence: the write that closes it is answered. Containment: the lever is pulled. Trail: the record of the closing is archived.',
    registeredText(runs),
  ]
  if (least !== undefined && most !== undefined && least !== most) {
    const ratio = (pick: (measured: Run) => number) => figure(of(most, pick).median / of(least, pick).median)
    text.push(
      `With ${number(most.leases / least.leases)} times the leases: fence ${ratio((one) => one.milliseconds.fence)} times, containment ` +
        `${ratio((one) => one.milliseconds.containment)} times, peak memory ${ratio((one) => one.memory.peak)} times, last outcome ` +
        `${ratio((one) => one.milliseconds.lastOutcome)} times.`,
    )
  }
  if (most !== undefined) text.push(callsText(most))
  return text.join('\n')
}

const times = (count: number) => (count === 1 ? 'once' : `${count} times`)

function registeredText(runs: readonly LeaseRun[]): string {
  const told = runs.map(({ leases, registered: { real, copied, seconds } }) =>
    copied === 0
      ? `${number(leases)}: all by the registration's own function`
      : `${number(leases)}: ${real} by the registration's own function, ${number(copied)} as copies of the items it wrote (compared with ${real} real ones) in ${figure(seconds)} s`,
  )
  return `Registered beforehand: ${told.join('; ')}.`
}

/** Where the calls go, of the last run with the most leases. */
function callsText({ leases, runs }: LeaseRun): string {
  const counts = runs.at(-1)?.counts ?? {}
  const rows = Object.entries(counts).flatMap(([stage, operations]) =>
    Object.entries(operations).map(([operation, { calls, items, milliseconds }]: [string, Calls]) => ({
      cells: [
        `${stage}: ${operation}`,
        number(calls),
        number(items),
        figure(items / leases),
        figure(milliseconds / calls),
        figure(milliseconds / 1000),
      ],
      milliseconds,
    })),
  )
  rows.sort((one, other) => other.milliseconds - one.milliseconds)
  return [
    `\n### Calls of the store with ${number(leases)}\n`,
    table(
      ['stage: call', 'calls', 'items', 'items per lease', 'ms per call', 'seconds'],
      rows.slice(0, 12).map(({ cells }) => cells),
    ),
    '',
    'Of the last run, the twelve most expensive. Seconds are waiting times added up; calls side by side wait for each other.',
  ].join('\n')
}

function bundlesText(bare: BundleRun, bundles: readonly BundleRun[]): string {
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
  return [
    '\n## Bundles\n',
    table(['function', 'minified, KB', 'gzip, KB', ...(measured ? ['import, ms', 'process, ms', 'to bare node'] : [])], rows),
    '',
    ...(measured
      ? [
          `Each bundle in a fresh process with the environment of the template (source maps on, as in Lambda), ${times(bare.processes.length)} after one warming`,
          'round over all of them: median (least-most). Import is `import()` of the bundle alone; process is start to end, beside a node',
          'that does nothing.',
        ]
      : []),
  ].join('\n')
}
