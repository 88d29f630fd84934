import { Decision } from '../contracts/case.ts'
import type { IdentityView } from '../contracts/identity.ts'
import { AliasRemoval, AliasRequest } from '../contracts/identity.ts'
import { Key } from '../contracts/primitives.ts'
import { canonicalIdentity } from '../domain/identity.ts'
import { identityKey } from '../domain/keys.ts'
import { instant } from '../domain/time.ts'
import { viewOfIdentity } from '../domain/views.ts'
import type { Route } from '../runtime/http.ts'
import { readBody, readQuery, readValue } from '../runtime/http.ts'
import type { Clock } from '../runtime/ports.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import type { AliasProposal } from '../store/aliases.ts'
import { aliasProposal, aliasProposals, linkAliases, proposeAlias, rejectAlias, unlinkAlias } from '../store/aliases.ts'
import { identityOf } from '../store/identities.ts'
import type { Table } from '../store/table.ts'
import type { AsOperator, Operator } from './caller.ts'
import { mustApprove, Page } from './caller.ts'

interface AliasPorts {
  readonly table: Table
  readonly clock: Clock
}

const ROUNDS = 5

/**
 * Links the names of one workload (SPIFFE ID, ARN, OIDC subject): one operator proposes, another approves. A wrong link
 * would make one workload's end another one's, hence two persons.
 */
export function aliasRoutes(ports: AliasPorts, as: AsOperator): Route[] {
  const { table, clock } = ports
  const now = () => instant(clock.now())

  async function propose(request: AliasRequest, operator: Operator): Promise<AliasProposal> {
    const names = [...new Set(request.names.map(canonicalIdentity))]
    if (names.length < 2) throw new ProblemError('body-invalid', 'a link needs two different names')
    for (const name of names)
      if ((await identityOf(table, identityKey(name))) === undefined)
        throw new ProblemError('identity-unknown', `declare ${name} first`)
    return proposeAlias(table, names, { who: operator.uri, why: request.reason, at: now() })
  }

  async function proposed(id: string): Promise<AliasProposal> {
    const proposal = await aliasProposal(table, id)
    if (proposal === undefined) throw new ProblemError('not-found', 'no such proposal waits')
    return proposal
  }

  async function approve(id: string, decision: Decision, operator: Operator): Promise<{ entries: IdentityView[] }> {
    mustApprove(operator)
    const proposal = await proposed(id)
    if (proposal.proposedBy === operator.uri)
      throw new ProblemError('requester-cannot-approve', 'whoever proposed it cannot approve: a second person must')
    const by = { who: operator.uri, why: decision.reason, at: now() }
    for (let round = 0; round < ROUNDS; round += 1) {
      const linked = await linkAliases(table, proposal, proposal.names.map(identityKey), by)
      if (linked.kind === 'changed') continue
      if (linked.kind === 'fenced')
        throw new ProblemError('fenced', 'a name is fenced: what its case reaches is settled', { cases: [...linked.cases] })
      if (linked.kind === 'differs') throw new ProblemError('body-invalid', linked.said)
      return { entries: await viewsOf(linked.identities.map(({ key }) => key)) }
    }
    throw new ProblemError('throttled', 'the identities change too fast', { retryAfterSeconds: 1 })
  }

  async function viewsOf(keys: readonly string[]): Promise<IdentityView[]> {
    const found = await Promise.all(keys.map((key) => identityOf(table, key)))
    return found.flatMap((identity) => (identity === undefined ? [] : [viewOfIdentity(identity)]))
  }

  async function reject(id: string, decision: Decision, operator: Operator): Promise<AliasProposal> {
    mustApprove(operator)
    const proposal = await proposed(id)
    const done = await rejectAlias(table, id, { who: operator.uri, why: decision.reason, at: now() })
    if (!done) throw new ProblemError('case-state', 'the proposal was decided meanwhile')
    return proposal
  }

  async function remove(removal: AliasRemoval, operator: Operator): Promise<IdentityView> {
    mustApprove(operator)
    const key = identityKey(canonicalIdentity(removal.id))
    for (let round = 0; round < ROUNDS; round += 1) {
      const identity = await identityOf(table, key)
      if (identity === undefined) throw new ProblemError('not-found', 'no such identity')
      if (identity.aliases === undefined) return viewOfIdentity(identity)
      await unlinkAlias(table, identity, { who: operator.uri, why: removal.reason, at: now() })
    }
    throw new ProblemError('throttled', 'the identities change too fast', { retryAfterSeconds: 1 })
  }

  const id = (params: Readonly<Record<string, string>>) => readValue(params['id'], Key)
  return [
    {
      method: 'POST',
      path: '/v1/aliases',
      handle: as((request, operator) => propose(readBody(request, AliasRequest), operator)),
    },
    { method: 'GET', path: '/v1/aliases', handle: as((request) => aliasProposals(table, readQuery(request, Page))) },
    {
      method: 'POST',
      path: '/v1/aliases/{id}/approve',
      handle: as((request, operator) => approve(id(request.params), readBody(request, Decision), operator)),
    },
    {
      method: 'POST',
      path: '/v1/aliases/{id}/reject',
      handle: as((request, operator) => reject(id(request.params), readBody(request, Decision), operator)),
    },
    {
      method: 'POST',
      path: '/v1/aliases/remove',
      handle: as((request, operator) => remove(readBody(request, AliasRemoval), operator)),
    },
  ]
}
