import middy from '@middy/core'
import httpRouter from '@middy/http-router'
import * as z from 'zod/mini'
import type { Problem } from '../contracts/problem.ts'
import { IdentityInvalid } from '../domain/identity.ts'
import { StoreBusy } from '../store/table.ts'
import { issueNotes } from './issues.ts'
import type { Log } from './ports.ts'
import { ProblemError } from './problem-error.ts'

/** The part of an API Gateway HTTP API event (payload format 2.0) that is read here. */
export interface HttpEvent {
  readonly version: string
  readonly headers?: Readonly<Record<string, string | undefined>>
  readonly queryStringParameters?: Readonly<Record<string, string | undefined>>
  pathParameters?: Readonly<Record<string, string | undefined>>
  readonly requestContext: {
    readonly requestId: string
    readonly http: { readonly method: string; readonly path: string }
    readonly authorizer?: { readonly iam?: { readonly userArn?: string; readonly accountId?: string } }
  }
  readonly body?: string
  readonly isBase64Encoded?: boolean
}

export interface HttpResult {
  readonly statusCode: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** A request as routes see it. Nothing in it is checked yet but its size. */
export interface Request {
  readonly id: string
  readonly method: string
  readonly path: string
  /** The route's template: `/v1/leases/{id}`. */
  readonly route: string
  readonly params: Readonly<Record<string, string>>
  readonly query: Readonly<Record<string, string>>
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>
  /** The raw bytes, as they were signed. */
  readonly body: Uint8Array
  /** On routes with IAM authorisation: the ARN that API Gateway authenticated. */
  readonly userArn?: string
}

export interface Response {
  readonly status: number
  /** Becomes JSON; absent: no body. */
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT'
  /** `/v1/leases/{id}/renew` */
  readonly path: string
  readonly handle: (request: Request) => Promise<Response>
  /** Largest body in bytes, where it is another one than the function's. */
  readonly bodyBytes?: number
}

/** What is left of a function's time when a request is given up with a problem document, in milliseconds. */
const GIVEN_UP_BEFORE = 300
const RETRY_AFTER_SECONDS = 2

/** Answers are of one caller and one moment, and are data, whatever a browser would like to see in them. */
const SECURITY_HEADERS = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'strict-transport-security': 'max-age=31536000',
  'referrer-policy': 'no-referrer',
} as const

/**
 * The handler of a function behind the HTTP API. Refusals (`ProblemError`, and `IdentityInvalid` as 400) become problem
 * documents (RFC 9457); `StoreBusy` becomes 429 with `Retry-After`; everything else becomes 500 `internal` with the
 * request's id, and is logged without its message. Bodies above `bodyBytes` are refused with 413 before a route sees
 * them.
 */
export function httpHandler(
  routes: readonly Route[],
  options: { readonly log: Log; readonly bodyBytes: number },
): (event: HttpEvent, context?: { getRemainingTimeInMillis?: () => number }) => Promise<HttpResult> {
  const router = httpRouter({
    routes: routes.map((route) => ({
      method: route.method,
      path: route.path,
      handler: async (event: HttpEvent) =>
        resultOf(await route.handle(requestOf(event, route.path, route.bodyBytes ?? options.bodyBytes)), event),
    })),
    notFoundResponse: () => {
      throw new ProblemError('not-found', 'there is no such route')
    },
  })
  const handler = middy<HttpEvent, HttpResult>({
    timeoutEarlyInMillis: GIVEN_UP_BEFORE,
    timeoutEarlyResponse: () => {
      throw new ProblemError('internal', 'the request took too long; try again with the same idempotency key', {
        status: 503,
        retryAfterSeconds: RETRY_AFTER_SECONDS,
      })
    },
  })
    .onError(({ event, error }) => {
      const problem = problemOf(error)
      const about = {
        requestId: event.requestContext?.requestId,
        method: event.requestContext?.http?.method,
        status: problem.status,
        code: problem.code,
      }
      if (problem.status >= 500) options.log.error('request failed', { ...about, error })
      else options.log.info('request refused', about)
      return problemResult(problem, event)
    })
    .handler(router)
  return async (event, context = {}) => handler(event, context)
}

function requestOf(event: HttpEvent, route: string, bodyBytes: number): Request {
  const { requestId, http, authorizer } = event.requestContext
  const body = Buffer.from(event.body ?? '', event.isBase64Encoded === true ? 'base64' : 'utf8')
  if (body.length > bodyBytes) throw new ProblemError('body-too-large', `a body has at most ${bodyBytes} bytes`)
  const userArn = authorizer?.iam?.userArn
  return {
    id: requestId,
    method: http.method,
    path: http.path,
    route,
    params: texts(event.pathParameters),
    query: texts(event.queryStringParameters),
    headers: texts(event.headers, (name) => name.toLowerCase()),
    body,
    ...(userArn === undefined ? {} : { userArn }),
  }
}

/** Without a prototype, so that no name from outside finds what it did not bring. */
function texts(
  entries: Readonly<Record<string, string | undefined>> | undefined,
  nameOf = (name: string) => name,
): Readonly<Record<string, string>> {
  const found: Record<string, string> = Object.create(null)
  for (const [name, text] of Object.entries(entries ?? {})) if (text !== undefined) found[nameOf(name)] = text
  return found
}

const resultOf = (response: Response, event: HttpEvent): HttpResult => ({
  statusCode: response.status,
  headers: {
    ...SECURITY_HEADERS,
    'x-request-id': event.requestContext.requestId,
    ...(response.body === undefined ? {} : { 'content-type': 'application/json' }),
    ...response.headers,
  },
  body: response.body === undefined ? '' : JSON.stringify(response.body),
})

function problemOf(error: unknown): ProblemError {
  if (error instanceof ProblemError) return error
  if (error instanceof StoreBusy) {
    return new ProblemError('throttled', 'the store is busy; try again', { retryAfterSeconds: RETRY_AFTER_SECONDS, cause: error })
  }
  if (error instanceof IdentityInvalid) return new ProblemError('body-invalid', error.message, { cause: error })
  return new ProblemError('internal', undefined, { cause: error })
}

function problemResult(problem: ProblemError, event: HttpEvent): HttpResult {
  const requestId = event.requestContext?.requestId ?? ''
  const detail = problem.detail ?? (problem.status >= 500 ? `request ${requestId}` : undefined)
  const document: Problem = {
    type: `https://rescind.io/problems/${problem.code}`,
    title: problem.title,
    status: problem.status,
    code: problem.code,
    ...(detail === undefined ? {} : { detail }),
    ...(problem.errors === undefined ? {} : { errors: problem.errors.map((error) => ({ ...error })) }),
    ...(problem.cases === undefined ? {} : { cases: [...problem.cases] }),
    ...(problem.lease === undefined ? {} : { lease: problem.lease }),
  }
  return {
    statusCode: problem.status,
    headers: {
      ...SECURITY_HEADERS,
      'x-request-id': requestId,
      'content-type': 'application/problem+json',
      // RFC 9110 section 11.6.1: a 401 names the scheme.
      ...(problem.status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
      ...(problem.retryAfterSeconds === undefined ? {} : { 'retry-after': String(Math.ceil(problem.retryAfterSeconds)) }),
    },
    body: JSON.stringify(document),
  }
}

/** Reads a JSON body. Throws `ProblemError`: 415 for another media type, 400 for what does not parse. */
export function readBody<Schema extends z.ZodMiniType>(
  request: Pick<Request, 'headers' | 'body'>,
  schema: Schema,
  mediaTypes: readonly string[] = ['application/json'],
): z.output<Schema> {
  const [mediaType = '', ...parameters] = (request.headers['content-type'] ?? '')
    .split(';')
    .map((part) => part.trim().toLowerCase())
  if (!mediaTypes.includes(mediaType)) {
    throw new ProblemError('media-type-unsupported', `the content type must be ${mediaTypes.join(' or ')}`)
  }
  // RFC 8259 section 8.1: JSON between systems is UTF-8.
  if (parameters.some((parameter) => /^charset=(?!"?utf-8"?$)/.test(parameter))) {
    throw new ProblemError('media-type-unsupported', 'the charset must be utf-8')
  }
  let content: unknown
  try {
    content = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(request.body))
  } catch {
    // No cause: a parser's message quotes the body.
    throw new ProblemError('body-invalid', 'the body is not JSON in UTF-8')
  }
  return checked(schema, content, 'the body does not fit its schema')
}

/** Reads the query. Throws `ProblemError` 400. */
export function readQuery<Schema extends z.ZodMiniType>(request: Pick<Request, 'query'>, schema: Schema): z.output<Schema> {
  return checked(schema, { ...request.query }, 'the query does not fit its schema')
}

/** Reads one value (a parameter of the path, a header). Throws `ProblemError`, by default 404: the path names nothing. */
export function readValue<Schema extends z.ZodMiniType>(
  value: string | undefined,
  schema: Schema,
  options: { readonly code?: 'not-found' | 'body-invalid'; readonly name?: string } = {},
): z.output<Schema> {
  const parsed = z.safeParse(schema, value)
  if (parsed.success) return parsed.data
  if ((options.code ?? 'not-found') === 'not-found') throw new ProblemError('not-found')
  const name = options.name ?? 'a value'
  throw new ProblemError('body-invalid', value === undefined ? `${name} is missing` : `${name} is not what it should be`)
}

function checked<Schema extends z.ZodMiniType>(schema: Schema, content: unknown, detail: string): z.output<Schema> {
  const parsed = z.safeParse(schema, content)
  if (parsed.success) return parsed.data
  throw new ProblemError('body-invalid', detail, { errors: issueNotes(parsed.error.issues, content) })
}
