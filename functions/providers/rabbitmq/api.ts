import * as z from 'zod/mini'
import { readAdminSecret } from '../admin-secret.ts'
import { IssuerRefused } from '../contract.ts'
import type { HttpAnswer } from '../http.ts'
import { Http } from '../http.ts'
import type { Settings } from './definition.ts'

const AdminSecret = z.strictObject({
  // RFC 7617: a name with a colon cannot be told from its password.
  user: z.string().check(z.regex(/^[^:]{1,255}$/)),
  password: z.string().check(z.minLength(1)),
})

const User = z.looseObject({
  name: z.string(),
  password_hash: z.string(),
  hashing_algorithm: z.optional(z.string()),
  /** A list since 3.9, words with commas before. */
  tags: z.union([z.array(z.string()), z.string()]),
  limits: z.optional(z.union([z.looseObject({ 'max-connections': z.optional(z.int()) }), z.array(z.unknown())])),
})
export type User = z.infer<typeof User>

const Connections = z.array(z.looseObject({ user: z.optional(z.string()) }))
const Parameter = z.looseObject({ value: z.string() })
const Problem = z.looseObject({ reason: z.optional(z.unknown()) })

/** A list of some 100,000 users. */
const MAXIMUM_BYTES = 33_554_432

export const limitOf = ({ limits }: User): number | undefined => (Array.isArray(limits) ? undefined : limits?.['max-connections'])

/** What came of a write: the object was there, it is new, somebody made it at the same moment (nothing changed), or there is no such user. */
export type Written = 'changed' | 'made' | 'taken' | 'no-user'

/** A cluster's users and connections, as the provider works with them. Errors are `IssuerError`s. */
export type Management = { readonly [Member in keyof Api]: Api[Member] }

/** The management plugin's HTTP API (its own page `/api/index.html`), as much of it as is needed. Errors are `IssuerError`s. */
export class Api {
  readonly admin: string
  readonly #http: Http
  readonly #settings: Settings
  readonly #authorization: string

  constructor(settings: Settings, secret: string, http: Http) {
    const { user, password } = readAdminSecret(AdminSecret, secret, '{"user": ..., "password": ...}', 'RabbitMQ')
    this.#settings = settings
    this.#http = http
    this.admin = user
    this.#authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
  }

  /** @throws IssuerRefused another cluster answers, or the admin is none */
  async recognise(): Promise<void> {
    const answer = await this.#ask('GET', '/global-parameters/internal_cluster_id')
    const parsed = Parameter.safeParse(answer.json)
    if (answer.status === 404) throw new IssuerRefused('RabbitMQ: the cluster has no internal_cluster_id')
    if (answer.status !== 200 || !parsed.success) throw answer.nonsense('the API')
    if (parsed.data.value !== this.#settings.cluster) {
      throw new IssuerRefused(`RabbitMQ: another cluster answers here: ${JSON.stringify(parsed.data.value.slice(0, 200))}`)
    }
  }

  async user(name: string): Promise<User | undefined> {
    const answer = await this.#ask('GET', `/users/${encodeURIComponent(name)}`)
    if (answer.status === 404) return undefined
    const parsed = User.safeParse(answer.json)
    if (answer.status !== 200 || !parsed.success || parsed.data.name !== name) throw answer.nonsense('the user')
    return parsed.data
  }

  async users(): Promise<User[]> {
    const answer = await this.#ask('GET', '/users')
    const parsed = z.array(User).safeParse(answer.json)
    if (answer.status !== 200 || !parsed.success) throw answer.nonsense('the list of users')
    return parsed.data
  }

  /** Everything else of the user stays. What is not there is made: the caller looks at the answer. */
  async putHash(
    { name, hashing_algorithm, tags }: Pick<User, 'name' | 'hashing_algorithm' | 'tags'>,
    hash: string,
  ): Promise<Written> {
    const algorithm = hashing_algorithm === undefined ? {} : { hashing_algorithm }
    return this.#written(
      await this.#ask('PUT', `/users/${encodeURIComponent(name)}`, { password_hash: hash, tags, ...algorithm }),
    )
  }

  /** True where it was there. */
  async deleteUser(name: string): Promise<boolean> {
    const answer = await this.#ask('DELETE', `/users/${encodeURIComponent(name)}`)
    if (answer.status === 204) return true
    if (answer.status === 404) return false
    throw answer.nonsense('the deletion of a user')
  }

  /** Most connections of a user at once; none: no limit. */
  async putLimit(name: string, limit: number | undefined): Promise<Written> {
    const path = `/user-limits/${encodeURIComponent(name)}/max-connections`
    return this.#written(limit === undefined ? await this.#ask('DELETE', path) : await this.#ask('PUT', path, { value: limit }))
  }

  /** How many connections of the user are open. */
  async connections(name: string): Promise<number> {
    const answer = await this.#ask('GET', `/connections/username/${encodeURIComponent(name)}`)
    const parsed = Connections.safeParse(answer.json)
    if (answer.status !== 200 || !parsed.success) throw answer.nonsense('the list of connections')
    return parsed.data.length
  }

  /** Answered 204 whether there are any or not. */
  async closeConnections(name: string): Promise<void> {
    const answer = await this.#ask('DELETE', `/connections/username/${encodeURIComponent(name)}`)
    if (answer.status !== 204) throw answer.nonsense('the closing of connections')
  }

  /** Lets time go by. */
  async pause(milliseconds: number): Promise<void> {
    await new Promise<void>((done) => {
      AbortSignal.timeout(milliseconds).addEventListener('abort', () => done())
    })
  }

  async hasVhost(name: string): Promise<boolean> {
    const answer = await this.#ask('GET', `/vhosts/${encodeURIComponent(name)}`)
    if (answer.status === 404) return false
    if (answer.status !== 200) throw answer.nonsense('the virtual host')
    return true
  }

  /** @returns why not, where the server does not take it */
  async permit(
    user: string,
    vhost: string,
    patterns: Readonly<Record<'configure' | 'write' | 'read', string>>,
  ): Promise<string | undefined> {
    const answer = await this.#ask('PUT', `/permissions/${encodeURIComponent(vhost)}/${encodeURIComponent(user)}`, patterns)
    if (answer.status === 201 || answer.status === 204) return undefined
    if (answer.status === 400) return 'the server does not take these permissions'
    throw answer.nonsense('the permissions')
  }

  #written(answer: HttpAnswer): Written {
    if (answer.status === 201) return 'made'
    if (answer.status === 204) return 'changed'
    const { data } = Problem.safeParse(answer.json)
    // Two made it at the same moment, and the server has noticed.
    if (answer.status === 400 && JSON.stringify(data?.reason)?.includes('already_exists') === true) return 'taken'
    if (answer.status === 404 || (answer.status === 400 && JSON.stringify(data?.reason)?.includes('no_such_user') === true))
      return 'no-user'
    throw answer.nonsense('a change of a user')
  }

  async #ask(method: 'GET' | 'PUT' | 'DELETE', path: string, body?: object): Promise<HttpAnswer> {
    const answer = await this.#http.request(`${this.#settings.url.replace(/\/$/, '')}/api${path}`, {
      method,
      headers: { authorization: this.#authorization, accept: '*/*', 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    if (answer.status !== 401 && answer.status !== 403) return answer
    const { data } = Problem.safeParse(answer.json)
    const why = /administrator|access object|management/i.exec(JSON.stringify(data?.reason ?? ''))
    throw new IssuerRefused(
      why === null
        ? `RabbitMQ: the server does not let the admin user in (${answer.status})`
        : `RabbitMQ: the admin user lacks the tag administrator (${answer.status})`,
    )
  }
}

export const newHttp = ({ timeoutMilliseconds, ca }: Settings, now: () => number): Http =>
  new Http({ name: 'RabbitMQ', timeoutMilliseconds, now, maximumBytes: MAXIMUM_BYTES, ...(ca === undefined ? {} : { ca }) })
