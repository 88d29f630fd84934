import { describe, expect, it } from 'vitest'
import * as z from 'zod/mini'
import { Problem } from '../../../functions/contracts/problem.ts'
import { canonicalIdentity } from '../../../functions/domain/identity.ts'
import type { HttpEvent, Request, Route } from '../../../functions/runtime/http.ts'
import { httpHandler, readBody, readQuery, readValue } from '../../../functions/runtime/http.ts'
import { ProblemError } from '../../../functions/runtime/problem-error.ts'
import { StoreBusy } from '../../../functions/store/table.ts'
import { testLog } from '../../support/tools.ts'

const Body = z.strictObject({ name: z.string().check(z.minLength(3)), inner: z.optional(z.strictObject({ n: z.int() })) })

function event(method: string, path: string, changed: Partial<HttpEvent> & { iam?: { userArn: string } } = {}): HttpEvent {
  const { iam, ...rest } = changed
  return {
    version: '2.0',
    headers: { 'Content-Type': 'application/json', Host: 'h' },
    requestContext: { requestId: 'r-1', http: { method, path }, ...(iam === undefined ? {} : { authorizer: { iam } }) },
    ...rest,
  }
}

function serve(handle: Route['handle'], path = '/v1/things/{id}') {
  const log = testLog()
  const handler = httpHandler(
    [
      { method: 'POST', path, handle },
      { method: 'GET', path: '/v1/things', handle: async () => ({ status: 200, body: [] }) },
    ],
    { log, bodyBytes: 1000 },
  )
  return { handler, log }
}
const failing = async (error: unknown) => {
  const { handler, log } = serve(async () => {
    throw error
  })
  const result = await handler(event('POST', '/v1/things/a'))
  return { result, problem: Problem.parse(JSON.parse(result.body)), log }
}

describe('requests', () => {
  it('reach their route with what they brought', async () => {
    const seen: Request[] = []
    const { handler } = serve(async (request) => {
      seen.push(request)
      return { status: 201, body: { done: true }, headers: { location: '/v1/things/a' } }
    })
    const result = await handler(
      event('POST', '/v1/things/a', {
        body: Buffer.from('{"ü":1}').toString('base64'),
        isBase64Encoded: true,
        queryStringParameters: { limit: '5', gone: undefined },
        iam: { userArn: 'arn:aws:iam::123456789012:role/a' },
      }),
    )
    expect(result).toMatchObject({ statusCode: 201, body: '{"done":true}' })
    expect(result.headers).toMatchObject({
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'x-request-id': 'r-1',
      location: '/v1/things/a',
    })
    const [request] = seen
    expect(request).toMatchObject({
      id: 'r-1',
      method: 'POST',
      path: '/v1/things/a',
      route: '/v1/things/{id}',
      userArn: 'arn:aws:iam::123456789012:role/a',
    })
    expect({ ...request?.params }).toEqual({ id: 'a' })
    expect({ ...request?.query }).toEqual({ limit: '5' })
    expect({ ...request?.headers }).toEqual({ 'content-type': 'application/json', host: 'h' })
    expect(request?.headers['constructor']).toBeUndefined()
    expect(Buffer.from(request?.body ?? []).toString()).toBe('{"ü":1}')
  })

  it('without body answers have no content type', async () => {
    const { handler } = serve(async () => ({ status: 204 }))
    const result = await handler(event('POST', '/v1/things/a'))
    expect(result).toMatchObject({ statusCode: 204, body: '' })
    expect(result.headers).not.toHaveProperty('content-type')
  })

  it('are independent of each other', async () => {
    const { handler } = serve(async (request) => ({ status: 200, body: request.params }))
    const results = await Promise.all(['a', 'b', 'c'].map((id) => handler(event('POST', `/v1/things/${id}`))))
    expect(results.map((result) => result.body)).toEqual(['{"id":"a"}', '{"id":"b"}', '{"id":"c"}'])
  })

  it('to no route answer 404', async () => {
    const { handler } = serve(async () => ({ status: 200 }))
    for (const [method, path] of [
      ['GET', '/v1/nothing'],
      ['PUT', '/v1/things/a'],
      ['POST', '/v1/things/a/b'],
      ['GET', '/__proto__'],
    ] as const) {
      const result = await handler(event(method, path))
      expect(result.statusCode).toBe(404)
      expect(JSON.parse(result.body)).toMatchObject({
        type: 'https://rescind.io/problems/not-found',
        code: 'not-found',
        status: 404,
      })
    }
  })

  it('with too large a body answer 413 before the route sees them', async () => {
    let reached = false
    const { handler } = serve(async () => {
      reached = true
      return { status: 200 }
    })
    expect((await handler(event('POST', '/v1/things/a', { body: 'x'.repeat(1000) }))).statusCode).toBe(200)
    reached = false
    const result = await handler(event('POST', '/v1/things/a', { body: 'ü'.repeat(501) }))
    expect(JSON.parse(result.body)).toMatchObject({ status: 413, code: 'body-too-large' })
    expect(reached).toBe(false)
  })
})

describe('refusals', () => {
  it('are problem documents with all that is known', async () => {
    const { result, problem, log } = await failing(
      new ProblemError('fenced', 'the identity is fenced', { cases: ['c'], lease: 'l', errors: [{ path: '/a', message: 'm' }] }),
    )
    expect(result.headers['content-type']).toBe('application/problem+json')
    expect(problem).toEqual({
      type: 'https://rescind.io/problems/fenced',
      title: 'The scope is fenced',
      status: 409,
      code: 'fenced',
      detail: 'the identity is fenced',
      cases: ['c'],
      lease: 'l',
      errors: [{ path: '/a', message: 'm' }],
    })
    expect(log.lines).toEqual([
      { level: 'info', message: 'request refused', fields: { requestId: 'r-1', method: 'POST', status: 409, code: 'fenced' } },
    ])
  })

  it('of callers name the scheme', async () => {
    const { result } = await failing(new ProblemError('unauthenticated'))
    expect(result).toMatchObject({ statusCode: 401, headers: { 'www-authenticate': 'Bearer' } })
  })

  it('of a busy store say when to come back', async () => {
    const { result, problem } = await failing(new StoreBusy('busy'))
    expect(problem).toMatchObject({ status: 429, code: 'throttled' })
    expect(result.headers['retry-after']).toBe('2')
  })

  it('of names that are none say why', async () => {
    const { handler } = serve(async () => ({ status: 200, body: canonicalIdentity('spiffe://x') }))
    const result = await handler(event('POST', '/v1/things/a'))
    expect(JSON.parse(result.body)).toMatchObject({ status: 400, code: 'body-invalid' })
  })

  it.each([new Error('password hunter2'), 'hunter2', undefined, null, { message: 'hunter2' }])(
    'of unknown errors tell nothing but the request: %s',
    async (error) => {
      const { result, problem, log } = await failing(error)
      expect(problem).toEqual({
        type: 'https://rescind.io/problems/internal',
        title: 'Something failed on our side',
        status: 500,
        code: 'internal',
        detail: 'request r-1',
      })
      expect(result.body).not.toContain('hunter2')
      expect(log.lines).toHaveLength(1)
      expect(log.lines[0]).toMatchObject({ level: 'error', fields: { error, requestId: 'r-1' } })
    },
  )

  it('come before the function is stopped', async () => {
    const { handler } = serve(() => new Promise(() => {}))
    const result = await handler(event('POST', '/v1/things/a'), { getRemainingTimeInMillis: () => 310 })
    expect(JSON.parse(result.body)).toMatchObject({ status: 503, code: 'internal' })
  })
})

describe('readBody', () => {
  const read = (body: string | Uint8Array, type: string | undefined = 'application/json', types?: string[]) =>
    readBody(
      { headers: type === '' ? {} : { 'content-type': type }, body: typeof body === 'string' ? Buffer.from(body) : body },
      Body,
      types,
    )
  const refusal = (expected: Record<string, unknown>) => expect.objectContaining(expected)

  it('reads JSON in UTF-8', () => {
    expect(read('{"name":"abc"}')).toEqual({ name: 'abc' })
    expect(read('{"name":"abc"}', 'Application/JSON; charset=UTF-8')).toEqual({ name: 'abc' })
    expect(read('{"name":"abc"}', 'application/cloudevents+json', ['application/cloudevents+json'])).toEqual({ name: 'abc' })
  })

  it.each(['', 'text/plain', 'application/jsonx', 'application/json; charset=latin1', 'application/x-www-form-urlencoded'])(
    'refuses the media type %j',
    (type) => {
      expect(() => read('{"name":"abc"}', type)).toThrow(refusal({ status: 415, code: 'media-type-unsupported' }))
    },
  )

  it.each(['', '{', '{"name":"abc"} x', new Uint8Array([0x22, 0xff, 0x22])])('refuses what is no JSON: %j', (body) => {
    expect(() => read(body)).toThrow(refusal({ status: 400, code: 'body-invalid' }))
  })

  it('says where and why, by JSON pointer, and repeats no value', () => {
    try {
      read('{"name":"h2","inner":{"n":"hunter2","a/b~c":"hunter2"},"hunter2 secret":1,"extra":"hunter2"}')
      expect.unreachable()
    } catch (error) {
      expect(error).toMatchObject({ status: 400, code: 'body-invalid' })
      const errors = error instanceof ProblemError ? error.errors : []
      expect(errors).toEqual(
        expect.arrayContaining([
          { path: '/name', message: 'must be at least 3 characters' },
          { path: '/inner/n', message: 'must be a number' },
          { path: '/inner', message: 'has fields that are not known here' },
          { path: '', message: 'has fields that are not known here: extra' },
        ]),
      )
      expect(JSON.stringify(errors)).not.toContain('hunter2')
    }
  })

  it('says what is missing, and what a field must be', () => {
    const Scope = z.discriminatedUnion('kind', [
      z.strictObject({ kind: z.literal('owner') }),
      z.strictObject({ kind: z.literal('task') }),
    ])
    const schema = z.strictObject({
      reason: z.string(),
      scope: Scope,
      on: z.boolean(),
      settings: z.record(z.string(), z.string()),
    })
    const places = (body: unknown) => {
      try {
        readBody({ headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(body)) }, schema)
      } catch (error) {
        return error instanceof ProblemError ? error.errors?.map(({ path, message }) => `${path} ${message}`) : error
      }
      return undefined
    }
    expect(places({})).toEqual(['/reason is missing', '/scope is missing', '/on is missing', '/settings is missing'])
    expect(places({ reason: null, scope: { kind: 'x' }, on: 'yes', settings: [] })).toEqual([
      '/reason must be a text',
      '/scope/kind must be one of owner, task',
      '/on must be true or false',
      '/settings must be an object',
    ])
    expect(places({ reason: '', scope: {}, on: true, settings: {} })).toEqual(['/scope/kind is missing'])
  })

  it('names no more than twenty places', () => {
    try {
      readBody(
        { headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(Array(100).fill(0))) },
        z.array(z.string()),
      )
      expect.unreachable()
    } catch (error) {
      expect(error).toMatchObject({ errors: expect.objectContaining({ length: 20 }) })
    }
  })
})

it('readQuery and readValue refuse what is not what it should be', () => {
  const Query = z.strictObject({ limit: z.optional(z.string().check(z.regex(/^\d+$/))) })
  expect(readQuery({ query: { limit: '5' } }, Query)).toEqual({ limit: '5' })
  expect(() => readQuery({ query: { limit: 'x' } }, Query)).toThrow(expect.objectContaining({ status: 400 }))
  expect(() => readQuery({ query: { other: 'x' } }, Query)).toThrow(expect.objectContaining({ status: 400 }))
  const Id = z.string().check(z.minLength(2))
  expect(readValue('ab', Id)).toBe('ab')
  expect(() => readValue('a', Id)).toThrow(expect.objectContaining({ status: 404, code: 'not-found' }))
  expect(() => readValue(undefined, Id, { code: 'body-invalid', name: 'Idempotency-Key' })).toThrow(
    expect.objectContaining({ status: 400, detail: 'Idempotency-Key is missing' }),
  )
})
