import type { Clue } from '../contract.ts'
import { bare, changes, looksRandom } from '../shape.ts'
import { RoleName } from './names.ts'

interface Read {
  readonly role: string
  readonly host?: string
  readonly port?: string
}

/**
 * A role by a connection string (`postgres://role:password@host/db`, also inside other text and as JDBC writes it), by
 * libpq's keywords or environment (`dbname=... user=...`, `PGUSER=...`), by `role <name>`, or by its name alone where that
 * is plain: small letters, digits at few places. What stands where a password belongs is never looked at; what could be
 * one, for lack of a word that says otherwise, is not taken for a name. A text that names several roles is none.
 */
export function recognise(text: string): Clue | undefined {
  const read = [...fromUris(text), ...fromKeywords(text), ...fromName(bare(text))]
  const [first] = read
  if (first === undefined || !RoleName.safeParse(first.role).success) return undefined
  if (read.some(({ role, host, port }) => role !== first.role || host !== first.host || port !== first.port)) return undefined
  const { role, host, port } = first
  return {
    credential: `role:${role}`,
    shown: host === undefined ? `role ${role}` : `role ${role} at ${host}`,
    query: { role, ...(host === undefined ? {} : { host }), ...(port === undefined ? {} : { port }) },
  }
}

/** To the next blank or quote; a password that holds one must be percent-encoded, and is cut off here if it is not. */
const URI = /('?)postgres(?:ql)?:\/\/([^\s"`<>]+)/gi

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
    const role = decoded(/[/?#]/.test(named) ? '' : named) ?? parameter(rest, 'user')
    if (role === undefined) return []
    const place = certain && !before.includes('?') ? hostOf(rest.slice(at + 1)) : undefined
    return [{ role, ...place }]
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

/** libpq's keywords (PostgreSQL manual, "Connection Strings") and environment variables: a value may be quoted, and a backslash escapes. */
const KEYWORD =
  /(?<![\w-])(PG)?(user|password|passfile|host|hostaddr|port|dbname|database)[ \t]{0,8}=[ \t]{0,8}('(?:[^'\\]|\\[\s\S])*'|"(?:[^"\\]|\\[\s\S])*"|(?:[^\s\\'"]|\\[\s\S])*)/gi

function fromKeywords(text: string): Read[] {
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
  const [role] = users
  if (!isPostgres || role === undefined) return []
  if (users.size > 1) return [...users].map((user) => ({ role: user }))
  const [host, port] = [only(hosts), only(ports)]
  if (host === undefined || !HOST.test(host)) return [{ role }]
  return [{ role, host, ...(port !== undefined && /^\d{1,5}$/.test(port) ? { port: String(Number(port)) } : {}) }]
}

const only = (values: ReadonlySet<string>): string | undefined => (values.size === 1 ? [...values][0] : undefined)

const PLAIN = /^[a-z_][a-z0-9_$-]{0,62}$/
/** `reporting2`, `app_v2_ro`; a password that somebody made up changes more often. */
const MOST_CHANGES = 3

function fromName(text: string): Read[] {
  const [, named] = /^role(?:: ?| )([\s\S]{1,63})$/.exec(text) ?? []
  if (named !== undefined) return [{ role: named }]
  return PLAIN.test(text) && !looksRandom(text) && changes(text.replaceAll(/[^a-z0-9]/g, '')) <= MOST_CHANGES
    ? [{ role: text }]
    : []
}
