import * as z from 'zod/mini'
import { backoffSeconds } from '../domain/backoff.ts'
import type { Actor } from '../domain/model.ts'
import { modeOfLease } from '../domain/modes.ts'
import { after, instant, secondsUntil } from '../domain/time.ts'
import type { ProviderModule, Warrant } from '../providers/contract.ts'
import { IssuerError } from '../providers/contract.ts'
import { Unusable } from '../runtime/unusable.ts'
import { caseOf } from '../store/cases.ts'
import { identityOf } from '../store/identities.ts'
import { issuerOf } from '../store/issuers.ts'
import { endLever, holdersOfLever, intendPull, isReleasing, leverOf, postponeLever } from '../store/levers.ts'
import type { issuerConnections } from './issuer.ts'
import type { Again, WorkPorts } from './ports.ts'

/** A lever that will not move is shown in the case; the leases behind it are cut one by one all the same. */
const TRIES = 10
/** A lever that a restoration is pushing back is pulled again after this, in seconds. */
const RELEASE_SECONDS = 30

/**
 * Pulls one identity's lever at one issuer: one call, however many leases hang on it. The lever follows what the
 * identity wishes now, not what the message said when it was sent (protocol 5): an identity that was reinstated
 * meanwhile is left alone.
 */
export function leverWorker(module: ProviderModule, ports: WorkPorts, issuers: ReturnType<typeof issuerConnections>) {
  const { table, clock, limits, random } = ports

  return async function contain(caseId: string, identityKey: string, leverKey: string): Promise<Again> {
    const lever = await leverOf(table, caseId, identityKey, leverKey)
    if (lever === undefined) throw new Unusable('lever-gone')
    if (lever.state !== 'open') return undefined
    const { issuer: issuerName } = lever
    const current = await caseOf(table, caseId)
    const identity = await identityOf(table, identityKey)
    if (current === undefined) throw new Unusable('case-gone')
    if (identity === undefined) throw new Unusable('identity-gone')
    const by: Actor = {
      who: `revoke/${module.definition.name}`,
      case: caseId,
      trigger: current.type,
      why: current.reason,
      at: instant(clock.now()),
    }
    const failed = (said: string) =>
      endLever(table, lever, 'failed', lever.unanswered === true ? `${said}; an earlier call may have pulled it` : said, by)
    const later = async (seconds: number, said: string, spends: boolean): Promise<Again> => {
      await postponeLever(table, lever, after(by.at, seconds), said, spends, by)
      return seconds
    }
    if (identity.epoch > identity.fencedThrough) {
      const said = 'the identity was reinstated before'
      // Whoever called before and died may have pulled it; only a restoration that knows of it pushes it back.
      if (lever.unanswered === true) await failed(said)
      else await endLever(table, lever, 'done', said, by)
      return undefined
    }
    // It was noted with the lever, and a restoration takes it away.
    const holders = await holdersOfLever(table, leverKey)
    if (holders?.pulls?.[caseId] === undefined) {
      await endLever(table, lever, 'done', 'a restoration undid it before', by)
      return undefined
    }
    const configured = await issuerOf(table, issuerName)
    if (modeOfLease(current, { issuer: issuerName, environment: identity.environment }, configured) === 'observe') {
      await failed('mode observe: no lever is pulled')
      return undefined
    }
    const reached = await issuers.reach(issuerName, by, current)
    if (reached.kind === 'unknown') {
      await failed(reached.said)
      return undefined
    }
    if (reached.kind === 'not-now') return later(Math.max(1, secondsUntil(reached.until, by.at)), reached.said, false)
    const { provider } = reached
    const parsed = module.definition.lever === undefined ? undefined : z.safeParse(module.definition.lever, lever.lever)
    if (provider.contain === undefined || parsed?.success !== true) {
      await reached.end()
      await failed('the provider has no such lever')
      return undefined
    }
    const warrant: Warrant = { case: caseId, lane: current.lane, epoch: lever.epoch, fencedAt: lever.fencedAt }
    try {
      if (lever.unanswered !== true && !(await intendPull(table, lever, by))) return undefined
      const answer = await provider.contain(parsed.data, warrant)
      const doneBy = { ...by, at: instant(clock.now()) }
      // A restoration was pushing it back at the same time, and its call may have landed after ours: pulled once more then.
      // Its note may be gone by now, so the one from before our call counts as well.
      const released =
        isReleasing(holders, by.at) || (answer.status === 'done' && isReleasing(await holdersOfLever(table, leverKey), doneBy.at))
      if (answer.status === 'done' && released)
        return await later(RELEASE_SECONDS, 'pulled while a restoration was pushing it back', false)
      if (answer.status === 'done') await endLever(table, lever, 'done', answer.said, doneBy)
      else if (answer.status === 'unsupported')
        await endLever(table, lever, 'failed', answer.said, doneBy, lever.unanswered === true)
      else if (lever.attempts + 1 >= TRIES) await endLever(table, lever, 'failed', answer.said, doneBy)
      else
        return await later(
          backoffSeconds(lever.attempts + 1, random.fraction(), limits.backoffSeconds, answer.afterSeconds),
          answer.said,
          true,
        )
      return undefined
    } catch (error) {
      if (!(error instanceof IssuerError)) throw error
      const { until, said } = await issuers.failed(issuerName, error, by, current.lane)
      return await later(Math.max(1, secondsUntil(until, by.at)), said, false)
    } finally {
      await reached.end()
    }
  }
}
