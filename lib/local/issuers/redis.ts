import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from './postgres.ts'
import { program, startServer } from './server.ts'

/** A Redis server of our own on loopback, for tests and measurements: nothing but its users is ever written to a disk. */
export interface LocalRedis {
  readonly host: string
  readonly port: number
  /** May do everything; for those who arrange a test. */
  readonly root: { readonly user: string; readonly password: string }
  /** May do what the provider's README asks for, and no more. */
  readonly admin: { readonly user: string; readonly password: string }
  /** The tag by which the provider recognises the server. */
  readonly tag: string
  /** The authority of its certificate, PEM, where it speaks TLS alone; it is named `redis.test`. */
  readonly ca: string | undefined
  readonly pid: number
  stop(): Promise<void>
}

export interface RedisOptions {
  readonly folder: string
  readonly port?: number
  /** Where the server keeps its users: a file of their own, its configuration, or memory alone. */
  readonly users?: 'acl-file' | 'config-file' | 'memory'
  /** The tag of the admin; by chance where absent. Servers of one issuer share it. */
  readonly tag?: string
  readonly admin?: { readonly user: string; readonly password: string }
  /** TLS alone, with a certificate of its own. */
  readonly tls?: boolean
  /** Further lines of its configuration: `['cluster-enabled yes']`. */
  readonly lines?: readonly string[]
}

/** The rights of the provider's admin, as its README states them; in memory alone it may try either way to write. */
export const adminRules = (users: NonNullable<RedisOptions['users']>): string =>
  [
    'resetchannels',
    '-@all',
    ...['getuser', 'setuser', 'deluser', 'list'].map((name) => `+acl|${name}`),
    ...['+client|kill', '+client|list', '+info', '+multi', '+exec', '+cluster|info'],
    ...(users === 'config-file' ? [] : ['+acl|save']),
    ...(users === 'acl-file' ? [] : ['+config|rewrite']),
  ].join(' ')

const HOST = '127.0.0.1'

/** Why there can be none on this machine; `undefined` where there can. */
export const redisMissing = (): string | undefined =>
  program('redis-server') === undefined ? 'redis-server is not installed (apt: redis-server)' : undefined

/** `7.0.15`; `undefined` where it is not installed. */
export async function redisVersion(): Promise<string | undefined> {
  const server = program('redis-server')
  if (server === undefined) return undefined
  const { stdout } = await promisify(execFile)(server, ['--version'])
  return /v=(\S+)/.exec(stdout)?.[1]
}

const hashOf = (password: string) => createHash('sha256').update(password).digest('hex')

/** A tag as names.ts of the provider describes it. */
export const newTag = (): string => Buffer.concat([Buffer.from('rescind:'), randomBytes(24)]).toString('hex')

/** Starts a server with two users beside `default`, which is off. Started twice in one folder it finds its users again. */
export async function startRedis(options: RedisOptions): Promise<LocalRedis> {
  const server = program('redis-server')
  if (server === undefined) throw new Error(redisMissing())
  const folder = resolve(options.folder)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const port = options.port ?? (await freePort())
  const { users = 'acl-file', tag = newTag(), lines = [], tls = false } = options
  const root = { user: 'root', password: randomBytes(18).toString('base64url') }
  const admin = options.admin ?? { user: 'rescind', password: randomBytes(18).toString('base64url') }
  const acl = [
    'user default off',
    `user ${root.user} on #${hashOf(root.password)} ~* &* +@all`,
    `user ${admin.user} on #${hashOf(admin.password)} #${tag} ${adminRules(users)}`,
  ]
  const ca = tls ? await certificate(folder) : undefined
  const listen = tls ? ['port 0', `tls-port ${port}`, ...CERTIFICATE] : [`port ${port}`]
  const own = [`bind ${HOST}`, ...listen, `dir "${folder}"`, 'save ""', 'appendonly no', 'protected-mode no', ...lines]
  await writeFile(join(folder, 'users.acl'), `${acl.join('\n')}\n`, { flag: 'wx', mode: 0o600 }).catch(unlessThere)
  const config = [...own, ...(users === 'acl-file' ? [`aclfile "${join(folder, 'users.acl')}"`] : acl)].join('\n')
  const file = join(folder, 'redis.conf')
  await writeFile(file, `${config}\n`, { flag: 'wx', mode: 0o600 }).catch(unlessThere)
  // Without a configuration file it is told the same by its arguments, and has nowhere to write.
  const args = users === 'memory' ? memoryArguments([...own, ...acl]) : [file]
  const running = await startServer({ program: server, args, folder, ready: () => (tls ? listens(port) : answers(port)) })
  return { host: HOST, port, root, admin, tag, ca, pid: running.pid, stop: running.stop }
}

const CERTIFICATE = ['tls-cert-file server.crt', 'tls-key-file server.key', 'tls-auth-clients no', 'tls-ca-cert-file server.crt']

async function certificate(folder: string): Promise<string> {
  const openssl = program('openssl')
  if (openssl === undefined) throw new Error('openssl is not installed')
  const subject = ['-subj', '/CN=redis.test', '-addext', 'subjectAltName=DNS:redis.test']
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-keyout', 'server.key', '-nodes']
  await promisify(execFile)(openssl, ['req', '-x509', '-days', '30', ...key, '-out', 'server.crt', ...subject], { cwd: folder })
  return await readFile(join(folder, 'server.crt'), 'utf8')
}

function memoryArguments(lines: readonly string[]): string[] {
  return lines.flatMap((line) => {
    const [name = '', ...values] = line.split(' ')
    return [`--${name}`, ...values.map((value) => value.replaceAll('"', ''))]
  })
}

function unlessThere(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error
}

/** A PING that is not let in is an answer too. */
async function answers(port: number): Promise<boolean> {
  return await new Promise((done) => {
    const socket = connect({ host: HOST, port })
    socket.setTimeout(1000, () => socket.destroy())
    socket.once('connect', () => socket.write('PING\r\n'))
    socket.once('data', (bytes) => {
      socket.destroy()
      done(/^(\+PONG|-NOAUTH)/.test(bytes.toString('latin1')))
    })
    socket.once('error', () => done(false))
    socket.once('close', () => done(false))
  })
}

async function listens(port: number): Promise<boolean> {
  return await new Promise((done) => {
    const socket = connect({ host: HOST, port }, () => done(true))
    socket.once('error', () => done(false))
    socket.once('connect', () => socket.destroy())
  })
}
