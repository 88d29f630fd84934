import * as z from 'zod/mini'

/** The stable codes of refusals; `type` of the problem document is `https://rescind.io/problems/<code>`. */
export const ProblemCode = z.enum([
  'body-invalid',
  'body-too-large',
  'media-type-unsupported',
  'unauthenticated',
  'signature-invalid',
  'token-invalid',
  'forbidden',
  'not-found',
  'identity-unknown',
  'issuer-unknown',
  'provider-unknown',
  'credential-unrecognised',
  'scope-not-allowed',
  'time-out-of-range',
  'fenced',
  'credential-being-cut',
  'credential-exclusive',
  'lever-being-pulled',
  'parent-unusable',
  'lease-ended',
  'lease-state',
  'idempotency-conflict',
  'owner-mismatch',
  'discipline',
  'case-state',
  'campaign-state',
  'requester-cannot-approve',
  'restore-refused',
  'redrive-refused',
  'discovery-refused',
  'throttled',
  'overloaded',
  'internal',
])
export type ProblemCode = z.infer<typeof ProblemCode>

/** RFC 9457 problem details. */
export const Problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: ProblemCode,
  detail: z.optional(z.string()),
  /** Where the body is wrong, one entry a place; `rule` names the broken rule of the discipline. */
  errors: z.optional(z.array(z.strictObject({ path: z.string(), message: z.string(), rule: z.optional(z.string()) }))),
  /** The cases that fenced the scope. */
  cases: z.optional(z.array(z.string())),
  /** The lease that was recorded all the same. */
  lease: z.optional(z.string()),
})
export type Problem = z.infer<typeof Problem>
