import { describe, expect, it } from 'vitest'
import {
  canonicalIdentity,
  IdentityInvalid,
  oidcIdentity,
  patternFault,
  trustDomainOf,
} from '../../../functions/domain/identity.ts'

describe('canonical names', () => {
  it.each([
    ['spiffe://example.org/ns/prod/sa/web', 'spiffe://example.org/ns/prod/sa/web'],
    ['spiffe://Example.ORG/ns/Prod', 'spiffe://example.org/ns/Prod'],
    ['SPIFFE://example.org/a', 'spiffe://example.org/a'],
    ['spiffe://a_b-c.d/x..y/...', 'spiffe://a_b-c.d/x..y/...'],
    ['arn:aws:sts::123456789012:assumed-role/deployer/session@1', 'arn:aws:iam::123456789012:role/deployer'],
    ['arn:aws-us-gov:sts::123456789012:assumed-role/deployer/s1', 'arn:aws-us-gov:iam::123456789012:role/deployer'],
    ['arn:aws:iam::123456789012:role/deployer', 'arn:aws:iam::123456789012:role/deployer'],
    ['arn:aws:iam::123456789012:role/team/ci/deployer', 'arn:aws:iam::123456789012:role/deployer'],
    ['arn:aws:iam::123456789012:user/people/ann', 'arn:aws:iam::123456789012:user/ann'],
    ['arn:aws:iam::123456789012:root', 'arn:aws:iam::123456789012:root'],
    ['arn:aws:sts::123456789012:federated-user/ann', 'arn:aws:sts::123456789012:federated-user/ann'],
    ['arn:aws:lambda:eu-west-1:123456789012:function:f', 'arn:aws:lambda:eu-west-1:123456789012:function:f'],
    ['https://issuer.example.com#user', 'https://issuer.example.com#user'],
    ['https://issuer.example.com/#user', 'https://issuer.example.com/#user'],
    ['https://token.actions.example.com#repo%3aorg%2Fapp', 'https://token.actions.example.com#repo%3Aorg%2Fapp'],
    ['https://issuer.example.com/tenant#repo:org/app', 'https://issuer.example.com/tenant#repo%3Aorg%2Fapp'],
    ['http://127.0.0.1:8080/idp#agent', 'http://127.0.0.1:8080/idp#agent'],
  ])('%s is %s', (text, canonical) => {
    expect(canonicalIdentity(text)).toBe(canonical)
    expect(canonicalIdentity(canonical)).toBe(canonical)
  })

  it.each([
    '',
    ' spiffe://example.org/a',
    'spiffe://example.org/a ',
    'spiffe://example.org',
    'spiffe://example.org/',
    'spiffe:///a',
    'spiffe://example.org/a/',
    'spiffe://example.org//a',
    'spiffe://example.org/./a',
    'spiffe://example.org/a/..',
    'spiffe://user@example.org/a',
    'spiffe://example.org:8443/a',
    'spiffe://example.org/a?b=c',
    'spiffe://example.org/a#b',
    'spiffe://example.org/a%2Fb',
    'spiffe://exämple.org/a',
    `spiffe://${'a'.repeat(256)}/b`,
    `spiffe://example.org/${'a'.repeat(2048)}`,
    'arn:aws:iam::123456789012:role/*',
    'arn:aws:iam::12345:role/a',
    'arn:aws:iam:eu-west-1:123456789012:role/a',
    'arn:aws:iam::123456789012:group/a',
    'arn:aws:iam::123456789012:role/',
    'arn:aws:iam::123456789012:role//a',
    'arn:aws:sts::123456789012:assumed-role/a',
    'arn:aws:sts::123456789012:assumed-role/a/b/c1',
    'arn:aws:sts::123456789012:something/a',
    'arn:evil:iam::123456789012:role/a',
    'http://issuer.example.com#user',
    'https://issuer.example.com',
    'https://issuer.example.com#',
    'https://issuer.example.com?a=b#user',
    'https://u:p@issuer.example.com#user',
    'https://ISSUER.example.com#user',
    'https://issuer.example.com:443#user',
    'https://issuer.example.com/a/../b#user',
    'https://issuer.example.com#%ff',
    'https://issuer.example.com#a%',
    'ftp://issuer.example.com#user',
    'user@example.com',
  ])('%j names nothing', (text) => {
    expect(() => canonicalIdentity(text)).toThrow(IdentityInvalid)
  })

  it('refuses without repeating what it was given', () => {
    expect(() => canonicalIdentity('hunter2-secret')).toThrow(/^(?!.*hunter2)/)
  })

  it('joins an issuer and a subject', () => {
    expect(oidcIdentity('https://i.example', 'a b/ü#1')).toBe('https://i.example#a%20b%2F%C3%BC%231')
    expect(() => oidcIdentity('https://i.example', '\ud800')).toThrow(IdentityInvalid)
    expect(() => oidcIdentity('https://i.example', '')).toThrow(IdentityInvalid)
  })

  it('knows the trust domain', () => {
    expect(trustDomainOf('spiffe://example.org/a/b')).toBe('spiffe://example.org')
  })
})

it('patterns that can match no canonical name are told', () => {
  for (const pattern of [
    'arn:aws:sts::*:assumed-role/a/*',
    'arn:aws:iam::123456789012:role/team/*',
    'arn:aws:iam::*:user/a/b',
    'spiffe://Example.org/*',
  ]) {
    expect(patternFault(pattern)).toBeDefined()
  }
  for (const pattern of [
    'arn:aws:iam::123456789012:role/ci-*',
    'arn:aws:iam::*:role/**',
    'spiffe://example.org/Ns/*',
    '**',
    'https://i.example#*',
  ]) {
    expect(patternFault(pattern)).toBeUndefined()
  }
})
