import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { CredentialKind, IamClient } from '../../../functions/providers/aws-iam/client.ts'
import { connectIam } from '../../../functions/providers/aws-iam/client.ts'
import type { Target } from '../../../functions/providers/aws-iam/definition.ts'
import { definition, Target as TargetSchema } from '../../../functions/providers/aws-iam/definition.ts'
import { FakeIam } from '../../../functions/providers/aws-iam/fake.ts'
import { createProvider } from '../../../functions/providers/aws-iam/provider.ts'
import type { Warrant } from '../../../functions/providers/contract.ts'
import { mac } from '../../support/mac.ts'

const ACCOUNT = '123456789012'
const SETTINGS = { account: ACCOUNT, region: 'eu-central-1' }
const KINDS: readonly CredentialKind[] = ['ssh-key', 'certificate', 'service-credential']
const warrant = (lane: Warrant['lane'] = 'p1'): Warrant => ({
  case: 'abcdefghijklmnopqrstuvwxyz',
  lane,
  epoch: 1,
  fencedAt: '2026-11-20T12:00:00.250Z',
})
const subjects = (...targets: Target[]) =>
  targets.map((target, index) => ({ lease: `lease-${index}`, target: TargetSchema.parse(target) }))

let iam: FakeIam
let time: number
const provider = () => {
  const { tidy, restore, contain, release, ...rest } = createProvider(SETTINGS, iam, () => time)
  if (tidy === undefined || restore === undefined || contain === undefined || release === undefined) throw new Error('incomplete')
  return { ...rest, tidy, restore, contain, release }
}
beforeEach(() => {
  iam = new FakeIam(ACCOUNT)
  time = Date.parse('2026-11-20T12:00:03Z')
})

describe.each(KINDS)("a user's %s", (kind) => {
  const target = (id: string, userName = 'ci', userId?: string): Target => ({
    kind,
    userName,
    id,
    ...(userId === undefined ? {} : { userId }),
  })

  it('is made inactive, restored, and deleted at last; others and access keys go on', async () => {
    const userId = iam.addUser('ci')
    const [id, other, key] = [iam.addCredential(kind, 'ci'), iam.addCredential(kind, 'ci'), iam.addAccessKey('ci')]
    const aws = provider()
    const cut = subjects(target(id, 'ci', userId))
    expect(await aws.verify(cut, warrant())).toMatchObject([{ status: 'alive' }])
    expect(await aws.revoke(cut, warrant())).toMatchObject([{ status: 'revoked', said: expect.stringMatching(/is Inactive$/) }])
    expect(iam.credentialWorks(kind, 'ci', id)).toBe(false)
    expect(await aws.verify(cut, warrant())).toMatchObject([{ status: 'dead' }])
    expect(await aws.revoke(cut, warrant())).toMatchObject([{ status: 'absent' }])
    expect(await aws.restore(cut, warrant())).toMatchObject([{ status: 'restored' }])
    expect(iam.credentialWorks(kind, 'ci', id)).toBe(true)
    expect(await aws.tidy(cut, warrant())).toMatchObject([{ status: 'irrevocable' }])
    await aws.revoke(cut, warrant())
    expect(await aws.tidy(cut, warrant())).toMatchObject([{ status: 'revoked' }])
    expect(await aws.tidy(cut, warrant())).toMatchObject([{ status: 'absent' }])
    expect(await aws.restore(cut, warrant())).toMatchObject([{ status: 'gone' }])
    expect([iam.credentialWorks(kind, 'ci', other), iam.keyWorks('ci', key)]).toEqual([true, true])
    expect(iam.calls.some((call) => call.startsWith('putPolicy'))).toBe(false)
  })

  it('of a later user of the name, of a protected user, and one that somebody else shut stays as it is', async () => {
    const first = iam.addUser('ci')
    iam.removeUser('ci')
    iam.addUser('ci')
    const later = iam.addCredential(kind, 'ci')
    iam.addUser('guarded', { 'rescind:protected': 'true' })
    const guarded = iam.addCredential(kind, 'guarded')
    const shut = iam.addCredential(kind, 'ci')
    await iam.setCredential(kind, 'ci', shut, 'Inactive')
    const aws = provider()
    const all = subjects(target(later, 'ci', first), target(guarded, 'guarded'), target(shut))
    expect(await aws.revoke(all, warrant())).toMatchObject([
      { status: 'absent' },
      { status: 'irrevocable' },
      { status: 'absent' },
    ])
    expect(await aws.restore(subjects(target(shut)), warrant())).toMatchObject([{ status: 'refused' }])
    expect([iam.credentialWorks(kind, 'ci', later), iam.credentialWorks(kind, 'guarded', guarded)]).toEqual([true, true])
  })

  it('is shut out by the containment of its user, and works again when that is released', async () => {
    const userId = iam.addUser('ci')
    const id = iam.addCredential(kind, 'ci')
    const aws = provider()
    const lever = { kind: 'user', userName: 'ci', userId } as const
    expect(await aws.contain(lever, warrant())).toMatchObject({ status: 'done' })
    expect(iam.credentialWorks(kind, 'ci', id)).toBe(false)
    expect(await aws.release(lever, warrant())).toMatchObject({ status: 'done' })
    expect(iam.credentialWorks(kind, 'ci', id)).toBe(true)
  })
})

describe('a password for the console', () => {
  const target = (createdAt?: Date): Target => ({
    kind: 'login-profile',
    userName: 'eve',
    ...(createdAt === undefined ? {} : { createdAt: createdAt.toISOString() }),
  })

  it('is deleted for good, and the answer says until when its sessions live', async () => {
    iam.addUser('eve')
    const made = iam.setPassword('eve')
    const aws = provider()
    const cut = subjects(target(made))
    expect(definition.forGood?.(target(made))).toBe(true)
    expect(await aws.verify(cut, warrant())).toMatchObject([{ status: 'alive' }])
    expect(await aws.revoke(cut, warrant())).toMatchObject([{ status: 'revoked', sessionsUntil: '2026-11-21T00:00:03.000Z' }])
    expect(iam.passwordWorks('eve')).toBe(false)
    expect(await aws.verify(cut, warrant())).toMatchObject([{ status: 'dead' }])
    expect(await aws.revoke(cut, warrant())).toMatchObject([{ status: 'absent' }])
    expect(await aws.tidy(cut, warrant())).toMatchObject([{ status: 'absent' }])
    expect(await aws.restore(cut, warrant())).toMatchObject([{ status: 'gone' }])
  })

  it('of a compromise takes the open sessions of the console along', async () => {
    const userId = iam.addUser('eve')
    iam.setPassword('eve')
    const issued = time / 1000 - 60
    expect(iam.tokenWorks('eve', issued)).toBe(true)
    const [answer] = await provider().revoke(subjects({ kind: 'login-profile', userName: 'eve', userId }), warrant('p0'))
    expect(answer).toMatchObject({ status: 'revoked', said: expect.stringContaining('are denied') })
    expect(answer).not.toHaveProperty('sessionsUntil')
    expect(iam.tokenWorks('eve', issued)).toBe(false)
  })

  it('that was made later is another one', async () => {
    iam.addUser('eve')
    const first = iam.setPassword('eve')
    iam.setPassword('eve')
    expect(await provider().revoke(subjects(target(first)), warrant())).toMatchObject([{ status: 'absent' }])
    expect(iam.passwordWorks('eve')).toBe(true)
    expect(await provider().tidy(subjects(target()), warrant())).toMatchObject([{ status: 'irrevocable' }])
  })
})

it('answers for each lease of a batch of all kinds, and one that AWS throttles ends no other before it', async () => {
  iam.addUser('ci')
  const key = iam.addAccessKey('ci')
  const [ssh, certificate] = [iam.addCredential('ssh-key', 'ci'), iam.addCredential('certificate', 'ci')]
  iam.setPassword('ci')
  iam.fail('setCredential', 'throttled', 1)
  const batch = subjects(
    { kind: 'login-profile', userName: 'ci' },
    { kind: 'certificate', userName: 'ci', id: certificate },
    { kind: 'ssh-key', userName: 'ci', id: ssh },
    { kind: 'access-key', userName: 'ci', accessKeyId: key },
  )
  expect((await provider().revoke(batch, warrant())).map(({ status }) => status)).toEqual([
    'retry',
    'retry',
    'revoked',
    'revoked',
  ])
  expect((await provider().revoke(batch, warrant())).map(({ status }) => status)).toEqual([
    'revoked',
    'revoked',
    'absent',
    'absent',
  ])
})

it('names credentials of different kinds differently', () => {
  const id = 'A'.repeat(20)
  const targets: Target[] = [
    ...KINDS.map((kind): Target => ({ kind, userName: 'ci', id })),
    { kind: 'access-key', userName: 'ci', accessKeyId: 'AKIA0000000000000001' },
    { kind: 'login-profile', userName: 'ci' },
  ]
  expect(new Set(targets.map((target) => definition.credential(target, undefined, mac))).size).toBe(targets.length)
  for (const wild of ['', '*', 'A'.repeat(65), `${'A'.repeat(19)}/`]) {
    expect(TargetSchema.safeParse({ kind: 'ssh-key', userName: 'ci', id: wild }).success).toBe(false)
  }
})

/** MiniStack has none of these calls: their form and answers are those of the IAM API Reference. */
describe('the calls of the SDK, to a played IAM', () => {
  const asked: URLSearchParams[] = []
  const member = (id: string, name: string, status: string) =>
    `<member><${name}>${id}</${name}><Status>${status}</Status></member>`
  const lists: Readonly<Record<string, readonly [list: string, id: string]>> = {
    ListSSHPublicKeys: ['SSHPublicKeys', 'SSHPublicKeyId'],
    ListSigningCertificates: ['Certificates', 'CertificateId'],
    ListServiceSpecificCredentials: ['ServiceSpecificCredentials', 'ServiceSpecificCredentialId'],
  }
  const server = createServer((incoming, response) => {
    const parts: Uint8Array[] = []
    incoming.on('data', (part: Uint8Array) => parts.push(part))
    incoming.once('end', () => {
      const form = new URLSearchParams(Buffer.concat(parts).toString())
      asked.push(form)
      const action = form.get('Action') ?? ''
      const [list, id] = lists[action] ?? []
      const first = form.get('Marker') === null
      const body =
        list === undefined || id === undefined
          ? ''
          : `<${list}>${first ? member('ONE', id, 'Active') : member('TWO', id, 'Inactive') + member('THREE', id, 'Expired')}</${list}><IsTruncated>${first}</IsTruncated>${first ? '<Marker>next</Marker>' : ''}`
      response.writeHead(200, { 'content-type': 'text/xml' })
      response.end(
        `<${action}Response xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><${action}Result>${body}</${action}Result></${action}Response>`,
      )
    })
  })
  let client: IamClient
  beforeAll(async () => {
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    client = await connectIam('played', SETTINGS, {
      adminSecret: async () => JSON.stringify({ accessKeyId: 'AKIA0000000000000001', secretAccessKey: 'secret' }),
      now: () => 0,
      environment: { AWS_ENDPOINT_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
    })
  })
  beforeEach(() => {
    asked.length = 0
  })
  afterAll(() => {
    client.close()
    server.closeAllConnections()
    server.close()
  })

  it.each([
    ['ssh-key', 'SSHPublicKey', 'SSHPublicKeyId'],
    ['certificate', 'SigningCertificate', 'CertificateId'],
    ['service-credential', 'ServiceSpecificCredential', 'ServiceSpecificCredentialId'],
  ] as const)('of a %s', async (kind, word, id) => {
    expect(await client.listCredentials(kind, 'ci')).toEqual([
      { id: 'ONE', status: 'Active' },
      { id: 'TWO', status: 'Inactive' },
      { id: 'THREE', status: 'Active' },
    ])
    await client.setCredential(kind, 'ci', 'ONE', 'Inactive')
    await client.deleteCredential(kind, 'ci', 'ONE')
    const actions = asked.map((form) => Object.fromEntries(form))
    expect(actions).toMatchObject([
      { Action: `List${word}s`, UserName: 'ci' },
      { Action: `List${word}s`, UserName: 'ci', Marker: 'next' },
      { Action: `Update${word}`, UserName: 'ci', [id]: 'ONE', Status: 'Inactive' },
      { Action: `Delete${word}`, UserName: 'ci', [id]: 'ONE' },
    ])
    const allowed = definition.permissions.flatMap(({ actions: names }) => names)
    for (const { Action: action } of actions) expect(allowed).toContain(`iam:${action}`)
  })
})
