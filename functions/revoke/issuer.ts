import * as z from 'zod/mini'
import { backoffSeconds } from '../domain/backoff.ts'
import type { Actor, Case, Issuer, Lease } from '../domain/model.ts'
import { after, instant } from '../domain/time.ts'
import type { Answer, Liveness, Provider, ProviderModule, Subject } from '../providers/contract.ts'
import { IssuerError, IssuerRefused } from '../providers/contract.ts'
import type { Clock, Log, Randomness, Secrets } from '../runtime/ports.ts'
import type { Open } from '../runtime/sealing.ts'
import { Sealed } from '../runtime/sealing.ts'
import { caseOf } from '../store/cases.ts'
import { controlOf, whyStopped } from '../store/control.ts'
import { breakerOf, closeBreaker, issuerOf, openBreaker } from '../store/issuers.ts'
import type { Table } from '../store/table.ts'

export interface IssuerPorts {
  readonly table: Table
  readonly clock: Clock
  readonly random: Randomness
  readonly secrets: Secrets
  readonly open: Open
  readonly log: Log
  readonly environment: Readonly<Record<string, string | undefined>>
}

/** An issuer that answers, or why it does not. */
export type Reached =
  | { readonly kind: 'connected'; readonly issuer: Issuer; readonly provider: Provider }
  /** Nothing of the issuer's leases can be done before; no attempt is spent on it. */
  | { readonly kind: 'not-now'; readonly until: string; readonly said: string }
  /** It is not configured, or belongs to another provider: a person must look. */
  | { readonly kind: 'unknown'; readonly said: string }

/** A refused admin credential is mended by a person: asked again after ten minutes, or at once when the issuer is declared anew. */
const REFUSED_SECONDS = 600
const UNAVAILABLE_SECONDS = 60
/** What a person stopped is looked at again this often, in seconds. */
const STOPPED_SECONDS = 60

/** A person stopped all calls, or those of this case: nothing failed, and no breaker opens. */
class Stopped extends IssuerError {
  readonly code = 'issuer-unavailable'
}

/**
 * The connections of one provider's worker: opened once per issuer and configuration, guarded by the issuer's breaker.
 */
export function issuerConnections(module: ProviderModule, ports: IssuerPorts) {
  const { table, clock, random } = ports
  const connections = new Map<string, { readonly version: number; readonly provider: Promise<Provider> }>()
  const { definition } = module

  async function drop(name: string): Promise<void> {
    const known = connections.get(name)
    connections.delete(name)
    if (known !== undefined) await end(name, known)
  }

  async function end(name: string, known: { readonly provider: Promise<Provider> }): Promise<void> {
    const provider = await known.provider.catch(() => undefined)
    // The connection is given up anyway; an error on closing it says nothing about any lease.
    await provider
      ?.close()
      .catch((error: unknown) =>
        ports.log.warn('a connection did not close', { issuer: name, reason: error instanceof Error ? error.name : 'unknown' }),
      )
  }

  async function connect(issuer: Issuer): Promise<Provider> {
    const known = connections.get(issuer.name)
    if (known?.version === issuer.v) return known.provider
    // Entered before anything is awaited: whoever comes meanwhile waits for this connection instead of opening another.
    const made = { version: issuer.v, provider: open(issuer, known) }
    connections.set(issuer.name, made)
    try {
      return await made.provider
    } catch (error) {
      if (connections.get(issuer.name) === made) connections.delete(issuer.name)
      throw error
    }
  }

  async function open(issuer: Issuer, old: { readonly provider: Promise<Provider> } | undefined): Promise<Provider> {
    if (old !== undefined) await end(issuer.name, old)
    const settings = z.safeParse(definition.settings, issuer.settings)
    if (!settings.success) throw new IssuerRefused(`the settings of issuer ${issuer.name} do not fit provider ${definition.name}`)
    const { adminSecret } = issuer
    return module.connect(
      { name: issuer.name, settings: settings.data },
      {
        adminSecret: async () => {
          if (adminSecret === undefined) return ''
          try {
            return await ports.secrets.get(adminSecret)
          } catch (cause) {
            throw new IssuerRefused(`the admin secret of issuer ${issuer.name} cannot be read`, { cause })
          }
        },
        now: () => clock.now(),
        environment: ports.environment,
      },
    )
  }

  const now = () => instant(clock.now())

  /** Why nothing may be called now: the kill switch, a restored table, or a case that somebody paused. */
  async function stopped(reading: Promise<Pick<Case, 'paused'> | undefined>): Promise<string | undefined> {
    const [control, current] = await Promise.all([controlOf(table), reading])
    const why = whyStopped(control)
    if (why !== undefined || current?.paused === undefined) return why
    return `the case is held by ${current.paused.by} since ${current.paused.at}: ${current.paused.reason}`
  }

  /** The provider with a look before each of its calls, so that what is stopped stops between two pages of one chunk as well. */
  function guarded(provider: Provider, caseId: string | undefined): Provider {
    return new Proxy(provider, {
      get(target, name) {
        const method: unknown = Reflect.get(target, name)
        if (typeof method !== 'function' || name === 'close') return method
        return async (...parameters: unknown[]) => {
          const why = await stopped(caseId === undefined ? Promise.resolve(undefined) : caseOf(table, caseId))
          if (why !== undefined) throw new Stopped(why)
          return Reflect.apply(method, target, parameters)
        }
      },
    })
  }

  /** Opens the breaker after the issuer failed as a whole. */
  async function failed(name: string, error: IssuerError, by: Actor): Promise<{ until: string; said: string }> {
    if (error instanceof Stopped) return { until: after(now(), STOPPED_SECONDS), said: error.message }
    await drop(name)
    const failures = ((await breakerOf(table, name))?.failures ?? 0) + 1
    const seconds =
      error.code === 'issuer-refused'
        ? REFUSED_SECONDS
        : backoffSeconds(failures + 1, random.fraction(), UNAVAILABLE_SECONDS, error.afterSeconds)
    const until = instant(clock.now() + seconds * 1000)
    await openBreaker(table, name, { until, code: error.code, reason: error.message }, by)
    ports.log.warn('the issuer does not serve us', { issuer: name, code: error.code, seconds })
    return { until, said: error.message }
  }

  return {
    /**
     * The one way to an issuer.
     *
     * @param current the case in whose name it is called, as it was just read: it calls nobody while it is paused, which
     *   is looked at again before each call. Without one only the kill switch and a restored table stand in the way, so
     *   that a cut of a paused case can be undone.
     * @param known the issuer, where it was just read
     */
    async reach(name: string, by: Actor, current?: Pick<Case, 'id' | 'paused'>, known?: Issuer): Promise<Reached> {
      const why = await stopped(Promise.resolve(current))
      if (why !== undefined) return { kind: 'not-now', until: after(now(), STOPPED_SECONDS), said: why }
      const issuer = known ?? (await issuerOf(table, name))
      if (issuer === undefined) return { kind: 'unknown', said: `issuer ${name} is not configured` }
      if (issuer.provider !== definition.name)
        return { kind: 'unknown', said: `provider ${issuer.provider} of issuer ${name} is not enabled` }
      const breaker = await breakerOf(table, name)
      if (breaker !== undefined && breaker.openUntil > instant(clock.now()))
        return { kind: 'not-now', until: breaker.openUntil, said: breaker.reason }
      try {
        const provider = await connect(issuer)
        return { kind: 'connected', issuer, provider: guarded(provider, current?.id) }
      } catch (error) {
        if (!(error instanceof IssuerError)) throw error
        return { kind: 'not-now', ...(await failed(name, error, by)) }
      }
    },
    failed,
    /** The issuer served us: what its breaker complained of is over. */
    async served(name: string): Promise<void> {
      if ((await breakerOf(table, name)) !== undefined) await closeBreaker(table, name)
    },
    drop,
  }
}

/** Evidence takes 1024 characters, ours around the issuer's words included. */
export const LONGEST_SAID = 900

/** A lease whose handle cannot be used: what is wrong is said without a value. */
export interface Unusable {
  readonly lease: Lease
  readonly said: string
}

/** Leases as their provider wants them: targets parsed, sealed handles opened. */
export async function subjectsOf(
  module: ProviderModule,
  leases: readonly Lease[],
  open: Open,
): Promise<{ subjects: { lease: Lease; subject: Subject }[]; unusable: Unusable[] }> {
  const subjects: { lease: Lease; subject: Subject }[] = []
  const unusable: Unusable[] = []
  for (const lease of leases) {
    const target = z.safeParse(module.definition.target, lease.target)
    if (!target.success) {
      unusable.push({ lease, said: 'the target no longer fits its provider' })
      continue
    }
    if (lease.sealed === undefined) {
      subjects.push({ lease, subject: { lease: lease.id, target: target.data } })
      continue
    }
    const sealed = z.safeParse(Sealed, lease.sealed)
    const schema = module.definition.secret
    if (!sealed.success || schema === undefined) {
      unusable.push({ lease, said: 'the sealed handle no longer fits its provider' })
      continue
    }
    // A seal that does not open is this lease's trouble; a key service that does not answer is everybody's, and is thrown.
    const opened = await open({ lease: lease.id, provider: lease.provider, issuer: lease.issuer }, sealed.data).catch(
      (error: unknown) => {
        if (error instanceof Error && 'code' in error && error.code === 'seal-broken') return undefined
        throw error
      },
    )
    const secret = opened === undefined ? undefined : z.safeParse(schema, JSON.parse(opened))
    if (secret?.success !== true) unusable.push({ lease, said: 'the sealed handle does not open' })
    else subjects.push({ lease, subject: { lease: lease.id, target: target.data, secret: secret.data } })
  }
  return { subjects, unusable }
}

/**
 * One call for a batch; where it fails as a batch, its leases are tried one by one, so that a poisoned lease harms no
 * other. An issuer that fails as a whole is thrown on.
 */
export async function eachAnswered<Result extends { readonly said: string }>(
  batch: readonly Subject[],
  call: (batch: readonly Subject[]) => Promise<readonly Result[]>,
  instead: (error: unknown) => Result,
): Promise<Result[]> {
  try {
    const results = await call(batch)
    if (results.length === batch.length) return results.map((result) => ({ ...result, said: result.said.slice(0, LONGEST_SAID) }))
    throw new Error(`the provider gave ${results.length} answers for ${batch.length} leases`)
  } catch (error) {
    if (error instanceof IssuerError) throw error
    if (batch.length <= 1) return batch.map(() => instead(error))
    const results: Result[] = []
    for (const subject of batch) results.push(...(await eachAnswered([subject], call, instead)))
    return results
  }
}

/** An error of one lease's own: its text may come from the issuer and hold anything, so only its code is repeated. */
const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' && /^[\w.-]{1,64}$/.test(error.code)
    ? error.code
    : 'unexpected error'

export const unclear = (error: unknown): Answer => ({
  status: 'retry',
  said: `the provider failed: ${codeOf(error)}`,
  effect: 'unknown',
})
export const unknowable = (error: unknown): Liveness => ({ status: 'unknown', said: `the provider failed: ${codeOf(error)}` })
