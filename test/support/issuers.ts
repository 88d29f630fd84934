import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import type { IssuedTokens, LocalOAuth } from '../../lib/local/issuers/oauth.ts'
import { startOAuth } from '../../lib/local/issuers/oauth.ts'
import type { LocalPostgres } from '../../lib/local/issuers/postgres.ts'
import { startPostgres } from '../../lib/local/issuers/postgres.ts'

/** Who administers PostgreSQL for Rescind: `orders` is a superuser's issuer, `managed` that of an admin who is none. */
export type RoleIssuer = 'orders' | 'managed'

/** A role with a password, as a consumer holds it. */
export interface HeldRole {
  readonly issuer: RoleIssuer
  readonly role: string
  readonly oid: string
  readonly password: string
  /** Logs in now, with the password of the beginning: `undefined` if it works, else the server's SQLSTATE. */
  login(): Promise<string | undefined>
  /** A session that stays open until the server ends it, or `close`. */
  open(applicationName?: string): Promise<HeldSession>
}

export interface HeldSession {
  readonly client: pg.Client
  /** Does it still answer? */
  alive(): Promise<boolean>
  close(): Promise<void>
}

/** The real issuers of a test file: one PostgreSQL server with two admins, and one OAuth server. */
export class Issuers {
  readonly postgres: LocalPostgres
  readonly oauth: LocalOAuth
  readonly admins: Readonly<Record<RoleIssuer, LocalPostgres['admin']>>
  readonly #pools: Readonly<Record<RoleIssuer, pg.Pool>>
  readonly #folder: string
  readonly #sessions: HeldSession[] = []
  #serial = 0

  private constructor(postgres: LocalPostgres, oauth: LocalOAuth, folder: string, managed: LocalPostgres['admin']) {
    this.postgres = postgres
    this.oauth = oauth
    this.#folder = folder
    this.admins = { orders: postgres.admin, managed }
    this.#pools = { orders: this.#pool(postgres.admin), managed: this.#pool(managed) }
  }

  static async start(): Promise<Issuers> {
    const folder = await mkdtemp(join(tmpdir(), 'rescind-estate-'))
    const [postgres, oauth] = await Promise.all([startPostgres({ folder }), startOAuth()])
    const managed = { user: 'rescind_managed', password: randomBytes(18).toString('base64url') }
    const issuers = new Issuers(postgres, oauth, folder, managed)
    const name = pg.escapeIdentifier(managed.user)
    const root = issuers.as('orders')
    await root.query(`CREATE ROLE ${name} LOGIN CREATEROLE PASSWORD ${pg.escapeLiteral(managed.password)}`)
    await root.query(`GRANT pg_signal_backend TO ${name}`)
    // Both admins mark what they shut with the same two roles, as the provider's README says for a change of admins.
    await root.query('CREATE ROLE rescind_contained NOLOGIN; CREATE ROLE rescind_revoked NOLOGIN')
    await root.query(`GRANT rescind_contained, rescind_revoked TO ${name} WITH ADMIN OPTION, INHERIT FALSE`)
    await root.query('CREATE SCHEMA estate; GRANT USAGE, CREATE ON SCHEMA estate TO PUBLIC')
    return issuers
  }

  async stop(): Promise<void> {
    await Promise.all(this.#sessions.map((session) => session.close()))
    await Promise.all(Object.values(this.#pools).map((pool) => pool.end()))
    await this.oauth.stop()
    await this.postgres.stop()
    await rm(this.postgres.files, { recursive: true, force: true })
    await rm(this.#folder, { recursive: true, force: true })
  }

  /** The admin's own connections, for what happens beside Rescind. */
  as(issuer: RoleIssuer): pg.Pool {
    return this.#pools[issuer]
  }

  /** A name that no other test of the file uses. */
  name(prefix: string): string {
    this.#serial += 1
    return `${prefix}_${this.#serial}`
  }

  /** Makes a login role, as the issuer's admin; a group is made where it does not exist. */
  async mintRole(issuer: RoleIssuer, options: { readonly name?: string; readonly memberOf?: string } = {}): Promise<HeldRole> {
    const role = options.name ?? this.name('role')
    const password = randomBytes(18).toString('base64url')
    const by = this.as(issuer)
    let group = ''
    if (options.memberOf !== undefined) {
      const exists = await by.query('SELECT FROM pg_roles WHERE rolname = $1', [options.memberOf])
      if (exists.rowCount === 0) await by.query(`CREATE ROLE ${pg.escapeIdentifier(options.memberOf)} NOLOGIN`)
      group = `IN ROLE ${pg.escapeIdentifier(options.memberOf)}`
    }
    await by.query(`CREATE ROLE ${pg.escapeIdentifier(role)} LOGIN PASSWORD ${pg.escapeLiteral(password)} ${group}`)
    const { rows } = await by.query<{ oid: string }>('SELECT oid::text AS oid FROM pg_roles WHERE rolname = $1', [role])
    return this.held(issuer, role, rows[0]?.oid ?? '', password)
  }

  /**
   * Makes many login roles at once; all have one password, whose verifier is computed once (RFC 5803 costs thousands of
   * hashes each).
   */
  async mintRoles(issuer: RoleIssuer, count: number): Promise<HeldRole[]> {
    const model = await this.mintRole(issuer)
    const { rows } = await this.as('orders').query<{ verifier: string }>(
      'SELECT rolpassword AS verifier FROM pg_authid WHERE rolname = $1',
      [model.role],
    )
    const verifier = pg.escapeLiteral(rows[0]?.verifier ?? '')
    const prefix = this.name('many')
    const names = Array.from({ length: count }, (_, index) => `${prefix}_${index}`)
    const batches = Array.from({ length: Math.ceil(count / 250) }, (_, index) => names.slice(index * 250, (index + 1) * 250))
    await Promise.all(
      batches.map((batch) =>
        this.as(issuer).query(batch.map((name) => `CREATE ROLE ${name} LOGIN PASSWORD ${verifier}`).join(';')),
      ),
    )
    const made = await this.as(issuer).query<{ role: string; oid: string }>(
      'SELECT rolname AS role, oid::text AS oid FROM pg_roles WHERE rolname LIKE $1 ORDER BY oid',
      [`${prefix}\\_%`],
    )
    return made.rows.map(({ role, oid }) => this.held(issuer, role, oid, model.password))
  }

  /** How many of these roles exist, and how many of them may log in, as the catalogue has it. */
  async count(roles: readonly HeldRole[]): Promise<{ readonly exist: number; readonly login: number }> {
    const { rows } = await this.as('orders').query<{ exist: number; login: number }>(
      'SELECT count(*)::int AS exist, count(*) FILTER (WHERE rolcanlogin)::int AS login FROM pg_roles WHERE oid = ANY($1::oid[])',
      [roles.map(({ oid }) => oid)],
    )
    return rows[0] ?? { exist: 0, login: 0 }
  }

  /** How many of these roles carry the mark of a cut by which it can be undone (the provider's README says how). */
  async restorable(roles: readonly HeldRole[]): Promise<number> {
    const { rows } = await this.as('orders').query<{ count: number }>(
      `SELECT count(*)::int AS count FROM pg_auth_members WHERE roleid = to_regrole('rescind_revoked') AND member = ANY($1::oid[])`,
      [roles.map(({ oid }) => oid)],
    )
    return rows[0]?.count ?? 0
  }

  /** A role that is there already. */
  held(issuer: RoleIssuer, role: string, oid: string, password: string): HeldRole {
    const { host, port, database } = this.postgres
    const dial = async (application_name = 'consumer') => {
      const client = new pg.Client({
        host,
        port,
        database,
        user: role,
        password,
        application_name,
        connectionTimeoutMillis: 10_000,
      })
      client.on('error', () => undefined)
      await client.connect()
      return client
    }
    return {
      issuer,
      role,
      oid,
      password,
      async login() {
        try {
          const client = await dial()
          await client.query('SELECT 1')
          await client.end()
          return undefined
        } catch (error) {
          if (error instanceof pg.DatabaseError) return error.code ?? error.message
          throw error
        }
      },
      open: async (applicationName) => {
        const client = await dial(applicationName)
        const session: HeldSession = {
          client,
          alive: async () => {
            try {
              await client.query('SELECT 1')
              return true
            } catch {
              return false
            }
          },
          close: () => client.end().catch(() => undefined),
        }
        this.#sessions.push(session)
        return session
      },
    }
  }

  /** An access and a refresh token of one grant. */
  async mintToken(subject: string): Promise<IssuedTokens> {
    return await this.oauth.issueToken(subject)
  }

  /** All that the catalogue holds of roles and memberships, with the transactions that wrote it. */
  async written(): Promise<unknown[]> {
    const { rows } = await this.as('orders').query(`
      SELECT 'role' AS kind, r.xmin::text AS writer, to_jsonb(r) AS row FROM pg_authid r
       UNION ALL SELECT 'member', m.xmin::text, to_jsonb(m) FROM pg_auth_members m
       ORDER BY 1, 2, 3`)
    return rows
  }

  /** Connections that Rescind's workers have open. */
  async sessionsOfRescind(): Promise<number> {
    const { rows } = await this.as('orders').query<{ count: number }>(
      `SELECT count(*)::int AS count FROM pg_stat_activity WHERE application_name = 'rescind'`,
    )
    return rows[0]?.count ?? 0
  }

  /** Ends them, as the end of a sandbox does. */
  async hangUp(): Promise<void> {
    await this.as('orders').query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rescind'`)
  }

  #pool(as: LocalPostgres['admin']): pg.Pool {
    const { host, port, database } = this.postgres
    const pool = new pg.Pool({ host, port, database, ...as, max: 4 })
    pool.on('error', () => undefined)
    return pool
  }
}

/** What PostgreSQL answers to a role that may not log in: invalid authorization specification. */
export const NOT_PERMITTED = '28000'
