import { describe, expect, it } from 'vitest'
import { ConfigInvalid, parseConfig } from '../../lib/config.ts'
import { madeUp } from './catalog.ts'
import { installation } from './support.ts'

const VALID = installation()
const hr = VALID.settings.sources[0]
if (hr === undefined) throw new Error('the installation has no source')

/** What the configuration is refused for, one line a problem. */
function problems(input: unknown): readonly string[] {
  try {
    parseConfig(input, madeUp)
  } catch (error) {
    if (error instanceof ConfigInvalid) return error.problems
    throw error
  }
  return []
}
const withSettings = (settings: Partial<typeof VALID.settings>) => problems(installation({}, settings))

describe('a configuration', () => {
  it('is taken with its defaults when it is right', () => {
    const config = parseConfig(VALID, madeUp)
    expect(config).toMatchObject({ removal: 'retain', secrets: 'aws', sealing: 'kms', logDays: 90, lanes: { p1: 20, p2: 5 } })
    expect(config.settings).toEqual(VALID.settings)
  })

  it.each<[string, unknown, RegExp]>([
    ['nothing at all', undefined, /the file: /],
    ['an unknown word', { ...VALID, retention: 3 }, /the file: .*retention/],
    ['a name that no queue could carry', { ...VALID, name: 'Rescind Production' }, /^name: must be 1 to 16 of a-z/],
    ['no environment', { ...VALID, environments: [] }, /^environments: /],
    [
      'an account that is none',
      { ...VALID, environments: [{ name: 'test', account: '42' }] },
      /^environments\[0\]\.account: must be an AWS account id/,
    ],
    [
      'an environment named twice',
      {
        ...VALID,
        environments: [
          { name: 'a', region: 'eu-west-1' },
          { name: 'a', region: 'eu-west-2' },
        ],
      },
      /^environments: "a" is named twice/,
    ],
    ['two environments in one place', { ...VALID, environments: [{ name: 'a' }, { name: 'b' }] }, /share their secrets/],
    [
      'an unknown provider',
      { ...VALID, providers: { beta: {} } },
      /^providers\.beta: no such provider; there are: alpha, omega, silent/,
    ],
    ['no provider', { ...VALID, providers: {} }, /^providers: at least one/],
    ['a ceiling that AWS refuses', { ...VALID, lanes: { p1: 1 } }, /^lanes\.p1: /],
    ['a provider in a network that nobody named', { ...VALID, providers: { omega: {} } }, /^vpc: provider omega .* or 'none'/],
    [
      'a subnet that is none',
      { ...VALID, vpc: { subnetIds: ['x'], securityGroupIds: ['sg-12345678'] } },
      /^vpc\.subnetIds\[0\]: must be a subnet id/,
    ],
    [
      'days that CloudWatch does not know',
      { ...VALID, logDays: 42 },
      /^logDays: must be a number of days that CloudWatch Logs knows/,
    ],
    [
      'two ways to be called',
      { ...VALID, alarms: { email: 'a@example.org', topicArn: 'arn:aws:sns:eu-west-1:111122223333:x' } },
      /^alarms: give topicArn or email/,
    ],
    [
      'an archive that forgets before the table',
      {
        ...VALID,
        archive: { retentionDays: 365, coldAfterDays: 30 },
        settings: { ...VALID.settings, limits: { ...VALID.settings.limits, retentionDays: 400 } },
      },
      /^archive\.retentionDays: must not be less than settings\.limits/,
    ],
    ['a secret store that is none', { ...VALID, secrets: 'vault' }, /^secrets: must be "aws"/],
    [
      'settings that break their contract',
      { ...VALID, settings: { ...VALID.settings, ownerLeavesDefault: 'ignore' } },
      /^settings\.ownerLeavesDefault: /,
    ],
  ])('is refused for %s', (_, input, message) => {
    expect(problems(input).join('\n')).toMatch(message)
  })

  it('names every problem at once', () => {
    const all = problems({ ...VALID, name: 'X', removal: 'perhaps', settings: { ...VALID.settings, sources: 3 } })
    expect(all.map((problem) => problem.split(':')[0])).toEqual(['name', 'removal', 'settings.sources'])
  })
})

describe('sources', () => {
  it('are told apart by name and by their source on the bus', () => {
    expect(withSettings({ sources: [hr, { ...hr, busSource: 'org.example.other' }] })).toEqual([
      'settings.sources: "hr" is named twice',
    ])
    expect(withSettings({ sources: [hr, { ...hr, name: 'hr2' }] })).toEqual([
      expect.stringMatching(/busSource "org\.example\.hr" belongs to two sources/),
    ])
  })

  it.each<[string, Partial<typeof hr>, RegExp]>([
    ['a bus source that nobody is bound to', { busPrincipals: [] }, /busPrincipals: a source on the bus is bound to/],
    ['principals without a bus source', { busSource: undefined }, /busSource: is needed with busPrincipals/],
    ['a bus source of AWS itself', { busSource: 'aws.iam' }, /busSource: .* must not begin with "aws\."/],
    [
      'a principal in any account',
      { busPrincipals: ['arn:aws:iam::*:role/hr'] },
      /must be the ARN of a role or user with its account id written out/,
    ],
    ['a whole account', { busPrincipals: ['arn:aws:iam::111122223333:root'] }, /must be the ARN of a role or user/],
    [
      'a session, which IAM sees as its role',
      { busPrincipals: ['arn:aws:sts::111122223333:assumed-role/hr/x'] },
      /must be the ARN of a role or user/,
    ],
    ['everybody', { busPrincipals: ['*'] }, /must be the ARN of a role or user/],
    [
      'a principal named twice',
      { busPrincipals: ['arn:aws:iam::111122223333:role/hr', 'arn:aws:iam::111122223333:role/hr'] },
      /is named twice/,
    ],
    [
      'a secret that the intake may not read',
      { secrets: ['rescind/issuers/alpha/admin'] },
      /must begin with "rescind\/sources\/"/,
    ],
    ['tasks without a namespace', { triggers: ['task-complete'] }, /namespaces: it sends task-complete or decommission/],
  ])('are refused for %s', (_, change, message) => {
    const source = Object.fromEntries(Object.entries({ ...hr, ...change }).filter(([, value]) => value !== undefined))
    expect(problems({ ...VALID, settings: { ...VALID.settings, sources: [source] } }).join('\n')).toMatch(message)
  })

  it('may come under a path of one account', () => {
    expect(withSettings({ sources: [{ ...hr, busPrincipals: ['arn:aws:iam::111122223333:role/hr/*'] }] })).toEqual([])
  })
})

describe('grants', () => {
  const broker = {
    right: 'broker' as const,
    caller: 'spiffe://example.org/broker',
    identities: ['spiffe://example.org/**'],
    namespaces: [],
  }

  it.each(['**', '*', 'spiffe://**', 'spiffe://*.org/x', 'https://**', 'arn:**', 'arn:aws:iam::*:role/**'])(
    'refuse a broker for %s',
    (pattern) => {
      expect(withSettings({ grants: [{ ...broker, identities: [pattern] }] })).toEqual([
        expect.stringMatching(
          /^settings\.grants\[0\]\.identities: .* matches every identity.*a broker registers for a named part/,
        ),
      ])
    },
  )

  it.each(['spiffe://example.org/**', 'https://ci.example.org#repo-*', 'arn:aws:iam::111122223333:role/**'])(
    'take a broker for %s',
    (pattern) => {
      expect(withSettings({ grants: [{ ...broker, identities: [pattern] }] })).toEqual([])
    },
  )

  it('refuse operators that are everybody, and sources that do not exist', () => {
    expect(withSettings({ grants: [{ right: 'operator', caller: '**', approve: true }] })).toEqual([
      expect.stringMatching(/^settings\.grants\[0\]\.caller: "\*\*" matches every/),
    ])
    expect(withSettings({ grants: [{ right: 'source', caller: 'spiffe://example.org/hr', source: 'payroll' }] })).toEqual([
      'settings.grants[0].source: no source is named "payroll"',
    ])
  })

  it('refuse a rule on modes that no case can come to, and take environments and issuers that nobody knows yet', () => {
    const rule = { environment: 'somewhere', issuer: 'some-db', mode: 'observe' } as const
    expect(withSettings({ modes: { default: 'enforce', rules: [rule, { trigger: 'expired', mode: 'contain' }] } })).toEqual([])
    expect(withSettings({ modes: { default: 'enforce', rules: [{ mode: 'contain' }, rule] } })).toEqual([
      expect.stringMatching(/^settings\.modes\.rules\[1\]: is never reached/),
    ])
  })

  it('refuse a fuse of a source that does not exist, and approvals that nobody can give', () => {
    const operator = { right: 'operator' as const, caller: 'spiffe://example.org/operator', approve: true }
    expect(withSettings({ grants: [operator], fuse: { sources: { payroll: { identities: 5 } } } })).toEqual([
      'settings.fuse.sources: no source is named "payroll"',
    ])
    expect(withSettings({ grants: [operator], fuse: { sources: { rescind: { identities: 5 } } } })).toEqual([])
    expect(withSettings({ grants: [{ ...operator, approve: false }], approvals: { validHours: 4 } })).toEqual([
      expect.stringMatching(/^settings\.grants: nobody may approve/),
    ])
    expect(withSettings({ fuse: { share: 0 } })).toEqual([expect.stringMatching(/^settings\.fuse\.share/)])
  })
})

describe('token issuers', () => {
  const issuer = {
    issuer: 'https://ci.example.org',
    kind: 'oidc' as const,
    audience: 'rescind',
    algorithms: ['ES256' as const],
    keys: { jwks: 'https://ci.example.org/keys' },
    namespace: 'ci',
  }

  it('publish their keys over https, or on this machine', () => {
    expect(withSettings({ tokenIssuers: [{ ...issuer, keys: { jwks: 'http://ci.example.org/keys' } }] })).toEqual([
      expect.stringMatching(/jwks: must be https/),
    ])
    expect(withSettings({ tokenIssuers: [{ ...issuer, keys: { jwks: 'http://127.0.0.1:8080/keys' } }] })).toEqual([])
    expect(withSettings({ tokenIssuers: [{ ...issuer, keys: { jwks: 'http://localhost.example.org/keys' } }] })).toEqual([
      expect.stringMatching(/jwks: must be https/),
    ])
  })

  it('are named once for an audience', () => {
    expect(withSettings({ tokenIssuers: [issuer, issuer] })).toEqual([
      'settings.tokenIssuers: https://ci.example.org for rescind is named twice',
    ])
  })
})
