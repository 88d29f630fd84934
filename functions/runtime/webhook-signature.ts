import { createHmac, timingSafeEqual } from 'node:crypto'
import { ProblemError } from './problem-error.ts'

/** Header in which the sender of a signed trigger says which configured source it is; the signature proves it. */
export const SOURCE_HEADER = 'rescind-source'

const ID = /^[\x21-\x2d\x2f-\x7e]{1,256}$/
const TIMESTAMP = /^(0|[1-9][0-9]{0,14})$/
const SECRET = /^whsec_([A-Za-z0-9+/]+={0,2})$/
/** Signatures looked at, so that a long list costs nothing. */
const MOST = 8

export interface SignedRequest {
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string | undefined>>
  /** As received, byte for byte. */
  readonly body: Uint8Array
}

/**
 * Checks a signed request: Standard Webhooks 1.0 (github.com/standard-webhooks/standard-webhooks, "Verifying webhook
 * authenticity"), symmetric scheme `v1`. `secrets` are `whsec_<base64>`; two while a key is being changed.
 * Returns the message's id, which stays the same over a sender's retries, and when it was signed.
 * Throws `ProblemError` 401: `unauthenticated` where there is no signature, `signature-invalid` where it does not fit.
 */
export function verifyWebhook(
  request: SignedRequest,
  options: {
    readonly secrets: readonly string[]
    /** How far the sender's clock may be off, and how old a request may be, in seconds. */
    readonly toleranceSeconds: number
    /** Milliseconds since 1970. */
    readonly now: number
  },
): { readonly id: string; readonly signedAt: number } {
  const id = request.headers['webhook-id']
  const timestamp = request.headers['webhook-timestamp']
  const signatures = request.headers['webhook-signature']
  if (id === undefined || timestamp === undefined || signatures === undefined) {
    throw new ProblemError('unauthenticated', 'webhook-id, webhook-timestamp and webhook-signature are needed')
  }
  // A full stop in the id would make `id.timestamp.body` ambiguous.
  if (!ID.test(id)) throw new ProblemError('signature-invalid', 'webhook-id must be printable and hold no full stop')
  if (!TIMESTAMP.test(timestamp))
    throw new ProblemError('signature-invalid', 'webhook-timestamp must be in whole seconds since 1970')
  const seconds = Number(timestamp)
  if (Math.abs(options.now / 1000 - seconds) > options.toleranceSeconds) {
    throw new ProblemError('signature-invalid', 'webhook-timestamp is too far from now')
  }
  const given = signatures
    .split(' ')
    .filter((signature) => signature.startsWith('v1,'))
    .slice(0, MOST)
    .map((signature) => Buffer.from(signature.slice('v1,'.length), 'base64'))
  let fits = false
  for (const secret of options.secrets) {
    const expected = mac(secret, id, timestamp, request.body)
    // Every signature is compared with every secret, however early one fits.
    for (const signature of given) fits = (signature.length === expected.length && timingSafeEqual(signature, expected)) || fits
  }
  if (!fits) throw new ProblemError('signature-invalid', 'no signature fits the body')
  return { id, signedAt: seconds * 1000 }
}

/** The headers of a signed request, for senders. `timestamp` in milliseconds since 1970. */
export function signWebhook(request: {
  readonly id: string
  readonly timestamp: number
  readonly body: string | Uint8Array
  readonly secret: string
}): { readonly 'webhook-id': string; readonly 'webhook-timestamp': string; readonly 'webhook-signature': string } {
  if (!ID.test(request.id)) throw new RangeError('a webhook id is printable and holds no full stop')
  const timestamp = String(Math.floor(request.timestamp / 1000))
  return {
    'webhook-id': request.id,
    'webhook-timestamp': timestamp,
    'webhook-signature': `v1,${mac(request.secret, request.id, timestamp, request.body).toString('base64')}`,
  }
}

function mac(secret: string, id: string, timestamp: string, body: string | Uint8Array): Buffer {
  const key = Buffer.from(SECRET.exec(secret)?.[1] ?? '', 'base64')
  // The specification wants 24 to 64 bytes; a shorter key could be guessed, an empty one would let everybody in.
  if (key.length < 24 || key.length > 64) throw new RangeError('a webhook secret is whsec_ and 24 to 64 bytes in base64')
  return createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest()
}
