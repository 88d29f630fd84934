import { createConnection } from 'mysql2/promise'
import type { Settings, Target } from '../../../functions/providers/mysql/definition.ts'
import { provider } from '../../../functions/providers/mysql/provider.ts'
import { mariadbMissing, mariadbVersion, startMariadb } from '../../local/issuers/mariadb.ts'
import type { IssuerBench } from './contract.ts'

/** Accounts of one statement. */
const AT_ONCE = 200
const IDENTIFIER = /^worker_\d+$/

export const issuer: IssuerBench<Target, never, never, Settings> = {
  module: provider,
  missing: mariadbMissing,
  async start(folder) {
    const server = await startMariadb({ folder })
    const { host, port, root, admin, marker } = server
    const client = await createConnection({ host, port, ...root })
    client.on('error', () => undefined)
    let serial = 0
    return {
      counterpart: `MariaDB ${await mariadbVersion()}, nothing synced`,
      adminSecret: JSON.stringify(admin),
      port,
      reached: (at) => ({
        settings: {
          ...{ host, port: at, tls: { mode: 'disable' }, server: { by: 'marker', marker } },
          ...{ connectTimeoutMilliseconds: 5000, statementTimeoutMilliseconds: 10_000 },
        },
      }),
      async mint(count) {
        const users: string[] = []
        for (let from = 0; from < count; from += AT_ONCE) {
          const some = Array.from({ length: Math.min(AT_ONCE, count - from) }, () => {
            serial += 1
            return `worker_${serial}`
          })
          await client.query(`CREATE USER ${some.map((user) => `${user}@'%' IDENTIFIED BY 'password of ${user}'`).join(', ')}`)
          users.push(...some)
        }
        return users.map((user) => ({ lease: user, target: { user } }))
      },
      async loop(subjects) {
        for (const { target } of subjects) {
          if (!IDENTIFIER.test(target.user)) throw new Error(`no user of the benchmark: ${target.user}`)
          await client.query(`ALTER USER ${target.user}@'%' ACCOUNT LOCK`)
          await client.query(`KILL USER ${target.user}`)
        }
      },
      looped: 'ALTER USER ACCOUNT LOCK, KILL USER',
      async stop() {
        client.destroy()
        await server.stop()
      },
    }
  },
}
