import { closer } from '../../functions/close/close.ts'
import { PlanMessage, WorkMessage } from '../../functions/contracts/message.ts'
import { LANES } from '../../functions/contracts/primitives.ts'
import type { Settings } from '../../functions/contracts/settings.ts'
import { DEFAULT_LIMITS } from '../../functions/contracts/settings.ts'
import { planQueue, workQueue } from '../../functions/domain/queues.ts'
import { intakeRoutes } from '../../functions/intake/http.ts'
import { operateRoutes } from '../../functions/operate/routes.ts'
import { planStage } from '../../functions/plan/stage.ts'
import { prover } from '../../functions/prove/prove.ts'
import { registerRoutes } from '../../functions/register/routes.ts'
import { revokeWorker } from '../../functions/revoke/worker.ts'
import type { Authenticate } from '../../functions/runtime/authentication.ts'
import { dispatcher } from '../../functions/runtime/dispatch.ts'
import type { HttpEvent, HttpResult, Route } from '../../functions/runtime/http.ts'
import { httpHandler } from '../../functions/runtime/http.ts'
import { keyedHash } from '../../functions/runtime/mac.ts'
import type { Clock, KeyService, Randomness } from '../../functions/runtime/ports.ts'
import { ProblemError } from '../../functions/runtime/problem-error.ts'
import { keeper } from '../../functions/runtime/quarantine.ts'
import { opener, sealer } from '../../functions/runtime/sealing.ts'
import type { SqsBatchResponse, SqsEvent } from '../../functions/runtime/sqs-batch.ts'
import { sqsBatch } from '../../functions/runtime/sqs-batch.ts'
import type { Change } from '../../functions/runtime/stream.ts'
import type { Item } from '../../functions/store/table.ts'
import { sweeper } from '../../functions/sweep/sweep.ts'
import type { Answered, Call } from './clients.ts'
import { Clients, OTHER_CI, SOURCES, sourceSecret } from './clients.ts'
import type { Faults } from './faults.ts'
import { adminSecretOf, FINGERPRINT_KEY, SimulatedIssuers } from './issuers.ts'
import type { Sent } from './journal.ts'
import {
  SimulatedAnnouncer,
  SimulatedArchive,
  SimulatedLog,
  SimulatedMark,
  SimulatedMetrics,
  SimulatedSecrets,
  simulatedClock,
  simulatedKeys,
  simulatedRandomness,
} from './ports.ts'
import { Prng } from './prng.ts'
import { SimulatedQueues } from './queues.ts'
import type { Schedule } from './schedule.ts'
import type { Scheduler, Task } from './scheduler.ts'
import { SimulatedStream } from './stream.ts'
import { SimulatedTable } from './table.ts'
import type { ProviderKind, World } from './world.ts'
import { BROKER, identityUri, OPERATORS } from './world.ts'

const MINUTE = 60_000
/** As the stacks have them. */
const HTTP_SECONDS = 25
const PLAN_SECONDS = 60
const WORKER_SECONDS = 45
const SWEEP_SECONDS = 55
/** A client waits so much longer than the function may take, in milliseconds. */
const PATIENCE = 5000

/** Functions that were begun once and wait for work: each serves one event at a time, and what is killed never comes back. */
class Pool<Event, Result> {
  private readonly free: ((event: Event) => Promise<Result>)[] = []
  private readonly build: () => (event: Event) => Promise<Result>
  private readonly draws: Prng

  constructor(draws: Prng, build: () => (event: Event) => Promise<Result>) {
    this.draws = draws
    this.build = build
  }

  readonly invoke = async (event: Event): Promise<Result> => {
    // Now and then the platform begins a fresh one although another waits.
    const instance = (this.draws.chance(0.05) ? undefined : this.free.pop()) ?? this.build()
    try {
      return await instance(event)
    } finally {
      this.free.push(instance)
    }
  }
}

/** What an installation of a world trusts and how it behaves. */
export function settingsOf(world: World): Settings {
  const source = (name: string, triggers: Settings['sources'][number]['triggers'], namespaces: string[]) => ({
    name,
    triggers,
    namespaces,
    secrets: [`source-${name}`],
  })
  const exempt = world.identities.flatMap((identity, index) => (identity.exempt ? [identityUri(index)] : []))
  const { settings } = world
  return {
    tokenIssuers: [],
    grants: [
      { right: 'broker', caller: BROKER, identities: ['**'], namespaces: ['ci', 'deploy'] },
      ...OPERATORS.map((caller) => ({ right: 'operator' as const, caller, approve: true })),
    ],
    sources: [
      source(SOURCES.offboarding, ['offboarding'], []),
      source(SOURCES.compromise, ['compromise'], []),
      source(SOURCES.decommission, ['decommission'], ['deploy']),
      source(SOURCES['task-complete'], ['task-complete'], ['ci']),
      source(OTHER_CI, ['task-complete'], ['other']),
    ],
    protected: [],
    ownerLeavesDefault: 'revoke',
    approvals: { deletionAbove: settings.deletionAbove },
    ...(settings.fuse === undefined ? {} : { fuse: settings.fuse }),
    ...(settings.modes === undefined ? {} : { modes: settings.modes }),
    ...(exempt.length === 0 ? {} : { exempt }),
    outage: { gapSeconds: settings.gapSeconds, graceSeconds: 300 },
    limits: {
      ...DEFAULT_LIMITS,
      attempts: settings.attempts,
      backoffSeconds: settings.backoffSeconds,
      parkedRetrySeconds: settings.parkedRetrySeconds,
      registrationSeconds: settings.registrationSeconds,
      reassignDays: 1,
    },
  }
}

/**
 * The whole pipeline over simulated services: the real stages and the real borders of their functions (HTTP, queue
 * batches, the stream's consumers), each invocation a task of its own.
 */
export class Installation {
  readonly schedule: Schedule
  readonly world: World
  readonly scheduler: Scheduler
  readonly settings: Settings
  readonly table: SimulatedTable
  readonly index: SimulatedTable
  readonly queues: SimulatedQueues
  readonly stream: SimulatedStream
  readonly archive: SimulatedArchive
  readonly announcer: SimulatedAnnouncer
  readonly mark: SimulatedMark
  readonly log: SimulatedLog
  readonly metrics = new SimulatedMetrics()
  readonly issuers: SimulatedIssuers
  readonly clients: Clients
  /** All messages that were sent, their bodies as text. */
  readonly sent: Sent[] = []
  /** Invocations by function and how they ended. */
  readonly ended = new Map<string, number>()
  /** While it is later than now, nobody sweeps. */
  stoppedUntil = 0

  private readonly faults: Faults
  private readonly draws: Prng
  private readonly clock: Clock
  private readonly random: Randomness
  private readonly keys: KeyService
  private readonly secrets: SimulatedSecrets
  private readonly apis: Readonly<Record<Call['api'], Pool<HttpEvent, HttpResult>>>
  private readonly sweeps: Pool<undefined, void>
  private readonly names: readonly string[]
  private requests = 0

  constructor(schedule: Schedule, scheduler: Scheduler, faults: Faults) {
    const { world, seed } = schedule
    this.schedule = schedule
    this.world = world
    this.scheduler = scheduler
    this.faults = faults
    this.draws = new Prng(seed, 'installation')
    this.settings = settingsOf(world)
    const tools = { scheduler, faults, seed }
    this.table = new SimulatedTable({ ...tools, name: 'table' })
    this.index = new SimulatedTable({ ...tools, name: 'audit' })
    this.stream = new SimulatedStream(tools)
    this.table.onChange = (change) => this.stream.push(change)
    this.queues = new SimulatedQueues(tools)
    this.archive = new SimulatedArchive(tools)
    this.announcer = new SimulatedAnnouncer(tools)
    this.mark = new SimulatedMark(tools)
    this.clock = simulatedClock(scheduler)
    this.random = simulatedRandomness(seed)
    this.keys = simulatedKeys(tools, this.random)
    this.log = new SimulatedLog(this.clock)
    this.secrets = new SimulatedSecrets(tools, secretsOf(world))
    this.issuers = new SimulatedIssuers(world, {
      step: (kind, label) => scheduler.step(kind, label),
      decide: (kind, label) => faults.decide(kind, label),
      now: () => scheduler.now,
      steps: () => scheduler.steps,
      sleep: (milliseconds) => scheduler.sleep(milliseconds),
      caller: () => {
        const { task } = scheduler
        return task === undefined ? undefined : { task: task.name, began: task.began }
      },
    })
    this.names = [
      ...LANES.map(planQueue),
      ...(['sure', 'blunt'] as const).flatMap((provider) => LANES.map((lane) => workQueue(provider, lane))),
    ]
    this.apis = this.buildApis()
    this.sweeps = this.pool(() => this.buildSweep())
    this.feedQueues()
    this.feedStream()
    this.clients = new Clients(schedule, {
      now: () => scheduler.now,
      steps: () => scheduler.steps,
      at: (time, run) => void scheduler.at(time, run),
      call: (call, done) => this.call(call, done),
      mint: (lease) => this.issuers.mint(lease),
      revive: (issuer, credential) => this.issuers.revive(issuer, credential),
      kill: (issuer, credential) => this.issuers.kill(issuer, credential),
      replace: (issuer, credential) => this.issuers.replace(issuer, credential),
      setOutage: (issuer, kind) => {
        const one = this.issuers.issuers.get(world.issuers[issuer]?.name ?? '')
        if (one !== undefined) one.outage = kind
      },
      configure: (issuer, present) => this.configure(issuer, present),
      stopSweeper: (until) => {
        this.stoppedUntil = Math.max(this.stoppedUntil, until)
      },
      sendGarbage: (queue, body) => this.queues.inject(queue, body),
      campaigns: () =>
        this.items('campaign').flatMap((item) =>
          Array.isArray(item['decisions']) && item['decisions'].length === 0 ? [String(item['id'])] : [],
        ),
    })
  }

  items(kind: string): Item[] {
    return this.table.all().filter((item) => item['kind'] === kind)
  }

  // ------------------------------------------------------------------------------------------- invocations

  private spawn(name: string, body: () => Promise<void>, seconds: number, onEnd: (task: Task) => void): void {
    this.scheduler.spawn(name, body, { timeout: seconds * 1000, onEnd })
  }

  /** One request of a client. */
  call(call: Call, done: (answer: Answered | undefined) => void): void {
    this.requests += 1
    const event: HttpEvent = {
      version: '2.0',
      headers: { 'content-type': 'application/json', ...call.headers },
      requestContext: { requestId: `request-${this.requests}`, http: { method: call.method, path: call.path } },
      ...(call.body === undefined ? {} : { body: call.body }),
    }
    let result: HttpResult | undefined
    const { invoke } = this.apis[call.api]
    this.spawn(
      `${call.api} ${call.method} ${call.path}`,
      async () => {
        result = await invoke(event)
      },
      HTTP_SECONDS,
      ({ state }) => {
        const lost = result === undefined || state !== 'done' || this.faults.decide('answer-lost', `${call.method} ${call.path}`)
        const answer = lost ? undefined : answerOf(result)
        this.scheduler.at(this.scheduler.now + (answer === undefined ? PATIENCE : 0), () => done(answer))
      },
    )
  }

  /** One tick of the sweeper; `done` when it has ended, however. */
  sweep(done: (task: Task) => void = () => {}): void {
    this.spawn('sweep', () => this.sweeps.invoke(undefined), SWEEP_SECONDS, done)
  }

  /**
   * Whether a tick of the sweeper would find anything. One that finds nothing writes its heartbeat and no more: most of
   * those are left out, where their absence is no outage.
   */
  isDue(): boolean {
    if (this.world.settings.gapSeconds < 3600) return true
    const now = new Date(this.scheduler.now + 1000).toISOString()
    return this.table.all().some(({ duePk, dueAt }) => duePk !== undefined && typeof dueAt === 'string' && dueAt <= now)
  }

  /** Sweeps each minute until told otherwise. */
  sweepEachMinute(goesOn: () => boolean): void {
    const { scheduler } = this
    scheduler.at(scheduler.now + MINUTE, () => {
      if (!goesOn()) return
      if (scheduler.now >= this.stoppedUntil && (this.isDue() || this.draws.chance(0.2))) this.sweep()
      this.sweepEachMinute(goesOn)
    })
  }

  /** The configuration of an issuer is taken away behind everybody's back, or put back as it was. */
  private configure(issuer: number, present: boolean): void {
    const name = this.world.issuers[issuer]?.name ?? ''
    const key = { pk: `ISSUER#${name}`, sk: 'ISSUER' }
    const item = this.table.peek(key)
    if (!present && item !== undefined) {
      this.away.set(name, item)
      void this.table.write({ delete: key })
    }
    const kept = this.away.get(name)
    if (present && kept !== undefined) {
      this.away.delete(name)
      if (item === undefined) void this.table.write({ put: { ...kept, v: Number(kept['v']) + 1 } })
    }
  }
  private readonly away = new Map<string, Item>()

  /** All issuers are configured again. */
  reconfigure(): void {
    for (const issuer of this.world.issuers.keys()) this.configure(issuer, true)
  }

  // ------------------------------------------------------------------------------------------- functions

  private pool<Event, Result>(build: () => (event: Event) => Promise<Result>): Pool<Event, Result> {
    return new Pool(this.draws, build)
  }

  private dispatch() {
    return dispatcher(this.table, this.sending, this.names)
  }

  /** Whatever is sent is kept for the oracle. */
  private readonly sending = {
    send: async (queue: string, messages: Parameters<SimulatedQueues['send']>[1]) => {
      for (const { body } of messages) this.sent.push({ queue, body: JSON.stringify(body) })
      await this.queues.send(queue, messages)
    },
  }

  private buildApis(): Installation['apis'] {
    const { table, clock, random, settings, log } = this
    const authenticate: Authenticate = async ({ headers }) => {
      const uri = headers['authorization']
      if (uri === undefined) throw new ProblemError('unauthenticated')
      return { uri, kind: 'svid', namespace: 'ci' }
    }
    const common = () => ({
      table,
      dispatch: this.dispatch(),
      clock,
      random,
      settings,
      authenticate,
      catalog: this.issuers.catalog,
      mac: keyedHash({ secrets: this.secrets, table, clock, reference: 'fingerprint-key' }),
    })
    const http = (name: string, routes: readonly Route[]) =>
      httpHandler(routes, { log: log.of(name), bodyBytes: settings.limits.bodyBytes })
    return {
      register: this.pool(() =>
        http('register', registerRoutes({ ...common(), seal: sealer({ keys: this.keys, clock, random }) })),
      ),
      intake: this.pool(() => http('intake-http', intakeRoutes({ ...common(), secrets: this.secrets }))),
      operate: this.pool(() => http('operate', operateRoutes({ ...common(), index: this.index, archive: this.archive }))),
    }
  }

  private buildSweep(): () => Promise<void> {
    const { table, clock, random, settings, mark } = this
    const { keep, log } = this.keep('sweep')
    const run = sweeper({
      table,
      dispatch: this.dispatch(),
      clock,
      random,
      log,
      limits: settings.limits,
      settings,
      mark,
      keep: keep.item,
      // No simulated provider discovers, so of the catalog it is the serial ones that count here.
      catalog: this.issuers.catalog,
      ...(settings.modes === undefined ? {} : { modes: settings.modes }),
      ...(settings.outage === undefined ? {} : { outage: settings.outage }),
    })
    return async () => {
      await run()
    }
  }

  private keep(name: string) {
    const { table, clock, settings, metrics } = this
    return { keep: keeper(table, clock, settings.limits.retentionDays, metrics), log: this.log.of(name) }
  }

  private buildPlan(): (event: SqsEvent) => Promise<SqsBatchResponse> {
    const { table, clock, settings } = this
    const { keep, log } = this.keep('plan')
    return sqsBatch({
      schema: PlanMessage,
      handle: planStage({
        table,
        dispatch: this.dispatch(),
        clock,
        log,
        settings,
        catalog: this.issuers.catalog,
        atOnce: this.world.settings.atOnce ?? 0,
      }),
      onInvalid: keep.message,
      visibility: this.queues,
      log,
    })
  }

  private buildWorker(provider: ProviderKind): (event: SqsEvent) => Promise<SqsBatchResponse> {
    const { table, clock, random, settings } = this
    const { keep, log } = this.keep(`revoke-${provider}`)
    return sqsBatch({
      schema: WorkMessage,
      handle: revokeWorker(this.issuers.modules[provider], {
        table,
        dispatch: this.dispatch(),
        clock,
        random,
        log,
        secrets: this.secrets,
        open: opener({ keys: this.keys, clock }),
        limits: settings.limits,
        catalog: this.issuers.catalog,
        ...(settings.exempt === undefined ? {} : { exempt: settings.exempt }),
        ...(settings.outage === undefined ? {} : { outage: settings.outage }),
        environment: {},
        unreadable: (item) => keep.item({ reason: 'lease-unreadable', origin: `revoke/${provider}`, item }),
      }),
      onInvalid: keep.message,
      visibility: this.queues,
      log,
    })
  }

  private feedQueues(): void {
    const plan = this.pool(() => this.buildPlan())
    for (const lane of LANES)
      this.queues.define(planQueue(lane), {
        batch: lane === 'p0' ? 1 : 5,
        concurrency: lane === 'p0' ? 8 : 3,
        visibilitySeconds: 6 * PLAN_SECONDS,
        timeoutSeconds: PLAN_SECONDS,
        invoke: plan.invoke,
      })
    for (const provider of ['sure', 'blunt'] as const) {
      const { definition } = this.issuers.modules[provider]
      const workers = this.pool(() => this.buildWorker(provider))
      for (const lane of LANES)
        this.queues.define(workQueue(provider, lane), {
          fifo: definition.serial,
          batch: definition.serial || lane === 'p0' ? 1 : 2,
          concurrency: lane === 'p0' ? 8 : 3,
          visibilitySeconds: 6 * WORKER_SECONDS,
          timeoutSeconds: WORKER_SECONDS,
          invoke: workers.invoke,
        })
    }
  }

  private feedStream(): void {
    const { table, clock, settings } = this
    const closing = this.pool(() => {
      const close = closer({ table, announcer: this.announcer, clock, limits: settings.limits })
      const log = this.log.of('close')
      // As `eachChange` does it, without the wire's form of an item, which would cost more than all the rest.
      return async (changes: readonly Change[]) => {
        for (const change of changes) {
          try {
            await close(change)
          } catch (error) {
            log.error('a change of the table could not be handled', { messageId: change.sequence, error })
            return { batchItemFailures: [{ itemIdentifier: change.sequence }] }
          }
        }
        return { batchItemFailures: [] }
      }
    })
    this.stream.consume('close', { batch: 25, retries: 10, timeoutSeconds: 60, filter: moves, handle: closing.invoke })
    const proving = this.pool(() => {
      const prove = prover({ archive: this.archive, index: this.index })
      return async (changes: readonly Change[]) => {
        await prove(changes)
      }
    })
    this.stream.consume('prove', { batch: 500, retries: 25, timeoutSeconds: 60, window: 1000, handle: proving.invoke })
  }
}

/** As the stacks filter the stream for the function that closes cases (`CLOSING_ITEMS` of `lib/stacks/feeds.ts`). */
export function moves({ before, after }: Change): boolean {
  if (after === undefined) return before?.['kind'] === 'lease' || before?.['kind'] === 'case'
  if (after['kind'] === 'case' || after['kind'] === 'progress') return true
  if (before === undefined) return false
  if (after['kind'] === 'chunk') return after['step'] === 'verify' && after['state'] === 'open'
  return after['kind'] === 'lease' && after['listPk'] === 'OVERDUE'
}

function secretsOf(world: World): ReadonlyMap<string, string> {
  const secrets = new Map([['fingerprint-key', FINGERPRINT_KEY]])
  for (const source of [...Object.values(SOURCES), OTHER_CI]) secrets.set(`source-${source}`, sourceSecret(source))
  for (const { name } of world.issuers) secrets.set(`admin-${name}`, adminSecretOf(name))
  return secrets
}

function answerOf(result: HttpResult | undefined): Answered | undefined {
  if (result === undefined) return undefined
  const body: unknown = result.body === '' ? undefined : JSON.parse(result.body)
  return { status: result.statusCode, body }
}
