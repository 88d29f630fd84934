import * as z from 'zod/mini'
import { Instant } from './primitives.ts'

/** The five final outcomes of a lease in a case; the same words everywhere. */
export const OutcomeWord = z.enum(['revoked', 'absent', 'released', 'unsupported', 'parked'])
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
  /** The case that really cut it, where another one did. */
  by: z.optional(z.string()),
})
export type Evidence = z.infer<typeof Evidence>

/** The final state of a lease in a case. */
export const Outcome = z.strictObject({
  outcome: OutcomeWord,
  at: Instant,
  evidence: Evidence,
  /** `unsupported`, `parked`: until when the credential lives by itself, where that is known. */
  livesUntil: z.optional(Instant),
})
export type Outcome = z.infer<typeof Outcome>

/** How many leases of a case have which outcome. */
export const OutcomeCounts = z.strictObject({
  revoked: z.int(),
  absent: z.int(),
  released: z.int(),
  unsupported: z.int(),
  parked: z.int(),
})
export type OutcomeCounts = z.infer<typeof OutcomeCounts>

export const noOutcomes = (): OutcomeCounts => ({ revoked: 0, absent: 0, released: 0, unsupported: 0, parked: 0 })
