import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { CampaignView, Held } from '../../functions/contracts/campaign.ts'
import type { IdentityView } from '../../functions/contracts/identity.ts'
import type { CaseLease, ObservedCase } from '../../functions/contracts/observed.ts'
import type { OutageView } from '../../functions/contracts/outage.ts'
import type { PlanView } from '../../functions/contracts/plan.ts'
import type { LeftBehind } from '../../functions/contracts/restoration.ts'
import type { EstateOptions, Person } from '../support/estate.ts'
import { DOMAIN, Estate } from '../support/estate.ts'
import { Issuers, NOT_PERMITTED } from '../support/issuers.ts'

/**
 * Safe to switch on, safe on the worst day, safe to undo: the stories by which that is judged, over the public API, at
 * a real PostgreSQL server and a real OAuth server. Only the clock and the table are ours.
 */

let issuers: Issuers
const estates: Estate[] = []

beforeAll(async () => {
  issuers = await Issuers.start()
}, 120_000)

afterEach(async () => {
  for (const estate of estates.splice(0)) estate.close()
  await issuers.hangUp()
})

afterAll(async () => {
  await issuers?.stop()
})

async function open(options: EstateOptions = {}): Promise<Estate> {
  const estate = await Estate.open(issuers, options)
  estates.push(estate)
  return estate
}

/**
 * As many credentials as one leak may hold. Each of them is a real role, cut by a call of its own. The test command takes two thousand, because ten thousand keep two
 * cores busy for about six minutes: `STORY_LEAKS=10000 npx vitest run test/scenarios/stories.test.ts`.
 */
const LEAKS = Number(process.env.STORY_LEAKS ?? 2_000)

/** Asks for a restoration and waits for its end. */
async function restored(estate: Estate, path: string, body: Readonly<Record<string, unknown>> = {}): Promise<void> {
  const { id } = await estate.call<{ id: string }>('POST', path, 'ana', { reason: 'a false alarm', ...body })
  await estate.until(async () => (await estate.call<{ state: string }>('GET', `/v1/restorations/${id}`, 'ana')).state === 'done')
}

const workload = (name: string) => `${DOMAIN}/workload/${name}`

describe('safe to switch on, safe on the worst day, safe to undo', () => {
  it('An unregistered live key is pasted: contained within seconds, or the searched issuers are named', async () => {
    const estate = await open()
    const held = await issuers.mintRole('managed')
    const session = await held.open()
    const { host, port, database } = issuers.postgres
    const pasted = `postgresql://${held.role}:${held.password}@${host}:${port}/${database}`
    const paste = async (text: string) => {
      const { credentials } = await estate.report({ reason: 'found in a public repository', credentials: [{ text }] })
      return credentials[0]?.case ?? ''
    }

    const began = performance.now()
    const found = await paste(pasted)
    await estate.until(async () => (await held.login()) !== undefined, 120)
    expect(performance.now() - began).toBeLessThan(10_000)
    expect([await held.login(), await session.alive()]).toEqual([NOT_PERMITTED, false])
    const closed = await estate.closed(found)
    // One server under two names: whoever is asked there finds it, and both cut it.
    expect(closed).toMatchObject({ type: 'compromise', amendments: { done: 2, outcomes: { revoked: 2 } } })
    expect(closed.asked.map(({ issuer, state }) => [issuer, state])).toEqual([
      ['managed', 'found'],
      ['orders', 'found'],
    ])

    const nobody = issuers.name('nobody')
    const unknown = await paste(`postgresql://${nobody}:${held.password}x@${host}:${port}/${database}`)
    expect(await estate.closed(unknown)).toMatchObject({ empty: true })
    expect((await estate.case(unknown)).asked.map(({ issuer, state }) => [issuer, state])).toEqual([
      ['managed', 'unknown'],
      ['orders', 'unknown'],
    ])
    estate.expectNowhere(held.password)
  })

  it('Ten thousand leaks and one person on call: all contained, deletion awaits one approval', {
    timeout: 1_800_000,
  }, async () => {
    const estate = await open({ workers: 24, soakSeconds: 60 })
    const leaked = await issuers.mintRoles('orders', LEAKS)
    for (const [index, held] of leaked.entries())
      await estate.registerRole(held, { identity: workload(`leaked-${index % 500}`), owner: 'leaks' })
    const sample = leaked.filter((_, index) => index % (LEAKS / 20) === 7)
    const sessions = await Promise.all(sample.map((held) => held.open()))
    const { host, port, database } = issuers.postgres

    // What a scanner found in one place, pasted as it was found: as many as a report takes, under one name.
    for (let at = 0; at < LEAKS; at += 500)
      await estate.report({
        reason: 'found in a public bucket',
        campaign: 'bucket-4711',
        credentials: leaked.slice(at, at + 500).map(({ role, password }) => ({
          text: `postgresql://${role}:${password}@${host}:${port}/${database}`,
          issuer: 'orders',
        })),
      })
    await estate.settle()
    expect(await issuers.count(leaked)).toEqual({ exist: LEAKS, login: 0 })
    expect(await issuers.restorable(leaked)).toBe(LEAKS)
    for (const held of sample) expect(await held.login()).toBe(NOT_PERMITTED)
    expect(await Promise.all(sessions.map((session) => session.alive()))).toEqual(sample.map(() => false))
    estate.expectNowhere(leaked[0]?.password ?? '')

    // The soak time is over, and nothing is deleted before somebody else has looked, once.
    await estate.pass(180)
    expect(await issuers.count(leaked)).toEqual({ exist: LEAKS, login: 0 })
    const campaigns = (await estate.list<CampaignView>('/v1/campaigns')).filter(({ name }) => name === 'bucket-4711')
    expect(campaigns).toMatchObject([{ kind: 'report', source: 'soc', decisions: [] }])
    const path = `/v1/campaigns/${campaigns[0]?.id}`
    expect(await estate.call('GET', path, 'ana')).toMatchObject({ cases: { byState: { closed: expect.any(Number) } } })
    const approve = (who: Person) => estate.call('POST', `${path}/approve`, who, { reason: 'all of them are to go' })
    expect(await estate.refusal(approve('ana'))).toMatchObject({ code: 'forbidden' })
    await approve('ben')
    // What waits for an approval is looked at again each hour: that hour is skipped.
    estate.outage(3600)
    await estate.until(async () => (await issuers.count(leaked)).exist === 0, 2 * 3600)
  })

  it('A cut owner of tables is restored within the soak: the old password works, the tables are intact; the same with an admin role that is no superuser', async () => {
    const estate = await open({ soakSeconds: 7200 })
    for (const issuer of ['orders', 'managed'] as const) {
      const leaver = issuers.name('leaver')
      const [kept, lost, spare] = [await issuers.mintRole(issuer), await issuers.mintRole(issuer), await issuers.mintRole(issuer)]
      const sessions = [await kept.open(), await lost.open()]
      for (const [index, { role }] of [kept, lost].entries())
        await sessions[index]?.client.query(
          `CREATE TABLE estate."${role}" (n int PRIMARY KEY); INSERT INTO estate."${role}" SELECT generate_series(1, 1000)`,
        )
      const lease = await estate.registerRole(kept, { identity: workload(kept.role), owner: leaver })
      const parked = await estate.registerRole(lost, { identity: workload(lost.role), owner: leaver })
      const deleted = await estate.registerRole(spare, { identity: workload(spare.role), owner: leaver })

      const { case: id } = await estate.offboard({ kind: 'owner', id: leaver })
      expect(await estate.closed(id)).toMatchObject({ outcomes: { revoked: 3 } })
      for (const held of [kept, lost, spare]) expect(await held.login()).toBe(NOT_PERMITTED)
      expect(await Promise.all(sessions.map((session) => session.alive()))).toEqual([false, false])

      await estate.pass(3600)
      await restored(estate, `/v1/leases/${lease.id}/restore`)
      expect([await kept.login(), await lost.login()]).toEqual([undefined, NOT_PERMITTED])
      expect(await estate.lease(lease.id)).toMatchObject({ state: 'live' })
      const again = await kept.open()
      await again.client.query(`INSERT INTO estate."${kept.role}" VALUES (1001)`)
      expect((await again.client.query(`SELECT count(*)::int AS count FROM estate."${kept.role}"`)).rows).toEqual([
        { count: 1001 },
      ])
      const recorded = (await estate.audit(`lease=${lease.id}`)).map(({ what, who }) => [what, who])
      expect(recorded).toContainEqual(expect.arrayContaining([expect.stringContaining('restor')]))

      // What was given back is not deleted when the soak time is over; what owns tables and has no heir never is.
      await estate.pass(2 * 3600)
      expect([await kept.login(), await again.alive(), await lost.login()]).toEqual([undefined, true, NOT_PERMITTED])
      const owned = await issuers.as('orders').query(`SELECT count(*)::int AS count FROM estate."${lost.role}"`)
      expect(owned.rows).toEqual([{ count: 1000 }])
      const left = (await estate.list<LeftBehind>('/v1/tidy')).filter((one) => one.lease === parked.id)
      expect(left).toMatchObject([{ case: id, issuer, said: expect.stringContaining('no heir') }])
      // What owns nothing is gone by now, and cannot be given back.
      expect(await issuers.count([spare])).toEqual({ exist: 0, login: 0 })
      const late = estate.call('POST', `/v1/leases/${deleted.id}/restore`, 'ana', { reason: 'too late' })
      expect(await estate.refusal(late)).toMatchObject({ status: 409, code: 'restore-refused' })
    }
  })

  it('Two jobs share a session name: one ends, the other goes on', async () => {
    const estate = await open()
    const runner = await issuers.mintRole('orders')
    const job = async (task: string, applicationName: string, one: { readonly exact: boolean }) => {
      const session = await runner.open(applicationName)
      const { rows } = await session.client.query<{ pid: number; at: string }>(
        `SELECT pid, to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at
           FROM pg_stat_activity WHERE pid = pg_backend_pid()`,
      )
      const named = one.exact ? { pid: rows[0]?.pid, startedAt: rows[0]?.at } : {}
      const lease = await estate.register({
        issuer: runner.issuer,
        identity: `${DOMAIN}/ci/${issuers.name('job')}`,
        owner: 'ci',
        target: { role: runner.role, oid: runner.oid, session: { applicationName, ...named } },
        task: { id: task },
        expiresAt: estate.in(7200),
      })
      return { session, lease, end: async () => (await estate.trigger('ci', 'task-complete', { kind: 'task', id: task })).case }
    }

    // Both runners call every session `build`: nothing tells one job's from the other's.
    const [first, second] = [await job('1', 'build', { exact: false }), await job('2', 'build', { exact: false })]
    const ended = await first.end()
    expect(await estate.closed(ended)).toMatchObject({ outcomes: { revoked: 0, unsupported: 1 } })
    expect(await estate.lease(first.lease.id)).toMatchObject({
      outcomes: { [ended]: { outcome: 'unsupported', livesUntil: first.lease.expiresAt } },
    })
    expect([await first.session.alive(), await second.session.alive()]).toEqual([true, true])
    // The last one's end cuts them all.
    expect(await estate.closed(await second.end())).toMatchObject({ outcomes: { revoked: 1 } })
    expect([await first.session.alive(), await second.session.alive()]).toEqual([false, false])

    // Where each names its own session, only that one is cut.
    const [third, fourth] = [await job('3', 'deploy', { exact: true }), await job('4', 'deploy', { exact: true })]
    expect(await estate.closed(await third.end())).toMatchObject({ outcomes: { revoked: 1 } })
    expect([await third.session.alive(), await fourth.session.alive()]).toEqual([false, true])
    expect(await runner.login()).toBeUndefined()
  })

  it('Two hours of outage: no healthy lease dies on return', async () => {
    const estate = await open({ soakSeconds: 86_400 })
    const services = await Promise.all(
      Array.from({ length: 6 }, async (_, index) => {
        const held = await issuers.mintRole(index % 2 === 0 ? 'orders' : 'managed')
        const identity = workload(held.role)
        // They run out one after the other, before, in and right after the outage, as renewals come at any time.
        const lease = await estate.registerRole(held, { identity, expiresAt: estate.in(900 + index * 1500) })
        return { held, lease, session: await held.open() }
      }),
    )
    const renew = (id: string) => estate.call('POST', `/v1/leases/${id}/renew`, 'broker', { expiresAt: estate.in(3 * 3600) })
    await estate.pass(600)

    estate.outage(7200)
    await estate.pass(240)
    for (const { held, session } of services) expect([await held.login(), await session.alive()]).toEqual([undefined, true])
    expect(await estate.list<OutageView>('/v1/outages')).toMatchObject([{ source: 'gap' }])
    // All are back but one, whose client is gone for good.
    const [gone, ...healthy] = services
    for (const { lease } of healthy) await renew(lease.id)
    await estate.pass(2.5 * 3600)
    for (const { held, session, lease } of healthy) {
      expect([await held.login(), await session.alive()], held.role).toEqual([undefined, true])
      expect(await estate.lease(lease.id)).toMatchObject({ state: 'live' })
    }
    expect([await gone?.held.login(), await gone?.session.alive()]).toEqual([NOT_PERMITTED, false])
  })

  it('A restored table observes until released', async () => {
    const estate = await open()
    const leaver = issuers.name('leaver')
    const [held, service] = [await issuers.mintRole('orders'), await issuers.mintRole('managed')]
    await estate.registerRole(held, { identity: workload(held.role), owner: leaver })
    const { id: lease } = await estate.registerRole(service, { identity: workload(service.role), expiresAt: estate.in(1800) })
    const session = await service.open()
    const renew = () => estate.call('POST', `/v1/leases/${lease}/renew`, 'broker', { expiresAt: estate.in(4 * 3600) })
    await estate.pass(300)
    const backup = estate.backup()
    await renew()
    await estate.pass(3600)
    await issuers.hangUp()

    // By the restored table the service's lease has run out long ago, and it may have forgotten anything else.
    estate.restoreBackup(backup)
    await estate.pass(120)
    expect(await estate.call('GET', '/v1/control', 'ana')).toMatchObject({ restored: { since: expect.any(String) } })
    const { case: id } = await estate.offboard({ kind: 'owner', id: leaver })
    await estate.pass(3600)
    expect([await held.login(), await service.login(), await session.alive()]).toEqual([undefined, undefined, true])
    expect(await issuers.sessionsOfRescind()).toBe(0)
    expect((await estate.case(id)).state).not.toBe('closed')

    const release = (who: Person) => estate.call('POST', '/v1/control/release', who, { reason: 'compared with the issuers' })
    expect(await estate.refusal(release('ana'))).toMatchObject({ code: 'forbidden' })
    await release('ben')
    expect(await estate.closed(id)).toMatchObject({ outcomes: { revoked: 1 } })
    expect(await held.login()).toBe(NOT_PERMITTED)
    await renew()
    await estate.pass(3600)
    expect([await service.login(), await session.alive()]).toEqual([undefined, true])
  })

  it('A deny is removed by somebody else: the case reopens and cuts again', async () => {
    const estate = await open({ soakSeconds: 86_400 })
    const held = await issuers.mintRole('orders')
    const identity = workload(issuers.name('api'))
    const lease = await estate.registerRole(held, { identity })
    const { case: id } = await estate.trigger('responder', 'compromise', { kind: 'identity', id: identity })
    expect(await estate.closed(id)).toMatchObject({ outcomes: { revoked: 1 }, resurrections: 0 })
    expect(await held.login()).toBe(NOT_PERMITTED)

    await issuers.as('orders').query(`ALTER ROLE "${held.role}" LOGIN`)
    const session = await held.open()
    expect(await session.alive()).toBe(true)
    await estate.until(async () => !(await session.alive()), 3600)
    expect(await estate.closed(id)).toMatchObject({ resurrections: 1, amendments: { expected: 1, done: 1 } })
    expect([await held.login(), await session.alive()]).toEqual([NOT_PERMITTED, false])
    expect(estate.told(id).map(({ type }) => type)).toEqual([
      'io.rescind.case.closed',
      'io.rescind.case.resurrected',
      'io.rescind.case.amended',
    ])
    expect(await estate.lease(lease.id)).toMatchObject({ state: 'ended', outcomes: { [id]: { outcome: 'revoked' } } })
    expect((await estate.audit(`case=${id}`)).map(({ what }) => what)).toContainEqual(expect.stringContaining('resurrect'))

    // Whoever does it twice is met twice.
    await issuers.as('orders').query(`ALTER ROLE "${held.role}" LOGIN`)
    await estate.until(async () => (await held.login()) !== undefined, 2 * 86_400)
    expect(await estate.closed(id)).toMatchObject({ resurrections: 2, amendments: { expected: 2, done: 2 } })
  })

  it("Observe mode: HR's event gives a report, the issuer sees no write", async () => {
    const estate = await open({
      settings: { modes: { default: 'enforce', rules: [{ trigger: 'offboarding', mode: 'observe' }] } },
    })
    const leaver = issuers.name('leaver')
    const [first, second] = [
      await issuers.mintRole('orders', { memberOf: issuers.name('group') }),
      await issuers.mintRole('managed'),
    ]
    const token = await issuers.mintToken(leaver)
    const identity = workload(issuers.name('bot'))
    const leases = [
      await estate.registerRole(first, { identity, owner: leaver }),
      await estate.registerRole(second, { identity, owner: leaver }),
      await estate.registerToken(token, { identity, owner: leaver }),
    ]
    const sessions = [await first.open(), await second.open()]
    const before = await issuers.written()
    const from = estate.in(-1)

    const { case: id } = await estate.offboard({ kind: 'owner', id: leaver })
    const closed = await estate.closed(id)
    expect(closed).toMatchObject({ mode: 'observe', outcomes: { revoked: 0, observed: 3 }, levers: { expected: 0 } })
    await estate.pass(3600)
    expect(await issuers.written()).toEqual(before)
    expect(await issuers.sessionsOfRescind()).toBe(0)
    expect(await Promise.all(sessions.map((session) => session.alive()))).toEqual([true, true])
    expect([await first.login(), await second.login()]).toEqual([undefined, undefined])
    expect(await issuers.oauth.honours(token.accessToken, 'access_token')).toBe(true)

    const report = await estate.list<ObservedCase>(`/v1/observed?from=${from}&to=${estate.in(1)}`)
    const would = { revoked: 3, released: 0, unsupported: 0 }
    expect(report).toMatchObject([
      {
        case: id,
        trigger: 'offboarding',
        scope: { kind: 'owner', id: leaver },
        mode: 'observe',
        would,
        owners: [{ owner: leaver, ...would }],
      },
    ])
    expect(report[0]?.issuers.map(({ issuer, revoked }) => [issuer, revoked]).sort()).toEqual([
      ['idp', 1],
      ['managed', 1],
      ['orders', 1],
    ])
    expect(new Set(report[0]?.sample.map(({ lease }) => lease))).toEqual(new Set(leases.map(({ id: lease }) => lease)))
    const each = await estate.list<CaseLease>(`/v1/cases/${id}/leases`)
    expect(new Set(each.map(({ lease }) => lease.id))).toEqual(new Set(leases.map(({ id: lease }) => lease)))
    for (const { outcome } of each)
      expect(outcome).toMatchObject({ outcome: 'observed', evidence: { said: expect.stringContaining('it would be cut') } })
    expect(estate.told(id, 'closed')).toMatchObject([{ data: { case: { mode: 'observe', outcomes: { observed: 3 } } } }])
    // What is only watched is not refused anything.
    await estate.registerRole(await issuers.mintRole('orders'), { identity, owner: leaver })
  })

  it('A case is closed, then an earlier credential is reported: it is cut and the case amended', async () => {
    const estate = await open()
    const [known, earlier] = [await issuers.mintRole('orders'), await issuers.mintRole('orders')]
    const identity = workload(issuers.name('ledger'))
    await estate.registerRole(known, { identity })
    const session = await earlier.open()

    const { case: id } = await estate.trigger('responder', 'compromise', { kind: 'identity', id: identity })
    expect(await estate.closed(id)).toMatchObject({ outcomes: { revoked: 1 }, amendments: { expected: 0 } })
    expect(await known.login()).toBe(NOT_PERMITTED)
    expect([await earlier.login(), await session.alive()]).toEqual([undefined, true])

    const refusal = await estate.refusal(estate.registerRole(earlier, { identity }))
    expect(refusal).toMatchObject({ status: 409, code: 'fenced', cases: [id], lease: expect.any(String) })
    await estate.settle()
    expect([await earlier.login(), await session.alive()]).toEqual([NOT_PERMITTED, false])
    expect(await estate.lease(refusal.lease ?? '')).toMatchObject({ state: 'ended', outcomes: { [id]: { outcome: 'revoked' } } })
    expect(await estate.case(id)).toMatchObject({
      state: 'closed',
      outcomes: { revoked: 1 },
      amendments: { expected: 1, done: 1, outcomes: { revoked: 1 } },
    })
    expect(estate.told(id).map(({ type, data }) => [type, data.case.amendments.done])).toEqual([
      ['io.rescind.case.closed', 0],
      ['io.rescind.case.amended', 1],
    ])

    // An intent is the other thing: nothing exists yet, so it is refused and nothing is recorded to be cut.
    const intent = estate.register({
      identity,
      issuer: 'orders',
      registers: 'intent',
      mintBy: estate.in(60),
      target: { role: issuers.name('never') },
    })
    expect(await estate.refusal(intent)).toMatchObject({ status: 409, code: 'fenced', cases: [id] })
    await estate.pass(300)
    expect((await estate.case(id)).amendments).toMatchObject({ expected: 1, done: 1 })
  })

  it("A service's owner leaves: the service stays up, is an orphan, gets a new owner; another gets none and is cut at the deadline", async () => {
    const estate = await open({ limits: { reassignDays: 1 }, soakSeconds: 86_400 })
    const owner = issuers.name('dora')
    const [kept, lost, personal] = [
      await issuers.mintRole('orders'),
      await issuers.mintRole('managed'),
      await issuers.mintRole('orders'),
    ]
    const [shop, report] = [workload(issuers.name('shop')), workload(issuers.name('report'))]
    const service = { owner, ownerLeaves: 'reassign' as const }
    await estate.registerRole(kept, { identity: shop, ...service })
    await estate.registerRole(lost, { identity: report, ...service })
    await estate.registerRole(personal, { identity: `${DOMAIN}/agent/${owner}`, owner, ownerLeaves: 'revoke' })
    const sessions = [await kept.open(), await lost.open()]

    const { case: id } = await estate.offboard({ kind: 'owner', id: owner })
    expect(await estate.closed(id)).toMatchObject({ orphans: 2, outcomes: { revoked: 1 } })
    expect(await personal.login()).toBe(NOT_PERMITTED)
    expect([await kept.login(), await lost.login()]).toEqual([undefined, undefined])
    expect(await Promise.all(sessions.map((session) => session.alive()))).toEqual([true, true])
    const orphans = await estate.list<IdentityView>('/v1/orphans')
    expect(orphans.map((one) => [one.id, one.orphan?.formerOwner, one.orphan?.case]).sort()).toEqual(
      [
        [shop, owner, id],
        [report, owner, id],
      ].sort(),
    )

    const eve = issuers.name('eve')
    await estate.call('PUT', '/v1/identities', 'ana', { id: shop, owner: eve })
    expect(await estate.list<IdentityView>('/v1/orphans')).toMatchObject([{ id: report }])
    // A service that waits for an owner lives on, and may go on getting credentials, until the deadline.
    await estate.pass(23 * 3600)
    expect([await kept.login(), await lost.login()]).toEqual([undefined, undefined])
    await estate.pass(2 * 3600)
    expect([await kept.login(), await lost.login()]).toEqual([undefined, NOT_PERMITTED])
    expect(await Promise.all(sessions.map((session) => session.alive()))).toEqual([true, false])
    expect(await estate.list<IdentityView>('/v1/orphans')).toEqual([])
    const [cut] = (await estate.audit(`identity=${encodeURIComponent(report)}`)).filter(({ what }) => what === 'outcome.revoked')
    expect(await estate.case(cut?.case ?? '')).toMatchObject({
      type: 'offboarding',
      source: 'rescind',
      scope: { kind: 'identity', id: report },
      outcomes: { revoked: 1 },
    })
    expect(await estate.call('GET', `/v1/identities?id=${encodeURIComponent(shop)}`, 'ana')).toMatchObject({
      owner: eve,
      fencedThrough: 0,
    })
  })

  it('A mass lifecycle event trips the fuse, is approved by a second person, goes on where it was', async () => {
    const estate = await open({ settings: { fuse: { windowSeconds: 3600, identities: 5, leases: 20 } } })
    const leavers = await Promise.all(
      Array.from({ length: 9 }, async () => {
        const held = await issuers.mintRole('orders')
        await estate.registerRole(held, { identity: workload(held.role), owner: held.role })
        return held
      }),
    )
    // A wrong export of the HR system: everybody has left.
    const cases: string[] = []
    for (const { role } of leavers) {
      cases.push((await estate.offboard({ kind: 'owner', id: role })).case)
      await estate.settle()
    }
    await estate.pass(300)
    const cut = async () => (await Promise.all(leavers.map((held) => held.login()))).map((answer) => answer === NOT_PERMITTED)
    expect(await cut()).toEqual([true, true, true, true, true, false, false, false, false])
    const held = await estate.list<Held>('/v1/held')
    const campaigns = held.flatMap((one) => (one.kind === 'campaign' ? [one] : []))
    expect(campaigns).toMatchObject([{ waits: 'start', campaign: { kind: 'fuse', source: 'hr' } }])
    for (const id of cases.slice(5))
      expect(await estate.case(id)).toMatchObject({ state: 'held', held: { reason: expect.any(String) } })
    // Nothing of them is fenced either.
    await estate.registerRole(await issuers.mintRole('orders'), {
      identity: workload(leavers[8]?.role ?? ''),
      owner: leavers[8]?.role ?? '',
    })

    const campaign = campaigns[0]?.campaign.id ?? ''
    const approve = (who: Person) => estate.call('POST', `/v1/campaigns/${campaign}/approve`, who, { reason: 'HR confirms' })
    expect(await estate.refusal(approve('ana'))).toMatchObject({ code: 'forbidden' })
    await approve('ben')
    for (const id of cases) expect(await estate.closed(id)).toMatchObject({ state: 'closed' })
    expect(await cut()).toEqual(leavers.map(() => true))
    for (const id of cases.slice(0, 5)) expect(estate.told(id, 'closed')).toHaveLength(1)

    // The same as one event: it is held as a whole, before anything of it is fenced.
    const team = issuers.name('team')
    const members = await Promise.all(
      Array.from({ length: 8 }, async (_, index) => {
        const one = await issuers.mintRole(index % 2 === 0 ? 'orders' : 'managed')
        await estate.registerRole(one, { identity: workload(one.role), owner: team })
        return one
      }),
    )
    await estate.pass(3600)
    const { case: mass } = await estate.offboard({ kind: 'owner', id: team })
    await estate.pass(300)
    expect(await estate.case(mass)).toMatchObject({
      state: 'held',
      identities: 0,
      held: { reason: expect.stringContaining('at most 5') },
    })
    for (const one of members) expect(await one.login()).toBeUndefined()
    const decide = (who: Person) => estate.call('POST', `/v1/cases/${mass}/approve`, who, { reason: 'the team is dissolved' })
    expect(await estate.refusal(decide('ana'))).toMatchObject({ code: 'forbidden' })
    await decide('cleo')
    expect(await estate.closed(mass)).toMatchObject({ identities: 8, outcomes: { revoked: 8 } })
    for (const one of members) expect(await one.login()).toBe(NOT_PERMITTED)
  })

  it('A compromise of a workload under one name kills what it holds under the others', async () => {
    const estate = await open()
    const name = issuers.name('billing')
    const [spiffe, arn, oidc] = [workload(name), `arn:aws:iam::123456789012:role/${name}`, `https://token.estate.example#${name}`]
    const [first, second, other] = [
      await issuers.mintRole('orders'),
      await issuers.mintRole('managed'),
      await issuers.mintRole('orders'),
    ]
    const token = await issuers.mintToken(name)
    await estate.registerRole(first, { identity: spiffe })
    await estate.registerRole(second, { identity: arn })
    await estate.registerToken(token, { identity: oidc })
    await estate.registerRole(other, { identity: workload(issuers.name('bystander')) })

    // A link is approved by a second person: it makes one name's end the others'.
    const proposal = await estate.call<{ id: string }>('POST', '/v1/aliases', 'ben', {
      names: [spiffe, arn, oidc],
      reason: 'one workload',
    })
    const approve = (who: Person) => estate.call('POST', `/v1/aliases/${proposal.id}/approve`, who, { reason: 'seen' })
    expect(await estate.refusal(approve('ana'))).toMatchObject({ code: 'forbidden' })
    expect(await estate.refusal(approve('ben'))).toMatchObject({ code: 'requester-cannot-approve' })
    await approve('cleo')

    // Whoever looks first sees all of them, and why.
    const before = estate.backup()
    const plan = await estate.call<PlanView>('POST', '/v1/plans', 'responder', {
      type: 'compromise',
      scope: { kind: 'identity', id: arn },
    })
    expect(plan).toMatchObject({
      complete: true,
      identities: { reached: { count: 3 }, aliases: 2 },
      leases: { total: 3, cut: 3 },
    })
    expect(Object.fromEntries(plan.identities.reached.sample.map((one) => [one.id, one.because]))).toEqual({
      [arn]: 'named by the trigger',
      [spiffe]: `other name of ${arn}`,
      [oidc]: `other name of ${arn}`,
    })
    expect(estate.backup()).toBe(before)

    const { case: id } = await estate.trigger('responder', 'compromise', { kind: 'identity', id: arn })
    expect(await estate.closed(id)).toMatchObject({ identities: 3, outcomes: { revoked: 3 } })
    expect([await first.login(), await second.login()]).toEqual([NOT_PERMITTED, NOT_PERMITTED])
    expect(await issuers.oauth.honours(token.accessToken, 'access_token')).toBe(false)
    expect(await other.login()).toBeUndefined()
    // Nor is anything new given out, under whichever name.
    for (const identity of [spiffe, arn, oidc])
      expect(
        await estate.refusal(
          estate.register({
            identity,
            issuer: 'orders',
            registers: 'intent',
            mintBy: estate.in(60),
            target: { role: issuers.name('never') },
          }),
        ),
        identity,
      ).toMatchObject({ code: 'fenced', cases: [id] })
  })
})
