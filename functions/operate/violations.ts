import * as z from 'zod/mini'
import type { Violation } from '../contracts/discipline.ts'
import type { LeaseView } from '../contracts/lease.ts'
import { IssuerName } from '../contracts/primitives.ts'
import type { Settings } from '../contracts/settings.ts'
import { classOf, factsOf, violations } from '../domain/discipline.ts'
import { viewOfLease } from '../domain/views.ts'
import type { Route } from '../runtime/http.ts'
import { readQuery } from '../runtime/http.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import { issuerOf } from '../store/issuers.ts'
import { as as asKind } from '../store/items.ts'
import { DUE, identityItem } from '../store/keys.ts'
import { leftOwners, staysUp } from '../store/owners.ts'
import type { Table } from '../store/table.ts'
import type { AsOperator } from './caller.ts'
import { Page } from './caller.ts'

interface ViolationPorts {
  readonly table: Table
  readonly settings: Settings
}

const Query = z.object({ ...Page.shape, issuer: IssuerName })

interface Entry {
  readonly lease: LeaseView
  /** The class that it has by now, which may be another one than it was registered under. */
  readonly class?: string
  readonly broken: readonly Violation[]
}

/**
 * What is live at an issuer and would be refused by the discipline of now. A page looks at `limit` leases and shows those
 * of them that break a rule, so it may be empty and still have a next one.
 */
export function violationRoutes({ table, settings }: ViolationPorts, as: AsOperator): Route[] {
  const { discipline } = settings

  async function list(query: Page & { readonly issuer: string }): Promise<{ entries: Entry[]; looked: number; next?: string }> {
    if ((await issuerOf(table, query.issuer)) === undefined)
      throw new ProblemError('issuer-unknown', `issuer ${query.issuer} is not configured`)
    if (discipline === undefined) return { entries: [], looked: 0 }
    const page = await table
      .index({
        index: 'due',
        partition: DUE.expiry(query.issuer),
        limit: query.limit,
        ...(query.cursor === undefined ? {} : { cursor: query.cursor }),
      })
      .catch((error: unknown) => {
        if (error instanceof RangeError) throw new ProblemError('body-invalid', 'the cursor is not one of ours')
        throw error
      })
    const leases = page.items.map((item) => asKind('lease', item)).filter(({ state }) => state === 'live')
    const keys = [...new Set(leases.map(({ identityKey }) => identityKey))]
    const items = await table.getMany(keys.map(identityItem))
    const identities = new Map(keys.map((key, index) => [key, items[index]] as const))
    const owned = leases.map((lease) => {
      const item = identities.get(lease.identityKey)
      const identity = item === undefined ? undefined : asKind('identity', item)
      // Owners move without their leases; what stays up without one waits for another.
      return { lease: { ...lease, owner: identity?.owner ?? lease.owner }, stays: staysUp(identity) }
    })
    const asks = discipline.rules.owners !== undefined
    const left = asks
      ? await leftOwners(
          table,
          owned.map(({ lease }) => lease.owner),
        )
      : new Set<string>()
    const entries = owned.flatMap(({ lease, stays }): Entry[] => {
      const facts = factsOf(lease, !stays && left.has(lease.owner))
      const broken = violations(discipline, facts)
      const found = classOf(discipline, facts)
      if (broken.length === 0) return []
      return [{ lease: viewOfLease(lease), broken, ...(found === undefined ? {} : { class: found.name }) }]
    })
    return { entries, looked: leases.length, ...(page.cursor === undefined ? {} : { next: page.cursor }) }
  }

  return [{ method: 'GET', path: '/v1/violations', handle: as((request) => list(readQuery(request, Query))) }]
}
