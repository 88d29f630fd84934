import type { OwnerLeaves } from '../../functions/contracts/identity.ts'
import type { Modes } from '../../functions/contracts/mode.ts'
import type { Prng } from './prng.ts'

/** Milliseconds since 1970 at which each run begins. */
export const START = Date.parse('2026-11-22T10:00:00.000Z')
/** Stands in every secret that a world hands to the pipeline: wherever else it shows, it has leaked. */
export const MARKER = 'S3CRET'

export const BROKER = 'spiffe://example.org/broker'
export const OPERATORS = ['spiffe://example.org/operator/one', 'spiffe://example.org/operator/two'] as const
/** The third one owns nothing at first. */
export const OWNERS = ['alice', 'bob', 'carol'] as const
/** The one that triggers name, and another one that identities may move to. */
export const WORKLOADS = ['crm', 'erp'] as const

/**
 * `sure`: verifies, tells absent, contains an identity, restores, tidies, locates, takes a name before it is minted.
 * `blunt`: takes a secret token, can be asked nothing and undoes nothing.
 */
export type ProviderKind = 'sure' | 'blunt'

export interface WorldIssuer {
  readonly name: string
  readonly provider: ProviderKind
  readonly soakSeconds: number
  readonly environment?: string
}
export interface WorldIdentity {
  readonly owner: number
  readonly workload: boolean
  readonly ownerLeaves: OwnerLeaves
  readonly protected: boolean
  /** Its group at every `sure` issuer: what `contain` cuts. Two identities of one group are each other's bystanders. */
  readonly group?: number
  readonly environment?: string
  /** An operator declared it before anything happens; otherwise its first registration does. */
  readonly declared: boolean
  /** It holds break-glass access: no case may touch it. */
  readonly exempt: boolean
}
/** One grant that somebody will register; `register` operations name it by its place. */
export interface WorldLease {
  readonly identity: number
  readonly issuer: number
  /** Number of a shared credential of its issuer; absent: a credential of its own. */
  readonly shares?: number
  readonly task?: number
  readonly deployment?: number
  /** An earlier lease, if that one is acknowledged by then. */
  readonly parent?: number
  readonly delegable: boolean
  /** `intent`: it is minted after the acknowledgement, `mintSeconds` later. `credential`: it exists when it is registered. */
  readonly registers: 'credential' | 'intent'
  readonly mintSeconds: number
  /** From the registration on. */
  readonly lifeSeconds: number
  /** How the issuer treats this credential, whatever the pipeline does. */
  readonly nature?: 'poisoned' | 'unsupported' | 'irrevocable'
}
export interface WorldProviders {
  /** `serial`: its work queues keep order for each issuer; absent: they do not. */
  readonly sure: { readonly batch: number; readonly propagationSeconds: number; readonly serial?: boolean }
  readonly blunt: { readonly batch: number; readonly serial: boolean }
}
export interface WorldSettings {
  readonly backoffSeconds: number
  readonly attempts: number
  readonly parkedRetrySeconds: number
  readonly registrationSeconds: number
  readonly deletionAbove: number
  /** A pause of the sweeper above this is an outage of ours. */
  readonly gapSeconds: number
  /** A small one, that some worlds trip. */
  readonly fuse?: { readonly identities: number; readonly leases: number; readonly taskLeases: number }
  readonly modes?: Modes
  /** The planner lists a scope at once where no shard of it holds more keys; absent: it never does. */
  readonly atOnce?: number
}
/** Plain data: all that is there before anything happens. */
export interface World {
  readonly issuers: readonly WorldIssuer[]
  readonly identities: readonly WorldIdentity[]
  readonly leases: readonly WorldLease[]
  readonly providers: WorldProviders
  readonly settings: WorldSettings
}

export const identityUri = (index: number) => `spiffe://example.org/id/${index}`
export const identityIndex = (uri: string) => Number(uri.split('/').at(-1))
export const ownerOf = (identity: WorldIdentity) => OWNERS[identity.owner] ?? OWNERS[0]
export const groupName = (group: number) => `group-${group}`
export const taskName = (task: number) => `task-${task}`
export const deploymentName = (deployment: number) => `deployment-${deployment}`
export const idempotencyKey = (lease: number) => `lease-${lease}-key`

/** The credential of a lease at its issuer: its name at a `sure` one, its token at a `blunt` one. */
export function credentialName(world: World, lease: number): string {
  const planned = world.leases[lease]
  const name = planned?.shares === undefined ? `own-${lease}` : `shared-${planned.shares}`
  const issuer = planned === undefined ? undefined : world.issuers[planned.issuer]
  return issuer?.provider === 'blunt' ? `${MARKER}-${issuer.name}-${name}` : name
}

/** What a world is about: few at a time, so that what they do to each other is met in small worlds. */
export const THEMES = [
  'shared',
  'children',
  'tasks',
  'deployments',
  'groups',
  'intents',
  'restore',
  'reinstate',
  'moves',
  'aliases',
  'holds',
  'schedule',
  'modes',
  'kill-switch',
  'configuration',
  'outages',
  'natures',
  'expiry',
  'renewals',
  'returns',
  'names',
  'campaigns',
  'fuse',
  'exempt',
  'protected',
  'resurrections',
  'forgeries',
  'replays',
  'sweeper',
  'levers',
  'rush',
  'batches',
] as const
export type Theme = (typeof THEMES)[number]

/** Some themes of a seed; about one seed in eight has none and is quick. */
export function themesOf(draws: Prng): ReadonlySet<Theme> {
  if (draws.chance(0.12)) return new Set()
  const count = draws.between(1, 5)
  const found = new Set<Theme>()
  while (found.size < count) found.add(draws.pick(THEMES))
  return found
}

const DAY = 86_400

export function worldOf(draws: Prng, themes: ReadonlySet<Theme>, big: boolean): World {
  // Many leases of one task at one issuer: they are cut by few calls.
  const batches = themes.has('batches') && !big
  const propagationSeconds = draws.pick([0, 0, 0, 20])
  const providers: WorldProviders = {
    sure: { batch: draws.pick([1, 3, 100, 100]), propagationSeconds },
    blunt: { batch: draws.pick(batches ? [2, 100] : [1, 2, 100]), serial: draws.chance(0.3) },
  }
  const soakSeconds = draws.pick([900, 900, 7200])
  const usual: readonly ProviderKind[][] = [
    ['sure'],
    ['sure', 'blunt'],
    ['sure', 'sure'],
    ['blunt', 'sure'],
    ['sure', 'blunt', 'sure'],
  ]
  const kinds = draws.pick(batches ? ([...usual.slice(0, 2), ['blunt', 'sure'], ['blunt']] as const) : usual)
  const issuers = kinds.map(
    (provider, index): WorldIssuer => ({
      name: `${provider}-${index}`,
      provider,
      soakSeconds,
      ...(themes.has('modes') && draws.chance(0.5) ? { environment: 'lab' } : {}),
    }),
  )
  const identities = Array.from({ length: big ? 2 : draws.between(1, 4) }, (): WorldIdentity => {
    const levers = themes.has('levers') || draws.chance(0.4)
    return {
      owner: draws.below(2),
      workload: draws.chance(0.5),
      ownerLeaves: themes.has('groups') && draws.chance(0.35) ? 'reassign' : 'revoke',
      protected: themes.has('protected') && draws.chance(0.4),
      exempt: false,
      declared: true,
      ...(levers ? { group: themes.has('levers') ? draws.below(3) : draws.below(10) } : {}),
      ...(themes.has('modes') && draws.chance(0.5) ? { environment: draws.pick(['lab', 'live']) } : {}),
    }
  })
  if (themes.has('exempt')) {
    const place = draws.below(identities.length)
    identities[place] = { ...(identities[place] as WorldIdentity), exempt: true }
  }
  // Names of one workload must agree in what they have in common.
  if (themes.has('aliases') && identities.length > 1) {
    const [first] = identities as [WorldIdentity, ...WorldIdentity[]]
    const { owner, workload, ownerLeaves, protected: guarded, environment } = first
    identities[1] = {
      ...(identities[1] as WorldIdentity),
      owner,
      workload,
      ownerLeaves,
      protected: guarded,
      ...(environment === undefined ? {} : { environment }),
    }
  }
  const count = big ? draws.between(105, 130) : draws.between(batches ? 4 : 1, draws.chance(0.6) ? 6 : 12)
  const leases = Array.from({ length: count }, (_, index): WorldLease => {
    const issuer = (big && draws.chance(0.95)) || (batches && draws.chance(0.8)) ? 0 : draws.below(issuers.length)
    const provider = issuers[issuer]?.provider ?? 'sure'
    const shares = themes.has('shared') && !big ? draws.chance(0.6) : draws.chance(0.15)
    const intent = provider === 'sure' && !shares && draws.chance(themes.has('intents') ? 0.5 : 0.1)
    const task = draws.chance(batches ? 0.9 : themes.has('tasks') ? 0.7 : 0.25)
    const deployment = draws.chance(themes.has('deployments') ? 0.7 : 0.15)
    const parent = index > 0 && draws.chance(themes.has('children') ? 0.6 : 0.1)
    const brief = themes.has('expiry') ? draws.chance(0.5) : draws.chance(0.05)
    return {
      identity: big && draws.chance(0.97) ? 0 : draws.below(identities.length),
      issuer,
      delegable: themes.has('children') ? draws.chance(0.75) : draws.chance(0.2),
      registers: intent ? 'intent' : 'credential',
      mintSeconds: intent ? draws.between(0, 90) : 0,
      lifeSeconds: brief ? draws.between(200, 1500) : 20 * DAY,
      ...(shares ? { shares: draws.below(2) } : {}),
      ...(task ? { task: draws.below(batches ? 1 : 2) } : {}),
      ...(deployment ? { deployment: draws.below(2) } : {}),
      ...(parent ? { parent: draws.below(index) } : {}),
      // One credential has one nature, whoever holds it.
      ...(themes.has('natures') && draws.chance(0.35) && !shares
        ? { nature: draws.pick(['poisoned', 'unsupported', 'irrevocable']) }
        : {}),
    }
  })
  const settings: WorldSettings = {
    backoffSeconds: 60,
    attempts: draws.pick([3, 12, 12]),
    parkedRetrySeconds: 900,
    registrationSeconds: 60,
    deletionAbove: draws.pick([1, 100]),
    // Where nobody stops the sweeper, the calm at the end may skip minutes in which nothing is due.
    gapSeconds: themes.has('sweeper') ? 300 : 86_400,
    ...(themes.has('fuse')
      ? { fuse: { identities: draws.between(1, 2), leases: draws.between(1, 5), taskLeases: draws.between(1, 3) } }
      : {}),
    ...(themes.has('modes') && draws.chance(0.6) ? { modes: modesOf(draws, issuers) } : {}),
  }
  return { issuers, identities, leases, providers, settings }
}

function modesOf(draws: Prng, issuers: readonly WorldIssuer[]): Modes {
  const mode = () => draws.pick(['observe', 'contain', 'enforce'] as const)
  const rules: Modes['rules'] = []
  if (draws.chance(0.5)) rules.push({ environment: 'lab', mode: mode() })
  if (draws.chance(0.4)) rules.push({ issuer: issuers[draws.below(issuers.length)]?.name ?? '', mode: mode() })
  if (draws.chance(0.3)) rules.push({ trigger: draws.pick(['compromise', 'offboarding', 'expired'] as const), mode: mode() })
  return { default: draws.chance(0.75) ? 'enforce' : mode(), rules }
}
