import type { Clue } from '../contract.ts'
import { bare } from '../shape.ts'
import { UserName } from './names.ts'

interface Read {
  readonly user: string
  readonly host?: string
  readonly port?: string
}

/**
 * An ACL user by a connection string (`redis://user:password@host`, also inside other text), by a line of an ACL file or
 * of `ACL LIST` (`user name on #...`), by the options of redis-cli, or by `acl user <name>` and `redis user <name>`. What
 * stands where a password belongs is never looked at. A text that names several users is none.
 */
export function recognise(text: string): Clue | undefined {
  const read = [...fromUris(text), ...fromCommand(text), ...fromLine(bare(text))]
  const [first] = read
  if (first === undefined || !UserName.safeParse(first.user).success) return undefined
  if (read.some(({ user, host, port }) => user !== first.user || host !== first.host || port !== first.port)) return undefined
  const { user, host, port } = first
  return {
    credential: `user:${user}`,
    shown: host === undefined ? `ACL user ${user}` : `ACL user ${user} at ${host}`,
    query: { user, ...(host === undefined ? {} : { host }), ...(port === undefined ? {} : { port }) },
  }
}

/** To the next blank or quote; a password that holds one must be percent-encoded, and is cut off here if it is not. */
const URI = /('?)(?:redis|valkey)s?:\/\/([^\s"`<>]+)/gi

function fromUris(text: string): Read[] {
  // A second @ may be a password's own, and what follows it the rest of the password instead of a host.
  const certain = text.split('@').length <= 2
  return [...text.matchAll(URI)].flatMap(([, quote, found = '']): Read[] => {
    // An apostrophe need not be encoded; it ends what one began.
    const rest = quote === "'" ? (found.split("'", 1)[0] ?? '') : found
    const at = rest.lastIndexOf('@')
    const before = at < 0 ? '' : rest.slice(0, at)
    // Without a colon some clients take the one word for a user and others for a password.
    if (!before.includes(':') || /[/?#]/.test(before)) return []
    const user = decoded(before.slice(0, before.indexOf(':')))
    if (user === undefined) return []
    // `redis://:password@host` logs in as the user that every server has.
    return [{ user: user === '' ? 'default' : user, ...(certain ? hostOf(rest.slice(at + 1)) : undefined) }]
  })
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

const HOST = /^(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9](?:[a-z0-9._-]{0,252})))(?::(\d{1,5}))?$/i

function hostOf(authority: string): Pick<Read, 'host' | 'port'> {
  const [, six, name, port] = HOST.exec(authority.split(/[/?#]/, 1)[0] ?? '') ?? []
  const host = (six ?? name)?.toLowerCase()
  return host === undefined ? {} : { host, ...(port === undefined ? {} : { port: String(Number(port)) }) }
}

function fromCommand(text: string): Read[] {
  if (!/^\s*(?:redis|valkey)-cli\s/.test(text)) return []
  return [...text.matchAll(/\s--user(?:\s+|=)(?:'([^'\s]+)'|"([^"\s\\]+)"|([^\s'"\\]+))(?=\s|$)/g)].map(
    ([, single, double, plain]) => ({ user: single ?? double ?? plain ?? '' }),
  )
}

/** A line of an ACL file may hold many rules; what is longer is none. */
const LONGEST_LINE = 4096

function fromLine(text: string): Read[] {
  if (text.length > LONGEST_LINE) return []
  const [, listed] = /^user ([^ \r\n]+) (?:[^\r\n]* )?(?:on|off)(?: [^\r\n]*)?$/.exec(text) ?? []
  const [, named] = /^(?:acl|redis|valkey) user(?:: ?| )([^\s]+)$/i.exec(text) ?? []
  const user = listed ?? named
  return user === undefined ? [] : [{ user }]
}
