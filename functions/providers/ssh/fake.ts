import type { KeyObject } from 'node:crypto'
import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto'
import type { ProviderModule } from '../contract.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../contract.ts'
import type { Host, Look, Session } from './agent.ts'
import { hashOf } from './agent.ts'
import type { Lever, Settings, Target } from './definition.ts'
import type { Entry } from './held.ts'
import { Held } from './held.ts'
import { sshModule } from './module.ts'
import { fingerprintOf, string, uint32, uint64 } from './wire.ts'

/** A certificate that the fake's authority signed. */
export interface FakeCertificate {
  readonly serial: bigint
  readonly keyId: string
  readonly fingerprint: string
  /** As one line of a file. */
  readonly text: string
}

interface FakeHost {
  readonly name: string
  bytes: Buffer
  sessions: Session[]
}

const CERTIFICATE = 'ssh-ed25519-cert-v01@openssh.com'
/** What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410). */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')

const keyOf = (name: string): KeyObject =>
  createPrivateKey({
    key: Buffer.concat([PKCS8, createHash('sha256').update(`a key of the fake: ${name}`).digest()]),
    format: 'der',
    type: 'pkcs8',
  })

function publicBlob(key: KeyObject): Buffer {
  const { x = '' } = createPublicKey(key).export({ format: 'jwk' })
  return Buffer.concat([string('ssh-ed25519'), string(Buffer.from(x, 'base64url'))])
}

/**
 * Hosts in memory whose sshd does what sshd(8) and OpenSSH's PROTOCOL.krl say: it reads the revocation list at each login
 * and refuses a certificate by its serial, its key id or its key; sessions live on until they are ended. Their agent
 * answers as host/rescind-ssh does. Deterministic.
 */
export class FakeSsh {
  readonly admin = { user: 'rescind', privateKey: 'fake-private-key' }
  readonly #signer: KeyObject
  readonly #authority: Buffer
  /** The authority's fingerprint. */
  readonly ca: string
  readonly hosts: readonly FakeHost[]
  /** Of the admin's key. */
  readonly adminKey = this.#fingerprint('admin')
  fault: 'none' | 'down' | 'refused' | 'other' | 'throttled' = 'none'
  /** Names of hosts that cannot be reached. */
  readonly away = new Set<string>()
  /** Every request that reached a host, in order. */
  readonly calls: { readonly host: string; readonly method: keyof Host }[] = []
  #pid = 100

  readonly module: ProviderModule<Target, never, Lever, Settings> = sshModule((settings) => ({
    dial: (secret) => {
      if (secret !== JSON.stringify(this.admin)) throw new IssuerRefused('SSH: the admin key is refused')
      return {
        addresses: settings.hosts.map(({ name }) => ({ name, open: async () => this.#open(name) })),
        adminKey: this.adminKey,
      }
    },
    close: () => undefined,
  }))

  /** `authority`: another name is another authority. */
  constructor(names: readonly string[] = ['web-1'], authority = 'authority') {
    this.#signer = keyOf(authority)
    this.#authority = publicBlob(this.#signer)
    this.ca = fingerprintOf(this.#authority)
    this.hosts = names.map((name) => ({ name, bytes: Buffer.alloc(0), sessions: [] }))
  }

  settings(overrides: Partial<Settings> = {}): Settings {
    const fingerprints = [this.#fingerprint('host key')]
    return {
      hosts: this.hosts.map(({ name }) => ({ name, host: `${name}.fake`, port: 22, fingerprints })),
      authorities: [{ publicKey: `ssh-ed25519 ${this.#authority.toString('base64')}` }],
      sessions: { mode: 'end' },
      timeoutMilliseconds: 5000,
      ...overrides,
    }
  }

  certify(serial: bigint, keyId: string): FakeCertificate {
    const key = keyOf(`key ${serial}`)
    const { x = '' } = createPublicKey(key).export({ format: 'jwk' })
    const [user, forever] = [1, 0xffff_ffff_ffff_ffffn]
    const signed = Buffer.concat([
      ...[CERTIFICATE, 'a nonce', Buffer.from(x, 'base64url')].map(string),
      ...[uint64(serial), uint32(user), string(keyId), string(string('deploy')), uint64(0n), uint64(forever)],
      ...['', '', '', this.#authority].map(string),
    ])
    const seal = Buffer.concat([string('ssh-ed25519'), string(sign(null, signed, this.#signer))])
    const text = `${CERTIFICATE} ${Buffer.concat([signed, string(seal)]).toString('base64')}`
    return { serial, keyId, text, fingerprint: fingerprintOf(publicBlob(key)) }
  }

  /** Whether every host lets it in. */
  honours(certificate: FakeCertificate): boolean {
    return this.hosts.every(({ bytes }) => !this.#refuses(new Held(bytes), certificate))
  }

  /** @returns the session, on the first host */
  login({ serial, keyId, fingerprint }: FakeCertificate): { readonly open: boolean } {
    const [host] = this.hosts
    if (host === undefined) throw new RangeError('a fleet without hosts')
    this.#pid += 1
    const certificate = { ca: this.ca, serial, keyId: Buffer.from(keyId).toString('latin1') }
    const session = { pid: this.#pid, start: String(this.#pid * 10), fingerprint, certificate }
    host.sessions.push(session)
    return {
      get open() {
        return host.sessions.includes(session)
      },
    }
  }

  #refuses(held: Held, { serial, keyId, fingerprint }: FakeCertificate): boolean {
    const entries: Entry[] = [
      { kind: 'key', fingerprint },
      { kind: 'certificate', authority: this.#authority, serial },
      { kind: 'key-id', authority: this.#authority, keyId: Buffer.from(keyId).toString('latin1') },
    ]
    return entries.some((entry) => held.has(entry))
  }

  #fingerprint(name: string): string {
    return fingerprintOf(Buffer.from(name))
  }

  #reach(name: string): FakeHost {
    const host = this.hosts.find((one) => one.name === name)
    if (this.fault === 'down' || this.away.has(name) || host === undefined) {
      throw new IssuerUnavailable(`SSH: ${name}: no connection (ECONNREFUSED)`)
    }
    if (this.fault === 'throttled') throw new IssuerThrottled('SSH: too many connections', { afterSeconds: 7 })
    if (this.fault === 'refused') throw new IssuerRefused(`SSH: ${name}: the admin key is refused`)
    if (this.fault === 'other') throw new IssuerRefused(`SSH: ${name}: another host answers here`)
    return host
  }

  #open(name: string): { readonly host: Host; readonly first: Look } {
    const asked = (method: keyof Host): Look => {
      const { bytes, sessions } = this.#reach(name)
      this.calls.push({ host: name, method })
      return { bytes, sees: 'seen', sessions: [...sessions], strangers: 0 }
    }
    const host: Host = {
      look: async () => asked('look'),
      put: async (old, bytes) => {
        const there = this.#reach(name)
        if (hashOf(there.bytes) !== old) return 'changed'
        there.bytes = bytes
        return asked('put')
      },
      end: async (ended) => {
        const there = this.#reach(name)
        there.sessions = there.sessions.filter(({ pid, start }) => !ended.some((one) => one.pid === pid && one.start === start))
        return asked('end')
      },
      close: () => undefined,
    }
    return { host, first: asked('look') }
  }
}
