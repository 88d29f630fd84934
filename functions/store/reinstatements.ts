import type { Actor, Case, Identity } from '../domain/model.ts'
import { caseOf } from './cases.ts'
import type { GroupKind } from './identities.ts'
import { actor, fencesOfGroups, groupsOf, identityOf, member, open, ownerGroup, workloadGroup } from './identities.ts'
import { read } from './items.ts'
import { groupFence, identityItem, leverItem, membership } from './keys.ts'
import type { Check, Table, Value, Write } from './table.ts'

/** Access becomes possible again: a new epoch for an identity, an open door for a group. No fence is ever removed. */

export type Reinstated =
  | { readonly kind: 'reinstated'; readonly identity: Identity; readonly compromised: boolean }
  /** Its epoch is not fenced: nothing to do, or it was done before. */
  | { readonly kind: 'open'; readonly identity: Identity }
  /** Compromise cases of its epoch still run: what they cut must be dead before anything new can live. */
  | { readonly kind: 'running'; readonly cases: readonly string[] }
  /** Its owner or workload is fenced: it needs another one, or the group is reinstated first. */
  | { readonly kind: 'group-fenced'; readonly cases: readonly string[] }

/** The cases that fence the identity's present epoch. */
export async function casesOfEpoch(table: Table, identity: Identity): Promise<Case[]> {
  const ids = Object.entries(identity.fences).flatMap(([id, { epoch }]) => (epoch >= identity.epoch ? [id] : []))
  const found = await Promise.all(ids.map((id) => caseOf(table, id)))
  return found.filter((current) => current !== undefined)
}

/**
 * Starts the next epoch by a write that is conditional on the identity as read (protocol 5). A new owner or workload is
 * joined in the same transaction; a group that it leaves may be fenced, one that it stays in or joins may not.
 *
 * @returns `undefined` where somebody else changed the identity meanwhile: try again
 */
export async function reinstateIdentity(
  table: Table,
  key: string,
  change: { readonly owner?: string | undefined; readonly workload?: string | undefined },
  by: Actor,
): Promise<Reinstated | undefined> {
  const identity = await identityOf(table, key)
  if (identity === undefined) return undefined
  const isOpen = identity.epoch > identity.fencedThrough
  const cases = await casesOfEpoch(table, identity)
  const running = cases.filter(
    ({ type, closedAt, state }) => type === 'compromise' && (closedAt === undefined || state === 'resurrected'),
  )
  if (running.length > 0) return { kind: 'running', cases: running.map(({ id }) => id) }
  const owner = change.owner ?? identity.owner
  const workload = change.workload ?? identity.workload
  const before = groupsOf(identity.owner, identity.workload)
  const afterwards = groupsOf(owner, workload)
  const left = before.filter((group) => !afterwards.includes(group))
  if (isOpen && left.length === 0) return { kind: 'open', identity }
  // What no case fenced (an orphan whose case was called off) leaves its group only behind every case on it: one that is
  // still fencing the members would miss it.
  const doors = isOpen ? await Promise.all(left.map((group) => read(table, 'fence', groupFence(group)))) : []
  const passing = await Promise.all(doors.flatMap((door) => Object.keys(door?.fences ?? {})).map((one) => caseOf(table, one)))
  const behind = passing.filter((current) => current !== undefined && current.closedAt === undefined)
  if (behind.length > 0) return { kind: 'running', cases: behind.flatMap((current) => current?.id ?? []) }
  const operations: (Write | Check)[] = [
    {
      update: identityItem(key),
      set: [
        ...(isOpen ? [] : [['epoch', identity.epoch + 1] as const satisfies readonly [string, Value]]),
        ['owner', owner],
        ...(workload === undefined ? [] : [['workload', workload] as const satisfies readonly [string, Value]]),
        ['by', actor(by)],
      ],
      remove: ['orphan', 'duePk', 'dueAt', 'listPk', 'listAt'],
      if: [['v', '=', identity.v]],
    },
    ...left.map((group): Write => ({ delete: membership(group, key) })),
    ...doors.map(
      (door, index): Check => ({
        check: groupFence(left[index] ?? ''),
        if: [door === undefined ? ['pk', 'absent'] : ['v', '=', door.v]],
      }),
    ),
    ...afterwards.filter((group) => !before.includes(group)).map((group) => member(group, identity.id, by)),
    ...afterwards.map(open),
  ]
  const done = await table.transact(operations)
  if (done.ok) {
    const fresh = await identityOf(table, key)
    if (fresh === undefined) return undefined
    return { kind: 'reinstated', identity: fresh, compromised: cases.some(({ type }) => type === 'compromise') }
  }
  const closed = await fencesOfGroups(table, afterwards)
  return closed.length === 0 ? undefined : { kind: 'group-fenced', cases: closed }
}

/** A lever that a closed case pulled takes other identities again. */
export async function freeLevers(table: Table, identity: Identity, by: Actor): Promise<void> {
  for (const { levers } of Object.values(identity.issuers))
    for (const lever of Object.keys(levers)) {
      const item = await table.get(leverItem(lever))
      const pulledBy = item?.pulledBy
      if (typeof pulledBy !== 'string') continue
      const current = await caseOf(table, pulledBy)
      if (current !== undefined && current.closedAt === undefined) continue
      await table.write({
        update: leverItem(lever),
        set: [['by', actor(by)]],
        remove: ['pulledBy'],
        if: [['pulledBy', '=', pulledBy]],
      })
    }
}

export type GroupReinstated =
  | { readonly kind: 'reinstated' }
  | { readonly kind: 'open' }
  | { readonly kind: 'running'; readonly cases: readonly string[] }

/**
 * Opens a fenced group to new members, once every case that fenced it has closed. Identities that were fenced with it
 * stay fenced, each until it is reinstated itself. `undefined`: a case fenced it meanwhile.
 */
export async function reinstateGroup(table: Table, kind: GroupKind, id: string, by: Actor): Promise<GroupReinstated | undefined> {
  const key = groupFence(kind === 'owner' ? ownerGroup(id) : workloadGroup(id))
  const fence = await read(table, 'fence', key)
  if (fence === undefined || fence.closed === false) return { kind: 'open' }
  const cases = await Promise.all(Object.keys(fence.fences).map((one) => caseOf(table, one)))
  const running = cases.filter((current) => current !== undefined && current.closedAt === undefined)
  if (running.length > 0) return { kind: 'running', cases: running.flatMap((current) => current?.id ?? []) }
  const done = await table.write({
    update: key,
    set: [
      ['closed', false],
      ['by', actor(by)],
    ],
    if: [['v', '=', fence.v]],
  })
  return done.ok ? { kind: 'reinstated' } : undefined
}
