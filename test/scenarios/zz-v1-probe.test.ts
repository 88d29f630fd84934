import { expect, it } from 'vitest'
import { controlOf, engageKillSwitch, releaseKillSwitch } from '../../functions/store/control.ts'
import { declareIssuer } from '../../functions/store/issuers.ts'
import { as } from '../../functions/store/items.ts'
import { instant } from '../../functions/domain/time.ts'
import { ONE, operatorsApi, TWO } from '../support/api.ts'
import { BROKER, Pipeline } from '../support/pipeline.ts'

const by = { who: 'test', at: '2026-11-22T10:00:00.000Z' }
const OP = { uri: 'spiffe://example.org/operator/three', approve: false }
const AP = { uri: TWO, approve: true }
const from = Number(process.env['SEED'] ?? 1)
const many = Number(process.env['MANY'] ?? 60)

async function run(seed: number) {
  let state = seed * 7919 + 13
  const rnd = (n: number) => {
    state = (state * 1103515245 + 12345) % 2147483648
    return Math.floor((state / 2147483648) * n)
  }
  const pipeline = new Pipeline({ settings: { approvals: { deletionAbove: 1000 } } as never })
  const db = await pipeline.issuer('db', 864_000)
  const call = operatorsApi(pipeline)
  const ids = ['a', 'b', 'c'].map((name) => `spiffe://example.org/${name}`)
  const log: string[] = []
  const names: string[] = []
  const caseIds: string[] = []
  let n = 0
  const leases = () => pipeline.table.all().filter(({ kind }) => kind === 'lease').map((item) => as('lease', item))
  const attempt = async (what: string, op: () => Promise<unknown>) => {
    log.push(what)
    try {
      await op()
    } catch (error) {
      log.push(`  refused ${String((error as Error).message)}`)
    }
  }
  const linked = rnd(3) === 0
  for (const id of ids) await pipeline.lease(`first${id.at(-1)}`, { identity: id, group: `g${id.at(-1)}`, expiresAt: instant(pipeline.now + 2_592_000_000) })
  if (linked) {
    const { body } = await call('POST', '/v1/aliases', ONE, { names: ids.slice(0, 2), reason: 'x' })
    await call('POST', `/v1/aliases/${body.id}/approve`, TWO, { reason: 'y' })
    log.push('linked a b')
  }
  for (let step = 0; step < 25; step += 1) {
    const id = ids[rnd(3)] ?? ''
    n += 1
    const trig = async (type: 'offboarding' | 'compromise' | 'task-complete', scope: never) => {
      const { case: found } = await pipeline.trigger(type, scope, { id: `e${n}` })
      caseIds.push(found)
    }
    switch (rnd(16)) {
      case 0:
      case 1: {
        const name = `x${n}`
        names.push(name)
        await attempt(`lease ${name} of ${id.at(-1)}`, () => pipeline.lease(name, { identity: id, group: `g${id.at(-1)}`, delegable: true, task: { id: `t${rnd(2)}` }, expiresAt: instant(pipeline.now + 2_592_000_000) }))
        break
      }
      case 2:
        await attempt(`shared of ${id.at(-1)}`, () => pipeline.lease('shared', { identity: id, kind: 'static', expiresAt: instant(pipeline.now + 2_592_000_000) }, `shared-key-${n}-long`))
        break
      case 3: {
        const parent = leases().filter(({ delegable, state: s }) => delegable && s === 'live')[rnd(3)]
        if (parent) await attempt(`child of ${parent.identity.at(-1)} for ${id.at(-1)}`, () => pipeline.lease(`y${n}`, { identity: id, parent: parent.id, expiresAt: instant(pipeline.now + 2_592_000_000) }))
        break
      }
      case 4:
        await attempt(`offboard ${id.at(-1)}`, () => trig('offboarding', { kind: 'identity', id } as never))
        break
      case 5:
        await attempt(`compromise ${id.at(-1)}`, () => trig('compromise', { kind: 'identity', id } as never))
        break
      case 6:
        await attempt('task', () => trig('task-complete', { kind: 'task', id: `t${rnd(2)}` } as never))
        break
      case 7: {
        const some = leases()[rnd(leases().length)]
        if (some) await attempt(`restore lease ${some.id.slice(-4)} ${some.state} of ${some.identity.at(-1)} ${JSON.stringify(some.target)}`, () => pipeline.restore.restoreLease(some.id, { reason: 'r', undoesCompromise: true }, AP))
        break
      }
      case 8:
        await attempt(`restore identity ${id.at(-1)}`, () => pipeline.restore.restoreIdentity({ id, reason: 'r', ...(rnd(2) ? { undoesCompromise: true as const } : {}) }, AP))
        break
      case 9: {
        const one = caseIds[rnd(caseIds.length)]
        if (one) await attempt(`restore case ${one.slice(-4)}`, () => pipeline.restore.restoreCase(one, { reason: 'r', undoesCompromise: true }, AP))
        break
      }
      case 10:
        await attempt(`reinstate ${id.at(-1)}`, async () => log.push(`   ${(await call('POST', '/v1/identities/reinstate', TWO, { id, reason: 'x' })).status}`))
        break
      case 11: {
        const dead = [...db.credentials].filter(([, real]) => !real.alive)[rnd(3)]
        if (dead) {
          log.push(`resurrect ${dead[0]}`)
          db.resurrect(dead[0])
        }
        break
      }
      case 12: {
        const mode = (['observe', 'contain', 'enforce', 'enforce'] as const)[rnd(4)] ?? 'enforce'
        log.push(`mode ${mode}`)
        await declareIssuer(pipeline.table, 'db', { provider: 'fake', settings: {}, soakSeconds: 864_000, mode }, by)
        break
      }
      case 13:
        log.push('kill switch')
        if (rnd(2)) await engageKillSwitch(pipeline.table, 'x', by)
        else await releaseKillSwitch(pipeline.table, await controlOf(pipeline.table), by)
        break
      case 14: {
        const one = caseIds[rnd(caseIds.length)]
        const what = rnd(2) ? 'hold' : 'approve'
        if (one) await attempt(`${what} ${one.slice(-4)}`, async () => log.push(`   ${(await call('POST', `/v1/cases/${one}/${what}`, ONE, { reason: 'x' })).status}`))
        break
      }
      case 15:
        db.down = rnd(2) === 0
        log.push(`down ${db.down}`)
        break
    }
    const go = rnd(4)
    if (go === 0) for (let i = 0; i < rnd(6); i += 1) { await pipeline.step((m) => rnd(m.length)); await pipeline.stream() }
    else if (go === 1) await pipeline.settle()
    else if (go === 2) await pipeline.pass(60 * (1 + rnd(10)))
    pipeline.now += 1000
  }
  db.down = false
  await releaseKillSwitch(pipeline.table, await controlOf(pipeline.table), by)
  await declareIssuer(pipeline.table, 'db', { provider: 'fake', settings: {}, soakSeconds: 864_000, mode: 'enforce' }, by)
  for (const one of caseIds) await call('POST', `/v1/cases/${one}/approve`, ONE, { reason: 'x' })
  await pipeline.pass(36 * 3600)
  const wrong: string[] = []
  for (const item of pipeline.table.all()) {
    if (item.kind === 'case' && !['closed', 'cancelled'].includes(String(item.state))) wrong.push(`case ${String(item.id).slice(-4)} ${item.type} ${item.state} ${JSON.stringify([item.scans, item.amendments, item.paused])}`)
    if (item.kind === 'restoration' && item.state !== 'done') wrong.push(`restoration ${item.state} ${JSON.stringify(item.scope)}`)
    if (item.kind === 'restoration-part' && item.state !== 'done') wrong.push(`part ${item.said}`)
  }
  const all = leases()
  for (const lease of all) {
    const name = String(lease.target['name'])
    const real = db.credentials.get(name)
    const mates = all.filter(({ fingerprint, state: s }) => fingerprint === lease.fingerprint && s === 'live')
    if (!['live', 'ended', 'released'].includes(lease.state)) wrong.push(`lease ${name} of ${lease.identity.at(-1)} is ${lease.state} ${JSON.stringify(lease.outcomes)}`)
    if (lease.state === 'ended' && lease.ended?.outcome === 'revoked' && real?.alive && mates.length === 0) wrong.push(`lease ${name} of ${lease.identity.at(-1)} is ended but lives ${JSON.stringify(lease.outcomes)}`)
    if (lease.state === 'live' && !real?.alive) wrong.push(`lease ${name} of ${lease.identity.at(-1)} is live but dead`)
    if (lease.sharing === 'shared' && !(lease as { unheld?: true }).unheld) {
      const credential = pipeline.table.items.get(`CRED#${lease.fingerprint}`)?.get('CRED')
      if (credential?.holders !== mates.length) wrong.push(`shared ${name} has ${credential?.holders} holders, ${mates.length} live`)
      if (mates.length > 0 && credential?.cutting === true) wrong.push(`shared ${name} cutting with live holders`)
      if (credential?.restoring !== undefined) wrong.push('restoring left')
    }
  }
  const before = pipeline.sent.length
  const cases = pipeline.table.all().filter(({ kind }) => kind === 'case').length
  await pipeline.pass(6 * 3600)
  if (pipeline.sent.length - before > 120) wrong.push(`still sends: ${pipeline.sent.length - before} ${JSON.stringify(Object.entries(Object.groupBy(pipeline.sent.slice(before), (m) => JSON.stringify(m))).map(([k, v]) => [k, v?.length]))} ${JSON.stringify(pipeline.table.all().filter(({ kind, duePk, dueAt }) => duePk !== undefined && kind !== 'lease' && String(dueAt) < instant(pipeline.now + 3600000)))}`)
  if (pipeline.table.all().filter(({ kind }) => kind === 'case').length !== cases) wrong.push('new cases')
  const failed = pipeline.logged.filter((line) => line.startsWith('failed'))
  if (failed.length > 0) wrong.push(failed[0] ?? '')
  if (many === 1)
    for (const record of pipeline.records().sort((a, b) => (a.at < b.at ? -1 : 1))) {
      const text = JSON.stringify(record)
      if (/lease\.|restor|credential|case\.|alias|reinst/.test(record.what) && (text.includes('restor') || (record.lease ?? '') === '' || all.some(({ id, sharing }) => id === record.lease && sharing === 'shared')))
        log.push(`${record.at.slice(11, 23)} ${record.what} ${record.previous ?? ''}>${record.state ?? ''} L${(record.lease ?? '').slice(-4)} C${(record.case ?? '').slice(-4)} ${record.who} ${(record.why ?? '').slice(0, 70)} ${JSON.stringify(record.facts ?? '').slice(0, 150)}`)
    }
  return { wrong, log }
}
it('probe', async () => {
  const bad: number[] = []
  for (let seed = from; seed < from + many; seed += 1) {
    const { wrong, log } = await run(seed)
    if (wrong.length > 0) {
      bad.push(seed)
      console.log(`SEED ${seed}\n${[...new Set(wrong)].join('\n')}\n--\n${many === 1 ? log.join('\n') : ''}`)
    }
  }
  expect(bad).toEqual([])
}, 600_000)
void [OP, BROKER]
