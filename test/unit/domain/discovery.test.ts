import { describe, expect, it } from 'vitest'
import type { KnownLease, Seen } from '../../../functions/domain/discovery.ts'
import {
  canBeMissed,
  differs,
  holdsFor,
  incarnation,
  joinMarks,
  judge,
  legible,
  markOf,
  nextDiscovery,
  splitMarks,
} from '../../../functions/domain/discovery.ts'
import { key } from '../../../functions/domain/keys.ts'
import type { Lease } from '../../../functions/domain/model.ts'

const NOW = '2026-11-22T12:00:00.000Z'
const EARLIER = '2026-11-22T10:00:00.000Z'
const MOMENTS = { now: NOW, youngAfter: '2026-11-22T11:59:00.000Z', endedBefore: '2026-11-22T11:59:00.000Z' }

const seen = (more: Partial<Seen> = {}): Seen => ({ target: { role: 'billing', oid: '1' }, usable: true, ...more })
const lease = (more: Partial<KnownLease> = {}): KnownLease => ({
  id: 'lease',
  state: 'live',
  type: 'dynamic',
  pending: false,
  expiresAt: '2026-11-23T12:00:00.000Z',
  target: { role: 'billing', oid: '1' },
  identityKey: 'identity',
  epoch: 1,
  registeredAt: EARLIER,
  ...more,
})
const ended = (
  outcome: NonNullable<KnownLease['ended']>['outcome'],
  more: { at?: string; livesUntil?: string } = {},
): KnownLease => lease({ state: 'ended', ended: { case: 'case', outcome, at: EARLIER, ...more } })
const verdict = (one: Seen, leases: readonly KnownLease[], complete = true) => {
  const { as, drafts } = judge(one, { leases, complete }, MOMENTS)
  return [as, ...drafts.map(({ kind }) => kind)]
}

describe('a listed credential', () => {
  it('that nobody registered is a shadow where it is honoured, and nothing where it is not', () => {
    expect(verdict(seen(), [])).toEqual(['found', 'unregistered'])
    expect(verdict(seen({ usable: false }), [])).toEqual(['dormant'])
    expect(verdict(seen({ own: 'the admin itself' }), [])).toEqual(['found', 'own'])
    expect(verdict(seen({ own: 'the admin itself', usable: false }), [])).toEqual(['dormant'])
  })

  it('that was just made may be about to be registered', () => {
    expect(verdict(seen({ createdAt: NOW }), [])).toEqual(['unsettled'])
    expect(verdict(seen({ createdAt: EARLIER }), [])).toEqual(['found', 'unregistered'])
    // Being new excuses no credential that was cut.
    expect(verdict(seen({ createdAt: NOW }), [ended('revoked')])).toEqual(['found', 'revived'])
  })

  it('that a case cut, or found gone, must not be honoured', () => {
    expect(verdict(seen(), [ended('revoked')])).toEqual(['found', 'revived'])
    expect(verdict(seen(), [ended('absent')])).toEqual(['found', 'revived'])
    expect(verdict(seen({ usable: false }), [ended('revoked')])).toEqual(['dormant'])
    // The list may be older than the cut.
    expect(verdict(seen(), [ended('revoked', { at: NOW })])).toEqual(['unsettled'])
    // The last word counts.
    expect(
      verdict(seen(), [ended('revoked'), ended('unsupported', { at: '2026-11-22T11:00:00.000Z', livesUntil: NOW })]),
    ).toEqual(['found', 'revived'])
  })

  it('that could not be cut lives until it ends by itself, and not after', () => {
    expect(verdict(seen(), [ended('unsupported', { livesUntil: '2026-11-22T13:00:00.000Z' })])).toEqual(['unsettled'])
    expect(verdict(seen(), [ended('unsupported', { livesUntil: '2026-11-22T11:00:00.000Z' })])).toEqual(['found', 'revived'])
  })

  it('whose leases are all given back is a shadow again, and so is a namesake of what was cut', () => {
    expect(verdict(seen(), [lease({ state: 'released' })])).toEqual(['found', 'unregistered'])
    expect(verdict(seen(), [lease({ state: 'ended' })])).toEqual(['found', 'unregistered'])
    const other = { ...ended('revoked'), target: { role: 'billing', oid: '9' } }
    expect(verdict(seen(), [other])).toEqual(['found', 'unregistered'])
  })

  it.each(['late', 'cutting', 'restoring', 'resurrected'] as const)('whose lease is %s is left to its case', (state) => {
    expect(verdict(seen(), [lease({ state })])).toEqual(['unsettled'])
    expect(verdict(seen({ usable: false }), [lease({ state }), ended('revoked')])).toEqual(['unsettled'])
  })

  it('of which not all leases were read is left alone where the others could refute it', () => {
    expect(verdict(seen(), [ended('revoked')], false)).toEqual(['unsettled'])
    const ends = seen({ expiresAt: '2027-01-01T00:00:00.000Z' })
    expect(verdict(ends, [lease()], false)).toEqual(['registered'])
    expect(verdict(ends, [lease()])).toEqual(['found', 'outlives'])
  })

  it('that a live lease names is as it should be, or shut, or another one', () => {
    expect(verdict(seen(), [lease()])).toEqual(['registered'])
    expect(verdict(seen(), [lease(), ended('revoked')])).toEqual(['registered'])
    expect(verdict(seen({ usable: false }), [lease()])).toEqual(['found', 'disabled'])
    expect(verdict(seen(), [lease({ target: { role: 'billing', oid: '2' } })])).toEqual(['found', 'replaced'])
    expect(verdict(seen({ usable: false }), [lease({ target: { role: 'billing', oid: '2' } })])).toEqual(['found', 'replaced'])
    // Both incarnations have leases: the one is missed, the other is here.
    expect(verdict(seen(), [lease(), lease({ target: { role: 'billing', oid: '2' } })])).toEqual(['found', 'replaced'])
    // It was registered before it had an oid.
    expect(verdict(seen(), [lease({ target: { role: 'billing' } })])).toEqual(['registered'])
  })

  it('that is about to be minted, renewed or acknowledged is not judged yet', () => {
    for (const unsettled of [
      lease({ pending: true }),
      lease({ unsettledUntil: '2026-11-22T12:05:00.000Z' }),
      lease({ state: 'registering' }),
    ]) {
      expect(verdict(seen({ usable: false }), [unsettled])).toEqual(['registered'])
      expect(verdict(seen(), [{ ...unsettled, target: { role: 'billing', oid: '2' } }])).toEqual(['registered'])
    }
    expect(verdict(seen({ usable: false }), [lease({ unsettledUntil: EARLIER })])).toEqual(['found', 'disabled'])
  })

  it('may end with its last lease, a minute later at the most', () => {
    const at = (expiresAt: string) => seen({ expiresAt })
    const [first, last] = [lease(), lease({ expiresAt: '2026-11-24T12:00:00.000Z' })]
    expect(verdict(at('2026-11-24T12:01:00.000Z'), [first, last])).toEqual(['registered'])
    expect(verdict(at('2026-11-24T12:01:00.001Z'), [first, last])).toEqual(['found', 'outlives'])
    expect(verdict(at('2026-11-24T12:01:01.000Z'), [last, lease({ type: 'static' })])).toEqual(['registered'])
    for (const never of ['infinity', '', '+275760-09-13T00:00:00.000Z'])
      expect(verdict(at(never), [first])).toEqual(['registered'])
  })
})

describe('a lease that a list lacks', () => {
  const live = (more: Partial<Lease> = {}) =>
    ({
      state: 'live',
      acknowledged: true,
      pending: false,
      expiresAt: '2026-11-23T00:00:00.000Z',
      by: { who: 'broker', at: EARLIER },
      ...more,
    }) as Pick<Lease, 'state' | 'acknowledged' | 'pending' | 'unsettledUntil' | 'expiresAt' | 'overdueSince' | 'by'>
  const missed = (more: Partial<Lease> = {}) => canBeMissed(live(more), NOW, '2026-11-22T12:10:00.000Z')

  it('is missed only where it was in force before the pass began, and nobody has touched it since', () => {
    expect(missed()).toBe(true)
    for (const state of ['registering', 'late', 'released', 'cutting', 'ended', 'restoring', 'resurrected'] as const)
      expect(missed({ state })).toBe(false)
    expect(missed({ acknowledged: false })).toBe(false)
    expect(missed({ pending: true })).toBe(false)
    expect(missed({ unsettledUntil: NOW })).toBe(false)
    expect(missed({ unsettledUntil: EARLIER })).toBe(true)
    for (const at of [NOW, '2026-11-22T11:59:57.000Z', '2026-11-22T12:05:00.000Z'])
      expect(missed({ by: { who: 'broker', at } })).toBe(false)
    expect(missed({ by: { who: 'broker', at: '2026-11-22T11:59:54.000Z' } })).toBe(true)
    // What has run out may have ended by itself; a class that only tells is missed all the same.
    expect(missed({ expiresAt: '2026-11-22T12:10:00.000Z' })).toBe(false)
    expect(missed({ expiresAt: '2026-11-22T11:00:00.000Z', overdueSince: '2026-11-22T11:00:00.000Z' })).toBe(true)
  })
})

describe('small things', () => {
  it('tells incarnations apart by what the lease says', () => {
    expect(differs({ role: 'a' }, { role: 'a', oid: '1' })).toBe(false)
    expect(differs({ user: 'a', tag: 'x' }, { user: 'a' })).toBe(true)
    expect(differs({ role: 'a', oid: '1' }, { role: 'a', oid: '2' })).toBe(true)
    expect(differs({ at: { x: 1, y: [2] } }, { at: { y: [2], x: 1 } })).toBe(false)
    expect(incarnation({ a: 1, b: 2 })).toBe(incarnation({ b: 2, a: 1 }))
    expect(incarnation({ a: 1 })).not.toBe(incarnation({ a: 2 }))
  })

  it('holds an acceptance for its incarnation and its time', () => {
    const finding = { target: { role: 'a', oid: '1' } }
    const accepted = { incarnation: incarnation(finding.target) }
    expect(holdsFor(accepted, finding, NOW)).toBe(true)
    expect(holdsFor({ ...accepted, until: NOW }, finding, NOW)).toBe(false)
    expect(holdsFor({ ...accepted, withdrawn: true }, finding, NOW)).toBe(false)
    expect(holdsFor(accepted, { target: { role: 'a', oid: '2' } }, NOW)).toBe(false)
  })

  it('marks what was seen, and reads the marks back', () => {
    const fingerprints = Array.from({ length: 50 }, (_, index) => key('credential', 'db', String(index)))
    expect([...splitMarks(joinMarks(fingerprints))]).toEqual(fingerprints.map(markOf))
    expect(new Set(fingerprints.map(markOf)).size).toBe(50)
    expect([...splitMarks('')]).toEqual([])
  })

  it('is due once in each period, at a moment of the issuer own, and never twice within half of one', () => {
    expect(nextDiscovery('db', 86_400, undefined)).toBeUndefined()
    const moments = Array.from({ length: 200 }, (_, index) => nextDiscovery(`db-${index}`, 86_400, NOW) ?? '')
    expect(new Set(moments).size).toBeGreaterThan(190)
    for (const [index, moment] of moments.entries()) {
      const after = (Date.parse(moment) - Date.parse(NOW)) / 86_400_000
      expect(after).toBeGreaterThanOrEqual(0.5)
      expect(after).toBeLessThan(1.5)
      // From then on it is once a day.
      expect(Date.parse(nextDiscovery(`db-${index}`, 86_400, moment) ?? '') - Date.parse(moment)).toBe(86_400_000)
    }
  })

  it('shows an issuer own text without what a terminal would obey, and not without end', () => {
    expect(legible('role "a\u001b[2J\u0000\n\u2028"', 100)).toBe('role "a\ufffd[2J\ufffd\ufffd\ufffd"')
    expect(legible('x'.repeat(600), 512)).toHaveLength(512)
    expect(legible(`${'x'.repeat(510)}😀`, 512)).toBe(`${'x'.repeat(510)}😀`)
    expect(legible(`${'x'.repeat(510)}😀😀`, 512).isWellFormed()).toBe(true)
  })
})
