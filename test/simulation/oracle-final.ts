import { auditOf } from '../../functions/domain/audit.ts'
import type { Case, Chunk, Credential, Lease, Lever, LeverHolders, Restoration } from '../../functions/domain/model.ts'
import { as } from '../../functions/store/items.ts'
import type { Item } from '../../functions/store/table.ts'
import type { Sent, TrueEvent } from './journal.ts'
import { Meaning } from './meaning.ts'
import type { Observed, Watch } from './oracle-step.ts'
import type { Schedule } from './schedule.ts'
import { groupName, identityIndex } from './world.ts'

/** Items whose every version stands in the ledger. */
const FOLLOWED: ReadonlySet<unknown> = new Set([
  'lease',
  'case',
  'identity',
  'fence',
  'lever',
  'chunk',
  'amendment',
  'issuer',
  'credential',
  'alias',
  'restoration',
  'control',
  'campaign',
  'fuse',
  'ask',
])

/** The issuer's troubles that cost a lease an attempt. */
const SPENDING: ReadonlySet<string> = new Set([
  'issuer-retry',
  'issuer-retry-unknown',
  'issuer-throws',
  'issuer-unsure',
  'issuer-lies',
])

/** What must be true when faults are over and all is quiet. */
export class Ending {
  private readonly watch: Watch
  private readonly schedule: Schedule
  private readonly seen: Observed

  constructor(watch: Watch) {
    this.watch = watch
    this.schedule = watch.schedule
    this.seen = watch.seen
  }

  /** All of it, once. */
  judge(): void {
    const items = this.seen.table.all()
    const leases = items.flatMap((item) => (item['kind'] === 'lease' ? [as('lease', item)] : []))
    const cases = items.flatMap((item) => (item['kind'] === 'case' ? [as('case', item)] : []))
    const meaning = new Meaning({
      schedule: this.schedule,
      journal: this.seen.journal,
      history: this.seen.issuers.history,
      leases,
      cases,
      now: this.seen.scheduler.now,
      appeared: this.watch.appeared,
      fenced: this.watch.fenced,
      over: this.watch.over,
    })
    this.truth(meaning, leases)
    this.touched(meaning)
    this.asked(meaning, items, cases)
    this.counted(meaning, items, leases, cases)
    this.books(meaning, leases, items)
    this.quiet(meaning, items)
    this.parked()
    this.inLine()
    this.ledger(items, leases)
    this.secrets(items)
  }

  private wasAway(issuer: string): boolean {
    const { operations, world } = this.schedule
    return operations.some((one) => one.do === 'unconfigure' && world.issuers[one.issuer]?.name === issuer)
  }

  private hadMode(issuer: string): boolean {
    const { operations, world } = this.schedule
    const place = world.issuers.findIndex(({ name }) => name === issuer)
    return world.issuers[place]?.environment !== undefined || operations.some((one) => one.do === 'mode' && one.issuer === place)
  }

  private isParkedOnly({ outcomes }: Lease): boolean {
    return Object.values(outcomes).every(({ outcome }) => outcome === 'parked' || outcome === 'observed')
  }

  /** G1, G2: each credential is as the triggers mean it, and each lease. */
  private truth(meaning: Meaning, leases: readonly Lease[]): void {
    const { now } = this.seen.scheduler
    for (const { issuer, name, alive, lever } of this.seen.issuers.credentials()) {
      const key = `${issuer} ${name}`
      const holders = meaning.holders(key)
      const told = `${key} (leases ${holders.map((lease) => `${this.watch.shown(lease)} ${lease.state}`).join(', ') || 'none'})`
      const verdict = meaning.verdict(key)
      const last = this.watch.last.get(key)
      if (verdict === 'live') {
        if (!alive && last !== 'died') this.watch.wrong(`G2 ${told} is dead, and nothing was meant to end it`)
        if (alive && lever !== undefined && this.seen.issuers.issuers.get(issuer)?.levers.has(lever) === true)
          this.contained(meaning, lever, told)
      }
      // What cannot be cut, what an issuer lied about that cannot be asked, what somebody revived and nobody can look after.
      const blunt = this.watch.providerOf(issuer) === 'blunt'
      const excused =
        this.watch.natureOf(key) !== undefined || (blunt && (last === 'lied' || last === 'lives')) || this.isFresh(key, now)
      if (verdict === 'dead' && alive && !excused && !meaning.stopped) this.watch.wrong(`G1 ${told} lives, and was meant to end`)
    }
    const status = meaning.status()
    for (const lease of leases) {
      const sure = status.get(lease.id)
      // An issuer that is not configured has neither a mode nor an environment of its own: what these alone would spare is parked, or given back.
      const spared = (lease.state === 'cutting' && this.isParkedOnly(lease)) || lease.state === 'released'
      const unreached = spared && this.wasAway(lease.issuer) && this.hadMode(lease.issuer)
      if (sure === 'no' && lease.acknowledged && lease.state !== 'live' && !unreached)
        this.watch.wrong(`G2 lease ${this.watch.shown(lease)} is ${lease.state}, and nothing was meant to end it`)
      if (
        sure === 'yes' &&
        !meaning.stopped &&
        !['ended', 'released'].includes(lease.state) &&
        !this.isUncuttable(meaning, lease)
      )
        this.watch.wrong(`G1 lease ${this.watch.shown(lease)} is ${lease.state}, and was meant to end`)
    }
    // Whoever was told that he may use it is known.
    const known = new Set(leases.map(({ id }) => id))
    for (const { operation, lease, status: answer } of this.seen.journal)
      if (this.schedule.operations[operation]?.do === 'register' && answer === 'ok' && lease !== undefined && !known.has(lease))
        this.watch.wrong(`G1 lease ${lease} was acknowledged, and nobody knows it`)
  }

  private isUncuttable(meaning: Meaning, lease: Lease): boolean {
    const key = meaning.credentialOf(lease)
    return this.watch.natureOf(key) !== undefined || meaning.withExempt(key) || this.isFresh(key, this.seen.scheduler.now)
  }

  /**
   * Somebody brought it back so lately that the watch, whose intervals double, need not have looked again; or it would
   * have run out by now, after which nobody watches it.
   */
  private isFresh(key: string, now: number): boolean {
    const events = this.seen.issuers.history.filter(({ issuer, credential }) => `${issuer} ${credential}` === key)
    const lives = events.findLast(({ what }) => what === 'lives')
    if (lives === undefined) return false
    const holders = [...this.watch.leases.values()].filter((lease) => `${lease.issuer} ${this.watch.credentialOf(lease)}` === key)
    // When it runs out by itself is what its registration said; whoever found it at the issuer did not know.
    const registered = holders.filter(({ id }) => this.watch.names.has(id))
    const known = registered.length > 0 ? registered : holders
    if (known.every(({ expiresAt }) => Date.parse(expiresAt) < now)) return true
    const first = events.find(({ what }) => what === 'cut' || what === 'lied')
    return first === undefined || now - lives.at < 2 * (lives.at - first.at) + 1_800_000
  }

  /** G2: a lever holds somebody whom no case reaches. */
  private contained(meaning: Meaning, lever: string, told: string): void {
    const { identities } = this.schedule.world
    const members = [...identities.keys()].filter((index) => {
      const group = identities[index]?.group
      return group !== undefined && groupName(group) === lever
    })
    const reached = meaning.entries.some(
      (entry) => entry.type !== 'expired' && members.some((index) => meaning.reaches(entry, index) !== 'no'),
    )
    if (!reached) this.watch.wrong(`G2 ${told} is held by lever ${lever}, and nobody asked for that`)
  }

  /** G2: each cut lies in the scope of the case in whose name it was made. */
  private touched(meaning: Meaning): void {
    for (const event of this.seen.issuers.history) {
      const { what, case: id, issuer, credential, lever, step } = event
      if (what !== 'cut' && what !== 'contained') continue
      const entry = meaning.entries.find(({ of }) => of.id === id)
      if (entry === undefined) continue
      if (entry.from > step)
        this.watch.wrong(`G9 ${what} of ${credential ?? lever} at ${issuer} for case ${id} before anybody asked for it`)
      if (what === 'contained') {
        this.pulled(meaning, entry.of, event)
        continue
      }
      const holders = meaning.holders(`${issuer} ${credential}`)
      const reach = meaning.reachOf(entry)
      const covered =
        entry.scope.kind === 'leases' ||
        holders.length === 0 ||
        holders.some(({ id: lease }) => (reach.get(lease) ?? 'no') !== 'no')
      const told = `cut of ${issuer} ${credential} (${holders.map((lease) => this.watch.shown(lease)).join(', ')}) for case ${id} (${entry.type} of ${JSON.stringify(entry.scope)})`
      if (!covered) this.watch.wrong(`G2 ${told}, whose scope does not cover it`)
      if (holders.length > 0 && holders.every((lease) => this.watch.isExempt(lease)))
        this.watch.wrong(`G9 ${told}, whose holder is exempt`)
      this.guarded(meaning, entry.of, told, holders, event)
    }
  }

  /** G9: a protected identity is touched by a lifecycle case only when somebody approved. */
  private guarded(meaning: Meaning, current: Case, told: string, holders: readonly Lease[], { step }: TrueEvent): void {
    if (current.type === 'compromise' || current.type === 'expired') return
    const entry = meaning.entries.find(({ of }) => of === current)
    const { scope } = entry ?? {}
    if (scope?.kind !== 'identity' && scope?.kind !== 'owner' && scope?.kind !== 'workload') return
    const { identities } = this.schedule.world
    const own =
      holders.length > 0 &&
      holders.every(({ identity, parent }) => identities[identityIndex(identity)]?.protected === true && parent === undefined)
    if (own && !this.isApproved(current, step)) this.watch.wrong(`G9 ${told}, which is protected, and nobody approved`)
  }

  private isApproved({ id, campaign, openedAt }: Case, step: number): boolean {
    const { operations } = this.schedule
    return this.seen.journal.some(({ operation, status, from, case: about, id: other }) => {
      if (status === 'refused' || from.step > step) return false
      const done = operations[operation]
      const approves = operation === -1 || ((done?.do === 'decide' || done?.do === 'decide-campaigns') && done.what === 'approve')
      // An identity that is protected is held from the beginning; who is met in a group has a case of its own.
      return approves && (about === id || (campaign !== undefined && other === campaign)) && openedAt !== ''
    })
  }

  /** G2, G9: a lever hits nobody whom its case does not reach, and nobody who is exempt. */
  private pulled(meaning: Meaning, current: Case, { lever, issuer, step }: TrueEvent): void {
    const told = `lever ${lever} at ${issuer} is pulled for case ${current.id} (${current.type})`
    const { world } = this.schedule
    const entry = meaning.entries.find(({ of }) => of === current)
    for (const [index, { group, exempt }] of world.identities.entries()) {
      if (group === undefined || groupName(group) !== lever) continue
      // Whoever holds something there, acknowledged before.
      const held = [...this.watch.leases.values()].some(
        (lease) =>
          lease.issuer === issuer &&
          identityIndex(lease.identity) === index &&
          lease.sharing === 'exclusive' &&
          meaning.registration(lease).to < step,
      )
      if (!held) continue
      if (exempt) this.watch.wrong(`G9 ${told}, and it holds an exempt identity`)
      if (current.type === 'compromise' || entry === undefined) continue
      if (meaning.reaches(entry, index) === 'no')
        this.watch.wrong(`G2 ${told}, and it holds identity ${index}, which the case does not reach`)
    }
  }

  /** G6, G9: each case was asked for by somebody who may, once; each answer names a case that is there. */
  private asked(meaning: Meaning, items: readonly Item[], cases: readonly Case[]): void {
    const { operations } = this.schedule
    const { journal } = this.seen
    const ids = new Set(cases.map(({ id }) => id))
    const forged = new Set<string>()
    for (const [place, operation] of operations.entries()) {
      if (operation.do !== 'forge') continue
      const attempts = journal.filter((one) => one.operation === place)
      const attempt = attempts[operation.genuine === 'before' ? 1 : 0]
      if (attempt?.status !== 'ok') continue
      if (attempt.case !== undefined) forged.add(attempt.case)
      this.watch.wrong(`G9 a forged trigger (${operation.how}) was taken: operation ${place}`)
    }
    for (const { case: id, status, operation, said } of journal)
      if (status === 'ok' && said !== undefined && id !== undefined && !ids.has(id))
        this.watch.wrong(`G6 operation ${operation} was answered with case ${id} (${said}), and there is no such case`)
    const byEvent = Map.groupBy(
      cases.filter(({ source }) => source !== 'rescind'),
      ({ eventId: event, source }) => `${source} ${event}`,
    )
    for (const [event, all] of byEvent) if (all.length > 1) this.watch.wrong(`G6 event ${event} opened ${all.length} cases`)
    for (const entry of meaning.entries) {
      const { of } = entry
      // A protected member of a group has its event's id with its own key behind it.
      if (of.source === 'rescind' || entry.triggers.length > 0 || of.eventId.includes('/')) continue
      this.watch.wrong(`G9 case ${of.id} (${of.type}) was asked for by nobody: ${of.eventId}`)
    }
    const noted = new Map<string, number>()
    for (const item of items)
      if (item['kind'] === 'event') noted.set(String(item['case']), (noted.get(String(item['case'])) ?? 0) + 1)
    for (const { id, noted: count } of cases)
      if (count !== Math.max(0, (noted.get(id) ?? 0) - 1))
        this.watch.wrong(`G6 case ${id} says that ${count} equal triggers came, and there were ${(noted.get(id) ?? 0) - 1}`)
    for (const current of cases) this.decided(meaning, current)
  }

  /** G9: a case waits, or is called off, only for a reason that somebody gave. */
  private decided(meaning: Meaning, current: Case): void {
    const { id, state, campaign, type } = current
    const did = (what: readonly string[]) =>
      meaning.doings.some(({ operation, sure, told }) => {
        if (sure === 'no') return false
        if (operation.do === 'decide' && what.includes(operation.what)) return told.some((one) => one.case === id)
        return operation.do === 'decide-campaigns' && what.includes(operation.what) && told.some((one) => one.id === campaign)
      })
    if (state === 'cancelled' && !did(['cancel', 'reject'])) this.watch.wrong(`G1 case ${id} is cancelled, and nobody said so`)
    if (state === 'held' && type === 'compromise') this.watch.wrong(`G1 compromise ${id} is held`)
    const { world } = this.schedule
    const may = world.identities.some((one) => one.protected) || world.settings.fuse !== undefined || did(['hold', 'approve'])
    if (state === 'held' && !may) this.watch.wrong(`G1 case ${id} is held, and nothing is protected`)
    if (state === 'scheduled' && Date.parse(current.effectiveAt) < this.seen.scheduler.now - 600_000)
      this.watch.wrong(`G1 case ${id} is scheduled for ${current.effectiveAt}, and has not begun`)
    if (['closed', 'cancelled', 'held', 'scheduled'].includes(state) || current.paused !== undefined || meaning.stopped === false)
      return
    const waitsForPause = [...meaning.entries].some(({ of }) => of.paused !== undefined)
    if (!waitsForPause) this.watch.wrong(`G3 case ${id} (${type}) is ${state} when all is quiet`)
  }

  /** G3: closed is done, and each lease is counted exactly once. */
  private counted(meaning: Meaning, items: readonly Item[], leases: readonly Lease[], cases: readonly Case[]): void {
    for (const current of cases) {
      const { id, state, amendments } = current
      if (state !== 'closed') continue
      // What somebody paused may have closed before, and calls nobody for what came late. What is parked is tried again for
      // ever, by an amendment that is then open once more.
      const trying = items.filter(
        (item) =>
          item['kind'] === 'amendment' &&
          item['state'] === 'open' &&
          item['case'] === id &&
          this.isParked(item.sk.slice('AMEND#'.length), id),
      )
      if (amendments.done + trying.length !== amendments.expected && current.paused === undefined)
        this.watch.wrong(`G3 case ${id} is closed, with ${amendments.done} of ${amendments.expected} amendments done`)
      if (current.scans.done !== current.scans.expected)
        this.watch.wrong(`G3 case ${id} is closed, with ${current.scans.done} of ${current.scans.expected} shards done`)
      // Parked is counted, and what becomes of it afterwards once more; what lived again is counted beside what was first.
      const told = leases.filter(({ outcomes }) => outcomes[id] !== undefined && outcomes[id].outcome !== 'parked').length
      const { parked, observed, ...counts } = current.counts
      const { parked: again, observed: observedAgain, ...more } = current.amendCounts
      const sum = [...Object.values(counts), ...Object.values(more), observed, observedAgain].reduce(
        (all, count) => all + count,
        0,
      )
      const twice = meaning.watches ? observedAgain + observed : 0
      const expected = told + (current.resurrections ?? 0)
      if ((sum < expected && current.paused === undefined) || sum > expected + twice)
        this.watch.wrong(
          `G3 case ${id} (${current.type}) counts ${sum} outcomes, and its leases have ${told} (${JSON.stringify(current.counts)} ${JSON.stringify(current.amendCounts)})`,
        )
      const waiting = leases.filter(({ outcomes }) => outcomes[id]?.outcome === 'parked').length
      if (parked + again < waiting) this.watch.wrong(`G3 case ${id} counts ${parked + again} parked leases, and has ${waiting}`)
    }
    const closings = Map.groupBy(
      this.seen.announced.filter(({ type }) => type === 'io.rescind.case.closed'),
      ({ subject }) => subject,
    )
    for (const [id, events] of closings)
      if (new Set(events.map((event) => event.id)).size > 1)
        this.watch.wrong(`G3 case ${id} was announced as closed under two ids`)
    for (const { id, state } of cases)
      if (state === 'closed' && !closings.has(id)) this.watch.wrong(`G3 case ${id} is closed, and nobody was told`)
    this.everyOutcome(meaning, leases)
  }

  /** G1, G3: a lease that was acknowledged before its only case was asked for has its outcome there. */
  private everyOutcome(meaning: Meaning, leases: readonly Lease[]): void {
    for (const entry of meaning.entries) {
      if (meaning.acts(entry) !== 'yes' || entry.of.state !== 'closed') continue
      const reach = meaning.reachOf(entry)
      for (const lease of leases) {
        if (reach.get(lease.id) !== 'yes' || lease.outcomes[entry.of.id] !== undefined) continue
        const { sure, to } = meaning.registration(lease)
        if (sure !== 'yes' || to >= entry.from || this.watch.isExempt(lease)) continue
        const others = meaning.entries.some(
          (other) =>
            other !== entry &&
            (lease.outcomes[other.of.id] !== undefined || (meaning.reachOf(other).get(lease.id) ?? 'no') !== 'no'),
        )
        if (!others && !meaning.undone(lease, entry))
          this.watch.wrong(
            `G1 case ${entry.of.id} (${entry.type}) is closed, and says nothing of lease ${this.watch.shown(lease)}`,
          )
      }
    }
  }

  /** Places at credentials, and levers. */
  private books(meaning: Meaning, leases: readonly Lease[], items: readonly Item[]): void {
    const levers: Lever[] = items.flatMap((item) => (item['kind'] === 'lever' ? [as('lever', item)] : []))
    for (const item of items) {
      if (item['kind'] === 'credential') {
        const credential: Credential = as('credential', item)
        if (!meaning.stopped && credential.restoring !== undefined) this.watch.wrong(`G2 ${item.pk} is being restored for ever`)
        if (credential.exclusive) continue
        const holders = leases.filter(
          ({ state, sharing, unheld, fingerprint }) =>
            sharing === 'shared' &&
            unheld !== true &&
            ['live', 'registering', 'late'].includes(state) &&
            item.pk === `CRED#${fingerprint}`,
        )
        if (credential.holders !== holders.length)
          this.watch.wrong(`G2 ${item.pk} has ${credential.holders} places, and ${holders.length} leases hold it`)
      }
      if (item['kind'] === 'lever-holders' && !meaning.stopped) this.lever(as('lever-holders', item), levers)
    }
  }

  /** A lever is pulled at its issuer exactly while a case says that it pulled it. */
  private lever(holders: LeverHolders, levers: readonly Lever[]): void {
    const records = levers.filter(({ leverKey }) => holders.pk === `LEVER#${leverKey}`)
    const [one] = records
    if (one === undefined) return
    const pulled = records.some(
      ({ state, released, said }) => state === 'done' && released === undefined && said?.endsWith('contained') === true,
    )
    // A call that failed, or was not made any more, after one whose answer was lost: the case says that it may be pulled.
    if (records.some(({ state, released, unanswered }) => state === 'failed' && released === undefined && unanswered === true))
      return
    const { group } = one.lever as { group: string }
    const contained = this.seen.issuers.issuers.get(one.issuer)?.levers.has(group) === true
    if (pulled !== contained)
      this.watch.wrong(
        `G4 lever ${group} at ${one.issuer} is ${contained ? '' : 'not '}pulled, and its cases say that it is${pulled ? '' : ' not'}`,
      )
  }

  /** Nothing is left open, and nothing is overdue. */
  private quiet(meaning: Meaning, items: readonly Item[]): void {
    if (meaning.stopped) return
    const late = new Date(this.seen.scheduler.now - 900_000).toISOString()
    for (const item of items) {
      const about = `${item.pk} ${item.sk}`
      if (item['kind'] === 'chunk' || item['kind'] === 'amendment') {
        const { state, said }: Chunk = as(item['kind'], item)
        const parked = item['kind'] === 'amendment' && this.isParked(item.sk.slice('AMEND#'.length), String(item['case']))
        if (state !== 'done' && !parked) this.watch.wrong(`G3 ${item['kind']} ${about} is open when all is quiet: ${said}`)
      }
      if (item['kind'] === 'lever' && item['state'] === 'open') this.watch.wrong(`G3 lever ${about} is open when all is quiet`)
      if (item['kind'] === 'ask' && item['state'] === 'open') this.watch.wrong(`G3 question ${about} is open when all is quiet`)
      if (item['kind'] === 'restoration') {
        const { state, parts }: Restoration = as('restoration', item)
        if (state !== 'done' || parts.done !== parts.expected)
          this.watch.wrong(`G3 restoration ${about} is ${state} when all is quiet`)
      }
      if (item['duePk'] !== undefined && String(item['dueAt']) < late)
        this.watch.wrong(
          `G8 ${about} (${String(item['kind'])} ${String(item['state'])}) has been due since ${String(item['dueAt'])}`,
        )
    }
    const dead = this.seen.deadLetters()
    if (dead.length > 0) this.watch.wrong(`G8 ${dead.length} dead letters: ${dead[0]?.body.slice(0, 300)}`)
    const bad = this.schedule.operations.some(({ do: what }) => ['forge', 'garbage', 'trigger', 'replay'].includes(what))
    const kept = items.filter(({ kind }) => kind === 'quarantine').length
    if (kept > 0 && !bad) this.watch.wrong(`G8 ${kept} things are in quarantine, and nothing bad was sent`)
  }

  private isParked(lease: string, id: string): boolean {
    return this.watch.leases.get(lease)?.outcomes[id]?.outcome === 'parked'
  }

  /** G8: only what cannot be cut is parked, or what its issuer would not cut so often; nobody suffers for another lease. */
  private parked(): void {
    const { world, operations } = this.schedule
    const troubles = this.seen.faults.injected.filter(({ kind }) => SPENDING.has(kind)).length
    if (troubles >= world.settings.attempts) return
    if (operations.some(({ do: what }) => what === 'mode' || what === 'unconfigure') || world.settings.modes !== undefined) return
    for (const { before, after } of this.seen.table.changes) {
      if (after === undefined || after['kind'] !== 'lease') continue
      const lease = as('lease', after)
      for (const [id, { outcome, evidence }] of Object.entries(lease.outcomes)) {
        if (outcome !== 'parked') continue
        if (before !== undefined && as('lease', before).outcomes[id]?.outcome === 'parked') continue
        const key = `${lease.issuer} ${this.watch.credentialOf(lease)}`
        if (this.watch.natureOf(key) === undefined)
          this.watch.wrong(
            `G8 lease ${this.watch.shown(lease)} is parked in case ${id}, and its issuer could cut it: ${evidence.said}`,
          )
      }
    }
  }

  /** G4: at a serial issuer one lane's queue is its one writer, so no work of a case leaves the lane of its case. */
  private inLine(): void {
    const { providers } = this.schedule.world
    for (const { queue, case: id, issuer, lane } of workSent(this.seen.sent, this.watch.cases)) {
      const provider = this.watch.providerOf(issuer)
      if (provider === undefined || providers[provider].serial !== true || queue.endsWith(`-${lane}`)) continue
      this.watch.wrong(`G4 work of case ${id} in lane ${lane} at ${issuer}, which is serial, was sent to ${queue}`)
      return
    }
  }

  /** G5: every version of every followed item stands in the archive, and the last of them say what the table says. */
  private ledger(items: readonly Item[], leases: readonly Lease[]): void {
    const versions = new Map<string, Set<number>>()
    const records = new Set<string>()
    const outcomes = new Set<string>()
    const add = (key: string, version: number) => {
      const known = versions.get(key)
      if (known === undefined) versions.set(key, new Set([version]))
      else known.add(version)
    }
    for (const body of this.seen.archived.values())
      for (const line of body.split('\n')) {
        if (line === '') continue
        const told = JSON.parse(line) as {
          id?: string
          item?: { key: string; version: number }
          silent?: { key: string; version: number }[]
          lease?: string
          case?: string
          outcome?: string
        }
        for (const { key, version } of told.silent ?? []) add(key, version)
        if (told.id === undefined || told.item === undefined) continue
        records.add(told.id)
        add(told.item.key, told.item.version)
        if (told.outcome !== undefined) outcomes.add(`${told.lease} ${told.case} ${told.outcome}`)
      }
    for (const item of items) {
      if (!FOLLOWED.has(item['kind'])) continue
      const known = versions.get(`${item.pk}|${item.sk}`)
      for (let version = 1; version <= Number(item['v']); version += 1)
        if (known?.has(version) !== true) {
          this.watch.wrong(`G5 version ${version} of ${String(item['kind'])} ${item.pk} ${item.sk} is not in the archive`)
          break
        }
    }
    for (const { before, after } of this.seen.table.changes)
      for (const { id, what } of auditOf(before, after))
        if (!records.has(id)) {
          this.watch.wrong(`G5 ${what} (${id}) is not in the archive`)
          return
        }
    for (const lease of leases)
      for (const [id, { outcome }] of Object.entries(lease.outcomes))
        if (!outcomes.has(`${lease.id} ${id} ${outcome}`))
          this.watch.wrong(`G5 the archive does not say ${outcome} of lease ${this.watch.shown(lease)} in case ${id}`)
  }

  /** G7: no secret stands anywhere but in the sealed handle. */
  private secrets(items: readonly Item[]): void {
    for (const item of items) this.watch.noSecret(`item ${item.pk} ${item.sk}`, JSON.stringify(item))
    for (const [key, body] of this.seen.archived) this.watch.noSecret(`segment ${key}`, body)
    for (const event of this.seen.announced) this.watch.noSecret(`event ${event.id}`, JSON.stringify(event))
    for (const line of this.seen.logged) this.watch.noSecret('the log', line)
    for (const { body } of this.seen.sent) this.watch.noSecret('a message', body)
  }
}

/** The work of cases that was sent, each with its case's lane. */
export function* workSent(
  sent: readonly Sent[],
  cases: ReadonlyMap<string, Pick<Case, 'lane'>>,
): Generator<{ readonly queue: string; readonly case: string; readonly issuer: string; readonly lane: Case['lane'] }> {
  for (const { queue, body } of sent) {
    const { case: id, issuer } = JSON.parse(body) as { case?: string; issuer?: string }
    const lane = id === undefined ? undefined : cases.get(id)?.lane
    if (id !== undefined && issuer !== undefined && lane !== undefined) yield { queue, case: id, issuer, lane }
  }
}
