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
  Warrant,
} from '../contract.ts'
import { IssuerError, IssuerUnavailable } from '../contract.ts'
import { change, settled } from './account.ts'
import { dated, hintOf, left, liveness, moment, NO_ACCOUNT, notAll, seconds, servers } from './answers.ts'
import type { Lever, Settings, Target } from './definition.ts'
import { definition, Target as TargetSchema } from './definition.ts'
import { hasCut, holdOf, readRevocations, withCut, withFinalCut, withoutCut } from './revocations.ts'
import type { Open, Servers } from './session.ts'
import { Session } from './session.ts'

type Batch = readonly Subject<Target, never>[]

type Opener = (settings: Settings, adminSecret: string) => Promise<Servers>

/** The provider over whatever can reach servers: a connection, or a fake. */
export const moduleOver = (open: Opener): ProviderModule<Target, never, Lever, Settings> => ({
  definition,
  async connect(issuer, tools) {
    const connected = new NatsProvider(issuer, tools, open)
    await connected.use(async () => undefined)
    return connected
  },
})

export const provider = moduleOver((settings, secret) => Session.open(settings, secret))

class NatsProvider implements Provider<Target, never, Lever> {
  readonly #settings: Settings
  readonly #tools: Tools
  readonly #open: Opener
  #idle: Servers | undefined
  #closed = false

  constructor(issuer: IssuerHandle<Settings>, tools: Tools, open: Opener) {
    this.#settings = issuer.settings
    this.#tools = tools
    this.#open = open
  }

  /** A piece of work on a connection of its own, which begins by asking who answers; one idle connection is kept for the next. */
  async use<Result>(work: (session: Servers) => Promise<Result>): Promise<Result> {
    const session = (await this.#again()) ?? (await this.#anew())
    try {
      const result = await work(session)
      this.#keep(session)
      return result
    } catch (error) {
      session.destroy()
      throw error
    }
  }

  #keep(session: Servers): void {
    if (this.#idle === undefined && !this.#closed && session.usable) this.#idle = session
    else session.destroy()
  }

  /** The connection that was kept; it may have gone stale, so it fails at the first question and is replaced. */
  async #again(): Promise<Servers | undefined> {
    const session = this.#idle
    this.#idle = undefined
    if (session === undefined) return undefined
    try {
      await session.begin()
      return session
    } catch (error) {
      const lost = !session.usable
      session.destroy()
      if (lost && error instanceof IssuerUnavailable) return undefined
      throw error
    }
  }

  async #anew(): Promise<Servers> {
    const session = await this.#open(this.#settings, await this.#tools.adminSecret())
    try {
      await session.begin()
      return session
    } catch (error) {
      session.destroy()
      throw error
    }
  }

  async revoke(batch: Batch, warrant: Warrant): Promise<Answer[]> {
    return await this.#byAccount<Answer>(
      batch,
      (session, account, targets) => this.#cut(session, account, targets, warrant),
      left,
    )
  }

  async #cut(session: Servers, account: string, targets: readonly Target[], warrant: Warrant): Promise<Answer[]> {
    const now = Math.floor(this.#tools.now() / 1000)
    // What was signed before the fence dies with it, whichever of the key's JWTs the lease names.
    const untils = targets.map(({ issuedAt }) => (issuedAt === undefined ? now : Math.max(issuedAt, seconds(warrant.fencedAt))))
    const isOwn = ({ user }: Target) => account === session.systemAccount && user === session.ownUser
    const changed = await change(session, account, now, (start) => {
      let state = start
      const answers = targets.map((target, index): Answer => {
        const until = untils[index] ?? now
        if (isOwn(target))
          return { status: 'irrevocable', said: 'it is the admin user of this issuer itself: not cut, a person must' }
        const had = hasCut(state, target.user, target.issuedAt)
        const hold = holdOf(state, target.user, until)
        if (hold === 'others' && had === undefined)
          return { status: 'absent', said: `revoked before, ${dated(state, target.user)}` }
        state = withCut(state, target.user, target.issuedAt, until)
        return had === undefined
          ? { status: 'revoked', said: `revoked what was signed until ${moment(until)}` }
          : { status: 'revoked', said: `revoked before by us, until ${moment(Math.max(had, until))}` }
      })
      return { state, outcome: answers }
    })
    if (changed === 'unknown') return targets.map(() => ({ status: 'absent', said: NO_ACCOUNT }))
    if (changed === 'too-large') {
      return targets.map(() => ({
        status: 'irrevocable',
        said: "the account's token would be larger than the servers take (max_payload): its old revocations must be cleared",
      }))
    }
    const answers = changed.outcome
    const meant = (open: Open) =>
      targets.some((target, index) => open.user === target.user && open.issuedAt <= (untils[index] ?? 0))
    const open = await settled(session, account, (connection) => meant(connection) && !isOwn({ account, user: connection.user }))
    return answers.map((answer, index): Answer => {
      const target = targets[index]
      if (answer.status !== 'revoked' && answer.status !== 'absent') return answer
      const mine = open.filter(({ user, issuedAt }) => user === target?.user && issuedAt <= (untils[index] ?? 0)).length
      if (mine > 0) {
        return {
          status: 'retry',
          said: `${answer.said}, but ${mine} connections are still open`,
          effect: 'unknown',
          afterSeconds: 2,
        }
      }
      if (changed.unseen > 0 || session.missing > 0) return { ...notAll(session, changed.unseen), effect: 'unknown' }
      return { ...answer, said: `${answer.said}; no connection of it is open at ${servers(session)}` }
    })
  }

  async verify(batch: Batch, warrant: Warrant): Promise<Liveness[]> {
    return await this.#byAccount<Liveness>(
      batch,
      async (session, account, targets) => {
        const enforced = await session.enforced(account)
        const open = await session.open(account)
        return targets.map((target) => liveness(session, enforced, open, target, seconds(warrant.fencedAt)))
      },
      (error) => ({ status: 'unknown', said: error.message, ...hintOf(error) }),
    )
  }

  async restore(batch: Batch): Promise<Restored[]> {
    return await this.#byAccount<Restored>(
      batch,
      (session, account, targets) => this.#undo(session, account, targets),
      (error) => ({ status: 'retry', said: error.message, ...hintOf(error) }),
    )
  }

  async #undo(session: Servers, account: string, targets: readonly Target[]): Promise<Restored[]> {
    const changed = await change(session, account, this.#now(), (start) => {
      const had = targets.map(({ user, issuedAt }) => hasCut(start, user, issuedAt))
      const state = targets.reduce((so, { user, issuedAt }) => withoutCut(so, user, issuedAt), start)
      const outcome = targets.map(({ user, issuedAt }, index): Restored => {
        const hold = holdOf(state, user, issuedAt ?? had[index] ?? 0)
        if (had[index] === undefined && hold === 'others') {
          return { status: 'gone', said: 'its revocation is final or somebody else’s: left as it is' }
        }
        if (hold === 'others') return { status: 'refused', said: 'somebody else has revoked it as well: it stays revoked' }
        if (hold === 'cut') {
          return {
            status: 'restored',
            said: 'no cut of this lease holds it any more: it can log in when the other cut of the same key is undone',
          }
        }
        if (hold === 'contained') {
          return { status: 'restored', said: 'no revocation holds it any more: it can log in when its containment is released' }
        }
        return had[index] === undefined
          ? { status: 'restored', said: 'it is not revoked: there is nothing to undo' }
          : { status: 'restored', said: 'undone: the same JWT is let in again' }
      })
      return { state, outcome }
    })
    if (changed === 'unknown') return targets.map(() => ({ status: 'gone', said: 'the servers know no such account any more' }))
    if (changed === 'too-large') return targets.map(() => ({ status: 'retry', said: "the account's token is too large" }))
    return changed.outcome.map((answer) =>
      answer.status === 'restored' && (changed.unseen > 0 || session.missing > 0) ? notAll(session, changed.unseen) : answer,
    )
  }

  async tidy(batch: Batch): Promise<Answer[]> {
    return await this.#byAccount<Answer>(batch, (session, account, targets) => this.#finish(session, account, targets), left)
  }

  async #finish(session: Servers, account: string, targets: readonly Target[]): Promise<Answer[]> {
    const changed = await change(session, account, this.#now(), (start) => {
      let state = start
      const outcome = targets.map(({ user, issuedAt }): Answer => {
        const had = hasCut(state, user, issuedAt)
        if (had !== undefined) {
          state = withFinalCut(state, user, issuedAt)
          return { status: 'revoked', said: 'the mark that could undo the revocation is deleted; the revocation stays' }
        }
        return holdOf(state, user, issuedAt ?? 0) === 'others'
          ? { status: 'absent', said: 'revoked, and no mark of ours is left' }
          : { status: 'irrevocable', said: 'no revocation of ours holds it: it was not cut, or was restored' }
      })
      return { state, outcome }
    })
    if (changed === 'unknown') return targets.map(() => ({ status: 'absent', said: NO_ACCOUNT }))
    if (changed === 'too-large')
      return targets.map(() => ({ status: 'retry', said: "the account's token is too large", effect: 'none' }))
    return changed.outcome
  }

  async contain({ account }: Lever, { fencedAt }: Warrant): Promise<LeverAnswer> {
    return await this.use(async (session) => {
      if (account === session.systemAccount) {
        return {
          status: 'unsupported',
          said: 'it is the system account, by which the servers are reached: nothing was contained',
        }
      }
      const until = seconds(fencedAt)
      const changed = await change(session, account, this.#now(), (start) => ({
        state: { ...start, held: Math.max(until, start.held ?? 0) },
        outcome: undefined,
      }))
      if (changed === 'unknown') return { status: 'unsupported', said: 'the servers know no such account: nothing was contained' }
      if (changed === 'too-large')
        return { status: 'unsupported', said: "the account's token is too large: nothing was contained" }
      const open = await settled(session, account, ({ issuedAt }) => issuedAt <= until)
      if (open.length > 0)
        return { status: 'retry', said: `contained, but ${open.length} connections are still open`, afterSeconds: 2 }
      if (changed.unseen > 0 || session.missing > 0) return notAll(session, changed.unseen)
      return {
        status: 'done',
        said: `all users of the account whose JWT was signed until ${fencedAt} are refused, none is connected`,
      }
    })
  }

  async release({ account }: Lever): Promise<LeverAnswer> {
    return await this.use(async (session) => {
      const changed = await change(session, account, this.#now(), (start) => ({
        state: { ...start, held: undefined },
        outcome: start.held,
      }))
      if (changed === 'unknown') return { status: 'unsupported', said: 'the servers know no such account: nothing was released' }
      if (changed === 'too-large') return { status: 'retry', said: "the account's token is too large" }
      if (changed.unseen > 0 || session.missing > 0) return notAll(session, changed.unseen)
      return {
        status: 'done',
        said: changed.outcome === undefined ? 'it was not contained' : 'the users that are not revoked are let in again',
      }
    })
  }

  async locate(query: Clue['query']): Promise<Located<Target, Lever>> {
    const { signer, issuedAt, ...names } = query
    const parsed = TargetSchema.safeParse({ ...names, issuedAt: Number(issuedAt) })
    if (!parsed.success) return { status: 'unknown', said: 'this is no user of NATS' }
    const target = parsed.data
    return await this.use(async (session) => {
      const [claims] = (await session.enforced(target.account)) ?? []
      if (claims === undefined) return { status: 'unknown', said: 'the servers know no such account' }
      const keys = (claims.nats.signing_keys ?? []).map((key) => (typeof key === 'string' ? key : key.key))
      if (signer !== target.account && !keys.includes(signer ?? '')) {
        return {
          status: 'unknown',
          said: 'the user’s JWT is signed by a key that is not (or no longer) one of the account: it is not let in',
        }
      }
      const hold = holdOf(readRevocations(claims), target.user, target.issuedAt ?? 0)
      return {
        status: 'found',
        said: hold === 'none' ? 'a user of this account' : 'a user of this account, revoked already',
        target,
      }
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#idle?.destroy()
    this.#idle = undefined
  }

  #now(): number {
    return Math.floor(this.#tools.now() / 1000)
  }

  /**
   * One account after the other. What fails as an issuer fails the batch only while nothing has been done: later it stops
   * the batch, since the answers that exist tell of effects.
   */
  async #byAccount<Result>(
    batch: Batch,
    work: (session: Servers, account: string, targets: readonly Target[]) => Promise<Result[]>,
    failed: (error: IssuerError, effect: 'none' | 'unknown') => Result,
  ): Promise<Result[]> {
    if (batch.length === 0) return []
    const places = new Map<string, number[]>()
    for (const [place, { target }] of batch.entries()) places.set(target.account, [...(places.get(target.account) ?? []), place])
    return await this.use(async (session) => {
      const results = new Map<number, Result>()
      let stopped: IssuerError | undefined
      for (const [account, own] of places) {
        const targets = own.flatMap((place) => batch[place]?.target ?? [])
        try {
          const answers: (Result | undefined)[] = stopped === undefined ? await work(session, account, targets) : []
          for (const [index, place] of own.entries()) {
            const answer = answers[index] ?? (stopped === undefined ? undefined : failed(stopped, 'none'))
            if (answer !== undefined) results.set(place, answer)
          }
        } catch (error) {
          if (!(error instanceof IssuerError) || (results.size === 0 && !session.pushed)) throw error
          stopped = error
          for (const place of own) results.set(place, failed(error, session.pushed ? 'unknown' : 'none'))
        }
      }
      return batch.flatMap((_, place) => results.get(place) ?? [])
    })
  }
}
