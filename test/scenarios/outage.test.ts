import { describe, expect, it } from 'vitest'
import type { LeaseView } from '../../functions/contracts/lease.ts'
import { OutageView } from '../../functions/contracts/outage.ts'
import { instant } from '../../functions/domain/time.ts'
import { releaseRestored } from '../../functions/store/control.ts'
import { as } from '../../functions/store/items.ts'
import { leaseItem } from '../../functions/store/keys.ts'
import type { Item } from '../../functions/store/table.ts'
import { leasesApi } from '../support/leases-api.ts'
import { app, BROKER, Pipeline, START, settings } from '../support/pipeline.ts'
import { refusal } from '../support/refusal.ts'

const OPERATOR = 'spiffe://example.org/operator/one'
const MINUTE = 60_000
const at = (minutes: number) => instant(START + minutes * MINUTE)
/** Sweeps each minute for so long. */
const running = (pipeline: Pipeline, minutes: number) => pipeline.pass(minutes * 60)
/** Nobody sweeps, nobody renews. */
const down = (pipeline: Pipeline, minutes: number) => {
  pipeline.now += minutes * MINUTE
}
const tick = async (pipeline: Pipeline) => {
  await pipeline.sweep()
  await pipeline.settle()
}
const outages = (pipeline: Pipeline) => pipeline.table.all().filter(({ kind }) => kind === 'outage')

async function started(change: ConstructorParameters<typeof Pipeline>[0] = {}) {
  const pipeline = new Pipeline(change)
  const db = await pipeline.issuer()
  await running(pipeline, 2)
  return { pipeline, db }
}

describe('time that an outage of ours took', () => {
  it('two hours down: what ran out meanwhile, and right after, gets the two hours again; then it is cut', async () => {
    const { pipeline, db } = await started()
    const during = await pipeline.lease('during', { expiresAt: at(32) })
    const after = await pipeline.lease('after', { expiresAt: at(124) })
    const later = await pipeline.lease('later', { expiresAt: at(140) })
    down(pipeline, 120)
    await tick(pipeline)
    expect(db.alive()).toEqual(['during', 'after', 'later'])
    expect(outages(pipeline)).toMatchObject([{ from: at(2), to: at(122), source: 'gap' }])
    expect((await pipeline.leases.read(during.id, BROKER)).graceUntil).toBe(at(152))
    await running(pipeline, 17)
    expect(db.alive()).toEqual(['during', 'after', 'later'])
    await running(pipeline, 2)
    expect(db.alive()).toEqual(['during', 'after'])
    await running(pipeline, 12)
    expect(db.alive()).toEqual(['after'])
    await running(pipeline, 120)
    expect(db.alive()).toEqual([])
    expect((await pipeline.leases.read(after.id, BROKER)).graceUntil).toBe(at(244))
    expect((await pipeline.leases.read(later.id, BROKER)).graceUntil).toBeUndefined()
    expect(pipeline.records().map(({ what }) => what)).toEqual(expect.arrayContaining(['outage.recorded', 'lease.graced']))
  })

  it('what had run out before we went down is cut on return', async () => {
    const { pipeline, db } = await started()
    await pipeline.lease('before', { expiresAt: at(2.5) })
    pipeline.now += MINUTE
    // The sweep that would have taken it is the last one, and its heartbeat says when it began.
    await pipeline.sweep()
    down(pipeline, 120)
    await tick(pipeline)
    expect(db.alive()).toEqual([])
  })

  it('a pause below the gap is none', async () => {
    const { pipeline, db } = await started()
    await pipeline.lease('a', { expiresAt: at(4) })
    down(pipeline, 5)
    await tick(pipeline)
    expect(outages(pipeline)).toEqual([])
    expect(db.alive()).toEqual([])
  })

  it('a renewal within the grace is taken, and what it was given before counts no more', async () => {
    const { pipeline, db } = await started()
    const lease = await pipeline.lease('a', { expiresAt: at(32) })
    down(pipeline, 120)
    await tick(pipeline)
    const renewed = await pipeline.leases.renew(lease.id, { expiresAt: at(135) }, BROKER)
    expect(renewed).toMatchObject({ state: 'live', expiresAt: at(135) })
    expect(renewed.graceUntil).toBeUndefined()
    await running(pipeline, 12)
    expect(db.alive()).toEqual(['a'])
    await running(pipeline, 3)
    expect(db.alive()).toEqual([])
  })

  it('a chunk that a dying sweep left behind cuts nothing that gets time back, even if the worker is back first', async () => {
    const { pipeline, db } = await started()
    await pipeline.lease('a', { expiresAt: at(2.5) })
    pipeline.now += MINUTE
    // It opens the expiry case and dies before it says that it ran.
    pipeline.table.before = (operation) => {
      if (operation === 'write' && pipeline.messages.length > 0) throw new Error('killed')
    }
    await expect(pipeline.sweep()).rejects.toThrow()
    pipeline.table.before = () => {}
    expect(pipeline.messages.length).toBeGreaterThan(0)
    down(pipeline, 120)
    // The queue delivers before the sweeper has returned.
    await pipeline.settle()
    expect(db.alive()).toEqual(['a'])
    await tick(pipeline)
    await running(pipeline, 4)
    expect(db.alive()).toEqual(['a'])
    await running(pipeline, 3)
    expect(db.alive()).toEqual([])
  })

  it('two sweeps that return at once record one outage, and give the time once', async () => {
    const { pipeline } = await started()
    const lease = await pipeline.lease('a', { expiresAt: at(32) })
    down(pipeline, 120)
    await Promise.all([pipeline.sweep(), pipeline.sweep(), pipeline.sweep()])
    await pipeline.settle()
    await running(pipeline, 3)
    expect(outages(pipeline)).toHaveLength(1)
    expect(pipeline.stored(lease.id).graceUntil).toBe(at(152))
    expect(pipeline.records().filter(({ what }) => what === 'lease.graced')).toHaveLength(1)
  })

  it('gives back whatever write dies in between', async () => {
    for (let dies = 0; dies < 14; dies += 1) {
      const { pipeline, db } = await started()
      for (let index = 0; index < 5; index += 1) await pipeline.lease(`a${index}`, { expiresAt: at(32) })
      down(pipeline, 120)
      let writes = 0
      pipeline.table.before = (operation) => {
        if ((operation === 'write' || operation === 'transact') && writes++ >= dies) throw new Error('killed')
      }
      await pipeline.sweep().catch(() => undefined)
      pipeline.table.before = () => {}
      await pipeline.settle()
      await running(pipeline, 20)
      expect(db.alive(), `died at write ${dies}`).toHaveLength(5)
      await running(pipeline, 20)
      expect(db.alive(), `died at write ${dies}`).toEqual([])
    }
  })

  it('repeated outages: time is given back for each', async () => {
    const { pipeline, db } = await started()
    const lease = await pipeline.lease('a', { expiresAt: at(32) })
    down(pipeline, 60)
    await tick(pipeline)
    expect(pipeline.stored(lease.id).graceUntil).toBe(at(92))
    await running(pipeline, 10)
    down(pipeline, 60)
    await tick(pipeline)
    await running(pipeline, 1)
    expect(db.alive()).toEqual(['a'])
    await running(pipeline, 18)
    expect(db.alive()).toEqual(['a'])
    // At 92 it would have ended, which the second outage (72 to 132) took again: 92 + 60.
    expect(pipeline.stored(lease.id).graceUntil).toBe(at(152))
    await running(pipeline, 2)
    expect(db.alive()).toEqual([])
  })

  it('while thousands wait at the head, none is cut before its time and what is really over goes on', async () => {
    const { pipeline, db } = await started()
    const first = await pipeline.lease('first', { expiresAt: at(30) })
    // Copies of one lease: what matters is how many are due, not how they came.
    const item = pipeline.table.all().find(({ kind }) => kind === 'lease')
    if (item === undefined) throw new Error('no lease')
    const copies: Item[] = Array.from({ length: 2500 }, (_, index) => {
      const id = `${first.id.slice(0, -5)}${letters(index)}`
      return { ...item, ...leaseItem(id), id, fingerprint: `copy-${index}` }
    })
    await pipeline.table.putAll(copies)
    await pipeline.lease('over', { expiresAt: at(129) })
    down(pipeline, 120)
    await tick(pipeline)
    const graced = () => pipeline.table.all().filter(({ graceUntil }) => graceUntil === at(150)).length
    expect(graced()).toBe(2000)
    await running(pipeline, 1)
    expect(graced()).toBe(2501)
    expect(pipeline.sent.some((body) => JSON.stringify(body).includes('"kind":"chunk"'))).toBe(false)
    await running(pipeline, 7)
    expect(db.alive()).toEqual(['first'])
  })

  it('a registration that nobody could finish, and an orphan that nobody could accept, get the time too', async () => {
    const { pipeline, db } = await started({ settings: { limits: { ...settings.limits, reassignDays: 1 } } })
    await pipeline.lease('a', { expiresAt: at(100_000), ownerLeaves: 'reassign' })
    await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    const deadline = () => {
      const item = pipeline.table.all().find(({ kind }) => kind === 'identity')
      return (item === undefined ? undefined : as('identity', item).orphan?.deadline) ?? ''
    }
    const before = deadline()
    // Two minutes before the deadline everything goes down.
    await pipeline.pass((Date.parse(before) - pipeline.now) / 1000 - 120)
    const registering = () => pipeline.table.all().find(({ state }) => state === 'registering')
    pipeline.table.before = (operation) => {
      if (operation === 'write' && registering() !== undefined) throw new Error('killed')
    }
    await expect(
      pipeline.lease('b', { identity: 'spiffe://example.org/other', owner: 'bob', expiresAt: at(100_000) }),
    ).rejects.toThrow('killed')
    pipeline.table.before = () => {}
    expect(registering()).toBeDefined()
    const registerBy = registering()?.registerBy
    down(pipeline, 600)
    await tick(pipeline)
    expect(Date.parse(String(registering()?.registerBy)) - Date.parse(String(registerBy))).toBeGreaterThan(590 * MINUTE)
    await running(pipeline, 4)
    expect(db.alive()).toEqual(['a', 'b'])
    expect(deadline() > before).toBe(true)
    await pipeline.lease('b', { identity: 'spiffe://example.org/other', owner: 'bob', expiresAt: at(100_000) })
    await running(pipeline, 3)
    expect(db.alive()).toEqual(['b'])
  })

  it('a sweep that fails in part was there all the same: one broken thing gives nobody time', async () => {
    const { pipeline, db } = await started()
    await pipeline.lease('a', { expiresAt: at(30) })
    const index = pipeline.table.index.bind(pipeline.table)
    pipeline.table.index = async (input) => {
      if (input.partition === 'PARKED') throw new Error('broken')
      return index(input)
    }
    for (let minute = 0; minute < 32; minute += 1) {
      pipeline.now += MINUTE
      await expect(pipeline.sweep()).rejects.toThrow('1 sweeps failed')
      await pipeline.settle()
    }
    expect(outages(pipeline)).toEqual([])
    expect(db.alive()).toEqual([])
  })
})

describe('an outage that an operator declares', () => {
  it('gives the time back to what has run out and is not cut yet, and is listed', async () => {
    const { pipeline, db } = await started()
    const call = leasesApi(pipeline)
    await pipeline.lease('a', { expiresAt: at(62) })
    await running(pipeline, 59)
    // The sweeper ran all the time, but nobody reached the API.
    pipeline.now += MINUTE
    await pipeline.sweep()
    const body = { from: at(20), to: at(62), reason: 'the API answered 503' }
    const declared = await call('POST', '/v1/outages', OPERATOR, body)
    expect(declared).toMatchObject({ status: 200, body: { from: at(20), to: at(62), source: 'declared', by: OPERATOR } })
    expect(OutageView.safeParse(declared.body).success).toBe(true)
    expect((await call('POST', '/v1/outages', OPERATOR, { ...body, reason: 'again' })).body.reason).toBe('the API answered 503')
    await pipeline.settle()
    await running(pipeline, 40)
    expect(db.alive()).toEqual(['a'])
    await running(pipeline, 5)
    expect(db.alive()).toEqual([])
    expect((await call('GET', '/v1/outages', OPERATOR)).body.entries).toHaveLength(1)
  })

  it('lists page by page, newest reach first', async () => {
    const { pipeline } = await started()
    const call = leasesApi(pipeline)
    await running(pipeline, 60)
    for (const minute of [10, 20, 30])
      await call('POST', '/v1/outages', OPERATOR, { from: at(minute), to: at(minute + 1), reason: 'x' })
    const one = await call('GET', '/v1/outages?limit=2', OPERATOR)
    expect(one.body.entries.map(({ from }: OutageView) => from)).toEqual([at(30), at(20)])
    const two = await call('GET', `/v1/outages?limit=2&cursor=${encodeURIComponent(one.body.next)}`, OPERATOR)
    expect(two.body.entries.map(({ from }: OutageView) => from)).toEqual([at(10)])
    expect((await call('GET', '/v1/outages?cursor=x', OPERATOR)).status).toBe(400)
  })

  it.each([
    ['that has not ended', { from: at(0), to: at(90) }, 422],
    ['that ends before it begins', { from: at(20), to: at(10) }, 422],
    ['of last year', { from: '2025-11-22T10:00:00Z', to: at(10) }, 422],
    ['without a reason', { from: at(0), to: at(10), reason: '' }, 400],
  ])('is refused %s', async (_, body, status) => {
    const { pipeline } = await started()
    await running(pipeline, 60)
    expect((await leasesApi(pipeline)('POST', '/v1/outages', OPERATOR, { reason: 'x', ...body })).status).toBe(status)
  })

  it('is refused to whoever is no operator', async () => {
    const { pipeline } = await started()
    const call = leasesApi(pipeline)
    expect((await call('POST', '/v1/outages', app, { from: at(0), to: at(1), reason: 'x' })).status).toBe(403)
    expect((await call('GET', '/v1/outages', app)).status).toBe(403)
    expect((await call('GET', '/v1/overdue', undefined)).status).toBe(401)
  })
})

describe('an expiry that only tells', () => {
  const discipline = {
    classes: [{ name: 'told', match: {}, maxTtlSeconds: 86_400, expiry: 'notify' as const }],
    rules: {},
  }

  it('leaves the lease live, tells once, lists it, and ends with a renewal', async () => {
    const { pipeline, db } = await started({ settings: { discipline } })
    const call = leasesApi(pipeline, { discipline })
    const lease = await pipeline.lease('a', { expiresAt: at(10) })
    expect(lease).toMatchObject({ class: 'told', onExpiry: 'notify', outage: 'closed' })
    await running(pipeline, 30)
    expect(db.alive()).toEqual(['a'])
    const told = () => pipeline.announced.filter(({ type }) => type === 'io.rescind.lease.overdue')
    expect(told()).toMatchObject([{ subject: lease.id, data: { lease: { id: lease.id, state: 'live' } } }])
    expect((await call('GET', '/v1/overdue', OPERATOR)).body.entries).toMatchObject([{ id: lease.id, overdueSince: at(10) }])
    await pipeline.leases.renew(lease.id, { expiresAt: at(60) }, BROKER)
    expect((await call('GET', '/v1/overdue', OPERATOR)).body.entries).toEqual([])
    await running(pipeline, 40)
    expect(told().map(({ id }) => id)).toEqual([`${lease.id}/${at(10)}`, `${lease.id}/${at(60)}`])
    expect(db.alive()).toEqual(['a'])
  })

  it('is no shelter: every case cuts what is overdue, and giving it back ends it', async () => {
    const { pipeline, db } = await started({ settings: { discipline } })
    const call = leasesApi(pipeline, { discipline })
    const back = await pipeline.lease('back', { expiresAt: at(10) })
    await pipeline.lease('cut', { expiresAt: at(10), identity: 'spiffe://example.org/other' })
    await running(pipeline, 15)
    await pipeline.leases.release(back.id, BROKER)
    await pipeline.trigger('compromise', { kind: 'identity', id: 'spiffe://example.org/other' })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    expect((await call('GET', '/v1/overdue', OPERATOR)).body.entries).toEqual([])
  })

  it('waits for the lost time as well', async () => {
    const { pipeline } = await started({ settings: { discipline } })
    await pipeline.lease('a', { expiresAt: at(32) })
    down(pipeline, 120)
    await tick(pipeline)
    await running(pipeline, 25)
    expect(pipeline.announced).toEqual([])
    await running(pipeline, 10)
    expect(pipeline.announced).toHaveLength(1)
  })
})

describe('a table restored from a backup', () => {
  const backup = (pipeline: Pipeline) => structuredClone(pipeline.table.all())
  const restore = (pipeline: Pipeline, items: ReturnType<typeof backup>) => {
    pipeline.table.load(items)
  }
  const release = (pipeline: Pipeline) => releaseRestored(pipeline.table, { who: OPERATOR, at: instant(pipeline.now) })
  const restored = (pipeline: Pipeline) => pipeline.table.items.get('CONTROL#installation')?.get('CONTROL')?.restored

  it('ends nothing until it is released, then gives the time since the backup back', async () => {
    const { pipeline, db } = await started()
    const lease = await pipeline.lease('a', { expiresAt: at(40) })
    const old = backup(pipeline)
    await running(pipeline, 30)
    await pipeline.leases.renew(lease.id, { expiresAt: at(500) }, BROKER)
    await running(pipeline, 30)
    restore(pipeline, old)
    await running(pipeline, 60)
    expect(restored(pipeline)).toMatchObject({ since: at(63) })
    expect(db.alive()).toEqual(['a'])
    expect(pipeline.logged.some((line) => line.includes('restored from a backup'))).toBe(true)
    const mark = pipeline.mark.generation
    await release(pipeline)
    await running(pipeline, 1)
    // Seen when it came back, and again when it was released: together the time since the backup.
    expect(outages(pipeline)).toMatchObject([
      { from: at(2), to: at(63) },
      { from: at(63), to: at(123) },
    ])
    expect(restored(pipeline)).toBeUndefined()
    expect(db.alive()).toEqual(['a'])
    await running(pipeline, 30)
    expect(restored(pipeline)).toBeUndefined()
    expect(pipeline.mark.generation).toBe((mark ?? 0) + 30)
    await running(pipeline, 7)
    expect(db.alive()).toEqual(['a'])
    // 40 and the 121 minutes between the backup and the release.
    await running(pipeline, 2)
    expect(db.alive()).toEqual([])
  })

  it('is seen again when it happens again, also from a backup of a restored or a released table', async () => {
    const { pipeline } = await started()
    const first = backup(pipeline)
    await running(pipeline, 10)
    restore(pipeline, first)
    await running(pipeline, 2)
    const whileRestored = backup(pipeline)
    await release(pipeline)
    const justReleased = backup(pipeline)
    await running(pipeline, 10)
    restore(pipeline, justReleased)
    await running(pipeline, 1)
    expect(restored(pipeline)).toBeDefined()
    await release(pipeline)
    await running(pipeline, 10)
    expect(restored(pipeline)).toBeUndefined()
    restore(pipeline, whileRestored)
    await running(pipeline, 2)
    expect(restored(pipeline)).toBeDefined()
    await release(pipeline)
    await running(pipeline, 3)
    expect(restored(pipeline)).toBeUndefined()
  })

  it('an empty table under an older mark is one too', async () => {
    const { pipeline } = await started()
    restore(pipeline, [])
    await running(pipeline, 1)
    expect(restored(pipeline)).toBeDefined()
  })

  it('a first start is none, wherever it dies', async () => {
    for (const place of ['before', 'between', 'after'] as const) {
      const pipeline = new Pipeline()
      await pipeline.issuer()
      let killed = true
      const kill = () => {
        if (killed) throw new Error('killed')
      }
      if (place === 'before') pipeline.mark.beforeWrite = kill
      if (place === 'between') pipeline.mark.afterWrite = kill
      if (place === 'after')
        pipeline.table.before = (operation) => (operation === 'transact' || operation === 'query' ? kill() : undefined)
      for (let minute = 0; minute < 3; minute += 1) {
        pipeline.now += MINUTE
        await pipeline.sweep().catch(() => undefined)
      }
      killed = false
      await running(pipeline, 5)
      expect(restored(pipeline), place).toBeUndefined()
      expect(pipeline.mark.generation).toBeGreaterThan(3)
    }
  })

  it('a crash between the two writes is none, however often it comes', async () => {
    const { pipeline, db } = await started()
    await pipeline.lease('a', { expiresAt: at(30) })
    let dies = 0
    pipeline.mark.afterWrite = () => {
      dies += 1
      if (dies % 2 === 1) throw new Error('killed')
    }
    for (let minute = 0; minute < 40; minute += 1) {
      pipeline.now += MINUTE
      await pipeline.sweep().catch(() => undefined)
      await pipeline.settle()
    }
    expect(dies).toBeGreaterThan(10)
    expect(restored(pipeline)).toBeUndefined()
    expect(db.alive()).toEqual([])
  })

  it('many sweeps at once are none', async () => {
    const { pipeline } = await started()
    for (let round = 0; round < 20; round += 1) {
      pipeline.now += MINUTE
      await Promise.all(Array.from({ length: 4 }, () => pipeline.sweep()))
    }
    expect(restored(pipeline)).toBeUndefined()
    const generation = Number(pipeline.table.items.get('CONTROL#sweep')?.get('CONTROL')?.generation)
    expect((pipeline.mark.generation ?? 0) - generation).toBeLessThanOrEqual(1)
  })

  it('a mark that is gone is told, and written anew', async () => {
    const { pipeline } = await started()
    pipeline.mark.generation = undefined
    await running(pipeline, 2)
    expect(pipeline.logged.filter((line) => line.includes('the generation mark is gone'))).toHaveLength(1)
    expect(restored(pipeline)).toBeUndefined()
    expect(pipeline.mark.generation).toBe(4)
  })

  it('while the mark cannot be read, nothing is ended because its time is over, and all else goes on', async () => {
    const { pipeline, db } = await started()
    await pipeline.lease('a', { expiresAt: at(10) })
    await pipeline.lease('b', { identity: 'spiffe://example.org/other' })
    pipeline.mark.down = true
    const { case: id } = await pipeline.trigger(
      'offboarding',
      { kind: 'identity', id: 'spiffe://example.org/other' },
      { effectiveAt: at(12) },
    )
    for (let minute = 0; minute < 20; minute += 1) {
      pipeline.now += MINUTE
      await expect(pipeline.sweep()).rejects.toThrow('1 sweeps failed')
      await pipeline.settle()
    }
    expect(pipeline.case(id).state).toBe('closed')
    expect(db.alive()).toEqual(['a'])
    pipeline.mark.down = false
    await running(pipeline, 1)
    expect(db.alive()).toEqual([])
  })
})

describe('an outage that ends while the mark cannot be read', () => {
  it('is on record all the same', async () => {
    const { pipeline, db } = await started()
    await pipeline.lease('a', { expiresAt: at(60) })
    down(pipeline, 120)
    pipeline.mark.down = true
    for (let minute = 0; minute < 3; minute += 1) {
      await pipeline.sweep().catch(() => undefined)
      await pipeline.settle()
      pipeline.now += MINUTE
    }
    pipeline.mark.down = false
    await running(pipeline, 50)
    expect(outages(pipeline)).toMatchObject([{ from: at(2), to: at(122) }])
    expect(db.alive()).toEqual(['a'])
    await running(pipeline, 10)
    expect(db.alive()).toEqual([])
  })
})

describe('a renewal and the sweeper', () => {
  it('a renewal that comes between the look at a lease and its claim beats the claim', async () => {
    const { pipeline, db } = await started()
    const lease: LeaseView = await pipeline.lease('a', { expiresAt: at(5) })
    pipeline.now = START + 6 * MINUTE
    await pipeline.sweep()
    let looked = false
    let renewed = false
    pipeline.table.before = async (operation) => {
      if (operation === 'getMany') looked = true
      if (operation !== 'write' || !looked || renewed) return
      renewed = true
      await pipeline.leases.renew(lease.id, { expiresAt: at(60) }, BROKER)
    }
    await pipeline.settle()
    pipeline.table.before = () => {}
    expect(renewed).toBe(true)
    expect(db.alive()).toEqual(['a'])
    expect((await refusal(pipeline.leases.renew(lease.id, { expiresAt: at(50) }, BROKER))).code).toBe('time-out-of-range')
  })
})

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'
const letters = (index: number) => [4, 3, 2, 1, 0].map((place) => ALPHABET.charAt(Math.floor(index / 32 ** place) % 32)).join('')
