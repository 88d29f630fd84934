import * as z from 'zod/mini'
import { Approval, Decision } from '../contracts/case.ts'
import { IdentityDeclaration } from '../contracts/identity.ts'
import { IssuerDeclaration } from '../contracts/issuer.ts'
import { IdentityUri, IssuerName, Key, LeaseId } from '../contracts/primitives.ts'
import type { Authenticate } from '../runtime/authentication.ts'
import type { DeadLetters } from '../runtime/dead-letters.ts'
import type { Request, Route } from '../runtime/http.ts'
import { readBody, readQuery, readValue } from '../runtime/http.ts'
import { aliasRoutes } from './aliases.ts'
import { operatorCaller, Page } from './caller.ts'
import { campaignRoutes } from './campaigns.ts'
import { controlRoutes } from './control.ts'
import { deadLetterRoutes } from './dead-letters.ts'
import { discoveryRoutes } from './discoveries.ts'
import { observedRoutes } from './observed.ts'
import type { OperatePorts } from './operate.ts'
import { operations } from './operate.ts'
import { outageRoutes } from './outage.ts'
import { reinstateRoutes } from './reinstate.ts'
import { restoreRoutes } from './restore.ts'
import { violationRoutes } from './violations.ts'

const AuditQuery = z.object({
  case: z.optional(Key),
  identity: z.optional(IdentityUri),
  lease: z.optional(LeaseId),
  day: z.optional(z.iso.date()),
  cursor: z.optional(z.string().check(z.maxLength(600))),
})

/** The operators' API. Every route asks first who calls. */
export function operateRoutes(
  ports: OperatePorts & { readonly authenticate: Authenticate; readonly deadLetters?: DeadLetters },
): Route[] {
  const operate = operations(ports)

  const as = operatorCaller(ports)
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
      handle: as((request, operator) => operate.approve(caseId(request), readBody(request, Approval), operator)),
    },
    {
      method: 'POST',
      path: '/v1/cases/{id}/reject',
      handle: as((request, operator) => operate.reject(caseId(request), readBody(request, Approval), operator)),
    },
    {
      method: 'POST',
      path: '/v1/cases/{id}/hold',
      handle: as((request, operator) => operate.hold(caseId(request), readBody(request, Decision), operator)),
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
    ...aliasRoutes(ports, as),
    ...campaignRoutes(ports, as),
    ...controlRoutes(ports, as),
    ...discoveryRoutes(ports, as),
    ...(ports.deadLetters === undefined ? [] : deadLetterRoutes({ ...ports, deadLetters: ports.deadLetters }, as)),
    ...reinstateRoutes(ports, as),
    ...restoreRoutes(ports, as),
    ...observedRoutes(ports, as),
    ...outageRoutes(ports, as),
    ...violationRoutes(ports, as),
  ]
}
