import type { Source } from '../contracts/settings.ts'
import { Trigger, TYPE_PREFIX } from '../contracts/trigger.ts'
import { key } from '../domain/keys.ts'
import { sourcesOf } from '../domain/rights.ts'
import { after, instant } from '../domain/time.ts'
import type { Admission } from '../runtime/admission.ts'
import type { Authenticate } from '../runtime/authentication.ts'
import type { Request, Response, Route } from '../runtime/http.ts'
import { readBody } from '../runtime/http.ts'
import type { Secrets } from '../runtime/ports.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import { SOURCE_HEADER, verifyWebhook } from '../runtime/webhook-signature.ts'
import { quarantine } from '../store/quarantine.ts'
import type { AcceptPorts, Sender } from './accept.ts'
import { acceptor } from './accept.ts'
import { REPORT_BYTES, reportRoute } from './report-route.ts'

export interface IntakeHttpPorts extends AcceptPorts {
  readonly authenticate: Authenticate
  readonly secrets: Secrets
  /** Asked for all but compromises, which are taken however much there is. */
  readonly admit?: Admission['admit']
}

const COMPROMISE = `${TYPE_PREFIX}compromise`
const MEDIA_TYPES = ['application/cloudevents+json', 'application/json']

/**
 * `POST /v1/events`: a CloudEvent in structured mode, from a sender who signs (Standard Webhooks) or who holds a token
 * with the right of a source; `POST /aws/v1/events` for AWS principals. First the sender is proven over the raw body,
 * then the body is read: what an unknown sender says is not even parsed. `POST /v1/reports` takes leaked credentials the
 * same way, from senders that may report a compromise.
 */
export function intakeRoutes(ports: IntakeHttpPorts): Route[] {
  const { table, clock, settings } = ports
  const accept = acceptor(ports)

  async function senderOf(request: Request): Promise<Sender> {
    const named = request.headers[SOURCE_HEADER]
    if (request.headers['webhook-signature'] !== undefined) return signedBy(request, named)
    const principal = await ports.authenticate(request)
    const sources = sourcesOf(settings, principal)
    const source = named === undefined && sources.length === 1 ? sources[0] : sources.find((one) => one.name === named)
    if (source === undefined) {
      const reason =
        sources.length > 1 && named === undefined
          ? `name one of your sources in the header ${SOURCE_HEADER}`
          : 'the caller is no source of triggers'
      throw new ProblemError('forbidden', reason)
    }
    return { source, principal: principal.uri }
  }

  async function signedBy(request: Request, named: string | undefined): Promise<Sender> {
    const source: Source | undefined = settings.sources.find((one) => one.name === named)
    const references = source?.secrets ?? []
    const secrets = await Promise.all(references.map((reference) => ports.secrets.get(reference)))
    // An unknown source has no secrets, and gets the same answer as a wrong signature: names cannot be guessed.
    verifyWebhook(request, { secrets, toleranceSeconds: settings.limits.clockSkewSeconds, now: clock.now() })
    if (source === undefined) throw new ProblemError('signature-invalid')
    return { source, principal: `source:${source.name}` }
  }

  /** What a proven sender sends and we refuse is kept, redacted: where it is wrong, not what it says. */
  async function keep(request: Request, sender: Sender, problem: ProblemError): Promise<void> {
    const now = instant(clock.now())
    await quarantine(
      table,
      {
        // A body may hold a pasted secret: whoever reads the table must not be able to try guesses against its hash.
        id: key('quarantine', sender.source.name, (await ports.mac())(Buffer.from(request.body).toString('base64'))),
        origin: `POST ${request.route}`,
        source: sender.source.name,
        reason: `${problem.code}: ${problem.detail ?? problem.title}`,
        notes: problem.errors ?? [],
        bytes: request.body.length,
      },
      after(now, settings.limits.retentionDays * 86400),
      { who: sender.principal, at: now },
    )
  }

  async function post(request: Request): Promise<Response> {
    const sender = await senderOf(request)
    try {
      const trigger = readBody(request, Trigger, MEDIA_TYPES)
      const urgent = ports.admit === undefined || trigger.type === COMPROMISE
      const receipt = await (urgent ? accept(trigger, sender) : ports.admit('deferrable', () => accept(trigger, sender)))
      return {
        status: receipt.status === 'replayed' ? 200 : 202,
        body: receipt,
        headers: { location: `/v1/cases/${receipt.case}` },
      }
    } catch (error) {
      if (error instanceof ProblemError && error.status < 500 && error.status !== 429) await keep(request, sender, error)
      throw error
    }
  }

  const report = reportRoute(ports, { senderOf, keep })
  return [
    { method: 'POST', path: '/v1/events', handle: post },
    { method: 'POST', path: '/aws/v1/events', handle: post },
    { method: 'POST', path: '/v1/reports', bodyBytes: REPORT_BYTES, handle: report },
    { method: 'POST', path: '/aws/v1/reports', bodyBytes: REPORT_BYTES, handle: report },
  ]
}
