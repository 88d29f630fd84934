import { setImmediate } from 'node:timers/promises'
import * as z from 'zod/mini'
import type {
  Answer,
  Clue,
  Definition,
  Issued,
  Located,
  Provider,
  ProviderModule,
  Subject,
  Tools,
} from '../../functions/providers/contract.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../../functions/providers/contract.ts'

/** An issuer in memory that can do all that a definition can claim; and its provider, which may lie in one of these ways. */
export const LIES = {
  'says that it cut, and did not': 'kills',
  'cuts the login, and leaves open what was open': 'sessions',
  'calls dead what nobody cut': 'kills',
  'claims what it does not have': 'claims',
  'answers in another order': 'full-batch',
  'fails where there is nothing to do': 'empty-batch',
  'cannot do two things at once': 'two-at-once',
  'stumbles over quotes': 'hostile-names',
  'does not know its own cut again': 'again',
  'claims to have cut what never existed': 'never-existed',
  'cuts a namesake': 'namesake',
  'lets a poisoned lease fail its batch': 'poison',
  'takes a name for a pattern': 'wild-names',
  'fails at a long name': 'wild-names',
  'writes over what another batch wrote': 'shared-object',
  'contains everybody': 'contain',
  'releases what was revoked': 'contained-revoked',
  'cannot contain nobody': 'nothing-to-contain',
  'restores under another password': 'restore',
  'restores what it never had': 'restore-untouched',
  'says that it brought back what was deleted': 'restore-deleted',
  'restores a namesake': 'restore-namesake',
  'releases by restoring': 'restore-contained',
  'deletes what lives': 'tidies',
  'shows the secret of what was pasted': 'recognises',
  'locates something like it': 'locates-nothing',
  'locates without the incarnation': 'locates',
  'lists what is cut as usable': 'discovers',
  'ends sessions while it lists': 'discovers',
  'counts its pages from the front': 'discovers-under-change',
  'mints what nobody can use': 'issues',
  'mints the wrong name': 'issue-cut-by-name',
  'mints a name twice': 'issues-once',
  'calls absent what it cannot ask for': 'down',
  'waits for ever': 'hang',
  'believes nonsense': 'nonsense',
  'calls throttling an outage': 'throttled',
  'forgets how long to wait': 'throttled',
  'takes any admin': 'admin-refused',
  'believes another server': 'other-server',
  'tells its password in an error': 'no-secret',
} as const
export type Lie = keyof typeof LIES

export const Target = z.strictObject({ name: z.string(), id: z.optional(z.string()) })
export type Target = z.infer<typeof Target>
export const Lever = z.strictObject({ team: z.string() })
export type Lever = z.infer<typeof Lever>
export const Settings = z.strictObject({ server: z.string() })
export type Settings = z.infer<typeof Settings>
const Grants = z.strictObject({})
type Grants = z.infer<typeof Grants>
type Batch = readonly Subject<Target, never>[]

export interface Account {
  readonly name: string
  readonly id: string
  readonly team: string | undefined
  /** An administrator's: it is not to be cut by a machine. */
  readonly superior: boolean
  password: string
  readonly cuts: Set<'revoked' | 'contained'>
  sessions: number
}

type Fault = 'none' | 'down' | 'hang' | 'nonsense' | 'other' | 'throttled'

const HINT_SECONDS = 7

export class Model {
  readonly admin = { password: 'the-password-of-the-admin' }
  readonly accounts = new Map<string, Account>()
  fault: Fault = 'none'
  /** One object of the issuer, which a cut changes as a whole. */
  #revoked: ReadonlySet<string> = new Set()
  #serial = 0
  #busy = false
  readonly #lie: Lie | undefined

  constructor(lie?: Lie) {
    this.#lie = lie
  }

  make(name: string, { team, superior = false }: { team?: string; superior?: boolean } = {}): Account {
    this.#serial += 1
    const id = `id-${String(this.#serial).padStart(6, '0')}`
    const account = { name, id, team, superior, password: `password-${id}-of-somebody`, cuts: new Set<never>(), sessions: 0 }
    this.accounts.set(id, account)
    return account
  }

  works(account: Account, password: string): boolean {
    const there = this.accounts.get(account.id)
    return there !== undefined && there.cuts.size === 0 && !this.#revoked.has(there.id) && there.password === password
  }

  #find({ name, id }: Target): Account | undefined {
    const all = [...this.accounts.values()]
    const byName = all.filter((account) => account.name === name)
    if (this.#lies('takes a name for a pattern') && /[*%]/.test(name)) return all.at(-1)
    if (this.#lies('cuts a namesake')) return byName.at(-1)
    return id === undefined ? byName.at(-1) : byName.find((account) => account.id === id)
  }

  #lies(lie: Lie): boolean {
    return this.#lie === lie
  }

  get module(): ProviderModule<Target, never, Lever, Settings, Grants> {
    return { definition: definitionOf(this.#lie), connect: (issuer, tools) => this.#connect(issuer.settings, tools) }
  }

  async #enter(): Promise<void> {
    if (this.fault === 'hang' && this.#lies('waits for ever')) await new Promise(() => undefined)
    if (this.fault === 'nonsense' && this.#lies('believes nonsense')) return
    const aside = this.#lies('tells its password in an error') ? this.admin.password : ''
    if (['down', 'hang', 'nonsense'].includes(this.fault)) throw new IssuerUnavailable(`Model: no answer ${aside}`)
    if (this.fault === 'other' && !this.#lies('believes another server')) throw new IssuerRefused('Model: another server')
    if (this.fault !== 'throttled') return
    if (this.#lies('calls throttling an outage')) throw new IssuerUnavailable('Model: no answer')
    throw new IssuerThrottled('Model: too fast', this.#lies('forgets how long to wait') ? {} : { afterSeconds: HINT_SECONDS })
  }

  async #connect(settings: Settings, tools: Tools): Promise<Provider<Target, never, Lever>> {
    if ((await tools.adminSecret()) !== JSON.stringify(this.admin) && !this.#lies('takes any admin'))
      throw new IssuerRefused('Model: the admin is refused')
    await this.#enter()
    if (settings.server !== 'model') throw new IssuerRefused('Model: another server')
    return {
      revoke: async (batch) => {
        if (this.#lies('calls absent what it cannot ask for') && this.fault === 'down')
          return batch.map(() => ({ status: 'absent', said: 'it is not there' }))
        await this.#enter()
        const answers = await this.#revoke(batch)
        return this.#lies('answers in another order') ? answers.toReversed() : answers
      },
      verify: async (batch) => {
        await this.#enter()
        return batch.map(({ target }) => {
          const account = this.#find(target)
          const alive = account !== undefined && (this.works(account, account.password) || account.sessions > 0)
          if (this.#lies('calls dead what nobody cut')) return { status: 'dead', said: 'dead' }
          return alive ? { status: 'alive', said: 'it logs in' } : { status: 'dead', said: 'it does not log in' }
        })
      },
      restore: async (batch) => {
        await this.#enter()
        return batch.map(({ target }) => {
          const account = this.#find(this.#lies('restores a namesake') ? { name: target.name } : target)
          const lied = this.#lies(
            target.name === 'never' ? 'restores what it never had' : 'says that it brought back what was deleted',
          )
          if (account === undefined) return { status: lied ? 'restored' : 'gone', said: 'it is gone' }
          account.cuts.delete('revoked')
          this.#revoked = new Set([...this.#revoked].filter((id) => id !== account.id))
          if (this.#lies('releases by restoring')) account.cuts.delete('contained')
          if (this.#lies('restores under another password')) account.password = 'another-password'
          return { status: 'restored', said: 'it works again' }
        })
      },
      tidy: async (batch) => {
        await this.#enter()
        return batch.map(({ target }) => {
          const account = this.#find(target)
          if (account === undefined) return { status: 'absent', said: 'it is gone' }
          const cut = this.#revoked.has(account.id) || account.cuts.has('revoked')
          if (!cut && !this.#lies('deletes what lives')) return { status: 'irrevocable', said: 'it was not cut' }
          this.accounts.delete(account.id)
          return { status: 'revoked', said: 'deleted' }
        })
      },
      contain: async ({ team }) => {
        await this.#enter()
        if (this.#lies('cannot contain nobody') && ![...this.accounts.values()].some((account) => account.team === team))
          return { status: 'unsupported', said: 'there is nobody' }
        for (const account of this.accounts.values())
          if (account.team === team || this.#lies('contains everybody')) {
            account.cuts.add('contained')
            account.sessions = 0
          }
        return { status: 'done', said: 'contained' }
      },
      release: async ({ team }) => {
        await this.#enter()
        for (const account of this.accounts.values())
          if (account.team === team) {
            account.cuts.delete('contained')
            if (this.#lies('releases what was revoked')) this.#revoked = new Set()
          }
        return { status: 'done', said: 'released' }
      },
      ...(this.#lies('claims what it does not have') ? {} : { locate: (query) => this.#locate(query) }),
      discover: async (from, most) => {
        await this.#enter()
        return this.#discover(from, most)
      },
      issue: async ({ name }) => {
        await this.#enter()
        return await this.#issue(name)
      },
      close: async () => undefined,
    }
  }

  async #revoke(batch: Batch): Promise<Answer[]> {
    if (this.#lies('fails at a long name') && batch.some(({ target }) => target.name.length > 5000)) throw new Error('too long')
    if (this.#lies('fails where there is nothing to do') && batch.length === 0) throw new Error('nothing to do')
    if (this.#lies('cannot do two things at once')) {
      if (this.#busy) throw new Error('busy')
      this.#busy = true
      await setImmediate()
      this.#busy = false
    }
    const quoted = this.#lies('stumbles over quotes')
    const accounts = batch.map(({ target }) => (quoted && target.name.includes("'") ? undefined : this.#find(target)))
    if (this.#lies('lets a poisoned lease fail its batch') && accounts.some((account) => account?.superior))
      throw new Error('a superior account')
    const before = this.#revoked
    // Reading and writing are two calls, and others come between.
    if (this.#lies('writes over what another batch wrote')) await setImmediate()
    const base = this.#lies('writes over what another batch wrote') ? before : this.#revoked
    const mine = accounts.flatMap((account) => (account === undefined || account.superior ? [] : [account]))
    if (!this.#lies('says that it cut, and did not')) this.#revoked = new Set([...base, ...mine.map(({ id }) => id)])
    const seen = new Set(before)
    return accounts.map((account): Answer => {
      if (account === undefined)
        return this.#lies('claims to have cut what never existed')
          ? { status: 'revoked', said: 'cut' }
          : { status: 'absent', said: 'there is none' }
      if (account.superior) return { status: 'irrevocable', said: 'a person must' }
      if (!this.#lies('cuts the login, and leaves open what was open')) account.sessions = 0
      const again = seen.has(account.id)
      seen.add(account.id)
      if (again && this.#lies('does not know its own cut again')) return { status: 'retry', said: 'try again', effect: 'none' }
      return { status: 'revoked', said: again ? 'it was cut before' : 'cut, no session left' }
    })
  }

  async #locate({ name = '' }: Clue['query']): Promise<Located<Target, Lever>> {
    await this.#enter()
    const account = this.#lies('locates something like it') ? [...this.accounts.values()][0] : this.#find({ name })
    if (account === undefined) return { status: 'unknown', said: 'there is none' }
    const { id } = account
    const target = this.#lies('locates without the incarnation') ? { name } : { name: account.name, id }
    return { status: 'found', said: 'it is there', target }
  }

  #discover(from: string | undefined, most: number): Awaited<ReturnType<NonNullable<Provider<Target>['discover']>>> {
    const all = [...this.accounts.values()].toSorted((one, other) => (one.id < other.id ? -1 : 1))
    const byPlace = this.#lies('counts its pages from the front')
    const rest = byPlace ? all.slice(Number(from ?? 0)) : all.filter(({ id }) => from === undefined || id > from)
    const page = rest.slice(0, most)
    if (this.#lies('ends sessions while it lists')) for (const account of page) account.sessions = 0
    const next = byPlace ? String(Number(from ?? 0) + most) : page.at(-1)?.id
    return {
      status: 'page',
      listed: page.map((account) => ({
        target: { name: account.name, id: account.id },
        shown: `account ${account.name}`,
        usable: this.#lies('lists what is cut as usable') || this.works(account, account.password),
      })),
      ...(rest.length > most && next !== undefined ? { next } : {}),
    }
  }

  async #issue(name: string): Promise<Issued<Target, never, Lever>> {
    if (this.#find({ name }) !== undefined && !this.#lies('mints a name twice')) return { status: 'refused', said: 'it is taken' }
    const { id, ...made } = this.make(this.#lies('mints the wrong name') ? `${name}-1` : name)
    const target = { name: this.#lies('mints the wrong name') ? `${name}-1` : name, id }
    const password = this.#lies('mints what nobody can use') ? 'not-its-password' : made.password
    return { status: 'issued', said: 'made', target, credential: { name, password } }
  }
}

function definitionOf(lie: Lie | undefined): Definition<Target, never, Lever, Settings, Grants> {
  return {
    name: 'model',
    title: 'A model of an issuer',
    target: Target,
    lever: Lever,
    settings: Settings,
    grants: Grants,
    credential: ({ name }) => `account:${name}`,
    recognise(text) {
      const found = /^model:\/\/([^:@\s]+):(\S+)@$/.exec(text)
      if (found === null) return undefined
      const [, name = '', password = ''] = found
      const shown = lie === 'shows the secret of what was pasted' ? `account ${name}, ${password}` : `account ${name}`
      return { credential: `account:${name}`, shown, query: { name } }
    },
    leverName: ({ team }) => team,
    capabilities: {
      ...{ tellsAbsent: true, verifies: true, containment: 'identity', restores: true, tidies: true, choosesName: true },
      ...{ locates: true, issues: true, discovers: true, sessions: 'ended' },
    },
    limits: { batch: 20, propagationSeconds: 0, callSeconds: 5, concurrency: 10 },
    serial: true,
    network: 'public',
    permissions: [],
  }
}
