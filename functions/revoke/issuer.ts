import * as z from 'zod/mini'
import type { Lane } from '../contracts/primitives.ts'
import { backoffSeconds } from '../domain/backoff.ts'
import { costOf, DEFAULT_CALLS_PER_SECOND, longestVisit, visitsOf } from '../domain/limiter.ts'
import type { Actor, Breaker, Case, Control, Issuer, Lease } from '../domain/model.ts'
import { after, instant, secondsUntil } from '../domain/time.ts'
import type { Answer, Liveness, Provider, ProviderModule, Subject } from '../providers/contract.ts'
import { IssuerError, IssuerRefused, IssuerThrottled } from '../providers/contract.ts'
import type { Clock, Log, Randomness, Secrets } from '../runtime/ports.ts'
import type { Open } from '../runtime/sealing.ts'
import { Sealed } from '../runtime/sealing.ts'
import { controlAndCase, controlOf, whyStopped } from '../store/control.ts'
import { issuerOf } from '../store/issuers.ts'
import { beginProbe, breakerOf, closeBreaker, dropProbe, openBreaker } from '../store/limits.ts'
import type { Table } from '../store/table.ts'
import { StoreBusy } from '../store/table.ts'
import type { Around } from '../store/visits.ts'
import type { Permits, Shared } from './permits.ts'
import { NotNow, newShared, permits } from './permits.ts'

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
  | {
      readonly kind: 'connected'
      readonly issuer: Issuer
      /** Each call asks whether it may be made, and throws `NotNow` where it may not. */
      readonly provider: Provider
      /**
       * Asks for all calls about so many leases, before it is written down that they are tried: so whoever is turned away
       * has tried nothing.
       */
      reserve(leases: number, methods: readonly Method[]): Promise<Away | undefined>
      /** The visit is over, whatever came of it: gives back what was not used. */
      end(): Promise<void>
    }
  /** Nothing of the issuer's leases can be done before; no attempt is spent on it. */
  | ({ readonly kind: 'not-now' } & Away)
  /** It is not configured, or belongs to another provider: a person must look. */
  | { readonly kind: 'unknown'; readonly said: string }

export interface Away {
  readonly until: string
  readonly said: string
}

export type Method = 'revoke' | 'verify' | 'tidy' | 'restore'
const BATCHED: ReadonlySet<unknown> = new Set<Method>(['revoke', 'verify', 'tidy', 'restore'])

/** A refused admin credential is mended by a person: asked again after ten minutes, or at once when the issuer is declared anew. */
const REFUSED_SECONDS = 600
const UNAVAILABLE_SECONDS = 60
/** What a person stopped is looked at again this often, in seconds. */
const STOPPED_SECONDS = 60
/** All that waited for an issuer come back spread over so many seconds; P0 first. */
const SPREAD: Readonly<Record<Lane, number>> = { p0: 3, p1: 10, p2: 10 }
/**
 * Longest wait on the spot for a place or for tokens, in seconds. On a serial queue nobody else can do an issuer's work
 * meanwhile, and a message that is turned away waits for the sweeper.
 */
const SHORT_WAIT = 6
const SERIAL_WAIT = 20
/** A probe that is under way is waited for so long, in seconds. */
const PROBE_SECONDS = 5

/**
 * The connections of one provider's worker: opened once per issuer and configuration, guarded by the issuer's breaker and
 * limiter.
 */
export function issuerConnections(module: ProviderModule, ports: IssuerPorts) {
  const { table, clock, random } = ports
  const connections = new Map<string, { readonly version: number; readonly provider: Promise<Provider> }>()
  const paces = new Map<string, Shared>()
  const { definition } = module
  const { limits } = definition
  const workers = Number(ports.environment['RESCIND_CONCURRENCY'] ?? limits.concurrency)
  /** What was done already about an error of an issuer, so that whoever catches it does not do it again. */
  const handled = new WeakMap<IssuerError, Away>()
  /** No function lives longer, so no visit does. */
  const holdsFor = longestVisit(limits.callSeconds)

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
        random: (length) => random.bytes(length),
        environment: ports.environment,
      },
    )
  }

  const now = () => instant(clock.now())

  /** Why nothing may be called now: the kill switch, a restored table, or a case that somebody paused. */
  function whyHeld(control: Control | undefined, current: Pick<Case, 'paused'> | undefined): string | undefined {
    const why = whyStopped(control)
    if (why !== undefined || current?.paused === undefined) return why
    return `the case is held by ${current.paused.by} since ${current.paused.at}: ${current.paused.reason}`
  }

  /** The same moment for nobody: what waited for one issuer comes back spread. */
  const spread = (until: string, lane: Lane) => after(until, Math.ceil(random.fraction() * SPREAD[lane]))

  /** What follows from the failure of an issuer as a whole, for whoever asks. Nothing of it is about a lease. */
  async function failed(name: string, error: IssuerError, by: Actor, lane: Lane = 'p1'): Promise<Away> {
    const known = handled.get(error)
    if (known !== undefined) return known
    const away = await consequence(name, error, by, lane)
    handled.set(error, away)
    return away
  }

  const throttledUntil = (error: IssuerThrottled, lane: Lane): Away => ({
    until: spread(after(now(), Math.max(1, error.afterSeconds ?? 1)), lane),
    said: error.message,
  })

  async function consequence(name: string, error: IssuerError, by: Actor, lane: Lane): Promise<Away> {
    if (error instanceof NotNow) return { until: error.until, said: error.message }
    if (error instanceof IssuerThrottled) return throttledUntil(error, lane)
    await drop(name)
    for (;;) {
      const breaker = await breakerOf(table, name)
      const refused = error.code === 'issuer-refused'
      // Of many calls that failed together one opens it; only that a person must mend it is news.
      if (breaker !== undefined && breaker.openUntil > now() && !(refused && breaker.code !== error.code))
        return { until: spread(breaker.openUntil, lane), said: breaker.reason }
      const failures = (breaker?.failures ?? 0) + 1
      const seconds = refused
        ? REFUSED_SECONDS
        : backoffSeconds(failures + 1, random.fraction(), UNAVAILABLE_SECONDS, error.afterSeconds)
      const until = after(now(), seconds)
      const told = { ...by, at: now() }
      if (!(await openBreaker(table, name, breaker, { until, code: error.code, reason: error.message }, told))) continue
      ports.log.warn('the issuer does not serve us', { issuer: name, code: error.code, seconds })
      return { until: spread(until, lane), said: error.message }
    }
  }

  /**
   * Takes the place of the probe, where the breaker's time is over.
   *
   * @returns its name; or why nobody may call
   */
  async function probing(breaker: Breaker, lane: Lane, by: Actor): Promise<string | Away> {
    if (breaker.openUntil > now()) return { until: spread(breaker.openUntil, lane), said: breaker.reason }
    const away = { until: spread(after(now(), PROBE_SECONDS), lane), said: `${breaker.reason}; it is being tried again` }
    if (
      breaker.probe !== undefined &&
      breaker.probe.until > now() &&
      breaker.probe.until <= after(now(), holdsFor + SKEW_SECONDS)
    )
      return away
    const name = visitName()
    const begun = await beginProbe(table, breaker, { name, until: after(now(), holdsFor) }, { ...by, at: now() })
    return begun ? name : away
  }

  const visitName = () => Buffer.from(random.bytes(9)).toString('base64url')

  /** What one visit may call. */
  function visitOf(issuer: Issuer, lane: Lane, by: Actor): Permits {
    const visit = {
      issuer: issuer.name,
      name: visitName(),
      lane,
      ceiling: issuer.limits?.callsPerSecond ?? limits.callsPerSecond ?? DEFAULT_CALLS_PER_SECOND,
      atMost: visitsOf(workers, lane),
      holdsFor,
      waits: definition.serial ? SERIAL_WAIT : SHORT_WAIT,
    }
    const shared = paces.get(issuer.name) ?? newShared()
    paces.set(issuer.name, shared)
    return permits({ table, clock, random }, visit, by, shared)
  }

  /** The provider with a look before each of its calls, so that what is stopped stops between two pages of one chunk as well. */
  function connected(
    issuer: Issuer,
    provider: Provider,
    caseId: string | undefined,
    lane: Lane,
    probe: string | undefined,
    by: Actor,
  ) {
    const { name } = issuer
    const calls = visitOf(issuer, lane, by)
    let tries = probe
    const cost = (leases: number) => costOf(limits.callsPerLease ?? 0, leases)

    /** Why the call is not made. A table that does not answer is no answer of the issuer's, and nothing of it is about a lease. */
    async function mayCall(tokens: number): Promise<NotNow | undefined> {
      try {
        const why =
          caseId === undefined
            ? whyHeld(await controlOf(table), undefined)
            : await controlAndCase(table, caseId).then(({ control, current }) => whyHeld(control, current))
        return why === undefined ? await calls.spend(tokens) : new NotNow(after(now(), STOPPED_SECONDS), why)
      } catch (error) {
        if (!(error instanceof StoreBusy)) throw error
        return new NotNow(spread(after(now(), 1), lane), 'our own table does not answer')
      }
    }

    /** What is only noted must not cost the issuer's answer: the next call notes the same, and a place is free by itself. */
    async function noted(note: () => Promise<void>): Promise<void> {
      try {
        await note()
      } catch (error) {
        if (!(error instanceof StoreBusy)) throw error
        ports.log.warn('the limiter of an issuer could not be written', { issuer: name, code: error.code })
      }
    }

    async function called<Result>(
      method: string | symbol,
      parameters: readonly unknown[],
      call: () => Promise<Result>,
    ): Promise<Result> {
      const away = await mayCall(cost(BATCHED.has(method) ? sizeOf(parameters) : method === 'discover' ? mostOf(parameters) : 1))
      if (away !== undefined) throw away
      let result: Result
      try {
        result = await call()
      } catch (error) {
        if (error instanceof IssuerError)
          await noted(async () => {
            if (error.code === 'issuer-throttled') await calls.throttled(error.afterSeconds)
            await failed(name, error, by, lane)
          })
        throw error
      }
      const hint = throttling(result)
      await noted(async () => {
        if (hint !== undefined) await calls.throttled(hint.afterSeconds)
        // It served us: what its breaker complained of is over.
        if (tries !== undefined) await closeBreaker(table, name, tries)
        tries = undefined
      })
      // What is asked one by one has no answer to keep.
      if (hint !== undefined && !Array.isArray(result)) {
        const { afterSeconds } = hint
        throw new IssuerThrottled(hint.said.slice(0, LONGEST_SAID), afterSeconds === undefined ? {} : { afterSeconds })
      }
      return result
    }

    return {
      kind: 'connected' as const,
      issuer,
      provider: new Proxy(provider, {
        get(target, property) {
          const method: unknown = Reflect.get(target, property)
          if (typeof method !== 'function' || property === 'close') return method
          return async (...parameters: unknown[]): Promise<unknown> => {
            try {
              return await called(property, parameters, async (): Promise<unknown> => Reflect.apply(method, target, parameters))
            } catch (error) {
              const untouched = error instanceof IssuerThrottled || error instanceof NotNow
              if (!untouched || (property !== 'revoke' && property !== 'verify')) throw error
              // Nothing was tried. That is an answer about each lease: thrown, it would be an answer that was lost.
              const { until, said } =
                error instanceof NotNow ? { until: error.until, said: error.message } : throttledUntil(error, lane)
              const afterSeconds = Math.max(1, secondsUntil(until, now()))
              const status = property === 'revoke' ? 'retry' : 'unknown'
              return Array.from({ length: sizeOf(parameters) }, () => ({
                ...{ status, said, afterSeconds, throttled: true },
                ...(status === 'retry' ? { effect: 'none' } : {}),
              }))
            }
          }
        },
      }),
      async reserve(leases: number, methods: readonly Method[]): Promise<Away | undefined> {
        const away = await calls.reserve(methods.length * cost(leases))
        return away === undefined ? undefined : { until: away.until, said: away.message }
      },
      async end(): Promise<void> {
        const over = tries
        tries = undefined
        await noted(() => calls.end())
        if (over !== undefined) await noted(() => dropProbe(table, name, over, { ...by, at: now() }))
      },
    }
  }

  return {
    /**
     * The one way to an issuer. Whoever is let in calls `end` when the visit is over.
     *
     * @param current the case in whose name it is called, as it was just read: it calls nobody while it is paused, which
     *   is looked at again before each call. Without one only the kill switch and a restored table stand in the way, so
     *   that a cut of a paused case can be undone.
     * @param known the issuer, where it was just read
     * @param lane where there is no case to say it
     * @param calling what may stand in the way, where it was just read
     */
    async reach(
      name: string,
      by: Actor,
      current?: Pick<Case, 'id' | 'paused' | 'lane'>,
      known?: Issuer,
      lane: Lane = current?.lane ?? 'p1',
      calling?: Around['calling'],
    ): Promise<Reached> {
      const [control, issuer, breaker] = await Promise.all([
        calling === undefined ? controlOf(table) : calling.control,
        known ?? issuerOf(table, name),
        calling === undefined ? breakerOf(table, name) : calling.breaker,
      ])
      const why = whyHeld(control, current)
      if (why !== undefined) return { kind: 'not-now', until: after(now(), STOPPED_SECONDS), said: why }
      if (issuer === undefined) return { kind: 'unknown', said: `issuer ${name} is not configured` }
      if (issuer.provider !== definition.name)
        return { kind: 'unknown', said: `provider ${issuer.provider} of issuer ${name} is not enabled` }
      const probe = breaker === undefined ? undefined : await probing(breaker, lane, by)
      if (typeof probe === 'object') return { kind: 'not-now', ...probe }
      try {
        return connected(issuer, await connect(issuer), current?.id, lane, probe, by)
      } catch (error) {
        if (!(error instanceof IssuerError)) throw error
        if (error.code === 'issuer-throttled') {
          await visitOf(issuer, lane, by).throttled(error.afterSeconds)
          if (probe !== undefined) await dropProbe(table, name, probe, { ...by, at: now() })
        }
        return { kind: 'not-now', ...(await failed(name, error, by, lane)) }
      }
    },
    failed,
    drop,
  }
}

/** Clocks of workers differ by less, in seconds. */
const SKEW_SECONDS = 2

/** Of a page of a list, as many as may come. */
const mostOf = ([_from, most]: readonly unknown[]): number => (typeof most === 'number' ? most : 1)
const sizeOf = ([batch]: readonly unknown[]): number => (Array.isArray(batch) ? batch.length : 1)

/** The first answer that says that the issuer throttled us. */
function throttling(result: unknown): { readonly said: string; readonly afterSeconds: number | undefined } | undefined {
  for (const answer of Array.isArray(result) ? result : [result]) {
    if (typeof answer !== 'object' || answer === null || !('throttled' in answer) || answer.throttled !== true) continue
    return {
      said: 'said' in answer && typeof answer.said === 'string' ? answer.said : '',
      afterSeconds: 'afterSeconds' in answer && typeof answer.afterSeconds === 'number' ? answer.afterSeconds : undefined,
    }
  }
  return undefined
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
