import type { Asker, Decidable } from './decide.ts'
import { DECIDES_BY, decide, SHARES_ITS_NAME } from './decide.ts'
import type { Lease } from './model.ts'
import type { Restraint } from './modes.ts'

/** What a case would do with a lease, by the very decision that its workers make; nothing is carried out. */

/**
 * What would be done with one lease. `cut`: revoked, or found absent. `released`: its grant is given back, others hold
 * the credential. `unsupported`: it cannot be cut and lives to its expiry. `parked`: nothing here can serve its issuer.
 * `observed`: it may only be watched. `exempt`: nobody touches its identity, or that of another holder. `waiting`: another case, at least as
 * urgent, is at it, and its outcome will count here too.
 */
export const FATES = ['cut', 'released', 'unsupported', 'parked', 'observed', 'exempt', 'waiting'] as const
export type FateWord = (typeof FATES)[number]

/** All of a lease that is read to foresee what becomes of it, to count it and to name it. */
export const GIST = [
  ...DECIDES_BY,
  'kind',
  'id',
  'identity',
  'identityKey',
  'issuer',
  'fingerprint',
  'owner',
  'consumer',
  'environment',
  'parent',
  'delegable',
  'depth',
  'task',
  'deployment',
  'target',
] as const satisfies readonly (keyof Lease)[]
export type Gist = Decidable & Pick<Lease, (typeof GIST)[number]>

/** What stands around a lease. */
export interface Surroundings {
  /** Whose exemption spares it: its own identity's, or that of another holder of the credential that a compromise would cut. */
  readonly exempt: 'itself' | 'another' | undefined
  readonly restraint: Restraint | undefined
  /** Why a cut is in vain, where that is known beforehand. */
  readonly unable: { readonly word: 'unsupported' | 'parked'; readonly said: string; readonly livesUntil?: string } | undefined
}

export interface Fate {
  readonly word: FateWord
  readonly said?: string
  readonly livesUntil?: string
  /** What was delegated from it joins the case with it, and in a compromise who shares its credential, if that is not spared. */
  readonly joins: boolean
  /** It was never acknowledged: it is cut by an amendment. */
  readonly late: boolean
  /**
   * It holds a place at a shared credential and this case gives it back: while others hold one, this is its fate instead.
   */
  readonly whileShared?: { readonly word: 'released' | 'unsupported'; readonly said: string; readonly livesUntil?: string }
  /** It is only watched: what would become of it, and what while others hold its credential. */
  readonly watched?: { readonly would: Would; readonly whileShared?: Exclude<Would, 'cut'> }
}
export type Would = 'cut' | 'released' | 'unsupported'

/** A credential with other holders, as `decide` asks for it. */
const SHARED = { holders: 2, cutting: false }
export const OTHERS_HOLD = 'others hold the credential'
const EXEMPT = {
  itself: 'its identity is exempt: no case touches it',
  another: 'an exempt identity holds the credential too: no case touches it',
} as const

/**
 * What becomes of a lease in a case that met nobody's interference; `undefined` where the case leaves it out.
 *
 * @param asker the unit that would scan it
 */
export function foresee(lease: Gist, asker: Asker, { exempt, restraint, unable }: Surroundings): Fate | undefined {
  const cuts = asker.shared === 'cut'
  let asks = asker
  let found: Decidable = lease
  let decision = decide(found, asks, undefined)
  const late = decision.do === 'amend'
  if (late) {
    // Its registration is refused nothing by a case that may only watch it.
    if (restraint?.mode === 'observe') return undefined
    asks = { ...asker, amends: true }
    found = lease.state === 'registering' ? { ...lease, state: 'late' } : lease
    decision = decide(found, asks, undefined)
  }
  const shared = decide(found, asks, SHARED)
  const holds = shared.do === 'release'
  switch (decision.do) {
    case 'skip':
    case 'count':
    case 'amend':
      return undefined
    case 'copy': {
      const { outcome, livesUntil, evidence } = decision.outcome
      const word = outcome === 'revoked' || outcome === 'absent' ? 'cut' : outcome
      return { word, said: evidence.said, joins: cuts, late, ...(livesUntil === undefined ? {} : { livesUntil }) }
    }
    case 'wait':
      if (restraint !== undefined) return observed(lease, restraint, late, { would: 'cut' })
      return { word: 'waiting', said: `case ${decision.for} is at it`, joins: cuts, late }
    case 'claim':
    case 'cut':
    case 'release': {
      if (exempt !== undefined)
        return { word: 'exempt', said: EXEMPT[exempt], joins: exempt === 'another', late, livesUntil: lease.expiresAt }
      if (restraint !== undefined)
        return observed(lease, restraint, late, {
          would: unable?.word === 'unsupported' ? 'unsupported' : 'cut',
          ...(holds ? { whileShared: shared.livesUntil === undefined ? ('released' as const) : ('unsupported' as const) } : {}),
        })
      const whileShared = !holds
        ? {}
        : shared.livesUntil === undefined
          ? { whileShared: { word: 'released' as const, said: OTHERS_HOLD } }
          : { whileShared: { word: 'unsupported' as const, said: SHARES_ITS_NAME, livesUntil: shared.livesUntil } }
      if (unable === undefined) return { word: 'cut', joins: true, late, ...whileShared }
      return { joins: true, late, ...unable, livesUntil: unable.livesUntil ?? lease.expiresAt, ...whileShared }
    }
  }
}

const observed = (lease: Gist, { said }: Restraint, late: boolean, watched: NonNullable<Fate['watched']>): Fate => ({
  word: 'observed',
  said,
  joins: true,
  late,
  livesUntil: lease.expiresAt,
  watched,
})
