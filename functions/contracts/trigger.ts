import * as z from 'zod/mini'
import { Instant, name, PartyId, TriggerType } from './primitives.ts'
import { TriggerScope } from './scope.ts'

/** Prefix of every event type that Rescind takes or emits. */
export const TYPE_PREFIX = 'io.rescind.'

/** The body of a trigger, the same over HTTP and over the bus. */
export const TriggerData = z.strictObject({
  scope: TriggerScope,
  /** When the reason for the access ends; absent or past: now. A future one makes a scheduled case. */
  effectiveAt: z.optional(Instant),
  /** Why, in the sender's words; it goes into the audit trail. */
  reason: name(1024),
  /** Who asked, as the sender claims it; the authenticated sender is recorded beside it. */
  requestedBy: z.optional(PartyId),
  /**
   * The report that this is one part of: all compromises of one sender under one name have one approval for what cannot
   * be undone. Lifecycle triggers name none: the fuse groups them.
   */
  campaign: z.optional(name(128)),
})
export type TriggerData = z.infer<typeof TriggerData>

/**
 * A trigger as a CloudEvent 1.0 in structured mode (CNCF CloudEvents 1.0.2, JSON event format). `source` plus `id` is
 * the idempotency key, taken together with the authenticated sender. Extension attributes are let through unread.
 */
export const Trigger = z.object({
  specversion: z.literal('1.0'),
  id: name(256),
  source: name(512),
  type: z.templateLiteral([TYPE_PREFIX, TriggerType], `must be ${TYPE_PREFIX} and one of ${TriggerType.options.join(', ')}`),
  time: z.optional(z.iso.datetime({ offset: true })),
  subject: z.optional(z.string().check(z.maxLength(2048))),
  datacontenttype: z.optional(z.literal('application/json')),
  dataschema: z.optional(z.string().check(z.maxLength(2048))),
  data: TriggerData,
})
export type Trigger = z.infer<typeof Trigger>

/** The answer to an accepted trigger: 202, or 200 for a replay. */
export const TriggerReceipt = z.strictObject({
  case: z.string(),
  /** `noted`: an equal trigger is running already and covers this one. `replayed`: this event was taken before. */
  status: z.enum(['opened', 'scheduled', 'held', 'noted', 'replayed']),
  startsAt: z.optional(Instant),
})
export type TriggerReceipt = z.infer<typeof TriggerReceipt>
