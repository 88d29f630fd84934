import { describe, expect, it } from 'vitest'
import { controlOf, engageKillSwitch, releaseKillSwitch } from '../../functions/store/control.ts'
import { app, Pipeline } from '../support/pipeline.ts'

/** What was cut is looked at until it would have expired by itself; what lives again is cut again, and told. */

const other = 'spiffe://example.org/other'
const OPERATOR = { uri: 'spiffe://example.org/operator/one', approve: true }

async function cut(soakSeconds = 864_000) {
  const pipeline = new Pipeline()
  const db = await pipeline.issuer('db', soakSeconds)
  const lease = await pipeline.lease('service')
  const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
  await pipeline.settle()
  expect(db.alive()).toEqual([])
  return { pipeline, db, lease, id }
}

const types = (pipeline: Pipeline) => pipeline.announced.map(({ type }) => type.replace('io.rescind.case.', ''))

describe('a credential that lives again', () => {
  it('reopens its case, is cut again, and is told', async () => {
    const { pipeline, db, lease, id } = await cut()
    db.resurrect('service')
    await pipeline.pass(360)
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(lease.id)).toMatchObject({ state: 'ended', claims: { [id]: 'AMEND' } })
    expect(await pipeline.operate.getCase(id)).toMatchObject({
      state: 'closed',
      resurrections: 1,
      outcomes: { revoked: 1 },
      amendments: { expected: 1, done: 1, outcomes: { revoked: 1 } },
    })
    expect(types(pipeline)).toEqual(['closed', 'resurrected', 'amended'])
    const data = pipeline.announced.map((told) => told.data)
    expect(data[1]).toMatchObject({ case: { state: 'resurrected', resurrections: 1 } })
    expect(data[2]).toMatchObject({ case: { state: 'closed', amendments: { done: 1 } } })
    const told = pipeline.records().map(({ what }) => what)
    for (const what of ['lease.resurrected', 'case.resurrected']) expect(told).toContain(what)
  })

  it('does so each time, until it stays dead', async () => {
    const { pipeline, db, id } = await cut()
    for (let time = 1; time <= 3; time += 1) {
      db.resurrect('service')
      await pipeline.pass(420)
      expect(db.alive(), `time ${time}`).toEqual([])
      expect(pipeline.case(id)).toMatchObject({
        state: 'closed',
        resurrections: time,
        counts: { revoked: 1 },
        amendments: { expected: time, done: time },
        amendCounts: { revoked: time },
      })
    }
    expect(types(pipeline).filter((type) => type === 'resurrected').length).toBe(3)
  })

  it('a crash at any store operation loses none and counts none twice', async () => {
    for (let crashAt = 1; crashAt <= 80; crashAt += 1) {
      const { pipeline, db, id } = await cut()
      db.resurrect('service')
      let operations = 0
      pipeline.table.before = () => {
        operations += 1
        if (operations === crashAt) throw new Error('crash')
      }
      pipeline.now += 330_000
      await pipeline.sweep().catch(() => {})
      await pipeline.settle().catch(() => {})
      pipeline.table.before = () => {}
      await pipeline.pass(900)
      expect(db.alive(), `crash at ${crashAt}`).toEqual([])
      const current = pipeline.case(id)
      expect(current, `crash at ${crashAt}`).toMatchObject({ state: 'closed', resurrections: 1, amendCounts: { revoked: 1 } })
      if (operations < crashAt) return
    }
  }, 60_000)

  it('is found again by every later case, and can be restored', async () => {
    const { pipeline, db, lease } = await cut()
    db.resurrect('service')
    await pipeline.pass(360)
    await pipeline.restore.restoreLease(lease.id, { reason: 'it was right to enable it' }, OPERATOR)
    await pipeline.settle()
    expect(db.alive()).toEqual(['service'])
    // What was given back is not a resurrection.
    await pipeline.pass(7200)
    expect(db.alive()).toEqual(['service'])
    const { case: second } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(pipeline.case(second)).toMatchObject({ state: 'closed', counts: { revoked: 1 } })
  })

  it('a case that meets it before its amendment cuts it, and the amendment copies that', async () => {
    const { pipeline, db, lease, id } = await cut()
    db.resurrect('service')
    pipeline.now += 330_000
    await pipeline.sweep()
    // The watch finds it; before its amendment is worked on, a compromise comes.
    await pipeline.step()
    expect(pipeline.stored(lease.id).state).toBe('resurrected')
    const { case: second } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    for (let steps = 0; steps < 100; steps += 1) {
      await pipeline.step((messages) => messages.length - 1)
      await pipeline.stream()
    }
    await pipeline.pass(600)
    expect(db.alive()).toEqual([])
    expect(pipeline.case(second)).toMatchObject({ state: 'closed' })
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', amendments: { expected: 1, done: 1 } })
  })

  it('a shared credential that lives again is cut again for each of its holders', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer('db', 864_000)
    const mine = await pipeline.lease('service', { kind: 'static' }, 'app-key-1234')
    const theirs = await pipeline.lease('service', { kind: 'static', identity: other, owner: 'bob' }, 'bob-key-1234')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'credential', fingerprint: mine.fingerprint })
    await pipeline.settle()
    db.resurrect('service')
    await pipeline.pass(900)
    expect(db.alive()).toEqual([])
    for (const lease of [mine, theirs]) expect(pipeline.stored(lease.id).state).toBe('ended')
    expect(pipeline.case(id)).toMatchObject({
      state: 'closed',
      counts: { revoked: 2 },
      resurrections: 2,
      amendCounts: { revoked: 2 },
    })
  })
})

describe('what watching costs', () => {
  it('asks once for a whole chunk, less and less often, writes no lease, and ends at the natural end', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer('db', 31_536_000)
    for (let index = 0; index < 30; index += 1)
      await pipeline.lease(`r${index}`, {
        identity: other,
        owner: 'bob',
        task: { id: 't', namespace: 'ci' },
        expiresAt: new Date(pipeline.now + 5 * 86_400_000).toISOString(),
      })
    const { case: id } = await pipeline.trigger('task-complete', { kind: 'task', id: 't', namespace: 'ci' })
    await pipeline.settle()
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 30 } })
    const versions = new Map(pipeline.table.all().flatMap((item) => (item.kind === 'lease' ? [[String(item.id), item.v]] : [])))
    const proofs = db.verified.length
    for (let hour = 0; hour < 24 * 6; hour += 1) {
      pipeline.now += 3_600_000
      await pipeline.sweep()
      await pipeline.settle()
    }
    const looks = db.verified.slice(proofs)
    expect(looks.length).toBeGreaterThan(5)
    expect(looks.length).toBeLessThan(16)
    expect(looks.every((names) => names.length === 30)).toBe(true)
    for (const item of pipeline.table.all())
      if (item.kind === 'lease') expect({ id: item.id, v: item.v }).toEqual({ id: item.id, v: versions.get(String(item.id)) })
    const chunks = pipeline.table.all().filter(({ kind }) => kind === 'chunk')
    expect(chunks.every(({ watchAt }) => watchAt === undefined)).toBe(true)
  })

  it('ends with the deletion', async () => {
    const { pipeline, db } = await cut(600)
    await pipeline.pass(1200)
    expect(db.deleted).toEqual(new Set(['service']))
    const before = db.verified.length
    await pipeline.pass(7200)
    expect(db.verified.length).toBe(before)
    expect(pipeline.table.all().filter(({ kind, step }) => kind === 'chunk' && step === 'watch')).toEqual([])
  })

  it('asks nothing of an issuer while the kill switch is engaged, and catches up afterwards', async () => {
    const { pipeline, db } = await cut()
    const by = { who: OPERATOR.uri, at: new Date(pipeline.now).toISOString() }
    await engageKillSwitch(pipeline.table, 'a storm', by)
    db.resurrect('service')
    const before = db.verified.length
    await pipeline.pass(1800)
    expect(db.verified.length).toBe(before)
    await releaseKillSwitch(pipeline.table, await controlOf(pipeline.table), by)
    await pipeline.pass(300)
    expect(db.alive()).toEqual([])
  })

  it('an issuer that is down holds nothing up', async () => {
    const { pipeline, db, lease } = await cut()
    db.down = true
    db.resurrect('service')
    await pipeline.pass(900)
    db.down = false
    await pipeline.pass(1800)
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(lease.id).state).toBe('ended')
  })
})
