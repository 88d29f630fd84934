import { Agent, request } from 'node:http'
import type { Secret, Target } from '../../../functions/providers/oauth/definition.ts'
import { Settings } from '../../../functions/providers/oauth/definition.ts'
import { provider as module } from '../../../functions/providers/oauth/provider.ts'
import { startOAuth } from '../../local/issuers/oauth.ts'
import { packageVersion } from '../../local/issuers/versions.ts'
import type { IssuerBench } from './contract.ts'

/** Tokens that are asked for at once while they are made. */
const AT_ONCE = 10

export const issuer: IssuerBench<Target, Secret, never, Settings> = {
  module,
  missing: () => undefined,
  async start() {
    const server = await startOAuth()
    const { admin, port } = server
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const authorization = `Basic ${btoa(`${encodeURIComponent(admin.clientId)}:${encodeURIComponent(admin.clientSecret)}`)}`
    const revoke = (token: string) =>
      new Promise<void>((done, fail) => {
        const body = `${new URLSearchParams({ token, token_type_hint: 'refresh_token' })}`
        const headers = { authorization, 'content-type': 'application/x-www-form-urlencoded', 'content-length': body.length }
        const sent = request(
          { host: '127.0.0.1', port, path: '/token/revocation', method: 'POST', agent, headers },
          (response) => {
            response.resume()
            response.once('end', () =>
              response.statusCode === 200 ? done() : fail(new Error(`the server answers ${response.statusCode}`)),
            )
          },
        )
        sent.once('error', fail)
        sent.end(body)
      })
    return {
      counterpart: `oidc-provider ${packageVersion('oidc-provider')}, in this process`,
      adminSecret: JSON.stringify(admin),
      port,
      // Its address is its name, so only where it is called differs.
      reached: (at) => ({
        settings: Settings.parse({
          issuer: server.issuer,
          introspects: 'all',
          endpoints: {
            from: 'configured',
            revocation: `http://127.0.0.1:${at}/token/revocation`,
            introspection: `http://127.0.0.1:${at}/token/introspection`,
            token: `http://127.0.0.1:${at}/token`,
          },
        }),
      }),
      async mint(count) {
        const tokens: string[] = []
        const places = Array.from({ length: count }, (_, place) => place).values()
        const one = async () => {
          for (const place of places) tokens.push((await server.issueToken(`somebody ${place}`)).refreshToken)
        }
        await Promise.all(Array.from({ length: AT_ONCE }, one))
        return tokens.map((token) => ({ lease: token, target: { tokenType: 'refresh_token' }, secret: { token } }))
      },
      async loop(subjects) {
        for (const { secret } of subjects) {
          if (secret === undefined || !('token' in secret)) throw new Error('a subject without its token')
          await revoke(secret.token)
        }
      },
      looped: 'POST /token/revocation',
      async stop() {
        agent.destroy()
        await server.stop()
      },
    }
  },
}
