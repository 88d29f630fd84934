import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Json, JsonObject } from './json.ts'
import { arrayOf, isArray, isObject, numberOf, objectOf, textOf } from './json.ts'
import type { Functions } from './lambda.ts'
import { closeServer, listenOn, readBody } from './loopback.ts'
import type { Matcher } from './pattern.ts'
import { compilePattern } from './pattern.ts'
import type { Sqs } from './sqs.ts'
import type { Template } from './template.ts'
import { TemplateError } from './template.ts'

/** An event as a rule's target receives it. */
export interface BusEvent extends JsonObject {
  readonly version: '0'
  readonly id: string
  readonly 'detail-type': string
  readonly source: string
  readonly account: string
  readonly time: string
  readonly region: string
  readonly resources: readonly Json[]
  readonly detail: JsonObject
}

/** Where a rule or a schedule sends to: a function or a queue, by ARN. */
export interface Target {
  readonly arn: string
  /** Sent instead of the event. */
  readonly input?: Json
  readonly group?: string
  /** Where it goes that could not be delivered; `report`: in the envelope of Lambda's on-failure destination. */
  readonly deadLetters?: { readonly arn: string; readonly report: boolean }
  readonly retries: number
}

export interface Delivery {
  /** Hands an event to a target as an asynchronous invocation does: errors are tried again. Never rejects. */
  deliver(target: Target, event: Json): Promise<void>
  /** Waits for what is under way; pauses between tries are cut short. */
  stop(): Promise<void>
}

/**
 * Asynchronous delivery with Lambda's own rule: two more tries, then the dead-letter queue. On AWS a minute and two
 * lie between the tries; here `pauseMilliseconds` and twice that.
 */
export function startDelivery(options: {
  readonly functions: Functions
  readonly sqs: Sqs
  readonly pauseMilliseconds: number
  readonly log: (line: string) => void
}): Delivery {
  const underWay = new Set<Promise<void>>()
  const stopping = new AbortController()

  async function attempt(target: Target, event: Json): Promise<void> {
    const payload = target.input ?? event
    let failure: unknown
    let tries = 0
    while (tries <= target.retries && !(tries > 0 && stopping.signal.aborted)) {
      if (tries > 0) await sleep(options.pauseMilliseconds * tries, undefined, { signal: stopping.signal }).catch(() => undefined)
      tries++
      try {
        if (target.arn.includes(':sqs:')) options.sqs.send(target.arn, JSON.stringify(payload), target.group)
        else await options.functions.invoke(target.arn, payload)
        return
      } catch (error) {
        failure = error
        options.log(`${target.arn}: try ${tries} failed: ${String(error)}`)
      }
    }
    if (target.deadLetters === undefined) return options.log(`${target.arn}: an event is lost: it has no dead-letter queue`)
    const { arn, report } = target.deadLetters
    options.sqs.send(arn, JSON.stringify(report ? onFailure(target.arn, payload, failure, tries) : payload), target.group)
  }

  return {
    deliver(target, event) {
      const work = attempt(target, event)
        .catch((error: unknown) => options.log(`${target.arn}: ${String(error)}`))
        .finally(() => underWay.delete(work))
      underWay.add(work)
      return work
    },
    async stop() {
      stopping.abort()
      await Promise.all(underWay)
    },
  }
}

/** Lambda developer guide, "Capturing records of Lambda asynchronous invocations". */
const onFailure = (arn: string, requestPayload: Json, failure: unknown, approximateInvokeCount: number): JsonObject => ({
  version: '1.0',
  timestamp: new Date().toISOString(),
  requestContext: {
    requestId: randomUUID(),
    functionArn: `${arn}:$LATEST`,
    condition: 'RetriesExhausted',
    approximateInvokeCount,
  },
  requestPayload,
  responseContext: { statusCode: 200, executedVersion: '$LATEST', functionError: 'Unhandled' },
  responsePayload:
    failure instanceof Error ? { errorType: failure.name, errorMessage: failure.message } : { errorMessage: String(failure) },
})

/** The target of a rule or a schedule, checked: what the adapter cannot do is refused by name. */
export function readTarget(template: Template, functions: Functions, value: Json, where: string): Target {
  const target = objectOf(value, where)
  for (const name of ['InputPath', 'InputTransformer', 'EcsParameters', 'HttpParameters', 'KinesisParameters']) {
    if (target[name] !== undefined)
      throw new TemplateError('unsupported-property', `${where}: ${name} is not known on one machine`)
  }
  const arn = textOf(target.Arn, `${where}: Arn`)
  if (!arn.includes(':sqs:') && !functions.has(arn)) {
    throw new TemplateError('unsupported-property', `${where}: ${arn} is neither a function nor a queue of this template`)
  }
  const input = target.Input
  const group = isObject(target.SqsParameters) ? target.SqsParameters.MessageGroupId : undefined
  const own = isObject(target.DeadLetterConfig) ? target.DeadLetterConfig.Arn : undefined
  const policy = asynchronousPolicy(template, arn)
  const deadLetters = policy.deadLetters ?? (typeof own === 'string' ? { arn: own, report: false } : undefined)
  return {
    arn,
    retries: policy.retries,
    ...(typeof input === 'string' && { input: JSON.parse(input) as Json }),
    ...(typeof group === 'string' && { group }),
    ...(deadLetters !== undefined && { deadLetters }),
  }
}

/** How a function's asynchronous invocations are tried again, and where they go in the end. */
function asynchronousPolicy(template: Template, arn: string): Pick<Target, 'retries' | 'deadLetters'> {
  const resource = template.ofType('AWS::Lambda::Function').find((candidate) => template.attribute(candidate, 'Arn') === arn)
  if (resource === undefined) return { retries: 0 }
  const name = template.nameOf(resource)
  const config = template
    .ofType('AWS::Lambda::EventInvokeConfig')
    .find((candidate) => template.property(candidate, 'FunctionName') === name)
  const given = config === undefined ? undefined : template.property(config, 'MaximumRetryAttempts')
  const retries = numberOf(given, `${name}: MaximumRetryAttempts`, 2)
  const destination = config === undefined ? undefined : template.property(config, 'DestinationConfig.OnFailure.Destination')
  if (typeof destination === 'string') return { retries, deadLetters: { arn: destination, report: true } }
  const queue = template.property(resource, 'DeadLetterConfig.TargetArn')
  return { retries, ...(typeof queue === 'string' && { deadLetters: { arn: queue, report: false } }) }
}

export interface Events {
  /** For `AWS_ENDPOINT_URL_EVENTBRIDGE`. */
  readonly endpoint: string
  /** From here on the template's rules hold. */
  connect(template: Template, functions: Functions, delivery: Delivery): void
  /** Hears every event of every bus, matched or not. */
  onEvent(listener: (bus: string, event: BusEvent) => void): void
  stop(): Promise<void>
}

interface Rule {
  readonly bus: string
  readonly matches: Matcher
  readonly targets: readonly Target[]
}

/** EventBridge's `PutEvents` (AWS JSON 1.1) on the loopback interface. An event that no rule matches is gone. */
export async function startEvents(options: {
  readonly region: string
  readonly account: string
  readonly log: (line: string) => void
}): Promise<Events> {
  let rules: readonly Rule[] = []
  let buses = new Set(['default'])
  let delivery: Delivery | undefined
  const listeners = new Set<(bus: string, event: BusEvent) => void>()

  function put(entry: Json): JsonObject {
    const read = readEntry(entry, options)
    if ('ErrorCode' in read) return read
    const { bus, event } = read
    if (!buses.has(bus)) return { ErrorCode: 'ResourceNotFoundException', ErrorMessage: `Event bus ${bus} does not exist.` }
    for (const listener of listeners) listener(bus, event)
    for (const rule of rules) {
      if (rule.bus !== bus || !rule.matches(event)) continue
      for (const target of rule.targets) void delivery?.deliver(target, event)
    }
    return { EventId: event.id }
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answer = (status: number, body: JsonObject) => {
      response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1', 'x-amzn-requestid': randomUUID() })
      response.end(JSON.stringify(body))
    }
    const target = request.headers['x-amz-target']
    const body = await readBody(request, 1_100_000)
    if (body === undefined) return answer(413, { __type: 'RequestEntityTooLargeException' })
    if (target !== 'AWSEvents.PutEvents') {
      return answer(400, { __type: 'UnknownOperationException', message: `${String(target)} is not known on one machine` })
    }
    let entries: Json | undefined
    try {
      entries = objectOf(JSON.parse(body.toString('utf8')) as Json, 'PutEvents').Entries
    } catch {
      return answer(400, { __type: 'SerializationException', message: 'the request is not a JSON object' })
    }
    if (!isArray(entries) || entries.length < 1 || entries.length > 10) {
      return answer(400, { __type: 'ValidationException', message: 'Entries must hold 1 to 10 events' })
    }
    const results = entries.map(put)
    answer(200, { FailedEntryCount: results.filter((result) => result.ErrorCode !== undefined).length, Entries: results })
  }

  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      options.log(`PutEvents: ${String(error)}`)
      response.writeHead(500).end()
    })
  })
  const port = await listenOn(server, 0)

  return {
    endpoint: `http://127.0.0.1:${port}`,
    connect(template, functions, through) {
      buses = new Set(['default', ...template.ofType('AWS::Events::EventBus').map(template.nameOf)])
      rules = template.ofType('AWS::Events::Rule').flatMap((resource): Rule[] => {
        const pattern = template.property(resource, 'EventPattern')
        if (pattern === undefined || template.property(resource, 'State') === 'DISABLED') return []
        const where = `${resource.stack}/${resource.logicalId}`
        const bus = template.property(resource, 'EventBusName') ?? 'default'
        return [
          {
            // A rule may name its bus by ARN.
            bus: textOf(bus, `${where}: EventBusName`).replace(/^arn:.*:event-bus\//, ''),
            matches: compilePattern(pattern),
            targets: arrayOf(template.property(resource, 'Targets') ?? [], `${where}: Targets`).map((target, index) =>
              readTarget(template, functions, target, `${where}: Targets/${index}`),
            ),
          },
        ]
      })
      delivery = through
    },
    onEvent: (listener) => void listeners.add(listener),
    stop: () => closeServer(server),
  }
}

/** Largest entry: AWS takes more since 2026, older accounts and buses do not. */
const LARGEST_ENTRY = 262_144

function readEntry(
  entry: Json,
  place: { region: string; account: string },
): { bus: string; event: BusEvent } | (JsonObject & { ErrorCode: string }) {
  const given = isObject(entry) ? entry : {}
  for (const name of ['Source', 'DetailType', 'Detail']) {
    if (typeof given[name] !== 'string' || given[name] === '') {
      return {
        ErrorCode: 'InvalidArgument',
        ErrorMessage: `Parameter ${name} is not valid. Reason: ${name} is a required argument.`,
      }
    }
  }
  const { Source, DetailType, Detail, EventBusName, Time, Resources } = given
  if (Buffer.byteLength(`${Source}${DetailType}${Detail}`) > LARGEST_ENTRY) {
    return { ErrorCode: 'InvalidArgument', ErrorMessage: 'Total size of the entry is over the limit.' }
  }
  let detail: unknown
  try {
    detail = JSON.parse(String(Detail))
  } catch {
    detail = undefined
  }
  if (!isObject(detail)) return { ErrorCode: 'MalformedDetail', ErrorMessage: 'Detail is malformed.' }
  // The SDK writes a time as seconds since 1970.
  const time = typeof Time === 'number' ? new Date(Time * 1000) : typeof Time === 'string' ? new Date(Time) : new Date()
  const event: BusEvent = {
    version: '0',
    id: randomUUID(),
    'detail-type': String(DetailType),
    source: String(Source),
    account: place.account,
    time: (Number.isNaN(time.getTime()) ? new Date() : time).toISOString().replace(/\.\d+Z$/, 'Z'),
    region: place.region,
    resources: isArray(Resources) ? Resources : [],
    detail,
  }
  return { bus: typeof EventBusName === 'string' ? EventBusName.replace(/^arn:.*:event-bus\//, '') : 'default', event }
}
