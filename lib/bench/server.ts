import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import type { LocalPostgres } from '../local/issuers/postgres.ts'
import { freePort, startPostgres } from '../local/issuers/postgres.ts'
import { cpuOfFamily } from './pipeline.ts'

/** Roles of one set: `p` of the pipeline, `a` and `b` of the loops, `s` of the search. */
export interface Role {
  readonly name: string
  readonly oid: string
}

/** The real server: started on a port of its own, its data put back between runs. */
export class Server {
  readonly password: string = randomBytes(12).toString('hex')
  readonly #folder: string
  readonly #port: number
  #running: LocalPostgres | undefined
  #pool: pg.Pool | undefined

  private constructor(folder: string, port: number) {
    this.#folder = folder
    this.#port = port
  }

  static async start(folder: string): Promise<Server> {
    const server = new Server(folder, await freePort())
    await server.#start()
    return server
  }

  async #start(): Promise<void> {
    const settings = {
      max_connections: '700',
      // Tells when each role was last changed: the moment of a credential's death, without anybody who looks for it.
      track_commit_timestamp: 'on',
    }
    this.#running = await startPostgres({ folder: this.#folder, port: this.#port, settings })
    this.#pool = this.pool(8)
  }

  get about(): LocalPostgres {
    if (this.#running === undefined) throw new Error('the server does not run')
    return this.#running
  }

  get admin(): pg.Pool {
    if (this.#pool === undefined) throw new Error('the server does not run')
    return this.#pool
  }

  get connection() {
    const { host, port, database, admin } = this.about
    return { host, port, database, ...admin }
  }

  /** Connections of the admin's. */
  pool(max: number): pg.Pool {
    const pool = new pg.Pool({ ...this.connection, max })
    pool.on('error', () => undefined)
    return pool
  }

  async stop(): Promise<void> {
    await this.#pool?.end()
    await this.#running?.stop()
    this.#pool = undefined
    this.#running = undefined
  }

  /** Keeps the data as it is now. */
  async keep(): Promise<void> {
    const { data, kept } = this.#places
    await this.stop()
    rmSync(kept, { recursive: true, force: true })
    execFileSync('cp', ['-a', data, kept])
    await this.#start()
  }

  /** Puts the data back as it was kept: the same roles, with the same oids. */
  async putBack(): Promise<void> {
    const { data, kept } = this.#places
    await this.stop()
    rmSync(data, { recursive: true, force: true })
    execFileSync('cp', ['-a', kept, data])
    await this.#start()
  }

  get #places() {
    const { files } = this.about
    return { data: join(files, 'data'), kept: join(files, 'kept') }
  }

  /** Seconds of CPU of the server and its sessions so far. */
  cpu(): number {
    const pid = Number(readFileSync(join(this.#places.data, 'postmaster.pid'), 'utf8').split('\n')[0])
    return cpuOfFamily(pid)
  }

  /** Removes the files that lie outside of the benchmark's folder. */
  async remove(): Promise<void> {
    const { files } = this.about
    await this.stop()
    rmSync(files, { recursive: true, force: true })
  }

  /** Login roles with the one password, whose verifier is computed once: SCRAM costs thousands of hashes each. */
  async makeRoles(set: string, count: number): Promise<Role[]> {
    const model = `${set}_model`
    await this.admin.query(`DROP ROLE IF EXISTS ${model}`)
    await this.admin.query(`CREATE ROLE ${model} LOGIN PASSWORD ${pg.escapeLiteral(this.password)}`)
    const { rows } = await this.admin.query<{ verifier: string }>(
      'SELECT rolpassword AS verifier FROM pg_authid WHERE rolname = $1',
      [model],
    )
    await this.admin.query(`DROP ROLE ${model}`)
    const verifier = pg.escapeLiteral(rows[0]?.verifier ?? '')
    for (let first = 0; first < count; first += 500) {
      const names = Array.from({ length: Math.min(500, count - first) }, (_, place) => nameOf(set, first + place))
      await this.admin.query(names.map((name) => `CREATE ROLE ${name} LOGIN PASSWORD ${verifier}`).join(';'))
    }
    return this.roles(set)
  }

  async roles(set: string): Promise<Role[]> {
    const { rows } = await this.admin.query<Role>(
      `SELECT rolname AS name, oid::text AS oid FROM pg_roles WHERE rolname LIKE $1 ORDER BY rolname`,
      [`${set}\\_%`],
    )
    return rows
  }

  /** What is left of a set. */
  async left(set: string): Promise<{ readonly exist: number; readonly login: number; readonly sessions: number }> {
    const { rows } = await this.admin.query<{ exist: number; login: number; sessions: number }>(
      `SELECT count(*)::int AS exist, count(*) FILTER (WHERE rolcanlogin)::int AS login,
              (SELECT count(*)::int FROM pg_stat_activity WHERE usename LIKE $1) AS sessions
         FROM pg_roles WHERE rolname LIKE $1`,
      [`${set}\\_%`],
    )
    return rows[0] ?? { exist: 0, login: 0, sessions: 0 }
  }

  /** The last moment at which a role of the set was changed, in milliseconds since 1970: NOLOGIN, by its commit. */
  async lastChange(set: string): Promise<number> {
    const { rows } = await this.admin.query<{ at: string }>(
      `SELECT (extract(epoch FROM max(pg_xact_commit_timestamp(xmin))) * 1000)::text AS at FROM pg_authid WHERE rolname LIKE $1`,
      [`${set}\\_%`],
    )
    return Number(rows[0]?.at)
  }

  /** Sessions of consumers, open until the server ends them. */
  async openSessions(roles: readonly Role[]): Promise<Sessions> {
    const { host, port, database } = this.about
    const ends: number[] = []
    const clients: pg.Client[] = []
    for (let first = 0; first < roles.length; first += 20)
      await Promise.all(
        roles.slice(first, first + 20).map(async ({ name }) => {
          const client = new pg.Client({ host, port, database, user: name, password: this.password })
          // The server says goodbye, then the connection ends: the first of the two is the end.
          let ended = false
          const end = () => {
            if (!ended) ends.push(performance.timeOrigin + performance.now())
            ended = true
          }
          client.on('error', end)
          client.on('end', end)
          await client.connect()
          clients.push(client)
        }),
      )
    return {
      ends,
      opened: clients.length,
      close: async () => void (await Promise.all(clients.map((client) => client.end().catch(() => undefined)))),
    }
  }

  /** How many of these roles can log in. */
  async logins(roles: readonly Role[]): Promise<number> {
    const { host, port, database } = this.about
    let worked = 0
    for (const { name } of roles) {
      const client = new pg.Client({ host, port, database, user: name, password: this.password })
      client.on('error', () => undefined)
      const entered = await client.connect().then(
        () => true,
        () => false,
      )
      if (entered) worked += 1
      await client.end().catch(() => undefined)
    }
    return worked
  }
}

export interface Sessions {
  /** When the server ended them, in milliseconds since 1970. */
  readonly ends: readonly number[]
  readonly opened: number
  close(): Promise<void>
}

export const nameOf = (set: string, place: number): string => `${set}_${String(place).padStart(8, '0')}`
