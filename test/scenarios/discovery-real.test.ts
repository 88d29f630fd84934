import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { DiscoveryView, FindingView } from '../../functions/contracts/discovery.ts'
import { DOMAIN, Estate } from '../support/estate.ts'
import { Issuers } from '../support/issuers.ts'

/** A discovery of a real PostgreSQL server, over the public API, by an admin who is no superuser. */

let issuers: Issuers
let estate: Estate

beforeAll(async () => {
  issuers = await Issuers.start()
  estate = await Estate.open(issuers)
}, 120_000)
afterAll(async () => {
  estate?.close()
  await issuers?.stop()
})

it('what nobody registered at a server is found among thousands of roles, drift is told, and a shadow is cut by its name', async () => {
  const root = issuers.as('orders')
  const quoted = pg.escapeIdentifier
  const mint = () => issuers.mintRole('managed')
  const crowd = await issuers.mintRoles('managed', 1500)
  const [known, off, lost, other, cut, shadow, long] = await Promise.all([mint(), mint(), mint(), mint(), mint(), mint(), mint()])
  const gone = `${DOMAIN}/workload/leaver`
  for (const one of [known, off, lost, other]) await estate.registerRole(one)
  await estate.registerRole(long, { expiresAt: estate.in(3600) })
  await estate.registerRole(cut, { identity: gone })
  await estate.closed((await estate.trigger('responder', 'compromise', { kind: 'identity', id: gone })).case)

  // What was touched within the last seconds before a list is not missed in it.
  await estate.pass(60)

  // Behind our back.
  await root.query(`ALTER ROLE ${quoted(off.role)} NOLOGIN`)
  await root.query(`DROP ROLE ${quoted(lost.role)}; DROP ROLE ${quoted(other.role)}; CREATE ROLE ${quoted(other.role)} LOGIN`)
  await root.query(`ALTER ROLE ${quoted(cut.role)} LOGIN`)
  await root.query(`ALTER ROLE ${quoted(long.role)} VALID UNTIL '2039-01-01'`)
  await root.query('CREATE ROLE backdoor LOGIN SUPERUSER')
  const before = await issuers.count([known, shadow, cut, ...crowd])

  const discoveries = '/v1/issuers/managed/discoveries'
  const { id } = await estate.call<DiscoveryView>('POST', discoveries, 'ana', { reason: 'a look' })
  const show = () => estate.call<DiscoveryView>('GET', `${discoveries}/${id}`, 'ana')
  const view = await estate.until(async () => {
    const one = await show()
    return one.state !== 'listing' && one.state !== 'comparing' && one.state !== 'settling' && one
  })
  const findings = await estate.list<FindingView>(`${discoveries}/${id}/findings?limit=200`)
  const of = (kind: string) => findings.filter((one) => one.kind === kind).map(({ shown }) => shown)
  expect(view).toMatchObject({ state: 'done', truncated: true, findings: { unregistered: { found: 1503, kept: 1000 } } })
  // Fifteen hundred others hide neither what somebody made last nor that it is powerful.
  expect(of('unregistered')).toContain('superuser backdoor')
  expect(of('own')).toHaveLength(2)
  expect(of('disabled')).toEqual([`role ${off.role}`])
  expect(of('replaced')).toEqual([`role ${other.role}`])
  expect(of('revived')).toEqual([`role ${cut.role}`])
  expect(of('outlives')).toEqual([`role ${long.role}`])
  expect(of('gone')).toHaveLength(1)
  // It only reads.
  expect(await issuers.count([known, shadow, cut, ...crowd])).toEqual(before)

  const [{ shown } = { shown: '' }] = findings.filter((one) => one.shown === `role ${shadow.role}`)
  const { case: id2 } = await estate.trigger('responder', 'compromise', {
    kind: 'credential-name',
    name: shown,
    issuer: 'managed',
  })
  expect(await estate.closed(id2)).toMatchObject({ amendments: { outcomes: { revoked: 1 } } })
  expect(await shadow.login()).not.toBeUndefined()
  expect(await known.login()).toBeUndefined()
  for (const { password } of [known, shadow, cut]) estate.expectNowhere(password)
})
