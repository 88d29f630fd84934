import { describe, expect, it } from 'vitest'
import type { CaseDecision } from '../../../functions/contracts/case.ts'
import { noOutcomes } from '../../../functions/contracts/outcome.ts'
import { approvalLapsed, approvalStands, deletionAllowed, deletionOf, validUntil } from '../../../functions/domain/approval.ts'

const at = (hour: number) => new Date(Date.UTC(2026, 10, 22, hour)).toISOString()
const decision = (word: CaseDecision['decision'], hour: number, extra: Partial<CaseDecision> = {}): CaseDecision => ({
  decision: word,
  about: 'case',
  by: 'one',
  reason: 'seen',
  at: at(hour),
  ...extra,
})

describe('an approval', () => {
  it('stands until it runs out, or until somebody holds the case again', () => {
    const approved = decision('approved', 1, { validUntil: at(5) })
    expect(approvalStands([], 'case', at(2))).toBe(false)
    expect(approvalStands([approved], 'case', at(4))).toBe(true)
    expect(approvalStands([approved], 'case', at(5))).toBe(false)
    expect(approvalLapsed([approved], 'case', at(5))).toBe(true)
    expect(approvalStands([approved, decision('held', 2)], 'case', at(3))).toBe(false)
    expect(approvalLapsed([approved, decision('held', 2)], 'case', at(6))).toBe(false)
    expect(approvalStands([approved, decision('held', 2), decision('resumed', 3)], 'case', at(4))).toBe(true)
  })

  it('of a deletion is none of the case', () => {
    const approved = decision('approved', 1, { about: 'deletion' })
    expect(approvalStands([approved], 'case', at(2))).toBe(false)
    expect(approvalStands([approved], 'deletion', at(2))).toBe(true)
  })

  it('counts from the moment that it is for, where that is later', () => {
    expect(validUntil(undefined, at(0), at(0))).toBe(at(72))
    expect(validUntil({ validHours: 1 }, at(0), at(10))).toBe(at(11))
    expect(validUntil({ validHours: 1 }, at(10), at(0))).toBe(at(11))
  })
})

describe('deletion', () => {
  const closed = {
    type: 'compromise' as const,
    openedAt: at(0),
    closedAt: at(1),
    requester: 'soc',
    decisions: [],
    counts: { ...noOutcomes(), revoked: 3 },
    amendCounts: { ...noOutcomes(), revoked: 2 },
  }
  const waiting = { ...closed, deletion: 'waits' as const }
  const campaign = (...decisions: { decision: 'approved' | 'rejected'; hour: number; by?: string; validUntil?: string }[]) => ({
    decisions: decisions.map(({ decision: word, hour, by = 'one', ...rest }) => ({
      decision: word,
      by,
      reason: 'seen',
      at: at(hour),
      ...rest,
    })),
  })

  it('waits for the end of the case, whose size is not known before', () => {
    const { closedAt, ...open } = closed
    expect(closedAt).toBeDefined()
    expect(deletionAllowed(open, undefined, at(9))).toBe('waits')
    expect(deletionAllowed(closed, undefined, at(9))).toBe('allowed')
  })

  it('waits above the limit, amendments counted, for a compromise alone', () => {
    expect(deletionAllowed({ ...closed, deletionAbove: 4 }, undefined, at(9))).toBe('waits')
    expect(deletionAllowed({ ...closed, deletionAbove: 5 }, undefined, at(9))).toBe('allowed')
    expect(deletionAllowed({ ...closed, type: 'offboarding', deletionAbove: 0 }, undefined, at(9))).toBe('allowed')
    expect(deletionOf({ ...closed, deletionAbove: 4 })).toBe('waits')
    expect(deletionOf(closed)).toBe('after-soak')
  })

  it('is allowed by the case or by its campaign, and refused for ever by either', () => {
    const own = decision('approved', 2, { about: 'deletion' })
    expect(deletionAllowed(waiting, undefined, at(9))).toBe('waits')
    expect(deletionAllowed({ ...waiting, deletion: 'approved', decisions: [own] }, undefined, at(9))).toBe('allowed')
    expect(deletionAllowed(waiting, campaign({ decision: 'approved', hour: 2 }), at(9))).toBe('allowed')
    expect(deletionAllowed({ ...waiting, deletion: 'refused' }, campaign({ decision: 'approved', hour: 2 }), at(9))).toBe(
      'refused',
    )
    const both = campaign({ decision: 'rejected', hour: 2 }, { decision: 'approved', hour: 3 })
    expect(deletionAllowed(waiting, both, at(9))).toBe('refused')
    expect(deletionAllowed({ ...waiting, deletion: 'approved', decisions: [own] }, both, at(9))).toBe('refused')
  })

  it("of a campaign's later case is not covered by an earlier decision, nor that of a case of its own approver", () => {
    const late = { ...waiting, openedAt: at(3), closedAt: at(4) }
    expect(deletionAllowed(late, campaign({ decision: 'approved', hour: 2 }), at(9))).toBe('waits')
    expect(deletionAllowed(late, campaign({ decision: 'rejected', hour: 2 }), at(9))).toBe('waits')
    expect(deletionAllowed(waiting, campaign({ decision: 'approved', hour: 2, by: 'soc' }), at(9))).toBe('waits')
  })

  it('may use its approval when the soak time is over, however long that is, and not for ever', () => {
    const approved = campaign({ decision: 'approved', hour: 2, validUntil: at(5) })
    expect(deletionAllowed(waiting, approved, at(4))).toBe('allowed')
    expect(deletionAllowed(waiting, approved, at(6), at(1))).toBe('waits')
    expect(deletionAllowed(waiting, approved, at(102), at(100))).toBe('allowed')
    expect(deletionAllowed(waiting, approved, at(104), at(100))).toBe('waits')
  })
})
