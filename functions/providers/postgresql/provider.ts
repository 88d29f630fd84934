import * as z from 'zod/mini'
import type {
  Answer,
  Clue,
  Discovered,
  Issued,
  IssuerHandle,
  LeverAnswer,
  Liveness,
  Located,
  Order,
  Provider,
  ProviderModule,
  Restored,
  Subject,
  Tools,
  Warrant,
} from '../contract.ts'
import { IssuerError, IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../contract.ts'
import type { Grants, Lever, Settings, Target } from './definition.ts'
import { definition } from './definition.ts'
import { createRole } from './issuing.ts'
import { listRoles } from './listing.ts'
import type { SessionSubject } from './runners.ts'
import { endSessions, nothingToTidy, notToRestore, sessionsAlive, sessionsOf } from './runners.ts'
import type { Session } from './session.ts'
import { openSession } from './session.ts'
import * as sql from './statements.ts'

type Batch = readonly Subject<Target, never>[]
type FoundRows = readonly sql.FoundRow[]
type NamedRows = readonly sql.NamedSessionsRow[]

/** Seconds between looks for sessions that should be gone: 5 s in all at most. The server waits, in `pg_sleep`. */
const PAUSES = [0.05, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 1.8]
/** How long a cut waits for somebody else's lock on a role; whoever holds it longer is the role itself, or wrong. */
const CUT_LOCK = '150ms'
/** Handing objects over locks them, and waits for their users. */
const TIDY_LOCK = '2s'

export const provider: ProviderModule<Target, never, Lever, Settings, Grants> = {
  definition,
  async connect(issuer, tools) {
    const server = new Server(issuer, tools)
    await server.begin()
    return new PostgresqlProvider(server, issuer.settings, tools)
  },
}

interface Looked<Row> {
  readonly session: Session
  readonly rows: readonly Row[]
}

/**
 * One server. Each piece of work has a connection to itself and begins with a look, which asks who answers as well; one
 * idle connection is kept for the next. A connection that went stale in the meantime (a frozen worker) fails at that
 * question and is replaced.
 */
class Server {
  readonly #settings: Settings
  readonly #tools: Tools
  #idle: Session | undefined
  #closed = false

  constructor(issuer: IssuerHandle<Settings>, tools: Tools) {
    this.#settings = issuer.settings
    this.#tools = tools
  }

  /** The first connection, so that it shows at once whether the server can be used. */
  async begin(): Promise<void> {
    this.#keep(await this.open(this.#settings.database))
  }

  /** A look, and what is to be done about its rows. */
  async use<Row extends object, Result>(
    look: sql.Look,
    work: (session: Session, rows: readonly Row[]) => Promise<Result>,
  ): Promise<Result> {
    const { session, rows } = (await this.#lookIdle<Row>(look)) ?? (await this.#lookAnew<Row>(look))
    try {
      const result = await work(session, rows)
      this.#keep(session)
      return result
    } catch (error) {
      session.destroy()
      throw error
    }
  }

  #keep(session: Session): void {
    if (this.#idle === undefined && !this.#closed) this.#idle = session
    else session.destroy()
  }

  /** A connection to one database, to the right server, with the rights that a cut needs. */
  async open(database: string): Promise<Session> {
    const session = await openSession(this.#settings, database, await this.#tools.adminSecret())
    try {
      const [row] = await session.query<sql.PreflightRow>(sql.PREFLIGHT)
      await this.#check(session, row)
      await session.query(sql.PLAN_ONCE)
      return session
    } catch (error) {
      session.destroy()
      throw error
    }
  }

  close(): void {
    this.#closed = true
    this.#idle?.destroy()
    this.#idle = undefined
  }

  /** On the connection that is kept: who answers there was seen when it was opened, and is seen again with the look. */
  async #lookIdle<Row extends object>({ name, statement, values }: sql.Look): Promise<Looked<Row> | undefined> {
    const session = this.#idle
    this.#idle = undefined
    if (session === undefined) return undefined
    try {
      const [row] = await session.query<sql.LookedRow<Row>>(sql.withPreflight(statement), values, name)
      await this.#check(session, row?.server ?? undefined)
      return { session, rows: row?.found ?? [] }
    } catch (error) {
      session.destroy()
      if (error instanceof IssuerUnavailable) return undefined
      throw error
    }
  }

  /** On a new connection nothing is told or asked before it is known who answers. */
  async #lookAnew<Row extends object>({ statement, values }: sql.Look): Promise<Looked<Row>> {
    const session = await this.open(this.#settings.database)
    try {
      return { session, rows: await session.query<Row>(statement, values) }
    } catch (error) {
      session.destroy()
      throw error
    }
  }

  async #check(session: Session, row: sql.PreflightRow | undefined): Promise<void> {
    if (row?.system !== this.#settings.system) {
      const other = row?.system ?? 'none'
      throw new IssuerRefused(`another PostgreSQL server answers here: system identifier ${other}, not ${this.#settings.system}`)
    }
    // A replica has its primary's identifier, but neither its sessions nor its newest roles.
    if (row.standby) throw new IssuerUnavailable('PostgreSQL: a standby answers here, roles are cut at the primary')
    if (!row.alters) throw new IssuerRefused('PostgreSQL: the admin lacks CREATEROLE')
    if (!row.signals) throw new IssuerRefused('PostgreSQL: the admin is not a member of pg_signal_backend')
    if (row.markers < 2) await session.query(sql.CREATE_MARKERS)
  }
}

class PostgresqlProvider implements Provider<Target, never, Lever> {
  readonly #server: Server
  readonly #settings: Settings
  readonly #tools: Tools

  constructor(server: Server, settings: Settings, tools: Tools) {
    this.#server = server
    this.#settings = settings
    this.#tools = tools
  }

  /** How long a cut waits for its marker, which others set as well; it leaves the statement time for the cuts themselves. */
  get #patience(): string {
    return `${Math.floor(this.#settings.statementTimeoutMilliseconds / 3)}ms`
  }

  async revoke(batch: Batch): Promise<Answer[]> {
    return await apart<Answer>(
      batch,
      (roles) => this.#shutRoles(roles),
      (sessions) =>
        this.#server.use(sessionsOf(sessions, null), (session, rows: NamedRows) =>
          endSessions(session, sessions, rows, this.#pauses()),
        ),
    )
  }

  async #shutRoles(batch: Batch): Promise<Answer[]> {
    return await this.#server.use(rolesOf(batch), async (session, found: FoundRows) => {
      const oids = found.flatMap((row) => (row.oid === null || row.refusal !== null ? [] : [row.oid]))
      const orphaned = batch.flatMap(({ target }, index) => (found[index]?.oid === null ? (target.oid ?? []) : []))
      const { shut, ends } = await this.#shut(session, sql.REVOKED, oids, orphaned)
      return batch.map(({ target }, index) => cutAnswer(target, rowAt(found, index), shut, ends))
    })
  }

  async verify(batch: Batch, warrant: Warrant): Promise<Liveness[]> {
    return await apart<Liveness>(
      batch,
      (roles) =>
        this.#server.use(rolesOf(roles), async (_, found: FoundRows) =>
          roles.map(({ target }, index) => liveness(target, rowAt(found, index))),
        ),
      (sessions) =>
        this.#server.use(sessionsOf(sessions, warrant.fencedAt), async (_, rows: NamedRows) => sessionsAlive(sessions, rows)),
    )
  }

  async restore(batch: Batch): Promise<Restored[]> {
    return await apart<Restored>(
      batch,
      (roles) => this.#openRoles(roles),
      async (sessions) => sessions.map(notToRestore),
    )
  }

  async #openRoles(batch: Batch): Promise<Restored[]> {
    return await this.#server.use(rolesOf(batch), async (session, found: FoundRows) => {
      const oids = found.flatMap((row) => (row.oid === null || row.refusal !== null ? [] : [row.oid]))
      const opened = await perform(session, sql.OPEN, CUT_LOCK, { oids, mark: sql.REVOKED, other: sql.CONTAINED })
      return found.map((row): Restored => {
        if (row.oid === null) return { status: 'gone', said: 'the role is gone: it cannot be restored' }
        if (row.refusal !== null) return { status: 'refused', said: REFUSALS[row.refusal] }
        const answer = opened[row.oid]
        if (answer === 'done')
          return { status: 'restored', said: 'undone: the role has LOGIN again, its password is the old one' }
        if (answer === 'held')
          return {
            status: 'restored',
            said: 'no revocation holds the role any more: it can log in when its containment is released',
          }
        if (answer === 'unmarked' && row.login)
          return { status: 'restored', said: 'the role can log in: there is nothing to undo' }
        if (answer === 'unmarked') return { status: 'refused', said: 'the role was not shut by a revocation: left as it is' }
        return undoneAnswer(answer)
      })
    })
  }

  async contain(lever: Lever): Promise<LeverAnswer> {
    return await this.#server.use(membersOf(lever), async (session, first: readonly sql.MemberRow[]) => {
      let shutNow = 0
      let unmarked = 0
      let ended = 0
      // A second look for whoever joined the group in between; the fence lets no new lease come, so it settles.
      for (let round = 1; ; round += 1) {
        const members = round === 1 ? first : await session.query<sql.MemberRow>(sql.FIND_MEMBERS, [lever.memberOf])
        if (members.length === 0)
          return { status: 'unsupported', said: 'there is no group role of that name: nothing was contained' }
        const cuttable = members.filter(({ refusal }) => refusal === null)
        const refused = members.filter(({ refusal, login }) => refusal !== null && login)
        const open = cuttable.filter(({ login, sessions }) => login || sessions > 0)
        if (open.length === 0) {
          const marks = unmarked === 0 ? '' : `, ${unmarked} of them not marked: to be released by hand`
          const said = `${count(shutNow, 'role')} set NOLOGIN${marks}; ${count(ended, 'session')} ended; ${count(cuttable.length, 'role')} shut in all`
          const [first] = refused
          if (first?.refusal == null) return { status: 'done', said }
          return {
            status: 'unsupported',
            said: `${said}; ${count(refused.length, 'member')} still open: ${REFUSALS[first.refusal]}`,
          }
        }
        if (round === 4)
          return { status: 'retry', said: `${count(open.length, 'member')} of the group still open`, afterSeconds: 1 }
        const oids = cuttable.map(({ oid }) => oid)
        const { shut, ends } = await this.#shut(session, sql.CONTAINED, oids)
        unmarked += Object.values(shut).filter((answer) => answer === 'done unmarked').length
        shutNow += Object.values(shut).filter((answer) => answer.startsWith('done')).length
        ended += [...ends.values()].reduce((sum, { ended: sessions }) => sum + sessions, 0)
      }
    })
  }

  async release(lever: Lever): Promise<LeverAnswer> {
    return await this.#server.use(membersOf(lever), async (session, members: readonly sql.MemberRow[]) => {
      if (members.length === 0)
        return { status: 'unsupported', said: 'there is no group role of that name: nothing was released' }
      const oids = members.filter(({ contained }) => contained).map(({ oid }) => oid)
      const opened = await perform(session, sql.OPEN, CUT_LOCK, { oids, mark: sql.CONTAINED, other: sql.REVOKED })
      const failed = Object.values(opened).filter((answer) => !['done', 'held', 'gone', 'unmarked'].includes(answer))
      if (failed.length > 0)
        return { status: 'retry', said: `${count(failed.length, 'role')} not released (${failed[0]})`, afterSeconds: 2 }
      const released = Object.values(opened).filter((answer) => answer === 'done').length
      return {
        status: 'done',
        said: `${count(released, 'role')} released, ${count(members.length - released, 'role')} left as they were`,
      }
    })
  }

  async locate({ role = '' }: Clue['query']): Promise<Located<Target, Lever>> {
    const look = { name: 'roles', statement: sql.FIND_ROLES, values: [[role], [null]] }
    const row = await this.#server.use(look, async (_, [found]: FoundRows) => found)
    if (row?.oid == null) return { status: 'unknown', said: 'the server has no such role' }
    const state = `${row.login ? 'can log in' : 'cannot log in'}, ${count(row.sessions, 'session')} open`
    const refusal = row.refusal === null ? '' : `; ${REFUSALS[row.refusal]}`
    return { status: 'found', said: `the role exists (oid ${row.oid}), ${state}${refusal}`, target: { role, oid: row.oid } }
  }

  async discover(from: string | undefined, most: number): Promise<Discovered<Target>> {
    return await listRoles((look, work) => this.#server.use(look, work), from, most)
  }

  async issue(order: Order): Promise<Issued<Target, never, Lever>> {
    const grants = z.safeParse(definition.grants ?? z.never(), order.grants)
    if (!grants.success) return { status: 'refused', said: 'the grants do not fit this provider' }
    return await createRole((look, work) => this.#server.use(look, work), this.#settings, this.#tools, {
      ...order,
      grants: grants.data,
    })
  }

  async tidy(batch: Batch): Promise<Answer[]> {
    return await apart<Answer>(
      batch,
      (roles) => this.#deleteRoles(roles),
      async (sessions) => sessions.map(nothingToTidy),
    )
  }

  async #deleteRoles(batch: Batch): Promise<Answer[]> {
    return await this.#server.use(rolesOf(batch), async (session, found: FoundRows) => {
      const answers = new Map<string, Answer>()
      const deletable = new Set<string>()
      for (const row of found) {
        if (row.oid === null) continue
        const refusal = refusesToTidy(row)
        if (refusal === undefined) deletable.add(row.oid)
        else answers.set(row.oid, refusal)
      }
      const ties = await session.query<sql.TieRow>(sql.FIND_TIES, [[...deletable]], 'ties')
      for (const [oid, answer] of await this.#withoutHeir(session, ties)) answers.set(oid, answer)
      for (const [oid, answer] of await this.#handOver(ties.filter(({ oid }) => !answers.has(oid)))) answers.set(oid, answer)

      const oids = [...deletable].filter((oid) => !answers.has(oid))
      const dropped = await perform(session, sql.DROP_ROLES, TIDY_LOCK, { oids })
      for (const oid of oids) {
        const owned = ties.filter((tie) => tie.oid === oid).reduce((sum, tie) => sum + tie.owned, 0)
        answers.set(oid, dropAnswer(dropped[oid], owned))
      }
      return found.map((row) => (row.oid === null ? goneAnswer(row) : (answers.get(row.oid) ?? stateAnswer(undefined))))
    })
  }

  async close(): Promise<void> {
    this.#server.close()
  }

  /** Below the statement time-out, which would take the nap for a hang. */
  #pauses(): number[] {
    return PAUSES.map((pause) => Math.min(pause, this.#settings.statementTimeoutMilliseconds / 2000))
  }

  /**
   * Sets NOLOGIN, commits, then ends sessions and looks again, until two looks in a row find none or the time is over: a
   * login may have been under way. Nearly always that is one message: a server that is far away answers once.
   *
   * @param gone oids of roles that are not there, whose sessions go on
   */
  async #shut(
    session: Session,
    mark: string,
    oids: readonly string[],
    gone: readonly string[] = [],
  ): Promise<{ readonly shut: sql.DoAnswer; readonly ends: ReadonlyMap<string, End> }> {
    const cut = [...new Set([...oids, ...gone])]
    if (cut.length === 0) return { shut: {}, ends: new Map() }
    const [pause = 0, ...pauses] = this.#pauses()
    const work = { oids, mark, patience: this.#patience }
    const performed = oids.length === 0 ? [] : sql.performing(sql.SHUT, work, CUT_LOCK)
    const looks = [sql.endingSessions(cut), ...sql.endingSessionsAfter(pause, cut)]
    const results = await session.run([...performed, ...looks])
    const shut = oids.length === 0 ? {} : answerIn(results.slice(0, performed.length))

    const ended = new Map<string, Set<number>>(cut.map((oid) => [oid, new Set()]))
    const note = (found: object[] | undefined) => {
      const rows = sessionRows(found)
      for (const { oid, pids } of rows) for (const pid of pids) ended.get(oid)?.add(pid)
      return rows
    }
    const first = note(results.at(-looks.length))
    let rows = note(results.at(-1))
    for (let quiet = rows.length > 0 ? 0 : first.length > 0 ? 1 : 2; quiet < 2; quiet = rows.length > 0 ? 0 : quiet + 1) {
      const next = pauses.shift()
      if (next === undefined) break
      rows = note((await session.run(sql.endingSessionsAfter(next, cut))).at(-1))
    }
    const left = new Set(rows.map(({ oid }) => oid))
    return { shut, ends: new Map(cut.map((oid) => [oid, { ended: ended.get(oid)?.size ?? 0, left: left.has(oid) }])) }
  }

  /** Roles that own something which nobody would inherit. */
  async #withoutHeir(session: Session, ties: readonly sql.TieRow[]): Promise<Map<string, Answer>> {
    const answers = new Map<string, Answer>()
    const owning = ties.filter(({ owned }) => owned > 0)
    if (owning.length === 0) return answers
    const heir = this.#settings.reassignTo
    const [heirRow] = heir === undefined ? [] : await session.query<{ oid: string }>(sql.FIND_HEIR, [heir])
    for (const { oid } of owning) {
      if (heirRow !== undefined && heirRow.oid !== oid) continue
      const of = owning.filter((tie) => tie.oid === oid)
      const objects = of.reduce((sum, tie) => sum + tie.owned, 0)
      const why =
        heir === undefined
          ? 'no heir (reassignTo) is configured'
          : heirRow === undefined
            ? 'the heir does not exist'
            : 'it is the heir'
      const said = `the role owns ${count(objects, 'object')} in ${databases(of)}, and ${why}; its access stays cut, nothing was deleted`
      answers.set(oid, { status: 'irrevocable', said })
    }
    return answers
  }

  /** Database by database, hands over what the roles own and clears their privileges away. Answers are failures. */
  async #handOver(ties: readonly sql.TieRow[]): Promise<Map<string, Answer>> {
    const answers = new Map<string, Answer>()
    const places = new Map<string, Set<string>>()
    for (const { oid, database } of ties) {
      const place = database ?? this.#settings.database
      places.set(place, (places.get(place) ?? new Set()).add(oid))
    }
    for (const [database, tied] of places) {
      const oids = [...tied].filter((oid) => !answers.has(oid))
      let session: Session
      try {
        session = await this.#server.open(database)
      } catch (error) {
        if (!(error instanceof IssuerError)) throw error
        const said = `objects in ${databases([{ database }])} cannot be handed over: ${error.message}`
        for (const oid of oids) {
          const refused = error instanceof IssuerRefused
          answers.set(
            oid,
            refused ? { status: 'irrevocable', said } : { status: 'retry', said, effect: 'none', afterSeconds: 30 },
          )
        }
        continue
      }
      try {
        const handed = await perform(session, sql.HAND_OVER_OWNED, TIDY_LOCK, { oids, heir: this.#settings.reassignTo ?? null })
        for (const oid of oids) {
          const answer = handed[oid]
          if (answer === 'done' || answer === 'gone') continue
          const failure = answer === 'open' ? OPENED_AGAIN : answer === 'tied' ? TIED : stateAnswer(answer)
          answers.set(oid, { ...failure, said: `in ${databases([{ database }])}: ${failure.said}` })
        }
      } finally {
        session.destroy()
      }
    }
    return answers
  }
}

const REFUSALS: Readonly<Record<NonNullable<sql.RoleRow['refusal']>, string>> = {
  admin: 'it is the role that Rescind itself works as: not cut',
  reserved: 'it is a role of the server or of Rescind itself: not cut',
  superuser: 'it is a superuser: not cut, a person must',
  replication: 'it is a replication role: not cut, a person must',
  unmanageable: 'the admin has no ADMIN OPTION over this role: not cut',
}
const TIED: Answer = {
  status: 'irrevocable',
  said: 'others granted privileges to the role that the admin cannot take back; its access stays cut, it was not deleted',
}
const OPENED_AGAIN: Answer = {
  status: 'irrevocable',
  said: 'its cut was undone: the role can log in, or will when its containment is released; not deleted',
}

const isSession = (subject: Subject<Target, never>): subject is SessionSubject => subject.target.session !== undefined

/** Roles and sessions of roles each in a call of their own; the answers in the order of the batch. */
async function apart<Result>(
  batch: Batch,
  ofRoles: (roles: Batch) => Promise<Result[]>,
  ofSessions: (sessions: readonly SessionSubject[]) => Promise<Result[]>,
): Promise<Result[]> {
  const sessions = batch.filter(isSession)
  if (sessions.length === 0) return await ofRoles(batch)
  const roles = batch.filter((subject) => !isSession(subject))
  const answered = { roles: roles.length === 0 ? [] : await ofRoles(roles), sessions: await afterwards() }
  async function afterwards(): Promise<Result[]> {
    try {
      return await ofSessions(sessions)
    } catch (error) {
      // Throttled means that nothing was done; the roles were.
      if (roles.length > 0 && error instanceof IssuerThrottled) throw new IssuerUnavailable(error.message, { cause: error })
      throw error
    }
  }
  return batch.map((subject) => {
    const answer = (isSession(subject) ? answered.sessions : answered.roles).shift()
    if (answer === undefined) throw new IssuerUnavailable('PostgreSQL: fewer answers than leases')
    return answer
  })
}

const rolesOf = (batch: Batch): sql.Look => ({
  name: 'roles',
  statement: sql.FIND_ROLES,
  values: [batch.map(({ target }) => target.role), batch.map(({ target }) => target.oid ?? null)],
})

const membersOf = ({ memberOf }: Lever): sql.Look => ({ name: 'members', statement: sql.FIND_MEMBERS, values: [memberOf] })

function rowAt(found: readonly sql.FoundRow[], index: number): sql.FoundRow {
  const row = found[index]
  if (row === undefined) throw new IssuerUnavailable('PostgreSQL: fewer rows than roles asked for')
  return row
}

const AnswerRow = z.object({ answer: z.string() })
const DoAnswer = z.record(z.string(), z.string())
const SessionsRows = z.array(z.object({ oid: z.string(), pids: z.array(z.int()) }))

/** Runs one of the DO statements in a transaction of its own. */
async function perform(session: Session, statement: string, lockTimeout: string, work: sql.Work): Promise<sql.DoAnswer> {
  if (work.oids.length === 0) return {}
  return answerIn(await session.run(sql.performing(statement, work, lockTimeout)))
}

/** What a DO answered, among the results of the statements around it. */
function answerIn(results: readonly (readonly object[])[]): sql.DoAnswer {
  for (const rows of results) {
    const row = z.safeParse(AnswerRow, rows[0])
    if (row.success) return DoAnswer.parse(JSON.parse(row.data.answer))
  }
  throw new IssuerUnavailable('PostgreSQL: no answer of what was done')
}

const sessionRows = (rows: readonly object[] | undefined) => SessionsRows.parse(rows)

interface End {
  readonly ended: number
  readonly left: boolean
}

const isShut = (answer: string | undefined) => answer !== undefined && /^(done|idle)/.test(answer)

function cutAnswer(target: Target, row: sql.FoundRow, shut: sql.DoAnswer, ends: ReadonlyMap<string, End>): Answer {
  if (row.refusal !== null) return { status: 'irrevocable', said: REFUSALS[row.refusal] }
  const oid = row.oid ?? target.oid
  const end = oid === undefined ? undefined : ends.get(oid)
  const state = row.oid === null ? 'gone' : shut[row.oid]
  const ended = end?.ended ?? 0
  if (end?.left === true) {
    const done = state === 'gone' ? 'the role is gone' : 'the role is NOLOGIN'
    return { status: 'retry', said: `${done}, but a session of it does not end`, effect: 'unknown', afterSeconds: 5 }
  }
  if (state === 'gone') {
    // A session outlives its role: what was ended here was access.
    if (ended > 0) return { status: 'revoked', said: `the role was gone, ${count(ended, 'session')} of it ended, none left` }
    return goneAnswer(row)
  }
  if (!isShut(state)) return stateAnswer(state)
  const note = state?.endsWith('unmarked') === true ? '; not marked, so it can be restored by hand only' : ''
  if (state?.startsWith('done') === true)
    return { status: 'revoked', said: `NOLOGIN set, ${count(ended, 'session')} ended, none left${note}` }
  if (ended > 0) return { status: 'revoked', said: `already NOLOGIN, ${count(ended, 'session')} ended, none left${note}` }
  return { status: 'revoked', said: `already NOLOGIN, no session left${note}` }
}

function goneAnswer(row: sql.FoundRow): Answer {
  if (row.namesake) return { status: 'absent', said: 'no role has this oid; another role bears the name and was left alone' }
  return { status: 'absent', said: 'the server has no such role' }
}

function liveness(target: Target, row: sql.FoundRow): Liveness {
  if (row.oid === null) {
    if (row.orphans === 0) return { status: 'dead', said: 'no such role, no session' }
    if (target.oid !== undefined)
      return { status: 'alive', said: `the role is gone, but ${count(row.orphans, 'session')} of it open` }
    return { status: 'unknown', said: 'no such role; sessions of deleted roles are open, and the oid is not known' }
  }
  if (row.login) return { status: 'alive', said: `the role can log in, ${count(row.sessions, 'session')} open` }
  if (row.sessions > 0) return { status: 'alive', said: `NOLOGIN, but ${count(row.sessions, 'session')} open` }
  return { status: 'dead', said: 'NOLOGIN, no session' }
}

function dropAnswer(answer: string | undefined, owned: number): Answer {
  if (answer === 'done') return { status: 'revoked', said: `role deleted, ${count(owned, 'object')} handed to the heir` }
  if (answer === 'gone') return { status: 'absent', said: 'the role was deleted by somebody else' }
  if (answer === 'open') return OPENED_AGAIN
  if (answer === 'session')
    return { status: 'retry', said: 'a session of the role is open; not deleted', effect: 'none', afterSeconds: 10 }
  return stateAnswer(answer)
}

function refusesToTidy(row: sql.FoundRow): Answer | undefined {
  if (row.refusal !== null) return { status: 'irrevocable', said: REFUSALS[row.refusal] }
  if (row.login) return { status: 'irrevocable', said: 'the role can log in: it was not cut, or was restored; not deleted' }
  if (row.contained && !row.revoked) return OPENED_AGAIN
  if (row.sessions > 0) {
    return {
      status: 'retry',
      said: `${count(row.sessions, 'session')} of the role still open; not deleted`,
      effect: 'none',
      afterSeconds: 10,
    }
  }
  return undefined
}

/** What one role's own SQLSTATE means: classes that pass by themselves are retried, the rest is for a person. */
function stateAnswer(state: string | undefined): Answer {
  if (state === 'gone') return { status: 'absent', said: 'the role vanished meanwhile' }
  if (state === '42501')
    return { status: 'irrevocable', said: 'the admin lacks a privilege over this role or what it owns (42501)' }
  if (state === '2BP01')
    return { status: 'retry', said: 'something new depends on the role (2BP01)', effect: 'none', afterSeconds: 30 }
  if (state === undefined || /^(40|53|55|57|58|XX)/.test(state)) {
    return { status: 'retry', said: `PostgreSQL: ${state ?? 'no answer'}`, effect: 'none', afterSeconds: 2 }
  }
  return { status: 'irrevocable', said: `PostgreSQL refuses (${state})` }
}

/** What one role's own SQLSTATE leaves to say of an undoing. */
function undoneAnswer(state: string | undefined): Restored {
  const { status, said } = stateAnswer(state)
  if (status === 'absent') return { status: 'gone', said }
  return status === 'retry' ? { status, said, afterSeconds: 2 } : { status: 'refused', said }
}

const count = (number: number, noun: string) => `${number} ${noun}${number === 1 ? '' : 's'}`

/** At most three names, each quoted as JSON: a database's name may hold anything. */
function databases(ties: readonly { readonly database: string | null }[]): string {
  const names = [...new Set(ties.map(({ database }) => (database === null ? 'the server itself' : JSON.stringify(database))))]
  return names.length <= 3 ? names.join(', ') : `${names.slice(0, 3).join(', ')} and ${names.length - 3} more`
}
