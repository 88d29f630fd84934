import * as z from 'zod/mini'
import { CaseView } from './case.ts'
import { TYPE_PREFIX } from './trigger.ts'

/** What is told to the outcome bus: a case closed, or a closed case was amended. `id` is stable, so receivers can dedupe. */
export const COMPLETION_TYPES = {
  closed: `${TYPE_PREFIX}case.closed`,
  amended: `${TYPE_PREFIX}case.amended`,
  /** A credential that it had cut lives again: it is being cut again, and `amended` follows. */
  resurrected: `${TYPE_PREFIX}case.resurrected`,
  /** It reached identities that nobody may touch; whoever is on call should know at once. */
  exempted: `${TYPE_PREFIX}case.exempted`,
} as const

export const Completion = z.strictObject({
  specversion: z.literal('1.0'),
  id: z.string(),
  source: z.literal('rescind'),
  type: z.enum([COMPLETION_TYPES.closed, COMPLETION_TYPES.amended, COMPLETION_TYPES.resurrected, COMPLETION_TYPES.exempted]),
  subject: z.string(),
  time: z.iso.datetime(),
  datacontenttype: z.literal('application/json'),
  data: z.strictObject({
    case: CaseView,
    /** From the moment the trigger took effect, in milliseconds. */
    milliseconds: z.strictObject({
      toFence: z.optional(z.number()),
      toContainment: z.optional(z.number()),
      toClose: z.optional(z.number()),
    }),
  }),
})
export type Completion = z.infer<typeof Completion>
