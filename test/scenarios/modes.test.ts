import { describe, expect, it } from 'vitest'
import type { Mode, ModeRule } from '../../functions/contracts/mode.ts'
import { DEFAULT_LIMITS } from '../../functions/contracts/settings.ts'
import { instant } from '../../functions/domain/time.ts'
import { observing } from '../../functions/operate/observed.ts'
import type { Definition } from '../../functions/providers/contract.ts'
import { declareIssuer } from '../../functions/store/issuers.ts'
import type { FakeIssuer } from '../support/fake-issuer.ts'
import { fakeDefinition } from '../support/fake-issuer.ts'
import { app, BROKER, Pipeline } from '../support/pipeline.ts'
import { refusal } from '../support/refusal.ts'

/** How far the pipeline goes: what is only watched, whether everything is told about it, and that nothing is touched. */

const other = 'spiffe://example.org/other'
const OPERATOR = { uri: 'spiffe://example.org/operator/one', approve: true }
const by = { who: 'test', at: '2026-11-22T10:00:00.000Z' }

const under = (otherwise: Mode, rules: readonly ModeRule[] = [], definition?: Definition) =>
  new Pipeline({
    settings: {
      modes: { default: otherwise, rules: [...rules] },
      limits: { ...DEFAULT_LIMITS, backoffSeconds: 60, reassignDays: 1 },
    },
    ...(definition === undefined ? {} : { definition }),
  })

const untouched = (issuer: FakeIssuer) =>
  expect({ calls: issuer.calls, contained: [...issuer.contained], deleted: [...issuer.deleted] }).toEqual({
    calls: [],
    contained: [],
    deleted: [],
  })

const put = (pipeline: Pipeline, name: string, mode: Mode, soakSeconds = 3600) =>
  declareIssuer(pipeline.table, name, { provider: 'fake', settings: {}, soakSeconds, mode }, by)

const report = async (pipeline: Pipeline) => (await observing(pipeline).observed({ limit: 20 })).entries

/** Whatever is written when a scope is fenced, a lever pulled or a credential marked. */
const traces = (pipeline: Pipeline) =>
  pipeline.table
    .all()
    .filter(
      (item) =>
        item.kind === 'fence' ||
        item.kind === 'lever' ||
        (item.kind === 'identity' && Number(item.fencedThrough) > 0) ||
        (item.kind === 'credential' && item.cutting === true) ||
        item.pulledBy !== undefined,
    )
    .map(({ pk, sk }) => `${pk}|${sk}`)

/** The same table and issuers under another configuration, as a deployment makes it. */
function redeployed(before: Pipeline, pipeline: Pipeline): Pipeline {
  pipeline.table.load(before.table.all())
  for (const [name, issuer] of before.issuers) pipeline.issuers.set(name, issuer)
  pipeline.now = before.now
  return pipeline
}

const shared = { kind: 'static', sharing: 'shared', target: { name: 'shared' } } as const

describe('mode observe', () => {
  it('reports what an offboarding would have cut, and touches nothing', async () => {
    const pipeline = under('observe')
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('one', { group: 'role-a' })
    await pipeline.lease('two', { group: 'role-a' })
    const { case: id } = await pipeline.trigger(
      'offboarding',
      { kind: 'identity', id: app },
      { reason: 'has left', requestedBy: 'hr@example' },
    )
    await pipeline.settle()
    await pipeline.pass(7200)
    untouched(db)
    expect(db.alive()).toEqual(['one', 'two'])
    expect(traces(pipeline)).toEqual([])
    expect(pipeline.case(id)).toMatchObject({
      state: 'closed',
      mode: 'observe',
      identities: 1,
      counts: { observed: 2, revoked: 0 },
    })
    expect(pipeline.case(id).fencedAt).toBeUndefined()
    const after = pipeline.stored(lease.id)
    expect(after).toMatchObject({ state: 'live', generation: 0, acknowledged: true })
    expect(after.outcomes[id]).toMatchObject({
      outcome: 'observed',
      evidence: { said: 'mode observe: it would be cut' },
      observed: { mode: 'observe', would: 'revoked' },
      livesUntil: lease.expiresAt,
    })
    expect(await report(pipeline)).toEqual([
      expect.objectContaining({
        case: id,
        trigger: 'offboarding',
        scope: { kind: 'identity', id: app },
        mode: 'observe',
        reason: 'has left',
        requestedBy: 'hr@example',
        source: 'all',
        would: { revoked: 2, released: 0, unsupported: 0 },
        issuers: [{ issuer: 'db', revoked: 2, released: 0, unsupported: 0 }],
        owners: [{ owner: 'alice', revoked: 2, released: 0, unsupported: 0 }],
        complete: true,
        sample: [expect.objectContaining({ identity: app, owner: 'alice', consumer: 'app', issuer: 'db' })],
      }),
    ])
    const told = pipeline.records()
    expect(told.find(({ what }) => what === 'outcome.observed')).toMatchObject({
      case: id,
      outcome: 'observed',
      facts: { mode: 'observe', would: 'revoked' },
    })
    expect(told.find(({ what }) => what === 'case.opened')?.facts).toMatchObject({ mode: 'observe' })
    expect(told.find(({ what }) => what === 'case.closed')?.facts).toMatchObject({ mode: 'observe', observed: 2 })
    expect(pipeline.announced.map(({ type }) => type)).toEqual(['io.rescind.case.closed'])
  })

  it.each(['down', 'refused', 'not configured'])(
    'reports though the issuer is %s, and does not even connect',
    async (trouble) => {
      const pipeline = under('observe')
      const db = await pipeline.issuer()
      await pipeline.lease('one')
      if (trouble === 'down') db.down = true
      if (trouble === 'refused') db.refused = true
      if (trouble === 'not configured') pipeline.table.lose('ISSUER#db')
      const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
      await pipeline.settle()
      untouched(db)
      expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { observed: 1, parked: 0 } })
      expect(pipeline.table.all().filter(({ kind }) => kind === 'breaker')).toEqual([])
    },
  )

  it.each([
    ['an owner', 'offboarding', { kind: 'owner', id: 'alice' }, 2],
    ['a workload', 'decommission', { kind: 'workload', id: 'crm' }, 2],
    ['a deployment', 'decommission', { kind: 'deployment', id: 'd1', namespace: 'ci' }, 1],
    ['a task', 'task-complete', { kind: 'task', id: 't1', namespace: 'ci' }, 1],
  ] as const)('closes by itself for %s, with each lease counted once', async (_, type, scope, observed) => {
    const pipeline = under('observe')
    pipeline.deliveries = 2
    const db = await pipeline.issuer()
    const about = { workload: 'crm' }
    await pipeline.lease('one', { ...about, task: { id: 't1', namespace: 'ci' }, deployment: { id: 'd1', namespace: 'ci' } })
    await pipeline.lease('two', { ...about, identity: other })
    await pipeline.lease('stranger', { identity: 'spiffe://example.org/stranger', owner: 'bob' })
    const { case: id } = await pipeline.trigger(type, scope)
    await pipeline.settle()
    untouched(db)
    expect(traces(pipeline)).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { observed } })
    expect((await report(pipeline))[0]?.would).toEqual({ revoked: observed, released: 0, unsupported: 0 })
  })

  it('refuses nothing and marks nothing in a compromise, and names bystanders and what was delegated', async () => {
    const pipeline = under('observe')
    const db = await pipeline.issuer()
    db.mint('shared')
    const mine = await pipeline.lease('shared', { ...shared, delegable: true }, 'holder-one-1')
    const bystander = await pipeline.lease('shared', { ...shared, identity: other, owner: 'bob' }, 'holder-two-2')
    const child = await pipeline.lease('child', { identity: 'spiffe://example.org/child', owner: 'carol', parent: mine.id })
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    untouched(db)
    expect(traces(pipeline)).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', bystanders: 1, counts: { observed: 3 } })
    for (const lease of [mine, bystander, child])
      expect(pipeline.stored(lease.id).outcomes[id]?.observed).toEqual({ mode: 'observe', would: 'revoked' })
    const [entry] = await report(pipeline)
    expect(entry?.owners.map(({ owner }) => owner).sort()).toEqual(['alice', 'bob', 'carol'])
    // The identity, the parent and the credential all take new leases, and renewals.
    await pipeline.lease('new')
    await pipeline.lease('new-child', { parent: mine.id })
    await pipeline.lease('shared', { ...shared, identity: other, owner: 'bob' }, 'holder-three')
    await pipeline.leases.renew(mine.id, { expiresAt: instant(pipeline.now + 2 * 86_400_000) }, BROKER)
  })

  it('says of a compromised credential whom it would hit', async () => {
    const pipeline = under('observe')
    const db = await pipeline.issuer()
    db.mint('shared')
    const one = await pipeline.lease('shared', shared, 'holder-one-1')
    await pipeline.lease('shared', { ...shared, identity: other, owner: 'bob' }, 'holder-two-2')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'credential', fingerprint: one.fingerprint })
    await pipeline.settle()
    untouched(db)
    expect(traces(pipeline)).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { observed: 2 } })
  })

  it('tells what would be given back from what would be cut with its last holder', async () => {
    const pipeline = under('observe')
    const db = await pipeline.issuer()
    db.mint('shared')
    await pipeline.lease('shared', { ...shared, task: { id: '1' } }, 'holder-one-1')
    await pipeline.lease('shared', { ...shared, task: { id: '1' } }, 'holder-one-2')
    await pipeline.lease('shared', { ...shared, identity: other, owner: 'bob' }, 'holder-two-2')
    await pipeline.trigger('task-complete', { kind: 'task', id: '1' })
    await pipeline.settle()
    expect((await report(pipeline))[0]?.would).toEqual({ revoked: 0, released: 2, unsupported: 0 })
    // All its holders belong to the owners that leave: the last one would be cut, in whatever order they are met.
    await pipeline.operate.putIdentity({ id: other, owner: 'alice' }, OPERATOR)
    pipeline.now += 1000
    await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    expect((await report(pipeline))[0]).toMatchObject({
      trigger: 'offboarding',
      would: { revoked: 1, released: 2, unsupported: 0 },
    })
    untouched(db)
  })

  it('is never held by protection, splits nobody off, and leaves orphans what they are', async () => {
    const pipeline = under('observe')
    await pipeline.issuer()
    const guarded = 'spiffe://example.org/protected/one'
    await pipeline.lease('guarded', { identity: guarded })
    await pipeline.lease('service', { identity: other, ownerLeaves: 'reassign' })
    const receipt = await pipeline.trigger('offboarding', { kind: 'identity', id: guarded })
    expect(receipt.status).toBe('opened')
    const group = await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    expect(pipeline.case(receipt.case)).toMatchObject({ state: 'closed', counts: { observed: 1 } })
    expect(pipeline.case(group.case)).toMatchObject({ state: 'closed', identities: 2, orphans: 1, counts: { observed: 1 } })
    expect((await pipeline.operate.listOrphans({ limit: 10 })).entries).toEqual([])
    expect(pipeline.table.all().filter(({ kind }) => kind === 'case')).toHaveLength(2)
  })

  it('leaves its leases to a later case that enforces', async () => {
    const pipeline = under('enforce', [{ trigger: 'offboarding', mode: 'observe' }])
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('one')
    const watched = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    untouched(db)
    const cut = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(pipeline.case(cut.case)).toMatchObject({ state: 'closed', mode: 'enforce', counts: { revoked: 1, observed: 0 } })
    expect(Object.values(pipeline.stored(lease.id).outcomes).map(({ outcome }) => outcome)).toEqual(['observed', 'revoked'])
    expect(pipeline.case(watched.case).counts).toMatchObject({ observed: 1, revoked: 0 })
  })

  it('observes beside a case that is cutting the lease, and neither waits for it nor disturbs it', async () => {
    const pipeline = under('enforce', [{ trigger: 'offboarding', mode: 'observe' }])
    const db = await pipeline.issuer()
    await pipeline.lease('one')
    db.down = true
    const cut = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    const watched = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.case(watched.case)).toMatchObject({ state: 'closed', counts: { observed: 1 } })
    db.down = false
    await pipeline.pass(600)
    expect(pipeline.case(cut.case)).toMatchObject({ state: 'closed', counts: { revoked: 1 } })
    expect(db.alive()).toEqual([])
  })

  it('copies what another case has ended', async () => {
    const pipeline = under('enforce', [{ trigger: 'offboarding', mode: 'observe' }])
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('one')
    let watched = ''
    db.onRevoke = async () => {
      watched = (await pipeline.trigger('offboarding', { kind: 'identity', id: app })).case
    }
    const cut = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    pipeline.now += 1
    while (watched === '') await pipeline.step()
    await pipeline.settle()
    expect(pipeline.case(watched)).toMatchObject({ state: 'closed', counts: { revoked: 1, observed: 0 } })
    expect(pipeline.stored(lease.id).outcomes[watched]?.evidence.by).toBe(cut.case)
  })

  it('reports an expiry once, looks again each day, and cuts when the mode allows it', async () => {
    const pipeline = under('enforce')
    const db = await pipeline.issuer()
    await put(pipeline, 'db', 'observe')
    const lease = await pipeline.lease('one', { expiresAt: instant(pipeline.now + 600_000) })
    await pipeline.pass(2 * 86_400)
    untouched(db)
    const expired = () => pipeline.table.all().filter(({ kind, type }) => kind === 'case' && type === 'expired')
    expect(expired()).toHaveLength(1)
    expect(expired()[0]).toMatchObject({ state: 'closed', counts: { observed: 1 } })
    await put(pipeline, 'db', 'enforce')
    await pipeline.pass(86_400)
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(lease.id)).toMatchObject({ state: 'ended' })
    expect(expired()).toHaveLength(2)
  })

  it('reports another expiry after a renewal', async () => {
    const pipeline = under('observe')
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('one', { expiresAt: instant(pipeline.now + 300_000) })
    await pipeline.pass(900)
    await pipeline.leases.renew(lease.id, { expiresAt: instant(pipeline.now + 300_000) }, BROKER)
    await pipeline.pass(3600)
    untouched(db)
    expect(Object.values(pipeline.stored(lease.id).outcomes)).toHaveLength(2)
    expect(await report(pipeline)).toHaveLength(2)
  })

  it('reports a registration that nobody finished once, and lets it be finished', async () => {
    const pipeline = under('observe')
    const db = await pipeline.issuer()
    let reads = 0
    pipeline.table.before = (operation) => {
      if (operation === 'getMany' && ++reads === 1) throw new Error('the registrar dies before it looks')
    }
    const expiresAt = instant(pipeline.now + 86_400_000)
    await expect(pipeline.lease('half', { expiresAt })).rejects.toThrow('dies')
    pipeline.table.before = () => {}
    await pipeline.pass(3600)
    untouched(db)
    expect(await report(pipeline)).toHaveLength(1)
    expect(await pipeline.lease('half', { expiresAt })).toMatchObject({ state: 'live' })
  })

  it('reports what was given back, and leaves it alone', async () => {
    const pipeline = under('observe')
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('one')
    const { case: id } = await pipeline.leases.release(lease.id, BROKER)
    await pipeline.settle()
    untouched(db)
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { observed: 1 } })
    expect(await pipeline.leases.release(lease.id, BROKER)).toEqual({ case: id })
  })

  it('keeps an orphan whose deadline is over, tells it once, and ends it when the mode allows it', async () => {
    const first = under('enforce')
    const db = await first.issuer()
    await first.lease('service', { ownerLeaves: 'reassign', expiresAt: instant(first.now + 60 * 86_400_000) })
    await first.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await first.settle()
    const watching = redeployed(first, under('observe'))
    await watching.pass(2.5 * 86_400)
    untouched(db)
    expect((await report(watching)).map(({ trigger, would }) => [trigger, would.revoked])).toEqual([['offboarding', 1]])
    expect((await watching.operate.listOrphans({ limit: 10 })).entries).toHaveLength(1)
    const enforcing = redeployed(watching, under('enforce'))
    await enforcing.pass(86_400)
    expect(db.alive()).toEqual([])
    expect((await enforcing.operate.listOrphans({ limit: 10 })).entries).toEqual([])
  })

  it('keeps the modes of the day on which a case starts', async () => {
    const pipeline = under('observe')
    await pipeline.issuer()
    await pipeline.lease('one')
    const { case: id } = await pipeline.trigger(
      'offboarding',
      { kind: 'identity', id: app },
      { effectiveAt: instant(pipeline.now + 3_600_000) },
    )
    expect(pipeline.case(id)).toMatchObject({ state: 'scheduled', mode: 'observe' })
    const later = redeployed(pipeline, under('enforce'))
    await later.pass(7200)
    expect(later.case(id)).toMatchObject({ state: 'closed', mode: 'enforce', counts: { revoked: 1 } })
  })
})

describe('mixed modes', () => {
  it('cuts at one issuer what it only watches at another', async () => {
    const pipeline = under('enforce', [{ issuer: 'db', mode: 'observe' }])
    const db = await pipeline.issuer('db')
    const cloud = await pipeline.issuer('cloud')
    const watched = await pipeline.lease('one', { group: 'role-a', delegable: true })
    await pipeline.lease('two', { issuer: 'cloud', group: 'role-b' })
    await pipeline.lease('three', { issuer: 'cloud', identity: other, owner: 'bob', parent: watched.id })
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    untouched(db)
    expect(cloud.alive()).toEqual([])
    expect([...cloud.contained]).toEqual(['role-b'])
    expect(pipeline.case(id)).toMatchObject({
      state: 'closed',
      mode: 'enforce',
      levers: { expected: 1, done: 1 },
      counts: { observed: 1, revoked: 2 },
    })
    // What is watched is refused nothing; what is not, is.
    await pipeline.lease('new')
    await pipeline.leases.renew(watched.id, { expiresAt: instant(pipeline.now + 2 * 86_400_000) }, BROKER)
    expect((await refusal(pipeline.lease('late', { issuer: 'cloud' }))).code).toBe('fenced')
    await pipeline.settle()
    expect(cloud.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ amendments: { expected: 1, done: 1 } })
    expect(db.alive()).toEqual(['one', 'new'])
    expect(pipeline.records().find(({ what }) => what === 'case.opened')?.facts).toMatchObject({
      mode: 'enforce',
      modes: 'observe for db; else enforce',
    })
  })

  it('does not cut what it only watched when its issuer is put to enforce, nor refuse it a renewal', async () => {
    const pipeline = under('enforce')
    const db = await pipeline.issuer()
    await put(pipeline, 'db', 'observe')
    const watched = await pipeline.lease('one')
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', mode: 'enforce', counts: { observed: 1 } })
    await put(pipeline, 'db', 'enforce')
    await pipeline.leases.renew(watched.id, { expiresAt: instant(pipeline.now + 2 * 86_400_000) }, BROKER)
    await pipeline.pass(3600)
    expect(db.alive()).toEqual(['one'])
    // A new lease is another matter: the offboarding stands.
    expect((await refusal(pipeline.lease('new'))).code).toBe('fenced')
  })

  it('takes identities into a fenced group whose leases are only watched', async () => {
    const pipeline = under('enforce', [{ issuer: 'db', mode: 'observe' }])
    const db = await pipeline.issuer('db')
    const cloud = await pipeline.issuer('cloud')
    await pipeline.lease('one', { issuer: 'cloud' })
    await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    const intent = { registers: 'intent', mintBy: instant(pipeline.now + 60_000) } as const
    expect(await pipeline.lease('two', { identity: other, ...intent })).toMatchObject({ state: 'live' })
    expect((await refusal(pipeline.lease('three', { identity: other, issuer: 'cloud' }))).code).toBe('fenced')
    await pipeline.settle()
    untouched(db)
    expect(cloud.alive()).toEqual([])
  })

  it('goes by the environment of each lease, and spares a credential that a watched one shares', async () => {
    const pipeline = under('enforce', [{ environment: 'test', mode: 'observe' }])
    const db = await pipeline.issuer()
    db.mint('shared')
    await pipeline.lease('one', { environment: 'production', workload: 'crm', group: 'role-a' })
    await pipeline.lease('two', { identity: other, environment: 'test', workload: 'crm', group: 'role-b' })
    await pipeline.lease('shared', { ...shared }, 'holder-one-1')
    await pipeline.lease('shared', { ...shared, identity: other }, 'holder-two-2')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'workload', id: 'crm' })
    await pipeline.settle()
    expect(db.alive().sort()).toEqual(['shared', 'two'])
    expect([...db.contained]).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 1, observed: 3 } })
    const said = pipeline.table.all().flatMap((item) => (item.kind === 'lease' ? [JSON.stringify(item.outcomes)] : []))
    expect(said.some((text) => text.includes('mode observe for another holder of the credential'))).toBe(true)
    const fingerprint = pipeline.table.all().find(({ kind, sharing }) => kind === 'lease' && sharing === 'shared')?.fingerprint
    const credential = await pipeline.trigger('compromise', { kind: 'credential', fingerprint: String(fingerprint) })
    await pipeline.settle()
    expect(pipeline.case(credential.case)).toMatchObject({ state: 'closed', counts: { observed: 2 } })
    expect(pipeline.table.all().some(({ kind, cutting }) => kind === 'credential' && cutting === true)).toBe(false)
  })

  it('pulls a lever in a mixed environment only where nobody else hangs on it', async () => {
    const pipeline = under('enforce', [{ environment: 'test', mode: 'observe' }])
    const db = await pipeline.issuer()
    await pipeline.lease('one', { environment: 'production', group: 'role-a' })
    await pipeline.lease('two', { identity: other, environment: 'test', group: 'role-a' })
    await pipeline.lease('three', { environment: 'production', group: 'role-c' })
    await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect([...db.contained]).toEqual(['role-c'])
    expect(db.works('two')).toBe(true)
    expect(db.works('one')).toBe(false)
  })

  it('watches at an issuer that is down while the others of the same chunk wait for it', async () => {
    const pipeline = under('enforce', [{ environment: 'test', mode: 'observe' }])
    const db = await pipeline.issuer()
    await pipeline.lease('one', { environment: 'production', task: { id: '1' } })
    const watched = await pipeline.lease('two', { identity: other, environment: 'test', task: { id: '1' } })
    db.down = true
    const { case: id } = await pipeline.trigger('task-complete', { kind: 'task', id: '1' })
    await pipeline.settle()
    expect(pipeline.stored(watched.id).outcomes[id]?.outcome).toBe('observed')
    expect(pipeline.case(id).closedAt).toBeUndefined()
    db.down = false
    await pipeline.pass(600)
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 1, observed: 1 } })
    expect(db.alive()).toEqual(['two'])
  })

  it('parks what was begun when its issuer is put to observe, and ends it when it may', async () => {
    const pipeline = new Pipeline({ definition: fakeDefinition({ propagationSeconds: 3600 }) as Definition })
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('one')
    db.down = true
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.stored(lease.id).state).toBe('cutting')
    db.down = false
    await put(pipeline, 'db', 'observe')
    await pipeline.pass(600)
    untouched(db)
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { parked: 1, observed: 0 } })
    expect((await pipeline.operate.listParked({ limit: 10 })).entries).toHaveLength(1)
    await pipeline.pass(12 * 3600)
    untouched(db)
    await put(pipeline, 'db', 'enforce')
    // It is tried at least daily, and its proof comes an hour after the cut.
    await pipeline.pass(26 * 3600)
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(lease.id).state).toBe('ended')
  })

  it('does not pull a lever whose issuer was put to observe meanwhile', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('one', { group: 'role-a' })
    db.down = true
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    db.down = false
    await put(pipeline, 'db', 'observe')
    await pipeline.pass(600)
    untouched(db)
    expect(pipeline.case(id).levers).toEqual({ expected: 1, done: 0, failed: 1 })
  })

  it('keeps the modes of an issuer that is declared anew without one', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    await pipeline.operate.putIssuer('db', { provider: 'fake', settings: {}, mode: 'observe' }, OPERATOR)
    expect(await pipeline.operate.putIssuer('db', { provider: 'fake', settings: {}, soakSeconds: 60 }, OPERATOR)).toMatchObject({
      mode: 'observe',
    })
    await pipeline.settle()
    const changes = pipeline.records().filter(({ what }) => what === 'issuer.changed')
    expect(changes.at(-1)?.facts).toMatchObject({ mode: 'observe' })
  })
})

describe('mode contain', () => {
  it('fences, pulls levers and cuts what can be undone', async () => {
    const pipeline = under('contain')
    const db = await pipeline.issuer()
    await pipeline.lease('one', { group: 'role-a' })
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect([...db.contained]).toEqual(['role-a'])
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', mode: 'contain', counts: { revoked: 1 } })
    expect((await refusal(pipeline.lease('new'))).code).toBe('fenced')
    await pipeline.pass(3 * 86_400)
    expect([...db.deleted]).toEqual([])
  })

  it('leaves to itself what could not be undone, says so, and refuses new leases all the same', async () => {
    const pipeline = under('contain', [], fakeDefinition({ restores: false, tidies: false }) as Definition)
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('one', { expiresAt: instant(pipeline.now + 7 * 86_400_000) })
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    untouched(db)
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { observed: 1 } })
    expect(pipeline.stored(lease.id).outcomes[id]).toMatchObject({
      evidence: { said: 'mode contain, and its provider cannot undo a cut: it would be cut' },
      observed: { mode: 'contain', would: 'revoked' },
    })
    // One that comes too late is recorded, can only be watched, and ends at its expiry like any other.
    const problem = await refusal(pipeline.lease('late', { expiresAt: instant(pipeline.now + 86_400_000) }))
    expect(problem.code).toBe('fenced')
    await pipeline.settle()
    expect(pipeline.case(id)).toMatchObject({ amendments: { expected: 1, done: 1 }, amendCounts: { observed: 1 } })
    expect(pipeline.stored(problem.lease ?? '').state).toBe('late')
    await put(pipeline, 'db', 'contain')
    await pipeline.pass(2 * 86_400)
    untouched(db)
    expect((await report(pipeline)).map(({ trigger }) => trigger)).toEqual(['expired', 'compromise'])
  })
})

describe('the report of an observed period', () => {
  it('has exact counts by issuer and owner over many shards and chunks, and pages', async () => {
    const pipeline = under('observe')
    await pipeline.issuer('db')
    await pipeline.issuer('cloud')
    for (let index = 0; index < 150; index += 1)
      await pipeline.lease(`r${index}`, {
        identity: `spiffe://example.org/id/${index % 75}`,
        owner: `owner-${index % 75}`,
        issuer: index % 3 === 0 ? 'cloud' : 'db',
        deployment: { id: 'd', namespace: 'ci' },
      })
    await pipeline.trigger('decommission', { kind: 'deployment', id: 'd', namespace: 'ci' })
    await pipeline.settle()
    const [entry] = await report(pipeline)
    expect(entry?.would).toEqual({ revoked: 150, released: 0, unsupported: 0 })
    expect(entry?.issuers).toEqual([
      { issuer: 'db', revoked: 100, released: 0, unsupported: 0 },
      { issuer: 'cloud', revoked: 50, released: 0, unsupported: 0 },
    ])
    expect(entry?.owners.reduce((sum, { revoked }) => sum + revoked, 0)).toBe(150)
    expect(entry?.sample.length).toBe(20)
    expect(entry?.complete).toBe(false)

    pipeline.now += 3_600_000
    await pipeline.trigger('offboarding', { kind: 'identity', id: 'spiffe://example.org/id/1' })
    await pipeline.settle()
    const { observed } = observing(pipeline)
    const first = await observed({ limit: 1 })
    const second = await observed({ limit: 1, cursor: first.next })
    expect([...first.entries, ...second.entries].map(({ trigger }) => trigger)).toEqual(['offboarding', 'decommission'])
    const since = await observed({ limit: 10, from: instant(pipeline.now - 60_000) })
    expect(since.entries.map(({ trigger }) => trigger)).toEqual(['offboarding'])
    const until = await observed({ limit: 10, to: instant(pipeline.now - 60_000) })
    expect(until.entries.map(({ trigger }) => trigger)).toEqual(['decommission'])
    const backwards = observed({ limit: 10, from: instant(pipeline.now), to: instant(pipeline.now - 1) })
    expect((await refusal(backwards)).code).toBe('body-invalid')
  })

  it('holds an identity that has leases at more issuers than a transaction has operations', async () => {
    const pipeline = under('observe')
    for (let index = 0; index < 130; index += 1) {
      await pipeline.issuer(`db-${index}`)
      await pipeline.lease(`r${index}`, { issuer: `db-${index}`, task: { id: '1' } })
    }
    const { case: id } = await pipeline.trigger('task-complete', { kind: 'task', id: '1' })
    await pipeline.settle()
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { observed: 130 } })
    const [entry] = await report(pipeline)
    expect(entry?.would.revoked).toBe(130)
    expect(entry?.issuers[0]).toEqual({ revoked: 70, released: 0, unsupported: 0 })
    expect(entry?.complete).toBe(false)
  })

  it('goes on for a lease that is met again and again, and keeps its item small', async () => {
    const pipeline = under('observe')
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('one')
    for (let index = 0; index < 130; index += 1) {
      pipeline.now += 1000
      await pipeline.trigger('compromise', { kind: 'identity', id: app }, { id: `alarm-${index}` })
      await pipeline.settle()
    }
    untouched(db)
    const { outcomes, claims } = pipeline.stored(lease.id)
    expect(Object.keys(outcomes)).toHaveLength(100)
    expect(Object.keys(claims).sort()).toEqual(Object.keys(outcomes).sort())
    const cases = pipeline.table.all().filter(({ kind }) => kind === 'case')
    expect(cases).toHaveLength(130)
    for (const current of cases) expect(current).toMatchObject({ state: 'closed', counts: { observed: 1 } })
  })

  it('says what could not be cut, and until when it lives', async () => {
    const made = fakeDefinition() as Definition
    const livesUntil = '2026-11-22T11:00:00.000Z'
    const pipeline = under('observe', [], { ...made, uncuttable: () => ({ said: 'it is checked elsewhere', livesUntil }) })
    await pipeline.issuer()
    const lease = await pipeline.lease('one')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.stored(lease.id).outcomes[id]).toMatchObject({
      evidence: { said: 'mode observe: it could not be cut, it is checked elsewhere' },
      livesUntil,
      observed: { would: 'unsupported' },
    })
    expect((await report(pipeline))[0]?.would).toEqual({ revoked: 0, released: 0, unsupported: 1 })
  })

  it('counts each lease once though workers crash at every write and messages come twice', async () => {
    for (let at = 1; at < 40; at += 1) {
      const pipeline = under('observe')
      pipeline.deliveries = 2
      const db = await pipeline.issuer()
      db.mint('shared')
      const parent = await pipeline.lease('shared', { ...shared, delegable: true }, 'holder-one-1')
      await pipeline.lease('shared', { ...shared, identity: other, owner: 'bob' }, 'holder-two-2')
      await pipeline.lease('child', { identity: other, owner: 'bob', parent: parent.id })
      const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
      let writes = 0
      pipeline.table.before = (operation) => {
        if ((operation === 'write' || operation === 'transact') && ++writes === at) throw new Error('crash')
      }
      // A consumer of the stream that crashes loses its record: the sweeper makes up for it.
      await pipeline.settle().catch(() => {})
      pipeline.table.before = () => {}
      await pipeline.pass(900)
      untouched(db)
      expect({ at, ...pipeline.case(id) }).toMatchObject({ at, state: 'closed', counts: { observed: 3 } })
      expect((await report(pipeline))[0]?.would).toEqual({ revoked: 3, released: 0, unsupported: 0 })
      if (writes < at) return
    }
  })
})

describe('the leases of a case', () => {
  const all = async (pipeline: Pipeline, id: string, limit: number) => {
    const { leases } = observing(pipeline)
    const found: string[] = []
    let cursor: string | undefined
    do {
      const page = await leases(id, { limit, ...(cursor === undefined ? {} : { cursor }) })
      expect(page.entries.length).toBeLessThanOrEqual(limit)
      found.push(...page.entries.map(({ lease, because, outcome }) => `${lease.id} ${because} ${outcome?.outcome}`))
      cursor = page.next
    } while (cursor !== undefined)
    return found.sort()
  }

  it.each([1, 7, 200])('are listed each once, late ones too, %i at a time', async (limit) => {
    const pipeline = new Pipeline()
    await pipeline.issuer('db')
    await pipeline.issuer('cloud')
    const parent = await pipeline.lease('agent', { delegable: true })
    const expected: string[] = [`${parent.id} scan revoked`]
    for (let index = 0; index < 30; index += 1)
      expected.push(`${(await pipeline.lease(`r${index}`, { issuer: index % 2 === 0 ? 'db' : 'cloud' })).id} scan revoked`)
    const child = await pipeline.lease('child', { identity: other, owner: 'bob', parent: parent.id })
    expected.push(`${child.id} child revoked`)
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    const { lease } = await refusal(pipeline.lease('late'))
    expected.push(`${lease} late revoked`)
    await pipeline.settle()
    expect(await all(pipeline, id, limit)).toEqual(expected.sort())
  })

  it('are those of an expiry too', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    for (let index = 0; index < 60; index += 1) await pipeline.lease(`r${index}`, { expiresAt: instant(pipeline.now + 60_000) })
    await pipeline.pass(300)
    const expired = pipeline.table.all().find(({ kind, type }) => kind === 'case' && type === 'expired')
    expect(await all(pipeline, String(expired?.id), 13)).toHaveLength(60)
  })

  it('are not found for a case that does not exist, or by a cursor of somebody else’s', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    await pipeline.lease('one')
    const { leases } = observing(pipeline)
    expect((await refusal(leases('a'.repeat(26), { limit: 10 }))).code).toBe('not-found')
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    const wrong = [
      'x',
      '',
      ...[
        null,
        [],
        ['units', 'CASE', 0, 'CHUNK#', ''],
        ['units', 'UNIT#', -1, 'CHUNK#', ''],
        ['units', 'UNIT#', 0, 'CHUNK#', 'ID#'],
        ['elsewhere', 'UNIT#', 0, 'CHUNK#', ''],
        ['amendments', 'UNIT#', 0, 'CHUNK#', ''],
      ].map((place) => Buffer.from(JSON.stringify(place)).toString('base64url')),
    ]
    for (const cursor of wrong) expect((await refusal(leases(id, { limit: 10, cursor }))).code).toBe('body-invalid')
  })
})
