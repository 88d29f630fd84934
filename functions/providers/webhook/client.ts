import { createHmac } from 'node:crypto'
import * as z from 'zod/mini'
import type { WebhookRequest, WebhookVerb } from '../../contracts/webhook.ts'
import { WebhookAnswer } from '../../contracts/webhook.ts'
import { checkSignature, isSigningSecret, signMessage } from '../../domain/signature.ts'
import { readAdminSecret } from '../admin-secret.ts'
import { IssuerRefused } from '../contract.ts'
import type { Http } from '../http.ts'
import type { Settings } from './definition.ts'

/** How far the two clocks may be apart, and how old an answer may be: as Standard Webhooks' libraries have it. */
const TOLERANCE_SECONDS = 300

const AdminSecret = z.strictObject({
  signingSecret: z.string().check(z.refine(isSigningSecret)),
  /** While the key is being changed: signs beside the new one, and is believed. */
  formerSigningSecret: z.optional(z.string().check(z.refine(isSigningSecret))),
})

export type Verb = 'describe' | WebhookVerb
type Request<V extends Verb> = Extract<WebhookRequest, { type: `rescind.${V}` }>
export type AnswerTo<V extends Verb> = Extract<WebhookAnswer, { type: `rescind.${V}.answer` }>
/** What a caller says of a request; the rest is the same in all. */
export type Body<V extends Verb> = Omit<Request<V>, 'type' | 'contract' | 'receiver'>

/** A customer's endpoint. */
export interface Endpoint {
  /**
   * Sends one signed request and reads its signed answer.
   *
   * @throws IssuerRefused the endpoint refuses our signature, does not know the key, or is another receiver
   * @throws IssuerThrottled 429: nothing was done
   * @throws IssuerUnavailable no answer in time, a failing server, or an answer that means nothing
   */
  ask<V extends Verb>(verb: V, body: Body<V>): Promise<AnswerTo<V>>
}

/** @throws IssuerRefused the secret is unusable */
export function openEndpoint(settings: Settings, adminSecret: string, http: Http, now: () => number): Endpoint {
  const { endpoint, receiver } = settings
  const { signingSecret, formerSigningSecret } = readAdminSecret(
    AdminSecret,
    adminSecret,
    '{"signingSecret": "whsec_..."}',
    'webhook',
  )
  const secrets = formerSigningSecret === undefined ? [signingSecret] : [signingSecret, formerSigningSecret]
  const refused = (said: string) => new IssuerRefused(`webhook: ${said}`)
  let nonce = ''
  let count = 0

  return {
    async ask(verb, body) {
      const type = `rescind.${verb}` as const
      const text = JSON.stringify({ type, contract: 1, receiver, ...body })
      const at = now()
      count += 1
      // The endpoint's own chance makes it unlike all others; a description changes nothing, so two may be alike.
      const unique = createHmac('sha256', signingSecret).update(`${nonce}.${at}.${count}.${text}`).digest('base64url')
      const id = `msg_${unique}`
      const answer = await http.request(endpoint, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'application/json',
          ...signMessage({ id, timestamp: at, body: text, secrets }),
        },
        body: text,
      })
      const { status } = answer
      if (status === 401 || status === 403) throw refused(`the endpoint refuses our signature (${status})`)
      if (status === 421) throw refused(`the endpoint is not receiver ${receiver} (421)`)
      const meant = status === 200 || status === 404 || status === 410
      if (!meant || answer.json === undefined) throw answer.nonsense('the endpoint')
      const signature = checkSignature(
        { headers: answer.headers, body: answer.bytes },
        { secrets, toleranceSeconds: TOLERANCE_SECONDS, now: now() },
      )
      if (signature.status !== 'fits') {
        // A balancer's own 404 is JSON too.
        if (status !== 200) throw answer.nonsense('the endpoint')
        throw refused(`the answer does not show that the endpoint knows the key: ${signature.said}`)
      }
      const parsed = WebhookAnswer.safeParse(answer.json)
      if (!parsed.success) throw answer.nonsense('the endpoint')
      const { data } = parsed
      if (data.receiver !== receiver) throw refused(`another receiver answers here: ${data.receiver}, not ${receiver}`)
      if (data.inReplyTo !== id) throw refused('the endpoint answers another request than ours')
      if (data.type === 'rescind.describe.answer') nonce = data.nonce
      if (!answers(data, verb)) throw answer.nonsense('the endpoint')
      return data
    },
  }
}

const answers = <V extends Verb>(data: WebhookAnswer, verb: V): data is AnswerTo<V> => data.type === `rescind.${verb}.answer`
