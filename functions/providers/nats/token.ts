import type { KeyObject } from 'node:crypto'
import { createHash, createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'
import { fromSeed } from '@nats-io/nkeys'
import * as z from 'zod/mini'

/** A token as it is read and signed again: what is not named here stays as it was. */
const Claims = z.looseObject({
  sub: z.string(),
  iss: z.string(),
  iat: z.int(),
  jti: z.optional(z.string()),
  nats: z.looseObject({
    revocations: z.optional(z.nullable(z.record(z.string(), z.int()))),
    tags: z.optional(z.nullable(z.array(z.string()))),
    signing_keys: z.optional(z.nullable(z.array(z.union([z.string(), z.looseObject({ key: z.string() })])))),
    strict_signing_key_usage: z.optional(z.boolean()),
  }),
})
export type Claims = z.infer<typeof Claims>

/** What NATS 2 signs: `ed25519` alone was version 1, whose signature leaves the header out. */
const Header = z.looseObject({ alg: z.literal('ed25519-nkey') })
const HEADER = Buffer.from(JSON.stringify({ typ: 'JWT', alg: 'ed25519-nkey' })).toString('base64url')

/** JSON.rawJSON is of ECMAScript 2026; Node has it. */
const { rawJSON } = JSON as JSON & { rawJSON(text: string): unknown }

/**
 * Numbers that a double cannot hold stay as they are written: a limit of 9223372036854775807 would come back rounded, and
 * the server would not take it.
 */
const exactly = (_key: string, value: unknown, context?: { readonly source?: string }): unknown =>
  typeof value === 'number' && !Number.isSafeInteger(value) && context?.source !== undefined ? rawJSON(context.source) : value

/** The claims of a token that one of these keys has signed; `undefined` for any other. */
export function readToken(token: string, trusted: ReadonlySet<string>): Claims | undefined {
  const [header = '', payload = '', signature = '', ...more] = token.split('.')
  if (more.length > 0 || !Header.safeParse(parse(header)).success) return undefined
  const { data } = Claims.safeParse(parse(payload))
  if (data === undefined || !trusted.has(data.iss)) return undefined
  try {
    const holds = verify(null, Buffer.from(`${header}.${payload}`), publicKey(data.iss), Buffer.from(signature, 'base64url'))
    return holds ? data : undefined
  } catch {
    // No key, or a signature of another length.
    return undefined
  }
}

/** The claims of a token, whoever signed it. */
export const claimsOf = (token: string): Claims | undefined => Claims.safeParse(parse(token.split('.')[1] ?? '')).data

/** The user's key of a connection's JWT and when that was signed; the server has checked it. */
export function userOf(token: string): { readonly user: string; readonly issuedAt: number } | undefined {
  const claims = claimsOf(token)
  return claims === undefined ? undefined : { user: claims.sub, issuedAt: claims.iat }
}

function parse(part: string): unknown {
  try {
    const json: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'), exactly)
    return json
  } catch {
    return undefined
  }
}

/** An nkey that signs. */
export interface Signer {
  readonly publicKey: string
  sign(bytes: Uint8Array): Uint8Array
}

/** @throws RangeError it is no seed of a key of that kind; the message holds nothing of it */
export function signerOf(seed: string, letter: 'O' | 'A' | 'U'): Signer {
  try {
    const publicKey = fromSeed(Buffer.from(seed)).getPublicKey()
    if (publicKey.startsWith(letter)) {
      // Node's Ed25519: a hundredth of the time that the library's own takes.
      const der = Buffer.concat([PKCS8, bytesOf(seed).subarray(2, 34)])
      const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
      return { publicKey, sign: (bytes) => sign(null, bytes, key) }
    }
  } catch {
    // The library's error may quote it.
  }
  throw new RangeError(`not a seed S${letter}...`)
}

/** What stands before the 32 bytes of an Ed25519 key in DER (RFC 8410). */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')
const SPKI = Buffer.from('302a300506032b6570032100', 'hex')

/** A public nkey: one byte of kind, 32 of the key, two of a checksum, which a key that was configured has no need of. */
function publicKey(nkey: string): KeyObject {
  return createPublicKey({ key: Buffer.concat([SPKI, bytesOf(nkey).subarray(1, 33)]), format: 'der', type: 'spki' })
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

/** Base32 (RFC 4648) without padding. */
function bytesOf(nkey: string): Buffer {
  const bytes: number[] = []
  let [held, bits] = [0, 0]
  for (const letter of nkey) {
    const value = ALPHABET.indexOf(letter)
    if (value < 0) throw new RangeError('not base32')
    held = ((held << 5) | value) & 0xfff
    bits += 5
    if (bits >= 8) {
      bits -= 8
      bytes.push((held >> bits) & 0xff)
    }
  }
  return Buffer.from(bytes)
}

/** Signs claims anew: they get this signer, this time and an id that follows from them. */
export function signToken(claims: Claims, signer: Signer, issuedAt: number): { readonly token: string; readonly claims: Claims } {
  const unnamed = { ...claims, iss: signer.publicKey, iat: issuedAt, jti: undefined }
  const id = createHash('sha256').update(JSON.stringify(unnamed)).digest('hex').toUpperCase()
  const named = { ...unnamed, jti: id }
  const payload = Buffer.from(JSON.stringify(named)).toString('base64url')
  const signed = `${HEADER}.${payload}`
  return { token: `${signed}.${Buffer.from(signer.sign(Buffer.from(signed))).toString('base64url')}`, claims: named }
}
