import type { Login } from '../connection-uri.ts'
import { agreed, urisIn } from '../connection-uri.ts'
import type { Clue } from '../contract.ts'
import { bare } from '../shape.ts'
import { UserName } from './names.ts'

/**
 * A user by a connection string (`mysql://user:password@host/db`, also inside other text and as JDBC writes it), by the
 * options of the command-line client, by an account as the server writes it (`'app'@'%'`), or by `mysql user <name>`. What
 * stands where a password belongs is never looked at. A text that names several users is none.
 */
export function recognise(text: string): Clue | undefined {
  const login = agreed([...fromUris(text), ...fromCommand(text), ...fromName(bare(text)), ...fromName(text.trim())])
  if (login === undefined || !UserName.safeParse(login.user).success) return undefined
  const { user, host } = login
  return {
    credential: `user:${user}`,
    shown: host === undefined ? `user ${user}` : `user ${user} at ${host}`,
    query: { ...login },
  }
}

/** MySQL Reference Manual, "Connecting to the Server Using URI-Like Strings or Key-Value Pairs"; drivers put theirs behind a plus. */
function fromUris(text: string): Login[] {
  return urisIn(text, /(?:mysqlx?|mariadb)(?:\+[a-z0-9]{1,20})?$/i).flatMap(({ name, parameter, place }): Login[] => {
    const user = name || parameter('user')
    return user === undefined ? [] : [{ user, ...place }]
  })
}

const USER_OPTION = /\s(?:--user(?:=|\s+)|-u\s*)(?:'([^']+)'|"([^"\\]+)"|([^\s'"\\]+))(?=\s|$)/g

function fromCommand(text: string): Login[] {
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

function fromName(text: string): Login[] {
  if (text.length > LONGEST) return []
  const [, quote = '', inside] = ACCOUNT.exec(text) ?? []
  if (inside !== undefined) return inside.includes('\\') ? [] : [{ user: inside.replaceAll(quote + quote, quote) }]
  const [, named, plain] = NAMED.exec(text) ?? []
  const user = named?.replaceAll("''", "'") ?? plain
  return user === undefined ? [] : [{ user }]
}
