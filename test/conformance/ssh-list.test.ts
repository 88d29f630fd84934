import { execFile, spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hashOf } from '../../functions/providers/ssh/agent.ts'
import { isSigned, readCertificate } from '../../functions/providers/ssh/certificate.ts'
import { Settings, Target } from '../../functions/providers/ssh/definition.ts'
import { FakeSsh } from '../../functions/providers/ssh/fake.ts'
import type { Entry } from '../../functions/providers/ssh/held.ts'
import { Held } from '../../functions/providers/ssh/held.ts'
import { emptyList, readList, UnfitList, writeList } from '../../functions/providers/ssh/krl.ts'
import { recognise } from '../../functions/providers/ssh/recognise.ts'
import { missing } from '../../lib/local/issuers/sshd.ts'

const run = promisify(execFile)
const AGENT = resolve('functions/providers/ssh/host/rescind-ssh')

/** OpenSSH's own ssh-keygen judges what is written, and writes what is read. */
describe.skipIf(missing !== undefined)('ssh alone, the revocation list and its agent', () => {
  let folder = ''
  let authority = Buffer.alloc(0)
  const at = (name: string) => join(folder, name)
  const keygen = async (...args: string[]) => (await run('ssh-keygen', args)).stdout
  const blobOf = async (name: string) => Buffer.from((await readFile(at(name), 'utf8')).split(' ')[1] ?? '', 'base64')
  const contents = async (bytes: Buffer) => {
    await writeFile(at('shown'), bytes)
    return await keygen('-Q', '-l', '-f', at('shown'))
  }
  const certificate = (serial: bigint): Entry => ({ kind: 'certificate', authority, serial })

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'rescind-krl-'))
    await keygen('-q', '-t', 'ed25519', '-N', '', '-f', at('ca'))
    await keygen('-q', '-t', 'rsa', '-b', '2048', '-N', '', '-f', at('rsa'))
    await keygen('-q', '-t', 'ecdsa', '-b', '521', '-N', '', '-f', at('ecdsa'))
    await keygen('-q', '-t', 'ed25519', '-N', 'a passphrase', '-f', at('user'))
    authority = await blobOf('ca.pub')
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  it('reads every kind of section that ssh-keygen writes, and writes it again with the same meaning', async () => {
    // Serials so near to each other become a bitmap, so far a list, in a row a range.
    const serials = [...Array.from({ length: 40 }, (_, index) => 1000 + index * 3), 5_000_000_000]
    const spec = [...serials.map((serial) => `serial: ${serial}`), 'serial: 70000-80000', 'id: a "job"', 'id: *']
    await writeFile(at('spec'), `${spec.join('\n')}\nsha1: ${await readFile(at('rsa.pub'), 'utf8')}`)
    await writeFile(at('keys'), await readFile(at('ecdsa.pub'), 'utf8'))
    await writeFile(at('hashes'), `sha256: ${await readFile(at('user.pub'), 'utf8')}`)
    await keygen('-q', '-k', '-f', at('made'), '-z', '7', '-C', 'kept by a person', '-s', at('ca.pub'), at('spec'))
    await keygen('-q', '-k', '-u', '-f', at('made'), at('keys'), at('hashes'))
    const made = await readFile(at('made'))
    const list = readList(made)
    expect(list).toMatchObject({ version: 7n, comment: 'kept by a person' })
    expect([list.keys.size, list.sha1.size, list.sha256.size]).toEqual([1, 1, 1])
    const [held] = [new Held(made)]
    for (const serial of serials) expect(held.has(certificate(BigInt(serial)))).toBe(true)
    for (const serial of [999n, 1001n, 69_999n, 80_001n]) expect(held.has(certificate(serial))).toBe(false)
    const meaning = (text: string) =>
      text
        .split('\n')
        .filter((line) => !line.startsWith('# Generated'))
        .sort()
    expect(meaning(await contents(writeList(list, 1)))).toEqual(meaning(await contents(made)))
  })

  it('writes what ssh-keygen reads: the first and the last serial, ranges, key ids in any script, keys', async () => {
    const held = new Held(Buffer.alloc(0))
    const keyId = Buffer.from('日本 "x"').toString('latin1')
    const fingerprint = (await keygen('-l', '-f', at('user.pub'))).split(' ')[1] ?? ''
    for (const serial of [1n, 2n, 3n, 9n, 0xffff_ffff_ffff_ffffn]) held.add(certificate(serial), 'revoked', undefined)
    held.add({ kind: 'key-id', authority, keyId }, 'revoked', undefined)
    held.add({ kind: 'key', fingerprint }, 'revoked', undefined)
    await writeFile(at('written'), held.write(1))
    const said = await keygen('-Q', '-l', '-f', at('written'))
    for (const line of ['serial: 1-3', 'serial: 9', 'serial: 18446744073709551615']) expect(said).toContain(`${line}\n`)
    await expect(keygen('-Q', '-f', at('written'), at('user.pub'))).rejects.toMatchObject({ code: 1 })
    await expect(keygen('-Q', '-f', at('written'), at('rsa.pub'))).resolves.toContain('ok')
    await run('ssh-keygen', ['-q', '-s', at('ca'), '-I', '日本 "x"', '-n', 'x', '-z', '77', at('rsa.pub')])
    await expect(keygen('-Q', '-f', at('written'), at('rsa-cert.pub'))).rejects.toMatchObject({ code: 1 })
  })

  it('takes one serial out of a range, and leaves its neighbours', () => {
    const held = new Held(Buffer.alloc(0))
    for (const serial of [4n, 5n, 6n]) held.add(certificate(serial), 'revoked', undefined)
    expect(held.remove(certificate(5n), 'revoked')).toBe('removed')
    expect([4n, 5n, 6n].map((serial) => held.has(certificate(serial)))).toEqual([true, false, true])
    expect(held.remove(certificate(5n), 'revoked')).toBe('free')
  })

  it('knows its own entries again after a person changed the list, and leaves theirs alone', async () => {
    const held = new Held(Buffer.alloc(0))
    held.add(certificate(5n), 'revoked', undefined)
    held.add(certificate(5n), 'contained', undefined)
    await writeFile(at('shared'), held.write(1))
    await writeFile(at('more'), 'serial: 6\n')
    await keygen('-q', '-k', '-u', '-f', at('shared'), '-s', at('ca.pub'), at('more'))
    const again = new Held(await readFile(at('shared')))
    expect(again.add(certificate(6n), 'revoked', undefined)).toBe(false)
    expect(again.remove(certificate(6n), 'revoked')).toBe('foreign')
    expect(again.remove(certificate(5n), 'revoked')).toBe('held')
    expect(again.remove(certificate(5n), 'contained')).toBe('removed')
    expect(new Held(again.write(2)).has(certificate(6n))).toBe(true)
    // Who gives the list another comment takes the marks away: then nothing is ours.
    await keygen('-q', '-k', '-u', '-f', at('shared'), '-C', 'rescind:[]')
    expect(new Held(await readFile(at('shared'))).remove(certificate(5n), 'revoked')).toBe('foreign')
  })

  it('sweeps what has ended, and nothing that a person refuses', () => {
    const held = new Held(Buffer.alloc(0))
    held.add(certificate(1n), 'revoked', 100)
    held.add(certificate(2n), 'revoked', 200)
    held.add(certificate(3n), 'revoked', undefined)
    held.sweep(150)
    expect([1n, 2n, 3n].map((serial) => held.has(certificate(serial)))).toEqual([false, true, true])
  })

  it('heeds entries that are meant for every authority', () => {
    const list = emptyList()
    list.authorities.set('', { serials: [[8n, 8n]], keyIds: new Set() })
    expect(new Held(writeList(list, 1)).has(certificate(8n))).toBe(true)
  })

  it('writes no list again that it does not understand', async () => {
    const good = writeList(emptyList(), 1)
    const strange = Buffer.concat([good, Buffer.of(9, 0, 0, 0, 0)])
    const signed = Buffer.concat([good, Buffer.of(4, 0, 0, 0, 0)])
    const lists = [await readFile(at('rsa.pub')), good.subarray(0, 20), strange, signed, Buffer.from('<html></html>')]
    for (const bytes of lists) expect(() => readList(bytes)).toThrow(UnfitList)
    expect(readList(Buffer.alloc(0))).toEqual(emptyList())
  })

  it('proves a certificate by its signature, whatever kind of key its authority has', async () => {
    for (const name of ['ca', 'rsa', 'ecdsa']) {
      await keygen('-q', '-s', at(name), '-I', name, '-n', 'x', '-z', '5', at('user.pub'))
      const blob = await blobOf('user-cert.pub')
      const read = readCertificate(blob)
      if (read === undefined) throw new Error('no certificate')
      expect(read).toMatchObject({ serial: 5n, keyId: name })
      expect(isSigned(read)).toBe(true)
      const forged = Buffer.from(blob)
      forged.writeUInt8(forged.readUInt8(forged.indexOf('\0\0\0\0\0\0\0\x05') + 7) + 1, forged.indexOf('\0\0\0\0\0\0\0\x05') + 7)
      const other = readCertificate(forged)
      expect(other === undefined ? false : isSigned(other)).toBe(false)
    }
  })

  it('recognises a leaked private key by its public half, and keeps nothing else of it', async () => {
    const fingerprint = (await keygen('-l', '-f', at('user.pub'))).split(' ')[1]
    const [secret, line] = [await readFile(at('user'), 'utf8'), await readFile(at('user.pub'), 'utf8')]
    for (const text of [secret, ` ${secret}\n`, line, fingerprint ?? '']) {
      expect(recognise(text)).toEqual({ credential: `key:${fingerprint}`, shown: `key ${fingerprint}`, query: {} })
    }
    const ca = (await keygen('-l', '-f', at('ca.pub'))).split(' ')[1]
    const logged = `sshd[7]: Accepted publickey for x from 1.2.3.4 port 5 ssh2: ED25519-CERT ${fingerprint} ID a (serial 42) CA ED25519 ${ca}`
    expect(recognise(logged)?.credential).toBe(`certificate:${ca}:42`)
    await keygen('-q', '-s', at('ca'), '-I', 'no serial', '-n', 'x', at('user.pub'))
    expect(recognise(await readFile(at('user-cert.pub'), 'utf8'))?.credential).toBe(`key:${fingerprint}`)
    for (const text of [
      'ssh-ed25519 AAAA',
      'ssh-rsa AAAAB3NzaC1yc2E=',
      '-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----',
    ])
      expect(recognise(text)).toBeUndefined()
  })

  it('takes no serial 0, which names no certificate, and no text that is no serial', () => {
    const ca = new FakeSsh().ca
    const taken = (serial: string) => Target.safeParse({ kind: 'certificate', ca, serial }).success
    expect(['1', '18446744073709551615'].map(taken)).toEqual([true, true])
    expect(['0', '01', '-1', '18446744073709551616', '1e3', '', '1\n'].map(taken)).not.toContain(true)
    const host = { name: 'one', host: 'h', fingerprints: [ca] }
    expect(Settings.safeParse({ hosts: [host, host] }).success).toBe(false)
    expect(Settings.safeParse({ hosts: [{ ...host, fingerprints: [] }] }).success).toBe(false)
  })

  /** What the agent answers to a request, without any network. */
  const ask = async (request: string, list = at('list'), environment: Record<string, string> = {}) => {
    const child = spawn('/bin/sh', [AGENT, list, at('no log'), '/none'], { env: environment })
    let said = ''
    child.stdout.on('data', (part: Buffer) => {
      said += part.toString('latin1')
    })
    child.stdin.on('error', () => undefined)
    child.stdin.end(request)
    await new Promise((done) => child.once('close', done))
    return said.trimEnd().split('\n')
  }
  const putting = (old: Buffer, wanted: Buffer, sent = wanted) =>
    `put ${hashOf(old)} ${hashOf(wanted)}\n${sent.toString('base64')}\n`

  it('replaces the list whole or not at all', async () => {
    const old = writeList(emptyList(), 1)
    const next = writeList({ ...emptyList(), version: 2n }, 2)
    await writeFile(at('list'), old)
    const text = Buffer.from('not a list, and no key\n')
    expect((await ask(putting(next, next))).at(-1)).toBe('error changed')
    expect((await ask(putting(old, next, next.subarray(0, 30)))).at(-1)).toBe('error incomplete')
    expect((await ask(putting(old, text))).at(-1)).toBe('error unfit')
    expect(await readFile(at('list'))).toEqual(old)
    expect((await ask(putting(old, next))).at(-1)).toBe('done')
    expect(await readFile(at('list'))).toEqual(next)
    // Nothing is left beside it but the lock.
    expect((await readdir(folder)).filter((name) => name.startsWith('list'))).toEqual(['list', 'list.lock'])
  })

  it('lets one of two that write at once win, and tells the other', async () => {
    const old = writeList(emptyList(), 1)
    await writeFile(at('list'), old)
    const wanted = Array.from({ length: 6 }, (_, index) => writeList({ ...emptyList(), version: BigInt(index + 2) }, 2))
    const answers = await Promise.all(wanted.map(async (bytes) => (await ask(putting(old, bytes))).at(-1)))
    expect(answers.filter((answer) => answer === 'done')).toHaveLength(1)
    expect(answers.filter((answer) => answer === 'error changed')).toHaveLength(5)
    expect(await readFile(at('list'))).toEqual(wanted[answers.indexOf('done')])
  })

  it('does nothing for what is no request of ours, and reads nothing but its input', async () => {
    await writeFile(at('list'), writeList(emptyList(), 1))
    const requests = [
      '',
      '\n',
      'rm -rf /\n',
      'look $(id)\n',
      'put ; ;\n',
      'put a\n',
      'end\n1 1; id\n',
      '\0\0',
      'look\tx\n',
      `${'x'.repeat(100_000)}\n`,
    ]
    for (const request of requests) expect((await ask(request)).at(-1), request.slice(0, 20)).toMatch(/^error (request|changed)$/)
    const environment = { SSH_ORIGINAL_COMMAND: 'sh -c "echo broken"', PATH: folder, IFS: 'o' }
    expect(await ask('look\n', at('list'), environment)).toEqual([
      expect.stringMatching(/^sessions no/),
      'list',
      expect.anything(),
      'done',
    ])
  })

  it('says that the list is missing, and makes none', async () => {
    expect(await ask('look\n', at('nowhere'))).toEqual(['error missing'])
    expect((await ask(putting(Buffer.alloc(0), writeList(emptyList(), 1)), at('nowhere'))).at(-1)).toBe('error missing')
    await expect(readFile(at('nowhere'))).rejects.toThrow('ENOENT')
  })
})
