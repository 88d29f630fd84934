import type { WorkMessage } from '../contracts/message.ts'
import type { Lane } from '../contracts/primitives.ts'
import type { Asker } from '../domain/decide.ts'
import { decide } from '../domain/decide.ts'
import type { Actor, Case, Chunk, Credential, Lease } from '../domain/model.ts'
import { policyOf } from '../domain/policy.ts'
import { after, ttl as ttlOf } from '../domain/time.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import { amend } from '../store/amendments.ts'
import { caseOf } from '../store/cases.ts'
import { belongsTo, scopeOfCredential, unitName } from '../store/keys.ts'
import {
  claimOperations,
  copyOutcome,
  credentialsOf,
  intend,
  leasesOf,
  look,
  markCutting,
  releaseOperations,
} from '../store/leases.ts'
import type { Table, Write } from '../store/table.ts'
import { expand, fenceChildren, progressNameOf, writeGroups } from '../store/work.ts'

export interface GatherPorts {
  readonly table: Table
  readonly dispatch: Dispatch
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
}

/** Work that the sweeper looks after if its message is lost. */
const LOOK_AFTER_SECONDS = 120
const ROUNDS = 8

/** How long what is over stays in the table. */
export interface Retention {
  readonly retentionDays: number
}

export const askerOf = (current: Case, chunk: Chunk, now: string, expirySeen?: string): Asker => ({
  case: current.id,
  type: current.type,
  lane: current.lane,
  openedAt: current.openedAt,
  unit: unitName(chunk),
  amends: chunk.kind === 'amendment',
  shared: policyOf(current.type, current.scope.kind).shared,
  now,
  ...(chunk.epoch === undefined ? {} : { epoch: chunk.epoch }),
  ...(expirySeen === undefined ? {} : { expirySeen }),
  ...(current.cause === 'registration-deadline' && chunk.because === 'scan' ? { unfinished: true } : {}),
})

/**
 * Decides about each lease, carries the decision out by a write conditional on what was read, and reads again where
 * that write failed. What a delegable lease was delegated to, and who shares a compromised credential, joins the case
 * before the lease is cut.
 *
 * @param intends an attempt follows at once: the claim is its intent
 */
export async function gather(
  ports: GatherPorts,
  current: Case,
  chunk: Chunk,
  ids: readonly { readonly id: string; readonly expirySeen?: string }[],
  intends: boolean,
  limits: Retention,
  by: Actor,
): Promise<Gathered> {
  const { table } = ports
  const seen = new Map(ids.map(({ id, expirySeen }) => [id, expirySeen]))
  const taken: Taken[] = []
  let waiting = 0
  let open = ids.map(({ id }) => id)
  const ttl = ttlOf(after(by.at, limits.retentionDays * 86400))

  for (let round = 0; open.length > 0; round += 1) {
    if (round === ROUNDS) {
      waiting += open.length
      break
    }
    const leases = await leasesOf(table, open)
    const shared = [...leases.values()].filter((lease) => lease.sharing === 'shared')
    const credentials = await credentialsOf(
      table,
      shared.map((lease) => lease.fingerprint),
    )
    const again: string[] = []
    const groups: { readonly lease: Lease; readonly writes: Write[]; readonly taken?: Taken }[] = []

    for (const id of open) {
      const lease = leases.get(id)
      // A pointer without its lease: the registration died before it wrote one, and will look at the fences if it comes back.
      if (lease === undefined) continue
      // Another registration under the same key left this pointer and died: the lease was never of this scope.
      if ('pk' in chunk.covers && !belongsTo(lease, chunk.covers.pk)) continue
      const unfinished = current.cause === 'registration-deadline' && lease.state === 'registering'
      if (unfinished || (chunk.because === 'late' && lease.claims[current.id] === undefined)) {
        const told = await tellOthers(ports, lease, current, by)
        if (told && unfinished) {
          again.push(id)
          continue
        }
      }
      const credential = credentials.get(lease.fingerprint)
      const decision = decide(lease, askerOf(current, chunk, by.at, seen.get(id)), credential)
      const asker = { case: current.id, lane: current.lane, unit: unitName(chunk) }
      switch (decision.do) {
        case 'skip':
        case 'count':
          break
        case 'wait':
          waiting += 1
          break
        case 'amend':
          await handOver(ports, lease, current, chunk, by, again)
          break
        case 'release':
          if (credential === undefined) again.push(id)
          else {
            const outcome = {
              outcome: 'released' as const,
              at: by.at,
              evidence: { said: `${credential.holders - 1} others hold the credential` },
            }
            // What was delegated from a grant ends with it, whoever else holds the credential.
            await join(ports, current, chunk, [{ lease, unanswered: false }], by)
            groups.push({ lease, writes: releaseOperations(lease, credential, asker, outcome, ttl, by) })
            credentials.set(lease.fingerprint, { ...credential, holders: credential.holders - 1 })
          }
          break
        case 'copy':
          // The case that ended it may have released what was delegated from it; a compromise cuts that too.
          if (policyOf(current.type, current.scope.kind).shared === 'cut')
            await join(ports, current, chunk, [{ lease, unanswered: false }], by)
          groups.push({ lease, writes: [copyOutcome(lease, asker, decision.outcome, by)] })
          break
        case 'cut': {
          const after = { ...lease, unanswered: true }
          const cut = { lease: intends ? after : lease, unanswered: lease.unanswered }
          if (lease.unanswered || !intends) taken.push(cut)
          else groups.push({ lease, writes: [intend(lease, by)], taken: cut })
          break
        }
        case 'claim': {
          const place = decision.givesBack ? credential : undefined
          groups.push(await claim(ports, current, lease, place, asker, intends, by))
          // The next holder in this very batch is decided about as if this write had been made: it is made before.
          if (place !== undefined) credentials.set(lease.fingerprint, { ...place, holders: place.holders - 1, cutting: true })
          break
        }
      }
    }
    const results = await writeGroups(
      table,
      groups.map(({ writes }) => writes),
    )
    for (const [index, group] of groups.entries()) {
      if (results[index] === true) {
        if (group.taken !== undefined) taken.push(group.taken)
      } else again.push(group.lease.id)
    }
    open = again
  }
  await join(ports, current, chunk, taken, by)
  return { taken, waiting }
}

async function claim(
  ports: GatherPorts,
  current: Case,
  lease: Lease,
  givesBack: Credential | undefined,
  asker: { readonly case: string; readonly lane: Lane; readonly unit: string },
  intends: boolean,
  by: Actor,
) {
  if (cutsOthers(current, lease)) {
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
  !(current.scope.kind === 'credential' && current.scope.fingerprint === lease.fingerprint)

/** Descendants and bystanders join the case, counted in this unit's progress, before their parent is cut. */
async function join(ports: GatherPorts, current: Case, chunk: Chunk, taken: readonly Taken[], by: Actor): Promise<void> {
  const dueAt = after(by.at, LOOK_AFTER_SECONDS)
  for (const { lease } of taken) {
    const joined = []
    if (lease.delegable)
      joined.push(await expand(ports.table, chunk, await fenceChildren(ports.table, lease, current.id, by), 'child', dueAt, by))
    if (cutsOthers(current, lease) && chunk.because !== 'bystander')
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
  else again.push(lease.id)
}

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
    await amend(ports.table, lease, id, after(by.at, LOOK_AFTER_SECONDS), { ...by, case: id, trigger: other.type })
    await ports.dispatch.work(other.lane, [amendMessage(id, lease.id)])
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
