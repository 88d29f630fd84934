import type { WorkMessage } from '../contracts/message.ts'
import { hasLapsed, lapsesAt } from '../domain/lapse.ts'
import type { Actor, Case, Chunk, Lease } from '../domain/model.ts'
import { after, later, secondsUntil, ttl } from '../domain/time.ts'
import type { Definition, Provider, ProviderModule, Warrant } from '../providers/contract.ts'
import { IssuerError } from '../providers/contract.ts'
import { unitName } from '../store/keys.ts'
import { credentialOf } from '../store/leases.ts'
import type { Afterwards } from '../store/watch.ts'
import { keepCase, nextOf, postponeWatch, resurrect } from '../store/watch.ts'
import { covered, leasesCovered } from '../store/work.ts'
import type { issuerConnections, Reached } from './issuer.ts'
import { eachAnswered, subjectsOf, unknowable } from './issuer.ts'
import type { Again, WorkPorts } from './ports.ts'
import type { Tidied } from './tidy.ts'
import { tidy } from './tidy.ts'

/** What was cut is looked at again after this, then after twice as long each time, up to a day; in seconds. */
const FIRST_SECONDS = 300
const LONGEST_SECONDS = 86400
/** A lease that could not be reopened at once is looked at again after this, in seconds. */
const BUSY_SECONDS = 60
/** Where the issuer is not configured, it is looked again after this. */
const UNSEEN_SECONDS = 3600
const LOOK_AFTER_SECONDS = 120
const DAY_SECONDS = 86400
/** How long a case stays beyond its watch: it is kept by each look that finds it due. */
const CASE_DAYS = 366

const intervalSeconds = (watches: number): number => Math.min(FIRST_SECONDS * 2 ** Math.min(watches, 20), LONGEST_SECONDS)

/**
 * What is left to do when a chunk is done: its remains are deleted after the soak time, and its cuts are watched until
 * they would have expired by themselves (or so long as a case is kept, where that is shorter).
 *
 * @param cut the leases that this very case cut
 * @param soakSeconds absent where it is not known: then nothing is deleted
 * @returns `undefined` where nothing is left to do
 */
export function afterwardsOf(
  definition: Pick<Definition, 'capabilities'>,
  cut: readonly Lease[],
  soakSeconds: number | undefined,
  retentionDays: number,
  now: string,
): Afterwards | undefined {
  if (cut.length === 0) return undefined
  const kept = after(now, (retentionDays + CASE_DAYS - 1) * DAY_SECONDS)
  const natural = cut.reduce((latest, lease) => later(latest, lapsesAt(lease) ?? kept), now)
  const watchUntil = natural < kept ? natural : kept
  const watches = definition.capabilities.verifies && watchUntil > after(now, FIRST_SECONDS)
  const afterwards: Afterwards = {
    ...(definition.capabilities.tidies && soakSeconds !== undefined ? { tidyAt: after(now, soakSeconds) } : {}),
    ...(watches ? { watchAt: after(now, FIRST_SECONDS), watchUntil } : {}),
  }
  return nextOf(afterwards) === undefined ? undefined : afterwards
}

interface Context {
  readonly module: ProviderModule
  readonly ports: WorkPorts
  readonly issuers: ReturnType<typeof issuerConnections>
}

/** One visit of a chunk whose leases are all final: deletes what is due, looks whether all is still dead, says when to come back. */
export async function watchChunk(context: Context, chunk: Chunk, current: Case, reached: Reached, by: Actor): Promise<Again> {
  const { ports, issuers } = context
  const { table, limits } = ports
  const keep = ttl(after(by.at, limits.retentionDays * DAY_SECONDS))
  const due = nextOf(chunk)
  if (due !== undefined && due > by.at) {
    if (reached.kind === 'connected') await reached.end()
    return secondsUntil(due, by.at)
  }
  const postpone = async (next: Afterwards, dueAt: string | undefined, said: string, watches: number, spends: boolean) => {
    await postponeWatch(table, chunk, { ...next, watches, said, spends }, dueAt, keep, by)
    return dueAt === undefined ? undefined : Math.max(1, secondsUntil(dueAt, by.at))
  }
  const watches = chunk.watches ?? 0
  if (reached.kind === 'not-now') return postpone(chunk, reached.until, reached.said, watches, false)
  const warrant: Warrant = {
    case: current.id,
    lane: current.lane,
    epoch: chunk.epoch ?? 0,
    fencedAt: current.fencedAt ?? current.openedAt,
  }
  const isDue = (moment: string | undefined) => moment !== undefined && moment <= by.at
  try {
    const tidied: Tidied = isDue(chunk.tidyAt)
      ? await tidy(context, chunk, current, reached.kind === 'connected' ? reached : { said: reached.said }, warrant, by)
      : { tidyAt: chunk.tidyAt, said: chunk.said ?? '', spends: false }
    let watchAt = chunk.watchAt
    let looked = watches
    if (isDue(watchAt)) {
      // Where nobody could ask, nothing was seen, and it does not count; an issuer that is gone for good is asked for each hour.
      const seen = reached.kind === 'connected' ? await look(context, chunk, current, reached.provider, warrant, by) : 'unseen'
      if (seen !== 'unseen') looked += 1
      const next = after(by.at, seen === 'busy' ? BUSY_SECONDS : seen === 'unseen' ? UNSEEN_SECONDS : intervalSeconds(looked))
      watchAt = seen === 'nothing' || next >= (chunk.watchUntil ?? next) ? undefined : next
    }
    const next = { tidyAt: tidied.tidyAt, watchAt }
    if (nextOf(next) !== undefined) await keepCase(table, current, ttl(after(by.at, CASE_DAYS * DAY_SECONDS)))
    return await postpone(next, nextOf(next), tidied.said, looked, tidied.spends)
  } catch (error) {
    if (!(error instanceof IssuerError)) throw error
    const { until, said } = await issuers.failed(chunk.issuer, error, by, 'p2')
    return await postpone(chunk, until, said, watches, false)
  } finally {
    if (reached.kind === 'connected') await reached.end()
  }
}

/**
 * Asks the issuer, batch by batch, whether what this chunk cut is still dead; nothing is written where it is.
 *
 * @returns `nothing`: there is nothing left to look at; `busy`: one that lives could not be taken yet
 */
async function look(
  { module, ports }: Context,
  chunk: Chunk,
  current: Case,
  provider: Provider,
  warrant: Warrant,
  by: Actor,
): Promise<'nothing' | 'dead' | 'busy'> {
  const { table } = ports
  let seen: 'nothing' | 'dead' | 'busy' = 'nothing'
  for await (const ids of covered(table, chunk, module.definition.limits.batch)) {
    const found = await leasesCovered(table, ids)
    const cut = [...found.values()].filter(
      (lease) =>
        lease.claims[current.id] === unitName(chunk) && lease.ended?.case === current.id && lease.ended.outcome === 'revoked',
    )
    // One that is being given back may come to be cut after all.
    if (cut.some(({ state }) => state === 'restoring') && seen === 'nothing') seen = 'dead'
    const dead = cut.filter((lease) => lease.state === 'ended' && lease.deletion === undefined && !hasLapsed(lease, by.at))
    const { subjects } = await subjectsOf(module, dead, ports.open)
    if (subjects.length === 0) continue
    if (seen === 'nothing') seen = 'dead'
    const answers = await eachAnswered(
      subjects.map(({ subject }) => subject),
      (batch) => provider.verify(batch, warrant),
      unknowable,
    )
    for (const [index, { lease }] of subjects.entries()) {
      const answer = answers[index]
      if (answer?.status !== 'alive' || (await rightlyAlive(ports, lease))) continue
      const told = { ...by, why: `it lives again: ${answer.said}` }
      const keep = ttl(after(by.at, (ports.limits.retentionDays + CASE_DAYS) * DAY_SECONDS))
      const done = await resurrect(table, lease, current, after(by.at, LOOK_AFTER_SECONDS), keep, told)
      if (done === 'busy') seen = 'busy'
      if (done !== 'done') continue
      ports.log.error('a credential that was cut lives again', { case: current.id, lease: lease.id, issuer: lease.issuer })
      const message: WorkMessage = { v: 1, kind: 'amend', case: current.id, lease: lease.id, issuer: lease.issuer }
      await ports.dispatch.work(current.lane, [message])
    }
  }
  return seen
}

/** A shared credential that was given back to others is theirs, though this grant of it stays ended. */
async function rightlyAlive({ table }: WorkPorts, lease: Lease): Promise<boolean> {
  if (lease.sharing !== 'shared') return false
  const credential = await credentialOf(table, lease.fingerprint)
  return credential !== undefined && (credential.restoring !== undefined || (!credential.cutting && credential.holders > 0))
}
