import { Agent, request } from 'node:http'
import { join } from 'node:path'
import type { Target } from '../../../functions/providers/rabbitmq/definition.ts'
import { Settings } from '../../../functions/providers/rabbitmq/definition.ts'
import { fingerprintOf } from '../../../functions/providers/rabbitmq/names.ts'
import { provider as module } from '../../../functions/providers/rabbitmq/provider.ts'
import { rabbitmqMissing, startRabbitmq } from '../../local/issuers/rabbitmq.ts'
import type { IssuerBench } from './contract.ts'

/** Users that are made at once. */
const AT_ONCE = 5

export const issuer: IssuerBench<Target, never, never, Settings> = {
  module,
  missing: rabbitmqMissing,
  async start(folder) {
    const server = await startRabbitmq({ folder: join(folder, 'rabbitmq') })
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const authorization = `Basic ${Buffer.from(`${server.root.user}:${server.root.password}`).toString('base64')}`
    const remove = (user: string) =>
      new Promise<void>((done, fail) => {
        const options = { host: server.host, port: server.managementPort, method: 'DELETE', agent, headers: { authorization } }
        const sent = request({ ...options, path: `/api/users/${encodeURIComponent(user)}` }, (response) => {
          response.resume()
          response.once('end', () =>
            response.statusCode === 204 ? done() : fail(new Error(`the server answers ${response.statusCode}`)),
          )
        })
        sent.once('error', fail)
        sent.end()
      })
    let made = 0
    return {
      counterpart: `RabbitMQ ${server.version}`,
      most: 200,
      adminSecret: JSON.stringify(server.admin),
      port: server.managementPort,
      reached: (port) => ({ settings: Settings.parse({ url: `http://127.0.0.1:${port}`, cluster: server.cluster }) }),
      async mint(count) {
        const names = Array.from({ length: count }, () => {
          made += 1
          return `bench-${made}`
        })
        const places = names.values()
        const one = async () => {
          for (const name of places) await server.call('PUT', `/users/${name}`, { password: 'a password', tags: '' })
        }
        await Promise.all(Array.from({ length: AT_ONCE }, one))
        const users = JSON.parse((await server.call('GET', '/users')).text) as { name: string; password_hash: string }[]
        const hashes = new Map(users.map(({ name, password_hash: hash }) => [name, hash]))
        return names.map((user) => ({ lease: user, target: { user, hash: fingerprintOf(hashes.get(user) ?? '') } }))
      },
      async loop(subjects) {
        for (const { target } of subjects) await remove(target.user)
      },
      looped: 'DELETE /api/users/{name}',
      async stop() {
        agent.destroy()
        await server.stop()
      },
    }
  },
}
