import type { DisciplineRule, Violation } from '../contracts/discipline.ts'
import type { LeaseRegistration } from '../contracts/lease.ts'
import type { Settings } from '../contracts/settings.ts'
import type { Facts } from '../domain/discipline.ts'
import { classOf, factsOf, termsOf, violations } from '../domain/discipline.ts'
import type { Identity, Lease, WorkScope } from '../domain/model.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import { identityOf } from '../store/identities.ts'
import { look } from '../store/leases.ts'
import { isBornFenced, leftOwners, staysUp } from '../store/owners.ts'
import type { Table } from '../store/table.ts'

export interface DisciplinePorts {
  readonly table: Table
  readonly settings: Settings
}

/** What a registration would become, as far as the discipline asks. */
export interface Candidate {
  readonly request: LeaseRegistration
  readonly identity: string
  readonly identityKey: string
  readonly provider: string
  readonly fingerprint: string
  readonly expiresAt: string
  readonly task: WorkScope | undefined
  readonly deployment: WorkScope | undefined
  /** When the credential is taken. */
  readonly at: string
  readonly spooled: boolean
}

type Terms = ReturnType<typeof termsOf>

/** All that is broken at once, each with the name of its rule. */
const refusal = (broken: readonly Violation[]): ProblemError =>
  new ProblemError('discipline', `the discipline is broken: ${[...new Set(broken.map(({ rule }) => rule))].join(', ')}`, {
    errors: broken.map(({ rule, path, said }) => ({ rule, path, message: said })),
  })

const NO_SPOOL: { readonly rule: DisciplineRule; readonly path: string; readonly said: string } = {
  rule: 'outage',
  path: '/registration',
  said: 'the class of this lease takes nothing from a spool',
}

/** The owner of what stays up for now may have left: an orphan until its deadline, what is protected until its approval. */
async function hasLeft(table: Table, settings: Settings, owner: string, identity: Identity | undefined): Promise<boolean> {
  if (settings.discipline?.rules.owners === undefined || staysUp(identity)) return false
  return (await leftOwners(table, [owner])).has(owner)
}

/**
 * The class of what is to be registered, or a refusal that names every broken rule. What exists already under a fence
 * passes whatever it breaks: it is to be recorded and cut, never merely refused (protocol 2).
 *
 * @throws ProblemError `discipline`
 */
export async function disciplineOf({ table, settings }: DisciplinePorts, candidate: Candidate): Promise<Terms> {
  const { discipline } = settings
  const { request, task, deployment } = candidate
  if (discipline === undefined) {
    if (candidate.spooled) throw refusal([NO_SPOOL])
    return {}
  }
  const known = await identityOf(table, candidate.identityKey)
  const owner = known?.owner ?? request.owner ?? ''
  const environment = known === undefined ? request.environment : known.environment
  const facts: Facts = {
    provider: candidate.provider,
    issuer: request.issuer,
    kind: request.kind,
    identity: candidate.identity,
    owner,
    ownerLeft: await hasLeft(table, settings, owner, known),
    consumer: request.consumer,
    purpose: request.purpose,
    from: candidate.at,
    expiresAt: candidate.expiresAt,
    ...(environment === undefined ? {} : { environment }),
    ...(task === undefined ? {} : { task }),
    ...(deployment === undefined ? {} : { deployment }),
  }
  const found = classOf(discipline, facts)
  const broken = [...violations(discipline, facts), ...(candidate.spooled && found?.outage !== 'spool' ? [NO_SPOOL] : [])]
  if (broken.length > 0 && !(await isFenced(table, candidate, known))) throw refusal(broken)
  return termsOf(found)
}

async function isFenced(table: Table, candidate: Candidate, known: Identity | undefined): Promise<boolean> {
  const { request, identityKey, fingerprint, task, deployment } = candidate
  if (request.registers !== 'credential') return false
  const environment = known === undefined ? request.environment : known.environment
  const { cases } = await look(table, {
    identityKey,
    epoch: known?.epoch ?? 1,
    fingerprint,
    issuer: request.issuer,
    ...(environment === undefined ? {} : { environment }),
    ...(task === undefined ? {} : { task }),
    ...(deployment === undefined ? {} : { deployment }),
    ...(request.parent === undefined ? {} : { parent: request.parent }),
  })
  if (cases.length > 0) return true
  return known === undefined && (await isBornFenced(table, request.owner, request.workload))
}

/**
 * The class of a lease that is renewed, as it is now, or a refusal.
 *
 * @throws ProblemError `discipline`
 */
export async function renewalDiscipline(
  { table, settings }: DisciplinePorts,
  lease: Lease,
  renewal: { readonly at: string; readonly expiresAt: string; readonly spooled: boolean },
): Promise<Terms> {
  const { discipline } = settings
  if (discipline === undefined) {
    if (renewal.spooled) throw refusal([{ ...NO_SPOOL, path: '/renewal' }])
    return {}
  }
  const identity = await identityOf(table, lease.identityKey)
  const owner = identity?.owner ?? lease.owner
  const facts: Facts = {
    ...factsOf({ ...lease, owner }, await hasLeft(table, settings, owner, identity)),
    from: renewal.at,
    expiresAt: renewal.expiresAt,
  }
  const found = classOf(discipline, facts)
  const broken = [
    ...violations(discipline, facts),
    ...(renewal.spooled && found?.outage !== 'spool' ? [{ ...NO_SPOOL, path: '/renewal' }] : []),
  ]
  if (broken.length > 0) throw refusal(broken)
  return termsOf(found)
}
