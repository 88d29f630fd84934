import type { CaseState, Mode } from '../contracts/case.ts'
import type { OwnerLeaves } from '../contracts/identity.ts'
import type { LeaseState } from '../contracts/lease.ts'
import type { Evidence, Outcome, OutcomeCounts, OutcomeWord } from '../contracts/outcome.ts'
import type { CaseType, Lane } from '../contracts/primitives.ts'
import type { CaseScope } from '../contracts/scope.ts'

/** The things of the table as the code sees them. Moments are RFC 3339 in UTC, so they sort as text. */

interface Stored {
  readonly pk: string
  readonly sk: string
  readonly kind: string
  /** Version, counted by every write. */
  readonly v: number
  /** Who made the last change, and why: the audit trail reads it from the stream. */
  readonly by: Actor
}

export interface Actor {
  /** The authenticated principal, or the stage. */
  readonly who: string
  readonly why?: string
  readonly case?: string
  readonly trigger?: string
  readonly at: string
}

export interface IssuerOfIdentity {
  /** What the identity hangs on there, by the lever's key. */
  readonly levers: Readonly<Record<string, unknown>>
  /** It ever held a shared credential there: a lifecycle case must not pull its lever. */
  readonly shared: boolean
}

export interface Identity extends Stored {
  readonly kind: 'identity'
  readonly key: string
  readonly id: string
  readonly epoch: number
  readonly fencedThrough: number
  readonly fences: Readonly<Record<string, { epoch: number; at: string }>>
  readonly issuers: Readonly<Record<string, IssuerOfIdentity>>
  readonly owner: string
  readonly workload?: string
  readonly environment?: string
  readonly ownerLeaves: OwnerLeaves
  readonly protected: boolean
  readonly contacts: readonly string[]
  readonly orphan?: { since: string; deadline: string; case: string; formerOwner: string }
}

/** Whether a scope is fenced, and by which cases; `identity` fences stand in the identity itself. */
export interface Fence extends Stored {
  readonly kind: 'fence'
  readonly fences: Readonly<Record<string, { at: string }>>
}

export interface WorkScope {
  readonly key: string
  readonly namespace: string
  readonly id: string
}

export interface Lease extends Stored {
  readonly kind: 'lease'
  readonly id: string
  readonly identity: string
  readonly identityKey: string
  readonly issuer: string
  readonly provider: string
  readonly epoch: number
  readonly type: 'dynamic' | 'static'
  readonly sharing: 'exclusive' | 'shared'
  readonly registers: 'credential' | 'intent'
  readonly fingerprint: string
  readonly target: Readonly<Record<string, unknown>>
  readonly sealed?: unknown
  readonly owner: string
  readonly consumer: string
  readonly purpose: string
  readonly environment?: string
  readonly task?: WorkScope
  readonly deployment?: WorkScope
  readonly parent?: string
  readonly delegable: boolean
  readonly depth: number
  readonly registrar: string
  /** Hash of the registration's body: a retry with another body is refused. */
  readonly digest: string
  readonly registeredAt: string
  readonly registerBy: string
  readonly expiresAt: string
  readonly state: LeaseState
  /** It was acknowledged once; what was not is never counted in a chunk. */
  readonly acknowledged: boolean
  /** An intent that was not confirmed. */
  readonly pending: boolean
  /** Until then a mint or a renewal may still bring the credential to life: no outcome is final before. */
  readonly unsettledUntil?: string
  /** Generation: counted up by each case that takes the lease. */
  readonly generation: number
  readonly holder?: { case: string; lane: Lane }
  /** An attempt was made whose answer is not known. */
  readonly unanswered: boolean
  /** Which unit of each case counts this lease. */
  readonly claims: Readonly<Record<string, string>>
  readonly outcomes: Readonly<Record<string, Outcome>>
  /** It was recorded while its credential was being cut, and has no place there to give back. */
  readonly unheld?: true
  /** The case that ends it because its consumer gave it back. */
  readonly givenBack?: string
  /** The outcome that ended it. */
  readonly ended?: { case: string; outcome: OutcomeWord; at: string; livesUntil?: string }
}

/** Who holds a credential. */
export interface Credential extends Stored {
  readonly kind: 'credential'
  readonly holders: number
  readonly exclusive: boolean
  /** It is being cut: no new grant, and nobody is spared as the last but one. */
  readonly cutting: boolean
  /** The lease of an exclusive credential. */
  readonly lease?: string
  readonly cut?: { case: string; lease: string; at: string }
}

export interface Levels {
  readonly expected: number
  readonly done: number
}

export interface Case extends Stored {
  readonly kind: 'case'
  readonly id: string
  readonly type: CaseType
  readonly lane: Lane
  readonly mode: Mode
  readonly scope: CaseScope
  readonly state: CaseState
  readonly source: string
  readonly eventId: string
  readonly reason: string
  readonly requestedBy?: string
  /** Who sent it, as authenticated; he cannot approve it. */
  readonly requester: string
  readonly effectiveAt: string
  readonly openedAt: string
  readonly epoch?: number
  readonly fencedAt?: string
  readonly containedAt?: string
  readonly sealed: boolean
  readonly sealedAt?: string
  readonly closedAt?: string
  readonly held?: { reason: string; since: string }
  readonly decisions: readonly { decision: 'approved' | 'cancelled'; by: string; reason: string; at: string }[]
  readonly listed?: string
  /** How far the members of its group are fenced. */
  readonly fencing?: string
  readonly identities: number
  readonly orphans: number
  readonly bystanders: number
  readonly levers: { readonly expected: number; readonly done: number; readonly failed: number }
  readonly scans: Levels
  readonly counts: OutcomeCounts
  readonly amendments: Levels
  readonly amendCounts: OutcomeCounts
  readonly noted: number
  readonly cause?: 'expiry' | 'given-back' | 'registration-deadline'
}

/** One scope that a case covers: written before it is fenced, with the epoch it is fenced through. */
export interface Unit extends Stored {
  readonly kind: 'unit'
  readonly case: string
  readonly scope: string
  readonly identity?: string
  readonly epoch?: number
  readonly fencedAt?: string
  /** `orphan`: its owner left and it stays up; `split`: it is protected and got a held case of its own. */
  readonly state: 'opened' | 'listed' | 'orphan' | 'split' | 'moved'
  /** The shards that held anything when they were read after the fence. */
  readonly shards: readonly number[]
}

export interface Lever extends Stored {
  readonly kind: 'lever'
  readonly case: string
  readonly identityKey: string
  readonly issuer: string
  readonly provider: string
  readonly leverKey: string
  readonly lever: unknown
  readonly epoch: number
  readonly fencedAt: string
  readonly state: 'open' | 'done' | 'failed'
  readonly attempts: number
  readonly said?: string
  readonly doneAt?: string
  readonly dueAt?: string
}

export interface Progress extends Stored {
  readonly kind: 'progress'
  readonly case: string
  readonly scope: string
  readonly shard: number
  /** Sort key behind which the scan goes on; empty at the beginning. */
  readonly cursor: string
  readonly sealed: boolean
  readonly expected: number
  readonly done: number
  readonly counts: OutcomeCounts
  /** It was counted in its case. */
  readonly complete: boolean
  readonly epoch?: number
}

/** What a chunk covers: a range of sort keys of one partition, or leases by id. */
export type Coverage =
  | { readonly pk: string; readonly from: string; readonly to: string }
  | { readonly leases: readonly { readonly id: string; readonly expiresAt?: string }[] }

export interface Chunk extends Stored {
  readonly kind: 'chunk' | 'amendment'
  readonly case: string
  readonly issuer: string
  readonly covers: Coverage
  readonly epoch?: number
  readonly step: 'revoke' | 'verify' | 'tidy' | 'over'
  readonly state: 'open' | 'done'
  readonly attempts: number
  /** Cuts whose proof of death is still to come. */
  readonly applied: Readonly<Record<string, { outcome: 'revoked' | 'absent'; evidence: Evidence }>>
  readonly counts: OutcomeCounts
  readonly dueAt?: string
  /** Why it is there: the scan, a delegated child, or a bystander who shares a compromised credential. */
  readonly because: 'scan' | 'child' | 'bystander' | 'late' | 'parked'
  readonly tidyAt?: string
  /** What the last visit found; absent until a worker was here. */
  readonly said?: string
  /** How often the sweeper sent it anew since the last visit. */
  readonly resent?: number
}

export interface Issuer extends Stored {
  readonly kind: 'issuer'
  readonly name: string
  readonly provider: string
  readonly settings: Readonly<Record<string, unknown>>
  readonly adminSecret?: string
  readonly environment?: string
  readonly soakSeconds: number
}

export interface Breaker extends Stored {
  readonly kind: 'breaker'
  readonly issuer: string
  readonly openUntil: string
  readonly code: string
  readonly reason: string
  readonly failures: number
}
