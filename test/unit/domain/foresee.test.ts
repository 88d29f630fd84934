import { describe, expect, it } from 'vitest'
import { askerFor } from '../../../functions/domain/asker.ts'
import type { Gist, Surroundings } from '../../../functions/domain/foresee.ts'
import { foresee } from '../../../functions/domain/foresee.ts'

const NOW = '2026-11-22T10:00:00.000Z'
const EARLIER = '2026-11-22T09:00:00.000Z'
const LATER = '2026-11-23T10:00:00.000Z'
const asker = (type: 'offboarding' | 'compromise') =>
  askerFor(
    {
      id: 'preview',
      type,
      lane: type === 'compromise' ? 'p0' : 'p1',
      openedAt: NOW,
      scope: { kind: 'identity', id: 'spiffe://example.org/app' },
    },
    { unit: '', amends: false, because: 'scan', now: NOW },
  )
const lease = (change: Partial<Gist> = {}): Gist => ({
  kind: 'lease',
  id: `${'a'.repeat(26)}.db.${'b'.repeat(26)}`,
  identity: 'spiffe://example.org/app',
  identityKey: 'a'.repeat(26),
  issuer: 'db',
  fingerprint: 'c'.repeat(26),
  owner: 'alice',
  consumer: 'app',
  delegable: false,
  depth: 0,
  target: {},
  epoch: 1,
  expiresAt: LATER,
  state: 'live',
  acknowledged: true,
  sharing: 'exclusive',
  claims: {},
  outcomes: {},
  by: { who: 'test', at: EARLIER },
  ...change,
})
const free: Surroundings = { exempt: undefined, restraint: undefined, unable: undefined }
const offboarding = (change: Partial<Gist>, around: Partial<Surroundings> = {}) =>
  foresee(lease(change), asker('offboarding'), { ...free, ...around })
const compromise = (change: Partial<Gist>, around: Partial<Surroundings> = {}) =>
  foresee(lease(change), asker('compromise'), { ...free, ...around })

describe('what becomes of a lease', () => {
  it('a live one is cut; one that shares is given back while others hold its credential', () => {
    expect(offboarding({})).toEqual({ word: 'cut', joins: true, late: false })
    expect(offboarding({ sharing: 'shared' })).toMatchObject({ word: 'cut', whileShared: { word: 'released' } })
    expect(offboarding({ sharing: 'shared', ambiguous: true })).toMatchObject({
      whileShared: { word: 'unsupported', livesUntil: LATER },
    })
    expect(compromise({ sharing: 'shared' })).toEqual({ word: 'cut', joins: true, late: false })
    expect(offboarding({ sharing: 'shared', unheld: true })).toEqual({ word: 'cut', joins: true, late: false })
  })

  it('one that was never acknowledged is cut by an amendment; a case that may only watch leaves it alone', () => {
    expect(offboarding({ state: 'registering', acknowledged: false })).toMatchObject({ word: 'cut', late: true })
    expect(compromise({ state: 'late', acknowledged: false })).toMatchObject({ word: 'cut', late: true })
    const watching = { restraint: { mode: 'observe' as const, said: 'mode observe' } }
    expect(offboarding({ state: 'registering', acknowledged: false }, watching)).toBeUndefined()
  })

  it('one that another case is at waits for it, unless this one is more urgent', () => {
    const cutting = { state: 'cutting' as const, holder: { case: 'other', lane: 'p1' as const } }
    expect(offboarding(cutting)).toMatchObject({ word: 'waiting', joins: false })
    expect(compromise(cutting)).toMatchObject({ word: 'cut', joins: true })
    expect(compromise({ ...cutting, holder: { case: 'other', lane: 'p0' } })).toMatchObject({ word: 'waiting', joins: true })
    // Parked: nobody is at it.
    expect(offboarding({ state: 'cutting' })).toMatchObject({ word: 'cut' })
  })

  it('what is over is left out, but for what could not be cut and lives', () => {
    const ended = { state: 'ended' as const, ended: { case: 'other', outcome: 'revoked' as const, at: EARLIER } }
    expect(offboarding(ended)).toBeUndefined()
    expect(offboarding({ state: 'released', sharing: 'shared' })).toBeUndefined()
    expect(compromise({ state: 'released', sharing: 'shared' })).toMatchObject({ word: 'cut' })
    const alive = {
      state: 'ended' as const,
      ended: { case: 'other', outcome: 'unsupported' as const, at: EARLIER, livesUntil: LATER },
    }
    expect(offboarding(alive)).toMatchObject({ word: 'unsupported', livesUntil: LATER, joins: false })
    expect(compromise(alive)).toMatchObject({ word: 'unsupported', joins: true })
    expect(compromise({ state: 'resurrected' })).toMatchObject({ word: 'cut' })
  })

  it('exempt identities are left alone, restrained leases only watched, and what is in vain says until when it lives', () => {
    expect(compromise({}, { exempt: 'itself' })).toMatchObject({ word: 'exempt', joins: false, livesUntil: LATER })
    // What is spared for another one's sake gave away what may be cut.
    expect(compromise({}, { exempt: 'another' })).toMatchObject({ word: 'exempt', joins: true, livesUntil: LATER })
    const contain = { restraint: { mode: 'contain' as const, said: 'mode contain' } }
    expect(offboarding({ sharing: 'shared' }, contain)).toMatchObject({
      word: 'observed',
      joins: true,
      watched: { would: 'cut', whileShared: 'released' },
    })
    const unable = { unable: { word: 'unsupported' as const, said: 'checked by others' } }
    expect(offboarding({}, unable)).toMatchObject({
      word: 'unsupported',
      said: 'checked by others',
      livesUntil: LATER,
      joins: true,
    })
    expect(offboarding({ sharing: 'shared' }, unable)).toMatchObject({ word: 'unsupported', whileShared: { word: 'released' } })
    expect(offboarding({}, { ...unable, ...contain })).toMatchObject({ word: 'observed', watched: { would: 'unsupported' } })
  })
})
