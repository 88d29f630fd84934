import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { GetQueueUrlCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { AuditRecord } from '../../functions/contracts/audit.ts'
import type { DeadLetterQueueView, DeadLetterView } from '../../functions/contracts/dead-letter.ts'
import type { Api } from '../../lib/local/client.ts'
import { apiClient } from '../../lib/local/client.ts'
import type { Installation } from '../../lib/local/installation.ts'
import { startInstallation } from '../../lib/local/installation.ts'

/** Dead letters on the bundles and the template that `npm start` runs, over the public API and the command alone. */

const ROOT = resolve(import.meta.dirname, '../..')
let folder: string
let installation: Installation
let api: Api
let sqs: SQSClient

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rescind-dead-'))
  installation = await startInstallation({ folder, sweepSeconds: 2 })
  api = apiClient(installation.runtime.apiUrl)
  const { environment } = installation.runtime
  sqs = new SQSClient({
    endpoint: environment['AWS_ENDPOINT_URL_SQS'] ?? '',
    region: environment['AWS_REGION'] ?? 'us-east-1',
    useQueueUrlAsEndpoint: false,
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  })
}, 240_000)

afterAll(async () => {
  sqs?.destroy()
  await installation?.stop()
  rmSync(folder, { recursive: true, force: true })
}, 60_000)

const physical = (name: string) => {
  const found = Object.keys(installation.runtime.queueDepths()).find((one) => one.replace(/\.fifo$/, '').endsWith(`-${name}`))
  if (found === undefined) throw new Error(`no queue ${name}`)
  return found
}

async function bury(queue: string, body: string): Promise<void> {
  const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: physical(queue) }))
  await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: body }))
}

/** The command as an operator runs it. */
const redrive = (...args: string[]): Promise<{ code: number; said: string }> =>
  new Promise((done) => {
    execFile(
      process.execPath,
      ['bin/redrive.ts', ...args],
      {
        cwd: ROOT,
        env: { ...process.env, RESCIND_URL: installation.runtime.apiUrl, RESCIND_TOKEN: installation.tokens.approver },
        timeout: 60_000,
      },
      (error, stdout, stderr) => done({ code: typeof error?.code === 'number' ? error.code : 0, said: `${stdout}${stderr}` }),
    )
  })

const token = () => ({ token: installation.tokens.operator })
const list = async () => ((await api.call('GET', '/v1/dead-letters', token())) as { entries: DeadLetterQueueView[] }).entries

describe('dead letters on one machine', () => {
  it('are seen, explained, and driven back by one command; the ledger says who did it', async () => {
    const queue = 'plan-p1-dead'
    const lost = 'a'.repeat(26)
    for (let copy = 0; copy < 23; copy += 1) await bury(queue, JSON.stringify({ v: 1, kind: 'plan', case: lost }))
    await bury(queue, '{"v":9,"kind":"plan"')
    expect((await list())[0]).toMatchObject({ queue, messages: 24, oldest: expect.any(String) })

    const shown = (await api.call('GET', `/v1/dead-letters/${queue}?limit=100`, token())) as { entries: DeadLetterView[] }
    expect(shown.entries).toHaveLength(24)
    expect(shown.entries.filter(({ kind }) => kind === 'foreign')).toHaveLength(1)
    expect(shown.entries.find(({ kind }) => kind === 'plan')).toMatchObject({
      case: lost,
      says: expect.stringContaining('not in the table'),
    })
    // A look hides nothing.
    expect((await redrive('--list')).said).toMatch(/24 {2}plan-p1-dead/)
    expect((await redrive('--queue', queue)).code).toBe(2)

    const driven = await redrive('--all', '--reason', 'the cause is mended')
    expect(driven).toMatchObject({ code: 0, said: expect.stringMatching(/plan-p1-dead: 2 sent back, 22 more taken out/) })
    expect((await list()).every(({ messages }) => messages === 0)).toBe(true)

    // Both were brought to the planner again, which can handle neither.
    const until = Date.now() + 20_000
    for (;;) {
      const { entries } = (await api.call('GET', '/v1/quarantine', token())) as { entries: { origin: string; reason: string }[] }
      const reasons = entries.filter(({ origin }) => origin.endsWith('plan-p1')).map(({ reason }) => reason.split(':')[0])
      if (reasons.length === 2) {
        expect(reasons.sort()).toEqual(['case-gone', 'not-json'])
        break
      }
      if (Date.now() > until) throw new Error(`in quarantine: ${JSON.stringify(entries)}`)
      await new Promise((later) => setTimeout(later, 100))
    }
    const day = new Date(Date.now()).toISOString().slice(0, 10)
    let told: AuditRecord[] = []
    // The trail is written by the second.
    while (told.length < 2 && Date.now() < until) {
      const trail = await api.audit(installation.tokens.operator, { day })
      told = trail.filter(({ what }) => what.startsWith('dead-letters.'))
    }
    expect(told.map(({ what }) => what)).toEqual(['dead-letters.redrive-began', 'dead-letters.redriven'])
    expect(told[1]).toMatchObject({ why: 'the cause is mended', facts: { queue, redriven: '2', settled: '22' } })
  }, 90_000)
})
