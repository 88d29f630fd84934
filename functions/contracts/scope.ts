import * as z from 'zod/mini'
import { IdentityUri, IssuerName, Key, LeaseId, name, PartyId } from './primitives.ts'

/** The namespace in which a task or deployment id is unique: given by configuration to whoever attested it. */
export const Namespace = name(128)

export const ProviderName = z.string().check(z.regex(/^[a-z][a-z0-9-]{0,39}$/))

/** What a person pastes: any text at all, for it may be a key file. */
export const CredentialText = z.string().check(
  z.minLength(1),
  z.maxLength(16384),
  z.refine((text) => text.trim() !== '', 'must not be blank'),
)

/** Issuers at which one text may be a credential; above it, one must be named. */
export const MOST_CANDIDATES = 50

/** One credential that a text can be. Nothing of a secret is in it. */
export const Candidate = z.strictObject({
  issuer: IssuerName,
  fingerprint: Key,
  /** What people are shown: `access key AKIA...`. */
  shown: z.string().check(z.maxLength(256)),
  /** What its issuer is asked with. */
  query: z.record(z.string().check(z.maxLength(64)), z.string().check(z.maxLength(2048))),
})
export type Candidate = z.infer<typeof Candidate>

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
  /**
   * A credential by what a responder has in hand: an access-key id, a role's name, a connection string, a token. It may
   * be the secret itself: it is read, fingerprinted and dropped. Without `issuer` and `provider` it is taken for one
   * credential: where a lease at any issuer names it, no other issuer is asked. With `provider` alone, each of its issuers
   * is.
   */
  z.strictObject({
    kind: z.literal('credential-name'),
    name: CredentialText,
    issuer: z.optional(IssuerName),
    provider: z.optional(ProviderName),
  }),
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
  z.strictObject({
    kind: z.literal('credential-name'),
    /** The credentials that the text can be, one at each issuer. */
    candidates: z.array(Candidate).check(z.minLength(1), z.maxLength(MOST_CANDIDATES)),
    /** The provider was named, so all of its issuers are meant: a lease at one of them does not answer for the others. */
    everywhere: z.optional(z.literal(true)),
  }),
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
