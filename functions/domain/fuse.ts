import type { Settings } from '../contracts/settings.ts'
import type { Fuse } from './model.ts'

/** How much the lifecycle cases of one source may reach in one window before a person has looked. */
export interface FuseLimits {
  readonly windowSeconds: number
  readonly identities: number
  readonly leases: number
  /** Leases that completed tasks and nothing else reach: a busy CI system ends many in an hour, each narrow by itself. */
  readonly taskLeases: number
  /** Of all identities that are known. */
  readonly share: number
}

/** What an installation gets that says nothing. */
export const DEFAULT_FUSE: FuseLimits = { windowSeconds: 3600, identities: 100, leases: 1000, taskLeases: 20_000, share: 0.2 }

/** Of a small estate every share is a handful: so many identities pass in a window whatever their share. */
export const SHARE_FROM = 25

/** The limits of one source: its own where it has some, then the installation's, then ours. */
export function fuseLimits(fuse: Settings['fuse'], source: string): FuseLimits {
  const own = fuse?.sources?.[source]
  return {
    windowSeconds: fuse?.windowSeconds ?? DEFAULT_FUSE.windowSeconds,
    identities: own?.identities ?? fuse?.identities ?? DEFAULT_FUSE.identities,
    leases: own?.leases ?? fuse?.leases ?? DEFAULT_FUSE.leases,
    taskLeases: own?.taskLeases ?? fuse?.taskLeases ?? DEFAULT_FUSE.taskLeases,
    share: own?.share ?? fuse?.share ?? DEFAULT_FUSE.share,
  }
}

/** The most identities of a window: the smaller one of the number and the share. `known` is a count at best effort. */
export const mostIdentities = (limits: FuseLimits, known: number): number =>
  Math.min(limits.identities, Math.max(SHARE_FROM, Math.ceil(known * limits.share)))

/** Number of the window in which a moment lies. */
export const windowOf = (now: string, windowSeconds: number): number => Math.floor(Date.parse(now) / 1000 / windowSeconds)

/** What a case would reach, exact up to the limits; `more`: counting was given up because there is too much to read. */
export interface Reached {
  readonly identities: number
  readonly leases: number
  readonly taskLeases: number
  readonly more: boolean
}

/** The room that a case needs in its window; counters begin anew with each. */
export interface Room {
  readonly window: number
  readonly used: { readonly identities: number; readonly leases: number; readonly taskLeases: number }
}

/** A clock that is ahead of ours has begun the next window already: then it is ours as well. */
export function roomOf(fuse: Pick<Fuse, 'window' | 'identities' | 'leases' | 'taskLeases'> | undefined, window: number): Room {
  if (fuse === undefined || fuse.window < window) return { window, used: { identities: 0, leases: 0, taskLeases: 0 } }
  return { window: fuse.window, used: { identities: fuse.identities, leases: fuse.leases, taskLeases: fuse.taskLeases } }
}

/** Why the fuse trips, in words and numbers for whoever decides; absent where the case passes. */
export function whyTripped(
  source: string,
  limits: FuseLimits,
  known: number,
  { used }: Room,
  reached: Reached,
  blown: boolean,
): string | undefined {
  const tripped: string[] = []
  const most = mostIdentities(limits, known)
  const over = (name: string, before: number, now: number, limit: number, of = '') => {
    if (now > 0 && before + now > limit)
      tripped.push(`${before} ${name} before and ${now}${now > limit ? ' or more' : ''} now, at most ${limit}${of}`)
  }
  over(
    'identities',
    used.identities,
    reached.identities,
    most,
    most < limits.identities ? ` (a share of ${limits.share} of ${known} known)` : '',
  )
  over('leases', used.leases, reached.leases, limits.leases)
  over('leases of completed tasks', used.taskLeases, reached.taskLeases, limits.taskLeases)
  if (reached.more) tripped.push('more to read than can be counted')
  if (blown) tripped.push('what it sent before in this window was rejected')
  if (tripped.length === 0) return undefined
  return `the fuse of source ${source} has tripped (window of ${limits.windowSeconds} s): ${tripped.join('; ')}`
}
