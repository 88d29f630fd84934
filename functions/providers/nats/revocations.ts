import type { Claims } from './token.ts'

/**
 * Who is revoked in an account, and by whom. NATS keeps one date for each user (`revocations`: what was signed until then
 * is refused) and one for all (`*`), and does not say who set it. So each cut of ours leaves a tag in the same JWT, by
 * which it can be undone without undoing anybody else's.
 */
export interface Revocations {
  /** Dates that others set, by user or `*`. */
  readonly others: ReadonlyMap<string, number>
  /** Our cuts: by user, by the `iat` that was cut (0: any), until when. */
  readonly cuts: ReadonlyMap<string, ReadonlyMap<number, number>>
  /** Our containment of the whole account. */
  readonly held: number | undefined
}

export const ALL = '*'
/** The key of a cut whose target names no `iat`. */
export const ANY = 0

/** Small letters: the tools of NATS write tags so. */
const TAG = /^rescind:(?:(cut):(u[a-z2-7]{55}):(\d{1,12}):(\d{1,12})|(held):(\d{1,12})|(before):(u[a-z2-7]{55}|\*):(\d{1,12}))$/

export function readRevocations({ nats }: Pick<Claims, 'nats'>): Revocations {
  const dates = new Map(Object.entries(nats.revocations ?? {}))
  const cuts = new Map<string, Map<number, number>>()
  const before = new Map<string, number>()
  let held: number | undefined
  for (const tag of nats.tags ?? []) {
    const [, cut, user = '', issuedAt, until, hold, heldUntil, was, whom = '', at] = TAG.exec(tag.toLowerCase()) ?? []
    if (cut !== undefined) {
      const key = user.toUpperCase()
      const own = cuts.get(key) ?? new Map<number, number>()
      cuts.set(key, own.set(Number(issuedAt), Number(until)))
    }
    if (hold !== undefined) held = Math.max(held ?? 0, Number(heldUntil))
    if (was !== undefined) before.set(whom.toUpperCase(), Number(at))
  }
  const others = new Map<string, number>()
  for (const key of new Set([...dates.keys(), ...cuts.keys(), ...(held === undefined ? [] : [ALL])])) {
    const date = dates.get(key)
    const ours = key === ALL ? held : latest(cuts.get(key)?.values())
    const was = before.get(key)
    const top = ours === undefined ? undefined : Math.max(ours, was ?? 0)
    if (top !== undefined && date === top) {
      if (was !== undefined) others.set(key, was)
      continue
    }
    // Somebody has set another date since: it is theirs, and where it is an earlier one our cuts were undone.
    if (date !== undefined) others.set(key, date)
    if (top !== undefined && (date ?? 0) < top) {
      if (key === ALL) held = undefined
      else cuts.delete(key)
    }
  }
  return { others, cuts, held }
}

/** The same claims with these revocations and their tags. */
export function withRevocations(claims: Claims, { others, cuts, held }: Revocations): Claims {
  const dates: Record<string, number> = {}
  const tags = (claims.nats.tags ?? []).filter((tag) => !TAG.test(tag.toLowerCase()))
  for (const [key, date] of others) dates[key] = date
  for (const [user, own] of cuts) {
    if (own.size === 0) continue
    dates[user] = Math.max(dates[user] ?? 0, ...own.values())
    for (const [issuedAt, until] of own) tags.push(`rescind:cut:${user.toLowerCase()}:${issuedAt}:${until}`)
    const was = others.get(user)
    if (was !== undefined) tags.push(`rescind:before:${user.toLowerCase()}:${was}`)
  }
  if (held !== undefined) {
    const was = others.get(ALL)
    dates[ALL] = Math.max(held, was ?? 0)
    tags.push(`rescind:held:${held}`)
    if (was !== undefined) tags.push(`rescind:before:${ALL}:${was}`)
  }
  return { ...claims, nats: { ...claims.nats, revocations: dates, tags } }
}

/** Whether two tokens of one account say the same, whoever signed them when. */
export const saysTheSame = (one: Claims, two: Claims): boolean => canonical(one) === canonical(two)

function canonical({ iss: _iss, iat: _iat, jti: _jti, rescind_after: _after, nats, ...rest }: Claims): string {
  const revocations = Object.entries(nats.revocations ?? {}).map(([key, date]) => `${key} ${date}`)
  return JSON.stringify(
    sorted({ ...rest, nats: { ...nats, revocations: revocations.sort(), tags: [...(nats.tags ?? [])].sort() } }),
  )
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.entries(value)
    .sort(([one], [two]) => (one < two ? -1 : 1))
    .map(([key, held]) => [key, sorted(held)])
}

/** What keeps a JWT of this user, signed at this time, out. */
export type Hold =
  /** A date that somebody else set, or that we set and made final. */
  | 'others'
  | 'cut'
  /** The containment of the account alone. */
  | 'contained'
  | 'none'

export function holdOf({ others, cuts, held }: Revocations, user: string, issuedAt: number): Hold {
  if ((others.get(user) ?? -1) >= issuedAt || (others.get(ALL) ?? -1) >= issuedAt) return 'others'
  if ((latest(cuts.get(user)?.values()) ?? -1) >= issuedAt) return 'cut'
  return (held ?? -1) >= issuedAt ? 'contained' : 'none'
}

export const withCut = (now: Revocations, user: string, issuedAt: number | undefined, until: number): Revocations =>
  withCutsOf(now, user, (own) => own.set(issuedAt ?? ANY, Math.max(until, own.get(issuedAt ?? ANY) ?? 0)))

export const hasCut = ({ cuts }: Revocations, user: string, issuedAt: number | undefined): number | undefined =>
  cuts.get(user)?.get(issuedAt ?? ANY)

/** Takes our cut back; others' dates and our other cuts of the user stay. */
export const withoutCut = (now: Revocations, user: string, issuedAt: number | undefined): Revocations =>
  withCutsOf(now, user, (own) => own.delete(issuedAt ?? ANY))

/** Makes our cut final: its date stays, and is nobody's to undo. */
export function withFinalCut(now: Revocations, user: string, issuedAt: number | undefined): Revocations {
  const until = hasCut(now, user, issuedAt)
  if (until === undefined) return now
  const others = new Map(now.others).set(user, Math.max(until, now.others.get(user) ?? 0))
  return { ...withoutCut(now, user, issuedAt), others }
}

/** All that either revokes, until the later of its dates. */
export function both(one: Revocations, two: Revocations): Revocations {
  const others = new Map(one.others)
  for (const [key, date] of two.others) others.set(key, Math.max(date, others.get(key) ?? 0))
  let state: Revocations = { others, cuts: one.cuts, held: latest([one.held ?? [], two.held ?? []].flat()) }
  for (const [user, own] of two.cuts) for (const [issuedAt, until] of own) state = withCut(state, user, issuedAt, until)
  return state
}

function withCutsOf(now: Revocations, user: string, change: (own: Map<number, number>) => unknown): Revocations {
  const own = new Map(now.cuts.get(user))
  change(own)
  const cuts = new Map(now.cuts)
  if (own.size === 0) cuts.delete(user)
  else cuts.set(user, own)
  return { ...now, cuts }
}

const latest = (dates: Iterable<number> | undefined): number | undefined => {
  const all = [...(dates ?? [])]
  return all.length === 0 ? undefined : Math.max(...all)
}
