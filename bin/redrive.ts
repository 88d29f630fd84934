import type { DeadLetterQueueView, DeadLetterView, RedriveAnswer } from '../functions/contracts/dead-letter.ts'
import { apiClient, Refused } from '../lib/local/client.ts'
import { commandLine } from '../lib/options.ts'

const USAGE = `npm run redrive -- (--list | --queue NAME [--show | --give-up] | --all) [--reason TEXT]

Shows the dead letters of an installation, and drives them back after their cause is mended: each message is sent to the
queue that it came from, and only then taken out. Who did it, and why, stands in the ledger.

  --list           each dead-letter queue and how much lies in it (nothing is changed)
  --queue NAME     one queue, as --list names it: plan-p0-dead, work-postgresql-p1-dead
  --show           with --queue: what lies in it and why (nothing is changed)
  --give-up        with --queue, where messages came from no queue: takes them out, after what docs/operations.md says
  --all            every queue that holds anything
  --reason TEXT    why, for the ledger; needed to drive back
  --url URL        address of the HTTP API (default: RESCIND_URL)
  --help

RESCIND_TOKEN holds the token of an operator with the right to approve. Exit code 1 if anything is left.
`

const { values } = commandLine({
  options: {
    list: { type: 'boolean' },
    queue: { type: 'string' },
    show: { type: 'boolean' },
    'give-up': { type: 'boolean' },
    all: { type: 'boolean' },
    reason: { type: 'string' },
    url: { type: 'string' },
    help: { type: 'boolean' },
  },
  strict: true,
})
const print = (line: string) => process.stdout.write(`${line}\n`)
const url = values.url ?? process.env['RESCIND_URL']
const token = process.env['RESCIND_TOKEN']
const modes = [values.list, values.queue, values.all].filter((mode) => mode !== undefined)

if (values.help === true) print(USAGE)
else if (modes.length !== 1 || url === undefined || token === undefined) {
  process.stderr.write(USAGE)
  process.exitCode = 2
} else {
  try {
    process.exitCode = await run(url.replace(/\/$/, ''), token)
  } catch (error) {
    process.stderr.write(`${error instanceof Refused ? error.message : String(error)}\n`)
    process.exitCode = 1
  }
}

async function run(base: string, bearer: string): Promise<number> {
  const api = apiClient(base)
  const call = (method: string, path: string, body?: unknown) =>
    api.call(method, path, { token: bearer, ...(body === undefined ? {} : { body }) })
  const overview = async () => ((await call('GET', '/v1/dead-letters')) as { entries: DeadLetterQueueView[] }).entries

  if (values.list === true) {
    for (const { queue, messages, oldest, redrive } of await overview())
      print(`${String(messages).padStart(7)}  ${queue}${oldest === undefined ? '' : `  since ${oldest}`}  (${redrive})`)
    return 0
  }
  if (values.show === true && values.queue !== undefined) {
    const shown = (await call('GET', `/v1/dead-letters/${values.queue}?limit=100`)) as { entries: DeadLetterView[] }
    for (const letter of shown.entries) {
      const about = [letter.kind, letter.case, letter.chunk, letter.lease, letter.issuer, letter.restoration, letter.campaign]
      print(`${letter.sentAt}  ${about.filter((part) => part !== undefined).join(' ')}  received ${letter.receives} times`)
      if (letter.error !== undefined) print(`    failed with: ${letter.error}`)
      print(`    ${letter.says}${letter.over ? ' (nothing is left to do)' : ''}`)
    }
    return 0
  }
  if (values.reason === undefined) {
    process.stderr.write('--reason is missing: it stands in the ledger\n')
    return 2
  }
  const queues =
    values.queue === undefined ? (await overview()).filter(({ messages }) => messages > 0) : [{ queue: values.queue }]
  let left = 0
  const giveUp = values['give-up'] === true && values.queue !== undefined
  for (const { queue } of queues) left += await drive(call, queue, { reason: values.reason, ...(giveUp ? { giveUp } : {}) })
  return left === 0 ? 0 : 1
}

/** Request by request, until nothing more moves. */
async function drive(
  call: (method: string, path: string, body?: unknown) => Promise<unknown>,
  queue: string,
  body: { readonly reason: string; readonly giveUp?: true },
): Promise<number> {
  for (let total = 0; ; ) {
    let answer: RedriveAnswer
    try {
      answer = (await call('POST', `/v1/dead-letters/${queue}/redrive`, body)) as RedriveAnswer
    } catch (error) {
      if (!(error instanceof Refused) || error.problem.code !== 'redrive-refused') throw error
      print(`${queue}: ${error.problem.detail ?? error.problem.title}`)
      return 1
    }
    total += answer.redriven
    print(`${queue}: ${total} sent back, ${answer.settled} more taken out, about ${answer.left} left`)
    if (answer.left === 0 || answer.redriven + answer.settled === 0) return answer.left
  }
}
