import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Json } from '../../lib/local/json.ts'
import { compilePattern, PatternError } from '../../lib/local/pattern.ts'

const matches = (pattern: Json, event: Json) => compilePattern(pattern)(event)

const letters = fc.stringMatching(/^[abAB*\\]{0,6}$/)
const leaf = fc.oneof(letters, fc.integer({ min: -5, max: 5 }), fc.boolean(), fc.constant(null))
const field = fc.constantFrom('a', 'b', 'c', 'd')
/** Objects of objects and leaves, without arrays. */
const plain = fc.letrec<{ object: Json; value: Json }>((tie) => ({
  value: fc.oneof({ depthSize: 'small' }, leaf, tie('object')),
  object: fc.dictionary(field, tie('value'), { minKeys: 1, maxKeys: 4 }) as fc.Arbitrary<Json>,
})).object
const json = fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<Json>

/** Paths and values of all leaves of an object without arrays. */
function leavesOf(value: Json, path: string[] = []): { path: string[]; value: Json }[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [{ path, value }]
  return Object.entries(value).flatMap(([name, part]) => leavesOf(part ?? null, [...path, name]))
}
const nest = (path: readonly string[], inner: Json): Json => path.reduceRight<Json>((value, name) => ({ [name]: value }), inner)

describe('event patterns', () => {
  it('match an event by any set of its own leaves', () => {
    fc.assert(
      fc.property(plain, fc.nat(), (event, pick) => {
        const leaves = leavesOf(event)
        const chosen = leaves[pick % leaves.length]
        fc.pre(chosen !== undefined)
        expect(matches(nest(chosen.path, [chosen.value]), event)).toBe(true)
        expect(matches(nest(chosen.path, ['no such value', chosen.value]), event)).toBe(true)
        expect(matches(nest(chosen.path, ['no such value']), event)).toBe(false)
      }),
    )
  })

  it('exists: false is the opposite of exists: true, wherever arrays stand', () => {
    fc.assert(
      fc.property(fc.dictionary(field, json), fc.array(field, { minLength: 1, maxLength: 3 }), (event, path) => {
        expect(matches(nest(path, [{ exists: false }]), event)).toBe(!matches(nest(path, [{ exists: true }]), event))
      }),
    )
  })

  it('anything-but is the opposite of the same values, for one value', () => {
    fc.assert(
      fc.property(leaf, fc.array(letters, { minLength: 1, maxLength: 3 }), (value, texts) => {
        expect(matches({ a: [{ 'anything-but': texts }] }, { a: value })).toBe(!matches({ a: texts }, { a: value }))
        for (const operator of ['prefix', 'suffix', 'equals-ignore-case']) {
          const any = texts.map((text) => ({ [operator]: text }))
          expect(matches({ a: [{ 'anything-but': { [operator]: texts } }] }, { a: value })).toBe(
            !matches({ a: any }, { a: value }),
          )
        }
      }),
    )
  })

  it('an array matches if one of its elements would', () => {
    const tests: fc.Arbitrary<Json> = fc.oneof(
      leaf,
      letters.map((text) => ({ prefix: text })),
      letters.map((text) => ({ 'anything-but': text })),
      fc.integer({ min: -5, max: 5 }).map((bound) => ({ numeric: ['>', bound] })),
    )
    fc.assert(
      fc.property(fc.array(leaf, { maxLength: 4 }), tests, (values, test) => {
        expect(matches({ a: [test] }, { a: values })).toBe(values.some((value) => matches({ a: [test] }, { a: value })))
        // Nested arrays are one list.
        expect(matches({ a: [test] }, { a: [values, []] })).toBe(matches({ a: [test] }, { a: values }))
      }),
    )
  })

  it('fields below an array must be met by one and the same element', () => {
    const element = fc.record({ x: fc.integer({ min: 0, max: 2 }), y: fc.integer({ min: 0, max: 2 }) })
    fc.assert(
      fc.property(fc.array(element, { maxLength: 4 }), element, (elements, wanted) => {
        const both = elements.some(({ x, y }) => x === wanted.x && y === wanted.y)
        expect(matches({ list: { x: [wanted.x], y: [wanted.y] } }, { list: elements })).toBe(both)
      }),
    )
  })

  it('fields are an and, $or is an or', () => {
    const event = fc.record({ a: leaf, b: leaf })
    fc.assert(
      fc.property(event, leaf, leaf, (value, one, other) => {
        const [first, second] = [{ a: [one] }, { b: [other] }]
        expect(matches({ ...first, ...second }, value)).toBe(matches(first, value) && matches(second, value))
        expect(matches({ $or: [first, second] }, value)).toBe(matches(first, value) || matches(second, value))
      }),
    )
  })

  it('what a pattern does not name changes nothing', () => {
    fc.assert(
      fc.property(plain, plain, json, (pattern, event, more) => {
        // A pattern of the same shape as some event, each leaf as a list of one.
        const wrap = (value: Json): Json =>
          typeof value === 'object' && value !== null && !Array.isArray(value)
            ? Object.fromEntries(Object.entries(value).map(([name, part]) => [name, wrap(part ?? null)]))
            : [value]
        fc.pre(leavesOf(pattern).every(({ value }) => typeof value !== 'object' || value === null))
        fc.pre(!JSON.stringify(pattern).includes('{}'))
        const compiled = compilePattern(wrap(pattern))
        expect(compiled({ ...(event as object), unnamed: more })).toBe(compiled(event))
      }),
    )
  })

  it('wildcards agree with a regular expression', () => {
    const parts = fc.array(fc.stringMatching(/^[ab]{1,2}$/), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(parts, fc.boolean(), fc.boolean(), fc.stringMatching(/^[ab]{0,9}$/), (fixed, before, after, text) => {
        const pattern = `${before ? '*' : ''}${fixed.join('*')}${after ? '*' : ''}`
        const expression = new RegExp(`^${pattern.replaceAll('*', '.*')}$`, 's')
        expect(matches({ a: [{ wildcard: pattern }] }, { a: text })).toBe(expression.test(text))
      }),
      { numRuns: 1000 },
    )
  })

  it('wildcards with everything escaped match the very text', () => {
    fc.assert(
      fc.property(letters, letters, (text, other) => {
        const pattern = text.replace(/[\\*]/g, '\\$&')
        expect(matches({ a: [{ wildcard: pattern }] }, { a: text })).toBe(true)
        expect(matches({ a: [{ wildcard: pattern }] }, { a: other })).toBe(other === text)
      }),
    )
  })

  it('prefixes and suffixes agree with concatenation', () => {
    fc.assert(
      fc.property(letters, letters, (head, tail) => {
        const event = { a: head + tail }
        expect(matches({ a: [{ prefix: head }] }, event)).toBe(true)
        expect(matches({ a: [{ suffix: tail }] }, event)).toBe(true)
        expect(matches({ a: [{ prefix: { 'equals-ignore-case': head.toUpperCase() } }] }, event)).toBe(true)
        expect(matches({ a: [{ prefix: `${head}${tail}!` }] }, event)).toBe(false)
      }),
    )
  })

  it('numeric ranges agree with arithmetic', () => {
    const number = fc.integer({ min: -9, max: 9 }).map((whole) => whole / 2)
    fc.assert(
      fc.property(number, number, number, (value, low, high) => {
        expect(matches({ a: [{ numeric: ['>=', low, '<', high] }] }, { a: value })).toBe(value - low >= 0 && high - value > 0)
        expect(matches({ a: [{ numeric: ['=', low] }] }, { a: value })).toBe(value - low === 0)
        expect(matches({ a: [{ numeric: ['=', low] }] }, { a: String(low) })).toBe(false)
      }),
    )
  })

  it('any JSON is either refused as a pattern or answers for any event', () => {
    fc.assert(
      fc.property(json, json, (pattern, event) => {
        try {
          expect(typeof compilePattern(pattern)(event)).toBe('boolean')
        } catch (error) {
          expect(error).toBeInstanceOf(PatternError)
        }
      }),
      { numRuns: 1000 },
    )
  })
})
