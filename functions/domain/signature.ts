import { createHmac, timingSafeEqual } from 'node:crypto'

const ID = /^[\x21-\x2d\x2f-\x7e]{1,256}$/
const TIMESTAMP = /^(0|[1-9][0-9]{0,14})$/
const SECRET = /^whsec_([A-Za-z0-9+/]+={0,2})$/
/** Signatures looked at, so that a long list costs nothing. */
const MOST = 8

export interface SignedMessage {
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string | undefined>>
  /** As received, byte for byte. */
  readonly body: Uint8Array
}

export type Signature =
  /** `signedAt` in milliseconds since 1970. */
  | { readonly status: 'fits'; readonly id: string; readonly signedAt: number }
  | { readonly status: 'missing'; readonly said: string }
  | { readonly status: 'invalid'; readonly said: string }

/**
 * Checks a signed message: Standard Webhooks 1.0 (github.com/standard-webhooks/standard-webhooks, "Verifying webhook
 * authenticity"), symmetric scheme `v1`. `secrets` are `whsec_<base64>`; two while a key is being changed.
 */
export function checkSignature(
  message: SignedMessage,
  options: {
    readonly secrets: readonly string[]
    /** How far the sender's clock may be off, and how old a message may be, in seconds. */
    readonly toleranceSeconds: number
    /** Milliseconds since 1970. */
    readonly now: number
  },
): Signature {
  const id = message.headers['webhook-id']
  const timestamp = message.headers['webhook-timestamp']
  const signatures = message.headers['webhook-signature']
  if (id === undefined || timestamp === undefined || signatures === undefined) {
    return { status: 'missing', said: 'webhook-id, webhook-timestamp and webhook-signature are needed' }
  }
  const invalid = (said: string) => ({ status: 'invalid', said }) as const
  // A full stop in the id would make `id.timestamp.body` ambiguous.
  if (!ID.test(id)) return invalid('webhook-id must be printable and hold no full stop')
  if (!TIMESTAMP.test(timestamp)) return invalid('webhook-timestamp must be in whole seconds since 1970')
  const seconds = Number(timestamp)
  if (Math.abs(options.now / 1000 - seconds) > options.toleranceSeconds) return invalid('webhook-timestamp is too far from now')
  const given = signatures
    .split(' ')
    .filter((signature) => signature.startsWith('v1,'))
    .slice(0, MOST)
    .map((signature) => Buffer.from(signature.slice('v1,'.length), 'base64'))
  let fits = false
  for (const secret of options.secrets) {
    const expected = mac(secret, id, timestamp, message.body)
    // Every signature is compared with every secret, however early one fits.
    for (const signature of given) fits = (signature.length === expected.length && timingSafeEqual(signature, expected)) || fits
  }
  return fits ? { status: 'fits', id, signedAt: seconds * 1000 } : invalid('no signature fits the body')
}

export interface SignatureHeaders {
  readonly 'webhook-id': string
  readonly 'webhook-timestamp': string
  readonly 'webhook-signature': string
}

/**
 * The headers of a signed message, for senders. `timestamp` in milliseconds since 1970.
 *
 * @throws RangeError for an id that is not printable or holds a full stop, and for a secret of the wrong form
 */
export function signMessage(message: {
  readonly id: string
  readonly timestamp: number
  readonly body: string | Uint8Array
  /** One signature for each: two while a key is being changed. */
  readonly secrets: readonly string[]
}): SignatureHeaders {
  if (!ID.test(message.id)) throw new RangeError('a webhook id is printable and holds no full stop')
  const timestamp = String(Math.floor(message.timestamp / 1000))
  const sign = (secret: string) => `v1,${mac(secret, message.id, timestamp, message.body).toString('base64')}`
  return {
    'webhook-id': message.id,
    'webhook-timestamp': timestamp,
    'webhook-signature': message.secrets.map(sign).join(' '),
  }
}

/** `whsec_` and 24 to 64 bytes in base64, as the specification wants: a shorter key could be guessed, an empty one lets everybody in. */
export const isSigningSecret = (secret: string): boolean => keyOf(secret) !== undefined

function keyOf(secret: string): Buffer | undefined {
  const key = Buffer.from(SECRET.exec(secret)?.[1] ?? '', 'base64')
  return key.length < 24 || key.length > 64 ? undefined : key
}

function mac(secret: string, id: string, timestamp: string, body: string | Uint8Array): Buffer {
  const key = keyOf(secret)
  if (key === undefined) throw new RangeError('a webhook secret is whsec_ and 24 to 64 bytes in base64')
  return createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest()
}
