import * as z from 'zod/mini'
import type { WebhookLever as Lever, WebhookTarget as Target } from '../../contracts/webhook.ts'
import { receiverName, WebhookGrants, WebhookLever, WebhookTarget } from '../../contracts/webhook.ts'
import type { Definition } from '../contract.ts'
import { isEndpoint } from '../shape.ts'

export type { WebhookGrants as Grants, WebhookLever as Lever, WebhookTarget as Target } from '../../contracts/webhook.ts'

/** What the endpoint needs to cut a credential and nobody else may read, sealed at registration. Optional. */
export const Secret = z.optional(
  z.strictObject({
    handle: z.string().check(
      z.minLength(1),
      z.maxLength(16_384),
      z.refine((text) => text.isWellFormed(), 'must be well-formed Unicode'),
    ),
  }),
)
export type Secret = z.infer<typeof Secret>

export const Settings = z.strictObject({
  /** Where everything is posted to; https, or http on a loopback address, for secrets may travel there. */
  endpoint: z
    .string()
    .check(
      z.maxLength(2048),
      z.refine(isEndpoint, 'must be an https address without user, password or fragment (http only on a loopback address)'),
    ),
  /** The receiver's own name: it says it in each of its signed answers, and takes nothing that names another one. */
  receiver: receiverName(),
  /** Trusted instead of the public authorities: PEM. */
  ca: z.optional(z.string().check(z.maxLength(65_536), z.regex(/^-----BEGIN CERTIFICATE-----\n/))),
  timeoutMilliseconds: z._default(z.int().check(z.minimum(100), z.maximum(10_000)), 5000),
})
export type Settings = z.infer<typeof Settings>

export const definition: Definition<Target, Secret, Lever, Settings, WebhookGrants> = {
  name: 'webhook',
  title: "anything else, by the customer's own signed endpoint",
  target: WebhookTarget,
  secret: Secret,
  handleOnly: true,
  lever: WebhookLever,
  settings: Settings,
  grants: WebhookGrants,
  credential: ({ kind = '', id, incarnation }) =>
    JSON.stringify(incarnation === undefined ? [kind, id] : [kind, id, incarnation]),
  leverName: ({ identity }) => identity,
  // What the contract has. What an endpoint lacks of it, it says in its description, and is told so lease by lease.
  capabilities: {
    tellsAbsent: true,
    verifies: true,
    containment: 'identity',
    restores: true,
    tidies: true,
    choosesName: true,
    // Any text may be an id here, so none is recognised.
    locates: false,
    issues: true,
    discovers: true,
    sessions: 'outlive',
  },
  // One request for the description and one for the batch.
  limits: { batch: 50, propagationSeconds: 5, callSeconds: 45, concurrency: 9, callsPerSecond: 50 },
  serial: false,
  network: 'public',
  permissions: [],
}
