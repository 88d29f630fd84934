import { randomUUID } from 'node:crypto'
import type { AuditRecord } from '../../functions/contracts/audit.ts'
import type { CaseView } from '../../functions/contracts/case.ts'
import type { LeaseRegistration, LeaseView } from '../../functions/contracts/lease.ts'
import { Problem } from '../../functions/contracts/problem.ts'
import type { TriggerReceipt } from '../../functions/contracts/trigger.ts'
import { signWebhook } from '../../functions/runtime/webhook-signature.ts'

/** The API refused: its problem document. */
export class Refused extends Error {
  override readonly name = 'Refused'
  readonly problem: Problem
  constructor(problem: Problem) {
    super(
      `${problem.status} ${problem.code}: ${problem.detail ?? problem.title}${problem.errors === undefined ? '' : ` ${JSON.stringify(problem.errors)}`}`,
    )
    this.problem = problem
  }
}

/** The public API as a customer's program would call it: nothing here knows more than its documentation. */
export function apiClient(url: string) {
  async function call(
    method: string,
    path: string,
    init: { token?: string; headers?: Record<string, string>; body?: unknown },
  ): Promise<unknown> {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        ...(init.token === undefined ? {} : { authorization: `Bearer ${init.token}` }),
        ...(init.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...init.headers,
      },
      ...(init.body === undefined ? {} : { body: typeof init.body === 'string' ? init.body : JSON.stringify(init.body) }),
      signal: AbortSignal.timeout(20_000),
    })
    const body: unknown = await response.json()
    if (!response.ok) throw new Refused(Problem.parse(body))
    return body
  }
  return {
    call,
    register: (token: string, lease: LeaseRegistration, key: string = randomUUID()) =>
      call('POST', '/v1/leases', { token, body: lease, headers: { 'idempotency-key': key } }) as Promise<LeaseView>,
    confirm: (token: string, id: string, target: Record<string, unknown>) =>
      call('POST', `/v1/leases/${id}/confirm`, { token, body: { target } }) as Promise<LeaseView>,
    lease: (token: string, id: string) => call('GET', `/v1/leases/${id}`, { token }) as Promise<LeaseView>,
    declareIssuer: (token: string, name: string, issuer: unknown) => call('PUT', `/v1/issuers/${name}`, { token, body: issuer }),
    case: (token: string, id: string) => call('GET', `/v1/cases/${id}`, { token }) as Promise<CaseView>,
    /** A trigger by token. */
    send: (token: string, trigger: unknown) => call('POST', '/v1/events', { token, body: trigger }) as Promise<TriggerReceipt>,
    /** A trigger signed as Standard Webhooks 1.0 says, the way an HR system sends it. */
    async sendSigned(
      source: string,
      secret: string,
      trigger: { readonly id: string },
      now = Date.now(),
    ): Promise<TriggerReceipt> {
      const body = JSON.stringify(trigger)
      const signed = signWebhook({ id: trigger.id, timestamp: now, body, secret })
      return (await call('POST', '/v1/events', { body, headers: { ...signed, 'rescind-source': source } })) as TriggerReceipt
    },
    /** The whole trail of a case. */
    async audit(token: string, query: Record<string, string>): Promise<AuditRecord[]> {
      const records: AuditRecord[] = []
      let cursor: string | undefined
      do {
        const parameters = new URLSearchParams({ ...query, ...(cursor === undefined ? {} : { cursor }) })
        const page = (await call('GET', `/v1/audit?${parameters}`, { token })) as { entries: AuditRecord[]; next?: string }
        records.push(...page.entries)
        cursor = page.next
      } while (cursor !== undefined)
      return records
    },
  }
}
export type Api = ReturnType<typeof apiClient>
