import { describe, expect, it } from 'vitest'
import type { DiscoveryView, FindingView } from '../../functions/contracts/discovery.ts'
import { DiscoveryEvent, DiscoveryView as View } from '../../functions/contracts/discovery.ts'
import type { Settings } from '../../functions/contracts/settings.ts'
import { silentOf } from '../../functions/domain/audit.ts'
import type { Lease } from '../../functions/domain/model.ts'
import { instant } from '../../functions/domain/time.ts'
import { discoveryDesk } from '../../functions/operate/discoveries.ts'
import type { Definition } from '../../functions/providers/contract.ts'
import { IssuerThrottled } from '../../functions/providers/contract.ts'
import { controlOf, engageKillSwitch, releaseKillSwitch } from '../../functions/store/control.ts'
import { declareIssuer } from '../../functions/store/issuers.ts'
import type { FakeIssuer } from '../support/fake-issuer.ts'
import { fakeDefinition } from '../support/fake-issuer.ts'
import { app, Pipeline, START, settings } from '../support/pipeline.ts'

/** What lives at an issuer beside what the table knows: found page by page, told once, and nothing touched. */

const OPERATOR = { uri: 'spiffe://example.org/operator/one', approve: true }
const NO_NAME = 'a'.repeat(26)

class Discovered extends Pipeline {
  readonly desk = discoveryDesk({ table: this.table, clock: this.clock, catalog: { fake: this.definition } })

  constructor(options: { readonly settings?: Partial<Settings>; readonly definition?: Definition } = {}) {
    super({ definition: fakeDefinition({ discovers: true }) as Definition, ...options })
  }

  start = (name = 'db') => this.desk.start(name, {}, OPERATOR)
  show = (id: string, name = 'db') => this.desk.show(name, id)

  /** Everything that one found, in its order. */
  async findings(id: string, name = 'db'): Promise<FindingView[]> {
    const all: FindingView[] = []
    let cursor: string | undefined
    do {
      const page = await this.desk.findings(name, id, { limit: 7, ...(cursor === undefined ? {} : { cursor }) })
      all.push(...page.entries)
      cursor = page.next
    } while (cursor !== undefined)
    return all
  }

  /** One discovery to its end. */
  async discover(name = 'db'): Promise<{ view: DiscoveryView; findings: FindingView[] }> {
    const { id } = await this.start(name)
    await this.pass(240)
    const view = await this.show(id, name)
    expect(View.parse(view)).toEqual(view)
    return { view, findings: await this.findings(id, name) }
  }
}

const told = ({ kind, shown }: FindingView) => `${kind} ${shown.replace('fake credential ', '').replace(/lease .*/, 'lease')}`
const all = (findings: readonly FindingView[]) => findings.map(told).sort()
/** Everything but what discoveries and messages are made of: it must stay as it is. */
const others = (pipeline: Pipeline) =>
  pipeline.table
    .all()
    .filter(({ pk, kind }) => !pk.startsWith('DISCOVERY#') && kind !== 'limiter' && kind !== 'heartbeat')
    .map((item) => JSON.stringify(item))
    .sort()

async function installation(pipeline: Discovered): Promise<{ db: FakeIssuer; lives: Lease }> {
  const db = await pipeline.issuer('db', 86_400)
  await pipeline.lease('known')
  await pipeline.lease('shared', { kind: 'static', sharing: 'shared' }, 'first-holder')
  await pipeline.lease('shared', { kind: 'static', sharing: 'shared', identity: `${app}/2` }, 'second-holder')
  await pipeline.lease('off')
  await pipeline.lease('lost')
  await pipeline.lease('long')
  await pipeline.lease('other', { target: { name: 'other', number: 1 } })
  const cut = await pipeline.lease('cut', { identity: `${app}/leaver` })
  await pipeline.trigger('compromise', { kind: 'identity', id: `${app}/leaver` })
  await pipeline.settle()
  await pipeline.pass(600)
  db.mint('shadow', undefined, 'arn:aws:iam::123456789012:user/bob')
  db.mint('admin')
  db.facts.set('admin', { own: 'it is what Rescind itself works as' })
  db.mint('asleep')
  for (const name of ['asleep', 'off']) {
    const real = db.credentials.get(name)
    if (real !== undefined) real.alive = false
  }
  db.forget('lost')
  db.resurrect('cut')
  db.facts.set('long', { expiresAt: instant(START + 30 * 86_400_000) })
  db.facts.set('other', { target: { name: 'other', number: 2 } })
  return { db, lives: pipeline.stored(cut.id) }
}

const EXPECTED = [
  'disabled off',
  'gone credential of lease',
  'outlives long',
  'own admin',
  'replaced other',
  'revived cut',
  'unregistered shadow',
]

describe('a discovery', () => {
  it('tells shadows, what is gone, and drift, each once, and touches nothing', async () => {
    const pipeline = new Discovered()
    const { db } = await installation(pipeline)
    const before = others(pipeline)
    const calls = db.calls.length
    const { view, findings } = await pipeline.discover()
    expect(all(findings)).toEqual(EXPECTED)
    expect(view).toMatchObject({
      state: 'done',
      requester: OPERATOR.uri,
      counts: { listed: 9, registered: 5, dormant: 1, unsettled: 0, unreadable: 0, leases: 7 },
      findings: { unregistered: { found: 1, kept: 1, new: 1, accepted: 0 }, gone: { found: 1, kept: 1, new: 1 } },
      truncated: false,
      withdrawn: 0,
      cleared: 0,
    })
    expect(findings.find(({ kind }) => kind === 'unregistered')).toMatchObject({
      standing: 'new',
      identity: 'arn:aws:iam::123456789012:user/bob',
    })
    expect(new Set(db.calls.slice(calls).map((call) => call.split(' ')[0]))).toEqual(new Set(['discover']))
    expect(others(pipeline)).toEqual(before)
  })

  it('is told once on the outcome bus, with what should not be honoured, and in the trail without a gap', async () => {
    const pipeline = new Discovered()
    await installation(pipeline)
    const { view } = await pipeline.discover()
    const events = pipeline.announced.filter(({ type }) => type.startsWith('io.rescind.discovery'))
    expect(events).toMatchObject([{ type: 'io.rescind.discovery.done', id: view.id, subject: 'db', data: { discovery: view } }])
    expect(
      DiscoveryEvent.parse({
        ...{ specversion: '1.0', source: 'rescind', datacontenttype: 'application/json', time: view.endedAt },
        ...{ id: events[0]?.id, type: events[0]?.type, subject: 'db', data: events[0]?.data },
      }).data.alarming.map(({ shown }) => shown),
    ).toEqual(['fake credential cut', 'fake credential shadow'])
    const records = pipeline.records().filter(({ item }) => item.key.startsWith('DISCOVERY#'))
    expect(records.map(({ what }) => what).filter((what) => !what.startsWith('finding'))).toEqual([
      'discovery.started',
      'discovery.comparing',
      'discovery.settling',
      'discovery.done',
    ])
    expect(records.filter(({ what }) => what === 'finding.new')).toHaveLength(EXPECTED.length)
    for (const [key, versions] of pipeline.versions())
      if (key.startsWith('DISCOVERY#db') && !key.includes('|STATE') && !key.includes('|SEEN'))
        expect([key, [...versions].sort((one, other) => one - other)]).toEqual([
          key,
          Array.from({ length: versions.size }, (_, index) => index + 1),
        ])
    expect(silentOf(undefined, { pk: 'a', sk: 'b', kind: 'seen', v: 1 })).toBeUndefined()
  })

  it('says what is new, what is known, and what is none any more', async () => {
    const pipeline = new Discovered()
    const db = await pipeline.issuer()
    await pipeline.lease('off')
    const off = db.credentials.get('off')
    if (off !== undefined) off.alive = false
    db.mint('shadow')
    const first = await pipeline.discover()
    expect(all(first.findings)).toEqual(['disabled off', 'unregistered shadow'])
    db.forget('shadow')
    db.mint('shade')
    const second = await pipeline.discover()
    expect(second.view).toMatchObject({
      previous: first.view.id,
      cleared: 1,
      findings: { unregistered: { found: 1, new: 1 }, disabled: { found: 1, new: 0 } },
    })
    const standing = (kind: string) => second.findings.filter((one) => one.kind === kind).map((one) => [told(one), one.standing])
    expect(standing('unregistered')).toEqual([
      ['unregistered shade', 'new'],
      ['unregistered shadow', 'cleared'],
    ])
    expect(standing('disabled')).toEqual([['disabled off', 'known']])
    const since = (findings: readonly FindingView[]) => findings.find(({ kind }) => kind === 'disabled')?.firstSeenAt
    expect(since(second.findings)).toBe(since(first.findings))
    expect(pipeline.announced.at(-1)?.data).toMatchObject({ alarming: [{ shown: 'fake credential shade' }] })
    const third = await pipeline.discover()
    expect(third.view).toMatchObject({ cleared: 0, findings: { unregistered: { found: 1, new: 0 } } })
  })

  it('lists ten thousand credentials page by page, whatever comes twice', async () => {
    const pipeline = new Discovered({ settings: { discovery: { keep: 50 } } })
    const db = await pipeline.issuer()
    for (let number = 0; number < 100; number += 1) await pipeline.lease(`known-${number}`)
    for (let number = 0; number < 9900; number += 1) db.mint(`wild-${String(number).padStart(5, '0')}`)
    for (const name of ['known-7', 'known-70']) db.forget(name)
    await pipeline.pass(60)
    pipeline.deliveries = 3
    const { view, findings } = await pipeline.discover()
    expect(view).toMatchObject({
      state: 'done',
      counts: { listed: 9998, registered: 98, leases: 100 },
      findings: { unregistered: { found: 9900, kept: 50, new: 50 }, gone: { found: 2, kept: 2, new: 2 } },
      truncated: true,
    })
    expect(findings).toHaveLength(52)
    expect(db.calls.filter((call) => call.startsWith('discover')).length).toBeGreaterThanOrEqual(20)
  })

  it('keeps what was made since the discovery before, however many old ones there are', async () => {
    const pipeline = new Discovered({ settings: { discovery: { keep: 10 } } })
    const db = await pipeline.issuer()
    for (let number = 0; number < 40; number += 1) db.mint(`old-${number}`)
    await pipeline.discover()
    for (let number = 0; number < 20; number += 1) {
      db.mint(`z-new-${String(number).padStart(2, '0')}`)
      db.facts.set(`z-new-${String(number).padStart(2, '0')}`, { createdAt: instant(pipeline.now) })
    }
    pipeline.now += 3_600_000
    const { view, findings } = await pipeline.discover()
    expect(view.findings.unregistered).toEqual({ found: 60, kept: 20, new: 10, accepted: 0 })
    expect(findings.filter(({ standing }) => standing === 'new').every(({ shown }) => shown.includes('z-new'))).toBe(true)
    expect(pipeline.announced.at(-1)?.data).toMatchObject({ alarming: Array(10).fill({ kind: 'unregistered' }) })
  })

  it('asks the table for a page at a time, however many there are', async () => {
    const pipeline = new Discovered()
    const db = await pipeline.issuer()
    for (let number = 0; number < 3000; number += 1) db.mint(`wild-${String(number).padStart(5, '0')}`)
    let most = 0
    let asked = 0
    const { getMany } = pipeline.table
    pipeline.table.getMany = async (keys) => {
      most = Math.max(most, keys.length)
      asked += 1
      return getMany.call(pipeline.table, keys)
    }
    const { view } = await pipeline.discover()
    expect(view.counts.listed).toBe(3000)
    expect(most).toBeLessThanOrEqual(500)
    expect(asked).toBeLessThan(500)
  })
})

describe('a discovery that is disturbed', () => {
  it('tells the same whichever write fails first', async () => {
    // Each write of a pass fails once, at its first try: the visit dies there and the pass goes on behind it.
    for (let fails = 1; fails <= 12; fails += 1) {
      const pipeline = new Discovered()
      const { db } = await installation(pipeline)
      db.mostListed = 3
      const { id } = await pipeline.start()
      let writes = 0
      pipeline.table.before = (operation) => {
        if (operation !== 'transact') return
        writes += 1
        if (writes === fails) throw new Error('killed before the write')
      }
      await pipeline.pass(900)
      expect([fails, all(await pipeline.findings(id))]).toEqual([fails, EXPECTED])
      expect(await pipeline.show(id)).toMatchObject({
        state: 'done',
        counts: { listed: 9, registered: 5, leases: 7 },
        findings: { unregistered: { found: 1, kept: 1 } },
      })
    }
  })

  it('counts a page once, though its answer was lost after the write', async () => {
    for (let fails = 1; fails <= 10; fails += 1) {
      const pipeline = new Discovered()
      const { db } = await installation(pipeline)
      db.mostListed = 3
      const { id } = await pipeline.start()
      const { transact } = pipeline.table
      let writes = 0
      pipeline.table.transact = async (operations) => {
        const done = await transact.call(pipeline.table, operations)
        writes += 1
        if (writes === fails) throw new Error('killed after the write')
        return done
      }
      await pipeline.pass(900)
      expect([fails, all(await pipeline.findings(id))]).toEqual([fails, EXPECTED])
      expect(await pipeline.show(id)).toMatchObject({ state: 'done', counts: { listed: 9, registered: 5, leases: 7 } })
      expect(pipeline.announced.filter(({ type }) => type === 'io.rescind.discovery.done')).toHaveLength(1)
    }
  })

  it('takes nothing for a shadow that is registered while it lists, and misses none that is minted behind it', async () => {
    const pipeline = new Discovered()
    const db = await pipeline.issuer()
    await pipeline.lease('a-first')
    await pipeline.pass(60)
    db.mint('b-late')
    db.mint('c-never')
    db.mostListed = 1
    let pages = 0
    db.onDiscover = async (from) => {
      pages += 1
      // The page that shows it has been read; its registration comes before the next one.
      if (from === 'b-late') await pipeline.lease('b-late', {}, 'registered-late')
      // Minted and registered behind the cursor: no page of this pass shows it.
      if (from === 'b-late') await pipeline.lease('a-before', {}, 'registered-behind')
    }
    const { view, findings } = await pipeline.discover()
    expect(pages).toBeGreaterThanOrEqual(3)
    expect(all(findings)).toEqual(['unregistered c-never'])
    expect(view).toMatchObject({ withdrawn: 1, findings: { unregistered: { found: 1, kept: 1 }, gone: { found: 0 } } })
  })

  it('says nothing of leases that end or are renewed while it lists', async () => {
    const pipeline = new Discovered()
    const db = await pipeline.issuer()
    for (const name of ['a', 'b', 'c']) await pipeline.lease(name)
    const given = await pipeline.lease('given-back')
    await pipeline.pass(60)
    for (const name of ['a', 'given-back']) db.forget(name)
    db.onDiscover = async () => {
      db.onDiscover = () => {}
      await pipeline.trigger('compromise', { kind: 'credential', fingerprint: pipeline.stored(given.id).fingerprint })
    }
    const { findings } = await pipeline.discover()
    expect(all(findings)).toEqual(['gone credential of lease'])
  })

  it('fails when its issuer is taken away or declared anew, and tells so', async () => {
    for (const what of ['gone', 'anew'] as const) {
      const pipeline = new Discovered()
      const db = await pipeline.issuer()
      for (const name of ['a', 'b', 'c']) db.mint(name)
      db.mostListed = 1
      db.onDiscover = async (from) => {
        if (from !== 'a') return
        if (what === 'gone') pipeline.table.lose('ISSUER#db')
        else
          await declareIssuer(
            pipeline.table,
            'db',
            { provider: 'fake', settings: {} },
            { who: 'test', at: instant(pipeline.now) },
          )
        throw new Error('the worker is killed')
      }
      const { id } = await pipeline.start()
      await pipeline.pass(600)
      const view = await pipeline.show(id)
      expect(view.state).toBe('failed')
      expect(view.said).toMatch(what === 'gone' ? /not configured/ : /declared anew/)
      expect(view.findings.gone.found).toBe(0)
      expect(pipeline.announced).toMatchObject([{ type: 'io.rescind.discovery.failed', subject: 'db' }])
    }
  })

  it('waits for an issuer that throttles or is down, spends no attempt on it, and goes on where it was', async () => {
    const pipeline = new Discovered()
    const db = await pipeline.issuer()
    for (const name of ['a', 'b', 'c', 'd']) db.mint(name)
    db.mostListed = 1
    let asked = 0
    db.onDiscover = () => {
      asked += 1
      if (asked === 2) throw new IssuerThrottled('slower', { afterSeconds: 90 })
      if (asked === 4) {
        db.down = true
        throw new Error('it went down')
      }
    }
    const { id } = await pipeline.start()
    await pipeline.pass(120)
    expect(await pipeline.show(id)).toMatchObject({ state: 'listing', said: 'slower' })
    await pipeline.pass(600)
    db.down = false
    await pipeline.pass(1800)
    expect(await pipeline.show(id)).toMatchObject({ state: 'done', counts: { listed: 4 } })
  })

  it('fails with its reason after too many tries, and after a day', async () => {
    const pipeline = new Discovered({ settings: { limits: { ...settings.limits, attempts: 3 } } })
    const db = await pipeline.issuer()
    const down = await pipeline.issuer('down')
    db.onDiscover = () => void db.discovered.push({ status: 'retry', said: 'the list is being made' })
    down.down = true
    const [one, two] = [await pipeline.start(), await pipeline.start('down')]
    await pipeline.pass(1200)
    expect(await pipeline.show(one.id)).toMatchObject({ state: 'failed', said: 'after 3 attempts: the list is being made' })
    expect(await pipeline.show(two.id, 'down')).toMatchObject({ state: 'listing', said: 'the issuer is down' })
    for (let hour = 0; hour < 25; hour += 1) {
      pipeline.now += 3_540_000
      await pipeline.pass(60)
    }
    const failed = await pipeline.show(two.id, 'down')
    expect(failed).toMatchObject({ state: 'failed', said: 'it was not over after 24 hours: the issuer is down' })
    // Another one may begin.
    expect((await pipeline.start('down')).id).not.toBe(two.id)
  })

  it('fails where the issuer cannot be listed, the list does not end, or what it lists is nonsense, and tells names alone', async () => {
    const target = { name: 'x' }
    const wrong = [
      [{ status: 'unknown', said: 'a right is missing' }, /a right is missing/],
      [{ status: 'page', listed: [], next: 'z'.repeat(9000) }, /does not come to an end/],
      [
        { status: 'page', listed: Array.from({ length: 2001 }, () => ({ target, shown: 'x', usable: true })) },
        /2001 credentials/,
      ],
    ] as const
    for (const [answer, reason] of wrong) {
      const pipeline = new Discovered()
      const db = await pipeline.issuer()
      db.discovered.push(answer)
      const { view } = await pipeline.discover()
      expect(view).toMatchObject({ state: 'failed', said: expect.stringMatching(reason) })
    }
    const pipeline = new Discovered()
    const db = await pipeline.issuer()
    db.discovered.push({
      status: 'page',
      listed: [
        { target: { name: 7 } as never, shown: 'no name', usable: true },
        { target, shown: `x\u0000\n${'y'.repeat(2000)}`, usable: true, createdAt: 'yesterday', expiresAt: 'infinity' },
        { target, shown: 'the same again', usable: true },
      ],
    })
    const { view, findings } = await pipeline.discover()
    expect(view.counts).toMatchObject({ listed: 3, unreadable: 1 })
    expect(findings).toHaveLength(1)
    expect(findings[0]?.shown).toHaveLength(512)
    expect(findings[0]?.shown).not.toMatch(/\p{Cc}/u)
    expect(findings[0]).not.toHaveProperty('createdAt')
  })

  it('leaves what cannot be read alone, keeps it, and goes on', async () => {
    const pipeline = new Discovered()
    const db = await pipeline.issuer()
    const broken = await pipeline.lease('broken')
    await pipeline.pass(60)
    db.mint('shadow')
    const item = pipeline.stored(broken.id)
    // Behind everybody's back, as a later version of this code would have written it.
    pipeline.table.items.get(item.pk)?.set(item.sk, { ...item, schema: 9 } as never)
    const { view, findings } = await pipeline.discover()
    expect(all(findings)).toEqual(['unregistered shadow'])
    expect(view.counts).toMatchObject({ listed: 2, unreadable: 1 })
    expect(pipeline.counted.some((line) => line.startsWith('Quarantined lease-unreadable'))).toBe(true)
  })
})

describe('who may be disturbed by a discovery', () => {
  it('nobody while the kill switch is engaged; it goes on where it was', async () => {
    const pipeline = new Discovered()
    const db = await pipeline.issuer()
    for (const name of ['a', 'b', 'c']) db.mint(name)
    db.mostListed = 1
    const by = { who: 'test', at: instant(pipeline.now) }
    db.onDiscover = async (from) => {
      if (from === 'a') await engageKillSwitch(pipeline.table, 'a drill', by)
    }
    const { id } = await pipeline.start()
    await pipeline.pass(600)
    const calls = db.calls.length
    expect(calls).toBe(2)
    expect(await pipeline.show(id)).toMatchObject({ state: 'listing', said: expect.stringContaining('the kill switch') })
    db.onDiscover = () => {}
    await releaseKillSwitch(pipeline.table, await controlOf(pipeline.table), by)
    await pipeline.pass(600)
    expect(await pipeline.show(id)).toMatchObject({ state: 'done', counts: { listed: 3 } })
    expect(db.calls).toHaveLength(3)
  })

  it('reads in mode observe as in any other', async () => {
    const pipeline = new Discovered({ settings: { modes: { default: 'observe', rules: [] } } })
    await installation(pipeline)
    const { findings } = await pipeline.discover()
    // In this mode the leaver's credential was never cut: it is a live lease like any other.
    expect(all(findings)).toEqual(EXPECTED.filter((one) => one !== 'revived cut'))
  })

  it('nobody is called disabled whom a fence of ours explains', async () => {
    const pipeline = new Discovered()
    const db = await pipeline.issuer()
    const held = await pipeline.lease('held', { group: 'team' })
    await pipeline.lease('off', { identity: `${app}/2` })
    await pipeline.pass(60)
    db.contained.add('team')
    const off = db.credentials.get('off')
    if (off !== undefined) off.alive = false
    // Its case has fenced it and pulled its lever, and not come to its leases yet.
    await pipeline.table.write({
      update: { pk: `ID#${pipeline.stored(held.id).identityKey}`, sk: 'META' },
      set: [['fencedThrough', 1]],
    })
    expect(all((await pipeline.discover()).findings)).toEqual(['disabled off'])
  })

  it('is last in its lane: it stands back while much waits there', async () => {
    const pipeline = new Discovered()
    const db = await pipeline.issuer()
    db.mint('a')
    const { id } = await pipeline.start()
    for (let waiting = 0; waiting < 1500; waiting += 1)
      pipeline.messages.push({ queue: 'work-fake-p2', body: {}, receiveCount: 0, notBefore: pipeline.now + 86_400_000 })
    await pipeline.pass(180)
    expect(await pipeline.show(id)).toMatchObject({ state: 'listing', said: 'other work of the lane goes first' })
    expect(db.calls).toEqual([])
    pipeline.messages.length = 0
    await pipeline.pass(300)
    expect(await pipeline.show(id)).toMatchObject({ state: 'done' })
  })
})

describe('when discoveries run', () => {
  it('one at a time for each issuer, whoever asks', async () => {
    const pipeline = new Discovered()
    await pipeline.issuer()
    const [one, two] = await Promise.all([pipeline.start(), pipeline.start()])
    expect(one.id).toBe(two.id)
    expect((await pipeline.start()).id).toBe(one.id)
    await pipeline.pass(240)
    const next = await pipeline.start()
    expect(next.id).not.toBe(one.id)
    expect((await pipeline.desk.list('db', { limit: 50 })).entries.map(({ id }) => id)).toEqual([next.id, one.id])
  })

  it('though the mark names one that is not there any more', async () => {
    const pipeline = new Discovered({ settings: { discovery: { everySeconds: 3600 } } })
    await pipeline.issuer()
    const lost = await pipeline.start()
    pipeline.table.expire({ pk: 'DISCOVERY#db', sk: `RUN#${lost.id}` })
    pipeline.now += 1000
    const next = await pipeline.start()
    expect(next.id).not.toBe(lost.id)
    pipeline.table.expire({ pk: 'DISCOVERY#db', sk: `RUN#${next.id}` })
    await pipeline.pass(7200)
    expect((await pipeline.desk.list('db', { limit: 9 })).entries).toEqual([])
    pipeline.now += 2 * 86_400_000
    await pipeline.pass(240)
    expect((await pipeline.desk.list('db', { limit: 9 })).entries).toMatchObject([{ state: 'done', requester: 'sweep' }])
  })

  it('by schedule: as the issuer says, else as the configuration says; never where it says 0 or its provider cannot list', async () => {
    const pipeline = new Discovered({ settings: { discovery: { everySeconds: 7200 } } })
    const by = { who: 'test', at: instant(pipeline.now) }
    for (const name of ['usual', 'often', 'never']) await pipeline.issuer(name)
    const declaration = { provider: 'fake', settings: {} }
    await declareIssuer(pipeline.table, 'often', { ...declaration, discoverEverySeconds: 3600 }, by)
    await declareIssuer(pipeline.table, 'never', { ...declaration, discoverEverySeconds: 0 }, by)
    await pipeline.pass(86_400)
    const runs = async (name: string) => (await pipeline.desk.list(name, { limit: 200 })).entries
    const [usual, often] = [await runs('usual'), await runs('often')]
    for (const one of [...usual, ...often]) expect(one).toMatchObject({ state: 'done', requester: 'sweep' })
    expect(usual.length).toBeGreaterThanOrEqual(12)
    expect(usual.length).toBeLessThanOrEqual(14)
    expect(often.length).toBeGreaterThanOrEqual(24)
    expect(often.length).toBeLessThanOrEqual(26)
    expect(await runs('never')).toEqual([])

    const silent = new Discovered({ definition: fakeDefinition() as Definition, settings: { discovery: { everySeconds: 3600 } } })
    await silent.issuer()
    await silent.pass(7200)
    expect((await silent.desk.list('db', { limit: 10 })).entries).toEqual([])
    await expect(silent.start()).rejects.toMatchObject({ code: 'discovery-refused' })
  })

  it('follow one another where many issuers were never listed', async () => {
    const pipeline = new Discovered({ settings: { discovery: { everySeconds: 86_400 } } })
    for (let number = 0; number < 35; number += 1) await pipeline.issuer(`db-${number}`)
    await pipeline.sweep()
    const running = () => pipeline.table.all().filter(({ kind }) => kind === 'discovery').length
    expect(running()).toBe(10)
    await pipeline.pass(180)
    expect(running()).toBe(35)
  })
})

describe('what is as it should be', () => {
  it('is listed as accepted, of this incarnation, until its time is over or somebody takes it back', async () => {
    const pipeline = new Discovered()
    const db = await pipeline.issuer()
    db.mint('legacy')
    db.mint('shadow')
    const first = await pipeline.discover()
    const legacy = first.findings.find(({ shown }) => shown.endsWith('legacy'))?.fingerprint ?? ''
    const accept = { decision: 'accept' as const, kind: 'unregistered' as const, reason: 'the old batch job, until it moves' }
    const until = instant(pipeline.now + 7 * 86_400_000)
    expect(await pipeline.desk.decide('db', legacy, { ...accept, until }, OPERATOR)).toMatchObject({
      accepted: { by: OPERATOR.uri, reason: accept.reason, until },
    })
    const accepted = (findings: readonly FindingView[]) => findings.filter((one) => one.accepted !== undefined).map(told)
    expect(accepted(await pipeline.findings(first.view.id))).toEqual(['unregistered legacy'])
    const second = await pipeline.discover()
    expect(accepted(second.findings)).toEqual(['unregistered legacy'])
    expect(second.view.findings.unregistered).toEqual({ found: 2, kept: 2, new: 0, accepted: 1 })

    // Another incarnation of the name is another finding.
    db.facts.set('legacy', { target: { name: 'legacy', number: 2 } })
    expect(accepted((await pipeline.discover()).findings)).toEqual([])
    db.facts.delete('legacy')
    pipeline.now += 8 * 86_400_000
    await pipeline.pass(60)
    expect(accepted((await pipeline.discover()).findings)).toEqual([])

    await pipeline.desk.decide('db', legacy, accept, OPERATOR)
    const withdraw = { decision: 'withdraw' as const, kind: 'unregistered' as const, reason: 'it has moved' }
    expect(await pipeline.desk.decide('db', legacy, withdraw, OPERATOR)).toEqual({ withdrawn: true })
    expect(await pipeline.desk.decide('db', legacy, withdraw, OPERATOR)).toEqual({ withdrawn: false })
    expect(accepted((await pipeline.discover()).findings)).toEqual([])
    const records = pipeline.records().map(({ what }) => what)
    expect(records.filter((what) => what.startsWith('finding.accept'))).toEqual([
      'finding.accepted',
      'finding.accepted',
      'finding.acceptance-withdrawn',
    ])
    await expect(pipeline.desk.decide('db', NO_NAME, accept, OPERATOR)).rejects.toMatchObject({ code: 'not-found' })
    await expect(
      pipeline.desk.decide('db', legacy, { ...accept, until: instant(pipeline.now - 1) }, OPERATOR),
    ).rejects.toMatchObject({ code: 'time-out-of-range' })
  })

  it('and what is not becomes a case by its name', async () => {
    const pipeline = new Discovered()
    const db = await pipeline.issuer()
    db.mint('shadow')
    const { findings } = await pipeline.discover()
    expect(all(findings)).toEqual(['unregistered shadow'])
    await pipeline.trigger('compromise', { kind: 'credential-name', name: 'fake:shadow', issuer: 'db' })
    await pipeline.settle()
    expect(db.alive()).toEqual([])
    await pipeline.pass(600)
    expect((await pipeline.discover()).view).toMatchObject({ cleared: 1, findings: { unregistered: { found: 0 } } })
  })
})
