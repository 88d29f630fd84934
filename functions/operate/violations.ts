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
import { dueExpiries, identityItem } from '../store/keys.ts'
import { leftOwners, staysUp } from '../store/owners.ts'
import type { IndexPage, Item, Table } from '../store/table.ts'
import type { AsOperator } from './caller.ts'
import { Page } from './caller.ts'

interface ViolationPorts {
  readonly table: Table
  readonly settings: Settings
}

const Query = z.object({ ...Page.shape, issuer: IssuerName })

const NOT_OURS = 'the cursor is not one of ours'

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
    const page = await pageOf(query)
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

  /** One partition after the other until the page is full; a cursor begins with the number of its partition. */
  async function pageOf(query: Page & { readonly issuer: string }): Promise<IndexPage> {
    const partitions = dueExpiries(query.issuer)
    const [, number, rest = ''] = /^(\d{1,3})\.(.*)$/.exec(query.cursor ?? '0.') ?? []
    let place = number === undefined ? partitions.length : Number(number)
    if (place >= partitions.length) throw new ProblemError('body-invalid', NOT_OURS)
    let cursor = rest
    const items: Item[] = []
    for (; place < partitions.length; place += 1, cursor = '') {
      if (items.length === query.limit) return { items, cursor: `${place}.` }
      const page = await table
        .index({
          index: 'due',
          partition: partitions[place] ?? '',
          limit: query.limit - items.length,
          ...(cursor === '' ? {} : { cursor }),
        })
        .catch((error: unknown) => {
          if (error instanceof RangeError) throw new ProblemError('body-invalid', NOT_OURS)
          throw error
        })
      items.push(...page.items)
      if (page.cursor !== undefined) return { items, cursor: `${place}.${page.cursor}` }
    }
    return { items }
  }

  return [{ method: 'GET', path: '/v1/violations', handle: as((request) => list(readQuery(request, Query))) }]
}
