import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { failures, precedence } from '../../../lib/local/mappings.ts'
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

describe('on one machine, what has no ceiling goes first', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  const tried = (first: ReturnType<typeof precedence>) => {
    const state = { gone: false }
    void first.turn().then(() => {
      state.gone = true
    })
    return state
  }

  it('nobody waits while there is none', async () => {
    const state = tried(precedence())
    await vi.advanceTimersByTimeAsync(0)
    expect(state.gone).toBe(true)
  })

  it('the others wait until the last of it is done, and a moment for what follows from it', async () => {
    const first = precedence()
    const [one, two] = [first.enter(), first.enter()]
    const state = tried(first)
    one()
    await vi.advanceTimersByTimeAsync(200)
    expect(state.gone).toBe(false)
    two()
    await vi.advanceTimersByTimeAsync(50)
    const three = first.enter()
    await vi.advanceTimersByTimeAsync(200)
    expect(state.gone).toBe(false)
    three()
    await vi.advanceTimersByTimeAsync(100)
    expect(state.gone).toBe(true)
  })

  it('but for no longer than a second', async () => {
    const first = precedence()
    first.enter()
    const state = tried(first)
    await vi.advanceTimersByTimeAsync(999)
    expect(state.gone).toBe(false)
    await vi.advanceTimersByTimeAsync(1)
    expect(state.gone).toBe(true)
  })
})
