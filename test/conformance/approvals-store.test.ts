import { expect, it } from 'vitest'
import type { Campaign, Case } from '../../functions/domain/model.ts'
import { systemRandomness } from '../../functions/runtime/randomness.ts'
import { campaignOf, carriedTo, decideFuse, decideReport, membersOf, pushCampaign } from '../../functions/store/campaigns.ts'
import type { NewCase } from '../../functions/store/cases.ts'
import {
  cancelCase,
  caseOf,
  decideDeletion,
  holdCase,
  openCase,
  pauseCase,
  startCase,
  waitWithDeletion,
} from '../../functions/store/cases.ts'
import { controlOf, engageKillSwitch, markRestored, releaseKillSwitch, releaseRestored } from '../../functions/store/control.ts'
import { dynamoTable } from '../../functions/store/dynamodb.ts'
import { countIdentity } from '../../functions/store/estate.ts'
import { fuseOf, holdAlone, holdWith, passFuse, restHeld, startHeld, tripFuse } from '../../functions/store/fuses.ts'
import { CAMPAIGN_SHARDS, LIST } from '../../functions/store/keys.ts'
import { startTestStore } from '../support/dynoxide.ts'

/** What the approvals write is taken by a server that checks expressions, reserved words and transactions itself. */
it('writes what waits, what is decided and what is stopped', async () => {
  const { client, table: name, stop } = await startTestStore()
  try {
    const clock = { now: () => 0, sleep: async () => {} }
    const table = dynamoTable({ client, table: name, clock, random: systemRandomness })
    const by = { who: 'one', why: 'seen', at: '2026-11-22T10:00:00.000Z' }
    const modes = { default: 'enforce' as const, rules: [] }
    const idOf = (text: string) => text.padEnd(26, 'a')
    const caseNow = async (text: string): Promise<Case> => {
      const found = await caseOf(table, idOf(text))
      if (found === undefined) throw new Error('no such case')
      return found
    }
    const campaignNow = async (id: string): Promise<Campaign> => {
      const found = await campaignOf(table, id)
      if (found === undefined) throw new Error('no such campaign')
      return found
    }
    const open = async (text: string, extra: Partial<NewCase> = {}): Promise<Case> => {
      const opened: NewCase = {
        id: idOf(text),
        event: `event-${text}`,
        type: 'offboarding',
        lane: 'p1',
        scope: { kind: 'owner', id: 'alice' },
        source: 'hr',
        eventId: text,
        reason: 'left',
        requester: 'hr',
        effectiveAt: by.at,
        state: 'opened',
        modes,
        ...extra,
      }
      expect(await openCase(table, opened, by.at, by)).toBe(true)
      return caseNow(text)
    }

    // The control item.
    expect((await releaseKillSwitch(table, undefined, by)).changed).toBe(false)
    expect((await engageKillSwitch(table, 'stop', by)).changed).toBe(true)
    expect((await engageKillSwitch(table, 'again', { ...by, who: 'two' })).control?.killSwitch).toMatchObject({ by: 'one' })
    expect((await markRestored(table, 'older', by)).changed).toBe(true)
    expect((await releaseKillSwitch(table, await controlOf(table), by)).control).toMatchObject({ restored: { reason: 'older' } })
    expect((await releaseRestored(table, by)).changed).toBe(true)

    // A fuse that lets two cases through and trips at the third.
    await countIdentity(table)
    await countIdentity(table)
    const room = (window: number, used = { identities: 0, leases: 0, taskLeases: 0 }) => ({ window, used })
    const most = { identities: 2, leases: 5, taskLeases: 5 }
    const reached = { identities: 1, leases: 1, taskLeases: 0, more: false }
    const [a, b, c, d] = [await open('a'), await open('b'), await open('c'), await open('d')]
    expect(await fuseOf(table, 'hr')).toEqual({ fuse: undefined, known: 2 })
    expect(await passFuse(table, a, undefined, room(1), most, reached, by)).toBe(true)
    const first = (await fuseOf(table, 'hr')).fuse
    expect(await passFuse(table, a, first, room(1), most, reached, by)).toBe(false)
    expect(await passFuse(table, b, first, room(1), most, reached, by)).toBe(true)
    const { fuse } = await fuseOf(table, 'hr')
    expect(await passFuse(table, c, fuse, room(1), most, reached, by)).toBe(false)
    const campaign = { id: 'c'.repeat(26), of: 'fuse' as const, source: 'hr', name: 'fuse', requester: 'hr', held: 'too much' }
    const used = { identities: 2, leases: 2, taskLeases: 0 }
    expect(await tripFuse(table, c, fuse, room(1, used), campaign, 'too much', by.at, by)).toBe(true)
    expect(await tripFuse(table, d, fuse, room(1, used), campaign, 'too much', by.at, by)).toBe(false)
    expect(await holdWith(table, d, campaign.id, 'too much', by.at, by)).toBe(true)
    await restHeld(table, await caseNow('d'), await campaignNow(campaign.id))
    expect((await caseNow('d')).dueAt).toBeUndefined()

    // One decision about it, carried out.
    const decision = { decision: 'approved' as const, by: 'one', reason: 'seen', at: by.at }
    const tripped = await campaignNow(campaign.id)
    expect(await decideFuse(table, tripped, decision, by.at, by)).toBe(true)
    expect(await decideFuse(table, tripped, decision, by.at, by)).toBe(false)
    const decided = await campaignNow(campaign.id)
    expect(decided.carrying).toEqual({ shard: 0, after: '' })
    expect(await pushCampaign(table, decided, by.at, by.at)).toBe(true)
    const listed: string[] = []
    for (let shard = 0; shard < CAMPAIGN_SHARDS; shard += 1)
      listed.push(...(await membersOf(table, campaign.id, shard, '', 10)).cases)
    expect(listed.sort()).toEqual([idOf('c'), idOf('d')])
    await holdAlone(table, await caseNow('c'), decided, 'by the requester', by)
    expect(await startHeld(table, await caseNow('d'), decided, [], modes, by.at, by)).toBe(true)
    await carriedTo(table, campaign.id, { shard: 3, after: '' }, by.at, by)
    await carriedTo(table, campaign.id, undefined, by.at, by)
    expect((await campaignNow(campaign.id)).carrying).toBeUndefined()
    expect(await cancelCase(table, await caseNow('c'), [], 1, by)).toBe(true)
    const next = await open('h')
    expect(await passFuse(table, next, (await fuseOf(table, 'hr')).fuse, room(2), most, reached, by)).toBe(true)
    expect((await fuseOf(table, 'hr')).fuse).toMatchObject({ window: 2, identities: 1, leases: 1 })

    // Single cases: held, started, paused, resumed; deletions.
    expect(await holdCase(table, await open('e', { state: 'scheduled' }), 'wait', [], by)).toBe(true)
    expect(await startCase(table, await caseNow('e'), by.at, [], modes, by)).toBe(true)
    expect(await pauseCase(table, await caseNow('e'), { by: 'one', reason: 'wait', at: by.at }, [], by)).toBe(true)
    expect(await pauseCase(table, await caseNow('e'), undefined, [], by)).toBe(true)
    const report = { ...campaign, id: 'd'.repeat(26), of: 'report' as const }
    const leak = await open('g', { type: 'compromise', campaign: report })
    expect(leak.deletion).toBe('waits')
    expect(await decideReport(table, await campaignNow(report.id), decision, by)).toBe(true)
    expect(await decideDeletion(table, leak, 'refused', [], by)).toBe(true)
    await waitWithDeletion(table, idOf('e'), by)
    expect((await caseNow('e')).deletion).toBe('waits')
    const marks = await table.index({ index: 'list', partition: LIST.held, limit: 10 })
    expect(marks.items.map((mark) => mark.case)).toEqual([idOf('e')])
  } finally {
    await stop()
  }
})
