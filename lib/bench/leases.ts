import type { ChildProcess } from 'node:child_process'
import { fork } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { takeFolder } from '../local/children.ts'
import type { Dynamo } from '../local/dynamodb.ts'
import { startDynamo } from '../local/dynamodb.ts'
import type { Installation } from './installation.ts'
import type { Job, Measured, Registered } from './job.ts'

export interface LeaseRun {
  readonly leases: number
  readonly registered: Registered
  readonly runs: readonly (Measured & {
    /** Seconds of CPU of the store's process; not known where there is no proc(5). */
    readonly storeCpuSeconds: number | undefined
  })[]
}

const REGION = 'us-east-1'
/** Half of what a function has (512 MB), so that memory which grew would end the run instead of being taken from a large machine. */
export const HEAP = ['--max-old-space-size=256', '--expose-gc']
const CREDENTIALS = { AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' }

/**
 * Registers the leases once, then revokes them `repeat` times, each time from a copy of that store, in a process of its
 * own. The store is a third process.
 *
 * @param profile folder for CPU profiles of the pipeline's process
 */
export async function measureLeases(
  installation: Installation,
  folder: string,
  leases: number,
  repeat: number,
  profile: string | undefined,
  progress: (text: string) => void,
): Promise<LeaseRun> {
  const prepared = join(folder, 'prepared')
  progress(`${leases} leases: registering`)
  const { result: registered } = await withStore(installation, prepared, async ({ endpoint }) => {
    const answer = await job({ do: 'register', leases, table: installation.table }, endpoint, [])
    return answer as Registered
  })
  const runs: LeaseRun['runs'][number][] = []
  for (let run = 1; run <= repeat; run += 1) {
    progress(`${leases} leases: revoking, ${run} of ${repeat}`)
    const copy = join(folder, 'copy')
    rmSync(copy, { recursive: true, force: true })
    mkdirSync(copy, { recursive: true })
    for (const file of readdirSync(prepared)) if (file.startsWith('table.db')) cpSync(join(prepared, file), join(copy, file))
    const profiling = ['--cpu-prof', `--cpu-prof-dir=${profile}`, `--cpu-prof-name=${leases}-${run}.cpuprofile`]
    const { result, cpuSeconds } = await withStore(installation, copy, async ({ endpoint }) => {
      const todo: Job = {
        do: 'revoke',
        leases,
        table: installation.table,
        auditIndex: installation.auditIndex,
        endpoint,
        archive: join(copy, 'archive'),
        closingFilters: installation.closingFilters.map((pattern) => JSON.stringify(pattern)),
      }
      return (await job(todo, endpoint, profile === undefined ? HEAP : [...HEAP, ...profiling])) as Measured
    })
    runs.push({ ...result, storeCpuSeconds: cpuSeconds })
  }
  rmSync(folder, { recursive: true, force: true })
  return { leases, registered, runs }
}

export async function withStore<Result>(
  { template }: Installation,
  folder: string,
  use: (dynamo: Dynamo) => Promise<Result>,
): Promise<{ readonly result: Result; readonly cpuSeconds: number | undefined }> {
  const tenancy = await takeFolder(folder)
  let store: ChildProcess | undefined
  try {
    const dynamo = await startDynamo({
      path: join(folder, 'table.db'),
      region: REGION,
      accessKeyId: CREDENTIALS.AWS_ACCESS_KEY_ID,
      tenancy: {
        ...tenancy,
        adopt: (child) => {
          store = child
          tenancy.adopt(child)
        },
      },
      log: () => {},
    })
    await dynamo.createTables(template, { fresh: false })
    const result = await use(dynamo)
    await dynamo.stop()
    return { result, cpuSeconds: cpuOf(store?.pid) }
  } finally {
    await tenancy.release()
  }
}

/** User and system time so far, fields 14 and 15 of proc(5) stat, in ticks of a hundredth of a second. */
function cpuOf(pid: number | undefined): number | undefined {
  const path = `/proc/${pid}/stat`
  if (pid === undefined || !existsSync(path)) return undefined
  const fields = readFileSync(path, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

/** Runs one job in a process of its own. */
export function job(todo: Job, endpoint: string, execArgv: string[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const child = fork(new URL(import.meta.resolve('./child.ts')), [], {
      execArgv,
      env: { PATH: process.env['PATH'], AWS_REGION: REGION, AWS_ENDPOINT_URL: endpoint, ...CREDENTIALS },
    })
    let said: { answer?: unknown; error?: string } | undefined
    child.on('message', (message) => {
      said = message as { answer?: unknown; error?: string }
    })
    child.on('error', reject)
    child.on('exit', (code) => {
      if (said?.answer !== undefined) resolve(said.answer)
      else reject(new Error(said?.error ?? `the child process ended with ${code} and said nothing`))
    })
    child.send(todo)
  })
}
