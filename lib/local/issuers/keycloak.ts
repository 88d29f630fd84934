import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { RegisteredClient } from './oauth.ts'
import { freePort } from './postgres.ts'
import { program, startServer } from './server.ts'

/** What is run, from Maven Central: the distribution that Keycloak itself publishes there. */
const VERSION = '26.4.7'
const ARTIFACT = `org.keycloak:keycloak-quarkus-dist:${VERSION}:zip`
const MAVEN_COPY = 'org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy'
const INSTALL_MILLISECONDS = 600_000
const START_SECONDS = 300
const HOST = '127.0.0.1'
const REALM = 'rescind'

/** A Keycloak of our own on loopback with one realm, in memory: for the long conformance run. */
export interface LocalKeycloak {
  readonly version: string
  readonly issuer: string
  readonly port: number
  /** A confidential client that tokens are issued to, and that may revoke and introspect them. */
  readonly admin: { readonly clientId: string; readonly clientSecret: string }
  readonly clients: string
  /** Tokens of a new session of the one user. */
  issueToken(): Promise<{ readonly accessToken: string; readonly refreshToken: string; readonly expiresAt: string }>
  honours(token: string, tokenType: 'access_token' | 'refresh_token'): Promise<boolean>
  registerClient(name: string): Promise<RegisteredClient>
  tokenOf(client: Pick<RegisteredClient, 'clientId' | 'clientSecret'>): Promise<string | undefined>
  stop(): Promise<void>
}

/** Why Keycloak cannot run on this machine, if it cannot. */
export const keycloakMissing = (): string | undefined =>
  program('java') === undefined ? 'java is not installed' : program('mvn') === undefined ? 'mvn is not installed' : undefined

/** Fetches the distribution once into `cache`, and starts it. `behind`: the port of the proxy by which it is known. */
export async function startKeycloak(options: {
  readonly cache: string
  readonly folder: string
  readonly port?: number
  readonly behind?: number
}): Promise<LocalKeycloak> {
  const home = await distribution(options.cache)
  const [port, management] = [options.port ?? (await freePort()), await freePort()]
  const bootstrap = { user: 'bootstrap', password: randomBytes(16).toString('hex') }
  const local = `http://${HOST}:${port}`
  const issuer = `http://${HOST}:${options.behind ?? port}/realms/${REALM}`
  const server = await startServer({
    program: join(home, 'bin', 'kc.sh'),
    args: ['start-dev', '--db=dev-mem', `--http-host=${HOST}`, `--http-port=${port}`, `--http-management-port=${management}`],
    folder: options.folder,
    environment: {
      KC_BOOTSTRAP_ADMIN_USERNAME: bootstrap.user,
      KC_BOOTSTRAP_ADMIN_PASSWORD: bootstrap.password,
      KC_HOSTNAME: `http://${HOST}:${options.behind ?? port}`,
      KC_CACHE: 'local',
      KC_LOG_LEVEL: 'warn',
      JAVA_OPTS_APPEND: '-XX:TieredStopAtLevel=1 -Xmx512m',
    },
    ready: async () => (await fetch(`${local}/realms/master`)).ok,
    startSeconds: START_SECONDS,
  })
  try {
    return { ...(await realm(local, issuer, bootstrap)), port, stop: server.stop }
  } catch (error) {
    await server.stop()
    throw error
  }
}

async function realm(
  local: string,
  issuer: string,
  bootstrap: { readonly user: string; readonly password: string },
): Promise<Omit<LocalKeycloak, 'port' | 'stop'>> {
  const token = async (at: string, form: Readonly<Record<string, string>>) =>
    await fetch(`${local}/realms/${at}/protocol/openid-connect/token`, { method: 'POST', body: new URLSearchParams(form) })
  const manager = async () => {
    const { user: username, password } = bootstrap
    const response = await token('master', { grant_type: 'password', client_id: 'admin-cli', username, password })
    return ((await response.json()) as { readonly access_token: string }).access_token
  }
  const manage = async (path: string, body: unknown) => {
    const response = await fetch(`${local}/admin/realms${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${await manager()}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    if (!response.ok) throw new Error(`Keycloak answered ${response.status} to ${path}: ${await response.text()}`)
    return response
  }
  const admin = { clientId: 'workloads', clientSecret: randomBytes(24).toString('base64url') }
  const user = { username: 'worker', password: randomBytes(16).toString('hex') }
  await manage('', { realm: REALM, enabled: true, sslRequired: 'none' })
  await manage(`/${REALM}/clients`, {
    clientId: admin.clientId,
    secret: admin.clientSecret,
    publicClient: false,
    directAccessGrantsEnabled: true,
    serviceAccountsEnabled: true,
    standardFlowEnabled: false,
  })
  await manage(`/${REALM}/users`, {
    username: user.username,
    enabled: true,
    emailVerified: true,
    email: 'worker@example.com',
    firstName: 'A',
    lastName: 'Worker',
    credentials: [{ type: 'password', value: user.password, temporary: false }],
  })
  const initial = await manage(`/${REALM}/clients-initial-access`, { count: 1000, expiration: 86_400 })
  const { token: initialToken } = (await initial.json()) as { readonly token: string }
  const asAdmin = { client_id: admin.clientId, client_secret: admin.clientSecret }

  return {
    version: VERSION,
    issuer,
    admin,
    clients: `${issuer}/clients-registrations/openid-connect/{client_id}`,
    async issueToken() {
      const response = await token(REALM, { grant_type: 'password', scope: 'openid', ...asAdmin, ...user })
      if (!response.ok) throw new Error(`Keycloak issued no token: ${await response.text()}`)
      const issued = (await response.json()) as { access_token: string; refresh_token: string; expires_in: number }
      return {
        accessToken: issued.access_token,
        refreshToken: issued.refresh_token,
        expiresAt: new Date(Date.now() + issued.expires_in * 1000).toISOString(),
      }
    },
    async honours(shown, tokenType) {
      const response =
        tokenType === 'refresh_token'
          ? await token(REALM, { grant_type: 'refresh_token', refresh_token: shown, ...asAdmin })
          : await fetch(`${local}/realms/${REALM}/protocol/openid-connect/userinfo`, {
              headers: { authorization: `Bearer ${shown}` },
            })
      await response.body?.cancel()
      if (response.ok) return true
      if (response.status === 400 || response.status === 401) return false
      throw new Error(`Keycloak answered ${response.status}`)
    },
    async registerClient(name) {
      const response = await fetch(`${local}/realms/${REALM}/clients-registrations/openid-connect`, {
        method: 'POST',
        headers: { authorization: `Bearer ${initialToken}`, 'content-type': 'application/json' },
        body: JSON.stringify({ client_name: name, grant_types: ['client_credentials'], redirect_uris: [] }),
      })
      if (!response.ok) throw new Error(`Keycloak registered no client: ${response.status} ${await response.text()}`)
      const made = (await response.json()) as Record<'client_id' | 'client_secret' | 'registration_access_token', string>
      return { clientId: made.client_id, clientSecret: made.client_secret, registrationToken: made.registration_access_token }
    },
    async tokenOf({ clientId, clientSecret }) {
      const response = await token(REALM, {
        grant_type: 'client_credentials',
        client_id: clientId,
        client_secret: clientSecret,
      })
      const body = (await response.json()) as { readonly access_token?: string; readonly error?: string }
      if (response.ok) return body.access_token
      if (response.status === 401) return undefined
      throw new Error(`Keycloak answered ${response.status} ${body.error}`)
    },
  }
}

async function distribution(cache: string): Promise<string> {
  const home = join(cache, `keycloak-${VERSION}`)
  if (existsSync(join(home, 'bin', 'kc.sh'))) return home
  const [maven, jar] = [program('mvn'), program('jar')]
  if (maven === undefined || jar === undefined) throw new Error('mvn and jar are needed to fetch Keycloak')
  await mkdir(cache, { recursive: true })
  const run = promisify(execFile)
  const part = join(cache, `keycloak-${VERSION}.part`)
  await rm(part, { recursive: true, force: true })
  await mkdir(part)
  await run(maven, ['-q', '-B', MAVEN_COPY, `-Dartifact=${ARTIFACT}`, `-DoutputDirectory=${part}`], {
    cwd: part,
    timeout: INSTALL_MILLISECONDS,
  })
  const [archive] = (await readdir(part)).filter((name) => name.endsWith('.zip'))
  if (archive === undefined) throw new Error('Maven brought no archive')
  await run(jar, ['xf', archive], { cwd: part, timeout: INSTALL_MILLISECONDS })
  await run('/bin/chmod', ['+x', join(part, `keycloak-${VERSION}`, 'bin', 'kc.sh')])
  await run('/bin/mv', [join(part, `keycloak-${VERSION}`), home])
  await rm(part, { recursive: true, force: true })
  return home
}
