import { X509Certificate } from 'node:crypto'
import type {
  Answer,
  Clue,
  IssuerHandle,
  Liveness,
  Located,
  Provider,
  ProviderModule,
  Subject,
  Tools,
  Warrant,
} from '../contract.ts'
import { IssuerError, IssuerThrottled } from '../contract.ts'
import { Http } from '../http.ts'
import type { AuthorityClient, Revocation } from './authority.ts'
import { openAuthority } from './authority.ts'
import type { CertificateList } from './crl.ts'
import type { Settings, Target } from './definition.ts'
import { definition } from './definition.ts'

type Batch = readonly Subject<Target, never>[]

const AT_ONCE = 5
/** No further certificate is begun after this, so that one batch stays below `limits.callSeconds`. */
const BATCH_MILLISECONDS = 20_000
/** Half a million entries. */
const MOST_BYTES = 33_554_432
const OPEN = 'TLS sessions that are open live on'

export const provider: ProviderModule<Target, never, never, Settings> = {
  definition,
  async connect(issuer, tools) {
    const connected = new X509Provider(issuer, tools)
    const authority = await connected.open()
    await authority.list()
    await authority.checkAdmin()
    return connected
  },
}

class X509Provider implements Provider<Target, never, never> {
  readonly #settings: Settings
  readonly #tools: Tools
  readonly #http: Http

  constructor({ settings }: IssuerHandle<Settings>, tools: Tools) {
    this.#settings = settings
    this.#tools = tools
    const { timeoutMilliseconds, ca } = settings
    this.#http = new Http({
      ...{ name: 'X.509', timeoutMilliseconds, now: tools.now, maximumBytes: MOST_BYTES },
      ...(ca === undefined ? {} : { ca }),
    })
  }

  /** The secret is read anew for each batch; the list, which shows whose authority answers, too. */
  async open(): Promise<AuthorityClient> {
    return openAuthority(this.#settings, await this.#tools.adminSecret(), this.#http, this.#tools.now)
  }

  async revoke(batch: Batch, warrant: Warrant): Promise<Answer[]> {
    if (batch.length === 0) return []
    const authority = await this.open()
    const before = await authority.list()
    const done = await this.#each(batch, async ({ target: { serial } }): Promise<Revocation> => {
      // A list that is over may lack what has been asked for since; one that has the serial is right for ever.
      return before.revoked.has(serial) ? { status: 'before' } : await authority.revoke(serial, warrant)
    })
    const changed = done.some((one) => !(one instanceof Error) && one.status === 'accepted')
    const after = changed ? await authority.list().catch(issuerErrors) : before
    return batch.map(({ target }, index) => answerOf(target, done[index], before, after))
  }

  async verify(batch: Batch, warrant: Warrant): Promise<Liveness[]> {
    if (batch.length === 0) return []
    const list = await (await this.open()).list()
    return batch.map(({ target }) => this.#livenessOf(target, list, warrant))
  }

  async locate({ certificate }: Clue['query']): Promise<Located<Target, never>> {
    const list = await (await this.open()).list()
    if (certificate === undefined)
      return { status: 'unknown', said: 'the authority keeps no list of serials: show the certificate' }
    const shown = new X509Certificate(Buffer.from(certificate, 'base64'))
    const authority = new X509Certificate(this.#settings.authority)
    if (!shown.checkIssued(authority) || !shown.verify(authority.publicKey)) {
      return { status: 'unknown', said: 'this authority did not sign it' }
    }
    const serial = String(BigInt(`0x${shown.serialNumber}`))
    const notAfter = shown.validToDate.toISOString()
    const identity = spiffeIdOf(shown)
    return {
      status: 'found',
      said: `signed by the authority; ${list.revoked.has(serial) ? 'on' : 'not on'} its revocation list`,
      target: { serial, notAfter },
      expiresAt: notAfter,
      ...(identity === undefined ? {} : { identity }),
    }
  }

  async close(): Promise<void> {
    this.#http.close()
  }

  #livenessOf({ serial, notAfter }: Target, list: CertificateList, { fencedAt }: Warrant): Liveness {
    const since = list.revoked.get(serial)
    if (since !== undefined) return { status: 'dead', said: `on the ${nameOf(list)} since ${since}; ${OPEN}` }
    const now = this.#tools.now()
    if (notAfter !== undefined && Date.parse(notAfter) <= now) return { status: 'dead', said: `ended at ${notAfter}` }
    if (list.nextUpdate !== undefined && Date.parse(list.nextUpdate) <= now) {
      return { status: 'unknown', said: `the ${nameOf(list)} was over at ${list.nextUpdate}` }
    }
    if (Date.parse(list.thisUpdate) < Date.parse(fencedAt)) {
      return { status: 'unknown', said: `the ${nameOf(list)} is older than the cut: it was made at ${list.thisUpdate}` }
    }
    return { status: 'alive', said: `not on the ${nameOf(list)}, made at ${list.thisUpdate}` }
  }

  /** In order; an issuer's error fails the batch only while nothing has been answered. */
  async #each(batch: Batch, work: (subject: Batch[number]) => Promise<Revocation>): Promise<(Revocation | Late | IssuerError)[]> {
    const deadline = this.#tools.now() + BATCH_MILLISECONDS
    const done: (Revocation | Late | IssuerError)[] = []
    let stopped: Late | IssuerError | undefined
    for (let start = 0; start < batch.length; start += AT_ONCE) {
      const slice = batch.slice(start, start + AT_ONCE)
      if (stopped === undefined && this.#tools.now() > deadline) stopped = { status: 'late' }
      if (stopped !== undefined) {
        done.push(...slice.map((): Late => ({ status: 'late' })))
        continue
      }
      const results = await Promise.all(slice.map((subject) => work(subject).catch(issuerErrors)))
      const errors = results.filter((result) => result instanceof IssuerError)
      if (start === 0 && errors.length === results.length) {
        // Only where all were throttled nothing can have taken effect.
        const [first] = errors
        throw errors.find((error) => !(error instanceof IssuerThrottled)) ?? first ?? new Error('no error')
      }
      stopped = errors[0]
      done.push(...results)
    }
    return done
  }
}

/** Not begun: the batch took too long, or an error before it stopped it. */
interface Late {
  readonly status: 'late'
}

function issuerErrors(error: unknown): IssuerError {
  if (error instanceof IssuerError) return error
  throw error
}

function answerOf(
  { serial }: Target,
  done: Revocation | Late | IssuerError | undefined,
  before: CertificateList,
  after: CertificateList | IssuerError,
): Answer {
  if (done === undefined) throw new RangeError('a certificate without an answer')
  if (done instanceof IssuerError) {
    const throttled = done instanceof IssuerThrottled
    const hint = done.afterSeconds === undefined ? {} : { afterSeconds: done.afterSeconds }
    return {
      status: 'retry',
      said: done.message,
      effect: throttled ? 'none' : 'unknown',
      ...(throttled ? { throttled } : {}),
      ...hint,
    }
  }
  if (done.status === 'late')
    return { status: 'retry', said: 'X.509: the batch was stopped before this certificate', effect: 'none' }
  if (done.status === 'error') return { status: 'irrevocable', said: done.said }
  if (done.status === 'before') {
    const since = before.revoked.get(serial)
    const where =
      since === undefined ? 'the authority says that it was revoked before' : `on the ${nameOf(before)} since ${since}`
    return { status: 'absent', said: `${where}; ${OPEN}` }
  }
  const accepted = `accepted by the authority, which renews it no more; ${OPEN}`
  if (after instanceof IssuerError)
    return { status: 'revoked', said: `${accepted}; its list cannot be read now: ${after.message}` }
  if (after.revoked.has(serial)) return { status: 'revoked', said: `on the ${nameOf(after)}; ${accepted}` }
  const due = after.nextUpdate === undefined ? '' : `, the next one is due by ${after.nextUpdate}`
  return { status: 'revoked', said: `${accepted}; not yet on the ${nameOf(after)}${due}` }
}

const nameOf = ({ number }: CertificateList): string => (number === undefined ? 'revocation list' : `revocation list ${number}`)

/** The one URI of an X.509-SVID (SPIFFE X509-SVID, section 2). */
function spiffeIdOf({ subjectAltName }: X509Certificate): string | undefined {
  const found = subjectAltName?.split(', ').filter((name) => name.startsWith('URI:')) ?? []
  const uri = found[0]?.slice('URI:'.length)
  return found.length === 1 && uri !== undefined && /^spiffe:\/\/[\x21-\x7e]+$/.test(uri) ? uri : undefined
}
