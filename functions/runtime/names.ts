import type { CaseScope } from '../contracts/scope.ts'
import type { Read } from '../domain/clues.ts'
import { readClue } from '../domain/clues.ts'
import type { Definition, Mac } from '../providers/contract.ts'
import type { CredentialName } from '../store/names.ts'
import { issuerLookup } from '../store/names.ts'
import type { Table } from '../store/table.ts'

export type { CredentialName } from '../store/names.ts'
export type NamedScope = Extract<CaseScope, { kind: 'credential-name' }>

export interface NamePorts {
  readonly table: Table
  readonly catalog: Readonly<Record<string, Definition>>
  /** The installation's keyed hash; its key is read from the secret store at its first use. */
  readonly mac: () => Promise<Mac>
}

type ReadName =
  | Exclude<Read, { kind: 'read' }>
  | (Extract<Read, { kind: 'read' }> & { readonly scope: NamedScope })
  /** The issuer that is named is not configured, or not of the provider that is named. */
  | { readonly kind: 'issuer-unknown' }

/**
 * Reads what people have in hand as the credentials that it can be at the issuers that are configured now. One reader
 * serves one request: it lists the issuers once, however many texts are read.
 */
export function nameReader(ports: NamePorts): (named: CredentialName) => Promise<ReadName> {
  const lookup = issuerLookup(ports.table)
  return async (named) => {
    const issuers = await lookup(named)
    if (issuers === undefined) return { kind: 'issuer-unknown' }
    const read = readClue(named.name, issuers, ports.catalog, await ports.mac())
    if (read.kind !== 'read') return read
    // All issuers of a provider are meant where it is named: a lease at one of them does not answer for the others.
    const everywhere = named.provider !== undefined && named.issuer === undefined ? { everywhere: true as const } : {}
    return { ...read, scope: { kind: 'credential-name', candidates: [...read.candidates], ...everywhere } }
  }
}
