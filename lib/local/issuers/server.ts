import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { mkdir, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** Where Debian keeps servers, whatever the PATH of whoever asks. */
const FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin']
const STOP_MILLISECONDS = 10_000
const LOG_TAIL_CHARACTERS = 2000

/** Where a program of this machine lies; `undefined` where it is not installed. */
export function program(name: string): string | undefined {
  const own = (process.env.PATH ?? '').split(':').filter((folder) => folder.startsWith('/'))
  for (const folder of [...own, ...FOLDERS]) {
    const file = join(folder, name)
    try {
      accessSync(file, constants.X_OK)
      return file
    } catch {
      // Not in this folder.
    }
  }
  return undefined
}

export interface ServerOptions {
  /** Absolute path of the program. */
  readonly program: string
  readonly args: readonly string[]
  /** Working folder, made if need be; `server.log` is written there. */
  readonly folder: string
  /** The whole environment of the server: nothing of ours is handed down. */
  readonly environment?: Readonly<Record<string, string>>
  readonly user?: { readonly uid: number; readonly gid: number }
  /** Asked until it says yes; a throw means not yet. */
  readonly ready: () => Promise<boolean>
  readonly startSeconds?: number
  /** How the server is asked to end; default SIGTERM. After ten seconds it is killed. */
  readonly signal?: NodeJS.Signals
}

export interface RunningServer {
  readonly pid: number
  /** Its last words, for a message of failure. */
  tail(): Promise<string>
  /** Ends the server by its process id and waits for its end. Safe to call twice. */
  stop(): Promise<void>
}

/**
 * Starts a server of this machine in the foreground and waits until it is ready. It ends with us, at the latest.
 * @throws if it ends, or is not ready in time; the message holds its log's end.
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { folder, ready, startSeconds = 30, signal = 'SIGTERM' } = options
  await mkdir(folder, { recursive: true })
  const file = join(folder, 'server.log')
  const log = await open(file, 'a')
  const child = spawn(options.program, [...options.args], {
    cwd: folder,
    env: { PATH: FOLDERS.join(':'), LC_ALL: 'C.UTF-8', TZ: 'UTC', HOME: folder, ...options.environment },
    stdio: ['ignore', log.fd, log.fd],
    ...options.user,
  })
  await log.close()
  const ended = new Promise<void>((done) => {
    child.once('exit', () => done())
    child.once('error', () => done())
  })
  const onExit = () => child.kill('SIGKILL')
  process.once('exit', onExit)
  const tail = async () => (await readFile(file, 'utf8')).slice(-LOG_TAIL_CHARACTERS).trim()
  let stopping: Promise<void> | undefined
  const stop = () => {
    stopping ??= end(child, ended, signal).finally(() => process.removeListener('exit', onExit))
    return stopping
  }
  const deadline = Date.now() + startSeconds * 1000
  let last: unknown
  while (Date.now() < deadline && child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
    try {
      if (await ready()) return { pid: child.pid, tail, stop }
    } catch (error) {
      last = error
    }
    await sleep(50)
  }
  await stop()
  throw new Error(`${options.program} did not start: ${await tail()}`, { cause: last })
}

async function end(child: ChildProcess, ended: Promise<void>, signal: NodeJS.Signals): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  child.kill(signal)
  const killer = setTimeout(() => child.kill('SIGKILL'), STOP_MILLISECONDS)
  await ended
  clearTimeout(killer)
}
