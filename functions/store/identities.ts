import type { IdentityDeclaration, OwnerLeaves } from '../contracts/identity.ts'
import { groupKey, identityKey } from '../domain/keys.ts'
import type { Actor, Fence, Identity, IssuerOfIdentity } from '../domain/model.ts'
import { countIdentity } from './estate.ts'
import { as, read } from './items.ts'
import { DUE, groupFence, groupPartition, identityItem, LIST, membership } from './keys.ts'
import type { Check, Item, Put, Table, Update, Value, Write } from './table.ts'

export type GroupKind = 'owner' | 'workload'
export const ownerGroup = (id: string) => groupKey('owner', id)
export const workloadGroup = (id: string) => groupKey('workload', id)

export const identityOf = (table: Table, key: string): Promise<Identity | undefined> => read(table, 'identity', identityItem(key))

export type Joined =
  | { readonly ok: true; readonly identity: Identity }
  /** A group that it would join or leave is fenced by these cases. */
  | { readonly ok: false; readonly cases: readonly string[] }

/** No case fenced the group, or it was reinstated since. */
export const open = (group: string): Check => ({
  check: groupFence(group),
  if: [
    {
      or: [
        ['pk', 'absent'],
        ['closed', '=', false],
      ],
    },
  ],
})
export const member = (group: string, id: string, by: Actor): Put => ({
  put: { ...membership(group, identityKey(id)), kind: 'membership', identity: id, by: actor(by) },
})
/** Actors are stored as they are; the copy satisfies the table's value type. */
export const actor = (by: Actor): Value => ({ ...by })

/**
 * Makes an identity with its first declaration, or finds it. Joining its groups is one transaction with a check that
 * none of them is fenced (protocol 13).
 */
export async function declareIdentity(
  table: Table,
  declaration: IdentityDeclaration & { readonly owner: string },
  defaults: { readonly ownerLeaves: OwnerLeaves; readonly protected: boolean },
  by: Actor,
): Promise<Joined> {
  const key = identityKey(declaration.id)
  const groups = groupsOf(declaration.owner, declaration.workload)
  const put = newIdentity(declaration, defaults, {}, by)
  const operations: (Write | Check)[] = [
    { put, if: [['pk', 'absent']] },
    ...groups.map((group) => member(group, declaration.id, by)),
    ...groups.map(open),
  ]
  const done = await table.transact(operations)
  if (done.ok) {
    await countIdentity(table)
    return { ok: true, identity: as('identity', { ...put, v: 1 }) }
  }
  const existing = await identityOf(table, key)
  if (existing !== undefined) return { ok: true, identity: existing }
  return { ok: false, cases: await fencesOfGroups(table, groups) }
}

/** An identity as it is written for the first time, already fenced by the cases that are named. */
function newIdentity(
  declaration: IdentityDeclaration & { readonly owner: string },
  defaults: { readonly ownerLeaves: OwnerLeaves; readonly protected: boolean },
  fences: Identity['fences'],
  by: Actor,
): Item {
  const key = identityKey(declaration.id)
  return {
    ...identityItem(key),
    kind: 'identity',
    key,
    id: declaration.id,
    epoch: 1,
    fencedThrough: Object.keys(fences).length === 0 ? 0 : 1,
    fences: plain(fences),
    issuers: {},
    owner: declaration.owner,
    workload: declaration.workload,
    environment: declaration.environment,
    ownerLeaves: declaration.ownerLeaves ?? defaults.ownerLeaves,
    protected: declaration.protected ?? defaults.protected,
    contacts: declaration.contacts ?? [],
    by: actor(by),
  }
}

/**
 * Writes an identity that comes after the fence of its group: it is born fenced by the group's cases, so that none of
 * its leases can ever be acknowledged, and what it holds is recorded and cut by them (protocol 2). No check that the
 * groups are open is needed: there is nothing left that a fence could come too late for.
 */
export async function declareFenced(
  table: Table,
  declaration: IdentityDeclaration & { readonly owner: string },
  defaults: { readonly ownerLeaves: OwnerLeaves; readonly protected: boolean },
  cases: readonly string[],
  by: Actor,
): Promise<Identity | undefined> {
  if (cases.length === 0) return undefined
  const fences = Object.fromEntries(cases.slice(-MOST_FENCES).map((id) => [id, { epoch: 1, at: by.at }]))
  const put = newIdentity(declaration, defaults, fences, by)
  await table.transact([
    { put, if: [['pk', 'absent']] },
    ...groupsOf(declaration.owner, declaration.workload).map((group) => member(group, declaration.id, by)),
  ])
  return identityOf(table, identityKey(declaration.id))
}

export const groupsOf = (owner: string, workload: string | undefined): string[] =>
  workload === undefined ? [ownerGroup(owner)] : [ownerGroup(owner), workloadGroup(workload)]

export async function fencesOfGroups(table: Table, groups: readonly string[]): Promise<string[]> {
  const items = await table.getMany(groups.map(groupFence))
  const closed = items.flatMap((item) => (item === undefined || item.closed === false ? [] : [as('fence', item)]))
  return [...new Set(closed.flatMap(({ fences }) => Object.keys(fences)))]
}

/**
 * Changes what is declared of an identity. A change of owner or workload moves its memberships in one transaction with
 * checks that both groups are open; an orphan may leave the fenced group of the owner who left, that is how it gets a
 * new one. Returns `undefined` where somebody else changed the identity meanwhile: try again.
 */
export async function changeIdentity(
  table: Table,
  current: Identity,
  change: IdentityDeclaration,
  by: Actor,
): Promise<Joined | undefined> {
  const owner = change.owner ?? current.owner
  const workload = change.workload ?? current.workload
  const before = groupsOf(current.owner, current.workload)
  const afterwards = groupsOf(owner, workload)
  const left = before.filter((group) => !afterwards.includes(group))
  const joined = afterwards.filter((group) => !before.includes(group))
  const acceptsOrphan = current.orphan !== undefined && owner !== current.owner
  const set: (readonly [string, Value])[] = [
    ['owner', owner],
    ['by', actor(by)],
  ]
  if (workload !== undefined) set.push(['workload', workload])
  if (change.environment !== undefined) set.push(['environment', change.environment])
  if (change.ownerLeaves !== undefined) set.push(['ownerLeaves', change.ownerLeaves])
  if (change.protected !== undefined) set.push(['protected', change.protected])
  if (change.contacts !== undefined) set.push(['contacts', change.contacts])
  const update: Update = {
    update: identityItem(current.key),
    set,
    remove: acceptsOrphan ? ['orphan', 'duePk', 'dueAt', 'listPk', 'listAt'] : [],
    if: [['v', '=', current.v]],
  }
  const mustBeOpen = [...joined, ...left.filter((group) => !(acceptsOrphan && group === ownerGroup(current.owner)))]
  const done = await table.transact([
    update,
    ...left.map((group): Write => ({ delete: membership(group, current.key) })),
    ...joined.map((group) => member(group, current.id, by)),
    ...mustBeOpen.map(open),
  ])
  if (done.ok) {
    const identity = await identityOf(table, current.key)
    return identity === undefined ? undefined : { ok: true, identity }
  }
  const cases = await fencesOfGroups(table, mustBeOpen)
  return cases.length === 0 ? undefined : { ok: false, cases }
}

/** Makes sure that the identity's set of issuers holds this one before a lease does (protocol 1). It only grows. */
export async function growIssuers(
  table: Table,
  identity: Identity,
  issuer: string,
  grown: { readonly lever?: { readonly key: string; readonly lever: unknown }; readonly shared: boolean },
  by: Actor,
): Promise<void> {
  let current: Identity | undefined = identity
  for (let round = 0; current !== undefined && round < 20; round += 1) {
    const known = current.issuers[issuer]
    const merged: IssuerOfIdentity = {
      levers: { ...known?.levers, ...(grown.lever === undefined ? {} : { [grown.lever.key]: grown.lever.lever }) },
      shared: (known?.shared ?? false) || grown.shared,
    }
    const hasLever = grown.lever === undefined || known?.levers[grown.lever.key] !== undefined
    if (known !== undefined && known.shared === merged.shared && hasLever) return
    const done = await table.write({
      update: identityItem(identity.key),
      set: [
        [['issuers', issuer], plain(merged)],
        ['by', actor(by)],
      ],
      if: [['v', '=', current.v]],
    })
    if (done.ok) return
    current = await identityOf(table, identity.key)
  }
  throw new Error('the identity changes faster than its issuers can be noted')
}

/** Anything that came through a schema, as a table value. */
export function plain(value: unknown): Value {
  return JSON.parse(JSON.stringify(value)) as Value
}

/** Oldest fences are forgotten beyond this many; the newest ones are those that a registration must name. */
const MOST_FENCES = 40

export type FenceResult =
  | { readonly fenced: true; readonly identity: Identity }
  | { readonly fenced: false; readonly identity: Identity | undefined }

/**
 * Fences an identity through an epoch that the case stored before. Repeating it changes nothing. With `group`, only
 * while the identity still belongs to it.
 */
export async function fenceIdentity(
  table: Table,
  key: string,
  caseId: string,
  epoch: number,
  group: { readonly kind: GroupKind; readonly id: string } | undefined,
  by: Actor,
): Promise<FenceResult> {
  for (let round = 0; round < 20; round += 1) {
    const identity = await identityOf(table, key)
    if (identity === undefined) return { fenced: false, identity }
    if (identity.fences[caseId] !== undefined) return { fenced: true, identity }
    if (group !== undefined && identity[group.kind] !== group.id) return { fenced: false, identity }
    const oldest = Object.entries(identity.fences)
      .sort(([, one], [, other]) => (one.at < other.at ? -1 : 1))
      .slice(0, Math.max(0, Object.keys(identity.fences).length - MOST_FENCES + 1))
    const done = await table.write({
      update: identityItem(key),
      set: [
        [['fences', caseId], { epoch, at: by.at }],
        ['fencedThrough', Math.max(identity.fencedThrough, epoch)],
        ['by', actor(by)],
      ],
      remove: oldest.map(([name]) => ['fences', name]),
      if: [['v', '=', identity.v]],
    })
    if (done.ok) {
      const fenced = await identityOf(table, key)
      if (fenced !== undefined) return { fenced: true, identity: fenced }
    }
  }
  throw new Error('the identity changes faster than it can be fenced')
}

/** Fences a scope that is no identity; repeating it changes nothing. */
export async function fence(table: Table, key: { pk: string; sk: string }, caseId: string, by: Actor): Promise<Fence> {
  await table.write({ put: { ...key, kind: 'fence', fences: {}, by: actor(by) }, if: [['pk', 'absent']] })
  const done = await table.write({
    update: key,
    set: [
      [['fences', caseId], { at: by.at }],
      // A group that was reinstated is closed by the next case, never again by an old one.
      ['closed', true],
      ['by', actor(by)],
    ],
    if: [[['fences', caseId], 'absent']],
  })
  const current = done.ok ? await table.get(key) : done.current
  if (current === undefined) throw new Error('a fence vanished')
  return as('fence', current)
}

/** Fences a group, then pages through its members. */
export const fenceGroup = (table: Table, group: string, caseId: string, by: Actor) => fence(table, groupFence(group), caseId, by)

export async function members(table: Table, group: string, after: string | undefined, limit: number) {
  const page = await table.query({ pk: groupPartition(group), prefix: 'ID#', limit, ...(after === undefined ? {} : { after }) })
  return {
    identities: page.items.map((item) => ({ key: item.sk.slice(3), id: String(item.identity) })),
    ...(page.next === undefined ? {} : { next: page.next }),
  }
}

/** Lists an identity as orphaned: it stays up, and is revoked at the deadline unless somebody accepts it. */
export async function orphan(table: Table, identity: Identity, caseId: string, deadline: string, by: Actor): Promise<void> {
  await table.write({
    update: identityItem(identity.key),
    set: [
      ['orphan', { since: by.at, deadline, case: caseId, formerOwner: identity.owner }],
      ['duePk', DUE.orphan],
      ['dueAt', deadline],
      ['listPk', LIST.orphan],
      ['listAt', deadline],
      ['by', actor(by)],
    ],
    if: [
      ['orphan', 'absent'],
      ['owner', '=', identity.owner],
    ],
  })
}
