import type { AdminLogin } from '../admin-secret.ts'
import type { IssuerError } from '../contract.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../contract.ts'
import type { Settings } from './definition.ts'

export type Value = string | number | null
export type Row = Readonly<Record<string, Value>>

/** What the provider needs of a connection: errors are `IssuerError`s, or a `SqlFailure` where the server says no. */
export interface Session {
  /** One statement and its rows; values are bound by the server. */
  query(statement: string, values?: readonly Value[]): Promise<Row[]>
  /** Ends the connection at once, without waiting for the server. */
  destroy(): void
}

/** Opens a connection that is logged in. */
export type Open = (settings: Settings, admin: AdminLogin) => Promise<Session>

/**
 * The server's no to a statement, by its number (MySQL manual, "Server Error Message Reference"): names of errors differ
 * between clients. Its text may quote the statement, so it goes no further.
 */
export class SqlFailure extends Error {
  override readonly name = 'SqlFailure'
  readonly errno: number
  constructor(errno: number) {
    super(`error ${errno}`)
    this.errno = errno
  }
}

export const errno = {
  tooManyConnections: [1040, 1203, 1226],
  accessDenied: [1044, 1045, 1142, 1143, 1227, 1370, 1698],
  hostBlocked: [1129, 1130],
  accountLocked: [3118, 4151],
  cannotUser: 1396,
  unknownThread: 1094,
  killDenied: 1095,
  /** A privilege of the server's own that is needed for this one account (MySQL: SYSTEM_USER). */
  specificAccess: 1227,
  definerInUse: 4006,
} as const

const WHY: readonly (readonly [readonly number[], string])[] = [
  [errno.accessDenied, 'the server refuses the admin, or the admin lacks a privilege'],
  [errno.accountLocked, "the admin's account is locked"],
  [errno.hostBlocked, 'the server does not let us in from this address'],
]

/** A server's no that nothing in particular was made of. */
export function issuerError(failure: SqlFailure): IssuerError {
  if (errno.tooManyConnections.some((one) => one === failure.errno))
    return new IssuerThrottled(`MySQL: too many connections (${failure.errno})`)
  const why = WHY.find(([numbers]) => numbers.includes(failure.errno))
  if (why !== undefined) return new IssuerRefused(`MySQL: ${why[1]} (${failure.errno})`)
  return new IssuerUnavailable(`MySQL: no answer to rely on (${failure.errno})`)
}

/** The number of the server's no; any other error is thrown on. */
export function errnoOf(error: unknown): number {
  if (error instanceof SqlFailure) return error.errno
  throw error
}
