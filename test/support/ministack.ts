import { execFile, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { link, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'

/**
 * MiniStack (PyPI, MIT): an AWS emulator that enforces IAM with `AUTH=true`. It needs Python 3.10 or newer with venv; it
 * is installed once, into a folder that git ignores. Development and CI only.
 */
const PACKAGES = ['ministack==1.5.33', 'cryptography==50.0.2'] as const

const ROOT = join(import.meta.dirname, '..', '..')
const VENV = join(ROOT, '.rescind', 'ministack-venv')
const PYTHON = process.platform === 'win32' ? join(VENV, 'Scripts', 'python.exe') : join(VENV, 'bin', 'python')

const INSTALL_MILLISECONDS = 240_000
const START_MILLISECONDS = 30_000

export interface MiniStackOptions {
  /**
   * Speak TLS alone, with a certificate of its own that this process is made to trust. Over plain HTTP its IAM sees
   * `aws:SecureTransport` as false, so buckets and queues that demand TLS refuse everybody. Its IAM then also enforces
   * what `ministack_server.py` adds to it.
   */
  readonly tls?: boolean
  /** Let its Secrets Manager rotate as `ministack_rotation.py` says. */
  readonly rotates?: boolean
}

export interface MiniStack {
  /** `http://127.0.0.1:<port>` (with TLS `https:`), for every service. */
  readonly endpoint: string
  readonly account: string
  readonly region: string
  /** The emulator's root caller: allowed everything, whatever the policies say. */
  readonly rootCredentials: { readonly accessKeyId: string; readonly secretAccessKey: string }
  /** For child processes (the CDK CLI): endpoint, region and root credentials. */
  readonly environment: Readonly<Record<string, string>>
  /** What the server has printed so far: for a failed test's message. */
  log(): string
  /** Ends the server and what it started, and removes its files. */
  stop(): Promise<void>
}

/**
 * Starts an emulator of its own for the caller, on a free port of the loopback interface. Where there is no usable
 * Python, or the packages cannot be had, it says so in one loud line and answers `undefined`: the caller skips.
 */
export async function startMiniStack({ tls = false, rotates = false }: MiniStackOptions = {}): Promise<MiniStack | undefined> {
  try {
    await install()
  } catch (error) {
    return skipped(error instanceof Error ? error.message : String(error))
  }
  let last = ''
  // Between finding a free port and listening on it, somebody else may take it.
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const started = await start(tls, rotates)
    if (typeof started !== 'string') return started
    last = started
  }
  return skipped(`it does not start: ${last.slice(-2000)}`)
}

function skipped(reason: string): undefined {
  const line = `SKIPPED: no MiniStack, so nothing is proven here against an IAM that enforces. Reason: ${reason}`
  process.stderr.write(`\n*** ${line.replaceAll(/\s+/g, ' ')} ***\n\n`)
  return undefined
}

/** Runs a program; rejects with what it printed. */
function run(file: string, args: readonly string[], timeout: number): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(file, [...args], { timeout, maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(new Error(`${file} ${args.join(' ')}: ${error.message}\n${stderr}`.slice(0, 4000)))
    })
  })
}

const isInstalled = async () => (await readFile(join(VENV, 'rescind-ready'), 'utf8').catch(() => '')) === PACKAGES.join(' ')

async function install(): Promise<void> {
  if (await isInstalled()) return
  await mkdir(dirname(VENV), { recursive: true })
  await withLock(`${VENV}.lock`, async () => {
    if (await isInstalled()) return
    const python = await findPython()
    // A half-made folder of an interrupted run is of no use.
    await rm(VENV, { recursive: true, force: true })
    await run(python, ['-m', 'venv', VENV], INSTALL_MILLISECONDS)
    await run(PYTHON, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...PACKAGES], INSTALL_MILLISECONDS)
    await writeFile(join(VENV, 'rescind-ready'), PACKAGES.join(' '))
  })
}

/** `python3` may be a shim that ends in nothing, or a Debian one without `ensurepip`: so each is asked. */
async function findPython(): Promise<string> {
  const probe = 'import ensurepip, venv, sys; sys.exit(0 if sys.version_info >= (3, 10) else "Python " + sys.version)'
  const reasons: string[] = []
  for (const name of [
    'python3',
    'python3.14',
    'python3.13',
    'python3.12',
    'python3.11',
    'python3.10',
    '/usr/bin/python3',
    'python',
  ]) {
    try {
      await run(name, ['-c', probe], 20_000)
      return name
    } catch (error) {
      reasons.push(error instanceof Error ? (error.message.split('\n')[1] ?? '').slice(0, 120) || 'not found' : String(error))
    }
  }
  throw new Error(`no Python 3.10 or newer with venv (python3: ${reasons[0]})`)
}

/** One process at a time; a lock whose owner is gone does not count. */
async function withLock(path: string, work: () => Promise<void>): Promise<void> {
  const deadline = Date.now() + 2 * INSTALL_MILLISECONDS
  const mine = `${path}.${process.pid}.${randomUUID()}`
  await writeFile(mine, String(process.pid))
  try {
    for (;;) {
      try {
        // A link is made with its content at once: no reader meets a lock without its owner's name.
        await link(mine, path)
        break
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
      }
      if (Date.now() > deadline) throw new Error(`another install holds ${path} for too long`)
      const owner = Number(await readFile(path, 'utf8').catch(() => ''))
      if (owner > 0 && !isAlive(owner)) await rm(path, { force: true })
      else await sleep(250)
    }
    try {
      await work()
    } finally {
      await rm(path, { force: true })
    }
  } finally {
    await rm(mine, { force: true })
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => {
        if (address === null || typeof address === 'string') reject(new Error('no port'))
        else resolve(address.port)
      })
    })
  })
}

const ACCOUNT = '000000000000'
const REGION = 'us-east-1'
const ROOT_CREDENTIALS = { accessKeyId: 'test', secretAccessKey: 'test' }

/** Writes `cert.pem` and `key.pem`: two days for 127.0.0.1, signed by itself. */
const CERTIFICATE = `
import datetime, ipaddress, pathlib, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
folder = pathlib.Path(sys.argv[1])
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'MiniStack for Rescind')])
now = datetime.datetime.now(datetime.timezone.utc)
builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=2))
builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address('127.0.0.1'))])
certificate = builder.add_extension(names, False).sign(key, hashes.SHA256())
(folder / 'cert.pem').write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
(folder / 'key.pem').write_bytes(key.private_bytes(*form))
`

interface Transport {
  readonly command: readonly string[]
  /** For the server and its Lambdas, and for children of the caller (the CDK CLI). */
  readonly environment: Readonly<Record<string, string>>
}

/** One port alone, and a stricter IAM: see `ministack_server.py`. */
async function overTls(folder: string, port: number): Promise<Transport> {
  await run(PYTHON, ['-c', CERTIFICATE, folder], 20_000)
  const [certificate, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  // `fetch` takes no certificate of its own: it trusts what this process trusts.
  setDefaultCACertificates([...getCACertificates('default'), await readFile(certificate, 'utf8')])
  const files = ['--certfile', certificate, '--keyfile', key]
  return {
    command: [join(import.meta.dirname, 'ministack_server.py'), '--bind', `127.0.0.1:${port}`, ...files, '--workers', '0'],
    environment: {
      USE_SSL: '1',
      MINISTACK_SSL_CERT: certificate,
      MINISTACK_SSL_KEY: key,
      NODE_EXTRA_CA_CERTS: certificate,
      AWS_CA_BUNDLE: certificate,
    },
  }
}

/** The running server, or what it printed before it gave up. */
async function start(tls: boolean, rotates: boolean): Promise<MiniStack | string> {
  const port = await freePort()
  const endpoint = `${tls ? 'https' : 'http'}://127.0.0.1:${port}`
  const folder = await mkdtemp(join(tmpdir(), 'rescind-ministack-'))
  const plainly = rotates ? [join(import.meta.dirname, 'ministack_rotation.py')] : ['-m', 'ministack']
  const transport: Transport = tls ? await overTls(folder, port) : { command: plainly, environment: {} }
  const aws = {
    ...transport.environment,
    AWS_ENDPOINT_URL: endpoint,
    AWS_ENDPOINT_URL_S3: endpoint,
    AWS_ACCESS_KEY_ID: ROOT_CREDENTIALS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: ROOT_CREDENTIALS.secretAccessKey,
    AWS_REGION: REGION,
    AWS_DEFAULT_REGION: REGION,
    AWS_EC2_METADATA_DISABLED: 'true',
  }
  const child = spawn(PYTHON, [...transport.command], {
    cwd: folder,
    // Nothing of the caller's own AWS environment; its Lambdas run on the `node` that runs this.
    env: {
      ...aws,
      PATH: [dirname(process.execPath), join(ROOT, 'node_modules', '.bin'), process.env.PATH ?? ''].join(delimiter),
      HOME: folder,
      TMPDIR: folder,
      BIND_HOST: '127.0.0.1',
      GATEWAY_PORT: String(port),
      MINISTACK_HOST: '127.0.0.1',
      LAMBDA_EXECUTOR: 'local',
      PERSIST_STATE: '0',
      AUTH: 'true',
      // Fixed ports that nothing here asks for.
      IOT_MTLS_ENABLED: '0',
      SFTP_ENABLED: '0',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    // Its own process group, so that `stop` reaches the Lambdas that it started.
    detached: true,
  })
  let printed = ''
  let ended = false
  const exited = new Promise<void>((resolve) => {
    const end = () => {
      ended = true
      resolve()
    }
    child.once('exit', end)
    child.once('error', (error) => {
      printed += error.message
      end()
    })
  })
  const note = (chunk: Buffer) => {
    printed = (printed + chunk.toString()).slice(-200_000)
  }
  child.stdout.on('data', note)
  child.stderr.on('data', note)

  const signal = (name: NodeJS.Signals) => {
    if (child.pid === undefined) return
    try {
      process.kill(-child.pid, name)
    } catch {
      // Nobody is left in the group.
    }
  }
  const killAtExit = () => signal('SIGKILL')
  process.once('exit', killAtExit)
  const stop = async () => {
    signal('SIGTERM')
    await Promise.race([exited, sleep(5000)])
    signal('SIGKILL')
    await exited
    process.off('exit', killAtExit)
    await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  }

  const deadline = Date.now() + START_MILLISECONDS
  while (!ended && Date.now() < deadline) {
    const health = await fetch(`${endpoint}/_ministack/health`, { signal: AbortSignal.timeout(2000) }).catch(() => undefined)
    await health?.body?.cancel()
    if (health?.ok === true && !ended) {
      return {
        endpoint,
        account: ACCOUNT,
        region: REGION,
        rootCredentials: ROOT_CREDENTIALS,
        environment: aws,
        log: () => printed,
        stop,
      }
    }
    await sleep(50)
  }
  await stop()
  return printed === '' ? 'it said nothing' : printed
}
