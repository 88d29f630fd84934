import * as z from 'zod/mini'
import { Mode } from './mode.ts'
import { Instant } from './primitives.ts'

/**
 * The final outcomes of a lease in a case; the same words everywhere. The sixth, `observed`, is that of a lease which
 * nobody was allowed to touch: its evidence says what would have been done. It never counts as an end.
 */
export const OutcomeWord = z.enum(['revoked', 'absent', 'released', 'unsupported', 'parked', 'observed'])
export type OutcomeWord = z.infer<typeof OutcomeWord>

/** What an outcome rests on. Never a secret: the issuer's answer in our words, codes and counts. */
export const Evidence = z.strictObject({
  /** What the issuer answered to the cut, or why there was no call. */
  said: z.string().check(z.maxLength(1024)),
  /** When the cut was made or answered. */
  cutAt: z.optional(Instant),
  /** What the issuer said when asked afterwards whether it is dead. */
  verified: z.optional(z.string().check(z.maxLength(1024))),
  verifiedAt: z.optional(Instant),
  /** The credential is cut, but what was opened with it before may live until then at the latest, and nothing here can end it. */
  sessionsUntil: z.optional(Instant),
  /** The case that really cut it, where another one did. */
  by: z.optional(z.string()),
})
export type Evidence = z.infer<typeof Evidence>

/** The final state of a lease in a case. */
export const Outcome = z.strictObject({
  outcome: OutcomeWord,
  at: Instant,
  evidence: Evidence,
  /** `unsupported`, `parked`, `observed`: until when the credential lives by itself, where that is known. */
  livesUntil: z.optional(Instant),
  /** `observed`: the mode that kept it from being touched, and what would have become of it. */
  observed: z.optional(z.strictObject({ mode: Mode, would: z.enum(['revoked', 'released', 'unsupported']) })),
})
export type Outcome = z.infer<typeof Outcome>

/** How many leases of a case have which outcome. */
export const OutcomeCounts = z.strictObject({
  revoked: z.int(),
  absent: z.int(),
  released: z.int(),
  unsupported: z.int(),
  parked: z.int(),
  observed: z.int(),
})
export type OutcomeCounts = z.infer<typeof OutcomeCounts>

export const noOutcomes = (): OutcomeCounts => ({ revoked: 0, absent: 0, released: 0, unsupported: 0, parked: 0, observed: 0 })
