import type { Answer, Liveness } from '../contract.ts'
import type { OAuthClient } from './client.ts'
import type { ClientSecret, ClientTarget, Secret, Settings } from './definition.ts'
import { UNMANAGED } from './definition.ts'

/** Between an accepted deletion and the next look, where the client's secret is still taken. */
const LAG_SECONDS = 5
const TOKENS = 'tokens that it was given before live to their own ends'
const NO_SECRET = 'the lease holds no client secret and registration access token'

/**
 * Deletes one client (RFC 7592, section 2.3), if it is still the one that the lease means: a client of the same id with
 * another secret is left alone. 401 for its registration token is no proof of anything, since a server answers so for a
 * client that is gone and for a token that was changed; what counts is whether the client's secret is taken. Nothing is
 * read first: a server may change the token with each answer that shows a registration (section 2.1), and lose us there.
 */
export async function cutClient(
  admin: OAuthClient,
  { clients }: Pick<Settings, 'clients'>,
  { client }: ClientTarget,
  secret: Secret | undefined,
): Promise<Answer> {
  if (clients === undefined) return { status: 'unsupported', said: UNMANAGED }
  if (!isClientSecret(secret)) return { status: 'irrevocable', said: NO_SECRET }
  // Neither can be told from a step in the path, escaped or not (WHATWG URL, section 4.4).
  if (client === '.' || client === '..') return { status: 'irrevocable', said: 'this client id cannot stand in an address' }
  const address = clients.replace('{client_id}', () => encodeURIComponent(client))
  const taken = await admin.authenticates(client, secret.clientSecret)
  if (!taken) return { status: 'absent', said: 'the server refuses this client secret (invalid_client)' }
  const deleted = await admin.deleteRegistration(address, secret.registrationToken)
  if (!deleted.done) {
    return {
      status: 'irrevocable',
      said: `the client's secret is taken, but its registration access token is not (${deleted.http})`,
    }
  }
  if (await admin.authenticates(client, secret.clientSecret)) {
    const said = 'the client was deleted, but its secret is still taken'
    return { status: 'retry', said, effect: 'unknown', afterSeconds: LAG_SECONDS }
  }
  return { status: 'revoked', said: `client deleted; its secret is refused (invalid_client); ${TOKENS}` }
}

export async function livenessOfClient(
  admin: OAuthClient,
  { client }: ClientTarget,
  secret: Secret | undefined,
): Promise<Liveness> {
  if (!isClientSecret(secret)) return { status: 'unknown', said: NO_SECRET }
  return (await admin.authenticates(client, secret.clientSecret))
    ? { status: 'alive', said: 'the client secret is taken' }
    : { status: 'dead', said: 'the client secret is refused (invalid_client)' }
}

const isClientSecret = (secret: Secret | undefined): secret is ClientSecret => secret !== undefined && 'clientSecret' in secret
