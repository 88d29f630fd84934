import type { WorkMessage } from '../contracts/message.ts'
import type { Lane } from '../contracts/primitives.ts'
import { LANES } from '../contracts/primitives.ts'
import type { Chunk } from '../domain/model.ts'
import { after } from '../domain/time.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import { as, keyOf } from '../store/items.ts'
import type { Item, Table } from '../store/table.ts'
import { pushDue, putOff } from '../store/work.ts'

/** Due times pushed at once. */
const AT_ONCE = 16
/** What finds its queue full is looked at again after this, in seconds: the next sweep. */
const FULL_SECONDS = 60
/** A message that nobody took up is not sent again so often while many wait before it: it is more likely waiting than lost. */
const PATIENCE = 3

export interface ChunkSweep {
  readonly table: Table
  readonly dispatch: Dispatch
  /** The lane of its case; `undefined` where the chunk cannot be sent at all. */
  readonly laneOf: (item: Item, caseId: string) => Promise<Lane | undefined>
  /** Whether the order of its queue keeps one writer at what a lane changes there: then all of a case stays in its lane. */
  readonly isSerial: (issuer: string) => Promise<boolean>
  readonly messageOf: (chunk: Chunk) => WorkMessage
  readonly againSeconds: (chunk: Chunk) => number
  readonly now: () => string
}

/**
 * Sends due chunks again, the most urgent lane first, and no more than their queue has room for: what finds no room is
 * put off to the next sweep, so that it does not stand before what is due behind it.
 *
 * @returns how many were sent
 */
export async function sendAgain(ports: ChunkSweep, items: readonly Item[]): Promise<number> {
  const { table, dispatch, now } = ports
  const byQueue = new Map<string, { lane: Lane; issuer: string; chunks: Chunk[] }>()
  for (const item of items) {
    const chunk = as('chunk', item)
    const found = await ports.laneOf(item, chunk.case)
    if (found === undefined) continue
    // What is looked after when all is cut waits its turn behind the few places that it has, and not with workers of P0.
    const lane = chunk.step === 'watch' && !(await ports.isSerial(chunk.issuer)) ? 'p2' : found
    const group = byQueue.get(`${lane} ${chunk.issuer}`) ?? { lane, issuer: chunk.issuer, chunks: [] }
    group.chunks.push(chunk)
    byQueue.set(`${lane} ${chunk.issuer}`, group)
  }
  let sent = 0
  const urgent = [...byQueue.values()].sort((one, other) => LANES.indexOf(one.lane) - LANES.indexOf(other.lane))
  for (const { lane, issuer, chunks } of urgent) {
    const room = await dispatch.room?.(lane, [issuer])
    let left = room?.left ?? chunks.length
    const messages: WorkMessage[] = []
    for (let first = 0; first < chunks.length; first += AT_ONCE) {
      const taken = await Promise.all(
        chunks.slice(first, first + AT_ONCE).map(async (chunk) => {
          const seen = chunk.dueAt ?? ''
          const waits = room?.crowded === true && chunk.said === undefined && (chunk.resent ?? 0) < PATIENCE
          if (!waits && left <= 0) {
            await putOff(table, keyOf(chunk), seen, after(now(), FULL_SECONDS))
            return undefined
          }
          if (!waits) left -= 1
          // Whoever pushes the due time sends; a second sweep that saw the same item does not.
          const pushed = await pushDue(table, keyOf(chunk), seen, after(now(), ports.againSeconds(chunk)))
          return pushed && !waits ? ports.messageOf(chunk) : undefined
        }),
      )
      for (const message of taken) if (message !== undefined) messages.push(message)
    }
    await dispatch.work(lane, messages)
    sent += messages.length
  }
  return sent
}
