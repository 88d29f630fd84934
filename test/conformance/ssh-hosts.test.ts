import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { IssuerRefused } from '../../functions/providers/contract.ts'
import { readAdmin } from '../../functions/providers/ssh/client.ts'
import type { Target } from '../../functions/providers/ssh/definition.ts'
import { Settings } from '../../functions/providers/ssh/definition.ts'
import { provider as module } from '../../functions/providers/ssh/provider.ts'
import { recognise } from '../../functions/providers/ssh/recognise.ts'
import type { LocalSshd } from '../../lib/local/issuers/sshd.ts'
import { missing, seesSessions, startSshd } from '../../lib/local/issuers/sshd.ts'
import { rejection, startGate, tools, WARRANT } from './suite.ts'

const run = promisify(execFile)
const lacking = missing ?? (seesSessions ? undefined : 'sshd shows its sessions to root alone')

describe.skipIf(lacking !== undefined)('ssh alone, on real hosts', () => {
  let folder = ''
  let one: LocalSshd
  let two: LocalSshd
  let serial = 0n
  const closing: (() => Promise<void>)[] = []
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'rescind-hosts-'))
    one = await startSshd({ folder: join(folder, 'one') })
    two = await startSshd({ folder: join(folder, 'two'), authorityFolder: join(folder, 'one'), adminOf: one })
  })
  afterAll(async () => {
    for (const close of closing) await close()
    await one.stop()
    await two.stop()
    await rm(folder, { recursive: true, force: true })
  })

  const hostOf = (name: string, { port, fingerprint }: Pick<LocalSshd, 'port' | 'fingerprint'>) => ({
    name,
    host: '127.0.0.1',
    port,
    fingerprints: [fingerprint],
  })
  const connect = async (hosts: readonly object[], more: object = {}, now?: () => number) => {
    const authorities = [{ publicKey: one.authority }]
    const settings = Settings.parse({ hosts, authorities, timeoutMilliseconds: 10_000, ...more })
    const given = tools(JSON.stringify(one.admin))
    const connected = await module.connect({ name: 'fleet', settings }, now === undefined ? given : { ...given, now })
    closing.push(() => connected.close())
    return connected
  }
  const newCertificate = async (keyId = 'job') => {
    serial += 1n
    const target: Target = { kind: 'certificate', ca: one.authorityFingerprint, serial: String(serial) }
    return { login: await one.certify({ serial, keyId }), subject: { lease: String(serial), target } }
  }

  it('cuts on the hosts that can be reached, and calls it cut when all have it', async () => {
    const gate = await startGate(two.port, two.port)
    closing.push(() => gate.close())
    const provider = await connect([hostOf('one', one), hostOf('two', { ...two, port: gate.port })])
    const { login, subject } = await newCertificate()
    expect([await one.honours(login), await two.honours({ ...login, key: login.key })]).toEqual([true, true])
    await gate.down()
    const [answer] = await provider.revoke([subject], WARRANT)
    expect(answer).toMatchObject({
      status: 'retry',
      effect: 'unknown',
      said: expect.stringContaining('1 of 2 hosts answer, not two'),
    })
    expect([await one.honours(login), await two.honours(login)]).toEqual([false, true])
    expect(await provider.verify([subject], WARRANT)).toMatchObject([{ status: 'unknown' }])
    await gate.heal()
    expect(await provider.verify([subject], WARRANT)).toMatchObject([{ status: 'alive', said: 'not in the list of two' }])
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked', said: 'refused by all 2 hosts' }])
    expect(await two.honours(login)).toBe(false)
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([
      { status: 'revoked', said: 'refused by all 2 hosts, as before' },
    ])
  })

  it('cuts on the others where one host is another than it was', async () => {
    const provider = await connect([hostOf('one', one), hostOf('two', { ...two, fingerprint: one.fingerprint })])
    const { login, subject } = await newCertificate()
    const [answer] = await provider.revoke([subject], WARRANT)
    expect(answer).toMatchObject({ status: 'retry', said: expect.stringContaining('none of the known ones') })
    expect([await one.honours(login), await two.honours(login)]).toEqual([false, true])
  })

  it('refuses a plain key and ends its session, but never the key that it comes by, nor an authority', async () => {
    const provider = await connect([hostOf('one', one)])
    const login = await one.allow()
    const fingerprint = recognise(login.text)?.credential.slice('key:'.length) ?? ''
    const shell = await one.open(login)
    const target: Target = { kind: 'key', fingerprint }
    expect([await one.honours(login), await shell.alive()]).toEqual([true, true])
    const own: Target = { kind: 'key', fingerprint: readAdmin(JSON.stringify(one.admin)).fingerprint }
    const authority: Target = { kind: 'key', fingerprint: one.authorityFingerprint }
    const answers = await provider.revoke(
      [own, authority, target].map((each, index) => ({ lease: String(index), target: each })),
      WARRANT,
    )
    expect(answers).toMatchObject([
      { status: 'irrevocable' },
      { status: 'irrevocable' },
      { status: 'revoked', said: 'refused by the host; sessions ended: 1' },
    ])
    expect([await one.honours(login), await shell.alive()]).toEqual([false, false])
    expect(await provider.verify([{ lease: '2', target }], WARRANT)).toMatchObject([{ status: 'dead' }])
  })

  it('ends the sessions of the certificate alone, though all log in as one user with one key', async () => {
    const provider = await connect([hostOf('one', one)])
    const [cut, kept] = [await newCertificate('x (serial 1) CA ED25519 SHA256:y'), await newCertificate()]
    const shells = [await one.open(cut.login), await one.open(cut.login), await one.open(kept.login)]
    const [answer] = await provider.revoke([cut.subject], WARRANT)
    expect(answer).toMatchObject({ status: 'revoked', said: 'refused by the host; sessions ended: 2' })
    expect(await Promise.all(shells.map((shell) => shell.alive()))).toEqual([false, false, true])
  })

  it('cannot bring back what a person refuses', async () => {
    const provider = await connect([hostOf('one', one)])
    const { login, subject } = await newCertificate()
    await writeFile(join(folder, 'spec'), `serial: ${serial}\n`)
    await run('ssh-keygen', ['-q', '-k', '-u', '-f', one.list, '-s', join(one.folder, 'authority.pub'), join(folder, 'spec')])
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([
      { status: 'revoked', said: 'refused by the host, as before' },
    ])
    expect(await provider.restore?.([subject], WARRANT)).toMatchObject([{ status: 'refused' }])
    expect(await one.honours(login)).toBe(false)
  })

  it('loses no entry when a person changes the list in between', async () => {
    const provider = await connect([hostOf('one', one)])
    const cut = await Promise.all(Array.from({ length: 4 }, () => newCertificate()))
    await writeFile(join(folder, 'spec'), 'serial: 900001\n')
    await Promise.all([
      ...cut.map(({ subject }) => provider.revoke([subject], WARRANT)),
      run('ssh-keygen', ['-q', '-k', '-u', '-f', one.list, '-s', join(one.folder, 'authority.pub'), join(folder, 'spec')]),
    ])
    // ssh-keygen takes no lock, so it may undo ours: then verify says so, and the next cut brings both together.
    const subjects = cut.map(({ subject }) => subject)
    expect((await provider.revoke(subjects, WARRANT)).map(({ status }) => status)).toEqual(subjects.map(() => 'revoked'))
    expect((await provider.verify(subjects, WARRANT)).map(({ status }) => status)).toEqual(subjects.map(() => 'dead'))
  })

  it('sweeps what it refused once every certificate of that time has ended', async () => {
    let now = Date.now()
    const authorities = [{ publicKey: one.authority, longestSeconds: 3600 }]
    const provider = await connect([hostOf('one', one)], { authorities }, () => now)
    const [old, next] = [await newCertificate(), await newCertificate()]
    await provider.revoke([old.subject], WARRANT)
    now += 3_601_000
    await provider.revoke([next.subject], WARRANT)
    const lines = (await run('ssh-keygen', ['-Q', '-l', '-f', one.list])).stdout
    expect(lines).toMatch(new RegExp(`^serial: .*${serial}$`, 'm'))
    expect(lines).not.toMatch(new RegExp(`^serial: ${serial - 1n}(-|$)`, 'm'))
  })

  it('is refused where sshd does not read the list, before any effect', async () => {
    const blind = await startSshd({
      ...{ folder: join(folder, 'blind'), authorityFolder: join(folder, 'one'), adminOf: one },
      config: ['RevokedKeys none'],
    })
    closing.push(() => blind.stop())
    const before = await readFile(blind.list)
    const error = await rejection(connect([hostOf('blind', blind)]))
    expect(error).toBeInstanceOf(IssuerRefused)
    expect(error).toMatchObject({ message: expect.stringContaining('does not read the revocation list') })
    expect(await readFile(blind.list)).toEqual(before)
  })

  it('is locked out by a missing list, as everybody is, says so and makes none', async () => {
    const provider = await connect([hostOf('two', two)])
    const { login, subject } = await newCertificate()
    await rename(two.list, `${two.list}.away`)
    try {
      expect(await two.honours(login)).toBe(false)
      // On a connection that is open already the agent itself tells.
      const error = await rejection(provider.revoke([subject], WARRANT))
      expect(error).toBeInstanceOf(IssuerRefused)
      expect(await rejection(connect([hostOf('two', two)]))).toBeInstanceOf(IssuerRefused)
      await expect(readFile(two.list)).rejects.toThrow('ENOENT')
    } finally {
      await rename(`${two.list}.away`, two.list)
    }
    expect(await two.honours(login)).toBe(true)
  })

  it('says what it cannot see: sessions without a log are no success, unless they may live on', async () => {
    const blind = await startSshd({
      ...{ folder: join(folder, 'logless'), authorityFolder: join(folder, 'one'), adminOf: one, log: '/none' },
    })
    closing.push(() => blind.stop())
    const { login, subject } = await newCertificate()
    const shell = await blind.open(login)
    const strict = await connect([hostOf('logless', blind)])
    expect(await strict.revoke([subject], WARRANT)).toMatchObject([
      { status: 'irrevocable', said: expect.stringContaining('does not see sessions (no-log)') },
    ])
    expect([await blind.honours(login), await shell.alive()]).toEqual([false, true])
    expect(await strict.verify([subject], WARRANT)).toMatchObject([{ status: 'unknown' }])
    const lax = await connect([hostOf('logless', blind)], { sessions: { mode: 'leave', lastSeconds: 600 } })
    const [answer] = await lax.revoke([subject], WARRANT)
    expect(answer).toMatchObject({
      status: 'revoked',
      said: expect.stringContaining('live on'),
      sessionsUntil: expect.any(String),
    })
    await shell.close()
  })

  it('says that it cannot tell whose a session is where the log of its login is gone', async () => {
    const provider = await connect([hostOf('two', two)])
    const [cut, other] = [await newCertificate(), await newCertificate()]
    const shell = await two.open(other.login)
    await writeFile(join(two.folder, 'sshd.log'), '')
    const [answer] = await provider.revoke([cut.subject], WARRANT)
    expect(answer).toMatchObject({ status: 'revoked', said: expect.stringContaining("sshd's log does not tell who opened them") })
    expect(await provider.verify([cut.subject], WARRANT)).toMatchObject([{ status: 'unknown' }])
    expect(await shell.alive()).toBe(true)
    await shell.close()
  })
})
