import type { Grant, Settings, Source } from '../contracts/settings.ts'
import { matches, matchesAny } from './pattern.ts'

/** A caller as far as rights go: its proven canonical URI, and the namespace that its token issuer attests. */
export interface Caller {
  readonly uri: string
  readonly namespace?: string
}

type Right<Kind extends Grant['right']> = Extract<Grant, { right: Kind }>

function held<Kind extends Grant['right']>(grants: readonly Grant[], right: Kind, caller: Caller): Right<Kind>[] {
  const fits = (grant: Grant): grant is Right<Kind> => grant.right === right && matches(grant.caller, caller.uri)
  return grants.filter(fits)
}

/** What the caller may do in the operators' API, or undefined. */
export function operatorRight(settings: Pick<Settings, 'grants'>, caller: Caller): { readonly approve: boolean } | undefined {
  const grants = held(settings.grants, 'operator', caller)
  return grants.length === 0 ? undefined : { approve: grants.some((grant) => grant.approve) }
}

/**
 * Whether the caller may register leases for the identity (canonical URI), and in which namespaces it may then name
 * tasks and deployments; the first one is meant where it names none. Everybody may register for itself, in the
 * namespace of its token issuer; a broker for the identities and in the namespaces of its grants alone. `trusted`: a
 * grant speaks for it, so that it is believed which credentials are the identity's.
 */
export function registrationRight(
  settings: Pick<Settings, 'grants'>,
  caller: Caller,
  identity: string,
): { readonly broker: boolean; readonly trusted: boolean; readonly namespaces: readonly string[] } | undefined {
  const self = identity === caller.uri
  const grants = held(settings.grants, 'broker', caller).filter((grant) => matchesAny(grant.identities, identity))
  if (!self && grants.length === 0) return undefined
  const own = self && caller.namespace !== undefined ? [caller.namespace] : []
  return {
    broker: !self,
    trusted: grants.length > 0,
    namespaces: [...new Set([...own, ...grants.flatMap((grant) => grant.namespaces)])],
  }
}

/**
 * Whether the caller may register credentials of an issuer for itself without showing them. Without this right it could
 * name a credential that is not its own, and have it cut by giving it back.
 */
export const mayHold = (settings: Pick<Settings, 'grants'>, caller: Caller, issuer: string): boolean =>
  held(settings.grants, 'holder', caller).some((grant) => grant.issuers.includes(issuer))

/** The sources that the caller may send triggers as. */
export function sourcesOf(settings: Pick<Settings, 'grants' | 'sources'>, caller: Caller): readonly Source[] {
  const names = new Set(held(settings.grants, 'source', caller).map((grant) => grant.source))
  return settings.sources.filter((source) => names.has(source.name))
}

/** The namespace that a source's trigger means: the named one if the source has it, its first where none is named. */
export function namespaceOf(namespaces: readonly string[], named: string | undefined): string | undefined {
  return named === undefined ? namespaces[0] : namespaces.find((namespace) => namespace === named)
}

/** Whether lifecycle cases on the identity (canonical URI) wait for an approval by configuration. */
export const isProtected = (settings: Pick<Settings, 'protected'>, identity: string): boolean =>
  matchesAny(settings.protected, identity)
