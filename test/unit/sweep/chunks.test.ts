import { describe, expect, it } from 'vitest'
import type { WorkMessage } from '../../../functions/contracts/message.ts'
import type { Lane } from '../../../functions/contracts/primitives.ts'
import type { Dispatch } from '../../../functions/runtime/dispatch.ts'
import { chunkItem, DUE } from '../../../functions/store/keys.ts'
import type { Item } from '../../../functions/store/table.ts'
import { newChunk } from '../../../functions/store/units.ts'
import { chunkNameOf } from '../../../functions/store/work.ts'
import { sendAgain } from '../../../functions/sweep/chunks.ts'
import { MemoryTable } from '../../support/memory-table.ts'

const AT = '2026-11-22T12:00:00.000Z'
const by = { who: 'test', at: AT }
const PROGRESS = 'identity#i#0'

async function sent(steps: readonly string[], laneOf: (name: string) => Lane | undefined, serial = false) {
  const table = new MemoryTable()
  const messages: [Lane, string][] = []
  const items: Item[] = steps.map((step, place) => {
    const name = String(place + 1).padStart(6, '0')
    const covers = { pk: 'SCOPE#identity#i#0', from: 'L#a', to: 'L#b' }
    const chunk = newChunk('case', PROGRESS, 1, { name, issuer: 'orders', covers, because: 'scan' }, AT, by)
    return { ...chunk, ...chunkItem('case', PROGRESS, name), step, state: step === 'watch' ? 'done' : 'open', v: 1 }
  })
  await table.putAll(items)
  const dispatch: Dispatch = {
    plan: async () => undefined,
    work: async (lane, all) => {
      for (const message of all) if (message.kind === 'chunk') messages.push([lane, message.chunk])
    },
  }
  const count = await sendAgain(
    {
      table,
      dispatch,
      isSerial: async () => serial,
      laneOf: async (item) => laneOf(String(item.sk).slice('CHUNK#'.length)),
      messageOf: (chunk): WorkMessage => ({
        ...{ v: 1, kind: 'chunk', case: chunk.case, progress: PROGRESS, issuer: chunk.issuer },
        chunk: chunkNameOf(chunk),
      }),
      againSeconds: () => 120,
      now: () => AT,
    },
    items,
  )
  const due = await table.index({ index: 'due', partition: DUE.chunk, upTo: AT, limit: 100 })
  return { messages, count, stillDue: due.items.map(({ sk }) => sk) }
}

describe('due chunks', () => {
  it('go to the lane of their case, the most urgent first', async () => {
    const { messages, count, stillDue } = await sent(['revoke', 'verify'], (name) => (name === '000001' ? 'p1' : 'p0'))
    expect(messages).toEqual([
      ['p0', '000002'],
      ['p1', '000001'],
    ])
    expect(count).toBe(2)
    expect(stillDue).toEqual([])
  })

  it('go to P2 when all is cut, whatever their case was: deletion takes no worker from an urgent cut', async () => {
    const { messages } = await sent(['watch', 'revoke'], () => 'p0')
    expect(messages).toEqual([
      ['p0', '000002'],
      ['p2', '000001'],
    ])
  })

  it('stay in the lane of their case where the order of its queue keeps one writer at the issuer', async () => {
    const { messages } = await sent(['watch', 'revoke'], () => 'p0', true)
    expect(messages).toEqual([
      ['p0', '000001'],
      ['p0', '000002'],
    ])
  })

  it('are left where their case is gone', async () => {
    const { messages, stillDue } = await sent(['watch', 'revoke'], (name) => (name === '000001' ? undefined : 'p1'))
    expect(messages).toEqual([['p1', '000002']])
    expect(stillDue).toEqual(['CHUNK#000001'])
  })
})
