import { Completion } from '../../functions/contracts/completion.ts'
import type { Runtime } from '../local/runtime.ts'
import { startRuntime } from '../local/runtime.ts'
import type { Observations } from './observe.ts'
import { observer } from './observe.ts'
import type { Shares } from './profile.ts'
import { startProfile } from './profile.ts'

/** Entry of the process that the pipeline runs in: the local runtime, and what is asked about it. */

export interface StartOptions {
  readonly folder: string
  readonly cdkOut: string
  readonly keep: boolean
  readonly environment: Readonly<Record<string, string>>
  /** Names of the functions by the folders of their code. */
  readonly functions: readonly (readonly [string, string])[]
  /** Leases of the case: a full collection at each tenth that the free provider cut, and what is then held. */
  readonly leases?: number
  readonly observe: boolean
}

/** Milliseconds since 1970, as fine as the machine has them. */
export type Moments = Record<'contained' | 'firstCut' | 'lastCut', number | undefined>

export interface Seen {
  readonly observations: Observations
  readonly moments: Moments
  readonly cpuSeconds: number
  /** Megabytes: resident at the beginning and at the most, held after each tenth of the leases. */
  readonly memory: { readonly before: number; readonly peak: number; readonly held: readonly number[] }
  readonly shares?: Shares
}

export interface Started {
  readonly apiUrl: string
  readonly environment: Readonly<Record<string, string>>
}

export type Question =
  | { readonly ask: 'start'; readonly options: StartOptions }
  | { readonly ask: 'observe'; readonly profile: boolean }
  | { readonly ask: 'seen' }
  | { readonly ask: 'moments' }
  | { readonly ask: 'cpu' }
  | { readonly ask: 'sweep' }
  | { readonly ask: 'depths' }
  | { readonly ask: 'stop' }

let runtime: Runtime | undefined
let watching: ReturnType<typeof observer> | undefined
let functionOf: (folder: string) => string | undefined = () => undefined
let profile: Awaited<ReturnType<typeof startProfile>> | undefined
let cpu = process.cpuUsage()
let before = 0
let moments: Moments = { contained: undefined, firstCut: undefined, lastCut: undefined }
let leases = 0
let cut = 0
let held: number[] = []

const now = () => performance.timeOrigin + performance.now()

Reflect.set(globalThis, 'rescindBench', (what: string, count: number) => {
  if (what === 'contained') moments.contained ??= now()
  if (what !== 'revoked') return
  moments.firstCut ??= now()
  moments.lastCut = now()
  cut += count
  while (leases > 0 && held.length < 10 && cut >= ((held.length + 1) * leases) / 10) held.push(collected())
})

function collected(): number {
  globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return (heapUsed + external) / 1e6
}

async function start(options: StartOptions): Promise<Started> {
  const names = new Map(options.functions)
  functionOf = (folder) => names.get(folder)
  const known = [...names.values()].sort((one, other) => other.length - one.length)
  if (options.observe) watching = observer((physical) => known.find((name) => physical.endsWith(`-${name}`)) ?? physical)
  leases = options.leases ?? 0
  runtime = await startRuntime({
    folder: options.folder,
    cdkOut: options.cdkOut,
    keep: options.keep,
    environment: options.environment,
    ...(watching === undefined ? {} : { around: watching.around }),
  })
  runtime.onOutcomeEvent((event) => {
    const about = Completion.parse(event.detail)
    process.send?.({ told: { at: now(), type: about.type, case: about.data.case.id, milliseconds: about.data.milliseconds } })
  })
  return { apiUrl: runtime.apiUrl, environment: runtime.environment }
}

async function observe(profiled: boolean): Promise<void> {
  watching?.reset()
  moments = { contained: undefined, firstCut: undefined, lastCut: undefined }
  cut = 0
  held = []
  before = process.memoryUsage().rss / 1e6
  if (profiled) profile = await startProfile()
  cpu = process.cpuUsage()
}

async function seen(): Promise<Seen> {
  const { user, system } = process.cpuUsage(cpu)
  const shares = await profile?.stop(functionOf)
  profile = undefined
  return {
    observations: watching?.observations ?? {},
    moments,
    cpuSeconds: (user + system) / 1e6,
    // `maxRSS` is in kilobytes.
    memory: { before, peak: (process.resourceUsage().maxRSS * 1024) / 1e6, held },
    ...(shares === undefined ? {} : { shares }),
  }
}

async function answer(question: Question): Promise<unknown> {
  switch (question.ask) {
    case 'start':
      return start(question.options)
    case 'observe':
      return observe(question.profile)
    case 'seen':
      return seen()
    case 'moments':
      return moments
    case 'cpu': {
      const { user, system } = process.cpuUsage()
      return (user + system) / 1e6
    }
    case 'sweep':
      return runtime?.fireSchedules()
    case 'depths':
      return runtime?.queueDepths()
    case 'stop':
      return runtime?.stop()
  }
}

process.on('message', async (message: { readonly number: number; readonly question: Question }) => {
  const { number, question } = message
  try {
    process.send?.({ number, answer: (await answer(question)) ?? null })
  } catch (error) {
    process.send?.({ number, error: error instanceof Error ? `${error.stack}` : String(error) })
  }
  if (question.ask === 'stop') process.disconnect()
})
// Whoever asked is gone: nobody will ask for the end.
process.on('disconnect', () => void runtime?.stop().finally(() => process.exit(0)))
