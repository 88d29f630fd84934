import { randomBytes } from 'node:crypto'
import { existsSync, statfsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Connection } from 'mysql2/promise'
import { createConnection } from 'mysql2/promise'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Provider } from '../../functions/providers/contract.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../../functions/providers/contract.ts'
import { open } from '../../functions/providers/mysql/connection.ts'
import type { Grants, Settings, Target } from '../../functions/providers/mysql/definition.ts'
import { FakeMysql } from '../../functions/providers/mysql/fake.ts'
import { quoted, roleOf } from '../../functions/providers/mysql/names.ts'
import { moduleOver } from '../../functions/providers/mysql/operations.ts'
import { provider as module } from '../../functions/providers/mysql/provider.ts'
import { shownAs } from '../../functions/providers/mysql/recognise.ts'
import type { LocalMariadb, MariadbOptions } from '../../lib/local/issuers/mariadb.ts'
import { adminGrants, mariadbMissing, mariadbVersion, startMariadb } from '../../lib/local/issuers/mariadb.ts'
import { program } from '../../lib/local/issuers/server.ts'
import { mac } from '../support/mac.ts'
import { fakeLogins } from './suite/fake-logins.ts'
import type { Credential, Harness, MintOptions } from './suite.ts'
import { conformance, expectNoSecret, rejection, startGate, tools, WARRANT } from './suite.ts'

const HOSTILE_NAMES = [
  `o'reilly"; DROP USER rescind; --`,
  'back`tick``',
  'a%_%\\',
  'back\\slash\\',
  'Grüße 日本',
  ' leading',
  'new\nline\ttab',
  'UPPER lower',
  'select',
  'root@localhost',
  "'app'@'%' x",
  '/* comment */',
  'x'.repeat(80),
  'é'.repeat(80),
  '{"json":["\'"]}',
  '??',
]

const GRANTS: Grants = { privileges: [{ allow: ['SELECT'], database: 'app_data' }], host: '%' }

/** Numbers by which a login is refused: wrong or no account, a locked one. */
const REFUSED = [1045, 4151, 3118]
const numberOf = (error: unknown) => (error instanceof Error && 'errno' in error ? Number(error.errno) : 0)

/** A server writes some hundred files before its first answer. */
const MEMORY = roomy('/dev/shm') ? '/dev/shm' : tmpdir()
function roomy(folder: string): boolean {
  if (!existsSync(folder)) return false
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize > 1_000_000_000
}

/** One server and its root's connection. */
class World {
  readonly server: LocalMariadb
  readonly root: Connection
  readonly folder: string
  #serial = 0
  private constructor(server: LocalMariadb, root: Connection, folder: string) {
    this.server = server
    this.root = root
    this.folder = folder
  }

  static async start(options: Omit<MariadbOptions, 'folder'> = {}): Promise<World> {
    const folder = await mkdtemp(join(MEMORY, 'rescind-mysql-'))
    const server = await startMariadb({ folder, ...options }).catch(async (error: unknown) => {
      await rm(folder, { recursive: true, force: true })
      throw error
    })
    return new World(server, await createConnection({ host: server.host, port: server.port, ...server.root }), folder)
  }

  async stop(): Promise<void> {
    this.root.destroy()
    await this.server.stop()
    await rm(this.folder, { recursive: true, force: true })
  }

  name(): string {
    this.#serial += 1
    return `worker_${this.#serial}`
  }

  async sql(statement: string): Promise<Record<string, unknown>[]> {
    const [rows] = await this.root.query(statement)
    return Array.isArray(rows) ? (rows as Record<string, unknown>[]) : []
  }

  async mint(
    { name = this.name() }: MintOptions<never> = {},
    hosts: readonly string[] = ['%'],
  ): Promise<Credential<Target, never>> {
    const [password, tag] = [randomBytes(12).toString('hex'), randomBytes(12).toString('hex')]
    const accounts = hosts.map((host) => `${quoted(name)}@${quoted(host)}`)
    await this.sql(`CREATE USER ${accounts.map((one) => `${one} IDENTIFIED BY '${password}'`).join(', ')}`)
    await this.sql(`CREATE ROLE ${roleOf(tag)}`)
    await this.sql(`GRANT ${roleOf(tag)} TO ${accounts.join(', ')}`)
    return this.credential({ user: name, tag }, password)
  }

  async dial(user: string, password: string): Promise<Connection> {
    const { host, port } = this.server
    const connection = await createConnection({ host, port, user, password })
    connection.on('error', () => undefined)
    return connection
  }

  credential(target: Target, password: string): Credential<Target, never> {
    return {
      subject: { lease: `lease of ${target.user}`, target },
      secrets: [password],
      works: async () => {
        try {
          const connection = await this.dial(target.user, password)
          await connection.query('SELECT 1')
          connection.destroy()
          return true
        } catch (error) {
          if (REFUSED.includes(numberOf(error))) return false
          throw error
        }
      },
      open: async () => {
        const connection = await this.dial(target.user, password)
        return {
          alive: () =>
            connection.query('SELECT 1').then(
              () => true,
              () => false,
            ),
          close: async () => connection.destroy(),
        }
      },
    }
  }

  settings(overrides: Partial<Settings> = {}): Settings {
    const { host, port, marker } = this.server
    return {
      host,
      port,
      tls: { mode: 'disable' },
      server: { by: 'marker', marker },
      connectTimeoutMilliseconds: 1000,
      statementTimeoutMilliseconds: 1000,
      ...overrides,
    }
  }
}

/** What a person may have of a user. */
const pasted = ({ subject: { target }, secrets: [password = ''] }: Credential<Target, never>) => {
  const user = encodeURIComponent(target.user)
  return [
    `mysql://${user}:${password}@127.0.0.1:3306/app_data`,
    `DATABASE_URL="mariadb://${user}:${password}@db.internal/app?ssl=true"`,
    `jdbc:mysql://db.internal:3306/app?user=${user}&password=${password}`,
    `mysql -h db.internal -u ${target.user} -p${password} app_data`,
    `'${target.user}'@'%'`,
    `mysql user ${target.user}`,
  ]
}
const COMMON = {
  repeated: 'revoked' as const,
  grants: GRANTS,
  own: 'user:rescind',
  pasted,
  named: (user: string) => ({ lease: 'named', target: { user } }),
  neverExisted: () => ({ subject: { lease: 'never', target: { user: 'never_existed' } }, status: 'absent' as const }),
  poison: async () => ({ subject: { lease: 'poison', target: { user: 'root' } }, status: 'irrevocable' as const }),
}

async function real(): Promise<Harness<Target, never, never, Settings, Grants>> {
  const world = await World.start()
  // The other server knows the same admin, so that nothing but its marker tells it apart.
  const other = await World.start({ admin: world.server.admin })
  const gate = await startGate(world.server.port, other.server.port)
  const { user } = world.server.admin
  const most = (connections: number) => world.sql(`ALTER USER ${quoted(user)}@'%' WITH MAX_USER_CONNECTIONS ${connections}`)
  let holder: Connection | undefined
  return {
    ...COMMON,
    hostileNames: HOSTILE_NAMES,
    issuer: { name: 'db', settings: world.settings({ port: gate.port }) },
    adminSecret: JSON.stringify(world.server.admin),
    wrongSecret: JSON.stringify({ user, password: 'wrong-password-0123456789' }),
    faults: {
      ...gate,
      async throttled() {
        await gate.down()
        await gate.heal()
        await most(1)
        holder = await world.dial(user, world.server.admin.password)
        return undefined
      },
      async heal() {
        holder?.destroy()
        holder = undefined
        await most(0)
        await gate.heal()
      },
    },
    mint: (options) => world.mint(options),
    use: ({ target, credential }) => world.credential(target, credential['password'] ?? ''),
    async replace({ subject: { target } }) {
      await world.sql(`DROP USER ${quoted(target.user)}@'%'`)
      return await world.mint({ name: target.user })
    },
    async stop() {
      await gate.close()
      await Promise.all([world.stop(), other.stop()])
    },
  }
}

async function fake(): Promise<Harness<Target, never, never, Settings, Grants>> {
  const logins = fakeLogins('db', FAKE, {
    prefix: 'worker_',
    create: (user, password) => FAKE.create(user, password, ['%', 'localhost']),
    drop: (user) => FAKE.drop(user),
  })
  return {
    ...COMMON,
    ...logins,
    hostileNames: HOSTILE_NAMES,
    // MySQL's SYSTEM_USER: all of a statement fails for one account.
    poison: async () => {
      FAKE.create('powerful', 'a-password', ['%'], true)
      return { subject: { lease: 'poison', target: { user: 'powerful' } }, status: 'irrevocable' }
    },
  }
}

const FAKE = new FakeMysql()
const EXTRAS = ['poison', 'replace', 'throttled', 'nonsense', 'named'] as const
const MISSING = mariadbMissing()
const counterpart = `MariaDB ${(await mariadbVersion()) ?? '10.11'}`
conformance(module, { against: 'real', counterpart, ...(MISSING === undefined ? {} : { missing: MISSING }) }, real, EXTRAS)
conformance(FAKE.module, { against: 'fake', counterpart: 'the MySQL 8.4 Reference Manual' }, fake, EXTRAS)

describe.skipIf(MISSING !== undefined)('mysql alone', () => {
  let world: World
  const providers: Provider<Target, never, never>[] = []
  const connect = async (overrides: Partial<Settings> = {}, admin = world.server.admin) => {
    const provider = await module.connect({ name: 'db', settings: world.settings(overrides) }, tools(JSON.stringify(admin)))
    providers.push(provider)
    return provider
  }
  /** Does something at the server just before the first statement that begins so. */
  const connectWith = async (before: RegExp, work: () => Promise<unknown>) => {
    let pending: (() => Promise<unknown>) | undefined
    const interposed = moduleOver(async (settings, admin) => {
      const session = await open(settings, admin)
      return {
        async query(statement, values) {
          if (before.test(statement)) {
            const now = pending
            pending = undefined
            await now?.()
          }
          return await session.query(statement, values)
        },
        destroy: () => session.destroy(),
      }
    })
    const provider = await interposed.connect(
      { name: 'db', settings: world.settings() },
      tools(JSON.stringify(world.server.admin)),
    )
    providers.push(provider)
    pending = work
    return provider
  }
  const hostsOf = async (user: string) =>
    (
      await world.sql(
        `SELECT Host AS host, JSON_VALUE(Priv, '$.account_locked') AS locked FROM mysql.global_priv WHERE User = ${world.root.escape(user)}`,
      )
    ).map(({ host, locked }) => `${host}${Number(locked) > 0 ? ' locked' : ''}`)
  const byName = (user: string) => ({ lease: user, target: { user } })

  beforeAll(async () => {
    world = await World.start()
  }, 120_000)
  afterEach(async () => {
    await Promise.all(providers.splice(0).map((provider) => provider.close()))
  })
  afterAll(async () => {
    await world.stop()
  })

  it('ends what a lock, and a DROP USER, leave alive', async () => {
    const provider = await connect()
    const [locked, dropped] = [await world.mint(), await world.mint()]
    const [one, two] = [await locked.open?.(), await dropped.open?.()]
    await world.sql(`ALTER USER ${locked.subject.target.user} ACCOUNT LOCK`)
    await world.sql(`DROP USER ${dropped.subject.target.user}`)
    expect([await one?.alive(), await two?.alive()]).toEqual([true, true])
    const batch = [locked.subject, dropped.subject]
    expect(await provider.verify(batch, WARRANT)).toMatchObject([{ status: 'alive' }, { status: 'alive' }])
    expect(await provider.revoke(batch, WARRANT)).toMatchObject([
      { status: 'revoked', said: expect.stringContaining('1 session ended') },
      { status: 'revoked', said: expect.stringContaining('outlived') },
    ])
    expect([await one?.alive(), await two?.alive()]).toEqual([false, false])
    expect(await provider.verify(batch, WARRANT)).toMatchObject([{ status: 'dead' }, { status: 'dead' }])
    expect(await provider.revoke([dropped.subject], WARRANT)).toMatchObject([{ status: 'absent' }])
    await one?.close()
    await two?.close()
  })

  it('ends sessions whatever host they were resolved to, which KILL USER does not', async () => {
    const provider = await connect()
    const { subject, secrets } = await world.mint({}, ['%', 'localhost'])
    const { user } = subject.target
    const victim = await world.dial(user, secrets[0] ?? '')
    await world.sql(`KILL USER ${quoted(user)}@'127.0.0.1'`).catch(() => undefined)
    expect((await victim.query('SELECT 1'))[0]).toEqual([{ 1: 1 }])
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(await rejection(victim.query('SELECT 1'))).toBeInstanceOf(Error)
  })

  it('cuts a user at every host, not at the one that is looked at first', async () => {
    const provider = await connect()
    const { subject, works } = await world.mint({}, ['localhost', '%', '127.0.0.1', '10.%'])
    await world.sql(`DROP USER ${quoted(subject.target.user)}@'localhost', ${quoted(subject.target.user)}@'127.0.0.1'`)
    expect(await works()).toBe(true)
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([
      { status: 'revoked', said: expect.stringContaining('2 hosts') },
    ])
    expect(await works()).toBe(false)
    expect((await hostsOf(subject.target.user)).sort()).toEqual(['% locked', '10.% locked'])
    expect(await provider.restore?.([subject], WARRANT)).toMatchObject([{ status: 'restored' }])
    expect((await hostsOf(subject.target.user)).sort()).toEqual(['%', '10.%'])
  })

  it('cuts a host that is added while it is at work', async () => {
    const { subject, works } = await world.mint({}, ['10.%'])
    const { user } = subject.target
    const provider = await connectWith(/ACCOUNT LOCK$/, () =>
      world.sql(`CREATE USER ${quoted(user)}@'%' IDENTIFIED BY 'another-way-in'`),
    )
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect((await hostsOf(user)).sort()).toEqual(['% locked', '10.% locked'])
    expect(await world.credential({ user }, 'another-way-in').works()).toBe(false)
    expect(await works()).toBe(false)
  })

  it('makes no user by locking, marking or restoring one that went a moment before', async () => {
    for (const before of [/^GRANT/, /ACCOUNT LOCK$/]) {
      const { subject } = await world.mint()
      const provider = await connectWith(before, () => world.sql(`DROP USER ${quoted(subject.target.user)}`))
      const [answer] = await provider.revoke([subject], WARRANT)
      expect(['revoked', 'retry', 'absent']).toContain(answer?.status)
      expect(await hostsOf(subject.target.user)).toEqual([])
      expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'absent' }])
    }
    const cut = await world.mint()
    await (await connect()).revoke([cut.subject], WARRANT)
    const provider = await connectWith(/ACCOUNT UNLOCK$/, () => world.sql(`DROP USER ${quoted(cut.subject.target.user)}`))
    await provider.restore?.([cut.subject], WARRANT)
    expect(await hostsOf(cut.subject.target.user)).toEqual([])
  })

  it('gives a namesake that came a moment before its access back', async () => {
    const old = await world.mint()
    let namesake: Credential<Target, never> | undefined
    const provider = await connectWith(/ACCOUNT LOCK$/, async () => {
      await world.sql(`DROP USER ${quoted(old.subject.target.user)}`)
      namesake = await world.mint({ name: old.subject.target.user })
    })
    expect(await provider.revoke([old.subject], WARRANT)).toMatchObject([{ status: 'retry' }])
    expect(await namesake?.works()).toBe(true)
    expect(await provider.revoke([old.subject], WARRANT)).toMatchObject([{ status: 'absent' }])
    expect(await namesake?.works()).toBe(true)
  })

  it('tells names apart that the list of sessions takes for one', async () => {
    const provider = await connect()
    const [lower, upper] = [await world.mint({ name: 'éclair' }), await world.mint({ name: 'ECLAIR' })]
    const [one, two] = [await lower.open?.(), await upper.open?.()]
    expect(await world.sql("SELECT USER FROM information_schema.PROCESSLIST WHERE USER = 'eclair'")).toHaveLength(2)
    expect(await provider.revoke([lower.subject], WARRANT)).toMatchObject([
      { status: 'revoked', said: expect.stringContaining('1 session') },
    ])
    expect([await one?.alive(), await two?.alive(), await upper.works()]).toEqual([false, true, true])
    expect(await provider.verify([lower.subject], WARRANT)).toMatchObject([{ status: 'dead' }])
    await two?.close()
  })

  it('ends a session that is in the middle of a long statement', async () => {
    const provider = await connect()
    const { subject, secrets } = await world.mint()
    const busy = await world.dial(subject.target.user, secrets[0] ?? '')
    const failed = rejection(busy.query('SELECT SLEEP(30)').then(([rows]) => Promise.reject(rows)))
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    await failed
    expect(await rejection(busy.query('SELECT 1'))).toBeInstanceOf(Error)
  })

  it('never cuts users of the server or its own, and leaves locked what a person locked', async () => {
    const provider = await connect()
    const own = ['root', 'mariadb.sys', 'rescind_server', 'rescind_revoked', 'system user', world.server.admin.user].map(byName)
    for (const answers of [await provider.revoke(own, WARRANT), (await provider.tidy?.(own, WARRANT)) ?? []])
      expect(answers.map(({ status }) => status)).toEqual(own.map(() => 'irrevocable'))
    const { subject, works } = await world.mint()
    await world.sql(`ALTER USER ${quoted(subject.target.user)} ACCOUNT LOCK`)
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([
      { status: 'revoked', said: expect.stringContaining('locked already') },
    ])
    expect(await provider.restore?.([subject], WARRANT)).toMatchObject([{ status: 'refused' }])
    expect(await works()).toBe(false)
  })

  it('answers a role that is no user as one that is not there', async () => {
    const provider = await connect()
    await world.sql('CREATE ROLE reporting')
    expect(await provider.revoke([byName('reporting')], WARRANT)).toMatchObject([{ status: 'absent' }])
    expect((await provider.discover?.(undefined, 1000)) ?? {}).not.toMatchObject({
      listed: expect.arrayContaining([expect.objectContaining({ shown: expect.stringContaining('reporting') })]),
    })
  })

  it('does not delete a user by which something is defined, and says what', async () => {
    const provider = await connect()
    const [definer, plain] = [await world.mint(), await world.mint()]
    const { user } = definer.subject.target
    await world.sql(`CREATE DEFINER=${quoted(user)}@'%' VIEW app_data.v AS SELECT 1 AS one`)
    await world.sql(`CREATE DEFINER=${quoted(user)}@'%' PROCEDURE app_data.p() SELECT 1`)
    await world.sql(`CREATE DEFINER=${quoted(user)}@'%' EVENT app_data.e ON SCHEDULE EVERY 1 DAY DO SELECT 1`)
    await world.sql('CREATE TABLE app_data.t (x INT)')
    await world.sql(
      `CREATE DEFINER=${quoted(user)}@'%' TRIGGER app_data.g BEFORE INSERT ON app_data.t FOR EACH ROW SET NEW.x = 1`,
    )
    const batch = [definer.subject, plain.subject]
    await provider.revoke(batch, WARRANT)
    expect(await provider.tidy?.(batch, WARRANT)).toMatchObject([
      { status: 'irrevocable', said: expect.stringMatching(/1 view.*1 routine.*1 trigger.*1 event/) },
      { status: 'revoked' },
    ])
    expect([await hostsOf(user), await hostsOf(plain.subject.target.user)]).toEqual([['% locked'], []])
    expect(await definer.works()).toBe(false)
  })

  it('deletes nothing where it cannot see definers, and not while a session is open; its tag goes with a user', async () => {
    const admin = { user: 'lesser', password: 'lesser-password-0123456789' }
    await world.sql(`CREATE USER lesser@'%' IDENTIFIED BY '${admin.password}'`)
    await world.sql(`GRANT CREATE USER, PROCESS, CONNECTION ADMIN ON *.* TO lesser@'%'`)
    await world.sql(`GRANT SELECT ON mysql.* TO lesser@'%'`)
    const lesser = await connect({}, admin)
    const { subject } = await world.mint()
    // The mark is another admin's: who made it may give it.
    expect(await lesser.revoke([subject], WARRANT)).toMatchObject([
      { status: 'revoked', said: expect.stringContaining('not marked') },
    ])
    expect(await lesser.restore?.([subject], WARRANT)).toMatchObject([{ status: 'refused' }])
    expect(await lesser.tidy?.([subject], WARRANT)).toMatchObject([
      { status: 'irrevocable', said: expect.stringContaining('SHOW VIEW') },
    ])
    expect(await hostsOf(subject.target.user)).toEqual(['% locked'])
    expect(await (await connect()).tidy?.([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(await world.sql(`SELECT 1 FROM mysql.global_priv WHERE User = '${roleOf(subject.target.tag ?? '')}'`)).toEqual([])

    const busy = await world.mint()
    const session = await busy.open?.()
    await world.sql(`ALTER USER ${quoted(busy.subject.target.user)} ACCOUNT LOCK`)
    expect(await (await connect()).tidy?.([busy.subject], WARRANT)).toMatchObject([{ status: 'retry', effect: 'none' }])
    expect(await session?.alive()).toBe(true)
    await session?.close()
  })

  it('says what right the admin lacks', async () => {
    const user = 'weak'
    const password = 'weak-password-0123456789'
    const rights = ['CREATE USER', 'PROCESS', 'CONNECTION ADMIN']
    for (const missing of [...rights, 'SELECT']) {
      await world.sql(`CREATE OR REPLACE USER weak@'%' IDENTIFIED BY '${password}'`)
      await world.sql(`GRANT ${rights.filter((one) => one !== missing).join(', ')} ON *.* TO weak@'%'`)
      if (missing !== 'SELECT') await world.sql("GRANT SELECT ON mysql.* TO weak@'%'")
      const error = await rejection(connect({}, { user, password }))
      expect(error).toBeInstanceOf(IssuerRefused)
      expect(error).toMatchObject({ message: expect.stringContaining(missing) })
      expectNoSecret(error, [password])
    }
    await world.sql(`ALTER USER weak@'%' ACCOUNT LOCK`)
    expect(await rejection(connect({}, { user, password }))).toBeInstanceOf(IssuerRefused)
    expect(adminGrants('x').join(' ')).toContain(rights.join(', '))
  })

  it('does not believe a replica, and waits for no lock for long', async () => {
    const provider = await connect()
    const { subject, works } = await world.mint()
    await world.sql('SET GLOBAL read_only = 1')
    const errors = [await rejection(provider.revoke([subject], WARRANT)), await rejection(connect())]
    await world.sql('SET GLOBAL read_only = 0')
    for (const error of errors) expect(error).toBeInstanceOf(IssuerUnavailable)
    expect(await works()).toBe(true)

    const patient = await connect({ statementTimeoutMilliseconds: 3000 })
    await world.sql('FLUSH TABLES WITH READ LOCK')
    const held = patient.revoke([subject], WARRANT)
    const [answer] = await held.catch((error: unknown) => [{ status: 'retry', said: String(error) }])
    await world.sql('UNLOCK TABLES')
    expect(answer?.status).toBe('retry')
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
  })

  it('keeps a tag that another user has too', async () => {
    const provider = await connect()
    const [one, two] = [await world.mint(), await world.mint()]
    const { tag = '' } = one.subject.target
    await world.sql(`GRANT ${roleOf(tag)} TO ${quoted(two.subject.target.user)}@'%'`)
    await provider.revoke([one.subject], WARRANT)
    expect(await provider.tidy?.([one.subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    const other = { lease: 'other', target: { user: two.subject.target.user, tag } }
    expect(await provider.verify([other], WARRANT)).toMatchObject([{ status: 'alive' }])
    expect(await provider.revoke([other], WARRANT)).toMatchObject([{ status: 'revoked' }])
  })

  it('shows every name so that it can be pasted, and takes no sentence for a name', async () => {
    const { recognise } = module.definition
    for (const user of HOSTILE_NAMES) {
      const clue = recognise?.(shownAs(user), mac)
      expect(clue?.credential, JSON.stringify(user)).toBe(`user:${user}`)
    }
    for (const text of ['mysql user bob password hunter2', "mysql user 'bob' hunter2", "'a'@'%' 'b'@'%'", 'mysql user a\nb'])
      expect(recognise?.(text, mac), text).toBeUndefined()
  })

  it('takes no names that the server would read as others', async () => {
    const { target } = module.definition
    for (const user of ['', 'app ', 'nul\0', 'x'.repeat(10_240), '\ud800', '🗝️'])
      expect(target.safeParse({ user }).success, JSON.stringify(user.slice(0, 20))).toBe(false)
    expect(target.safeParse({ user: 'app', tag: 'x' }).success).toBe(false)
    const app = await world.mint({ name: 'padded_app' })
    expect(await world.sql("SELECT User FROM mysql.global_priv WHERE User = 'padded_app  '")).toHaveLength(1)
    expect(await app.works()).toBe(true)
  })

  it('mints privileges in just the database that is named, and nothing where it has none to give', async () => {
    const provider = await connect()
    await world.sql('CREATE DATABASE appXdata')
    await world.sql('CREATE TABLE appXdata.secret (x INT)')
    const order = { name: 'minted', grants: GRANTS, expiresAt: '2030-01-01T00:00:00.000Z' }
    const issued = await provider.issue?.(order)
    if (issued?.status !== 'issued') throw new Error(issued?.said)
    const session = await world.dial('minted', issued.credential['password'] ?? '')
    await session.query('SELECT * FROM app_data.t').catch((error) => expect(numberOf(error)).toBe(1146))
    expect(numberOf(await rejection(session.query('SELECT * FROM appXdata.secret')))).toBe(1142)
    session.destroy()
    const foreign = { privileges: [{ allow: ['SELECT' as const], database: 'mysql' }], host: '%' }
    expect(await provider.issue?.({ ...order, name: 'not-minted', grants: foreign })).toMatchObject({ status: 'refused' })
    expect(
      await provider.issue?.({ ...order, name: 'not-minted', grants: { privileges: [{ allow: ['SUPER'], database: 'mysql' }] } }),
    ).toMatchObject({
      status: 'refused',
    })
    expect(await hostsOf('not-minted')).toEqual([])
    const { grants } = module.definition
    for (const host of ["%' OR", '`', '', 'a b']) expect(grants?.safeParse({ ...GRANTS, host }).success, host).toBe(false)
  })

  it('gives nothing beside the database that is named, though the admin could', async () => {
    const admin = { user: 'wide', password: 'wide-password-0123456789' }
    await world.sql(`CREATE USER wide@'%' IDENTIFIED BY '${admin.password}'`)
    await world.sql(`GRANT CREATE USER, PROCESS, CONNECTION ADMIN, SELECT ON *.* TO wide@'%' WITH GRANT OPTION`)
    await world.sql('CREATE DATABASE IF NOT EXISTS appYdata')
    await world.sql('CREATE TABLE appYdata.secret (x INT)')
    const provider = await connect({}, admin)
    const issued = await provider.issue?.({ name: 'narrow', grants: GRANTS, expiresAt: '2030-01-01T00:00:00.000Z' })
    if (issued?.status !== 'issued') throw new Error(issued?.said)
    const session = await world.dial('narrow', issued.credential['password'] ?? '')
    expect(numberOf(await rejection(session.query('SELECT * FROM appYdata.secret')))).toBe(1142)
    session.destroy()
    // What it is that must not happen: to the server, _ is any character.
    await world.sql('GRANT SELECT ON `app_data`.* TO narrow')
    const wider = await world.dial('narrow', issued.credential['password'] ?? '')
    expect((await wider.query('SELECT * FROM appYdata.secret'))[0]).toEqual([])
    wider.destroy()
  })

  it('makes no user that needs no password by granting to one that went a moment before', async () => {
    const provider = await connectWith(/^GRANT SELECT/, () => world.sql("DROP USER ghost@'%'"))
    const order = { name: 'ghost', grants: GRANTS, expiresAt: '2030-01-01T00:00:00.000Z' }
    expect(await provider.issue?.(order)).toMatchObject({ status: 'refused' })
    expect(await hostsOf('ghost')).toEqual([])
  })

  it.skipIf(program('openssl') === undefined)(
    'gives its password only to a server whose certificate holds, and never in clear',
    async () => {
      const [right, wrong] = await Promise.all([
        World.start({ certificateFor: 'localhost' }),
        World.start({ certificateFor: 'other.test' }),
      ])
      const reach = async (one: World, ca: string | undefined) => {
        const { admin, marker, port } = one.server
        const tls = { mode: 'verify' as const, ...(ca === undefined ? {} : { ca }) }
        const settings = module.definition.settings.parse(
          world.settings({ host: 'localhost', port, tls, server: { by: 'marker', marker } }),
        )
        const provider = await module.connect({ name: 'db', settings }, tools(JSON.stringify(admin)))
        providers.push(provider)
        return provider
      }
      try {
        expect(await rejection(reach(right, undefined))).toMatchObject({
          code: 'issuer-refused',
          message: expect.stringContaining('certificate'),
        })
        expect(await rejection(reach(right, wrong.server.ca))).toMatchObject({ code: 'issuer-refused' })
        expect(await rejection(reach(wrong, wrong.server.ca))).toMatchObject({ code: 'issuer-refused' })
        const provider = await reach(right, right.server.ca)
        expect(await provider.revoke([byName('never_existed')], WARRANT)).toMatchObject([{ status: 'absent' }])
      } finally {
        await Promise.all([right.stop(), wrong.stop()])
      }
      expect(module.definition.settings.safeParse(world.settings({ tls: { mode: 'verify' } })).success).toBe(false)

      const received: Buffer[] = []
      // A greeting (protocol 10), and once the client has answered, the wish for its password as it is.
      const greeting = Buffer.concat([
        Buffer.from([10]),
        Buffer.from('8.4.3\0'),
        Buffer.from([1, 0, 0, 0]),
        Buffer.from('12345678\0'),
        Buffer.from([0xff, 0xf7, 45, 2, 0, 0x0f, 0x80, 21, ...Array(10).fill(0)]),
        Buffer.from('123456789012\0mysql_native_password\0'),
      ])
      const wish = Buffer.from('\xfemysql_clear_password\0', 'latin1')
      const packet = (sequence: number, body: Buffer) => Buffer.concat([Buffer.from([body.length, 0, 0, sequence]), body])
      const thief = createServer((socket) => {
        socket.on('error', () => undefined)
        socket.on('data', (bytes) => received.push(bytes))
        socket.once('data', () => socket.write(packet(2, wish)))
        socket.write(packet(0, greeting))
      })
      await new Promise<void>((done) => thief.listen(0, '127.0.0.1', done))
      const address = thief.address()
      const port = typeof address === 'object' && address !== null ? address.port : 0
      const error = await rejection(connect({ port }))
      expect(error).toBeInstanceOf(IssuerRefused)
      expect(received.length).toBeGreaterThan(0)
      expect(Buffer.concat(received).includes(world.server.admin.password)).toBe(false)
      thief.close()
    },
  )

  it('is throttled, not down, where it gets no connection any more', async () => {
    const { user } = world.server.admin
    await world.sql(`ALTER USER ${quoted(user)}@'%' WITH MAX_USER_CONNECTIONS 1`)
    await connect()
    const error = await rejection(connect())
    await world.sql(`ALTER USER ${quoted(user)}@'%' WITH MAX_USER_CONNECTIONS 0`)
    expect(error).toBeInstanceOf(IssuerThrottled)
  })
})

describe('the fake of mysql', () => {
  const connect = async (mysql: FakeMysql) =>
    await mysql.module.connect({ name: 'db', settings: mysql.settings() }, tools(JSON.stringify(mysql.admin)))

  it('refuses a user with SYSTEM_USER, and cuts the others of its batch', async () => {
    const mysql = new FakeMysql()
    const provider = await connect(mysql)
    mysql.create('powerful', 'a-password', ['%'], true)
    const tag = mysql.create('plain', 'a-password', ['%', '10.%'])
    expect(
      await provider.revoke(
        [
          { lease: 'a', target: { user: 'powerful' } },
          { lease: 'b', target: { user: 'plain', tag } },
        ],
        WARRANT,
      ),
    ).toMatchObject([
      { status: 'irrevocable', said: expect.stringContaining('SYSTEM_USER') },
      { status: 'revoked', said: expect.stringContaining('2 hosts') },
    ])
    expect([mysql.login('powerful', 'a-password') !== undefined, mysql.login('plain', 'a-password')]).toEqual([true, undefined])
  })

  it('needs ROLE_ADMIN, and knows its server by uuid or by marker', async () => {
    const mysql = new FakeMysql()
    mysql.privileges = mysql.privileges.filter((one) => one !== 'ROLE_ADMIN')
    expect(await rejection(connect(mysql))).toMatchObject({
      code: 'issuer-refused',
      message: expect.stringContaining('ROLE_ADMIN'),
    })
    const other = new FakeMysql()
    const by = (settings: Settings) => other.module.connect({ name: 'db', settings }, tools(JSON.stringify(other.admin)))
    const marker = 'a1b2c3d4e5f60718'
    expect(await rejection(by(other.settings({ server: { by: 'marker', marker } })))).toBeInstanceOf(IssuerRefused)
    other.make({ user: 'rescind_server', host: marker }, '', { locked: true })
    await by(other.settings({ server: { by: 'marker', marker } }))
    other.isReadOnly = true
    expect(await rejection(by(other.settings()))).toBeInstanceOf(IssuerUnavailable)
  })

  it('keeps a definer', async () => {
    const mysql = new FakeMysql()
    const provider = await connect(mysql)
    const subject = { lease: 'a', target: { user: 'definer', tag: mysql.create('definer', 'a-password') } }
    mysql.views.push('definer@%')
    await provider.revoke([subject], WARRANT)
    expect(await provider.tidy?.([subject], WARRANT)).toMatchObject([
      { status: 'irrevocable', said: expect.stringContaining('1 view') },
    ])
  })
})
