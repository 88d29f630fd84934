import * as z from 'zod/mini'
import { Environment, OwnerLeaves } from './identity.ts'
import { Outcome } from './outcome.ts'
import { IdentityUri, Instant, IssuerName, Key, LeaseId, name, PartyId } from './primitives.ts'
import { Namespace } from './scope.ts'

/** A task or a deployment as a registrar names it; the namespace must be one that its token attests. */
export const WorkRef = z.strictObject({
  id: name(512),
  namespace: z.optional(Namespace),
  /** When it ends at the latest (a job's time-out, a deployment's plan); a discipline may forbid leases to outlive it. */
  endsBy: z.optional(Instant),
})
export type WorkRef = z.infer<typeof WorkRef>

/** The `Idempotency-Key` header of a registration: the lease id follows from it (draft-ietf-httpapi-idempotency-key-header). */
export const IdempotencyKey = z.string().check(z.minLength(8), z.maxLength(128), z.regex(/^[\x21-\x7e]+$/))

/** `POST /v1/leases`. The identity is that of the caller, unless the caller is a broker and names another one. */
export const LeaseRegistration = z.strictObject({
  /** Only from brokers. */
  identity: z.optional(IdentityUri),
  issuer: IssuerName,
  /** `dynamic`: minted for this lease. `static`: it was there before and will be there after. */
  kind: z.enum(['dynamic', 'static']),
  /** `exclusive`: this lease alone holds the credential, a second grant is refused. Default: dynamic yes, static no. */
  sharing: z.optional(z.enum(['exclusive', 'shared'])),
  /**
   * `credential`: it exists already, so it is recorded and, where its scope is fenced, cut. `intent`: it does not exist
   * yet and is minted only after the acknowledgement, under the name that `target` gives, until `mintBy` at the latest.
   */
  registers: z.enum(['credential', 'intent']),
  mintBy: z.optional(Instant),
  /** What a cut needs to know; checked against the provider's schema. */
  target: z.record(z.string(), z.unknown()),
  /** The secret part of the handle, where the provider needs one; sealed before it is stored. */
  secret: z.optional(z.record(z.string(), z.unknown())),
  /** What one call needs to cut all that this identity holds at the issuer. */
  lever: z.optional(z.record(z.string(), z.unknown())),
  /** Who uses it: one consumer, not a team. */
  consumer: PartyId,
  purpose: name(512),
  expiresAt: Instant,
  task: z.optional(WorkRef),
  deployment: z.optional(WorkRef),
  /** The lease that this one was delegated from. */
  parent: z.optional(LeaseId),
  /** May be a parent. */
  delegable: z.optional(z.boolean()),
  /** Declared with the first lease of an identity; later it must agree with what is known. */
  owner: z.optional(PartyId),
  workload: z.optional(PartyId),
  environment: z.optional(Environment),
  ownerLeaves: z.optional(OwnerLeaves),
})
export type LeaseRegistration = z.infer<typeof LeaseRegistration>

/** `POST /v1/leases/{id}/confirm`: the credential of an intent exists now. */
export const LeaseConfirmation = z.strictObject({
  target: z.optional(z.record(z.string(), z.unknown())),
  secret: z.optional(z.record(z.string(), z.unknown())),
})
export type LeaseConfirmation = z.infer<typeof LeaseConfirmation>

/** `POST /v1/leases/{id}/renew`. */
export const LeaseRenewal = z.strictObject({
  expiresAt: Instant,
  /** The renewal at the issuer may bring the credential to life again (a refreshed token): until when at the latest. */
  renewsUntil: z.optional(Instant),
})
export type LeaseRenewal = z.infer<typeof LeaseRenewal>

/**
 * A lease moves forward only. `late`: it was never acknowledged, its scope was fenced. `restoring`: a cut is being
 * undone, after which it is `live` again. `resurrected`: it was ended, and its credential was found alive.
 */
export const LeaseState = z.enum(['registering', 'live', 'late', 'released', 'cutting', 'ended', 'restoring', 'resurrected'])
export type LeaseState = z.infer<typeof LeaseState>

/** A lease as the API shows it: no target, no secret. */
export const LeaseView = z.strictObject({
  id: LeaseId,
  identity: IdentityUri,
  issuer: IssuerName,
  provider: z.string(),
  kind: z.enum(['dynamic', 'static']),
  sharing: z.enum(['exclusive', 'shared']),
  state: LeaseState,
  /** An intent whose credential was not confirmed yet. */
  pending: z.boolean(),
  fingerprint: Key,
  owner: PartyId,
  consumer: PartyId,
  purpose: z.string(),
  environment: z.optional(z.string()),
  task: z.optional(z.strictObject({ id: z.string(), namespace: z.string(), endsBy: z.optional(Instant) })),
  deployment: z.optional(z.strictObject({ id: z.string(), namespace: z.string(), endsBy: z.optional(Instant) })),
  parent: z.optional(LeaseId),
  delegable: z.boolean(),
  epoch: z.int(),
  registeredAt: Instant,
  expiresAt: Instant,
  /** Its class in the discipline; absent where there is none. */
  class: z.optional(z.string()),
  /** What running out does. */
  onExpiry: z.enum(['cut', 'notify']),
  /** What its client does while the pipeline cannot be reached. */
  outage: z.enum(['closed', 'spool']),
  /** Time that was given back after an outage of the pipeline: it is not cut for its expiry before. */
  graceUntil: z.optional(Instant),
  /** It has run out, and its class only tells. */
  overdueSince: z.optional(Instant),
  /** The outcome in each case that met it. */
  outcomes: z.record(z.string(), Outcome),
})
export type LeaseView = z.infer<typeof LeaseView>

/** The answer to a registration or a renewal: the lease, and the key that notes for `POST /v1/spool` are signed with, where its class has it. */
export const LeaseAnswer = z.strictObject({ ...LeaseView.shape, spoolKey: z.optional(z.string()) })
export type LeaseAnswer = z.infer<typeof LeaseAnswer>
