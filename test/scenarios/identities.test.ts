import { describe, expect, it } from 'vitest'
import { identityKey } from '../../functions/domain/keys.ts'
import { as } from '../../functions/store/items.ts'
import { ONE, operatorsApi, TWO, VIEWER } from '../support/api.ts'
import { Pipeline } from '../support/pipeline.ts'
import { refusal } from '../support/refusal.ts'

/** One workload under several names, identities that nobody may touch, and those that come back. */

const SPIFFE = 'spiffe://example.org/billing'
const ROLE = 'arn:aws:iam::111122223333:role/billing'
const SUBJECT = 'https://ci.example.org#repo%3Abilling'

async function world(options: ConstructorParameters<typeof Pipeline>[0] = {}) {
  const pipeline = new Pipeline(options)
  const db = await pipeline.issuer()
  const call = operatorsApi(pipeline)
  const meta = (uri: string) => {
    const item = pipeline.table.items.get(`ID#${identityKey(uri)}`)?.get('META')
    if (item === undefined) throw new Error(`no identity ${uri}`)
    return as('identity', item)
  }
  const link = async (...names: string[]) => {
    const proposed = await call('POST', '/v1/aliases', ONE, { names, reason: 'one workload' })
    expect(proposed.status).toBe(200)
    return call('POST', `/v1/aliases/${proposed.body.id}/approve`, TWO, { reason: 'seen' })
  }
  return { pipeline, db, call, meta, link }
}

describe('one workload, several names', () => {
  it('a case on one name fences, contains and cuts what the others hold', async () => {
    const { pipeline, db, link, meta } = await world()
    await pipeline.lease('a', { identity: SPIFFE, group: 'billing' })
    await pipeline.lease('b', { identity: ROLE, group: 'role' })
    await pipeline.lease('c', { identity: SUBJECT })
    await pipeline.lease('other', { identity: 'spiffe://example.org/other' })
    expect((await link(SPIFFE, ROLE)).status).toBe(200)
    // Whoever is linked to one is linked to all.
    expect((await link(ROLE, SUBJECT)).body.entries).toHaveLength(3)
    expect(meta(SPIFFE).aliases).toEqual([ROLE, SUBJECT].sort())
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: SUBJECT })
    await pipeline.settle()
    expect(db.alive()).toEqual(['other'])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', identities: 3, counts: { revoked: 3 }, levers: { done: 2 } })
    expect([...db.contained].sort()).toEqual(['billing', 'role'])
    for (const name of [SPIFFE, ROLE, SUBJECT]) expect(Object.keys(meta(name).fences)).toEqual([id])
    expect((await refusal(pipeline.lease('late', { identity: ROLE }))).code).toBe('fenced')
  })

  it('an owner who leaves reaches a linked name once, whether as a member or as the other name', async () => {
    const { pipeline, db, link } = await world()
    await pipeline.lease('a', { identity: SPIFFE })
    await pipeline.lease('b', { identity: ROLE })
    await link(SPIFFE, ROLE)
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', identities: 2, counts: { revoked: 2 } })
  })

  it('a planner killed at any of its writes still reaches every name, each counted once', async () => {
    for (let crash = 1; crash <= 60; crash += 1) {
      const { pipeline, db, link } = await world()
      await pipeline.lease('a', { identity: SPIFFE, group: 'g' })
      await pipeline.lease('b', { identity: ROLE })
      await link(SPIFFE, ROLE)
      const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: SPIFFE })
      let operations = 0
      pipeline.table.before = () => {
        operations += 1
        if (operations === crash) throw new Error('crash')
      }
      await pipeline.settle().catch(() => {})
      pipeline.table.before = () => {}
      await pipeline.pass(900)
      expect(db.alive(), `crash ${crash}`).toEqual([])
      expect(pipeline.case(id), `crash ${crash}`).toMatchObject({ state: 'closed', identities: 2, counts: { revoked: 2 } })
    }
  })

  it('a group reaches the other names of its members, which need not be members: watched as well as cut', async () => {
    for (const mode of ['enforce', 'observe'] as const) {
      const apart = async () => {
        const made = await world({ settings: { modes: { default: mode, rules: [] } } })
        await made.pipeline.lease('a', { identity: SPIFFE })
        const { id } = await made.pipeline.lease('b', { identity: ROLE })
        await made.call('PUT', '/v1/identities', ONE, { id: SPIFFE, workload: 'crm' })
        await made.call('PUT', '/v1/identities', ONE, { id: ROLE, workload: 'crm' })
        await made.link(SPIFFE, ROLE)
        const moved = await made.call('PUT', '/v1/identities', ONE, { id: ROLE, workload: 'erp' })
        expect(moved.body).toMatchObject({ workload: 'erp' })
        return { ...made, id }
      }
      for (let crash = 0; crash <= 60; crash += 1) {
        const { pipeline, db, id } = await apart()
        const { case: given } = await pipeline.trigger('offboarding', { kind: 'workload', id: 'crm' })
        let operations = 0
        pipeline.table.before = () => {
          operations += 1
          if (operations === crash) throw new Error('crash')
        }
        await pipeline.settle().catch(() => {})
        pipeline.table.before = () => {}
        await pipeline.pass(900)
        const word = mode === 'enforce' ? 'revoked' : 'observed'
        expect(pipeline.case(given), `${mode}, crash ${crash}`).toMatchObject({
          state: 'closed',
          identities: 2,
          counts: { [word]: 2 },
        })
        expect(pipeline.stored(id).outcomes[given], `${mode}, crash ${crash}`).toMatchObject({ outcome: word })
        expect(db.alive().sort(), `${mode}, crash ${crash}`).toEqual(mode === 'enforce' ? [] : ['a', 'b'])
      }
    }
  })

  it('is approved by a second person with the right, and only while no name is fenced', async () => {
    const { pipeline, call } = await world()
    await pipeline.lease('a', { identity: SPIFFE })
    await pipeline.lease('b', { identity: ROLE })
    expect((await call('POST', '/v1/aliases', ONE, { names: [SPIFFE, SUBJECT], reason: 'x' })).body.code).toBe('identity-unknown')
    expect((await call('POST', '/v1/aliases', ONE, { names: [SPIFFE, SPIFFE], reason: 'x' })).body.code).toBe('body-invalid')
    const { body } = await call('POST', '/v1/aliases', ONE, { names: [ROLE, SPIFFE], reason: 'one workload' })
    // The same names are the same proposal.
    expect((await call('POST', '/v1/aliases', TWO, { names: [SPIFFE, ROLE], reason: 'again' })).body).toEqual(body)
    expect((await call('GET', '/v1/aliases', VIEWER)).body.entries).toEqual([body])
    const approve = (caller: string) => call('POST', `/v1/aliases/${body.id}/approve`, caller, { reason: 'seen' })
    expect((await approve(ONE)).body.code).toBe('requester-cannot-approve')
    expect((await approve(VIEWER)).body.code).toBe('forbidden')
    await pipeline.trigger('compromise', { kind: 'identity', id: ROLE })
    await pipeline.settle()
    expect((await approve(TWO)).body).toMatchObject({ code: 'fenced', cases: [expect.any(String)] })
    expect((await call('POST', `/v1/aliases/${body.id}/reject`, TWO, { reason: 'compromised' })).status).toBe(200)
    expect((await approve(TWO)).body.code).toBe('not-found')
  })

  it('names with different owners are no one workload', async () => {
    const { pipeline, link } = await world()
    await pipeline.lease('a', { identity: SPIFFE })
    await pipeline.lease('b', { identity: ROLE, owner: 'bob' })
    expect((await link(SPIFFE, ROLE)).body.code).toBe('body-invalid')
  })

  it('protection of one name holds for all, and a name that is taken out is reached no more', async () => {
    const { pipeline, db, call, link, meta } = await world()
    await pipeline.lease('a', { identity: SPIFFE })
    await pipeline.lease('b', { identity: ROLE })
    await call('PUT', '/v1/identities', ONE, { id: ROLE, protected: true })
    await link(SPIFFE, ROLE)
    expect(meta(SPIFFE).protected).toBe(true)
    expect((await pipeline.trigger('offboarding', { kind: 'identity', id: SPIFFE })).status).toBe('held')
    expect((await call('POST', '/v1/aliases/remove', VIEWER, { id: ROLE, reason: 'x' })).body.code).toBe('forbidden')
    expect((await call('POST', '/v1/aliases/remove', TWO, { id: ROLE, reason: 'split' })).status).toBe(200)
    expect(meta(SPIFFE).aliases).toBeUndefined()
    await pipeline.trigger('compromise', { kind: 'identity', id: SPIFFE })
    await pipeline.settle()
    expect(db.alive()).toEqual(['b'])
  })
})

describe('exempt identities', () => {
  const GLASS = 'spiffe://example.org/break-glass'

  it('a compromise leaves a break-glass identity alone and shouts; everybody else is cut', async () => {
    const { pipeline, db } = await world({ settings: { exempt: [GLASS] } })
    await pipeline.lease('glass', { identity: GLASS })
    await pipeline.lease('app')
    const one = await pipeline.trigger('compromise', { kind: 'identity', id: GLASS })
    const all = await pipeline.trigger('compromise', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    expect(db.alive()).toEqual(['glass'])
    expect(pipeline.case(one.case)).toMatchObject({ state: 'closed', exempt: 1, counts: { revoked: 0 } })
    expect(pipeline.case(all.case)).toMatchObject({ state: 'closed', exempt: 1, counts: { revoked: 1 } })
    expect(
      pipeline.announced
        .filter(({ type }) => type === 'io.rescind.case.exempted')
        .map(({ subject }) => subject)
        .sort(),
    ).toEqual([one.case, all.case].sort())
    expect(pipeline.records().filter(({ what }) => what === 'case.exempted')).toHaveLength(2)
    expect(pipeline.logged.filter((line) => line.startsWith('an exempt identity'))).toHaveLength(2)
    // Nothing of it is fenced: it gets new leases.
    expect((await pipeline.lease('more', { identity: GLASS })).state).toBe('live')
  })

  it('its lease that a task or a credential reaches is told as not cut, with the time it lives', async () => {
    const { pipeline, db } = await world({ settings: { exempt: [GLASS] } })
    const lease = await pipeline.lease('glass', { identity: GLASS, task: { id: '7' } })
    await pipeline.lease('job', { task: { id: '7' } })
    const { case: id } = await pipeline.trigger('task-complete', { kind: 'task', id: '7' })
    await pipeline.settle()
    expect(db.alive()).toEqual(['glass'])
    expect(pipeline.case(id).counts).toMatchObject({ revoked: 1, unsupported: 1 })
    expect(pipeline.stored(lease.id)).toMatchObject({
      state: 'live',
      outcomes: { [id]: { outcome: 'unsupported', livesUntil: lease.expiresAt } },
    })
  })
})

describe('reinstatement', () => {
  it('a false alarm: old leases stay dead, new ones are possible, and a later case reaches those', async () => {
    const { pipeline, db, call, meta } = await world()
    const old = await pipeline.lease('old', { identity: SPIFFE, group: 'g' })
    await pipeline.trigger('compromise', { kind: 'identity', id: SPIFFE })
    await pipeline.settle()
    const body = { id: SPIFFE, reason: 'false alarm' }
    expect((await call('POST', '/v1/identities/reinstate', VIEWER, body)).body.code).toBe('forbidden')
    const done = await call('POST', '/v1/identities/reinstate', ONE, body)
    expect(done.body.entries).toMatchObject([{ id: SPIFFE, epoch: 2, fencedThrough: 1 }])
    // Twice is once.
    expect((await call('POST', '/v1/identities/reinstate', ONE, body)).body.entries).toMatchObject([{ epoch: 2 }])
    expect(pipeline.stored(old.id).state).toBe('ended')
    expect(db.works('old')).toBe(false)
    expect((await pipeline.lease('new', { identity: SPIFFE })).state).toBe('live')
    await pipeline.pass(60)
    expect(meta(SPIFFE).epoch).toBe(2)
    expect(pipeline.records().filter(({ what }) => what === 'identity.reinstated')).toMatchObject([
      { previous: '1', state: '2', why: 'false alarm', who: ONE },
    ])
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: SPIFFE })
    await pipeline.settle()
    expect(db.works('new')).toBe(false)
    expect(pipeline.case(id).counts).toMatchObject({ revoked: 1 })
  })

  it('waits for the compromise to be over, not for a lifecycle case with a dead issuer', async () => {
    const { pipeline, db, call } = await world()
    await pipeline.lease('a', { identity: SPIFFE })
    await pipeline.lease('b', { identity: ROLE })
    db.down = true
    const compromise = await pipeline.trigger('compromise', { kind: 'identity', id: SPIFFE })
    await pipeline.trigger('offboarding', { kind: 'identity', id: ROLE })
    await pipeline.settle()
    const reinstate = (id: string) => call('POST', '/v1/identities/reinstate', ONE, { id, reason: 'needed' })
    expect((await reinstate(SPIFFE)).body).toMatchObject({ code: 'case-state', cases: [compromise.case] })
    expect((await reinstate(ROLE)).status).toBe(200)
    const fresh = await pipeline.lease('fresh', { identity: ROLE })
    db.down = false
    await pipeline.pass(900)
    // The old case cut the old lease and skipped the one of the new epoch.
    expect(db.alive()).toEqual(['fresh'])
    expect(pipeline.stored(fresh.id).state).toBe('live')
    expect((await reinstate(SPIFFE)).status).toBe(200)
  })

  it('a transfer names a new owner; a rehired owner is reinstated as a group first', async () => {
    const { pipeline, call, meta } = await world()
    await pipeline.lease('a', { identity: SPIFFE })
    await pipeline.lease('b', { identity: ROLE })
    await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    const reinstate = (body: object) => call('POST', '/v1/identities/reinstate', ONE, { reason: 'goes on', ...body })
    expect((await reinstate({ id: SPIFFE })).body.code).toBe('fenced')
    expect((await reinstate({ id: SPIFFE, owner: 'bob' })).body.entries).toMatchObject([{ owner: 'bob', epoch: 2 }])
    expect((await refusal(pipeline.lease('new', { identity: 'spiffe://example.org/new' }))).code).toBe('fenced')
    const group = { kind: 'owner', id: 'alice', reason: 'rehired' }
    expect((await call('POST', '/v1/groups/reinstate', VIEWER, group)).body.code).toBe('forbidden')
    expect((await call('POST', '/v1/groups/reinstate', ONE, group)).body).toMatchObject({ state: 'open' })
    expect((await reinstate({ id: ROLE })).body.entries).toMatchObject([{ owner: 'alice', epoch: 2 }])
    expect((await pipeline.lease('newer', { identity: 'spiffe://example.org/newer' })).state).toBe('live')
    // The next leaving closes it again, and bob's identity is not alice's any more.
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    expect(pipeline.case(id).identities).toBe(3)
    expect(meta(SPIFFE).fences[id]).toBeUndefined()
    expect((await refusal(pipeline.lease('newest', { identity: 'spiffe://example.org/newest' }))).code).toBe('fenced')
  })

  it('a group with a running case is not opened, and all names of a workload come back together', async () => {
    const { pipeline, db, call, link } = await world()
    await pipeline.lease('a', { identity: SPIFFE })
    await pipeline.lease('b', { identity: ROLE })
    await link(SPIFFE, ROLE)
    db.down = true
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    const group = { kind: 'owner', id: 'alice', reason: 'rehired' }
    expect((await call('POST', '/v1/groups/reinstate', ONE, group)).body).toMatchObject({ code: 'case-state', cases: [id] })
    db.down = false
    await pipeline.pass(900)
    expect((await call('POST', '/v1/groups/reinstate', ONE, group)).status).toBe(200)
    const { body } = await call('POST', '/v1/identities/reinstate', ONE, { id: ROLE, reason: 'rehired' })
    expect(body.entries.map(({ id: name, epoch }: { id: string; epoch: number }) => [name, epoch])).toEqual([
      [ROLE, 2],
      [SPIFFE, 2],
    ])
  })
})
