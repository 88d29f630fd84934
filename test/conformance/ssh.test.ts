import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Lever, Target } from '../../functions/providers/ssh/definition.ts'
import { Settings } from '../../functions/providers/ssh/definition.ts'
import { FakeSsh } from '../../functions/providers/ssh/fake.ts'
import { provider as module } from '../../functions/providers/ssh/provider.ts'
import type { LocalSshd, Login } from '../../lib/local/issuers/sshd.ts'
import { missing, opensshVersion, seesSessions, startSshd } from '../../lib/local/issuers/sshd.ts'
import type { Credential, Harness } from './suite.ts'
import { conformance, startGate } from './suite.ts'

const lacking = missing ?? (seesSessions ? undefined : 'sshd shows its sessions to root alone')

const HOSTILE = [
  `'; DROP TABLE "x"`,
  '日本 🗝️',
  '*',
  '$(id) `id`',
  '(serial 1) CA ED25519 SHA256:x',
  'two\nlines',
  'x'.repeat(1000),
]

const credential = (server: LocalSshd, login: Login, target: Target): Credential<Target, never> => ({
  subject: { lease: login.text, target },
  secrets: [],
  works: () => server.honours(login),
  open: () => server.open(login),
})

async function start(): Promise<Harness<Target, never, Lever, Settings>> {
  const folder = await mkdtemp(join(tmpdir(), 'rescind-ssh-'))
  const server = await startSshd({ folder: join(folder, 'one') })
  // The same key of the admin, another host key, another authority.
  const other = await startSshd({ folder: join(folder, 'other'), adminOf: server })
  const gate = await startGate(server.port, other.port)
  const ca = server.authorityFingerprint
  const { text: foreign } = await other.certify({ serial: 1n, keyId: 'foreign' })
  let serial = 0n
  return {
    issuer: {
      name: 'fleet',
      settings: Settings.parse({
        hosts: [{ name: 'one', host: '127.0.0.1', port: gate.port, fingerprints: [server.fingerprint] }],
        authorities: [{ publicKey: server.authority }],
        timeoutMilliseconds: 5000,
      }),
    },
    adminSecret: JSON.stringify(server.admin),
    wrongSecret: JSON.stringify({ ...server.admin, privateKey: await server.privateKeyOf(await server.newKey()) }),
    faults: gate,
    repeated: 'revoked',
    async mint({ name, lever } = {}) {
      serial += 1n
      const own = serial
      const login = await server.certify({ serial: own, keyId: name ?? lever?.keyId ?? `job-${own}` })
      const target: Target =
        name === undefined ? { kind: 'certificate', ca, serial: String(own) } : { kind: 'key-id', ca, keyId: name }
      return credential(server, login, target)
    },
    neverExisted: () => ({
      subject: { lease: 'never', target: { kind: 'certificate', ca, serial: '18446744073709551615' } },
      status: 'revoked',
    }),
    poison: async () => ({
      subject: { lease: 'poison', target: { kind: 'certificate', ca: other.authorityFingerprint, serial: '1' } },
      status: 'irrevocable',
    }),
    hostileNames: [
      `'; DROP TABLE "x"`,
      '日本 🗝️',
      '*',
      '$(id) `id`',
      '(serial 1) CA ED25519 SHA256:x',
      'two\nlines',
      'x'.repeat(1000),
    ],
    named: (keyId) => ({ lease: 'named', target: { kind: 'key-id', ca, keyId } }),
    pasted: ({ subject: { lease } }) => (lease === 'never' ? [foreign] : [lease, ` "${lease}"\n`]),
    async lever() {
      serial += 1n
      return { ca, keyId: `identity ${serial}` }
    },
    async stop() {
      await gate.close()
      await Promise.all([server.stop(), other.stop()])
      await rm(folder, { recursive: true, force: true })
    },
  }
}

const SERIAL_ONCE = 'an authority gives a serial once: no later certificate has the same one'
const LACKS = {
  namesake: SERIAL_ONCE,
  'restore-namesake': SERIAL_ONCE,
  throttled: 'sshd drops connections that are too many, which looks like being down',
}

conformance(
  module,
  { against: 'real', counterpart: await opensshVersion(), ...(lacking === undefined ? {} : { missing: lacking }), lacks: LACKS },
  start,
  ['poison', 'nonsense', 'named'],
)

const fake = new FakeSsh()
const to = (fault: FakeSsh['fault']) => async () => {
  fake.fault = fault
}
const foreign = new FakeSsh(['elsewhere'], 'another authority').certify(1n, 'any').text
conformance(
  fake.module,
  {
    against: 'fake',
    counterpart: "sshd(8), OpenSSH's PROTOCOL.krl",
    lacks: { ...LACKS, nonsense: 'hosts in memory are asked by calls, not by bytes' },
  },
  async (): Promise<Harness<Target, never, Lever, Settings>> => {
    let serial = 0n
    const { ca } = fake
    return {
      issuer: { name: 'fleet', settings: fake.settings() },
      adminSecret: JSON.stringify(fake.admin),
      wrongSecret: JSON.stringify({ ...fake.admin, privateKey: 'another-private-key' }),
      faults: {
        down: to('down'),
        hang: to('down'),
        other: to('other'),
        heal: to('none'),
      },
      repeated: 'revoked',
      async mint({ name, lever } = {}) {
        serial += 1n
        const certificate = fake.certify(serial, name ?? lever?.keyId ?? `job-${serial}`)
        const target: Target =
          name === undefined ? { kind: 'certificate', ca, serial: String(serial) } : { kind: 'key-id', ca, keyId: name }
        return {
          subject: { lease: String(serial), target },
          secrets: [],
          works: async () => fake.honours(certificate),
          async open() {
            const session = fake.login(certificate)
            return { alive: async () => session.open, close: async () => undefined }
          },
        }
      },
      neverExisted: () => ({
        subject: { lease: 'never', target: { kind: 'certificate', ca, serial: '18446744073709551615' } },
        status: 'revoked',
      }),
      poison: async () => {
        const target: Target = { kind: 'key', fingerprint: fake.adminKey }
        return { subject: { lease: 'poison', target }, status: 'irrevocable' }
      },
      hostileNames: HOSTILE,
      named: (keyId) => ({ lease: 'named', target: { kind: 'key-id', ca, keyId } }),
      pasted: ({ subject: { lease, target } }) =>
        lease === 'never' || target.kind !== 'certificate' ? [foreign] : [fake.certify(BigInt(target.serial), 'any').text],
      async lever() {
        serial += 1n
        return { ca, keyId: `identity ${serial}` }
      },
      stop: async () => undefined,
    }
  },
  ['poison', 'named'],
)
