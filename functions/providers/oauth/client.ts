import * as z from 'zod/mini'
import { readAdminSecret } from '../admin-secret.ts'
import { IssuerRefused, IssuerUnavailable } from '../contract.ts'
import type { Http, HttpAnswer } from '../http.ts'
import { isEndpoint } from '../shape.ts'
import type { Settings } from './definition.ts'

/** The admin client of one authorization server. Every method throws `IssuerError`s, and no error holds a token or a secret. */
export interface OAuthClient {
  readonly clientId: string
  readonly canIntrospect: boolean
  revoke(token: string, tokenType: string): Promise<RevocationAnswer>
  /** Is the token active (RFC 7662)? */
  introspect(token: string, tokenType: string): Promise<boolean>
  /** A token of the admin client's own, by client_credentials; undefined where the server issues none to it. */
  ownToken(): Promise<string | undefined>
  /** Does the server take this client secret? Shown by revoking, in that client's name, a token that nobody was given. */
  authenticates(clientId: string, clientSecret: string): Promise<boolean>
  /** RFC 7592, section 2.3. Not done: 401 or 403, the registration access token is not (or no more) that of this client. */
  deleteRegistration(address: string, token: string): Promise<{ readonly done: boolean; readonly http: number }>
}

/** `accepted`: 200 and nothing else, which says that the server does not know the token now. `error`: an OAuth error code. */
export type RevocationAnswer =
  | { readonly status: 'accepted' }
  | { readonly status: 'error'; readonly http: number; readonly error: string }

const AdminSecret = z.strictObject({ clientId: z.string().check(z.minLength(1)), clientSecret: z.string().check(z.minLength(1)) })

/** RFC 8414, section 2: what is needed of it. */
const Metadata = z.object({
  issuer: z.string(),
  revocation_endpoint: z.optional(z.string()),
  introspection_endpoint: z.optional(z.string()),
  token_endpoint: z.optional(z.string()),
})
const Introspection = z.object({ active: z.boolean() })
const OAuthError = z.object({ error: z.string().check(z.regex(/^[\x20-\x7e]{1,64}$/)) })
const TokenResponse = z.object({ access_token: z.string().check(z.minLength(1)) })

/** No server issues it: what is asked about it concerns whoever asks. */
export const NOBODYS_TOKEN = 'rescind-asks-who-it-is'

interface Endpoints {
  readonly revocation: string
  readonly introspection: string | undefined
  readonly token: string | undefined
}

/**
 * Makes sure that the right issuer answers, and finds its endpoints.
 *
 * @throws IssuerRefused another issuer answers, an endpoint is missing or not https, or the secret is unusable
 * @throws IssuerUnavailable no answer, or one that is no metadata
 */
export async function openClient(settings: Settings, secret: string, http: Http): Promise<OAuthClient> {
  const { clientId, clientSecret } = readAdminSecret(AdminSecret, secret, '{"clientId": ..., "clientSecret": ...}', 'OAuth')
  const endpoints =
    settings.endpoints.from === 'discovered' ? await discover(http, settings.issuer) : configured(settings.endpoints)
  const authorization = basic(clientId, clientSecret)
  const post = (endpoint: string, form: Readonly<Record<string, string>>, as = authorization) =>
    http.request(endpoint, {
      method: 'POST',
      headers: { authorization: as, accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams(form).toString(),
    })

  return {
    clientId,
    canIntrospect: endpoints.introspection !== undefined,

    async revoke(token, tokenType) {
      const answer = await post(endpoints.revocation, { token, token_type_hint: tokenType })
      const error = OAuthError.safeParse(answer.json).data?.error
      if (answer.status === 401 || error === 'invalid_client') throw refusedClient('revocation', answer.status)
      if (answer.status === 200) return error === undefined ? { status: 'accepted' } : { status: 'error', http: 200, error }
      if ((answer.status === 400 || answer.status === 403) && error !== undefined)
        return { status: 'error', http: answer.status, error }
      if (answer.status === 403) throw refusedClient('revocation', answer.status)
      throw answer.nonsense('the revocation endpoint')
    },

    async introspect(token, tokenType) {
      if (endpoints.introspection === undefined) throw new IssuerRefused('OAuth: the issuer has no introspection endpoint')
      const answer = await post(endpoints.introspection, { token, token_type_hint: tokenType })
      const error = OAuthError.safeParse(answer.json).data?.error
      if (answer.status === 401 || answer.status === 403 || error === 'invalid_client') {
        throw refusedClient('introspection', answer.status)
      }
      const parsed = Introspection.safeParse(answer.json)
      if (answer.status !== 200 || error !== undefined || !parsed.success) throw answer.nonsense('the introspection endpoint')
      return parsed.data.active
    },

    async ownToken() {
      if (endpoints.token === undefined) return undefined
      const answer = await post(endpoints.token, { grant_type: 'client_credentials' })
      const error = OAuthError.safeParse(answer.json).data?.error
      if (answer.status === 401 || error === 'invalid_client') throw refusedClient('token', answer.status)
      if (answer.status === 400 || answer.status === 403) return undefined
      const parsed = TokenResponse.safeParse(answer.json)
      if (answer.status !== 200 || !parsed.success) throw answer.nonsense('the token endpoint')
      return parsed.data.access_token
    },

    async authenticates(id, secret) {
      const answer = await post(
        endpoints.revocation,
        { token: NOBODYS_TOKEN, token_type_hint: 'access_token' },
        basic(id, secret),
      )
      const error = OAuthError.safeParse(answer.json).data?.error
      // RFC 6749, section 5.2: failed client authentication is invalid_client, with 401 for one by header.
      if (answer.status === 401 || error === 'invalid_client') return false
      if (answer.status === 200 || ((answer.status === 400 || answer.status === 403) && error !== undefined)) return true
      throw answer.nonsense('the revocation endpoint')
    },

    async deleteRegistration(address, token) {
      const answer = await http.request(address, { method: 'DELETE', headers: { authorization: `Bearer ${token}` } })
      const { status } = answer
      if (status === 204 || status === 404 || status === 410) return { done: true, http: status }
      if (status === 401 || status === 403) return { done: false, http: status }
      throw answer.nonsense('the client registration')
    },
  }
}

/** RFC 6749, section 2.3.1: both parts are form-encoded before they are joined. */
const basic = (clientId: string, clientSecret: string) =>
  `Basic ${Buffer.from(`${formEncode(clientId)}:${formEncode(clientSecret)}`).toString('base64')}`

const refusedClient = (endpoint: string, status: number) =>
  new IssuerRefused(`OAuth: the ${endpoint} endpoint refuses the admin client (${status})`)

/** application/x-www-form-urlencoded, as RFC 6749, appendix B, describes it. */
const formEncode = (text: string) => new URLSearchParams([['', text]]).toString().slice(1)

function configured(endpoints: Extract<Settings['endpoints'], { from: 'configured' }>): Endpoints {
  return { revocation: endpoints.revocation, introspection: endpoints.introspection, token: endpoints.token }
}

/** RFC 8414, section 3.1; where there is nothing, OpenID Connect Discovery 1.0, section 4, which appends instead. */
async function discover(http: Http, issuer: string): Promise<Endpoints> {
  const { origin, pathname } = new URL(issuer)
  const path = pathname.replace(/\/$/, '')
  const addresses = [
    `${origin}/.well-known/oauth-authorization-server${path}`,
    `${origin}${path}/.well-known/openid-configuration`,
  ]
  let answer: HttpAnswer | undefined
  for (const address of addresses) {
    answer = await http.request(address, { method: 'GET', headers: { accept: 'application/json' } })
    const parsed = Metadata.safeParse(answer.json)
    if (answer.status !== 200 || !parsed.success) continue
    return endpointsOf(issuer, parsed.data)
  }
  throw answer?.nonsense('the metadata') ?? new IssuerUnavailable('OAuth: no metadata')
}

function endpointsOf(issuer: string, metadata: z.infer<typeof Metadata>): Endpoints {
  if (metadata.issuer !== issuer) {
    throw new IssuerRefused(`OAuth: another issuer answers here: ${printable(metadata.issuer)}, not ${issuer}`)
  }
  const { revocation_endpoint: revocation, introspection_endpoint: introspection, token_endpoint: token } = metadata
  if (revocation === undefined) throw new IssuerRefused('OAuth: the issuer has no revocation endpoint')
  for (const endpoint of [revocation, introspection, token]) {
    if (endpoint !== undefined && !isEndpoint(endpoint)) {
      throw new IssuerRefused(`OAuth: the metadata names an endpoint that is not https: ${printable(endpoint)}`)
    }
  }
  return { revocation, introspection, token }
}

const printable = (text: string) => JSON.stringify(text.slice(0, 200))
