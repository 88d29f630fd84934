import * as z from 'zod/mini'
import { hasLapsed } from '../domain/lapse.ts'
import { mayHold } from '../domain/levers.ts'
import type { Lease, Lever } from '../domain/model.ts'
import { LONGEST_CALL_SECONDS } from '../domain/settle.ts'
import { caseOf } from '../store/cases.ts'
import { identityOf } from '../store/identities.ts'
import { as } from '../store/items.ts'
import { issuerRange } from '../store/keys.ts'
import { identityShards } from '../store/leases.ts'
import { beginRelease, dropRelease, endRelease, holdersOfLever, leverOf } from '../store/levers.ts'
import type { Allowed, Visit, Visits } from './restore-visit.ts'

interface Pulled {
  readonly lever: string
  /** The records of it in the cases that are undone. */
  readonly undone: readonly Lever[]
  /** Why it is not pushed back. */
  readonly said?: string
  readonly waits: boolean
}

/** The levers that hold leases beside their own cuts: whether they may be pushed back, and pushing them. */
export function restoreLevers(visits: Visits) {
  const { now, at, knownCase, wait, retry, refuse, leave, cannot } = visits
  const { table, clock } = visits.ports
  const { definition } = visits.module

  /** Leases whose levers may be pushed back; asked before anything is taken. */
  async function held(visit: Visit, may: readonly Allowed[]): Promise<Allowed[]> {
    const impossible = cannot(visit)
    if (impossible !== undefined) {
      refuse(
        visit,
        may.map(({ lease }) => lease),
        impossible,
      )
      return []
    }
    const free: Allowed[] = []
    for (const one of may) {
      const levers = await leversOn(visit, one)
      const stopped = levers.find(({ said }) => said !== undefined)
      if (stopped?.said === undefined) free.push(one)
      else if (stopped.waits || one.lease.revived === true) wait(visit, stopped.said)
      else {
        if (one.lease.state === 'restoring') await leave(visit, [one.lease])
        refuse(visit, [one.lease], stopped.said)
      }
    }
    return free
  }

  /** The levers that hold a lease, beside its own cut. */
  async function leversOn(visit: Visit, { lease, pardons }: Allowed): Promise<Pulled[]> {
    const identity = await identityOf(table, lease.identityKey)
    const found: Pulled[] = []
    for (const lever of Object.keys(identity?.issuers[lease.issuer]?.levers ?? {})) {
      const pulls = Object.entries((await holdersOfLever(table, lever))?.pulls ?? {})
      const undone: Lever[] = []
      let said: string | undefined
      let waits = false
      for (const [id, pulledFor] of pulls) {
        const record = await leverOf(table, id, pulledFor, lever)
        if (record === undefined || !mayHold(record)) continue
        const current = await caseOf(table, id)
        const earlier = record.identityKey === lease.identityKey && record.epoch < lease.epoch
        // What was pulled before its identity was reinstated holds it as well; a compromise of then is not undone with it.
        const goes = pardons.includes(id) || (earlier && current !== undefined && current.type !== 'compromise')
        if (!goes) said ??= `case ${id} holds the lever that it hangs on`
        else if (record.state === 'open' || (current !== undefined && current.closedAt === undefined)) {
          said ??= `case ${id} still runs, and holds the lever that it hangs on`
          waits = true
        } else undone.push(record)
      }
      if (said === undefined && undone.length > 0) {
        if (visit.provider.release === undefined) said = 'the issuer cannot push its lever back'
        else {
          const alone = undone.filter(({ case: id }) => visit.restoration.scope.kind === 'lease' || !pardons.includes(id))
          if (alone.length > 0) said = await heldOnlyByLever(lease, alone)
        }
      }
      if (said !== undefined || undone.length > 0) found.push({ lever, undone, waits, ...(said === undefined ? {} : { said }) })
    }
    return found
  }

  /** One lease is asked for, and the lever is all that holds another one, which could not be cut by itself. */
  async function heldOnlyByLever(lease: Lease, undone: readonly Lever[]): Promise<string | undefined> {
    const epoch = Math.max(...undone.map((one) => one.epoch))
    for (const pk of identityShards(lease.identityKey)) {
      let from: string | undefined
      do {
        const page = await table.query({
          pk,
          limit: 500,
          to: issuerRange(lease.issuer).to,
          ...(from === undefined ? { from: issuerRange(lease.issuer).from } : { after: from }),
        })
        for (const item of page.items) {
          const other = as('lease', item)
          if (other.epoch > epoch || other.restored !== undefined || hasLapsed(other, now())) continue
          const lives = other.state === 'cutting' || other.state === 'late' || other.ended?.outcome === 'unsupported'
          if (lives)
            return `the lever is all that holds lease ${other.id}, which could not be cut: restore the identity or the case`
        }
        from = page.next
      } while (from !== undefined)
    }
    return undefined
  }

  /** Pushes back the levers of leases that are taken; those whose levers do not move yet wait. */
  async function pushBack(visit: Visit, may: readonly Allowed[]): Promise<Allowed[]> {
    const free: Allowed[] = []
    const moved = new Map<string, boolean>()
    for (const one of may) {
      let all = true
      for (const pulled of await leversOn(visit, one)) {
        const known = moved.get(pulled.lever)
        const done = known ?? (await pushLever(visit, pulled))
        moved.set(pulled.lever, done)
        if (!done) all = false
      }
      if (all) free.push(one)
    }
    return free
  }

  async function pushLever(visit: Visit, { lever, undone, said }: Pulled): Promise<boolean> {
    const { restoration, provider } = visit
    if (said !== undefined) {
      wait(visit, said)
      return false
    }
    const holders = await holdersOfLever(table, lever)
    const only = new Set(undone.map((one) => one.case))
    const strangers = Object.keys(holders?.pulls ?? {}).filter((id) => !only.has(id))
    for (const id of strangers) {
      const record = await leverOf(table, id, holders?.pulls?.[id] ?? '', lever)
      if (record !== undefined && !mayHold(record)) continue
      wait(visit, `case ${id} pulls the lever that it hangs on`)
      return false
    }
    if (holders === undefined || !(await beginRelease(table, holders, restoration.id, at(visit.by)))) {
      wait(visit, 'the lever was pulled at the same time')
      return false
    }
    const until = clock.now() + (LONGEST_CALL_SECONDS - definition.limits.callSeconds) * 1000
    let heard = ''
    for (const record of undone) {
      const parsed = definition.lever === undefined ? undefined : z.safeParse(definition.lever, record.lever)
      if (parsed?.success !== true || provider.release === undefined || clock.now() > until) {
        await dropRelease(table, lever, restoration.id)
        wait(visit, 'the lever cannot be pushed back')
        return false
      }
      const current = await knownCase(visit, record.case)
      const answer = await provider.release(parsed.data, {
        case: record.case,
        lane: current?.lane ?? 'p1',
        epoch: record.epoch,
        fencedAt: record.fencedAt,
      })
      heard = answer.said
      if (answer.status === 'done') continue
      await dropRelease(table, lever, restoration.id)
      retry(visit, answer)
      return false
    }
    await endRelease(table, lever, restoration.id, undone, heard, at(visit.by))
    return true
  }

  return { held, pushBack }
}

export type RestoreLevers = ReturnType<typeof restoreLevers>
