import { randomBytes } from 'node:crypto'
import type { Randomness } from './ports.ts'

/** The machine's cryptographic randomness, for fractions too: one source, nothing to confuse. */
export const systemRandomness: Randomness = {
  // 48 bits are an exact double below 1.
  fraction: () => randomBytes(6).readUIntBE(0, 6) / 2 ** 48,
  bytes: (length) => new Uint8Array(randomBytes(length)),
}
