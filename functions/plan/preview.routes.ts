import { PlanRequest } from '../contracts/plan.ts'
import type { Authenticate } from '../runtime/authentication.ts'
import type { Route } from '../runtime/http.ts'
import { readBody } from '../runtime/http.ts'
import type { PreviewPorts } from './preview.ts'
import { previewer } from './preview.ts'

/** A `next` may be as long as all of its lanes are deep. */
const BODY_BYTES = 196_608

/** `POST /v1/plans`, for operators, and for sources what they may send themselves. */
export function previewRoutes(ports: PreviewPorts & { readonly authenticate: Authenticate }): Route[] {
  const preview = previewer(ports)
  return [
    {
      method: 'POST',
      path: '/v1/plans',
      bodyBytes: BODY_BYTES,
      async handle(request) {
        const caller = await ports.authenticate(request)
        return { status: 200, body: await preview(readBody(request, PlanRequest), caller) }
      },
    },
  ]
}
