// biome-ignore-all lint/suspicious/noTemplateCurlyInString: policy variables of IAM, not of JavaScript
import { beforeEach, describe, expect, it } from 'vitest'
import type { Target } from '../../../functions/providers/aws-iam/definition.ts'
import { definition, Target as TargetSchema } from '../../../functions/providers/aws-iam/definition.ts'
import { FakeIam } from '../../../functions/providers/aws-iam/fake.ts'
import { merge, NO_DENIES, parseDenies, printDenies, sourceKey } from '../../../functions/providers/aws-iam/policy.ts'
import { createProvider } from '../../../functions/providers/aws-iam/provider.ts'
import type { Warrant } from '../../../functions/providers/contract.ts'
import { mac } from '../../support/mac.ts'

const ACCOUNT = '123456789012'
const NOW = Date.parse('2026-11-20T12:00:03Z')
const ISSUED = NOW / 1000 - 60
const warrant = (lane: Warrant['lane'] = 'p1'): Warrant => ({
  case: 'abcdefghijklmnopqrstuvwxyz',
  lane,
  epoch: 1,
  fencedAt: '2026-11-20T12:00:00.250Z',
})
const subjects = (...targets: Target[]) =>
  targets.map((target, index) => ({ lease: `lease-${index}`, target: TargetSchema.parse(target) }))

describe('sessions of a role by their source identity', () => {
  let iam: FakeIam
  let roleId: string
  let time: number
  const provider = () => {
    const { tidy, restore, ...rest } = createProvider({ account: ACCOUNT, region: 'eu-central-1' }, iam, () => time)
    if (tidy === undefined || restore === undefined) throw new Error('incomplete')
    return { ...rest, tidy, restore }
  }
  const target = (sourceIdentity: string): Target => ({ kind: 'source-identity', roleName: 'app', roleId, sourceIdentity })
  const policy = () => iam.policiesOf({ kind: 'role', name: 'app' }).get('rescind-sessions-p1') ?? ''
  beforeEach(() => {
    iam = new FakeIam(ACCOUNT)
    roleId = iam.addRole('app')
    time = NOW
  })

  it('are cut whatever they are named; others, newer ones and those without one go on', async () => {
    const aws = provider()
    const cut = subjects(target('eve'))
    expect(await aws.verify(cut, warrant())).toMatchObject([{ status: 'alive' }])
    expect(await aws.revoke(cut, warrant())).toMatchObject([{ status: 'revoked' }])
    expect(['job-1', 'job-2'].map((name) => iam.sessionWorks('app', name, ISSUED, 'eve'))).toEqual([false, false])
    expect(iam.sessionWorks('app', 'job-1', ISSUED, 'bob')).toBe(true)
    expect(iam.sessionWorks('app', 'eve', ISSUED)).toBe(true)
    expect(iam.sessionWorks('app', 'job-1', NOW / 1000 + 60, 'eve')).toBe(true)
    expect(await aws.verify(cut, warrant())).toMatchObject([{ status: 'dead' }])
    expect(await aws.revoke(cut, warrant())).toMatchObject([{ status: 'absent' }])
    expect(await aws.restore(cut, warrant())).toMatchObject([{ status: 'restored' }])
    expect(iam.sessionWorks('app', 'job-1', ISSUED, 'eve')).toBe(true)
  })

  it('are denied in one policy with sessions by name, each by its own key of the request', async () => {
    const named: Target = { kind: 'role-session', roleName: 'app', roleId, sessionName: 'eve' }
    const answers = await provider().revoke(subjects(named, target('eve'), target('zoe')), warrant())
    expect(answers.map(({ status }) => status)).toEqual(['revoked', 'revoked', 'revoked'])
    const { Statement: statements }: { Statement: { Condition: { StringEquals: object } }[] } = JSON.parse(policy())
    expect(statements.map(({ Condition: { StringEquals: names } }) => names)).toEqual([
      { 'aws:userid': [`${roleId}:eve`] },
      { 'aws:SourceIdentity': ['eve', 'zoe'] },
    ])
    await provider().restore(subjects(target('eve')), warrant())
    expect(iam.sessionWorks('app', 'eve', ISSUED)).toBe(false)
    expect(iam.sessionWorks('app', 'job', ISSUED, 'eve')).toBe(true)
    expect(iam.sessionWorks('app', 'job', ISSUED, 'zoe')).toBe(false)
  })

  it('of a role that is gone are absent, and their deny is swept when no such token can live', async () => {
    const aws = provider()
    const cut = subjects(target('eve'))
    await aws.revoke(cut, warrant())
    expect(await aws.tidy(cut, warrant())).toMatchObject([{ status: 'retry' }])
    time += 37 * 3_600_000
    expect(await aws.tidy(cut, warrant())).toMatchObject([{ status: 'revoked' }])
    expect(policy()).toBe('')
    iam.removeRole('app')
    expect(await aws.revoke(cut, warrant())).toMatchObject([{ status: 'absent' }])
  })

  it('are many credentials under one name, and no session of that name', () => {
    const session: Target = { kind: 'role-session', roleName: 'app', roleId, sessionName: 'eve' }
    expect(definition.namesMany?.(target('eve'))).toBe(true)
    expect(definition.credential(target('eve'), undefined, mac)).not.toBe(definition.credential(session, undefined, mac))
    for (const wild of ['*', 'a', '${aws:username}', 'a b', `x${'y'.repeat(64)}`]) {
      expect(TargetSchema.safeParse({ ...target('eve'), sourceIdentity: wild }).success).toBe(false)
    }
  })
})

it('a policy with source identities reads as it was written, and is kept as it is where it is not ours', () => {
  const denies = merge(NO_DENIES, [
    [sourceKey('eve'), 100],
    ['AROA00000000000000001:eve', 100],
    [sourceKey('zoe'), 200],
  ])
  expect(parseDenies(printDenies(denies))).toEqual(denies)
  const both = {
    StringEquals: { 'aws:SourceIdentity': 'eve', 'aws:userid': 'x' },
    DateLessThan: { 'aws:TokenIssueTime': '2026-01-01T00:00:00Z' },
  }
  const statement = { Effect: 'Deny', Action: '*', Resource: '*', Condition: both }
  expect(parseDenies(JSON.stringify({ Version: '2012-10-17', Statement: [statement] }))?.foreign).toEqual([
    JSON.stringify(statement),
  ])
})
