import type { WorkMessage } from '../contracts/message.ts'
import type { ScopeRef } from '../contracts/scope.ts'
import { identityKey, key } from '../domain/keys.ts'
import type { Actor, Chunk, Restoration } from '../domain/model.ts'
import { after, instant, ttl } from '../domain/time.ts'
import { Unusable } from '../runtime/unusable.ts'
import { identityOf } from '../store/identities.ts'
import { as } from '../store/items.ts'
import {
  casePartition,
  leaseOfSort,
  progressPartition,
  scopeOfCredential,
  shardPartition,
  shardsOf,
  unitName,
} from '../store/keys.ts'
import { leaseOf } from '../store/leases.ts'
import type { NewPart } from '../store/restorations.ts'
import {
  addPart,
  completeRestoration,
  postponeRestoration,
  restorationListed,
  restorationOf,
  sealRestoration,
} from '../store/restorations.ts'
import type { Table } from '../store/table.ts'
import { issuersIn, rangesOf } from '../store/work.ts'
import type { PlanPorts } from './plan.ts'

/** Parts written by one message; the next one goes on behind them. */
const PARTS = 400
/** Keys read at a time, and leases of one part at most: each may be another case's, and all are told in one transaction. */
const PAGE = 90
const LOOK_AFTER_SECONDS = 120

/** A part, and where the listing goes on behind it. */
interface Found {
  readonly part?: NewPart
  readonly cursor: string
}

/**
 * Lists what a restoration covers, in parts of one issuer each. A part is named by what it covers, so a listing that
 * was killed makes the same ones again; which of their leases may be given back is for the worker to see.
 */
export function restorationLister(ports: Pick<PlanPorts, 'table' | 'clock' | 'dispatch' | 'settings'>) {
  const { table, clock, dispatch } = ports
  const now = () => instant(clock.now())

  return async function list(id: string): Promise<void> {
    const current = await restorationOf(table, id)
    if (current === undefined) throw new Unusable('restoration-gone')
    if (current.state === 'done') return
    const by: Actor = { who: 'plan', why: `${current.reason} (asked by ${current.requester})`, at: now() }
    await postponeRestoration(table, current, after(by.at, LOOK_AFTER_SECONDS))
    if (current.state === 'listing' && !(await listOn(current, by))) return
    const listed = await restorationOf(table, id)
    if (listed?.state === 'running' && listed.parts.done === listed.parts.expected)
      await completeRestoration(table, listed, ttl(after(by.at, (ports.settings.limits.retentionDays + 366) * 86400)), {
        ...by,
        at: now(),
      })
  }

  /** `true`: it is at its end. */
  async function listOn(current: Restoration, by: Actor): Promise<boolean> {
    const dueAt = after(by.at, LOOK_AFTER_SECONDS)
    let messages: WorkMessage[] = []
    let cursor = current.cursor
    let written = 0
    for await (const found of coverage(table, current)) {
      cursor = found.cursor
      if (found.part === undefined) continue
      if (await addPart(table, current.id, found.part, dueAt, by)) {
        messages.push({ v: 1, kind: 'restore', restoration: current.id, part: found.part.name, issuer: found.part.issuer })
        written += 1
      }
      if (messages.length >= PAGE) {
        await dispatch.work('p1', messages)
        messages = []
      }
      if (written >= PARTS) {
        await dispatch.work('p1', messages)
        if (await restorationListed(table, current, cursor))
          await dispatch.plan('p1', [{ v: 1, kind: 'restore', restoration: current.id }])
        return false
      }
    }
    await dispatch.work('p1', messages)
    await sealRestoration(table, current.id, { ...by, at: now() })
    return true
  }
}

async function* coverage(table: Table, current: Restoration): AsyncGenerator<Found> {
  const { scope, cursor } = current
  switch (scope.kind) {
    case 'lease':
      yield* ofLease(table, scope.id)
      return
    case 'identity':
      yield* ofIdentity(table, identityKey(scope.id), cursor)
      return
    case 'case':
      yield* ofCase(table, scope.id, cursor)
      return
  }
}

const placesOf = (covers: NewPart['covers']): readonly string[] => {
  if ('pk' in covers) return [covers.pk, covers.from, covers.to]
  return 'shards' in covers ? [covers.scope, ...covers.shards.map(String)] : covers.leases.map(({ id }) => id)
}

const partOf = (issuer: string, covers: NewPart['covers'], unit?: string): NewPart => ({
  name: key('part', unit ?? '', ...placesOf(covers)),
  issuer,
  covers,
  ...(unit === undefined ? {} : { unit }),
})

/** A shared credential is given back to all who held it, so all of them are named. */
async function* ofLease(table: Table, id: string): AsyncGenerator<Found> {
  const lease = await leaseOf(table, id)
  if (lease === undefined) return
  const leases = [id]
  if (lease.sharing === 'shared') {
    const page = await table.query({ pk: shardPartition(scopeOfCredential(lease.fingerprint), 0), prefix: 'L#', limit: PAGE })
    for (const { sk } of page.items) {
      const { lease: other } = leaseOfSort(sk)
      if (other !== id && leases.length < PAGE) leases.push(other)
    }
  }
  yield { part: partOf(lease.issuer, { leases: leases.map((one) => ({ id: one })) }), cursor: '' }
}

/** The identity under all of its names: what one of them lost, the workload lost. Cursor: the name and shard that come next. */
async function* ofIdentity(table: Table, identity: string, cursor: string): AsyncGenerator<Found> {
  const [from = '', first = '0'] = cursor.split('/')
  const aliases = (await identityOf(table, identity))?.aliases ?? []
  for (const name of [identity, ...aliases.map(identityKey)].sort()) {
    if (name < from) continue
    const scope: ScopeRef = `identity#${name}`
    for (let shard = name === from ? Number(first) : 0; shard < shardsOf(scope); shard += 1) {
      const pk = shardPartition(scope, shard)
      for (const issuer of await issuersIn(table, pk))
        for await (const covers of rangesOf(table, pk, issuer, PAGE))
          yield { part: partOf(issuer, covers), cursor: `${name}/${shard}` }
      yield { cursor: `${name}/${shard + 1}` }
    }
  }
}

/**
 * The chunks of a case that cut anything, unit by unit, then its amendments one by one, so that those which come meanwhile
 * change no part. Cursor: the sort key of the last unit that is listed.
 */
async function* ofCase(table: Table, id: string, cursor: string): AsyncGenerator<Found> {
  let listed = cursor
  for (let more = true; more; ) {
    const units = await table.query({
      pk: casePartition(id),
      limit: PAGE,
      ...(listed === '' ? { prefix: 'UNIT#' } : { after: listed, to: 'UNIT#~' }),
    })
    for (const item of units.items) {
      const unit = as('unit', item)
      for (const shard of unit.shards)
        for await (const chunk of cutBy(table, progressPartition(id, `${unit.scope}#${shard}`), 'CHUNK#'))
          yield { part: partOf(chunk.issuer, chunk.covers, unitName(chunk)), cursor: listed }
      listed = unit.sk
      yield { cursor: listed }
    }
    more = units.next !== undefined
    listed = units.next ?? listed
  }
  for await (const amended of cutBy(table, casePartition(id), 'AMEND#'))
    yield { part: partOf(amended.issuer, amended.covers, unitName(amended)), cursor: listed }
}

/** Chunks or amendments that cut or gave back something, may still, or do not know whether they did. */
async function* cutBy(table: Table, pk: string, prefix: 'CHUNK#' | 'AMEND#'): AsyncGenerator<Chunk> {
  let after: string | undefined
  do {
    const page = await table.query({ pk, limit: PAGE, ...(after === undefined ? { prefix } : { after, to: `${prefix}~` }) })
    for (const item of page.items) {
      const chunk = prefix === 'CHUNK#' ? as('chunk', item) : as('amendment', item)
      if (chunk.state === 'open' || chunk.counts.revoked + chunk.counts.parked + chunk.counts.released > 0) yield chunk
    }
    after = page.next
  } while (after !== undefined)
}
