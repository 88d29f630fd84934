import * as z from 'zod/mini'
import type { Draft, Known, Moments, Seen } from '../domain/discovery.ts'
import { joinMarks, judge, legible, noFindings } from '../domain/discovery.ts'
import { fingerprint as fingerprintOf } from '../domain/keys.ts'
import type { Discovery } from '../domain/model.ts'
import { after, instant, ttl } from '../domain/time.ts'
import type { Definition, Discovered, Listed, ProviderModule } from '../providers/contract.ts'
import { IssuerError } from '../providers/contract.ts'
import type { NewFinding } from '../store/discoveries.ts'
import { moveDiscovery, noteFinding, seenOn } from '../store/discoveries.ts'
import { identityItem } from '../store/keys.ts'
import { knownOf } from '../store/known.ts'
import type { Path, Write } from '../store/table.ts'
import type { Discovering, Step } from './discover-steps.ts'
import type { issuerConnections, Reached } from './issuer.ts'

/** Credentials of one page, where one call serves a page. */
const PAGE = 500
/** A provider that answers more than this was not asked for it. */
const MOST_LISTED = 2000
/** An issuer that lists so many pages lists without end. */
const MOST_PAGES = 100_000
const LONGEST_CURSOR = 8000
const LONGEST_SHOWN = 512
const LONGEST_TARGET = 8000
/** What a pass saw is needed until the pass is over, in seconds. */
const SEEN_SECONDS = 3 * 86_400

/** A listed credential, by the name that a registration would give it. */
export interface Named {
  readonly fingerprint: string
  readonly listed: Listed
  readonly seen: Seen
}

/** The pages of one visit: its connection is opened with the first and given back by `end`. */
export function listPages(module: ProviderModule, shared: Discovering, issuers: ReturnType<typeof issuerConnections>) {
  const { definition } = module
  const { table, now, by, limits } = shared
  const most = (definition.limits.callsPerLease ?? 0) > 0 ? definition.limits.batch : PAGE
  let reached: Extract<Reached, { kind: 'connected' }> | undefined

  async function next(current: Discovery): Promise<Step> {
    if (reached === undefined) {
      const way = await issuers.reach(current.issuer, by(), undefined, undefined, 'p2')
      if (way.kind === 'unknown') return { kind: 'failed', said: way.said }
      if (way.kind === 'not-now') return { kind: 'wait', until: way.until, said: way.said }
      reached = way
    }
    const { provider, issuer } = reached
    if (issuer.v !== current.issuerVersion)
      return { kind: 'failed', said: 'the issuer was declared anew meanwhile: what was listed before may be of another one' }
    if (provider.discover === undefined)
      return { kind: 'failed', said: `provider ${definition.name} cannot list its credentials` }
    const answer = await asked(() => provider.discover?.(current.cursor, most), current.issuer)
    return answer.status === 'page' ? take(current, answer) : 'kind' in answer ? answer : without(answer)
  }

  /** What an issuer as a whole answers, and what is not an answer. */
  async function asked(
    call: () => Promise<Discovered> | undefined,
    issuer: string,
  ): Promise<Discovered | (Step & { status?: never })> {
    try {
      return (await call()) ?? { status: 'unknown', said: 'the provider gave no answer' }
    } catch (error) {
      if (error instanceof IssuerError) return { kind: 'wait', ...(await issuers.failed(issuer, error, by(), 'p2')) }
      // Its text may come from the issuer and hold anything.
      return { kind: 'again', said: 'the provider failed unexpectedly' }
    }
  }

  const without = (answer: Exclude<Discovered, { status: 'page' }>): Step =>
    answer.status === 'unknown'
      ? { kind: 'failed', said: answer.said }
      : { kind: 'again', said: answer.said, afterSeconds: answer.afterSeconds }

  /** Compares one page with the table and stores what it says together with where the next one begins. */
  async function take(current: Discovery, page: Extract<Discovered, { status: 'page' }>): Promise<Step> {
    const { listed, next: cursor } = page
    if (listed.length > MOST_LISTED) return { kind: 'failed', said: `the provider listed ${listed.length} credentials at once` }
    if (cursor !== undefined && (cursor === current.cursor || cursor.length > LONGEST_CURSOR || current.pages >= MOST_PAGES))
      return { kind: 'failed', said: 'the list does not come to an end' }
    const at = now()
    const moments: Moments = {
      now: at,
      youngAfter: after(current.startedAt, -limits.registrationSeconds),
      endedBefore: after(at, -(definition.limits.propagationSeconds + limits.registrationSeconds)),
    }
    const { named, unreadable } = namedOf(definition, current.issuer, listed)
    // Read after the page: what was registered in between is known.
    const known = await knownOf(
      table,
      named.map(({ fingerprint }) => fingerprint),
      shared.unreadable,
    )
    const counts = { listed: listed.length, registered: 0, dormant: 0, unsettled: 0, unreadable }
    const drafts: { readonly named: Named; readonly draft: Draft }[] = []
    for (const one of named) {
      const there = known.has(one.fingerprint) ? known.get(one.fingerprint) : NOTHING
      if (there === undefined) {
        counts.unreadable += 1
        continue
      }
      const judged = judge(one.seen, there, moments)
      if (judged.as !== 'found') counts[judged.as] += 1
      else if (there.leases.some(({ state }) => state === 'live' || state === 'registering')) counts.registered += 1
      for (const draft of judged.drafts) drafts.push({ named: one, draft })
    }
    const own = await unfenced(drafts)
    const noted = note(
      current,
      own.map(({ named: one, draft }) => findingOf(one, draft, at)),
      shared,
    )
    const seen = named.filter(({ fingerprint }) => known.has(fingerprint)).map(({ fingerprint }) => fingerprint)
    const moved = await moveDiscovery(
      table,
      current,
      {
        set: [
          ['state', cursor === undefined ? 'comparing' : 'listing'],
          ...(cursor === undefined ? ([['listedAt', at]] as const) : ([['cursor', cursor]] as const)),
        ],
        add: [['pages', 1], ...addedTo('counts', counts), ...noted.add],
        remove: cursor === undefined ? ['cursor'] : [],
      },
      [
        ...noted.writes,
        ...(seen.length === 0 ? [] : [seenOn(current, joinMarks(seen), ttl(after(current.startedAt, SEEN_SECONDS)), by())]),
      ],
      shared.lookAt(),
      by(),
    )
    return moved === undefined ? { kind: 'overtaken' } : { kind: 'moved', current: moved }
  }

  /** Without what a fence of its identity explains: a containment shuts what is live. */
  async function unfenced(drafts: readonly { readonly named: Named; readonly draft: Draft }[]) {
    const keys = [...new Set(drafts.flatMap(({ draft }) => draft.held?.identityKey ?? []))]
    if (keys.length === 0) return drafts
    const items = await table.getMany(keys.map(identityItem))
    const fenced = new Map(keys.map((key, index) => [key, Number(items[index]?.fencedThrough ?? 0)]))
    return drafts.filter(({ draft: { held } }) => held === undefined || (fenced.get(held.identityKey) ?? 0) < held.epoch)
  }

  return {
    next,
    async end(): Promise<void> {
      const over = reached
      reached = undefined
      await over?.end()
    },
  }
}

/** The table does not know it. */
const NOTHING: Known = { leases: [], complete: true }

/** Thrown where a name needs a secret, which no list holds. */
class Unnamed extends Error {
  override readonly name = 'Unnamed'
}
const noMac = (): never => {
  throw new Unnamed('the name of a credential holds a secret')
}

/** The listed credentials by their fingerprints; those that do not fit their provider are counted. */
export function namedOf(
  definition: Definition,
  issuer: string,
  listed: readonly Listed[],
): { readonly named: Named[]; readonly unreadable: number } {
  const named: Named[] = []
  for (const one of listed) {
    const target = z.safeParse(definition.target, one.target)
    if (!target.success) continue
    try {
      const credential = definition.credential(target.data, undefined, noMac)
      const plain = JSON.parse(JSON.stringify(target.data)) as Record<string, unknown>
      named.push({
        fingerprint: fingerprintOf(issuer, credential),
        listed: one,
        seen: {
          target: plain,
          usable: one.usable,
          own: one.own === undefined ? undefined : legible(one.own, LONGEST_SHOWN),
          createdAt: moment(one.createdAt),
          expiresAt: moment(one.expiresAt),
        },
      })
    } catch (error) {
      if (!(error instanceof Unnamed)) throw error
    }
  }
  return { named, unreadable: listed.length - named.length }
}

const moment = (text: string | undefined): string | undefined => {
  const at = text === undefined ? Number.NaN : Date.parse(text)
  return Number.isNaN(at) || Math.abs(at) > LAST ? undefined : instant(at)
}
const LAST = Date.parse('9999-12-31T23:59:59.999Z')

function findingOf({ fingerprint, listed, seen }: Named, { kind, said, lease }: Draft, at: string): NewFinding {
  const { identity } = listed
  const lastUsedAt = moment(listed.lastUsedAt)
  return {
    of: kind,
    fingerprint,
    shown: legible(listed.shown, LONGEST_SHOWN),
    said,
    standing: 'provisional',
    firstSeenAt: at,
    seenAt: at,
    usable: seen.usable,
    target: JSON.stringify(seen.target).length > LONGEST_TARGET ? {} : seen.target,
    ...(seen.own === undefined ? {} : { own: seen.own }),
    ...(identity === undefined ? {} : { identity: legible(identity, 2048) }),
    ...(seen.createdAt === undefined ? {} : { createdAt: seen.createdAt }),
    ...(lastUsedAt === undefined ? {} : { lastUsedAt }),
    ...(seen.expiresAt === undefined ? {} : { expiresAt: seen.expiresAt }),
    ...(lease === undefined ? {} : { lease }),
  }
}

/**
 * Findings as they are stored: of each kind those for which there is room; all are counted. For what was made since the
 * discovery before there is as much again, so that many old ones hide no new one.
 */
export function note(
  current: Discovery,
  findings: readonly NewFinding[],
  { keep, by, keepUntil }: Pick<Discovering, 'keep' | 'by' | 'keepUntil'>,
): { readonly writes: Write[]; readonly add: (readonly [Path, number])[] } {
  const found = noFindings()
  const kept = noFindings()
  const writes = new Map<string, Write>()
  for (const finding of findings) {
    const { of, fingerprint, createdAt } = finding
    const name = `${of}#${fingerprint}`
    if (writes.has(name)) continue
    found[of] += 1
    const isNew = createdAt !== undefined && current.previousAt !== undefined && createdAt > current.previousAt
    if (current.kept[of] + kept[of] >= (isNew ? 2 * keep : keep)) continue
    kept[of] += 1
    writes.set(name, noteFinding(current, finding, keepUntil(), by()))
  }
  return { writes: [...writes.values()], add: [...addedTo('found', found), ...addedTo('kept', kept)] }
}

export const addedTo = (name: string, counts: Readonly<Record<string, number>>): (readonly [Path, number])[] =>
  Object.entries(counts).flatMap(([one, count]) => (count === 0 ? [] : [[[name, one], count] as const]))
