import type * as z from 'zod/mini'

export interface IssueNote {
  /** JSON pointer (RFC 6901) into the parsed document; empty for the whole. */
  readonly path: string
  /** What the schema wants; never the value that was there. */
  readonly message: string
}

const MOST = 20
/** JSON's kinds in words. */
const KINDS: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
}
const FORMATS: Readonly<Record<string, string>> = {
  datetime: 'must be a time in UTC such as 2026-01-31T12:00:00Z',
  date: 'must be a day such as 2026-01-31',
}
const FIELD = /^[A-Za-z_][A-Za-z0-9_-]{0,39}$/

/**
 * A schema's complaints for a problem document or a quarantine entry. zod's own messages are not used: they depend on
 * a locale and may quote the input, which may be a secret in the wrong place.
 *
 * @param input what was checked, of which is only said whether something is there at all
 */
export function issueNotes(issues: readonly z.core.$ZodIssue[], input: unknown): IssueNote[] {
  return issues.slice(0, MOST).map((issue) => ({
    path: pointer(issue.path),
    // A rule of ours about several fields says itself what is wrong.
    message: issue.code !== 'custom' && isMissing(input, issue.path) ? 'is missing' : reason(issue),
  }))
}

function isMissing(input: unknown, path: readonly PropertyKey[]): boolean {
  let value = input
  for (const step of path) {
    if (typeof value !== 'object' || value === null) return false
    if (!Object.hasOwn(value, step)) return true
    value = Reflect.get(value, step)
  }
  return value === undefined
}

function pointer(path: readonly PropertyKey[]): string {
  // A long step is a key of a record that came from outside: cut, for it is a hint and not an address any more.
  return path.map((step) => `/${String(step).slice(0, 64).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}

function reason(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${KINDS[issue.expected] ?? `of type ${issue.expected}`}`
    case 'too_small':
      return `must be ${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}${unit(issue.origin)}`
    case 'too_big':
      return `must be ${issue.inclusive === false ? 'less than' : 'at most'} ${issue.maximum}${unit(issue.origin)}`
    case 'invalid_value':
      return oneOf(issue.values)
    case 'unrecognized_keys': {
      const named = issue.keys.filter((field) => FIELD.test(field)).slice(0, 5)
      return `has fields that are not known here${named.length > 0 ? `: ${named.join(', ')}` : ''}`
    }
    case 'invalid_format':
      // A regular expression's own text comes from our schemas; everything else is named by its format.
      return ownText(issue.message) ?? FORMATS[issue.format] ?? `must have the format ${issue.format}`
    case 'invalid_union':
      return 'options' in issue && issue.options !== undefined ? oneOf(issue.options) : 'matches none of the allowed forms'
    case 'custom':
      return ownText(issue.message) ?? 'is not allowed'
    default:
      return 'is not valid'
  }
}

/** The text of a schema of ours: zod's own begins so, with or without its English texts loaded (as on one machine). */
const ownText = (message: string): string | undefined => (message === '' || message.startsWith('Invalid') ? undefined : message)

const oneOf = (values: readonly unknown[]) => `must be ${values.length === 1 ? '' : 'one of '}${values.map(String).join(', ')}`

function unit(origin: string): string {
  if (origin === 'string') return ' characters'
  if (origin === 'array' || origin === 'set' || origin === 'map') return ' entries'
  return ''
}
