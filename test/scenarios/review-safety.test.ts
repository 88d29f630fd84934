import { describe, expect, it } from 'vitest'
import { DEFAULT_LIMITS } from '../../functions/contracts/settings.ts'
import { identityKey } from '../../functions/domain/keys.ts'
import { instant } from '../../functions/domain/time.ts'
import { engageKillSwitch, controlOf, releaseKillSwitch } from '../../functions/store/control.ts'
import { declareIssuer } from '../../functions/store/issuers.ts'
import { as } from '../../functions/store/items.ts'
import { ONE, operatorsApi, TWO } from '../support/api.ts'
import { app, BROKER, Pipeline, settings } from '../support/pipeline.ts'
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

  it('of the new epoch’s lease does not ask about a lever that was pulled in the old one', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const call = operatorsApi(pipeline)
    await pipeline.lease('old', { group: 'team' })
    await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    await call('POST', '/v1/identities/reinstate', ONE, { id: app, ...asked })
    const lease = await pipeline.lease('new', { group: 'team' })
    await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    later(pipeline)
    await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
    await pipeline.settle()
    expect(pipeline.stored(lease.id).state).toBe('live')
    expect(db.alive()).toEqual(['new'])
  })

  it('of a hundred leases that a hundred cases cut is done', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    // All in one shard of the identity.
    const names: string[] = []
    let shard: string | undefined
    for (let index = 0; names.length < 100; index += 1) {
      const name = `job${index}`
      const lease = await pipeline.lease(name, { task: { id: name }, namespace: undefined } as never)
      const { pk } = pipeline.stored(lease.id)
      shard ??= pk
      if (pk === shard) names.push(name)
    }
    for (const name of names) await pipeline.trigger('task-complete', { kind: 'task', id: name, namespace: 'ci' } as never, { id: `end ${name}` })
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

describe('what lives again', () => {
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

describe('an orphan', () => {
  it('that the configuration protects waits for an approval at its deadline', async () => {
    const pipeline = new Pipeline({ settings: { ownerLeavesDefault: 'reassign', limits: { ...DEFAULT_LIMITS, reassignDays: 1 }, protected: ['**/vital'] } })
    const db = await pipeline.issuer()
    const vital = 'spiffe://example.org/vital'
    await pipeline.lease('service', { identity: app, ownerLeaves: 'reassign', expiresAt: soon(pipeline, 8_640_000) })
    const item = pipeline.table.items.get(`ID#${identityKey(app)}`)?.get('META')
    expect(as('identity', item as never).protected).toBe(false)
    await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    void vital
    await pipeline.pass(90_000)
    expect(db.alive()).toEqual([])
  }, 60_000)
})
void [APPROVER, undone, BROKER, settings, engageKillSwitch, controlOf, releaseKillSwitch]
