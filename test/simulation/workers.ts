import type { ChildProcess } from 'node:child_process'
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Outcome, Reply, Request } from './protocol.ts'
import type { Schedule } from './schedule.ts'
import type { Theme } from './world.ts'

type Wanted = Request extends infer One ? (One extends unknown ? Omit<One, 'id'> : never) : never
interface Waiting {
  readonly wanted: Wanted
  readonly resolve: (outcomes: readonly Outcome[]) => void
  readonly reject: (error: Error) => void
}

/** Processes that run seeds side by side. `close` ends them; they also end with this process. */
export class Workers {
  private readonly children: ChildProcess[] = []
  private readonly free: ChildProcess[] = []
  private readonly queue: Waiting[] = []
  private readonly busy = new Map<ChildProcess, { readonly id: number; readonly waiting: Waiting }>()
  private count = 0
  private failure: Error | undefined

  /** @param mutant name of a deliberate bug that their product has */
  constructor(processes: number, mutant?: string) {
    for (let left = processes; left > 0; left -= 1) this.begin(mutant)
  }

  private begin(mutant: string | undefined): void {
    const path = fileURLToPath(new URL('worker.ts', import.meta.url))
    const child = fork(path, mutant === undefined ? [] : [mutant], { execArgv: ['--no-warnings'] })
    this.children.push(child)
    child.on('message', (message: 'ready' | Reply) => {
      if (message !== 'ready') this.answered(child, message)
      this.free.push(child)
      this.next()
    })
    child.on('exit', (code) => this.failed(new Error(`a worker process ended with code ${code}`)))
  }

  private answered(child: ChildProcess, { id, outcomes, mutated }: Reply): void {
    const known = this.busy.get(child)
    this.busy.delete(child)
    if (known?.id !== id) return
    if (mutated) known.waiting.resolve(outcomes)
    else known.waiting.reject(new Error('the bug’s files were never loaded, so nothing was changed'))
  }

  private failed(error: Error): void {
    if (this.closed) return
    this.failure = error
    for (const { waiting } of this.busy.values()) waiting.reject(error)
    for (const waiting of this.queue) waiting.reject(error)
    this.busy.clear()
    this.queue.length = 0
  }

  private next(): void {
    const waiting = this.queue[0]
    const child = waiting === undefined ? undefined : this.free.pop()
    if (waiting === undefined || child === undefined) return
    this.queue.shift()
    this.count += 1
    const id = this.count
    this.busy.set(child, { id, waiting })
    child.send({ ...waiting.wanted, id })
  }

  private ask(wanted: Wanted): Promise<readonly Outcome[]> {
    return new Promise((resolve, reject) => {
      if (this.failure !== undefined) return reject(this.failure)
      this.queue.push({ wanted, resolve, reject })
      this.next()
    })
  }

  /**
   * Runs seeds one after the other in one process.
   *
   * @param about themes that their worlds have beside their own
   */
  seeds(from: number, count: number, about: readonly Theme[] = []): Promise<readonly Outcome[]> {
    return this.ask({ do: 'seeds', from, count, about })
  }

  async schedule(schedule: Schedule, disabled: readonly number[] = [], record = false): Promise<Outcome> {
    const [outcome] = await this.ask({ do: 'schedule', schedule, disabled, record })
    if (outcome === undefined) throw new Error('a worker gave no outcome')
    return outcome
  }

  private closed = false
  close(): void {
    this.closed = true
    for (const child of this.children) child.kill()
  }
}

/**
 * Runs seeds in all processes.
 *
 * @param about themes that their worlds have beside their own
 * @param onOutcome called for each seed, in no order; `true` ends the run early
 */
export async function runSeeds(
  workers: Workers,
  processes: number,
  from: number,
  count: number,
  batch: number,
  about: readonly Theme[],
  onOutcome: (outcome: Outcome) => boolean,
): Promise<void> {
  let next = from
  let ends = false
  const end = from + count
  const lane = async (): Promise<void> => {
    while (!ends && next < end) {
      const begin = next
      const size = Math.min(batch, end - begin)
      next += size
      for (const outcome of await workers.seeds(begin, size, about)) if (onOutcome(outcome)) ends = true
    }
  }
  await Promise.all(Array.from({ length: processes }, lane))
}
