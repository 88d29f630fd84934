import { Decision } from '../contracts/case.ts'
import type { ControlView } from '../contracts/control.ts'
import { KillSwitch } from '../contracts/control.ts'
import type { Actor, Control } from '../domain/model.ts'
import { instant } from '../domain/time.ts'
import type { Route } from '../runtime/http.ts'
import { readBody } from '../runtime/http.ts'
import type { Clock } from '../runtime/ports.ts'
import { controlOf, engageKillSwitch, releaseKillSwitch, releaseRestored } from '../store/control.ts'
import { DUE } from '../store/keys.ts'
import type { Table } from '../store/table.ts'
import type { AsOperator, Operator } from './caller.ts'
import { mustApprove } from './caller.ts'

interface ControlPorts {
  readonly table: Table
  readonly clock: Clock
}

/** Open work counted for one answer, of each kind: beyond it the numbers mean "at least". */
const MOST_COUNTED = 2000
const PAGE = 500

const KINDS = [
  ['chunks', DUE.chunk],
  ['levers', DUE.lever],
  ['restorations', DUE.part],
  ['searches', DUE.ask],
] as const
type Work = Record<(typeof KINDS)[number][0], number>
const nothing = (): Work => ({ chunks: 0, levers: 0, restorations: 0, searches: 0 })

/** The kill switch, the release of a restored table, and what waits. */
export function controlling({ table, clock }: ControlPorts) {
  const actor = (operator: Operator, why: string): Actor => ({ who: operator.uri, why, at: instant(clock.now()) })

  async function get(): Promise<ControlView> {
    return view(await controlOf(table))
  }

  /** Everybody may stop; whoever stopped may go on, and otherwise it takes the right to approve. Doing it again changes nothing. */
  async function killSwitch({ engaged, reason }: KillSwitch, operator: Operator): Promise<ControlView> {
    if (engaged) return view((await engageKillSwitch(table, reason, actor(operator, reason))).control)
    const current = await controlOf(table)
    if (current?.killSwitch?.by !== operator.uri) mustApprove(operator)
    return view((await releaseKillSwitch(table, current, actor(operator, reason))).control)
  }

  /** A person has compared the restored table with the world, and lets it act. */
  async function release({ reason }: Decision, operator: Operator): Promise<ControlView> {
    mustApprove(operator)
    return view((await releaseRestored(table, actor(operator, reason))).control)
  }

  async function view(control: Control | undefined): Promise<ControlView> {
    return {
      ...(control?.killSwitch === undefined ? {} : { killSwitch: control.killSwitch }),
      ...(control?.restored === undefined ? {} : { restored: control.restored }),
      waits: await waits(),
    }
  }

  async function waits(): Promise<ControlView['waits']> {
    const counted = await Promise.all(KINDS.map(async ([kind, partition]) => ({ kind, ...(await open(partition)) })))
    const total = nothing()
    const issuers = new Map<string, Work>()
    for (const { kind, byIssuer } of counted)
      for (const [issuer, count] of byIssuer) {
        const known = issuers.get(issuer) ?? nothing()
        known[kind] += count
        issuers.set(issuer, known)
        total[kind] += count
      }
    return {
      more: counted.some(({ more }) => more),
      ...total,
      issuers: [...issuers]
        .map(([issuer, work]) => ({ issuer, ...work }))
        .sort((one, other) => (one.issuer < other.issuer ? -1 : 1)),
    }
  }

  /** Work that is not over, whenever it is due: chunks that only watch what they cut are none. */
  async function open(partition: string): Promise<{ byIssuer: Map<string, number>; more: boolean }> {
    const byIssuer = new Map<string, number>()
    let seen = 0
    let cursor: string | undefined
    do {
      const page = await table.index({ index: 'due', partition, limit: PAGE, ...(cursor === undefined ? {} : { cursor }) })
      for (const { issuer, state } of page.items)
        if (state === 'open' && typeof issuer === 'string') byIssuer.set(issuer, (byIssuer.get(issuer) ?? 0) + 1)
      seen += page.items.length
      cursor = page.cursor
    } while (cursor !== undefined && seen < MOST_COUNTED)
    return { byIssuer, more: cursor !== undefined }
  }

  return { get, killSwitch, release }
}

export function controlRoutes(ports: ControlPorts, as: AsOperator): Route[] {
  const control = controlling(ports)
  return [
    { method: 'GET', path: '/v1/control', handle: as(() => control.get()) },
    {
      method: 'PUT',
      path: '/v1/control/kill-switch',
      handle: as((request, operator) => control.killSwitch(readBody(request, KillSwitch), operator)),
    },
    {
      method: 'POST',
      path: '/v1/control/release',
      handle: as((request, operator) => control.release(readBody(request, Decision), operator)),
    },
  ]
}
