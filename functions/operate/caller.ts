import * as z from 'zod/mini'
import type { Settings } from '../contracts/settings.ts'
import { operatorRight } from '../domain/rights.ts'
import type { Authenticate } from '../runtime/authentication.ts'
import type { Request, Response, Route } from '../runtime/http.ts'
import { ProblemError } from '../runtime/problem-error.ts'

/** An operator, as proven. */
export interface Operator {
  readonly uri: string
  readonly approve: boolean
}

/** Serves one request of a proven operator; what it gives is the answer's body, with status 200. */
export type Serve = (request: Request, operator: Operator) => Promise<unknown>
export type AsOperator = (serve: Serve) => Route['handle']

/** Every route of the operators' API asks first who calls. */
export function operatorCaller(ports: {
  readonly authenticate: Authenticate
  readonly settings: Pick<Settings, 'grants'>
}): AsOperator {
  return (serve) =>
    async (request): Promise<Response> => {
      const caller = await ports.authenticate(request)
      const right = operatorRight(ports.settings, caller)
      if (right === undefined) throw new ProblemError('forbidden', 'the caller is no operator')
      return { status: 200, body: await serve(request, { uri: caller.uri, approve: right.approve }) }
    }
}

/** Whoever may not approve is told so before anything is read. */
export function mustApprove(operator: Operator): void {
  if (!operator.approve) throw new ProblemError('forbidden', 'the caller may not approve')
}

export const Page = z.object({
  cursor: z.optional(z.string().check(z.maxLength(1000))),
  limit: z._default(z.coerce.number().check(z.int(), z.minimum(1), z.maximum(200)), 50),
})
export type Page = { readonly limit: number; readonly cursor?: string | undefined }
