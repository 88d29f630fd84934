import type { Answer, IssuerHandle, Liveness, Provider, ProviderModule, Subject, Tools } from '../contract.ts'
import { IssuerError, IssuerRefused, IssuerThrottled } from '../contract.ts'
import { Http } from '../http.ts'
import type { OAuthClient, RevocationAnswer } from './client.ts'
import { NOBODYS_TOKEN, openClient } from './client.ts'
import { cutClient, livenessOfClient } from './clients.ts'
import type { Secret, Settings, Target, TokenSecret, TokenTarget } from './definition.ts'
import { definition, livesOn } from './definition.ts'

type OAuthSubject = Subject<Target, Secret>
type Batch = readonly OAuthSubject[]

/** Tokens worked on at once, within one batch. */
const AT_ONCE = 5
/** After this no further token of a batch is begun, so that one batch stays below `limits.callSeconds`. */
const BATCH_MILLISECONDS = 20_000
/** Between an accepted revocation and the next try, where the token is still active. */
const LAG_SECONDS = 5

export const provider: ProviderModule<Target, Secret, never, Settings> = {
  definition,
  async connect(issuer, tools) {
    const connected = new OAuthProvider(issuer, tools)
    await (await connected.open()).checkAdmin()
    return connected
  },
}

/** What an introspection can be taken for: `sees`, whether an inactive answer about this token proves anything. */
interface Sight {
  readonly sees: boolean
  readonly active: boolean | undefined
}

class OAuthProvider implements Provider<Target, Secret, never> {
  readonly #settings: Settings
  readonly #tools: Tools
  readonly #http: Http

  constructor(issuer: IssuerHandle<Settings>, tools: Tools) {
    this.#settings = issuer.settings
    this.#tools = tools
    const { timeoutMilliseconds } = issuer.settings
    this.#http = new Http({ name: 'OAuth', timeoutMilliseconds, now: () => tools.now() })
  }

  /** The metadata and the secret are read anew for each batch: one request, and another server is noticed before any effect. */
  async open(): Promise<Look> {
    const client = await openClient(this.#settings, await this.#tools.adminSecret(), this.#http)
    if (this.#settings.introspects !== 'none' && !client.canIntrospect) {
      throw new IssuerRefused("OAuth: the issuer has no introspection endpoint: set introspects to 'none'")
    }
    return new Look(client, this.#settings)
  }

  async revoke(batch: Batch): Promise<Answer[]> {
    const look = await this.open()
    return await this.#eachOf<Answer>(
      batch,
      (subject) => this.#cut(look, subject),
      (error, begun) => ({
        status: 'retry',
        said: error?.message ?? 'OAuth: the batch took too long, this one was not begun',
        // Whoever is throttled has done nothing: what comes after a cut is caught there.
        effect: begun && !(error instanceof IssuerThrottled) ? 'unknown' : 'none',
        ...hintOf(error),
      }),
    )
  }

  async verify(batch: Batch): Promise<Liveness[]> {
    const look = await this.open()
    return await this.#eachOf<Liveness>(
      batch,
      (subject) => this.#liveness(look, subject),
      (error) => ({ status: 'unknown', said: error?.message ?? 'OAuth: the batch took too long', ...hintOf(error) }),
    )
  }

  async close(): Promise<void> {
    this.#http.close()
  }

  async #cut(look: Look, { target, secret }: OAuthSubject): Promise<Answer> {
    if ('client' in target) return await cutClient(look.client, this.#settings, target, secret)
    if (!isToken(secret)) return { status: 'irrevocable', said: 'the lease holds no token to show to the issuer' }
    const before = await look.at(target, secret)
    const answer = await look.client.revoke(secret.token, target.tokenType)
    // Seen active and then inactive is proof, whatever else the admin client may see.
    const after = before.active === undefined ? before : await unlessThrottled(look.at(target, secret))
    if (after instanceof IssuerThrottled) return { status: 'retry', said: after.message, effect: 'unknown', ...hintOf(after) }
    const cut = cutAnswer(target, before, answer, before.active === true ? { ...after, sees: true } : after)
    return this.#livesOn(target) && (cut.status === 'revoked' || cut.status === 'absent') ? uncuttable(target, cut.said) : cut
  }

  async #liveness(look: Look, { target, secret }: OAuthSubject): Promise<Liveness> {
    if ('client' in target) return await livenessOfClient(look.client, target, secret)
    if (target.expiresAt !== undefined && Date.parse(target.expiresAt) <= this.#tools.now()) {
      return { status: 'dead', said: `expired at ${target.expiresAt}` }
    }
    if (!isToken(secret)) return { status: 'unknown', said: 'the lease holds no token to ask about' }
    const { active, sees } = await look.at(target, secret)
    if (active === true) return { status: 'alive', said: 'introspection: active' }
    if (active === undefined) return { status: 'unknown', said: 'introspection is not configured' }
    if (!sees) return { status: 'unknown', said: 'introspection: inactive, but the admin client may not see such tokens' }
    if (this.#livesOn(target)) {
      return { status: 'unknown', said: 'introspection: inactive, but resource servers may honour it to its expiry' }
    }
    return { status: 'dead', said: 'introspection: inactive' }
  }

  /** A self-contained access token that has not ended by itself yet. */
  #livesOn(target: TokenTarget): boolean {
    return livesOn(this.#settings, target, this.#tools.now())
  }

  /**
   * One answer for each token, in order. What fails as an issuer fails the batch only while nothing has been
   * answered: later it stops the batch, since the answers that exist tell of effects.
   */
  async #eachOf<Result>(
    batch: Batch,
    work: (subject: OAuthSubject) => Promise<Result>,
    left: (error: IssuerError | undefined, begun: boolean) => Result,
  ): Promise<Result[]> {
    const deadline = this.#tools.now() + BATCH_MILLISECONDS
    const results: Result[] = []
    let stopped: { readonly error: IssuerError | undefined } | undefined
    for (let start = 0; start < batch.length; start += AT_ONCE) {
      const slice = batch.slice(start, start + AT_ONCE)
      if (stopped === undefined && this.#tools.now() > deadline) stopped = { error: undefined }
      if (stopped !== undefined) {
        for (const _ of slice) results.push(left(stopped.error, false))
        continue
      }
      const settled = await Promise.allSettled(slice.map(work))
      const [first] = settled
      const nothingAnswered = results.length === 0 && settled.every(({ status }) => status === 'rejected')
      if (nothingAnswered && first?.status === 'rejected') {
        const reasons = settled.map((outcome): unknown => (outcome.status === 'rejected' ? outcome.reason : undefined))
        // Only where all were throttled nothing can have taken effect.
        throw reasons.find((reason) => !(reason instanceof IssuerThrottled)) ?? first.reason
      }
      for (const outcome of settled) {
        if (outcome.status === 'fulfilled') {
          results.push(outcome.value)
          continue
        }
        if (!(outcome.reason instanceof IssuerError)) throw outcome.reason
        stopped ??= { error: outcome.reason }
        results.push(left(outcome.reason, true))
      }
    }
    return results
  }
}

const isToken = (secret: Secret | undefined): secret is TokenSecret => secret !== undefined && 'token' in secret

const hintOf = (error: IssuerError | undefined): { readonly afterSeconds?: number; readonly throttled?: true } => ({
  ...(error?.afterSeconds === undefined ? {} : { afterSeconds: error.afterSeconds }),
  ...(error instanceof IssuerThrottled ? { throttled: true } : {}),
})

async function unlessThrottled<Result>(answer: Promise<Result>): Promise<Result | IssuerThrottled> {
  try {
    return await answer
  } catch (error) {
    if (error instanceof IssuerThrottled) return error
    throw error
  }
}

/** The eyes of one batch. */
class Look {
  readonly client: OAuthClient
  readonly #settings: Settings
  #proof: Promise<void> | undefined
  #seenActive = false

  constructor(client: OAuthClient, settings: Settings) {
    this.client = client
    this.#settings = settings
  }

  /** Shows the admin client's authentication, with a token that nobody was ever given. */
  async checkAdmin(): Promise<void> {
    if (this.#settings.introspects === 'none') await this.client.revoke(NOBODYS_TOKEN, 'access_token')
    else await this.client.introspect(NOBODYS_TOKEN, 'access_token')
  }

  async at({ tokenType, clientId }: TokenTarget, { token }: TokenSecret): Promise<Sight> {
    const { introspects } = this.#settings
    if (introspects === 'none') return { sees: false, active: undefined }
    const active = await this.client.introspect(token, tokenType)
    if (active) this.#seenActive = true
    const sees = introspects === 'all' || clientId === this.client.clientId
    // An inactive answer is believed once an active one was seen.
    if (!active && sees && !this.#seenActive) {
      this.#proof ??= this.#prove()
      await this.#proof
    }
    return { sees, active }
  }

  /** Shows that the admin client may introspect at all: it gets a token for itself, which must be active, and gives it back. */
  async #prove(): Promise<void> {
    const token = await this.client.ownToken()
    if (token === undefined) {
      throw new IssuerRefused(
        "OAuth: whether the admin client may introspect cannot be shown: allow it client_credentials, or set introspects to 'none'",
      )
    }
    const active = await this.client.introspect(token, 'access_token')
    await this.client.revoke(token, 'access_token')
    if (!active) throw new IssuerRefused('OAuth: the admin client may not introspect: its own fresh token is shown as inactive')
    this.#seenActive = true
  }
}

function cutAnswer(target: TokenTarget, before: Sight, answer: RevocationAnswer, after: Sight): Answer {
  if (answer.status === 'error') return errorAnswer(target, before, answer, after)
  if (after.active === undefined)
    return { status: 'revoked', said: 'revocation accepted (200); there is no introspection to prove it' }
  if (after.active) {
    // Seen on servers that answer 200 to a client that may not revoke this token: only introspection tells.
    return {
      status: 'retry',
      said: 'revocation accepted (200), but introspection: still active',
      effect: 'unknown',
      afterSeconds: LAG_SECONDS,
    }
  }
  if (before.active === true)
    return { status: 'revoked', said: 'revocation accepted (200); introspection: active before, inactive after' }
  if (before.sees) return { status: 'absent', said: 'introspection: inactive before the revocation (accepted, 200)' }
  return {
    status: 'revoked',
    said: 'revocation accepted (200); introspection proves nothing, the admin client may not see such tokens',
  }
}

/** RFC 7009, section 2.2.1, and servers that hide an error behind 200. */
function errorAnswer(
  target: TokenTarget,
  before: Sight,
  { http, error }: Extract<RevocationAnswer, { status: 'error' }>,
  after: Sight,
): Answer {
  const said = `the revocation endpoint answers ${http} ${error}`
  if (error === 'unsupported_token_type') return uncuttable(target, said)
  if (error === 'invalid_token' && after.active === false && after.sees) {
    return { status: 'absent', said: `${said}; introspection: inactive` }
  }
  if (error === 'temporarily_unavailable' || error === 'server_error') return { status: 'retry', said, effect: 'unknown' }
  // Seen on Keycloak where two revoke one token at once: one of them is told of an error, and the token is dead.
  if (before.active === true && after.active === false)
    return { status: 'retry', said: `${said}; introspection: inactive now`, effect: 'unknown' }
  return { status: 'irrevocable', said: after.active === true ? `${said}; introspection: still active` : said }
}

function uncuttable({ expiresAt, tokenType }: TokenTarget, why: string): Answer {
  const said =
    tokenType === 'access_token' ? `the access token cannot be cut, resource servers may honour it to its expiry: ${why}` : why
  return { status: 'unsupported', said, ...(expiresAt === undefined ? {} : { livesUntil: expiresAt }) }
}
