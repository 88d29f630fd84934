import type { Settings } from '../../functions/contracts/settings.ts'
import { operateRoutes } from '../../functions/operate/routes.ts'
import { registerRoutes } from '../../functions/register/routes.ts'
import type { Authenticate } from '../../functions/runtime/authentication.ts'
import { dispatcher } from '../../functions/runtime/dispatch.ts'
import { httpHandler } from '../../functions/runtime/http.ts'
import { fileKeys } from '../../functions/runtime/keys.ts'
import { ProblemError } from '../../functions/runtime/problem-error.ts'
import { sealer } from '../../functions/runtime/sealing.ts'
import type { Pipeline } from './pipeline.ts'
import { fixedMac, settings } from './pipeline.ts'

/**
 * The leases' and the operators' API over a pipeline in memory. The token is the caller's URI: how tokens are verified
 * has tests of its own.
 */
export function leasesApi(pipeline: Pipeline, change: Partial<Settings> = {}) {
  const { table, clock, random, log } = pipeline
  const all: Settings = { ...settings, ...change }
  const authenticate: Authenticate = async ({ headers }) => {
    const uri = headers.authorization
    if (uri === undefined) throw new ProblemError('unauthenticated')
    return { uri, kind: 'svid', namespace: 'ci' }
  }
  const dispatch = dispatcher(
    table,
    pipeline.queues,
    ['p0', 'p1', 'p2'].flatMap((lane) => [`plan-${lane}`, `work-fake-${lane}`]),
  )
  const common = { table, dispatch, clock, settings: all, authenticate, catalog: { fake: pipeline.definition }, mac: fixedMac }
  const handler = httpHandler(
    [
      ...registerRoutes({
        ...common,
        random,
        seal: sealer({ keys: fileKeys(new Uint8Array(32).fill(7), random), clock, random }),
      }),
      ...operateRoutes({ ...common, index: pipeline.index, archive: pipeline.archive }),
    ],
    { log, bodyBytes: all.limits.bodyBytes },
  )
  return async (
    method: string,
    path: string,
    caller: string | undefined,
    body?: unknown,
    headers: Record<string, string> = {},
  ) => {
    const [plain = '', query = ''] = path.split('?')
    const answer = await handler({
      version: '2.0',
      headers: {
        'content-type': 'application/json',
        ...(caller === undefined ? {} : { authorization: caller }),
        ...headers,
      },
      queryStringParameters: Object.fromEntries(new URLSearchParams(query)),
      requestContext: { requestId: 'r', http: { method, path: plain } },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return { status: answer.statusCode, body: answer.body === '' ? undefined : JSON.parse(answer.body) }
  }
}
