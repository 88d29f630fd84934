import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { joinMarks } from '../../functions/domain/discovery.ts'
import { key } from '../../functions/domain/keys.ts'
import type { Discovery } from '../../functions/domain/model.ts'
import { systemRandomness } from '../../functions/runtime/randomness.ts'
import type { NewFinding } from '../../functions/store/discoveries.ts'
import {
  acceptancesOf,
  acceptFinding,
  discoveriesOf,
  discoveryOf,
  endDiscovery,
  findingsOf,
  moveDiscovery,
  noteFinding,
  postponeDiscovery,
  sameFindings,
  seenBy,
  seenOn,
  settleFinding,
  startDiscovery,
  withdrawAcceptance,
  withdrawFinding,
} from '../../functions/store/discoveries.ts'
import { dynamoTable } from '../../functions/store/dynamodb.ts'
import type { Table } from '../../functions/store/table.ts'
import type { TestStore } from '../support/dynoxide.ts'
import { startTestStore } from '../support/dynoxide.ts'
import { MemoryTable } from '../support/memory-table.ts'

/** What discoveries write, on the table in memory and on a real store: the same, and nothing that a store refuses. */

let store: TestStore
beforeAll(async () => {
  store = await startTestStore()
}, 60_000)
afterAll(async () => {
  await store?.stop()
})

const tables: readonly (readonly [string, () => Table])[] = [
  ['in memory', () => new MemoryTable()],
  [
    'in the embedded store',
    () =>
      dynamoTable({
        client: store.client,
        table: store.table,
        clock: { now: () => 0, sleep: async () => {} },
        random: systemRandomness,
      }),
  ],
]

const AT = '2026-11-22T10:00:00.000Z'
const by = { who: 'test', at: AT }
const TTL = 4_000_000_000
const fingerprint = (index: number) => key('credential', 'db', String(index))
const finding = (index: number, more: Partial<NewFinding> = {}): NewFinding => ({
  of: 'unregistered',
  fingerprint: fingerprint(index),
  shown: `role ${index}`,
  said: 'no lease names it',
  standing: 'provisional',
  firstSeenAt: AT,
  seenAt: AT,
  usable: true,
  target: { role: `role ${index}`, oid: String(index) },
  ...more,
})

describe.each(tables)('discoveries %s', (_title, open) => {
  it('begin once, move by steps, keep what they found, and end', async () => {
    const table = open()
    const fresh = { issuer: 'db', provider: 'postgresql', issuerVersion: 3, requester: 'somebody', reason: 'a look' }
    const [one, two] = [key('one'), key('two')]
    expect(await startDiscovery(table, { ...fresh, id: one }, by)).toBe(one)
    expect(await startDiscovery(table, { ...fresh, id: two }, by)).toBe(one)
    let current = await discoveryOf(table, 'db', one)
    expect(current).toMatchObject({ ...fresh, state: 'listing', step: 0, found: { gone: 0 }, dueAt: AT, alarming: [] })
    if (current === undefined) throw new Error('it is not there')
    const begun: Discovery = current

    await postponeDiscovery(table, begun, '2026-11-22T10:05:00.000Z', 'it is down', true, by)
    expect(await discoveryOf(table, 'db', one)).toMatchObject({ attempts: 1, said: 'it is down' })

    // More than one transaction takes, one of them twice.
    const findings = Array.from({ length: 230 }, (_, index) => finding(index, index === 0 ? { own: 'x', identity: 'y' } : {}))
    const writes = findings.map((each) => noteFinding(begun, each, TTL, by))
    const seen = seenOn(begun, joinMarks(findings.map((each) => each.fingerprint)), TTL, by)
    const move = {
      set: [['cursor', 'next']] as const,
      add: [
        ['pages', 1],
        [['counts', 'listed'], 230],
        [['found', 'unregistered'], 230],
      ] as const,
    }
    current = await moveDiscovery(table, begun, move, [...writes, seen], AT, by)
    expect(current).toMatchObject({ step: 1, pages: 1, cursor: 'next', attempts: 0, counts: { listed: 230, dormant: 0 } })
    expect(current).not.toHaveProperty('said')
    // Whoever read it before moves nothing, and leaves nothing.
    const late = noteFinding(begun, finding(999), TTL, by)
    expect(await moveDiscovery(table, begun, move, [late], AT, by)).toBeUndefined()
    expect(await moveDiscovery(table, begun, move, [late, ...writes], AT, by)).toBeUndefined()
    expect(await sameFindings(table, 'db', one, [finding(999), finding(7)])).toMatchObject([undefined, { shown: 'role 7' }])
    if (current === undefined) throw new Error('it did not move')

    const marks: string[] = []
    for await (const some of seenBy(table, current)) marks.push(some)
    expect(marks).toEqual([joinMarks(findings.map((each) => each.fingerprint))])

    const again = noteFinding(current, finding(0, { said: 'once more' }), TTL, by)
    const cleared = noteFinding(current, finding(5, { standing: 'cleared', of: 'gone' }), TTL, by)
    const all = (await findingsOf(table, 'db', one, undefined, 500)).findings
    expect(all).toHaveLength(230)
    const [first, second] = all
    if (first === undefined || second === undefined) throw new Error('nothing was found')
    const settled = [settleFinding(first, 'known', '2026-01-01T00:00:00.000Z', by), withdrawFinding(second)]
    const rest = first.fingerprint === fingerprint(0) || second.fingerprint === fingerprint(0) ? [] : [again]
    const moved = await moveDiscovery(
      table,
      current,
      { remove: ['cursor'], set: [['state', 'settling']] },
      [...settled, ...rest, cleared],
      AT,
      by,
    )
    expect(moved).toMatchObject({ state: 'settling', step: 2 })
    expect(moved).not.toHaveProperty('cursor')
    const paged: string[] = []
    let after: string | undefined
    do {
      const page = await findingsOf(table, 'db', one, after, 100)
      paged.push(...page.findings.map((each) => `${each.of} ${each.standing}`))
      after = page.next
    } while (after !== undefined)
    expect(paged).toHaveLength(230)
    expect(paged.filter((each) => each === 'unregistered known')).toHaveLength(1)
    // What is cleared comes last, and not under its kind.
    expect(paged.at(-1)).toBe('gone cleared')
    expect((await findingsOf(table, 'db', one, undefined, 10, { kind: 'gone', cleared: false })).findings).toEqual([])
    if (rest.length > 0) {
      const [renewed] = await sameFindings(table, 'db', one, [finding(0)])
      expect(renewed).toMatchObject({ said: 'once more' })
      expect(renewed).not.toHaveProperty('own')
    }

    if (moved === undefined) throw new Error('it did not move')
    expect(await endDiscovery(table, current, { state: 'failed', ttl: TTL }, by)).toBe(false)
    expect(await endDiscovery(table, moved, { state: 'done', ttl: TTL }, by)).toBe(true)
    expect(await endDiscovery(table, moved, { state: 'done', ttl: TTL }, by)).toBe(false)
    expect(await discoveriesOf(table, 'db')).toMatchObject({ done: one, lastAt: AT })
    expect(await startDiscovery(table, { ...fresh, id: two }, by)).toBe(two)
    expect(await discoveryOf(table, 'db', two)).toMatchObject({ previous: one, previousAt: AT })
  })

  it('remember what was accepted, and that it was taken back', async () => {
    const table = open()
    const accepted = { of: 'revived' as const, fingerprint: fingerprint(1), incarnation: key('x'), reason: 'a drill' }
    await acceptFinding(table, 'db', { ...accepted, until: AT }, by)
    expect(await acceptancesOf(table, 'db', [accepted, finding(2)])).toMatchObject([{ ...accepted, until: AT }, undefined])
    expect(await withdrawAcceptance(table, 'db', 'revived', fingerprint(1), by)).toBe(true)
    expect(await withdrawAcceptance(table, 'db', 'revived', fingerprint(1), by)).toBe(false)
    expect(await withdrawAcceptance(table, 'db', 'gone', fingerprint(1), by)).toBe(false)
    await acceptFinding(table, 'db', accepted, by)
    const [now] = await acceptancesOf(table, 'db', [accepted])
    expect(now).toMatchObject(accepted)
    expect(now).not.toHaveProperty('until')
    expect(now).not.toHaveProperty('withdrawn')
  })
})
