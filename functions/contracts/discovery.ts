import * as z from 'zod/mini'
import { Instant, IssuerName, Key, LeaseId } from './primitives.ts'
import { TYPE_PREFIX } from './trigger.ts'

/**
 * What a discovery finds.
 *
 * - `unregistered`: a credential that its issuer honours and no lease names (a shadow credential).
 * - `own`: the same, but it is Rescind's own or the server's: nobody registers it.
 * - `revived`: a case has cut it, or found it gone, and its issuer honours it.
 * - `disabled`: its lease is live, and its issuer does not honour it.
 * - `replaced`: another incarnation bears the name of a live lease's credential.
 * - `outlives`: its issuer ends it later than its lease says.
 * - `gone`: its lease is live, and its issuer does not list it.
 */
export const FindingKind = z.enum(['unregistered', 'own', 'revived', 'disabled', 'replaced', 'outlives', 'gone'])
export type FindingKind = z.infer<typeof FindingKind>
export const FINDING_KINDS = FindingKind.options

/** `settings.discovery`. */
export const DiscoverySettings = z.strictObject({
  /** How often an issuer that can be listed is listed where its declaration does not say, in seconds. Default: on demand alone. */
  everySeconds: z.optional(z.int().check(z.minimum(3600), z.maximum(31_536_000))),
  /** Findings of one kind that are kept of one discovery; the others are counted. Default 1000. */
  keep: z.optional(z.int().check(z.minimum(10), z.maximum(10_000))),
})

export const DEFAULT_KEPT_FINDINGS = 1000

/** `POST /v1/issuers/{name}/discoveries`. */
export const DiscoveryRequest = z.strictObject({
  reason: z.optional(z.string().check(z.minLength(1), z.maxLength(1024))),
})
export type DiscoveryRequest = z.infer<typeof DiscoveryRequest>

/** `listing` its credentials, `comparing` the live leases with the list, `settling` the findings; then `done` or `failed`. */
export const DiscoveryState = z.enum(['listing', 'comparing', 'settling', 'done', 'failed'])
export type DiscoveryState = z.infer<typeof DiscoveryState>

const Sum = z.strictObject({
  /** All of this kind; the findings that are kept are a part of them. */
  found: z.int(),
  kept: z.int(),
  /** Those kept that the discovery before did not have, and nobody has accepted. */
  new: z.int(),
  /** Those kept that somebody has accepted. */
  accepted: z.int(),
})

/** One discovery of `GET /v1/issuers/{name}/discoveries`. */
export const DiscoveryView = z.strictObject({
  id: Key,
  issuer: IssuerName,
  provider: z.string(),
  state: DiscoveryState,
  /** What it waits for, or why it failed. */
  said: z.optional(z.string()),
  requester: z.string(),
  reason: z.optional(z.string()),
  startedAt: Instant,
  endedAt: z.optional(Instant),
  counts: z.strictObject({
    /** Credentials that the issuer listed. */
    listed: z.int(),
    /** Those of them that a lease in force names. */
    registered: z.int(),
    /** Not honoured, and not in force: nothing to be said of them. */
    dormant: z.int(),
    /** A case is about them, or they are so new that their registration may be under way: the next discovery tells. */
    unsettled: z.int(),
    /** What was listed does not fit its provider, or its lease cannot be read. */
    unreadable: z.int(),
    /** Live leases that were looked for in the list. */
    leases: z.int(),
  }),
  findings: z.strictObject({
    unregistered: Sum,
    own: Sum,
    revived: Sum,
    disabled: Sum,
    replaced: Sum,
    outlives: Sum,
    gone: Sum,
  }),
  /** Findings that turned out to be none before the end: the registration came, the lease was given back. */
  withdrawn: z.int(),
  /** Findings of the discovery before that are none any more; listed with the standing `cleared`. */
  cleared: z.int(),
  /** The discovery that it is compared with: the last one that was done. */
  previous: z.optional(Key),
  /** More was found than is kept: `new` and `cleared` are of what is kept alone. */
  truncated: z.boolean(),
})
export type DiscoveryView = z.infer<typeof DiscoveryView>

export const Acceptance = z.strictObject({
  by: z.string(),
  reason: z.string(),
  at: Instant,
  until: z.optional(Instant),
})

/** One finding of `GET /v1/issuers/{name}/discoveries/{id}/findings`. Names, never secrets. */
export const FindingView = z.strictObject({
  fingerprint: Key,
  kind: FindingKind,
  /** What people call it there: `role billing`. Of a credential that is gone, its fingerprint is all that is shown. */
  shown: z.string(),
  said: z.string(),
  /** `provisional` while the discovery runs; `cleared`: the discovery before had it, this one has it no more. */
  standing: z.enum(['provisional', 'new', 'known', 'cleared']),
  firstSeenAt: Instant,
  seenAt: Instant,
  /** Why nobody registers it. */
  own: z.optional(z.string()),
  /** Whose it is, as its issuer says. */
  identity: z.optional(z.string()),
  createdAt: z.optional(z.string()),
  lastUsedAt: z.optional(z.string()),
  expiresAt: z.optional(z.string()),
  /** The lease that it is about, or the last one that named it. */
  lease: z.optional(LeaseId),
  /** Somebody has said why it is as it should be, of this very incarnation. */
  accepted: z.optional(Acceptance),
})
export type FindingView = z.infer<typeof FindingView>

/** `POST /v1/issuers/{name}/findings/{fingerprint}`. */
export const FindingDecision = z.discriminatedUnion('decision', [
  z.strictObject({
    decision: z.literal('accept'),
    kind: FindingKind,
    reason: z.string().check(z.minLength(1), z.maxLength(1024)),
    /** It is a finding like any other again from then on. */
    until: z.optional(Instant),
  }),
  /** Takes the acceptance back. */
  z.strictObject({
    decision: z.literal('withdraw'),
    kind: FindingKind,
    reason: z.string().check(z.minLength(1), z.maxLength(1024)),
  }),
])
export type FindingDecision = z.infer<typeof FindingDecision>

/** On the outcome bus: a discovery is over. */
export const DISCOVERY_TYPES = { done: `${TYPE_PREFIX}discovery.done`, failed: `${TYPE_PREFIX}discovery.failed` } as const

export const DiscoveryEvent = z.strictObject({
  specversion: z.literal('1.0'),
  id: Key,
  source: z.literal('rescind'),
  type: z.enum([DISCOVERY_TYPES.done, DISCOVERY_TYPES.failed]),
  subject: IssuerName,
  time: z.iso.datetime(),
  datacontenttype: z.literal('application/json'),
  data: z.strictObject({
    discovery: DiscoveryView,
    /** New credentials that are honoured and should not be, `unregistered` and `revived`: the first twenty. */
    alarming: z.array(z.strictObject({ kind: FindingKind, fingerprint: Key, shown: z.string() })),
  }),
})
export type DiscoveryEvent = z.infer<typeof DiscoveryEvent>
