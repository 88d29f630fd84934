import { describe, expect, it } from 'vitest'
import { noOutcomes } from '../../../functions/contracts/outcome.ts'
import type { Actor, Chunk } from '../../../functions/domain/model.ts'
import { chunkItem, leaseItem } from '../../../functions/store/keys.ts'
import type { Table, Write } from '../../../functions/store/table.ts'
import { chunkOf, finishChunk, noteWhileOpen } from '../../../functions/store/work.ts'
import { MemoryTable } from '../../support/memory-table.ts'

const by: Actor = { who: 'test', at: '2026-01-01T00:00:00.000Z' }
const id = (number: number) => `identity.database.lease-${number}`

const note = (number: number): Write[] => [
  { update: leaseItem(id(number)), set: [['noted', true]], if: [['state', '=', 'live']] },
]

async function prepared(leases: number): Promise<{ table: Table; chunk: () => Promise<Chunk> }> {
  const table = new MemoryTable()
  await table.putAll([
    {
      ...chunkItem('one', 'identity#identity#0', '000001'),
      kind: 'chunk',
      case: 'one',
      issuer: 'database',
      covers: { leases: [] },
      step: 'revoke',
      state: 'open',
      attempts: 0,
      applied: {},
      counts: noOutcomes(),
    },
    ...Array.from({ length: leases }, (_, number) => ({
      ...leaseItem(id(number)),
      kind: 'lease',
      id: id(number),
      state: 'live',
    })),
  ])
  const chunk = async () => {
    const found = await chunkOf(table, 'one', 'identity#identity#0', '000001')
    if (found === undefined) throw new Error('no chunk')
    return found
  }
  return { table, chunk }
}

const end = (table: Table, chunk: Chunk) => finishChunk(table, chunk, noOutcomes(), {}, undefined, 0, by)
const isNoted = async (table: Table, number: number) => (await table.get(leaseItem(id(number))))?.['noted'] === true

describe('what is only watched, and two workers at one chunk', () => {
  it('nothing is noted when the chunk is counted', async () => {
    const { table, chunk } = await prepared(1)
    const read = await chunk()
    expect(await end(table, read)).toBe(true)
    expect(await noteWhileOpen(table, read)([note(0)])).toEqual([false])
    expect(await isNoted(table, 0)).toBe(false)
  })

  it('the chunk does not end for a worker that had counted before something more was noted', async () => {
    const { table, chunk } = await prepared(2)
    const counting = await chunk()
    expect(await noteWhileOpen(table, counting)([note(0)])).toEqual([true])
    expect(await end(table, counting)).toBe(false)
    const again = await chunk()
    expect(again).toMatchObject({ state: 'open', notes: 1 })
    expect(await noteWhileOpen(table, again)([note(1)])).toEqual([true])
    expect(await end(table, again)).toBe(false)
    expect(await end(table, await chunk())).toBe(true)
  })

  it('one that somebody changed keeps no other from being noted, however many there are', async () => {
    const { table, chunk } = await prepared(120)
    await table.write({ update: leaseItem(id(60)), set: [['state', 'ended']] })
    const all = Array.from({ length: 120 }, (_, number) => note(number))
    const noted = await noteWhileOpen(table, await chunk())(all)
    expect(noted.map((one, number) => (one ? -1 : number)).filter((number) => number >= 0)).toEqual([60])
    expect(await isNoted(table, 119)).toBe(true)
  })

  it('two writes on one item never stand in one transaction', async () => {
    const { table, chunk } = await prepared(1)
    expect(await noteWhileOpen(table, await chunk())([note(0), note(0)])).toEqual([true, true])
    expect((await chunk()).notes).toBe(2)
  })
})
