import type { Clue } from '../contract.ts'
import { bare } from '../shape.ts'
import { readCertificate } from './certificate.ts'
import type { Target } from './target.ts'
import { credentialOf } from './target.ts'
import { fingerprintOf, Reader } from './wire.ts'

const LONGEST = 32_768
/** A public key or a certificate as one line, as in authorized_keys (without options) and in a .pub file. */
const PUBLIC = /^(?:ssh|ecdsa|sk)-[a-z0-9@.-]+ (AAAA[A-Za-z0-9+/]+={0,2})(?: [^\r\n]*)?$/
const PRIVATE = /^-----BEGIN OPENSSH PRIVATE KEY-----\s+([A-Za-z0-9+/=\s]+?)\s+-----END OPENSSH PRIVATE KEY-----$/
const FINGERPRINT = /^SHA256:[A-Za-z0-9+/]{43}$/
/** The end of what sshd logs at a login with a certificate. */
const LOGGED = /: Accepted publickey for .* \(serial ([1-9]\d{0,19})\) CA [A-Z0-9-]+ (SHA256:[A-Za-z0-9+/]{43})$/

/**
 * A certificate, a public key, a private key (its public half stands in it in clear, also where a passphrase protects it),
 * a fingerprint, or sshd's own line about a login.
 */
export function recognise(text: string): Clue | undefined {
  if (text.length > LONGEST) return undefined
  const given = bare(text)
  const [, serial, ca] = LOGGED.exec(given) ?? []
  if (serial !== undefined && ca !== undefined) return certificateClue({ kind: 'certificate', ca, serial }, {})
  if (FINGERPRINT.test(given)) return keyClue(given)
  const [, held] = PRIVATE.exec(given) ?? []
  if (held !== undefined) return keyClue(publicHalf(Buffer.from(held, 'base64')))
  const [, encoded] = PUBLIC.exec(given) ?? []
  if (encoded === undefined) return undefined
  const blob = Buffer.from(encoded, 'base64')
  const certificate = readCertificate(blob)
  if (certificate === undefined) return isPlainKey(blob) ? keyClue(fingerprintOf(blob)) : undefined
  // Without a serial nothing names the certificate alone; its key does.
  if (certificate.serial === 0n) return keyClue(certificate.fingerprint)
  const target = { ca: fingerprintOf(certificate.authority), serial: String(certificate.serial) }
  return certificateClue({ kind: 'certificate', ...target }, { certificate: blob.toString('base64') })
}

function certificateClue(target: Extract<Target, { kind: 'certificate' }>, query: Clue['query']): Clue {
  return { credential: credentialOf(target), shown: `certificate ${target.serial} of ${target.ca}`, query }
}

function keyClue(fingerprint: string | undefined): Clue | undefined {
  if (fingerprint === undefined) return undefined
  return { credential: credentialOf({ kind: 'key', fingerprint }), shown: `key ${fingerprint}`, query: {} }
}

function isPlainKey(blob: Buffer): boolean {
  try {
    const [type = Buffer.alloc(0), ...parts] = new Reader(blob).strings()
    return /^(?:ssh|ecdsa|sk)-[a-z0-9@.-]+$/.test(type.toString('latin1')) && !type.includes('-cert-') && parts.length > 0
  } catch {
    // Not strings to its end.
    return false
  }
}

/** OpenSSH's PROTOCOL.key: magic, cipher, kdf, its options, number of keys, public key. */
function publicHalf(bytes: Buffer): string | undefined {
  const magic = Buffer.from('openssh-key-v1\0')
  if (!bytes.subarray(0, magic.length).equals(magic)) return undefined
  try {
    const reader = new Reader(bytes.subarray(magic.length))
    for (let skipped = 0; skipped < 3; skipped += 1) reader.string()
    if (reader.uint32() !== 1) return undefined
    return fingerprintOf(reader.string())
  } catch {
    // Cut short.
    return undefined
  }
}
