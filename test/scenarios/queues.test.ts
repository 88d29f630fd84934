import { describe, expect, it } from 'vitest'
import type { DeadLetterQueueView, DeadLetterView, RedriveAnswer } from '../../functions/contracts/dead-letter.ts'
import { revokeWorker } from '../../functions/revoke/worker.ts'
import type { Item } from '../../functions/store/table.ts'
import { ONE, operatorsApi, VIEWER } from '../support/api.ts'
import { MemoryDeadLetters } from '../support/dead-letters.ts'
import { app, Pipeline } from '../support/pipeline.ts'

const DAY = 86_400
const quarantined = (pipeline: Pipeline) =>
  pipeline.table
    .all()
    .filter(({ kind }) => kind === 'quarantine')
    .map(({ reason }) => String(reason).split(':')[0])

const chunksOf = (pipeline: Pipeline, id: string): Item[] =>
  pipeline.table.all().filter(({ kind, case: of }) => kind === 'chunk' && of === id)

/** Changes an item behind everybody's back, as an older version or a foreign hand would have written it. */
function spoil(pipeline: Pipeline, item: Item | undefined, change: (item: Item) => Item): void {
  if (item === undefined) throw new Error('no such item')
  pipeline.table.load(pipeline.table.all().map((one) => (one.pk === item.pk && one.sk === item.sk ? change(item) : one)))
}
const without =
  (...names: string[]) =>
  (item: Item) => ({
    ...Object.fromEntries(Object.entries(item).filter(([name]) => !names.includes(name))),
    pk: item.pk,
    sk: item.sk,
  })

describe('what can never be handled', () => {
  it('is not met where nothing is wrong', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    pipeline.deliveries = 2
    await pipeline.lease('a')
    await pipeline.lease('b', { group: 'g' })
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.pass(600)
    expect(pipeline.case(id).state).toBe('closed')
    expect(pipeline.counted).toEqual([])
  })

  it.each(['plan-p0', 'work-fake-p0'])('a message of %s whose case is gone is one entry, counted each time', async (queue) => {
    const pipeline = new Pipeline()
    const body = queue.startsWith('plan')
      ? { v: 1, kind: 'plan', case: 'a'.repeat(26) }
      : { v: 1, kind: 'chunk', case: 'a'.repeat(26), progress: 'identity#x#0', chunk: '000001', issuer: 'db' }
    await pipeline.queues.send(queue, [{ body }, { body }])
    await pipeline.settle()
    const reason = queue.startsWith('plan') ? 'case-gone' : 'chunk-gone'
    expect(pipeline.counted).toEqual([`Quarantined ${reason}`, `Quarantined ${reason}`])
    expect(quarantined(pipeline)).toEqual([reason])
    expect(pipeline.records().filter(({ what }) => what === 'event.quarantined')).toHaveLength(1)
    expect(pipeline.messages).toEqual([])
  })

  it('chunks whose case is gone are set aside by the sweeper, daily, and hold up no other', async () => {
    const pipeline = new Pipeline()
    const issuer = await pipeline.issuer()
    await pipeline.lease('lost')
    const { case: lost } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
    await pipeline.step()
    pipeline.messages.length = 0
    const chunk = chunksOf(pipeline, lost)[0]
    pipeline.table.load(pipeline.table.all().filter(({ pk, sk }) => !(pk === `CASE#${lost}` && sk === 'CASE')))
    await pipeline.lease('other', { identity: 'spiffe://example.org/other' })
    const { case: other } = await pipeline.trigger('compromise', { kind: 'identity', id: 'spiffe://example.org/other' })
    // The other's messages are lost: it lives from the sweeper alone.
    await pipeline.step()
    pipeline.messages.length = 0
    await pipeline.pass(1200)
    expect(pipeline.case(other).state).toBe('closed')
    expect(issuer.alive()).toEqual(['lost'])
    expect(quarantined(pipeline)).toEqual(['case-gone'])
    expect(pipeline.counted).toEqual(['Quarantined case-gone'])
    const later = pipeline.table.items.get(chunk?.pk ?? '')?.get(chunk?.sk ?? '')
    expect(Date.parse(String(later?.dueAt)) - pipeline.now).toBeGreaterThan((DAY - 1200) * 1000)
  })

  it('a lease of an older schema keeps its chunk open; the others of it are cut; mended, the case closes', async () => {
    const pipeline = new Pipeline()
    const issuer = await pipeline.issuer()
    await pipeline.lease('a')
    const odd = await pipeline.lease('odd')
    await pipeline.lease('c')
    // One chunk for all three: they lie in different shards, so the case may have several; only the odd one's waits.
    const item = pipeline.table.all().find(({ kind, id }) => kind === 'lease' && id === odd.id)
    spoil(pipeline, item, without('state'))
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.settle()
    await pipeline.pass(300)
    expect(issuer.alive()).toEqual(['odd'])
    expect(pipeline.case(id).state).not.toBe('closed')
    expect(quarantined(pipeline)).toEqual(['lease-unreadable'])
    const now = pipeline.table.all().find(({ kind, id: of }) => kind === 'lease' && of === odd.id)
    spoil(pipeline, now, (found) => ({ ...found, state: 'live' }))
    await pipeline.pass(2 * 3600)
    expect(issuer.alive()).toEqual([])
    expect(pipeline.case(id).state).toBe('closed')
  })

  it('an item of a later schema at the head of what is due is set aside, and what is behind it goes on', async () => {
    const pipeline = new Pipeline()
    const issuer = await pipeline.issuer()
    await pipeline.lease('first')
    const { case: first } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.step()
    await pipeline.lease('second', { identity: 'spiffe://example.org/second' })
    const { case: second } = await pipeline.trigger('compromise', { kind: 'identity', id: 'spiffe://example.org/second' })
    await pipeline.step((messages) => messages.findIndex(({ queue }) => queue.startsWith('plan-')))
    pipeline.messages.length = 0
    spoil(pipeline, chunksOf(pipeline, first)[0], (item) => ({ ...item, schema: 2 }))
    await pipeline.pass(900)
    expect(pipeline.case(second).state).toBe('closed')
    expect(issuer.alive()).toEqual(['first'])
    expect(quarantined(pipeline)).toEqual(['item-unreadable'])
    // A day later the newer code has been put back, or somebody mended it.
    spoil(pipeline, chunksOf(pipeline, first)[0], without('schema'))
    await pipeline.pass(DAY + 120)
    expect(pipeline.case(first).state).toBe('closed')
    expect(issuer.alive()).toEqual([])
  })

  it('one case that cannot be read whole holds up no other at the sweep', async () => {
    const pipeline = new Pipeline()
    const issuer = await pipeline.issuer()
    await pipeline.lease('first')
    const { case: first } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.step()
    await pipeline.lease('second', { identity: 'spiffe://example.org/second' })
    const { case: second } = await pipeline.trigger('compromise', { kind: 'identity', id: 'spiffe://example.org/second' })
    pipeline.messages.length = 0
    const unit = pipeline.table.all().find(({ kind, case: of }) => kind === 'unit' && of === first)
    spoil(pipeline, unit, without('state'))
    await pipeline.pass(900)
    expect(pipeline.case(second).state).toBe('closed')
    expect(issuer.works('second')).toBe(false)
    expect(quarantined(pipeline)).toContain('item-unreadable')
  })
})

describe('dead letters', () => {
  async function stuck() {
    const pipeline = new Pipeline()
    const issuer = await pipeline.issuer()
    pipeline.mostReceives = 3
    await pipeline.lease('a')
    // A defect: whatever the worker does with the table fails.
    const deadLetters = new MemoryDeadLetters(pipeline)
    const api = operatorsApi(pipeline, { deadLetters })
    const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
    await pipeline.step()
    pipeline.replaceWorker(() => async () => {
      throw new Error('a defect')
    })
    for (let tries = 0; tries < 4; tries += 1) {
      await pipeline.settle()
      pipeline.now += 40_000
    }
    expect(pipeline.messages).toEqual([])
    expect(pipeline.dead).toHaveLength(1)
    return { pipeline, issuer, deadLetters, api, id }
  }
  const list = async (api: Awaited<ReturnType<typeof stuck>>['api']) =>
    ((await api('GET', '/v1/dead-letters', ONE)).body as { entries: DeadLetterQueueView[] }).entries
  const show = async (api: Awaited<ReturnType<typeof stuck>>['api'], queue: string) =>
    ((await api('GET', `/v1/dead-letters/${queue}`, ONE)).body as { entries: DeadLetterView[] }).entries
  const redrive = (api: Awaited<ReturnType<typeof stuck>>['api'], queue: string, caller = ONE) =>
    api('POST', `/v1/dead-letters/${queue}/redrive`, caller, { reason: 'the defect is mended' })
  const mend = (pipeline: Pipeline) => pipeline.replaceWorker((ports) => revokeWorker(pipeline.module, ports))

  it('are listed, shown with what their work says, and can be looked at again', async () => {
    const { api, id } = await stuck()
    expect((await list(api))[0]).toMatchObject({ queue: 'work-fake-p0-dead', messages: 1 })
    for (let look = 0; look < 2; look += 1)
      expect(await show(api, 'work-fake-p0-dead')).toMatchObject([
        { kind: 'chunk', case: id, issuer: 'db', over: false, says: expect.stringContaining('no worker has finished a visit') },
      ])
    expect((await api('GET', '/v1/dead-letters/none-dead', ONE)).status).toBe(404)
    expect((await api('GET', '/v1/dead-letters', undefined)).status).toBe(401)
  })

  it('are driven back by whoever may approve, and the ledger says by whom and why', async () => {
    const { pipeline, issuer, api, id } = await stuck()
    expect((await redrive(api, 'work-fake-p0-dead', VIEWER)).status).toBe(403)
    mend(pipeline)
    const answer = (await redrive(api, 'work-fake-p0-dead')).body as RedriveAnswer
    expect(answer).toEqual({ queue: 'work-fake-p0-dead', redriven: 1, settled: 0, left: 0 })
    await pipeline.settle()
    expect(issuer.alive()).toEqual([])
    expect(pipeline.case(id).state).toBe('closed')
    const told = pipeline.records().filter(({ what }) => what.startsWith('dead-letters.'))
    expect(told).toMatchObject([
      { what: 'dead-letters.redrive-began', who: ONE, why: 'the defect is mended', facts: { queue: 'work-fake-p0-dead' } },
      { what: 'dead-letters.redriven', who: ONE, facts: { redriven: '1', settled: '0' } },
    ])
  })

  it('a crash between sending back and taking out doubles a message, and loses none', async () => {
    const { pipeline, issuer, deadLetters, api, id } = await stuck()
    mend(pipeline)
    deadLetters.before = (step) => {
      if (step === 'remove') throw new Error('crash')
    }
    expect((await redrive(api, 'work-fake-p0-dead')).status).toBe(500)
    deadLetters.before = () => {}
    expect(pipeline.dead).toHaveLength(1)
    expect(pipeline.messages).toHaveLength(1)
    pipeline.now += 61_000
    expect((await redrive(api, 'work-fake-p0-dead')).body).toMatchObject({ redriven: 1, left: 0 })
    await pipeline.settle()
    expect(issuer.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 1 } })
    expect(pipeline.records().filter(({ what }) => what === 'dead-letters.redrive-began')).toHaveLength(2)
  })

  it('the same message many times over is sent back once', async () => {
    const { pipeline, deadLetters, api } = await stuck()
    const body = pipeline.dead[0]?.body
    for (let copy = 0; copy < 24; copy += 1) deadLetters.put('work-fake-p0-dead', body)
    mend(pipeline)
    expect((await redrive(api, 'work-fake-p0-dead')).body).toEqual({
      queue: 'work-fake-p0-dead',
      redriven: 1,
      settled: 24,
      left: 0,
    })
    expect(pipeline.messages).toHaveLength(1)
  })

  it('a foreign message is told as one, and driven back ends in quarantine', async () => {
    const { pipeline, deadLetters, api } = await stuck()
    deadLetters.put('plan-p1-dead', { secret: 'hunter2' })
    const shown = await show(api, 'plan-p1-dead')
    expect(shown).toMatchObject([{ kind: 'foreign' }])
    expect(JSON.stringify(shown)).not.toContain('hunter2')
    expect((await redrive(api, 'plan-p1-dead')).body).toMatchObject({ redriven: 1 })
    expect(pipeline.messages).toMatchObject([{ queue: 'plan-p1' }])
  })

  it('what came from no queue is not driven back, and says so', async () => {
    const { pipeline, deadLetters, api } = await stuck()
    deadLetters.put('close-dead', { requestContext: { condition: 'RetryAttemptsExhausted' } })
    expect((await redrive(api, 'close-dead')).body).toMatchObject({ code: 'redrive-refused' })
    expect((await list(api)).find(({ queue }) => queue === 'close-dead')?.messages).toBe(1)
    const body = { reason: 'looked through', giveUp: true }
    expect((await api('POST', '/v1/dead-letters/close-dead/redrive', VIEWER, body)).status).toBe(403)
    const given = await api('POST', '/v1/dead-letters/close-dead/redrive', ONE, body)
    expect(given.body).toEqual({ queue: 'close-dead', redriven: 0, settled: 1, left: 0 })
    await pipeline.stream()
    expect(pipeline.records().filter(({ what }) => what === 'dead-letters.redriven')).toMatchObject([
      { who: ONE, why: 'looked through', facts: { queue: 'close-dead', settled: '1' } },
    ])
  })

  it('ticks of the sweeper are taken out once a later sweep has ended, and not before', async () => {
    const { pipeline, deadLetters, api } = await stuck()
    deadLetters.put('sweep-dead', {})
    expect((await redrive(api, 'sweep-dead')).body).toMatchObject({ redriven: 0, settled: 0, left: 1 })
    mend(pipeline)
    await pipeline.pass(120)
    expect((await redrive(api, 'sweep-dead')).body).toMatchObject({ redriven: 0, settled: 1, left: 0 })
  })

  it('what expires there after 14 days is rebuilt from the table', async () => {
    const { pipeline, issuer, id } = await stuck()
    // Every message that the sweeper sends dies as well; then SQS forgets them all, one by one.
    for (let day = 0; day < 15; day += 1) {
      for (let hour = 0; hour < 24; hour += 6) {
        pipeline.now += 6 * 3_600_000
        await pipeline.sweep()
        for (let tries = 0; tries < 4; tries += 1) {
          await pipeline.settle()
          pipeline.now += 40_000
        }
      }
    }
    expect(pipeline.dead.length).toBeGreaterThan(14)
    pipeline.dead.length = 0
    pipeline.messages.length = 0
    expect(issuer.alive()).toEqual(['a'])
    mend(pipeline)
    await pipeline.pass(2 * 3600)
    expect(issuer.alive()).toEqual([])
    expect(pipeline.case(id)).toMatchObject({ state: 'closed' })
  })
})

describe('the trail', () => {
  it('goes on past a change that nobody can tell, and says that it could not', async () => {
    const pipeline = new Pipeline()
    await pipeline.issuer()
    const lease = await pipeline.lease('a')
    await pipeline.settle()
    const found = pipeline.table.all().find(({ kind, id }) => kind === 'lease' && id === lease.id)
    if (found === undefined) throw new Error('no lease')
    // Its outcomes are no map: whoever tells of it fails.
    const odd: Item = { ...found, outcomes: null, claims: null }
    pipeline.table.changes.push({ sequence: '9'.repeat(21), before: { ...odd, v: 77 }, after: { ...odd, v: 78 } })
    await pipeline.stream()
    const [unread] = [...pipeline.archived.values()].filter((body) => body.includes('"unreadable":true'))
    expect(unread).toContain('"version":78')
    expect(pipeline.versions().get(`${found.pk}|${found.sk}`)).toContain(78)
  })
})
