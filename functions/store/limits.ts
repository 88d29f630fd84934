import type { Held, Pace } from '../domain/limiter.ts'
import type { Actor, Breaker, Limiter } from '../domain/model.ts'
import { actor, plain } from './identities.ts'
import { as, read } from './items.ts'
import { breakerItem, limiterItem } from './keys.ts'
import type { Table } from './table.ts'

/**
 * The limiter and the breaker of an issuer. They are two items: the limiter is written at each call and tells nothing
 * that a trail should keep, the breaker is written when an issuer fails and is told.
 */

export const limiterOf = (table: Table, issuer: string): Promise<Limiter | undefined> =>
  read(table, 'limiter', limiterItem(issuer))

/** What stands in the table after a write, or instead of it. */
export type Paced =
  | { readonly ok: true; readonly limiter: Limiter }
  | { readonly ok: false; readonly limiter: Limiter | undefined }

/** Writes a pace over the one that was read; not done where somebody wrote in between. */
export async function writePace(
  table: Table,
  issuer: string,
  seen: Limiter | undefined,
  { rate, known, urgent, common, at, cuts, pause, backAt, calls }: Pace,
  by: Actor,
): Promise<Paced> {
  const key = limiterItem(issuer)
  const optional = { known, pause, backAt }
  const absent = Object.entries(optional).flatMap(([name, value]) => (value === undefined ? [name] : []))
  const done = await table.write({
    update: key,
    set: [
      ['kind', 'limiter'],
      ['issuer', issuer],
      ['rate', rate],
      ['urgent', urgent],
      ['common', common],
      ['at', at],
      ['cuts', cuts],
      ['calls', plain(calls)],
      ['by', actor(by)],
      ...Object.entries(optional).flatMap(([name, value]) => (value === undefined ? [] : [[name, plain(value)] as const])),
    ],
    remove: seen === undefined ? [] : absent,
    if: seen === undefined ? [['pk', 'absent']] : [['v', '=', seen.v]],
  })
  if (!done.ok) return { ok: false, limiter: done.current === undefined ? undefined : as('limiter', done.current) }
  const pace: Pace = {
    ...{ rate, urgent, common, at, cuts, calls },
    ...(known === undefined ? {} : { known }),
    ...(pause === undefined ? {} : { pause }),
    ...(backAt === undefined ? {} : { backAt }),
  }
  return { ok: true, limiter: { ...key, kind: 'limiter', issuer, v: (seen?.v ?? 0) + 1, by, ...pace } }
}

/** Ends a visit: its place is free, and the tokens that it did not spend are there again. `false` where it is over already. */
export async function endVisit(table: Table, issuer: string, { call, urgent, common }: Held): Promise<boolean> {
  const done = await table.write({
    update: limiterItem(issuer),
    add: [
      ['urgent', urgent],
      ['common', common],
    ],
    remove: [['calls', call]],
    if: [[['calls', call], 'exists']],
  })
  return done.ok
}

export const breakerOf = (table: Table, issuer: string): Promise<Breaker | undefined> =>
  read(table, 'breaker', breakerItem(issuer))

/**
 * Opens the breaker of an issuer until a moment, on the condition that it stands as it was read: of many calls that failed
 * together one counts. A probe under way is forgotten.
 */
export async function openBreaker(
  table: Table,
  issuer: string,
  seen: Breaker | undefined,
  opened: { readonly until: string; readonly code: string; readonly reason: string },
  by: Actor,
): Promise<boolean> {
  const done = await table.write({
    update: breakerItem(issuer),
    set: [
      ['kind', 'breaker'],
      ['issuer', issuer],
      ['openUntil', opened.until],
      ['code', opened.code],
      ['reason', opened.reason],
      ['by', actor(by)],
    ],
    add: [['failures', 1]],
    remove: seen?.probe === undefined ? [] : ['probe'],
    if: seen === undefined ? [['pk', 'absent']] : [['v', '=', seen.v]],
  })
  return done.ok
}

/** Makes one visit the probe of a breaker whose time is over: one alone, until it is heard of or its own time is over. */
export async function beginProbe(table: Table, seen: Breaker, probe: NonNullable<Breaker['probe']>, by: Actor): Promise<boolean> {
  const done = await table.write({
    update: breakerItem(seen.issuer),
    set: [
      ['probe', plain(probe)],
      ['by', actor(by)],
    ],
    if: [['v', '=', seen.v]],
  })
  return done.ok
}

/** A probe that called nobody: the next visit is one. */
export async function dropProbe(table: Table, issuer: string, probe: string, by: Actor): Promise<void> {
  await table.write({
    update: breakerItem(issuer),
    set: [['by', actor(by)]],
    remove: ['probe'],
    if: [[['probe', 'name'], '=', probe]],
  })
}

/**
 * Closes the breaker.
 *
 * @param probe only where this is the probe that it waits for
 */
export async function closeBreaker(table: Table, issuer: string, probe?: string): Promise<void> {
  await table.write({
    delete: breakerItem(issuer),
    if: probe === undefined ? [['pk', 'exists']] : [[['probe', 'name'], '=', probe]],
  })
}
