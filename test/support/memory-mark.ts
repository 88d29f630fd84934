import type { GenerationMark } from '../../functions/runtime/ports.ts'

/** The generation mark in memory, conditional as the bucket's is. */
export class MemoryMark implements GenerationMark {
  generation: number | undefined
  /** The bucket does not answer. */
  down = false
  /** Called before a write takes effect, and after it. */
  beforeWrite: () => Promise<void> | void = () => {}
  afterWrite: () => Promise<void> | void = () => {}

  async read() {
    if (this.down) throw new Error('the bucket does not answer')
    return this.generation === undefined ? undefined : { generation: this.generation, version: `"${this.generation}"` }
  }

  async write(generation: number, over: string | undefined) {
    if (this.down) throw new Error('the bucket does not answer')
    await this.beforeWrite()
    if (over !== (this.generation === undefined ? undefined : `"${this.generation}"`)) return false
    this.generation = generation
    await this.afterWrite()
    return true
  }
}
