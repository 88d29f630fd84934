import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ServerPackage } from '../../../lib/local/issuers/install.ts'
import { installScript, missingPackages, SERVER_PACKAGES } from '../../../lib/local/issuers/install.ts'

/** The script with an apt-get of our own, which writes down what it was asked and what a daemon's package would be told. */
describe('the installation of servers', () => {
  let folder: string
  const policy = () => join(folder, 'policy-rc.d')
  const log = () => readFileSync(join(folder, 'log'), 'utf8')
  const executable = (name: string, text: string) => {
    writeFileSync(join(folder, 'bin', name), `#!/bin/sh\n${text}`)
    chmodSync(join(folder, 'bin', name), 0o755)
  }
  const wanted: readonly ServerPackage[] = [
    { package: 'one-server', programs: ['oned'], provider: 'one', units: ['one', 'one-helper'] },
    { package: 'not-to-be-had', programs: ['other'], provider: 'other', units: [] },
    { package: 'last-server', programs: ['lastd'], provider: 'last', units: [] },
  ]
  const start = () =>
    spawn('/bin/sh', ['-c', installScript(wanted, policy())], {
      env: { PATH: `${join(folder, 'bin')}:/usr/bin:/bin`, TMPDIR: folder },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
  const ended = (child: ReturnType<typeof start>) => new Promise<number | null>((done) => child.once('exit', done))

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'rescind-servers-'))
    mkdirSync(join(folder, 'bin'))
    executable('systemctl', `echo "systemctl $*" >> ${folder}/log`)
    executable(
      'apt-get',
      `echo "apt-get $*" >> ${folder}/log
sh ${folder}/policy-rc.d; echo "may a daemon start: $?" >> ${folder}/log
case "$*" in *not-to-be-had*) exit 100;; *last-server*) if [ -e ${folder}/slow ]; then while [ ! -e ${folder}/stop ]; do sleep 0.02; done; fi;; esac`,
    )
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  it('starts no daemon, now or at boot, goes on behind what cannot be had, and says so at the end', async () => {
    expect(await ended(start())).toBe(1)
    const lines = log().split('\n')
    expect(lines.filter((line) => line.startsWith('apt-get install')).map((line) => line.split(' ').at(-1))).toEqual(
      wanted.map(({ package: name }) => name),
    )
    expect(lines.filter((line) => line.startsWith('may')).every((line) => line.endsWith('101'))).toBe(true)
    expect(lines.filter((line) => line.startsWith('systemctl'))).toEqual([
      'systemctl disable one',
      'systemctl disable one-helper',
    ])
    expect(existsSync(policy())).toBe(false)
  })

  it('puts back the policy that was there, with its rights', async () => {
    writeFileSync(policy(), '#!/bin/sh\nexit 104\n')
    chmodSync(policy(), 0o700)
    await ended(start())
    expect(readFileSync(policy(), 'utf8')).toBe('#!/bin/sh\nexit 104\n')
    expect(statSync(policy()).mode & 0o777).toBe(0o700)
    expect(log()).not.toContain('104')
  })

  it('puts it back when it is stopped half-way', async () => {
    writeFileSync(join(folder, 'slow'), '')
    const child = start()
    const end = ended(child)
    await new Promise((done) => child.stdout?.once('data', done))
    child.kill('SIGTERM')
    writeFileSync(join(folder, 'stop'), '')
    expect(await end).toBe(143)
    expect(existsSync(policy())).toBe(false)
  })

  it('knows what is missing by the programs', () => {
    const names = (find: (name: string) => string | undefined, runs: boolean) =>
      missingPackages(find, () => runs).map((one) => one.package)
    expect(names(() => '/usr/bin/something', true)).toEqual([])
    expect(names(() => '/usr/bin/something', false)).toEqual(['python3-venv'])
    expect(names(() => undefined, true)).toEqual(SERVER_PACKAGES.map((one) => one.package))
    expect(names((name) => (name === 'ssh-keygen' ? undefined : 'x'), true)).toEqual(['openssh-client'])
  })
})
