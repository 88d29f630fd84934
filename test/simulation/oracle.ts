import { Ending } from './oracle-final.ts'
import type { Observed } from './oracle-step.ts'
import { Watch } from './oracle-step.ts'

/**
 * Watches a run, and judges it at its end. It knows the schedule, what truly happened at the issuers and what clients
 * were told; of the pipeline it reads only what outsiders are shown: outcomes, states of cases, the ledger.
 *
 * Each violation begins with the promise that it breaks.
 */
export class Oracle {
  private readonly watch: Watch

  constructor(seen: Observed) {
    this.watch = new Watch(seen)
  }

  get violations(): readonly string[] {
    return this.watch.violations
  }

  /** To be called after each step: looks at what it changed. */
  onStep(): void {
    this.watch.onStep()
  }

  /** Judges the whole run, when all is quiet. */
  final(): readonly string[] {
    this.watch.onStep()
    new Ending(this.watch).judge()
    return this.watch.violations
  }
}
