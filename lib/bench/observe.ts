import { AsyncLocalStorage } from 'node:async_hooks'
import diagnostics from 'node:diagnostics_channel'
import type { ClientRequest } from 'node:http'

/** What one function did, as it would be seen at the border of its Lambda environment. */
export interface Observed {
  invocations: number
  /** Messages of queues and records of streams that they were given. */
  records: number
  /** Milliseconds from call to answer, added up: on a busy machine this says little. */
  milliseconds: number
  /** `dynamodb:GetItem`, `sqs:SendMessageBatch`, `s3:PUT`, `events:PutEvents`. */
  readonly calls: Record<string, { calls: number; bytes: number }>
  /**
   * Times that an invocation, having waited for nothing, began to wait for a service: how often it goes there and back,
   * however many calls it makes side by side. What another network adds to an invocation is this times its delay.
   */
  readonly waits: Record<string, number>
}

interface Invocation {
  readonly of: Observed
  pending: number
}

/** By function; what the adapter itself calls (the stream) is nobody's. */
export type Observations = Record<string, Observed>

const fresh = (): Observed => ({ invocations: 0, records: 0, milliseconds: 0, calls: {}, waits: {} })

/** Listens to the HTTP calls of this process, and tells them by the invocation that they were made in. */
export function observer(nameOf: (physical: string) => string) {
  const running = new AsyncLocalStorage<Invocation>()
  const by = new WeakMap<ClientRequest, Invocation>()
  let observations: Observations = {}

  diagnostics.subscribe('http.client.request.start', (message) => {
    const { request } = message as { request: ClientRequest }
    const invocation = running.getStore()
    if (invocation === undefined) return
    const operation = operationOf(request)
    const { calls, waits } = invocation.of
    calls[operation] ??= { calls: 0, bytes: 0 }
    const entry = calls[operation]
    entry.calls += 1
    entry.bytes += Number(request.getHeader('content-length') ?? 0)
    if (invocation.pending === 0) {
      const service = operation.slice(0, operation.indexOf(':'))
      waits[service] = (waits[service] ?? 0) + 1
    }
    invocation.pending += 1
    by.set(request, invocation)
    const ended = () => {
      if (by.delete(request)) invocation.pending -= 1
    }
    request.once('error', ended)
    request.once('close', ended)
  })
  diagnostics.subscribe('http.client.response.finish', (message) => {
    const { request } = message as { request: ClientRequest }
    const invocation = by.get(request)
    if (invocation !== undefined && by.delete(request)) invocation.pending -= 1
  })

  return {
    reset(): void {
      observations = {}
    },
    get observations(): Observations {
      return observations
    },
    async around(physical: string, event: unknown, call: () => Promise<unknown>): Promise<unknown> {
      const name = nameOf(physical)
      observations[name] ??= fresh()
      const of = observations[name]
      of.invocations += 1
      of.records += recordsOf(event)
      const start = performance.now()
      try {
        return await running.run({ of, pending: 0 }, call)
      } finally {
        of.milliseconds += performance.now() - start
      }
    },
  }
}

function recordsOf(event: unknown): number {
  const records = typeof event === 'object' && event !== null && 'Records' in event ? event.Records : undefined
  return Array.isArray(records) ? records.length : 1
}

const SERVICES: Readonly<Record<string, string>> = {
  DynamoDB_20120810: 'dynamodb',
  AmazonSQS: 'sqs',
  AWSEvents: 'events',
  TrentService: 'kms',
  secretsmanager: 'secrets',
}

/** The JSON protocols name their operation in a header; S3 is known by having none. */
function operationOf(request: ClientRequest): string {
  const target = request.getHeader('x-amz-target')
  if (typeof target !== 'string') return `s3:${request.method}`
  const [service = '', operation = ''] = target.split('.')
  return `${SERVICES[service] ?? service}:${operation}`
}
