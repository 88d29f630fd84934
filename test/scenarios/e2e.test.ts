import { afterAll, describe, expect, it } from 'vitest'
import type { Report } from '../support/e2e/story.ts'
import { endToEnd } from '../support/e2e/story.ts'
import { startMiniStack } from '../support/ministack.ts'

const stack = await startMiniStack({ tls: true })
let running: Promise<Report> | undefined
afterAll(async () => {
  // A run that was given up still takes down what it has started.
  await running?.catch(() => undefined)
  await stack?.stop()
})

/** What `npm run e2e` does: the stacks as `cdk deploy` brings them up, with their roles' grants enforced. */
describe.skipIf(stack === undefined)('the deployed pipeline', () => {
  it('cuts real credentials over its public interfaces alone, spares all others, and proves it', async ({ signal }) => {
    if (stack === undefined) return
    const said: string[] = []
    running = endToEnd({ stack, say: (line) => said.push(line), signal })
    const { findings } = await running.catch((error: unknown) => {
      throw new Error(said.join('\n'), { cause: error })
    })
    expect(findings.filter(({ fine }) => !fine)).toEqual([])
    // What was not looked at cannot be wrong.
    expect(findings.length).toBeGreaterThanOrEqual(100)
  }, 400_000)
})
