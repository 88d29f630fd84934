import type { LeaseConfirmation, LeaseRenewal, LeaseView } from '../contracts/lease.ts'
import type { WorkMessage } from '../contracts/message.ts'
import { caseKey, key } from '../domain/keys.ts'
import type { Actor, Lease } from '../domain/model.ts'
import { modesFor } from '../domain/modes.ts'
import { policyOf } from '../domain/policy.ts'
import { operatorRight, registrationRight } from '../domain/rights.ts'
import { LONGEST_CALL_SECONDS } from '../domain/settle.ts'
import { after, instant, later } from '../domain/time.ts'
import { viewOfLease } from '../domain/views.ts'
import type { Principal } from '../runtime/authentication.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import { openExpiry, sealExpiry } from '../store/expiry.ts'
import { plain } from '../store/identities.ts'
import { as } from '../store/items.ts'
import { changeLive, identityShards, leaseOf, look } from '../store/leases.ts'
import { renewalDiscipline } from './discipline.ts'
import type { RegisterPorts } from './register.ts'
import { parseHandle } from './register.ts'

const AGAIN_SECONDS = 120

/** What the holder of a lease may do with it afterwards. */
export function holder(ports: RegisterPorts) {
  const { table, clock, settings } = ports
  const now = () => instant(clock.now())

  /** The lease, if the caller may know of it; for others it does not exist. */
  async function held(id: string, caller: Principal, may: 'read' | 'change'): Promise<Lease> {
    const lease = await leaseOf(table, id)
    const allowed =
      lease !== undefined &&
      (registrationRight(settings, caller, lease.identity) !== undefined ||
        (may === 'read' && operatorRight(settings, caller) !== undefined))
    if (lease === undefined || !allowed) throw new ProblemError('not-found', 'no such lease')
    return lease
  }

  async function read(id: string, caller: Principal): Promise<LeaseView> {
    return viewOfLease(await held(id, caller, 'read'))
  }

  /** The leases of an identity, shard by shard; `cursor` is opaque. */
  async function list(identityKey: string, caller: Principal, identity: string, cursor: string | undefined, limit: number) {
    if (registrationRight(settings, caller, identity) === undefined && operatorRight(settings, caller) === undefined)
      throw new ProblemError('forbidden', 'the caller may not see the leases of this identity')
    const shards = identityShards(identityKey)
    const at = cursorOf(cursor)
    let shard = at.shard
    let sort = at.after
    const leases: LeaseView[] = []
    while (shard < shards.length && leases.length < limit) {
      const page = await table.query({
        pk: shards[shard] ?? '',
        limit: limit - leases.length,
        ...(sort === undefined ? { prefix: 'L#' } : { after: sort, to: 'L#~' }),
      })
      leases.push(...page.items.map((item) => viewOfLease(as('lease', item))))
      if (page.next === undefined) {
        shard += 1
        sort = undefined
      } else sort = page.next
    }
    const next = shard < shards.length ? Buffer.from(JSON.stringify([shard, sort ?? null])).toString('base64url') : undefined
    return { leases, ...(next === undefined ? {} : { next }) }
  }

  /** The credential of an intent exists now: its target may say more than before, never something else. */
  async function confirm(id: string, body: LeaseConfirmation, caller: Principal): Promise<LeaseView> {
    const lease = await held(id, caller, 'change')
    if (lease.state !== 'live') throw stateProblem(lease)
    if (!lease.pending) return viewOfLease(lease)
    const definition = ports.catalog[lease.provider]
    if (definition === undefined) throw new ProblemError('provider-unknown')
    const target = body.target ?? lease.target
    for (const [name, value] of Object.entries(lease.target))
      if (JSON.stringify(Object.entries(target).find(([other]) => other === name)?.[1]) !== JSON.stringify(value))
        throw new ProblemError('body-invalid', 'a confirmation adds to the target, it does not change it', {
          errors: [{ path: `/target/${name}`, message: 'differs from the intent' }],
        })
    const secret = body.secret ?? (lease.sealed === undefined ? undefined : null)
    const handle = parseHandle({ ...definition, ...(secret === null ? { secret: undefined } : {}) } as typeof definition, {
      target,
      ...(secret === null ? {} : { secret }),
    })
    const by: Actor = { who: caller.uri, why: 'the credential exists', at: now() }
    const sealed =
      handle.secret === undefined
        ? undefined
        : await ports.seal({ lease: id, provider: lease.provider, issuer: lease.issuer }, JSON.stringify(handle.secret))
    const changed = await changeLive(
      table,
      lease,
      {
        set: [
          ['pending', false],
          ['target', plain(handle.target)],
          ...(sealed === undefined ? [] : [['sealed', plain(sealed)] as const]),
        ],
        // What a renewal may still bring to life is not settled by the mint.
        remove: lease.renewedAt === undefined ? ['unsettledUntil'] : [],
      },
      [
        ['pending', '=', true],
        lease.unsettledUntil === undefined ? ['unsettledUntil', 'absent'] : ['unsettledUntil', '=', lease.unsettledUntil],
      ],
      by,
    )
    const current = await leaseOf(table, id)
    if (!changed || current === undefined) throw stateProblem(current ?? lease)
    return viewOfLease(current)
  }

  /** Write, then look at the fences again (protocol 11): a fenced scope takes no renewal, its case cuts the lease. */
  async function renew(id: string, body: LeaseRenewal, caller: Principal, spooledAt?: string): Promise<LeaseView> {
    const lease = await held(id, caller, 'change')
    if (lease.state !== 'live') throw stateProblem(lease)
    const at = now()
    const expiresAt = instant(Date.parse(body.expiresAt))
    if (expiresAt <= at) throw new ProblemError('time-out-of-range', 'the lease would have expired already; give it back instead')
    if (expiresAt > after(at, settings.limits.leaseDays * 86400))
      throw new ProblemError('time-out-of-range', `a lease lives ${settings.limits.leaseDays} days at most`)
    if (expiresAt < lease.expiresAt)
      throw new ProblemError('time-out-of-range', 'a renewal does not shorten a lease; give it back instead')
    const unsettled =
      body.renewsUntil === undefined ? undefined : after(instant(Date.parse(body.renewsUntil)), LONGEST_CALL_SECONDS)
    if (unsettled !== undefined && unsettled > after(at, 3600))
      throw new ProblemError('time-out-of-range', 'a renewal at the issuer takes an hour at most')
    const terms = await renewalDiscipline(ports, lease, { at: spooledAt ?? at, expiresAt, spooled: spooledAt !== undefined })
    const by: Actor = { who: caller.uri, why: 'renewal', at }
    const changed = await changeLive(
      table,
      lease,
      {
        set: [
          ['expiresAt', expiresAt],
          ['dueAt', expiresAt],
          ['renewedAt', at],
          ...Object.entries(terms),
          ...(unsettled === undefined ? [] : [['unsettledUntil', later(unsettled, lease.unsettledUntil ?? '')] as const]),
        ],
        // It is overdue no more, and what an outage of ours cost its last term is paid.
        remove: ['overdueSince', 'graceUntil', 'listPk', 'listAt'],
      },
      [['expiresAt', '=', lease.expiresAt]],
      by,
    )
    const current = await leaseOf(table, id)
    if (!changed || current === undefined) throw stateProblem(current ?? lease)
    const { cases } = await look(table, current)
    if (cases.length > 0)
      throw new ProblemError('fenced', 'a scope of the lease is fenced: do not renew it at the issuer', { cases, lease: id })
    return viewOfLease(current)
  }

  /**
   * Given back: the lease ends as if it had expired now. The lease itself says which case does it: an attempt that was
   * killed, or that met a renewal, leaves an empty case behind and can be made again.
   */
  async function release(id: string, caller: Principal): Promise<{ case: string }> {
    const lease = await held(id, caller, 'change')
    if (lease.givenBack !== undefined) return { case: lease.givenBack }
    if (lease.state !== 'live') throw stateProblem(lease)
    const eventId = `given-back/${id}/${now()}`
    const caseId = caseKey('rescind', eventId)
    const { lane } = policyOf('expired', 'leases')
    const reason = 'the consumer gave it back'
    const by: Actor = { who: caller.uri, case: caseId, trigger: 'expired', why: reason, at: now() }
    const chunks = await openExpiry(
      table,
      {
        id: caseId,
        event: key('event', 'rescind', eventId),
        eventId,
        issuer: lease.issuer,
        cause: 'given-back',
        reason,
        lane,
        requester: caller.uri,
        modes: modesFor(settings.modes, 'expired'),
      },
      [lease],
      after(by.at, AGAIN_SECONDS),
      by,
    )
    await sealExpiry(table, caseId, lease.issuer, by)
    if (chunks.length === 0) {
      const current = (await leaseOf(table, id)) ?? lease
      if (current.givenBack === undefined) throw stateProblem(current)
      return { case: current.givenBack }
    }
    await ports.dispatch.work(
      lane,
      chunks.map(
        (chunk): WorkMessage => ({
          v: 1,
          kind: 'chunk',
          case: caseId,
          progress: `leases#${lease.issuer}#0`,
          chunk,
          issuer: lease.issuer,
        }),
      ),
    )
    return { case: caseId }
  }

  return { read, list, confirm, renew, release }
}

const stateProblem = (lease: Lease): ProblemError =>
  lease.state === 'registering'
    ? new ProblemError('lease-state', 'the lease is not acknowledged yet')
    : lease.state === 'live'
      ? new ProblemError('lease-state', 'the lease was changed at the same time: read it and try again')
      : new ProblemError('lease-ended', `the lease is ${lease.state}`, { cases: Object.keys(lease.claims), lease: lease.id })

function cursorOf(cursor: string | undefined): { shard: number; after?: string } {
  if (cursor === undefined) return { shard: 0 }
  let parsed: unknown
  try {
    parsed = JSON.parse(Buffer.from(cursor, 'base64url').toString())
  } catch {
    throw new ProblemError('body-invalid', 'the cursor is not one of ours')
  }
  if (!Array.isArray(parsed) || !Number.isInteger(parsed[0]) || parsed[0] < 0 || parsed[0] > 15)
    throw new ProblemError('body-invalid', 'the cursor is not one of ours')
  const [shard, sort] = parsed
  return { shard, ...(typeof sort === 'string' && sort.startsWith('L#') ? { after: sort } : {}) }
}
