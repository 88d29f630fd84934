import type { Socket } from 'node:net'
import { connect as dial } from 'node:net'
import { connect as dialTls } from 'node:tls'
import * as z from 'zod/mini'
import { IssuerError, IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../contract.ts'
import type { Settings } from './definition.ts'
import type { Signer } from './token.ts'

/** No answer of a server is larger: a list of some 8,000 connections with their JWTs. */
const MAXIMUM_BYTES = 33_554_432
const MAXIMUM_LINE_BYTES = 65_536

const Info = z.looseObject({
  server_id: z.string(),
  client_id: z.int(),
  max_payload: z.int(),
  nonce: z.string(),
  tls_required: z.optional(z.boolean()),
  tls_available: z.optional(z.boolean()),
})
export type Info = z.infer<typeof Info>

export interface Credentials {
  readonly token: string
  readonly signer: Signer
}

type Where = Pick<Settings, 'host' | 'port' | 'tls' | 'timeoutMilliseconds'>

/**
 * The client's side of the NATS protocol (docs.nats.io, "Client Protocol"), as much of it as questions to all servers
 * need. The project's own client is not used: it reconnects by itself, to servers that it hears of, and in its version
 * 3.4.0 a connection that is closed while it is being made ends the whole process (an error of a socket without a listener).
 * Errors are `IssuerError`s; the first one ends the connection.
 */
export class Connection {
  readonly info: Info
  readonly #socket: Socket
  readonly #milliseconds: number
  readonly #listeners = new Map<
    string,
    { readonly on: (payload: string) => void; readonly failed: (error: IssuerError) => void }
  >()
  #failure: IssuerError | undefined
  #rest: Buffer = Buffer.alloc(0)
  #awaited: { readonly subscription: string; readonly bytes: number } | undefined
  #pongs: { done: () => void; fail: (error: IssuerError) => void }[] = []
  #next = 1

  /**
   * @throws IssuerRefused the server refuses the user, or its certificate does not hold
   * @throws IssuerThrottled it has no connection left
   * @throws IssuerUnavailable it cannot be reached, hangs, or is no NATS server
   */
  static async open(where: Where, credentials: Credentials): Promise<Connection> {
    const { host, port, tls, timeoutMilliseconds } = where
    const signal = AbortSignal.timeout(timeoutMilliseconds)
    let socket = dial({ host, port, noDelay: true })
    try {
      const { info, rest } = await greeting(socket, signal)
      if (info.tls_required === true && tls.mode === 'disable') throw new IssuerRefused('NATS: the server wants TLS')
      if (tls.mode === 'verify') {
        if (info.tls_required !== true && info.tls_available !== true) throw new IssuerRefused('NATS: the server has no TLS')
        if (rest.length > 0) throw new IssuerUnavailable('NATS: the server speaks before TLS begins')
        socket = await secured(socket, where, signal)
      }
      const connection = new Connection(socket, info, rest, timeoutMilliseconds)
      await connection.#introduce(credentials)
      return connection
    } catch (error) {
      socket.on('error', () => undefined)
      socket.destroy()
      throw issuerError(error)
    }
  }

  private constructor(socket: Socket, info: Info, rest: Buffer, milliseconds: number) {
    this.info = info
    this.#socket = socket
    this.#milliseconds = milliseconds
    socket.on('data', (bytes: Buffer) => this.#read(bytes))
    socket.on('error', (error) => this.#fail(issuerError(error)))
    socket.on('close', () => this.#fail(new IssuerUnavailable('NATS: the server closed the connection')))
    if (rest.length > 0) this.#read(rest)
  }

  /** Every message of a subject from now on. */
  async listen(subject: string, on: (payload: string) => void): Promise<void> {
    this.#subscribe(subject, on, () => undefined)
    await this.#flush()
  }

  /**
   * Asks all servers, and hands over what they answered when it is `enough` or the time is over: the answers may then be
   * fewer, or none.
   */
  async ask(
    subject: string,
    payload: string,
    enough: (answers: readonly string[]) => boolean,
    milliseconds = this.#milliseconds,
  ): Promise<string[]> {
    if (this.#failure !== undefined) throw this.#failure
    const answers: string[] = []
    const inbox = `_INBOX.${this.info.server_id}.${this.info.client_id}.${this.#next}`
    const signal = AbortSignal.timeout(milliseconds)
    let subscription = ''
    try {
      await new Promise<void>((done, fail) => {
        signal.addEventListener('abort', () => done())
        const on = (answer: string) => {
          answers.push(answer)
          if (enough(answers)) done()
        }
        subscription = this.#subscribe(inbox, on, fail)
        this.#send(`PUB ${subject} ${inbox} ${Buffer.byteLength(payload)}\r\n${payload}\r\n`)
      })
    } finally {
      this.#listeners.delete(subscription)
      if (this.#failure === undefined) this.#send(`UNSUB ${subscription}\r\n`)
    }
    return answers
  }

  /** Lets time go by; an error of the connection ends it. */
  async pause(milliseconds: number): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    const signal = AbortSignal.timeout(milliseconds)
    const place = `pause ${this.#next}`
    this.#next += 1
    try {
      await new Promise<void>((done, failed) => {
        signal.addEventListener('abort', () => done())
        this.#listeners.set(place, { on: () => undefined, failed })
      })
    } finally {
      this.#listeners.delete(place)
    }
  }

  get usable(): boolean {
    return this.#failure === undefined
  }

  destroy(): void {
    this.#fail(new IssuerUnavailable('NATS: the connection was given back'))
  }

  async #introduce({ token, signer }: Credentials): Promise<void> {
    const signature = Buffer.from(signer.sign(Buffer.from(this.info.nonce))).toString('base64url')
    const options = { verbose: false, pedantic: false, protocol: 1, echo: true, lang: 'rescind', version: '1', name: 'rescind' }
    this.#send(`CONNECT ${JSON.stringify({ ...options, headers: false, no_responders: false, jwt: token, sig: signature })}\r\n`)
    await this.#flush()
  }

  /** Until the server has taken all that was sent. */
  async #flush(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    const signal = AbortSignal.timeout(this.#milliseconds)
    await new Promise<void>((done, fail) => {
      const pong = { done, fail }
      signal.addEventListener('abort', () => {
        if (this.#pongs.includes(pong)) this.#fail(new IssuerUnavailable('NATS: no answer in time'))
      })
      this.#pongs.push(pong)
      this.#send('PING\r\n')
    })
  }

  #subscribe(subject: string, on: (payload: string) => void, failed: (error: IssuerError) => void): string {
    const subscription = String(this.#next)
    this.#next += 1
    this.#listeners.set(subscription, { on, failed })
    this.#send(`SUB ${subject} ${subscription}\r\n`)
    return subscription
  }

  #send(text: string): void {
    if (this.#failure === undefined) this.#socket.write(text)
  }

  #fail(error: IssuerError): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#socket.destroy()
    this.#rest = Buffer.alloc(0)
    for (const { failed } of this.#listeners.values()) failed(error)
    for (const { fail } of this.#pongs.splice(0)) fail(error)
    this.#listeners.clear()
  }

  #chunks: Buffer[] = []
  #held = 0

  #read(bytes: Buffer): void {
    // A large message comes in many pieces: they are put together once it is there.
    this.#chunks.push(bytes)
    this.#held += bytes.length
    if (this.#awaited !== undefined && this.#held < this.#awaited.bytes + 2) return
    this.#rest = Buffer.concat(this.#chunks)
    while (this.#failure === undefined && this.#step());
    this.#chunks = [this.#rest]
    this.#held = this.#rest.length
  }

  /** Takes one line, or the payload that the last line announced; false where more must come first. */
  #step(): boolean {
    const awaited = this.#awaited
    if (awaited !== undefined) {
      if (this.#rest.length < awaited.bytes + 2) return false
      const payload = this.#rest.subarray(0, awaited.bytes).toString('utf8')
      this.#rest = this.#rest.subarray(awaited.bytes + 2)
      this.#awaited = undefined
      this.#listeners.get(awaited.subscription)?.on(payload)
      return true
    }
    const end = this.#rest.indexOf('\r\n')
    if (end < 0) {
      if (this.#rest.length > MAXIMUM_LINE_BYTES) this.#fail(new IssuerUnavailable('NATS: the server speaks another protocol'))
      return false
    }
    const line = this.#rest.subarray(0, end).toString('utf8')
    this.#rest = this.#rest.subarray(end + 2)
    this.#obey(line)
    return true
  }

  #obey(line: string): void {
    const [word = ''] = line.split(/[ \t]/, 1)
    switch (word.toUpperCase()) {
      case 'MSG': {
        const [, , subscription = '', ...last] = line.split(/[ \t]+/)
        const bytes = Number(last.at(-1))
        if (!Number.isSafeInteger(bytes) || bytes < 0 || bytes > MAXIMUM_BYTES) {
          this.#fail(new IssuerUnavailable('NATS: the server sends a message that is too large'))
          return
        }
        this.#awaited = { subscription, bytes }
        return
      }
      case 'PING':
        this.#send('PONG\r\n')
        return
      case 'PONG':
        this.#pongs.shift()?.done()
        return
      case '-ERR':
        this.#fail(errorOf(line.slice(word.length).trim()))
        return
      case '+OK':
      case 'INFO':
        return
      default:
        this.#fail(new IssuerUnavailable('NATS: the server speaks another protocol'))
    }
  }
}

/** The server speaks first: one line, INFO and what it is. */
async function greeting(socket: Socket, signal: AbortSignal): Promise<{ readonly info: Info; readonly rest: Buffer }> {
  let heard: Buffer = Buffer.alloc(0)
  await new Promise<void>((done, fail) => {
    signal.addEventListener('abort', () => fail(new IssuerUnavailable('NATS: no answer in time')))
    socket.once('error', fail)
    socket.once('close', () => fail(new IssuerUnavailable('NATS: the server closed the connection')))
    socket.on('data', (bytes: Buffer) => {
      heard = Buffer.concat([heard, bytes])
      if (heard.includes('\r\n') || heard.length > MAXIMUM_LINE_BYTES) done()
    })
  })
  socket.removeAllListeners()
  const end = heard.indexOf('\r\n')
  const [, json = ''] = /^INFO (\{.*\})\s*$/.exec(heard.subarray(0, Math.max(end, 0)).toString('utf8')) ?? []
  const { data } = Info.safeParse(parseJson(json))
  if (data === undefined) throw new IssuerUnavailable('NATS: no NATS server in operator mode answers here')
  return { info: data, rest: heard.subarray(end + 2) }
}

async function secured(socket: Socket, { host, tls }: Where, signal: AbortSignal): Promise<Socket> {
  if (tls.mode === 'disable') return socket
  const { ca, servername = host } = tls
  const secure = dialTls({ socket, servername, host: servername, ...(ca === undefined ? {} : { ca }), rejectUnauthorized: true })
  try {
    await new Promise<void>((done, fail) => {
      signal.addEventListener('abort', () => fail(new IssuerUnavailable('NATS: no answer in time')))
      secure.once('error', fail)
      secure.once('close', () => fail(new IssuerUnavailable('NATS: the server closed the connection')))
      secure.once('secureConnect', done)
    })
  } catch (error) {
    secure.on('error', () => undefined)
    secure.destroy()
    throw error
  }
  secure.removeAllListeners('error').removeAllListeners('close')
  return secure
}

/** What a server says before it closes a connection, or instead of doing as it was told. */
function errorOf(said: string): IssuerError {
  const words = printable(said.replace(/^'|'$/g, ''))
  if (/permissions violation/i.test(words)) return new IssuerRefused(`NATS: the admin user may not: ${words}`)
  if (/authenticat|authorization/i.test(words))
    return new IssuerRefused(`NATS: the server does not let the admin user in: ${words}`)
  if (/maximum .*connections/i.test(words)) return new IssuerThrottled(`NATS: ${words}`)
  return new IssuerUnavailable(`NATS: the server says: ${words}`)
}

const CERTIFICATE = /^(ERR_TLS_CERT|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_(VERIFY|GET)_|HOSTNAME_MISMATCH)/

function issuerError(error: unknown): IssuerError {
  if (error instanceof IssuerError) return error
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
  if (CERTIFICATE.test(code)) return new IssuerRefused(`NATS: the server's certificate does not hold (${code})`)
  return new IssuerUnavailable(`NATS: no connection (${code})`)
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export const printable = (text: string): string => text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 200)
