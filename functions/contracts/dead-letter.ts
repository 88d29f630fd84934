import * as z from 'zod/mini'
import { Instant } from './primitives.ts'

/** Logical name of a dead-letter queue: `plan-p0-dead`, `work-postgresql-p1-dead`, `close-dead`. */
export const DeadLetterQueueName = z.string().check(z.regex(/^[a-z0-9][a-z0-9-]{0,79}-dead$/))

/** `GET /v1/dead-letters`: each dead-letter queue, the fullest first. */
export const DeadLetterQueueView = z.strictObject({
  queue: DeadLetterQueueName,
  /** About so many messages lie in it. */
  messages: z.int(),
  /** When the oldest of those that were looked at was first sent. It leaves 14 days after. */
  oldest: z.optional(Instant),
  /** What a redrive of it does. */
  redrive: z.string(),
})
export type DeadLetterQueueView = z.infer<typeof DeadLetterQueueView>

/** `GET /v1/dead-letters/{queue}`: one message, without what it says beyond the keys that are understood. */
export const DeadLetterView = z.strictObject({
  id: z.string(),
  /** `plan`, `scan`, `chunk`, `amend`, `contain`, `locate`, `restore`, `campaign`; `stream-batch`, `event`, `tick`; `foreign`. */
  kind: z.string(),
  case: z.optional(z.string()),
  chunk: z.optional(z.string()),
  lease: z.optional(z.string()),
  issuer: z.optional(z.string()),
  restoration: z.optional(z.string()),
  campaign: z.optional(z.string()),
  /** How often it was received, looks at the dead letters included. */
  receives: z.int(),
  sentAt: Instant,
  /** The error of its last delivery, where it was noted. */
  error: z.optional(z.string()),
  /** What its case, chunk or lever says now. */
  says: z.string(),
  /** Nothing is left to do: driven back, it changes nothing. */
  over: z.boolean(),
})
export type DeadLetterView = z.infer<typeof DeadLetterView>

/** `POST /v1/dead-letters/{queue}/redrive` */
export const Redrive = z.strictObject({
  reason: z.string().check(z.minLength(1), z.maxLength(1024)),
  /**
   * Where messages came from no queue: they are taken out, by whoever has seen to it that nothing is lost by it. The ledger
   * has how many, by whom and why.
   */
  giveUp: z.optional(z.literal(true)),
  /** Messages at most in this request; it also stops when its time is over. */
  most: z._default(z.int().check(z.minimum(1), z.maximum(5000)), 1000),
})
export type Redrive = z.infer<typeof Redrive>

export const RedriveAnswer = z.strictObject({
  queue: DeadLetterQueueName,
  /** Messages that were sent back to where they came from, and then taken out. */
  redriven: z.int(),
  /** Messages that said the same as one that was sent back, or that nothing is left to do for, and were taken out. */
  settled: z.int(),
  /** About so many are left. */
  left: z.int(),
})
export type RedriveAnswer = z.infer<typeof RedriveAnswer>
