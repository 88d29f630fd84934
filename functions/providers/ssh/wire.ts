import { createHash } from 'node:crypto'

/** Reads the data types of RFC 4251, section 5, one after the other. Each method throws RangeError where the bytes end too soon. */
export class Reader {
  readonly #bytes: Buffer
  #at = 0
  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get done(): boolean {
    return this.#at === this.#bytes.length
  }
  /** How far it has read. */
  get at(): number {
    return this.#at
  }

  #take(length: number): Buffer {
    if (length > this.#bytes.length - this.#at) throw new RangeError('the data ends too soon')
    const part = this.#bytes.subarray(this.#at, this.#at + length)
    this.#at += length
    return part
  }
  byte(): number {
    return this.#take(1).readUInt8()
  }
  uint32(): number {
    return this.#take(4).readUInt32BE()
  }
  uint64(): bigint {
    return this.#take(8).readBigUInt64BE()
  }
  string(): Buffer {
    return this.#take(this.uint32())
  }
  strings(): Buffer[] {
    const all: Buffer[] = []
    while (!this.done) all.push(this.string())
    return all
  }
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export function uint64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(value)
  return bytes
}

export const string = (value: Buffer | string): Buffer => {
  const bytes = Buffer.from(value)
  return Buffer.concat([uint32(bytes.length), bytes])
}

/** As `ssh-keygen -l` shows it: `SHA256:` and unpadded base64. */
export const fingerprintOf = (key: Buffer): string =>
  `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`
