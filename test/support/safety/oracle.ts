import { fingerprint } from '../../../functions/domain/keys.ts'
import type { Case, Lease } from '../../../functions/domain/model.ts'
import type { Asked, Run, Sent, Span } from './run.ts'
import { identityIndex, identityUri, ownerOf } from './run.ts'

/**
 * What was meant, for each credential: it must be dead, it must live, or either, where two orders of what happened at
 * the same time are both right. From the plan, from what was asked and answered and when, and from what the cases say
 * of themselves (held, paused, cancelled); no word of how the pipeline does it.
 */

export type Verdict = 'dead' | 'live' | 'either'
/** How surely something holds. */
type Sure = 'yes' | 'maybe' | 'no'

const and = (...all: Sure[]): Sure => (all.includes('no') ? 'no' : all.includes('maybe') ? 'maybe' : 'yes')
const or = (...all: Sure[]): Sure => (all.includes('yes') ? 'yes' : all.includes('maybe') ? 'maybe' : 'no')
const before = (one: Span, other: Span) => one.to < other.from

/** A trigger that was taken into a case; or the case itself, where the pipeline opened it. */
type Entry = Omit<Sent, 'type'> & { readonly type: Case['type']; readonly of: Case }

export class Oracle {
  private readonly run: Run
  private readonly leases: readonly Lease[]
  private readonly cases: readonly Case[]
  private readonly entries: readonly Entry[]
  private readonly reach = new Map<Entry, Map<string, Sure>>()

  constructor(run: Run) {
    this.run = run
    this.leases = run.leases()
    this.cases = run.cases()
    this.entries = this.cases.flatMap((of): Entry[] => {
      const sent = run.log.sent.filter((one) => one.case === of.id)
      if (sent.length > 0) return sent.map((one) => ({ ...one, of }))
      // Split off from a group's case, or an orphan's deadline.
      if (of.scope.kind !== 'identity') return []
      const tick = run.log.appeared.get(of.id) ?? 0
      return [{ case: of.id, type: of.type, scope: of.scope, from: tick, to: tick, of }]
    })
  }

  /** Whether the case does what it is for. */
  private acts({ of }: Entry): Sure {
    if (['cancelled', 'held', 'scheduled'].includes(of.state)) return 'no'
    return of.state === 'closed' ? 'yes' : 'maybe'
  }

  private closedAt(entry: Entry): number {
    return this.run.log.closed.get(entry.case) ?? Number.POSITIVE_INFINITY
  }

  /** Whether something of the issuer was allowed to be cut from a tick on. */
  private mayCut(issuer: string, from: number): Sure {
    const later = this.run.log.modes.filter((one) => one.issuer === issuer && one.to > from)
    const modes = [...this.run.modesAt(issuer, from), ...later.map(({ mode }) => mode)]
    if (modes.every((mode) => mode === 'observe')) return 'no'
    return modes.includes('observe') ? 'maybe' : 'yes'
  }

  /** Whether a case reaches an identity, as what it names, as a member of a group, or under another name. */
  private reaches(entry: Entry, index: number): Sure {
    const { scope } = entry
    if (index === this.run.exempt) return 'no'
    const own: Sure = this.names(entry, index)
    if (own === 'yes' || !['identity', 'owner', 'workload'].includes(scope.kind)) return own
    let found: Sure = or(own)
    const links = this.run.log.linked.filter(({ identities }) => identities.includes(index))
    for (const link of links)
      for (const other of link.identities) {
        if (other === index) continue
        const through = this.names(entry, other)
        const linked: Sure =
          link.from > this.closedAt(entry)
            ? 'no'
            : link.sure && before(link, entry) && this.run.log.unlinked.length === 0
              ? 'yes'
              : 'maybe'
        found = or(found, and(through, linked))
      }
    return found
  }

  private names({ scope, type, of }: Entry, index: number): Sure {
    const planned = this.run.plan.identities[index]
    if (planned === undefined) return 'no'
    if (scope.kind === 'identity') return scope.id === identityUri(index) ? 'yes' : 'no'
    if (scope.kind !== 'owner' && scope.kind !== 'workload') return 'no'
    if (scope.kind === 'workload' && !planned.workload) return 'no'
    const moved = scope.kind === 'owner' && this.run.log.moved.some(({ identity }) => identity === index)
    if (scope.kind === 'owner' && ownerOf(planned.owner) !== scope.id) return 'no'
    const stays = type === 'offboarding' && scope.kind === 'owner' && planned.stays
    // Under another name it may have come under protection.
    const linked = this.run.log.linked.some(({ identities }) => identities.includes(index))
    const guarded = of.type !== 'compromise' && (planned.protected || linked)
    if (stays || (guarded && !linked)) return 'no'
    return moved || guarded ? 'maybe' : 'yes'
  }

  /** Whether a case that reaches the lease's identity is of its epoch, or of a later one. */
  private epoch(entry: Entry, lease: Lease): Sure {
    const span = this.run.registration(lease)
    const attempts = this.run.log.reinstated.filter(({ identities }) => identities.includes(identityIndex(lease.identity)))
    if (attempts.every((one) => before(span, one)) || before(span, entry)) return 'yes'
    if (attempts.some((one) => one.sure && this.closedAt(entry) < one.from && before(one, span))) return 'no'
    return 'maybe'
  }

  /** The leases that a case ends: those of its scope, what was delegated from them; in a compromise who shares their credentials. */
  private reachOf(entry: Entry): Map<string, Sure> {
    const known = this.reach.get(entry)
    if (known !== undefined) return known
    const reached = new Map<string, Sure>()
    const { scope } = entry
    for (const lease of this.leases) {
      if (identityIndex(lease.identity) === this.run.exempt) continue
      const sure =
        scope.kind === 'task'
          ? lease.task?.id === scope.id
            ? 'yes'
            : 'no'
          : scope.kind === 'credential'
            ? lease.fingerprint === scope.fingerprint
              ? 'yes'
              : 'no'
            : and(this.reaches(entry, identityIndex(lease.identity)), this.epoch(entry, lease))
      if (sure !== 'no') reached.set(lease.id, sure)
    }
    this.spread(reached, entry.type === 'compromise')
    this.reach.set(entry, reached)
    return reached
  }

  private spread(reached: Map<string, Sure>, cuts: boolean): void {
    for (let grown = true; grown; ) {
      grown = false
      for (const lease of this.leases) {
        if (identityIndex(lease.identity) === this.run.exempt) continue
        const had = reached.get(lease.id) ?? 'no'
        const parent = lease.parent === undefined ? 'no' : (reached.get(lease.parent) ?? 'no')
        const others = cuts
          ? this.leases.filter(({ fingerprint: print }) => print === lease.fingerprint).map(({ id }) => reached.get(id) ?? 'no')
          : []
        const now = or(had, parent, ...others)
        if (now === had) continue
        reached.set(lease.id, now)
        grown = true
      }
    }
  }

  /** Whether an exempt identity ever held the credential: then it is a question of time who is spared. */
  private withExempt(print: string): boolean {
    return this.leases.some((lease) => lease.fingerprint === print && identityIndex(lease.identity) === this.run.exempt)
  }

  /** Whether a restoration may concern a lease: a shared credential comes back to all who held it. */
  private concerns({ scope }: Asked, lease: Lease): boolean {
    const same = this.leases.filter(
      (one) => one.id === lease.id || (lease.sharing === 'shared' && one.fingerprint === lease.fingerprint),
    )
    const linked = (index: number) => this.run.log.linked.some(({ identities }) => identities.includes(index))
    return same.some((one) => {
      if (scope.kind === 'lease') return one.id === scope.id
      if (scope.kind === 'case') return true
      const [mine, named] = [identityIndex(one.identity), identityIndex(scope.id)]
      return mine === named || (linked(mine) && linked(named))
    })
  }

  /** Whether a restoration may have undone what a case did to a lease. */
  private mayUndo(
    asked: Asked,
    lease: Lease,
    entry: { readonly case: string; readonly type: Case['type']; readonly from: number },
  ): boolean {
    if (entry.from > asked.to || !this.concerns(asked, lease)) return false
    if (asked.scope.kind === 'case' && entry.case !== '' && asked.scope.id !== entry.case && lease.sharing === 'exclusive')
      return false
    return entry.type !== 'compromise' || asked.undoes
  }

  private undone(lease: Lease, entry: { readonly case: string; readonly type: Case['type']; readonly from: number }): boolean {
    return this.run.log.asked.some((asked) => this.mayUndo(asked, lease, entry))
  }

  /** Whether the case ends the lease, and nobody may have undone that. */
  private ends(entry: Entry, lease: Lease): Sure {
    const reached = this.reachOf(entry).get(lease.id) ?? 'no'
    const sure = and(this.acts(entry), reached, this.mayCut(lease.issuer, entry.from))
    if (sure === 'yes' && (this.undone(lease, entry) || (entry.type === 'compromise' && this.withExempt(lease.fingerprint))))
      return 'maybe'
    return sure
  }

  /** Whether its own time, its holder, or its registrar's silence ended it. */
  private endsByItself(lease: Lease): Sure {
    if (identityIndex(lease.identity) === this.run.exempt) return lease.acknowledged ? 'no' : 'maybe'
    const { pipeline, log } = this.run
    const busy = this.cases.some(
      ({ state, paused }) => paused !== undefined || (state !== 'closed' && state !== 'cancelled' && state !== 'held'),
    )
    const cut = and(this.mayCut(lease.issuer, 0), busy ? 'maybe' : 'yes')
    const found: Sure[] = []
    const left = pipeline.now - Date.parse(lease.expiresAt)
    // What an outage took is given back: at most as much again, and the clients' time to return.
    if (left > 0) found.push(and(cut, left > 2 * log.outage + 3_600_000 ? 'yes' : 'maybe'))
    const undo = { case: '', type: 'expired' as const, from: 0 }
    const restored = this.undone(lease, undo)
    for (const { sure, lease: id } of log.gaveBack) if (id === lease.id) found.push(and(cut, sure && !restored ? 'yes' : 'maybe'))
    if (!lease.acknowledged) found.push(and(cut, restored ? 'maybe' : 'yes'))
    return or('no', ...found)
  }

  private readonly ended = new Map<string, Sure>()
  private status(): ReadonlyMap<string, Sure> {
    if (this.ended.size > 0) return this.ended
    for (const lease of this.leases) this.ended.set(lease.id, this.endsByItself(lease))
    // What was delegated from what ended by itself ends with it.
    const delegated = new Map([...this.ended].filter(([, sure]) => sure !== 'no'))
    this.spread(delegated, false)
    for (const lease of this.leases) {
      const through = and(delegated.get(lease.id) ?? 'no', this.mayCut(lease.issuer, 0))
      const own = this.ended.get(lease.id) ?? 'no'
      const child: Sure =
        through === 'yes' && own !== 'yes' && this.undone(lease, { case: '', type: 'expired', from: 0 }) ? 'maybe' : through
      this.ended.set(lease.id, or(own, child, ...this.entries.map((entry) => this.ends(entry, lease))))
    }
    return this.ended
  }

  /** A restoration that must have given the lease back, and nothing has come since. */
  private givenBack(lease: Lease): boolean {
    const { log, plan } = this.run
    if (lease.sharing === 'shared' || lease.parent !== undefined) return false
    const index = identityIndex(lease.identity)
    if (
      log.reinstated.length > 0 ||
      log.moved.length > 0 ||
      log.linked.length > 0 ||
      log.modes.length > 0 ||
      index === this.run.exempt
    )
      return false
    if (log.gaveBack.some((one) => one.lease === lease.id) || log.revived.size > 0) return false
    if (Date.parse(lease.expiresAt) < this.run.pipeline.now) return false
    const about = log.asked.filter((asked) => this.concerns(asked, lease))
    const [asked] = about
    if (asked === undefined || about.length > 1 || asked.id === undefined) return false
    const then = asked.leases.find(({ id }) => id === lease.id)
    if (then?.state !== 'ended' || then.ended?.outcome !== 'revoked' || then.deletion !== undefined) return false
    const covering = this.entries.filter((entry) => this.reachOf(entry).has(lease.id) && this.acts(entry) !== 'no')
    const over = covering.every((entry) => {
      const current = asked.cases.get(entry.case)
      return (
        current?.closedAt !== undefined &&
        current.amendments.done === current.amendments.expected &&
        this.closedAt(entry) < asked.from
      )
    })
    if (!over || covering.length === 0 || !covering.every((entry) => this.mayUndo(asked, lease, entry))) return false
    if (!covering.some((entry) => entry.case === then.ended?.case)) return false
    const restoration = this.run.restorations().find(({ id }) => id === asked.id)
    const soakEnds = Date.parse(then.ended.at) + plan.soakSeconds * 1000
    if (restoration?.doneAt === undefined || Date.parse(restoration.doneAt) >= soakEnds) return false
    const lever = plan.identities[index]?.lever === true
    return !(lever && asked.scope.kind === 'lease')
  }

  /** What the true state of a credential must be. */
  verdict(issuer: string, name: string): { readonly verdict: Verdict; readonly restored: boolean } {
    const print = fingerprint(issuer, name)
    const holders = this.leases.filter((lease) => lease.fingerprint === print)
    if (holders.length === 0) return { verdict: 'live', restored: false }
    const status = this.status()
    if (holders.some((lease) => this.givenBack(lease))) return { verdict: 'live', restored: true }
    const cut = or(
      'no',
      ...this.entries
        .filter(({ type }) => type === 'compromise')
        .flatMap((entry) => holders.map((lease) => this.ends(entry, lease))),
    )
    const ended = and('yes', ...holders.map(({ id }) => status.get(id) ?? 'no'))
    if (cut === 'yes' || ended === 'yes') return { verdict: 'dead', restored: false }
    return { verdict: cut === 'no' && ended === 'no' ? 'live' : 'either', restored: false }
  }
}
