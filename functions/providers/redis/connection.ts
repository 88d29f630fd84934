import type { Socket } from 'node:net'
import { connect as dialPlain, isIP } from 'node:net'
import { connect as dialTls } from 'node:tls'
import { Decoder } from '@redis/client/dist/lib/RESP/decoder.js'
import type { AdminLogin } from '../admin-secret.ts'
import type { IssuerError } from '../contract.ts'
import { IssuerRefused, IssuerUnavailable } from '../contract.ts'
import type { Node, Settings } from './definition.ts'
import type { Command, Connection, Reply } from './replies.ts'
import { Failure, good } from './replies.ts'

/** Of one exchange: the connections of a crowded server are listed in less. */
const MAXIMUM_BYTES = 32 * 1024 * 1024

/** OpenSSL's and Node's codes for a certificate that does not prove the server. */
const CERTIFICATE = /^(ERR_TLS_|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_(VERIFY|GET)_|HOSTNAME_MISMATCH)/

interface Pending {
  readonly replies: Reply[]
  readonly wanted: number
  readonly done: (replies: Reply[]) => void
  readonly fail: (error: IssuerError) => void
}

/**
 * A connection to one server, logged in as the admin (RESP 2). It never reconnects by itself: what was sent before it
 * broke would be sent again.
 *
 * @throws IssuerRefused the server refuses the admin, or its certificate does not hold
 * @throws IssuerThrottled it has no connection left
 * @throws IssuerUnavailable the server cannot be reached, hangs, or is no Redis
 */
export async function dial(settings: Settings, node: Node, admin: AdminLogin): Promise<Connection> {
  const line = new Line(settings, node)
  try {
    const [reply] = await line.exchange([['AUTH', admin.user, admin.password]], settings.connectTimeoutMilliseconds)
    good(reply)
    return line
  } catch (error) {
    line.destroy()
    throw error
  }
}

class Line implements Connection {
  readonly #socket: Socket
  readonly #waiting: Pending[] = []
  readonly #timeout: number
  #broken: IssuerError | undefined
  #received = 0

  constructor({ tls, commandTimeoutMilliseconds }: Settings, { host, port }: Node) {
    this.#timeout = commandTimeoutMilliseconds
    this.#socket = tls.mode === 'disable' ? dialPlain({ host, port, noDelay: true }) : secure(tls, host, port)
    const decoder = new Decoder({
      onReply: (reply: Reply) => this.#take(plain(reply)),
      onErrorReply: (error) => this.#take(new Failure(error.message)),
      onPush: () => undefined,
      getTypeMapping: () => ({}),
    })
    this.#socket.on('data', (bytes) => {
      this.#received += bytes.length
      try {
        if (this.#received > MAXIMUM_BYTES) throw new RangeError('too long')
        decoder.write(bytes)
      } catch {
        this.#break(new IssuerUnavailable('Redis: what answers does not speak its protocol, or too much of it'))
      }
    })
    this.#socket.on('error', (error) => {
      const code = 'code' in error && typeof error.code === 'string' ? error.code : 'unknown'
      this.#break(
        CERTIFICATE.test(code)
          ? new IssuerRefused(`Redis: the server's certificate does not hold (${code})`)
          : new IssuerUnavailable(`Redis: no connection (${code})`),
      )
    })
    this.#socket.on('close', () => this.#break(new IssuerUnavailable('Redis: the connection was closed')))
  }

  async exchange(commands: readonly Command[], timeout = this.#timeout): Promise<Reply[]> {
    if (commands.length === 0) return []
    if (this.#broken !== undefined) throw this.#broken
    const signal = AbortSignal.timeout(timeout)
    const late = () => this.#break(new IssuerUnavailable('Redis: no answer in time'))
    signal.addEventListener('abort', late, { once: true })
    try {
      return await new Promise<Reply[]>((done, fail) => {
        this.#waiting.push({ replies: [], wanted: commands.length, done, fail })
        this.#socket.write(commands.map(encoded).join(''))
      })
    } finally {
      signal.removeEventListener('abort', late)
    }
  }

  destroy(): void {
    this.#break(new IssuerUnavailable('Redis: the connection was given back'))
  }

  #take(reply: Reply): void {
    const [first] = this.#waiting
    // A server that closes the door says why before it is asked anything.
    if (first === undefined) return
    first.replies.push(reply)
    if (first.replies.length < first.wanted) return
    this.#waiting.shift()
    this.#received = 0
    first.done(first.replies)
  }

  #break(error: IssuerError): void {
    this.#broken ??= error
    this.#socket.destroy()
    for (const { fail } of this.#waiting.splice(0)) fail(error)
  }
}

/** What is written before the certificate has proven the server waits for it, the password too. */
function secure(
  { ca, servername }: { ca?: string | undefined; servername?: string | undefined },
  host: string,
  port: number,
): Socket {
  const name = servername ?? (isIP(host) === 0 ? host : undefined)
  const proof = {
    rejectUnauthorized: true,
    ...(ca === undefined ? {} : { ca }),
    ...(name === undefined ? {} : { servername: name }),
  }
  return dialTls({ host, port, ...proof })
}

const encoded = (command: Command): string =>
  `*${command.length}\r\n${command.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`).join('')}`

/** Errors inside an array (of EXEC) are the decoder's own. */
function plain(reply: unknown): Reply {
  if (reply instanceof Error) return new Failure(reply.message)
  if (Array.isArray(reply)) return reply.map(plain)
  if (reply === null || typeof reply === 'string' || typeof reply === 'number') return reply
  throw new TypeError('a reply of no kind that was asked for')
}
