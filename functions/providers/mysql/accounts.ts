import type { Subject } from '../contract.ts'
import type { Target } from './definition.ts'
import { SESSIONS } from './dialect.ts'
import type { Account } from './names.ts'
import { accountNames, isReserved, MARK, quoted, roleOf, tagIn } from './names.ts'
import type { Line } from './server.ts'
import { textOf } from './server.ts'
import type { Row, Session } from './session.ts'
import { errno, errnoOf } from './session.ts'

export type Batch = readonly Subject<Target, never>[]

/** An account as the server has it. */
export interface Found extends Account {
  readonly locked: boolean
  /** It bears the mark of a cut. */
  readonly marked: boolean
  readonly tags: readonly string[]
}

/** What the server has of one target. */
export interface State {
  readonly accounts: readonly Found[]
  /** The name belongs to another incarnation: `accounts` are not shown. */
  readonly namesake: boolean
  /** Ids of sessions under the name. Of a name that nobody bears they are what outlived the account. */
  readonly sessions: readonly number[]
  /** Why it is never cut. */
  readonly refusal: string | undefined
}

/** So many names are asked for at once; lists are filled up to a few sizes, so that few statements are prepared. */
const SIZES = [1, 4, 16, 100]

/** Rows of a statement that takes a list of names. */
export async function rowsOf(session: Session, statement: string, names: readonly string[]): Promise<Row[]> {
  const distinct = [...new Set(names)]
  if (distinct.length === 0) return []
  const size = SIZES.find((one) => one >= distinct.length) ?? distinct.length
  const values = Array.from({ length: size }, (_, index) => distinct[index] ?? distinct[0] ?? '')
  return await session.query(statement.replace('(?)', `(${values.map(() => '?').join(', ')})`), values)
}

/** Accounts and their roles by name, exactly: what the server takes for equal is not yet the same. */
export async function accountsOf({ session, dialect }: Line, names: readonly string[]): Promise<Map<string, Found[]>> {
  const roles = await rowsOf(session, dialect.roles, names)
  const accounts = new Map<string, Found[]>()
  for (const row of await rowsOf(session, dialect.accounts, names)) {
    if (Number(row['role']) > 0) continue
    const [user, host] = [textOf(row, 'user'), textOf(row, 'host')]
    const own = roles.flatMap((role) =>
      textOf(role, 'user') === user && textOf(role, 'host') === host ? [textOf(role, 'role')] : [],
    )
    const tags = own.flatMap((role) => tagIn(role) ?? [])
    const found = { user, host, locked: Number(row['locked']) > 0, marked: own.includes(MARK), tags }
    accounts.set(user, [...(accounts.get(user) ?? []), found])
  }
  return accounts
}

/** Ids of open sessions by the name of their user. */
export async function sessionsOf(session: Session, names: readonly string[]): Promise<Map<string, number[]>> {
  const sessions = new Map<string, number[]>()
  for (const row of await rowsOf(session, SESSIONS, names)) {
    const user = textOf(row, 'user')
    sessions.set(user, [...(sessions.get(user) ?? []), Number(row['id'])])
  }
  return sessions
}

export async function look(line: Line, batch: Batch): Promise<State[]> {
  const names = batch.map(({ target }) => target.user)
  const accounts = await accountsOf(line, names)
  const sessions = await sessionsOf(line.session, names)
  return batch.map(({ target }): State => {
    const all = accounts.get(target.user) ?? []
    const namesake = isNamesake(target, all)
    const refusal = isReserved(target.user)
      ? 'it is a user of the server'
      : target.user === line.admin
        ? "it is the admin's own user"
        : undefined
    return { accounts: namesake ? [] : all, namesake, sessions: namesake ? [] : (sessions.get(target.user) ?? []), refusal }
  })
}

/** None of the accounts of that name bears the tag. */
export const isNamesake = ({ tag }: Target, accounts: readonly Found[]): boolean =>
  tag !== undefined && accounts.length > 0 && !accounts.some(({ tags }) => tags.includes(tag))

/** What came of a statement about accounts: the accounts whose own statement failed, and with what. */
export type Failed = ReadonlyMap<string, number>
export const keyOf = ({ user, host }: Account): string => JSON.stringify([user, host])

/** One statement for all accounts, and where it fails one for each, so that one harms no other. */
export async function forAll(
  session: Session,
  accounts: readonly Account[],
  statement: (names: string) => string,
): Promise<Failed> {
  if (accounts.length === 0) return new Map()
  try {
    await session.query(statement(accountNames(accounts)))
    return new Map()
  } catch (error) {
    const number = errnoOf(error)
    const [only] = accounts
    if (accounts.length === 1 && only !== undefined) return new Map([[keyOf(only), number]])
  }
  const failed = new Map<string, number>()
  for (const account of accounts) for (const [key, number] of await forAll(session, [account], statement)) failed.set(key, number)
  return failed
}

/** `IF EXISTS`: an account that went in between is not made, and fails no other. */
export const lock = (names: string): string => `ALTER USER IF EXISTS ${names} ACCOUNT LOCK`
export const unlock = (names: string): string => `ALTER USER IF EXISTS ${names} ACCOUNT UNLOCK`
export const mark = (names: string): string => `GRANT ${quoted(MARK)} TO ${names}`
export const unmark = (names: string): string => `REVOKE ${quoted(MARK)} FROM ${names}`
export const tagging = (tag: string, names: string): string => `GRANT ${quoted(roleOf(tag))} TO ${names}`

/**
 * Ends sessions by their ids, never by their user: the server compares the host that it resolved, and silently finds
 * nothing.
 * @returns ids of those that it may not end
 */
export async function kill(session: Session, ids: readonly number[]): Promise<number[]> {
  const denied: number[] = []
  for (const id of ids) {
    try {
      await session.query(`KILL ${Math.trunc(id)}`)
    } catch (error) {
      const number = errnoOf(error)
      if (number === errno.killDenied || errno.accessDenied.some((one) => one === number)) denied.push(id)
      else if (number !== errno.unknownThread) throw error
    }
  }
  return denied
}
