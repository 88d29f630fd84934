import type {
  Answer,
  Issued,
  Listed,
  Liveness,
  Order,
  Provider,
  ProviderModule,
  Restored,
  Subject,
  Tools,
  Warrant,
} from '../contract.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../contract.ts'
import type { Grants, Lever, Secret, Settings, Target } from './definition.ts'
import { definition } from './definition.ts'

type Batch = readonly Subject<Target, Secret>[]

interface Kept {
  readonly target: Target & { readonly incarnation: string }
  readonly identity: string | undefined
  readonly pinned: boolean
  sessions: number
  /** The case that cut it. */
  cutBy: string | undefined
}

/**
 * A customer's endpoint and the credentials behind it, in memory: made from docs/webhook.md. It has every verb that the
 * contract knows. Deterministic.
 */
export class FakeWebhook {
  readonly admin = { signingSecret: `whsec_${Buffer.from('a key of the fake endpoint, 32 b').toString('base64')}` }
  readonly receiver = 'fake-receiver'
  readonly module: ProviderModule<Target, Secret, Lever, Settings, Grants> = {
    definition,
    connect: (issuer, tools) => this.#connect(issuer.settings, tools),
  }
  fault: 'none' | 'down' | 'refused' | 'other' | 'throttled' = 'none'
  /** Every call that reached the endpoint, in order. */
  readonly calls: { readonly method: string; readonly size: number }[] = []
  readonly #kept = new Map<string, Kept>()
  readonly #contained = new Map<string, Set<number>>()
  #serial = 0

  settings(overrides: Partial<Settings> = {}): Settings {
    return { endpoint: 'https://endpoint.fake/', receiver: this.receiver, timeoutMilliseconds: 5000, ...overrides }
  }

  /** A credential of this id; one that was there before is gone. */
  mint(id: string, options: { identity?: string; pinned?: boolean } = {}): Kept['target'] {
    this.#serial += 1
    const target = { id, incarnation: `incarnation-${this.#serial}` }
    this.#kept.set(id, { target, identity: options.identity, pinned: options.pinned === true, sessions: 0, cutBy: undefined })
    return target
  }

  honours(target: Target): boolean {
    const kept = this.#find(target)
    return kept !== undefined && this.#usable(kept)
  }

  open(target: Target): void {
    const kept = this.#find(target)
    if (kept !== undefined && this.#usable(kept)) kept.sessions += 1
  }

  sessions(target: Target): number {
    return this.#find(target)?.sessions ?? 0
  }

  async #connect(settings: Settings, tools: Tools): Promise<Provider<Target, Secret, Lever>> {
    if ((await tools.adminSecret()) !== JSON.stringify(this.admin)) {
      throw new IssuerRefused('webhook: the endpoint refuses our signature (401)')
    }
    this.#enter('connect', 0, settings)
    const each =
      <Result>(method: string, answer: (subject: Subject<Target, Secret>, warrant: Warrant) => Result) =>
      async (batch: Batch, warrant: Warrant) => {
        this.#enter(method, batch.length, settings)
        return batch.map((subject) => answer(subject, warrant))
      }
    return {
      revoke: each('revoke', (subject, warrant) => this.#revoke(subject, warrant)),
      verify: each('verify', ({ target }) => this.#verify(target)),
      restore: each('restore', ({ target }) => this.#restore(target)),
      tidy: each('tidy', ({ target }) => this.#tidy(target)),
      contain: async ({ identity }, { epoch }) => {
        this.#enter('contain', 1, settings)
        this.#contained.set(identity, (this.#contained.get(identity) ?? new Set()).add(epoch))
        for (const kept of this.#kept.values()) if (kept.identity === identity) kept.sessions = 0
        return { status: 'done', said: 'the identity is shut out' }
      },
      release: async ({ identity }, { epoch }) => {
        this.#enter('release', 1, settings)
        const epochs = this.#contained.get(identity)
        epochs?.delete(epoch)
        if (epochs?.size === 0) this.#contained.delete(identity)
        return { status: 'done', said: 'the identity is shut out no longer' }
      },
      issue: async (order) => {
        this.#enter('issue', 1, settings)
        return this.#issue(order)
      },
      discover: async (from, most) => {
        this.#enter('discover', most, settings)
        return this.#list(from, most)
      },
      close: async () => undefined,
    }
  }

  #enter(method: string, size: number, settings: Settings): void {
    if (this.fault === 'down') throw new IssuerUnavailable('webhook: no connection (ECONNREFUSED)')
    if (this.fault === 'throttled') throw new IssuerThrottled('webhook: the server answers 429', { afterSeconds: 7 })
    if (this.fault === 'refused') throw new IssuerRefused('webhook: the endpoint refuses our signature (401)')
    if (this.fault === 'other' || settings.receiver !== this.receiver) {
      throw new IssuerRefused(`webhook: the endpoint is not receiver ${settings.receiver} (421)`)
    }
    this.calls.push({ method, size })
  }

  #find({ id, incarnation }: Target): Kept | undefined {
    const kept = this.#kept.get(id)
    return incarnation === undefined || kept?.target.incarnation === incarnation ? kept : undefined
  }

  #usable({ cutBy, identity }: Kept): boolean {
    return cutBy === undefined && !(identity !== undefined && this.#contained.has(identity))
  }

  #revoke({ target }: Subject<Target, Secret>, warrant: Warrant): Answer {
    const kept = this.#find(target)
    if (kept === undefined) return { status: 'absent', said: 'there is no such credential' }
    if (kept.pinned) return { status: 'irrevocable', said: 'the credential is pinned' }
    if (kept.cutBy !== undefined && kept.sessions === 0) return { status: 'absent', said: 'the credential was cut before' }
    kept.cutBy ??= warrant.case
    const ended = kept.sessions
    kept.sessions = 0
    return { status: 'revoked', said: `the credential is cut, ${ended} sessions are ended` }
  }

  #verify(target: Target): Liveness {
    const kept = this.#find(target)
    if (kept === undefined) return { status: 'dead', said: 'there is no such credential' }
    return kept.cutBy === undefined || kept.sessions > 0
      ? { status: 'alive', said: 'the credential is valid, or has a session' }
      : { status: 'dead', said: 'the credential is cut' }
  }

  #restore(target: Target): Restored {
    const kept = this.#find(target)
    if (kept === undefined) return { status: 'gone', said: 'there is no such credential' }
    kept.cutBy = undefined
    return { status: 'restored', said: 'the credential is valid' }
  }

  #tidy(target: Target): Answer {
    const kept = this.#find(target)
    if (kept === undefined) return { status: 'absent', said: 'there is no such credential' }
    if (kept.cutBy === undefined) return { status: 'irrevocable', said: 'the credential is valid: not deleted' }
    this.#kept.delete(target.id)
    return { status: 'revoked', said: 'the credential is deleted' }
  }

  #issue({ name, expiresAt }: Order): Issued<Target, Secret, Lever> {
    if (this.#kept.has(name)) return { status: 'refused', said: 'the name is taken' }
    const target = this.mint(name)
    return { status: 'issued', said: 'a new credential', target, credential: { token: `token-${target.incarnation}` }, expiresAt }
  }

  #list(from: string | undefined, most: number) {
    const behind = [...this.#kept.keys()].filter((id) => from === undefined || id > from).sort()
    const page = behind.slice(0, most)
    const listed = page.flatMap((id): Listed<Target>[] => {
      const kept = this.#kept.get(id)
      return kept === undefined
        ? []
        : [{ target: kept.target, shown: JSON.stringify(id).slice(0, 120), usable: this.#usable(kept) }]
    })
    const last = page.at(-1)
    return { status: 'page' as const, listed, ...(behind.length > most && last !== undefined ? { next: last } : {}) }
  }
}
