import { describe, expect, it } from 'vitest'
import type { Grant, Source } from '../../../functions/contracts/settings.ts'
import { isProtected, namespaceOf, operatorRight, registrationRight, sourcesOf } from '../../../functions/domain/rights.ts'

const grants: Grant[] = [
  { right: 'broker', caller: 'spiffe://corp/vault', identities: ['spiffe://corp/ci/**'], namespaces: ['ci'] },
  { right: 'broker', caller: 'spiffe://corp/vault', identities: ['spiffe://corp/ci/deploy/*'], namespaces: ['deploys', 'ci'] },
  { right: 'operator', caller: 'https://idp.example#*', approve: false },
  { right: 'operator', caller: 'https://idp.example#lead-*', approve: true },
  { right: 'source', caller: 'spiffe://corp/hr', source: 'hr' },
]
const source = (name: string): Source => ({ name, triggers: ['offboarding'], namespaces: [] })
const settings = { grants, sources: [source('hr'), source('soc')], protected: ['spiffe://corp/core/**'] }

describe('registration', () => {
  it('everybody may register for itself, in its own namespace', () => {
    expect(registrationRight(settings, { uri: 'spiffe://corp/a', namespace: 'corp' }, 'spiffe://corp/a')).toEqual({
      broker: false,
      trusted: false,
      namespaces: ['corp'],
    })
    expect(registrationRight(settings, { uri: 'arn:aws:iam::1:role/a' }, 'arn:aws:iam::1:role/a')).toEqual({
      broker: false,
      trusted: false,
      namespaces: [],
    })
  })

  it('nobody for another one', () => {
    expect(registrationRight(settings, { uri: 'spiffe://corp/a', namespace: 'corp' }, 'spiffe://corp/b')).toBeUndefined()
    expect(registrationRight(settings, { uri: 'spiffe://corp/vault2', namespace: 'corp' }, 'spiffe://corp/ci/x')).toBeUndefined()
  })

  it('a broker for the identities of its grants, in their namespaces and not in its own', () => {
    const broker = { uri: 'spiffe://corp/vault', namespace: 'corp' }
    expect(registrationRight(settings, broker, 'spiffe://corp/ci/build/1')).toEqual({
      broker: true,
      trusted: true,
      namespaces: ['ci'],
    })
    expect(registrationRight(settings, broker, 'spiffe://corp/ci/deploy/1')).toEqual({
      broker: true,
      trusted: true,
      namespaces: ['ci', 'deploys'],
    })
    expect(registrationRight(settings, broker, 'spiffe://corp/web')).toBeUndefined()
  })
})

it('operators are those who were granted it, approvers too', () => {
  expect(operatorRight(settings, { uri: 'https://idp.example#ann' })).toEqual({ approve: false })
  expect(operatorRight(settings, { uri: 'https://idp.example#lead-ann' })).toEqual({ approve: true })
  expect(operatorRight(settings, { uri: 'https://idp.example.evil#ann' })).toBeUndefined()
  expect(operatorRight({ grants: [] }, { uri: 'https://idp.example#ann' })).toBeUndefined()
})

it('a caller sends as the sources that it was granted and that exist', () => {
  expect(sourcesOf(settings, { uri: 'spiffe://corp/hr' }).map(({ name }) => name)).toEqual(['hr'])
  expect(sourcesOf(settings, { uri: 'spiffe://corp/soc' })).toEqual([])
  expect(sourcesOf({ grants, sources: [source('soc')] }, { uri: 'spiffe://corp/hr' })).toEqual([])
})

it('a namespace is one of those that were granted', () => {
  expect(namespaceOf(['a', 'b'], undefined)).toBe('a')
  expect(namespaceOf(['a', 'b'], 'b')).toBe('b')
  expect(namespaceOf(['a', 'b'], 'c')).toBeUndefined()
  expect(namespaceOf([], undefined)).toBeUndefined()
})

it('protection goes by pattern', () => {
  expect(isProtected(settings, 'spiffe://corp/core/db/1')).toBe(true)
  expect(isProtected(settings, 'spiffe://corp/web')).toBe(false)
})
