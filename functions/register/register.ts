import * as z from 'zod/mini'
import type { LeaseRegistration, LeaseView, WorkRef } from '../contracts/lease.ts'
import type { WorkMessage } from '../contracts/message.ts'
import type { Settings } from '../contracts/settings.ts'
import { canonicalIdentity, IdentityInvalid } from '../domain/identity.ts'
import { deploymentKey, fingerprint, identityKey, key, leaseIdFor, leverKey, taskKey } from '../domain/keys.ts'
import type { Actor, Identity, Issuer, Lease, WorkScope } from '../domain/model.ts'
import { isProtected, mayHold, namespaceOf, registrationRight } from '../domain/rights.ts'
import { LONGEST_CALL_SECONDS } from '../domain/settle.ts'
import { after, instant, ttl } from '../domain/time.ts'
import { isExempt } from '../domain/treatment.ts'
import { viewOfLease } from '../domain/views.ts'
import type { Definition, Mac } from '../providers/contract.ts'
import type { Principal } from '../runtime/authentication.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import { issueNotes } from '../runtime/issues.ts'
import type { Clock, Randomness } from '../runtime/ports.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import type { Seal } from '../runtime/sealing.ts'
import { amend } from '../store/amendments.ts'
import { caseOf } from '../store/cases.ts'
import { concerning } from '../store/concerning.ts'
import { declareFenced, declareIdentity, growIssuers, identityOf, plain } from '../store/identities.ts'
import { issuerOf } from '../store/issuers.ts'
import type { NewLease } from '../store/leases.ts'
import { acknowledge, leaseOf, look, recordLease, refuseIntent, reopenCredential, writePointers } from '../store/leases.ts'
import { joinLever } from '../store/levers.ts'
import type { Table } from '../store/table.ts'
import { fenceChildren } from '../store/work.ts'
import { disciplineOf } from './discipline.ts'

export interface RegisterPorts {
  readonly table: Table
  readonly dispatch: Dispatch
  readonly clock: Clock
  readonly random: Randomness
  readonly seal: Seal
  readonly settings: Settings
  readonly catalog: Readonly<Record<string, Definition>>
  /** The installation's keyed hash. */
  readonly mac: () => Promise<Mac>
}

/** The sweeper looks after an amendment whose message was lost, in seconds. */
const LOOK_AFTER_SECONDS = 60

export interface Registered {
  readonly lease: LeaseView
  /** It was acknowledged before: the same request came again. */
  readonly repeated: boolean
}

/**
 * Registers a lease: write, then look (protocol 1). The credential counts as released to its consumer only when this
 * answers; whoever gets another answer must not use it. A repeated request finds where the first one stopped.
 *
 * @throws ProblemError with a stable code; `fenced` names the cases
 */
export function registrar(ports: RegisterPorts) {
  const { table, clock, settings } = ports
  const now = () => instant(clock.now())

  /** @param spooledAt when the client took the credential, where it comes from a spool: its times are counted from then */
  return async function register(
    request: LeaseRegistration,
    idempotencyKey: string,
    caller: Principal,
    spooledAt?: string,
  ): Promise<Registered> {
    const by: Actor = { who: caller.uri, why: request.purpose, at: now() }
    const subject = identityFor(request, caller)
    const right = registrationRight(settings, caller, subject)
    if (right === undefined) throw new ProblemError('forbidden', 'the caller may not register leases for this identity')
    const issuer = await issuerOf(table, request.issuer)
    if (issuer === undefined) throw new ProblemError('issuer-unknown', `issuer ${request.issuer} is not configured`)
    const definition = ports.catalog[issuer.provider]
    if (definition === undefined) throw new ProblemError('provider-unknown', `provider ${issuer.provider} is not installed`)
    const shown = definition.secret !== undefined && definition.handleOnly !== true
    if (!right.trusted && !shown && !mayHold(settings, caller, issuer.name))
      throw new ProblemError(
        'forbidden',
        'the caller may not register credentials of this issuer for itself: whoever names another one’s could have it cut',
      )
    const handle = parseHandle(definition, request)
    const task = workScope('task', request.task, right.namespaces)
    const deployment = workScope('deployment', request.deployment, right.namespaces)

    const id = leaseIdFor(identityKey(subject), issuer.name, caller.uri, idempotencyKey)
    const credential = fingerprint(issuer.name, definition.credential(handle.target, handle.secret, await ports.mac()))
    // The secret enters as its credential's fingerprint alone: another token under the same key is another request.
    const digest = key('digest', JSON.stringify({ ...request, secret: undefined }), credential)
    const known = await leaseOf(table, id)
    if (known !== undefined) return finish(same(known, digest), known.state === 'live', by)

    const times = timesOf(request, definition, spooledAt ?? by.at)
    const terms = await disciplineOf(ports, {
      request,
      identity: subject,
      identityKey: identityKey(subject),
      provider: issuer.provider,
      fingerprint: credential,
      expiresAt: times.expiresAt,
      task,
      deployment,
      at: spooledAt ?? by.at,
      spooled: spooledAt !== undefined,
    })
    const identity = await declared(subject, request, by)
    const parent = request.parent === undefined ? undefined : await parentOf(request.parent)
    const ambiguous = definition.namesMany?.(handle.target) === true
    if (ambiguous && request.sharing === 'exclusive')
      throw new ProblemError(
        'body-invalid',
        'what the target names is shared by others at its issuer, so nobody holds it alone',
        {
          errors: [{ path: '/sharing', message: 'cannot be exclusive: name a target that only this credential has' }],
        },
      )
    const sharing = ambiguous ? 'shared' : (request.sharing ?? (request.kind === 'dynamic' ? 'exclusive' : 'shared'))
    await noteIssuer(identity, issuer, definition, handle.lever, sharing === 'shared', by)

    const fresh: NewLease = {
      id,
      identity: subject,
      identityKey: identity.key,
      issuer: issuer.name,
      provider: issuer.provider,
      epoch: identity.epoch,
      type: request.kind,
      sharing,
      registers: request.registers,
      fingerprint: credential,
      target: plain(handle.target) as Record<string, unknown>,
      owner: identity.owner,
      consumer: request.consumer,
      purpose: request.purpose,
      delegable: request.delegable ?? false,
      depth: parent === undefined ? 0 : parent.depth + 1,
      registrar: caller.uri,
      digest,
      registeredAt: by.at,
      registerBy: after(by.at, settings.limits.registrationSeconds),
      expiresAt: times.expiresAt,
      pending: request.registers === 'intent',
      ...terms,
      ...(spooledAt === undefined ? {} : { spooledAt }),
      ...(ambiguous ? { ambiguous } : {}),
      ...(times.mintBy === undefined ? {} : { unsettledUntil: after(times.mintBy, LONGEST_CALL_SECONDS) }),
      ...(handle.secret === undefined
        ? {}
        : {
            sealed: await ports.seal(
              { lease: id, provider: issuer.provider, issuer: issuer.name },
              JSON.stringify(handle.secret),
            ),
          }),
      ...(identity.environment === undefined ? {} : { environment: identity.environment }),
      ...(task === undefined ? {} : { task }),
      ...(deployment === undefined ? {} : { deployment }),
      ...(request.parent === undefined ? {} : { parent: request.parent }),
    }
    await writePointers(table, fresh, by)
    return finish(same(await recorded(fresh, by), digest), false, by)
  }

  /** The lease that this key stands for, if the request is the one that it was made by. */
  function same(lease: Lease, digest: string): Lease {
    if (lease.digest === digest) return lease
    throw new ProblemError('idempotency-conflict', 'this idempotency key was used for another registration')
  }

  async function recorded(fresh: NewLease, by: Actor): Promise<Lease> {
    const done = await recordLease(table, fresh, false, by)
    if (done.ok) return done.lease
    if (done.refusal === 'exclusive')
      throw new ProblemError('credential-exclusive', 'another lease holds this credential exclusively')
    // What exists is recorded and cut by the case that fenced the credential, never merely refused (protocol 2).
    const { cases } = await look(table, fresh)
    // A name that many have outlives the last of them: its cut is over, and it may be used anew.
    if (cases.length === 0 && fresh.ambiguous === true && (await reopenCredential(table, fresh.fingerprint, by))) {
      const again = await recordLease(table, fresh, false, by)
      if (again.ok) return again.lease
    }
    if (cases.length === 0 || fresh.registers === 'intent')
      throw new ProblemError('credential-being-cut', 'the credential is being cut; it takes no new grant', { cases })
    const unheld = await recordLease(table, { ...fresh, sharing: 'shared' }, true, by)
    if (!unheld.ok) throw new ProblemError('credential-being-cut')
    return unheld.lease
  }

  /** The second half: look at the fences, then acknowledge or hand over. */
  async function finish(lease: Lease, repeated: boolean, by: Actor): Promise<Registered> {
    if (lease.state === 'live') return { lease: viewOfLease(lease), repeated }
    if (lease.state !== 'registering') throw await refused(lease, by)
    const seen = await look(table, lease)
    const parentGone = lease.parent !== undefined && seen.parent?.state !== 'live'
    // A parent that is being cut may not have fenced its children yet: the cases that claimed it are those that will.
    const ofParent = parentGone ? await concerning(table, lease, Object.keys(seen.parent?.claims ?? {})) : []
    const cases = [...new Set([...seen.cases, ...ofParent])]
    // Without a case nobody but the sweeper ends what was recorded: it does, at the registration's deadline.
    if (cases.length === 0 && parentGone)
      throw new ProblemError('parent-unusable', 'the parent lease is not live', { lease: lease.id })
    if (cases.length === 0) {
      // What is delegated from it at other issuers is no less covered for its being only watched here.
      if (lease.delegable) for (const id of seen.watched) await fenceChildren(table, lease, id, { ...by, case: id })
      const live = await acknowledge(table, lease, by)
      if (live !== undefined) return { lease: viewOfLease(live), repeated }
      const current = await leaseOf(table, lease.id)
      throw await refused(current ?? lease, by)
    }
    if (lease.registers === 'intent') {
      await refuseIntent(table, lease, ttl(after(by.at, settings.limits.retentionDays * 86400)), by)
      throw fencedBy(lease, cases, 'nothing may be minted for it')
    }
    await handOver(lease, cases, by)
    throw fencedBy(lease, cases, 'what exists already is recorded and cut')
  }

  async function handOver(lease: Lease, cases: readonly string[], by: Actor): Promise<void> {
    for (const id of cases) {
      const current = await caseOf(table, id)
      if (current === undefined) continue
      await amend(table, lease, id, after(now(), LOOK_AFTER_SECONDS), { ...by, case: id, trigger: current.type })
      const message: WorkMessage = { v: 1, kind: 'amend', case: id, lease: lease.id, issuer: lease.issuer }
      await ports.dispatch.work(current.lane, [message])
    }
  }

  function fencedBy(lease: Lease, cases: readonly string[], what: string): ProblemError {
    return new ProblemError('fenced', `a scope of the lease is fenced: ${what}`, { cases, lease: lease.id })
  }

  async function refused(lease: Lease, by: Actor): Promise<ProblemError> {
    const { cases } = lease.acknowledged ? { cases: [] } : await look(table, lease)
    // The attempt that made it late may have been killed between two cases: each gets its amendment, however often.
    if (cases.length > 0 && lease.registers === 'credential') await handOver(lease, cases, by)
    if (lease.acknowledged || lease.state === 'ended' || lease.state === 'released')
      return new ProblemError('lease-ended', `the lease is ${lease.state}`, { lease: lease.id, cases: Object.keys(lease.claims) })
    return fencedBy(lease, cases, 'what exists already is recorded and cut')
  }

  /** From what is attested; only a broker may name another one. */
  function identityFor(request: LeaseRegistration, caller: Principal): string {
    if (request.identity === undefined) return caller.uri
    try {
      return canonicalIdentity(request.identity)
    } catch (error) {
      if (!(error instanceof IdentityInvalid)) throw error
      throw new ProblemError('body-invalid', error.message, { errors: [{ path: '/identity', message: error.message }] })
    }
  }

  async function declared(id: string, request: LeaseRegistration, by: Actor): Promise<Identity> {
    const known = await identityOf(table, identityKey(id))
    if (known !== undefined) {
      if (request.owner !== undefined && request.owner !== known.owner)
        throw new ProblemError('owner-mismatch', 'the identity has another owner; an operator can change it')
      // It would be acknowledged for a workload whose end does not reach it.
      if (request.workload !== undefined && request.workload !== known.workload)
        throw new ProblemError('owner-mismatch', 'the identity belongs to another workload; an operator can change it')
      return known
    }
    if (request.owner === undefined)
      throw new ProblemError('body-invalid', 'the first lease of an identity names its owner', {
        errors: [{ path: '/owner', message: 'is needed for an identity that is not known yet' }],
      })
    const declaration = {
      id,
      owner: request.owner,
      ...(request.workload === undefined ? {} : { workload: request.workload }),
      ...(request.environment === undefined ? {} : { environment: request.environment }),
      ...(request.ownerLeaves === undefined ? {} : { ownerLeaves: request.ownerLeaves }),
    }
    const defaults = { ownerLeaves: settings.ownerLeavesDefault, protected: isProtected(settings, id) }
    const joined = await declareIdentity(table, declaration, defaults, by)
    if (joined.ok) return joined.identity
    // Its owner or workload is fenced. A credential that exists is recorded under the same fence, and cut by its cases.
    // So is an intent that those cases would only watch: they refuse it nothing.
    const about = { issuer: request.issuer, environment: request.environment }
    if (request.registers === 'credential' || (await concerning(table, about, joined.cases)).length === 0) {
      const fenced = await declareFenced(table, declaration, defaults, joined.cases, by)
      if (fenced !== undefined) return fenced
    }
    throw new ProblemError('fenced', 'the owner or the workload of the identity is fenced', { cases: joined.cases })
  }

  async function parentOf(id: string): Promise<Lease> {
    const parent = await leaseOf(table, id)
    if (parent?.delegable !== true) throw new ProblemError('parent-unusable', 'the parent lease is unknown or not delegable')
    if (parent.depth + 1 > settings.limits.delegationDepth)
      throw new ProblemError('parent-unusable', `delegation goes ${settings.limits.delegationDepth} deep at most`)
    return parent
  }

  /** The identity's set of issuers holds this one, with its lever, before any lease does. */
  async function noteIssuer(
    identity: Identity,
    issuer: Issuer,
    definition: Definition,
    lever: unknown,
    shared: boolean,
    by: Actor,
  ): Promise<void> {
    if (lever === undefined || definition.leverName === undefined)
      return growIssuers(table, identity, issuer.name, { shared }, by)
    const name = leverKey(issuer.name, definition.leverName(lever))
    const joined = await joinLever(table, name, identity, isExempt(settings, identity.id), by)
    if (!joined.ok)
      throw new ProblemError('lever-being-pulled', 'a case is pulling this lever for another identity', { cases: [joined.case] })
    return growIssuers(table, identity, issuer.name, { lever: { key: name, lever }, shared }, by)
  }

  function timesOf(request: LeaseRegistration, definition: Definition, at: string): { expiresAt: string; mintBy?: string } {
    const expiresAt = instant(Date.parse(request.expiresAt))
    if (expiresAt <= at) throw new ProblemError('time-out-of-range', 'the lease would have expired already')
    if (expiresAt > after(at, settings.limits.leaseDays * 86400))
      throw new ProblemError('time-out-of-range', `a lease lives ${settings.limits.leaseDays} days at most`)
    if (request.registers === 'credential') {
      if (request.mintBy !== undefined) throw new ProblemError('body-invalid', 'mintBy belongs to an intent')
      return { expiresAt }
    }
    if (!definition.capabilities.choosesName)
      throw new ProblemError(
        'body-invalid',
        `provider ${definition.name} cannot name a credential before it is minted: register it when it exists`,
      )
    if (request.mintBy === undefined)
      throw new ProblemError('body-invalid', 'an intent says until when it may be minted', {
        errors: [{ path: '/mintBy', message: 'is missing' }],
      })
    const mintBy = instant(Date.parse(request.mintBy))
    if (mintBy <= at || mintBy > expiresAt) throw new ProblemError('time-out-of-range', 'mintBy lies between now and the expiry')
    return { expiresAt, mintBy }
  }

  function workScope(
    kind: 'task' | 'deployment',
    ref: WorkRef | undefined,
    namespaces: readonly string[],
  ): WorkScope | undefined {
    if (ref === undefined) return undefined
    const namespace = namespaceOf(namespaces, ref.namespace)
    if (namespace === undefined) throw new ProblemError('scope-not-allowed', `the caller attests no such namespace of ${kind}s`)
    return {
      key: kind === 'task' ? taskKey(namespace, ref.id) : deploymentKey(namespace, ref.id),
      namespace,
      id: ref.id,
      ...(ref.endsBy === undefined ? {} : { endsBy: instant(Date.parse(ref.endsBy)) }),
    }
  }
}

export interface Handle {
  readonly target: unknown
  readonly secret: unknown
  readonly lever: unknown
}

/** The parts of a handle against their provider's schemas; errors say where, never what. */
export function parseHandle(
  definition: Definition,
  parts: { readonly target: unknown; readonly secret?: unknown; readonly lever?: unknown },
): Handle {
  return {
    target: part(definition.target, parts.target, '/target', definition.name),
    secret: optionalPart(definition.secret, parts.secret, '/secret', definition.name),
    lever: optionalPart(definition.lever, parts.lever, '/lever', definition.name),
  }
}

function part(schema: z.ZodMiniType, value: unknown, path: string, provider: string): unknown {
  const parsed = z.safeParse(schema, value)
  if (parsed.success) return parsed.data
  throw new ProblemError('body-invalid', `${path.slice(1)} does not fit provider ${provider}`, {
    errors: issueNotes(parsed.error.issues, value).map((note) => ({ path: `${path}${note.path}`, message: note.message })),
  })
}

function optionalPart(schema: z.ZodMiniType | undefined, value: unknown, path: string, provider: string): unknown {
  if (schema === undefined) {
    if (value === undefined) return undefined
    throw new ProblemError('body-invalid', `provider ${provider} takes no ${path.slice(1)}`, {
      errors: [{ path, message: 'is not taken' }],
    })
  }
  // A lever is a convenience; a secret that the provider defines is needed for every cut.
  if (value === undefined && path !== '/secret') return undefined
  return part(schema, value, path, provider)
}
