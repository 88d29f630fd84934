import { describe, expect, it } from 'vitest'
import { intakeRoutes } from '../../functions/intake/http.ts'
import { rankOf, registerRoutes } from '../../functions/register/routes.ts'
import type { Admission } from '../../functions/runtime/admission.ts'
import { admission, admitted } from '../../functions/runtime/admission.ts'
import type { Authenticate } from '../../functions/runtime/authentication.ts'
import { dispatcher } from '../../functions/runtime/dispatch.ts'
import { httpHandler } from '../../functions/runtime/http.ts'
import { fileKeys } from '../../functions/runtime/keys.ts'
import { ProblemError } from '../../functions/runtime/problem-error.ts'
import { sealer } from '../../functions/runtime/sealing.ts'
import { ONE, operatorsApi } from '../support/api.ts'
import { app, BROKER, fixedMac, Pipeline, settings } from '../support/pipeline.ts'
import { testRandomness } from '../support/tools.ts'

const SENDER = 'spiffe://example.org/sender'

/** The public API of a pipeline whose store refuses calls for their rate. */
function border(pipeline: Pipeline) {
  const { table, clock, random, log } = pipeline
  const admit: Admission = admission({ clock, random: testRandomness(3), metrics: pipeline.metrics })
  const authenticate: Authenticate = async ({ headers }) => {
    const uri = headers.authorization
    if (uri === undefined) throw new ProblemError('unauthenticated')
    return { uri, kind: 'svid', namespace: 'ci' }
  }
  const all = { ...settings, grants: [...settings.grants, { right: 'source' as const, caller: SENDER, source: 'all' }] }
  const names = ['p0', 'p1', 'p2'].flatMap((lane) => [`plan-${lane}`, `work-fake-${lane}`])
  const dispatch = dispatcher(table, pipeline.queues, names)
  const common = { table, dispatch, clock, settings: all, authenticate, catalog: { fake: pipeline.definition }, mac: fixedMac }
  const seal = sealer({ keys: fileKeys(new Uint8Array(32).fill(7), random), clock, random })
  const handler = httpHandler(
    [
      ...admitted(admit.admit, registerRoutes({ ...common, random, seal }), rankOf),
      ...intakeRoutes({ ...common, secrets: { get: async () => '' }, admit: admit.admit }),
    ],
    { log, bodyBytes: all.limits.bodyBytes },
  )
  const call = async (path: string, caller: string, body: unknown, headers: Record<string, string> = {}) =>
    handler({
      version: '2.0',
      headers: { 'content-type': 'application/json', authorization: caller, ...headers },
      requestContext: { requestId: 'r', http: { method: 'POST', path } },
      body: JSON.stringify(body),
    })
  let events = 0
  const event = (type: string, scope: unknown) => {
    events += 1
    const data = { scope, reason: 'test' }
    return call('/v1/events', SENDER, {
      specversion: '1.0',
      id: `e-${events}`,
      source: 'urn:t',
      type: `io.rescind.${type}`,
      data,
    })
  }
  /** As much as can be: the share of what may wait is at its least. */
  const overload = (signs = 30) => {
    for (let sign = 0; sign < signs; sign += 1) {
      admit.throttled()
      pipeline.now += 200
    }
  }
  return { call, event, overload }
}

describe('a border under overload', () => {
  it('takes every compromise and answers what may wait with 429 and a time, keeping nothing of it', async () => {
    const pipeline = new Pipeline()
    const issuer = await pipeline.issuer()
    await pipeline.lease('a')
    const { event, overload } = border(pipeline)
    overload()
    const scope = { kind: 'identity', id: app }
    const answers = []
    for (let one = 0; one < 20; one += 1) answers.push(await event('offboarding', scope))
    const shed = answers.filter(({ statusCode }) => statusCode === 429)
    expect(shed.length).toBeGreaterThan(14)
    expect(JSON.parse(shed[0]?.body ?? '')).toMatchObject({ code: 'overloaded', status: 429 })
    expect(Number(shed[0]?.headers['retry-after'])).toBeGreaterThan(0)
    expect(pipeline.table.all().filter(({ kind }) => kind === 'quarantine')).toEqual([])
    expect(pipeline.counted).toContain('Shed store-deferrable')
    for (let one = 0; one < 20; one += 1) {
      overload()
      expect((await event('compromise', scope)).statusCode).toBeLessThan(300)
    }
    await pipeline.settle()
    expect(issuer.alive()).toEqual([])
  })

  it('sheds new leases before renewals, and a shed registration has left no trace', async () => {
    const pipeline = new Pipeline()
    const issuer = await pipeline.issuer()
    const lease = await pipeline.lease('kept')
    const { call, overload } = border(pipeline)
    const renewals: number[] = []
    const shed: number[] = []
    for (let one = 0; one < 40; one += 1) {
      // Three signs: an eighth is left of what may wait, half of what keeps things as they are.
      if (one % 4 === 0) {
        pipeline.now += 20_000
        overload(3)
      }
      issuer.mint(`new-${one}`)
      const body = {
        identity: app,
        issuer: 'db',
        kind: 'dynamic',
        registers: 'credential',
        target: { name: `new-${one}` },
        consumer: 'app',
        purpose: 'test',
        expiresAt: new Date(pipeline.now + 3_600_000).toISOString(),
        owner: 'alice',
      }
      const made = await call('/v1/leases', BROKER.uri, body, { 'idempotency-key': `key-new-${one}-1234` })
      if (made.statusCode === 429) shed.push(one)
      const renewed = await call(`/v1/leases/${lease.id}/renew`, BROKER.uri, {
        expiresAt: new Date(pipeline.now + 90_000_000).toISOString(),
      })
      if (renewed.statusCode !== 429) renewals.push(renewed.statusCode)
    }
    expect(shed.length).toBeGreaterThan(25)
    expect(renewals).toEqual(renewals.map(() => 200))
    expect(renewals.length).toBeGreaterThan(2 * (40 - shed.length))
    const known = pipeline.table.all().filter(({ kind }) => kind === 'lease').length
    expect(known).toBe(1 + 40 - shed.length)
  })

  it('does not stand between an operator and the kill switch', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const { overload } = border(pipeline)
    const api = operatorsApi(pipeline)
    overload()
    for (let one = 0; one < 10; one += 1)
      expect((await api('PUT', '/v1/control/kill-switch', ONE, { engaged: one % 2 === 0, reason: 'test' })).status).toBe(200)
  })
})
