import type { TriggerType } from '../../functions/contracts/primitives.ts'
import { caseKey, identityKey, key, leaseIdFor } from '../../functions/domain/keys.ts'
import { instant } from '../../functions/domain/time.ts'
import { SOURCE_HEADER, signWebhook } from '../../functions/runtime/webhook-signature.ts'
import { FIRST_INCARNATION, fingerprintOf } from './issuers.ts'
import type { Told } from './journal.ts'
import type { Operation, Schedule, Scope } from './schedule.ts'
import type { World } from './world.ts'
import {
  BROKER,
  credentialName,
  deploymentName,
  groupName,
  idempotencyKey,
  identityUri,
  MARKER,
  OPERATORS,
  OWNERS,
  ownerOf,
  START,
  taskName,
  WORKLOADS,
} from './world.ts'

/** One request to one of the three HTTP functions. */
export interface Call {
  readonly api: 'register' | 'intake' | 'operate'
  readonly method: 'GET' | 'POST' | 'PUT'
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
}
export interface Answered {
  readonly status: number
  readonly body: unknown
}

/** What the clients need of the world around them. */
export interface Surroundings {
  now(): number
  steps(): number
  /** At a virtual time, outside of everything. */
  at(time: number, run: () => void): void
  /** `undefined`: no answer came within the client's patience. */
  call(call: Call, done: (answer: Answered | undefined) => void): void
  mint(lease: number): void
  revive(issuer: string, credential: string): void
  kill(issuer: string, credential: string): void
  replace(issuer: string, credential: string): void
  setOutage(issuer: number, kind: 'unavailable' | 'refused' | 'slow' | undefined): void
  configure(issuer: number, present: boolean): void
  stopSweeper(until: number): void
  sendGarbage(queue: string, body: string): void
  /** Campaigns that nobody has decided about. */
  campaigns(): readonly string[]
}

export const SOURCES: Readonly<Record<TriggerType, string>> = {
  offboarding: 'hr',
  compromise: 'soc',
  decommission: 'deploy',
  'task-complete': 'ci',
}
export const OTHER_CI = 'other-ci'
/** Its secret by source: signs, and must show nowhere else. */
export const sourceSecret = (source: string) =>
  `whsec_${Buffer.from(`${MARKER}-of-source-${source}-with-more-bytes`).toString('base64')}`

const EVENT_SOURCE = 'urn:simulated'
const SECOND = 1000

/** The lease id that a lease of the world gets, whoever computes it. */
export function leaseId(world: World, lease: number): string {
  const planned = world.leases[lease]
  if (planned === undefined) throw new RangeError(`no lease ${lease}`)
  const issuer = world.issuers[planned.issuer]
  return leaseIdFor(identityKey(identityUri(planned.identity)), issuer?.name ?? '', BROKER, idempotencyKey(lease))
}

/** Who sends a trigger. */
export const senderOf = (operation: { readonly type: TriggerType; readonly elsewhere?: true }): string =>
  operation.elsewhere === true ? OTHER_CI : SOURCES[operation.type]

export const eventId = (operation: number): string => `event-${operation}`

/** The case that a trigger opens, if it opens one. */
export const caseIdOf = (source: string, event: string): string => caseKey(source, key('event', source, EVENT_SOURCE, event))

/** What an event names that comes under the id of another one. */
export function otherScope(world: World, scope: Scope): Scope {
  if (scope.kind === 'identity') return { kind: 'identity', identity: (scope.identity + 1) % world.identities.length }
  if (scope.kind === 'task') return { kind: 'task', task: 1 - scope.task }
  if (scope.kind === 'owner') return { kind: 'owner', owner: 1 - scope.owner }
  return scope
}

interface Registered {
  /** When it was first asked for. */
  readonly asked: number
  readonly body: string
  acknowledged: boolean
  answered: boolean
}

/**
 * Everybody outside the pipeline, as its contract asks of them: they repeat under the same key until they are answered,
 * use a credential only after the acknowledgement, mint only before the time that they named. All that they ask and are
 * told stands in the journal, one entry for each attempt.
 */
export class Clients {
  readonly journal: Told[] = []
  readonly registered = new Map<number, Registered>()
  private readonly schedule: Schedule
  private readonly world: World
  private readonly around: Surroundings
  /** Leases whose targets say which incarnation they mean. */
  private readonly incarnations = new Set<number>()
  /** Leases whose issuer renewal was allowed to bring them to life. */
  private readonly sent = new Map<number, string>()

  constructor(schedule: Schedule, around: Surroundings) {
    this.schedule = schedule
    this.world = schedule.world
    this.around = around
  }

  /** Declares issuers and identities, before anything can go wrong. */
  setup(done: () => void): void {
    const calls: Call[] = this.world.issuers.map((_, index) => this.issuerCall(index))
    for (const [index, identity] of this.world.identities.entries()) {
      if (!identity.declared) continue
      calls.push(
        this.operator('PUT', '/v1/identities', 0, {
          id: identityUri(index),
          owner: ownerOf(identity),
          ownerLeaves: identity.ownerLeaves,
          protected: identity.protected,
          ...(identity.workload ? { workload: WORKLOADS[0] } : {}),
          ...(identity.environment === undefined ? {} : { environment: identity.environment }),
        }),
      )
    }
    const next = (place: number): unknown => {
      const call = calls[place]
      if (call === undefined) return done()
      this.around.call(call, (answer) => {
        if (answer?.status !== 200) throw new Error(`the world cannot be set up: ${call.path} ${JSON.stringify(answer)}`)
        next(place + 1)
      })
    }
    next(0)
  }

  start(): void {
    for (const [place, operation] of this.schedule.operations.entries())
      this.around.at(START + operation.at, () => this.run(place, operation))
  }

  private run(place: number, operation: Operation) {
    const { around, world } = this
    switch (operation.do) {
      case 'register':
        return this.register(place, operation)
      case 'register-otherwise':
        return this.registerOtherwise(place, operation.lease)
      case 'renew':
        return this.renew(place, operation)
      case 'release': {
        const lease = this.acknowledged(operation.lease)
        if (lease !== undefined) this.ask(place, this.broker('POST', `/v1/leases/${lease}/release`), { tries: 3, lease })
        return
      }
      case 'trigger':
        for (let copy = 0; copy < operation.copies; copy += 1) this.trigger(place, operation, eventId(place))
        return
      case 'replay': {
        const of = this.schedule.operations[operation.of]
        if (of?.do !== 'trigger') return
        if (operation.body === 'same') return this.trigger(place, of, eventId(operation.of))
        const reason = `another body under the id of operation ${operation.of}`
        return this.trigger(
          place,
          { ...of, scope: otherScope(this.world, of.scope) },
          eventId(operation.of),
          senderOf(of),
          reason,
        )
      }
      case 'forge':
        return this.forge(place, operation)
      case 'garbage':
        if (operation.queue !== undefined)
          return around.sendGarbage(operation.queue, `{"v":7,"kind":"plan","note":"${MARKER}-in-a-message"}`)
        return this.ask(place, this.signed('soc', eventId(place), JSON.stringify({ note: `${MARKER}-in-a-body` })), { tries: 1 })
      case 'decide': {
        const id = this.caseOf(operation.of)
        const { what, about, operator } = operation
        if (id === undefined) return
        const body = { reason: 'simulated', ...(about === undefined ? {} : { about }) }
        return this.ask(place, this.operator('POST', `/v1/cases/${id}/${what}`, operator, body), { tries: 2, case: id })
      }
      case 'decide-campaigns':
        for (const id of around.campaigns())
          this.ask(place, this.operator('POST', `/v1/campaigns/${id}/${operation.what}`, 1, { reason: 'simulated' }), {
            tries: 2,
            id,
          })
        return
      case 'reinstate': {
        const { identity, owner } = operation
        if (identity >= world.identities.length) return
        const to = owner === undefined ? {} : { owner: OWNERS[owner] ?? OWNERS[0] }
        const body = { id: identityUri(identity), reason: 'simulated', ...to }
        return this.ask(place, this.operator('POST', '/v1/identities/reinstate', 1, body), { tries: 2 })
      }
      case 'reinstate-group': {
        const { scope } = operation
        const id = scope.kind === 'owner' ? (OWNERS[scope.owner] ?? OWNERS[0]) : WORKLOADS[0]
        const body = { kind: scope.kind, id, reason: 'simulated' }
        return this.ask(place, this.operator('POST', '/v1/groups/reinstate', 1, body), { tries: 2 })
      }
      case 'move': {
        const { identity, owner, workload } = operation
        if (identity >= world.identities.length) return
        const body = {
          id: identityUri(identity),
          ...(owner === undefined ? {} : { owner: OWNERS[owner] ?? OWNERS[0] }),
          ...(workload === undefined ? {} : { workload: WORKLOADS[workload ? 0 : 1] }),
        }
        return this.ask(place, this.operator('PUT', '/v1/identities', 0, body), { tries: 2 })
      }
      case 'alias': {
        const names = operation.identities.map(identityUri)
        if (operation.identities.some((identity) => identity >= world.identities.length)) return
        return this.ask(place, this.operator('POST', '/v1/aliases', 0, { names, reason: 'simulated' }), {
          tries: 2,
          answered: (answer) => {
            const id = textOf(answer.body, 'id')
            if (id !== undefined)
              this.ask(place, this.operator('POST', `/v1/aliases/${id}/approve`, 1, { reason: 'simulated' }), { tries: 2, id })
          },
        })
      }
      case 'unalias': {
        const { identity } = operation
        if (identity >= world.identities.length) return
        const body = { id: identityUri(identity), reason: 'simulated' }
        return this.ask(place, this.operator('POST', '/v1/aliases/remove', 1, body), { tries: 2 })
      }
      case 'restore':
        return this.restore(place, operation)
      case 'kill-switch': {
        const { engaged } = operation
        const body = { engaged, reason: 'simulated' }
        return this.ask(place, this.operator('PUT', '/v1/control/kill-switch', engaged ? 0 : 1, body), { tries: 5 })
      }
      case 'mode':
        if (operation.issuer >= world.issuers.length) return
        return this.ask(place, this.issuerCall(operation.issuer, operation.mode), { tries: 5 })
      case 'unconfigure': {
        const { issuer, seconds } = operation
        if (issuer >= world.issuers.length) return
        around.configure(issuer, false)
        return around.at(around.now() + seconds * SECOND, () => around.configure(issuer, true))
      }
      case 'outage': {
        const { issuer, kind, seconds } = operation
        if (issuer >= world.issuers.length) return
        around.setOutage(issuer, kind)
        return around.at(around.now() + seconds * SECOND, () => around.setOutage(issuer, undefined))
      }
      case 'resurrect':
        return this.atIssuer(operation.lease, (issuer, credential) => around.revive(issuer, credential))
      case 'end-elsewhere':
        return this.atIssuer(operation.lease, (issuer, credential) => around.kill(issuer, credential))
      case 'replace':
        // What its lease does not tell apart, nobody could: its provider would cut the other one by its name.
        if (this.incarnations.has(operation.lease))
          this.atIssuer(operation.lease, (issuer, credential) => around.replace(issuer, credential))
        return
      case 'stop-sweeper':
        return around.stopSweeper(around.now() + operation.seconds * SECOND)
    }
  }

  // ------------------------------------------------------------------------------------------------ leases

  private register(place: number, operation: Extract<Operation, { do: 'register' }>) {
    const { lease, tries, early } = operation
    const planned = this.world.leases[lease]
    if (planned === undefined || this.registered.has(lease)) return
    if (planned.registers === 'credential') this.around.mint(lease)
    if (early > 0) return this.around.at(this.around.now() + early, () => this.attempt(place, lease, tries))
    this.attempt(place, lease, tries)
  }

  private attempt(place: number, lease: number, tries: number): void {
    const planned = this.world.leases[lease]
    if (planned === undefined || this.registered.has(lease)) return
    const asked = this.around.now()
    const body = JSON.stringify(this.registration(lease, asked))
    const known: Registered = { asked, body, acknowledged: false, answered: false }
    this.registered.set(lease, known)
    const sure = this.world.issuers[planned.issuer]?.provider === 'sure'
    if (sure && planned.registers === 'credential' && planned.shares === undefined) this.incarnations.add(lease)
    const call = this.broker('POST', '/v1/leases', body, { 'idempotency-key': idempotencyKey(lease) })
    this.ask(place, call, {
      tries,
      lease: leaseId(this.world, lease),
      answered: () => {
        known.acknowledged = true
        if (planned.registers === 'intent') this.mintLater(place, lease, asked)
      },
    })
  }

  /** It begins before `mintBy`, and the call takes what it takes, but no longer than the longest. */
  private mintLater(place: number, lease: number, asked: number): void {
    const seconds = this.world.leases[lease]?.mintSeconds ?? 0
    const lands = this.around.now() + seconds * SECOND
    if (this.around.now() > asked + MINT_SECONDS * SECOND) return
    if (lands > asked + (MINT_SECONDS + 100) * SECOND) return
    this.around.at(lands, () => {
      // Where everybody is busy the clock may be further than that: then the call has timed out.
      if (this.around.now() > asked + (MINT_SECONDS + 100) * SECOND) return
      this.around.mint(lease)
      const target = { name: credentialName(this.world, lease), incarnation: FIRST_INCARNATION }
      const call = this.broker('POST', `/v1/leases/${leaseId(this.world, lease)}/confirm`, JSON.stringify({ target }))
      const answered = () => void this.incarnations.add(lease)
      this.ask(place, call, { tries: 2, lease: leaseId(this.world, lease), answered })
    })
  }

  private registration(lease: number, asked: number): object {
    const { world } = this
    const planned = world.leases[lease]
    if (planned === undefined) return {}
    const issuer = world.issuers[planned.issuer]
    const identity = world.identities[planned.identity]
    const name = credentialName(world, lease)
    const sure = issuer?.provider === 'sure'
    const shared = planned.shares !== undefined
    const parent = planned.parent === undefined ? undefined : this.acknowledged(planned.parent)
    const intent = planned.registers === 'intent'
    return {
      identity: identityUri(planned.identity),
      issuer: issuer?.name,
      kind: shared ? 'static' : 'dynamic',
      registers: planned.registers,
      target: sure ? { name, ...(intent || shared ? {} : { incarnation: FIRST_INCARNATION }) } : {},
      ...(sure ? {} : { secret: { token: name } }),
      ...(sure && !shared && identity?.group !== undefined ? { lever: { group: groupName(identity.group) } } : {}),
      consumer: 'app',
      purpose: 'simulated',
      expiresAt: instant(asked + planned.lifeSeconds * SECOND),
      ...(intent ? { mintBy: instant(asked + MINT_SECONDS * SECOND) } : {}),
      ...(planned.task === undefined ? {} : { task: { id: taskName(planned.task), namespace: 'ci' } }),
      ...(planned.deployment === undefined
        ? {}
        : { deployment: { id: deploymentName(planned.deployment), namespace: 'deploy' } }),
      ...(parent === undefined ? {} : { parent }),
      delegable: planned.delegable,
      ...(identity === undefined || identity.declared
        ? {}
        : {
            owner: ownerOf(identity),
            ownerLeaves: identity.ownerLeaves,
            ...(identity.workload ? { workload: WORKLOADS[0] } : {}),
            ...(identity.environment === undefined ? {} : { environment: identity.environment }),
          }),
    }
  }

  private registerOtherwise(place: number, lease: number): void {
    const known = this.registered.get(lease)
    if (known === undefined) return
    const body = JSON.stringify({ ...JSON.parse(known.body), purpose: 'something else' })
    const call = this.broker('POST', '/v1/leases', body, { 'idempotency-key': idempotencyKey(lease) })
    this.ask(place, call, { tries: 1, lease: leaseId(this.world, lease) })
  }

  private renew(place: number, operation: Extract<Operation, { do: 'renew' }>): void {
    const { lease, seconds, revives } = operation
    const id = this.acknowledged(lease)
    const known = this.registered.get(lease)
    const planned = this.world.leases[lease]
    if (id === undefined || known === undefined || planned === undefined) return
    const now = this.around.now()
    const expires = Math.max(now + seconds * SECOND, known.asked + planned.lifeSeconds * SECOND)
    const body = {
      expiresAt: instant(expires),
      ...(revives === undefined ? {} : { renewsUntil: instant(now + RENEW_SECONDS * SECOND) }),
    }
    this.ask(place, this.broker('POST', `/v1/leases/${id}/renew`, JSON.stringify(body)), {
      tries: 2,
      lease: id,
      answered: () => {
        // It is renewed at the issuer only when the pipeline has said yes, and only before the time that was named.
        const lands = this.around.now() + (revives ?? 0) * SECOND
        if (
          revives === undefined ||
          this.around.now() > now + RENEW_SECONDS * SECOND ||
          lands > now + (RENEW_SECONDS + 100) * SECOND
        )
          return
        this.around.at(lands, () => {
          if (this.around.now() > now + (RENEW_SECONDS + 100) * SECOND) return
          this.atIssuer(lease, (issuer, credential) => this.around.revive(issuer, credential))
        })
      },
    })
  }

  private acknowledged(lease: number): string | undefined {
    return this.registered.get(lease)?.acknowledged === true ? leaseId(this.world, lease) : undefined
  }

  private atIssuer(lease: number, does: (issuer: string, credential: string) => void): void {
    const planned = this.world.leases[lease]
    const issuer = planned === undefined ? undefined : this.world.issuers[planned.issuer]
    if (issuer !== undefined) does(issuer.name, credentialName(this.world, lease))
  }

  // ---------------------------------------------------------------------------------------------- triggers

  private trigger(
    place: number,
    operation: Extract<Operation, { do: 'trigger' }>,
    id: string,
    source = senderOf(operation),
    reason?: string,
  ): void {
    const body = this.event(operation, id, reason)
    if (body === undefined) return
    this.ask(place, () => this.signed(source, id, body), {
      tries: 6,
      answered: (answer) => {
        const opened = textOf(answer.body, 'case')
        if (opened !== undefined) this.sent.set(place, opened)
      },
    })
  }

  private event(
    operation: Pick<Extract<Operation, { do: 'trigger' }>, 'type' | 'scope' | 'ahead' | 'campaign'>,
    id: string,
    reason = 'simulated',
  ): string | undefined {
    const scope = this.scopeOf(operation.scope)
    if (scope === undefined) return undefined
    return JSON.stringify({
      specversion: '1.0',
      id,
      source: EVENT_SOURCE,
      type: `io.rescind.${operation.type}`,
      data: {
        scope,
        reason,
        ...(operation.ahead === undefined ? {} : { effectiveAt: instant(this.around.now() + operation.ahead * SECOND) }),
        ...(operation.campaign === true ? { campaign: 'leak' } : {}),
      },
    })
  }

  private scopeOf(scope: Scope): object | undefined {
    const { world } = this
    switch (scope.kind) {
      case 'identity':
        return scope.identity < world.identities.length ? { kind: 'identity', id: identityUri(scope.identity) } : undefined
      case 'owner':
        return { kind: 'owner', id: OWNERS[scope.owner] ?? OWNERS[0] }
      case 'workload':
        return { kind: 'workload', id: WORKLOADS[0] }
      case 'task':
        return { kind: 'task', id: taskName(scope.task) }
      case 'deployment':
        return { kind: 'deployment', id: deploymentName(scope.deployment) }
      case 'credential': {
        const planned = world.leases[scope.lease]
        const issuer = planned === undefined ? undefined : world.issuers[planned.issuer]
        if (issuer === undefined) return undefined
        if (scope.named === undefined) return { kind: 'credential', fingerprint: fingerprintOf(world, scope.lease) }
        const name = credentialName(world, scope.lease)
        const text = issuer.provider === 'sure' ? `sure:${name}` : name
        return { kind: 'credential-name', name: text, ...(scope.named === 'here' ? { issuer: issuer.name } : {}) }
      }
    }
  }

  private forge(place: number, operation: Extract<Operation, { do: 'forge' }>): void {
    const { type, scope, how, genuine } = operation
    const id = eventId(place)
    const source = SOURCES[type]
    const body = this.event({ type, scope }, id)
    if (body === undefined) return
    const sendGenuine = () => this.trigger(place, { at: 0, do: 'trigger', type, scope, copies: 1 }, id)
    const forged = (): Call => {
      const good = this.signed(source, id, body)
      const { headers } = good
      switch (how) {
        case 'signature':
          return { ...good, headers: { ...headers, 'webhook-signature': `v1,${Buffer.alloc(32, 1).toString('base64')}` } }
        case 'source':
          return { ...good, headers: { ...headers, [SOURCE_HEADER]: 'nobody' } }
        case 'right':
          // `ci` may send one kind alone; `other-ci` lives in another namespace.
          return this.signed(type === 'task-complete' ? 'hr' : 'ci', id, body)
        case 'body':
          return this.signed(source, id, body.replace('"reason"', `"note":"${MARKER}-in-a-body","reason"`))
        case 'stale':
          return this.signed(source, id, body, this.around.now() - 3_600_000)
      }
    }
    if (genuine === 'before') sendGenuine()
    this.ask(place, forged, { tries: 1 })
    if (genuine === 'after') this.around.at(this.around.now() + 5 * SECOND, sendGenuine)
  }

  private signed(source: string, id: string, body: string, timestamp = this.around.now()): Call {
    const headers = { ...signWebhook({ id, timestamp, body, secret: sourceSecret(source) }), [SOURCE_HEADER]: source }
    return { api: 'intake', method: 'POST', path: '/v1/events', headers, body }
  }

  /** The case of a trigger: as answered, or as it follows from the event where no answer came. */
  caseOf(place: number): string | undefined {
    const of = this.schedule.operations[place]
    if (of?.do !== 'trigger') return undefined
    return this.sent.get(place) ?? caseIdOf(senderOf(of), eventId(place))
  }

  private restore(place: number, { what, undoes }: Extract<Operation, { do: 'restore' }>) {
    const body = { reason: 'simulated', ...(undoes ? { undoesCompromise: true } : {}) }
    const keep = (answer: Answered, told: Told): void => {
      const id = textOf(answer.body, 'id')
      if (id !== undefined) told.id = id
    }
    if (what.kind === 'lease') {
      if (!this.registered.has(what.lease)) return
      const lease = leaseId(this.world, what.lease)
      return this.ask(place, this.operator('POST', `/v1/leases/${lease}/restore`, 1, body), { tries: 1, lease, answered: keep })
    }
    if (what.kind === 'identity') {
      if (what.identity >= this.world.identities.length) return
      const named = { id: identityUri(what.identity), ...body }
      return this.ask(place, this.operator('POST', '/v1/identities/restore', 1, named), { tries: 1, answered: keep })
    }
    const id = this.caseOf(what.of)
    if (id !== undefined)
      this.ask(place, this.operator('POST', `/v1/cases/${id}/restore`, 1, body), { tries: 1, case: id, answered: keep })
  }

  // ------------------------------------------------------------------------------------------- the calm at the end

  /** Operators let go what is stopped, and decide about what waits. */
  calm(paused: readonly string[], held: readonly string[], campaigns: readonly string[]): void {
    this.ask(-1, this.operator('PUT', '/v1/control/kill-switch', 1, { engaged: false, reason: 'calm' }), { tries: 3 })
    for (const id of campaigns)
      this.ask(-1, this.operator('POST', `/v1/campaigns/${id}/approve`, 1, { reason: 'calm' }), { tries: 3, id })
    for (const id of [...paused, ...held])
      this.ask(-1, this.operator('POST', `/v1/cases/${id}/approve`, 1, { reason: 'calm' }), { tries: 3, case: id })
  }

  // ----------------------------------------------------------------------------------------------- requests

  /** Asks until somebody answers, or patience is over. Each attempt is an entry of the journal. */
  private ask(
    operation: number,
    call: Call | (() => Call),
    options: {
      readonly tries: number
      readonly lease?: string
      readonly case?: string
      readonly id?: string
      readonly answered?: (answer: Answered, told: Told) => void
    },
  ): void {
    const { tries, lease, case: about, id } = options
    const told: Told = {
      operation,
      from: { step: this.around.steps(), at: this.around.now() },
      status: 'lost',
      ...(lease === undefined ? {} : { lease }),
      ...(about === undefined ? {} : { case: about }),
      ...(id === undefined ? {} : { id }),
    }
    this.journal.push(told)
    this.around.call(typeof call === 'function' ? call() : call, (answer) => {
      if (answer === undefined) return this.again(operation, call, options, tries)
      told.to = { step: this.around.steps(), at: this.around.now() }
      if (answer.status < 300) {
        told.status = 'ok'
        const opened = textOf(answer.body, 'case')
        if (opened !== undefined) told.case = opened
        const said = textOf(answer.body, 'status')
        if (said !== undefined) told.said = said
        options.answered?.(answer, told)
        return
      }
      const code = textOf(answer.body, 'code')
      if (code !== undefined) told.code = code
      if (answer.status === 429 || answer.status >= 500) return this.again(operation, call, options, tries)
      told.status = 'refused'
    })
  }

  private again(operation: number, call: Call | (() => Call), options: Parameters<Clients['ask']>[2], tries: number): void {
    if (tries <= 1) return
    this.around.at(this.around.now() + 2 * SECOND, () => this.ask(operation, call, { ...options, tries: tries - 1 }))
  }

  private broker(method: 'POST', path: string, body?: string, headers: Readonly<Record<string, string>> = {}): Call {
    return {
      api: 'register',
      method,
      path,
      headers: { authorization: BROKER, 'content-type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body }),
    }
  }

  private operator(method: 'POST' | 'PUT', path: string, operator: number, body: object): Call {
    const headers = { authorization: OPERATORS[operator] ?? OPERATORS[0], 'content-type': 'application/json' }
    return { api: 'operate', method, path, headers, body: JSON.stringify(body) }
  }

  private issuerCall(index: number, mode?: string): Call {
    const issuer = this.world.issuers[index]
    return this.operator('PUT', `/v1/issuers/${issuer?.name}`, 0, {
      provider: issuer?.provider,
      settings: {},
      adminSecret: `admin-${issuer?.name}`,
      soakSeconds: issuer?.soakSeconds,
      ...(issuer?.environment === undefined ? {} : { environment: issuer.environment }),
      ...(mode === undefined ? {} : { mode }),
    })
  }
}

/** Until when an intent may be minted, and a renewal may reach its issuer, in seconds. */
const MINT_SECONDS = 60
const RENEW_SECONDS = 60

function textOf(body: unknown, name: string): string | undefined {
  if (body === null || typeof body !== 'object') return undefined
  const found: unknown = Reflect.get(body, name)
  return typeof found === 'string' ? found : undefined
}
