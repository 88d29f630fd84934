import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encodeAccount, fmtCreds } from '@nats-io/jwt'
import type { KeyPair } from '@nats-io/nkeys'
import { createAccount, createOperator, createUser } from '@nats-io/nkeys'
import type { NatsConnection } from '@nats-io/transport-node'
import { jwtAuthenticator, connect as natsConnect } from '@nats-io/transport-node'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../../functions/providers/contract.ts'
import { Connection } from '../../functions/providers/nats/client.ts'
import type { Lever, Target } from '../../functions/providers/nats/definition.ts'
import { definition, Settings } from '../../functions/providers/nats/definition.ts'
import { FakeNats, fakeKey } from '../../functions/providers/nats/fake.ts'
import { provider as module } from '../../functions/providers/nats/provider.ts'
import type { Claims } from '../../functions/providers/nats/token.ts'
import { readToken, signerOf, signToken } from '../../functions/providers/nats/token.ts'
import type { LocalNats, NatsOperator, NatsUser } from '../../lib/local/issuers/nats.ts'
import { LIMITS, natsMissing, natsVersion, newOperator, startNats, userToken } from '../../lib/local/issuers/nats.ts'
import { freePort } from '../../lib/local/issuers/postgres.ts'
import { program, startServer } from '../../lib/local/issuers/server.ts'
import { mac } from '../support/mac.ts'
import type { Credential, Harness, MintOptions } from './suite.ts'
import { conformance, expectNoSecret, rejection, startGate, tools, WARRANT } from './suite.ts'

/** Before the suite's fence. */
const ISSUED = Date.parse('2025-12-01T00:00:00.000Z') / 1000
const FENCED = Date.parse(WARRANT.fencedAt) / 1000
const missing = natsMissing()

const HOSTILE_NAMES = [
  `o'reilly"; DROP`,
  '*',
  '>',
  '$SYS.REQ.>',
  'a b\r\nPUB x 0',
  'Grüße-日本-🗝️',
  'x'.repeat(1500),
  '{"acc":"*"}',
]

const seedOf = (key: KeyPair) => Buffer.from(key.getSeed()).toString()
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8')

const dial = (port: number, { key, token }: NatsUser, name = 'test') =>
  natsConnect({
    ...{ servers: `127.0.0.1:${port}`, reconnect: false, timeout: 5000, ignoreClusterUpdates: true, name },
    authenticator: jwtAuthenticator(token, key.getSeed()),
  })

const secretOf = (operator: NatsOperator, user: NatsUser = operator.admin, signer: KeyPair = operator.signer) =>
  JSON.stringify({ userToken: user.token, userSeed: seedOf(user.key), signingSeed: seedOf(signer) })

/** What a person does with `nsc`: makes accounts, changes them, reads them. */
class Hand {
  readonly operator: NatsOperator
  readonly connection: NatsConnection
  readonly #accounts = new Map<string, KeyPair>()
  #serial = 0

  constructor(operator: NatsOperator, connection: NatsConnection) {
    this.operator = operator
    this.connection = connection
  }

  async account(): Promise<Lever> {
    const key = createAccount()
    const account = key.getPublicKey()
    this.#accounts.set(account, key)
    await this.push(await encodeAccount('app', key, { limits: LIMITS }, { signer: this.operator.rootSigner }))
    return { account }
  }

  async push(token: string): Promise<void> {
    const answer = await this.connection.request('$SYS.REQ.CLAIMS.UPDATE', token, { timeout: 5000 })
    expect(JSON.parse(answer.string())).toMatchObject({ data: { code: 200 } })
  }

  async read(account: string): Promise<string> {
    return (await this.connection.request(`$SYS.REQ.ACCOUNT.${account}.CLAIMS.LOOKUP`, '', { timeout: 5000 })).string()
  }

  async claims(account: string): Promise<Claims> {
    const keys = [this.operator.rootSigner, this.operator.signer].map((key) => key.getPublicKey())
    const claims = readToken(await this.read(account), new Set(keys))
    if (claims === undefined) throw new Error('no account')
    return claims
  }

  signed(claims: Claims): string {
    const signer = signerOf(seedOf(this.operator.rootSigner), 'O')
    return signToken(claims, signer, Math.max(Math.floor(Date.now() / 1000), claims.iat + 1)).token
  }

  async change(account: string, change: (nats: Claims['nats']) => Claims['nats']): Promise<void> {
    const claims = await this.claims(account)
    await this.push(this.signed({ ...claims, nats: change(claims.nats) }))
  }

  async revoke(account: string, user: string, at: number): Promise<void> {
    await this.change(account, (nats) => ({ ...nats, revocations: { ...nats.revocations, [user]: at } }))
  }

  keyOf(account: string): KeyPair {
    const key = this.#accounts.get(account)
    if (key === undefined) throw new Error('not an account of ours')
    return key
  }

  user(
    account: string,
    port: number,
    options: { name?: string; issuedAt?: number; key?: KeyPair } = {},
  ): Credential<Target, never> & { user: NatsUser } {
    this.#serial += 1
    const { name = `user ${this.#serial}`, issuedAt = ISSUED + this.#serial, key = createUser() } = options
    const user = { key, token: userToken(name, key, this.keyOf(account), issuedAt) }
    return {
      user,
      subject: { lease: `${key.getPublicKey()} ${issuedAt}`, target: { account, user: key.getPublicKey(), issuedAt } },
      secrets: [seedOf(key), user.token],
      async works() {
        try {
          const signer = signerOf(seedOf(key), 'U')
          const where = { host: '127.0.0.1', port, tls: { mode: 'disable' }, timeoutMilliseconds: 5000 } as const
          const connection = await Connection.open(where, { token: user.token, signer })
          connection.destroy()
          return true
        } catch (error) {
          if (error instanceof IssuerRefused) return false
          throw error
        }
      },
      async open() {
        const connection = await dial(port, user, name.slice(0, 100))
        return {
          alive: async () =>
            !connection.isClosed() &&
            (await connection.flush().then(
              () => true,
              () => false,
            )),
          close: async () => {
            if (!connection.isClosed()) await connection.close()
          },
        }
      },
    }
  }
}

async function harness(folder: string): Promise<Harness<Target, never, Lever, Settings>> {
  const [operator, another] = [await newOperator(), await newOperator('another')]
  const server = await startNats({ folder: join(folder, 'own'), operator })
  const other = await startNats({ folder: join(folder, 'other'), operator: another })
  const gate = await startGate(server.port, other.port)
  const hand = new Hand(operator, await dial(server.port, operator.root))
  const { account: main } = await hand.account()
  const keys = new Map<string, KeyPair>()
  const mint = async ({ name, lever }: MintOptions<Lever> = {}) => {
    const credential = hand.user(lever?.account ?? main, server.port, name === undefined ? {} : { name })
    keys.set(credential.subject.target.user, credential.user.key)
    return credential
  }
  const nobody = createUser()
  return {
    issuer: {
      name: 'nats',
      settings: Settings.parse({
        ...{ host: '127.0.0.1', port: gate.port, tls: { mode: 'disable' }, timeoutMilliseconds: 1000 },
        operator: operator.operator.getPublicKey(),
      }),
    },
    adminSecret: secretOf(operator),
    wrongSecret: secretOf(operator, { key: nobody, token: userToken('nobody', nobody, createAccount(), ISSUED) }),
    faults: gate,
    repeated: 'revoked',
    mint,
    neverExisted: () => ({
      subject: {
        lease: 'never',
        target: { account: createAccount().getPublicKey(), user: createUser().getPublicKey(), issuedAt: ISSUED },
      },
      status: 'absent',
    }),
    poison: async () => ({
      subject: {
        lease: 'own',
        target: { account: operator.system.getPublicKey(), user: operator.admin.key.getPublicKey(), issuedAt: ISSUED },
      },
      status: 'irrevocable',
    }),
    async replace({ subject: { target } }) {
      const now = Math.floor(Date.now() / 1000)
      await hand.revoke(target.account, target.user, now)
      const key = keys.get(target.user)
      return hand.user(target.account, server.port, { issuedAt: now + 1, ...(key === undefined ? {} : { key }) })
    },
    hostileNames: HOSTILE_NAMES,
    named: (name) => ({ lease: 'named', target: { account: main, user: name } }),
    pasted: ({ subject: { target } }) => {
      const key = keys.get(target.user) ?? createUser()
      const account = target.account === main ? hand.keyOf(main) : createAccount()
      const claims = { issuer_account: target.account }
      const token = userToken('pasted', key, account, target.issuedAt ?? 0, claims)
      // A key that was never minted is another user's: its claims are written by hand.
      const shown = key.getPublicKey() === target.user ? token : forged(target)
      return [shown, ` "${shown}"\n`, text(fmtCreds(shown, key))]
    },
    lever: () => hand.account(),
    async stop() {
      await hand.connection.close()
      await gate.close()
      await Promise.all([server.stop(), other.stop()])
    },
  }
}

/** A user's JWT as far as a text can be one: its signature is nobody's. */
function forged({ account, user, issuedAt }: Target): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const claims = { sub: user, iss: account, iat: issuedAt, name: 'x', nats: { type: 'user', version: 2 } }
  return `${part({ typ: 'JWT', alg: 'ed25519-nkey' })}.${part(claims)}.${'A'.repeat(86)}`
}

const folders: string[] = []
async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'rescind-nats-'))
  folders.push(folder)
  return folder
}
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true })
})

conformance(
  module,
  {
    against: 'real',
    counterpart: `NATS ${(await natsVersion()) ?? ''}`.trim(),
    ...(missing === undefined ? {} : { missing }),
    lacks: { throttled: 'NATS refuses connections over its limit, it never throttles questions' },
  },
  async () => harness(await newFolder()),
  ['poison', 'replace', 'nonsense', 'named'],
)

const fake = new FakeNats()
conformance(
  fake.module,
  {
    against: 'fake',
    counterpart: 'docs.nats.io, JWT authentication and system account',
    lacks: {
      throttled: 'NATS refuses connections over its limit, it never throttles questions',
      nonsense: 'nothing in memory speaks another protocol',
    },
  },
  async () => {
    const main = fake.account()
    let serial = 0
    const credential = (account: string, user: string, issuedAt: number): Credential<Target, never> => ({
      subject: { lease: `${user} ${issuedAt}`, target: { account, user, issuedAt } },
      secrets: [],
      async works() {
        const connection = fake.login(account, user, issuedAt)
        connection?.close()
        return connection !== undefined
      },
      async open() {
        const connection = fake.login(account, user, issuedAt)
        return { alive: async () => connection?.alive() === true, close: async () => connection?.close() }
      },
    })
    const set = (fault: FakeNats['fault']) => async () => {
      fake.fault = fault
    }
    return {
      issuer: { name: 'nats', settings: fake.settings() },
      adminSecret: JSON.stringify(fake.admin),
      wrongSecret: JSON.stringify({ ...fake.admin, userSeed: 'wrong-user-seed' }),
      faults: { down: set('down'), hang: set('down'), other: set('other'), heal: set('none') },
      repeated: 'revoked',
      async mint({ lever }: MintOptions<Lever> = {}) {
        serial += 1
        return credential(lever?.account ?? main, fake.user(), ISSUED + serial)
      },
      neverExisted: () => ({
        subject: { lease: 'never', target: { account: fakeKey('A', 'never'), user: fakeKey('U', 'never'), issuedAt: ISSUED } },
        status: 'absent',
      }),
      poison: async () => ({
        subject: { lease: 'own', target: { account: fakeSystem(), user: fake.ownUser, issuedAt: ISSUED } },
        status: 'irrevocable',
      }),
      async replace({ subject: { target } }) {
        fake.change(target.account, (nats) => ({ ...nats, revocations: { ...nats.revocations, [target.user]: FENCED + 1 } }))
        return credential(target.account, target.user, FENCED + 2)
      },
      hostileNames: ['a', 'b'],
      named: (name) => ({ lease: 'named', target: { account: main, user: name } }),
      pasted: ({ subject: { target } }) => [forged(target)],
      lever: async () => ({ account: fake.account() }),
      stop: async () => undefined,
    }
  },
  ['poison', 'replace', 'named'],
)

function fakeSystem(): string {
  if (!fake.accounts.has(fake.systemAccount)) {
    fake.accounts.set(fake.systemAccount, { sub: fake.systemAccount, iss: fake.operator, iat: 1, nats: { type: 'account' } })
  }
  return fake.systemAccount
}

describe('nats alone, on memory', () => {
  const own = () => {
    const servers = new FakeNats()
    const account = servers.account()
    const user = servers.user()
    const connect = () =>
      servers.module.connect({ name: 'nats', settings: servers.settings() }, tools(JSON.stringify(servers.admin)))
    const subject = (issuedAt?: number, of = user) => ({
      lease: `${of} ${issuedAt}`,
      target: { account, user: of, ...(issuedAt === undefined ? {} : { issuedAt }) },
    })
    const dates = () => servers.accounts.get(account)?.nats.revocations ?? {}
    const tags = () => servers.accounts.get(account)?.nats.tags ?? []
    return { servers, account, user, connect, subject, dates, tags }
  }

  it('says that nobody knows whether it worked where the answer to a push was lost, and finds its own cut afterwards', async () => {
    const { servers, connect, subject } = own()
    const provider = await connect()
    servers.answersLost = 1
    expect(await provider.revoke([subject(ISSUED)], WARRANT)).toMatchObject([{ status: 'retry', effect: 'unknown' }])
    expect(await provider.revoke([subject(ISSUED)], WARRANT)).toMatchObject([
      { status: 'revoked', said: expect.stringContaining('before by us') },
    ])
    expect(servers.pushes).toHaveLength(1)
  })

  it('does not push what the servers would not take for its size', async () => {
    const { servers, connect, subject, dates } = own()
    servers.largest = 300
    expect(await (await connect()).revoke([subject(ISSUED)], WARRANT)).toMatchObject([{ status: 'irrevocable' }])
    expect(dates()).toEqual({})
  })

  it('dates a cut by the fence, so that a retry leaves alone what was signed after it, and a pending lease by now', async () => {
    const { connect, subject, dates, user } = own()
    const provider = await connect()
    await provider.revoke([subject(ISSUED)], WARRANT)
    expect(dates()).toEqual({ [user]: FENCED })
    await provider.revoke([subject(FENCED + 10)], WARRANT)
    expect(dates()).toEqual({ [user]: FENCED + 10 })
    await provider.revoke([subject()], WARRANT)
    expect(dates()[user]).toBeGreaterThan(Date.now() / 1000 - 60)
    expect(await provider.verify([subject()], WARRANT)).toMatchObject([{ status: 'dead' }])
  })

  it('undoes its own cuts alone: what others had set comes back, what they set since stays', async () => {
    const { servers, account, connect, subject, dates, tags, user } = own()
    const provider = await connect()
    const revoke = (at: number) =>
      servers.change(account, (nats) => ({
        ...nats,
        revocations: { ...nats.revocations, [user]: at },
        tags: [...(nats.tags ?? []), 'team:a'],
      }))
    revoke(ISSUED - 100)
    await provider.revoke([subject(ISSUED)], WARRANT)
    expect(dates()).toEqual({ [user]: FENCED })
    expect(await provider.restore?.([subject(ISSUED)], WARRANT)).toMatchObject([{ status: 'restored' }])
    expect([dates(), tags()]).toEqual([{ [user]: ISSUED - 100 }, ['team:a']])
    await provider.revoke([subject(ISSUED)], WARRANT)
    revoke(FENCED + 50)
    expect(await provider.restore?.([subject(ISSUED)], WARRANT)).toMatchObject([{ status: 'refused' }])
    expect(dates()).toEqual({ [user]: FENCED + 50 })
  })

  it('takes a revocation that a person has lifted for lifted, and cuts again when told to', async () => {
    const { servers, account, connect, subject, dates, tags, user } = own()
    const provider = await connect()
    await provider.revoke([subject(ISSUED)], WARRANT)
    servers.change(account, (nats) => ({ ...nats, revocations: {} }))
    expect(await provider.verify([subject(ISSUED)], WARRANT)).toMatchObject([{ status: 'alive' }])
    expect(await provider.restore?.([subject(ISSUED)], WARRANT)).toMatchObject([
      { status: 'restored', said: expect.stringContaining('nothing to undo') },
    ])
    expect(tags()).toEqual([])
    expect(await provider.revoke([subject(ISSUED)], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(dates()).toEqual({ [user]: FENCED })
  })

  it('holds a key dead until the cuts of all its leases are undone', async () => {
    const { servers, account, connect, subject, user } = own()
    const provider = await connect()
    await provider.revoke([subject(ISSUED), subject(ISSUED + 5)], WARRANT)
    expect(await provider.restore?.([subject(ISSUED)], WARRANT)).toMatchObject([
      { status: 'restored', said: expect.stringContaining('other cut') },
    ])
    expect(servers.login(account, user, ISSUED)).toBeUndefined()
    expect(await provider.restore?.([subject(ISSUED + 5)], WARRANT)).toMatchObject([{ status: 'restored' }])
    expect(servers.login(account, user, ISSUED)).toBeDefined()
  })

  it('contains an account whose users a person had revoked up to a date, and releases to that date', async () => {
    const { servers, account, connect, dates } = own()
    const provider = await connect()
    servers.change(account, (nats) => ({ ...nats, revocations: { '*': ISSUED } }))
    expect(await provider.contain?.({ account }, WARRANT)).toMatchObject({ status: 'done' })
    expect(dates()).toEqual({ '*': FENCED })
    expect(await provider.release?.({ account }, WARRANT)).toMatchObject({ status: 'done' })
    expect(dates()).toEqual({ '*': ISSUED })
    expect(await provider.contain?.({ account: fakeKey('A', 'nobody') }, WARRANT)).toMatchObject({ status: 'unsupported' })
    expect(await provider.contain?.({ account: servers.systemAccount }, WARRANT)).toMatchObject({ status: 'unsupported' })
  })

  it('recognises one user, and nobody in the tokens of two, of an account or of an operator', () => {
    const { account, user } = own()
    const one = forged({ account, user, issuedAt: 5 })
    expect(definition.recognise?.(`x ${one} y`, mac)?.query).toEqual({ account, user, issuedAt: '5', signer: account })
    expect(definition.recognise?.(`${one}\n${forged({ account, user: fakeKey('U', 'b'), issuedAt: 5 })}`, mac)).toBeUndefined()
    expect(definition.recognise?.(forged({ account, user: account, issuedAt: 5 }), mac)).toBeUndefined()
    expect(definition.recognise?.(user, mac)).toBeUndefined()
  })
})

describe.skipIf(missing !== undefined)('nats alone, on real servers', () => {
  let operator: NatsOperator
  let server: LocalNats
  let hand: Hand
  const connect = (settings: Record<string, unknown> = {}, secret = secretOf(operator)) =>
    module.connect(
      {
        name: 'nats',
        settings: Settings.parse({
          ...{ host: '127.0.0.1', port: server.port, tls: { mode: 'disable' }, timeoutMilliseconds: 2000 },
          operator: operator.operator.getPublicKey(),
          ...settings,
        }),
      },
      tools(secret),
    )
  beforeAll(async () => {
    operator = await newOperator()
    server = await startNats({ folder: await newFolder(), operator })
    hand = new Hand(operator, await dial(server.port, operator.root))
  })
  afterAll(async () => {
    await hand?.connection.close()
    await server?.stop()
  })

  it('omits no earlier revocation and nothing else of an account: limits to the last digit, exports, tags and what it does not know stay', async () => {
    const { account } = await hand.account()
    const enormous = '9223372036854775807'
    await hand.change(account, (nats) => ({
      ...nats,
      ...{
        tags: ['team:a'],
        exports: [{ subject: 'a.>', type: 'stream' }],
        description: 'ours',
        info_url: 'https://example.com',
      },
      limits: {
        ...LIMITS,
        mem_storage: JSON.parse(`[${enormous}]`, (_, value, context?: { source?: string }) =>
          typeof value === 'number' ? rawJson(context?.source ?? '') : value,
        )[0],
      },
    }))
    const before = await hand.read(account)
    expect(Buffer.from(before.split('.')[1] ?? '', 'base64url').toString()).toContain(enormous)
    const users = Array.from({ length: 5 }, () => hand.user(account, server.port))
    for (const { subject } of users) {
      const provider = await connect()
      expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
      await provider.close()
    }
    for (const user of users) expect(await user.works()).toBe(false)
    const { nats } = await hand.claims(account)
    expect(Object.keys(nats.revocations ?? {})).toHaveLength(5)
    expect(nats).toMatchObject({ description: 'ours', info_url: 'https://example.com', exports: [{ subject: 'a.>' }] })
    expect(nats.tags).toContain('team:a')
    expect(Buffer.from((await hand.read(account)).split('.')[1] ?? '', 'base64url').toString()).toContain(enormous)
  })

  it('lets a newer JWT of the same key in, and cuts it too where it was signed before the fence', async () => {
    const { account } = await hand.account()
    const key = createUser()
    const [old, beforeFence, afterFence] = [ISSUED, FENCED - 5, FENCED + 5].map((issuedAt) =>
      hand.user(account, server.port, { key, issuedAt }),
    )
    const provider = await connect()
    await provider.revoke([old?.subject ?? must()], WARRANT)
    expect([await old?.works(), await beforeFence?.works(), await afterFence?.works()]).toEqual([false, false, true])
    expect(await provider.verify([afterFence?.subject ?? must()], WARRANT)).toMatchObject([{ status: 'alive' }])
    await provider.close()
  })

  it('loses no change that somebody else pushes at the same time, and theirs does not lose a cut that is still under way', async () => {
    const { account } = await hand.account()
    const users = Array.from({ length: 12 }, () => hand.user(account, server.port))
    const provider = await connect()
    const others = users.map(() => createUser().getPublicKey())
    // What the person read after having pushed it: what is missing there, the next push takes back, and its author is that person.
    const takenBack = new Set<string>()
    const pushing = (async () => {
      for (const [place, other] of others.entries())
        await hand.change(account, (nats) => {
          for (const earlier of others.slice(0, place)) if (nats.revocations?.[earlier] === undefined) takenBack.add(earlier)
          return { ...nats, revocations: { ...nats.revocations, [other]: ISSUED } }
        })
    })()
    for (const { subject } of users) expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    await pushing
    // A person's tool reads, thinks and pushes; what was cut in that moment it takes back, and `verify` shows it.
    const seen = await provider.verify(
      users.map(({ subject }) => subject),
      WARRANT,
    )
    for (const [place, user] of users.entries()) expect(await user.works()).toBe(seen[place]?.status === 'alive')
    const { nats } = await hand.claims(account)
    const lost = others.filter((other) => nats.revocations?.[other] === undefined)
    expect(lost.filter((other) => !takenBack.has(other))).toEqual([])
    // A provider that did not make its change again on theirs would lose about each second one.
    expect(lost.length).toBeLessThanOrEqual(3)
    await provider.close()
  })

  it('loses nothing of three that change one account at once, again and again', async () => {
    const { account } = await hand.account()
    const providers = [await connect(), await connect(), await connect()]
    const subjects = providers.map(() =>
      Array.from({ length: 5 }, () => ({ lease: 'x', target: { account, user: createUser().getPublicKey(), issuedAt: ISSUED } })),
    )
    const answers = await Promise.all(
      providers.map(async (provider, place) => {
        const own: string[] = []
        for (const subject of subjects[place] ?? []) own.push((await provider.revoke([subject], WARRANT))[0]?.status ?? '')
        return own
      }),
    )
    expect(new Set(answers.flat())).toEqual(new Set(['revoked']))
    const seen = await providers[0]?.verify(subjects.flat(), WARRANT)
    expect(seen?.filter(({ status }) => status !== 'dead')).toEqual([])
    for (const provider of providers) await provider.close()
  })

  it('ends the leaf node that a user brought in, though no list names its user', async () => {
    const leaves = await freePort()
    const hub = await startNats({ folder: await newFolder(), operator, lines: [`leafnodes { listen: "127.0.0.1:${leaves}" }`] })
    const far = new Hand(operator, await dial(hub.port, operator.root))
    const { account } = await far.account()
    const user = far.user(account, hub.port)
    const folder = await newFolder()
    await writeFile(join(folder, 'leaf.creds'), fmtCreds(user.user.token, user.user.key))
    const remote = `{ url: "nats-leaf://127.0.0.1:${leaves}", credentials: "${join(folder, 'leaf.creds')}" }`
    const config = [`listen: "127.0.0.1:${await freePort()}"`, `leafnodes { remotes: [${remote}], reconnect: 1 }`]
    await writeFile(join(folder, 'leaf.conf'), config.join('\n'))
    const count = async () => {
      const answer = await far.connection.request('$SYS.REQ.SERVER.PING.LEAFZ', '', { timeout: 5000 })
      return (JSON.parse(answer.string()) as { data: { leafnodes: number } }).data.leafnodes
    }
    const leaf = await startServer({
      program: program('nats-server') ?? '',
      args: ['-c', join(folder, 'leaf.conf')],
      folder,
      ready: async () => (await count()) === 1,
    })
    const provider = await connect({ port: hub.port })
    expect(await provider.revoke([user.subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    await expect.poll(count, { timeout: 3000 }).toBe(0)
    await new Promise((done) => setTimeout(done, 1500))
    expect(await count()).toBe(0)
    await provider.close()
    await leaf.stop()
    await far.connection.close()
    await hub.stop()
  })

  it('sees that somebody pushed an old copy of the account, which lets the user in again', async () => {
    const { account } = await hand.account()
    const user = hand.user(account, server.port)
    const provider = await connect()
    const copy = await hand.claims(account)
    await provider.revoke([user.subject], WARRANT)
    await hand.push(hand.signed(copy))
    expect(await user.works()).toBe(true)
    expect(await provider.verify([user.subject], WARRANT)).toMatchObject([{ status: 'alive' }])
    expect(await provider.revoke([user.subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(await user.works()).toBe(false)
    await provider.close()
  })

  it('refuses a signing key that the operator does not list, before the server can say 200 to it and not mean it', async () => {
    const { account } = await hand.account()
    const user = hand.user(account, server.port)
    expect(await user.works()).toBe(true)
    // What the server does: 200, and nobody is cut.
    const rogue = createOperator()
    const claims = await hand.claims(account)
    const signed = signToken(
      { ...claims, nats: { ...claims.nats, revocations: { '*': 9_999_999_999 } } },
      signerOf(seedOf(rogue), 'O'),
      claims.iat + 1,
    ).token
    await hand.push(signed)
    expect(await user.works()).toBe(true)
    const error = await rejection(connect({}, secretOf(operator, operator.admin, rogue)))
    expect(error).toBeInstanceOf(IssuerRefused)
    expect(String(error)).toContain('signing key')
    expectNoSecret(error, [seedOf(rogue), seedOf(operator.admin.key)])
  })

  it('signs nothing that the operator has not signed before', async () => {
    const { account } = await hand.account()
    const rogue = createOperator()
    const claims = await hand.claims(account)
    await hand.push(
      signToken(
        { ...claims, nats: { ...claims.nats, exports: [{ subject: '>', type: 'stream' }] } },
        signerOf(seedOf(rogue), 'O'),
        claims.iat + 1,
      ).token,
    )
    const provider = await connect()
    const subject = { lease: 'x', target: { account, user: createUser().getPublicKey(), issuedAt: ISSUED } }
    expect(await rejection(provider.revoke([subject], WARRANT))).toBeInstanceOf(IssuerRefused)
    expect((await hand.read(account)).split('.')[1]).toBe(signedBy(await hand.read(account), rogue))
    await provider.close()
  })

  it.each([
    ['another cluster', { cluster: 'staging' }],
    ['another operator', { operator: createOperator().getPublicKey() }],
  ])('is refused by the settings of %s', async (_title, settings) => {
    expect(await rejection(connect(settings))).toBeInstanceOf(IssuerRefused)
  })

  it('names the subject that the admin user may not use', async () => {
    const key = createUser()
    const permissions = {
      pub: { allow: ['$SYS.REQ.SERVER.PING', '$SYS.REQ.SERVER.PING.VARZ'] },
      sub: { allow: ['_INBOX.>', '$SYS.REQ.CLAIMS.UPDATE'] },
    }
    const token = userToken('half', key, operator.system, ISSUED, permissions)
    const provider = await connect({}, secretOf(operator, { key, token }))
    const error = await rejection(provider.verify([hand.user((await hand.account()).account, server.port).subject], WARRANT))
    expect(error).toBeInstanceOf(IssuerRefused)
    expect(String(error)).toContain('ACCOUNTZ')
    await provider.close()
  })

  it('speaks only to a server whose certificate holds', async () => {
    const secure = await startNats({ folder: await newFolder(), operator, tls: true })
    const verify = (more: Record<string, unknown>) => ({
      port: secure.port,
      tls: { mode: 'verify', servername: 'nats.test', ...more },
    })
    for (const tls of [{}, { ca: secure.ca, servername: 'other.test' }]) {
      const error = await rejection(connect(verify(tls)))
      expect(error).toBeInstanceOf(IssuerRefused)
      expect(String(error)).toContain('certificate')
    }
    const provider = await connect(verify({ ca: secure.ca }))
    const subject = { lease: 'x', target: { account: createAccount().getPublicKey(), user: createUser().getPublicKey() } }
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'absent' }])
    await provider.close()
    await secure.stop()
  })

  it('says absent of a user that a person revoked with all others of its account', async () => {
    const { account } = await hand.account()
    const user = hand.user(account, server.port)
    await hand.revoke(account, '*', Math.floor(Date.now() / 1000))
    const provider = await connect()
    expect(await provider.revoke([user.subject], WARRANT)).toMatchObject([{ status: 'absent' }])
    expect(await provider.restore?.([user.subject], WARRANT)).toMatchObject([{ status: 'gone' }])
    await provider.close()
  })
})

describe.skipIf(missing !== undefined)('nats alone, a cluster of two', () => {
  it('cuts at every server, and does not call it done while one does not answer', async () => {
    const operator = await newOperator()
    const routes = [await freePort(), await freePort()]
    const start = async (place: number) =>
      startNats({
        folder: join(await newFolder(), String(place)),
        operator,
        name: `n${place}`,
        cluster: { name: 'pair', port: routes[place] ?? 0, routes },
      })
    const [one, two] = await Promise.all([start(0), start(1)])
    const hand = new Hand(operator, await dial(one.port, operator.root))
    try {
      const settings = Settings.parse({
        ...{
          host: '127.0.0.1',
          port: one.port,
          tls: { mode: 'disable' },
          timeoutMilliseconds: 1000,
          cluster: 'pair',
          servers: 2,
        },
        operator: operator.operator.getPublicKey(),
      })
      await expect.poll(async () => (await pings(hand)).length, { timeout: 20_000 }).toBe(2)
      const { account } = await hand.account()
      const provider = await module.connect({ name: 'nats', settings }, tools(secretOf(operator)))
      const users = [hand.user(account, two.port), hand.user(account, one.port), hand.user(account, two.port)]
      await expect.poll(() => users[0]?.works(), { timeout: 10_000 }).toBe(true)
      const session = await users[0]?.open?.()
      expect(await provider.revoke([users[0]?.subject ?? must()], WARRANT)).toMatchObject([
        { status: 'revoked', said: expect.stringContaining('all 2 servers') },
      ])
      expect(await session?.alive()).toBe(false)
      expect(await users[0]?.works()).toBe(false)
      await two.stop()
      expect(await provider.revoke([users[1]?.subject ?? must()], WARRANT)).toMatchObject([
        { status: 'retry', effect: 'unknown' },
      ])
      expect(await users[1]?.works()).toBe(false)
      expect(await provider.verify([users[1]?.subject ?? must()], WARRANT)).toMatchObject([{ status: 'unknown' }])
      await provider.close()
    } finally {
      await hand.connection.close()
      await Promise.all([one.stop(), two.stop()])
    }
  })
})

describe('nats alone, what else may answer', () => {
  const info = { server_id: 'N', client_id: 1, max_payload: 1_048_576, nonce: 'abc', version: '2.9.10' }
  const answers = async (says: (heard: string) => string | undefined, greeting = `INFO ${JSON.stringify(info)} \r\n`) => {
    const listener = createServer((socket) => {
      socket.on('error', () => socket.destroy())
      socket.write(greeting)
      socket.on('data', (bytes) => {
        const answer = says(bytes.toString())
        if (answer !== undefined) socket.end(answer)
      })
    })
    await new Promise<void>((done) => listener.listen(0, '127.0.0.1', done))
    const address = listener.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const key = createUser()
    const secret = secretOf({ ...(await newOperator()), admin: { key, token: 'a.b.c' } })
    const operator = createOperator().getPublicKey()
    const settings = (more = {}) =>
      Settings.parse({ host: '127.0.0.1', port, tls: { mode: 'disable' }, operator, timeoutMilliseconds: 2500, ...more })
    const outcome = async (more = {}) =>
      await rejection(module.connect({ name: 'nats', settings: settings(more) }, tools(secret)))
    return { outcome, close: () => new Promise((done) => listener.close(done)) }
  }

  it.each([
    ["-ERR 'maximum connections exceeded'\r\n", IssuerThrottled],
    ["-ERR 'Authorization Violation'\r\n", IssuerRefused],
    ["-ERR 'User Authentication Expired'\r\n", IssuerRefused],
    ['-ERR \'Permissions Violation for Subscription to "$SYS.REQ.CLAIMS.UPDATE"\'\r\n', IssuerRefused],
    ["-ERR 'Unknown Protocol Operation'\r\n", IssuerUnavailable],
    ['+OK\r\nMSG a 1 99999999999\r\n', IssuerUnavailable],
    ['HTTP/1.1 400 Bad Request\r\n\r\n', IssuerUnavailable],
  ])('takes %j for what it is', async (said, expected) => {
    const server = await answers(() => said)
    expect(await server.outcome()).toBeInstanceOf(expected)
    await server.close()
  })

  it('speaks to no server without TLS where it is to be verified, and to none that wants it where it is not configured', async () => {
    const [plain, secure] = [
      await answers(() => undefined),
      await answers(() => undefined, `INFO ${JSON.stringify({ ...info, tls_required: true })}\r\n`),
    ]
    expect(await plain.outcome({ tls: { mode: 'verify' } })).toBeInstanceOf(IssuerRefused)
    expect(await secure.outcome()).toBeInstanceOf(IssuerRefused)
    await Promise.all([plain.close(), secure.close()])
  })

  it('does not take a greeting that is none', async () => {
    const server = await answers(() => undefined, 'SSH-2.0-OpenSSH_9.2\r\n')
    expect(await server.outcome()).toBeInstanceOf(IssuerUnavailable)
    await server.close()
  })
})

const rawJson = (text: string): unknown => (JSON as JSON & { rawJSON(text: string): unknown }).rawJSON(text)
const must = (): never => {
  throw new Error('it should be there')
}
const signedBy = (token: string, key: KeyPair): string | undefined =>
  readToken(token, new Set([key.getPublicKey()])) === undefined ? undefined : token.split('.')[1]

async function pings({ connection }: Hand): Promise<unknown[]> {
  const heard: unknown[] = []
  for await (const message of await connection.requestMany('$SYS.REQ.SERVER.PING', '', { maxWait: 300 })) heard.push(message)
  return heard
}
