import * as z from 'zod/mini'
import { IssuerName, Key, LeaseId } from './primitives.ts'
import { ScopeRef } from './scope.ts'

/**
 * Queue messages carry keys only; all that matters stands in the table, so a lost message can be made again and a
 * repeated one changes nothing. `v` is the message's version: an unknown one is refused, not guessed at.
 */
export const PlanMessage = z.discriminatedUnion('kind', [
  /** Open, fence, contain, list. */
  z.strictObject({ v: z.literal(1), kind: z.literal('plan'), case: Key }),
  /** Go on with one shard of one scope, from its cursor. */
  z.strictObject({ v: z.literal(1), kind: z.literal('scan'), case: Key, scope: ScopeRef, shard: z.int() }),
  /** Carry out, case by case, what was decided about a campaign. */
  z.strictObject({ v: z.literal(1), kind: z.literal('campaign'), campaign: Key }),
  /** List what a restoration covers, from its cursor. */
  z.strictObject({ v: z.literal(1), kind: z.literal('restore'), restoration: Key }),
])
export type PlanMessage = z.infer<typeof PlanMessage>

export const WorkMessage = z.discriminatedUnion('kind', [
  /** Ask an issuer for the credential that the case names and no lease does. */
  z.strictObject({ v: z.literal(1), kind: z.literal('locate'), case: Key, issuer: IssuerName }),
  /** Pull (or push back) the lever of one identity at one issuer. */
  z.strictObject({ v: z.literal(1), kind: z.literal('contain'), case: Key, identity: Key, lever: Key, issuer: IssuerName }),
  /** Work on one chunk: revoke, verify, or tidy, as its item says. */
  z.strictObject({
    v: z.literal(1),
    kind: z.literal('chunk'),
    case: Key,
    progress: z.string(),
    chunk: z.string(),
    issuer: IssuerName,
  }),
  /** Work on one amendment: a lease that came too late for the case's chunks. */
  z.strictObject({ v: z.literal(1), kind: z.literal('amend'), case: Key, lease: LeaseId, issuer: IssuerName }),
  /** Undo the cuts of one part of a restoration. */
  z.strictObject({ v: z.literal(1), kind: z.literal('restore'), restoration: Key, part: Key, issuer: IssuerName }),
  /** Go on with a discovery of an issuer, from where it stands. */
  z.strictObject({ v: z.literal(1), kind: z.literal('discover'), discovery: Key, issuer: IssuerName }),
])
export type WorkMessage = z.infer<typeof WorkMessage>
