import * as z from 'zod/mini'

/**
 * The small words that all contracts are made of. Every limit here is a border check: what passes is safe to store,
 * to print and to compare; quoting for SQL, LDAP, shells or IAM policies is still the business of whoever builds one.
 */

/** Printable text without control characters or blanks at its ends: a padded name would match nothing and look successful. */
export const name = (max: number) =>
  z.string().check(
    z.minLength(1),
    z.maxLength(max),
    z.regex(/^[^\p{Cc}\p{Cs}\u2028\u2029]+$/u, 'must not hold control characters'),
    z.refine((text) => text.trim() === text, 'must not begin or end with white space'),
    z.refine((text) => text.normalize('NFC') === text, 'must be in Unicode normal form C'),
  )

/** A moment as RFC 3339 in UTC with at most millisecond precision, as `Date.prototype.toISOString` writes it. */
export const Instant = z.iso.datetime({ offset: false })

/** 26 characters of lower-case base32 (130 bits of a SHA-256): see `domain/keys.ts`. */
export const KEY = /^[a-z2-7]{26}$/
export const Key = z.string().check(z.regex(KEY))

/** The name of a configured issuer: it stands inside keys, queue groups and lease ids, hence the narrow alphabet. */
export const IssuerName = z.string().check(z.regex(/^[a-z0-9][a-z0-9-]{0,39}$/))

/** `<identity key>.<issuer>.<key>`: a lease id names the partition and the shard that its item lies in. */
export const LeaseId = z.string().check(z.regex(/^[a-z2-7]{26}\.[a-z0-9][a-z0-9-]{0,39}\.[a-z2-7]{26}$/))

/**
 * The canonical URI of an identity: a SPIFFE ID, an ARN, or an OIDC issuer with the percent-encoded subject as its
 * fragment. `domain/identity.ts` makes and checks the canonical form; this is only its outer shape.
 */
export const IdentityUri = z
  .string()
  .check(
    z.minLength(8),
    z.maxLength(2048),
    z.regex(/^(spiffe:\/\/|arn:|https?:\/\/)[\x21-\x7e]+$/, 'must be a SPIFFE ID, an ARN, or an OIDC issuer and subject'),
  )

/** Who a lease is for or who answers for it: a person, a team, a workload, a service. */
export const PartyId = name(256)

export const TriggerType = z.enum(['offboarding', 'compromise', 'decommission', 'task-complete'])
export type TriggerType = z.infer<typeof TriggerType>

/** What starts a case: the four triggers, and `expired` from inside (a lease ran out, was given back or never acknowledged). */
export const CaseType = z.enum(['offboarding', 'compromise', 'decommission', 'task-complete', 'expired'])
export type CaseType = z.infer<typeof CaseType>

/** P0 compromise, P1 offboarding, P2 the rest. */
export const Lane = z.enum(['p0', 'p1', 'p2'])
export type Lane = z.infer<typeof Lane>
export const LANES = ['p0', 'p1', 'p2'] as const
