import { globSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ControlView } from '../../functions/contracts/control.ts'
import type { PlanView } from '../../functions/contracts/plan.ts'
import type { ReportReceipt } from '../../functions/contracts/report.ts'
import type { RestorationView } from '../../functions/contracts/restoration.ts'
import { signWebhook } from '../../functions/runtime/webhook-signature.ts'
import type { Api } from '../../lib/local/client.ts'
import { apiClient, Refused } from '../../lib/local/client.ts'
import type { Held } from '../../lib/local/demo.ts'
import { declareIssuers, goesWith, offboarding, populate } from '../../lib/local/demo.ts'
import type { Installation } from '../../lib/local/installation.ts'
import { DOMAIN, startInstallation } from '../../lib/local/installation.ts'

/**
 * The stories that a newcomer sees, over the public API alone, on the very bundles and template that `npm start` runs,
 * with real credentials at a real PostgreSQL and a real OAuth server.
 */

let folder: string
let installation: Installation
let api: Api
let held: Held[]

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rescind-story-'))
  installation = await startInstallation({ folder, sweepSeconds: 2 })
  api = apiClient(installation.runtime.apiUrl)
  await declareIssuers(installation, api)
  held = await populate(installation, api)
}, 120_000)

afterAll(async () => {
  await Promise.all((held ?? []).map((one) => one.close()))
  await installation?.stop()
  rmSync(folder, { recursive: true, force: true })
}, 60_000)

const closed = async (id: string) => {
  const until = Date.now() + 40_000
  for (;;) {
    const current = await api.case(installation.tokens.operator, id)
    if (current.state === 'closed') return current
    if (Date.now() > until) throw new Error(`case ${id} is still ${current.state}: ${JSON.stringify(current)}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

const restored = async (id: string) => {
  const until = Date.now() + 40_000
  for (;;) {
    const path = `/v1/restorations/${id}`
    const view = (await api.call('GET', path, { token: installation.tokens.operator })) as RestorationView
    if (view.state === 'done') return view
    if (Date.now() > until) throw new Error(`the restoration is still ${view.state}: ${JSON.stringify(view)}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

const alive = async () => {
  const works: string[] = []
  for (const one of held)
    if ((await one.login()) === undefined && (await one.session()) === undefined)
      works.push(one.title.replace(/-[0-9a-f]{6}$/, ''))
  return works
}

const refused = async (attempt: Promise<unknown>) => {
  try {
    await attempt
  } catch (error) {
    if (error instanceof Refused) return error.problem
    throw error
  }
  throw new Error('was not refused')
}

const trigger = (type: string, scope: unknown, more: Record<string, unknown> = {}) => ({
  specversion: '1.0',
  id: `test-${Math.random()}`,
  source: 'urn:test',
  type: `io.rescind.${type}`,
  data: { scope, reason: 'test', ...more },
})

describe('on one machine, with real credentials', () => {
  it('everything works before', async () => {
    expect(await alive()).toHaveLength(9)
  })

  it('story 0: what a leaving would do is known before, and asking does nothing', async () => {
    const { goes } = goesWith('ana', held)
    const ask = (token: string) =>
      api.call('POST', '/v1/plans', { token, body: { type: 'offboarding', scope: { kind: 'owner', id: 'ana' }, source: 'hr' } })
    const plan = (await ask(installation.tokens.operator)) as PlanView
    expect(plan).toMatchObject({ complete: true, leases: { total: 4, cut: 4 }, held: { held: false } })
    expect(plan.cut.sample.map(({ lease }) => lease).sort()).toEqual(goes.map(({ lease }) => lease.id).sort())
    expect(plan.descendants).toMatchObject({ count: 1, sample: [{ owner: 'eve', identity: `${DOMAIN}/agent/ocr-helper` }] })
    expect(plan.byIssuer).toMatchObject([
      { issuer: 'login', forGood: 2, undo: { possible: false } },
      { issuer: 'orders', forGood: 0, undo: { possible: true, until: expect.any(String) } },
    ])
    expect(await alive()).toHaveLength(9)
    expect(await api.call('GET', '/v1/cases', { token: installation.tokens.operator })).toEqual({ entries: [] })
    expect(await refused(ask(installation.tokens.broker))).toMatchObject({ status: 403, code: 'forbidden' })
  })

  it('story 1: an offboarded owner’s credentials die at both issuers, sessions included, and nobody else’s', async () => {
    const receipt = await api.sendSigned('hr', installation.hrSecret, offboarding('ana'))
    const current = await closed(receipt.case)
    expect(current).toMatchObject({
      type: 'offboarding',
      lane: 'p1',
      identities: 1,
      outcomes: { revoked: 4, parked: 0, unsupported: 0 },
    })
    expect(await alive()).toEqual([
      'PostgreSQL role ledger',
      'OAuth token of ledger',
      'PostgreSQL role build',
      'PostgreSQL role crm',
      'OAuth token of crm',
    ])
    for (const one of goesWith('ana', held).goes) {
      expect(await one.login(), one.title).toBeDefined()
      expect(await one.session(), one.title).toBeDefined()
      const lease = await api.lease(installation.tokens.operator, one.lease.id)
      expect(lease).toMatchObject({
        state: 'ended',
        outcomes: { [receipt.case]: { outcome: 'revoked', evidence: { verified: expect.any(String) } } },
      })
    }
  })

  it('one cut of it is undone: the old password works again, and nothing else of the case', async () => {
    const { goes } = goesWith('ana', held)
    const [wrong] = goes.filter(({ lease }) => lease.purpose === 'export invoices')
    const path = `/v1/leases/${wrong?.lease.id}/restore`
    const body = { reason: 'accounting needs it' }
    expect(await refused(api.call('POST', path, { token: installation.tokens.broker, body }))).toMatchObject({ status: 403 })
    const opened = (await api.call('POST', path, { token: installation.tokens.operator, body })) as RestorationView
    expect(await restored(opened.id)).toMatchObject({ counts: { restored: 1, refused: 0 } })
    expect(await wrong?.login()).toBeUndefined()
    for (const one of goes.filter((each) => each !== wrong)) expect(await one.login(), one.title).toBeDefined()
    expect(await refused(api.call('POST', path, { token: installation.tokens.operator, body }))).toMatchObject({
      status: 409,
      code: 'restore-refused',
    })
    // A token server gives nothing back: refused at once, and why is said.
    const [token] = goes.filter(({ issuer }) => issuer === 'login')
    const gone = api.call('POST', `/v1/leases/${token?.lease.id}/restore`, { token: installation.tokens.operator, body })
    expect(await refused(gone)).toMatchObject({ status: 409, code: 'restore-refused' })
  })

  it('story 2: what is registered for a fenced owner afterwards is refused with the case', async () => {
    const problem = await refused(
      api.register(installation.tokens.broker, {
        identity: `${DOMAIN}/agent/newcomer`,
        owner: 'ana',
        issuer: 'orders',
        kind: 'dynamic',
        registers: 'credential',
        target: { role: 'newcomer' },
        consumer: 'newcomer',
        purpose: 'test',
        expiresAt: new Date(Date.now() + 60_000).toISOString(),
      }),
    )
    expect(problem).toMatchObject({ status: 409, code: 'fenced', cases: [expect.stringMatching(/^[a-z2-7]{26}$/)] })
  })

  it('story 3: a finished task ends what only it held', async () => {
    const receipt = await api.send(installation.tokens.ci, trigger('task-complete', { kind: 'task', id: 'build-4711' }))
    expect(await closed(receipt.case)).toMatchObject({ lane: 'p2', outcomes: { revoked: 1 } })
    expect(await alive()).not.toContain('PostgreSQL role build')
  })

  it('story 4: a compromise fences while the kill switch is engaged, and contains and cuts when it is released', async () => {
    const turn = (token: string, engaged: boolean) =>
      api.call('PUT', '/v1/control/kill-switch', { token, body: { engaged, reason: 'test' } }) as Promise<ControlView>
    expect(await refused(turn(installation.tokens.security, true))).toMatchObject({ status: 403, code: 'forbidden' })
    await turn(installation.tokens.operator, true)
    const receipt = await api.send(
      installation.tokens.security,
      trigger('compromise', { kind: 'identity', id: `${DOMAIN}/workload/crm` }),
    )
    await expect
      .poll(() => api.call('GET', '/v1/control', { token: installation.tokens.operator }), { timeout: 20_000 })
      .toMatchObject({ killSwitch: { reason: 'test' }, waits: { chunks: 2, levers: 1 } })
    expect((await api.case(installation.tokens.operator, receipt.case)).fencedAt).toBeDefined()
    expect(await alive()).toEqual(expect.arrayContaining(['PostgreSQL role crm', 'OAuth token of crm']))
    expect(await turn(installation.tokens.approver, false)).not.toHaveProperty('killSwitch')
    const current = await closed(receipt.case)
    expect(current).toMatchObject({ lane: 'p0', levers: { expected: 1, done: 1 }, outcomes: { revoked: 2 } })
    expect(current.containedAt).toBeDefined()
    expect(await alive()).toEqual(['PostgreSQL role ledger', 'OAuth token of ledger'])
  })

  it('story 5: a deployment that is gone takes its credentials with it', async () => {
    const receipt = await api.send(installation.tokens.deploy, trigger('decommission', { kind: 'deployment', id: 'ledger-v41' }))
    expect(await closed(receipt.case)).toMatchObject({ outcomes: { revoked: 2 } })
    expect(await alive()).toEqual([])
  })

  it('a role that nobody registered is pasted with its password: found, cut, and given back', async () => {
    const { postgres, tokens } = installation
    const [user, password] = ['stray-app', 'Qk7-nobody-registered-2xW']
    const as = async (who: { user: string; password: string }, ...statements: string[]) => {
      const client = new pg.Client({ host: postgres.host, port: postgres.port, database: postgres.database, ...who })
      try {
        await client.connect()
        for (const statement of statements) await client.query(statement)
        return 'works'
      } catch (error) {
        return error instanceof Error ? error.message : String(error)
      } finally {
        await client.end().catch(() => undefined)
      }
    }
    expect(await as(postgres.admin, `CREATE ROLE "${user}" LOGIN PASSWORD '${password}'`)).toBe('works')
    expect(await as({ user, password })).toBe('works')
    const receipt = (await api.call('POST', '/v1/reports', {
      token: tokens.security,
      headers: { 'idempotency-key': 'pasted-1' },
      body: {
        reason: 'found in a repository',
        credentials: [{ text: `postgres://${user}:${password}@${postgres.host}:${postgres.port}/${postgres.database}` }],
      },
    })) as ReportReceipt
    const id = receipt.credentials[0]?.case ?? ''
    expect(receipt.credentials).toMatchObject([{ status: 'opened', readAs: [{ issuer: 'orders' }] }])
    expect(await closed(id)).toMatchObject({ asked: [{ issuer: 'orders', state: 'found' }] })
    await expect.poll(() => as({ user, password }), { timeout: 20_000 }).toContain('is not permitted to log in')
    await expect
      .poll(async () => (await api.case(tokens.operator, id)).amendments, { timeout: 20_000 })
      .toMatchObject({ expected: 1, done: 1, outcomes: { revoked: 1 } })

    const restore = (token: string, more: Record<string, unknown>) =>
      api.call('POST', `/v1/cases/${id}/restore`, { token, body: { reason: 'it was a test', ...more } })
    expect(await refused(restore(tokens.approver, {}))).toMatchObject({ status: 409, code: 'restore-refused', cases: [id] })
    expect(await refused(restore(tokens.operator, { undoesCompromise: true }))).toMatchObject({ status: 403 })
    const opened = (await restore(tokens.approver, { undoesCompromise: true })) as RestorationView
    expect(await restored(opened.id)).toMatchObject({ counts: { restored: 1, refused: 0 } })
    expect(await as({ user, password })).toBe('works')
    const files = globSync('{logs,state}/**/*', { cwd: folder })
      .map((name) => join(folder, name))
      .filter((name) => statSync(name).isFile())
    expect(files).not.toEqual([])
    for (const file of files) expect(readFileSync(file, 'latin1'), file).not.toContain(password)
  })

  it('the audit trail tells all of it, and no secret', async () => {
    const until = Date.now() + 20_000
    let records: Awaited<ReturnType<Api['audit']>> = []
    while (Date.now() < until) {
      records = await api.audit(installation.tokens.operator, { day: new Date().toISOString().slice(0, 10) })
      const count = (word: string) => records.filter(({ what }) => what === word).length
      if (count('case.closed') >= 5 && count('lease.restored') >= 2) break
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
    expect(records.filter(({ what }) => what === 'outcome.revoked')).toHaveLength(10)
    expect(records.filter(({ what }) => what === 'lease.restored')).toHaveLength(2)
    expect(records.filter(({ what }) => what.startsWith('control.kill-switch'))).toHaveLength(2)
    const versions = new Map<string, number[]>()
    for (const { item } of records) versions.set(item.key, [...(versions.get(item.key) ?? []), item.version])
    for (const [key, seen] of versions) expect(new Set(seen).size, key).toBeGreaterThan(0)
    expect(JSON.stringify(records)).not.toContain(installation.hrSecret)
  })
})

describe('what bad input gets', () => {
  const post = (body: string, headers: Record<string, string>) =>
    fetch(`${installation.runtime.apiUrl}/v1/events`, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/cloudevents+json', ...headers },
    })
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

  it('no token, a broken token, a wrong signature: 401 with a problem document', async () => {
    const body = JSON.stringify(trigger('compromise', { kind: 'identity', id: `${DOMAIN}/workload/crm` }))
    for (const headers of [{}, bearer('nonsense'), bearer(`${installation.tokens.security.slice(0, -4)}AAAA`)]) {
      const response = await post(body, headers)
      expect(response.status).toBe(401)
      expect(response.headers.get('content-type')).toContain('application/problem+json')
    }
    const signed = signWebhook({ id: 'x', timestamp: Date.now(), body, secret: installation.hrSecret })
    const tampered = await post(`${body} `, { ...signed, 'rescind-source': 'hr' })
    expect(await tampered.json()).toMatchObject({ status: 401, code: 'signature-invalid' })
    const unknown = await post(body, { ...signed, 'rescind-source': 'nobody' })
    expect(await unknown.json()).toMatchObject({ status: 401, code: 'signature-invalid' })
  })

  it('a caller without the right: 403', async () => {
    const problem = await refused(
      api.send(installation.tokens.broker, trigger('compromise', { kind: 'identity', id: `${DOMAIN}/workload/crm` })),
    )
    expect(problem).toMatchObject({ status: 403, code: 'forbidden' })
    expect(await refused(api.case(installation.tokens.ci, 'a'.repeat(26)))).toMatchObject({ status: 403, code: 'forbidden' })
    expect(
      await refused(api.send(installation.tokens.ci, trigger('compromise', { kind: 'identity', id: `${DOMAIN}/workload/crm` }))),
    ).toMatchObject({ status: 403 })
  })

  it.each([
    ['not JSON', '{"specversion":', 'body-invalid'],
    [
      'an unknown type',
      JSON.stringify({ ...trigger('offboarding', { kind: 'owner', id: 'x' }), type: 'io.rescind.party' }),
      'body-invalid',
    ],
    ['an empty owner', JSON.stringify(trigger('compromise', { kind: 'owner', id: '' })), 'body-invalid'],
    ['a padded owner', JSON.stringify(trigger('compromise', { kind: 'owner', id: ' ana ' })), 'body-invalid'],
    [
      'an identity that nobody knows',
      JSON.stringify(trigger('compromise', { kind: 'identity', id: 'spiffe://rescind.local/nobody' })),
      'identity-unknown',
    ],
    [
      'an absurd time',
      JSON.stringify(trigger('compromise', { kind: 'owner', id: 'x' }, { effectiveAt: '2999-01-01T00:00:00Z' })),
      'time-out-of-range',
    ],
    ['a member too many', JSON.stringify(trigger('compromise', { kind: 'owner', id: 'x', extra: 1 })), 'body-invalid'],
  ])('%s is refused, and kept in the quarantine without its content', async (_, body, code) => {
    const response = await post(body, bearer(installation.tokens.security))
    expect(await response.json()).toMatchObject({ code })
    const { entries } = (await api.call('GET', '/v1/quarantine', { token: installation.tokens.operator })) as {
      entries: { reason: string }[]
    }
    expect(entries.some(({ reason }) => reason.startsWith(code))).toBe(true)
  })

  it('an oversized body: 413', async () => {
    const response = await post(
      JSON.stringify(trigger('compromise', { kind: 'owner', id: 'x'.repeat(70_000) })),
      bearer(installation.tokens.security),
    )
    expect(response.status).toBe(413)
  })

  it('hostile names reach a real server as names, and nothing else', async () => {
    const role = `x"; DROP ROLE "y'; --\\`
    const lease = await api.register(installation.tokens.broker, {
      identity: `${DOMAIN}/workload/hostile`,
      owner: `o'; DROP TABLE x; --`,
      issuer: 'orders',
      kind: 'dynamic',
      registers: 'credential',
      target: { role },
      consumer: '${jndi:x}',
      purpose: '<script>',
      expiresAt: new Date(Date.now() + 60_000).toISOString(),
    })
    const receipt = await api.send(
      installation.tokens.security,
      trigger('compromise', { kind: 'credential', fingerprint: lease.fingerprint }),
    )
    expect(await closed(receipt.case)).toMatchObject({ outcomes: { absent: 1 } })
  })

  it('a group that nobody belongs to matches nothing and says so', async () => {
    const receipt = await api.send(installation.tokens.security, trigger('compromise', { kind: 'owner', id: 'nobody-at-all' }))
    expect(await closed(receipt.case)).toMatchObject({ empty: true })
  })

  it('somebody else’s lease does not exist for a workload', async () => {
    const stranger = await installation.trust.mintToken({ sub: `${DOMAIN}/workload/stranger`, aud: 'rescind' })
    expect(await refused(api.lease(stranger, held[0]?.lease.id ?? ''))).toMatchObject({ status: 404, code: 'not-found' })
  })
})
