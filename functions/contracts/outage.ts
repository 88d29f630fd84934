import * as z from 'zod/mini'
import { IdempotencyKey, LeaseRegistration, LeaseRenewal, LeaseView } from './lease.ts'
import { Instant, LeaseId, name } from './primitives.ts'
import { TYPE_PREFIX } from './trigger.ts'

/** How the pipeline treats the time in which it was down itself: `settings.outage`. */
export const OutageSettings = z.strictObject({
  /** A pause of the sweeper above this is an outage. It ticks each minute. Default 300. */
  gapSeconds: z.optional(z.int().check(z.minimum(120), z.maximum(86400))),
  /** What a client needs after our return to renew, in seconds: no lease that an outage hit is cut before. Default 300. */
  graceSeconds: z.optional(z.int().check(z.minimum(0), z.maximum(86400))),
  /** How old a spooled note may be that lies in no known outage, in hours. Default 24. */
  spoolHours: z.optional(z.int().check(z.minimum(1), z.maximum(744))),
})
export type OutageSettings = z.infer<typeof OutageSettings>

export const DEFAULT_OUTAGE = { gapSeconds: 300, graceSeconds: 300, spoolHours: 24 } as const

/** `POST /v1/outages`: the sweeper cannot see that only the API was down; an operator says so. */
export const OutageDeclaration = z.strictObject({ from: Instant, to: Instant, reason: name(512) })
export type OutageDeclaration = z.infer<typeof OutageDeclaration>

export const OutageView = z.strictObject({
  from: Instant,
  to: Instant,
  /** `gap`: the sweeper found it. `declared`: an operator said so. */
  source: z.enum(['gap', 'declared']),
  reason: z.string(),
  by: z.string(),
  recordedAt: Instant,
  /** Leases that it hit may live until then at most. */
  reachesUntil: Instant,
})
export type OutageView = z.infer<typeof OutageView>

/**
 * A client's note of what it did while the pipeline could not be reached. `signature`: HMAC-SHA-256 in lower-case
 * hexadecimal over the note without it, as canonical JSON (RFC 8785), keyed with the text of the `spoolKey` that an earlier
 * registration or renewal of the same identity was answered with.
 */
const Signature = z.string().check(z.regex(/^[0-9a-f]{64}$/))
export const SpooledRegistration = z.strictObject({
  /** When the credential was taken. */
  at: Instant,
  idempotencyKey: IdempotencyKey,
  registration: LeaseRegistration,
  signature: Signature,
})
export type SpooledRegistration = z.infer<typeof SpooledRegistration>
export const SpooledRenewal = z.strictObject({
  at: Instant,
  renewal: z.strictObject({ lease: LeaseId, ...LeaseRenewal.shape }),
  signature: Signature,
})
export type SpooledRenewal = z.infer<typeof SpooledRenewal>

/** `POST /v1/spool`. Entries are looked at one by one: a bad one holds up no other. */
export const Spool = z.strictObject({
  entries: z.array(z.union([SpooledRegistration, SpooledRenewal])).check(z.minLength(1), z.maxLength(100)),
})
export type Spool = z.infer<typeof Spool>

/** What became of each entry, in their order. */
export const SpoolResult = z.strictObject({
  results: z.array(
    z.strictObject({
      /** `cut`: it was recorded, and the cases that fenced its scope cut it. `refused`: `code` and `detail` say why. */
      status: z.enum(['registered', 'renewed', 'cut', 'refused']),
      lease: z.optional(LeaseId),
      code: z.optional(z.string()),
      detail: z.optional(z.string()),
      cases: z.optional(z.array(z.string())),
      errors: z.optional(z.array(z.object({ path: z.string(), message: z.string() }))),
    }),
  ),
})
export type SpoolResult = z.infer<typeof SpoolResult>

export const OVERDUE_TYPE = `${TYPE_PREFIX}lease.overdue` as const

/** On the outcome bus: a lease ran out whose class only tells. */
export const LeaseOverdue = z.strictObject({
  specversion: z.literal('1.0'),
  id: z.string(),
  source: z.literal('rescind'),
  type: z.literal(OVERDUE_TYPE),
  subject: LeaseId,
  time: z.iso.datetime(),
  datacontenttype: z.literal('application/json'),
  data: z.strictObject({ lease: LeaseView, overdueSince: Instant }),
})
export type LeaseOverdue = z.infer<typeof LeaseOverdue>
