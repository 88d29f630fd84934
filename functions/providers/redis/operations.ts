import type {
  Answer,
  Clue,
  Discovered,
  Issued,
  IssuerHandle,
  Liveness,
  Located,
  Order,
  Provider,
  ProviderModule,
  Restored,
  Tools,
} from '../contract.ts'
import { IssuerError, IssuerRefused, IssuerUnavailable } from '../contract.ts'
import type { Batch, Cut, State } from './cuts.ts'
import { cutAt, GETUSER, hasApplied, refusal, remember, stateOf } from './cuts.ts'
import type { Settings, Target } from './definition.ts'
import { definition, Grants } from './definition.ts'
import { issueAt } from './issue.ts'
import { REVOKED, REVOKED_NOPASS, tagAmong, UserName } from './names.ts'
import type { Dial, Looked, Surroundings } from './nodes.ts'
import { Nodes } from './nodes.ts'
import type { Command, User } from './replies.ts'
import { connectionsIn, good, usersIn } from './replies.ts'

export type RedisModule = ProviderModule<Target, never, never, Settings, Grants>

/** @param dial how a server is reached: over the network, or a fake in memory */
export function moduleOver(dial: Dial): RedisModule {
  return {
    definition,
    async connect(issuer: IssuerHandle<Settings>, tools: Tools) {
      const nodes = new Nodes(issuer, tools, dial)
      await nodes.use([], async () => undefined)
      return new RedisProvider(nodes, issuer.settings, tools)
    },
  }
}

/** What was done at each server, and why it is not the whole of it. */
interface Everywhere<Result> {
  readonly results: readonly Result[]
  readonly gap: string | undefined
}

const AFTER_SECONDS = 30

class RedisProvider implements Provider<Target, never, never> {
  readonly #nodes: Nodes
  readonly #settings: Settings
  readonly #random: Tools['random']

  constructor(nodes: Nodes, settings: Settings, tools: Tools) {
    this.#nodes = nodes
    this.#settings = settings
    this.#random = tools.random?.bind(tools)
  }

  async revoke(batch: Batch): Promise<Answer[]> {
    if (batch.length === 0) return []
    return await this.#nodes.use(asked(batch), async (surroundings) => {
      const { results, gap } = await this.#everywhere(surroundings, (looked) => cutAt(looked, batch))
      return batch.map((_, index) => cutAnswer(column(results, index), gap, this.#settings.keep))
    })
  }

  async verify(batch: Batch): Promise<Liveness[]> {
    if (batch.length === 0) return []
    return await this.#nodes.use([...asked(batch), ['CLIENT', 'LIST']], async ({ looked, gap }) => {
      const views = looked.map(({ replies }) => ({ replies, open: connectionsIn(replies[batch.length]) }))
      return batch.map(({ target }, index): Liveness => {
        const states = views.map(({ replies, open }) => ({
          ...stateOf(target, replies[index]),
          open: open.get(target.user) ?? 0,
        }))
        const there = states.filter(({ user }) => user !== undefined)
        const open = there.reduce((sum, state) => sum + state.open, 0)
        const on = there.filter(({ user }) => user?.enabled === true).length
        if (on > 0)
          return { status: 'alive', said: `the user is on at ${count(on, 'server')}, ${count(open, 'connection')} open` }
        if (open > 0) return { status: 'alive', said: `the user is off, but ${count(open, 'connection')} of it open` }
        if (gap !== undefined) return { status: 'unknown', said: gap }
        if (there.length > 0) return { status: 'dead', said: 'the user is off, no connection is open' }
        return { status: 'dead', said: goneOf(states) }
      })
    })
  }

  async restore(batch: Batch): Promise<Restored[]> {
    if (batch.length === 0) return []
    return await this.#nodes.use(asked(batch), async (surroundings) => {
      const { results, gap } = await this.#everywhere(surroundings, (looked) => openAt(looked, batch))
      return batch.map((_, index) => restoredAnswer(column(results, index), gap))
    })
  }

  async tidy(batch: Batch): Promise<Answer[]> {
    if (batch.length === 0) return []
    return await this.#nodes.use(asked(batch), async (surroundings) => {
      const { gap: before } = surroundings
      // Nothing is deleted that may be on somewhere else.
      if (before !== undefined)
        return batch.map((): Answer => ({ status: 'retry', said: before, effect: 'none', afterSeconds: AFTER_SECONDS }))
      // One server at which the user is on keeps it at all of them: it was not cut, or was restored.
      const kept = batch.map(({ target }, index) => {
        const on = surroundings.looked.some(({ replies }) => stateOf(target, replies[index]).user?.enabled === true)
        if (on) return 'the user is on: it was not cut, or was restored; not deleted'
        return surroundings.looked.map(({ admin }) => refusal(target, admin)).find((said) => said !== undefined)
      })
      const { results, gap } = await this.#everywhere(surroundings, (looked) => deleteAt(looked, batch, kept))
      return batch.map((_, index): Answer => {
        const said = kept[index]
        if (said !== undefined) return { status: 'irrevocable', said }
        if (gap !== undefined) return { status: 'retry', said: gap, effect: 'unknown', afterSeconds: AFTER_SECONDS }
        const deleted = column(results, index).filter(Boolean).length
        return deleted > 0
          ? { status: 'revoked', said: `user deleted at ${count(deleted, 'server')}` }
          : { status: 'absent', said: 'no server has such a user' }
      })
    })
  }

  async locate({ user = '' }: Clue['query']): Promise<Located<Target, never>> {
    if (!UserName.safeParse(user).success) return { status: 'unknown', said: 'no user can have such a name' }
    return await this.#nodes.use([GETUSER(user)], async ({ looked, gap }) => {
      const found = looked.flatMap(({ replies, admin }) => {
        const state = stateOf({ user }, replies[0])
        return state.user === undefined ? [] : [{ user: state.user, admin }]
      })
      const [first] = found
      if (first === undefined)
        return gap === undefined
          ? { status: 'unknown', said: 'no server has such a user' }
          : { status: 'retry', said: gap, afterSeconds: AFTER_SECONDS }
      const tag = tagAmong(first.user.hashes)
      const on = found.filter((one) => one.user.enabled).length
      const refused = refusal({ user }, first.admin)
      const said = `the user exists at ${count(found.length, 'server')}, on at ${on}${refused === undefined ? '' : `; ${refused}`}`
      return { status: 'found', said, target: { user, ...(tag === undefined ? {} : { tag }) } }
    })
  }

  async issue({ name, grants }: Order): Promise<Issued<Target, never, never>> {
    return await this.#nodes.use([GETUSER(name)], async ({ looked, gap }) => {
      const parsed = Grants.safeParse(grants)
      if (!parsed.success) return { status: 'refused', said: 'the grants are no ACL rules' }
      if (this.#random === undefined) return { status: 'refused', said: 'there is no chance to make a password of' }
      if (gap !== undefined) throw new IssuerUnavailable(`Redis: ${gap}: nothing was made`)
      return await issueAt(looked, name, parsed.data, this.#settings.keep, this.#random)
    })
  }

  async discover(from: string | undefined, most: number): Promise<Discovered<Target>> {
    return await this.#nodes.use([['ACL', 'LIST']], async ({ looked, gap }) => {
      // A server that is not seen has users that are not seen: a page without them would say that they do not exist.
      if (gap !== undefined) return { status: 'retry', said: gap, afterSeconds: AFTER_SECONDS }
      const users = new Map<string, User>()
      for (const { replies } of looked)
        for (const [name, user] of usersIn(replies[0])) {
          const known = users.get(name)
          users.set(name, known === undefined || (user.enabled && !known.enabled) ? user : known)
        }
      const admins = new Set(looked.map(({ admin }) => admin))
      const names = [...users.keys()].filter((name) => from === undefined || name > from).sort(byCode)
      const page = names.slice(0, Math.max(1, most))
      const last = page.at(-1)
      const listed = page.map((name) => {
        const user = users.get(name)
        const tag = tagAmong(user?.hashes ?? [])
        const own = ownOf(name, admins)
        return {
          target: { user: name, ...(tag === undefined ? {} : { tag }) },
          shown: `ACL user ${name}`,
          usable: user?.enabled === true,
          ...(own === undefined ? {} : { own }),
        }
      })
      return { status: 'page', listed, ...(last !== undefined && names.length > page.length ? { next: last } : {}) }
    })
  }

  async close(): Promise<void> {
    this.#nodes.close()
  }

  /**
   * The same at each server that answered, and then its users written down, also where nothing changed: what is gone from
   * memory may still stand in the file. One that fails in the middle leaves a gap, the others are done all the same.
   */
  async #everywhere<Result>(
    { looked, gap }: Surroundings,
    work: (looked: Looked) => Promise<readonly Result[]>,
  ): Promise<Everywhere<readonly Result[]>> {
    const settled = await Promise.allSettled(
      looked.map(async (one) => ({ results: await work(one), forgets: await remember(one.connection, this.#settings.keep) })),
    )
    const failures = settled.flatMap((one): unknown[] => (one.status === 'rejected' ? [one.reason] : []))
    const worst =
      failures.find((error) => !(error instanceof IssuerError)) ?? failures.find((error) => error instanceof IssuerRefused)
    if (worst !== undefined) throw worst
    const done = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
    if (done.length === 0) throw failures[0]
    const broken = failures.length === 0 ? undefined : `${failures.length} of ${looked.length} servers broke off in the middle`
    return { results: done.map(({ results }) => results), gap: gap ?? broken ?? done.find(({ forgets }) => forgets)?.forgets }
  }
}

const asked = (batch: Batch): Command[] => batch.map(({ target }) => GETUSER(target.user))

/** What each server says of one lease. */
const column = <Result>(results: readonly (readonly Result[])[], index: number): Result[] =>
  results.flatMap((row) => {
    const one = row[index]
    return one === undefined ? [] : [one]
  })

const byCode = (left: string, right: string) => (left < right ? -1 : left > right ? 1 : 0)

function ownOf(name: string, admins: ReadonlySet<string>): string | undefined {
  if (name === 'default') return 'the user that connections begin as'
  if (admins.has(name)) return "the admin's own user"
  if (name.includes('\ufffd')) return 'a user whose name is no text: it cannot be registered, look at it by hand'
  return undefined
}

const goneOf = (states: readonly Pick<State, 'namesake'>[]) =>
  states.some(({ namesake }) => namesake) ? 'another user bears the name now' : 'no server has such a user'

function cutAnswer(cuts: readonly Cut[], gap: string | undefined, keep: Settings['keep']): Answer {
  const refused = cuts.find((cut) => cut.is === 'refused')
  if (refused !== undefined) return { status: 'irrevocable', said: refused.said }
  const unclear = cuts.find((cut) => cut.is === 'unclear')
  if (unclear !== undefined) return { status: 'retry', said: unclear.said, effect: 'unknown', afterSeconds: 2 }
  const off = cuts.flatMap((cut) => (cut.is === 'off' ? [cut] : []))
  const closed = off.reduce((sum, cut) => sum + cut.closed, 0)
  const now = off.filter(({ was }) => was === 'on').length
  const what =
    off.length === 0
      ? 'no server that answers has the user'
      : `${now > 0 ? `user switched off at ${count(now, 'server')}` : 'the user was off already'}, ${count(closed, 'connection')} closed`
  if (gap !== undefined) return { status: 'retry', said: `${what}; but ${gap}`, effect: 'unknown', afterSeconds: AFTER_SECONDS }
  if (off.length === 0)
    return { status: 'absent', said: goneOf(cuts.map((cut) => ({ namesake: cut.is === 'absent' && cut.namesake }))) }
  const kept = keep === 'nowhere' ? '; the server itself does not write it down' : ''
  return { status: 'revoked', said: `${what}${kept}` }
}

/** What came of switching a user on at one server. */
type Opened = 'on already' | 'restored' | 'unmarked' | 'gone' | 'changed' | 'refused'

async function openAt({ connection, replies, admin }: Looked, batch: Batch): Promise<Opened[]> {
  const opened: Opened[] = []
  for (const [index, { target }] of batch.entries()) {
    const { user } = stateOf(target, replies[index])
    if (user === undefined) opened.push('gone')
    else if (refusal(target, admin) !== undefined) opened.push('refused')
    else if (user.enabled) opened.push('on already')
    else {
      const mark = [REVOKED, REVOKED_NOPASS].find((one) => user.hashes.includes(one))
      // The mark is taken off in the same step, and only who bears it is switched on.
      const rules = mark === REVOKED_NOPASS ? [`!${mark}`, 'nopass', 'on'] : [`!${mark}`, 'on']
      const condition = target.tag === undefined ? [] : [`!${target.tag}`, `#${target.tag}`]
      if (mark === undefined) opened.push('unmarked')
      else {
        const [reply] = await connection.exchange([['ACL', 'SETUSER', target.user, ...condition, ...rules]])
        opened.push(hasApplied(reply) ? 'restored' : 'changed')
      }
    }
  }
  return opened
}

function restoredAnswer(opened: readonly Opened[], gap: string | undefined): Restored {
  const has = (what: Opened) => opened.includes(what)
  if (has('changed')) return { status: 'retry', said: 'somebody else changed the user meanwhile', afterSeconds: 2 }
  if (gap !== undefined) return { status: 'retry', said: gap, afterSeconds: AFTER_SECONDS }
  if (has('restored')) return { status: 'restored', said: 'undone: the user is on again, its password is the old one' }
  if (has('refused')) return { status: 'refused', said: 'it is a user that is never cut' }
  if (has('unmarked')) return { status: 'refused', said: 'the user was not switched off by a revocation: left as it is' }
  if (has('on already')) return { status: 'restored', said: 'the user is on: there is nothing to undo' }
  return { status: 'gone', said: 'the user is gone: it cannot be restored' }
}

/** Deletes what is still off; whether each was there. */
async function deleteAt(
  { connection, replies }: Looked,
  batch: Batch,
  kept: readonly (string | undefined)[],
): Promise<boolean[]> {
  const there = batch.map(({ target }, index) => kept[index] === undefined && stateOf(target, replies[index]).user !== undefined)
  const names = batch.flatMap(({ target }, index) => (there[index] === true ? [target.user] : []))
  for (const reply of await connection.exchange(names.map((name): Command => ['ACL', 'DELUSER', name]))) good(reply)
  return there
}

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? '' : 's'}`
