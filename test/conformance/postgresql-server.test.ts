import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterEach, expect, it } from 'vitest'
import type { LocalPostgres } from '../../lib/local/issuers/postgres.ts'
import { startPostgres } from '../../lib/local/issuers/postgres.ts'

const started: LocalPostgres[] = []
const folders: string[] = []

afterEach(async () => {
  for (const server of started.splice(0)) {
    await server.stop()
    await rm(server.files, { recursive: true, force: true })
  }
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true })
})

it('keeps its roles, its admin and its identity over a second start, and lets nobody in without a password', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'rescind-test-'))
  folders.push(folder)
  const first = await startPostgres({ folder })
  started.push(first)
  const address = { host: first.host, port: first.port, database: first.database }
  const admin = new pg.Client({ ...address, ...first.admin })
  admin.on('error', () => undefined)
  await admin.connect()
  await admin.query(`CREATE ROLE kept LOGIN PASSWORD 'kept-password'`)
  await expect(new pg.Client({ ...address, user: 'kept', password: 'wrong' }).connect()).rejects.toMatchObject({ code: '28P01' })
  await first.stop()
  await first.stop()
  await expect(new pg.Client({ ...address, ...first.admin }).connect()).rejects.toMatchObject({ code: 'ECONNREFUSED' })

  const second = await startPostgres({ folder })
  started.push(second)
  expect([second.system, second.admin]).toEqual([first.system, first.admin])
  const kept = new pg.Client({
    host: second.host,
    port: second.port,
    database: second.database,
    user: 'kept',
    password: 'kept-password',
  })
  await kept.connect()
  expect((await kept.query('SHOW password_encryption')).rows).toEqual([{ password_encryption: 'scram-sha-256' }])
  await kept.end()
})
