import type { ChildProcess } from 'node:child_process'
import { fork } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { takeFolder } from '../local/children.ts'
import type { Dynamo } from '../local/dynamodb.ts'
import { startDynamo } from '../local/dynamodb.ts'
import type { Installation } from './installation.ts'
import type { Job } from './job.ts'

const REGION = 'us-east-1'
/** Half of what a function has (512 MB), so that memory which grew would end the run instead of being taken from a large machine. */
export const HEAP = ['--max-old-space-size=256', '--expose-gc']
const CREDENTIALS = { AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' }

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
