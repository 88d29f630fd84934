import { describe, expect, it } from 'vitest'
import { instant } from '../../functions/domain/time.ts'
import type { Definition } from '../../functions/providers/contract.ts'
import { ProblemError } from '../../functions/runtime/problem-error.ts'
import { fence } from '../../functions/store/identities.ts'
import { fenceItem, scopeOfTask } from '../../functions/store/keys.ts'
import { fakeDefinition } from '../support/fake-issuer.ts'
import { app, BROKER, Pipeline } from '../support/pipeline.ts'
import { refusal } from '../support/refusal.ts'

/**
 * The promises G1 to G9, each shown over the true state of the issuers: the whole pipeline in one process, on a table in
 * memory, with a clock that the test moves.
 */

const other = 'spiffe://example.org/other'
const person = { who: 'test', at: '2026-11-22T10:00:00.000Z' }

describe('G1: no lease is missed', () => {
  it('cuts every lease of an identity, over all shards and at every issuer', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer('db')
    const cloud = await pipeline.issuer('cloud')
    for (let index = 0; index < 60; index += 1) await pipeline.lease(`r${index}`, { issuer: index % 3 === 0 ? 'cloud' : 'db' })
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect([...db.alive(), ...cloud.alive()]).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 60 } })
  })

  it('refuses a registration into a fenced scope with the case, and cuts what exists already, though the case is closed', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('first')
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.case(id).state).toBe('closed')
    const problem = await refusal(pipeline.lease('minted-meanwhile'))
    expect(problem).toMatchObject({ code: 'fenced', status: 409, cases: [id] })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({
      counts: { revoked: 1 },
      amendments: { expected: 1, done: 1 },
      amendCounts: { revoked: 1 },
    })
    expect(pipeline.announced.map(({ type }) => type)).toEqual(['io.rescind.case.closed', 'io.rescind.case.amended'])
  })

  it.each(['before the lease is written', 'after the lease is written', 'before the acknowledgement'])(
    'loses no lease to a fence that closes %s',
    async (moment) => {
      const pipeline = new Pipeline()
      const db = await pipeline.issuer()
      await pipeline.lease('first')
      const { case: id } = await new Promise<{ case: string }>((resolve, reject) => {
        const at = {
          'before the lease is written': 'transact',
          'after the lease is written': 'getMany',
          'before the acknowledgement': 'write',
        }[moment]
        let armed = true
        pipeline.table.before = async (operation) => {
          if (!armed || operation !== at) return
          armed = false
          const receipt = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
          // The whole case runs, and closes, between two steps of the registration.
          await pipeline.settle()
          resolve(receipt)
        }
        pipeline.lease('racing').catch((error: unknown) => (error instanceof ProblemError ? undefined : reject(error)))
      })
      await pipeline.settle()
      await pipeline.pass(600)
      expect(db.alive()).toEqual([])
      expect(pipeline.case(id).state).toBe('closed')
    },
  )

  it('ends a registration that nobody finished, whether its registrar comes back or not', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('first')
    let reads = 0
    pipeline.table.before = (operation) => {
      if (operation === 'getMany' && ++reads === 1) throw new Error('the registrar dies before it looks')
    }
    const expiresAt = instant(pipeline.now + 86_400_000)
    await expect(pipeline.lease('half', { expiresAt })).rejects.toThrow('dies')
    pipeline.table.before = () => {}
    await pipeline.pass(300)
    expect(db.alive()).toEqual(['first'])
    expect((await refusal(pipeline.lease('half', { expiresAt }))).code).toBe('lease-ended')
  })

  it('reaches what was delegated, level by level, before the parent is counted', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const cloud = await pipeline.issuer('cloud')
    const parent = await pipeline.lease('agent', { delegable: true })
    const child = await pipeline.lease('sub-agent', {
      identity: other,
      owner: 'bob',
      parent: parent.id,
      delegable: true,
      issuer: 'cloud',
    })
    await pipeline.lease('sub-sub-agent', { identity: 'spiffe://example.org/third', owner: 'carol', parent: child.id })
    await pipeline.lease('stranger', { identity: 'spiffe://example.org/stranger', owner: 'dave' })
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(db.alive()).toEqual(['stranger'])
    expect(cloud.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 3 } })
    expect(await refusal(pipeline.lease('too-late', { identity: other, owner: 'bob', parent: parent.id }))).toMatchObject({
      code: 'fenced',
      cases: [id],
    })
    await pipeline.settle()
    expect(db.alive()).toEqual(['stranger'])
  })

  it('cuts the children of a parent whose own issuer is down', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const cloud = await pipeline.issuer('cloud')
    const parent = await pipeline.lease('agent', { delegable: true })
    await pipeline.lease('sub-agent', { identity: other, owner: 'bob', parent: parent.id, issuer: 'cloud' })
    db.down = true
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(cloud.alive()).toEqual([])
    expect(pipeline.case(id).closedAt).toBeUndefined()
    db.down = false
    await pipeline.pass(600)
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id).state).toBe('closed')
  })

  it('refuses a lease whose own parent it would be, and delegation that goes too deep', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    let parent = await pipeline.lease('level-0', { delegable: true })
    for (let level = 1; level <= 8; level += 1)
      parent = await pipeline.lease(`level-${level}`, { delegable: true, parent: parent.id })
    expect((await refusal(pipeline.lease('level-9', { parent: parent.id }))).code).toBe('parent-unusable')
    const plain = await pipeline.lease('not-delegable')
    expect((await refusal(pipeline.lease('child', { parent: plain.id }))).code).toBe('parent-unusable')
  })

  it('records and cuts what a new identity of a fenced owner holds already', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const { case: id } = await pipeline.trigger('compromise', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    const problem = await refusal(pipeline.lease('minted', { identity: 'spiffe://example.org/new' }))
    expect(problem).toMatchObject({ code: 'fenced', cases: [id], lease: expect.any(String) })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ amendments: { expected: 1, done: 1 }, amendCounts: { revoked: 1 } })
    // An intent of such an identity leaves nothing behind at all.
    const before = pipeline.table.changes.length
    const intent = {
      identity: 'spiffe://example.org/newer',
      registers: 'intent',
      mintBy: instant(pipeline.now + 60_000),
    } as const
    expect((await refusal(pipeline.lease('to-be', intent))).code).toBe('fenced')
    expect(pipeline.table.changes.length).toBe(before)
  })

  it('contains an identity by each of its levers at one issuer', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('a', { group: 'role-a' })
    await pipeline.lease('b', { group: 'role-b' })
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect([...db.contained].sort()).toEqual(['role-a', 'role-b'])
    expect(pipeline.case(id).levers).toEqual({ expected: 2, done: 2, failed: 0 })
  })

  it('cuts hundreds of delegated leases in pieces that an item can hold', async () => {
    const pipeline = new Pipeline({ definition: fakeDefinition({ propagationSeconds: 10 }) as Definition })
    const db = await pipeline.issuer()
    const parent = await pipeline.lease('agent', { delegable: true })
    for (let index = 0; index < 450; index += 1)
      await pipeline.lease(`child-${index}`, { identity: other, owner: 'bob', parent: parent.id })
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    const largest = Math.max(
      ...pipeline.table
        .all()
        .filter(({ kind }) => kind === 'chunk')
        .map((item) => JSON.stringify(item).length),
    )
    // 100 leases that wait for their proof of death; DynamoDB takes 400 KB.
    expect(largest).toBeLessThan(60_000)
    await pipeline.pass(600)
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 451 } })
  })

  it('fences a task for leases that come after it, and names the case', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('job', { task: { id: '42' } })
    const { case: id } = await pipeline.trigger('task-complete', { kind: 'task', id: '42' })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(await refusal(pipeline.lease('straggler', { task: { id: '42' } }))).toMatchObject({ code: 'fenced', cases: [id] })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
  })

  it('does not let a renewal slip through a closed fence', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const lease = await pipeline.lease('job', { task: { id: '42' } })
    await fence(pipeline.table, fenceItem(scopeOfTask('ci', '42')), 'a'.repeat(26), person)
    const renewal = pipeline.leases.renew(lease.id, { expiresAt: instant(pipeline.now + 2 * 86_400_000) }, BROKER)
    expect((await refusal(renewal)).code).toBe('fenced')
  })

  it('lets a renewal beat the sweeper, and cuts what was not renewed', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const soon = { expiresAt: instant(pipeline.now + 300_000) }
    const renewed = await pipeline.lease('renewed', soon)
    await pipeline.lease('forgotten', soon)
    // The sweeper has listed both when the renewal comes in.
    pipeline.now += 301_000
    await pipeline.sweep()
    await pipeline.leases.renew(renewed.id, { expiresAt: instant(pipeline.now + 86_400_000) }, BROKER)
    await pipeline.settle()
    expect(db.alive()).toEqual(['renewed'])
  })
})

describe('G2: nothing else is touched', () => {
  it('keeps a shared credential while anybody holds it, and cuts it with the last holder', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const shared = { kind: 'static', sharing: 'shared', target: { name: 'shared' } } as const
    db.mint('shared')
    const one = await pipeline.lease('shared', { ...shared, task: { id: '1' } }, 'holder-one-1')
    await pipeline.lease('shared', { ...shared, identity: other, owner: 'bob', task: { id: '2' } }, 'holder-two-2')
    const first = await pipeline.trigger('task-complete', { kind: 'task', id: '1' })
    await pipeline.settle()
    expect(db.alive()).toEqual(['shared'])
    expect(pipeline.case(first.case)).toMatchObject({ state: 'closed', counts: { released: 1, revoked: 0 } })
    expect(pipeline.stored(one.id).state).toBe('released')
    const second = await pipeline.trigger('task-complete', { kind: 'task', id: '2' })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(pipeline.case(second.case).counts.revoked).toBe(1)
  })

  it('cuts a shared credential at once when one holder is compromised, and names the bystanders', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const shared = { kind: 'static', target: { name: 'shared' } } as const
    db.mint('shared')
    await pipeline.lease('shared', shared, 'holder-one-1')
    const bystander = await pipeline.lease('shared', { ...shared, identity: other, owner: 'bob' }, 'holder-two-2')
    await pipeline.lease('own', { identity: other, owner: 'bob' })
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(db.alive()).toEqual(['own'])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', lane: 'p0', bystanders: 1, counts: { revoked: 2 } })
    expect(pipeline.stored(bystander.id)).toMatchObject({ state: 'ended', outcomes: { [id]: { outcome: 'revoked' } } })
  })

  it('pulls a lever of a leaver only where nobody else hangs on it', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('mine', { group: 'common' })
    await pipeline.lease('theirs', { identity: other, owner: 'bob', group: 'common' })
    await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(db.contained.size).toBe(0)
    expect(db.alive()).toEqual(['theirs'])
  })

  it('keeps two CI systems apart that count their tasks alike', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('ours', { task: { id: '42' } })
    await pipeline.trigger('task-complete', { kind: 'task', id: '42' }, { source: 'other-ci' })
    await pipeline.settle()
    expect(db.alive()).toEqual(['ours'])
  })

  it('compromise of one credential spares the identity’s others', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const leaked = await pipeline.lease('leaked')
    await pipeline.lease('sound')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'credential', fingerprint: leaked.fingerprint })
    await pipeline.settle()
    expect(db.alive()).toEqual(['sound'])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 1 } })
    await expect(pipeline.lease('another')).resolves.toMatchObject({ state: 'live' })
  })

  it('a person who leaves does not take production down: a service is orphaned, gets a new owner, or ends at its deadline', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('token', { identity: 'spiffe://example.org/agent' })
    await pipeline.lease('service', { identity: 'spiffe://example.org/service', ownerLeaves: 'reassign' })
    await pipeline.lease('unloved', { identity: 'spiffe://example.org/unloved', ownerLeaves: 'reassign' })
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    expect(db.alive()).toEqual(['service', 'unloved'])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', orphans: 2, counts: { revoked: 1 } })
    const operator = { uri: 'spiffe://example.org/operator/one', approve: true }
    expect((await pipeline.operate.listOrphans({ limit: 10 })).entries).toHaveLength(2)
    await pipeline.operate.putIdentity({ id: 'spiffe://example.org/service', owner: 'bob' }, operator)
    expect(
      (await refusal(pipeline.operate.putIdentity({ id: 'spiffe://example.org/service', owner: 'alice' }, operator))).code,
    ).toBe('fenced')
    pipeline.now += 15 * 86_400_000
    await pipeline.sweep()
    await pipeline.settle()
    // Both leases ran out meanwhile, so only whose case it was tells them apart.
    const cases = pipeline.table.all().filter((item) => item.kind === 'case' && item.type === 'offboarding')
    expect(cases).toHaveLength(2)
    expect(cases.some((item) => JSON.stringify(item.scope).includes('unloved'))).toBe(true)
  })
})

describe('G3: called more than once, counted exactly once', () => {
  it('counts each lease once though every message comes three times', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    pipeline.deliveries = 3
    for (let index = 0; index < 30; index += 1) await pipeline.lease(`r${index}`)
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 30, absent: 0 } })
    expect(pipeline.announced).toHaveLength(1)
  })

  it('a crash at any store operation of planner or worker loses nothing and counts nothing twice', async () => {
    for (let crashAt = 1; crashAt <= 60; crashAt += 1) {
      const pipeline = new Pipeline()
      const db = await pipeline.issuer()
      const parent = await pipeline.lease('a', { delegable: true, group: 'g' })
      await pipeline.lease('b')
      await pipeline.lease('c', { identity: other, owner: 'bob', parent: parent.id })
      await pipeline.lease('stranger', { identity: 'spiffe://example.org/stranger', owner: 'dave' })
      const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
      let operations = 0
      pipeline.table.before = () => {
        operations += 1
        if (operations === crashAt) throw new Error('crash')
      }
      await pipeline.settle().catch(() => {})
      pipeline.table.before = () => {}
      await pipeline.pass(900)
      expect(db.alive(), `crash at operation ${crashAt}`).toEqual(['stranger'])
      const { counts, state } = pipeline.case(id)
      expect({ state, total: counts.revoked + counts.absent }, `crash at operation ${crashAt}`).toEqual({
        state: 'closed',
        total: 3,
      })
    }
  })

  it('does not close before each lease has a final outcome, and closes then', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('fast')
    await pipeline.lease('slow')
    db.answers.set('slow', { status: 'retry', said: 'busy', effect: 'none' })
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.pass(120)
    expect(pipeline.case(id).closedAt).toBeUndefined()
    db.answers.delete('slow')
    await pipeline.pass(600)
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 2 } })
  })

  it('two cases on the same leases each close, and the more urgent one does not wait behind the other’s back-off', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('contested', { task: { id: '42' } })
    db.answers.set('contested', { status: 'retry', said: 'busy', effect: 'none', afterSeconds: 50 })
    const slow = await pipeline.trigger('task-complete', { kind: 'task', id: '42' })
    await pipeline.settle()
    db.answers.delete('contested')
    const urgent = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(pipeline.case(urgent.case)).toMatchObject({ state: 'closed', counts: { revoked: 1 } })
    await pipeline.pass(600)
    expect(pipeline.case(slow.case)).toMatchObject({ state: 'closed', counts: { revoked: 1 } })
  })
})

describe('G4: no false success', () => {
  it('tells the five outcomes apart, each with evidence', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('shared')
    const shared = { kind: 'static', target: { name: 'shared' } } as const
    await pipeline.lease('shared', shared, 'holder-one-1')
    await pipeline.lease('shared', { ...shared, identity: other, owner: 'bob' }, 'holder-two-2')
    const names = ['revoked', 'absent', 'unsupported', 'parked'] as const
    const ids = new Map<string, string>()
    for (const name of names) ids.set(name, (await pipeline.lease(name)).id)
    db.credentials.delete('absent')
    db.answers.set('unsupported', { status: 'unsupported', said: 'cannot be cut', livesUntil: '2026-11-22T11:00:00.000Z' })
    db.answers.set('parked', { status: 'irrevocable', said: 'a person must look' })
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.case(id)).toMatchObject({
      state: 'closed',
      counts: { revoked: 1, absent: 1, released: 1, unsupported: 1, parked: 1 },
    })
    for (const name of names) {
      const outcome = pipeline.stored(ids.get(name) ?? '').outcomes[id]
      expect(outcome).toMatchObject({ outcome: name })
      expect(outcome?.evidence.said).not.toBe('')
    }
    expect(pipeline.stored(ids.get('revoked') ?? '').outcomes[id]?.evidence.verified).toBe('it does not log in')
    expect((await pipeline.operate.listParked({ limit: 10 })).entries).toHaveLength(1)
  })

  it('never believes an issuer that says success while the credential lives', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('undead')
    db.lies.add('undead')
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.pass(120)
    expect(pipeline.stored(lease.id).outcomes[id]).toBeUndefined()
    expect(pipeline.case(id).closedAt).toBeUndefined()
    db.lies.delete('undead')
    await pipeline.pass(600)
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id).counts.revoked).toBe(1)
  })

  it('asks for proof again after the propagation time, and calls nothing final before', async () => {
    const pipeline = new Pipeline({ definition: fakeDefinition({ propagationSeconds: 90 }) as Definition })
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('slow-to-die')
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'verifying' })
    expect(pipeline.stored(lease.id)).toMatchObject({ state: 'cutting', outcomes: {} })
    await pipeline.pass(300)
    expect(pipeline.stored(lease.id).outcomes[id]).toMatchObject({
      outcome: 'revoked',
      evidence: { said: 'cut', verified: 'it does not log in' },
    })
    expect(pipeline.case(id).state).toBe('closed')
  })

  it('says that an answer was lost instead of calling our own cut absent', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('lost')
    db.loseAnswer.add('lost')
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.pass(300)
    expect(pipeline.stored(lease.id).outcomes[id]).toMatchObject({
      outcome: 'revoked',
      evidence: { said: expect.stringContaining('answer lost') },
    })
  })

  it('a pending lease is final only when it can no longer be minted', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('named-before', { registers: 'intent', mintBy: instant(pipeline.now + 120_000) })
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.stored(lease.id).outcomes[id]).toBeUndefined()
    // The mint call was under way when the fence closed.
    pipeline.now += 60_000
    db.mint('named-before')
    await pipeline.pass(600)
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(lease.id).outcomes[id]?.outcome).toBe('revoked')
    expect(pipeline.case(id).state).toBe('closed')
  })

  it('refuses an intent into a fenced scope: nothing exists, nothing may be minted', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    await pipeline.lease('first')
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    const problem = await refusal(pipeline.lease('later', { registers: 'intent', mintBy: instant(pipeline.now + 60_000) }))
    expect(problem).toMatchObject({ code: 'fenced', cases: [id] })
    await pipeline.settle()
    expect(pipeline.case(id).amendments.expected).toBe(0)
  })

  it('parks leases whose issuer is not configured any more, says so, and tries them again', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('stranded')
    pipeline.table.expire({ pk: 'ISSUER#db', sk: 'ISSUER' })
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.stored(lease.id).outcomes[id]).toMatchObject({
      outcome: 'parked',
      evidence: { said: 'issuer db is not configured' },
    })
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { parked: 1 } })
    const again = await pipeline.issuer()
    again.mint('stranded')
    expect(db).not.toBe(again)
    pipeline.now += 7 * 3_600_000
    await pipeline.pass(180)
    expect(again.alive()).toEqual([])
    expect(pipeline.stored(lease.id).outcomes[id]?.outcome).toBe('revoked')
    expect(pipeline.case(id).amendCounts.revoked).toBe(1)
  })
})

describe('G6: duplicated, reordered and replayed events change nothing', () => {
  it('the same event again finds the same case', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    await pipeline.lease('one')
    const first = await pipeline.trigger('offboarding', { kind: 'identity', id: app }, { id: 'hr-1' })
    const second = await pipeline.trigger('offboarding', { kind: 'identity', id: app }, { id: 'hr-1' })
    await pipeline.settle()
    const third = await pipeline.trigger('offboarding', { kind: 'identity', id: app }, { id: 'hr-1' })
    expect([first.status, second.status, third.status]).toEqual(['opened', 'replayed', 'replayed'])
    expect(new Set([first.case, second.case, third.case]).size).toBe(1)
    const before = pipeline.table.changes.length
    await pipeline.settle()
    expect(pipeline.table.changes.length).toBe(before)
  })

  it('an equal trigger is noted on the running case while it may still be, and opens its own afterwards', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    await pipeline.lease('one')
    const first = await pipeline.trigger('offboarding', { kind: 'identity', id: app }, { id: 'hr-1' })
    let second: Awaited<ReturnType<Pipeline['trigger']>> | undefined
    let queries = 0
    pipeline.table.before = async (operation) => {
      // Between the fence and the seal.
      if (operation === 'query' && pipeline.case(first.case).fencedAt !== undefined && ++queries === 1)
        second = await pipeline.trigger('offboarding', { kind: 'identity', id: app }, { id: 'hr-2' })
    }
    await pipeline.settle()
    pipeline.table.before = () => {}
    expect(second).toEqual({ case: first.case, status: 'noted' })
    expect(pipeline.case(first.case).noted).toBe(1)
    pipeline.now += 1000
    const third = await pipeline.trigger('offboarding', { kind: 'identity', id: app }, { id: 'hr-3' })
    expect(third.status).toBe('opened')
    await pipeline.settle()
    expect(pipeline.case(third.case)).toMatchObject({ state: 'closed', counts: { revoked: 0 } })
  })

  it('a registration that is sent again is the same lease', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const first = await pipeline.lease('one')
    const second = await pipeline.lease('one')
    expect(second.id).toBe(first.id)
    expect((await refusal(pipeline.lease('one', { purpose: 'another' }))).code).toBe('idempotency-conflict')
  })

  it('a replay of the stream adds no audit record', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    await pipeline.lease('one')
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    const before = (await pipeline.operate.audit({ case: id })).entries.length
    const again = new Pipeline()
    again.table.changes.push(...pipeline.table.changes)
    await again.stream().catch(() => {})
    for (const [key, body] of again.archived) pipeline.archived.set(key, body)
    const segments = [...again.archived.keys()]
    await pipeline.index.putAll(segments.map((sk) => ({ pk: `CASE#${id}`, sk })))
    expect((await pipeline.operate.audit({ case: id })).entries.length).toBe(before)
  })
})

describe('G7: no secret anywhere', () => {
  it('a sealed handle stands nowhere in clear', async () => {
    const { secretPipeline, SECRET } = await import('../support/secret-issuer.ts')
    const { pipeline, opened } = await secretPipeline()
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(opened).toEqual([SECRET])
    expect(pipeline.case(id).counts.revoked).toBe(1)
    for (const place of [
      JSON.stringify(pipeline.table.all()),
      JSON.stringify(pipeline.table.changes),
      JSON.stringify([...pipeline.archived]),
      JSON.stringify(pipeline.sent),
      pipeline.logged.join(),
      JSON.stringify(pipeline.announced),
    ])
      expect(place).not.toContain(SECRET)
  })
})

describe('G8: bad input is refused and holds nothing up', () => {
  it('a poisoned lease harms no other of its batch', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const ids: string[] = []
    for (let index = 0; index < 40; index += 1) ids.push((await pipeline.lease(`r${index}`, { task: { id: 'batch' } })).id)
    db.poisoned.add('r7')
    const { case: id } = await pipeline.trigger('task-complete', { kind: 'task', id: 'batch' })
    await pipeline.settle()
    expect(db.alive()).toEqual(['r7'])
    await pipeline.pass(3600)
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 39, parked: 1 } })
  })

  it('one dead issuer holds up no other, spends no attempt, and heals', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const cloud = await pipeline.issuer('cloud')
    await pipeline.lease('a')
    await pipeline.lease('b', { issuer: 'cloud' })
    db.down = true
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(cloud.alive()).toEqual([])
    await pipeline.pass(3 * 3600)
    expect(pipeline.case(id).closedAt).toBeUndefined()
    expect((await pipeline.operate.listIssuers()).find(({ name }) => name === 'db')?.breaker?.code).toBe('issuer-unavailable')
    db.down = false
    await pipeline.pass(300)
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 2 } })
  })

  it('a refused admin credential opens the breaker and parks nothing', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('a')
    db.refused = true
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.pass(3600)
    expect(pipeline.case(id).counts).toMatchObject({ parked: 0, absent: 0 })
    expect((await pipeline.operate.listIssuers())[0]?.breaker).toMatchObject({
      code: 'issuer-refused',
      reason: 'the admin credential is refused',
    })
    db.refused = false
    await pipeline.pass(1200)
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 1 } })
  })

  it('an unknown identity, an absurd time and a scope that is not the trigger’s are refused before anything is written', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    await pipeline.lease('one')
    const before = pipeline.table.changes.length
    expect((await refusal(pipeline.trigger('offboarding', { kind: 'identity', id: 'spiffe://example.org/nobody' }))).code).toBe(
      'identity-unknown',
    )
    expect(
      (await refusal(pipeline.trigger('offboarding', { kind: 'identity', id: app }, { effectiveAt: '2035-01-01T00:00:00Z' })))
        .code,
    ).toBe('time-out-of-range')
    expect(
      (await refusal(pipeline.trigger('offboarding', { kind: 'identity', id: app }, { effectiveAt: '1970-01-01T00:00:00Z' })))
        .code,
    ).toBe('time-out-of-range')
    expect((await refusal(pipeline.trigger('task-complete', { kind: 'owner', id: 'alice' }))).code).toBe('body-invalid')
    await expect(pipeline.trigger('offboarding', { kind: 'owner', id: ' alice ' })).rejects.toThrow()
    await expect(pipeline.trigger('offboarding', { kind: 'owner', id: '' })).rejects.toThrow()
    expect(pipeline.table.changes.length).toBe(before)
  })

  it('an empty group matches nothing and says so', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('one')
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'owner', id: 'nobody' })
    await pipeline.settle()
    expect(await pipeline.operate.getCase(id)).toMatchObject({ state: 'closed', empty: true })
    expect(db.alive()).toEqual(['one'])
  })
})

describe('G9: it cannot be turned into a weapon', () => {
  const guarded = 'spiffe://example.org/protected/ledger'
  const first = { uri: 'spiffe://example.org/operator/one', approve: true }

  it('holds a lifecycle case on a protected identity for a second person', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('ledger', { identity: guarded })
    const { case: id, status } = await pipeline.trigger('offboarding', { kind: 'identity', id: guarded })
    expect(status).toBe('held')
    await pipeline.pass(600)
    expect(db.alive()).toEqual(['ledger'])
    expect((await refusal(pipeline.operate.approve(id, { reason: 'mine' }, { uri: 'source:all', approve: true }))).code).toBe(
      'requester-cannot-approve',
    )
    expect((await refusal(pipeline.operate.approve(id, { reason: 'no right' }, { ...first, approve: false }))).code).toBe(
      'forbidden',
    )
    await pipeline.operate.approve(id, { reason: 'seen' }, first)
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', decisions: [{ decision: 'approved', by: first.uri }] })
  })

  it('contains and cuts a compromised protected identity all the same', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('ledger', { identity: guarded, group: 'ledger' })
    const { case: id, status } = await pipeline.trigger('compromise', { kind: 'identity', id: guarded })
    expect(status).toBe('opened')
    await pipeline.settle()
    expect(db.contained.has('ledger')).toBe(true)
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id).containedAt).toBeDefined()
  })

  it('splits protected identities off a group’s case into held ones', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('plain')
    await pipeline.lease('ledger', { identity: guarded })
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    expect(db.alive()).toEqual(['ledger'])
    expect(pipeline.case(id).state).toBe('closed')
    const held = (await pipeline.operate.listCases({ limit: 10 })).entries.find(({ state }) => state === 'held')
    expect(held?.held?.reason).toContain(id)
    await pipeline.operate.approve(held?.id ?? '', { reason: 'seen' }, first)
    await pipeline.settle()
    expect(db.alive()).toEqual([])
  })

  it('starts a scheduled case at its time, and not one that was cancelled', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('leaver')
    await pipeline.lease('stayer', { identity: other, owner: 'bob' })
    const leaves = instant(pipeline.now + 3_600_000)
    const one = await pipeline.trigger('offboarding', { kind: 'identity', id: app }, { effectiveAt: leaves })
    const two = await pipeline.trigger('offboarding', { kind: 'identity', id: other }, { effectiveAt: leaves, id: 'second' })
    expect([one.status, two.status]).toEqual(['scheduled', 'scheduled'])
    await pipeline.operate.cancel(two.case, { reason: 'stays after all' }, first)
    await pipeline.pass(3000)
    expect(db.alive()).toEqual(['leaver', 'stayer'])
    await pipeline.pass(1200)
    expect(db.alive()).toEqual(['stayer'])
    expect((await refusal(pipeline.operate.cancel(one.case, { reason: 'too late' }, first))).code).toBe('case-state')
  })

  it('holds a scheduled case on an identity that came under protection meanwhile, by declaration or by configuration', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('a')
    const { case: id } = await pipeline.trigger(
      'offboarding',
      { kind: 'identity', id: app },
      { effectiveAt: instant(pipeline.now + 600_000) },
    )
    await pipeline.operate.putIdentity({ id: app, protected: true }, first)
    await pipeline.pass(1800)
    expect(db.alive()).toEqual(['a'])
    expect(pipeline.case(id)).toMatchObject({ state: 'held' })
    await pipeline.operate.approve(id, { reason: 'seen' }, first)
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    const unaware = new Pipeline({ settings: { protected: [] } })
    await unaware.issuer()
    await unaware.lease('ledger', { identity: guarded })
    const later = new Pipeline()
    for (const item of unaware.table.all()) await later.table.putAll([item])
    expect((await later.trigger('offboarding', { kind: 'identity', id: guarded })).status).toBe('held')
  })

  it('lets no workload have a credential cut that is not proven to be its own', async () => {
    const mallory = { uri: 'spiffe://example.org/mallory', kind: 'svid', namespace: 'ci' } as const
    const claim = {
      issuer: 'db',
      kind: 'dynamic',
      registers: 'credential',
      target: { name: 'prod_admin' },
      consumer: 'x',
      purpose: 'x',
      expiresAt: '2026-11-23T10:00:00.000Z',
      owner: 'mallory',
    } as const
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('prod_admin')
    expect((await refusal(pipeline.register(claim, 'mallory-1234', mallory))).code).toBe('forbidden')
    expect(db.alive()).toEqual(['prod_admin'])
    const granted = new Pipeline({ settings: { grants: [{ right: 'holder', caller: mallory.uri, issuers: ['db'] }] } })
    await granted.issuer()
    await expect(granted.register(claim, 'mallory-1234', mallory)).resolves.toMatchObject({ lease: { state: 'live' } })
  })

  it('a source sends only what it may', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    await pipeline.lease('one')
    expect((await refusal(pipeline.trigger('compromise', { kind: 'identity', id: app }, { source: 'ci' }))).code).toBe(
      'forbidden',
    )
    expect(
      (await refusal(pipeline.trigger('task-complete', { kind: 'task', id: '1', namespace: 'deploy' }, { source: 'ci' }))).code,
    ).toBe('scope-not-allowed')
  })
})

describe('the end of a lease', () => {
  it('given back: cut at once, in a case of its own', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('done-with')
    const given = await pipeline.leases.release(lease.id, BROKER)
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(pipeline.case(given.case)).toMatchObject({ type: 'expired', state: 'closed', counts: { revoked: 1 } })
    expect(await pipeline.leases.release(lease.id, BROKER)).toEqual(given)
  })

  it('what a cut left behind is deleted after the soak time, not before', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer('db', 7200)
    await pipeline.lease('soaking')
    await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.pass(3600)
    expect(db.deleted.size).toBe(0)
    await pipeline.pass(7200)
    expect([...db.deleted]).toEqual(['soaking'])
  })

  it('a decommissioned deployment and a decommissioned workload reach all that hangs on them', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('blue', { deployment: { id: 'blue', namespace: 'deploy' } })
    await pipeline.lease('green', { deployment: { id: 'green', namespace: 'deploy' } })
    await pipeline.lease('crm-1', { identity: 'spiffe://example.org/crm/1', workload: 'crm' })
    await pipeline.lease('crm-2', { identity: 'spiffe://example.org/crm/2', workload: 'crm', owner: 'bob' })
    await pipeline.trigger('decommission', { kind: 'deployment', id: 'blue', namespace: 'deploy' })
    await pipeline.settle()
    expect(db.alive()).toEqual(['green', 'crm-1', 'crm-2'])
    await pipeline.trigger('decommission', { kind: 'workload', id: 'crm' })
    await pipeline.settle()
    expect(db.alive()).toEqual(['green'])
  })

  it('retention takes a lease’s pointers and its credential’s item with it', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const lease = await pipeline.lease('gone', { task: { id: '1' } })
    await pipeline.trigger('task-complete', { kind: 'task', id: '1' })
    await pipeline.settle()
    const { pk, sk } = pipeline.stored(lease.id)
    pipeline.table.expire({ pk, sk })
    await pipeline.settle()
    expect(pipeline.table.all().filter((item) => item.kind === 'pointer' || item.kind === 'credential')).toEqual([])
  })
})

describe('G5: every state change is in the audit trail', () => {
  it('has a record of each version that changed a state, per case, identity and lease', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const lease = await pipeline.lease('one')
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    const whats = (query: Parameters<Pipeline['operate']['audit']>[0]) =>
      pipeline.operate.audit(query).then(({ entries }) => entries.map(({ what }) => what))
    expect(await whats({ lease: lease.id })).toEqual(['lease.registered', 'lease.live', 'lease.ended', 'outcome.revoked'])
    // The intent of the attempt stands once for all leases of the chunk, and before any outcome.
    const told = await whats({ case: id })
    expect(told.indexOf('chunk.intended')).toBeGreaterThan(told.indexOf('chunk.planned'))
    expect(told.indexOf('chunk.intended')).toBeLessThan(told.indexOf('outcome.revoked'))
    expect(await whats({ identity: app })).toEqual(
      expect.arrayContaining(['identity.declared', 'identity.fenced', 'outcome.revoked']),
    )
    expect(await whats({ case: id })).toEqual(
      expect.arrayContaining(['case.opened', 'case.fenced', 'case.closed', 'outcome.revoked']),
    )
    const { entries } = await pipeline.operate.audit({ case: id })
    const outcome = entries.find(({ what }) => what === 'outcome.revoked')
    expect(outcome).toMatchObject({
      who: 'revoke/fake',
      why: 'test',
      trigger: 'offboarding',
      case: id,
      lease: lease.id,
      outcome: 'revoked',
      previous: 'live',
      evidence: { said: 'cut' },
    })
    expect(new Set(entries.map((entry) => entry.id)).size).toBe(entries.length)
  })

  it('a lost record shows: the versions of each item run through the archive without a gap', async () => {
    const pipeline = new Pipeline({ definition: fakeDefinition({ propagationSeconds: 90 }) as Definition })
    await pipeline.issuer()
    const parent = await pipeline.lease('one', { delegable: true, group: 'g' })
    await pipeline.lease('two', { parent: parent.id, identity: other, owner: 'bob' })
    await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.pass(600)
    const versions = pipeline.versions()
    for (const item of pipeline.table
      .all()
      .filter(({ kind }) => ['lease', 'case', 'identity', 'chunk', 'lever'].includes(String(kind)))) {
      const key = `${item.pk}|${item.sk}`
      const all = Array.from({ length: Number(item.v) }, (_, index) => index + 1)
      expect(
        [...(versions.get(key) ?? [])].sort((one, next) => one - next),
        key,
      ).toEqual(all)
    }
  })
})
