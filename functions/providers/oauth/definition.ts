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

/** `tokenType` as RFC 7009, section 2.1, names it; `clientId` the client that the token was issued to. */
export const Target = z.strictObject({
  tokenType: TokenType,
  clientId: z.optional(z.string().check(z.minLength(1), z.maxLength(512))),
  /** When the token ends by itself, where that is known. */
  expiresAt: z.optional(Instant),
})
export type Target = z.infer<typeof Target>

/** RFC 7009 revokes a token by showing it. */
export const Secret = z.strictObject({ token: z.string().check(z.regex(/^[\x20-\x7e]{1,16384}$/, 'must be a token')) })
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
  /** Access tokens are checked by resource servers alone (JWT, RFC 9068): they live to their expiry whatever the issuer says. */
  selfContained: z._default(z.boolean(), false),
  timeoutMilliseconds: z._default(z.int().check(z.minimum(100), z.maximum(10_000)), 5000),
})
export type Settings = z.infer<typeof Settings>

/** A self-contained access token that has not ended by itself yet: resource servers may honour it whatever the issuer says. */
export const livesOn = (
  { selfContained }: Pick<Settings, 'selfContained'>,
  { tokenType, expiresAt }: Pick<Target, 'tokenType' | 'expiresAt'>,
  now: number,
): boolean => selfContained && tokenType === 'access_token' && (expiresAt === undefined || Date.parse(expiresAt) > now)

export const definition: Definition<Target, Secret, never, Settings> = {
  name: 'oauth',
  title: 'OAuth 2 tokens (RFC 7009, RFC 7662)',
  target: Target,
  secret: Secret,
  settings: Settings,
  credential(_target, secret, mac) {
    if (secret === undefined) throw new RangeError('an OAuth lease needs its token')
    return credentialOf(secret.token, mac)
  },
  recognise,
  uncuttable: (target, settings, now) =>
    livesOn(settings, target, Date.parse(now))
      ? {
          said: 'the access token cannot be cut, resource servers may honour it to its expiry',
          ...(target.expiresAt === undefined ? {} : { livesUntil: target.expiresAt }),
        }
      : undefined,
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
