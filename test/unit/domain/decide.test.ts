import { describe, expect, it } from 'vitest'
import type { Asker } from '../../../functions/domain/decide.ts'
import { decide } from '../../../functions/domain/decide.ts'
import type { Credential, Lease } from '../../../functions/domain/model.ts'

const by = { who: 'test', at: '2026-01-01T00:00:00.000Z' }

const lease = (change: Partial<Lease> = {}): Lease => ({
  pk: 'SCOPE#identity#a#0',
  sk: 'L#db#x',
  kind: 'lease',
  v: 1,
  by,
  id: 'x',
  identity: 'spiffe://example.org/a',
  identityKey: 'a',
  issuer: 'db',
  provider: 'fake',
  epoch: 1,
  type: 'dynamic',
  sharing: 'exclusive',
  registers: 'credential',
  fingerprint: 'f',
  target: {},
  owner: 'o',
  consumer: 'c',
  purpose: 'p',
  delegable: false,
  depth: 0,
  registrar: 'r',
  digest: 'd',
  registeredAt: by.at,
  registerBy: by.at,
  expiresAt: '2026-02-01T00:00:00.000Z',
  state: 'live',
  acknowledged: true,
  pending: false,
  generation: 0,
  unanswered: false,
  claims: {},
  outcomes: {},
  ...change,
})

const asker = (change: Partial<Asker> = {}): Asker => ({
  case: 'one',
  type: 'offboarding',
  lane: 'p1',
  openedAt: '2026-01-10T00:00:00.000Z',
  unit: 'identity#a#0/CHUNK#000001',
  amends: false,
  epoch: 1,
  shared: 'release',
  now: '2026-01-10T00:01:00.000Z',
  ...change,
})

const credential = (change: Partial<Credential> = {}): Credential => ({
  pk: 'CRED#f',
  sk: 'CRED',
  kind: 'credential',
  v: 1,
  by,
  holders: 2,
  exclusive: false,
  cutting: false,
  ...change,
})

const ended = (change: Partial<NonNullable<Lease['ended']>> = {}): Partial<Lease> => ({
  state: 'ended',
  ended: { case: 'other', outcome: 'revoked', at: '2026-01-10T00:00:30.000Z', ...change },
})

describe('what a unit does with a lease', () => {
  it('takes a live one', () => {
    expect(decide(lease(), asker(), undefined)).toEqual({ do: 'claim', givesBack: false })
  })
  it('leaves later epochs alone', () => {
    expect(decide(lease({ epoch: 2 }), asker(), undefined).do).toBe('skip')
  })
  it('never counts what was not acknowledged, whatever became of it', () => {
    for (const state of ['registering', 'late', 'cutting'] as const)
      expect(decide(lease({ state, acknowledged: false }), asker(), undefined).do).toBe('amend')
    expect(decide(lease({ ...ended(), acknowledged: false }), asker(), undefined).do).toBe('amend')
  })
  it('an amendment takes what is late', () => {
    expect(decide(lease({ state: 'late', acknowledged: false }), asker({ amends: true, unit: 'AMEND' }), undefined).do).toBe(
      'claim',
    )
  })
  it('leaves to another unit what that one claimed', () => {
    expect(decide(lease({ claims: { one: 'identity#a#0/CHUNK#000002' } }), asker(), undefined).do).toBe('skip')
  })
  it('goes on with its own, and only counts what is final', () => {
    const claims = { one: asker().unit }
    expect(decide(lease({ state: 'cutting', holder: { case: 'one', lane: 'p1' }, claims }), asker(), undefined).do).toBe('cut')
    const outcome = { outcome: 'revoked', at: by.at, evidence: { said: 'cut' } } as const
    expect(decide(lease({ ...ended(), claims, outcomes: { one: outcome } }), asker(), undefined)).toEqual({
      do: 'count',
      outcome,
    })
  })

  describe('a shared credential', () => {
    const shared = lease({ sharing: 'shared' })
    it('is released while others hold it, cut with the last', () => {
      expect(decide(shared, asker(), credential()).do).toBe('release')
      expect(decide(shared, asker(), credential({ holders: 1 }))).toEqual({ do: 'claim', givesBack: true })
    })
    it('is cut by a compromise whoever holds it, and by anybody once it is being cut', () => {
      expect(decide(shared, asker({ shared: 'cut' }), credential())).toEqual({ do: 'claim', givesBack: true })
      expect(decide(shared, asker(), credential({ cutting: true }))).toEqual({ do: 'claim', givesBack: true })
    })
    it('a released grant is taken back only by a compromise, and its place is not given back twice', () => {
      const released = lease({ sharing: 'shared', state: 'released' })
      expect(decide(released, asker(), credential()).do).toBe('skip')
      expect(decide(released, asker({ shared: 'cut' }), credential())).toEqual({ do: 'claim', givesBack: false })
    })
  })

  describe('a target that others have too', () => {
    const ambiguous = lease({ sharing: 'shared', ambiguous: true })
    it('lives to its expiry while others hold it, and is cut with the last', () => {
      expect(decide(ambiguous, asker(), credential())).toEqual({ do: 'release', livesUntil: ambiguous.expiresAt })
      expect(decide(ambiguous, asker(), credential({ holders: 1 }))).toEqual({ do: 'claim', givesBack: true })
      expect(decide(ambiguous, asker({ shared: 'cut' }), credential())).toEqual({ do: 'claim', givesBack: true })
    })
    it('is met again by every case as long as it lives, and by a compromise to be cut', () => {
      const released = lease({ sharing: 'shared', ambiguous: true, state: 'released' })
      expect(decide(released, asker(), credential())).toMatchObject({
        do: 'copy',
        outcome: { outcome: 'unsupported', livesUntil: released.expiresAt },
      })
      expect(decide(released, asker({ now: '2026-03-01T00:00:00.000Z' }), credential()).do).toBe('skip')
      expect(decide(released, asker({ shared: 'cut' }), credential())).toEqual({ do: 'claim', givesBack: false })
    })
  })

  describe('two cases at once', () => {
    const held = (lane: 'p0' | 'p1' | 'p2') => lease({ state: 'cutting', holder: { case: 'other', lane } })
    it('waits for one that is as urgent, takes over from one that is less', () => {
      expect(decide(held('p1'), asker(), undefined)).toEqual({ do: 'wait', for: 'other' })
      expect(decide(held('p0'), asker(), undefined)).toEqual({ do: 'wait', for: 'other' })
      expect(decide(held('p2'), asker(), undefined)).toEqual({ do: 'claim', givesBack: false })
    })
    it('takes what another one parked', () => {
      expect(decide(lease({ state: 'cutting' }), asker(), undefined).do).toBe('claim')
    })
    it('has as its own outcome what another one did meanwhile, and says whose it was', () => {
      expect(decide(lease(ended()), asker(), undefined)).toMatchObject({
        do: 'copy',
        outcome: { outcome: 'revoked', evidence: { by: 'other' } },
      })
    })
    it('has nothing to do with what ended before it began, unless that still lives', () => {
      const before = { at: '2026-01-09T00:00:00.000Z' }
      expect(decide(lease(ended(before)), asker(), undefined).do).toBe('skip')
      const lives = ended({ ...before, outcome: 'unsupported', livesUntil: '2026-01-20T00:00:00.000Z' })
      expect(decide(lease(lives), asker(), undefined)).toMatchObject({ do: 'copy', outcome: { outcome: 'unsupported' } })
    })
  })

  it('an expiry case cuts only what still expires when it was seen to', () => {
    const expiry = asker({ type: 'expired', lane: 'p2', expirySeen: '2026-02-01T00:00:00.000Z' })
    expect(decide(lease(), expiry, undefined).do).toBe('claim')
    expect(decide(lease({ expiresAt: '2026-03-01T00:00:00.000Z' }), expiry, undefined).do).toBe('skip')
  })
  it('only the sweeper’s case ends a registration that nobody finished', () => {
    expect(decide(lease({ state: 'registering', acknowledged: false }), asker({ type: 'expired' }), undefined).do).toBe('claim')
  })
  it('tries again by amendment what this case parked', () => {
    const parked = lease({
      state: 'cutting',
      claims: { one: asker().unit },
      outcomes: { one: { outcome: 'parked', at: by.at, evidence: { said: 'not now' } } },
    })
    expect(decide(parked, asker({ amends: true, unit: 'AMEND' }), undefined).do).toBe('claim')
    expect(decide(parked, asker(), undefined).do).toBe('count')
  })
})
