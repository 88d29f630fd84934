import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Property } from './properties.ts'

declare module 'vitest' {
  interface TaskMeta {
    conformance?: Meta
  }
}

/** One run of the suite: a provider against one counterpart. */
export interface Against {
  readonly provider: string
  readonly against: 'real' | 'fake'
  /** With its version. */
  readonly counterpart: string
  /** Tells several runs of one provider apart. */
  readonly title?: string
  /** Why the machine lacked the server. */
  readonly missing?: string
  /** In the test command, or in the long run alone. */
  readonly runs: 'always' | 'long'
  /** Properties that this issuer cannot have, and why. */
  readonly lacks: Readonly<Partial<Record<Property, string>>>
}

/** What a test of the suite tells the reporter: which run it is of, and which property it shows; without one, of its bookkeeping. */
export interface Meta extends Against {
  readonly property?: Property
}

export interface Run extends Against {
  /** Day on which it ran: `2026-11-22`. */
  readonly date: string
  readonly passed: readonly Property[]
  readonly failed: readonly Property[]
  readonly skipped: readonly Property[]
}

/** The tests of one provider beside the suite: each trap of its issuer. */
export interface Own {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

/** What `npm run conformance` found; docs/conformance.json holds the last of each. */
export interface Results {
  readonly date: string
  /** Day of the last run with the servers of the long run; absent where there was none. */
  readonly longRun?: string
  readonly node: string
  readonly runs: readonly Run[]
  readonly own: Readonly<Record<string, Own>>
}

const keyOf = ({ provider, against, counterpart, title = '' }: Against) =>
  JSON.stringify([provider, against, counterpart.replace(/[\d.]+/g, ''), title])

/**
 * What was run now, and of what was not run now (a provider that was not asked for, a server of the long run, one that
 * this machine lacks) the last result, with its own date.
 */
export function merged(before: Results | undefined, now: Results, providers: readonly string[]): Results {
  const asked = new Set(now.runs.map(({ provider }) => provider))
  const fresh = new Map(now.runs.map((run) => [keyOf(run), run]))
  const old = (before?.runs ?? []).filter((run) => {
    if (!providers.includes(run.provider)) return false
    const instead = fresh.get(keyOf(run))
    // A run of another shape has taken the place of what a provider was run against before.
    if (instead === undefined) return !asked.has(run.provider) || (run.runs === 'long' && now.longRun === undefined)
    return instead.missing !== undefined && run.missing === undefined
  })
  const kept = new Set(old.map(keyOf))
  const runs = [...now.runs.filter((run) => !kept.has(keyOf(run))), ...old]
  const longRun = now.longRun ?? before?.longRun
  return {
    ...now,
    ...(longRun === undefined ? {} : { longRun }),
    runs: runs.toSorted(
      (one, other) =>
        providers.indexOf(one.provider) - providers.indexOf(other.provider) || keyOf(other).localeCompare(keyOf(one)),
    ),
    own: Object.fromEntries(
      providers.flatMap((provider) => {
        const found = now.own[provider] ?? before?.own[provider]
        return found === undefined ? [] : [[provider, found]]
      }),
    ),
  }
}

export function readResults(path: string): Results | undefined {
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Results) : undefined
}

export function writeResults(path: string, results: Results): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, `${JSON.stringify(results, null, 2)}\n`)
}
