import { describe, expect, it } from 'vitest'
import { canUndo } from '../../../functions/domain/undo.ts'
import { definition as oauth } from '../../../functions/providers/oauth/definition.ts'
import { FakeOAuth } from '../../../functions/providers/oauth/fake.ts'
import type { Target } from '../../../functions/providers/postgresql/definition.ts'
import { definition as postgresql } from '../../../functions/providers/postgresql/definition.ts'
import { FakePostgresql } from '../../../functions/providers/postgresql/fake.ts'
import { tools, WARRANT } from '../../conformance/suite.ts'
import { mac } from '../../support/mac.ts'

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
    expect(postgresql.credential({ role: 'app', oid: '16384' }, undefined, mac)).toBe(
      postgresql.credential({ role: 'app' }, undefined, mac),
    )
    expect(postgresql.credential({ role: 'app' }, undefined, mac)).not.toBe(
      postgresql.credential({ role: 'App' }, undefined, mac),
    )
  })
})

describe('sessions of a shared role', () => {
  const one = { applicationName: 'nightly', pid: 4711, startedAt: '2026-11-22T10:00:00.123456Z' }
  const parsed = (session: object) => postgresql.target.safeParse({ role: 'runner', oid: '16384', session })

  it('are one by process id and beginning, or many by name alone, and nothing in between', () => {
    expect([parsed(one), parsed({ applicationName: 'nightly' })].map(({ success }) => success)).toEqual([true, true])
    const refused = [
      {},
      { pid: 4711, startedAt: one.startedAt },
      { applicationName: 'nightly', pid: 4711 },
      { applicationName: 'nightly', startedAt: one.startedAt },
      { ...one, pid: 0 },
      { ...one, pid: 1.5 },
      { ...one, startedAt: '2026-11-22T10:00:00Z' },
      { ...one, startedAt: '2026-99-22T10:00:00.123Z' },
      { ...one, startedAt: '2026-11-22T10:00:00.123+01:00' },
      { applicationName: 'new\nline' },
      { applicationName: 'x'.repeat(64) },
      { ...one, host: 'x' },
    ]
    expect(refused.filter((session) => parsed(session).success)).toEqual([])
  })

  it('are credentials of their own: one by its beginning to the millisecond, many by their name', () => {
    const named = (session?: Target['session']) => postgresql.credential({ role: 'runner', session }, undefined, mac)
    expect(named(one)).toBe(named({ ...one, applicationName: 'renamed', startedAt: '2026-11-22T10:00:00.123Z' }))
    const other = { ...one, startedAt: '2026-11-22T10:00:00.124Z' }
    const names = [named(), named(one), named(other), named({ ...one, pid: 4712 }), named({ applicationName: 'nightly' })]
    expect(new Set(names).size).toBe(names.length)
    expect(postgresql.namesMany?.({ role: 'runner' })).toBe(false)
    expect(postgresql.namesMany?.({ role: 'runner', session: one })).toBe(false)
    expect(postgresql.namesMany?.({ role: 'runner', session: { applicationName: 'nightly' } })).toBe(true)
  })

  it('cannot be given back, unlike their role', () => {
    expect(canUndo(postgresql as Parameters<typeof canUndo>[0], { role: 'runner', oid: '16384' })).toBe(true)
    expect(canUndo(postgresql as Parameters<typeof canUndo>[0], { role: 'runner', session: one })).toBe(false)
    expect(canUndo(postgresql as Parameters<typeof canUndo>[0], { nonsense: 1 })).toBe(false)
    expect(canUndo(oauth as Parameters<typeof canUndo>[0], { tokenType: 'access_token' })).toBe(false)
  })

  it('end one by one at the fake server too', async () => {
    const fake = new FakePostgresql()
    const { oid } = fake.create('runner')
    const provider = await fake.module.connect({ name: 'db', settings: fake.settings() }, tools(JSON.stringify(fake.admin)))
    const [first, second] = [fake.startJob(oid, 'nightly'), fake.startJob(oid, 'nightly')]
    const job = (pid: number) => ({
      lease: String(pid),
      target: { role: 'runner', oid, session: { applicationName: 'nightly', pid, startedAt: '2026-01-01T00:00:00.000Z' } },
    })
    const all = { lease: 'all', target: { role: 'runner', oid, session: { applicationName: 'nightly' } } }
    const words = (answers: readonly { status: string }[] | undefined) => answers?.map(({ status }) => status)
    expect(words(await provider.revoke([job(first)], WARRANT))).toEqual(['revoked'])
    expect(words(await provider.verify([job(first), job(second), all], WARRANT))).toEqual(['dead', 'alive', 'alive'])
    expect(words(await provider.revoke([job(first), all], WARRANT))).toEqual(['absent', 'revoked'])
    expect(words(await provider.restore?.([job(first)], WARRANT))).toEqual(['refused'])
    expect(words(await provider.tidy?.([job(first)], WARRANT))).toEqual(['absent'])
    expect(fake.login(oid)).toBe(true)
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
    expect(() => oauth.credential({ tokenType: 'access_token' }, undefined, mac)).toThrow(RangeError)
  })
})
