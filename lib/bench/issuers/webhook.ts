import { randomUUID } from 'node:crypto'
import { Agent, request } from 'node:http'
import { signMessage } from '../../../functions/domain/signature.ts'
import type { Lever, Secret, Target } from '../../../functions/providers/webhook/definition.ts'
import { Settings } from '../../../functions/providers/webhook/definition.ts'
import { provider as module } from '../../../functions/providers/webhook/provider.ts'
import { startWebhook, targetOf } from '../../local/issuers/webhook.ts'
import type { IssuerBench } from './contract.ts'

export const issuer: IssuerBench<Target, Secret, Lever, Settings> = {
  module,
  missing: () => undefined,
  async start() {
    const server = await startWebhook()
    const { signingSecret, name: receiver, port, service } = server
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const warrant = { case: 'bench', lane: 'p1', epoch: 1, fencedAt: '2026-01-01T00:00:00.000Z' }
    const post = (body: string) =>
      new Promise<void>((done, fail) => {
        const signature = signMessage({ id: `msg_${randomUUID()}`, timestamp: Date.now(), body, secrets: [signingSecret] })
        const headers = { ...signature, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
        const sent = request(server.endpoint, { method: 'POST', agent, headers }, (response) => {
          response.resume()
          response.once('end', () =>
            response.statusCode === 200 ? done() : fail(new Error(`the endpoint answers ${response.statusCode}`)),
          )
        })
        sent.once('error', fail)
        sent.end(body)
      })
    return {
      counterpart: 'the reference receiver, in this process',
      adminSecret: JSON.stringify({ signingSecret }),
      port,
      reached: (at) => ({ settings: Settings.parse({ endpoint: `http://127.0.0.1:${at}/`, receiver }) }),
      mint: async (count) =>
        Array.from({ length: count }, () => {
          const token = service.mint(randomUUID())
          return { lease: token.id, target: targetOf(token) }
        }),
      async loop(subjects) {
        for (const { lease, target } of subjects) {
          const leases = [{ lease, key: `bench:${lease}`, target }]
          await post(JSON.stringify({ type: 'rescind.revoke', contract: 1, receiver, leases, warrant }))
        }
      },
      looped: 'POST of one signed lease',
      async stop() {
        agent.destroy()
        await server.stop()
      },
    }
  },
}
