import { describe, expect, it } from 'vitest'
import type { CaseView } from '../../functions/contracts/case.ts'
import type { Lease } from '../../functions/domain/model.ts'
import { instant } from '../../functions/domain/time.ts'
import { viewOfCase } from '../../functions/domain/views.ts'
import type { Definition } from '../../functions/providers/contract.ts'
import { as } from '../../functions/store/items.ts'
import type { FakeIssuer } from '../support/fake-issuer.ts'
import { fakeDefinition } from '../support/fake-issuer.ts'
import { app, Pipeline } from '../support/pipeline.ts'
import { refusal } from '../support/refusal.ts'

/** A compromise by what a responder has in hand: where no lease names it, issuers are asked, and what they find is cut. */

const named = (name: string, more: { issuer?: string; provider?: string } = {}) => ({
  kind: 'credential-name' as const,
  name,
  ...more,
})
const view = (pipeline: Pipeline, id: string): CaseView => viewOfCase(pipeline.case(id))
const leases = (pipeline: Pipeline): Lease[] =>
  pipeline.table.all().flatMap((item) => (item.kind === 'lease' ? [as('lease', item)] : []))
const calls = (issuer: FakeIssuer, what: string) => issuer.calls.filter((call) => call.startsWith(what))
const report = (pipeline: Pipeline, name: string, id?: string) =>
  pipeline.trigger('compromise', named(name), id === undefined ? {} : { id })

describe('a credential that a lease names', () => {
  it('is cut at once, and nobody is asked', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const cloud = await pipeline.issuer('cloud')
    cloud.down = true
    await pipeline.lease('known')
    const { case: id } = await report(pipeline, 'fake:known')
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect([...calls(db, 'locate'), ...calls(cloud, 'locate')]).toEqual([])
    expect(view(pipeline, id)).toMatchObject({ state: 'closed', outcomes: { revoked: 1 }, empty: false })
    expect(view(pipeline, id).asked).toMatchObject([
      { issuer: 'cloud', state: 'unasked', said: 'not asked: a lease at db names the credential' },
      { issuer: 'db', state: 'unasked' },
    ])
  })

  it('is cut for all of its holders, each counted once', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    for (const holder of ['a', 'b', 'c'])
      await pipeline.lease('shared', { kind: 'static', identity: `${app}/${holder}` }, `holder-${holder}`)
    const { case: id } = await report(pipeline, 'fake:shared')
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(view(pipeline, id)).toMatchObject({ state: 'closed', outcomes: { revoked: 3 }, bystanders: 0 })
  })
})

describe('a credential that no lease names', () => {
  it('is asked for, registered on the spot, never acknowledged, cut and counted once', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('wild', 'group-bob', 'arn:aws:iam::123456789012:user/team/bob')
    const { case: id } = await report(pipeline, 'fake:wild')
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(view(pipeline, id)).toMatchObject({
      state: 'closed',
      empty: false,
      asked: [{ issuer: 'db', state: 'found' }],
      amendments: { expected: 1, done: 1, outcomes: { revoked: 1 } },
    })
    expect(leases(pipeline)).toMatchObject([
      { identity: 'arn:aws:iam::123456789012:user/bob', owner: 'unregistered', state: 'ended', acknowledged: false },
    ])
    // It is told once, when it is over, with what was found.
    const told = pipeline.announced.filter(({ subject }) => subject === id)
    expect(told.map(({ type }) => type)).toEqual(['io.rescind.case.closed'])
    expect(told[0]?.data).toMatchObject({ case: { asked: [{ state: 'found' }], empty: false } })
    const records = pipeline.records().map(({ what }) => what)
    for (const what of ['ask.opened', 'ask.found', 'lease.registered', 'lease.late', 'outcome.revoked', 'case.closed'])
      expect(records).toContain(what)
    expect(records).not.toContain('lease.live')
  })

  it('has a holder of its own where its issuer knows none, and a later case on a known holder contains it', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('nobodys')
    db.mint('bobs', 'group-bob', 'arn:aws:iam::123456789012:user/bob')
    await report(pipeline, 'fake:nobodys', 'one')
    await report(pipeline, 'fake:bobs', 'two')
    await pipeline.settle()
    expect(
      leases(pipeline)
        .map(({ identity }) => identity)
        .sort(),
    ).toEqual([
      'arn:aws:iam::123456789012:user/bob',
      expect.stringMatching(/^https:\/\/unregistered\.rescind\.io\/db#[a-z2-7]{26}$/),
    ])
    await pipeline.trigger('compromise', { kind: 'identity', id: 'arn:aws:iam::123456789012:user/bob' })
    await pipeline.settle()
    expect(db.contained.has('group-bob')).toBe(true)
  })

  it('that nobody knows leaves a closed, empty case that names every issuer and what it said', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer('db')
    await pipeline.issuer('cloud')
    const { case: id } = await report(pipeline, 'fake:nowhere')
    await pipeline.settle()
    expect(view(pipeline, id)).toMatchObject({ state: 'closed', empty: true })
    expect(view(pipeline, id).asked).toEqual([
      { issuer: 'cloud', state: 'unknown', said: 'no such credential' },
      { issuer: 'db', state: 'unknown', said: 'no such credential' },
    ])
    expect(pipeline.announced).toMatchObject([{ type: 'io.rescind.case.closed', data: { case: { empty: true } } }])
    // Whoever registers it afterwards meets the fence.
    db.mint('nowhere')
    expect(await refusal(pipeline.lease('nowhere'))).toMatchObject({ code: 'fenced', cases: [id] })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
  })

  it('is looked for at the issuer or the provider that is named, and nowhere else', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer('db')
    const cloud = await pipeline.issuer('cloud')
    db.mint('same-name')
    cloud.mint('same-name')
    const { case: id } = await pipeline.trigger('compromise', named('fake:same-name', { issuer: 'cloud' }))
    await pipeline.settle()
    expect([db.alive(), cloud.alive()]).toEqual([['same-name'], []])
    expect(view(pipeline, id).asked).toMatchObject([{ issuer: 'cloud', state: 'found' }])
    await pipeline.lease('registered-here', { issuer: 'cloud' })
    db.mint('registered-here')
    for (const name of ['same-name', 'registered-here'])
      await pipeline.trigger('compromise', named(`fake:${name}`, { provider: 'fake' }), { id: name })
    await pipeline.settle()
    await pipeline.pass(60)
    expect(cloud.alive()).toEqual([])
    expect(db.alive()).toEqual([])
  })

  it('names issuers that cannot be asked', async () => {
    const pipeline = new Pipeline({ definition: fakeDefinition({ locates: false }) as Definition })
    const db = await pipeline.issuer()
    db.mint('wild')
    const { case: id } = await report(pipeline, 'fake:wild')
    await pipeline.settle()
    expect(view(pipeline, id)).toMatchObject({
      state: 'closed',
      empty: true,
      asked: [
        {
          issuer: 'db',
          state: 'unasked',
          said: 'cannot be asked: provider fake cannot look for a credential that no lease names',
        },
      ],
    })
  })

  it('is neither fenced nor asked for where the pipeline only observes', async () => {
    const pipeline = new Pipeline({ settings: { modes: { default: 'observe', rules: [] } } })
    const db = await pipeline.issuer()
    db.mint('wild')
    const { case: id } = await report(pipeline, 'fake:wild')
    await pipeline.settle()
    expect(db.calls).toEqual([])
    expect(db.alive()).toEqual(['wild'])
    expect(view(pipeline, id)).toMatchObject({ state: 'closed', empty: true, asked: [{ issuer: 'db', state: 'unasked' }] })
    await pipeline.lease('wild')
    expect(leases(pipeline)).toMatchObject([{ state: 'live' }])
  })
})

describe('an issuer that is asked and does not answer', () => {
  it('is asked until it does: the case stays open and says so, no attempt is spent, others are not held up', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer('db')
    const cloud = await pipeline.issuer('cloud')
    db.mint('wild')
    cloud.mint('wild')
    cloud.down = true
    const { case: id } = await report(pipeline, 'fake:wild')
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(view(pipeline, id)).toMatchObject({
      state: 'revoking',
      asked: [
        { issuer: 'cloud', state: 'open', said: 'the issuer is down' },
        { issuer: 'db', state: 'found' },
      ],
      amendments: { done: 1 },
    })
    await pipeline.pass(3600)
    expect(pipeline.case(id).closedAt).toBeUndefined()
    expect(pipeline.table.items.get(`CASE#${id}`)?.get('ASK#cloud')).toMatchObject({ state: 'open', attempts: 0 })
    cloud.down = false
    await pipeline.pass(900)
    expect(cloud.alive()).toEqual([])
    expect(view(pipeline, id)).toMatchObject({ state: 'closed', amendments: { expected: 2, done: 2, outcomes: { revoked: 2 } } })
  })

  it('tells the trail why it waits once, not at each try', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.down = true
    await report(pipeline, 'fake:wild')
    await pipeline.settle()
    await pipeline.pass(3600)
    expect(pipeline.records().filter(({ what }) => what === 'ask.postponed')).toHaveLength(1)
  })

  it('finds it, and the answer is lost: it is asked again, and one lease is made', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('wild')
    db.loseLocated.add('wild')
    const { case: id } = await report(pipeline, 'fake:wild')
    await pipeline.settle()
    await pipeline.pass(300)
    expect(calls(db, 'locate')).toHaveLength(2)
    expect(leases(pipeline)).toHaveLength(1)
    expect(view(pipeline, id)).toMatchObject({ state: 'closed', amendments: { expected: 1, outcomes: { revoked: 1 } } })
  })

  it('fails so often that it is given up: the case closes and names it', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.onLocate = () => {
      throw new Error('quotes the answer: s3cr3t')
    }
    const { case: id } = await report(pipeline, 'fake:wild')
    await pipeline.settle()
    await pipeline.pass(3600)
    expect(view(pipeline, id)).toMatchObject({
      state: 'closed',
      empty: true,
      asked: [{ state: 'failed', said: 'after 12 attempts: the provider failed unexpectedly' }],
    })
    expect(JSON.stringify([pipeline.logged, pipeline.table.all()])).not.toContain('s3cr3t')
  })

  it('answers with what does not fit its provider, or asks to come back: neither makes a lease', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('wild')
    db.located.set('wild', { status: 'found', said: 'found', target: { other: 'shape' } })
    const { case: id } = await report(pipeline, 'fake:wild')
    await pipeline.settle()
    expect(view(pipeline, id).asked).toMatchObject([{ state: 'open', said: 'what was found does not fit its provider' }])
    db.located.set('wild', { status: 'retry', said: 'busy', afterSeconds: 5 })
    await pipeline.pass(120)
    expect(view(pipeline, id).asked).toMatchObject([{ state: 'open', said: 'busy' }])
    expect(leases(pipeline)).toEqual([])
    db.located.clear()
    await pipeline.pass(300)
    expect(view(pipeline, id)).toMatchObject({ state: 'closed', amendments: { outcomes: { revoked: 1 } } })
  })

  it('is removed from the configuration: it is named as failed', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.down = true
    const { case: id } = await report(pipeline, 'fake:wild')
    await pipeline.settle()
    pipeline.table.lose('ISSUER#db')
    await pipeline.pass(300)
    expect(view(pipeline, id)).toMatchObject({ state: 'closed', asked: [{ issuer: 'db', state: 'failed' }] })
  })
})

describe('races', () => {
  it('two workers that find it at once make one lease, cut and counted once', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('wild')
    pipeline.deliveries = 3
    let depth = 0
    db.onLocate = async () => {
      // While this one has its answer under way, the next delivery is worked on from its beginning to its end.
      depth += 1
      if (depth < 3) await pipeline.step((messages) => messages.findIndex(({ body }) => JSON.stringify(body).includes('locate')))
    }
    const { case: id } = await report(pipeline, 'fake:wild')
    await pipeline.settle()
    expect(calls(db, 'locate').length).toBeGreaterThan(1)
    expect(leases(pipeline)).toHaveLength(1)
    expect(view(pipeline, id)).toMatchObject({ state: 'closed', amendments: { expected: 1, done: 1, outcomes: { revoked: 1 } } })
    expect(pipeline.case(id).asks).toEqual({ expected: 1, done: 1 })
  })

  it('its holder registers it while it is asked for: refused, never acknowledged, cut and each lease counted once', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('wild')
    let refused: unknown
    db.onLocate = async () => {
      db.onLocate = () => {}
      refused = await refusal(pipeline.lease('wild'))
    }
    const { case: id } = await report(pipeline, 'fake:wild')
    await pipeline.settle()
    expect(refused).toMatchObject({ code: 'fenced', cases: [id] })
    expect(db.alive()).toEqual([])
    expect(leases(pipeline).map(({ acknowledged, state }) => ({ acknowledged, state }))).not.toContainEqual(
      expect.objectContaining({ acknowledged: true }),
    )
    const current = view(pipeline, id)
    expect(current.state).toBe('closed')
    expect(current.amendments.expected).toBe(leases(pipeline).length)
    expect(current.amendments.outcomes.revoked).toBe(leases(pipeline).length)
  })

  it('its holder registers it at any moment of the case: acknowledged before the fence or never, and cut once', async () => {
    for (let moment = 1; moment <= 60; moment += 1) {
      const pipeline = new Pipeline()
      const db = await pipeline.issuer()
      db.mint('wild')
      const { case: id } = await report(pipeline, 'fake:wild')
      let count = 0
      pipeline.table.before = async () => {
        count += 1
        if (count !== moment) return
        pipeline.table.before = () => {}
        await pipeline.lease('wild').catch(() => undefined)
      }
      await pipeline.settle()
      await pipeline.pass(300)
      expect({ moment, alive: db.alive() }).toEqual({ moment, alive: [] })
      const current = view(pipeline, id)
      expect({ moment, state: current.state }).toEqual({ moment, state: 'closed' })
      const found = leases(pipeline)
      expect({ moment, live: found.filter(({ state }) => state === 'live') }).toEqual({ moment, live: [] })
      expect({ moment, counted: current.outcomes.revoked + current.amendments.outcomes.revoked }).toEqual({
        moment,
        counted: found.length,
      })
    }
  })

  it('survives a crash at any moment: found, one lease, cut and counted once', async () => {
    for (let moment = 1; moment <= 90; moment += 1) {
      const pipeline = new Pipeline()
      const db = await pipeline.issuer()
      db.mint('wild')
      const { case: id } = await report(pipeline, 'fake:wild')
      let count = 0
      pipeline.table.before = () => {
        count += 1
        if (count === moment) throw new Error('crash')
      }
      while (await pipeline.step()) await pipeline.stream().catch(() => undefined)
      pipeline.table.before = () => {}
      await pipeline.pass(900)
      expect({ moment, alive: db.alive() }).toEqual({ moment, alive: [] })
      expect({ moment, leases: leases(pipeline).length }).toEqual({ moment, leases: 1 })
      expect({ moment, ...view(pipeline, id) }).toMatchObject({
        moment,
        state: 'closed',
        asked: [{ state: 'found' }],
        amendments: { expected: 1, done: 1, outcomes: { revoked: 1 } },
      })
      expect(pipeline.case(id).asks).toEqual({ expected: 1, done: 1 })
    }
  })

  it('a lost message is sent again by the sweeper', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('wild')
    await report(pipeline, 'fake:wild')
    await pipeline.step()
    pipeline.messages.splice(0)
    await pipeline.settle()
    expect(db.alive()).toEqual(['wild'])
    await pipeline.pass(300)
    expect(db.alive()).toEqual([])
  })
})

describe('the same credential again', () => {
  it('in two cases at once: one lease, an outcome in each', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('wild')
    const one = await report(pipeline, 'fake:wild', 'one')
    const two = await report(pipeline, 'fake:wild', 'two')
    expect(one.case).not.toBe(two.case)
    await pipeline.settle()
    await pipeline.pass(300)
    expect(leases(pipeline)).toHaveLength(1)
    expect(calls(db, 'revoke')).toHaveLength(1)
    for (const id of [one.case, two.case])
      expect(view(pipeline, id)).toMatchObject({
        state: 'closed',
        amendments: { expected: 1, done: 1, outcomes: { revoked: 1 } },
      })
  })

  it('after it was cut: its issuer is asked anew, because somebody says that it lives', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('wild')
    await report(pipeline, 'fake:wild', 'one')
    await pipeline.settle()
    await pipeline.pass(60)
    const dead = await report(pipeline, 'fake:wild', 'two')
    await pipeline.settle()
    await pipeline.pass(60)
    expect(view(pipeline, dead.case)).toMatchObject({ state: 'closed', amendments: { outcomes: { revoked: 1 } } })
    const [, again] = leases(pipeline)
    expect(again?.outcomes[dead.case]?.evidence.said).toContain('the shared credential was cut with another lease')
    // Somebody switched it on again.
    db.mint('wild')
    const alive = await report(pipeline, 'fake:wild', 'three')
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(view(pipeline, alive.case)).toMatchObject({ state: 'closed', amendments: { outcomes: { revoked: 1 } } })
    expect(leases(pipeline)).toHaveLength(3)
  })

  it('found for an identity that another case fences: both cut it', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease('registered')
    db.mint('forgotten', undefined, app)
    const left = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(db.alive()).toEqual(['forgotten'])
    const { case: id } = await report(pipeline, 'fake:forgotten')
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(view(pipeline, left.case).amendments).toMatchObject({ expected: 1, done: 1 })
    expect(view(pipeline, id)).toMatchObject({ state: 'closed', amendments: { outcomes: { revoked: 1 } } })
  })

  it('held by an exempt identity: it is found, named, and left alone', async () => {
    const glass = 'arn:aws:iam::123456789012:user/break-glass'
    const pipeline = new Pipeline({ settings: { exempt: [glass] } })
    const db = await pipeline.issuer()
    db.mint('glass', undefined, glass)
    const { case: id } = await report(pipeline, 'fake:glass')
    await pipeline.settle()
    expect(db.alive()).toEqual(['glass'])
    expect(view(pipeline, id)).toMatchObject({ state: 'closed', amendments: { outcomes: { unsupported: 1 } } })
  })
})

describe('what cannot be read', () => {
  it('is refused with a code, and nothing is written', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const before = pipeline.table.all().length
    for (const [scope, code] of [
      [named('whatever it is'), 'credential-unrecognised'],
      [named('fake:x', { issuer: 'elsewhere' }), 'issuer-unknown'],
      [named('fake:x', { issuer: 'db', provider: 'oauth' }), 'issuer-unknown'],
      [named('fake:x', { provider: 'oauth' }), 'credential-unrecognised'],
    ] as const)
      expect(await refusal(pipeline.trigger('compromise', scope))).toMatchObject({ code, status: 422 })
    for (const type of ['offboarding', 'decommission', 'task-complete'] as const)
      expect(await refusal(pipeline.trigger(type, named('fake:x')))).toMatchObject({ code: 'body-invalid' })
    expect(pipeline.table.all()).toHaveLength(before)
  })

  it('could be one at more issuers than a case takes: one must be named', async () => {
    const pipeline = new Pipeline()
    for (let index = 0; index < 51; index += 1) await pipeline.issuer(`db-${index}`)
    expect(await refusal(report(pipeline, 'fake:x'))).toMatchObject({ code: 'body-invalid' })
    expect((await pipeline.trigger('compromise', named('fake:x', { issuer: 'db-7' }))).status).toBe('opened')
  })

  it('takes a scheduled report as it takes others', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    db.mint('wild')
    const { case: id, status } = await pipeline.trigger('compromise', named('fake:wild'), {
      effectiveAt: instant(pipeline.now + 3_600_000),
    })
    expect(status).toBe('scheduled')
    await pipeline.pass(3000)
    expect(db.alive()).toEqual(['wild'])
    await pipeline.pass(900)
    expect(db.alive()).toEqual([])
    expect(view(pipeline, id).state).toBe('closed')
  })
})
