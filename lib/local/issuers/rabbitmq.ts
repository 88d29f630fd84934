import { randomBytes } from 'node:crypto'
import { accessSync, constants, realpathSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { connect } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { freePort } from './postgres.ts'
import { program, startServer } from './server.ts'

/** A RabbitMQ node of our own on loopback, with its management plugin and its own name server (epmd). */
export interface LocalRabbitmq {
  readonly host: string
  /** AMQP. */
  readonly port: number
  /** The management plugin. */
  readonly managementPort: number
  /** An administrator that may use the virtual host `/`, for those who arrange a test. */
  readonly root: RabbitmqUser
  /** May do what the provider's README asks for, and no more: the tag, and no permission in any virtual host. */
  readonly admin: RabbitmqUser
  /** `internal_cluster_id` */
  readonly cluster: string
  readonly version: string
  /** Of the Erlang machine, and of its name server. */
  readonly pids: readonly number[]
  /** A call of the management API as root. */
  call(
    method: 'GET' | 'PUT' | 'DELETE' | 'POST',
    path: string,
    body?: object,
  ): Promise<{ readonly status: number; readonly text: string }>
  /** Ends both by their process ids. Safe to call twice. */
  stop(): Promise<void>
}

export interface RabbitmqUser {
  readonly user: string
  readonly password: string
}

const HOST = '127.0.0.1'
/** Where Debian puts the scripts that do not change the user first. */
const SERVER = '/usr/lib/rabbitmq/bin/rabbitmq-server'
const START_SECONDS = 120

/** Why there can be none on this machine; `undefined` where there can. */
export function rabbitmqMissing(): string | undefined {
  try {
    accessSync(SERVER, constants.X_OK)
  } catch {
    return 'rabbitmq-server is not installed (apt: rabbitmq-server)'
  }
  return program('epmd') === undefined ? 'epmd is not installed (apt: erlang-base)' : undefined
}

/** `3.10.8`, by the folder that its scripts lie in; `undefined` where it is not installed. */
export function rabbitmqVersion(): string | undefined {
  return rabbitmqMissing() === undefined
    ? /rabbitmq_server-(\d[\d.]*)/.exec(realpathSync(join(dirname(SERVER), 'rabbitmq-env')))?.[1]
    : undefined
}

/** Takes 7 to 20 seconds, and some 120 MB. */
export async function startRabbitmq(options: { readonly folder: string }): Promise<LocalRabbitmq> {
  const missing = rabbitmqMissing()
  const names = program('epmd')
  if (missing !== undefined || names === undefined) throw new Error(missing)
  const folder = resolve(options.folder)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const [port, managementPort, nodePort, namesPort] = [await freePort(), await freePort(), await freePort(), await freePort()]
  const password = () => randomBytes(18).toString('base64url')
  const root = { user: 'root', password: password() }
  const admin = { user: 'rescind', password: password() }
  const config = [
    `listeners.tcp.1 = ${HOST}:${port}`,
    ...[`management.tcp.ip = ${HOST}`, `management.tcp.port = ${managementPort}`],
    ...[`default_user = ${root.user}`, `default_pass = ${root.password}`, 'loopback_users = none', 'log.console = true'],
    ...['log.console.level = warning', 'log.file = false'],
  ]
  await writeFile(join(folder, 'rabbitmq.conf'), `${config.join('\n')}\n`, { mode: 0o600 })
  await writeFile(join(folder, 'enabled_plugins'), '[rabbitmq_management].\n')
  // A node starts a name server where there is none, and leaves it behind: this one is ours to stop.
  const nameServer = await startServer({
    ...{ program: names, args: ['-port', String(namesPort), '-address', HOST], folder: join(folder, 'epmd') },
    ready: () => listens(namesPort),
  })
  const pidFile = join(folder, 'rabbitmq.pid')
  const node = await startServer({
    ...{ program: SERVER, args: [], folder, startSeconds: START_SECONDS },
    environment: {
      HOME: folder,
      RABBITMQ_NODENAME: `rescind-${port}@localhost`,
      RABBITMQ_DIST_PORT: String(nodePort),
      ERL_EPMD_PORT: String(namesPort),
      ERL_EPMD_ADDRESS: HOST,
      RABBITMQ_MNESIA_BASE: join(folder, 'mnesia'),
      RABBITMQ_LOG_BASE: join(folder, 'log'),
      RABBITMQ_LOGS: '-',
      RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'enabled_plugins'),
      RABBITMQ_CONF_ENV_FILE: '/dev/null',
      RABBITMQ_PID_FILE: pidFile,
      // Schedulers that have nothing to do would spin otherwise.
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '+sbwt none +sbwtdcpu none +sbwtdio none +S 1:1',
    },
    ready: async () => (await callAs(managementPort, root, 'GET', '/overview')).status === 200 && (await listens(port)),
  }).catch(async (error: unknown) => {
    await nameServer.stop()
    throw error
  })
  const call: LocalRabbitmq['call'] = (method, path, body) => callAs(managementPort, root, method, path, body)
  await call('PUT', `/users/${admin.user}`, { password: admin.password, tags: 'administrator' })
  const { value } = JSON.parse((await call('GET', '/global-parameters/internal_cluster_id')).text) as { value: string }
  const overview = JSON.parse((await call('GET', '/overview')).text) as { rabbitmq_version: string }
  const erlang = Number((await readFile(pidFile, 'utf8').catch(() => '')).trim()) || node.pid
  let stopping: Promise<void> | undefined
  const onExit = () => kill(erlang, 'SIGKILL')
  process.once('exit', onExit)
  return {
    ...{ host: HOST, port, managementPort, root, admin, cluster: value, version: overview.rabbitmq_version, call },
    pids: [erlang, nameServer.pid],
    stop() {
      stopping ??= (async () => {
        // The script that we started waits for the Erlang machine, and ends with it.
        kill(erlang, 'SIGKILL')
        await node.stop()
        await nameServer.stop()
        process.removeListener('exit', onExit)
      })()
      return stopping
    },
  }
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended already.
  }
}

function callAs(
  port: number,
  { user, password }: RabbitmqUser,
  method: string,
  path: string,
  body?: object,
): Promise<{ status: number; text: string }> {
  return new Promise((done, fail) => {
    const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
    const headers = { authorization, 'content-type': 'application/json' }
    const sent = request({ host: HOST, port, path: `/api${path}`, method, headers, timeout: 20_000 }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.once('end', () => done({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString() }))
      response.once('error', fail)
    })
    sent.once('timeout', () => sent.destroy(new Error('no answer')))
    sent.once('error', fail)
    sent.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

async function listens(port: number): Promise<boolean> {
  return await new Promise((done) => {
    const socket = connect({ host: HOST, port })
    socket.setTimeout(1000, () => socket.destroy())
    socket.once('connect', () => {
      socket.destroy()
      done(true)
    })
    socket.once('error', () => done(false))
    socket.once('close', () => done(false))
  })
}
