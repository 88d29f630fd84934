import * as z from 'zod/mini'
import type { CaseLease, ObservedCase } from '../contracts/observed.ts'
import { Instant, Key } from '../contracts/primitives.ts'
import type { Case } from '../domain/model.ts'
import { modesOf } from '../domain/modes.ts'
import { viewOfLease } from '../domain/views.ts'
import type { Route } from '../runtime/http.ts'
import { readQuery, readValue } from '../runtime/http.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import { leasesOfCase, PlaceInvalid } from '../store/case-leases.ts'
import { caseOf } from '../store/cases.ts'
import { casePartition, LIST } from '../store/keys.ts'
import type { Observation } from '../store/observed.ts'
import { OTHERS, observedIn } from '../store/observed.ts'
import type { Item, Table } from '../store/table.ts'
import type { AsOperator } from './caller.ts'
import { Page } from './caller.ts'
import type { Listed } from './operate.ts'

/** Pairs of issuer and owner that are read for one case of the report. */
const MOST_PAIRS = 500
const MOST_SAMPLES = 20

const Period = z.object({
  from: z.optional(Instant),
  to: z.optional(Instant),
  cursor: z.optional(z.string().check(z.maxLength(1000))),
  limit: z._default(z.coerce.number().check(z.int(), z.minimum(1), z.maximum(100)), 20),
})

/** What cases did not do because they may only watch, and every lease of a case. */
export function observing({ table }: { readonly table: Table }) {
  /** Cases that watched anything in a period, the newest first; a case counts where the first of its leases was counted. */
  async function observed(period: z.infer<typeof Period>): Promise<Listed<ObservedCase>> {
    const { from, to, cursor } = period
    if (from !== undefined && to !== undefined && from > to)
      throw new ProblemError('body-invalid', 'the period ends before it begins', {
        errors: [{ path: '/to', message: 'lies before from' }],
      })
    const page = await table
      .index({
        index: 'list',
        partition: LIST.observed,
        limit: period.limit,
        descending: true,
        ...(from === undefined ? {} : { from }),
        ...(to === undefined ? {} : { upTo: to }),
        ...(cursor === undefined ? {} : { cursor }),
      })
      .catch((error: unknown) => {
        if (error instanceof RangeError) throw notOurs()
        throw error
      })
    const entries: ObservedCase[] = []
    for (const item of page.items) {
      const current = await caseOf(table, String(item.case))
      if (current !== undefined) entries.push(await viewOf(current, item))
    }
    return { entries, ...(page.cursor === undefined ? {} : { next: page.cursor }) }
  }

  async function viewOf(current: Case, totals: Item): Promise<ObservedCase> {
    const pairs = await observedIn(table, casePartition(current.id), MOST_PAIRS)
    const would = (one: { revoked?: unknown; released?: unknown; unsupported?: unknown }) => ({
      revoked: Number(one.revoked ?? 0),
      released: Number(one.released ?? 0),
      unsupported: Number(one.unsupported ?? 0),
    })
    const all = would({ revoked: totals.revoked, released: totals.released, unsupported: totals.unsupported })
    const sumOf = (counts: typeof all) => counts.revoked + counts.released + counts.unsupported
    const samples = pairs.filter(({ owner }) => owner !== OTHERS).slice(0, MOST_SAMPLES)
    const named = pairs.reduce((sum, pair) => sum + sumOf(would(pair)), 0)
    return {
      case: current.id,
      trigger: current.type,
      scope: current.scope,
      mode: current.mode,
      modes: modesOf(current),
      state: current.state,
      reason: current.reason,
      source: current.source,
      ...(current.requestedBy === undefined ? {} : { requestedBy: current.requestedBy }),
      openedAt: current.openedAt,
      observedAt: String(totals.listAt),
      ...(current.closedAt === undefined ? {} : { closedAt: current.closedAt }),
      would: all,
      issuers: grouped(pairs, ({ issuer }) => issuer).map(([issuer, counts]) => ({ ...issuerOf(issuer), ...counts })),
      owners: grouped(pairs, ({ owner }) => owner).map(([owner, counts]) => ({ ...ownerOf(owner), ...counts })),
      complete: named === sumOf(all) && samples.length === pairs.length,
      sample: samples.map(({ issuer, owner, sample }) => ({ ...sample, owner, issuer })),
    }
  }

  /** Every lease that a case counts, with its outcome; a page may be short and still have `next`. */
  async function leases(id: string, page: Page): Promise<Listed<CaseLease>> {
    if ((await caseOf(table, id)) === undefined) throw new ProblemError('not-found', 'no such case')
    const found = await leasesOfCase(table, id, page.cursor, page.limit).catch((error: unknown) => {
      if (error instanceof PlaceInvalid) throw notOurs()
      throw error
    })
    return {
      entries: found.leases.map(({ lease, because }) => ({
        lease: viewOfLease(lease),
        because,
        ...(lease.outcomes[id] === undefined ? {} : { outcome: lease.outcomes[id] }),
      })),
      ...(found.next === undefined ? {} : { next: found.next }),
    }
  }

  return { observed, leases }
}

const notOurs = () => new ProblemError('body-invalid', 'the cursor is not one of ours')

const ownerOf = (owner: string) => (owner === OTHERS ? {} : { owner })
const issuerOf = (issuer: string) => (issuer === OTHERS ? {} : { issuer })

/** Sums by a name, the largest first. */
function grouped(pairs: readonly Observation[], name: (pair: Observation) => string) {
  const sums = new Map<string, { revoked: number; released: number; unsupported: number }>()
  for (const pair of pairs) {
    const before = sums.get(name(pair)) ?? { revoked: 0, released: 0, unsupported: 0 }
    sums.set(name(pair), {
      revoked: before.revoked + pair.revoked,
      released: before.released + pair.released,
      unsupported: before.unsupported + pair.unsupported,
    })
  }
  const size = ({ revoked, released, unsupported }: { revoked: number; released: number; unsupported: number }) =>
    revoked + released + unsupported
  return [...sums].sort(([, one], [, other]) => size(other) - size(one))
}

export function observedRoutes(ports: { readonly table: Table }, as: AsOperator): Route[] {
  const { observed, leases } = observing(ports)
  return [
    { method: 'GET', path: '/v1/observed', handle: as((request) => observed(readQuery(request, Period))) },
    {
      method: 'GET',
      path: '/v1/cases/{id}/leases',
      handle: as((request) => leases(readValue(request.params['id'], Key), readQuery(request, Page))),
    },
  ]
}
