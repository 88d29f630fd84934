import '../../lib/local/issuers/reflect.ts'

import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { IssuerRefused, IssuerUnavailable } from '../../functions/providers/contract.ts'
import { readCertificateList, UnfitList } from '../../functions/providers/x509/crl.ts'
import { definition, Settings, Target } from '../../functions/providers/x509/definition.ts'
import { FakeAuthority } from '../../functions/providers/x509/fake.ts'
import { provider as module } from '../../functions/providers/x509/provider.ts'
import { recognise } from '../../functions/providers/x509/recognise.ts'
import type { PlayedAuthority } from '../../lib/local/issuers/authority.ts'
import { hexOf, KEYS, newProvisioner, newSigner, playAuthority } from '../../lib/local/issuers/authority.ts'
import { authorityHarness, LACKS } from '../support/authority-harness.ts'
import { mac } from '../support/mac.ts'
import type { Harness } from './suite.ts'
import { conformance, rejection, tools, WARRANT } from './suite.ts'

conformance(
  module,
  { against: 'fake', counterpart: "step-ca's published API, played over HTTP with real certificates", lacks: LACKS },
  async () => {
    const [authority, other] = [await playAuthority(), await playAuthority()]
    return await authorityHarness(authority, other, {
      throttled: async () => {
        authority.throttled = 7
        return 7
      },
      heal: () => {
        authority.throttled = undefined
      },
    })
  },
  ['nonsense', 'named', 'throttled'],
)

const fake = new FakeAuthority()
const to = (fault: FakeAuthority['fault']) => async () => {
  fake.fault = fault
}
conformance(
  fake.module,
  {
    ...{ against: 'fake', title: 'in memory', counterpart: "step-ca's published API" },
    lacks: {
      ...LACKS,
      nonsense: 'an authority in memory is asked by calls, not by bytes',
      locates: 'an authority in memory signs nothing that could be shown',
    },
  },
  async (): Promise<Harness<Target, never, never, Settings>> => {
    return {
      issuer: { name: 'ca', settings: fake.settings() },
      adminSecret: JSON.stringify(fake.admin),
      wrongSecret: JSON.stringify({ ...fake.admin, provisioner: 'somebody' }),
      faults: {
        ...{ down: to('down'), hang: to('down'), other: to('other'), heal: to('none') },
        throttled: async () => {
          fake.fault = 'throttled'
          return 7
        },
      },
      repeated: 'absent',
      async mint() {
        const serial = fake.certify()
        const session = { alive: async () => true, close: async () => undefined }
        return {
          subject: { lease: serial, target: { serial } },
          secrets: [],
          works: async () => !fake.listed.has(serial),
          open: async () => session,
        }
      },
      neverExisted: () => {
        const serial = fake.certify()
        return { subject: { lease: 'never', target: { serial } }, status: 'revoked' }
      },
      named: (serial) => ({ lease: 'named', target: { serial } }),
      pasted: ({ subject: { target } }) => [`serial=${hexOf(BigInt(target.serial))}`],
      stop: async () => undefined,
    }
  },
  ['named', 'throttled'],
)

describe('x509 alone', () => {
  let authority: PlayedAuthority
  beforeAll(async () => {
    authority = await playAuthority()
  })
  beforeEach(() => {
    authority.instead = undefined
    authority.atOnce = true
  })
  afterAll(() => authority.stop())
  const connect = (change: Partial<Settings> = {}, now?: () => number) => {
    const settings = Settings.parse({
      url: authority.url,
      authority: authority.certificate,
      timeoutMilliseconds: 5000,
      ...change,
    })
    const given = tools(JSON.stringify(authority.admin))
    return module.connect({ name: 'ca', settings }, now === undefined ? given : { ...given, now })
  }
  const mint = async () => {
    const { serial, notAfter, certificate } = await authority.certify('job')
    return { certificate, subject: { lease: serial, target: { serial, notAfter } } }
  }

  it('says honestly that nobody can tell a serial that was never given from one that was', async () => {
    const provider = await connect()
    const subject = { lease: 'never', target: { serial: '123456789' } }
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'absent' }])
  })

  it('takes "already revoked" (400) for gone also where no list shows it yet', async () => {
    authority.atOnce = false
    const provider = await connect()
    const { subject } = await mint()
    await authority.publish()
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([
      { status: 'revoked', said: expect.stringContaining('not yet on the revocation list, the next one is due by') },
    ])
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([
      { status: 'absent', said: expect.stringContaining('the authority says that it was revoked before') },
    ])
    const later = { ...WARRANT, fencedAt: new Date(Date.now() + 5000).toISOString() }
    expect(await provider.verify([subject], later)).toMatchObject([
      { status: 'unknown', said: expect.stringContaining('older than the cut') },
    ])
    await authority.publish(new Date(Date.now() + 6000))
    expect(await provider.verify([subject], later)).toMatchObject([{ status: 'dead' }])
  })

  it('asks nothing of the authority where its list has the serial already', async () => {
    const provider = await connect()
    const { subject } = await mint()
    await provider.revoke([subject], WARRANT)
    const before = authority.asked.length
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([
      { status: 'absent', said: expect.stringContaining('since 20') },
    ])
    expect(authority.asked).toHaveLength(before)
  })

  it('does not take a token that a broken connection used up for a refused admin', async () => {
    const provider = await connect()
    const { subject } = await mint()
    authority.breaks = true
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(authority.breaks).toBe(false)
  })

  it('gives the reason that relying parties go by: a compromise, or the end of an operation', async () => {
    const provider = await connect()
    await provider.revoke([(await mint()).subject], { ...WARRANT, lane: 'p0' })
    await provider.revoke([(await mint()).subject], WARRANT)
    expect(authority.asked.slice(-2).map(({ reasonCode }) => reasonCode)).toEqual([1, 5])
  })

  it('believes no list that is over, and calls nobody alive by it', async () => {
    const provider = await connect()
    const { subject } = await mint()
    await authority.publish(new Date(Date.now() - 7_200_000), new Date(Date.now() - 3_600_000))
    expect(await provider.verify([subject], WARRANT)).toMatchObject([
      { status: 'unknown', said: expect.stringContaining('was over at') },
    ])
    // What it does list stays revoked.
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    await authority.publish(new Date(Date.now() - 7_200_000), new Date(Date.now() - 3_600_000))
    expect(await provider.verify([subject], WARRANT)).toMatchObject([{ status: 'dead' }])
  })

  it('calls what has ended by itself dead, though no list has it', async () => {
    const { subject } = await mint()
    let ahead = 0
    const provider = await connect({}, () => Date.now() + ahead)
    ahead = 2 * 3_600_000
    expect(await provider.verify([subject], WARRANT)).toMatchObject([
      { status: 'dead', said: expect.stringContaining('ended at') },
    ])
  })

  it('refuses a list that another key signed before any effect, and takes nonsense for no list', async () => {
    const provider = await connect()
    const { subject } = await mint()
    const asked = authority.asked.length
    const foreign = await newSigner('Played Authority')
    const forged = await x509.X509CrlGenerator.create({
      ...{ issuer: 'CN=Played Authority', signingAlgorithm: KEYS, signingKey: foreign.keys.privateKey },
      nextUpdate: new Date(Date.now() + 3_600_000),
    })
    authority.instead = { status: 200, body: new Uint8Array(forged.rawData) }
    expect(await rejection(provider.revoke([subject], WARRANT))).toBeInstanceOf(IssuerRefused)
    for (const body of ['<html>', '', new Uint8Array([0x30, 0x84, 0xff, 0xff, 0xff, 0xff])]) {
      authority.instead = { status: 200, body }
      expect(await rejection(provider.revoke([subject], WARRANT))).toBeInstanceOf(IssuerUnavailable)
    }
    authority.instead = { status: 404, body: '{"status":404,"message":"no CRL available"}' }
    expect(await rejection(provider.verify([subject], WARRANT))).toBeInstanceOf(IssuerUnavailable)
    expect(authority.asked).toHaveLength(asked)
  })

  it('reads lists as another library writes them, and no part of one', async () => {
    const signer = await newSigner('x')
    const serials = ['7f', '00ff', hexOf((1n << 158n) + 5n)]
    const list = await x509.X509CrlGenerator.create({
      ...{ issuer: 'CN=x', signingAlgorithm: KEYS, signingKey: signer.keys.privateKey },
      thisUpdate: new Date('2026-01-02T03:04:05Z'),
      nextUpdate: new Date('2051-01-02T03:04:05Z'),
      entries: serials.map((serialNumber) => ({ serialNumber, reason: x509.X509CrlReason.keyCompromise })),
    })
    const bytes = Buffer.from(list.rawData)
    const read = readCertificateList(bytes)
    expect([...read.revoked.keys()]).toEqual(['127', '255', String((1n << 158n) + 5n)])
    expect(read).toMatchObject({ thisUpdate: '2026-01-02T03:04:05.000Z', nextUpdate: '2051-01-02T03:04:05.000Z' })
    const key = createPublicKey(signer.certificate.publicKey.toString('pem'))
    expect(read.isSignedBy(key)).toBe(true)
    expect(read.isSignedBy(generateKeyPairSync('ed25519').publicKey)).toBe(false)
    for (let end = 0; end < bytes.length; end += 7) expect(() => readCertificateList(bytes.subarray(0, end))).toThrow(UnfitList)
    const changed = Buffer.from(bytes)
    changed.writeUInt8(0x7e, bytes.indexOf(Buffer.of(0x02, 0x01, 0x7f)) + 2)
    expect(readCertificateList(changed).isSignedBy(key)).toBe(false)
    const delta = await x509.X509CrlGenerator.create({
      ...{ issuer: 'CN=x', signingAlgorithm: KEYS, signingKey: signer.keys.privateKey },
      extensions: [new x509.Extension('2.5.29.27', true, Buffer.of(0x02, 0x01, 0x01))],
    })
    expect(() => readCertificateList(Buffer.from(delta.rawData))).toThrow('a delta of a revocation list')
  })

  it('recognises the leaf of a chain with its private key, and shows neither key nor authority', async () => {
    const { serial, certificate, key } = await authority.certify('leaf')
    const clue = recognise(`${certificate}\n${authority.certificate}\n${key}`)
    expect(clue?.credential).toBe(`certificate:${serial}`)
    expect(recognise(`serial=${hexOf(BigInt(serial)).toUpperCase()}`)?.credential).toBe(`certificate:${serial}`)
    for (const text of [
      authority.certificate,
      key,
      certificate.replace('A', '!'),
      'serial=',
      'serial=00',
      `serial=${'f'.repeat(41)}`,
    ])
      expect(recognise(text)).toBeUndefined()
    const { settings } = { settings: Settings.parse({ url: authority.url, authority: authority.certificate }) }
    const strange = Settings.parse({ url: authority.url, authority: (await newSigner('Another')).certificate.toString('pem') })
    expect([definition.meant?.(clue?.query ?? {}, settings), definition.meant?.(clue?.query ?? {}, strange)]).toEqual([
      true,
      false,
    ])
    expect(definition.credential({ serial }, undefined, mac)).toBe(clue?.credential)
  })

  it('finds by a certificate that it signed itself, with the identity that it names', async () => {
    const provider = await connect()
    const { serial, certificate, notAfter } = await authority.certify('worker')
    expect(await provider.locate?.(recognise(certificate)?.query ?? {})).toMatchObject({
      ...{ status: 'found', target: { serial, notAfter }, identity: 'spiffe://example.org/worker', expiresAt: notAfter },
    })
    const elsewhere = await playAuthority()
    const foreign = await elsewhere.certify('worker')
    await elsewhere.stop()
    expect(await provider.locate?.(recognise(foreign.certificate)?.query ?? {})).toMatchObject({ status: 'unknown' })
    expect(await provider.locate?.({})).toMatchObject({ status: 'unknown' })
  })

  it('takes only serials and addresses that are some, and no leaf for an authority', async () => {
    const taken = (serial: string) => Target.safeParse({ serial }).success
    expect(['1', String((1n << 160n) - 1n)].map(taken)).toEqual([true, true])
    expect(['0', '-1', '0x1', '1 ', '', '9'.repeat(50)].map(taken)).not.toContain(true)
    const { certificate } = await authority.certify('leaf')
    const fits = (change: object) =>
      Settings.safeParse({ url: 'https://ca.example', authority: authority.certificate, ...change }).success
    expect([fits({}), fits({ url: 'http://ca.example' }), fits({ authority: certificate }), fits({ authority: 'x' })]).toEqual([
      ...[true, false, false, false],
    ])
  })

  it('is refused with a key that is none, or that of somebody else', async () => {
    const wrong = await newProvisioner()
    const secrets = [
      { ...authority.admin, key: wrong.key },
      { provisioner: 'rescind', key: { kty: 'EC', kid: 'x', crv: 'P-256' } },
      { provisioner: 'rescind', key: { kty: 'oct', kid: 'x', k: 'c2VjcmV0' } },
    ]
    const settings = Settings.parse({ url: authority.url, authority: authority.certificate })
    for (const secret of secrets) {
      const error = await rejection(module.connect({ name: 'ca', settings }, tools(JSON.stringify(secret))))
      expect(error).toBeInstanceOf(IssuerRefused)
      expect(String(error)).not.toContain(wrong.key.d ?? 'none')
    }
  })
})
