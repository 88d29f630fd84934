import { createHash, createHmac } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Provider } from '../../functions/providers/contract.ts'
import { IssuerRefused, IssuerUnavailable } from '../../functions/providers/contract.ts'
import type { Secret, Target, TokenTarget } from '../../functions/providers/oauth/definition.ts'
import { definition, Settings } from '../../functions/providers/oauth/definition.ts'
import { provider as module } from '../../functions/providers/oauth/provider.ts'
import type { LocalOAuth } from '../../lib/local/issuers/oauth.ts'
import { startOAuth } from '../../lib/local/issuers/oauth.ts'
import { freePort } from '../../lib/local/issuers/postgres.ts'
import { mac } from '../support/mac.ts'
import type { Credential, Harness } from './suite.ts'
import { conformance, expectNoSecret, packageVersion, rejection, startGate, tools, WARRANT } from './suite.ts'

type TokenType = TokenTarget['tokenType']

async function mint(
  server: LocalOAuth,
  tokenType: TokenType,
): Promise<Credential<Target, Secret> & { readonly expiresAt: string }> {
  const issued = await server.issueToken('a workload')
  const token = tokenType === 'access_token' ? issued.accessToken : issued.refreshToken
  return {
    subject: {
      lease: createHash('sha256').update(token).digest('hex'),
      target: { tokenType, clientId: issued.clientId, ...(tokenType === 'access_token' ? { expiresAt: issued.expiresAt } : {}) },
      secret: { token },
    },
    secrets: [token],
    expiresAt: issued.expiresAt,
    works: () => server.honours(token, tokenType),
  }
}

async function harness(tokenType: TokenType): Promise<Harness<Target, Secret, never, Settings>> {
  const [own, gated] = [await freePort(), await startOAuth()]
  const gate = await startGate(own, gated.port)
  const issuer = `http://127.0.0.1:${gate.port}`
  const server = await startOAuth({ port: own, issuer })
  return {
    issuer: { name: 'idp', settings: Settings.parse({ issuer, introspects: 'all', timeoutMilliseconds: 1000 }) },
    adminSecret: JSON.stringify(server.admin),
    wrongSecret: JSON.stringify({ clientId: server.admin.clientId, clientSecret: 'wrong-secret-0123456789' }),
    faults: gate,
    // The protocol does not tell; the introspection before does.
    repeated: 'absent',
    mint: () => mint(server, tokenType),
    pasted: ({ secrets: [token] }) => [` ${token}\n`, `authorization: bearer ${token}`],
    named: (token) => ({ lease: 'named', target: { tokenType }, secret: { token } }),
    neverExisted: () => ({
      subject: { lease: 'never', target: { tokenType }, secret: { token: 'never-issued' } },
      status: 'absent',
    }),
    async stop() {
      await gate.close()
      await Promise.all([server.stop(), gated.stop()])
    },
  }
}

const REAL = {
  against: 'real',
  counterpart: `oidc-provider ${packageVersion('oidc-provider')}`,
  lacks: {
    poison: 'any token may be revoked by whoever may revoke at all',
    namesake: 'a token is its own name: none comes after it',
    throttled: 'oidc-provider never throttles; a 429 is played by the small server of the tests beside',
  },
} as const
conformance(module, { ...REAL, title: 'access tokens' }, () => harness('access_token'), ['nonsense', 'named'])
conformance(module, { ...REAL, title: 'refresh tokens' }, () => harness('refresh_token'), ['nonsense', 'named'])

describe('oauth alone, on a real server', () => {
  let server: LocalOAuth
  const connect = (settings: Partial<Settings> = {}, admin: LocalOAuth['admin'] = server.admin) =>
    module.connect(
      { name: 'idp', settings: { ...Settings.parse({ issuer: server.issuer, introspects: 'all' }), ...settings } },
      tools(JSON.stringify(admin)),
    )
  beforeAll(async () => {
    server = await startOAuth()
  })
  afterAll(() => server.stop())

  it("kills a grant's access token with its refresh token", async () => {
    const provider = await connect()
    const issued = await server.issueToken('somebody')
    const refresh = { lease: 'r', target: { tokenType: 'refresh_token' as const }, secret: { token: issued.refreshToken } }
    expect(await provider.revoke([refresh], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(await server.honours(issued.accessToken, 'access_token')).toBe(false)
  })

  it('calls nothing dead or absent that it may not see: this server answers 200 to a client without rights, and does nothing', async () => {
    const credential = await mint(server, 'access_token')
    const powerless = await rejection((await connect({}, server.client)).revoke([credential.subject], WARRANT))
    expect(powerless).toBeInstanceOf(IssuerRefused)
    expect(await credential.works()).toBe(true)
    const modest = await connect({ introspects: 'own' }, server.admin)
    const never = { ...credential.subject, secret: { token: 'never-issued' } }
    expect(await modest.verify([never], WARRANT)).toMatchObject([{ status: 'unknown' }])
    expect(await modest.revoke([never], WARRANT)).toMatchObject([
      { status: 'revoked', said: expect.stringContaining('proves nothing') },
    ])
    // What it saw active and then inactive is proven all the same.
    expect(await modest.revoke([credential.subject], WARRANT)).toMatchObject([
      { status: 'revoked', said: expect.stringContaining('active before, inactive after') },
    ])
  })

  it('believes the 200 where there is no introspection, and says so', async () => {
    const provider = await connect({ introspects: 'none' })
    const credential = await mint(server, 'access_token')
    expect(await provider.revoke([credential.subject], WARRANT)).toMatchObject([
      { status: 'revoked', said: expect.stringContaining('no introspection') },
    ])
    expect(await credential.works()).toBe(false)
    expect(await provider.verify([credential.subject], WARRANT)).toMatchObject([{ status: 'unknown' }])
  })

  it('says of a self-contained access token until when it lives; a refresh token can be cut', async () => {
    const provider = await connect({ selfContained: true })
    const [access, refresh] = [await mint(server, 'access_token'), await mint(server, 'refresh_token')]
    expect(await provider.revoke([access.subject, refresh.subject], WARRANT)).toMatchObject([
      { status: 'unsupported', livesUntil: access.expiresAt },
      { status: 'revoked' },
    ])
    expect(await provider.verify([access.subject, refresh.subject], WARRANT)).toMatchObject([
      { status: 'unknown' },
      { status: 'dead' },
    ])
  })

  it('names a credential by the keyed hash of its token', async () => {
    const token = 'abc'
    const name = definition.credential({ tokenType: 'access_token' }, { token }, mac)
    expect(name).toBe(definition.credential({ tokenType: 'refresh_token' }, { token }, mac))
    expect(name).not.toContain(createHash('sha256').update(token).digest('hex'))
    const otherKey = (text: string) => createHmac('sha256', 'another installation').update(text).digest('hex')
    expect(name).not.toBe(definition.credential({ tokenType: 'access_token' }, { token }, otherKey))
  })

  it('takes only addresses to which a secret may be sent', () => {
    const taken = (issuer: string) => Settings.safeParse({ issuer, introspects: 'none' }).success
    expect(
      ['https://idp.example', 'https://idp.example/tenant', 'http://127.0.0.1:80', 'http://[::1]:80'].map(taken),
    ).not.toContain(false)
    expect(
      ['http://idp.example', 'https://a:b@idp.example', 'https://idp.example/#x', 'ftp://idp.example', 'idp', ''].map(taken),
    ).not.toContain(true)
  })
})

/** Answers of servers that one meets, played by a small HTTP server. */
describe('oauth alone, answers of other servers', () => {
  type Play = (
    path: string,
    form: URLSearchParams,
    request: IncomingMessage,
  ) => { status?: number; body?: unknown; headers?: Record<string, string> }
  let play: Play
  let issuer: string
  const seen: { path: string; authorization: string | undefined }[] = []
  const admin = { clientId: 'an admin:1', clientSecret: 'sécret +&%= of the admin' }
  const subject = (token = 'the-token-of-a-lease') => ({
    lease: token,
    target: { tokenType: 'access_token' as const, expiresAt: '2099-01-01T00:00:00.000Z' },
    secret: { token },
  })
  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    const parts: Uint8Array[] = []
    for await (const part of request) parts.push(part)
    const path = request.url ?? ''
    seen.push({ path, authorization: request.headers.authorization })
    const { status = 200, body = '', headers = {} } = play(path, new URLSearchParams(Buffer.concat(parts).toString()), request)
    const json = typeof body !== 'string'
    response.writeHead(status, { 'content-type': json ? 'application/json' : 'text/html', ...headers })
    response.end(json ? JSON.stringify(body) : body)
  }
  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy())
  })
  const metadata = (overrides: Record<string, unknown> = {}) => ({
    issuer,
    revocation_endpoint: `${issuer}/revoke`,
    introspection_endpoint: `${issuer}/introspect`,
    token_endpoint: `${issuer}/token`,
    ...overrides,
  })
  /** A server that knows one token until it is revoked. */
  const wellBehaved = (overrides: Play = () => ({})): Play => {
    const live = new Set(['the-token-of-a-lease'])
    return (path, form, request) => {
      const special = overrides(path, form, request)
      if (special.status !== undefined || special.body !== undefined) return special
      if (path.startsWith('/.well-known/oauth-authorization-server')) return { body: metadata() }
      const token = form.get('token') ?? ''
      if (path === '/introspect') return { body: { active: live.has(token) } }
      if (path === '/token') {
        live.add('own')
        return { body: { access_token: 'own', token_type: 'Bearer' } }
      }
      if (path === '/revoke') {
        live.delete(token)
        return {}
      }
      return { status: 404 }
    }
  }
  const connect = (settings: Partial<Settings> = {}): Promise<Provider<Target, Secret, never>> =>
    module.connect(
      { name: 'idp', settings: { ...Settings.parse({ issuer, introspects: 'all', timeoutMilliseconds: 500 }), ...settings } },
      tools(JSON.stringify(admin)),
    )
  const errors: unknown[] = []
  const failed = async (promise: Promise<unknown>) => {
    const error = await rejection(promise)
    errors.push(error)
    return error
  }

  beforeAll(async () => {
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const address = server.address()
    issuer = `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
  })
  afterEach(() => {
    expectNoSecret(errors.splice(0), [admin.clientSecret, 'the-token-of-a-lease'])
  })
  afterAll(() => {
    server.closeAllConnections()
    server.close()
  })

  it('form-encodes both parts of the client authentication (RFC 6749, section 2.3.1)', async () => {
    play = wellBehaved()
    seen.length = 0
    const provider = await connect()
    expect(await provider.revoke([subject()], WARRANT)).toMatchObject([{ status: 'revoked' }])
    const header = seen.find(({ path }) => path === '/revoke')?.authorization ?? ''
    expect(atob(header.replace('Basic ', ''))).toBe('an+admin%3A1:s%C3%A9cret+%2B%26%25%3D+of+the+admin')
  })

  it('finds the metadata where OpenID Connect puts it, also for an issuer with a path', async () => {
    seen.length = 0
    play = wellBehaved((path) => {
      if (path === '/tenant/.well-known/openid-configuration') return { body: metadata({ issuer: `${issuer}/tenant` }) }
      return path.startsWith('/.well-known') ? { status: 404 } : {}
    })
    await connect({ issuer: `${issuer}/tenant` })
    expect(seen.map(({ path }) => path).slice(0, 2)).toEqual([
      '/.well-known/oauth-authorization-server/tenant',
      '/tenant/.well-known/openid-configuration',
    ])
  })

  it('uses the configured endpoints of a server without metadata', async () => {
    play = wellBehaved((path) => (path.startsWith('/.well-known') ? { status: 404 } : {}))
    expect(await failed(connect())).toBeInstanceOf(IssuerUnavailable)
    const provider = await connect({
      endpoints: {
        from: 'configured',
        revocation: `${issuer}/revoke`,
        introspection: `${issuer}/introspect`,
        token: `${issuer}/token`,
      },
    })
    expect(await provider.revoke([subject()], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(await provider.revoke([subject()], WARRANT)).toMatchObject([{ status: 'absent' }])
  })

  it.each([
    ['another issuer', () => ({ issuer: 'https://other.example' })],
    ['the issuer with a slash too many', () => ({ issuer: `${issuer}/` })],
    ['an endpoint that is not https', () => ({ revocation_endpoint: 'http://idp.example/revoke' })],
    ['no revocation endpoint', () => ({ revocation_endpoint: undefined })],
    ['no introspection endpoint, where it is wanted', () => ({ introspection_endpoint: undefined })],
  ])('is refused where the metadata names %s', async (_title, overrides) => {
    play = wellBehaved((path) => (path.startsWith('/.well-known') ? { body: metadata(overrides()) } : {}))
    expect(await failed(connect())).toBeInstanceOf(IssuerRefused)
  })

  it.each([
    ['401', { status: 401, body: { error: 'invalid_client' } }],
    ['400 invalid_client', { status: 400, body: { error: 'invalid_client' } }],
    ['200 invalid_client', { status: 200, body: { error: 'invalid_client' } }],
    ['403 without a reason', { status: 403, body: 'Forbidden' }],
  ])('is refused where the revocation endpoint answers %s', async (_title, answer) => {
    play = wellBehaved()
    const provider = await connect()
    play = wellBehaved((path) => (path === '/revoke' ? answer : {}))
    expect(await failed(provider.revoke([subject()], WARRANT))).toBeInstanceOf(IssuerRefused)
  })

  it.each([
    ['HTML for an error', '/revoke', { status: 400, body: '<h1>Bad Request</h1>' }],
    ['a redirect', '/revoke', { status: 302, body: '', headers: { location: 'https://elsewhere.example' } }],
    ['404', '/revoke', { status: 404 }],
    ['HTML for an introspection', '/introspect', { status: 200, body: '<h1>Welcome</h1>' }],
    ['an introspection without a word on activity', '/introspect', { status: 200, body: { ok: true } }],
    ['an introspection that is active in name only', '/introspect', { status: 200, body: { active: 'false' } }],
    ['500', '/revoke', { status: 500, body: { error: 'server_error' } }],
    ['a body without end', '/introspect', { status: 200, body: 'x'.repeat(300_000) }],
  ])('calls it unavailable when the server answers %s', async (_title, where, answer) => {
    play = wellBehaved()
    const provider = await connect()
    play = wellBehaved((path) => (path === where ? answer : {}))
    expect(await failed(provider.revoke([subject()], WARRANT))).toBeInstanceOf(IssuerUnavailable)
  })

  it.each([
    ['7', 7],
    ['Thu, 01 Jan 2099 00:00:00 GMT', 3600],
    ['0', 1],
    ['soon', undefined],
  ])('hands on Retry-After: %s', async (header, afterSeconds) => {
    play = wellBehaved((path) => (path === '/revoke' ? { status: 429, headers: { 'retry-after': header } } : {}))
    expect(await failed((await connect()).revoke([subject()], WARRANT))).toMatchObject({
      code: 'issuer-throttled',
      afterSeconds,
    })
  })

  it('says of a token that nothing was done where the server throttles its cut, and that nobody knows where it throttles the look behind it', async () => {
    play = wellBehaved()
    const provider = await connect()
    let looks = 0
    play = wellBehaved((path) => {
      if (path === '/introspect') looks += 1
      return path === '/introspect' && looks > 1 ? { status: 429, headers: { 'retry-after': '3' } } : {}
    })
    expect(await provider.revoke([subject()], WARRANT)).toMatchObject([
      { status: 'retry', effect: 'unknown', throttled: true, afterSeconds: 3 },
    ])
  })

  it('asks again where the server answers an error, and the token is dead: two revoked it at once', async () => {
    play = wellBehaved()
    const provider = await connect()
    let looks = 0
    const told: Play = (path) => {
      if (path === '/introspect') looks += 1
      if (path === '/introspect') return { body: { active: looks === 1 } }
      return path === '/revoke' ? { status: 400, body: { error: 'invalid_request' } } : {}
    }
    play = wellBehaved(told)
    expect(await provider.revoke([subject()], WARRANT)).toMatchObject([{ status: 'retry', effect: 'unknown' }])
    play = wellBehaved((path, form, request) => (path === '/introspect' ? { body: { active: true } } : told(path, form, request)))
    expect(await provider.revoke([subject()], WARRANT)).toMatchObject([{ status: 'irrevocable' }])
  })

  it('marks what it was throttled at in the middle of a batch', async () => {
    play = wellBehaved()
    const provider = await connect({ introspects: 'none' })
    let cuts = 0
    play = wellBehaved((path) => {
      if (path === '/revoke') cuts += 1
      return path === '/revoke' && cuts > 5 ? { status: 429, headers: { 'retry-after': '9' } } : {}
    })
    const answers = await provider.revoke(
      Array.from({ length: 15 }, (_, index) => subject(`token-${index}`)),
      WARRANT,
    )
    expect(answers.slice(0, 5).map(({ status }) => status)).toEqual(Array(5).fill('revoked'))
    expect(answers.slice(5)).toMatchObject(Array(10).fill({ status: 'retry', afterSeconds: 9, effect: 'none', throttled: true }))
  })

  it('keeps the answers that it has when the server begins to throttle in the middle of a batch', async () => {
    play = wellBehaved()
    const provider = await connect({ introspects: 'none' })
    let cuts = 0
    play = wellBehaved((path) => {
      if (path === '/revoke') cuts += 1
      return path === '/revoke' && cuts > 5 ? { status: 503, headers: { 'retry-after': '9' } } : {}
    })
    const answers = await provider.revoke(
      Array.from({ length: 15 }, (_, index) => subject(`token-${index}`)),
      WARRANT,
    )
    expect(answers.slice(0, 5).map(({ status }) => status)).toEqual(Array(5).fill('revoked'))
    expect(answers.slice(5, 10)).toMatchObject(Array(5).fill({ status: 'retry', afterSeconds: 9, effect: 'unknown' }))
    expect(answers.slice(10)).toMatchObject(Array(5).fill({ status: 'retry', afterSeconds: 9, effect: 'none' }))
  })

  it('takes no error for success: 200 with invalid_token in the body', async () => {
    play = wellBehaved((path) =>
      path === '/revoke' ? { body: { error: 'invalid_token', error_description: 'Invalid token' } } : {},
    )
    const provider = await connect()
    expect(await provider.revoke([subject()], WARRANT)).toMatchObject([
      { status: 'irrevocable', said: expect.stringContaining('still active') },
    ])
    expect(await provider.revoke([subject('unknown-token')], WARRANT)).toMatchObject([{ status: 'absent' }])
  })

  it('takes 200 for no proof: the token that is still active is tried again', async () => {
    play = wellBehaved((path) => (path === '/revoke' ? { body: {} } : {}))
    expect(await (await connect()).revoke([subject()], WARRANT)).toMatchObject([{ status: 'retry', effect: 'unknown' }])
  })

  it('says what the server does not support, and what its policy forbids', async () => {
    play = wellBehaved((path) => (path === '/revoke' ? { status: 400, body: { error: 'unsupported_token_type' } } : {}))
    expect(await (await connect()).revoke([subject()], WARRANT)).toMatchObject([
      { status: 'unsupported', livesUntil: '2099-01-01T00:00:00.000Z' },
    ])
    play = wellBehaved((path) => (path === '/revoke' ? { status: 400, body: { error: 'unauthorized_client' } } : {}))
    expect(await (await connect()).revoke([subject()], WARRANT)).toMatchObject([{ status: 'irrevocable' }])
  })

  it('believes no inactive answer of a server that shows the admin client nothing', async () => {
    play = wellBehaved((path) => (path === '/introspect' ? { body: { active: false } } : {}))
    const blind = await failed((await connect()).revoke([subject()], WARRANT))
    expect(blind).toBeInstanceOf(IssuerRefused)
    play = wellBehaved((path) => (path === '/token' ? { status: 400, body: { error: 'unauthorized_client' } } : {}))
    expect(await failed((await connect()).revoke([subject('unknown-token')], WARRANT))).toBeInstanceOf(IssuerRefused)
  })
})
