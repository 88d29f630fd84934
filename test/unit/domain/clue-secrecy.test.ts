import { describe, expect, it } from 'vitest'
import { readClue } from '../../../functions/domain/clues.ts'
import { fingerprint } from '../../../functions/domain/keys.ts'
import type { Clue, Definition, Mac } from '../../../functions/providers/contract.ts'
import { macOf } from '../../../functions/runtime/mac.ts'
import { fakeDefinition } from '../../support/fake-issuer.ts'

const mac = macOf('a-fingerprint-key-of-the-tests-43-characters-long')
const reads = (recognise: (text: string, mac: Mac) => Clue | undefined): Definition => ({
  ...(fakeDefinition() as Definition),
  recognise,
})
const role = (name: string): Clue => ({ credential: `role:${name}`, shown: `role ${name}`, query: { role: name } })
const catalog: Readonly<Record<string, Definition>> = {
  names: reads((text) => (/^[\w-]+$/.test(text) ? role(text) : undefined)),
  strings: reads((text) => {
    const [, name = '', password] = /^db:\/\/(\w+):(\w+)@/.exec(text) ?? []
    return password === undefined ? undefined : role(name)
  }),
  tokens: reads((text, hash) =>
    /^tok_|^db:/.test(text) ? { credential: `token:${hash(text)}`, shown: 'a token', query: {} } : undefined,
  ),
  broken: reads((text) => {
    throw new Error(`cannot read ${text}`)
  }),
  mute: fakeDefinition() as Definition,
}
const issuers = (...providers: string[]) => providers.map((provider) => ({ name: `${provider}-1`, provider }))

describe('a text that several providers recognise', () => {
  it('is one candidate at each of their issuers, in the order of their names', () => {
    expect(readClue('billing', [{ name: 'z', provider: 'names' }, ...issuers('names', 'strings')], catalog, mac)).toMatchObject({
      kind: 'read',
      secret: false,
      candidates: [
        {
          issuer: 'names-1',
          fingerprint: fingerprint('names-1', 'role:billing'),
          shown: 'role billing',
          query: { role: 'billing' },
        },
        { issuer: 'z' },
      ],
    })
  })

  it('is kept in clear nowhere where one of them takes it for a secret', () => {
    const read = readClue('tok_5ecre7', issuers('names', 'tokens'), catalog, mac)
    expect(read).toMatchObject({ kind: 'read', secret: true, leftOut: ['names-1'], candidates: [{ issuer: 'tokens-1' }] })
    expect(JSON.stringify(read)).not.toContain('5ecre7')
  })

  it('keeps what is read beside a secret, as the name in a connection string', () => {
    const read = readClue('db://app:5ecre7@host', issuers('strings', 'tokens'), catalog, mac)
    expect(read).toMatchObject({
      kind: 'read',
      secret: true,
      leftOut: [],
      candidates: [{ issuer: 'strings-1', shown: 'role app' }, { issuer: 'tokens-1' }],
    })
    expect(JSON.stringify(read)).not.toContain('5ecre7')
  })

  it('does not mind blanks around it, a provider that fails, one that reads nothing, one that is not installed', () => {
    expect(readClue('  billing\n', issuers('broken', 'mute', 'gone', 'names'), catalog, mac)).toMatchObject({
      kind: 'read',
      candidates: [{ issuer: 'names-1' }],
    })
    expect(readClue('?', issuers('broken', 'mute', 'gone', 'names'), catalog, mac)).toEqual({ kind: 'unrecognised' })
  })

  it('has no more candidates than a case has room for', () => {
    const many = Array.from({ length: 51 }, (_, index) => ({ name: `db-${index}`, provider: 'names' }))
    expect(readClue('billing', many, catalog, mac)).toEqual({ kind: 'too-many', issuers: 51 })
    expect(readClue('billing', many.slice(1), catalog, mac)).toMatchObject({ kind: 'read' })
  })
})
