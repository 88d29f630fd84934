import type {
  Answer,
  Clue,
  IssuerHandle,
  LeverAnswer,
  Liveness,
  Located,
  Provider,
  ProviderModule,
  Restored,
  Subject,
  Tools,
} from '../contract.ts'
import type { Session } from './agent.ts'
import { isOpenedWith } from './agent.ts'
import { isSigned, readCertificate } from './certificate.ts'
import type { Lever, Settings, Target } from './definition.ts'
import { definition } from './definition.ts'
import type { Address, State, Visited } from './fleet.ts'
import { changed, ended, onEach } from './fleet.ts'
import type { Entry, Held, Why } from './held.ts'
import { fingerprintOf } from './wire.ts'

type Batch = readonly Subject<Target, never>[]

/** How the hosts of one issuer are reached: by SSH, or in memory. */
export interface Dialler {
  /** @throws IssuerRefused an unusable secret */
  dial(secret: string): { readonly addresses: readonly Address[]; readonly adminKey: string }
  /** Ends every connection. */
  close(): void
}

export const sshModule = (
  diallerOf: (settings: Settings, tools: Tools) => Dialler,
): ProviderModule<Target, never, Lever, Settings> => ({
  definition,
  async connect(issuer, tools) {
    const connected = new SshProvider(issuer, tools, diallerOf(issuer.settings, tools))
    await connected.states()
    return connected
  },
})

/** What a cut left on one host. */
interface Cut {
  readonly before: readonly boolean[]
  readonly state: State
  readonly ended: readonly Session[]
}

class SshProvider implements Provider<Target, never, Lever> {
  readonly #settings: Settings
  readonly #tools: Tools
  readonly #dialler: Dialler
  readonly #authorities: ReadonlyMap<string, { readonly key: Buffer; readonly longestSeconds: number | undefined }>

  constructor({ settings }: IssuerHandle<Settings>, tools: Tools, dialler: Dialler) {
    this.#settings = settings
    this.#tools = tools
    this.#dialler = dialler
    this.#authorities = new Map(
      settings.authorities.map(({ publicKey, longestSeconds }) => {
        const key = Buffer.from(publicKey.split(' ')[1] ?? '', 'base64')
        return [fingerprintOf(key), { key, longestSeconds }]
      }),
    )
  }

  /** The secret is read anew for each piece of work. */
  async #reach(): Promise<ReturnType<Dialler['dial']>> {
    return this.#dialler.dial(await this.#tools.adminSecret())
  }

  async states(): Promise<Visited<State>[]> {
    const { addresses } = await this.#reach()
    return await onEach(addresses, this.#tools.now, async (_, state) => state)
  }

  async revoke(batch: Batch): Promise<Answer[]> {
    if (batch.length === 0) return []
    const { addresses, adminKey } = await this.#reach()
    const plans = batch.map(({ target }) => this.#entryOf(target, adminKey))
    const visits = await this.#cut(addresses, plans.filter(isEntry), 'revoked')
    return plans.map((plan) => (isEntry(plan) ? this.#answerOf(plan, plans.filter(isEntry).indexOf(plan), visits) : plan))
  }

  async verify(batch: Batch): Promise<Liveness[]> {
    if (batch.length === 0) return []
    const { addresses, adminKey } = await this.#reach()
    const visits = await onEach(addresses, this.#tools.now, async (_, state) => state)
    return batch.map(({ target }) => {
      const entry = this.#entryOf(target, adminKey)
      return isEntry(entry) ? this.#livenessOf(entry, visits) : { status: 'unknown', said: entry.said }
    })
  }

  async restore(batch: Batch): Promise<Restored[]> {
    if (batch.length === 0) return []
    const { addresses, adminKey } = await this.#reach()
    const plans = batch.map(({ target }) => this.#entryOf(target, adminKey))
    const entries = plans.filter(isEntry)
    const visits = await this.#undo(addresses, entries, 'revoked')
    return plans.map((plan) => {
      if (!isEntry(plan)) return { status: 'refused', said: plan.said }
      return restoredOf(
        visits.map((visit) => ('error' in visit ? visit : { ...visit, result: visit.result[entries.indexOf(plan)] })),
      )
    })
  }

  async contain(lever: Lever): Promise<LeverAnswer> {
    const { addresses } = await this.#reach()
    const entry = this.#authorityEntry({ kind: 'key-id', ...lever })
    if (!isEntry(entry)) {
      await this.states()
      return { status: 'unsupported', said: entry.said }
    }
    const visits = await this.#cut(addresses, [entry], 'contained')
    const answer = this.#answerOf(entry, 0, visits)
    if (answer.status === 'revoked') return { status: 'done', said: answer.said }
    return answer.status === 'retry' ? { status: 'retry', said: answer.said } : { status: 'unsupported', said: answer.said }
  }

  async release(lever: Lever): Promise<LeverAnswer> {
    const { addresses } = await this.#reach()
    const entry = this.#authorityEntry({ kind: 'key-id', ...lever })
    if (!isEntry(entry)) {
      await this.states()
      return { status: 'unsupported', said: entry.said }
    }
    const visits = await this.#undo(addresses, [entry], 'contained')
    const answer = restoredOf(visits.map((visit) => ('error' in visit ? visit : { ...visit, result: visit.result[0] })))
    if (answer.status === 'retry') return answer
    return { status: 'done', said: answer.said }
  }

  async locate({ certificate }: Clue['query']): Promise<Located<Target, Lever>> {
    const visits = await this.states()
    const shown = certificate === undefined ? undefined : readCertificate(Buffer.from(certificate, 'base64'))
    if (shown === undefined)
      return { status: 'unknown', said: 'no host knows whom it would let in: only a certificate proves itself' }
    const ca = fingerprintOf(shown.authority)
    if (!this.#authorities.has(ca)) return { status: 'unknown', said: `no authority of this issuer signed it, ${ca} did` }
    if (!isSigned(shown)) return { status: 'unknown', said: `its signature is not that of ${ca}` }
    const entry: Entry = { kind: 'certificate', authority: shown.authority, serial: shown.serial }
    const refusing = visits.filter((visit) => 'result' in visit && visit.result.held.has(entry))
    return {
      status: 'found',
      said: `signed by ${ca}; refused by ${refusing.length} of ${visits.length} hosts`,
      target: { kind: 'certificate', ca, serial: String(shown.serial) },
      ...expiryOf(shown.validBefore),
    }
  }

  async close(): Promise<void> {
    this.#dialler.close()
  }

  /** What a list is told to refuse; or why it must not be. */
  #entryOf(target: Target, adminKey: string): Entry | Extract<Answer, { status: 'irrevocable' }> {
    if (target.kind !== 'key') return this.#authorityEntry(target)
    const { fingerprint } = target
    if (fingerprint === adminKey) return { status: 'irrevocable', said: 'it is the key that the hosts are reached by' }
    if (this.#authorities.has(fingerprint)) {
      return { status: 'irrevocable', said: 'it is the key of an authority: with it all certificates of all would end' }
    }
    return { kind: 'key', fingerprint }
  }

  #authorityEntry(target: Exclude<Target, { kind: 'key' }>): Entry | Extract<Answer, { status: 'irrevocable' }> {
    const authority = this.#authorities.get(target.ca)?.key
    if (authority === undefined) return { status: 'irrevocable', said: `${target.ca} is no authority of this issuer` }
    if (target.kind === 'certificate') return { kind: 'certificate', authority, serial: BigInt(target.serial) }
    return { kind: 'key-id', authority, keyId: Buffer.from(target.keyId).toString('latin1') }
  }

  async #cut(addresses: readonly Address[], entries: readonly Entry[], why: Why): Promise<Visited<Cut>[]> {
    const seconds = Math.floor(this.#tools.now() / 1000)
    return await onEach(addresses, this.#tools.now, async (host, first, name): Promise<Cut> => {
      let before: readonly boolean[] = []
      const add = (held: Held) => {
        before = entries.map((entry) => held.has(entry))
        return entries.map((entry) => held.add(entry, why, this.#sweptAt(entry, seconds))).includes(true)
      }
      const state = await changed(host, first, name, seconds, add)
      if (this.#settings.sessions.mode === 'leave') return { before, state, ended: [] }
      return { before, ...(await ended(host, name, state, entries)) }
    })
  }

  /** A key id may be signed again tomorrow, and a key never ends: only certificates are swept. */
  #sweptAt(entry: Entry, seconds: number): number | undefined {
    if (entry.kind !== 'certificate') return undefined
    const longest = this.#authorities.get(fingerprintOf(entry.authority))?.longestSeconds
    return longest === undefined ? undefined : seconds + longest
  }

  async #undo(addresses: readonly Address[], entries: readonly Entry[], why: Why): Promise<Visited<Undone[]>[]> {
    const seconds = Math.floor(this.#tools.now() / 1000)
    return await onEach(addresses, this.#tools.now, async (host, first, name) => {
      let undone: Undone[] = []
      await changed(host, first, name, seconds, (held) => {
        undone = entries.map((entry) => held.remove(entry, why))
        return undone.some((one) => one === 'removed' || one === 'held')
      })
      return undone
    })
  }

  #answerOf(entry: Entry, place: number, visits: readonly Visited<Cut>[]): Answer {
    const missing = missingOf(visits)
    const cuts = visits.flatMap((visit) => ('result' in visit ? [{ name: visit.name, ...visit.result }] : []))
    const sessions = cuts.flatMap((cut) => cut.ended).filter((session) => isOpenedWith(session, entry)).length
    const ends = this.#settings.sessions.mode === 'end'
    const told = sessions === 0 ? '' : `; sessions ended: ${sessions}`
    if (missing !== undefined) return { status: 'retry', said: `${missing}${told}`, effect: 'unknown' }
    const gone = cuts.find(({ state }) => !state.held.has(entry))
    if (gone !== undefined)
      return { status: 'retry', said: `another has taken it out of the list of ${gone.name}`, effect: 'unknown' }
    const left = ends ? cuts.find(({ state }) => state.look.sessions.some((session) => isOpenedWith(session, entry))) : undefined
    if (left !== undefined)
      return { status: 'retry', said: `refused, but ${left.name} has a session of it open`, effect: 'unknown' }
    const already = cuts.every(({ before }) => before[place] === true)
    const said = `refused by ${cuts.length === 1 ? 'the host' : `all ${cuts.length} hosts`}${already ? ', as before' : ''}${told}`
    if (!ends) return this.#leftOpen(said)
    const blind = cuts.find(({ state }) => state.look.sees !== 'seen')
    if (blind !== undefined) {
      const reason = `the agent of ${blind.name} does not see sessions (${blind.state.look.sees})`
      return { status: 'irrevocable', said: `${said}, but what was opened before may live on: ${reason}` }
    }
    return { status: 'revoked', said: `${said}${strangersOf(cuts)}` }
  }

  #leftOpen(said: string): Answer {
    const { sessions } = this.#settings
    const until =
      sessions.mode === 'leave' && sessions.lastSeconds !== undefined
        ? { sessionsUntil: new Date(this.#tools.now() + sessions.lastSeconds * 1000).toISOString() }
        : {}
    return { status: 'revoked', said: `${said}; sessions that were open live on`, ...until }
  }

  #livenessOf(entry: Entry, visits: readonly Visited<State>[]): Liveness {
    const seen = visits.flatMap((visit) => ('result' in visit ? [{ name: visit.name, state: visit.result }] : []))
    const open = seen.find(({ state }) => !state.held.has(entry))
    if (open !== undefined) return { status: 'alive', said: `not in the list of ${open.name}` }
    const live = seen.find(({ state }) => state.look.sessions.some((session) => isOpenedWith(session, entry)))
    if (live !== undefined) return { status: 'alive', said: `a session of it is open on ${live.name}` }
    const missing = missingOf(visits)
    if (missing !== undefined) return { status: 'unknown', said: missing }
    const refused = seen.length === 1 ? 'refused by the host' : `refused by all ${seen.length} hosts`
    const blind = seen.find(({ state }) => state.look.sees !== 'seen')
    if (blind !== undefined) return { status: 'unknown', said: `${refused}; sessions on ${blind.name} are not seen` }
    const strangers = strangersOf(seen)
    if (strangers !== '') return { status: 'unknown', said: `${refused}${strangers}` }
    return { status: 'dead', said: `${refused}; no session of it is open` }
  }
}

type Undone = ReturnType<Held['remove']>

const isEntry = (plan: Entry | { readonly status: string }): plan is Entry => 'kind' in plan

/** Which hosts do not have it yet, and why the first of them does not. */
function missingOf(visits: readonly Visited<unknown>[]): string | undefined {
  const failed = visits.flatMap((visit) => ('error' in visit ? [visit] : []))
  const [first] = failed
  if (first === undefined) return undefined
  const names = failed.map(({ name }) => name).slice(0, 5)
  return `${visits.length - failed.length} of ${visits.length} hosts answer, not ${names.join(', ')}: ${first.error.message}`
}

function strangersOf(seen: readonly { readonly name: string; readonly state: State }[]): string {
  const strange = seen.filter(({ state }) => state.look.strangers > 0)
  const [first] = strange
  if (first === undefined) return ''
  const count = strange.reduce((sum, { state }) => sum + state.look.strangers, 0)
  return `; of ${count} open sessions sshd's log does not tell who opened them (${first.name})`
}

function restoredOf(visits: readonly Visited<Undone | undefined>[]): Restored {
  const missing = missingOf(visits)
  if (missing !== undefined) return { status: 'retry', said: missing }
  const all = visits.map((visit) => ('result' in visit ? visit.result : undefined))
  if (all.includes('foreign'))
    return { status: 'refused', said: 'somebody else has it refused: the list has it without our mark' }
  if (all.includes('held'))
    return { status: 'restored', said: 'refused by its containment alone: it works when that is released' }
  return {
    status: 'restored',
    said: all.includes('removed') ? 'taken out of every list' : 'in no list: there is nothing to undo',
  }
}

/** RFC 3339; absent where it never ends, or later than dates go. */
function expiryOf(seconds: number | undefined): { readonly expiresAt?: string } {
  if (seconds === undefined || seconds > 253_402_300_799) return {}
  return { expiresAt: new Date(seconds * 1000).toISOString() }
}
