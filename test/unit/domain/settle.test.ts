import { describe, expect, it } from 'vitest'
import { backoffSeconds } from '../../../functions/domain/backoff.ts'
import type { Credential, Lease } from '../../../functions/domain/model.ts'
import { allowsScope, moreUrgent, policyOf } from '../../../functions/domain/policy.ts'
import { prove, settle } from '../../../functions/domain/settle.ts'

const NOW = '2026-01-10T00:00:00.000Z'
// Only what settling looks at.
const lease = (change: Partial<Lease> = {}) => ({ expiresAt: '2026-02-01T00:00:00.000Z', ...change }) as Lease
const cutElsewhere = { cut: { case: 'other', lease: 'y', at: '2026-01-09T00:00:00.000Z' } } as Credential

describe('settling an answer', () => {
  it('revoked and absent wait for their proof', () => {
    expect(settle(lease(), { status: 'revoked', said: 'cut' }, false, undefined, NOW)).toMatchObject({
      kind: 'applied',
      outcome: 'revoked',
    })
    expect(settle(lease(), { status: 'absent', said: 'gone' }, false, undefined, NOW)).toMatchObject({
      kind: 'applied',
      outcome: 'absent',
    })
  })
  it('absent counts as our cut only while an answer is unknown, or where the shared credential was cut elsewhere', () => {
    const absent = { status: 'absent', said: 'gone' } as const
    expect(settle(lease(), absent, true, undefined, NOW)).toMatchObject({
      outcome: 'revoked',
      evidence: { said: 'answer lost; now: gone' },
    })
    expect(settle(lease(), absent, false, cutElsewhere, NOW)).toMatchObject({ outcome: 'revoked', evidence: { by: 'other' } })
  })
  it('an attempt that was answered and did nothing leaves no doubt; one that was not, does', () => {
    expect(settle(lease(), { status: 'retry', said: 'busy', effect: 'none' }, false, undefined, NOW)).toMatchObject({
      kind: 'again',
      unanswered: false,
      spends: true,
    })
    expect(settle(lease(), { status: 'retry', said: 'cut off', effect: 'unknown' }, false, undefined, NOW)).toMatchObject({
      unanswered: true,
    })
    expect(settle(lease(), { status: 'retry', said: 'busy', effect: 'none' }, true, undefined, NOW)).toMatchObject({
      unanswered: true,
    })
  })
  it('nothing is final while it may still be minted; waiting spends no attempt', () => {
    const pending = lease({ unsettledUntil: '2026-01-10T00:05:00.000Z' })
    expect(settle(pending, { status: 'revoked', said: 'cut' }, false, undefined, NOW)).toMatchObject({
      kind: 'again',
      spends: false,
      unanswered: true,
      afterSeconds: 300,
    })
    // An absent that the issuer answered is no attempt of ours.
    expect(settle(pending, { status: 'absent', said: 'gone' }, false, undefined, NOW)).toMatchObject({
      kind: 'again',
      unanswered: false,
    })
  })
  it('unsupported lives to its own end, irrevocable is parked', () => {
    expect(settle(lease(), { status: 'unsupported', said: 'no' }, false, undefined, NOW)).toMatchObject({
      kind: 'final',
      outcome: { outcome: 'unsupported', livesUntil: '2026-02-01T00:00:00.000Z' },
    })
    expect(settle(lease(), { status: 'irrevocable', said: 'look' }, false, undefined, NOW)).toMatchObject({
      kind: 'final',
      outcome: { outcome: 'parked' },
    })
  })
  it('proof of death decides', () => {
    const applied = { outcome: 'revoked', evidence: { said: 'cut' } } as const
    expect(prove(applied, { status: 'dead', said: 'no login' }, NOW)).toMatchObject({
      kind: 'final',
      outcome: { outcome: 'revoked', evidence: { said: 'cut', verified: 'no login' } },
    })
    expect(prove(applied, { status: 'alive', said: 'logs in' }, NOW).kind).toBe('lives')
    expect(prove(applied, { status: 'unknown', said: '?' }, NOW).kind).toBe('ask-again')
  })
})

describe('back-off', () => {
  it('has full jitter below an exponential bound, and never undercuts the issuer’s hint', () => {
    expect(backoffSeconds(1, 0.999, 900)).toBe(2)
    expect(backoffSeconds(5, 0.5, 900)).toBe(16)
    expect(backoffSeconds(5, 0, 900)).toBe(1)
    expect(backoffSeconds(30, 0.999, 900)).toBe(900)
    expect(backoffSeconds(1, 0, 900, 30)).toBe(30)
    expect(backoffSeconds(1, 0, 900, 5000)).toBe(900)
  })
})

describe('what each trigger does', () => {
  it.each([
    ['compromise', 'identity', 'p0', 'all', 'cut', false],
    ['compromise', 'credential', 'p0', 'none', 'cut', false],
    ['offboarding', 'identity', 'p1', 'own', 'release', true],
    ['offboarding', 'owner', 'p1', 'own', 'release', true],
    ['decommission', 'deployment', 'p2', 'none', 'release', true],
    ['decommission', 'workload', 'p2', 'own', 'release', true],
    ['task-complete', 'task', 'p2', 'none', 'release', true],
    ['expired', 'leases', 'p2', 'none', 'release', false],
  ] as const)('%s of %s', (type, scope, lane, levers, shared, holdable) => {
    expect(policyOf(type, scope)).toEqual({ lane, levers, shared, holdable, fences: type !== 'expired' })
  })
  it('a trigger names only scopes of its own', () => {
    expect(allowsScope('task-complete', 'owner')).toBe(false)
    expect(allowsScope('decommission', 'identity')).toBe(false)
    expect(allowsScope('offboarding', 'credential')).toBe(false)
    expect(allowsScope('compromise', 'workload')).toBe(true)
  })
  it('only a strictly more urgent lane takes over', () => {
    expect(moreUrgent('p0', 'p1')).toBe(true)
    expect(moreUrgent('p1', 'p1')).toBe(false)
    expect(moreUrgent('p2', 'p0')).toBe(false)
  })
})
