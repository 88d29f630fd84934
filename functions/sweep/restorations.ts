import type { Dispatch } from '../runtime/dispatch.ts'
import { as, keyOf } from '../store/items.ts'
import type { Item, Table } from '../store/table.ts'
import { pushDue } from '../store/work.ts'

/** Restorations that are not listed, or whose end nobody noticed, and parts of them whose message was lost or whose time has come. */
export async function sweepRestorations(
  { table, dispatch }: { readonly table: Table; readonly dispatch: Dispatch },
  due: { readonly restorations: AsyncGenerator<Item[]>; readonly parts: AsyncGenerator<Item[]> },
  again: (item: Item) => string,
): Promise<number> {
  let sent = 0
  // Whoever pushes the due time sends; a second sweep that saw the same item does not.
  const mine = (item: Item) => pushDue(table, keyOf(item), typeof item.dueAt === 'string' ? item.dueAt : '', again(item))
  for await (const items of due.restorations)
    for (const item of items) {
      if (!(await mine(item))) continue
      await dispatch.plan('p1', [{ v: 1, kind: 'restore', restoration: as('restoration', item).id }])
      sent += 1
    }
  for await (const items of due.parts)
    for (const item of items) {
      const part = as('restoration-part', item)
      if (!(await mine(item))) continue
      await dispatch.work('p1', [{ v: 1, kind: 'restore', restoration: part.restoration, part: part.name, issuer: part.issuer }])
      sent += 1
    }
  return sent
}
