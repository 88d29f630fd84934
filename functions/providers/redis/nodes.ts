import type { AdminLogin } from '../admin-secret.ts'
import { readAdminLogin } from '../admin-secret.ts'
import type { IssuerHandle, Tools } from '../contract.ts'
import { IssuerError, IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../contract.ts'
import type { Node, Settings } from './definition.ts'
import type { Command, Connection, Reply } from './replies.ts'
import { field, text, userIn } from './replies.ts'

/** Opens a connection that is logged in. */
export type Dial = (settings: Settings, node: Node, admin: AdminLogin) => Promise<Connection>

/** A server that was asked: it is one of ours, and answered the look. */
export interface Looked {
  readonly name: string
  readonly admin: string
  readonly connection: Connection
  readonly replies: readonly Reply[]
}

export interface Surroundings {
  readonly looked: readonly Looked[]
  /** Why the cut of this moment cannot be whole: a server that does not answer, or one that nobody listed. */
  readonly gap: string | undefined
}

/** What a server says of itself and of those that it stands with. */
interface Standing {
  readonly run: string
  /** Common to a server and all that replicate it. */
  readonly replication: string
  readonly isMaster: boolean
  readonly isLinked: boolean
  readonly replicas: number
  /** Members of its cluster, itself included; `undefined` where it is in none. */
  readonly members: number | undefined
}

/** A connection to one server, shared by all pieces of work, and as whom it is logged in. */
interface Line {
  readonly admin: string
  readonly connection: Connection
}

type Outcome = { readonly looked: Looked; readonly standing: Standing } | { readonly name: string; readonly error: IssuerError }

/**
 * The servers of one issuer. Each piece of work begins with a look, which asks every server who answers as well; nothing is
 * changed at any before all that answer have shown to be ours. A connection is kept for each; one that went stale in the
 * meantime (a frozen worker) fails at that question and is replaced.
 */
export class Nodes {
  readonly #settings: Settings
  readonly #tools: Tools
  readonly #dial: Dial
  readonly #lines = new Map<string, Promise<Line>>()
  #closed = false

  constructor(issuer: IssuerHandle<Settings>, tools: Tools, dial: Dial) {
    this.#settings = issuer.settings
    this.#tools = tools
    this.#dial = dial
  }

  /** @throws IssuerError one of the servers is not ours or refuses us, or none can be reached */
  async use<Result>(look: readonly Command[], work: (surroundings: Surroundings) => Promise<Result>): Promise<Result> {
    const outcomes = await Promise.all(this.#settings.nodes.map((node) => this.#ask(node, look)))
    const failed = outcomes.flatMap((outcome) => ('error' in outcome ? [outcome] : []))
    const refused = failed.find(({ error }) => error instanceof IssuerRefused)
    if (refused !== undefined) throw refused.error
    const met = outcomes.flatMap((outcome) => ('error' in outcome ? [] : [outcome]))
    const [first] = failed
    if (met.length === 0 && first !== undefined)
      throw failed.find(({ error }) => error instanceof IssuerThrottled)?.error ?? first.error
    if (new Set(met.map(({ standing }) => standing.run)).size < met.length)
      throw new IssuerRefused('Redis: two of the configured nodes are one server, so another may be left out')
    const absent = first === undefined ? undefined : `${first.name} does not answer`
    const unlisted = this.#settings.unlisted === 'ignored' ? undefined : leftOut(met.map(({ standing }) => standing))
    return await work({ looked: met.map(({ looked }) => looked), gap: absent ?? unlisted })
  }

  close(): void {
    this.#closed = true
    for (const line of this.#lines.values()) end(line)
    this.#lines.clear()
  }

  async #ask(node: Node, look: readonly Command[]): Promise<Outcome> {
    const name = `${node.host}:${node.port}`
    try {
      const kept = this.#lines.get(name)
      if (kept !== undefined) {
        try {
          return await this.#look(name, await kept, look)
        } catch (error) {
          this.#forget(name, kept)
          if (!(error instanceof IssuerUnavailable)) throw error
        }
      }
      // Another piece of work may have dialled meanwhile: what serves both is one connection.
      const line = this.#lines.get(name) ?? this.#open(name, node)
      this.#lines.set(name, line)
      try {
        return await this.#look(name, await line, look)
      } catch (error) {
        this.#forget(name, line)
        throw error
      }
    } catch (error) {
      if (error instanceof IssuerError) return { name, error }
      throw error
    }
  }

  async #open(name: string, node: Node): Promise<Line> {
    const { user, password } = readAdminLogin(await this.#tools.adminSecret())
    const line = { admin: user, connection: await this.#dial(this.#settings, node, { user, password }) }
    try {
      if (this.#closed) throw new IssuerUnavailable('Redis: the provider was closed')
      // Whoever answers is asked for itself alone; what the look would tell is told to nobody else.
      await this.#look(name, line, [])
      return line
    } catch (error) {
      line.connection.destroy()
      throw error
    }
  }

  #forget(name: string, line: Promise<Line>): void {
    end(line)
    if (this.#lines.get(name) === line) this.#lines.delete(name)
  }

  async #look(name: string, { admin, connection }: Line, look: readonly Command[]): Promise<Outcome> {
    const own: Command[] = [
      ['ACL', 'GETUSER', admin],
      ['INFO', 'server'],
      ['INFO', 'replication'],
    ]
    const replies = await connection.exchange([...own, ...look])
    const [user, server, replication] = replies
    if (userIn(user)?.hashes.includes(this.#settings.server) !== true)
      throw new IssuerRefused(`Redis: another server answers at ${name}: its admin does not bear the tag of this issuer`)
    const about = text(server)
    const with_ = text(replication)
    const isCluster = field(about, 'redis_mode') === 'cluster'
    const members = isCluster
      ? field(text((await connection.exchange([['CLUSTER', 'INFO']]))[0]), 'cluster_known_nodes')
      : undefined
    const standing = {
      run: field(about, 'run_id') ?? name,
      replication: field(with_, 'master_replid') ?? name,
      isMaster: field(with_, 'role') === 'master',
      isLinked: field(with_, 'master_link_status') === 'up',
      replicas: Number(field(with_, 'connected_slaves') ?? 0),
      members: members === undefined ? undefined : Number(members),
    }
    return { looked: { name, admin, connection, replies: replies.slice(own.length) }, standing }
  }
}

/** Servers beside those that are listed, as far as these know them. */
function leftOut(standing: readonly Standing[]): string | undefined {
  for (const { members } of standing)
    if (members !== undefined && members > standing.length)
      return `the cluster has ${members} nodes, and ${standing.length} are listed`
  for (const replication of new Set(standing.map((one) => one.replication))) {
    const group = standing.filter((one) => one.replication === replication)
    if (group.some(({ members }) => members !== undefined)) continue
    if (!group.some(({ isMaster }) => isMaster)) return 'a replica is listed without the server that it replicates'
    const listed = group.filter(({ isMaster, isLinked }) => !isMaster && isLinked).length
    const linked = group.reduce((sum, { replicas }) => sum + replicas, 0)
    if (linked > listed) return `${linked} replicas are linked, and ${listed} of them are listed`
  }
  return undefined
}

/** Ends a connection, also one that is only being opened. */
const end = (line: Promise<Line>): void => void line.then(({ connection }) => connection.destroy()).catch(() => undefined)
