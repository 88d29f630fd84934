import type { PlanRequest, PlanView } from '../../functions/contracts/plan.ts'
import type { Settings } from '../../functions/contracts/settings.ts'
import { fingerprint, identityKey, leaseIdFor } from '../../functions/domain/keys.ts'
import { previewer } from '../../functions/plan/preview.ts'
import { dynamoClient } from '../../functions/runtime/aws.ts'
import { systemClock } from '../../functions/runtime/clock.ts'
import { systemRandomness } from '../../functions/runtime/randomness.ts'
import { dynamoTable } from '../../functions/store/dynamodb.ts'
import {
  credentialItem,
  leaseItem,
  leaseSort,
  scopeOfChildren,
  scopeOfCredential,
  shardPartition,
} from '../../functions/store/keys.ts'
import type { Item, Table } from '../../functions/store/table.ts'
import type { Counts } from './counted.ts'
import { counted } from './counted.ts'
import { BROKER, IDENTITY, ISSUER, settings } from './identity.ts'
import type { PreviewJob } from './job.ts'
import { EVERY, madeTable, OTHER } from './made.ts'
import { definition as FREE } from './provider.ts'
import { registerLeases } from './register.ts'

/** Puts in one transaction, and transactions at once. */
const TOGETHER = 100
const AT_ONCE = 4
/** What a preview reached, and what that took. */
export interface Previewed {
  readonly answers: number
  /** Seconds of all answers, and of the longest one. */
  readonly seconds: number
  readonly longest: number
  readonly cpuSeconds: number
  /** Megabytes: used by objects at the most, held by them after a full collection, resident at the most. */
  readonly heap: number
  readonly held: number
  readonly resident: number
  readonly calls: number
  readonly leases: number
  readonly bystanders: number
  readonly descendants: number
  readonly released: number
}

/**
 * Gives the identity its leases as items like those that a registration leaves: most hold a credential of their own, some
 * share one, some delegate.
 */
export async function fillLeases(leases: number, name: string): Promise<{ leases: number }> {
  await registerLeases(1, name)
  const client = dynamoClient()
  const table = dynamoTable({ client, table: name, clock: systemClock, random: systemRandomness })
  const model = await modelOf(table)
  let queue: Item[] = []
  let running: Promise<void>[] = []
  const flush = async (all: boolean) => {
    while (queue.length >= TOGETHER || (all && queue.length > 0)) {
      const batch = queue.slice(0, TOGETHER)
      queue = queue.slice(TOGETHER)
      running.push(put(table, batch))
      if (running.length === AT_ONCE || (all && queue.length === 0)) {
        await Promise.all(running)
        running = []
      }
    }
  }
  for (let place = 1; place < leases; place += 1) {
    queue.push(...itemsOf(model, place))
    await flush(false)
  }
  await flush(true)
  await Promise.all(running)
  client.destroy()
  return { leases }
}

async function put(table: Table, items: readonly Item[]): Promise<void> {
  const done = await table.transact(items.map((item) => ({ put: item })))
  if (!done.ok) throw new Error('a lease could not be written')
}

async function modelOf(table: Table): Promise<Item> {
  for (let shard = 0; shard < 16; shard += 1) {
    const page = await table.query({ pk: shardPartition(`identity#${identityKey(IDENTITY)}`, shard), prefix: 'L#', limit: 1 })
    const [found] = page.items
    if (found !== undefined) return found
  }
  throw new Error('the registration left no lease')
}

function itemsOf(model: Item, place: number): Item[] {
  const shared = place % EVERY === 1
  const delegates = place % EVERY === 2
  const print = fingerprint(ISSUER, `filled-${place}`)
  const lease = (identity: string, label: string, more: Record<string, string | boolean>): Item => {
    const id = leaseIdFor(identityKey(identity), ISSUER, BROKER.uri, `filled-${label}`)
    return {
      ...model,
      ...leaseItem(id),
      id,
      identity,
      identityKey: identityKey(identity),
      fingerprint: print,
      target: { name: `filled-${label}` },
      ...more,
    }
  }
  const pointer = (pk: string, to: Item): Item => ({
    pk,
    sk: leaseSort(ISSUER, String(to.id)),
    kind: 'pointer',
    lease: String(to.id),
  })
  const own = lease(IDENTITY, String(place), { sharing: shared ? 'shared' : 'exclusive', delegable: delegates })
  if (shared) {
    const other = lease(OTHER, `${place}-other`, { sharing: 'shared' })
    const pk = shardPartition(scopeOfCredential(print), 0)
    const credential = { ...credentialItem(print), kind: 'credential', holders: 2, exclusive: false, cutting: false }
    return [own, other, pointer(pk, own), pointer(pk, other), credential]
  }
  if (!delegates) return [own]
  const child = lease(OTHER, `${place}-child`, {
    parent: String(own.id),
    fingerprint: fingerprint(ISSUER, `filled-${place}-child`),
  })
  return [own, { ...child, depth: 1 }, pointer(shardPartition(scopeOfChildren(String(own.id)), 0), child)]
}

/** Previews a trigger on the identity, answer by answer, as whoever calls the API would. */
export async function previewLeases(job: PreviewJob): Promise<Previewed> {
  const client = dynamoClient()
  const store =
    job.made === undefined
      ? dynamoTable({ client, table: job.table, clock: systemClock, random: systemRandomness })
      : madeTable(job.made, Date.now())
  const counts: Counts = {}
  const table = counted(job.whole ? wholly(store) : store, 'preview', counts)
  const operator = 'spiffe://example.org/operator/one'
  const all: Settings = { ...settings, grants: [{ right: 'operator', caller: operator, approve: false }] }
  const preview = previewer({
    table,
    clock: systemClock,
    log: { info() {}, warn() {}, error() {} },
    settings: all,
    catalog: { [FREE.name]: FREE },
    mac: async () => Promise.reject(new Error('nothing to hash')),
  })
  const request: PlanRequest = { type: job.type, scope: { kind: 'identity', id: IDENTITY } }
  const peak = { heap: 0, resident: 0 }
  const look = () => {
    const { heapUsed, rss } = process.memoryUsage()
    peak.heap = Math.max(peak.heap, heapUsed)
    peak.resident = Math.max(peak.resident, rss)
  }
  const timer = setInterval(look, 10)
  const cpu = process.cpuUsage()
  const start = performance.now()
  let longest = 0
  const answers: PlanView[] = []
  for (let next: string | undefined, first = true; first || next !== undefined; first = false) {
    const asked = performance.now()
    const answer: PlanView = await preview(next === undefined ? request : { ...request, next }, { uri: operator })
    longest = Math.max(longest, performance.now() - asked)
    answers.push(answer)
    next = answer.next
  }
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  clearInterval(timer)
  look()
  globalThis.gc?.()
  const held = process.memoryUsage().heapUsed
  client.destroy()
  const sum = (pick: (answer: PlanView) => number) => answers.reduce((total, answer) => total + pick(answer), 0)
  return {
    answers: answers.length,
    seconds,
    longest: longest / 1000,
    cpuSeconds: (user + system) / 1e6,
    heap: peak.heap / 1e6,
    held: held / 1e6,
    resident: peak.resident / 1e6,
    calls: Object.values(counts['preview'] ?? {}).reduce((total, { calls }) => total + calls, 0),
    leases: sum(({ leases }) => leases.total),
    bystanders: sum(({ bystanders }) => bystanders.count),
    descendants: sum(({ descendants }) => descendants.count),
    released: sum(({ leases }) => leases.released),
  }
}

/** Leases with all that stands in them, to see what asking for less is worth. */
const wholly = (table: Table): Table => ({
  ...table,
  query: ({ only: _, ...input }) => table.query(input),
})
