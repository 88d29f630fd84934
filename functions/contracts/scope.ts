import * as z from 'zod/mini'
import { IdentityUri, Key, LeaseId, name, PartyId } from './primitives.ts'

/** The namespace in which a task or deployment id is unique: given by configuration to whoever attested it. */
export const Namespace = name(128)

/**
 * What a trigger may name. A task or a deployment belongs to the namespace of its sender; `namespace` may only choose
 * among those that configuration grants to the sender.
 */
export const TriggerScope = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('identity'), id: IdentityUri }),
  z.strictObject({ kind: z.literal('owner'), id: PartyId }),
  z.strictObject({ kind: z.literal('workload'), id: PartyId }),
  z.strictObject({ kind: z.literal('deployment'), id: name(512), namespace: z.optional(Namespace) }),
  z.strictObject({ kind: z.literal('task'), id: name(512), namespace: z.optional(Namespace) }),
  z.strictObject({ kind: z.literal('credential'), fingerprint: Key }),
])
export type TriggerScope = z.infer<typeof TriggerScope>

/** What a case covers: a trigger's scope with its namespace settled, or from inside a set of leases of one issuer. */
export const CaseScope = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('identity'), id: IdentityUri }),
  z.strictObject({ kind: z.literal('owner'), id: PartyId }),
  z.strictObject({ kind: z.literal('workload'), id: PartyId }),
  z.strictObject({ kind: z.literal('deployment'), id: name(512), namespace: Namespace }),
  z.strictObject({ kind: z.literal('task'), id: name(512), namespace: Namespace }),
  z.strictObject({ kind: z.literal('credential'), fingerprint: Key }),
  z.strictObject({ kind: z.literal('leases'), id: z.string() }),
])
export type CaseScope = z.infer<typeof CaseScope>

/** The scopes that leases are found by: the first holds the leases themselves, the others pointers to them. */
export const SCOPE_KINDS = ['identity', 'deployment', 'task', 'credential', 'parent'] as const
export type ScopeKind = (typeof SCOPE_KINDS)[number]

/** A scope as keys name it: `identity#<key>`. */
export type ScopeRef = `${ScopeKind | 'leases'}#${string}`
export const ScopeRef = z.templateLiteral([z.enum([...SCOPE_KINDS, 'leases']), '#', z.string()])

export const ParentRef = LeaseId
