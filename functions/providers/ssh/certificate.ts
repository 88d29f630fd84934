import { createPublicKey, verify } from 'node:crypto'
import { fingerprintOf, Reader, string } from './wire.ts'

/** What a user certificate says of itself (OpenSSH's PROTOCOL.certkeys). */
export interface Certificate {
  readonly serial: bigint
  /** Bytes in latin1. */
  readonly keyId: string
  /** The authority's public key, as its blob. */
  readonly authority: Buffer
  /** Of the certified key. */
  readonly fingerprint: string
  /** Seconds since 1970; absent where it never ends. */
  readonly validBefore?: number
  readonly signed: Buffer
  readonly signature: Buffer
}

/** Parts of the plain key in front of the serial, behind the nonce. */
const KEY_PARTS: Readonly<Record<string, number>> = {
  'ssh-ed25519': 1,
  'ssh-rsa': 2,
  'ssh-dss': 4,
  'ecdsa-sha2-nistp256': 2,
  'ecdsa-sha2-nistp384': 2,
  'ecdsa-sha2-nistp521': 2,
  'sk-ssh-ed25519@openssh.com': 2,
  'sk-ecdsa-sha2-nistp256@openssh.com': 3,
}
const USER = 1
const CERTIFIED = /^(.+)-cert-v01(@openssh\.com)$/

/** The blob's type without what marks a certificate. */
function plainType(type: string): string | undefined {
  const [, base, domain] = CERTIFIED.exec(type) ?? []
  if (base === undefined) return undefined
  return base.startsWith('sk-') ? `${base}${domain}` : base
}

/** @returns `undefined` where the blob is no user certificate */
export function readCertificate(blob: Buffer): Certificate | undefined {
  try {
    const reader = new Reader(blob)
    const type = plainType(reader.string().toString('latin1')) ?? ''
    const parts = KEY_PARTS[type]
    if (parts === undefined) return undefined
    // The nonce.
    reader.string()
    const key = [string(type), ...Array.from({ length: parts }, () => string(reader.string()))]
    const serial = reader.uint64()
    if (reader.uint32() !== USER) return undefined
    const keyId = reader.string().toString('latin1')
    // Principals, and the beginning of its time.
    reader.string()
    reader.uint64()
    const validBefore = reader.uint64()
    // Critical options, extensions, and what is reserved.
    for (let skipped = 0; skipped < 3; skipped += 1) reader.string()
    const authority = reader.string()
    const signed = blob.subarray(0, reader.at)
    const signature = reader.string()
    if (!reader.done) return undefined
    const ends = validBefore <= BigInt(Number.MAX_SAFE_INTEGER) ? { validBefore: Number(validBefore) } : {}
    return { serial, keyId, authority, fingerprint: fingerprintOf(Buffer.concat(key)), signed, signature, ...ends }
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

const CURVES: Readonly<Record<string, readonly [crv: string, hash: string, bytes: number]>> = {
  'ecdsa-sha2-nistp256': ['P-256', 'sha256', 32],
  'ecdsa-sha2-nistp384': ['P-384', 'sha384', 48],
  'ecdsa-sha2-nistp521': ['P-521', 'sha512', 66],
}
const RSA_HASHES: Readonly<Record<string, string>> = { 'rsa-sha2-256': 'sha256', 'rsa-sha2-512': 'sha512' }

/** Whether its authority's key signed it: then the authority issued it, whoever shows it. Keys on security tokens are not tried. */
export function isSigned({ authority, signed, signature }: Certificate): boolean {
  try {
    const key = new Reader(authority)
    const type = key.string().toString('latin1')
    const seal = new Reader(signature)
    const algorithm = seal.string().toString('latin1')
    const bytes = seal.string()
    if (type === 'ssh-ed25519' && algorithm === type) {
      const jwk = { kty: 'OKP', crv: 'Ed25519', x: key.string().toString('base64url') }
      return verify(null, signed, createPublicKey({ key: jwk, format: 'jwk' }), bytes)
    }
    const hash = RSA_HASHES[algorithm]
    if (type === 'ssh-rsa' && hash !== undefined) {
      const [e, n] = [key.string(), key.string()].map((part) => unpadded(part).toString('base64url'))
      const jwk = { kty: 'RSA', ...(e === undefined ? {} : { e }), ...(n === undefined ? {} : { n }) }
      return verify(hash, signed, createPublicKey({ key: jwk, format: 'jwk' }), bytes)
    }
    const curve = CURVES[type]
    if (curve === undefined || algorithm !== type) return false
    const [crv, curveHash, length] = curve
    key.string()
    const point = key.string()
    const [x, y] = [point.subarray(1, 1 + length), point.subarray(1 + length)].map((part) => part.toString('base64url'))
    const jwk = { kty: 'EC', crv, ...(x === undefined ? {} : { x }), ...(y === undefined ? {} : { y }) }
    const pair = new Reader(bytes)
    const both = [pair.string(), pair.string()].map((part) =>
      Buffer.concat([Buffer.alloc(length), unpadded(part)]).subarray(-length),
    )
    const raw = Buffer.concat(both)
    return verify(curveHash, signed, { key: createPublicKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' }, raw)
  } catch {
    // A key or a signature that is none signs nothing.
    return false
  }
}

/** An mpint's bytes without the zero that keeps it positive. */
const unpadded = (bytes: Buffer): Buffer => (bytes[0] === 0 ? bytes.subarray(1) : bytes)
