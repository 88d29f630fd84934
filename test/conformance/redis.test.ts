import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect as netConnect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from '@redis/client'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import type { Provider } from '../../functions/providers/contract.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../../functions/providers/contract.ts'
import { dial } from '../../functions/providers/redis/connection.ts'
import type { Grants, Settings, Target } from '../../functions/providers/redis/definition.ts'
import { FakeRedis } from '../../functions/providers/redis/fake.ts'
import { REVOKED } from '../../functions/providers/redis/names.ts'
import { moduleOver } from '../../functions/providers/redis/operations.ts'
import { provider as module } from '../../functions/providers/redis/provider.ts'
import type { Reply } from '../../functions/providers/redis/replies.ts'
import { userIn } from '../../functions/providers/redis/replies.ts'
import type { LocalRedis, RedisOptions } from '../../lib/local/issuers/redis.ts'
import { adminRules, newTag, redisMissing, redisVersion, startRedis } from '../../lib/local/issuers/redis.ts'
import { program } from '../../lib/local/issuers/server.ts'
import { fakeLogins } from './suite/fake-logins.ts'
import type { Credential, Harness, MintOptions } from './suite.ts'
import { conformance, expectNoSecret, rejection, startGate, tools, WARRANT } from './suite.ts'

const HOSTILE_NAMES = [
  `o'reilly";DEL`,
  '**',
  'user=x',
  '\\r\\n',
  'a%s%n',
  'Grüße-日本-🗝️',
  'nbsp\u00a0inside',
  '#aaaa',
  '>x',
  'off',
  'id=1',
  'UPPER',
  'x'.repeat(1024),
  '{"json":["\'"]}',
]

async function dialAs(port: number, username: string, password: string, ca?: string) {
  const client = createClient({
    socket: {
      ...{ host: '127.0.0.1', port, reconnectStrategy: false as const, connectTimeout: 2000 },
      ...(ca === undefined ? {} : { tls: true as const, ca, servername: 'redis.test' }),
    },
    username,
    password,
    RESP: 2,
    disableClientInfo: true,
  })
  client.on('error', () => undefined)
  await client.connect()
  return client
}
type Client = Awaited<ReturnType<typeof dialAs>>

/** A user's own connection, by hand: the answers to what it sends are single lines. */
async function userLine(port: number) {
  const socket = netConnect({ host: '127.0.0.1', port })
  let open = true
  let text = ''
  const waiting: ((line: string | undefined) => void)[] = []
  socket.on('error', () => undefined)
  socket.on('close', () => {
    open = false
    for (const done of waiting.splice(0)) done(undefined)
  })
  socket.on('data', (bytes) => {
    text += bytes.toString('utf8')
    for (let end = text.indexOf('\r\n'); end >= 0; end = text.indexOf('\r\n')) {
      waiting.shift()?.(text.slice(0, end))
      text = text.slice(end + 2)
    }
  })
  return {
    /** The server's line; undefined where the connection is closed. */
    async ask(...words: string[]): Promise<string | undefined> {
      if (!open) return undefined
      socket.write(`*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`)
      return await new Promise((done) => waiting.push(done))
    },
    close(): void {
      socket.destroy()
    },
  }
}

/** One server and its root's connection. */
class World {
  readonly server: LocalRedis
  readonly root: Client
  readonly folder: string
  #serial = 0
  private constructor(server: LocalRedis, root: Client, folder: string) {
    this.server = server
    this.root = root
    this.folder = folder
  }

  static async start(options: Omit<RedisOptions, 'folder'> = {}): Promise<World> {
    const folder = await mkdtemp(join(tmpdir(), 'rescind-redis-'))
    const server = await startRedis({ folder, ...options })
    return new World(server, await dialAs(server.port, server.root.user, server.root.password, server.ca), folder)
  }

  /** Ends the server and starts it again on the same files. */
  async again(options: Omit<RedisOptions, 'folder'> = {}): Promise<World> {
    const { port, root, admin, tag } = this.server
    this.root.destroy()
    await this.server.stop()
    const server = await startRedis({ folder: this.folder, port, admin, tag, ...options })
    return new World({ ...server, root }, await dialAs(port, root.user, root.password), this.folder)
  }

  async stop(): Promise<void> {
    this.root.destroy()
    await this.server.stop()
    await rm(this.folder, { recursive: true, force: true })
  }

  name(): string {
    this.#serial += 1
    return `worker-${this.#serial}`
  }

  async mint({ name = this.name() }: MintOptions<never> = {}): Promise<Credential<Target, never>> {
    const password = randomBytes(12).toString('hex')
    const tag = newTag()
    await this.acl('SETUSER', name, 'on', `>${password}`, `#${tag}`, '~*', '&*', '+@all')
    return this.credential({ user: name, tag }, password)
  }

  async acl(...args: string[]): Promise<unknown> {
    return await this.root.sendCommand(['ACL', ...args])
  }

  credential(target: Target, password: string): Credential<Target, never> {
    const { port } = this.server
    return {
      subject: { lease: `lease of ${target.user}`.slice(0, 100), target },
      secrets: [password],
      async works() {
        const line = await userLine(port)
        try {
          const said = await line.ask('AUTH', target.user, password)
          if (said?.startsWith('-WRONGPASS') === true) return false
          expect(said).toBe('+OK')
          expect(await line.ask('SET', 'key', 'value')).toBe('+OK')
          return true
        } finally {
          line.close()
        }
      },
      async open() {
        const line = await userLine(port)
        expect(await line.ask('AUTH', target.user, password)).toBe('+OK')
        return {
          alive: async () => (await line.ask('SET', 'key', 'value')) === '+OK',
          close: async () => line.close(),
        }
      },
    }
  }

  settings(overrides: Partial<Settings> = {}): Settings {
    const { host, port, tag } = this.server
    return {
      nodes: [{ host, port }],
      tls: { mode: 'disable' },
      server: tag,
      keep: 'acl-file',
      unlisted: 'refused',
      connectTimeoutMilliseconds: 500,
      commandTimeoutMilliseconds: 500,
      ...overrides,
    }
  }
}

const GRANTS: Grants = { rules: ['+@all', '~*', '&*'] }

/** What a person may have of a user. */
const pasted = ({ subject: { target }, secrets: [password = ''] }: Credential<Target, never>) => {
  const user = encodeURIComponent(target.user)
  return [
    `redis://${user}:${password}@127.0.0.1:6379/0`,
    `REDIS_URL="rediss://${user}:${password}@cache.internal:6380"`,
    `user ${target.user} on #${'ab'.repeat(32)} ~* &* +@all`,
    `redis-cli -h cache.internal --user ${target.user} --pass ${password} PING`,
    `acl user ${target.user}`,
  ]
}
const COMMON = {
  repeated: 'revoked' as const,
  hostileNames: HOSTILE_NAMES,
  grants: GRANTS,
  own: 'user:rescind',
  pasted,
  named: (user: string) => ({ lease: 'named', target: { user } }),
  neverExisted: () => ({ subject: { lease: 'never', target: { user: 'never-existed' } }, status: 'absent' as const }),
  poison: async () => ({ subject: { lease: 'poison', target: { user: 'default' } }, status: 'irrevocable' as const }),
}

async function real(): Promise<Harness<Target, never, never, Settings, Grants>> {
  const world = await World.start()
  // The other server knows the same admin, so that nothing but its tag tells it apart.
  const other = await World.start({ admin: world.server.admin })
  const gate = await startGate(world.server.port, other.server.port)
  const throttle = (most: string) => world.root.sendCommand(['CONFIG', 'SET', 'maxclients', most])
  return {
    ...COMMON,
    issuer: { name: 'cache', settings: world.settings({ nodes: [{ host: '127.0.0.1', port: gate.port }] }) },
    adminSecret: JSON.stringify(world.server.admin),
    wrongSecret: JSON.stringify({ user: world.server.admin.user, password: 'wrong-password-0123456789' }),
    faults: {
      ...gate,
      async throttled() {
        await gate.down()
        await gate.heal()
        await throttle('1')
        return undefined
      },
      async heal() {
        await throttle('1000')
        await gate.heal()
      },
    },
    mint: (options) => world.mint(options),
    use: ({ target, credential }) => world.credential(target, credential['password'] ?? ''),
    async replace({ subject: { target } }) {
      await world.acl('DELUSER', target.user)
      return await world.mint({ name: target.user })
    },
    async stop() {
      await gate.close()
      await Promise.all([world.stop(), other.stop()])
    },
  }
}

async function fake(): Promise<Harness<Target, never, never, Settings, Grants>> {
  const logins = fakeLogins('cache', FAKE, {
    prefix: 'worker-',
    create: (user, password) => FAKE.create(user, password),
    drop: (user) => FAKE.delete(user),
  })
  return { ...COMMON, ...logins }
}

const FAKE = new FakeRedis(2)
const EXTRAS = ['poison', 'replace', 'throttled', 'nonsense', 'named'] as const
const MISSING = redisMissing()
const counterpart = `Redis ${(await redisVersion()) ?? '7.0'}`
conformance(module, { against: 'real', counterpart, ...(MISSING === undefined ? {} : { missing: MISSING }) }, real, EXTRAS)
conformance(FAKE.module, { against: 'fake', counterpart: 'the documentation of Redis 7 ACLs, two servers' }, fake, EXTRAS)

describe.skipIf(MISSING !== undefined)('redis alone', () => {
  let world: World
  const providers: Provider<Target, never, never>[] = []
  const worlds: World[] = []
  const connectTo = async (one: World, overrides: Partial<Settings> = {}, admin = one.server.admin) => {
    const provider = await module.connect({ name: 'cache', settings: one.settings(overrides) }, tools(JSON.stringify(admin)))
    providers.push(provider)
    return provider
  }
  const another = async (options: Omit<RedisOptions, 'folder'> = {}) => {
    const one = await World.start(options)
    worlds.push(one)
    return one
  }
  /** Does something at the server between the provider's look and its cut. */
  const connectWith = async (between: () => Promise<unknown>) => {
    let pending: (() => Promise<unknown>) | undefined
    const interposed = moduleOver(async (settings, node, admin) => {
      const connection = await dial(settings, node, admin)
      return {
        async exchange(commands) {
          const first = commands.find(([name, verb]) => name === 'MULTI' || verb === 'SETUSER')
          if (first !== undefined) {
            const work = pending
            pending = undefined
            await work?.()
          }
          return await connection.exchange(commands)
        },
        destroy: () => connection.destroy(),
      }
    })
    const provider = await interposed.connect(
      { name: 'cache', settings: world.settings() },
      tools(JSON.stringify(world.server.admin)),
    )
    providers.push(provider)
    pending = between
    return provider
  }
  const stateOf = async (user: string, one = world) => userIn((await one.acl('GETUSER', user)) as Reply)

  beforeAll(async () => {
    world = await World.start()
  })
  afterEach(async () => {
    await Promise.all(providers.splice(0).map((provider) => provider.close()))
    await Promise.all(worlds.splice(0).map((one) => one.stop()))
  })
  afterAll(async () => {
    await world.stop()
  })

  it('ends what `off` alone would leave: a session that goes on writing, a subscriber, one that waits', async () => {
    const provider = await connectTo(world)
    const { subject, secrets, open } = await world.mint()
    const { user } = subject.target
    const session = await open?.()
    await world.acl('SETUSER', user, 'off')
    expect(await session?.alive()).toBe(true)
    expect(await provider.verify([subject], WARRANT)).toMatchObject([
      { status: 'alive', said: expect.stringContaining('off, but 1 connection') },
    ])
    await world.acl('SETUSER', user, 'on')
    const [subscriber, waiting] = [await userLine(world.server.port), await userLine(world.server.port)]
    for (const line of [subscriber, waiting]) expect(await line.ask('AUTH', user, secrets[0] ?? '')).toBe('+OK')
    void subscriber.ask('SUBSCRIBE', 'news')
    const popped = waiting.ask('BLPOP', 'never-filled', '0')
    await expect.poll(async () => String(await world.root.sendCommand(['CLIENT', 'LIST']))).toContain('cmd=blpop')
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([
      { status: 'revoked', said: expect.stringContaining('3 connections closed') },
    ])
    expect(await popped).toBeUndefined()
    expect([await session?.alive(), await subscriber.ask('PING')]).toEqual([false, undefined])
  })

  it('does not make a user by switching off one that went a moment before', async () => {
    for (const rules of [
      ['>a-password', '~*', '+@all'],
      ['nopass', '~*', '+@all'],
    ]) {
      const user = world.name()
      await world.acl('SETUSER', user, 'on', ...rules)
      const provider = await connectWith(() => world.acl('DELUSER', user))
      const [answer] = await provider.revoke([{ lease: 'gone', target: { user } }], WARRANT)
      expect(['absent', 'retry']).toContain(answer?.status)
      expect(await stateOf(user)).toBeUndefined()
      expect(await provider.revoke([{ lease: 'gone', target: { user } }], WARRANT)).toMatchObject([{ status: 'absent' }])
    }
    // What it is that must not happen:
    await world.acl('SETUSER', 'made-by-off', 'off')
    expect(await stateOf('made-by-off')).toMatchObject({ enabled: false, hashes: [] })
  })

  it('does not hit a namesake that came a moment before', async () => {
    const old = await world.mint()
    let namesake: Credential<Target, never> | undefined
    const provider = await connectWith(async () => {
      await world.acl('DELUSER', old.subject.target.user)
      namesake = await world.mint({ name: old.subject.target.user })
    })
    expect(await provider.revoke([old.subject], WARRANT)).toMatchObject([{ status: 'retry' }])
    expect(await namesake?.works()).toBe(true)
    expect(await provider.revoke([old.subject], WARRANT)).toMatchObject([
      { status: 'absent', said: expect.stringContaining('another user') },
    ])
    expect(await namesake?.works()).toBe(true)
  })

  it('gives a user without a tag, whose only mark is its password, no chance to be taken for another', async () => {
    const user = world.name()
    await world.acl('SETUSER', user, 'on', '>first-password', '~*', '+@all')
    const provider = await connectWith(() => world.acl('SETUSER', user, '<first-password', '>second-password'))
    expect(await provider.revoke([{ lease: 'rotated', target: { user } }], WARRANT)).toMatchObject([{ status: 'retry' }])
    expect(await provider.revoke([{ lease: 'rotated', target: { user } }], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(await world.credential({ user }, 'second-password').works()).toBe(false)
    expect(await provider.restore?.([{ lease: 'rotated', target: { user } }], WARRANT)).toMatchObject([{ status: 'restored' }])
    expect(await world.credential({ user }, 'second-password').works()).toBe(true)
  })

  it('restores a user that needs no password as one', async () => {
    const provider = await connectTo(world)
    const user = world.name()
    const subject = { lease: 'open to all', target: { user } }
    await world.acl('SETUSER', user, 'on', 'nopass', '~*', '&*', '+@all')
    const anybody = world.credential({ user }, 'whatever')
    expect(await anybody.works()).toBe(true)
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(await anybody.works()).toBe(false)
    expect(await provider.restore?.([subject], WARRANT)).toMatchObject([{ status: 'restored' }])
    expect([await anybody.works(), await stateOf(user)]).toMatchObject([true, { nopass: true, hashes: [] }])
  })

  it('leaves its user as it was when it restores: password, tag, rules', async () => {
    const provider = await connectTo(world)
    const { subject, works } = await world.mint()
    const list = async () =>
      ((await world.acl('LIST')) as string[]).find((line) => line.startsWith(`user ${subject.target.user} `))
    const words = (line: string | undefined) => (line ?? '').split(' ').sort()
    const before = await list()
    await provider.revoke([subject], WARRANT)
    expect(await list()).toContain(`#${REVOKED}`)
    await provider.restore?.([subject], WARRANT)
    expect(words(await list())).toEqual(words(before))
    expect(await works()).toBe(true)
  })

  it('never cuts the default user or its own, and leaves off what a person switched off', async () => {
    const provider = await connectTo(world)
    const own = ['default', world.server.admin.user].map((user) => ({ lease: user, target: { user } }))
    for (const answers of [await provider.revoke(own, WARRANT), (await provider.tidy?.(own, WARRANT)) ?? []])
      expect(answers.map(({ status }) => status)).toEqual(['irrevocable', 'irrevocable'])
    const { subject, works } = await world.mint()
    await world.acl('SETUSER', subject.target.user, 'off')
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([
      { status: 'revoked', said: expect.stringContaining('off already') },
    ])
    expect(await provider.restore?.([subject], WARRANT)).toMatchObject([{ status: 'refused' }])
    expect(await works()).toBe(false)
  })

  it.each(['acl-file', 'config-file'] as const)('is remembered when the server starts again: %s', async (keep) => {
    const one = await another({ users: keep })
    const provider = await connectTo(one, { keep })
    const [cut, deleted, kept] = [await one.mint(), await one.mint(), await one.mint()]
    await provider.revoke([cut.subject, deleted.subject], WARRANT)
    await provider.tidy?.([deleted.subject], WARRANT)
    const anew = await one.again({ users: keep })
    worlds.push(anew)
    expect([await cut.works(), await deleted.works(), await kept.works()]).toEqual([false, false, true])
    expect(await (await connectTo(anew, { keep })).verify([cut.subject, deleted.subject], WARRANT)).toMatchObject([
      { status: 'dead' },
      { status: 'dead' },
    ])
  })

  it('does not call it revoked where the server cannot write it down, and says where it never does', async () => {
    const one = await another()
    const provider = await connectTo(one)
    const { subject, works } = await one.mint()
    const file = join(one.folder, 'users.acl')
    await rm(file)
    await mkdir(file)
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([
      { status: 'retry', effect: 'unknown', said: expect.stringContaining('forgotten') },
    ])
    expect(await works()).toBe(false)
    await rm(file, { recursive: true })
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])

    const memory = await another({ users: 'memory' })
    for (const keep of ['acl-file', 'config-file'] as const) {
      const minted = await memory.mint()
      const error = await rejection((await connectTo(memory, { keep })).revoke([minted.subject], WARRANT))
      expect(error).toBeInstanceOf(IssuerRefused)
      expect(error).toMatchObject({ message: expect.stringContaining(keep) })
      expect(await minted.works()).toBe(false)
    }
    const minted = await memory.mint()
    expect(await (await connectTo(memory, { keep: 'nowhere' })).revoke([minted.subject], WARRANT)).toMatchObject([
      { status: 'revoked', said: expect.stringContaining('does not write it down') },
    ])
  })

  it('sees a user that came back from the file', async () => {
    const one = await another()
    const provider = await connectTo(one)
    const { subject } = await one.mint()
    await one.acl('SAVE')
    const before = await readFile(join(one.folder, 'users.acl'), 'utf8')
    await provider.revoke([subject], WARRANT)
    await writeFile(join(one.folder, 'users.acl'), before)
    await one.acl('LOAD')
    expect(await provider.verify([subject], WARRANT)).toMatchObject([{ status: 'alive' }])
  })

  describe('several servers', () => {
    let main: World
    let replica: World
    const both = () => ({ nodes: [main, replica].map(({ server: { host, port } }) => ({ host, port })) })
    const everywhere = async () => {
      const credential = await main.mint()
      const { user, tag = '' } = credential.subject.target
      await replica.acl('SETUSER', user, 'on', `>${credential.secrets[0]}`, `#${tag}`, '~*', '&*', '+@all')
      const there = await userLine(replica.server.port)
      return {
        ...credential,
        there,
        async worksThere() {
          const line = await userLine(replica.server.port)
          const said = await line.ask('AUTH', user, credential.secrets[0] ?? '')
          line.close()
          return said === '+OK'
        },
      }
    }
    beforeAll(async () => {
      main = await World.start()
      const { tag, admin, port, root } = main.server
      replica = await World.start({
        tag,
        admin,
        lines: [`replicaof 127.0.0.1 ${port}`, `masteruser ${root.user}`, `masterauth ${root.password}`],
      })
      const replication = async (one: World) => String(await one.root.sendCommand(['INFO', 'replication']))
      const linked = async () => {
        expect(await replication(main)).toContain('connected_slaves:1')
        expect(await replication(replica)).toContain('master_link_status:up')
      }
      await vi.waitFor(linked, { timeout: 30_000, interval: 100 })
    }, 60_000)
    afterAll(async () => {
      await Promise.all([main.stop(), replica.stop()])
    })

    it('cuts at each: no replication carries it on', async () => {
      const provider = await connectTo(main, both())
      const credential = await everywhere()
      expect(await provider.revoke([credential.subject], WARRANT)).toMatchObject([
        { status: 'revoked', said: expect.stringContaining('2 servers') },
      ])
      expect([await credential.works(), await credential.worksThere()]).toEqual([false, false])
      expect(await provider.restore?.([credential.subject], WARRANT)).toMatchObject([{ status: 'restored' }])
      expect([await credential.works(), await credential.worksThere()]).toEqual([true, true])
      await provider.revoke([credential.subject], WARRANT)
      await replica.acl('SETUSER', credential.subject.target.user, 'on')
      expect(await provider.verify([credential.subject], WARRANT)).toMatchObject([{ status: 'alive' }])
      expect(await provider.tidy?.([credential.subject], WARRANT)).toMatchObject([{ status: 'irrevocable' }])
    })

    it('mints at each, with one password', async () => {
      const provider = await connectTo(main, both())
      const issued = await provider.issue?.({ name: 'minted-at-both', grants: GRANTS, expiresAt: '2030-01-01T00:00:00.000Z' })
      if (issued?.status !== 'issued') throw new Error(issued?.said)
      for (const { server } of [main, replica]) {
        const line = await userLine(server.port)
        expect(await line.ask('AUTH', issued.credential['user'] ?? '', issued.credential['password'] ?? '')).toBe('+OK')
        line.close()
      }
    })

    it('does not call it revoked while a replica that nobody listed still lets it in', async () => {
      const provider = await connectTo(main)
      const credential = await everywhere()
      expect(await provider.revoke([credential.subject], WARRANT)).toMatchObject([
        { status: 'retry', said: expect.stringContaining('1 replicas are linked, and 0 of them are listed') },
      ])
      expect([await credential.works(), await credential.worksThere()]).toEqual([false, true])
      expect(await provider.verify([credential.subject], WARRANT)).toMatchObject([{ status: 'unknown' }])
      expect(await provider.discover?.(undefined, 10)).toMatchObject({ status: 'retry' })
      const alone = await connectTo(replica)
      expect(await alone.revoke([credential.subject], WARRANT)).toMatchObject([{ status: 'retry' }])
      const told = await connectTo(main, { unlisted: 'ignored' })
      expect(await told.revoke([credential.subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    })

    it('cuts where it can while one is down, and is not done before all have answered', async () => {
      const provider = await connectTo(main, both())
      const credential = await everywhere()
      const nodes = [both().nodes[0] ?? { host: '', port: 1 }, { host: '127.0.0.1', port: 1 }]
      const halved = await connectTo(main, { nodes })
      expect(await halved.revoke([credential.subject], WARRANT)).toMatchObject([
        { status: 'retry', effect: 'unknown', said: expect.stringContaining('127.0.0.1:1 does not answer') },
      ])
      expect([await credential.works(), await credential.worksThere()]).toEqual([false, true])
      expect(await halved.tidy?.([credential.subject], WARRANT)).toMatchObject([{ status: 'retry', effect: 'none' }])
      expect(await stateOf(credential.subject.target.user, main)).toMatchObject({ enabled: false })
      expect(
        await halved.issue?.({ name: 'not-made', grants: GRANTS, expiresAt: '2030-01-01T00:00:00.000Z' }).catch((error) => error),
      ).toBeInstanceOf(IssuerUnavailable)
      expect(await provider.revoke([credential.subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
      expect(await credential.worksThere()).toBe(false)
    })

    it('touches none while one of them is another', async () => {
      const provider = await connectTo(main, both())
      const credential = await everywhere()
      const strange = { nodes: [...both().nodes, { host: '127.0.0.1', port: world.server.port }] }
      await world.acl('SETUSER', main.server.admin.user, `>${main.server.admin.password}`)
      expect(await rejection(connectTo(main, strange))).toBeInstanceOf(IssuerRefused)
      expect([await credential.works(), await credential.worksThere()]).toEqual([true, true])
      await provider.revoke([credential.subject], WARRANT)
    })

    it('refuses two addresses of one server', async () => {
      const { port } = main.server
      const gate = await startGate(port, port)
      const nodes = [...both().nodes, { host: '127.0.0.1', port: gate.port }]
      expect(await rejection(connectTo(main, { nodes }))).toMatchObject({
        code: 'issuer-refused',
        message: expect.stringContaining('one server'),
      })
      await gate.close()
    })

    it('counts the nodes of a cluster', async () => {
      const one = await another({ lines: ['cluster-enabled yes'] })
      const two = await another({ lines: ['cluster-enabled yes'], tag: one.server.tag, admin: one.server.admin })
      await one.root.sendCommand(['CLUSTER', 'MEET', '127.0.0.1', String(two.server.port)])
      await expect
        .poll(async () => String(await one.root.sendCommand(['CLUSTER', 'INFO'])), { timeout: 20_000 })
        .toContain('cluster_known_nodes:2')
      const { subject } = await one.mint()
      expect(await (await connectTo(one)).revoke([subject], WARRANT)).toMatchObject([
        { status: 'retry', said: expect.stringContaining('2 nodes, and 1 are listed') },
      ])
      const nodes = [one, two].map(({ server: { host, port } }) => ({ host, port }))
      expect(await (await connectTo(one, { nodes })).revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    })
  })

  it('takes no names that Redis cannot hold, and no rule that is more than one about commands, keys and channels', () => {
    const { target, grants } = module.definition
    for (const user of ['', 'two words', 'new\nline', 'tab\t', 'nul\0', 'x'.repeat(10_240), '\ud800'])
      expect(target.safeParse({ user }).success, JSON.stringify(user.slice(0, 20))).toBe(false)
    for (const tag of ['', 'ab'.repeat(32), REVOKED]) expect(target.safeParse({ user: 'a', tag }).success).toBe(false)
    for (const rule of [
      '>password',
      '<password',
      `#${'ab'.repeat(32)}`,
      `!${'ab'.repeat(32)}`,
      'nopass',
      'resetpass',
      'reset',
      'on',
      'off',
      'clearselectors',
      '+get off',
      '',
    ])
      expect(grants?.safeParse({ rules: [rule] }).success, rule).toBe(false)
    for (const rule of ['+@read', '-@dangerous', '+acl|whoami', '~app:*', '%R~app:*', '&news', 'allkeys', '(+get ~x:*)'])
      expect(grants?.safeParse({ rules: [rule] }).success, rule).toBe(true)
  })

  it('makes nothing where the server does not take the rules', async () => {
    const provider = await connectTo(world)
    const order = { name: 'never-made', grants: { rules: ['+@no-such-category'] }, expiresAt: '2030-01-01T00:00:00.000Z' }
    expect(await provider.issue?.(order)).toMatchObject({ status: 'refused' })
    expect(await provider.issue?.({ ...order, grants: { rules: ['nopass'] } })).toMatchObject({ status: 'refused' })
    expect(await stateOf('never-made')).toBeUndefined()
  })

  it('leaves a user that is there as it was when its name is ordered at the same moment', async () => {
    for (const rules of [
      ['nopass', '~*', '+@all'],
      ['>a-password', '~*', '+@all'],
    ]) {
      const name = world.name()
      const provider = await connectWith(() => world.acl('SETUSER', name, 'on', ...rules))
      expect(await provider.issue?.({ name, grants: GRANTS, expiresAt: '2030-01-01T00:00:00.000Z' })).toMatchObject({
        status: 'refused',
      })
      expect(await world.credential({ user: name }, 'a-password').works()).toBe(true)
      expect(await stateOf(name)).toMatchObject({ enabled: true, nopass: rules[0] === 'nopass' })
    }
  })

  it('says which command the admin may not run', async () => {
    for (const command of ['acl|getuser', 'acl|setuser', 'acl|save', 'client|kill', 'info']) {
      const user = world.name()
      const password = 'a-lesser-admin-password'
      await world.acl(
        'SETUSER',
        user,
        'on',
        `>${password}`,
        `#${world.server.tag}`,
        ...adminRules('acl-file').split(' '),
        `-${command}`,
      )
      const { subject } = await world.mint()
      const error = await rejection(
        connectTo(world, {}, { user, password }).then((provider) => provider.revoke([subject], WARRANT)),
      )
      expect(error).toBeInstanceOf(IssuerRefused)
      expect(error).toMatchObject({ message: expect.stringContaining(command) })
      expectNoSecret(error, [password])
    }
  })

  it.skipIf(program('openssl') === undefined)('gives its password only to a server whose certificate holds', async () => {
    const one = await another({ tls: true })
    const tls = (ca: string | undefined, servername: string): Partial<Settings> => ({
      nodes: [{ host: '127.0.0.1', port: one.server.port }],
      tls: { mode: 'verify', servername, ...(ca === undefined ? {} : { ca }) },
    })
    const { ca } = one.server
    for (const [authority, name] of [
      [undefined, 'redis.test'],
      [ca, 'other.test'],
    ] as const)
      expect(await rejection(connectTo(one, tls(authority, name)))).toMatchObject({
        code: 'issuer-refused',
        message: expect.stringContaining('certificate'),
      })
    const provider = await connectTo(one, tls(ca, 'redis.test'))
    expect(await provider.revoke([{ lease: 'never', target: { user: 'never-existed' } }], WARRANT)).toMatchObject([
      { status: 'absent' },
    ])
  })

  it('is throttled, not down, where it gets no connection any more', async () => {
    await world.root.sendCommand(['CONFIG', 'SET', 'maxclients', '1'])
    const error = await rejection(connectTo(world))
    await world.root.sendCommand(['CONFIG', 'SET', 'maxclients', '1000'])
    expect(error).toBeInstanceOf(IssuerThrottled)
  })
})

describe('the fake of redis', () => {
  it('forgets what was not written down when it starts again, and the provider does not call that revoked', async () => {
    const redis = new FakeRedis()
    const provider = await redis.module.connect({ name: 'cache', settings: redis.settings() }, tools(JSON.stringify(redis.admin)))
    const [server] = redis.servers
    const tag = redis.create('worker', 'a-password')
    if (server === undefined) throw new Error('there is one')
    await provider.revoke([{ lease: 'other', target: { user: 'other' } }], WARRANT)
    server.full = true
    const subject = { lease: 'worker', target: { user: 'worker', tag } }
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'retry' }])
    server.restart()
    expect(redis.login('worker', 'a-password')).toBeDefined()
    expect(await provider.verify([subject], WARRANT)).toMatchObject([{ status: 'alive' }])
  })

  it('costs four exchanges for a batch, whatever its size', async () => {
    const redis = new FakeRedis()
    const provider = await redis.module.connect({ name: 'cache', settings: redis.settings() }, tools(JSON.stringify(redis.admin)))
    const batch = Array.from({ length: 100 }, (_, index) => {
      const user = `worker-${index}`
      return { lease: user, target: { user, tag: redis.create(user, `password ${index}`) } }
    })
    const before = redis.calls.length
    expect((await provider.revoke(batch, WARRANT)).every(({ status }) => status === 'revoked')).toBe(true)
    expect(redis.calls.length - before).toBe(4)
  })
})
