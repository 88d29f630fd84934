import type { Outcome } from '../contracts/outcome.ts'
import type { CaseType, Lane } from '../contracts/primitives.ts'
import type { Credential, Lease } from './model.ts'
import { moreUrgent } from './policy.ts'

/** The unit of a case (a chunk or an amendment) that asks what to do with a lease. */
export interface Asker {
  readonly case: string
  readonly type: CaseType
  readonly lane: Lane
  readonly openedAt: string
  /** What the lease is claimed with: only the unit that claimed it counts it. */
  readonly unit: string
  readonly amends: boolean
  /** The identity's epoch that the case fences through; absent where the scope is not an identity's. */
  readonly epoch?: number
  readonly shared: 'cut' | 'release'
  /** An expiry case cuts a lease only if it still expires when the sweeper saw that it does. */
  readonly expirySeen?: string
  /** A registration's deadline ends only what is still not acknowledged. */
  readonly unfinished?: boolean
  /** Time that was given back after an outage of ours: the lease is not taken for its time being over before. */
  readonly notBefore?: string
  /** Now, RFC 3339. */
  readonly now: string
}

export type Decision =
  /** Not this unit's to count. */
  | { readonly do: 'skip'; readonly why: string }
  /** It was never acknowledged: it is cut by an amendment of its own, and never counted here. */
  | { readonly do: 'amend' }
  /**
   * Give this grant back; others hold the credential, which stays. `livesUntil`: what this grant gave out bears the same
   * name as theirs, so it cannot be cut by itself and dies then.
   */
  | { readonly do: 'release'; readonly livesUntil?: string }
  /** Take it, then cut. `last`: its place at the credential is given back with it. */
  | { readonly do: 'claim'; readonly givesBack: boolean }
  /** Ours already, cut it. */
  | { readonly do: 'cut' }
  /** Another case has ended it meanwhile: its outcome is ours too. */
  | { readonly do: 'copy'; readonly outcome: Outcome }
  /** Ours, with a final outcome. */
  | { readonly do: 'count'; readonly outcome: Outcome }
  /** Another case, at least as urgent, is at it. */
  | { readonly do: 'wait'; readonly for: string }

/** All of a lease that a decision rests on: whoever only foresees it reads no more than this. */
export const DECIDES_BY = [
  'epoch',
  'expiresAt',
  'state',
  'acknowledged',
  'sharing',
  'unheld',
  'ambiguous',
  'holder',
  'claims',
  'outcomes',
  'ended',
  'by',
] as const satisfies readonly (keyof Lease)[]
export type Decidable = Pick<Lease, (typeof DECIDES_BY)[number]>
type Holders = Pick<Credential, 'holders' | 'cutting'>

const skip = (why: string): Decision => ({ do: 'skip', why })

/**
 * What a unit of a case does with a lease, from the lease as read (and, for a shared credential, its holders). Pure:
 * every decision is carried out by a write that is conditional on exactly what was read.
 */
export function decide(lease: Decidable, asker: Asker, credential: Holders | undefined): Decision {
  if (asker.epoch !== undefined && lease.epoch > asker.epoch) return skip('of a later epoch')
  const claimedBy = lease.claims[asker.case]
  const known = lease.outcomes[asker.case]
  if (claimedBy !== undefined && claimedBy !== asker.unit) {
    // A parked lease is tried again by an amendment, and what was only watched ends with its credential; everything else has its unit.
    const again = known?.outcome === 'parked' || (known?.outcome === 'observed' && credential?.cutting === true)
    if (!(asker.amends && again)) return skip('counted by another unit of this case')
  } else if (known !== undefined && !(asker.amends && (known.outcome === 'parked' || isCutBy(lease, asker)))) {
    return { do: 'count', outcome: known }
  }
  if (claimedBy === undefined && endedBefore(lease, asker)) return skip('ended before')
  if (!lease.acknowledged && !asker.amends && asker.type !== 'expired') return { do: 'amend' }
  if (asker.unfinished === true && claimedBy === undefined && lease.acknowledged) return skip('acknowledged meanwhile')
  if (asker.expirySeen !== undefined && lease.expiresAt !== asker.expirySeen) return skip('renewed meanwhile')
  if (claimedBy === undefined && asker.notBefore !== undefined && asker.notBefore > asker.now)
    return skip('the time that our outage took was given back')

  switch (lease.state) {
    case 'registering':
      // Only the sweeper's own case ends a registration that nobody finished; an amendment finds it `late`.
      return asker.type === 'expired' ? endOfGrant(lease, asker, credential) : { do: 'amend' }
    case 'late':
    case 'live':
      return endOfGrant(lease, asker, credential)
    case 'released':
      if (asker.shared === 'cut') return { do: 'claim', givesBack: false }
      // What still lives, for nobody can cut it by itself, is met again by every case.
      if (lease.ambiguous === true && lease.expiresAt > asker.now) return { do: 'copy', outcome: livesOn(lease, asker) }
      // Another case gave the grant back already; for a case opened later there was nothing left to give.
      return lease.by.at < asker.openedAt ? skip('given back before') : { do: 'copy', outcome: releasedBefore(lease, asker) }
    case 'cutting':
      if (lease.holder?.case === asker.case) return { do: 'cut' }
      if (lease.holder === undefined || moreUrgent(asker.lane, lease.holder.lane)) return { do: 'claim', givesBack: false }
      return { do: 'wait', for: lease.holder.case }
    case 'resurrected':
    case 'restoring':
      // Its place at a shared credential was given back when it ended.
      return { do: 'claim', givesBack: false }
    case 'ended':
      return ended(lease)
  }
}

/**
 * A grant that was in force, or that came too late to be: either way others may hold its credential too. Each lease
 * gives its place back exactly once, and only one that it has (protocol 8).
 */
function endOfGrant(lease: Decidable, asker: Asker, credential: Holders | undefined): Decision {
  if (lease.sharing === 'exclusive' || lease.unheld === true) return { do: 'claim', givesBack: false }
  if (asker.shared === 'release' && credential !== undefined && credential.holders > 1 && !credential.cutting)
    return lease.ambiguous === true ? { do: 'release', livesUntil: lease.expiresAt } : { do: 'release' }
  return { do: 'claim', givesBack: true }
}

/** The case is at it: what it said of it before is not its last word. */
const isCutBy = ({ state, holder }: Decidable, asker: Asker): boolean => state === 'cutting' && holder?.case === asker.case

function ended(lease: Decidable): Decision {
  const end = lease.ended
  if (end === undefined) return skip('ended without a case')
  const outcome: Outcome = {
    outcome: end.outcome,
    at: end.at,
    evidence: { said: `ended by case ${end.case}`, by: end.case },
    ...(end.livesUntil === undefined ? {} : { livesUntil: end.livesUntil }),
  }
  return { do: 'copy', outcome }
}

/** It was over when this case began; what could not be cut and still lives is met again by every case. */
function endedBefore(lease: Decidable, asker: Asker): boolean {
  const end = lease.ended
  if (lease.state !== 'ended') return false
  // An intent that was refused: nothing ever existed.
  if (end === undefined) return true
  return end.at < asker.openedAt && !(end.livesUntil !== undefined && end.livesUntil > asker.now)
}

const livesOn = (lease: Decidable, asker: Asker): Outcome => ({
  outcome: 'unsupported',
  at: asker.now,
  evidence: { said: SHARES_ITS_NAME, ...(lease.by.case === undefined ? {} : { by: lease.by.case }) },
  livesUntil: lease.expiresAt,
})

/** Why one of several grants under one name is not cut before the last of them. */
export const SHARES_ITS_NAME =
  'others hold what bears the same name at the issuer, so it cannot be cut by itself and lives to its expiry'

const releasedBefore = (lease: Decidable, asker: Asker): Outcome => ({
  outcome: 'released',
  at: asker.now,
  evidence: { said: 'the grant was given back by another case', ...(lease.by.case === undefined ? {} : { by: lease.by.case }) },
})
