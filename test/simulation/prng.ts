/**
 * A seeded stream of numbers (sfc32, by Chris Doty-Humphrey): fast, and the same on every machine. Each part of the
 * simulation draws from a stream of its own, so that a change in one part does not shift the choices of the others.
 */
export class Prng {
  private a: number
  private b: number
  private c: number
  private counter = 1

  /** `stream` names the part that draws. */
  constructor(seed: number, stream = '') {
    this.a = seed | 0
    this.b = Math.floor(seed / 4_294_967_296) | 0
    this.c = hashText(0x811c9dc5, stream) | 0
    for (let round = 0; round < 15; round += 1) this.bits()
  }

  /** 32 random bits, as a signed whole number. */
  bits(): number {
    const sum = (((this.a + this.b) | 0) + this.counter) | 0
    this.counter = (this.counter + 1) | 0
    this.a = this.b ^ (this.b >>> 9)
    this.b = (this.c + (this.c << 3)) | 0
    this.c = (this.c << 21) | (this.c >>> 11)
    this.c = (this.c + sum) | 0
    return sum
  }

  /** Uniform in [0, 1). */
  fraction(): number {
    return (this.bits() >>> 0) / 4_294_967_296
  }

  /** A whole number from 0 to `limit - 1`. */
  below(limit: number): number {
    return Math.floor(this.fraction() * limit)
  }

  /** A whole number from `least` to `most`, both included. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1)
  }

  chance(probability: number): boolean {
    return this.fraction() < probability
  }

  /** One of the entries, which must not be none. */
  pick<Entry>(entries: readonly Entry[]): Entry {
    const found = entries[this.below(entries.length)]
    if (found === undefined) throw new RangeError('nothing to pick from')
    return found
  }

  /** The same entries in another order. */
  shuffled<Entry>(entries: readonly Entry[]): Entry[] {
    const left = [...entries]
    const made: Entry[] = []
    while (left.length > 0) made.push(...left.splice(this.below(left.length), 1))
    return made
  }

  bytes(length: number): Uint8Array {
    const made = new Uint8Array(length)
    for (let place = 0; place < length; place += 1) made[place] = this.bits() & 255
    return made
  }
}

/** FNV-1a over the UTF-16 units of a text, going on from `hash`. */
export function hashText(hash: number, text: string): number {
  let made = hash
  for (let place = 0; place < text.length; place += 1) made = Math.imul(made ^ text.charCodeAt(place), 0x01000193)
  return made
}
