import * as z from 'zod/mini'
import type { Clue } from '../contract.ts'

/** A JWT in compact form whose header says `ed25519-nkey`, alone or inside a credentials file. */
const JWT = /eyJ[\w-]{20,2000}\.(eyJ[\w-]{20,60000})\.[\w-]{80,100}(?![\w-])/g
const LONGEST = 200_000

const UserClaims = z.looseObject({
  sub: z.string().check(z.regex(/^U[A-Z2-7]{55}$/)),
  iss: z.string().check(z.regex(/^A[A-Z2-7]{55}$/)),
  iat: z.int().check(z.minimum(1)),
  nats: z.looseObject({
    type: z.literal('user'),
    issuer_account: z.optional(z.string().check(z.regex(/^(A[A-Z2-7]{55})?$/))),
  }),
})

/**
 * A user's JWT, or the credentials file that holds it; a seed beside it is never looked at. A user's key alone does not
 * say of which account it is. A text with the JWTs of two users is none.
 */
export function recognise(text: string): Clue | undefined {
  if (text.length > LONGEST) return undefined
  const clues = [...text.matchAll(JWT)].map(([, payload = '']) => clueOf(payload))
  const [first] = clues
  if (first === undefined || clues.some((clue) => clue?.credential !== first.credential)) return undefined
  return first
}

function clueOf(payload: string): Clue | undefined {
  let json: unknown
  try {
    json = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'))
  } catch {
    return undefined
  }
  const { data } = UserClaims.safeParse(json)
  if (data === undefined) return undefined
  const { sub: user, iss: signer, iat } = data
  const account = data.nats.issuer_account === undefined || data.nats.issuer_account === '' ? signer : data.nats.issuer_account
  return {
    credential: `user:${account}/${user}`,
    shown: `NATS user ${user.slice(0, 8)}... of account ${account.slice(0, 8)}...`,
    query: { account, user, issuedAt: String(iat), signer },
  }
}
