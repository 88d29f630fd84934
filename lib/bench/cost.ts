import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { takeFolder } from '../local/children.ts'
import { indexStream, startDynamo } from '../local/dynamodb.ts'
import type { Bill, Billing } from './billed.ts'
import { startBilling } from './billed.ts'
import type { Observations } from './observe.ts'
import type { Pipeline } from './pipeline.ts'
import { startPipeline } from './pipeline.ts'
import type { Billed } from './prices.ts'
import { BILLED_BLOCK, costOf, DELAY_MILLISECONDS, LAMBDA_LOG_BYTES, ONE_CPU_MEGABYTES, PRICES } from './prices.ts'
import type { Shares } from './profile.ts'
import { figure, table } from './report.ts'
import { compromise, leasesOf, prepareRoles, warm } from './revocations.ts'
import { copyStore, registrationOf, untilTaken } from './store.ts'
import { trailOf } from './trail.ts'
import type { World } from './world.ts'
import { IDENTITY } from './world.ts'

/** What one run used, in units that AWS bills or that its bill follows from. */
export interface Used {
  /** Leases cut, or registrations made. */
  readonly of: number
  readonly bill: Bill
  readonly observations: Observations
  /** By function: megabytes of memory, and where its CPU went. */
  readonly memory: Readonly<Record<string, number>>
  readonly shares: Shares
  readonly cpuSeconds: number
  /** Seconds of CPU of the issuer: its worker waits for it. */
  readonly issuerSeconds: number
  /** Bytes that functions wrote to their logs. */
  readonly logBytes: number
  /** Requests to the HTTP API. */
  readonly requests: number
  readonly segments: number
  readonly archiveBytes: number
}

export interface CostRun {
  /** Workers at once of the lanes that have a ceiling. */
  readonly workers: World['workers']
  readonly revocations: Used
  readonly registrations: Used
}

export interface CostOptions {
  readonly leases: number
  readonly registrations: number
  readonly folder: string
  readonly progress: (text: string) => void
}

/** Registrations that clients send at once. */
const AT_ONCE = 4

/**
 * A case and a number of registrations through the very functions, with everything between them and the store, the
 * queues, the archive and the bus counted.
 */
export async function measureCost(world: World, { leases, registrations, folder, progress }: CostOptions): Promise<CostRun> {
  const { server, prepared, made } = await prepareRoles(world, leases, ['p'], folder, progress)
  try {
    const plan = leasesOf(world, server, made['p'] ?? [])
    const count = async (
      of: number,
      work: (pipeline: Pipeline) => Promise<Pick<Used, 'requests' | 'segments' | 'archiveBytes'>>,
    ) => {
      const run = copyStore(prepared, join(folder, 'run'))
      const tenancy = await takeFolder(join(folder, 'store'))
      try {
        const path = join(run, 'state/table.db')
        const dynamo = await startDynamo({ path, region: 'us-east-1', accessKeyId: 'local', tenancy, log: () => {} })
        indexStream(path, () => {})
        const billing = await startBilling({ store: dynamo.endpoint, table: world.table, indexes: world.indexes })
        const pipeline = await startPipeline(world, { folder: run, keep: true, store: billing.endpoint, observe: true })
        try {
          await warm(world, pipeline)
          // What a start leaves behind (the stream of the few real registrations) is nobody's.
          await sleep(2000)
          billing.reset()
          await pipeline.observe(true)
          const logs = sizeOfLogs(run)
          const issuer = server.cpu()
          const counted = await work(pipeline)
          await settled(billing)
          const seen = await pipeline.seen()
          if (Object.keys(billing.bill.unknown).length > 0)
            throw new Error(`operations that nobody prices: ${JSON.stringify(billing.bill.unknown)}`)
          return {
            of,
            bill: billing.bill,
            observations: seen.observations,
            memory: Object.fromEntries([...world.functions.values()].map(({ name, memory }) => [name, memory])),
            shares: seen.shares ?? {},
            cpuSeconds: seen.cpuSeconds,
            issuerSeconds: server.cpu() - issuer,
            logBytes: sizeOfLogs(run) - logs,
            ...counted,
          }
        } finally {
          await pipeline.stop()
          await billing.stop()
          await dynamo.stop()
        }
      } finally {
        await tenancy.release()
      }
    }

    progress(`cost: ${registrations} registrations`)
    const registered = await count(registrations, async (pipeline) => {
      const places = Array.from({ length: registrations }, (_, place) => place).values()
      const runner = async () => {
        for (const place of places) {
          const role = `cost_${place}`
          await untilTaken(() =>
            pipeline.api.register(world.tokens.broker, {
              ...registrationOf(plan, 0),
              identity: `${IDENTITY}-${place % 20}`,
              target: { role, oid: String(100_000 + place) },
            }),
          )
        }
      }
      await Promise.all(Array.from({ length: AT_ONCE }, runner))
      return { requests: registrations, segments: 0, archiveBytes: 0 }
    })
    progress(`cost: a case of ${leases} leases`)
    const revoked = await count(leases, async (pipeline) => {
      const { case: id } = await pipeline.api.send(world.tokens.security, compromise(IDENTITY))
      await pipeline.closed(id)
      const { segments, bytes } = await trailOf(world, pipeline, id)
      const { outcomes } = await pipeline.api.case(world.tokens.operator, id)
      if (outcomes.revoked !== leases) throw new Error(`not every lease was cut: ${JSON.stringify(outcomes)}`)
      return { requests: 1, segments, archiveBytes: bytes }
    })
    return { workers: world.workers, revocations: revoked, registrations: registered }
  } finally {
    await server.remove()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Until the stream has told of all that was written. */
async function settled(billing: Billing): Promise<void> {
  for (let look = 0; look < 200 && billing.waiting() > 0; look += 1) await sleep(100)
  // The last segments are being written.
  await sleep(2000)
}

function sizeOfLogs(run: string): number {
  const folder = join(run, 'logs')
  return readdirSync(folder)
    .filter((file) => file !== 'runtime.log')
    .reduce((sum, file) => sum + readFileSync(join(folder, file)).length, 0)
}

// --------------------------------------------------------------------------------------------------------- prices

interface Line {
  readonly name: string
  readonly what: Billed
  readonly quantity: number
}

/** Each billed line of a run. */
export function linesOf(used: Used): Line[] {
  const { bill, observations } = used
  const lines: Line[] = []
  const add = (name: string, what: Billed, quantity: number) => {
    if (quantity > 0) lines.push({ name, what, quantity })
  }
  for (const [kind, { units, transactional }] of Object.entries(bill.writes)) {
    add(`DynamoDB: ${kind} items written in transactions`, 'write', transactional)
    add(`DynamoDB: ${kind} items written alone`, 'write', units - transactional)
  }
  for (const [index, units] of Object.entries(bill.indexes)) add(`DynamoDB: index ${index}`, 'write', units)
  add('DynamoDB: checks inside transactions', 'write', bill.checks.units)
  add('DynamoDB: writes that were refused', 'write', bill.refused.units)
  for (const [name, { units }] of Object.entries(bill.others))
    add(`DynamoDB: ${/AuditIndex/.test(name) ? 'audit index' : name}`, 'write', units)
  for (const [operation, { units }] of Object.entries(bill.reads)) add(`DynamoDB: ${operation}`, 'read', units)

  const all = Object.values(observations)
  const sum = (pick: (calls: string) => boolean, value: 'calls' | 'bytes') =>
    all.reduce(
      (total, { calls }) => total + Object.entries(calls).reduce((own, [name, one]) => own + (pick(name) ? one[value] : 0), 0),
      0,
    )
  const batches = Object.entries(observations)
    .filter(([name]) => fromQueue(name))
    .reduce((total, [, one]) => total + one.invocations, 0)
  const sent = sum((name) => name.startsWith('sqs:'), 'calls')
  add('SQS: sent', 'queue', sent)
  // Lambda's poller receives a batch with one request and deletes it with another.
  add('SQS: received and deleted', 'queue', 2 * batches)
  add('SQS: message groups', 'fairQueue', sent + 2 * batches)

  const compute = computeOf(used)
  for (const { name, cpu, waiting } of compute) {
    add(`Lambda: ${name}, computing`, 'compute', cpu)
    add(`Lambda: ${name}, waiting`, 'compute', waiting)
  }
  const invocations = all.reduce((total, one) => total + one.invocations, 0)
  add('Lambda: requests', 'invocation', invocations)
  add(
    'S3: segments written',
    'put',
    sum((name) => name === 's3:PUT', 'calls'),
  )
  add(
    'S3: segments read',
    'get',
    sum((name) => name === 's3:GET', 'calls'),
  )
  add('S3: the trail, a first month', 'archive', used.archiveBytes / 1e9)
  const events = sum((name) => name.startsWith('events:'), 'calls')
  add(
    'EventBridge: completion events',
    'event',
    Math.max(events, Math.ceil(sum((name) => name.startsWith('events:'), 'bytes') / BILLED_BLOCK)),
  )
  add(
    'KMS: requests',
    'key',
    sum((name) => name.startsWith('kms:'), 'calls'),
  )
  add('API Gateway: requests', 'api', used.requests)
  add('CloudWatch: logs', 'log', (used.logBytes + invocations * LAMBDA_LOG_BYTES) / 1e9)
  return lines
}

const fromQueue = (name: string) => name === 'plan' || name.startsWith('revoke-')

/**
 * GB-seconds by function. A function computes at the share of a CPU that its memory buys, and is billed while it waits:
 * for as many ways there and back as were counted, at the delays that `prices.ts` assumes, and a worker for its issuer.
 */
export function computeOf({ observations, shares, memory, cpuSeconds, issuerSeconds }: Used) {
  const own = Object.entries(shares).filter(([name]) => !NOT_LAMBDA.has(name))
  const sumOf = (parts: Readonly<Record<string, number>>) => Object.values(parts).reduce((sum, value) => sum + value, 0)
  // What Node did for all (collection, sockets) is shared out among those whose code it ran, the adapter's among them.
  const named = Object.entries(shares).reduce((sum, [name, parts]) => sum + (name === 'node' ? 0 : sumOf(parts)), 0)
  return own.flatMap(([name, parts]) => {
    const observed = observations[name]
    if (observed === undefined) return []
    const megabytes = memory[name] ?? 512
    const cpu = (sumOf(parts) / named) * cpuSeconds
    const waits = Object.entries(observed.waits).reduce(
      (sum, [service, times]) => sum + (times * (DELAY_MILLISECONDS[service] ?? 10)) / 1000,
      name.startsWith('revoke-') ? issuerSeconds : 0,
    )
    const gigabytes = megabytes / 1024
    return [{ name, cpu: cpu * Math.max(1, ONE_CPU_MEGABYTES / megabytes) * gigabytes, waiting: waits * gigabytes }]
  })
}
const NOT_LAMBDA = new Set(['adapter', 'queue', 'node', 'benchmark'])

/** Dollars per million. */
export const perMillion = (used: Used): number =>
  (linesOf(used).reduce((sum, { what, quantity }) => sum + costOf(what, quantity), 0) * 1e6) / used.of

const number = (value: number) => value.toLocaleString('en-US')
const dollars = (value: number) => value.toFixed(value < 0.0995 ? 3 : 2)

const small = (value: number) => (value > 0 && value < 0.1 ? value.toPrecision(2) : figure(value))

function linesText(used: Used, one: string): string {
  const priced = linesOf(used).map((line) => ({ ...line, dollars: (costOf(line.what, line.quantity) * 1e6) / used.of }))
  const total = perMillion(used)
  const shown = priced.filter((line) => line.dollars >= 0.0005).toSorted((first, second) => second.dollars - first.dollars)
  const rest = priced.filter((line) => line.dollars < 0.0005)
  const rows = shown.map((line) => [
    line.name,
    `${small(line.quantity)} ${PRICES[line.what].unit.split(',')[0]}`,
    small(line.quantity / used.of),
    dollars(line.dollars),
    `${figure((100 * line.dollars) / total)} %`,
  ])
  rows.push([`${rest.length} lines below $0.0005`, '', '', dollars(rest.reduce((sum, line) => sum + line.dollars, 0)), ''])
  rows.push(['**all**', '', '', `**${dollars(total)}**`, '100 %'])
  return table(['line', 'units', `a ${one}`, '$ per million', 'share'], rows)
}

export function costText({ revocations, registrations }: CostRun): string {
  const prices = Object.values(PRICES).map(({ dollars: amount, per, unit, source, read }) => [
    unit,
    `$${amount}${per === 1 ? '' : ` per ${number(per)}`}`,
    source,
    read,
  ])
  return [
    `### A case of ${number(revocations.of)} leases: $${dollars(perMillion(revocations))} per million revocations`,
    '',
    linesText(revocations, 'lease'),
    '',
    `### ${number(registrations.of)} registrations: $${dollars(perMillion(registrations))} per million`,
    '',
    linesText(registrations, 'registration'),
    '',
    '### Prices and assumptions',
    '',
    table(['unit', 'price', 'source', 'read'], prices),
    '',
    `Assumed, for no account is at hand: a function waits ${Object.entries(DELAY_MILLISECONDS)
      .map(([service, delay]) => `${delay} ms for ${service}`)
      .join(', ')}, each way there and back;`,
    `it computes at its memory's share of a CPU (one at ${number(ONE_CPU_MEGABYTES)} MB) that is as fast as this machine's; Lambda's own log lines take`,
    `${LAMBDA_LOG_BYTES} bytes an invocation.`,
  ].join('\n')
}
