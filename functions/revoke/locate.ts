import * as z from 'zod/mini'
import type { Lane } from '../contracts/primitives.ts'
import type { Candidate } from '../contracts/scope.ts'
import { backoffSeconds } from '../domain/backoff.ts'
import { canonicalIdentity, IdentityInvalid } from '../domain/identity.ts'
import { identityKey, key, leaseIdFor, leverKey } from '../domain/keys.ts'
import { isOver } from '../domain/located.ts'
import type { Actor, Case, Identity, Issuer, Lease } from '../domain/model.ts'
import { after, instant, later, secondsUntil } from '../domain/time.ts'
import { isExempt } from '../domain/treatment.ts'
import type { Located, ProviderModule } from '../providers/contract.ts'
import { IssuerError } from '../providers/contract.ts'
import { Unusable } from '../runtime/unusable.ts'
import { amend } from '../store/amendments.ts'
import { askOf, endAsk, postponeAsk } from '../store/asks.ts'
import { caseOf } from '../store/cases.ts'
import { declareFenced, declareIdentity, growIssuers, identityOf, plain } from '../store/identities.ts'
import type { NewLease } from '../store/leases.ts'
import { holdersOf, leaseOf, look, recordLease, writePointers } from '../store/leases.ts'
import { joinLever } from '../store/levers.ts'
import type { issuerConnections } from './issuer.ts'
import { LONGEST_SAID } from './issuer.ts'
import type { Again, WorkPorts } from './ports.ts'

/** Who registers what an issuer was asked for, and whose it is where the issuer knows no name of its holder. */
const REGISTRAR = 'rescind'
const UNREGISTERED = 'unregistered'
/** The sweeper looks after an amendment whose message was lost, in seconds. */
const LOOK_AFTER_SECONDS = 60
/** Whoever is giving the same credential back, or registering it, is done by then, in seconds. */
const BUSY_SECONDS = 30
/** Leases of one credential that were located and ended one after the other. */
const MOST_TIMES = 1000

type Found = Extract<Located, { status: 'found' }>

/**
 * Asks one issuer for the credential that a case names and no lease does. What is found is registered on the spot: the
 * case's fence stands before, so it is never acknowledged, and is cut by an amendment of the case. Asking changes nothing
 * at the issuer, and each write finds its own traces, so whatever was lost is simply done again.
 */
export function locateWorker(module: ProviderModule, ports: WorkPorts, issuers: ReturnType<typeof issuerConnections>) {
  const { table, clock, limits, random } = ports
  const { definition } = module
  const now = () => instant(clock.now())

  return async function locate(caseId: string, issuerName: string): Promise<Again> {
    const ask = await askOf(table, caseId, issuerName)
    if (ask === undefined) throw new Unusable('question-gone')
    if (ask.state !== 'open') return undefined
    const current = await caseOf(table, caseId)
    if (current === undefined) throw new Unusable('case-gone')
    const candidate =
      current.scope.kind === 'credential-name' ? current.scope.candidates.find(({ issuer }) => issuer === issuerName) : undefined
    if (candidate === undefined) return undefined
    const by: Actor = {
      who: `revoke/${definition.name}`,
      case: caseId,
      trigger: current.type,
      why: current.reason,
      at: now(),
    }
    const at = (): Actor => ({ ...by, at: now() })
    const again = async (until: string, said: string, spends: boolean): Promise<Again> => {
      if (spends && ask.attempts + 1 >= limits.attempts) {
        await endAsk(table, ask, 'failed', `after ${limits.attempts} attempts: ${said}`.slice(0, LONGEST_SAID), at())
        return undefined
      }
      await postponeAsk(table, ask, until, said, spends, at())
      return Math.max(1, secondsUntil(until, now()))
    }
    const end = async (state: 'found' | 'unknown' | 'failed', said: string): Promise<Again> => {
      await endAsk(table, ask, state, said.slice(0, LONGEST_SAID), at())
      return undefined
    }

    // Its holder may have registered it meanwhile, or a worker before this one that was killed.
    const known = await met(current, candidate, at())
    if (known !== undefined) return end('found', known)
    const reached = await issuers.reach(issuerName, by, undefined, undefined, current.lane)
    if (reached.kind === 'unknown') return end('failed', reached.said)
    if (reached.kind === 'not-now') return again(reached.until, reached.said, false)
    const { provider, issuer } = reached
    const answer = await asked(() => provider.locate?.(candidate.query), issuerName, by, current.lane)
    await reached.end()
    if (provider.locate === undefined) return end('failed', `provider ${definition.name} cannot be asked`)
    switch (answer.status) {
      case 'not-now':
        return again(answer.until, answer.said, false)
      case 'unknown':
        return end('unknown', answer.said)
      case 'retry': {
        const seconds = backoffSeconds(ask.attempts + 1, random.fraction(), limits.backoffSeconds, answer.afterSeconds)
        return again(after(now(), seconds), answer.said, true)
      }
      case 'found': {
        const lease = await record(current, candidate, issuer, answer, at())
        if (lease === 'misfit')
          return again(after(now(), limits.backoffSeconds), 'what was found does not fit its provider', true)
        if (lease === 'busy') {
          const other = await met(current, candidate, at())
          if (other !== undefined) return end('found', other)
          return again(after(now(), BUSY_SECONDS), 'somebody else is changing what is known of the credential', false)
        }
        await handOver(current, lease, at())
        return end('found', `${answer.said}; registered as lease ${lease.id}`)
      }
    }
  }

  type Asked = Located | { readonly status: 'not-now'; readonly until: string; readonly said: string }

  async function asked(call: () => Promise<Located> | undefined, issuer: string, by: Actor, lane: Lane): Promise<Asked> {
    try {
      const answer = await call()
      return answer ?? { status: 'unknown', said: 'the provider gave no answer' }
    } catch (error) {
      if (error instanceof IssuerError) return { status: 'not-now', ...(await issuers.failed(issuer, error, by, lane)) }
      // Its text may come from the issuer and hold anything.
      return { status: 'retry', said: 'the provider failed unexpectedly' }
    }
  }

  /** Leases of this credential that are there by now: each is this case's as well. */
  async function met(current: Case, { fingerprint }: Candidate, by: Actor): Promise<string | undefined> {
    let found: string | undefined
    for await (const lease of holdersOf(table, fingerprint)) {
      if (isOver(lease, current)) continue
      // What was acknowledged was there before the fence, and the scan has it.
      if (!lease.acknowledged) await handOver(current, lease, by)
      found ??= `lease ${lease.id} names it by now`
    }
    return found
  }

  async function record(
    current: Case,
    candidate: Candidate,
    issuer: Issuer,
    found: Found,
    by: Actor,
  ): Promise<Lease | 'misfit' | 'busy'> {
    const target = z.safeParse(definition.target, found.target)
    if (!target.success) return 'misfit'
    const identity = await holderOf(found, candidate, by)
    await noteIssuer(identity, issuer, found, by)
    const id = await idFor(current, candidate, issuer, identity)
    const known = await leaseOf(table, id)
    if (known !== undefined) return known
    const longest = after(by.at, limits.leaseDays * 86400)
    const fresh: NewLease = {
      id,
      identity: identity.id,
      identityKey: identity.key,
      issuer: issuer.name,
      provider: issuer.provider,
      epoch: identity.epoch,
      type: 'static',
      // Nobody can say who else holds it.
      sharing: 'shared',
      registers: 'credential',
      fingerprint: candidate.fingerprint,
      target: plain(target.data) as Record<string, unknown>,
      owner: identity.owner,
      consumer: UNREGISTERED,
      purpose: `found for case ${current.id}`,
      delegable: false,
      depth: 0,
      registrar: REGISTRAR,
      digest: key('located', candidate.fingerprint),
      registeredAt: by.at,
      registerBy: after(by.at, limits.registrationSeconds),
      expiresAt:
        found.expiresAt === undefined || Number.isNaN(Date.parse(found.expiresAt))
          ? longest
          : later(instant(Date.parse(found.expiresAt)), by.at),
      pending: false,
      ...(definition.namesMany?.(target.data) === true ? { ambiguous: true as const } : {}),
      ...(identity.environment === undefined ? {} : { environment: identity.environment }),
    }
    await writePointers(table, fresh, by)
    const held = await recordLease(table, fresh, false, by)
    // Where the credential is being cut already, it is recorded without a place there.
    const recorded = held.ok ? held : await recordLease(table, fresh, true, by)
    return recorded.ok ? recorded.lease : 'busy'
  }

  /**
   * The same for all who find the credential at the same time, so that they make one lease; another one where an earlier
   * one has ended before this case began.
   */
  async function idFor(current: Case, { fingerprint }: Candidate, issuer: Issuer, identity: Identity): Promise<string> {
    for (let time = 0; time < MOST_TIMES; time += 1) {
      const id = leaseIdFor(identity.key, issuer.name, REGISTRAR, `located/${fingerprint}/${time}`)
      const known = await leaseOf(table, id)
      if (known === undefined || !isOver(known, current)) return id
    }
    throw new Error('the credential was located too often')
  }

  async function holderOf(found: Found, { issuer, fingerprint }: Candidate, by: Actor): Promise<Identity> {
    const id = nameOf(found) ?? `https://unregistered.rescind.io/${issuer}#${fingerprint}`
    const known = await identityOf(table, identityKey(id))
    if (known !== undefined) return known
    const declaration = { id, owner: UNREGISTERED }
    const defaults = { ownerLeaves: 'revoke' as const, protected: false }
    const joined = await declareIdentity(table, declaration, defaults, by)
    const identity = joined.ok ? joined.identity : await declareFenced(table, declaration, defaults, joined.cases, by)
    if (identity === undefined) throw new Error('the holder of a located credential could not be written')
    return identity
  }

  /** What its holder hangs on there is remembered, so that a case on the holder contains it too. */
  async function noteIssuer(identity: Identity, issuer: Issuer, found: Found, by: Actor): Promise<void> {
    const lever = definition.lever === undefined ? undefined : z.safeParse(definition.lever, found.lever)
    if (lever?.success !== true || definition.leverName === undefined)
      return growIssuers(table, identity, issuer.name, { shared: true }, by)
    const name = leverKey(issuer.name, definition.leverName(lever.data))
    const joined = await joinLever(table, name, identity, isExempt(ports, identity.id), by)
    const grown = joined.ok ? { shared: true, lever: { key: name, lever: lever.data } } : { shared: true }
    return growIssuers(table, identity, issuer.name, grown, by)
  }

  /** The lease is late for this case and for every other one whose fence covers it: each cuts it by an amendment. */
  async function handOver(current: Case, lease: Lease, by: Actor): Promise<void> {
    const { cases } = await look(table, lease)
    for (const id of new Set([current.id, ...cases])) {
      const other = id === current.id ? current : await caseOf(table, id)
      if (other === undefined) continue
      const because = id === current.id ? 'located' : 'late'
      await amend(table, lease, id, after(by.at, LOOK_AFTER_SECONDS), { ...by, case: id, trigger: other.type }, because)
      await ports.dispatch.work(other.lane, [{ v: 1, kind: 'amend', case: id, lease: lease.id, issuer: lease.issuer }])
    }
  }
}

/** The holder's name where the issuer knows one that we can store. */
function nameOf({ identity }: Found): string | undefined {
  if (identity === undefined) return undefined
  try {
    return canonicalIdentity(identity)
  } catch (error) {
    if (error instanceof IdentityInvalid) return undefined
    throw error
  }
}
