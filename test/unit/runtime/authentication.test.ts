import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { JWK, JWTPayload } from 'jose'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { TokenIssuer } from '../../../functions/contracts/settings.ts'
import { authenticator, TokenIssuerInvalid } from '../../../functions/runtime/authentication.ts'
import { testClock } from '../../support/tools.ts'

type Pair = Awaited<ReturnType<typeof generateKeyPair>>
let directory: string
let ci: Pair
let workloads: Pair
let stranger: Pair
let publicCi: JWK

const OIDC: TokenIssuer = {
  issuer: 'https://ci.example',
  kind: 'oidc',
  audience: 'rescind',
  algorithms: ['ES256'],
  keys: { file: 'ci.json' },
  namespace: 'ci',
}
const SVID: TokenIssuer = {
  issuer: 'spiffe://corp.example',
  kind: 'svid',
  audience: 'rescind',
  algorithms: ['ES256', 'RS256'],
  keys: { file: 'bundle.json' },
  namespace: 'corp',
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'rescind-authentication-'))
  ;[ci, workloads, stranger] = await Promise.all([generateKeyPair('ES256'), generateKeyPair('ES256'), generateKeyPair('ES256')])
  publicCi = { ...(await exportJWK(ci.publicKey)), kid: 'c1', alg: 'ES256', use: 'sig' }
  writeFileSync(join(directory, 'ci.json'), JSON.stringify({ keys: [publicCi] }))
  const bundle = [
    { ...(await exportJWK(stranger.publicKey)), use: 'x509-svid', kid: 'w1' },
    { ...(await exportJWK(workloads.publicKey)), use: 'jwt-svid', kid: 'w1' },
  ]
  writeFileSync(join(directory, 'bundle.json'), JSON.stringify({ keys: bundle, spiffe_sequence: 1 }))
})
afterAll(() => rmSync(directory, { recursive: true }))

const clock = testClock()
const seconds = () => Math.floor(clock.now() / 1000)

const token = (
  claims: JWTPayload,
  options: { key?: Pair['privateKey'] | Uint8Array; header?: { alg: string; kid: string }; without?: readonly string[] } = {},
) => {
  const all: JWTPayload = { iss: 'https://ci.example', sub: 'repo:org/app', aud: 'rescind', exp: seconds() + 300, ...claims }
  for (const claim of options.without ?? []) delete all[claim]
  return new SignJWT(all).setProtectedHeader(options.header ?? { alg: 'ES256', kid: 'c1' }).sign(options.key ?? ci.privateKey)
}
const svid = (claims: JWTPayload = {}, key = workloads.privateKey) =>
  token(
    { sub: 'spiffe://corp.example/web', ...claims },
    { key, header: { alg: 'ES256', kid: 'w1' }, without: claims.iss === undefined ? ['iss'] : [] },
  )

const authenticate = (text: string | undefined, issuers = [OIDC, SVID]) =>
  authenticator(issuers, { clock, directory })({ headers: text === undefined ? {} : { authorization: text } })
const refusal = (code: string, status = 401) => expect.objectContaining({ code, status })

describe('tokens', () => {
  it('of an OIDC issuer name issuer and subject together', async () => {
    expect(await authenticate(`Bearer ${await token({})}`)).toEqual({
      uri: 'https://ci.example#repo%3Aorg%2Fapp',
      kind: 'oidc',
      namespace: 'ci',
      tokenIssuer: 'https://ci.example',
    })
    expect(await authenticate(`bearer ${await token({ aud: ['other', 'rescind'] })}`)).toMatchObject({ kind: 'oidc' })
  })

  it('that are JWT-SVIDs name their SPIFFE ID, whatever issuer they carry', async () => {
    const principal = { uri: 'spiffe://corp.example/web', kind: 'svid', namespace: 'corp', tokenIssuer: 'spiffe://corp.example' }
    expect(await authenticate(`Bearer ${await svid()}`)).toEqual(principal)
    expect(await authenticate(`Bearer ${await svid({ iss: 'https://spire.corp.example' })}`)).toEqual(principal)
    expect(await authenticate(`Bearer ${await svid({ iss: 'https://ci.example' })}`)).toEqual(principal)
  })

  it('are refused where they are not what they should be', async () => {
    const refused: [string, Promise<string>][] = [
      ['another key', token({}, { key: stranger.privateKey })],
      ['a key of the bundle that is not for JWTs', svid({}, stranger.privateKey)],
      ['the keys of another issuer', token({ iss: 'https://ci.example', sub: 'x' }, { key: workloads.privateKey })],
      ['an unknown key id', token({}, { header: { alg: 'ES256', kid: 'c2' } })],
      ['an issuer that is nearly right', token({ iss: 'https://ci.example/' })],
      ['no issuer', token({}, { without: ['iss'] })],
      ['a trust domain that is not trusted', svid({ sub: 'spiffe://evil.example/web' })],
      ['a subject that is no SPIFFE ID', svid({ sub: 'spiffe://corp.example/../web' })],
      ['another audience', token({ aud: 'other' })],
      ['no audience', token({}, { without: ['aud'] })],
      ['no expiry', token({}, { without: ['exp'] })],
      ['an expired token', token({ exp: seconds() - 31 })],
      ['a token of the future', token({ nbf: seconds() + 31 })],
      ['no subject', token({}, { without: ['sub'] })],
      ['an empty subject', token({ sub: '' })],
      ['a subject that is far too long', token({ sub: 'x'.repeat(3000) })],
      ['an algorithm that is not pinned', token({}, { key: new Uint8Array(32), header: { alg: 'HS256', kid: 'c1' } })],
      [
        'a critical header that nobody knows',
        Promise.resolve(
          `${Buffer.from('{"alg":"ES256","kid":"c1","crit":["x"],"x":1}').toString('base64url')}.${(await token({})).split('.').slice(1).join('.')}`,
        ),
      ],
    ]
    for (const [what, made] of refused) {
      await expect(authenticate(`Bearer ${await made}`), what).rejects.toThrow(refusal('token-invalid'))
    }
  })

  it('without signature are refused', async () => {
    const [, payload] = (await token({})).split('.')
    const none = Buffer.from('{"alg":"none"}').toString('base64url')
    await expect(authenticate(`Bearer ${none}.${payload}.AA`)).rejects.toThrow(refusal('token-invalid'))
    await expect(authenticate(`Bearer ${none}.${payload}.`)).rejects.toThrow(refusal('unauthenticated'))
  })

  it('are tolerated for half a minute of clock skew', async () => {
    expect(await authenticate(`Bearer ${await token({ exp: seconds() - 29 })}`)).toMatchObject({ kind: 'oidc' })
    expect(await authenticate(`Bearer ${await token({ nbf: seconds() + 29 })}`)).toMatchObject({ kind: 'oidc' })
  })

  it('must be there, as bearer tokens', async () => {
    for (const header of [
      undefined,
      '',
      'Bearer',
      'Bearer ',
      'Bearer a',
      'Basic YTpi',
      `Bearer ${'a'.repeat(20_000)}.b.c`,
      'Bearer a.b.c.d.e',
    ]) {
      await expect(authenticate(header)).rejects.toThrow(refusal('unauthenticated'))
    }
    await expect(authenticate('Bearer a.b.c')).rejects.toThrow(refusal('token-invalid'))
  })

  it('are not repeated in refusals', async () => {
    const text = await token({ aud: 'hunter2', sub: 'hunter2' })
    const error = await authenticate(`Bearer ${text}`).catch((thrown) => thrown)
    expect(`${error.message} ${error.detail}`).not.toMatch(/hunter2|eyJ/)
  })
})

describe('AWS principals', () => {
  const aws = (userArn: string) => authenticator([], { clock })({ headers: { authorization: 'AWS4-HMAC-SHA256 x' }, userArn })
  it('are known by their role', async () => {
    expect(await aws('arn:aws:sts::123456789012:assumed-role/deployer/s1')).toEqual({
      uri: 'arn:aws:iam::123456789012:role/deployer',
      kind: 'aws',
    })
    await expect(aws('')).rejects.toThrow(refusal('unauthenticated'))
  })
})

describe('keys from an address', () => {
  const remote: TokenIssuer = { ...OIDC, keys: { jwks: 'https://ci.example/keys' } }
  function fetching(answers: (() => Response)[]) {
    const asked: string[] = []
    const time = testClock()
    const load = async (address: string | URL | globalThis.Request) => {
      asked.push(String(address))
      const answer = answers[Math.min(asked.length, answers.length) - 1]
      if (answer === undefined) throw new TypeError('fetch failed')
      return answer()
    }
    const check = authenticator([remote], { clock: time, fetch: load as typeof fetch })
    return { asked, time, check: (text: string) => check({ headers: { authorization: `Bearer ${text}` } }) }
  }
  const good = () => new Response(JSON.stringify({ keys: [publicCi] }))
  // The keys' age is measured by the library with the machine's clock; tokens are dated by the test's.
  it('are fetched once for many tokens', async () => {
    const { asked, check } = fetching([good])
    const made = await token({})
    await Promise.all([check(made), check(made)])
    await check(made)
    expect(asked).toEqual(['https://ci.example/keys'])
  })

  it('are not fetched for every unknown key id', async () => {
    const { asked, check } = fetching([good])
    await check(await token({}))
    for (const kid of ['x', 'y', 'z']) {
      await expect(check(await token({}, { header: { alg: 'ES256', kid } }))).rejects.toThrow(refusal('token-invalid'))
    }
    expect(asked).toHaveLength(1)
  })

  it.each([
    ['an error', () => new Response('x', { status: 500 })],
    ['no JSON', () => new Response('<html>')],
    ['no key set', () => new Response('{"keys":"x"}')],
    ['far too much', () => new Response('x'.repeat(300_000))],
    [
      'nothing',
      () => {
        throw new TypeError('fetch failed')
      },
    ],
  ])('that cannot be had (%s) are nobody’s fault, and are asked for again after a pause', async (_, answer) => {
    const { asked, check, time } = fetching([answer, good])
    const made = await token({})
    await expect(check(made)).rejects.toThrow(refusal('internal', 503))
    await expect(check(made)).rejects.toThrow(refusal('internal', 503))
    expect(asked).toHaveLength(1)
    time.advance(5_000)
    expect(await check(made)).toMatchObject({ kind: 'oidc' })
    expect(asked).toHaveLength(2)
  })
})

it('trust that cannot be used is told at the start', () => {
  const start = (...issuers: TokenIssuer[]) => authenticator(issuers, { clock, directory })
  expect(() => start(OIDC, OIDC)).toThrow(TokenIssuerInvalid)
  expect(() => start({ ...SVID, issuer: 'corp.example' })).toThrow(TokenIssuerInvalid)
  expect(() => start({ ...SVID, issuer: 'spiffe://corp.example/path' })).toThrow(TokenIssuerInvalid)
  expect(() => start({ ...OIDC, keys: { file: 'nothing.json' } })).toThrow(TokenIssuerInvalid)
  expect(() => start({ ...OIDC, keys: { jwks: 'http://ci.example/keys' } })).toThrow(TokenIssuerInvalid)
  expect(() => start({ ...OIDC, keys: { jwks: 'http://127.0.0.1:1/keys' } })).not.toThrow()
})
