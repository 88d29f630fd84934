import { describe, expect, it } from 'vitest'
import { readClue } from '../../../functions/domain/clues.ts'
import { definition as oauth } from '../../../functions/providers/oauth/definition.ts'
import { definition as postgresql } from '../../../functions/providers/postgresql/definition.ts'
import { mac } from '../../support/mac.ts'

/** Checks of one provider's types are its own business; the catalog knows them as unknown. */
const CATALOG = { oauth, postgresql } as Parameters<typeof readClue>[2]

const database = (name: string, host: string) => ({
  name,
  provider: 'postgresql',
  settings: { host, database: 'x', system: '1', tls: { mode: 'disable' } },
})
const ISSUERS = [
  database('production', 'db.production'),
  database('staging', 'db.staging'),
  { name: 'idp', provider: 'oauth', settings: {} },
]

const issuersOf = (text: string) => {
  const read = readClue(text, ISSUERS, CATALOG, mac)
  return read.kind === 'read' ? read.candidates.map(({ issuer }) => issuer) : read.kind
}

describe('a clue that several issuers could know', () => {
  it('is of the server that it names, and not of another that has a role of that name', () => {
    expect(issuersOf('postgres://app:x@db.staging/orders')).toEqual(['staging'])
  })

  it('is of all of them where it names none, or one by a name that no issuer is configured with', () => {
    expect(issuersOf('role app')).toEqual(['production', 'staging'])
    expect(issuersOf('postgres://app:x@alias.of.it/orders')).toEqual(['production', 'staging'])
  })

  it('narrows down its own provider alone, also where the settings do not parse', () => {
    const broken = [...ISSUERS, { name: 'old', provider: 'postgresql', settings: { host: 7 } }]
    const read = readClue('postgres://app:x@db.production/orders', broken, CATALOG, mac)
    expect(read.kind === 'read' && read.candidates.map(({ issuer }) => issuer)).toEqual(['production'])
  })
})
