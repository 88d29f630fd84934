import { describe, expect, it } from 'vitest'
import type { WorkMessage } from '../../../functions/contracts/message.ts'
import { dispatcher } from '../../../functions/runtime/dispatch.ts'
import type { Queues } from '../../../functions/runtime/ports.ts'
import { issuerItem } from '../../../functions/store/keys.ts'
import { MemoryTable } from '../../support/memory-table.ts'

const chunk: WorkMessage = { v: 1, kind: 'chunk', case: 'c', progress: 'identity#i#0', chunk: '000001', issuer: 'orders' }

function system(timed = true) {
  const table = new MemoryTable()
  const reads: string[] = []
  table.before = (operation) => void reads.push(operation)
  const sent: string[] = []
  const queues: Queues = { send: async (queue, messages) => void sent.push(...messages.map(() => queue)), depth: async () => 0 }
  const time = { now: 0 }
  const clock = { now: () => time.now, sleep: async () => {} }
  const names = ['work-postgresql-p0', 'work-oauth-p0']
  const declare = (provider: string) => table.putAll([{ ...issuerItem('orders'), kind: 'issuer', name: 'orders', provider }])
  return { dispatch: dispatcher(table, queues, names, timed ? clock : undefined), reads, sent, time, declare }
}

describe('the dispatcher', () => {
  it('asks once for the provider of an issuer while a planner sends page after page', async () => {
    const { dispatch, reads, sent, declare } = system()
    await declare('postgresql')
    reads.length = 0
    for (let page = 0; page < 5; page += 1) {
      await dispatch.room?.('p0', ['orders'])
      await dispatch.work('p0', [chunk])
    }
    expect(sent).toEqual(Array.from({ length: 5 }, () => 'work-postgresql-p0'))
    expect(reads).toEqual(['get'])
  })

  it('asks again when that is old', async () => {
    const { dispatch, sent, time, declare } = system()
    await declare('postgresql')
    await dispatch.work('p0', [chunk])
    await declare('oauth')
    time.now += 1000
    await dispatch.work('p0', [chunk])
    expect(sent).toEqual(['work-postgresql-p0', 'work-oauth-p0'])
  })

  it('does not remember that an issuer is not there, and without a clock nothing', async () => {
    const { dispatch, sent, declare } = system()
    await dispatch.work('p0', [chunk])
    await declare('oauth')
    await dispatch.work('p0', [chunk])
    expect(sent).toEqual(['work-postgresql-p0', 'work-oauth-p0'])

    const timeless = system(false)
    await timeless.declare('postgresql')
    await timeless.dispatch.work('p0', [chunk])
    await timeless.declare('oauth')
    await timeless.dispatch.work('p0', [chunk])
    expect(timeless.sent).toEqual(['work-postgresql-p0', 'work-oauth-p0'])
  })
})
