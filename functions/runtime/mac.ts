import { createHmac } from 'node:crypto'
import type { Mac } from '../providers/contract.ts'
import { keyCheck } from '../store/key-check.ts'
import type { Table } from '../store/table.ts'
import { OwnError } from './log.ts'
import type { Clock, Secrets } from './ports.ts'

/** The installation's keyed hash cannot be used: its key is too short, or not the one that the table was begun with. */
export class FingerprintKeyUnusable extends OwnError {
  override readonly name = 'FingerprintKeyUnusable'
  readonly code = 'fingerprint-key-unusable'
}

/** 256 bits in base64; a shorter key could be guessed, and with it every hash. */
const SHORTEST = 43

/** What the table remembers the key by: a hash of nothing that is a credential. */
const CHECK = 'rescind/fingerprint-key/check'

/** HMAC-SHA-256 (RFC 2104) in lower-case hexadecimal. */
export function macOf(key: string): Mac {
  if (key.length < SHORTEST) throw new FingerprintKeyUnusable(`the fingerprint key has at least ${SHORTEST} characters`)
  return (text) => createHmac('sha256', key).update(text).digest('hex')
}

/**
 * The installation's keyed hash, its key read once for the life of the process: credentials are known by it for ever, so
 * another key would find no lease and look like success. The first process to use a key leaves its mark in the table, and
 * every other must have the same. Throws `FingerprintKeyUnusable`.
 */
export function keyedHash(ports: {
  readonly secrets: Secrets
  readonly table: Table
  readonly clock: Clock
  /** Of the key among the secrets. */
  readonly reference: string
}): () => Promise<Mac> {
  let known: Promise<Mac> | undefined
  const read = async (): Promise<Mac> => {
    const mac = macOf(await ports.secrets.get(ports.reference))
    const at = new Date(ports.clock.now()).toISOString()
    if (!(await keyCheck(ports.table, mac(CHECK), { who: 'installation', why: 'the fingerprint key is used', at })))
      throw new FingerprintKeyUnusable('the fingerprint key is not the one that this table was begun with: give the old one back')
    return mac
  }
  return () => {
    known ??= read()
    known.catch(() => {
      known = undefined
    })
    return known
  }
}
