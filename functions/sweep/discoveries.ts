import { nextDiscovery } from '../domain/discovery.ts'
import { key } from '../domain/keys.ts'
import type { Actor } from '../domain/model.ts'
import { after } from '../domain/time.ts'
import type { Definition } from '../providers/contract.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import { controlOf, whyStopped } from '../store/control.ts'
import { discoveriesOfAll, discoveryOf, startDiscovery } from '../store/discoveries.ts'
import { issuers } from '../store/issuers.ts'
import { as, keyOf } from '../store/items.ts'
import type { Item, Table } from '../store/table.ts'
import { pushDue } from '../store/work.ts'

/** Discoveries that one sweep begins at most: where many issuers were never listed, they follow one another. */
const MOST_STARTS = 10
/** Whatever the mark says, none runs so long: one that is not over after a day ends. In seconds. */
const LONGEST_SECONDS = 2 * 86_400

/**
 * Begins what discoveries are due by schedule, and sends on those that run. An issuer that none was ever made of is due at
 * once, the others at their moment of each period; one that is under way is left to itself.
 *
 * @param due discoveries that are due
 * @param again when one that was sent is looked after again
 */
export async function sweepDiscoveries(
  ports: {
    readonly table: Table
    readonly dispatch: Dispatch
    readonly catalog: Readonly<Record<string, Pick<Definition, 'capabilities'>>>
    readonly everySeconds?: number | undefined
  },
  due: AsyncIterable<readonly Item[]>,
  now: () => string,
  again: (item: Item) => string,
): Promise<number> {
  const { table, dispatch, catalog } = ports
  let sent = 0
  for await (const items of due)
    for (const item of items) {
      const { id, issuer, dueAt = '' } = as('discovery', item)
      // Whoever pushes the due time sends; a second sweep that saw the same item does not.
      if (!(await pushDue(table, keyOf(item), dueAt, again(item)))) continue
      await dispatch.work('p2', [{ v: 1, kind: 'discover', discovery: id, issuer }])
      sent += 1
    }
  if (whyStopped(await controlOf(table)) !== undefined) return sent

  const scheduled = (await issuers(table)).flatMap((issuer) => {
    const every = issuer.discoverEverySeconds ?? ports.everySeconds ?? 0
    return every > 0 && catalog[issuer.provider]?.capabilities.discovers === true ? [{ issuer, every }] : []
  })
  const states = await discoveriesOfAll(
    table,
    scheduled.map(({ issuer }) => issuer.name),
  )
  let starts = 0
  for (const [index, { issuer, every }] of scheduled.entries()) {
    const state = states[index]
    const at = now()
    const next = nextDiscovery(issuer.name, every, state?.lastAt)
    const runs = state?.running !== undefined && after(state.lastAt ?? at, LONGEST_SECONDS) > at
    if (starts >= MOST_STARTS || runs || (next !== undefined && next > at)) continue
    const by: Actor = { who: 'sweep', why: 'it is due', at }
    const fresh = {
      id: key('discovery', issuer.name, 'sweep', at),
      issuer: issuer.name,
      provider: issuer.provider,
      issuerVersion: issuer.v,
      requester: 'sweep',
    }
    if ((await startDiscovery(table, fresh, by)) !== fresh.id) continue
    starts += 1
    const made = await discoveryOf(table, issuer.name, fresh.id)
    if (made === undefined || !(await pushDue(table, keyOf(made), made.dueAt ?? '', again({ ...keyOf(made) })))) continue
    await dispatch.work('p2', [{ v: 1, kind: 'discover', discovery: fresh.id, issuer: issuer.name }])
  }
  return sent + starts
}
