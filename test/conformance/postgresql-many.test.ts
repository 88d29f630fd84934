import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { LIST_ROLES } from '../../functions/providers/postgresql/listing.ts'
import * as sql from '../../functions/providers/postgresql/statements.ts'
import type { LocalPostgres } from '../../lib/local/issuers/postgres.ts'
import { startPostgres } from '../../lib/local/issuers/postgres.ts'

/** Roles of the server, all marked as cut but the last. */
const ROLES = 3000

let folder: string
let server: LocalPostgres
let admin: pg.Client

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rescind-test-'))
  server = await startPostgres({ folder })
  const { host, port, database } = server
  admin = new pg.Client({ host, port, database, ...server.admin })
  admin.on('error', () => undefined)
  await admin.connect()
  await admin.query(sql.CREATE_MARKERS)
  for (let at = 0; at < ROLES; at += 500)
    await admin.query(Array.from({ length: 500 }, (_, index) => `CREATE ROLE role_${at + index} LOGIN`).join(';'))
  const cut = Array.from({ length: ROLES - 1 }, (_, index) => `role_${index}`)
  await admin.query(`GRANT ${sql.REVOKED} TO ${cut.join(', ')}`)
  await admin.query(`CREATE ROLE team NOLOGIN; GRANT team TO role_7, role_${ROLES - 1}`)
  await admin.query('ANALYZE')
  await admin.query(sql.PLAN_ONCE)
}, 120_000)

afterAll(async () => {
  await admin?.end()
  await server?.stop()
  await rm(server.files, { recursive: true, force: true })
  await rm(folder, { recursive: true, force: true })
})

interface Node {
  readonly 'Relation Name'?: string
  readonly 'Actual Rows'?: number
  readonly 'Actual Loops'?: number
  readonly 'Rows Removed by Filter'?: number
  readonly Plans?: readonly Node[]
}

/** Rows of the catalogue that a node and those below it took into the hand. */
const rowsOf = (node: Node): number => {
  const each = (node['Actual Rows'] ?? 0) + (node['Rows Removed by Filter'] ?? 0)
  const own = node['Relation Name'] === undefined ? 0 : each * (node['Actual Loops'] ?? 0)
  return (node.Plans ?? []).reduce((sum, below) => sum + rowsOf(below), own)
}

/** Rows of the catalogue that a look reads, planned as it is in use: without its values. */
async function rowsRead(statement: string, values: readonly (readonly [type: string, literal: string])[]): Promise<number> {
  await admin.query(`PREPARE look (${values.map(([type]) => type).join(', ')}) AS ${statement}`)
  const { rows } = await admin.query<{ 'QUERY PLAN': readonly { Plan: Node }[] }>(
    `EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE look (${values.map(([, literal]) => literal).join(', ')})`,
  )
  await admin.query('DEALLOCATE look')
  const plan = rows[0]?.['QUERY PLAN'][0]?.Plan
  return plan === undefined ? Number.NaN : rowsOf(plan)
}

describe('postgresql among thousands of roles', () => {
  const last = `role_${ROLES - 1}`

  it('reads a few rows of the catalogue to find a role, by oid or by name, marked, open or gone', async () => {
    const { rows } = await admin.query<{ oid: string }>('SELECT oid::text AS oid FROM pg_roles WHERE rolname = $1', [last])
    const looks = [
      [last, rows[0]?.oid ?? ''],
      [last, 'NULL'],
      ['role_7', 'NULL'],
      ['nobody', 'NULL'],
      [last, '1'],
    ]
    for (const [name, oid] of looks)
      expect(
        await rowsRead(sql.withPreflight(sql.FIND_ROLES), [
          ['text[]', `'{${name}}'`],
          ['oid[]', `'{${oid}}'`],
        ]),
      ).toBeLessThan(20)
  })

  it('reads a few rows to find the sessions of a role, and all roles once at most to find the members of a group', async () => {
    expect(await rowsRead(sql.FIND_MEMBERS, [['text', `'team'`]])).toBeLessThan(1.1 * ROLES)
    const values = ['text[]', 'oid[]', 'text[]', 'int[]', 'timestamptz[]'].map((type) => [type, `'{NULL}'`] as const)
    expect(
      await rowsRead(sql.FIND_SESSIONS, [['text[]', `'{${last}}'`], ...values.slice(1), ['timestamptz', 'NULL']]),
    ).toBeLessThan(20)
    expect((await admin.query(sql.FIND_MEMBERS, ['team'])).rows).toHaveLength(3)
  })

  it('reads a page of the list by its index, wherever it begins', async () => {
    for (const behind of ['role_0', 'role_1500', `role_${ROLES - 40}`]) {
      const { rows } = await admin.query<{ oid: string }>('SELECT oid::text AS oid FROM pg_roles WHERE rolname = $1', [behind])
      const values = [
        ['oid', rows[0]?.oid ?? ''],
        ['int', '50'],
      ] as const
      expect(await rowsRead(sql.withPreflight(LIST_ROLES), values)).toBeLessThan(150)
    }
  })
})
