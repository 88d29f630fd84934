import type { SignatureHeaders, SignedMessage } from '../domain/signature.ts'
import { checkSignature, signMessage } from '../domain/signature.ts'
import { ProblemError } from './problem-error.ts'

/** Header in which the sender of a signed trigger says which configured source it is; the signature proves it. */
export const SOURCE_HEADER = 'rescind-source'

/**
 * Checks a signed request, as `domain/signature.ts` does. Returns the message's id, which stays the same over a sender's
 * retries, and when it was signed.
 * Throws `ProblemError` 401: `unauthenticated` where there is no signature, `signature-invalid` where it does not fit.
 */
export function verifyWebhook(
  request: SignedMessage,
  options: Parameters<typeof checkSignature>[1],
): { readonly id: string; readonly signedAt: number } {
  const checked = checkSignature(request, options)
  if (checked.status === 'missing') throw new ProblemError('unauthenticated', checked.said)
  if (checked.status === 'invalid') throw new ProblemError('signature-invalid', checked.said)
  return { id: checked.id, signedAt: checked.signedAt }
}

/** The headers of a signed request, for senders. `timestamp` in milliseconds since 1970. */
export function signWebhook(request: {
  readonly id: string
  readonly timestamp: number
  readonly body: string | Uint8Array
  readonly secret: string
}): SignatureHeaders {
  const { secret, ...message } = request
  return signMessage({ ...message, secrets: [secret] })
}
