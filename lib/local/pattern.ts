import type { Json, JsonObject } from './json.ts'
import { isArray, isObject } from './json.ts'

/**
 * Event patterns as EventBridge rules and Lambda's event filters write them.
 * Sources: "Comparison operators for use in event patterns" (EventBridge user guide) and the README of
 * aws/event-ruler for arrays and `exists`. What is not known here is refused when the pattern is compiled, so a rule
 * never matches too much or too little in silence.
 *
 * Known difference: numbers are compared by value (`300` equals `3e2`), where EventBridge compares their text.
 */
export type Matcher = (event: Json) => boolean

export class PatternError extends Error {
  override readonly name = 'PatternError'
  readonly code = 'bad-pattern'
}

/** What one value of an event, or its absence, must be like. */
interface Test {
  /** For one value: a text, a number, a boolean, or null. */
  readonly value: (value: Json) => boolean
  /** For a field that has no value at all. */
  readonly absent?: true
}

const RESERVED = new Set(['prefix', 'suffix', 'anything-but', 'exists', 'numeric', 'equals-ignore-case', 'wildcard', 'cidr'])

export function compilePattern(pattern: Json): Matcher {
  const matches = compileObject(pattern, [])
  return (event) => isObject(event) && matches(event, event)
}

/** `event` is the object at hand, `root` the whole event: a field is absent only if it is absent from all of it. */
type ObjectMatcher = (event: JsonObject | undefined, root: JsonObject) => boolean

function compileObject(pattern: Json | undefined, path: readonly string[]): ObjectMatcher {
  const where = ['$', ...path].join('.')
  if (!isObject(pattern)) throw new PatternError(`${where} must be an object`)
  const names = Object.keys(pattern)
  if (names.length === 0) throw new PatternError(`${where} must not be empty`)
  const parts = names.map((name): ObjectMatcher => {
    const part = pattern[name]
    if (name === '$or' && isArray(part) && isAlternatives(part)) {
      const alternatives = part.map((alternative) => compileObject(alternative, path))
      return (event, root) => alternatives.some((matches) => matches(event, root))
    }
    if (isArray(part)) {
      const field = compileField(part, [...path, name])
      return (event, root) => field(own(event, name), root)
    }
    const nested = compileObject(part, [...path, name])
    return (event, root) => anyObject(own(event, name), root, nested)
  })
  return (event, root) => parts.every((matches) => matches(event, root))
}

/** `$or` is an operator only over two or more objects none of which uses an operator's name as a field. */
const isAlternatives = (part: readonly Json[]) =>
  part.length >= 2 && part.every((entry) => isObject(entry) && Object.keys(entry).every((name) => !RESERVED.has(name)))

const own = (event: JsonObject | undefined, name: string): Json | undefined =>
  event === undefined || !Object.hasOwn(event, name) ? undefined : event[name]

/** Fields below an array belong to one of its elements: `{a: {b: [1], c: [2]}}` needs one element with both. */
function anyObject(value: Json | undefined, root: JsonObject, matches: ObjectMatcher): boolean {
  if (isArray(value))
    return value.length === 0 ? matches(undefined, root) : value.some((element) => anyObject(element, root, matches))
  return matches(isObject(value) ? value : undefined, root)
}

function compileField(
  alternatives: readonly Json[],
  path: readonly string[],
): (value: Json | undefined, root: JsonObject) => boolean {
  const where = ['$', ...path].join('.')
  if (alternatives.length === 0) throw new PatternError(`${where} must not be an empty list`)
  const tests = alternatives.map((alternative, index) => compileTest(alternative, `${where}[${index}]`))
  const mayBeAbsent = tests.some((test) => test.absent)
  return (value, root) =>
    leavesOf(value).some((leaf) => tests.some((test) => test.value(leaf))) || (mayBeAbsent && !isPresent(root, path))
}

/** Whether a leaf stands at `path` in the event, whichever elements of arrays the path leads through. */
function isPresent(value: Json | undefined, path: readonly string[]): boolean {
  if (isArray(value) && path.length > 0) return value.some((element) => isPresent(element, path))
  const [name, ...rest] = path
  if (name === undefined) return leavesOf(value).length > 0
  return isObject(value) && isPresent(own(value, name), rest)
}

/** The values to compare: an array's elements, nested ones too. An object has fields, but no value of its own. */
function leavesOf(value: Json | undefined): readonly Json[] {
  if (value === undefined || isObject(value)) return []
  if (isArray(value)) return value.flatMap(leavesOf)
  return [value]
}

function compileTest(alternative: Json, where: string): Test {
  if (isArray(alternative)) throw new PatternError(`${where} must be a value or an operator, not a list`)
  if (!isObject(alternative)) return { value: (value) => value === alternative }
  const names = Object.keys(alternative)
  const [operator] = names
  if (operator === undefined || names.length !== 1) throw new PatternError(`${where} must hold exactly one operator`)
  const operand = alternative[operator]
  const here = `${where}.${operator}`
  switch (operator) {
    case 'prefix':
    case 'suffix':
    case 'equals-ignore-case':
    case 'wildcard':
      return { value: compileText(operator, operand, here) }
    case 'anything-but':
      return { value: compileAnythingBut(operand, here) }
    case 'numeric':
      return { value: compileNumeric(operand, here) }
    case 'exists':
      if (operand === true) return { value: () => true }
      if (operand === false) return { value: () => false, absent: true }
      throw new PatternError(`${here} must be true or false`)
    default:
      throw new PatternError(`${here} is not an operator that is known on one machine`)
  }
}

type TextOperator = 'prefix' | 'suffix' | 'equals-ignore-case' | 'wildcard'

function compileText(operator: TextOperator, operand: Json | undefined, where: string): (value: Json) => boolean {
  if ((operator === 'prefix' || operator === 'suffix') && isObject(operand)) {
    const names = Object.keys(operand)
    const text = operand['equals-ignore-case']
    if (names.length !== 1 || typeof text !== 'string') throw new PatternError(`${where} must hold a text or equals-ignore-case`)
    return overText(operator, text.toLowerCase(), (value) => value.toLowerCase())
  }
  if (typeof operand !== 'string') throw new PatternError(`${where} must be a text`)
  if (operator === 'wildcard') {
    const expression = wildcard(operand, where)
    return (value) => typeof value === 'string' && expression(value)
  }
  if (operator === 'equals-ignore-case') return overText(operator, operand.toLowerCase(), (value) => value.toLowerCase())
  return overText(operator, operand, (value) => value)
}

function overText(operator: TextOperator, operand: string, fold: (text: string) => string): (value: Json) => boolean {
  return (value) => {
    if (typeof value !== 'string') return false
    const text = fold(value)
    if (operator === 'prefix') return text.startsWith(operand)
    if (operator === 'suffix') return text.endsWith(operand)
    return text === operand
  }
}

/** `*` stands for any run of characters; `\*` and `\\` for themselves; nothing else may be escaped. */
function wildcard(pattern: string, where: string): (text: string) => boolean {
  const parts = ['']
  for (let index = 0; index < pattern.length; index++) {
    let letter = pattern[index] ?? ''
    if (letter === '*') {
      if (pattern[index + 1] === '*') throw new PatternError(`${where} must not hold consecutive wildcards`)
      parts.push('')
      continue
    }
    if (letter === '\\') {
      letter = pattern[++index] ?? ''
      if (letter !== '*' && letter !== '\\') throw new PatternError(`${where} escapes a character that needs none`)
    }
    parts[parts.length - 1] += letter
  }
  // Greedy from the left is exact, and linear: no regular expression that could backtrack.
  return (text) => {
    const [first = '', ...rest] = parts
    const last = rest.pop()
    if (last === undefined) return text === first
    if (!text.startsWith(first)) return false
    let at = first.length
    for (const part of rest) {
      const found = text.indexOf(part, at)
      if (found < 0) return false
      at = found + part.length
    }
    return text.length - last.length >= at && text.endsWith(last)
  }
}

/** Every value is looked at alone: one element of an array that differs is enough. */
function compileAnythingBut(operand: Json | undefined, where: string): (value: Json) => boolean {
  if (isObject(operand)) {
    const names = Object.keys(operand)
    const [operator] = names
    if (names.length !== 1 || !isTextOperator(operator))
      throw new PatternError(`${where} holds an operator that it cannot negate`)
    const inner = operand[operator]
    const tests = (isArray(inner) ? inner : [inner]).map((text) => compileText(operator, text, `${where}.${operator}`))
    if (tests.length === 0) throw new PatternError(`${where}.${operator} must not be an empty list`)
    return (value) => !tests.some((test) => test(value))
  }
  const values = isArray(operand) ? operand : [operand]
  const uniform = values.every((value) => typeof value === 'string') || values.every((value) => typeof value === 'number')
  if (values.length === 0 || !uniform) throw new PatternError(`${where} must hold texts only or numbers only`)
  return (value) => !values.some((other) => other === value)
}

const isTextOperator = (name: string | undefined): name is TextOperator =>
  name === 'prefix' || name === 'suffix' || name === 'equals-ignore-case' || name === 'wildcard'

const COMPARE: Readonly<Record<string, (left: number, right: number) => boolean>> = {
  '<': (left, right) => left < right,
  '<=': (left, right) => left <= right,
  '=': (left, right) => left === right,
  '>=': (left, right) => left >= right,
  '>': (left, right) => left > right,
}

/** `[">", 0, "<=", 5]`: one comparison, or two that make a range. JSON numbers only: DynamoDB writes its as texts. */
function compileNumeric(operand: Json | undefined, where: string): (value: Json) => boolean {
  if (!isArray(operand) || (operand.length !== 2 && operand.length !== 4))
    throw new PatternError(`${where} must be one or two comparisons`)
  const tests: ((value: number) => boolean)[] = []
  for (let index = 0; index < operand.length; index += 2) {
    const [name, bound] = [operand[index], operand[index + 1]]
    const compare = typeof name === 'string' && Object.hasOwn(COMPARE, name) ? COMPARE[name] : undefined
    if (compare === undefined || typeof bound !== 'number')
      throw new PatternError(`${where}[${index}] must be a comparison and a number`)
    tests.push((value) => compare(value, bound))
  }
  return (value) => typeof value === 'number' && tests.every((test) => test(value))
}
