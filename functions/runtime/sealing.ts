import { createCipheriv, createDecipheriv } from 'node:crypto'
import * as z from 'zod/mini'
import { OwnError } from './log.ts'
import type { Clock, KeyService, Randomness } from './ports.ts'

const Base64 = (bytes: { min: number; max: number }) =>
  z
    .string()
    .check(
      z.minLength(Math.ceil(bytes.min / 3) * 4),
      z.maxLength(Math.ceil(bytes.max / 3) * 4),
      z.regex(/^[A-Za-z0-9+/]+={0,2}$/),
    )

/**
 * A sealed handle as it stands in the table: AES-256-GCM under a data key, the data key wrapped by the key service.
 * All texts are base64.
 */
export const Sealed = z.strictObject({
  v: z.literal(1),
  /** The wrapped data key. */
  wrapped: Base64({ min: 1, max: 6144 }),
  iv: Base64({ min: 12, max: 12 }),
  tag: Base64({ min: 16, max: 16 }),
  data: Base64({ min: 1, max: 131072 }),
})
export type Sealed = z.infer<typeof Sealed>

/** What is sealed belongs to another lease, provider or issuer, or was changed. */
export class SealBroken extends OwnError {
  override readonly name = 'SealBroken'
  readonly code = 'seal-broken'
}

/** Where a sealed handle belongs: bound into the seal, so it opens nowhere else. */
export interface SealPlace {
  readonly provider: string
  readonly issuer: string
  readonly lease: string
}

/**
 * Seals the secret part of a handle; `plaintext` is its JSON. The registrar holds it: it may generate keys, never unwrap.
 * The key service binds each data key to `{ provider, issuer }` (the KMS encryption context), so that a provider's worker
 * can be allowed to unwrap its own only.
 */
export type Seal = (place: SealPlace, plaintext: string) => Promise<Sealed>

/** Opens a sealed handle. Throws `SealBroken`. */
export type Open = (place: SealPlace, sealed: Sealed) => Promise<string>

const HOUR = 3_600_000
/** NIST SP 800-38D section 8.3 allows 2^32 random IVs under one key; far fewer cost nothing. */
const USES = 2 ** 20
/** Issuers whose data keys are kept at once. */
const KEPT = 100

/** Additional data: each part preceded by its length in bytes, so that no two places write the same text. */
const bound = (place: SealPlace) =>
  Buffer.from(['seal-1', place.lease, place.provider, place.issuer].map((part) => `${Buffer.byteLength(part)}:${part}`).join(''))

const contextOf = (place: SealPlace) => ({ provider: place.provider, issuer: place.issuer })

export function sealer(tools: { readonly keys: KeyService; readonly clock: Clock; readonly random: Randomness }): Seal {
  const dataKeys = recent<Promise<{ plain: Uint8Array; wrapped: string; until: number; uses: number }>>(KEPT)
  const dataKey = async (place: SealPlace) => {
    const name = JSON.stringify([place.provider, place.issuer])
    const kept = dataKeys.get(name)
    if (kept !== undefined) {
      const key = await kept
      if (key.until > tools.clock.now() && key.uses < USES) {
        key.uses++
        return key
      }
    }
    // Whoever asks meanwhile waits for the same key; a failure is not kept.
    if (dataKeys.get(name) !== kept) return dataKey(place)
    const made = tools.keys.generate(contextOf(place)).then((key) => ({ ...key, until: tools.clock.now() + HOUR, uses: 0 }))
    dataKeys.set(name, made)
    made.catch(() => dataKeys.drop(name, made))
    const key = await made
    key.uses++
    return key
  }
  return async (place, plaintext) => {
    const key = await dataKey(place)
    const iv = tools.random.bytes(12)
    const cipher = createCipheriv('aes-256-gcm', key.plain, iv, { authTagLength: 16 })
    cipher.setAAD(bound(place))
    const data = Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final()])
    return {
      v: 1,
      wrapped: key.wrapped,
      iv: Buffer.from(iv).toString('base64'),
      tag: cipher.getAuthTag().toString('base64'),
      data: data.toString('base64'),
    }
  }
}

export function opener(tools: { readonly keys: KeyService; readonly clock: Clock }): Open {
  const dataKeys = recent<{ plain: Promise<Uint8Array>; until: number }>(KEPT)
  const dataKey = (place: SealPlace, wrapped: string) => {
    const name = JSON.stringify([place.provider, place.issuer, wrapped])
    const kept = dataKeys.get(name)
    if (kept !== undefined && kept.until > tools.clock.now()) return kept.plain
    const plain = tools.keys.unwrap(wrapped, contextOf(place))
    const entry = { plain, until: tools.clock.now() + HOUR }
    dataKeys.set(name, entry)
    plain.catch(() => dataKeys.drop(name, entry))
    return plain
  }
  return async (place, sealed) => {
    const key = await dataKey(place, sealed.wrapped)
    const iv = Buffer.from(sealed.iv, 'base64')
    const tag = Buffer.from(sealed.tag, 'base64')
    if (iv.length !== 12 || tag.length !== 16) throw new SealBroken('the sealed handle is malformed')
    const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: 16 })
    decipher.setAAD(bound(place))
    decipher.setAuthTag(tag)
    try {
      return Buffer.concat([decipher.update(Buffer.from(sealed.data, 'base64')), decipher.final()]).toString('utf8')
    } catch {
      // No cause: OpenSSL says nothing more, and nothing of the content may travel with the error.
      throw new SealBroken('the sealed handle does not open for this lease, provider and issuer')
    }
  }
}

/** The most recently used entries, by name. */
function recent<Entry>(most: number) {
  const entries = new Map<string, Entry>()
  return {
    get(name: string): Entry | undefined {
      const entry = entries.get(name)
      if (entry !== undefined) {
        entries.delete(name)
        entries.set(name, entry)
      }
      return entry
    },
    set(name: string, entry: Entry): void {
      entries.delete(name)
      entries.set(name, entry)
      for (const oldest of entries.keys()) {
        if (entries.size <= most) break
        entries.delete(oldest)
      }
    },
    drop(name: string, entry: Entry): void {
      if (entries.get(name) === entry) entries.delete(name)
    },
  }
}
