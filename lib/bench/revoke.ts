import { mkdirSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { closer } from '../../functions/close/close.ts'
import { PlanMessage, WorkMessage } from '../../functions/contracts/message.ts'
import { Trigger } from '../../functions/contracts/trigger.ts'
import { acceptor } from '../../functions/intake/accept.ts'
import { planStage } from '../../functions/plan/stage.ts'
import { prover } from '../../functions/prove/prove.ts'
import { revokeWorker } from '../../functions/revoke/worker.ts'
import { dynamoClient } from '../../functions/runtime/aws.ts'
import { systemClock as clock } from '../../functions/runtime/clock.ts'
import { dispatcher } from '../../functions/runtime/dispatch.ts'
import type { Announcer, Archive, Log, Queues } from '../../functions/runtime/ports.ts'
import { systemRandomness as random } from '../../functions/runtime/randomness.ts'
import { Postponed } from '../../functions/runtime/sqs-batch.ts'
import type { StreamEvent } from '../../functions/runtime/stream.ts'
import { changesOf } from '../../functions/runtime/stream.ts'
import { caseOf } from '../../functions/store/cases.ts'
import { dynamoTable } from '../../functions/store/dynamodb.ts'
import type { Dynamo, StreamRecord } from '../local/dynamodb.ts'
import { openStream, startDynamo } from '../local/dynamodb.ts'
import type { Json } from '../local/json.ts'
import { compilePattern } from '../local/pattern.ts'
import type { Counts } from './counted.ts'
import { counted, keyOf, sets } from './counted.ts'
import { IDENTITY, SOURCE, settings } from './identity.ts'
import type { Job, Measured } from './job.ts'
import { FREE, freeProvider } from './provider.ts'

/** Messages of one queue under way at once, as on one machine (`lib/local/mappings.ts`): P0 comes one by one and has no ceiling. */
const AT_ONCE = 10
/** Records of one read of the stream, and of one batch of each consumer, as the stack sets them. */
const READ = 500
const CLOSE_BATCH = 25
const PROVE_BATCH = 500
const PROVE_WINDOW = 1000
/** A pause between looks at a quiet stream, in milliseconds. */
const QUIET = 10
const DEADLINE = 15 * 60_000

/** Reports the identity as compromised, and measures until the case is closed and its trail is written. */
export async function revokeLeases(job: Extract<Job, { do: 'revoke' }>): Promise<Measured> {
  const client = dynamoClient()
  const store = dynamoTable({ client, table: job.table, clock, random })
  const counts: Counts = {}
  const moments = new Map<string, number>()
  const first = (name: string) => moments.has(name) || moments.set(name, performance.now())
  const last = (name: string) => moments.set(name, performance.now())
  const held = heldMemory(job.leases)
  let chunks = 0

  const plans = counted(store, 'plan', counts, (writes) => {
    for (const write of writes) if (sets(write, 'fences') && keyOf(write).pk.startsWith('ID#')) first('fence')
  })
  const works = counted(store, 'revoke', counts, (writes) => {
    const outcomes = writes.filter((write) => sets(write, 'outcomes')).length
    if (outcomes === 0) return
    first('firstOutcome')
    last('lastOutcome')
    held.count(outcomes)
  })
  const closes = counted(store, 'close', counts, (writes) => {
    for (const write of writes) if (sets(write, 'state', 'closed')) first('closed')
  })

  const faults: string[] = []
  const log: Log = {
    info: () => {},
    warn: (message) => void faults.push(message),
    error: (message, fields) => void faults.push(`${message} ${String(fields?.error)}`),
  }
  const queues = memoryQueues(faults)
  const names = ['p0', 'p1', 'p2'].flatMap((lane) => [`plan-${lane}`, `work-free-${lane}`])
  const dispatch = dispatcher(plans, queues, names)
  const { limits } = settings
  const catalog = { [FREE.name]: FREE }
  const accept = acceptor({
    table: counted(store, 'intake', counts),
    dispatch,
    clock,
    settings,
    catalog,
    mac: async () => () => '',
  })
  const plan = planStage({ table: plans, dispatch, clock, log, settings, catalog })
  const module = freeProvider(() => first('containment'))
  const work = revokeWorker(module, {
    table: works,
    dispatch,
    clock,
    random,
    log,
    secrets: { get: async () => '' },
    open: async () => Promise.reject(new Error('nothing is sealed')),
    limits,
    environment: {},
  })
  queues.serve('plan-p0', async (body) => plan(PlanMessage.parse(body)))
  queues.serve('work-free-p0', async (body, receiveCount) => {
    const message = WorkMessage.parse(body)
    if (message.kind === 'chunk' && receiveCount === 1) chunks += 1
    await work(message, { receiveCount })
  })

  let announced = false
  const announcer: Announcer = {
    announce: async () => {
      announced = true
    },
  }
  const close = closer({ table: closes, clock, limits, announcer })
  const written = { segments: 0, records: 0 }
  const archive = folderArchive(job.archive)
  const prove = prover({
    archive: {
      ...archive,
      put: async (key, body) => {
        written.segments += 1
        await archive.put(key, body)
      },
    },
    index: counted(dynamoTable({ client, table: job.auditIndex, clock, random }), 'prove', counts),
  })

  const dynamo = await startDynamo({
    path: '',
    endpoint: job.endpoint,
    region: 'us-east-1',
    accessKeyId: 'local',
    // The store is the parent's child.
    tenancy: { adopt: () => {}, release: async () => {} },
    log: () => {},
  })
  const filters = job.closingFilters.map((pattern) => compilePattern(JSON.parse(pattern) as Json))
  const stop = new AbortController()
  const consumers = [
    consume(dynamo, job.table, stop.signal, { most: CLOSE_BATCH, window: 0 }, async (records) => {
      const wanted = records.filter((record) => filters.some((matches) => matches(record)))
      for (const change of changesOf(eventOf(wanted))) await close(change)
    }),
    consume(dynamo, job.table, stop.signal, { most: PROVE_BATCH, window: PROVE_WINDOW }, async (records) => {
      const changes = changesOf(eventOf(records))
      written.records += await prove(changes)
      if (changes.some(({ after }) => after?.kind === 'case' && after.state === 'closed')) first('proven')
    }),
  ]
  for (const { ended } of consumers) ended.catch((error: unknown) => faults.push(String(error)))
  await Promise.all(consumers.map(({ opened }) => opened))
  const before = process.memoryUsage.rss()
  const cpu = process.cpuUsage()

  const start = performance.now()
  const receipt = await accept(
    Trigger.parse({
      specversion: '1.0',
      id: 'bench-1',
      source: 'urn:bench',
      type: 'io.rescind.compromise',
      data: { scope: { kind: 'identity', id: IDENTITY }, reason: 'to be measured' },
    }),
    { source: SOURCE, principal: 'source:soc' },
  )
  while (!moments.has('proven') || !announced) {
    if (faults.length > 0) throw new Error(`the pipeline complains: ${faults.join('; ')}`)
    if (performance.now() - start > DEADLINE) throw new Error(`the case does not close: ${[...moments.keys()].join(', ')}`)
    await sleep(QUIET)
  }
  const used = process.cpuUsage(cpu)
  stop.abort()
  await Promise.all(consumers.map(({ ended }) => ended))
  await dynamo.stop()

  const closed = await caseOf(store, receipt.case)
  client.destroy()
  if (closed?.counts.revoked !== job.leases || module.counted.revoked !== job.leases || module.counted.verified !== job.leases)
    throw new Error(`not every lease was cut once: ${JSON.stringify({ counts: closed?.counts, ...module.counted })}`)
  const at = (name: string) => {
    const moment = moments.get(name)
    if (moment === undefined) throw new Error(`the case closed without ${name}: ${JSON.stringify(closed)}`)
    return moment - start
  }
  return {
    milliseconds: {
      fence: at('fence'),
      containment: at('containment'),
      firstOutcome: at('firstOutcome'),
      lastOutcome: at('lastOutcome'),
      closed: at('closed'),
      proven: at('proven'),
    },
    leasesPerSecond: (job.leases * 1000) / at('lastOutcome'),
    // `maxRSS` is in kilobytes.
    memory: {
      before: before / 1e6,
      peak: (process.resourceUsage().maxRSS * 1024) / 1e6,
      held: held.tenths.map((bytes) => bytes / 1e6),
    },
    cpuSeconds: (used.user + used.system) / 1e6,
    ...written,
    chunks,
    counts,
  }
}

/**
 * What is reachable after a full collection, in bytes, each time another tenth of the leases has its outcome: what is
 * held, without what only waits to be collected. Needs `--expose-gc`.
 */
function heldMemory(leases: number) {
  const tenths: number[] = []
  let done = 0
  return {
    tenths,
    count(outcomes: number): void {
      done += outcomes
      if (done < ((tenths.length + 1) * leases) / 10 || tenths.length === 10) return
      global.gc?.()
      const { heapUsed, external } = process.memoryUsage()
      while (done >= ((tenths.length + 1) * leases) / 10 && tenths.length < 10) tenths.push(heapUsed + external)
    },
  }
}

interface Lane {
  readonly waiting: { readonly text: string; readonly receiveCount: number }[]
  free: number
  readonly handle: (body: unknown, receiveCount: number) => Promise<void>
}

/** Queues as lists: a message that is postponed comes back, one that fails is a fault of the benchmark. */
function memoryQueues(faults: string[]) {
  const lanes = new Map<string, Lane>()
  function pump(lane: Lane): void {
    while (lane.free > 0) {
      const next = lane.waiting.shift()
      if (next === undefined) return
      lane.free -= 1
      void deliver(lane, next.text, next.receiveCount)
    }
  }
  async function deliver(lane: Lane, text: string, receiveCount: number): Promise<void> {
    try {
      await lane.handle(JSON.parse(text), receiveCount)
    } catch (error) {
      if (error instanceof Postponed) {
        setTimeout(() => {
          lane.waiting.push({ text, receiveCount: receiveCount + 1 })
          pump(lane)
        }, error.seconds * 1000)
      } else faults.push(error instanceof Error ? `${error.stack}` : String(error))
    }
    lane.free += 1
    pump(lane)
  }
  const queues: Queues & { serve(name: string, handle: Lane['handle']): void } = {
    async send(name, messages) {
      const lane = lanes.get(name)
      if (lane === undefined) throw new Error(`nobody serves ${name}`)
      // As text, as a queue would hold it.
      for (const { body } of messages) lane.waiting.push({ text: JSON.stringify(body), receiveCount: 1 })
      pump(lane)
    },
    serve(name, handle) {
      lanes.set(name, { waiting: [], free: AT_ONCE, handle })
    },
  }
  return queues
}

/** One consumer of the table's stream, in order, from now on. */
function consume(
  dynamo: Dynamo,
  table: string,
  stop: AbortSignal,
  batch: { readonly most: number; readonly window: number },
  handle: (records: readonly StreamRecord[]) => Promise<void>,
) {
  const positions: Record<string, string> = {}
  const opening = openStream(dynamo, table, positions, true)
  async function loop(): Promise<void> {
    const stream = await opening
    let held: StreamRecord[] = []
    let heldSince = 0
    while (!stop.aborted) {
      let read = 0
      for (const { shard, records } of await stream.read(READ)) {
        if (held.length === 0) heldSince = performance.now()
        held.push(...records)
        read += records.length
        positions[shard] = String(records.at(-1)?.dynamodb.SequenceNumber)
      }
      while (held.length >= batch.most || (held.length > 0 && performance.now() - heldSince >= batch.window)) {
        const taken = held.slice(0, batch.most)
        held = held.slice(batch.most)
        heldSince = performance.now()
        await handle(taken)
      }
      if (read === 0) await sleep(QUIET)
    }
  }
  return { opened: opening, ended: loop() }
}

/** A record of the stream is what a function's event holds; the types differ only in what they leave open. */
const eventOf = (records: readonly StreamRecord[]): StreamEvent => ({ Records: records as StreamEvent['Records'] })

function folderArchive(folder: string): Archive {
  const made = new Set<string>()
  return {
    async put(key, body) {
      const path = join(folder, key)
      if (!made.has(dirname(path))) mkdirSync(dirname(path), { recursive: true })
      made.add(dirname(path))
      await writeFile(path, body, { flag: 'wx' })
    },
    get: async (key) => readFile(join(folder, key), 'utf8').catch(() => undefined),
  }
}
