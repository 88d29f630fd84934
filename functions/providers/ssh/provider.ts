import type { Connection } from './client.ts'
import { HostSilent, openHost, readAdmin } from './client.ts'
import type { Host } from './definition.ts'
import { sshModule } from './module.ts'

/** A connection is used again only within this: sshd, a balancer or a sleeping Lambda function may have let it go. */
const IDLE_MILLISECONDS = 20_000

export const provider = sshModule(({ hosts, timeoutMilliseconds }, tools) => {
  /** By host, those that nobody uses now: one work at a time has one. */
  const idle = new Map<string, { readonly connection: Connection; readonly since: number; readonly secret: string }[]>()
  let closed = false
  const take = (name: string, secret: string): Connection | undefined => {
    for (;;) {
      const kept = idle.get(name)?.pop()
      if (kept === undefined) return undefined
      const { connection, since } = kept
      if (connection.isOpen() && kept.secret === secret && tools.now() - since < IDLE_MILLISECONDS) return connection
      connection.close()
    }
  }
  const held = (name: string, secret: string, connection: Connection) => ({
    ...connection,
    close: () => giveBack(name, secret, connection),
  })
  const giveBack = (name: string, secret: string, connection: Connection) => {
    if (closed || !connection.isOpen()) return connection.close()
    idle.set(name, [...(idle.get(name) ?? []), { connection, since: tools.now(), secret }])
  }
  return {
    dial(secret) {
      const admin = readAdmin(secret)
      const open = async (settings: Host) => {
        const kept = take(settings.name, secret)
        // Whether a connection that lay idle still is one shows when it is asked.
        const first = await kept?.look().catch((error: unknown) => {
          if (error instanceof HostSilent) throw error
          return undefined
        })
        if (kept !== undefined && first !== undefined) return { first, host: held(settings.name, secret, kept) }
        kept?.close()
        const connection = await openHost(settings, admin, timeoutMilliseconds)
        const host = held(settings.name, secret, connection)
        try {
          return { first: await host.look(), host }
        } catch (error) {
          host.close()
          throw error
        }
      }
      return { addresses: hosts.map((host) => ({ name: host.name, open: () => open(host) })), adminKey: admin.fingerprint }
    },
    close() {
      closed = true
      for (const { connection } of [...idle.values()].flat()) connection.close()
      idle.clear()
    },
  }
})
