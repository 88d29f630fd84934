import { describe, expect, it } from 'vitest'
import type { Reached } from '../../../functions/domain/fuse.ts'
import { DEFAULT_FUSE, fuseLimits, mostIdentities, roomOf, whyTripped, windowOf } from '../../../functions/domain/fuse.ts'

const reached = (part: Partial<Reached>): Reached => ({ identities: 0, leases: 0, taskLeases: 0, more: false, ...part })
const room = (identities: number, leases = 0, taskLeases = 0) => ({ window: 1, used: { identities, leases, taskLeases } })

describe('the limits of a fuse', () => {
  it("are the source's own, then the installation's, then ours", () => {
    expect(fuseLimits(undefined, 'hr')).toEqual(DEFAULT_FUSE)
    const fuse = { identities: 7, share: 0.5, sources: { hr: { identities: 3 } } }
    expect(fuseLimits(fuse, 'hr')).toEqual({ ...DEFAULT_FUSE, identities: 3, share: 0.5 })
    expect(fuseLimits(fuse, 'idp')).toEqual({ ...DEFAULT_FUSE, identities: 7, share: 0.5 })
  })

  it('take the smaller one of a number and a share, but let a handful pass', () => {
    const limits = { ...DEFAULT_FUSE, identities: 100, share: 0.1 }
    expect(mostIdentities(limits, 0)).toBe(25)
    expect(mostIdentities(limits, 500)).toBe(50)
    expect(mostIdentities(limits, 100_000)).toBe(100)
    expect(mostIdentities({ ...limits, identities: 3 }, 500)).toBe(3)
  })
})

describe('the window', () => {
  it('is fixed, and counts anew when the next one begins', () => {
    expect(windowOf('1970-01-01T01:00:00.000Z', 3600)).toBe(1)
    expect(windowOf('1970-01-01T01:59:59.999Z', 3600)).toBe(1)
    const fuse = { window: 5, identities: 3, leases: 4, taskLeases: 5 }
    expect(roomOf(undefined, 5).used.identities).toBe(0)
    expect(roomOf(fuse, 6)).toEqual({ window: 6, used: { identities: 0, leases: 0, taskLeases: 0 } })
    expect(roomOf(fuse, 5)).toEqual({ window: 5, used: { identities: 3, leases: 4, taskLeases: 5 } })
  })

  it('of a clock that is ahead is everybody’s', () => {
    expect(roomOf({ window: 7, identities: 3, leases: 4, taskLeases: 5 }, 6)).toMatchObject({
      window: 7,
      used: { identities: 3 },
    })
  })
})

describe('tripping', () => {
  const limits = { ...DEFAULT_FUSE, identities: 10, leases: 20, taskLeases: 30, share: 1 }
  const why = (used: ReturnType<typeof room>, part: Partial<Reached>, blown = false) =>
    whyTripped('hr', limits, 1000, used, reached(part), blown)

  it('needs one more than the limit', () => {
    expect(why(room(9), { identities: 1 })).toBeUndefined()
    expect(why(room(10), { identities: 1 })).toContain('10 identities before and 1 now, at most 10')
    expect(why(room(0, 20), { leases: 1 })).toContain('20 leases before')
    expect(why(room(0, 0, 30), { taskLeases: 1 })).toContain('leases of completed tasks')
  })

  it('does not hold what reaches nothing of what is used up', () => {
    expect(why(room(10, 20, 0), { taskLeases: 1 })).toBeUndefined()
    expect(why(room(10, 20, 30), {})).toBeUndefined()
  })

  it('says why: a share, too much to count, a rejection before', () => {
    expect(
      whyTripped('hr', { ...limits, identities: 500, share: 0.1 }, 1000, room(100), reached({ identities: 1 }), false),
    ).toContain('at most 100 (a share of 0.1 of 1000 known)')
    expect(why(room(0), { more: true })).toContain('more to read than can be counted')
    expect(why(room(0), { identities: 1 }, true)).toContain('was rejected')
  })
})
