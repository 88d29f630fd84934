import { createHash } from 'node:crypto'
import type { AdminLogin } from '../admin-secret.ts'
import { IssuerRefused, IssuerUnavailable } from '../contract.ts'
import type { Settings } from './definition.ts'
import { DEFINERS, dialectOf, SESSIONS } from './dialect.ts'
import type { Account } from './names.ts'
import { roleOf } from './names.ts'
import type { MysqlModule } from './operations.ts'
import { moduleOver } from './operations.ts'
import type { Open, Row, Session, Value } from './session.ts'
import { errno, issuerError, SqlFailure } from './session.ts'

export interface FakeAccount extends Account {
  locked: boolean
  readonly password: string
  readonly roles: Set<string>
  /** It has SYSTEM_USER: whoever lacks that cannot touch it. */
  readonly isSystem: boolean
}

const VERSION = '8.4.3'
const DIALECT = dialectOf(VERSION)
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
const NAME = /`((?:[^`]|``)*)`@(?:`((?:[^`]|``)*)`|'')/g

/**
 * A MySQL 8.4 server in memory, as far as its accounts go: made from the MySQL 8.4 Reference Manual ("Account Management
 * Statements", "Using Roles", "KILL", "Server Error Message Reference"), never compared with a real one. It stands below
 * the provider's own code, in the place of a connection, and reads the statements that this sends. Deterministic: no
 * clock, no chance.
 */
export class FakeMysql {
  readonly admin: AdminLogin = { user: 'rescind', password: 'fake-admin-password' }
  readonly uuid = '8a9f1b2c-0000-11ef-8000-0242ac110002'
  readonly module: MysqlModule
  readonly accounts = new Map<string, FakeAccount>()
  /** Open sessions, by id, with the name of their user; those of a dropped account go on. */
  readonly sessions = new Map<number, string>()
  /** Of views: their definer, as `user@host`. */
  readonly views: string[] = []
  /** What is wrong: nothing answers, the admin is refused, another server answers, too many connections. */
  fault: 'none' | 'down' | 'refused' | 'other' | 'throttled' = 'none'
  /** Privileges of the admin on everything. */
  privileges = [
    ...['CREATE USER', 'PROCESS', 'CONNECTION_ADMIN', 'ROLE_ADMIN'],
    ...['SHOW VIEW', 'TRIGGER', 'EVENT', 'SHOW_ROUTINE'],
  ]
  isReadOnly = false
  /** Every statement that reached the server. */
  readonly calls: string[] = []
  #nextSession = 10

  constructor() {
    const open: Open = async (_settings, admin) => this.#open(admin)
    this.module = moduleOver(open)
    this.make({ user: this.admin.user, host: '%' }, this.admin.password)
    this.make({ user: 'root', host: 'localhost' }, 'root-password', { isSystem: true })
  }

  settings(overrides: Partial<Settings> = {}): Settings {
    const times = { connectTimeoutMilliseconds: 5000, statementTimeoutMilliseconds: 10_000 }
    const network = { host: 'db.fake', port: 3306, tls: { mode: 'disable' } } as const
    return { ...network, server: { by: 'uuid', uuid: this.uuid }, ...times, ...overrides }
  }

  /** A user at some hosts. @returns its tag */
  create(user: string, password: string, hosts: readonly string[] = ['%'], isSystem = false): string {
    const tag = sha256(`${user} ${password}`).slice(0, 24)
    for (const host of hosts) this.make({ user, host }, password, { isSystem }).roles.add(roleOf(tag))
    return tag
  }

  make({ user, host }: Account, password: string, { isSystem = false, locked = false } = {}): FakeAccount {
    const key = JSON.stringify([user, host])
    if (this.accounts.has(key)) throw new SqlFailure(errno.cannotUser)
    const account = { user, host, password, isSystem, locked, roles: new Set<string>() }
    this.accounts.set(key, account)
    return account
  }

  /** DROP USER, at every host: its sessions go on. */
  drop(user: string): void {
    for (const [key, account] of this.accounts) if (account.user === user) this.accounts.delete(key)
  }

  /** Opens a session; undefined where no account lets it in. */
  login(user: string, password: string): { alive(): boolean; close(): void } | undefined {
    const account = [...this.accounts.values()].find((one) => one.user === user && one.password === password)
    if (account === undefined || account.locked) return undefined
    const id = this.#nextSession
    this.#nextSession += 1
    this.sessions.set(id, user)
    return { alive: () => this.sessions.has(id), close: () => void this.sessions.delete(id) }
  }

  #open(admin: AdminLogin): Session {
    this.#enter()
    if (this.fault === 'throttled') throw issuerError(new SqlFailure(1040))
    if (this.login(admin.user, admin.password) === undefined) throw issuerError(new SqlFailure(1045))
    const id = this.#nextSession - 1
    let open = true
    return {
      query: async (statement, values = []) => {
        this.#enter()
        // Who has its connection keeps it; but a server that throttles has closed them before.
        if (!open || this.fault === 'throttled' || !this.sessions.has(id))
          throw new IssuerUnavailable('MySQL: no answer to rely on (closed)')
        this.calls.push(statement)
        return this.#run(statement.trim(), values, id)
      },
      destroy: () => {
        open = false
        this.sessions.delete(id)
      },
    }
  }

  #enter(): void {
    if (this.fault === 'down') throw new IssuerUnavailable('MySQL: no answer to rely on (ECONNREFUSED)')
    if (this.fault === 'refused') throw new IssuerRefused('MySQL: the server refuses the admin (1045)')
  }

  #run(statement: string, values: readonly Value[], own: number): Row[] {
    const asked = (look: string) => statement.startsWith(look.trim().replace(/\(\?\)[\s\S]*/, ''))
    const names = new Set(values)
    const all = [...this.accounts.values()].filter(({ user }) => names.has(user))
    if (statement.startsWith('SELECT VERSION()')) return [{ version: VERSION, admin: `${this.admin.user}@%` }]
    if (statement === DIALECT.preflight) return this.#about(String(values[0]))
    if (statement.startsWith('SHOW GRANTS')) return [{ g: `GRANT ${this.privileges.join(', ')} ON *.* TO \`rescind\`@\`%\`` }]
    if (asked(DIALECT.accounts)) return all.map(({ user, host, locked }) => ({ user, host, locked: locked ? 1 : 0, role: 0 }))
    if (asked(DIALECT.roles)) return all.flatMap(({ user, host, roles }) => [...roles].map((role) => ({ user, host, role })))
    if (asked(SESSIONS))
      // The table's collation takes upper and lower case for the same.
      return [...this.sessions].flatMap(([id, user]) =>
        id !== own && [...names].some((name) => String(name).toLowerCase() === user.toLowerCase()) ? [{ id, user }] : [],
      )
    if (statement.startsWith(DIALECT.page)) return this.#page(String(values[0]), Number(statement.slice(DIALECT.page.length)))
    if (statement === DIALECT.holders)
      return [{ holders: [...this.accounts.values()].filter(({ roles }) => roles.has(String(values[0]))).length }]
    if (statement === DEFINERS.trim()) return this.views.map((definer) => ({ definer, kind: 'view', objects: 1 }))
    this.#change(statement)
    return []
  }

  #about(marker: string): Row[] {
    const isOther = this.fault === 'other'
    const marked = this.accounts.has(JSON.stringify(['rescind_server', marker])) && !isOther
    const uuid = isOther ? 'another0-0000-0000-0000-000000000000' : this.uuid
    return [{ readonly: this.isReadOnly ? 1 : 0, marked: marked ? 1 : 0, uuid }]
  }

  #page(from: string, most: number): Row[] {
    const users = [...new Set([...this.accounts.values()].map(({ user }) => user))]
    const after = users.filter((user) => Buffer.compare(Buffer.from(user), Buffer.from(from)) > 0)
    return after
      .sort((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)))
      .slice(0, most)
      .map((user) => ({ user }))
  }

  #change(statement: string): void {
    const [verb = ''] =
      /^(KILL|DO SLEEP|SET SESSION|SHOW GLOBAL STATUS|CREATE ROLE|DROP ROLE|CREATE USER|DROP USER|ALTER USER|GRANT|REVOKE)/.exec(
        statement,
      ) ?? [undefined]
    switch (verb) {
      case 'DO SLEEP':
      case 'SET SESSION':
      case 'SHOW GLOBAL STATUS':
        return
      case 'KILL':
        if (!this.sessions.delete(Number(statement.slice(5)))) throw new SqlFailure(errno.unknownThread)
        return
      case 'CREATE ROLE':
      case 'DROP ROLE': {
        // A role of MySQL is an account that is locked.
        const [, , role = ''] = /ROLE (IF (?:NOT )?EXISTS )?`([^`]+)`/.exec(statement) ?? []
        if (verb === 'DROP ROLE') this.drop(role)
        else if (!this.accounts.has(JSON.stringify([role, '%']))) this.make({ user: role, host: '%' }, '', { locked: true })
        return
      }
      case 'CREATE USER': {
        const [account] = accountsIn(statement)
        const [, password = ''] = /IDENTIFIED BY '([^']+)'/.exec(statement) ?? []
        if (account !== undefined) this.make(account, password, { locked: statement.endsWith(' ACCOUNT LOCK') })
        return
      }
      case 'DROP USER':
      case 'ALTER USER':
        this.#alter(verb, statement)
        return
      case 'GRANT':
      case 'REVOKE': {
        const [, role] = /^(?:GRANT|REVOKE) `([^`]+)` (?:TO|FROM) /.exec(statement) ?? []
        // A privilege on a database: the admin of the fake has it to give.
        if (role === undefined) return
        const accounts = accountsIn(statement).map((name) => this.accounts.get(JSON.stringify([name.user, name.host])))
        if (accounts.some((account) => account === undefined)) throw new SqlFailure(UNKNOWN_AUTHORISATION)
        for (const account of accounts) {
          if (verb === 'GRANT') account?.roles.add(role)
          else account?.roles.delete(role)
        }
        return
      }
      default:
        throw new SqlFailure(SYNTAX)
    }
  }

  /** All accounts or none; `IF EXISTS` skips those that are not there. */
  #alter(verb: 'DROP USER' | 'ALTER USER', statement: string): void {
    const found = accountsIn(statement).flatMap((name) => this.accounts.get(JSON.stringify([name.user, name.host])) ?? [])
    if (found.some(({ isSystem }) => isSystem)) throw new SqlFailure(errno.specificAccess)
    if (verb === 'DROP USER' && found.some(({ user, host }) => this.views.includes(`${user}@${host}`)))
      throw new SqlFailure(errno.definerInUse)
    for (const account of found) {
      if (verb === 'DROP USER') this.accounts.delete(JSON.stringify([account.user, account.host]))
      else account.locked = statement.endsWith(' ACCOUNT LOCK')
    }
  }
}

const SYNTAX = 1064
/** ER_UNKNOWN_AUTHID. */
const UNKNOWN_AUTHORISATION = 3523

function accountsIn(statement: string): Account[] {
  return [...statement.matchAll(NAME)].map(([, user = '', host = '']) => ({
    user: user.replaceAll('``', '`'),
    host: host.replaceAll('``', '`'),
  }))
}
