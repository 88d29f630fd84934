import { Socket } from 'node:net'
import type { Connection, ConnectionOptions } from 'mysql2'
import mysql from 'mysql2'
import type { AdminLogin } from '../admin-secret.ts'
import type { IssuerError } from '../contract.ts'
import { IssuerRefused, IssuerUnavailable } from '../contract.ts'
import type { Settings } from './definition.ts'
import type { Row, Session, Value } from './session.ts'
import { issuerError, SqlFailure } from './session.ts'

/** The client has one code for whatever fails in a TLS handshake; a certificate that does not hold is told by the words alone. */
const CERTIFICATE = /certificate|altnames/i

/**
 * Opens a connection, logged in as the admin, without a database.
 *
 * @throws IssuerRefused the server refuses the admin, or its certificate does not hold
 * @throws IssuerThrottled it has no connection left
 * @throws IssuerUnavailable the server cannot be reached, hangs, or is no MySQL
 */
export async function open(settings: Settings, { user, password }: AdminLogin): Promise<Session> {
  const { host, port, tls, connectTimeoutMilliseconds, statementTimeoutMilliseconds } = settings
  const socket = new Socket()
  const destroy = () => {
    socket.destroy()
  }
  const options: ConnectionOptions = {
    ...{ host, port, user, password, charset: 'utf8mb4', supportBigNumbers: true, multipleStatements: false },
    connectTimeout: connectTimeoutMilliseconds,
    stream: socket,
    // LOCAL INFILE lets a server read the client's files.
    flags: ['-LOCAL_FILES'],
    ...(tls.mode === 'disable'
      ? {}
      : { ssl: { rejectUnauthorized: true, verifyIdentity: true, ...(tls.ca === undefined ? {} : { ca: tls.ca }) } }),
  }
  // What stands behind a connection that was never made fails with it.
  const signal = AbortSignal.timeout(connectTimeoutMilliseconds)
  signal.addEventListener('abort', destroy, { once: true })
  const connection = mysql.createConnection(options)
  socket.connect(port, host)
  // A connection that breaks while idle has nobody to tell: its next statement fails.
  connection.on('error', () => undefined)
  try {
    await connected(connection, socket)
  } catch (error) {
    destroy()
    throw connectError(error, signal.aborted)
  } finally {
    signal.removeEventListener('abort', destroy)
  }
  return {
    async query(statement, values) {
      try {
        return await rowsOf(connection, socket, statement, values, statementTimeoutMilliseconds)
      } catch (error) {
        if (error instanceof SqlFailure) throw error
        destroy()
        throw connectError(error, false)
      }
    },
    destroy,
  }
}

/** The client's own callbacks do not come where the stream is ended under it, so the stream is listened to as well. */
async function connected(connection: Connection, socket: Socket): Promise<void> {
  await new Promise<void>((done, fail) => {
    socket.once('close', () => fail(new Error('closed')))
    connection.once('error', fail)
    connection.connect((error) => (error === null ? done() : fail(error)))
  })
}

async function rowsOf(
  connection: Connection,
  socket: Socket,
  sql: string,
  values: readonly Value[] | undefined,
  timeout: number,
): Promise<Row[]> {
  return await new Promise<Row[]>((done, fail) => {
    const closed = () => fail(new Error('closed'))
    if (socket.destroyed) return closed()
    socket.once('close', closed)
    const answer = (error: unknown, result: unknown) => {
      socket.removeListener('close', closed)
      if (error === null || error === undefined) done(Array.isArray(result) ? result : [])
      else fail(serverError(error))
    }
    if (values === undefined) connection.query({ sql, timeout }, answer)
    else connection.execute({ sql, timeout, values: [...values] }, answer)
  })
}

/** Numbers below 2000 and from 3000 on are a server's; those between are clients'. */
function serverError(error: unknown): unknown {
  const number = error instanceof Error && 'errno' in error && typeof error.errno === 'number' ? error.errno : 0
  const isFatal = error instanceof Error && 'fatal' in error && error.fatal === true
  return !isFatal && number >= 1000 && (number < 2000 || number >= 3000) ? new SqlFailure(number) : error
}

function connectError(error: unknown, isLate: boolean): IssuerError {
  const number = error instanceof Error && 'errno' in error && typeof error.errno === 'number' ? error.errno : 0
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'closed'
  if (number >= 1000 && (number < 2000 || number >= 3000)) return issuerError(new SqlFailure(number))
  if (error instanceof Error && CERTIFICATE.test(error.message))
    return new IssuerRefused(`MySQL: the server's certificate does not hold (${code})`)
  if (/^(AUTH_SWITCH_PLUGIN_ERROR|MYSQL_CLEAR_PASSWORD_NOT_ENABLED|HANDSHAKE_NO_SSL_SUPPORT)$/.test(code))
    return new IssuerRefused(`MySQL: the server asks for the password in a way that would give it away, or has no TLS (${code})`)
  return new IssuerUnavailable(`MySQL: ${isLate ? 'no answer in time' : `no answer to rely on (${code})`}`)
}
