import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { JWK, JWTPayload, JWTVerifyGetKey } from 'jose'
import { createLocalJWKSet, createRemoteJWKSet, customFetch, decodeJwt, errors, jwtVerify } from 'jose'
import * as z from 'zod/mini'
import type { TokenIssuer } from '../contracts/settings.ts'
import { canonicalIdentity, IdentityInvalid, oidcIdentity, trustDomainOf } from '../domain/identity.ts'
import type { Request } from './http.ts'
import { OwnError } from './log.ts'
import type { Clock } from './ports.ts'
import { ProblemError } from './problem-error.ts'

/** Who calls, as far as it is proven. */
export interface Principal {
  /** The canonical URI of the caller's identity. */
  readonly uri: string
  readonly kind: 'svid' | 'oidc' | 'aws'
  /** The namespace of the tasks and deployments that its token issuer attests; AWS principals have none of their own. */
  readonly namespace?: string
  /** The configured `issuer` of the token. */
  readonly tokenIssuer?: string
}

export type Authenticate = (request: Pick<Request, 'headers' | 'userArn'>) => Promise<Principal>

/** How far an issuer's clock may be off, in seconds. */
const CLOCK_TOLERANCE = 30
const LONGEST_TOKEN = 16_384
/** Of the keys of an issuer: how long they are used, the pause between two fetches, one fetch's time; in milliseconds. */
const KEYS_AGE = 600_000
const KEYS_PAUSE = 30_000
const KEYS_PAUSE_AFTER_FAILURE = 5_000
const KEYS_TIME = 3_000
const KEYS_BYTES = 262_144

/** The configured trust cannot be used: thrown when a function starts. */
export class TokenIssuerInvalid extends OwnError {
  override readonly name = 'TokenIssuerInvalid'
  readonly code = 'token-issuer-invalid'
}

/** The keys of an issuer cannot be had at the moment: nobody's token is wrong. */
class KeysUnavailable extends OwnError {
  override readonly name = 'KeysUnavailable'
  readonly code = 'keys-unavailable'
}

export interface AuthenticationTools {
  readonly clock: Clock
  /** Folder that key files are relative to; default `LAMBDA_TASK_ROOT`, else the working folder. */
  readonly directory?: string
  readonly fetch?: typeof fetch
}

/**
 * Verifies callers. Made once for a process, since it keeps the issuers' keys.
 *
 * On a route with IAM authorisation the caller is the ARN that API Gateway authenticated; elsewhere it is the subject of
 * the bearer token (RFC 6750). A token's issuer is looked up by its exact `iss`, or for JWT-SVIDs by the trust domain of
 * its `sub`; the configured issuer says which algorithms, audience and keys count, the token has no say in it.
 *
 * Throws `ProblemError`: 401 `unauthenticated` without a token, 401 `token-invalid` for one that is not accepted, 503
 * `internal` while the keys of its issuer cannot be had.
 */
export function authenticator(tokenIssuers: readonly TokenIssuer[], tools: AuthenticationTools): Authenticate {
  const trusted = new Map<string, { readonly issuer: TokenIssuer; readonly keys: JWTVerifyGetKey }>()
  for (const issuer of tokenIssuers) {
    const name = `${issuer.kind} ${issuer.issuer}`
    if (trusted.has(name)) throw new TokenIssuerInvalid('an issuer of tokens is configured twice')
    if (issuer.kind === 'svid' && !/^spiffe:\/\/[a-z0-9._-]{1,255}$/.test(issuer.issuer)) {
      throw new TokenIssuerInvalid('an issuer of JWT-SVIDs is named by its trust domain: spiffe://<trust domain>')
    }
    trusted.set(name, { issuer, keys: keysOf(issuer, tools) })
  }

  const authenticateToken = async (token: string): Promise<Principal> => {
    const claims = unverified(token)
    const { iss, sub } = claims
    if (typeof sub !== 'string' || sub === '') throw new ProblemError('token-invalid', 'the token has no subject')
    // A JWT-SVID may carry any `iss` (JWT-SVID section 3): its trust domain decides.
    const svid = svidOf(sub)
    const found =
      (svid === undefined ? undefined : trusted.get(`svid ${trustDomainOf(svid)}`)) ??
      (typeof iss === 'string' ? trusted.get(`oidc ${iss}`) : undefined)
    if (found === undefined) throw new ProblemError('token-invalid', 'the issuer of the token is not trusted here')
    const { issuer, keys } = found
    const payload = await verified(token, keys, issuer, tools.clock.now())
    if (typeof payload.sub !== 'string') throw new ProblemError('token-invalid', 'the token has no subject')
    return {
      uri: identityOf(issuer, payload.sub),
      kind: issuer.kind,
      namespace: issuer.namespace,
      tokenIssuer: issuer.issuer,
    }
  }

  return async (request) => {
    if (request.userArn !== undefined) return { uri: callerOf(request.userArn), kind: 'aws' }
    const header = request.headers['authorization']
    if (header === undefined) throw new ProblemError('unauthenticated', 'a bearer token is needed')
    const token = /^Bearer +([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)$/i.exec(header)?.[1]
    if (token === undefined || token.length > LONGEST_TOKEN) {
      throw new ProblemError('unauthenticated', 'the authorization header holds no bearer token in compact form')
    }
    return authenticateToken(token)
  }
}

/** The canonical SPIFFE ID, or undefined if the subject is none. */
function svidOf(subject: string): string | undefined {
  if (!subject.startsWith('spiffe://')) return undefined
  try {
    return canonicalIdentity(subject)
  } catch (error) {
    if (error instanceof IdentityInvalid) return undefined
    throw error
  }
}

function identityOf(issuer: TokenIssuer, subject: string): string {
  try {
    const uri = issuer.kind === 'svid' ? canonicalIdentity(subject) : oidcIdentity(issuer.issuer, subject)
    if (issuer.kind === 'svid' && trustDomainOf(uri) !== issuer.issuer) {
      throw new ProblemError('token-invalid', 'the subject lies outside of the trust domain')
    }
    return uri
  } catch (error) {
    if (error instanceof IdentityInvalid) throw new ProblemError('token-invalid', error.message, { cause: error })
    throw error
  }
}

function callerOf(userArn: string): string {
  try {
    return canonicalIdentity(userArn)
  } catch (error) {
    if (error instanceof IdentityInvalid) throw new ProblemError('unauthenticated', error.message, { cause: error })
    throw error
  }
}

/** Read only to find out whose token it claims to be. */
function unverified(token: string): JWTPayload {
  try {
    return decodeJwt(token)
  } catch (error) {
    throw new ProblemError('token-invalid', 'the token is malformed', { cause: error })
  }
}

async function verified(token: string, keys: JWTVerifyGetKey, issuer: TokenIssuer, now: number): Promise<JWTPayload> {
  try {
    const { payload } = await jwtVerify(token, keys, {
      algorithms: issuer.algorithms,
      audience: issuer.audience,
      ...(issuer.kind === 'oidc' ? { issuer: issuer.issuer } : {}),
      currentDate: new Date(now),
      clockTolerance: CLOCK_TOLERANCE,
      requiredClaims: ['exp', 'sub'],
    })
    return payload
  } catch (error) {
    if (error instanceof KeysUnavailable) {
      throw new ProblemError('internal', "the keys of the token's issuer cannot be had; try again", {
        status: 503,
        retryAfterSeconds: KEYS_PAUSE_AFTER_FAILURE / 1000,
        cause: error,
      })
    }
    if (error instanceof errors.JOSEError) throw new ProblemError('token-invalid', reasonOf(error), { cause: error })
    throw error
  }
}

/** In our words: the library's may quote the token. */
function reasonOf(error: errors.JOSEError): string {
  if (error instanceof errors.JWTExpired) return 'the token has expired'
  if (error instanceof errors.JWTClaimValidationFailed) {
    return ['aud', 'iss', 'exp', 'nbf', 'sub', 'iat'].includes(error.claim)
      ? `the claim ${error.claim} is not accepted`
      : 'a claim is not accepted'
  }
  if (error instanceof errors.JOSEAlgNotAllowed) return 'the algorithm of the token is not accepted'
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) {
    return 'the token is signed by no key of its issuer'
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'the signature of the token does not fit'
  return 'the token is malformed'
}

// -------------------------------------------------------------------------------------------------- keys

const KeySet = z.object({
  keys: z.array(z.custom<JWK>((key) => typeof key === 'object' && key !== null && 'kty' in key && typeof key.kty === 'string')),
})

/**
 * In a SPIFFE bundle (SPIFFE Trust Domain and Bundle section 4.2.2) the keys for JWT-SVIDs are told from those for X.509
 * by `use`, whose values the library does not know.
 */
function keySetOf(document: unknown, kind: TokenIssuer['kind']): z.infer<typeof KeySet> {
  const parsed = z.safeParse(KeySet, document)
  if (!parsed.success) throw new KeysUnavailable("the issuer's keys are no JSON Web Key Set")
  if (kind === 'oidc') return parsed.data
  return {
    keys: parsed.data.keys
      .filter(({ use }) => use === undefined || use === 'jwt-svid' || use === 'sig')
      .map(({ use: _, ...key }) => key),
  }
}

function keysOf(issuer: TokenIssuer, tools: AuthenticationTools): JWTVerifyGetKey {
  if ('file' in issuer.keys) {
    const directory = tools.directory ?? process.env['LAMBDA_TASK_ROOT'] ?? '.'
    try {
      return createLocalJWKSet(keySetOf(JSON.parse(readFileSync(resolve(directory, issuer.keys.file), 'utf8')), issuer.kind))
    } catch (error) {
      throw new TokenIssuerInvalid('the key file of an issuer of tokens cannot be read', { cause: error })
    }
  }
  const url = new URL(issuer.keys.jwks)
  const loopback = ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && loopback)) {
    throw new TokenIssuerInvalid('the keys of an issuer of tokens come by https')
  }
  let failedAt = Number.NEGATIVE_INFINITY
  const load = tools.fetch ?? fetch
  const remote = createRemoteJWKSet(url, {
    timeoutDuration: KEYS_TIME,
    cooldownDuration: KEYS_PAUSE,
    cacheMaxAge: KEYS_AGE,
    [customFetch]: async (address, options) => {
      // An issuer that does not answer must not be asked once for every request that names it.
      if (tools.clock.now() - failedAt < KEYS_PAUSE_AFTER_FAILURE)
        throw new KeysUnavailable("the issuer's keys could not be fetched just now")
      try {
        const answer = await load(address, options)
        if (answer.status !== 200) throw new KeysUnavailable(`the issuer's keys were answered with status ${answer.status}`)
        const text = await limited(answer)
        return new Response(JSON.stringify(keySetOf(JSON.parse(text), issuer.kind)), { status: 200 })
      } catch (error) {
        failedAt = tools.clock.now()
        throw new KeysUnavailable("the issuer's keys could not be fetched", { cause: error })
      }
    },
  })
  return async (header, token) => {
    try {
      return await remote(header, token)
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) throw error
      throw new KeysUnavailable("the issuer's keys could not be used", { cause: error })
    }
  }
}

async function limited(answer: globalThis.Response): Promise<string> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of answer.body ?? []) {
    length += part.length
    if (length > KEYS_BYTES) throw new KeysUnavailable("the issuer's keys are too long")
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}
