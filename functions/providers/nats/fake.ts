import { createHash } from 'node:crypto'
import type { ProviderModule } from '../contract.ts'
import { IssuerRefused, IssuerUnavailable } from '../contract.ts'
import type { Lever, Settings, Target } from './definition.ts'
import { moduleOver } from './provider.ts'
import { holdOf, readRevocations } from './revocations.ts'
import type { Open, Servers } from './session.ts'
import type { Claims } from './token.ts'
import { claimsOf, signToken } from './token.ts'

/**
 * NATS servers of one operator in memory, made from docs.nats.io ("Running a NATS service", JWT authentication, resolver,
 * system account) and what nats-server 2.9 showed: a push replaces an account's token as a whole and closes whom it
 * revokes, a revocation is dated, users are not kept anywhere. Deterministic: no clock, no chance, no signatures.
 */
export class FakeNats {
  readonly admin = { userToken: 'fake-user-token', userSeed: 'fake-user-seed', signingSeed: 'fake-signing-seed' }
  readonly operator = fakeKey('O', 'operator')
  readonly systemAccount = fakeKey('A', 'system')
  readonly ownUser = fakeKey('U', 'rescind')
  readonly module: ProviderModule<Target, never, Lever, Settings> = moduleOver((settings, secret) => this.#open(settings, secret))
  /** By account: what the servers enforce. */
  readonly accounts = new Map<string, Claims>()
  fault: 'none' | 'down' | 'refused' | 'other' = 'none'
  /** So many next pushes are taken, and their answers lost. */
  answersLost = 0
  /** `max_payload` */
  largest = 1_048_576
  /** Every push that reached the servers, in order. */
  readonly pushes: string[] = []
  /** Open connections, by account. */
  readonly #connections = new Map<string, Set<Open>>()
  /** Pushes that came by, for each of those who listen. */
  readonly #listeners = new Set<Claims[]>()
  #serial = 0

  settings(overrides: Partial<Settings> = {}): Settings {
    const network = { host: 'nats.fake', port: 4222, tls: { mode: 'disable' } } as const
    return { ...network, operator: this.operator, servers: 1, timeoutMilliseconds: 5000, ...overrides }
  }

  account(): string {
    this.#serial += 1
    const account = fakeKey('A', String(this.#serial))
    this.accounts.set(account, { sub: account, iss: this.operator, iat: 1, nats: { type: 'account' } })
    return account
  }

  /** A user's key: no server learns of it before its first login. */
  user(): string {
    this.#serial += 1
    return fakeKey('U', String(this.#serial))
  }

  /** What another admin does: reads the token, changes it, pushes it. */
  change(account: string, change: (nats: Claims['nats']) => Claims['nats']): void {
    const claims = this.accounts.get(account)
    if (claims !== undefined) this.#push(signToken({ ...claims, nats: change(claims.nats) }, this.#signer, claims.iat + 1).token)
  }

  /** Opens a connection with a JWT that was signed then; `undefined` where it is refused. */
  login(account: string, user: string, issuedAt: number): { alive(): boolean; close(): void } | undefined {
    const claims = this.accounts.get(account)
    if (claims === undefined || holdOf(readRevocations(claims), user, issuedAt) !== 'none') return undefined
    const connection = { user, issuedAt }
    const open = this.#connections.get(account) ?? new Set()
    this.#connections.set(account, open.add(connection))
    return { alive: () => open.has(connection), close: () => open.delete(connection) }
  }

  get #signer() {
    return { publicKey: this.operator, sign: () => new Uint8Array(64) }
  }

  async #open(settings: Settings, secret: string): Promise<Servers> {
    this.#enter(settings)
    if (secret !== JSON.stringify(this.admin)) throw new IssuerRefused('NATS: the server does not let the admin user in')
    const seen: Claims[] = []
    this.#listeners.add(seen)
    const { systemAccount, ownUser } = this
    const servers: Servers = {
      ...{
        signer: this.#signer,
        ownUser,
        systemAccount,
        largest: this.largest,
        servers: 1,
        missing: 0,
        pushed: false,
        usable: true,
      },
      begin: async () => {
        this.#enter(settings)
        servers.pushed = false
      },
      enforced: async (account) => {
        this.#enter(settings)
        const claims = this.accounts.get(account)
        return claims === undefined ? undefined : [claims]
      },
      pushedSince: (account) => seen.splice(0).filter(({ sub }) => sub === account),
      lastPushed: (account) => this.accounts.get(account),
      push: async (token) => {
        this.#enter(settings)
        this.#push(token)
        if (this.answersLost > 0) {
          this.answersLost -= 1
          throw new IssuerUnavailable('NATS: the server closed the connection')
        }
      },
      open: async (account) => [...(this.#connections.get(account) ?? [])],
      pause: async () => undefined,
      destroy: () => {
        this.#listeners.delete(seen)
      },
    }
    return servers
  }

  #enter(settings: Settings): void {
    if (this.fault === 'down') throw new IssuerUnavailable('NATS: no connection (ECONNREFUSED)')
    if (this.fault === 'refused') throw new IssuerRefused('NATS: the server does not let the admin user in')
    if (this.fault === 'other' || settings.operator !== this.operator) {
      throw new IssuerRefused('NATS: a server of another operator answers here')
    }
  }

  #push(token: string): void {
    const claims = claimsOf(token)
    if (claims === undefined || !this.accounts.has(claims.sub)) throw new IssuerRefused('NATS: a server refuses the token')
    this.pushes.push(token)
    this.accounts.set(claims.sub, claims)
    for (const seen of this.#listeners) seen.push(claims)
    const state = readRevocations(claims)
    const open = this.#connections.get(claims.sub)
    for (const connection of open ?? []) {
      if (holdOf(state, connection.user, connection.issuedAt) !== 'none') open?.delete(connection)
    }
  }
}

/** The form of a public nkey; no key belongs to it. */
export function fakeKey(letter: 'O' | 'A' | 'U', of: string): string {
  const digest = createHash('sha512').update(`${letter} ${of}`).digest()
  return letter + [...digest.subarray(0, 55)].map((byte) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[byte % 32]).join('')
}
