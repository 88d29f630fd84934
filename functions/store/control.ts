import type { Actor, Case, Control } from '../domain/model.ts'
import { actor } from './identities.ts'
import { as, read } from './items.ts'
import { caseItem, controlItem } from './keys.ts'
import type { Condition, Path, Table, Value } from './table.ts'

/** What holds for the whole installation: one item, read strongly before each call of an issuer. */

export const controlOf = (table: Table): Promise<Control | undefined> => read(table, 'control', controlItem())

/** The same and a case, in one call: it is made before each call of an issuer. */
export async function controlAndCase(
  table: Table,
  id: string,
): Promise<{ readonly control: Control | undefined; readonly current: Case | undefined }> {
  const [control, current] = await table.getMany([controlItem(), caseItem(id)])
  return {
    control: control === undefined ? undefined : as('control', control),
    current: current === undefined ? undefined : as('case', current),
  }
}

/** Why no issuer may be called, for people; absent where they may. */
export function whyStopped(control: Control | undefined): string | undefined {
  if (control?.killSwitch !== undefined)
    return `the kill switch is engaged by ${control.killSwitch.by} since ${control.killSwitch.since}: ${control.killSwitch.reason}`
  if (control?.restored !== undefined)
    return `the table was restored from a backup and waits to be released since ${control.restored.since}: ${control.restored.reason}`
  return undefined
}

/** `false`: it was so already, and who made it so stays on record. */
async function change(
  table: Table,
  set: readonly (readonly [Path, Value])[],
  remove: readonly Path[],
  condition: Condition,
  by: Actor,
): Promise<{ readonly changed: boolean; readonly control: Control | undefined }> {
  const done = await table.write({
    update: controlItem(),
    set: [['kind', 'control'], ...set, ['by', actor(by)]],
    remove,
    if: [condition],
  })
  if (done.ok) return { changed: true, control: await controlOf(table) }
  return { changed: false, control: done.current === undefined ? undefined : as('control', done.current) }
}

/** From the next call on, no issuer is called. Fences go on. */
export const engageKillSwitch = (table: Table, reason: string, by: Actor) =>
  change(table, [['killSwitch', { by: by.who, reason, since: by.at }]], [], ['killSwitch', 'absent'], by)

/** @param seen the control as the right to release was judged by: another engagement since then stays */
export const releaseKillSwitch = (table: Table, seen: Control | undefined, by: Actor) =>
  change(table, [['releasedAt', by.at]], ['killSwitch'], [['killSwitch', 'since'], '=', seen?.killSwitch?.since ?? ''], by)

/** This table is an older one brought back: what it believes of the issuers may be wrong. */
export const markRestored = (table: Table, reason: string, by: Actor) =>
  change(table, [['restored', { since: by.at, reason }]], [], ['restored', 'absent'], by)

export const releaseRestored = (table: Table, by: Actor) =>
  change(table, [['releasedAt', by.at]], ['restored'], ['restored', 'exists'], by)
