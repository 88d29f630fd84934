import type * as z from 'zod/mini'

export interface IssueNote {
  /** JSON pointer (RFC 6901) into the parsed document; empty for the whole. */
  readonly path: string
  /** What the schema wants; never the value that was there. */
  readonly message: string
}

const MOST = 20
const FIELD = /^[A-Za-z_][A-Za-z0-9_-]{0,39}$/

/**
 * A schema's complaints for a problem document or a quarantine entry. zod's own messages are not used: they depend on
 * a locale and may quote the input, which may be a secret in the wrong place.
 */
export function issueNotes(issues: readonly z.core.$ZodIssue[]): IssueNote[] {
  return issues.slice(0, MOST).map((issue) => ({ path: pointer(issue.path), message: reason(issue) }))
}

function pointer(path: readonly PropertyKey[]): string {
  // A long step is a key of a record that came from outside: cut, for it is a hint and not an address any more.
  return path.map((step) => `/${String(step).slice(0, 64).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}

function reason(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${issue.expected === 'int' ? 'a whole number' : `of type ${issue.expected}`}`
    case 'too_small':
      return `must be ${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}${unit(issue.origin)}`
    case 'too_big':
      return `must be ${issue.inclusive === false ? 'less than' : 'at most'} ${issue.maximum}${unit(issue.origin)}`
    case 'invalid_value':
      return `must be ${issue.values.length === 1 ? '' : 'one of '}${issue.values.map(String).join(', ')}`
    case 'unrecognized_keys': {
      const named = issue.keys.filter((field) => FIELD.test(field)).slice(0, 5)
      return `has fields that are not known here${named.length > 0 ? `: ${named.join(', ')}` : ''}`
    }
    case 'invalid_format':
      // A regular expression's own text comes from our schemas; everything else is named by its format.
      return issue.message !== '' && issue.message !== 'Invalid input' ? issue.message : `must have the format ${issue.format}`
    case 'invalid_union':
      return issue.discriminator === undefined
        ? 'matches none of the allowed forms'
        : `${issue.discriminator} must name one of the allowed kinds`
    case 'custom':
      return issue.message !== '' && issue.message !== 'Invalid input' ? issue.message : 'is not allowed'
    default:
      return 'is not valid'
  }
}

function unit(origin: string): string {
  if (origin === 'string') return ' characters'
  if (origin === 'array' || origin === 'set' || origin === 'map') return ' entries'
  return ''
}
