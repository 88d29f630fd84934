import * as z from 'zod/mini'
import { Discipline } from './discipline.ts'
import { DiscoverySettings } from './discovery.ts'
import { Modes } from './mode.ts'
import { OutageSettings } from './outage.ts'
import { IssuerName, name, TriggerType } from './primitives.ts'
import { Namespace } from './scope.ts'

/**
 * What an installation trusts and how it behaves: typed configuration, checked at synth, shipped beside each bundle.
 * It names secrets, it holds none.
 */

const Algorithm = z.enum(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'])

/** An issuer of tokens (a SPIFFE trust domain, a CI system, an IdP) that callers may authenticate with. */
export const TokenIssuer = z.strictObject({
  /** The exact `iss`, or for JWT-SVIDs the trust domain (`spiffe://example.org`), whose tokens carry it in `sub`. */
  issuer: name(512),
  /** `svid`: `sub` is the SPIFFE ID (JWT-SVID, section 3.1). `oidc`: the identity is `iss` and `sub` together. */
  kind: z.enum(['svid', 'oidc']),
  audience: name(512),
  algorithms: z.array(Algorithm).check(z.minLength(1)),
  keys: z.union([z.strictObject({ jwks: z.url() }), z.strictObject({ file: name(1024) })]),
  /** The namespace of the tasks and deployments that this issuer's callers attest. */
  namespace: Namespace,
})

/** `*` stands for any run of characters but `/`, `**` for any run at all. */
export const Pattern = name(2048)

/** A right, held by callers whose identity (canonical URI) matches `caller`. */
export const Grant = z.discriminatedUnion('right', [
  /** May register leases for the identities that match `identities`, and attest tasks and deployments in `namespaces`. */
  z.strictObject({ right: z.literal('broker'), caller: Pattern, identities: z.array(Pattern), namespaces: z.array(Namespace) }),
  /**
   * May register credentials of `issuers` for itself by naming them. Where a registration shows the credential itself
   * (its provider takes a secret), possession proves enough and no right is needed.
   */
  z.strictObject({ right: z.literal('holder'), caller: Pattern, issuers: z.array(IssuerName).check(z.minLength(1)) }),
  /** May use the operators' API. `approve` allows approving what is held. */
  z.strictObject({ right: z.literal('operator'), caller: Pattern, approve: z.boolean() }),
  /** May send triggers as the source `source`. */
  z.strictObject({ right: z.literal('source'), caller: Pattern, source: name(128) }),
])

/** A named sender of triggers. */
export const Source = z.strictObject({
  name: name(128),
  /** Trigger types it may send. */
  triggers: z.array(TriggerType).check(z.minLength(1)),
  /** The namespaces in which its tasks and deployments live; the first is the default. */
  namespaces: z.array(Namespace),
  /** HMAC key by reference, for signed HTTP (Standard Webhooks 1.0); two while a key is being changed. */
  secrets: z.optional(z.array(name(512)).check(z.maxLength(2))),
  /** The AWS principals (ARNs, may end in `*`) that may put events with `busSource`. */
  busPrincipals: z.optional(z.array(name(2048))),
  busSource: z.optional(name(256)),
})

/** Approvals of cases and deletions. */
const Approvals = z.strictObject({
  /** An approval that was not used so long after it was given (or after the moment that it is for) counts no more. Default: 72. */
  validHours: z.optional(z.int().check(z.minimum(1), z.maximum(8760))),
  /** A compromise that cut more leases than this deletes nothing before somebody approves. Default: 100. */
  deletionAbove: z.optional(z.int().check(z.minimum(0), z.maximum(10_000_000))),
})

const fuseLimits = {
  /** Identities. Default: 100. */
  identities: z.optional(z.int().check(z.minimum(1), z.maximum(10_000_000))),
  /** Leases, those of completed tasks apart. Default: 1000. */
  leases: z.optional(z.int().check(z.minimum(1), z.maximum(10_000_000))),
  /** Leases that completed tasks reach. Default: 20000. */
  taskLeases: z.optional(z.int().check(z.minimum(1), z.maximum(10_000_000))),
  /** Identities as a share of all that are known; 25 always pass. Default: 0.2. */
  share: z.optional(z.number().check(z.gt(0), z.maximum(1))),
}

/** What the lifecycle cases of one source may reach in one window; what is above waits for an approval. A compromise never does. */
const Fuse = z.strictObject({
  /** Default: 3600. */
  windowSeconds: z.optional(z.int().check(z.minimum(60), z.maximum(604800))),
  ...fuseLimits,
  /** Other limits for single sources; `rescind` is the pipeline's own (orphans at their deadline). */
  sources: z.optional(z.record(name(128), z.strictObject(fuseLimits))),
})

export const Settings = z.strictObject({
  tokenIssuers: z.array(TokenIssuer),
  grants: z.array(Grant),
  sources: z.array(Source),
  /** Identities (canonical URIs or patterns) whose lifecycle cases wait for an approval. */
  protected: z.array(Pattern),
  /** How far the pipeline may go; absent: `enforce` everywhere. */
  modes: z.optional(Modes),
  /** Break-glass identities and the pipeline's own roles: no case fences or cuts them, and each one that tries is shouted about. */
  exempt: z.optional(z.array(Pattern)),
  /** What leases must be like; absent: what the contracts and `limits` ask, and no more. */
  discipline: z.optional(Discipline),
  /** How the pipeline treats its own outages; absent: `DEFAULT_OUTAGE`. */
  outage: z.optional(OutageSettings),
  /** How often issuers are listed and compared with the leases; absent: on demand alone. */
  discovery: z.optional(DiscoverySettings),
  approvals: z.optional(Approvals),
  fuse: z.optional(Fuse),
  /** What an owner's leaving means for an identity that does not say: see the design's words. */
  ownerLeavesDefault: z.enum(['revoke', 'reassign']),
  limits: z.strictObject({
    /** Largest request body, in bytes. */
    bodyBytes: z.int().check(z.minimum(1024), z.maximum(262144)),
    /** How far ahead a trigger may be scheduled, in days. */
    scheduleDays: z.int().check(z.minimum(1), z.maximum(1000)),
    /** How far a sender's clock may be ahead, and how old a signed request may be, in seconds. */
    clockSkewSeconds: z.int().check(z.minimum(1), z.maximum(900)),
    /** Longest life of a lease, in days. */
    leaseDays: z.int().check(z.minimum(1), z.maximum(3650)),
    /** A registration that is not acknowledged by then is ended, in seconds. */
    registrationSeconds: z.int().check(z.minimum(10), z.maximum(3600)),
    /** Deepest delegation. */
    delegationDepth: z.int().check(z.minimum(1), z.maximum(32)),
    /** Tries of one chunk before its open leases are parked. */
    attempts: z.int().check(z.minimum(1), z.maximum(100)),
    /** Longest back-off, in seconds. */
    backoffSeconds: z.int().check(z.minimum(1), z.maximum(86400)),
    /** Orphaned identities are revoked after this, in days, unless somebody accepts them. */
    reassignDays: z.int().check(z.minimum(1), z.maximum(365)),
    /** Ended leases and closed cases stay in the table this long, in days; the archive keeps them. */
    retentionDays: z.int().check(z.minimum(1), z.maximum(3650)),
    /** A parked lease is tried again after this, in seconds; then each time after as long as it has been parked, a day at most. */
    parkedRetrySeconds: z.int().check(z.minimum(60), z.maximum(604800)),
  }),
})
export type Settings = z.infer<typeof Settings>
export type Grant = z.infer<typeof Grant>
export type Source = z.infer<typeof Source>
export type TokenIssuer = z.infer<typeof TokenIssuer>

/** What an installation gets that says nothing. */
export const DEFAULT_LIMITS: Settings['limits'] = {
  bodyBytes: 65536,
  scheduleDays: 400,
  clockSkewSeconds: 300,
  leaseDays: 400,
  registrationSeconds: 60,
  delegationDepth: 8,
  attempts: 12,
  backoffSeconds: 900,
  reassignDays: 14,
  retentionDays: 90,
  parkedRetrySeconds: 21600,
}
