import * as z from 'zod/mini'
import { IdentityUri, Instant, name, PartyId } from './primitives.ts'

/** What the leaving of an identity's owner means: it ends with the person, or it stays up and needs a new owner. */
export const OwnerLeaves = z.enum(['revoke', 'reassign'])
export type OwnerLeaves = z.infer<typeof OwnerLeaves>

export const Environment = name(64)

const Reason = z.string().check(z.minLength(1), z.maxLength(1024))

/** `PUT /v1/identities`: what an operator or a CMDB says about an identity. Absent fields stay as they are. */
export const IdentityDeclaration = z.strictObject({
  id: IdentityUri,
  owner: z.optional(PartyId),
  workload: z.optional(PartyId),
  environment: z.optional(Environment),
  ownerLeaves: z.optional(OwnerLeaves),
  /** Lifecycle cases on a protected identity wait for an approval. */
  protected: z.optional(z.boolean()),
  /** Who is told; addresses of your own making, kept as they are. */
  contacts: z.optional(z.array(name(256)).check(z.maxLength(10))),
})
export type IdentityDeclaration = z.infer<typeof IdentityDeclaration>

/** `POST /v1/aliases`: names of one workload, to be linked when somebody else approves. */
export const AliasRequest = z.strictObject({
  names: z.array(IdentityUri).check(z.minLength(2), z.maxLength(10)),
  reason: Reason,
})
export type AliasRequest = z.infer<typeof AliasRequest>

/** `POST /v1/aliases/remove`: this name leaves its set. */
export const AliasRemoval = z.strictObject({ id: IdentityUri, reason: Reason })
export type AliasRemoval = z.infer<typeof AliasRemoval>

/**
 * `POST /v1/identities/reinstate`: a new epoch under every name of the workload. Old leases stay dead, new ones are
 * possible. Where its owner or workload is fenced, a new one is named: that is a transfer.
 */
export const Reinstatement = z.strictObject({
  id: IdentityUri,
  owner: z.optional(PartyId),
  workload: z.optional(PartyId),
  reason: Reason,
})
export type Reinstatement = z.infer<typeof Reinstatement>

/** `POST /v1/groups/reinstate`: an owner came back, or a workload goes on: new identities may join it again. */
export const GroupReinstatement = z.strictObject({ kind: z.enum(['owner', 'workload']), id: PartyId, reason: Reason })
export type GroupReinstatement = z.infer<typeof GroupReinstatement>

/** An identity as the API shows it. */
export const IdentityView = z.strictObject({
  id: IdentityUri,
  owner: PartyId,
  workload: z.optional(PartyId),
  environment: z.optional(Environment),
  ownerLeaves: OwnerLeaves,
  protected: z.boolean(),
  contacts: z.array(z.string()),
  epoch: z.int(),
  /** Fenced through this epoch; 0 means never. Leases of epochs up to it are refused. */
  fencedThrough: z.int(),
  /** The cases that fenced it. */
  fencedBy: z.array(z.string()),
  /** The issuers it ever had a lease at. */
  issuers: z.array(z.string()),
  /** Other names of the same workload: a case that reaches one of them reaches all. */
  aliases: z.optional(z.array(IdentityUri)),
  /** Its owner has left, and it waits for a new one until then. */
  orphan: z.optional(z.strictObject({ since: Instant, deadline: Instant, case: z.string(), formerOwner: PartyId })),
})
export type IdentityView = z.infer<typeof IdentityView>
