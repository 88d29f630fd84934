import { noOutcomes } from '../contracts/outcome.ts'
import type { ScopeRef } from '../contracts/scope.ts'
import type { Actor, Case, Chunk, Coverage, Identity, Progress, Unit } from '../domain/model.ts'
import { actor, plain } from './identities.ts'
import { as, read } from './items.ts'
import { caseItem, casePartition, chunkItem, DUE, progressItem, unitItem } from './keys.ts'
import { listObserved, noteObservations, observedIn, summed } from './observed.ts'
import type { Item, Table, Write } from './table.ts'

/** What a case covers, scope by scope: units, the progress of their shards, and the chunks that shards are cut into. */

/** Stores the epoch that the case fences through, once, before it fences (protocol 5). */
export async function openUnit(
  table: Table,
  current: Case,
  scope: ScopeRef,
  identity: Identity | undefined,
  by: Actor,
): Promise<Unit> {
  const key = unitItem(current.id, scope)
  const known = await read(table, 'unit', key)
  if (known !== undefined) return known
  const put: Item = {
    ...key,
    kind: 'unit',
    case: current.id,
    scope,
    identity: identity?.id,
    epoch: identity?.epoch,
    state: 'opened',
    shards: [],
    by: actor(by),
  }
  const operations: Write[] = [{ put, if: [['pk', 'absent']] }]
  if (identity !== undefined)
    operations.push({
      update: caseItem(current.id),
      add: [['identities', 1]],
      // A case on an identity keeps that one's epoch, not one of its other names.
      ...(current.scope.kind === 'identity' && current.scope.id === identity.id
        ? { set: [['epoch', identity.epoch]] as const }
        : {}),
    })
  const done = await table.transact(operations)
  if (done.ok) return as('unit', { ...put, v: 1 })
  const other = await read(table, 'unit', key)
  if (other === undefined) throw new Error('a unit of the case could not be opened')
  return other
}

/** The units of a case, page by page. */
export async function unitsOf(
  table: Table,
  id: string,
  after: string | undefined,
  limit: number,
): Promise<{ units: Unit[]; next?: string }> {
  const page = await table.query({
    pk: casePartition(id),
    limit,
    ...(after === undefined ? { prefix: 'UNIT#' } : { after, to: 'UNIT#~' }),
  })
  return { units: page.items.map((item) => as('unit', item)), ...(page.next === undefined ? {} : { next: page.next }) }
}

/** Marks a unit that ends here: an orphan, a protected identity with a case of its own, one that moved away, one that is exempt. */
export async function setUnitAside(
  table: Table,
  current: Case,
  unit: Unit,
  state: 'orphan' | 'split' | 'moved' | 'exempt',
  by: Actor,
): Promise<void> {
  await table.transact([
    {
      update: unitItem(current.id, unit.scope as ScopeRef),
      set: [
        ['state', state],
        ['by', actor(by)],
      ],
      if: [['state', '=', 'opened']],
    },
    { update: caseItem(current.id), add: COUNTED[state] },
  ])
}

/** What a unit that is set aside counts as in its case. */
const COUNTED = {
  orphan: [['orphans', 1]],
  split: [],
  moved: [['identities', -1]],
  exempt: [['exempt', 1]],
} as const

/** The shards of a unit that held anything, each with a progress of its own, counted in the case in one transaction. */
export async function listUnit(table: Table, current: Case, unit: Unit, shards: readonly number[], by: Actor): Promise<void> {
  const scope = unit.scope as ScopeRef
  await table.transact([
    listed(current, unit, shards, by),
    ...shards.map(
      (shard): Write => ({ put: newProgress(current.id, scope, shard, unit.epoch, false, 0, by), if: [['pk', 'absent']] }),
    ),
    { update: caseItem(current.id), add: [[['scans', 'expected'], shards.length]] },
  ])
}

/**
 * A unit whose shards were read to their end, with all its chunks, in one transaction: one progress counts them, under the
 * number of the first shard that held anything, and no more of it will come.
 *
 * @returns whether it was listed here and now
 */
export async function listWhole(
  table: Table,
  current: Case,
  unit: Unit,
  shard: number,
  chunks: readonly NewChunk[],
  dueAt: string,
  by: Actor,
): Promise<boolean> {
  const scope = unit.scope as ScopeRef
  const done = await table.transact([
    listed(current, unit, [shard], by),
    { put: newProgress(current.id, scope, shard, unit.epoch, true, chunks.length, by), if: [['pk', 'absent']] },
    ...chunks.map(
      (chunk): Write => ({
        put: newChunk(current.id, `${scope}#${shard}`, unit.epoch, chunk, dueAt, by),
        if: [['pk', 'absent']],
      }),
    ),
    { update: caseItem(current.id), add: [[['scans', 'expected'], 1]] },
  ])
  return done.ok
}

const listed = (current: Case, unit: Unit, shards: readonly number[], by: Actor): Write => ({
  update: unitItem(current.id, unit.scope as ScopeRef),
  set: [
    ['state', 'listed'],
    ['shards', [...shards]],
    ['by', actor(by)],
  ],
  if: [['state', '=', 'opened']],
})

export const newProgress = (
  caseId: string,
  scope: ScopeRef,
  shard: number,
  epoch: number | undefined,
  sealed: boolean,
  expected: number,
  by: Actor,
): Item => ({
  ...progressItem(caseId, `${scope}#${shard}`),
  kind: 'progress',
  case: caseId,
  scope,
  shard,
  cursor: '',
  sealed,
  expected,
  done: 0,
  counts: noOutcomes(),
  complete: false,
  epoch,
  by: actor(by),
})

export const progressOf = (table: Table, caseId: string, progress: string): Promise<Progress | undefined> =>
  read(table, 'progress', progressItem(caseId, progress))

export interface NewChunk {
  readonly name: string
  readonly issuer: string
  readonly covers: Coverage
  readonly because: Chunk['because']
}

export const newChunk = (
  caseId: string,
  progress: string,
  epoch: number | undefined,
  chunk: NewChunk,
  dueAt: string,
  by: Actor,
): Item => ({
  ...chunkItem(caseId, progress, chunk.name),
  kind: 'chunk',
  case: caseId,
  issuer: chunk.issuer,
  covers: plain(chunk.covers),
  epoch,
  step: 'revoke',
  state: 'open',
  attempts: 0,
  applied: {},
  counts: noOutcomes(),
  because: chunk.because,
  duePk: DUE.chunk,
  dueAt,
  by: actor(by),
})

/**
 * Chunks are written together with the shard's cursor, conditional on the cursor read (protocol 6), so a planner that
 * was killed goes on behind it and two planners never cut the same range into different pieces.
 */
export async function writeChunks(
  table: Table,
  progress: Progress,
  chunks: readonly NewChunk[],
  cursor: string,
  seal: boolean,
  dueAt: string,
  by: Actor,
): Promise<boolean> {
  const name = `${progress.scope}#${progress.shard}`
  const done = await table.transact([
    {
      update: progressItem(progress.case, name),
      set: [
        ['cursor', cursor],
        ['sealed', seal],
        ['by', actor(by)],
      ],
      add: [['expected', chunks.length]],
      if: [
        ['cursor', '=', progress.cursor],
        ['sealed', '=', false],
      ],
    },
    ...chunks.map(
      (chunk): Write => ({ put: newChunk(progress.case, name, progress.epoch, chunk, dueAt, by), if: [['pk', 'absent']] }),
    ),
  ])
  return done.ok
}

/** A shard whose chunks are all done is counted in its case exactly once. */
export async function completeProgress(table: Table, progress: Progress, by: Actor): Promise<boolean> {
  const { counts } = progress
  const pk = progressItem(progress.case, `${progress.scope}#${progress.shard}`).pk
  const observed = counts.observed > 0 ? summed(await observedIn(table, pk)) : []
  const done = await table.transact([
    {
      update: progressItem(progress.case, `${progress.scope}#${progress.shard}`),
      set: [
        ['complete', true],
        ['by', actor(by)],
      ],
      if: [
        ['complete', '=', false],
        ['sealed', '=', true],
        ['done', '=', progress.expected],
        ['expected', '=', progress.expected],
      ],
    },
    {
      update: caseItem(progress.case),
      add: [
        [['scans', 'done'], 1],
        ...Object.entries(counts)
          .filter(([, count]) => count !== 0)
          .map(([word, count]) => [['counts', word], count] as const),
      ],
    },
    ...(observed.length === 0
      ? []
      : [...noteObservations(casePartition(progress.case), observed, by), listObserved(progress.case, observed, by)]),
  ])
  return done.ok
}
