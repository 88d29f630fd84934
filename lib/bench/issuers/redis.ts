import { createClient } from '@redis/client'
import type { Settings, Target } from '../../../functions/providers/redis/definition.ts'
import { provider } from '../../../functions/providers/redis/provider.ts'
import { newTag, redisMissing, redisVersion, startRedis } from '../../local/issuers/redis.ts'
import type { IssuerBench } from './contract.ts'

/** Users sent at once: what a client's buffer takes easily. */
const AT_ONCE = 500

export const issuer: IssuerBench<Target, never, never, Settings> = {
  module: provider,
  missing: redisMissing,
  async start(folder) {
    const server = await startRedis({ folder })
    const { host, port, root, admin, tag } = server
    const client = createClient({
      socket: { host, port, reconnectStrategy: false },
      username: root.user,
      password: root.password,
      RESP: 2,
      disableClientInfo: true,
    })
    client.on('error', () => undefined)
    await client.connect()
    let serial = 0
    return {
      counterpart: `Redis ${await redisVersion()}`,
      adminSecret: JSON.stringify(admin),
      port,
      reached: (at) => ({
        settings: {
          nodes: [{ host, port: at }],
          tls: { mode: 'disable' },
          server: tag,
          keep: 'acl-file',
          unlisted: 'refused',
          connectTimeoutMilliseconds: 5000,
          commandTimeoutMilliseconds: 10_000,
        },
      }),
      async mint(count) {
        const made: { lease: string; target: Target }[] = []
        for (let from = 0; from < count; from += AT_ONCE) {
          const users = Array.from({ length: Math.min(AT_ONCE, count - from) }, () => {
            serial += 1
            return { user: `worker-${serial}`, tag: newTag() }
          })
          await Promise.all(
            users.map((one) =>
              client.sendCommand(['ACL', 'SETUSER', one.user, 'on', `>password of ${one.user}`, `#${one.tag}`, '~*', '+@all']),
            ),
          )
          made.push(...users.map((target) => ({ lease: target.user, target })))
        }
        return made
      },
      async loop(subjects) {
        for (const { target } of subjects) await client.sendCommand(['ACL', 'DELUSER', target.user])
      },
      looped: 'ACL DELUSER',
      async stop() {
        client.destroy()
        await server.stop()
      },
    }
  },
}
