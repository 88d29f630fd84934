import type { Lease } from '../domain/model.ts'
import { LONGEST_CALL_SECONDS } from '../domain/settle.ts'
import { leasesOf } from '../store/leases.ts'
import { giveBack, intendRestore } from '../store/restorations.ts'
import { writeGroups } from '../store/work.ts'
import type { RestoreLevers } from './restore-levers.ts'
import type { Visit, Visits } from './restore-visit.ts'
import { asIntended } from './restore-visit.ts'

/** Gives back leases that have their credential to themselves. */
export function restoreExclusive(visits: Visits, levers: RestoreLevers) {
  const { wait, retry, refuse, about, leave, allowed, take, called } = visits
  const { held, pushBack } = levers
  const { table, clock } = visits.ports
  const { definition } = visits.module

  async function exclusive(visit: Visit, leases: readonly Lease[]): Promise<void> {
    const first = await held(visit, await allowed(visit, leases))
    if (first.length === 0) return
    const ids = await take(visit, first)
    // Taken, then looked again: a case that fenced it before this moment is seen here, one that comes later finds it taken.
    const second = await allowed(visit, [...(await leasesOf(table, ids)).values()])
    const free = await pushBack(visit, second)
    const until = clock.now() + (LONGEST_CALL_SECONDS - definition.limits.callSeconds) * 1000
    const intended = await writeGroups(
      table,
      free.map(({ lease }) => [intendRestore(lease, visit.restoration.id, about(visit, lease))]),
    )
    if (intended.some((done) => !done)) wait(visit, 'a case took it at the same time')
    const ready = free.filter((_, index) => intended[index] === true).map(asIntended)
    const answers = await called(
      visit,
      ready.map(({ lease }) => lease),
      until,
    )
    const writes: { readonly lease: Lease; readonly pardons: readonly string[]; readonly said: string }[] = []
    for (const { lease, pardons } of ready) {
      const answer = answers.get(lease.id)
      if (answer === undefined) continue
      if (answer.status === 'restored') writes.push({ lease, pardons, said: answer.said })
      else if (answer.status === 'retry') retry(visit, answer)
      else {
        await leave(visit, [lease])
        refuse(visit, [lease], answer.said)
      }
    }
    const given = await writeGroups(
      table,
      writes.map(({ lease, pardons, said }) => [
        giveBack(lease, visit.restoration.id, pardons, lease.ended?.case ?? '', said, about(visit, lease)),
      ]),
    )
    // A case took it while the call was under way: it cuts what the call brought back. The next look says so.
    if (given.some((one) => !one)) wait(visit, 'a case took it while it was given back')
  }

  return exclusive
}
