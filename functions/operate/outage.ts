import * as z from 'zod/mini'
import type { LeaseView } from '../contracts/lease.ts'
import type { OutageView } from '../contracts/outage.ts'
import { OutageDeclaration } from '../contracts/outage.ts'
import type { Settings } from '../contracts/settings.ts'
import type { Outage } from '../domain/model.ts'
import { after, instant } from '../domain/time.ts'
import { viewOfLease } from '../domain/views.ts'
import type { Route } from '../runtime/http.ts'
import { readBody, readQuery } from '../runtime/http.ts'
import type { Clock } from '../runtime/ports.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import { as as asKind } from '../store/items.ts'
import { LIST } from '../store/keys.ts'
import { declareOutage, listOutages } from '../store/outage.ts'
import type { Table } from '../store/table.ts'
import type { AsOperator, Operator } from './caller.ts'
import { Page } from './caller.ts'

interface OutagePorts {
  readonly table: Table
  readonly clock: Clock
  readonly settings: Settings
}

/** Longest outage that can be declared, and how long ago it may have begun, in days. */
const MOST_DAYS = 31

/** A sort key of outages: three moments. */
const OutagePage = z.object({
  ...Page.shape,
  cursor: z.optional(z.string().check(z.regex(/^[0-9TZ:.-]{24}#[0-9TZ:.-]{24}#[0-9TZ:.-]{24}$/))),
})

const viewOfOutage = ({ from, to, source, reason, reach, by }: Outage): OutageView => ({
  from,
  to,
  source,
  reason,
  by: by.who,
  recordedAt: by.at,
  reachesUntil: reach,
})

/** Outages of the pipeline itself, and the leases that ran out where running out only tells. */
export function outageRoutes({ table, clock, settings }: OutagePorts, as: AsOperator): Route[] {
  /** What ran out in that time, and right after it, gets the lost time back before anything is cut for it. */
  async function declare(declaration: OutageDeclaration, operator: Operator): Promise<OutageView> {
    const at = instant(clock.now())
    const span = { from: instant(Date.parse(declaration.from)), to: instant(Date.parse(declaration.to)) }
    if (span.from >= span.to) throw new ProblemError('time-out-of-range', 'an outage ends after it began')
    if (span.to > at) throw new ProblemError('time-out-of-range', 'an outage is declared when it is over')
    if (span.from < after(at, -MOST_DAYS * 86400))
      throw new ProblemError('time-out-of-range', `an outage is declared within ${MOST_DAYS} days of its beginning`)
    const by = { who: operator.uri, why: declaration.reason, at }
    return viewOfOutage(await declareOutage(table, span, declaration.reason, settings.outage, by))
  }

  async function list(page: { readonly limit: number; readonly cursor?: string | undefined }) {
    const found = await listOutages(table, page.limit, page.cursor)
    return { entries: found.outages.map(viewOfOutage), ...(found.next === undefined ? {} : { next: found.next }) }
  }

  async function overdue(page: Page): Promise<{ entries: LeaseView[]; next?: string }> {
    const found = await table
      .index({
        index: 'list',
        partition: LIST.overdue,
        limit: page.limit,
        ...(page.cursor === undefined ? {} : { cursor: page.cursor }),
      })
      .catch((error: unknown) => {
        if (error instanceof RangeError) throw new ProblemError('body-invalid', 'the cursor is not one of ours')
        throw error
      })
    return {
      entries: found.items.map((item) => viewOfLease(asKind('lease', item))),
      ...(found.cursor === undefined ? {} : { next: found.cursor }),
    }
  }

  return [
    {
      method: 'POST',
      path: '/v1/outages',
      handle: as((request, operator) => declare(readBody(request, OutageDeclaration), operator)),
    },
    { method: 'GET', path: '/v1/outages', handle: as((request) => list(readQuery(request, OutagePage))) },
    { method: 'GET', path: '/v1/overdue', handle: as((request) => overdue(readQuery(request, Page))) },
  ]
}
