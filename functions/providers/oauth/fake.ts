import { createHash } from 'node:crypto'
import type { Answer, Liveness, Provider, ProviderModule, Subject, Tools } from '../contract.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../contract.ts'
import type { ClientSecret, ClientTarget, Secret, Settings, Target, TokenSecret, TokenTarget } from './definition.ts'
import { definition, UNMANAGED } from './definition.ts'

type Batch = readonly Subject<Target, Secret>[]

/**
 * An authorization server in memory: it answers 200 to every revocation (RFC 7009, section 2.2), and introspection
 * tells active from inactive. A refresh token takes its grant's access tokens with it. A client is deleted by its
 * registration access token (RFC 7592, section 2.3). Deterministic.
 */
export class FakeOAuth {
  readonly admin = { clientId: 'rescind', clientSecret: 'fake-client-secret' }
  readonly issuer = 'https://idp.fake'
  readonly module: ProviderModule<Target, Secret, never, Settings> = {
    definition,
    connect: (issuer, tools) => this.#connect(issuer.settings, tools),
  }
  /** Every token that was issued. */
  readonly tokens = new Map<string, { readonly grant: string; readonly tokenType: TokenTarget['tokenType']; active: boolean }>()
  /** Tokens that the server accepts a revocation of, and does not revoke: its policy forbids it, and it does not say so. */
  readonly stubborn = new Set<string>()
  /** Every client that was registered, by its id. */
  readonly clients = new Map<string, ClientSecret>()
  fault: 'none' | 'down' | 'refused' | 'other' | 'throttled' = 'none'
  /** Every call that reached the server, in order. */
  readonly calls: { readonly method: string; readonly size: number }[] = []
  #serial = 0

  settings(overrides: Partial<Settings> = {}): Settings {
    const behaviour = { introspects: 'all', selfContained: false, timeoutMilliseconds: 5000 } as const
    const clients = `${this.issuer}/clients/{client_id}`
    return { issuer: this.issuer, endpoints: { from: 'discovered' }, clients, ...behaviour, ...overrides }
  }

  /** A token of a grant of its own, or of a grant that has others. */
  issue(tokenType: TokenTarget['tokenType'], grant?: string): TokenSecret & { readonly grant: string } {
    this.#serial += 1
    const token = createHash('sha256').update(`token ${this.#serial}`).digest('base64url')
    const of = grant ?? `grant-${this.#serial}`
    this.tokens.set(token, { grant: of, tokenType, active: true })
    return { token, grant: of }
  }

  /** A client that authenticates with a secret of its own. */
  register(client: string): ClientSecret {
    this.#serial += 1
    const drawn = (what: string) => createHash('sha256').update(`${what} ${this.#serial}`).digest('base64url')
    const registered = { clientSecret: drawn('secret'), registrationToken: drawn('registration') }
    this.clients.set(client, registered)
    return registered
  }

  honours(token: string): boolean {
    return this.tokens.get(token)?.active === true
  }

  async #connect(settings: Settings, tools: Tools): Promise<Provider<Target, Secret, never>> {
    const secret = await tools.adminSecret()
    if (secret !== JSON.stringify(this.admin))
      throw new IssuerRefused('OAuth: the introspection endpoint refuses the admin client (401)')
    this.#enter('connect', 0, settings)
    return {
      revoke: async (batch: Batch) => {
        this.#enter('revoke', batch.length, settings)
        return batch.map(({ target, secret: held }) => this.#revoke(settings, target, held))
      },
      verify: async (batch: Batch) => {
        this.#enter('verify', batch.length, settings)
        return batch.map(({ target, secret: held }) => this.#liveness(settings, target, held))
      },
      close: async () => undefined,
    }
  }

  #enter(method: string, size: number, settings: Settings): void {
    if (this.fault === 'down') throw new IssuerUnavailable('OAuth: no connection (ECONNREFUSED)')
    if (this.fault === 'throttled') throw new IssuerThrottled('OAuth: the server answers 429', { afterSeconds: 7 })
    if (this.fault === 'refused') throw new IssuerRefused('OAuth: the introspection endpoint refuses the admin client (401)')
    if (this.fault === 'other' || settings.issuer !== this.issuer) throw new IssuerRefused('OAuth: another issuer answers here')
    this.calls.push({ method, size })
  }

  #revoke(settings: Settings, target: Target, secret: Secret | undefined): Answer {
    if ('client' in target) return this.#delete(settings, target, secret)
    if (secret === undefined || !('token' in secret))
      return { status: 'irrevocable', said: 'the lease holds no token to show to the issuer' }
    const before = this.honours(secret.token)
    const known = this.tokens.get(secret.token)
    if (known !== undefined && !this.stubborn.has(secret.token)) {
      known.active = false
      if (known.tokenType === 'refresh_token') {
        for (const other of this.tokens.values()) if (other.grant === known.grant) other.active = false
      }
    }
    if (settings.selfContained && target.tokenType === 'access_token') {
      const until = target.expiresAt === undefined ? {} : { livesUntil: target.expiresAt }
      return { status: 'unsupported', said: 'the access token cannot be cut', ...until }
    }
    if (settings.introspects === 'none')
      return { status: 'revoked', said: 'revocation accepted (200); there is no introspection to prove it' }
    if (this.honours(secret.token)) {
      const said = 'revocation accepted (200), but introspection: still active'
      return { status: 'retry', said, effect: 'unknown', afterSeconds: 5 }
    }
    if (before) return { status: 'revoked', said: 'revocation accepted (200); introspection: active before, inactive after' }
    if (settings.introspects === 'all') return { status: 'absent', said: 'introspection: inactive before the revocation' }
    return { status: 'revoked', said: 'revocation accepted (200); introspection proves nothing' }
  }

  #delete(settings: Settings, { client }: ClientTarget, secret: Secret | undefined): Answer {
    if (settings.clients === undefined) return { status: 'unsupported', said: UNMANAGED }
    if (secret === undefined || !('clientSecret' in secret))
      return { status: 'irrevocable', said: 'the lease holds no client secret' }
    const registered = this.clients.get(client)
    if (registered?.clientSecret !== secret.clientSecret)
      return { status: 'absent', said: 'the server refuses this client secret' }
    if (registered.registrationToken !== secret.registrationToken) {
      return { status: 'irrevocable', said: 'the registration access token is not taken (401)' }
    }
    this.clients.delete(client)
    return { status: 'revoked', said: 'client deleted; tokens that it was given before live to their own ends' }
  }

  #liveness(settings: Settings, target: Target, secret: Secret | undefined): Liveness {
    if ('client' in target) {
      if (secret === undefined || !('clientSecret' in secret)) return { status: 'unknown', said: 'nothing to ask' }
      return this.clients.get(target.client)?.clientSecret === secret.clientSecret
        ? { status: 'alive', said: 'the client secret is taken' }
        : { status: 'dead', said: 'the client secret is refused' }
    }
    if (secret === undefined || !('token' in secret) || settings.introspects === 'none')
      return { status: 'unknown', said: 'nothing to ask' }
    if (this.honours(secret.token)) return { status: 'alive', said: 'introspection: active' }
    const blind = settings.introspects === 'own' || (settings.selfContained && target.tokenType === 'access_token')
    return blind
      ? { status: 'unknown', said: 'introspection: inactive, which proves nothing' }
      : { status: 'dead', said: 'introspection: inactive' }
  }
}
