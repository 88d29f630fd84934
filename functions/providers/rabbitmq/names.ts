import { createHash } from 'node:crypto'
import * as z from 'zod/mini'

/** At most 255 bytes, as AMQP takes it; '.' and '..' cannot stand in an address, however they are written. */
export const UserName = z.string().check(
  z.minLength(1),
  z.refine((text) => Buffer.byteLength(text) <= 255, 'must not be longer than 255 bytes'),
  z.refine((text) => text.isWellFormed() && !text.includes('\0'), 'must be text that RabbitMQ can hold'),
  z.refine((text) => text !== '.' && text !== '..', 'must be a name that an address can hold'),
)

/**
 * The first 8 hexadecimal digits of SHA-256 of a user's `password_hash` (as the API shows it, in base64). 32 bits tell
 * namesakes apart; and since the hash has a salt of 32 bits that is kept nowhere else, they are too few to try a password:
 * for each one that is tried there is a salt that fits.
 */
export const Fingerprint = z.string().check(z.regex(/^[0-9a-f]{8}$/, 'must be 8 hexadecimal digits'))

export const fingerprintOf = (hash: string): string => createHash('sha256').update(hash).digest('hex').slice(0, 8)

/** What is behind a hash that was shut: our mark, and the user's limit of connections before (none: empty). */
const MARK = /^rescind:(\d{0,10});$/
const MARK_BYTES = 'rescind:;'.length

/**
 * Shuts a `password_hash` as `passwd -l` does: something is added that no password's hash can end with, so no password fits,
 * and taking it off brings the very same one back. The mark is part of the user, and vanishes with it.
 */
export const shut = (hash: string, limit: number | undefined): string =>
  Buffer.concat([Buffer.from(hash, 'base64'), Buffer.from(`rescind:${limit ?? ''};`)]).toString('base64')

/** The hash behind a mark of ours, and the limit before; `undefined` where there is no mark. */
export function opened(hash: string): { readonly hash: string; readonly limit: number | undefined } | undefined {
  const bytes = Buffer.from(hash, 'base64')
  const from = Math.max(bytes.length - MARK_BYTES - 10, 0)
  const at = bytes.indexOf('rescind:', from, 'latin1')
  const [, limit] = at < 0 ? [] : (MARK.exec(bytes.subarray(at).toString('latin1')) ?? [])
  if (limit === undefined) return undefined
  return { hash: bytes.subarray(0, at).toString('base64'), limit: limit === '' ? undefined : Number(limit) }
}
