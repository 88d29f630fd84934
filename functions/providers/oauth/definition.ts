import * as z from 'zod/mini'
import { Instant } from '../../contracts/primitives.ts'
import type { Definition } from '../contract.ts'
import { isEndpoint } from '../shape.ts'
import { credentialOf, recognise } from './recognise.ts'

/** https, or loopback over http: tokens and the admin's secret travel to these addresses. */
const Endpoint = z
  .string()
  .check(
    z.maxLength(2048),
    z.refine(isEndpoint, 'must be an https address without user, password or fragment (http only on a loopback address)'),
  )

const TokenType = z.enum(['access_token', 'refresh_token'])

const ClientId = z.string().check(z.regex(/^[\x20-\x7e]{1,512}$/, 'must be a client id (RFC 6749, appendix A.1)'))

/** `tokenType` as RFC 7009, section 2.1, names it; `clientId` the client that the token was issued to. */
export const TokenTarget = z.strictObject({
  tokenType: TokenType,
  clientId: z.optional(ClientId),
  /** When the token ends by itself, where that is known. */
  expiresAt: z.optional(Instant),
})
export type TokenTarget = z.infer<typeof TokenTarget>

/** A client that authenticates with a secret of its own. */
export const ClientTarget = z.strictObject({ client: ClientId })
export type ClientTarget = z.infer<typeof ClientTarget>

export const Target = z.union([TokenTarget, ClientTarget])
export type Target = z.infer<typeof Target>

const Shown = z.string().check(z.regex(/^[\x20-\x7e]{1,16384}$/, 'must be printable ASCII'))

/** RFC 7009 revokes a token by showing it. */
export const TokenSecret = z.strictObject({ token: Shown })
export type TokenSecret = z.infer<typeof TokenSecret>

/** RFC 7592 deletes a client by its registration access token; whether its secret is dead is seen by trying it. */
export const ClientSecret = z.strictObject({ clientSecret: Shown, registrationToken: Shown })
export type ClientSecret = z.infer<typeof ClientSecret>

export const Secret = z.union([TokenSecret, ClientSecret])
export type Secret = z.infer<typeof Secret>

export const Settings = z.strictObject({
  /** The issuer identifier (RFC 8414, section 2), exactly as its metadata states it. */
  issuer: Endpoint,
  /**
   * `discovered`: the metadata is read before each piece of work, and must state this issuer (RFC 8414, section 3.3).
   * `configured`: the server has none; its endpoints stand here, and the certificate of their host is the only check.
   */
  endpoints: z._default(
    z.discriminatedUnion('from', [
      z.strictObject({ from: z.literal('discovered') }),
      z.strictObject({
        from: z.literal('configured'),
        revocation: Endpoint,
        introspection: z.optional(Endpoint),
        token: z.optional(Endpoint),
      }),
    ]),
    { from: 'discovered' },
  ),
  /**
   * Whose tokens the admin client may introspect. An inactive token and a token that the asking client may not see get
   * the same answer (RFC 7662, section 2.2), so an inactive one is believed only where this says that it may see it.
   */
  introspects: z.enum(['all', 'own', 'none']),
  /**
   * Where a client's registration is managed (RFC 7592, section 2): an address with `{client_id}` in its path. Absent:
   * clients cannot be cut here. It stands here and not in a lease, since registration access tokens are sent to it.
   */
  clients: z.optional(
    z.string().check(
      z.maxLength(2048),
      z.refine(
        (text) => isEndpoint(text.replace('{client_id}', 'x')) && text.split('{client_id}').length === 2,
        'must be an https address (http only on a loopback address) that holds {client_id} once',
      ),
    ),
  ),
  /** Access tokens are checked by resource servers alone (JWT, RFC 9068): they live to their expiry whatever the issuer says. */
  selfContained: z._default(z.boolean(), false),
  timeoutMilliseconds: z._default(z.int().check(z.minimum(100), z.maximum(10_000)), 5000),
})
export type Settings = z.infer<typeof Settings>

/** A self-contained access token that has not ended by itself yet: resource servers may honour it whatever the issuer says. */
export const livesOn = (
  { selfContained }: Pick<Settings, 'selfContained'>,
  { tokenType, expiresAt }: Pick<TokenTarget, 'tokenType' | 'expiresAt'>,
  now: number,
): boolean => selfContained && tokenType === 'access_token' && (expiresAt === undefined || Date.parse(expiresAt) > now)

/** Why a client cannot be cut where the issuer's settings do not say how. */
export const UNMANAGED = "the client cannot be cut: the issuer's settings name no address of client registrations (clients)"

export const definition: Definition<Target, Secret, never, Settings> = {
  name: 'oauth',
  title: 'OAuth 2 tokens (RFC 7009, RFC 7662) and clients (RFC 7592)',
  target: Target,
  secret: Secret,
  settings: Settings,
  credential(target, secret, mac) {
    if ('client' in target) {
      if (secret === undefined || !('clientSecret' in secret)) throw new RangeError('a lease of a client needs its secret')
      // The secret is the incarnation: a client of the same id with another secret is another credential.
      return `client:${JSON.stringify(target.client)}:${mac(`oauth-client:${secret.clientSecret}`)}`
    }
    if (secret === undefined || !('token' in secret)) throw new RangeError('an OAuth lease needs its token')
    return credentialOf(secret.token, mac)
  },
  recognise,
  uncuttable(target, settings, now) {
    if ('client' in target) return settings.clients === undefined ? { said: UNMANAGED } : undefined
    return livesOn(settings, target, Date.parse(now))
      ? {
          said: 'the access token cannot be cut, resource servers may honour it to its expiry',
          ...(target.expiresAt === undefined ? {} : { livesUntil: target.expiresAt }),
        }
      : undefined
  },
  capabilities: {
    // RFC 7009, section 2.2: 200 for any token. Where introspection shows it, `absent` is answered all the same.
    tellsAbsent: false,
    verifies: true,
    // There is no switch that the protocol could turn back: a token once revoked stays so.
    containment: 'none',
    restores: false,
    tidies: false,
    choosesName: false,
    // The token itself is dropped where it was pasted, and nothing else leads to it.
    locates: false,
    issues: false,
    discovers: false,
    sessions: 'none',
  },
  // A token is looked at, revoked, and looked at again.
  limits: { batch: 20, propagationSeconds: 1, callSeconds: 45, concurrency: 9, callsPerSecond: 100, callsPerLease: 3 },
  serial: false,
  network: 'public',
  permissions: [],
}
