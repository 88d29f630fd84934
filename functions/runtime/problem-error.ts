import type { ProblemCode } from '../contracts/problem.ts'
import { OwnError } from './log.ts'

/** The status that a code is answered with unless the thrower says otherwise (RFC 9110 section 15). */
const STATUS: Readonly<Record<ProblemCode, number>> = {
  'body-invalid': 400,
  'body-too-large': 413,
  'media-type-unsupported': 415,
  unauthenticated: 401,
  'signature-invalid': 401,
  'token-invalid': 401,
  forbidden: 403,
  'not-found': 404,
  'identity-unknown': 422,
  'issuer-unknown': 422,
  'provider-unknown': 422,
  'credential-unrecognised': 422,
  'scope-not-allowed': 403,
  'time-out-of-range': 422,
  fenced: 409,
  'credential-being-cut': 409,
  'credential-exclusive': 409,
  'lever-being-pulled': 409,
  'parent-unusable': 409,
  'lease-ended': 409,
  'lease-state': 409,
  // draft-ietf-httpapi-idempotency-key-header section 2.7: a key that comes again with another payload.
  'idempotency-conflict': 422,
  'owner-mismatch': 409,
  discipline: 422,
  'case-state': 409,
  'campaign-state': 409,
  'requester-cannot-approve': 403,
  'restore-refused': 409,
  'redrive-refused': 409,
  'discovery-refused': 409,
  throttled: 429,
  overloaded: 429,
  internal: 500,
}

const TITLE: Readonly<Record<ProblemCode, string>> = {
  'body-invalid': 'The request is not what it should be',
  'body-too-large': 'The body is too large',
  'media-type-unsupported': 'The media type of the body is not taken here',
  unauthenticated: 'Who calls is not known',
  'signature-invalid': 'The signature does not fit',
  'token-invalid': 'The token is not accepted',
  forbidden: 'The caller may not do this',
  'not-found': 'There is nothing here',
  'identity-unknown': 'The identity is not known',
  'issuer-unknown': 'The issuer is not known',
  'provider-unknown': 'The provider is not known',
  'credential-unrecognised': 'Nobody reads this as a credential',
  'scope-not-allowed': 'The caller may not name this scope',
  'time-out-of-range': 'The time is out of range',
  fenced: 'The scope is fenced',
  'credential-being-cut': 'The credential is being cut',
  'credential-exclusive': 'The credential is held exclusively',
  'lever-being-pulled': 'The lever is being pulled for another identity',
  'parent-unusable': 'The parent lease cannot be delegated from',
  'lease-ended': 'The lease has ended',
  'lease-state': 'The lease is not in a state that allows this',
  'idempotency-conflict': 'The idempotency key was used for another request',
  'owner-mismatch': 'The owner is not the one that is known',
  discipline: 'The lease breaks the discipline',
  'case-state': 'The case is not in a state that allows this',
  'campaign-state': 'The campaign is not in a state that allows this',
  'requester-cannot-approve': 'Who asked cannot approve',
  'restore-refused': 'The cut is not undone',
  'redrive-refused': 'These dead letters cannot be driven back',
  'discovery-refused': 'The issuer is not listed',
  overloaded: 'More is asked than can be taken now',
  throttled: 'Too much at once',
  internal: 'Something failed on our side',
}

export interface ProblemExtras {
  /** Another status than the code's own. */
  readonly status?: number
  /** Where the body is wrong: JSON pointers (RFC 6901) and reasons, never values. */
  readonly errors?: readonly { readonly path: string; readonly message: string; readonly rule?: string }[]
  /** The cases that fenced the scope. */
  readonly cases?: readonly string[]
  /** The lease that was recorded all the same. */
  readonly lease?: string
  /** Becomes `Retry-After`, in seconds. */
  readonly retryAfterSeconds?: number
  readonly cause?: unknown
}

/**
 * A refusal that the caller is told about: thrown anywhere below an HTTP handler, it becomes a problem document
 * (RFC 9457). `detail` is shown to the caller and logged, so it never holds a value that came with the request.
 */
export class ProblemError extends OwnError {
  override readonly name = 'ProblemError'
  readonly code: ProblemCode
  readonly status: number
  readonly title: string
  readonly detail: string | undefined
  readonly errors: ProblemExtras['errors']
  readonly cases: ProblemExtras['cases']
  readonly lease: string | undefined
  readonly retryAfterSeconds: number | undefined

  constructor(code: ProblemCode, detail?: string, extras: ProblemExtras = {}) {
    super(detail ?? TITLE[code], extras.cause === undefined ? undefined : { cause: extras.cause })
    this.code = code
    this.status = extras.status ?? STATUS[code]
    this.title = TITLE[code]
    this.detail = detail
    this.errors = extras.errors
    this.cases = extras.cases
    this.lease = extras.lease
    this.retryAfterSeconds = extras.retryAfterSeconds
  }
}
