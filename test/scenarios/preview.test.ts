import { describe, expect, it } from 'vitest'
import type { PlanView } from '../../functions/contracts/plan.ts'
import type { Settings } from '../../functions/contracts/settings.ts'
import { fingerprint, identityKey } from '../../functions/domain/keys.ts'
import { instant } from '../../functions/domain/time.ts'
import { previewRoutes } from '../../functions/plan/preview.routes.ts'
import { readNext, writeNext } from '../../functions/plan/preview-next.ts'
import type { Definition } from '../../functions/providers/contract.ts'
import { httpHandler } from '../../functions/runtime/http.ts'
import { ProblemError } from '../../functions/runtime/problem-error.ts'
import { linkAliases, proposeAlias } from '../../functions/store/aliases.ts'
import { fakeDefinition } from '../support/fake-issuer.ts'
import { app, fixedMac, Pipeline, settings } from '../support/pipeline.ts'

const ONE = 'spiffe://example.org/operator/one'
const TWO = 'spiffe://example.org/operator/two'
const OPERATOR = { uri: ONE, approve: true }
const CI = 'spiffe://example.org/source/ci'
const BOTH = 'spiffe://example.org/source/both'
const id = (name: string) => `spiffe://example.org/${name}`

/** `POST /v1/plans` over a pipeline in memory; the token is the caller's URI. */
function plans(pipeline: Pipeline, change: Partial<Settings> = {}, budgetMilliseconds?: number) {
  const all: Settings = {
    ...settings,
    ...change,
    grants: [
      ...settings.grants,
      { right: 'source', caller: CI, source: 'ci' },
      { right: 'source', caller: BOTH, source: 'ci' },
      { right: 'source', caller: BOTH, source: 'other-ci' },
    ],
  }
  let now = pipeline.now
  const handler = httpHandler(
    previewRoutes({
      table: pipeline.table,
      clock: budgetMilliseconds === undefined ? pipeline.clock : { ...pipeline.clock, now: () => (now += 1) },
      log: pipeline.log,
      settings: all,
      catalog: { fake: pipeline.definition },
      mac: fixedMac,
      authenticate: async ({ headers }) => {
        const uri = headers.authorization
        if (uri === undefined) throw new ProblemError('unauthenticated')
        return { uri, kind: 'svid', namespace: 'ci' }
      },
      ...(budgetMilliseconds === undefined ? {} : { budgetMilliseconds }),
    }),
    { log: pipeline.log, bodyBytes: 65_536 },
  )
  const post = async (body: unknown, caller: string | undefined = ONE) => {
    now = pipeline.now
    const answer = await handler({
      version: '2.0',
      headers: {
        'content-type': 'application/json',
        ...(caller === '' || caller === undefined ? {} : { authorization: caller }),
      },
      requestContext: { requestId: 'r', http: { method: 'POST', path: '/v1/plans' } },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
    return { status: answer.statusCode, body: JSON.parse(answer.body) }
  }
  const plan = async (body: object, caller = ONE): Promise<PlanView> => {
    const { status, body: view } = await post(body, caller)
    expect({ status, problem: status === 200 ? undefined : view }).toEqual({ status: 200, problem: undefined })
    return view
  }
  return { post, plan }
}

describe('what a preview says', () => {
  it('tells what would be cut, given back, left, and until when a cut can be undone, and changes nothing', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer('db', 3600)
    await pipeline.lease('own', { group: 'app', environment: 'prod' })
    await pipeline.lease('shared', { kind: 'static' })
    await pipeline.lease('shared', { kind: 'static', identity: id('neighbour'), owner: 'bob' }, 'key-of-neighbour')
    const mother = await pipeline.lease('mother', { delegable: true })
    const child = await pipeline.lease('child', { identity: id('agent'), owner: 'carol', parent: mother.id })
    await pipeline.settle()
    const { plan } = plans(pipeline)
    const changes = pipeline.table.changes.length

    const leaving = await plan({ type: 'offboarding', scope: { kind: 'identity', id: app }, source: 'all' })
    expect(leaving).toMatchObject({
      lane: 'p1',
      complete: true,
      exact: true,
      mode: 'enforce',
      held: { held: false, by: [] },
      deletion: 'after-soak',
      identities: { reached: { count: 1, sample: [{ id: app, owner: 'alice', because: 'named by the trigger' }] }, aliases: 0 },
      leases: { total: 4, cut: 3, released: 1, late: 0, expiring: 0 },
      byIssuer: [
        { issuer: 'db', provider: 'fake', forGood: 0, undo: { possible: true, until: instant(pipeline.now + 3_600_000) } },
      ],
      byMode: [{ mode: 'enforce', leases: { cut: 3, released: 1 } }],
      descendants: { count: 1, byDepth: [1], sample: [{ lease: child.id, identity: id('agent'), would: 'cut' }] },
      bystanders: { count: 0 },
      sharers: { count: 1, credentials: 1 },
      soFar: { identities: 1, leases: 4, cut: 3 },
    })
    expect(leaving.byOwner.map(({ owner, leases }) => [owner, leases.cut, leases.released])).toEqual([
      ['alice', 2, 1],
      ['carol', 1, 0],
    ])
    expect(leaving.byEnvironment.map(({ environment, leases }) => [environment, leases.cut])).toEqual([
      [null, 1],
      ['prod', 2],
    ])
    // It once held a shared credential there: its lever would hit the others.
    expect(leaving.levers).toMatchObject({ pulled: { count: 0 }, left: { count: 1 } })
    expect(leaving.levers.left.sample[0]?.why).toContain('others would be hit')

    const leaked = await plan({ type: 'compromise', scope: { kind: 'identity', id: app } })
    expect(leaked).toMatchObject({
      lane: 'p0',
      leases: { total: 5, cut: 5 },
      bystanders: { count: 1, sample: [{ identity: id('neighbour'), owner: 'bob', would: 'cut' }] },
      sharers: { count: 0 },
      levers: { pulled: { count: 1 }, left: { count: 0 } },
    })
    expect(pipeline.table.changes.length).toBe(changes)
    expect(pipeline.issuers.get('db')?.calls).toEqual([])
  })

  it('says why each identity is reached, what stays up, what is split off, what nobody touches', async () => {
    const pipeline = new Pipeline({ settings: { exempt: [id('glass')] } })
    await pipeline.issuer()
    const declare = (name: string, more: object) =>
      pipeline.operate.putIdentity({ id: id(name), owner: 'alice', ownerLeaves: 'revoke', ...more }, OPERATOR)
    await declare('agent', {})
    await declare('robot', {})
    await declare('service', { ownerLeaves: 'reassign' })
    await declare('crown', { protected: true })
    await declare('glass', {})
    for (const name of ['agent', 'robot', 'service', 'crown', 'glass'])
      await pipeline.lease(`${name}-key`, { identity: id(name) })
    const by = { who: 'test', why: 'one workload', at: instant(pipeline.now) }
    const names = [id('agent'), id('robot')]
    await linkAliases(pipeline.table, await proposeAlias(pipeline.table, names, by), names.map(identityKey), by)
    await pipeline.operate.putIdentity({ id: id('robot'), owner: 'bob' }, OPERATOR)
    const { plan } = plans(pipeline, { exempt: [id('glass')] })

    const view = await plan({ type: 'offboarding', scope: { kind: 'owner', id: 'alice' }, source: 'all' })
    const because = Object.fromEntries(view.identities.reached.sample.map((one) => [one.id, one.because]))
    expect(because).toEqual({ [id('agent')]: 'member of owner alice', [id('robot')]: `other name of ${id('agent')}` })
    expect(view.identities).toMatchObject({
      aliases: 1,
      orphaned: { count: 1, sample: [{ id: id('service') }] },
      orphanDeadline: instant(pipeline.now + 14 * 86_400_000),
      splitOff: { count: 1, sample: [{ id: id('crown') }] },
      exempt: { count: 1, sample: [{ id: id('glass') }] },
      protected: { count: 0 },
    })
    expect(view.leases).toMatchObject({ total: 2, cut: 2 })

    // A compromise waits for nobody; what is protected is named, and what is cut of it is deleted only after a word.
    const leaked = await plan({ type: 'compromise', scope: { kind: 'owner', id: 'alice' } })
    expect(leaked.identities).toMatchObject({
      reached: { count: 4 },
      protected: { count: 1, sample: [{ id: id('crown') }] },
      exempt: { count: 1 },
    })
    expect(leaked.held).toEqual({ held: false, by: [] })
    expect(leaked.deletion).toBe('waits')
  })

  it('tells what cannot be cut and until when it lives, the longest first', async () => {
    const definition: Definition = {
      ...(fakeDefinition({ restores: false }) as Definition),
      uncuttable: (target, _settings, now) =>
        JSON.stringify(target).includes('token')
          ? { said: 'checked by others', livesUntil: instant(Date.parse(now) + 7_200_000) }
          : undefined,
    }
    const pipeline = new Pipeline({ definition })
    await pipeline.issuer()
    await pipeline.lease('token')
    await pipeline.lease('many/session', { kind: 'static' })
    await pipeline.lease('many/session', { kind: 'static', identity: id('other') }, 'key-of-other')
    await pipeline.lease('plain')
    const { plan } = plans(pipeline)
    const view = await plan({ type: 'offboarding', scope: { kind: 'identity', id: app } })
    expect(view.leases).toMatchObject({ total: 3, cut: 1, unsupported: 2 })
    expect(view.uncuttable).toMatchObject({ count: 2, latest: instant(pipeline.now + 86_400_000) })
    expect(view.uncuttable.sample.map(({ livesUntil }) => livesUntil)).toEqual([
      instant(pipeline.now + 86_400_000),
      instant(pipeline.now + 7_200_000),
    ])
    expect(view.byIssuer[0]).toMatchObject({ forGood: 1, undo: { possible: false, said: 'provider fake cannot undo a cut' } })
  })

  it('says that it would be held, and by what, in the words of the case itself', async () => {
    const change: Partial<Settings> = { fuse: { leases: 2 }, protected: [app] }
    const pipeline = new Pipeline({ settings: change })
    await pipeline.issuer()
    for (const name of ['a', 'b', 'c']) await pipeline.lease(name)
    for (const name of ['x', 'y', 'z']) await pipeline.lease(name, { identity: id('other') })
    const { plan } = plans(pipeline, change)
    const both = await plan({ type: 'offboarding', scope: { kind: 'identity', id: app }, source: 'all' })
    expect(both.held?.held).toBe(true)
    expect(both.held?.by.map(({ what }) => what)).toEqual(['protection', 'fuse'])
    expect(both.identities.protected.count).toBe(1)
    const unnamed = await plan({ type: 'offboarding', scope: { kind: 'identity', id: id('other') } })
    expect(unnamed.held).toEqual({ held: false, by: [] })
    expect(unnamed.notes).toEqual(['name a source to see whether its fuse would trip'])

    const view = await plan({ type: 'offboarding', scope: { kind: 'identity', id: id('other') }, source: 'all' })
    const receipt = await pipeline.trigger('offboarding', { kind: 'identity', id: id('other') })
    await pipeline.settle()
    const { state, held } = pipeline.case(receipt.case)
    expect(state).toBe('held')
    expect(view.held).toEqual({ held: true, by: [{ what: 'fuse', said: held?.reason }] })
    // It has tripped: what comes next is held with it.
    const next = await plan({ type: 'offboarding', scope: { kind: 'identity', id: id('other') }, source: 'all' })
    expect(next.held?.by).toEqual([{ what: 'fuse', said: 'the fuse of source all has tripped, and nobody has decided yet' }])
  })

  it('tells in mode observe what would be done, and what a scheduled case would find run out', async () => {
    const change: Partial<Settings> = { modes: { default: 'observe', rules: [] } }
    const pipeline = new Pipeline({ settings: change })
    await pipeline.issuer()
    await pipeline.lease('own')
    await pipeline.lease('shared', { kind: 'static' })
    await pipeline.lease('shared', { kind: 'static', identity: id('neighbour') }, 'key-of-neighbour')
    const { plan } = plans(pipeline, change)
    const effectiveAt = instant(pipeline.now + 2 * 86_400_000)
    const view = await plan({ type: 'offboarding', scope: { kind: 'identity', id: app }, effectiveAt, source: 'all' })
    expect(view).toMatchObject({ mode: 'observe', effectiveAt, held: { held: false } })
    expect(view.leases).toMatchObject({
      total: 2,
      observed: 2,
      cut: 0,
      wouldBe: { cut: 1, released: 1, unsupported: 0 },
      expiring: 2,
    })
    expect(view.levers.pulled.count).toBe(0)
    expect(view.notes).toEqual(['by its mode the case would only watch: nothing is fenced, no issuer is called'])
  })

  it('reads a credential by what somebody has in hand, and names the issuers', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    await pipeline.lease('leaked')
    const { plan, post } = plans(pipeline)
    const view = await plan({ type: 'compromise', scope: { kind: 'credential-name', name: 'fake:leaked:hunter2' } })
    expect(view.leases).toMatchObject({ total: 1, cut: 1 })
    expect(view.scope).toMatchObject({ candidates: [{ issuer: 'db', fingerprint: fingerprint('db', 'leaked') }] })
    expect(JSON.stringify(view)).not.toContain('hunter2')
    const unread = await post({ type: 'compromise', scope: { kind: 'credential-name', name: 'no such thing' } })
    expect(unread).toMatchObject({ status: 422, body: { code: 'credential-unrecognised' } })
    expect(JSON.stringify(unread)).not.toContain('no such thing')
  })

  it('counts each lease once where delegation and shared credentials run in circles', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    // app holds `one` with b; b delegates to c, who holds `two` with d; d delegates to e, who holds `one` again.
    await pipeline.lease('one', { kind: 'static' }, 'key-of-a-one')
    const b = await pipeline.lease('one', { kind: 'static', identity: id('b'), delegable: true }, 'key-of-b-one')
    await pipeline.lease('two', { kind: 'static', identity: id('c'), parent: b.id }, 'key-of-c-two')
    const d = await pipeline.lease('two', { kind: 'static', identity: id('d'), delegable: true }, 'key-of-d-two')
    await pipeline.lease('one', { kind: 'static', identity: id('e'), parent: d.id }, 'key-of-e-one')
    await pipeline.lease('three', { identity: id('e'), parent: d.id }, 'key-of-e-three')
    for (const budget of [undefined, 3]) {
      const { plan } = plans(pipeline, {}, budget)
      const request = { type: 'compromise', scope: { kind: 'identity', id: app } }
      let total = 0
      let answers = 0
      for (let next: string | undefined, first = true; first || next !== undefined; first = false) {
        const view: PlanView = await plan(next === undefined ? request : { ...request, next })
        total += view.leases.total
        answers += 1
        expect(view.exact).toBe(true)
        next = view.next
      }
      expect(total).toBe(6)
      if (budget !== undefined) expect(answers).toBeGreaterThan(1)
    }
    const receipt = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.case(receipt.case).counts.revoked).toBe(6)
  })
})

describe('time', () => {
  async function many() {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    for (let place = 0; place < 120; place += 1)
      await pipeline.lease(`key-${place}`, { identity: id(`member-${place % 12}`), delegable: place % 3 === 0 })
    return pipeline
  }
  const request = { type: 'offboarding', scope: { kind: 'owner', id: 'alice' }, source: 'all' }

  it('runs out: the answer says where to go on, and the parts add up to the whole', async () => {
    const pipeline = await many()
    const whole = await plans(pipeline).plan(request)
    const { plan } = plans(pipeline, {}, 5)
    const parts: PlanView[] = []
    for (let next: string | undefined, first = true; first || next !== undefined; first = false) {
      const view: PlanView = await plan(next === undefined ? request : { ...request, next })
      expect(view.complete).toBe(view.next === undefined)
      parts.push(view)
      next = view.next
    }
    expect(parts.length).toBeGreaterThan(3)
    const sum = (pick: (view: PlanView) => number) => parts.reduce((total, view) => total + pick(view), 0)
    expect(sum(({ leases }) => leases.cut)).toBe(120)
    expect(sum(({ identities }) => identities.reached.count)).toBe(12)
    expect(parts.at(-1)?.soFar).toEqual(whole.soFar)
    expect(parts.filter(({ held }) => held !== undefined)).toHaveLength(1)
    expect(whole.leases.cut).toBe(120)
    expect(whole.cut.sample).toHaveLength(20)
    expect((await plans(pipeline).plan(request)).cut.sample).toEqual(whole.cut.sample)
  })

  it('a `next` goes on with its own request alone, and leads nowhere that the request may not see', async () => {
    const pipeline = await many()
    const secret = await pipeline.lease('secret', { identity: id('stranger'), owner: 'zoe', delegable: true })
    await pipeline.lease('secret-child', { identity: id('stranger'), owner: 'zoe', parent: secret.id })
    const { plan, post } = plans(pipeline, {}, 1)
    const { next } = await plan(request)
    expect(next).toBeDefined()
    for (const [body, what] of [
      [{ ...request, scope: { kind: 'owner', id: 'bob' }, next }, 'another scope'],
      [{ ...request, type: 'compromise', next }, 'another trigger'],
      [{ ...request, next: 'bm90aGluZw' }, 'nonsense'],
      [
        {
          ...request,
          next: writeNext({
            v: 1,
            of: 'a'.repeat(26),
            lanes: [],
            soFar: { identities: 0, leases: 0, cut: 0, guarded: false, exact: true },
          }),
        },
        'a hash of its own',
      ],
    ] as const)
      expect({ what, ...(await post(body)) }).toMatchObject({ what, status: 400, body: { code: 'body-invalid' } })
    // A forged one that names a partition and a parent of somebody else is believed in neither.
    const real = readNext(next ?? '')
    if (real === undefined) throw new Error('next is not readable')
    const stranger = `identity#${identityKey(id('stranger'))}` as const
    const lane = real.lanes[0] ?? { scope: stranger, shard: 0, frames: [{ k: 'base' as const, rank: -1, after: '' }] }
    const { place: _, ...rest } = real
    const forged = writeNext({
      ...rest,
      lanes: [
        ...Array.from({ length: 16 }, (_, shard) => ({
          scope: stranger,
          shard,
          frames: [{ k: 'base' as const, rank: -1, after: '' }],
        })),
        {
          ...lane,
          scope: `identity#${identityKey(id('member-0'))}`,
          frames: [
            { k: 'base', rank: -1, after: '' },
            { k: 'children', of: secret.id, rank: 0, after: '' },
          ],
        },
      ],
    })
    const view = await plans(pipeline).plan({ ...request, next: forged })
    expect(JSON.stringify(view)).not.toContain('zoe')
    expect(view.byOwner.map(({ owner }) => owner)).not.toContain('zoe')
  })

  it('is not spent on what has nothing in it: an unknown identity is an empty plan with a note', async () => {
    const { plan } = plans(new Pipeline())
    const view = await plan({ type: 'offboarding', scope: { kind: 'identity', id: id('nobody') }, source: 'all' })
    expect(view).toMatchObject({ complete: true, leases: { total: 0 }, identities: { reached: { count: 0 } } })
    expect(view.notes).toEqual(['no lease of this identity was ever registered: the trigger would be refused'])
    expect(await plan({ type: 'compromise', scope: { kind: 'owner', id: 'nobody' } })).toMatchObject({
      leases: { total: 0 },
      notes: [],
    })
  })
})

describe('who may ask', () => {
  it('operators anything, sources what they may send themselves, nobody else', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    await pipeline.lease('job', { task: { id: '42', namespace: 'ci' } })
    const { post } = plans(pipeline)
    const task = { type: 'task-complete', scope: { kind: 'task', id: '42' } }
    const answers = [
      // The source's own namespace is meant.
      [await post(task, CI), 200, undefined],
      [await post({ ...task, scope: { ...task.scope, namespace: 'other' } }, CI), 403, 'scope-not-allowed'],
      [await post({ type: 'offboarding', scope: { kind: 'owner', id: 'alice' } }, CI), 403, 'forbidden'],
      [await post({ ...task, source: 'all' }, CI), 403, 'forbidden'],
      [await post(task, BOTH), 403, 'forbidden'],
      [await post({ ...task, source: 'other-ci' }, BOTH), 200, undefined],
      [await post(task, 'spiffe://example.org/somebody'), 403, 'forbidden'],
      [await post(task, ''), 401, 'unauthenticated'],
      // An operator has no namespace of his own.
      [await post(task, TWO), 400, 'body-invalid'],
      [await post({ ...task, scope: { ...task.scope, namespace: 'ci' } }, TWO), 200, undefined],
      [await post({ ...task, source: 'ci' }, TWO), 200, undefined],
      [await post({ ...task, source: 'nobody' }, TWO), 400, 'body-invalid'],
      [await post({ type: 'compromise', scope: { kind: 'owner', id: 'a' }, source: 'ci' }, TWO), 403, 'forbidden'],
    ] as const
    for (const [index, [answer, status, code]] of answers.entries())
      expect({ index, status: answer.status, code: answer.body.code }).toEqual({ index, status, code })
    expect(answers[0][0].body.leases.cut).toBe(1)
    expect(answers[5][0].body.leases.total).toBe(0)
  })

  it('refuses what no trigger could say', async () => {
    const pipeline = new Pipeline()
    const { post } = plans(pipeline)
    const ahead = instant(pipeline.now + 1000 * 86_400_000)
    for (const [body, status, code] of [
      ['{', 400, 'body-invalid'],
      [{}, 400, 'body-invalid'],
      [{ type: 'offboarding', scope: { kind: 'identity', id: app }, more: 1 }, 400, 'body-invalid'],
      [{ type: 'expired', scope: { kind: 'identity', id: app } }, 400, 'body-invalid'],
      [{ type: 'task-complete', scope: { kind: 'owner', id: 'alice' } }, 400, 'body-invalid'],
      [{ type: 'offboarding', scope: { kind: 'leases', id: 'x' } }, 400, 'body-invalid'],
      [{ type: 'offboarding', scope: { kind: 'identity', id: 'spiffe://example.org' } }, 400, 'body-invalid'],
      [{ type: 'offboarding', scope: { kind: 'identity', id: app }, effectiveAt: ahead }, 422, 'time-out-of-range'],
      [
        { type: 'offboarding', scope: { kind: 'identity', id: app }, effectiveAt: '1999-01-01T00:00:00Z' },
        422,
        'time-out-of-range',
      ],
      [{ type: 'compromise', scope: { kind: 'credential-name', name: 'fake:x', issuer: 'nowhere' } }, 422, 'issuer-unknown'],
      [{ type: 'offboarding', scope: { kind: 'identity', id: app }, next: 'x'.repeat(200_000) }, 413, 'body-too-large'],
    ] as const)
      expect({ body: JSON.stringify(body).slice(0, 80), answer: await post(body) }).toMatchObject({
        answer: { status, body: { code } },
      })
    expect(pipeline.table.changes).toEqual([])
  })
})
