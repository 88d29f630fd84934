import { describe, expect, it } from 'vitest'
import type { Discipline } from '../../functions/contracts/discipline.ts'
import { LeaseAnswer } from '../../functions/contracts/lease.ts'
import { SpoolResult } from '../../functions/contracts/outage.ts'
import { Problem } from '../../functions/contracts/problem.ts'
import type { Settings } from '../../functions/contracts/settings.ts'
import { instant } from '../../functions/domain/time.ts'
import type { Json, Note } from '../../lib/client/spool.ts'
import { signNote } from '../../lib/client/spool.ts'
import { leasesApi } from '../support/leases-api.ts'
import { app, BROKER, Pipeline, START } from '../support/pipeline.ts'
import { refusal } from '../support/refusal.ts'

const OPERATOR = 'spiffe://example.org/operator/one'
const CI = 'spiffe://example.org/ci/build'
const MINUTE = 60_000
const at = (minutes: number) => instant(START + minutes * MINUTE)

const discipline: Discipline = {
  classes: [
    { name: 'job', match: { identities: ['spiffe://example.org/ci/**'] }, maxTtlSeconds: 7200, window: 'task', outage: 'spool' },
    { name: 'rest', match: {}, maxTtlSeconds: 86_400 },
  ],
  rules: { owners: ['*@example.org'], consumer: { patterns: ['svc:*'] }, purpose: { minLength: 8 } },
}
const GOOD = { owner: 'alice@example.org', consumer: app, purpose: 'reads the orders', expiresAt: at(60) }

async function started(change: Partial<Settings> = {}) {
  const settings = { discipline, ...change }
  const pipeline = new Pipeline({ settings })
  const db = await pipeline.issuer()
  await pipeline.pass(120)
  return { pipeline, db, call: leasesApi(pipeline, settings) }
}
const body = (name: string, change: Record<string, Json> = {}): Record<string, Json> => ({
  identity: CI,
  issuer: 'db',
  kind: 'dynamic',
  registers: 'credential',
  target: { name },
  task: { id: '7', endsBy: at(120) },
  ...GOOD,
  ...change,
})

describe('discipline at the door', () => {
  it('takes what keeps it, and shows the class', async () => {
    const { pipeline, db } = await started()
    expect(await pipeline.lease('a', GOOD)).toMatchObject({ state: 'live', class: 'rest', onExpiry: 'cut', outage: 'closed' })
    expect(db.alive()).toEqual(['a'])
  })

  it('refuses with the name of every broken rule, and leaves nothing behind', async () => {
    const { pipeline, call, db } = await started()
    db.mint('a')
    const before = pipeline.table.all().length
    const answer = await call(
      'POST',
      '/v1/leases',
      BROKER.uri,
      body('a', { identity: app, consumer: 'Team-Orders', purpose: 'test', owner: 'somebody', expiresAt: at(60 * 30) }),
      { 'idempotency-key': 'key-a-1234' },
    )
    expect(answer.status).toBe(422)
    expect(Problem.parse(answer.body)).toMatchObject({
      code: 'discipline',
      detail: 'the discipline is broken: ttl, owner, consumer, purpose',
      errors: [
        { rule: 'ttl', path: '/expiresAt' },
        { rule: 'owner', path: '/owner' },
        { rule: 'consumer', path: '/consumer' },
        { rule: 'purpose', path: '/purpose' },
      ],
    })
    expect(pipeline.table.all().length).toBe(before)
  })

  it('holds a lease to the window of its job, at the registration and at each renewal', async () => {
    const { pipeline } = await started()
    const job = { ...GOOD, identity: CI }
    expect((await refusal(pipeline.lease('a', job))).errors).toMatchObject([{ rule: 'window', path: '/task/endsBy' }])
    const late = pipeline.lease('a', { ...job, task: { id: '7', endsBy: at(59) } })
    expect((await refusal(late)).errors).toMatchObject([{ rule: 'window', path: '/expiresAt' }])
    const lease = await pipeline.lease('a', { ...job, task: { id: '7', endsBy: at(90) } })
    expect(lease).toMatchObject({ class: 'job', task: { id: '7', namespace: 'ci', endsBy: at(90) } })
    expect((await refusal(pipeline.leases.renew(lease.id, { expiresAt: at(91) }, BROKER))).errors).toMatchObject([
      { rule: 'window' },
    ])
    expect(await pipeline.leases.renew(lease.id, { expiresAt: at(90) }, BROKER)).toMatchObject({ expiresAt: at(90) })
  })

  it('counts the life of a renewed lease from the renewal', async () => {
    const { pipeline } = await started()
    const lease = await pipeline.lease('a', { ...GOOD, expiresAt: at(20 * 60) })
    await pipeline.pass(19 * 3600)
    expect((await refusal(pipeline.leases.renew(lease.id, { expiresAt: at(60 * 44) }, BROKER))).code).toBe('discipline')
    expect(await pipeline.leases.renew(lease.id, { expiresAt: at(60 * 43) }, BROKER)).toMatchObject({ class: 'rest' })
  })

  it('a retry of what was taken is not judged again', async () => {
    const { pipeline, db } = await started()
    await pipeline.lease('a', GOOD)
    pipeline.now += 30 * MINUTE
    expect((await pipeline.lease('a', GOOD)).state).toBe('live')
    expect(db.alive()).toEqual(['a'])
  })

  it('what exists under a fence is recorded and cut, whatever rule it breaks; an intent is refused', async () => {
    const { pipeline, db } = await started()
    await pipeline.lease('good', GOOD)
    await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    const bad = { ...GOOD, owner: 'alice@example.org', consumer: 'prod', purpose: 'x', expiresAt: at(60 * 48) }
    expect(await refusal(pipeline.lease('late', bad))).toMatchObject({ code: 'fenced' })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    const intent = { ...bad, registers: 'intent' as const, mintBy: at(10) }
    expect(await refusal(pipeline.lease('intent', intent))).toMatchObject({ code: 'discipline' })
  })

  it('an owner who left does not resolve, but what she already holds through a new identity is recorded and cut', async () => {
    const { pipeline, db } = await started()
    await pipeline.lease('a', GOOD)
    await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice@example.org' })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    const fresh = { ...GOOD, identity: 'spiffe://example.org/fresh' }
    expect(await refusal(pipeline.lease('late', fresh))).toMatchObject({ code: 'fenced' })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    const intent = { ...fresh, identity: 'spiffe://example.org/fresher', registers: 'intent' as const, mintBy: at(10) }
    expect((await refusal(pipeline.lease('intent', intent))).errors).toMatchObject([{ rule: 'owner' }])
  })

  it('an orphan goes on working until its deadline', async () => {
    const { pipeline, db } = await started()
    const lease = await pipeline.lease('a', { ...GOOD, ownerLeaves: 'reassign' })
    await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice@example.org' })
    await pipeline.settle()
    expect(await pipeline.leases.renew(lease.id, { expiresAt: at(90) }, BROKER)).toMatchObject({ state: 'live' })
    await pipeline.lease('b', GOOD)
    expect(db.alive()).toEqual(['a', 'b'])
  })

  it('asks nothing where there is none', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const lease = await pipeline.lease('a', { consumer: 'prod', purpose: 'x', owner: '?' })
    expect(lease).toMatchObject({ state: 'live', onExpiry: 'cut', outage: 'closed' })
    expect(lease.class).toBeUndefined()
  })
})

describe('what is live and would be refused now', () => {
  it('is listed with the rules that it breaks, by the classes of now', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const call = leasesApi(pipeline, { discipline })
    await pipeline.lease('good', GOOD)
    const bad = await pipeline.lease('bad', { ...GOOD, consumer: 'prod', expiresAt: at(60 * 48) })
    const job = await pipeline.lease('job', { ...GOOD, identity: CI })
    await pipeline.lease('cut', { ...GOOD, identity: 'spiffe://example.org/gone', consumer: 'prod' })
    await pipeline.trigger('compromise', { kind: 'identity', id: 'spiffe://example.org/gone' })
    await pipeline.settle()
    const found = []
    let cursor = ''
    for (;;) {
      const page = await call('GET', `/v1/violations?issuer=db&limit=2${cursor}`, OPERATOR)
      expect(page.status).toBe(200)
      found.push(...page.body.entries)
      if (page.body.next === undefined) break
      cursor = `&cursor=${encodeURIComponent(page.body.next)}`
    }
    expect(found).toMatchObject([
      { lease: { id: job.id }, class: 'job', broken: [{ rule: 'window' }] },
      { lease: { id: bad.id }, class: 'rest', broken: [{ rule: 'ttl' }, { rule: 'consumer' }] },
    ])
    expect((await leasesApi(pipeline)('GET', '/v1/violations?issuer=db', OPERATOR)).body).toEqual({ entries: [], looked: 0 })
    expect((await call('GET', '/v1/violations', OPERATOR)).status).toBe(400)
    expect((await call('GET', '/v1/violations?issuer=db', app)).status).toBe(403)
  })

  it('shows what is overdue as well', async () => {
    const told: Discipline = { ...discipline, classes: [{ name: 'told', match: {}, maxTtlSeconds: 86_400, expiry: 'notify' }] }
    const { pipeline, call } = await started({ discipline: told })
    const lease = await pipeline.lease('a', { ...GOOD, ownerLeaves: 'reassign', expiresAt: at(5) })
    const list = async () => (await call('GET', '/v1/violations?issuer=db', OPERATOR)).body.entries
    await pipeline.pass(600)
    expect((await pipeline.leases.read(lease.id, BROKER)).overdueSince).toBeDefined()
    expect(await list()).toEqual([])
    const strict = leasesApi(pipeline, { discipline: { ...told, rules: { owners: ['team:*'] } } })
    expect((await strict('GET', '/v1/violations?issuer=db', OPERATOR)).body.entries).toMatchObject([
      { lease: { id: lease.id }, broken: [{ rule: 'owner' }] },
    ])
  })
})

describe('the spool', () => {
  /** A job that has its key from before the outage, and then two hours without us. */
  async function afterOutage() {
    const all = await started()
    const { pipeline, db, call } = all
    db.mint('before')
    const answer = await call('POST', '/v1/leases', BROKER.uri, body('before'), { 'idempotency-key': 'key-before' })
    const { spoolKey, ...before } = LeaseAnswer.parse(answer.body)
    if (spoolKey === undefined) throw new Error('no spool key')
    pipeline.now += 120 * MINUTE
    await pipeline.sweep()
    await pipeline.settle()
    const note = (name: string, change: Record<string, Json> = {}, minute = 30): Note => ({
      at: at(minute),
      idempotencyKey: `key-${name}-1234`,
      registration: body(name, change),
    })
    const send = async (...entries: unknown[]) => {
      const { status, body: result } = await call('POST', '/v1/spool', BROKER.uri, { entries })
      expect(status).toBe(200)
      return SpoolResult.parse(result).results
    }
    return { ...all, spoolKey, before, note, send }
  }

  it('takes in what was noted; it gets the lost time, and ends like any other', async () => {
    const { pipeline, db, spoolKey, note, send } = await afterOutage()
    db.mint('a')
    const entry = signNote(note('a'), spoolKey)
    const [taken] = await send(entry)
    expect(taken).toMatchObject({ status: 'registered' })
    const id = taken?.lease ?? ''
    // Its hour was over at 60: it was taken at 30, and what was lost after that comes again.
    expect(pipeline.stored(id)).toMatchObject({ state: 'live', class: 'job', expiresAt: at(60), spooledAt: at(30) })
    expect(await send(entry)).toEqual([{ status: 'registered', lease: id }])
    await pipeline.pass(1500)
    expect(pipeline.stored(id)).toMatchObject({ state: 'live', graceUntil: at(152) })
    await pipeline.pass(600)
    expect(db.alive()).not.toContain('a')
  })

  it('records and cuts what was fenced meanwhile', async () => {
    const { pipeline, db, spoolKey, note, send } = await afterOutage()
    db.mint('a')
    const { case: id } = await pipeline.trigger('task-complete', { kind: 'task', id: '7' })
    await pipeline.settle()
    expect(await send(signNote(note('a'), spoolKey))).toMatchObject([{ status: 'cut', code: 'fenced', cases: [id] }])
    await pipeline.settle()
    expect(db.alive()).toEqual([])
  })

  it('judges each entry by itself: a bad one holds up no other', async () => {
    const { db, before, spoolKey, note, send } = await afterOutage()
    for (const name of ['good', 'forged', 'long', 'other', 'early', 'old']) db.mint(name)
    const good = signNote(note('good'), spoolKey)
    const forged = { ...signNote(note('forged'), spoolKey), at: at(31) }
    const results = await send(
      forged,
      good,
      signNote(note('long', { expiresAt: at(600) }), spoolKey),
      // Another identity has another key.
      signNote(note('other', { identity: 'spiffe://example.org/ci/other' }), spoolKey),
      signNote(note('early', {}, 200), spoolKey),
      signNote(note('old', {}, -60 * 25), spoolKey),
      signNote(note('intent', { registers: 'intent', mintBy: at(40) }), spoolKey),
      signNote({ at: at(40), renewal: { lease: before.id, expiresAt: at(110), renewsUntil: at(110) } }, '0'.repeat(64)),
    )
    expect(results.map(({ status, code }) => `${status} ${code ?? ''}`)).toEqual([
      'refused signature-invalid',
      'registered ',
      'refused discipline',
      'refused signature-invalid',
      'refused time-out-of-range',
      'refused time-out-of-range',
      'refused body-invalid',
      'refused signature-invalid',
    ])
    expect(results[2]?.errors?.map((error) => error.path)).toEqual(['/expiresAt', '/expiresAt'])
  })

  it('takes renewals, and lets a later one stand', async () => {
    const { pipeline, before, spoolKey, send } = await afterOutage()
    const note = (expiresAt: string, minute: number) =>
      signNote({ at: at(minute), renewal: { lease: before.id, expiresAt } }, spoolKey)
    pipeline.now = START + 123 * MINUTE
    expect(await send(note(at(119), 50))).toMatchObject([{ status: 'refused', code: 'time-out-of-range' }])
    const renewable = await pipeline.lease('r', { ...GOOD, identity: CI, expiresAt: at(140), task: { id: '8', endsBy: at(300) } })
    const later = signNote({ at: at(110), renewal: { lease: renewable.id, expiresAt: at(170) } }, spoolKey)
    const earlier = signNote({ at: at(100), renewal: { lease: renewable.id, expiresAt: at(160) } }, spoolKey)
    expect(await send(later, earlier, later)).toEqual(Array(3).fill({ status: 'renewed', lease: renewable.id }))
    expect(pipeline.stored(renewable.id).expiresAt).toBe(at(170))
    const gone = signNote({ at: at(110), renewal: { lease: renewable.id.replace(/.$/, 'a'), expiresAt: at(170) } }, spoolKey)
    expect(await send(gone)).toMatchObject([{ status: 'refused', code: 'not-found' }])
  })

  it('takes an old note that lies in a known outage', async () => {
    const { pipeline, db, call, spoolKey, note, send } = await afterOutage()
    db.mint('a')
    await pipeline.pass(26 * 3600)
    const entry = signNote(note('a'), spoolKey)
    expect(await send(entry)).toMatchObject([{ status: 'registered' }])
    db.mint('b')
    const calm = signNote(note('b', {}, 150), spoolKey)
    expect(await send(calm)).toMatchObject([{ status: 'refused', code: 'time-out-of-range' }])
    await call('POST', '/v1/outages', OPERATOR, { from: at(140), to: at(160), reason: 'the API was down' })
    expect(
      await send(signNote(note('b', { expiresAt: at(180), task: { id: '7', endsBy: at(200) } }, 150), spoolKey)),
    ).toMatchObject([{ status: 'registered' }])
  })

  it('is for classes that have one: no key for the others, and no entry of theirs', async () => {
    const { pipeline, db, call, spoolKey, send } = await afterOutage()
    db.mint('a')
    const closed = body('x', { identity: app, task: { id: '7' } })
    db.mint('x')
    const answer = await call(
      'POST',
      '/v1/leases',
      BROKER.uri,
      { ...closed, expiresAt: at(180) },
      { 'idempotency-key': 'key-x-1234' },
    )
    expect(answer).toMatchObject({ status: 201, body: { class: 'rest', outage: 'closed' } })
    expect(answer.body.spoolKey).toBeUndefined()
    // Even a key that fits does not help: the class decides.
    const { fixedMac } = await import('../support/pipeline.ts')
    const { spoolKeyOf } = await import('../../functions/register/spool.ts')
    const key = spoolKeyOf(await fixedMac(), app)
    expect(key).not.toBe(spoolKey)
    const entry = signNote({ at: at(30), idempotencyKey: 'key-a-1234', registration: body('a', { identity: app }) }, key)
    expect(await send(entry)).toMatchObject([{ status: 'refused', code: 'discipline', errors: [{ path: '/registration' }] }])
    expect(pipeline.table.all().filter(({ kind }) => kind === 'lease')).toHaveLength(2)
  })

  it('needs a token and the right to register, and never shows a key in a view', async () => {
    const { call, db, before, note, spoolKey } = await afterOutage()
    db.mint('a')
    const entries = [signNote(note('a'), spoolKey)]
    expect((await call('POST', '/v1/spool', undefined, { entries })).status).toBe(401)
    const stranger = await call('POST', '/v1/spool', 'spiffe://example.org/stranger', { entries })
    expect(stranger.body.results).toMatchObject([{ status: 'refused', code: 'forbidden' }])
    expect((await call('POST', '/v1/spool', BROKER.uri, { entries: [] })).status).toBe(400)
    expect((await call('POST', '/v1/spool', BROKER.uri, { entries: [{ at: at(0) }] })).status).toBe(400)
    const read = await call('GET', `/v1/leases?identity=${encodeURIComponent(CI)}`, BROKER.uri)
    expect(read.body.leases).toMatchObject([{ id: before.id, outage: 'spool' }])
    expect(JSON.stringify(read.body)).not.toContain(spoolKey)
  })

  it('signs as the documentation shows', () => {
    const note = { renewal: { lease: 'a', expiresAt: '2026-11-22T12:00:00Z' }, at: '2026-11-22T11:00:00Z' }
    expect(signNote(note, '0f1e2d3c4b5a69788796a5b4c3d2e1f0'.repeat(2)).signature).toBe(
      '0ad1188703ab9c797cabecf11fb0dd758b3a0b04e57bc6362efc20085e5e79ed',
    )
  })
})
