import type { WorkMessage } from '../contracts/message.ts'
import type { ProviderModule } from '../providers/contract.ts'
import { Postponed } from '../runtime/sqs-batch.ts'
import { leverWorker } from './contain.ts'
import { discoverWorker } from './discover.ts'
import { locateWorker } from './locate.ts'
import type { Again, WorkPorts } from './ports.ts'
import { restoreWorker } from './restore.ts'
import { chunkWorker, SHORT_WAIT_SECONDS } from './work.ts'

/** A message that waits is returned to its queue only so often: each return counts as a receive, and the table waits as well. */
const MOST_RETURNS = 8

/** The worker of one provider as a function over its ports. */
export function revokeWorker(module: ProviderModule, ports: WorkPorts) {
  const chunks = chunkWorker(module, ports)
  const contain = leverWorker(module, ports, chunks.issuers)
  const locate = locateWorker(module, ports, chunks.issuers)
  const restore = restoreWorker(module, ports, chunks.issuers)
  const discover = discoverWorker(module, ports, chunks.issuers)
  const visit = async (message: WorkMessage): Promise<Again> => {
    switch (message.kind) {
      case 'contain':
        return contain(message.case, message.identity, message.lever)
      case 'restore':
        return restore(message.restoration, message.part)
      case 'locate':
        return locate(message.case, message.issuer)
      case 'discover':
        return discover(message.issuer, message.discovery)
      default:
        return chunks.work(message)
    }
  }
  return async (message: WorkMessage, delivery: { readonly receiveCount: number }): Promise<void> => {
    const seconds = await visit(message)
    if (seconds === undefined || module.definition.serial) return
    if (seconds < SHORT_WAIT_SECONDS && delivery.receiveCount < MOST_RETURNS) throw new Postponed(Math.floor(seconds))
  }
}
