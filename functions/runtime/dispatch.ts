import type { PlanMessage, WorkMessage } from '../contracts/message.ts'
import type { Lane } from '../contracts/primitives.ts'
import { planQueue, workQueue } from '../domain/queues.ts'
import { issuerOf } from '../store/issuers.ts'
import type { Table } from '../store/table.ts'
import type { QueueMessage, Queues } from './ports.ts'

export interface Dispatch {
  plan(lane: Lane, messages: readonly PlanMessage[]): Promise<void>
  /** Each message goes to the queue of its issuer's provider, in the lane of its case. */
  work(lane: Lane, messages: readonly WorkMessage[]): Promise<void>
}

/**
 * Sends work where it belongs. A queue only hastens: all work stands in the table with a due time, so the sweeper
 * sends again what was lost.
 *
 * An issuer that is not configured (any more) has no queue of its own; its chunks go to any worker, which finds that
 * it cannot serve them and parks their leases, so that nothing waits for ever unseen.
 *
 * @param names logical names of the queues that this function may send to
 */
export function dispatcher(table: Table, queues: Queues, names: readonly string[]): Dispatch {
  const anyWork = (lane: Lane) => names.find((name) => name.startsWith('work-') && name.endsWith(`-${lane}`))
  return {
    async plan(lane, messages) {
      await queues.send(
        planQueue(lane),
        messages.map((body) => ({ body })),
      )
    },
    async work(lane, messages) {
      const providers = new Map<string, string | undefined>()
      for (const issuer of new Set(messages.map((message) => message.issuer)))
        providers.set(issuer, (await issuerOf(table, issuer))?.provider)
      const byQueue = new Map<string, QueueMessage[]>()
      for (const message of messages) {
        const provider = providers.get(message.issuer)
        const own = provider === undefined ? undefined : workQueue(provider, lane)
        const queue = own !== undefined && names.includes(own) ? own : anyWork(lane)
        if (queue === undefined) throw new Error('this function knows no work queue')
        byQueue.set(queue, [...(byQueue.get(queue) ?? []), { body: message, group: message.issuer }])
      }
      for (const [queue, batch] of byQueue) await queues.send(queue, batch)
    },
  }
}
