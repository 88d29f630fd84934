import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { afterAll, describe, expect, it } from 'vitest'
import { makeTrust } from '../../../lib/local/keys.ts'

describe('local trust', () => {
  const folder = mkdtempSync(join(tmpdir(), 'rescind-trust-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const mode = (path: string) => statSync(path).mode & 0o777

  it('mints tokens that its public keys verify, the private key not among them', async () => {
    const trust = await makeTrust(folder)
    const keys = JSON.parse(readFileSync(trust.jwksFile, 'utf8'))
    expect(keys.keys[0]).not.toHaveProperty('d')
    const token = await trust.mintToken({ sub: 'spiffe://example.org/api', aud: 'rescind' }, { seconds: 60 })
    const { payload } = await jwtVerify(token, createLocalJWKSet(keys), {
      issuer: trust.issuer,
      audience: 'rescind',
      algorithms: ['ES256'],
    })
    expect(payload.sub).toBe('spiffe://example.org/api')
    expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(60)
  })

  it('keeps secrets and keys to their owner, and inside their folder', async () => {
    const trust = await makeTrust(folder)
    expect(trust.putSecret('issuers/postgresql/db', 'hunter2')).toBe('issuers/postgresql/db')
    expect(readFileSync(join(folder, 'secrets/issuers/postgresql/db'), 'utf8')).toBe('hunter2')
    expect(mode(join(folder, 'secrets/issuers/postgresql/db'))).toBe(0o600)
    expect(mode(trust.secretsFolder)).toBe(0o700)
    expect(mode(trust.sealingFile)).toBe(0o600)
    expect(readFileSync(trust.sealingFile)).toHaveLength(32)
    expect(() => trust.putSecret('../outside', 'x')).toThrow(RangeError)
    expect(trust.keepSecret('keys/fingerprint', () => 'first')).toBe('keys/fingerprint')
    trust.keepSecret('keys/fingerprint', () => 'second')
    expect(readFileSync(join(trust.secretsFolder, 'keys/fingerprint'), 'utf8')).toBe('first')
    expect(() => trust.keepSecret('../outside', () => 'x')).toThrow(RangeError)
  })

  it('is the same the second time', async () => {
    const [one, two] = [await makeTrust(folder), await makeTrust(folder)]
    expect(readFileSync(one.sealingFile)).toEqual(readFileSync(two.sealingFile))
    const token = await one.mintToken({ sub: 'a', aud: 'b' })
    await jwtVerify(token, createLocalJWKSet(JSON.parse(readFileSync(two.jwksFile, 'utf8'))))
  })
})
