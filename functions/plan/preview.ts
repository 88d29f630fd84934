import type { PlanRequest, PlanView } from '../contracts/plan.ts'
import type { CaseScope } from '../contracts/scope.ts'
import type { Settings, Source } from '../contracts/settings.ts'
import { deletionAbove } from '../domain/approval.ts'
import { canonicalJson } from '../domain/canonical.ts'
import { readClue } from '../domain/clues.ts'
import type { Gist } from '../domain/foresee.ts'
import { identityKey, key } from '../domain/keys.ts'
import { leastCautious, modesFor } from '../domain/modes.ts'
import { allowsScope, policyOf, scopesOf } from '../domain/policy.ts'
import { effectiveTime, PROTECTED, settledScope, waitsForApproval } from '../domain/request.ts'
import type { Caller } from '../domain/rights.ts'
import { operatorRight, sourcesOf } from '../domain/rights.ts'
import { after, instant } from '../domain/time.ts'
import type { Definition, Mac } from '../providers/contract.ts'
import type { Clock, Log } from '../runtime/ports.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import { identityOf } from '../store/identities.ts'
import { shardsOf } from '../store/keys.ts'
import { issuerLookup } from '../store/names.ts'
import { readOnly } from '../store/read-only.ts'
import type { Table } from '../store/table.ts'
import { fuses } from './fuse.ts'
import type { Facts, ForeseenCase } from './preview-facts.ts'
import { factsFor } from './preview-facts.ts'
import type { Next, SavedFrame } from './preview-next.ts'
import { readNext, toBehind, toSort, writeNext } from './preview-next.ts'
import type { Place, Reach } from './preview-reach.ts'
import { reachFor } from './preview-reach.ts'
import { tallyFor } from './preview-tally.ts'
import type { Frame, Lane, Walk } from './preview-walk.ts'
import { walkOver } from './preview-walk.ts'

export interface PreviewPorts {
  readonly table: Table
  readonly clock: Clock
  readonly log: Log
  readonly settings: Settings
  readonly catalog: Readonly<Record<string, Definition>>
  /** The installation's keyed hash, for credentials that are named by what somebody has in hand. */
  readonly mac: () => Promise<Mac>
  /** After this it begins nothing new and says where to go on. Default: 18 seconds of the 25 that a function has. */
  readonly budgetMilliseconds?: number
}

const BUDGET_MILLISECONDS = 18_000
/** Partitions that are read side by side. */
const LANES = 16

/**
 * What a trigger would do, by the planner's own rules, and nothing is done: the table that it is given is read only, as
 * its role is. A preview tells what stands now; what comes meanwhile it cannot know.
 *
 * @throws ProblemError with a stable code
 */
export function previewer(ports: PreviewPorts) {
  const table = readOnly(ports.table)
  const { clock, settings } = ports
  const budget = ports.budgetMilliseconds ?? BUDGET_MILLISECONDS

  return async function preview(request: PlanRequest, caller: Caller): Promise<PlanView> {
    const start = clock.now()
    const source = sourceOf(request, caller)
    const { type } = request
    if (source !== undefined && !source.triggers.includes(type))
      throw new ProblemError('forbidden', `source ${source.name} may not send ${type}`)
    if (!allowsScope(type, request.scope.kind))
      throw new ProblemError('body-invalid', `${type} cannot name a scope of kind ${request.scope.kind}, only ${scopesOf(type)}`)
    const now = instant(start)
    const scope = await scopeOf(request, source)
    const effective = effectiveTime(request.effectiveAt, now, settings.limits)
    if (!effective.ok) throw new ProblemError('time-out-of-range', effective.said)
    const of = key('plan', canonicalJson({ type, scope, source: source?.name, effectiveAt: request.effectiveAt }))
    const from = request.next === undefined ? undefined : readNext(request.next)
    if (request.next !== undefined && from?.of !== of)
      throw new ProblemError('body-invalid', 'next is not of an answer to this request', {
        errors: [{ path: '/next', message: 'does not belong to this request' }],
      })

    const policy = policyOf(type, scope.kind)
    const modes = modesFor(settings.modes, type)
    const current: ForeseenCase = {
      id: 'preview',
      type,
      lane: policy.lane,
      mode: leastCautious(modes),
      modes,
      scope,
      source: source?.name ?? '',
      decisions: [],
      openedAt: now,
      effectiveAt: effective.at,
    }
    const overdue = () => clock.now() - start >= budget
    const facts = factsFor({ table, settings, catalog: ports.catalog }, current)
    const reach = reachFor({ table, settings }, facts, current)
    const tally = tallyFor(facts, current)
    const walk = walkOver(table, facts, reach, namesCredential(scope), tally.sink, overdue)
    const held = from === undefined ? await heldBy(current) : undefined
    const left = await goOn(from, walk, reach, facts, overdue, tally.sink)

    const before = from?.soFar ?? { identities: 0, leases: 0, cut: 0, guarded: false, exact: true }
    const totals = tally.totals()
    const soFar = {
      identities: before.identities + totals.identities,
      leases: before.leases + totals.leases,
      cut: before.cut + totals.cut,
    }
    const guarded = before.guarded || totals.guarded
    const exact = before.exact && tally.isExact()
    const deletionWaits = type === 'compromise' && (guarded || soFar.cut > deletionAbove(settings.approvals))
    const orphanDeadline = after(effective.at, settings.limits.reassignDays * 86400)
    return {
      type,
      lane: policy.lane,
      scope,
      ...(source === undefined ? {} : { source: source.name }),
      effectiveAt: effective.at,
      mode: current.mode,
      modes,
      complete: left === undefined,
      ...(left === undefined ? {} : { next: writeNext({ v: 1, of, ...left, soFar: { ...soFar, guarded, exact } }) }),
      exact,
      notes: from === undefined ? await notesOn(current, source) : [],
      ...(held === undefined ? {} : { held }),
      deletion: deletionWaits ? 'waits' : 'after-soak',
      ...(await tally.shown(orphanDeadline, deletionWaits)),
      soFar,
    }
  }

  /** In whose name it is asked: a source's own, one that an operator names, or nobody's. */
  function sourceOf({ source: named }: PlanRequest, caller: Caller): Source | undefined {
    const own = sourcesOf(settings, caller)
    const operator = operatorRight(settings, caller) !== undefined
    if (!operator && own.length === 0)
      throw new ProblemError('forbidden', 'the caller is neither an operator nor a source of triggers')
    if (named === undefined) {
      if (operator) return undefined
      if (own.length > 1) throw new ProblemError('forbidden', 'name one of your sources')
      return own[0]
    }
    const source = (operator ? settings.sources : own).find(({ name }) => name === named)
    if (source !== undefined) return source
    if (!operator) throw new ProblemError('forbidden', 'the caller is not this source')
    throw new ProblemError('body-invalid', 'there is no such source', {
      errors: [{ path: '/source', message: 'is not configured' }],
    })
  }

  async function scopeOf({ scope }: PlanRequest, source: Source | undefined): Promise<CaseScope> {
    if (scope.kind === 'credential-name') return namedScope(scope)
    const settled = settledScope(scope, source === undefined ? 'any' : source.namespaces)
    switch (settled.kind) {
      case 'settled':
        return settled.scope
      case 'identity-invalid':
        throw new ProblemError('body-invalid', settled.said, { errors: [{ path: '/scope/id', message: settled.said }] })
      case 'namespace':
        if (source !== undefined)
          throw new ProblemError('scope-not-allowed', `source ${source.name} does not attest this namespace`)
        throw new ProblemError('body-invalid', 'without a source, the namespace must be named', {
          errors: [{ path: '/scope/namespace', message: 'is missing' }],
        })
    }
  }

  /** The text is read and dropped, as it is where a trigger brings it. */
  async function namedScope(scope: Extract<PlanRequest['scope'], { kind: 'credential-name' }>): Promise<CaseScope> {
    const issuers = await issuerLookup(table)(scope)
    if (issuers === undefined)
      throw new ProblemError('issuer-unknown', 'the issuer that is named is not configured, or not of this provider')
    const found = readClue(scope.name, issuers, ports.catalog, await ports.mac())
    switch (found.kind) {
      case 'read':
        return {
          kind: 'credential-name',
          candidates: [...found.candidates],
          ...(scope.provider !== undefined && scope.issuer === undefined ? { everywhere: true as const } : {}),
        }
      case 'unrecognised':
        throw new ProblemError('credential-unrecognised', 'no configured issuer has a provider that reads this as a credential', {
          errors: [{ path: '/scope/name', message: 'is read as a credential by none of the providers' }],
        })
      case 'too-many':
        throw new ProblemError(
          'body-invalid',
          `it could be a credential at ${found.issuers} issuers: name the issuer or the provider`,
          {
            errors: [{ path: '/scope/name', message: 'could be a credential at too many issuers' }],
          },
        )
    }
  }

  /** Whether the case would wait for a person, by the same questions as at intake and before the first fence. */
  async function heldBy(current: ForeseenCase): Promise<NonNullable<PlanView['held']>> {
    const { scope } = current
    const by: NonNullable<PlanView['held']>['by'] = []
    const identity = scope.kind === 'identity' ? await identityOf(table, identityKey(scope.id)) : undefined
    const policy = policyOf(current.type, scope.kind)
    if (waitsForApproval(policy, current.modes ?? modesFor(settings.modes, current.type), identity, settings))
      by.push({ what: 'protection', said: PROTECTED })
    if (current.source !== '') {
      const fuse = fuses({ table, clock, log: ports.log, settings, dispatch: NOBODY })
      const said = await fuse.wouldHold(current)
      if (said !== undefined) by.push({ what: 'fuse', said })
    }
    return { held: by.length > 0, by }
  }

  async function notesOn(current: ForeseenCase, source: Source | undefined): Promise<string[]> {
    const { scope } = current
    const notes: string[] = []
    if (scope.kind === 'identity' && (await identityOf(table, identityKey(scope.id))) === undefined)
      notes.push('no lease of this identity was ever registered: the trigger would be refused')
    if (source === undefined && policyOf(current.type, scope.kind).holdable && current.mode !== 'observe')
      notes.push('name a source to see whether its fuse would trip')
    if (scope.kind === 'credential-name') {
      const asked = scope.candidates.map(({ issuer }) => issuer)
      notes.push(`read as a credential at ${asked.join(', ')}; where no lease names it, those that can be asked would be asked`)
    }
    if (current.mode === 'observe') notes.push('by its mode the case would only watch: nothing is fenced, no issuer is called')
    return notes
  }
}

/** A preview sends nothing to anybody. */
const refuse = async (): Promise<never> => {
  throw new Error('a preview sends no message')
}
const NOBODY = { plan: refuse, work: refuse }

const namesCredential =
  (scope: CaseScope) =>
  (fingerprint: string): boolean =>
    scope.kind === 'credential'
      ? scope.fingerprint === fingerprint
      : scope.kind === 'credential-name' && scope.candidates.some((one) => one.fingerprint === fingerprint)

type Left = Pick<Next, 'lanes'> & { readonly place?: Place }

/** Walks from where an answer before this one stopped; what is left when time runs out. */
async function goOn(
  from: Next | undefined,
  walk: Walk,
  reach: Reach,
  facts: Facts,
  overdue: () => boolean,
  sink: Parameters<Reach['ranges']>[1],
): Promise<Left | undefined> {
  const waiting: Lane[] = []
  for (const saved of from?.lanes ?? []) {
    const lane = await laneOf(saved, walk, reach, facts)
    if (lane !== undefined) waiting.push(lane)
  }
  const left: Lane[] = []
  let place: Place | undefined = from === undefined ? { after: '', done: 0 } : from.place
  const ranges = place === undefined ? undefined : reach.ranges(place, sink)
  let failed = false
  let begun = false

  async function next(): Promise<Lane | 'pause' | undefined> {
    const lane = waiting.shift()
    if (lane !== undefined) return lane
    const step = await ranges?.next()
    if (step === undefined || step.done === true) {
      place = undefined
      return undefined
    }
    place = step.value.place
    return step.value.range === undefined ? 'pause' : walk.begin(step.value.range)
  }

  async function work(): Promise<void> {
    for (;;) {
      if (failed || (begun && overdue())) return
      begun = true
      const lane = await next()
      if (lane === undefined) return
      if (lane !== 'pause' && !(await walk.run(lane))) left.push(lane)
    }
  }
  const results = await Promise.allSettled(
    Array.from({ length: LANES }, () =>
      work().catch((error: unknown) => {
        failed = true
        throw error
      }),
    ),
  )
  for (const result of results) if (result.status === 'rejected') throw result.reason
  const lanes = [...left, ...waiting].map(savedLane)
  if (lanes.length === 0 && place === undefined) return undefined
  return { lanes, ...(place === undefined ? {} : { place }) }
}

/** What the scope does not list, and what the case does not meet (any more), is no place to go on at. */
async function laneOf(saved: Next['lanes'][number], walk: Walk, reach: Reach, facts: Facts): Promise<Lane | undefined> {
  const { scope, shard, frames } = saved
  const [bottom, ...above] = frames
  if (bottom === undefined || !(await reach.lists(scope)) || shard >= shardsOf(scope)) return undefined
  const lane = walk.begin({ scope, shard })
  for (const base of lane.frames) base.after = toSort(bottom.after)
  for (const { k, of: id, rank, after: behind, ...state } of above) {
    const of = id === undefined ? undefined : await facts.lease(id)
    if (of === undefined || k === 'base' || !(await walk.isMet(of, rank + 1))) continue
    const frame: Frame = walk.frameOn(k, of, rank)
    frame.after = toSort(behind)
    frame.outsiders = state.outsiders ?? 0
    frame.watched = state.watched ?? 0
    frame.pending = await holderOf(of, state.pending, facts)
    frame.pendingWatched = await holderOf(of, state.pendingWatched, facts)
    lane.frames.push(frame)
  }
  return lane
}

async function holderOf(of: Gist, id: string | undefined, facts: Facts): Promise<Gist | undefined> {
  const found = id === undefined ? undefined : await facts.lease(id)
  return found?.fingerprint === of.fingerprint ? found : undefined
}

const savedLane = ({ range, frames }: Lane): Next['lanes'][number] => ({
  ...range,
  frames: frames.map(
    (frame): SavedFrame => ({
      k: frame.kind,
      rank: frame.rank,
      after: toBehind(frame.after),
      ...(frame.of === undefined ? {} : { of: frame.of.id }),
      ...(frame.outsiders === 0 ? {} : { outsiders: frame.outsiders }),
      ...(frame.watched === 0 ? {} : { watched: frame.watched }),
      ...(frame.pending === undefined ? {} : { pending: frame.pending.id }),
      ...(frame.pendingWatched === undefined ? {} : { pendingWatched: frame.pendingWatched.id }),
    }),
  ),
})
