import { deflateRawSync, inflateRawSync } from 'node:zlib'
import * as z from 'zod/mini'
import { Key, LeaseId } from '../contracts/primitives.ts'
import { ScopeRef } from '../contracts/scope.ts'
import { leaseOfSort, leaseSort } from '../store/keys.ts'
import { LONGEST_WAY } from './preview-walk.ts'

/**
 * Where a preview that ran out of time goes on. Whoever asked holds it, so it is believed in nothing that matters: it
 * names places inside of what the request may see anyway, and each of them is checked again against the table.
 */

const count = z.int().check(z.minimum(0), z.maximum(Number.MAX_SAFE_INTEGER))
/** Sort keys of leases and pointers are told as the lease's id; empty: nothing was read yet. */
const Behind = z.union([z.literal(''), LeaseId])

const SavedFrame = z.strictObject({
  k: z.enum(['base', 'children', 'first', 'holders']),
  of: z.optional(LeaseId),
  rank: z.int().check(z.minimum(-1), z.maximum(LONGEST_WAY)),
  after: Behind,
  outsiders: z.optional(count),
  watched: z.optional(count),
  pending: z.optional(LeaseId),
  pendingWatched: z.optional(LeaseId),
})
export type SavedFrame = z.infer<typeof SavedFrame>

export const Next = z.strictObject({
  v: z.literal(1),
  /** Hash of what was asked: `next` of one request does not go on with another. */
  of: Key,
  /** Where the listing of partitions goes on; absent: they are all listed. */
  place: z.optional(
    z.strictObject({ after: z.union([z.literal(''), z.string().check(z.regex(/^ID#[a-z2-7]{26}$/))]), done: count }),
  ),
  lanes: z
    .array(
      z.strictObject({
        scope: ScopeRef,
        shard: z.int().check(z.minimum(0), z.maximum(15)),
        frames: z.array(SavedFrame).check(z.minLength(1), z.maxLength(2000)),
      }),
    )
    .check(z.maxLength(64)),
  soFar: z.strictObject({ identities: count, leases: count, cut: count, guarded: z.boolean(), exact: z.boolean() }),
})
export type Next = z.infer<typeof Next>

/** More is no honest `next`. */
const LONGEST = 2_000_000

export const writeNext = (next: Next): string => deflateRawSync(JSON.stringify(next)).toString('base64url')

/** `undefined`: it is none of ours. */
export function readNext(text: string): Next | undefined {
  try {
    const parsed = z.safeParse(
      Next,
      JSON.parse(inflateRawSync(Buffer.from(text, 'base64url'), { maxOutputLength: LONGEST }).toString()),
    )
    return parsed.success ? parsed.data : undefined
  } catch {
    return undefined
  }
}

export const toBehind = (sk: string): string => (sk === '' ? '' : leaseOfSort(sk).lease)
export const toSort = (behind: string): string => (behind === '' ? '' : leaseSort(behind.split('.')[1] ?? '', behind))
