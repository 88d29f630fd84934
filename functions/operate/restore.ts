import { Key, LeaseId } from '../contracts/primitives.ts'
import type { LeftBehind, RestorationRequest, RestorationView } from '../contracts/restoration.ts'
import { IdentityRestoration, RestorationRequest as Requested } from '../contracts/restoration.ts'
import { canonicalIdentity, IdentityInvalid } from '../domain/identity.ts'
import { identityKey, key } from '../domain/keys.ts'
import type { Actor, Case, Restoration, RestorationScope } from '../domain/model.ts'
import { casesOn, judge } from '../domain/restoring.ts'
import { after, instant } from '../domain/time.ts'
import { canUndo } from '../domain/undo.ts'
import { viewOfRestoration } from '../domain/views.ts'
import type { Request, Route } from '../runtime/http.ts'
import { readBody, readQuery, readValue } from '../runtime/http.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import { caseOf } from '../store/cases.ts'
import { identityOf } from '../store/identities.ts'
import { as } from '../store/items.ts'
import { LIST, restorationItem } from '../store/keys.ts'
import { leaseOf, look } from '../store/leases.ts'
import { openRestoration, restorationOf } from '../store/restorations.ts'
import type { Item } from '../store/table.ts'
import type { AsOperator, Operator } from './caller.ts'
import { mustApprove, Page } from './caller.ts'
import type { Listed, OperatePorts } from './operate.ts'

/** The listing is begun again if nobody did by then, in seconds. */
const LOOK_AFTER_SECONDS = 60
/** What still waits is shown of so many parts. */
const MOST_WAITING = 50

/** Undoing cuts: of a lease, an identity, a case; and what could not be deleted. */
export function restorations(ports: Pick<OperatePorts, 'table' | 'clock' | 'dispatch' | 'catalog'>) {
  const { table, clock } = ports
  const now = () => instant(clock.now())

  async function open(scope: RestorationScope, asked: RestorationRequest, operator: Operator): Promise<RestorationView> {
    const at = now()
    const by: Actor = { who: operator.uri, why: asked.reason, at }
    // Two clicks at the same moment are one restoration.
    const id = key('restoration', scope.kind, scope.id, operator.uri, at)
    await openRestoration(
      table,
      {
        id,
        scope,
        reason: asked.reason,
        requester: operator.uri,
        undoesCompromise: asked.undoesCompromise === true,
      },
      after(at, LOOK_AFTER_SECONDS),
      by,
    )
    await ports.dispatch.plan('p1', [{ v: 1, kind: 'restore', restoration: id }])
    return show(id)
  }

  const refused = (said: string, cases: readonly string[] = []) => new ProblemError('restore-refused', said, { cases })

  /** A compromise is undone by an approver who did not report it. */
  function against(cases: readonly Case[], asked: RestorationRequest, operator: Operator): void {
    if (asked.undoesCompromise === true) mustApprove(operator)
    for (const one of cases) {
      if (one.type !== 'compromise') continue
      if (asked.undoesCompromise !== true)
        throw refused(`compromise ${one.id} covers it: an approver must say that it was none (undoesCompromise)`, [one.id])
      if (one.requester === operator.uri)
        throw new ProblemError('requester-cannot-approve', 'whoever reported the compromise cannot undo it: a second person must')
    }
  }

  async function known(ids: readonly string[]): Promise<Case[]> {
    const found: Case[] = []
    for (const id of ids) {
      const one = await caseOf(table, id)
      if (one !== undefined) found.push(one)
    }
    return found
  }

  /** What can be said at once is said at once; the worker judges again before each effect. */
  async function restoreLease(id: string, asked: RestorationRequest, operator: Operator): Promise<RestorationView> {
    const lease = await leaseOf(table, id)
    if (lease === undefined) throw new ProblemError('not-found', 'no such lease')
    const definition = ports.catalog[lease.provider]
    if (definition === undefined || !canUndo(definition, lease.target))
      throw refused(`provider ${lease.provider} cannot undo a cut of it`)
    const { cases: fences, parent } = await look(table, lease)
    const covering = await known(casesOn(lease, fences))
    against(covering, asked, operator)
    const verdict = judge(
      lease,
      {
        id: '',
        scope: { kind: 'lease', id },
        requester: operator.uri,
        undoesCompromise: asked.undoesCompromise === true,
        openedAt: now(),
      },
      covering,
      parent,
      now(),
    )
    if (verdict.may === 'no')
      throw refused(
        verdict.said,
        covering.map((one) => one.id),
      )
    return open({ kind: 'lease', id }, asked, operator)
  }

  async function restoreIdentity(asked: IdentityRestoration, operator: Operator): Promise<RestorationView> {
    const id = canonical(asked.id)
    const identity = await identityOf(table, identityKey(id))
    if (identity === undefined)
      throw new ProblemError('identity-unknown', 'this identity never had a lease and was never declared')
    // Of an earlier epoch there may be leases that a compromise holds: the worker leaves them, and says so.
    const fences = Object.entries(identity.fences).filter(([, { epoch }]) => epoch >= identity.epoch)
    against(await known(fences.map(([one]) => one)), asked, operator)
    return open({ kind: 'identity', id }, asked, operator)
  }

  async function restoreCase(id: string, asked: RestorationRequest, operator: Operator): Promise<RestorationView> {
    const current = await caseOf(table, id)
    if (current === undefined) throw new ProblemError('not-found', 'no such case')
    against([current], asked, operator)
    if (!current.sealed) throw refused(`the case is ${current.state}: what it covers is not listed yet`, [id])
    return open({ kind: 'case', id }, asked, operator)
  }

  async function show(id: string): Promise<RestorationView> {
    const found = await restorationOf(table, id)
    if (found === undefined) throw new ProblemError('not-found', 'no such restoration')
    const view = viewOfRestoration(found)
    return found.state === 'done' ? view : { ...view, waiting: await waitingOf(found) }
  }

  async function waitingOf(found: Restoration): Promise<{ issuer: string; said: string }[]> {
    const page = await table.query({ pk: restorationItem(found.id).pk, prefix: 'PART#', limit: 500 })
    return page.items
      .map((item) => as('restoration-part', item))
      .filter(({ state }) => state === 'open')
      .slice(0, MOST_WAITING)
      .map(({ issuer, said }) => ({ issuer, said: said ?? 'not begun' }))
  }

  async function list<Entry>(partition: string, view: (item: Item) => Entry, page: Page): Promise<Listed<Entry>> {
    const found = await table
      .index({
        index: 'list',
        partition,
        limit: page.limit,
        descending: true,
        ...(page.cursor === undefined ? {} : { cursor: page.cursor }),
      })
      .catch((error: unknown) => {
        if (error instanceof RangeError) throw new ProblemError('body-invalid', 'the cursor is not one of ours')
        throw error
      })
    return { entries: found.items.map(view), ...(found.cursor === undefined ? {} : { next: found.cursor }) }
  }

  const listRestorations = (page: Page) => list(LIST.restoration, (item) => viewOfRestoration(as('restoration', item)), page)
  const listLeft = (page: Page) =>
    list(
      LIST.tidy,
      (item): LeftBehind => {
        const lease = as('lease', item)
        return {
          lease: lease.id,
          identity: lease.identity,
          issuer: lease.issuer,
          said: lease.left?.said ?? '',
          since: lease.left?.at ?? lease.by.at,
          ...(lease.ended === undefined ? {} : { case: lease.ended.case }),
        }
      },
      page,
    )

  return { restoreLease, restoreIdentity, restoreCase, show, listRestorations, listLeft }
}

function canonical(identity: string): string {
  try {
    return canonicalIdentity(identity)
  } catch (error) {
    if (error instanceof IdentityInvalid)
      throw new ProblemError('body-invalid', error.message, { errors: [{ path: '/id', message: error.message }] })
    throw error
  }
}

export function restoreRoutes(ports: OperatePorts, as: AsOperator): Route[] {
  const restore = restorations(ports)
  const id = (request: Request, schema: typeof Key | typeof LeaseId) => readValue(request.params['id'], schema)
  return [
    {
      method: 'POST',
      path: '/v1/leases/{id}/restore',
      handle: as((request, operator) => restore.restoreLease(id(request, LeaseId), readBody(request, Requested), operator)),
    },
    {
      method: 'POST',
      path: '/v1/identities/restore',
      handle: as((request, operator) => restore.restoreIdentity(readBody(request, IdentityRestoration), operator)),
    },
    {
      method: 'POST',
      path: '/v1/cases/{id}/restore',
      handle: as((request, operator) => restore.restoreCase(id(request, Key), readBody(request, Requested), operator)),
    },
    { method: 'GET', path: '/v1/restorations', handle: as((request) => restore.listRestorations(readQuery(request, Page))) },
    { method: 'GET', path: '/v1/restorations/{id}', handle: as((request) => restore.show(id(request, Key))) },
    { method: 'GET', path: '/v1/tidy', handle: as((request) => restore.listLeft(readQuery(request, Page))) },
  ]
}
