import { describe, expect, it } from 'vitest'
import { DEFAULT_LIMITS } from '../../functions/contracts/settings.ts'
import { instant } from '../../functions/domain/time.ts'
import { revokeWorker } from '../../functions/revoke/worker.ts'
import { controlOf, engageKillSwitch, releaseKillSwitch } from '../../functions/store/control.ts'
import { declareIssuer } from '../../functions/store/issuers.ts'
import { ONE, operatorsApi, TWO } from '../support/api.ts'
import { fakeDefinition } from '../support/fake-issuer.ts'
import { app, BROKER, Pipeline } from '../support/pipeline.ts'
import { refusal } from '../support/refusal.ts'

/** Where two safety features meet: what a restoration, a mode, an exemption, an outage and a watch make of each other. */

const other = 'spiffe://example.org/other'
const glass = 'spiffe://example.org/glass'
const OPERATOR = { uri: 'spiffe://example.org/operator/three', approve: false }
const APPROVER = { uri: TWO, approve: true }
const asked = { reason: 'a false alarm' }
const undone = { ...asked, undoesCompromise: true as const }
const by = { who: 'test', at: '2026-11-22T10:00:00.000Z' }

const cases = (pipeline: Pipeline) => pipeline.table.all().filter(({ kind }) => kind === 'case')
const put = (pipeline: Pipeline, mode: 'observe' | 'contain' | 'enforce', soakSeconds = 864_000) =>
  declareIssuer(pipeline.table, 'db', { provider: 'fake', settings: {}, soakSeconds, mode }, by)
const soon = (pipeline: Pipeline, seconds: number) => instant(pipeline.now + seconds * 1000)
const later = (pipeline: Pipeline, seconds = 1) => {
  pipeline.now += seconds * 1000
}

/** The same table and issuers under another configuration, as a deployment makes it. */
function redeployed(
  before: Pipeline,
  change: NonNullable<ConstructorParameters<typeof Pipeline>[0]>['settings'] & object,
): Pipeline {
  const pipeline = new Pipeline({ settings: change })
  pipeline.table.load(before.table.all())
  for (const [name, issuer] of before.issuers) pipeline.issuers.set(name, issuer)
  pipeline.now = before.now
  return pipeline
}

describe('an exempt identity', () => {
  it('whose lease runs out is not met by a new case with every sweep, but listed as overdue', async () => {
    const pipeline = new Pipeline({ settings: { exempt: [glass] } })
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('glass', { identity: glass, expiresAt: soon(pipeline, 120) })
    await pipeline.pass(3600)
    expect(db.alive()).toEqual(['glass'])
    expect(cases(pipeline)).toHaveLength(0)
    expect(pipeline.stored(lease.id)).toMatchObject({ state: 'live', outcomes: {} })
    expect(pipeline.stored(lease.id).overdueSince).toBeDefined()
  })
})

describe('a restoration', () => {
  it('of an identity gives back what was cut under its other names', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const call = operatorsApi(pipeline)
    await pipeline.lease('mine')
    await pipeline.lease('role', { identity: other })
    const { body } = await call('POST', '/v1/aliases', ONE, { names: [app, other], reason: 'one workload' })
    await call('POST', `/v1/aliases/${body.id}/approve`, TWO, { reason: 'seen' })
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    later(pipeline)
    await pipeline.restore.restoreIdentity({ id: app, ...asked }, OPERATOR)
    await pipeline.settle()
    expect(db.alive()).toEqual(['mine', 'role'])
    expect(pipeline.case(id).restored).toBe(2)
  })

  it('of one identity’s shared lease lets nobody else in whom the same case fenced', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('service', { kind: 'static' })
    await pipeline.lease('mine', { identity: other })
    await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    later(pipeline)
    await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
    await pipeline.settle()
    expect(db.alive()).toEqual(['service'])
    const problem = await refusal(pipeline.lease('service', { kind: 'static', identity: other }, 'other-key-1234'))
    expect(problem.code).toBe('fenced')
  })

  it('of an identity is not kept from what was cut of its new epoch by a compromise of the old one', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const call = operatorsApi(pipeline)
    const old = await pipeline.lease('old')
    await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect((await call('POST', '/v1/identities/reinstate', ONE, { id: app, ...asked })).status).toBe(200)
    await pipeline.lease('new')
    await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    later(pipeline)
    const answer = await call('POST', '/v1/identities/restore', TWO, { id: app, ...asked })
    expect(answer).toMatchObject({ status: 200 })
    await pipeline.settle()
    expect(db.alive()).toEqual(['new'])
    expect(pipeline.stored(old.id).state).toBe('ended')
  })

  it('of the new epoch’s lease pushes back what an offboarding pulled in the old one, and leaves a compromise', async () => {
    for (const type of ['offboarding', 'compromise'] as const) {
      const pipeline = new Pipeline()
      const db = await pipeline.issuer()
      const call = operatorsApi(pipeline)
      await pipeline.lease('old', { group: 'team' })
      await pipeline.trigger(type, { kind: 'identity', id: app })
      await pipeline.settle()
      await call('POST', '/v1/identities/reinstate', ONE, { id: app, ...asked })
      const lease = await pipeline.lease('new', { group: 'team' })
      await pipeline.trigger('offboarding', { kind: 'identity', id: app })
      await pipeline.settle()
      later(pipeline)
      await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
      await pipeline.settle()
      expect(pipeline.stored(lease.id).state).toBe(type === 'offboarding' ? 'live' : 'ended')
      expect(db.alive()).toEqual(type === 'offboarding' ? ['new'] : [])
      expect(db.contained.has('team')).toBe(type === 'compromise')
    }
  })

  it('of a hundred leases that a hundred cases cut is done', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    // All in one shard of the identity.
    const names: string[] = []
    let shard: string | undefined
    for (let index = 0; names.length < 100; index += 1) {
      const name = `job${index}`
      const lease = await pipeline.lease(name, { task: { id: name } })
      const { pk } = pipeline.stored(lease.id)
      shard ??= pk
      if (pk === shard) names.push(name)
    }
    for (const name of names) await pipeline.trigger('task-complete', { kind: 'task', id: name }, { id: `end ${name}` })
    await pipeline.settle()
    later(pipeline)
    const { id } = await pipeline.restore.restoreIdentity({ id: app, ...asked }, OPERATOR)
    await pipeline.settle()
    await pipeline.pass(300)
    expect(await pipeline.restore.show(id)).toMatchObject({ state: 'done', counts: { restored: 100, refused: 0 } })
    expect(db.alive()).toEqual(expect.arrayContaining(names))
  })

  it('gives back what runs out and only tells of it', async () => {
    const discipline = { classes: [{ name: 'all', match: {}, maxTtlSeconds: 864_000, expiry: 'notify' as const }], rules: {} }
    const pipeline = new Pipeline({ settings: { discipline } })
    const db = await pipeline.issuer('db', 864_000)
    const lease = await pipeline.lease('service', { expiresAt: soon(pipeline, 120) })
    await pipeline.pass(600)
    expect(pipeline.stored(lease.id).overdueSince).toBeDefined()
    await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    later(pipeline)
    db.down = true
    await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
    await pipeline.pass(180)
    db.down = false
    await pipeline.pass(900)
    expect(db.alive()).toEqual(['service'])
    expect(pipeline.stored(lease.id)).toMatchObject({ state: 'live' })
    expect(pipeline.stored(lease.id).overdueSince).toBeDefined()
  })
})

describe('a lever', () => {
  it('that did not move before its case was undone is not pulled afterwards', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('service', { group: 'team' })
    const stuck = {
      ...pipeline.module,
      connect: async (...given: Parameters<typeof pipeline.module.connect>) => {
        const provider = await pipeline.module.connect(...given)
        return {
          ...provider,
          contain: async () => ({ status: 'retry' as const, said: 'not now', afterSeconds: 30, effect: 'none' as const }),
        }
      },
    }
    pipeline.replaceWorker((ports) => revokeWorker(stuck, ports))
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', levers: { expected: 1, done: 0 } })
    later(pipeline)
    await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
    await pipeline.settle()
    pipeline.replaceWorker((ports) => revokeWorker(pipeline.module, ports))
    await pipeline.pass(3600)
    expect(pipeline.stored(lease.id).state).toBe('live')
    expect(db.alive()).toEqual(['service'])
  })
})

describe('what lives again', () => {
  it('while its issuer is only observed is cut when it may be, without being told of once more', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer('db', 864_000)
    const lease = await pipeline.lease('service', { expiresAt: soon(pipeline, 2_592_000) })
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    await put(pipeline, 'observe')
    db.resurrect('service')
    await pipeline.pass(900)
    expect(pipeline.stored(lease.id).state).toBe('resurrected')
    await pipeline.pass(180_000)
    expect(pipeline.case(id)).toMatchObject({ resurrections: 1, amendments: { expected: 1, done: 1 } })
    await put(pipeline, 'enforce')
    await pipeline.pass(90_000)
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(lease.id).state).toBe('ended')
    expect(pipeline.case(id)).toMatchObject({
      state: 'closed',
      resurrections: 1,
      amendments: { expected: 2, done: 2 },
      amendCounts: { observed: 1, revoked: 1 },
    })
    // And it is watched as before.
    db.resurrect('service')
    await pipeline.pass(90_000)
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id).resurrections).toBe(2)
  }, 60_000)

  it('while its issuer is only observed ends at its expiry all the same', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer('db', 864_000)
    const lease = await pipeline.lease('service')
    await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    await put(pipeline, 'observe')
    db.resurrect('service')
    await pipeline.pass(900)
    expect(pipeline.stored(lease.id).state).toBe('resurrected')
    await put(pipeline, 'enforce')
    await pipeline.pass(90_000)
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(lease.id).state).toBe('ended')
  }, 60_000)

  it('of an epoch that is over is cut, and the new one is left alone', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer('db', 864_000)
    const call = operatorsApi(pipeline)
    const old = await pipeline.lease('old')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    await call('POST', '/v1/identities/reinstate', ONE, { id: app, ...asked })
    await pipeline.lease('new')
    db.resurrect('old')
    await pipeline.pass(600)
    expect(db.alive()).toEqual(['new'])
    expect(pipeline.stored(old.id).state).toBe('ended')
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', resurrections: 1 })
  })
})

describe('an identity whose compromise is open again', () => {
  it('is not reinstated before what lived again is cut', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer('db', 864_000)
    const call = operatorsApi(pipeline)
    await pipeline.lease('old')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    db.resurrect('old')
    db.answers.set('old', { status: 'retry', said: 'not now', effect: 'none' })
    await pipeline.pass(360)
    expect(pipeline.case(id).state).toBe('resurrected')
    const reinstate = () => call('POST', '/v1/identities/reinstate', ONE, { id: app, ...asked })
    expect((await reinstate()).body).toMatchObject({ code: 'case-state', cases: [id] })
    db.answers.clear()
    await pipeline.pass(600)
    expect(db.alive()).toEqual([])
    expect((await reinstate()).status).toBe(200)
  })
})

describe('an orphan', () => {
  it('whose case is held at its deadline can still be given to somebody else', async () => {
    const pipeline = new Pipeline({ settings: { limits: { ...DEFAULT_LIMITS, reassignDays: 1 } } })
    const db = await pipeline.issuer()
    const call = operatorsApi(pipeline)
    await pipeline.lease('service', { ownerLeaves: 'reassign', expiresAt: soon(pipeline, 8_640_000) })
    await call('PUT', '/v1/identities', ONE, { id: app, protected: true })
    await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    await pipeline.pass(90_000)
    const held = cases(pipeline).find(({ state }) => state === 'held')
    const taken = await call('POST', '/v1/identities/reinstate', ONE, { id: app, owner: 'bob', ...asked })
    expect(taken.body.entries).toMatchObject([{ owner: 'bob', epoch: 1 }])
    expect((await call('POST', `/v1/cases/${held?.id}/reject`, ONE, asked)).body).toMatchObject({ state: 'cancelled' })
    await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' }, { id: 'again' })
    await pipeline.pass(90_000)
    expect(db.alive()).toEqual(['service'])
    expect((await pipeline.lease('more', { owner: 'bob' })).state).toBe('live')
  }, 60_000)

  it('cannot leave the group of its owner while a case on it has not passed it', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const call = operatorsApi(pipeline)
    await pipeline.lease('service')
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    // The group is fenced, its member is not yet.
    pipeline.table.before = () => {
      if (pipeline.table.all().some((item) => item.pk.startsWith('GROUP#') && JSON.stringify(item.fences ?? {}).includes(id)))
        throw new Error('killed')
    }
    await pipeline.step()
    pipeline.table.before = () => {}
    const moved = await call('POST', '/v1/identities/reinstate', ONE, { id: app, owner: 'bob', ...asked })
    expect(moved.body).toMatchObject({ code: 'case-state', cases: [id] })
    await pipeline.pass(600)
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 1 } })
  })

  it('that is accepted under one name is accepted under all of them', async () => {
    const pipeline = new Pipeline({ settings: { limits: { ...DEFAULT_LIMITS, reassignDays: 1 } } })
    const db = await pipeline.issuer()
    const call = operatorsApi(pipeline)
    for (const [name, identity] of Object.entries({ mine: app, role: other }))
      await pipeline.lease(name, { identity, ownerLeaves: 'reassign', expiresAt: soon(pipeline, 8_640_000) })
    const { body } = await call('POST', '/v1/aliases', ONE, { names: [app, other], reason: 'one workload' })
    await call('POST', `/v1/aliases/${body.id}/approve`, TWO, { reason: 'seen' })
    await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    expect((await call('PUT', '/v1/identities', ONE, { id: app, owner: 'bob' })).body).toMatchObject({ owner: 'bob' })
    await pipeline.pass(90_000)
    expect(db.alive()).toEqual(['mine', 'role'])
    expect(await pipeline.operate.getIdentity(other)).toMatchObject({ owner: 'bob' })
  }, 60_000)

  it('that the configuration protects since it was declared waits for an approval at its deadline', async () => {
    const limits = { ...DEFAULT_LIMITS, reassignDays: 1 }
    const before = new Pipeline({ settings: { limits } })
    await before.issuer()
    await before.lease('service', { ownerLeaves: 'reassign', expiresAt: soon(before, 8_640_000) })
    await before.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await before.settle()
    const pipeline = redeployed(before, { limits, protected: [app] })
    await pipeline.pass(90_000)
    expect(pipeline.issuers.get('db')?.alive()).toEqual(['service'])
    expect(
      cases(pipeline)
        .map(({ state }) => state)
        .sort(),
    ).toEqual(['closed', 'held'])
  }, 60_000)
})

describe('two features that meet', () => {
  it('a credential that an exempt identity holds too is cut for nobody, and the case says so', async () => {
    const pipeline = new Pipeline({ settings: { exempt: [glass] } })
    const db = await pipeline.issuer()
    const mine = await pipeline.lease('admin', { kind: 'static' }, 'app-key-1234')
    const theirs = await pipeline.lease('admin', { kind: 'static', identity: glass, owner: 'ops' }, 'ops-key-1234')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.pass(300)
    expect(db.alive()).toEqual(['admin'])
    expect(pipeline.stored(theirs.id).state).toBe('live')
    expect(pipeline.stored(mine.id).outcomes[id]).toMatchObject({ outcome: 'unsupported' })
  })

  it('whoever else holds a credential that is spared for an exempt identity is no bystander: nobody is hit', async () => {
    const pipeline = new Pipeline({ settings: { exempt: [glass] } })
    const db = await pipeline.issuer()
    const mine = await pipeline.lease('admin', { kind: 'static', delegable: true }, 'app-key-1234')
    const child = await pipeline.lease('child', { identity: other, parent: mine.id }, 'child-key-1234')
    const third = await pipeline.lease('admin', { kind: 'static', identity: other }, 'other-key-1234')
    await pipeline.lease('admin', { kind: 'static', identity: glass, owner: 'ops' }, 'ops-key-1234')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.pass(300)
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { unsupported: 1, revoked: 1 } })
    expect(pipeline.case(id).bystanders ?? 0).toBe(0)
    expect(pipeline.stored(third.id)).toMatchObject({ state: 'live', outcomes: {} })
    // What was delegated from the grant that cannot be cut is: it hits nobody who is exempt.
    expect(pipeline.stored(child.id).outcomes[id]).toMatchObject({ outcome: 'revoked' })
    expect(db.alive()).toEqual(['admin'])
    // That of the credential itself names all who hold it.
    const named = await pipeline.trigger('compromise', { kind: 'credential', fingerprint: pipeline.stored(mine.id).fingerprint })
    await pipeline.settle()
    await pipeline.pass(300)
    expect(pipeline.case(named.case)).toMatchObject({ state: 'closed', counts: { unsupported: 3, revoked: 0 } })
    expect(pipeline.stored(third.id).outcomes[named.case]).toMatchObject({ outcome: 'unsupported' })
    expect(db.alive()).toEqual(['admin'])
  })

  it('a lever that an exempt identity hangs on too is not pulled; what others hold is cut one by one', async () => {
    const pipeline = new Pipeline({ settings: { exempt: [glass] } })
    const db = await pipeline.issuer()
    for (const name of ['a', 'b', 'c']) await pipeline.lease(name, { identity: `${app}/${name}`, group: 'team' })
    await pipeline.lease('glass', { identity: glass, owner: 'ops', group: 'team' })
    const { case: id } = await pipeline.trigger('compromise', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    expect(db.alive()).toEqual(['glass'])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 3 }, levers: { expected: 0 } })
  })

  it('an owner who left refuses nothing to what waits for its approval', async () => {
    const discipline = { classes: [{ name: 'all', match: {}, maxTtlSeconds: 864_000 }], rules: { owners: ['*'] } }
    const pipeline = new Pipeline({ settings: { discipline } })
    const db = await pipeline.issuer()
    const call = operatorsApi(pipeline)
    const lease = await pipeline.lease('service')
    await call('PUT', '/v1/identities', ONE, { id: app, protected: true })
    await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    expect(
      cases(pipeline)
        .map(({ state }) => state)
        .sort(),
    ).toEqual(['closed', 'held'])
    expect((await pipeline.leases.renew(lease.id, { expiresAt: soon(pipeline, 90_000) }, BROKER)).state).toBe('live')
    expect((await pipeline.lease('next')).state).toBe('live')
    expect(db.alive()).toEqual(['service', 'next'])
  })

  it('a case that gave a grant back says so where it is undone', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const mine = await pipeline.lease('service', { kind: 'static' }, 'app-key-1234')
    await pipeline.lease('service', { kind: 'static', identity: other, owner: 'bob' }, 'bob-key-1234')
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.case(id).counts).toMatchObject({ released: 1 })
    later(pipeline)
    const { id: restoration } = await pipeline.restore.restoreCase(id, asked, OPERATOR)
    await pipeline.settle()
    expect(await pipeline.restore.show(restoration)).toMatchObject({
      state: 'done',
      refused: [{ lease: mine.id, said: expect.stringContaining('register it anew') }],
    })
  })

  it('a held case holds up no other one that is to cut the same lease', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const call = operatorsApi(pipeline)
    const lease = await pipeline.lease('service')
    db.down = true
    const first = await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    expect(pipeline.stored(lease.id).holder).toMatchObject({ case: first.case })
    expect((await call('POST', `/v1/cases/${first.case}/hold`, ONE, asked)).status).toBe(200)
    db.down = false
    const second = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.pass(900)
    expect(db.alive()).toEqual([])
    expect(pipeline.case(second.case)).toMatchObject({ state: 'closed', counts: { revoked: 1 } })
    expect(pipeline.case(first.case).closedAt).toBeUndefined()
    await call('POST', `/v1/cases/${first.case}/approve`, TWO, asked)
    await pipeline.pass(300)
    expect(pipeline.case(first.case)).toMatchObject({ state: 'closed', counts: { revoked: 1 } })
    expect(db.calls.filter((call) => call.startsWith('revoke'))).toHaveLength(1)
  })

  it('a parked lease that another case ends while its retry is on its way ends for both', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('stuck')
    db.answers.set('stuck', { status: 'irrevocable', said: 'owned by somebody' })
    const first = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    db.answers.clear()
    pipeline.now += DEFAULT_LIMITS.parkedRetrySeconds * 1000
    await pipeline.sweep()
    expect(pipeline.case(first.case).amendments).toEqual({ expected: 1, done: 0 })
    const retry = pipeline.messages.splice(0)
    const second = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.case(second.case)).toMatchObject({ state: 'closed', counts: { revoked: 1 } })
    pipeline.messages.push(...retry)
    await pipeline.pass(300)
    expect(pipeline.case(first.case)).toMatchObject({ amendments: { expected: 1, done: 1 }, amendCounts: { revoked: 1 } })
    expect(pipeline.stored(lease.id).outcomes[first.case]).toMatchObject({ outcome: 'revoked', evidence: { by: second.case } })
  })

  it('a case that takes the one lease that was asked for leaves no other holder of its credential half restored', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const mine = await pipeline.lease('service', { kind: 'static' }, 'app-key-1234')
    const theirs = await pipeline.lease('service', { kind: 'static', identity: other, owner: 'bob' }, 'bob-key-1234')
    await pipeline.trigger('compromise', { kind: 'credential', fingerprint: mine.fingerprint })
    await pipeline.settle()
    later(pipeline)
    db.loseRestored.add('service')
    const { id } = await pipeline.restore.restoreIdentity({ id: app, ...undone }, APPROVER)
    await pipeline.settle()
    expect([mine, theirs].map((lease) => pipeline.stored(lease.id).state)).toEqual(['restoring', 'restoring'])
    later(pipeline)
    await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect([mine, theirs].map((lease) => pipeline.stored(lease.id).state)).toEqual(['cutting', 'restoring'])
    await pipeline.pass(1800)
    expect(db.alive()).toEqual([])
    expect(await pipeline.restore.show(id)).toMatchObject({ state: 'done', counts: { restored: 0, refused: 1 } })
    expect([mine, theirs].map((lease) => pipeline.stored(lease.id).state)).toEqual(['ended', 'ended'])
  })

  it('what a compromise only watched is cut with its credential when another holder comes too late', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await put(pipeline, 'observe')
    const watched = await pipeline.lease('service', { kind: 'static' }, 'app-key-1234')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    await put(pipeline, 'enforce')
    expect((await refusal(pipeline.lease('service', { kind: 'static' }, 'late-key-1234'))).code).toBe('fenced')
    await pipeline.settle()
    await pipeline.pass(300)
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(watched.id)).toMatchObject({ state: 'ended', outcomes: { [id]: { outcome: 'revoked' } } })
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { observed: 1 }, amendCounts: { revoked: 2 } })
  })

  it('what came too late and was only watched is cut when it may be', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('first')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    const expiresAt = soon(pipeline, 2_592_000)
    expect((await refusal(pipeline.lease('late', { expiresAt }))).code).toBe('fenced')
    await put(pipeline, 'observe')
    await pipeline.settle()
    expect(pipeline.case(id).amendCounts).toMatchObject({ observed: 1 })
    await pipeline.pass(100_000)
    expect(db.alive()).toEqual(['late'])
    await put(pipeline, 'enforce')
    await pipeline.pass(90_000)
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ amendments: { expected: 2, done: 2 }, amendCounts: { observed: 1, revoked: 1 } })
  }, 60_000)

  it('a case with a parked lease says what it does not give back', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('stuck')
    await pipeline.lease('fine')
    db.answers.set('stuck', { status: 'irrevocable', said: 'owned by somebody' })
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.case(id).counts).toMatchObject({ revoked: 1, parked: 1 })
    later(pipeline)
    const { id: restoration } = await pipeline.restore.restoreCase(id, asked, OPERATOR)
    await pipeline.settle()
    db.answers.clear()
    await pipeline.pass(400)
    expect(await pipeline.restore.show(restoration)).toMatchObject({
      state: 'done',
      counts: { restored: 1, refused: 1 },
      refused: [{ lease: lease.id }],
    })
  })

  it('a deletion that is approved after the lease’s own retention is made all the same', async () => {
    const limits = { ...DEFAULT_LIMITS, retentionDays: 1 }
    const pipeline = new Pipeline({ settings: { limits } })
    const db = await pipeline.issuer('db', 3600)
    const lease = await pipeline.lease('leaked')
    await pipeline.trigger('compromise', { kind: 'identity', id: app }, { campaign: 'leak' })
    await pipeline.settle()
    const call = operatorsApi(pipeline)
    for (let day = 0; day < 6; day += 1) {
      for (let hour = 0; hour < 24; hour += 1) {
        pipeline.now += 3_600_000
        await pipeline.sweep()
        await pipeline.settle()
        for (const item of pipeline.table.all())
          if (typeof item.ttl === 'number' && item.ttl * 1000 < pipeline.now) pipeline.table.expire(item)
      }
    }
    expect(db.deleted.size).toBe(0)
    expect(pipeline.stored(lease.id).state).toBe('ended')
    const [held] = (await call('GET', '/v1/held', ONE)).body.entries
    expect((await call('POST', `/v1/campaigns/${held.campaign.id}/approve`, ONE, asked)).status).toBe(200)
    await pipeline.pass(7200)
    expect([...db.deleted]).toEqual(['leaked'])
  }, 60_000)

  it('a held case: what is restored meanwhile waits, and nothing is cut or given back before it goes on', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const one = await pipeline.lease('one')
    await pipeline.lease('two', { identity: other })
    const first = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    later(pipeline)
    const second = await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    // It has fenced, and is stopped in the middle of its planning.
    pipeline.table.before = () => {
      if (pipeline.table.all().some((item) => item.kind === 'case' && item.id === second.case && item.fencedAt !== undefined))
        throw new Error('killed')
    }
    await pipeline.step()
    pipeline.table.before = () => {}
    const call = operatorsApi(pipeline)
    expect((await call('POST', `/v1/cases/${second.case}/hold`, ONE, asked)).status).toBe(200)
    later(pipeline)
    const { id } = await pipeline.restore.restoreLease(one.id, asked, OPERATOR)
    await pipeline.pass(600)
    expect(db.alive()).toEqual(['two'])
    expect(await pipeline.restore.show(id)).toMatchObject({ state: 'running' })
    await call('POST', `/v1/cases/${second.case}/approve`, ONE, asked)
    await pipeline.pass(900)
    expect(db.alive()).toEqual(['one'])
    expect(pipeline.case(second.case).state).toBe('closed')
    expect(pipeline.case(first.case)).toMatchObject({ state: 'closed', restored: 1 })
  })

  it('the kill switch in the middle of a restoration stops it, and it goes on afterwards', async () => {
    for (const kind of ['dynamic', 'static'] as const) {
      const pipeline = new Pipeline()
      const db = await pipeline.issuer()
      const lease = await pipeline.lease('service', { kind, group: 'team' })
      const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
      await pipeline.settle()
      later(pipeline)
      db.onRelease = async () => void (await engageKillSwitch(pipeline.table, 'stop', by))
      db.onRestore = async () => void (await engageKillSwitch(pipeline.table, 'stop', by))
      db.loseRestored.add('service')
      await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
      await pipeline.pass(1200)
      expect(pipeline.stored(lease.id).state).toBe('restoring')
      db.onRelease = () => {}
      db.onRestore = () => {}
      await releaseKillSwitch(pipeline.table, await controlOf(pipeline.table), by)
      await pipeline.pass(1200)
      expect(db.alive()).toEqual(['service'])
      expect(pipeline.stored(lease.id).state).toBe('live')
      expect(pipeline.case(id).restored).toBe(1)
    }
  })

  it('the kill switch holds up a question to an issuer, spends none of its tries, and loses none', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('loose')
    await engageKillSwitch(pipeline.table, 'stop', by)
    const { case: id } = await pipeline.trigger('compromise', { kind: 'credential-name', name: 'fake:loose' })
    await pipeline.pass(7200)
    expect(db.calls).toEqual([])
    await releaseKillSwitch(pipeline.table, await controlOf(pipeline.table), by)
    await pipeline.pass(300)
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', asks: { expected: 1, done: 1 }, amendCounts: { revoked: 1 } })
  })

  it('what was located in a false alarm comes back, and whoever registers it takes it over', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer('db', 864_000)
    db.mint('loose')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'credential-name', name: 'fake:loose' })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    later(pipeline)
    const found = pipeline.table.all().find(({ kind }) => kind === 'lease')
    const lease = pipeline.stored(String(found?.id))
    await pipeline.restore.restoreLease(lease.id, undone, APPROVER)
    await pipeline.settle()
    expect(db.alive()).toEqual(['loose'])
    await pipeline.pass(7200)
    expect(db.alive()).toEqual(['loose'])
    const mine = await pipeline.lease('loose', { kind: 'static', expiresAt: soon(pipeline, 8_640_000) })
    expect(mine.state).toBe('live')
    expect(pipeline.case(id)).not.toHaveProperty('resurrections')
    const { case: released } = await pipeline.leases.release(lease.id, BROKER)
    await pipeline.settle()
    expect(pipeline.case(released).counts).toMatchObject({ released: 1 })
    expect(db.alive()).toEqual(['loose'])
  })

  it('a restored lease of a task is renewed, and has children again', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const parent = await pipeline.lease('agent', { delegable: true, task: { id: '7' } })
    await pipeline.lease('sub', { identity: other, owner: 'bob', parent: parent.id })
    await pipeline.trigger('task-complete', { kind: 'task', id: '7' })
    await pipeline.settle()
    later(pipeline)
    await pipeline.restore.restoreLease(parent.id, asked, OPERATOR)
    await pipeline.settle()
    expect(db.alive()).toEqual(['agent'])
    expect((await pipeline.leases.renew(parent.id, { expiresAt: soon(pipeline, 90_000) }, BROKER)).state).toBe('live')
    expect((await pipeline.lease('sub2', { identity: other, owner: 'bob', parent: parent.id })).state).toBe('live')
    expect((await refusal(pipeline.lease('same-task', { task: { id: '7' } }))).code).toBe('fenced')
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 2 } })
  })

  it('what an outage put off is cut by a compromise, and given back for the time that it still has', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.pass(120)
    const lease = await pipeline.lease('service', { expiresAt: soon(pipeline, 1800) })
    pipeline.now += 7_200_000
    await pipeline.pass(60)
    expect(pipeline.stored(lease.id).graceUntil).toBeDefined()
    await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    later(pipeline)
    await pipeline.restore.restoreLease(lease.id, undone, APPROVER)
    await pipeline.settle()
    await pipeline.pass(300)
    expect(db.alive()).toEqual(['service'])
    await pipeline.pass(7200)
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(lease.id).state).toBe('ended')
  })

  it('a name that many have, cut with its last holder and used anew, is no resurrection, and comes back for one', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer('db', 864_000)
    const NAME = 'many/ci'
    const one = await pipeline.lease(NAME, { task: { id: '1' } }, 'job-one-key')
    const { case: id } = await pipeline.trigger('task-complete', { kind: 'task', id: '1' }, { id: 'end-1' })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    later(pipeline)
    await pipeline.restore.restoreLease(one.id, asked, OPERATOR)
    await pipeline.settle()
    expect(db.alive()).toEqual([NAME])
    const { case: again } = await pipeline.leases.release(one.id, BROKER)
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    db.resurrect(NAME)
    const two = await pipeline.lease(NAME, { task: { id: '2' } }, 'job-two-key')
    await pipeline.pass(7200)
    expect(db.alive()).toEqual([NAME])
    expect(pipeline.stored(two.id).state).toBe('live')
    for (const one of [id, again]) expect(pipeline.case(one).resurrections ?? 0).toBe(0)
  })

  it('an issuer put to observe in the middle of a cut: nothing more is cut, and what was begun ends when it may', async () => {
    const pipeline = new Pipeline({ definition: fakeDefinition({ propagationSeconds: 30, batch: 1 }) as never })
    const db = await pipeline.issuer('db', 864_000)
    for (const name of ['a', 'b', 'c']) await pipeline.lease(name)
    let cuts = 0
    db.onRevoke = async () => {
      cuts += 1
      if (cuts === 2) await put(pipeline, 'observe')
    }
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.pass(600)
    expect(db.alive()).toHaveLength(1)
    // What the issuer was asked for before is not known to be dead.
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 0, parked: 2, observed: 1 } })
    expect(db.calls).toHaveLength(2)
    await put(pipeline, 'enforce')
    await pipeline.pass(90_000)
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id).amendCounts).toMatchObject({ revoked: 2, parked: 0 })
  }, 60_000)

  it('a case that watches a lease and one that cut it: the restoration of the second gives it back', async () => {
    const rules = [{ trigger: 'decommission' as const, mode: 'observe' as const }]
    const pipeline = new Pipeline({ settings: { modes: { default: 'enforce', rules } } })
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('service', { deployment: { id: 'v1', namespace: 'deploy' } })
    const watched = await pipeline.trigger('decommission', { kind: 'deployment', id: 'v1', namespace: 'deploy' })
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    later(pipeline)
    await pipeline.restore.restoreCase(id, asked, OPERATOR)
    await pipeline.settle()
    expect(db.alive()).toEqual(['service'])
    expect(pipeline.case(watched.case).counts).toMatchObject({ observed: 1 })
    expect(pipeline.stored(lease.id).state).toBe('live')
    await pipeline.pass(7200)
    expect(db.alive()).toEqual(['service'])
  })

  it('the trail knows every version of every item that it follows, through all of this', async () => {
    const pipeline = new Pipeline({ settings: { exempt: [glass] } })
    const db = await pipeline.issuer('db', 3600)
    const call = operatorsApi(pipeline)
    await pipeline.lease('mine', { group: 'team' })
    await pipeline.lease('glass', { identity: glass, owner: 'ops' })
    const role = await pipeline.lease('role', { identity: other, kind: 'static' })
    db.mint('loose')
    const { body } = await call('POST', '/v1/aliases', ONE, { names: [app, other], reason: 'one workload' })
    await call('POST', `/v1/aliases/${body.id}/approve`, TWO, { reason: 'seen' })
    const first = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await call('POST', `/v1/cases/${first.case}/hold`, ONE, asked)
    await pipeline.pass(180)
    await call('POST', `/v1/cases/${first.case}/approve`, ONE, asked)
    await pipeline.pass(180)
    await pipeline.restore.restoreIdentity({ id: app, ...asked }, OPERATOR)
    await pipeline.pass(180)
    expect(db.alive()).toEqual(['mine', 'glass', 'role', 'loose'])
    await call('PUT', '/v1/control/kill-switch', ONE, { engaged: true, ...asked })
    await pipeline.trigger('compromise', { kind: 'owner', id: 'ops' }, { campaign: 'leak', id: 'c1' })
    await pipeline.trigger(
      'compromise',
      { kind: 'credential-name', name: 'fake:loose:s3cr3t-pa55' },
      { campaign: 'leak', id: 'c2' },
    )
    await pipeline.pass(180)
    await call('PUT', '/v1/control/kill-switch', ONE, { engaged: false, ...asked })
    await pipeline.pass(180)
    await pipeline.trigger('compromise', { kind: 'credential', fingerprint: role.fingerprint })
    await pipeline.pass(180)
    db.resurrect('role')
    await pipeline.pass(600)
    await call('POST', '/v1/identities/reinstate', TWO, { id: app, ...asked })
    const [held] = (await call('GET', '/v1/held', ONE)).body.entries
    await call('POST', `/v1/campaigns/${held.campaign.id}/approve`, ONE, asked)
    await pipeline.pass(14_400)
    expect(db.alive()).toEqual(['mine', 'glass'])
    expect([...db.deleted].sort()).toEqual(['loose', 'role'])
    const versions = pipeline.versions()
    const followed = [
      'lease',
      'case',
      'identity',
      'fence',
      'lever',
      'chunk',
      'amendment',
      'issuer',
      'credential',
      'alias',
      'restoration',
      'control',
      'campaign',
      'ask',
    ]
    const seen = new Set<string>()
    for (const item of pipeline.table.all().filter(({ kind }) => followed.includes(String(kind)))) {
      const key = `${item.pk}|${item.sk}`
      seen.add(String(item.kind))
      expect(
        [...(versions.get(key) ?? [])].sort((one, next) => one - next),
        key,
      ).toEqual(Array.from({ length: Number(item.v) }, (_, index) => index + 1))
    }
    expect([...seen].sort()).toEqual(followed.sort())
    const everything = JSON.stringify([
      pipeline.table.changes,
      [...pipeline.archived],
      pipeline.announced,
      pipeline.logged,
      pipeline.sent,
    ])
    expect(everything).not.toContain('s3cr3t')
  })

  it('a group that was reinstated is closed by the scheduled case that starts afterwards', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const call = operatorsApi(pipeline)
    await pipeline.lease('old')
    await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' }, { id: 'first', effectiveAt: soon(pipeline, 0) })
    const second = await pipeline.trigger(
      'offboarding',
      { kind: 'owner', id: 'alice' },
      { id: 'second', effectiveAt: soon(pipeline, 3600) },
    )
    await pipeline.settle()
    expect((await call('POST', '/v1/groups/reinstate', ONE, { kind: 'owner', id: 'alice', ...asked })).status).toBe(200)
    expect((await call('POST', '/v1/identities/reinstate', ONE, { id: app, ...asked })).status).toBe(200)
    await pipeline.lease('new')
    await pipeline.pass(3900)
    expect(pipeline.case(second.case)).toMatchObject({ state: 'closed', identities: 1 })
    expect(db.alive()).toEqual([])
    expect((await refusal(pipeline.lease('newer', { identity: other }))).code).toBe('fenced')
  })
})
