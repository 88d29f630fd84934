import { describe, expect, it } from 'vitest'
import { instant } from '../../functions/domain/time.ts'
import type { Definition } from '../../functions/providers/contract.ts'
import { ONE, operatorsApi, VIEWER } from '../support/api.ts'
import { MemoryDeadLetters } from '../support/dead-letters.ts'
import { fakeDefinition } from '../support/fake-issuer.ts'
import { Pipeline } from '../support/pipeline.ts'

/** Discoveries over the operators' API: what it answers, and what it refuses. */

const NOBODY = 'b'.repeat(26)
const RUNS = '/v1/issuers/db/discoveries'

async function begun() {
  const pipeline = new Pipeline({ definition: fakeDefinition({ discovers: true }) as Definition })
  const api = operatorsApi(pipeline)
  const db = await pipeline.issuer()
  return { pipeline, api, db }
}

describe('the routes of discoveries', () => {
  it('begin one, find the one that runs, show it, and page its findings', async () => {
    const { pipeline, api, db } = await begun()
    for (let number = 0; number < 5; number += 1) db.mint(`wild-${number}`)
    const asked = await api('POST', RUNS, ONE, { reason: 'a look before the audit' })
    expect(asked).toMatchObject({ status: 200, body: { state: 'listing', requester: ONE, reason: 'a look before the audit' } })
    const { id } = asked.body
    expect(await api('POST', RUNS, VIEWER, {})).toMatchObject({ status: 200, body: { id, requester: ONE } })
    await pipeline.pass(240)
    expect(await api('GET', `${RUNS}/${id}`, VIEWER)).toMatchObject({
      status: 200,
      body: { state: 'done', counts: { listed: 5 }, findings: { unregistered: { found: 5, kept: 5, new: 5 } } },
    })
    expect((await api('GET', RUNS, ONE)).body.entries.map((one: { id: string }) => one.id)).toEqual([id])
    const shown: string[] = []
    let path = `${RUNS}/${id}/findings?limit=2`
    for (;;) {
      const { status, body } = await api('GET', path, ONE)
      expect(status).toBe(200)
      expect(body.entries.length).toBeLessThanOrEqual(2)
      shown.push(...body.entries.map((one: { shown: string }) => one.shown))
      if (body.next === undefined) break
      path = `${RUNS}/${id}/findings?limit=2&cursor=${encodeURIComponent(body.next)}`
    }
    expect(shown.sort()).toEqual([0, 1, 2, 3, 4].map((number) => `fake credential wild-${number}`))
    expect((await api('GET', `${RUNS}/${id}/findings?kind=gone`, ONE)).body).toEqual({ entries: [] })
    expect((await api('GET', `${RUNS}/${id}/findings?kind=unregistered`, ONE)).body.entries).toHaveLength(5)
  })

  it('take an acceptance and its end', async () => {
    const { pipeline, api, db } = await begun()
    db.mint('legacy')
    const { body } = await api('POST', RUNS, ONE, {})
    await pipeline.pass(240)
    const findings = `${RUNS}/${body.id}/findings`
    const [{ fingerprint }] = (await api('GET', findings, ONE)).body.entries
    const path = `/v1/issuers/db/findings/${fingerprint}`
    const until = instant(pipeline.now + 86_400_000)
    const accept = { decision: 'accept', kind: 'unregistered', reason: 'moves next week', until }
    expect(await api('POST', path, ONE, accept)).toMatchObject({ status: 200, body: { accepted: { by: ONE, until } } })
    expect((await api('GET', findings, ONE)).body.entries).toMatchObject([{ accepted: { reason: 'moves next week' } }])
    const withdraw = { decision: 'withdraw', kind: 'unregistered', reason: 'it has moved' }
    expect((await api('POST', path, ONE, withdraw)).body).toEqual({ withdrawn: true })
    expect((await api('GET', findings, ONE)).body.entries[0]).not.toHaveProperty('accepted')
  })

  it('refuse whoever is no operator', async () => {
    const { api } = await begun()
    for (const [method, path, body] of [
      ['POST', RUNS, {}],
      ['GET', RUNS, undefined],
      ['GET', `${RUNS}/${NOBODY}`, undefined],
      ['GET', `${RUNS}/${NOBODY}/findings`, undefined],
      ['POST', `/v1/issuers/db/findings/${NOBODY}`, { decision: 'accept', kind: 'gone', reason: 'x' }],
    ] as const) {
      expect(await api(method, path, 'spiffe://example.org/app', body)).toMatchObject({
        status: 403,
        body: { code: 'forbidden' },
      })
      expect(await api(method, path, undefined, body)).toMatchObject({ status: 401 })
    }
  })

  it('refuse what is not as it should be, with a code and nothing done', async () => {
    const { pipeline, api, db } = await begun()
    db.mint('legacy')
    const { body } = await api('POST', RUNS, ONE, {})
    await pipeline.pass(240)
    const findings = `${RUNS}/${body.id}/findings`
    const [{ fingerprint }] = (await api('GET', findings, ONE)).body.entries
    const path = `/v1/issuers/db/findings/${fingerprint}`
    const accept = { decision: 'accept', kind: 'unregistered', reason: 'x' }
    const place = (text: string) => Buffer.from(text).toString('base64url')
    const cases: readonly [string, string, unknown, number, string][] = [
      ['POST', '/v1/issuers/NO%20NAME/discoveries', {}, 400, 'body-invalid'],
      ['POST', '/v1/issuers/nowhere/discoveries', {}, 422, 'issuer-unknown'],
      ['POST', RUNS, { why: 'unknown field' }, 400, 'body-invalid'],
      ['POST', RUNS, { reason: '' }, 400, 'body-invalid'],
      ['POST', RUNS, { reason: 'x'.repeat(1025) }, 400, 'body-invalid'],
      ['GET', `${RUNS}/${NOBODY}`, undefined, 404, 'not-found'],
      ['GET', `${RUNS}/../../etc`, undefined, 404, 'not-found'],
      ['GET', `${RUNS}/${NOBODY}/findings`, undefined, 404, 'not-found'],
      ['GET', `${findings}?cursor=nonsense`, undefined, 400, 'body-invalid'],
      ['GET', `${findings}?cursor=${place('SEEN#000000000')}`, undefined, 400, 'body-invalid'],
      ['GET', `${findings}?cursor=${place(`FIND#gone#${NOBODY}#x`)}`, undefined, 400, 'body-invalid'],
      ['GET', `${findings}?kind=secret`, undefined, 400, 'body-invalid'],
      ['GET', `${findings}?limit=0`, undefined, 400, 'body-invalid'],
      ['POST', path, { ...accept, kind: 'gone' }, 404, 'not-found'],
      ['POST', path, { ...accept, reason: '' }, 400, 'body-invalid'],
      ['POST', path, { ...accept, until: 'tomorrow' }, 400, 'body-invalid'],
      ['POST', path, { ...accept, until: instant(pipeline.now) }, 422, 'time-out-of-range'],
      ['POST', path, { ...accept, decision: 'ignore' }, 400, 'body-invalid'],
      ['POST', path, { ...accept, more: 1 }, 400, 'body-invalid'],
      ['POST', '/v1/issuers/db/findings/nonsense', accept, 404, 'not-found'],
      ['POST', `/v1/issuers/db/findings/${NOBODY}`, accept, 404, 'not-found'],
    ]
    const before = JSON.stringify(pipeline.table.all())
    for (const [method, where, content, status, code] of cases) {
      const answer = await api(method, where, ONE, content)
      expect([method, where, answer.status, answer.body.code]).toEqual([method, where, status, code])
    }
    expect(JSON.stringify(pipeline.table.all())).toBe(before)
    expect(JSON.stringify(await api('GET', findings, ONE))).not.toContain('"target"')
  })

  it('are explained where a message of one lies among the dead letters', async () => {
    const { pipeline, db } = await begun()
    const deadLetters = new MemoryDeadLetters(pipeline)
    const api = operatorsApi(pipeline, { deadLetters })
    db.mint('shadow')
    const { body } = await api('POST', RUNS, ONE, {})
    const message = { v: 1, kind: 'discover', issuer: 'db' }
    deadLetters.put('work-fake-p2-dead', { ...message, discovery: body.id })
    deadLetters.put('work-fake-p2-dead', { ...message, discovery: NOBODY })
    const shown = async () => (await api('GET', '/v1/dead-letters/work-fake-p2-dead', ONE)).body.entries
    expect(await shown()).toMatchObject([
      { kind: 'discover', issuer: 'db', says: 'the discovery is listing', over: false },
      { kind: 'discover', says: expect.stringContaining('not in the table'), over: false },
    ])
    await pipeline.pass(240)
    expect(await shown()).toMatchObject([{ says: 'the discovery is done', over: true }, {}])
  })

  it('refuse a provider that cannot list, and take how often an issuer is listed with its declaration', async () => {
    const pipeline = new Pipeline()
    const api = operatorsApi(pipeline)
    await pipeline.issuer()
    expect(await api('POST', RUNS, ONE, {})).toMatchObject({ status: 409, body: { code: 'discovery-refused' } })
    const declaration = { provider: 'fake', settings: {} }
    for (const [seconds, status] of [
      [0, 200],
      [3600, 200],
      [60, 400],
      [-1, 400],
      ['daily', 400],
    ] as const) {
      const answer = await api('PUT', '/v1/issuers/db', ONE, { ...declaration, discoverEverySeconds: seconds })
      expect([seconds, answer.status]).toEqual([seconds, status])
      if (status === 200) expect(answer.body.discoverEverySeconds).toBe(seconds)
    }
    expect((await api('PUT', '/v1/issuers/db', ONE, declaration)).body).not.toHaveProperty('discoverEverySeconds')
  })
})
