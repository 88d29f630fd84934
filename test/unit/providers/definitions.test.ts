import { describe, expect, it } from 'vitest'
import { definition as oauth } from '../../../functions/providers/oauth/definition.ts'
import { FakeOAuth } from '../../../functions/providers/oauth/fake.ts'
import { definition as postgresql } from '../../../functions/providers/postgresql/definition.ts'
import { FakePostgresql } from '../../../functions/providers/postgresql/fake.ts'

describe('postgresql targets', () => {
  const taken = (role: string, oid?: string) => postgresql.target.safeParse(oid === undefined ? { role } : { role, oid }).success

  it('takes every name that PostgreSQL takes: 1 to 63 bytes, anything but NUL', () => {
    expect([`'; --`, '"', '\\', '%', ' ', 'x'.repeat(63), 'é'.repeat(31)].filter((role) => !taken(role))).toEqual([])
    expect(['', 'x'.repeat(64), 'é'.repeat(32), 'nul\0', 'lone \ud800'].filter((role) => taken(role))).toEqual([])
  })

  it('takes oids as decimal text of 32 bits', () => {
    expect(['1', '16384', '4294967295'].filter((oid) => !taken('role', oid))).toEqual([])
    expect(['0', '-1', '4294967296', '016384', '1e5', ' 1', ''].filter((oid) => taken('role', oid))).toEqual([])
  })

  it('takes nothing that it does not know', () => {
    expect(postgresql.target.safeParse({ role: 'a', database: 'b' }).success).toBe(false)
    expect(postgresql.settings.safeParse({ ...new FakePostgresql().settings(), password: 'x' }).success).toBe(false)
    expect(postgresql.settings.safeParse({ ...new FakePostgresql().settings(), system: 'db-1' }).success).toBe(false)
  })

  it('shares the fingerprint of a role between leases that know its oid and those that do not yet', () => {
    expect(postgresql.credential({ role: 'app', oid: '16384' }, undefined)).toBe(
      postgresql.credential({ role: 'app' }, undefined),
    )
    expect(postgresql.credential({ role: 'app' }, undefined)).not.toBe(postgresql.credential({ role: 'App' }, undefined))
  })
})

describe('oauth targets', () => {
  it('takes a token and its type, and nothing that it does not know', () => {
    expect(oauth.target.safeParse({ tokenType: 'access_token' }).success).toBe(true)
    expect(oauth.target.safeParse({ tokenType: 'id_token' }).success).toBe(false)
    expect(oauth.target.safeParse({ tokenType: 'access_token', token: 'x' }).success).toBe(false)
    expect(oauth.secret?.safeParse({ token: 'abc' }).success).toBe(true)
    expect(['', 'line\nbreak', 'x'.repeat(16_385)].filter((token) => oauth.secret?.safeParse({ token }).success)).toEqual([])
    expect(oauth.settings.safeParse(new FakeOAuth().settings()).success).toBe(true)
  })

  it('cannot name a credential without its token', () => {
    expect(() => oauth.credential({ tokenType: 'access_token' }, undefined)).toThrow(RangeError)
  })
})
