import { ListQueuesCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import type { DeadLetterQueueView, DeadLetterView, RedriveAnswer } from '../../../functions/contracts/dead-letter.ts'
import type { Api } from '../../../lib/local/client.ts'
import { Refused } from '../../../lib/local/client.ts'
import type { Scene } from './scene.ts'
import { until } from './scene.ts'

/** Dead letters as an operator meets them: seen, explained, driven back; what nobody can handle ends in quarantine. */
export async function deadLetters(scene: Scene, api: Api): Promise<void> {
  const { deployment, check, say } = scene
  const { aws, tokens } = deployment
  say('Dead letters')
  const sqs = new SQSClient({ ...aws.configuration(aws.root), useQueueUrlAsEndpoint: false })
  try {
    const queue = 'plan-p2-dead'
    const { QueueUrls = [] } = await sqs.send(new ListQueuesCommand({}))
    const QueueUrl = QueueUrls.find((url) => url.endsWith(`-${queue}`))
    const lost = 'a'.repeat(26)
    for (const body of [{ v: 1, kind: 'plan', case: lost }, { v: 1, kind: 'plan', case: lost }, { v: 9 }])
      await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: JSON.stringify(body) }))
    const listed = (await api.call('GET', '/v1/dead-letters', { token: tokens.operator })) as { entries: DeadLetterQueueView[] }
    const seen = listed.entries.find((entry) => entry.queue === queue)
    check('three dead letters are seen', seen?.messages === 3, JSON.stringify(seen))
    const shown = (await api.call('GET', `/v1/dead-letters/${queue}`, { token: tokens.operator })) as {
      entries: DeadLetterView[]
    }
    const kinds = shown.entries.map(({ kind }) => kind).sort()
    check('and explained', kinds.join(' ') === 'foreign plan plan', shown.entries.map(({ says }) => says).join('; '))
    const path = `/v1/dead-letters/${queue}/redrive`
    const body = { reason: 'the cause is mended' }
    const refused = await api.call('POST', path, { token: tokens.operator, body }).then(
      () => 'nothing refused it',
      (error: unknown) => (error instanceof Refused ? error.problem.code : String(error)),
    )
    check('who may not approve cannot drive them back', refused === 'forbidden', refused)
    const driven = (await api.call('POST', path, { token: tokens.approver, body })) as RedriveAnswer
    check(
      'they are driven back, each message once',
      driven.redriven === 2 && driven.settled === 1 && driven.left === 0,
      JSON.stringify(driven),
    )
    const reasons = await until(scene, 'what nobody can handle in quarantine', async () => {
      const { entries } = (await api.call('GET', '/v1/quarantine', { token: tokens.operator })) as {
        entries: { origin: string; reason: string }[]
      }
      const found = entries.filter(({ origin }) => origin.endsWith('plan-p2')).map(({ reason }) => reason.split(':')[0])
      return found.length >= 2 ? found.sort().join(' ') : undefined
    })
    check('the planner puts them in quarantine with a reason', reasons === 'case-gone version-unknown', reasons)
  } finally {
    sqs.destroy()
  }
}
