import type { Settings } from '../contracts/settings.ts'
import type { Case, Identity, Lease } from './model.ts'
import { matchesAny } from './pattern.ts'
import type { Policy } from './policy.ts'
import { isProtected } from './rights.ts'

/** What a case does with one identity that it reaches. The planner carries it out, the preview only counts it. */
export type Treatment =
  | 'fence'
  /** Nobody touches it: break-glass, or a role of the pipeline's own. It is shouted about. */
  | 'exempt'
  /** Its owner left and it is a service: it stays up and needs a new owner. */
  | 'orphan'
  /** It is protected, and gets a held case of its own, so that one approval covers nothing that nobody looked at. */
  | 'split'

export type Guards = Pick<Settings, 'protected' | 'exempt'>

/** Whether no case may touch it (canonical URI), by configuration alone: an operator must not be able to add himself. */
export const isExempt = (settings: Pick<Settings, 'exempt'>, identity: string): boolean =>
  matchesAny(settings.exempt ?? [], identity)

/** Nobody has begun to cut the lease: while an exempt identity holds its credential too, no case does. */
export const isPlaced = (state: Lease['state']): boolean => state === 'live' || state === 'late' || state === 'released'

/** Whether lifecycle cases on it wait for an approval: by its own flag, or by configuration under any of its names. */
export const isGuarded = (settings: Guards, identity: Pick<Identity, 'id' | 'protected' | 'aliases'>): boolean =>
  identity.protected || [identity.id, ...(identity.aliases ?? [])].some((name) => isProtected(settings, name))

/**
 * @param group the kind of group whose member it is reached as; absent where the case names the identity itself, or
 *   reaches it as another name of one that it names
 */
export function treatmentOf(
  current: Pick<Case, 'type' | 'mode' | 'decisions'>,
  policy: Policy,
  identity: Pick<Identity, 'id' | 'protected' | 'ownerLeaves' | 'aliases'>,
  group: 'owner' | 'workload' | undefined,
  settings: Guards,
): Treatment {
  if (isExempt(settings, identity.id)) return 'exempt'
  if (group === undefined) return 'fence'
  if (current.type === 'offboarding' && group === 'owner' && identity.ownerLeaves === 'reassign') return 'orphan'
  // What touches nothing needs no approval. What was approved of the group (its fuse, say) was not this member.
  return policy.holdable && current.mode !== 'observe' && isGuarded(settings, identity) ? 'split' : 'fence'
}
