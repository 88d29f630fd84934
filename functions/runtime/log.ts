import { IdentityInvalid } from '../domain/identity.ts'
import { IssuerError } from '../providers/contract.ts'
import { StoreBusy } from '../store/table.ts'
import type { Clock, Log } from './ports.ts'

/** The fields that may stand in a log line: ids, keys, counts, codes, durations. Nothing else is written. */
export const LOG_FIELDS = [
  'alive',
  'attempt',
  'batch',
  'bytes',
  'case',
  'chunk',
  'code',
  'count',
  'deployment',
  'eventId',
  'failed',
  'fingerprint',
  'function',
  'generation',
  'group',
  'identity',
  'issuer',
  'kind',
  'lane',
  'lease',
  'leases',
  'messageId',
  'method',
  'milliseconds',
  'outcome',
  'progress',
  'provider',
  'queue',
  'reason',
  'receiveCount',
  'requestId',
  'route',
  'scope',
  'seconds',
  'segment',
  'shard',
  'source',
  'state',
  'status',
  'task',
  'trigger',
  'unit',
] as const

const ALLOWED: ReadonlySet<string> = new Set(LOG_FIELDS)
const LONGEST = 256

type ErrorClass = abstract new (...args: never[]) => Error

/** Our own classes that cannot be an `OwnError`, for they stand where this folder is not imported from. */
const OWN: readonly ErrorClass[] = [IdentityInvalid, IssuerError, StoreBusy]

/** Marks a class whose messages are written by us and hold nothing from outside, so that the log may show them. */
export abstract class OwnError extends Error {
  abstract readonly code: string
}

/**
 * JSON lines: `{"time","level","message",...fields}`. Fields outside `LOG_FIELDS` are dropped and only counted
 * (`dropped`), so that a new field is a decision. An error is written by name, code and places in the code; its
 * message only if its class is our own: a foreign message may quote a statement, an address or a secret.
 */
export function jsonLog(options: {
  readonly clock: Clock
  /** Name of the function. */
  readonly function?: string
  readonly write?: (line: string) => void
  /** Lines below it are left out; default `info`. */
  readonly level?: 'info' | 'warn' | 'error'
  /** Further classes whose messages may be written. */
  readonly own?: readonly ErrorClass[]
}): Log {
  const write = options.write ?? ((line: string) => process.stdout.write(`${line}\n`))
  const own = [...OWN, OwnError, ...(options.own ?? [])]
  const ranks = { info: 0, warn: 1, error: 2 } as const
  const least = ranks[options.level ?? 'info']
  const line = (level: keyof typeof ranks, message: string, fields: Readonly<Record<string, unknown>> = {}) => {
    if (ranks[level] < least) return
    const entry: Record<string, unknown> = { time: new Date(options.clock.now()).toISOString(), level, message: cut(message) }
    if (options.function !== undefined) entry['function'] = options.function
    let dropped = 0
    for (const [field, value] of Object.entries(fields)) {
      if (field === 'error' || value === undefined) continue
      if (!ALLOWED.has(field)) dropped++
      else if (typeof value === 'string') entry[field] = cut(value)
      else if (typeof value === 'number' || typeof value === 'boolean') entry[field] = value
      else dropped++
    }
    if (dropped > 0) entry['dropped'] = dropped
    if ('error' in fields) entry['error'] = describe(fields['error'], own, 0)
    write(JSON.stringify(entry))
  }
  return {
    info: (message, fields) => line('info', message, fields),
    warn: (message, fields) => line('warn', message, fields),
    error: (message, fields) => line('error', message, fields),
  }
}

const cut = (text: string) => (text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text)

/** An error as a log line tells it, in one text: its name, its code, and its message only if it is one of our own. */
export function aboutError(error: unknown): string {
  const { name, code, message } = describe(error, [...OWN, OwnError], 0)
  return [name, code, message]
    .filter((part) => part !== undefined)
    .join(' ')
    .slice(0, 300)
}

const WORD = /^[A-Za-z0-9_.:-]{1,64}$/

function describe(error: unknown, own: readonly ErrorClass[], depth: number): Record<string, unknown> {
  if (!(error instanceof Error)) return { name: `thrown ${error === null ? 'null' : typeof error}` }
  const about: Record<string, unknown> = { name: WORD.test(error.name) ? error.name : 'Error' }
  const code = 'code' in error ? error.code : undefined
  if (typeof code === 'number' || (typeof code === 'string' && WORD.test(code))) about['code'] = code
  const metadata = '$metadata' in error ? error.$metadata : undefined
  if (typeof metadata === 'object' && metadata !== null) {
    if ('httpStatusCode' in metadata && typeof metadata.httpStatusCode === 'number') about['status'] = metadata.httpStatusCode
    if ('requestId' in metadata && typeof metadata.requestId === 'string' && WORD.test(metadata.requestId)) {
      about['requestId'] = metadata.requestId
    }
  }
  if (own.some((kind) => error instanceof kind)) about['message'] = cut(error.message)
  const at = places(error)
  if (at.length > 0) about['at'] = at
  if (error.cause !== undefined && depth < 3) about['cause'] = describe(error.cause, own, depth + 1)
  return about
}

/** The topmost places of the stack. The message stands in the stack's first lines: without it, or not at all. */
function places(error: Error): string[] {
  const stack = error.stack ?? ''
  // V8 writes `Name: message` as it was when the error was made; where it is not found whole, a line of the message
  // could pass for a place.
  const from = error.message === '' ? 0 : stack.indexOf(error.message)
  if (from < 0) return []
  return [
    ...stack
      .slice(from + error.message.length)
      .matchAll(/\n {4}at ((?:[\w$.<>[\] ]{1,80} )?\(?(?:file:\/\/)?[\w@./-]{1,200}:\d+:\d+\)?)(?=\n|$)/g),
  ]
    .slice(0, 5)
    .map((match) => match[1] ?? '')
}
