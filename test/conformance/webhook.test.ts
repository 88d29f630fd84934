import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { WebhookAnswer, WebhookRequest } from '../../functions/contracts/webhook.ts'
import { signMessage } from '../../functions/domain/signature.ts'
import { IssuerRefused, IssuerUnavailable } from '../../functions/providers/contract.ts'
import type { Grants, Lever, Secret, Settings, Target } from '../../functions/providers/webhook/definition.ts'
import { definition, Settings as SettingsSchema } from '../../functions/providers/webhook/definition.ts'
import { FakeWebhook } from '../../functions/providers/webhook/fake.ts'
import { provider as module } from '../../functions/providers/webhook/provider.ts'
import { freePort } from '../../lib/local/issuers/postgres.ts'
import { program } from '../../lib/local/issuers/server.ts'
import type { LocalWebhook } from '../../lib/local/issuers/webhook.ts'
import { startWebhook, targetOf } from '../../lib/local/issuers/webhook.ts'
import { receiver } from '../../lib/webhook-receiver/receiver.ts'
import { mac } from '../support/mac.ts'
import type { Credential, Faults, Harness } from './suite.ts'
import { conformance, expectNoSecret, rejection, startGate, tools, WARRANT } from './suite.ts'

const HOSTILE = [`'; DROP TABLE tokens; --`, '日本 %2F ../', ' padded\n', 'a*b', '{"id":"x"}', 'x'.repeat(2048), '\u202e\u0000']
const EXTRAS = ['poison', 'replace', 'throttled', 'nonsense', 'named'] as const
type Of = Harness<Target, Secret, Lever, Settings, Grants>

async function harness(): Promise<Of> {
  const own = await freePort()
  const signingSecret = `whsec_${randomBytes(32).toString('base64')}`
  // The other one knows the key, as a copy of the installation would.
  const other = await startWebhook({ name: 'a-copy', signingSecret })
  const gate = await startGate(own, other.port)
  const server = await startWebhook({ port: own, signingSecret, batch: 20 })
  let serial = 0
  const next = () => {
    serial += 1
    return `token-${serial}`
  }
  const credential = (target: Target, token: string): Credential<Target, Secret> => ({
    subject: { lease: `lease of ${token.slice(0, 8)} ${target.incarnation}`, target },
    secrets: [token],
    works: () => server.service.works(token),
    open: () => server.service.open(token),
  })
  const mint = async ({ name = next(), lever }: { name?: string; lever?: Lever } = {}) => {
    const token = server.service.mint(name, lever === undefined ? {} : { identity: lever.identity })
    return credential(targetOf(token), token.token)
  }
  return {
    issuer: {
      name: 'own',
      settings: SettingsSchema.parse({
        endpoint: `http://127.0.0.1:${gate.port}/rescind?tenant=1`,
        receiver: server.name,
        timeoutMilliseconds: 500,
      }),
    },
    adminSecret: JSON.stringify({ signingSecret: server.signingSecret }),
    wrongSecret: JSON.stringify({ signingSecret: `whsec_${Buffer.from('another key of thirty-two bytes!').toString('base64')}` }),
    faults: {
      ...gate,
      async throttled() {
        server.throttle(9)
        return 9
      },
      async heal() {
        server.throttle()
        await gate.heal()
      },
    },
    repeated: 'absent',
    mint,
    neverExisted: () => ({ subject: { lease: 'never', target: { id: 'never' } }, status: 'absent' }),
    poison: async () => ({
      subject: { lease: 'poison', target: targetOf(server.service.mint(next(), { pinned: true })) },
      status: 'irrevocable',
    }),
    replace: async ({ subject: { target } }) => {
      server.service.delete(target.id)
      return await mint({ name: target.id })
    },
    hostileNames: HOSTILE,
    named: (name) => ({ lease: 'named', target: { id: name } }),
    lever: async () => ({ identity: `spiffe://example/${next()}` }),
    grants: { scope: ['read'] },
    use: ({ target, credential: { token = '' } }) => credential(target, token),
    async stop() {
      await gate.close()
      await Promise.all([server.stop(), other.stop()])
    },
  }
}

conformance(module, { against: 'real', counterpart: 'the reference receiver on a token service' }, harness, EXTRAS)

const fake = new FakeWebhook()
conformance(
  fake.module,
  { against: 'fake', counterpart: 'docs/webhook.md' },
  async (): Promise<Of> => {
    let serial = 0
    const next = () => {
      serial += 1
      return `token-${serial}`
    }
    const credential = (target: Target): Credential<Target, Secret> => ({
      subject: { lease: `lease of ${target.incarnation}`, target },
      secrets: [`token-${target.incarnation}`],
      works: async () => fake.honours(target),
      open: async () => {
        fake.open(target)
        return { alive: async () => fake.sessions(target) > 0, close: async () => undefined }
      },
    })
    const fault = (kind: FakeWebhook['fault']) => async () => {
      fake.fault = kind
    }
    const faults: Faults = {
      down: fault('down'),
      // Nothing in memory hangs or babbles: either is what the provider makes of it, no answer.
      hang: fault('down'),
      nonsense: fault('down'),
      other: fault('other'),
      async throttled() {
        fake.fault = 'throttled'
        return 7
      },
      heal: fault('none'),
    }
    return {
      issuer: { name: 'own', settings: fake.settings() },
      adminSecret: JSON.stringify(fake.admin),
      wrongSecret: JSON.stringify({
        signingSecret: `whsec_${Buffer.from('another key of thirty-two bytes!').toString('base64')}`,
      }),
      faults,
      repeated: 'absent',
      mint: async ({ name = next(), lever } = {}) =>
        credential(fake.mint(name, lever === undefined ? {} : { identity: lever.identity })),
      neverExisted: () => ({ subject: { lease: 'never', target: { id: 'never' } }, status: 'absent' }),
      poison: async () => ({ subject: { lease: 'poison', target: fake.mint(next(), { pinned: true }) }, status: 'irrevocable' }),
      replace: async ({ subject: { target } }) => credential(fake.mint(target.id)),
      hostileNames: HOSTILE,
      named: (name) => ({ lease: 'named', target: { id: name } }),
      lever: async () => ({ identity: `spiffe://example/${next()}` }),
      grants: { scope: ['read'] },
      use: ({ target }) => credential(target),
      stop: async () => undefined,
    }
  },
  EXTRAS,
)

const secretOf = (word: string) => `whsec_${Buffer.from(word.padEnd(32, '.')).toString('base64')}`

describe('webhook alone, on the reference receiver', () => {
  const signingSecret = secretOf('the key')
  const running: LocalWebhook[] = []
  const start = async (options: Parameters<typeof startWebhook>[0] = {}) => {
    const server = await startWebhook({ signingSecret, ...options })
    running.push(server)
    return server
  }
  const connect = async (server: LocalWebhook, change: Partial<Settings> = {}, secret: object = { signingSecret }) =>
    module.connect(
      {
        name: 'own',
        settings: {
          ...SettingsSchema.parse({ endpoint: server.endpoint, receiver: server.name, timeoutMilliseconds: 500 }),
          ...change,
        },
      },
      tools(JSON.stringify(secret)),
    )
  const post = async (
    server: LocalWebhook,
    body: object,
    change: { id?: string; at?: number; secret?: string; text?: string } = {},
  ) => {
    const text = JSON.stringify(body)
    const { id = 'msg_one', at = Date.now(), secret = signingSecret } = change
    const headers = signMessage({ id, timestamp: at, body: text, secrets: [secret] })
    return await fetch(server.endpoint, { method: 'POST', headers: { ...headers }, body: change.text ?? text })
  }
  const leaseOf = (id: string) => ({ lease: `lease-${id}`, key: `case:lease-${id}`, target: { id } })
  const warrant = WARRANT
  const request = (server: LocalWebhook, id: string) => ({
    type: 'rescind.revoke',
    contract: 1,
    receiver: server.name,
    leases: [leaseOf(id)],
    warrant,
  })
  afterAll(async () => {
    await Promise.all(running.map((server) => server.stop()))
  })

  it('sends the sealed handle only where the endpoint asks for it', async () => {
    const [plain, wanting] = [await start(), await start({ wantsHandle: true })]
    for (const server of [plain, wanting]) {
      server.service.mint('one')
      const provider = await connect(server)
      const subject = { lease: 'l', target: { id: 'one' }, secret: { handle: 'the-sealed-handle' } }
      expect(await provider.verify([subject], WARRANT)).toMatchObject([{ status: 'alive' }])
      expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
      await provider.close()
    }
    expect(plain.service.asked.map(({ handle }) => handle)).toEqual([undefined, undefined])
    expect(wanting.service.asked.map(({ handle }) => handle)).toEqual(['the-sealed-handle', 'the-sealed-handle'])
  })

  it('says of each verb that the endpoint lacks what that means', async () => {
    const server = await start({ only: ['discover'] })
    const provider = await connect(server)
    server.service.mint('one')
    const subject = { lease: 'l', target: { id: 'one' } }
    const lacking = (status: string, verb: string) => ({ status, said: expect.stringContaining(`names no ${verb}`) })
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(await provider.verify([subject], WARRANT)).toMatchObject([lacking('unknown', 'verify')])
    expect(await provider.restore?.([subject], WARRANT)).toMatchObject([lacking('refused', 'restore')])
    expect(await provider.tidy?.([subject], WARRANT)).toMatchObject([lacking('absent', 'tidy')])
    expect(await provider.contain?.({ identity: 'x' }, WARRANT)).toMatchObject(lacking('unsupported', 'contain'))
    expect(await provider.release?.({ identity: 'x' }, WARRANT)).toMatchObject(lacking('unsupported', 'release'))
    const order = { name: 'n', grants: {}, expiresAt: new Date(Date.now() + 60_000).toISOString() }
    expect(await provider.issue?.(order)).toMatchObject(lacking('refused', 'issue'))
    expect(await provider.discover?.(undefined, 10)).toMatchObject({
      status: 'page',
      listed: [{ target: { id: 'one' }, usable: false }],
    })
    expect(server.service.asked.map(({ verb }) => verb)).toEqual(['revoke'])
    await provider.close()
  })

  it('restores nothing that the owner has shut', async () => {
    const server = await start()
    const provider = await connect(server)
    server.service.mint('one')
    server.service.shut('one')
    expect(await provider.restore?.([{ lease: 'l', target: { id: 'one' } }], WARRANT)).toMatchObject([{ status: 'refused' }])
    await provider.close()
  })

  it('goes on while the key is being changed, on either side first', async () => {
    const server = await start()
    const [next, other] = [secretOf('the next key'), secretOf('somebody else’s')]
    const first = await connect(server, {}, { signingSecret: next, formerSigningSecret: signingSecret })
    await first.close()
    expect(await rejection(connect(server, {}, { signingSecret: next }))).toBeInstanceOf(IssuerRefused)
    expect(await rejection(connect(server, {}, { signingSecret: next, formerSigningSecret: other }))).toBeInstanceOf(
      IssuerRefused,
    )
    expect(await rejection(connect(server, {}, { signingSecret: 'whsec_c2hvcnQ=' }))).toBeInstanceOf(IssuerRefused)
  })

  it('takes no request that is forged, changed, old, early or meant for another receiver', async () => {
    const server = await start()
    server.service.mint('one')
    const body = request(server, 'one')
    const statuses = [
      await post(server, body, { secret: secretOf('forged') }),
      await post(server, body, { text: JSON.stringify(request(server, 'two')) }),
      await post(server, body, { at: Date.now() - 301_000 }),
      await post(server, body, { at: Date.now() + 302_000 }),
      await fetch(server.endpoint, { method: 'POST', body: JSON.stringify(body) }),
      await fetch(server.endpoint),
      await post(server, { ...body, receiver: 'another' }),
      await post(server, { ...body, contract: 2 }),
      await post(server, { ...body, type: 'rescind.delete-everything' }),
      await post(server, { ...body, leases: [{}] }),
      await post(server, { ...body, leases: Array.from({ length: 101 }, (_, index) => leaseOf(`${index}`)) }, { id: 'msg_two' }),
      await post(server, body, { text: 'x'.repeat(2_200_000) }).catch(() => ({ status: 413 })),
    ].map(({ status }) => status)
    expect(statuses).toEqual([401, 401, 401, 401, 401, 405, 421, 400, 400, 400, 400, 413])
    expect(server.service.asked).toEqual([])
  })

  it('answers a replayed request as it did the first time, and does nothing again', async () => {
    const server = await start()
    server.service.mint('one')
    const [first, again] = await Promise.all([post(server, request(server, 'one')), post(server, request(server, 'one'))])
    const text = await first.text()
    expect(WebhookAnswer.parse(JSON.parse(text))).toMatchObject({ answers: [{ status: 'revoked' }], inReplyTo: 'msg_one' })
    expect(await again.text()).toBe(text)
    const provider = await connect(server)
    expect(await provider.restore?.([{ lease: 'l', target: { id: 'one' } }], WARRANT)).toMatchObject([{ status: 'restored' }])
    expect(await (await post(server, request(server, 'one'))).text()).toBe(text)
    expect(await provider.verify([{ lease: 'l', target: { id: 'one' } }], WARRANT)).toMatchObject([{ status: 'alive' }])
    expect(server.service.asked.filter(({ verb }) => verb === 'revoke')).toHaveLength(1)
    expect((await post(server, request(server, 'two'), { id: 'msg_one' })).status).toBe(409)
    await provider.close()
  })

  it('asks for what the published schemas describe', async () => {
    const seen: unknown[] = []
    const server = await start()
    const credentials = server.service
    const listener = receiver({ name: 'seen', secrets: [signingSecret], credentials })
    const spy = createServer((incoming, response) => {
      const parts: Uint8Array[] = []
      incoming.on('data', (part: Uint8Array) => parts.push(part))
      incoming.once('end', () => seen.push(JSON.parse(Buffer.concat(parts).toString())))
      listener(incoming, response)
    })
    await new Promise<void>((done) => spy.listen(0, '127.0.0.1', done))
    const address = spy.address()
    const endpoint = `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
    const provider = await connect(server, { endpoint, receiver: 'seen' })
    const subject = { lease: 'l', target: { kind: 'token', id: 'x', incarnation: 'y' } }
    for (const verb of ['revoke', 'verify', 'restore', 'tidy'] as const) await provider[verb]?.([subject], WARRANT)
    for (const verb of ['contain', 'release'] as const) await provider[verb]?.({ identity: 'x' }, WARRANT)
    await provider.discover?.(undefined, 10)
    await provider.issue?.({ name: 'n', grants: { scope: ['a'], days: 1, admin: false }, expiresAt: new Date().toISOString() })
    await provider.close()
    spy.closeAllConnections()
    spy.close()
    expect(seen.map((one) => WebhookRequest.parse(one)).map(({ type }) => type)).toEqual(
      ['', 'revoke', 'verify', 'restore', 'tidy', 'contain', 'release', 'discover', 'issue'].flatMap((verb) =>
        verb === '' ? ['rescind.describe'] : ['rescind.describe', `rescind.${verb}`],
      ),
    )
  })

  it.skipIf(program('openssl') === undefined)('shows nothing to a server whose certificate nobody vouches for', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'rescind-webhook-'))
    const [keyFile, certificateFile] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')]
    const form = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=webhook']
    const files = ['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', keyFile, '-out', certificateFile]
    await promisify(execFile)(program('openssl') ?? '', ['req', ...form, ...files])
    const ca = await readFile(certificateFile, 'utf8')
    const plain = await start()
    plain.service.mint('one')
    const listener = receiver({ name: 'over-tls', secrets: [signingSecret], credentials: plain.service })
    let requests = 0
    const secure = createTlsServer({ key: await readFile(keyFile), cert: ca }, (incoming, response) => {
      requests += 1
      listener(incoming, response)
    })
    await new Promise<void>((done) => secure.listen(0, '127.0.0.1', done))
    const address = secure.address()
    const endpoint = `https://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
    expect(await rejection(connect(plain, { endpoint, receiver: 'over-tls' }))).toBeInstanceOf(IssuerRefused)
    expect(requests).toBe(0)
    const provider = await connect(plain, { endpoint, receiver: 'over-tls', ca })
    expect(await provider.revoke([{ lease: 'l', target: { id: 'one' } }], WARRANT)).toMatchObject([{ status: 'revoked' }])
    await provider.close()
    secure.closeAllConnections()
    secure.close()
    await rm(folder, { recursive: true })
  })

  it('names a credential by kind, id and incarnation, without one running into the other', () => {
    const names = [{ id: 'a' }, { id: 'a', incarnation: 'b' }, { kind: 'a', id: 'b' }, { id: 'a","b' }, { kind: 'k', id: 'a' }]
    expect(new Set(names.map((target) => definition.credential(target, undefined, mac))).size).toBe(names.length)
    expect(definition.target.safeParse({ id: 'lone \ud800' }).success).toBe(false)
    expect(definition.target.safeParse({ id: '' }).success).toBe(false)
    expect(definition.target.safeParse({ id: 'x'.repeat(2049) }).success).toBe(false)
  })

  it('takes only addresses to which a secret may be sent', () => {
    const taken = (endpoint: string) => SettingsSchema.safeParse({ endpoint, receiver: 'r' }).success
    expect(['https://own.example/rescind', 'https://own.example:8443/?a=b', 'http://127.0.0.1:80'].map(taken)).not.toContain(
      false,
    )
    expect(
      ['http://own.example', 'https://a:b@own.example', 'https://own.example/#x', 'ftp://own.example', ''].map(taken),
    ).not.toContain(true)
  })
})

/** Answers that one meets, played by a small HTTP server. */
describe('webhook alone, answers of others', () => {
  const signingSecret = secretOf('the key')
  interface Played {
    readonly status?: number
    readonly headers?: Record<string, string>
    /** Text is sent as it is, unsigned. */
    readonly body?: unknown
    readonly secret?: string
    readonly at?: number
    /** Never answers. */
    readonly hangs?: boolean
  }
  type Asked = Record<string, unknown> & {
    readonly type: string
    readonly leases?: readonly { lease: string; target: { id: string } }[]
  }
  let play: (asked: Asked, id: string, headers: IncomingMessage['headers']) => Played
  let endpoint = ''
  const seen: string[] = []
  const asked: Asked[] = []
  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    const parts: Uint8Array[] = []
    for await (const part of request) parts.push(part)
    const text = Buffer.concat(parts).toString()
    const json: Asked = JSON.parse(text)
    seen.push(text)
    asked.push(json)
    const id = String(request.headers['webhook-id'])
    const {
      status = 200,
      headers = {},
      body,
      secret = signingSecret,
      at = Date.now(),
      hangs = false,
    } = play(json, id, request.headers)
    if (hangs) return
    if (typeof body === 'string') response.writeHead(status, headers).end(body)
    else {
      const answer = JSON.stringify(body)
      const signature = signMessage({ id, timestamp: at, body: answer, secrets: [secret] })
      response.writeHead(status, { 'content-type': 'application/json', ...signature, ...headers }).end(answer)
    }
  }
  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy())
  })
  const answer = (type: string, id: string, rest: object, change: object = {}) => ({
    body: { type: `${type}.answer`, contract: 1, receiver: 'played', inReplyTo: id, ...rest, ...change },
  })
  const description = { nonce: 'n'.repeat(16), verbs: ['revoke', 'verify', 'issue', 'discover', 'contain'], wantsHandle: true }
  /** A good endpoint, but for what the override plays. */
  const good =
    (override: (asked: Asked, id: string) => Played | undefined = () => undefined): typeof play =>
    (request, id) => {
      const special = override(request, id)
      if (special !== undefined) return special
      if (request.type === 'rescind.describe') return answer(request.type, id, description)
      const status = request.type === 'rescind.verify' ? 'dead' : 'revoked'
      return answer(request.type, id, { answers: request.leases?.map(({ lease }) => ({ lease, status, said: 'done' })) })
    }
  const revoking = (override: (asked: Asked, id: string) => Played) =>
    good((request, id) => (request.type === 'rescind.revoke' ? override(request, id) : undefined))
  const subjects = (...ids: readonly string[]) =>
    ids.map((id) => ({ lease: `lease-${id}`, target: { id }, secret: { handle: 'the-sealed-handle' } }))
  const connect = () =>
    module.connect(
      { name: 'own', settings: SettingsSchema.parse({ endpoint, receiver: 'played', timeoutMilliseconds: 300 }) },
      tools(JSON.stringify({ signingSecret })),
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
    endpoint = `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}/hook`
  })
  afterEach(() => {
    seen.length = 0
    asked.length = 0
    expectNoSecret(errors.splice(0), [signingSecret, 'the-sealed-handle'])
  })
  afterAll(() => {
    server.closeAllConnections()
    server.close()
  })

  const describing = (played: (id: string) => Played): typeof play =>
    good(({ type }, id) => (type === 'rescind.describe' ? played(id) : undefined))
  const described = (id: string, change: object = {}) => answer('rescind.describe', id, description, change)

  it.each<[string, (id: string, headers: IncomingMessage['headers']) => Played]>([
    ['that is signed with another key', (id) => ({ ...described(id), secret: secretOf('another') })],
    ['that is not signed', (id) => ({ body: JSON.stringify(described(id).body) })],
    ['that is another receiver’s', (id) => described(id, { receiver: 'a-copy' })],
    ['to another request', (id) => described(id, { inReplyTo: `${id}x` })],
    ['that was signed too long ago', (id) => ({ ...described(id), at: Date.now() - 400_000 })],
    [
      'that is our own request, sent back',
      (_id, headers) => ({
        body: seen.at(-1) ?? '',
        headers: Object.fromEntries(
          ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map((name) => [name, String(headers[name])]),
        ),
      }),
    ],
    ['401', () => ({ status: 401, body: '' })],
    ['403', () => ({ status: 403, body: '<h1>Forbidden</h1>' })],
    ['421', () => ({ status: 421, body: '' })],
  ])('does nothing, and shows no handle, where the answer is one %s', async (title, played) => {
    play = good()
    const provider = await connect()
    seen.length = 0
    play = (request, id, headers) => (request.type === 'rescind.describe' ? played(id, headers) : good()(request, id, headers))
    const error = await failed(provider.revoke(subjects('one'), WARRANT))
    // Its own request is signed with the right key, and is no answer.
    expect(error).toBeInstanceOf(title.includes('sent back') ? IssuerUnavailable : IssuerRefused)
    expect(await failed(connect())).toBeInstanceOf(title.includes('sent back') ? IssuerUnavailable : IssuerRefused)
    expect(seen.join()).not.toContain('rescind.revoke')
    expect(seen.join()).not.toContain('the-sealed-handle')
    await provider.close()
  })

  it.each<[string, (id: string) => Played]>([
    ['HTML', () => ({ body: '<h1>Welcome</h1>' })],
    ['a redirect', () => ({ status: 302, headers: { location: 'https://elsewhere.example' }, body: '' })],
    ["a balancer's 404 in JSON", () => ({ status: 404, body: '{"message":"Not Found"}' })],
    ["a balancer's 410", () => ({ status: 410, body: 'gone' })],
    ['500', () => ({ status: 500, body: '' })],
    ['a description without a nonce', (id) => described(id, { nonce: undefined })],
    ['a contract to come', (id) => described(id, { contract: 2 })],
    ['a batch of none', (id) => described(id, { batch: 0 })],
    ['an answer to another verb', (id) => answer('rescind.contain', id, { answer: { status: 'done', said: 'x' } })],
    ['a body without end', () => ({ body: 'x'.repeat(3_000_000) })],
    ['nothing in time', () => ({ hangs: true })],
  ])('calls the endpoint unavailable where it answers %s', async (_title, played) => {
    play = describing(played)
    expect(await failed(connect())).toBeInstanceOf(IssuerUnavailable)
  })

  it.each<[string, (asked: Asked, id: string) => Played]>([
    ['HTML', () => ({ body: '<h1>Welcome</h1>' })],
    ['404', () => ({ status: 404, body: '{"message":"Not Found"}' })],
    ['410', () => ({ status: 410, body: '' })],
    ['500', () => ({ status: 500, body: '' })],
    ['one answer too few', ({ type }, id) => answer(type, id, { answers: [] })],
    ['for another lease', ({ type }, id) => answer(type, id, { answers: [{ lease: 'x', status: 'absent', said: 'gone' }] })],
    [
      'a word that it does not have',
      ({ type }, id) => answer(type, id, { answers: [{ lease: 'lease-one', status: 'deleted', said: 'x' }] }),
    ],
    ['nothing in time', () => ({ hangs: true })],
  ])('takes nothing for revoked or absent where the endpoint answers the cut with %s', async (_title, played) => {
    play = revoking(played)
    const provider = await connect()
    expect(await provider.revoke(subjects('one'), WARRANT)).toMatchObject([{ status: 'retry', effect: 'unknown' }])
    await provider.close()
  })

  it('believes 404 and 410 where the right receiver signs them and answers for each lease', async () => {
    for (const status of [404, 410]) {
      play = revoking(({ type }, id) => ({
        status,
        ...answer(type, id, { answers: [{ lease: 'lease-one', status: 'absent', said: 'no such key' }] }),
      }))
      const provider = await connect()
      expect(await provider.revoke(subjects('one'), WARRANT)).toMatchObject([{ status: 'absent', said: 'no such key' }])
      await provider.close()
    }
  })

  it('cuts the others where one lease makes the endpoint fail', async () => {
    play = revoking((request, id) =>
      request.leases?.some(({ target }) => target.id === 'poison') === true
        ? { status: 500, body: '' }
        : answer(request.type, id, { answers: request.leases?.map(({ lease }) => ({ lease, status: 'revoked', said: 'done' })) }),
    )
    const provider = await connect()
    expect(await provider.revoke(subjects('a', 'poison', 'b'), WARRANT)).toMatchObject([
      { status: 'revoked' },
      { status: 'retry', effect: 'unknown' },
      { status: 'revoked' },
    ])
    await provider.close()
  })

  it('calls it the endpoint’s trouble where not one request of a batch is answered', async () => {
    play = revoking(() => ({ status: 503, body: '', headers: { 'retry-after': '11' } }))
    const provider = await connect()
    expect(await failed(provider.revoke(subjects('a', 'b', 'c'), WARRANT))).toMatchObject({
      code: 'issuer-unavailable',
      afterSeconds: 11,
    })
    await provider.close()
  })

  it('sends no more at once than the endpoint takes, and keeps what it has when it is throttled in the middle', async () => {
    let cuts = 0
    play = good((request, id) => {
      if (request.type === 'rescind.describe') return answer(request.type, id, { ...description, batch: 2 })
      cuts += 1
      return cuts === 2 ? { status: 429, headers: { 'retry-after': '7' }, body: '' } : undefined
    })
    const provider = await connect()
    const answers = await provider.revoke(subjects('a', 'b', 'c', 'd', 'e'), WARRANT)
    expect(answers.map(({ status }) => status)).toEqual(['revoked', 'revoked', 'retry', 'retry', 'retry'])
    expect(answers.slice(2)).toMatchObject(Array(3).fill({ effect: 'none', throttled: true, afterSeconds: 7 }))
    expect(asked.filter(({ type }) => type === 'rescind.revoke').map(({ leases }) => leases?.length)).toEqual([2, 2])
    play = revoking(() => ({ status: 429, body: '' }))
    expect(await failed(provider.revoke(subjects('a'), WARRANT))).toMatchObject({ code: 'issuer-throttled' })
    await provider.close()
  })

  it('keeps the endpoint’s words short and printable, and its hints within an hour, and takes the handle out of them', async () => {
    play = revoking(({ type }, id) =>
      answer(type, id, {
        answers: [
          {
            lease: 'lease-one',
            status: 'retry',
            effect: 'none',
            afterSeconds: 99_999,
            said: `could not use the-sealed-handle\u0007\n${'x'.repeat(1900)}`,
          },
        ],
      }),
    )
    const provider = await connect()
    const [given] = await provider.revoke(subjects('one'), WARRANT)
    expect(given).toMatchObject({
      status: 'retry',
      afterSeconds: 3600,
      said: expect.stringMatching(/^could not use \(secret\) x+$/),
    })
    expect(given?.said).toHaveLength(500)
    await provider.close()
  })

  it('gives one key to all attempts of a case for a lease, and never the same id to two requests', async () => {
    play = good()
    const ids: string[] = []
    const inner = play
    play = (request, id, headers) => {
      if (request.type === 'rescind.revoke') ids.push(id)
      return inner(request, id, headers)
    }
    let nonce = 0
    play = ((outer) => (request: Asked, id: string, headers: IncomingMessage['headers']) => {
      nonce += 1
      return request.type === 'rescind.describe'
        ? answer(request.type, id, { ...description, nonce: `${'n'.repeat(16)}${nonce}` })
        : outer(request, id, headers)
    })(play)
    const still = { ...tools(JSON.stringify({ signingSecret })), now: () => Math.floor(Date.now() / 60_000) * 60_000 }
    const provider = await module.connect(
      { name: 'own', settings: SettingsSchema.parse({ endpoint, receiver: 'played', timeoutMilliseconds: 300 }) },
      still,
    )
    await Promise.all(Array.from({ length: 5 }, () => provider.revoke(subjects('one'), WARRANT)))
    expect(new Set(ids).size).toBe(5)
    const keys = asked.flatMap(({ type, leases }) => (type === 'rescind.revoke' ? [JSON.stringify(leases)] : []))
    expect(new Set(keys).size).toBe(1)
    expect(keys[0]).toContain(`"key":"${WARRANT.case}:lease-one"`)
    await provider.close()
  })

  it('is told of a minted credential by its order’s name or not at all', async () => {
    const order = { name: 'wanted', grants: {}, expiresAt: new Date(Date.now() + 60_000).toISOString() }
    const issued = (id: string) => ({
      status: 'issued',
      said: 'here: the-token',
      target: { id },
      credential: { token: 'the-token' },
    })
    play = good(({ type }, id) => (type === 'rescind.issue' ? answer(type, id, { answer: issued('another') }) : undefined))
    const provider = await connect()
    expect(await failed(provider.issue?.(order) ?? Promise.resolve())).toBeInstanceOf(IssuerRefused)
    play = good(({ type }, id) => (type === 'rescind.issue' ? answer(type, id, { answer: issued('wanted') }) : undefined))
    expect(await provider.issue?.(order)).toMatchObject({ status: 'issued', said: 'here: (secret)', target: { id: 'wanted' } })
    play = good(({ type }) => (type === 'rescind.issue' ? { hangs: true } : undefined))
    expect(await provider.issue?.(order)).toMatchObject({ status: 'retry', effect: 'unknown' })
    await provider.close()
  })
})
