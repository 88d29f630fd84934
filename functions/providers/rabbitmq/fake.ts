import { createHash } from 'node:crypto'
import type { ProviderModule } from '../contract.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../contract.ts'
import type { Management, User, Written } from './api.ts'
import type { Grants, Settings, Target } from './definition.ts'
import { moduleOver } from './provider.ts'

interface FakeUser {
  hash: string
  limit: number | undefined
  readonly tags: readonly string[]
  readonly connections: Set<object>
}

/**
 * A RabbitMQ cluster in memory, made from the description that the management plugin serves of its HTTP API
 * (`/api/index.html`) and what 3.10 showed: a write makes a user that is not there, deleting one closes its connections,
 * closing connections is always answered well. Deterministic: no clock, no chance.
 */
export class FakeRabbitmq {
  readonly admin = { user: 'rescind', password: 'fake-admin-password' }
  readonly cluster = 'rabbitmq-cluster-id-fake'
  readonly module: ProviderModule<Target, never, never, Settings, Grants> = moduleOver((settings) => ({
    open: (_, secret) => this.#open(settings, secret),
    close: () => undefined,
  }))
  readonly users = new Map<string, FakeUser>()
  fault: 'none' | 'down' | 'refused' | 'other' | 'throttled' = 'none'
  /** Every call that reached the cluster, in order. */
  readonly calls: string[] = []
  /** Connections of those whom another authentication backend lets in. */
  readonly outside = new Map<string, number>()
  /** Runs before the call of that name: what somebody else does in between. */
  before: ((call: string) => void) | undefined
  #salt = 0

  constructor() {
    this.create(this.admin.user, this.admin.password, ['administrator'])
  }

  settings(overrides: Partial<Settings> = {}): Settings {
    return { url: 'https://rabbit.fake', cluster: this.cluster, timeoutMilliseconds: 5000, ...overrides }
  }

  create(name: string, password: string, tags: readonly string[] = []): void {
    const old = this.users.get(name)
    const limit = old?.limit
    this.users.set(name, { hash: this.#hashOf(password), limit, tags, connections: old?.connections ?? new Set() })
  }

  drop(name: string): void {
    this.users.get(name)?.connections.clear()
    this.users.delete(name)
  }

  /** Opens a connection; `undefined` where it is refused. */
  login(name: string, password: string): { alive(): boolean; close(): void } | undefined {
    const user = this.users.get(name)
    if (user === undefined || user.hash !== this.#hashOf(password, Buffer.from(user.hash, 'base64').subarray(0, 4)))
      return undefined
    if (user.limit !== undefined && user.connections.size >= user.limit) return undefined
    const connection = {}
    const { connections } = user
    connections.add(connection)
    return { alive: () => connections.has(connection), close: () => connections.delete(connection) }
  }

  #hashOf(password: string, salt?: Buffer): string {
    if (salt === undefined) this.#salt += 1
    const own = salt ?? Buffer.from(this.#salt.toString(16).padStart(8, '0'), 'hex')
    return Buffer.concat([own, createHash('sha256').update(own).update(password).digest()]).toString('base64')
  }

  #open(settings: Settings, secret: string): Management {
    const call = <Result>(name: string, work: () => Result) => {
      if (this.fault === 'down') throw new IssuerUnavailable('RabbitMQ: no connection (ECONNREFUSED)')
      if (this.fault === 'throttled') throw new IssuerThrottled('RabbitMQ: the server answers 429', { afterSeconds: 7 })
      if (this.fault === 'refused' || secret !== JSON.stringify(this.admin)) {
        throw new IssuerRefused('RabbitMQ: the server does not let the admin user in (401)')
      }
      this.before?.(name)
      this.calls.push(name)
      return work()
    }
    const shown = (name: string, { hash, tags, limit }: FakeUser): User => ({
      ...{ name, password_hash: hash, hashing_algorithm: 'rabbit_password_hashing_sha256', tags: [...tags] },
      limits: limit === undefined ? {} : { 'max-connections': limit },
    })
    const put = (name: string, hash: string, tags: readonly string[]): Written => {
      const old = this.users.get(name)
      this.users.set(name, { hash, tags, limit: old?.limit, connections: old?.connections ?? new Set() })
      return old === undefined ? 'made' : 'changed'
    }
    return {
      admin: this.admin.user,
      recognise: async () =>
        call('recognise', () => {
          if (this.fault === 'other' || settings.cluster !== this.cluster)
            throw new IssuerRefused('RabbitMQ: another cluster answers here')
        }),
      user: async (name) =>
        call('user', () => {
          const user = this.users.get(name)
          return user === undefined ? undefined : shown(name, user)
        }),
      users: async () => call('users', () => [...this.users].map(([name, user]) => shown(name, user))),
      putHash: async ({ name, tags }, hash) => call('putHash', () => put(name, hash, [tags].flat())),
      deleteUser: async (name) =>
        call('deleteUser', () => {
          const had = this.users.has(name)
          this.drop(name)
          return had
        }),
      putLimit: async (name, limit) =>
        call('putLimit', () => {
          const user = this.users.get(name)
          if (user === undefined) return 'no-user'
          user.limit = limit
          return 'changed'
        }),
      connections: async (name) =>
        call('connections', () => this.users.get(name)?.connections.size ?? this.outside.get(name) ?? 0),
      closeConnections: async (name) => call('closeConnections', () => this.users.get(name)?.connections.clear()),
      hasVhost: async (name) => call('hasVhost', () => name === '/'),
      permit: async (_user, _vhost, { configure, write, read }) =>
        call('permit', () => ([configure, write, read].includes('(') ? 'the server does not take these permissions' : undefined)),
      pause: async () => undefined,
    }
  }
}
