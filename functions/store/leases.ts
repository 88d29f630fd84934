import type { Outcome } from '../contracts/outcome.ts'
import type { Lane } from '../contracts/primitives.ts'
import type { ScopeRef } from '../contracts/scope.ts'
import { parentKey, SHARDS, shardOf } from '../domain/keys.ts'
import type { Actor, Credential, Identity, Lease } from '../domain/model.ts'
import { after, later, secondsUntil } from '../domain/time.ts'
import { concerning } from './concerning.ts'
import { actor, plain } from './identities.ts'
import { as, faultOf, keyOf, read } from './items.ts'
import {
  credentialItem,
  DUE,
  fenceItem,
  identityItem,
  LIST,
  leaseItem,
  leaseOfSort,
  leaseSort,
  scopeOfChildren,
  scopeOfCredential,
  scopesOf,
  shardPartition,
  shardsOf,
} from './keys.ts'
import type { Check, Condition, Item, ItemKey, Table, Update, Write } from './table.ts'

export type NewLease = Omit<
  Lease,
  | 'pk'
  | 'sk'
  | 'kind'
  | 'v'
  | 'by'
  | 'state'
  | 'acknowledged'
  | 'generation'
  | 'unanswered'
  | 'claims'
  | 'outcomes'
  | 'holder'
  | 'ended'
>

export const leaseOf = (table: Table, id: string): Promise<Lease | undefined> => read(table, 'lease', leaseItem(id))
export const credentialOf = (table: Table, fingerprint: string): Promise<Credential | undefined> =>
  read(table, 'credential', credentialItem(fingerprint))

/** @param unreadable told of an item that is no lease of this schema, which is left out; without it, that is an error */
export async function leasesOf(
  table: Table,
  ids: readonly string[],
  unreadable?: (item: ItemKey) => void,
): Promise<Map<string, Lease>> {
  const found = new Map<string, Lease>()
  for (const item of await table.getMany(ids.map(leaseItem))) {
    if (item === undefined) continue
    if (unreadable !== undefined && faultOf('lease', item) !== undefined) unreadable(keyOf(item))
    else found.set(as('lease', item).id, as('lease', item))
  }
  return found
}

export async function credentialsOf(table: Table, fingerprints: readonly string[]): Promise<Map<string, Credential>> {
  const unique = [...new Set(fingerprints)]
  const items = await table.getMany(unique.map(credentialItem))
  return new Map(
    items.flatMap((item, index) => (item === undefined ? [] : [[unique[index] ?? '', as('credential', item)] as const])),
  )
}

/** Pointers come first, so that whoever sees the lease can find it by every scope (protocol 1). */
export async function writePointers(table: Table, lease: NewLease, by: Actor): Promise<void> {
  await table.putAll(
    scopesOf(lease).map((scope) => ({
      pk: shardPartition(scope, shardOf(lease.id, shardsOf(scope))),
      sk: leaseSort(lease.issuer, lease.id),
      kind: 'pointer',
      lease: lease.id,
      by: actor(by),
    })),
  )
}

export type Recorded =
  | { readonly ok: true; readonly lease: Lease }
  | { readonly ok: false; readonly refusal: 'being-cut' | 'exclusive' }

/**
 * Writes the lease as `registering`, with its deadline, in one transaction with its credential's count of holders. A
 * repeated call finds the lease that is there.
 *
 * @param unheld record it without a place at its credential, which is being cut: it is to be handed over to the case that cuts it
 */
export async function recordLease(table: Table, lease: NewLease, unheld: boolean, by: Actor): Promise<Recorded> {
  const item: Item = {
    ...leaseItem(lease.id),
    ...(plain(lease) as Record<string, Item[string]>),
    kind: 'lease',
    ...(unheld ? { unheld: true } : {}),
    state: 'registering',
    acknowledged: false,
    generation: 0,
    unanswered: false,
    claims: {},
    outcomes: {},
    duePk: DUE.registration(lease.id),
    dueAt: lease.registerBy,
    by: actor(by),
  }
  const key = credentialItem(lease.fingerprint)
  const holder: Write =
    lease.sharing === 'exclusive'
      ? {
          put: { ...key, kind: 'credential', holders: 1, exclusive: true, cutting: false, lease: lease.id, by: actor(by) },
          if: [['pk', 'absent']],
        }
      : {
          update: key,
          setOnce: [
            ['kind', 'credential'],
            ['exclusive', false],
            ['cutting', false],
          ],
          set: [['by', actor(by)]],
          add: [['holders', 1]],
          if: [
            {
              or: [
                ['cutting', 'absent'],
                ['cutting', '=', false],
              ],
            },
            {
              or: [
                ['exclusive', 'absent'],
                ['exclusive', '=', false],
              ],
            },
          ],
        }
  // A credential that is being given back takes nobody in that its restoration would not see.
  const stillCut: Check = {
    check: key,
    if: [
      ['cutting', '=', true],
      ['restoring', 'absent'],
    ],
  }
  const done = await table.transact([{ put: item, if: [['pk', 'absent']] }, unheld ? stillCut : holder])
  if (done.ok) return { ok: true, lease: as('lease', { ...item, v: 1 }) }
  const existing = await leaseOf(table, lease.id)
  if (existing !== undefined) return { ok: true, lease: existing }
  const credential = await credentialOf(table, lease.fingerprint)
  return { ok: false, refusal: credential?.cutting === true ? 'being-cut' : 'exclusive' }
}

/**
 * Opens a credential that many leases name to new grants when the cut of the last one is over: no lease of it is in force
 * or being cut. `false`: it is not over, or it changed meanwhile.
 */
export async function reopenCredential(table: Table, fingerprint: string, by: Actor): Promise<boolean> {
  const credential = await credentialOf(table, fingerprint)
  if (credential === undefined || credential.exclusive || credential.holders > 0 || credential.restoring !== undefined)
    return false
  for await (const lease of holdersOf(table, fingerprint)) if (lease.state !== 'ended' && lease.state !== 'released') return false
  const done = await table.write({
    update: credentialItem(fingerprint),
    set: [
      ['cutting', false],
      ['by', actor(by)],
    ],
    remove: ['cut', 'deletion'],
    if: [['v', '=', credential.v]],
  })
  return done.ok
}

/** The leases of a credential as they stand now; pointers without a lease are passed over. */
export async function* holdersOf(table: Table, fingerprint: string): AsyncGenerator<Lease> {
  const scope = scopeOfCredential(fingerprint)
  for (let shard = 0; shard < shardsOf(scope); shard += 1) {
    let after: string | undefined
    do {
      const page = await table.query({
        pk: shardPartition(scope, shard),
        limit: 100,
        ...(after === undefined ? { prefix: 'L#' } : { after, to: 'L#~' }),
      })
      const leases = await leasesOf(
        table,
        page.items.map((item) => leaseOfSort(item.sk).lease),
      )
      for (const lease of leases.values()) if (lease.fingerprint === fingerprint) yield lease
      after = page.next
    } while (after !== undefined)
  }
}

export interface Look {
  readonly identity: Identity | undefined
  readonly parent: Lease | undefined
  /** The cases whose fences cover the lease, without those that may only watch it. */
  readonly cases: readonly string[]
  /** Those: they refuse it nothing, but may cut what is delegated from it elsewhere. */
  readonly watched: readonly string[]
}

/** Reads the fences of all scopes of a lease, strongly consistent: the second half of "write, then look". */
export async function look(
  table: Table,
  lease: Pick<Lease, 'identityKey' | 'epoch' | 'fingerprint' | 'issuer'> &
    Partial<Pick<Lease, 'environment' | 'outcomes' | 'task' | 'deployment' | 'parent' | 'pardons'>>,
): Promise<Look> {
  const scopes = scopesOf({
    fingerprint: lease.fingerprint,
    ...(lease.task === undefined ? {} : { task: lease.task }),
    ...(lease.deployment === undefined ? {} : { deployment: lease.deployment }),
    ...(lease.parent === undefined ? {} : { parent: lease.parent }),
  })
  const [meta, credentialFound, parentItem, ...fences] = await table.getMany([
    identityItem(lease.identityKey),
    credentialItem(lease.fingerprint),
    lease.parent === undefined ? identityItem(lease.identityKey) : leaseItem(lease.parent),
    ...scopes.map(fenceItem),
  ])
  const identity = meta === undefined ? undefined : as('identity', meta)
  const parent = lease.parent === undefined || parentItem === undefined ? undefined : as('lease', parentItem)
  const credential = credentialFound === undefined ? undefined : as('credential', credentialFound)
  // What may be delegated again from a parent that was given back is no business of the case that was undone, nor who
  // else takes a credential that was. Whom the case fenced himself, it keeps fenced.
  const pardoned = new Map<ScopeRef, Lease['pardons']>([[scopeOfCredential(lease.fingerprint), credential?.pardons]])
  if (lease.parent !== undefined) pardoned.set(scopeOfChildren(lease.parent), parent?.pardons)
  const cases = new Set<string>()
  if (identity !== undefined && identity.fencedThrough >= lease.epoch)
    for (const [id, { epoch }] of Object.entries(identity.fences)) if (epoch >= lease.epoch) cases.add(id)
  for (const [index, scope] of scopes.entries()) {
    const fence = fences[index]
    if (fence === undefined) continue
    for (const id of Object.keys(as('fence', fence).fences)) if (pardoned.get(scope)?.[id] === undefined) cases.add(id)
  }
  for (const id of Object.keys(lease.pardons ?? {})) cases.delete(id)
  const concerned = await concerning(table, lease, [...cases])
  return { identity, parent, cases: concerned, watched: [...cases].filter((id) => !concerned.includes(id)) }
}

/** The acknowledgement: registering to live, conditional. `undefined`: it is something else by now. */
export async function acknowledge(table: Table, lease: Lease, by: Actor): Promise<Lease | undefined> {
  const done = await table.write({
    update: leaseItem(lease.id),
    set: [
      ['state', 'live'],
      ['acknowledged', true],
      ['duePk', DUE.expiry(lease.issuer, lease.id)],
      ['dueAt', lease.expiresAt],
      ['by', actor(by)],
    ],
    if: [['state', '=', 'registering']],
  })
  // As it stands now, but for what others may have written since it was read: nobody asks for that here.
  if (done.ok) return { ...lease, state: 'live', acknowledged: true, v: lease.v + 1, by }
  const current = await leaseOf(table, lease.id)
  return current?.state === 'live' ? current : undefined
}

/** An intent that met a fence: nothing exists and nothing may be minted, so it ends without a case. Its place is given back. */
export async function refuseIntent(table: Table, lease: Lease, ttl: number, by: Actor): Promise<boolean> {
  const done = await table.transact([
    {
      update: leaseItem(lease.id),
      set: [
        ['state', 'ended'],
        ['ttl', ttl],
        ['by', actor(by)],
      ],
      remove: ['duePk', 'dueAt'],
      if: [['state', '=', 'registering']],
    },
    lease.sharing === 'shared'
      ? { update: credentialItem(lease.fingerprint), add: [['holders', -1]] }
      : { delete: credentialItem(lease.fingerprint), if: [['lease', '=', lease.id]] },
  ])
  return done.ok
}

/** A change of a live lease by its holder; `false` where it is not live any more. */
export async function changeLive(
  table: Table,
  lease: Lease,
  change: Pick<Update, 'set' | 'remove'>,
  conditions: Update['if'],
  by: Actor,
): Promise<boolean> {
  const done = await table.write({
    update: leaseItem(lease.id),
    set: [...(change.set ?? []), ['by', actor(by)]],
    remove: change.remove ?? [],
    if: [['state', '=', 'live'], ['generation', '=', lease.generation], ...(conditions ?? [])],
  })
  return done.ok
}

/** Gives a grant back: the credential has other holders and stays. */
export function releaseOperations(
  lease: Lease,
  credential: Credential,
  asker: { readonly case: string; readonly unit: string },
  outcome: Outcome,
  ttl: number,
  by: Actor,
): Write[] {
  return [
    {
      update: leaseItem(lease.id),
      set: [
        ['state', 'released'],
        [['claims', asker.case], asker.unit],
        [['outcomes', asker.case], plain(outcome)],
        ['ttl', ttl],
        ['by', actor(by)],
      ],
      remove: ['duePk', 'dueAt', 'listPk', 'listAt'],
      if: asTaken(lease),
    },
    {
      update: credentialItem(lease.fingerprint),
      add: [['holders', -1]],
      set: [['by', actor(by)]],
      if: [
        ['holders', '=', credential.holders],
        ['cutting', '=', false],
      ],
    },
  ]
}

const asRead = (lease: Lease) => [['state', '=', lease.state] as const, ['generation', '=', lease.generation] as const]
/** A renewal moves neither state nor generation; one that came between the look and the claim beats it (protocol 11). */
const asTaken = (lease: Lease) => [...asRead(lease), ['expiresAt', '=', lease.expiresAt] as const]

/**
 * Takes a lease for a case: the write that precedes the effect, and so its intent (`unanswered`). Where it holds a place at a shared
 * credential, the place is given back in the same transaction and the credential is marked as being cut.
 */
export function claimOperations(
  lease: Lease,
  givesBack: Credential | undefined,
  asker: { readonly case: string; readonly lane: Lane; readonly unit: string; readonly unanswered: boolean },
  by: Actor,
): Write[] {
  const claim: Update = {
    update: leaseItem(lease.id),
    set: [
      ['state', 'cutting'],
      ['holder', { case: asker.case, lane: asker.lane }],
      ['unanswered', asker.unanswered],
      [['claims', asker.case], asker.unit],
      ['by', actor(by)],
    ],
    add: [['generation', 1]],
    remove: ['duePk', 'dueAt', 'listPk', 'listAt', 'ttl', 'left', 'revived'],
    if: asTaken(lease),
  }
  // Whoever takes one holder from a restoration takes the credential from it: the others are not given back.
  if (lease.state === 'restoring' && lease.sharing === 'shared')
    return [claim, { update: credentialItem(lease.fingerprint), remove: ['restoring'], set: [['by', actor(by)]] }]
  if (givesBack === undefined) return [claim]
  return [
    claim,
    {
      update: credentialItem(lease.fingerprint),
      add: [['holders', -1]],
      set: [
        ['cutting', true],
        ['by', actor(by)],
      ],
      if: [
        ['holders', '=', givesBack.holders],
        ['cutting', '=', givesBack.cutting],
      ],
    },
  ]
}

/**
 * Marks the intent of another attempt on a lease that is ours already. A message that came twice may have a second worker
 * at it: by the generation it learns that it was not the only one.
 */
export const intend = (lease: Lease, by: Actor): Write => ({
  update: leaseItem(lease.id),
  set: [
    ['unanswered', true],
    ['by', actor(by)],
  ],
  add: [['generation', 1]],
  if: asRead(lease),
})

/** The attempt was answered and did nothing: it leaves no doubt behind. */
export const answered = (lease: Lease, said: string, by: Actor): Write => ({
  update: leaseItem(lease.id),
  set: [
    ['unanswered', false],
    ['by', actor({ ...by, why: said })],
  ],
  if: asRead(lease),
})

const DAY_SECONDS = 86400

/** What stays parked is tried ever less often: after as long as it has been parked by then, and at least daily. */
function retryAt({ parkedSince }: Lease, earliest: string, now: string): string {
  if (parkedSince === undefined) return earliest
  return later(earliest, after(now, Math.min(DAY_SECONDS, secondsUntil(now, parkedSince))))
}

/**
 * The final outcome of a lease in the case that holds it, conditional on its generation.
 *
 * @param parkedRetryAt when a parked lease is tried again for the first time
 */
export function finish(lease: Lease, caseId: string, outcome: Outcome, ttl: number, parkedRetryAt: string, by: Actor): Write {
  const isParked = outcome.outcome === 'parked'
  return {
    update: leaseItem(lease.id),
    set: [
      ['state', isParked ? 'cutting' : 'ended'],
      [['outcomes', caseId], plain(outcome)],
      ['unanswered', isParked ? lease.unanswered : false],
      ['by', actor(by)],
      ...(isParked
        ? ([
            ['duePk', DUE.parked],
            ['dueAt', retryAt(lease, parkedRetryAt, by.at)],
            ['listPk', LIST.parked],
            ['listAt', outcome.at],
          ] as const)
        : ([
            ['ended', endOf(caseId, outcome)],
            ['ttl', ttl],
          ] as const)),
    ],
    setOnce: isParked ? [['parkedSince', outcome.at]] : [],
    // It stays in its state: whoever is at it as well, and is answered later, must not end what is counted as parked.
    add: isParked ? [['generation', 1]] : [],
    remove: ['holder', ...(isParked ? [] : ['unsettledUntil', 'parkedSince'])],
    if: asRead(lease),
  }
}

/**
 * The whole of a lease's way in a case in one write, where the intent stands in its chunk: claimed, cut and ended. It
 * holds only for the very version that was read, so whoever did anything to the lease since (renewed it, gave it back,
 * claimed it, took it) stops it.
 */
export function finishAtOnce(
  lease: Lease,
  asker: { readonly case: string; readonly unit: string },
  outcome: Outcome,
  ttl: number,
  by: Actor,
): Update {
  return {
    update: leaseItem(lease.id),
    set: [
      ['state', 'ended'],
      [['claims', asker.case], asker.unit],
      [['outcomes', asker.case], plain(outcome)],
      ['ended', endOf(asker.case, outcome)],
      ['ttl', ttl],
      ['by', actor(by)],
    ],
    add: [['generation', 1]],
    remove: ['duePk', 'dueAt', 'listPk', 'listAt', 'left', 'revived'],
    if: [
      ['v', '=', lease.v],
      ['state', '=', 'live'],
      [['claims', asker.case], 'absent'],
    ],
  }
}

const endOf = (id: string, outcome: Outcome) => ({
  case: id,
  outcome: outcome.outcome,
  at: outcome.at,
  ...(outcome.livesUntil === undefined ? {} : { livesUntil: outcome.livesUntil }),
})

/**
 * Another case found gone what this one had cut: its word stays true for it, this one's is `revoked`, and the lease was
 * ended by this one, so that the soak time, a restoration and the watch know whose cut it was.
 */
export const endAsOwn = (
  lease: Lease,
  asker: { readonly case: string; readonly unit: string },
  outcome: Outcome,
  by: Actor,
): Update => ({
  update: leaseItem(lease.id),
  set: [
    [['outcomes', asker.case], plain(outcome)],
    [['claims', asker.case], asker.unit],
    ['ended', endOf(asker.case, outcome)],
    ['by', actor(by)],
  ],
  if: [...asRead(lease), [['ended', 'outcome'], '=', 'absent'], mayCount(lease, asker)],
})

/** What another case did to the lease is this case's outcome too. */
export const copyOutcome = (
  lease: Lease,
  asker: { readonly case: string; readonly unit: string },
  outcome: Outcome,
  by: Actor,
): Write => ({
  update: leaseItem(lease.id),
  set: [
    [['outcomes', asker.case], plain(outcome)],
    [['claims', asker.case], asker.unit],
    ['by', actor(by)],
  ],
  if: [...asRead(lease), mayCount(lease, asker)],
})

/**
 * What moves neither state nor generation is kept from being counted by a second unit of the case by the claim itself.
 * Only the unit that tries again what another one parked, or watched, takes the claim over, as it was read.
 */
export function mayCount(lease: Lease, { case: id, unit }: { readonly case: string; readonly unit: string }): Condition {
  const known = lease.outcomes[id]?.outcome
  const again = known === 'parked' || known === 'observed' ? lease.claims[id] : undefined
  return {
    or: [
      [['claims', id], 'absent'],
      [['claims', id], '=', unit],
      ...(again === undefined ? [] : [[['claims', id], '=', again] as const]),
    ],
  }
}

/** A compromise marks the credential first, so that no grant is added while its holders are ended (protocol 8). */
export async function markCutting(table: Table, fingerprint: string, by: Actor): Promise<void> {
  await table.write({
    update: credentialItem(fingerprint),
    set: [
      ['cutting', true],
      ['by', actor(by)],
    ],
    remove: ['restoring'],
    if: [
      ['pk', 'exists'],
      {
        or: [
          ['cutting', '=', false],
          ['restoring', 'exists'],
        ],
      },
    ],
  })
}

/** Remembers by which lease a shared credential was cut, for the other holders' evidence. */
export async function noteCut(table: Table, lease: Lease, caseId: string, at: string, by: Actor): Promise<void> {
  await table.write({
    update: credentialItem(lease.fingerprint),
    set: [
      ['cut', { case: caseId, lease: lease.id, at }],
      ['by', actor(by)],
    ],
    if: [
      ['pk', 'exists'],
      ['cut', 'absent'],
    ],
  })
}

/** Where the leases of an identity lie. */
export const identityShards = (identity: string): string[] =>
  Array.from({ length: SHARDS.identity }, (_, shard) => shardPartition(`identity#${identity}`, shard))

/** What is left to delete when a lease leaves the table: its pointers, and the item of a credential that only it held. */
export function remains(
  lease: Pick<Lease, 'id' | 'issuer' | 'fingerprint' | 'sharing' | 'task' | 'deployment' | 'parent' | 'delegable'>,
): Write[] {
  const pointers: Write[] = scopesOf({
    fingerprint: lease.fingerprint,
    ...(lease.task === undefined ? {} : { task: lease.task }),
    ...(lease.deployment === undefined ? {} : { deployment: lease.deployment }),
    ...(lease.parent === undefined ? {} : { parent: lease.parent }),
  }).map((scope) => ({
    delete: { pk: shardPartition(scope, shardOf(lease.id, shardsOf(scope))), sk: leaseSort(lease.issuer, lease.id) },
  }))
  if (lease.sharing === 'exclusive') pointers.push({ delete: credentialItem(lease.fingerprint), if: [['lease', '=', lease.id]] })
  if (lease.delegable) pointers.push({ delete: fenceItem(`parent#${parentKey(lease.id)}`) })
  return pointers
}
