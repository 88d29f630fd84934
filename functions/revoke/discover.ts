import { DEFAULT_KEPT_FINDINGS } from '../contracts/discovery.ts'
import { backoffSeconds } from '../domain/backoff.ts'
import { isOver, legible } from '../domain/discovery.ts'
import type { Actor, Discovery } from '../domain/model.ts'
import { after, instant, secondsUntil, ttl } from '../domain/time.ts'
import type { ProviderModule } from '../providers/contract.ts'
import { Unusable } from '../runtime/unusable.ts'
import { controlOf, whyStopped } from '../store/control.ts'
import { discoveryOf, endDiscovery, postponeDiscovery } from '../store/discoveries.ts'
import type { ItemKey } from '../store/table.ts'
import { compareLeases } from './discover-leases.ts'
import { listPages } from './discover-pages.ts'
import { settleFindings } from './discover-settle.ts'
import type { Discovering, Step } from './discover-steps.ts'
import type { issuerConnections } from './issuer.ts'
import { LONGEST_SAID } from './issuer.ts'
import type { Again, WorkPorts } from './ports.ts'

/** The sweeper looks after a discovery of which nothing more is heard, in seconds. */
const LOOK_AFTER_SECONDS = 120
/** A visit takes no further step after this, in milliseconds: others of the lane wait. */
const VISIT = 15_000
/** Steps of one visit at most. */
const MOST_STEPS = 100
/** What one visit left goes on after this, in seconds. */
const NEXT_SECONDS = 1
/** What is stopped, or stands back behind other work, is looked at again after this, in seconds. */
const STOPPED_SECONDS = 60
/** A discovery that is not over by then has failed: what it saw at first says nothing any more. */
const LONGEST_SECONDS = 86_400

/**
 * Goes on with a discovery: lists the issuer page by page, then the live leases beside what was seen, then looks at the
 * findings once more. It reads at the issuer and writes notes of its own; no lease and no credential is touched. Each step is stored
 * with its cursor, on the condition that nobody moved it meanwhile, so what was lost is simply done again. A visit takes
 * several steps and goes back to its queue: a worker that sent the next page's message itself would be stopped as a loop.
 */
export function discoverWorker(module: ProviderModule, ports: WorkPorts, issuers: ReturnType<typeof issuerConnections>) {
  const { table, clock, limits, random } = ports
  const { definition } = module
  const now = () => instant(clock.now())

  return async function discover(issuerName: string, id: string): Promise<Again> {
    const found = await discoveryOf(table, issuerName, id)
    if (found === undefined) throw new Unusable('discovery-gone')
    let current = found
    if (isOver(current)) return undefined
    const { requester, reason, startedAt } = current
    const why = reason === undefined ? `discovery of ${issuerName}` : `discovery of ${issuerName}: ${reason}`
    const by = (): Actor => ({ who: `revoke/${definition.name}`, why: `${why} (asked by ${requester})`, at: now() })
    const broken = new Map<string, ItemKey>()
    const shared: Discovering = {
      table,
      limits,
      keep: ports.discovery?.keep ?? DEFAULT_KEPT_FINDINGS,
      now,
      by,
      lookAt: () => after(now(), LOOK_AFTER_SECONDS),
      keepUntil: () => ttl(after(now(), limits.retentionDays * 86_400)),
      unreadable: (item) => void broken.set(`${item.pk}|${item.sk}`, item),
    }
    const postpone = async (until: string, said: string, spends: boolean): Promise<Again> => {
      await postponeDiscovery(table, current, until, legible(said, LONGEST_SAID), spends, by())
      return Math.max(NEXT_SECONDS, secondsUntil(until, now()))
    }
    const end = async (state: 'done' | 'failed', said?: string): Promise<Again> => {
      const told = said === undefined ? {} : { said: legible(said, LONGEST_SAID) }
      await endDiscovery(table, current, { state, ttl: shared.keepUntil(), ...told }, by())
      return undefined
    }

    if (after(startedAt, LONGEST_SECONDS) <= now()) {
      const last = current.said === undefined ? '' : `: ${current.said}`
      return end('failed', `it was not over after ${LONGEST_SECONDS / 3600} hours${last}`)
    }
    // Beside an older table even what was listed already would look unregistered.
    const stopped = whyStopped(await controlOf(table))
    if (stopped !== undefined) return postpone(after(now(), STOPPED_SECONDS), stopped, false)
    // It is the last in its lane.
    const room = await ports.dispatch.room?.('p2', [issuerName])
    if (room?.crowded === true) return postpone(after(now(), STOPPED_SECONDS), 'other work of the lane goes first', false)

    const until = clock.now() + VISIT
    const pages = listPages(module, shared, issuers)
    try {
      for (let steps = 0; steps < MOST_STEPS && clock.now() < until; steps += 1) {
        const step = await next(current, pages.next, shared)
        switch (step.kind) {
          case 'moved':
            current = step.current
            continue
          case 'overtaken':
            return undefined
          case 'done':
            return await end('done')
          case 'failed':
            return await end('failed', step.said)
          case 'wait':
            return await postpone(step.until, step.said, false)
          case 'again': {
            if (current.attempts + 1 >= limits.attempts)
              return await end('failed', `after ${limits.attempts} attempts: ${step.said}`)
            const seconds = backoffSeconds(current.attempts + 1, random.fraction(), limits.backoffSeconds, step.afterSeconds)
            return await postpone(after(now(), seconds), step.said, true)
          }
        }
      }
      return NEXT_SECONDS
    } finally {
      await pages.end()
      for (const item of broken.values()) await ports.unreadable?.(item)
    }
  }

  function next(current: Discovery, page: (current: Discovery) => Promise<Step>, shared: Discovering): Promise<Step> {
    switch (current.state) {
      case 'listing':
        return page(current)
      case 'comparing':
        return compareLeases(definition, shared, current)
      default:
        return settleFindings(definition, shared, current)
    }
  }
}
