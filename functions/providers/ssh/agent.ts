import { createHash } from 'node:crypto'
import { IssuerRefused, IssuerUnavailable } from '../contract.ts'
import type { Entry } from './held.ts'
import { fingerprintOf } from './wire.ts'

/** What host/rescind-ssh is asked and answers, as text. */

/** A host's agent, reached and recognised. Its methods throw IssuerErrors; none of them holds a secret. */
export interface Host {
  /** What stands there. Refused where its sshd does not read the list. */
  look(): Promise<Look>
  /** Replaces the list if it is still the one with this SHA-256. @returns what stands there then, read back */
  put(old: string, bytes: Buffer): Promise<Look | 'changed'>
  /** Returns when they are over, or have been told to be twice. @returns what stands there then */
  end(sessions: readonly Session[]): Promise<Look>
  /** Gives it back; it may be used again. */
  close(): void
}

export interface Look {
  readonly bytes: Buffer
  /** Whether the agent sees sessions, or why it does not. */
  readonly sees: 'seen' | 'not-root' | 'no-log'
  readonly sessions: readonly Session[]
  /** Sessions of which sshd's log does not tell who opened them. */
  readonly strangers: number
}

/** A session that is open: the process that holds its connection, and what it was opened with. */
export interface Session {
  readonly pid: number
  /** In ticks since the host's start: a process id is used again. */
  readonly start: string
  /** Of the key; of a certificate the key that it certifies. Absent for a password. */
  readonly fingerprint?: string
  readonly certificate?: { readonly ca: string; readonly serial: bigint; readonly keyId: string }
}

/** The first question on a connection, whether sshd reads the list at all; and the others. */
export const CHECK = 'check\n'
export const LOOK = 'look\n'
/** Lines of base64 as mail has them: a line of megabytes is too much for some tools. */
const LINE = /.{1,76}/g

export const putRequest = (old: string, bytes: Buffer): string =>
  [`put ${old} ${hashOf(bytes)}`, ...(bytes.toString('base64').match(LINE) ?? []), ''].join('\n')

export const endRequest = (sessions: readonly Session[]): string =>
  ['end', ...sessions.map(({ pid, start }) => `${pid} ${start}`), ''].join('\n')

export const hashOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

const FAILURES: Readonly<Record<string, string>> = {
  missing: 'the revocation list is missing, or a link: sshd then refuses every key',
  large: 'the revocation list is larger than 16 MiB',
  unwritable: 'the agent may not write the revocation list',
  unfit: 'ssh-keygen does not take the new revocation list',
}

/**
 * What an answer says.
 * @throws IssuerRefused what a person must mend, also where sshd does not read the list. IssuerUnavailable what is no answer,
 * or an incomplete one
 */
export function readAnswer(name: string, answer: string): Look | 'changed' {
  const nonsense = new IssuerUnavailable(`SSH: ${name}: no answer of the agent`)
  const lines = answer.split('\n')
  const last = lines.pop() === '' ? (lines.pop() ?? '') : ''
  const [, failure] = /^error ([a-z]+)$/.exec(last) ?? []
  if (failure === 'changed') return 'changed'
  const said = FAILURES[failure ?? '']
  if (said !== undefined) throw new IssuerRefused(`SSH: ${name}: ${said}`)
  if (failure !== undefined) throw new IssuerUnavailable(`SSH: ${name}: the agent answers ${failure}`)
  if (lines[0] === 'enforced no')
    throw new IssuerRefused(`SSH: ${name}: its sshd does not read the revocation list (RevokedKeys)`)
  if (/^enforced (?:yes|unknown)$/.test(lines[0] ?? '')) lines.shift()
  const border = lines.indexOf('list')
  const [, sees] = /^sessions (seen|not-root|no-log)$/.exec(lines.shift() ?? '') ?? []
  if (last !== 'done' || border < 0 || (sees !== 'seen' && sees !== 'not-root' && sees !== 'no-log')) throw nonsense
  const sessions: Session[] = []
  let strangers = 0
  for (const line of lines.slice(0, border - 1)) {
    const session = readSession(line)
    if (session === undefined) throw nonsense
    if (session === 'stranger') strangers += 1
    else sessions.push(session)
  }
  return { bytes: Buffer.from(lines.slice(border).join(''), 'base64'), sees, sessions, strangers }
}

const SESSION = /^(session|stranger) (\d{1,10}) (\d{1,20})(?: (Accepted .*))?$/s
const KEY =
  /^Accepted publickey for .* ssh2: \S+ (SHA256:[A-Za-z0-9+/]{43})(?: ID (.*) \(serial (\d{1,20})\) CA \S+ (SHA256:[A-Za-z0-9+/]{43}))?$/s

/** `stranger` also where the line was cut, or is written in a way that is not known here. */
function readSession(line: string): Session | 'stranger' | undefined {
  const [, kind, pid, start, logged] = SESSION.exec(line) ?? []
  if (pid === undefined || start === undefined) return undefined
  if (kind === 'stranger' || logged === undefined) return 'stranger'
  const found = { pid: Number(pid), start }
  const [, fingerprint, keyId, serial, ca] = KEY.exec(logged) ?? []
  if (fingerprint === undefined) return logged.startsWith('Accepted publickey') ? 'stranger' : found
  if (serial === undefined || ca === undefined) return { ...found, fingerprint }
  return { ...found, fingerprint, certificate: { ca, serial: BigInt(serial), keyId: unescaped(keyId ?? '') } }
}

/** What vis(3) made of bytes that are not to be printed, undone: bytes in latin1. */
const unescaped = (text: string): string =>
  text.replaceAll(/\\([0-7]{3}|[\\ntbavfrs])/g, (_, code: string) => {
    const plain: Readonly<Record<string, string>> = { n: '\n', t: '\t', b: '\b', a: '\x07', v: '\v', f: '\f', r: '\r', s: ' ' }
    return code.length === 3 ? String.fromCharCode(Number.parseInt(code, 8)) : (plain[code] ?? code)
  })

export function isOpenedWith(session: Session, entry: Entry): boolean {
  if (entry.kind === 'key') return session.fingerprint === entry.fingerprint
  const { certificate } = session
  if (certificate === undefined || certificate.ca !== fingerprintOf(entry.authority)) return false
  return entry.kind === 'certificate' ? certificate.serial === entry.serial : certificate.keyId === entry.keyId
}
