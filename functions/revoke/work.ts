import type { WorkMessage } from '../contracts/message.ts'
import type { Outcome, OutcomeCounts } from '../contracts/outcome.ts'
import { noOutcomes } from '../contracts/outcome.ts'
import { backoffSeconds } from '../domain/backoff.ts'
import { lapsesAt } from '../domain/lapse.ts'
import type { Actor, Case, Chunk, Credential, Issuer, Lease } from '../domain/model.ts'
import { parked, prove, settle } from '../domain/settle.ts'
import { mayBeAttempted, maybeShort } from '../domain/short.ts'
import { after, instant, later, secondsUntil, ttl } from '../domain/time.ts'
import type { Answer, Liveness, Provider, ProviderModule, Warrant } from '../providers/contract.ts'
import { IssuerError } from '../providers/contract.ts'
import { Unusable } from '../runtime/unusable.ts'
import { issuerOf } from '../store/issuers.ts'
import { unitName } from '../store/keys.ts'
import { answered, credentialsOf, finish, holdersOf, leasesOf, noteCut } from '../store/leases.ts'
import { observationsOf } from '../store/observed.ts'
import type { Write } from '../store/table.ts'
import type { Around } from '../store/visits.ts'
import { visited } from '../store/visits.ts'
import { noteSoak } from '../store/watch.ts'
import type { ChunkState, Seen } from '../store/work.ts'
import {
  amendmentOf,
  chunkNameOf,
  chunkOf,
  covered,
  finishChunk,
  leasesCovered,
  postponeChunk,
  progressNameOf,
  writeGroups,
} from '../store/work.ts'
import type { Taken } from './gather.ts'
import { gather } from './gather.ts'
import type { Away, Method, Reached } from './issuer.ts'
import { eachAnswered, issuerConnections, subjectsOf, unclear, unknowable } from './issuer.ts'
import type { Watch } from './observe.ts'
import { watchOver } from './observe.ts'
import type { Again, WorkPorts } from './ports.ts'
import type { Short } from './short.ts'
import { goShort } from './short.ts'
import { afterwardsOf, watchChunk } from './watch.ts'

/** A lease that another case is at is asked after this often, in seconds; it spends no attempt. */
const WAIT_SECONDS = 5
const PAGE = 100
/** Visibility serves waits below a minute; longer ones stand in the table (protocol 14). */
export const SHORT_WAIT_SECONDS = 60

type UnitMessage = Extract<WorkMessage, { kind: 'chunk' | 'amend' }>
type Applied = Chunk['applied']

/** What became of the leases of a chunk in one attempt. */
interface Round {
  applied: Record<string, Applied[string]>
  /** Leases without a final outcome. */
  open: number
  waiting: number
  /** The longest back-off hint of an issuer, in seconds. */
  hint: number
  /** Something was tried and failed: the attempt counts. */
  spent: boolean
  /** The next moment at which something is known to be due, if nothing failed. */
  next: string | undefined
  said: string
}

/**
 * Works on one chunk or amendment until each of its leases has a final outcome, or says when to come back. Every step
 * may be repeated: what was claimed stays claimed, what is final is only counted, and the chunk's end is conditional.
 */
export function chunkWorker(module: ProviderModule, ports: WorkPorts) {
  const { table, clock, random, limits } = ports
  const issuers = issuerConnections(module, ports)
  const { definition } = module
  const proves = { verifies: definition.capabilities.verifies, propagationSeconds: definition.limits.propagationSeconds }
  const now = () => instant(clock.now())
  /** The same actor, now: an attempt may take seconds, and the trail tells when each thing was true. */
  const at = (by: Actor): Actor => ({ ...by, at: now() })

  async function load(message: UnitMessage): Promise<{ chunk: Chunk; current: Case; around: Around } | undefined> {
    const found = await visited(table, message)
    const { chunk } = found
    if (chunk === undefined) throw new Unusable(message.kind === 'chunk' ? 'chunk-gone' : 'amendment-gone')
    if (chunk.step === 'over') return undefined
    const around = found.around()
    // What only watches what it cut may outlive the retention of its case.
    if (around.current === undefined && chunk.step === 'watch') return undefined
    if (around.current === undefined) throw new Unusable('case-gone')
    return { chunk, current: around.current, around }
  }

  async function work(message: UnitMessage): Promise<Again> {
    const loaded = await load(message)
    if (loaded === undefined) {
      ports.log.info('nothing left to do', { case: message.case, kind: message.kind, issuer: message.issuer })
      return undefined
    }
    const { chunk, current } = loaded
    const by: Actor = {
      who: `revoke/${definition.name}`,
      case: current.id,
      trigger: current.type,
      why: current.reason,
      at: now(),
    }
    // A message may name another issuer than its chunk: then what was read with it is about that one.
    const around = chunk.issuer === message.issuer ? loaded.around : undefined
    const issuer = around === undefined ? await issuerOf(table, chunk.issuer) : around.issuer
    const watch =
      chunk.step === 'watch' ? undefined : watchOver(table, current, chunk.issuer, issuer, definition, ports.catalog, by.at)
    // An issuer that is down, or not configured, holds up nothing that may only be watched.
    const watched = watch === undefined ? undefined : await watchOnly(chunk, current, issuer, watch, by)
    if (watched !== undefined) return watched.again
    // What is looked after when all is cut is in no hurry, whatever its case was.
    const lane = chunk.step === 'watch' ? 'p2' : current.lane
    const calling = watch === undefined ? around?.calling : undefined
    const reached = await issuers.reach(chunk.issuer, by, current, issuer, lane, calling)
    if (chunk.step === 'watch') return watchChunk({ module, ports, issuers }, chunk, current, reached, by)
    if (reached.kind === 'unknown') return park(chunk, current, reached.said, by, watch)
    // Its first visit claims the leases and finds their descendants even where the issuer does not answer: they may hang on issuers that do.
    if (reached.kind === 'not-now' && chunk.said !== undefined) return notNow(chunk, reached, by)
    return attempt(chunk, current, reached, by, watch)
  }

  /**
   * Notes what may only be watched, before the issuer is asked for anything. What this very case had begun to cut before
   * the mode forbade it is parked: whether it lives is not known, so it is shown and tried again.
   *
   * @returns `undefined` where there is more to do than to watch
   */
  async function watchOnly(
    chunk: Chunk,
    current: Case,
    issuer: Issuer | undefined,
    watch: Watch,
    by: Actor,
  ): Promise<{ again: Again } | undefined> {
    let left = 0
    let waiting = 0
    const said = 'the mode of its issuer or environment forbids to go on with what was begun'
    for await (const ids of covered(table, chunk, PAGE)) {
      const gathered = await gather(ports, current, chunk, ids, false, limits, by, { watch, only: true })
      left += gathered.left
      waiting += gathered.waiting
      const results = await writeGroups(
        table,
        gathered.taken.map(({ lease }) => [
          finish(lease, current.id, parked(lease, said, by.at), 0, after(by.at, limits.parkedRetrySeconds), by),
        ]),
      )
      waiting += results.filter((result) => !result).length
    }
    if (left > 0) return undefined
    if (waiting === 0) return { again: await end(chunk, current, issuer, by, watch) }
    const state = { applied: { ...chunk.applied }, open: 0, waiting, hint: 0, spent: false, next: undefined, said: 'watched' }
    return { again: await postpone(chunk, state, by) }
  }

  /** A short wait is the queue's; the sweeper comes after it, not beside it. A serial queue has no waits of its own. */
  const dueAfter = (seconds: number, by: Actor): string =>
    after(by.at, seconds < SHORT_WAIT_SECONDS && !definition.serial ? seconds + SHORT_WAIT_SECONDS : seconds)

  /** What one page asks of the issuer: the cut, and its proof where that follows at once. */
  const callsOf = (applied: Applied): readonly Method[] =>
    Object.keys(applied).length > 0 || (definition.capabilities.verifies && definition.limits.propagationSeconds === 0)
      ? ['revoke', 'verify']
      : ['revoke']

  async function notNow(
    chunk: Chunk,
    reached: { readonly until: string; readonly said: string },
    by: Actor,
    applied: Applied = chunk.applied,
  ): Promise<Again> {
    const seconds = Math.max(1, secondsUntil(reached.until, by.at))
    await postponeChunk(
      table,
      chunk,
      { step: stepOf(applied), applied, dueAt: dueAfter(seconds, by), spends: false, said: reached.said },
      by,
    )
    return seconds
  }

  async function attempt(
    found: Chunk,
    current: Case,
    reached: Exclude<Reached, { kind: 'unknown' }>,
    by: Actor,
    watch: Watch | undefined,
  ): Promise<Again> {
    let chunk = found
    const round: Round = { applied: { ...chunk.applied }, open: 0, waiting: 0, hint: 0, spent: false, next: undefined, said: '' }
    const lastAttempt = chunk.attempts + 1 >= limits.attempts
    let kept = Object.keys(chunk.applied).length
    let away: Away | undefined
    let short: Short = { kind: 'none' }
    try {
      if (reached.kind === 'connected' && watch === undefined && !lastAttempt && maybeShort(chunk, current, proves)) {
        short = await goShort({ module, ports }, chunk, current, reached, warrantOf(chunk, current), round, by)
        if (short.kind === 'busy') return WAIT_SECONDS
        if (short.kind === 'away') return await notNow(chunk, short.away, by)
        if (short.kind === 'went') {
          away = short.away
          chunk = short.chunk
          if (!short.rest && short.known.size === 0 && round.open === 0)
            return await conclude(chunk, current, reached.issuer, short.counts, short.cut, [], by)
          const ids = [...short.known.keys()].map((id) => ({ id }))
          // No other attempt follows: the claim says of each only what is known already.
          const { taken, waiting } = await gather(ports, current, chunk, ids, false, limits, by)
          round.waiting += waiting
          await cut(chunk, current, reached.provider, reached.issuer, taken, lastAttempt, round, by, short.known)
        }
      }
      const tried = short.kind === 'went' ? short.tried : undefined
      for await (const listed of covered(table, chunk, Math.min(PAGE, definition.limits.batch))) {
        if (short.kind === 'went' && !short.rest) break
        const ids = tried === undefined ? listed : listed.filter(({ id }) => !tried.has(id))
        if (ids.length === 0) continue
        // What is cut is kept before the next page: a worker that runs out of time would cut it again, each time anew.
        if (Object.keys(round.applied).length > kept) {
          chunk = await keep(chunk, round, by)
          kept = Object.keys(round.applied).length
        }
        if (reached.kind === 'connected') away ??= await reached.reserve(ids.length, callsOf(round.applied))
        if (away !== undefined && found.said !== undefined) break
        const intends = reached.kind === 'connected' && away === undefined
        const { taken, waiting } = await gather(ports, current, chunk, ids, intends, limits, by, cutting(watch))
        round.waiting += waiting
        if (reached.kind === 'connected' && intends)
          await cut(chunk, current, reached.provider, reached.issuer, taken, lastAttempt, round, by)
      }
    } catch (error) {
      if (!(error instanceof IssuerError)) throw error
      // Awaited here: a failure that nobody waits for while the visit ends would end the whole process.
      return await notNow(chunk, await issuers.failed(chunk.issuer, error, by, current.lane), by, round.applied)
    } finally {
      if (reached.kind === 'connected') await reached.end()
    }
    if (away !== undefined) return notNow(chunk, away, by, round.applied)
    if (reached.kind === 'not-now') return notNow(chunk, reached, by, round.applied)
    if (round.open === 0 && round.waiting === 0) return end(chunk, current, reached.issuer, by, watch)
    return postpone(chunk, round, by)
  }

  async function keep(chunk: Chunk, { applied }: Round, by: Actor): Promise<Chunk> {
    const step = stepOf(applied)
    const dueAt = chunk.dueAt ?? after(by.at, SHORT_WAIT_SECONDS)
    await postponeChunk(table, chunk, { step, applied, dueAt, spends: false, said: 'under way' }, by)
    return { ...chunk, step }
  }

  async function postpone(chunk: Chunk, round: Round, by: Actor): Promise<Again> {
    const waits: number[] = []
    if (round.spent || round.hint > 0)
      waits.push(backoffSeconds(chunk.attempts + 1, random.fraction(), limits.backoffSeconds, round.hint))
    if (round.waiting > 0) waits.push(WAIT_SECONDS)
    if (round.next !== undefined) waits.push(Math.max(1, Math.ceil(secondsUntil(round.next, by.at))))
    const seconds = waits.length === 0 ? WAIT_SECONDS : Math.min(...waits)
    const dueAt = dueAfter(seconds, by)
    const state: ChunkState = {
      step: stepOf(round.applied),
      applied: round.applied,
      dueAt,
      spends: round.spent,
      said: round.said,
    }
    await postponeChunk(table, chunk, state, by)
    return seconds
  }

  /**
   * Cuts what is not cut yet, asks for proof of what is, and writes what is final.
   *
   * @param known what this visit's attempt was answered already about these very leases
   */
  async function cut(
    chunk: Chunk,
    current: Case,
    provider: Provider,
    issuer: Issuer,
    taken: readonly Taken[],
    lastAttempt: boolean,
    round: Round,
    by: Actor,
    known?: ReadonlyMap<string, Answer | undefined>,
  ): Promise<void> {
    const { applied } = round
    const warrant = warrantOf(chunk, current)
    // Who renews at the issuer what we had cut may bring it to life again: it is cut anew when that is over.
    for (const { lease } of taken)
      if (
        lease.unsettledUntil !== undefined &&
        lease.unsettledUntil > (applied[lease.id]?.evidence.cutAt ?? lease.unsettledUntil)
      )
        delete applied[lease.id]
    const writes: { lease: Lease; writes: Write[] }[] = []
    const final = (lease: Lease, outcome: Outcome) => {
      delete applied[lease.id]
      if (outcome.outcome === 'revoked' && lease.sharing === 'shared') shared.push(lease)
      // What was cut is watched until it would have expired by itself.
      const livesOn = later(outcome.livesUntil ?? (outcome.outcome === 'revoked' ? (lapsesAt(lease) ?? '') : ''), by.at)
      const keepUntil = after(livesOn, limits.retentionDays * 86400 + issuer.soakSeconds)
      writes.push({
        lease,
        writes: [finish(lease, current.id, outcome, ttl(keepUntil), after(by.at, limits.parkedRetrySeconds), at(by))],
      })
    }
    const shared: Lease[] = []
    const again = (lease: Lease, said: string, spends: boolean) => {
      if (spends && lastAttempt) return final(lease, parked(lease, `after ${limits.attempts} attempts: ${said}`, by.at))
      round.open += 1
      round.said = said
      if (spends) round.spent = true
    }
    const nextAt = (moment: string) => {
      if (round.next === undefined || moment < round.next) round.next = moment
    }

    const uncut = taken.filter(({ lease }) => applied[lease.id] === undefined)
    const { subjects, unusable } = await subjectsOf(
      module,
      uncut.map(({ lease }) => lease),
      ports.open,
    )
    for (const { lease, said } of unusable) final(lease, parked(lease, said, by.at))
    const before = new Map(uncut.map(({ lease, unanswered }) => [lease.id, unanswered]))
    const asking = subjects.filter(({ lease }) => known?.get(lease.id) === undefined)
    const asked =
      asking.length === 0
        ? []
        : await eachAnswered(
            asking.map(({ subject }) => subject),
            (batch) => provider.revoke(batch, warrant),
            unclear,
          )
    const fresh = new Map(asking.map(({ lease }, index) => [lease.id, asked[index]]))
    const answers = subjects.map(({ lease }) => known?.get(lease.id) ?? fresh.get(lease.id))
    // Noted before the other holders are settled, so that none of them takes our own cut for somebody else's.
    await noteCuts(
      subjects.flatMap(({ lease }, index) => (answers[index]?.status === 'revoked' ? [lease] : [])),
      current,
      by,
    )
    const credentials = await credentialsOf(
      table,
      uncut.filter(({ lease }) => lease.sharing === 'shared').map(({ lease }) => lease.fingerprint),
    )
    const gone = subjects.filter(({ lease }, index) => answers[index]?.status === 'absent' && before.get(lease.id) === false)
    for (const id of await cutByOthers(
      chunk,
      gone.map(({ lease }) => lease),
      subjects.map(({ lease }) => lease.id),
      credentials,
    ))
      before.set(id, true)
    for (const [index, { lease }] of subjects.entries()) {
      const answer = answers[index]
      if (answer === undefined) continue
      const settled = settle(lease, answer, before.get(lease.id) ?? false, credentials.get(lease.fingerprint), now())
      if (settled.kind === 'final') final(lease, settled.outcome)
      else if (settled.kind === 'applied') {
        const ready = definition.capabilities.verifies
        if (ready) applied[lease.id] = { outcome: settled.outcome, evidence: settled.evidence }
        else
          final(lease, {
            outcome: settled.outcome,
            at: now(),
            evidence: { ...settled.evidence, verified: 'the issuer cannot be asked' },
          })
      } else {
        if (!settled.unanswered && lease.unanswered) writes.push({ lease, writes: [answered(lease, settled.said, at(by))] })
        if (settled.spends) round.hint = Math.max(round.hint, settled.afterSeconds ?? 0)
        else nextAt(after(now(), settled.afterSeconds ?? WAIT_SECONDS))
        again(lease, settled.said, settled.spends)
      }
    }
    await verify(provider, warrant, taken, round, final, again, nextAt)
    const results = await writeGroups(
      table,
      writes.map((group) => group.writes),
    )
    // A lease that was taken over meanwhile has its outcome from the case that took it: the next look copies it.
    for (const result of results) if (!result) round.waiting += 1
    await noteCuts(shared, current, by)
  }

  /**
   * Those that were found gone while another attempt of ours is unanswered: a second worker's, for a message came twice, or
   * one on another holder of the same credential, whose cut is not noted yet. Then it was not somebody else.
   *
   * @param tried what was tried in this very call, and is answered
   */
  async function cutByOthers(
    chunk: Chunk,
    gone: readonly Lease[],
    tried: readonly string[],
    credentials: ReadonlyMap<string, Credential>,
  ): Promise<Set<string>> {
    const found = new Set<string>()
    if (gone.length === 0) return found
    const fresh = await leasesOf(
      table,
      gone.map(({ id }) => id),
    )
    // A second worker at this very chunk may have gone the short way since it was read: only the chunk shows that.
    const anew = chunk.because === 'scan' && chunk.intent === undefined ? await readAgain(chunk) : undefined
    for (const lease of gone) {
      const { [chunk.case]: _, ...claims } = lease.claims
      if (anew !== undefined && mayBeAttempted({ ...lease, claims }, anew, chunk.case)) found.add(lease.id)
    }
    const attempted = new Map<string, boolean>()
    for (const { id, generation, sharing, fingerprint } of gone) {
      if (fresh.get(id)?.generation !== generation) found.add(id)
      if (sharing === 'exclusive' || credentials.get(fingerprint)?.cut !== undefined) continue
      const known = attempted.get(fingerprint) ?? (await isAttempted(fingerprint, tried))
      attempted.set(fingerprint, known)
      if (known) found.add(id)
    }
    return found
  }

  const readAgain = (chunk: Chunk): Promise<Chunk | undefined> =>
    chunk.kind === 'amendment'
      ? amendmentOf(table, chunk.case, leaseOfAmendment(chunk))
      : chunkOf(table, chunk.case, progressNameOf(chunk), chunkNameOf(chunk))

  async function isAttempted(fingerprint: string, tried: readonly string[]): Promise<boolean> {
    for await (const { id, state, unanswered } of holdersOf(table, fingerprint))
      if (state === 'cutting' && unanswered && !tried.includes(id)) return true
    return false
  }

  /** Remembers once for each shared credential that it was cut, and by what. */
  async function noteCuts(leases: readonly Lease[], current: Case, by: Actor): Promise<void> {
    const shared = new Map(leases.filter(({ sharing }) => sharing === 'shared').map((lease) => [lease.fingerprint, lease]))
    for (const lease of shared.values()) await noteCut(table, lease, current.id, now(), at(by))
  }

  /** Asks the issuer whether it is really dead, not before its propagation time is over. */
  async function verify(
    provider: Provider,
    warrant: Warrant,
    taken: readonly Taken[],
    round: Round,
    final: (lease: Lease, outcome: Outcome) => void,
    again: (lease: Lease, said: string, spends: boolean) => void,
    nextAt: (moment: string) => void,
  ): Promise<void> {
    const due: Lease[] = []
    for (const { lease } of taken) {
      const done = round.applied[lease.id]
      if (done === undefined) continue
      // Cut the short way, and its finishing write failed: there is nobody who could be asked.
      if (!definition.capabilities.verifies) {
        const evidence = { ...done.evidence, verified: 'the issuer cannot be asked' }
        final(lease, { outcome: done.outcome, at: now(), evidence })
        continue
      }
      // What was gone when we came has no cut of ours that has yet to spread.
      const { cutAt } = done.evidence
      const provableAt = cutAt === undefined ? now() : after(cutAt, definition.limits.propagationSeconds)
      if (provableAt > now()) {
        round.open += 1
        nextAt(provableAt)
      } else due.push(lease)
    }
    if (due.length === 0) return
    const { subjects, unusable } = await subjectsOf(module, due, ports.open)
    for (const { lease, said } of unusable) final(lease, parked(lease, said, now()))
    const answers: Liveness[] = await eachAnswered(
      subjects.map(({ subject }) => subject),
      (batch) => provider.verify(batch, warrant),
      unknowable,
    )
    for (const [index, { lease }] of subjects.entries()) {
      const liveness = answers[index]
      const done = round.applied[lease.id]
      if (liveness === undefined || done === undefined) continue
      const proof = prove(done, liveness, now())
      if (proof.kind === 'final') final(lease, proof.outcome)
      else {
        // What lives in spite of a success is cut again; what the issuer cannot tell is asked again.
        if (proof.kind === 'lives') delete round.applied[lease.id]
        const throttled = liveness.status === 'unknown' && liveness.throttled === true
        if (throttled) nextAt(after(now(), liveness.afterSeconds ?? WAIT_SECONDS))
        again(lease, proof.kind === 'lives' ? `it lives after the cut: ${proof.said}` : proof.said, !throttled)
      }
    }
  }

  /** Counts the outcomes as they stand in the table, and ends the chunk. */
  async function end(
    found: Chunk,
    current: Case,
    issuer: Issuer | undefined,
    by: Actor,
    watch: Watch | undefined,
  ): Promise<Again> {
    // What is noted from here on, by whomever, keeps it from ending.
    const chunk = watch === undefined ? found : ((await readAgain(found)) ?? found)
    const counts = noOutcomes()
    let others = 0
    const watched: Lease[] = []
    const cut: Lease[] = []
    let missing: string | undefined
    let parkedAs: Lease | undefined
    for await (const ids of covered(table, chunk, PAGE)) {
      const leases = await leasesCovered(table, ids)
      if (chunk.kind === 'amendment') missing = ids.find(({ id }) => !leases.has(id))?.id
      for (const lease of leases.values()) {
        if (lease.claims[current.id] !== unitName(chunk)) continue
        const outcome = lease.outcomes[current.id]
        // What is parked stays so while another worker of this amendment has begun to try it again.
        const triedAgain = chunk.kind === 'amendment' && outcome?.outcome === 'parked' && lease.holder?.case === current.id
        // Claimed, and not final after all: somebody else's write came in between.
        if (outcome === undefined || triedAgain) others += 1
        else counts[outcome.outcome] += 1
        // Another worker of this very amendment may be trying it again.
        if (chunk.kind === 'amendment' && outcome?.outcome === 'parked') parkedAs = lease
        if (outcome?.observed !== undefined) watched.push(lease)
        // One that lived again and could not be cut this time was ended by this case too, once.
        if (outcome?.outcome === 'revoked' && lease.ended?.case === current.id && lease.ended.outcome === 'revoked')
          cut.push(lease)
      }
    }
    if (others > 0)
      return postpone(
        chunk,
        {
          applied: { ...chunk.applied },
          open: others,
          waiting: others,
          hint: 0,
          spent: false,
          next: undefined,
          said: 'not final yet',
        },
        by,
      )
    return conclude(chunk, current, issuer, counts, cut, watched, by, { missing, parkedAs })
  }

  /**
   * Ends a chunk whose leases are all final.
   *
   * @param cut what it cut
   * @param watched what it only watched
   * @param seen the lease of an amendment, where it is not there (yet) or is parked: its end holds only while that stands
   */
  async function conclude(
    chunk: Chunk,
    current: Case,
    issuer: Issuer | undefined,
    counts: OutcomeCounts,
    cut: readonly Lease[],
    watched: readonly Lease[],
    by: Actor,
    seen: Seen = {},
  ): Promise<Again> {
    // An issuer that is not configured now may be again: what was cut at it is watched all the same, but not deleted, since
    // nobody knows how long it wants to be able to give it back.
    const known = issuer === undefined ? (ports.catalog[cut[0]?.provider ?? ''] ?? definition) : definition
    const afterwards = afterwardsOf(known, cut, issuer?.soakSeconds, limits.retentionDays, by.at)
    if (afterwards?.tidyAt !== undefined && (current.restorableUntil ?? '~') > afterwards.tidyAt)
      await noteSoak(table, current.id, afterwards.tidyAt)
    const done = await finishChunk(
      table,
      chunk,
      counts,
      {},
      afterwards,
      ttl(after(by.at, (limits.retentionDays + 366) * 86400)),
      at(by),
      observationsOf(current.id, watched),
      seen,
    )
    // Its lease came at the last moment, and whoever recorded it found this amendment open and trusts it; or it was tried again, or something more was noted, meanwhile.
    return done || (seen.missing === undefined && seen.parkedAs === undefined && chunk.notes === undefined)
      ? undefined
      : WAIT_SECONDS
  }

  /** No worker can serve this issuer: its leases are parked with the reason, and tried again when it is configured. */
  async function park(chunk: Chunk, current: Case, said: string, by: Actor, watch: Watch | undefined): Promise<Again> {
    let waiting = 0
    for await (const ids of covered(table, chunk, PAGE)) {
      const gathered = await gather(ports, current, chunk, ids, false, limits, by, cutting(watch))
      waiting += gathered.waiting
      const results = await writeGroups(
        table,
        gathered.taken.map(({ lease }) => [
          finish(lease, current.id, parked(lease, said, by.at), 0, after(by.at, limits.parkedRetrySeconds), by),
        ]),
      )
      waiting += results.filter((result) => !result).length
    }
    if (waiting === 0) return end(chunk, current, undefined, by, watch)
    return postpone(chunk, { applied: {}, open: 0, waiting, hint: 0, spent: false, next: undefined, said }, by)
  }

  return { work, issuers }
}

const warrantOf = (chunk: Chunk, current: Case): Warrant => ({
  case: current.id,
  lane: current.lane,
  epoch: chunk.epoch ?? 0,
  fencedAt: current.fencedAt ?? current.openedAt,
})

const cutting = (watch: Watch | undefined) => (watch === undefined ? undefined : { watch, only: false })

const leaseOfAmendment = ({ sk }: Chunk): string => sk.slice('AMEND#'.length)

const stepOf = (applied: Applied): Chunk['step'] => (Object.keys(applied).length > 0 ? 'verify' : 'revoke')
