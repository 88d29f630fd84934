import { describe, expect, it } from 'vitest'
import type { Mode, Modes } from '../../../functions/contracts/mode.ts'
import {
  begun,
  concerns,
  effectiveMode,
  leastCautious,
  mayDelete,
  modeOfLease,
  modesAt,
  modesFor,
  observedOutcome,
  observesSome,
  onlyObserves,
  restraintOn,
  unreachable,
} from '../../../functions/domain/modes.ts'

const modes = (rules: Modes['rules'], otherwise: Mode = 'enforce'): Modes => ({ default: otherwise, rules })
const caseOf = (kept: Modes) => ({ id: 'c', mode: leastCautious(kept), modes: kept })
const lease = { issuer: 'db', environment: 'test' }

describe('the modes that a case keeps', () => {
  it('are those of its trigger, in their order, and nothing behind one that fits all', () => {
    const all = modes(
      [
        { trigger: 'compromise', mode: 'enforce' },
        { issuer: 'db', mode: 'observe' },
        { trigger: 'offboarding', environment: 'test', mode: 'contain' },
        { trigger: 'offboarding', mode: 'observe' },
        { environment: 'production', mode: 'enforce' },
      ],
      'contain',
    )
    expect(modesFor(all, 'compromise')).toEqual(modes([], 'enforce'))
    expect(modesFor(all, 'offboarding')).toEqual(
      modes(
        [
          { issuer: 'db', mode: 'observe' },
          { environment: 'test', mode: 'contain' },
        ],
        'observe',
      ),
    )
    expect(modesFor(all, 'expired')).toEqual(
      modes(
        [
          { issuer: 'db', mode: 'observe' },
          { environment: 'production', mode: 'enforce' },
        ],
        'contain',
      ),
    )
    expect(modesFor(undefined, 'expired')).toEqual(modes([], 'enforce'))
  })

  it.each<[Modes, Mode]>([
    [modes([], 'observe'), 'observe'],
    [modes([{ issuer: 'db', mode: 'contain' }], 'observe'), 'contain'],
    [modes([{ issuer: 'db', mode: 'observe' }], 'enforce'), 'enforce'],
  ])('are as bold as their boldest: %j', (kept, mode) => expect(leastCautious(kept)).toBe(mode))
})

describe('the mode of a lease', () => {
  const kept = modes([
    { issuer: 'db', environment: 'test', mode: 'contain' },
    { issuer: 'db', mode: 'observe' },
    { environment: 'test', mode: 'contain' },
  ])

  it.each<[string, string | undefined, Mode | undefined, Mode]>([
    ['db', 'test', undefined, 'contain'],
    ['db', 'production', undefined, 'observe'],
    ['db', undefined, undefined, 'observe'],
    ['cloud', 'test', undefined, 'contain'],
    ['cloud', 'production', undefined, 'enforce'],
    ['cloud', 'production', 'contain', 'contain'],
    ['cloud', 'production', 'enforce', 'enforce'],
    ['db', 'production', 'enforce', 'observe'],
    ['db', 'test', 'observe', 'observe'],
  ])('at %s in %s, of an issuer that says %s, is %s', (issuer, environment, own, mode) =>
    expect(effectiveMode(kept, { issuer, environment }, own)).toBe(mode),
  )

  it('is that of its issuer’s environment where it has none of its own', () => {
    expect(modeOfLease(caseOf(kept), { issuer: 'cloud' }, { environment: 'test' })).toBe('contain')
    expect(modeOfLease(caseOf(kept), { issuer: 'cloud', environment: 'production' }, { environment: 'test' })).toBe('enforce')
  })

  it('is the case’s own where a case keeps no rules', () => {
    expect(modeOfLease({ mode: 'contain' }, lease, undefined)).toBe('contain')
  })

  it('can be each of those that any environment gives it', () => {
    expect(modesAt(caseOf(kept), 'db', undefined)).toEqual(['contain', 'observe'])
    expect(modesAt(caseOf(kept), 'cloud', undefined)).toEqual(['contain', 'enforce'])
    expect(modesAt(caseOf(kept), 'cloud', { mode: 'observe' })).toEqual(['observe'])
    expect(onlyObserves(caseOf(kept), 'db', undefined)).toBe(false)
    expect(onlyObserves(caseOf(kept), 'db', { mode: 'observe' })).toBe(true)
    expect(observesSome(caseOf(kept), 'db', undefined)).toBe(true)
    expect(observesSome(caseOf(kept), 'cloud', undefined)).toBe(false)
  })
})

describe('what a mode keeps a case from', () => {
  it('is all in observe, what cannot be undone in contain, nothing in enforce', () => {
    expect(restraintOn(caseOf(modes([], 'observe')), lease, undefined, true)?.mode).toBe('observe')
    expect(restraintOn(caseOf(modes([], 'contain')), lease, undefined, false)?.mode).toBe('contain')
    expect(restraintOn(caseOf(modes([], 'contain')), lease, undefined, true)).toBeUndefined()
    expect(restraintOn(caseOf(modes([], 'enforce')), lease, undefined, false)).toBeUndefined()
  })

  it('is deletion in all but enforce', () => {
    expect(mayDelete(caseOf(modes([], 'contain')), lease, undefined)).toBe(false)
    expect(mayDelete(caseOf(modes([], 'enforce')), lease, undefined)).toBe(true)
    expect(mayDelete(caseOf(modes([], 'enforce')), lease, { mode: 'contain' })).toBe(false)
  })

  it('refuses nothing by a fence to what may only be watched, or was only watched once', () => {
    const enforces = caseOf(modes([]))
    const once = (mode: 'observe' | 'contain') => ({
      ...lease,
      outcomes: {
        c: { outcome: 'observed' as const, at: '', evidence: { said: '' }, observed: { mode, would: 'revoked' as const } },
      },
    })
    expect(concerns(enforces, lease, undefined)).toBe(true)
    expect(concerns(enforces, lease, { mode: 'observe' })).toBe(false)
    expect(concerns(enforces, lease, { mode: 'contain' })).toBe(true)
    expect(concerns(enforces, once('observe'), undefined)).toBe(false)
    expect(concerns(enforces, once('contain'), undefined)).toBe(true)
  })

  it('does not make a cut that was begun an observation', () => {
    expect(begun({ claims: {} }, { do: 'claim', givesBack: false }, 'c')).toBe(false)
    expect(begun({ claims: { c: 'unit' } }, { do: 'claim', givesBack: false }, 'c')).toBe(true)
    expect(begun({ claims: { c: 'unit' } }, { do: 'cut' }, 'c')).toBe(true)
    expect(begun({ claims: { c: 'unit' } }, { do: 'wait', for: 'd' }, 'c')).toBe(false)
  })
})

describe('an observation', () => {
  const restraint = { mode: 'observe', said: 'mode observe' } as const
  const of = (decision: Parameters<typeof observedOutcome>[1], others = 0) => {
    const { observed, evidence } = observedOutcome({ expiresAt: '2027' }, decision, others, restraint, '2026')
    return [observed?.would, evidence.said]
  }

  it('says what the same decision would have done', () => {
    expect(of({ do: 'claim', givesBack: true })).toEqual(['revoked', 'mode observe: it would be cut'])
    expect(of({ do: 'release' }, 2)).toEqual(['released', 'mode observe: it would be given back, 2 others hold the credential'])
    expect(of({ do: 'release', livesUntil: '2027' }, 1)[0]).toBe('unsupported')
    expect(of({ do: 'wait', for: 'other' })).toEqual(['revoked', 'mode observe: it would be cut, and case other is cutting it'])
  })
})

describe('a rule that is never reached', () => {
  it.each<[string, Modes['rules'], number[]]>([
    ['nothing is wrong', [{ issuer: 'db', mode: 'observe' }, { environment: 'test', mode: 'contain' }, { mode: 'observe' }], []],
    ['behind one that fits all', [{ mode: 'observe' }, { issuer: 'db', mode: 'contain' }], [1]],
    [
      'behind its equal',
      [
        { issuer: 'db', mode: 'observe' },
        { issuer: 'db', mode: 'contain' },
      ],
      [1],
    ],
    [
      'behind a wider one',
      [
        { issuer: 'db', mode: 'observe' },
        { issuer: 'db', environment: 'test', mode: 'contain' },
      ],
      [1],
    ],
    [
      'before a wider one',
      [
        { issuer: 'db', environment: 'test', mode: 'contain' },
        { issuer: 'db', mode: 'observe' },
      ],
      [],
    ],
    [
      'behind rules that fit each trigger together',
      [
        ...(['offboarding', 'compromise', 'decommission', 'task-complete', 'expired'] as const).map((trigger) => ({
          trigger,
          mode: 'contain' as const,
        })),
        { issuer: 'db', mode: 'observe' },
      ],
      [5],
    ],
    [
      'behind rules that leave one trigger open',
      [
        ...(['offboarding', 'compromise', 'decommission', 'task-complete'] as const).map((trigger) => ({
          trigger,
          mode: 'contain' as const,
        })),
        { issuer: 'db', mode: 'observe' },
      ],
      [],
    ],
  ])('%s', (_, rules, places) => expect(unreachable(modes(rules))).toEqual(places))
})
