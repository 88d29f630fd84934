import { spawn, spawnSync } from 'node:child_process'
import { program } from './server.ts'

/** A server that a test run starts, as Debian and Ubuntu call its package. */
export interface ServerPackage {
  readonly package: string
  /** What it is looked for by: all of them must be there. */
  readonly programs: readonly string[]
  /** What must succeed with them, where being there is not enough: a program of the list, and its arguments. */
  readonly probe?: readonly [program: string, ...args: string[]]
  /** Whose tests need it. */
  readonly provider: string
  /** What the system would start at boot. */
  readonly units: readonly string[]
}

/** The servers of the test command that npm does not bring along. */
export const SERVER_PACKAGES: readonly ServerPackage[] = [
  { package: 'mariadb-server', programs: ['mariadbd'], provider: 'mysql', units: ['mariadb'] },
  { package: 'redis-server', programs: ['redis-server'], provider: 'redis', units: ['redis-server'] },
  { package: 'rabbitmq-server', programs: ['rabbitmqctl'], provider: 'rabbitmq', units: ['rabbitmq-server', 'epmd'] },
  { package: 'nats-server', programs: ['nats-server'], provider: 'nats', units: ['nats-server'] },
  { package: 'openssh-server', programs: ['sshd'], provider: 'ssh', units: ['ssh', 'sshd'] },
  { package: 'openssh-client', programs: ['ssh', 'ssh-keygen'], provider: 'ssh', units: [] },
  // The AWS emulator is installed from PyPI by its tests; Debian has what that takes in a package of its own.
  {
    package: 'python3-venv',
    programs: ['python3'],
    probe: ['python3', '-c', 'import ensurepip, venv'],
    provider: 'aws-iam, aws-secretsmanager',
    units: [],
  },
]

const succeeds = (file: string, args: readonly string[]) => spawnSync(file, args, { stdio: 'ignore' }).status === 0

export function missingPackages(find: (name: string) => string | undefined = program, runs = succeeds): ServerPackage[] {
  return SERVER_PACKAGES.filter(({ programs, probe }) => {
    const [name, ...args] = probe ?? []
    const file = name === undefined ? undefined : find(name)
    return programs.some((one) => find(one) === undefined) || (file !== undefined && !runs(file, args))
  })
}

/** How a command becomes one of root's; `undefined` where we have no rights, or there is no apt. */
export function rootOf(): { readonly command: readonly string[] } | { readonly reason: string } {
  if (process.platform !== 'linux' || program('apt-get') === undefined) return { reason: 'there is no apt on this system' }
  if (process.getuid?.() === 0) return { command: [] }
  const sudo = program('sudo')
  if (sudo !== undefined && spawnSync(sudo, ['-n', 'true'], { stdio: 'ignore' }).status === 0) return { command: [sudo, '-n'] }
  return { reason: 'we are not root, and sudo wants a password' }
}

/** Debian's way to install a daemon without starting it (policy-rc.d); it is read by whatever a package runs afterwards. */
const POLICY = '/usr/sbin/policy-rc.d'

/**
 * Installs packages one by one, so that one which this release does not have keeps none of the others away, starts nothing
 * and leaves nothing to be started at boot; what said so before is put back, whatever happens.
 * @param policy where the system looks; another place in tests
 */
export const installScript = (packages: readonly ServerPackage[], policy = POLICY): string => `
set -u
kept=$(mktemp)
had=no
if [ -e '${policy}' ]; then cp -p '${policy}' "$kept"; had=yes; fi
restore() {
  if [ "$had" = yes ]; then cp -p "$kept" '${policy}'; else rm -f '${policy}'; fi
  rm -f "$kept"
}
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
printf '#!/bin/sh\\nexit 101\\n' > '${policy}'
chmod 755 '${policy}'
export DEBIAN_FRONTEND=noninteractive
apt-get update -q || echo 'the lists of packages were not renewed'
failed=0
${packages
  .map(
    ({ package: name, units }) => `
if apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 ${name}; then
${units.map((unit) => `  if command -v systemctl >/dev/null; then systemctl disable ${unit} >/dev/null 2>&1 || true; fi`).join('\n')}
  echo 'installed: ${name}'
else
  failed=1
  echo 'NOT installed: ${name}'
fi`,
  )
  .join('\n')}
exit $failed
`

/** @returns whether all could be installed */
export async function installPackages(packages: readonly ServerPackage[], command: readonly string[]): Promise<boolean> {
  const [first, ...rest] = [...command, '/bin/sh', '-c', installScript(packages)]
  const child = spawn(first ?? '/bin/sh', rest, { stdio: ['ignore', 'inherit', 'inherit'] })
  return await new Promise((done, fail) => {
    child.once('error', fail)
    child.once('exit', (code) => done(code === 0))
  })
}
