import { describe, expect, it } from 'vitest'
import { DEFAULT_LIMITS } from '../../functions/contracts/settings.ts'
import { app, Pipeline } from '../support/pipeline.ts'

const HOUR = 3600

describe('a parked lease is tried again', () => {
  /** The hours, from its parking on, at which an issuer is asked to cut it. */
  async function tried(days: number): Promise<{ hours: number[]; pipeline: Pipeline; lease: string; id: string }> {
    const pipeline = new Pipeline()
    const db = await pipeline.issuer()
    const lease = await pipeline.lease('stuck')
    db.answers.set('stuck', { status: 'irrevocable', said: 'owned by somebody' })
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(pipeline.case(id).counts).toMatchObject({ parked: 1 })
    const hours: number[] = []
    let calls = db.calls.length
    for (let hour = 1; hour <= days * 24; hour += 1) {
      pipeline.now += HOUR * 1000
      await pipeline.sweep()
      await pipeline.settle()
      if (db.calls.length > calls) hours.push(hour)
      calls = db.calls.length
    }
    db.answers.clear()
    return { hours, pipeline, lease: lease.id, id }
  }

  it('first after the time of the installation, then ever less often, and at least daily', async () => {
    const { hours } = await tried(8)
    const first = DEFAULT_LIMITS.parkedRetrySeconds / HOUR
    expect(hours.slice(0, 4)).toEqual([first, 2 * first, 4 * first, 8 * first])
    const gaps = hours.slice(4).map((hour, place) => hour - (hours[place + 3] ?? 0))
    expect(gaps.length).toBeGreaterThan(4)
    expect(gaps.every((gap) => gap >= 24 && gap <= 25)).toBe(true)
  })

  it('and cut when it can be; a later parking begins anew', async () => {
    const { pipeline, lease, id } = await tried(2)
    pipeline.now += 25 * HOUR * 1000
    await pipeline.sweep()
    await pipeline.settle()
    expect(pipeline.case(id).amendCounts).toMatchObject({ revoked: 1 })
    expect(pipeline.stored(lease)).toMatchObject({ state: 'ended' })
    expect(pipeline.stored(lease).parkedSince).toBeUndefined()
  })
})
