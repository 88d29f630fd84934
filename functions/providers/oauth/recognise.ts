import type { Clue, Mac } from '../contract.ts'
import { bare, looksRandom } from '../shape.ts'

/** JWS or JWE in compact form (RFC 7515, RFC 7516): the header is a JSON object, hence `eyJ`. */
const JWT = /^eyJ[\w-]{8,}(?:\.[\w-]*){2,4}$/
/** RFC 6750, section 2.1. */
const B64_TOKEN = /^[A-Za-z0-9._~+/-]+=*$/
const LONGEST = 16_384

/** A token's name: it is known nowhere but by its keyed hash. */
export const credentialOf = (token: string, mac: Mac): string => `token:${mac(`oauth:${token}`)}`

/**
 * A token, alone or as the header that carries it (`Authorization: Bearer ...`). An opaque one is told from a word by
 * its letters: at least 20, drawn by chance, small ones among them (ids in capitals, as of access keys, are no tokens).
 */
export function recognise(text: string, mac: Mac): Clue | undefined {
  const token = bare(bare(text).replace(/^(?:authorization: ?)?bearer /i, ''))
  if (token.length > LONGEST) return undefined
  const isToken = JWT.test(token) || (B64_TOKEN.test(token) && /[a-z]/.test(token) && looksRandom(token))
  if (!isToken) return undefined
  const credential = credentialOf(token, mac)
  const [, hash = ''] = credential.split(':')
  return { credential, shown: `token with the keyed hash ${hash.slice(0, 12)}...`, query: {} }
}
