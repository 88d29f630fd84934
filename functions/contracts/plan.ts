import * as z from 'zod/mini'
import { Mode, Modes } from './mode.ts'
import { IdentityUri, Instant, IssuerName, Key, Lane, LeaseId, name, TriggerType } from './primitives.ts'
import { CaseScope, TriggerScope } from './scope.ts'

/** `POST /v1/plans`: what a trigger would do, without doing it. */
export const PlanRequest = z.strictObject({
  type: TriggerType,
  scope: TriggerScope,
  /** The source that would send it: its namespaces and its fuse are meant. Needed from callers with several. */
  source: z.optional(name(128)),
  effectiveAt: z.optional(Instant),
  /** `next` of an answer that was not complete, to go on there. */
  next: z.optional(z.string().check(z.minLength(1), z.maxLength(131072), z.regex(/^[A-Za-z0-9_-]+$/))),
})
export type PlanRequest = z.infer<typeof PlanRequest>

const count = z.int().check(z.minimum(0))

/**
 * Leases by what would be done. `cut`: revoked, or found gone. `released`: given back, others hold the credential.
 * `unsupported`: cannot be cut and lives to its expiry. `parked`: no installed provider serves its issuer. `observed`:
 * only watched, by its mode. `exempt`: nobody touches its identity. `waiting`: another case is at it, whose outcome counts.
 */
export const PlanCounts = z.strictObject({
  cut: count,
  released: count,
  unsupported: count,
  parked: count,
  observed: count,
  exempt: count,
  waiting: count,
})
export type PlanCounts = z.infer<typeof PlanCounts>

/** One lease of a list. */
export const PlannedLease = z.strictObject({
  lease: LeaseId,
  identity: IdentityUri,
  owner: z.string(),
  consumer: z.string(),
  issuer: IssuerName,
  would: z.enum(['cut', 'released', 'unsupported', 'parked', 'observed', 'exempt', 'waiting']),
  said: z.optional(z.string()),
  livesUntil: z.optional(Instant),
})
export type PlannedLease = z.infer<typeof PlannedLease>

export const PlannedIdentity = z.strictObject({
  id: IdentityUri,
  owner: z.string(),
  /** `named by the trigger`, `member of owner alice`, `other name of spiffe://...`. */
  because: z.string(),
  /** Cases that have fenced it already, in the epoch that it is in. */
  fencedBy: z.optional(z.array(z.string())),
})
export type PlannedIdentity = z.infer<typeof PlannedIdentity>

export const PlannedLever = z.strictObject({
  identity: IdentityUri,
  issuer: IssuerName,
  lever: Key,
  /** Why it would not be pulled. */
  why: z.optional(z.string()),
})
export type PlannedLever = z.infer<typeof PlannedLever>

/** A list of which up to twenty entries are shown, always the same of the same things; the count is exact. */
const listed = <Entry extends z.ZodMiniType>(entry: Entry) => z.strictObject({ count, sample: z.array(entry) })

const By = { leases: PlanCounts }

/**
 * The answer. Counts are exact. Where `complete` is false, time ran out: the same request with `next` goes on, and the
 * counts of all answers add up to the whole; none is counted in two of them.
 */
export const PlanView = z.strictObject({
  type: TriggerType,
  lane: Lane,
  scope: CaseScope,
  source: z.optional(z.string()),
  /** When it would begin. */
  effectiveAt: Instant,
  mode: Mode,
  modes: Modes,
  complete: z.boolean(),
  next: z.optional(z.string()),
  /** A connection of delegated and shared leases was too wide to follow: descendants and bystanders may be more. */
  exact: z.boolean(),
  /** What is worth saying in words. */
  notes: z.array(z.string()),
  /** Whether it would wait for a person, and why; in the first answer only. */
  held: z.optional(
    z.strictObject({
      held: z.boolean(),
      by: z.array(z.strictObject({ what: z.enum(['protection', 'fuse']), said: z.string() })),
    }),
  ),
  /** What is cut is deleted after the soak time, or waits for an approval of its own. */
  deletion: z.enum(['after-soak', 'waits']),
  identities: z.strictObject({
    /** Fenced (in mode `observe`: only looked at), and their leases listed. */
    reached: listed(PlannedIdentity),
    /** Other names among them. */
    aliases: count,
    /** Stay up without an owner, until the deadline. */
    orphaned: listed(PlannedIdentity),
    orphanDeadline: z.optional(Instant),
    /** Protected: each gets a held case of its own. */
    splitOff: listed(PlannedIdentity),
    /** Break-glass identities and the pipeline's own roles. */
    exempt: listed(PlannedIdentity),
    /** Protected identities that are reached all the same. */
    protected: listed(PlannedIdentity),
  }),
  leases: z.strictObject({
    total: count,
    ...PlanCounts.shape,
    /** What would become of those that may only be watched. */
    wouldBe: z.strictObject({ cut: count, released: count, unsupported: count }),
    /** Not acknowledged yet: cut by amendments, outside of the case's own counts. */
    late: count,
    /** Run out before it would begin, if nobody renews them. */
    expiring: count,
  }),
  byIssuer: z.array(
    z.strictObject({
      issuer: z.string(),
      provider: z.optional(z.string()),
      ...By,
      /** Of those that are cut, these can never be given back. */
      forGood: count,
      /** Until when the others can, at least; or why none can. */
      undo: z.union([
        z.strictObject({ possible: z.literal(true), until: z.optional(Instant), said: z.string() }),
        z.strictObject({ possible: z.literal(false), said: z.string() }),
      ]),
    }),
  ),
  byOwner: z.array(z.strictObject({ owner: z.string(), ...By })),
  byEnvironment: z.array(z.strictObject({ environment: z.nullable(z.string()), ...By })),
  byMode: z.array(z.strictObject({ mode: Mode, ...By })),
  /** Delegated from what is reached; `byDepth[0]` counts those of the first delegation. */
  descendants: z.strictObject({ ...listed(PlannedLease).shape, byDepth: z.array(count) }),
  /** Reached only because they share a credential that a compromise cuts. */
  bystanders: listed(PlannedLease),
  /** Holders, outside of the case, of the credentials that are given back: they keep them. */
  sharers: z.strictObject({ count, credentials: count }),
  levers: z.strictObject({ pulled: listed(PlannedLever), left: listed(PlannedLever) }),
  /** What cannot be cut; those that live longest are shown first. */
  uncuttable: z.strictObject({ ...listed(PlannedLease).shape, latest: z.optional(Instant) }),
  cut: z.strictObject({ sample: z.array(PlannedLease) }),
  /** Over this answer and those before it. */
  soFar: z.strictObject({ identities: count, leases: count, cut: count }),
})
export type PlanView = z.infer<typeof PlanView>
