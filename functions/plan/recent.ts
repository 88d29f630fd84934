/** What was read or found out lately, within bounds: whatever is forgotten is read again. */
export class Recent<Value> {
  readonly #known = new Map<string, { readonly value: Value; readonly weight: number }>()
  readonly #most: number
  #weight = 0

  /** @param most sum of the weights that it keeps */
  constructor(most: number) {
    this.#most = most
  }

  get(name: string): Value | undefined {
    const found = this.#known.get(name)
    if (found === undefined) return undefined
    // What is used stays longest.
    this.#known.delete(name)
    this.#known.set(name, found)
    return found.value
  }

  set(name: string, value: Value, weight = 1): Value {
    this.#weight += weight - (this.#known.get(name)?.weight ?? 0)
    this.#known.delete(name)
    this.#known.set(name, { value, weight })
    for (const [oldest, known] of this.#known) {
      if (this.#weight <= this.#most || this.#known.size === 1) break
      this.#known.delete(oldest)
      this.#weight -= known.weight
    }
    return value
  }

  async of(name: string, read: () => Promise<Value>): Promise<Value> {
    return this.get(name) ?? this.set(name, await read())
  }
}
