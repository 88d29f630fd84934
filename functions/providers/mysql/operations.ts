import type {
  Answer,
  Clue,
  Discovered,
  Issued,
  IssuerHandle,
  Listed,
  Liveness,
  Located,
  Order,
  Provider,
  ProviderModule,
  Restored,
  Tools,
} from '../contract.ts'
import type { Batch, State } from './accounts.ts'
import { accountsOf, forAll, keyOf, look, unlock, unmark } from './accounts.ts'
import { count, cut, distinct } from './cut.ts'
import type { Settings, Target } from './definition.ts'
import { definition, Grants } from './definition.ts'
import { issue } from './issue.ts'
import { isReserved, UserName } from './names.ts'
import { shownAs } from './recognise.ts'
import { Server, textOf } from './server.ts'
import type { Open } from './session.ts'
import { tidy } from './tidy.ts'

export type MysqlModule = ProviderModule<Target, never, never, Settings, Grants>

/** @param open how a server is reached: over the network, or a fake in memory */
export function moduleOver(open: Open): MysqlModule {
  return {
    definition,
    async connect(issuer: IssuerHandle<Settings>, tools: Tools) {
      const server = new Server(issuer, tools, open)
      await server.use(async () => undefined)
      return new MysqlProvider(server, issuer.settings, tools)
    },
  }
}

class MysqlProvider implements Provider<Target, never, never> {
  readonly #server: Server
  readonly #settings: Settings
  readonly #random: Tools['random']

  constructor(server: Server, settings: Settings, tools: Tools) {
    this.#server = server
    this.#settings = settings
    this.#random = tools.random?.bind(tools)
  }

  async revoke(batch: Batch): Promise<Answer[]> {
    if (batch.length === 0) return []
    return await this.#server.use((line) => cut(line, batch, this.#settings.statementTimeoutMilliseconds / 1000))
  }

  async verify(batch: Batch): Promise<Liveness[]> {
    if (batch.length === 0) return []
    return await this.#server.use(async (line) => (await look(line, batch)).map(liveness))
  }

  async restore(batch: Batch): Promise<Restored[]> {
    if (batch.length === 0) return []
    return await this.#server.use(async (line) => {
      const states = await look(line, batch)
      const marked = distinct(
        states.flatMap(({ accounts, refusal }) => (refusal === undefined ? accounts.filter((one) => one.marked) : [])),
      )
      const locked = marked.filter((account) => account.locked)
      const failed = new Map(await forAll(line.session, locked, unlock))
      // Last, so that an account is never shut without its mark by us.
      const opened = marked.filter((account) => !failed.has(keyOf(account)))
      for (const [key, number] of await forAll(line.session, opened, unmark)) failed.set(key, number)
      return states.map((state): Restored => restoredAnswer(state, failed))
    })
  }

  async tidy(batch: Batch): Promise<Answer[]> {
    if (batch.length === 0) return []
    return await this.#server.use((line) => tidy(line, batch))
  }

  async locate({ user = '' }: Clue['query']): Promise<Located<Target, never>> {
    return await this.#server.use(async (line) => {
      if (!UserName.safeParse(user).success) return { status: 'unknown', said: 'no user can have such a name' }
      const [state] = await look(line, [{ lease: 'located', target: { user } }])
      if (state === undefined || (state.accounts.length === 0 && state.sessions.length === 0))
        return { status: 'unknown', said: 'the server has no such user' }
      const { accounts, sessions, refusal } = state
      const hosts = accounts.map(({ host, locked }) => `${host}${locked ? ' (locked)' : ''}`).join(', ')
      const said = `the user exists at ${accounts.length === 0 ? 'no host any more' : hosts}, ${count(sessions.length, 'session')} open`
      return { status: 'found', said: `${said}${refusal === undefined ? '' : `; ${refusal}`}`, target: targetOf(user, state) }
    })
  }

  async issue({ name, grants }: Order): Promise<Issued<Target, never, never>> {
    return await this.#server.use(async (line) => {
      const parsed = Grants.safeParse(grants)
      if (!parsed.success) return { status: 'refused', said: 'the grants are none that can be given' }
      if (this.#random === undefined) return { status: 'refused', said: 'there is no chance to make a password of' }
      return await issue(line, name, parsed.data, this.#random)
    })
  }

  async discover(from: string | undefined, most: number): Promise<Discovered<Target>> {
    return await this.#server.use(async (line) => {
      const rows = await line.session.query(`${line.dialect.page} ${Math.max(1, Math.trunc(most))}`, [from ?? ''])
      const names = rows.map((row) => textOf(row, 'user'))
      const accounts = await accountsOf(line, names)
      const listed = names.flatMap((user): Listed<Target>[] => {
        const all = accounts.get(user) ?? []
        // A role of MariaDB is no account.
        if (all.length === 0) return []
        const own =
          user === line.admin ? "the admin's own user" : isReserved(user) ? "a user of the server's, or of ours" : undefined
        return [
          {
            target: targetOf(user, { accounts: all }),
            shown: shownAs(user),
            usable: all.some(({ locked }) => !locked),
            ...(own === undefined ? {} : { own }),
          },
        ]
      })
      const last = names.at(-1)
      return { status: 'page', listed, ...(last !== undefined && names.length >= Math.max(1, most) ? { next: last } : {}) }
    })
  }

  async close(): Promise<void> {
    this.#server.close()
  }
}

/** The tag, where the accounts of the name have just one. */
function targetOf(user: string, { accounts }: Pick<State, 'accounts'>): Target {
  const tags = [...new Set(accounts.flatMap((account) => account.tags))]
  const [tag] = tags
  return tags.length === 1 && tag !== undefined ? { user, tag } : { user }
}

function liveness({ accounts, namesake, sessions }: State): Liveness {
  const open = accounts.filter(({ locked }) => !locked)
  const alive = `${count(sessions.length, 'session')} open`
  if (open.length > 0)
    return { status: 'alive', said: `the user can log in at ${open.map(({ host }) => host).join(', ')}, ${alive}` }
  if (sessions.length > 0) return { status: 'alive', said: `the user cannot log in, but ${alive}` }
  if (namesake) return { status: 'dead', said: 'another user bears the name now; its sessions are taken for its own' }
  return {
    status: 'dead',
    said: accounts.length === 0 ? 'the server has no such user, no session' : 'locked at every host, no session',
  }
}

function restoredAnswer({ accounts, namesake, refusal }: State, failed: ReadonlyMap<string, number>): Restored {
  if (namesake || accounts.length === 0) return { status: 'gone', said: 'the user is gone: it cannot be restored' }
  if (refusal !== undefined) return { status: 'refused', said: refusal }
  const number = accounts.map((account) => failed.get(keyOf(account))).find((one) => one !== undefined)
  if (number !== undefined) return { status: 'retry', said: `not undone (${number})`, afterSeconds: 2 }
  const undone = accounts.filter(({ marked, locked }) => marked && locked)
  if (undone.length > 0)
    return {
      status: 'restored',
      said: `undone: unlocked at ${undone.map(({ host }) => host).join(', ')}, the password is the old one`,
    }
  return accounts.some(({ locked }) => !locked)
    ? { status: 'restored', said: 'the user can log in: there is nothing to undo' }
    : { status: 'refused', said: 'the user was not locked by a revocation: left as it is' }
}
