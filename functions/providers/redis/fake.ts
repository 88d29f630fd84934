import { createHash } from 'node:crypto'
import type { AdminLogin } from '../admin-secret.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../contract.ts'
import type { Grants, Node, Settings } from './definition.ts'
import { tagOf } from './names.ts'
import type { Dial } from './nodes.ts'
import type { RedisModule } from './operations.ts'
import { moduleOver } from './operations.ts'
import type { Command, Connection, Reply } from './replies.ts'
import { Failure } from './replies.ts'

export interface FakeUser {
  enabled: boolean
  nopass: boolean
  hashes: string[]
  rules: string[]
  /** Connections that are open. */
  sessions: number
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

/**
 * Redis servers in memory, as far as their users go: what redis.io documents of `ACL SETUSER`, `GETUSER`, `DELUSER`, `LIST`,
 * `SAVE`, `CLIENT KILL`, `CLIENT LIST`, `INFO`, `CLUSTER INFO`, and `MULTI`; their replies are those that Redis
 * 7.0.15 gives. It stands below the provider's own code, in the place of a connection. Deterministic: no clock, no chance.
 */
export class FakeRedis {
  readonly admin: AdminLogin = { user: 'rescind', password: 'fake-admin-password' }
  readonly tag = tagOf(sha256('the tag of the fake'))
  readonly servers: readonly FakeServer[]
  /** What is wrong: nothing answers, the admin is refused, another server answers, no more connections are taken. */
  fault: 'none' | 'down' | 'refused' | 'other' | 'throttled' = 'none'
  /** Every exchange that reached a server, as the commands that it carried. */
  readonly calls: { readonly node: string; readonly commands: readonly Command[] }[] = []
  readonly module: RedisModule
  readonly #other: FakeServer

  /** @param servers how many there are; the first is replicated by the others */
  constructor(servers = 1) {
    const made = Array.from({ length: servers }, (_, index) => new FakeServer(index, this.admin, this.tag))
    for (const [index, server] of made.entries()) if (index === 0) server.replicas = servers - 1
    this.servers = made
    this.#other = new FakeServer(servers, this.admin, tagOf(sha256('the tag of another')))
    const dial: Dial = async (_settings, node, admin) => this.#dial(node, admin)
    this.module = moduleOver(dial)
  }

  settings(overrides: Partial<Settings> = {}): Settings {
    const nodes = this.servers.map(({ index }) => ({ host: `redis-${index}.fake`, port: 6379 }))
    const times = { connectTimeoutMilliseconds: 5000, commandTimeoutMilliseconds: 10_000 }
    return { nodes, tls: { mode: 'disable' }, server: this.tag, keep: 'acl-file', unlisted: 'refused', ...times, ...overrides }
  }

  /** A user at every server. @returns its tag */
  create(name: string, password: string, rules: Grants['rules'] = ['~*', '&*', '+@all']): string {
    const tag = tagOf(sha256(`${name} ${password}`))
    for (const server of this.servers) server.make(name, [`>${password}`, `#${tag}`, 'on', ...rules])
    return tag
  }

  delete(name: string): void {
    for (const { users } of this.servers) users.delete(name)
  }

  /** Opens a connection as the user at each server; undefined where one does not let it in. */
  login(name: string, password: string): { alive(): boolean; close(): void } | undefined {
    const users = this.servers.map((server) => server.letIn(name, password))
    if (users.some((user) => user === undefined)) return undefined
    for (const user of users) if (user !== undefined) user.sessions += 1
    return {
      alive: () => users.every((user) => user !== undefined && user.sessions > 0),
      close: () => {
        for (const user of users) if (user !== undefined) user.sessions = Math.max(0, user.sessions - 1)
      },
    }
  }

  #dial({ host, port }: Node, admin: AdminLogin): Connection {
    const found = this.servers.find(({ index }) => host === `redis-${index}.fake` && port === 6379)
    this.#enter()
    if (this.fault === 'throttled') throw new IssuerThrottled('Redis: the server takes no more connections')
    if (found === undefined) throw new IssuerUnavailable('Redis: no connection (ENOTFOUND)')
    const here = () => (this.fault === 'other' ? this.#other : found)
    if (here().letIn(admin.user, admin.password) === undefined)
      throw new IssuerRefused('Redis: the server refuses the admin password, or its user is off (WRONGPASS)')
    let open = true
    return {
      exchange: async (commands) => {
        this.#enter()
        // Who has its connection keeps it; but a server that throttles has closed them before.
        if (this.fault === 'throttled') throw new IssuerUnavailable('Redis: the connection was closed')
        if (!open) throw new IssuerUnavailable('Redis: the connection was closed')
        if (found.down) throw new IssuerUnavailable('Redis: no connection (ECONNREFUSED)')
        this.calls.push({ node: host, commands })
        return here().run(commands)
      },
      destroy: () => {
        open = false
      },
    }
  }

  #enter(): void {
    if (this.fault === 'down') throw new IssuerUnavailable('Redis: no connection (ECONNREFUSED)')
    if (this.fault === 'refused')
      throw new IssuerRefused('Redis: the server refuses the admin password, or its user is off (WRONGPASS)')
  }
}

export class FakeServer {
  readonly index: number
  readonly users = new Map<string, FakeUser>()
  /** Its ACL file. */
  saved = new Map<string, FakeUser>()
  /** Servers that replicate it. */
  replicas = 0
  down = false
  /** Its disk is full. */
  full = false

  constructor(index: number, admin: AdminLogin, tag: string) {
    this.index = index
    this.make('default', ['nopass', '~*', '&*', '+@all'])
    this.make(admin.user, [`>${admin.password}`, `#${tag}`, 'on', '-@all'])
  }

  make(name: string, rules: readonly string[]): void {
    const failed = this.#setUser(name, rules)
    if (failed instanceof Failure) throw new RangeError(failed.text)
  }

  letIn(name: string, password: string): FakeUser | undefined {
    const user = this.users.get(name)
    return user?.enabled === true && (user.nopass || user.hashes.includes(sha256(password))) ? user : undefined
  }

  /** Starts again: what was not saved is forgotten. */
  restart(): void {
    this.users.clear()
    for (const [name, user] of this.saved) this.users.set(name, { ...structuredClone(user), sessions: 0 })
  }

  run(commands: readonly Command[]): Reply[] {
    let queued: Command[] | undefined
    return commands.map((command): Reply => {
      const [name] = command
      if (name === 'MULTI') {
        queued = []
        return 'OK'
      }
      if (name === 'EXEC') {
        const results = (queued ?? []).map((one) => this.#one(one))
        queued = undefined
        return results
      }
      if (queued === undefined) return this.#one(command)
      queued.push(command)
      return 'QUEUED'
    })
  }

  #one([name, ...args]: Command): Reply {
    const [first = '', second = '', ...rest] = args
    switch (`${name} ${first}`) {
      case 'ACL GETUSER':
        return described(this.users.get(second))
      case 'ACL SETUSER':
        return this.#setUser(second, rest)
      case 'ACL DELUSER':
        return this.users.delete(second) ? 1 : 0
      case 'ACL LIST':
        return [...this.users].map(([user, { enabled, nopass, hashes, rules }]) =>
          [
            'user',
            user,
            enabled ? 'on' : 'off',
            ...(nopass ? ['nopass'] : []),
            ...hashes.map((hash) => `#${hash}`),
            ...rules,
          ].join(' '),
        )
      case 'ACL SAVE':
        if (this.full)
          return new Failure('ERR There was an error trying to save the ACLs. Please check the server logs for more information')
        this.saved = structuredClone(this.users)
        return 'OK'
      case 'CLIENT KILL':
        return this.#kill(args[2] ?? '')
      case 'CLIENT LIST':
        return [...this.users]
          .flatMap(([user, { sessions }]) => Array.from({ length: sessions }, (_, id) => `id=${id} name= user=${user} redir=-1`))
          .join('\n')
      case 'INFO server':
        return `# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:${sha256(String(this.index))}\r\n`
      case 'INFO replication':
        return this.index === 0
          ? `# Replication\r\nrole:master\r\nconnected_slaves:${this.replicas}\r\nmaster_replid:${sha256('replication')}\r\n`
          : `# Replication\r\nrole:slave\r\nmaster_link_status:up\r\nconnected_slaves:0\r\nmaster_replid:${sha256('replication')}\r\n`
      default:
        return new Failure(`ERR unknown command '${name}'`)
    }
  }

  #kill(name: string): Reply {
    const user = this.users.get(name)
    if (user === undefined) return new Failure(`ERR No such user '${name}'`)
    const { sessions } = user
    user.sessions = 0
    return sessions
  }

  /** All rules or none; a user that is not there is made: off, without password, command, key and channel. */
  #setUser(name: string, rules: readonly string[]): Reply {
    if (/[\0 \t\n\v\f\r]/.test(name)) return new Failure("ERR Usernames can't contain spaces or null characters")
    const old = this.users.get(name)
    const user: FakeUser = old === undefined ? newcomer() : structuredClone(old)
    for (const rule of rules) {
      const failed = apply(user, rule)
      if (failed !== undefined) return new Failure(`ERR Error in ACL SETUSER modifier '${rule}': ${failed}`)
    }
    if (old === undefined) this.users.set(name, user)
    else Object.assign(old, { ...user, sessions: old.sessions })
    return 'OK'
  }
}

const newcomer = (): FakeUser => ({ enabled: false, nopass: false, hashes: [], rules: ['resetchannels', '-@all'], sessions: 0 })

function described(user: FakeUser | undefined): Reply {
  if (user === undefined) return null
  const { enabled, nopass, hashes, rules } = user
  const flags = [enabled ? 'on' : 'off', ...(nopass ? ['nopass'] : [])]
  return ['flags', flags, 'passwords', [...hashes], 'commands', rules.join(' '), 'keys', '', 'channels', '', 'selectors', []]
}

/** @returns why the rule is not taken */
function apply(user: FakeUser, rule: string): string | undefined {
  const hash = rule.startsWith('>') || rule.startsWith('<') ? sha256(rule.slice(1)) : rule.slice(1)
  switch (rule[0]) {
    case '#':
    case '>':
      user.nopass = false
      if (!user.hashes.includes(hash)) user.hashes.push(hash)
      return undefined
    case '!':
    case '<':
      if (!user.hashes.includes(hash)) return 'The password you are trying to remove from the user does not exist'
      user.hashes = user.hashes.filter((one) => one !== hash)
      return undefined
    default:
  }
  if (rule === 'on' || rule === 'off') user.enabled = rule === 'on'
  else if (rule === 'nopass') Object.assign(user, { nopass: true, hashes: [] })
  else if (/^(?:[+-]@?[a-z|-]+|[~&%(].*|all(?:keys|channels|commands)|nocommands)$/.test(rule)) user.rules.push(rule)
  else return 'Syntax error'
  return undefined
}
