import { describe, expect, it } from 'vitest'
import { instant } from '../../functions/domain/time.ts'
import { intakeRoutes } from '../../functions/intake/http.ts'
import { operateRoutes } from '../../functions/operate/routes.ts'
import { registerRoutes } from '../../functions/register/routes.ts'
import type { Authenticate } from '../../functions/runtime/authentication.ts'
import { dispatcher } from '../../functions/runtime/dispatch.ts'
import { httpHandler } from '../../functions/runtime/http.ts'
import { fileKeys } from '../../functions/runtime/keys.ts'
import { ProblemError } from '../../functions/runtime/problem-error.ts'
import { sealer } from '../../functions/runtime/sealing.ts'
import { app, BROKER, fixedMac, Pipeline, settings } from '../support/pipeline.ts'

/** What the HTTP API answers to whom, and to what: the routes as they are deployed, over the pipeline in memory. */

const VIEWER = 'spiffe://example.org/viewer'
const SENDER = 'spiffe://example.org/hr'

async function api() {
  const pipeline = new Pipeline()
  const db = await pipeline.issuer()
  const { table, clock, random, log } = pipeline
  const all = {
    ...settings,
    grants: [
      ...settings.grants,
      { right: 'operator' as const, caller: VIEWER, approve: false },
      { right: 'holder' as const, caller: 'spiffe://example.org/**', issuers: ['db'] },
      { right: 'source' as const, caller: SENDER, source: 'ci' },
    ],
  }
  // The token is the caller's URI: how tokens are verified has tests of its own.
  const authenticate: Authenticate = async ({ headers }) => {
    const uri = headers.authorization
    if (uri === undefined) throw new ProblemError('unauthenticated')
    return { uri, kind: 'svid', namespace: 'ci' }
  }
  const names = ['p0', 'p1', 'p2'].flatMap((lane) => [`plan-${lane}`, `work-fake-${lane}`])
  const dispatch = dispatcher(table, pipeline.queues, names)
  const catalog = { fake: pipeline.definition }
  const common = { table, dispatch, clock, random, settings: all, authenticate, catalog, mac: fixedMac }
  const handler = httpHandler(
    [
      ...registerRoutes({ ...common, seal: sealer({ keys: fileKeys(new Uint8Array(32), random), clock, random }) }),
      ...operateRoutes({ ...common, index: pipeline.index, archive: pipeline.archive }),
      ...intakeRoutes({ ...common, secrets: { get: async () => `whsec_${Buffer.alloc(32, 1).toString('base64')}` } }),
    ],
    { log, bodyBytes: all.limits.bodyBytes },
  )
  let key = 0
  const call = async (method: string, path: string, caller: string | undefined, body?: unknown, headers = {}) => {
    key += 1
    const [plain = '', query = ''] = path.split('?')
    const answer = await handler({
      version: '2.0',
      headers: {
        'content-type': 'application/json',
        'idempotency-key': `request-${key}`,
        ...(caller === undefined ? {} : { authorization: caller }),
        ...headers,
      },
      queryStringParameters: Object.fromEntries(new URLSearchParams(query)),
      requestContext: { requestId: 'r', http: { method, path: plain } },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    return { status: answer.statusCode, body: answer.body === '' ? undefined : JSON.parse(answer.body) }
  }
  const lease = (name: string, more = {}) => {
    db.mint(name)
    return {
      issuer: 'db',
      kind: 'dynamic',
      registers: 'credential',
      target: { name },
      consumer: 'app',
      purpose: 'test',
      owner: 'alice',
      expiresAt: instant(pipeline.now + 3_600_000),
      ...more,
    }
  }
  const event = (data: object, more = {}) => ({
    specversion: '1.0',
    id: `event-${key}`,
    source: 'urn:test',
    type: 'io.rescind.task-complete',
    data: { scope: { kind: 'task', id: '1' }, reason: 'done', ...data },
    ...more,
  })
  return { pipeline, db, call, lease, event }
}

describe('who may do what', () => {
  it('a workload sees and changes its own leases alone; for others they do not exist', async () => {
    const { call, lease } = await api()
    const made = await call('POST', '/v1/leases', app, lease('mine'))
    expect(made.status).toBe(201)
    const path = `/v1/leases/${made.body.id}`
    const stranger = 'spiffe://example.org/stranger'
    expect((await call('GET', path, app)).status).toBe(200)
    expect((await call('GET', path, VIEWER)).status).toBe(200)
    expect((await call('GET', path, stranger)).body.code).toBe('not-found')
    for (const verb of ['renew', 'release', 'confirm'])
      for (const caller of [stranger, VIEWER])
        expect((await call('POST', `${path}/${verb}`, caller, { expiresAt: made.body.expiresAt })).status).toBeGreaterThanOrEqual(
          400,
        )
    expect((await call('GET', `/v1/leases?identity=${encodeURIComponent(app)}`, stranger)).body.code).toBe('forbidden')
    expect((await call('POST', '/v1/leases', stranger, lease('theirs', { identity: app }))).body.code).toBe('forbidden')
    expect(
      (await call('POST', '/v1/leases', stranger, lease('theirs', { task: { id: '1', namespace: 'deploy' } }))).body.code,
    ).toBe('scope-not-allowed')
    expect((await call('GET', path, undefined)).status).toBe(401)
    expect((await call('GET', path, app)).body.state).toBe('live')
  })

  it('only operators operate, and only those with the right approve', async () => {
    const { call, pipeline, lease } = await api()
    const guarded = 'spiffe://example.org/protected/ledger'
    await call('POST', '/v1/leases', BROKER.uri, lease('ledger', { identity: guarded }))
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: guarded })
    for (const [method, path] of [
      ['GET', '/v1/cases'],
      ['GET', `/v1/cases/${id}`],
      ['GET', '/v1/parked'],
      ['GET', '/v1/orphans'],
      ['GET', '/v1/quarantine'],
      ['GET', '/v1/issuers'],
      ['GET', `/v1/audit?case=${id}`],
      ['GET', `/v1/identities?id=${encodeURIComponent(guarded)}`],
    ] as const) {
      expect((await call(method, path, app)).body.code, path).toBe('forbidden')
      expect((await call(method, path, VIEWER)).status, path).toBe(200)
    }
    const approve = (caller: string) => call('POST', `/v1/cases/${id}/approve`, caller, { reason: 'seen' })
    expect((await approve(app)).body.code).toBe('forbidden')
    expect((await approve(VIEWER)).body.code).toBe('forbidden')
    expect((await approve('spiffe://example.org/operator/one')).status).toBe(200)
    expect((await call('PUT', '/v1/identities', app, { id: app, owner: 'me' })).body.code).toBe('forbidden')
  })

  it('a source sends what its configuration says, and nobody else sends at all', async () => {
    const { call, event } = await api()
    expect((await call('POST', '/v1/events', app, event({}))).body.code).toBe('forbidden')
    expect((await call('POST', '/v1/events', undefined, event({}))).status).toBe(401)
    expect((await call('POST', '/v1/events', SENDER, event({}))).status).toBe(202)
    const compromise = event({ scope: { kind: 'identity', id: app } }, { type: 'io.rescind.compromise' })
    expect((await call('POST', '/v1/events', SENDER, compromise)).body.code).toBe('forbidden')
    expect((await call('POST', '/v1/events', SENDER, event({}), { 'rescind-source': 'all' })).body.code).toBe('forbidden')
  })
})

describe('bad input', () => {
  it.each<[string, object, string]>([
    ['a padded owner', { owner: ' alice ' }, 'body-invalid'],
    ['an empty owner', { owner: '' }, 'body-invalid'],
    ['a control character', { consumer: 'a\u0000b' }, 'body-invalid'],
    ['half a surrogate', { consumer: 'a\ud800' }, 'body-invalid'],
    ['a wrong type', { target: 'x' }, 'body-invalid'],
    ['a target that is not the provider’s', { target: { other: 1 } }, 'body-invalid'],
    ['an unknown member', { state: 'live' }, 'body-invalid'],
    ['an unknown kind', { kind: 'eternal' }, 'body-invalid'],
    ['an issuer of another alphabet', { issuer: 'DB#1' }, 'body-invalid'],
    ['an issuer that is not there', { issuer: 'nowhere' }, 'issuer-unknown'],
    ['a past expiry', { expiresAt: '2020-01-01T00:00:00Z' }, 'time-out-of-range'],
    ['an absurd expiry', { expiresAt: '9999-12-31T23:59:59Z' }, 'time-out-of-range'],
    ['a day that is none', { expiresAt: '2027-02-30T00:00:00Z' }, 'body-invalid'],
    ['a parent that is none', { parent: 'a.b.c' }, 'body-invalid'],
    ['a mintBy without an intent', { mintBy: '2026-11-22T10:30:00Z' }, 'body-invalid'],
  ])('a registration with %s is refused and writes no lease', async (_, more, code) => {
    const { call, lease, pipeline } = await api()
    expect((await call('POST', '/v1/leases', app, lease('one', more))).body.code).toBe(code)
    expect(pipeline.table.all().filter(({ kind }) => kind === 'lease' || kind === 'pointer' || kind === 'identity')).toEqual([])
  })

  it('what a proven sender sends and is refused stands in the quarantine, once and without its values', async () => {
    const { call, event } = await api()
    const secret = 'hunter2-hunter2'
    const bodies: [unknown, string][] = [
      ['{"not json', 'body-invalid'],
      [event({ scope: { kind: 'task', id: '1', password: secret } }), 'body-invalid'],
      [event({}, { type: 'io.rescind.everything' }), 'body-invalid'],
      [event({}, { time: '2027-01-01T00:00:00Z' }), 'time-out-of-range'],
      [event({ effectiveAt: '2036-01-01T00:00:00Z' }), 'time-out-of-range'],
      [event({ scope: { kind: 'owner', id: 'alice' } }), 'body-invalid'],
    ]
    for (const [body, code] of bodies)
      for (let twice = 0; twice < 2; twice += 1) expect((await call('POST', '/v1/events', SENDER, body)).body.code).toBe(code)
    const kept = await call('GET', '/v1/quarantine', VIEWER)
    expect(kept.body.entries).toHaveLength(bodies.length)
    expect(JSON.stringify(kept.body)).not.toContain(secret)
  })

  it('an oversized body, a foreign media type and a foreign cursor are told apart', async () => {
    const { call, lease, event } = await api()
    expect((await call('POST', '/v1/leases', app, lease('one', { purpose: 'x'.repeat(70_000) }))).status).toBe(413)
    expect((await call('POST', '/v1/events', SENDER, event({}), { 'content-type': 'text/plain' })).status).toBe(415)
    expect((await call('GET', '/v1/leases?cursor=AAAA', app)).body.code).toBe('body-invalid')
    expect((await call('GET', '/v1/leases?limit=100000', app)).body.code).toBe('body-invalid')
    expect((await call('GET', '/v1/leases/nothing', app)).status).toBe(404)
  })

  it('one idempotency key is one lease; another body under it is a conflict', async () => {
    const { call, lease } = await api()
    const key = { 'idempotency-key': 'the-very-same' }
    const body = lease('one')
    const first = await call('POST', '/v1/leases', app, body, key)
    const second = await call('POST', '/v1/leases', app, body, key)
    expect([first.status, second.status, second.body.id === first.body.id]).toEqual([201, 200, true])
    expect((await call('POST', '/v1/leases', app, { ...body, purpose: 'other' }, key)).body.code).toBe('idempotency-conflict')
    expect((await call('POST', '/v1/leases', app, body, { 'idempotency-key': 'short' })).body.code).toBe('body-invalid')
  })
})
