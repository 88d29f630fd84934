import type { TriggerScope } from '../contracts/scope.ts'
import type { Issuer } from '../domain/model.ts'
import { issuerOf, issuers } from './issuers.ts'
import type { Table } from './table.ts'

export type CredentialName = Omit<Extract<TriggerScope, { kind: 'credential-name' }>, 'kind'>

/**
 * The issuers at which a credential is looked for by its name: the one that is named, those of the provider that is named,
 * or all. `undefined`: the issuer that is named is not configured, or not of this provider. One look-up serves one
 * request: it lists the issuers once, however many names there are.
 */
export function issuerLookup(table: Table): (named: Omit<CredentialName, 'name'>) => Promise<readonly Issuer[] | undefined> {
  let listed: Promise<Issuer[]> | undefined
  return async ({ issuer, provider }) => {
    if (issuer !== undefined) {
      const one = await issuerOf(table, issuer)
      return one === undefined || (provider !== undefined && one.provider !== provider) ? undefined : [one]
    }
    listed ??= issuers(table)
    const all = await listed
    return provider === undefined ? all : all.filter((known) => known.provider === provider)
  }
}
