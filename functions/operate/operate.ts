import * as z from 'zod/mini'
import { AuditRecord } from '../contracts/audit.ts'
import type { CaseView } from '../contracts/case.ts'
import type { IdentityDeclaration, IdentityView } from '../contracts/identity.ts'
import type { IssuerDeclaration, IssuerView } from '../contracts/issuer.ts'
import type { LeaseView } from '../contracts/lease.ts'
import type { Settings } from '../contracts/settings.ts'
import { canonicalIdentity, IdentityInvalid } from '../domain/identity.ts'
import { identityKey, parseLeaseId } from '../domain/keys.ts'
import { paceNow } from '../domain/limiter.ts'
import type { Actor, Identity } from '../domain/model.ts'
import { isProtected } from '../domain/rights.ts'
import { subjectOfCase, subjectOfDay, subjectOfIdentity } from '../domain/segment.ts'
import { instant } from '../domain/time.ts'
import { viewOfCase, viewOfIdentity, viewOfIssuer, viewOfLease } from '../domain/views.ts'
import type { Definition } from '../providers/contract.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import { issueNotes } from '../runtime/issues.ts'
import type { Archive, Clock } from '../runtime/ports.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import { caseOf } from '../store/cases.ts'
import { changeIdentity, declareIdentity, identityOf } from '../store/identities.ts'
import { declareIssuer, issuerOf, issuers } from '../store/issuers.ts'
import { as } from '../store/items.ts'
import { LIST } from '../store/keys.ts'
import { breakerOf, limiterOf } from '../store/limits.ts'
import type { IndexInput, Item, Table } from '../store/table.ts'
import type { Operator } from './caller.ts'
import { deciding } from './deciding.ts'

export interface OperatePorts {
  readonly table: Table
  readonly index: Table
  readonly archive: Archive
  readonly dispatch: Dispatch
  readonly clock: Clock
  readonly settings: Settings
  readonly catalog: Readonly<Record<string, Definition>>
}

export interface Listed<Entry> {
  readonly entries: Entry[]
  /** Opaque; absent at the end. */
  readonly next?: string
}

const ROUNDS = 10
/** Segments opened for one page of the audit trail. */
const SEGMENTS = 25

/** What operators do: declare identities and issuers, look at cases, decide on what is held, read the trail. */
export function operations(ports: OperatePorts) {
  const { table, clock, settings } = ports
  const now = () => instant(clock.now())

  async function putIdentity(declaration: IdentityDeclaration, operator: Operator): Promise<IdentityView> {
    const id = canonical(declaration.id, '/id')
    const by: Actor = { who: operator.uri, why: 'declared by an operator', at: now() }
    for (let round = 0; round < ROUNDS; round += 1) {
      const current = await identityOf(table, identityKey(id))
      if (current === undefined) {
        const { owner } = declaration
        if (owner === undefined)
          throw new ProblemError('body-invalid', 'a new identity needs an owner', {
            errors: [{ path: '/owner', message: 'is missing' }],
          })
        const joined = await declareIdentity(
          table,
          { ...declaration, id, owner },
          { ownerLeaves: settings.ownerLeavesDefault, protected: isProtected(settings, id) },
          by,
        )
        if (!joined.ok) throw new ProblemError('fenced', 'a group that it would join is fenced', { cases: joined.cases })
        // Somebody else declared it first: go round and change it.
        if (joined.identity.by.who === operator.uri && joined.identity.by.at === by.at) return viewOfIdentity(joined.identity)
        continue
      }
      const changed = await change(current, { ...declaration, id }, by)
      if (changed === undefined) continue
      // An orphan that is accepted under one name would still end under the others, and with them under this one.
      if (current.orphan !== undefined && changed.orphan === undefined) await changeNames(changed, declaration, by)
      return viewOfIdentity(changed)
    }
    throw new ProblemError('throttled', 'the identity changes too fast', { retryAfterSeconds: 1 })
  }

  async function change(current: Identity, declaration: IdentityDeclaration, by: Actor): Promise<Identity | undefined> {
    const changed = await changeIdentity(table, current, declaration, by)
    if (changed?.ok === false)
      throw new ProblemError('fenced', 'a group that it would join or leave is fenced', { cases: changed.cases })
    return changed?.identity
  }

  /** What all names of one workload have in common is changed under all of them. */
  async function changeNames(named: Identity, declaration: IdentityDeclaration, by: Actor): Promise<void> {
    const { owner, workload, ownerLeaves, protected: guarded } = declaration
    for (const id of named.aliases ?? [])
      for (let round = 0; round < ROUNDS; round += 1) {
        const other = await identityOf(table, identityKey(id))
        if (other === undefined) break
        const common = {
          id,
          ...(owner === undefined ? {} : { owner }),
          ...(workload === undefined ? {} : { workload }),
          ...(ownerLeaves === undefined ? {} : { ownerLeaves }),
          ...(guarded === undefined ? {} : { protected: guarded }),
        }
        if (isDeclared(other, common) || (await change(other, common, by)) !== undefined) break
      }
  }

  async function getIdentity(uri: string): Promise<IdentityView> {
    const identity = await identityOf(table, identityKey(canonical(uri, '/id')))
    if (identity === undefined) throw new ProblemError('not-found', 'this identity never had a lease and was never declared')
    return viewOfIdentity(identity)
  }

  async function putIssuer(name: string, declaration: IssuerDeclaration, operator: Operator): Promise<IssuerView> {
    const definition = ports.catalog[declaration.provider]
    if (definition === undefined)
      throw new ProblemError(
        'provider-unknown',
        `provider ${declaration.provider} is not installed; there are ${Object.keys(ports.catalog).join(', ')}`,
      )
    const parsed = z.safeParse(definition.settings, declaration.settings)
    if (!parsed.success)
      throw new ProblemError('body-invalid', `the settings do not fit provider ${definition.name}`, {
        errors: issueNotes(parsed.error.issues, declaration.settings).map(({ path, message }) => ({
          path: `/settings${path}`,
          message,
        })),
      })
    const current = await issuerOf(table, name)
    if (current !== undefined && current.provider !== declaration.provider)
      throw new ProblemError('body-invalid', 'an issuer keeps its provider: its leases could not be revoked by another one')
    const issuer = await declareIssuer(table, name, declaration, { who: operator.uri, why: 'declared by an operator', at: now() })
    return viewOfIssuer(issuer)
  }

  async function listIssuers(): Promise<IssuerView[]> {
    const found = await issuers(table)
    return Promise.all(
      found.map(async (issuer) => {
        const [breaker, limiter] = await Promise.all([breakerOf(table, issuer.name), limiterOf(table, issuer.name)])
        const ceiling = issuer.limits?.callsPerSecond ?? ports.catalog[issuer.provider]?.limits.callsPerSecond
        return viewOfIssuer(issuer, breaker, limiter && paceNow(limiter, ceiling, clock.now()))
      }),
    )
  }

  async function getCase(id: string): Promise<CaseView> {
    const current = await caseOf(table, id)
    if (current === undefined) throw new ProblemError('not-found', 'no such case')
    return viewOfCase(current)
  }

  async function listIndex<Entry>(
    partition: string,
    view: (item: Item) => Entry,
    page: { limit: number; cursor?: string | undefined },
  ): Promise<Listed<Entry>> {
    const input: IndexInput = {
      index: 'list',
      partition,
      limit: page.limit,
      descending: true,
      ...(page.cursor === undefined ? {} : { cursor: page.cursor }),
    }
    const found = await table.index(input).catch((error: unknown) => {
      if (error instanceof RangeError) throw new ProblemError('body-invalid', 'the cursor is not one of ours')
      throw error
    })
    return { entries: found.items.map(view), ...(found.cursor === undefined ? {} : { next: found.cursor }) }
  }

  type Page = { limit: number; cursor?: string | undefined }
  const listCases = (page: Page) => listIndex(LIST.case, (item) => viewOfCase(as('case', item)), page)
  const listParked = (page: Page): Promise<Listed<LeaseView>> =>
    listIndex(LIST.parked, (item) => viewOfLease(as('lease', item)), page)
  const listOrphans = (page: Page) => listIndex(LIST.orphan, (item) => viewOfIdentity(as('identity', item)), page)
  const listQuarantine = (page: Page) =>
    listIndex(
      LIST.quarantine,
      ({ id, origin, source, eventId, eventType, reason, notes, bytes, listAt }) => ({
        id,
        origin,
        source,
        eventId,
        eventType,
        reason,
        notes,
        bytes,
        at: listAt,
      }),
      page,
    )

  /** The audit trail of a case, an identity, a lease or a day, in the order of the archive; each record once. */
  async function audit(query: {
    case?: string | undefined
    identity?: string | undefined
    lease?: string | undefined
    day?: string | undefined
    cursor?: string | undefined
  }): Promise<Listed<AuditRecord>> {
    const given = [query.case, query.identity, query.lease, query.day].filter((value) => value !== undefined)
    if (given.length !== 1) throw new ProblemError('body-invalid', 'name exactly one of case, identity, lease, day')
    const identity = query.identity === undefined ? undefined : canonical(query.identity, '/identity')
    const subject =
      query.case !== undefined
        ? subjectOfCase(query.case)
        : query.day !== undefined
          ? subjectOfDay(query.day)
          : subjectOfIdentity(query.lease === undefined ? identityKey(identity ?? '') : parseLeaseId(query.lease).identity)
    const concerns = (record: AuditRecord) =>
      (query.case === undefined || record.case === query.case) &&
      (identity === undefined || record.identity === identity) &&
      (query.lease === undefined || record.lease === query.lease)
    const cursor = query.cursor === undefined ? undefined : Buffer.from(query.cursor, 'base64url').toString()
    if (cursor !== undefined && !/^segments\/[\w/.-]{1,300}$/.test(cursor))
      throw new ProblemError('body-invalid', 'the cursor is not one of ours')
    const page = await ports.index.query({ pk: subject, limit: SEGMENTS, ...(cursor === undefined ? {} : { after: cursor }) })
    const bodies = await Promise.all(page.items.map(({ sk }) => ports.archive.get(sk)))
    const records = new Map<string, AuditRecord>()
    for (const [index, body] of bodies.entries()) {
      if (body === undefined) throw new Error(`segment ${page.items[index]?.sk} is indexed and missing`)
      for (const line of body.split('\n')) {
        if (line === '') continue
        const told: unknown = JSON.parse(line)
        // A segment's last line holds versions of which there is nothing to tell.
        if (typeof told === 'object' && told !== null && 'silent' in told) continue
        const record = AuditRecord.parse(told)
        if (concerns(record)) records.set(record.id, record)
      }
    }
    const entries = [...records.values()].sort((one, other) => (one.at < other.at ? -1 : one.at > other.at ? 1 : 0))
    return { entries, ...(page.next === undefined ? {} : { next: Buffer.from(page.next).toString('base64url') }) }
  }

  return {
    putIdentity,
    getIdentity,
    putIssuer,
    listIssuers,
    getCase,
    listCases,
    listParked,
    listOrphans,
    listQuarantine,
    ...deciding(ports),
    audit,
  }
}

/** Whether a change would change nothing. */
const isDeclared = (identity: Identity, change: Partial<Pick<Identity, 'owner' | 'workload' | 'ownerLeaves' | 'protected'>>) =>
  (change.owner ?? identity.owner) === identity.owner &&
  (change.workload ?? identity.workload) === identity.workload &&
  (change.ownerLeaves ?? identity.ownerLeaves) === identity.ownerLeaves &&
  (change.protected ?? identity.protected) === identity.protected

function canonical(identity: string, path: string): string {
  try {
    return canonicalIdentity(identity)
  } catch (error) {
    if (error instanceof IdentityInvalid)
      throw new ProblemError('body-invalid', error.message, { errors: [{ path, message: error.message }] })
    throw error
  }
}
