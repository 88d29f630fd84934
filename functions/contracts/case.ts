import * as z from 'zod/mini'
import { Mode, Modes } from './mode.ts'
import { OutcomeCounts } from './outcome.ts'
import { CaseType, Instant, IssuerName, Lane } from './primitives.ts'
import { CaseScope } from './scope.ts'

/**
 * A case's state. `scheduled` waits for its time, `held` for an approval; from `fenced` on it cannot be called back.
 * `fenced`, `contained`, `revoking` and `verifying` say how far it is; `closed` means that each of its leases has a
 * final outcome; `resurrected` that a credential which it had cut lives again, and is being cut again.
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
  'resurrected',
  'cancelled',
])
export type CaseState = z.infer<typeof CaseState>

/** What somebody decided about a case, and why. */
export const CaseDecision = z.strictObject({
  decision: z.enum(['approved', 'rejected', 'held', 'resumed', 'cancelled']),
  /** What was decided about: the case itself, or the deletion of what it cut. */
  about: z.enum(['case', 'deletion']),
  by: z.string(),
  reason: z.string(),
  at: Instant,
  /** An approval that was not used by then counts no more. */
  validUntil: z.optional(Instant),
})
export type CaseDecision = z.infer<typeof CaseDecision>

/**
 * What came of asking an issuer for a credential that no lease names. `failed`: it never gave an answer; `unasked`: it
 * cannot be asked, or need not.
 */
export const AskState = z.enum(['open', 'found', 'unknown', 'failed', 'unasked'])
export type AskState = z.infer<typeof AskState>

export const CaseView = z.strictObject({
  id: z.string(),
  type: CaseType,
  lane: Lane,
  /** The least cautious mode that any of its leases can have; with rules that differ by issuer or environment, see `modes`. */
  mode: Mode,
  modes: Modes,
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
  decisions: z.array(CaseDecision),
  /** The campaign that it belongs to: one report, or one tripped fuse, with one approval for all of its cases. */
  campaign: z.optional(z.string()),
  /** Somebody stopped it while it ran: its fences stand, no issuer is called. */
  paused: z.optional(z.strictObject({ by: z.string(), reason: z.string(), at: Instant })),
  /** Whether what it cut is deleted after the soak time: `waits` for an approval, or was `refused`. */
  deletion: z.enum(['after-soak', 'waits', 'approved', 'refused']),
  /** Identities reached; those kept alive because their owner's leaving means `reassign`. */
  identities: z.int(),
  orphans: z.int(),
  /** Break-glass identities and the pipeline's own roles that it reached and left alone. */
  exempt: z.int(),
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
  /** Cut credentials of it that were found alive again. */
  resurrections: z.int(),
  /** Leases that it cut and that were given back since; its counts stay as they were. */
  restored: z.int(),
  /** Until then all that it cut can be restored, if nothing else stands against it; some of it for longer. */
  restorableUntil: z.optional(Instant),
  /** Issuers that were asked for a credential which no lease names, and what each said. */
  asked: z.array(z.strictObject({ issuer: IssuerName, state: AskState, said: z.string() })),
  /** It matched no lease at all. */
  empty: z.boolean(),
})
export type CaseView = z.infer<typeof CaseView>

/** `POST /v1/cases/{id}/approve` and `/reject`. */
export const Approval = z.strictObject({
  reason: z.string().check(z.minLength(1), z.maxLength(1024)),
  /** `deletion`: of what the case cut. Default: the case itself. */
  about: z._default(z.enum(['case', 'deletion']), 'case'),
})
export type Approval = z.infer<typeof Approval>

/** `POST /v1/cases/{id}/cancel` and `/hold`. */
export const Decision = z.strictObject({ reason: z.string().check(z.minLength(1), z.maxLength(1024)) })
export type Decision = z.infer<typeof Decision>
