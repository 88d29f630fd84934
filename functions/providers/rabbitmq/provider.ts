import type {
  Answer,
  Clue,
  Discovered,
  Issued,
  IssuerHandle,
  Liveness,
  Located,
  Order,
  Provider,
  ProviderModule,
  Restored,
  Subject,
  Tools,
} from '../contract.ts'
import { IssuerError, IssuerThrottled } from '../contract.ts'
import type { Management, User } from './api.ts'
import { Api, limitOf, newHttp } from './api.ts'
import { cut, liveness, remove, undo } from './cutting.ts'
import type { Settings, Target } from './definition.ts'
import { definition, Grants } from './definition.ts'
import { issueUser } from './issue.ts'
import { fingerprintOf, opened, UserName } from './names.ts'

type Batch = readonly Subject<Target, never>[]
type Opener = (settings: Settings, adminSecret: string) => Management

/** Users worked on at once, within one batch. */
const AT_ONCE = 5
/** After this no further user of a batch is begun, so that one batch stays below `limits.callSeconds`. */
const BATCH_MILLISECONDS = 20_000

/** The provider over whatever can reach a cluster: its HTTP API, or a fake. */
export const moduleOver = (
  opener: (settings: Settings, tools: Tools) => { open: Opener; close(): void },
): ProviderModule<Target, never, never, Settings, Grants> => ({
  definition,
  async connect(issuer, tools) {
    const { open, close } = opener(issuer.settings, tools)
    const connected = new RabbitmqProvider(issuer, tools, open, close)
    await connected.begin()
    return connected
  },
})

export const provider = moduleOver((settings, tools) => {
  const http = newHttp(settings, () => tools.now())
  return { open: (_, secret) => new Api(settings, secret, http), close: () => http.close() }
})

class RabbitmqProvider implements Provider<Target, never, never> {
  readonly #settings: Settings
  readonly #tools: Tools
  readonly #open: Opener
  readonly #close: () => void

  constructor(issuer: IssuerHandle<Settings>, tools: Tools, open: Opener, close: () => void) {
    this.#settings = issuer.settings
    this.#tools = tools
    this.#open = open
    this.#close = close
  }

  /** The secret is read anew for each piece of work, and who answers is asked before anything else. */
  async begin(): Promise<Management> {
    const api = this.#open(this.#settings, await this.#tools.adminSecret())
    await api.recognise()
    return api
  }

  async revoke(batch: Batch): Promise<Answer[]> {
    return await this.#eachOf<Answer>(batch, cut, left)
  }

  async verify(batch: Batch): Promise<Liveness[]> {
    return await this.#eachOf<Liveness>(batch, liveness, (error) => ({
      status: 'unknown',
      said: error?.message ?? LATE,
      ...hintOf(error),
    }))
  }

  async restore(batch: Batch): Promise<Restored[]> {
    return await this.#eachOf<Restored>(batch, undo, (error) => ({
      status: 'retry',
      said: error?.message ?? LATE,
      ...hintOf(error),
    }))
  }

  async tidy(batch: Batch): Promise<Answer[]> {
    return await this.#eachOf<Answer>(batch, remove, left)
  }

  async locate(query: Clue['query']): Promise<Located<Target, never>> {
    const api = await this.begin()
    const name = UserName.safeParse(query['user'])
    const user = name.success ? await api.user(name.data) : undefined
    if (user === undefined) return { status: 'unknown', said: 'the cluster has no such user' }
    const said =
      opened(user.password_hash) === undefined ? 'the cluster has this user' : 'the cluster has this user, shut by a cut'
    return { status: 'found', said, target: targetOf(user) }
  }

  async issue(order: Order): Promise<Issued<Target, never, never>> {
    const api = await this.begin()
    return await issueUser(api, { ...order, grants: Grants.parse(order.grants) }, this.#tools.random, targetOf)
  }

  async discover(from: string | undefined, most: number): Promise<Discovered<Target>> {
    const api = await this.begin()
    // The API pages by place, and a user that goes in between moves the others: so all are read, and cut off behind a name.
    const users = (await api.users())
      .filter(({ name }) => UserName.safeParse(name).success && (from === undefined || name > from))
      .sort((one, two) => (one.name < two.name ? -1 : 1))
    const page = users.slice(0, most)
    const listed = page.map((user) => ({
      target: targetOf(user),
      shown: `rabbitmq user ${user.name}`,
      usable: opened(user.password_hash) === undefined && limitOf(user) !== 0,
      ...(user.name === api.admin ? { own: 'it is the user that Rescind itself works as' } : {}),
    }))
    const next = users.length > page.length ? page.at(-1)?.name : undefined
    return { status: 'page', listed, ...(next === undefined ? {} : { next }) }
  }

  async close(): Promise<void> {
    this.#close()
  }

  /**
   * One answer for each user, in order. What fails as an issuer fails the batch only while nothing has been answered:
   * later it stops the batch, since the answers that exist tell of effects.
   */
  async #eachOf<Result>(
    batch: Batch,
    work: (api: Management, target: Target, touched: () => void) => Promise<Result>,
    failed: (error: IssuerError | undefined, effect: 'none' | 'unknown') => Result,
  ): Promise<Result[]> {
    if (batch.length === 0) return []
    const api = await this.begin()
    const deadline = this.#tools.now() + BATCH_MILLISECONDS
    const results: Result[] = []
    let stopped: { readonly error: IssuerError | undefined } | undefined
    for (let start = 0; start < batch.length; start += AT_ONCE) {
      const slice = batch.slice(start, start + AT_ONCE)
      if (stopped === undefined && this.#tools.now() > deadline) stopped = { error: undefined }
      if (stopped !== undefined) {
        for (const _ of slice) results.push(failed(stopped.error, 'none'))
        continue
      }
      const touched = new Set<number>()
      const settled = await Promise.allSettled(slice.map(({ target }, place) => work(api, target, () => touched.add(place))))
      const reasons = settled.flatMap((outcome): unknown[] => (outcome.status === 'rejected' ? [outcome.reason] : []))
      const strange = reasons.find((reason) => !(reason instanceof IssuerError))
      if (strange !== undefined) throw strange
      if (results.length === 0 && touched.size === 0 && reasons.length === slice.length) throw reasons[0]
      for (const [place, outcome] of settled.entries()) {
        if (outcome.status === 'fulfilled') results.push(outcome.value)
        else if (outcome.reason instanceof IssuerError) {
          stopped ??= { error: outcome.reason }
          results.push(failed(outcome.reason, touched.has(place) ? 'unknown' : 'none'))
        }
      }
    }
    return results
  }
}

/** As a registration would name it: a cut does not change who it is. */
const targetOf = ({ name, password_hash: hash }: User): Target => ({
  user: name,
  hash: fingerprintOf(opened(hash)?.hash ?? hash),
})

const LATE = 'RabbitMQ: the batch took too long, this user was not begun'

const left = (error: IssuerError | undefined, effect: 'none' | 'unknown'): Answer => ({
  status: 'retry',
  said: error?.message ?? LATE,
  effect,
  ...hintOf(error),
})

const hintOf = (error: IssuerError | undefined): { readonly afterSeconds?: number; readonly throttled?: true } => ({
  ...(error?.afterSeconds === undefined ? {} : { afterSeconds: error.afterSeconds }),
  ...(error instanceof IssuerThrottled ? { throttled: true } : {}),
})
