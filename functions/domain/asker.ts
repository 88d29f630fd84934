import type { Asker } from './decide.ts'
import type { Case, Chunk } from './model.ts'
import { policyOf } from './policy.ts'

/** What a decision needs to know of its case; the preview's never stood in the table. */
export type AskingCase = Pick<Case, 'id' | 'type' | 'lane' | 'openedAt' | 'scope' | 'cause'>

/** The unit of a case as it asks what to do with its leases. */
export const askerFor = (
  current: AskingCase,
  asks: Pick<Asker, 'unit' | 'amends' | 'now'> & Pick<Chunk, 'because'> & { readonly epoch?: number | undefined },
  expirySeen?: string,
): Asker => ({
  case: current.id,
  type: current.type,
  lane: current.lane,
  openedAt: current.openedAt,
  unit: asks.unit,
  amends: asks.amends,
  shared: policyOf(current.type, current.scope.kind).shared,
  now: asks.now,
  ...(asks.epoch === undefined ? {} : { epoch: asks.epoch }),
  ...(expirySeen === undefined ? {} : { expirySeen }),
  ...(current.cause === 'registration-deadline' && asks.because === 'scan' ? { unfinished: true } : {}),
})
