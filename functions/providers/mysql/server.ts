import { readAdminLogin } from '../admin-secret.ts'
import type { IssuerHandle, Tools } from '../contract.ts'
import { IssuerRefused, IssuerUnavailable } from '../contract.ts'
import type { Settings } from './definition.ts'
import type { Dialect } from './dialect.ts'
import { CLUSTER, dialectOf } from './dialect.ts'
import { MARK, quoted } from './names.ts'
import type { Open, Row, Session, Value } from './session.ts'
import { errno, errnoOf, issuerError, SqlFailure } from './session.ts'

/** A connection to the right server, with the rights that a cut needs. */
export interface Line {
  readonly session: Session
  readonly dialect: Dialect
  /** The user that it is logged in as, as the server sees it. */
  readonly admin: string
  /** Privileges on everything (`*.*`), by name. */
  readonly privileges: ReadonlySet<string>
}

/**
 * One server. Each piece of work has a connection to itself and begins with the question who answers; one idle connection
 * is kept for the next. A connection that went stale in the meantime (a frozen worker) fails at that question and is replaced.
 */
export class Server {
  readonly #settings: Settings
  readonly #tools: Tools
  readonly #open: Open
  #idle: Line | undefined
  #closed = false

  constructor(issuer: IssuerHandle<Settings>, tools: Tools, open: Open) {
    this.#settings = issuer.settings
    this.#tools = tools
    this.#open = open
  }

  async use<Result>(work: (line: Line) => Promise<Result>): Promise<Result> {
    const line = (await this.#reuse()) ?? (await this.#begin())
    try {
      const result = await work(line)
      if (this.#idle === undefined && !this.#closed) this.#idle = line
      else line.session.destroy()
      return result
    } catch (error) {
      line.session.destroy()
      if (error instanceof SqlFailure) throw issuerError(error)
      throw error
    }
  }

  close(): void {
    this.#closed = true
    this.#idle?.session.destroy()
    this.#idle = undefined
  }

  async #reuse(): Promise<Line | undefined> {
    const line = this.#idle
    this.#idle = undefined
    if (line === undefined) return undefined
    try {
      await this.#check(line.session, line.dialect)
      return line
    } catch (error) {
      line.session.destroy()
      if (error instanceof IssuerUnavailable) return undefined
      throw error
    }
  }

  async #begin(): Promise<Line> {
    const session = await this.#open(this.#settings, readAdminLogin(await this.#tools.adminSecret()))
    try {
      const [about] = await session.query('SELECT VERSION() AS version, CURRENT_USER() AS admin')
      const dialect = dialectOf(textOf(about, 'version'))
      await this.#check(session, dialect)
      const privileges = privilegesIn(await session.query('SHOW GRANTS FOR CURRENT_USER()'))
      const lacking = dialect.needs.find((any) => !holds(privileges, [any]))
      if (lacking !== undefined) throw new IssuerRefused(`${dialect.name}: the admin lacks ${lacking[0]} on *.*`)
      const [cluster] = await session.query(CLUSTER)
      if (Number(cluster?.['Value'] ?? 0) > 1)
        throw new IssuerRefused('MariaDB: this server is one of a Galera cluster, whose other servers have sessions of their own')
      const seconds = Math.max(1, Math.floor(this.#settings.statementTimeoutMilliseconds / 3000))
      await session.query(`${dialect.prepare}${seconds}`)
      await session.query(`CREATE ROLE IF NOT EXISTS ${quoted(MARK)}`)
      const account = textOf(about, 'admin')
      return { session, dialect, admin: account.slice(0, account.lastIndexOf('@')), privileges }
    } catch (error) {
      session.destroy()
      if (error instanceof SqlFailure) throw issuerError(error)
      throw error
    }
  }

  /** Who answers; asked before anything else on every connection. */
  async #check(session: Session, dialect: Dialect): Promise<void> {
    const { server } = this.#settings
    let row: Row | undefined
    try {
      const values: Value[] = [server.by === 'marker' ? server.marker : '']
      const rows = await session.query(dialect.preflight, values)
      row = rows[0]
    } catch (error) {
      const number = errnoOf(error)
      if (errno.accessDenied.some((one) => one === number))
        throw new IssuerRefused(`${dialect.name}: the admin may not read the accounts: it lacks SELECT on mysql.* (${number})`)
      throw issuerError(new SqlFailure(number))
    }
    const isOurs = server.by === 'marker' ? Number(row?.['marked'] ?? 0) > 0 : row?.['uuid'] === server.uuid
    if (!isOurs)
      throw new IssuerRefused(`${dialect.name}: another server answers here: it does not have the ${server.by} of this issuer`)
    // A replica has its primary's accounts, and the marker among them, but neither its sessions nor its newest accounts.
    if (!['0', 'OFF'].includes(String(row?.['readonly'])))
      throw new IssuerUnavailable(`${dialect.name}: a replica answers here (read_only), accounts are cut at the primary`)
  }
}

/** Whether of each list one is held. */
export const holds = (privileges: ReadonlySet<string>, needs: readonly (readonly string[])[]): boolean =>
  privileges.has('ALL PRIVILEGES') || needs.every((any) => any.some((one) => privileges.has(one)))

/** `GRANT PROCESS, CREATE USER ON *.* TO ...`: what is granted through roles does not count, since roles can be off. */
function privilegesIn(rows: readonly Row[]): Set<string> {
  const held = new Set<string>()
  for (const row of rows) {
    const [, list = ''] = /^GRANT (.+?) ON \*\.\* TO /.exec(String(Object.values(row)[0] ?? '')) ?? []
    for (const one of list.split(',')) if (one.trim() !== '') held.add(one.trim().toUpperCase())
  }
  return held
}

export function textOf(row: Row | undefined, name: string): string {
  const value = row?.[name]
  if (typeof value === 'string') return value
  if (typeof value === 'number') return String(value)
  throw new IssuerUnavailable('MySQL: a row lacks what was asked for')
}
