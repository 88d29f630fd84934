import type { CaseScope, ScopeRef } from '../contracts/scope.ts'
import type { Settings } from '../contracts/settings.ts'
import type { Gist } from '../domain/foresee.ts'
import { identityKey } from '../domain/keys.ts'
import { leverFate } from '../domain/levers.ts'
import type { Identity } from '../domain/model.ts'
import type { Treatment } from '../domain/treatment.ts'
import { isGuarded, treatmentOf } from '../domain/treatment.ts'
import type { GroupKind } from '../store/identities.ts'
import { identityOf, members, ownerGroup, workloadGroup } from '../store/identities.ts'
import { as } from '../store/items.ts'
import {
  belongsTo,
  identityItem,
  leverItem,
  scopeOfCredential,
  scopeOfDeployment,
  scopeOfTask,
  shardPartition,
  shardsOf,
} from '../store/keys.ts'
import type { Table } from '../store/table.ts'
import type { Facts, ForeseenCase } from './preview-facts.ts'
import { Recent } from './recent.ts'

/** An identity as the case would meet it. */
export interface Met {
  readonly identity: Identity
  readonly treatment: Treatment
  readonly because: string
  /** Reached by its other names alone. */
  readonly alias: boolean
  readonly guarded: boolean
}

export interface MetLever {
  readonly identity: string
  readonly issuer: string
  readonly lever: string
  /** Why it would not be pulled. */
  readonly why?: string
}

/** One partition that is read from its beginning to its end. */
export interface Range {
  readonly scope: ScopeRef
  readonly shard: number
}

/** How far the listing of ranges has come: behind this member of the group, so many of the next one's ranges. */
export interface Place {
  readonly after: string
  readonly done: number
}

export interface ReachSink {
  identity(met: Met): void
  lever(lever: MetLever): void
}

/** Members of a group read at a time. */
const MEMBERS = 50
const REMEMBERED = 10_000

type Group = { readonly kind: GroupKind; readonly id: string }
const groupOf = (scope: CaseScope): Group | undefined =>
  scope.kind === 'owner' || scope.kind === 'workload' ? { kind: scope.kind, id: scope.id } : undefined

/**
 * What a case names: which identities it would fence, which leases lie under its scope. Whether a lease does follows
 * from the lease's own fields and its identity's, so nothing that was met need be remembered.
 */
export function reachFor(
  { table, settings }: { readonly table: Table; readonly settings: Settings },
  facts: Facts,
  current: ForeseenCase,
) {
  const { scope } = current
  const { policy } = facts
  const group = groupOf(scope)
  const scopes = scopesOf(scope)
  const standings = new Recent<Standing>(REMEMBERED)

  interface Standing {
    readonly met: Met | undefined
    /** The member by whose other names it is reached, if it is none itself. */
    readonly via: string | undefined
  }
  const NOT_MET: Standing = { met: undefined, via: undefined }

  const standing = (key: string): Promise<Standing> =>
    standings.of(key, async () => {
      const identity = await identityOf(table, key)
      return identity === undefined ? NOT_MET : standingOf(identity)
    })

  async function standingOf(identity: Identity): Promise<Standing> {
    if (scope.kind === 'identity') return standingByName(scope.id, identity)
    if (group === undefined) return NOT_MET
    if (identity[group.kind] === group.id)
      return {
        met: metAs(
          identity,
          treatmentOf(current, policy, identity, group.kind, settings),
          `member of ${group.kind} ${group.id}`,
          false,
        ),
        via: undefined,
      }
    const names = await identities((identity.aliases ?? []).map(identityKey))
    const [via] = names
      .filter((one) => one[group.kind] === group.id && treatmentOf(current, policy, one, group.kind, settings) === 'fence')
      .sort((one, other) => (one.key < other.key ? -1 : 1))
    return via === undefined ? NOT_MET : { met: aliasOf(identity, via.id), via: via.key }
  }

  async function standingByName(named: string, identity: Identity): Promise<Standing> {
    if (identity.id === named)
      return {
        met: metAs(identity, treatmentOf(current, policy, identity, undefined, settings), 'named by the trigger', false),
        via: undefined,
      }
    if (identity.aliases?.includes(named) !== true || facts.exempt(named)) return NOT_MET
    return { met: aliasOf(identity, named), via: identityKey(named) }
  }

  const metAs = (identity: Identity, treatment: Treatment, because: string, alias: boolean): Met => ({
    identity,
    treatment,
    because,
    alias,
    guarded: isGuarded(settings, identity),
  })
  const aliasOf = (identity: Identity, of: string): Met =>
    metAs(identity, treatmentOf(current, policy, identity, undefined, settings), `other name of ${of}`, true)

  async function identities(keys: readonly string[]): Promise<Identity[]> {
    const items = await table.getMany(keys.map(identityItem))
    return items.flatMap((item) => (item === undefined ? [] : [as('identity', item)]))
  }

  /** Whether the lease lies under the scope itself, and is not only connected with what does. */
  async function base(lease: Gist): Promise<boolean> {
    if (scopes !== undefined) return scopes.some((one) => belongsTo(lease, shardPartition(one, 0)))
    const { met } = await standing(lease.identityKey)
    return met !== undefined && met.treatment === 'fence' && lease.epoch <= met.identity.epoch
  }

  /** Whether the partition is one that this case would list. */
  async function lists(one: ScopeRef): Promise<boolean> {
    if (scopes !== undefined) return scopes.includes(one)
    const [kind, key = ''] = one.split('#')
    return kind === 'identity' && (await standing(key)).met?.treatment === 'fence'
  }

  /**
   * The partitions that the case would list, from a place on; with a member's first one, the member and its other names
   * are told to the sink. Between members it gives `undefined`, so that whoever asks can stop.
   */
  async function* ranges(from: Place, sink: ReachSink): AsyncGenerator<{ readonly range?: Range; readonly place: Place }> {
    if (scopes !== undefined) {
      yield* emit(scopes, from)
      return
    }
    if (group === undefined) {
      const known = scope.kind === 'identity' ? await identityOf(table, identityKey(scope.id)) : undefined
      if (known !== undefined) yield* member(known, from, sink)
      return
    }
    let { after, done } = from
    for (;;) {
      const name = group.kind === 'owner' ? ownerGroup(group.id) : workloadGroup(group.id)
      const page = await members(table, name, after === '' ? undefined : after, MEMBERS)
      for (const known of await identities(page.identities.map(({ key }) => key))) {
        yield* member(known, { after, done }, sink)
        after = `ID#${known.key}`
        done = 0
        yield { place: { after, done } }
      }
      if (page.next === undefined) return
      after = page.next
    }
  }

  async function* member(known: Identity, from: Place, sink: ReachSink) {
    const own = await standingOf(known)
    if (own.met === undefined) return
    const met = [own.met]
    // As the planner does: the other names of what is fenced, and of nothing else.
    if (own.met.treatment === 'fence')
      for (const alias of await identities((known.aliases ?? []).map(identityKey))) {
        const other = await standingOf(alias)
        if (other.met !== undefined && other.via === known.key) met.push(other.met)
      }
    const fenced = met.filter(({ treatment }) => treatment === 'fence')
    if (from.done === 0) {
      for (const one of met) sink.identity(one)
      for (const one of fenced) await levers(one.identity, sink)
    }
    yield* emit(
      fenced.map(({ identity }): ScopeRef => `identity#${identity.key}`),
      from,
    )
  }

  async function* emit(over: readonly ScopeRef[], from: Place) {
    let done = 0
    for (const one of over)
      for (let shard = 0; shard < shardsOf(one); shard += 1) {
        done += 1
        if (done > from.done) yield { range: { scope: one, shard }, place: { after: from.after, done } }
      }
  }

  async function levers(identity: Identity, sink: ReachSink): Promise<void> {
    const wanted: { about: MetLever; alone: boolean }[] = []
    for (const [issuer, known] of Object.entries(identity.issuers)) {
      const keys = Object.keys(known.levers)
      if (keys.length === 0) continue
      const { configured } = await facts.issuer(issuer)
      const fate = leverFate(current, policy, identity, issuer, known, configured)
      for (const lever of keys) {
        const about = { identity: identity.id, issuer, lever }
        if (fate.pull === 'no') sink.lever({ ...about, why: fate.why })
        else wanted.push({ about, alone: fate.pull === 'alone' })
      }
    }
    const items = await table.getMany(wanted.map(({ about }) => leverItem(about.lever)))
    for (const [index, { about, alone }] of wanted.entries()) {
      const item = items[index]
      const { identities: hang = {}, count = 0 } = item === undefined ? {} : as('lever-holders', item)
      if (Object.values(hang).some(facts.exempt)) sink.lever({ ...about, why: 'an exempt identity hangs on it' })
      else sink.lever(!alone || count === 1 ? about : { ...about, why: hangsOnIt(count - 1) })
    }
  }

  return { base, lists, ranges }
}
export type Reach = ReturnType<typeof reachFor>

const hangsOnIt = (others: number): string =>
  others === 1 ? 'another identity hangs on it' : `${Math.max(others, 0)} other identities hang on it`

/** The scopes that leases are found by, where no identity is in between. */
function scopesOf(scope: CaseScope): ScopeRef[] | undefined {
  switch (scope.kind) {
    case 'deployment':
      return [scopeOfDeployment(scope.namespace, scope.id)]
    case 'task':
      return [scopeOfTask(scope.namespace, scope.id)]
    case 'credential':
      return [scopeOfCredential(scope.fingerprint)]
    case 'credential-name':
      return scope.candidates.map(({ fingerprint }) => scopeOfCredential(fingerprint))
    default:
      return undefined
  }
}
