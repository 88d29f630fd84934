import { fork } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Completion } from '../../functions/contracts/completion.ts'
import type { Api } from '../local/client.ts'
import { apiClient } from '../local/client.ts'
import type { Moments, Question, Seen, Started } from './pipeline-child.ts'
import type { World } from './world.ts'

/** A completion event, and when it was heard. */
export interface Told {
  /** Milliseconds since 1970. */
  readonly at: number
  readonly type: string
  readonly case: string
  /** As the pipeline itself counts them, from the moment that the trigger took effect. */
  readonly milliseconds: Completion['data']['milliseconds']
}

/** The running pipeline, in a process of its own; its store is another one. */
export interface Pipeline {
  readonly api: Api
  /** Endpoints, region, credentials: for clients of the store and of the archive. */
  readonly environment: Readonly<Record<string, string>>
  /** Seconds of CPU so far: of the pipeline's process, and of the store's. */
  cpu(): Promise<{ readonly pipeline: number; readonly store: number }>
  /** Begins to count anew; with `profile`, samples the process as well. */
  observe(profile: boolean): Promise<void>
  seen(): Promise<Seen>
  /** What the free provider has been asked for so far. */
  moments(): Promise<Moments>
  /** What each minute's tick does, now. */
  sweep(): Promise<void>
  /** Waits for the case's completion event. */
  closed(caseId: string): Promise<Told>
  stop(): Promise<void>
  /** Ends its processes at once, whatever they do. */
  kill(): Promise<void>
}

export interface PipelineOptions {
  readonly folder: string
  /** Takes up the state that lies in the folder. */
  readonly keep: boolean
  /** Another endpoint of the store than the embedded one, which is started beside it. */
  readonly store?: string
  /** Megabytes of heap. */
  readonly heap?: number
  readonly leases?: number
  /** Counts what each function does; it costs some CPU, so times are taken without. */
  readonly observe?: boolean
}

const CLOSED_PATIENCE = 30 * 60_000

/**
 * Starts the functions, the queues, the archive and the stream's readers as `npm start` does: the bundles that Lambda
 * would run, wired by the template. What functions send to queues goes over HTTP as on AWS; what queues hand out goes
 * the way of the local event source mappings, by direct call.
 */
export async function startPipeline(world: World, options: PipelineOptions): Promise<Pipeline> {
  const { store } = options
  const child = fork(new URL(import.meta.resolve('./pipeline-child.ts')), [], {
    execArgv: [
      '--expose-gc',
      '--disable-warning=ExperimentalWarning',
      ...(options.heap === undefined ? [] : [`--max-old-space-size=${options.heap}`]),
    ],
    env: { PATH: process.env['PATH'], ...(store === undefined ? {} : { RESCIND_DYNAMODB_ENDPOINT: store }) },
    // Ctrl-C reaches the whole group of the terminal: the child ends when it is asked to, or when we are gone.
    detached: true,
  })
  const waiting = new Map<number, { resolve: (answer: unknown) => void; reject: (error: Error) => void }>()
  const told = new Map<string, Told>()
  const listeners = new Set<() => void>()
  let last = 0
  let exited: string | undefined
  child.on('message', (message: { number?: number; answer?: unknown; error?: string; told?: Told }) => {
    if (message.told !== undefined) {
      told.set(message.told.case, told.get(message.told.case) ?? message.told)
      for (const listener of listeners) listener()
      return
    }
    const one = waiting.get(message.number ?? -1)
    waiting.delete(message.number ?? -1)
    if (message.error === undefined) one?.resolve(message.answer)
    else one?.reject(new Error(message.error))
  })
  child.on('exit', (code, signal) => {
    exited = `the pipeline's process ended (${signal ?? code})`
    for (const one of waiting.values()) one.reject(new Error(exited))
    waiting.clear()
    for (const listener of listeners) listener()
  })
  const ask = (question: Question): Promise<unknown> =>
    new Promise((resolve, reject) => {
      if (exited !== undefined) return reject(new Error(exited))
      last += 1
      waiting.set(last, { resolve, reject })
      child.send({ number: last, question })
    })

  const started = (await ask({
    ask: 'start',
    options: {
      folder: options.folder,
      cdkOut: world.cdkOut,
      keep: options.keep,
      environment: world.trust.environment,
      functions: [...world.functions].map(([folder, { name }]) => [folder, name] as const),
      observe: options.observe === true,
      ...(options.leases === undefined ? {} : { leases: options.leases }),
    },
  })) as Started
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  let stopping: Promise<void> | undefined
  return {
    api: apiClient(started.apiUrl),
    environment: started.environment,
    async cpu() {
      return {
        pipeline: (await ask({ ask: 'cpu' })) as number,
        store: childrenOf(options.folder).reduce((sum, pid) => sum + cpuOf(pid), 0),
      }
    },
    observe: async (profile) => void (await ask({ ask: 'observe', profile })),
    seen: async () => (await ask({ ask: 'seen' })) as Seen,
    moments: async () => (await ask({ ask: 'moments' })) as Moments,
    sweep: async () => void (await ask({ ask: 'sweep' })),
    async closed(caseId) {
      let timer: NodeJS.Timeout | undefined
      try {
        return await new Promise<Told>((resolve, reject) => {
          const look = () => {
            const heard = told.get(caseId)
            if (heard !== undefined) resolve(heard)
            else if (exited !== undefined) reject(new Error(exited))
          }
          listeners.add(look)
          timer = setTimeout(
            () => reject(new Error(`case ${caseId} does not close; heard: ${[...told.keys()].join(', ')}`)),
            CLOSED_PATIENCE,
          )
          look()
        })
      } finally {
        clearTimeout(timer)
      }
    },
    stop() {
      stopping ??= (async () => {
        await ask({ ask: 'stop' }).catch(() => undefined)
        await ended
      })()
      return stopping
    },
    async kill() {
      const children = childrenOf(options.folder)
      child.kill('SIGKILL')
      await ended
      // The store is its child, and was to outlive it.
      for (const pid of children) if (statOf(pid) !== undefined) process.kill(pid, 'SIGKILL')
    },
  }
}

/** The store's process, as the runtime wrote it down. */
function childrenOf(folder: string): number[] {
  try {
    const note = JSON.parse(readFileSync(join(folder, 'running.json'), 'utf8')) as { children: { pid: number }[] }
    return note.children.map(({ pid }) => pid)
  } catch {
    return []
  }
}

/** Fields of proc(5) stat behind the name: state, parent, ...; times in ticks of a hundredth of a second. */
function statOf(pid: number): string[] | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')
  } catch {
    return undefined
  }
}

/** Seconds of CPU of one process so far; 0 where there is no proc(5). */
export function cpuOf(pid: number): number {
  const fields = statOf(pid)
  return fields === undefined ? 0 : (Number(fields[11]) + Number(fields[12])) / 100
}

/** Seconds of CPU of a process, its children, and those of them that have ended. */
export function cpuOfFamily(pid: number): number {
  const own = statOf(pid)
  if (own === undefined || !existsSync('/proc')) return 0
  let sum = [11, 12, 13, 14].reduce((total, field) => total + Number(own[field]), 0)
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const fields = statOf(Number(entry))
    if (fields?.[1] === String(pid)) sum += Number(fields[11]) + Number(fields[12])
  }
  return sum / 100
}
