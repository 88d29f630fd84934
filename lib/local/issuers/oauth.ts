import type { JsonWebKey } from 'node:crypto'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import Provider from 'oidc-provider'

/** A certified OAuth 2 authorization server of our own on loopback, for tests and for `npm start`. */
export interface LocalOAuth {
  readonly issuer: string
  readonly port: number
  /** May introspect and revoke every client's tokens, and get a token for itself (client_credentials). */
  readonly admin: { readonly clientId: string; readonly clientSecret: string }
  /** The client that tokens are issued to. It may neither introspect nor revoke what belongs to others. */
  readonly client: { readonly clientId: string; readonly clientSecret: string }
  /** Issues an access and a refresh token of one grant for `subject`, over HTTP. `expiresAt` is the access token's, RFC 3339. */
  issueToken(subject: string): Promise<IssuedTokens>
  /** Registers a client of its own (RFC 7591), which may get tokens for itself, over HTTP. */
  registerClient(name: string): Promise<RegisteredClient>
  /** Where a client's registration is managed (RFC 7592), with `{client_id}` for its id. */
  readonly clients: string
  /** A token of a client's own (client_credentials), or `undefined` where the server refuses its secret. */
  tokenOf(client: Pick<RegisteredClient, 'clientId' | 'clientSecret'>): Promise<string | undefined>
  /** Does the server still honour the token? An access token is shown to the userinfo endpoint, a refresh token is used. */
  honours(token: string, tokenType: 'access_token' | 'refresh_token'): Promise<boolean>
  /** Safe to call twice. */
  stop(): Promise<void>
}

export interface RegisteredClient {
  readonly clientId: string
  readonly clientSecret: string
  /** The registration access token. */
  readonly registrationToken: string
}

export interface IssuedTokens {
  readonly accessToken: string
  readonly refreshToken: string
  readonly clientId: string
  readonly expiresAt: string
}

const HOST = '127.0.0.1'
/** A grant of our own stands in for a person at a browser; everything behind it is the server's own way. */
const LOCAL_GRANT = 'urn:rescind:local-grant'
const ACCESS_TOKEN_SECONDS = 3600
const REFRESH_TOKEN_SECONDS = 86_400

type Payload = Readonly<Record<string, unknown>> & { readonly grantId?: string; consumed?: number }

/** What the server remembers: model name and id to payload. */
class Memory {
  readonly entries = new Map<string, { payload: Payload; expires: number | undefined }>()

  /** The adapter class that oidc-provider makes one instance of for each of its models. */
  adapter() {
    const entries = this.entries
    return class Adapter {
      readonly model: string
      constructor(model: string) {
        this.model = model
      }
      key(id: string): string {
        return `${this.model}:${id}`
      }
      async upsert(id: string, payload: Payload, expiresIn?: number): Promise<void> {
        entries.set(this.key(id), { payload, expires: expiresIn === undefined ? undefined : Date.now() + expiresIn * 1000 })
      }
      async find(id: string): Promise<Payload | undefined> {
        const entry = entries.get(this.key(id))
        return entry === undefined || (entry.expires ?? Number.POSITIVE_INFINITY) < Date.now() ? undefined : entry.payload
      }
      async findByUid(): Promise<undefined> {
        return undefined
      }
      async findByUserCode(): Promise<undefined> {
        return undefined
      }
      async consume(id: string): Promise<void> {
        const entry = entries.get(this.key(id))
        if (entry !== undefined) entry.payload.consumed = Math.floor(Date.now() / 1000)
      }
      async destroy(id: string): Promise<void> {
        entries.delete(this.key(id))
      }
      async revokeByGrantId(grantId: string): Promise<void> {
        for (const [key, { payload }] of entries) {
          if (key.startsWith(`${this.model}:`) && payload.grantId === grantId) entries.delete(key)
        }
      }
    }
  }
}

interface Kept {
  readonly port: number
  readonly adminSecret: string
  readonly clientSecret: string
  readonly cookieKey: string
  readonly signingKey: JsonWebKey
  readonly entries: [string, { payload: Payload; expires: number | undefined }][]
}

/**
 * Starts the server. With a `folder`, its tokens, secrets and port are kept there by `stop` and found again by the
 * next start (the port is part of the issuer's name). `issuer` is for a server that stands behind a proxy.
 */
export async function startOAuth(
  options: { readonly folder?: string; readonly port?: number; readonly issuer?: string } = {},
): Promise<LocalOAuth> {
  const file = options.folder === undefined ? undefined : join(options.folder, 'oauth.json')
  const kept = file === undefined ? undefined : await readKept(file)
  const memory = new Memory()
  for (const [key, entry] of kept?.entries ?? []) memory.entries.set(key, entry)

  // The issuer is named after the port, so the port is taken first and the provider is made then.
  let listener: ReturnType<Provider['callback']> | undefined
  const server = createServer((request, response) => {
    if (listener === undefined) response.writeHead(503).end()
    else listener(request, response)
  })
  const port = await listen(server, options.port ?? kept?.port)
  const issuer = options.issuer ?? `http://${HOST}:${port}`
  const secrets = {
    adminSecret: kept?.adminSecret ?? randomBytes(24).toString('base64url'),
    clientSecret: kept?.clientSecret ?? randomBytes(24).toString('base64url'),
    cookieKey: kept?.cookieKey ?? randomBytes(24).toString('base64url'),
    signingKey: kept?.signingKey ?? generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }),
  }
  // Characters that client_secret_basic must form-encode (RFC 6749, section 2.3.1).
  const admin = { clientId: 'rescind:admin', clientSecret: `${secrets.adminSecret}+/ %` }
  const client = { clientId: 'workloads', clientSecret: secrets.clientSecret }
  const initialAccessToken = randomBytes(24).toString('base64url')
  listener = makeProvider(issuer, memory, admin, client, { ...secrets, initialAccessToken }).callback()

  const local = `http://${HOST}:${port}`
  const tokenRequest = (body: Readonly<Record<string, string>>) =>
    fetch(`${local}/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(`${client.clientId}:${client.clientSecret}`)}` },
      body: new URLSearchParams(body),
    })

  let stopping: Promise<void> | undefined
  const stop = async () => {
    server.closeAllConnections()
    await new Promise((done) => server.close(done))
    if (file === undefined || options.folder === undefined) return
    const state: Kept = { port, ...secrets, entries: [...memory.entries] }
    await mkdir(options.folder, { recursive: true })
    await writeFile(file, JSON.stringify(state), { mode: 0o600 })
  }

  return {
    issuer,
    port,
    admin,
    client,
    async issueToken(subject) {
      const response = await tokenRequest({ grant_type: LOCAL_GRANT, subject })
      if (!response.ok) throw new Error(`the local authorization server issued no token: ${response.status}`)
      const issued = (await response.json()) as { access_token: string; refresh_token: string; expires_in: number }
      return {
        accessToken: issued.access_token,
        refreshToken: issued.refresh_token,
        clientId: client.clientId,
        expiresAt: new Date(Math.floor(Date.now() / 1000 + issued.expires_in) * 1000).toISOString(),
      }
    },
    clients: `${issuer}/reg/{client_id}`,
    async registerClient(name) {
      const response = await fetch(`${local}/reg`, {
        method: 'POST',
        headers: { authorization: `Bearer ${initialAccessToken}`, 'content-type': 'application/json' },
        body: JSON.stringify({
          client_name: name,
          grant_types: ['client_credentials'],
          response_types: [],
          redirect_uris: [],
          id_token_signed_response_alg: 'ES256',
        }),
      })
      if (!response.ok) throw new Error(`the local authorization server registered no client: ${await response.text()}`)
      const registered = (await response.json()) as Record<'client_id' | 'client_secret' | 'registration_access_token', string>
      return {
        clientId: registered.client_id,
        clientSecret: registered.client_secret,
        registrationToken: registered.registration_access_token,
      }
    },
    async tokenOf({ clientId, clientSecret }) {
      const response = await fetch(`${local}/token`, {
        method: 'POST',
        headers: { authorization: `Basic ${btoa(`${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`)}` },
        body: new URLSearchParams({ grant_type: 'client_credentials' }),
      })
      const body = (await response.json()) as { readonly access_token?: string; readonly error?: string }
      if (response.ok) return body.access_token
      if (response.status === 401 && body.error === 'invalid_client') return undefined
      throw new Error(`the local authorization server answered ${response.status}`)
    },
    async honours(token, tokenType) {
      const response =
        tokenType === 'access_token'
          ? await fetch(`${local}/me`, { headers: { authorization: `Bearer ${token}` } })
          : await tokenRequest({ grant_type: 'refresh_token', refresh_token: token })
      await response.body?.cancel()
      if (response.ok) return true
      if (response.status === 400 || response.status === 401) return false
      throw new Error(`the local authorization server answered ${response.status}`)
    },
    stop() {
      stopping ??= stop()
      return stopping
    },
  }
}

async function readKept(file: string): Promise<Kept | undefined> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  return text === undefined ? undefined : (JSON.parse(text) as Kept)
}

async function listen(server: ReturnType<typeof createServer>, port: number | undefined): Promise<number> {
  await new Promise<void>((done, fail) => server.once('error', fail).listen(port ?? 0, HOST, done))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the authorization server has no port')
  return address.port
}

function makeProvider(
  issuer: string,
  memory: Memory,
  admin: LocalOAuth['admin'],
  client: LocalOAuth['client'],
  secrets: { readonly cookieKey: string; readonly signingKey: JsonWebKey; readonly initialAccessToken: string },
): Provider {
  const isAdmin = (_context: unknown, asking: { readonly clientId: string }) => asking.clientId === admin.clientId
  const registration = (of: LocalOAuth['client'], grants: readonly string[]) => ({
    client_id: of.clientId,
    client_secret: of.clientSecret,
    grant_types: grants,
    redirect_uris: [],
    response_types: [],
    id_token_signed_response_alg: 'ES256',
  })
  const provider = new Provider(issuer, {
    adapter: memory.adapter(),
    // refresh_token is what makes the server revoke refresh tokens of a grant on this client's behalf.
    clients: [registration(admin, ['client_credentials', 'refresh_token']), registration(client, [LOCAL_GRANT, 'refresh_token'])],
    clientDefaults: { grant_types: [], response_types: [] },
    cookies: { keys: [secrets.cookieKey] },
    jwks: { keys: [{ ...secrets.signingKey, use: 'sig', alg: 'ES256', kid: 'local' }] },
    scopes: ['openid', 'offline_access'],
    enabledJWA: { idTokenSigningAlgValues: ['ES256'] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: isAdmin },
      // A client may show any token to the revocation endpoint; without rights it gets 200, and nothing is done.
      revocation: { enabled: true, allowedPolicy: isAdmin },
      registration: { enabled: true, initialAccessToken: secrets.initialAccessToken },
      registrationManagement: { enabled: true, rotateRegistrationAccessToken: false },
    },
    findAccount: async (_context: unknown, id: string) => ({ accountId: id, claims: async () => ({ sub: id }) }),
    rotateRefreshToken: false,
    issueRefreshToken: async () => true,
    ttl: {
      AccessToken: ACCESS_TOKEN_SECONDS,
      ClientCredentials: 60,
      Grant: REFRESH_TOKEN_SECONDS,
      RefreshToken: REFRESH_TOKEN_SECONDS,
      IdToken: 60,
      Interaction: 60,
      Session: 60,
    },
  })
  provider.registerGrantType(
    LOCAL_GRANT,
    async (context) => {
      const subject = context.oidc.params['subject']
      if (subject === undefined || subject === '') throw new Error('a local grant needs a subject')
      const grant = new provider.Grant({ accountId: subject, clientId: context.oidc.client.clientId })
      grant.addOIDCScope('openid offline_access')
      const of = {
        accountId: subject,
        client: context.oidc.client,
        grantId: await grant.save(),
        gty: LOCAL_GRANT,
        scope: 'openid offline_access',
      }
      context.body = {
        access_token: await new provider.AccessToken(of).save(),
        refresh_token: await new provider.RefreshToken(of).save(),
        token_type: 'Bearer',
        expires_in: ACCESS_TOKEN_SECONDS,
        scope: of.scope,
      }
    },
    ['subject'],
  )
  return provider
}
