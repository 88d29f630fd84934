import { describe, expect, it } from 'vitest'
import { Discipline } from '../../../functions/contracts/discipline.ts'
import { canonicalJson } from '../../../functions/domain/canonical.ts'
import type { Facts } from '../../../functions/domain/discipline.ts'
import { classOf, termsOf, violations } from '../../../functions/domain/discipline.ts'

const discipline = Discipline.parse({
  classes: [
    { name: 'job', match: { identities: ['spiffe://example.org/ci/**'] }, maxTtlSeconds: 3600, window: 'task', outage: 'spool' },
    { name: 'static', match: { kinds: ['static'], environments: ['production'] }, maxTtlSeconds: 86400, expiry: 'notify' },
    { name: 'database', match: { providers: ['postgresql'], issuers: ['orders'] }, maxTtlSeconds: 7200 },
  ],
  rules: {
    owners: ['*@example.org', 'team:*'],
    consumer: { patterns: ['svc:*'] },
    purpose: { minLength: 10 },
  },
} satisfies Discipline)

const facts = (change: Partial<Facts> = {}): Facts => ({
  provider: 'postgresql',
  issuer: 'orders',
  kind: 'dynamic',
  identity: 'spiffe://example.org/workload/a',
  owner: 'alice@example.org',
  ownerLeft: false,
  consumer: 'spiffe://example.org/workload/a',
  purpose: 'reads the orders of the day',
  from: '2026-11-22T00:00:00.000Z',
  expiresAt: '2026-11-22T01:00:00.000Z',
  ...change,
})
const broken = (change: Partial<Facts>) => violations(discipline, facts(change)).map(({ rule, path }) => `${rule} ${path}`)

describe('the discipline', () => {
  it('asks nothing where there is none', () => {
    expect(violations(undefined, facts({ consumer: 'prod', purpose: 'x' }))).toEqual([])
    expect(classOf(undefined, facts())).toBeUndefined()
    expect(termsOf(undefined)).toEqual({})
  })

  it('takes the first class that fits, and says what it means', () => {
    const named = (change: Partial<Facts>) => classOf(discipline, facts(change))?.name
    expect(named({})).toBe('database')
    expect(named({ identity: 'spiffe://example.org/ci/x' })).toBe('job')
    expect(named({ kind: 'static' })).toBe('database')
    expect(named({ kind: 'static', environment: 'production' })).toBe('static')
    expect(named({ issuer: 'other' })).toBeUndefined()
    expect(termsOf(classOf(discipline, facts({ kind: 'static', environment: 'production' })))).toEqual({
      class: 'static',
      onExpiry: 'notify',
      onOutage: 'closed',
    })
  })

  it.each<[string, Partial<Facts>, string[]]>([
    ['nothing', {}, []],
    ['a life to the last second', { expiresAt: '2026-11-22T02:00:00.000Z' }, []],
    ['a life too long', { expiresAt: '2026-11-22T02:00:00.001Z' }, ['ttl /expiresAt']],
    ['no class', { issuer: 'other' }, ['class /issuer']],
    ['a job without its end', { identity: 'spiffe://example.org/ci/x', task: {} }, ['window /task/endsBy']],
    ['a job without a task', { identity: 'spiffe://example.org/ci/x' }, ['window /task/endsBy']],
    [
      'a lease that outlives its job',
      { identity: 'spiffe://example.org/ci/x', task: { endsBy: '2026-11-22T00:30:00.000Z' } },
      ['window /expiresAt'],
    ],
    [
      'a lease that ends with its job',
      { identity: 'spiffe://example.org/ci/x', task: { endsBy: '2026-11-22T01:00:00.000Z' } },
      [],
    ],
    ['an owner that nobody knows', { owner: 'alice@elsewhere.example' }, ['owner /owner']],
    ['an owner who left', { ownerLeft: true }, ['owner /owner']],
    ['a team as an owner', { owner: 'team:billing' }, []],
    ['an environment as the consumer', { consumer: 'PROD' }, ['consumer /consumer']],
    ['a team as the consumer', { consumer: 'Team-Billing' }, ['consumer /consumer']],
    ['a name as the consumer', { consumer: 'billing' }, ['consumer /consumer']],
    ['an identity that is not canonical', { consumer: 'SPIFFE://Example.org/workload/a' }, ['consumer /consumer']],
    ['an ARN as the consumer', { consumer: 'arn:aws:iam::111122223333:role/app' }, []],
    ['an OIDC subject as the consumer', { consumer: 'https://ci.example.org#repo%3Aa' }, []],
    ['a known kind of consumer', { consumer: 'svc:billing' }, []],
    ['a purpose too short', { purpose: 'orders' }, ['purpose /purpose']],
    ['a purpose that says nothing', { purpose: 'TODO later, maybe' }, ['purpose /purpose']],
    [
      'everything at once',
      { expiresAt: '2027-11-22T00:00:00.000Z', owner: 'x', consumer: 'shared', purpose: '-' },
      ['ttl /expiresAt', 'owner /owner', 'consumer /consumer', 'purpose /purpose'],
    ],
  ])('refuses %s', (_, change, expected) => {
    expect(broken(change)).toEqual(expected)
  })

  it('says what it asks, never what it got', () => {
    for (const violation of violations(
      discipline,
      facts({ owner: 'secret-owner', consumer: 'secret-consumer', purpose: 'secret' }),
    ))
      expect(JSON.stringify(violation)).not.toContain('secret')
  })
})

describe('canonical JSON', () => {
  it('is that of RFC 8785', () => {
    // Section 3.2.2 and 3.2.3 of the RFC.
    expect(canonicalJson({ numbers: [333333333.3333333, 1e30, 4.5, 2e-3, 1e-27], literals: [null, true, false] })).toBe(
      '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}',
    )
    expect(canonicalJson({ '\u20ac': 1, '\r': 2, '\ufb33': 3, 1: 4, '\u{1f600}': 5, '\u0080': 6, '\u00f6': 7 })).toBe(
      '{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\u{1f600}":5,"\ufb33":3}',
    )
  })
  it('leaves out what is undefined, and refuses what is no JSON', () => {
    expect(canonicalJson({ b: undefined, a: { d: [], c: '"' } })).toBe('{"a":{"c":"\\"","d":[]}}')
    for (const value of [undefined, Number.NaN, Number.POSITIVE_INFINITY, () => 1, 1n])
      expect(() => canonicalJson(value)).toThrow(TypeError)
  })
})
