import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Secret, Target } from '../../functions/providers/oauth/definition.ts'
import { definition, Settings } from '../../functions/providers/oauth/definition.ts'
import { FakeOAuth } from '../../functions/providers/oauth/fake.ts'
import { provider as module } from '../../functions/providers/oauth/provider.ts'
import type { LocalOAuth, RegisteredClient } from '../../lib/local/issuers/oauth.ts'
import { startOAuth } from '../../lib/local/issuers/oauth.ts'
import { mac } from '../support/mac.ts'
import { expectNoSecret, tools, WARRANT } from './suite.ts'

interface Subject {
  readonly lease: string
  readonly target: Target
  readonly secret: Secret
}

const subjectOf = ({ clientId, clientSecret, registrationToken }: RegisteredClient): Subject => ({
  lease: clientId,
  target: { client: clientId },
  secret: { clientSecret, registrationToken },
})

describe('oauth client secrets, on a real server', () => {
  let server: LocalOAuth
  const connect = (settings: Partial<Settings> = {}) => {
    const own = Settings.parse({ issuer: server.issuer, introspects: 'all', clients: server.clients })
    return module.connect({ name: 'idp', settings: { ...own, ...settings } }, tools(JSON.stringify(server.admin)))
  }
  beforeAll(async () => {
    server = await startOAuth()
  })
  afterAll(() => server.stop())

  it('deletes the client: its secret is refused afterwards, its namesake and others work on, and a second time it is absent', async () => {
    const provider = await connect()
    const [cut, bystander] = [await server.registerClient('cut'), await server.registerClient('bystander')]
    const subject = subjectOf(cut)
    expect(await server.tokenOf(cut)).toBeDefined()
    expect(await provider.verify([subject], WARRANT)).toMatchObject([{ status: 'alive' }])
    const answers = await provider.revoke([subject], WARRANT)
    expect(answers).toMatchObject([{ status: 'revoked', said: expect.stringContaining('tokens that it was given before') }])
    expect(await server.tokenOf(cut)).toBeUndefined()
    expect(await server.tokenOf(bystander)).toBeDefined()
    expect(await provider.verify([subject], WARRANT)).toMatchObject([{ status: 'dead' }])
    const again = await provider.revoke([subject], WARRANT)
    expect(again).toMatchObject([{ status: 'absent' }])
    expectNoSecret([answers, again], [cut.clientSecret, cut.registrationToken])
  })

  it('answers for clients and tokens of one batch in order, and does not tell who never was', async () => {
    const provider = await connect()
    const client = await server.registerClient('mixed')
    const { refreshToken } = await server.issueToken('somebody')
    const never: Subject = { lease: 'never', target: { client: 'never' }, secret: { clientSecret: 'x', registrationToken: 'x' } }
    const token: Subject = { lease: 'token', target: { tokenType: 'refresh_token' }, secret: { token: refreshToken } }
    const answers = await provider.revoke([token, never, subjectOf(client)], WARRANT)
    expect(answers.map(({ status }) => status)).toEqual(['revoked', 'absent', 'revoked'])
  })

  it('leaves a client alone whose secret is not the one of the lease, or whose registration another client manages', async () => {
    const provider = await connect()
    const [one, other] = [await server.registerClient('one'), await server.registerClient('other')]
    const rotated = { ...subjectOf(one), secret: { clientSecret: 'an older secret', registrationToken: one.registrationToken } }
    const foreign = { ...subjectOf(one), secret: { clientSecret: one.clientSecret, registrationToken: other.registrationToken } }
    const wrong = { ...subjectOf(one), secret: { clientSecret: one.clientSecret, registrationToken: 'wrong' } }
    const answers = await provider.revoke([rotated, foreign, wrong], WARRANT)
    expect(answers.map(({ status }) => status)).toEqual(['absent', 'irrevocable', 'irrevocable'])
    expect([await server.tokenOf(one), await server.tokenOf(other)].every((token) => token !== undefined)).toBe(true)
  })

  it('puts no client id into an address that leads elsewhere', async () => {
    const provider = await connect()
    const { clientSecret, registrationToken } = await server.registerClient('path')
    for (const client of ['..', '.', '../token', '%2e%2e', '?x', '#', 'a/../../reg', 'x'.repeat(512)]) {
      const subject: Subject = { lease: client, target: { client }, secret: { clientSecret, registrationToken } }
      expect(definition.target.safeParse(subject.target).success).toBe(true)
      const [answer] = await provider.revoke([subject], WARRANT)
      expect(['absent', 'irrevocable']).toContain(answer?.status)
    }
    expect(definition.target.safeParse({ client: 'line\nbreak' }).success).toBe(false)
  })

  it('says that it cannot cut a client where the settings name no address of registrations', async () => {
    const { clients: _, ...without } = Settings.parse({ issuer: server.issuer, introspects: 'all' })
    const provider = await module.connect({ name: 'idp', settings: without }, tools(JSON.stringify(server.admin)))
    const subject = subjectOf(await server.registerClient('unmanaged'))
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'unsupported' }])
    expect(definition.uncuttable?.(subject.target, without, '2026-01-01T00:00:00.000Z')).toBeDefined()
  })

  it('names a client by its id and the keyed hash of its secret', () => {
    const name = (client: string, clientSecret: string) =>
      definition.credential({ client }, { clientSecret, registrationToken: 'r' }, mac)
    expect(name('a', 'secret')).not.toContain('secret')
    expect(new Set([name('a', 's'), name('a', 't'), name('b', 's')]).size).toBe(3)
    expect(() => definition.credential({ client: 'a' }, { token: 't' }, mac)).toThrow(RangeError)
    expect(() =>
      definition.credential({ tokenType: 'access_token' }, { clientSecret: 's', registrationToken: 'r' }, mac),
    ).toThrow(RangeError)
  })

  it('takes only an https address that holds the client id once for registrations', () => {
    const takes = (clients: string) => Settings.safeParse({ issuer: server.issuer, introspects: 'all', clients }).success
    expect(takes('https://idp.example/reg/{client_id}')).toBe(true)
    for (const wrong of [
      'http://idp.example/{client_id}',
      'https://idp.example/reg',
      'https://u:p@idp.example/{client_id}',
      '{client_id}',
    ])
      expect(takes(wrong), wrong).toBe(false)
  })
})

it('is played by the fake in the same way', async () => {
  const fake = new FakeOAuth()
  const provider = await fake.module.connect({ name: 'idp', settings: fake.settings() }, tools(JSON.stringify(fake.admin)))
  const { clientSecret, registrationToken } = fake.register('a client')
  const subject: Subject = { lease: 'c', target: { client: 'a client' }, secret: { clientSecret, registrationToken } }
  expect(await provider.verify([subject], WARRANT)).toMatchObject([{ status: 'alive' }])
  const older = { ...subject, secret: { clientSecret: 'older', registrationToken } }
  const foreign = { ...subject, secret: { clientSecret, registrationToken: 'foreign' } }
  expect((await provider.revoke([older, foreign, subject, subject], WARRANT)).map(({ status }) => status)).toEqual([
    'absent',
    'irrevocable',
    'revoked',
    'absent',
  ])
  expect(await provider.verify([subject], WARRANT)).toMatchObject([{ status: 'dead' }])
})
