import { randomBytes, randomUUID } from 'node:crypto'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { Agent, createServer, request } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type {
  Credentials,
  Cut,
  Issued,
  Liveness,
  Order,
  Page,
  Pulled,
  Restored,
  Target,
  Warrant,
} from '../../webhook-receiver/receiver.ts'
import { receiver } from '../../webhook-receiver/receiver.ts'

const HOST = '127.0.0.1'

interface Token {
  readonly id: string
  readonly incarnation: string
  readonly token: string
  /** Whose it is. */
  readonly identity: string | undefined
  /** The service never gives it up. */
  readonly pinned: boolean
  readonly expiresAt: string | undefined
  readonly createdAt: string
  /** Who shut it: a case of ours, or its owner. */
  cutBy: string | undefined
}

/**
 * A service that hands out bearer tokens of its own, as a customer might have one: a token opens a session, which is a
 * connection that stays open, and which nobody asks for the token again. Its revocation API is the reference receiver.
 */
export class TokenService implements Credentials {
  readonly #tokens = new Map<string, Token>()
  readonly #byToken = new Map<string, Token>()
  readonly #sessions = new Map<Socket, Token>()
  /** Identity to the epochs that shut it out. */
  readonly #contained = new Map<string, Set<number>>()
  readonly #server: Server
  readonly #agents = new Set<Agent>()
  /** Every lease that reached the service, by verb: what a batch costs, and what was never asked. */
  readonly asked: { readonly verb: string; readonly id: string; readonly handle: string | undefined }[] = []

  constructor() {
    this.#server = createServer((incoming, response) => this.#serve(incoming, response))
    this.#server.keepAliveTimeout = 60_000
  }

  listen(): Promise<void> {
    return listen(this.#server, 0)
  }

  mint(id: string, options: { identity?: string; pinned?: boolean; expiresAt?: string } = {}): Token {
    const token: Token = {
      id,
      incarnation: randomUUID(),
      token: `tok_${randomBytes(24).toString('base64url')}`,
      identity: options.identity,
      pinned: options.pinned === true,
      expiresAt: options.expiresAt,
      createdAt: new Date().toISOString(),
      cutBy: undefined,
    }
    this.#tokens.set(id, token)
    this.#byToken.set(token.token, token)
    return token
  }

  delete(id: string): void {
    const token = this.#tokens.get(id)
    if (token === undefined) return
    this.#tokens.delete(id)
    this.#byToken.delete(token.token)
    this.#end((owner) => owner === token)
  }

  /** The owner shuts it by hand. */
  shut(id: string): void {
    const token = this.#tokens.get(id)
    if (token !== undefined) token.cutBy = 'its owner'
  }

  /** A new use of the token, over HTTP. */
  async works(token: string): Promise<boolean> {
    const agent = new Agent({ keepAlive: false })
    return (await this.#call(agent, token)) === 200
  }

  /** A session that goes on. */
  async open(token: string): Promise<{ alive(): Promise<boolean>; close(): Promise<void> }> {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    this.#agents.add(agent)
    const opened = await this.#call(agent, token)
    if (opened !== 200) throw new Error(`the token service answers ${opened}`)
    return {
      // A new connection would need the token again.
      alive: async () => (await this.#call(agent, undefined)) === 200,
      close: async () => agent.destroy(),
    }
  }

  async stop(): Promise<void> {
    for (const agent of this.#agents) agent.destroy()
    await close(this.#server)
  }

  async revoke({ target, handle }: { target: Target; handle?: string }, warrant: Warrant): Promise<Cut> {
    this.asked.push({ verb: 'revoke', id: target.id, handle })
    const token = this.#find(target)
    if (token === undefined) return { status: 'absent', said: 'there is no such token' }
    if (token.pinned) return { status: 'irrevocable', said: 'the token is pinned: its owner has to let go of it' }
    const before = token.cutBy
    token.cutBy ??= warrant.case
    const ended = this.#end((owner) => owner === token)
    if (before !== undefined && ended === 0) return { status: 'absent', said: 'the token was shut before, and has no session' }
    return { status: 'revoked', said: `the token is shut, ${ended} of its sessions were open and are ended` }
  }

  async verify({ target, handle }: { target: Target; handle?: string }): Promise<Liveness> {
    this.asked.push({ verb: 'verify', id: target.id, handle })
    const token = this.#find(target)
    if (token === undefined) return { status: 'dead', said: 'there is no such token' }
    const sessions = [...this.#sessions.values()].filter((owner) => owner === token).length
    if (token.cutBy === undefined) return { status: 'alive', said: 'the token is valid' }
    return sessions === 0
      ? { status: 'dead', said: 'the token is shut and has no session' }
      : { status: 'alive', said: `${sessions} sessions of the token are open` }
  }

  async restore({ target }: { target: Target }): Promise<Restored> {
    const token = this.#find(target)
    if (token === undefined) return { status: 'gone', said: 'there is no such token' }
    if (token.cutBy === 'its owner') return { status: 'refused', said: 'its owner has shut it' }
    token.cutBy = undefined
    return { status: 'restored', said: 'the token is valid' }
  }

  async tidy({ target }: { target: Target }): Promise<Cut> {
    const token = this.#find(target)
    if (token === undefined) return { status: 'absent', said: 'there is no such token' }
    if (token.cutBy === undefined) return { status: 'irrevocable', said: 'the token is valid: not deleted' }
    this.delete(token.id)
    return { status: 'revoked', said: 'the token is deleted' }
  }

  async contain(identity: string, { epoch }: Warrant): Promise<Pulled> {
    this.#contained.set(identity, (this.#contained.get(identity) ?? new Set()).add(epoch))
    const ended = this.#end((token) => token.identity === identity)
    return { status: 'done', said: `all tokens of the identity are shut out, ${ended} sessions are ended` }
  }

  async release(identity: string, { epoch }: Warrant): Promise<Pulled> {
    const epochs = this.#contained.get(identity)
    epochs?.delete(epoch)
    if (epochs?.size === 0) this.#contained.delete(identity)
    return { status: 'done', said: epochs === undefined ? 'the identity was not shut out' : 'this epoch shuts it out no longer' }
  }

  async discover(from: string | undefined, most: number): Promise<Page> {
    const behind = [...this.#tokens.values()]
      .filter(({ id }) => from === undefined || id > from)
      .sort((left, right) => (left.id < right.id ? -1 : 1))
    const page = behind.slice(0, most)
    const last = page.at(-1)
    return {
      listed: page.map((token) => ({
        target: targetOf(token),
        // What is shown is for people: no control characters, and not the whole of a long name.
        shown: `token ${JSON.stringify(token.id).slice(0, 120)}`.normalize(),
        usable: this.#usable(token),
        createdAt: token.createdAt,
        ...(token.expiresAt === undefined ? {} : { expiresAt: token.expiresAt }),
      })),
      ...(behind.length > most && last !== undefined ? { next: last.id } : {}),
    }
  }

  async issue({ name, grants, expiresAt }: Order): Promise<Issued> {
    if (this.#tokens.has(name)) return { status: 'refused', said: 'there is a token of this name' }
    if (grants['scope'] === 'everything') return { status: 'refused', said: 'nobody gets that scope' }
    const { identity } = grants
    const token = this.mint(name, { expiresAt, ...(typeof identity === 'string' ? { identity } : {}) })
    return {
      status: 'issued',
      said: 'a new token',
      target: targetOf(token),
      credential: { token: token.token },
      expiresAt,
      ...(typeof identity === 'string' ? { lever: { identity } } : {}),
    }
  }

  #find({ kind, id, incarnation }: Target): Token | undefined {
    if (kind !== undefined && kind !== 'token') return undefined
    const token = this.#tokens.get(id)
    return incarnation === undefined || token?.incarnation === incarnation ? token : undefined
  }

  #usable({ cutBy, identity, expiresAt }: Token): boolean {
    const contained = identity !== undefined && this.#contained.has(identity)
    return cutBy === undefined && !contained && (expiresAt === undefined || Date.parse(expiresAt) > Date.now())
  }

  #end(concerned: (token: Token) => boolean): number {
    let ended = 0
    for (const [socket, token] of this.#sessions) {
      if (!concerned(token)) continue
      this.#sessions.delete(socket)
      socket.destroy()
      ended += 1
    }
    return ended
  }

  #serve({ headers, socket }: IncomingMessage, response: ServerResponse): void {
    const shown = headers.authorization?.replace('Bearer ', '')
    const token = shown === undefined ? undefined : this.#byToken.get(shown)
    if (token !== undefined && this.#usable(token) && !this.#sessions.has(socket)) {
      this.#sessions.set(socket, token)
      socket.once('close', () => this.#sessions.delete(socket))
    }
    response.writeHead(this.#sessions.has(socket) ? 200 : 401)
    response.end()
  }

  #call(agent: Agent, token: string | undefined): Promise<number> {
    const { port } = this.#server.address() as AddressInfo
    return new Promise((done) => {
      const sent = request({
        agent,
        host: HOST,
        port,
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      })
      sent.once('error', () => done(0))
      sent.once('response', (response) => {
        response.resume()
        response.once('end', () => done(response.statusCode ?? 0))
      })
      sent.end()
    })
  }
}

export const targetOf = ({ id, incarnation }: { readonly id: string; readonly incarnation: string }): Target => ({
  id,
  incarnation,
})

export interface LocalWebhook {
  readonly service: TokenService
  readonly endpoint: string
  readonly port: number
  readonly name: string
  readonly signingSecret: string
  /** Requests are answered 429 with this Retry-After until it is called without. */
  throttle(seconds?: number): void
  stop(): Promise<void>
}

/** A customer's endpoint on loopback: the reference receiver over a token service, over HTTP. */
export async function startWebhook(
  options: {
    name?: string
    signingSecret?: string
    port?: number
    batch?: number
    wantsHandle?: boolean
    only?: readonly (keyof Credentials)[]
  } = {},
): Promise<LocalWebhook> {
  const {
    name = 'token-service',
    signingSecret = `whsec_${randomBytes(32).toString('base64')}`,
    batch,
    wantsHandle,
    only,
  } = options
  const service = new TokenService()
  await service.listen()
  const listener = receiver({
    name,
    secrets: [signingSecret],
    credentials: only === undefined ? service : pick(service, only),
    ...(batch === undefined ? {} : { batch }),
    ...(wantsHandle === undefined ? {} : { wantsHandle }),
  })
  let throttled: number | undefined
  const server = createServer((incoming, response) => {
    if (throttled === undefined) listener(incoming, response)
    else response.writeHead(429, { 'retry-after': String(throttled), connection: 'close' }).end()
  })
  await listen(server, options.port ?? 0)
  const { port } = server.address() as AddressInfo
  return {
    service,
    endpoint: `http://${HOST}:${port}/`,
    port,
    name,
    signingSecret,
    throttle: (seconds) => {
      throttled = seconds
    },
    stop: async () => {
      await Promise.all([close(server), service.stop()])
    },
  }
}

const pick = (service: TokenService, only: readonly (keyof Credentials)[]): Credentials => {
  const revoke: Credentials['revoke'] = (asked, warrant) => service.revoke(asked, warrant)
  const others: readonly [keyof Credentials, unknown][] = only.map((verb) => [verb, service[verb].bind(service)])
  return { revoke, ...Object.fromEntries(others) }
}

const listen = (server: Server, port: number) =>
  new Promise<void>((done, fail) => server.once('error', fail).listen(port, HOST, done))

async function close(server: Server): Promise<void> {
  if (!server.listening) return
  server.closeAllConnections()
  await new Promise((done) => server.close(done))
}
