import * as z from 'zod/mini'
import { backoffSeconds } from '../domain/backoff.ts'
import { hasLapsed } from '../domain/lapse.ts'
import { mayHold } from '../domain/levers.ts'
import type { Actor, Case, Chunk, Credential, Lease, Lever, Restoration, RestorationPart } from '../domain/model.ts'
import { cannotUndo, casesOn, isOver, judge } from '../domain/restoring.ts'
import { LONGEST_CALL_SECONDS } from '../domain/settle.ts'
import { after, instant, later, secondsUntil, ttl } from '../domain/time.ts'
import type { Provider, ProviderModule, Restored, Warrant } from '../providers/contract.ts'
import { IssuerError } from '../providers/contract.ts'
import { Unusable } from '../runtime/unusable.ts'
import { caseOf } from '../store/cases.ts'
import { identityOf } from '../store/identities.ts'
import { as } from '../store/items.ts'
import { isCovered, issuerRange, leaseOfSort, scopeOfCredential, shardPartition } from '../store/keys.ts'
import { credentialOf, identityShards, leasesOf, look } from '../store/leases.ts'
import { beginRelease, dropRelease, endRelease, holdersOfLever, leverOf } from '../store/levers.ts'
import {
  completeRestoration,
  dropRestoring,
  finishPart,
  giveBack,
  intendRestore,
  leaveCut,
  markRestoring,
  openCredential,
  partOf,
  postponePart,
  restorationOf,
  stillRestoring,
  takeBack,
} from '../store/restorations.ts'
import { chunkByUnit, covered, writeGroups } from '../store/work.ts'
import type { issuerConnections } from './issuer.ts'
import { eachAnswered, subjectsOf } from './issuer.ts'
import type { Again, WorkPorts } from './ports.ts'

/** Something that another piece of work must finish first is asked after again so soon, in seconds. */
const WAIT_SECONDS = 5
/** A shared credential is given back in one transaction with all its places. */
const MOST_HOLDERS = 90
const MOST_LISTED = 1000
/** What may go by itself, such as a parent that is given back by another part, is waited for so often. */
const PATIENCE = 6

/** What one visit found out, lease by lease. */
interface Visit {
  readonly restoration: Restoration
  readonly by: Actor
  readonly provider: Provider
  readonly refused: Record<string, string>
  readonly cases: Map<string, Case | undefined>
  readonly soakSeconds: number
  readonly attempts: number
  waiting: string | undefined
  spent: boolean
  hint: number
}

/** A lease that may be given back, and the cases that are undone with it. */
interface Allowed {
  readonly lease: Lease
  readonly pardons: readonly string[]
}

/**
 * Undoes cuts: takes each lease (so that from then on every case and its expiry cut it again), looks at the fences
 * again, pushes back the levers that held it, calls the issuer, and calls it live only where nobody took it meanwhile.
 * Every step is conditional on the lease's generation, so a deletion, a new case and a second restoration each find
 * that they came first or second; a part that was killed is simply run again.
 */
export function restoreWorker(module: ProviderModule, ports: WorkPorts, issuers: ReturnType<typeof issuerConnections>) {
  const { table, clock, limits, random } = ports
  const { definition } = module
  const now = () => instant(clock.now())
  const at = (by: Actor): Actor => ({ ...by, at: now() })

  async function restore(id: string, partName: string): Promise<Again> {
    const restoration = await restorationOf(table, id)
    const part = await partOf(table, id, partName)
    if (restoration === undefined || part === undefined) throw new Unusable('restoration-gone')
    if (part.state === 'done') return undefined
    const by: Actor = {
      who: `revoke/${definition.name}`,
      why: `${restoration.reason} (restoration ${id}, asked by ${restoration.requester})`,
      at: now(),
    }
    const refused: Record<string, string> = { ...part.refused }
    const put = async (seconds: number, said: string, spends: boolean): Promise<Again> => {
      await postponePart(table, part, { dueAt: after(now(), seconds), said, refused, spends }, at(by))
      return seconds
    }
    const reached = await issuers.reach(part.issuer, by)
    if (reached.kind === 'unknown') return put(limits.backoffSeconds, reached.said, false)
    if (reached.kind === 'not-now') return put(Math.max(1, secondsUntil(reached.until, now())), reached.said, false)
    const visit: Visit = {
      restoration,
      by,
      provider: reached.provider,
      refused,
      cases: new Map(),
      soakSeconds: reached.issuer.soakSeconds,
      attempts: part.attempts,
      waiting: undefined,
      spent: false,
      hint: 0,
    }
    try {
      const leases = await concerned(part, restoration)
      const open = leases.filter((lease) => refused[lease.id] === undefined)
      await exclusive(
        visit,
        open.filter(({ sharing }) => sharing === 'exclusive'),
      )
      const shared = Map.groupBy(
        open.filter(({ sharing }) => sharing === 'shared'),
        ({ fingerprint }) => fingerprint,
      )
      for (const [fingerprint, holders] of shared) await together(visit, fingerprint, holders)
    } catch (error) {
      if (!(error instanceof IssuerError)) throw error
      const { until, said } = await issuers.failed(part.issuer, error, by)
      return await put(Math.max(1, secondsUntil(until, now())), said, false)
    } finally {
      await reached.end()
    }
    if (visit.waiting !== undefined)
      return put(
        visit.spent ? backoffSeconds(part.attempts + 1, random.fraction(), limits.backoffSeconds, visit.hint) : WAIT_SECONDS,
        visit.waiting,
        visit.spent,
      )
    await end(part, visit)
    return undefined
  }

  /** What the part covers, as it stands now. */
  async function concerned(part: RestorationPart, restoration: Restoration): Promise<Lease[]> {
    const found: Lease[] = []
    for await (const ids of covered(table, part, 100)) {
      const leases = await leasesOf(
        table,
        ids.map(({ id }) => id),
      )
      for (const lease of leases.values()) {
        if (!isCovered(lease, part.covers)) continue
        if (part.unit !== undefined && restoration.scope.kind === 'case' && lease.claims[restoration.scope.id] !== part.unit)
          continue
        found.push(lease)
      }
    }
    return found
  }

  async function end(part: RestorationPart, visit: Visit): Promise<void> {
    const restored = new Map<string, number>()
    const gone: string[] = []
    for (const { restored: back } of await concerned(part, visit.restoration))
      if (back?.restoration === visit.restoration.id) restored.set(back.case, (restored.get(back.case) ?? 0) + 1)
    // A case that retention removed has no view to show it in.
    for (const id of [...restored.keys()]) if ((await caseOf(table, id)) === undefined) gone.push(id)
    const keep = ttl(after(now(), (limits.retentionDays + 366) * 86400))
    const fresh = (await restorationOf(table, visit.restoration.id)) ?? visit.restoration
    await finishPart(table, part, fresh, { restored, gone, refused: visit.refused }, keep, at(visit.by))
    const current = await restorationOf(table, visit.restoration.id)
    if (current?.state === 'running' && current.parts.done === current.parts.expected)
      await completeRestoration(table, current, keep, at(visit.by))
  }

  /** Whether it may be given back, by what stands in the table at this moment. */
  async function verdictOn(visit: Visit, lease: Lease) {
    const { cases: fences, parent } = await look(table, lease)
    const covering: Case[] = []
    for (const id of casesOn(lease, fences)) {
      const found = await knownCase(visit, id)
      if (found !== undefined) covering.push(found)
    }
    return judge(lease, visit.restoration, covering, parent, now())
  }

  /** A case that is over is read once. */
  async function knownCase(visit: Visit, id: string): Promise<Case | undefined> {
    const known = visit.cases.get(id)
    if (known !== undefined && isOver(known)) return known
    const found = await caseOf(table, id)
    visit.cases.set(id, found)
    return found
  }

  const wait = (visit: Visit, said: string) => {
    visit.waiting ??= said
  }
  const retry = (visit: Visit, answer: { readonly said: string; readonly afterSeconds?: number; readonly throttled?: true }) => {
    if (answer.throttled !== true) visit.spent = true
    visit.hint = Math.max(visit.hint, answer.afterSeconds ?? 0)
    wait(visit, answer.said)
  }
  const refuse = (visit: Visit, leases: readonly Lease[], said: string) => {
    for (const { id } of leases) visit.refused[id] = said
  }
  /** Whom a change is told of: the case whose cut is undone. */
  const about = (visit: Visit, lease: Lease): Actor => {
    const undone = lease.ended?.case
    const known = undone === undefined ? undefined : visit.cases.get(undone)
    return {
      ...at(visit.by),
      ...(undone === undefined ? {} : { case: undone }),
      ...(known === undefined ? {} : { trigger: known.type }),
    }
  }

  /** Leaves cut what no call can have brought to life. */
  async function leave(visit: Visit, leases: readonly Lease[]): Promise<void> {
    const keep = (lease: Lease) => ttl(after(later(lease.expiresAt, now()), limits.retentionDays * 86400 + visit.soakSeconds))
    await writeGroups(
      table,
      leases.map((lease) => [leaveCut(lease, visit.restoration.id, keep(lease), about(visit, lease))]),
    )
  }

  /** Judges leases as they were read; what is refused is said, and what was taken already is left cut where that is safe. */
  async function allowed(visit: Visit, leases: readonly Lease[]): Promise<Allowed[]> {
    const may: Allowed[] = []
    for (const lease of leases) {
      const verdict = await verdictOn(visit, lease)
      if (verdict.may === 'yes') {
        may.push({ lease, pardons: verdict.pardons })
        continue
      }
      if (verdict.may === 'skip') continue
      const mine = lease.state === 'restoring' && lease.restoration === visit.restoration.id
      // It may live, so it is not called cut: the case that fenced it since finds it taken, and takes it from here.
      if (mine && lease.revived === true) wait(visit, `${verdict.may === 'no' ? verdict.said : verdict.said}: that case takes it`)
      else if (verdict.may === 'wait') wait(visit, verdict.said)
      else if (verdict.yet === true && visit.attempts < PATIENCE) retry(visit, verdict)
      else {
        if (mine) await leave(visit, [lease])
        refuse(visit, [lease], verdict.said)
      }
    }
    return may
  }

  const take = async (visit: Visit, may: readonly Allowed[]): Promise<string[]> => {
    const ended = may.filter(({ lease }) => lease.state === 'ended')
    const taken = await writeGroups(
      table,
      ended.map(({ lease }) => [takeBack(lease, visit.restoration.id, about(visit, lease))]),
    )
    if (taken.some((one) => !one)) wait(visit, 'it was changed at the same time')
    return [
      ...may.filter(({ lease }) => lease.state !== 'ended').map(({ lease }) => lease.id),
      ...ended.filter((_, index) => taken[index] === true).map(({ lease }) => lease.id),
    ]
  }

  function cannot(visit: Visit): string | undefined {
    if (definition.capabilities.restores && visit.provider.restore !== undefined) return undefined
    return `provider ${definition.name} cannot undo a cut`
  }

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

  /** Calls the issuer for leases that are taken, by the warrant that each was cut with. */
  async function called(visit: Visit, leases: readonly Lease[], until: number): Promise<Map<string, Restored>> {
    const { subjects, unusable } = await subjectsOf(module, leases, ports.open)
    const answers = new Map<string, Restored>(unusable.map(({ lease, said }) => [lease.id, { status: 'refused' as const, said }]))
    const warrants = new Map<string, { warrant: Warrant; subjects: typeof subjects }>()
    for (const one of subjects) {
      const warrant = await warrantOf(visit, one.lease)
      const name = `${warrant.case} ${warrant.epoch}`
      const known = warrants.get(name)
      if (known === undefined) warrants.set(name, { warrant, subjects: [one] })
      else known.subjects.push(one)
    }
    for (const { warrant, subjects: all } of warrants.values())
      for (let start = 0; start < all.length; start += definition.limits.batch) {
        const batch = all.slice(start, start + definition.limits.batch)
        const results = await eachAnswered<Restored>(
          batch.map(({ subject }) => subject),
          async (some) => {
            // Whoever takes a lease from here waits for this call so long and no longer.
            if (clock.now() > until) throw new Late()
            return (await visit.provider.restore?.(some, warrant)) ?? []
          },
          (error) => ({
            status: 'retry',
            said: error instanceof Late ? 'the time of this attempt is over' : 'the provider failed',
          }),
        )
        for (const [index, { lease }] of batch.entries()) {
          const result = results[index]
          if (result !== undefined) answers.set(lease.id, result)
        }
      }
    return answers
  }

  async function warrantOf(visit: Visit, lease: Lease): Promise<Warrant> {
    const id = lease.ended?.case ?? ''
    const current = await knownCase(visit, id)
    const unit = lease.claims[id]
    const chunk: Chunk | undefined = unit === undefined ? undefined : await chunkByUnit(table, id, unit, lease.id)
    return {
      case: id,
      lane: current?.lane ?? 'p1',
      epoch: chunk === undefined ? lease.epoch : (chunk.epoch ?? 0),
      fencedAt: current?.fencedAt ?? current?.openedAt ?? lease.ended?.at ?? lease.registeredAt,
    }
  }

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

  interface Pulled {
    readonly lever: string
    /** The records of it in the cases that are undone. */
    readonly undone: readonly Lever[]
    /** Why it is not pushed back. */
    readonly said?: string
    readonly waits: boolean
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

  return restore
}

/** As it stands when the intent of its call is written. */
const asIntended = (one: Allowed): Allowed => ({ ...one, lease: { ...one.lease, generation: one.lease.generation + 1 } })

/** The attempt has used up the time that others wait for it. */
class Late extends Error {
  override readonly name = 'Late'
}
