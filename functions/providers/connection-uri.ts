/**
 * Connection strings in what a person pastes: `scheme://user:password@host:port/path?parameters`, as RFC 3986 sections 3.2
 * (authority) and 3.4 (query) divide them and as clients take them with less care. One reader serves all providers, because
 * its one duty is delicate: what could be a password, or a part of one, is never given out as a name.
 */

/** Where a server is, as far as a text says so beyond doubt. */
export interface Place {
  /** In small letters, IPv6 addresses without brackets. */
  readonly host?: string
  readonly port?: string
}

/** A user and where that user logs in. */
export interface Login extends Place {
  readonly user: string
}

export interface ConnectionUri {
  /** What stands before the last `@`, password included; empty where there is none. Only for asking about its shape. */
  readonly userinfo: string
  /** The user's name, decoded; empty where none is given; absent where it cannot be decoded. */
  readonly name?: string
  /** The parameter of this name, decoded, where it cannot be a part of a password. */
  readonly parameter: (name: string) => string | undefined
  readonly place: Place
}

/**
 * Any address, up to the next blank or quote: a password that holds one must be percent-encoded, and is cut off here if it is
 * not. One that stands within another is a part of it, perhaps of its password.
 */
const ADDRESS = /('?)([a-z][a-z0-9+.:-]{0,60})?:\/\/([^\s"`<>]+)/gi

/** All connection strings of a scheme (`schemes` matches its end, since JDBC writes one before it) in a text, in order. */
export function urisIn(text: string, schemes: RegExp): ConnectionUri[] {
  if (isCutOff(text)) return []
  // A second @ may be a password's own, and what follows it the rest of the password instead of a host.
  const certain = text.split('@').length <= 2
  return [...text.matchAll(ADDRESS)].flatMap(([, quote = '', scheme = '', found = '']): ConnectionUri[] => {
    if (!schemes.test(scheme)) return []
    const rest = unquoted(quote, found)
    const at = rest.lastIndexOf('@')
    const userinfo = at < 0 ? '' : rest.slice(0, at)
    // An @ behind the question mark belongs to a parameter, perhaps to a password.
    const isPlain = !userinfo.includes('?')
    const [first = ''] = isPlain ? userinfo.split(':', 1) : []
    const name = /[/?#]/.test(first) ? '' : decoded(first)
    const behind = rest.slice(at + 1)
    const believed = isOfHosts(rest, text) ? rest : certain && at >= 0 ? behind : ''
    return [
      {
        userinfo,
        ...(name === undefined ? {} : { name }),
        parameter: (asked) => parameter(believed, asked),
        place: certain && isPlain ? placeOf(behind) : {},
      },
    ]
  })
}

/** A text without its addresses, for readers of other forms, which a password in an address may look like. */
export const withoutUris = (text: string): string => (isCutOff(text) ? '' : text.replaceAll(ADDRESS, ' '))

/** An apostrophe need not be encoded; it ends what one began. */
const unquoted = (quote: string, found: string): string => (quote === "'" ? (found.split("'", 1)[0] ?? '') : found)

/** Whether a password may go on behind the end of an address: one seems to begin in it, and its `@` comes later in the text. */
function isCutOff(text: string): boolean {
  for (const { 1: quote = '', 3: found = '', index, 0: all } of text.matchAll(ADDRESS)) {
    const rest = unquoted(quote, found)
    if (!rest.includes('@') && !isHosts(authorityOf(rest)) && text.includes('@', index + all.length - found.length)) return true
  }
  return false
}

/** It ends at the first slash, question mark or number sign (RFC 3986, section 3.2). */
const authorityOf = (rest: string): string => rest.split(/[/?#]/, 1)[0] ?? ''

/** Hosts and ports alone: a colon before anything else begins a password. */
const isHosts = (authority: string): boolean =>
  !authority.includes('@') && authority.split(',').every((host) => !host.includes(':') || HOST.test(host))

/**
 * Whether no password stands before the parameters. Some clients end the authority at a slash or an `@` only: without a
 * slash, no `@` may follow in the whole text, for a password may have been cut off at a blank.
 */
function isOfHosts(rest: string, text: string): boolean {
  const authority = authorityOf(rest)
  return isHosts(authority) && (rest[authority.length] === '/' || !text.includes('@'))
}

/** Percent-encoding undone (RFC 3986, section 2.1); nothing where that cannot be. */
function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

/** One that is given with two values is none, behind a number sign too: one of them may stand in a password that was not encoded. */
function parameter(rest: string, name: string): string | undefined {
  const [, query = ''] = /\?(.*)/.exec(rest) ?? []
  const pairs = query.split('&').map((pair) => pair.split('=', 2))
  const values = pairs.flatMap(([key = '', value = '']) => (key.toLowerCase() === name ? (value.split('#', 1)[0] ?? '') : []))
  const [value = ''] = new Set(values).size === 1 ? values : []
  return value === '' ? undefined : decoded(value)
}

/** A host and perhaps a port (RFC 3986, sections 3.2.2 and 3.2.3); of names, those that a person gives to a server. */
const HOST = /^(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9](?:[a-z0-9._-]{0,252})))(?::(\d{1,5}))?$/i

export const isHost = (text: string): boolean => HOST.test(text)

/** The host and port that a text begins with, up to its path; nothing where it is no single host. */
function placeOf(text: string): Place {
  const [, six, name, port] = HOST.exec(text.split(/[/?#]/, 1)[0] ?? '') ?? []
  const host = (six ?? name)?.toLowerCase()
  return host === undefined ? {} : { host, ...(port === undefined ? {} : { port: String(Number(port)) }) }
}

/** The one login that all readings of a text agree on. */
export function agreed(read: readonly Login[]): Login | undefined {
  const [first] = read
  return read.every(({ user, host, port }) => user === first?.user && host === first.host && port === first.port)
    ? first
    : undefined
}
