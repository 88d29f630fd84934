// biome-ignore-all lint/suspicious/noTemplateCurlyInString: policy variables of IAM, not of JavaScript
import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import type { IamClient } from '../../../functions/providers/aws-iam/client.ts'
import { classify, IamFault } from '../../../functions/providers/aws-iam/client.ts'
import type { Settings, Target } from '../../../functions/providers/aws-iam/definition.ts'
import {
  definition,
  Lever as LeverSchema,
  Settings as SettingsSchema,
  Target as TargetSchema,
} from '../../../functions/providers/aws-iam/definition.ts'
import { FakeIam } from '../../../functions/providers/aws-iam/fake.ts'
import { PROTECTED_TAG } from '../../../functions/providers/aws-iam/names.ts'
import {
  countCharacters,
  covers,
  coversExactly,
  literal,
  merge,
  mergeExact,
  NO_DENIES,
  parseDenies,
  printDenies,
  printSecond,
  prune,
  secondFrom,
  without,
} from '../../../functions/providers/aws-iam/policy.ts'
import { createProvider } from '../../../functions/providers/aws-iam/provider.ts'
import type { Answer, Warrant } from '../../../functions/providers/contract.ts'
import { IssuerRefused, IssuerUnavailable } from '../../../functions/providers/contract.ts'
import { mac } from '../../support/mac.ts'

const ACCOUNT = '123456789012'
const SETTINGS: Settings = { account: ACCOUNT, region: 'eu-central-1' }
const FENCED_AT = '2026-11-20T12:00:00.250Z'
const FENCED = Date.parse('2026-11-20T12:00:00Z') / 1000
const HOUR = 3600

const warrant = (lane: Warrant['lane'] = 'p1', epoch = 1, fencedAt = FENCED_AT): Warrant => ({
  case: 'abcdefghijklmnopqrstuvwxyz',
  lane,
  epoch,
  fencedAt,
})
const subjects = (...targets: Target[]) => targets.map((target, index) => ({ lease: `lease-${index}`, target }))
const words = (answers: readonly { status: string }[]) => answers.map(({ status }) => status)

let iam: FakeIam
let time: number
const provider = (settings = SETTINGS) => {
  const made = createProvider(settings, iam, () => time)
  const { tidy, restore, contain, release, locate } = made
  if (tidy === undefined || restore === undefined || contain === undefined || release === undefined || locate === undefined)
    throw new Error('incomplete')
  return { ...made, tidy, restore, contain, release, locate }
}

/** The same account, some calls answered by somebody else. */
const overriding = (calls: Partial<IamClient>): IamClient =>
  new Proxy(iam, { get: (target, name) => Reflect.get(calls, name) ?? Reflect.get(target, name).bind?.(target) })

/** The same account, where a key is deleted just before we change it. */
const somebodyDeletes = (deleted: string) =>
  overriding({
    setAccessKey: async (userName, accessKeyId, status) => {
      if (accessKeyId === deleted) await iam.deleteAccessKey(userName, accessKeyId).catch(() => undefined)
      await iam.setAccessKey(userName, accessKeyId, status)
    },
  })

beforeEach(() => {
  iam = new FakeIam(ACCOUNT)
  time = Date.parse('2026-11-20T12:00:03Z')
})

describe('schemas', () => {
  it('refuses names that STS and IAM do not know', () => {
    const target = { kind: 'role-session', roleName: 'app', roleId: 'AROA00000000000000001', sessionName: 'job-7' }
    expect(TargetSchema.safeParse(target).success).toBe(true)
    for (const sessionName of ['a', 'x'.repeat(65), '*', 'job?', 'a"b', '${aws:userid}', 'a b', 'a:b', 'job\n', 'jöb', '']) {
      expect(TargetSchema.safeParse({ ...target, sessionName }).success, sessionName).toBe(false)
    }
    for (const roleId of ['AROA*', 'AIDA00000000000000001', 'aroa00000000000000001', 'AROA0000000000000000$']) {
      expect(TargetSchema.safeParse({ ...target, roleId }).success, roleId).toBe(false)
    }
    expect(TargetSchema.safeParse({ kind: 'access-key', userName: 'ci', accessKeyId: 'ASIA0000000000000001' }).success).toBe(
      false,
    )
    expect(LeverSchema.safeParse({ kind: 'user', userName: 'a/b' }).success).toBe(false)
  })

  it('takes a role of its own account only', () => {
    expect(
      SettingsSchema.safeParse({ ...SETTINGS, roleArn: `arn:aws:iam::${ACCOUNT}:role/rescind-spoke`, externalId: 'x1' }).success,
    ).toBe(true)
    expect(SettingsSchema.safeParse({ ...SETTINGS, roleArn: 'arn:aws:iam::999999999999:role/rescind-spoke' }).success).toBe(false)
    expect(SettingsSchema.safeParse({ ...SETTINGS, externalId: 'x1' }).success).toBe(false)
    expect(SettingsSchema.safeParse({ ...SETTINGS, denyPrefix: 'aws' }).success).toBe(false)
    expect(SettingsSchema.safeParse({ ...SETTINGS, account: '12345' }).success).toBe(false)
  })

  it('names credentials and levers', () => {
    const key: Target = { kind: 'access-key', userName: 'ci', accessKeyId: 'AKIA0000000000000001' }
    expect(definition.credential(key, undefined, mac)).toBe('access-key:AKIA0000000000000001')
    expect(definition.leverName?.({ kind: 'user', userName: 'Ci' })).toBe(
      definition.leverName?.({ kind: 'user', userName: 'ci', userId: 'AIDA00000000000000001' }),
    )
  })
})

describe('classify', () => {
  const aws = (name: string, httpStatusCode?: number) => Object.assign(new Error('text'), { name, $metadata: { httpStatusCode } })
  it.each([
    ['NoSuchEntityException', 404, 'gone'],
    ['NoSuchEntity', 404, 'gone'],
    ['LimitExceededException', 409, 'full'],
    ['UnmodifiableEntityException', 400, 'unmodifiable'],
    ['EntityTemporarilyUnmodifiableException', 409, 'busy'],
    ['ConcurrentModificationException', 409, 'busy'],
    ['Throttling', 400, 'throttled'],
    ['ThrottlingException', 400, 'throttled'],
    ['Whatever', 429, 'throttled'],
    ['AccessDenied', 403, 'refused'],
    ['AccessDeniedException', 403, 'refused'],
    ['InvalidClientTokenId', 403, 'refused'],
    ['SignatureDoesNotMatch', 403, 'refused'],
    ['ExpiredToken', 403, 'refused'],
    ['ExpiredTokenException', 403, 'refused'],
    ['CredentialsProviderError', undefined, 'refused'],
    ['ServiceFailureException', 500, 'unavailable'],
    ['ServiceUnavailable', 503, 'unavailable'],
    ['TimeoutError', undefined, 'unavailable'],
    ['Error', undefined, 'unavailable'],
    ['ValidationError', 400, 'invalid'],
    ['MalformedPolicyDocumentException', 400, 'invalid'],
  ])('%s with %s is %s', (name, status, kind) => {
    expect(classify(aws(name, status)).kind).toBe(kind)
  })
  it('takes what is no error for an outage', () => {
    expect(classify('boom').kind).toBe('unavailable')
  })
})

describe('right issuer', () => {
  it('has no effect and believes nothing in another account', async () => {
    const accessKeyId = iam.addUser('ci') && iam.addAccessKey('ci')
    const other = provider({ ...SETTINGS, account: '999999999999' })
    const batch = subjects({ kind: 'access-key', userName: 'ci', accessKeyId })
    const missing = subjects({ kind: 'access-key', userName: 'nobody', accessKeyId })
    for (const attempt of [
      () => other.revoke(batch, warrant()),
      () => other.revoke(missing, warrant()),
      () => other.verify(missing, warrant()),
      () => other.tidy(batch, warrant()),
      () => other.restore(batch, warrant()),
      () => other.contain({ kind: 'user', userName: 'ci' }, warrant()),
      () => other.release({ kind: 'user', userName: 'ci' }, warrant()),
    ]) {
      await expect(attempt()).rejects.toBeInstanceOf(IssuerRefused)
    }
    expect(iam.calls.every((call) => call === 'whoAmI')).toBe(true)
  })

  it('tells a refused credential from an outage', async () => {
    iam.fail('whoAmI', 'refused')
    await expect(provider().verify([], warrant())).rejects.toBeInstanceOf(IssuerRefused)
    iam.fail('whoAmI', 'unavailable')
    await expect(provider().verify([], warrant())).rejects.toBeInstanceOf(IssuerUnavailable)
  })

  it("that cannot be told is the issuer's trouble: throttled it may heal, a request that AWS refuses does not", async () => {
    const lever = { kind: 'user', userName: 'ci' } as const
    for (const attempt of [() => provider().revoke([], warrant()), () => provider().contain(lever, warrant())]) {
      iam.fail('whoAmI', 'throttled')
      await expect(attempt()).rejects.toMatchObject({ code: 'issuer-throttled', afterSeconds: 5 })
      iam.fail('whoAmI', 'invalid')
      await expect(attempt()).rejects.toBeInstanceOf(IssuerRefused)
    }
  })

  it('opens the breaker when a call is refused or unanswered, and parks no lease', async () => {
    iam.addUser('ci')
    const batch = subjects({ kind: 'access-key', userName: 'ci', accessKeyId: iam.addAccessKey('ci') })
    iam.fail('setAccessKey', 'refused')
    await expect(provider().revoke(batch, warrant())).rejects.toBeInstanceOf(IssuerRefused)
    iam.fail('getUser', 'unavailable')
    await expect(provider().revoke(batch, warrant())).rejects.toBeInstanceOf(IssuerUnavailable)
  })
})

describe('access keys', () => {
  it('deactivates the key and no other, says so once, and verifies', async () => {
    const userId = iam.addUser('ci')
    const [gone, stays] = [iam.addAccessKey('ci'), iam.addAccessKey('ci')]
    const batch = subjects({ kind: 'access-key', userName: 'ci', userId, accessKeyId: gone })
    expect(words(await provider().verify(batch, warrant()))).toEqual(['alive'])
    const [answer] = await provider().revoke(batch, warrant())
    expect(answer?.status).toBe('revoked')
    expect(answer?.said).toContain('36 h')
    expect([iam.keyWorks('ci', gone), iam.keyWorks('ci', stays)]).toEqual([false, true])
    expect(words(await provider().verify(batch, warrant()))).toEqual(['dead'])
    expect(words(await provider().revoke(batch, warrant()))).toEqual(['absent'])
  })

  it('tells apart: a user that is gone, a namesake, a key that is gone, a key that somebody deactivated', async () => {
    iam.addUser('ci')
    const accessKeyId = iam.addAccessKey('ci')
    await iam.setAccessKey('ci', accessKeyId, 'Inactive')
    const answers = await provider().revoke(
      subjects(
        { kind: 'access-key', userName: 'nobody', accessKeyId },
        { kind: 'access-key', userName: 'ci', userId: 'AIDA99999999999999999', accessKeyId },
        { kind: 'access-key', userName: 'ci', accessKeyId: 'AKIA99999999999999999' },
        { kind: 'access-key', userName: 'ci', accessKeyId },
      ),
      warrant(),
    )
    expect(words(answers)).toEqual(['absent', 'absent', 'absent', 'absent'])
    expect(answers.map(({ said }) => said.split(';')[0])).toEqual([
      `user nobody is not in account ${ACCOUNT} (NoSuchEntity)`,
      expect.stringContaining('user ci of account 123456789012 is AIDA'),
      `user ci of account ${ACCOUNT} has no key AKIA99999999999999999`,
      `key ${accessKeyId} was Inactive before we came`,
    ])
  })

  it('a compromise also denies the tokens that the key got from STS', async () => {
    iam.addUser('ci')
    const accessKeyId = iam.addAccessKey('ci')
    const [answer] = await provider().revoke(subjects({ kind: 'access-key', userName: 'ci', accessKeyId }), warrant('p0'))
    expect(answer?.said).toContain('also those of its other keys')
    expect(iam.tokenWorks('ci', time / 1000)).toBe(false)
    expect(iam.tokenWorks('ci', time / 1000 + 60)).toBe(true)
    // Also when the key itself had been deleted before.
    iam.addUser('old')
    const late = await provider().revoke(
      subjects({ kind: 'access-key', userName: 'old', accessKeyId: 'AKIA99999999999999999' }),
      warrant('p0'),
    )
    expect(words(late)).toEqual(['absent'])
    expect(iam.tokenWorks('old', time / 1000)).toBe(false)
  })

  it('a compromise denies the tokens of each key until that key is cut, however late after another one', async () => {
    iam.addUser('ci')
    const [first, second] = [iam.addAccessKey('ci'), iam.addAccessKey('ci')].map((accessKeyId) =>
      subjects({ kind: 'access-key', userName: 'ci', accessKeyId }),
    )
    await provider().revoke(first ?? [], warrant('p0'))
    time += 60_000
    await provider().revoke(second ?? [], warrant('p0'))
    expect(iam.tokenWorks('ci', time / 1000 - 1)).toBe(false)
    // A repeated cut hits nothing more: tokens of new keys go on working.
    const document = iam.policiesOf({ kind: 'user', name: 'ci' }).get('rescind-tokens-p0')
    time += 60_000
    await provider().revoke([...(first ?? []), ...(second ?? [])], warrant('p0'))
    expect(iam.policiesOf({ kind: 'user', name: 'ci' }).get('rescind-tokens-p0')).toBe(document)
  })

  it('a key that somebody deletes in the middle of the cut does not make the others pass for gone', async () => {
    iam.addUser('ci')
    const [deleted, other] = [iam.addAccessKey('ci'), iam.addAccessKey('ci')]
    const batch = subjects(
      { kind: 'access-key', userName: 'ci', accessKeyId: deleted },
      { kind: 'access-key', userName: 'ci', accessKeyId: other },
    )
    const answers = await createProvider(SETTINGS, somebodyDeletes(deleted), () => time).revoke(batch, warrant())
    expect(words(answers)).toEqual(['absent', 'revoked'])
    expect(answers[0]?.said).toContain(`has no key ${deleted}`)
    expect(iam.keyWorks('ci', other)).toBe(false)
  })

  it('deletes a key once that two leases share, and all that marked it', async () => {
    iam.addUser('ci')
    const target: Target = { kind: 'access-key', userName: 'ci', accessKeyId: iam.addAccessKey('ci') }
    const batch = subjects(target, target)
    expect(words(await provider().revoke(batch, warrant()))).toEqual(['revoked', 'revoked'])
    expect(words(await provider().tidy(batch, warrant()))).toEqual(['revoked', 'absent'])
    expect((await iam.getUser('ci')).tags.size).toBe(0)
  })

  it('restores within the soak time, deletes after it, and never deletes an active key', async () => {
    iam.addUser('ci')
    const batch = subjects({ kind: 'access-key', userName: 'ci', accessKeyId: iam.addAccessKey('ci') })
    const accessKeyId = batch[0]?.target.kind === 'access-key' ? batch[0].target.accessKeyId : ''
    await provider().revoke(batch, warrant())
    expect(words(await provider().restore(batch, warrant()))).toEqual(['restored'])
    expect(iam.keyWorks('ci', accessKeyId)).toBe(true)
    expect(words(await provider().tidy(batch, warrant()))).toEqual(['irrevocable'])
    await provider().revoke(batch, warrant())
    expect(words(await provider().tidy(batch, warrant()))).toEqual(['revoked'])
    expect(words(await provider().tidy(batch, warrant()))).toEqual(['absent'])
    expect(await iam.listAccessKeys('ci')).toEqual([])
    expect((await iam.getUser('ci')).tags.size).toBe(0)
    expect(words(await provider().verify(batch, warrant()))).toEqual(['dead'])
  })

  it('restores no key that somebody else deactivated, and tells one that is gone', async () => {
    iam.addUser('ci')
    const [shut, cut] = [iam.addAccessKey('ci'), iam.addAccessKey('ci')]
    await iam.setAccessKey('ci', shut, 'Inactive')
    const key = (accessKeyId: string, userName = 'ci'): Target => ({ kind: 'access-key', userName, accessKeyId })
    await provider().revoke(subjects(key(shut), key(cut)), warrant())
    const batch = subjects(key(shut), key(cut), key('AKIA99999999999999999'), key(cut, 'nobody'))
    expect(words(await provider().restore(batch, warrant()))).toEqual(['refused', 'restored', 'gone', 'gone'])
    expect([iam.keyWorks('ci', shut), iam.keyWorks('ci', cut)]).toEqual([false, true])
    expect((await iam.getUser('ci')).tags.size).toBe(0)
    // The other way about: nothing of ours is left to undo.
    expect(words(await provider().restore(batch.slice(0, 2), warrant()))).toEqual(['refused', 'restored'])
  })

  it('knows a key as its own wherever the cut broke off, and gives it back wherever the restoration did', async () => {
    for (const broken of ['tagUser', 'setAccessKey', 'listAccessKeys'] as const) {
      iam = new FakeIam(ACCOUNT)
      iam.addUser('ci')
      const accessKeyId = iam.addAccessKey('ci')
      const batch = subjects({ kind: 'access-key', userName: 'ci', accessKeyId })
      iam.fail(broken, 'throttled', broken === 'listAccessKeys' ? 1 : 0)
      expect(words(await provider().revoke(batch, warrant()))).toEqual(['retry'])
      await provider().revoke(batch, warrant())
      expect(iam.keyWorks('ci', accessKeyId)).toBe(false)
      const restored = broken === 'tagUser' ? ['refused'] : ['restored']
      expect(words(await provider().restore(batch, warrant())), broken).toEqual(restored)
    }
    for (const broken of ['setAccessKey', 'untagUser'] as const) {
      iam = new FakeIam(ACCOUNT)
      iam.addUser('ci')
      const accessKeyId = iam.addAccessKey('ci')
      const batch = subjects({ kind: 'access-key', userName: 'ci', accessKeyId })
      await provider().revoke(batch, warrant())
      iam.fail(broken, 'throttled')
      expect(await provider().restore(batch, warrant())).toMatchObject([{ status: 'retry', afterSeconds: 5 }])
      expect(words(await provider().restore(batch, warrant()))).toEqual(['restored'])
      expect(iam.keyWorks('ci', accessKeyId)).toBe(true)
      expect((await iam.getUser('ci')).tags.size).toBe(0)
    }
  })

  it('cuts a key also where it may not mark it, before it says what is wrong', async () => {
    iam.addUser('ci')
    const accessKeyId = iam.addAccessKey('ci')
    iam.fail('tagUser', 'refused')
    const batch = subjects({ kind: 'access-key', userName: 'ci', accessKeyId })
    await expect(provider().revoke(batch, warrant())).rejects.toBeInstanceOf(IssuerRefused)
    expect(iam.keyWorks('ci', accessKeyId)).toBe(false)
  })

  it('leaves what is protected, and itself, alone', async () => {
    const self = iam.addUser('worker')
    iam.addUser('break-glass', { [PROTECTED_TAG]: 'true' })
    const keys = [iam.addAccessKey('worker'), iam.addAccessKey('break-glass')]
    iam.actAs(self)
    const batch = subjects(
      { kind: 'access-key', userName: 'worker', accessKeyId: keys[0] ?? '' },
      { kind: 'access-key', userName: 'break-glass', accessKeyId: keys[1] ?? '' },
    )
    expect(words(await provider().revoke(batch, warrant('p0')))).toEqual(['irrevocable', 'irrevocable'])
    expect(words([await provider().contain({ kind: 'user', userName: 'break-glass' }, warrant('p0'))])).toEqual(['unsupported'])
    expect(iam.keyWorks('worker', keys[0] ?? '') && iam.keyWorks('break-glass', keys[1] ?? '')).toBe(true)
  })

  it('neither deletes nor gives back what became protected after its cut', async () => {
    iam.addUser('ci')
    const roleId = iam.addRole('app')
    const accessKeyId = iam.addAccessKey('ci')
    const levers = [
      { kind: 'user', userName: 'ci' },
      { kind: 'role', roleName: 'app' },
    ] as const
    const batch = subjects(
      { kind: 'access-key', userName: 'ci', accessKeyId },
      { kind: 'role-session', roleName: 'app', roleId, sessionName: 'job' },
    )
    for (const lever of levers) await provider().contain(lever, warrant())
    await provider().revoke(batch, warrant())
    await iam.tagUser('ci', { [PROTECTED_TAG]: 'true' })
    const getRole = async (roleName: string) => ({ ...(await iam.getRole(roleName)), tags: new Map([[PROTECTED_TAG, 'true']]) })
    iam.calls.length = 0
    const later = createProvider(SETTINGS, overriding({ getRole }), () => time)
    expect(words((await later.tidy?.(batch, warrant())) ?? [])).toEqual(['irrevocable', 'irrevocable'])
    expect(words((await later.restore?.(batch, warrant())) ?? [])).toEqual(['refused', 'refused'])
    for (const lever of levers) expect((await later.release?.(lever, warrant()))?.status).toBe('unsupported')
    expect(iam.calls.filter((call) => /^(set|delete|put|tag|untag)/.test(call))).toEqual([])
  })

  it('one bad user holds up no other, and a throttled call is not repeated for the rest of the batch', async () => {
    // Five are worked on at once.
    const users = ['one', 'two', 'three', 'four', 'five', 'six', 'seven']
    const batchOf = (names: readonly string[]) => {
      for (const name of names) iam.addUser(name)
      return subjects(
        ...names.map((userName): Target => ({ kind: 'access-key', userName, accessKeyId: iam.addAccessKey(userName) })),
      )
    }
    const first = batchOf(users.map((name) => `first-${name}`))
    const batch = batchOf(users)
    iam.fail('getUser', 'invalid')
    expect(words(await provider().revoke(first, warrant()))).toEqual(['irrevocable', ...Array(6).fill('revoked')])
    iam.fail('tagUser', 'throttled')
    iam.calls.length = 0
    const answers = await provider().revoke(batch, warrant())
    expect(words(answers)).toEqual(['retry', 'revoked', 'revoked', 'revoked', 'revoked', 'retry', 'retry'])
    expect(
      answers.flatMap((answer) => (answer.status === 'retry' ? [[answer.effect, answer.afterSeconds, answer.throttled]] : [])),
    ).toEqual([
      ['unknown', 5, true],
      ['none', 5, true],
      ['none', 5, true],
    ])
    expect(iam.calls.filter((call) => call.startsWith('getUser'))).toEqual(users.slice(0, 5).map((name) => `getUser ${name}`))
    iam.fail('tagUser', 'busy')
    expect((await provider().revoke(batch, warrant()))[0]).not.toHaveProperty('throttled')
    iam.fail('getUser', 'throttled')
    expect(await provider().verify(batch.slice(0, 1), warrant())).toMatchObject([
      { status: 'unknown', throttled: true, afterSeconds: 5 },
    ])
  })
})

describe('role sessions', () => {
  const session = (sessionName: string, issuedBefore?: string, roleId = 'AROA00000000000000001'): Target => ({
    kind: 'role-session',
    roleName: 'app',
    roleId,
    sessionName,
    ...(issuedBefore === undefined ? {} : { issuedBefore }),
  })

  it('cuts that session up to the second of the cut, and spares other and newer ones', async () => {
    iam.addRole('app')
    const batch = subjects(session('job-1'))
    expect(words(await provider().verify(batch, warrant()))).toEqual(['alive'])
    expect(words(await provider().revoke(batch, warrant()))).toEqual(['revoked'])
    const cut = time / 1000
    expect(iam.sessionWorks('app', 'job-1', cut - 1)).toBe(false)
    expect(iam.sessionWorks('app', 'job-1', cut)).toBe(true)
    expect(iam.sessionWorks('app', 'job-2', cut - 1)).toBe(true)
    expect(words(await provider().verify(batch, warrant()))).toEqual(['dead'])
  })

  it('cuts a session that was issued after the fence but before the cut: a late lease', async () => {
    iam.addRole('app')
    await provider().revoke(subjects(session('late')), warrant())
    expect(iam.sessionWorks('app', 'late', FENCED + 2)).toBe(false)
  })

  it('dates a deny by the incarnation that the target names, and not by a time that has not come', async () => {
    iam.addRole('app')
    await provider().revoke(subjects(session('job', '2026-11-20T10:00:00.500Z')), warrant())
    const issued = Date.parse('2026-11-20T10:00:00Z') / 1000
    expect(iam.sessionWorks('app', 'job', issued)).toBe(false)
    expect(iam.sessionWorks('app', 'job', issued + 1)).toBe(true)
    expect(words(await provider().revoke(subjects(session('job', '2026-11-20T10:00:00.500Z')), warrant()))).toEqual(['absent'])
    await provider().revoke(subjects(session('greedy', '9999-12-31T00:00:00Z')), warrant())
    expect(iam.sessionWorks('app', 'greedy', time / 1000 + 60)).toBe(true)
    expect(words(await provider().verify(subjects(session('greedy', '9999-12-31T00:00:00Z')), warrant()))).toEqual(['dead'])
  })

  it('needs one read, one write and one read back for all sessions of one role', async () => {
    iam.addRole('app')
    const batch = subjects(...Array.from({ length: 25 }, (_, index) => session(`job-${index}`)))
    expect(new Set(words(await provider().revoke(batch, warrant())))).toEqual(new Set(['revoked']))
    expect(iam.calls).toEqual([
      'whoAmI',
      'getRole app',
      'getPolicy app rescind-sessions-p1',
      'putPolicy app rescind-sessions-p1',
      'getPolicy app rescind-sessions-p1',
    ])
  })

  it('a namesake, a role that is gone and sessions long expired are absent', async () => {
    iam.addRole('app')
    const answers = await provider().revoke(
      subjects(
        session('job', undefined, 'AROA99999999999999999'),
        { ...session('job'), roleName: 'nothing' } as Target,
        session('job', '2026-11-01T00:00:00Z'),
      ),
      warrant(),
    )
    expect(words(answers)).toEqual(['absent', 'absent', 'absent'])
    expect(iam.policiesOf({ kind: 'role', name: 'app' }).size).toBe(0)
    expect(words(await provider().verify(subjects(session('job', undefined, 'AROA99999999999999999')), warrant()))).toEqual([
      'dead',
    ])
  })

  it('says that roles of AWS cannot be cut, and until when their sessions live', async () => {
    const roleId = iam.addRole('AWSServiceRoleForX', { path: '/aws-service-role/x.amazonaws.com/', maxSessionSeconds: HOUR })
    const sso = iam.addRole('AWSReservedSSO_Admin_0123456789abcdef', {
      path: '/aws-reserved/sso.amazonaws.com/',
      maxSessionSeconds: 12 * HOUR,
    })
    const answers = await provider().revoke(
      subjects(
        { kind: 'role-session', roleName: 'AWSServiceRoleForX', roleId, sessionName: 'job' },
        {
          kind: 'role-session',
          roleName: 'AWSReservedSSO_Admin_0123456789abcdef',
          roleId: sso,
          sessionName: 'eve',
          issuedBefore: '2026-11-20T11:00:00Z',
        },
      ),
      warrant(),
    )
    expect(answers).toMatchObject([
      { status: 'unsupported', livesUntil: '2026-11-20T13:00:03.000Z' },
      { status: 'unsupported', livesUntil: '2026-11-20T23:00:00.000Z' },
    ])
    expect(words([await provider().contain({ kind: 'role', roleName: 'AWSServiceRoleForX' }, warrant())])).toEqual([
      'unsupported',
    ])
  })

  it('does not believe a write that it cannot read back', async () => {
    iam.addRole('app')
    const blind = overriding({ getPolicy: async () => undefined })
    const [answer] = await createProvider(SETTINGS, blind, () => time).revoke(subjects(session('job')), warrant())
    expect(answer).toMatchObject({ status: 'retry', effect: 'unknown' })
  })

  it('keeps what others wrote into the policy, and does not overwrite what it cannot read', async () => {
    iam.addRole('app')
    const foreign = { Effect: 'Deny', Action: 's3:*', Resource: '*' }
    const variable = {
      Effect: 'Deny',
      Action: '*',
      Resource: '*',
      Condition: {
        StringEquals: { 'aws:userid': '${aws:userid}' },
        DateLessThan: { 'aws:TokenIssueTime': '2026-11-20T12:00:00Z' },
      },
    }
    await iam.putPolicy(
      { kind: 'role', name: 'app' },
      'rescind-sessions-p1',
      JSON.stringify({ Version: '2012-10-17', Statement: [foreign, variable] }),
    )
    await provider().revoke(subjects(session('job')), warrant())
    const document = iam.policiesOf({ kind: 'role', name: 'app' }).get('rescind-sessions-p1') ?? ''
    expect(JSON.parse(document).Statement.slice(0, 2)).toEqual([foreign, variable])
  })

  it('lanes do not overwrite each other', async () => {
    iam.addRole('app')
    await Promise.all([
      ...(['p0', 'p1', 'p2'] as const).map((lane) => provider().revoke(subjects(session(`job-${lane}`)), warrant(lane))),
      ...(['p0', 'p1'] as const).map((lane) => provider().contain({ kind: 'role', roleName: 'app' }, warrant(lane))),
    ])
    for (const lane of ['p0', 'p1', 'p2'] as const) expect(iam.sessionWorks('app', `job-${lane}`, time / 1000 - 1)).toBe(false)
    await provider().release({ kind: 'role', roleName: 'app' }, warrant('p2'))
    for (const lane of ['p0', 'p1', 'p2'] as const) expect(iam.sessionWorks('app', `job-${lane}`, time / 1000 - 1)).toBe(false)
    expect(iam.sessionWorks('app', 'bystander', FENCED - 1)).toBe(true)
  })

  const exactly = (sessionName: string, second: number): Target => ({
    ...(session(sessionName) as Extract<Target, { kind: 'role-session' }>),
    issuedAt: new Date(second * 1000).toISOString(),
  })

  it('cuts one session among those of its name where the target says when it was issued', async () => {
    iam.addRole('app')
    const at = FENCED - 600
    const [one, other] = [subjects(exactly('GitHubActions', at)), subjects(exactly('GitHubActions', at + 30))]
    const works = () => [at, at + 30, at + 31].map((second) => iam.sessionWorks('app', 'GitHubActions', second))
    expect(words(await provider().verify(one, warrant()))).toEqual(['alive'])
    const [answer] = await provider().revoke(one, warrant())
    expect(answer).toMatchObject({ status: 'revoked', said: expect.stringContaining(`of ${printSecond(at)}`) })
    expect(works()).toEqual([false, true, true])
    expect(words(await provider().verify([...one, ...other.map((o) => ({ ...o, lease: 'other' }))], warrant()))).toEqual([
      'dead',
      'alive',
    ])
    expect(words(await provider().revoke(one, warrant()))).toEqual(['absent'])

    expect(words(await provider().revoke(other, warrant('p2')))).toEqual(['revoked'])
    expect(words(await provider().restore(one, warrant()))).toEqual(['restored'])
    expect(words(await provider().restore(one, warrant()))).toEqual(['restored'])
    expect(works()).toEqual([true, false, true])
    expect(words(await provider().restore(other, warrant('p1')))).toEqual(['refused'])
    time += 37 * HOUR * 1000
    expect(words(await provider().tidy(other, warrant('p2')))).toEqual(['revoked'])
    expect(words(await provider().restore(other, warrant('p2')))).toEqual(['gone'])
    expect(words(await provider().revoke(one, warrant()))).toEqual(['absent'])
    expect(iam.policiesOf({ kind: 'role', name: 'app' }).size).toBe(0)
  })

  it('does not give back one session while all of its name are denied', async () => {
    iam.addRole('app')
    const one = subjects(exactly('job', FENCED - 60))
    await provider().revoke(one, warrant())
    await provider().revoke(subjects(session('job')), warrant())
    expect(words(await provider().restore(one, warrant()))).toEqual(['refused'])
    expect(iam.sessionWorks('app', 'job', FENCED - 60)).toBe(false)
  })

  it('names one session or many, and dates it by the second', () => {
    const one = exactly('job', FENCED)
    expect(definition.namesMany?.(one)).toBe(false)
    expect(definition.namesMany?.(session('job'))).toBe(true)
    expect(definition.namesMany?.(session('job', FENCED_AT))).toBe(true)
    expect(definition.namesMany?.({ kind: 'access-key', userName: 'ci', accessKeyId: 'AKIA0000000000000001' })).toBe(false)
    expect(definition.credential(one, undefined, mac)).toBe(`role-session:AROA00000000000000001:job:${FENCED}`)
    expect(definition.credential(session('job'), undefined, mac)).toBe('role-session:AROA00000000000000001:job')
    expect(TargetSchema.safeParse(one).success).toBe(true)
    expect(TargetSchema.safeParse({ ...one, issuedAt: FENCED_AT }).success).toBe(false)
    expect(TargetSchema.safeParse({ ...one, issuedBefore: FENCED_AT }).success).toBe(false)
  })

  it('takes one deny out to restore, and all that hit nothing to tidy', async () => {
    iam.addRole('app')
    const batch = subjects(session('one'), session('two'))
    await provider().revoke(batch, warrant())
    const cut = time / 1000
    expect(words(await provider().restore(batch.slice(0, 1), warrant()))).toEqual(['restored'])
    expect(words(await provider().restore(batch.slice(0, 1), warrant()))).toEqual(['restored'])
    expect([iam.sessionWorks('app', 'one', cut - 1), iam.sessionWorks('app', 'two', cut - 1)]).toEqual([true, false])
    expect(words(await provider().tidy(batch, warrant()))).toEqual(['absent', 'retry'])
    time += 36 * HOUR * 1000
    expect(words(await provider().tidy(batch, warrant()))).toEqual(['absent', 'revoked'])
    expect(iam.policiesOf({ kind: 'role', name: 'app' }).size).toBe(0)
  })

  describe('when the role has little room', () => {
    const holder = { kind: 'role', name: 'app' } as const
    const filler = (characters: number) => {
      const empty = JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Resource: '' }] })
      return empty.replace('""', `"${'x'.repeat(characters - empty.length)}"`)
    }
    beforeEach(() => {
      iam.addRole('app')
    })

    it('first lets go of denies older than any session of a role', async () => {
      await provider().revoke(subjects(session('old'.padEnd(64, 'x'))), warrant())
      await iam.putPolicy(holder, 'of-the-team', filler(9_900))
      time += 13 * HOUR * 1000
      expect(words(await provider().revoke(subjects(session('new'.padEnd(64, 'x'))), warrant()))).toEqual(['revoked'])
      const denies = parseDenies(iam.policiesOf(holder).get('rescind-sessions-p1'))
      expect([...(denies?.sessions.keys() ?? [])].map((user) => user.slice(22, 25))).toEqual(['new'])
    })

    it('cuts as many as fit, and the others when older denies may go', async () => {
      await iam.putPolicy(holder, 'of-the-team', filler(9_900))
      const answers = await provider().revoke(
        subjects(session('a'.repeat(64)), session('b'.repeat(64)), session('c'.repeat(64))),
        warrant('p2'),
      )
      expect(words(answers)).toEqual(['revoked', 'irrevocable', 'irrevocable'])
      const again = await provider().revoke(subjects(session('b'.repeat(64))), warrant('p2'))
      expect(again).toMatchObject([{ status: 'retry', effect: 'none', afterSeconds: 12 * HOUR + 600 }])
    })

    it('cuts the whole role for a compromise, and says so', async () => {
      await iam.putPolicy(holder, 'of-the-team', filler(9_900))
      const answers = await provider().revoke(subjects(session('a'.repeat(64)), session('b'.repeat(64))), warrant('p0'))
      expect(words(answers)).toEqual(['revoked', 'revoked'])
      expect(answers[0]?.said).toContain('every session of role app')
      expect(iam.sessionWorks('app', 'bystander', time / 1000 - 1)).toBe(false)
      expect(iam.sessionWorks('app', 'bystander', time / 1000)).toBe(true)
      expect(words(await provider().restore(subjects(session('a'.repeat(64))), warrant('p0')))).toEqual(['refused'])
    })

    it('gives up where others leave no room at all', async () => {
      await iam.putPolicy(holder, 'of-the-team', filler(10_200))
      for (const lane of ['p0', 'p2'] as const) {
        expect(words(await provider().revoke(subjects(session('job')), warrant(lane)))).toEqual(['irrevocable'])
      }
      expect(words([await provider().contain({ kind: 'role', roleName: 'app' }, warrant('p0'))])).toEqual(['unsupported'])
    })
  })
})

describe('locate', () => {
  const locate = (text: string) => {
    const clue = definition.recognise?.(text, mac)
    return provider().locate(clue?.query ?? {})
  }

  it('finds whose a key is: the user, what contains it, and its canonical name', async () => {
    const userId = iam.addUser('ci')
    const accessKeyId = iam.addAccessKey('ci')
    expect(await locate(`aws_access_key_id = ${accessKeyId}`)).toEqual({
      status: 'found',
      said: expect.stringContaining('Active'),
      target: { kind: 'access-key', userName: 'ci', userId, accessKeyId },
      lever: { kind: 'user', userName: 'ci', userId },
      identity: `arn:aws:iam::${ACCOUNT}:user/ci`,
    })
    await iam.deleteAccessKey('ci', accessKeyId)
    expect(await locate(accessKeyId)).toMatchObject({ status: 'unknown' })
  })

  it('says that a key is not here, also where AWS only says that we may not look', async () => {
    const key = 'AKIA99999999999999999'
    expect(await locate(key)).toMatchObject({ status: 'unknown', said: expect.stringContaining('has no key') })
    iam.fail('accessKeyUse', 'refused')
    expect(await locate(key)).toMatchObject({ status: 'unknown', said: expect.stringContaining('iam:GetAccessKeyLastUsed') })
    iam.fail('accessKeyUse', 'throttled')
    expect(await locate(key)).toMatchObject({ status: 'retry', afterSeconds: 5 })
    iam.fail('accessKeyUse', 'unavailable')
    await expect(locate(key)).rejects.toBeInstanceOf(IssuerUnavailable)
    iam.addUser('ci')
    const own = iam.addAccessKey('ci')
    iam.fail('getUser', 'refused')
    await expect(locate(own)).rejects.toBeInstanceOf(IssuerRefused)
    iam.fail('getUser', 'gone')
    expect(await locate(own)).toMatchObject({ status: 'unknown' })
  })

  it('believes nothing in another account', async () => {
    iam.addUser('ci')
    const other = provider({ ...SETTINGS, account: '999999999999' })
    await expect(other.locate({ accessKeyId: iam.addAccessKey('ci') })).rejects.toBeInstanceOf(IssuerRefused)
    expect(iam.calls).toEqual(['whoAmI'])
  })

  it("finds a session's role by an event of CloudTrail, and only the role that it means", async () => {
    const roleId = iam.addRole('app', { path: '/team/', maxSessionSeconds: HOUR })
    const event = (id: string) =>
      JSON.stringify({
        userIdentity: {
          type: 'AssumedRole',
          principalId: `${id}:job-7`,
          arn: `arn:aws:sts::${ACCOUNT}:assumed-role/app/job-7`,
          accessKeyId: 'ASIA00000000000000001',
        },
      })
    expect(await locate(event(roleId))).toEqual({
      status: 'found',
      said: expect.any(String),
      target: { kind: 'role-session', roleName: 'app', roleId, sessionName: 'job-7' },
      lever: { kind: 'role', roleName: 'app', roleId },
      identity: `arn:aws:iam::${ACCOUNT}:role/app`,
      expiresAt: new Date(time + HOUR * 1000).toISOString(),
    })
    expect(await locate(event('AROA99999999999999999'))).toMatchObject({ status: 'unknown' })
    expect(await locate(`${roleId}:job-7`)).toMatchObject({ status: 'unknown', said: expect.stringContaining('ARN') })
  })
})

describe('containment', () => {
  it('of a user: all keys and all else; released: only the keys that it deactivated', async () => {
    iam.addUser('ci')
    const [used, spare] = [iam.addAccessKey('ci'), iam.addAccessKey('ci')]
    await iam.setAccessKey('ci', spare, 'Inactive')
    const lever = { kind: 'user', userName: 'ci' } as const
    expect((await provider().contain(lever, warrant('p0'))).status).toBe('done')
    expect((await provider().contain(lever, warrant('p0'))).status).toBe('done')
    expect([iam.keyWorks('ci', used), iam.tokenWorks('ci', time / 1000 + 60)]).toEqual([false, false])
    expect((await provider().release(lever, warrant('p1'))).status).toBe('done')
    expect([iam.keyWorks('ci', used), iam.keyWorks('ci', spare)]).toEqual([true, false])
    expect((await iam.getUser('ci')).tags.size).toBe(0)
    expect(iam.policiesOf({ kind: 'user', name: 'ci' }).size).toBe(0)
  })

  it('a key whose lease was cut stays inactive when the containment ends', async () => {
    iam.addUser('ci')
    const [cut, held] = [iam.addAccessKey('ci'), iam.addAccessKey('ci')]
    const lever = { kind: 'user', userName: 'ci' } as const
    await provider().contain(lever, warrant('p0'))
    expect(
      words(await provider().revoke(subjects({ kind: 'access-key', userName: 'ci', accessKeyId: cut }), warrant('p1'))),
    ).toEqual(['revoked'])
    await provider().release(lever, warrant('p0'))
    expect([iam.keyWorks('ci', cut), iam.keyWorks('ci', held)]).toEqual([false, true])
  })

  it('a key stays inactive while another epoch holds it, and a key restored meanwhile comes back with the release', async () => {
    iam.addUser('ci')
    const accessKeyId = iam.addAccessKey('ci')
    const lever = { kind: 'user', userName: 'ci' } as const
    const batch = subjects({ kind: 'access-key', userName: 'ci', accessKeyId })
    await provider().contain(lever, warrant('p0', 1))
    await provider().contain(lever, warrant('p1', 2))
    await provider().revoke(batch, warrant('p1', 2))
    await provider().restore(batch, warrant('p1', 2))
    await provider().release(lever, warrant('p0', 1))
    expect(iam.keyWorks('ci', accessKeyId)).toBe(false)
    await provider().release(lever, warrant('p0', 2))
    expect(iam.keyWorks('ci', accessKeyId)).toBe(true)
  })

  it('a key that somebody deletes meanwhile holds up neither the containment of the others nor their release', async () => {
    iam.addUser('ci')
    const [deleted, other] = [iam.addAccessKey('ci'), iam.addAccessKey('ci')]
    const lever = { kind: 'user', userName: 'ci' } as const
    const raced = createProvider(SETTINGS, somebodyDeletes(deleted), () => time)
    expect((await raced.contain?.(lever, warrant('p0')))?.status).toBe('done')
    expect((await iam.listAccessKeys('ci')).map(({ status }) => status)).toEqual(['Inactive'])
    const again = createProvider(SETTINGS, somebodyDeletes(other), () => time)
    expect(await again.release?.(lever, warrant('p0'))).toMatchObject({ status: 'done', said: expect.stringContaining('0 keys') })
    expect(iam.policiesOf({ kind: 'user', name: 'ci' }).size).toBe(0)
  })

  it('a key that was restored, and that a containment alone holds, is not deleted', async () => {
    iam.addUser('ci')
    const accessKeyId = iam.addAccessKey('ci')
    const lever = { kind: 'user', userName: 'ci' } as const
    const batch = subjects({ kind: 'access-key', userName: 'ci', accessKeyId })
    await provider().contain(lever, warrant('p0'))
    await provider().revoke(batch, warrant('p0'))
    await provider().restore(batch, warrant('p0'))
    expect(words(await provider().tidy(batch, warrant('p0')))).toEqual(['irrevocable'])
    await provider().release(lever, warrant('p0'))
    expect(iam.keyWorks('ci', accessKeyId)).toBe(true)
  })

  it('cuts and releases that cross each other leave a revoked key inactive, whatever the order of calls', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), async (scheduler) => {
        const account = new FakeIam(ACCOUNT)
        account.addUser('ci')
        const accessKeyId = account.addAccessKey('ci')
        const lever = { kind: 'user', userName: 'ci' } as const
        const scheduled = new Proxy(account, {
          get(target, name) {
            const member: unknown = Reflect.get(target, name)
            if (typeof member !== 'function') return member
            const method = member.bind(target)
            return (...args: unknown[]) => scheduler.schedule(Promise.resolve(), String(name)).then(() => method(...args))
          },
        })
        const direct = createProvider(SETTINGS, account, () => time)
        await direct.contain?.(lever, warrant('p0'))
        const crossing = createProvider(SETTINGS, scheduled, () => time)
        const both = Promise.all([
          crossing.revoke(subjects({ kind: 'access-key', userName: 'ci', accessKeyId }), warrant('p1')),
          crossing.release?.(lever, warrant('p2')),
        ])
        await scheduler.waitFor(both)
        const [[answer]] = await both
        expect(answer?.status).toBe('revoked')
        expect((await account.listAccessKeys('ci')).map(({ status }) => status)).toEqual(['Inactive'])
      }),
      { numRuns: 300 },
    )
  })

  it('of a role: every session from before the fence, none from after it; the later fence counts', async () => {
    iam.addRole('app')
    const lever = { kind: 'role', roleName: 'app' } as const
    await provider().contain(lever, warrant('p0', 3))
    expect([...iam.policiesOf({ kind: 'role', name: 'app' }).keys()]).toEqual(['rescind-contain-3-p0'])
    expect([FENCED - 1, FENCED, FENCED + 1].map((issued) => iam.sessionWorks('app', 'any', issued))).toEqual([false, false, true])
    await provider().contain(lever, warrant('p0', 3, '2026-11-20T12:00:09Z'))
    await provider().contain(lever, warrant('p0', 3))
    expect(iam.sessionWorks('app', 'any', FENCED + 8)).toBe(false)
    await provider().release(lever, warrant('p0', 3))
    expect(iam.sessionWorks('app', 'any', FENCED - 1)).toBe(true)
  })

  it('a containment is no proof that a session is dead', async () => {
    const roleId = iam.addRole('app')
    await provider().contain({ kind: 'role', roleName: 'app' }, warrant())
    expect(
      words(await provider().verify(subjects({ kind: 'role-session', roleName: 'app', roleId, sessionName: 'job' }), warrant())),
    ).toEqual(['alive'])
  })

  it('has nothing to do for who is gone, and leaves a namesake alone', async () => {
    iam.addUser('ci')
    const accessKeyId = iam.addAccessKey('ci')
    expect((await provider().contain({ kind: 'user', userName: 'nobody' }, warrant())).status).toBe('done')
    expect((await provider().contain({ kind: 'user', userName: 'ci', userId: 'AIDA99999999999999999' }, warrant())).status).toBe(
      'done',
    )
    expect((await provider().contain({ kind: 'role', roleName: 'nothing' }, warrant())).status).toBe('done')
    expect(iam.keyWorks('ci', accessKeyId)).toBe(true)
  })

  it('says that the keys are dead but not the tokens where the deny does not fit', async () => {
    iam.addUser('ci')
    const accessKeyId = iam.addAccessKey('ci')
    iam.fail('putPolicy', 'full')
    const answer = await provider().contain({ kind: 'user', userName: 'ci' }, warrant('p0'))
    expect(answer.status).toBe('unsupported')
    expect(answer.said).toContain('all 1 keys of user ci are Inactive')
    expect(iam.keyWorks('ci', accessKeyId)).toBe(false)
  })

  it('retries when throttled', async () => {
    iam.addRole('app')
    iam.fail('putPolicy', 'throttled')
    expect(await provider().contain({ kind: 'role', roleName: 'app' }, warrant())).toMatchObject({
      status: 'retry',
      afterSeconds: 5,
    })
  })
})

describe('policy document (properties)', () => {
  const second = fc.integer({ min: FENCED - 40 * HOUR, max: FENCED })
  const user = fc.oneof(
    fc.stringMatching(/^AROA[A-Z0-9]{17}:[\w+=,.@-]{2,64}$/),
    // What the schema would never let in must still be harmless.
    fc.string({ minLength: 1, maxLength: 40 }),
    fc.constantFrom('${aws:userid}', '*', '"}]}', '${$}', '$', '$${*}', 'a\\"b', "${aws:username, 'x'}"),
  )
  const entries = fc.array(fc.tuple(user, second), { maxLength: 40 })

  it('reads back what it prints, hostile names included, and equal denies print equally', () => {
    fc.assert(
      fc.property(entries, entries, fc.option(second, { nil: undefined }), (list, exact, all) => {
        const denies = mergeExact(merge(NO_DENIES, list, all), exact)
        const document = printDenies(denies)
        const again = parseDenies(document)
        expect(again).toEqual({ ...denies, foreign: [] })
        expect(printDenies(merge(mergeExact(NO_DENIES, exact.toReversed()), list.toReversed(), all))).toBe(document)
        for (const statement of JSON.parse(document).Statement) {
          for (const name of statement.Condition.StringEquals?.['aws:userid'] ?? []) {
            expect(name.replaceAll('${$}', '')).not.toContain('$')
          }
        }
      }),
    )
  })

  it('loses no deny, takes none back, and merging twice changes nothing', () => {
    fc.assert(
      fc.property(entries, entries, (before, added) => {
        const old = merge(NO_DENIES, before)
        const merged = merge(old, added)
        for (const [name, until] of [...before, ...added]) expect(covers(merged, name, until)).toBe(true)
        expect(printDenies(merge(merged, added))).toBe(printDenies(merged))
        const pruned = prune(merged, FENCED, 12 * HOUR)
        for (const [name, until] of merged.sessions) expect(covers(pruned, name, until)).toBe(until + 12 * HOUR > FENCED)
      }),
    )
  })

  it('takes out exactly what is named, and counts the denies of single seconds like the others', () => {
    fc.assert(
      fc.property(entries, entries, fc.tuple(user, second), (list, exact, [name, at]) => {
        const denies = mergeExact(merge(NO_DENIES, list), [...exact, [name, at]])
        expect(coversExactly(denies, name, at)).toBe(true)
        const out = without(denies, name, at)
        expect(out.exact.get(name)?.has(at) ?? false).toBe(false)
        for (const [other, moment] of exact) {
          if (other !== name || moment !== at) expect(out.exact.get(other)?.has(moment)).toBe(true)
        }
        expect(printDenies(mergeExact(out, [[name, at]]))).toBe(printDenies(denies))
        expect([...without(denies, name, undefined).sessions]).toEqual([...denies.sessions].filter(([other]) => other !== name))
        const pruned = prune(denies, FENCED, 12 * HOUR)
        expect(pruned.exact.get(name)?.has(at) ?? false).toBe(at + 12 * HOUR > FENCED)
      }),
    )
  })

  it('knows its own size', () => {
    fc.assert(
      fc.property(entries, (list) => {
        const document = printDenies(merge(NO_DENIES, list))
        expect(countCharacters(JSON.stringify(JSON.parse(document), undefined, 2))).toBe(document.length)
      }),
    )
  })

  it('rounds to the second that is not before the moment', () => {
    expect(secondFrom(1000)).toBe(1)
    expect(secondFrom(1001)).toBe(2)
    expect(printSecond(FENCED)).toBe('2026-11-20T12:00:00Z')
    expect(literal('a$b')).toBe('a${$}b')
    expect(parseDenies('{')).toBeUndefined()
    expect(parseDenies('{"Version":"2012-10-17"}')).toBeUndefined()
  })
})

describe('any run of cuts (property)', () => {
  it('every session answered revoked or absent is dead while its tokens live, others live, and AWS never sees too large a policy', async () => {
    const step = fc.record({
      lane: fc.constantFrom('p0', 'p1', 'p2') satisfies fc.Arbitrary<Warrant['lane']>,
      names: fc.uniqueArray(fc.integer({ min: 0, max: 60 }), { minLength: 1, maxLength: 25 }),
      hours: fc.integer({ min: 0, max: 9 }),
      throttled: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 200, max: 9_000 }),
        async (steps, taken) => {
          const account = new FakeIam(ACCOUNT)
          const roleId = account.addRole('app', { maxSessionSeconds: 12 * HOUR })
          const holder = { kind: 'role', name: 'app' } as const
          const rest = JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Resource: 'x'.repeat(taken) }] })
          await account.putPolicy(holder, 'of-the-team', rest)
          let at = time
          const cutter = createProvider(SETTINGS, account, () => at)
          const dead = new Map<string, number>()
          let wholeRole = 0
          for (const { lane, names, hours, throttled } of steps) {
            at += hours * HOUR * 1000
            const fencedAt = new Date(at - 500).toISOString()
            const batch = names.map((number) => ({
              lease: `lease-${number}`,
              target: {
                kind: 'role-session',
                roleName: 'app',
                roleId,
                sessionName: `session-${number}`.padEnd(64, '-'),
              } satisfies Target,
            }))
            if (throttled) account.fail('putPolicy', 'throttled')
            const answers: Answer[] = await cutter.revoke(batch, warrant(lane, 1, fencedAt))
            for (const [index, answer] of answers.entries()) {
              if (answer.status === 'revoked') dead.set(batch[index]?.target.sessionName ?? '', at / 1000)
              if (answer.said.includes('every session')) wholeRole = at / 1000
            }
            for (const [name, cut] of dead) {
              // A token of twelve hours that was issued just before its cut.
              if (cut - 1 + 12 * HOUR > at / 1000) expect(account.sessionWorks('app', name, cut - 1)).toBe(false)
            }
            expect(account.sessionWorks('app', 'bystander', at / 1000 - 1)).toBe(wholeRole !== at / 1000)
            expect(account.policiesOf(holder).get('of-the-team')).toBe(rest)
          }
        },
      ),
      { numRuns: 60 },
    )
  })
})

it('an IamFault says its kind and code, and nothing of the request', () => {
  expect(new IamFault('gone', 'NoSuchEntity').message).toBe('gone: NoSuchEntity')
})
