import type { PlanMessage } from '../contracts/message.ts'
import { instant } from '../domain/time.ts'
import { Unusable } from '../runtime/unusable.ts'
import { caseOf } from '../store/cases.ts'
import { progressName } from '../store/keys.ts'
import { progressOf } from '../store/units.ts'
import { fuses } from './fuse.ts'
import type { PlanPorts } from './plan.ts'
import { planner } from './plan.ts'
import { restorationLister } from './restore.ts'
import { scanShard } from './scan.ts'

/** The stage as a function over its ports. */
export function planStage(ports: PlanPorts) {
  const plan = planner(ports)
  const { carryOut } = fuses(ports)
  const restore = restorationLister(ports)
  return async (message: PlanMessage): Promise<void> => {
    if (message.kind === 'plan') return plan(message)
    if (message.kind === 'campaign') return carryOut(message)
    if (message.kind === 'restore') return restore(message.restoration)
    const current = await caseOf(ports.table, message.case)
    if (current === undefined) throw new Unusable('case-gone')
    if (current.closedAt !== undefined) return
    const name = progressName(message.scope, message.shard)
    if ((await progressOf(ports.table, current.id, name)) === undefined) throw new Unusable('scan-gone')
    const by = { who: 'plan', case: current.id, trigger: current.type, why: current.reason, at: instant(ports.clock.now()) }
    await scanShard(ports, current, message.scope, message.shard, Number.POSITIVE_INFINITY, by)
  }
}
