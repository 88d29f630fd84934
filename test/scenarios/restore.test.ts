import { describe, expect, it } from 'vitest'
import type { Definition } from '../../functions/providers/contract.ts'
import { fakeDefinition } from '../support/fake-issuer.ts'
import { app, BROKER, Pipeline, START } from '../support/pipeline.ts'
import { refusal } from '../support/refusal.ts'

/** What was cut by mistake is given back: within the soak time, never against a case that must cut it, never half. */

const other = 'spiffe://example.org/other'
const APPROVER = { uri: 'spiffe://example.org/operator/two', approve: true }
const OPERATOR = { uri: 'spiffe://example.org/operator/three', approve: false }
const asked = { reason: 'a false alarm' }
const undone = { ...asked, undoesCompromise: true as const }

const credentials = (pipeline: Pipeline) =>
  pipeline.table.all().filter(({ kind, exclusive }) => kind === 'credential' && exclusive === false)

/** One lease, cut by an offboarding of its identity. */
async function cut(overrides: Parameters<Pipeline['lease']>[1] = {}, definition?: Definition) {
  const pipeline = new Pipeline(definition === undefined ? {} : { definition })
  const db = await pipeline.issuer()
  const lease = await pipeline.lease('service', overrides)
  const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
  await pipeline.settle()
  pipeline.now += 1000
  expect(db.alive()).toEqual([])
  pipeline.now += 1000
  return { pipeline, db, lease, id }
}

describe('what is restored', () => {
  it('gives the very same credential back, by lease, and leaves the case’s counts as they were', async () => {
    const { pipeline, db, lease, id } = await cut()
    const { id: restoration } = await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
    await pipeline.settle()
    expect(db.alive()).toEqual(['service'])
    expect(await pipeline.restore.show(restoration)).toMatchObject({
      state: 'done',
      counts: { restored: 1, refused: 0 },
      parts: { expected: 1, done: 1 },
      requester: OPERATOR.uri,
    })
    expect(pipeline.stored(lease.id)).toMatchObject({ state: 'live', pardons: { [id]: restoration } })
    expect(await pipeline.operate.getCase(id)).toMatchObject({ state: 'closed', outcomes: { revoked: 1 }, restored: 1 })
    const told = pipeline.records().map(({ what }) => what)
    for (const what of ['restoration.opened', 'restoration.done', 'lease.restoring', 'lease.restored', 'case.restored'])
      expect(told).toContain(what)
    const record = pipeline.records().find(({ what }) => what === 'lease.restored')
    expect(record).toMatchObject({ case: id, facts: { restoration, case: id, said: 'it works again' } })
    expect((await pipeline.restore.listRestorations({ limit: 5 })).entries).toMatchObject([{ id: restoration }])
  })

  it('a restored lease is renewed, given back and expires like any other', async () => {
    const { pipeline, db, lease } = await cut()
    await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
    await pipeline.settle()
    const expiresAt = new Date(pipeline.now + 90_000_000).toISOString()
    expect((await pipeline.leases.renew(lease.id, { expiresAt }, BROKER)).state).toBe('live')
    await pipeline.pass(90_060)
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(lease.id).state).toBe('ended')
  })

  it('restores by case and by identity, over all shards and at every issuer', async () => {
    for (const kind of ['case', 'identity'] as const) {
      const pipeline = new Pipeline()
      const db = await pipeline.issuer('db')
      const cloud = await pipeline.issuer('cloud')
      for (let index = 0; index < 40; index += 1) await pipeline.lease(`r${index}`, { issuer: index % 3 === 0 ? 'cloud' : 'db' })
      const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
      await pipeline.settle()
      pipeline.now += 1000
      const view =
        kind === 'case'
          ? await pipeline.restore.restoreCase(id, asked, OPERATOR)
          : await pipeline.restore.restoreIdentity({ id: app, ...asked }, OPERATOR)
      await pipeline.settle()
      expect([...db.alive(), ...cloud.alive()].length).toBe(40)
      expect(await pipeline.restore.show(view.id)).toMatchObject({ state: 'done', counts: { restored: 40, refused: 0 } })
      expect(pipeline.case(id).restored).toBe(40)
    }
  })

  it('pushes the lever back that held it, and lets a later case pull it again', async () => {
    const { pipeline, db, lease } = await cut({ group: 'team' })
    expect(db.contained.has('team')).toBe(true)
    await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
    await pipeline.settle()
    expect(db.alive()).toEqual(['service'])
    expect(pipeline.records().map(({ what }) => what)).toContain('lever.released')
    await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    pipeline.now += 1000
    expect(db.contained.has('team')).toBe(true)
    expect(db.alive()).toEqual([])
  })

  it('keeps a lever that another case holds as well, and then gives nothing back', async () => {
    const { pipeline, db, lease, id } = await cut({ group: 'team' })
    await pipeline.lease('theirs', { identity: other, owner: 'bob', group: 'team2' })
    const second = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    pipeline.now += 1000
    const problem = await refusal(pipeline.restore.restoreCase(second.case, asked, OPERATOR))
    expect(problem).toMatchObject({ code: 'restore-refused', cases: [second.case] })
    await pipeline.restore.restoreCase(id, asked, OPERATOR)
    await pipeline.settle()
    expect(db.works('service')).toBe(false)
    expect(db.contained.has('team')).toBe(true)
    expect(pipeline.stored(lease.id).state).toBe('ended')
  })

  it('gives a child back after its parent, and not alone', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const parent = await pipeline.lease('agent', { delegable: true })
    const child = await pipeline.lease('sub', { identity: other, owner: 'bob', parent: parent.id })
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    pipeline.now += 1000
    expect(db.alive()).toEqual([])
    expect((await refusal(pipeline.restore.restoreLease(child.id, asked, OPERATOR))).code).toBe('restore-refused')
    const view = await pipeline.restore.restoreCase(id, asked, OPERATOR)
    await pipeline.pass(300)
    expect(db.alive().sort()).toEqual(['agent', 'sub'])
    expect(await pipeline.restore.show(view.id)).toMatchObject({ state: 'done', counts: { restored: 2 } })
    // What was undone no longer stands in the way of a new delegation.
    expect((await pipeline.lease('sub2', { identity: other, owner: 'bob', parent: parent.id })).state).toBe('live')
  })
})

describe('what is refused', () => {
  it('says so where nothing was cut, the provider cannot, or it would have expired', async () => {
    const { pipeline, lease } = await cut()
    const live = await pipeline.lease('live', { identity: other, owner: 'bob' })
    expect((await refusal(pipeline.restore.restoreLease(live.id, asked, OPERATOR))).code).toBe('restore-refused')
    pipeline.now += 90_000_000
    expect((await refusal(pipeline.restore.restoreLease(lease.id, asked, OPERATOR))).detail).toContain('expired')
    const never = await cut({}, fakeDefinition({ restores: false }) as Definition)
    expect((await refusal(never.pipeline.restore.restoreLease(never.lease.id, asked, OPERATOR))).detail).toContain('cannot undo')
    const found = await never.pipeline.restore.restoreCase(never.id, asked, OPERATOR)
    await never.pipeline.settle()
    expect(await never.pipeline.restore.show(found.id)).toMatchObject({ state: 'done', counts: { restored: 0, refused: 1 } })
  })

  it('undoes a compromise only by an approver who did not report it and says that it was none', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('service')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    pipeline.now += 1000
    for (const attempt of [
      () => pipeline.restore.restoreLease(lease.id, asked, APPROVER),
      () => pipeline.restore.restoreCase(id, asked, APPROVER),
      () => pipeline.restore.restoreIdentity({ id: app, ...asked }, APPROVER),
    ])
      expect(await refusal(attempt())).toMatchObject({ code: 'restore-refused', cases: [id] })
    expect((await refusal(pipeline.restore.restoreLease(lease.id, undone, OPERATOR))).code).toBe('forbidden')
    const reporter = { uri: pipeline.case(id).requester, approve: true }
    expect((await refusal(pipeline.restore.restoreLease(lease.id, undone, reporter))).code).toBe('requester-cannot-approve')
    expect(db.alive()).toEqual([])
    await pipeline.restore.restoreLease(lease.id, undone, APPROVER)
    await pipeline.settle()
    expect(db.alive()).toEqual(['service'])
  })

  it('a compromise whose fence covers what an earlier case had cut stands against it', async () => {
    const { pipeline, db, lease, id } = await cut()
    const later = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    pipeline.now += 1000
    expect(await refusal(pipeline.restore.restoreLease(lease.id, asked, OPERATOR))).toMatchObject({ code: 'restore-refused' })
    const view = await pipeline.restore.restoreCase(id, asked, OPERATOR)
    await pipeline.settle()
    expect(await pipeline.restore.show(view.id)).toMatchObject({
      state: 'done',
      counts: { restored: 0, refused: 1 },
      refused: [{ lease: lease.id, said: expect.stringContaining(later.case) }],
    })
    expect(db.alive()).toEqual([])
  })

  it('the soak time decides: restored before it is over, refused when it is deleted', async () => {
    const { pipeline, db, lease } = await cut()
    await pipeline.pass(3000)
    expect(db.deleted.size).toBe(0)
    await pipeline.pass(1200)
    expect(db.deleted).toEqual(new Set(['service']))
    expect(pipeline.stored(lease.id).deletion).toMatchObject({ done: true })
    expect((await refusal(pipeline.restore.restoreLease(lease.id, asked, OPERATOR))).detail).toContain('deleted')
    expect(pipeline.records().map(({ what }) => what)).toContain('lease.deleted')
  })
})

describe('deletion', () => {
  it('shows what owns something and has no heir, keeps it cut, and deletes it when it has one', async () => {
    const { pipeline, db, lease, id } = await cut()
    db.heirless.add('service')
    await pipeline.pass(3900)
    expect((await pipeline.restore.listLeft({ limit: 5 })).entries).toEqual([
      expect.objectContaining({ lease: lease.id, issuer: 'db', case: id, said: 'it owns tables, and there is no heir' }),
    ])
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(lease.id)).not.toHaveProperty('ttl')
    db.heirless.clear()
    await pipeline.pass(86_700)
    expect(db.deleted).toEqual(new Set(['service']))
    expect((await pipeline.restore.listLeft({ limit: 5 })).entries).toEqual([])
  })

  it('what could not be deleted can still be given back', async () => {
    const { pipeline, db, lease } = await cut()
    db.heirless.add('service')
    await pipeline.pass(3900)
    await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
    await pipeline.settle()
    expect(db.alive()).toEqual(['service'])
    expect((await pipeline.restore.listLeft({ limit: 5 })).entries).toEqual([])
  })

  it('never crosses a restoration, wherever in the deletion the restoration comes, its answer lost or not', async () => {
    for (const moment of ['before', 'call', 'lost'] as const) {
      const { pipeline, db, lease } = await cut()
      const restore = () => pipeline.restore.restoreLease(lease.id, asked, OPERATOR).catch((error: unknown) => error)
      if (moment === 'lost') db.loseTidied.add('service')
      if (moment === 'before') await restore()
      else
        db.onTidy = async () => {
          db.onTidy = () => {}
          await restore()
        }
      await pipeline.pass(5400)
      const { state } = pipeline.stored(lease.id)
      expect({ moment, state, alive: db.works('service'), deleted: db.deleted.has('service') }).toEqual(
        moment === 'before'
          ? { moment, state: 'live', alive: true, deleted: false }
          : { moment, state: 'ended', alive: false, deleted: true },
      )
    }
  })

  it('a deletion at any store operation of a restoration leaves one of the two, never both', async () => {
    for (let count = 1; count <= 60; count += 1) {
      const { pipeline, db, lease } = await cut()
      pipeline.now += 3_590_000
      await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
      let seen = 0
      pipeline.table.before = async () => {
        seen += 1
        if (seen !== count) return
        pipeline.table.before = () => {}
        pipeline.now += 20_000
        await pipeline.sweep()
        // Only what deletes runs now: the restoration waits in the middle of its step.
        for (let steps = 0; steps < 10; steps += 1)
          await pipeline.step((messages) =>
            Math.max(
              0,
              messages.findIndex(({ body }) => JSON.stringify(body).includes('chunk')),
            ),
          )
      }
      await pipeline.settle()
      pipeline.table.before = () => {}
      await pipeline.pass(5400)
      const { state } = pipeline.stored(lease.id)
      const deleted = db.deleted.has('service')
      expect({ count, state, alive: db.works('service') }).toEqual(
        deleted ? { count, state: 'ended', alive: false } : { count, state: 'live', alive: true },
      )
      if (seen < count) return
    }
  }, 60_000)

  it('a deletion that comes while a restoration is at it deletes nothing', async () => {
    const { pipeline, db, lease } = await cut()
    pipeline.now += 3_590_000
    await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
    db.onRestore = async () => {
      db.onRestore = () => {}
      pipeline.now += 20_000
      await pipeline.sweep()
      while (await pipeline.step()) {
        // Whatever else is due runs in the middle of the call.
      }
    }
    await pipeline.settle()
    await pipeline.pass(900)
    expect(db.deleted.size).toBe(0)
    expect(db.alive()).toEqual(['service'])
    expect(pipeline.stored(lease.id).state).toBe('live')
  })
})

describe('restoration against a new case', () => {
  const scopes = [
    { kind: 'identity' as const, id: app },
    { kind: 'owner' as const, id: 'alice' },
  ]

  it.each(['getMany', 'get', 'write', 'transact', 'call', 'after'])(
    'every case that comes in between cuts it in the end (at each %s)',
    async (operation) => {
      for (const scope of scopes)
        for (const type of ['compromise', 'offboarding'] as const)
          for (let count = 1; count <= (operation === 'call' || operation === 'after' ? 1 : 10); count += 1) {
            const { pipeline, db, lease } = await cut()
            await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
            let seen = 0
            let second: string | undefined
            const come = async () => {
              pipeline.table.before = () => {}
              db.onRestore = () => {}
              second = (await pipeline.trigger(type, scope, { id: 'second' })).case
              // The whole second case runs between two steps of the restoration.
              for (let steps = 0; steps < 60 && (await pipeline.step()); steps += 1) await pipeline.stream()
            }
            if (operation === 'call') db.onRestore = come
            else if (operation !== 'after')
              pipeline.table.before = async (now) => {
                if (now === operation && ++seen === count) await come()
              }
            await pipeline.settle()
            pipeline.table.before = () => {}
            if (second === undefined) await come()
            await pipeline.pass(900)
            const where = `${type} ${scope.kind} at ${operation} ${count}`
            expect(db.alive(), where).toEqual([])
            expect(pipeline.stored(lease.id).state, where).toBe('ended')
            expect(pipeline.case(second ?? '').state, where).toBe('closed')
          }
    },
    60_000,
  )

  it('a lost answer leaves no credential alive that a case believes dead', async () => {
    const { pipeline, db, lease } = await cut()
    db.loseRestored.add('service')
    await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
    for (let steps = 0; steps < 20; steps += 1) await pipeline.step()
    expect(db.alive()).toEqual(['service'])
    expect(pipeline.stored(lease.id).state).toBe('restoring')
    const { case: second } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.pass(900)
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(lease.id).state).toBe('ended')
    expect(pipeline.case(second)).toMatchObject({ state: 'closed', counts: { revoked: 1 } })
  })

  it('a call that lands late is cut by the case that took the lease, because it waits for it', async () => {
    const { pipeline, db, lease } = await cut()
    await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
    db.onRestore = async () => {
      db.onRestore = () => {}
      await pipeline.trigger('compromise', { kind: 'identity', id: app }, { id: 'second' })
      for (let steps = 0; steps < 60 && (await pipeline.step()); steps += 1) await pipeline.stream()
      // The case has cut it by now, and the restoration's effect comes only after that.
      expect(pipeline.stored(lease.id).state).toBe('cutting')
    }
    await pipeline.pass(900)
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(lease.id).state).toBe('ended')
  })
})

describe('a restoration that is killed, repeated or doubled', () => {
  it('a crash at any store operation gives back all of it or leaves it cut, and a second run ends it', async () => {
    for (let crashAt = 1; crashAt <= 60; crashAt += 1) {
      const { pipeline, db, lease } = await cut({ group: 'team' })
      let operations = 0
      pipeline.table.before = () => {
        operations += 1
        if (operations === crashAt) throw new Error('crash')
      }
      const view = await pipeline.restore.restoreLease(lease.id, asked, OPERATOR).catch(() => undefined)
      await pipeline.settle().catch(() => {})
      const over = operations < crashAt
      pipeline.table.before = () => {}
      await pipeline.pass(600)
      const state = pipeline.stored(lease.id).state
      if (view !== undefined) {
        expect({ crashAt, state, alive: db.works('service') }).toEqual({ crashAt, state: 'live', alive: true })
        expect(await pipeline.restore.show(view.id)).toMatchObject({ state: 'done', counts: { restored: 1 } })
        expect(Object.values(pipeline.case(Object.keys(pipeline.stored(lease.id).outcomes)[0] ?? '').counts)).toContain(1)
      } else expect(db.works('service')).toBe(state === 'live')
      if (over) return
    }
  }, 60_000)

  it('two at once: one gives it back, the other says so', async () => {
    const { pipeline, db, lease, id } = await cut()
    const one = await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
    const two = await pipeline.restore.restoreCase(id, asked, APPROVER)
    let nested = false
    db.onRestore = async () => {
      if (nested) return
      nested = true
      for (let steps = 0; steps < 10 && (await pipeline.step()); steps += 1) await pipeline.stream()
    }
    await pipeline.pass(300)
    expect(db.alive()).toEqual(['service'])
    const counts = [await pipeline.restore.show(one.id), await pipeline.restore.show(two.id)].map((view) => view.counts.restored)
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(1)
    expect(pipeline.case(id).restored).toBe(1)
  })

  it('messages that come twice change nothing', async () => {
    const { pipeline, db, lease, id } = await cut()
    pipeline.deliveries = 2
    const view = await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
    await pipeline.pass(120)
    expect(db.alive()).toEqual(['service'])
    expect(await pipeline.restore.show(view.id)).toMatchObject({ parts: { expected: 1, done: 1 }, counts: { restored: 1 } })
    expect(pipeline.case(id).restored).toBe(1)
  })

  it('waits for an issuer that is down, and says so', async () => {
    const { pipeline, db, lease } = await cut()
    db.down = true
    const view = await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
    await pipeline.pass(120)
    expect(await pipeline.restore.show(view.id)).toMatchObject({ state: 'running', waiting: [{ said: 'the issuer is down' }] })
    db.down = false
    await pipeline.pass(600)
    expect(db.alive()).toEqual(['service'])
  })

  it('what is not given back by its expiry is cut by it', async () => {
    const { pipeline, db, lease } = await cut({ expiresAt: new Date(START + 1_800_000).toISOString() })
    db.restoreAnswers.set('service', { status: 'retry', said: 'locked' })
    await pipeline.restore.restoreLease(lease.id, asked, OPERATOR)
    await pipeline.pass(600)
    expect(pipeline.stored(lease.id).state).toBe('restoring')
    // What the issuer would not tell: the call had worked.
    db.resurrect('service')
    await pipeline.pass(2400)
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(lease.id).state).toBe('ended')
  })
})

describe('a shared credential', () => {
  async function shared() {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const mine = await pipeline.lease('service', { kind: 'static' }, 'app-key-1234')
    const theirs = await pipeline.lease('service', { kind: 'static', identity: other, owner: 'bob' }, 'bob-key-1234')
    return { pipeline, db, mine, theirs }
  }

  it('is given back to all who held it, with their places', async () => {
    const { pipeline, db, mine, theirs } = await shared()
    const { case: id } = await pipeline.trigger('compromise', { kind: 'credential', fingerprint: mine.fingerprint })
    await pipeline.settle()
    pipeline.now += 1000
    expect(db.alive()).toEqual([])
    const view = await pipeline.restore.restoreLease(mine.id, undone, APPROVER)
    await pipeline.settle()
    expect(db.alive()).toEqual(['service'])
    expect([pipeline.stored(mine.id).state, pipeline.stored(theirs.id).state]).toEqual(['live', 'live'])
    expect(credentials(pipeline)).toMatchObject([{ holders: 2, cutting: false, pardons: { [id]: view.id } }])
    expect(await pipeline.restore.show(view.id)).toMatchObject({ state: 'done', counts: { restored: 2 } })
    // Somebody who registers it anew is not cut by the case that was undone.
    expect((await pipeline.lease('service', { kind: 'static' }, 'new-key-1234')).state).toBe('live')
    // A lifecycle end releases again; the last one cuts.
    await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.pass(120)
    expect(db.alive()).toEqual(['service'])
    await pipeline.trigger('offboarding', { kind: 'identity', id: other })
    await pipeline.pass(120)
    expect(db.alive()).toEqual([])
  })

  it('stays cut while a compromise covers one of its holders, even one that had given it back', async () => {
    const { pipeline, db, mine, theirs } = await shared()
    const first = await pipeline.trigger('offboarding', { kind: 'identity', id: other })
    await pipeline.settle()
    pipeline.now += 1000
    expect(pipeline.stored(theirs.id).state).toBe('released')
    const second = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    pipeline.now += 1000
    await pipeline.trigger('compromise', { kind: 'identity', id: other })
    await pipeline.settle()
    pipeline.now += 1000
    expect(first.case).not.toBe(second.case)
    const view = await pipeline.restore.restoreLease(mine.id, asked, OPERATOR).catch((error: unknown) => error)
    await pipeline.pass(120)
    expect(db.alive()).toEqual([])
    expect(JSON.stringify(view)).toBeTruthy()
    expect(pipeline.stored(mine.id).state).toBe('ended')
    expect(credentials(pipeline)).toMatchObject([{ holders: 0, cutting: true }])
    expect(credentials(pipeline)[0]).not.toHaveProperty('restoring')
  })

  it.each(['getMany', 'get', 'write', 'transact', 'query', 'call'])(
    'a case that comes at any %s of its restoration leaves it dead, or alive for those whom it does not cover',
    async (operation) => {
      for (const type of ['compromise', 'offboarding'] as const)
        for (let count = 1; count <= (operation === 'call' ? 1 : 16); count += 1) {
          const { pipeline, db, mine, theirs } = await shared()
          await pipeline.trigger('compromise', { kind: 'credential', fingerprint: mine.fingerprint })
          await pipeline.settle()
          pipeline.now += 1000
          await pipeline.restore.restoreLease(mine.id, undone, APPROVER)
          let seen = 0
          let come = async () => {
            come = async () => {}
            pipeline.table.before = () => {}
            db.onRestore = () => {}
            await pipeline.trigger(type, { kind: 'identity', id: other }, { id: 'second' })
            for (let steps = 0; steps < 80 && (await pipeline.step()); steps += 1) await pipeline.stream()
          }
          if (operation === 'call') db.onRestore = () => come()
          else
            pipeline.table.before = async (now) => {
              if (now === operation && ++seen === count) await come()
            }
          await pipeline.settle()
          pipeline.table.before = () => {}
          await come()
          await pipeline.pass(1200)
          const where = `${type} at ${operation} ${count}`
          const states = [mine, theirs].map(({ id }) => pipeline.stored(id).state)
          const live = states.filter((state) => state === 'live').length
          expect(states[1], where).not.toBe('live')
          expect(
            states.every((state) => ['live', 'ended', 'released'].includes(state)),
            `${where}: ${states}`,
          ).toBe(true)
          expect(db.works('service'), `${where}: ${states}`).toBe(live > 0)
          if (type === 'compromise') expect(live, where).toBe(0)
          expect(credentials(pipeline)[0], where).toMatchObject({ holders: live })
          expect(credentials(pipeline)[0], where).not.toHaveProperty('restoring')
        }
    },
    120_000,
  )

  it('a crash at any store operation gives it back whole', async () => {
    for (let crashAt = 1; crashAt <= 60; crashAt += 1) {
      const { pipeline, db, mine, theirs } = await shared()
      await pipeline.trigger('compromise', { kind: 'credential', fingerprint: mine.fingerprint })
      await pipeline.settle()
      pipeline.now += 1000
      await pipeline.restore.restoreLease(mine.id, undone, APPROVER)
      let operations = 0
      pipeline.table.before = () => {
        operations += 1
        if (operations === crashAt) throw new Error('crash')
      }
      await pipeline.settle().catch(() => {})
      pipeline.table.before = () => {}
      await pipeline.pass(900)
      expect(db.alive(), `crash at ${crashAt}`).toEqual(['service'])
      expect([mine, theirs].map(({ id }) => pipeline.stored(id).state)).toEqual(['live', 'live'])
      expect(credentials(pipeline)).toMatchObject([{ holders: 2, cutting: false }])
      if (operations < crashAt) return
    }
  }, 60_000)
})
