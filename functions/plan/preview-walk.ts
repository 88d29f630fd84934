import type { ScopeRef } from '../contracts/scope.ts'
import type { Fate, Gist } from '../domain/foresee.ts'
import type { Found, FoundPage } from '../store/gists.ts'
import { leasesIn, pointedIn } from '../store/gists.ts'
import { scopeOfChildren, scopeOfCredential, shardPartition } from '../store/keys.ts'
import type { Table } from '../store/table.ts'
import type { Facts } from './preview-facts.ts'
import type { Range, Reach } from './preview-reach.ts'
import { Recent } from './recent.ts'

/**
 * Walks through all leases that a case would meet and counts each once, without remembering which: whether a lease is
 * met, and from where it is counted, follows from the lease, its ancestors and the holders of its credential alone, as
 * they stand in the table. So the walk can stop anywhere and go on in another request, and its memory does not grow.
 *
 * - What lies under the scope itself is counted where the scope is listed; a lease has one place there.
 * - What was delegated has one parent, and is counted from it, unless it lies under the scope itself.
 * - Holders of a shared credential are counted together, from one of them. In a lifecycle case that is the first one in
 *   the order of the pointers that gives its place back; the last one is what is cut, if nobody outside keeps a place.
 *   In a compromise it is the one with the shortest way from the scope (then the first in the order of the pointers):
 *   ways may run in circles, the shortest one cannot.
 */

/** How a lease is met: under the scope, delegated from what is met, or only as a holder of a credential that is cut. */
export type Way = 'named' | 'descendant' | 'bystander'

export interface WalkSink {
  lease(lease: Gist, fate: Fate, way: Way): Promise<void>
  /** Holders outside of the case that keep one credential. */
  sharers(count: number): void
  /** A connection was too wide to follow. */
  inexact(): void
}

/** One listing under way. The frames of a lane lie on each other: the last one goes on first. */
export interface Frame {
  /**
   * `base`: a shard of the scope. `children`: what was delegated from `of`. `first`: whether the holders of `of`'s
   * credential are counted from `of`. `holders`: these holders.
   */
  readonly kind: 'base' | 'children' | 'first' | 'holders'
  readonly pk: string
  readonly of: Gist | undefined
  /** Steps from the scope to whatever `of` was met by. */
  readonly rank: number
  /** The sort key that was worked on last. */
  after: string
  /** Places at the credential that nobody of this case gives back, and those of leases that are only watched. */
  outsiders: number
  watched: number
  /** The last ones met so far that give their place back, or would: not counted before it is known whether one comes behind. */
  pending: Gist | undefined
  pendingWatched: Gist | undefined
  buffer: Found[]
  ended: boolean
}
export interface Lane {
  readonly range: Range
  readonly frames: Frame[]
}

/** Leases of an identity read at a time; pointers, whose leases are one batch of reads. */
const PAGE = 500
const POINTERS = 100
/** First pages of shared and delegated scopes that are kept, by the leases in them. */
const KEPT = 10_000
/** First pages that one lane reads side by side. */
const AHEAD = 8
/** Steps of delegation and sharing that a way has at most: far more than anybody delegates. */
export const LONGEST_WAY = 200
/** Holders of one credential that are looked at for the way to one other lease. */
const MOST_HOLDERS = 5_000

export function walkOver(
  table: Table,
  facts: Facts,
  reach: Reach,
  namesCredential: (fingerprint: string) => boolean,
  sink: WalkSink,
  overdue: () => boolean,
) {
  const { cuts, fateOf } = facts
  const first = new Recent<Promise<FoundPage>>(KEPT)
  /** From which lease the holders of a credential are counted, where that is known. */
  const firsts = new Recent<string>(KEPT)
  const ways = new Recent<boolean>(KEPT)

  const frame = (kind: Frame['kind'], pk: string, of: Gist | undefined, rank: number): Frame => ({
    kind,
    pk,
    of,
    rank,
    after: '',
    outsiders: 0,
    watched: 0,
    pending: undefined,
    pendingWatched: undefined,
    buffer: [],
    ended: false,
  })
  const begin = (range: Range): Lane => ({
    range,
    frames: [frame('base', shardPartition(range.scope, range.shard), undefined, -1)],
  })
  const childrenOf = (of: Gist, rank: number) => frame('children', shardPartition(scopeOfChildren(of.id), 0), of, rank)
  const frameOn = (kind: Exclude<Frame['kind'], 'base'>, of: Gist, rank: number) =>
    kind === 'children' ? childrenOf(of, rank) : frame(kind, holdersIn(of.fingerprint), of, rank)
  const holdersIn = (fingerprint: string) => shardPartition(scopeOfCredential(fingerprint), 0)

  /** Works on a lane until it is at its end; `false`: time ran out before, and the lane says how far it has come. */
  async function run(lane: Lane): Promise<boolean> {
    const { frames } = lane
    let read = 0
    for (let top = frames.at(-1); top !== undefined; top = frames.at(-1)) {
      if (top.buffer.length === 0 && !top.ended) {
        // Whoever is called when it is late already must come on all the same.
        if (read > 0 && overdue()) return false
        read += 1
        await fill(top, lane.range.scope)
      }
      const found = top.buffer.shift()
      if (found === undefined) {
        if (!top.ended) continue
        frames.pop()
        await ended(top, frames)
        continue
      }
      top.after = found.sk
      if (found.lease !== undefined) await met(top, found.sk, found.lease, frames)
    }
    return true
  }

  async function fill(into: Frame, scope: ScopeRef): Promise<void> {
    const leases = into.kind === 'base' && scope.startsWith('identity#')
    const page = leases ? await leasesIn(table, into.pk, into.after, PAGE) : await pointers(into.pk, into.after)
    into.buffer = [...page.found]
    into.ended = page.next === undefined
    if (page.next !== undefined && page.found.length === 0) into.after = page.next
    await readAhead(page.found)
  }

  const pointers = (pk: string, after: string): Promise<FoundPage> =>
    after === '' ? firstPage(pk) : pointedIn(table, pk, after, POINTERS)

  function firstPage(pk: string): Promise<FoundPage> {
    const known = first.get(pk)
    if (known !== undefined) return known
    const reading = pointedIn(table, pk, '', POINTERS)
    reading.then(
      ({ found }) => first.set(pk, reading, found.length + 1),
      () => {},
    )
    return reading
  }

  /** The first pages that the leases of a page will be asked for, a few side by side. */
  async function readAhead(found: readonly Found[]): Promise<void> {
    const wanted = new Set<string>()
    for (const { lease } of found) {
      if (lease === undefined) continue
      if (lease.delegable) wanted.add(shardPartition(scopeOfChildren(lease.id), 0))
      if (lease.sharing === 'shared' && !namesCredential(lease.fingerprint)) wanted.add(holdersIn(lease.fingerprint))
    }
    const queue = [...wanted].filter((pk) => first.get(pk) === undefined)
    await Promise.all(
      Array.from({ length: Math.min(AHEAD, queue.length) }, async () => {
        for (let pk = queue.shift(); pk !== undefined && !overdue(); pk = queue.shift()) await firstPage(pk)
      }),
    )
  }

  async function met(top: Frame, sk: string, lease: Gist, frames: Frame[]): Promise<void> {
    switch (top.kind) {
      case 'base':
        if (await reach.base(lease)) await visit(lease, 'named', -1, frames)
        return
      case 'children':
        if (lease.parent === top.of?.id && !(await reach.base(lease))) await visit(lease, 'descendant', top.rank, frames)
        return
      case 'first':
        return cuts ? shorter(top, sk, lease, frames) : earlier(top, lease, frames)
      case 'holders':
        return cuts ? holder(top, lease, frames) : giver(top, lease)
    }
  }

  async function ended(done: Frame, frames: Frame[]): Promise<void> {
    const { of } = done
    if (of === undefined) return
    if (done.kind === 'holders' && !cuts) return last(done, of)
    // Nobody has a shorter way to this credential.
    if (done.kind === 'first' && cuts) frames.push(frame('holders', done.pk, of, done.rank + 1))
  }

  /** Counts a lease that was met by the scope or from its parent, or leaves that to the holders of its credential. */
  async function visit(lease: Gist, way: 'named' | 'descendant', rank: number, frames: Frame[]): Promise<void> {
    const fate = await fateOf(lease)
    if (fate === undefined) return
    if (rank >= LONGEST_WAY) return sink.inexact()
    if (!cuts) {
      if (fate.joins && lease.delegable) frames.push(childrenOf(lease, 0))
      if (!takesPart(fate)) return sink.lease(lease, fate, way)
      const from = firsts.get(lease.fingerprint)
      if (from === undefined || from === lease.id) frames.push(frame('first', holdersIn(lease.fingerprint), lease, rank))
      return
    }
    if (expands(lease, fate)) {
      const from = firsts.get(lease.fingerprint)
      if (from === undefined || from === lease.id) frames.push(frame('first', holdersIn(lease.fingerprint), lease, rank))
      return
    }
    if (way === 'descendant' && mayBeHeldWith(lease) && (await credentialWithin(lease.fingerprint, rank - 1))) return
    await sink.lease(lease, fate, way)
    if (fate.joins && lease.delegable) frames.push(childrenOf(lease, rank + 1))
  }

  // ------------------------------------------------------------------------------------ lifecycle cases

  /** It has a place at a shared credential, and gives it back, or would if it were not only watched. */
  const takesPart = (fate: Fate): boolean => (fate.watched ?? fate).whileShared !== undefined

  const hasPlace = ({ sharing, unheld, state }: Gist): boolean =>
    sharing === 'shared' && unheld !== true && (state === 'live' || state === 'registering' || state === 'late')

  async function isMember(lease: Gist): Promise<boolean> {
    if (await reach.base(lease)) return true
    const parent = lease.parent === undefined ? undefined : await facts.lease(lease.parent)
    if (parent === undefined || !parent.delegable) return false
    const known = ways.get(parent.id)
    if (known !== undefined) return known
    return ways.set(parent.id, (await fateOf(parent))?.joins === true && (await isMember(parent)))
  }

  /** A holder in the order of the pointers, up to the one in question. */
  async function earlier(top: Frame, lease: Gist, frames: Frame[]): Promise<void> {
    const { of } = top
    if (of === undefined) return
    const fate = hasPlace(lease) ? await fateOf(lease) : undefined
    if (lease.id === of.id) {
      firsts.set(of.fingerprint, of.id)
      frames.pop()
      const holders = frame('holders', top.pk, of, 0)
      holders.after = top.after
      holders.buffer = top.buffer
      holders.ended = top.ended
      holders.outsiders = top.outsiders
      frames.push(holders)
      await giver(holders, lease)
    } else if (fate !== undefined && takesPart(fate) && (await isMember(lease))) {
      firsts.set(of.fingerprint, lease.id)
      frames.pop()
    } else if (hasPlace(lease)) top.outsiders += 1
  }

  async function giver(top: Frame, lease: Gist): Promise<void> {
    if (!hasPlace(lease)) return
    const fate = await fateOf(lease)
    if (fate === undefined || !takesPart(fate) || !(await isMember(lease))) {
      top.outsiders += 1
      return
    }
    const { pending, pendingWatched } = top
    if (fate.watched !== undefined) {
      top.watched += 1
      if (pendingWatched !== undefined) await count(pendingWatched, true)
      top.pendingWatched = lease
    } else {
      if (pending !== undefined) await count(pending, !(await facts.isCutting(lease.fingerprint)))
      top.pending = lease
    }
  }

  /** Who is last is cut, unless somebody keeps his place. */
  async function last(done: Frame, of: Gist): Promise<void> {
    const cutting = await facts.isCutting(of.fingerprint)
    if (done.pending !== undefined) await count(done.pending, !cutting && done.outsiders + done.watched > 0)
    if (done.pendingWatched !== undefined) await count(done.pendingWatched, !cutting && done.outsiders > 0)
    if (done.outsiders > 0 && !cutting) sink.sharers(done.outsiders)
  }

  async function count(lease: Gist, othersHold: boolean): Promise<void> {
    const fate = await fateOf(lease)
    if (fate === undefined) return
    const way = (await reach.base(lease)) ? 'named' : 'descendant'
    if (!othersHold) return sink.lease(lease, fate, way)
    const { livesUntil: _, ...rest } = fate
    if (fate.watched?.whileShared !== undefined)
      await sink.lease(lease, { ...fate, watched: { would: fate.watched.whileShared } }, way)
    else await sink.lease(lease, { ...rest, ...fate.whileShared }, way)
  }

  // ---------------------------------------------------------------------------------------- compromises

  /** All who hold its credential join the case with it. */
  const expands = (lease: Gist, fate: Fate): boolean =>
    lease.sharing === 'shared' && fate.joins && fate.word !== 'exempt' && !namesCredential(lease.fingerprint)

  /** It does not take others along, and can be among those that others take along. */
  const mayBeHeldWith = (lease: Gist): boolean =>
    (lease.sharing === 'shared' || lease.unheld === true) && !namesCredential(lease.fingerprint)

  /** Another holder: does a way lead to the credential by it that is shorter than that by the one in question? */
  async function shorter(top: Frame, sk: string, lease: Gist, frames: Frame[]): Promise<void> {
    const { of, rank } = top
    if (of === undefined) return
    const named = rank < 0
    if (lease.id === of.id) {
      if (!named) return
      firsts.set(of.fingerprint, of.id)
      frames.pop()
      frames.push(frame('holders', top.pk, of, 0))
      return
    }
    const fate = await fateOf(lease)
    if (fate === undefined || !expands(lease, fate)) return
    if (await reach.base(lease)) {
      firsts.set(of.fingerprint, lease.id)
      frames.pop()
    } else if (!named && (await parentWithin(lease, before(sk, of) ? rank : rank - 1))) frames.pop()
  }

  const before = (sk: string, of: Gist): boolean => sk < `L#${of.issuer}#${of.id}`

  async function holder(top: Frame, lease: Gist, frames: Frame[]): Promise<void> {
    const fate = await fateOf(lease)
    if (fate === undefined) return
    const { rank } = top
    const named = await reach.base(lease)
    if (!expands(lease, fate)) {
      // It is counted where it was met by itself.
      if (named || (await parentWithin(lease, rank))) return
      await sink.lease(lease, fate, 'bystander')
      if (fate.joins && lease.delegable) frames.push(childrenOf(lease, rank + 1))
      return
    }
    await sink.lease(lease, fate, named ? 'named' : (await parentWithin(lease, rank)) ? 'descendant' : 'bystander')
    if (lease.delegable) frames.push(childrenOf(lease, rank))
  }

  /** Whether the lease was delegated from one that is met in so many steps at most. */
  async function parentWithin(lease: Gist, rank: number): Promise<boolean> {
    if (rank < 0 || lease.parent === undefined) return false
    const parent = await facts.lease(lease.parent)
    if (parent === undefined || !parent.delegable) return false
    const name = `${parent.id}|${rank}`
    return ways.get(name) ?? ways.set(name, await within(parent, rank))
  }

  /** Each step back is one less, so circles end. */
  async function within(lease: Gist, rank: number): Promise<boolean> {
    const fate = await fateOf(lease)
    if (fate?.joins !== true) return false
    if (await reach.base(lease)) return true
    if (expands(lease, fate)) return credentialWithin(lease.fingerprint, rank)
    if (rank > 0 && (await parentWithin(lease, rank - 1))) return true
    return rank > 0 && mayBeHeldWith(lease) && credentialWithin(lease.fingerprint, rank - 1)
  }

  async function credentialWithin(fingerprint: string, rank: number): Promise<boolean> {
    if (rank < 0) return false
    const name = `${fingerprint}||${rank}`
    const known = ways.get(name)
    if (known !== undefined) return known
    let after = ''
    for (let seen = 0; ; ) {
      const page = await pointers(holdersIn(fingerprint), after)
      for (const { sk, lease } of page.found) {
        after = sk
        if (lease === undefined) continue
        const fate = await fateOf(lease)
        if (fate === undefined || !expands(lease, fate)) continue
        if ((await reach.base(lease)) || (await parentWithin(lease, rank - 1))) return ways.set(name, true)
      }
      if (page.next === undefined) return ways.set(name, false)
      after = page.next
      seen += page.found.length
      if (seen >= MOST_HOLDERS) {
        sink.inexact()
        return ways.set(name, false)
      }
    }
  }

  /** Whether a lease that a request names as one to go on from is one that this case meets. */
  const isMet = (lease: Gist, rank: number): Promise<boolean> => (cuts ? within(lease, rank) : isMember(lease))

  return { begin, run, isMet, frameOn }
}
export type Walk = ReturnType<typeof walkOver>
