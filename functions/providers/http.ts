import type { IncomingMessage } from 'node:http'
import { Agent as PlainAgent, request as plainRequest } from 'node:http'
import { Agent as TlsAgent, request as tlsRequest } from 'node:https'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from './contract.ts'

/** No answer of an issuer's endpoints is larger, unless its provider says so; a longer body is nonsense. */
const MAXIMUM_BYTES = 262_144
const MAXIMUM_RETRY_SECONDS = 3600
/** Connections are closed after lying idle so long: most servers and balancers do so after a minute. */
const IDLE_MILLISECONDS = 20_000

export interface HttpOptions {
  /** Names the issuer in errors: `OAuth`. */
  readonly name: string
  /** For the whole of one request, its connection and its answer's body included. */
  readonly timeoutMilliseconds: number
  /** Milliseconds since 1970: for a Retry-After that is a date. */
  readonly now: () => number
  /** Trusted instead of the public authorities: PEM. */
  readonly ca?: string
  /** Largest body of an answer. */
  readonly maximumBytes?: number
}

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

export interface HttpAnswer {
  readonly status: number
  /** Names in small letters. */
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly bytes: Buffer
  /** The body, if it is JSON. */
  readonly json: unknown
  /** The error for an answer that means nothing here. */
  nonsense(where: string): IssuerUnavailable
}

/**
 * An issuer's HTTP API, for providers: time-outs for everything, bounded bodies, no redirects (one would carry the secret
 * elsewhere), and errors that hold nothing of the request. Every request may be sent twice: one on a connection that the
 * server closed while it lay idle is sent again.
 */
export class Http {
  readonly #options: HttpOptions
  readonly #plain: PlainAgent
  readonly #tls: TlsAgent
  constructor(options: HttpOptions) {
    this.#options = options
    const agent = { keepAlive: true, timeout: IDLE_MILLISECONDS }
    this.#plain = new PlainAgent(agent)
    this.#tls = new TlsAgent({ ...agent, ...(options.ca === undefined ? {} : { ca: options.ca }) })
  }

  /** @throws IssuerThrottled 429. IssuerUnavailable no answer in time, or a failing server. IssuerRefused a certificate that is not to be trusted */
  async request(address: string, request: HttpRequest): Promise<HttpAnswer> {
    const { name } = this.#options
    const { status, headers, bytes } = await this.#send(address, request)
    if (status === 429 || status >= 500) {
      const afterSeconds = this.#retryAfter(headers['retry-after'])
      const Failure = status === 429 ? IssuerThrottled : IssuerUnavailable
      throw new Failure(`${name}: the server answers ${status}`, afterSeconds === undefined ? {} : { afterSeconds })
    }
    const json = parseJson(bytes.toString('utf8'))
    const what = bytes.length === 0 ? 'no body' : json === undefined ? 'a body that is not JSON' : 'a JSON body of another shape'
    const nonsense = (where: string) => new IssuerUnavailable(`${name}: ${where} answers ${status} with ${what}`)
    return { status, headers, bytes, json, nonsense }
  }

  /** Gives its connections back. */
  close(): void {
    this.#plain.destroy()
    this.#tls.destroy()
  }

  async #send(address: string, request: HttpRequest, again = true): Promise<Pick<HttpAnswer, 'status' | 'headers' | 'bytes'>> {
    const { name, timeoutMilliseconds, maximumBytes = MAXIMUM_BYTES } = this.#options
    const url = new URL(address)
    const signal = AbortSignal.timeout(timeoutMilliseconds)
    const secure = url.protocol === 'https:'
    const body = request.body === undefined ? undefined : Buffer.from(request.body)
    const sent = (secure ? tlsRequest : plainRequest)(url, {
      agent: secure ? this.#tls : this.#plain,
      method: request.method,
      headers: { ...request.headers, ...(body === undefined ? {} : { 'content-length': String(body.length) }) },
      signal,
    })
    try {
      const response = await new Promise<IncomingMessage>((done, fail) => {
        sent.once('response', done)
        // A later one is that of the body, which is read below.
        sent.on('error', fail)
        sent.end(body)
      })
      return { status: response.statusCode ?? 0, headers: plain(response), bytes: await readBody(response, maximumBytes) }
    } catch (error) {
      sent.destroy()
      const code = codeOf(error)
      if (again && !signal.aborted && sent.reusedSocket && CLOSED.includes(code)) return await this.#send(address, request, false)
      if (CERTIFICATE.test(code)) throw new IssuerRefused(`${name}: the certificate of ${url.origin} is not trusted (${code})`)
      const what = signal.aborted ? 'no answer in time' : error instanceof RangeError ? error.message : `no connection (${code})`
      throw new IssuerUnavailable(`${name}: ${what} at ${url.origin}`)
    }
  }

  /** RFC 9110, section 10.2.3: seconds, or a date. */
  #retryAfter(header: string | undefined): number | undefined {
    if (header === undefined) return undefined
    const seconds = /^\d{1,9}$/.test(header) ? Number(header) : Math.ceil((Date.parse(header) - this.#options.now()) / 1000)
    return Number.isNaN(seconds) ? undefined : Math.min(Math.max(seconds, 1), MAXIMUM_RETRY_SECONDS)
  }
}

async function readBody(response: IncomingMessage, maximumBytes: number): Promise<Buffer> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of response as AsyncIterable<Uint8Array>) {
    bytes += part.byteLength
    if (bytes > maximumBytes) throw new RangeError('a body that is too large')
    parts.push(part)
  }
  return Buffer.concat(parts)
}

const plain = (response: IncomingMessage): HttpAnswer['headers'] =>
  Object.fromEntries(Object.entries(response.headers).map(([name, value]) => [name, Array.isArray(value) ? value[0] : value]))

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    // Whoever asked says what a body that is not JSON means.
    return undefined
  }
}

const CLOSED: readonly string[] = ['ECONNRESET', 'EPIPE']

/** Node's and OpenSSL's codes for a certificate that does not do. */
const CERTIFICATE = /^(ERR_TLS_CERT|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|HOSTNAME_MISMATCH)/

const codeOf = (error: unknown): string => (error instanceof Error && 'code' in error ? String(error.code) : 'unknown')
