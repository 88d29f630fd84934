import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { JsonObject } from './json.ts'
import { isObject, numberOf, textOf } from './json.ts'
import type { Functions } from './lambda.ts'
import { FunctionTimeout } from './lambda.ts'
import { closeServer, listenOn, readBody } from './loopback.ts'
import type { Template } from './template.ts'
import { TemplateError } from './template.ts'

/** A route of an API Gateway HTTP API, with the function behind it. */
export interface HttpRoute {
  /** `POST /v1/leases/{id}/renew`, or `$default`. */
  readonly key: string
  readonly authorization: 'NONE' | 'AWS_IAM'
  /** Name or ARN of the function. */
  readonly target: string
  readonly timeoutMilliseconds: number
}

export interface MatchedRoute {
  readonly route: HttpRoute
  readonly parameters: Readonly<Record<string, string>>
}

/** API Gateway's own limit on a request's payload. */
const LARGEST_BODY = 10 * 1024 * 1024

export function readRoutes(template: Template, functions: Functions): HttpRoute[] {
  const integrations = new Map(
    template.ofType('AWS::ApiGatewayV2::Integration').map((resource) => [template.reference(resource), resource] as const),
  )
  return template.ofType('AWS::ApiGatewayV2::Route').map((resource) => {
    const where = `${resource.stack}/${resource.logicalId}`
    const key = textOf(template.property(resource, 'RouteKey') ?? null, `${where}: RouteKey`)
    const integration = integrations.get(
      textOf(template.property(resource, 'Target') ?? null, `${where}: Target`).replace(/^integrations\//, ''),
    )
    if (integration === undefined)
      throw new TemplateError('unknown-reference', `${where}: its integration is not in the template`)
    const version = template.property(integration, 'PayloadFormatVersion')
    if (String(version) !== '2.0')
      throw new TemplateError('unsupported-property', `${where}: payload format ${String(version)} is not known on one machine`)
    const uri = textOf(template.property(integration, 'IntegrationUri') ?? null, `${where}: IntegrationUri`)
    // Either the function's ARN, or the path of Lambda's Invoke call with the ARN inside.
    const target = /(arn:aws:lambda:[^/]*)\/invocations$/.exec(uri)?.[1] ?? uri
    if (!functions.has(target))
      throw new TemplateError('unknown-reference', `${where}: ${target} is not a function of this template`)
    const authorization = template.property(resource, 'AuthorizationType') ?? 'NONE'
    if (authorization !== 'NONE' && authorization !== 'AWS_IAM') {
      throw new TemplateError(
        'unsupported-property',
        `${where}: authorisation ${JSON.stringify(authorization)} is not known on one machine`,
      )
    }
    return {
      key,
      authorization,
      target,
      timeoutMilliseconds: numberOf(template.property(integration, 'TimeoutInMillis'), `${where}: TimeoutInMillis`, 30_000),
    }
  })
}

/**
 * The most specific route of an HTTP API: a fixed segment goes before a parameter, that before a greedy `{name+}`, a
 * named method before `ANY`, everything before `$default`. `path` is still percent-encoded.
 */
export function matchRoute(routes: readonly HttpRoute[], method: string, path: string): MatchedRoute | undefined {
  const segments = segmentsOf(path)
  let best: { found: MatchedRoute; rank: string } | undefined
  for (const route of routes) {
    const [routeMethod, template] = route.key.split(' ')
    if (template === undefined) {
      best ??= { found: { route, parameters: {} }, rank: '9' }
      continue
    }
    if (routeMethod !== method && routeMethod !== 'ANY') continue
    const matched = matchPath(segmentsOf(template), segments)
    if (matched === undefined) continue
    const rank = `${matched.rank}${routeMethod === 'ANY' ? 1 : 0}`
    if (best === undefined || rank < best.rank) best = { found: { route, parameters: matched.parameters }, rank }
  }
  return best?.found
}

const segmentsOf = (path: string) => path.split('/').slice(1)

function matchPath(
  template: readonly string[],
  path: readonly string[],
): { parameters: Record<string, string>; rank: string } | undefined {
  const parameters: Record<string, string> = {}
  let rank = ''
  for (const [index, part] of template.entries()) {
    const segment = path[index]
    if (segment === undefined) return undefined
    const name = /^\{(.+?)(\+?)\}$/.exec(part)
    if (name?.[1] === undefined) {
      if (part !== decode(segment)) return undefined
      rank += '0'
      continue
    }
    if (segment === '') return undefined
    if (name[2] === '+') {
      parameters[name[1]] = decode(path.slice(index).join('/'))
      return { parameters, rank: `${rank}2` }
    }
    parameters[name[1]] = decode(segment)
    rank += '1'
  }
  return template.length === path.length ? { parameters, rank } : undefined
}

/** What cannot be decoded stays as it is. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** Media types that API Gateway hands over as text; everything else, forms included, comes in base64. */
const TEXT = /^(text\/.*|application\/(json|xml|javascript))$/i

export interface IncomingRequest {
  readonly method: string
  /** Path and query as sent. */
  readonly url: string
  readonly headers: Readonly<Record<string, readonly string[] | undefined>>
  readonly body: Buffer
  readonly sourceIp: string
}

/** A request in Lambda's payload format 2.0 (API Gateway developer guide, "Lambda proxy integrations for HTTP APIs"). */
export function toEvent(request: IncomingRequest, { route, parameters }: MatchedRoute, now: Date, requestId: string): JsonObject {
  const mark = request.url.indexOf('?')
  const rawPath = decode(mark < 0 ? request.url : request.url.slice(0, mark))
  const rawQueryString = mark < 0 ? '' : request.url.slice(mark + 1)
  const query: Record<string, string> = {}
  for (const [name, value] of new URLSearchParams(rawQueryString))
    query[name] = Object.hasOwn(query, name) ? `${query[name]},${value}` : value
  const headers: Record<string, string> = {}
  for (const [name, values] of Object.entries(request.headers)) if (name !== 'cookie' && values) headers[name] = values.join(',')
  const cookies = (request.headers.cookie ?? []).flatMap((line) => line.split(/; */)).filter((cookie) => cookie !== '')
  const type = (request.headers['content-type']?.[0] ?? 'application/json').split(';')[0]?.trim() ?? ''
  const isText = TEXT.test(type)
  return {
    version: '2.0',
    routeKey: route.key,
    // HTTP APIs decode the path; REST APIs and function URLs do not.
    rawPath,
    rawQueryString,
    ...(cookies.length > 0 && { cookies }),
    headers,
    ...(Object.keys(query).length > 0 && { queryStringParameters: query }),
    ...(Object.keys(parameters).length > 0 && { pathParameters: parameters }),
    requestContext: {
      accountId: 'anonymous',
      apiId: 'local',
      domainName: request.headers.host?.[0] ?? 'localhost',
      domainPrefix: 'local',
      http: {
        method: request.method,
        path: rawPath,
        protocol: 'HTTP/1.1',
        sourceIp: request.sourceIp,
        userAgent: request.headers['user-agent']?.[0] ?? '',
      },
      requestId,
      routeKey: route.key,
      stage: '$default',
      time: commonLogTime(now),
      timeEpoch: now.getTime(),
    },
    ...(request.body.length > 0 && { body: request.body.toString(isText ? 'utf8' : 'base64') }),
    isBase64Encoded: request.body.length > 0 && !isText,
  }
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/** `12/Mar/2020:19:03:58 +0000` */
function commonLogTime(at: Date): string {
  const two = (number: number) => String(number).padStart(2, '0')
  const day = `${two(at.getUTCDate())}/${MONTHS[at.getUTCMonth()]}/${at.getUTCFullYear()}`
  return `${day}:${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())} +0000`
}

export interface OutgoingResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[]>>
  readonly body: Buffer
}

/** What a function's answer becomes. One without `statusCode` is taken as the JSON body of a 200. */
export function fromResult(result: unknown): OutgoingResponse {
  if (!isObject(result) || result.statusCode === undefined) {
    const text = typeof result === 'string' ? result : (JSON.stringify(result) ?? '')
    return { status: 200, headers: { 'content-type': 'application/json' }, body: Buffer.from(text) }
  }
  const status = Number(result.statusCode)
  if (!Number.isInteger(status) || status < 200 || status > 599) return problem(500, 'Internal Server Error')
  const headers: Record<string, string | string[]> = {}
  if (isObject(result.headers))
    for (const [name, value] of Object.entries(result.headers)) headers[name.toLowerCase()] = String(value)
  if (Array.isArray(result.cookies)) headers['set-cookie'] = result.cookies.map(String)
  const text =
    typeof result.body === 'string'
      ? result.body
      : result.body === undefined || result.body === null
        ? ''
        : JSON.stringify(result.body)
  if (text !== '') headers['content-type'] ??= 'text/plain;charset=utf-8'
  return { status, headers, body: Buffer.from(text, result.isBase64Encoded === true ? 'base64' : 'utf8') }
}

/** API Gateway's own answers: no problem documents, a `message` alone. */
function problem(status: number, message: string, more: JsonObject = {}): OutgoingResponse {
  return { status, headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify({ message, ...more })) }
}

export interface HttpApi {
  readonly url: string
  /** From here on the template's routes answer; before, everything is 503. */
  connect(routes: readonly HttpRoute[], functions: Functions): void
  stop(): Promise<void>
}

/** The HTTP API on the loopback interface. A port that is taken is an error, unless it was 0. */
export async function startHttp(options: { readonly port: number; readonly log: (line: string) => void }): Promise<HttpApi> {
  let routes: readonly HttpRoute[] = []
  let functions: Functions | undefined

  async function answer(request: IncomingMessage): Promise<OutgoingResponse> {
    if (functions === undefined) return problem(503, 'Service Unavailable')
    const method = request.method ?? 'GET'
    const url = request.url ?? '/'
    const matched = matchRoute(routes, method, url.replace(/\?.*$/s, ''))
    const body = await readBody(request, LARGEST_BODY)
    if (matched === undefined) return problem(404, 'Not Found')
    if (body === undefined) return problem(413, 'Request Entity Too Large')
    if (matched.route.authorization === 'AWS_IAM') {
      const detail = `${matched.route.key} is authorised by AWS IAM, which one machine does not have: use the same route without /aws, with a token`
      return problem(403, 'Forbidden', { detail })
    }
    const sourceIp = request.socket.remoteAddress ?? '127.0.0.1'
    const event = toEvent({ method, url, headers: request.headersDistinct, body, sourceIp }, matched, new Date(), randomUUID())
    return fromResult(await within(functions.invoke(matched.route.target, event), matched.route.timeoutMilliseconds))
  }

  const server = createServer((request, response) => {
    answer(request)
      .catch((error: unknown) => {
        options.log(`${request.method} ${request.url?.replace(/\?.*$/s, '')}: ${String(error)}`)
        if (error instanceof IntegrationTimeout || error instanceof FunctionTimeout) return problem(503, 'Service Unavailable')
        return problem(500, 'Internal Server Error')
      })
      .then((outgoing) => write(response, outgoing))
      .catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined))
  })
  const port = await listenOn(server, options.port)

  return {
    url: `http://127.0.0.1:${port}`,
    connect(found, through) {
      routes = found
      functions = through
    },
    stop: () => closeServer(server),
  }
}

class IntegrationTimeout extends Error {
  override readonly name = 'IntegrationTimeout'
}

async function within<Value>(work: Promise<Value>, milliseconds: number): Promise<Value> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new IntegrationTimeout(`no answer within ${milliseconds} ms`)), milliseconds)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

function write(response: ServerResponse, outgoing: OutgoingResponse): void {
  const headers: Record<string, string | string[]> = {
    ...outgoing.headers,
    'content-length': String(outgoing.body.length),
    'apigw-requestid': randomUUID(),
  }
  // These belong to the connection: a function has no say in them.
  for (const name of ['connection', 'transfer-encoding', 'keep-alive']) delete headers[name]
  response.writeHead(outgoing.status, headers)
  response.end(outgoing.body)
}
