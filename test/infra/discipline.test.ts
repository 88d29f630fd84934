import { describe, expect, it } from 'vitest'
import type { Discipline, DisciplineClass } from '../../functions/contracts/discipline.ts'
import { catalog } from '../../functions/providers/catalog.ts'
import { ConfigInvalid, parseConfig } from '../../lib/config.ts'
import example from '../../rescind.config.ts'
import { madeUp } from './catalog.ts'
import { installation } from './support.ts'

const one = (match: DisciplineClass['match'], change: Partial<DisciplineClass> = {}): DisciplineClass => ({
  name: 'one',
  match,
  maxTtlSeconds: 3600,
  ...change,
})
const two = (match: DisciplineClass['match'], change: Partial<DisciplineClass> = {}) => one(match, { name: 'two', ...change })

function problems(classes: DisciplineClass[], rules: Discipline['rules'] = {}): readonly string[] {
  try {
    parseConfig(installation({}, { discipline: { classes, rules } }), madeUp)
  } catch (error) {
    if (error instanceof ConfigInvalid) return error.problems
    throw error
  }
  return []
}

describe('a discipline in the configuration', () => {
  it.each<[string, DisciplineClass[], RegExp]>([
    ['a class that is named twice', [one({ kinds: ['static'] }), one({})], /classes\[1\] \(one\)\.name: another class/],
    [
      'a class behind one that takes everything',
      [one({}), two({ kinds: ['static'] })],
      /classes\[1\] \(two\): can never be reached/,
    ],
    [
      'a class behind a wider one',
      [one({ kinds: ['static'] }), two({ kinds: ['static'], issuers: ['db'] })],
      /class "one" before it/,
    ],
    ['a class behind both kinds', [one({ kinds: ['static', 'dynamic'] }), two({})], /can never be reached/],
    [
      'a class behind wider identities',
      [one({ identities: ['spiffe://a/**'] }), two({ identities: ['spiffe://a/ci/**', 'spiffe://a/x'] })],
      /can never be reached/,
    ],
    ['a provider that is not enabled', [one({ providers: ['omega'] })], /provider "omega" is not enabled; there are: alpha/],
    [
      'a life that no lease may have',
      [one({}, { maxTtlSeconds: 401 * 86400 })],
      /maxTtlSeconds: is longer than settings\.limits\.leaseDays/,
    ],
    ['identities that nothing matches', [one({ identities: ['spiffe://EXAMPLE/x'] })], /matches nothing/],
  ])('is refused for %s', (_, classes, expected) => {
    const found = problems(classes)
    expect(found).toHaveLength(1)
    expect(found[0]).toMatch(expected)
  })

  it.each<[string, DisciplineClass[]]>([
    ['the narrower one first', [one({ kinds: ['static'], issuers: ['db'] }), two({ kinds: ['static'] })]],
    ['a rest at the end', [one({ identities: ['spiffe://a/ci/**'] }), two({})]],
    [
      'identities that only partly overlap',
      [one({ identities: ['spiffe://a/ci/*'] }), two({ identities: ['spiffe://a/ci/**'] })],
    ],
    ['stars in the middle', [one({ identities: ['spiffe://a/*/b/**'] }), two({ identities: ['spiffe://a/**/b/c/**'] })]],
    [
      'a part that the earlier one asks for and the later does not',
      [one({ environments: ['test'] }), two({ kinds: ['static'] })],
    ],
  ])('is taken with %s', (_, classes) => {
    expect(problems(classes)).toEqual([])
  })

  it('is refused where a rule would refuse every lease', () => {
    expect(problems([one({})], { consumer: { labels: ['**'] }, purpose: { placeholders: ['*'] } })).toEqual([
      'settings.discipline.rules.consumer.labels: "**" would refuse every lease',
      'settings.discipline.rules.purpose.placeholders: "*" would refuse every lease',
    ])
  })

  it('of the example is one that works', () => {
    expect(parseConfig(example, catalog).settings.discipline?.classes.at(-1)?.match).toEqual({})
  })
})
