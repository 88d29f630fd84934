// biome-ignore-all lint/suspicious/noTemplateCurlyInString: placeholders of Permission.resources
import { CreateAccessKeyCommand, CreateUserCommand, IAMClient, PutUserPolicyCommand } from '@aws-sdk/client-iam'
import {
  DeleteSecretCommand,
  GetSecretValueCommand,
  PutSecretValueCommand,
  RotateSecretCommand,
  SecretsManagerClient,
} from '@aws-sdk/client-secrets-manager'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Target } from '../../functions/providers/aws-secretsmanager/definition.ts'
import { definition, Settings } from '../../functions/providers/aws-secretsmanager/definition.ts'
import { FakeSecretsManager } from '../../functions/providers/aws-secretsmanager/fake.ts'
import { provider as module } from '../../functions/providers/aws-secretsmanager/provider.ts'
import { tokenOf } from '../../functions/providers/aws-secretsmanager/standing.ts'
import { startAwsFront, startOtherAccount } from '../support/aws-front.ts'
import { mac } from '../support/mac.ts'
import { startMiniStack } from '../support/ministack.ts'
import type { Rotating } from '../support/rotation.ts'
import { startRotation } from '../support/rotation.ts'
import type { Credential, Harness } from './suite.ts'
import { conformance, startGate, tools, WARRANT } from './suite.ts'

const EXTRAS = ['poison', 'replace', 'throttled', 'nonsense', 'named'] as const
const VERSION = '0123456789abcdef0123456789abcdef'
const stack = await startMiniStack({ rotates: true })
afterAll(() => stack?.stop())

const root = new SecretsManagerClient({
  endpoint: stack?.endpoint ?? 'http://127.0.0.1:1',
  region: stack?.region ?? 'us-east-1',
  credentials: stack?.rootCredentials ?? { accessKeyId: '', secretAccessKey: '' },
})
afterAll(() => root.destroy())

/** A user with exactly what the definition lists; its key is the admin's. */
async function workerKey(): Promise<{ accessKeyId: string; secretAccessKey: string }> {
  const { endpoint = '', region = '', account = '' } = stack ?? {}
  const iam = new IAMClient({ endpoint, region, credentials: stack?.rootCredentials ?? { accessKeyId: '', secretAccessKey: '' } })
  const UserName = `rescind-secrets-${process.pid}`
  await iam.send(new CreateUserCommand({ UserName })).catch(() => undefined)
  const PolicyDocument = JSON.stringify({
    Version: '2012-10-17',
    Statement: definition.permissions.map(({ actions, resources }) => ({
      Effect: 'Allow',
      Action: actions,
      Resource: resources.map((arn) => arn.replace('${partition}', 'aws').replace('${account}', account)),
    })),
  })
  await iam.send(new PutUserPolicyCommand({ UserName, PolicyName: 'worker', PolicyDocument }))
  const { AccessKey: key } = await iam.send(new CreateAccessKeyCommand({ UserName }))
  iam.destroy()
  return { accessKeyId: key?.AccessKeyId ?? '', secretAccessKey: key?.SecretAccessKey ?? '' }
}

type Rotation = Awaited<ReturnType<typeof startRotation>>

const credentialOf = (rotation: Rotation, { arn, versionId, value }: Rotating): Credential<Target, undefined> => ({
  subject: { lease: versionId, target: { arn, versionId } },
  secrets: [value.password],
  works: () => rotation.works(value),
  open: () => rotation.open(value),
})

const neverExisted = (region: string, account: string) => ({
  subject: {
    lease: 'never',
    target: { arn: `arn:aws:secretsmanager:${region}:${account}:secret:never-AbCdEf`, versionId: VERSION },
  },
  status: 'absent' as const,
})

const pasted = ({ subject: { target } }: Credential<Target, undefined>) => [
  `${target.arn}:::${target.versionId}`,
  `"${target.arn}:password:AWSCURRENT:${target.versionId}"`,
]

conformance(
  module,
  {
    against: 'real',
    counterpart: 'MiniStack 1.5.33, with rotation as AWS documents it',
    ...(stack === undefined ? { missing: 'there is no usable Python' } : {}),
  },
  async (): Promise<Harness<Target, undefined, never, Settings>> => {
    const { endpoint = '', account = '', region = '' } = stack ?? {}
    const [rotation, front, other, key] = await Promise.all([
      startRotation(root),
      startAwsFront(endpoint),
      startOtherAccount('999999999999'),
      workerKey(),
    ])
    const gate = await startGate(front.port, other.port)
    const create = (name?: string) =>
      rotation.create({ rotates: rotation.functionArn(), ...(name === undefined ? {} : { name }) })
    const names = new Map<string, string>()
    return {
      issuer: { name: 'secrets', settings: Settings.parse({ account, region, strategy: 'single-user' }) },
      environment: { AWS_ENDPOINT_URL: `http://127.0.0.1:${gate.port}` },
      adminSecret: JSON.stringify(key),
      wrongSecret: JSON.stringify({ ...key, secretAccessKey: 'wrong-secret-access-key-0123456789' }),
      faults: {
        ...gate,
        async throttled() {
          front.throttle(true)
          return 5
        },
        async heal() {
          front.throttle(false)
          await gate.heal()
        },
      },
      repeated: 'revoked',
      mint: async () => {
        const rotating = await create()
        names.set(rotating.arn, rotating.name)
        return credentialOf(rotation, rotating)
      },
      neverExisted: () => neverExisted(region, account),
      poison: async () => {
        const { arn, versionId } = await rotation.create({
          tags: { 'rescind:protected': 'true' },
          rotates: rotation.functionArn(),
        })
        return { subject: { lease: 'poison', target: { arn, versionId } }, status: 'irrevocable' }
      },
      replace: async ({ subject: { target } }) => {
        await root.send(new DeleteSecretCommand({ SecretId: target.arn, ForceDeleteWithoutRecovery: true }))
        return credentialOf(rotation, await create(names.get(target.arn)))
      },
      named: (name) => ({
        lease: 'named',
        target: { arn: `arn:aws:secretsmanager:${region}:${account}:secret:${name}-AbCdEf`, versionId: VERSION },
      }),
      pasted,
      async stop() {
        await gate.close()
        await Promise.all([rotation.stop(), front.stop(), other.stop()])
      },
    }
  },
  EXTRAS,
)

const fake = new FakeSecretsManager()
conformance(
  fake.module,
  { against: 'fake', counterpart: 'the Secrets Manager API Reference and User Guide' },
  async (): Promise<Harness<Target, undefined, never, Settings>> => {
    let serial = 0
    const mint = async (name?: string): Promise<Credential<Target, undefined>> => {
      serial += 1
      const { arn } = fake.create(name ?? `service/user-${serial}`)
      const versionId = fake.current(arn)
      const value = fake.value(arn, versionId)
      const { password }: { password: string } = JSON.parse(value)
      let open = false
      return {
        subject: { lease: versionId, target: { arn, versionId } },
        secrets: [password],
        works: async () => fake.takes(arn, value),
        open: async () => {
          open = true
          return { alive: async () => open, close: async () => undefined }
        },
      }
    }
    const fault = (kind: FakeSecretsManager['fault']) => async () => {
      fake.fault = kind
    }
    return {
      issuer: { name: 'secrets', settings: fake.settings() },
      adminSecret: JSON.stringify(fake.admin),
      wrongSecret: JSON.stringify({ ...fake.admin, secretAccessKey: 'wrong-secret-access-key' }),
      faults: {
        down: fault('unavailable'),
        hang: fault('unavailable'),
        nonsense: fault('unavailable'),
        other: fault('other'),
        async throttled() {
          fake.fault = 'throttled'
          return 5
        },
        heal: fault('none'),
      },
      repeated: 'revoked',
      mint: () => mint(),
      neverExisted: () => neverExisted(fake.region, fake.account),
      poison: async () => {
        const { arn, tags } = fake.create(`service/poison-${serial}`)
        tags.set('rescind:protected', 'true')
        return { subject: { lease: 'poison', target: { arn, versionId: fake.current(arn) } }, status: 'irrevocable' }
      },
      replace: async ({ subject: { target } }) => {
        fake.delete(target.arn)
        return await mint(/secret:(.*)-[^-]{6}$/.exec(target.arn)?.[1])
      },
      named: (name) => ({
        lease: 'named',
        target: { arn: `arn:aws:secretsmanager:${fake.region}:${fake.account}:secret:${name}-AbCdEf`, versionId: VERSION },
      }),
      pasted,
      stop: async () => undefined,
    }
  },
  EXTRAS,
)

describe.skipIf(stack === undefined)('aws-secretsmanager alone, on MiniStack', () => {
  const { account = '', region = '', endpoint = '' } = stack ?? {}
  let rotation: Rotation
  let key: Awaited<ReturnType<typeof workerKey>>
  const opened: { close(): Promise<void> }[] = []
  beforeAll(async () => {
    rotation = await startRotation(root)
    key = await workerKey()
  })
  afterEach(async () => {
    rotation.fails.clear()
    rotation.steps.length = 0
    await Promise.all(opened.splice(0).map((provider) => provider.close()))
  })
  afterAll(() => rotation.stop())
  const connect = async (change: Partial<Settings> = {}) => {
    const provider = await module.connect(
      { name: 'secrets', settings: { ...Settings.parse({ account, region }), ...change } },
      tools(JSON.stringify(key), { AWS_ENDPOINT_URL: endpoint }),
    )
    opened.push(provider)
    return provider
  }
  const subjectOf = ({ arn, versionId }: Rotating) => [{ lease: 'lease', target: { arn, versionId } }]
  const single = { 'rescind:rotation': 'single-user' }
  const current = (arn: string) => rotation.currentValue(arn, { VersionStage: 'AWSCURRENT' })

  it('is not done before the rotation is: it waits, asks for no second one, and the database refuses the value then', async () => {
    const provider = await connect()
    const rotating = await rotation.create({ rotates: rotation.functionArn('slowly'), tags: single })
    const [session, free] = [await rotation.open(rotating.value), rotation.hold()]
    for (const _ of [1, 2]) {
      expect(await provider.revoke(subjectOf(rotating), WARRANT)).toMatchObject([
        { status: 'retry', effect: 'unknown', said: expect.stringContaining('under way') },
      ])
    }
    expect(await rotation.works(rotating.value)).toBe(true)
    expect(await provider.verify(subjectOf(rotating), WARRANT)).toMatchObject([{ status: 'alive' }])
    free()
    await expect
      .poll(() => provider.verify(subjectOf(rotating), WARRANT), { timeout: 10_000 })
      .toMatchObject([{ status: 'dead' }])
    expect(await provider.revoke(subjectOf(rotating), WARRANT)).toMatchObject([
      { status: 'revoked', said: expect.stringContaining('sessions opened with the old value live on') },
    ])
    expect(await rotation.works(rotating.value)).toBe(false)
    expect(await rotation.works(await current(rotating.arn))).toBe(true)
    expect(await session.alive()).toBe(true)
    expect(rotation.steps).toEqual(['createSecret', 'setSecret', 'testSecret', 'finishSecret'])
    // Another case finds it done.
    expect(await provider.revoke(subjectOf(rotating), { ...WARRANT, case: 'b'.repeat(26) })).toMatchObject([{ status: 'absent' }])
  })

  it('rotates twice where two users take turns: after the first time the old value still works', async () => {
    const provider = await connect()
    const rotating = await rotation.create({ rotates: rotation.functionArn(), alternating: true })
    await root.send(new RotateSecretCommand({ SecretId: rotating.arn }))
    expect(await rotation.works(rotating.value)).toBe(true)
    expect(await provider.verify(subjectOf(rotating), WARRANT)).toMatchObject([
      { status: 'alive', said: expect.stringContaining('one more rotation') },
    ])
    expect(await provider.revoke(subjectOf(rotating), WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(await rotation.works(rotating.value)).toBe(false)
    const fresh = await rotation.create({ rotates: rotation.functionArn(), alternating: true })
    rotation.steps.length = 0
    expect(await provider.revoke(subjectOf(fresh), WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(rotation.steps).toHaveLength(8)
    expect(await rotation.works(fresh.value)).toBe(false)
    expect(await provider.verify(subjectOf(fresh), WARRANT)).toMatchObject([{ status: 'dead' }])
    expect(await rotation.works(await current(fresh.arn))).toBe(true)
  })

  it('believes no new value that somebody put by hand: the database takes the old one until a rotation', async () => {
    const provider = await connect()
    const rotating = await rotation.create({ rotates: rotation.functionArn(), tags: single })
    await root.send(
      new PutSecretValueCommand({
        SecretId: rotating.arn,
        SecretString: JSON.stringify({ ...rotating.value, password: 'by-hand' }),
      }),
    )
    expect(await rotation.works(rotating.value)).toBe(true)
    expect(await provider.verify(subjectOf(rotating), WARRANT)).toMatchObject([{ status: 'alive' }])
    expect(await provider.revoke(subjectOf(rotating), WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(await rotation.works(rotating.value)).toBe(false)
  })

  it('says that nobody can cut the value of a secret without a rotation function, and leaves it', async () => {
    const provider = await connect()
    const rotating = await rotation.create()
    expect(await provider.revoke(subjectOf(rotating), WARRANT)).toMatchObject([
      { status: 'irrevocable', said: expect.stringContaining('no rotation is turned on') },
    ])
    expect(await provider.verify(subjectOf(rotating), WARRANT)).toMatchObject([{ status: 'alive' }])
    expect(await rotation.works(rotating.value)).toBe(true)
  })

  it('waits for a rotation that fails, and takes none of its steps for success', async () => {
    const provider = await connect()
    const rotating = await rotation.create({ rotates: rotation.functionArn(), tags: single })
    rotation.fails.add('setSecret')
    for (const _ of [1, 2]) {
      expect(await provider.revoke(subjectOf(rotating), WARRANT)).toMatchObject([{ status: 'retry', effect: 'unknown' }])
    }
    expect(await rotation.works(rotating.value)).toBe(true)
    // AWS refuses every later rotation while the label stands.
    await expect(root.send(new RotateSecretCommand({ SecretId: rotating.arn }))).rejects.toMatchObject({
      name: 'InvalidRequestException',
    })
  })

  it('tells a secret that is gone from one that is to be deleted, whose value may still work', async () => {
    const provider = await connect()
    const [gone, going] = [await rotation.create(), await rotation.create({ rotates: rotation.functionArn() })]
    await root.send(new DeleteSecretCommand({ SecretId: gone.arn, ForceDeleteWithoutRecovery: true }))
    await root.send(new DeleteSecretCommand({ SecretId: going.arn, RecoveryWindowInDays: 7 }))
    expect(await provider.revoke([...subjectOf(gone), ...subjectOf(going)], WARRANT)).toMatchObject([
      { status: 'absent', said: expect.stringContaining('cannot tell') },
      { status: 'irrevocable', said: expect.stringContaining('restore it') },
    ])
    expect(await provider.verify(subjectOf(going), WARRANT)).toMatchObject([{ status: 'unknown' }])
    expect(await rotation.works(going.value)).toBe(true)
  })

  it('does nothing to a secret of another account or region, and reads no value', async () => {
    const provider = await connect()
    const { arn, versionId } = await rotation.create({ rotates: rotation.functionArn() })
    for (const other of [arn.replace(account, '999999999999'), arn.replace(region, 'eu-west-1')]) {
      const subjects = [{ lease: 'l', target: { arn: other, versionId } }]
      expect(await provider.revoke(subjects, WARRANT)).toMatchObject([{ status: 'irrevocable' }])
      expect(await provider.verify(subjects, WARRANT)).toMatchObject([{ status: 'unknown' }])
    }
    expect(rotation.steps).toEqual([])
    const worker = new SecretsManagerClient({ endpoint, region, credentials: key })
    await expect(worker.send(new GetSecretValueCommand({ SecretId: arn }))).rejects.toMatchObject({
      name: expect.stringMatching(/AccessDenied/),
    })
    worker.destroy()
  })
})

describe('aws-secretsmanager alone, on the fake', () => {
  const MINUTE = 60_000
  const start = async (change: Partial<Settings> = {}) => {
    const secrets = new FakeSecretsManager()
    const clock = { now: Date.parse('2026-11-22T12:00:00Z') }
    secrets.now = () => clock.now
    const provider = await secrets.module.connect(
      { name: 'secrets', settings: secrets.settings(change) },
      { ...tools(JSON.stringify(secrets.admin)), now: () => clock.now },
    )
    const { arn } = secrets.create('service/user')
    const target = { arn, versionId: secrets.current(arn) }
    return { secrets, clock, provider, arn, value: secrets.value(arn, target.versionId), subjects: [{ lease: 'l', target }] }
  }

  it('says what to do about a rotation that is stuck, and clears it where it may', async () => {
    const { secrets, clock, provider, subjects, arn, value } = await start()
    secrets.rotation = 'fails'
    expect(await provider.revoke(subjects, WARRANT)).toMatchObject([{ status: 'retry', effect: 'unknown' }])
    clock.now += 14 * MINUTE
    expect(await provider.revoke(subjects, WARRANT)).toMatchObject([{ status: 'retry' }])
    clock.now += MINUTE
    expect(await provider.revoke(subjects, WARRANT)).toMatchObject([
      { status: 'irrevocable', said: expect.stringMatching(/stuck since 2026-11-22T12:00:00.000Z.*UpdateSecretVersionStage/) },
    ])
    expect(secrets.takes(arn, value)).toBe(true)

    const other = await start({ clearsStuck: true })
    other.secrets.rotation = 'fails'
    await other.provider.revoke(other.subjects, WARRANT)
    other.clock.now += 15 * MINUTE
    other.secrets.rotation = 'at-once'
    // A token of its own, for the old one names the version that got stuck; so our mark is not told from another case's.
    expect(await other.provider.revoke(other.subjects, WARRANT)).toMatchObject([{ status: 'absent' }])
    expect(other.secrets.takes(other.arn, other.value)).toBe(false)
  })

  it('waits for a rotation that somebody else began, and rotates then if it was not enough', async () => {
    const { secrets, provider, subjects, arn, value } = await start({ strategy: 'alternating-users' })
    secrets.rotation = 'slow'
    await secrets.client().rotate(arn, 'somebody-elses-rotation-token-0123456789')
    expect(await provider.revoke(subjects, WARRANT)).toMatchObject([{ status: 'retry', effect: 'none' }])
    expect(secrets.calls.filter((call) => call === 'RotateSecret')).toHaveLength(1)
    secrets.rotation = 'at-once'
    secrets.finish()
    expect(await provider.revoke(subjects, WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(secrets.takes(arn, value)).toBe(false)
  })

  it('lists what may still work, so that each is recognised, one at a time too', async () => {
    const { secrets, provider, arn, subjects } = await start({ strategy: 'alternating-users' })
    secrets.create('another')
    const first = secrets.current(arn)
    secrets.rotation = 'at-once'
    await secrets.client().rotate(arn, 'somebody-elses-rotation-token-0123456789')
    const found: { shown: string; usable: boolean }[] = []
    let from: string | undefined
    do {
      const page = await provider.discover?.(from, 1)
      if (page?.status !== 'page') throw new Error('no page')
      expect(page.listed.length).toBeLessThanOrEqual(1)
      found.push(...page.listed)
      from = page.next
    } while (from !== undefined)
    expect(found).toHaveLength(3)
    for (const { shown } of found) expect(definition.recognise?.(shown, mac)?.credential).toBe(shown)
    expect(found.find(({ shown }) => shown.endsWith(first))).toMatchObject({ usable: true })
    await provider.revoke(subjects, WARRANT)
    const after = await provider.discover?.(undefined, 100)
    expect(JSON.stringify(after)).not.toContain(first)
    expect(await provider.discover?.('no place', 100)).toMatchObject({ status: 'unknown' })
  })

  it('rotates a replica nowhere, nor where rotation is turned off', async () => {
    const { secrets, provider } = await start()
    for (const change of [{ primaryRegion: 'us-east-1' }, { rotates: false }]) {
      const { arn } = secrets.create('other', change)
      const target = { arn, versionId: secrets.current(arn) }
      expect(await provider.revoke([{ lease: 'l', target }], WARRANT)).toMatchObject([{ status: 'irrevocable' }])
    }
    expect(secrets.calls).not.toContain('RotateSecret')
  })

  it('cuts the value that its own rotation made, when that has leaked too', async () => {
    const { secrets, provider, subjects, arn } = await start()
    await provider.revoke(subjects, WARRANT)
    const late = [{ lease: 'late', target: { arn, versionId: secrets.current(arn) } }]
    const value = secrets.value(arn, secrets.current(arn))
    expect(await provider.revoke(late, WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(secrets.takes(arn, value)).toBe(false)
  })

  it('gives all attempts of a case one token, and others to others', () => {
    const tokens = [
      tokenOf('case', 'arn', 'one'),
      tokenOf('other', 'arn', 'one'),
      tokenOf('case', 'arn', 'two'),
      tokenOf('case', 'arn', 'one', 'stuck'),
    ]
    expect(new Set(tokens).size).toBe(tokens.length)
    expect(tokens[0]).toBe(tokenOf('case', 'arn', 'one'))
    // RotateSecret takes 32 to 64 characters.
    for (const token of tokens) expect(definition.target.safeParse({ arn: ARN, versionId: token }).success).toBe(true)
  })

  it('names a version, never a secret as such', () => {
    expect(definition.recognise?.(ARN, mac)).toBeUndefined()
    expect(definition.recognise?.(`${ARN}:::`, mac)).toBeUndefined()
    expect(definition.target.safeParse({ arn: ARN.slice(0, -7), versionId: VERSION }).success).toBe(false)
  })
})

const ARN = 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:service/user-AbCdEf'
