import type { Outcome } from '../contracts/outcome.ts'
import type { Settings } from '../contracts/settings.ts'
import { key } from '../domain/keys.ts'
import type { Actor, Case, Chunk, Identity, Issuer, Lease } from '../domain/model.ts'
import type { Restraint } from '../domain/modes.ts'
import { modeOfLease, observesSome, onlyObserves } from '../domain/modes.ts'
import { after } from '../domain/time.ts'
import { isExempt } from '../domain/treatment.ts'
import { actor, plain } from './identities.ts'
import { issuerOf } from './issuers.ts'
import { caseItem, DUE, identityItem, LIST, leaseItem, leaseOfSort, scopeOfCredential, shardPartition } from './keys.ts'
import { holdersOf, mayCount } from './leases.ts'
import type { Item, ItemKey, Table, Update } from './table.ts'

/** Leases that a case may only watch: what refuses them nothing, how they are noted, and what the report is made of. */

/** An expiry that was only watched is looked at again so often: by then another mode may be in force. */
const AGAIN_SECONDS = 86400

/** Outcomes of watching that a lease keeps, so that its item never outgrows the table: the oldest are forgotten. */
const MOST_WATCHED = 100

/** Holders of one shared credential that are read at most. */
const MOST_HOLDERS = 1000

/**
 * The outcome of a lease that was only watched: neither state nor generation moves. What expired is not met by the next
 * sweep again, but once a day, and what was never acknowledged gets an expiry like any other.
 */
export function observeOperation(
  lease: Lease,
  current: Pick<Case, 'id' | 'cause'>,
  unit: string,
  outcome: Outcome,
  mode: Restraint['mode'],
  by: Actor,
): Update {
  const again = after(by.at, AGAIN_SECONDS)
  const seen =
    current.cause === 'expiry' ? lease.expiresAt : current.cause === 'registration-deadline' ? lease.registerBy : undefined
  return {
    update: leaseItem(lease.id),
    set: [
      [['outcomes', current.id], plain(outcome)],
      [['claims', current.id], unit],
      ['by', actor(by)],
      ...(seen === undefined ? [] : ([['watchedDue', { at: seen, mode }]] as const)),
      // What came late, or back by itself, has no due time: it is looked at each day, and ends at its expiry at the latest.
      ...(lease.state === 'late' || lease.state === 'resurrected'
        ? ([
            ['duePk', DUE.expiry(lease.issuer, lease.id)],
            ['dueAt', again],
          ] as const)
        : seen === undefined
          ? []
          : ([['dueAt', again]] as const)),
    ],
    remove: forgotten(lease).flatMap((id) => [
      ['outcomes', id],
      ['claims', id],
    ]),
    if: [
      ['state', '=', lease.state],
      ['generation', '=', lease.generation],
      // A renewal sets the due time too, and beats this.
      ['expiresAt', '=', lease.expiresAt],
      mayCount(lease, { case: current.id, unit }),
    ],
  }
}

/** Cases of which a lease that is watched for months forgets that they watched it. Their counts and records stay. */
const forgotten = ({ outcomes }: Lease): string[] =>
  Object.entries(outcomes)
    .filter(([, { outcome }]) => outcome === 'observed')
    .sort(([, one], [, another]) => (one.at < another.at ? 1 : -1))
    .slice(MOST_WATCHED - 1)
    .map(([id]) => id)

/** Looks at a lease again in a day: it was reported, and the same mode is still in force. */
export async function watchOn(table: Table, lease: Lease, now: string): Promise<boolean> {
  const done = await table.write({
    update: leaseItem(lease.id),
    set: [['dueAt', after(now, AGAIN_SECONDS)]],
    if: [['v', '=', lease.v]],
  })
  return done.ok
}

/** Looks at an orphan again in a day: its deadline is over, and its case may only watch. */
export async function watchOrphan(table: Table, identity: Identity, now: string): Promise<void> {
  await table.write({
    update: identityItem(identity.key),
    set: [['dueAt', after(now, AGAIN_SECONDS)]],
    if: [
      ['v', '=', identity.v],
      ['orphan', 'exists'],
    ],
  })
}

/** The leases that hold a shared credential; `undefined` instead of what would be too many to read. */
async function someHolders(table: Table, fingerprint: string): Promise<Lease[] | undefined> {
  const found: Lease[] = []
  for await (const lease of holdersOf(table, fingerprint)) {
    if (holds(lease)) found.push(lease)
    if (found.length > MOST_HOLDERS) return undefined
  }
  return found
}

const holds = ({ state }: Lease): boolean => state === 'live' || state === 'registering' || state === 'late'

/**
 * How many holders of a shared credential a case has only watched: without them the last holder would be told to be
 * given back, where it would be cut. Where there are too many to read, none counts.
 */
export async function watchedHolders(table: Table, caseId: string, fingerprint: string): Promise<number> {
  const holders = await someHolders(table, fingerprint)
  return holders?.filter((one) => one.outcomes[caseId]?.outcome === 'observed').length ?? 0
}

/** Whether a holder of the credential may only be watched: then nobody may cut it. Too many to read count as yes. */
export async function heldByWatched(table: Table, fingerprint: string, watched: (lease: Lease) => boolean): Promise<boolean> {
  const holders = await someHolders(table, fingerprint)
  return holders === undefined || holders.some(watched)
}

/** Whether somebody holds the credential whom no case touches: then no case cuts it. */
export async function heldByExempt(table: Table, settings: Pick<Settings, 'exempt'>, fingerprint: string): Promise<boolean> {
  if ((settings.exempt ?? []).length === 0) return false
  for await (const lease of holdersOf(table, fingerprint)) if (holds(lease) && isExempt(settings, lease.identity)) return true
  return false
}

/**
 * Whether a compromise may mark a credential as being cut: not where any of its holders may only be watched or is exempt,
 * for nobody would cut it, and a mark would refuse them new grants.
 *
 * @param issuer where it was issued; absent: found by its leases, which are all of one issuer
 */
export async function mayMark(
  table: Table,
  current: Pick<Case, 'mode' | 'modes'>,
  fingerprint: string,
  settings: Pick<Settings, 'exempt'>,
  issuer?: Issuer,
): Promise<boolean> {
  if (current.mode === 'observe' || (await heldByExempt(table, settings, fingerprint))) return false
  const { items } = await table.query({ pk: shardPartition(scopeOfCredential(fingerprint), 0), prefix: 'L#', limit: 1 })
  const [first] = items
  if (first === undefined) return true
  const { issuer: name } = leaseOfSort(first.sk)
  const configured = issuer ?? (await issuerOf(table, name))
  if (onlyObserves(current, name, configured)) return false
  const watched = (lease: Lease) => modeOfLease(current, lease, configured) === 'observe'
  return !(observesSome(current, name, configured) && (await heldByWatched(table, fingerprint, watched)))
}

/** What would have become of the watched leases of one issuer and owner. */
export interface Observation {
  readonly issuer: string
  readonly owner: string
  readonly revoked: number
  readonly released: number
  readonly unsupported: number
  /** Seconds since 1970: when retention removes it; absent while its case is not over. */
  readonly ttl?: number
  /** One of them. */
  readonly sample: { readonly lease: string; readonly identity: string; readonly consumer: string; readonly said: string }
}

/** Pairs of issuer and owner that one transaction notes; what is beyond them is counted under one name. */
const MOST_PAIRS = 60
/** No owner or issuer can be called so: names do not begin with white space. */
export const OTHERS = ' others'

/** Sums up what was observed of a case, by issuer and owner. */
export function observationsOf(caseId: string, leases: Iterable<Lease>): Observation[] {
  const found: Observation[] = []
  for (const lease of leases) {
    const outcome = lease.outcomes[caseId]
    if (outcome?.observed === undefined) continue
    found.push({
      issuer: lease.issuer,
      owner: lease.owner,
      revoked: 0,
      released: 0,
      unsupported: 0,
      [outcome.observed.would]: 1,
      sample: { lease: lease.id, identity: lease.identity, consumer: lease.consumer, said: outcome.evidence.said },
    })
  }
  return summed(found)
}

/** One observation for each pair of issuer and owner. */
export function summed(observations: readonly Observation[]): Observation[] {
  const pairs = new Map<string, Observation>()
  for (const one of observations) {
    const known = `${one.issuer}#${one.owner}`
    const named = pairs.has(known) || pairs.size < MOST_PAIRS ? one : { ...one, issuer: OTHERS, owner: OTHERS }
    const name = `${named.issuer}#${named.owner}`
    const before = pairs.get(name)
    pairs.set(name, {
      ...named,
      revoked: (before?.revoked ?? 0) + one.revoked,
      released: (before?.released ?? 0) + one.released,
      unsupported: (before?.unsupported ?? 0) + one.unsupported,
      sample: before?.sample ?? one.sample,
    })
  }
  return [...pairs.values()]
}

const PREFIX = 'OBSERVED#'
const observedItem = (pk: string, { issuer, owner }: Observation): ItemKey => ({
  pk,
  sk: `${PREFIX}${issuer}#${key('owner', owner)}`,
})

/** Adds to what a partition (of a shard, or of a case) has observed; part of the transaction that counts it there. */
export const noteObservations = (pk: string, observations: readonly Observation[], by: Actor): Update[] =>
  observations.map((one) => ({
    update: observedItem(pk, one),
    setOnce: [
      ['kind', 'observed'],
      ['issuer', one.issuer],
      ['owner', one.owner],
      ['sample', plain(one.sample)],
    ],
    set: [['by', actor(by)], ...(one.ttl === undefined ? [] : ([['ttl', one.ttl]] as const))],
    add: (['revoked', 'released', 'unsupported'] as const).map((word) => [word, one[word]] as const),
  }))

/** Puts the case into the report, with its totals; part of the transaction that counts the observations in the case. */
export function listObserved(caseId: string, observations: readonly Observation[], by: Actor): Update {
  const ttl = observations.reduce<number | undefined>(
    (latest, one) => Math.max(latest ?? 0, one.ttl ?? 0) || undefined,
    undefined,
  )
  return {
    update: { pk: caseItem(caseId).pk, sk: 'OBSERVED' },
    setOnce: [
      ['kind', 'observed-case'],
      ['case', caseId],
      ['listPk', LIST.observed],
      ['listAt', by.at],
    ],
    set: [['by', actor(by)], ...(ttl === undefined ? [] : ([['ttl', ttl]] as const))],
    add: (['revoked', 'released', 'unsupported'] as const).map(
      (word) => [word, observations.reduce((sum, one) => sum + one[word], 0)] as const,
    ),
  }
}

/** What a partition has observed, summed up. */
export async function observedIn(table: Table, pk: string, most = Number.POSITIVE_INFINITY): Promise<Observation[]> {
  const found: Observation[] = []
  let cursor: string | undefined
  do {
    const page = await table.query({
      pk,
      limit: Math.min(200, most - found.length),
      ...(cursor === undefined ? { prefix: PREFIX } : { after: cursor, to: `${PREFIX}~` }),
    })
    found.push(...page.items.map(observationOf))
    cursor = page.next
  } while (cursor !== undefined && found.length < most)
  return found
}

function observationOf(item: Item): Observation {
  const { sample } = item
  const text = (value: unknown) => (typeof value === 'string' ? value : '')
  const part = (name: string) =>
    typeof sample === 'object' && sample !== null && name in sample
      ? text(Object.entries(sample).find(([one]) => one === name)?.[1])
      : ''
  return {
    issuer: text(item.issuer),
    owner: text(item.owner),
    revoked: Number(item.revoked ?? 0),
    released: Number(item.released ?? 0),
    unsupported: Number(item.unsupported ?? 0),
    ...(typeof item.ttl === 'number' ? { ttl: item.ttl } : {}),
    sample: { lease: part('lease'), identity: part('identity'), consumer: part('consumer'), said: part('said') },
  }
}

/** The writes that count a finished chunk's observations: in its shard, or for an amendment in its case. */
export function countObservations(
  chunk: Pick<Chunk, 'pk' | 'kind' | 'case'>,
  observations: readonly Observation[],
  ttl: number,
  by: Actor,
): Update[] {
  if (observations.length === 0) return []
  const kept = observations.map((one) => ({ ...one, ttl }))
  const noted = noteObservations(chunk.pk, kept, by)
  return chunk.kind === 'amendment' ? [...noted, listObserved(chunk.case, kept, by)] : noted
}
