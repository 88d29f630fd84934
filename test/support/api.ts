import { intakeRoutes } from '../../functions/intake/http.ts'
import { operateRoutes } from '../../functions/operate/routes.ts'
import type { Authenticate } from '../../functions/runtime/authentication.ts'
import type { DeadLetters } from '../../functions/runtime/dead-letters.ts'
import { dispatcher } from '../../functions/runtime/dispatch.ts'
import { httpHandler } from '../../functions/runtime/http.ts'
import { ProblemError } from '../../functions/runtime/problem-error.ts'
import type { Pipeline } from './pipeline.ts'
import { fixedMac, settings } from './pipeline.ts'

export const ONE = 'spiffe://example.org/operator/one'
export const TWO = 'spiffe://example.org/operator/two'
export const VIEWER = 'spiffe://example.org/viewer'

/**
 * The operators' API over a pipeline in memory. The token is the caller's URI: how tokens are verified has tests of its
 * own. `ONE` and `TWO` may approve, `VIEWER` may not.
 */
export function operatorsApi(pipeline: Pipeline, more: { readonly deadLetters?: DeadLetters } = {}) {
  const { table, clock, log } = pipeline
  const all = {
    ...settings,
    grants: [...settings.grants, { right: 'operator' as const, caller: VIEWER, approve: false }],
  }
  const authenticate: Authenticate = async ({ headers }) => {
    const uri = headers.authorization
    if (uri === undefined) throw new ProblemError('unauthenticated')
    return { uri, kind: 'svid', namespace: 'ci' }
  }
  const names = ['p0', 'p1', 'p2'].flatMap((lane) => [`plan-${lane}`, `work-fake-${lane}`])
  const dispatch = dispatcher(table, pipeline.queues, names)
  const common = { table, dispatch, clock, settings: all, authenticate, catalog: { fake: pipeline.definition }, mac: fixedMac }
  const handler = httpHandler(
    [
      ...operateRoutes({ ...common, index: pipeline.index, archive: pipeline.archive, ...more }),
      ...intakeRoutes({ ...common, secrets: { get: async () => '' } }),
    ],
    { log, bodyBytes: all.limits.bodyBytes },
  )
  return async (method: string, path: string, caller: string | undefined, body?: unknown) => {
    const [plain = '', query = ''] = path.split('?')
    const answer = await handler({
      version: '2.0',
      headers: { 'content-type': 'application/json', ...(caller === undefined ? {} : { authorization: caller }) },
      queryStringParameters: Object.fromEntries(new URLSearchParams(query)),
      requestContext: { requestId: 'r', http: { method, path: plain } },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return { status: answer.statusCode, body: answer.body === '' ? undefined : JSON.parse(answer.body) }
  }
}
