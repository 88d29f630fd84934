import type { WorkMessage } from '../contracts/message.ts'
import type { Outcome } from '../contracts/outcome.ts'
import type { Lane } from '../contracts/primitives.ts'
import type { ScopeRef } from '../contracts/scope.ts'
import type { Settings } from '../contracts/settings.ts'
import { askerFor } from '../domain/asker.ts'
import type { Asker, Decision } from '../domain/decide.ts'
import { decide, SHARES_ITS_NAME } from '../domain/decide.ts'
import type { Actor, Case, Chunk, Credential, Lease } from '../domain/model.ts'
import { begun } from '../domain/modes.ts'
import { policyOf } from '../domain/policy.ts'
import { mayBeAttempted } from '../domain/short.ts'
import { after, later, ttl as ttlOf } from '../domain/time.ts'
import { isExempt, isPlaced } from '../domain/treatment.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import type { Log } from '../runtime/ports.ts'
import { amend } from '../store/amendments.ts'
import { caseOf } from '../store/cases.ts'
import { isCovered, scopeOfChildren, scopeOfCredential, unitName } from '../store/keys.ts'
import {
  claimOperations,
  copyOutcome,
  credentialsOf,
  endAsOwn,
  intend,
  leasesOf,
  look,
  markCutting,
  releaseOperations,
} from '../store/leases.ts'
import { heldByExempt } from '../store/observed.ts'
import { graceOf } from '../store/outage.ts'
import type { ItemKey, Table, Write } from '../store/table.ts'
import type { Covered } from '../store/work.ts'
import { expand, fenceChildren, leasesCovered, noteWhileOpen, progressNameOf, whileOpen, writeGroups } from '../store/work.ts'
import type { Watch } from './observe.ts'
import { observation } from './observe.ts'

export interface GatherPorts {
  readonly table: Table
  readonly dispatch: Dispatch
  readonly log: Log
  readonly exempt?: Settings['exempt']
  readonly outage?: Settings['outage']
  readonly unreadable?: (item: ItemKey) => Promise<void>
}

/** A lease that this unit cuts now, as it stands in the table. */
export interface Taken {
  readonly lease: Lease
  /** An earlier attempt's answer is unknown. */
  readonly unanswered: boolean
}

export interface Gathered {
  readonly taken: Taken[]
  /** Leases that another, at least as urgent case is at. */
  readonly waiting: number
  /** Leases that may be cut, where only the others were asked for. */
  readonly left: number
}

/** Work that the sweeper looks after if its message is lost. */
const LOOK_AFTER_SECONDS = 120
const ROUNDS = 8
/** Evidence takes so many characters. */
const LONGEST_EVIDENCE = 1024

/** How long what is over stays in the table. */
export interface Retention {
  readonly retentionDays: number
}

export const askerOf = (current: Case, chunk: Chunk, now: string, expirySeen?: string): Asker =>
  askerFor(
    current,
    { unit: unitName(chunk), amends: chunk.kind === 'amendment', because: chunk.because, epoch: chunk.epoch, now },
    expirySeen,
  )

/**
 * Decides about each lease, carries the decision out by a write conditional on what was read, and reads again where
 * that write failed. What a delegable lease was delegated to, and who shares a compromised credential, joins the case
 * before the lease is cut.
 *
 * @param intends an attempt follows at once: the claim is its intent
 * @param watching what may only be watched; with `only`, nothing else is done, without it, nothing is done about these
 */
export async function gather(
  ports: GatherPorts,
  current: Case,
  chunk: Chunk,
  ids: readonly Covered[],
  intends: boolean,
  limits: Retention,
  by: Actor,
  watching?: { readonly watch: Watch; readonly only: boolean },
): Promise<Gathered> {
  const { table } = ports
  const seen = new Map(ids.map(({ id, expirySeen }) => [id, expirySeen]))
  const taken: Taken[] = []
  let waiting = 0
  let left = 0
  let open = ids.map(({ id }) => id)
  const spared = new Map<string, boolean>()
  const paused = new Map<string, boolean>()
  const unread: ItemKey[] = []
  const ttl = ttlOf(after(by.at, limits.retentionDays * 86400))

  // An expiry counts when the lease is claimed: an outage of ours that was found since may have given it time back.
  const endsByTime = current.cause === 'expiry' || current.cause === 'registration-deadline'
  const grace = endsByTime && chunk.because === 'scan' ? await graceOf(table, ports.outage, by.at) : undefined

  for (let round = 0; open.length > 0; round += 1) {
    if (round === ROUNDS) {
      waiting += open.length
      break
    }
    const unreadable = (item: ItemKey) => unread.push(item)
    const leases = round === 0 ? await leasesCovered(table, ids, unreadable) : await leasesOf(table, open, unreadable)
    const shared = [...leases.values()].filter((lease) => lease.sharing === 'shared')
    const credentials = await credentialsOf(
      table,
      shared.map((lease) => lease.fingerprint),
    )
    const again: string[] = []
    const groups: { readonly lease: Lease; readonly writes: Write[]; readonly taken?: Taken }[] = []

    for (const id of open) {
      const found = leases.get(id)
      // A pointer without its lease: the registration died before it wrote one, and will look at the fences if it comes back.
      if (found === undefined) continue
      // No claim shows an attempt whose intent stands in the chunk: its answer is not known.
      const doubted = mayBeAttempted(found, chunk, current.id, unitName(chunk))
      const lease = doubted ? { ...found, unanswered: true } : found
      // Another registration under the same key left this pointer and died: the lease was never of this scope.
      if (!isCovered(lease, chunk.covers)) continue
      const unfinished = current.cause === 'registration-deadline' && lease.state === 'registering'
      if (unfinished || (handsOver(chunk, lease) && lease.claims[current.id] === undefined)) {
        const told = await tellOthers(ports, lease, current, by)
        if (told && unfinished) {
          again.push(id)
          continue
        }
      }
      const restraint = await watching?.watch.restraintOn(lease)
      const credential = await heldWithout(credentials.get(lease.fingerprint), lease, current, restraint && watching?.watch)
      const until = lease.acknowledged ? grace?.expiry(lease) : grace?.deadline(lease.registerBy)
      // Its cut of this credential was undone: what comes late under its fence gives its own place back, and takes it from nobody.
      const undone = credential?.pardons?.[current.id] !== undefined
      const asks: Asker = { ...askerOf(current, chunk, by.at, seen.get(id)), ...(undone ? { shared: 'release' } : {}) }
      const decision = decide(lease, until === undefined ? asks : { ...asks, notBefore: until }, credential)
      const asker = { case: current.id, lane: current.lane, unit: unitName(chunk) }
      const exempted = await whyExempt(ports, lease, current, decision, spared)
      if (exempted !== undefined) {
        ports.log.error('a lease is not cut: an exempt identity would be hit', { case: current.id, lease: lease.id })
        // It lives for another holder's sake; what was delegated from it is cut like what comes from any that cannot be cut.
        if (!isExempt(ports, lease.identity)) await join(ports, current, chunk, [{ lease, unanswered: false }], by, 'children')
        groups.push({ lease, writes: [copyOutcome(lease, asker, exemptOutcome(lease, exempted, by.at), by)] })
        continue
      }
      if (watching !== undefined && watching.only !== (restraint !== undefined)) {
        if (watching.only && decision.do !== 'skip' && decision.do !== 'count') left += 1
        continue
      }
      // Another unit of this case has reported it, and it may still only be watched, whoever marked its credential since.
      const reported = lease.outcomes[current.id]?.outcome === 'observed' && lease.claims[current.id] !== unitName(chunk)
      if (watching !== undefined && restraint !== undefined && reported && decision.do === 'claim') continue
      if (watching !== undefined && restraint !== undefined && !doubted && !begun(lease, decision, current.id)) {
        // What was never acknowledged, and whose registration this case does not refuse, came after it; not so its children.
        if (decision.do === 'amend' && restraint.mode === 'observe') {
          if (lease.delegable) await childrenOf(ports, lease, current, by)
          continue
        }
        const noted = observation(lease, decision, current, asker, credential, restraint, watching.watch, by)
        if (noted !== undefined) {
          await join(ports, current, chunk, [{ lease, unanswered: false }], by)
          groups.push({ lease, writes: [noted] })
          // The next holder in this very batch is decided about as if this one had been given back.
          const place = credentials.get(lease.fingerprint)
          if (place !== undefined) credentials.set(lease.fingerprint, { ...place, holders: place.holders - 1 })
          continue
        }
      }
      switch (decision.do) {
        case 'skip':
        case 'count':
          break
        case 'wait':
          // One that somebody holds calls no issuer, for as long as that person likes: it is not waited for.
          if (await isPaused(table, decision.for, paused))
            groups.push(await claim(ports, current, lease, undefined, asker, intends, undone, by))
          else waiting += 1
          break
        case 'amend':
          await handOver(ports, lease, current, chunk, by, again)
          break
        case 'release':
          if (credential === undefined) again.push(id)
          else {
            const outcome = releaseOutcome(decision.livesUntil, credential.holders - 1, by.at)
            // What was delegated from a grant ends with it, whoever else holds the credential.
            await join(ports, current, chunk, [{ lease, unanswered: false }], by)
            const keptUntil =
              decision.livesUntil === undefined
                ? ttl
                : ttlOf(after(later(by.at, decision.livesUntil), limits.retentionDays * 86400))
            groups.push({ lease, writes: releaseOperations(lease, credential, asker, outcome, keptUntil, by) })
            credentials.set(lease.fingerprint, { ...credential, holders: credential.holders - 1 })
          }
          break
        case 'copy':
          // The case that ended it may have released what was delegated from it; a compromise cuts that too.
          if (policyOf(current.type, current.scope.kind).shared === 'cut')
            await join(ports, current, chunk, [{ lease, unanswered: false }], by)
          groups.push({ lease, writes: [takeOutcome(lease, asker, decision.outcome, chunk, doubted, by)] })
          break
        case 'cut': {
          // What is cut and waits for its proof is not tried again.
          if (!intends || chunk.applied[id] !== undefined) taken.push({ lease, unanswered: lease.unanswered })
          else {
            const after = { ...lease, unanswered: true, generation: lease.generation + 1 }
            groups.push({ lease, writes: [intend(lease, by)], taken: { lease: after, unanswered: lease.unanswered } })
          }
          break
        }
        case 'claim': {
          const place = decision.givesBack ? credential : undefined
          groups.push(await claim(ports, current, lease, place, asker, intends, undone, by))
          // The next holder in this very batch is decided about as if this write had been made: it is made before.
          if (place !== undefined) credentials.set(lease.fingerprint, { ...place, holders: place.holders - 1, cutting: true })
          break
        }
      }
    }
    // What is parked was counted with this very amendment, if another worker has ended it since: what comes of it then is a new one's.
    const triedAgain = chunk.kind === 'amendment' && groups.some(({ lease }) => lease.outcomes[current.id]?.outcome === 'parked')
    const guarded = triedAgain ? whileOpen : watching?.only === true ? noteWhileOpen : undefined
    const write = guarded?.(table, chunk) ?? ((all: readonly (readonly Write[])[]) => writeGroups(table, all))
    const results = await write(groups.map(({ writes }) => writes))
    for (const [index, group] of groups.entries()) {
      if (results[index] === true) {
        if (group.taken !== undefined) taken.push(group.taken)
      } else again.push(group.lease.id)
    }
    open = again
  }
  await join(ports, current, chunk, taken, by)
  // Nobody knows what they are, so nobody says what became of them: the chunk waits for them, and the others go on.
  for (const item of unread) await ports.unreadable?.(item)
  return { taken, waiting: waiting + unread.length, left }
}

/** What another case wrote, unless it only found gone what this one had cut, or may have: then it is this one's cut. */
function takeOutcome(
  lease: Lease,
  asker: { readonly case: string; readonly unit: string },
  outcome: Outcome,
  chunk: Chunk,
  doubted: boolean,
  by: Actor,
): Write {
  const known = chunk.applied[lease.id]
  const own = known?.outcome === 'revoked' ? known.evidence : undefined
  if (lease.ended?.outcome !== 'absent' || (own === undefined && !doubted)) return copyOutcome(lease, asker, outcome, by)
  const { said, verified, verifiedAt } = lease.outcomes[lease.ended.case]?.evidence ?? outcome.evidence
  const evidence = {
    ...(own ?? {
      said: `answer lost; now, as case ${lease.ended.case} found it: ${said}`.slice(0, LONGEST_EVIDENCE),
      cutAt: by.at,
    }),
    ...(verified === undefined ? {} : { verified }),
    ...(verifiedAt === undefined ? {} : { verifiedAt }),
  }
  return endAsOwn(lease, asker, { outcome: 'revoked', at: by.at, evidence }, by)
}

const releaseOutcome = (livesUntil: string | undefined, others: number, at: string): Outcome =>
  livesUntil === undefined
    ? { outcome: 'released', at, evidence: { said: `${others} others hold the credential` } }
    : { outcome: 'unsupported', at, evidence: { said: `${SHARES_ITS_NAME} (${others} others)` }, livesUntil }

async function isPaused(table: Table, id: string, known: Map<string, boolean>): Promise<boolean> {
  const paused = known.get(id) ?? (await caseOf(table, id))?.paused !== undefined
  known.set(id, paused)
  return paused
}

/** A shared credential as it would be if what was only watched so far had been given back. */
async function heldWithout(
  credential: Credential | undefined,
  lease: Lease,
  current: Case,
  watch: Watch | undefined,
): Promise<Credential | undefined> {
  const releases = policyOf(current.type, current.scope.kind).shared === 'release'
  if (credential === undefined || watch === undefined || !releases || credential.holders <= 1) return credential
  return { ...credential, holders: credential.holders - (await watch.watchedHolders(lease)) }
}

/** Why a lease is left alone, so that nobody who is exempt is hit; `undefined` where nobody is. */
async function whyExempt(
  ports: GatherPorts,
  lease: Lease,
  current: Case,
  decision: Decision,
  known: Map<string, boolean>,
): Promise<string | undefined> {
  if (decision.do !== 'claim' && decision.do !== 'release') return undefined
  if (isExempt(ports, lease.identity)) return 'its identity is exempt: no case touches it'
  if (decision.do !== 'claim' || lease.sharing !== 'shared' || !isPlaced(lease.state)) return undefined
  // A compromise cuts a credential for all who hold it.
  if (policyOf(current.type, current.scope.kind).shared !== 'cut') return undefined
  const held = known.get(lease.fingerprint) ?? (await heldByExempt(ports.table, ports, lease.fingerprint))
  known.set(lease.fingerprint, held)
  return held ? 'an exempt identity holds the credential too: no case touches it' : undefined
}

const exemptOutcome = (lease: Lease, said: string, at: string): Outcome => ({
  outcome: 'unsupported',
  at,
  evidence: { said },
  livesUntil: lease.expiresAt,
})

async function claim(
  ports: GatherPorts,
  current: Case,
  lease: Lease,
  givesBack: Credential | undefined,
  asker: { readonly case: string; readonly lane: Lane; readonly unit: string },
  intends: boolean,
  undone: boolean,
  by: Actor,
) {
  if (!undone && cutsOthers(current, lease)) {
    await markCutting(ports.table, lease.fingerprint, by)
    if (givesBack !== undefined) givesBack = { ...givesBack, cutting: true }
  }
  const held: Lease = {
    ...lease,
    state: 'cutting',
    generation: lease.generation + 1,
    unanswered: lease.unanswered || intends,
    holder: { case: asker.case, lane: asker.lane },
    claims: { ...lease.claims, [asker.case]: asker.unit },
  }
  return {
    lease,
    writes: claimOperations(lease, givesBack, { ...asker, unanswered: held.unanswered }, by),
    taken: { lease: held, unanswered: lease.unanswered },
  }
}

/** A compromise cuts a shared credential whoever else holds it; the scope of a credential lists its own holders by itself. */
const cutsOthers = (current: Case, lease: Lease): boolean =>
  lease.sharing === 'shared' &&
  policyOf(current.type, current.scope.kind).shared === 'cut' &&
  !namesCredential(current.scope, lease.fingerprint)

/** The case's own scope lists the holders of this credential. */
const namesCredential = (scope: Case['scope'], fingerprint: string): boolean =>
  scope.kind === 'credential'
    ? scope.fingerprint === fingerprint
    : scope.kind === 'credential-name' && scope.candidates.some((candidate) => candidate.fingerprint === fingerprint)

/**
 * Descendants and bystanders join the case, counted in this unit's progress, before their parent is cut.
 *
 * @param who `children`: the credential is not cut, so nobody who holds it is hit
 */
async function join(
  ports: GatherPorts,
  current: Case,
  chunk: Chunk,
  taken: readonly Taken[],
  by: Actor,
  who: 'all' | 'children' = 'all',
): Promise<void> {
  const dueAt = after(by.at, LOOK_AFTER_SECONDS)
  for (const { lease } of taken) {
    const joined = []
    if (lease.delegable)
      joined.push(await expand(ports.table, chunk, await childrenOf(ports, lease, current, by), 'child', dueAt, by))
    if (who === 'all' && cutsOthers(current, lease) && chunk.because !== 'bystander')
      joined.push(await expand(ports.table, chunk, scopeOfCredential(lease.fingerprint), 'bystander', dueAt, by))
    const messages = joined.flatMap(({ chunks, amendments }): WorkMessage[] => [
      ...chunks.map((added) => ({
        v: 1 as const,
        kind: 'chunk' as const,
        case: current.id,
        progress: progressNameOf(chunk),
        chunk: added.chunk,
        issuer: added.issuer,
      })),
      ...amendments.map((id) => amendMessage(current.id, id)),
    ])
    await ports.dispatch.work(current.lane, messages)
  }
}

/** The scope of what was delegated from a lease, fenced by every case that may do more than watch. */
const childrenOf = async (ports: GatherPorts, lease: Lease, current: Case, by: Actor): Promise<ScopeRef> =>
  current.mode === 'observe' ? scopeOfChildren(lease.id) : fenceChildren(ports.table, lease, current.id, by)

async function handOver(
  ports: GatherPorts,
  lease: Lease,
  current: Case,
  chunk: Chunk,
  by: Actor,
  again: string[],
): Promise<void> {
  const handed = await amend(ports.table, lease, current.id, after(by.at, LOOK_AFTER_SECONDS), by)
  // An amendment hands over to itself: the lease is late now, and taken with the next look.
  if (handed === 'acknowledged' || chunk.kind === 'amendment') again.push(lease.id)
  else if (handed === 'amended') await ports.dispatch.work(current.lane, [amendMessage(current.id, lease.id)])
  // 'over': it changed under us into neither; the next look at it decides.
  else if (handed === 'over') again.push(lease.id)
}

/** An amendment may be the only one that meets a lease which was never acknowledged: the one that makes it late, or finds it so. */
const handsOver = ({ kind, because }: Chunk, { acknowledged }: Lease): boolean =>
  because === 'late' || (kind === 'amendment' && !acknowledged && (because === 'child' || because === 'bystander'))

/**
 * Whoever recorded it, or made it late, may have been killed before each case was told whose fence covers it: now this
 * one tells them.
 */
async function tellOthers(ports: GatherPorts, lease: Lease, current: Case, by: Actor): Promise<boolean> {
  let told = false
  const { cases } = await look(ports.table, lease)
  for (const id of cases) {
    const other = id === current.id ? undefined : await caseOf(ports.table, id)
    if (other === undefined) continue
    const actor = { ...by, case: id, trigger: other.type }
    const handed = await amend(ports.table, lease, id, after(by.at, LOOK_AFTER_SECONDS), actor)
    // Cases that wait for one and the same lease would send each other on for ever, each time to all the others.
    if (handed === 'amended') await ports.dispatch.work(other.lane, [amendMessage(id, lease.id)])
    told = true
  }
  return told
}

const amendMessage = (caseId: string, lease: string): WorkMessage => ({
  v: 1,
  kind: 'amend',
  case: caseId,
  lease,
  issuer: lease.split('.')[1] ?? '',
})
