import type { Mode, ModeRule, Modes } from '../contracts/mode.ts'
import { MODES } from '../contracts/mode.ts'
import type { Outcome } from '../contracts/outcome.ts'
import type { CaseType } from '../contracts/primitives.ts'
import type { Decision } from './decide.ts'
import { SHARES_ITS_NAME } from './decide.ts'
import type { Case, Issuer, Lease } from './model.ts'

/** How far a case may go with a lease: from the rules that it keeps from its opening and from its issuer's own word. */

/** What holds where nothing is configured. */
const ENFORCE: Modes = { default: 'enforce', rules: [] }

const caution = (mode: Mode): number => MODES.indexOf(mode)
const moreCautious = (one: Mode, other: Mode | undefined): Mode =>
  other !== undefined && caution(other) < caution(one) ? other : one

/**
 * The rules that can concern a case of this type, as it keeps them: without those of other triggers, and without what
 * stands behind a rule that fits all that is left.
 */
export function modesFor(modes: Modes | undefined, trigger: CaseType): Modes {
  if (modes === undefined) return ENFORCE
  const rules: ModeRule[] = []
  for (const { trigger: only, ...rule } of modes.rules) {
    if (only !== undefined && only !== trigger) continue
    if (rule.environment === undefined && rule.issuer === undefined) return { default: rule.mode, rules }
    rules.push(rule)
  }
  return { default: modes.default, rules }
}

/** The least cautious mode that any lease can have by these rules: with `observe`, a case touches nothing at all. */
export const leastCautious = (modes: Modes): Mode =>
  modes.rules.reduce<Mode>((least, { mode }) => (caution(mode) > caution(least) ? mode : least), modes.default)

/** The rules that a case keeps. */
export const modesOf = (current: Pick<Case, 'mode' | 'modes'>): Modes => current.modes ?? { default: current.mode, rules: [] }

/**
 * @param own the issuer's own mode: the more cautious of the two holds
 */
export function effectiveMode(
  modes: Modes,
  about: { readonly environment?: string | undefined; readonly issuer: string },
  own: Mode | undefined,
): Mode {
  const fits = modes.rules.find(
    ({ environment, issuer }) =>
      (environment === undefined || environment === about.environment) && (issuer === undefined || issuer === about.issuer),
  )
  return moreCautious(fits?.mode ?? modes.default, own)
}

/** What modes need to know of an issuer; absent where it is not configured. */
export type ModeOfIssuer = Pick<Issuer, 'mode' | 'environment'> | undefined

/** The mode of one lease in a case. A lease without an environment stands in its issuer's. */
export const modeOfLease = (
  current: Pick<Case, 'mode' | 'modes'>,
  lease: { readonly issuer: string; readonly environment?: string | undefined },
  issuer: ModeOfIssuer,
): Mode =>
  effectiveMode(modesOf(current), { issuer: lease.issuer, environment: lease.environment ?? issuer?.environment }, issuer?.mode)

/** Every mode that a lease of this issuer can have in a case, whatever its environment. */
export function modesAt(current: Pick<Case, 'mode' | 'modes'>, name: string, issuer: ModeOfIssuer): Mode[] {
  const { rules, default: otherwise } = modesOf(current)
  const found: Mode[] = []
  for (const rule of rules) {
    if (rule.issuer !== undefined && rule.issuer !== name) continue
    found.push(rule.mode)
    if (rule.environment === undefined) return unique(found, issuer)
  }
  return unique([...found, otherwise], issuer)
}

const unique = (modes: readonly Mode[], issuer: ModeOfIssuer): Mode[] => [
  ...new Set(modes.map((mode) => moreCautious(mode, issuer?.mode))),
]

/** Whether nothing of this issuer may be touched by the case. */
export const onlyObserves = (current: Pick<Case, 'mode' | 'modes'>, name: string, issuer: ModeOfIssuer): boolean =>
  modesAt(current, name, issuer).every((mode) => mode === 'observe')

/** Whether some leases of this issuer may only be watched by the case: then no call of it may hit more than one lease's own. */
export const observesSome = (current: Pick<Case, 'mode' | 'modes'>, name: string, issuer: ModeOfIssuer): boolean =>
  modesAt(current, name, issuer).includes('observe')

/** Whether a case may cut every lease of this issuer. */
export const enforcesAll = (current: Pick<Case, 'mode' | 'modes'>, name: string, issuer: ModeOfIssuer): boolean =>
  modesAt(current, name, issuer).every((mode) => mode === 'enforce')

/** Whether what the case cut of the lease may ever be deleted: only where all may be enforced, now as well. */
export const mayDelete = (
  current: Pick<Case, 'mode' | 'modes'>,
  lease: { readonly issuer: string; readonly environment?: string | undefined },
  issuer: ModeOfIssuer,
): boolean => modeOfLease(current, lease, issuer) === 'enforce'

/**
 * Whether a case's fence concerns a lease: one that may only watch it refuses it nothing, and what it once only watched
 * it never refuses afterwards either.
 */
export const concerns = (
  current: Pick<Case, 'id' | 'mode' | 'modes'>,
  lease: { readonly issuer: string; readonly environment?: string | undefined; readonly outcomes?: Lease['outcomes'] },
  issuer: ModeOfIssuer,
): boolean => lease.outcomes?.[current.id]?.observed?.mode !== 'observe' && modeOfLease(current, lease, issuer) !== 'observe'

/** Why a lease may only be watched. */
export interface Restraint {
  readonly mode: Exclude<Mode, 'enforce'>
  readonly said: string
}

/**
 * What keeps a case from cutting a lease; `undefined` where it may.
 *
 * @param restores whether the provider can undo a cut
 */
export function restraintOn(
  current: Pick<Case, 'mode' | 'modes'>,
  lease: { readonly issuer: string; readonly environment?: string | undefined },
  issuer: ModeOfIssuer,
  restores: boolean,
): Restraint | undefined {
  const mode = modeOfLease(current, lease, issuer)
  if (mode === 'observe') return { mode, said: 'mode observe' }
  if (mode === 'contain' && !restores) return { mode, said: 'mode contain, and its provider cannot undo a cut' }
  return undefined
}

/** A cut of this very case that was begun before the lease came under a restraint: it is no longer only watched. */
export const begun = (lease: Pick<Lease, 'claims'>, decision: Decision, caseId: string): boolean =>
  decision.do === 'cut' || (decision.do === 'claim' && lease.claims[caseId] !== undefined)

/**
 * The outcome of a lease that may only be watched: what the same decision would have done.
 *
 * @param others how many others hold its shared credential
 * @param unable why a cut of it is known to be in vain
 */
export function observedOutcome(
  lease: Pick<Lease, 'expiresAt'>,
  decision: Extract<Decision, { do: 'release' | 'claim' | 'cut' | 'wait' }>,
  others: number,
  restraint: Restraint,
  now: string,
  unable?: { readonly said: string; readonly livesUntil?: string },
): Outcome {
  if (unable !== undefined && decision.do !== 'release')
    return {
      outcome: 'observed',
      at: now,
      evidence: { said: `${restraint.said}: it could not be cut, ${unable.said}` },
      livesUntil: unable.livesUntil ?? lease.expiresAt,
      observed: { mode: restraint.mode, would: 'unsupported' },
    }
  const would = decision.do !== 'release' ? 'revoked' : decision.livesUntil === undefined ? 'released' : 'unsupported'
  return {
    outcome: 'observed',
    at: now,
    evidence: { said: `${restraint.said}: ${wouldBe(decision, others)}` },
    livesUntil: lease.expiresAt,
    observed: { mode: restraint.mode, would },
  }
}

function wouldBe(decision: Extract<Decision, { do: 'release' | 'claim' | 'cut' | 'wait' }>, others: number): string {
  switch (decision.do) {
    case 'release':
      if (decision.livesUntil !== undefined) return `it could not be cut: ${SHARES_ITS_NAME}`
      return `it would be given back, ${others} ${others === 1 ? 'other holds' : 'others hold'} the credential`
    case 'wait':
      return `it would be cut, and case ${decision.for} is cutting it`
    default:
      return 'it would be cut'
  }
}

/**
 * The rules that no case can ever come to, by their place: for each trigger that such a rule names or leaves open, an
 * earlier one fits whatever it fits.
 */
export function unreachable(modes: Modes): number[] {
  return modes.rules.flatMap((rule, place) => {
    const triggers = rule.trigger === undefined ? TRIGGERS : [rule.trigger]
    const reached = triggers.some(
      (trigger) => !modes.rules.slice(0, place).some((earlier) => covers(earlier, { ...rule, trigger })),
    )
    return reached ? [] : [place]
  })
}

const TRIGGERS: readonly CaseType[] = ['offboarding', 'compromise', 'decommission', 'task-complete', 'expired']

const covers = (earlier: ModeRule, rule: ModeRule): boolean =>
  (earlier.trigger === undefined || earlier.trigger === rule.trigger) &&
  (earlier.environment === undefined || earlier.environment === rule.environment) &&
  (earlier.issuer === undefined || earlier.issuer === rule.issuer)
