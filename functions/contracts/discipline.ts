import * as z from 'zod/mini'
import { Environment } from './identity.ts'
import { IssuerName, name } from './primitives.ts'

/**
 * The discipline of an installation: how long a lease may live, by class, and what its registration must say. Part of
 * the settings, so it is checked at synth; without it nothing beyond the contracts and `limits` is asked.
 */

/** `*` stands for any run of characters but `/`, `**` for any run at all. */
const Text = name(2048)
const Texts = z.array(Text).check(z.minLength(1), z.maxLength(200))

/**
 * A class of leases. The first class whose named parts all fit is a lease's; a part that is absent fits everything. The
 * class follows from what is registered, nobody names it.
 */
export const DisciplineClass = z.strictObject({
  name: name(64),
  match: z.strictObject({
    providers: z.optional(z.array(z.string().check(z.regex(/^[a-z][a-z0-9-]{0,39}$/))).check(z.minLength(1))),
    issuers: z.optional(z.array(IssuerName).check(z.minLength(1))),
    environments: z.optional(z.array(Environment).check(z.minLength(1))),
    kinds: z.optional(z.array(z.enum(['dynamic', 'static'])).check(z.minLength(1))),
    /** Patterns over canonical URIs. */
    identities: z.optional(Texts),
  }),
  /** Longest life from the registration or the renewal on, in seconds. */
  maxTtlSeconds: z.int().check(z.minimum(1), z.maximum(315360000)),
  /** The lease names its task or deployment and when that ends (`endsBy`), and does not outlive it. */
  window: z.optional(z.enum(['task', 'deployment'])),
  /** What running out does: `cut` (the default), or `notify`: it stays, is listed as overdue, and is told. */
  expiry: z.optional(z.enum(['cut', 'notify'])),
  /**
   * What a client does while the pipeline cannot be reached: `closed` (the default): no lease, no credential. `spool`: it
   * may take the credential, notes it signed, and sends the notes to `POST /v1/spool` afterwards.
   */
  outage: z.optional(z.enum(['closed', 'spool'])),
})
export type DisciplineClass = z.infer<typeof DisciplineClass>

export const Discipline = z.strictObject({
  /** Ordered. What fits none is refused: end with a class whose `match` is empty to take the rest. */
  classes: z.array(DisciplineClass).check(z.minLength(1), z.maxLength(100)),
  rules: z.strictObject({
    /** An owner matches one of these, and has not left. */
    owners: z.optional(Texts),
    /** The consumer is one canonical identity, or matches one of `patterns`; never a label of a team or an environment. */
    consumer: z.optional(
      z.strictObject({
        patterns: z.optional(Texts),
        /** Case is not looked at. Default: `DEFAULT_LABELS`. */
        labels: z.optional(Texts),
      }),
    ),
    purpose: z.optional(
      z.strictObject({
        minLength: z.optional(z.int().check(z.minimum(1), z.maximum(512))),
        /** Patterns of what says nothing; case is not looked at. Default: `DEFAULT_PLACEHOLDERS`. */
        placeholders: z.optional(Texts),
      }),
    ),
  }),
})
export type Discipline = z.infer<typeof Discipline>

/** Names of environments and groups: whoever registers under one cannot be told from all the others. */
export const DEFAULT_LABELS = [
  'prod',
  'production',
  'prod-*',
  'staging',
  'stage',
  'staging-*',
  'dev',
  'development',
  'dev-*',
  'test',
  'testing',
  'qa',
  'uat',
  'sandbox',
  'default',
  'shared',
  'common',
  'all',
  'everyone',
  'everybody',
  'anyone',
  'team',
  'team-*',
  '*-team',
  'group-*',
  '*-group',
  'env-*',
] as const
export const DEFAULT_PLACEHOLDERS = [
  'test',
  'testing',
  'todo*',
  'tbd*',
  'n/a',
  'na',
  'none',
  'unknown',
  'x*x',
  '-',
  '.',
  '?',
] as const

/** Which rule is broken: stable, so that a client can act on it. */
export const DisciplineRule = z.enum(['class', 'ttl', 'window', 'owner', 'consumer', 'purpose', 'outage'])
export type DisciplineRule = z.infer<typeof DisciplineRule>

/** One broken rule, and what of the registration breaks it. */
export const Violation = z.strictObject({ rule: DisciplineRule, path: z.string(), said: z.string() })
export type Violation = z.infer<typeof Violation>
