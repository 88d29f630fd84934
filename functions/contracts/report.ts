import * as z from 'zod/mini'
import { IssuerName, name } from './primitives.ts'
import { CredentialText, ProviderName } from './scope.ts'

/** Credentials in one report; ten thousand leaks are some reports of one campaign. */
export const MOST_REPORTED = 500

/** One credential by what the responder has in hand; it may be the secret itself, which is fingerprinted and dropped. */
export const ReportedCredential = z.strictObject({
  text: CredentialText,
  /** Look at this issuer only, or at issuers of this provider. */
  issuer: z.optional(IssuerName),
  provider: z.optional(ProviderName),
})
export type ReportedCredential = z.infer<typeof ReportedCredential>

/** `POST /v1/reports`, with an `Idempotency-Key`: each credential gets a compromise case of its own. */
export const Report = z.strictObject({
  reason: name(1024),
  /** All cases of a campaign have one approval for what cannot be undone. Default, where several are reported: this report. */
  campaign: z.optional(name(128)),
  credentials: z.array(ReportedCredential).check(z.minLength(1), z.maxLength(MOST_REPORTED)),
})
export type Report = z.infer<typeof Report>

/** What became of one of them, in the order of the report. Its text is never repeated. */
export const ReportedCase = z.strictObject({
  /**
   * `replayed`: this report was taken before. `repeated`: it is another entry of this report once more. `unrecognised`:
   * no issuer's provider reads it as one of its credentials. `refused`: `said` tells why. Only the first three have a case.
   */
  status: z.enum(['opened', 'replayed', 'repeated', 'unrecognised', 'refused']),
  case: z.optional(z.string()),
  /** What it was read as, by issuer. */
  readAs: z.optional(z.array(z.strictObject({ issuer: IssuerName, shown: z.string() }))),
  /** Issuers where it could be a name as well, which are not looked at because the name may be a secret in clear: name one of them to mean it. */
  leftOut: z.optional(z.array(IssuerName)),
  said: z.optional(z.string()),
})
export type ReportedCase = z.infer<typeof ReportedCase>

export const ReportReceipt = z.strictObject({
  campaign: z.optional(z.string()),
  credentials: z.array(ReportedCase),
})
export type ReportReceipt = z.infer<typeof ReportReceipt>
