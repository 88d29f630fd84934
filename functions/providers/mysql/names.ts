import * as z from 'zod/mini'

/** MariaDB's bound; MySQL takes 32. */
const LONGEST_NAME = 128

/**
 * A user's name, in characters of three bytes at most (the server keeps no others). Blanks at the end are refused: the
 * server compares names without them, so that `app ` would be `app`.
 */
export const UserName = z.string().check(
  z.minLength(1),
  z.maxLength(LONGEST_NAME),
  z.refine(
    (text) => !text.includes('\0') && text.isWellFormed() && !/[\u{10000}-\u{10ffff}]/u.test(text),
    'must be text that the server can hold',
  ),
  z.refine((text) => !text.endsWith(' '), 'must not end with a blank'),
)

/**
 * Neither MySQL nor MariaDB lets an account bear a note that both keep. But an account may have roles, and a role without
 * any privilege says nothing but its name: `rescind_revoked` that a cut of ours locked the account, `rescind_<tag>` which
 * incarnation it is. A role goes with its account.
 */
export const MARK = 'rescind_revoked'
export const Tag = z.string().check(z.regex(/^[0-9a-f]{24}$/, 'must be 24 small hexadecimal digits'))
export const roleOf = (tag: string): string => `rescind_${tag}`
export const tagIn = (role: string): string | undefined => /^rescind_([0-9a-f]{24})$/.exec(role)?.[1]

/** The account that marks a server as one of ours: nobody can log in with it, and its host is the marker. */
export const MARKER_USER = 'rescind_server'

/** Users of the server, and those by which its owners get in. The last three are names of threads, which nobody ends. */
const RESERVED = new Set([
  ...['root', 'mysql', 'mariadb.sys', 'mysql.sys', 'mysql.session', 'mysql.infoschema', MARKER_USER, MARK],
  ...['system user', 'event_scheduler', 'unauthenticated user'],
])
export const isReserved = (user: string): boolean => RESERVED.has(user) || tagIn(user) !== undefined

/** One row of the accounts: a name may have several, each with another host pattern. */
export interface Account {
  readonly user: string
  readonly host: string
}

/** A name as an identifier, which the server reads the same in every mode (`sql_mode`): only its own quote is doubled. */
export const quoted = (name: string): string => `\`${name.replaceAll('`', '``')}\``
export const accountName = ({ user, host }: Account): string => `${quoted(user)}@${host === '' ? "''" : quoted(host)}`
export const accountNames = (accounts: readonly Account[]): string => accounts.map(accountName).join(', ')
