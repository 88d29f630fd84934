import type { Clue } from '../contract.ts'
import { bare } from '../shape.ts'
import { UserName } from './names.ts'

interface Read {
  readonly user: string
  readonly host?: string
  readonly port?: string
}

/**
 * A user by a connection string (`mysql://user:password@host/db`, also inside other text and as JDBC writes it), by the
 * options of the command-line client, by an account as the server writes it (`'app'@'%'`), or by `mysql user <name>`. What
 * stands where a password belongs is never looked at. A text that names several users is none.
 */
export function recognise(text: string): Clue | undefined {
  const read = [...fromUris(text), ...fromCommand(text), ...fromName(bare(text)), ...fromName(text.trim())]
  const [first] = read
  if (first === undefined || !UserName.safeParse(first.user).success) return undefined
  if (read.some(({ user, host, port }) => user !== first.user || host !== first.host || port !== first.port)) return undefined
  const { user, host, port } = first
  return {
    credential: `user:${user}`,
    shown: host === undefined ? `user ${user}` : `user ${user} at ${host}`,
    query: { user, ...(host === undefined ? {} : { host }), ...(port === undefined ? {} : { port }) },
  }
}

/** To the next blank or quote; a password that holds one must be percent-encoded, and is cut off here if it is not. */
const URI = /('?)(?:mysqlx?|mariadb)(?:\+[a-z0-9]{1,20})?:\/\/([^\s"`<>]+)/gi

function fromUris(text: string): Read[] {
  // A second @ may be a password's own, and what follows it the rest of the password instead of a host.
  const certain = text.split('@').length <= 2
  return [...text.matchAll(URI)].flatMap(([, quote, found = '']): Read[] => {
    // An apostrophe need not be encoded; it ends what one began.
    const rest = quote === "'" ? (found.split("'", 1)[0] ?? '') : found
    const at = rest.lastIndexOf('@')
    const before = at < 0 ? '' : rest.slice(0, at)
    // An @ behind the question mark belongs to a parameter, perhaps to a password.
    const named = before.includes('?') ? '' : (before.split(':', 1)[0] ?? '')
    const user = decoded(/[/?#]/.test(named) ? '' : named) ?? parameter(rest, 'user')
    if (user === undefined) return []
    return [{ user, ...(certain && !before.includes('?') ? hostOf(rest.slice(at + 1)) : undefined) }]
  })
}

function decoded(text: string): string | undefined {
  if (text === '') return undefined
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

function parameter(rest: string, name: string): string | undefined {
  const [, query = ''] = /\?([^#]*)/.exec(rest) ?? []
  for (const pair of query.split('&')) {
    const [key = '', value = ''] = pair.split('=', 2)
    if (key.toLowerCase() === name) return decoded(value)
  }
  return undefined
}

const HOST = /^(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9](?:[a-z0-9._-]{0,252})))(?::(\d{1,5}))?$/i

function hostOf(authority: string): Pick<Read, 'host' | 'port'> {
  const [, six, name, port] = HOST.exec(authority.split(/[/?#]/, 1)[0] ?? '') ?? []
  const host = (six ?? name)?.toLowerCase()
  return host === undefined ? {} : { host, ...(port === undefined ? {} : { port: String(Number(port)) }) }
}

const USER_OPTION = /\s(?:--user(?:=|\s+)|-u\s*)(?:'([^']+)'|"([^"\\]+)"|([^\s'"\\]+))(?=\s|$)/g

function fromCommand(text: string): Read[] {
  if (!/^\s*(?:mysql|mariadb)(?:-?admin|-?dump)?\s/.test(text)) return []
  return [...text.matchAll(USER_OPTION)].map(([, single, double, plain]) => ({ user: single ?? double ?? plain ?? '' }))
}

/** An account in quotes of one kind, each doubled inside; or a name behind a word that says what it is. */
const ACCOUNT = /^(['"`])((?:(?!\1)[\s\S]|\1\1){1,260})\1@(['"`])(?:(?!\3)[^\r\n]){0,255}\3$/

/** A name that holds blanks is quoted: in a sentence, or beside a password, nothing is taken for one. */
const NAMED = /^(?:mysql|mariadb) user(?:: ?| )(?:'((?:[^']|''){1,260})'|([^\s'"`]{1,128}))$/i
const LONGEST = 1024

/** How `recognise` reads a name, whatever stands in it. */
export const shownAs = (user: string): string => `mysql user ${/[\s'"`]/.test(user) ? `'${user.replaceAll("'", "''")}'` : user}`

function fromName(text: string): Read[] {
  if (text.length > LONGEST) return []
  const [, quote = '', inside] = ACCOUNT.exec(text) ?? []
  if (inside !== undefined) return inside.includes('\\') ? [] : [{ user: inside.replaceAll(quote + quote, quote) }]
  const [, named, plain] = NAMED.exec(text) ?? []
  const user = named?.replaceAll("''", "'") ?? plain
  return user === undefined ? [] : [{ user }]
}
