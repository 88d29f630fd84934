import { resolve } from 'node:path'
import { runStory } from '../lib/local/story.ts'
import { terminal } from '../lib/local/terminal.ts'
import { commandLine } from '../lib/options.ts'

const USAGE = `npm start [-- options]

Brings the whole pipeline up on this machine, with real credentials at a real PostgreSQL and a real OAuth server, lets an
HR system report that somebody has left, and shows what happens. Then it stays up for your own events.

  --once           end after the story; exit code 0 only if everything that should be dead is dead, and all else alive
  --port N         port of the HTTP API (default: any free one, or RESCIND_PORT)
  --folder PATH    where state lives (default: .rescind/local); it is made anew at each start
  --help

RESCIND_DYNAMODB_ENDPOINT points it at another DynamoDB endpoint where the embedded store is not served (macOS, arm64).
`

const { values } = commandLine({
  options: { once: { type: 'boolean' }, port: { type: 'string' }, folder: { type: 'string' }, help: { type: 'boolean' } },
  // `npm start --once` without the dashes in between would be npm's own option.
  strict: true,
})

if (values.help === true) {
  process.stdout.write(USAGE)
} else {
  const port = values.port === undefined ? undefined : Number(values.port)
  if (port !== undefined && !(Number.isInteger(port) && port >= 0 && port <= 65535)) {
    process.stderr.write(`--port must be a port, not "${values.port}"\n`)
    process.exitCode = 2
  } else {
    process.exitCode = await runStory({
      folder: resolve(values.folder ?? '.rescind/local'),
      once: values.once === true,
      terminal: terminal(process.stdout),
      ...(port === undefined ? {} : { port }),
    })
  }
}
