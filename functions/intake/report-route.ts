import { IdempotencyKey } from '../contracts/lease.ts'
import { Report } from '../contracts/report.ts'
import type { Request, Response } from '../runtime/http.ts'
import { readBody, readValue } from '../runtime/http.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import type { AcceptPorts, Sender } from './accept.ts'
import { reporter } from './report.ts'

/** Five hundred tokens of two kilobytes. */
export const REPORT_BYTES = 1_048_576

interface Callers {
  /** Proves the sender over the raw body. */
  readonly senderOf: (request: Request) => Promise<Sender>
  /** Keeps what was refused, redacted. */
  readonly keep: (request: Request, sender: Sender, problem: ProblemError) => Promise<void>
}

/** `POST /v1/reports`: the report's `Idempotency-Key`, or the id of a signed message, makes a repeated one the same. */
export function reportRoute(ports: AcceptPorts, { senderOf, keep }: Callers): (request: Request) => Promise<Response> {
  const take = reporter(ports)
  return async (request) => {
    const sender = await senderOf(request)
    try {
      const idempotencyKey = readValue(request.headers['idempotency-key'] ?? request.headers['webhook-id'], IdempotencyKey, {
        code: 'body-invalid',
        name: 'the header Idempotency-Key',
      })
      const receipt = await take(reportOf(request), idempotencyKey, sender)
      const fresh = receipt.credentials.some(({ status }) => status === 'opened')
      return { status: fresh ? 202 : 200, body: receipt }
    } catch (error) {
      if (error instanceof ProblemError && error.status < 500 && error.status !== 429) await keep(request, sender, error)
      throw error
    }
  }
}

/** A secret may have been pasted anywhere, in the place of a field's name too: no name of such a field is repeated. */
function reportOf(request: Request): Report {
  try {
    return readBody(request, Report)
  } catch (error) {
    if (!(error instanceof ProblemError) || error.errors === undefined) throw error
    throw new ProblemError(error.code, error.detail, {
      errors: error.errors.map(({ path, message }) => ({
        path,
        message: message.startsWith(UNKNOWN_FIELDS) ? UNKNOWN_FIELDS : message,
      })),
    })
  }
}

const UNKNOWN_FIELDS = 'has fields that are not known here'
