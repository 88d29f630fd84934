import type { WorkMessage } from '../contracts/message.ts'
import type { CaseScope } from '../contracts/scope.ts'
import type { Settings } from '../contracts/settings.ts'
import { isOver } from '../domain/located.ts'
import type { Actor, Case, Issuer, Lease, Unit } from '../domain/model.ts'
import { onlyObserves } from '../domain/modes.ts'
import { after, instant } from '../domain/time.ts'
import type { Definition } from '../providers/contract.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import type { Clock } from '../runtime/ports.ts'
import { noteUnasked, openAsk } from '../store/asks.ts'
import { markFenced } from '../store/cases.ts'
import { fence } from '../store/identities.ts'
import { issuerOf } from '../store/issuers.ts'
import { fenceItem, scopeOfCredential } from '../store/keys.ts'
import { holdersOf, markCutting } from '../store/leases.ts'
import { mayMark } from '../store/observed.ts'
import type { Table } from '../store/table.ts'
import { openUnit } from '../store/units.ts'

export interface NamedPorts {
  readonly table: Table
  readonly dispatch: Dispatch
  readonly clock: Clock
  readonly catalog: Readonly<Record<string, Definition>>
  readonly settings: Settings
}

/** The sweeper looks after a question that nobody took up for this long, in seconds. */
const LOOK_AFTER_SECONDS = 120

/**
 * Plans a case on a credential by its name: the credentials that it can be are fenced and listed like a credential's
 * scope. Where no lease is found, the issuers that can be asked are asked; whoever registers it meanwhile meets the fence,
 * which stood before the list was read. Every step finds its own traces, so a planner that was killed is run again.
 *
 * @param list reads a unit's shards and has them scanned
 */
export async function planNamed(
  ports: NamedPorts,
  current: Case,
  scope: Extract<CaseScope, { kind: 'credential-name' }>,
  list: (unit: Unit) => Promise<void>,
  by: Actor,
): Promise<void> {
  const { table } = ports
  const { candidates } = scope
  const at = (): Actor => ({ ...by, at: instant(ports.clock.now()) })
  const units: Unit[] = []
  const issuers = new Map<string, Issuer | undefined>()
  for (const { issuer, fingerprint } of candidates) {
    const scope = scopeOfCredential(fingerprint)
    const configured = await issuerOf(table, issuer)
    issuers.set(issuer, configured)
    units.push(await openUnit(table, current, scope, undefined, by))
    if (current.mode === 'observe') continue
    await fence(table, fenceItem(scope), current.id, at())
    if (await mayMark(table, current, fingerprint, ports.settings, configured)) await markCutting(table, fingerprint, at())
  }
  if (current.mode !== 'observe') await markFenced(table, current.id, at())
  for (const unit of units) await list(unit)

  const begun = (current.asks?.expected ?? 0) > 0
  const holders = new Map<string, Lease>()
  for (const { issuer, fingerprint } of candidates) {
    const holder = await holderOf(table, current, fingerprint)
    if (holder !== undefined) holders.set(issuer, holder)
  }
  const [any] = holders.values()
  const messages: WorkMessage[] = []
  for (const { issuer } of candidates) {
    // A planner before us found no lease; what there is by now may be what an issuer was asked for.
    const holder = begun ? undefined : (holders.get(issuer) ?? (scope.everywhere === true ? undefined : any))
    const unasked = holder === undefined ? whyUnasked(ports, current, issuer, issuers.get(issuer)) : HELD(holder)
    if (unasked !== undefined) {
      await noteUnasked(table, current.id, issuer, unasked, at())
      continue
    }
    await openAsk(table, current.id, issuer, after(at().at, LOOK_AFTER_SECONDS), at())
    messages.push({ v: 1, kind: 'locate', case: current.id, issuer })
  }
  if (messages.length > 0) await ports.dispatch.work(current.lane, messages)
}

const HELD = (lease: Lease) => `not asked: a lease at ${lease.issuer} names the credential`

/** Why an issuer is not asked; `undefined`: it is. */
function whyUnasked(ports: NamedPorts, current: Case, name: string, issuer: Issuer | undefined): string | undefined {
  if (onlyObserves(current, name, issuer)) return 'not asked: in mode observe no issuer is touched'
  if (issuer === undefined) return 'cannot be asked: the issuer is not configured any more'
  if (ports.catalog[issuer.provider]?.capabilities.locates !== true)
    return `cannot be asked: provider ${issuer.provider} cannot look for a credential that no lease names`
  return undefined
}

/** A lease of the credential that is not over: the case finds it by its scan, or its registrar finds the case. */
async function holderOf(table: Table, current: Case, fingerprint: string): Promise<Lease | undefined> {
  for await (const lease of holdersOf(table, fingerprint)) if (!isOver(lease, current)) return lease
  return undefined
}
