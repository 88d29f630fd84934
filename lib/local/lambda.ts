import { AsyncLocalStorage } from 'node:async_hooks'
import { randomUUID } from 'node:crypto'
import { appendFileSync, existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { isObject, numberOf, textOf } from './json.ts'
import type { Resource, Template } from './template.ts'
import { TemplateError } from './template.ts'

/** What a handler is given as its second argument. */
export interface Context {
  readonly awsRequestId: string
  readonly functionName: string
  readonly functionVersion: '$LATEST'
  readonly invokedFunctionArn: string
  readonly memoryLimitInMB: string
  readonly logGroupName: string
  readonly logStreamName: string
  callbackWaitsForEmptyEventLoop: boolean
  /** Milliseconds until the function's time-out. */
  getRemainingTimeInMillis(): number
}
type Handler = (event: unknown, context: Context) => unknown

/** A handler ran longer than the function's time-out. It cannot be stopped: its answer is thrown away. */
export class FunctionTimeout extends Error {
  override readonly name = 'FunctionTimeout'
  readonly code = 'function-timeout'
}

export interface Functions {
  /** By physical name, ARN, or the last part of either (`register` for `rescind-register`). */
  invoke(name: string, event: unknown): Promise<unknown>
  has(name: string): boolean
  names(): string[]
  /** A function's environment as the template gives it. */
  environmentOf(name: string): Readonly<Record<string, string>>
  /** Called when an invocation begins or ends, with the number of those under way. */
  onActivity(listener: (underWay: number) => void): void
  /** Waits until no invocation is under way, at most so many milliseconds; true if so. */
  drain(milliseconds: number): Promise<boolean>
  stop(): void
}

export interface FunctionsOptions {
  readonly template: Template
  /** Region, endpoints, credentials: what Lambda itself, not the template, puts into a function's environment. */
  readonly base: Readonly<Record<string, string>>
  /** Replaces variables of the template, in the functions that have them. */
  readonly replace: Readonly<Record<string, string>>
  /** Folder for one log file per function. */
  readonly logs: string
  /** Stands around every invocation: what a measurement needs to know of it. */
  readonly around?: Around
}

/** Makes the call and gives its answer back; `name` is the function's physical name. */
export type Around = (name: string, event: unknown, call: () => Promise<unknown>) => Promise<unknown>

interface Loaded {
  readonly name: string
  readonly arn: string
  readonly handler: Handler
  readonly timeoutSeconds: number
  readonly memory: number
  readonly environment: Readonly<Record<string, string>>
}

/** Two sets of functions in one process would see each other's environment. */
let occupied = false
/** Makes each import of a bundle a new module: a second start in one process has another environment. */
let generation = 0

/**
 * Imports the entry file of each function of the template, one after another, with that function's environment: a
 * bundle reads its environment once, at import. What a function prints goes to its own log file.
 */
export async function loadFunctions(options: FunctionsOptions): Promise<Functions> {
  if (occupied) throw new Error('only one local runtime can run in a process')
  occupied = true
  generation++
  mkdirSync(options.logs, { recursive: true })
  const outside = { ...process.env }
  const running = new AsyncLocalStorage<string>()
  const streams = captureOutput(running, options.logs)
  const restore = () => {
    streams.restore()
    setEnvironment(outside)
    occupied = false
  }
  const loaded = new Map<string, Loaded>()
  try {
    for (const resource of options.template.ofType('AWS::Lambda::Function')) {
      const found = await load(resource, options, ownEnvironment(outside), running)
      loaded.set(found.name, found)
    }
    setEnvironment({ ...ownEnvironment(outside), ...options.base })
  } catch (error) {
    restore()
    throw error
  }

  function find(name: string): Loaded | undefined {
    const plain = name.replace(/^arn:aws:lambda:[^:]*:[^:]*:function:/, '')
    const exact = loaded.get(plain)
    if (exact !== undefined) return exact
    const similar = [...loaded.values()].filter((entry) => entry.name.endsWith(`-${plain}`))
    return similar.length === 1 ? similar[0] : undefined
  }

  let underWay = 0
  const listeners = new Set<(underWay: number) => void>()
  const changed = (by: number) => {
    underWay += by
    for (const listener of listeners) listener(underWay)
  }

  async function run(target: Loaded, event: unknown): Promise<unknown> {
    const requestId = randomUUID()
    const until = performance.now() + target.timeoutSeconds * 1000
    const context: Context = {
      awsRequestId: requestId,
      functionName: target.name,
      functionVersion: '$LATEST',
      invokedFunctionArn: target.arn,
      memoryLimitInMB: String(target.memory),
      logGroupName: `/aws/lambda/${target.name}`,
      logStreamName: 'local',
      callbackWaitsForEmptyEventLoop: false,
      getRemainingTimeInMillis: () => Math.max(0, Math.round(until - performance.now())),
    }
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      const message = `${target.name} did not end within its ${target.timeoutSeconds} s`
      timer = setTimeout(() => reject(new FunctionTimeout(message)), target.timeoutSeconds * 1000)
    })
    changed(1)
    // It stays under way until it really ends, also after its time-out: `stop` must not take the store from under it.
    const call = () => running.run(target.name, async () => target.handler(event, context))
    const work = (options.around === undefined ? call() : options.around(target.name, event, call)).finally(() => changed(-1))
    try {
      return await Promise.race([work, late])
    } catch (error) {
      streams.write(
        target.name,
        `${JSON.stringify({ requestId, error: error instanceof Error ? (error.stack ?? error.message) : String(error) })}\n`,
      )
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  return {
    async invoke(name, event) {
      const target = find(name)
      if (target === undefined) throw new Error(`there is no function ${name} (there are ${[...loaded.keys()].join(', ')})`)
      return run(target, event)
    },
    has: (name) => find(name) !== undefined,
    names: () => [...loaded.keys()],
    environmentOf: (name) => find(name)?.environment ?? {},
    onActivity: (listener) => void listeners.add(listener),
    async drain(milliseconds) {
      const deadline = performance.now() + milliseconds
      while (underWay > 0 && performance.now() < deadline) await sleep(5)
      return underWay === 0
    },
    stop: restore,
  }
}

async function load(
  resource: Resource,
  options: FunctionsOptions,
  inherited: Record<string, string>,
  running: AsyncLocalStorage<string>,
): Promise<Loaded> {
  const { template } = options
  const name = template.nameOf(resource)
  const [file, exported] = textOf(template.property(resource, 'Handler') ?? null, `${name}: Handler`).split('.')
  const folder = template.assetOf(resource)
  const entry = ['mjs', 'js', 'cjs'].map((extension) => join(folder, `${file}.${extension}`)).find((path) => existsSync(path))
  if (entry === undefined || exported === undefined) {
    throw new TemplateError('unsupported-property', `${name}: its handler is not a file of ${folder}`)
  }
  const memory = numberOf(template.property(resource, 'MemorySize'), `${name}: MemorySize`, 128)
  const environment: Record<string, string> = {}
  const variables = template.property(resource, 'Environment.Variables')
  for (const [variable, value] of Object.entries(isObject(variables) ? variables : {})) {
    environment[variable] = options.replace[variable] ?? String(value)
  }
  setEnvironment({
    ...inherited,
    ...options.base,
    LAMBDA_TASK_ROOT: folder,
    AWS_LAMBDA_FUNCTION_NAME: name,
    AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(memory),
    AWS_LAMBDA_LOG_GROUP_NAME: `/aws/lambda/${name}`,
    AWS_LAMBDA_LOG_STREAM_NAME: 'local',
    ...environment,
  })
  let module: unknown
  try {
    const url = `${pathToFileURL(entry).href}?start=${generation}`
    module = await running.run(name, () => import(/* @vite-ignore */ url))
  } catch (cause) {
    throw new Error(`function ${name} does not load: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
  const handler: unknown = typeof module === 'object' && module !== null ? Reflect.get(module, exported) : undefined
  if (!isHandler(handler)) throw new Error(`function ${name}: ${entry} exports no ${exported}`)
  return {
    name,
    arn: template.attribute(resource, 'Arn'),
    handler,
    memory,
    environment,
    timeoutSeconds: numberOf(template.property(resource, 'Timeout'), `${name}: Timeout`, 3),
  }
}

const isHandler = (value: unknown): value is Handler => typeof value === 'function'

/** The shell's environment without what would lead an AWS client to a real account. Endpoints named there stay. */
function ownEnvironment(outside: NodeJS.ProcessEnv): Record<string, string> {
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(outside)) {
    if (value !== undefined && (!name.startsWith('AWS_') || name.startsWith('AWS_ENDPOINT_URL'))) kept[name] = value
  }
  return kept
}

function setEnvironment(wanted: Readonly<Record<string, string | undefined>>): void {
  for (const name of Object.keys(process.env)) if (wanted[name] === undefined) delete process.env[name]
  Object.assign(process.env, wanted)
}

/**
 * Standard output of a function on Lambda is its log. Here the functions share the command's process, whose output is
 * for the person in front of it: what is written while a function runs goes to that function's file.
 */
function captureOutput(running: AsyncLocalStorage<string>, folder: string) {
  const write = (name: string, text: string | Uint8Array) => appendFileSync(join(folder, `${name}.log`), text)
  const restorers = [process.stdout, process.stderr].map((stream) => {
    const original = stream.write
    const replacement = (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
      const name = running.getStore()
      if (name === undefined) return Reflect.apply(original, stream, [chunk, ...rest])
      write(name, chunk)
      const callback = rest.find((argument) => typeof argument === 'function')
      if (typeof callback === 'function') process.nextTick(callback)
      return true
    }
    stream.write = replacement
    return () => {
      if (stream.write === replacement) stream.write = original
    }
  })
  return {
    write,
    restore: () =>
      restorers.forEach((undo) => {
        undo()
      }),
  }
}
