import * as z from 'zod/mini'
import { CaseView } from './case.ts'
import { Instant } from './primitives.ts'

/** Cases with one decision for all of them: those of one report, or those that a tripped fuse holds. */
export const CampaignView = z.strictObject({
  id: z.string(),
  /** `report`: its cases run, their deletions wait. `fuse`: its cases wait. */
  kind: z.enum(['report', 'fuse']),
  source: z.string(),
  name: z.string(),
  openedAt: Instant,
  /** Why the fuse tripped. */
  held: z.optional(z.string()),
  /** A decision about a report concerns the cases that were there when it was made. */
  decisions: z.array(
    z.strictObject({
      decision: z.enum(['approved', 'rejected']),
      by: z.string(),
      reason: z.string(),
      at: Instant,
      validUntil: z.optional(Instant),
    }),
  ),
  /** Its cases are being started, or cancelled, one by one. */
  underWay: z.boolean(),
})
export type CampaignView = z.infer<typeof CampaignView>

/** `GET /v1/campaigns/{id}`. */
export const CampaignDetails = z.strictObject({
  campaign: CampaignView,
  cases: z.strictObject({
    counted: z.int(),
    /** There are more than were counted. */
    more: z.boolean(),
    byState: z.record(z.string(), z.int()),
    byDeletion: z.record(z.string(), z.int()),
  }),
})
export type CampaignDetails = z.infer<typeof CampaignDetails>

/** One entry of `GET /v1/held`. */
export const Held = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('case'),
    /** `start`: it was not started. `paused`: it runs no further. `deletion`: what it cut is not deleted. */
    waits: z.enum(['start', 'paused', 'deletion']),
    since: Instant,
    reason: z.string(),
    case: CaseView,
  }),
  z.strictObject({
    kind: z.literal('campaign'),
    waits: z.enum(['start', 'deletion']),
    since: Instant,
    reason: z.string(),
    campaign: CampaignView,
  }),
])
export type Held = z.infer<typeof Held>
