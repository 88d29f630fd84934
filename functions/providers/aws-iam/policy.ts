// biome-ignore-all lint/suspicious/noTemplateCurlyInString: policy variables of IAM, not of JavaScript
import * as z from 'zod/mini'

/**
 * The denies that Rescind keeps in one inline policy, as data. Times are whole seconds since 1970, since
 * `aws:TokenIssueTime` has no fraction: "before T" is told apart only in steps of a second.
 */
export interface Denies {
  /** `aws:userid` of a session (or `sourceKey` of a source identity), to the second before which its tokens are denied. */
  readonly sessions: ReadonlyMap<string, number>
  /** `aws:userid` of a session name that several bear, to the very seconds whose tokens are denied. */
  readonly exact: ReadonlyMap<string, ReadonlySet<number>>
  /** The second before which every token of the role (or user) is denied. */
  readonly all: number | undefined
  /** Statements that somebody else added, as JSON, kept as they are: they may be another deny. */
  readonly foreign: readonly string[]
}

export const NO_DENIES: Denies = { sessions: new Map(), exact: new Map(), all: undefined, foreign: [] }

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

const Names = z.union([z.string(), z.array(z.string())])
const Users = z.strictObject({ 'aws:userid': Names })
const Sources = z.strictObject({ 'aws:SourceIdentity': Names })
const Issued = z.strictObject({ 'aws:TokenIssueTime': z.string().check(z.regex(WHOLE_SECOND)) })
const DatedDeny = z.strictObject({
  Effect: z.literal('Deny'),
  Action: z.literal('*'),
  Resource: z.literal('*'),
  Condition: z.union([
    z.strictObject({ StringEquals: z.optional(z.union([Users, Sources])), DateLessThan: Issued }),
    z.strictObject({ StringEquals: Users, DateEquals: Issued }),
  ]),
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
  const exact = new Map<string, Set<number>>()
  const foreign: string[] = []
  let all: number | undefined
  for (const statement of [policy.data.Statement].flat()) {
    const condition = DatedDeny.safeParse(statement).data?.Condition
    const exactly = condition !== undefined && 'DateEquals' in condition
    const dated = condition === undefined ? undefined : exactly ? condition.DateEquals : condition.DateLessThan
    const second = dated === undefined ? Number.NaN : Date.parse(dated['aws:TokenIssueTime']) / 1000
    const users = condition?.StringEquals === undefined ? undefined : namedBy(condition.StringEquals)
    if (Number.isNaN(second) || users?.includes(undefined)) {
      foreign.push(JSON.stringify(statement))
      continue
    }
    if (users === undefined) all = Math.max(all ?? 0, second)
    for (const user of users ?? []) {
      if (user === undefined) continue
      if (exactly) exact.set(user, (exact.get(user) ?? new Set()).add(second))
      else sessions.set(user, Math.max(sessions.get(user) ?? 0, second))
    }
  }
  return { sessions, exact, all, foreign }
}

const SOURCE = 'source:'

/** A source identity among `Denies.sessions`: no `aws:userid` begins so. */
export const sourceKey = (sourceIdentity: string) => `${SOURCE}${sourceIdentity}`

function namedBy(condition: z.infer<typeof Users> | z.infer<typeof Sources>): (string | undefined)[] {
  if ('aws:userid' in condition) return [condition['aws:userid']].flat().map(unliteral)
  return [condition['aws:SourceIdentity']].flat().map((name) => {
    const plain = unliteral(name)
    return plain === undefined ? undefined : sourceKey(plain)
  })
}

/** Sessions and source identities are named by different keys of the request, so each has statements of its own. */
function whose(users: readonly string[]): object {
  const plain = users.map((user) => (user.startsWith(SOURCE) ? user.slice(SOURCE.length) : user))
  const key = users.some((user) => user.startsWith(SOURCE)) ? 'aws:SourceIdentity' : 'aws:userid'
  return { [key]: plain.toSorted().map(literal) }
}

/** One statement per second with all its sessions, everything sorted: equal denies print equally. */
export function printDenies(denies: Denies): string {
  const deny = (operator: 'DateLessThan' | 'DateEquals', second: number, users?: readonly string[]) =>
    JSON.stringify({
      Effect: 'Deny',
      Action: '*',
      Resource: '*',
      Condition: {
        ...(users === undefined ? {} : { StringEquals: whose(users) }),
        [operator]: { 'aws:TokenIssueTime': printSecond(second) },
      },
    })
  const exact = [...denies.exact].flatMap(([user, seconds]) => [...seconds].map((second): [string, number] => [user, second]))
  const statements = [
    ...denies.foreign,
    ...(denies.all === undefined ? [] : [deny('DateLessThan', denies.all)]),
    ...usersBySecond([...denies.sessions].filter(([user]) => !user.startsWith(SOURCE))).map(([second, users]) =>
      deny('DateLessThan', second, users),
    ),
    ...usersBySecond([...denies.sessions].filter(([user]) => user.startsWith(SOURCE))).map(([second, users]) =>
      deny('DateLessThan', second, users),
    ),
    ...usersBySecond(exact).map(([second, users]) => deny('DateEquals', second, users)),
  ]
  return `{"Version":"2012-10-17","Statement":[${statements.join(',')}]}`
}

function usersBySecond(denied: Iterable<readonly [string, number]>): [number, string[]][] {
  const bySecond = new Map<number, string[]>()
  for (const [user, second] of denied) bySecond.set(second, [...(bySecond.get(second) ?? []), user])
  return [...bySecond].sort(([left], [right]) => left - right)
}

export const isEmpty = (denies: Denies) =>
  denies.sessions.size === 0 && denies.exact.size === 0 && denies.all === undefined && denies.foreign.length === 0

/** Is a token of this session that was issued before the second denied? */
export const covers = (denies: Denies, user: string, second: number) =>
  Math.max(denies.all ?? 0, denies.sessions.get(user) ?? 0) >= second

/** Is a token of this session that was issued in this very second denied? */
export const coversExactly = (denies: Denies, user: string, second: number) =>
  covers(denies, user, second + 1) || denies.exact.get(user)?.has(second) === true

/** Adds denies; a second only ever grows, so that a late retry takes nothing back. */
export function merge(denies: Denies, sessions: Iterable<readonly [string, number]>, all?: number): Denies {
  const merged = new Map(denies.sessions)
  for (const [user, second] of sessions) merged.set(user, Math.max(merged.get(user) ?? 0, second))
  return { ...denies, sessions: merged, all: all === undefined ? denies.all : Math.max(denies.all ?? 0, all) }
}

/** Adds denies of the tokens that sessions were issued in one second, and of no others of their names. */
export function mergeExact(denies: Denies, sessions: Iterable<readonly [string, number]>): Denies {
  const exact = new Map<string, ReadonlySet<number>>(denies.exact)
  for (const [user, second] of sessions) exact.set(user, new Set(exact.get(user)).add(second))
  return { ...denies, exact }
}

/** Takes one deny out: of the session's tokens of one second, or of all its tokens from before some second. */
export function without(denies: Denies, user: string, second: number | undefined): Denies {
  if (second === undefined) return { ...denies, sessions: new Map([...denies.sessions].filter(([denied]) => denied !== user)) }
  const left = [...(denies.exact.get(user) ?? [])].filter((denied) => denied !== second)
  const others = [...denies.exact].filter(([denied]) => denied !== user)
  return { ...denies, exact: new Map(left.length === 0 ? others : [...others, [user, new Set(left)]]) }
}

/** Drops denies that hit nothing any more, because every token that they could hit has expired. */
export function prune(denies: Denies, nowSecond: number, longestSeconds: number): Denies {
  const current = (second: number) => second + longestSeconds > nowSecond
  return {
    sessions: new Map([...denies.sessions].filter(([, second]) => current(second))),
    exact: new Map(
      [...denies.exact].flatMap(([user, seconds]): [string, ReadonlySet<number>][] => {
        const left = [...seconds].filter(current)
        return left.length === 0 ? [] : [[user, new Set(left)]]
      }),
    ),
    all: denies.all !== undefined && current(denies.all) ? denies.all : undefined,
    foreign: denies.foreign,
  }
}

/** One deny for the whole role in the place of all its sessions' denies: less to write, and it hits the bystanders too. */
export function coalesce(denies: Denies): Denies {
  const exact = [...denies.exact.values()].flatMap((seconds) => [...seconds].map((second) => second + 1))
  const seconds = [...denies.sessions.values(), ...exact, ...(denies.all === undefined ? [] : [denies.all])]
  return {
    sessions: new Map(),
    exact: new Map(),
    all: seconds.length === 0 ? undefined : Math.max(...seconds),
    foreign: denies.foreign,
  }
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
