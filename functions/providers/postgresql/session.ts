import { Socket } from 'node:net'
import pg from 'pg'
import { readAdminLogin } from '../admin-secret.ts'
import { IssuerError, IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../contract.ts'
import type { Settings } from './definition.ts'

/** What the provider needs of a connection. Errors are `IssuerError`s. */
export interface Session {
  /** One statement, its rows. With a name it is planned once for this connection. */
  query<Row extends object>(statement: string, values?: readonly unknown[], name?: string): Promise<Row[]>
  /** Several statements in one message, the rows of each. What follows one that fails is not done. */
  run(statements: readonly string[]): Promise<object[][]>
  /** Ends the connection at once, without waiting for the server. */
  destroy(): void
}

/**
 * Opens a connection to one database of the server.
 *
 * @throws IssuerRefused the secret is unusable, the server refuses it, or its certificate does not hold
 * @throws IssuerThrottled it has no connection left
 * @throws IssuerUnavailable the server cannot be reached, or hangs
 */
export async function openSession(settings: Settings, database: string, secret: string): Promise<Session> {
  const { user, password } = readAdminLogin(secret)
  const socket = new Socket()
  let asksInClear = false
  const client = new pg.Client({
    host: settings.host,
    port: settings.port,
    database,
    user,
    password: () => {
      if (asksInClear && settings.tls.mode !== 'verify-full') {
        throw new IssuerRefused('the server asked for the admin password in clear, and its certificate is not verified')
      }
      return password
    },
    ssl: tlsOptions(settings),
    stream: () => socket,
    application_name: 'rescind',
    connectionTimeoutMillis: settings.connectTimeoutMilliseconds,
    statement_timeout: settings.statementTimeoutMilliseconds,
    // The server's own limit comes first and says why; this one is for a server that is silent.
    query_timeout: settings.statementTimeoutMilliseconds + 500,
    idle_in_transaction_session_timeout: 30_000,
  })
  // Whoever answers at this address may ask for the password itself; only a proven server gets it.
  client.connection.on('authenticationCleartextPassword', () => {
    asksInClear = true
  })
  // A connection that breaks while idle has nobody to tell: its next statement fails.
  client.on('error', () => undefined)
  const destroy = () => {
    socket.destroy()
  }
  try {
    await client.connect()
  } catch (error) {
    destroy()
    throw issuerError(error)
  }
  return {
    async query<Row extends object>(text: string, values: readonly unknown[] = [], name?: string) {
      try {
        const { rows } = await client.query<Row>({ text, values: [...values], ...(name === undefined ? {} : { name }) })
        return rows
      } catch (error) {
        throw issuerError(error)
      }
    },
    async run(statements) {
      try {
        const results: pg.QueryResult<object> | pg.QueryResult<object>[] = await client.query<object>(statements.join(';\n'))
        return (Array.isArray(results) ? results : [results]).map(({ rows }) => rows)
      } catch (error) {
        throw issuerError(error)
      }
    },
    destroy,
  }
}

function tlsOptions({ tls, host }: Settings): pg.ClientConfig['ssl'] {
  switch (tls.mode) {
    case 'disable':
      return false
    case 'require':
      return { rejectUnauthorized: false }
    case 'verify-full':
      // `host` is what the certificate is checked against; pg sends a server name only where it is not an address.
      return { rejectUnauthorized: true, host, ...(tls.ca === undefined ? {} : { ca: tls.ca }) }
  }
}

/** Why a server of ours would not let us in, by SQLSTATE (PostgreSQL manual, appendix A): a person must mend it. */
const REFUSED: Readonly<Record<string, string>> = {
  '28000': 'the server does not let the admin in',
  '28P01': 'the server refuses the admin password',
  '3D000': 'the server has no database of that name',
  '42501': 'the admin lacks a privilege',
}

const TOO_MANY_CONNECTIONS = '53300'

/** OpenSSL's and Node's codes for a certificate that does not prove the server. */
const CERTIFICATE = /^(ERR_TLS_|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_(VERIFY|GET)_|HOSTNAME_MISMATCH)/

function issuerError(error: unknown): IssuerError {
  if (error instanceof IssuerError) return error
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
  const cause = new SessionFailure(error instanceof Error ? error.message : 'unknown', code)
  const refused = code === undefined ? undefined : REFUSED[code]
  if (refused !== undefined) return new IssuerRefused(`PostgreSQL: ${refused} (${code})`, { cause })
  if (code !== undefined && CERTIFICATE.test(code)) {
    return new IssuerRefused(`PostgreSQL: the server's certificate does not hold (${code})`, { cause })
  }
  // Of the server, of its database, or of the admin's own role: met at the door only, before anything is done.
  if (code === TOO_MANY_CONNECTIONS) return new IssuerThrottled(`PostgreSQL: too many connections (${code})`, { cause })
  return new IssuerUnavailable(`PostgreSQL: no answer to rely on (${code ?? cause.message})`, { cause })
}

/** A client's error without the objects that hang on it: nothing of a connection may reach a log. */
class SessionFailure extends Error {
  override readonly name = 'SessionFailure'
  readonly code: string | undefined
  constructor(message: string, code: string | undefined) {
    super(message)
    this.code = code
  }
}
