import type { Outcome, OutcomeCounts } from '../contracts/outcome.ts'
import { noOutcomes } from '../contracts/outcome.ts'
import { decide } from '../domain/decide.ts'
import { lapsesAt } from '../domain/lapse.ts'
import type { Actor, Case, Chunk, Lease } from '../domain/model.ts'
import { prove, settle } from '../domain/settle.ts'
import { isPlain, MOST_EXCEPTIONS } from '../domain/short.ts'
import { after, instant, later, ttl } from '../domain/time.ts'
import { isExempt } from '../domain/treatment.ts'
import type { Answer, ProviderModule, Subject, Warrant } from '../providers/contract.ts'
import { isCovered, unitName } from '../store/keys.ts'
import { finishAtOnce } from '../store/leases.ts'
import { covered, intendChunk, leasesCovered } from '../store/work.ts'
import { askerOf } from './gather.ts'
import type { Away, Method, Reached } from './issuer.ts'
import { eachAnswered, subjectsOf, unclear, unknowable } from './issuer.ts'
import type { WorkPorts } from './ports.ts'

/** Leases read for one chunk: it was planned with up to a hundred keys, and a few may have come since. */
const MOST_LEASES = 200
/** An issuer that throttles without a hint is asked for its proof after so many seconds. */
const WAIT_SECONDS = 5

/** Where an attempt keeps what it knows, whatever happens to it: also when it ends with an error. */
export interface Knows {
  applied: Record<string, Chunk['applied'][string]>
  open: number
  next: string | undefined
  spent: boolean
  said: string
}

export type Short =
  /** Nothing here can go the short way; nothing was written. */
  | { readonly kind: 'none' }
  /** Another worker is at this chunk. */
  | { readonly kind: 'busy' }
  /** The issuer takes no call now; nothing was written, and nothing has to be before one. */
  | { readonly kind: 'away'; readonly away: Away }
  | {
      readonly kind: 'went'
      /** With its intent, and what is known by now to be no part of it. */
      readonly chunk: Chunk
      readonly tried: ReadonlySet<string>
      /** Those that go on the long way at once, and what was answered about them: nothing where they were cut. */
      readonly known: ReadonlyMap<string, Answer | undefined>
      /** Some of its leases did not go this way. */
      readonly rest: boolean
      readonly counts: OutcomeCounts
      /** What was cut, as it stands now as far as the chunk's end asks. */
      readonly cut: readonly Lease[]
      /** The issuer took no more calls before all was tried. */
      readonly away: Away | undefined
    }

interface Tried {
  readonly lease: Lease
  readonly subject: Subject
}

/**
 * The first attempt of a chunk, the short way: one intent in the chunk, the calls, then one write for each lease that
 * was cut and proven dead, conditional on the version that was read before. What was answered otherwise, and whose write
 * failed, goes on the long way with what is known of it. After a crash the chunk's next visit knows from the intent that
 * an attempt may have been made on each of its leases.
 */
export async function goShort(
  { module, ports }: { readonly module: ProviderModule; readonly ports: WorkPorts },
  found: Chunk,
  current: Case,
  { provider, issuer, reserve }: Extract<Reached, { kind: 'connected' }>,
  warrant: Warrant,
  knows: Knows,
  by: Actor,
): Promise<Short> {
  const { table, clock, limits } = ports
  const { definition } = module
  const now = () => instant(clock.now())
  const plain: Lease[] = []
  const except: string[] = []
  let rest = false
  let read = 0
  for await (const ids of covered(table, found, 100)) {
    read += ids.length
    if (read > MOST_LEASES) return { kind: 'none' }
    const unread = new Set<string>()
    const leases = await leasesCovered(table, ids, ({ sk }) => unread.add(sk))
    rest ||= unread.size > 0
    for (const { id } of ids) {
      const lease = leases.get(id)
      // Neither a pointer without a lease nor one of another scope is this chunk's: nothing is made of them later either.
      if (lease === undefined || !isCovered(lease, found.covers)) continue
      const decision = decide(lease, askerOf(current, found, by.at), undefined)
      if (isPlain(lease, decision, current.id) && !isExempt(ports, lease.identity)) plain.push(lease)
      else if (decision.do !== 'skip') except.push(id)
    }
  }
  const { subjects, unusable } = await subjectsOf(module, plain, ports.open)
  except.push(...unusable.map(({ lease }) => lease.id))
  if (subjects.length === 0 || except.length > MOST_EXCEPTIONS) return { kind: 'none' }
  rest ||= except.length > 0
  const calls: readonly Method[] = definition.capabilities.verifies ? ['revoke', 'verify'] : ['revoke']
  const { batch: most } = definition.limits
  let away = await reserve(Math.min(most, subjects.length), calls)
  // The others may be parents, whose children are looked for whether or not their issuer answers.
  if (away !== undefined) return rest ? { kind: 'none' } : { kind: 'away', away }
  if (!(await intendChunk(table, found, { at: by.at, leases: subjects.length, except }, by))) return { kind: 'busy' }

  const counts = noOutcomes()
  const cut: Lease[] = []
  const harmless: string[] = []
  const known = new Map<string, Answer | undefined>()
  for (let start = 0; start < subjects.length; start += most) {
    const batch = subjects.slice(start, start + most)
    if (start > 0) away ??= await reserve(batch.length, calls)
    if (away !== undefined) {
      harmless.push(...batch.map(({ lease }) => lease.id))
      for (const _ of batch) leave(away.said, false)
      continue
    }
    const finals = await attempt(batch)
    const results = await table.writeEach(
      finals.map(({ lease, outcome }) => {
        const livesOn = later(outcome.livesUntil ?? (outcome.outcome === 'revoked' ? (lapsesAt(lease) ?? '') : ''), by.at)
        const keepUntil = after(livesOn, limits.retentionDays * 86400 + issuer.soakSeconds)
        return finishAtOnce(lease, { case: current.id, unit: unitName(found) }, outcome, ttl(keepUntil), { ...by, at: now() })
      }),
    )
    for (const [index, { lease, answer, outcome }] of finals.entries()) {
      if (results[index]?.ok === true) {
        delete knows.applied[lease.id]
        counts[outcome.outcome] += 1
        if (outcome.outcome === 'revoked') cut.push(lease)
        continue
      }
      // Somebody changed it meanwhile. What this attempt did to it is kept, and written with what is read then.
      known.set(lease.id, outcome.outcome === 'revoked' ? undefined : answer)
      if (outcome.outcome !== 'revoked') harmless.push(lease.id)
    }
  }
  const intent = { at: by.at, leases: subjects.length, except: [...except, ...harmless] }
  const tried = new Set(subjects.map(({ lease }) => lease.id))
  return { kind: 'went', chunk: { ...found, intent }, tried, rest, known, counts, cut, away }

  /** One call, and one more that asks for the proof. Gives what is final with them; all else is noted. */
  async function attempt(batch: readonly Tried[]): Promise<{ lease: Lease; answer: Answer; outcome: Outcome }[]> {
    const finals: { lease: Lease; answer: Answer; outcome: Outcome }[] = []
    const dead: (Tried & { readonly answer: Answer })[] = []
    const answers = await eachAnswered(
      batch.map(({ subject }) => subject),
      (part) => provider.revoke(part, warrant),
      unclear,
    )
    for (const [index, one] of batch.entries()) {
      const { lease } = one
      const answer = answers[index]
      if (answer === undefined) continue
      const settled = settle(lease, answer, false, undefined, now())
      if (settled.kind === 'applied' && settled.outcome === 'revoked') {
        knows.applied[lease.id] = { outcome: 'revoked', evidence: settled.evidence }
        dead.push({ ...one, answer })
      } else if (settled.kind === 'final' && settled.outcome.outcome === 'unsupported')
        finals.push({ lease, answer, outcome: settled.outcome })
      else {
        known.set(lease.id, answer)
        // Gone before we came, or nothing done: answered, and so no attempt that anybody has to wonder about.
        if (!(settled.kind === 'again' && settled.unanswered)) harmless.push(lease.id)
      }
    }
    if (dead.length === 0) return finals
    if (!definition.capabilities.verifies) {
      for (const { lease, answer } of dead) {
        const evidence = { said: answer.said, ...knows.applied[lease.id]?.evidence, verified: 'the issuer cannot be asked' }
        finals.push({ lease, answer, outcome: { outcome: 'revoked', at: now(), evidence } })
      }
      return finals
    }
    const proofs = await eachAnswered(
      dead.map(({ subject }) => subject),
      (part) => provider.verify(part, warrant),
      unknowable,
    )
    for (const [index, { lease, answer }] of dead.entries()) {
      const applied = knows.applied[lease.id]
      const liveness = proofs[index]
      if (applied === undefined || liveness === undefined) continue
      const proof = prove(applied, liveness, now())
      if (proof.kind === 'final') finals.push({ lease, answer, outcome: proof.outcome })
      else {
        // What lives in spite of a success is cut again; what the issuer cannot tell is asked again.
        if (proof.kind === 'lives') delete knows.applied[lease.id]
        const throttled = liveness.status === 'unknown' && liveness.throttled === true
        if (throttled) knows.next = after(now(), liveness.afterSeconds ?? WAIT_SECONDS)
        leave(proof.kind === 'lives' ? `it lives after the cut: ${proof.said}` : proof.said, !throttled)
      }
    }
    return finals
  }

  function leave(said: string, spends: boolean): void {
    knows.open += 1
    knows.said = said
    if (spends) knows.spent = true
  }
}
