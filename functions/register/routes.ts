import * as z from 'zod/mini'
import { IdempotencyKey, LeaseConfirmation, LeaseRegistration, LeaseRenewal } from '../contracts/lease.ts'
import { Spool } from '../contracts/outage.ts'
import { IdentityUri, LeaseId } from '../contracts/primitives.ts'
import { canonicalIdentity, IdentityInvalid } from '../domain/identity.ts'
import { identityKey } from '../domain/keys.ts'
import type { Rank } from '../runtime/admission.ts'
import type { Authenticate } from '../runtime/authentication.ts'
import type { Request, Response, Route } from '../runtime/http.ts'
import { readBody, readQuery, readValue } from '../runtime/http.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import { holder } from './holder.ts'
import type { RegisterPorts } from './register.ts'
import { registrar } from './register.ts'
import { answerOf, spooler } from './spool.ts'

const ListQuery = z.object({
  identity: z.optional(IdentityUri),
  cursor: z.optional(z.string().check(z.maxLength(400))),
  limit: z._default(z.coerce.number().check(z.int(), z.minimum(1), z.maximum(200)), 50),
})

/** The leases' API, for tokens under `/v1` and for AWS principals under `/aws/v1`. */
export function registerRoutes(ports: RegisterPorts & { readonly authenticate: Authenticate }): Route[] {
  const register = registrar(ports)
  const leases = holder(ports)
  const spool = spooler(ports, register, leases)
  const id = (request: Request) => readValue(request.params['id'], LeaseId)

  const post = async (request: Request): Promise<Response> => {
    const caller = await ports.authenticate(request)
    const idempotencyKey = readValue(request.headers['idempotency-key'], IdempotencyKey, {
      code: 'body-invalid',
      name: 'the header Idempotency-Key',
    })
    const { lease, repeated } = await register(readBody(request, LeaseRegistration), idempotencyKey, caller)
    return { status: repeated ? 200 : 201, body: await answerOf(ports, lease), headers: { location: `/v1/leases/${lease.id}` } }
  }
  const list = async (request: Request): Promise<Response> => {
    const caller = await ports.authenticate(request)
    const query = readQuery(request, ListQuery)
    const identity = canonical(query.identity ?? caller.uri)
    return { status: 200, body: await leases.list(identityKey(identity), caller, identity, query.cursor, query.limit) }
  }
  const read = async (request: Request): Promise<Response> => ({
    status: 200,
    body: await leases.read(id(request), await ports.authenticate(request)),
  })
  const confirm = async (request: Request): Promise<Response> => {
    const caller = await ports.authenticate(request)
    return { status: 200, body: await leases.confirm(id(request), readBody(request, LeaseConfirmation), caller) }
  }
  const renew = async (request: Request): Promise<Response> => {
    const caller = await ports.authenticate(request)
    return { status: 200, body: await answerOf(ports, await leases.renew(id(request), readBody(request, LeaseRenewal), caller)) }
  }
  const release = async (request: Request): Promise<Response> => {
    const given = await leases.release(id(request), await ports.authenticate(request))
    return { status: 202, body: given, headers: { location: `/v1/cases/${given.case}` } }
  }

  const takeSpool = async (request: Request): Promise<Response> => {
    const caller = await ports.authenticate(request)
    return { status: 200, body: await spool(readBody(request, Spool), caller) }
  }

  return ['', '/aws'].flatMap((prefix): Route[] => [
    { method: 'POST', path: `${prefix}/v1/leases`, handle: post },
    { method: 'GET', path: `${prefix}/v1/leases`, handle: list },
    { method: 'GET', path: `${prefix}/v1/leases/{id}`, handle: read },
    { method: 'POST', path: `${prefix}/v1/leases/{id}/confirm`, handle: confirm },
    { method: 'POST', path: `${prefix}/v1/leases/{id}/renew`, handle: renew },
    { method: 'POST', path: `${prefix}/v1/leases/{id}/release`, handle: release },
    { method: 'POST', path: `${prefix}/v1/spool`, handle: takeSpool },
  ])
}

/** What keeps an existing lease as it should be is refused last; new ones and lists wait first. */
export const rankOf = ({ method, path }: Pick<Route, 'method' | 'path'>): Rank =>
  method === 'POST' && path.includes('{id}') ? 'steady' : 'deferrable'

function canonical(identity: string): string {
  try {
    return canonicalIdentity(identity)
  } catch (error) {
    if (error instanceof IdentityInvalid)
      throw new ProblemError('body-invalid', error.message, { errors: [{ path: '/identity', message: error.message }] })
    throw error
  }
}
