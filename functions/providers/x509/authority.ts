import type { KeyObject } from 'node:crypto'
import { createHash, createPrivateKey, sign, X509Certificate } from 'node:crypto'
import * as z from 'zod/mini'
import { readAdminSecret } from '../admin-secret.ts'
import type { Warrant } from '../contract.ts'
import { IssuerRefused, IssuerUnavailable } from '../contract.ts'
import type { Http, HttpAnswer } from '../http.ts'
import type { CertificateList } from './crl.ts'
import { readCertificateList, UnfitList } from './crl.ts'
import type { Settings } from './definition.ts'

/** What the authority says to a revocation: done now, done before, or an error of its own. */
export type Revocation =
  | { readonly status: 'accepted' }
  | { readonly status: 'before' }
  | { readonly status: 'error'; readonly said: string }

/** One authority's API and its list. Methods throw IssuerErrors, and no error holds a token or a key. */
export interface AuthorityClient {
  /** The list, signed by the right key. @throws IssuerRefused another authority's */
  list(): Promise<CertificateList>
  revoke(serial: string, warrant: Warrant): Promise<Revocation>
  /** Shows that the admin's token is taken, by a request that can have no effect. @throws IssuerRefused */
  checkAdmin(): Promise<void>
}

const AdminSecret = z.strictObject({
  /** Name of a JWK provisioner. */
  provisioner: z.string().check(z.minLength(1), z.maxLength(255)),
  /** Its private key as a JWK, decrypted, with its `kid`. */
  key: z.looseObject({ kty: z.enum(['EC', 'OKP', 'RSA']), kid: z.string().check(z.minLength(1), z.maxLength(255)) }),
})

const Accepted = z.object({ status: z.literal('ok') })
const Problem = z.object({ message: z.string() })
const ALREADY = /\balready revoked\b/
const TOKEN_SECONDS = 120
/** RFC 5280, section 5.3.1. */
const KEY_COMPROMISE = 1
const CESSATION = 5

interface Signer {
  readonly provisioner: string
  readonly kid: string
  readonly algorithm: string
  readonly key: KeyObject
}

/** @throws IssuerRefused an unusable secret */
export function openAuthority(settings: Settings, secret: string, http: Http, now: () => number): AuthorityClient {
  const signer = readSecret(secret)
  const { publicKey } = new X509Certificate(settings.authority)
  const url = new URL(settings.url).origin
  const post = async (
    serial: string,
    subject: string,
    more: object,
    twice = false,
  ): Promise<{ answer: HttpAnswer; twice: boolean }> => {
    const ott = tokenOf(signer, `${url}/1.0/revoke`, subject, now())
    const answer = await http.request(`${url}/1.0/revoke`, {
      method: 'POST',
      headers: { accept: 'application/json', 'content-type': 'application/json' },
      body: JSON.stringify({ serial, ott, passive: true, ...more }),
    })
    if (answer.status !== 401) return { answer, twice }
    // A request that was sent twice, on a connection that broke, has its token refused as used: a new one tells.
    if (!twice) return await post(serial, subject, more, true)
    throw refused(answer.status)
  }
  return {
    async list() {
      const answer = await http.request(settings.list ?? `${url}/1.0/crl`, { method: 'GET' })
      if (answer.status !== 200) throw answer.nonsense('the revocation list')
      const list = parse(answer.bytes)
      if (!list.isSignedBy(publicKey)) {
        throw new IssuerRefused(
          "X.509: another authority answers here: its revocation list is not signed by the configured one's key",
        )
      }
      return list
    },

    async revoke(serial, warrant) {
      const reasonCode = warrant.lane === 'p0' ? KEY_COMPROMISE : CESSATION
      const { answer, twice } = await post(serial, serial, { reasonCode, reason: warrant.case })
      if (answer.status === 200) {
        if (Accepted.safeParse(answer.json).success) return { status: 'accepted' }
        throw answer.nonsense('the revocation')
      }
      const problem = Problem.safeParse(answer.json).data?.message
      if (answer.status === 403 && problem !== undefined) throw refused(answer.status)
      if (answer.status !== 400 || problem === undefined) throw answer.nonsense('the revocation')
      // Of two requests of ours the first may have done it.
      if (ALREADY.test(problem)) return { status: twice ? 'accepted' : 'before' }
      return { status: 'error', said: `the authority answers 400 ${JSON.stringify(problem.slice(0, 200))}` }
    },

    async checkAdmin() {
      // No certificate has the serial 0, and a token that is good for another subject is refused after it was authenticated.
      const { answer } = await post('0', 'rescind-checks-its-own-authentication', {})
      if (!Problem.safeParse(answer.json).success) throw answer.nonsense('the revocation')
    },
  }
}

const refused = (status: number) => new IssuerRefused(`X.509: the authority refuses the admin's token (${status})`)

function parse(bytes: Buffer): CertificateList {
  try {
    return readCertificateList(bytes)
  } catch (error) {
    if (error instanceof UnfitList) throw new IssuerUnavailable(`X.509: the revocation list is not usable: ${error.message}`)
    throw error
  }
}

function readSecret(secret: string): Signer {
  const { provisioner, key: jwk } = readAdminSecret(
    AdminSecret,
    secret,
    '{"provisioner": ..., "key": <private JWK with kid>}',
    'X.509',
  )
  try {
    const key = createPrivateKey({ key: jwk, format: 'jwk' })
    const { namedCurve = '' } = key.asymmetricKeyDetails ?? {}
    const curves: Readonly<Record<string, string>> = { prime256v1: 'ES256', secp384r1: 'ES384', secp521r1: 'ES512' }
    const algorithm = jwk.kty === 'OKP' ? 'EdDSA' : jwk.kty === 'RSA' ? 'RS256' : curves[namedCurve]
    if (algorithm !== undefined) return { provisioner, kid: jwk.kid, algorithm, key }
  } catch {
    // No cause: it may quote the key.
  }
  throw new IssuerRefused('X.509: the key of the admin secret cannot be used')
}

/** A one-time token of a JWK provisioner: for this serial and this call alone. */
function tokenOf({ provisioner, kid, algorithm, key }: Signer, audience: string, serial: string, now: number): string {
  const seconds = Math.floor(now / 1000)
  const hash = algorithm === 'EdDSA' ? null : `sha${algorithm.slice(2)}`
  const signed = (text: string) => sign(hash, Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' })
  // The authority takes a token's name once. A signature by an elliptic curve differs each time, so two workers' do.
  const jti = createHash('sha256').update(`${serial} ${now} `).update(signed(serial)).digest('hex')
  const times = { iat: seconds, nbf: seconds - TOKEN_SECONDS / 2, exp: seconds + TOKEN_SECONDS }
  const claims = { iss: provisioner, aud: audience, sub: serial, jti, ...times }
  const body = [{ alg: algorithm, kid, typ: 'JWT' }, claims].map(encoded).join('.')
  return `${body}.${signed(body).toString('base64url')}`
}

const encoded = (json: object): string => Buffer.from(JSON.stringify(json)).toString('base64url')
