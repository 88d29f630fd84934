import { endToEnd } from '../test/support/e2e/story.ts'
import { startMiniStack } from '../test/support/ministack.ts'

/**
 * `npm run e2e`: deploys the very stacks on an emulated AWS that enforces IAM, lets real credentials die over the public
 * interfaces, and looks at what is left. Needs Python 3.10 or newer; takes about a minute. Exit code 0 only if all is
 * as it should be.
 */
const interrupted = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    // Who asks twice does not wait for anything: what still runs is killed when this process ends.
    if (interrupted.signal.aborted) process.exit(130)
    process.stdout.write('stopping …\n')
    interrupted.abort()
  })
}

const say = (line: string) => process.stdout.write(`${line}\n`)
const stack = await startMiniStack({ tls: true })
if (stack === undefined) {
  process.exitCode = 1
} else {
  try {
    const { findings } = await endToEnd({ stack, say, signal: interrupted.signal })
    process.exitCode = findings.every(({ fine }) => fine) ? 0 : 1
  } catch (error) {
    if (!interrupted.signal.aborted) say(error instanceof Error ? (error.stack ?? error.message) : String(error))
    process.exitCode = interrupted.signal.aborted ? 130 : 1
  } finally {
    await stack.stop()
    say('stopped')
  }
}
// A client's idle connection would keep the process for a while.
process.exit()
