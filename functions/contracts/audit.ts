import * as z from 'zod/mini'
import { Evidence, OutcomeWord } from './outcome.ts'

/** One state change, as the audit trail keeps it: who, what, why, when, under which trigger, and what was before. */
export const AuditRecord = z.strictObject({
  /** `<item key>:<version>`: the same change always has the same id, and a missing version shows. */
  id: z.string(),
  at: z.string(),
  /** `lease.live`, `case.closed`, `identity.fenced`, ... */
  what: z.string(),
  /** The authenticated principal, or the stage that acted. */
  who: z.string(),
  why: z.optional(z.string()),
  trigger: z.optional(z.string()),
  case: z.optional(z.string()),
  lease: z.optional(z.string()),
  identity: z.optional(z.string()),
  issuer: z.optional(z.string()),
  outcome: z.optional(OutcomeWord),
  evidence: z.optional(Evidence),
  /** The state before and after, in the words of the item. */
  previous: z.optional(z.string()),
  state: z.optional(z.string()),
  /** Counts and other small facts of the change. */
  facts: z.optional(z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]))),
  item: z.strictObject({ key: z.string(), version: z.int(), previousVersion: z.int() }),
})
export type AuditRecord = z.infer<typeof AuditRecord>
