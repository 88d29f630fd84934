import { describe, expect, it } from 'vitest'
import { instant } from '../../functions/domain/time.ts'
import { declareIssuer } from '../../functions/store/issuers.ts'
import { as } from '../../functions/store/items.ts'
import { app, BROKER, Pipeline } from '../support/pipeline.ts'

/**
 * The short way: the intent stands in the chunk, and a lease goes from live to ended in one write. What must hold is what
 * holds on the long way too, whoever comes in between and wherever the worker dies.
 */

const scope = { kind: 'identity', id: app } as const

/** Lets the worker die at its next call of the table; `revive` starts the next one. */
function killable(pipeline: Pipeline) {
  return {
    kill: () => {
      pipeline.table.before = () => {
        throw new Error('killed')
      }
    },
    revive: () => {
      pipeline.table.before = () => {}
    },
  }
}

const versionsOf = (pipeline: Pipeline, id: string) =>
  pipeline.table.changes.flatMap(({ after }) => (after?.kind === 'lease' && after.id === id ? [as('lease', after)] : []))
const chunksOf = (pipeline: Pipeline) =>
  pipeline.table.all().flatMap((item) => (item.kind === 'chunk' ? [as('chunk', item)] : []))
const world = async (options?: ConstructorParameters<typeof Pipeline>[0]) => {
  const pipeline = new Pipeline(options)
  const db = await pipeline.issuer()
  const lease = await pipeline.lease('one')
  return { pipeline, db, lease, ...killable(pipeline) }
}

/** Steps until the worker has been killed; the stream is not read. */
async function until(pipeline: Pipeline, done: () => boolean): Promise<void> {
  for (let steps = 0; steps < 50 && !done(); steps += 1) {
    await pipeline.step()
    if (!done()) await pipeline.stream()
  }
  expect(done()).toBe(true)
}

describe('the short way', () => {
  it('writes each lease once, after the intent of its chunk', async () => {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const leases = []
    for (const name of ['one', 'two', 'three']) leases.push(await pipeline.lease(name))
    const before = new Map(leases.map(({ id }) => [id, pipeline.stored(id).v]))
    const { case: id } = await pipeline.trigger('offboarding', scope)
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    for (const lease of leases) {
      const stored = pipeline.stored(lease.id)
      expect(stored.v).toBe((before.get(lease.id) ?? 0) + 1)
      expect(stored).toMatchObject({
        state: 'ended',
        generation: 1,
        unanswered: false,
        ended: { case: id, outcome: 'revoked' },
        outcomes: { [id]: { outcome: 'revoked', evidence: { said: 'cut', verified: 'it does not log in' } } },
      })
      expect(stored).not.toHaveProperty('duePk')
    }
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 3, absent: 0 } })
    for (const chunk of chunksOf(pipeline)) expect(chunk.intent).toMatchObject({ except: [] })
  })

  it('is not taken by parents, shared credentials and what may still come to life', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const long = [
      await pipeline.lease('parent', { delegable: true }),
      await pipeline.lease('shared', { sharing: 'shared' }),
      await pipeline.lease('soon', { registers: 'intent', mintBy: instant(pipeline.now + 60_000) }),
    ]
    const { case: id } = await pipeline.trigger('offboarding', scope)
    await pipeline.pass(600)
    for (const lease of long) expect(versionsOf(pipeline, lease.id).map(({ state }) => state)).toContain('cutting')
    expect(pipeline.case(id).state).toBe('closed')
  })

  it('a worker that dies after the call leaves an attempt whose answer is not known', async () => {
    const { pipeline, db, lease, kill, revive } = await world()
    const { case: id } = await pipeline.trigger('offboarding', scope)
    let killed = false
    db.onRevoke = () => {
      if (!killed) kill()
      killed = true
    }
    await until(pipeline, () => killed)
    revive()
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(lease.id)).toMatchObject({ state: 'live', outcomes: {} })
    await pipeline.pass(300)
    expect(pipeline.stored(lease.id).outcomes[id]).toMatchObject({
      outcome: 'revoked',
      evidence: { said: expect.stringContaining('answer lost') },
    })
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 1, absent: 0 } })
  })

  it('a worker that dies before the call is followed by one that cuts', async () => {
    const { pipeline, db, lease, kill, revive } = await world()
    const { case: id } = await pipeline.trigger('offboarding', scope)
    let killed = false
    db.onRevoke = () => {
      if (killed) return
      killed = true
      kill()
      throw new Error('killed')
    }
    db.poisoned.add('one')
    await until(pipeline, () => killed)
    db.poisoned.clear()
    db.credentials.set('one', { alive: true })
    revive()
    await pipeline.pass(300)
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(lease.id).outcomes[id]?.outcome).toBe('revoked')
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 1 } })
  })

  it('another case that finds gone what ours had cut is right, and so is ours: the lease was ended by the cut', async () => {
    const { pipeline, db, lease, kill, revive } = await world()
    const first = await pipeline.trigger('decommission', { kind: 'deployment', namespace: 'deploy', id: 'none' })
    await pipeline.settle()
    expect(pipeline.case(first.case).state).toBe('closed')
    const { case: ours } = await pipeline.trigger('offboarding', scope)
    let killed = false
    db.onRevoke = () => {
      if (!killed) kill()
      killed = true
    }
    await until(pipeline, () => killed)
    revive()
    // Our message is away for half a minute; a more urgent case comes first.
    const { case: theirs } = await pipeline.trigger('compromise', scope)
    await pipeline.settle()
    expect(pipeline.stored(lease.id).outcomes[theirs]).toMatchObject({ outcome: 'absent' })
    await pipeline.pass(300)
    const stored = pipeline.stored(lease.id)
    expect(stored.outcomes[theirs]).toMatchObject({ outcome: 'absent' })
    expect(stored.outcomes[ours]).toMatchObject({
      outcome: 'revoked',
      evidence: { said: expect.stringContaining('answer lost'), verified: 'it does not log in' },
    })
    expect(stored.ended).toMatchObject({ case: ours, outcome: 'revoked' })
    expect(pipeline.case(ours)).toMatchObject({ state: 'closed', counts: { revoked: 1, absent: 0 } })
    expect(pipeline.case(theirs)).toMatchObject({ state: 'closed', counts: { revoked: 0, absent: 1 } })
  })

  it('another case that takes the lease during our call has its own word, and ours keeps its own', async () => {
    const { pipeline, db, lease } = await world()
    const { case: ours } = await pipeline.trigger('offboarding', scope)
    let theirs = ''
    db.onRevoke = async () => {
      if (theirs !== '') return
      theirs = '-'
      theirs = (await pipeline.trigger('compromise', scope)).case
      for (let steps = 0; steps < 20; steps += 1) await pipeline.step()
    }
    await pipeline.settle()
    await pipeline.pass(300)
    const { outcomes } = pipeline.stored(lease.id)
    // The compromise cut it while our call was on its way, so ours found it gone.
    expect(outcomes[theirs]?.outcome).toBe('revoked')
    expect(outcomes[ours]?.outcome).toMatch(/revoked|absent/)
    expect(outcomes[ours]?.evidence.said).not.toContain('answer lost')
    for (const id of [ours, theirs]) expect(pipeline.case(id).state).toBe('closed')
  })

  it('a message that comes twice at once ends the lease once, and as cut', async () => {
    const { pipeline, db, lease } = await world()
    pipeline.deliveries = 2
    const { case: id } = await pipeline.trigger('offboarding', scope)
    let within = false
    db.onRevoke = async () => {
      if (within) return
      within = true
      await pipeline.step()
    }
    await pipeline.settle()
    await pipeline.pass(300)
    expect(pipeline.stored(lease.id).outcomes[id]).toMatchObject({ outcome: 'revoked', evidence: { said: 'cut' } })
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 1, absent: 0 } })
  })

  it('a renewal that comes during the call may bring it to life: nothing is final before, and it is cut again', async () => {
    const { pipeline, db, lease } = await world()
    const { case: id } = await pipeline.trigger('offboarding', scope)
    let renewed = false
    db.onRevoke = async () => {
      if (renewed) return
      renewed = true
      const body = { expiresAt: instant(pipeline.now + 2 * 86_400_000), renewsUntil: instant(pipeline.now + 120_000) }
      await expect(pipeline.leases.renew(lease.id, body, BROKER)).rejects.toThrow(/fenced/)
    }
    await pipeline.settle()
    expect(pipeline.stored(lease.id)).toMatchObject({ state: 'cutting', outcomes: {} })
    // Its broker did not listen.
    db.resurrect('one')
    await pipeline.pass(600)
    expect(db.alive()).toEqual([])
    expect(pipeline.stored(lease.id).outcomes[id]).toMatchObject({ outcome: 'revoked' })
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 1 } })
  })

  it('an answer that did nothing is no attempt: what somebody else deletes then is absent', async () => {
    const { pipeline, db, lease } = await world()
    db.answers.set('one', { status: 'retry', said: 'throttled', effect: 'none' })
    const { case: id } = await pipeline.trigger('offboarding', scope)
    await pipeline.settle()
    expect(pipeline.stored(lease.id)).toMatchObject({ state: 'cutting', unanswered: false })
    db.answers.clear()
    db.credentials.delete('one')
    await pipeline.pass(900)
    expect(pipeline.stored(lease.id).outcomes[id]).toMatchObject({ outcome: 'absent' })
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 0, absent: 1 } })
  })

  it('what was gone before is absent at once, and what cannot be cut is said to live on', async () => {
    const { pipeline, db, lease } = await world()
    const other = await pipeline.lease('two')
    db.credentials.delete('one')
    db.answers.set('two', { status: 'unsupported', said: 'it cannot be cut' })
    const { case: id } = await pipeline.trigger('offboarding', scope)
    await pipeline.settle()
    expect(pipeline.stored(lease.id).outcomes[id]).toMatchObject({ outcome: 'absent' })
    expect(pipeline.stored(other.id).outcomes[id]).toMatchObject({ outcome: 'unsupported', livesUntil: other.expiresAt })
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { absent: 1, unsupported: 1 } })
  })

  it('an issuer that lies is not believed', async () => {
    const { pipeline, db, lease } = await world()
    db.lies.add('one')
    const { case: id } = await pipeline.trigger('offboarding', scope)
    await pipeline.pass(4 * 3600)
    expect(db.alive()).toEqual(['one'])
    expect(pipeline.stored(lease.id).outcomes[id]).toMatchObject({ outcome: 'parked' })
  })

  it('what may only be watched since, and was perhaps cut before, is shown and not called untouched', async () => {
    const { pipeline, db, lease, kill, revive } = await world()
    const { case: id } = await pipeline.trigger('offboarding', scope)
    let killed = false
    db.onRevoke = () => {
      if (!killed) kill()
      killed = true
    }
    await until(pipeline, () => killed)
    revive()
    const declared = { provider: 'fake', settings: {}, soakSeconds: 3600, mode: 'observe' } as const
    await declareIssuer(pipeline.table, 'db', declared, { who: 'test', at: instant(pipeline.now) })
    await pipeline.pass(300)
    expect(pipeline.stored(lease.id).outcomes[id]).toMatchObject({ outcome: 'parked' })
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { parked: 1, observed: 0 } })
  })

  it('what it cut can be given back', async () => {
    const { pipeline, db, lease } = await world()
    const { case: id } = await pipeline.trigger('offboarding', scope)
    await pipeline.settle()
    pipeline.now += 1000
    const operator = { uri: 'spiffe://example.org/operator/anna', approve: true }
    await pipeline.restore.restoreCase(id, { reason: 'a mistake' }, operator)
    await pipeline.settle()
    await pipeline.pass(120)
    expect(db.alive()).toEqual(['one'])
    expect(pipeline.stored(lease.id)).toMatchObject({ state: 'live' })
  })
})
