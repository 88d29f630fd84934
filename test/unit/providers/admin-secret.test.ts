import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readAdminLogin } from '../../../functions/providers/admin-secret.ts'
import { IssuerRefused } from '../../../functions/providers/contract.ts'

describe('an admin secret', () => {
  it('is read', () => {
    expect(readAdminLogin('{"user":"rescind","password":"p\\"w"}')).toEqual({ user: 'rescind', password: 'p"w' })
  })

  it.each([
    ['no JSON', (password: string) => `user=rescind password=${password}`],
    ['JSON that breaks off', (password: string) => `{"user":"rescind","password":${JSON.stringify(password)}`],
    ['a JSON text', (password: string) => JSON.stringify(password)],
    ['of another shape', (password: string) => JSON.stringify({ user: 'rescind', pass: password })],
    ['with a key more', (password: string) => JSON.stringify({ user: 'rescind', password, [password]: password })],
    ['without a user', (password: string) => JSON.stringify({ user: '', password })],
  ])('that is %s is refused, and nothing of it stands in the error', (_what, secretOf) => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Z0-9]{8,40}$/), (password) => {
        const refused = (() => {
          try {
            return readAdminLogin(secretOf(password))
          } catch (error) {
            return error
          }
        })()
        expect(refused).toBeInstanceOf(IssuerRefused)
        // With its cause and its stack, as a log would show it.
        expect(inspect(refused, { depth: null, showHidden: true })).not.toContain(password.slice(0, 8))
      }),
      { numRuns: 50 },
    )
  })
})
