import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as moment } from 'node:timers/promises'
import { SignJWT } from 'jose'
import { closer } from '../../functions/close/close.ts'
import type { AuditRecord } from '../../functions/contracts/audit.ts'
import type { CaseView } from '../../functions/contracts/case.ts'
import type { Completion } from '../../functions/contracts/completion.ts'
import type { LeaseRegistration, LeaseView } from '../../functions/contracts/lease.ts'
import { PlanMessage, WorkMessage } from '../../functions/contracts/message.ts'
import type { Lane } from '../../functions/contracts/primitives.ts'
import { LANES } from '../../functions/contracts/primitives.ts'
import { Problem } from '../../functions/contracts/problem.ts'
import type { Report, ReportReceipt } from '../../functions/contracts/report.ts'
import type { Settings } from '../../functions/contracts/settings.ts'
import { DEFAULT_LIMITS } from '../../functions/contracts/settings.ts'
import type { TriggerReceipt } from '../../functions/contracts/trigger.ts'
import { planQueue, workQueue } from '../../functions/domain/queues.ts'
import { instant } from '../../functions/domain/time.ts'
import { intakeRoutes } from '../../functions/intake/http.ts'
import { operateRoutes } from '../../functions/operate/routes.ts'
import { previewRoutes } from '../../functions/plan/preview.routes.ts'
import { planStage } from '../../functions/plan/stage.ts'
import { prover } from '../../functions/prove/prove.ts'
import type { Definition, ProviderModule } from '../../functions/providers/contract.ts'
import { provider as oauth } from '../../functions/providers/oauth/provider.ts'
import { provider as postgresql } from '../../functions/providers/postgresql/provider.ts'
import { registerRoutes } from '../../functions/register/routes.ts'
import { revokeWorker } from '../../functions/revoke/worker.ts'
import { authenticator } from '../../functions/runtime/authentication.ts'
import { dispatcher } from '../../functions/runtime/dispatch.ts'
import { httpHandler } from '../../functions/runtime/http.ts'
import { fileKeys } from '../../functions/runtime/keys.ts'
import { keyedHash } from '../../functions/runtime/mac.ts'
import type { Announcer, Archive, Clock, Log, Queues, Randomness, Secrets } from '../../functions/runtime/ports.ts'
import { opener, sealer } from '../../functions/runtime/sealing.ts'
import { Postponed } from '../../functions/runtime/sqs-batch.ts'
import { signWebhook } from '../../functions/runtime/webhook-signature.ts'
import { readOnly } from '../../functions/store/read-only.ts'
import { sweeper } from '../../functions/sweep/sweep.ts'
import type { IssuedTokens } from '../../lib/local/issuers/oauth.ts'
import type { HeldRole, Issuers } from './issuers.ts'
import { MemoryMark } from './memory-mark.ts'
import { MemoryTable } from './memory-table.ts'

export const DOMAIN = 'spiffe://estate.example'
const AUDIENCE = 'rescind'
const HOUR = 3_600_000

/** Everybody who calls, by what stands at the end of a SPIFFE ID. */
export const PEOPLE = {
  /** Registers for all workloads; attests tasks of `ci` and deployments of `deploy`. */
  broker: `${DOMAIN}/broker`,
  /** An operator who may not approve. */
  ana: `${DOMAIN}/operator/ana`,
  /** Operators who may. */
  ben: `${DOMAIN}/operator/ben`,
  cleo: `${DOMAIN}/operator/cleo`,
  responder: `${DOMAIN}/soc/responder`,
  ci: `${DOMAIN}/ci/server`,
  deploy: `${DOMAIN}/deploy/tool`,
} as const
export type Person = keyof typeof PEOPLE

export interface Announced {
  readonly type: string
  readonly id: string
  readonly subject: string
  readonly time: string
  readonly data: unknown
}

interface Message {
  readonly queue: string
  readonly body: unknown
  receiveCount: number
  notBefore: number
}

export interface EstateOptions {
  readonly settings?: Partial<Omit<Settings, 'limits'>>
  readonly limits?: Partial<Settings['limits']>
  /** Soak time of the two PostgreSQL issuers, in seconds. */
  readonly soakSeconds?: number
  /** More of an issuer's declaration, by its name. */
  readonly issuers?: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  /** How many messages are worked on side by side, each worker with a connection of its own, as Lambda does it. */
  readonly workers?: number
}

/** An API call that was refused. */
export class Refused extends Error {
  override readonly name = 'Refused'
  readonly problem: Problem
  constructor(problem: Problem) {
    super(`${problem.status} ${problem.code}: ${problem.detail ?? problem.title} ${JSON.stringify(problem.errors ?? [])}`)
    this.problem = problem
  }
}

const settingsOf = (jwks: string, { settings, limits }: EstateOptions): Settings => ({
  tokenIssuers: [
    { issuer: DOMAIN, kind: 'svid', audience: AUDIENCE, algorithms: ['ES256'], keys: { file: jwks }, namespace: 'estate' },
  ],
  grants: [
    { right: 'broker', caller: PEOPLE.broker, identities: ['**'], namespaces: ['ci', 'deploy'] },
    { right: 'operator', caller: PEOPLE.ana, approve: false },
    { right: 'operator', caller: PEOPLE.ben, approve: true },
    { right: 'operator', caller: PEOPLE.cleo, approve: true },
    { right: 'source', caller: PEOPLE.responder, source: 'soc' },
    { right: 'source', caller: PEOPLE.ci, source: 'ci' },
    { right: 'source', caller: PEOPLE.deploy, source: 'deploy' },
  ],
  sources: [
    { name: 'hr', triggers: ['offboarding'], namespaces: [], secrets: ['sources/hr'] },
    { name: 'soc', triggers: ['compromise'], namespaces: [] },
    { name: 'ci', triggers: ['task-complete'], namespaces: ['ci'] },
    { name: 'deploy', triggers: ['decommission'], namespaces: ['deploy'] },
  ],
  protected: [],
  ownerLeavesDefault: 'revoke',
  ...settings,
  limits: { ...DEFAULT_LIMITS, ...limits },
})

/**
 * An installation in one process, with its public API in front and real issuers behind: the real stages, routes and
 * providers over a table in memory, tokens that are really signed and verified, a clock that runs and that a test can
 * move on. A story does what people and systems do: it calls the API, logs in at the issuers, lets time pass, and reads
 * what the outcome bus was told.
 *
 * The clock begins at the machine's own time, because the issuers have that; `pass` moves it for Rescind alone.
 */
export class Estate {
  readonly issuers: Issuers
  readonly table = new MemoryTable()
  /** The generation mark outside the table. */
  readonly mark = new MemoryMark()
  readonly announced: Announced[] = []
  readonly logged: string[] = []
  readonly settings: Settings
  readonly catalog: Readonly<Record<string, Definition>> = {
    postgresql: postgresql.definition,
    oauth: oauth.definition,
  } as Record<string, Definition>
  readonly #modules: readonly ProviderModule[] = [postgresql as ProviderModule, oauth as ProviderModule]
  readonly #folder = mkdtempSync(join(tmpdir(), 'rescind-trust-'))
  readonly #signer = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  readonly #hrSecret = `whsec_${randomBytes(32).toString('base64')}`
  readonly #archived = new Map<string, string>()
  readonly #messages: Message[] = []
  readonly #workers: Map<string, ReturnType<typeof revokeWorker>>[]
  readonly #soakSeconds: number
  readonly #options: EstateOptions
  #offset = 0
  #streaming: Promise<void> | undefined
  #requests = 0

  /** Rescind's time is moved by the story; whoever waits for a place at an issuer waits for a real server, if only a moment. */
  readonly clock: Clock = { now: () => this.now, sleep: (milliseconds) => moment(Math.min(milliseconds, 25)) }
  readonly #random: Randomness = { fraction: () => Math.random(), bytes: (length) => new Uint8Array(randomBytes(length)) }
  readonly #log: Log = {
    info: () => {},
    warn: (message, fields) => void this.logged.push(JSON.stringify({ message, ...fields })),
    error: (message, fields) => void this.logged.push(`${JSON.stringify({ message, ...fields })} ${String(fields?.error)}`),
  }
  readonly #queues: Queues = {
    send: async (queue, messages) => {
      for (const { body, delaySeconds = 0 } of messages)
        this.#messages.push({ queue, body, receiveCount: 0, notBefore: this.now + delaySeconds * 1000 })
    },
  }
  readonly #announcer: Announcer = { announce: async (events) => void this.announced.push(...events) }
  readonly #archive: Archive = {
    put: async (key, body) => void this.#archived.set(key, body),
    get: async (key) => this.#archived.get(key),
  }

  readonly #handle: ReturnType<typeof httpHandler>
  readonly #plan: ReturnType<typeof planStage>
  readonly #close: ReturnType<typeof closer>
  readonly #prove: ReturnType<typeof prover>
  readonly #sweep: ReturnType<typeof sweeper>
  readonly #work: (module: ProviderModule) => ReturnType<typeof revokeWorker>

  private constructor(issuers: Issuers, options: EstateOptions) {
    this.issuers = issuers
    this.#options = options
    this.#soakSeconds = options.soakSeconds ?? 3600
    this.#workers = Array.from({ length: options.workers ?? 4 }, () => new Map())
    const jwks = join(this.#folder, 'jwks.json')
    writeFileSync(
      jwks,
      JSON.stringify({ keys: [{ ...this.#signer.publicKey.export({ format: 'jwk' }), kid: 'estate', alg: 'ES256' }] }),
    )
    this.settings = settingsOf(jwks, options)
    const { table, clock, settings, catalog } = this
    const { limits } = settings
    const random = this.#random
    const log = this.#log
    const queues = LANES.flatMap((lane: Lane) => [
      planQueue(lane),
      ...this.#modules.map(({ definition }) => workQueue(definition.name, lane)),
    ])
    const keys = fileKeys(new Uint8Array(32).fill(7), random)
    const secrets = new Map<string, string>([
      ['sources/hr', this.#hrSecret],
      ['keys/fingerprint', randomBytes(48).toString('base64')],
      ['issuers/orders', JSON.stringify(issuers.admins.orders)],
      ['issuers/managed', JSON.stringify(issuers.admins.managed)],
      ['issuers/idp', JSON.stringify(issuers.oauth.admin)],
    ])
    const vault: Secrets = {
      get: async (reference) => {
        const secret = secrets.get(reference)
        if (secret === undefined) throw new Error('there is no such secret')
        return secret
      },
    }
    // Each stage takes from these what it needs, as its handler would hand it.
    const ports = {
      table,
      index: new MemoryTable(),
      archive: this.#archive,
      announcer: this.#announcer,
      dispatch: dispatcher(table, this.#queues, queues),
      clock,
      random,
      log,
      settings,
      limits,
      mark: this.mark,
      ...(settings.modes === undefined ? {} : { modes: settings.modes }),
      ...(settings.modes === undefined ? {} : { modes: settings.modes }),
      ...(settings.exempt === undefined ? {} : { exempt: settings.exempt }),
      ...(settings.outage === undefined ? {} : { outage: settings.outage }),
      catalog,
      authenticate: authenticator(settings.tokenIssuers, { clock, directory: this.#folder }),
      seal: sealer({ keys, clock, random }),
      open: opener({ keys, clock }),
      secrets: vault,
      mac: keyedHash({ secrets: vault, table, clock, reference: 'keys/fingerprint' }),
      environment: {},
    }
    this.#handle = httpHandler(
      [
        ...registerRoutes(ports),
        ...intakeRoutes(ports),
        ...operateRoutes(ports),
        ...previewRoutes({ ...ports, table: readOnly(table) }),
      ],
      { log, bodyBytes: limits.bodyBytes },
    )
    this.#plan = planStage(ports)
    this.#work = (module) => revokeWorker(module, ports)
    this.#close = closer(ports)
    this.#prove = prover(ports)
    this.#sweep = sweeper(ports)
  }

  /** A new installation over the issuers, which it declares: `orders`, `managed` and `idp`. */
  static async open(issuers: Issuers, options: EstateOptions = {}): Promise<Estate> {
    const estate = new Estate(issuers, options)
    const { postgres, oauth: idp } = issuers
    const server = { host: postgres.host, port: postgres.port, database: postgres.database, tls: { mode: 'disable' } }
    const roles = { provider: 'postgresql', settings: { ...server, system: postgres.system }, soakSeconds: estate.#soakSeconds }
    await estate.declare('orders', { ...roles, adminSecret: 'issuers/orders' })
    await estate.declare('managed', { ...roles, adminSecret: 'issuers/managed' })
    await estate.declare('idp', {
      provider: 'oauth',
      settings: { issuer: idp.issuer, introspects: 'all' },
      adminSecret: 'issuers/idp',
      soakSeconds: 0,
    })
    return estate
  }

  /** Declares one issuer over the API, with what the options say about it. */
  async declare(name: string, declaration: Readonly<Record<string, unknown>>): Promise<unknown> {
    return await this.call('PUT', `/v1/issuers/${name}`, 'ana', { ...declaration, ...this.#options.issuers?.[name] })
  }

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** Rescind's time, in milliseconds since 1970. */
  get now(): number {
    return Date.now() + this.#offset
  }

  /** A moment so many seconds from now, RFC 3339. */
  in(seconds: number): string {
    return instant(this.now + seconds * 1000)
  }

  // ------------------------------------------------------------------------------------------------- the API

  /** Calls the API with a token of one of the people (or of any SPIFFE ID); gives the body, or throws `Refused`. */
  async call<Body = unknown>(
    method: 'GET' | 'POST' | 'PUT',
    path: string,
    who: Person | `spiffe://${string}`,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Body> {
    const subject = who.startsWith('spiffe://') ? who : PEOPLE[who as Person]
    return await this.#request<Body>(method, path, body, { authorization: `Bearer ${await this.#token(subject)}`, ...headers })
  }

  async #request<Body>(method: string, path: string, body: unknown, headers: Readonly<Record<string, string>>): Promise<Body> {
    this.#requests += 1
    const [plain = '', query = ''] = path.split('?')
    const answer = await this.#handle({
      version: '2.0',
      headers: { 'content-type': 'application/json', ...headers },
      queryStringParameters: Object.fromEntries(new URLSearchParams(query)),
      requestContext: { requestId: `request-${this.#requests}`, http: { method, path: plain } },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const content: unknown = answer.body === '' ? undefined : JSON.parse(answer.body)
    if (answer.statusCode >= 500) throw new Error(`${method} ${path}: ${this.logged.at(-1)}`)
    if (answer.statusCode >= 300) throw new Refused(Problem.parse(content))
    return content as Body
  }

  async #token(subject: string): Promise<string> {
    const seconds = Math.floor(this.now / 1000)
    return await new SignJWT({ jti: randomUUID() })
      .setProtectedHeader({ alg: 'ES256', kid: 'estate' })
      .setSubject(subject)
      .setAudience(AUDIENCE)
      .setIssuedAt(seconds)
      .setExpirationTime(seconds + 300)
      .sign(this.#signer.privateKey)
  }

  /** The problem document that a call is refused with. */
  async refusal(attempt: Promise<unknown>): Promise<Problem> {
    try {
      await attempt
    } catch (error) {
      if (error instanceof Refused) return error.problem
      throw error
    }
    throw new Error('was not refused')
  }

  /** Registers what a broker has minted; lives ten days unless the registration says otherwise. */
  async register(
    registration: Partial<LeaseRegistration> & Pick<LeaseRegistration, 'issuer' | 'target'>,
    who: Person = 'broker',
  ): Promise<LeaseView> {
    const body = {
      identity: `${DOMAIN}/workload/app`,
      kind: 'dynamic',
      registers: 'credential',
      consumer: 'app',
      purpose: 'test',
      owner: 'ana',
      expiresAt: instant(this.now + 240 * HOUR),
      ...registration,
    }
    return await this.call('POST', '/v1/leases', who, body, { 'idempotency-key': randomUUID() })
  }

  /** Registers a role for an identity. */
  async registerRole(held: HeldRole, more: Partial<LeaseRegistration> = {}): Promise<LeaseView> {
    return await this.register({ issuer: held.issuer, target: { role: held.role, oid: held.oid }, ...more })
  }

  /** Registers an access token for an identity; its broker shows it. */
  async registerToken(issued: IssuedTokens, more: Partial<LeaseRegistration> = {}): Promise<LeaseView> {
    const { clientId, expiresAt } = issued
    return await this.register({
      issuer: 'idp',
      target: { tokenType: 'access_token', clientId, expiresAt },
      secret: { token: issued.accessToken },
      ...more,
    })
  }

  /** Sends a trigger with a token. */
  async trigger(
    who: Person,
    type: string,
    scope: unknown,
    more: { readonly id?: string; readonly [name: string]: unknown } = {},
  ): Promise<TriggerReceipt> {
    return await this.call('POST', '/v1/events', who, event(type, scope, more))
  }

  /** Sends an offboarding as the HR system does, signed as Standard Webhooks says. */
  async offboard(scope: unknown, more: { readonly id?: string; readonly [name: string]: unknown } = {}): Promise<TriggerReceipt> {
    const sent = event('offboarding', scope, more)
    const body = JSON.stringify(sent)
    const signed = signWebhook({ id: sent.id, timestamp: this.now, body, secret: this.#hrSecret })
    return await this.#request('POST', '/v1/events', sent, { ...signed, 'rescind-source': 'hr' })
  }

  /** Reports credentials as the responder has them in hand. */
  async report(report: Report): Promise<ReportReceipt> {
    return await this.call('POST', '/v1/reports', 'responder', report, { 'idempotency-key': randomUUID() })
  }

  async case(id: string): Promise<CaseView> {
    return await this.call('GET', `/v1/cases/${id}`, 'ana')
  }

  async lease(id: string): Promise<LeaseView> {
    return await this.call('GET', `/v1/leases/${id}`, 'ana')
  }

  /** All entries of a paged list. */
  async list<Entry>(path: string, who: Person = 'ana'): Promise<Entry[]> {
    const entries: Entry[] = []
    let cursor: string | undefined
    do {
      const joint = path.includes('?') ? '&' : '?'
      const next = cursor === undefined ? '' : `${joint}cursor=${encodeURIComponent(cursor)}`
      const page = await this.call<{ entries: Entry[]; next?: string }>('GET', `${path}${next}`, who)
      entries.push(...page.entries)
      cursor = page.next
    } while (cursor !== undefined)
    return entries
  }

  /** The audit trail: `case=`, `lease=`, `identity=`. */
  async audit(query: string): Promise<AuditRecord[]> {
    return await this.list<AuditRecord>(`/v1/audit?${query}`)
  }

  // ------------------------------------------------------------------------------------- what goes on behind it

  /** Throws where a text stands in anything that is kept, sent, told or logged. */
  expectNowhere(secret: string): void {
    const places: Readonly<Record<string, readonly unknown[]>> = {
      table: this.table.all(),
      archive: [...this.#archived.values()],
      queues: this.#messages,
      bus: this.announced,
      log: this.logged,
    }
    for (const [place, contents] of Object.entries(places))
      if (contents.some((content) => JSON.stringify(content).includes(secret)))
        throw new Error(`the secret stands in the ${place}`)
  }

  /** What the outcome bus was told about a case, oldest first. */
  told(id: string, type?: string): { readonly type: string; readonly data: Completion['data'] }[] {
    return this.announced
      .filter((one) => one.subject === id && (type === undefined || one.type === `io.rescind.case.${type}`))
      .map((one) => ({ type: one.type, data: one.data as Completion['data'] }))
  }

  /** Works until no message is due and the stream is read. */
  async settle(): Promise<void> {
    for (let rounds = 0; rounds < 10_000; rounds += 1) {
      const worked = await Promise.all(this.#workers.map((mine) => this.#run(mine)))
      const streamed = await this.#stream()
      if (!streamed && !worked.includes(true)) return
    }
    throw new Error(`does not settle: ${this.#lastTrouble()}`)
  }

  /** Lets Rescind's time pass in steps of a minute, with a sweep at each. */
  async pass(seconds: number): Promise<void> {
    const until = this.#offset + seconds * 1000
    await this.settle()
    while (this.#offset < until) {
      this.#offset = Math.min(until, this.#offset + 60_000)
      await this.sweep()
      await this.settle()
    }
  }

  /** Rescind is down for so long: time passes, nothing runs. */
  outage(seconds: number): void {
    this.#offset += seconds * 1000
  }

  /** Lets time pass until something holds, at most so many seconds. */
  async until<Value>(what: () => Promise<Value | undefined | false>, seconds = 600): Promise<Value> {
    for (let passed = 0; ; passed += 60) {
      const value = await what()
      if (value !== undefined && value !== false) return value
      if (passed >= seconds) throw new Error(`not so within ${seconds} s of Rescind's time: ${this.#lastTrouble()}`)
      await this.pass(60)
    }
  }

  #lastTrouble(): string {
    return (this.logged.at(-1) ?? 'nothing was logged').split('\n').slice(0, 4).join('\n')
  }

  /** The case when it is closed. */
  async closed(id: string, seconds = 900): Promise<CaseView> {
    await this.settle()
    let last: CaseView | undefined
    try {
      return await this.until(async () => {
        last = await this.case(id)
        return last.state === 'closed' && last
      }, seconds)
    } catch (error) {
      throw new Error(`case is not closed: ${JSON.stringify(last)}`, { cause: error })
    }
  }

  async sweep(): Promise<void> {
    await this.#sweep()
  }

  /** A backup of the table, as the store makes one. */
  backup(): string {
    return JSON.stringify(this.table.all())
  }

  /** Puts a backup in the table's place: what was written since is gone, and nobody is told. */
  restoreBackup(backup: string): void {
    this.table.load(JSON.parse(backup))
    this.#messages.splice(0)
  }

  /** One worker: takes what is due until there is nothing. */
  async #run(mine: Map<string, ReturnType<typeof revokeWorker>>): Promise<boolean> {
    let worked = false
    for (;;) {
      const message = this.#take()
      if (message === undefined) return worked
      worked = true
      await this.#deliver(message, mine)
      if (this.table.changes.length > 2000) await this.#stream()
    }
  }

  #take(): Message | undefined {
    const { now } = this
    const at = this.#messages.findIndex(({ notBefore }) => notBefore <= now)
    return at === 0 ? this.#messages.shift() : at < 0 ? undefined : this.#messages.splice(at, 1)[0]
  }

  async #deliver(message: Message, mine: Map<string, ReturnType<typeof revokeWorker>>): Promise<void> {
    message.receiveCount += 1
    try {
      if (message.queue.startsWith('plan-')) await this.#plan(PlanMessage.parse(message.body))
      else {
        const name = message.queue.slice('work-'.length, -'-p0'.length)
        const module = this.#modules.find(({ definition }) => definition.name === name)
        if (module === undefined) throw new Error(`no worker for ${message.queue}`)
        const worker = mine.get(name) ?? this.#work(module)
        mine.set(name, worker)
        await worker(WorkMessage.parse(message.body), { receiveCount: message.receiveCount })
      }
    } catch (error) {
      if (!(error instanceof Postponed)) this.logged.push(`failed: ${error instanceof Error ? error.stack : String(error)}`)
      const wait = error instanceof Postponed ? error.seconds : 30
      this.#messages.push({ ...message, notBefore: this.now + wait * 1000 })
    }
  }

  /** Feeds the stream's consumers, one batch at a time and in order; what they read is forgotten. */
  async #stream(): Promise<boolean> {
    if (this.#streaming !== undefined) {
      await this.#streaming
      return true
    }
    const batch = this.table.changes.splice(0)
    if (batch.length === 0) return false
    this.#streaming = (async () => {
      await this.#prove(batch)
      for (const change of batch) await this.#close(change)
    })()
    try {
      await this.#streaming
    } finally {
      this.#streaming = undefined
    }
    return true
  }
}

/** A trigger as a CloudEvent; what is not its `id` goes into its data. */
export function event(
  type: string,
  scope: unknown,
  { id, ...data }: { readonly id?: string; readonly [name: string]: unknown } = {},
) {
  return {
    specversion: '1.0' as const,
    id: id ?? randomUUID(),
    source: 'urn:estate',
    type: `io.rescind.${type}`,
    data: { scope, reason: `a ${type} in the estate`, ...data },
  }
}
