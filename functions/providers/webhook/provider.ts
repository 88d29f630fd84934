import type {
  Answer,
  Discovered,
  Issued,
  IssuerHandle,
  LeverAnswer,
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
import { Http } from '../http.ts'
import type { AnswerTo, Body, Endpoint } from './client.ts'
import { openEndpoint } from './client.ts'
import type { Grants, Lever, Secret, Settings, Target } from './definition.ts'
import { definition } from './definition.ts'

type HandleSubject = Subject<Target, Secret>
type Batch = readonly HandleSubject[]
type BatchVerb = 'revoke' | 'verify' | 'restore' | 'tidy'
type Leases = Body<BatchVerb>

/** After this no further request of a batch is begun, so that one batch stays below `limits.callSeconds`. */
const BATCH_MILLISECONDS = 20_000
/** A hundred leases with long ids, and a full page of a list. */
const MAXIMUM_BYTES = 2_097_152
const LONGEST_SAID = 500
const LONGEST_WAIT_SECONDS = 3600
/** A handle below this could be a word of any sentence. */
const SHORTEST_SCRUBBED = 4

export const provider: ProviderModule<Target, Secret, Lever, Settings, Grants> = {
  definition,
  async connect(issuer, tools) {
    const connected = new WebhookProvider(issuer, tools)
    await connected.open()
    return connected
  },
}

/** What a request that failed as a whole means for one of its leases; `begun`: it was sent. */
type Failed<Result> = (said: string, begun: boolean, error?: IssuerThrottled | IssuerUnavailable) => Result

class WebhookProvider implements Provider<Target, Secret, Lever> {
  readonly #settings: Settings
  readonly #tools: Tools
  readonly #http: Http

  constructor(issuer: IssuerHandle<Settings>, tools: Tools) {
    this.#settings = issuer.settings
    this.#tools = tools
    const { timeoutMilliseconds, ca } = issuer.settings
    this.#http = new Http({
      name: 'webhook',
      timeoutMilliseconds,
      now: () => tools.now(),
      maximumBytes: MAXIMUM_BYTES,
      ...(ca === undefined ? {} : { ca }),
    })
  }

  /** Before any effect the receiver shows who it is and that it knows the key; the secret and its abilities are read anew. */
  async open(): Promise<{ readonly endpoint: Endpoint; readonly described: AnswerTo<'describe'> }> {
    const endpoint = openEndpoint(this.#settings, await this.#tools.adminSecret(), this.#http, () => this.#tools.now())
    return { endpoint, described: await endpoint.ask('describe', {}) }
  }

  async revoke(batch: Batch, warrant: Warrant): Promise<Answer[]> {
    return await this.#batch<Answer>(batch, warrant, {
      verb: 'revoke',
      ask: async (endpoint, leases) =>
        (await endpoint.ask('revoke', leases)).answers.map(({ lease, ...answer }) => ({ lease, answer })),
      lacking: { status: 'unsupported', said: lacks('revoke') },
      failed: failedCut,
    })
  }

  async verify(batch: Batch, warrant: Warrant): Promise<Liveness[]> {
    return await this.#batch<Liveness>(batch, warrant, {
      verb: 'verify',
      ask: async (endpoint, leases) =>
        (await endpoint.ask('verify', leases)).answers.map(({ lease, ...answer }) => ({ lease, answer })),
      lacking: { status: 'unknown', said: lacks('verify') },
      failed: (said, _begun, error) => ({ status: 'unknown', said, ...hintOf(error) }),
    })
  }

  async tidy(batch: Batch, warrant: Warrant): Promise<Answer[]> {
    return await this.#batch<Answer>(batch, warrant, {
      verb: 'tidy',
      ask: async (endpoint, leases) =>
        (await endpoint.ask('tidy', leases)).answers.map(({ lease, ...answer }) => ({ lease, answer })),
      lacking: { status: 'absent', said: `nothing to delete: ${lacks('tidy')}` },
      failed: failedCut,
    })
  }

  async restore(batch: Batch, warrant: Warrant): Promise<Restored[]> {
    return await this.#batch<Restored>(batch, warrant, {
      verb: 'restore',
      ask: async (endpoint, leases) =>
        (await endpoint.ask('restore', leases)).answers.map(({ lease, ...answer }) => ({ lease, answer })),
      lacking: { status: 'refused', said: lacks('restore') },
      failed: (said, _begun, error) => ({ status: 'retry', said, ...hintOf(error) }),
    })
  }

  contain(lever: Lever, warrant: Warrant): Promise<LeverAnswer> {
    return this.#pull('contain', lever, warrant)
  }

  release(lever: Lever, warrant: Warrant): Promise<LeverAnswer> {
    return this.#pull('release', lever, warrant)
  }

  async issue(order: Order<Grants>): Promise<Issued<Target, Secret, Lever>> {
    const { endpoint, described } = await this.open()
    if (!described.verbs.includes('issue')) return { status: 'refused', said: lacks('issue') }
    const { name, grants, expiresAt } = order
    let answer: AnswerTo<'issue'>['answer']
    try {
      answer = (await endpoint.ask('issue', { order: { name, grants, expiresAt } })).answer
    } catch (error) {
      if (!(error instanceof IssuerUnavailable)) throw error
      return { status: 'retry', said: error.message, effect: 'unknown', ...hintOf(error) }
    }
    if (answer.status !== 'issued') return cleaned(answer)
    // Whoever ordered must be able to cut it by the name alone, should this answer get lost.
    if (answer.target.id !== name) throw new IssuerRefused('webhook: the endpoint mints under another name than ordered')
    const { handle, said, ...issued } = answer
    const secrets = [...Object.values(answer.credential), ...(handle === undefined ? [] : [handle])]
    return { ...issued, said: clean(said, secrets), ...(handle === undefined ? {} : { secret: { handle } }) }
  }

  async discover(from: string | undefined, most: number): Promise<Discovered<Target>> {
    const { endpoint, described } = await this.open()
    if (!described.verbs.includes('discover')) return { status: 'unknown', said: lacks('discover') }
    const { listed, next } = await endpoint.ask('discover', { most, ...(from === undefined ? {} : { from }) })
    if (listed.length > most) throw new IssuerUnavailable('webhook: the endpoint lists more than was asked for')
    return { status: 'page', listed, ...(next === undefined ? {} : { next }) }
  }

  async close(): Promise<void> {
    this.#http.close()
  }

  async #pull(verb: 'contain' | 'release', lever: Lever, warrant: Warrant): Promise<LeverAnswer> {
    const { endpoint, described } = await this.open()
    if (!described.verbs.includes(verb)) return { status: 'unsupported', said: lacks(verb) }
    const { answer } = await endpoint.ask(verb, { lever, warrant: warrantOf(warrant) })
    return cleaned(answer)
  }

  /** Sends a batch in requests of the size that the endpoint takes, and puts its answers in order. */
  async #batch<Result extends Said>(batch: Batch, warrant: Warrant, work: Work<Result>): Promise<Result[]> {
    const { verb, lacking, failed } = work
    if (batch.length === 0) return []
    const { endpoint, described } = await this.open()
    if (!described.verbs.includes(verb)) return batch.map(() => lacking)
    const end = this.#tools.now() + BATCH_MILLISECONDS
    const ask = (piece: Batch) => answersOf(work, endpoint, piece, warrant, described.wantsHandle)
    const results: Result[] = []
    /** Pieces to send, the first at the end. Where one fails as a whole, its leases follow one by one: one may be poisoned. */
    const pieces = slices(batch, described.batch).reverse()
    let stopped: { readonly said: string; readonly error?: IssuerThrottled } | undefined
    let last: IssuerUnavailable | undefined
    let answered = 0
    for (let piece = pieces.pop(); piece !== undefined; piece = pieces.pop()) {
      if (stopped === undefined && this.#tools.now() > end)
        stopped = { said: 'the batch took too long, this lease was not begun' }
      if (stopped !== undefined) {
        const { said, error } = stopped
        results.push(...piece.map(() => failed(said, false, error)))
        continue
      }
      try {
        results.push(...(await ask(piece)))
        answered += 1
      } catch (error) {
        if (error instanceof IssuerThrottled && answered > 0) {
          stopped = { said: error.message, error }
          pieces.push(piece)
        } else if (!(error instanceof IssuerUnavailable)) throw error
        else {
          last = error
          if (piece.length > 1) pieces.push(...slices(piece, 1).reverse())
          else results.push(failed(error.message, true, error))
        }
      }
    }
    // Not one request of several was answered: that is no lease's trouble.
    if (answered === 0 && last !== undefined && batch.length > 1) throw last
    return results
  }
}

interface Said {
  readonly said: string
  readonly afterSeconds?: number
}

/** What is asked of each lease of a batch, and what stands for its answer where there is none. */
interface Work<Result> {
  readonly verb: BatchVerb
  ask(endpoint: Endpoint, leases: Leases): Promise<readonly { readonly lease: string; readonly answer: Result }[]>
  readonly lacking: Result
  readonly failed: Failed<Result>
}

async function answersOf<Result extends Said>(
  work: Work<Result>,
  endpoint: Endpoint,
  piece: Batch,
  warrant: Warrant,
  wantsHandle: boolean,
): Promise<Result[]> {
  const leases = piece.map(({ lease, target, secret }) => ({
    lease,
    key: `${warrant.case}:${lease}`,
    target,
    ...(wantsHandle && secret !== undefined ? { handle: secret.handle } : {}),
  }))
  const answers = await work.ask(endpoint, { leases, warrant: warrantOf(warrant) })
  const inOrder = answers.length === piece.length && answers.every(({ lease }, index) => lease === piece[index]?.lease)
  if (!inOrder) throw new IssuerUnavailable('webhook: the endpoint does not answer for each lease in order')
  return answers.map(({ answer }, index) => {
    const handle = piece[index]?.secret?.handle
    return cleaned(answer, handle === undefined ? [] : [handle])
  })
}

const lacks = (verb: string) => `the endpoint's description names no ${verb}`

const warrantOf = ({ case: caseId, lane, epoch, fencedAt }: Warrant) => ({ case: caseId, lane, epoch, fencedAt })

const slices = (batch: Batch, size: number): Batch[] =>
  Array.from({ length: Math.ceil(batch.length / size) }, (_, index) => batch.slice(index * size, (index + 1) * size))

const failedCut: Failed<Answer> = (said, begun, error) => ({
  status: 'retry',
  said,
  // Whoever is throttled has done nothing.
  effect: begun && !(error instanceof IssuerThrottled) ? 'unknown' : 'none',
  ...hintOf(error),
})

const hintOf = (error: IssuerThrottled | IssuerUnavailable | undefined) => ({
  ...(error?.afterSeconds === undefined ? {} : { afterSeconds: error.afterSeconds }),
  ...(error instanceof IssuerThrottled ? { throttled: true as const } : {}),
})

/** The endpoint's words are kept as evidence: bounded, printable, and without what it was told in confidence. */
function clean(said: string, secrets: readonly string[]): string {
  let text = said.toWellFormed()
  for (const secret of secrets) if (secret.length >= SHORTEST_SCRUBBED) text = text.replaceAll(secret, '(secret)')
  return text.replaceAll(/[\p{Cc}\u2028\u2029]+/gu, ' ').slice(0, LONGEST_SAID)
}

function cleaned<Result extends Said>(result: Result, secrets: readonly string[] = []): Result {
  const { afterSeconds } = result
  const said = clean(result.said, secrets)
  return afterSeconds === undefined
    ? { ...result, said }
    : { ...result, said, afterSeconds: Math.min(afterSeconds, LONGEST_WAIT_SECONDS) }
}
