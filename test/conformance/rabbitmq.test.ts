import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as amqpConnect } from 'amqplib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { IssuerRefused, IssuerUnavailable } from '../../functions/providers/contract.ts'
import type { Grants, Target } from '../../functions/providers/rabbitmq/definition.ts'
import { definition, Settings } from '../../functions/providers/rabbitmq/definition.ts'
import { FakeRabbitmq } from '../../functions/providers/rabbitmq/fake.ts'
import { fingerprintOf, opened, shut } from '../../functions/providers/rabbitmq/names.ts'
import { provider as module } from '../../functions/providers/rabbitmq/provider.ts'
import type { LocalRabbitmq } from '../../lib/local/issuers/rabbitmq.ts'
import { rabbitmqMissing, rabbitmqVersion, startRabbitmq } from '../../lib/local/issuers/rabbitmq.ts'
import { mac } from '../support/mac.ts'
import type { Credential, Harness, Minted } from './suite.ts'
import { conformance, expectNoSecret, rejection, startGate, tools, WARRANT } from './suite.ts'

const missing = rabbitmqMissing()
const HOSTILE_NAMES = [
  `o'reilly";--`,
  'a/b',
  '%2F',
  '..%2f..',
  '**',
  '#a',
  'a?b=c&d',
  'x y\r\nz',
  'Grüße-日本-🗝️',
  '{"user":"root"}',
  '...',
  'x'.repeat(255),
]
const GRANTS: Grants = { permissions: [{ vhost: '/', configure: '', write: '.*', read: '.*' }] }

let folder = ''
let server: LocalRabbitmq
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rescind-rabbitmq-'))
  if (missing === undefined) server = await startRabbitmq({ folder })
}, 150_000)
afterAll(async () => {
  await server?.stop()
  await rm(folder, { recursive: true, force: true })
})

const at = (name: string) => `/users/${encodeURIComponent(name)}`
let serial = 0
const newName = () => {
  serial += 1
  return `worker-${serial}`
}

async function dial(user: string, password: string) {
  const connection = await amqpConnect(
    { hostname: '127.0.0.1', port: server.port, username: user, password },
    { timeout: 10_000 },
  )
  let open = true
  connection.on('error', () => undefined)
  connection.on('close', () => {
    open = false
  })
  return {
    alive: async () => {
      // The server says why before it closes: the client may be a moment behind.
      for (let look = 0; open && look < 10; look += 1) await new Promise((done) => setTimeout(done, 10))
      return open
    },
    close: async () => {
      if (open) await connection.close().catch(() => undefined)
    },
  }
}

function credentialOf(target: Target, password: string): Credential<Target, never> {
  return {
    subject: { lease: target.user, target },
    secrets: [password],
    async works() {
      const connection = await dial(target.user, password).catch(() => undefined)
      await connection?.close()
      return connection !== undefined
    },
    open: () => dial(target.user, password),
  }
}

async function make(name = newName(), tags = ''): Promise<Credential<Target, never> & { password: string; hash: string }> {
  const password = `password of ${name.slice(0, 20)} ${serial}`
  const made = await server.call('PUT', at(name), { password, tags })
  expect([201, 204]).toContain(made.status)
  await server.call('PUT', `/permissions/%2F/${encodeURIComponent(name)}`, { configure: '.*', write: '.*', read: '.*' })
  const { password_hash: hash } = await read(name)
  return { ...credentialOf({ user: name, hash: fingerprintOf(hash) }, password), password, hash }
}

interface Shown {
  readonly password_hash: string
  readonly tags: readonly string[]
  readonly limits: Readonly<Record<string, number>>
}
const read = async (name: string) => JSON.parse((await server.call('GET', at(name))).text) as Shown

/** The same cluster under another name: what is done to it by mistake is really done. */
async function startDouble(): Promise<{ port: number; close(): Promise<void> }> {
  const double = createServer((incoming, outgoing) => {
    if (incoming.url?.endsWith('/internal_cluster_id') === true) {
      outgoing.writeHead(200, { 'content-type': 'application/json' })
      outgoing.end('{"name":"internal_cluster_id","value":"rabbitmq-cluster-id-another"}')
      return
    }
    const { method, url, headers } = incoming
    const passed = request({ host: '127.0.0.1', port: server.managementPort, method, path: url, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 500, answer.headers)
      answer.pipe(outgoing)
    })
    passed.on('error', () => outgoing.destroy())
    incoming.pipe(passed)
  })
  await new Promise<void>((done) => double.listen(0, '127.0.0.1', done))
  const address = double.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    close: async () => {
      double.closeAllConnections()
      await new Promise((done) => double.close(done))
    },
  }
}

async function harness(): Promise<Harness<Target, never, never, Settings, Grants>> {
  const double = await startDouble()
  const gate = await startGate(server.managementPort, double.port)
  return {
    issuer: {
      name: 'rabbit',
      settings: Settings.parse({ url: `http://127.0.0.1:${gate.port}`, cluster: server.cluster, timeoutMilliseconds: 1000 }),
    },
    adminSecret: JSON.stringify(server.admin),
    wrongSecret: JSON.stringify({ user: server.admin.user, password: 'wrong-password-0123456789' }),
    faults: gate,
    repeated: 'revoked',
    mint: ({ name } = {}) => make(name),
    neverExisted: () => ({ subject: { lease: 'never', target: { user: 'never-existed', hash: '00000000' } }, status: 'absent' }),
    poison: async () => ({ subject: { lease: 'own', target: { user: server.admin.user } }, status: 'irrevocable' }),
    async replace({ subject: { target } }) {
      await server.call('DELETE', at(target.user))
      serial += 1
      return await make(target.user)
    },
    hostileNames: HOSTILE_NAMES,
    named: (user) => ({ lease: 'named', target: { user } }),
    pasted: ({ subject: { target } }) => [
      `amqps://${encodeURIComponent(target.user)}:p%40ss@mq.example:5671/vhost`,
      `AMQP_URL="amqp://${encodeURIComponent(target.user)}@mq.example"`,
      ` rabbitmq user ${target.user}\n`,
    ],
    grants: GRANTS,
    use: ({ target, credential }: Minted<Target, never, never>) => credentialOf(target, credential['password'] ?? ''),
    own: `user:${server.admin.user}`,
    async stop() {
      await gate.close()
      await double.close()
    },
  }
}

conformance(
  module,
  {
    against: 'real',
    counterpart: `RabbitMQ ${rabbitmqVersion() ?? ''}`.trim(),
    ...(missing === undefined ? {} : { missing }),
    lacks: { throttled: 'the management plugin never throttles; an answer 429 of a proxy is shown on the fake' },
  },
  harness,
  ['poison', 'replace', 'nonsense', 'named'],
)

const fake = new FakeRabbitmq()
conformance(
  fake.module,
  {
    against: 'fake',
    counterpart: 'the management plugin’s description of its HTTP API',
    lacks: { nonsense: 'nothing in memory speaks another protocol' },
  },
  async () => {
    const of = (target: Target, password: string): Credential<Target, never> => ({
      subject: { lease: target.user, target },
      secrets: [password],
      async works() {
        const connection = fake.login(target.user, password)
        connection?.close()
        return connection !== undefined
      },
      async open() {
        const connection = fake.login(target.user, password)
        return { alive: async () => connection?.alive() === true, close: async () => connection?.close() }
      },
    })
    const mint = async (name = newName()) => {
      serial += 1
      const password = `fake password ${serial}`
      fake.create(name, password)
      return of({ user: name, hash: fingerprintOf(fake.users.get(name)?.hash ?? '') }, password)
    }
    const set = (fault: FakeRabbitmq['fault']) => async () => {
      fake.fault = fault
    }
    return {
      issuer: { name: 'rabbit', settings: fake.settings() },
      adminSecret: JSON.stringify(fake.admin),
      wrongSecret: JSON.stringify({ ...fake.admin, password: 'wrong-password' }),
      faults: {
        ...{ down: set('down'), hang: set('down'), other: set('other'), heal: set('none') },
        throttled: async () => {
          fake.fault = 'throttled'
          return 7
        },
      },
      repeated: 'revoked',
      mint: ({ name } = {}) => mint(name),
      neverExisted: () => ({ subject: { lease: 'never', target: { user: 'never', hash: '00000000' } }, status: 'absent' }),
      poison: async () => ({ subject: { lease: 'own', target: { user: fake.admin.user } }, status: 'irrevocable' }),
      async replace({ subject: { target } }) {
        fake.drop(target.user)
        return await mint(target.user)
      },
      hostileNames: HOSTILE_NAMES,
      named: (user) => ({ lease: 'named', target: { user } }),
      pasted: ({ subject: { target } }) => [`amqp://${encodeURIComponent(target.user)}:x@mq`, `rabbitmq user ${target.user}`],
      grants: GRANTS,
      use: ({ target, credential }: Minted<Target, never, never>) => of(target, credential['password'] ?? ''),
      own: `user:${fake.admin.user}`,
      stop: async () => undefined,
    }
  },
  ['poison', 'replace', 'throttled', 'named'],
)

describe('rabbitmq alone, on memory', () => {
  const own = async () => {
    const cluster = new FakeRabbitmq()
    const provider = await cluster.module.connect(
      { name: 'rabbit', settings: cluster.settings() },
      tools(JSON.stringify(cluster.admin)),
    )
    cluster.create('worker', 'a password')
    const hash = cluster.users.get('worker')?.hash ?? ''
    return { cluster, provider, hash, subject: { lease: 'w', target: { user: 'worker', hash: fingerprintOf(hash) } } }
  }
  const deletesAt = (cluster: FakeRabbitmq, call: string) => {
    cluster.before = (name) => {
      if (name !== call) return
      cluster.before = undefined
      cluster.drop('worker')
    }
  }

  it.each(['putHash', 'putLimit'])('makes no user again that is deleted just before %s', async (call) => {
    const { cluster, provider, subject } = await own()
    deletesAt(cluster, call)
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'absent' }])
    expect(cluster.users.has('worker')).toBe(false)
  })

  it.each(['putHash', 'putLimit'])('restores nobody who is deleted just before %s', async (call) => {
    const { cluster, provider, subject } = await own()
    await provider.revoke([subject], WARRANT)
    deletesAt(cluster, call)
    expect(await provider.restore?.([subject], WARRANT)).toMatchObject([{ status: 'gone' }])
    expect(cluster.users.has('worker')).toBe(false)
  })

  it('goes on where it was interrupted, and gives back the limit that was there first', async () => {
    const { cluster, provider, subject } = await own()
    const user = cluster.users.get('worker')
    if (user !== undefined) user.limit = 7
    cluster.before = (name) => {
      if (name === 'putLimit') cluster.fault = 'down'
      if (cluster.fault === 'down') throw new IssuerUnavailable('RabbitMQ: no connection')
    }
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'retry', effect: 'unknown' }])
    cluster.fault = 'none'
    cluster.before = undefined
    expect(await provider.verify([subject], WARRANT)).toMatchObject([{ status: 'alive' }])
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(cluster.users.get('worker')?.limit).toBe(0)
    expect(await provider.restore?.([subject], WARRANT)).toMatchObject([{ status: 'restored' }])
    expect(cluster.users.get('worker')).toMatchObject({ limit: 7 })
    expect(cluster.login('worker', 'a password')).toBeDefined()
  })

  it('sees that somebody opens the user again while it is cut', async () => {
    const { cluster, provider, subject, hash } = await own()
    cluster.before = (name) => {
      const user = cluster.users.get('worker')
      if (name === 'connections' && user !== undefined) user.hash = hash
    }
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'retry', effect: 'unknown' }])
  })

  it('does not call absent whom another backend lets in under that name', async () => {
    const { cluster, provider } = await own()
    cluster.outside.set('ldap-user', 2)
    const subject = { lease: 'l', target: { user: 'ldap-user' } }
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([
      { status: 'irrevocable', said: expect.stringContaining('LDAP') },
    ])
    expect(await provider.verify([subject], WARRANT)).toMatchObject([{ status: 'alive' }])
  })

  it('keeps the answers that it has when the cluster throttles in the middle of a batch', async () => {
    const { cluster, provider } = await own()
    const subjects = Array.from({ length: 12 }, (_, place) => {
      cluster.create(`w${place}`, 'x')
      return { lease: `w${place}`, target: { user: `w${place}` } }
    })
    let looks = 0
    cluster.before = (name) => {
      if (name === 'user') looks += 1
      if (looks > 12) cluster.fault = 'throttled'
    }
    const answers = await provider.revoke(subjects, WARRANT)
    expect(answers[0]).toMatchObject({ status: 'revoked' })
    expect(answers.at(-1)).toMatchObject({ status: 'retry', effect: 'none', throttled: true, afterSeconds: 7 })
  })

  it('shuts a hash so that only what was added can be taken off', () => {
    for (const hash of ['', 'AAAA', 'sts6FaCesFyVA77BirTnMop3ED3ZEiR+dHH0SsX0yrRT3d4h', Buffer.alloc(68, 7).toString('base64')]) {
      for (const limit of [undefined, 0, 1, 4_294_967_295]) {
        expect(opened(hash)).toBeUndefined()
        expect(opened(shut(hash, limit))).toEqual({ hash, limit })
      }
    }
    expect(opened(Buffer.from('rescind:12;x').toString('base64'))).toBeUndefined()
  })

  it('names no user that an address cannot hold', () => {
    const taken = (user: string) => definition.target.safeParse({ user }).success
    expect(['.', '..', '', 'a\0b', 'x'.repeat(256), '\ud800'].map(taken)).not.toContain(true)
    expect(['...', 'a/..', ' ', '%2e%2e'].map(taken)).not.toContain(false)
  })

  it('recognises one user, and nothing of a password', () => {
    const query = (text: string) => definition.recognise?.(text, mac)?.query
    expect(query('amqp://app:se@cret@mq.example/')).toEqual({ user: 'app' })
    expect(query('amqps://app:x@MQ.example:5671/%2F')).toEqual({ user: 'app', host: 'mq.example' })
    expect(query('amqp://mq.example/')).toBeUndefined()
    expect(query('amqp://a:x@h amqp://b:x@h')).toBeUndefined()
    expect(definition.meant?.({ user: 'app', host: 'mq.example' }, { ...fake.settings(), url: 'https://mq.example:15671' })).toBe(
      true,
    )
  })
})

describe.skipIf(missing !== undefined)('rabbitmq alone, on a real server', () => {
  const connect = (settings: Partial<Settings> = {}, secret = JSON.stringify(server.admin)) =>
    module.connect(
      {
        name: 'rabbit',
        settings: {
          ...Settings.parse({ url: `http://127.0.0.1:${server.managementPort}`, cluster: server.cluster }),
          ...settings,
        },
      },
      tools(secret),
    )

  it('keeps tags, permissions and limits through a cut and its undoing, and the server lets nobody in meanwhile', async () => {
    const provider = await connect()
    const user = await make(newName(), 'management,team-a')
    const name = user.subject.target.user
    await server.call('PUT', `/user-limits/${name}/max-connections`, { value: 3 })
    const before = await read(name)
    const asUser = () =>
      fetch(`http://127.0.0.1:${server.managementPort}/api/whoami`, {
        headers: { authorization: `Basic ${btoa(`${name}:${user.password}`)}` },
      })
    expect((await asUser()).status).toBe(200)
    const session = await user.open?.()

    const [answer] = await provider.revoke([user.subject], WARRANT)

    expect(answer).toMatchObject({ status: 'revoked', said: expect.stringContaining('1 connections closed') })
    expect(await session?.alive()).toBe(false)
    expect((await asUser()).status).toBe(401)
    expect(await read(name)).toMatchObject({ tags: before.tags, limits: { 'max-connections': 0 } })
    expectNoSecret([answer, await provider.discover?.(undefined, 1000)], [before.password_hash, user.hash, user.password])
    expect(await provider.restore?.([user.subject], WARRANT)).toMatchObject([{ status: 'restored' }])
    expect(await read(name)).toEqual(before)
    const { text } = await server.call('GET', `/users/${name}/permissions`)
    expect(JSON.parse(text)).toMatchObject([{ configure: '.*' }])
    await provider.close()
  })

  it('catches who connects again and again while it is cut', async () => {
    const provider = await connect()
    const user = await make()
    let going = true
    const sessions: { alive(): Promise<boolean>; close(): Promise<void> }[] = []
    const loop = (async () => {
      while (going) {
        const session = await user.open?.().catch(() => undefined)
        if (session !== undefined) sessions.push(session)
      }
    })()
    await expect.poll(() => sessions.length).toBeGreaterThan(2)
    expect(await provider.revoke([user.subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    going = false
    await loop
    expect(await Promise.all(sessions.map((session) => session.alive()))).not.toContain(true)
    expect(JSON.parse((await server.call('GET', `/connections/username/${user.subject.target.user}`)).text)).toEqual([])
    await provider.close()
  })

  it('takes a new password for another credential, whose user is left alone', async () => {
    const provider = await connect()
    const user = await make()
    await server.call('PUT', at(user.subject.target.user), { password: 'rotated', tags: '' })
    expect(await provider.revoke([user.subject], WARRANT)).toMatchObject([{ status: 'absent' }])
    expect(await provider.restore?.([user.subject], WARRANT)).toMatchObject([{ status: 'gone' }])
    const session = await dial(user.subject.target.user, 'rotated')
    expect(await session.alive()).toBe(true)
    await session.close()
    await provider.close()
  })

  it('says which tag the admin lacks, and refuses another cluster', async () => {
    const { subject, password } = await make(newName(), 'monitoring')
    const error = await rejection(connect({}, JSON.stringify({ user: subject.target.user, password })))
    expect(error).toBeInstanceOf(IssuerRefused)
    expect(String(error)).toContain('administrator')
    expectNoSecret(error, [password])
    expect(await rejection(connect({ cluster: 'rabbitmq-cluster-id-x' }))).toBeInstanceOf(IssuerRefused)
  })

  it('makes nobody where a virtual host is missing or a pattern is none', async () => {
    const provider = await connect()
    const order = (vhost: string, configure: string) => ({
      name: newName(),
      grants: { permissions: [{ vhost, configure, write: '', read: '' }] },
      expiresAt: '2099-01-01T00:00:00.000Z',
    })
    for (const made of [order('nowhere', ''), order('/', '(')]) {
      expect(await provider.issue?.(made)).toMatchObject({ status: 'refused' })
      expect((await server.call('GET', at(made.name))).status).toBe(404)
    }
    await provider.close()
  })
})
