import type { Login } from '../connection-uri.ts'
import { agreed, isHost, urisIn, withoutUris } from '../connection-uri.ts'
import type { Clue } from '../contract.ts'
import { bare, changes, looksRandom } from '../shape.ts'
import { RoleName } from './names.ts'

/**
 * A role by a connection string (`postgres://role:password@host/db`, also inside other text and as JDBC writes it), by
 * libpq's keywords or environment (`dbname=... user=...`, `PGUSER=...`), by `role <name>`, or by its name alone where that
 * is plain: small letters, digits at few places. What stands where a password belongs is never looked at; what could be
 * one, for lack of a word that says otherwise, is not taken for a name. A text that names several roles is none.
 */
export function recognise(text: string): Clue | undefined {
  const login = agreed([...fromUris(text), ...fromKeywords(withoutUris(text)), ...fromName(bare(text))])
  if (login === undefined || !RoleName.safeParse(login.user).success) return undefined
  const { user: role, ...place } = login
  return {
    credential: `role:${role}`,
    shown: place.host === undefined ? `role ${role}` : `role ${role} at ${place.host}`,
    query: { role, ...place },
  }
}

/** PostgreSQL manual, "Connection URIs". */
function fromUris(text: string): Login[] {
  return urisIn(text, /postgres(?:ql)?$/i).flatMap(({ name, parameter, place }): Login[] => {
    const user = name || parameter('user')
    return user === undefined ? [] : [{ user, ...place }]
  })
}

/** libpq's keywords (PostgreSQL manual, "Connection Strings") and environment variables: a value may be quoted, and a backslash escapes. */
const KEYWORD =
  /(?<![\w-])(PG)?(user|password|passfile|host|hostaddr|port|dbname|database)[ \t]{0,8}=[ \t]{0,8}('(?:[^'\\]|\\[\s\S])*'|"(?:[^"\\]|\\[\s\S])*"|(?:[^\s\\'"]|\\[\s\S])*)/gi

function fromKeywords(text: string): Login[] {
  const users = new Set<string>()
  const hosts = new Set<string>()
  const ports = new Set<string>()
  let isPostgres = false
  for (const [, prefix, keyword = '', value = ''] of text.matchAll(KEYWORD)) {
    const key = keyword.toLowerCase()
    // Other databases' clients say user, host and password too; these words are libpq's alone.
    if (prefix !== undefined || key === 'dbname') isPostgres = true
    const plain = value.replace(/^(['"])([\s\S]*)\1$/, '$2').replaceAll(/\\([\s\S])/g, '$1')
    if (plain === '') continue
    if (key === 'user') users.add(plain)
    if (key === 'host') hosts.add(plain.toLowerCase())
    if (key === 'port') ports.add(plain)
  }
  const [user] = users
  if (!isPostgres || user === undefined) return []
  if (users.size > 1) return [...users].map((one) => ({ user: one }))
  const [host, port] = [only(hosts), only(ports)]
  if (host === undefined || !isHost(host)) return [{ user }]
  return [{ user, host, ...(port !== undefined && /^\d{1,5}$/.test(port) ? { port: String(Number(port)) } : {}) }]
}

const only = (values: ReadonlySet<string>): string | undefined => (values.size === 1 ? [...values][0] : undefined)

const PLAIN = /^[a-z_][a-z0-9_$-]{0,62}$/
/** `reporting2`, `app_v2_ro`; a password that somebody made up changes more often. */
const MOST_CHANGES = 3

function fromName(text: string): Login[] {
  const [, named] = /^role(?:: ?| )([\s\S]{1,63})$/.exec(text) ?? []
  if (named !== undefined) return [{ user: named }]
  return PLAIN.test(text) && !looksRandom(text) && changes(text.replaceAll(/[^a-z0-9]/g, '')) <= MOST_CHANGES
    ? [{ user: text }]
    : []
}
