import { closer } from '../../functions/close/close.ts'
import type { AuditRecord } from '../../functions/contracts/audit.ts'
import { PlanMessage, WorkMessage } from '../../functions/contracts/message.ts'
import type { TriggerType } from '../../functions/contracts/primitives.ts'
import type { TriggerScope } from '../../functions/contracts/scope.ts'
import type { Settings } from '../../functions/contracts/settings.ts'
import { DEFAULT_LIMITS } from '../../functions/contracts/settings.ts'
import type { TriggerData } from '../../functions/contracts/trigger.ts'
import { Trigger } from '../../functions/contracts/trigger.ts'
import type { Case, Lease } from '../../functions/domain/model.ts'
import { instant } from '../../functions/domain/time.ts'
import { acceptor } from '../../functions/intake/accept.ts'
import { operations } from '../../functions/operate/operate.ts'
import { restorations } from '../../functions/operate/restore.ts'
import { planStage } from '../../functions/plan/stage.ts'
import { prover } from '../../functions/prove/prove.ts'
import type { Definition, ProviderModule } from '../../functions/providers/contract.ts'
import { holder } from '../../functions/register/holder.ts'
import type { RegisterPorts } from '../../functions/register/register.ts'
import { registrar } from '../../functions/register/register.ts'
import type { WorkPorts } from '../../functions/revoke/ports.ts'
import { revokeWorker } from '../../functions/revoke/worker.ts'
import type { Principal } from '../../functions/runtime/authentication.ts'
import { dispatcher } from '../../functions/runtime/dispatch.ts'
import { fileKeys } from '../../functions/runtime/keys.ts'
import { macOf } from '../../functions/runtime/mac.ts'
import type { Metrics } from '../../functions/runtime/metrics.ts'
import type { Announcer, Archive, Clock, Log, Queues, Randomness } from '../../functions/runtime/ports.ts'
import type { Keeper } from '../../functions/runtime/quarantine.ts'
import { keeper } from '../../functions/runtime/quarantine.ts'
import { opener, sealer } from '../../functions/runtime/sealing.ts'
import { Postponed } from '../../functions/runtime/sqs-batch.ts'
import { Unusable } from '../../functions/runtime/unusable.ts'
import { declareIssuer } from '../../functions/store/issuers.ts'
import { as, ForeignItem } from '../../functions/store/items.ts'
import { sweeper } from '../../functions/sweep/sweep.ts'
import { FakeIssuer, fakeDefinition, fakeModule } from './fake-issuer.ts'
import { MemoryMark } from './memory-mark.ts'
import { MemoryTable } from './memory-table.ts'

export const START = Date.parse('2026-11-22T10:00:00.000Z')
export const BROKER: Principal = { uri: 'spiffe://example.org/broker', kind: 'svid', namespace: 'ci' }

export interface Announced {
  readonly type: string
  readonly id: string
  readonly subject: string
  readonly data: unknown
}

export interface Message {
  readonly queue: string
  readonly body: unknown
  receiveCount: number
  notBefore: number
}

/** The installation's keyed hash in tests. */
export const fixedMac = async () => macOf('a-fingerprint-key-of-the-tests-43-characters-long')

export const settings: Settings = {
  tokenIssuers: [],
  grants: [
    { right: 'broker', caller: BROKER.uri, identities: ['**'], namespaces: ['ci', 'deploy'] },
    { right: 'operator', caller: 'spiffe://example.org/operator/**', approve: true },
  ],
  sources: [
    { name: 'all', triggers: ['offboarding', 'compromise', 'decommission', 'task-complete'], namespaces: ['ci', 'deploy'] },
    { name: 'ci', triggers: ['task-complete'], namespaces: ['ci'] },
    { name: 'other-ci', triggers: ['task-complete'], namespaces: ['other'] },
  ],
  protected: ['spiffe://example.org/protected/**'],
  ownerLeavesDefault: 'revoke',
  limits: { ...DEFAULT_LIMITS, backoffSeconds: 60 },
}

/**
 * The whole pipeline in one process over a table in memory: the real stages, queues as lists, a clock that a test
 * moves, issuers that a test looks into. `settle` runs until nothing moves any more.
 */
export class Pipeline {
  readonly table = new MemoryTable()
  readonly index = new MemoryTable()
  readonly mark = new MemoryMark()
  readonly archived = new Map<string, string>()
  readonly announced: Announced[] = []
  readonly logged: string[] = []
  readonly issuers = new Map<string, FakeIssuer>()
  readonly messages: Message[] = []
  readonly sent: unknown[] = []
  /** Each message is delivered this many times. */
  deliveries = 1
  /** Received so often, a message that fails goes to the dead letters. */
  mostReceives = Number.POSITIVE_INFINITY
  readonly dead: Message[] = []
  /** What was counted, as `metric reason`. */
  readonly counted: string[] = []
  readonly metrics: Metrics = { count: (name, reason) => void this.counted.push(`${name} ${reason}`) }
  now = START
  private seed = 1
  private streamed = 0
  private proved = 0

  readonly clock: Clock = { now: () => this.now, sleep: async () => {} }
  readonly random: Randomness = {
    fraction: () => {
      this.seed = (this.seed * 1103515245 + 12345) % 2147483648
      return this.seed / 2147483648
    },
    bytes: (length) => Uint8Array.from({ length }, () => Math.floor(this.random.fraction() * 256)),
  }
  readonly log: Log = {
    info: (message, fields) => this.logged.push(JSON.stringify({ message, ...fields })),
    warn: (message, fields) => this.logged.push(JSON.stringify({ message, ...fields })),
    error: (message, fields) => this.logged.push(`${message} ${String(fields?.error)}`),
  }
  readonly queues: Queues = {
    send: async (queue, messages) => {
      for (const { body } of messages) {
        this.sent.push(body)
        for (let copy = 0; copy < this.deliveries; copy += 1)
          this.messages.push({ queue, body, receiveCount: 0, notBefore: this.now })
      }
    },
    depth: async (queue) => this.messages.filter((message) => message.queue === queue).length,
  }
  readonly announcer: Announcer = { announce: async (events) => void this.announced.push(...events) }
  readonly archive: Archive = {
    put: async (key, body) => void this.archived.set(key, body),
    get: async (key) => this.archived.get(key),
  }

  readonly definition: Definition
  readonly module: ProviderModule
  readonly register
  readonly leases
  readonly accept
  readonly operate
  readonly restore
  private readonly plan
  private work
  private readonly keep: Keeper
  private readonly workPorts: WorkPorts
  private readonly close
  private readonly prove
  readonly sweep

  constructor(options: { readonly definition?: Definition; readonly settings?: Partial<Settings> } = {}) {
    // Behind the contract the fake's own types are `unknown`: the worker parses targets by the definition's schema.
    this.definition = options.definition ?? (fakeDefinition() as Definition)
    this.module = { ...(fakeModule(this.issuers) as ProviderModule), definition: this.definition }
    const all: Settings = { ...settings, ...options.settings }
    const { table, clock, random, log } = this
    const dispatch = dispatcher(
      table,
      this.queues,
      ['p0', 'p1', 'p2'].flatMap((lane) => [`plan-${lane}`, `work-fake-${lane}`]),
      clock,
    )
    const keep = keeper(table, clock, all.limits.retentionDays, this.metrics)
    const keys = fileKeys(new Uint8Array(32).fill(7), random)
    const catalog = { fake: this.definition }
    const mac = fixedMac
    const ports: RegisterPorts = {
      table,
      dispatch,
      clock,
      random,
      settings: all,
      seal: sealer({ keys, clock, random }),
      catalog,
      mac,
    }
    this.register = registrar(ports)
    this.leases = holder(ports)
    this.accept = acceptor({ table, dispatch, clock, settings: all, catalog, mac })
    this.operate = operations({
      table,
      index: this.index,
      archive: this.archive,
      dispatch,
      clock,
      settings: all,
      catalog: { fake: this.definition },
    })
    this.restore = restorations({ table, clock, dispatch, catalog })
    this.plan = planStage({ table, dispatch, clock, log, settings: all, catalog })
    this.workPorts = {
      table,
      dispatch,
      clock,
      random,
      log,
      secrets: { get: async () => 'admin' },
      open: opener({ keys, clock }),
      limits: all.limits,
      catalog,
      ...(all.exempt === undefined ? {} : { exempt: all.exempt }),
      ...(all.outage === undefined ? {} : { outage: all.outage }),
      ...(all.discovery === undefined ? {} : { discovery: all.discovery }),
      environment: {},
      unreadable: (item) => keep.item({ reason: 'lease-unreadable', origin: 'revoke/fake', item }),
    }
    this.work = revokeWorker(this.module, this.workPorts)
    this.keep = keep
    this.close = closer({ table, announcer: this.announcer, clock, limits: all.limits })
    this.prove = prover({ archive: this.archive, index: this.index })
    this.sweep = sweeper({
      table,
      dispatch,
      clock,
      random,
      log,
      limits: all.limits,
      settings: all,
      catalog,
      ...(all.discovery === undefined ? {} : { discovery: all.discovery }),
      mark: this.mark,
      keep: keep.item,
      ...(all.modes === undefined ? {} : { modes: all.modes }),
      ...(all.outage === undefined ? {} : { outage: all.outage }),
    })
  }

  /** Another provider behind the work queues. */
  replaceWorker(make: (ports: WorkPorts) => ReturnType<typeof revokeWorker>): void {
    this.work = make(this.workPorts)
  }

  async issuer(name = 'db', soakSeconds = 3600): Promise<FakeIssuer> {
    const issuer = new FakeIssuer()
    this.issuers.set(name, issuer)
    await declareIssuer(this.table, name, { provider: 'fake', settings: {}, soakSeconds }, { who: 'test', at: instant(this.now) })
    return issuer
  }

  /** Registers a lease of a freshly minted credential; the name of the credential is its idempotency key as well. */
  async lease(
    name: string,
    overrides: Partial<Parameters<ReturnType<typeof registrar>>[0]> & { group?: string } = {},
    key = `key-${name}-1234`,
  ) {
    const { group, ...request } = overrides
    const issuerName = request.issuer ?? 'db'
    const issuer = this.issuers.get(issuerName)
    if (issuer !== undefined && !issuer.credentials.has(name) && request.registers !== 'intent') issuer.mint(name, group)
    const { lease } = await this.register(
      {
        identity: 'spiffe://example.org/app',
        issuer: issuerName,
        kind: 'dynamic',
        registers: 'credential',
        target: { name },
        consumer: 'app',
        purpose: 'test',
        expiresAt: instant(this.now + 86_400_000),
        owner: 'alice',
        ...(group === undefined ? {} : { lever: { group } }),
        ...request,
      },
      key,
      BROKER,
    )
    return lease
  }

  async trigger(type: TriggerType, scope: TriggerScope, extra: Partial<TriggerData> & { id?: string; source?: string } = {}) {
    const { id, source, ...data } = extra
    const trigger = Trigger.parse({
      specversion: '1.0',
      id: id ?? `event-${this.sent.length}-${this.messages.length}-${type}`,
      source: 'urn:test',
      type: `io.rescind.${type}`,
      data: { scope, reason: 'test', ...data },
    })
    const found = settings.sources.find((one) => one.name === (source ?? 'all'))
    if (found === undefined) throw new Error('no such source')
    return this.accept(trigger, { source: found, principal: `source:${found.name}` })
  }

  /** Delivers the next message; `false` where none is due. A failing one comes back. */
  async step(pick: (messages: readonly Message[]) => number = () => 0): Promise<boolean> {
    const ready = this.messages.filter((message) => message.notBefore <= this.now)
    const message = ready[pick(ready)]
    if (message === undefined) return false
    this.messages.splice(this.messages.indexOf(message), 1)
    message.receiveCount += 1
    try {
      if (message.queue.startsWith('plan-')) await this.plan(PlanMessage.parse(message.body))
      else await this.work(WorkMessage.parse(message.body), { receiveCount: message.receiveCount })
    } catch (error) {
      // As `sqsBatch` does it.
      if (error instanceof Unusable || error instanceof ForeignItem) {
        const { queue, body, receiveCount } = message
        const reason = error instanceof Unusable ? error.code : 'item-unreadable'
        const about = JSON.stringify(body)
        const delivery = { messageId: `message-${this.sent.length}`, queue, receiveCount, sentAt: this.now }
        await this.keep.message({ ...delivery, body: about, about, reason, notes: [{ path: '', message: about }] })
        return true
      }
      if (!(error instanceof Postponed) && message.receiveCount >= this.mostReceives) {
        this.dead.push(message)
        return true
      }
      const wait = error instanceof Postponed ? error.seconds * 1000 : 30_000
      if (!(error instanceof Postponed)) this.logged.push(`failed: ${String(error)} ${error instanceof Error ? error.stack : ''}`)
      this.messages.push({ ...message, notBefore: this.now + wait })
    }
    return true
  }

  /** Feeds the stream's consumers with what they have not seen. */
  async stream(): Promise<boolean> {
    if (this.streamed >= this.table.changes.length && this.proved >= this.table.changes.length) return false
    const batch = this.table.changes.slice(this.proved)
    this.proved = this.table.changes.length
    await this.prove(batch)
    while (this.streamed < this.table.changes.length) {
      const change = this.table.changes[this.streamed]
      this.streamed += 1
      if (change !== undefined) await this.close(change)
    }
    return true
  }

  /** Runs until no message is due and the stream is read. Time stands still. */
  async settle(): Promise<void> {
    for (let rounds = 0; rounds < 100_000; rounds += 1) {
      const moved = await this.step()
      const streamed = await this.stream()
      if (!moved && !streamed) return
    }
    throw new Error(`does not settle: ${this.logged.slice(-3).join('\n')}`)
  }

  /** Lets time pass in steps of a minute, with a sweep at each, settling in between. */
  async pass(seconds: number): Promise<void> {
    const until = this.now + seconds * 1000
    while (this.now < until) {
      this.now = Math.min(until, this.now + 60_000)
      await this.sweep()
      await this.settle()
    }
  }

  case(id: string): Case {
    const item = this.table.items.get(`CASE#${id}`)?.get('CASE')
    if (item === undefined) throw new Error(`no case ${id}`)
    return as('case', item)
  }

  stored(id: string): Lease {
    const item = this.table.all().find((one) => one.kind === 'lease' && one.id === id)
    if (item === undefined) throw new Error(`no lease ${id}`)
    return as('lease', item)
  }

  private lines(): (AuditRecord | { readonly silent: readonly { key: string; version: number }[] })[] {
    return [...this.archived.values()]
      .flatMap((body) => body.split('\n').filter((line) => line !== ''))
      .map((line) => JSON.parse(line))
  }

  /** Every record of the archive. */
  records(): AuditRecord[] {
    return this.lines().filter((line) => 'id' in line)
  }

  /** Every version that the archive knows of, by item: those that records tell of and those that they do not. */
  versions(): Map<string, Set<number>> {
    const found = new Map<string, Set<number>>()
    const add = (key: string, version: number) => void found.set(key, (found.get(key) ?? new Set()).add(version))
    for (const line of this.lines()) {
      if ('id' in line) add(line.item.key, line.item.version)
      else for (const { key, version } of line.silent) add(key, version)
    }
    return found
  }
}

export const app = 'spiffe://example.org/app'
