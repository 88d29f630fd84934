// biome-ignore-all lint/suspicious/noTemplateCurlyInString: placeholders of Permission.resources
import {
  CreateAccessKeyCommand,
  CreateLoginProfileCommand,
  CreateRoleCommand,
  CreateUserCommand,
  DeleteAccessKeyCommand,
  DeleteRoleCommand,
  DeleteRolePolicyCommand,
  DeleteUserCommand,
  DeleteUserPolicyCommand,
  GetLoginProfileCommand,
  GetRolePolicyCommand,
  IAMClient,
  ListRolePoliciesCommand,
  PutRolePolicyCommand,
  PutUserPolicyCommand,
  UpdateAccessKeyCommand,
} from '@aws-sdk/client-iam'
import { ListBucketsCommand, S3Client } from '@aws-sdk/client-s3'
import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { afterAll, describe, expect, it } from 'vitest'
import type { Lever, Settings, Target } from '../../functions/providers/aws-iam/definition.ts'
import { definition, Settings as SettingsSchema, Target as TargetSchema } from '../../functions/providers/aws-iam/definition.ts'
import { FakeIam } from '../../functions/providers/aws-iam/fake.ts'
import { provider as module } from '../../functions/providers/aws-iam/provider.ts'
import type { Provider, Warrant } from '../../functions/providers/contract.ts'
import { IssuerRefused, IssuerUnavailable } from '../../functions/providers/contract.ts'
import { startAwsFront, startOtherAccount } from '../support/aws-front.ts'
import { mac } from '../support/mac.ts'
import { startMiniStack } from '../support/ministack.ts'
import { spokeRole } from '../support/spoke.ts'
import type { Credential, Faults, Harness } from './suite.ts'
import { conformance, startGate } from './suite.ts'

const stack = await startMiniStack()
afterAll(() => stack?.stop())

const EXTRAS = ['poison', 'replace', 'throttled', 'nonsense', 'named'] as const
const HOSTILE = ['a+b=c,d.e@f-g_h', '-.-', '=', 'x'.repeat(64), 'ARN', 'root']
const NEVER = 'AKIA0000000000000000'
const named = (name: string) => ({
  lease: 'named',
  target: { kind: 'access-key' as const, userName: name, accessKeyId: NEVER },
})
/** A key as people have it: alone, in a credentials file, in the signature of a request. */
const pasted = ({ subject: { target } }: Credential<Target, undefined>) => {
  const id = target.kind === 'access-key' ? target.accessKeyId : ''
  return [
    id,
    `[default]\naws_access_key_id=${id}\naws_secret_access_key=${'q'.repeat(40)}`,
    `Credential=${id}/20261122/us-east-1/iam`,
  ]
}

type Of = Harness<Target, undefined, Lever, Settings>

conformance(
  module,
  {
    against: 'real',
    counterpart: 'MiniStack 1.5.33, with IAM enforced',
    ...(stack === undefined ? { missing: 'there is no usable Python' } : {}),
  },
  async (): Promise<Of> => {
    const { endpoint = '', account = '', region = '', rootCredentials } = stack ?? {}
    const [front, other] = [await startAwsFront(endpoint), await startOtherAccount('999999999999')]
    const gate = await startGate(front.port, other.port)
    const iam = new IAMClient({ endpoint, region, credentials: rootCredentials ?? { accessKeyId: '', secretAccessKey: '' } })
    const newUser = async (UserName: string, PolicyDocument: string, tags: Record<string, string> = {}) => {
      const Tags = Object.entries(tags).map(([Key, Value]) => ({ Key, Value }))
      const { User: user } = await iam.send(new CreateUserCommand({ UserName, Tags }))
      await iam.send(new PutUserPolicyCommand({ UserName, PolicyName: 'own', PolicyDocument }))
      return user?.UserId ?? ''
    }
    const newKey = async (UserName: string) => {
      const { AccessKey: key } = await iam.send(new CreateAccessKeyCommand({ UserName }))
      return { accessKeyId: key?.AccessKeyId ?? '', secretAccessKey: key?.SecretAccessKey ?? '' }
    }
    const works = async (credentials: Credentials) => {
      const s3 = new S3Client({ endpoint, region, credentials, maxAttempts: 1, forcePathStyle: true })
      const worked = await s3.send(new ListBucketsCommand({})).then(
        () => true,
        () => false,
      )
      s3.destroy()
      return worked
    }
    let serial = 0
    const next = () => {
      serial += 1
      return `suite-${serial}`
    }
    const mint = async (options: { name?: string; lever?: Lever } = {}): Promise<Credential<Target, undefined>> => {
      const held = options.lever?.kind === 'user' ? options.lever : undefined
      const userName = held?.userName ?? options.name ?? next()
      const userId = held?.userId ?? (await newUser(userName, S3_ONLY))
      const key = await newKey(userName)
      return {
        subject: { lease: key.accessKeyId, target: { kind: 'access-key', userName, userId, accessKeyId: key.accessKeyId } },
        secrets: [key.secretAccessKey],
        works: () => works(key),
      }
    }
    await newUser('suite-worker', policyOf(account))
    const admin = await newKey('suite-worker')
    return {
      issuer: { name: 'aws-test', settings: SettingsSchema.parse({ account, region }) },
      environment: { AWS_ENDPOINT_URL: `http://127.0.0.1:${gate.port}` },
      adminSecret: JSON.stringify(admin),
      wrongSecret: JSON.stringify({ ...admin, secretAccessKey: 'wrong-secret-access-key-0123456789' }),
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
      repeated: 'absent',
      mint,
      neverExisted: () => ({ subject: named('never'), status: 'absent' }),
      poison: async () => {
        const userName = next()
        await newUser(userName, S3_ONLY, { 'rescind:protected': 'true' })
        const { accessKeyId } = await newKey(userName)
        return { subject: { lease: 'poison', target: { kind: 'access-key', userName, accessKeyId } }, status: 'irrevocable' }
      },
      replace: async ({ subject: { target } }) => {
        if (target.kind !== 'access-key') throw new Error('not a key')
        const { userName, accessKeyId } = target
        await iam.send(new DeleteAccessKeyCommand({ UserName: userName, AccessKeyId: accessKeyId }))
        await iam.send(new DeleteUserPolicyCommand({ UserName: userName, PolicyName: 'own' }))
        await iam.send(new DeleteUserCommand({ UserName: userName }))
        return await mint({ name: userName })
      },
      hostileNames: HOSTILE,
      named,
      pasted,
      lever: async () => {
        const userName = next()
        return { kind: 'user', userName, userId: await newUser(userName, S3_ONLY) }
      },
      own: `access-key:${admin.accessKeyId}`,
      async stop() {
        iam.destroy()
        await gate.close()
        await Promise.all([front.stop(), other.stop()])
      },
    }
  },
  EXTRAS,
)

const fake = new FakeIam('123456789012', 9)
conformance(
  fake.module,
  { against: 'fake', counterpart: 'the IAM and STS API References' },
  async (): Promise<Of> => {
    let serial = 0
    const next = () => {
      serial += 1
      return `suite-${serial}`
    }
    const mint = async (options: { name?: string; lever?: Lever } = {}): Promise<Credential<Target, undefined>> => {
      const held = options.lever?.kind === 'user' ? options.lever : undefined
      const userName = held?.userName ?? options.name ?? next()
      const userId = held?.userId ?? fake.addUser(userName)
      const accessKeyId = fake.addAccessKey(userName)
      return {
        subject: { lease: accessKeyId, target: { kind: 'access-key', userName, userId, accessKeyId } },
        secrets: [],
        works: async () => fake.keyWorks(userName, accessKeyId),
      }
    }
    const fault = (kind: FakeIam['fault']) => async () => {
      fake.fault = kind
    }
    const faults: Faults = {
      down: fault('unavailable'),
      hang: fault('unavailable'),
      nonsense: fault('unavailable'),
      other: fault('other'),
      async throttled() {
        fake.fault = 'throttled'
        return 5
      },
      heal: fault('none'),
    }
    return {
      issuer: { name: 'aws-test', settings: SettingsSchema.parse({ account: '123456789012', region: 'eu-central-1' }) },
      adminSecret: JSON.stringify(fake.admin),
      wrongSecret: JSON.stringify({ ...fake.admin, secretAccessKey: 'wrong-secret-access-key' }),
      faults,
      repeated: 'absent',
      mint,
      neverExisted: () => ({ subject: named('never'), status: 'absent' }),
      poison: async () => {
        const userName = next()
        fake.addUser(userName, { 'rescind:protected': 'true' })
        const accessKeyId = fake.addAccessKey(userName)
        return { subject: { lease: 'poison', target: { kind: 'access-key', userName, accessKeyId } }, status: 'irrevocable' }
      },
      replace: async ({ subject: { target } }) => {
        if (target.kind !== 'access-key') throw new Error('not a key')
        fake.removeUser(target.userName)
        return await mint({ name: target.userName })
      },
      hostileNames: HOSTILE,
      named,
      pasted,
      lever: async () => {
        const userName = next()
        return { kind: 'user', userName, userId: fake.addUser(userName) }
      },
      stop: async () => undefined,
    }
  },
  EXTRAS,
)

const S3_ONLY = JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 's3:*', Resource: '*' }] })

/** The policy that the stack makes of `definition.permissions`, for one account. */
function policyOf(account: string): string {
  return JSON.stringify({
    Version: '2012-10-17',
    Statement: definition.permissions.map(({ actions, resources }) => ({
      Effect: 'Allow',
      Action: actions,
      Resource: resources.map((arn) => arn.replace('${partition}', 'aws').replace('${account}', account)),
    })),
  })
}

interface Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
}

/** A real IAM, as far as an emulator is one: it signs, enforces policies and dates tokens (`AUTH=true`). */
describe.skipIf(stack === undefined)('aws-iam against MiniStack with IAM enforced', () => {
  const endpoint = stack?.endpoint ?? ''
  const account = stack?.account ?? ''
  const client = (credentials: Credentials) => ({ endpoint, region: stack?.region ?? 'us-east-1', credentials, maxAttempts: 1 })
  const root = new IAMClient(client(stack?.rootCredentials ?? { accessKeyId: '', secretAccessKey: '' }))
  const opened: Provider<Target, undefined, Lever>[] = []
  afterAll(async () => {
    for (const provider of opened) await provider.close()
    root.destroy()
  })

  /** What AWS answers to the holder of the credential: `works`, or the error's code. */
  async function attempt(credentials: Credentials): Promise<string> {
    const s3 = new S3Client({ ...client(credentials), forcePathStyle: true })
    try {
      await s3.send(new ListBucketsCommand({}))
      return 'works'
    } catch (error) {
      return error instanceof Error ? error.name : String(error)
    } finally {
      s3.destroy()
    }
  }

  async function newUser(userName: string, policy = S3_ONLY): Promise<string> {
    const { User: user } = await root.send(new CreateUserCommand({ UserName: userName }))
    await root.send(new PutUserPolicyCommand({ UserName: userName, PolicyName: 'own', PolicyDocument: policy }))
    return user?.UserId ?? ''
  }

  async function newKey(userName: string): Promise<Credentials> {
    const { AccessKey: key } = await root.send(new CreateAccessKeyCommand({ UserName: userName }))
    return { accessKeyId: key?.AccessKeyId ?? '', secretAccessKey: key?.SecretAccessKey ?? '' }
  }

  async function newRole(roleName: string, policy = S3_ONLY, condition: object = {}, path = '/'): Promise<string> {
    const trust = {
      Version: '2012-10-17',
      Statement: [
        { Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${account}:root` }, Action: 'sts:AssumeRole', ...condition },
      ],
    }
    const { Role: role } = await root.send(
      new CreateRoleCommand({ RoleName: roleName, Path: path, AssumeRolePolicyDocument: JSON.stringify(trust) }),
    )
    await root.send(new PutRolePolicyCommand({ RoleName: roleName, PolicyName: 'own', PolicyDocument: policy }))
    return role?.RoleId ?? ''
  }

  /** A session of an hour; `issuedAt` as AWS dates its token: an hour before its end. */
  async function assume(roleName: string, sessionName: string): Promise<Credentials & { readonly issuedAt: string }> {
    const sts = new STSClient(client(stack?.rootCredentials ?? { accessKeyId: '', secretAccessKey: '' }))
    const { Credentials: session } = await sts.send(
      new AssumeRoleCommand({
        RoleArn: `arn:aws:iam::${account}:role/${roleName}`,
        RoleSessionName: sessionName,
        DurationSeconds: 3600,
      }),
    )
    sts.destroy()
    return {
      accessKeyId: session?.AccessKeyId ?? '',
      secretAccessKey: session?.SecretAccessKey ?? '',
      sessionToken: session?.SessionToken ?? '',
      issuedAt: new Date((session?.Expiration?.getTime() ?? 0) - 3_600_000).toISOString(),
    }
  }

  /** Assumes the role again and again until a session works: tokens are dated by the second. */
  async function assumeUntilItWorks(roleName: string, sessionName: string): Promise<string> {
    const deadline = Date.now() + 10_000
    let answer = ''
    while (answer !== 'works' && Date.now() < deadline) {
      answer = await attempt(await assume(roleName, sessionName))
    }
    return answer
  }

  const workerPolicy = policyOf(account)
  let worker: Promise<Credentials> | undefined
  const workerKey = () => {
    worker ??= newUser('rescind-worker', workerPolicy).then(() => newKey('rescind-worker'))
    return worker
  }

  async function connect(change: Partial<Settings> = {}, secret?: string, url = endpoint) {
    const settings = SettingsSchema.parse({ account, region: stack?.region, ...change })
    const { accessKeyId, secretAccessKey } = await workerKey()
    const connected = await module.connect(
      { name: 'aws-test', settings },
      {
        adminSecret: async () => secret ?? JSON.stringify({ accessKeyId, secretAccessKey }),
        now: () => Date.now(),
        environment: { AWS_ENDPOINT_URL: url },
      },
    )
    opened.push(connected)
    const { tidy, restore, contain, release, locate } = connected
    if (tidy === undefined || restore === undefined || contain === undefined || release === undefined || locate === undefined)
      throw new Error('incomplete')
    return { ...connected, tidy, restore, contain, release, locate }
  }

  const warrant = (lane: Warrant['lane'] = 'p1', epoch = 1): Warrant => ({
    case: 'abcdefghijklmnopqrstuvwxyz',
    lane,
    epoch,
    fencedAt: new Date().toISOString(),
  })
  const subject = (target: Target) => [{ lease: 'lease', target: TargetSchema.parse(target) }]
  const words = (answers: readonly { status: string }[]) => answers.map(({ status }) => status)

  it('an access key works before, is refused after, works when restored, and is deleted after the soak time', async () => {
    const userId = await newUser('ci-key')
    const [key, other] = [await newKey('ci-key'), await newKey('ci-key')]
    const aws = await connect()
    const target = subject({ kind: 'access-key', userName: 'ci-key', userId, accessKeyId: key.accessKeyId })
    expect(await attempt(key)).toBe('works')
    const sts = new STSClient(client(key))
    expect((await sts.send(new GetCallerIdentityCommand({}))).UserId).toBe(userId)
    expect(words(await aws.verify(target, warrant()))).toEqual(['alive'])

    expect(words(await aws.revoke(target, warrant()))).toEqual(['revoked'])
    expect(await attempt(key)).toMatch(/^(InvalidClientTokenId|InvalidAccessKeyId)$/)
    await expect(sts.send(new GetCallerIdentityCommand({}))).rejects.toMatchObject({ name: 'InvalidClientTokenId' })
    sts.destroy()
    expect(await attempt(other)).toBe('works')
    expect(words(await aws.verify(target, warrant()))).toEqual(['dead'])
    expect(words(await aws.revoke(target, warrant()))).toEqual(['absent'])

    expect(words(await aws.restore(target, warrant()))).toEqual(['restored'])
    expect(words(await aws.restore(target, warrant()))).toEqual(['restored'])
    expect(await attempt(key)).toBe('works')
    expect(words(await aws.tidy(target, warrant()))).toEqual(['irrevocable'])
    await aws.revoke(target, warrant())
    expect(words(await aws.tidy(target, warrant()))).toEqual(['revoked'])
    expect(words(await aws.tidy(target, warrant()))).toEqual(['absent'])
    expect(words(await aws.revoke(target, warrant()))).toEqual(['absent'])
    expect(words(await aws.restore(target, warrant()))).toEqual(['gone'])
  })

  it('a user that is gone and one that came after it under the same name are told apart', async () => {
    const aws = await connect()
    const first = await newUser('reused')
    await root.send(new DeleteUserCommand({ UserName: 'reused' }))
    const target = { kind: 'access-key', userName: 'reused', userId: first, accessKeyId: 'AKIA0000000000000000' } as const
    const [gone] = await aws.revoke(subject(target), warrant())
    expect(gone).toMatchObject({ status: 'absent', said: expect.stringContaining('is not in account') })
    await newUser('reused')
    const key = await newKey('reused')
    const [namesake] = await aws.revoke(subject({ ...target, accessKeyId: key.accessKeyId }), warrant())
    expect(namesake).toMatchObject({ status: 'absent', said: expect.stringContaining(`${first} is gone`) })
    expect(await attempt(key)).toBe('works')
  })

  it('a role session is denied after, another and a newer one of the same role work', async () => {
    const roleId = await newRole('app')
    const aws = await connect()
    const [job, other] = [await assume('app', 'job-1'), await assume('app', 'job-2')]
    const target = subject({ kind: 'role-session', roleName: 'app', roleId, sessionName: 'job-1' })
    expect([await attempt(job), await attempt(other)]).toEqual(['works', 'works'])
    expect(words(await aws.verify(target, warrant()))).toEqual(['alive'])

    const held = warrant()
    expect(words(await aws.revoke(target, held))).toEqual(['revoked'])
    expect([await attempt(job), await attempt(other)]).toEqual(['AccessDenied', 'works'])
    expect(words(await aws.verify(target, held))).toEqual(['dead'])
    expect(await assumeUntilItWorks('app', 'job-1')).toBe('works')
    expect(await attempt(job)).toBe('AccessDenied')

    expect(words(await aws.restore(target, held))).toEqual(['restored'])
    expect(await attempt(job)).toBe('works')
  })

  it('of two sessions with one name the one that is named by its time of issue is cut, the other goes on', async () => {
    const roleId = await newRole('shared')
    const aws = await connect()
    const one = await assume('shared', 'GitHubActions')
    let other = await assume('shared', 'GitHubActions')
    // Tokens are dated by the second: two of one second cannot be told apart.
    while (other.issuedAt === one.issuedAt) other = await assume('shared', 'GitHubActions')
    const target = (issuedAt: string) =>
      subject({ kind: 'role-session', roleName: 'shared', roleId, sessionName: 'GitHubActions', issuedAt })
    expect([await attempt(one), await attempt(other)]).toEqual(['works', 'works'])
    const held = warrant()
    expect(words(await aws.revoke(target(one.issuedAt), held))).toEqual(['revoked'])
    expect([await attempt(one), await attempt(other)]).toEqual(['AccessDenied', 'works'])
    expect(words(await aws.verify(target(one.issuedAt), held))).toEqual(['dead'])
    expect(words(await aws.verify(target(other.issuedAt), held))).toEqual(['alive'])
    expect(words(await aws.restore(target(one.issuedAt), held))).toEqual(['restored'])
    expect([await attempt(one), await attempt(other)]).toEqual(['works', 'works'])
  })

  it('gives back what was cut and contained only when both are undone', async () => {
    const userId = await newUser('both')
    const key = await newKey('both')
    const aws = await connect()
    const lever = { kind: 'user', userName: 'both', userId } as const
    const target = subject({ kind: 'access-key', userName: 'both', userId, accessKeyId: key.accessKeyId })
    await aws.contain(lever, warrant('p1', 3))
    expect(words(await aws.revoke(target, warrant('p1', 3)))).toEqual(['revoked'])
    expect(words(await aws.restore(target, warrant('p1', 3)))).toEqual(['restored'])
    expect(await attempt(key)).toMatch(/^Invalid/)
    expect((await aws.release(lever, warrant('p1', 3))).status).toBe('done')
    expect(await attempt(key)).toBe('works')
  })

  it("a user's password is deleted, and found gone afterwards", async () => {
    const userId = await newUser('eve')
    const { LoginProfile: profile } = await root.send(
      new CreateLoginProfileCommand({ UserName: 'eve', Password: 'a Long one, 4 eve' }),
    )
    const aws = await connect()
    const target = subject({ kind: 'login-profile', userName: 'eve', userId, createdAt: profile?.CreateDate?.toISOString() })
    expect(words(await aws.verify(target, warrant()))).toEqual(['alive'])
    const earlier = subject({ kind: 'login-profile', userName: 'eve', createdAt: '2020-01-01T00:00:00.000Z' })
    expect(words(await aws.revoke(earlier, warrant()))).toEqual(['absent'])
    expect(words(await aws.revoke(target, warrant()))).toEqual(['revoked'])
    await expect(root.send(new GetLoginProfileCommand({ UserName: 'eve' }))).rejects.toMatchObject({
      name: expect.stringMatching(/^NoSuchEntity/),
    })
    expect(words(await aws.verify(target, warrant()))).toEqual(['dead'])
    expect(words(await aws.revoke(target, warrant()))).toEqual(['absent'])
  })

  it('restores no key that somebody else had deactivated', async () => {
    await newUser('shut-before')
    const key = await newKey('shut-before')
    await root.send(new UpdateAccessKeyCommand({ UserName: 'shut-before', AccessKeyId: key.accessKeyId, Status: 'Inactive' }))
    const aws = await connect()
    const target = subject({ kind: 'access-key', userName: 'shut-before', accessKeyId: key.accessKeyId })
    expect(words(await aws.revoke(target, warrant()))).toEqual(['absent'])
    expect(words(await aws.restore(target, warrant()))).toEqual(['refused'])
    expect(await attempt(key)).toMatch(/^Invalid/)
  })

  it('finds the user of a pasted key that nobody registered, and cuts it', async () => {
    const userId = await newUser('unregistered')
    const key = await newKey('unregistered')
    const aws = await connect()
    const pasted = `[default]\naws_access_key_id = ${key.accessKeyId}\naws_secret_access_key = ${key.secretAccessKey}\n`
    const clue = definition.recognise?.(pasted, mac)
    expect(clue?.credential).toBe(`access-key:${key.accessKeyId}`)
    expect(JSON.stringify(clue)).not.toContain(key.secretAccessKey)
    const located = await aws.locate(clue?.query ?? {})
    if (located.status !== 'found') throw new Error(located.said)
    expect(located).toMatchObject({
      target: { kind: 'access-key', userName: 'unregistered', userId, accessKeyId: key.accessKeyId },
      lever: { kind: 'user', userName: 'unregistered', userId },
      identity: `arn:aws:iam::${account}:user/unregistered`,
    })
    expect(await attempt(key)).toBe('works')
    expect(words(await aws.revoke(subject(located.target), warrant('p0')))).toEqual(['revoked'])
    expect(await attempt(key)).toMatch(/^Invalid/)
    expect(await aws.locate({ accessKeyId: 'AKIA0000000000000000' })).toMatchObject({ status: 'unknown' })
  })

  it("finds a session's role by what CloudTrail tells of it", async () => {
    const roleId = await newRole('leaked')
    const session = await assume('leaked', 'job-9')
    const aws = await connect()
    const event = { principalId: `${roleId}:job-9`, arn: `arn:aws:sts::${account}:assumed-role/leaked/job-9` }
    const located = await aws.locate(definition.recognise?.(JSON.stringify(event), mac)?.query ?? {})
    if (located.status !== 'found') throw new Error(located.said)
    expect(located.identity).toBe(`arn:aws:iam::${account}:role/leaked`)
    expect(words(await aws.revoke(subject(located.target), warrant('p0')))).toEqual(['revoked'])
    expect(await attempt(session)).toBe('AccessDenied')
  })

  it('a batch of sessions becomes one policy, each lane has its own, and none loses what another wrote', async () => {
    const roleId = await newRole('batch')
    const names = Array.from({ length: 12 }, (_, index) => `task=${index},a@b.c+d_e-f`)
    const sessions = await Promise.all(names.map((name) => assume('batch', name)))
    const aws = await connect()
    const batch = names.map((sessionName, index) => ({
      lease: `lease-${index}`,
      target: TargetSchema.parse({ kind: 'role-session', roleName: 'batch', roleId, sessionName }),
    }))
    const held = warrant('p0')
    const answers = await Promise.all([
      aws.revoke(batch.slice(0, 4), held),
      aws.revoke(batch.slice(4, 8), { ...held, lane: 'p1' }),
      aws.revoke(batch.slice(8), { ...held, lane: 'p2' }),
    ])
    expect(new Set(words(answers.flat()))).toEqual(new Set(['revoked']))
    expect(new Set(await Promise.all(sessions.map(attempt)))).toEqual(new Set(['AccessDenied']))
    const { PolicyNames: policies } = await root.send(new ListRolePoliciesCommand({ RoleName: 'batch' }))
    expect(policies?.toSorted()).toEqual(['own', 'rescind-sessions-p0', 'rescind-sessions-p1', 'rescind-sessions-p2'])
    expect(new Set(words(await aws.verify(batch, held)))).toEqual(new Set(['dead']))
  })

  it('a deny that somebody took out again shows as alive', async () => {
    const roleId = await newRole('undone')
    const session = await assume('undone', 'job')
    const aws = await connect()
    const target = subject({ kind: 'role-session', roleName: 'undone', roleId, sessionName: 'job' })
    const held = warrant()
    await aws.revoke(target, held)
    await root.send(new DeleteRolePolicyCommand({ RoleName: 'undone', PolicyName: 'rescind-sessions-p1' }))
    expect(await attempt(session)).toBe('works')
    expect(words(await aws.verify(target, held))).toEqual(['alive'])
  })

  it('a role that is gone or replaced is absent; one that AWS manages is unsupported', async () => {
    const roleId = await newRole('replaced')
    const aws = await connect()
    const target = subject({ kind: 'role-session', roleName: 'replaced', roleId, sessionName: 'job' })
    await root.send(new DeleteRolePolicyCommand({ RoleName: 'replaced', PolicyName: 'own' }))
    await root.send(new DeleteRoleCommand({ RoleName: 'replaced' }))
    expect(words(await aws.revoke(target, warrant()))).toEqual(['absent'])
    await newRole('replaced')
    const namesake = await assume('replaced', 'job')
    expect(words(await aws.revoke(target, warrant()))).toEqual(['absent'])
    expect(await attempt(namesake)).toBe('works')
    const managed = await newRole('AWSReservedSSO_Admin_0123', S3_ONLY, {}, '/aws-reserved/sso.amazonaws.com/')
    const [answer] = await aws.revoke(
      subject({ kind: 'role-session', roleName: 'AWSReservedSSO_Admin_0123', roleId: managed, sessionName: 'eve' }),
      warrant(),
    )
    expect(answer).toMatchObject({ status: 'unsupported', livesUntil: expect.any(String) })
  })

  it('containing a role cuts its older sessions and spares newer ones; a release brings the older ones back', async () => {
    const roleId = await newRole('contained')
    const [one, two] = [await assume('contained', 'one'), await assume('contained', 'two')]
    const aws = await connect()
    const lever = { kind: 'role', roleName: 'contained', roleId } as const
    expect([await attempt(one), await attempt(two)]).toEqual(['works', 'works'])
    expect((await aws.contain(lever, warrant('p0', 7))).status).toBe('done')
    expect([await attempt(one), await attempt(two)]).toEqual(['AccessDenied', 'AccessDenied'])
    expect(await assumeUntilItWorks('contained', 'three')).toBe('works')
    const policy = await root.send(new GetRolePolicyCommand({ RoleName: 'contained', PolicyName: 'rescind-contain-7-p0' }))
    expect(decodeURIComponent(policy.PolicyDocument ?? '')).toContain('aws:TokenIssueTime')
    expect((await aws.release(lever, warrant('p0', 7))).status).toBe('done')
    expect(await attempt(one)).toBe('works')
  })

  it('containing a user refuses all its keys; a release gives back only those that it deactivated', async () => {
    const userId = await newUser('person')
    const [first, second] = [await newKey('person'), await newKey('person')]
    const aws = await connect()
    const lever = { kind: 'user', userName: 'person', userId } as const
    expect((await aws.contain(lever, warrant('p0', 2))).status).toBe('done')
    expect(await attempt(first)).toMatch(/^Invalid/)
    expect(await attempt(second)).toMatch(/^Invalid/)
    await aws.revoke(
      subject({ kind: 'access-key', userName: 'person', userId, accessKeyId: second.accessKeyId }),
      warrant('p1', 2),
    )
    expect((await aws.release(lever, warrant('p1', 2))).status).toBe('done')
    expect(await attempt(first)).toBe('works')
    expect(await attempt(second)).toMatch(/^Invalid/)
  })

  it('another account answers: refused, and nothing happens', async () => {
    await newUser('elsewhere')
    const key = await newKey('elsewhere')
    await expect(connect({ account: '111111111111' })).rejects.toBeInstanceOf(IssuerRefused)
    expect(await attempt(key)).toBe('works')
  })

  it('a refused admin credential, a worker without grants and a dead endpoint are the issuer, not the lease', async () => {
    await newUser('target-user')
    const key = await newKey('target-user')
    const target = subject({ kind: 'access-key', userName: 'target-user', accessKeyId: key.accessKeyId })
    const unknown = connect({}, JSON.stringify({ accessKeyId: 'AKIAUNKNOWNUNKNOWN00', secretAccessKey: 'x'.repeat(40) }))
    await expect(unknown).rejects.toBeInstanceOf(IssuerRefused)
    await newUser('powerless')
    const powerless = await connect({}, JSON.stringify(await newKey('powerless')))
    await expect(powerless.revoke(target, warrant())).rejects.toBeInstanceOf(IssuerRefused)
    await expect(connect({}, '{"accessKeyId":')).rejects.toBeInstanceOf(IssuerRefused)
    await expect(connect({}, '{"user":"root"}')).rejects.toThrow(/must hold accessKeyId/)
    await expect(connect({}, undefined, 'http://127.0.0.1:1')).rejects.toBeInstanceOf(IssuerUnavailable)
    expect(await attempt(key)).toBe('works')
  })

  it('works through the role of the spoke template, with its external id', async () => {
    const template = new URL('../../functions/providers/aws-iam/spoke.yaml', import.meta.url).pathname
    const given = { account, WorkerRoleArn: `arn:aws:iam::${account}:root`, ExternalId: 'from-the-operator' }
    const made = spokeRole(template, given)
    await root.send(
      new CreateRoleCommand({
        RoleName: made.RoleName,
        AssumeRolePolicyDocument: JSON.stringify({ Version: '2012-10-17', ...made.AssumeRolePolicyDocument }),
        Tags: made.Tags,
      }),
    )
    for (const { PolicyName, PolicyDocument } of made.Policies)
      await root.send(
        new PutRolePolicyCommand({ RoleName: made.RoleName, PolicyName, PolicyDocument: JSON.stringify(PolicyDocument) }),
      )
    await newUser('in-the-spoke')
    const key = await newKey('in-the-spoke')
    const roleArn = `arn:aws:iam::${account}:role/rescind-spoke`
    const target = subject({ kind: 'access-key', userName: 'in-the-spoke', accessKeyId: key.accessKeyId })
    await expect(connect({ roleArn, externalId: 'guessed' })).rejects.toBeInstanceOf(IssuerRefused)
    expect(await attempt(key)).toBe('works')
    const spoke = await connect({ roleArn, externalId: 'from-the-operator' })
    expect(words(await spoke.revoke(target, warrant()))).toEqual(['revoked'])
    expect(await attempt(key)).toMatch(/^Invalid/)
  })
})
