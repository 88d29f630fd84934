import { createHash, createHmac, randomUUID, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'

/**
 * The reference receiver of provider `webhook` (docs/webhook.md): one file without dependencies, to be copied. It takes
 * Rescind's signed requests, hands each lease to `credentials`, which is yours to write, and signs what comes of it:
 *
 *   createServer(receiver({ name: 'payments-tokens', secrets: ['whsec_...'], credentials })).listen(8443)
 *
 * Put it behind TLS. It remembers what it answered for as long as a request can be replayed, in memory: let several
 * instances share such a memory, or let `credentials` be safe to call twice, which it has to be anyway.
 */

/** Standard Webhooks: how far a request's time may be off, in seconds. */
const TOLERANCE_SECONDS = 300
const LARGEST_BODY = 2_097_152
const ID = /^[\x21-\x2d\x2f-\x7e]{1,256}$/
const TIMESTAMP = /^(0|[1-9][0-9]{0,14})$/

export interface Target {
  readonly kind?: string
  readonly id: string
  /** Absent: whoever has the id now is meant. Else another incarnation is somebody else, and this one is gone. */
  readonly incarnation?: string
}

export interface Asked {
  readonly lease: string
  readonly key: string
  readonly target: Target
  readonly handle?: string
}

export interface Warrant {
  readonly case: string
  readonly lane: string
  readonly epoch: number
  readonly fencedAt: string
}

export interface Order {
  readonly name: string
  readonly grants: Readonly<Record<string, unknown>>
  readonly expiresAt: string
}

interface Again {
  readonly status: 'retry'
  readonly said: string
  readonly afterSeconds?: number
  readonly throttled?: true
}
interface Unsure extends Again {
  /** `unknown`: it may have worked. */
  readonly effect: 'none' | 'unknown'
}
export type Cut =
  | { readonly status: 'revoked'; readonly said: string; readonly sessionsUntil?: string }
  | { readonly status: 'absent'; readonly said: string }
  | { readonly status: 'unsupported'; readonly said: string; readonly livesUntil?: string }
  | { readonly status: 'irrevocable'; readonly said: string }
  | Unsure
export interface Liveness {
  readonly status: 'dead' | 'alive' | 'unknown'
  readonly said: string
}
export type Restored = { readonly status: 'restored' | 'gone' | 'refused'; readonly said: string } | Again
export type Pulled = { readonly status: 'done' | 'unsupported'; readonly said: string } | Again
export interface Page {
  readonly listed: readonly {
    readonly target: Target
    readonly shown: string
    readonly usable: boolean
    readonly createdAt?: string
    readonly lastUsedAt?: string
    readonly expiresAt?: string
  }[]
  readonly next?: string
}
export type Issued =
  | {
      readonly status: 'issued'
      readonly said: string
      readonly target: Target
      readonly handle?: string
      readonly lever?: { readonly identity: string }
      readonly credential: Readonly<Record<string, string>>
      readonly expiresAt?: string
    }
  | { readonly status: 'refused'; readonly said: string }
  | Unsure

/** What you write. Each call must be safe to make twice. What you leave out, the description does not name. */
export interface Credentials {
  revoke(asked: Asked, warrant: Warrant): Promise<Cut>
  verify?(asked: Asked, warrant: Warrant): Promise<Liveness>
  restore?(asked: Asked, warrant: Warrant): Promise<Restored>
  tidy?(asked: Asked, warrant: Warrant): Promise<Cut>
  contain?(identity: string, warrant: Warrant): Promise<Pulled>
  release?(identity: string, warrant: Warrant): Promise<Pulled>
  discover?(from: string | undefined, most: number): Promise<Page>
  issue?(order: Order): Promise<Issued>
}

export interface ReceiverOptions {
  /** As the issuer's settings name it. */
  readonly name: string
  /** `whsec_<base64>`; two while the key is being changed: the first one signs. */
  readonly secrets: readonly string[]
  readonly credentials: Credentials
  /** Most leases in one request; default 100. */
  readonly batch?: number
  /** Let the sealed handle travel with each lease. */
  readonly wantsHandle?: boolean
  /** Milliseconds since 1970. */
  readonly now?: () => number
}

const VERBS = ['revoke', 'verify', 'restore', 'tidy', 'contain', 'release', 'discover', 'issue'] as const
const READS: readonly string[] = ['rescind.describe', 'rescind.verify', 'rescind.discover']

/** A request that is refused as a whole; its answer is unsigned and says nothing but the status. */
class Refusal extends Error {
  readonly status: number
  constructor(status: number) {
    super(`HTTP ${status}`)
    this.status = status
  }
}

interface Request {
  readonly type: string
  readonly leases?: readonly Asked[]
  readonly warrant?: Warrant
  readonly lever?: { readonly identity: string }
  readonly from?: string
  readonly most?: number
  readonly order?: Order
}

/** Makes the listener of an HTTP server. */
export function receiver(options: ReceiverOptions): (request: IncomingMessage, response: ServerResponse) => void {
  const { name, credentials, batch = 100, wantsHandle = false, now = () => Date.now() } = options
  const keys = options.secrets.map(keyOf)
  const [signer] = keys
  if (signer === undefined) throw new RangeError('a receiver needs a secret')
  /** What was answered, or is being, to requests with an effect: the same request again gets the same answer. */
  const remembered = new Map<string, { readonly digest: string; readonly until: number; readonly answer: Promise<object> }>()

  return (request, response) => {
    answer(request).then(
      ({ id, text }) => {
        const timestamp = String(Math.floor(now() / 1000))
        response.writeHead(200, {
          'content-type': 'application/json',
          'webhook-id': id,
          'webhook-timestamp': timestamp,
          'webhook-signature': `v1,${mac(signer, id, timestamp, text).toString('base64')}`,
        })
        response.end(text)
      },
      (error: unknown) => {
        // What is left of the body is not read, so the connection cannot be used again.
        response.writeHead(error instanceof Refusal ? error.status : 500, { connection: 'close' })
        response.end()
      },
    )
  }

  async function answer(request: IncomingMessage): Promise<{ id: string; text: string }> {
    if (request.method !== 'POST') throw new Refusal(405)
    const body = await bodyOf(request)
    const id = verified(request, body)
    const read = parsed(body)
    if (read.receiver !== name) throw new Refusal(421)
    const said = READS.includes(read.type) ? await perform(read) : await once(id, body, read)
    return { id, text: JSON.stringify({ type: `${read.type}.answer`, contract: 1, receiver: name, inReplyTo: id, ...said }) }
  }

  /** The message's id, if one of our keys signed this very body, just now. */
  function verified({ headers }: IncomingMessage, body: Uint8Array): string {
    const [id, timestamp, signatures] = ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map((key) => headers[key])
    if (typeof id !== 'string' || typeof timestamp !== 'string' || typeof signatures !== 'string') throw new Refusal(401)
    // A full stop in the id would make `id.timestamp.body` ambiguous.
    if (!ID.test(id) || !TIMESTAMP.test(timestamp)) throw new Refusal(401)
    if (Math.abs(now() / 1000 - Number(timestamp)) > TOLERANCE_SECONDS) throw new Refusal(401)
    const given = signatures
      .split(' ')
      .slice(0, 8)
      .flatMap((text) => (text.startsWith('v1,') ? [Buffer.from(text.slice(3), 'base64')] : []))
    let fits = false
    for (const key of keys) {
      const expected = mac(key, id, timestamp, body)
      for (const signature of given) fits = (signature.length === expected.length && timingSafeEqual(signature, expected)) || fits
    }
    if (!fits) throw new Refusal(401)
    return id
  }

  async function once(id: string, body: Uint8Array, read: Request): Promise<object> {
    for (const [key, { until }] of remembered) {
      if (until > now()) break
      remembered.delete(key)
    }
    const digest = createHash('sha256').update(body).digest('hex')
    const known = remembered.get(id)
    if (known !== undefined) {
      if (known.digest !== digest) throw new Refusal(409)
      return await known.answer
    }
    const doing = perform(read)
    remembered.set(id, { digest, until: now() + 2 * TOLERANCE_SECONDS * 1000, answer: doing })
    return await doing
  }

  async function perform({ type, leases, warrant, lever, from, most, order }: Request): Promise<object> {
    if (type === 'rescind.describe') {
      return { nonce: randomUUID(), verbs: VERBS.filter((verb) => credentials[verb] !== undefined), batch, wantsHandle }
    }
    if (type === 'rescind.discover' && credentials.discover !== undefined && most !== undefined) {
      return await credentials.discover(from, most)
    }
    if (type === 'rescind.issue' && credentials.issue !== undefined && order !== undefined) {
      return { answer: await credentials.issue(order).catch(unsure) }
    }
    if (warrant === undefined) throw new Refusal(400)
    if (lever !== undefined) {
      if (type === 'rescind.contain' && credentials.contain !== undefined) {
        return { answer: await credentials.contain(lever.identity, warrant).catch(again) }
      }
      if (type === 'rescind.release' && credentials.release !== undefined) {
        return { answer: await credentials.release(lever.identity, warrant).catch(again) }
      }
    }
    if (leases === undefined || leases.length === 0 || leases.length > batch) throw new Refusal(400)
    /** One lease's trouble is its own: it harms no other. */
    const each = async <Answer>(call: (asked: Asked) => Promise<Answer>, failed: () => Answer) => {
      const ask = async (asked: Asked) => ({ ...(await call(asked).catch(failed)), lease: asked.lease })
      return { answers: await Promise.all(leases.map(ask)) }
    }
    const { revoke, verify, restore, tidy } = credentials
    if (type === 'rescind.revoke') return await each<Cut>((asked) => revoke.call(credentials, asked, warrant), unsure)
    if (type === 'rescind.verify' && verify !== undefined) {
      return await each<Liveness>(
        (asked) => verify.call(credentials, asked, warrant),
        () => ({ status: 'unknown', said: FAILED }),
      )
    }
    if (type === 'rescind.restore' && restore !== undefined) {
      return await each<Restored>((asked) => restore.call(credentials, asked, warrant), again)
    }
    if (type === 'rescind.tidy' && tidy !== undefined) {
      return await each<Cut>((asked) => tidy.call(credentials, asked, warrant), unsure)
    }
    throw new Refusal(400)
  }
}

/** No word of the error itself: it may hold a secret. */
const FAILED = 'the service behind the receiver failed'
const again = (): Again => ({ status: 'retry', said: FAILED })
const unsure = (): Unsure => ({ status: 'retry', said: FAILED, effect: 'unknown' })

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of request as AsyncIterable<Uint8Array>) {
    bytes += part.byteLength
    if (bytes > LARGEST_BODY) throw new Refusal(413)
    parts.push(part)
  }
  return Buffer.concat(parts)
}

/** Whoever signed it keeps the contract; what is looked at here keeps a newer contract from being taken for this one. */
function parsed(body: Uint8Array): Request & { readonly receiver: string } {
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  } catch {
    throw new Refusal(400)
  }
  if (typeof json !== 'object' || json === null) throw new Refusal(400)
  const read = json as Request & { readonly receiver: string; readonly contract: unknown }
  if (read.contract !== 1 || typeof read.type !== 'string') throw new Refusal(400)
  const leases: readonly unknown[] = Array.isArray(read.leases) ? read.leases : []
  if (!leases.every(isAsked)) throw new Refusal(400)
  return read
}

function isAsked(value: unknown): value is Asked {
  if (typeof value !== 'object' || value === null) return false
  const { lease, target } = value as Partial<Asked>
  return typeof lease === 'string' && typeof target === 'object' && target !== null && typeof target.id === 'string'
}

/** Standard Webhooks wants 24 to 64 bytes: a shorter key could be guessed, an empty one would let everybody in. */
function keyOf(secret: string): Buffer {
  const key = Buffer.from(/^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret)?.[1] ?? '', 'base64')
  if (key.length < 24 || key.length > 64) throw new RangeError('a webhook secret is whsec_ and 24 to 64 bytes in base64')
  return key
}

const mac = (key: Buffer, id: string, timestamp: string, body: string | Uint8Array) =>
  createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest()
