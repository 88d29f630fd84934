import { describe, expect, it } from 'vitest'
import type { Lease } from '../../../functions/domain/model.ts'
import type { Asked, Covering } from '../../../functions/domain/restoring.ts'
import { casesOn, judge } from '../../../functions/domain/restoring.ts'

const NOW = '2026-11-22T12:00:00.000Z'
const lease = (change: Partial<Lease> = {}): Lease => ({
  pk: 'SCOPE#identity#i#0',
  sk: 'L#db#l',
  kind: 'lease',
  v: 3,
  by: { who: 'revoke/fake', at: NOW },
  id: 'i.db.l',
  identity: 'spiffe://example.org/app',
  identityKey: 'i',
  issuer: 'db',
  provider: 'fake',
  epoch: 1,
  type: 'dynamic',
  sharing: 'exclusive',
  registers: 'credential',
  fingerprint: 'f',
  target: {},
  owner: 'alice',
  consumer: 'app',
  purpose: 'test',
  delegable: false,
  depth: 0,
  registrar: 'broker',
  digest: 'd',
  registeredAt: '2026-11-22T10:00:00.000Z',
  registerBy: '2026-11-22T10:01:00.000Z',
  expiresAt: '2026-11-23T10:00:00.000Z',
  state: 'ended',
  acknowledged: true,
  pending: false,
  generation: 1,
  unanswered: false,
  claims: { one: 'unit' },
  outcomes: { one: { outcome: 'revoked', at: '2026-11-22T11:00:00.000Z', evidence: { said: 'cut' } } },
  ended: { case: 'one', outcome: 'revoked', at: '2026-11-22T11:00:00.000Z' },
  ...change,
})
const asked = (change: Partial<Asked> = {}): Asked => ({
  id: 'restoration',
  scope: { kind: 'lease', id: 'i.db.l' },
  requester: 'bob',
  undoesCompromise: false,
  openedAt: '2026-11-22T11:59:00.000Z',
  ...change,
})
const covering = (change: Partial<Covering> = {}): Covering => ({
  id: 'one',
  type: 'offboarding',
  sealed: true,
  requester: 'hr',
  openedAt: '2026-11-22T11:00:00.000Z',
  closedAt: '2026-11-22T11:01:00.000Z',
  amendments: { expected: 0, done: 0 },
  ...change,
})
const judged = (change: Partial<Lease>, by: Partial<Asked> = {}, cases: readonly Covering[] = [covering()]) =>
  judge(lease(change), asked(by), cases, undefined, NOW)

describe('whether a lease may be given back', () => {
  it('may, within the soak time, and names the cases that are undone', () => {
    expect(judged({})).toEqual({ may: 'yes', pardons: ['one'] })
    expect(judged({}, {}, [covering(), covering({ id: 'two' })])).toEqual({ may: 'yes', pardons: ['one', 'two'] })
  })

  it.each<[string, Partial<Lease>, string]>([
    ['is live', { state: 'live' }, 'the lease is live'],
    ['is being cut', { state: 'cutting', holder: { case: 'two', lane: 'p0' } }, 'by case two'],
    ['was absent', { ended: { case: 'one', outcome: 'absent', at: NOW } }, 'its outcome is absent'],
    ['has expired', { expiresAt: NOW }, 'would have expired'],
    ['is deleted', { deletion: { at: NOW, done: true } }, 'it was deleted'],
    ['is being deleted', { deletion: { at: NOW, done: false } }, 'it is being deleted'],
    ['is another restoration’s', { state: 'restoring', restoration: 'other' }, 'restoration other is at it'],
    ['has a parent that is not live', { parent: 'p.db.p' }, 'delegated from is not live'],
  ])('may not where it %s', (_, change, said) => {
    expect(judged(change)).toMatchObject({ may: 'no', said: expect.stringContaining(said) })
  })

  it('undoes only what whoever asked could know of', () => {
    const later = covering({ id: 'two', openedAt: '2026-11-22T11:59:00.000Z' })
    expect(judged({}, {}, [covering(), later])).toMatchObject({ may: 'no', said: expect.stringContaining('came after') })
  })

  it('undoes a compromise only by an approver’s word, and not by its reporter’s', () => {
    const compromise = covering({ type: 'compromise' })
    expect(judged({}, {}, [compromise])).toMatchObject({ may: 'no' })
    expect(judged({}, { undoesCompromise: true, requester: 'hr' }, [compromise])).toMatchObject({ may: 'no' })
    expect(judged({}, { undoesCompromise: true }, [compromise])).toEqual({ may: 'yes', pardons: ['one'] })
  })

  it('undoes one case alone where that is asked, and no lease that another case covers', () => {
    const scope = { kind: 'case' as const, id: 'one' }
    expect(judged({}, { scope })).toEqual({ may: 'yes', pardons: ['one'] })
    expect(judged({}, { scope }, [covering(), covering({ id: 'two' })])).toMatchObject({ may: 'no' })
    expect(judged({ outcomes: {} }, { scope })).toEqual({ may: 'skip' })
    expect(judged({ ended: { case: 'two', outcome: 'revoked', at: NOW } }, { scope })).toMatchObject({ may: 'no' })
  })

  it('waits for a case that would cut it again', () => {
    const { closedAt: _, ...running } = covering({ id: 'two' })
    expect(judged({}, {}, [covering(), { ...running, sealed: false }])).toMatchObject({ may: 'wait' })
    expect(judged({}, {}, [covering(), running])).toMatchObject({ may: 'wait' })
    const { closedAt: __, ...open } = covering()
    expect(judged({}, {}, [open])).toEqual({ may: 'yes', pardons: ['one'] })
    expect(judged({ sharing: 'shared' }, {}, [open])).toMatchObject({ may: 'wait' })
    expect(judged({ sharing: 'shared' }, {}, [covering({ amendments: { expected: 1, done: 0 } })])).toMatchObject({ may: 'wait' })
  })

  it('passes over what it gave back, and in an identity’s past what was never cut', () => {
    const restored = { restoration: 'restoration', case: 'one', at: NOW, said: '' }
    expect(judged({ state: 'live', restored })).toEqual({ may: 'skip' })
    const scope = { kind: 'identity' as const, id: 'spiffe://example.org/app' }
    expect(judged({ state: 'live' }, { scope })).toEqual({ may: 'skip' })
    expect(judged({ expiresAt: NOW }, { scope })).toEqual({ may: 'skip' })
  })

  it('asks no case that only watched the lease, and none that was undone already', () => {
    const observed = { outcome: 'observed' as const, at: NOW, evidence: { said: 'would be cut' } }
    const one = lease({ claims: { one: 'unit', two: 'unit' }, outcomes: { two: observed }, pardons: { three: 'earlier' } })
    expect(casesOn(one, ['three', 'four']).sort()).toEqual(['four', 'one'])
  })
})
