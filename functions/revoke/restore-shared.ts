import type { Credential, Lease } from '../domain/model.ts'
import { cannotUndo, casesOn, judge } from '../domain/restoring.ts'
import { LONGEST_CALL_SECONDS } from '../domain/settle.ts'
import { leaseOfSort, scopeOfCredential, shardPartition } from '../store/keys.ts'
import { credentialOf, leasesOf, look } from '../store/leases.ts'
import { dropRestoring, giveBack, intendRestore, markRestoring, openCredential, stillRestoring } from '../store/restorations.ts'
import type { RestoreLevers } from './restore-levers.ts'
import type { Allowed, Visit, Visits } from './restore-visit.ts'
import { asIntended } from './restore-visit.ts'

/** A shared credential is given back in one transaction with all its places. */
const MOST_HOLDERS = 90
const MOST_LISTED = 1000

/** Gives back credentials that several leases hold. */
export function restoreShared(visits: Visits, levers: RestoreLevers) {
  const { now, at, knownCase, wait, retry, refuse, about, leave, allowed, take, cannot, called } = visits
  const { held, pushBack } = levers
  const { table, clock } = visits.ports
  const { definition } = visits.module

  /** Every holder of a shared credential is given back with it, or none: whoever must not have it again keeps it cut. */
  async function together(visit: Visit, fingerprint: string, named: readonly Lease[]): Promise<void> {
    const { restoration } = visit
    const asked: Lease[] = []
    const against: [Lease, string][] = []
    for (const lease of named) {
      const verdict = judge(lease, restoration, [], { state: 'live' }, now())
      if (verdict.may === 'no') against.push([lease, verdict.said])
      else if (verdict.may !== 'skip') asked.push(lease)
    }
    // Who was taken with them for the credential's sake is let go first: nobody comes back for what is refused.
    if (asked.length === 0 && against.length > 0 && !(await letGo(visit, fingerprint))) return
    for (const [lease, said] of against) refuse(visit, [lease], said)
    if (asked.length === 0) return
    const credential = await credentialOf(table, fingerprint)
    if (credential === undefined) return refuse(visit, asked, 'the credential is not known any more')
    if (credential.restoring !== undefined && credential.restoring !== restoration.id)
      return refuse(visit, asked, `restoration ${credential.restoring} is at it`)
    const all = await holdersOf(fingerprint)
    if (all === undefined) return refuse(visit, asked, `more than ${MOST_LISTED} leases name the credential`)
    const mine = all.filter((lease) => lease.state === 'restoring' && lease.restoration === restoration.id)
    if (mine.length > 0 && credential.restoring === undefined) return taken(visit, all, mine, asked)
    const first = await groupAllowed(visit, all, asked, credential)
    if (first.length === 0) {
      if (visit.waiting === undefined) await dropRestoring(table, fingerprint, restoration.id, at(visit.by))
      return
    }
    const free = await held(visit, first)
    if (free.length < first.length) {
      if (visit.waiting === undefined)
        await giveUp(
          visit,
          fingerprint,
          free.map(({ lease }) => lease),
          asked,
          '',
        )
      return
    }
    if (!(await markRestoring(table, fingerprint, restoration.id, at(visit.by)))) return wait(visit, 'the credential changed')
    await take(visit, first)
    const holders = await holdersOf(fingerprint)
    const marked = await credentialOf(table, fingerprint)
    if (holders === undefined || marked === undefined) return wait(visit, 'the credential changed')
    const second = await groupAllowed(visit, holders, asked, marked)
    let ready = second.filter(({ lease }) => lease.state === 'restoring')
    if (ready.length === 0) {
      if (visit.waiting === undefined) await dropRestoring(table, fingerprint, restoration.id, at(visit.by))
      return
    }
    if (ready.length < second.length || (await pushBack(visit, ready)).length < ready.length)
      return wait(visit, 'not all of its holders could be taken yet')
    const until = clock.now() + (LONGEST_CALL_SECONDS - definition.limits.callSeconds) * 1000
    const intents = await table.transact([
      stillRestoring(fingerprint, restoration.id),
      ...ready.map(({ lease }) => intendRestore(lease, restoration.id, about(visit, lease))),
    ])
    if (!intents.ok) return wait(visit, 'a case took the credential at the same time')
    ready = ready.map(asIntended)
    // The lease that it was cut by carries the issuer's own mark of the cut.
    const leading = ready.find(({ lease }) => lease.id === marked.cut?.lease) ?? ready[0]
    if (leading === undefined) return
    const answer = (await called(visit, [leading.lease], until)).get(leading.lease.id)
    if (answer === undefined) return wait(visit, 'there was no answer')
    if (answer.status === 'retry') return retry(visit, answer)
    if (answer.status !== 'restored')
      return giveUp(
        visit,
        fingerprint,
        ready.map(({ lease }) => lease),
        asked,
        answer.said,
      )
    const pardons = [...new Set(ready.flatMap((one) => one.pardons))]
    const given = await table.transact([
      openCredential(marked, fingerprint, restoration.id, pardons, ready.length, at(visit.by)),
      ...ready.map((one) =>
        giveBack(one.lease, restoration.id, one.pardons, one.lease.ended?.case ?? '', answer.said, about(visit, one.lease)),
      ),
    ])
    if (!given.ok) wait(visit, 'a case took it while it was given back')
  }

  /** Leaves cut what was taken with a lease that is not given back after all; `false`: that has to wait. */
  async function letGo(visit: Visit, fingerprint: string): Promise<boolean> {
    const { id } = visit.restoration
    const all = (await holdersOf(fingerprint)) ?? []
    const mine = all.filter((lease) => lease.state === 'restoring' && lease.restoration === id)
    if (mine.length === 0) return true
    if ((await credentialOf(table, fingerprint))?.restoring !== id) await taken(visit, all, mine, [])
    else if (mine.some(({ revived }) => revived === true)) wait(visit, 'a case has to take what may live again')
    else await giveUp(visit, fingerprint, mine, [], '')
    return visit.waiting === undefined
  }

  async function giveUp(
    visit: Visit,
    fingerprint: string,
    mine: readonly Lease[],
    asked: readonly Lease[],
    said: string,
  ): Promise<void> {
    await leave(
      visit,
      mine.filter(({ state }) => state === 'restoring'),
    )
    await dropRestoring(table, fingerprint, visit.restoration.id, at(visit.by))
    if (said !== '') refuse(visit, asked, said)
  }

  /**
   * A case took the credential away while it was being given back. What a call may have brought to life is called cut
   * only when a lease that was taken with it is that case's: its cut is not final before such a call is over.
   */
  async function taken(visit: Visit, all: readonly Lease[], mine: readonly Lease[], asked: readonly Lease[]): Promise<void> {
    const lost = all.some((lease) => lease.restoration === visit.restoration.id && lease.state !== 'restoring')
    const safe = mine.filter((lease) => lease.revived !== true || (lost && (lease.unsettledUntil ?? '') <= now()))
    await leave(visit, safe)
    refuse(
      visit,
      asked.filter(({ id }) => safe.some((lease) => lease.id === id)),
      'a case took the credential at the same time',
    )
    if (safe.length < mine.length) wait(visit, 'a case took the credential at the same time, and cuts it again')
  }

  async function holdersOf(fingerprint: string): Promise<Lease[] | undefined> {
    const page = await table.query({
      pk: shardPartition(scopeOfCredential(fingerprint), 0),
      prefix: 'L#',
      limit: MOST_LISTED,
    })
    if (page.next !== undefined && page.items.length >= MOST_LISTED) return undefined
    const leases = await leasesOf(
      table,
      page.items.map(({ sk }) => leaseOfSort(sk).lease),
    )
    return [...leases.values()].filter((lease) => lease.fingerprint === fingerprint)
  }

  /** Those that may have the credential back; none where somebody who ever held it must not. */
  async function groupAllowed(
    visit: Visit,
    all: readonly Lease[],
    asked: readonly Lease[],
    credential: Credential,
  ): Promise<Allowed[]> {
    const against = async (): Promise<string | undefined> => {
      const impossible = cannot(visit)
      if (impossible !== undefined) return impossible
      if (credential.deletion !== undefined) return `the soak time is over: it is deleted since ${credential.deletion.at}`
      for (const lease of all) {
        if (lease.deletion !== undefined) return 'the soak time is over: the credential is deleted'
        if (!['ended', 'released', 'restoring', 'live'].includes(lease.state))
          return `lease ${lease.id} of the same credential is ${lease.state}`
        const { cases: fences } = await look(table, lease)
        for (const id of casesOn({ ...lease, pardons: { ...credential.pardons, ...lease.pardons } }, fences)) {
          const found = await knownCase(visit, id)
          if (found?.type !== 'compromise') continue
          const why = cannotUndo(found, visit.restoration)
          if (why !== undefined) return `of lease ${lease.id}, which names the same credential: ${why}`
        }
      }
      return credential.cutting || credential.holders === 0
        ? undefined
        : 'others hold the credential, and it lives: register the lease anew'
    }
    const said = await against()
    if (said !== undefined) {
      const mine = all.filter((lease) => lease.state === 'restoring' && lease.restoration === visit.restoration.id)
      // What a call may have brought to life waits for the case that is against it.
      if (mine.some(({ revived }) => revived === true)) wait(visit, `${said}: that case takes it`)
      else {
        await leave(visit, mine)
        refuse(
          visit,
          asked.filter((lease) => lease.restored?.restoration !== visit.restoration.id),
          said,
        )
      }
      return []
    }
    const wanted = new Set(asked.map(({ id }) => id))
    const sorted = [...all].sort((one, other) => Number(wanted.has(other.id)) - Number(wanted.has(one.id)))
    const told = { ...visit, refused: {} as Record<string, string>, waiting: undefined as string | undefined }
    // What was delegated from one of them waits for it: the group must not wait for that in turn.
    const first = new Set(
      all.flatMap(({ id, state, restoration }) => (state === 'restoring' && restoration === visit.restoration.id ? [id] : [])),
    )
    const may = await allowed(
      told,
      sorted.filter(
        ({ id, state, parent }) =>
          (state === 'ended' || state === 'restoring') && (wanted.has(id) || parent === undefined || !first.has(parent)),
      ),
    )
    for (const [id, why] of Object.entries(told.refused)) if (wanted.has(id)) visit.refused[id] = why
    // What is tried again spends its patience here too, or it would be asked after for ever.
    visit.spent ||= told.spent
    visit.hint = Math.max(visit.hint, told.hint)
    if (told.waiting !== undefined) {
      wait(visit, told.waiting)
      return []
    }
    for (const { lease } of may.slice(MOST_HOLDERS))
      if (wanted.has(lease.id))
        visit.refused[lease.id] = `more than ${MOST_HOLDERS} leases hold the credential: register this one anew when it lives`
    return may.slice(0, MOST_HOLDERS)
  }

  return together
}
