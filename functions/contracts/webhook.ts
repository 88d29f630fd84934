import * as z from 'zod/mini'
import { IdentityUri, Instant, Lane, name } from './primitives.ts'

/**
 * What provider `webhook` and a customer's own endpoint say to each other: docs/webhook.md. Requests and answers alike
 * are signed as Standard Webhooks 1.0 says, with one shared key, and each answer names the request that it belongs to.
 */

/** Text as it is meant, code unit by code unit: what JSON and UTF-8 cannot carry unchanged would meet another name. */
const text = (max: number) =>
  z.string().check(
    z.minLength(1),
    z.maxLength(max),
    z.refine((value) => value.isWellFormed(), 'must be well-formed Unicode'),
  )

/** One credential, in the customer's own words; compared exactly, never normalised. */
export const WebhookTarget = z.strictObject({
  /** Several kinds of credentials behind one endpoint. */
  kind: z.optional(z.string().check(z.regex(/^[a-z][a-z0-9-]{0,63}$/))),
  id: text(2048),
  /** What tells it from an earlier or later one of the same id. */
  incarnation: z.optional(text(256)),
})
export type WebhookTarget = z.infer<typeof WebhookTarget>

/** All that one identity holds behind the endpoint. */
export const WebhookLever = z.strictObject({ identity: text(2048) })
export type WebhookLever = z.infer<typeof WebhookLever>

/** What a minted credential may do, in the customer's own words. */
export const WebhookGrants = z.record(
  z.string().check(z.regex(/^[\w.:/-]{1,128}$/)),
  z.union([text(1024), z.number(), z.boolean(), z.array(text(1024)).check(z.maxLength(100))]),
)
export type WebhookGrants = z.infer<typeof WebhookGrants>

export const WEBHOOK_VERBS = ['revoke', 'verify', 'restore', 'tidy', 'contain', 'release', 'discover', 'issue'] as const
export type WebhookVerb = (typeof WEBHOOK_VERBS)[number]

/** Who is meant: a receiver takes nothing that names another one. */
export const receiverName = () => z.string().check(z.regex(/^[\x21-\x7e]{1,128}$/))

const head = <Verb extends string>(verb: Verb) => ({
  type: z.literal(`rescind.${verb}` as const),
  contract: z.literal(1),
  receiver: receiverName(),
})

const warrant = z.strictObject({
  case: z.string(),
  lane: Lane,
  epoch: z.int(),
  /** When the fence closed: what was issued before it dies. */
  fencedAt: Instant,
})

const leases = z
  .array(
    z.strictObject({
      lease: z.string(),
      /** The same over all attempts of one case to do this with this lease. */
      key: z.string(),
      target: WebhookTarget,
      /** What was sealed at registration; only where the description asks for it. */
      handle: z.optional(z.string()),
    }),
  )
  .check(z.minLength(1), z.maxLength(100))

const ofLeases = <Verb extends WebhookVerb>(verb: Verb) => z.strictObject({ ...head(verb), leases, warrant })
const ofLever = <Verb extends WebhookVerb>(verb: Verb) => z.strictObject({ ...head(verb), lever: WebhookLever, warrant })

export const WebhookRequest = z.discriminatedUnion('type', [
  z.strictObject(head('describe')),
  ofLeases('revoke'),
  ofLeases('verify'),
  ofLeases('restore'),
  ofLeases('tidy'),
  ofLever('contain'),
  ofLever('release'),
  z.strictObject({
    ...head('discover'),
    /** `next` of the page before. */
    from: z.optional(z.string()),
    most: z.int().check(z.minimum(1), z.maximum(1000)),
  }),
  z.strictObject({
    ...head('issue'),
    order: z.strictObject({ name: z.string(), grants: WebhookGrants, expiresAt: Instant }),
  }),
])
export type WebhookRequest = z.infer<typeof WebhookRequest>

/** What is said is evidence for people: it is shown and kept, so it must hold no secret. */
const said = z.string().check(z.minLength(1), z.maxLength(2000))
const afterSeconds = z.exactOptional(z.int().check(z.minimum(0)))
const throttled = z.exactOptional(z.literal(true))
const lease = z.string()
const absent = z.object({ lease, status: z.literal('absent'), said })

const cut = z.discriminatedUnion('status', [
  z.object({ lease, status: z.literal('revoked'), said, sessionsUntil: z.exactOptional(Instant) }),
  absent,
  z.object({ lease, status: z.literal('retry'), said, effect: z.enum(['none', 'unknown']), afterSeconds, throttled }),
  z.object({ lease, status: z.literal('unsupported'), said, livesUntil: z.exactOptional(Instant) }),
  z.object({ lease, status: z.literal('irrevocable'), said }),
])

const liveness = z.discriminatedUnion('status', [
  z.object({ lease, status: z.literal('dead'), said }),
  z.object({ lease, status: z.literal('alive'), said }),
  z.object({ lease, status: z.literal('unknown'), said, afterSeconds, throttled }),
])

const restored = z.discriminatedUnion('status', [
  z.object({ lease, status: z.literal('restored'), said }),
  z.object({ lease, status: z.literal('gone'), said }),
  z.object({ lease, status: z.literal('refused'), said }),
  z.object({ lease, status: z.literal('retry'), said, afterSeconds, throttled }),
])

const pulled = z.discriminatedUnion('status', [
  z.object({ status: z.literal('done'), said }),
  z.object({ status: z.literal('retry'), said, afterSeconds, throttled }),
  z.object({ status: z.literal('unsupported'), said }),
])

const listed = z.object({
  target: WebhookTarget,
  shown: name(256),
  usable: z.boolean(),
  /** Nobody registers it, and why. */
  own: z.exactOptional(name(256)),
  identity: z.exactOptional(IdentityUri),
  createdAt: z.exactOptional(Instant),
  lastUsedAt: z.exactOptional(Instant),
  expiresAt: z.exactOptional(Instant),
})

const issued = z.discriminatedUnion('status', [
  z.object({
    status: z.literal('issued'),
    said,
    target: WebhookTarget,
    handle: z.exactOptional(text(16384)),
    lever: z.exactOptional(WebhookLever),
    /** What its user needs: handed over once. */
    credential: z.record(z.string(), z.string()),
    expiresAt: z.exactOptional(Instant),
  }),
  z.object({ status: z.literal('refused'), said }),
  z.object({ status: z.literal('retry'), said, effect: z.enum(['none', 'unknown']), afterSeconds, throttled }),
])

const answerHead = <Verb extends string>(verb: Verb) => ({
  type: z.literal(`rescind.${verb}.answer` as const),
  contract: z.literal(1),
  receiver: receiverName(),
  /** `webhook-id` of the request: an answer to another one proves nothing. */
  inReplyTo: z.string(),
})

/** Unknown fields are no error: a later receiver may say more. */
export const WebhookAnswer = z.discriminatedUnion('type', [
  z.object({
    ...answerHead('describe'),
    /** Drawn by chance for this answer: the id of what is asked next is made with it, so that no two requests share one. */
    nonce: z.string().check(z.regex(/^[\x21-\x7e]{16,128}$/)),
    verbs: z.array(z.enum(WEBHOOK_VERBS)),
    /** Most leases in one request. */
    batch: z._default(z.int().check(z.minimum(1), z.maximum(100)), 100),
    /** The sealed handle is to travel with each lease. */
    wantsHandle: z._default(z.boolean(), false),
  }),
  /** One for each lease, in order. */
  z.object({ ...answerHead('revoke'), answers: z.array(cut) }),
  z.object({ ...answerHead('verify'), answers: z.array(liveness) }),
  z.object({ ...answerHead('restore'), answers: z.array(restored) }),
  z.object({ ...answerHead('tidy'), answers: z.array(cut) }),
  z.object({ ...answerHead('contain'), answer: pulled }),
  z.object({ ...answerHead('release'), answer: pulled }),
  z.object({ ...answerHead('discover'), listed: z.array(listed), next: z.exactOptional(text(4096)) }),
  z.object({ ...answerHead('issue'), answer: issued }),
])
export type WebhookAnswer = z.infer<typeof WebhookAnswer>
