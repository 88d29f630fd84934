import type { IdentityView } from '../contracts/identity.ts'
import { GroupReinstatement, Reinstatement } from '../contracts/identity.ts'
import { canonicalIdentity } from '../domain/identity.ts'
import { identityKey } from '../domain/keys.ts'
import type { Actor } from '../domain/model.ts'
import { instant } from '../domain/time.ts'
import { viewOfIdentity } from '../domain/views.ts'
import type { Route } from '../runtime/http.ts'
import { readBody } from '../runtime/http.ts'
import type { Clock } from '../runtime/ports.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import { identityOf } from '../store/identities.ts'
import { casesOfEpoch, freeLevers, reinstateGroup, reinstateIdentity } from '../store/reinstatements.ts'
import type { Table } from '../store/table.ts'
import type { AsOperator, Operator } from './caller.ts'
import { mustApprove } from './caller.ts'

interface ReinstatePorts {
  readonly table: Table
  readonly clock: Clock
}

const ROUNDS = 5

/**
 * Rehire, transfer, false alarm: an identity may get leases again, under a new epoch; what was cut stays dead. After a
 * compromise this takes the right to approve, and a second person.
 */
export function reinstateRoutes(ports: ReinstatePorts, as: AsOperator): Route[] {
  const { table, clock } = ports
  const now = () => instant(clock.now())

  async function identity(request: Reinstatement, operator: Operator): Promise<{ entries: IdentityView[] }> {
    const named = await identityOf(table, identityKey(canonicalIdentity(request.id)))
    if (named === undefined) throw new ProblemError('not-found', 'no such identity')
    const by: Actor = { who: operator.uri, why: request.reason, at: now() }
    // One workload, all of its names: each by a write of its own, so that a repeated call finishes what was begun.
    const keys = [named.key, ...(named.aliases ?? []).map(identityKey)]
    for (const key of keys) {
      const known = await identityOf(table, key)
      const compromises =
        known === undefined ? [] : (await casesOfEpoch(table, known)).filter(({ type }) => type === 'compromise')
      if (compromises.length === 0) continue
      mustApprove(operator)
      if (compromises.some(({ requester }) => requester === operator.uri))
        throw new ProblemError('requester-cannot-approve', 'whoever reported the compromise cannot undo it: a second person must')
    }
    const entries: IdentityView[] = []
    for (const key of keys) entries.push(await one(key, request, by))
    return { entries }
  }

  async function one(key: string, request: Reinstatement, by: Actor): Promise<IdentityView> {
    for (let round = 0; round < ROUNDS; round += 1) {
      const done = await reinstateIdentity(table, key, request, by)
      if (done === undefined) continue
      if (done.kind === 'running')
        throw new ProblemError('case-state', 'a compromise of it is still being cut: wait until its cases have closed', {
          cases: [...done.cases],
        })
      if (done.kind === 'group-fenced')
        throw new ProblemError('fenced', 'its owner or workload is fenced: name a new one, or reinstate the group', {
          cases: [...done.cases],
        })
      await freeLevers(table, done.identity, by)
      return viewOfIdentity(done.identity)
    }
    throw new ProblemError('throttled', 'the identity changes too fast', { retryAfterSeconds: 1 })
  }

  async function group({ kind, id, reason }: GroupReinstatement, operator: Operator) {
    mustApprove(operator)
    for (let round = 0; round < ROUNDS; round += 1) {
      const done = await reinstateGroup(table, kind, id, { who: operator.uri, why: reason, at: now() })
      if (done === undefined) continue
      if (done.kind === 'running')
        throw new ProblemError('case-state', `cases of this ${kind} still run`, { cases: [...done.cases] })
      return { kind, id, state: 'open' }
    }
    throw new ProblemError('throttled', `the ${kind} changes too fast`, { retryAfterSeconds: 1 })
  }

  return [
    {
      method: 'POST',
      path: '/v1/identities/reinstate',
      handle: as((request, operator) => identity(readBody(request, Reinstatement), operator)),
    },
    {
      method: 'POST',
      path: '/v1/groups/reinstate',
      handle: as((request, operator) => group(readBody(request, GroupReinstatement), operator)),
    },
  ]
}
