import type { DiscoveryEvent } from '../contracts/discovery.ts'
import { DISCOVERY_TYPES } from '../contracts/discovery.ts'
import { isOver } from '../domain/discovery.ts'
import type { Discovery } from '../domain/model.ts'
import { viewOfDiscovery } from '../domain/views-discovery.ts'
import type { Announcer } from '../runtime/ports.ts'

/** A discovery that is over is told once, with what is new and should not be honoured. */
export async function announceDiscovery(announcer: Announcer, before: Discovery | undefined, current: Discovery): Promise<void> {
  if (!isOver(current) || before === undefined || isOver(before)) return
  const data: DiscoveryEvent['data'] = {
    discovery: viewOfDiscovery(current),
    alarming: current.alarming.map((one) => ({ ...one })),
  }
  const type = current.state === 'done' ? DISCOVERY_TYPES.done : DISCOVERY_TYPES.failed
  await announcer.announce([{ type, id: current.id, subject: current.issuer, time: current.endedAt ?? current.by.at, data }])
}
