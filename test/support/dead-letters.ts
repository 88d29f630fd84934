import type { DeadLetter, DeadLetters } from '../../functions/runtime/dead-letters.ts'
import type { Message, Pipeline } from './pipeline.ts'

/** The dead letters of a pipeline in memory, hidden and shown as SQS does it. */
export class MemoryDeadLetters implements DeadLetters {
  readonly names = ['p0', 'p1', 'p2']
    .flatMap((lane) => [`plan-${lane}-dead`, `work-fake-${lane}-dead`])
    .concat('sweep-dead', 'close-dead')
  /** Called before each step: a test crashes there. */
  before: (step: 'sendBack' | 'remove') => void = () => {}
  private readonly pipeline: Pipeline
  private readonly ids = new Map<Message, { id: string; hiddenUntil: number }>()

  constructor(pipeline: Pipeline) {
    this.pipeline = pipeline
  }

  put(queue: string, body: unknown): void {
    const { dead, now } = this.pipeline
    dead.push({ queue: queue.replace(/-dead$/, ''), body, receiveCount: 12, notBefore: now })
  }
  canGoBack(queue: string): boolean {
    return queue !== 'sweep-dead' && queue !== 'close-dead'
  }
  async depth(queue: string): Promise<number> {
    return this.lying(queue).length
  }
  async receive(queue: string, hideSeconds: number): Promise<DeadLetter[]> {
    const found = this.lying(queue).filter((message) => this.known(message).hiddenUntil <= this.pipeline.now)
    return found.slice(0, 10).map((message) => {
      const known = this.known(message)
      known.hiddenUntil = this.pipeline.now + hideSeconds * 1000
      const body = typeof message.body === 'string' ? message.body : JSON.stringify(message.body)
      return { id: known.id, handle: known.id, body, sentAt: message.notBefore, receives: message.receiveCount }
    })
  }
  async release(_queue: string, letters: readonly DeadLetter[]): Promise<void> {
    for (const { id } of letters) for (const known of this.ids.values()) if (known.id === id) known.hiddenUntil = 0
  }
  async sendBack(queue: string, letters: readonly DeadLetter[]): Promise<DeadLetter[]> {
    this.before('sendBack')
    const back = queue.replace(/-dead$/, '')
    for (const { body } of letters)
      this.pipeline.messages.push({ queue: back, body: JSON.parse(body), receiveCount: 0, notBefore: this.pipeline.now })
    return [...letters]
  }
  async remove(queue: string, letters: readonly DeadLetter[]): Promise<number> {
    this.before('remove')
    const gone = this.lying(queue).filter((message) => letters.some(({ id }) => id === this.known(message).id))
    for (const message of gone) this.pipeline.dead.splice(this.pipeline.dead.indexOf(message), 1)
    return gone.length
  }

  private lying(queue: string): Message[] {
    return this.pipeline.dead.filter((message) => `${message.queue}-dead` === queue)
  }
  private known(message: Message): { id: string; hiddenUntil: number } {
    const known = this.ids.get(message) ?? { id: `letter-${this.ids.size}`, hiddenUntil: 0 }
    this.ids.set(message, known)
    return known
  }
}
