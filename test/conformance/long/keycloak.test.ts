import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Secret, Settings as SettingsOf, Target, TokenTarget } from '../../../functions/providers/oauth/definition.ts'
import { Settings } from '../../../functions/providers/oauth/definition.ts'
import { provider as module } from '../../../functions/providers/oauth/provider.ts'
import type { LocalKeycloak } from '../../../lib/local/issuers/keycloak.ts'
import { keycloakMissing, startKeycloak } from '../../../lib/local/issuers/keycloak.ts'
import { freePort } from '../../../lib/local/issuers/postgres.ts'
import type { Credential, Harness } from '../suite.ts'
import { conformance, startGate, tools, WARRANT } from '../suite.ts'

/**
 * Keycloak, an authorization server that behaves otherwise than oidc-provider: it answers 200 with `invalid_token` in the
 * body to what it does not know, refuses to revoke another client's tokens, and ends a whole session with any token of it.
 */

const CACHE = join(import.meta.dirname, '..', '..', '..', '.rescind')
const missing = keycloakMissing()

async function started<Result>(use: (keycloak: LocalKeycloak, gate: Awaited<ReturnType<typeof startGate>>) => Result) {
  const folder = await mkdtemp(join(tmpdir(), 'rescind-keycloak-'))
  // Another realm's server behind the same address: all that tells it apart is the issuer that its metadata state.
  const other = createServer((_request, response) => {
    const issuer = 'http://127.0.0.1/realms/another'
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ issuer, revocation_endpoint: `${issuer}/revoke`, introspection_endpoint: `${issuer}/look` }))
  })
  const [port, otherPort] = [await freePort(), await freePort()]
  await new Promise<void>((done) => other.listen(otherPort, '127.0.0.1', done))
  const gate = await startGate(port, otherPort)
  const keycloak = await startKeycloak({ cache: CACHE, folder, port, behind: gate.port })
  const stop = async () => {
    await gate.close()
    other.closeAllConnections()
    other.close()
    await keycloak.stop()
    await rm(folder, { recursive: true, force: true })
  }
  return { ...(await use(keycloak, gate)), stop }
}

const settings = (keycloak: LocalKeycloak) =>
  Settings.parse({ issuer: keycloak.issuer, introspects: 'all', clients: keycloak.clients, timeoutMilliseconds: 3000 })

async function harness(tokenType: TokenTarget['tokenType']): Promise<Harness<Target, Secret, never, SettingsOf>> {
  return await started((keycloak, gate) => ({
    issuer: { name: 'keycloak', settings: settings(keycloak) },
    adminSecret: JSON.stringify(keycloak.admin),
    wrongSecret: JSON.stringify({ clientId: keycloak.admin.clientId, clientSecret: 'wrong-secret-0123456789' }),
    faults: gate,
    repeated: 'absent' as const,
    async mint(): Promise<Credential<Target, Secret>> {
      const issued = await keycloak.issueToken()
      const token = tokenType === 'access_token' ? issued.accessToken : issued.refreshToken
      return {
        subject: {
          lease: createHash('sha256').update(token).digest('hex'),
          target: { tokenType, clientId: keycloak.admin.clientId },
          secret: { token },
        },
        secrets: [token],
        works: () => keycloak.honours(token, tokenType),
      }
    },
    named: (token: string) => ({ lease: 'named', target: { tokenType }, secret: { token } }),
    pasted: ({ secrets: [token] }: Credential<Target, Secret>) => [`${token}`, `Bearer ${token}`],
    neverExisted: () => ({
      subject: { lease: 'never', target: { tokenType }, secret: { token: 'never-issued' } },
      status: 'absent' as const,
    }),
  }))
}

const about = {
  against: 'real' as const,
  counterpart: 'Keycloak 26.4.7',
  runs: 'long' as const,
  ...(missing === undefined ? {} : { missing }),
  lacks: {
    poison: 'a token that cannot be cut is one of another client, which this server refuses before it looks at the token',
    namesake: 'a token is its own name',
    throttled: 'Keycloak does not throttle its token endpoints',
  },
}
conformance(module, { ...about, title: 'refresh tokens' }, () => harness('refresh_token'), ['nonsense', 'named'])
conformance(module, { ...about, title: 'access tokens' }, () => harness('access_token'), ['nonsense', 'named'])

describe.skipIf(missing !== undefined)('oauth on Keycloak alone', () => {
  it('says it cannot cut the tokens of another client, deletes clients, and knows its tokens survive', async () => {
    const world = await started((keycloak) => ({ keycloak }))
    try {
      const { keycloak } = world
      const connect = (admin: LocalKeycloak['admin']) =>
        module.connect({ name: 'keycloak', settings: settings(keycloak) }, tools(JSON.stringify(admin)))
      const client = await keycloak.registerClient('a client')
      const { refreshToken } = await keycloak.issueToken()
      const foreign = { lease: 'f', target: { tokenType: 'refresh_token' as const }, secret: { token: refreshToken } }
      const other = await connect({ clientId: client.clientId, clientSecret: client.clientSecret })
      const [refused] = await other.revoke([foreign], WARRANT)
      expect(['irrevocable', 'retry']).toContain(refused?.status)
      expect(await keycloak.honours(refreshToken, 'refresh_token')).toBe(true)

      const provider = await connect(keycloak.admin)
      const { clientSecret, registrationToken } = client
      const subject = { lease: 'c', target: { client: client.clientId }, secret: { clientSecret, registrationToken } }
      expect(await provider.verify([subject], WARRANT)).toMatchObject([{ status: 'alive' }])
      expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
      expect(await keycloak.tokenOf(client)).toBeUndefined()
      expect(await provider.verify([subject], WARRANT)).toMatchObject([{ status: 'dead' }])
      expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'absent' }])
    } finally {
      await world.stop()
    }
  }, 400_000)
})
