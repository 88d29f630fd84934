import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import type { ReportedCase } from '../../functions/contracts/report.ts'
import { viewOfCase } from '../../functions/domain/views.ts'
import { busIntake } from '../../functions/intake/bus.ts'
import { intakeRoutes } from '../../functions/intake/http.ts'
import type { Definition } from '../../functions/providers/contract.ts'
import type { Authenticate } from '../../functions/runtime/authentication.ts'
import { dispatcher } from '../../functions/runtime/dispatch.ts'
import { httpHandler } from '../../functions/runtime/http.ts'
import { jsonLog } from '../../functions/runtime/log.ts'
import { ProblemError } from '../../functions/runtime/problem-error.ts'
import { signWebhook } from '../../functions/runtime/webhook-signature.ts'
import { fakeDefinition } from '../support/fake-issuer.ts'
import { fixedMac, Pipeline, settings } from '../support/pipeline.ts'
import { SECRET, secretPipeline } from '../support/secret-issuer.ts'

/** `POST /v1/reports`: leaked credentials as people have them in hand, over the routes as they are deployed. */

const RESPONDER = 'spiffe://example.org/soc/responder'
const HR = 'spiffe://example.org/hr'
const KEY = `whsec_${Buffer.alloc(32, 1).toString('base64')}`

function reportsApi(pipeline: Pipeline) {
  const { table, clock } = pipeline
  const all = {
    ...settings,
    grants: [
      ...settings.grants,
      { right: 'source' as const, caller: RESPONDER, source: 'soc' },
      { right: 'source' as const, caller: HR, source: 'ci' },
    ],
    sources: [
      ...settings.sources,
      { name: 'soc', triggers: ['compromise' as const], namespaces: [], secrets: ['soc'], busSource: 'soc.bus' },
    ],
  }
  const authenticate: Authenticate = async ({ headers }) => {
    const uri = headers.authorization
    if (uri === undefined) throw new ProblemError('unauthenticated')
    return { uri, kind: 'svid', namespace: 'ci' }
  }
  const names = ['p0', 'p1', 'p2'].flatMap((lane) => [`plan-${lane}`, `work-fake-${lane}`])
  const logged: string[] = []
  const log = jsonLog({ clock, write: (line) => void logged.push(line) })
  const ports = {
    table,
    dispatch: dispatcher(table, pipeline.queues, names),
    clock,
    settings: all,
    catalog: { fake: pipeline.definition },
    mac: fixedMac,
    authenticate,
    secrets: { get: async () => KEY },
    log,
  }
  const handler = httpHandler(intakeRoutes(ports), { log, bodyBytes: all.limits.bodyBytes })
  const answered: string[] = []
  const post = async (path: string, headers: Readonly<Record<string, string>>, body: unknown) => {
    const answer = await handler({
      version: '2.0',
      headers: { 'content-type': 'application/json', ...headers },
      requestContext: { requestId: 'r', http: { method: 'POST', path } },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
    answered.push(JSON.stringify(answer))
    return { status: answer.statusCode, body: JSON.parse(answer.body) }
  }
  let count = 0
  const report = async (body: unknown, caller = RESPONDER, key?: string) => {
    count += 1
    return post('/v1/reports', { authorization: caller, 'idempotency-key': key ?? `report-${count}-key` }, body)
  }
  return { report, post, logged, answered, bus: busIntake(ports) }
}

const leaked = (...texts: string[]) => ({ reason: 'found in a repository', credentials: texts.map((text) => ({ text })) })

/** Everything that is kept, sent or said. */
const everything = (pipeline: Pipeline, api: ReturnType<typeof reportsApi>): string =>
  JSON.stringify([
    pipeline.table.all(),
    pipeline.table.changes,
    pipeline.index.all(),
    [...pipeline.archived],
    pipeline.sent,
    pipeline.announced,
    pipeline.logged,
    api.logged,
    api.answered,
  ])

describe('a report', () => {
  it('opens a compromise for each credential, and tells what each was read as', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('known')
    db.mint('wild')
    const { report } = reportsApi(pipeline)
    const { status, body } = await report(leaked('fake:known', 'fake:wild:with-a-password', 'whatever', 'fake:nowhere'))
    expect(status).toBe(202)
    expect(body.credentials).toMatchObject([
      { status: 'opened', readAs: [{ issuer: 'db', shown: 'fake credential known' }] },
      { status: 'opened', readAs: [{ issuer: 'db', shown: 'fake credential wild' }] },
      { status: 'unrecognised' },
      { status: 'opened' },
    ])
    expect(body.campaign).toBe('report report-1-key')
    await pipeline.settle()
    await pipeline.pass(60)
    expect(db.alive()).toEqual([])
    const cases = body.credentials.flatMap((one: ReportedCase) => (one.case === undefined ? [] : [one.case]))
    expect(new Set(cases).size).toBe(3)
    for (const id of cases)
      expect(viewOfCase(pipeline.case(id))).toMatchObject({
        state: 'closed',
        type: 'compromise',
        source: 'soc',
        reason: 'found in a repository',
      })
    const campaigns = cases.map((id: string) => pipeline.case(id).campaign)
    expect(new Set(campaigns).size).toBe(1)
    expect(campaigns[0]).toBeDefined()
  })

  it('that comes again opens nothing twice; another report of the same credential does', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('wild')
    const { report } = reportsApi(pipeline)
    const first = await report(leaked('fake:wild'), RESPONDER, 'the-same-key')
    const again = await report(leaked('fake:wild'), RESPONDER, 'the-same-key')
    expect([first.status, again.status]).toEqual([202, 200])
    expect(again.body.credentials).toMatchObject([{ status: 'replayed', case: first.body.credentials[0].case }])
    const other = await report({ ...leaked('fake:wild'), campaign: 'another' })
    expect(other.body.credentials[0].case).not.toBe(first.body.credentials[0].case)
    await pipeline.settle()
    await pipeline.pass(300)
    for (const { body } of [first, other])
      expect(viewOfCase(pipeline.case(body.credentials[0].case))).toMatchObject({
        state: 'closed',
        amendments: { expected: 1, done: 1, outcomes: { revoked: 1 } },
      })
    expect(db.calls.filter((call) => call.startsWith('revoke'))).toHaveLength(1)
  })

  it('names one credential twice: one case', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const { report } = reportsApi(pipeline)
    const { body } = await report(leaked('fake:wild', ' fake:wild\n', 'fake:other'))
    expect(body.credentials.map(({ status }: ReportedCase) => status)).toEqual(['opened', 'repeated', 'opened'])
    expect(body.credentials[1].case).toBe(body.credentials[0].case)
  })

  it('of one credential is no campaign of its own', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const { report } = reportsApi(pipeline)
    const { body } = await report(leaked('fake:wild'))
    expect(body.campaign).toBeUndefined()
    expect(pipeline.case(body.credentials[0].case).campaign).toBeUndefined()
  })

  it('is taken from those alone who may report a compromise, and from signed senders', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const { report, post } = reportsApi(pipeline)
    expect((await report(leaked('fake:wild'), HR)).body.code).toBe('forbidden')
    expect((await report(leaked('fake:wild'), 'spiffe://example.org/stranger')).body.code).toBe('forbidden')
    expect((await post('/v1/reports', { 'idempotency-key': 'report-key' }, leaked('fake:wild'))).status).toBe(401)
    expect(pipeline.table.all().filter(({ kind }) => kind === 'case')).toEqual([])
    const body = JSON.stringify(leaked('fake:wild'))
    const signed = signWebhook({ id: 'message-1', timestamp: pipeline.now, body, secret: KEY })
    expect((await post('/v1/reports', { ...signed, 'rescind-source': 'soc' }, body)).status).toBe(202)
    expect((await post('/v1/reports', { ...signed, 'rescind-source': 'soc' }, body)).status).toBe(200)
  })

  it('that is malformed, too large or without a key is refused; one wrong entry holds up no other', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const { report, post } = reportsApi(pipeline)
    expect((await post('/v1/reports', { authorization: RESPONDER }, leaked('fake:wild'))).body.code).toBe('body-invalid')
    expect((await report({ reason: 'x', credentials: [] })).body.code).toBe('body-invalid')
    expect((await report(leaked(...Array.from({ length: 501 }, (_, index) => `fake:${index}`)))).body.code).toBe('body-invalid')
    expect((await report('x'.repeat(1_100_000))).body.code).toBe('body-too-large')
    expect((await report(leaked('nothing', 'of the kind'))).body).toMatchObject({
      code: 'credential-unrecognised',
      errors: [{ path: '/credentials/0/text' }, { path: '/credentials/1/text' }],
    })
    const { body } = await report({
      reason: 'x',
      credentials: [
        { text: 'fake:wild', issuer: 'elsewhere' },
        { text: 'fake:wild', issuer: 'db' },
      ],
    })
    expect(body.credentials).toMatchObject([{ status: 'refused', said: expect.any(String) }, { status: 'opened' }])
  })

  it('of five hundred is taken within seconds: some calls for each, side by side but not all at once', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const { report } = reportsApi(pipeline)
    let calls = 0
    let under = 0
    let most = 0
    pipeline.table.before = async () => {
      calls += 1
      under += 1
      most = Math.max(most, under)
      for (let turn = 0; turn < 5; turn += 1) await Promise.resolve()
      under -= 1
    }
    const texts = Array.from({ length: 500 }, (_, index) => `fake:leak-${index}:${randomBytes(600).toString('hex')}`)
    const { status, body } = await report(leaked(...texts))
    expect(status).toBe(202)
    expect(body.credentials.every((one: ReportedCase) => one.status === 'opened')).toBe(true)
    expect(calls / 500).toBeLessThan(8)
    expect(most).toBeGreaterThan(8)
    expect(most).toBeLessThanOrEqual(64)
  })

  it('that fails in the middle is sent again, and opens what is missing', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const { report } = reportsApi(pipeline)
    const texts = Array.from({ length: 40 }, (_, index) => `fake:leak-${index}`)
    let calls = 0
    pipeline.table.before = () => {
      calls += 1
      if (calls > 60 && calls < 80) throw new Error('the table does not answer')
    }
    expect((await report(leaked(...texts), RESPONDER, 'the-same-key')).status).toBe(500)
    pipeline.table.before = () => {}
    const { status, body } = await report(leaked(...texts), RESPONDER, 'the-same-key')
    expect(status).toBe(202)
    const cases = pipeline.table.all().filter(({ kind }) => kind === 'case')
    expect(cases).toHaveLength(40)
    expect(new Set(body.credentials.map((one: ReportedCase) => one.case)).size).toBe(40)
  })
})

describe('a pasted secret', () => {
  const password = 'pl41n-0f-h0pe-9f3c2a'

  it('stands nowhere: not in the table, its stream, the index, the archive, a message, a log, an answer, an event', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('known')
    db.mint('wild')
    const api = reportsApi(pipeline)
    await api.report(leaked(`fake:known:${password}`, `fake:wild:${password}`, `fake:nowhere:${password}`, `${password}`))
    await pipeline.settle()
    await pipeline.pass(7200)
    expect(db.alive()).toEqual([])
    expect(everything(pipeline, api)).not.toContain(password)
  })

  it('stands nowhere where it was pasted in the wrong place either', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const api = reportsApi(pipeline)
    const text = `fake:wild:${password}`
    const wrong = [
      { reason: `I found ${text}`, credentials: [{ text }] },
      { reason: 'x', campaign: text, credentials: [{ text }] },
      { reason: 'x', credentials: [text] },
      { reason: 'x', credentials: [{ secret_pl41n: text, text }] },
      { reason: 'x', credentials: [{ text, issuer: password }] },
      { reason: 'x', credentials: [{ text: { password: text } }] },
      { reason: 'x', credentials: [{ text: 'fake:x', [password.replaceAll('-', '_')]: 1 }] },
      `{"reason": ${text}`,
    ]
    for (const body of wrong) expect((await api.report(body)).status).toBeGreaterThanOrEqual(400)
    await api.report({ reason: 'x', credentials: [{ text }] }, RESPONDER, `key-${text}`)
    await pipeline.settle()
    expect(pipeline.table.all().filter(({ kind }) => kind === 'case')).toEqual([])
    expect(pipeline.table.all().filter(({ kind }) => kind === 'quarantine').length).toBeGreaterThanOrEqual(wrong.length)
    const all = everything(pipeline, api)
    expect(all).not.toContain(password)
    expect(all).not.toContain(password.replaceAll('-', '_'))
  })

  it('that comes as a trigger, by HTTP or by the bus, is dropped as well', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('wild')
    db.mint('other')
    const api = reportsApi(pipeline)
    const trigger = (name: string, reason = 'x') => ({
      specversion: '1.0',
      id: `event-${reason.length}-${name.length}`,
      source: 'urn:soc',
      type: 'io.rescind.compromise',
      data: { scope: { kind: 'credential-name', name }, reason },
    })
    const event = (body: unknown) => api.post('/v1/events', { authorization: RESPONDER }, body)
    expect((await event(trigger(`fake:wild:${password}`))).status).toBe(202)
    expect((await event(trigger(`nothing:${password}`))).status).toBe(422)
    expect((await event(trigger(`fake:wild:${password}`, `see fake:wild:${password}`))).status).toBe(400)
    await api.bus({
      id: '1',
      source: 'soc.bus',
      account: '1',
      'detail-type': 'io.rescind.compromise',
      detail: trigger(`fake:other:${password}`),
    })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(everything(pipeline, api)).not.toContain(password)
  })

  it('finds the lease that it was registered with, though neither is stored', async () => {
    const definition: Definition = {
      ...(fakeDefinition() as Definition),
      credential: (_target, secret, mac) => `token:${mac(JSON.stringify(secret))}`,
      recognise: (text, mac) =>
        text.startsWith('tok_')
          ? { credential: `token:${mac(JSON.stringify({ token: text }))}`, shown: 'a token', query: {} }
          : undefined,
    }
    const { pipeline, opened } = await secretPipeline(definition)
    const api = reportsApi(pipeline)
    const { body } = await api.report(leaked(SECRET))
    await pipeline.settle()
    expect(opened).toEqual([SECRET])
    expect(viewOfCase(pipeline.case(body.credentials[0].case))).toMatchObject({ state: 'closed', outcomes: { revoked: 1 } })
    expect(everything(pipeline, api)).not.toContain(SECRET)
  })
})
