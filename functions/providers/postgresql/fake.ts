import type {
  Answer,
  Discovered,
  Issued,
  LeverAnswer,
  Liveness,
  Order,
  Provider,
  ProviderModule,
  Restored,
  Subject,
  Tools,
} from '../contract.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../contract.ts'
import type { Grants, Lever, Settings, Target } from './definition.ts'
import { definition, Grants as GrantsOf } from './definition.ts'
import { nothingToTidy, notToRestore } from './runners.ts'

type Batch = readonly Subject<Target, never>[]

export interface FakeRole {
  readonly name: string
  readonly oid: string
  readonly memberOf: ReadonlySet<string>
  readonly superuser: boolean
  /** Objects owned, by database. */
  readonly owned: Map<string, number>
  login: boolean
  /** Who holds it shut, of those that found it open; it opens when the last one goes. */
  readonly marks: Set<'contained' | 'revoked'>
  sessions: number
  /** VALID UNTIL. */
  until?: string
  /** Sessions that have a name, beside `sessions`: the jobs of a shared runner. */
  readonly jobs: Map<number, FakeJob>
}

export interface FakeJob {
  readonly applicationName: string
  readonly startedAt: string
}

/**
 * A PostgreSQL server in memory, with what the provider relies on: NOLOGIN leaves sessions alone, a deleted role's
 * sessions go on, oids are never used twice. Deterministic: no clock, no chance.
 */
export class FakePostgresql {
  readonly admin = { user: 'rescind', password: 'fake-admin-password' }
  readonly system = '7000000000000000001'
  readonly module: ProviderModule<Target, never, Lever, Settings, Grants> = {
    definition,
    connect: (issuer, tools) => this.#connect(issuer.settings, tools),
  }
  /** By oid; deleted roles that have sessions stay, with `deleted`. */
  readonly roles = new Map<string, FakeRole & { deleted: boolean }>()
  /** What is wrong: nothing answers, the admin is refused, another server answers, calls are refused with a time to wait. */
  fault: 'none' | 'down' | 'refused' | 'other' | 'throttled' = 'none'
  /** Every call that reached the server, in order. */
  readonly calls: { readonly method: string; readonly size: number }[] = []
  #nextOid = 16_384
  #nextPid = 1000

  settings(overrides: Partial<Settings> = {}): Settings {
    const network = { host: 'db.fake', port: 5432, database: 'postgres', tls: { mode: 'disable' } } as const
    const times = { connectTimeoutMilliseconds: 5000, statementTimeoutMilliseconds: 10_000 }
    return { ...network, ...times, system: this.system, ...overrides }
  }

  create(name: string, options: { memberOf?: readonly string[]; superuser?: boolean; login?: boolean } = {}): FakeRole {
    if (this.find({ role: name }) !== undefined) throw new RangeError('role exists')
    const oid = String(this.#nextOid)
    this.#nextOid += 1
    const { memberOf = [], superuser = false, login = true } = options
    const role = {
      name,
      oid,
      memberOf: new Set(memberOf),
      superuser,
      owned: new Map(),
      login,
      marks: new Set<'contained' | 'revoked'>(),
      sessions: 0,
      jobs: new Map<number, FakeJob>(),
      deleted: false,
    }
    this.roles.set(oid, role)
    return role
  }

  /** DROP ROLE: its sessions go on. */
  drop(oid: string): void {
    const role = this.roles.get(oid)
    if (role === undefined) return
    role.deleted = true
    role.login = false
  }

  /** Opens a session; false where the role may not log in. */
  login(oid: string): boolean {
    const role = this.roles.get(oid)
    if (role === undefined || role.deleted || !role.login) return false
    role.sessions += 1
    return true
  }

  /** Opens a session with a name, at a moment; its process id. */
  startJob(oid: string, applicationName: string, startedAt = '2026-01-01T00:00:00.000Z'): number {
    const role = this.roles.get(oid)
    if (role === undefined || role.deleted || !role.login) throw new RangeError('the role may not log in')
    const pid = this.#nextPid
    this.#nextPid += 1
    role.jobs.set(pid, { applicationName, startedAt })
    return pid
  }

  find({ role: name, oid }: Target): FakeRole | undefined {
    if (oid !== undefined) {
      const role = this.roles.get(oid)
      return role === undefined || role.deleted ? undefined : role
    }
    return [...this.roles.values()].find((role) => role.name === name && !role.deleted)
  }

  async #connect(settings: Settings, tools: Tools): Promise<Provider<Target, never, Lever>> {
    const secret = await tools.adminSecret()
    if (secret !== JSON.stringify(this.admin))
      throw new IssuerRefused('PostgreSQL: the server refuses the admin password (28P01)')
    this.#enter('connect', 0, settings)
    const each =
      <Result>(method: string, work: (target: Target) => Result) =>
      async (batch: Batch) => {
        this.#enter(method, batch.length, settings)
        return batch.map(({ target }) => work(target))
      }
    return {
      revoke: each('revoke', (target) => (target.session === undefined ? this.#revoke(target) : this.#endJobs(target))),
      restore: each('restore', (target) => (target.session === undefined ? this.#restore(target) : notToRestore())),
      tidy: each('tidy', (target) => (target.session === undefined ? this.#tidy(target, settings.reassignTo) : nothingToTidy())),
      locate: async ({ role = '' }) => {
        this.#enter('locate', 1, settings)
        const found = this.find({ role })
        if (found === undefined) return { status: 'unknown', said: 'the server has no such role' }
        return { status: 'found', said: `the role exists (oid ${found.oid})`, target: { role, oid: found.oid } }
      },
      discover: async (from, most) => {
        this.#enter('discover', most, settings)
        return this.#list(from, most)
      },
      issue: async (order) => {
        this.#enter('issue', 1, settings)
        return this.#issue(order, settings, tools)
      },
      verify: async (batch) => {
        this.#enter('verify', batch.length, settings)
        return batch.map(({ target }) => this.#liveness(target))
      },
      contain: async (lever) => {
        this.#enter('contain', 1, settings)
        return this.#contain(lever)
      },
      release: async (lever) => {
        this.#enter('release', 1, settings)
        return this.#release(lever)
      },
      close: async () => undefined,
    }
  }

  #enter(method: string, size: number, settings: Settings): void {
    if (this.fault === 'down') throw new IssuerUnavailable('PostgreSQL: no answer to rely on (ECONNREFUSED)')
    if (this.fault === 'throttled') throw new IssuerThrottled('PostgreSQL: too many connections (53300)', { afterSeconds: 7 })
    if (this.fault === 'refused') throw new IssuerRefused('PostgreSQL: the server refuses the admin password (28P01)')
    if (this.fault === 'other' || settings.system !== this.system)
      throw new IssuerRefused('another PostgreSQL server answers here')
    this.calls.push({ method, size })
  }

  #endSessions(role: FakeRole): number {
    const ended = role.sessions + role.jobs.size
    role.sessions = 0
    role.jobs.clear()
    return ended
  }

  #shut(role: FakeRole, mark: 'contained' | 'revoked'): boolean {
    const wasOpen = role.login
    if (wasOpen || role.marks.size > 0) role.marks.add(mark)
    role.login = false
    return wasOpen
  }

  #revoke(target: Target): Answer {
    const role = this.find(target)
    if (role === undefined) {
      const orphan = target.oid === undefined ? undefined : this.roles.get(target.oid)
      const ended = orphan === undefined ? 0 : this.#endSessions(orphan)
      if (ended > 0) return { status: 'revoked', said: `the role was gone, ${ended} sessions of it ended, none left` }
      return { status: 'absent', said: 'the server has no such role' }
    }
    if (role.superuser) return { status: 'irrevocable', said: 'it is a superuser: not cut, a person must' }
    const wasOpen = this.#shut(role, 'revoked')
    const ended = this.#endSessions(role)
    if (wasOpen) return { status: 'revoked', said: `NOLOGIN set, ${ended} sessions ended, none left` }
    return {
      status: 'revoked',
      said: ended > 0 ? `already NOLOGIN, ${ended} sessions ended` : 'already NOLOGIN, no session left',
    }
  }

  #jobsOf({ session, ...target }: Target): [FakeRole, number][] {
    const role = this.find(target) ?? (target.oid === undefined ? undefined : this.roles.get(target.oid))
    if (role === undefined || session === undefined) return []
    const { applicationName, pid, startedAt } = session
    const meant = [...role.jobs].filter(([at, job]) =>
      pid === undefined ? job.applicationName === applicationName : at === pid && job.startedAt === startedAt,
    )
    return meant.map(([at]) => [role, at])
  }

  #endJobs(target: Target): Answer {
    if (this.find(target)?.superuser === true) return { status: 'irrevocable', said: 'it is a superuser: a person must' }
    const jobs = this.#jobsOf(target)
    for (const [role, pid] of jobs) role.jobs.delete(pid)
    return jobs.length === 0
      ? { status: 'absent', said: 'no such session is open' }
      : { status: 'revoked', said: `${jobs.length} sessions ended; the role can log in as before` }
  }

  #liveness(target: Target): Liveness {
    const role = this.find(target) ?? (target.oid === undefined ? undefined : this.roles.get(target.oid))
    if (target.session !== undefined) {
      const open = this.#jobsOf(target).length
      return { status: open === 0 ? 'dead' : 'alive', said: `${open} sessions open` }
    }
    const open = role === undefined ? 0 : role.sessions + role.jobs.size
    if (role === undefined || (!role.login && open === 0)) return { status: 'dead', said: 'no login, no session' }
    return { status: 'alive', said: `${open} sessions open` }
  }

  #restore(target: Target): Restored {
    const role = this.find(target)
    if (role === undefined) return { status: 'gone', said: 'the role is gone: it cannot be restored' }
    if (role.login) return { status: 'restored', said: 'the role can log in: there is nothing to undo' }
    if (role.marks.size === 0) return { status: 'refused', said: 'the role was not shut by a revocation: left as it is' }
    role.marks.delete('revoked')
    if (role.marks.size > 0) return { status: 'restored', said: 'it can log in when its containment is released' }
    role.login = true
    return { status: 'restored', said: 'undone: the role has LOGIN again' }
  }

  #tidy(target: Target, heir: string | undefined): Answer {
    const role = this.find(target)
    if (role === undefined) return { status: 'absent', said: 'the server has no such role' }
    if (role.login) return { status: 'irrevocable', said: 'the role can log in: it was not cut, or was restored; not deleted' }
    if (role.marks.has('contained') && !role.marks.has('revoked'))
      return { status: 'irrevocable', said: 'only a containment holds the role: not deleted' }
    if (role.sessions + role.jobs.size > 0)
      return { status: 'retry', said: 'a session of the role is open; not deleted', effect: 'none', afterSeconds: 10 }
    const owned = [...role.owned.values()].reduce((sum, objects) => sum + objects, 0)
    const inherits = heir === undefined ? undefined : this.find({ role: heir })
    if (owned > 0 && inherits === undefined) {
      return {
        status: 'irrevocable',
        said: `the role owns ${owned} objects in ${role.owned.size} databases, and no heir is configured`,
      }
    }
    for (const [database, objects] of role.owned) inherits?.owned.set(database, (inherits.owned.get(database) ?? 0) + objects)
    this.drop(role.oid)
    return { status: 'revoked', said: `role deleted, ${owned} objects handed to the heir` }
  }

  #list(from: string | undefined, most: number): Discovered<Target> {
    const behind = [...this.roles.values()]
      .filter(({ deleted, oid }) => !deleted && Number(oid) < Number(from ?? 0xffff_ffff))
      .sort((one, other) => Number(other.oid) - Number(one.oid))
    const listed = behind.slice(0, most).map(({ name, oid, superuser, login, until }) => ({
      target: { role: name, oid },
      shown: `${superuser ? 'superuser' : 'role'} ${name}`,
      usable: login,
      ...(until === undefined ? {} : { expiresAt: until }),
    }))
    const last = behind.length > most ? listed.at(-1)?.target.oid : undefined
    return { status: 'page', listed, ...(last === undefined ? {} : { next: last }) }
  }

  #issue({ name, grants, expiresAt }: Order, settings: Settings, tools: Tools): Issued<Target, never, Lever> {
    const wanted = GrantsOf.safeParse(grants)
    if (!wanted.success) return { status: 'refused', said: 'the grants do not fit this provider' }
    const { memberOf, group } = wanted.data
    const all = [...memberOf, ...(group === undefined ? [] : [group])]
    if (all.some((role) => settings.grantable?.includes(role) !== true))
      return { status: 'refused', said: 'not in `grantable` of the issuer' }
    if (all.some((role) => this.find({ role })?.superuser !== false))
      return { status: 'refused', said: 'a role that it was to be a member of does not exist, or is a superuser' }
    if (this.find({ role: name }) !== undefined) return { status: 'refused', said: 'a role of that name is there already' }
    const role = this.create(name, { memberOf: all })
    role.until = expiresAt
    const password = Buffer.from(tools.random?.(32) ?? []).toString('base64url')
    return {
      status: 'issued',
      said: `role ${name} (oid ${role.oid})`,
      target: { role: name, oid: role.oid },
      ...(group === undefined ? {} : { lever: { memberOf: group } }),
      credential: { user: name, password, host: settings.host, port: String(settings.port), database: settings.database },
      expiresAt,
    }
  }

  #members({ memberOf }: Lever): FakeRole[] | undefined {
    const group = this.find({ role: memberOf })
    if (group === undefined) return undefined
    return [group, ...[...this.roles.values()].filter((role) => role.memberOf.has(memberOf) && !role.deleted)]
  }

  #contain(lever: Lever): LeverAnswer {
    const members = this.#members(lever)
    if (members === undefined)
      return { status: 'unsupported', said: 'there is no group role of that name: nothing was contained' }
    let shut = 0
    for (const role of members.filter(({ superuser }) => !superuser)) {
      if (this.#shut(role, 'contained')) shut += 1
      this.#endSessions(role)
    }
    const open = members.filter(({ login }) => login).length
    if (open > 0) return { status: 'unsupported', said: `${shut} roles set NOLOGIN; ${open} members still open` }
    return { status: 'done', said: `${shut} roles set NOLOGIN` }
  }

  #release(lever: Lever): LeverAnswer {
    const members = this.#members(lever)
    if (members === undefined) return { status: 'unsupported', said: 'there is no group role of that name: nothing was released' }
    const contained = members.filter(({ marks }) => marks.delete('contained'))
    const open = contained.filter(({ marks }) => marks.size === 0)
    for (const role of open) role.login = true
    return { status: 'done', said: `${open.length} roles released` }
  }
}
