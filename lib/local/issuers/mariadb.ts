import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from './postgres.ts'
import { program, startServer } from './server.ts'

/** A MariaDB server of our own on loopback, for tests and measurements; not for production (nothing is synced to a disk). */
export interface LocalMariadb {
  readonly host: string
  readonly port: number
  /** May do everything; for those who arrange a test. */
  readonly root: { readonly user: string; readonly password: string }
  /** May do what the provider's README asks for, and no more. */
  readonly admin: { readonly user: string; readonly password: string }
  /** The marker by which the provider recognises the server. */
  readonly marker: string
  /** The authority of its certificate, PEM, where it has one; it is named `localhost`. */
  readonly ca: string | undefined
  readonly pid: number
  stop(): Promise<void>
}

export interface MariadbOptions {
  readonly folder: string
  readonly port?: number
  readonly admin?: { readonly user: string; readonly password: string }
  /** The name in its certificate; without one it has none. */
  readonly certificateFor?: string
  /** Further options of the server: `['--read-only=1']`. */
  readonly options?: readonly string[]
}

const HOST = '127.0.0.1'
const PROGRAMS = { server: 'mariadbd', install: 'mariadb-install-db' }

/** Why there can be none on this machine; `undefined` where there can. */
export const mariadbMissing = (): string | undefined =>
  Object.values(PROGRAMS).every((name) => program(name) !== undefined)
    ? undefined
    : 'mariadbd is not installed (apt: mariadb-server)'

/** `10.11.19`; `undefined` where it is not installed. */
export async function mariadbVersion(): Promise<string | undefined> {
  const server = program(PROGRAMS.server)
  if (server === undefined) return undefined
  const { stdout } = await promisify(execFile)(server, ['--no-defaults', '--version'])
  return /Ver (\d+\.\d+\.\d+)/.exec(stdout)?.[1]
}

/** Small files: they are made anew for each test. */
const SMALL = [
  '--sync-frm=0',
  '--innodb-log-file-size=4M',
  '--innodb-buffer-pool-size=8M',
  '--innodb-flush-log-at-trx-commit=0',
  '--innodb-flush-method=nosync',
]

const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`

/** The rights of the provider's admin, as its README states them, `tidy` and the databases that it may give away included. */
export const adminGrants = (account: string): string[] => [
  `GRANT CREATE USER, PROCESS, CONNECTION ADMIN, SHOW VIEW, TRIGGER, EVENT ON *.* TO ${account}`,
  `GRANT SELECT ON mysql.* TO ${account}`,
  `GRANT SELECT, INSERT, UPDATE ON \`app\\_data\`.* TO ${account} WITH GRANT OPTION`,
]

export async function startMariadb(options: MariadbOptions): Promise<LocalMariadb> {
  const [server, install] = [program(PROGRAMS.server), program(PROGRAMS.install)]
  if (server === undefined || install === undefined) throw new Error(mariadbMissing())
  const folder = resolve(options.folder)
  const data = join(folder, 'data')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  // Root may be the server's user only where it is named.
  const user = process.getuid?.() === 0 ? ['--user=root'] : []
  if (!existsSync(join(data, 'mysql'))) {
    const how = ['--auth-root-authentication-method=normal', '--skip-test-db', '--skip-name-resolve']
    await promisify(execFile)(install, ['--no-defaults', ...user, `--datadir=${data}`, ...how, ...SMALL], {
      // Servers that are made at the same time share names of temporary tables.
      env: { PATH: process.env.PATH ?? '', TMPDIR: folder, HOME: folder },
    })
  }
  const port = options.port ?? (await freePort())
  const root = { user: 'operator', password: randomBytes(18).toString('base64url') }
  const admin = options.admin ?? { user: 'rescind', password: randomBytes(18).toString('base64url') }
  const marker = randomBytes(16).toString('hex')
  const account = `${quoted(admin.user)}@'%'`
  const statements = [
    "DELETE FROM mysql.global_priv WHERE User IN ('', 'root')",
    'FLUSH PRIVILEGES',
    `CREATE OR REPLACE USER ${quoted(root.user)}@'%' IDENTIFIED BY ${quoted(root.password)}`,
    `GRANT ALL PRIVILEGES ON *.* TO ${quoted(root.user)}@'%' WITH GRANT OPTION`,
    `CREATE OR REPLACE USER ${account} IDENTIFIED BY ${quoted(admin.password)}`,
    ...adminGrants(account),
    `CREATE OR REPLACE USER 'rescind_server'@${quoted(marker)} IDENTIFIED BY ${quoted(randomBytes(18).toString('hex'))} ACCOUNT LOCK`,
    'CREATE DATABASE IF NOT EXISTS app_data',
  ]
  const init = join(folder, 'init.sql')
  await writeFile(init, statements.map((statement) => `${statement};\n`).join(''), { mode: 0o600 })
  const tls = options.certificateFor === undefined ? undefined : await certificate(folder, options.certificateFor)
  const args = [
    ...['--no-defaults', ...user, `--datadir=${data}`, `--port=${port}`, `--bind-address=${HOST}`],
    ...[`--socket=${join(folder, 'socket')}`, `--pid-file=${join(folder, 'server.pid')}`, `--init-file=${init}`],
    ...['--skip-log-bin', '--innodb-doublewrite=0', `--tmpdir=${folder}`],
    ...['--key-buffer-size=1M', '--performance-schema=OFF', '--max-connections=400', '--thread-stack=262144'],
    ...['--innodb-fast-shutdown=2', '--character-set-server=utf8mb4'],
    ...SMALL,
    ...(tls?.options ?? []),
    ...(options.options ?? []),
  ]
  const running = await startServer({ program: server, args, folder, ready: () => greets(port), startSeconds: 60 })
  return { host: HOST, port, root, admin, marker, ca: tls?.ca, pid: running.pid, stop: running.stop }
}

async function certificate(folder: string, name: string): Promise<{ ca: string; options: string[] }> {
  const openssl = program('openssl')
  if (openssl === undefined) throw new Error('openssl is not installed')
  const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name}`]
  const key = ['-newkey', 'rsa:2048', '-keyout', 'server.key', '-nodes']
  await promisify(execFile)(openssl, ['req', '-x509', '-days', '30', ...key, '-out', 'server.crt', ...subject], { cwd: folder })
  const [file, ca] = [join(folder, 'server.key'), join(folder, 'server.crt')]
  return { ca: await readFile(ca, 'utf8'), options: [`--ssl-cert=${ca}`, `--ssl-key=${file}`] }
}

/** The server speaks first, once it takes connections. */
async function greets(port: number): Promise<boolean> {
  return await new Promise((done) => {
    const socket = connect({ host: HOST, port })
    socket.setTimeout(1000, () => socket.destroy())
    socket.once('data', (bytes) => {
      socket.destroy()
      done(bytes.includes('MariaDB'))
    })
    socket.once('error', () => done(false))
    socket.once('close', () => done(false))
  })
}
