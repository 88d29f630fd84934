import type { Answer, Liveness, Provider, ProviderModule, Subject, Tools, Warrant } from '../contract.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../contract.ts'
import type { Settings, Target } from './definition.ts'
import { definition } from './definition.ts'

/** Somebody's certificate: well-formed, and nobody has its key. */
const CERTIFICATE = [
  '-----BEGIN CERTIFICATE-----',
  'MIIBiTCCAS+gAwIBAgIUSqGgGukf2feZyzrGiOz0T7McBXYwCgYIKoZIzj0EAwIw',
  'GTEXMBUGA1UEAwwORmFrZSBBdXRob3JpdHkwIBcNMjYxMTIyMTQwMzAzWhgPMjEy',
  'NjEwMjkxNDAzMDNaMBkxFzAVBgNVBAMMDkZha2UgQXV0aG9yaXR5MFkwEwYHKoZI',
  'zj0CAQYIKoZIzj0DAQcDQgAEcM2iIQdI8RVJolKA6F8ONs2c35V1bEU1/08qy/IP',
  'H2vWx/fUprnggkcfCzB822pkNiXlNn51iZIUNjmDi2I8gKNTMFEwHQYDVR0OBBYE',
  'FFXfUwoqtVNqnj0yqKBWERFpGiz9MB8GA1UdIwQYMBaAFFXfUwoqtVNqnj0yqKBW',
  'ERFpGiz9MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAKxQYF4p',
  'B79WIb0a7wEiYNw+ZdvN3hZtALQMjbxrRoB1AiA8miJCbE3JCtz1c0bR6Mkli+1s',
  '4ZChXtnT+KE1iIhSyw==',
  '-----END CERTIFICATE-----',
].join('\n')

type Batch = readonly Subject<Target, never>[]

/**
 * An authority in memory that behaves as step-ca's published API does: it takes any serial, whether it gave it or not, says
 * of one that it was revoked before, and lists all of them; renewal is refused, open connections live on. Deterministic.
 */
export class FakeAuthority {
  readonly admin = { provisioner: 'rescind', key: { kty: 'EC', kid: 'fake' } }
  readonly url = 'https://ca.fake'
  readonly module: ProviderModule<Target, never, never, Settings> = {
    definition,
    connect: (issuer, tools) => this.#connect(issuer.settings, tools),
  }
  readonly revoked = new Set<string>()
  /** What the revocation list holds: all that is revoked, unless lists are made on a schedule. */
  readonly listed = new Set<string>()
  /** The list is made anew at each revocation. */
  atOnce = true
  fault: 'none' | 'down' | 'refused' | 'other' | 'throttled' = 'none'
  /** Every call that reached the authority, in order. */
  readonly calls: { readonly method: string; readonly size: number }[] = []
  #serials = 0n

  settings(overrides: Partial<Settings> = {}): Settings {
    return { url: this.url, authority: CERTIFICATE, timeoutMilliseconds: 5000, ...overrides }
  }

  certify(): string {
    this.#serials += 1n
    return String((this.#serials << 64n) + 7n)
  }

  publish(): void {
    for (const serial of this.revoked) this.listed.add(serial)
  }

  async #connect(settings: Settings, tools: Tools): Promise<Provider<Target, never, never>> {
    const authenticate = async () => {
      if ((await tools.adminSecret()) !== JSON.stringify(this.admin)) {
        throw new IssuerRefused("X.509: the authority refuses the admin's token (401)")
      }
    }
    await authenticate()
    this.#enter('connect', 0, settings)
    return {
      revoke: async (batch: Batch) => {
        if (batch.length === 0) return []
        this.#enter('revoke', batch.length, settings)
        await authenticate()
        return batch.map(({ target }) => this.#revoke(target))
      },
      verify: async (batch: Batch, warrant: Warrant) => {
        if (batch.length === 0) return []
        this.#enter('verify', batch.length, settings)
        return batch.map(({ target }) => this.#liveness(target, tools.now(), warrant))
      },
      locate: async () => {
        this.#enter('locate', 1, settings)
        return { status: 'unknown', said: 'the fake signs nothing' }
      },
      close: async () => undefined,
    }
  }

  #enter(method: string, size: number, settings: Settings): void {
    if (this.fault === 'down') throw new IssuerUnavailable('X.509: no connection (ECONNREFUSED)')
    if (this.fault === 'throttled') throw new IssuerThrottled('X.509: the server answers 429', { afterSeconds: 7 })
    if (this.fault === 'refused') throw new IssuerRefused("X.509: the authority refuses the admin's token (401)")
    if (this.fault === 'other' || settings.url !== this.url) throw new IssuerRefused('X.509: another authority answers here')
    this.calls.push({ method, size })
  }

  #revoke({ serial }: Target): Answer {
    const open = 'TLS sessions that are open live on'
    if (this.revoked.has(serial)) return { status: 'absent', said: `the authority says that it was revoked before; ${open}` }
    this.revoked.add(serial)
    if (this.atOnce) this.publish()
    const where = this.atOnce ? 'on the revocation list' : 'not yet on the revocation list'
    return { status: 'revoked', said: `accepted by the authority, which renews it no more; ${open}; ${where}` }
  }

  #liveness({ serial, notAfter }: Target, now: number, { fencedAt }: Warrant): Liveness {
    if (this.listed.has(serial)) return { status: 'dead', said: 'on the revocation list' }
    if (notAfter !== undefined && Date.parse(notAfter) <= now) return { status: 'dead', said: `ended at ${notAfter}` }
    // Without a list at each revocation its last one is older than whatever was cut.
    if (!this.atOnce) return { status: 'unknown', said: `the revocation list is older than the cut of ${fencedAt}` }
    return { status: 'alive', said: 'not on the revocation list' }
  }
}
