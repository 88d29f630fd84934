import type { IssuerError } from '../contract.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../contract.ts'

/** A command and its arguments. They travel with their lengths: nothing in them is ever taken for a command. */
export type Command = readonly [string, ...string[]]

/** What the server answered with an error. Its text may quote arguments, passwords too, so it goes no further than here. */
export class Failure {
  /** `NOPERM`, `WRONGPASS`, `ERR`. */
  readonly code: string
  readonly text: string
  constructor(text: string) {
    this.text = text
    this.code = /^[A-Z]{2,20}\b/.exec(text)?.[0] ?? 'ERR'
  }
}

export type Reply = string | number | null | Failure | readonly Reply[]

/** One server's answers, and how to be rid of it. Errors of the connection are `IssuerError`s; a server's are `Failure`s. */
export interface Connection {
  /** Several commands in one message, the reply of each in order. */
  exchange(commands: readonly Command[]): Promise<Reply[]>
  /** Ends the connection at once. */
  destroy(): void
}

/** Why a server of ours would not do what it must: a person must mend it. */
const REFUSED: Readonly<Record<string, string>> = {
  WRONGPASS: 'the server refuses the admin password, or its user is off',
  NOAUTH: 'the server does not know the admin',
  DENIED: 'the server runs in protected mode and lets nobody in from elsewhere',
}

/** A server's error as one of the issuer's. Whatever is not known may heal. */
export function issuerError({ code, text }: Failure): IssuerError {
  const refused = REFUSED[code]
  if (refused !== undefined) return new IssuerRefused(`Redis: ${refused} (${code})`)
  if (code === 'NOPERM') {
    const [, command = 'a command that it needs'] = /'([a-z]+(?:\|[a-z-]+)?)'/.exec(text) ?? []
    return new IssuerRefused(`Redis: the admin may not run ${command} (NOPERM)`)
  }
  if (/^ERR max number of clients/.test(text)) return new IssuerThrottled('Redis: the server takes no more connections')
  if (/^ERR (unknown (sub)?command|wrong number of arguments)/i.test(text))
    return new IssuerRefused('Redis: the server does not know a command that is needed; it must be Redis 6.2 or later, or Valkey')
  return new IssuerUnavailable(`Redis: no answer to rely on (${code})`)
}

/** @throws IssuerError if it is an error */
export function good(reply: Reply | undefined): Exclude<Reply, Failure> {
  if (reply === undefined) throw new IssuerUnavailable('Redis: fewer replies than commands')
  if (reply instanceof Failure) throw issuerError(reply)
  return reply
}

export function text(reply: Reply | undefined): string {
  const found = good(reply)
  if (typeof found !== 'string') throw new IssuerUnavailable('Redis: a reply of another kind than its command gives')
  return found
}

/** A user as one server has it. */
export interface User {
  readonly enabled: boolean
  readonly nopass: boolean
  /** SHA-256 of passwords, and notes (names.ts). */
  readonly hashes: readonly string[]
}

/** The reply of `ACL GETUSER` (RESP 2: names and values in turn); `undefined` where there is no such user. */
export function userIn(reply: Reply | undefined): User | undefined {
  const found = good(reply)
  if (found === null) return undefined
  if (!Array.isArray(found)) throw new IssuerUnavailable('Redis: ACL GETUSER answers nothing that describes a user')
  const flags = words(found[found.indexOf('flags') + 1])
  const hashes = words(found[found.indexOf('passwords') + 1])
  const enabled = flags.includes('on')
  if (!enabled && !flags.includes('off'))
    throw new IssuerUnavailable('Redis: ACL GETUSER does not tell whether a user is on or off')
  return { enabled, nopass: flags.includes('nopass'), hashes }
}

function words(reply: Reply | undefined): string[] {
  return Array.isArray(reply) ? reply.filter((word): word is string => typeof word === 'string') : []
}

/** The reply of `ACL LIST`: `user <name> <rules>`, one line for each. */
export function usersIn(reply: Reply | undefined): Map<string, User> {
  const lines = good(reply)
  if (!Array.isArray(lines)) throw new IssuerUnavailable('Redis: ACL LIST answers no list')
  const users = new Map<string, User>()
  for (const line of words(lines)) {
    const [first, name, ...rules] = line.split(' ')
    if (first !== 'user' || name === undefined) throw new IssuerUnavailable('Redis: ACL LIST answers lines of another form')
    const hashes = rules.flatMap((rule) => (/^#[0-9a-f]{64}$/.test(rule) ? [rule.slice(1)] : []))
    users.set(name, { enabled: rules.includes('on'), nopass: rules.includes('nopass'), hashes })
  }
  return users
}

/** The reply of `CLIENT LIST`: how many connections each user has open. */
export function connectionsIn(reply: Reply | undefined): Map<string, number> {
  const open = new Map<string, number>()
  // What a client may choose (its name, its library's) holds no blank, and stands behind a word of its own.
  for (const line of text(reply).split('\n')) {
    const [, user] = / user=([^ ]+)/.exec(line) ?? []
    if (user !== undefined) open.set(user, (open.get(user) ?? 0) + 1)
  }
  return open
}

/** A line of `INFO` or `CLUSTER INFO`. */
export const field = (info: string, name: string): string | undefined => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1]
