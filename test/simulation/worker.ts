import { mutated } from './hooks.ts'
import { MUTANTS } from './mutants.ts'
import type { Outcome, Reply, Request } from './protocol.ts'
import type { Result } from './run.ts'

/**
 * A process that runs seeds for its parent. With a deliberate bug's name as its argument it is one of a product that has
 * this bug: the hooks come first, everything else is imported behind them.
 */
const name = process.argv[2]
const mutant = MUTANTS.find((one) => one.name === name)
if (name !== undefined && mutant === undefined) throw new Error(`there is no mutant ${name}`)
const hooks = mutant === undefined ? undefined : mutated(mutant)
const { runSeed } = await import('./run.ts')
const { scheduleOf } = await import('./schedule.ts')

const outcome = ({
  seed,
  ok,
  violations,
  hash,
  steps,
  virtualSeconds,
  milliseconds,
  faults,
  trace,
  coverage,
}: Result): Outcome => ({
  seed,
  ok,
  violations: violations.slice(0, 8),
  hash,
  steps,
  virtualSeconds,
  milliseconds,
  faults,
  trace,
  coverage,
})

const failed = (seed: number, error: unknown): Outcome => ({
  seed,
  ok: false,
  violations: [`the run itself failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`],
  hash: '',
  steps: 0,
  virtualSeconds: 0,
  milliseconds: 0,
  faults: [],
  trace: [],
  coverage: {},
})

async function serve(request: Request): Promise<Outcome[]> {
  if (request.do === 'schedule') {
    const { schedule, disabled, record } = request
    const options = { schedule, disabledFaults: new Set(disabled), record }
    return [await runSeed(schedule.seed, options).then(outcome, (error: unknown) => failed(schedule.seed, error))]
  }
  const outcomes: Outcome[] = []
  for (let seed = request.from; seed < request.from + request.count; seed += 1)
    outcomes.push(
      await runSeed(seed, { schedule: scheduleOf(seed, request.about) }).then(outcome, (error: unknown) => failed(seed, error)),
    )
  return outcomes
}

process.on('message', (request: Request) => {
  void serve(request).then((outcomes) => {
    const reply: Reply = { id: request.id, outcomes, mutated: hooks?.loaded() ?? true }
    process.send?.(reply)
  })
})
process.on('disconnect', () => process.exit(0))
process.send?.('ready')
