import type { Clue } from '../contract.ts'
import { UserName } from './names.ts'

/** To the next blank or quote; a password that holds one must be percent-encoded, and is cut off here if it is not. */
const URI = /amqps?:\/\/([^\s"'`<>]+)/gi
const NAMED = /^rabbitmq user ([\s\S]{1,255})$/i

interface Read {
  readonly user: string
  readonly host?: string
}

/**
 * A user by a connection string (`amqp://user:password@host/vhost`, also inside other text) or by `rabbitmq user <name>`.
 * What stands where a password belongs is never looked at. A text that names two users is none.
 */
export function recognise(text: string): Clue | undefined {
  const [, named] = NAMED.exec(text.trim()) ?? []
  const read = named === undefined ? fromUris(text) : [{ user: named }]
  const [first] = read
  if (first === undefined || !UserName.safeParse(first.user).success) return undefined
  if (read.some(({ user, host }) => user !== first.user || host !== first.host)) return undefined
  const { user, host } = first
  return {
    credential: `user:${user}`,
    shown: host === undefined ? `rabbitmq user ${user}` : `rabbitmq user ${user} at ${host}`,
    query: { user, ...(host === undefined ? {} : { host }) },
  }
}

function fromUris(text: string): Read[] {
  return [...text.matchAll(URI)].flatMap(([, found = '']): Read[] => {
    const authority = found.split(/[/?#]/, 1)[0] ?? ''
    const at = authority.lastIndexOf('@')
    // Without a user it is `guest`, which nobody was given.
    if (at < 0) return []
    const user = decoded(authority.slice(0, at).split(':', 1)[0] ?? '')
    // A second @ may be a password's own, and what follows it the rest of the password instead of a host.
    const [, host] =
      authority.indexOf('@') === at ? (/^([a-z0-9][a-z0-9.-]{0,252})(?::\d{1,5})?$/i.exec(authority.slice(at + 1)) ?? []) : []
    return user === undefined ? [] : [{ user, ...(host === undefined ? {} : { host: host.toLowerCase() }) }]
  })
}

function decoded(text: string): string | undefined {
  try {
    return text === '' ? undefined : decodeURIComponent(text)
  } catch {
    return undefined
  }
}
