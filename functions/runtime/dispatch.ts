import type { PlanMessage, WorkMessage } from '../contracts/message.ts'
import type { Lane } from '../contracts/primitives.ts'
import { planQueue, workQueue } from '../domain/queues.ts'
import { issuerOf } from '../store/issuers.ts'
import type { Table } from '../store/table.ts'
import type { Clock, QueueMessage, Queues } from './ports.ts'

export interface Dispatch {
  plan(lane: Lane, messages: readonly PlanMessage[]): Promise<void>
  /** Each message goes to the queue of its issuer's provider, in the lane of its case. */
  work(lane: Lane, messages: readonly WorkMessage[]): Promise<void>
  /**
   * How many messages the queues of some issuers take in a lane before they are full: the least of them. It is asked
   * for about once a second of each queue, and what is sent meanwhile is counted. Without it there is always room.
   */
  room?(lane: Lane, issuers: readonly string[]): Promise<Room>
}

export interface Room {
  /** Messages that may still be sent; below 0 where more is in the queue than should be. */
  readonly left: number
  /** So much waits that a message which nobody has taken up is more likely waiting than lost. */
  readonly crowded: boolean
}

/**
 * Messages in one work queue at most, hidden ones included, whatever is to be done: the rest stays in the table. (The first
 * pages of shards may fill as many again.) SQS takes 120,000 in flight; its count may be a minute old, and this leaves room for what is sent in that minute.
 */
export const MOST_IN_QUEUE = 20_000
/** Above so many, what was sent and not taken up is not sent again so soon. */
const CROWD = 1000
/** A count of a queue, and an issuer's provider, serves so long, in milliseconds. */
const COUNT_SERVES = 1000

/**
 * Sends work where it belongs. A queue only hastens: all work stands in the table with a due time, so the sweeper
 * sends again what was lost.
 *
 * An issuer that is not configured (any more) has no queue of its own; its chunks go to any worker, which finds that
 * it cannot serve them and parks their leases, so that nothing waits for ever unseen.
 *
 * @param names logical names of the queues that this function may send to
 * @param clock tells when a queue is counted anew, and an issuer's provider is asked for; without it, and where queues cannot be
 *   counted, there is always room
 */
export function dispatcher(table: Table, queues: Queues, names: readonly string[], clock?: Clock): Dispatch {
  const anyWork = (lane: Lane) => names.find((name) => name.startsWith('work-') && name.endsWith(`-${lane}`))
  const counted = new Map<string, { at: number; messages: number }>()
  const providers = new Map<string, { at: number; provider: string }>()

  /** The provider of an issuer; known for as long as a count serves, for a planner asks for each shard and each page. */
  async function providerOf(issuer: string): Promise<string | undefined> {
    const known = providers.get(issuer)
    const now = clock?.now() ?? Number.NaN
    if (known !== undefined && now - known.at < COUNT_SERVES) return known.provider
    const provider = (await issuerOf(table, issuer))?.provider
    if (provider === undefined) providers.delete(issuer)
    else providers.set(issuer, { at: now, provider })
    return provider
  }

  async function queueOf(lane: Lane, issuer: string): Promise<string> {
    const provider = await providerOf(issuer)
    const own = provider === undefined ? undefined : workQueue(provider, lane)
    const queue = own !== undefined && names.includes(own) ? own : anyWork(lane)
    if (queue === undefined) throw new Error('this function knows no work queue')
    return queue
  }

  async function depthOf(queue: string, now: number): Promise<number> {
    const known = counted.get(queue)
    if (known !== undefined && now - known.at < COUNT_SERVES) return known.messages
    const messages = (await queues.depth?.(queue)) ?? 0
    counted.set(queue, { at: now, messages })
    return messages
  }

  return {
    async room(lane, issuers) {
      if (queues.depth === undefined || clock === undefined) return { left: MOST_IN_QUEUE, crowded: false }
      let most = 0
      for (const queue of new Set(await Promise.all(issuers.map((issuer) => queueOf(lane, issuer)))))
        most = Math.max(most, await depthOf(queue, clock.now()))
      return { left: MOST_IN_QUEUE - most, crowded: most > CROWD }
    },
    async plan(lane, messages) {
      await queues.send(
        planQueue(lane),
        messages.map((body) => ({ body })),
      )
    },
    async work(lane, messages) {
      const queueBy = new Map<string, string>()
      for (const issuer of new Set(messages.map((message) => message.issuer))) queueBy.set(issuer, await queueOf(lane, issuer))
      const byQueue = new Map<string, QueueMessage[]>()
      for (const message of messages) {
        const queue = queueBy.get(message.issuer) ?? ''
        const batch = byQueue.get(queue) ?? []
        batch.push({ body: message, group: message.issuer })
        byQueue.set(queue, batch)
      }
      for (const [queue, batch] of byQueue) {
        await queues.send(queue, batch)
        const known = counted.get(queue)
        if (known !== undefined) known.messages += batch.length
      }
    },
  }
}
