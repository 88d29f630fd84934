import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { takeFolder } from './children.ts'
import type { Dynamo, Positions } from './dynamodb.ts'
import { ENDPOINT_VARIABLE, startDynamo } from './dynamodb.ts'
import type { BusEvent, Delivery, Events } from './events.ts'
import { startDelivery, startEvents } from './events.ts'
import type { HttpApi } from './http.ts'
import { readRoutes, startHttp } from './http.ts'
import type { Around, Functions } from './lambda.ts'
import { loadFunctions } from './lambda.ts'
import type { Mappings } from './mappings.ts'
import { startMappings } from './mappings.ts'
import type { Schedules } from './schedules.ts'
import { startSchedules } from './schedules.ts'
import type { Depth, Sqs } from './sqs.ts'
import { startSqs } from './sqs.ts'
import { loadStacks, openTemplate, TemplateError } from './template.ts'

export interface RuntimeOptions {
  /** Where state and logs go. */
  readonly folder: string
  /** The synthesised cloud assembly. */
  readonly cdkOut: string
  /** Only this stack of it; all of them where absent. */
  readonly stack?: string
  /** Port of the HTTP API: by default `RESCIND_PORT`, else any free one. */
  readonly port?: number
  /** Replaces the rate of every schedule, for demonstrations and tests. */
  readonly scheduleSeconds?: number
  /** Replaces variables of the template in the functions that have them: see `LocalTrust.environment`. */
  readonly environment?: Readonly<Record<string, string>>
  /** Keeps what the last run left in the folder: the table and the archive. Queues always begin empty. */
  readonly keep?: boolean
  /** Pause before the second try of an asynchronous invocation (a minute on AWS). */
  readonly retryMilliseconds?: number
  /** Stands around every invocation of a function, for measurements. */
  readonly around?: Around
  /** The adapter's own lines; they stand in `logs/runtime.log` as well. */
  readonly log?: (line: string) => void
}

export interface Runtime {
  readonly apiUrl: string
  /** By the names of the standard variables: `AWS_ENDPOINT_URL_DYNAMODB`, ... */
  readonly endpoints: Readonly<Record<string, string>>
  /** All that an AWS client on this machine needs in its environment: endpoints, region, credentials. */
  readonly environment: Readonly<Record<string, string>>
  /** `TABLE_NAME` of the functions; empty if none has it. */
  readonly tableName: string
  readonly archiveBucket: string
  readonly auditIndexTable: string
  /** Folder of the functions' and the adapter's logs. */
  readonly logs: string
  /** Milliseconds from the call to readiness, by part. */
  readonly timings: Readonly<Record<string, number>>
  /** A synchronous invocation: `invoke('register', event)`. */
  invoke(name: string, event: unknown): Promise<unknown>
  /** Hears completion events: what is put on the bus that a function's `OUTCOME_BUS` names. */
  onOutcomeEvent(listener: (event: BusEvent) => void): void
  /** Hears every event of every bus. */
  onEvent(listener: (bus: string, event: BusEvent) => void): void
  /** Messages per queue, by physical name. */
  queueDepths(): Record<string, Depth>
  /** Runs every schedule now, and waits for it. */
  fireSchedules(): Promise<void>
  /** Takes no new work, waits for what is under way, ends every child. Safe to call twice. */
  stop(): Promise<void>
}

const REGION = 'us-east-1'
const ACCOUNT = '000000000000'
const CREDENTIALS = { AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' }
/** How long `stop` waits for invocations that do not end. */
const PATIENCE = 10_000

/**
 * Runs a synthesised template on this machine: the functions in this process, the table in a child process, queues,
 * archive, buses and the HTTP API on the loopback interface.
 */
export async function startRuntime(options: RuntimeOptions): Promise<Runtime> {
  const folder = resolve(options.folder)
  const state = join(folder, 'state')
  const logs = join(folder, 'logs')
  const stopwatch = startStopwatch()
  const tenancy = await takeFolder(folder)
  const keep = options.keep === true
  if (!keep) for (const path of [state, logs]) rmSync(path, { recursive: true, force: true })
  for (const path of [state, logs]) mkdirSync(path, { recursive: true, mode: 0o700 })
  const logFile = openSync(join(logs, 'runtime.log'), 'a')
  const log = (line: string) => {
    writeSync(logFile, `${new Date().toISOString()} ${line}\n`)
    options.log?.(line)
  }

  const parts: { -readonly [Name in keyof Parts]?: Parts[Name] } = {}
  let stopped: Promise<void> | undefined
  const stop = () => {
    stopped ??= stopParts(parts, log)
      .finally(() => tenancy.release())
      .finally(() => closeSync(logFile))
    return stopped
  }

  try {
    const stacks = loadStacks(resolve(options.cdkOut)).filter(({ name }) => options.stack === undefined || name === options.stack)
    if (stacks.length === 0) throw new TemplateError('no-template', `${options.cdkOut} holds no stack ${options.stack ?? ''}`)
    const external = process.env[ENDPOINT_VARIABLE]
    await together([
      async () => {
        parts.dynamo = await startDynamo({
          path: join(state, 'table.db'),
          region: REGION,
          accessKeyId: CREDENTIALS.AWS_ACCESS_KEY_ID,
          tenancy,
          log,
          ...(external !== undefined && external !== '' && { endpoint: external }),
        })
        stopwatch.lap('store')
      },
      async () => {
        parts.sqs = await startSqs({ region: REGION, account: ACCOUNT, buckets: join(state, 'archive') })
        stopwatch.lap('queues')
      },
      async () => {
        parts.events = await startEvents({ region: REGION, account: ACCOUNT, log })
      },
      async () => {
        parts.http = await startHttp({ port: options.port ?? portFromEnvironment(), log })
      },
    ])
    const { dynamo, sqs, events, http } = parts
    if (dynamo === undefined || sqs === undefined || events === undefined || http === undefined)
      throw new Error('a part did not start')

    const template = openTemplate(stacks, { account: ACCOUNT, region: REGION, queues: sqs.endpoint, api: http.url })
    sqs.create(template)
    const endpoints = {
      AWS_ENDPOINT_URL_DYNAMODB: dynamo.endpoint,
      AWS_ENDPOINT_URL_SQS: sqs.endpoint,
      AWS_ENDPOINT_URL_S3: sqs.endpoint,
      AWS_ENDPOINT_URL_EVENTBRIDGE: events.endpoint,
    }
    const environment = {
      ...endpoints,
      ...CREDENTIALS,
      // The embedded store waits for its disk at every commit.
      ...(external === undefined || external === '' ? { TABLE_WRITES: 'together' } : {}),
      AWS_REGION: REGION,
      AWS_DEFAULT_REGION: REGION,
      // No profile of the person at this machine, and no look for one at the network.
      AWS_CONFIG_FILE: '/dev/null',
      AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
      AWS_EC2_METADATA_DISABLED: 'true',
    }
    await together([
      async () => {
        await dynamo.createTables(template, { fresh: !keep })
        stopwatch.lap('tables')
      },
      async () => {
        parts.functions = await loadFunctions({
          template,
          base: environment,
          replace: options.environment ?? {},
          logs,
          ...(options.around === undefined ? {} : { around: options.around }),
        })
        stopwatch.lap('functions')
      },
    ])
    const { functions } = parts
    if (functions === undefined) throw new Error('the functions did not load')

    const delivery = startDelivery({ functions, sqs, pauseMilliseconds: options.retryMilliseconds ?? 1000, log })
    parts.delivery = delivery
    events.connect(template, functions, delivery)
    const positions = keepPositions(join(state, 'positions.json'))
    parts.positions = positions
    parts.mappings = await startMappings({
      template,
      functions,
      sqs,
      dynamo,
      region: REGION,
      positions: positions.all,
      onAdvance: positions.changed,
      log,
    })
    parts.schedules = startSchedules({
      template,
      functions,
      delivery,
      region: REGION,
      account: ACCOUNT,
      ...(options.scheduleSeconds !== undefined && { seconds: options.scheduleSeconds }),
    })
    http.connect(readRoutes(template, functions), functions)
    stopwatch.lap('ready')
    if (process.env.DEBUG) log(`timings in milliseconds: ${JSON.stringify(stopwatch.laps)}`)

    const variable = (name: string) =>
      functions
        .names()
        .map((fn) => functions.environmentOf(fn)[name])
        .find((value) => value !== undefined) ?? ''
    const outcomeBus = variable('OUTCOME_BUS').replace(/^arn:.*:event-bus\//, '')
    return {
      apiUrl: http.url,
      endpoints,
      environment,
      tableName: variable('TABLE_NAME'),
      archiveBucket: variable('ARCHIVE_BUCKET'),
      auditIndexTable: variable('AUDIT_INDEX_TABLE'),
      logs,
      timings: stopwatch.laps,
      invoke: functions.invoke,
      onEvent: events.onEvent,
      onOutcomeEvent: (listener) => events.onEvent((bus, event) => void (bus === outcomeBus && listener(event))),
      queueDepths: sqs.depths,
      fireSchedules: () => parts.schedules?.fire() ?? Promise.resolve(),
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function portFromEnvironment(): number {
  const text = process.env.RESCIND_PORT ?? '0'
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65535)
    throw new RangeError(`RESCIND_PORT must be a port (0 takes any), not "${text}"`)
  return Number(text)
}

interface Parts {
  readonly dynamo: Dynamo
  readonly sqs: Sqs
  readonly events: Events
  readonly http: HttpApi
  readonly functions: Functions
  readonly delivery: Delivery
  readonly mappings: Mappings
  readonly schedules: Schedules
  readonly positions: ReturnType<typeof keepPositions>
}

/** From the outside in: no new requests, no new ticks, no new batches; then what is under way; then the stores. */
async function stopParts(parts: Partial<Parts>, log: (line: string) => void): Promise<void> {
  parts.schedules?.stop()
  await parts.http?.stop()
  const drained = Promise.all([parts.mappings?.stop(), parts.delivery?.stop()])
  const until = performance.now() + PATIENCE
  await Promise.race([drained, sleep(PATIENCE, undefined, { ref: false })])
  if (!(await (parts.functions?.drain(until - performance.now()) ?? true))) log('stops although a function is still under way')
  parts.positions?.save()
  await parts.events?.stop()
  await parts.sqs?.stop()
  await parts.dynamo?.stop()
  parts.functions?.stop()
}

/** All at once; if one fails, the others are waited for before the failure is thrown, so that they can be stopped. */
async function together(tasks: readonly (() => Promise<void>)[]): Promise<void> {
  const results = await Promise.allSettled(tasks.map((task) => task()))
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

/** Where stream mappings stand, on disk at most once a second: after a crash a little is delivered again, as on AWS. */
function keepPositions(path: string) {
  const all: Record<string, Positions> = existsSync(path)
    ? (JSON.parse(readFileSync(path, 'utf8')) as Record<string, Positions>)
    : {}
  let timer: NodeJS.Timeout | undefined
  const save = () => {
    clearTimeout(timer)
    timer = undefined
    writeFileSync(path, JSON.stringify(all))
  }
  return {
    all,
    save,
    changed: () => {
      timer ??= setTimeout(save, 1000).unref()
    },
  }
}

function startStopwatch() {
  const start = performance.now()
  const laps: Record<string, number> = {}
  return {
    laps,
    lap(name: string): void {
      laps[name] = Math.round(performance.now() - start)
    },
  }
}
