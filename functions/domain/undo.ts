import * as z from 'zod/mini'
import type { Definition } from '../providers/contract.ts'

/**
 * Whether a cut of this target can be undone: its provider restores, and the target is not one that is cut for good.
 *
 * @param target as the lease holds it; one that no longer fits its provider is not cut, so nothing of it is to be undone
 */
export function canUndo(
  { capabilities, forGood, target: schema }: Pick<Definition, 'capabilities' | 'forGood' | 'target'>,
  target: unknown,
): boolean {
  if (!capabilities.restores || forGood === undefined) return capabilities.restores
  const parsed = z.safeParse(schema, target)
  return parsed.success && !forGood(parsed.data)
}
