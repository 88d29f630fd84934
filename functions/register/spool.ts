import { createHmac, timingSafeEqual } from 'node:crypto'
import type { LeaseAnswer, LeaseRenewal, LeaseView } from '../contracts/lease.ts'
import type { Spool, SpooledRegistration, SpooledRenewal, SpoolResult } from '../contracts/outage.ts'
import { canonicalJson } from '../domain/canonical.ts'
import { canonicalIdentity, IdentityInvalid } from '../domain/identity.ts'
import { isWithin, outageTerms } from '../domain/outage.ts'
import { after, instant } from '../domain/time.ts'
import type { Mac } from '../providers/contract.ts'
import type { Principal } from '../runtime/authentication.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import { knownOutagesAt } from '../store/outage.ts'
import type { holder } from './holder.ts'
import type { RegisterPorts, registrar } from './register.ts'

/**
 * The key that notes of one identity are signed with. The inner hash never leaves the function, so no text that anybody
 * can have hashed with the installation's key (a pasted secret) gives this key.
 */
export const spoolKeyOf = (mac: Mac, identity: string): string => mac(`spool/v1/${mac(`spool/v1/${identity}`)}`)

/** The answer to a registration or a renewal. */
export async function answerOf(ports: Pick<RegisterPorts, 'mac'>, lease: LeaseView): Promise<LeaseAnswer> {
  return lease.outage === 'spool' ? { ...lease, spoolKey: spoolKeyOf(await ports.mac(), lease.identity) } : lease
}

type Entry = SpooledRegistration | SpooledRenewal
type Result = SpoolResult['results'][number]

/**
 * Takes in what clients noted while the pipeline could not be reached. Each entry is proven by its signature, and then
 * registered as the existing credential that it is: under a fence it is recorded and cut. Repeating a request changes
 * nothing: leases follow from their idempotency keys, and a renewal does not shorten.
 */
export function spooler(ports: RegisterPorts, register: ReturnType<typeof registrar>, leases: ReturnType<typeof holder>) {
  const { table, clock, settings } = ports
  const { spoolHours } = outageTerms(settings.outage)

  return async function take({ entries }: Spool, caller: Principal): Promise<SpoolResult> {
    const mac = await ports.mac()
    const results: Result[] = []
    for (const entry of entries) {
      try {
        results.push('registration' in entry ? await registration(entry, mac, caller) : await renewal(entry, mac, caller))
      } catch (error) {
        results.push(refused(error))
      }
    }
    return { results }
  }

  async function registration(entry: SpooledRegistration, mac: Mac, caller: Principal): Promise<Result> {
    const identity = entry.registration.identity === undefined ? caller.uri : canonicalIdentity(entry.registration.identity)
    const at = await proven(entry, spoolKeyOf(mac, identity))
    if (entry.registration.registers !== 'credential')
      throw new ProblemError('body-invalid', 'only credentials that exist are taken from a spool')
    const { lease } = await register(entry.registration, entry.idempotencyKey, caller, at)
    return { status: 'registered', lease: lease.id }
  }

  async function renewal(entry: SpooledRenewal, mac: Mac, caller: Principal): Promise<Result> {
    const { lease: id, ...renewed } = entry.renewal
    const current = await leases.read(id, caller)
    const at = await proven(entry, spoolKeyOf(mac, current.identity))
    // A later renewal came first: what this one asked for has been so already.
    if (current.state === 'live' && current.expiresAt >= instant(Date.parse(renewed.expiresAt)))
      return { status: 'renewed', lease: id }
    const lease = await leases.renew(id, renewed satisfies LeaseRenewal, caller, at)
    return { status: 'renewed', lease: lease.id }
  }

  /** When it was noted, once its signature and its time are believed. */
  async function proven({ signature, ...note }: Entry, key: string): Promise<string> {
    const expected = createHmac('sha256', key).update(canonicalJson(note)).digest()
    if (!timingSafeEqual(expected, Buffer.from(signature, 'hex')))
      throw new ProblemError('signature-invalid', 'the signature does not fit the note')
    const now = instant(clock.now())
    const at = instant(Date.parse(note.at))
    if (at > after(now, settings.limits.clockSkewSeconds))
      throw new ProblemError('time-out-of-range', 'the note is of a moment that is still to come')
    if (at < after(now, -spoolHours * 3600) && !isWithin(at, await knownOutagesAt(table, settings.outage, at, now)))
      throw new ProblemError('time-out-of-range', `the note is older than ${spoolHours} hours and lies in no known outage`)
    return at
  }
}

function refused(error: unknown): Result {
  if (error instanceof IdentityInvalid) return { status: 'refused', code: 'body-invalid', detail: error.message }
  if (!(error instanceof ProblemError)) throw error
  return {
    status: error.code === 'fenced' && error.lease !== undefined ? 'cut' : 'refused',
    code: error.code,
    ...(error.lease === undefined ? {} : { lease: error.lease }),
    ...(error.detail === undefined ? {} : { detail: error.detail }),
    ...(error.cases === undefined ? {} : { cases: [...error.cases] }),
    ...(error.errors === undefined ? {} : { errors: error.errors.map((one) => ({ ...one })) }),
  }
}
