import { defineConfig } from 'vitest/config'
import type { Reporter, TestModule } from 'vitest/node'

/** The run's last line in the plain form that any CI can read; a broken file or an unhandled error counts as a failure. */
class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const counts = { passed: 0, failed: unhandled.length, skipped: 0 }
    for (const module of modules) {
      const tests = [...module.children.allTests()]
      for (const test of tests) {
        const { state } = test.result()
        if (state === 'passed' || state === 'failed') counts[state] += 1
        else counts.skipped += 1
      }
      if (module.state() === 'failed' && !tests.some((test) => test.result().state === 'failed')) counts.failed += 1
    }
    // Behind the default reporter's summary, which is written when the run ends too.
    process.once('exit', () => {
      process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`)
    })
  }
}

/** Servers that take minutes to build or half a minute to start: `npm run conformance -- --all`. */
const exclude = process.env['RESCIND_LONG'] === '1' ? [] : ['test/conformance/long/**']

const project = (name: string, testTimeout: number, hookTimeout = testTimeout) => ({
  extends: true as const,
  test: { name, include: [`test/${name}/**/*.test.ts`], exclude, testTimeout, hookTimeout },
})

export default defineConfig({
  test: {
    environment: 'node',
    // Two cores: more workers only make real servers miss their deadlines.
    maxWorkers: 2,
    reporters: ['default', new ClosingLine()],
    projects: [
      project('unit', 5_000),
      project('model', 300_000),
      project('properties', 60_000),
      project('infra', 60_000, 120_000),
      project('conformance', 60_000, 60_000),
      project('scenarios', 180_000, 120_000),
      // Its seeds run in processes of their own, which share the machine with whatever else is tested.
      project('simulation', 900_000),
    ],
  },
})
