import { key } from '../domain/keys.ts'
import type { Actor, Identity } from '../domain/model.ts'
import { actor, identityOf } from './identities.ts'
import { identityItem, LIST } from './keys.ts'
import type { Item, Table, Write } from './table.ts'

/** Names of one workload. A link is proposed by one operator and approved by another; then each name knows all others. */

export interface AliasProposal {
  readonly id: string
  readonly names: readonly string[]
  readonly reason: string
  readonly proposedBy: string
  readonly at: string
}

const proposalItem = (id: string) => ({ pk: `ALIAS#${id}`, sk: 'ALIAS' })

/** The same names are the same proposal, whoever makes it and in whatever order. */
export const proposalId = (names: readonly string[]): string => key('alias', ...[...names].sort())

const proposalOf = (item: Item): AliasProposal => ({
  id: String(item.id),
  names: Array.isArray(item.names) ? item.names.map(String) : [],
  reason: String(item.reason),
  proposedBy: String(item.proposedBy),
  at: String(item.at),
})

/** Writes a proposal; one that is there stays as it is. */
export async function proposeAlias(table: Table, names: readonly string[], by: Actor): Promise<AliasProposal> {
  const id = proposalId(names)
  const put: Item = {
    ...proposalItem(id),
    kind: 'alias',
    id,
    names: [...names].sort(),
    reason: by.why,
    proposedBy: by.who,
    at: by.at,
    state: 'proposed',
    listPk: LIST.alias,
    listAt: by.at,
    by: actor(by),
  }
  const done = await table.write({ put, if: [['pk', 'absent']] })
  return proposalOf(done.ok ? put : (done.current ?? put))
}

export async function aliasProposal(table: Table, id: string): Promise<AliasProposal | undefined> {
  const item = await table.get(proposalItem(id))
  return item === undefined || item.state !== 'proposed' ? undefined : proposalOf(item)
}

export async function aliasProposals(
  table: Table,
  page: { readonly limit: number; readonly cursor?: string | undefined },
): Promise<{ entries: AliasProposal[]; next?: string }> {
  const found = await table.index({
    index: 'list',
    partition: LIST.alias,
    limit: page.limit,
    descending: true,
    ...(page.cursor === undefined ? {} : { cursor: page.cursor }),
  })
  return { entries: found.items.map(proposalOf), ...(found.cursor === undefined ? {} : { next: found.cursor }) }
}

export async function rejectAlias(table: Table, id: string, by: Actor): Promise<boolean> {
  const done = await table.write({
    update: proposalItem(id),
    set: [
      ['state', 'rejected'],
      ['by', actor(by)],
    ],
    remove: ['listPk', 'listAt'],
    if: [['state', '=', 'proposed']],
  })
  return done.ok
}

export type Linked =
  | { readonly kind: 'linked'; readonly identities: readonly Identity[] }
  /** A name of the set is fenced: what its case reaches is settled already. */
  | { readonly kind: 'fenced'; readonly cases: readonly string[] }
  | { readonly kind: 'differs'; readonly said: string }
  /** Somebody changed an identity meanwhile: try again. */
  | { readonly kind: 'changed' }

/** Names of one workload at most: a case fences all of them before anything else. */
export const MOST_NAMES = 10

/**
 * Links names in one transaction (protocol 13): conditional on each identity being as read and not fenced. A case that
 * fences one of them before is met here; one that fences it afterwards reads the alias with its fence standing.
 */
export async function linkAliases(table: Table, proposal: AliasProposal, keys: readonly string[], by: Actor): Promise<Linked> {
  const named: Identity[] = []
  for (const one of keys) {
    const identity = await identityOf(table, one)
    if (identity === undefined) return { kind: 'differs', said: 'each name must be a declared identity' }
    named.push(identity)
  }
  // Whoever is linked to one of them is linked to all of them.
  const set = new Map(named.map((identity) => [identity.id, identity]))
  for (const { aliases = [] } of named)
    for (const alias of aliases) {
      const known = set.get(alias) ?? (await identityOf(table, key('identity', alias)))
      if (known !== undefined) set.set(alias, known)
    }
  const all = [...set.values()]
  if (all.length > MOST_NAMES) return { kind: 'differs', said: `one workload has ${MOST_NAMES} names at most` }
  const [first] = all
  if (all.some(({ owner, workload }) => owner !== first?.owner || workload !== first?.workload))
    return { kind: 'differs', said: 'names of one workload have one owner and one workload: declare them alike first' }
  if (all.some(({ ownerLeaves }) => ownerLeaves !== first?.ownerLeaves))
    return { kind: 'differs', said: "names of one workload agree on what their owner's leaving means: declare them alike first" }
  const fenced = all.filter(({ epoch, fencedThrough }) => fencedThrough >= epoch)
  if (fenced.length > 0) return { kind: 'fenced', cases: fenced.flatMap(({ fences }) => Object.keys(fences)) }
  const names = all.map(({ id }) => id).sort()
  const guarded = all.some((identity) => identity.protected)
  const done = await table.transact([
    ...all.map(
      (identity): Write => ({
        update: identityItem(identity.key),
        set: [
          ['aliases', names.filter((name) => name !== identity.id)],
          // What must not be hit under one name must not be hit under another.
          ['protected', guarded],
          ['by', actor(by)],
        ],
        if: [['v', '=', identity.v]],
      }),
    ),
    {
      update: proposalItem(proposal.id),
      set: [
        ['state', 'approved'],
        ['by', actor(by)],
      ],
      remove: ['listPk', 'listAt'],
      if: [['state', '=', 'proposed']],
    },
  ])
  if (!done.ok) return { kind: 'changed' }
  return { kind: 'linked', identities: all }
}

/** Takes one name out of its set, in one transaction over the set. `undefined`: somebody changed it meanwhile. */
export async function unlinkAlias(table: Table, identity: Identity, by: Actor): Promise<boolean> {
  const others: Identity[] = []
  for (const alias of identity.aliases ?? []) {
    const other = await identityOf(table, key('identity', alias))
    if (other !== undefined) others.push(other)
  }
  const done = await table.transact([
    { update: identityItem(identity.key), remove: ['aliases'], set: [['by', actor(by)]], if: [['v', '=', identity.v]] },
    ...others.map((other): Write => {
      const left = (other.aliases ?? []).filter((name) => name !== identity.id)
      return {
        update: identityItem(other.key),
        set: [...(left.length === 0 ? [] : [['aliases', left] as const]), ['by', actor(by)]],
        remove: left.length === 0 ? ['aliases'] : [],
        if: [['v', '=', other.v]],
      }
    }),
  ])
  return done.ok
}
