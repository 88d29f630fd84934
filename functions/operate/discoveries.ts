import * as z from 'zod/mini'
import type { DiscoveryView, FindingDecision, FindingView } from '../contracts/discovery.ts'
import { FindingDecision as Decision, DiscoveryRequest, FindingKind } from '../contracts/discovery.ts'
import { IssuerName, Key } from '../contracts/primitives.ts'
import { incarnation } from '../domain/discovery.ts'
import { key } from '../domain/keys.ts'
import type { Actor, Discovery, Finding, Issuer } from '../domain/model.ts'
import { instant } from '../domain/time.ts'
import { viewOfDiscovery, viewOfFinding } from '../domain/views-discovery.ts'
import type { Request, Route } from '../runtime/http.ts'
import { readBody, readQuery, readValue } from '../runtime/http.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import {
  acceptancesOf,
  acceptFinding,
  discoveriesOf,
  discoveryOf,
  findingsOf,
  sameFindings,
  startDiscovery,
  withdrawAcceptance,
} from '../store/discoveries.ts'
import { issuerOf } from '../store/issuers.ts'
import { as as asKind } from '../store/items.ts'
import { LIST } from '../store/keys.ts'
import type { AsOperator, Operator } from './caller.ts'
import { Page } from './caller.ts'
import type { Listed, OperatePorts } from './operate.ts'

const FindingsPage = z.object({ ...Page.shape, kind: z.optional(FindingKind) })

/** Where a page of findings ended, as the key holds it. */
const PLACE = /^(FIND|FORMER)#[a-z]+#[a-z2-7]{26}$/

/** Discoveries on demand, what they found, and what of it is as it should be. Nothing here calls an issuer. */
export function discoveryDesk({ table, clock, catalog }: Pick<OperatePorts, 'table' | 'clock' | 'catalog'>) {
  const now = () => instant(clock.now())

  async function known(name: string): Promise<Issuer> {
    const issuer = await issuerOf(table, name)
    if (issuer === undefined) throw new ProblemError('issuer-unknown', `issuer ${name} is not configured`)
    return issuer
  }

  /** Begins one, or finds the one that runs: whoever asks twice is shown the same. The sweeper sends it on within a minute. */
  async function start(name: string, { reason }: DiscoveryRequest, operator: Operator): Promise<DiscoveryView> {
    const issuer = await known(name)
    if (catalog[issuer.provider]?.capabilities.discovers !== true)
      throw new ProblemError('discovery-refused', `provider ${issuer.provider} cannot list what lives at its issuers`)
    const at = now()
    const by: Actor = { who: operator.uri, why: reason ?? 'asked for by an operator', at }
    const id = await startDiscovery(
      table,
      {
        id: key('discovery', name, operator.uri, at),
        issuer: name,
        provider: issuer.provider,
        issuerVersion: issuer.v,
        requester: operator.uri,
        ...(reason === undefined ? {} : { reason }),
      },
      by,
    )
    return show(name, id)
  }

  async function one(name: string, id: string): Promise<Discovery> {
    const found = await discoveryOf(table, name, id)
    if (found === undefined) throw new ProblemError('not-found', 'no such discovery of this issuer')
    return found
  }

  const show = async (name: string, id: string): Promise<DiscoveryView> => viewOfDiscovery(await one(name, id))

  async function list(name: string, page: Page): Promise<Listed<DiscoveryView>> {
    const found = await table
      .index({
        index: 'list',
        partition: LIST.discovery(name),
        limit: page.limit,
        descending: true,
        ...(page.cursor === undefined ? {} : { cursor: page.cursor }),
      })
      .catch((error: unknown) => {
        if (error instanceof RangeError) throw notOurs()
        throw error
      })
    const entries = found.items.map((item) => viewOfDiscovery(asKind('discovery', item)))
    return { entries, ...(found.cursor === undefined ? {} : { next: found.cursor }) }
  }

  async function findings(name: string, id: string, page: z.infer<typeof FindingsPage>): Promise<Listed<FindingView>> {
    await one(name, id)
    const after = page.cursor === undefined ? undefined : Buffer.from(page.cursor, 'base64url').toString()
    if (after !== undefined && !PLACE.test(after)) throw notOurs()
    const { kind } = page
    const found = await findingsOf(table, name, id, after, page.limit, { kind, cleared: kind === undefined })
    const accepted = await acceptancesOf(table, name, found.findings)
    const at = now()
    return {
      entries: found.findings.map((finding, index) => viewOfFinding(finding, accepted[index], at)),
      ...(found.next === undefined ? {} : { next: Buffer.from(found.next).toString('base64url') }),
    }
  }

  /** A finding of the discovery that runs, or of the last one that was done. */
  async function current(name: string, of: FindingKind, fingerprint: string): Promise<Finding | undefined> {
    const state = await discoveriesOf(table, name)
    for (const id of [state?.running, state?.done]) {
      if (id === undefined) continue
      const [found] = await sameFindings(table, name, id, [{ of, fingerprint }])
      if (found !== undefined) return found
    }
    return undefined
  }

  async function decide(
    name: string,
    fingerprint: string,
    decision: FindingDecision,
    operator: Operator,
  ): Promise<FindingView | { readonly withdrawn: boolean }> {
    const { kind, reason } = decision
    const at = now()
    const by: Actor = { who: operator.uri, why: reason, at }
    if (decision.decision === 'withdraw') return { withdrawn: await withdrawAcceptance(table, name, kind, fingerprint, by) }
    const { until } = decision
    if (until !== undefined && instant(Date.parse(until)) <= at)
      throw new ProblemError('time-out-of-range', 'the acceptance would be over already', {
        errors: [{ path: '/until', message: 'lies in the past' }],
      })
    const finding = await current(name, kind, fingerprint)
    if (finding === undefined)
      throw new ProblemError('not-found', `neither the last discovery of ${name} nor one that runs has this finding`)
    const accepted = {
      of: kind,
      fingerprint,
      incarnation: incarnation(finding.target),
      reason,
      ...(until === undefined ? {} : { until: instant(Date.parse(until)) }),
    }
    await acceptFinding(table, name, accepted, by)
    const [stored] = await acceptancesOf(table, name, [finding])
    return viewOfFinding(finding, stored, at)
  }

  return { start, show, list, findings, decide }
}

const notOurs = () => new ProblemError('body-invalid', 'the cursor is not one of ours')

export function discoveryRoutes(ports: Pick<OperatePorts, 'table' | 'clock' | 'catalog'>, as: AsOperator): Route[] {
  const desk = discoveryDesk(ports)
  const nameOf = (request: Request) => readValue(request.params['name'], IssuerName, { code: 'body-invalid', name: 'the name' })
  const idOf = (request: Request) => readValue(request.params['id'], Key)
  return [
    {
      method: 'POST',
      path: '/v1/issuers/{name}/discoveries',
      handle: as((request, operator) => desk.start(nameOf(request), readBody(request, DiscoveryRequest), operator)),
    },
    {
      method: 'GET',
      path: '/v1/issuers/{name}/discoveries',
      handle: as((request) => desk.list(nameOf(request), readQuery(request, Page))),
    },
    {
      method: 'GET',
      path: '/v1/issuers/{name}/discoveries/{id}',
      handle: as((request) => desk.show(nameOf(request), idOf(request))),
    },
    {
      method: 'GET',
      path: '/v1/issuers/{name}/discoveries/{id}/findings',
      handle: as((request) => desk.findings(nameOf(request), idOf(request), readQuery(request, FindingsPage))),
    },
    {
      method: 'POST',
      path: '/v1/issuers/{name}/findings/{fingerprint}',
      handle: as((request, operator) =>
        desk.decide(nameOf(request), readValue(request.params['fingerprint'], Key), readBody(request, Decision), operator),
      ),
    },
  ]
}
