import type { Case } from '../domain/model.ts'
import { after } from '../domain/time.ts'
import type { UnusableItem } from '../runtime/quarantine.ts'
import type { UnusableReason } from '../runtime/unusable.ts'
import { caseOf } from '../store/cases.ts'
import { ForeignItem, faultOf, keyOf } from '../store/items.ts'
import { DUE } from '../store/keys.ts'
import type { Item, Table } from '../store/table.ts'
import { putOff } from '../store/work.ts'

/** What cannot be handled is looked at again after this, in seconds: somebody may have mended it. */
const DAY_SECONDS = 86400

/** What lies in each partition of the `due` index; all others hold leases. */
const KINDS: Readonly<Record<string, Parameters<typeof faultOf>[0]>> = {
  [DUE.case]: 'case',
  [DUE.chunk]: 'chunk',
  [DUE.lever]: 'lever',
  [DUE.orphan]: 'identity',
  [DUE.parked]: 'lease',
  [DUE.ask]: 'ask',
  [DUE.restoration]: 'restoration',
  [DUE.part]: 'restoration-part',
  [DUE.campaign]: 'campaign',
  [DUE.discovery]: 'discovery',
}

/**
 * Sets aside what the sweeper comes across and nobody can handle: an item of an unknown schema, work whose case is gone.
 * It is kept in the quarantine, counted each time, and looked at again a day later, so that it neither stands at the head
 * of what is due for ever nor is forgotten.
 */
export function asideFor(table: Table, now: () => string, keep: ((unusable: UnusableItem) => Promise<void>) | undefined) {
  async function aside(item: Item, reason: UnusableReason): Promise<void> {
    await keep?.({ reason, origin: 'sweep', item: keyOf(item) })
    if (typeof item.dueAt === 'string') await putOff(table, keyOf(item), item.dueAt, after(now(), DAY_SECONDS))
  }

  /** Those that are what their partition holds. */
  async function readable(partition: string, items: readonly Item[]): Promise<Item[]> {
    const kind = KINDS[partition] ?? 'lease'
    const found: Item[] = []
    for (const item of items)
      if (faultOf(kind, item) === undefined) found.push(item)
      else await aside(item, 'item-unreadable')
    return found
  }

  /** The case that a piece of work belongs to; without it, the work is set aside. */
  async function caseFor(item: Item, id: string): Promise<Case | undefined> {
    try {
      const current = await caseOf(table, id)
      // What only watches what it cut may outlive the retention of its case.
      if (current === undefined && item.step === 'watch')
        await putOff(table, keyOf(item), String(item.dueAt), after(now(), DAY_SECONDS))
      else if (current === undefined) await aside(item, 'case-gone')
      return current
    } catch (error) {
      if (!(error instanceof ForeignItem)) throw error
      await aside(item, 'item-unreadable')
      return undefined
    }
  }

  return { aside, readable, caseFor }
}
