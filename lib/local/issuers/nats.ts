import { execFile } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { encodeAccount, encodeOperator, encodeUser } from '@nats-io/jwt'
import type { KeyPair } from '@nats-io/nkeys'
import { createAccount, createOperator, createUser } from '@nats-io/nkeys'
import { signerOf, signToken } from '../../../functions/providers/nats/token.ts'
import { freePort } from './postgres.ts'
import { program, startServer } from './server.ts'

/** Who signs what: an operator, its signing keys, and the system account. Servers of one operator share it. */
export interface NatsOperator {
  readonly operator: KeyPair
  /** Signs accounts for those who arrange a test. */
  readonly rootSigner: KeyPair
  /** Signs accounts for the provider: the operator's own key is not handed out. */
  readonly signer: KeyPair
  readonly operatorToken: string
  readonly system: KeyPair
  readonly systemToken: string
  /** A user of the system account that may do everything. */
  readonly root: NatsUser
  /** A user of the system account that may do what the provider's README asks for, and no more. */
  readonly admin: NatsUser
}

export interface NatsUser {
  readonly key: KeyPair
  readonly token: string
}

export interface LocalNats {
  readonly host: string
  readonly port: number
  readonly pid: number
  /** PEM, to be trusted for `nats.test`; where it was started with `tls`. */
  readonly ca: string | undefined
  stop(): Promise<void>
}

export interface NatsOptions {
  readonly folder: string
  readonly operator: NatsOperator
  readonly port?: number
  readonly name?: string
  /** Makes it one of a cluster: its own route port, and those of the others. */
  readonly cluster?: { readonly name: string; readonly port: number; readonly routes: readonly number[] }
  /** With a certificate of its own, which is made by `openssl`. */
  readonly tls?: boolean
  /** Further lines of its configuration. */
  readonly lines?: readonly string[]
}

const HOST = '127.0.0.1'

/** What the admin user may publish and hear, as the provider's README states it. */
export const ADMIN_PERMISSIONS = {
  pub: {
    allow: [
      '$SYS.REQ.SERVER.PING',
      '$SYS.REQ.SERVER.PING.VARZ',
      '$SYS.REQ.SERVER.PING.ACCOUNTZ',
      '$SYS.REQ.SERVER.PING.CONNZ',
      '$SYS.REQ.CLAIMS.LIST',
      '$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP',
      '$SYS.REQ.CLAIMS.UPDATE',
    ],
  },
  sub: { allow: ['$SYS.REQ.CLAIMS.UPDATE', '_INBOX.>'] },
}

/** Limits of an account, without which nobody may connect. */
export const LIMITS = { subs: -1, conn: -1, leaf: -1, imports: -1, exports: -1, data: -1, payload: -1, wildcards: true }

/** Why there can be none on this machine; `undefined` where there can. */
export const natsMissing = (): string | undefined =>
  program('nats-server') === undefined ? 'nats-server is not installed (apt: nats-server)' : undefined

/** `2.9.10`; `undefined` where it is not installed. */
export async function natsVersion(): Promise<string | undefined> {
  const server = program('nats-server')
  if (server === undefined) return undefined
  const { stdout } = await promisify(execFile)(server, ['--version'])
  return /v(\d\S*)/.exec(stdout)?.[1]
}

export async function newOperator(name = 'operator'): Promise<NatsOperator> {
  const [operator, rootSigner, signer] = [createOperator(), createOperator(), createOperator()]
  const [system, rootKey, adminKey] = [createAccount(), createUser(), createUser()]
  const signing = [rootSigner, signer].map((key) => key.getPublicKey())
  const operatorToken = await encodeOperator(name, operator, {
    signing_keys: signing,
    system_account: system.getPublicKey(),
  })
  const systemToken = await encodeAccount('SYS', system, { limits: LIMITS }, { signer: rootSigner })
  const root = { key: rootKey, token: await encodeUser('root', rootKey, system, {}) }
  const admin = { key: adminKey, token: await encodeUser('rescind', adminKey, system, ADMIN_PERMISSIONS) }
  return { operator, rootSigner, signer, operatorToken, system, systemToken, root, admin }
}

/** A server in operator mode that keeps the accounts' JWTs in its folder. */
export async function startNats(options: NatsOptions): Promise<LocalNats> {
  const server = program('nats-server')
  if (server === undefined) throw new Error(natsMissing())
  const folder = resolve(options.folder)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const { operator, name = 'local', cluster, tls = false, lines = [] } = options
  const ca = tls ? await certificate(folder) : undefined
  const port = options.port ?? (await freePort())
  const system = operator.system.getPublicKey()
  const routes = (cluster?.routes ?? []).map((route) => `nats-route://${HOST}:${route}`).join(', ')
  const config = [
    `server_name: "${name}"`,
    `listen: "${HOST}:${port}"`,
    `operator: ${operator.operatorToken}`,
    `system_account: ${system}`,
    `resolver: { type: full, dir: "${join(folder, 'accounts')}", allow_delete: true, interval: "2m", timeout: "200ms" }`,
    `resolver_preload: { ${system}: ${operator.systemToken} }`,
    ...(cluster === undefined
      ? []
      : [`cluster: { name: "${cluster.name}", listen: "${HOST}:${cluster.port}", routes: [${routes}] }`]),
    ...(tls ? [`tls: { cert_file: "${join(folder, 'server.crt')}", key_file: "${join(folder, 'server.key')}" }`] : []),
    ...lines,
  ]
  const file = join(folder, 'nats.conf')
  await writeFile(file, `${config.join('\n')}\n`, { mode: 0o600 })
  const running = await startServer({ program: server, args: ['-c', file], folder, ready: () => greets(port) })
  return { host: HOST, port, pid: running.pid, ca, stop: running.stop }
}

async function certificate(folder: string): Promise<string> {
  const openssl = program('openssl')
  if (openssl === undefined) throw new Error('openssl is not installed')
  const subject = ['-subj', '/CN=nats.test', '-addext', 'subjectAltName=DNS:nats.test']
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-keyout', 'server.key', '-nodes']
  await promisify(execFile)(openssl, ['req', '-x509', '-days', '30', ...key, '-out', 'server.crt', ...subject], { cwd: folder })
  return await readFile(join(folder, 'server.crt'), 'utf8')
}

async function greets(port: number): Promise<boolean> {
  return await new Promise((done) => {
    const socket = createConnection({ host: HOST, port })
    socket.setTimeout(1000, () => socket.destroy())
    socket.once('data', (bytes) => {
      socket.destroy()
      done(bytes.toString('latin1').startsWith('INFO '))
    })
    socket.once('error', () => done(false))
    socket.once('close', () => done(false))
  })
}

/** A JWT of a user, as a server takes it; `issuedAt` in seconds, which the project's own library always sets to now. */
export function userToken(
  name: string,
  user: KeyPair,
  account: KeyPair,
  issuedAt: number,
  claims: Readonly<Record<string, unknown>> = {},
): string {
  const nats = { pub: {}, sub: {}, subs: -1, data: -1, payload: -1, type: 'user', version: 2, ...claims }
  const unsigned = { sub: user.getPublicKey(), iss: account.getPublicKey(), iat: issuedAt, name, nats }
  const signer = signerOf(Buffer.from(account.getSeed()).toString(), 'A')
  return signToken(unsigned, signer, issuedAt).token
}
