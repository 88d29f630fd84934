import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compileWrite } from '../../functions/store/dynamodb.ts'
import type { Condition, Path, Value, Write } from '../../functions/store/table.ts'

/** Names and texts as somebody would choose them who wants to be part of an expression. */
const nasty = fc.oneof(
  fc.string({ minLength: 1 }),
  fc.constantFrom(
    '#0',
    ':0',
    'pk',
    'v',
    'a.b',
    'a[0]',
    ') OR (',
    'x = :0 REMOVE y',
    'attribute_exists(pk)',
    'SET',
    '__proto__',
    "'",
    '"',
    '\n',
  ),
)
const value: fc.Arbitrary<Value> = fc.oneof(
  nasty,
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
  fc.array(nasty),
  fc.dictionary(nasty, nasty),
)
const path: fc.Arbitrary<Path> = fc.oneof(nasty, fc.array(nasty, { minLength: 1, maxLength: 3 }))
const simple: fc.Arbitrary<Condition> = fc.oneof(
  fc.tuple(path, fc.constantFrom('exists' as const, 'absent' as const)),
  fc.tuple(path, fc.constantFrom('=' as const, '<>' as const, '<' as const, '<=' as const, '>' as const, '>=' as const), value),
)
const condition: fc.Arbitrary<Condition> = fc.oneof(
  simple,
  fc.array(simple, { minLength: 1, maxLength: 3 }).map((or) => ({ or })),
)
const conditions = fc.array(condition, { maxLength: 3 })
const key = fc.record({ pk: nasty, sk: nasty })
const write: fc.Arbitrary<Write> = fc.oneof(
  fc.record({ put: fc.tuple(key, fc.dictionary(nasty, value)).map(([named, more]) => ({ ...more, ...named })), if: conditions }),
  fc.record({ delete: key, if: conditions }),
  fc.record({
    update: key,
    set: fc.array(fc.tuple(path, value), { maxLength: 3 }),
    setOnce: fc.array(fc.tuple(path, value), { maxLength: 3 }),
    add: fc.array(fc.tuple(path, fc.integer()), { maxLength: 3 }),
    remove: fc.array(path, { maxLength: 3 }),
    if: conditions,
  }),
)

const PLACE = String.raw`#\d+(?:\.#\d+)*`
const TOKEN = new RegExp(
  String.raw`SET |REMOVE | AND | OR |attribute_exists\(|attribute_not_exists\(|if_not_exists\(|${PLACE}|:\d+| (?:=|<>|<|<=|>|>=) |[()]|, | \+ | `,
  'g',
)

describe('compiled expressions', () => {
  it('consist of fixed words and placeholders alone, whatever came from outside', () => {
    fc.assert(
      fc.property(write, (operation) => {
        const compiled = compileWrite(operation)
        const texts = [compiled.ConditionExpression, 'UpdateExpression' in compiled ? compiled.UpdateExpression : undefined]
        for (const text of texts) if (text !== undefined) expect(text.replaceAll(TOKEN, '')).toBe('')
      }),
      { numRuns: 2000 },
    )
  })

  it('use each placeholder that is given, and give each that is used', () => {
    fc.assert(
      fc.property(write, (operation) => {
        const compiled = compileWrite(operation)
        const text = `${compiled.ConditionExpression ?? ''} ${'UpdateExpression' in compiled ? compiled.UpdateExpression : ''}`
        const used = new Set(text.match(/[#:]\d+/g) ?? [])
        const given = [
          ...Object.keys(compiled.ExpressionAttributeNames ?? {}),
          ...Object.keys(compiled.ExpressionAttributeValues ?? {}),
        ]
        expect(new Set(given)).toEqual(used)
        expect(given.length).toBe(used.size)
      }),
    )
  })

  it('name what was named', () => {
    const compiled = compileWrite({
      update: { pk: 'P', sk: 'S' },
      set: [[['a', 'b.c'], 1]],
      setOnce: [['a', 'x']],
      add: [['n', 2]],
      remove: ['gone'],
      if: [
        ['a', 'exists'],
        {
          or: [
            ['n', '<', 3],
            ['gone', 'absent'],
          ],
        },
      ],
    })
    expect(compiled).toEqual({
      Key: { pk: { S: 'P' }, sk: { S: 'S' } },
      UpdateExpression:
        'SET #0.#1 = :0, #0 = if_not_exists(#0, :1), #2 = if_not_exists(#2, :2) + :3, #3 = if_not_exists(#3, :4) + :5 REMOVE #4',
      ConditionExpression: 'attribute_exists(#0) AND (#2 < :6 OR attribute_not_exists(#4))',
      ExpressionAttributeNames: { '#0': 'a', '#1': 'b.c', '#2': 'n', '#3': 'v', '#4': 'gone' },
      ExpressionAttributeValues: {
        ':0': { N: '1' },
        ':1': { S: 'x' },
        ':2': { N: '0' },
        ':3': { N: '2' },
        ':4': { N: '0' },
        ':5': { N: '1' },
        ':6': { N: '3' },
      },
    })
  })
})
