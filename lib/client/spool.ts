import { createHmac } from 'node:crypto'

/**
 * What a client does while the pipeline cannot be reached, where the class of its leases allows a spool: docs/spool.md.
 * A reference to copy from: it needs nothing but HMAC-SHA-256 and a JSON writer.
 */

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json }

/** A note without its signature: a credential that was taken, or a lease that was prolonged. */
export type Note =
  | { readonly at: string; readonly idempotencyKey: string; readonly registration: { readonly [name: string]: Json } }
  | { readonly at: string; readonly renewal: { readonly [name: string]: Json } }

/** Canonical JSON (RFC 8785). In JavaScript numbers and strings are written as the RFC asks; other languages need a library. */
export function canonical(value: Json): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  if (isList(value)) return `[${value.map(canonical).join(',')}]`
  const members = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1))
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`).join(',')}}`
}

/**
 * Signs a note for `POST /v1/spool`.
 *
 * @param spoolKey as the last registration or renewal of the same identity was answered with; kept like any secret
 */
export const signNote = (note: Note, spoolKey: string): Note & { readonly signature: string } => ({
  ...note,
  signature: createHmac('sha256', spoolKey).update(canonical(note)).digest('hex'),
})

const isList = (value: Json): value is readonly Json[] => Array.isArray(value)
