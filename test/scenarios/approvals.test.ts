import { describe, expect, it } from 'vitest'
import type { CampaignDetails, CampaignView, Held } from '../../functions/contracts/campaign.ts'
import type { CaseView } from '../../functions/contracts/case.ts'
import type { ControlView } from '../../functions/contracts/control.ts'
import type { Settings } from '../../functions/contracts/settings.ts'
import { DEFAULT_LIMITS } from '../../functions/contracts/settings.ts'
import { deletionAllowed } from '../../functions/domain/approval.ts'
import { instant } from '../../functions/domain/time.ts'
import { markRestored } from '../../functions/store/control.ts'
import { as } from '../../functions/store/items.ts'
import { ONE, operatorsApi, TWO, VIEWER } from '../support/api.ts'
import { fakeDefinition } from '../support/fake-issuer.ts'
import { app, Pipeline } from '../support/pipeline.ts'

const person = (index: number) => `spiffe://example.org/person/${index}`
const reason = { reason: 'looked at it' }

/** A pipeline with so many identities of one owner, each with one lease. */
async function estate(count: number, fuse: Settings['fuse'], owner = 'alice') {
  const pipeline = new Pipeline(fuse === undefined ? {} : { settings: { fuse } })
  const issuer = await pipeline.issuer()
  for (let index = 0; index < count; index += 1) await pipeline.lease(`key-${index}`, { identity: person(index), owner })
  return { pipeline, issuer, api: operatorsApi(pipeline) }
}

const offboard = (pipeline: Pipeline, index: number) =>
  pipeline.trigger('offboarding', { kind: 'identity', id: person(index) }, { id: `leaver-${index}` })

async function heldOf(api: ReturnType<typeof operatorsApi>): Promise<Held[]> {
  return (await api('GET', '/v1/held', VIEWER)).body.entries
}

const campaignsOf = async (api: ReturnType<typeof operatorsApi>): Promise<CampaignView[]> =>
  (await api('GET', '/v1/campaigns', VIEWER)).body.entries

/** Every version of what is followed runs through the archive without a gap. */
function expectNoGap(pipeline: Pipeline): void {
  for (const [key, versions] of pipeline.versions())
    expect(
      [...versions].sort((one, other) => one - other),
      key,
    ).toEqual(Array.from(versions, (_, index) => index + 1))
}

describe('the fuse', () => {
  it('a mass lifecycle event trips it, is approved by a second person, and goes on where it was', async () => {
    const { pipeline, issuer, api } = await estate(12, { identities: 5 })
    const cases: string[] = []
    for (let index = 0; index < 12; index += 1) cases.push((await offboard(pipeline, index)).case)
    await pipeline.settle()
    expect(issuer.alive()).toHaveLength(7)
    const held = cases.filter((id) => pipeline.case(id).state === 'held')
    expect(held).toHaveLength(7)
    // Nothing of what is held was fenced.
    await pipeline.lease('still-welcome', { identity: person(11) })

    const [campaign] = await campaignsOf(api)
    const waiting = await heldOf(api)
    expect(waiting).toHaveLength(1)
    expect(waiting[0]).toMatchObject({ kind: 'campaign', waits: 'start', campaign: { id: campaign?.id } })
    expect(waiting[0]?.reason).toContain('5 identities before and 1 now, at most 5')
    const path = `/v1/campaigns/${campaign?.id}`
    const details: CampaignDetails = (await api('GET', path, VIEWER)).body
    expect(details.cases).toMatchObject({ counted: 7, more: false, byState: { held: 7 } })

    // Whoever asked cannot approve, and who has no right to approve cannot either.
    expect((await api('POST', `${path}/approve`, VIEWER, reason)).body.code).toBe('forbidden')
    expect((await api('POST', `${path}/approve`, ONE, {})).body.code).toBe('body-invalid')
    const approved = await api('POST', `${path}/approve`, ONE, reason)
    expect(approved.body).toMatchObject({ underWay: true, decisions: [{ decision: 'approved', by: ONE, reason: reason.reason }] })
    await pipeline.settle()
    await pipeline.pass(300)
    expect(issuer.alive()).toEqual([])
    for (const id of cases) expect(pipeline.case(id).state).toBe('closed')
    expect(await heldOf(api)).toEqual([])
    expect((await campaignsOf(api))[0]?.underWay).toBe(false)
    // It is decided once.
    expect((await api('POST', `${path}/reject`, TWO, reason)).body.code).toBe('campaign-state')
    const told = pipeline.records().map(({ what }) => what)
    for (const what of [
      'fuse.tripped',
      'campaign.opened',
      'campaign.approved',
      'fuse.renewed',
      'campaign.carried-out',
      'case.held',
    ])
      expect(told).toContain(what)
    expectNoGap(pipeline)
  })

  it('one case that reaches more than a window may is held with its numbers, by identities and by leases', async () => {
    const { pipeline, issuer, api } = await estate(8, { identities: 5 })
    const { case: group } = await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    expect(pipeline.case(group).state).toBe('held')
    expect(pipeline.case(group).held?.reason).toContain('6 or more now, at most 5')
    expect(issuer.alive()).toHaveLength(8)
    expect((await api('POST', `/v1/cases/${group}/approve`, ONE, reason)).status).toBe(200)
    await pipeline.settle()
    expect(issuer.alive()).toEqual([])

    const other = await estate(0, { leases: 3 })
    for (let index = 0; index < 4; index += 1) await other.pipeline.lease(`key-${index}`)
    const { case: rich } = await other.pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await other.pipeline.settle()
    expect(other.pipeline.case(rich).held?.reason).toContain('0 leases before and 4 or more now, at most 3')
  })

  it('a compromise is never held and is not counted, whatever it reaches', async () => {
    const { pipeline, issuer } = await estate(8, { identities: 2, leases: 2 })
    const { case: id } = await pipeline.trigger('compromise', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    expect(pipeline.case(id).state).toBe('closed')
    expect(issuer.alive()).toEqual([])
  })

  it('goes on beside what is held: another source, a compromise of what is held, and expiry', async () => {
    const { pipeline, issuer } = await estate(4, { identities: 1, sources: { ci: { taskLeases: 1 } } })
    for (let index = 0; index < 3; index += 1) await offboard(pipeline, index)
    await pipeline.settle()
    expect(issuer.alive()).toHaveLength(3)
    await pipeline.trigger('compromise', { kind: 'identity', id: person(2) })
    await pipeline.settle()
    expect(issuer.works('key-2')).toBe(false)
    await pipeline.lease('job', { identity: app, task: { id: '1' } })
    await pipeline.trigger('task-complete', { kind: 'task', id: '1' }, { source: 'ci' })
    await pipeline.settle()
    expect(issuer.works('job')).toBe(false)
  })

  it('completed tasks are counted apart, and trip by themselves', async () => {
    const { pipeline, issuer } = await estate(0, { identities: 1, leases: 1, taskLeases: 3 })
    for (let index = 0; index < 5; index += 1) {
      await pipeline.lease(`job-${index}`, { identity: person(index), task: { id: String(index) } })
      await pipeline.trigger('task-complete', { kind: 'task', id: String(index) }, { id: `task-${index}` })
    }
    await pipeline.settle()
    expect(issuer.alive()).toEqual(['job-3', 'job-4'])
  })

  it('a share of the estate trips it as well, but not in a small estate', async () => {
    const { pipeline, issuer } = await estate(60, { share: 0.5 })
    for (let index = 0; index < 40; index += 1) await offboard(pipeline, index)
    await pipeline.settle()
    expect(issuer.alive()).toHaveLength(30)
    const small = await estate(20, { share: 0.1 })
    for (let index = 0; index < 20; index += 1) await offboard(small.pipeline, index)
    await small.pipeline.settle()
    expect(small.issuer.alive()).toEqual([])
  })

  it('counts anew with the next window, and holds on over its end while nobody has decided', async () => {
    const { pipeline, issuer, api } = await estate(8, { identities: 2, windowSeconds: 600 })
    for (const index of [0, 1]) await offboard(pipeline, index)
    await pipeline.settle()
    await pipeline.pass(600)
    for (const index of [2, 3, 4]) await offboard(pipeline, index)
    await pipeline.settle()
    expect(issuer.alive()).toEqual(['key-4', 'key-5', 'key-6', 'key-7'])
    await pipeline.pass(1200)
    await offboard(pipeline, 5)
    await pipeline.settle()
    expect(issuer.alive()).toEqual(['key-4', 'key-5', 'key-6', 'key-7'])
    const [campaign] = await campaignsOf(api)
    expect(await campaignsOf(api)).toHaveLength(1)
    await api('POST', `/v1/campaigns/${campaign?.id}/approve`, ONE, reason)
    await pipeline.settle()
    expect(issuer.alive()).toEqual(['key-6', 'key-7'])
  })

  it('rejected, all that it holds is cancelled, and nothing more passes in this window', async () => {
    const { pipeline, issuer, api } = await estate(8, { identities: 2, windowSeconds: 600 })
    const cases: string[] = []
    for (const index of [0, 1, 2, 3]) cases.push((await offboard(pipeline, index)).case)
    await pipeline.settle()
    const [campaign] = await campaignsOf(api)
    await api('POST', `/v1/campaigns/${campaign?.id}/reject`, ONE, { reason: 'HR sent nonsense' })
    await pipeline.settle()
    expect(cases.map((id) => pipeline.case(id).state)).toEqual(['closed', 'closed', 'cancelled', 'cancelled'])
    expect(pipeline.case(cases[3] ?? '').decisions).toMatchObject([{ decision: 'rejected', by: ONE, reason: 'HR sent nonsense' }])
    const later = (await offboard(pipeline, 4)).case
    await pipeline.settle()
    expect(pipeline.case(later).held?.reason).toContain('was rejected')
    expect(await campaignsOf(api)).toHaveLength(2)
    await pipeline.pass(600)
    expect(issuer.alive()).toEqual(['key-2', 'key-3', 'key-4', 'key-5', 'key-6', 'key-7'])
  })

  it('a member that is protected is split off all the same, and a second approval decides about it', async () => {
    const { pipeline, issuer, api } = await estate(6, { identities: 3 })
    const guarded = 'spiffe://example.org/protected/one'
    await pipeline.lease('guarded', { identity: guarded })
    const { case: group } = await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    const [campaign] = await campaignsOf(api)
    await api('POST', `/v1/campaigns/${campaign?.id}/approve`, ONE, reason)
    await pipeline.settle()
    expect(pipeline.case(group).state).toBe('closed')
    expect(issuer.alive()).toEqual(['guarded'])
    expect(await heldOf(api)).toMatchObject([{ kind: 'case', waits: 'start', case: { scope: { id: guarded } } }])
  })

  it('holds deployments, and orphans at their deadline as a source of their own', async () => {
    const { pipeline, issuer } = await estate(0, { identities: 2, sources: { rescind: { identities: 1 } }, leases: 3 })
    for (let index = 0; index < 3; index += 1)
      await pipeline.lease(`deployed-${index}`, { identity: person(index), deployment: { id: 'shop-7', namespace: 'deploy' } })
    const { case: deployment } = await pipeline.trigger('decommission', { kind: 'deployment', id: 'shop-7', namespace: 'deploy' })
    await pipeline.settle()
    expect(pipeline.case(deployment).held?.reason).toContain('3 or more now, at most 2')
    expect(issuer.alive()).toHaveLength(3)

    const settings = { fuse: { sources: { rescind: { identities: 1 } } }, limits: { ...DEFAULT_LIMITS, reassignDays: 1 / 24 } }
    const orphaned = new Pipeline({ settings })
    const db = await orphaned.issuer()
    for (const name of ['one', 'two'])
      await orphaned.lease(name, { identity: `spiffe://example.org/${name}`, ownerLeaves: 'reassign' })
    await orphaned.trigger('offboarding', { kind: 'owner', id: 'alice' })
    await orphaned.settle()
    await orphaned.pass(4000)
    expect(db.alive()).toHaveLength(1)
    expect(await heldOf(operatorsApi(orphaned))).toMatchObject([{ kind: 'campaign', campaign: { source: 'rescind' } }])
  })

  it('does not count what only observes, and holds none of it', async () => {
    const modes: Settings['modes'] = { default: 'observe', rules: [] }
    const pipeline = new Pipeline({ settings: { fuse: { identities: 1 }, modes } })
    const issuer = await pipeline.issuer()
    for (let index = 0; index < 4; index += 1) await pipeline.lease(`key-${index}`, { identity: person(index) })
    for (let index = 0; index < 4; index += 1) await offboard(pipeline, index)
    await pipeline.settle()
    expect(pipeline.table.all().filter(({ kind }) => kind === 'fuse' || kind === 'campaign')).toEqual([])
    const states = pipeline.table
      .all()
      .filter(({ kind }) => kind === 'case')
      .map(({ state }) => state)
    expect(states).toEqual(['closed', 'closed', 'closed', 'closed'])
    expect(issuer.alive()).toHaveLength(4)
  })

  it('a case of a requester who approved the campaign himself waits for somebody else', async () => {
    const { pipeline, issuer, api } = await estate(4, { identities: 1 })
    const [first, second] = [(await offboard(pipeline, 0)).case, (await offboard(pipeline, 1)).case]
    await pipeline.settle()
    expect(pipeline.case(first).state).toBe('closed')
    await offboard(pipeline, 2)
    await pipeline.settle()
    // As if an operator's own token had sent it.
    const third = pipeline.table.all().find(({ eventId }) => String(eventId).endsWith('leaver-2'))
    await pipeline.table.write({
      update: { pk: String(third?.pk ?? ''), sk: 'CASE' },
      set: [['requester', ONE]],
      if: [['kind', '=', 'event']],
    })
    const id = String(third?.case ?? third?.id)
    await pipeline.table.write({ update: { pk: `CASE#${id}`, sk: 'CASE' }, set: [['requester', ONE]] })
    const [campaign] = await campaignsOf(api)
    await api('POST', `/v1/campaigns/${campaign?.id}/approve`, ONE, reason)
    await pipeline.settle()
    expect(pipeline.case(second).state).toBe('closed')
    expect(pipeline.case(id).state).toBe('held')
    expect(await heldOf(api)).toMatchObject([{ kind: 'case', case: { id } }])
    expect((await api('POST', `/v1/cases/${id}/approve`, ONE, reason)).body.code).toBe('requester-cannot-approve')
    expect((await api('POST', `/v1/cases/${id}/approve`, TWO, reason)).status).toBe(200)
    await pipeline.settle()
    expect(issuer.alive()).toEqual(['key-3'])
  })
})

describe('the fuse under crashes and races', () => {
  /** Sends 8 leavers through a fuse of 3 while every `nth` operation of the table fails, before or after its effect. */
  async function crashed(nth: number, deliveries: number) {
    const { pipeline, issuer, api } = await estate(8, { identities: 3 })
    pipeline.deliveries = deliveries
    let operations = 0
    let failures = 0
    pipeline.table.before = () => {
      operations += 1
      if (operations % nth === 0 && failures < 40) {
        failures += 1
        throw new Error('the table is away')
      }
    }
    for (let index = 0; index < 8; index += 1)
      for (let tries = 0; tries < 20; tries += 1) {
        try {
          await offboard(pipeline, index)
          break
        } catch {
          // The sender sends again.
        }
      }
    const tolerate = async (seconds: number) => {
      for (let minute = 0; minute < seconds / 60; minute += 1) {
        pipeline.now += 60_000
        await pipeline.sweep().catch(() => undefined)
        await pipeline.settle().catch(() => undefined)
      }
    }
    await tolerate(900)
    pipeline.table.before = () => {}
    await pipeline.pass(600)
    expect(issuer.alive().length).toBe(5)
    for (const campaign of await campaignsOf(api)) {
      operations = 0
      failures = 0
      const approved = await api('POST', `/v1/campaigns/${campaign.id}/approve`, ONE, reason)
      expect(approved.status).toBe(200)
    }
    let more = 0
    pipeline.table.before = () => {
      more += 1
      if (more % nth === 0 && more < nth * 30) throw new Error('the table is away')
    }
    await tolerate(900)
    pipeline.table.before = () => {}
    await pipeline.pass(900)
    expect(issuer.alive()).toEqual([])
    const states = pipeline.table
      .all()
      .filter(({ kind }) => kind === 'case')
      .map(({ state }) => state)
    expect(states.filter((state) => state !== 'closed')).toEqual([])
  }

  it.each([7, 11, 13, 17, 23, 31])('counts each case once and loses none when every %ith operation fails', async (nth) => {
    await crashed(nth, 1)
    await crashed(nth, 2)
  })

  it('two planners of one case count it once', async () => {
    const { pipeline, issuer } = await estate(4, { identities: 3 })
    pipeline.deliveries = 2
    for (let index = 0; index < 3; index += 1) await offboard(pipeline, index)
    await pipeline.settle()
    expect(issuer.alive()).toEqual(['key-3'])
    expect(pipeline.table.items.get('FUSE#all')?.get('FUSE')).toMatchObject({ identities: 3 })
  })

  it('a case that is held while its campaign is being decided is started, whoever comes second', async () => {
    // At each operation of the table between the read of the fuse and the end of the holding, the campaign is approved.
    for (let place = 1; place < 30; place += 1) {
      const { pipeline, issuer, api } = await estate(4, { identities: 1 })
      for (const index of [0, 1]) await offboard(pipeline, index)
      await pipeline.settle()
      const [campaign] = await campaignsOf(api)
      await offboard(pipeline, 2)
      let operations = 0
      let decided = false
      pipeline.table.before = async () => {
        operations += 1
        if (operations !== place || decided) return
        decided = true
        await api('POST', `/v1/campaigns/${campaign?.id}/approve`, ONE, reason)
      }
      await pipeline.step()
      pipeline.table.before = () => {}
      if (!decided) break
      await pipeline.settle()
      await pipeline.pass(300)
      expect(issuer.alive(), `approved at operation ${place}`).toEqual(['key-3'])
    }
  })

  it('of an approval and a rejection at once one wins, and the other is told', async () => {
    const { pipeline, issuer, api } = await estate(4, { identities: 1 })
    for (const index of [0, 1, 2]) await offboard(pipeline, index)
    await pipeline.settle()
    const [campaign] = await campaignsOf(api)
    const path = `/v1/campaigns/${campaign?.id}`
    const answers = await Promise.all([
      api('POST', `${path}/approve`, ONE, reason),
      api('POST', `${path}/reject`, TWO, reason),
      api('POST', `${path}/approve`, ONE, reason),
    ])
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409])
    await pipeline.settle()
    expect([1, 3]).toContain(issuer.alive().length)

    const { case: single } = await pipeline.trigger(
      'offboarding',
      { kind: 'owner', id: 'alice' },
      { effectiveAt: instant(pipeline.now + 3_600_000) },
    )
    await api('POST', `/v1/cases/${single}/hold`, VIEWER, reason)
    const both = await Promise.all([
      api('POST', `/v1/cases/${single}/approve`, ONE, reason),
      api('POST', `/v1/cases/${single}/reject`, TWO, reason),
    ])
    expect(both.map(({ status }) => status).sort()).toEqual([200, 409])
  })
})

describe('hold, approve, reject, cancel', () => {
  it('pauses a running case, calls no issuer for it, and goes on without an attempt spent', async () => {
    const pipeline = new Pipeline({ definition: fakeDefinition({ batch: 1 }) as never })
    const issuer = await pipeline.issuer()
    for (let index = 0; index < 5; index += 1) await pipeline.lease(`key-${index}`)
    const api = operatorsApi(pipeline)
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    issuer.onRevoke = async () => {
      issuer.onRevoke = () => {}
      const held = await api('POST', `/v1/cases/${id}/hold`, VIEWER, { reason: 'wait' })
      expect(held.body).toMatchObject({ paused: { by: VIEWER, reason: 'wait' } })
    }
    await pipeline.settle()
    await pipeline.pass(600)
    expect(issuer.calls).toHaveLength(1)
    expect(issuer.alive()).toHaveLength(4)
    expect(await heldOf(api)).toMatchObject([{ kind: 'case', waits: 'paused', case: { id } }])
    // A compromise of the same identity is not held up by that.
    expect((await api('POST', `/v1/cases/${id}/approve`, VIEWER, reason)).body.code).toBe('forbidden')
    const resumed = await api('POST', `/v1/cases/${id}/approve`, ONE, reason)
    expect(resumed.body).not.toHaveProperty('paused')
    expect(resumed.body.decisions.map(({ decision }: { decision: string }) => decision)).toEqual(['held', 'resumed'])
    await pipeline.pass(600)
    expect(issuer.alive()).toEqual([])
    expect(pipeline.case(id).state).toBe('closed')
    expect(await heldOf(api)).toEqual([])
    const spent = pipeline.table
      .all()
      .filter(({ kind }) => kind === 'chunk')
      .map(({ attempts }) => attempts)
    expect(spent.every((attempts) => attempts === 0)).toBe(true)
    expectNoGap(pipeline)
  })

  it('holds a scheduled case, whatever was approved before; a hold beats the approval that it follows', async () => {
    const { pipeline, api } = await estate(1, undefined)
    const start = instant(pipeline.now + 600_000)
    const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: person(0) }, { effectiveAt: start })
    expect((await api('POST', `/v1/cases/${id}/hold`, VIEWER, reason)).body).toMatchObject({ state: 'held' })
    expect((await api('POST', `/v1/cases/${id}/approve`, ONE, reason)).body).toMatchObject({ state: 'scheduled' })
    expect((await api('POST', `/v1/cases/${id}/hold`, TWO, reason)).body).toMatchObject({ state: 'held' })
    await pipeline.pass(1200)
    expect(pipeline.case(id).state).toBe('held')
    expect((await api('POST', `/v1/cases/${id}/hold`, TWO, reason)).body.code).toBe('case-state')
    const rejected: CaseView = (await api('POST', `/v1/cases/${id}/reject`, ONE, reason)).body
    expect(rejected.state).toBe('cancelled')
    expect(rejected.decisions.map(({ decision }) => decision)).toEqual(['held', 'approved', 'held', 'rejected'])
    expect((await api('POST', `/v1/cases/${id}/approve`, ONE, reason)).body.code).toBe('case-state')
    expect(await heldOf(api)).toEqual([])
  })

  it('never holds a compromise', async () => {
    const { pipeline, api } = await estate(1, undefined)
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: person(0) })
    expect((await api('POST', `/v1/cases/${id}/hold`, ONE, reason)).body).toMatchObject({ code: 'case-state' })
  })

  it('refuses what it does not know: another field, another subject, an empty reason', async () => {
    const { pipeline, api } = await estate(1, undefined)
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: person(0) })
    for (const body of [{ reason: '' }, { reason: 'x', about: 'everything' }, { reason: 'x', force: true }, undefined])
      expect((await api('POST', `/v1/cases/${id}/approve`, ONE, body)).body.code).toBe('body-invalid')
    expect((await api('POST', `/v1/cases/${'a'.repeat(26)}/approve`, ONE, reason)).body.code).toBe('not-found')
    expect((await api('POST', `/v1/campaigns/${'a'.repeat(26)}/approve`, ONE, reason)).body.code).toBe('not-found')
    expect((await api('GET', '/v1/held?cursor=x', 'spiffe://example.org/nobody')).body.code).toBe('forbidden')
    expect((await api('GET', '/v1/campaigns/aaa', ONE)).status).toBe(404)
  })

  it('an approval that runs out before its case starts counts no more', async () => {
    const { pipeline, issuer, api } = await estate(0, undefined)
    const guarded = 'spiffe://example.org/protected/one'
    await pipeline.lease('guarded', { identity: guarded, expiresAt: instant(pipeline.now + 30 * 86_400_000) })
    const day = 86_400_000
    const { case: id } = await pipeline.trigger(
      'offboarding',
      { kind: 'identity', id: guarded },
      { effectiveAt: instant(pipeline.now + day) },
    )
    const approved: CaseView = (await api('POST', `/v1/cases/${id}/approve`, ONE, reason)).body
    expect(approved.state).toBe('scheduled')
    // It counts from the moment that the case is for.
    expect(approved.decisions[0]?.validUntil).toBe(instant(pipeline.now + 4 * day))
    // The pipeline was away for a week.
    pipeline.now += 7 * day
    await pipeline.pass(300)
    expect(pipeline.case(id)).toMatchObject({ state: 'held', held: { reason: 'its approval has run out' } })
    expect(issuer.works('guarded')).toBe(true)
    await api('POST', `/v1/cases/${id}/approve`, TWO, reason)
    await pipeline.pass(300)
    expect(issuer.works('guarded')).toBe(false)
  })
})

describe('campaigns of a report', () => {
  it('ten thousand leaks and one person on call: all contained, deletion awaits one approval', async () => {
    const count = 300
    const { pipeline, issuer, api } = await estate(count, { identities: 1 })
    const cases: string[] = []
    for (let index = 0; index < count; index += 1)
      cases.push(
        (await pipeline.trigger('compromise', { kind: 'identity', id: person(index) }, { id: `leak-${index}`, campaign: 'leak' }))
          .case,
      )
    // The campaign's own item is written by its first case alone.
    const item = pipeline.table.all().find(({ kind }) => kind === 'campaign')
    expect(item?.v).toBe(1)
    await pipeline.settle()
    expect(issuer.alive()).toEqual([])
    expect(cases.every((id) => pipeline.case(id).state === 'closed')).toBe(true)
    const waiting = await heldOf(api)
    expect(waiting).toMatchObject([{ kind: 'campaign', waits: 'deletion', campaign: { kind: 'report', name: 'leak' } }])
    const campaign = waiting[0]?.kind === 'campaign' ? waiting[0].campaign.id : ''
    const path = `/v1/campaigns/${campaign}`
    expect((await api('GET', path, VIEWER)).body.cases).toEqual({
      counted: count,
      more: false,
      byState: { closed: count },
      byDeletion: { waits: count },
    })
    const seen: string[] = []
    for (let cursor = '', rounds = 0; rounds < 20; rounds += 1) {
      const page = (await api('GET', `${path}/cases?limit=50${cursor === '' ? '' : `&cursor=${cursor}`}`, VIEWER)).body
      seen.push(...page.entries.map(({ id }: CaseView) => id))
      if (page.next === undefined) break
      cursor = page.next
    }
    expect(seen.sort()).toEqual([...cases].sort())
    const verdict = () => {
      const stored = pipeline.table.all().find(({ kind }) => kind === 'campaign')
      if (stored === undefined) throw new Error('no campaign')
      const found = as('campaign', stored)
      return new Set(cases.map((id) => deletionAllowed(pipeline.case(id), found, instant(pipeline.now))))
    }
    expect(verdict()).toEqual(new Set(['waits']))
    expect((await api('POST', `${path}/approve`, ONE, reason)).status).toBe(200)
    expect(verdict()).toEqual(new Set(['allowed']))
    expect(await heldOf(api)).toEqual([])

    // What comes later is not covered by a decision that was made before it.
    pipeline.now += 60_000
    await pipeline.lease('late', { identity: 'spiffe://example.org/late' })
    const late = (
      await pipeline.trigger('compromise', { kind: 'identity', id: 'spiffe://example.org/late' }, { campaign: 'leak' })
    ).case
    await pipeline.settle()
    cases.push(late)
    expect(verdict()).toEqual(new Set(['allowed', 'waits']))
    expect(await heldOf(api)).toMatchObject([{ kind: 'campaign', campaign: { id: campaign } }])
    await api('POST', `${path}/reject`, TWO, reason)
    expect(verdict()).toEqual(new Set(['refused']))
    expectNoGap(pipeline)
  })

  it('takes a campaign for compromises alone, and keeps senders apart', async () => {
    const { pipeline } = await estate(1, undefined)
    const scope = { kind: 'identity' as const, id: person(0) }
    await expect(pipeline.trigger('offboarding', scope, { campaign: 'x' })).rejects.toMatchObject({ code: 'body-invalid' })
    await expect(pipeline.trigger('compromise', scope, { campaign: ' x' })).rejects.toThrow()
    expect(pipeline.table.all().filter(({ kind }) => kind === 'campaign')).toEqual([])
  })
})

describe('deletions', () => {
  it('a compromise of a protected identity cuts at once, and its deletion waits for an approval', async () => {
    const { pipeline, issuer, api } = await estate(0, undefined)
    const guarded = 'spiffe://example.org/protected/one'
    await pipeline.lease('guarded', { identity: guarded })
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: guarded })
    await pipeline.settle()
    expect(issuer.alive()).toEqual([])
    expect((await api('GET', `/v1/cases/${id}`, VIEWER)).body.deletion).toBe('waits')
    expect(await heldOf(api)).toMatchObject([{ kind: 'case', waits: 'deletion', case: { id } }])
    expect((await api('POST', `/v1/cases/${id}/approve`, ONE, reason)).body.code).toBe('case-state')
    expect((await api('POST', `/v1/cases/${id}/approve`, ONE, { ...reason, about: 'deletion' })).body.deletion).toBe('approved')
    expect(deletionAllowed(pipeline.case(id), undefined, instant(pipeline.now))).toBe('allowed')
    expect(await heldOf(api)).toEqual([])
  })

  it('is deleted after the soak time and the approval, whichever comes later, and never after a rejection', async () => {
    const names = ['one', 'two', 'three']
    const pipeline = new Pipeline()
    const issuer = await pipeline.issuer('db', 3600)
    const api = operatorsApi(pipeline)
    const cases: string[] = []
    for (const name of names) {
      const identity = `spiffe://example.org/protected/${name}`
      await pipeline.lease(name, { identity, expiresAt: instant(pipeline.now + 30 * 86_400_000) })
      cases.push((await pipeline.trigger('compromise', { kind: 'identity', id: identity }, { id: name })).case)
    }
    await pipeline.settle()
    const word = (place: number, verb: string) =>
      api('POST', `/v1/cases/${cases[place]}/${verb}`, ONE, { ...reason, about: 'deletion' })
    expect((await word(0, 'approve')).status).toBe(200)
    expect((await word(2, 'reject')).status).toBe(200)
    await pipeline.pass(3000)
    expect([...issuer.deleted]).toEqual([])
    await pipeline.pass(1800)
    expect([...issuer.deleted]).toEqual(['one'])
    await pipeline.pass(7200)
    expect([...issuer.deleted]).toEqual(['one'])
    expect((await word(1, 'approve')).status).toBe(200)
    await pipeline.pass(7200)
    expect([...issuer.deleted].sort()).toEqual(['one', 'two'])
    expect(issuer.alive()).toEqual([])
  })

  it('a group and a credential with a protected holder wait as well', async () => {
    const { pipeline } = await estate(1, undefined)
    const guarded = 'spiffe://example.org/protected/one'
    const lease = await pipeline.lease('guarded', { identity: guarded })
    const { case: group } = await pipeline.trigger('compromise', { kind: 'owner', id: 'alice' })
    await pipeline.settle()
    expect(pipeline.case(group).deletion).toBe('waits')
    const other = await pipeline.lease('other', { identity: 'spiffe://example.org/protected/two', owner: 'bob' })
    const { case: credential } = await pipeline.trigger('compromise', { kind: 'credential', fingerprint: other.fingerprint })
    await pipeline.settle()
    expect(pipeline.case(credential).deletion).toBe('waits')
    expect(lease.id).not.toBe(other.id)
  })

  it('a compromise that cuts more than the limit waits from the moment that its size is known', async () => {
    const pipeline = new Pipeline({ settings: { approvals: { deletionAbove: 3 } } })
    await pipeline.issuer()
    const api = operatorsApi(pipeline)
    for (let index = 0; index < 4; index += 1) await pipeline.lease(`key-${index}`)
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    expect(deletionAllowed(pipeline.case(id), undefined, instant(pipeline.now))).toBe('waits')
    expect(await heldOf(api)).toMatchObject([{ kind: 'case', waits: 'deletion', case: { id, deletion: 'waits' } }])
    expect((await api('POST', `/v1/cases/${id}/reject`, ONE, { ...reason, about: 'deletion' })).body.deletion).toBe('refused')
    expect(deletionAllowed(pipeline.case(id), undefined, instant(pipeline.now))).toBe('refused')
    expect((await api('POST', `/v1/cases/${id}/approve`, ONE, { ...reason, about: 'deletion' })).body.code).toBe('case-state')
  })
})

describe('the kill switch', () => {
  it('engaged in mid-case, nothing calls an issuer, fences still close, and all goes on afterwards', async () => {
    const pipeline = new Pipeline({ definition: fakeDefinition({ batch: 1 }) as never })
    const issuer = await pipeline.issuer()
    const api = operatorsApi(pipeline)
    for (let index = 0; index < 4; index += 1) await pipeline.lease(`key-${index}`)
    await pipeline.lease('grouped', { identity: 'spiffe://example.org/other', group: 'team' })
    await pipeline.trigger('compromise', { kind: 'identity', id: app })
    issuer.onRevoke = async () => {
      issuer.onRevoke = () => {}
      expect((await api('PUT', '/v1/control/kill-switch', VIEWER, { engaged: true, reason: 'stop' })).status).toBe(200)
    }
    await pipeline.settle()
    const { case: other } = await pipeline.trigger('compromise', { kind: 'identity', id: 'spiffe://example.org/other' })
    await pipeline.pass(900)
    expect(issuer.calls).toHaveLength(1)
    expect(issuer.contained.size).toBe(0)
    // Fenced all the same.
    expect(pipeline.case(other).fencedAt).toBeDefined()
    const waiting: ControlView = (await api('GET', '/v1/control', VIEWER)).body
    expect(waiting.killSwitch).toMatchObject({ by: VIEWER, reason: 'stop' })
    expect(waiting.waits).toMatchObject({ more: false, levers: 1, issuers: [{ issuer: 'db', levers: 1 }] })
    expect(waiting.waits.chunks).toBeGreaterThan(1)
    const chunk = pipeline.table.all().find(({ kind, state }) => kind === 'chunk' && state === 'open')
    expect(chunk?.said).toContain('the kill switch is engaged by')

    // Again changes nothing; another person needs the right to approve to release it.
    expect((await api('PUT', '/v1/control/kill-switch', ONE, { engaged: true, reason: 'me too' })).body.killSwitch.by).toBe(
      VIEWER,
    )
    const third = 'spiffe://example.org/operator/three'
    expect((await api('PUT', '/v1/control/kill-switch', third, { engaged: false, reason: 'over' })).status).toBe(200)
    expect((await api('GET', '/v1/control', VIEWER)).body).not.toHaveProperty('killSwitch')
    await pipeline.pass(900)
    expect(issuer.alive()).toEqual([])
    for (const item of pipeline.table.all().filter(({ kind }) => kind === 'case')) expect(item.state).toBe('closed')
    const spent = pipeline.table
      .all()
      .filter(({ kind }) => kind === 'chunk' || kind === 'lever')
      .map(({ attempts }) => attempts)
    expect(spent.every((attempts) => attempts === 0)).toBe(true)
    const told = pipeline.records().map(({ what }) => what)
    expect(told.filter((what) => what === 'control.kill-switch-engaged')).toHaveLength(1)
    expect(told.filter((what) => what === 'control.kill-switch-released')).toHaveLength(1)
    // Nothing failed: no breaker opened.
    expect(told).not.toContain('issuer.breaker-opened')
    expectNoGap(pipeline)
  })

  it('once it is released, the next sweep takes up what it had put off', async () => {
    const { pipeline, issuer, api } = await estate(1, undefined)
    await api('PUT', '/v1/control/kill-switch', ONE, { engaged: true, reason: 'stop' })
    await pipeline.trigger('compromise', { kind: 'identity', id: person(0) })
    await pipeline.settle()
    await api('PUT', '/v1/control/kill-switch', ONE, { engaged: false, reason: 'go' })
    await pipeline.pass(1)
    expect(issuer.alive()).toEqual([])
  })

  it('a restored table calls no issuer either, until somebody who may approve releases it', async () => {
    const { pipeline, issuer, api } = await estate(1, undefined)
    await markRestored(pipeline.table, 'an older generation', { who: 'sweep', at: instant(pipeline.now) })
    await pipeline.trigger('compromise', { kind: 'identity', id: person(0) })
    await pipeline.settle()
    expect(issuer.calls).toEqual([])
    expect((await api('GET', '/v1/control', VIEWER)).body.restored).toMatchObject({ reason: 'an older generation' })
    expect((await api('POST', '/v1/control/release', VIEWER, reason)).body.code).toBe('forbidden')
    expect((await api('POST', '/v1/control/release', ONE, reason)).body).not.toHaveProperty('restored')
    await pipeline.pass(300)
    expect(issuer.alive()).toEqual([])
  })

  it('is released by whoever engaged it, and by nobody else without the right to approve', async () => {
    const { api } = await estate(0, undefined)
    await api('PUT', '/v1/control/kill-switch', ONE, { engaged: true, reason: 'stop' })
    expect((await api('PUT', '/v1/control/kill-switch', VIEWER, { engaged: false, reason: 'go' })).body.code).toBe('forbidden')
    await api('PUT', '/v1/control/kill-switch', ONE, { engaged: false, reason: 'go' })
    await api('PUT', '/v1/control/kill-switch', VIEWER, { engaged: true, reason: 'stop' })
    expect((await api('PUT', '/v1/control/kill-switch', VIEWER, { engaged: false, reason: 'go' })).status).toBe(200)
    expect((await api('PUT', '/v1/control/kill-switch', VIEWER, { engaged: 'yes', reason: 'go' })).body.code).toBe('body-invalid')
    expect((await api('PUT', '/v1/control/kill-switch', undefined, { engaged: true, reason: 'go' })).status).toBe(401)
  })
})
