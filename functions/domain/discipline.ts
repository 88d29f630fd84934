import type { Discipline, DisciplineClass, Violation } from '../contracts/discipline.ts'
import { DEFAULT_LABELS, DEFAULT_PLACEHOLDERS } from '../contracts/discipline.ts'
import { canonicalIdentity } from './identity.ts'
import type { Lease, WorkScope } from './model.ts'
import { matchesAny } from './pattern.ts'
import { after } from './time.ts'

/** All that the discipline looks at, of a lease that is to be registered or renewed, or that is there already. */
export interface Facts {
  readonly provider: string
  readonly issuer: string
  readonly environment?: string
  readonly kind: 'dynamic' | 'static'
  /** Canonical URI. */
  readonly identity: string
  readonly owner: string
  /** The owner has left: the group is fenced, and the identity is no orphan that still waits for a new one. */
  readonly ownerLeft: boolean
  readonly consumer: string
  readonly purpose: string
  /** What the life is counted from: the registration, or the last renewal. */
  readonly from: string
  readonly expiresAt: string
  readonly task?: Pick<WorkScope, 'endsBy'>
  readonly deployment?: Pick<WorkScope, 'endsBy'>
}

/** The class of a lease: the first that fits. */
export const classOf = (
  discipline: Pick<Discipline, 'classes'> | undefined,
  facts: Pick<Facts, 'provider' | 'issuer' | 'environment' | 'kind' | 'identity'>,
): DisciplineClass | undefined =>
  discipline?.classes.find(
    ({ match }) =>
      (match.providers?.includes(facts.provider) ?? true) &&
      (match.issuers?.includes(facts.issuer) ?? true) &&
      (match.environments === undefined || (facts.environment !== undefined && match.environments.includes(facts.environment))) &&
      (match.kinds?.includes(facts.kind) ?? true) &&
      (match.identities === undefined || matchesAny(match.identities, facts.identity)),
  )

/** What a lease keeps of its class. */
export const termsOf = (found: DisciplineClass | undefined): Pick<Lease, 'class' | 'onExpiry' | 'onOutage'> =>
  found === undefined ? {} : { class: found.name, onExpiry: found.expiry ?? 'cut', onOutage: found.outage ?? 'closed' }

/** Every rule that the facts break; empty where there is no discipline. No value of a secret is among the facts. */
export function violations(discipline: Discipline | undefined, facts: Facts): Violation[] {
  if (discipline === undefined) return []
  const found = classOf(discipline, facts)
  const { owners, consumer, purpose } = discipline.rules
  return [
    ...(found === undefined
      ? [{ rule: 'class', path: '/issuer', said: 'no class of the discipline fits this lease' } as const]
      : [...lifetime(found, facts), ...window(found, facts)]),
    ...(owners === undefined ? [] : ownership(owners, facts)),
    ...(consumer === undefined ? [] : oneConsumer(consumer, facts.consumer)),
    ...(purpose === undefined ? [] : realPurpose(purpose, facts.purpose)),
  ]
}

function* lifetime({ name, maxTtlSeconds }: DisciplineClass, { from, expiresAt }: Facts): Generator<Violation> {
  if (expiresAt > after(from, maxTtlSeconds))
    yield { rule: 'ttl', path: '/expiresAt', said: `a lease of class ${name} lives ${maxTtlSeconds} seconds at most` }
}

function* window({ name, window: kind }: DisciplineClass, facts: Facts): Generator<Violation> {
  if (kind === undefined) return
  const endsBy = facts[kind]?.endsBy
  if (endsBy === undefined)
    yield { rule: 'window', path: `/${kind}/endsBy`, said: `a lease of class ${name} names its ${kind} and when that ends` }
  else if (facts.expiresAt > endsBy)
    yield { rule: 'window', path: '/expiresAt', said: `a lease of class ${name} ends with its ${kind} at the latest` }
}

function* ownership(owners: readonly string[], { owner, ownerLeft }: Facts): Generator<Violation> {
  if (!matchesAny(owners, owner)) yield { rule: 'owner', path: '/owner', said: 'the owner resolves to nobody who may own' }
  else if (ownerLeft) yield { rule: 'owner', path: '/owner', said: 'the owner has left' }
}

function* oneConsumer(
  { patterns, labels }: NonNullable<Discipline['rules']['consumer']>,
  consumer: string,
): Generator<Violation> {
  if (matchesLabel(labels ?? DEFAULT_LABELS, consumer))
    yield { rule: 'consumer', path: '/consumer', said: 'the consumer is one workload, not a team or an environment' }
  else if (!isCanonical(consumer) && !matchesAny(patterns ?? [], consumer))
    yield {
      rule: 'consumer',
      path: '/consumer',
      said:
        patterns === undefined
          ? 'the consumer is one identity in canonical form (a SPIFFE ID, an ARN, an OIDC issuer and subject)'
          : 'the consumer is one identity in canonical form, or a name of a kind that the discipline knows',
    }
}

function* realPurpose(
  { minLength = 1, placeholders }: NonNullable<Discipline['rules']['purpose']>,
  purpose: string,
): Generator<Violation> {
  if (purpose.length < minLength)
    yield { rule: 'purpose', path: '/purpose', said: `a purpose has ${minLength} characters at least` }
  else if (matchesLabel(placeholders ?? DEFAULT_PLACEHOLDERS, purpose))
    yield { rule: 'purpose', path: '/purpose', said: 'the purpose says nothing' }
}

const matchesLabel = (patterns: readonly string[], text: string): boolean =>
  matchesAny(
    patterns.map((pattern) => pattern.toLowerCase()),
    text.toLowerCase(),
  )

function isCanonical(text: string): boolean {
  try {
    return canonicalIdentity(text) === text
  } catch {
    return false
  }
}

/** The facts of a lease that is there. */
export const factsOf = (lease: Lease, ownerLeft: boolean): Facts => ({
  provider: lease.provider,
  issuer: lease.issuer,
  kind: lease.type,
  identity: lease.identity,
  owner: lease.owner,
  ownerLeft,
  consumer: lease.consumer,
  purpose: lease.purpose,
  from: lease.renewedAt ?? lease.spooledAt ?? lease.registeredAt,
  expiresAt: lease.expiresAt,
  ...(lease.environment === undefined ? {} : { environment: lease.environment }),
  ...(lease.task === undefined ? {} : { task: lease.task }),
  ...(lease.deployment === undefined ? {} : { deployment: lease.deployment }),
})
