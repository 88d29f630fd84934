import type { Mode } from '../contracts/mode.ts'
import { MODES } from '../contracts/mode.ts'
import type { PlanCounts, PlannedIdentity, PlannedLease, PlannedLever, PlanView } from '../contracts/plan.ts'
import type { Fate, Gist } from '../domain/foresee.ts'
import { CountsByName, latestFirst, noFates, OTHERS, Sample } from '../domain/tally.ts'
import { after } from '../domain/time.ts'
import type { Facts, ForeseenCase, IssuerFacts } from './preview-facts.ts'
import type { Met, MetLever, ReachSink } from './preview-reach.ts'
import type { WalkSink, Way } from './preview-walk.ts'

/** Deepest delegation that configuration allows. */
const DEEPEST = 32
const UNCUTTABLE: readonly string[] = ['unsupported', 'parked', 'exempt']

type Shown = Pick<
  PlanView,
  | 'identities'
  | 'leases'
  | 'byIssuer'
  | 'byOwner'
  | 'byEnvironment'
  | 'byMode'
  | 'descendants'
  | 'bystanders'
  | 'sharers'
  | 'levers'
  | 'uncuttable'
  | 'cut'
>

/** What one answer counts, and the few that it shows. */
export function tallyFor(facts: Facts, current: ForeseenCase) {
  const identities = {
    reached: new Sample<PlannedIdentity>(),
    orphan: new Sample<PlannedIdentity>(),
    split: new Sample<PlannedIdentity>(),
    exempt: new Sample<PlannedIdentity>(),
    guarded: new Sample<PlannedIdentity>(),
  }
  const levers = { pulled: new Sample<PlannedLever>(), left: new Sample<PlannedLever>() }
  const by = { issuer: new CountsByName(), owner: new CountsByName(), environment: new CountsByName(), mode: new CountsByName() }
  const lists = {
    cut: new Sample<PlannedLease>(),
    descendants: new Sample<PlannedLease>(),
    bystanders: new Sample<PlannedLease>(),
    uncuttable: new Sample<PlannedLease>(),
  }
  const counts: PlanCounts = noFates()
  const observed = { cut: 0, released: 0, unsupported: 0 }
  const forGood = new CountsByName()
  const byDepth = new Array<number>(DEEPEST).fill(0)
  const sharers = { count: 0, credentials: 0 }
  let aliases = 0
  let late = 0
  let expiring = 0
  let latest: string | undefined
  let exact = true

  function identity({ identity: met, treatment, because, alias, guarded }: Met): void {
    const fencedBy = Object.entries(met.fences)
      .filter(([, { epoch }]) => epoch >= met.epoch)
      .map(([id]) => id)
    const entry = () => ({ id: met.id, owner: met.owner, because, ...(fencedBy.length === 0 ? {} : { fencedBy }) })
    identities[treatment === 'fence' ? 'reached' : treatment].add(met.key, entry)
    if (treatment !== 'fence') return
    if (alias) aliases += 1
    if (guarded) identities.guarded.add(met.key, entry)
  }

  function lever({ identity: of, issuer, lever: key, why }: MetLever): void {
    const entry = { identity: of, issuer, lever: key, ...(why === undefined ? {} : { why }) }
    levers[why === undefined ? 'pulled' : 'left'].add(`${key}${of}`, () => entry)
  }

  async function lease(found: Gist, fate: Fate, way: Way): Promise<void> {
    const { word } = fate
    const { mode, environment } = await facts.modeOf(found)
    counts[word] += 1
    by.issuer.add(found.issuer, word)
    by.owner.add(found.owner, word)
    // A blank is the name of nothing.
    by.environment.add(environment ?? '', word)
    by.mode.add(mode, word)
    if (fate.watched !== undefined) observed[fate.watched.would] += 1
    if (word === 'cut' && !(await facts.undoes(found))) forGood.add(found.issuer, word)
    if (fate.late) late += 1
    if (found.expiresAt <= current.effectiveAt && current.effectiveAt > current.openedAt) expiring += 1
    const rank = found.id.slice(-26)
    const entry = (): PlannedLease => ({
      lease: found.id,
      identity: found.identity,
      owner: found.owner,
      consumer: found.consumer,
      issuer: found.issuer,
      would: word,
      ...(fate.said === undefined ? {} : { said: fate.said }),
      ...(fate.livesUntil === undefined ? {} : { livesUntil: fate.livesUntil }),
    })
    if (word === 'cut') lists.cut.add(rank, entry)
    if (way === 'descendant') {
      lists.descendants.add(rank, entry)
      const depth = Math.min(Math.max(found.depth, 1), DEEPEST) - 1
      byDepth[depth] = (byDepth[depth] ?? 0) + 1
    } else if (way === 'bystander') lists.bystanders.add(rank, entry)
    if (UNCUTTABLE.includes(word)) {
      const until = fate.livesUntil ?? found.expiresAt
      if (latest === undefined || until > latest) latest = until
      lists.uncuttable.add(`${latestFirst(until)}${rank}`, entry)
    }
  }

  const sink: ReachSink & WalkSink = {
    identity,
    lever,
    lease,
    sharers(others) {
      sharers.count += others
      sharers.credentials += 1
    },
    inexact() {
      exact = false
    },
  }

  async function shown(orphanDeadline: string | undefined, deletionWaits: boolean): Promise<Shown> {
    const byIssuer = []
    const gone = new Map(forGood.entries())
    for (const [issuer, leases] of by.issuer.entries()) {
      const known: IssuerFacts =
        issuer === OTHERS ? { configured: undefined, definition: undefined, settings: undefined } : await facts.issuer(issuer)
      const provider = known.configured?.provider
      byIssuer.push({
        issuer,
        ...(provider === undefined ? {} : { provider }),
        leases,
        forGood: gone.get(issuer)?.cut ?? 0,
        undo: undoOf(known, current, deletionWaits),
      })
    }
    const depth = byDepth.findLastIndex((at) => at > 0) + 1
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0)
    return {
      identities: {
        reached: listOf(identities.reached),
        aliases,
        orphaned: listOf(identities.orphan),
        ...(identities.orphan.count === 0 || orphanDeadline === undefined ? {} : { orphanDeadline }),
        splitOff: listOf(identities.split),
        exempt: listOf(identities.exempt),
        protected: listOf(identities.guarded),
      },
      leases: { total, ...counts, wouldBe: observed, late, expiring },
      byIssuer,
      byOwner: by.owner.entries().map(([owner, leases]) => ({ owner, leases })),
      byEnvironment: by.environment
        .entries()
        .map(([environment, leases]) => ({ environment: environment === '' ? null : environment, leases })),
      byMode: by.mode.entries().flatMap(([name, leases]) => {
        const mode: Mode | undefined = MODES.find((one) => one === name)
        return mode === undefined ? [] : [{ mode, leases }]
      }),
      descendants: { ...listOf(lists.descendants), byDepth: byDepth.slice(0, depth) },
      bystanders: listOf(lists.bystanders),
      sharers,
      levers: { pulled: listOf(levers.pulled), left: listOf(levers.left) },
      uncuttable: { ...listOf(lists.uncuttable), ...(latest === undefined ? {} : { latest }) },
      cut: { sample: lists.cut.entries },
    }
  }

  return {
    sink,
    shown,
    isExact: () => exact,
    totals: () => ({
      identities: identities.reached.count,
      leases: Object.values(counts).reduce((sum, count) => sum + count, 0),
      cut: counts.cut,
      guarded: identities.guarded.count > 0,
    }),
  }
}

const listOf = <Entry>(sample: Sample<Entry>): { count: number; sample: Entry[] } => ({
  count: sample.count,
  sample: sample.entries,
})

/** Until when what is cut at an issuer can be given back; the soak time begins with the cut, so it is no shorter than this. */
function undoOf(
  { configured, definition }: IssuerFacts,
  current: ForeseenCase,
  deletionWaits: boolean,
): Shown['byIssuer'][number]['undo'] {
  if (configured === undefined || definition === undefined) return { possible: false, said: 'no installed provider serves it' }
  if (!definition.capabilities.restores) return { possible: false, said: `provider ${definition.name} cannot undo a cut` }
  const until = after(current.effectiveAt, configured.soakSeconds)
  const soak = `for its soak time of ${configured.soakSeconds} s after the cut`
  return {
    possible: true,
    until,
    said: deletionWaits && definition.capabilities.tidies ? `${soak}; what was cut is deleted only after an approval` : soak,
  }
}
