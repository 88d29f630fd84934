import * as z from 'zod/mini'
import { IssuerRefused, IssuerUnavailable } from '../contract.ts'
import type { Credentials } from './client.ts'
import { Connection, parseJson, printable } from './client.ts'
import type { Settings } from './definition.ts'
import type { Claims, Signer } from './token.ts'
import { readToken, signerOf, userOf } from './token.ts'

const AdminSecret = z.strictObject({ userToken: z.string(), userSeed: z.string(), signingSeed: z.string() })

const Server = z.looseObject({ id: z.string(), name: z.optional(z.string()) })
const Failure = z.looseObject({ code: z.optional(z.int()), description: z.optional(z.string()) })
const Ping = z.looseObject({ server: Server, statsz: z.looseObject({ active_servers: z.optional(z.int()) }) })
const Vars = z.looseObject({
  server: Server,
  data: z.looseObject({
    trusted_operators_jwt: z.optional(z.nullable(z.array(z.string()))),
    system_account: z.optional(z.string()),
    cluster: z.optional(z.looseObject({ name: z.optional(z.string()) })),
  }),
})
const AccountAnswer = z.looseObject({
  server: Server,
  data: z.optional(z.nullable(z.looseObject({ account_detail: z.optional(z.looseObject({ jwt: z.optional(z.string()) })) }))),
  error: z.optional(Failure),
})
const ListAnswer = z.looseObject({ server: Server, data: z.nullable(z.array(z.string())) })
const UpdateAnswer = z.looseObject({
  server: Server,
  data: z.optional(z.nullable(z.looseObject({ code: z.int() }))),
  error: z.optional(Failure),
})
const Connections = z.looseObject({
  server: Server,
  data: z.optional(
    z.looseObject({
      total: z.int(),
      connections: z.optional(
        z.nullable(z.array(z.looseObject({ authorized_user: z.optional(z.string()), jwt: z.optional(z.string()) }))),
      ),
    }),
  ),
  error: z.optional(Failure),
})

/** Connections of one page; each costs about 1.3 kB in the answer. */
const PAGE = 8192
/** Pages overlap: connections that end in between move those behind them forward. */
const OVERLAP = 1024
/** Servers that keep JWTs in a folder answer pushes and lists; those that only hold some in memory may say nothing. */
const KEEPERS_MILLISECONDS = 1000
const NOT_LOADED = /does not exist|not found/i

/** An open connection of a user whose JWT was signed at that time. */
export interface Open {
  readonly user: string
  readonly issuedAt: number
}

/** The servers of one operator, as the provider works with them. Errors are `IssuerError`s. */
export interface Servers {
  readonly signer: Signer
  /** The admin's own user key. */
  readonly ownUser: string
  /** Largest payload that the server takes. */
  readonly largest: number
  /** What `begin` found: the system account; servers that answered, and those that others know of and that did not. */
  readonly systemAccount: string
  readonly servers: number
  readonly missing: number
  /** Something was pushed since `begin`: whatever fails now may have had its effect. */
  pushed: boolean
  /** False once its connection is lost. */
  readonly usable: boolean
  /** Asks who answers. Nothing is believed or done before it. */
  begin(): Promise<void>
  /** What each server enforces for an account, or would when somebody logs in to it; `undefined` where no server knows it. */
  enforced(account: string): Promise<Claims[] | undefined>
  /** Tokens of this account that came by since the last look, oldest first; what the operator has not signed is not counted. */
  pushedSince(account: string): Claims[]
  /** The last token of this account that came by, however long ago. */
  lastPushed(account: string): Claims | undefined
  /** @throws IssuerRefused a server does not take it */
  push(token: string): Promise<void>
  /** The open connections of an account at all servers that answer. */
  open(account: string): Promise<Open[]>
  pause(milliseconds: number): Promise<void>
  destroy(): void
}

/** Behind one connection that was seen to reach them. */
export class Session implements Servers {
  readonly signer: Signer
  readonly ownUser: string
  systemAccount = ''
  servers = 0
  missing = 0
  pushed = false
  readonly #settings: Settings
  readonly #connection: Connection
  /** The operator's keys that may sign accounts. */
  #trusted: ReadonlySet<string> = new Set()
  /** Accounts that anybody pushed, ourselves included, as they came by. */
  readonly #pushed: string[] = []
  readonly #seen = new Map<string, Claims[]>()
  readonly #last = new Map<string, Claims>()

  static async open(settings: Settings, secret: string): Promise<Session> {
    const { credentials, signer } = parseSecret(secret)
    const connection = await Connection.open(settings, credentials)
    try {
      const session = new Session(settings, connection, signer, credentials.signer.publicKey)
      await connection.listen('$SYS.REQ.CLAIMS.UPDATE', (token) => session.#pushed.push(token))
      return session
    } catch (error) {
      connection.destroy()
      throw error
    }
  }

  private constructor(settings: Settings, connection: Connection, signer: Signer, ownUser: string) {
    this.#settings = settings
    this.#connection = connection
    this.signer = signer
    this.ownUser = ownUser
  }

  get usable(): boolean {
    return this.#connection.usable
  }

  get largest(): number {
    return this.#connection.info.max_payload
  }

  destroy(): void {
    this.#connection.destroy()
  }

  async pause(milliseconds: number): Promise<void> {
    await this.#connection.pause(milliseconds)
  }

  async begin(): Promise<void> {
    this.pushed = false
    const wanted = (answers: readonly string[]) =>
      Math.max(
        this.#settings.servers,
        ...answers.map((answer) => Ping.safeParse(parseJson(answer)).data?.statsz.active_servers ?? 1),
      )
    const pings = await this.#connection.ask('$SYS.REQ.SERVER.PING', '', (answers) => answers.length >= wanted(answers))
    if (pings.length === 0) throw new IssuerUnavailable('NATS: no server answers the admin user in time')
    this.servers = pings.length
    this.missing = wanted(pings) - pings.length
    const vars = await this.#askAll('$SYS.REQ.SERVER.PING.VARZ', '', Vars)
    for (const { data } of vars) this.#recognise(data)
    if (!this.#trusted.has(this.signer.publicKey)) {
      throw new IssuerRefused('NATS: the signing key is none of those that the operator lists')
    }
  }

  async enforced(account: string): Promise<Claims[] | undefined> {
    const answers = await this.#askAll('$SYS.REQ.SERVER.PING.ACCOUNTZ', JSON.stringify({ account }), AccountAnswer)
    const loaded = answers.flatMap(({ data }) => data?.account_detail?.jwt ?? [])
    const other = answers.find(
      ({ data, error }) => data?.account_detail?.jwt === undefined && !NOT_LOADED.test(error?.description ?? ''),
    )
    if (other !== undefined) {
      throw new IssuerUnavailable(`NATS: a server cannot show the account: ${printable(other.error?.description ?? 'no token')}`)
    }
    // A server loads an account when somebody logs in to it; until then it only lies in its folder.
    const stored = loaded.length < answers.length ? await this.#stored(account) : []
    const tokens = [...loaded, ...stored]
    return tokens.length === 0 ? undefined : tokens.map((token) => this.#claimsOf(account, token))
  }

  /** The tokens of an account that lie in servers' folders. The list says what is there: a server that lacks one is silent when asked for it. */
  async #stored(account: string): Promise<string[]> {
    const keeps = await this.#ask('$SYS.REQ.CLAIMS.LIST', '', this.servers)
    const lists = keeps.map((answer) => ListAnswer.safeParse(parseJson(answer)).data)
    if (lists.length === 0 || lists.includes(undefined)) throw new IssuerUnavailable('NATS: no server lists its accounts')
    const having = lists.filter((list) => list?.data?.includes(account) === true).length
    if (having === 0) return []
    const tokens = await this.#ask(`$SYS.REQ.ACCOUNT.${account}.CLAIMS.LOOKUP`, '', having)
    if (tokens.length === 0) throw new IssuerUnavailable('NATS: no server shows the account that it lists')
    return tokens.filter((token) => token !== '')
  }

  pushedSince(account: string): Claims[] {
    this.#sort()
    const seen = this.#seen.get(account) ?? []
    this.#seen.delete(account)
    return seen
  }

  lastPushed(account: string): Claims | undefined {
    this.#sort()
    return this.#last.get(account)
  }

  #sort(): void {
    for (const token of this.#pushed.splice(0)) {
      const claims = readToken(token, this.#trusted)
      if (claims === undefined) continue
      this.#seen.set(claims.sub, [...(this.#seen.get(claims.sub) ?? []), claims])
      this.#last.set(claims.sub, claims)
    }
  }

  async push(token: string): Promise<void> {
    const answered = await this.#ask('$SYS.REQ.CLAIMS.UPDATE', token, this.servers)
    const answers = answered.map((answer) => UpdateAnswer.safeParse(parseJson(answer)).data)
    const failed = answers.find((answer) => answer?.error !== undefined)?.error
    if (failed !== undefined)
      throw new IssuerRefused(`NATS: a server refuses the account's token: ${printable(failed.description ?? '')}`)
    if (!answers.some((answer) => answer?.data?.code === 200)) {
      throw new IssuerUnavailable('NATS: no server answers an update of an account: is there a NATS-based resolver?')
    }
  }

  async open(account: string): Promise<Open[]> {
    const open: Open[] = []
    for (let offset = 0; ; offset += PAGE - OVERLAP) {
      const query = JSON.stringify({ auth: true, acc: account, limit: PAGE, offset })
      const pages = await this.#askAll('$SYS.REQ.SERVER.PING.CONNZ', query, Connections)
      for (const { data, error } of pages) {
        if (data === undefined)
          throw new IssuerUnavailable(`NATS: a server lists no connections: ${printable(error?.description ?? '')}`)
        for (const { authorized_user: user = '', jwt } of data.connections ?? []) {
          // Without a token nobody can tell when it was signed: it counts as old.
          open.push(jwt === undefined ? { user, issuedAt: 0 } : (userOf(jwt) ?? { user, issuedAt: 0 }))
        }
      }
      if (pages.every(({ data }) => (data?.total ?? 0) <= offset + PAGE)) return open
    }
  }

  /** Asks those servers that keep JWTs, which may be fewer than there are. */
  async #ask(subject: string, payload: string, most: number): Promise<string[]> {
    const patience = Math.min(KEEPERS_MILLISECONDS, this.#settings.timeoutMilliseconds)
    return await this.#connection.ask(subject, payload, (answers) => answers.length >= most, patience)
  }

  async #askAll<Answer>(subject: string, payload: string, schema: z.ZodMiniType<Answer>): Promise<Answer[]> {
    const answers = await this.#connection.ask(subject, payload, (heard) => heard.length >= this.servers)
    const parsed = answers.map((answer) => schema.safeParse(parseJson(answer)).data)
    if (answers.length < this.servers) {
      throw new IssuerUnavailable(`NATS: ${answers.length} of ${this.servers} servers answer ${subject.slice(9)} in time`)
    }
    return parsed.map((answer) => {
      if (answer === undefined) throw new IssuerUnavailable(`NATS: a server answers ${subject.slice(9)} with another shape`)
      return answer
    })
  }

  #recognise({ trusted_operators_jwt: tokens, system_account: system = '', cluster }: z.infer<typeof Vars>['data']): void {
    const { operator, cluster: wanted } = this.#settings
    const own = (tokens ?? []).flatMap((token) => readToken(token, new Set([operator])) ?? []).find(({ sub }) => sub === operator)
    if (own === undefined) throw new IssuerRefused(`NATS: a server of another operator answers here, not of ${operator}`)
    if (wanted !== undefined && cluster?.name !== wanted) {
      throw new IssuerRefused(
        `NATS: a server of another cluster answers here: ${printable(cluster?.name ?? 'none')}, not ${wanted}`,
      )
    }
    const keys = (own.nats.signing_keys ?? []).map((key) => (typeof key === 'string' ? key : key.key))
    this.#trusted = new Set(own.nats.strict_signing_key_usage === true ? keys : [operator, ...keys])
    this.systemAccount = system
  }

  /** What a server shows is signed again by us, so it must have been the operator's before. */
  #claimsOf(account: string, token: string): Claims {
    const claims = readToken(token, this.#trusted)
    if (claims?.sub !== account) throw new IssuerRefused("NATS: a server shows a token of the account that is not the operator's")
    return claims
  }
}

function parseSecret(secret: string): { readonly credentials: Credentials; readonly signer: Signer } {
  const parsed = AdminSecret.safeParse(parseJson(secret))
  if (!parsed.success)
    throw new IssuerRefused('NATS: the admin secret must be {"userToken": ..., "userSeed": ..., "signingSeed": ...}')
  const { userToken, userSeed, signingSeed } = parsed.data
  try {
    return { credentials: { token: userToken, signer: signerOf(userSeed, 'U') }, signer: signerOf(signingSeed, 'O') }
  } catch {
    throw new IssuerRefused(
      "NATS: the admin secret's seeds must be SU... (of the system user) and SO... (of an operator's signing key)",
    )
  }
}
