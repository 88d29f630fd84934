import * as z from 'zod/mini'
import { CaseState } from './case.ts'
import { LeaseView } from './lease.ts'
import { Mode, Modes } from './mode.ts'
import { Outcome } from './outcome.ts'
import { CaseType, IdentityUri, Instant, IssuerName, LeaseId, PartyId } from './primitives.ts'
import { CaseScope } from './scope.ts'

/** What would have become of leases that were only watched. */
const Would = { revoked: z.int(), released: z.int(), unsupported: z.int() }

/** One case of `GET /v1/observed`: what it would have done to what it may only watch, for whom, and why. */
export const ObservedCase = z.strictObject({
  case: z.string(),
  trigger: CaseType,
  scope: CaseScope,
  mode: Mode,
  modes: Modes,
  state: CaseState,
  reason: z.string(),
  source: z.string(),
  requestedBy: z.optional(z.string()),
  openedAt: Instant,
  /** When the first of them was counted. */
  observedAt: Instant,
  closedAt: z.optional(Instant),
  would: z.strictObject(Would),
  /** An issuer or an owner that is absent stands for all that are not named. */
  issuers: z.array(z.strictObject({ issuer: z.optional(IssuerName), ...Would })),
  owners: z.array(z.strictObject({ owner: z.optional(PartyId), ...Would })),
  /** `false`: `issuers`, `owners` and `sample` leave some out; `would` never does. */
  complete: z.boolean(),
  /** One lease of each owner at each issuer, at most twenty. */
  sample: z.array(
    z.strictObject({
      lease: LeaseId,
      identity: IdentityUri,
      owner: PartyId,
      consumer: PartyId,
      issuer: IssuerName,
      said: z.string(),
    }),
  ),
})
export type ObservedCase = z.infer<typeof ObservedCase>

/** One lease of `GET /v1/cases/{id}/leases`. */
export const CaseLease = z.strictObject({
  lease: LeaseView,
  /** Why the case met it: by its own scope, as a delegated child, as a bystander, or later. */
  because: z.enum(['scan', 'child', 'bystander', 'late', 'parked', 'resurrected', 'located']),
  /** Absent while it is being worked on. */
  outcome: z.optional(Outcome),
})
export type CaseLease = z.infer<typeof CaseLease>
