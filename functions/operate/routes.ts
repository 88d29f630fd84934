import * as z from 'zod/mini'
import { Decision } from '../contracts/case.ts'
import { IdentityDeclaration } from '../contracts/identity.ts'
import { IssuerDeclaration } from '../contracts/issuer.ts'
import { IdentityUri, IssuerName, Key, LeaseId } from '../contracts/primitives.ts'
import { operatorRight } from '../domain/rights.ts'
import type { Authenticate } from '../runtime/authentication.ts'
import type { Request, Response, Route } from '../runtime/http.ts'
import { readBody, readQuery, readValue } from '../runtime/http.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import type { OperatePorts, Operator } from './operate.ts'
import { operations } from './operate.ts'

const Page = z.object({
  cursor: z.optional(z.string().check(z.maxLength(1000))),
  limit: z._default(z.coerce.number().check(z.int(), z.minimum(1), z.maximum(200)), 50),
})
const AuditQuery = z.object({
  case: z.optional(Key),
  identity: z.optional(IdentityUri),
  lease: z.optional(LeaseId),
  day: z.optional(z.iso.date()),
  cursor: z.optional(z.string().check(z.maxLength(600))),
})

/** The operators' API. Every route asks first who calls. */
export function operateRoutes(ports: OperatePorts & { readonly authenticate: Authenticate }): Route[] {
  const operate = operations(ports)

  const as =
    (serve: (request: Request, operator: Operator) => Promise<unknown>) =>
    async (request: Request): Promise<Response> => {
      const caller = await ports.authenticate(request)
      const right = operatorRight(ports.settings, caller)
      if (right === undefined) throw new ProblemError('forbidden', 'the caller is no operator')
      return { status: 200, body: await serve(request, { uri: caller.uri, approve: right.approve }) }
    }
  const caseId = (request: Request) => readValue(request.params['id'], Key)
  const page = (request: Request) => readQuery(request, Page)

  return [
    {
      method: 'PUT',
      path: '/v1/identities',
      handle: as((request, operator) => operate.putIdentity(readBody(request, IdentityDeclaration), operator)),
    },
    {
      method: 'GET',
      path: '/v1/identities',
      handle: as((request) =>
        operate.getIdentity(readValue(request.query['id'], IdentityUri, { code: 'body-invalid', name: 'the parameter id' })),
      ),
    },
    {
      method: 'PUT',
      path: '/v1/issuers/{name}',
      handle: as((request, operator) =>
        operate.putIssuer(
          readValue(request.params['name'], IssuerName, { code: 'body-invalid', name: 'the name' }),
          readBody(request, IssuerDeclaration),
          operator,
        ),
      ),
    },
    { method: 'GET', path: '/v1/issuers', handle: as(async () => ({ entries: await operate.listIssuers() })) },
    { method: 'GET', path: '/v1/cases', handle: as((request) => operate.listCases(page(request))) },
    { method: 'GET', path: '/v1/cases/{id}', handle: as((request) => operate.getCase(caseId(request))) },
    {
      method: 'POST',
      path: '/v1/cases/{id}/approve',
      handle: as((request, operator) => operate.approve(caseId(request), readBody(request, Decision), operator)),
    },
    {
      method: 'POST',
      path: '/v1/cases/{id}/cancel',
      handle: as((request, operator) => operate.cancel(caseId(request), readBody(request, Decision), operator)),
    },
    { method: 'GET', path: '/v1/parked', handle: as((request) => operate.listParked(page(request))) },
    { method: 'GET', path: '/v1/orphans', handle: as((request) => operate.listOrphans(page(request))) },
    { method: 'GET', path: '/v1/quarantine', handle: as((request) => operate.listQuarantine(page(request))) },
    { method: 'GET', path: '/v1/audit', handle: as((request) => operate.audit(readQuery(request, AuditQuery))) },
  ]
}
