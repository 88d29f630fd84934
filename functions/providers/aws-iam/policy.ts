// biome-ignore-all lint/suspicious/noTemplateCurlyInString: policy variables of IAM, not of JavaScript
import * as z from 'zod/mini'

/**
 * The denies that Rescind keeps in one inline policy, as data. Times are whole seconds since 1970, since
 * `aws:TokenIssueTime` has no fraction: "before T" is told apart only in steps of a second.
 */
export interface Denies {
  /** `aws:userid` of a session, to the second before which its tokens are denied. */
  readonly sessions: ReadonlyMap<string, number>
  /** The second before which every token of the role (or user) is denied. */
  readonly all: number | undefined
  /** Statements that somebody else added, as JSON, kept as they are: they may be another deny. */
  readonly foreign: readonly string[]
}

export const NO_DENIES: Denies = { sessions: new Map(), all: undefined, foreign: [] }

/** All inline policies of a role together, white space not counted (IAM and STS quotas, "IAM and STS character limits"). */
export const ROLE_POLICY_CHARACTERS = 10_240
/** No token lives longer: 36 hours, the longest of GetSessionToken and GetFederationToken. */
export const LONGEST_TOKEN_SECONDS = 36 * 3600
/** No token of a role lives longer: `MaxSessionDuration` is at most 12 hours. A few minutes more for clocks that differ. */
export const LONGEST_ROLE_SESSION_SECONDS = 12 * 3600 + 600

const WHOLE_SECOND = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/

/** The first whole second that is not before the moment: a token issued within the moment's own second is older than the cut. */
export const secondFrom = (milliseconds: number) => Math.ceil(milliseconds / 1000)

/** A second as IAM policies write it. */
export const printSecond = (second: number) => `${new Date(second * 1000).toISOString().slice(0, 19)}Z`

/** `$` begins a policy variable also where no wildcards are matched (IAM User Guide, "Policy variables", special characters). */
export const literal = (text: string) => text.replaceAll('$', () => '${$}')

function unliteral(text: string): string | undefined {
  const plain = text.replaceAll('${$}', () => '$')
  return literal(plain) === text ? plain : undefined
}

const DatedDeny = z.strictObject({
  Effect: z.literal('Deny'),
  Action: z.literal('*'),
  Resource: z.literal('*'),
  Condition: z.strictObject({
    StringEquals: z.optional(z.strictObject({ 'aws:userid': z.union([z.string(), z.array(z.string())]) })),
    DateLessThan: z.strictObject({ 'aws:TokenIssueTime': z.string().check(z.regex(WHOLE_SECOND)) }),
  }),
})

const Document = z.looseObject({ Statement: z.union([z.array(z.json()), z.json()]) })

/** Reads a policy document; `undefined` if it is none. What does not have exactly the shape of our denies is foreign. */
export function parseDenies(document: string | undefined): Denies | undefined {
  if (document === undefined) return NO_DENIES
  let json: unknown
  try {
    json = JSON.parse(document)
  } catch {
    return undefined
  }
  const policy = Document.safeParse(json)
  if (!policy.success) return undefined
  const sessions = new Map<string, number>()
  const foreign: string[] = []
  let all: number | undefined
  for (const statement of [policy.data.Statement].flat()) {
    const deny = DatedDeny.safeParse(statement)
    const second = deny.success ? Date.parse(deny.data.Condition.DateLessThan['aws:TokenIssueTime']) / 1000 : Number.NaN
    const named = deny.success ? deny.data.Condition.StringEquals?.['aws:userid'] : undefined
    const users = named === undefined ? undefined : [named].flat().map(unliteral)
    if (!deny.success || Number.isNaN(second) || users?.includes(undefined)) {
      foreign.push(JSON.stringify(statement))
    } else if (users === undefined) {
      all = Math.max(all ?? 0, second)
    } else {
      for (const user of users) if (user !== undefined) sessions.set(user, Math.max(sessions.get(user) ?? 0, second))
    }
  }
  return { sessions, all, foreign }
}

/** One statement per second with all its sessions, everything sorted: equal denies print equally. */
export function printDenies(denies: Denies): string {
  const bySecond = new Map<number, string[]>()
  for (const [user, second] of denies.sessions) bySecond.set(second, [...(bySecond.get(second) ?? []), user])
  const deny = (second: number, users?: readonly string[]) =>
    JSON.stringify({
      Effect: 'Deny',
      Action: '*',
      Resource: '*',
      Condition: {
        ...(users === undefined ? {} : { StringEquals: { 'aws:userid': users.toSorted().map(literal) } }),
        DateLessThan: { 'aws:TokenIssueTime': printSecond(second) },
      },
    })
  const statements = [
    ...denies.foreign,
    ...(denies.all === undefined ? [] : [deny(denies.all)]),
    ...[...bySecond].sort(([left], [right]) => left - right).map(([second, users]) => deny(second, users)),
  ]
  return `{"Version":"2012-10-17","Statement":[${statements.join(',')}]}`
}

export const isEmpty = (denies: Denies) => denies.sessions.size === 0 && denies.all === undefined && denies.foreign.length === 0

/** Is a token of this session that was issued before the second denied? */
export const covers = (denies: Denies, user: string, second: number) =>
  Math.max(denies.all ?? 0, denies.sessions.get(user) ?? 0) >= second

/** Adds denies; a second only ever grows, so that a late retry takes nothing back. */
export function merge(denies: Denies, sessions: Iterable<readonly [string, number]>, all?: number): Denies {
  const merged = new Map(denies.sessions)
  for (const [user, second] of sessions) merged.set(user, Math.max(merged.get(user) ?? 0, second))
  return { sessions: merged, all: all === undefined ? denies.all : Math.max(denies.all ?? 0, all), foreign: denies.foreign }
}

/** Drops denies that hit nothing any more, because every token that they could hit has expired. */
export function prune(denies: Denies, nowSecond: number, longestSeconds: number): Denies {
  const current = (second: number) => second + longestSeconds > nowSecond
  return {
    sessions: new Map([...denies.sessions].filter(([, second]) => current(second))),
    all: denies.all !== undefined && current(denies.all) ? denies.all : undefined,
    foreign: denies.foreign,
  }
}

/** One deny for the whole role in the place of all its sessions' denies: less to write, and it hits the bystanders too. */
export function coalesce(denies: Denies): Denies {
  const seconds = [...denies.sessions.values(), ...(denies.all === undefined ? [] : [denies.all])]
  return { sessions: new Map(), all: seconds.length === 0 ? undefined : Math.max(...seconds), foreign: denies.foreign }
}

function compact(document: string): string {
  try {
    return JSON.stringify(JSON.parse(document))
  } catch {
    return document
  }
}

/** Characters as IAM counts them, or more: white space between the parts of the document is free. */
export const countCharacters = (document: string) => compact(document).length

/** Do two documents say the same, white space aside? */
export const sameDocument = (left: string | undefined, right: string) => left !== undefined && compact(left) === compact(right)

/** Everything is denied: for a contained user, whose own keys carry no issue time. */
export const DENY_ALL = JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Deny', Action: '*', Resource: '*' }] })
