import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, chmod, copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { freePort } from './postgres.ts'
import { program, startServer } from './server.ts'

const run = promisify(execFile)
const HOST = '127.0.0.1'
const AGENT = resolve(import.meta.dirname, '../../../functions/providers/ssh/host/rescind-ssh')
/** Logins at once: each forks on both sides. */
const AT_ONCE = 4

/** Why this machine cannot start one; `undefined` where it can. */
export const missing: string | undefined =
  program('sshd') === undefined || program('ssh') === undefined || program('ssh-keygen') === undefined
    ? 'OpenSSH (sshd, ssh, ssh-keygen) is not installed'
    : undefined

/** `OpenSSH 9.2p1 Debian-2+deb12u10`; without a version where it is not installed. */
export async function opensshVersion(): Promise<string> {
  const { stderr } = await run('ssh', ['-V']).catch(() => ({ stderr: 'OpenSSH' }))
  return stderr.split(',')[0]?.trim().replace('_', ' ') ?? 'OpenSSH'
}

/** Only root's sshd may be looked into by the agent, so elsewhere it neither tells nor ends sessions. */
export const seesSessions = process.getuid?.() === 0

/** A key that an authority certified, and what is needed to log in with it; plain keys have no certificate. */
export interface Login {
  readonly key: string
  readonly certificate?: string
  /** The certificate, or the public key, as one line. */
  readonly text: string
}

export interface Shell {
  alive(): Promise<boolean>
  close(): Promise<void>
}

/** OpenSSH's own sshd on loopback, with a certificate authority, a revocation list, and our agent as a forced command. */
export interface LocalSshd {
  readonly host: string
  readonly port: number
  readonly version: string
  readonly folder: string
  /** Of its host key, `SHA256:...`. */
  readonly fingerprint: string
  /** The authority's public key, as one line, and its fingerprint. */
  readonly authority: string
  readonly authorityFingerprint: string
  /** The revocation list's path. */
  readonly list: string
  readonly admin: { readonly user: string; readonly privateKey: string }
  /** Has the authority certify a key for the user that logs in here. */
  certify(options: { readonly serial: bigint; readonly keyId: string; readonly key?: string }): Promise<Login>
  /** A key of its own, allowed without a certificate. */
  allow(): Promise<Login>
  /** Another key pair: its path. */
  newKey(): Promise<string>
  privateKeyOf(path: string): Promise<string>
  /** @throws if sshd neither lets in nor refuses */
  honours(login: Login): Promise<boolean>
  open(login: Login): Promise<Shell>
  stop(): Promise<void>
}

export interface SshdOptions {
  readonly folder: string
  /** The authority's folder: servers that share it trust one authority. */
  readonly authorityFolder?: string
  /** Admin's key, of another server. */
  readonly adminOf?: LocalSshd
  /** Lines of sshd_config that stand before ours: the first one counts. */
  readonly config?: readonly string[]
  /** What the agent is told of the log; `/none` for an agent that has no right to it. */
  readonly log?: string
}

export async function startSshd(options: SshdOptions): Promise<LocalSshd> {
  if (missing !== undefined) throw new Error(missing)
  const folder = resolve(options.folder)
  const authorityFolder = resolve(options.authorityFolder ?? folder)
  await mkdir(folder, { recursive: true, mode: 0o755 })
  await mkdir(authorityFolder, { recursive: true })
  // sshd's own start script makes it; a container may have none.
  if (seesSessions) await mkdir('/run/sshd', { recursive: true, mode: 0o755 })
  const at = (name: string) => join(folder, name)
  const { username: user } = userInfo()
  const [hostKey, authorityKey, adminKey] = [at('host_key'), join(authorityFolder, 'authority'), at('admin')]
  await makeKey(hostKey)
  await makeKey(authorityKey)
  await makeKey(adminKey, options.adminOf === undefined ? undefined : join(options.adminOf.folder, 'admin'))
  await makeKey(at('user'))
  const list = at('revoked.krl')
  await run('ssh-keygen', ['-q', '-k', '-f', list])
  const agent = `sh ${AGENT} ${list} ${options.log ?? at('sshd.log')} ${at('sshd_config')}`
  const adminPublic = (await readFile(`${adminKey}.pub`, 'utf8')).trim()
  await writeFile(at('authorized_keys'), `command="${agent}",restrict ${adminPublic}\n`)
  const port = await freePort()
  await writeFile(
    at('sshd_config'),
    [
      ...(options.config ?? []),
      `Port ${port}`,
      `ListenAddress ${HOST}`,
      `HostKey ${hostKey}`,
      `PidFile ${at('sshd.pid')}`,
      `AuthorizedKeysFile ${at('authorized_keys')}`,
      `TrustedUserCAKeys ${authorityKey}.pub`,
      `RevokedKeys ${list}`,
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PermitRootLogin prohibit-password',
      'MaxStartups 500',
      // With its process ids, which a log file would lack.
      'LogVerbose auth.c:auth_log*',
      '',
    ].join('\n'),
  )
  const server = await startServer({
    program: program('sshd') ?? '',
    args: ['-D', '-f', at('sshd_config'), '-E', at('sshd.log')],
    folder,
    ready: async () => (await run('ssh-keyscan', ['-p', String(port), '-t', 'ed25519', HOST])).stdout.includes('ssh-ed25519'),
  })
  let names = 0
  const shells = new Set<Shell>()
  const pool = limited(AT_ONCE)

  const newKey = async () => {
    names += 1
    const key = at(`key-${names}`)
    await makeKey(key)
    return key
  }
  const flags = ({ key, certificate }: Login) => [
    ...['-F', 'none', '-p', String(port), '-i', key],
    ...(certificate === undefined ? [] : ['-o', `CertificateFile=${certificate}`]),
    ...['BatchMode=yes', 'IdentitiesOnly=yes', 'IdentityAgent=none', 'StrictHostKeyChecking=no', 'LogLevel=ERROR'].flatMap(
      toFlag,
    ),
    ...['UserKnownHostsFile=/dev/null', 'GlobalKnownHostsFile=/dev/null'].flatMap(toFlag),
    `${user}@${HOST}`,
  ]
  return {
    host: HOST,
    port,
    version: await opensshVersion(),
    folder,
    fingerprint: await fingerprintOf(hostKey),
    authorityFingerprint: await fingerprintOf(authorityKey),
    authority: (await readFile(`${authorityKey}.pub`, 'utf8')).trim(),
    list,
    admin: { user, privateKey: await readFile(adminKey, 'utf8') },
    newKey,
    privateKeyOf: (path) => readFile(path, 'utf8'),
    async certify({ serial, keyId, key = at('user') }) {
      names += 1
      const copy = at(`signed-${names}`)
      await copyFile(`${key}.pub`, `${copy}.pub`)
      const args = ['-q', '-s', authorityKey, '-I', keyId, '-n', user, '-z', String(serial), '-V', '-5m:+1h', `${copy}.pub`]
      await run('ssh-keygen', args)
      const certificate = `${copy}-cert.pub`
      return { key, certificate, text: (await readFile(certificate, 'utf8')).trim() }
    },
    async allow() {
      const key = await newKey()
      const text = (await readFile(`${key}.pub`, 'utf8')).trim()
      await appendFile(at('authorized_keys'), `${text}\n`)
      return { key, text }
    },
    honours: (login) =>
      pool(async () => {
        try {
          await run('ssh', [...flags(login), 'true'])
          return true
        } catch (error) {
          const said = error instanceof Error && 'stderr' in error ? String(error.stderr) : ''
          if (said.includes('Permission denied')) return false
          throw error
        }
      }),
    async open(login) {
      const child = spawn('ssh', [...flags(login), 'echo ready; cat'], { stdio: ['pipe', 'pipe', 'ignore'] })
      const ended = once(child, 'exit')
      let heard = ''
      child.stdout.on('data', (bytes: Buffer) => {
        heard += bytes.toString('utf8')
      })
      child.stdin.on('error', () => undefined)
      const hears = async (word: string) => {
        const deadline = Date.now() + 10_000
        while (!heard.includes(word) && child.exitCode === null && child.signalCode === null && Date.now() < deadline)
          await sleep(10)
        return heard.includes(word)
      }
      if (!(await hears('ready'))) throw new Error('the session did not open')
      let asked = 0
      const shell: Shell = {
        async alive() {
          asked += 1
          if (child.exitCode === null && child.signalCode === null) child.stdin.write(`echo-${asked}.\n`)
          return await hears(`echo-${asked}.`)
        },
        async close() {
          child.kill('SIGKILL')
          await ended
          shells.delete(shell)
        },
      }
      shells.add(shell)
      return shell
    },
    async stop() {
      await Promise.all([...shells].map((shell) => shell.close()))
      await server.stop()
      await rm(list, { force: true })
    },
  }
}

/** As OpenSSH itself tells it. */
export const fingerprintOf = async (key: string): Promise<string> =>
  (await run('ssh-keygen', ['-l', '-f', `${key}.pub`])).stdout.split(' ')[1] ?? ''

const toFlag = (option: string) => ['-o', option]

async function makeKey(path: string, copyOf?: string): Promise<void> {
  if (copyOf === undefined) {
    const made = await readFile(path).catch(() => undefined)
    if (made === undefined) await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'rescind', '-f', path])
    return
  }
  await copyFile(copyOf, path)
  await copyFile(`${copyOf}.pub`, `${path}.pub`)
  await chmod(path, 0o600)
}

/** Runs at most so many at once; the others wait their turn. */
function limited(most: number) {
  let running = 0
  const waiting: (() => void)[] = []
  return async <Result>(work: () => Promise<Result>): Promise<Result> => {
    if (running >= most) await new Promise<void>((go) => waiting.push(go))
    running += 1
    try {
      return await work()
    } finally {
      running -= 1
      waiting.shift()?.()
    }
  }
}
