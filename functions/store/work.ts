import type { Evidence, OutcomeCounts } from '../contracts/outcome.ts'
import type { ScopeRef } from '../contracts/scope.ts'
import { key, parentKey } from '../domain/keys.ts'
import type { Actor, Chunk, Intent, Lease } from '../domain/model.ts'
import { newAmendment } from './amendments.ts'
import { actor, fence, plain } from './identities.ts'
import { as, faultOf, keyOf, read } from './items.ts'
import {
  amendment,
  caseItem,
  chunkItem,
  DUE,
  fenceItem,
  issuerRange,
  leaseItem,
  leaseOfSort,
  rangesCovered,
  shardPartition,
  shardsOf,
} from './keys.ts'
import { leasesOf } from './leases.ts'
import type { Observation } from './observed.ts'
import { countObservations } from './observed.ts'
import type { Check, ItemKey, Table, Update, Write, WriteResult } from './table.ts'
import type { NewChunk } from './units.ts'
import { newChunk } from './units.ts'
import type { Afterwards } from './watch.ts'
import { beginWatch, nextOf } from './watch.ts'

/** Chunks and amendments: what a worker works on. */

export const chunkOf = (table: Table, caseId: string, progress: string, chunk: string): Promise<Chunk | undefined> =>
  read(table, 'chunk', chunkItem(caseId, progress, chunk))
export const amendmentOf = (table: Table, caseId: string, lease: string): Promise<Chunk | undefined> =>
  read(table, 'amendment', amendment(caseId, lease))

/** The chunk or amendment that a lease was claimed with, by its `unitName`. */
export const chunkByUnit = (table: Table, caseId: string, unit: string, lease: string): Promise<Chunk | undefined> => {
  const cut = unit.lastIndexOf('/CHUNK#')
  return cut < 0
    ? amendmentOf(table, caseId, lease)
    : chunkOf(table, caseId, unit.slice(0, cut), unit.slice(cut + '/CHUNK#'.length))
}

/** The progress that counts a chunk: the item beside it. */
const progressOfChunk = (chunk: ItemKey): ItemKey => ({ pk: chunk.pk, sk: 'PROGRESS' })

/** `<scope>#<shard>` out of a chunk's partition. */
export const progressNameOf = (chunk: Pick<Chunk, 'pk' | 'case'>): string => chunk.pk.slice(`CASE#${chunk.case}#`.length)
export const chunkNameOf = (chunk: Pick<Chunk, 'sk'>): string => chunk.sk.slice('CHUNK#'.length)

/** A lease of a chunk: with the lease itself where the listing has just read it. */
export interface Covered {
  readonly id: string
  readonly expirySeen?: string
  readonly lease?: Lease
}

/** The leases as the listing read them; those that it has only pointers to are read now. */
export async function leasesCovered(
  table: Table,
  ids: readonly Covered[],
  unreadable?: (item: ItemKey) => void,
): Promise<Map<string, Lease>> {
  const unread = ids.flatMap(({ id, lease }) => (lease === undefined ? [id] : []))
  const found = unread.length === 0 ? new Map<string, Lease>() : await leasesOf(table, unread, unreadable)
  for (const { id, lease } of ids) if (lease !== undefined) found.set(id, lease)
  return found
}

/** The ids of the leases that a chunk covers as the table stands now, with the expiry that the sweeper saw. */
export async function* covered(
  table: Table,
  chunk: Pick<Chunk, 'covers' | 'issuer'>,
  pageSize: number,
): AsyncGenerator<Covered[]> {
  const { covers } = chunk
  if ('leases' in covers) {
    for (let start = 0; start < covers.leases.length; start += pageSize)
      yield covers.leases
        .slice(start, start + pageSize)
        .map(({ id, expiresAt }) => ({ id, ...(expiresAt === undefined ? {} : { expirySeen: expiresAt }) }))
    return
  }
  const ranges = rangesCovered(chunk)
  const [only] = ranges
  if (only !== undefined && ranges.length === 1) {
    yield* inRange(table, only, pageSize)
    return
  }
  // Together they hold about as much as one chunk takes, and each is a way to the table and back. What came to them since,
  // under a later epoch, may be any number: behind the first page it is read page by page.
  const readers = ranges.map((range) => inRange(table, range, RANGE))
  const first = (await Promise.all(readers.map((reader) => reader.next()))).flatMap(({ value }) => value ?? [])
  for (let start = 0; start < first.length; start += pageSize) yield first.slice(start, start + pageSize)
  for (const reader of readers)
    for await (const page of reader)
      for (let start = 0; start < page.length; start += pageSize) yield page.slice(start, start + pageSize)
}

async function* inRange(
  table: Table,
  { pk, from, to }: { readonly pk: string; readonly from: string; readonly to: string },
  limit: number,
): AsyncGenerator<Covered[]> {
  let start: { after: string } | { from: string } = { from }
  for (;;) {
    const page = await table.query({ pk, ...start, to, limit })
    yield page.items.map((item) => ({
      id: leaseOfSort(item.sk).lease,
      // In its identity's own partitions the item is the lease, strongly read: no need to read it again.
      ...(item['kind'] === 'lease' && faultOf('lease', item) === undefined ? { lease: as('lease', item) } : {}),
    }))
    if (page.next === undefined || page.next >= to) return
    start = { after: page.next }
  }
}

/** Issuers that have leases in a partition, found by skipping from range to range. */
export async function issuersIn(table: Table, pk: string): Promise<string[]> {
  const found: string[] = []
  let after: string | undefined
  for (;;) {
    const page = await table.query({ pk, prefix: 'L#', limit: 1, ...(after === undefined ? {} : { after }) })
    const first = page.items[0]
    if (first === undefined) {
      if (page.next === undefined) return found
      after = page.next
      continue
    }
    const { issuer } = leaseOfSort(first.sk)
    found.push(issuer)
    after = issuerRange(issuer).to
  }
}

/** Keys of one chunk at most: what it remembers of them fits one item. */
const RANGE = 100

export interface Expansion {
  readonly chunk: string
  readonly issuer: string
}

/**
 * Adds chunks for the leases of a scope to the progress of the unit that claimed their parent (or that cuts the
 * credential which they share), in a transaction conditional on that unit being open (protocol 7): ranges of one issuer
 * with up to 100 keys, named by their ends. A repeated listing covers everything again, whatever came or went in between:
 * it makes the very same chunks, or ones that overlap, and a lease is counted by the unit that claimed it. For an
 * amendment there is no progress: each lease gets an amendment of its own.
 */
export async function expand(
  table: Table,
  chunk: Chunk,
  scope: ScopeRef,
  because: 'child' | 'bystander',
  dueAt: string,
  by: Actor,
): Promise<{ chunks: Expansion[]; amendments: string[] }> {
  const chunks: Expansion[] = []
  const amendments: string[] = []
  for (let shard = 0; shard < shardsOf(scope); shard += 1) {
    const pk = shardPartition(scope, shard)
    for (const issuer of await issuersIn(table, pk)) {
      if (chunk.kind === 'amendment') {
        amendments.push(...(await amendEach(table, chunk, pk, issuer, because, dueAt, by)))
        continue
      }
      for await (const covers of rangesOf(table, pk, issuer)) {
        const name = `${chunkNameOf(chunk).slice(0, 6)}.${because}.${key(covers.pk, covers.from, covers.to)}`
        const added: NewChunk = { name, issuer, covers, because }
        const written = await table.transact([
          {
            // Epochs are counted by identity, and these leases are other identities'.
            put: newChunk(chunk.case, progressNameOf(chunk), undefined, added, dueAt, by),
            if: [['pk', 'absent']],
          },
          { update: progressOfChunk(chunk), add: [['expected', 1]] },
          { check: keyOf(chunk), if: [['state', '=', 'open']] },
        ])
        if (written.ok) chunks.push({ chunk: name, issuer })
      }
    }
  }
  return { chunks, amendments }
}

/** Ranges of up to so many keys that together cover what one issuer has in a partition. */
export async function* rangesOf(
  table: Table,
  pk: string,
  issuer: string,
  most = RANGE,
): AsyncGenerator<{ pk: string; from: string; to: string }> {
  const { from, to } = issuerRange(issuer)
  let after: string | undefined
  do {
    const page = await table.query({ pk, limit: most, to, ...(after === undefined ? { from } : { after }) })
    const first = page.items[0]
    const last = page.items.at(-1)
    if (first !== undefined && last !== undefined) yield { pk, from: first.sk, to: last.sk }
    after = page.next
  } while (after !== undefined)
}

async function amendEach(
  table: Table,
  parent: Chunk,
  pk: string,
  issuer: string,
  because: 'child' | 'bystander',
  dueAt: string,
  by: Actor,
): Promise<string[]> {
  const amended: string[] = []
  let after: string | undefined
  do {
    const page = await table.query({
      pk,
      limit: 100,
      ...(after === undefined ? { from: issuerRange(issuer).from } : { after }),
      to: issuerRange(issuer).to,
    })
    for (const item of page.items) {
      const { lease } = leaseOfSort(item.sk)
      // Among the holders of its credential is the lease itself, and its amendment is this very one.
      if (amendment(parent.case, lease).sk === parent.sk) continue
      const written = await table.transact([
        {
          put: newAmendment(parent.case, { id: lease, issuer }, because, dueAt, by),
          if: [['pk', 'absent']],
        },
        { update: caseItem(parent.case), add: [[['amendments', 'expected'], 1]] },
        { check: keyOf(parent), if: [['state', '=', 'open']] },
      ])
      // One that is there has its message: holders of one credential would send for each other for ever.
      if (written.ok) amended.push(lease)
    }
    after = page.next
  } while (after !== undefined)
  return amended
}

/** Only a delegable lease can be a parent; its child scope is fenced before its children are listed. */
export async function fenceChildren(table: Table, lease: Lease, caseId: string, by: Actor): Promise<ScopeRef> {
  const scope: ScopeRef = `parent#${parentKey(lease.id)}`
  await fence(table, fenceItem(scope), caseId, by)
  return scope
}

/** What a worker knows at the end of an attempt that did not finish its chunk. */
export interface ChunkState {
  readonly step: Chunk['step']
  readonly applied: Readonly<Record<string, { outcome: 'revoked' | 'absent'; evidence: Evidence }>>
  readonly dueAt: string
  readonly spends: boolean
  readonly said: string
}

/** Stores where the chunk stands and when it is due again; its message can then be deleted (protocol 14). */
export async function postponeChunk(table: Table, chunk: Chunk, state: ChunkState, by: Actor): Promise<void> {
  await table.write({
    update: keyOf(chunk),
    set: [
      ['step', state.step],
      ['applied', plain(state.applied)],
      ['duePk', DUE.chunk],
      ['dueAt', state.dueAt],
      ['said', state.said],
      ['resent', 0],
      ['by', actor(by)],
      ...(chunk.intent === undefined ? [] : [['intent', plain(chunk.intent)] as const]),
    ],
    add: state.spends ? [['attempts', 1]] : [],
    if: [
      ['state', '=', chunk.state],
      ['step', '=', chunk.step],
    ],
  })
}

/**
 * The intent of the chunk's first attempt, for all of its leases that go the short way: the write that precedes the
 * effect. `false`: another worker was faster, or the chunk is not as it was read; nothing may be cut on this word.
 */
export async function intendChunk(table: Table, chunk: Chunk, intent: Intent, by: Actor): Promise<boolean> {
  const done = await table.write({
    update: keyOf(chunk),
    set: [
      ['intent', plain(intent)],
      ['by', actor(by)],
    ],
    if: [
      ['state', '=', 'open'],
      ['step', '=', 'revoke'],
      ['attempts', '=', 0],
      ['intent', 'absent'],
    ],
  })
  return done.ok
}

/** Pushes the due time of a chunk whose message was sent again, so that the sweeper does not send it each minute. */
export async function pushDue(table: Table, item: ItemKey, seen: string, dueAt: string): Promise<boolean> {
  const done = await table.write({
    update: keyOf(item),
    set: [['dueAt', dueAt]],
    add: [['resent', 1]],
    if: [['dueAt', '=', seen]],
  })
  return done.ok
}

/** Puts off what nobody can handle, whatever it is: nothing else of it is touched. */
export async function putOff(table: Table, item: ItemKey, seen: string, dueAt: string): Promise<void> {
  await table.write({ update: item, set: [['dueAt', dueAt]], if: [['dueAt', '=', seen]] })
}

/** Takes a parked lease's turn, so that one sweep tries it. */
export async function pushParked(table: Table, lease: Lease, dueAt: string): Promise<boolean> {
  const done = await table.write({ update: leaseItem(lease.id), set: [['dueAt', dueAt]], if: [['v', '=', lease.v]] })
  return done.ok
}

/** The lease of an amendment where it is not there, or stands as parked: either may change until the amendment ends. */
export interface Seen {
  readonly missing?: string | undefined
  readonly parkedAs?: Lease | undefined
}

/**
 * The chunk's end: each of its leases has a final outcome. It is counted in its progress (an amendment: in its case)
 * exactly once, in one transaction.
 *
 * @param afterwards when what the cuts left behind is deleted, and when it is looked at again; absent where nothing is left to do
 * @param observations what was only watched, for the report
 * @param seen the lease of an amendment as it was counted: if it comes, or is tried again, before this very write, the
 *   amendment does not end
 * @returns whether it ended here and now
 */
export async function finishChunk(
  table: Table,
  chunk: Chunk,
  counts: OutcomeCounts,
  applied: ChunkState['applied'],
  afterwards: Afterwards | undefined,
  ttl: number,
  by: Actor,
  observations: readonly Observation[] = [],
  { missing, parkedAs }: Seen = {},
): Promise<boolean> {
  const dueAt = afterwards === undefined ? undefined : nextOf(afterwards)
  const ended: Update = {
    update: keyOf(chunk),
    set: [
      ['state', 'done'],
      ['counts', plain(counts)],
      ['applied', plain(applied)],
      ['step', dueAt === undefined ? 'over' : 'watch'],
      ['by', actor(by)],
      ...(missing === undefined ? [] : ([['missing', true]] as const)),
      ...(afterwards === undefined || dueAt === undefined ? ([['ttl', ttl]] as const) : beginWatch(afterwards, dueAt)),
    ],
    remove: dueAt === undefined ? ['duePk', 'dueAt'] : [],
    if: [
      ['state', '=', 'open'],
      // Another worker may have met a lease that came after this one had looked, and noted that it watches it.
      chunk.notes === undefined ? ['notes', 'absent'] : ['notes', '=', chunk.notes],
    ],
  }
  const add = Object.entries(counts)
    .filter(([, count]) => count !== 0)
    .map(([word, count]) => [[chunk.kind === 'amendment' ? 'amendCounts' : 'counts', word], count] as const)
  const counted: Update =
    chunk.kind === 'amendment'
      ? { update: caseItem(chunk.case), add: [[['amendments', 'done'], 1], ...add], set: [['by', actor(by)]] }
      : { update: progressOfChunk(chunk), add: [['done', 1], ...add], set: [['by', actor(by)]] }
  const bystanders = Object.values(counts).reduce((sum, count) => sum + count, 0)
  const named: Update[] =
    chunk.because === 'bystander' && chunk.kind === 'chunk' && bystanders > 0
      ? [{ update: caseItem(chunk.case), add: [['bystanders', bystanders]] }]
      : []
  const stillSo: Check[] = [
    ...(missing === undefined ? [] : [{ check: leaseItem(missing), if: [['pk', 'absent']] as const }]),
    ...(parkedAs === undefined ? [] : [{ check: leaseItem(parkedAs.id), if: [['v', '=', parkedAs.v]] as const }]),
  ]
  const done = await table.transact([ended, counted, ...named, ...stillSo, ...countObservations(chunk, observations, ttl, by)])
  return done.ok
}

const TRANSACTION_SIZE = 50

/** Groups of writes, each in one transaction, that hold only while a chunk or amendment is open. */
export const whileOpen =
  (table: Table, chunk: ItemKey) =>
  async (groups: readonly (readonly Write[])[]): Promise<boolean[]> => {
    const results: boolean[] = []
    for (const group of groups)
      results.push((await table.transact([...group, { check: keyOf(chunk), if: [['state', '=', 'open']] }])).ok)
    return results
  }

/**
 * What a chunk writes about leases that it may only watch. No claim precedes it that a second worker could read, so it
 * holds only while the chunk is open, and the chunk counts that it was written: whoever has counted before does not end it.
 */
export const noteWhileOpen =
  (table: Table, chunk: ItemKey) =>
  async (groups: readonly (readonly Write[])[]): Promise<boolean[]> => {
    const counted: Update = { update: keyOf(chunk), add: [['notes', 1]], if: [['state', '=', 'open']] }
    const note = async (some: readonly (readonly Write[])[]): Promise<boolean> =>
      (await table.transact([...some.flat(), counted])).ok
    const results: boolean[] = []
    for (const some of batches(groups)) {
      if (await note(some)) results.push(...some.map(() => true))
      else if (some.length === 1) results.push(false)
      else for (const group of some) results.push(await note([group]))
    }
    return results
  }

/** As many groups as one transaction takes, in their order, none of which writes what another one writes. */
function batches(groups: readonly (readonly Write[])[]): (readonly Write[])[][] {
  const all: (readonly Write[])[][] = []
  let batch: (readonly Write[])[] = []
  let names = new Set<string>()
  for (const group of groups) {
    const own = group.map(nameOf)
    if (batch.length > 0 && (names.size + own.length > TRANSACTION_SIZE || own.some((name) => names.has(name)))) {
      all.push(batch)
      batch = []
      names = new Set()
    }
    batch.push(group)
    for (const name of own) names.add(name)
  }
  if (batch.length > 0) all.push(batch)
  return all
}

/**
 * Independent conditional writes, each group in one or two operations that belong together. Single ones need no
 * transaction; the others are tried in a few large transactions, and where one fails, its groups are tried each by
 * itself, so that a lease that somebody else changed harms no other. The results are in order.
 */
export async function writeGroups(table: Table, groups: readonly (readonly Write[])[]): Promise<boolean[]> {
  const results: boolean[] = new Array(groups.length).fill(false)
  const named = new Map<string, number>()
  for (const write of groups.flat()) named.set(nameOf(write), (named.get(nameOf(write)) ?? 0) + 1)
  const [singles, others]: [number[], number[]] = [[], []]
  for (const [index, group] of groups.entries())
    (group.length === 1 && group.every((write) => named.get(nameOf(write)) === 1) ? singles : others).push(index)
  await writeTogether(table, groups, others, results)
  if (singles.length === 0) return results
  const written = await table.writeEach(singles.flatMap((index) => groups[index] ?? []))
  for (const [place, index] of singles.entries()) results[index] = written[place]?.ok === true
  return results
}

/** Groups in their order: two of them may name one credential, and the second is decided as if the first were written. */
async function writeTogether(
  table: Table,
  groups: readonly (readonly Write[])[],
  indexes: readonly number[],
  results: boolean[],
): Promise<void> {
  let batch: number[] = []
  let names = new Set<string>()
  let size = 0
  const flush = async () => {
    if (batch.length === 0) return
    const tried = batch
    batch = []
    names = new Set()
    size = 0
    const together = await table.transact(tried.flatMap((index) => groups[index] ?? []))
    if (together.ok) {
      for (const index of tried) results[index] = true
      return
    }
    if (tried.length === 1) return
    for (const index of tried) {
      const group = groups[index] ?? []
      const [only] = group
      const done: Pick<WriteResult, 'ok'> =
        group.length === 1 && only !== undefined ? await table.write(only) : await table.transact(group)
      results[index] = done.ok
    }
  }
  for (const index of indexes) {
    const group = groups[index] ?? []
    if (size + group.length > TRANSACTION_SIZE) await flush()
    // Two groups on one credential cannot stand in one transaction: DynamoDB refuses a repeated key.
    if (group.some((write) => names.has(nameOf(write)))) await flush()
    batch.push(index)
    for (const write of group) names.add(nameOf(write))
    size += group.length
  }
  await flush()
}

const nameOf = (write: Write): string => {
  const { pk, sk } = 'put' in write ? write.put : 'update' in write ? write.update : write.delete
  return JSON.stringify([pk, sk])
}
