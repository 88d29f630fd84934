import * as z from 'zod/mini'
import { OutcomeCounts } from './outcome.ts'
import { CaseType, Instant, Lane } from './primitives.ts'
import { CaseScope } from './scope.ts'

/**
 * A case's state. `scheduled` waits for its time, `held` for an approval; from `fenced` on it cannot be called back.
 * `fenced`, `contained`, `revoking` and `verifying` say how far it is; `closed` means that each of its leases has a
 * final outcome.
 */
export const CaseState = z.enum([
  'scheduled',
  'held',
  'opened',
  'fenced',
  'contained',
  'revoking',
  'verifying',
  'closed',
  'cancelled',
])
export type CaseState = z.infer<typeof CaseState>

/** How far a pipeline may go. Only `enforce` is in force today; the field stands in every case from the beginning. */
export const Mode = z.enum(['observe', 'contain', 'enforce'])
export type Mode = z.infer<typeof Mode>

export const CaseView = z.strictObject({
  id: z.string(),
  type: CaseType,
  lane: Lane,
  mode: Mode,
  scope: CaseScope,
  state: CaseState,
  reason: z.string(),
  /** The authenticated sender. */
  source: z.string(),
  /** The event's own source and id: `<source>|<id>`. */
  eventId: z.string(),
  /** Who asked, as the sender claims. */
  requestedBy: z.optional(z.string()),
  effectiveAt: Instant,
  openedAt: Instant,
  fencedAt: z.optional(Instant),
  containedAt: z.optional(Instant),
  sealedAt: z.optional(Instant),
  closedAt: z.optional(Instant),
  /** Why it waits, and since when. */
  held: z.optional(z.strictObject({ reason: z.string(), since: Instant })),
  decisions: z.array(
    z.strictObject({ decision: z.enum(['approved', 'cancelled']), by: z.string(), reason: z.string(), at: Instant }),
  ),
  /** Identities reached; those kept alive because their owner's leaving means `reassign`. */
  identities: z.int(),
  orphans: z.int(),
  /** Leases of others that a compromise cut because they share a credential. */
  bystanders: z.int(),
  /** Levers pulled, waiting, and refused for good. */
  levers: z.strictObject({ expected: z.int(), done: z.int(), failed: z.int() }),
  /** Shards to read and shards finished. */
  scans: z.strictObject({ expected: z.int(), done: z.int() }),
  outcomes: OutcomeCounts,
  /** Leases that came too late for the count, each cut by an amendment of its own. */
  amendments: z.strictObject({ expected: z.int(), done: z.int(), outcomes: OutcomeCounts }),
  /** Equal triggers that came while it ran. */
  noted: z.int(),
  /** It matched no lease at all. */
  empty: z.boolean(),
})
export type CaseView = z.infer<typeof CaseView>

/** `POST /v1/cases/{id}/approve` and `/cancel`. */
export const Decision = z.strictObject({ reason: z.string().check(z.minLength(1), z.maxLength(1024)) })
export type Decision = z.infer<typeof Decision>
