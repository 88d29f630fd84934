import { describe, expect, it } from 'vitest'
import { IssuerDeclaration } from '../../functions/contracts/issuer.ts'
import type { Chunk } from '../../functions/domain/model.ts'
import { instant } from '../../functions/domain/time.ts'
import type { Definition, ProviderModule } from '../../functions/providers/contract.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../../functions/providers/contract.ts'
import type { Reached } from '../../functions/revoke/issuer.ts'
import { issuerConnections } from '../../functions/revoke/issuer.ts'
import { declareIssuer } from '../../functions/store/issuers.ts'
import { as } from '../../functions/store/items.ts'
import { breakerOf, limiterOf } from '../../functions/store/limits.ts'
import { StoreBusy } from '../../functions/store/table.ts'
import type { FakeIssuer } from '../support/fake-issuer.ts'
import { FAKE_CEILING, fakeDefinition, fakeModule } from '../support/fake-issuer.ts'
import { app, Pipeline, START } from '../support/pipeline.ts'

const by = { who: 'test', at: instant(START) }

const chunks = (pipeline: Pipeline): Chunk[] =>
  pipeline.table
    .all()
    .filter(({ kind }) => kind === 'chunk' || kind === 'amendment')
    .map((item) => as('chunk', item))

async function slow(pipeline: Pipeline, callsPerSecond: number, name = 'db'): Promise<void> {
  const settings = { provider: 'fake', settings: {}, soakSeconds: 0, limits: { callsPerSecond } }
  await declareIssuer(pipeline.table, name, settings, { who: 'test', at: instant(pipeline.now) })
}

/** Something that a call waits for. */
function gate(): { readonly closed: Promise<void>; open(): void } {
  let open = () => {}
  const closed = new Promise<void>((resolve) => {
    open = resolve
  })
  return { closed, open }
}

describe('an issuer that throttles', () => {
  it('spends no attempt, opens no breaker, parks nothing, and says how fast it is called', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const ids: string[] = []
    for (let index = 0; index < 30; index += 1) ids.push((await pipeline.lease(`r${index}`)).id)
    db.onCall = () => {
      throw new IssuerThrottled('not so fast', { afterSeconds: 20 })
    }
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.pass(2 * 3600)
    expect(pipeline.case(id).counts).toMatchObject({ parked: 0, revoked: 0, absent: 0 })
    expect(chunks(pipeline).map(({ attempts }) => attempts)).toEqual(chunks(pipeline).map(() => 0))
    expect(await breakerOf(pipeline.table, 'db')).toBeUndefined()
    for (const lease of ids) expect(pipeline.stored(lease).unanswered).toBe(false)
    const [shown] = await pipeline.operate.listIssuers()
    expect(shown?.breaker).toBeUndefined()
    expect(shown?.pace).toMatchObject({ ceiling: FAKE_CEILING, underWay: 0 })
    expect(shown?.pace?.callsPerSecond).toBeLessThan(10)
    db.onCall = () => {}
    await pipeline.pass(1200)
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 30 } })
  })

  it('tried nothing: what somebody else cut meanwhile is told as absent', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('a')
    db.onCall = (method) => {
      if (method === 'revoke') throw new IssuerThrottled('not so fast')
    }
    const { case: other } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.pass(300)
    const real = db.credentials.get('a')
    if (real !== undefined) Object.assign(real, { alive: false, killedBy: 'somebody' })
    db.onCall = () => {}
    await pipeline.pass(600)
    expect(pipeline.case(other)).toMatchObject({ state: 'closed', counts: { absent: 1, revoked: 0 } })
  })

  it('in the middle of a batch: what is answered stays, the rest is tried again at no cost', async () => {
    const pipeline = new Pipeline({ definition: fakeDefinition({ batch: 10 }) as Definition })
    const db = await pipeline.issuer()
    for (let index = 0; index < 9; index += 1) await pipeline.lease(`r${index}`, { task: { id: 'one' } })
    for (const name of ['r3', 'r4', 'r5'])
      db.answers.set(name, { status: 'retry', said: 'not so fast', effect: 'none', throttled: true, afterSeconds: 5 })
    const { case: id } = await pipeline.trigger('task-complete', { kind: 'task', id: 'one' })
    await pipeline.settle()
    await pipeline.pass(7200)
    expect(db.alive()).toEqual(['r3', 'r4', 'r5'])
    expect(pipeline.case(id).counts).toMatchObject({ parked: 0 })
    expect(chunks(pipeline).map(({ attempts }) => attempts)).toEqual([0])
    db.answers.clear()
    await pipeline.pass(600)
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 9 } })
  })

  it('when it is asked for the proof: nothing is proven, nothing is spent, nothing is cut twice', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('a')
    db.onCall = (method) => {
      if (method === 'verify') throw new IssuerThrottled('not so fast')
    }
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.pass(3600)
    expect(pipeline.case(id).closedAt).toBeUndefined()
    expect(chunks(pipeline)[0]).toMatchObject({ attempts: 0, step: 'verify' })
    db.onCall = () => {}
    await pipeline.pass(600)
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 1 } })
    expect(db.calls.filter((call) => call.startsWith('revoke'))).toHaveLength(1)
  })

  it('a lever that is throttled is pulled as soon as it is not, however long that takes', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('a', { group: 'g' })
    db.onCall = () => {
      throw new IssuerThrottled('not so fast', { afterSeconds: 10 })
    }
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.pass(3 * 3600)
    expect(pipeline.case(id).levers).toMatchObject({ expected: 1, done: 0, failed: 0 })
    db.onCall = () => {}
    await pipeline.pass(300)
    expect(db.contained).toContain('g')
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', levers: { done: 1, failed: 0 } })
  })

  it('what is delegated to a healthy issuer is cut at once', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const cloud = await pipeline.issuer('cloud')
    const parent = await pipeline.lease('agent', { delegable: true })
    await pipeline.lease('child', { issuer: 'cloud', identity: 'spiffe://example.org/sub', parent: parent.id })
    db.onCall = () => {
      throw new IssuerThrottled('not so fast', { afterSeconds: 300 })
    }
    await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(db.alive()).toEqual(['agent'])
    expect(cloud.alive()).toEqual([])
  })
})

describe('the ceiling', () => {
  it('of an issuer is kept, and P0 does not wait for what waits below it', async () => {
    const pipeline = new Pipeline({ definition: fakeDefinition({ batch: 1 }) as Definition })
    const db = await pipeline.issuer()
    await slow(pipeline, 1)
    for (let index = 0; index < 60; index += 1) await pipeline.lease(`r${index}`, { task: { id: 'big' } })
    await pipeline.lease('leaked', { identity: 'spiffe://example.org/leaky' })
    await pipeline.trigger('task-complete', { kind: 'task', id: 'big' })
    await pipeline.settle()
    const calls: number[] = []
    db.onCall = () => void calls.push(pipeline.now)
    expect(db.alive().length).toBeGreaterThan(50)
    await pipeline.trigger('compromise', { kind: 'identity', id: 'spiffe://example.org/leaky' })
    await pipeline.settle()
    expect(db.works('leaked')).toBe(false)
    await pipeline.pass(120)
    expect(db.alive().length).toBeGreaterThan(20)
    await pipeline.pass(3 * 3600)
    expect(db.alive()).toEqual([])
    // Time moves in minutes here: a minute's worth of calls, and what was saved up.
    const perMinute = Map.groupBy(calls, (at) => Math.floor(at / 60_000))
    for (const made of perMinute.values()) expect(made.length).toBeLessThanOrEqual(60 + 4)
    const view = (await pipeline.operate.listIssuers())[0]
    expect(view).toMatchObject({ limits: { callsPerSecond: 1 }, pace: { ceiling: 1, callsPerSecond: 1 } })
  })

  it('is back at the provider’s own when the issuer is declared without one', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    await slow(pipeline, 1)
    await declareIssuer(pipeline.table, 'db', { provider: 'fake', settings: {} }, by)
    expect((await pipeline.operate.listIssuers())[0]?.limits).toBeUndefined()
  })

  it('is set over the API, and told in the trail', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const declaration = IssuerDeclaration.parse({ provider: 'fake', settings: {}, limits: { callsPerSecond: 2.5 } })
    const operator = { uri: 'spiffe://example.org/operator/olga', approve: true }
    expect(await pipeline.operate.putIssuer('db', declaration, operator)).toMatchObject({ limits: { callsPerSecond: 2.5 } })
    await pipeline.settle()
    const told = pipeline.records().filter(({ what }) => what === 'issuer.changed')
    expect(told.at(-1)?.facts).toMatchObject({ callsPerSecond: 2.5 })
    for (const callsPerSecond of [0, -1, 1e9, Number.NaN])
      expect(IssuerDeclaration.safeParse({ provider: 'fake', settings: {}, limits: { callsPerSecond } }).success).toBe(false)
  })
})

/** Workers of one provider over one table, each a process with connections of its own. */
function workers(issuers: ReadonlyMap<string, FakeIssuer>, pipeline: Pipeline, count: number, callSeconds = 5) {
  const definition = { ...(fakeDefinition() as Definition), limits: { ...fakeDefinition().limits, callSeconds } }
  const module: ProviderModule = { ...(fakeModule(issuers) as ProviderModule), definition }
  const ports = {
    table: pipeline.table,
    clock: pipeline.clock,
    random: pipeline.random,
    log: pipeline.log,
    secrets: { get: async () => '' },
    open: async () => Promise.reject(new Error('nothing is sealed')),
    environment: {},
  }
  return Array.from({ length: count }, () => issuerConnections(module, ports))
}
const current = { id: 'c1', lane: 'p1' as const }
type Connected = Extract<Reached, { kind: 'connected' }>
const isConnected = (reached: Reached): reached is Connected => reached.kind === 'connected'
const subject = { lease: 'l', target: { name: 'a' } }
const warrant = { case: 'c1', lane: 'p1' as const, epoch: 0, fencedAt: instant(START) }

async function broken() {
  const pipeline = new Pipeline()
  const db = await pipeline.issuer()
  db.mint('a')
  db.down = true
  const all = workers(pipeline.issuers, pipeline, 6)
  const reached = await Promise.all(all.map((worker) => worker.reach('db', by, current)))
  expect(reached.map(({ kind }) => kind)).toEqual(all.map(() => 'not-now'))
  return { pipeline, db, all }
}

describe('the breaker', () => {
  it('counts one failure for all calls that failed together, and opens', async () => {
    const { pipeline } = await broken()
    expect(await breakerOf(pipeline.table, 'db')).toMatchObject({ failures: 1, code: 'issuer-unavailable' })
  })

  it('lets exactly one probe through when its time is over; the others wait until it is heard of', async () => {
    const { pipeline, db, all } = await broken()
    pipeline.now += 61_000
    db.down = false
    const { closed, open } = gate()
    let connecting = 0
    db.onCall = async (method) => {
      if (method !== 'connect') return
      connecting += 1
      await closed
    }
    const pending = all.map((worker) => worker.reach('db', by, current))
    const others = await Promise.all([...pending.keys()].map(async (index) => Promise.race([pending[index], sleepless()])))
    expect(connecting).toBe(1)
    expect(others.filter((reached) => reached?.kind === 'not-now')).toHaveLength(5)
    open()
    const reached = await Promise.all(pending)
    const [probe] = reached.filter(isConnected)
    if (probe === undefined) throw new Error('nobody got through')
    // It is connected, but has not been served yet.
    expect(await breakerOf(pipeline.table, 'db')).toBeDefined()
    expect((await probe.provider.revoke([subject], warrant))[0]).toMatchObject({ status: 'revoked' })
    expect(await breakerOf(pipeline.table, 'db')).toBeUndefined()
    await probe.end()
    const after = await Promise.all(all.map((worker) => worker.reach('db', by, current)))
    expect(after.map(({ kind }) => kind)).toEqual(all.map(() => 'connected'))
  })

  it('opens for longer when its probe fails', async () => {
    const { pipeline, db, all } = await broken()
    const [first, second] = all
    const earlier = await breakerOf(pipeline.table, 'db')
    pipeline.now += 61_000
    expect((await first?.reach('db', by, current))?.kind).toBe('not-now')
    const later = await breakerOf(pipeline.table, 'db')
    expect(later).toMatchObject({ failures: 2 })
    expect(later?.probe).toBeUndefined()
    expect(String(later?.openUntil) > String(earlier?.openUntil)).toBe(true)
    db.down = false
    expect((await second?.reach('db', by, current))?.kind).toBe('not-now')
  })

  it('a probe that crashes frees its place when its time is over, and not before', async () => {
    const { pipeline, db, all } = await broken()
    const [first, second] = all
    pipeline.now += 61_000
    db.down = false
    // The worker is killed here: nothing of it is heard again.
    expect((await first?.reach('db', by, current))?.kind).toBe('connected')
    pipeline.now += 30_000
    expect((await second?.reach('db', by, current))?.kind).toBe('not-now')
    pipeline.now += 20_000
    expect((await second?.reach('db', by, current))?.kind).toBe('connected')
    expect(await breakerOf(pipeline.table, 'db')).toMatchObject({ failures: 1 })
  })

  it('a probe that called nobody hands its place on', async () => {
    const { pipeline, db, all } = await broken()
    const [first, second] = all
    pipeline.now += 61_000
    db.down = false
    const reached = await first?.reach('db', by, current)
    if (reached?.kind === 'connected') await reached.end()
    expect(await breakerOf(pipeline.table, 'db')).toBeDefined()
    expect((await second?.reach('db', by, current))?.kind).toBe('connected')
  })

  it('a late answer of a call that began before it opened does not close it', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('a')
    const [first, second] = workers(pipeline.issuers, pipeline, 2)
    const reached = await first?.reach('db', by, current)
    db.refused = true
    await second?.reach('db', by, current)
    db.refused = false
    if (reached?.kind === 'connected') await reached.provider.revoke([subject], warrant)
    expect(await breakerOf(pipeline.table, 'db')).toMatchObject({ code: 'issuer-refused' })
  })

  it('a refused admin credential is told though the issuer was unavailable before, and parks nothing', async () => {
    const { pipeline, db, all } = await broken()
    pipeline.now += 61_000
    db.down = false
    db.onCall = () => {
      throw new IssuerRefused('the admin credential is refused')
    }
    expect((await all[0]?.reach('db', by, current))?.kind).toBe('not-now')
    const breaker = await breakerOf(pipeline.table, 'db')
    expect(breaker?.code).toBe('issuer-refused')
    expect(Date.parse(breaker?.openUntil ?? '') - pipeline.now).toBe(600_000)
  })

  it('is told in the trail: opened, probed, closed', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('a')
    db.down = true
    await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    db.down = false
    await pipeline.pass(300)
    const told = pipeline.records().flatMap(({ what }) => (what.startsWith('issuer.breaker') ? [what] : []))
    expect(told).toEqual(['issuer.breaker-opened', 'issuer.breaker-probed', 'issuer.breaker-closed'])
  })

  it('an issuer that is unavailable in the middle of a case gives its message back without spending an attempt', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('a')
    db.onCall = (method) => {
      if (method === 'revoke') throw new IssuerUnavailable('gone away')
    }
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.pass(6 * 3600)
    expect(chunks(pipeline)[0]).toMatchObject({ attempts: 0, state: 'open' })
    expect((await limiterOf(pipeline.table, 'db'))?.rate).toBe(FAKE_CEILING)
    db.onCall = () => {}
    await pipeline.pass(600)
    expect(pipeline.case(id)).toMatchObject({ state: 'closed' })
  })
})

/** A few turns of the event loop. */
const sleepless = () => new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 20))

describe('the bulkhead', () => {
  it('an issuer that hangs keeps one worker free for the others, and the queue moves on', async () => {
    // It cuts one at a time, so its leases are many chunks.
    const pipeline = new Pipeline({ definition: fakeDefinition({ batch: 1 }) as Definition })
    const hanging = await pipeline.issuer('hanging')
    const healthy = await pipeline.issuer('healthy')
    for (let index = 0; index < 40; index += 1) await pipeline.lease(`h${index}`, { issuer: 'hanging' })
    for (let index = 0; index < 10; index += 1) await pipeline.lease(`w${index}`, { issuer: 'healthy' })
    const { closed, open } = gate()
    hanging.onCall = (method) => (method === 'revoke' ? closed : undefined)
    await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    while (pipeline.messages.some(({ queue, notBefore }) => queue.startsWith('plan-') && notBefore <= pipeline.now))
      await pipeline.step(planFirst)
    expect(pipeline.messages.filter(({ queue }) => queue === 'work-fake-p1').length).toBeGreaterThan(12)
    // As many workers as P1 has; each that hangs is lost for as long as the issuer likes.
    const crew = Array.from({ length: 3 }, async () => {
      while (await pipeline.step());
    })
    while (healthy.alive().length > 0) await sleepless()
    expect(Object.keys((await limiterOf(pipeline.table, 'hanging'))?.calls ?? {})).toHaveLength(2)
    expect(hanging.alive()).toHaveLength(40)
    open()
    await Promise.all(crew)
    await pipeline.settle()
    await pipeline.pass(600)
    expect(hanging.alive()).toEqual([])
    expect((await limiterOf(pipeline.table, 'hanging'))?.calls).toEqual({})
  })

  it('a worker that is killed frees its place when its time is over', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('a')
    const [first, second, third] = workers(pipeline.issuers, pipeline, 3)
    for (const worker of [first, second]) {
      const reached = await worker?.reach('db', by, current)
      if (reached?.kind !== 'connected') throw new Error('not connected')
      expect(await reached.reserve(1, ['revoke'])).toBeUndefined()
    }
    const reached = await third?.reach('db', by, current)
    if (reached?.kind !== 'connected') throw new Error('not connected')
    expect(await reached.reserve(1, ['revoke'])).toMatchObject({ said: expect.stringContaining('as many workers') })
    pipeline.now += 46_000
    expect(await reached.reserve(1, ['revoke'])).toBeUndefined()
    await reached.end()
  })

  it('many workers that write the limiter at once get on, and count what they take', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('a')
    let turn = 0
    // Whoever writes has to wait a while for it, so that others come in between.
    pipeline.table.before = async (operation) => {
      turn += 1
      if (operation === 'write') for (let tick = 0; tick < turn % 5; tick += 1) await Promise.resolve()
    }
    const all = workers(pipeline.issuers, pipeline, 8)
    const urgent = { id: 'c1', lane: 'p0' as const }
    const served = await Promise.all(
      all.map(async (worker) => {
        const reached = await worker.reach('db', by, urgent)
        if (reached.kind !== 'connected') return 0
        let calls = 0
        for (let call = 0; call < 5; call += 1) if ((await reached.reserve(1, ['verify'])) === undefined) calls += 1
        await reached.end()
        return calls
      }),
    )
    expect(served).toEqual(all.map(() => 5))
    const limiter = await limiterOf(pipeline.table, 'db')
    expect(limiter?.calls).toEqual({})
    expect(limiter?.urgent).toBe(FAKE_CEILING / 2)
  })

  it('a stop that comes between the reservation and the call is an answer about each lease: nothing was tried', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('a')
    const [worker] = workers(pipeline.issuers, pipeline, 1)
    const reached = await worker?.reach('db', by, current)
    if (reached?.kind !== 'connected') throw new Error('not connected')
    expect(await reached.reserve(2, ['revoke'])).toBeUndefined()
    const stop = { by: 'test', reason: 'stop', since: instant(pipeline.now) }
    await pipeline.table.write({
      update: { pk: 'CONTROL#installation', sk: 'CONTROL' },
      set: [
        ['kind', 'control'],
        ['killSwitch', stop],
        ['by', by],
      ],
    })
    const answers = await reached.provider.revoke([subject, subject], warrant)
    expect(answers).toMatchObject([1, 2].map(() => ({ status: 'retry', effect: 'none', throttled: true, afterSeconds: 60 })))
    expect(await reached.provider.verify([subject], warrant)).toMatchObject([{ status: 'unknown', throttled: true }])
    await reached.end()
    expect(db.calls).toEqual([])
    expect(await limiterOf(pipeline.table, 'db')).toMatchObject({ rate: FAKE_CEILING, calls: {} })
  })
})

describe('a table that does not answer', () => {
  it('while a call is being allowed or noted is no failure of a lease', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    for (let index = 0; index < 5; index += 1) await pipeline.lease(`r${index}`)
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    let inCall = false
    let busy = 0
    const within = (method: string) => {
      inCall = method === 'revoke' || method === 'verify'
    }
    db.onCall = within
    let turn = 0
    pipeline.table.before = (operation) => {
      turn += 1
      // About a third of what is asked of the table around the issuer's calls fails.
      if ((operation === 'get' || inCall) && turn % 3 === 0) {
        busy += 1
        throw new StoreBusy('not now')
      }
      if (operation === 'transact') inCall = false
    }
    await pipeline.settle()
    for (let minute = 0; minute < 60; minute += 1) await pipeline.pass(60).catch(() => undefined)
    pipeline.table.before = () => {}
    await pipeline.pass(7200)
    expect(busy).toBeGreaterThan(10)
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { parked: 0 } })
    for (const chunk of chunks(pipeline)) expect(chunk.attempts).toBe(0)
  })
})

const planFirst = (messages: readonly { readonly queue: string }[]): number =>
  Math.max(
    0,
    messages.findIndex(({ queue }) => queue.startsWith('plan-')),
  )
