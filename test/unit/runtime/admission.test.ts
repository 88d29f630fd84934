import { describe, expect, it } from 'vitest'
import { rankOf } from '../../../functions/register/routes.ts'
import type { Rank } from '../../../functions/runtime/admission.ts'
import { admission } from '../../../functions/runtime/admission.ts'
import { StoreBusy } from '../../../functions/store/table.ts'
import { refusal } from '../../support/refusal.ts'
import { testClock, testRandomness } from '../../support/tools.ts'

function border() {
  const clock = testClock()
  const counted: string[] = []
  const made = admission({
    clock,
    random: testRandomness(7),
    metrics: { count: (name, reason) => void counted.push(`${name} ${reason}`) },
  })
  /** How many of a hundred are taken. */
  const taken = async (rank: Rank) => {
    let done = 0
    const work = async () => {
      done += 1
    }
    for (let request = 0; request < 100; request += 1) await made.admit(rank, work).catch(() => {})
    return done
  }
  return { ...made, clock, counted, taken }
}

describe('the border', () => {
  it('takes everything while the store does', async () => {
    const { taken, counted } = border()
    expect(await taken('deferrable')).toBe(100)
    expect(counted).toEqual([])
  })

  it('sheds what may wait when the store refuses, renewals last, and recovers by itself', async () => {
    const { taken, throttled, clock, counted } = border()
    for (let sign = 0; sign < 3; sign += 1) {
      throttled()
      throttled()
      clock.advance(250)
    }
    const [waits, steady] = [await taken('deferrable'), await taken('steady')]
    expect(waits).toBeGreaterThan(3)
    expect(waits).toBeLessThan(40)
    expect(steady).toBeGreaterThan(50)
    expect(new Set(counted)).toContain('Shed store-deferrable')
    clock.advance(20_000)
    expect(await taken('deferrable')).toBe(100)
  })

  it('never stops taking altogether', async () => {
    const { taken, throttled, clock } = border()
    for (let sign = 0; sign < 50; sign += 1) {
      throttled()
      clock.advance(200)
    }
    expect(await taken('deferrable')).toBeGreaterThan(0)
  })

  it('says when to come again, spread over time', async () => {
    const { admit, throttled, clock } = border()
    for (let sign = 0; sign < 50; sign += 1) {
      throttled()
      clock.advance(200)
    }
    const seconds = new Set<number | undefined>()
    for (let request = 0; request < 60; request += 1)
      await admit('deferrable', async () => {}).catch((problem) => {
        expect(problem).toMatchObject({ code: 'overloaded', status: 429 })
        seconds.add(problem.retryAfterSeconds)
      })
    expect(seconds.size).toBeGreaterThan(5)
    expect(Math.min(...[...seconds].map(Number))).toBeGreaterThanOrEqual(1)
  })

  it('takes no more at once than it may, and more of what keeps things as they are', async () => {
    const { admit } = border()
    let end = () => {}
    const held = new Promise<void>((resolve) => {
      end = resolve
    })
    const running = Array.from({ length: 32 }, () => admit('deferrable', () => held))
    expect((await refusal(admit('deferrable', async () => {}))).code).toBe('overloaded')
    await admit('steady', async () => {})
    end()
    await Promise.all(running)
    await admit('deferrable', async () => {})
  })

  it('takes a busy store for a sign, and other failures for none', async () => {
    const { admit, taken } = border()
    await admit('steady', async () => Promise.reject(new TypeError('a defect'))).catch(() => {})
    expect(await taken('deferrable')).toBe(100)
    await admit('steady', async () => Promise.reject(new StoreBusy('busy'))).catch(() => {})
    expect(await taken('deferrable')).toBeLessThan(80)
  })

  it('knows what of the registrar may wait', () => {
    expect(rankOf({ method: 'POST', path: '/v1/leases' })).toBe('deferrable')
    expect(rankOf({ method: 'GET', path: '/v1/leases/{id}' })).toBe('deferrable')
    expect(rankOf({ method: 'POST', path: '/aws/v1/leases/{id}/renew' })).toBe('steady')
  })
})
