import { describe, expect, it } from 'vitest'
import type { HttpRoute, IncomingRequest } from '../../../lib/local/http.ts'
import { fromResult, matchRoute, toEvent } from '../../../lib/local/http.ts'

const route = (key: string): HttpRoute => ({ key, authorization: 'NONE', target: key, timeoutMilliseconds: 1000 })
const routes = [
  route('$default'),
  route('GET /v1/leases'),
  route('POST /v1/leases'),
  route('GET /v1/leases/{id}'),
  route('GET /v1/leases/recent'),
  route('POST /v1/leases/{id}/renew'),
  route('ANY /v1/leases/{id}'),
  route('GET /files/{path+}'),
]
const found = (method: string, path: string, among = routes) => {
  const match = matchRoute(among, method, path)
  return match && [match.route.key, match.parameters]
}

describe('routes of the HTTP API', () => {
  it('match method and path, parameters decoded', () => {
    expect(found('POST', '/v1/leases')).toEqual(['POST /v1/leases', {}])
    expect(found('GET', '/v1/leases/a%2Fb%20c')).toEqual(['GET /v1/leases/{id}', { id: 'a/b c' }])
    expect(found('POST', '/v1/leases/x/renew')).toEqual(['POST /v1/leases/{id}/renew', { id: 'x' }])
    expect(found('GET', '/v1/leases/100%')).toEqual(['GET /v1/leases/{id}', { id: '100%' }])
  })

  it('the more specific one wins', () => {
    expect(found('GET', '/v1/leases/recent')?.[0]).toBe('GET /v1/leases/recent')
    expect(found('DELETE', '/v1/leases/recent')?.[0]).toBe('ANY /v1/leases/{id}')
    expect(found('GET', '/files/a/b%20c')).toEqual(['GET /files/{path+}', { path: 'a/b c' }])
    expect(found('GET', '/elsewhere')?.[0]).toBe('$default')
  })

  it('without a match there is none', () => {
    const strict = routes.filter(({ key }) => key !== '$default')
    expect(found('GET', '/v1/leases/', strict)).toBeUndefined()
    expect(found('GET', '/v1/leases/a/b', strict)).toBeUndefined()
    expect(found('PUT', '/v1/leases', strict)).toBeUndefined()
    expect(found('GET', '/V1/leases', strict)).toBeUndefined()
  })
})

const request = (over: Partial<IncomingRequest> = {}): IncomingRequest => ({
  method: 'POST',
  url: '/v1/leases',
  headers: {},
  body: Buffer.alloc(0),
  sourceIp: '127.0.0.1',
  ...over,
})
const event = (over: Partial<IncomingRequest> = {}, parameters: Record<string, string> = {}) =>
  toEvent(request(over), { route: route('POST /v1/leases'), parameters }, new Date('2020-03-12T19:03:58.390Z'), 'id-1')

describe('payload format 2.0', () => {
  it('has what the developer guide shows', () => {
    const made = event(
      {
        url: '/v1/leases?parameter1=value1&parameter1=value2&parameter2=value',
        headers: {
          host: ['127.0.0.1:8080'],
          'x-twice': ['value1', 'value2'],
          cookie: ['cookie1=a; cookie2=b'],
          'content-type': ['application/json; charset=utf-8'],
          'user-agent': ['agent'],
        },
        body: Buffer.from('{"ä":1}'),
      },
      { id: 'x' },
    )
    expect(made).toEqual({
      version: '2.0',
      routeKey: 'POST /v1/leases',
      rawPath: '/v1/leases',
      rawQueryString: 'parameter1=value1&parameter1=value2&parameter2=value',
      cookies: ['cookie1=a', 'cookie2=b'],
      headers: {
        host: '127.0.0.1:8080',
        'x-twice': 'value1,value2',
        'content-type': 'application/json; charset=utf-8',
        'user-agent': 'agent',
      },
      queryStringParameters: { parameter1: 'value1,value2', parameter2: 'value' },
      pathParameters: { id: 'x' },
      requestContext: {
        accountId: 'anonymous',
        apiId: 'local',
        domainName: '127.0.0.1:8080',
        domainPrefix: 'local',
        http: { method: 'POST', path: '/v1/leases', protocol: 'HTTP/1.1', sourceIp: '127.0.0.1', userAgent: 'agent' },
        requestId: 'id-1',
        routeKey: 'POST /v1/leases',
        stage: '$default',
        time: '12/Mar/2020:19:03:58 +0000',
        timeEpoch: 1584039838390,
      },
      body: '{"ä":1}',
      isBase64Encoded: false,
    })
  })

  it('leaves out what is not there', () => {
    for (const name of ['cookies', 'queryStringParameters', 'pathParameters', 'body']) expect(event()).not.toHaveProperty(name)
    expect(event().isBase64Encoded).toBe(false)
  })

  it('decodes the path, not the query', () => {
    const made = event({ url: '/v1/a%20b?x=%20y' })
    expect(made.rawPath).toBe('/v1/a b')
    expect(made.rawQueryString).toBe('x=%20y')
    expect(made.queryStringParameters).toEqual({ x: ' y' })
  })

  it('gives bodies of other media types in base64', () => {
    const body = Buffer.from([0, 255, 1])
    for (const type of ['application/octet-stream', 'application/x-www-form-urlencoded', 'application/cloudevents+json']) {
      expect(event({ body, headers: { 'content-type': [type] } })).toMatchObject({ body: 'AP8B', isBase64Encoded: true })
    }
  })
})

describe('the answer of a function', () => {
  const text = (result: unknown) => {
    const { status, headers, body } = fromResult(result)
    return [status, headers, body.toString()]
  }
  it('with a status code is taken as it is', () => {
    expect(text({ statusCode: 409, headers: { 'Content-Type': 'application/problem+json' }, body: '{"a":1}' })).toEqual([
      409,
      { 'content-type': 'application/problem+json' },
      '{"a":1}',
    ])
    expect(text({ statusCode: 200, cookies: ['a=b'], body: 'aGk=', isBase64Encoded: true })).toEqual([
      200,
      { 'set-cookie': ['a=b'], 'content-type': 'text/plain;charset=utf-8' },
      'hi',
    ])
    expect(text({ statusCode: 204 })).toEqual([204, {}, ''])
  })

  it('without one is the body', () => {
    expect(text({ hello: 'world' })).toEqual([200, { 'content-type': 'application/json' }, '{"hello":"world"}'])
    expect(text('hello')).toEqual([200, { 'content-type': 'application/json' }, 'hello'])
  })

  it('with nonsense is an internal error', () => {
    expect(text({ statusCode: 'fine' })[0]).toBe(500)
  })
})
