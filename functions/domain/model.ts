import type { AskState, CaseDecision, CaseState } from '../contracts/case.ts'
import type { DiscoveryState, FindingKind } from '../contracts/discovery.ts'
import type { OwnerLeaves } from '../contracts/identity.ts'
import type { LeaseState } from '../contracts/lease.ts'
import type { Mode, Modes } from '../contracts/mode.ts'
import type { Evidence, Outcome, OutcomeCounts, OutcomeWord } from '../contracts/outcome.ts'
import type { CaseType, Lane } from '../contracts/primitives.ts'
import type { CaseScope } from '../contracts/scope.ts'
import type { Pace } from './limiter.ts'

/** The things of the table as the code sees them. Moments are RFC 3339 in UTC, so they sort as text. */

interface Stored {
  readonly pk: string
  readonly sk: string
  readonly kind: string
  /** Version, counted by every write. */
  readonly v: number
  /** Who made the last change, and why: the audit trail reads it from the stream. */
  readonly by: Actor
  /** Seconds since 1970: when retention removes it. */
  readonly ttl?: number
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
  /** The other names of the same workload (canonical URIs), approved. */
  readonly aliases?: readonly string[]
  readonly orphan?: { since: string; deadline: string; case: string; formerOwner: string }
}

/** Whether a scope is fenced, and by which cases; `identity` fences stand in the identity itself. */
export interface Fence extends Stored {
  readonly kind: 'fence'
  readonly fences: Readonly<Record<string, { at: string }>>
  /** `false`: a group that was reinstated; it takes members again, until the next case fences it. */
  readonly closed?: boolean
}

export interface WorkScope {
  readonly key: string
  readonly namespace: string
  readonly id: string
  /** When it ends at the latest, as the registration attests. */
  readonly endsBy?: string
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
  /** Since when it has been parked, whoever tried it again in between. */
  readonly parkedSince?: string
  /** Which unit of each case counts this lease. */
  readonly claims: Readonly<Record<string, string>>
  readonly outcomes: Readonly<Record<string, Outcome>>
  /** Its target names several credentials at the issuer (all sessions of one name): ending one lease must not cut the others. */
  readonly ambiguous?: true
  /** Cases whose fences concern it no more, because their cut of it was undone. */
  readonly pardons?: Readonly<Record<string, string>>
  /** The restoration that is undoing its cut, or did. */
  readonly restoration?: string
  /** What the cut left behind is deleted, or is being deleted: nothing can be restored from then on. */
  readonly deletion?: { readonly at: string; readonly done: boolean }
  /** What the cut left behind could not be deleted; the access stays cut. */
  readonly left?: { readonly said: string; readonly at: string }
  /** The restoration that gave it back last, and the case whose cut it undid. */
  readonly restored?: { readonly restoration: string; readonly case: string; readonly at: string; readonly said: string }
  /** A call to give it back was made whose answer is not known: it may live. */
  readonly revived?: boolean
  /** The class of the discipline that it was registered under. */
  readonly class?: string
  /** What its expiry does: cuts it, or only tells. Default `cut`. */
  readonly onExpiry?: 'cut' | 'notify'
  /** What its client does while the pipeline cannot be reached. Default `closed`. */
  readonly onOutage?: 'closed' | 'spool'
  /** When it was renewed last. */
  readonly renewedAt?: string
  /** When its client took the credential, where it was registered from a spool. */
  readonly spooledAt?: string
  /** It has expired, and its class only tells. */
  readonly overdueSince?: string
  /** Time that it was given back after an outage of ours: it is not cut before. */
  readonly graceUntil?: string
  /** The expiry (or the deadline of its registration) that was only watched, and by which mode: it is not reported again. */
  readonly watchedDue?: { readonly at: string; readonly mode: Mode }
  /** It was recorded while its credential was being cut, and has no place there to give back. */
  readonly unheld?: true
  /** The case that ends it because its consumer gave it back. */
  readonly givenBack?: string
  /** The outcome that ended it. */
  readonly ended?: { case: string; outcome: OutcomeWord; at: string; livesUntil?: string }
}

/** A question to an issuer: does it know a credential that no lease names. The case's scope says which. */
export interface Ask extends Stored {
  readonly kind: 'ask'
  readonly case: string
  readonly issuer: string
  readonly state: AskState
  readonly said: string
  readonly attempts: number
  readonly dueAt?: string
  readonly resent?: number
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
  /** The restoration that is giving it back to its holders; whoever cuts it takes this away. */
  readonly restoring?: string
  /** What its cut left behind is deleted, or is being deleted. */
  readonly deletion?: { readonly at: string }
  /** Cases whose fences concern its holders no more, because their cut of it was undone. */
  readonly pardons?: Readonly<Record<string, string>>
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
  readonly modes?: Modes
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
  readonly decisions: readonly CaseDecision[]
  readonly campaign?: string
  readonly paused?: { readonly by: string; readonly reason: string; readonly at: string }
  /** Deletion of what it cut: absent means after the soak time. */
  readonly deletion?: 'waits' | 'approved' | 'refused'
  /** Above so many cut leases its deletions wait for an approval, as it stood when the case was opened. */
  readonly deletionAbove?: number
  /** The fuse of its source has let it through: it is counted there. */
  readonly fuse?: 'passed'
  readonly dueAt?: string
  readonly exempt?: number
  readonly resurrections?: number
  /** Leases that it cut and that were given back. */
  readonly restored?: number
  /** The earliest end of a soak time among its cuts. */
  readonly restorableUntil?: string
  /** Issuers to be asked for an unregistered credential, and those that answered. */
  readonly asks?: Levels
  readonly asked?: Readonly<Record<string, { readonly state: AskState; readonly said: string }>>
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
  /** `orphan`: its owner left and it stays up; `split`: it is protected and got a held case of its own; `exempt`: nobody touches it. */
  readonly state: 'opened' | 'listed' | 'orphan' | 'split' | 'moved' | 'exempt'
  /** The shards that held anything when they were read after the fence; of a scope that was listed at once the first alone. */
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
  /** A call was made that is not known to have done nothing: though it failed, the lever may be pulled. */
  readonly unanswered?: true
  /** It was pushed back. */
  readonly released?: { readonly restoration: string; readonly at: string }
}

/** Who hangs on a lever, and which cases hold it pulled. */
export interface LeverHolders extends Stored {
  readonly kind: 'lever-holders'
  readonly identities: Readonly<Record<string, string>>
  readonly count: number
  readonly pulledBy?: string
  /** Each case that pulled it or is about to, and the identity that it was pulled for. */
  readonly pulls?: Readonly<Record<string, string>>
  /** A restoration is pushing it back: a pull that is answered meanwhile is made once more. */
  readonly releasing?: { readonly restoration: string; readonly at: string }
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

/** What a chunk covers: a range of sort keys of one partition, all of its issuer in some shards of a scope, or leases by id. */
export type Coverage =
  | { readonly pk: string; readonly from: string; readonly to: string }
  | { readonly scope: string; readonly shards: readonly number[] }
  | { readonly leases: readonly { readonly id: string; readonly expiresAt?: string }[] }

/** An attempt was begun on the leases that the chunk covers, but for some. */
export interface Intent {
  readonly at: string
  /** How many leases it was begun on. */
  readonly leases: number
  /** Leases in its range on which none was, or whose attempt was answered and did nothing. */
  readonly except: readonly string[]
}

export interface Chunk extends Stored {
  readonly kind: 'chunk' | 'amendment'
  readonly case: string
  readonly issuer: string
  readonly covers: Coverage
  readonly epoch?: number
  /** `watch`: all is cut; deletion after the soak time and repeated verification are still to come. */
  readonly step: 'revoke' | 'verify' | 'watch' | 'over'
  readonly state: 'open' | 'done'
  readonly attempts: number
  /** Cuts whose proof of death is still to come. */
  readonly applied: Readonly<Record<string, { outcome: 'revoked' | 'absent'; evidence: Evidence }>>
  readonly counts: OutcomeCounts
  readonly dueAt?: string
  /** Why it is there: the scan, a delegated child, or a bystander who shares a compromised credential. */
  readonly because: 'scan' | 'child' | 'bystander' | 'late' | 'parked' | 'resurrected' | 'located'
  readonly tidyAt?: string
  /** When the soak time was, or will be, over; `tidyAt` is when the deletion is tried next. */
  readonly soakEnds?: string
  /** When the issuer is asked again whether what was cut is still dead, and how often it was asked. */
  readonly watchAt?: string
  readonly watches?: number
  /** Until then what was cut could live by itself; nobody asks after it. */
  readonly watchUntil?: string
  /** What the last visit found; absent until a worker was here. */
  readonly said?: string
  /** An amendment that was over before its lease was there: who meets the lease opens it again. */
  readonly missing?: boolean
  /** An attempt whose intent stands here and not on its leases. */
  readonly intent?: Intent
  /** How often outcomes of what is only watched were written under it: its end holds for those that it counted. */
  readonly notes?: number
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
  readonly mode?: Mode
  /** The ceiling of calls a second, where it is not its provider's. */
  readonly limits?: { readonly callsPerSecond: number }
  /** 0: never by itself. Absent: as the configuration says. */
  readonly discoverEverySeconds?: number
}

export interface Breaker extends Stored {
  readonly kind: 'breaker'
  readonly issuer: string
  readonly openUntil: string
  readonly code: string
  readonly reason: string
  readonly failures: number
  /** The one visit that tries whether the issuer serves us again, and when its place is free if it is never heard of. */
  readonly probe?: { readonly name: string; readonly until: string }
}

/** How fast one issuer may be called, and by whom it is being called. */
export interface Limiter extends Stored, Pace {
  readonly kind: 'limiter'
  readonly issuer: string
}

/** What holds for the whole installation. */
export interface Control extends Stored {
  readonly kind: 'control'
  /** No issuer is called. */
  readonly killSwitch?: { readonly by: string; readonly reason: string; readonly since: string }
  /** The table was restored from a backup, and nobody has released it yet. */
  readonly restored?: { readonly since: string; readonly reason: string }
  /** When one of the two was released: what was put off by it is looked at early. */
  readonly releasedAt?: string
}

/** Cases with one decision for all of them: those of one report, or those that a tripped fuse holds. */
export interface Campaign extends Stored {
  readonly kind: 'campaign'
  readonly id: string
  readonly of: 'report' | 'fuse'
  readonly source: string
  readonly name: string
  /** Who sent its first case; he cannot approve it. */
  readonly requester: string
  readonly openedAt: string
  /** Why the fuse tripped. */
  readonly held?: string
  readonly decisions: readonly {
    readonly decision: 'approved' | 'rejected'
    readonly by: string
    readonly reason: string
    readonly at: string
    readonly validUntil?: string
  }[]
  /** A fuse's decision that is being carried out, case by case: how far it has come. */
  readonly carrying?: { readonly shard: number; readonly after: string }
}

/** What the lifecycle cases of one source reached in the current window. */
export interface Fuse extends Stored {
  readonly kind: 'fuse'
  readonly source: string
  /** Number of the window: whole windows since 1970. */
  readonly window: number
  readonly identities: number
  readonly leases: number
  /** Leases that completed tasks reached: counted apart, with a limit of their own. */
  readonly taskLeases: number
  /** It has tripped, and nobody has decided about this campaign yet: all that comes is held with it. */
  readonly campaign?: string
  /** What tripped it was rejected: nothing more passes in this window. */
  readonly blown?: true
}

/** That the sweeper runs, and the table's part of the generation mark. */
export interface Heartbeat extends Stored {
  readonly kind: 'heartbeat'
  /** When the last finished sweep began; absent before the first has ended. */
  readonly at?: string
  /** Counted up by each sweep, after the mark outside the table. */
  readonly generation?: number
  /** The mark outside by which this table was found to be an older one: counted from there once it is released. */
  readonly behind?: number
}

/** A time in which the pipeline was down and renewals could not come in. */
export interface Outage extends Stored {
  readonly kind: 'outage'
  readonly from: string
  readonly to: string
  /** The last moment that it can put a deadline off to. */
  readonly reach: string
  readonly source: 'gap' | 'declared'
  readonly reason: string
}

export type RestorationScope =
  | { readonly kind: 'lease'; readonly id: string }
  | { readonly kind: 'identity'; readonly id: string }
  | { readonly kind: 'case'; readonly id: string }

/** Somebody asked to undo cuts: of one lease, of an identity, of a case. */
export interface Restoration extends Stored {
  readonly kind: 'restoration'
  readonly id: string
  readonly scope: RestorationScope
  readonly reason: string
  readonly requester: string
  /** He may approve, and says that the compromise was none. */
  readonly undoesCompromise: boolean
  readonly openedAt: string
  readonly doneAt?: string
  /** `listing` what it covers, `running`, `done`. */
  readonly state: 'listing' | 'running' | 'done'
  /** How far the listing has come. */
  readonly cursor: string
  readonly parts: Levels
  readonly counts: { readonly restored: number; readonly refused: number }
  readonly refused: readonly { readonly lease: string; readonly said: string }[]
}

/** Up to a hundred keys of one issuer, undone together. */
export interface RestorationPart extends Stored {
  readonly kind: 'restoration-part'
  readonly restoration: string
  readonly name: string
  readonly issuer: string
  readonly covers: Coverage
  readonly unit?: string
  readonly state: 'open' | 'done'
  readonly attempts: number
  readonly dueAt?: string
  readonly said?: string
  /** Leases that are not given back, each with its reason: not tried again. */
  readonly refused: Readonly<Record<string, string>>
  readonly restored: number
}

/** One pass over all that an issuer lists. */
export interface Discovery extends Stored {
  readonly kind: 'discovery'
  readonly id: string
  readonly issuer: string
  readonly provider: string
  /** The issuer's version when it began: what another configuration lists is no part of this pass. */
  readonly issuerVersion: number
  readonly state: DiscoveryState
  readonly requester: string
  readonly reason?: string
  readonly startedAt: string
  readonly endedAt?: string
  readonly said?: string
  /** The last one that was done before it began, and when that began. */
  readonly previous?: string
  readonly previousAt?: string
  /** Counted by each move of any of its cursors: whoever read it before moves nothing. */
  readonly step: number
  /** Behind which the page, the leases, the findings go on; absent at the beginning of each. */
  readonly cursor?: string
  /** Pages that were listed. */
  readonly pages: number
  /** When the last page was listed. */
  readonly listedAt?: string
  /** Tries of the page, since the last one that was listed. */
  readonly attempts: number
  readonly counts: {
    readonly listed: number
    readonly registered: number
    readonly dormant: number
    readonly unsettled: number
    readonly unreadable: number
    readonly leases: number
  }
  readonly found: Readonly<Record<FindingKind, number>>
  readonly kept: Readonly<Record<FindingKind, number>>
  readonly fresh: Readonly<Record<FindingKind, number>>
  readonly accepted: Readonly<Record<FindingKind, number>>
  readonly withdrawn: number
  readonly cleared: number
  /** The first new ones that are honoured and should not be. */
  readonly alarming: readonly { readonly kind: FindingKind; readonly fingerprint: string; readonly shown: string }[]
  readonly dueAt?: string
  readonly resent?: number
}

/** What a discovery found. Holds names and moments as the issuer listed them, and no secret. */
export interface Finding extends Stored {
  readonly kind: 'finding'
  readonly discovery: string
  readonly issuer: string
  readonly of: FindingKind
  readonly fingerprint: string
  readonly shown: string
  readonly said: string
  readonly standing: 'provisional' | 'new' | 'known' | 'cleared'
  readonly firstSeenAt: string
  readonly seenAt: string
  readonly usable: boolean
  readonly target: Readonly<Record<string, unknown>>
  readonly own?: string
  readonly identity?: string
  readonly createdAt?: string
  readonly lastUsedAt?: string
  readonly expiresAt?: string
  readonly lease?: string
}

/** Somebody has said why a finding is as it should be. */
export interface Accepted extends Stored {
  readonly kind: 'acceptance'
  readonly issuer: string
  readonly of: FindingKind
  readonly fingerprint: string
  /** A hash of the target: another incarnation is another finding. */
  readonly incarnation: string
  readonly reason: string
  readonly until?: string
  readonly withdrawn?: true
}

/** Which discovery of an issuer runs, and which was the last. */
export interface Discoveries extends Stored {
  readonly kind: 'discoveries'
  readonly issuer: string
  readonly running?: string
  /** When the last one began, whatever became of it. */
  readonly lastAt?: string
  /** The last one that was done. */
  readonly done?: string
}
