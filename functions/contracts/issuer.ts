import * as z from 'zod/mini'
import { Mode } from './mode.ts'
import { IssuerName, name } from './primitives.ts'

/** `PUT /v1/issuers/{name}`: one configured instance of a provider. */
export const IssuerDeclaration = z.strictObject({
  provider: z.string().check(z.regex(/^[a-z][a-z0-9-]{0,39}$/)),
  /** Checked against the provider's own schema. */
  settings: z.record(z.string(), z.unknown()),
  /** Reference to the admin secret; the value lies in the secret store only. */
  adminSecret: z.optional(name(512)),
  environment: z.optional(name(64)),
  /** Never goes further here than this, whatever the configuration's rules say. Left out: as before, at first `enforce`. */
  mode: z.optional(Mode),
  /** Never called faster than this, whatever it would take. Left out: its provider's own ceiling. */
  limits: z.optional(z.strictObject({ callsPerSecond: z.number().check(z.minimum(0.1), z.maximum(10000)) })),
  /**
   * How often it is listed and compared with the leases, in seconds; 0: on demand alone. Left out: as `discovery.everySeconds` of
   * the configuration says. Only where its provider can list.
   */
  discoverEverySeconds: z.optional(z.union([z.literal(0), z.int().check(z.minimum(3600), z.maximum(31_536_000))])),
  /** How long a cut credential is kept before it is deleted, in seconds; 0 deletes with the next sweep. */
  soakSeconds: z.optional(z.int().check(z.minimum(0), z.maximum(31536000))),
})
export type IssuerDeclaration = z.infer<typeof IssuerDeclaration>

export const IssuerView = z.strictObject({
  name: IssuerName,
  ...IssuerDeclaration.shape,
  soakSeconds: z.int(),
  /** The breaker is open: no lease is tried until then, and why. */
  breaker: z.optional(z.strictObject({ until: z.string(), reason: z.string(), code: z.string() })),
  /** How fast it is called now, in calls a second, as its throttling answers have shown; absent until it was called. */
  pace: z.optional(
    z.strictObject({
      callsPerSecond: z.number(),
      ceiling: z.number(),
      /** Workers that are at it. */
      underWay: z.int(),
      /** It throttled us: nobody but P0 calls it before. */
      pausedUntil: z.optional(z.string()),
    }),
  ),
})
export type IssuerView = z.infer<typeof IssuerView>

/** A week: long enough to notice a false alarm, short enough to keep an issuer tidy. */
export const DEFAULT_SOAK_SECONDS = 604800
