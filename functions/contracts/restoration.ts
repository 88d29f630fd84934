import * as z from 'zod/mini'
import { IdentityUri, Instant, IssuerName, Key, LeaseId } from './primitives.ts'

const reason = z.string().check(z.minLength(1), z.maxLength(1024))

/** `POST /v1/leases/{id}/restore` and `POST /v1/cases/{id}/restore`. */
export const RestorationRequest = z.strictObject({
  reason,
  /** The compromise was none: takes the right to approve, and not from whoever reported it. */
  undoesCompromise: z.optional(z.literal(true)),
})
export type RestorationRequest = z.infer<typeof RestorationRequest>

/** `POST /v1/identities/restore`. */
export const IdentityRestoration = z.strictObject({ id: IdentityUri, ...RestorationRequest.shape })
export type IdentityRestoration = z.infer<typeof IdentityRestoration>

export const RestorationView = z.strictObject({
  id: Key,
  scope: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('lease'), id: LeaseId }),
    z.strictObject({ kind: z.literal('identity'), id: IdentityUri }),
    z.strictObject({ kind: z.literal('case'), id: Key }),
  ]),
  reason: z.string(),
  requester: z.string(),
  undoesCompromise: z.boolean(),
  state: z.enum(['listing', 'running', 'done']),
  openedAt: Instant,
  doneAt: z.optional(Instant),
  /** Parts to undo, of up to a hundred leases of one issuer, and those that are over. */
  parts: z.strictObject({ expected: z.int(), done: z.int() }),
  /** Leases that live again, and those that could not or must not. */
  counts: z.strictObject({ restored: z.int(), refused: z.int() }),
  /** Why, of the first hundred. */
  refused: z.array(z.strictObject({ lease: LeaseId, said: z.string() })),
  /** What is waited for, part by part; only where one restoration is shown. */
  waiting: z.optional(z.array(z.strictObject({ issuer: IssuerName, said: z.string() }))),
})
export type RestorationView = z.infer<typeof RestorationView>

/** `GET /v1/tidy`: what a cut left behind at its issuer and could not be deleted. The access is cut all the same. */
export const LeftBehind = z.strictObject({
  lease: LeaseId,
  identity: IdentityUri,
  issuer: IssuerName,
  case: z.optional(Key),
  said: z.string(),
  /** Since when it is known; tried again each day. */
  since: Instant,
})
export type LeftBehind = z.infer<typeof LeftBehind>
