import type { Ask, Case } from '../domain/model.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import { as, keyOf } from '../store/items.ts'
import type { Item, Table } from '../store/table.ts'
import { pushDue } from '../store/work.ts'

/**
 * Sends questions to issuers again that nobody answered in time: the message was lost, or the issuer was down.
 *
 * @param due the questions that are due, page by page
 * @param nextLook when it is looked after again
 * @returns how many were sent
 */
export async function sweepAsks(
  ports: {
    readonly table: Table
    readonly dispatch: Dispatch
    /** Its case; what has none is set aside. */
    readonly caseFor: (item: Item, id: string) => Promise<Case | undefined>
  },
  due: AsyncIterable<readonly Item[]>,
  nextLook: (ask: Ask) => string,
): Promise<number> {
  const { table, dispatch, caseFor } = ports
  let sent = 0
  for await (const items of due)
    for (const item of items) {
      const ask = as('ask', item)
      const current = await caseFor(item, ask.case)
      if (current === undefined) continue
      // Whoever pushes the due time sends; a second sweep that saw the same item does not.
      if (!(await pushDue(table, keyOf(ask), ask.dueAt ?? '', nextLook(ask)))) continue
      await dispatch.work(current.lane, [{ v: 1, kind: 'locate', case: ask.case, issuer: ask.issuer }])
      sent += 1
    }
  return sent
}
