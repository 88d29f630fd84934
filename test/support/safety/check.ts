import { expect } from 'vitest'
import { auditOf } from '../../../functions/domain/audit.ts'
import { fingerprint } from '../../../functions/domain/keys.ts'
import type { Chunk, Credential, Lever, LeverHolders } from '../../../functions/domain/model.ts'
import { as } from '../../../functions/store/items.ts'
import { look } from '../../../functions/store/leases.ts'
import { Oracle } from './oracle.ts'
import type { Run } from './run.ts'
import { identityIndex } from './run.ts'

/** How often the oracle knew what must be; so that the test cannot become empty. */
export const decided = { dead: 0, live: 0, either: 0, restored: 0 }

function checkTruth(run: Run): void {
  const oracle = new Oracle(run)
  for (const [issuer, fake] of run.issuers)
    for (const [name, real] of fake.credentials) {
      const { verdict, restored } = oracle.verdict(issuer, name)
      decided[verdict] += 1
      if (restored) decided.restored += 1
      if (verdict !== 'either') expect({ issuer, name, alive: real.alive }).toEqual({ issuer, name, alive: verdict === 'live' })
    }
}

/** Something that is not over by an operator's will: its leases may be in the middle. */
const isStopped = (run: Run) =>
  run.cases().some(({ state, paused }) => paused !== undefined || !['closed', 'cancelled', 'held'].includes(state))
const observed = (run: Run, issuer: string) => run.log.modes.some((one) => one.issuer === issuer && one.mode === 'observe')

/** What the table says of each lease is true of its credential. */
async function checkLeases(run: Run): Promise<void> {
  const leases = run.leases()
  for (const [issuer, fake] of run.issuers)
    for (const [name, real] of fake.credentials) {
      const holders = leases.filter((lease) => lease.fingerprint === fingerprint(issuer, name))
      const states = holders.map(({ state }) => state)
      const told = { issuer, name, alive: real.alive, states }
      if (states.includes('live')) expect(told).toEqual({ ...told, alive: true })
      const spared = holders.some((lease) => identityIndex(lease.identity) === run.exempt)
      if (real.alive && holders.length > 0 && !spared && !isStopped(run) && !observed(run, issuer))
        expect(states, name).toContain('live')
      // Nobody is called revoked while it lives, and nobody notices.
      for (const lease of holders)
        if (real.alive && lease.state === 'ended' && lease.ended?.outcome === 'revoked' && lease.sharing === 'exclusive')
          expect.fail(`${name} is called revoked and lives: ${JSON.stringify(lease)}`)
    }
  // Nobody but us cuts here.
  for (const { id, outcomes } of leases)
    for (const { outcome } of Object.values(outcomes)) expect({ id, outcome }).not.toEqual({ id, outcome: 'absent' })
  for (const lease of leases) {
    if (lease.state === 'live') {
      expect(lease.deletion).toBeUndefined()
      const spared = leases.some((one) => one.fingerprint === lease.fingerprint && identityIndex(one.identity) === run.exempt)
      if (!spared && !isStopped(run) && !observed(run, lease.issuer))
        expect((await look(run.pipeline.table, lease)).cases, lease.id).toEqual([])
    } else if (!isStopped(run) && !observed(run, lease.issuer)) {
      const exempt = identityIndex(lease.identity) === run.exempt
      expect(
        exempt ? ['released', 'ended', 'registering', 'late', 'cutting'] : ['released', 'ended'],
        JSON.stringify(lease),
      ).toContain(lease.state)
    }
  }
}

function checkCases(run: Run): void {
  const leases = run.leases()
  const held = run.log.decided.filter(({ sure, what }) => sure || what !== '')
  for (const current of run.cases()) {
    const { id, state, paused } = current
    const did = (what: string) => held.some((one) => one.on === id && one.what === what)
    if (paused !== undefined) expect(did('hold')).toBe(true)
    else expect(['closed', 'held', 'cancelled'], JSON.stringify(current)).toContain(state)
    if (state === 'held') expect(current.type).not.toBe('compromise')
    if (state === 'cancelled')
      expect(did('cancel') || did('reject') || held.some((one) => one.on === current.campaign && one.what === 'reject')).toBe(
        true,
      )
    if (state !== 'closed') continue
    expect({ id, ...current.amendments }).toMatchObject({ id, done: current.amendments.expected })
    // Parked is counted, and what becomes of it afterwards once more; what lived again is counted beside what was counted first.
    const told = leases.filter(({ outcomes }) => outcomes[id] !== undefined && outcomes[id]?.outcome !== 'parked').length
    const { parked: one, ...counts } = current.counts
    const { parked: other, ...more } = current.amendCounts
    const counted = [...Object.values(counts), ...Object.values(more)].reduce((sum, count) => sum + count, 0)
    expect({ id, type: current.type, counted }).toEqual({ id, type: current.type, counted: told + (current.resurrections ?? 0) })
    const parked = leases.filter(({ outcomes }) => outcomes[id]?.outcome === 'parked').length
    expect(one + other).toBeGreaterThanOrEqual(parked)
    const sum = leases.filter(({ restored }) => restored?.case === id).length
    expect(current.restored ?? 0).toBeGreaterThanOrEqual(sum)
  }
  for (const restoration of run.restorations())
    if (!isStopped(run)) {
      expect({ id: restoration.id, state: restoration.state, scope: restoration.scope }).toMatchObject({ state: 'done' })
      expect(restoration.parts.done).toBe(restoration.parts.expected)
    }
}

function checkBooks(run: Run): void {
  const leases = run.leases()
  for (const item of run.all('credential')) {
    const credential: Credential = as('credential', item)
    if (!isStopped(run)) expect(credential.restoring, item.pk).toBeUndefined()
    if (credential.exclusive) continue
    const holders = leases.filter(
      ({ state, sharing, unheld, fingerprint: print }) =>
        sharing === 'shared' && unheld !== true && ['live', 'registering', 'late'].includes(state) && item.pk === `CRED#${print}`,
    )
    expect({ pk: item.pk, holders: credential.holders }).toEqual({ pk: item.pk, holders: holders.length })
  }
  const levers: Lever[] = run.all('lever').map((item) => as('lever', item))
  for (const item of run.all('lever-holders')) {
    const holders: LeverHolders = as('lever-holders', item)
    expect(holders.count).toBe(Object.keys(holders.identities).length)
    if (!isStopped(run)) expect(holders.releasing, item.pk).toBeUndefined()
    const records = levers.filter(({ leverKey }) => item.pk === `LEVER#${leverKey}`)
    const pulled = records.filter(
      ({ state, released, said }) => state === 'done' && released === undefined && said?.endsWith('contained'),
    )
    const [one] = records
    if (one === undefined || isStopped(run)) continue
    const group = (one.lever as { group: string }).group
    const contained = run.issuers.get(one.issuer)?.contained.has(group)
    expect({ group, issuer: one.issuer, contained }).toEqual({ group, issuer: one.issuer, contained: pulled.length > 0 })
    for (const record of pulled) expect(Object.keys(holders.pulls ?? {})).toContain(record.case)
  }
}

/** Nothing is sent for ever: what is due has a moment that lies ahead, and in calm only watches are sent. */
function checkQuiet(run: Run): void {
  const { pipeline } = run
  const now = new Date(pipeline.now).toISOString()
  for (const item of pipeline.table.all())
    if (item.duePk !== undefined)
      expect({ pk: item.pk, sk: item.sk, dueAt: item.dueAt, late: String(item.dueAt) <= now }).toMatchObject({ late: false })
  if (isStopped(run)) return
  const times = new Map<string, number>()
  for (const message of pipeline.sent.slice(run.sentBefore)) {
    const { kind, case: id, progress, chunk, lease } = message as Record<string, string>
    const key =
      kind === 'amend' ? { pk: `CASE#${id}`, sk: `AMEND#${lease}` } : { pk: `CASE#${id}#${progress}`, sk: `CHUNK#${chunk}` }
    const item = pipeline.table.items.get(key.pk)?.get(key.sk)
    const found: Chunk | undefined = item === undefined ? undefined : kind === 'amend' ? as('amendment', item) : as('chunk', item)
    const parkedAgain =
      kind === 'amend' && run.leases().some((one) => one.id === lease && one.outcomes[id ?? '']?.outcome === 'parked')
    // Tried again for ever, and shown.
    if (parkedAgain) continue
    const name = JSON.stringify(message)
    times.set(name, (times.get(name) ?? 0) + 1)
    expect({ name, step: found?.step }).toMatchObject({ step: expect.stringMatching(/watch|over/) })
  }
  for (const [name, count] of times) expect({ name, often: count > 9 * run.plan.deliveries }).toEqual({ name, often: false })
}

const FOLLOWED = [
  'lease',
  'case',
  'identity',
  'fence',
  'lever',
  'chunk',
  'amendment',
  'issuer',
  'credential',
  'alias',
  'restoration',
  'control',
  'campaign',
  'fuse',
  'ask',
]

function checkAudit(run: Run): void {
  const versions = run.pipeline.versions()
  for (const item of run.pipeline.table.all()) {
    if (!FOLLOWED.includes(String(item.kind))) continue
    const known = versions.get(`${item.pk}|${item.sk}`)
    const missing = Array.from({ length: Number(item.v) }, (_, index) => index + 1).filter(
      (version) => known?.has(version) !== true,
    )
    expect({ pk: item.pk, sk: item.sk, missing }).toEqual({ pk: item.pk, sk: item.sk, missing: [] })
  }
  const records = new Set(run.pipeline.records().map(({ id }) => id))
  for (const { before, after } of run.pipeline.table.changes)
    for (const { id } of auditOf(before, after)) expect(records).toContain(id)
}

/** Everything that must hold when a world is quiet. */
export async function check(run: Run): Promise<void> {
  expect(run.violations).toEqual([])
  checkTruth(run)
  await checkLeases(run)
  checkCases(run)
  checkBooks(run)
  checkQuiet(run)
  checkAudit(run)
}
