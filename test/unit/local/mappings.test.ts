import { describe, expect, it } from 'vitest'
import { failures } from '../../../lib/local/mappings.ts'
import { rateSeconds } from '../../../lib/local/schedules.ts'

/** AWS Lambda developer guide, "Implementing partial batch responses": what counts as success and as failure. */
describe('a partial batch response', () => {
  it('is a complete success if the list is empty, null or missing', () => {
    for (const answer of [undefined, null, {}, { batchItemFailures: [] }, { batchItemFailures: null }]) {
      expect([...failures(answer)]).toEqual([])
    }
  })
  it('names what failed', () => {
    expect([...failures({ batchItemFailures: [{ itemIdentifier: 'a' }, { itemIdentifier: 'b' }] })]).toEqual(['a', 'b'])
  })
  it('is a complete failure if an identifier is empty, null or of another name', () => {
    for (const entry of [{ itemIdentifier: '' }, { itemIdentifier: null }, { identifier: 'a' }, 'a']) {
      expect(() => failures({ batchItemFailures: [entry] })).toThrow()
    }
    expect(() => failures({ batchItemFailures: 'a' })).toThrow()
  })
})

describe('a rate', () => {
  it('is so many seconds', () => {
    expect(rateSeconds('rate(1 minute)', 'x')).toBe(60)
    expect(rateSeconds('rate(2 hours)', 'x')).toBe(7200)
    expect(rateSeconds('rate(1 day)', 'x')).toBe(86400)
  })
  it('and nothing else', () => {
    for (const text of ['cron(0 12 * * ? *)', 'rate(0 minutes)', 'rate(1 second)', 'at(2026-11-20T13:00:00)']) {
      expect(() => rateSeconds(text, 'App/Sweep')).toThrow(/App\/Sweep: /)
    }
  })
})
