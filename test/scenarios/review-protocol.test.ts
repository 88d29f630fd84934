import { describe, expect, it } from 'vitest'
import { instant } from '../../functions/domain/time.ts'
import type { Definition, ProviderModule } from '../../functions/providers/contract.ts'
import { IssuerUnavailable } from '../../functions/providers/contract.ts'
import { revokeWorker } from '../../functions/revoke/worker.ts'
import { declareIssuer } from '../../functions/store/issuers.ts'
import { fakeDefinition } from '../support/fake-issuer.ts'
import { app, BROKER, Pipeline } from '../support/pipeline.ts'
import { refusal } from '../support/refusal.ts'

/** Holes that a review of the core found, each as the shortest story that showed it. */

const other = 'spiffe://example.org/other'

const credentials = (pipeline: Pipeline) => pipeline.table.all().filter(({ kind }) => kind === 'credential')

describe('late leases', () => {
  it('a late lease of a shared credential under a compromise is cut, with those who share it', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('first')
    await pipeline.lease('service', { identity: other, owner: 'bob', kind: 'static' }, 'bob-key-1234')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect((await refusal(pipeline.lease('service', { kind: 'static' }, 'app-key-1234'))).code).toBe('fenced')
    await pipeline.pass(300)
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ amendments: { expected: 2, done: 2 }, amendCounts: { revoked: 2 } })
  })

  it('a late lease gives back a credential that others hold, and does not take it from them', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('first')
    await pipeline.lease('service', { identity: other, owner: 'bob', kind: 'static' }, 'bob-key-1234')
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect((await refusal(pipeline.lease('service', { kind: 'static' }, 'app-key-1234'))).code).toBe('fenced')
    await pipeline.pass(300)
    expect(db.alive()).toEqual(['service'])
    expect(pipeline.case(id)).toMatchObject({ amendments: { expected: 1, done: 1 }, amendCounts: { released: 1 } })
    expect(credentials(pipeline).find(({ exclusive }) => exclusive === false)).toMatchObject({ holders: 1, cutting: false })
  })

  it('every case whose fence meets a late lease amends itself, the registrar killed in between or not', async () => {
    for (let crashAt = 0; crashAt <= 16; crashAt += 1) {
      const pipeline = new Pipeline()
      const db = await pipeline.issuer()
      await pipeline.lease('first')
      await pipeline.lease('service', { identity: other, owner: 'bob', kind: 'static' }, 'bob-key-1234')
      const one = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
      const two = await pipeline.trigger('compromise', { kind: 'owner', id: 'alice' })
      await pipeline.settle()
      let operations = 0
      pipeline.table.before = () => {
        operations += 1
        if (operations === crashAt) throw new Error('crash')
      }
      await pipeline.lease('service', { kind: 'static' }, 'app-key-1234').catch(() => {})
      pipeline.table.before = () => {}
      await pipeline.pass(900)
      const recorded = pipeline.table
        .all()
        .some(({ kind, identity, sharing }) => kind === 'lease' && identity === app && sharing === 'shared')
      if (!recorded) continue
      expect(db.alive(), `crash at operation ${crashAt}`).toEqual([])
      for (const { case: id } of [one, two])
        expect(pipeline.case(id).amendments.done, `crash at operation ${crashAt}`).toBeGreaterThan(0)
    }
  })

  it('what a compromised credential delegated names those who share its children’s credentials too', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const parent = await pipeline.lease('agent', { delegable: true })
    await pipeline.lease('service', { identity: other, owner: 'bob', kind: 'static', parent: parent.id }, 'bob-key-1234')
    const third = 'spiffe://example.org/third'
    const shared = await pipeline.lease('service', { identity: third, owner: 'carol', kind: 'static' }, 'carol-key-1234')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'credential', fingerprint: parent.fingerprint })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(shared.id).state).toBe('ended')
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 3 }, bystanders: 1 })
  })

  it('a grant that was recorded without a place at its credential gives none back', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('service', { kind: 'static' }, 'app-key-1234')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'credential', fingerprint: lease.fingerprint })
    await pipeline.settle()
    const late = pipeline.lease('service', { identity: other, owner: 'bob', kind: 'static' }, 'bob-key-1234')
    expect((await refusal(late)).code).toBe('fenced')
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id).amendments).toEqual({ expected: 1, done: 1 })
    expect(credentials(pipeline)).toMatchObject([{ holders: 0 }])
  })
})

describe('the end of a registration or a grant', () => {
  it('the sweeper’s deadline does not cut a lease that is acknowledged while its case is on its way', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    let reads = 0
    pipeline.table.before = (operation) => {
      if (operation === 'getMany' && ++reads === 1) throw new Error('the registrar dies before it looks')
    }
    const expiresAt = instant(pipeline.now + 86_400_000)
    await expect(pipeline.lease('slow', { expiresAt })).rejects.toThrow('dies')
    pipeline.table.before = () => {}
    pipeline.now += 61_000
    await pipeline.sweep()
    // The consumer tries again before the worker has the message, and is told that the credential is its own.
    expect((await pipeline.lease('slow', { expiresAt })).state).toBe('live')
    await pipeline.pass(600)
    expect(db.alive()).toEqual(['slow'])
    const [closed] = (await pipeline.operate.listCases({ limit: 5 })).entries
    expect(closed).toMatchObject({ type: 'expired', state: 'closed', empty: true })
  })

  it('a lease that is renewed while it is given back is not called given back', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('busy')
    let transactions = 0
    pipeline.table.before = async (operation) => {
      if (operation !== 'transact' || ++transactions !== 2) return
      pipeline.table.before = () => {}
      await pipeline.leases.renew(lease.id, { expiresAt: instant(pipeline.now + 172_800_000) }, BROKER)
    }
    const first = await pipeline.leases.release(lease.id, BROKER).catch((error: unknown) => error)
    await pipeline.pass(600)
    if (db.works('busy')) {
      expect(first).toMatchObject({ code: 'lease-state' })
      await pipeline.leases.release(lease.id, BROKER)
      await pipeline.pass(600)
    }
    expect(db.alive()).toEqual([])
  })

  it('a giving back that was killed halfway can be repeated at any time', async () => {
    for (let crashAt = 1; crashAt <= 12; crashAt += 1) {
      const pipeline = new Pipeline()
      const db = await pipeline.issuer()
      const lease = await pipeline.lease('held')
      let operations = 0
      pipeline.table.before = () => {
        operations += 1
        if (operations === crashAt) throw new Error('crash')
      }
      await pipeline.leases.release(lease.id, BROKER).catch(() => {})
      pipeline.table.before = () => {}
      await pipeline.pass(600)
      const given = await pipeline.leases.release(lease.id, BROKER)
      await pipeline.pass(300)
      expect(db.alive(), `crash at operation ${crashAt}`).toEqual([])
      expect(pipeline.case(given.case), `crash at operation ${crashAt}`).toMatchObject({
        state: 'closed',
        counts: { revoked: 1 },
      })
      expect(await pipeline.leases.release(lease.id, BROKER)).toEqual(given)
    }
  })

  it('what was delegated from a grant ends with it, though others hold the grant’s credential', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const parent = await pipeline.lease('pool', { kind: 'static', delegable: true, task: { id: '1' } }, 'app-key-1234')
    await pipeline.lease('pool', { identity: other, owner: 'bob', kind: 'static' }, 'bob-key-1234')
    await pipeline.lease('sub-agent', { identity: 'spiffe://example.org/sub', owner: 'carol', parent: parent.id })
    const { case: id } = await pipeline.trigger('task-complete', { kind: 'task', id: '1' })
    await pipeline.settle()
    expect(db.alive()).toEqual(['pool'])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { released: 1, revoked: 1 } })
  })
})

describe('one key, two requests', () => {
  it('a pointer that another request with the same key left behind does not bring a lease into its scope', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    let transactions = 0
    pipeline.table.before = (operation) => {
      // The identity is declared in the first transaction; the lease is recorded in the second.
      if (operation === 'transact' && ++transactions === 2) throw new Error('the registrar dies after the pointers')
    }
    await expect(pipeline.lease('job', { task: { id: 'one' } })).rejects.toThrow('dies')
    pipeline.table.before = () => {}
    await pipeline.lease('job', { task: { id: 'two' } })
    const { case: id } = await pipeline.trigger('task-complete', { kind: 'task', id: 'one' })
    await pipeline.settle()
    expect(pipeline.case(id).state).toBe('closed')
    expect(db.alive()).toEqual(['job'])
    await pipeline.trigger('task-complete', { kind: 'task', id: 'two' })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
  })

  it('two different registrations at once under one key: only one is acknowledged', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    await pipeline.lease('known')
    const key = 'same-key-1234'
    const attempts = await Promise.allSettled([pipeline.lease('a', {}, key), pipeline.lease('b', {}, key)])
    expect(attempts.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    const rejected = attempts.find(({ status }) => status === 'rejected')
    expect(rejected).toMatchObject({ reason: { code: 'idempotency-conflict' } })
  })

  it('a retry is the same lease, whatever became of the identity and the clock meanwhile', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const operator = { uri: 'spiffe://example.org/operator/one', approve: true }
    const expiresAt = instant(pipeline.now + 600_000)
    const lease = await pipeline.lease('one', { expiresAt })
    await pipeline.operate.putIdentity({ id: app, owner: 'bob' }, operator)
    expect((await pipeline.lease('one', { expiresAt })).id).toBe(lease.id)
    await pipeline.pass(900)
    expect((await refusal(pipeline.lease('one', { expiresAt }))).code).toBe('lease-ended')
  })

  it('two triggers of one source stay two, however their names are cut', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('a', { task: { id: '1' } })
    await pipeline.lease('b', { task: { id: '2' } })
    const [source] = [{ name: 'ci', triggers: ['task-complete' as const], namespaces: ['ci'] }]
    const send = (from: string, id: string, task: string) =>
      pipeline.accept(
        {
          specversion: '1.0',
          id,
          source: from,
          type: 'io.rescind.task-complete',
          data: { scope: { kind: 'task', id: task }, reason: 'done' },
        },
        { source, principal: 'source:ci' },
      )
    expect((await send('urn:x', 'y|z', '1')).status).toBe('opened')
    expect((await send('urn:x|y', 'z', '2')).status).toBe('opened')
    await pipeline.settle()
    expect(db.alive()).toEqual([])
  })
})

describe('shared credentials', () => {
  it('two leases of one credential cut in one batch are both our own cut', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    await pipeline.lease('service', { kind: 'static' }, 'key-one-1234')
    await pipeline.lease('service', { kind: 'static' }, 'key-two-1234')
    const lease = await pipeline.lease('service', { kind: 'static' }, 'key-three-1234')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'credential', fingerprint: lease.fingerprint })
    await pipeline.settle()
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 3, absent: 0 } })
  })

  it('a hundred holders of one credential are ended without waiting for each other', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    let fingerprint = ''
    for (let index = 0; index < 100; index += 1) {
      const lease = await pipeline.lease(
        'service',
        { kind: 'static', identity: `spiffe://example.org/holder/${index}`, task: { id: String(index % 2) } },
        `holder-${index}-1234`,
      )
      fingerprint = lease.fingerprint
    }
    const one = await pipeline.trigger('task-complete', { kind: 'task', id: '0' })
    await pipeline.settle()
    expect(db.alive()).toEqual(['service'])
    expect(pipeline.case(one.case)).toMatchObject({ state: 'closed', counts: { released: 50 } })
    const two = await pipeline.trigger('compromise', { kind: 'credential', fingerprint })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(pipeline.case(two.case)).toMatchObject({ state: 'closed', counts: { revoked: 100 } })
    expect(credentials(pipeline)).toMatchObject([{ holders: 0, cutting: true }])
  })
})

describe('breadth', () => {
  it('scans an identity that has leases at more issuers than a transaction has operations', async () => {
    const pipeline = new Pipeline()
    const names = Array.from({ length: 130 }, (_, index) => `db${index}`)
    const all = []
    for (const name of names) all.push(await pipeline.issuer(name))
    for (const name of names) await pipeline.lease('role', { issuer: name, task: { id: 'wide' } }, `key-${name}-1234`)
    const { case: id } = await pipeline.trigger('task-complete', { kind: 'task', id: 'wide' })
    await pipeline.settle()
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 130 } })
    expect(all.flatMap((issuer) => issuer.alive())).toEqual([])
  })

  it('a workload that a registration names is the one it is later ended by', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    await pipeline.lease('one')
    expect((await refusal(pipeline.lease('two', { workload: 'crm' }))).code).toBe('owner-mismatch')
    await pipeline.lease('three', { identity: other, workload: 'crm' })
    expect((await pipeline.lease('four', { identity: other, workload: 'crm' })).state).toBe('live')
  })
})

describe('truth', () => {
  it('a case whose lever failed is not called contained', async () => {
    const pipeline = new Pipeline({ definition: fakeDefinition() as Definition })
    await pipeline.issuer()
    await pipeline.lease('one', { group: 'g' })
    pipeline.replaceWorker((ports) => {
      const module: ProviderModule = {
        ...pipeline.module,
        async connect(issuer, tools) {
          const provider = await pipeline.module.connect(issuer, tools)
          return { ...provider, contain: async () => ({ status: 'unsupported', said: 'no such lever' }) }
        },
      }
      return revokeWorker(module, ports)
    })
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', levers: { expected: 1, done: 0, failed: 1 } })
    expect(pipeline.case(id).containedAt).toBeUndefined()
  })

  it('an issuer that talks too much does not make the trail unreadable', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('one')
    db.answers.set('one', { status: 'irrevocable', said: 'x'.repeat(5000) })
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { parked: 1 } })
    const { entries } = await pipeline.operate.audit({ case: id })
    expect(entries.some(({ what }) => what === 'outcome.parked')).toBe(true)
  })

  it('a breaker that opens again has a record of its own', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    for (const name of ['one', 'two']) {
      await pipeline.lease(name, { task: { id: name } })
      db.down = true
      await pipeline.trigger('task-complete', { kind: 'task', id: name })
      await pipeline.settle()
      db.down = false
      await pipeline.pass(300)
    }
    const { entries } = await pipeline.operate.audit({ day: '2026-11-22' })
    expect(entries.filter(({ what }) => what === 'issuer.breaker-opened')).toHaveLength(2)
  })
})

describe('workers', () => {
  it('children hanging on a healthy issuer are reached though the first message was lost and the parent’s issuer is down', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const cloud = await pipeline.issuer('cloud')
    const parent = await pipeline.lease('agent', { delegable: true })
    await pipeline.lease('sub', { identity: other, owner: 'bob', parent: parent.id, issuer: 'cloud' })
    await declareIssuer(
      pipeline.table,
      'db',
      { provider: 'fake', settings: {}, soakSeconds: 60 },
      { who: 'test', at: instant(pipeline.now) },
    )
    db.down = true
    await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.step()
    pipeline.messages.splice(0)
    await pipeline.pass(900)
    expect(cloud.alive()).toEqual([])
  })

  it('chunks that start side by side open one connection, and none is left open', async () => {
    const pipeline = new Pipeline({ definition: fakeDefinition({ batch: 1 }) as Definition })
    await pipeline.issuer()
    const open = new Set<number>()
    let made = 0
    let broken = false
    let work: ReturnType<typeof revokeWorker> | undefined
    pipeline.replaceWorker((ports) => {
      const module: ProviderModule = {
        ...pipeline.module,
        async connect(issuer, tools) {
          made += 1
          const mine = made
          open.add(mine)
          await new Promise((resolve) => setImmediate(resolve))
          const provider = await pipeline.module.connect(issuer, tools)
          return {
            ...provider,
            async revoke(batch, warrant) {
              if (broken) throw new IssuerUnavailable('gone')
              return provider.revoke(batch, warrant)
            },
            async close() {
              open.delete(mine)
            },
          }
        },
      }
      work = revokeWorker(module, ports)
      return work
    })
    for (let index = 0; index < 30; index += 1) await pipeline.lease(`r${index}`)
    broken = true
    await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.step()
    const messages = pipeline.messages.splice(0)
    expect(messages.length).toBeGreaterThan(5)
    await Promise.allSettled(messages.map(({ body }) => work?.(body as never, { receiveCount: 1 })))
    expect({ made: made <= 2, open: open.size }).toEqual({ made: true, open: 0 })
  })

  it('a backlog is not fed with the same chunks again each two minutes', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    for (let index = 0; index < 20; index += 1) await pipeline.lease(`r${index}`)
    await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.step()
    const planned = pipeline.messages.length
    const before = pipeline.sent.length
    for (let minute = 0; minute < 60; minute += 1) {
      pipeline.now += 60_000
      await pipeline.sweep()
    }
    // Nobody works for an hour: each chunk is sent again a handful of times, not thirty.
    expect((pipeline.sent.length - before) / planned).toBeLessThan(8)
  })

  it('a chunk that takes longer than its worker may run ends all the same', async () => {
    const definition = fakeDefinition({ propagationSeconds: 10, batch: 5 }) as Definition
    const pipeline = new Pipeline({ definition })
    await pipeline.issuer()
    for (let i = 0; i < 40; i += 1) await pipeline.lease(`r${i}`, { task: { id: '1' } })
    let calls = 0
    let left = 6
    let kill = () => {}
    pipeline.replaceWorker((ports) => {
      const module: ProviderModule = {
        ...pipeline.module,
        async connect(issuer, tools) {
          const provider = await pipeline.module.connect(issuer, tools)
          return {
            ...provider,
            async revoke(batch, warrant) {
              calls += 1
              left -= 1
              // Lambda ends the worker in the seventh call of one visit: it never comes back.
              if (left < 0) {
                kill()
                return new Promise(() => {})
              }
              return provider.revoke(batch, warrant)
            },
          }
        },
      }
      return (message, delivery) => {
        left = 6
        return Promise.race([
          revokeWorker(module, ports)(message, delivery),
          new Promise<void>((_, reject) => {
            kill = () => reject(new Error('killed'))
          }),
        ])
      }
    })
    const { case: id } = await pipeline.trigger('task-complete', { kind: 'task', id: '1' })
    await pipeline.settle()
    await pipeline.pass(3600)
    expect({ closed: pipeline.case(id).closedAt !== undefined, calls: calls <= 30 }).toEqual({ closed: true, calls: true })
  })

  it('a group that cannot be fenced in one run is fenced in several', async () => {
    const pipeline = new Pipeline({ settings: { fuse: { identities: 1000, share: 1 } } })
    const db = await pipeline.issuer()
    for (let i = 0; i < 200; i += 1)
      await pipeline.operate.putIdentity(
        { id: `spiffe://example.org/id/${i}`, owner: 'alice' },
        { uri: 'spiffe://example.org/operator/one', approve: true },
      )
    await pipeline.lease('last', { identity: 'spiffe://example.org/id/199' })
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    for (let run = 0; run < 100; run += 1) {
      let operations = 0
      pipeline.table.before = () => {
        operations += 1
        if (operations > 400) throw new Error('out of time')
      }
      await pipeline.step()
      pipeline.table.before = () => {}
      pipeline.now += 60_000
      await pipeline.sweep()
    }
    await pipeline.pass(600)
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', identities: 200, counts: { revoked: 1 } })
    expect(db.alive()).toEqual([])
  })
})
