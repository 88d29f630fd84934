import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { install } from './installation.ts'
import type { PreviewJob } from './job.ts'
import { HEAP, job, withStore } from './leases.ts'
import type { Previewed } from './preview.ts'
import { figure, machine, table } from './report.ts'

export interface PreviewBenchOptions {
  readonly sizes: readonly number[]
  readonly whole: boolean
  /** Without a store: each lease is made when it is read. */
  readonly made: boolean
  readonly print: (text: string) => void
  readonly progress: (text: string) => void
}

/** Fills the embedded store, previews a compromise and an offboarding of one identity, and prints what that took. */
export async function runPreviewBench({ sizes, whole, made, print, progress }: PreviewBenchOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'rescind-preview-'))
  try {
    const { cpu, cores, system, node } = machine()
    print(`${cpu}, ${cores} cores; ${system}; node ${node}`)
    if (made) return await runMade(sizes, print, progress)
    progress('bundling and synthesising')
    const installation = await install(folder)
    for (const leases of sizes) {
      const rows: string[][] = []
      await withStore(installation, join(folder, String(leases)), async ({ endpoint }) => {
        progress(`${leases} leases: filling the store`)
        await job({ do: 'fill', leases, table: installation.table }, endpoint, [])
        for (const type of ['compromise', 'offboarding'] as const) {
          progress(`${leases} leases: ${type}`)
          const todo: PreviewJob = { do: 'preview', type, table: installation.table, whole }
          rows.push(rowOf(leases, type, (await job(todo, endpoint, HEAP)) as Previewed))
        }
      })
      rmSync(join(folder, String(leases)), { recursive: true, force: true })
      // A million take half an hour: what is known by then is not kept back.
      print(`\n${table(HEAD, rows)}\n`)
    }
    print(
      'The store is the embedded one, in a process of its own; the preview has a heap of 256 MB at the most and, as in Lambda,',
    )
    print(
      '18 seconds for an answer. One lease in fifty shares its credential with somebody else, one delegates to somebody else.',
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function runMade(sizes: readonly number[], print: (text: string) => void, progress: (text: string) => void): Promise<void> {
  const rows: string[][] = []
  for (const leases of sizes)
    for (const type of ['compromise', 'offboarding'] as const) {
      progress(`${leases} leases: ${type}`)
      rows.push(
        rowOf(leases, type, (await job({ do: 'preview', type, table: '', whole: false, made: leases }, '', HEAP)) as Previewed),
      )
    }
  print(`\n${table(HEAD, rows)}\n`)
  print(
    'There is no store: each lease is made when it is read and forgotten. What is measured is the preview alone, in a heap of 256 MB.',
  )
}

const HEAD = [
  'leases of the identity',
  'trigger',
  'counted',
  'answers',
  'seconds',
  'longest answer, s',
  'CPU, s',
  'leases per second',
  'peak heap, MB',
  'held, MB',
  'peak resident, MB',
  'calls of the store',
]

const rowOf = (leases: number, type: string, one: Previewed): string[] => [
  leases.toLocaleString('en-US'),
  type,
  one.leases.toLocaleString('en-US'),
  String(one.answers),
  figure(one.seconds),
  figure(one.longest),
  figure(one.cpuSeconds),
  figure(one.leases / one.seconds),
  figure(one.heap),
  figure(one.held),
  figure(one.resident),
  one.calls.toLocaleString('en-US'),
]
