import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { Settings } from '../../../functions/providers/x509/definition.ts'
import { provider as module } from '../../../functions/providers/x509/provider.ts'
import { startStepCa, stepCaMissing, stepCaVersion } from '../../../lib/local/issuers/step-ca.ts'
import { authorityHarness, LACKS } from '../../support/authority-harness.ts'
import { conformance, tools, WARRANT } from '../suite.ts'

const folders: string[] = []
const start = async (listAtOnce = true) => {
  const folder = await mkdtemp(join(tmpdir(), 'rescind-step-ca-'))
  folders.push(folder)
  return await startStepCa({ folder, listAtOnce })
}
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true })
})

conformance(
  module,
  {
    ...{ against: 'real', runs: 'long', counterpart: await stepCaVersion() },
    ...(stepCaMissing === undefined ? {} : { missing: stepCaMissing }),
    lacks: { ...LACKS, throttled: 'step-ca has no limit of its own: a balancer before it has' },
  },
  async () => {
    const [authority, other] = [await start(), await start()]
    return await authorityHarness(authority, other)
  },
  ['nonsense', 'named'],
)

describe.skipIf(stepCaMissing !== undefined)('x509 alone, on step-ca', () => {
  it('is renewed before and refused after, and a list on a schedule comes later', async () => {
    const authority = await start(false)
    try {
      const { url, certificate, trust = '', admin } = authority
      const settings = Settings.parse({ url, authority: certificate, ca: trust })
      const provider = await module.connect({ name: 'ca', settings }, tools(JSON.stringify(admin)))
      const certified = await authority.certify('worker')
      const subject = { lease: 'x', target: { serial: certified.serial, notAfter: certified.notAfter } }
      expect(await authority.renew(certified)).toBe(201)
      expect(await provider.revoke([subject], WARRANT)).toMatchObject([
        { status: 'revoked', said: expect.stringMatching(/live on; not yet on the revocation list \d+, the next one is due by/) },
      ])
      expect(await authority.renew(certified)).toBe(401)
      expect(await provider.revoke([subject], WARRANT)).toMatchObject([
        { status: 'absent', said: expect.stringContaining('the authority says that it was revoked before') },
      ])
      const fencedAt = new Date(Date.now() + 1000).toISOString()
      expect(await provider.verify([subject], { ...WARRANT, fencedAt })).toMatchObject([{ status: 'unknown' }])
      await provider.close()
    } finally {
      await authority.stop()
    }
  })
})
