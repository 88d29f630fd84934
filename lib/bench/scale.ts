import type { Lane } from '../../functions/contracts/primitives.ts'
import { SHARDS } from '../../functions/domain/keys.ts'
import { MOST_AT_A_VISIT, UNITS_PER_SECOND } from '../../functions/plan/scan.ts'
import { catalog } from '../../functions/providers/catalog.ts'
import { MOST_IN_QUEUE } from '../../functions/runtime/dispatch.ts'
import { DUE_SHARDS } from '../../functions/store/keys.ts'
import type { Results } from './bench.ts'
import type { Used } from './cost.ts'
import { computeOf, perMillion } from './cost.ts'
import { figure, table } from './report.ts'

/** What AWS sets, with where it was read. */
export const AWS = {
  partitionWrites: { value: 1000, unit: 'write units a second and partition', source: 'DynamoDB: quotas' },
  partitionReads: { value: 3000, unit: 'read units a second and partition', source: 'DynamoDB: quotas' },
  newTableWrites: {
    value: 4000,
    unit: 'write units a second that a new on-demand table takes at once',
    source: 'DynamoDB: on-demand capacity (from memory)',
  },
  inFlight: { value: 120_000, unit: 'messages in flight in a standard queue', source: 'SQS: quotas' },
  concurrency: { value: 1000, unit: 'environments of an account, by default', source: 'Lambda: quotas' },
  pollersAtFirst: { value: 5, unit: 'concurrent batches of a queue at first', source: 'Lambda: event source mapping of SQS' },
  pollersMore: { value: 300, unit: 'more of them a minute', source: 'Lambda: event source mapping of SQS' },
  pollersMost: { value: 1250, unit: 'of them at the most', source: 'Lambda: event source mapping of SQS' },
  streamParallel: {
    value: 4,
    unit: 'batches at once for a shard of the stream, as the stack sets it',
    source: 'lib/stacks/rescind-stack.ts',
  },
} as const

const CHUNK = 100

/** Something that holds a case to so many leases a second. */
export interface Bound {
  readonly name: string
  readonly perSecond: number
  /** Per identity, per issuer, per installation: what more of it needs more of. */
  readonly of: 'identity' | 'issuer' | 'installation' | 'lane'
  readonly raise: string
}

/** Bounds of a case of one identity's leases at one issuer, from what was measured of each lease; the workers' apart. */
export function boundsOf(used: Used): Bound[] {
  const { bill, of } = used
  const writes = (kind: string) => (bill.writes[kind]?.units ?? 0) / of
  const index = (name: string) => (bill.indexes[name] ?? 0) / of
  const reads = (bill.reads['Query']?.units ?? 0) / of + (bill.reads['BatchGetItem']?.units ?? 0) / of
  const secondsOf = (name: string) => secondsPerLease(used, name)
  const bounds: Bound[] = [
    {
      name: `planner: ${MOST_AT_A_VISIT} chunks a shard and minute`,
      perSecond: (SHARDS.identity * MOST_AT_A_VISIT * CHUNK) / 60,
      of: 'identity',
      raise: '`MOST_AT_A_VISIT` (plan/scan.ts), as far as the queue has room',
    },
    {
      name: 'planner: reads of a partition, paced',
      perSecond: (SHARDS.identity * UNITS_PER_SECOND) / ((bill.reads['Query']?.units ?? 0) / of),
      of: 'identity',
      raise: 'smaller lease items; more shards of an identity',
    },
    {
      name: "table: writes of the identity's partitions",
      perSecond: (SHARDS.identity * AWS.partitionWrites.value) / writes('lease'),
      of: 'identity',
      raise: 'lease items below 1 KB, one write a lease; DynamoDB splits a hot partition by itself, in minutes',
    },
    {
      name: "table: reads of the identity's partitions",
      perSecond: (SHARDS.identity * AWS.partitionReads.value) / reads,
      of: 'identity',
      raise: 'fewer reads a lease',
    },
    {
      name: "index `due`: the partitions of an issuer's expiries",
      perSecond: (DUE_SHARDS * AWS.partitionWrites.value) / index('due: lease'),
      of: 'issuer',
      raise: 'more shards of `EXPIRY#<issuer>`, or leave the entry until the TTL',
    },
    {
      name: 'index `due`: the partition of open chunks',
      perSecond: AWS.partitionWrites.value / index('due: chunk'),
      of: 'installation',
      raise: 'spread `CHUNK` over shards',
    },
    {
      name: "limiter: the issuer's one item",
      perSecond: AWS.partitionWrites.value / writes('limiter'),
      of: 'issuer',
      raise: 'more tokens a write',
    },
    {
      name: `audit: ${AWS.streamParallel.value} batches at once for each shard of the stream`,
      perSecond: (SHARDS.identity * AWS.streamParallel.value) / secondsOf('prove'),
      of: 'installation',
      raise: 'parallelisation up to 10; it lags and holds up nothing',
    },
    {
      name: 'closing: two batches at once for each shard of the stream',
      perSecond: (SHARDS.identity * 2) / secondsOf('close'),
      of: 'installation',
      raise: 'parallelisation up to 10',
    },
    {
      name: 'table: what a new on-demand table takes at once',
      perSecond: AWS.newTableWrites.value / Object.values(bill.writes).reduce((sum, { units }) => sum + units / of, 0),
      of: 'installation',
      raise: 'warm throughput, set beforehand (a few dollars, once)',
    },
  ]
  return bounds.filter(({ perSecond }) => Number.isFinite(perSecond)).toSorted((one, other) => one.perSecond - other.perSecond)
}

/** Seconds that a function is busy for a lease, waiting included. */
function secondsPerLease(used: Used, name: string): number {
  const found = computeOf(used).find((one) => one.name === name)
  return found === undefined ? 0 : (found.cpu + found.waiting) / ((used.memory[name] ?? 512) / 1024) / used.of
}

const WORKER = 'revoke-postgresql'

/** Seconds until so many leases are cut in a lane, whose workers come up as Lambda lets them. */
export function secondsOf(
  used: Used,
  workers: Readonly<Partial<Record<Lane, number>>>,
  lane: Lane,
  leases: number,
  bound: number,
): number {
  const busy = secondsPerLease(used, WORKER)
  const most = Math.min(workers[lane] ?? AWS.pollersMost.value, AWS.concurrency.value)
  let left = leases
  for (let second = 0; ; second += 1) {
    const running = Math.min(most, AWS.pollersAtFirst.value + (AWS.pollersMore.value * second) / 60)
    const rate = Math.min(bound, running / busy)
    // Once nothing changes any more, the rest is a division.
    if (running === most || rate === bound) return second + left / rate
    left -= rate
    if (left <= 0) return second + 1
  }
}

const SIZES = [1_000_000, 100_000_000] as const
const number = (value: number) => value.toLocaleString('en-US')

function span(seconds: number): string {
  if (seconds < 120) return `${figure(seconds)} s`
  if (seconds < 7200) return `${figure(seconds / 60)} min`
  if (seconds < 172_800) return `${figure(seconds / 3600)} h`
  return `${figure(seconds / 86_400)} days`
}

/** The tables of docs/scale.md, by the name of their place in it. */
export function scaleTexts(results: Results): Readonly<Record<string, string>> | undefined {
  const cost = results.cost?.measured
  if (cost === undefined) return undefined
  const { revocations: used, workers } = cost
  const bounds = boundsOf(used)
  const busy = secondsPerLease(used, WORKER)
  const spread = (bound: Bound): number =>
    bound.perSecond * (bound.of === 'identity' ? SPREAD.identities : bound.of === 'issuer' ? SPREAD.issuers : 1)
  const oneBound = Math.min(...bounds.map(({ perSecond }) => perSecond))
  const spreadBound = Math.min(...bounds.map(spread))

  const measured = table(
    ['a lease', 'measured'],
    [
      ['write units of lease items', figure((used.bill.writes['lease']?.units ?? 0) / used.of)],
      ['write units of all items', figure(Object.values(used.bill.writes).reduce((sum, { units }) => sum + units, 0) / used.of)],
      ['write units of the index `due` for leases', figure((used.bill.indexes['due: lease'] ?? 0) / used.of)],
      ['write units of the index `due` for chunks', figure((used.bill.indexes['due: chunk'] ?? 0) / used.of)],
      ['write units of the limiter', figure((used.bill.writes['limiter']?.units ?? 0) / used.of)],
      ['read units', figure(Object.values(used.bill.reads).reduce((sum, { units }) => sum + units, 0) / used.of)],
      ['milliseconds of a worker with 512 MB', figure(1000 * busy)],
      ['milliseconds of CPU of PostgreSQL', figure((1000 * used.issuerSeconds) / used.of)],
      ['milliseconds of the audit function', figure(1000 * secondsPerLease(used, 'prove'))],
      ['dollars per million', figure(perMillion(used))],
    ],
  )
  const limits = table(
    ['what holds it', 'leases a second', number(SIZES[0]), number(SIZES[1]), 'grows with', 'what raises it'],
    bounds.map(({ name, perSecond, of, raise }) => [
      name,
      number(Math.round(perSecond)),
      ...SIZES.map((leases) => span(leases / perSecond)),
      of === 'installation' ? 'nothing' : `each ${of}`,
      raise,
    ]),
  )
  const workerRows = (['p0', 'p1', 'p2'] as const).map((lane) => {
    const most = Math.min(workers[lane] ?? AWS.pollersMost.value, AWS.concurrency.value)
    return [
      lane.toUpperCase(),
      number(most),
      number(Math.round(most / busy)),
      ...SIZES.map((leases) => span(secondsOf(used, workers, lane, leases, oneBound))),
      ...SIZES.map((leases) => span(secondsOf(used, workers, lane, leases, spreadBound))),
    ]
  })
  const lanes = table(
    [
      'lane',
      'workers at once',
      'they cut, leases a second',
      `${number(SIZES[0])}, one identity`,
      `${number(SIZES[1])}, one identity`,
      `${number(SIZES[0])}, spread`,
      `${number(SIZES[1])}, spread`,
    ],
    workerRows,
  )
  const issuers = table(
    ['issuer', 'calls a second', 'leases a call', 'leases a second', number(SIZES[0]), number(SIZES[1])],
    [
      ...Object.values(catalog).map(({ title, limits: { batch, callsPerSecond = 1000, callsPerLease = 0 } }) => {
        const rate = callsPerLease > 0 ? callsPerSecond / callsPerLease : callsPerSecond * batch
        return [
          `${title}: the configured ceiling`,
          figure(callsPerSecond),
          callsPerLease > 0 ? figure(1 / callsPerLease) : String(batch),
          figure(rate),
          ...SIZES.map((leases) => span(leases / rate)),
        ]
      }),
      [
        'PostgreSQL: one core of a server like the one measured',
        '',
        '',
        figure(used.of / used.issuerSeconds),
        ...SIZES.map((leases) => span((leases * used.issuerSeconds) / used.of)),
      ],
    ],
  )
  const messages = table(
    [
      'leases',
      'chunks, each a message',
      `at once in a queue (at most ${number(MOST_IN_QUEUE)})`,
      `of SQS's ${number(AWS.inFlight.value)} in flight`,
      'cost, $',
    ],
    SIZES.map((leases) => {
      const chunks = leases / CHUNK
      const most = Math.min(chunks, MOST_IN_QUEUE)
      return [
        number(leases),
        number(chunks),
        number(most),
        `${figure((100 * most) / AWS.inFlight.value)} %`,
        figure((perMillion(used) * leases) / 1e6),
      ]
    }),
  )
  const constants = table(
    ['limit', 'value', 'source'],
    Object.values(AWS).map(({ value, unit, source }) => [unit, number(value), source]),
  )
  const [first, second, third] = bounds
  const raise = [first, second, third].flatMap((bound, place) =>
    bound === undefined
      ? []
      : [`${place + 1}. ${bound.name}: ${number(Math.round(bound.perSecond))} leases a second. ${capital(bound.raise)}.`],
  )
  const ceilings = (['p1', 'p2'] as const).flatMap((lane) => {
    const most = workers[lane]
    return most === undefined
      ? []
      : [`${lane.toUpperCase()}: ${most} workers cut ${number(Math.round(most / busy))} leases a second`]
  })
  if (ceilings.length > 0)
    raise.push(
      `${raise.length + 1}. Outside of P0 the workers come before all of these: ${ceilings.join(', ')}. \`providers.postgresql.concurrency\`.`,
    )
  return { measured, limits, lanes, issuers, messages, constants, raise: raise.join('\n') }
}

/** A large incident is not one identity: this is what "spread" means in the tables. */
export const SPREAD = { identities: 100, issuers: 10 } as const

const capital = (text: string) => `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`
