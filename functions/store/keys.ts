import type { ScopeRef } from '../contracts/scope.ts'
import { deploymentKey, parentKey, parseLeaseId, SHARDS, shardOf, taskKey } from '../domain/keys.ts'
import type { Chunk, Coverage, WorkScope } from '../domain/model.ts'
import type { ItemKey } from './table.ts'

/** Where everything lies: the only place that writes key text. Every part is a hash or a narrow name, so `#` is never ambiguous. */

export const identityItem = (identity: string): ItemKey => ({ pk: `ID#${identity}`, sk: 'META' })
export const groupPartition = (group: string) => `GROUP#${group}`
export const membership = (group: string, identity: string): ItemKey => ({ pk: groupPartition(group), sk: `ID#${identity}` })
export const groupFence = (group: string): ItemKey => ({ pk: groupPartition(group), sk: 'FENCE' })
export const fenceItem = (scope: ScopeRef): ItemKey => ({ pk: `FENCE#${scope}`, sk: 'FENCE' })
export const shardPartition = (scope: ScopeRef, shard: number) => `SCOPE#${scope}#${shard}`
export const credentialItem = (fingerprint: string): ItemKey => ({ pk: `CRED#${fingerprint}`, sk: 'CRED' })
export const leverItem = (lever: string): ItemKey => ({ pk: `LEVER#${lever}`, sk: 'LEVER' })
export const eventItem = (event: string): ItemKey => ({ pk: `EVENT#${event}`, sk: 'EVENT' })
export const casePartition = (id: string) => `CASE#${id}`
export const caseItem = (id: string): ItemKey => ({ pk: casePartition(id), sk: 'CASE' })
export const unitItem = (id: string, scope: ScopeRef): ItemKey => ({ pk: casePartition(id), sk: `UNIT#${scope}` })
export const caseLever = (id: string, identity: string, lever: string): ItemKey => ({
  pk: casePartition(id),
  sk: `LEVER#${identity}#${lever}`,
})
export const askItem = (id: string, issuer: string): ItemKey => ({ pk: casePartition(id), sk: `ASK#${issuer}` })
export const amendment = (id: string, lease: string): ItemKey => ({ pk: casePartition(id), sk: `AMEND#${lease}` })
/** `<scope>#<shard>`, as messages name it. */
export const progressName = (scope: ScopeRef, shard: number) => `${scope}#${shard}`
export const progressPartition = (id: string, progress: string) => `CASE#${id}#${progress}`
export const progressItem = (id: string, progress: string): ItemKey => ({ pk: progressPartition(id, progress), sk: 'PROGRESS' })
export const chunkItem = (id: string, progress: string, chunk: string): ItemKey => ({
  pk: progressPartition(id, progress),
  sk: `CHUNK#${chunk}`,
})
export const issuerItem = (name: string): ItemKey => ({ pk: `ISSUER#${name}`, sk: 'ISSUER' })
/** When the sweeper was last seen, and the table's generation. */
export const heartbeatItem = (): ItemKey => ({ pk: 'CONTROL#sweep', sk: 'CONTROL' })
export const OUTAGES = 'OUTAGE'
/** Sorted by the last moment that they can matter. */
export const outageItem = (reach: string, from: string, to: string): ItemKey => ({ pk: OUTAGES, sk: `${reach}#${from}#${to}` })
export const controlItem = (): ItemKey => ({ pk: 'CONTROL#installation', sk: 'CONTROL' })
export const fuseItem = (source: string): ItemKey => ({ pk: `FUSE#${source}`, sk: 'FUSE' })
/** What was driven back from a dead-letter queue, by logical name. */
export const deadLettersItem = (queue: string): ItemKey => ({ pk: `DEADLETTERS#${queue}`, sk: 'REDRIVE' })
/** Why a message went to the dead letters, by its id in the queue. */
export const deadLetterNote = (message: string): ItemKey => ({ pk: `DEADLETTER#${message}`, sk: 'NOTE' })
export const estateItem = (): ItemKey => ({ pk: 'ESTATE#installation', sk: 'ESTATE' })
export const campaignItem = (id: string): ItemKey => ({ pk: `CAMPAIGN#${id}`, sk: 'CAMPAIGN' })
/** Ten thousand cases of one campaign come at once: its list is spread. */
export const CAMPAIGN_SHARDS = 16
export const campaignPartition = (id: string, shard: number) => `CAMPAIGN#${id}#${shard}`
export const campaignMember = (id: string, caseId: string): ItemKey => ({
  pk: campaignPartition(id, shardOf(caseId, CAMPAIGN_SHARDS)),
  sk: `CASE#${caseId}`,
})
/** Shows operators that a case or a campaign waits for a decision. */
export const heldCaseItem = (id: string): ItemKey => ({ pk: casePartition(id), sk: 'HELD' })
export const heldCampaignItem = (id: string): ItemKey => ({ pk: `CAMPAIGN#${id}`, sk: 'HELD' })
export const breakerItem = (name: string): ItemKey => ({ pk: `LIMIT#${name}`, sk: 'BREAKER' })
export const limiterItem = (name: string): ItemKey => ({ pk: `LIMIT#${name}`, sk: 'LIMITER' })

export const restorationItem = (id: string): ItemKey => ({ pk: `RESTORE#${id}`, sk: 'RESTORATION' })
export const restorationPart = (id: string, part: string): ItemKey => ({ pk: `RESTORE#${id}`, sk: `PART#${part}` })

export const discoveriesPartition = (issuer: string) => `DISCOVERY#${issuer}`
export const discoveriesItem = (issuer: string): ItemKey => ({ pk: discoveriesPartition(issuer), sk: 'STATE' })
export const discoveryItem = (issuer: string, id: string): ItemKey => ({ pk: discoveriesPartition(issuer), sk: `RUN#${id}` })
export const acceptanceItem = (issuer: string, kind: string, fingerprint: string): ItemKey => ({
  pk: discoveriesPartition(issuer),
  sk: `ACCEPT#${kind}#${fingerprint}`,
})
/** What one discovery found and what it saw. */
export const discoveryPartition = (issuer: string, id: string) => `DISCOVERY#${issuer}#${id}`
export const findingItem = (issuer: string, id: string, kind: string, fingerprint: string): ItemKey => ({
  pk: discoveryPartition(issuer, id),
  sk: `FIND#${kind}#${fingerprint}`,
})
/** What the discovery before had found and this one did not. */
export const clearedItem = (issuer: string, id: string, kind: string, fingerprint: string): ItemKey => ({
  pk: discoveryPartition(issuer, id),
  sk: `FORMER#${kind}#${fingerprint}`,
})
export const seenItem = (issuer: string, id: string, page: number): ItemKey => ({
  pk: discoveryPartition(issuer, id),
  sk: `SEEN#${String(page).padStart(9, '0')}`,
})

export const leaseSort = (issuer: string, lease: string) => `L#${issuer}#${lease}`
/** Every lease of one issuer in a partition lies between these two sort keys. */
export const issuerRange = (issuer: string) => ({ from: `L#${issuer}#`, to: `L#${issuer}#~` })

/** A lease's own key follows from its id. */
export function leaseItem(id: string): ItemKey {
  const { identity, issuer } = parseLeaseId(id)
  return { pk: shardPartition(`identity#${identity}`, shardOf(id, SHARDS.identity)), sk: leaseSort(issuer, id) }
}

/** The lease id inside the sort key of a lease or of a pointer to it. */
export function leaseOfSort(sk: string): { issuer: string; lease: string } {
  const [, issuer, lease] = sk.split('#')
  if (issuer === undefined || lease === undefined) throw new RangeError('not the sort key of a lease')
  return { issuer, lease }
}

export const scopeOfTask = (namespace: string, id: string): ScopeRef => `task#${taskKey(namespace, id)}`
export const scopeOfDeployment = (namespace: string, id: string): ScopeRef => `deployment#${deploymentKey(namespace, id)}`
export const scopeOfCredential = (fingerprint: string): ScopeRef => `credential#${fingerprint}`
export const scopeOfChildren = (lease: string): ScopeRef => `parent#${parentKey(lease)}`

export function shardsOf(scope: ScopeRef): number {
  const kind = scope.slice(0, scope.indexOf('#'))
  for (const [name, shards] of Object.entries(SHARDS)) if (name === kind) return shards
  throw new RangeError(`unknown scope kind: ${kind}`)
}

/** The scopes, beside its identity, that a lease can be found by and whose fences concern it. */
export function scopesOf(lease: {
  readonly fingerprint: string
  readonly task?: WorkScope
  readonly deployment?: WorkScope
  readonly parent?: string
}): ScopeRef[] {
  const scopes: ScopeRef[] = [scopeOfCredential(lease.fingerprint)]
  if (lease.task !== undefined) scopes.push(`task#${lease.task.key}`)
  if (lease.deployment !== undefined) scopes.push(`deployment#${lease.deployment.key}`)
  if (lease.parent !== undefined) scopes.push(scopeOfChildren(lease.parent))
  return scopes
}

/** Whether a partition of leases or pointers is one that the lease belongs into: a pointer alone proves nothing. */
export function belongsTo(lease: Parameters<typeof scopesOf>[0] & { readonly identityKey: string }, pk: string): boolean {
  const scope = pk.slice('SCOPE#'.length, pk.lastIndexOf('#'))
  return scope === `identity#${lease.identityKey}` || scopesOf(lease).some((one) => one === scope)
}

/** Whether a lease that was found through what a chunk covers belongs there: a pointer may have been left behind elsewhere. */
export const isCovered = (lease: Parameters<typeof belongsTo>[0], covers: Coverage): boolean =>
  'leases' in covers || belongsTo(lease, 'pk' in covers ? covers.pk : shardPartition(covers.scope as ScopeRef, 0))

/** The ranges of keys that a chunk covers; none where it names its leases. */
export const rangesCovered = ({
  covers,
  issuer,
}: Pick<Chunk, 'covers' | 'issuer'>): { pk: string; from: string; to: string }[] => {
  if ('leases' in covers) return []
  if ('pk' in covers) return [covers]
  return covers.shards.map((shard) => ({ pk: shardPartition(covers.scope as ScopeRef, shard), ...issuerRange(issuer) }))
}

/** What a unit claims its leases with. */
export const unitName = (chunk: Pick<Chunk, 'kind' | 'pk' | 'sk'>): string =>
  chunk.kind === 'amendment' ? 'AMEND' : `${chunk.pk.slice(chunk.pk.indexOf('#', 5) + 1)}/${chunk.sk}`

/** Partitions of the index that what every lease passes through is spread over: each takes 1,000 writes a second. */
export const DUE_SHARDS = 4

/** Partitions of the `due` index: what the sweeper looks through. */
export const DUE = {
  case: 'CASE',
  chunk: 'CHUNK',
  lever: 'LEVER',
  /** Each lease comes here and leaves again, so one partition's 1,000 writes a second would hold the whole border. */
  registration: (lease: string) => `REGISTRATION#${shardOf(lease, DUE_SHARDS)}`,
  orphan: 'ORPHAN',
  parked: 'PARKED',
  ask: 'ASK',
  restoration: 'RESTORATION',
  part: 'PART',
  campaign: 'CAMPAIGN',
  discovery: 'DISCOVERY',
  /** Apart for each issuer, whose expiries of one tick are one case; each lease that is cut leaves it, with a write. */
  expiry: (issuer: string, lease: string) => `EXPIRY#${issuer}#${shardOf(lease, DUE_SHARDS)}`,
} as const

/** Where all registrations without an acknowledgement lie, and all expiries of an issuer. */
export const dueRegistrations = (): string[] => Array.from({ length: DUE_SHARDS }, (_, shard) => `REGISTRATION#${shard}`)
export const dueExpiries = (issuer: string): string[] =>
  Array.from({ length: DUE_SHARDS }, (_, shard) => `EXPIRY#${issuer}#${shard}`)

/** Partitions of the `list` index: what operators look through. */
export const LIST = {
  case: 'CASE',
  parked: 'PARKED',
  orphan: 'ORPHAN',
  quarantine: 'QUARANTINE',
  issuer: 'ISSUER',
  tidy: 'TIDY',
  held: 'HELD',
  campaign: 'CAMPAIGN',
  restoration: 'RESTORATION',
  /** Cases that only watched something. */
  observed: 'OBSERVED',
  /** Leases that ran out and whose class only tells. */
  overdue: 'OVERDUE',
  alias: 'ALIAS',
  discovery: (issuer: string) => `DISCOVERY#${issuer}`,
} as const
