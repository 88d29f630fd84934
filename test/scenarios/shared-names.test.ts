import { describe, expect, it } from 'vitest'
import { instant } from '../../functions/domain/time.ts'
import { app, Pipeline } from '../support/pipeline.ts'
import { refusal } from '../support/refusal.ts'

/** Several leases whose target bears one name at the issuer (every job's session called the same). */

const NAME = 'many/ci-job'
const task = (id: string) => ({ task: { id, namespace: 'ci' } })
const ends = (pipeline: Pipeline, id: string) =>
  pipeline.trigger('task-complete', { kind: 'task', id, namespace: 'ci' }, { id: `end-${id}` })

describe('jobs that share a session name', () => {
  it('one ends, the other goes on: the ended one is told to live to its expiry, and says why', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const expiresAt = instant(pipeline.now + 3_600_000)
    const one = await pipeline.lease(NAME, { ...task('1'), expiresAt }, 'job-one-key')
    const two = await pipeline.lease(NAME, task('2'), 'job-two-key')
    expect([one.sharing, two.sharing]).toEqual(['shared', 'shared'])
    const first = await ends(pipeline, '1')
    await pipeline.settle()
    expect(db.calls).toEqual([])
    expect(db.alive()).toEqual([NAME])
    expect(pipeline.stored(two.id).state).toBe('live')
    expect(pipeline.case(first.case)).toMatchObject({ state: 'closed', counts: { unsupported: 1, released: 0 } })
    expect(pipeline.stored(one.id).outcomes[first.case]).toMatchObject({
      outcome: 'unsupported',
      livesUntil: expiresAt,
      evidence: { said: expect.stringContaining('bears the same name') },
    })
    const last = await ends(pipeline, '2')
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect(pipeline.case(last.case)).toMatchObject({ state: 'closed', counts: { revoked: 1 } })
  })

  it('what still lives is met again by every later case, and a compromise cuts all', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const one = await pipeline.lease(NAME, task('1'), 'job-one-key')
    await pipeline.lease(NAME, { identity: `${app}/other`, ...task('2') }, 'job-two-key')
    await ends(pipeline, '1')
    await pipeline.settle()
    await pipeline.pass(60)
    const left = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.stored(one.id).outcomes[left.case]).toMatchObject({ outcome: 'unsupported' })
    expect(db.alive()).toEqual([NAME])
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.pass(60)
    expect(db.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 2 }, bystanders: 1 })
  })

  it('is not held alone by anybody: exclusive is refused with the reason', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    expect(await refusal(pipeline.lease(NAME, { sharing: 'exclusive' }))).toMatchObject({
      code: 'body-invalid',
      errors: [{ path: '/sharing' }],
    })
    expect((await pipeline.lease('one-of-its-kind', { sharing: 'exclusive' })).sharing).toBe('exclusive')
  })

  it('runs out while another goes on: nothing is cut', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const one = await pipeline.lease(NAME, { expiresAt: instant(pipeline.now + 600_000) }, 'job-one-key')
    await pipeline.lease(NAME, {}, 'job-two-key')
    await pipeline.pass(900)
    expect(db.alive()).toEqual([NAME])
    expect(pipeline.stored(one.id).state).toBe('released')
  })

  it('may be used anew when the cut of the last one is over, and not before', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    await pipeline.lease(NAME, task('1'), 'job-one-key')
    db.down = true
    await ends(pipeline, '1')
    await pipeline.settle()
    // The cut is under way, and would hit the new one.
    expect(await refusal(pipeline.lease(NAME, task('2'), 'job-two-key'))).toMatchObject({ code: 'credential-being-cut' })
    db.down = false
    await pipeline.pass(600)
    expect(db.alive()).toEqual([])
    db.mint(NAME)
    const two = await pipeline.lease(NAME, task('2'), 'job-two-key')
    expect(two.state).toBe('live')
    const three = await pipeline.lease(NAME, task('3'), 'job-three-key')
    await ends(pipeline, '2')
    await pipeline.settle()
    expect(db.alive()).toEqual([NAME])
    expect(pipeline.stored(three.id).state).toBe('live')
    await ends(pipeline, '3')
    await pipeline.settle()
    expect(db.alive()).toEqual([])
  })

  it('stays refused under the fence of a compromise of that very name', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    await pipeline.lease(NAME, task('1'), 'job-one-key')
    const { case: id } = await pipeline.trigger('compromise', { kind: 'credential-name', name: `fake:${NAME}` })
    await pipeline.settle()
    await pipeline.pass(60)
    expect(await refusal(pipeline.lease(NAME, task('2'), 'job-two-key'))).toMatchObject({ code: 'fenced', cases: [id] })
  })

  it('ends for both at the same moment, in whatever order the work is done: the last one cuts', async () => {
    for (const order of [0, 1]) {
      const pipeline = new Pipeline()
      const db = await pipeline.issuer()
      for (const id of ['1', '2']) await pipeline.lease(NAME, task(id), `job-${id}-key`)
      await Promise.all([ends(pipeline, '1'), ends(pipeline, '2')])
      while (await pipeline.step((messages) => (order === 0 ? 0 : messages.length - 1))) await pipeline.stream()
      await pipeline.settle()
      expect(db.alive()).toEqual([])
      const counted = pipeline.table.all().flatMap((item) => (item.kind === 'case' ? [item.counts] : []))
      expect(counted).toContainEqual(expect.objectContaining({ revoked: 1 }))
      expect(counted).toContainEqual(expect.objectContaining({ unsupported: 1 }))
    }
  })
})
