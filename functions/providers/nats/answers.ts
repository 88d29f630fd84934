import type { Answer, IssuerError, Liveness } from '../contract.ts'
import { IssuerThrottled } from '../contract.ts'
import type { Target } from './definition.ts'
import type { Revocations } from './revocations.ts'
import { holdOf, readRevocations } from './revocations.ts'
import type { Open, Servers } from './session.ts'
import type { Claims } from './token.ts'

export const NO_ACCOUNT = 'the servers know no such account: nobody can log in to it'

export const left = (error: IssuerError, effect: 'none' | 'unknown'): Answer => ({
  status: 'retry',
  said: error.message,
  effect,
  ...hintOf(error),
})

export const hintOf = (error: IssuerError): { readonly afterSeconds?: number; readonly throttled?: true } => ({
  ...(error.afterSeconds === undefined ? {} : { afterSeconds: error.afterSeconds }),
  ...(error instanceof IssuerThrottled ? { throttled: true } : {}),
})

export const seconds = (instant: string): number => Math.floor(Date.parse(instant) / 1000)
export const moment = (at: number): string => new Date(at * 1000).toISOString()
export const servers = ({ servers: count }: Servers): string => (count === 1 ? 'the server' : `all ${count} servers`)

export const notAll = (session: Servers, unseen: number) =>
  ({
    status: 'retry',
    said: `${session.servers - unseen} of ${session.servers + session.missing} servers show it; the others must be asked again`,
    afterSeconds: 5,
  }) as const

export function dated({ others }: Revocations, user: string): string {
  const at = others.get(user)
  return at === undefined ? 'with all users of the account' : `for what was signed until ${moment(at)}`
}

export function liveness(
  session: Servers,
  enforced: readonly Claims[] | undefined,
  open: readonly Open[],
  { user, issuedAt }: Target,
  fencedAt: number,
): Liveness {
  const states = (enforced ?? []).map(readRevocations)
  const date = issuedAt ?? fencedAt
  const holds = states.map((state) => holdOf(state, user, date))
  // Without a date all that its revocation covers must be gone, the newer JWT of the same key must not.
  const until = issuedAt ?? Math.max(fencedAt, ...states.map((state) => state.cuts.get(user)?.get(0) ?? 0))
  const mine = open.filter((connection) => connection.user === user && connection.issuedAt <= until).length
  if (mine > 0) return { status: 'alive', said: `${mine} connections of it are open` }
  if (enforced === undefined) return { status: 'dead', said: NO_ACCOUNT }
  if (holds.includes('none')) return { status: 'alive', said: 'not every server holds it revoked' }
  if (holds.includes('contained')) return { status: 'alive', said: 'not revoked: only a containment of its account keeps it out' }
  if (session.missing > 0) {
    return { status: 'unknown', said: `only ${session.servers} of ${session.servers + session.missing} servers answer` }
  }
  return { status: 'dead', said: `revoked at ${servers(session)}, and no connection of it is open` }
}
