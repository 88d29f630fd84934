import * as z from 'zod/mini'
import { canBeMissed, markOf, splitMarks } from '../domain/discovery.ts'
import type { Discovery, Lease } from '../domain/model.ts'
import type { Definition } from '../providers/contract.ts'
import type { NewFinding } from '../store/discoveries.ts'
import { moveDiscovery, seenBy } from '../store/discoveries.ts'
import { as, faultOf, keyOf } from '../store/items.ts'
import { inForceAt } from '../store/known.ts'
import { note } from './discover-pages.ts'
import type { Discovering, Step } from './discover-steps.ts'

/** Leases that are compared at once with all that was seen: what is held in memory, whatever the issuer's size. */
const BAND = 5000

/**
 * Live leases that the list lacks. The record of what was listed is read once for each few thousand leases, so a pass over
 * a million holds no more than one over a thousand.
 */
export async function compareLeases(definition: Definition, shared: Discovering, current: Discovery): Promise<Step> {
  const { table, now, by } = shared
  const listedAt = current.listedAt ?? now()
  const { items, next } = await inForceAt(table, current.issuer, current.cursor, BAND)
  const missed = new Map<string, Lease[]>()
  let leases = 0
  for (const item of items) {
    if (faultOf('lease', item) !== undefined) {
      shared.unreadable(keyOf(item))
      continue
    }
    const lease = as('lease', item)
    if (!canBeMissed(lease, current.startedAt, listedAt) || !isListed(definition, lease)) continue
    leases += 1
    const mark = markOf(lease.fingerprint)
    const others = missed.get(mark)
    if (others === undefined) missed.set(mark, [lease])
    else others.push(lease)
  }
  if (missed.size > 0) for await (const marks of seenBy(table, current)) for (const mark of splitMarks(marks)) missed.delete(mark)
  const at = now()
  const findings = [...missed.values()].flatMap(([lease]) => (lease === undefined ? [] : [goneOf(lease, at)]))
  const noted = note(current, findings, shared)
  const moved = await moveDiscovery(
    table,
    current,
    {
      set: next === undefined ? [['state', 'settling']] : [['cursor', next]],
      add: [...(leases === 0 ? [] : [[['counts', 'leases'], leases] as const]), ...noted.add],
      remove: next === undefined ? ['cursor'] : [],
    },
    noted.writes,
    shared.lookAt(),
    by(),
  )
  return moved === undefined ? { kind: 'overtaken' } : { kind: 'moved', current: moved }
}

/** A lease whose credential the issuer would list by itself. */
function isListed(definition: Definition, lease: Lease): boolean {
  const target = z.safeParse(definition.target, lease.target)
  return target.success && definition.namesMany?.(target.data) !== true && definition.listed?.(target.data) !== false
}

const goneOf = (lease: Lease, at: string): NewFinding => ({
  of: 'gone',
  fingerprint: lease.fingerprint,
  shown: `credential of lease ${lease.id}`,
  said: `its lease is live, held by ${lease.identity} for ${lease.consumer}, and its issuer does not list it`,
  standing: 'provisional',
  firstSeenAt: at,
  seenAt: at,
  usable: false,
  target: lease.target,
  lease: lease.id,
})
