import { createHash } from 'node:crypto'

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'

/**
 * A key part: the first 130 bits of a SHA-256 over the parts, each preceded by its length in bytes, as 26 characters
 * of lower-case base32. The lengths make the parts unambiguous (`['a','bc']` differs from `['ab','c']`), and hashing
 * makes names of any length and alphabet safe inside keys. 130 bits leave a second preimage out of reach.
 */
export function key(...parts: readonly string[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}:`).update(part)
  const digest = hash.digest()
  let bits = 0
  let value = 0
  let text = ''
  for (const byte of digest) {
    value = (value << 8) | byte
    bits += 8
    while (bits >= 5 && text.length < 26) {
      bits -= 5
      text += ALPHABET[(value >>> bits) & 31]
    }
    value &= (1 << bits) - 1
    if (text.length === 26) break
  }
  return text
}

/** Shards per scope kind: a constant of the kind, so that it never changes under a running scan. */
export const SHARDS = { identity: 16, deployment: 16, task: 1, credential: 1, parent: 1, leases: 1 } as const

/** The shard of a lease in a scope of `shards` shards, from the lease's own random part. */
export function shardOf(leaseId: string, shards: number): number {
  const tail = leaseId.slice(-4)
  let value = 0
  for (const letter of tail) value = value * 32 + ALPHABET.indexOf(letter)
  return value % shards
}

export const identityKey = (uri: string) => key('identity', uri)
export const groupKey = (kind: 'owner' | 'workload', id: string) => key('group', kind, id)
export const deploymentKey = (namespace: string, id: string) => key('deployment', namespace, id)
export const taskKey = (namespace: string, id: string) => key('task', namespace, id)
/** The fingerprint of a credential: its issuer, and its name there as its provider's definition gives it. */
export const fingerprint = (issuer: string, credential: string) => key('credential', issuer, credential)
export const leverKey = (issuer: string, lever: string) => key('lever', issuer, lever)
/** The parent scope of a lease is named by the lease's own id, hashed like every other name. */
export const parentKey = (leaseId: string) => key('parent', leaseId)
/** The case of a trigger follows from its idempotency key, so a replay finds the same case. */
export const caseKey = (source: string, eventId: string) => key('case', source, eventId)

/** `<identity key>.<issuer>.<key>`; the last part follows from who registers and the idempotency key. */
export const leaseIdFor = (identity: string, issuer: string, registrar: string, idempotencyKey: string) =>
  `${identity}.${issuer}.${key('lease', registrar, identity, issuer, idempotencyKey)}`

export function parseLeaseId(id: string): { identity: string; issuer: string } {
  const [identity, issuer] = id.split('.')
  if (identity === undefined || issuer === undefined) throw new RangeError(`not a lease id: ${id}`)
  return { identity, issuer }
}
