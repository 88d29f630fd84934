import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Clock } from '../../functions/runtime/ports.ts'
import { systemRandomness } from '../../functions/runtime/randomness.ts'
import { CursorInvalid, dynamoTable } from '../../functions/store/dynamodb.ts'
import type { Item, QueryInput, Table } from '../../functions/store/table.ts'
import { SimulatedTable } from '../simulation/table.ts'
import { startTestStore } from '../support/dynoxide.ts'
import { MemoryTable } from '../support/memory-table.ts'

const clock: Clock = { now: () => 0, sleep: async () => {} }

/** The table that is served, and the one that a simulation drives: what holds for one must hold for the other. */
const STORES = [
  {
    name: 'DynamoDB',
    /** Has the service's own limits and its order of bytes too; the table in memory knows plain keys and reads forwards alone. */
    limits: true,
    async start() {
      const { client, table, stop } = await startTestStore()
      return { table: dynamoTable({ client, table, clock, random: systemRandomness }), stop }
    },
  },
  {
    name: 'DynamoDB, where a commit costs more than a unit',
    limits: true,
    async start() {
      const { client, table, stop } = await startTestStore()
      return { table: dynamoTable({ client, table, clock, random: systemRandomness, together: true }), stop }
    },
  },
  { name: 'the table in memory', limits: false, start: async () => ({ table: new MemoryTable(), stop: async () => {} }) },
  { name: 'the simulated table', limits: true, start: async () => ({ table: new SimulatedTable(), stop: async () => {} }) },
] as const

describe.each(STORES)('$name', ({ limits, start }) => {
  let table: Table
  let stop: () => Promise<void>
  let partitions = 0
  /** Each test has partitions of its own. */
  const fresh = () => `P#${++partitions}`

  beforeAll(async () => {
    const started = await start()
    table = started.table
    stop = started.stop
  })
  afterAll(async () => {
    await stop?.()
  })

  const put = async (...items: Item[]) => {
    for (const item of items) expect(await table.write({ put: item })).toEqual({ ok: true })
  }

  describe('get and getMany', () => {
    it('gives back every kind of value as it was put', async () => {
      const pk = fresh()
      const item = {
        pk,
        sk: 'A',
        text: 'ünï © 🙂',
        empty: '',
        number: 1.5,
        big: Number.MAX_SAFE_INTEGER,
        yes: true,
        nothing: null,
        list: ['a', 1, [], {}],
        map: { a: { b: 'c' }, empty: {} },
        'na.me#:x': 'odd name',
      }
      await put(item)
      expect(await table.get({ pk, sk: 'A' })).toEqual({ ...item, v: 1 })
    })

    it('knows no item that was not put', async () => {
      expect(await table.get({ pk: fresh(), sk: 'A' })).toBeUndefined()
    })

    it('leaves out what is undefined, at any depth', async () => {
      const pk = fresh()
      await put({ pk, sk: 'A', gone: undefined, map: { gone: undefined, here: 1 } })
      expect(await table.get({ pk, sk: 'A' })).toEqual({ pk, sk: 'A', map: { here: 1 }, v: 1 })
    })

    it.runIf(limits)('refuses numbers that cannot be kept exactly', async () => {
      await expect(table.write({ put: { pk: fresh(), sk: 'A', n: 2 ** 60 } })).rejects.toThrow()
      await expect(table.write({ put: { pk: fresh(), sk: 'A', n: Number.NaN } })).rejects.toThrow()
    })

    it('reads many keys in their order, across batches, twice where asked twice', async () => {
      const pk = fresh()
      const keys = Array.from({ length: 230 }, (_, n) => ({ pk, sk: `K${n}` }))
      await table.putAll(keys.filter((_, n) => n % 2 === 0).map((key, n) => ({ ...key, n })))
      const asked = [...keys, ...keys.slice(0, 3)]
      const found = await table.getMany(asked)
      expect(found).toHaveLength(233)
      expect(found.map((item) => item?.sk)).toEqual(asked.map(({ sk }) => (Number(sk.slice(1)) % 2 === 0 ? sk : undefined)))
    })

    it('reads no keys as nothing', async () => {
      expect(await table.getMany([])).toEqual([])
    })
  })

  describe('versions', () => {
    it('begin at 1 and grow with every write', async () => {
      const key = { pk: fresh(), sk: 'A' }
      await put({ ...key, a: 1 })
      await table.write({ update: key, set: [['a', 2]] })
      await table.write({ update: key })
      expect(await table.transact([{ update: key, set: [['a', 3]] }])).toEqual({ ok: true })
      expect(await table.get(key)).toEqual({ ...key, a: 3, v: 4 })
    })

    it('are kept where a put brings its own', async () => {
      const key = { pk: fresh(), sk: 'A' }
      await put({ ...key, v: 7 })
      expect((await table.get(key))?.['v']).toBe(7)
    })

    it('begin at 1 for an item that an update makes', async () => {
      const key = { pk: fresh(), sk: 'A' }
      await table.write({ update: key, set: [['a', 1]] })
      expect(await table.get(key)).toEqual({ ...key, a: 1, v: 1 })
    })

    it('do not grow where the condition fails', async () => {
      const key = { pk: fresh(), sk: 'A' }
      await put({ ...key, a: 1 })
      await table.write({ update: key, set: [['a', 2]], if: [['a', '=', 9]] })
      expect(await table.get(key)).toEqual({ ...key, a: 1, v: 1 })
    })
  })

  describe('updates', () => {
    it('set, set once, add and remove in one write, on nested paths too', async () => {
      const key = { pk: fresh(), sk: 'A' }
      await put({ ...key, keep: 'old', gone: 1, map: { a: 1, gone: true }, counts: {} })
      const result = await table.write({
        update: key,
        set: [
          ['map', { deep: {} }],
          ['name.with#odd:signs', 'x'],
        ],
        setOnce: [
          ['keep', 'new'],
          ['first', 'now'],
          [['counts', 'once'], 5],
        ],
        add: [
          [['counts', 'a.b'], 2],
          ['total', -3],
        ],
        remove: ['gone'],
      })
      expect(result).toEqual({ ok: true })
      await table.write({
        update: key,
        set: [[['map', 'deep', 'x'], 1]],
        add: [[['counts', 'a.b'], 2]],
        remove: [['counts', 'once']],
      })
      expect(await table.get(key)).toEqual({
        ...key,
        keep: 'old',
        first: 'now',
        map: { deep: { x: 1 } },
        'name.with#odd:signs': 'x',
        counts: { 'a.b': 4 },
        total: -3,
        v: 3,
      })
    })

    it('cannot set below a map that is absent: that is a bug of the caller, thrown', async () => {
      const key = { pk: fresh(), sk: 'A' }
      await put(key)
      await expect(table.write({ update: key, set: [[['map', 'a'], 1]] })).rejects.toThrow()
      await expect(table.transact([{ update: key, set: [[['map', 'a'], 1]] }])).rejects.toThrow()
      expect(await table.get(key)).toEqual({ ...key, v: 1 })
    })

    it.runIf(limits)('cannot add to a text', async () => {
      const key = { pk: fresh(), sk: 'A' }
      await put({ ...key, text: 'x' })
      await expect(table.write({ update: key, add: [['text', 1]] })).rejects.toThrow()
    })

    it('names that are words of DynamoDB are names like all others', async () => {
      const key = { pk: fresh(), sk: 'A' }
      await put({ ...key, status: 'a', size: 1, SET: 2, and: true })
      const result = await table.write({
        update: key,
        set: [['status', 'b']],
        remove: ['SET'],
        if: [
          ['and', '=', true],
          ['size', '<', 2],
        ],
      })
      expect(result).toEqual({ ok: true })
      expect(await table.get(key)).toEqual({ ...key, status: 'b', size: 1, and: true, v: 2 })
    })
  })

  describe('conditions', () => {
    const item = { sk: 'A', n: 5, text: 'm', map: { a: 1 }, nothing: null, yes: true }
    const holds = async (...conditions: NonNullable<Parameters<Table['write']>[0]['if']>) => {
      const pk = fresh()
      await put({ pk, ...item })
      const result = await table.write({ update: { pk, sk: 'A' }, set: [['done', true]], if: conditions })
      if (!result.ok) expect(result.current).toEqual({ pk, ...item, v: 1 })
      expect((await table.get({ pk, sk: 'A' }))?.['done']).toBe(result.ok ? true : undefined)
      return result.ok
    }

    it.each([
      [['n', 'exists'], true],
      [['n', 'absent'], false],
      [['gone', 'absent'], true],
      [['gone', 'exists'], false],
      [['nothing', 'exists'], true],
      [['nothing', '=', null], true],
      [[['map', 'a'], 'exists'], true],
      [[['map', 'b'], 'absent'], true],
      [[['gone', 'b'], 'absent'], true],
      [['n', '=', 5], true],
      [['n', '=', '5'], false],
      [['n', '<>', 5], false],
      [['n', '<>', 6], true],
      [['n', '<', 6], true],
      [['n', '<', 5], false],
      [['n', '<=', 5], true],
      [['n', '>', 4], true],
      [['n', '>=', 6], false],
      [['text', '<', 'n'], true],
      [['text', '>', 'lzz'], true],
      [['yes', '=', true], true],
      [['yes', '=', false], false],
      [['map', '=', { a: 1 }], true],
      [['map', '=', { a: 2 }], false],
      // What an absent attribute is compared with never holds, but it does differ from everything.
      [['gone', '=', 5], false],
      [['gone', '<', 5], false],
      [['gone', '>=', 0], false],
      [['gone', '<>', 5], true],
    ] as const)('%j is %s', async (condition, expected) => {
      expect(await holds(condition)).toBe(expected)
    })

    it('all must hold, of an or one', async () => {
      expect(await holds(['n', '=', 5], ['text', '=', 'm'])).toBe(true)
      expect(await holds(['n', '=', 5], ['text', '=', 'x'])).toBe(false)
      expect(
        await holds({
          or: [
            ['n', '=', 1],
            ['text', '=', 'm'],
          ],
        }),
      ).toBe(true)
      expect(
        await holds({
          or: [
            ['n', '=', 1],
            ['text', '=', 'x'],
          ],
        }),
      ).toBe(false)
      expect(
        await holds(
          {
            or: [
              ['gone', 'absent'],
              ['n', '=', 1],
            ],
          },
          ['text', '=', 'x'],
        ),
      ).toBe(false)
      expect(
        await holds({
          or: [
            {
              or: [
                ['n', '=', 1],
                ['n', '=', 5],
              ],
            },
            ['gone', 'exists'],
          ],
        }),
      ).toBe(true)
      expect(await holds()).toBe(true)
    })

    it.runIf(limits)('an or of nothing and a check of nothing are bugs', async () => {
      const key = { pk: fresh(), sk: 'A' }
      await expect(table.write({ update: key, if: [{ or: [] }] })).rejects.toThrow(RangeError)
      await expect(table.transact([{ check: key, if: [] }])).rejects.toThrow(RangeError)
    })

    it('a put and a delete have them too, and tell what stands there', async () => {
      const key = { pk: fresh(), sk: 'A' }
      expect(await table.write({ put: { ...key, a: 1 }, if: [['pk', 'exists']] })).toEqual({ ok: false, current: undefined })
      expect(await table.write({ put: { ...key, a: 1 }, if: [['pk', 'absent']] })).toEqual({ ok: true })
      expect(await table.write({ put: { ...key, a: 2 }, if: [['pk', 'absent']] })).toEqual({
        ok: false,
        current: { ...key, a: 1, v: 1 },
      })
      expect(await table.write({ delete: key, if: [['a', '=', 2]] })).toEqual({ ok: false, current: { ...key, a: 1, v: 1 } })
      expect(await table.write({ delete: key, if: [['a', '=', 1]] })).toEqual({ ok: true })
      expect(await table.write({ delete: key })).toEqual({ ok: true })
      expect(await table.write({ delete: key, if: [['a', '=', 1]] })).toEqual({ ok: false, current: undefined })
    })

    it('an update of an absent item whose condition fails makes nothing', async () => {
      const key = { pk: fresh(), sk: 'A' }
      expect(await table.write({ update: key, set: [['a', 1]], if: [['pk', 'exists']] })).toEqual({
        ok: false,
        current: undefined,
      })
      expect(await table.get(key)).toBeUndefined()
    })
  })

  describe('independent writes', () => {
    it('are made each by itself, and answered in order with what stood where one was refused', async () => {
      const pk = fresh()
      await put({ pk, sk: 'B', n: 1 }, { pk, sk: 'C', n: 1 }, { pk, sk: 'D' })
      const results = await table.writeEach([
        { put: { pk, sk: 'A' }, if: [['pk', 'absent']] },
        { update: { pk, sk: 'B' }, add: [['n', 1]], if: [['n', '=', 7]] },
        { update: { pk, sk: 'C' }, add: [['n', 1]], if: [['n', '=', 1]] },
        { delete: { pk, sk: 'D' }, if: [['pk', 'exists']] },
        { update: { pk, sk: 'E' }, set: [['n', 1]], if: [['pk', 'exists']] },
      ])
      expect(results).toEqual([
        { ok: true },
        { ok: false, current: { pk, sk: 'B', n: 1, v: 1 } },
        { ok: true },
        { ok: true },
        { ok: false, current: undefined },
      ])
      expect((await table.query({ pk, limit: 10 })).items).toEqual([
        { pk, sk: 'A', v: 1 },
        { pk, sk: 'B', n: 1, v: 1 },
        { pk, sk: 'C', n: 2, v: 2 },
      ])
    })

    it('may be many more than a transaction takes', async () => {
      const pk = fresh()
      const results = await table.writeEach(
        Array.from({ length: 230 }, (_, n) => ({
          put: { pk, sk: `K${String(n).padStart(3, '0')}` },
          // An absent item has no number: every third is refused.
          ...(n % 3 === 0 ? { if: [['n', '=', 1] as const] } : {}),
        })),
      )
      expect(results.map(({ ok }) => ok)).toEqual(Array.from({ length: 230 }, (_, n) => n % 3 !== 0))
      expect((await table.query({ pk, limit: 300 })).items).toHaveLength(153)
    })

    it('are nothing where there are none', async () => {
      expect(await table.writeEach([])).toEqual([])
    })

    it('of one item twice are a bug of the caller, and none is made', async () => {
      const pk = fresh()
      await expect(table.writeEach([{ put: { pk, sk: 'A' } }, { put: { pk, sk: 'A', n: 1 } }])).rejects.toThrow(RangeError)
      expect((await table.query({ pk, limit: 10 })).items).toEqual([])
    })

    it('are decided one against the other where two writers meet', async () => {
      const pk = fresh()
      const keys = Array.from({ length: 40 }, (_, n) => ({ pk, sk: `K${n}` }))
      await table.putAll(keys)
      const claim = (name: string) =>
        table.writeEach(keys.map((key) => ({ update: key, set: [['by', name] as const], if: [['by', 'absent'] as const] })))
      const [one, other] = await Promise.all([claim('one'), claim('other')])
      for (const [index, key] of keys.entries()) {
        const winner = (await table.get(key))?.['by']
        expect([one[index]?.ok, other[index]?.ok]).toEqual(winner === 'one' ? [true, false] : [false, true])
      }
    })
  })

  describe('transactions', () => {
    it('do all', async () => {
      const pk = fresh()
      await put({ pk, sk: 'B', n: 1 }, { pk, sk: 'C' }, { pk, sk: 'D' })
      const result = await table.transact([
        { put: { pk, sk: 'A' }, if: [['pk', 'absent']] },
        { update: { pk, sk: 'B' }, add: [['n', 1]], if: [['n', '=', 1]] },
        { delete: { pk, sk: 'C' } },
        { check: { pk, sk: 'D' }, if: [['pk', 'exists']] },
      ])
      expect(result).toEqual({ ok: true })
      expect((await table.query({ pk, limit: 10 })).items).toEqual([
        { pk, sk: 'A', v: 1 },
        { pk, sk: 'B', n: 2, v: 2 },
        { pk, sk: 'D', v: 1 },
      ])
    })

    it('or none, and tell which conditions failed and what stood there', async () => {
      const pk = fresh()
      await put({ pk, sk: 'B', n: 1 }, { pk, sk: 'D' })
      const result = await table.transact([
        { put: { pk, sk: 'A' } },
        { update: { pk, sk: 'B' }, add: [['n', 1]], if: [['n', '=', 2]] },
        { delete: { pk, sk: 'C' }, if: [['pk', 'exists']] },
        { check: { pk, sk: 'D' }, if: [['pk', 'absent']] },
      ])
      expect(result).toEqual({
        ok: false,
        failed: [false, true, true, true],
        current: [undefined, { pk, sk: 'B', n: 1, v: 1 }, undefined, { pk, sk: 'D', v: 1 }],
      })
      expect((await table.query({ pk, limit: 10 })).items.map((item) => item.sk)).toEqual(['B', 'D'])
    })

    it('of nothing are done, of more than 100 operations are refused', async () => {
      const pk = fresh()
      const puts = Array.from({ length: 101 }, (_, n) => ({ put: { pk, sk: `K${n}` } }))
      expect(await table.transact([])).toEqual({ ok: true })
      await expect(table.transact(puts)).rejects.toThrow(RangeError)
      expect(await table.transact(puts.slice(0, 100))).toEqual({ ok: true })
    })

    it('with one item twice are a bug, thrown', async () => {
      const key = { pk: fresh(), sk: 'A' }
      await expect(table.transact([{ put: key }, { update: key }])).rejects.toThrow()
    })
  })

  describe('queries', () => {
    const sortKeys = async (input: Omit<Parameters<Table['query']>[0], 'limit'> & { limit?: number }) => {
      const page = await table.query({ limit: 100, ...input })
      return page.items.map((item) => item.sk)
    }
    /** By UTF-8 bytes, as DynamoDB orders. */
    const ordered = ['A#1', 'A#2', 'B', 'B#1', 'B#2', 'B#3', 'Bé', 'C', ...(limits ? ['\uffee', '🙂'] : [])]
    let pk: string
    beforeAll(async () => {
      pk = fresh()
      await table.putAll([...ordered].reverse().map((sk) => ({ pk, sk })))
    })

    it('see one partition alone, in the order of bytes', async () => {
      await put({ pk: `${pk}x`, sk: 'B' })
      expect(await sortKeys({ pk })).toEqual(ordered)
      expect(await sortKeys({ pk, descending: true })).toEqual([...ordered].reverse())
      expect(await sortKeys({ pk: fresh() })).toEqual([])
    })

    const cases: [Omit<QueryInput, 'pk' | 'limit'>, string[]][] = [
      [{ after: 'B' }, ['B#1', 'B#2', 'B#3', 'Bé', 'C', '\uffee', '🙂']],
      [{ after: 'B', descending: true }, ['A#2', 'A#1']],
      [{ after: 'B#15' }, ['B#2', 'B#3', 'Bé', 'C', '\uffee', '🙂']],
      [{ from: 'B#1', to: 'B#3' }, ['B#1', 'B#2', 'B#3']],
      [{ from: 'B#3' }, ['B#3', 'Bé', 'C', '\uffee', '🙂']],
      [{ to: 'A#2' }, ['A#1', 'A#2']],
      [{ from: 'C', to: 'A' }, []],
      [{ prefix: 'B#' }, ['B#1', 'B#2', 'B#3']],
      [{ prefix: 'B#', descending: true }, ['B#3', 'B#2', 'B#1']],
      [{ prefix: '' }, ordered],
      [{ prefix: 'B#', after: 'B#1' }, ['B#2', 'B#3']],
      [{ prefix: 'B#', after: 'B#2', descending: true }, ['B#1']],
      // A start outside of the bounds: before them it means all, behind them nothing.
      [{ prefix: 'B#', after: 'A' }, ['B#1', 'B#2', 'B#3']],
      [{ prefix: 'B#', after: 'C' }, []],
      [{ prefix: 'B#', after: 'A', descending: true }, []],
      [{ prefix: 'B#', after: 'C', descending: true }, ['B#3', 'B#2', 'B#1']],
      [{ from: 'B', to: 'B#2', after: 'A' }, ['B', 'B#1', 'B#2']],
      [{ from: 'B', to: 'B#2', after: 'B' }, ['B#1', 'B#2']],
      [{ from: 'B', to: 'B#2', after: 'B#2' }, []],
      [{ from: 'B', to: 'B#2', after: 'C' }, []],
      [{ from: 'B', to: 'B#2', after: 'C', descending: true }, ['B#2', 'B#1', 'B']],
      [{ prefix: 'B', from: 'B#2' }, ['B#2', 'B#3', 'Bé']],
      [{ prefix: 'B#', to: 'B#2' }, ['B#1', 'B#2']],
      [{ prefix: 'B#', from: 'A', to: 'Z' }, ['B#1', 'B#2', 'B#3']],
      [{ prefix: 'B#', from: 'C' }, []],
      [{ prefix: 'B#', from: 'B#2', after: 'B#2' }, ['B#3']],
    ]
    it.each(cases.filter(([input]) => limits || input.after === undefined || input.descending !== true))(
      '%j',
      async (input, expected) => {
        expect(await sortKeys({ pk, ...input })).toEqual(expected.filter((sk) => ordered.includes(sk)))
      },
    )

    it('go on where a page ended, to the end', async () => {
      for (const descending of limits ? [false, true] : [false]) {
        const seen: string[] = []
        let after: string | undefined
        for (let pages = 0; pages < 20; pages++) {
          const page = await table.query({ pk, limit: 3, descending, ...(after === undefined ? {} : { after }) })
          expect(page.items.length).toBeLessThanOrEqual(3)
          seen.push(...page.items.map((item) => item.sk))
          after = page.next
          if (after === undefined) break
          expect(after).toBe(seen.at(-1))
        }
        expect(after).toBeUndefined()
        expect(seen).toEqual(descending ? [...ordered].reverse() : ordered)
      }
    })

    it('end also when the limit met the end exactly', async () => {
      const page = await table.query({ pk, prefix: 'B#', limit: 3 })
      expect(page.items).toHaveLength(3)
      // A store may know that nothing follows or not; whoever goes on must find nothing, not fail.
      if (page.next !== undefined) expect((await table.query({ pk, prefix: 'B#', limit: 3, after: page.next })).items).toEqual([])
    })

    it.runIf(limits)('go on through more than a megabyte', async () => {
      const big = fresh()
      const text = 'x'.repeat(100_000)
      await table.putAll(Array.from({ length: 15 }, (_, n) => ({ pk: big, sk: `K${String(n).padStart(2, '0')}`, text })))
      const first = await table.query({ pk: big, limit: 100 })
      expect(first.items.length).toBeLessThan(15)
      expect(first.next).toBe(first.items.at(-1)?.sk)
      const second = await table.query({ pk: big, limit: 100, after: first.next ?? '' })
      expect(first.items.length + second.items.length).toBe(15)
    })

    it('give only the attributes that are wanted, and the keys', async () => {
      const only = fresh()
      await put(
        { pk: only, sk: 'A', kind: 'x', 'na.me#:x': 1, map: { a: 1 }, status: 'b', rest: 'y' },
        { pk: only, sk: 'B', rest: 'y' },
        { pk: only, sk: 'C', status: 'd' },
      )
      const page = await table.query({
        pk: only,
        from: 'A',
        to: 'B',
        limit: 10,
        only: ['kind', 'na.me#:x', 'map', 'status', 'kind', 'sk'],
      })
      expect(page.items).toEqual([
        { pk: only, sk: 'A', kind: 'x', 'na.me#:x': 1, map: { a: 1 }, status: 'b' },
        { pk: only, sk: 'B' },
      ])
      expect((await table.query({ pk: only, prefix: 'C', limit: 10, only: [] })).items).toEqual([{ pk: only, sk: 'C' }])
      expect((await table.query({ pk: only, limit: 1, only: ['rest'] })).next).toBe('A')
    })

    it.runIf(limits)('want a limit', async () => {
      await expect(table.query({ pk, limit: 0 })).rejects.toThrow(RangeError)
    })
  })

  describe('indexes', () => {
    const page = async (input: Parameters<Table['index']>[0]) => {
      const { items, cursor } = await table.index(input)
      return { found: items.map((item) => item.sk), cursor }
    }

    it('find what has come due, oldest first, and let go of what lost its mark', async () => {
      const pk = fresh()
      const duePk = `due-${pk}`
      await put(
        { pk, sk: 'b', duePk, dueAt: '2026-01-02T00:00:00.000Z' },
        { pk, sk: 'a', duePk, dueAt: '2026-01-03T00:00:00.000Z' },
        { pk, sk: 'c', duePk, dueAt: '2026-01-01T00:00:00.000Z', more: { x: 1 } },
        { pk, sk: 'd' },
        { pk, sk: 'e', duePk: `${duePk}x`, dueAt: '2026-01-01T00:00:00.000Z' },
      )
      expect((await page({ index: 'due', partition: duePk, limit: 10 })).found).toEqual(['c', 'b', 'a'])
      expect((await page({ index: 'due', partition: duePk, limit: 10, descending: true })).found).toEqual(['a', 'b', 'c'])
      expect((await page({ index: 'due', partition: duePk, upTo: '2026-01-02T00:00:00.000Z', limit: 10 })).found).toEqual([
        'c',
        'b',
      ])
      expect((await page({ index: 'due', partition: duePk, from: '2026-01-02T00:00:00.000Z', limit: 10 })).found).toEqual([
        'b',
        'a',
      ])
      expect((await page({ index: 'due', partition: duePk, from: '2026-02', upTo: '2026-01', limit: 10 })).found).toEqual([])
      expect((await table.index({ index: 'due', partition: duePk, limit: 1 })).items).toEqual([
        { pk, sk: 'c', duePk, dueAt: '2026-01-01T00:00:00.000Z', more: { x: 1 }, v: 1 },
      ])
      await table.write({ update: { pk, sk: 'c' }, remove: ['duePk', 'dueAt'] })
      expect((await page({ index: 'due', partition: duePk, limit: 10 })).found).toEqual(['b', 'a'])
    })

    it('go on by cursor, also among equal moments', async () => {
      const pk = fresh()
      const listPk = `list-${pk}`
      await table.putAll(
        Array.from({ length: 25 }, (_, n) => ({ pk, sk: `k${n}`, listPk, listAt: n < 20 ? '2026-01' : '2026-02' })),
      )
      for (const descending of [false, true]) {
        const seen: string[] = []
        let cursor: string | undefined
        for (let pages = 0; pages < 20; pages++) {
          const next = await page({
            index: 'list',
            partition: listPk,
            limit: 4,
            descending,
            ...(cursor === undefined ? {} : { cursor }),
          })
          seen.push(...next.found)
          cursor = next.cursor
          if (cursor === undefined) break
        }
        expect(cursor).toBeUndefined()
        expect(seen).toHaveLength(25)
        expect(new Set(seen).size).toBe(25)
      }
    })

    it.runIf(limits)('refuse a cursor that they did not give', async () => {
      const pk = fresh()
      const listPk = `list-${pk}`
      await table.putAll(Array.from({ length: 3 }, (_, n) => ({ pk, sk: `k${n}`, listPk, listAt: `2026-0${n + 1}` })))
      const { cursor } = await page({ index: 'list', partition: listPk, limit: 2 })
      expect(cursor).toBeDefined()
      const refused = (input: Partial<Parameters<Table['index']>[0]>) =>
        expect(table.index({ index: 'list', partition: listPk, limit: 2, ...input })).rejects.toThrow(CursorInvalid)
      await refused({ cursor: '' })
      await refused({ cursor: 'nonsense' })
      await refused({ cursor: Buffer.from('["list","a"]').toString('base64url') })
      await refused({ cursor: Buffer.from('["list","","",""]').toString('base64url') })
      await refused({ index: 'due', cursor: cursor ?? '' })
      await refused({ cursor: cursor ?? '', upTo: '2026-01' })
    })
  })

  describe('putAll', () => {
    it('puts any number, replaces what is there, and of one key the last', async () => {
      const pk = fresh()
      await put({ pk, sk: 'K000', old: true })
      const items = Array.from({ length: 130 }, (_, n) => ({ pk, sk: `K${String(n).padStart(3, '0')}`, n }))
      await table.putAll([...items, { pk, sk: 'K001', n: -1 }])
      const { items: found } = await table.query({ pk, limit: 200 })
      expect(found).toHaveLength(130)
      expect(found[0]).toEqual({ pk, sk: 'K000', n: 0, v: 1 })
      expect(found[1]).toEqual({ pk, sk: 'K001', n: -1, v: 1 })
      await table.putAll([])
    })
  })

  describe('at once', () => {
    it('of many writers with one condition exactly one wins', async () => {
      const key = { pk: fresh(), sk: 'A' }
      const results = await Promise.all(
        Array.from({ length: 20 }, (_, n) => table.write({ put: { ...key, n }, if: [['pk', 'absent']] })),
      )
      expect(results.filter((result) => result.ok)).toHaveLength(1)
    })

    it('no count is lost, in writes and in transactions', async () => {
      const key = { pk: fresh(), sk: 'A' }
      await Promise.all(
        Array.from({ length: 30 }, (_, n) => {
          const operation = { update: key, add: [['n', 1]] } as const
          return n % 2 === 0 ? table.write(operation) : table.transact([operation])
        }),
      )
      expect(await table.get(key)).toEqual({ ...key, n: 30, v: 30 })
    })
  })
})
