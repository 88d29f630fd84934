import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { matches } from '../../functions/domain/pattern.ts'

/** The meaning, written as plainly as possible: exponential, for short texts alone. */
function meant(pattern: string, text: string): boolean {
  if (pattern === '') return text === ''
  if (pattern.startsWith('**')) return meant(pattern.slice(2), text) || (text !== '' && meant(pattern, text.slice(1)))
  if (pattern.startsWith('*'))
    return meant(pattern.slice(1), text) || (text !== '' && text[0] !== '/' && meant(pattern, text.slice(1)))
  return text !== '' && text[0] === pattern[0] && meant(pattern.slice(1), text.slice(1))
}

const letters = fc.constantFrom('a', 'b', '/', '.')
const texts = fc.array(letters, { maxLength: 9 }).map((parts) => parts.join(''))
const patterns = fc.array(fc.oneof(letters, fc.constantFrom('*', '**')), { maxLength: 8 }).map((parts) => parts.join(''))

describe('matches', () => {
  it('means what the plain definition means', () => {
    fc.assert(
      fc.property(patterns, texts, (pattern, text) => matches(pattern, text) === meant(pattern, text)),
      { numRuns: 5000 },
    )
  })

  it('a text without stars matches itself alone', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (one, other) => {
        fc.pre(!one.includes('*'))
        return matches(one, one) && matches(one, other) === (one === other)
      }),
    )
  })

  it('takes no sign but the star for more than itself', () => {
    for (const sign of '.?+[](){}^$|\\#%') {
      expect(matches(`a${sign}b`, `a${sign}b`)).toBe(true)
      expect(matches(`a${sign}b`, 'axb')).toBe(false)
      expect(matches(`a${sign}b`, 'ab')).toBe(false)
    }
  })

  it('needs few steps for what makes backtracking explode', () => {
    const started = performance.now()
    expect(matches(`${'*a'.repeat(500)}b`, 'a'.repeat(2000))).toBe(false)
    expect(matches(`${'**a'.repeat(500)}b`, 'a'.repeat(2000))).toBe(false)
    // Backtracking would need longer than the age of the universe; the bound is far above what is needed.
    expect(performance.now() - started).toBeLessThan(10_000)
  })
})
