import { basename } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import type { Reporter, TestCase, TestModule } from 'vitest/node'
import type { Meta, Own, Results, Run } from './results.ts'

const MESSAGE_LINES = 12

/** Collects provider by property, and tells of each file when it ends and of each failure what it says. */
export class ConformanceReporter implements Reporter {
  readonly #providers: readonly string[]
  readonly #print: (text: string) => void
  readonly #runs = new Map<string, { meta: Meta; passed: Set<string>; failed: Set<string>; skipped: Set<string> }>()
  readonly #own = new Map<string, { passed: number; failed: number; skipped: number }>()
  /** Files that could not be loaded, tests that failed, errors that nobody caught. */
  failures = 0
  #skipped = 0
  #passed = 0

  constructor(providers: readonly string[], print: (text: string) => void) {
    this.#providers = providers
    this.#print = print
  }

  onTestModuleEnd(module: TestModule): void {
    const tests = [...module.children.allTests()]
    const count = { passed: 0, failed: 0, skipped: 0 }
    for (const test of tests) {
      const state = stateOf(test)
      count[state] += 1
      this.#take(test, state, module)
      if (state === 'failed') this.#tell(test)
    }
    // A hook that throws has its tests skipped; they were not shown, so that is a failure.
    const errors = [...module.errors(), ...[...module.children.allSuites()].flatMap((suite) => suite.errors())]
    for (const error of errors) this.#print(`  FAIL ${module.relativeModuleId}\n${indented(error.message)}`)
    if (errors.length > 0) this.#ownOf(module).failed += errors.length
    const broken = errors.length > 0
    this.failures += count.failed + errors.length
    this.#skipped += count.skipped
    this.#passed += count.passed
    const words = [`${count.passed} passed`]
    if (count.failed > 0 || broken) words.push(broken ? 'NOT all of it could be run' : `${count.failed} FAILED`)
    if (count.skipped > 0) words.push(`${count.skipped} skipped`)
    this.#print(
      `${basename(module.relativeModuleId).padEnd(36)} ${words.join(', ')} (${(module.diagnostic().duration / 1000).toFixed(1)} s)`,
    )
  }

  onTestRunEnd(_modules: readonly TestModule[], unhandled: readonly { readonly message: string }[]): void {
    for (const { message } of unhandled) this.#print(`  an error that nobody caught:\n${indented(message)}`)
    this.failures += unhandled.length
  }

  get counts(): string {
    return `${this.#passed} passed, ${this.failures} failed, ${this.#skipped} skipped`
  }

  /** @param date of today. @param long with the servers of the long run */
  results(date: string, long: boolean): Results {
    const runs = [...this.#runs.values()].map(({ meta, passed, failed, skipped }): Run => {
      const { property: _, ...about } = meta
      const of = (ids: ReadonlySet<string>) => [...ids] as Run['passed']
      return { ...about, date, passed: of(passed), failed: of(failed), skipped: of(skipped) }
    })
    return { date, ...(long ? { longRun: date } : {}), node: process.version, runs, own: Object.fromEntries(this.#own) }
  }

  #take(test: TestCase, state: keyof Own, module: TestModule): void {
    const { conformance: meta } = test.meta()
    if (meta === undefined) {
      this.#ownOf(module)[state] += 1
      return
    }
    const key = JSON.stringify([meta.provider, meta.against, meta.counterpart, meta.title])
    const run = this.#runs.get(key) ?? { meta, passed: new Set(), failed: new Set(), skipped: new Set() }
    this.#runs.set(key, run)
    if (meta.property !== undefined) run[state].add(meta.property)
  }

  /** Counts of what stands beside the suite, by the provider of the file: of its suite, or its name's beginning. */
  #ownOf(module: TestModule): { passed: number; failed: number; skipped: number } {
    const file = basename(module.relativeModuleId)
    const [shown] = [...module.children.allTests()].flatMap((test) => test.meta().conformance?.provider ?? [])
    const [named = ''] = this.#providers
      .filter((name) => file.startsWith(name))
      .toSorted((one, other) => other.length - one.length)
    const provider = shown ?? named
    const own = this.#own.get(provider) ?? { passed: 0, failed: 0, skipped: 0 }
    this.#own.set(provider, own)
    return own
  }

  #tell(test: TestCase): void {
    const { errors = [] } = test.result() as { readonly errors?: readonly { readonly message: string; readonly diff?: string }[] }
    this.#print(`  FAIL ${test.fullName}`)
    for (const { message, diff } of errors.slice(0, 1))
      this.#print(indented(diff === undefined ? message : `${message}\n${diff}`))
  }
}

function stateOf(test: TestCase): keyof Own {
  const { state } = test.result()
  return state === 'passed' || state === 'failed' ? state : 'skipped'
}

const indented = (text: string) =>
  stripVTControlCharacters(text)
    .split('\n')
    .slice(0, MESSAGE_LINES)
    .map((line) => `    ${line.slice(0, 160)}`)
    .join('\n')
