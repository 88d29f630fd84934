import type { Case, Identity, IssuerOfIdentity, Lever } from './model.ts'
import type { ModeOfIssuer } from './modes.ts'
import { modeOfLease, observesSome } from './modes.ts'
import type { Policy } from './policy.ts'

/** What a case does with one lever of an identity that it fences. */
export type LeverFate =
  | { readonly pull: 'yes' }
  /** Only while nobody else hangs on it: its own item tells. */
  | { readonly pull: 'alone' }
  | { readonly pull: 'no'; readonly why: string }

/** What this case did to the lever may hold it: it is pulled, about to be, or a call that failed may have pulled it all the same. */
export const mayHold = (lever: Pick<Lever, 'state' | 'unanswered' | 'released'>): boolean =>
  lever.released === undefined && (lever.state !== 'failed' || lever.unanswered === true)

/**
 * Whether a lever may be pulled. A lifecycle end must not hit what others hold, so no lever with a shared credential
 * behind it, and none with a second identity on it; and no case pulls one that hits what it may only watch.
 */
export function leverFate(
  current: Pick<Case, 'mode' | 'modes'>,
  policy: Policy,
  identity: Pick<Identity, 'environment'>,
  issuer: string,
  known: Pick<IssuerOfIdentity, 'shared'>,
  configured: ModeOfIssuer,
): LeverFate {
  if (policy.levers === 'none') return { pull: 'no', why: 'a trigger of this kind pulls none' }
  if (modeOfLease(current, { issuer, environment: identity.environment }, configured) === 'observe')
    return { pull: 'no', why: 'mode observe' }
  const watches = observesSome(current, issuer, configured)
  if (policy.levers === 'all' && !watches) return { pull: 'yes' }
  if (known.shared)
    return {
      pull: 'no',
      why: watches
        ? 'the identity held a shared credential there, and some leases of the issuer may only be watched'
        : 'the identity held a shared credential there: others would be hit',
    }
  return { pull: 'alone' }
}
