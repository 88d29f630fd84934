import type { AuditRecord } from '../contracts/audit.ts'
import type { Modes } from '../contracts/mode.ts'
import type { Outcome } from '../contracts/outcome.ts'
import { tellAcceptance, tellDiscovery, tellFinding } from './audit-discovery.ts'
import { parseLeaseId } from './keys.ts'
import type {
  Actor,
  Ask,
  Breaker,
  Campaign,
  Case,
  Chunk,
  Control,
  Fence,
  Fuse,
  Identity,
  Issuer,
  Lease,
  Lever,
  Restoration,
} from './model.ts'

/** An item of the table in one of its versions, as the stream shows it. */
export interface Version {
  readonly pk: string
  readonly sk: string
  readonly [name: string]: unknown
}

type Facts = NonNullable<AuditRecord['facts']>
interface Told {
  readonly what: string
  readonly previous?: string | undefined
  readonly state?: string | undefined
  readonly about?: Partial<Pick<AuditRecord, 'case' | 'lease' | 'identity' | 'issuer' | 'outcome' | 'evidence' | 'trigger'>>
  readonly facts?: Facts
}

/**
 * What a change of one item tells, in audit records: one for each state change, none where only due times and cursors
 * moved. Pure, so that the same change always gives the same records: a replay of the stream adds nothing.
 */
export function auditOf(before: Version | undefined, after: Version | undefined): AuditRecord[] {
  const item = after ?? before
  if (item === undefined) return []
  const told = after === undefined ? removed(item) : tell(before, after)
  const by = (item.by ?? {}) as Partial<Actor>
  const version = Number(after?.v ?? item.v ?? 0)
  const previousVersion = Number(before?.v ?? 0)
  // Breakers and memberships come, go and come again: their versions begin anew, so the moment tells them apart.
  const again = item.kind === 'breaker' || item.kind === 'membership' ? `@${by.at ?? ''}` : ''
  return told.map((one, index) => ({
    id: `${item.pk}|${item.sk}:${after === undefined ? `${version}-removed` : version}${again}${index === 0 ? '' : `.${index}`}`,
    at: by.at ?? '',
    what: one.what,
    who: after === undefined ? 'retention' : (by.who ?? 'unknown'),
    item: { key: `${item.pk}|${item.sk}`, version, previousVersion },
    ...(by.why === undefined ? {} : { why: by.why }),
    ...(by.trigger === undefined ? {} : { trigger: by.trigger }),
    ...(by.case === undefined ? {} : { case: by.case }),
    ...defined({ previous: one.previous, state: one.state, facts: one.facts }),
    ...(one.about ?? {}),
  }))
}

/** A change that tells no state (a due time, a counter, a cursor): its version alone, so that a gap in an item's versions shows. */
export interface Silent {
  readonly key: string
  readonly version: number
  /** It may tell something, but cannot be read: an item of an unknown schema. */
  readonly unreadable?: true
}

/** Items whose versions run through the archive; the others (pointers, counters of a shard) only serve these. */
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
  'dead-letters',
  'campaign',
  'fuse',
  'ask',
  'discovery',
  'finding',
  'acceptance',
])

/** The change's version where `auditOf` tells nothing of it. */
export function silentOf(before: Version | undefined, after: Version | undefined): Silent | undefined {
  if (after === undefined || !FOLLOWED.has(after.kind) || auditOf(before, after).length > 0) return undefined
  return { key: `${after.pk}|${after.sk}`, version: Number(after.v ?? 0) }
}

function defined<Shape extends object>(shape: { [Key in keyof Shape]: Shape[Key] | undefined }): Partial<Shape> {
  return Object.fromEntries(Object.entries(shape).filter(([, value]) => value !== undefined)) as Partial<Shape>
}

/**
 * A version as the thing that its kind says it is. What the stream shows was written by this project's store, so the
 * kind is enough: the one place here where a shape is asserted.
 */
function shaped<Shape>(version: Version | undefined): Shape {
  const stored: unknown = version
  return stored as Shape
}

function tell(before: Version | undefined, after: Version): Told[] {
  switch (after.kind) {
    case 'lease':
      return tellLease(shaped(before), shaped(after))
    case 'case':
      return tellCase(shaped(before), shaped(after))
    case 'identity':
      return tellIdentity(shaped(before), shaped(after))
    case 'fence':
      return tellFence(shaped(before), shaped(after))
    case 'lever':
      return tellLever(shaped(before), shaped(after))
    case 'chunk':
    case 'amendment':
      return tellChunk(shaped(before), shaped(after))
    case 'issuer':
      return [tellIssuer(before, shaped(after))]
    case 'breaker':
      return tellBreaker(shaped(before), shaped(after))
    case 'quarantine':
      return before === undefined
        ? [
            {
              what: 'event.quarantined',
              facts: { origin: String(after.origin), reason: String(after.reason), id: String(after.id) },
            },
          ]
        : []
    case 'alias':
      return before?.state === after.state
        ? []
        : [
            {
              what: `alias.${after.state}`,
              previous: text(before?.state),
              state: text(after.state),
              facts: { names: text(after.names), proposedBy: text(after.proposedBy) },
            },
          ]
    case 'ask':
      return tellAsk(shaped(before), shaped(after))
    case 'discovery':
      return tellDiscovery(shaped(before), shaped(after))
    case 'finding':
      return tellFinding(shaped(before), shaped(after))
    case 'acceptance':
      return tellAcceptance(shaped(before), shaped(after))
    case 'restoration':
      return tellRestoration(shaped(before), shaped(after))
    case 'outage':
      return before === undefined
        ? [
            {
              what: 'outage.recorded',
              facts: { from: text(after.from), to: text(after.to), source: text(after.source), reason: text(after.reason) },
            },
          ]
        : []
    case 'dead-letters':
      return [
        {
          what: after.step === 'began' ? 'dead-letters.redrive-began' : 'dead-letters.redriven',
          facts: {
            queue: text(after.queue),
            ...(after.step === 'began' ? {} : { redriven: text(after.redriven), settled: text(after.settled) }),
          },
        },
      ]
    case 'control':
      return tellControl(shaped(before), shaped(after))
    case 'campaign':
      return tellCampaign(shaped(before), shaped(after))
    case 'fuse':
      return tellFuse(shaped(before), shaped(after))
    case 'membership':
      return before === undefined
        ? [{ what: 'group.joined', about: { identity: String(after.identity) }, facts: { group: after.pk } }]
        : []
    case 'credential':
      return before !== undefined && before.cutting !== after.cutting
        ? [{ what: 'credential.cutting', facts: { fingerprint: after.pk.slice(5) } }]
        : []
    default:
      // Events, pointers, units and progress say nothing that their case, lease or chunk does not say.
      return []
  }
}

/** Only what retention removes by itself leaves a record; pointers go with their lease. */
function removed(item: Version): Told[] {
  if (item.kind === 'lease') return [{ what: 'lease.removed', about: aboutLease(shaped(item)), previous: String(item.state) }]
  if (item.kind === 'case') return [{ what: 'case.removed', about: { case: String(item.id) }, previous: String(item.state) }]
  if (item.kind === 'breaker') return [{ what: 'issuer.breaker-closed', about: { issuer: String(item.issuer) } }]
  if (item.kind === 'membership')
    return [{ what: 'group.left', about: { identity: String(item.identity) }, facts: { group: item.pk } }]
  return []
}

const text = (value: unknown): string => (Array.isArray(value) ? value.join(' ') : value === undefined ? '' : String(value))

const aboutLease = (lease: Lease) => ({ lease: lease.id, identity: lease.identity, issuer: lease.issuer })

function tellLease(before: Lease | undefined, after: Lease): Told[] {
  const about = aboutLease(after)
  const told: Told[] = []
  if (before === undefined)
    told.push({
      what: 'lease.registered',
      about,
      state: after.state,
      facts: {
        owner: after.owner,
        consumer: after.consumer,
        purpose: after.purpose,
        fingerprint: after.fingerprint,
        expiresAt: after.expiresAt,
        registers: after.registers,
        epoch: after.epoch,
        ...(after.parent === undefined ? {} : { parent: after.parent }),
        ...(after.task === undefined ? {} : { task: `${after.task.namespace}/${after.task.id}` }),
        ...(after.deployment === undefined ? {} : { deployment: `${after.deployment.namespace}/${after.deployment.id}` }),
      },
    })
  else {
    if (before.state === 'restoring' && after.state === 'live')
      told.push({
        what: 'lease.restored',
        about,
        previous: before.state,
        state: after.state,
        facts: { generation: after.generation, ...after.restored },
      })
    else if (before.state !== after.state)
      told.push({
        what: `lease.${after.state}`,
        about,
        previous: before.state,
        state: after.state,
        facts: { generation: after.generation },
      })
    else if (before.generation !== after.generation && before.holder?.case !== after.holder?.case)
      told.push({
        what: 'lease.taken-over',
        about,
        previous: before.holder?.case,
        state: after.holder?.case,
        facts: { generation: after.generation },
      })
    else if (before.generation !== after.generation || (!before.unanswered && after.unanswered))
      told.push({ what: 'lease.attempted', about, state: after.state, facts: { generation: after.generation } })
    if (after.graceUntil !== undefined && before.graceUntil !== after.graceUntil)
      told.push({ what: 'lease.graced', about, previous: before.graceUntil ?? before.expiresAt, state: after.graceUntil })
    if (before.deletion === undefined && after.deletion !== undefined)
      told.push({ what: 'lease.deleting', about, state: after.state })
    if (before.deletion?.done !== true && after.deletion?.done === true)
      told.push({ what: 'lease.deleted', about, previous: after.state, facts: { at: after.deletion.at } })
    if (after.left !== undefined && before.left?.said !== after.left.said)
      told.push({ what: 'lease.left-behind', about, state: after.state, facts: { said: after.left.said } })
    if (before.registerBy !== after.registerBy)
      told.push({ what: 'lease.put-off', about, previous: before.registerBy, state: after.registerBy })
    if (after.overdueSince !== undefined && before.overdueSince !== after.overdueSince)
      told.push({ what: 'lease.overdue', about, state: after.state, facts: { expiresAt: after.expiresAt } })
    if (before.expiresAt !== after.expiresAt)
      told.push({ what: 'lease.renewed', about, previous: before.expiresAt, state: after.expiresAt })
    if (before.pending && !after.pending) told.push({ what: 'lease.confirmed', about, state: after.state })
  }
  for (const [id, outcome] of Object.entries(after.outcomes)) {
    const known: Outcome | undefined = before?.outcomes[id]
    if (known?.outcome === outcome.outcome && known.at === outcome.at) continue
    told.push({
      what: `outcome.${outcome.outcome}`,
      about: { ...about, case: id, outcome: outcome.outcome, evidence: outcome.evidence },
      previous: known?.outcome ?? before?.state,
      state: after.state,
      ...(outcome.livesUntil === undefined && outcome.observed === undefined
        ? {}
        : { facts: { ...defined({ livesUntil: outcome.livesUntil }), ...outcome.observed } }),
    })
  }
  return told
}

function tellCase(before: Case | undefined, after: Case): Told[] {
  const about = { case: after.id, trigger: after.type }
  const told: Told[] = []
  if (before === undefined)
    told.push({
      what: `case.${after.state}`,
      about,
      state: after.state,
      facts: {
        scope: scopeText(after),
        lane: after.lane,
        mode: after.mode,
        ...(after.modes === undefined || after.modes.rules.length === 0 ? {} : { modes: modesText(after.modes) }),
        source: after.source,
        eventId: after.eventId,
        requester: after.requester,
        effectiveAt: after.effectiveAt,
        reason: after.reason,
        ...(after.requestedBy === undefined ? {} : { requestedBy: after.requestedBy }),
        ...(after.held === undefined ? {} : { held: after.held.reason }),
        ...(after.campaign === undefined ? {} : { campaign: after.campaign }),
        ...(after.deletion === undefined ? {} : { deletion: after.deletion }),
      },
    })
  else {
    if (before.state !== after.state)
      told.push({
        what: `case.${after.state}`,
        about,
        previous: before.state,
        state: after.state,
        facts: {
          mode: after.mode,
          ...(after.state === 'held' && after.held !== undefined ? { held: after.held.reason } : {}),
          ...(after.state === 'closed' ? { ...after.counts, amendments: after.amendments.expected } : {}),
        },
      })
    if (before.containedAt === undefined && after.containedAt !== undefined)
      told.push({ what: 'case.contained', about, state: after.state, facts: { ...after.levers } })
    if (after.decisions.length > before.decisions.length) {
      const decision = after.decisions.at(-1)
      if (decision !== undefined)
        told.push({
          what: `case.${decision.decision}`,
          about,
          facts: {
            about: decision.about,
            by: decision.by,
            reason: decision.reason,
            ...(decision.validUntil === undefined ? {} : { validUntil: decision.validUntil }),
          },
        })
    }
    if (before.deletion === undefined && after.deletion === 'waits')
      told.push({ what: 'case.deletion-waits', about, state: after.deletion })
    if ((after.exempt ?? 0) > (before.exempt ?? 0))
      told.push({ what: 'case.exempted', about, facts: { exempt: after.exempt ?? 0 } })
    if ((after.resurrections ?? 0) > (before.resurrections ?? 0) && before.state === after.state)
      told.push({ what: 'case.resurrected', about, state: after.state, facts: { resurrections: after.resurrections ?? 0 } })
    if ((after.restored ?? 0) > (before.restored ?? 0))
      told.push({ what: 'case.restored', about, facts: { restored: after.restored ?? 0 } })
    if (after.noted > before.noted) told.push({ what: 'case.noted', about, facts: { noted: after.noted } })
    if (after.amendments.done > before.amendments.done)
      told.push({ what: 'case.amended', about, facts: { ...after.amendCounts } })
  }
  return told
}

/** `contain for db; observe in test; else enforce`. */
const modesText = ({ rules, default: otherwise }: Modes): string =>
  [
    ...rules.map(({ mode, issuer, environment }) =>
      [
        mode,
        ...(issuer === undefined ? [] : [`for ${issuer}`]),
        ...(environment === undefined ? [] : [`in ${environment}`]),
      ].join(' '),
    ),
    `else ${otherwise}`,
  ].join('; ')

const scopeText = ({ scope }: Case): string => {
  switch (scope.kind) {
    case 'credential':
      return `credential ${scope.fingerprint}`
    case 'credential-name':
      return scope.candidates.map(({ issuer, shown }) => `${shown} at ${issuer}`).join(', ')
    case 'task':
    case 'deployment':
      return `${scope.kind} ${scope.namespace}/${scope.id}`
    default:
      return `${scope.kind} ${scope.id}`
  }
}

function tellIdentity(before: Identity | undefined, after: Identity): Told[] {
  const about = { identity: after.id }
  const told: Told[] = []
  const declared = {
    owner: after.owner,
    workload: after.workload ?? '',
    protected: after.protected,
    ownerLeaves: after.ownerLeaves,
  }
  if (before === undefined) told.push({ what: 'identity.declared', about, facts: declared })
  else if (
    before.owner !== after.owner ||
    before.workload !== after.workload ||
    before.protected !== after.protected ||
    before.ownerLeaves !== after.ownerLeaves
  )
    told.push({ what: 'identity.changed', about, previous: before.owner, state: after.owner, facts: declared })
  for (const [id, { epoch }] of Object.entries(after.fences))
    if (before?.fences[id] === undefined)
      told.push({
        what: 'identity.fenced',
        about: { ...about, case: id },
        previous: String(before?.fencedThrough ?? 0),
        state: String(after.fencedThrough),
        facts: { epoch },
      })
  for (const issuer of Object.keys(after.issuers))
    if (before?.issuers[issuer] === undefined) told.push({ what: 'identity.issuer-added', about: { ...about, issuer } })
  if (before !== undefined && before.aliases?.join() !== after.aliases?.join())
    told.push({
      what: 'identity.aliases',
      about,
      previous: before.aliases?.join(' ') ?? '',
      state: after.aliases?.join(' ') ?? '',
    })
  if (before !== undefined && before.epoch !== after.epoch)
    told.push({ what: 'identity.reinstated', about, previous: String(before.epoch), state: String(after.epoch) })
  if (before?.orphan === undefined && after.orphan !== undefined)
    told.push({
      what: 'identity.orphaned',
      about: { ...about, case: after.orphan.case },
      facts: { deadline: after.orphan.deadline, formerOwner: after.orphan.formerOwner },
    })
  if (before?.orphan !== undefined && after.orphan !== undefined && before.orphan.deadline !== after.orphan.deadline)
    told.push({ what: 'identity.orphan-put-off', about, previous: before.orphan.deadline, state: after.orphan.deadline })
  if (before?.orphan !== undefined && after.orphan === undefined)
    told.push({ what: 'identity.orphan-ended', about, previous: before.orphan.formerOwner, state: after.owner })
  return told
}

/** A question that waits for its issuer tells why once, not at each try. */
function tellAsk(before: Ask | undefined, after: Ask): Told[] {
  if (before?.state === after.state && before.said === after.said) return []
  return [
    {
      what: before === undefined ? 'ask.opened' : before.state === after.state ? 'ask.postponed' : `ask.${after.state}`,
      about: { case: after.case, issuer: after.issuer },
      previous: before?.state,
      state: after.state,
      ...(after.said === '' ? {} : { facts: { said: after.said } }),
    },
  ]
}

function tellFence(before: Fence | undefined, after: Fence): Told[] {
  const scope = after.pk.startsWith('FENCE#') ? after.pk.slice('FENCE#'.length) : after.pk
  if (after.closed === false && before?.closed !== false) return [{ what: 'scope.reinstated', facts: { scope } }]
  return Object.keys(after.fences)
    .filter((id) => before?.fences[id] === undefined)
    .map((id) => ({ what: 'scope.fenced', about: { case: id }, facts: { scope } }))
}

function tellRestoration(before: Restoration | undefined, after: Restoration): Told[] {
  if (before?.state === after.state) return []
  const { scope } = after
  return [
    {
      what: before === undefined ? 'restoration.opened' : `restoration.${after.state}`,
      previous: before?.state,
      state: after.state,
      about: {
        ...(scope.kind === 'case' ? { case: scope.id } : {}),
        ...(scope.kind === 'identity' ? { identity: scope.id } : {}),
        ...(scope.kind === 'lease' ? { lease: scope.id } : {}),
      },
      facts: {
        restoration: after.id,
        scope: `${scope.kind} ${scope.id}`,
        reason: after.reason,
        requester: after.requester,
        undoesCompromise: after.undoesCompromise,
        ...(after.state === 'done' ? { ...after.counts } : {}),
      },
    },
  ]
}

function tellLever(before: Lever | undefined, after: Lever): Told[] {
  const about = { case: after.case, issuer: after.issuer, identity: String((after as { identity?: unknown }).identity ?? '') }
  if (before === undefined) return [{ what: 'lever.intended', about, state: after.state }]
  if (before.released === undefined && after.released !== undefined)
    return [
      {
        what: 'lever.released',
        about,
        previous: before.state,
        state: 'released',
        facts: { restoration: after.released.restoration },
      },
    ]
  if (before.state === after.state) return []
  return [
    {
      what: `lever.${after.state}`,
      about,
      previous: before.state,
      state: after.state,
      ...(after.said === undefined ? {} : { facts: { said: after.said } }),
    },
  ]
}

function tellChunk(before: Chunk | undefined, after: Chunk): Told[] {
  const said = (after as { said?: unknown }).said
  const lease = 'leases' in after.covers && after.kind === 'amendment' ? after.covers.leases[0]?.id : undefined
  const about = {
    case: after.case,
    issuer: after.issuer,
    ...(lease === undefined ? {} : { lease, issuer: parseLeaseId(lease).issuer }),
  }
  if (before === undefined)
    return [{ what: `${after.kind}.planned`, about, state: after.step, facts: { because: after.because } }]
  // What the claim of a lease tells where each has its own: the attempt that follows, before it is made.
  if (before.intent === undefined && after.intent !== undefined)
    return [
      {
        what: `${after.kind}.intended`,
        about,
        state: after.step,
        facts: {
          leases: after.intent.leases,
          ...('pk' in after.covers ? { in: after.covers.pk, from: after.covers.from, to: after.covers.to } : {}),
          ...('shards' in after.covers ? { in: after.covers.scope, shards: after.covers.shards.join(' ') } : {}),
          ...(after.intent.except.length === 0 ? {} : { except: after.intent.except.join(' ') }),
        },
      },
    ]
  if (before.step === after.step && before.state === after.state && before.attempts === after.attempts) return []
  return [
    {
      what:
        after.state !== before.state
          ? `${after.kind}.done`
          : after.step !== before.step
            ? `${after.kind}.${after.step}`
            : `${after.kind}.postponed`,
      about,
      previous: before.step,
      state: after.step,
      facts: { attempts: after.attempts, ...after.counts, ...(typeof said === 'string' ? { said } : {}) },
    },
  ]
}

function tellControl(before: Control | undefined, after: Control): Told[] {
  const told: Told[] = []
  if (before?.killSwitch === undefined && after.killSwitch !== undefined)
    told.push({ what: 'control.kill-switch-engaged', facts: { reason: after.killSwitch.reason } })
  if (before?.killSwitch !== undefined && after.killSwitch === undefined)
    told.push({
      what: 'control.kill-switch-released',
      facts: { engagedBy: before.killSwitch.by, since: before.killSwitch.since },
    })
  if (before?.restored === undefined && after.restored !== undefined)
    told.push({ what: 'control.restored', facts: { reason: after.restored.reason } })
  if (before?.restored !== undefined && after.restored === undefined)
    told.push({ what: 'control.released', facts: { since: before.restored.since } })
  return told
}

function tellCampaign(before: Campaign | undefined, after: Campaign): Told[] {
  const facts = { campaign: after.id, source: after.source, name: after.name }
  const told: Told[] = []
  if (before === undefined)
    told.push({
      what: 'campaign.opened',
      state: after.of,
      facts: { ...facts, ...(after.held === undefined ? {} : { held: after.held }) },
    })
  const decision = after.decisions.at(-1)
  if (decision !== undefined && after.decisions.length > (before?.decisions.length ?? 0))
    told.push({
      what: `campaign.${decision.decision}`,
      facts: {
        ...facts,
        by: decision.by,
        reason: decision.reason,
        ...(decision.validUntil === undefined ? {} : { validUntil: decision.validUntil }),
      },
    })
  if (before?.carrying !== undefined && after.carrying === undefined) told.push({ what: 'campaign.carried-out', facts })
  return told
}

function tellFuse(before: Fuse | undefined, after: Fuse): Told[] {
  const facts = { source: after.source, identities: after.identities, leases: after.leases, taskLeases: after.taskLeases }
  if (before?.campaign === undefined && after.campaign !== undefined)
    return [{ what: 'fuse.tripped', facts: { ...facts, campaign: after.campaign } }]
  if (before?.campaign !== undefined && after.campaign === undefined)
    return [{ what: after.blown === true ? 'fuse.blown' : 'fuse.renewed', facts: { ...facts, campaign: before.campaign } }]
  return []
}

const tellIssuer = (before: Version | undefined, after: Issuer): Told => ({
  what: before === undefined ? 'issuer.declared' : 'issuer.changed',
  about: { issuer: after.name },
  facts: {
    ...{ provider: after.provider, soakSeconds: after.soakSeconds, mode: after.mode ?? 'enforce' },
    ...(after.limits === undefined ? {} : { callsPerSecond: after.limits.callsPerSecond }),
  },
})

function tellBreaker(before: Breaker | undefined, after: Breaker): Told[] {
  const { probe } = after
  if (probe !== undefined && before?.probe?.name !== probe.name)
    return [{ what: 'issuer.breaker-probed', about: { issuer: after.issuer }, state: probe.until }]
  if (before?.openUntil === after.openUntil) return []
  return [
    {
      what: 'issuer.breaker-opened',
      about: { issuer: after.issuer },
      state: after.openUntil,
      facts: { code: after.code, reason: after.reason, failures: after.failures },
    },
  ]
}
