import { setTimeout as sleep } from 'node:timers/promises'
import type { Dynamo, Positions, StreamRecord } from './dynamodb.ts'
import type { Json, JsonObject } from './json.ts'
import { arrayOf, isArray, isObject, numberOf, textOf } from './json.ts'
import type { Functions } from './lambda.ts'
import type { Matcher } from './pattern.ts'
import { compilePattern } from './pattern.ts'
import type { Received, Sqs } from './sqs.ts'
import type { ReadRecords, StreamReader } from './streams.ts'
import { openStreams } from './streams.ts'
import type { Resource, Template } from './template.ts'
import { TemplateError } from './template.ts'

/**
 * Event source mappings: what stands between a queue or a stream and a function on AWS. They carry bytes; which
 * messages come back, and when, is the queue's and the function's business.
 */
export interface Mappings {
  /** Takes no new work and waits for what is under way. */
  stop(): Promise<void>
}

export interface MappingsOptions {
  readonly template: Template
  readonly functions: Functions
  readonly sqs: Sqs
  readonly dynamo: Dynamo
  readonly region: string
  /** Where each stream mapping stands, by its logical id; read at start, advanced as batches succeed. */
  readonly positions: Record<string, Positions>
  /** Called when a position has advanced. */
  readonly onAdvance: () => void
  readonly log: (line: string) => void
}

export async function startMappings(options: MappingsOptions): Promise<Mappings> {
  const stopping = new AbortController()
  const loops: Promise<void>[] = []
  const first = precedence()
  const streams: StreamMapping[] = []
  const { template } = options
  for (const resource of template.ofType('AWS::Lambda::EventSourceMapping')) {
    if (String(template.property(resource, 'Enabled')) === 'false') continue
    const source = textOf(template.property(resource, 'EventSourceArn') ?? null, `${resource.logicalId}: EventSourceArn`)
    const common = readCommon(options, resource, source)
    if (source.includes(':sqs:')) loops.push(pollQueue(options, readQueue(options, resource, common), first, stopping.signal))
    else if (source.includes(':dynamodb:')) streams.push(readStream(options, resource, common))
    else
      throw new TemplateError('unsupported-property', `${resource.logicalId}: ${source} is neither a queue nor a table's stream`)
  }
  // All are open before the first is read, and before this returns: nothing written from here on is missed.
  const readers = await openStreams(
    options.dynamo,
    streams.map(({ logicalId, table, latest }) => ({ table, positions: positionsOf(options, logicalId), latest })),
  )
  for (const [place, mapping] of streams.entries()) {
    const reader = readers[place]
    if (reader !== undefined) loops.push(pollStream(options, mapping, reader, stopping.signal))
  }
  return {
    async stop() {
      stopping.abort()
      options.sqs.wake()
      await Promise.all(loops)
    },
  }
}

interface Common {
  readonly name: string
  readonly source: string
  /** Name or ARN. */
  readonly target: string
  readonly windowMilliseconds: number
  readonly partial: boolean
}

function readCommon({ template, functions }: MappingsOptions, resource: Resource, source: string): Common {
  const name = `${resource.stack}/${resource.logicalId}`
  const target = textOf(template.property(resource, 'FunctionName') ?? null, `${name}: FunctionName`)
  if (!functions.has(target))
    throw new TemplateError('unknown-reference', `${name}: ${target} is not a function of this template`)
  for (const property of ['TumblingWindowInSeconds', 'ProvisionedPollerConfig']) {
    if (template.property(resource, property) !== undefined) {
      throw new TemplateError('unsupported-property', `${name}: ${property} is not known on one machine`)
    }
  }
  const types = template.property(resource, 'FunctionResponseTypes')
  return {
    name,
    source,
    target,
    windowMilliseconds:
      1000 *
      numberOf(template.property(resource, 'MaximumBatchingWindowInSeconds'), `${name}: MaximumBatchingWindowInSeconds`, 0),
    partial: isArray(types) && types.includes('ReportBatchItemFailures'),
  }
}

// ---- queues

interface QueueMapping extends Common {
  readonly queue: string
  readonly batchSize: number
  readonly concurrency: number
  /** It has no ceiling: its work goes before that of the others. */
  readonly urgent: boolean
}

/**
 * Messages of one batch of what has a ceiling. On AWS its workers are machines of their own; here whatever is under way
 * when something urgent comes stands before it at the one store, and a few messages at once keep one machine as busy as many.
 */
const FEW = 1

/** How long a batch makes way, in milliseconds, and how long after the last urgent one more may come of it. */
const MAKES_WAY = 1000
const MORE_TO_COME = 100

/**
 * On AWS each queue's invocations have machines of their own; here all share one machine, its process and its store. So
 * what has no ceiling goes first: each batch of the others waits until none of it is under way, for a second at the most.
 */
export function precedence(): { enter(): () => void; turn(): Promise<void> } {
  let underWay = 0
  let waiting: (() => void)[] = []
  let timer: NodeJS.Timeout | undefined
  const free = () => {
    timer = undefined
    const all = waiting
    waiting = []
    for (const go of all) go()
  }
  return {
    enter() {
      underWay += 1
      clearTimeout(timer)
      timer = undefined
      return () => {
        underWay -= 1
        if (underWay === 0) timer = setTimeout(free, MORE_TO_COME)
      }
    },
    async turn() {
      if (underWay === 0 && timer === undefined) return
      await new Promise<void>((resolve) => {
        const patience = setTimeout(resolve, MAKES_WAY)
        waiting.push(() => {
          clearTimeout(patience)
          resolve()
        })
      })
    },
  }
}

function readQueue({ template }: MappingsOptions, resource: Resource, common: Common): QueueMapping {
  const { name } = common
  if (template.property(resource, 'FilterCriteria') !== undefined) {
    throw new TemplateError('unsupported-property', `${name}: FilterCriteria of a queue is not known on one machine`)
  }
  const urgent = template.property(resource, 'ScalingConfig.MaximumConcurrency') === undefined
  const batchSize = numberOf(template.property(resource, 'BatchSize'), `${name}: BatchSize`, 10)
  return {
    ...common,
    queue: common.source.replace(/^.*:/, ''),
    batchSize: urgent ? batchSize : Math.min(batchSize, FEW),
    urgent,
    // Without a limit Lambda goes to 1,250; more than this makes one process no faster.
    concurrency: numberOf(template.property(resource, 'ScalingConfig.MaximumConcurrency'), `${name}: MaximumConcurrency`, 10),
  }
}

/**
 * One loop per queue receives, and hands batches to at most `concurrency` invocations at once. A FIFO queue keeps one
 * batch per group in flight by itself: a group stays locked while a message of it is.
 */
async function pollQueue(
  options: MappingsOptions,
  mapping: QueueMapping,
  first: ReturnType<typeof precedence>,
  stop: AbortSignal,
): Promise<void> {
  const underWay = new Set<Promise<void>>()
  while (!stop.aborted) {
    if (underWay.size >= mapping.concurrency) {
      await Promise.race(underWay)
      continue
    }
    const batch = await options.sqs.receive(mapping.queue, mapping.batchSize, 20)
    if (batch.length === 0) continue
    const until = performance.now() + mapping.windowMilliseconds
    while (batch.length < mapping.batchSize && !stop.aborted) {
      const more = await options.sqs.receive(mapping.queue, mapping.batchSize - batch.length, 0)
      batch.push(...more)
      if (more.length > 0) continue
      if (performance.now() >= until) break
      await sleep(Math.min(50, Math.max(1, until - performance.now())))
    }
    if (!mapping.urgent) await first.turn()
    const left = mapping.urgent ? first.enter() : () => {}
    const work = invokeQueue(options, mapping, batch).finally(() => {
      left()
      underWay.delete(work)
    })
    underWay.add(work)
  }
  await Promise.all(underWay)
}

/** Deletes what succeeded; what failed becomes visible again when its time-out is over. */
async function invokeQueue(options: MappingsOptions, mapping: QueueMapping, batch: readonly Received[]): Promise<void> {
  const event = { Records: batch.map((message) => queueRecord(message, mapping.source, options.region)) }
  try {
    const answer = await options.functions.invoke(mapping.target, event)
    const failed = mapping.partial ? failures(answer) : new Set<string>()
    const known = new Set(batch.map((message) => message.messageId))
    for (const id of failed) if (!known.has(id)) throw new Error(`the answer names a message ${id} that is not in the batch`)
    options.sqs.delete(
      mapping.queue,
      batch.filter((message) => !failed.has(message.messageId)).map((message) => message.receiptHandle),
    )
  } catch (error) {
    options.log(`${mapping.name}: a batch of ${batch.length} from ${mapping.queue} failed: ${String(error)}`)
  }
}

function queueRecord(message: Received, source: string, region: string): JsonObject {
  const attributes: Record<string, JsonObject> = {}
  for (const [name, { DataType, StringValue, BinaryValue }] of Object.entries(message.messageAttributes)) {
    attributes[name] = {
      ...(StringValue !== undefined && { stringValue: StringValue }),
      ...(BinaryValue !== undefined && { binaryValue: BinaryValue }),
      stringListValues: [],
      binaryListValues: [],
      dataType: DataType,
    }
  }
  return {
    messageId: message.messageId,
    receiptHandle: message.receiptHandle,
    body: message.body,
    attributes: message.attributes,
    messageAttributes: attributes,
    md5OfBody: message.md5,
    eventSource: 'aws:sqs',
    eventSourceARN: source,
    awsRegion: region,
  }
}

/**
 * The identifiers in `batchItemFailures`. As on AWS, an empty list, null or no list is a complete success, and an
 * identifier that is missing or empty makes the whole batch fail.
 */
export function failures(answer: unknown): Set<string> {
  const list = isObject(answer) ? answer.batchItemFailures : undefined
  if (list === undefined || list === null) return new Set()
  return new Set(
    arrayOf(list, 'batchItemFailures').map((entry) => {
      const id = isObject(entry) ? entry.itemIdentifier : undefined
      if (typeof id !== 'string' || id === '') throw new Error('an entry of batchItemFailures has no itemIdentifier')
      return id
    }),
  )
}

// ---- streams

interface StreamMapping extends Common {
  readonly logicalId: string
  readonly table: string
  readonly batchSize: number
  readonly filters: readonly Matcher[]
  readonly latest: boolean
  /** -1: for ever. */
  readonly retries: number
  readonly bisect: boolean
  readonly onFailure: string | undefined
}

function readStream({ template }: MappingsOptions, resource: Resource, common: Common): StreamMapping {
  const { name } = common
  const filters = template.property(resource, 'FilterCriteria.Filters')
  const onFailure = template.property(resource, 'DestinationConfig.OnFailure.Destination')
  const position = template.property(resource, 'StartingPosition')
  if (position === 'AT_TIMESTAMP')
    throw new TemplateError('unsupported-property', `${name}: a table's stream has no AT_TIMESTAMP`)
  return {
    ...common,
    logicalId: resource.logicalId,
    table: common.source.replace(/^.*:table\//, '').replace(/\/stream\/.*$/, ''),
    batchSize: numberOf(template.property(resource, 'BatchSize'), `${name}: BatchSize`, 100),
    filters: arrayOf(filters ?? [], `${name}: Filters`).map((filter) => {
      const pattern = isObject(filter) ? filter.Pattern : undefined
      return compilePattern(JSON.parse(textOf(pattern, `${name}: Pattern`)) as Json)
    }),
    latest: position === 'LATEST',
    retries: numberOf(template.property(resource, 'MaximumRetryAttempts'), `${name}: MaximumRetryAttempts`, -1),
    bisect: String(template.property(resource, 'BisectBatchOnFunctionError')) === 'true',
    onFailure: typeof onFailure === 'string' ? onFailure : undefined,
  }
}

/** Pause between looks at a quiet stream, and while functions run: only they write to the table. */
const QUIET = 500
const BUSY = 25

function positionsOf({ positions }: MappingsOptions, mapping: string): Positions {
  positions[mapping] ??= {}
  return positions[mapping]
}

/** Polls an open stream until `stop`. */
async function pollStream(
  options: MappingsOptions,
  mapping: StreamMapping,
  stream: StreamReader,
  stop: AbortSignal,
): Promise<void> {
  const positions = positionsOf(options, mapping.logicalId)
  let wake: (() => void) | undefined
  let underWay = 0
  let stirred = false
  options.functions.onActivity((now) => {
    // A function that ended may have written as its last act: look once more, at once.
    stirred ||= now < underWay
    underWay = now
    wake?.()
  })
  stop.addEventListener('abort', () => wake?.())

  function pause(): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer)
        wake = undefined
        stirred = false
        resolve()
      }
      // Many invocations end within a few milliseconds: one look serves them all.
      const length = () => (stop.aborted || stirred ? 3 : underWay > 0 ? BUSY : QUIET)
      let timer = setTimeout(end, length())
      let set = length()
      wake = () => {
        if (length() >= set) return
        set = length()
        clearTimeout(timer)
        timer = setTimeout(end, set)
      }
    })
  }

  async function loop(): Promise<void> {
    let held: Batch[] = []
    let heldSince = 0
    while (!stop.aborted) {
      let batches: ReadRecords[]
      try {
        batches = await stream.read(Math.min(mapping.batchSize, 1000))
      } catch (error) {
        if (stop.aborted) break
        options.log(`${mapping.name}: the stream cannot be read: ${String(error)}`)
        await sleep(QUIET, undefined, { signal: stop }).catch(() => undefined)
        continue
      }
      if (held.length === 0) heldSince = performance.now()
      held = merge(held, batches)
      const full = held.some((batch) => batch.records.length >= mapping.batchSize)
      const waited = performance.now() - heldSince >= mapping.windowMilliseconds
      if (held.length > 0 && (full || waited)) {
        for (const { shard, records } of held) {
          for (let at = 0; at < records.length && !stop.aborted; at += mapping.batchSize) {
            await carry(shard, records.slice(at, at + mapping.batchSize))
          }
        }
        held = []
        if (batches.length > 0) continue
      }
      await pause()
    }
  }

  /** Brings one batch to the function, in order: until it succeeds, is given up, or the runtime stops. */
  async function carry(shard: string, records: readonly StreamRecord[]): Promise<void> {
    let rest = records.filter((record) => mapping.filters.length === 0 || mapping.filters.some((matches) => matches(record)))
    let size = rest.length
    let failed = 0
    while (rest.length > 0 && !stop.aborted) {
      const batch = rest.slice(0, size)
      const done = await attempt(batch)
      rest = rest.slice(done)
      const reached = rest[0] === undefined ? undefined : batch[done - 1]
      if (reached !== undefined) advance(shard, reached)
      if (done === batch.length) {
        // After a bisection the other half is next, whole.
        size = rest.length
        failed = 0
        continue
      }
      if (done > 0) failed = 0
      failed++
      if (mapping.retries >= 0 && failed > mapping.retries) {
        giveUp(shard, rest.slice(0, batch.length - done))
        rest = rest.slice(batch.length - done)
        size = rest.length
        failed = 0
        continue
      }
      if (mapping.bisect && batch.length - done > 1) size = Math.ceil((batch.length - done) / 2)
      // 0.1 s, doubled up to 10 s.
      await sleep(Math.min(10_000, 100 * 2 ** Math.min(failed - 1, 7)), undefined, { signal: stop }).catch(() => undefined)
    }
    const last = records.at(-1)
    if (rest.length === 0 && last !== undefined) advance(shard, last)
  }

  function advance(shard: string, record: StreamRecord): void {
    positions[shard] = sequenceOf(record)
    options.onAdvance()
  }

  /** How many records, from the first, are done with. */
  async function attempt(batch: readonly StreamRecord[]): Promise<number> {
    const Records = batch.map((record) => ({ ...record, awsRegion: options.region, eventSourceARN: mapping.source }))
    try {
      const answer = await options.functions.invoke(mapping.target, { Records })
      if (!mapping.partial) return batch.length
      const failed = failures(answer)
      if (failed.size === 0) return batch.length
      const first = batch.findIndex((record) => failed.has(sequenceOf(record)))
      if (first < 0) throw new Error('the answer names a sequence number that is not in the batch')
      options.log(`${mapping.name}: ${batch.length - first} of ${batch.length} records come again, as the function asked`)
      return first
    } catch (error) {
      options.log(`${mapping.name}: a batch of ${batch.length} records failed: ${String(error)}`)
      return 0
    }
  }

  /** What Lambda sends to an on-failure destination: where the records stand, not the records. */
  function giveUp(shard: string, batch: readonly StreamRecord[]): void {
    options.log(`${mapping.name}: gives up on ${batch.length} records`)
    if (mapping.onFailure === undefined) return
    const note = {
      version: '1.0',
      timestamp: new Date().toISOString(),
      requestContext: {
        functionArn: mapping.target,
        condition: 'RetryAttemptsExhausted',
        approximateInvokeCount: mapping.retries + 1,
      },
      responseContext: { statusCode: 200, executedVersion: '$LATEST', functionError: 'Unhandled' },
      DDBStreamBatchInfo: {
        shardId: shard,
        startSequenceNumber: batch[0] === undefined ? '' : sequenceOf(batch[0]),
        endSequenceNumber: sequenceOf(batch.at(-1) ?? batch[0]),
        batchSize: batch.length,
        streamArn: mapping.source,
      },
    }
    options.sqs.send(mapping.onFailure, JSON.stringify(note))
  }

  await loop()
}

interface Batch {
  readonly shard: string
  readonly records: StreamRecord[]
}

function merge(held: readonly Batch[], more: readonly ReadRecords[]): Batch[] {
  const merged = held.map(({ shard, records }) => ({ shard, records: [...records] }))
  for (const { shard, records } of more) {
    const same = merged.find((batch) => batch.shard === shard)
    if (same === undefined) merged.push({ shard, records: [...records] })
    else same.records.push(...records)
  }
  return merged
}

const sequenceOf = (record: StreamRecord | undefined): string => textOf(record?.dynamodb.SequenceNumber, 'SequenceNumber')
