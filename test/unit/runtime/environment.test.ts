import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Settings } from '../../../functions/contracts/settings.ts'
import { DEFAULT_LIMITS } from '../../../functions/contracts/settings.ts'
import { EnvironmentInvalid, readEnvironment } from '../../../functions/runtime/environment.ts'

const settings: Settings = {
  tokenIssuers: [],
  grants: [{ right: 'operator', caller: 'https://idp.example#*', approve: true }],
  sources: [],
  protected: [],
  ownerLeavesDefault: 'revoke',
  limits: DEFAULT_LIMITS,
}
let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'rescind-environment-'))
  writeFileSync(join(directory, 'settings.json'), JSON.stringify(settings))
  writeFileSync(join(directory, 'broken.json'), '{')
  writeFileSync(join(directory, 'wrong.json'), JSON.stringify({ ...settings, ownerLeavesDefault: 'perhaps', secret: 'hunter2' }))
  writeFileSync(
    join(directory, 'dead.json'),
    JSON.stringify({ ...settings, protected: ['arn:aws:iam::123456789012:role/prod/*'] }),
  )
})
afterAll(() => rmSync(directory, { recursive: true }))

const variables = {
  TABLE_NAME: 'leases',
  QUEUES: '{"plan-p0":"https://sqs.eu-west-1.amazonaws.com/1/plan-p0"}',
  SECRETS: 'dir:/run/secrets',
  SEALING: 'kms:arn:aws:kms:eu-west-1:123456789012:key/abc',
  SETTINGS_FILE: 'settings.json',
}
const problemsOf = (work: () => unknown): readonly string[] => {
  try {
    work()
  } catch (error) {
    if (error instanceof EnvironmentInvalid) return error.problems
    throw error
  }
  return []
}

describe('readEnvironment', () => {
  it('reads what is wanted, and nothing else', () => {
    expect(readEnvironment(['tableName', 'queues', 'secrets', 'sealing', 'settings'], { variables, directory })).toEqual({
      tableName: 'leases',
      queues: { 'plan-p0': 'https://sqs.eu-west-1.amazonaws.com/1/plan-p0' },
      secrets: { kind: 'dir', path: '/run/secrets' },
      sealing: { kind: 'kms', key: 'arn:aws:kms:eu-west-1:123456789012:key/abc' },
      settings,
    })
    expect(readEnvironment(['tableName'], { variables: { TABLE_NAME: 't' } })).toEqual({ tableName: 't' })
    expect(readEnvironment(['fingerprintKey'], { variables: { FINGERPRINT_KEY: 'rescind/keys/fingerprint' } })).toEqual({
      fingerprintKey: 'rescind/keys/fingerprint',
    })
    expect(readEnvironment(['secrets', 'sealing'], { variables: { SECRETS: 'aws', SEALING: 'file:/k' } })).toEqual({
      secrets: { kind: 'aws' },
      sealing: { kind: 'file', path: '/k' },
    })
  })

  it('takes LAMBDA_TASK_ROOT for the folder', () => {
    expect(readEnvironment(['settings'], { variables: { SETTINGS_FILE: 'settings.json', LAMBDA_TASK_ROOT: directory } })).toEqual(
      { settings },
    )
  })

  it('names everything that is missing at once', () => {
    const problems = problemsOf(() =>
      readEnvironment(['tableName', 'outcomeBus', 'archiveBucket', 'auditIndexTable'], { variables: { TABLE_NAME: '' } }),
    )
    expect(problems).toEqual([
      'TABLE_NAME is missing',
      'OUTCOME_BUS is missing',
      'ARCHIVE_BUCKET is missing',
      'AUDIT_INDEX_TABLE is missing',
    ])
  })

  it.each([
    ['queues', 'QUEUES', 'not json'],
    ['queues', 'QUEUES', '{"plan-p0":"nowhere"}'],
    ['queues', 'QUEUES', '["hunter2"]'],
    ['secrets', 'SECRETS', 'hunter2'],
    ['secrets', 'SECRETS', 'dir:relative'],
    ['sealing', 'SEALING', 'kms:hunter2'],
    ['settings', 'SETTINGS_FILE', 'nothing.json'],
    ['settings', 'SETTINGS_FILE', 'broken.json'],
    ['settings', 'SETTINGS_FILE', 'wrong.json'],
  ] as const)('%s: says that %s is wrong, without its value (%s)', (name, variable, value) => {
    const problems = problemsOf(() => readEnvironment([name], { variables: { [variable]: value }, directory }))
    expect(problems.length).toBeGreaterThan(0)
    for (const problem of problems) {
      expect(problem).toContain(variable)
      expect(problem).not.toContain('hunter2')
    }
  })

  it('tells a protection that protects nothing', () => {
    const problems = problemsOf(() => readEnvironment(['settings'], { variables: { SETTINGS_FILE: 'dead.json' }, directory }))
    expect(problems).toEqual(['SETTINGS_FILE/protected/0 matches nothing: roles and users are known without their paths'])
  })
})
